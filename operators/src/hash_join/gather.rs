//! Rows of a column by number.
//!
//! ```text
//!   column  a b c d e        rows  3 1 1 NONE     ->   d b b NULL
//! ```
//!
//! Loads of different rows do not wait for each other, so a plain loop keeps as many cache misses in flight as the
//! core can; the vector gathers of current cores are no faster than that. Strings move their views and share their
//! buffers, dictionaries move their keys and share their values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, StringViewArray, UInt32Array, make_array,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{ArrowNativeType, DataType, UInt32Type, i256};
use bireme_engine::{Error, Result};

/// Stands for no row: a NULL comes out. Only where the caller says that there may be some.
pub(super) const NONE: u32 = u32::MAX;

/// The rows of a column with these numbers, in this order; `outer` allows [`NONE`] among them.
pub(crate) fn gather(column: &ArrayRef, rows: &[u32], outer: bool) -> Result<ArrayRef> {
    let length = column.len();
    if outer && length == 0 {
        return Ok(new_null_array(column.data_type(), rows.len()));
    }
    if !in_range(rows, length, outer) {
        return Err(Error::internal(format!("a join gathers rows past the {length} of a column")));
    }
    let nulls = gather_nulls(column.nulls(), rows, outer);
    Ok(match column.data_type() {
        DataType::Utf8View => {
            let (views, buffers, _) = column.as_string_view().clone().into_parts();
            let views = pick(&views, rows, outer).into();
            // SAFETY: each view is one of the array's own, or empty.
            Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
        }
        DataType::BinaryView => {
            let (views, buffers, _) = column.as_binary_view().clone().into_parts();
            let views = pick(&views, rows, outer).into();
            // SAFETY: each view is one of the array's own, or empty.
            Arc::new(unsafe { BinaryViewArray::new_unchecked(views, buffers, nulls) })
        }
        DataType::Dictionary(key, _) if **key == DataType::UInt32 => {
            let dictionary = column.as_dictionary::<UInt32Type>();
            let keys = UInt32Array::new(pick(dictionary.keys().values(), rows, outer).into(), nulls);
            // SAFETY: each key is one of the array's own; keys behind NULLs are not looked at.
            Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(dictionary.values())) })
        }
        other => match other.primitive_width() {
            Some(1) => fixed::<u8>(column, rows, outer, nulls)?,
            Some(2) => fixed::<u16>(column, rows, outer, nulls)?,
            Some(4) => fixed::<u32>(column, rows, outer, nulls)?,
            Some(8) => fixed::<u64>(column, rows, outer, nulls)?,
            Some(16) => fixed::<u128>(column, rows, outer, nulls)?,
            Some(32) => fixed::<i256>(column, rows, outer, nulls)?,
            _ => {
                let valid = outer.then(|| NullBuffer::new(boolean(rows.len(), |place| rows[place] != NONE)));
                take(column, &UInt32Array::new(rows.to_vec().into(), valid), None)?
            }
        },
    })
}

/// Bits, 64 at a time.
#[inline]
pub(super) fn boolean(rows: usize, bit: impl FnMut(usize) -> bool) -> BooleanBuffer {
    BooleanBuffer::collect_bool(rows, bit)
}

/// The fixed-width values of an array, as raw words of their width.
pub(super) fn raw_values<T: ArrowNativeType>(array: &dyn Array) -> Result<ScalarBuffer<T>> {
    let data = array.to_data();
    let Some(buffer) = data.buffers().first().filter(|_| array.data_type().primitive_width() == Some(size_of::<T>()))
    else {
        return Err(Error::internal(format!("{} has no {} byte values", array.data_type(), size_of::<T>())));
    };
    // `ScalarBuffer` insists on alignment, which a buffer that came from elsewhere need not have for wide integers.
    let bytes = buffer.slice_with_length(data.offset() * size_of::<T>(), data.len() * size_of::<T>());
    if bytes.as_ptr().align_offset(align_of::<T>()) == 0 {
        return Ok(ScalarBuffer::new(bytes, 0, data.len()));
    }
    let mut aligned = vec![T::default(); data.len()];
    // SAFETY: as many bytes as the vector has, of a type for which any bits are a value, into memory of our own.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), aligned.as_mut_ptr().cast::<u8>(), bytes.len());
    }
    Ok(aligned.into())
}

/// An array of fixed-width values from raw words of their width.
pub(super) fn from_raw<T: ArrowNativeType>(
    data_type: &DataType,
    values: Vec<T>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let data = ArrayData::builder(data_type.clone())
        .len(values.len())
        .add_buffer(Buffer::from_vec(values))
        .nulls(nulls)
        .build()?;
    Ok(make_array(data))
}

fn fixed<T: ArrowNativeType>(
    column: &ArrayRef,
    rows: &[u32],
    outer: bool,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    from_raw(column.data_type(), pick(&raw_values::<T>(column)?, rows, outer), nulls)
}

/// Whether all rows are below `length`.
fn in_range(rows: &[u32], length: usize, outer: bool) -> bool {
    let highest = if outer {
        rows.iter().map(|&row| if row == NONE { 0 } else { row }).fold(0, u32::max)
    } else {
        rows.iter().copied().fold(0, u32::max)
    };
    rows.is_empty() || (highest as usize) < length
}

// The rows were checked by `in_range`.
#[inline]
fn pick<T: Copy>(values: &[T], rows: &[u32], outer: bool) -> Vec<T> {
    debug_assert!(in_range(rows, values.len(), outer));
    if outer {
        // SAFETY: checked above; NONE takes row 0, which is there because `gather` has turned empty columns away.
        rows.iter().map(|&row| unsafe { *values.get_unchecked(if row == NONE { 0 } else { row as usize }) }).collect()
    } else {
        // SAFETY: checked above.
        rows.iter().map(|&row| unsafe { *values.get_unchecked(row as usize) }).collect()
    }
}

fn gather_nulls(nulls: Option<&NullBuffer>, rows: &[u32], outer: bool) -> Option<NullBuffer> {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None if !outer => None,
        None => Some(NullBuffer::new(boolean(rows.len(), |place| rows[place] != NONE))).filter(|n| n.null_count() > 0),
        Some(nulls) => {
            let valid = |place: usize| rows[place] != NONE && nulls.is_valid(rows[place] as usize);
            Some(NullBuffer::new(boolean(rows.len(), valid)))
        }
    }
}
