//! Every function, type and kind of key against the obvious way to group: a map from keys to lists of values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, StringViewArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::*;
use bireme_engine::budget::Budget;
use bireme_engine::error::ErrorKind;
use bireme_engine::morsel::{carried_type, to_logical};
use proptest::prelude::*;

mod memory;

use super::*;
use crate::pipeline::ir::{AggregateCall, AggregateFunction, GroupFunction, GroupState};

/// A value, ordered as Arrow orders it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Null,
    Int(i128),
    Float(Total),
    Text(String),
}

#[derive(Clone, Copy, Debug)]
struct Total(f64);

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

use Value::{Float, Int, Null, Text};

const DECIMAL: DataType = DataType::Decimal128(15, 2);
const WIDE: DataType = DataType::Decimal128(31, 4);

/// The columns of the tests' rows: their types.
fn types() -> Vec<DataType> {
    vec![
        DataType::Int32,
        DataType::Utf8,
        DataType::Float64,
        DECIMAL,
        WIDE,
        DataType::Boolean,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float32,
        DataType::Date32,
    ]
}

const FILTER: usize = 5;

/// The `pick`-th value of a small domain; 0 is NULL.
fn value(column: usize, pick: u8) -> Value {
    if pick == 0 {
        return Null;
    }
    let pick = i128::from(pick) - 1;
    let texts = ["", "a", "exactly 12 b", "longer than twelve bytes", "longer than twelve bytes too", "zz"];
    let floats = [0.0, -0.0, f64::NAN, -f64::NAN, 1.5, f64::INFINITY, -2.5];
    match column {
        0 | 9 => Int([-7, 0, 3, i128::from(i32::MAX), 5, 6, 7][pick as usize % 7]),
        1 => Text(texts[pick as usize % 6].into()),
        2 | 8 => Float(Total(floats[pick as usize % 7])),
        3 => Int([0, -12, 999_999_999_999_999, 100][pick as usize % 4]),
        4 => Int([0, 7, 1 - 10_i128.pow(31), 10_i128.pow(31) - 1, 12_345][pick as usize % 5]),
        5 => Int(pick % 2),
        6 => Int([1, i128::from(i64::MIN), i128::from(i64::MAX), -1, 50][pick as usize % 5]),
        _ => Int([1, i128::from(u64::MAX), 2, 77][pick as usize % 4]),
    }
}

/// A column in one of its carried forms; behind NULLs stands rubbish.
fn column(data_type: &DataType, values: &[Value], form: u8) -> ArrayRef {
    let ints = || values.iter().map(|value| if let Int(value) = value { Some(*value) } else { None });
    let floats = || values.iter().map(|value| if let Float(value) = value { Some(value.0) } else { None });
    let texts = || values.iter().map(|value| if let Text(value) = value { Some(value.clone()) } else { None });
    match data_type {
        DataType::Boolean => Arc::new(ints().map(|value| value.map(|value| value != 0)).collect::<BooleanArray>()),
        DataType::Int32 => Arc::new(ints().map(|value| value.map(|value| value as i32)).collect::<Int32Array>()),
        DataType::Date32 => {
            Arc::new(ints().map(|value| value.map(|value| value as i32)).collect::<arrow::array::Date32Array>())
        }
        DataType::Int64 => Arc::new(ints().map(|value| value.map(|value| value as i64)).collect::<Int64Array>()),
        DataType::UInt64 => Arc::new(ints().map(|value| value.map(|value| value as u64)).collect::<UInt64Array>()),
        DataType::Float64 => Arc::new(floats().collect::<Float64Array>()),
        DataType::Float32 => Arc::new(floats().map(|value| value.map(|value| value as f32)).collect::<Float32Array>()),
        DataType::Decimal128(..) if carried_type(data_type) == DataType::Int64 => {
            let narrow = ints().map(|value| value.unwrap_or(i128::from(i64::MIN)) as i64).collect();
            let nulls = ints().map(|value| value.is_some()).collect::<arrow::buffer::NullBuffer>();
            Arc::new(Int64Array::new(narrow, Some(nulls)))
        }
        DataType::Decimal128(..) => {
            let fits = ints().flatten().all(|value| i64::try_from(value).is_ok());
            if fits && form.is_multiple_of(2) {
                return Arc::new(ints().map(|value| value.map(|value| value as i64)).collect::<Int64Array>());
            }
            let values = ints().collect::<Decimal128Array>();
            Arc::new(values.with_precision_and_scale(38, 0).unwrap())
        }
        _ if form.is_multiple_of(3) => Arc::new(texts().collect::<StringViewArray>()),
        _ => {
            // A dictionary with doubles, values that are not used, and a NULL among its values.
            let mut words = texts().flatten().collect::<Vec<_>>();
            words.push("nobody wants this".into());
            let codes = texts().enumerate().map(|(row, text)| {
                let text = text?;
                let code = words.iter().position(|word| *word == text).unwrap() as u32;
                Some(if row % 5 == 4 { words.iter().rposition(|word| *word == text).unwrap() as u32 } else { code })
            });
            let null = words.len() as u32;
            let codes = codes.enumerate().map(|(row, code)| if row % 3 == 1 { code.or(Some(null)) } else { code });
            let codes = codes.collect::<UInt32Array>();
            let words = words.iter().map(|word| Some(word.as_str())).chain([None]).collect::<StringViewArray>();
            Arc::new(DictionaryArray::<UInt32Type>::new(codes, Arc::new(words)))
        }
    }
}

fn chunk(types: &[DataType], rows: &[Vec<Value>], form: u8) -> Chunk {
    let columns = types.iter().enumerate().map(|(place, data_type)| {
        let values = rows.iter().map(|row| row[place].clone()).collect::<Vec<_>>();
        column(data_type, &values, form)
    });
    Chunk::new(columns.collect(), rows.len())
}

/// The rows of a scan.
fn rows(scan: &dyn Scan, types: &[DataType]) -> Result<Vec<Vec<Value>>> {
    let mut rows = Vec::new();
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel)?;
        while let Some(chunk) = reader.next()? {
            assert!(chunk.rows > 0 && chunk.columns.len() == types.len());
            let columns = chunk.columns.iter().zip(types).map(|(column, logical)| {
                let carried = carried_type(logical);
                let plain = *column.data_type() == carried;
                assert!(plain, "{} for {logical}", column.data_type());
                to_logical(column, logical).unwrap()
            });
            let columns = columns.collect::<Vec<_>>();
            rows.extend((0..chunk.rows).map(|row| columns.iter().map(|column| read(column, row)).collect()));
        }
    }
    Ok(rows)
}

fn read(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Null;
    }
    match column.data_type() {
        DataType::Boolean => Int(column.as_boolean().value(row).into()),
        DataType::Float64 => Float(Total(column.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => Float(Total(column.as_primitive::<Float32Type>().value(row).into())),
        DataType::Decimal128(..) => Int(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Decimal256(..) => Int(column.as_primitive::<Decimal256Type>().value(row).as_i128()),
        DataType::Utf8 => Text(column.as_string::<i32>().value(row).into()),
        DataType::UInt64 => Int(column.as_primitive::<UInt64Type>().value(row).into()),
        other => {
            let wide = arrow::compute::cast(column, &DataType::Int64);
            Int(wide.unwrap_or_else(|_| panic!("{other}")).as_primitive::<Int64Type>().value(row).into())
        }
    }
}

/// What is equal under grouping becomes the same value.
fn normal(value: &Value) -> Value {
    match value {
        Float(Total(value)) if value.is_nan() => Float(Total(f64::NAN)),
        Float(Total(value)) => Float(Total(value + 0.0)),
        other => other.clone(),
    }
}

/// The slow way; `None` where a sum overflows.
fn reference(spec: &AggregateSpec, rows: &[Vec<Value>]) -> Option<Vec<Vec<Value>>> {
    let mut groups = BTreeMap::<Vec<Value>, Vec<&Vec<Value>>>::new();
    if spec.keys.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for row in rows {
        groups.entry(spec.keys.iter().map(|&key| normal(&row[key])).collect()).or_default().push(row);
    }
    let results = groups.into_iter().map(|(key, rows)| {
        let mut result = key;
        for call in &spec.calls {
            result.push(apply(call, &rows)?);
        }
        Some(result)
    });
    results.collect()
}

fn apply(call: &AggregateCall, rows: &[&Vec<Value>]) -> Option<Value> {
    let rows = rows.iter().filter(|row| call.filter.is_none_or(|filter| row[filter] == Int(1)));
    let mut values = rows
        .map(|row| call.arguments.iter().map(|(place, _)| row[*place].clone()).collect::<Vec<_>>())
        .filter(|values| !values.contains(&Null))
        .collect::<Vec<_>>();
    if call.distinct
        && matches!(call.function, AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Avg)
    {
        let different = values.iter().map(|values| values.iter().map(normal).collect()).collect::<BTreeSet<Vec<_>>>();
        values = different.into_iter().collect();
    }
    if matches!(call.function, AggregateFunction::Count) {
        return Some(Int(values.len() as i128));
    }
    let firsts = values.iter().map(|values| values[0].clone()).collect::<Vec<_>>();
    let (Some(least), Some(most)) = (firsts.iter().min(), firsts.iter().max()) else { return Some(Null) };
    let float = || firsts.iter().map(|value| if let Float(value) = value { value.0 } else { 0.0 }).sum::<f64>();
    let int = || firsts.iter().map(|value| if let Int(value) = value { *value } else { 0 }).sum::<i128>();
    let count = firsts.len() as i128;
    Some(match (&call.function, least) {
        (AggregateFunction::Min, _) => least.clone(),
        (AggregateFunction::Max, _) => most.clone(),
        (AggregateFunction::Sum, Float(_)) => normal(&Float(Total(float()))),
        (AggregateFunction::Avg, Float(_)) => normal(&Float(Total(float() / count as f64))),
        (AggregateFunction::Sum, _) => {
            let sum = int();
            let fits = match call.data_type {
                DataType::UInt64 => u64::try_from(sum).is_ok(),
                DataType::Int64 => i64::try_from(sum).is_ok(),
                _ => true,
            };
            return fits.then_some(Int(sum));
        }
        (AggregateFunction::Avg, _) if call.data_type == DataType::Float64 => Float(Total(int() as f64 / count as f64)),
        _ => Int(int() * 10_000 / count),
    })
}

/// The type of a result, as DataFusion has it.
fn result_type(function: &AggregateFunction, argument: &DataType) -> DataType {
    match (function, argument) {
        (AggregateFunction::Count, _) => DataType::Int64,
        (AggregateFunction::Sum, DataType::Decimal128(digits, scale)) => {
            DataType::Decimal128((digits + 10).min(38), *scale)
        }
        (AggregateFunction::Avg, DataType::Decimal128(digits, scale)) => {
            DataType::Decimal128((digits + 4).min(38), scale + 4)
        }
        (AggregateFunction::Sum, DataType::UInt64) => DataType::UInt64,
        (AggregateFunction::Sum, other) if other.is_integer() => DataType::Int64,
        (AggregateFunction::Sum | AggregateFunction::Avg, _) => DataType::Float64,
        (_, other) => other.clone(),
    }
}

fn call(function: AggregateFunction, arguments: &[usize], filter: Option<usize>, distinct: bool) -> AggregateCall {
    let types = types();
    let arguments = arguments.iter().map(|&place| (place, types[place].clone())).collect::<Vec<_>>();
    let data_type = result_type(&function, arguments.first().map_or(&DataType::Null, |(_, data_type)| data_type));
    AggregateCall { function, arguments, filter, distinct, data_type }
}

fn spec(keys: &[usize], calls: Vec<AggregateCall>) -> AggregateSpec {
    AggregateSpec { keys: keys.to_vec(), calls, mode: AggregateMode::Single, limit: None }
}

fn function(pick: u8) -> AggregateFunction {
    match pick % 5 {
        0 => AggregateFunction::Count,
        1 => AggregateFunction::Sum,
        2 => AggregateFunction::Min,
        3 => AggregateFunction::Max,
        _ => AggregateFunction::Avg,
    }
}

/// How a case is run.
#[derive(Clone, Debug)]
struct Run {
    tuning: Tuning,
    budget: Option<usize>,
    workers: usize,
    chunk: usize,
    form: u8,
}

const PLAIN: Run = Run {
    tuning: Tuning { hash_mask: u64::MAX, radix_bits: 6, cache_groups: 1 << 18, least_entries: 1024 },
    budget: None,
    workers: 1,
    chunk: 100,
    form: 0,
};

fn resources(run: &Run) -> Resources {
    Resources { budget: Budget::new(run.budget), ..Resources::for_tests() }
}

fn consume(aggregator: &Aggregator, types: &[DataType], rows: &[Vec<Value>], run: &Run) -> Result<Vec<LocalAggregate>> {
    let mut locals = (0..run.workers).map(|_| aggregator.local()).collect::<Result<Vec<_>>>()?;
    for (place, rows) in rows.chunks(run.chunk).enumerate() {
        let form = run.form.wrapping_add(place as u8);
        locals[place % run.workers].consume(&chunk(types, rows, form))?;
    }
    Ok(locals)
}

fn single(spec: &AggregateSpec, types: &[DataType], input: &[Vec<Value>], run: &Run) -> Result<Vec<Vec<Value>>> {
    let aggregator = Aggregator::tuned(spec, types, resources(run), run.tuning)?;
    let locals = consume(&aggregator, types, input, run)?;
    sorted(rows(aggregator.finish(locals)?.as_ref(), &aggregator.output_types()))
}

fn sorted(rows: Result<Vec<Vec<Value>>>) -> Result<Vec<Vec<Value>>> {
    let mut rows = rows?;
    // Sums of floats may be one NaN or the other.
    for row in &mut rows {
        row.iter_mut().for_each(|value| {
            if matches!(value, Float(value) if value.0.is_nan()) {
                *value = Float(Total(f64::NAN));
            }
        });
    }
    rows.sort();
    Ok(rows)
}

/// Partial, with states taken whenever they are offered; then final.
fn in_two_steps(spec: &AggregateSpec, types: &[DataType], input: &[Vec<Value>], run: &Run) -> Result<Vec<Vec<Value>>> {
    let partial = AggregateSpec { mode: AggregateMode::Partial, ..spec.clone() };
    let partial = Aggregator::tuned(&partial, types, resources(run), run.tuning)?;
    let states = partial.output_types();
    let mut locals = (0..run.workers).map(|_| partial.local()).collect::<Result<Vec<_>>>()?;
    let mut sent = Vec::new();
    for (place, rows) in input.chunks(run.chunk).enumerate() {
        let local = &mut locals[place % run.workers];
        local.consume(&chunk(types, rows, run.form.wrapping_add(place as u8)))?;
        sent.extend(local.take_partial()?.unwrap_or_default());
    }
    let scan = partial.finish(locals)?;
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel)?;
        while let Some(chunk) = reader.next()? {
            sent.push(chunk);
        }
    }
    let keys = (0..spec.keys.len()).collect();
    let last = AggregateSpec { mode: AggregateMode::Final, keys, ..spec.clone() };
    let last = Aggregator::tuned(&last, &states, resources(run), run.tuning)?;
    let mut locals = (0..run.workers).map(|_| last.local()).collect::<Result<Vec<_>>>()?;
    for (place, chunk) in sent.iter().enumerate() {
        for (column, logical) in chunk.columns.iter().zip(&states) {
            assert_eq!(*column.data_type(), carried_type(logical));
        }
        locals[place % run.workers].consume(chunk)?;
    }
    sorted(rows(last.finish(locals)?.as_ref(), &last.output_types()))
}

/// Runs a case in all ways that must agree.
fn check(spec: &AggregateSpec, input: &[Vec<Value>], run: &Run) {
    let types = types();
    let expected = reference(spec, input);
    // NaNs of floats' extremes keep their sign in one step, and the comparison does not look at it.
    let expected = expected.map(|expected| sorted(Ok(expected)).unwrap());
    let mut ways = vec![single(spec, &types, input, run)];
    if !spec.calls.iter().any(|call| call.distinct) {
        ways.push(in_two_steps(spec, &types, input, run));
    }
    for (way, found) in ways.into_iter().enumerate() {
        match (&expected, found) {
            (Some(expected), Ok(found)) => assert_eq!(*expected, found, "way {way} of {spec} with {run:?}"),
            // The set of one group cannot be taken apart.
            (_, Err(error)) if run.budget == Some(1) && error.kind() == ErrorKind::Resources => {
                assert!(spec.calls.iter().any(|call| call.distinct), "{error}");
            }
            (None, Err(error)) => assert!(error.message().starts_with("arithmetic overflow"), "{error}"),
            (expected, found) => panic!("way {way} of {spec} with {run:?}: {expected:?} but {found:?}"),
        }
    }
}

/// Rows of columns of many values, of hardly any that are not NULL, or of NULLs only.
fn any_rows(most: usize) -> impl Strategy<Value = Vec<Vec<Value>>> {
    let nulls = prop_oneof![6 => Just(0_u8), 1 => Just(6), 1 => Just(8)];
    let columns = prop::collection::vec(nulls, types().len());
    let picks = prop::collection::vec(prop::collection::vec(0_u8..8, types().len()), 0..most);
    (columns, picks).prop_map(|(nulls, picks)| {
        let pick = |place: usize, pick: u8| value(place, if pick < nulls[place] { 0 } else { pick });
        picks.iter().map(|row| row.iter().enumerate().map(|(place, &one)| pick(place, one)).collect()).collect()
    })
}

fn any_run() -> impl Strategy<Value = Run> {
    let tuning = (prop_oneof![Just(u64::MAX), Just(3)], prop_oneof![Just(1_u32), Just(2), Just(6)], 2_usize..40);
    let large = prop::bool::ANY;
    (tuning, large, prop::bool::ANY, 1_usize..5, prop_oneof![Just(1_usize), 2_usize..100], 0_u8..6).prop_map(
        |((hash_mask, radix_bits, cache_groups), large, tiny, workers, chunk, form)| {
            // Rows of one hash cannot be taken apart, so colliding hashes need memory.
            let tiny = tiny && hash_mask == u64::MAX;
            let cache_groups = if large { 1 << 18 } else { cache_groups };
            let tuning = Tuning { hash_mask, radix_bits, cache_groups, least_entries: 4 };
            Run { tuning, budget: tiny.then_some(1), workers, chunk, form }
        },
    )
}

fn any_calls() -> impl Strategy<Value = Vec<AggregateCall>> {
    let one = (0_u8..5, 0_usize..10, prop::option::weighted(0.2, Just(FILTER)), prop::bool::weighted(0.25), 0_u8..4);
    let one = one.prop_map(|(pick, argument, filter, distinct, count)| {
        let function = function(pick);
        let sums = matches!(function, AggregateFunction::Sum | AggregateFunction::Avg);
        // What has no sum gives its place to what has; integers that overflow mostly are tested apart.
        let argument = if sums && matches!(argument, 1 | 5 | 9) { 4 } else { argument };
        match (function, count) {
            (AggregateFunction::Count, 0) => call(AggregateFunction::Count, &[], filter, false),
            (AggregateFunction::Count, 1) => call(AggregateFunction::Count, &[argument, 1], filter, distinct),
            (function, _) => call(function, &[argument], filter, distinct),
        }
    });
    prop::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_as_the_slow_way_does(
        input in any_rows(250),
        keys in prop::collection::vec(0_usize..10, 0..4),
        calls in any_calls(),
        run in any_run(),
    ) {
        check(&spec(&keys, calls), &input, &run);
    }
}

/// Many different keys: tables are emptied, rows are passed on, partitions go to disk and are taken apart again.
#[test]
fn many_groups_go_through_partitions_and_disk() {
    let types = types();
    let mut input = Vec::new();
    for row in 0..6000_u64 {
        let key = i128::from(row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 4001);
        let mut values = (0..types.len()).map(|column| value(column, (row % 7) as u8)).collect::<Vec<_>>();
        values[6] = Int(key << 33);
        values[0] = Int(key % 50);
        values[1] = if key % 10 == 0 { Null } else { Text(format!("a text number {key}")) };
        input.push(values);
    }
    let calls = vec![
        call(AggregateFunction::Count, &[], None, false),
        call(AggregateFunction::Sum, &[3], None, false),
        call(AggregateFunction::Min, &[1], None, false),
        call(AggregateFunction::Avg, &[4], Some(FILTER), false),
        call(AggregateFunction::Count, &[0], None, true),
    ];
    for keys in [vec![6], vec![1], vec![6, 1], vec![0, 1]] {
        for (budget, radix_bits, cache_groups, least_entries) in
            [(None, 6, 1 << 18, 1024), (None, 3, 100, 1024), (Some(1 << 16), 6, 1 << 18, 64), (Some(1), 2, 1 << 18, 16)]
        {
            let tuning = Tuning { hash_mask: u64::MAX, radix_bits, cache_groups, least_entries };
            for workers in [1, 3] {
                check(&spec(&keys, calls.clone()), &input, &Run { tuning, budget, workers, chunk: 500, form: 1 });
            }
        }
    }
}

#[test]
fn no_rows_are_one_group_without_keys_and_none_with() {
    let calls = vec![
        call(AggregateFunction::Count, &[], None, false),
        call(AggregateFunction::Sum, &[3], None, false),
        call(AggregateFunction::Avg, &[2], None, true),
        call(AggregateFunction::Max, &[1], None, false),
    ];
    for workers in [0, 1, 2] {
        let run = Run { workers, ..PLAIN };
        let found = single(&spec(&[], calls.clone()), &types(), &[], &run).unwrap();
        assert_eq!(found, [[Int(0), Null, Null, Null]]);
        assert!(single(&spec(&[0], calls.clone()), &types(), &[], &run).unwrap().is_empty());
    }
}

#[test]
fn sums_are_checked_in_the_end_and_not_on_the_way() {
    let types = vec![DataType::Int64];
    let sum = AggregateCall {
        function: AggregateFunction::Sum,
        arguments: vec![(0, DataType::Int64)],
        filter: None,
        distinct: false,
        data_type: DataType::Int64,
    };
    let spec = spec(&[], vec![sum]);
    let (least, most) = (Int(i64::MIN.into()), Int(i64::MAX.into()));
    let there_and_back = [vec![most.clone()], vec![most.clone()], vec![least.clone()], vec![Int(-7)]];
    for chunk in 1..4 {
        let run = Run { chunk, workers: 2, ..PLAIN };
        assert_eq!(single(&spec, &types, &there_and_back, &run).unwrap(), [[Int(i128::from(i64::MAX) - 8)]]);
        let error = single(&spec, &types, &there_and_back[..2], &run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert_eq!(
            error.message(),
            "arithmetic overflow: SUM = 18446744073709551614 does not fit in Int64; cast the argument to DECIMAL(38,0)"
        );
    }
}

#[test]
fn decimals_at_their_limits_are_summed_in_256_bits() {
    let wide = DataType::Decimal128(38, 2);
    let sum = AggregateCall {
        function: AggregateFunction::Sum,
        arguments: vec![(0, wide.clone())],
        filter: None,
        distinct: false,
        data_type: wide.clone(),
    };
    let most = 10_i128.pow(38) - 1;
    let mut input = vec![vec![Int(most)]; 9];
    input.extend(vec![vec![Int(-most)]; 8]);
    let spec = spec(&[], vec![sum]);
    let types = [wide];
    for chunk in [1, 4, 100] {
        let run = Run { chunk, workers: 3, ..PLAIN };
        assert_eq!(single(&spec, &types, &input, &run).unwrap(), [[Int(most)]]);
        assert_eq!(in_two_steps(&spec, &types, &input, &run).unwrap(), [[Int(most)]]);
        let error = single(&spec, &types, &input[..9], &run).unwrap_err();
        assert!(error.message().contains("SUM = 8999999999999999999999999999999999999.91 does not fit"), "{error}");
    }
}

#[test]
fn a_limit_takes_any_groups() {
    let input = (0..1000).map(|row| vec![Int(row % 100)]).collect::<Vec<_>>();
    let types = [DataType::Int64];
    for cache_groups in [10, 1 << 18] {
        let tuning = Tuning { cache_groups, ..Tuning::default() };
        let spec = AggregateSpec { limit: Some(7), ..spec(&[0], Vec::new()) };
        let run = Run { tuning, workers: 3, chunk: 50, ..PLAIN };
        let mut found = single(&spec, &types, &input, &run).unwrap();
        assert_eq!(found.len(), 7);
        found.dedup();
        assert_eq!(found.len(), 7);
    }
}

#[test]
fn colliding_rows_that_do_not_fit_are_an_error_of_resources() {
    let input = (0..2000_i128).map(|row| vec![Int(row << 40)]).collect::<Vec<_>>();
    let tuning = Tuning { hash_mask: 1, radix_bits: 6, cache_groups: 1 << 18, least_entries: 16 };
    let run = Run { tuning, budget: Some(1 << 10), workers: 2, chunk: 100, form: 0 };
    let error = single(&spec(&[0], Vec::new()), &[DataType::Int64], &input, &run).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(error.message().contains("aggregate wants"), "{error}");
}

#[test]
fn memory_is_given_back() {
    let input = (0..5000_i128).map(|row| vec![Int(row << 33)]).collect::<Vec<_>>();
    for budget in [None, Some(1 << 14)] {
        let tuning = Tuning { least_entries: 100, ..Tuning::default() };
        let run = Run { tuning, budget, workers: 2, chunk: 300, form: 0 };
        let resources = resources(&run);
        let aggregator = Aggregator::tuned(&spec(&[0], Vec::new()), &[DataType::Int64], resources.clone(), tuning);
        let aggregator = aggregator.unwrap();
        let locals = consume(&aggregator, &[DataType::Int64], &input, &run).unwrap();
        assert!(resources.budget.used() > 0);
        let scan = aggregator.finish(locals).unwrap();
        assert_eq!(rows(scan.as_ref(), &[DataType::Int64]).unwrap().len(), 5000);
        drop(scan);
        assert_eq!(resources.budget.used(), 0);
        assert_eq!(resources.metrics.extra("spilled_bytes").is_some(), budget.is_some());
    }
}

/// The last but one digit of sums: a function that the IR does not know.
#[derive(Debug)]
struct Tens;

#[derive(Default)]
struct TensState(Vec<i64>);

impl GroupFunction for Tens {
    fn describe(&self) -> String {
        "tens".into()
    }

    fn state(&self) -> Result<Box<dyn GroupState>> {
        Ok(Box::new(TensState::default()))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Utf8]
    }
}

impl GroupState for TensState {
    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.0.resize(total, 0);
        assert_eq!(arguments[0].data_type(), &DataType::Int32);
        let values = arguments[0].as_primitive::<Int32Type>();
        for (row, &group) in groups.iter().enumerate() {
            if filter.is_none_or(|filter| filter.value(row)) && values.is_valid(row) {
                self.0[group] += i64::from(values.value(row));
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.resize(total, 0);
        assert_eq!(states[1].data_type(), &DataType::Utf8);
        for (row, &group) in groups.iter().enumerate() {
            self.0[group] += states[0].as_primitive::<Int64Type>().value(row);
        }
        Ok(())
    }

    fn take_states(&mut self) -> Result<Vec<ArrayRef>> {
        let sums = std::mem::take(&mut self.0);
        let texts = sums.iter().map(|sum| Some(sum.to_string())).collect::<arrow::array::StringArray>();
        Ok(vec![Arc::new(Int64Array::from(sums)), Arc::new(texts)])
    }

    fn take_results(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(std::mem::take(&mut self.0).into_iter().map(|sum| Some(sum / 10 % 10)).collect::<Int64Array>()))
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

#[test]
fn other_functions_keep_their_states_through_partitions_and_disk() {
    let types = types();
    let tens = AggregateCall {
        function: AggregateFunction::Other(Arc::new(Tens)),
        arguments: vec![(0, DataType::Int32)],
        filter: Some(FILTER),
        distinct: false,
        data_type: DataType::Int64,
    };
    let (mut input, mut expected) = (Vec::new(), BTreeMap::<i128, i128>::new());
    for row in 0..3000_i128 {
        let (key, number, wanted) = (row * 7919 % 701, row % 1000, row % 3);
        let mut values = vec![Null; types.len()];
        (values[0], values[6], values[FILTER]) = (Int(number), Int(key), Int(i128::from(wanted == 0)));
        *expected.entry(key).or_default() += if wanted == 0 { number } else { 0 };
        input.push(values);
    }
    let expected = expected.into_iter().map(|(key, sum)| vec![Int(key), Int(sum / 10 % 10)]).collect::<Vec<_>>();
    let spec = spec(&[6], vec![tens]);
    for (budget, cache_groups) in [(None, 1 << 18), (None, 50), (Some(1), 1 << 18)] {
        let tuning = Tuning { cache_groups, radix_bits: 3, least_entries: 8, ..Tuning::default() };
        let run = Run { tuning, budget, workers: 2, chunk: 200, form: 0 };
        assert_eq!(single(&spec, &types, &input, &run).unwrap(), expected);
        assert_eq!(in_two_steps(&spec, &types, &input, &run).unwrap(), expected);
    }
}

#[test]
fn a_cancelled_aggregation_stops() {
    let resources = Resources::for_tests();
    let aggregator = Aggregator::new(spec(&[0], Vec::new()), vec![DataType::Int64], resources.clone()).unwrap();
    let mut local = aggregator.local().unwrap();
    resources.cancel.cancel(bireme_engine::Error::cancelled("enough"));
    let error = local.consume(&chunk(&[DataType::Int64], &[vec![Int(1)]], 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn keys_that_cannot_be_grouped_by_are_said_before_the_first_row() {
    let list = DataType::List(Arc::new(arrow::datatypes::Field::new("item", DataType::Int32, true)));
    let error = Aggregator::new(spec(&[0], Vec::new()), vec![list], Resources::for_tests()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
