//! `CASE`: each row takes the result of the first branch whose condition is true.
//!
//! Conditions are computed on the rows that are left, or on all of them while those are most; results likewise on the rows
//! that took them. What is computed on all rows may fail on a row that did not ask for it: then it is computed again, only
//! where it was asked for. Fixed-width results are blended by bits of masks:
//!
//! ```text
//!   condition 1    1 0 0 1     took 1   1 0 0 1     result 1  a a a a
//!   condition 2    1 1 0 0     took 2   0 1 0 0     result 2  b b b b
//!   otherwise                  took 3   0 0 1 0     result 3  c c c c     → a b c a
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{ArrowNativeType, DataType};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::gather::{indices, take_array};
use super::node::{Node, truth};
use super::value::{Rows, Value, flat, truths, wide};

/// Of every so many rows one must be wanted for something to be computed on all of them.
const MOST: usize = 4;

/// A branch's result and the rows that take it.
struct Taken {
    rows: BooleanBuffer,
    value: Value,
}

/// Computes a `CASE` of a logical type.
pub(super) fn case(
    branches: &[(Node, Node)],
    otherwise: Option<&Node>,
    logical: &DataType,
    rows: &Rows<'_>,
) -> Result<Value> {
    let mut taken = Vec::with_capacity(branches.len() + 1);
    let mut left = BooleanBuffer::new_set(rows.rows);
    let mut count = rows.rows;
    for (condition, result) in branches {
        if count == 0 {
            break;
        }
        let condition = wanted_rows(condition, rows, &left, count)?;
        let condition = Value::new(truth(&condition)?, condition.scalar).into_array(rows.rows)?;
        let truths = truths(condition.as_boolean());
        let took = if count == rows.rows { truths } else { &left & &truths };
        let number = took.count_set_bits();
        if number == 0 {
            continue;
        }
        left = &left & &!&took;
        count -= number;
        let value = wanted_rows(result, rows, &took, number)?;
        taken.push(Taken { rows: took, value });
    }
    if count > 0 {
        let value = match otherwise {
            Some(otherwise) => wanted_rows(otherwise, rows, &left, count)?,
            None => Value::null(logical),
        };
        taken.push(Taken { rows: left, value });
    }
    merge(taken, logical, rows.rows)
}

/// The value on the rows of a mask, of which there are `count`; on other rows it is arbitrary.
pub(super) fn wanted_rows(node: &Node, rows: &Rows<'_>, wanted: &BooleanBuffer, count: usize) -> Result<Value> {
    if count == rows.rows || node.is_free() {
        return node.evaluate(rows);
    }
    if count.saturating_mul(MOST) >= rows.rows {
        let all = node.evaluate(rows);
        if all.is_ok() || !node.can_fail() {
            return all;
        }
    }
    let places = indices(wanted);
    let columns = rows.gathered(node.columns(), &places)?;
    let value = node.evaluate(&Rows::new(&columns, places.len()))?;
    if value.scalar || value.array.is_empty() {
        return Ok(value);
    }
    // Back to their places: each row has the value of the wanted row at or before it.
    let mut rank = 0_u32;
    let mut next = places.iter().copied().peekable();
    let spread = (0..rows.rows as u32).map(|row| {
        let mine = rank;
        if next.next_if_eq(&row).is_some() {
            rank = (rank + 1).min(places.len() as u32 - 1);
        }
        mine
    });
    let array = take_array(&value.array, &spread.collect::<Vec<_>>())?;
    Ok(Value { array, ..value })
}

/// One column of all branches' values. Each row is in one mask.
fn merge(mut taken: Vec<Taken>, logical: &DataType, rows: usize) -> Result<Value> {
    if taken.len() <= 1 {
        return Ok(taken.pop().map_or_else(|| Value::null(logical), |only| only.value));
    }
    let range = taken.iter().map(|branch| branch.value.range).reduce(|all, one| {
        let ((low, high), (other_low, other_high)) = all.zip(one)?;
        Some((low.min(other_low), high.max(other_high)))
    });
    let plain = |branch: &Taken| match branch.value.array.data_type() {
        DataType::Null => Ok(new_null_array(&carried_type(logical), branch.value.array.len())),
        _ => flat(&branch.value.array),
    };
    let arrays = alike(taken.iter().map(plain).collect::<Result<Vec<_>>>()?)?;
    for (branch, array) in taken.iter_mut().zip(arrays) {
        branch.value.array = array;
    }
    let nulls = merge_nulls(&taken, rows);
    let data_type = taken[0].value.array.data_type().clone();
    let array = match &data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(merge_bits(&taken, rows), nulls)),
        DataType::Utf8View | DataType::BinaryView => merge_views(&taken, nulls, rows)?,
        fixed => match fixed.primitive_width() {
            Some(4) => blended::<u32>(&taken, nulls, rows)?,
            Some(8) => blended::<u64>(&taken, nulls, rows)?,
            Some(16) => blended::<u128>(&taken, nulls, rows)?,
            _ => interleaved(&taken, rows)?,
        },
    };
    Ok(Value { array, scalar: false, range: range.flatten() })
}

/// Arrays of one type: decimals may be carried narrow in one branch and wide in another.
fn alike(arrays: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
    let Some(other) = arrays.iter().find(|array| array.data_type() != arrays[0].data_type()) else { return Ok(arrays) };
    let types = (arrays[0].data_type(), other.data_type());
    match types {
        (DataType::Int64 | DataType::Decimal128(..), DataType::Int64 | DataType::Decimal128(..)) => {
            // Labels say nothing in a carried form; one for all lets them be of one type.
            let relabelled =
                arrays.iter().map(|array| Ok(Arc::new(wide(array)?.with_precision_and_scale(38, 0)?) as _));
            relabelled.collect()
        }
        (one, other) => Err(Error::internal(format!("branches of a case are carried as {one} and {other}"))),
    }
}

fn merge_nulls(taken: &[Taken], rows: usize) -> Option<NullBuffer> {
    let valid = |branch: &Taken| match (branch.value.array.logical_nulls(), branch.value.scalar) {
        (Some(nulls), false) => &branch.rows & nulls.inner(),
        (Some(nulls), true) if nulls.is_null(0) => BooleanBuffer::new_unset(rows),
        _ => branch.rows.clone(),
    };
    if taken
        .iter()
        .all(|branch| branch.value.array.null_count() == 0 && branch.value.array.data_type() != &DataType::Null)
    {
        return None;
    }
    let all = taken.iter().map(valid).reduce(|all, one| &all | &one)?;
    Some(NullBuffer::new(all)).filter(|nulls| nulls.null_count() > 0)
}

fn merge_bits(taken: &[Taken], rows: usize) -> BooleanBuffer {
    let bits = taken.iter().map(|branch| {
        let values = branch.value.array.as_boolean().values();
        match (branch.value.scalar, !values.is_empty() && values.value(0)) {
            (false, _) => &branch.rows & values,
            (true, true) => branch.rows.clone(),
            (true, false) => BooleanBuffer::new_unset(rows),
        }
    });
    bits.reduce(|all, one| &all | &one).unwrap_or_else(|| BooleanBuffer::new_unset(rows))
}

/// Texts: views are blended where at most one branch has bytes beside them, else Arrow joins the buffers.
fn merge_views(taken: &[Taken], nulls: Option<NullBuffer>, rows: usize) -> Result<ArrayRef> {
    let data = taken.iter().map(|branch| branch.value.array.to_data()).collect::<Vec<_>>();
    let mut with_bytes = data.iter().filter(|data| data.buffers().len() > 1);
    let bytes = with_bytes.next().map_or_else(Vec::new, |data| data.buffers()[1..].to_vec());
    if with_bytes.next().is_some() {
        return interleaved(taken, rows);
    }
    let views = blend::<u128>(taken, rows)?;
    let builder = data[0].clone().into_builder().len(rows).offset(0).nulls(nulls);
    let builder = builder.buffers([vec![Buffer::from_vec(views)], bytes].concat());
    // SAFETY: the views are those of the branches, and `bytes` are the buffers of the only branch that shows any.
    Ok(arrow::array::make_array(unsafe { builder.build_unchecked() }))
}

fn blended<T: Lane>(taken: &[Taken], nulls: Option<NullBuffer>, rows: usize) -> Result<ArrayRef> {
    let values = blend::<T>(taken, rows)?;
    let builder = taken[0].value.array.to_data().into_builder().len(rows).offset(0).nulls(nulls);
    // SAFETY: the buffer holds `rows` values of the type's width, and all of them come from arrays of this type.
    Ok(arrow::array::make_array(unsafe { builder.buffers(vec![Buffer::from_vec(values)]).build_unchecked() }))
}

fn blend<T: Lane>(taken: &[Taken], rows: usize) -> Result<Vec<T>> {
    let mut out = vec![T::default(); rows];
    for branch in taken {
        let data = branch.value.array.to_data();
        let Some(buffer) = data.buffers().first() else {
            return Err(Error::internal(format!("{} has no values to blend", branch.value.array.data_type())));
        };
        // SAFETY: `T` is a plain number as wide as the array's values; Arrow's buffers are aligned for them.
        let (before, values, _) = unsafe { buffer.as_slice().align_to::<T>() };
        let values = match values.get(data.offset()..data.offset() + data.len()) {
            Some(values) if before.is_empty() => values,
            _ => return Err(Error::internal("a buffer that is not aligned")),
        };
        blend_one(&mut out, values, branch);
    }
    Ok(out)
}

/// A value as bits.
trait Lane: ArrowNativeType {
    /// `new` if the lowest bit of `bit` is set, else itself: no branch, so a register holds several.
    fn replaced_if(self, bit: u64, new: Self) -> Self;
}

macro_rules! lane {
    ($($native:ty)*) => {$(
        impl Lane for $native {
            #[inline(always)]
            fn replaced_if(self, bit: u64, new: Self) -> Self {
                let mask = <$native>::from((bit & 1) as u8).wrapping_neg();
                (new & mask) | (self & !mask)
            }
        }
    )*};
}

lane!(u32 u64 u128);

fn blend_one<T: Lane>(out: &mut [T], values: &[T], branch: &Taken) {
    let words = branch.rows.bit_chunks();
    let words = words.iter_padded();
    let scalar = branch.value.scalar.then(|| values[0]);
    super::simd::vectorized(
        #[inline(always)]
        || {
            for (block, (out, word)) in out.chunks_mut(64).zip(words).enumerate() {
                if word == 0 {
                    continue;
                }
                match (scalar, values.get(block * 64..block * 64 + out.len())) {
                    (Some(value), _) => select(out, word, &[value; 64]),
                    (None, Some(values)) if word == u64::MAX => out.copy_from_slice(values),
                    (None, Some(values)) => select(out, word, values),
                    (None, None) => {}
                }
            }
        },
    );
}

/// Where a bit of the word is set, the new value.
#[inline(always)]
fn select<T: Lane>(out: &mut [T], word: u64, values: &[T]) {
    if let (Some(out), Some(values)) = (out.first_chunk_mut::<64>(), values.first_chunk::<64>()) {
        for place in 0..64 {
            out[place] = out[place].replaced_if(word >> place, values[place]);
        }
        return;
    }
    for (place, (out, value)) in out.iter_mut().zip(values).enumerate() {
        *out = out.replaced_if(word >> place, *value);
    }
}

fn interleaved(taken: &[Taken], rows: usize) -> Result<ArrayRef> {
    let mut places = vec![(0, 0); rows];
    for (number, branch) in taken.iter().enumerate() {
        for row in branch.rows.set_indices() {
            places[row] = (number, if branch.value.scalar { 0 } else { row });
        }
    }
    let arrays = taken.iter().map(|branch| branch.value.array.as_ref()).collect::<Vec<_>>();
    Ok(interleave(&arrays, &places)?)
}

/// No rows of a type.
pub(super) fn no_rows(logical: &DataType) -> ArrayRef {
    new_null_array(&carried_type(logical), 0)
}
