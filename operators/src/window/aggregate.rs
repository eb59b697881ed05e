//! Counts, sums and averages of frames that begin with the partition: a frame's state is that of the frame before it, and
//! a few rows more.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::WindowFrame;
use super::bounds::{Bounds, State};
use super::rank::whole;

/// Whether a sum or an average of `argument` can be a `result`.
pub(super) fn can_sum(argument: &DataType, result: &DataType) -> bool {
    match result {
        DataType::Float64 => argument.is_floating() || argument.is_integer(),
        DataType::Int64 | DataType::UInt64 => argument.is_integer(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            scale(argument).zip(scale(result)).is_some_and(|(from, to)| from <= to)
        }
        _ => false,
    }
}

fn scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    }
}

pub(super) fn count(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: Option<&ArrayRef>,
    data_type: &DataType,
) -> ArrayRef {
    let nulls = column.and_then(|column| column.logical_nulls());
    let mut counts = Vec::with_capacity(bounds.rows());
    for (partition, groups) in bounds.frames(frame) {
        state.enter(bounds, &partition);
        for group in groups {
            let more = match &nulls {
                None => group.len(),
                Some(nulls) => group.clone().filter(|&row| nulls.is_valid(row)).count(),
            };
            state.count += more as u64;
            counts.resize(group.end, state.count);
        }
    }
    whole(counts, data_type)
}

pub(super) fn sum(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    argument: &DataType,
    data_type: &DataType,
) -> Result<ArrayRef> {
    if argument.is_floating() {
        return float_sums(bounds, state, frame, column, |sum, _| sum);
    }
    let factor = factor(argument, data_type)?;
    exact(bounds, state, frame, column, data_type, |sum, _| sum.checked_mul(factor))
}

pub(super) fn average(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    argument: &DataType,
    data_type: &DataType,
) -> Result<ArrayRef> {
    if argument.is_floating() {
        return float_sums(bounds, state, frame, column, |sum, count| sum / count as f64);
    }
    if *data_type == DataType::Float64 {
        let averages = fold_exact(bounds, state, frame, column, |sum, count| Some(sum as f64 / count as f64))?;
        return Ok(Arc::new(Float64Array::from(averages)));
    }
    let factor = factor(argument, data_type)?;
    exact(bounds, state, frame, column, data_type, |sum, count| Some(sum.checked_mul(factor)? / count as i128))
}

/// What makes a number of the argument's scale one of the result's.
fn factor(argument: &DataType, data_type: &DataType) -> Result<i128> {
    let more = scale(data_type).unwrap_or(0) - scale(argument).unwrap_or(0);
    let factor = u32::try_from(more).ok().and_then(|more| 10_i128.checked_pow(more));
    factor.ok_or_else(|| Error::unsupported(format!("sums of {argument} as {data_type}")))
}

fn float_sums(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    result: impl Fn(f64, u64) -> f64,
) -> Result<ArrayRef> {
    let column = cast(column, &DataType::Float64)?;
    let values = column.as_primitive::<Float64Type>();
    let mut sums = Vec::with_capacity(bounds.rows());
    for (partition, groups) in bounds.frames(frame) {
        state.enter(bounds, &partition);
        for group in groups {
            for row in group.clone().filter(|&row| values.is_valid(row)) {
                state.float += values.value(row);
                state.count += 1;
            }
            sums.resize(group.end, (state.count > 0).then(|| result(state.float, state.count)));
        }
    }
    Ok(Arc::new(Float64Array::from(sums)))
}

fn exact(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    data_type: &DataType,
    result: impl Fn(i128, u64) -> Option<i128>,
) -> Result<ArrayRef> {
    let fits = |number: i128| match data_type {
        DataType::Int64 => i64::try_from(number).is_ok(),
        DataType::UInt64 => u64::try_from(number).is_ok(),
        DataType::Decimal32(digits, _) | DataType::Decimal64(digits, _) | DataType::Decimal128(digits, _) => {
            10_u128.checked_pow(u32::from(*digits)).is_none_or(|limit| number.unsigned_abs() < limit)
        }
        _ => true,
    };
    let numbers =
        fold_exact(bounds, state, frame, column, |sum, count| result(sum, count).filter(|&number| fits(number)))
            .map_err(|error| error.context(format!("a window's sum as {data_type}")))?;
    Ok(match carried_type(data_type) {
        DataType::UInt64 => Arc::new(numbers.into_iter().map(|n| n.map(|n| n as u64)).collect::<UInt64Array>()),
        DataType::Float64 => Arc::new(numbers.into_iter().map(|n| n.map(|n| n as f64)).collect::<Float64Array>()),
        DataType::Decimal128(digits, scale) => {
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(digits, scale)?)
        }
        _ => Arc::new(numbers.into_iter().map(|n| n.map(|n| n as i64)).collect::<Int64Array>()),
    })
}

/// Folds whole numbers; a frame's sum of more than 128 bits, or a result that does not fit, is an error.
fn fold_exact<R: Copy>(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    result: impl Fn(i128, u64) -> Option<R>,
) -> Result<Vec<Option<R>>> {
    let overflow = || Error::user("arithmetic overflow");
    let values = wide(column)?;
    let nulls = column.logical_nulls();
    let mut results = Vec::with_capacity(bounds.rows());
    for (partition, groups) in bounds.frames(frame) {
        state.enter(bounds, &partition);
        for group in groups {
            for row in group.clone() {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    // What leaves 128 bits on the way may come back: the carry counts how often it has.
                    let (more, overflows) = state.sum.overflowing_add(values[row]);
                    state.carry += if overflows { values[row].signum() } else { 0 };
                    state.sum = more;
                    state.count += 1;
                }
            }
            let whole = || Some(state.sum).filter(|_| state.carry == 0).and_then(|sum| result(sum, state.count));
            let result = if state.count > 0 { Some(whole().ok_or_else(overflow)?) } else { None };
            results.resize(group.end, result);
        }
    }
    Ok(results)
}

fn wide(column: &ArrayRef) -> Result<Vec<i128>> {
    Ok(match column.data_type() {
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().values().to_vec(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().values().iter().map(|&value| value.into()).collect(),
        _ => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().values().iter().map(|&v| v.into()).collect(),
    })
}
