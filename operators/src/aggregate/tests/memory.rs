//! Small batches under a budget of a few of them, and rows that no budget of that kind holds.

use super::*;

const BATCH: usize = 64;

/// Bytes of four batches of rows with two keys of numbers and texts, and a few states.
const FOUR_BATCHES: usize = 4 * BATCH * 64;

fn four_batches(workers: usize, form: u8) -> Run {
    let tuning = Tuning { least_entries: BATCH, ..Tuning::default() };
    Run { tuning, budget: Some(FOUR_BATCHES), workers, chunk: BATCH, form }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_64_rows_under_a_budget_of_four(
        input in prop::collection::vec(prop::collection::vec(0_u8..8, types().len()), 1000..1500),
        other_key in 0_usize..10,
        calls in any_calls(),
        workers in 1_usize..4,
        form in 0_u8..6,
    ) {
        let rows = input.iter().enumerate().map(|(number, picks)| {
            let mut row = picks.iter().enumerate().map(|(place, &pick)| value(place, pick)).collect::<Vec<_>>();
            // Many groups, some of several rows.
            row[6] = Int(((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1201).into());
            row
        });
        let rows = rows.collect::<Vec<_>>();
        let (types, run) = (types(), four_batches(workers, form));
        // All numbers of this column are small, so no sum of them overflows.
        let spec = spec(&[6, other_key], calls);
        check(&spec, &rows, &run);
        let resources = resources(&run);
        let aggregator = Aggregator::tuned(&spec, &types, resources.clone(), run.tuning).unwrap();
        let locals = consume(&aggregator, &types, &rows, &run).unwrap();
        drop(aggregator.finish(locals).unwrap());
        prop_assert!(resources.metrics.extra("spilled_bytes") > Some(0));
        prop_assert_eq!(resources.budget.used(), 0);
    }
}

#[test]
fn a_row_larger_than_the_budget_is_an_error() {
    let types = types();
    let rows = |length: usize| {
        let row = |number: usize| {
            let mut row = vec![Null; types.len()];
            row[6] = Int(number as i128);
            row[1] = Text(if number == 200 { "x".repeat(length) } else { format!("a text of row {number}") });
            row
        };
        (0..300).map(row).collect::<Vec<_>>()
    };
    let greatest = || call(AggregateFunction::Max, &[1], None, false);
    let different = || call(AggregateFunction::Count, &[1], None, true);
    for spec in [
        spec(&[1], vec![call(AggregateFunction::Count, &[], None, false)]),
        spec(&[6, 1], Vec::new()),
        spec(&[6], vec![greatest()]),
        spec(&[6], vec![different()]),
        spec(&[], vec![greatest()]),
    ] {
        for workers in [1, 2] {
            let run = four_batches(workers, 0);
            let error = single(&spec, &types, &rows(1 << 20), &run).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Resources);
            assert!(error.message().starts_with("grouping: the values of one group do not fit in memory"), "{error}");
            assert!(error.message().ends_with("raise --memory-limit"), "{error}");
            // With memory for it, or if it is one of the least that are taken, it is a row like others.
            check(&spec, &rows(1 << 20), &Run { budget: Some(8 << 20), ..run.clone() });
            check(&spec, &rows(1 << 10), &run);
        }
    }
}
