//! Numbers for texts, so that keys of texts are keys of small integers.
//!
//! A text is held as Arrow's 16-byte view: up to 12 bytes lie in it and are compared as two words; of longer ones it
//! holds length and four bytes, and the rest lies in an arena. A dictionary is translated once: `code -> number`, filled
//! as codes are met and kept as long as chunks refer to the same dictionary. NULL has a number, too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, ByteView, GenericByteViewArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::ByteViewType;
use bireme_engine::error::{Error, Result};
use bireme_engine::hash::hash_bytes;

use super::gather::{Found, gather};
use super::table::{NONE, fold, prefetch};

const INLINE: usize = 12;
const FIRST_BLOCK: usize = 1 << 12;
const LARGEST_BLOCK: usize = 1 << 20;
/// Dictionaries remembered at a time: one is in use, a few more where sources are read in turn.
const DICTIONARIES: usize = 4;
const AHEAD: usize = 12;

/// Texts (or bytes) numbered from 0 in the order they were met.
#[derive(Default)]
pub(super) struct Interner {
    /// Upper half of the hash, number; `u64::MAX` is free.
    slots: Vec<u64>,
    views: Vec<u128>,
    blocks: Vec<Vec<u8>>,
    null: Option<u32>,
    dictionaries: Vec<Dictionary>,
    hash_mask: u64,
    hashes: Vec<u64>,
}

struct Dictionary {
    /// Kept, so that its address names it.
    values: ArrayRef,
    start: *const u128,
    numbers: Vec<u32>,
}

// SAFETY: the address is only compared, never followed.
unsafe impl Send for Dictionary {}

impl Interner {
    pub(super) fn new(hash_mask: u64) -> Self {
        Self { hash_mask, ..Self::default() }
    }

    /// How many numbers were given.
    pub(super) fn len(&self) -> usize {
        self.views.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * 8
            + self.views.capacity() * 16
            + self.blocks.iter().map(Vec::capacity).sum::<usize>()
            + self.dictionaries.iter().map(|dictionary| dictionary.numbers.capacity() * 4).sum::<usize>()
    }

    /// Appends the numbers of all rows.
    pub(super) fn views<T: ByteViewType + ?Sized>(
        &mut self,
        array: &GenericByteViewArray<T>,
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        let (views, buffers) = (array.views(), array.data_buffers());
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        match nulls {
            // What lies behind a NULL need not be a view.
            Some(nulls) => hashes
                .extend(views.iter().zip(nulls).map(|(&view, valid)| if valid { self.hash(view, buffers) } else { 0 })),
            None => hashes.extend(views.iter().map(|&view| self.hash(view, buffers))),
        }
        numbers.reserve(views.len());
        for (row, &view) in views.iter().enumerate() {
            if let Some(&later) = hashes.get(row + AHEAD) {
                prefetch(&self.slots, later as usize & self.slots.len().wrapping_sub(1));
            }
            let number = match nulls {
                Some(nulls) if nulls.is_null(row) => self.null(),
                _ => self.number(view, hashes[row], buffers)?,
            };
            numbers.push(number);
        }
        self.hashes = hashes;
        Ok(())
    }

    /// Appends the numbers of the rows of a dictionary array, given as codes and the dictionary.
    pub(super) fn codes<T: ByteViewType + ?Sized>(
        &mut self,
        codes: &[u32],
        nulls: Option<&NullBuffer>,
        values: &ArrayRef,
        views: &GenericByteViewArray<T>,
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        let mut dictionary = self.dictionary(values, views.views());
        let known = &mut dictionary.numbers;
        // Mostly all codes were met before, and nothing is NULL: then it is one look-up a row.
        if nulls.is_none() {
            let from = numbers.len();
            if gather(known, codes, numbers) == Found::All {
                self.dictionaries.push(dictionary);
                return Ok(());
            }
            numbers.truncate(from);
        }
        numbers.reserve(codes.len());
        for (row, &code) in codes.iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                numbers.push(self.null());
                continue;
            }
            let Some(known) = known.get_mut(code as usize) else {
                return Err(Error::internal(format!("a dictionary of {} values has a code {code}", views.len())));
            };
            if *known == NONE {
                *known = if views.is_null(code as usize) {
                    self.null()
                } else {
                    let view = views.views()[code as usize];
                    self.number(view, self.hash(view, views.data_buffers()), views.data_buffers())?
                };
            }
            numbers.push(*known);
        }
        self.dictionaries.push(dictionary);
        Ok(())
    }

    /// Takes a dictionary out of those that are known, or begins one.
    fn dictionary(&mut self, values: &ArrayRef, views: &[u128]) -> Dictionary {
        let start = views.as_ptr();
        let known = self.dictionaries.iter().position(|known| {
            std::ptr::eq(known.start, start) && known.values.len() == values.len() && same_nulls(&known.values, values)
        });
        if let Some(known) = known {
            return self.dictionaries.remove(known);
        }
        if self.dictionaries.len() == DICTIONARIES {
            self.dictionaries.remove(0);
        }
        Dictionary { values: Arc::clone(values), start, numbers: vec![NONE; values.len()] }
    }

    /// The number of plain bytes.
    pub(super) fn slice(&mut self, bytes: &[u8]) -> Result<u32> {
        let view = match inline_view(bytes) {
            Some(view) => view,
            None => ByteView::new(bytes.len() as u32, &bytes[..4]).as_u128(),
        };
        let hash = self.slice_hash(view, bytes);
        self.find_or_add(view, hash, bytes)
    }

    pub(super) fn null(&mut self) -> u32 {
        *self.null.get_or_insert_with(|| {
            self.views.push(0);
            self.views.len() as u32 - 1
        })
    }

    #[inline(always)]
    fn hash(&self, view: u128, buffers: &[Buffer]) -> u64 {
        if view as u32 as usize <= INLINE {
            self.slice_hash(view, &[])
        } else {
            self.slice_hash(view, long(view, buffers))
        }
    }

    #[inline(always)]
    fn slice_hash(&self, view: u128, bytes: &[u8]) -> u64 {
        let hash = if view as u32 as usize <= INLINE {
            fold(view as u64 ^ 0x9e37_79b9_7f4a_7c15, (view >> 64) as u64 ^ 0xd6e8_feb8_6659_fd93)
        } else {
            hash_bytes(bytes)
        };
        hash & self.hash_mask
    }

    #[inline(always)]
    fn number(&mut self, view: u128, hash: u64, buffers: &[Buffer]) -> Result<u32> {
        let bytes = if view as u32 as usize <= INLINE { &[] } else { long(view, buffers) };
        self.find_or_add(view, hash, bytes)
    }

    #[inline(always)]
    fn find_or_add(&mut self, view: u128, hash: u64, bytes: &[u8]) -> Result<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(&slot) = self.slots.get(at) {
            if slot == u64::MAX {
                break;
            }
            if slot >> 32 == hash >> 32 && self.is(slot as u32, view, bytes) {
                return Ok(slot as u32);
            }
            at = (at + 1) & mask;
        }
        self.add(view, hash, bytes)
    }

    /// Whether a number stands for this text. Of long ones the view's first half (length, four bytes) comes first.
    #[inline(always)]
    fn is(&self, number: u32, view: u128, bytes: &[u8]) -> bool {
        let known = self.views[number as usize];
        if view as u32 as usize <= INLINE {
            return known == view;
        }
        known as u64 == view as u64 && self.bytes_of(known) == bytes
    }

    fn bytes_of(&self, view: u128) -> &[u8] {
        let view = ByteView::from(view);
        let start = view.offset as usize;
        &self.blocks[view.buffer_index as usize][start..start + view.length as usize]
    }

    #[inline(never)]
    fn add(&mut self, view: u128, hash: u64, bytes: &[u8]) -> Result<u32> {
        if self.views.len() >= NONE as usize - 1 {
            return Err(Error::resources("grouping: more than 2^32 different texts in one table"));
        }
        if (self.views.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let number = self.views.len() as u32;
        put(&mut self.slots, hash, number);
        let view = if view as u32 as usize <= INLINE { view } else { self.keep(view, bytes) };
        self.views.push(view);
        Ok(number)
    }

    fn grow(&mut self) {
        let mut slots = vec![u64::MAX; (self.slots.len() * 2).max(64)];
        for (number, &view) in self.views.iter().enumerate() {
            if self.null == Some(number as u32) {
                continue;
            }
            let bytes = if view as u32 as usize <= INLINE { &[] } else { self.bytes_of(view) };
            put(&mut slots, self.slice_hash(view, bytes), number as u32);
        }
        self.slots = slots;
    }

    /// Copies a long text into the arena; its view there.
    fn keep(&mut self, view: u128, bytes: &[u8]) -> u128 {
        if self.blocks.last().is_none_or(|block| block.capacity() - block.len() < bytes.len()) {
            let size = (FIRST_BLOCK << self.blocks.len().min(8)).min(LARGEST_BLOCK);
            self.blocks.push(Vec::with_capacity(size.max(bytes.len())));
        }
        let place = self.blocks.len() - 1;
        let block = &mut self.blocks[place];
        let offset = block.len() as u32;
        block.extend_from_slice(bytes);
        ByteView::from(view).with_buffer_index(place as u32).with_offset(offset).as_u128()
    }

    /// The bytes of a number, or none of NULL's.
    pub(super) fn value(&self, number: u32) -> Option<Vec<u8>> {
        if self.null == Some(number) {
            return None;
        }
        let view = self.views[number as usize];
        let length = view as u32 as usize;
        if length <= INLINE {
            return Some(view.to_le_bytes()[4..4 + length].to_vec());
        }
        Some(self.bytes_of(view).to_vec())
    }

    /// The texts of these numbers, as bytes; the interner is empty after it.
    pub(super) fn take(&mut self, numbers: impl ExactSizeIterator<Item = u32> + Clone) -> BinaryViewArray {
        let taken = std::mem::replace(self, Self::new(self.hash_mask));
        let views = numbers.clone().map(|number| taken.views[number as usize]).collect::<ScalarBuffer<u128>>();
        let nulls = taken
            .null
            .map(|null| numbers.map(|number| number != null).collect::<NullBuffer>())
            .filter(|nulls| nulls.null_count() > 0);
        let buffers = taken.blocks.into_iter().map(Buffer::from).collect::<Vec<_>>();
        // SAFETY: every view is inline or names bytes of its block, see `keep`; the view of NULL is empty.
        unsafe { BinaryViewArray::new_unchecked(views, buffers, nulls) }
    }
}

fn put(slots: &mut [u64], hash: u64, number: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at] != u64::MAX {
        at = (at + 1) & mask;
    }
    slots[at] = hash >> 32 << 32 | u64::from(number);
}

/// The view of at most 12 bytes.
fn inline_view(bytes: &[u8]) -> Option<u128> {
    if bytes.len() > INLINE {
        return None;
    }
    let mut view = [0; 16];
    view[0] = bytes.len() as u8;
    view[4..4 + bytes.len()].copy_from_slice(bytes);
    Some(u128::from_le_bytes(view))
}

#[inline(always)]
fn long(view: u128, buffers: &[Buffer]) -> &[u8] {
    let view = ByteView::from(view);
    let start = view.offset as usize;
    &buffers[view.buffer_index as usize].as_slice()[start..start + view.length as usize]
}

fn same_nulls(a: &ArrayRef, b: &ArrayRef) -> bool {
    match (a.nulls(), b.nulls()) {
        (None, None) => true,
        (Some(a), Some(b)) => std::ptr::eq(a.validity().as_ptr(), b.validity().as_ptr()) && a.offset() == b.offset(),
        _ => false,
    }
}
