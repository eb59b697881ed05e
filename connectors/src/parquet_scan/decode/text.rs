//! Strings and binaries, as views.
//!
//! A view is sixteen bytes: the length, then twelve bytes of the string, or its first four bytes, a buffer and an
//! offset. A plainly stored string is its length and its bytes, so the view of a short one is a single load and a
//! mask:
//!
//! ```text
//!  page   │05 00 00 00│h e l l o│03 00 00 00│…       view  05 00 00 00 h e l l o 0 0 0 0 0 0 0
//! ```
//!
//! Long strings stay where they are, and the page lives as long as its views. If only few of a page's long strings
//! are wanted they are copied together, so that a few rows do not hold megabytes.
//!
//! A dictionary becomes one view array, and chunks are codes over it; when pages without codes follow, chunks are
//! views.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, DictionaryArray, GenericByteViewArray, PrimitiveArray, StringViewArray,
};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ByteViewType, DataType, UInt32Type};

use super::{Body, Decoder, beyond, checked_len, is_coded, open_codes, short, unknown, wrong_body};
use crate::parquet_scan::buffers::Bytes;
use crate::parquet_scan::damage::{Damage, Decoded};
use crate::parquet_scan::delta;
use crate::parquet_scan::page_header::encoding;
use crate::parquet_scan::runs::largest;

/// Strings up to this length live in their view.
const INLINE: usize = 12;

/// Below one wanted string in so many, long strings are copied out of their page.
const SPARSE: usize = 8;

pub(crate) struct Text {
    utf8: bool,
    dictionary: Option<Dictionary>,
    /// The column that is built: codes, until there are views.
    built_codes: Vec<u32>,
    built_views: Option<Views>,
    codes: Vec<u32>,
}

struct Dictionary {
    views: Vec<u128>,
    buffer: Option<Buffer>,
    array: ArrayRef,
}

#[derive(Default)]
struct Views {
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    /// Strings that were copied, and which of the buffers they will be.
    copied: Option<(usize, Vec<u8>)>,
}

impl Text {
    pub(crate) fn new(utf8: bool) -> Self {
        Self { utf8, dictionary: None, built_codes: Vec::new(), built_views: None, codes: Vec::new() }
    }

    /// Appends the codes at hand.
    fn add_codes(&mut self) -> Decoded<()> {
        let Some(dictionary) = &self.dictionary else { return Err(beyond()) };
        if !self.codes.is_empty() && largest(&self.codes) as usize >= dictionary.views.len() {
            return Err(beyond());
        }
        match &mut self.built_views {
            Some(views) => {
                let all = self.codes.iter().map(|&code| dictionary.views[code as usize]);
                views.extend(all, dictionary.buffer.as_ref());
            }
            None if self.built_codes.is_empty() => std::mem::swap(&mut self.built_codes, &mut self.codes),
            None => self.built_codes.extend_from_slice(&self.codes),
        }
        Ok(())
    }

    /// The column so far as views.
    fn views(&mut self) -> &mut Views {
        let (codes, dictionary) = (&mut self.built_codes, &self.dictionary);
        self.built_views.get_or_insert_with(|| {
            let mut views = Views::default();
            if let Some(dictionary) = dictionary {
                // Codes behind NULLs of an empty dictionary are of no value.
                let all = codes.iter().map(|&code| dictionary.views.get(code as usize).copied().unwrap_or(0));
                views.extend(all, dictionary.buffer.as_ref());
            }
            codes.clear();
            views
        })
    }

    /// Views of plainly stored strings.
    fn plain(&self, bytes: &Bytes, count: usize, spent: Vec<u128>) -> Decoded<(Vec<u128>, Option<Buffer>)> {
        let mut views = spent;
        views.clear();
        let data = bytes.as_slice();
        if count > data.len() / 4 {
            return Err(short());
        }
        views.reserve(count);
        // Lengths below 128 are ASCII as well: one pass over the page checks all strings of it.
        let check = self.utf8 && !data.is_ascii();
        let slack = bytes.with_slack();
        let (mut at, mut long) = (0, false);
        for _ in 0..count {
            let Some(len) = data.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Err(short()) };
            let len = u32::from_le_bytes(*len) as usize;
            let Some(string) = data.get(at + 4..).and_then(|rest| rest.get(..len)) else { return Err(short()) };
            if check && std::str::from_utf8(string).is_err() {
                return Err(not_utf8());
            }
            let mut word = [0; 16];
            word.copy_from_slice(&slack[at..at + 16]);
            let word = u128::from_le_bytes(word);
            if len <= INLINE {
                views.push(word & (u128::MAX >> (96 - 8 * len)));
            } else {
                long = true;
                views.push((word & u128::from(u64::MAX)) | ((at + 4) as u128) << 96);
            }
            at += 4 + len;
        }
        Ok((views, long.then(|| bytes.to_arrow())))
    }

    /// Views of strings that lie one after the other in `data`, which starts at `base` of its buffer.
    fn joined(&self, data: &[u8], base: usize, lengths: &[i64]) -> Decoded<(Vec<u128>, bool)> {
        let check = self.utf8 && !data.is_ascii();
        let mut views = Vec::with_capacity(lengths.len());
        let (mut at, mut long) = (0, false);
        for &len in lengths {
            let string = usize::try_from(len).ok().and_then(|len| data.get(at..)?.get(..len)).ok_or_else(short)?;
            if check && std::str::from_utf8(string).is_err() {
                return Err(not_utf8());
            }
            views.push(view_of(string, base + at));
            long |= string.len() > INLINE;
            at += string.len();
        }
        Ok((views, long))
    }

    /// DELTA_BYTE_ARRAY: each string is a prefix of the one before and a suffix.
    fn prefixed(&self, bytes: &Bytes, count: usize) -> Decoded<(Vec<u128>, Option<Buffer>)> {
        let data = bytes.as_slice();
        let (prefixes, taken) = delta::decode(data, count)?;
        let (suffixes, more) = delta::decode(&data[taken..], count)?;
        if prefixes.len() < count || suffixes.len() < count {
            return Err(short());
        }
        let mut rest = &data[taken + more..];
        let mut strings = Vec::<u8>::new();
        let mut lengths = Vec::with_capacity(count);
        let mut last = 0..0;
        for (&prefix, &suffix) in prefixes.iter().zip(&suffixes) {
            let (Ok(prefix), Ok(suffix)) = (usize::try_from(prefix), usize::try_from(suffix)) else {
                return Err(short());
            };
            if prefix > last.len() || suffix > rest.len() {
                return Err(short());
            }
            let start = strings.len();
            if start + prefix + suffix > i32::MAX as usize {
                return Err(Damage::new("a page of strings is larger than 2 GiB"));
            }
            strings.extend_from_within(last.start..last.start + prefix);
            let (own, behind) = rest.split_at(suffix);
            strings.extend_from_slice(own);
            rest = behind;
            last = start..strings.len();
            lengths.push(last.len() as i64);
        }
        let (views, long) = self.joined(&strings, 0, &lengths)?;
        Ok((views, long.then(|| Buffer::from_vec(strings))))
    }
}

fn not_utf8() -> Damage {
    Damage::new("a string is not UTF-8")
}

/// The view of a string that lies at `offset` of buffer 0.
fn view_of(string: &[u8], offset: usize) -> u128 {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(string.len() as u32).to_le_bytes());
    if string.len() <= INLINE {
        bytes[4..4 + string.len()].copy_from_slice(string);
    } else {
        bytes[4..8].copy_from_slice(&string[..4]);
        bytes[12..].copy_from_slice(&(offset as u32).to_le_bytes());
    }
    u128::from_le_bytes(bytes)
}

#[inline]
fn is_long(view: u128) -> bool {
    view as u32 as usize > INLINE
}

impl Views {
    /// Appends views into `buffer` (their buffer 0).
    fn extend(&mut self, views: impl ExactSizeIterator<Item = u128>, buffer: Option<&Buffer>) {
        let Some(buffer) = buffer else {
            self.views.extend(views);
            return;
        };
        let known = self.buffers.iter().position(|known| known.ptr_eq(buffer));
        let index = known.unwrap_or_else(|| {
            self.buffers.push(buffer.clone());
            self.buffers.len() - 1
        });
        if index == 0 {
            self.views.extend(views);
        } else {
            let add = (index as u128) << 64;
            self.views.extend(views.map(|view| if is_long(view) { view + add } else { view }));
        }
    }

    /// Appends views, long ones with a copy of their strings.
    fn copy(&mut self, views: impl Iterator<Item = u128>, buffer: &Buffer) -> Decoded<()> {
        let buffers = &mut self.buffers;
        let (index, copied) = self.copied.get_or_insert_with(|| {
            buffers.push(Buffer::default());
            (buffers.len() - 1, Vec::new())
        });
        for view in views {
            if !is_long(view) {
                self.views.push(view);
                continue;
            }
            let (start, len) = ((view >> 96) as usize, view as u32 as usize);
            let string = buffer.as_slice().get(start..start + len).ok_or_else(short)?;
            let at = copied.len();
            if at + len > i32::MAX as usize {
                return Err(Damage::internal("more than 2 GiB of strings in a chunk"));
            }
            copied.extend_from_slice(string);
            self.views.push((view & u128::from(u64::MAX)) | (*index as u128) << 64 | (at as u128) << 96);
        }
        Ok(())
    }
}

fn view_array<T: ByteViewType>(views: Vec<u128>, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> ArrayRef {
    // SAFETY: each view was made here from a string that lies in its buffer at its offset, is UTF-8 where T asks for
    // it, and is padded with zeros if short; buffer numbers are moved with the buffers they mean.
    Arc::new(unsafe { GenericByteViewArray::<T>::new_unchecked(ScalarBuffer::from(views), buffers, nulls) })
}

fn array_of(utf8: bool, views: Vec<u128>, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> ArrayRef {
    if utf8 {
        view_array::<arrow::datatypes::StringViewType>(views, buffers, nulls)
    } else {
        view_array::<arrow::datatypes::BinaryViewType>(views, buffers, nulls)
    }
}

impl Decoder for Text {
    fn set_dictionary(&mut self, bytes: Bytes, values: usize) -> Decoded<()> {
        let (views, buffer) = self.plain(&bytes, values, Vec::new())?;
        let array = array_of(self.utf8, views.clone(), buffer.iter().cloned().collect(), None);
        self.dictionary = Some(Dictionary { views, buffer, array });
        Ok(())
    }

    fn dictionary(&self) -> Option<ArrayRef> {
        self.dictionary.as_ref().map(|dictionary| Arc::clone(&dictionary.array))
    }

    fn open(&mut self, encoding: i32, bytes: Bytes, values: usize, spent: Body) -> Decoded<Body> {
        let (views, buffer) = match encoding {
            coded if is_coded(coded) => return open_codes(&bytes, values, spent),
            encoding::PLAIN => {
                let spent = if let Body::Views { views, .. } = spent { views } else { Vec::new() };
                self.plain(&bytes, values, spent)?
            }
            encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let (lengths, taken) = delta::decode(bytes.as_slice(), values)?;
                if lengths.len() < values {
                    return Err(short());
                }
                let data = bytes.slice(taken..bytes.len())?;
                let (views, long) = self.joined(data.as_slice(), 0, &lengths)?;
                (views, long.then(|| data.to_arrow()))
            }
            encoding::DELTA_BYTE_ARRAY => self.prefixed(&bytes, values)?,
            other => return Err(unknown(other)),
        };
        Ok(Body::Views { views, buffer })
    }

    fn range(&mut self, body: &Body, start: usize, len: usize) -> Decoded<()> {
        match body {
            Body::Codes(runs) => {
                self.codes.resize(len, 0);
                runs.unpack_range(start, &mut self.codes);
                self.add_codes()
            }
            Body::Views { views, buffer } => {
                let views = views.get(start..start + len).ok_or_else(short)?;
                self.views().extend(views.iter().copied(), buffer.as_ref());
                Ok(())
            }
            _ => Err(wrong_body()),
        }
    }

    fn places(&mut self, body: &Body, places: &[u32]) -> Decoded<()> {
        match body {
            Body::Codes(runs) => {
                self.codes.clear();
                runs.pick(places, &mut self.codes);
                self.add_codes()
            }
            Body::Views { views, buffer } => {
                let wanted = places.iter().map(|&place| views[place as usize]);
                match buffer {
                    Some(buffer) if places.len() * SPARSE < views.len() => self.views().copy(wanted, buffer)?,
                    _ => self.views().extend(wanted, buffer.as_ref()),
                }
                Ok(())
            }
            _ => Err(wrong_body()),
        }
    }

    fn nothing(&mut self, count: usize) {
        let has_codes = self.dictionary.as_ref().is_some_and(|dictionary| !dictionary.views.is_empty());
        if has_codes && self.built_views.is_none() {
            self.built_codes.extend(std::iter::repeat_n(0, count));
        } else {
            self.views().views.extend(std::iter::repeat_n(0, count));
        }
    }

    fn finish(&mut self, len: usize, nulls: Option<NullBuffer>) -> Decoded<ArrayRef> {
        if nulls.as_ref().is_some_and(|nulls| nulls.len() != len) {
            return Err(Damage::internal("NULLs of another length"));
        }
        if let Some(mut built) = self.built_views.take() {
            checked_len(built.views.len(), len, &DataType::Utf8View)?;
            if let Some((index, strings)) = built.copied {
                built.buffers[index] = Buffer::from_vec(strings);
            }
            return Ok(array_of(self.utf8, built.views, built.buffers, nulls));
        }
        let codes = std::mem::take(&mut self.built_codes);
        checked_len(codes.len(), len, &DataType::Utf8View)?;
        let Some(dictionary) = &self.dictionary else {
            return Ok(array_of(self.utf8, Vec::new(), Vec::new(), nulls));
        };
        let keys = PrimitiveArray::<UInt32Type>::new(ScalarBuffer::from(codes), nulls);
        // SAFETY: `add_codes` checked every code against the dictionary, which is not empty if there are any.
        Ok(Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(&dictionary.array)) }))
    }
}

/// A column that changed its form between pieces, as plain views.
pub(crate) fn flat_views(array: &ArrayRef) -> Option<ArrayRef> {
    if array.as_any().is::<StringViewArray>() || array.as_any().is::<BinaryViewArray>() {
        return Some(Arc::clone(array));
    }
    let dictionary = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>()?;
    arrow::compute::take(dictionary.values(), dictionary.keys(), None).ok()
}
