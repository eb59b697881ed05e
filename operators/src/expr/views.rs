//! The bytes of texts that are held as views.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer};
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};

use super::simd::pack;

/// Bytes that a view holds itself.
pub(super) const INLINE: usize = 12;

/// A view column's parts.
#[derive(Clone, Copy)]
pub(super) struct Views<'a> {
    pub views: &'a [u128],
    pub buffers: &'a [Buffer],
}

impl<'a> Views<'a> {
    pub fn new(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8View => {
                let array = array.as_string_view();
                Ok(Self { views: array.views(), buffers: array.data_buffers() })
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                Ok(Self { views: array.views(), buffers: array.data_buffers() })
            }
            other => Err(Error::internal(format!("a text is carried as {other}"))),
        }
    }

    /// The bytes of one of the column's views.
    #[inline(always)]
    pub fn bytes<'b>(&self, view: &'b u128) -> &'b [u8]
    where
        'a: 'b,
    {
        let length = length(*view);
        if length <= INLINE {
            // SAFETY: a view is 16 bytes, of which those from the fifth on are the text; only little-endian machines
            // are supported by the crates below.
            return unsafe { std::slice::from_raw_parts(std::ptr::from_ref(view).cast::<u8>().add(4), length) };
        }
        let (buffer, offset) = ((*view >> 64) as u32 as usize, (*view >> 96) as usize);
        // SAFETY: views that come from a view array point into its buffers; Arrow has checked that, and nobody here calls
        // this with another view.
        unsafe { self.buffers.get_unchecked(buffer).get_unchecked(offset..offset + length) }
    }

    /// The bytes of the first row; none if there is no row.
    pub fn bytes_of_first(&self) -> &[u8] {
        self.views.first().map_or(&[], |view| self.bytes(view))
    }

    /// Whether a text of this column is equal to one of another.
    #[inline(always)]
    pub fn equal(&self, text: u128, others: &Views<'_>, other: u128) -> bool {
        if text as u64 != other as u64 {
            return false;
        }
        if length(text) <= INLINE { text == other } else { self.bytes(&text) == others.bytes(&other) }
    }

    /// The texts that are equal to one of more than [`INLINE`] bytes.
    pub fn equal_to_long(&self, literal: &[u8]) -> BooleanBuffer {
        let mut head = [0; 8];
        head[..4].copy_from_slice(&(literal.len() as u32).to_le_bytes());
        let prefix = literal.len().min(4);
        head[4..4 + prefix].copy_from_slice(&literal[..prefix]);
        let head = u64::from_le_bytes(head);
        let alike = pack(halves(self.views), move |[low, _]| low == head);
        recheck(&alike, |row| self.bytes(&self.views[row]) == literal)
    }
}

/// Views in two halves, the low one first: loops over 64-bit numbers are vectorised, those over 128-bit ones are not.
pub(super) fn halves(views: &[u128]) -> &[[u64; 2]] {
    // SAFETY: both are 16 bytes of plain numbers, and two of 64 bits are aligned wherever one of 128 is.
    unsafe { std::slice::from_raw_parts(views.as_ptr().cast(), views.len()) }
}

/// A view in two halves.
pub(super) fn split(view: u128) -> [u64; 2] {
    [view as u64, (view >> 64) as u64]
}

/// Views whose text is this short one.
pub(super) fn equal_to(views: &[u128], short: u128) -> BooleanBuffer {
    let [low, high] = split(short);
    pack(halves(views), move |half| (half[0] ^ low) | (half[1] ^ high) == 0)
}

/// The set bits that pass a closer look.
pub(super) fn recheck(candidates: &BooleanBuffer, passes: impl Fn(usize) -> bool) -> BooleanBuffer {
    let mut bits = MutableBuffer::from_len_zeroed(candidates.len().div_ceil(8));
    let bytes = bits.as_slice_mut();
    for row in candidates.set_indices() {
        bytes[row / 8] |= u8::from(passes(row)) << (row % 8);
    }
    BooleanBuffer::new(bits.into(), 0, candidates.len())
}

/// How many bytes.
#[inline(always)]
pub(super) fn length(view: u128) -> usize {
    view as u32 as usize
}

/// The first four bytes, given the lower half of a view, as a number that orders like them; zeros where there are fewer.
/// Where two of them differ, so do the texts, in the same way: a missing byte is not above any other.
#[inline(always)]
pub(super) fn prefix_of(low: u64) -> u32 {
    ((low >> 32) as u32).swap_bytes()
}

/// The view of a short text; texts of up to [`INLINE`] bytes are equal where their views are.
pub(super) fn inline_view(text: &[u8]) -> Option<u128> {
    if text.len() > INLINE {
        return None;
    }
    let mut view = [0; 16];
    view[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
    view[4..4 + text.len()].copy_from_slice(text);
    Some(u128::from_le_bytes(view))
}
