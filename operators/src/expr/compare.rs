//! Comparisons, on native values wherever there are any.
//!
//! All eight operators come down to *equal* and *less*, with sides swapped and bits turned over: the order is total (floats:
//! -NaN < -inf < … < -0.0 < 0.0 < … < NaN). NULLs are put on afterwards as bits.
//!
//! A text's view holds its length, and either all of its bytes (up to 12) or the first four and a place:
//!
//! ```text
//!   length 4 | bytes 12                            equal: one comparison of 128 bits
//!   length 4 | prefix 4 | buffer 4 | offset 4      unequal: mostly told by the first 64; order: mostly by the prefix
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Scalar, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::SortOptions;
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type};
use bireme_engine::error::{Error, Result};

use super::simd::{pack, pack_pairs};
use super::value::{Natives, Operand, Value, decimal_digits, natives, union_nulls, wide};
use super::views::{Views, equal_to, halves, inline_view, prefix_of, recheck};
use crate::pipeline::ir::CompareOp;

/// Compares values of one logical type.
pub(super) fn compare(op: CompareOp, left: &Value, right: &Value, logical: (&DataType, &DataType)) -> Result<Value> {
    let (left, right) = (left.clone().flat()?, right.clone().flat()?);
    let scalar = left.scalar && right.scalar;
    if matches!(op, CompareOp::Distinct | CompareOp::NotDistinct) {
        return distinct(op, &left, &right, logical);
    }
    if left.is_null_scalar() || right.is_null_scalar() {
        return Ok(Value::null(&DataType::Boolean));
    }
    let values = ordered(op, &left, &right, logical)?;
    match values {
        Some(values) => Ok(Value::boolean(values, union_nulls(&left, &right), scalar)),
        None => by_arrow(op, &left, &right, logical),
    }
}

/// The bits of a comparison, those behind NULLs arbitrary; `None` for types that Arrow compares.
fn ordered(
    op: CompareOp,
    left: &Value,
    right: &Value,
    logical: (&DataType, &DataType),
) -> Result<Option<BooleanBuffer>> {
    let (kind, left, right, logical, negated) = match op {
        CompareOp::Equal | CompareOp::NotDistinct => (Kind::Equal, left, right, logical, false),
        CompareOp::NotEqual | CompareOp::Distinct => (Kind::Equal, left, right, logical, true),
        CompareOp::Less => (Kind::Less, left, right, logical, false),
        CompareOp::GreaterOrEqual => (Kind::Less, left, right, logical, true),
        CompareOp::Greater => (Kind::Less, right, left, (logical.1, logical.0), false),
        CompareOp::LessOrEqual => (Kind::Less, right, left, (logical.1, logical.0), true),
    };
    let bits = bits(kind, left, right, logical)?;
    Ok(if negated { bits.map(|bits| !&bits) } else { bits })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Equal,
    Less,
}

fn bits(kind: Kind, left: &Value, right: &Value, logical: (&DataType, &DataType)) -> Result<Option<BooleanBuffer>> {
    if let (Some((_, left_scale)), Some((_, right_scale))) = (decimal_digits(logical.0), decimal_digits(logical.1)) {
        return decimals(kind, (left, left_scale), (right, right_scale)).map(Some);
    }
    macro_rules! typed {
        ($left:expr, $right:expr) => {
            Some(natively(kind, Operand::new($left, left.scalar), Operand::new($right, right.scalar)))
        };
    }
    let bits = match (natives(&left.array), natives(&right.array)) {
        (Some(Natives::I8(l)), Some(Natives::I8(r))) => typed!(l, r),
        (Some(Natives::I16(l)), Some(Natives::I16(r))) => typed!(l, r),
        (Some(Natives::I32(l)), Some(Natives::I32(r))) => typed!(l, r),
        (Some(Natives::I64(l)), Some(Natives::I64(r))) => typed!(l, r),
        (Some(Natives::U8(l)), Some(Natives::U8(r))) => typed!(l, r),
        (Some(Natives::U16(l)), Some(Natives::U16(r))) => typed!(l, r),
        (Some(Natives::U32(l)), Some(Natives::U32(r))) => typed!(l, r),
        (Some(Natives::U64(l)), Some(Natives::U64(r))) => typed!(l, r),
        _ => match (left.array.data_type(), right.array.data_type()) {
            (DataType::Float64, DataType::Float64) => {
                let (l, r) = (left.array.as_primitive::<Float64Type>(), right.array.as_primitive::<Float64Type>());
                let (l, r) = (Operand::new(l.values(), left.scalar), Operand::new(r.values(), right.scalar));
                Some(by_key(kind, l, r, |value: f64| {
                    let bits = value.to_bits() as i64;
                    bits ^ (((bits >> 63) as u64) >> 1) as i64
                }))
            }
            (DataType::Float32, DataType::Float32) => {
                let (l, r) = (left.array.as_primitive::<Float32Type>(), right.array.as_primitive::<Float32Type>());
                let (l, r) = (Operand::new(l.values(), left.scalar), Operand::new(r.values(), right.scalar));
                Some(by_key(kind, l, r, |value: f32| {
                    let bits = value.to_bits() as i32;
                    bits ^ (((bits >> 31) as u32) >> 1) as i32
                }))
            }
            (DataType::Utf8View, DataType::Utf8View) | (DataType::BinaryView, DataType::BinaryView) => {
                Some(texts(kind, left, right)?)
            }
            _ => None,
        },
    };
    Ok(bits)
}

/// Compares values that order as the processor orders them.
fn natively<T: Copy + Ord>(kind: Kind, left: Operand<'_, T>, right: Operand<'_, T>) -> BooleanBuffer {
    by_key(kind, left, right, |value| value)
}

/// Compares what `key` makes of values.
#[inline]
fn by_key<T: Copy, K: Copy + Ord>(
    kind: Kind,
    left: Operand<'_, T>,
    right: Operand<'_, T>,
    key: impl Fn(T) -> K + Copy,
) -> BooleanBuffer {
    match kind {
        Kind::Equal => by_test(left, right, move |left, right| key(left) == key(right)),
        Kind::Less => by_test(left, right, move |left, right| key(left) < key(right)),
    }
}

#[inline]
fn by_test<T: Copy>(left: Operand<'_, T>, right: Operand<'_, T>, test: impl Fn(T, T) -> bool + Copy) -> BooleanBuffer {
    match (left, right) {
        (Operand::Slice(left), Operand::Slice(right)) => pack_pairs(left, right, test),
        (Operand::Slice(left), Operand::Scalar(right)) => pack(left, move |left| test(left, right)),
        (Operand::Scalar(left), Operand::Slice(right)) => pack(right, move |right| test(left, right)),
        (Operand::Scalar(left), Operand::Scalar(right)) => pack(&[left], move |left| test(left, right)),
    }
}

/// Decimals of any carried form, of scales that may differ.
fn decimals(kind: Kind, left: (&Value, i8), right: (&Value, i8)) -> Result<BooleanBuffer> {
    let ((left, left_scale), (right, right_scale)) = (left, right);
    if left_scale == right_scale {
        let narrow = |value: &Value| value.array.data_type() == &DataType::Int64;
        if narrow(left) && narrow(right) {
            let (l, r) = (left.array.as_primitive::<Int64Type>(), right.array.as_primitive::<Int64Type>());
            return Ok(natively(kind, Operand::new(l.values(), left.scalar), Operand::new(r.values(), right.scalar)));
        }
        // A wide literal against a narrow column: mostly it fits.
        if narrow(left) && right.scalar {
            return narrow_against(kind, left, wide(&right.array)?.value(0), false);
        }
        if narrow(right) && left.scalar {
            return narrow_against(kind, right, wide(&left.array)?.value(0), true);
        }
    }
    let scale = left_scale.max(right_scale);
    let (l, r) = (rescaled(left, left_scale, scale)?, rescaled(right, right_scale, scale)?);
    let (l, r) = (l.as_primitive::<Decimal128Type>(), r.as_primitive::<Decimal128Type>());
    Ok(natively(kind, Operand::new(l.values(), left.scalar), Operand::new(r.values(), right.scalar)))
}

fn narrow_against(kind: Kind, column: &Value, literal: i128, literal_first: bool) -> Result<BooleanBuffer> {
    let values = column.array.as_primitive::<Int64Type>().values();
    let operand = Operand::new(values, column.scalar);
    let Ok(fits) = i64::try_from(literal) else {
        let answer = kind == Kind::Less && literal_first == (literal < 0);
        return Ok(if answer { BooleanBuffer::new_set(values.len()) } else { BooleanBuffer::new_unset(values.len()) });
    };
    Ok(if literal_first {
        natively(kind, Operand::Scalar(fits), operand)
    } else {
        natively(kind, operand, Operand::Scalar(fits))
    })
}

fn rescaled(value: &Value, scale: i8, wanted: i8) -> Result<ArrayRef> {
    let values = wide(&value.array)?;
    if scale == wanted {
        return Ok(Arc::new(values));
    }
    let overflow = || Error::user("arithmetic overflow: comparing decimals of different scales");
    let factor = 10_i128.checked_pow((wanted - scale) as u32).ok_or_else(overflow)?;
    let scaled = values.try_unary::<_, Decimal128Type, _>(|value| value.checked_mul(factor).ok_or_else(overflow))?;
    Ok(Arc::new(scaled))
}

fn texts(kind: Kind, left: &Value, right: &Value) -> Result<BooleanBuffer> {
    let (l, r) = (Views::new(&left.array)?, Views::new(&right.array)?);
    Ok(match (left.scalar, right.scalar) {
        (false, false) => match kind {
            Kind::Equal => {
                let alike = pack_pairs(halves(l.views), halves(r.views), |left, right| left[0] == right[0]);
                recheck(&alike, |row| l.equal(l.views[row], &r, r.views[row]))
            }
            Kind::Less => {
                let (left, right) = (halves(l.views), halves(r.views));
                let before = pack_pairs(left, right, |left, right| prefix_of(left[0]) < prefix_of(right[0]));
                let alike = pack_pairs(left, right, |left, right| prefix_of(left[0]) == prefix_of(right[0]));
                &before | &recheck(&alike, |row| l.bytes(&l.views[row]) < r.bytes(&r.views[row]))
            }
        },
        (_, true) => {
            let right = r.bytes(&r.views[0]).to_vec();
            against_literal(kind, &l, &right, false)
        }
        (true, false) => {
            let left = l.bytes(&l.views[0]).to_vec();
            against_literal(kind, &r, &left, true)
        }
    })
}

fn against_literal(kind: Kind, texts: &Views<'_>, literal: &[u8], literal_first: bool) -> BooleanBuffer {
    match (kind, inline_view(literal)) {
        (Kind::Equal, Some(view)) => equal_to(texts.views, view),
        (Kind::Equal, None) => texts.equal_to_long(literal),
        (Kind::Less, _) => {
            let mut prefix = [0; 4];
            let length = literal.len().min(4);
            prefix[..length].copy_from_slice(&literal[..length]);
            let prefix = u32::from_be_bytes(prefix);
            let heads = halves(texts.views);
            let before = if literal_first {
                pack(heads, |[low, _]| prefix < prefix_of(low))
            } else {
                pack(heads, |[low, _]| prefix_of(low) < prefix)
            };
            let alike = pack(heads, |[low, _]| prefix_of(low) == prefix);
            &before
                | &recheck(&alike, |row| {
                    let bytes = texts.bytes(&texts.views[row]);
                    if literal_first { literal < bytes } else { bytes < literal }
                })
        }
    }
}

/// `IS [NOT] DISTINCT FROM`: equal, or both NULL.
fn distinct(op: CompareOp, left: &Value, right: &Value, logical: (&DataType, &DataType)) -> Result<Value> {
    let scalar = left.scalar && right.scalar;
    let rows = if left.scalar { right.array.len() } else { left.array.len() };
    let valid = |value: &Value| match (value.array.logical_nulls(), value.scalar && !scalar) {
        (None, _) => BooleanBuffer::new_set(rows),
        (Some(_), true) => BooleanBuffer::new_unset(rows),
        (Some(nulls), false) => nulls.into_inner(),
    };
    let valid = |value: &Value| {
        if value.scalar && !scalar && !value.is_null_scalar() { BooleanBuffer::new_set(rows) } else { valid(value) }
    };
    let (left_valid, right_valid) = (valid(left), valid(right));
    let equal = if left.is_null_scalar() || right.is_null_scalar() {
        BooleanBuffer::new_unset(rows)
    } else {
        match ordered(CompareOp::Equal, left, right, logical)? {
            Some(bits) => bits,
            None => by_arrow(CompareOp::Equal, left, right, logical)?.as_boolean()?.values().clone(),
        }
    };
    let both = &left_valid & &right_valid;
    let neither = !&(&left_valid | &right_valid);
    let same = &(&both & &equal) | &neither;
    Ok(Value::boolean(if op == CompareOp::Distinct { !&same } else { same }, None, scalar))
}

/// Types without a kernel of ours.
fn by_arrow(op: CompareOp, left: &Value, right: &Value, logical: (&DataType, &DataType)) -> Result<Value> {
    let scalar = left.scalar && right.scalar;
    let (l, r) = (left.logical(logical.0)?, right.logical(logical.1)?);
    if l.data_type().is_nested() {
        return nested(op, &l, &r, (left.scalar, right.scalar));
    }
    let call = match op {
        CompareOp::Equal | CompareOp::NotDistinct => cmp::eq,
        CompareOp::NotEqual | CompareOp::Distinct => cmp::neq,
        CompareOp::Less => cmp::lt,
        CompareOp::LessOrEqual => cmp::lt_eq,
        CompareOp::Greater => cmp::gt,
        CompareOp::GreaterOrEqual => cmp::gt_eq,
    };
    let answer = match (left.scalar, right.scalar) {
        (true, false) => call(&Scalar::new(l), &r)?,
        (false, true) => call(&l, &Scalar::new(r))?,
        _ => call(&l, &r)?,
    };
    Ok(Value::new(Arc::new(answer), scalar))
}

/// Structs and lists: NULL only where a side is NULL as a whole.
fn nested(op: CompareOp, left: &ArrayRef, right: &ArrayRef, scalar: (bool, bool)) -> Result<Value> {
    let order = make_comparator(left, right, SortOptions::default())?;
    let rows = if scalar.0 { right.len() } else { left.len() };
    let place = |scalar: bool, row: usize| if scalar { 0 } else { row };
    let values = (0..rows).map(|row| {
        let (l, r) = (place(scalar.0, row), place(scalar.1, row));
        if left.is_null(l) || right.is_null(r) {
            return None;
        }
        let order = order(l, r);
        Some(match op {
            CompareOp::Equal | CompareOp::NotDistinct => order.is_eq(),
            CompareOp::NotEqual | CompareOp::Distinct => order.is_ne(),
            CompareOp::Less => order.is_lt(),
            CompareOp::LessOrEqual => order.is_le(),
            CompareOp::Greater => order.is_gt(),
            CompareOp::GreaterOrEqual => order.is_ge(),
        })
    });
    Ok(Value::new(Arc::new(values.collect::<BooleanArray>()), scalar.0 && scalar.1))
}
