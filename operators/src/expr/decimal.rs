//! Sums, differences and products of decimals, in 64 bits as long as that can be proven to be enough.
//!
//! The types alone prove it seldom: `l_extendedprice * (1 - l_discount)` has 38 digits by SQL's rules, since the literal 1
//! is taken for a number of 20 digits. So each value carries an interval that its numbers lie in, from three sources, the
//! cheap ones first: what an operation before has found out, the digits of the column's type, and the least and largest
//! number of the chunk, at a tenth of a nanosecond a row:
//!
//! ```text
//!   l_discount           type: ±10^15      chunk: 0 .. 10
//!   1 - l_discount       100 - [0, 10]            90 .. 100
//!   l_extendedprice      type: ±10^15      chunk: 90091 .. 10494950
//!   product              [90091, 10494950] * [90, 100] = 8108190 .. 1049495000, below 2^63: 64 bits will do
//! ```
//! Where nothing proves it, 128 bits are used, with checks. NULL slots are computed as well, in wrapping arithmetic; the
//! intervals speak of the other rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use bireme_engine::error::{Error, Result};

use super::arithmetic::binary;
use super::simd::extremes;
use super::value::{Operand, Value, carry_wide, is_narrow, union_nulls, wide};
use crate::pipeline::ir::ArithmeticOp;

/// Digits and scale.
type Digits = (u8, i8);

/// Both ends belong to it.
type Range = (i128, i128);

/// Adds, subtracts or multiplies; `None` where the result has another scale than that of the exact result.
pub(super) fn arithmetic(
    op: ArithmeticOp,
    left: (&Value, Digits),
    right: (&Value, Digits),
    result: Digits,
) -> Result<Option<Value>> {
    let ((_, (_, left_scale)), (_, (_, right_scale))) = (left, right);
    let (scale, factors) = if op == ArithmeticOp::Multiply {
        (left_scale.checked_add(right_scale), Some((1, 1)))
    } else {
        let scale = left_scale.max(right_scale);
        let factor = |own: i8| 10_i128.checked_pow((scale - own) as u32);
        (Some(scale), factor(left_scale).zip(factor(right_scale)))
    };
    let (Some(scale), Some(factors)) = (scale, factors) else { return Ok(None) };
    if scale != result.1 || scale > 38 {
        return Ok(None);
    }
    let operation = Operation { op, factors };
    match operation.narrow((left.0, left.1.0), (right.0, right.1.0)) {
        Some(value) => Ok(Some(value)),
        None => operation.wide(left.0, right.0, result).map(Some),
    }
}

#[derive(Clone, Copy)]
struct Operation {
    op: ArithmeticOp,
    /// Powers of ten that bring operands of a sum to the scale of the result.
    factors: (i128, i128),
}

impl Operation {
    /// The result in 64 bits, if that is enough.
    fn narrow(self, left: (&Value, u8), right: (&Value, u8)) -> Option<Value> {
        let ((left, left_digits), (right, right_digits)) = (left, right);
        let (l, r) = (left.array.as_primitive_opt::<Int64Type>()?, right.array.as_primitive_opt::<Int64Type>()?);
        let factors = (i64::try_from(self.factors.0).ok()?, i64::try_from(self.factors.1).ok()?);
        let (known_left, known_right) = (known_range(left, left_digits), known_range(right, right_digits));
        let range = known_left.zip(known_right).and_then(|(l, r)| self.range(l, r)).or_else(|| {
            // Rows are looked at on the side of which less is known, then on the other one.
            if spread(known_left) <= spread(known_right) {
                let r = exact_range(right, false)?;
                known_left.and_then(|l| self.range(l, r)).or_else(|| self.range(exact_range(left, false)?, r))
            } else {
                let l = exact_range(left, false)?;
                known_right.and_then(|r| self.range(l, r)).or_else(|| self.range(l, exact_range(right, false)?))
            }
        });
        let range = range.or_else(|| {
            // Numbers behind NULLs are in the way, perhaps.
            if left.array.null_count() == 0 && right.array.null_count() == 0 {
                return None;
            }
            self.range(exact_range(left, true)?, exact_range(right, true)?)
        })?;
        let (l, r) = (Operand::new(l.values(), left.scalar), Operand::new(r.values(), right.scalar));
        let values = match (self.op, factors) {
            (ArithmeticOp::Multiply, _) => binary(l, r, i64::wrapping_mul),
            (ArithmeticOp::Add, (1, 1)) => binary(l, r, i64::wrapping_add),
            (ArithmeticOp::Add, (a, b)) => binary(l, r, move |l, r| l.wrapping_mul(a).wrapping_add(r.wrapping_mul(b))),
            (_, (1, 1)) => binary(l, r, i64::wrapping_sub),
            (_, (a, b)) => binary(l, r, move |l, r| l.wrapping_mul(a).wrapping_sub(r.wrapping_mul(b))),
        };
        let array = Int64Array::new(values.into(), union_nulls(left, right));
        Some(Value { array: Arc::new(array), scalar: left.scalar && right.scalar, range: Some(range) })
    }

    /// What the result lies in; `None` if it, or a part of it, may be past 64 bits.
    fn range(self, left: (i64, i64), right: (i64, i64)) -> Option<(i64, i64)> {
        let wide = |range: (i64, i64)| (i128::from(range.0), i128::from(range.1));
        let scaled = |range: Range, factor: i128| Some((range.0.checked_mul(factor)?, range.1.checked_mul(factor)?));
        let left = narrowed(scaled(wide(left), self.factors.0)?)?;
        let right = narrowed(scaled(wide(right), self.factors.1)?)?;
        let (left, right) = (wide(left), wide(right));
        narrowed(match self.op {
            ArithmeticOp::Add => (left.0 + right.0, left.1 + right.1),
            ArithmeticOp::Subtract => (left.0 - right.1, left.1 - right.0),
            _ => {
                let corners = [left.0 * right.0, left.0 * right.1, left.1 * right.0, left.1 * right.1];
                corners.iter().fold((i128::MAX, i128::MIN), |(low, high), &corner| (low.min(corner), high.max(corner)))
            }
        })
    }

    /// The result in 128 bits; past those it is an error.
    fn wide(self, left: &Value, right: &Value, (digits, scale): Digits) -> Result<Value> {
        let (l, r) = (wide(&left.array)?, wide(&right.array)?);
        let nulls = union_nulls(left, right);
        let (a, b) = self.factors;
        let compute = move |l: i128, r: i128| match self.op {
            ArithmeticOp::Multiply => l.checked_mul(r),
            ArithmeticOp::Add => l.checked_mul(a)?.checked_add(r.checked_mul(b)?),
            _ => l.checked_mul(a)?.checked_sub(r.checked_mul(b)?),
        };
        let at = |values: &Decimal128Array, scalar: bool, row: usize| values.values()[if scalar { 0 } else { row }];
        let rows = if left.scalar { r.len() } else { l.len() };
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            let (l, r) = (at(&l, left.scalar, row), at(&r, right.scalar, row));
            values.push(match compute(l, r) {
                Some(value) => value,
                None if nulls.as_ref().is_some_and(|nulls: &NullBuffer| nulls.is_null(row)) => 0,
                None => {
                    let message = format!("arithmetic overflow: {l} {} {r} on Decimal128({digits}, {scale})", self.op);
                    return Err(Error::user(message));
                }
            });
        }
        let array = carry_wide(Decimal128Array::new(values.into(), nulls), digits, scale)?;
        Ok(Value::new(array, left.scalar && right.scalar))
    }
}

fn narrowed(range: Range) -> Option<(i64, i64)> {
    Some((i64::try_from(range.0).ok()?, i64::try_from(range.1).ok()?))
}

fn spread(range: Option<(i64, i64)>) -> u64 {
    range.map_or(u64::MAX, |(low, high)| low.unsigned_abs().max(high.unsigned_abs()))
}

/// What is known without looking at rows.
pub(super) fn known_range(value: &Value, digits: u8) -> Option<(i64, i64)> {
    let by_type = is_narrow(digits).then(|| {
        let limit = 10_i64.pow(u32::from(digits)) - 1;
        (-limit, limit)
    });
    let of_one = || if value.scalar { exact_range(value, false) } else { None };
    value.range.or_else(of_one).or(by_type)
}

/// What the rows tell; those behind NULLs too, unless told otherwise. `None` if it is not carried in 64 bits.
pub(super) fn exact_range(value: &Value, skip_nulls: bool) -> Option<(i64, i64)> {
    let array = value.array.as_primitive_opt::<Int64Type>()?;
    let seen = match array.nulls().filter(|nulls| skip_nulls && nulls.null_count() > 0) {
        None => extremes(array.values()),
        Some(nulls) => nulls.valid_indices().fold(None, |range, row| {
            let value = array.values()[row];
            Some(range.map_or((value, value), |(low, high): (i64, i64)| (low.min(value), high.max(value))))
        }),
    };
    Some(seen.unwrap_or((0, 0)))
}
