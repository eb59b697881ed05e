//! Window functions against a search of the whole table for each row.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ops::Range;

use arrow::array::{
    Array, AsArray, Decimal128Array, DynComparator, FixedSizeBinaryArray, Int64Array, StringArray, UInt32Array,
    make_comparator,
};
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use bireme_engine::budget::Budget;
use bireme_engine::error::ErrorKind;
use bireme_engine::morsel::{Chunk, MorselReader, Scan};
use proptest::prelude::*;

use self::tables::{Random, chunks, column, types};
use super::*;
use crate::pipeline::ir::SortKey;

mod tables;

/// Runs calls, and returns the logical columns of input and calls.
fn run(
    spec: &WindowSpec,
    columns: &[ArrayRef],
    chunk_rows: usize,
    random: &mut Random,
    resources: Resources,
) -> Result<Vec<ArrayRef>> {
    let mut types = columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>();
    let windows = Windows::new(spec.clone(), types.clone(), resources)?;
    types.extend(spec.calls.iter().map(|call| call.data_type.clone()));
    let mut cursor = windows.cursor();
    let mut done = Vec::new();
    for chunk in chunks(columns, chunk_rows, random) {
        cursor.push(chunk)?;
        done.extend(std::iter::from_fn(|| cursor.pop()));
    }
    cursor.finish()?;
    done.extend(std::iter::from_fn(|| cursor.pop()));
    assert!(!cursor.finish()? && cursor.pop().is_none());
    let mut pieces = vec![Vec::new(); types.len()];
    for chunk in done {
        assert!(chunk.rows > 0);
        assert_eq!(chunk.columns.len(), types.len());
        for ((pieces, column), data_type) in pieces.iter_mut().zip(&chunk.columns).zip(&types) {
            pieces.push(to_logical(column, data_type).unwrap());
        }
    }
    let whole = pieces.iter().zip(&types).map(|(pieces, data_type)| match &pieces[..] {
        [] => arrow::array::new_empty_array(data_type),
        _ => concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<_>>()).unwrap(),
    });
    Ok(whole.collect())
}

fn comparators(columns: &[ArrayRef], places: impl Iterator<Item = usize>) -> Vec<DynComparator> {
    places.map(|place| make_comparator(&columns[place], &columns[place], SortOptions::default()).unwrap()).collect()
}

/// What a call should be in one row: another row's value, or a number.
#[derive(Debug)]
enum Expected {
    Row(Option<usize>),
    Default,
    Whole(Option<i128>),
    Float(Option<f64>),
}

/// The slow reference: partition, peers and frame are looked for anew for each row.
struct Reference<'a> {
    columns: &'a [ArrayRef],
    partition: Vec<DynComparator>,
    order: Vec<DynComparator>,
}

impl Reference<'_> {
    fn same(&self, comparators: &[DynComparator], a: usize, b: usize) -> bool {
        comparators.iter().all(|compare| compare(a, b).is_eq())
    }

    fn rows(&self, of: impl Fn(usize) -> bool) -> Range<usize> {
        let rows = (0..self.columns[0].len()).filter(|&row| of(row)).collect::<Vec<_>>();
        let range = rows[0]..rows[rows.len() - 1] + 1;
        assert_eq!(range.len(), rows.len(), "the input is not sorted");
        range
    }

    fn expected(&self, call: &WindowCall, row: usize) -> Expected {
        use WindowFunction::*;
        let partition = self.rows(|other| self.same(&self.partition, row, other));
        let peers = self.rows(|other| self.same(&self.partition, row, other) && self.same(&self.order, row, other));
        let frame = match call.frame {
            WindowFrame::Partition => partition.clone(),
            WindowFrame::Rows => partition.start..row + 1,
            WindowFrame::Range => partition.start..peers.end,
        };
        let place = row - partition.start;
        let valid = |column: usize| {
            let nulls = self.columns[column].logical_nulls();
            frame.clone().filter(|&row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))).collect::<Vec<_>>()
        };
        let shifted = |offset: i64, default: bool| match usize::try_from(row as i64 + offset) {
            Ok(row) if partition.contains(&row) => Expected::Row(Some(row)),
            _ if default => Expected::Default,
            _ => Expected::Row(None),
        };
        let best = |column: usize, sign: std::cmp::Ordering| {
            let compare = comparators(self.columns, std::iter::once(column)).remove(0);
            valid(column).into_iter().reduce(|best, row| if compare(row, best) == sign { row } else { best })
        };
        match &call.function {
            RowNumber => Expected::Whole(Some(place as i128 + 1)),
            Rank => Expected::Whole(Some((peers.start - partition.start) as i128 + 1)),
            DenseRank => {
                let before = partition.start..peers.start;
                let groups = before.filter(|&row| row + 1 == peers.start || !self.same(&self.order, row, row + 1));
                Expected::Whole(Some(groups.count() as i128 + 1))
            }
            PercentRank if partition.len() == 1 => Expected::Float(Some(0.0)),
            PercentRank => Expected::Float(Some((peers.start - partition.start) as f64 / (partition.len() - 1) as f64)),
            CumeDist => Expected::Float(Some((peers.end - partition.start) as f64 / partition.len() as f64)),
            Ntile(parts) => {
                let lengths = (0..*parts as usize).map(|part| {
                    partition.len() / *parts as usize + usize::from(part < partition.len() % *parts as usize)
                });
                let mut until = 0;
                let part = lengths.into_iter().position(|length| {
                    until += length;
                    place < until
                });
                Expected::Whole(part.map(|part| part as i128 + 1))
            }
            Lag(_, offset, default) => shifted(-offset, default.is_some()),
            Lead(_, offset, default) => shifted(*offset, default.is_some()),
            FirstValue(_) => Expected::Row(Some(frame.start)),
            LastValue(_) => Expected::Row(Some(frame.end - 1)),
            Min(column) => Expected::Row(best(*column, std::cmp::Ordering::Less)),
            Max(column) => Expected::Row(best(*column, std::cmp::Ordering::Greater)),
            Count(column) => Expected::Whole(Some(column.map_or(frame.len(), |column| valid(column).len()) as i128)),
            Sum(column) | Avg(column) if self.columns[*column].data_type().is_floating() => {
                let values = cast(&self.columns[*column], &DataType::Float64).unwrap();
                let rows = valid(*column);
                let sum =
                    rows.iter().map(|&row| values.as_primitive::<Float64Type>().value(row)).fold(0.0, |a, b| a + b);
                let count = if matches!(call.function, Avg(_)) { rows.len() as f64 } else { 1.0 };
                Expected::Float((!rows.is_empty()).then_some(sum / count))
            }
            Sum(column) | Avg(column) => {
                let values = match self.columns[*column].data_type() {
                    DataType::Decimal128(..) => {
                        self.columns[*column].as_primitive::<Decimal128Type>().values().to_vec()
                    }
                    _ => {
                        let values = cast(&self.columns[*column], &DataType::Int64).unwrap();
                        values.as_primitive::<Int64Type>().values().iter().map(|&value| value.into()).collect()
                    }
                };
                let rows = valid(*column);
                let sum = rows.iter().map(|&row| values[row]).sum::<i128>();
                match (&call.function, &call.data_type) {
                    _ if rows.is_empty() => Expected::Whole(None),
                    (Sum(_), _) => Expected::Whole(Some(sum)),
                    (_, DataType::Float64) => Expected::Float(Some(sum as f64 / rows.len() as f64)),
                    _ => Expected::Whole(Some(sum * 10_000 / rows.len() as i128)),
                }
            }
        }
    }
}

fn check(spec: &WindowSpec, columns: &[ArrayRef], chunk_rows: usize, random: &mut Random) {
    let resources = Resources::for_tests();
    let result = run(spec, columns, chunk_rows, random, resources.clone()).unwrap();
    assert_eq!(resources.budget.used(), 0);
    assert_eq!(&result[..columns.len()], columns);
    let reference = Reference {
        columns,
        partition: comparators(columns, spec.partition.iter().copied()),
        order: comparators(columns, spec.order.iter().map(|key| key.column)),
    };
    for (call, result) in spec.calls.iter().zip(&result[columns.len()..]) {
        let mut rows = Vec::new();
        for row in 0..columns[0].len() {
            let story = || format!("{call:?} in row {row}");
            match reference.expected(call, row) {
                Expected::Row(other) => rows.push(other.map(|other| other as u32)),
                Expected::Default => rows.push(Some(columns[0].len() as u32)),
                Expected::Whole(None) | Expected::Float(None) => assert!(result.is_null(row), "{}", story()),
                Expected::Whole(Some(number)) => {
                    assert!(result.is_valid(row), "{}", story());
                    let have = match result.data_type() {
                        DataType::UInt64 => result.as_primitive::<arrow::datatypes::UInt64Type>().value(row).into(),
                        DataType::Int64 => result.as_primitive::<Int64Type>().value(row).into(),
                        _ => result.as_primitive::<Decimal128Type>().value(row),
                    };
                    assert_eq!(have, number, "{}", story());
                }
                Expected::Float(Some(number)) => {
                    let have = result.as_primitive::<Float64Type>().value(row);
                    assert!(have.to_bits() == number.to_bits() || have.is_nan() && number.is_nan(), "{}", story());
                }
            }
        }
        if let Some(place) = call.function.column().filter(|_| !rows.is_empty()) {
            let with_default = match &call.function {
                WindowFunction::Lag(.., Some(default)) | WindowFunction::Lead(.., Some(default)) => {
                    concat(&[columns[place].as_ref(), default.as_ref()]).unwrap()
                }
                _ => Arc::clone(&columns[place]),
            };
            let expected = take(&with_default, &UInt32Array::from(rows), None).unwrap();
            assert_eq!(result, &expected, "{call:?}");
        }
    }
}

const NUMBERS: usize = 3;

/// Partition, order, a third of any type, then numbers; sorted.
fn table(kinds: [&DataType; 3], rows: usize, random: &mut Random) -> Vec<ArrayRef> {
    let numbers = [
        DataType::Int32,
        DataType::Decimal128(15, 2),
        DataType::Decimal128(25, 0),
        DataType::Float64,
        DataType::UInt64,
    ];
    let columns = kinds.into_iter().chain(&numbers).map(|data_type| column(data_type, rows, random));
    let columns = columns.collect::<Vec<_>>();
    // Sorted the slow way, by comparisons.
    let compare = comparators(&columns, 0..2);
    let mut order = (0..rows as u32).collect::<Vec<_>>();
    order.sort_by(|&a, &b| {
        let (a, b) = (a as usize, b as usize);
        compare[0](a, b).then_with(|| compare[1](a, b))
    });
    let order = UInt32Array::from(order);
    columns.iter().map(|column| take(column, &order, None).unwrap()).collect()
}

fn calls(columns: &[ArrayRef], frame: WindowFrame, offset: i64) -> Vec<WindowCall> {
    use WindowFunction::*;
    let one = columns[2].data_type();
    let call = |function, data_type: &DataType| WindowCall { function, frame, data_type: data_type.clone() };
    let default = (!columns[2].is_empty()).then(|| columns[2].slice(columns[2].len() / 2, 1));
    let mut calls = vec![
        call(RowNumber, &DataType::UInt64),
        call(Rank, &DataType::Int64),
        call(DenseRank, &DataType::UInt64),
        call(PercentRank, &DataType::Float64),
        call(CumeDist, &DataType::Float64),
        call(Ntile(3), &DataType::UInt64),
        call(Lag(2, offset, None), one),
        call(Lag(2, offset, default.clone()), one),
        call(Lead(2, offset, default), one),
        call(Lead(2, i64::MIN, None), one),
        call(FirstValue(2), one),
        call(LastValue(2), one),
        call(Min(NUMBERS), &DataType::Int32),
        call(Max(NUMBERS + 3), &DataType::Float64),
        call(Count(None), &DataType::Int64),
        call(Count(Some(2)), &DataType::Int64),
        call(Sum(NUMBERS), &DataType::Int64),
        call(Sum(NUMBERS + 1), &DataType::Decimal128(25, 2)),
        call(Sum(NUMBERS + 2), &DataType::Decimal128(35, 0)),
        call(Sum(NUMBERS + 3), &DataType::Float64),
        call(Avg(NUMBERS), &DataType::Float64),
        call(Avg(NUMBERS + 1), &DataType::Decimal128(19, 6)),
        call(Avg(NUMBERS + 2), &DataType::Decimal128(29, 4)),
        call(Avg(NUMBERS + 3), &DataType::Float64),
    ];
    if *one != DataType::Null && !one.is_nested() {
        calls.extend([call(Min(2), one), call(Max(2), one)]);
    }
    calls
}

fn order(columns: &[usize]) -> Vec<SortKey> {
    columns.iter().map(|&column| SortKey { column, descending: false, nulls_first: true }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_tables(
        seed in any::<u64>(),
        rows in prop_oneof![0..4_usize, 4..120_usize],
        kinds in any::<[prop::sample::Index; 3]>(),
        frame in prop_oneof![Just(WindowFrame::Partition), Just(WindowFrame::Rows), Just(WindowFrame::Range)],
        keys in 0..4_usize,
        offset in -3..100_i64,
        unit in prop_oneof![Just(Unit::Row), Just(Unit::Peers), Just(Unit::Partition)],
        chunk_rows in prop_oneof![Just(1_usize), 2..40_usize, Just(1000_usize)],
    ) {
        let mut random = Random::new(seed);
        let all = types();
        let columns = table(kinds.map(|kind| kind.get(&all)), rows, &mut random);
        let (partition, order) = match keys {
            0 => (vec![], vec![]),
            1 => (vec![0], vec![]),
            2 => (vec![], order(&[0, 1])),
            _ => (vec![0], order(&[1])),
        };
        let mut calls = calls(&columns, frame, offset);
        // Without those that need whole partitions, rows go on before their partition is complete.
        calls.retain(|call| Unit::of(call) <= unit);
        let spec = WindowSpec { partition, order, calls };
        check(&spec, &columns, chunk_rows, &mut random);
    }
}

fn one_call(function: WindowFunction, frame: WindowFrame, data_type: DataType) -> WindowSpec {
    WindowSpec { partition: vec![0], order: Vec::new(), calls: vec![WindowCall { function, frame, data_type }] }
}

#[test]
fn sums_that_do_not_fit_are_errors_and_others_are_not() {
    let (many, max) = (10_i128.pow(38) - 1, i64::MAX);
    let decimals = Decimal128Array::from(vec![many, many, -many, -many]).with_precision_and_scale(38, 0).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["a"; 4])),
        Arc::new(decimals),
        Arc::new(Int64Array::from(vec![max, max, -max, -max])),
    ];
    let sum = |column, frame, data_type| {
        let spec = one_call(WindowFunction::Sum(column), frame, data_type);
        run(&spec, &columns, 3, &mut Random::new(1), Resources::for_tests())
    };
    for (column, data_type) in [(1, DataType::Decimal128(38, 0)), (2, DataType::Int64)] {
        assert!(sum(column, WindowFrame::Partition, data_type.clone()).is_ok(), "what comes back in the end fits");
        assert_eq!(sum(column, WindowFrame::Rows, data_type).unwrap_err().kind(), ErrorKind::User);
    }
}

#[test]
fn a_partition_that_is_larger_than_the_budget_is_an_error() {
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values((0..1000).map(|row| row / 500)))];
    let spec = one_call(WindowFunction::Count(None), WindowFrame::Partition, DataType::UInt64);
    let run = |limit| {
        let resources = Resources { budget: Budget::new(Some(limit)), ..Resources::for_tests() };
        run(&spec, &columns, 100, &mut Random::new(1), resources)
    };
    assert!(run(6000).is_ok());
    let error = run(3000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(error.message().contains("partition"), "{error}");
}

#[test]
fn batches_of_64_rows_under_a_budget_of_four() {
    let numbers = |of: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values((0..6400).map(of))) as ArrayRef;
    let columns = [numbers(|row| row / 50), numbers(|row| row % 50)];
    // A sum of whole partitions: a running one keeps no rows.
    let spec = one_call(WindowFunction::Sum(1), WindowFrame::Partition, DataType::Int64);
    let budget = Budget::new(Some(4 * 64 * 16));
    let resources = Resources { budget: budget.clone(), ..Resources::for_tests() };
    let result = run(&spec, &columns, 64, &mut Random::new(1), resources).unwrap();
    let sums = numbers(|_| 50 * 49 / 2);
    assert_eq!(result, [columns[0].clone(), columns[1].clone(), sums]);
    assert!(budget.peak() > 64 * 16 && budget.used() == 0);
}

#[test]
fn a_row_larger_than_the_budget_is_an_error() {
    let large = FixedSizeBinaryArray::try_from_iter([vec![7_u8; 1 << 20]].into_iter()).unwrap();
    let columns = [Arc::new(large) as ArrayRef];
    let spec = one_call(WindowFunction::RowNumber, WindowFrame::Partition, DataType::UInt64);
    let run = |limit| {
        let resources = Resources { budget: Budget::new(Some(limit)), ..Resources::for_tests() };
        run(&spec, &columns, 64, &mut Random::new(1), resources)
    };
    let error = run(4 * 64 * 32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(error.message().ends_with("raise --memory-limit"), "{error}");
    assert!(run(4 << 20).is_ok());
}

#[test]
fn rows_that_depend_on_nothing_later_are_not_kept() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![7; 1000])),
        Arc::new(Int64Array::from_iter_values((0..1000).map(|row| row / 10))),
    ];
    let run = |function, frame, order: Vec<SortKey>| {
        let calls = vec![WindowCall { function, frame, data_type: DataType::Int64 }];
        let spec = WindowSpec { partition: vec![0], order, calls };
        let resources = Resources { budget: Budget::new(Some(3000)), ..Resources::for_tests() };
        run(&spec, &columns, 100, &mut Random::new(1), resources)
    };
    assert!(run(WindowFunction::RowNumber, WindowFrame::Partition, Vec::new()).is_ok());
    assert!(run(WindowFunction::Lag(1, 3, None), WindowFrame::Partition, Vec::new()).is_ok());
    assert!(run(WindowFunction::Sum(1), WindowFrame::Rows, order(&[1])).is_ok());
    assert!(run(WindowFunction::Sum(1), WindowFrame::Range, order(&[1])).is_ok());
    assert!(run(WindowFunction::Rank, WindowFrame::Partition, order(&[1])).is_ok());
    assert!(run(WindowFunction::Rank, WindowFrame::Partition, Vec::new()).is_err(), "all rows are peers");
    assert!(run(WindowFunction::Sum(1), WindowFrame::Partition, order(&[1])).is_err());
}

/// Chunks as a sorted scan of some morsels.
#[derive(Debug)]
struct Sorted(Vec<Vec<Chunk>>);

struct Chunks(std::vec::IntoIter<Chunk>);

impl Scan for Sorted {
    fn morsels(&self) -> usize {
        self.0.len()
    }

    fn ordered(&self) -> bool {
        true
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        Ok(Box::new(Chunks(self.0[morsel].clone().into_iter())))
    }
}

impl MorselReader for Chunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.next())
    }
}

#[test]
fn partitions_are_whole_in_one_morsel() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        // Partitions of any length: of one row, and of several morsels.
        let longest = [1, 3, 40, 400][random.below(4) as usize];
        let mut keys = Vec::new();
        for partition in 0..30_i64 {
            let key = (partition > 0).then(|| format!("partition {partition}"));
            keys.extend(std::iter::repeat_n(key, 1 + random.below(longest) as usize));
        }
        let rows = keys.len();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_iter_values(0..rows as i64)), Arc::new(StringArray::from(keys.clone()))];
        let mut chunks = chunks(&columns, 20, &mut random);
        chunks.retain(|chunk| chunk.rows > 0);
        let sorted = Sorted(chunks.chunks(1 + random.below(4) as usize).map(<[Chunk]>::to_vec).collect());
        let scan = PartitionScan::new(Arc::new(sorted), [(1, DataType::Utf8)]);
        let mut seen = Vec::new();
        for morsel in 0..scan.morsels() {
            let mut reader = scan.read(morsel).unwrap();
            let mut here: Vec<i64> = Vec::new();
            while let Some(chunk) = reader.next().unwrap() {
                assert!(chunk.rows > 0);
                here.extend(chunk.columns[0].as_primitive::<Int64Type>().values());
            }
            assert!(reader.next().unwrap().is_none());
            if let (Some(&first), Some(&last)) = (here.first(), here.last()) {
                let (first, last) = (first as usize, last as usize);
                assert!(first == 0 || keys[first - 1] != keys[first], "seed {seed}");
                assert!(last + 1 == rows || keys[last] != keys[last + 1], "seed {seed}");
            }
            seen.extend(here);
        }
        assert_eq!(seen, (0..rows as i64).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn calls_that_cannot_be_are_errors() {
    let new = |function, data_type| {
        let spec = one_call(function, WindowFrame::Partition, data_type);
        Windows::new(spec, vec![DataType::Utf8], Resources::for_tests()).unwrap_err().kind()
    };
    assert_eq!(new(WindowFunction::Ntile(0), DataType::Int64), ErrorKind::User);
    assert_eq!(new(WindowFunction::Sum(0), DataType::Float64), ErrorKind::Unsupported);
    assert_eq!(new(WindowFunction::Sum(1), DataType::Float64), ErrorKind::Internal);
    assert_eq!(new(WindowFunction::Rank, DataType::Utf8), ErrorKind::Unsupported);
}
