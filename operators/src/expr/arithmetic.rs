//! `+ - * / %` on numbers, and what else Arrow adds and subtracts (dates, intervals, timestamps).
//!
//! Integers are computed with the sign bits of all overflows gathered on the way; only if there was one, rows are looked at
//! again one by one, since an overflow behind a NULL is none. Decimals have a file of their own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, Scalar};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use bireme_engine::error::{Error, Result};

use super::cast::cast_logical;
use super::decimal;
use super::simd::{extremes, map, map_flagged, map_pairs, map_pairs_flagged};
use super::value::{Operand, Value, carry_wide, decimal_digits, union_nulls, wide};
use crate::pipeline::ir::ArithmeticOp;

/// The logical types of the operands and of the result.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    pub left: &'a DataType,
    pub right: &'a DataType,
    pub result: &'a DataType,
}

/// Computes on two values.
pub(super) fn arithmetic(op: ArithmeticOp, left: &Value, right: &Value, types: Types<'_>) -> Result<Value> {
    if left.is_null_scalar() || right.is_null_scalar() {
        return Ok(Value::null(types.result));
    }
    let whole = matches!(op, ArithmeticOp::Add | ArithmeticOp::Subtract | ArithmeticOp::Multiply);
    match (types.left, types.right, types.result) {
        (DataType::Int32, DataType::Int32, DataType::Int32) if whole => integers::<Int32Type>(op, left, right),
        (DataType::Int64, DataType::Int64, DataType::Int64) if whole => integers::<Int64Type>(op, left, right),
        (DataType::Float64, DataType::Float64, DataType::Float64) => Ok(floats(op, left, right)),
        _ => match (decimal_digits(types.left), decimal_digits(types.right), decimal_digits(types.result)) {
            (Some(l), Some(r), Some(result)) if whole => {
                match decimal::arithmetic(op, (left, l), (right, r), result)? {
                    Some(value) => Ok(value),
                    None => by_arrow(op, left, right, types),
                }
            }
            _ => by_arrow(op, left, right, types),
        },
    }
}

/// The negative number.
pub(super) fn negate(value: &Value, logical: &DataType) -> Result<Value> {
    Value::from_logical(&numeric::neg(&value.logical(logical)?)?, value.scalar)
}

/// The number without its sign.
pub(super) fn absolute(value: &Value, logical: &DataType) -> Result<Value> {
    macro_rules! integer {
        ($type:ty) => {{
            let overflow = |number| Error::user(format!("arithmetic overflow: abs({number}) on {logical}"));
            let numbers = value.array.as_primitive::<$type>();
            Arc::new(numbers.try_unary::<_, $type, _>(|number| number.checked_abs().ok_or_else(|| overflow(number)))?)
        }};
    }
    if let Some((digits, scale)) = decimal_digits(logical)
        && let Some(narrow) = value.array.as_primitive_opt::<Int64Type>()
        && narrow.values().contains(&i64::MIN)
    {
        let wide = wide(&value.array)?.unary::<_, Decimal128Type>(i128::wrapping_abs);
        return Ok(Value::new(carry_wide(wide, digits, scale)?, value.scalar));
    }
    let array: ArrayRef = match value.array.data_type() {
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::Float32 => Arc::new(value.array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
        DataType::Float64 => Arc::new(value.array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
        DataType::Decimal128(digits, scale) => {
            let numbers = value.array.as_primitive::<Decimal128Type>();
            let numbers = numbers.unary::<_, Decimal128Type>(i128::wrapping_abs);
            Arc::new(numbers.with_precision_and_scale(*digits, *scale)?)
        }
        _ if logical.is_unsigned_integer() || value.is_null_scalar() => return Ok(value.clone()),
        other => return Err(Error::internal(format!("abs of {other}"))),
    };
    Ok(Value::new(array, value.scalar))
}

fn by_arrow(op: ArithmeticOp, left: &Value, right: &Value, types: Types<'_>) -> Result<Value> {
    let (l, r) = (left.logical(types.left)?, right.logical(types.right)?);
    let call = match op {
        ArithmeticOp::Add => numeric::add,
        ArithmeticOp::Subtract => numeric::sub,
        ArithmeticOp::Multiply => numeric::mul,
        ArithmeticOp::Divide => numeric::div,
        ArithmeticOp::Remainder => numeric::rem,
    };
    let result = match (left.scalar, right.scalar) {
        (true, false) => call(&Scalar::new(l), &r)?,
        (false, true) => call(&l, &Scalar::new(r))?,
        _ => call(&l, &r)?,
    };
    Value::from_logical(&as_type(&result, types.result)?, left.scalar && right.scalar)
}

/// The result of a kernel as the type that the plan has for it. Of decimals of one scale only the label changes: more
/// digits than it says are no error.
fn as_type(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), wanted) {
        (have, want) if have == want => Ok(Arc::clone(array)),
        (DataType::Decimal128(_, have), DataType::Decimal128(digits, scale)) if have == scale => {
            let decimals = array.as_primitive::<Decimal128Type>().clone();
            Ok(Arc::new(decimals.with_precision_and_scale(*digits, *scale)?))
        }
        _ => cast_logical(array, wanted, false),
    }
}

/// Integers whose overflow can be told from the result, or be excluded beforehand.
trait Integer: ArrowPrimitiveType {
    /// A negative number if `sum`, which wrapped around, is not `left + right`.
    fn sum_overflow(left: Self::Native, right: Self::Native, sum: Self::Native) -> Self::Native;
    /// Likewise of `left - right`.
    fn difference_overflow(left: Self::Native, right: Self::Native, difference: Self::Native) -> Self::Native;
    fn wrapping(op: ArithmeticOp, left: Self::Native, right: Self::Native) -> Self::Native;
    fn checked(op: ArithmeticOp, left: Self::Native, right: Self::Native) -> Option<Self::Native>;
    fn wide(value: Self::Native) -> i128;
}

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Integer for $type {
            #[inline(always)]
            fn sum_overflow(left: Self::Native, right: Self::Native, sum: Self::Native) -> Self::Native {
                (left ^ sum) & (right ^ sum)
            }

            #[inline(always)]
            fn difference_overflow(left: Self::Native, right: Self::Native, difference: Self::Native) -> Self::Native {
                (left ^ right) & (left ^ difference)
            }

            #[inline(always)]
            fn wrapping(op: ArithmeticOp, left: Self::Native, right: Self::Native) -> Self::Native {
                match op {
                    ArithmeticOp::Add => left.wrapping_add(right),
                    ArithmeticOp::Subtract => left.wrapping_sub(right),
                    _ => left.wrapping_mul(right),
                }
            }

            fn checked(op: ArithmeticOp, left: Self::Native, right: Self::Native) -> Option<Self::Native> {
                match op {
                    ArithmeticOp::Add => left.checked_add(right),
                    ArithmeticOp::Subtract => left.checked_sub(right),
                    _ => left.checked_mul(right),
                }
            }

            fn wide(value: Self::Native) -> i128 {
                i128::from(value)
            }
        }
    )*};
}

integer!(Int32Type Int64Type);

fn integers<T: Integer>(op: ArithmeticOp, left: &Value, right: &Value) -> Result<Value>
where
    T::Native: Ord + std::ops::BitOr<Output = T::Native>,
{
    let scalar = left.scalar && right.scalar;
    let nulls = union_nulls(left, right);
    let (l, r) = (left.array.as_primitive::<T>().values(), right.array.as_primitive::<T>().values());
    let (l, r) = (Operand::new(l, left.scalar), Operand::new(r, right.scalar));
    let (values, overflowed) = match op {
        ArithmeticOp::Add => with_flag(l, r, |l, r| {
            let sum = T::wrapping(ArithmeticOp::Add, l, r);
            (sum, T::sum_overflow(l, r, sum))
        }),
        ArithmeticOp::Subtract => with_flag(l, r, |l, r| {
            let difference = T::wrapping(ArithmeticOp::Subtract, l, r);
            (difference, T::difference_overflow(l, r, difference))
        }),
        _ => {
            let product = |l, r| T::wrapping(ArithmeticOp::Multiply, l, r);
            (binary(l, r, product), !product_fits::<T>(l, r))
        }
    };
    if overflowed {
        check_rows::<T>(op, l, r, nulls.as_ref(), values.len())?;
    }
    Ok(Value::new(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)), scalar))
}

/// Values, and whether any flag was negative.
fn with_flag<T: Copy + Default + Ord + std::ops::BitOr<Output = T>>(
    left: Operand<'_, T>,
    right: Operand<'_, T>,
    compute: impl Fn(T, T) -> (T, T) + Copy,
) -> (Vec<T>, bool) {
    let (none, join) = (T::default(), |flags: T, flag: T| flags | flag);
    let (values, flags) = match (left, right) {
        (Operand::Slice(left), Operand::Slice(right)) => map_pairs_flagged(left, right, none, compute, join),
        (Operand::Slice(left), Operand::Scalar(right)) => {
            map_flagged(left, none, move |left| compute(left, right), join)
        }
        (Operand::Scalar(left), Operand::Slice(right)) => {
            map_flagged(right, none, move |right| compute(left, right), join)
        }
        (Operand::Scalar(left), Operand::Scalar(right)) => {
            let (value, flag) = compute(left, right);
            (vec![value], flag)
        }
    };
    (values, flags < T::default())
}

/// Whether no product can overflow, by the extremes of the factors.
fn product_fits<T: Integer>(left: Operand<'_, T::Native>, right: Operand<'_, T::Native>) -> bool
where
    T::Native: Ord + std::ops::BitOr<Output = T::Native>,
{
    let magnitude = |operand: Operand<'_, T::Native>| {
        let (least, largest) = match operand {
            Operand::Scalar(value) => (value, value),
            Operand::Slice(values) => extremes(values).unwrap_or_default(),
        };
        T::wide(least).abs().max(T::wide(largest).abs())
    };
    let limit = (1_i128 << (8 * size_of::<T::Native>() - 1)) - 1;
    magnitude(left) * magnitude(right) <= limit
}

/// Looks for a row that is not NULL and overflows.
fn check_rows<T: Integer>(
    op: ArithmeticOp,
    left: Operand<'_, T::Native>,
    right: Operand<'_, T::Native>,
    nulls: Option<&NullBuffer>,
    rows: usize,
) -> Result<()> {
    let at = |operand: Operand<'_, T::Native>, row: usize| match operand {
        Operand::Scalar(value) => value,
        Operand::Slice(values) => values[row],
    };
    for row in (0..rows).filter(|&row| nulls.is_none_or(|nulls| nulls.is_valid(row))) {
        let (l, r) = (at(left, row), at(right, row));
        if T::checked(op, l, r).is_none() {
            return Err(Error::user(format!("arithmetic overflow: {l:?} {op} {r:?} on {}", T::DATA_TYPE)));
        }
    }
    Ok(())
}

fn floats(op: ArithmeticOp, left: &Value, right: &Value) -> Value {
    let (l, r) =
        (left.array.as_primitive::<Float64Type>().values(), right.array.as_primitive::<Float64Type>().values());
    let (l, r) = (Operand::new(l, left.scalar), Operand::new(r, right.scalar));
    let values = match op {
        ArithmeticOp::Add => binary(l, r, |l, r| l + r),
        ArithmeticOp::Subtract => binary(l, r, |l, r| l - r),
        ArithmeticOp::Multiply => binary(l, r, |l, r| l * r),
        ArithmeticOp::Divide => binary(l, r, |l, r| l / r),
        ArithmeticOp::Remainder => binary(l, r, |l, r| l % r),
    };
    let array = PrimitiveArray::<Float64Type>::new(values.into(), union_nulls(left, right));
    Value::new(Arc::new(array), left.scalar && right.scalar)
}

/// A new value for each pair; one if both are one.
#[inline]
pub(super) fn binary<T: Copy, R>(
    left: Operand<'_, T>,
    right: Operand<'_, T>,
    compute: impl Fn(T, T) -> R + Copy,
) -> Vec<R> {
    match (left, right) {
        (Operand::Slice(left), Operand::Slice(right)) => map_pairs(left, right, compute),
        (Operand::Slice(left), Operand::Scalar(right)) => map(left, move |left| compute(left, right)),
        (Operand::Scalar(left), Operand::Slice(right)) => map(right, move |right| compute(left, right)),
        (Operand::Scalar(left), Operand::Scalar(right)) => vec![compute(left, right)],
    }
}
