//! Casts: without work where two types are carried alike, with short loops between integers and decimals, else by Arrow
//! with the options that DataFusion has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, TimeUnit};
use arrow::util::display::{DurationFormat, FormatOptions};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{carried_type, to_carried};

use super::decimal::{exact_range, known_range};
use super::simd::{extremes, map};
use super::value::{Natives, Value, decimal_digits, natives};

/// Casts a value; one that does not fit is an error, or NULL if `or_null`.
pub(super) fn cast(value: &Value, from: &DataType, to: &DataType, or_null: bool) -> Result<Value> {
    if from == to || same_text(from, to) {
        return Ok(value.clone());
    }
    let fast = match (from, decimal_digits(from), decimal_digits(to)) {
        (_, Some(from), Some(to)) => decimal_to_decimal(value, from, to),
        (DataType::Int32 | DataType::Int64, None, Some(to)) => integer_to_decimal(value, from, to),
        (DataType::Int32, None, None) if to == &DataType::Int64 => Some(widened(value)),
        _ => None,
    };
    match fast {
        Some(value) => Ok(value),
        None => Value::from_logical(&cast_logical(&value.logical(from)?, to, or_null)?, value.scalar),
    }
}

/// Whether a cast can fail on a value.
pub(super) fn can_fail(from: &DataType, to: &DataType) -> bool {
    let digits = |data_type: &DataType| match data_type {
        DataType::Int8 | DataType::UInt8 => Some(3),
        DataType::Int16 | DataType::UInt16 => Some(5),
        DataType::Int32 | DataType::UInt32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        _ => None,
    };
    let integral = |data_type: &DataType| digits(data_type).is_some();
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    if from == to || same_text(from, to) {
        return false;
    }
    match (decimal_digits(from), decimal_digits(to)) {
        (Some((from_digits, from_scale)), Some((to_digits, to_scale))) => {
            let delta = i16::from(to_scale) - i16::from(from_scale);
            // A digit may come by rounding.
            let needed = i16::from(from_digits) + delta + i16::from(delta < 0);
            needed > i16::from(to_digits)
        }
        (None, Some((to_digits, scale))) => {
            digits(from).is_none_or(|digits| scale < 0 || digits + i16::from(scale) > i16::from(to_digits))
        }
        _ if integral(from) && integral(to) => {
            let same_sign = from.is_signed_integer() == to.is_signed_integer();
            let into_signed = from.is_unsigned_integer() && to.is_signed_integer();
            !(same_sign && width(from) <= width(to) || into_signed && width(from) < width(to))
        }
        _ if integral(from) => !matches!(to, DataType::Float64 | DataType::Utf8 | DataType::Utf8View),
        _ => !matches!((from, to), (DataType::Float32, DataType::Float64)),
    }
}

/// Casts an array in logical form.
pub(super) fn cast_logical(array: &ArrayRef, to: &DataType, or_null: bool) -> Result<ArrayRef> {
    if !or_null {
        check_timestamps(array, to)?;
    }
    let format_options = FormatOptions::new().with_duration_format(DurationFormat::Pretty);
    Ok(cast_with_options(array, to, &CastOptions { safe: or_null, format_options })?)
}

fn same_text(from: &DataType, to: &DataType) -> bool {
    let carried = carried_type(from);
    matches!(carried, DataType::Utf8View | DataType::BinaryView) && carried == carried_type(to)
}

fn widened(value: &Value) -> Value {
    let array = value.array.as_primitive::<Int32Type>();
    let wide = Int64Array::new(map(array.values(), i64::from).into(), array.nulls().cloned());
    Value::new(Arc::new(wide), value.scalar)
}

/// `None` where the rows do not tell that all is well.
fn integer_to_decimal(value: &Value, from: &DataType, (digits, scale): (u8, i8)) -> Option<Value> {
    let factor = 10_i64.checked_pow(u32::try_from(scale).ok()?)?;
    let range = match natives(&value.array)? {
        Natives::I32(values) => extremes(values).map(|(low, high)| (i64::from(low), i64::from(high))),
        Natives::I64(values) => extremes(values),
        _ => return None,
    };
    let range = range.unwrap_or((0, 0));
    let range = (range.0.checked_mul(factor)?, range.1.checked_mul(factor)?);
    if !has_digits(range, digits) {
        return None;
    }
    let values = if from == &DataType::Int32 {
        map(value.array.as_primitive::<Int32Type>().values(), move |value| i64::from(value).wrapping_mul(factor))
    } else {
        map(value.array.as_primitive::<Int64Type>().values(), move |value| value.wrapping_mul(factor))
    };
    let array = Int64Array::new(values.into(), value.array.nulls().cloned());
    Some(Value { array: Arc::new(array), scalar: value.scalar, range: Some(range) })
}

/// `None` where 64 bits may not do, or digits may be lost.
fn decimal_to_decimal(value: &Value, from: (u8, i8), to: (u8, i8)) -> Option<Value> {
    let ((from_digits, from_scale), (to_digits, to_scale)) = (from, to);
    if from_scale == to_scale && from_digits <= to_digits {
        // A wide array keeps its label: carried forms may.
        return Some(value.clone());
    }
    let array = value.array.as_primitive_opt::<Int64Type>()?;
    let power = 10_i64.checked_pow(u32::from(from_scale.abs_diff(to_scale)))?;
    let up = to_scale >= from_scale;
    let rescale = move |value: i64| {
        if up {
            return value.checked_mul(power);
        }
        Some(rounded_quotient(value, power))
    };
    // The target's digits count, unless the types alone say that they are enough.
    let checked = |range: (i64, i64)| {
        let range = (rescale(range.0)?, rescale(range.1)?);
        has_digits(range, to_digits).then_some(range)
    };
    let range = known_range(value, from_digits).and_then(checked).or_else(|| checked(exact_range(value, false)?))?;
    let values = if up {
        map(array.values(), move |value| value.wrapping_mul(power))
    } else {
        map(array.values(), move |value| rounded_quotient(value, power))
    };
    let array = Int64Array::new(values.into(), array.nulls().cloned());
    Some(Value { array: Arc::new(array), scalar: value.scalar, range: Some(range) })
}

/// Rounded, halves away from zero; the power of ten is at least 10 where it matters.
#[inline(always)]
fn rounded_quotient(value: i64, power: i64) -> i64 {
    let (quotient, remainder) = (value / power, value % power);
    let half = power / 2;
    quotient + i64::from(remainder >= half && value >= 0) - i64::from(remainder <= -half && value < 0)
}

fn has_digits(range: (i64, i64), digits: u8) -> bool {
    let limit = 10_i128.pow(u32::from(digits.min(38)));
    i128::from(range.0) > -limit && i128::from(range.1) < limit
}

/// Arrow's casts to finer timestamps wrap around; an instant that does not fit is an error.
fn check_timestamps(array: &ArrayRef, to: &DataType) -> Result<()> {
    let per_second = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_i64,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let DataType::Timestamp(unit, _) = to else { return Ok(()) };
    let factor = match array.data_type() {
        DataType::Date32 => 86_400 * per_second(unit),
        DataType::Date64 => per_second(unit) / 1_000,
        DataType::Timestamp(from, _) => per_second(unit) / per_second(from),
        _ => return Ok(()),
    };
    if factor <= 1 {
        return Ok(());
    }
    let valid = |row: usize| array.is_valid(row);
    let fits = |value: i64| value.checked_mul(factor).is_some();
    let all = match natives(array) {
        Some(Natives::I32(values)) => {
            values.iter().enumerate().all(|(row, &value)| fits(i64::from(value)) || !valid(row))
        }
        Some(Natives::I64(values)) => values.iter().enumerate().all(|(row, &value)| fits(value) || !valid(row)),
        _ => true,
    };
    if all {
        return Ok(());
    }
    Err(Error::user(format!(
        "cannot cast {} to {to}: an instant is out of its range; use a coarser unit",
        array.data_type()
    )))
}

/// A literal, or a list of them, in the cheapest carried form: decimals in 64 bits if all fit, whatever the type.
pub(super) fn carried_literal(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(narrowest(super::value::flat(&to_carried(array)?)?))
}

/// Decimals in 64 bits if all fit.
pub(super) fn narrowest(array: ArrayRef) -> ArrayRef {
    let Some(values) = array.as_primitive_opt::<Decimal128Type>() else { return array };
    let fits = |value: Option<i128>| value.map(i64::try_from).transpose();
    match values.iter().map(fits).collect::<Result<Int64Array, _>>() {
        Ok(narrow) => Arc::new(narrow),
        Err(_) => array,
    }
}
