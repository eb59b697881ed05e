//! Some rows of a chunk as a chunk of their own.
//!
//! ```text
//!   rows   1 3          keys  0 1 1 2      → 1 2       a dictionary's values are shared,
//!                       views a b c d      → b d       the bytes behind views as well
//! ```
//! Bounds are checked once, on the largest place; then the loops only load and store. A mask that keeps many rows is
//! followed word by word with the processor's compress instruction where it has one: 16 rows an instruction or 8, taken
//! or not. A mask that keeps few is turned into places first.

mod compress;

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, DictionaryArray, GenericByteViewArray, PrimitiveArray,
    UInt32Array, downcast_primitive_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::take as arrow_take;
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType, UInt32Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::Chunk;

pub use compress::indices;

/// Of every so many rows one must be kept for a mask to be followed word by word.
const DENSE: usize = 4;

/// The rows at these places, in this order; a place may come more than once.
///
/// # Errors
/// A place is past the chunk's rows: a bug of ours.
pub fn take(chunk: &Chunk, rows: &[u32]) -> Result<Chunk> {
    check_bounds(rows, chunk.rows)?;
    let columns = chunk.columns.iter().map(|column| pick(column, chunk.rows, &Places(rows))).collect::<Result<_>>()?;
    Ok(Chunk { columns, rows: rows.len() })
}

/// The rows whose bit is set, in order.
///
/// # Errors
/// The mask has another length than the chunk: a bug of ours.
pub fn compact(chunk: &Chunk, mask: &BooleanBuffer) -> Result<Chunk> {
    if mask.len() != chunk.rows {
        return Err(Error::internal(format!("a mask of {} rows on a chunk of {}", mask.len(), chunk.rows)));
    }
    let kept = mask.count_set_bits();
    if kept == chunk.rows {
        return Ok(chunk.clone());
    }
    let dense = kept.saturating_mul(DENSE) >= chunk.rows;
    let mask = Mask { mask, words: dense.then(|| compress::words(mask)), places: OnceCell::new() };
    let columns = chunk.columns.iter().map(|column| pick(column, chunk.rows, &mask)).collect::<Result<_>>()?;
    Ok(Chunk { columns, rows: kept })
}

/// The rows of one column.
pub(super) fn take_array(array: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    check_bounds(rows, array.len())?;
    pick(array, array.len(), &Places(rows))
}

/// A dictionary's rows without the dictionary.
pub(super) fn decode(dictionary: &DictionaryArray<UInt32Type>) -> Result<ArrayRef> {
    match dictionary.values().data_type() {
        DataType::Utf8View => Ok(decode_views::<StringViewType>(dictionary)),
        DataType::BinaryView => Ok(decode_views::<BinaryViewType>(dictionary)),
        _ => Ok(arrow_take(dictionary.values(), dictionary.keys(), None)?),
    }
}

fn check_bounds(rows: &[u32], length: usize) -> Result<()> {
    let last = super::simd::vectorized(
        #[inline(always)]
        || rows.iter().fold(0, |last, &row| last.max(row)),
    );
    if !rows.is_empty() && last as usize >= length {
        return Err(Error::internal(format!("row {last} of {length}")));
    }
    Ok(())
}

/// Which rows, of arrays of the length that they were made for.
trait Pick {
    /// # Safety
    /// The slice must have the length that the rows were checked against.
    unsafe fn natives<T: Copy>(&self, values: &[T]) -> Vec<T>;
    fn bits(&self, bits: &BooleanBuffer) -> BooleanBuffer;
    fn places(&self) -> UInt32Array;
}

/// Rows at places that are all below the length.
struct Places<'a>(&'a [u32]);

impl Pick for Places<'_> {
    unsafe fn natives<T: Copy>(&self, values: &[T]) -> Vec<T> {
        // SAFETY: the places were checked against the length of `values`.
        self.0.iter().map(|&row| unsafe { *values.get_unchecked(row as usize) }).collect()
    }

    fn bits(&self, bits: &BooleanBuffer) -> BooleanBuffer {
        BooleanBuffer::collect_bool(self.0.len(), |place| bits.value(self.0[place] as usize))
    }

    fn places(&self) -> UInt32Array {
        UInt32Array::from(self.0.to_vec())
    }
}

/// Rows whose bit is set.
struct Mask<'a> {
    mask: &'a BooleanBuffer,
    /// The same as words, if they are to be followed one by one.
    words: Option<Vec<u64>>,
    /// The same as places, once they are needed.
    places: OnceCell<Vec<u32>>,
}

impl Mask<'_> {
    fn as_places(&self) -> Places<'_> {
        Places(self.places.get_or_init(|| indices(self.mask)))
    }
}

impl Pick for Mask<'_> {
    unsafe fn natives<T: Copy>(&self, values: &[T]) -> Vec<T> {
        if let Some(words) = &self.words
            && let Some(compressed) = compress::compress(values, words)
        {
            return compressed;
        }
        // SAFETY: the mask has as many bits as `values` has values, so the places of its bits are below that.
        unsafe { self.as_places().natives(values) }
    }

    fn bits(&self, bits: &BooleanBuffer) -> BooleanBuffer {
        self.as_places().bits(bits)
    }

    fn places(&self) -> UInt32Array {
        self.as_places().places()
    }
}

fn pick(array: &ArrayRef, length: usize, rows: &impl Pick) -> Result<ArrayRef> {
    if array.len() != length {
        return Err(Error::internal(format!("a column of {} rows in a chunk of {length}", array.len())));
    }
    let nulls = || pick_nulls(array.nulls(), rows);
    let array = array.as_ref();
    let picked: ArrayRef = downcast_primitive_array!(
        array => {
            // SAFETY: the array has the length that the rows were checked against.
            let values = unsafe { rows.natives(array.values()) };
            Arc::new(like(array, values, nulls()))
        }
        DataType::Boolean => Arc::new(BooleanArray::new(rows.bits(array.as_boolean().values()), nulls())),
        DataType::Utf8View => pick_views::<StringViewType>(array.as_string_view(), rows),
        DataType::BinaryView => pick_views::<BinaryViewType>(array.as_binary_view(), rows),
        DataType::Dictionary(_, _) if array.as_any().is::<DictionaryArray<UInt32Type>>() => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            // SAFETY: as above.
            let keys = unsafe { rows.natives(dictionary.keys().values()) };
            let keys = PrimitiveArray::<UInt32Type>::new(ScalarBuffer::from(keys), nulls());
            // SAFETY: these are keys of the same values that were valid before.
            Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(dictionary.values())) })
        }
        _ => arrow_take(array, &rows.places(), None)?
    );
    Ok(picked)
}

/// Values as an array of the same type as another, with its scale or time zone.
fn like<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> PrimitiveArray<T> {
    let picked = PrimitiveArray::new(ScalarBuffer::from(values), nulls);
    if picked.data_type() == array.data_type() { picked } else { picked.with_data_type(array.data_type().clone()) }
}

fn pick_nulls(nulls: Option<&NullBuffer>, rows: &impl Pick) -> Option<NullBuffer> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0)?;
    Some(NullBuffer::new(rows.bits(nulls.inner()))).filter(|nulls| nulls.null_count() > 0)
}

fn pick_views<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, rows: &impl Pick) -> ArrayRef {
    let (views, buffers, nulls) = array.clone().into_parts();
    // SAFETY: the array has the length that the rows were checked against.
    let views = unsafe { rows.natives(&views) };
    let nulls = pick_nulls(nulls.as_ref(), rows);
    // SAFETY: the views are some of those that were valid with these buffers.
    Arc::new(unsafe { GenericByteViewArray::<T>::new_unchecked(ScalarBuffer::from(views), buffers, nulls) })
}

fn decode_views<T: ByteViewType>(dictionary: &DictionaryArray<UInt32Type>) -> ArrayRef {
    let values = dictionary.values().as_byte_view::<T>();
    let (views, buffers, value_nulls) = values.clone().into_parts();
    let keys = dictionary.keys();
    // A key behind a NULL may be anything. An empty view is valid with any buffers.
    let view = |key: &u32| views.get(*key as usize).copied().unwrap_or(0);
    let picked = keys.values().iter().map(view).collect::<Vec<u128>>();
    let nulls = match value_nulls.filter(|nulls| nulls.null_count() > 0) {
        None => keys.nulls().cloned(),
        Some(value_nulls) => {
            let valid = |row: usize| {
                let key = keys.values()[row] as usize;
                keys.is_valid(row) && key < value_nulls.len() && value_nulls.is_valid(key)
            };
            Some(NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), valid)))
        }
    };
    // SAFETY: the views are some of those that were valid with these buffers, or empty.
    Arc::new(unsafe { GenericByteViewArray::<T>::new_unchecked(ScalarBuffer::from(picked), buffers, nulls) })
}

#[cfg(test)]
mod tests;
