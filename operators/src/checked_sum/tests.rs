#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

//! SUM against the slow obvious way: every value in two halves of 256 bits each, which cannot overflow.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, RecordBatch, UInt64Array};
use arrow::datatypes::{ArrowPrimitiveType, Schema, SchemaRef, i256};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::col;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

// ---- the reference --------------------------------------------------------------------------------------------------

/// `high * 10^38 + low`, neither of them ever near its limits.
#[derive(Clone, Copy, Default)]
struct Exact {
    high: i256,
    low: i256,
}

fn unit() -> i256 {
    i256::from_i128(10).checked_pow(38).unwrap()
}

impl Exact {
    fn add(&mut self, value: i256) {
        let (high, low) = (value.checked_div(unit()).unwrap(), value.checked_rem(unit()).unwrap());
        self.high = self.high.checked_add(high).unwrap();
        self.low = self.low.checked_add(low).unwrap();
    }

    /// The value, if it fits in 256 bits.
    fn value(self) -> Option<i256> {
        // Signs that differ could overflow on the way only.
        let carried = self.low.checked_div(unit()).unwrap();
        let (high, low) = (self.high.checked_add(carried)?, self.low.checked_rem(unit()).unwrap());
        let (high, low) = match (high.signum(), low.signum()) {
            (h, l) if h == i256::ONE && l == i256::MINUS_ONE => {
                (high.checked_sub(i256::ONE)?, low.checked_add(unit())?)
            }
            (h, l) if h == i256::MINUS_ONE && l == i256::ONE => {
                (high.checked_add(i256::ONE)?, low.checked_sub(unit())?)
            }
            _ => (high, low),
        };
        high.checked_mul(unit())?.checked_add(low)
    }
}

/// SUM by the book: NULL of nothing, `Err` if it is past the limits of the result.
fn reference(result: &DataType, values: impl IntoIterator<Item = Option<i256>>) -> Result<Option<i256>, ()> {
    let (mut sum, mut any) = (Exact::default(), false);
    for value in values.into_iter().flatten() {
        sum.add(value);
        any = true;
    }
    let (min, max) = limits(result);
    match sum.value() {
        _ if !any => Ok(None),
        Some(value) if min <= value && value <= max => Ok(Some(value)),
        _ => Err(()),
    }
}

fn limits(data_type: &DataType) -> (i256, i256) {
    match data_type {
        DataType::Int64 => (i256::from_i128(i64::MIN.into()), i256::from_i128(i64::MAX.into())),
        DataType::UInt64 => (i256::ZERO, i256::from_i128(u64::MAX.into())),
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _)
        | DataType::Decimal256(precision, _) => {
            let limit = i256::from_i128(10).checked_pow(u32::from(*precision)).unwrap().wrapping_sub(i256::ONE);
            (limit.wrapping_neg(), limit)
        }
        other => panic!("{other}"),
    }
}

// ---- arrays of any of the types -------------------------------------------------------------------------------------

fn types() -> Vec<DataType> {
    vec![
        DataType::Int64,
        DataType::UInt64,
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 3),
        DataType::Decimal64(7, 0),
        DataType::Decimal128(38, 2),
        DataType::Decimal128(20, 4),
        DataType::Decimal256(76, 5),
        DataType::Decimal256(60, 0),
    ]
}

fn array_of(data_type: &DataType, values: &[Option<i256>]) -> ArrayRef {
    fn build<T: ArrowPrimitiveType>(
        data_type: &DataType,
        values: &[Option<i256>],
        narrow: impl Fn(i256) -> T::Native,
    ) -> ArrayRef {
        // Garbage under NULLs: nobody may look at it.
        let natives = values.iter().map(|value| narrow(value.unwrap_or(i256::from_i128(7)))).collect::<Vec<_>>();
        let nulls = values.iter().map(Option::is_some).collect::<Vec<_>>();
        Arc::new(PrimitiveArray::<T>::new(natives.into(), Some(nulls.into())).with_data_type(data_type.clone()))
    }
    match data_type {
        DataType::Int64 => build::<Int64Type>(data_type, values, |value| value.as_i128() as i64),
        DataType::UInt64 => build::<UInt64Type>(data_type, values, |value| value.as_i128() as u64),
        DataType::Decimal32(..) => build::<Decimal32Type>(data_type, values, |value| value.as_i128() as i32),
        DataType::Decimal64(..) => build::<Decimal64Type>(data_type, values, |value| value.as_i128() as i64),
        DataType::Decimal128(..) => build::<Decimal128Type>(data_type, values, i256::as_i128),
        DataType::Decimal256(..) => build::<Decimal256Type>(data_type, values, |value| value),
        other => panic!("{other}"),
    }
}

fn value_at(array: &ArrayRef, row: usize) -> Option<i256> {
    array.is_valid(row).then(|| match array.data_type() {
        DataType::Int64 => i256::from_i128(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::UInt64 => i256::from_i128(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Decimal32(..) => i256::from_i128(array.as_primitive::<Decimal32Type>().value(row).into()),
        DataType::Decimal64(..) => i256::from_i128(array.as_primitive::<Decimal64Type>().value(row).into()),
        DataType::Decimal128(..) => i256::from_i128(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value(row),
        other => panic!("{other}"),
    })
}

fn schema_of(data_type: &DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("x", data_type.clone(), true)]))
}

fn sum_of(data_type: &DataType, distinct: bool) -> AggregateFunctionExpr {
    let schema = schema_of(data_type);
    let arg = col("x", &schema).unwrap();
    let builder = AggregateExprBuilder::new(checked_sum(), vec![arg]).schema(schema).alias("sum(x)");
    if distinct { builder.distinct().build().unwrap() } else { builder.build().unwrap() }
}

/// The value of a result; overflow is `Err(())`, anything else ends the test.
fn outcome(result: Result<ArrayRef>) -> Result<Vec<Option<i256>>, ()> {
    match result {
        Ok(array) => Ok((0..array.len()).map(|row| value_at(&array, row)).collect()),
        Err(DataFusionError::ArrowError(error, _)) if matches!(*error, ArrowError::ArithmeticOverflow(_)) => Err(()),
        Err(other) => panic!("{other}"),
    }
}

fn single_outcome(accumulator: &mut Box<dyn Accumulator>) -> Result<Option<i256>, ()> {
    outcome(accumulator.evaluate().and_then(|value| value.to_array())).map(|values| values[0])
}

// ---- random input ---------------------------------------------------------------------------------------------------

/// Which of the interesting values of a type.
#[derive(Clone, Copy, Debug)]
enum Pick {
    Null,
    Min,
    Max,
    Half(bool),
    Small(i64),
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        1 => Just(Pick::Null),
        2 => Just(Pick::Min),
        2 => Just(Pick::Max),
        1 => any::<bool>().prop_map(Pick::Half),
        2 => (-9_i64..10).prop_map(Pick::Small),
    ]
}

fn value_of(pick: Pick, data_type: &DataType) -> Option<i256> {
    let (min, max) = limits(data_type);
    match pick {
        Pick::Null => None,
        Pick::Min => Some(min),
        Pick::Max => Some(max),
        Pick::Half(low) => Some(if low { min } else { max }.checked_div(i256::from_i128(2)).unwrap()),
        Pick::Small(small) if *data_type == DataType::UInt64 => Some(i256::from_i128(small.abs().into())),
        Pick::Small(small) => Some(i256::from_i128(small.into())),
    }
}

/// A row: what, in which group, in which partition, and whether (or unknown) it passes the filter.
type Row = (Pick, usize, usize, Option<bool>);

const GROUPS: usize = 3;
const PARTITIONS: usize = 4;

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let passes = prop_oneof![4 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    vec((pick(), 0..GROUPS, 0..PARTITIONS, passes), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn groups_in_partitions_merged_in_any_order(
        rows in rows(),
        which in 0..9_usize,
        order in Just((0..PARTITIONS).collect::<Vec<_>>()).prop_shuffle(),
        skips in vec(any::<bool>(), PARTITIONS),
        pieces in 1..5_usize,
        filtered in any::<bool>(),
    ) {
        let data_type = &types()[which];
        let sum = sum_of(data_type, false);
        let mut total = sum.create_groups_accumulator().unwrap();
        // Groups are numbered as they appear, in each partition anew: an accumulator never hears of one without rows.
        let mut known = Vec::new();
        for partition in order {
            let mine: Vec<&Row> = rows.iter().filter(|row| row.2 == partition).collect();
            let mut partial = sum.create_groups_accumulator().unwrap();
            let mut local = Vec::new();
            for rows in mine.chunks(mine.len().div_ceil(pieces).max(1)) {
                let values = array_of(data_type, &rows.iter().map(|row| value_of(row.0, data_type)).collect::<Vec<_>>());
                let filter = filtered.then(|| rows.iter().map(|row| row.3).collect::<BooleanArray>());
                let groups = rows.iter().map(|row| row.1);
                if skips[partition] {
                    let states = partial.convert_to_state(&[values], filter.as_ref()).unwrap();
                    check_fields(&sum, &states);
                    let groups = numbers(groups, &mut known);
                    total.merge_batch(&states, &groups, known.len()).unwrap();
                } else {
                    let groups = numbers(groups, &mut local);
                    partial.update_batch(&[values], &groups, filter.as_ref(), local.len()).unwrap();
                }
            }
            // Out in two pieces: the first group, then the rest.
            if let [first, rest @ ..] = local.as_slice() {
                for (emit, groups) in [(EmitTo::First(1), std::slice::from_ref(first)), (EmitTo::All, rest)] {
                    let states = partial.state(emit).unwrap();
                    check_fields(&sum, &states);
                    let groups = numbers(groups.iter().copied(), &mut known);
                    total.merge_batch(&states, &groups, known.len()).unwrap();
                }
            }
        }
        for group in known {
            let passing = rows.iter().filter(|row| row.1 == group && (!filtered || row.3 == Some(true)));
            let expected = reference(sum.field().data_type(), passing.map(|row| value_of(row.0, data_type)));
            prop_assert_eq!(outcome(total.evaluate(EmitTo::First(1))).map(|values| values[0]), expected);
        }
    }

    #[test]
    fn one_sum_in_partitions(rows in rows(), which in 0..9_usize, distinct in any::<bool>()) {
        let data_type = &types()[which];
        let sum = sum_of(data_type, distinct);
        let mut total = sum.create_accumulator().unwrap();
        for partition in 0..PARTITIONS {
            let mut partial = sum.create_accumulator().unwrap();
            for row in rows.iter().filter(|row| row.2 == partition) {
                partial.update_batch(&[array_of(data_type, &[value_of(row.0, data_type)])]).unwrap();
            }
            let states: Vec<ArrayRef> = partial.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
            check_fields(&sum, &states);
            total.merge_batch(&states).unwrap();
        }
        let mut values: Vec<Option<i256>> = rows.iter().map(|row| value_of(row.0, data_type)).collect();
        if distinct {
            values.sort();
            values.dedup();
        }
        prop_assert_eq!(single_outcome(&mut total), reference(sum.field().data_type(), values.iter().copied()));
        // All at once, from one array.
        let mut at_once = sum.create_accumulator().unwrap();
        at_once.update_batch(&[array_of(data_type, &values)]).unwrap();
        prop_assert_eq!(single_outcome(&mut at_once), reference(sum.field().data_type(), values));
    }

    #[test]
    fn sliding_windows(picks in vec(pick(), 1..30), width in 1..6_usize, which in 0..9_usize, distinct in any::<bool>()) {
        let data_type = &types()[which];
        let values: Vec<Option<i256>> = picks.iter().map(|pick| value_of(*pick, data_type)).collect();
        let sum = sum_of(data_type, distinct);
        let mut window = sum.create_sliding_accumulator().unwrap();
        prop_assert!(window.supports_retract_batch());
        for (row, value) in values.iter().enumerate() {
            window.update_batch(&[array_of(data_type, &[*value])]).unwrap();
            if row >= width {
                window.retract_batch(&[array_of(data_type, &[values[row - width]])]).unwrap();
            }
            let mut inside = values[(row + 1).saturating_sub(width)..=row].to_vec();
            if distinct {
                inside.sort();
                inside.dedup();
            }
            prop_assert_eq!(single_outcome(&mut window), reference(sum.field().data_type(), inside));
        }
    }
}

/// The place of each group among those seen so far.
fn numbers(groups: impl Iterator<Item = usize>, known: &mut Vec<usize>) -> Vec<usize> {
    let mut number = |group| {
        known.iter().position(|seen| *seen == group).unwrap_or_else(|| {
            known.push(group);
            known.len() - 1
        })
    };
    groups.map(&mut number).collect()
}

fn check_fields(sum: &AggregateFunctionExpr, states: &[ArrayRef]) {
    let fields = sum.state_fields().unwrap();
    let declared: Vec<&DataType> = fields.iter().map(|field| field.data_type()).collect();
    let actual: Vec<&DataType> = states.iter().map(|state| state.data_type()).collect();
    assert_eq!(declared, actual);
}

// ---- chosen cases ---------------------------------------------------------------------------------------------------

fn message_of(data_type: &DataType, values: &[i256]) -> String {
    let mut accumulator = sum_of(data_type, false).create_accumulator().unwrap();
    let values: Vec<_> = values.iter().copied().map(Some).collect();
    accumulator.update_batch(&[array_of(data_type, &values)]).unwrap();
    crate::errors::from_datafusion(accumulator.evaluate().unwrap_err()).message().to_owned()
}

#[test]
fn overflow_says_what_and_what_to_try() {
    let (_, max) = limits(&DataType::Int64);
    assert_eq!(
        message_of(&DataType::Int64, &[max, i256::ONE]),
        "arithmetic overflow: SUM(x) = 9223372036854775808 does not fit in Int64; cast the argument to DECIMAL(38,0)"
    );
    let decimal = DataType::Decimal128(38, 2);
    let (min, _) = limits(&decimal);
    assert_eq!(
        message_of(&decimal, &[min, i256::MINUS_ONE]),
        "arithmetic overflow: SUM(x) = -1000000000000000000000000000000000000.00 does not fit in Decimal128(38, 2); \
         cast the argument to DECIMAL(76,2)"
    );
    let widest = DataType::Decimal256(76, 0);
    let (_, max) = limits(&widest);
    assert_eq!(
        message_of(&widest, &[max; 20]),
        "arithmetic overflow: SUM(x) = about 2.316e77 does not fit in Decimal256(76, 0); cast the argument to DOUBLE"
    );
}

#[test]
fn long_arrays_take_the_same_sum() {
    // Past the lanes of the vectorised loop, with NULLs in between.
    let values: Vec<Option<i64>> = (0..100_000_i64).map(|i| (i % 7 != 0).then_some(i64::MAX - i)).collect();
    let expected: i128 = values.iter().flatten().map(|value| i128::from(*value)).sum();
    let array: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    assert_eq!(Int64Type::join(wide::sum_array::<Int64Type>(&array).0), expected);
    let unsigned: ArrayRef =
        Arc::new(values.iter().map(|value| value.map(|value| value as u64 * 2)).collect::<UInt64Array>());
    assert_eq!(UInt64Type::join(wide::sum_array::<UInt64Type>(&unsigned).0), expected * 2);
    let negative: ArrayRef = Arc::new(values.iter().map(|value| value.map(|value| -value)).collect::<Int64Array>());
    assert_eq!(Int64Type::join(wide::sum_array::<Int64Type>(&negative).0), -expected);
}

#[test]
fn memory_is_counted() {
    let mut sums = sum_of(&DataType::Int64, false).create_groups_accumulator().unwrap();
    let before = sums.size();
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    sums.update_batch(&[values], &(0..1000).collect::<Vec<_>>(), None, 1000).unwrap();
    let plain = sums.size();
    assert!(plain >= before + 8000);
    let wrapping: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX; 2]));
    sums.update_batch(&[wrapping], &[999, 999], None, 1000).unwrap();
    assert!(sums.size() >= plain + 8000, "carries are there now");
}

// ---- through SQL ----------------------------------------------------------------------------------------------------

async fn context() -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(2));
    context.register_udaf(Arc::unwrap_or_clone(checked_sum()));
    let schema =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("x", DataType::Int64, true)]));
    // Group 1 passes the limit and comes back, group 2 stays past it, group 3 is empty.
    let partitions = [
        (vec![1, 1, 2], vec![Some(i64::MAX), Some(1), Some(i64::MAX)]),
        (vec![1, 2, 3], vec![Some(-5), Some(i64::MAX), None]),
        (vec![1, 3, 1], vec![Some(3), None, Some(i64::MAX)]),
        (vec![1], vec![Some(i64::MIN + 1)]),
    ];
    let partitions = partitions.map(|(k, x)| {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(k)), Arc::new(Int64Array::from(x))];
        vec![RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()]
    });
    let table = MemTable::try_new(schema, partitions.into()).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// Cells by spaces, rows by semicolons.
async fn run(sql: &str) -> Result<String> {
    let batches = context().await.sql(sql).await?.collect().await?;
    let text = pretty_format_batches(&batches)?.to_string();
    let lines = text.lines().skip(3).filter(|line| !line.starts_with('+'));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>().join(" ");
    Ok(lines.map(cells).collect::<Vec<_>>().join("; "))
}

async fn check(cases: &[(&str, &str)]) {
    let mut failures = Vec::new();
    for (sql, expected) in cases {
        let found = run(sql).await.unwrap_or_else(|error| crate::errors::from_datafusion(error).to_string());
        let beginning = expected.strip_suffix('…');
        if found != *expected && !beginning.is_some_and(|beginning| found.starts_with(beginning)) {
            failures.push(format!("{sql}: {found}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn queries() {
    let overflow = "error: arithmetic overflow: SUM(t.x) = 18446744073709551614 does not fit in Int64; \
                    cast the argument to DECIMAL(38,0)";
    let window = "SELECT sum(v) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) \
                  FROM (VALUES (1, 9223372036854775807), (2, -1), (3, 1), (4, NULL)) AS v(i, v) ORDER BY i";
    let past = window.replace("(2, -1)", "(2, 1)");
    check(&[
        ("SELECT sum(x) FROM t WHERE k = 1", "9223372036854775806"),
        ("SELECT k, sum(x) FROM t WHERE k <> 2 GROUP BY k ORDER BY k", "1 9223372036854775806; 3 "),
        ("SELECT k, sum(x) FROM t GROUP BY k", overflow),
        ("SELECT sum(x) FROM t WHERE k = 2", overflow),
        ("SELECT sum(x) FILTER (WHERE x < 0) FROM t", "error: arithmetic overflow: SUM(t.x) FILTER…"),
        ("SELECT sum(x) FILTER (WHERE x < 9) FROM t WHERE k = 1 AND x > -9", "-1"),
        ("SELECT sum(CAST(x AS DECIMAL(38,0))) FROM t WHERE k = 2", "18446744073709551614"),
        ("SELECT sum(DISTINCT x) FROM t", "-1"),
        ("SELECT count(DISTINCT k), sum(DISTINCT x) FROM t", "3 -1"),
        ("SELECT sum(x) FROM t WHERE k = 9", ""),
        ("SELECT sum(x) FROM t WHERE k = 3", ""),
        ("SELECT sum(x + 0), sum(x + 1) FROM t WHERE x < 0 AND x > -9", "-5 -4"),
        ("SELECT sum(CAST(x AS DOUBLE)) > 1e18 FROM t WHERE k = 2", "true"),
        ("SELECT sum(v) FROM (VALUES (1::INT), (2::INT)) AS v(v)", "3"),
        (window, "9223372036854775807; 9223372036854775806; 0; 1"),
        (&past, "error: arithmetic overflow: SUM(v.v) ORDER BY…"),
        ("SELECT arrow_typeof(sum(x)) FROM t WHERE k = 3", "Int64"),
    ])
    .await;
}
