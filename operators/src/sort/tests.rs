//! The sort against the order that arrow's comparators give on logical arrays.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::*;
use bireme_engine::budget::Budget;
use bireme_engine::error::ErrorKind;
use bireme_engine::morsel::{Chunk, Scan, to_carried, to_logical};
use proptest::prelude::*;

use super::*;

/// Numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Duration(TimeUnit::Millisecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::MonthDayNano),
        Decimal32(9, 2),
        Decimal64(18, 2),
        Decimal128(15, 2),
        Decimal128(18, 0),
        Decimal128(38, 4),
        Decimal256(60, 4),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        BinaryView,
        FixedSizeBinary(5),
        Dictionary(Box::new(Int32), Box::new(Utf8)),
    ];
    types.push(List(Arc::new(Field::new_list_field(Int32, true))));
    types
}

/// So many values of a type: no NULLs or some or nothing else; limits, many ties, or all different.
fn values(random: &mut Random, logical: &DataType, rows: usize) -> ArrayRef {
    let (null_of, style) = (random.one_of(&[0, 3, 20, 0, 3, 20, 1]), random.below(4));
    let mut integers = |min: i128, max: i128| -> Vec<Option<i128>> {
        let row = |random: &mut Random| {
            if null_of > 0 && random.below(null_of) == 0 {
                return None;
            }
            let any = (u128::from(random.next()) << 64 | u128::from(random.next())) as i128;
            let few = random.below(5) as i128 - 2;
            Some(match style {
                0 => few.clamp(min, max),
                1 => random.one_of(&[min, max, 0, min + 1, max - 1]),
                2 => any.clamp(min, max),
                _ if max - min < 1 << 65 => min + (any as u128 % (max - min + 1) as u128) as i128,
                _ => any % max,
            })
        };
        (0..rows).map(|_| row(random)).collect()
    };
    use DataType::*;
    let signed = |bits: u32| (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
    let limit = |digits: u8| 10_i128.pow(digits.into()) - 1;
    macro_rules! primitive {
        ($type:ty, $range:expr) => {{
            let (min, max) = $range;
            let values = integers(min, max).into_iter().map(|value| value.map(|value| value as _));
            let array = values.collect::<PrimitiveArray<$type>>();
            Arc::new(array.with_data_type(logical.clone())) as ArrayRef
        }};
    }
    match logical {
        Boolean => Arc::new(integers(0, 1).into_iter().map(|value| value.map(|v| v == 1)).collect::<BooleanArray>()),
        Int8 => primitive!(Int8Type, signed(8)),
        Int16 => primitive!(Int16Type, signed(16)),
        Int32 => primitive!(Int32Type, signed(32)),
        Date32 => primitive!(Date32Type, signed(32)),
        Time32(_) => primitive!(Time32SecondType, signed(32)),
        Interval(IntervalUnit::YearMonth) => primitive!(IntervalYearMonthType, signed(32)),
        Int64 => primitive!(Int64Type, signed(64)),
        Date64 => primitive!(Date64Type, signed(64)),
        Time64(_) => primitive!(Time64NanosecondType, signed(64)),
        Timestamp(..) => primitive!(TimestampMicrosecondType, signed(64)),
        Duration(_) => primitive!(DurationMillisecondType, signed(64)),
        UInt8 => primitive!(UInt8Type, (0, 255)),
        UInt16 => primitive!(UInt16Type, (0, 65535)),
        UInt32 => primitive!(UInt32Type, (0, i128::from(u32::MAX))),
        UInt64 => primitive!(UInt64Type, (0, i128::from(u64::MAX))),
        Decimal32(digits, _) => primitive!(Decimal32Type, (-limit(*digits), limit(*digits))),
        Decimal64(digits, _) => primitive!(Decimal64Type, (-limit(*digits), limit(*digits))),
        Decimal128(digits, _) => primitive!(Decimal128Type, (-limit(*digits), limit(*digits))),
        Decimal256(..) => {
            let values = integers(-limit(38), limit(38)).into_iter();
            let values = values.map(|value| value.map(arrow::datatypes::i256::from_i128));
            Arc::new(values.collect::<Decimal256Array>().with_data_type(logical.clone()))
        }
        Float16 | Float32 | Float64 => {
            let special = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, -1.5, f64::MIN];
            let of = |value: i128| if value % 3 == 0 { special[value as usize % 9] } else { value as i64 as f64 / 7.0 };
            let values = integers(0, i128::from(u64::MAX)).into_iter().map(|value| value.map(of));
            let values = Arc::new(values.collect::<Float64Array>()) as ArrayRef;
            cast(&values, logical).unwrap()
        }
        Interval(_) => {
            let of = |v: i128| IntervalMonthDayNano::new(v as i32 % 3, (v >> 8) as i32 % 3, (v >> 16) as i64);
            let values = integers(signed(64).0, signed(64).1).into_iter().map(|value| value.map(of));
            Arc::new(values.collect::<IntervalMonthDayNanoArray>())
        }
        List(_) => {
            let lists = integers(0, 200).into_iter();
            let lists =
                lists.map(|value| value.map(|v| (0..v % 4).map(move |i| (i != 2).then_some((v + i) as i32 % 3))));
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                lists.map(|list| list.map(|list| list.collect::<Vec<_>>())),
            ))
        }
        FixedSizeBinary(_) => {
            let values = integers(0, 300).into_iter();
            let values = values.map(|v| v.map(|v| [7, v as u8, 0, (v >> 4) as u8, 255]));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 5).unwrap())
        }
        text => {
            let long = "a long prefix that all texts share, and more of it ";
            let head = random.one_of(&["", "", "x", "Customer#", long]);
            let tails = random.one_of(&[["", "\0", "a", "a\0"], ["1", "22", "333", "4444"], ["é", "ż", "zz", "~"]]);
            let value = |random: &mut Random| {
                (null_of == 0 || random.below(null_of) > 0).then(|| match style {
                    0 => format!("{head}{}", random.one_of(&tails)),
                    1 => format!("{head}{:04}", random.below(10_000)),
                    2 => format!("{}{}", &head[..random.below(head.len() + 1)], random.one_of(&tails)),
                    _ => format!("{head}{}{}", random.one_of(&tails), "y".repeat(random.below(30))),
                })
            };
            // Few enough for a dictionary of bytes.
            let few = (0..100).map(|_| value(random)).collect::<Vec<_>>();
            let texts = (0..rows).map(|_| random.one_of(&few)).collect::<StringArray>();
            cast(&texts, text).unwrap()
        }
    }
}

/// A slice of logical rows as a chunk, each column in any of its carried forms.
fn chunk_of(random: &mut Random, columns: &[ArrayRef], start: usize, rows: usize) -> Chunk {
    let carried = columns.iter().map(|column| {
        let column = column.slice(start, rows);
        let plain = to_carried(&column).unwrap();
        match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if random.below(2) == 0 => {
                cast(&plain, &DataType::Dictionary(DataType::UInt32.into(), DataType::Utf8View.into())).unwrap()
            }
            DataType::Binary | DataType::BinaryView if random.below(2) == 0 => {
                let flat = cast(&plain, &DataType::Binary).unwrap();
                let keys = (0..rows as u32).map(|row| plain.is_valid(row as usize).then_some(row));
                let keys = keys.collect::<UInt32Array>();
                Arc::new(DictionaryArray::new(keys, cast(&flat, &DataType::BinaryView).unwrap()))
            }
            DataType::Decimal128(38, _) if random.below(2) == 0 => {
                let wide = plain.as_primitive::<Decimal128Type>();
                let narrow = wide.iter().map(|value| value.map(i64::try_from).transpose());
                match narrow.collect::<Result<Int64Array, _>>() {
                    Ok(narrow) => Arc::new(narrow) as ArrayRef,
                    Err(_) => Arc::new(wide.clone().with_precision_and_scale(37, 0).unwrap()),
                }
            }
            _ => plain,
        }
    });
    Chunk::new(carried.collect(), rows)
}

struct Case {
    columns: Vec<ArrayRef>,
    spec: SortSpec,
    workers: usize,
    chunk_rows: usize,
    resources: Resources,
}

/// The rows of a scan as logical columns.
fn rows_of(scan: &dyn Scan, logical: &[DataType]) -> Vec<ArrayRef> {
    assert!(scan.ordered());
    let mut chunks = Vec::new();
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel).unwrap();
        while let Some(chunk) = reader.next().unwrap() {
            assert!(chunk.rows > 0 && chunk.rows <= bireme_engine::morsel::CHUNK_ROWS);
            chunks.push(chunk);
        }
    }
    let columns = logical.iter().enumerate().map(|(place, logical)| {
        let parts = chunks.iter().map(|chunk| to_logical(&chunk.columns[place], logical).unwrap()).collect::<Vec<_>>();
        let parts = parts.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        if parts.is_empty() { new_empty_array(logical) } else { concat(&parts).unwrap() }
    });
    columns.collect()
}

/// Sorts, with the number of each row as last column; the numbers in sorted order.
fn run(random: &mut Random, case: &Case) -> Result<Vec<u32>> {
    let rows = case.columns[0].len();
    let mut columns = case.columns.clone();
    columns.push(Arc::new((0..rows as u32).collect::<UInt32Array>()));
    let logical = columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>();
    let sorter = Sorter::new(case.spec.clone(), logical.clone(), case.resources.clone())?;
    let mut locals = (0..case.workers).map(|_| sorter.local()).collect::<Result<Vec<_>>>()?;
    let mut start = 0;
    while start < rows {
        let taken = case.chunk_rows.min(rows - start);
        let worker = random.below(case.workers);
        locals[worker].consume(&chunk_of(random, &columns, start, taken))?;
        start += taken;
    }
    let scan = sorter.finish(locals)?;
    let sorted = rows_of(scan.as_ref(), &logical);
    let (numbers, payload) = sorted.split_last().unwrap();
    for (have, column) in payload.iter().zip(&columns) {
        assert_eq!(have, &take(column, numbers, None).unwrap(), "payload of {}", column.data_type());
    }
    Ok(numbers.as_primitive::<UInt32Type>().values().to_vec())
}

/// Rows stand where they have to, no row twice.
fn check(random: &mut Random, case: &Case) {
    let have = run(random, case).unwrap();
    let rows = case.columns[0].len();
    let comparators = case.spec.keys.iter().map(|key| {
        let (column, options) = (&case.columns[key.column], SortOptions::new(key.descending, key.nulls_first));
        make_comparator(column, column, options).unwrap()
    });
    let comparators = comparators.collect::<Vec<_>>();
    let compare = |a: u32, b: u32| {
        let orders = comparators.iter().map(|compare| compare(a as usize, b as usize));
        orders.fold(Ordering::Equal, Ordering::then)
    };
    let mut want = (0..rows as u32).collect::<Vec<_>>();
    want.sort_by(|&a, &b| compare(a, b));
    want.truncate(case.spec.fetch.unwrap_or(rows));
    assert_eq!(have.len(), want.len());
    for (place, (&have, &want)) in have.iter().zip(&want).enumerate() {
        assert_eq!(compare(have, want), Ordering::Equal, "row {place} by {}", case.spec);
    }
    let mut unique = have;
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), want.len());
}

fn resources(limit: Option<usize>, workers: usize) -> Resources {
    Resources { budget: Budget::new(limit), workers, ..Resources::for_tests() }
}

fn key(column: usize, descending: bool, nulls_first: bool) -> SortKey {
    SortKey { column, descending, nulls_first }
}

#[test]
fn every_type_goes_both_ways() {
    let mut random = Random(1);
    for logical in types() {
        for (flags, workers) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (1, 1), (2, 2), (3, 1)] {
            let spec = SortSpec { keys: vec![key(0, flags & 1 > 0, flags & 2 > 0)], fetch: None };
            let rows = random.below(700);
            let columns = vec![values(&mut random, &logical, rows)];
            let case = Case { columns, spec, workers, chunk_rows: 64, resources: resources(None, workers) };
            check(&mut random, &case);
        }
    }
}

fn case(random: &mut Random, rows: usize, fetch: Option<usize>) -> Case {
    let columns = 1 + random.below(5);
    let columns = (0..columns).map(|_| {
        let logical = random.one_of(&types());
        values(random, &logical, rows)
    });
    let columns = columns.collect::<Vec<_>>();
    let keys = (0..1 + random.below(4)).map(|_| {
        let way = random.next();
        key(random.below(columns.len()), way & 1 > 0, way & 2 > 0)
    });
    let spec = SortSpec { keys: keys.collect(), fetch };
    let workers = 1 + random.below(4);
    Case { columns, spec, workers, chunk_rows: random.one_of(&[1, 7, 64, 1000]), resources: resources(None, workers) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_in_order(seed in any::<u64>(), rows in 0_usize..2000) {
        let mut random = Random(seed);
        let case = case(&mut random, rows, None);
        check(&mut random, &case);
    }

    #[test]
    fn the_first_rows_are_the_first(
        seed in any::<u64>(), rows in 0_usize..2000, fetch in prop::sample::select(vec![0, 1, 3, 100, 5000, 70_000]),
    ) {
        let mut random = Random(seed);
        let case = case(&mut random, rows, Some(fetch));
        check(&mut random, &case);
    }
}

#[test]
fn large_sorts_are_dealt_by_all_workers() {
    let mut random = Random(7);
    for (fetch, logical) in [
        (None, DataType::Int64),
        (None, DataType::Utf8),
        (Some(100), DataType::Int32),
        (Some(1000), DataType::Utf8),
        (Some(20_000), DataType::Float64),
        (Some(100_000), DataType::Decimal128(38, 4)),
    ] {
        for _ in 0..3 {
            let columns = vec![values(&mut random, &logical, 300_000), values(&mut random, &DataType::Int16, 300_000)];
            let keys = [key(0, random.below(2) == 0, false), key(1, random.below(2) == 0, true)];
            let keys = keys[..1 + random.below(2)].to_vec();
            let spec = SortSpec { keys, fetch };
            check(&mut random, &Case { columns, spec, workers: 2, chunk_rows: 8192, resources: resources(None, 2) });
        }
    }
}

#[test]
fn the_same_chunks_give_the_same_rows() {
    let columns = vec![values(&mut Random(3), &DataType::Utf8, 5000)];
    let spec = |fetch| SortSpec { keys: vec![key(0, false, false)], fetch };
    for fetch in [None, Some(50)] {
        let case = Case {
            columns: columns.clone(),
            spec: spec(fetch),
            workers: 1,
            chunk_rows: 64,
            resources: resources(None, 1),
        };
        assert_eq!(run(&mut Random(4), &case).unwrap(), run(&mut Random(4), &case).unwrap());
    }
}

#[test]
fn unordered_types_and_odd_columns_are_errors() {
    let map = DataType::Map(
        Arc::new(Field::new(
            "entries",
            DataType::Struct(
                vec![Field::new("k", DataType::Int8, false), Field::new("v", DataType::Int8, true)].into(),
            ),
            false,
        )),
        false,
    );
    let spec = SortSpec { keys: vec![key(0, false, false)], fetch: None };
    let error = |types| Sorter::new(spec.clone(), types, resources(None, 1)).err().map(|error| error.kind());
    assert_eq!(error(vec![]), Some(ErrorKind::Internal));
    assert!(error(vec![map]).is_none_or(|kind| kind == ErrorKind::Unsupported));
}

/// A budget of a few batches: runs of a batch or two, merged in several passes.
#[test]
fn sorts_far_past_the_budget() {
    let mut random = Random(11);
    for (limit, rows, workers, chunk_rows) in
        [(64 << 10, 20_000, 1, 64), (64 << 10, 20_000, 2, 64), (1 << 20, 100_000, 3, 8192), (16 << 10, 3000, 4, 64)]
    {
        for fetch in [None, Some(10), Some(15_000)] {
            let types = [DataType::Int32, DataType::Utf8, DataType::Decimal128(38, 4)];
            let columns = types.iter().map(|logical| values(&mut random, logical, rows)).collect();
            let keys = vec![key(0, random.below(2) == 0, true), key(1, true, random.below(2) == 0)];
            let resources = resources(Some(limit), workers);
            let (budget, metrics) = (resources.budget.clone(), Arc::clone(&resources.metrics));
            let case = Case { columns, spec: SortSpec { keys, fetch }, workers, chunk_rows, resources };
            check(&mut random, &case);
            assert!(fetch == Some(10) || metrics.extra("spilled_runs") > Some(1));
            assert!(budget.peak() <= limit + limit / 2, "{} of {limit}", budget.peak());
            drop(case);
            assert_eq!(budget.used(), 0);
        }
    }
}

#[test]
fn four_batches_of_memory_are_enough() {
    let mut random = Random(12);
    let columns = vec![values(&mut random, &DataType::Int64, 6400), values(&mut random, &DataType::Float64, 6400)];
    let resources = resources(Some(4 * 64 * 20), 1);
    let metrics = Arc::clone(&resources.metrics);
    let spec = SortSpec { keys: vec![key(0, false, true)], fetch: None };
    check(&mut random, &Case { columns, spec, workers: 1, chunk_rows: 64, resources });
    assert!(metrics.extra("merged_runs") > Some(1), "several passes");
}

#[test]
fn a_row_larger_than_the_budget_is_an_error() {
    let mut random = Random(13);
    let columns = vec![Arc::new(StringArray::from(vec!["a".to_owned(), "b".repeat(100_000)])) as ArrayRef];
    let spec = SortSpec { keys: vec![key(0, false, true)], fetch: None };
    let case = Case { columns, spec, workers: 1, chunk_rows: 64, resources: resources(Some(50_000), 1) };
    let error = run(&mut random, &case).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(error.message().contains("sorting a row"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_64_rows_under_a_budget_of_four(
        seed in any::<u64>(), rows in 640_usize..2000, fetch in prop::sample::select(vec![None, Some(500)]),
    ) {
        let mut random = Random(seed);
        let case = case(&mut random, rows, fetch);
        // With the number of each row, and what sorts it.
        let bytes = case.columns.iter().map(|column| column.get_array_memory_size()).sum::<usize>() / rows + 4 + ORDER_BYTES;
        let resources = resources(Some(4 * 64 * bytes), case.workers);
        let (budget, metrics) = (resources.budget.clone(), Arc::clone(&resources.metrics));
        check(&mut random, &Case { chunk_rows: 64, resources, ..case });
        prop_assert!(fetch.is_some() || metrics.extra("spilled_runs") > Some(1));
        prop_assert_eq!(budget.used(), 0);
    }

    #[test]
    fn spilled_rows_come_in_order(
        seed in any::<u64>(), rows in 0_usize..1500, fetch in prop::sample::select(vec![None, Some(1), Some(700)]),
    ) {
        let mut random = Random(seed);
        let mut case = case(&mut random, rows, fetch);
        case.resources = resources(Some(20_000), case.workers);
        check(&mut random, &case);
    }
}
