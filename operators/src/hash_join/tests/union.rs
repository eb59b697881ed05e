//! The filters of several tables as one.

use super::*;

const MOST: usize = 1 << 20;

/// A table of the rows of a build side.
fn table(case: &Case, build: &Table, probe: &Table, dice: &mut Dice) -> Arc<JoinTable> {
    let resources = Resources::for_tests();
    let builder = JoinBuilder::tuned(case.spec(), build.types(), probe.types(), resources, case.tuning).unwrap();
    let mut local = builder.local().unwrap();
    build.chunks(dice).iter().for_each(|chunk| local.consume(chunk).unwrap());
    builder.finish(vec![local]).unwrap()
}

fn slice(table: &Table, from: usize, to: usize) -> Table {
    Table { columns: table.columns.iter().map(|column| column.slice(from, to - from)).collect(), rows: to - from }
}

/// `None` if a table has no filter of so many bytes.
fn united(tables: &[Arc<JoinTable>], key: usize, logical: DataType, most: usize) -> Option<Arc<dyn KeyFilter>> {
    let mut union = KeyUnion::new(logical, most);
    for table in tables {
        union.add(&table.packed_filter(key, tables.len(), most)?).unwrap();
    }
    assert_eq!(union.parts(), tables.len());
    Some(union.finish(&Budget::unlimited()).unwrap())
}

#[test]
fn a_union_passes_every_row_that_has_a_partner_in_any_part() {
    let mut folded = 0;
    for seed in 0..20 {
        for key in KEY_TYPES {
            for (nulls_match, dense, most) in [(false, true, MOST), (true, false, MOST), (false, true, 64)] {
                let tuning = Tuning { dense, ..Tuning::default() };
                let case = Case { seed, nulls_match, tuning, ..case(JoinKind::Inner, &[key, KeyType::Int32]) };
                let (build, probe) = case.tables();
                let mut dice = Dice(seed);
                let mut cuts = [0, dice.roll(build.rows as u64) as usize, dice.roll(9) as usize, build.rows];
                cuts.sort_unstable();
                let parts = cuts.windows(2).map(|cut| slice(&build, cut[0], cut[1])).collect::<Vec<_>>();
                let tables = parts.iter().map(|part| table(&case, part, &probe, &mut dice)).collect::<Vec<_>>();
                let (builds, probes) = (build.texts(), probe.texts());
                for key in 0..2 {
                    let Some(filter) = united(&tables, key, probe.types()[key].clone(), most) else { continue };
                    folded += usize::from(most < MOST);
                    let mut from = 0;
                    for chunk in probe.chunks(&mut dice) {
                        let passes = filter.test(&chunk.columns[key]).unwrap();
                        for row in 0..chunk.rows {
                            let partner = builds.iter().any(|build| case.keys_match(&probes[from + row], build));
                            assert!(passes.value(row) || !partner, "{case:?}: row {}", from + row);
                        }
                        from += chunk.rows;
                    }
                }
            }
        }
    }
    assert!(folded > 20, "only {folded} filters were folded");
}

/// A table of one key.
fn of(values: impl IntoIterator<Item = i64>) -> Arc<JoinTable> {
    let build = Table { columns: vec![Arc::new(values.into_iter().collect::<Int64Array>())], rows: 0 };
    let build = Table { rows: build.columns[0].len(), ..build };
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        build_keys: vec![0],
        probe_keys: vec![0],
        nulls_match: false,
        residual: None,
        output: vec![JoinColumn::Probe(0)],
    };
    let builder = JoinBuilder::new(spec, build.types(), build.types(), Resources::for_tests()).unwrap();
    let mut local = builder.local().unwrap();
    build.chunks(&mut Dice(1)).iter().for_each(|chunk| local.consume(chunk).unwrap());
    builder.finish(vec![local]).unwrap()
}

fn passing(filter: &dyn KeyFilter, values: impl IntoIterator<Item = i64>) -> usize {
    let asked: ArrayRef = Arc::new(values.into_iter().collect::<Int64Array>());
    filter.test(&asked).unwrap().count_set_bits()
}

#[test]
fn a_union_drops_what_it_can() {
    let exact = united(&[of([-5, 10]), of([]), of([64, 11])], 0, DataType::Int64, MOST).unwrap();
    assert_eq!((exact.is_exact(), exact.range(), exact.values()), (true, Some((-5, 64)), 4));
    assert_eq!(passing(exact.as_ref(), -100..100), 4);

    let none = united(&[of([]), of([])], 0, DataType::Int64, MOST).unwrap();
    assert_eq!(passing(none.as_ref(), -100..100), 0);
    assert!(none.range().is_some_and(|(least, greatest)| least > greatest));

    // Bits far from each other, and bits and blocks, become blocks.
    let far = 1 << 50;
    let apart = united(&[of(0..1000), of(far..far + 1000)], 0, DataType::Int64, MOST).unwrap();
    assert!(!apart.is_exact());
    assert_eq!(passing(apart.as_ref(), (0..1000).chain(far..far + 1000)), 2000);
    assert!(passing(apart.as_ref(), 5000..105_000) < 5_000);
    let sparse = |from: u64| (from..from + 30_000).map(|value| keys::mix(value) as i64);
    let mixed = united(&[of(0..1000), of(sparse(0)), of(sparse(30_000))], 0, DataType::Int64, MOST).unwrap();
    assert_eq!(passing(mixed.as_ref(), (0..1000).chain(sparse(0)).chain(sparse(30_000))), 61_000);
    assert!(passing(mixed.as_ref(), sparse(100_000)) < 1_500);
    // A filter that would pass nearly everything is none.
    assert!(of(sparse(0)).packed_filter(0, 3, 1024).is_none());
}

#[test]
fn what_is_no_filter_is_an_error() {
    for words in [&[][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 7, 0, 1, 1], &[0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1]] {
        assert!(KeyUnion::new(DataType::Int64, MOST).add(words).is_err(), "{words:?}");
    }
}
