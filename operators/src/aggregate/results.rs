//! From states to what comes out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Decimal128Array, Decimal256Array, Float64Array,
    Int64Array, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Chunk, carried_type};

use super::groups::Taken;
use super::partitions::widened;
use super::plan::{CallPlan, Plan};
use crate::pipeline::ir::{AggregateCall, AggregateFunction, AggregateMode};

/// The groups as one chunk of keys and results, or of keys and the states of each call.
///
/// # Errors
/// A sum or an average does not fit in its type.
pub(super) fn output(plan: &Plan, taken: &Taken) -> Result<Chunk> {
    let mut columns = taken.keys.clone();
    for call in &plan.calls {
        if plan.mode == AggregateMode::Partial {
            let states = call.states.iter().flat_map(|&state| &taken.states[state]);
            for (state, wanted) in states.zip(call.call.state_types()) {
                columns.push(widened(state, &carried_type(&wanted))?);
            }
        } else {
            columns.push(result(call, taken)?);
        }
    }
    Ok(Chunk::new(columns, taken.groups))
}

fn result(plan: &CallPlan, taken: &Taken) -> Result<ArrayRef> {
    let states = plan.states.iter().filter_map(|&state| taken.states[state].first()).collect::<Vec<_>>();
    match (&plan.call.function, states.as_slice()) {
        (AggregateFunction::Sum, [sum]) => fit(&plan.call, "SUM", sum),
        (AggregateFunction::Avg, [sum, count]) => average(&plan.call, sum, count),
        (AggregateFunction::Other(_), [result]) => bireme_engine::morsel::to_carried(result),
        (_, [result]) => Ok(Arc::clone(result)),
        _ => Err(Error::internal(format!("{} has lost its state", plan.call))),
    }
}

/// A sum as the type of its result.
fn fit(call: &AggregateCall, name: &str, sum: &ArrayRef) -> Result<ArrayRef> {
    let carried = carried_type(&call.data_type);
    if sum.data_type() == &DataType::Float64 {
        return Ok(arrow::compute::cast(sum, &carried)?);
    }
    let sums = Integers::new(sum)?;
    let (low, high) = range(&call.data_type)?;
    let nulls = sum.nulls().cloned();
    let fits = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) || sums.is_in(row, low, high);
    if let Some(row) = (0..sum.len()).find(|&row| !fits(row)) {
        return Err(overflow(call, name, sums.get(row)));
    }
    Ok(match &carried {
        DataType::Decimal256(digits, scale) => {
            let values = (0..sum.len()).map(|row| sums.get(row)).collect::<Vec<_>>();
            let values = Decimal256Array::new(values.into(), nulls);
            Arc::new(values.with_precision_and_scale(*digits, *scale)?)
        }
        DataType::Decimal128(digits, scale) => {
            let values = (0..sum.len()).map(|row| sums.middle(row)).collect::<Vec<_>>();
            let values = Decimal128Array::new(values.into(), nulls);
            Arc::new(values.with_precision_and_scale(*digits, *scale)?)
        }
        DataType::UInt64 => {
            let values = (0..sum.len()).map(|row| sums.middle(row) as u64).collect::<Vec<_>>();
            Arc::new(PrimitiveArray::<UInt64Type>::new(values.into(), nulls))
        }
        _ => {
            let values = match &sums {
                Integers::Narrow(values) => (*values).clone(),
                _ => (0..sum.len()).map(|row| sums.middle(row) as i64).collect::<Vec<_>>().into(),
            };
            let array = Int64Array::new(values, nulls);
            if carried == DataType::Int64 { Arc::new(array) } else { arrow::compute::cast(&array, &carried)? }
        }
    })
}

fn average(call: &AggregateCall, sum: &ArrayRef, count: &ArrayRef) -> Result<ArrayRef> {
    let counts = count.as_primitive::<Int64Type>().values();
    let nulls = NullBuffer::new(counts.iter().map(|&count| count > 0).collect());
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    if let Some(sums) = sum.as_primitive_opt::<Float64Type>() {
        let values = sums.values().iter().zip(counts).map(|(sum, &count)| sum / count as f64);
        return Ok(Arc::new(Float64Array::new(values.collect(), nulls)));
    }
    let sums = Integers::new(sum)?;
    let decimals = call.arguments.first().and_then(|(_, data_type)| parts(data_type)).zip(parts(&call.data_type));
    if let Some(((_, from), (_, to))) = decimals {
        return decimal_average(call, &sums, counts, nulls, to - from);
    }
    if let DataType::Duration(_) = call.data_type {
        let values = counts.iter().enumerate().map(|(row, &count)| sums.middle(row).checked_div(i128::from(count)));
        let values = Int64Array::new(values.map(|value| value.unwrap_or(0) as i64).collect(), nulls);
        return Ok(arrow::compute::cast(&values, &call.data_type)?);
    }
    let values = counts.iter().enumerate().map(|(row, &count)| sums.float(row) / count as f64);
    Ok(Arc::new(Float64Array::new(values.collect(), nulls)))
}

/// `sum * 10^digits / count`, cut off.
fn decimal_average(
    call: &AggregateCall,
    sums: &Integers<'_>,
    counts: &[i64],
    nulls: Option<NullBuffer>,
    digits: i8,
) -> Result<ArrayRef> {
    let Ok(digits) = u32::try_from(digits) else {
        return Err(Error::unsupported(format!("{call}: an average of fewer digits than its argument has")));
    };
    let (low, high) = range(&call.data_type)?;
    let scale = 10_i128.checked_pow(digits).ok_or_else(|| Error::internal("an average of more than 38 digits more"))?;
    let mut values = Vec::with_capacity(counts.len());
    for (row, &count) in counts.iter().enumerate() {
        if count == 0 {
            values.push(i256::ZERO);
            continue;
        }
        // Nearly always 128 bits do.
        let narrow = sums.try_middle(row).and_then(|sum| sum.checked_mul(scale)).map(|sum| sum / i128::from(count));
        let value = match narrow {
            Some(value) => Some(i256::from_i128(value)),
            None => sums
                .get(row)
                .checked_mul(i256::from_i128(scale))
                .and_then(|sum| sum.checked_div(i256::from_i128(count.into()))),
        };
        match value {
            Some(value) if value >= low && value <= high => values.push(value),
            _ => {
                return Err(Error::user(format!(
                    "arithmetic overflow: an AVG does not fit in {}; cast the argument to DOUBLE",
                    call.data_type
                )));
            }
        }
    }
    let middle = || values.iter().map(|value| value.to_parts().0 as i128);
    Ok(match carried_type(&call.data_type) {
        DataType::Decimal256(digits, scale) => {
            Arc::new(Decimal256Array::new(values.into(), nulls).with_precision_and_scale(digits, scale)?)
        }
        DataType::Decimal128(digits, scale) => {
            Arc::new(Decimal128Array::new(middle().collect(), nulls).with_precision_and_scale(digits, scale)?)
        }
        _ => Arc::new(Int64Array::new(middle().map(|value| value as i64).collect(), nulls)),
    })
}

/// Exact sums as they come out of states.
enum Integers<'a> {
    Narrow(&'a arrow::buffer::ScalarBuffer<i64>),
    Middle(&'a [i128]),
    Wide(&'a [i256]),
}

impl<'a> Integers<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Int64 => Ok(Self::Narrow(array.as_primitive::<Int64Type>().values())),
            DataType::Decimal128(..) => Ok(Self::Middle(array.as_primitive::<Decimal128Type>().values())),
            DataType::Decimal256(..) => Ok(Self::Wide(array.as_primitive::<Decimal256Type>().values())),
            other => Err(Error::internal(format!("an exact sum came as {other}"))),
        }
    }

    fn get(&self, row: usize) -> i256 {
        match self {
            Self::Narrow(values) => i256::from_i128(values[row].into()),
            Self::Middle(values) => i256::from_i128(values[row]),
            Self::Wide(values) => values[row],
        }
    }

    fn try_middle(&self, row: usize) -> Option<i128> {
        match self {
            Self::Narrow(values) => Some(values[row].into()),
            Self::Middle(values) => Some(values[row]),
            Self::Wide(values) => values[row].to_i128(),
        }
    }

    /// The value, which is known to fit, or is behind a NULL.
    fn middle(&self, row: usize) -> i128 {
        self.try_middle(row).unwrap_or_default()
    }

    fn float(&self, row: usize) -> f64 {
        match self.try_middle(row) {
            Some(value) => value as f64,
            None => {
                let (low, high) = self.get(row).to_parts();
                high as f64 * 2_f64.powi(128) + low as f64
            }
        }
    }

    #[inline]
    fn is_in(&self, row: usize, low: i256, high: i256) -> bool {
        match (self, low.to_i128(), high.to_i128()) {
            (Self::Narrow(values), Some(low), Some(high)) => (low..=high).contains(&i128::from(values[row])),
            (Self::Middle(values), Some(low), Some(high)) => (low..=high).contains(&values[row]),
            _ => (low..=high).contains(&self.get(row)),
        }
    }
}

/// Digits, and how many of them are behind the point.
fn parts(data_type: &DataType) -> Option<(u8, i8)> {
    match *data_type {
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => Some((digits, scale)),
        _ => None,
    }
}

/// The smallest and the largest value of a result.
fn range(data_type: &DataType) -> Result<(i256, i256)> {
    fn of<P: ArrowPrimitiveType>() -> (i256, i256)
    where
        P::Native: Into<i128>,
    {
        let (low, high) = (P::Native::MIN_TOTAL_ORDER, P::Native::MAX_TOTAL_ORDER);
        (i256::from_i128(low.into()), i256::from_i128(high.into()))
    }
    if let Some((digits, _)) = parts(data_type) {
        let mut limit = i256::ONE;
        for _ in 0..digits {
            limit = limit.wrapping_mul(i256::from_i128(10));
        }
        let limit = limit.wrapping_sub(i256::ONE);
        return Ok((limit.wrapping_neg(), limit));
    }
    Ok(match data_type {
        DataType::Int64 | DataType::Duration(_) => of::<Int64Type>(),
        DataType::UInt64 => of::<UInt64Type>(),
        DataType::Int32 => of::<Int32Type>(),
        DataType::Int16 => of::<Int16Type>(),
        DataType::Int8 => of::<Int8Type>(),
        DataType::UInt32 => of::<UInt32Type>(),
        DataType::UInt16 => of::<UInt16Type>(),
        DataType::UInt8 => of::<UInt8Type>(),
        other => return Err(Error::unsupported(format!("a SUM of integers as {other}"))),
    })
}

#[cold]
fn overflow(call: &AggregateCall, name: &str, sum: i256) -> Error {
    let (sum, advice) = match (parts(&call.data_type), &call.data_type) {
        (Some((_, scale)), wide) => {
            let sum = if scale > 0 {
                Decimal256Type::format_decimal(sum, DECIMAL256_MAX_PRECISION, scale)
            } else {
                sum.to_string()
            };
            let advice = match wide {
                DataType::Decimal256(..) => "DOUBLE".to_owned(),
                DataType::Decimal128(..) => format!("DECIMAL({DECIMAL256_MAX_PRECISION},{scale})"),
                _ => format!("DECIMAL({DECIMAL128_MAX_PRECISION},{scale})"),
            };
            (sum, advice)
        }
        (None, _) => (sum.to_string(), format!("DECIMAL({DECIMAL128_MAX_PRECISION},0)")),
    };
    Error::user(format!(
        "arithmetic overflow: {name} = {sum} does not fit in {}; cast the argument to {advice}",
        call.data_type
    ))
}
