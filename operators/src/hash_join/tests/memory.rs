//! Small batches under a budget of a few of them, and rows that no budget of that kind holds.

use bireme_engine::error::ErrorKind;

use super::*;

const BATCH: usize = 64;

/// Bytes of four batches of rows with a key, if nothing else is kept of them.
const FOUR_BATCHES: usize = 4 * BATCH * 8;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_64_rows_under_a_budget_of_four(
        seed in any::<u64>(),
        kind in prop::sample::select(KINDS.to_vec()),
        key in prop::sample::select(vec![KeyType::Sparse, KeyType::Narrow, KeyType::Wide, KeyType::Float, KeyType::Text]),
        residual in any::<bool>(),
        build_rows in 1000_usize..1500,
        domain in prop::sample::select(vec![20_u64, 1000]),
        workers in 1_usize..4,
    ) {
        let case = Case {
            seed,
            residual,
            build_rows,
            domain,
            workers,
            probe_rows: 200,
            limit: Some(FOUR_BATCHES),
            chunk_rows: Some(BATCH),
            ..case(kind, &[key])
        };
        let spilled = case.check().spilled;
        // Rows with a NULL key are dropped at once where they cannot come out, and they may be all there are.
        let (build, _) = case.tables();
        prop_assert!(spilled || build.columns[0].null_count() > build_rows / 2);
    }
}

/// One text is large; the error comes where it is built, or `None` if there is none.
fn with_a_large_row(rows: usize, length: usize, limit: usize, dictionary: bool) -> Option<Error> {
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        build_keys: vec![0],
        probe_keys: vec![0],
        nulls_match: false,
        residual: None,
        output: vec![JoinColumn::Build(1)],
    };
    let texts = (0..rows).map(|row| if row == rows / 2 { "x".repeat(length) } else { format!("a text of row {row}") });
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let form = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View));
    let texts = if dictionary { cast(&texts, &form).unwrap() } else { texts };
    let keys: ArrayRef = Arc::new((0..rows as i64).collect::<Int64Array>());
    let resources = Resources { budget: Budget::new(Some(limit)), ..Resources::for_tests() };
    let types = vec![DataType::Int64, DataType::Utf8];
    let builder = JoinBuilder::new(spec, types.clone(), types, resources).unwrap();
    let mut local = builder.local().unwrap();
    for from in (0..rows).step_by(BATCH) {
        let count = BATCH.min(rows - from);
        let chunk = Chunk::new(vec![keys.slice(from, count), texts.slice(from, count)], count);
        if let Err(error) = local.consume(&chunk) {
            return Some(error);
        }
    }
    let table = builder.finish(vec![local]).unwrap();
    let mut found = 0;
    let mut cursor = table.probe(None, Chunk::new(vec![Arc::clone(&keys), texts], rows)).unwrap();
    while let Some(chunk) = cursor.next().unwrap() {
        found += chunk.rows;
    }
    let rest = table.rest(None).unwrap();
    for morsel in 0..rest.as_ref().map_or(0, |rest| rest.morsels()) {
        let mut reader = rest.as_ref().unwrap().read(morsel).unwrap();
        while let Some(chunk) = reader.next().unwrap() {
            found += chunk.rows;
        }
    }
    assert_eq!(found, rows);
    None
}

#[test]
fn a_row_larger_than_the_budget_is_an_error() {
    for dictionary in [false, true] {
        let error = with_a_large_row(300, 1 << 20, FOUR_BATCHES, dictionary).unwrap();
        assert_eq!(error.kind(), ErrorKind::Resources);
        let expected = "joining a row of 1 MiB: the memory limit is 2 KiB, and one row must fit; raise --memory-limit";
        assert_eq!(error.message(), expected);
        // With memory for it, or if it is no more than the least, it is a row like others.
        assert!(with_a_large_row(300, 1 << 20, 8 << 20, dictionary).is_none());
        assert!(with_a_large_row(300, 1 << 10, FOUR_BATCHES, dictionary).is_none());
        // Many rows are not a large one.
        assert!(with_a_large_row(20_000, 1 << 10, 300 << 10, dictionary).is_none());
    }
}
