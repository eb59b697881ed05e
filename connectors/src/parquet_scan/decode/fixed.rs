//! Values of a fixed width: integers, floats, dates, times, decimals.
//!
//! Bits are all that matters here: a column of eight-byte values is decoded as `u64`s whatever they mean, and gets its
//! type as a label at the end. Codes of a dictionary become values by a gather from the decoded dictionary, which is
//! cheap while the dictionary fits the L2 cache.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::{Body, Decoder, beyond, checked_len, is_coded, open_codes, short, unknown, wrong_body};
use crate::parquet_scan::buffers::{Bytes, PageBuffer, Pool};
use crate::parquet_scan::damage::{Damage, Decoded};
use crate::parquet_scan::delta;
use crate::parquet_scan::page_header::encoding;
use crate::parquet_scan::runs::{Runs, largest};

/// How the file stores values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As the words that come out.
    Raw,
    /// As integers of four bytes, which are narrowed or widened with their sign.
    I32,
    /// As decimals of so many bytes, most significant first.
    BigEndian(usize),
    /// Likewise, each with its length in front.
    Lengths,
}

/// An unsigned word of a carried column.
pub(crate) trait Word: ArrowNativeType + Send {
    const WIDTH: usize;
    fn of_i64(value: i64) -> Self;
    fn of_i128(value: i128) -> Self;
    /// From the first `WIDTH` bytes, least significant first.
    fn read(bytes: &[u8]) -> Self;
    fn extend(out: &mut Vec<Self>, bytes: &[u8]);
    fn write(self, bytes: &mut [u8]);
}

macro_rules! words {
    ($($word:ty)*) => {
        $(impl Word for $word {
            const WIDTH: usize = size_of::<$word>();
            #[inline(always)]
            fn of_i64(value: i64) -> Self {
                value as $word
            }
            #[inline(always)]
            fn of_i128(value: i128) -> Self {
                value as $word
            }
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                let mut word = [0; size_of::<$word>()];
                word.copy_from_slice(&bytes[..size_of::<$word>()]);
                <$word>::from_le_bytes(word)
            }
            #[inline]
            fn extend(out: &mut Vec<Self>, bytes: &[u8]) {
                let words = bytes.as_chunks::<{ size_of::<$word>() }>().0;
                out.extend(words.iter().map(|word| <$word>::from_le_bytes(*word)));
            }
            #[inline(always)]
            fn write(self, bytes: &mut [u8]) {
                bytes[..size_of::<$word>()].copy_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

words!(u8 u16 u32 u64 i128);

pub(crate) struct Fixed<W> {
    source: Source,
    label: DataType,
    pool: Arc<Pool>,
    dictionary: Option<Vec<W>>,
    out: Vec<W>,
    codes: Vec<u32>,
}

impl<W: Word> Fixed<W> {
    pub(crate) fn new(source: Source, label: DataType, pool: &Arc<Pool>) -> Self {
        Self { source, label, pool: Arc::clone(pool), dictionary: None, out: Vec::new(), codes: Vec::new() }
    }

    /// Bytes that a stored value takes, if all take as many.
    fn stored_width(&self) -> Option<usize> {
        match self.source {
            Source::Raw => Some(W::WIDTH),
            Source::I32 => Some(4),
            Source::BigEndian(width) => Some(width),
            Source::Lengths => None,
        }
    }

    /// Plainly stored values.
    fn plain(&self, bytes: &[u8], count: usize) -> Decoded<Vec<W>> {
        let mut words = Vec::new();
        let Some(width) = self.stored_width() else {
            let mut rest = bytes;
            for _ in 0..count {
                let (len, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
                let len = u32::from_le_bytes(*len) as usize;
                let value = behind.get(..len).ok_or_else(short)?;
                words.push(W::of_i128(big_endian(value)));
                rest = &behind[len..];
            }
            return Ok(words);
        };
        let bytes = count.checked_mul(width).and_then(|len| bytes.get(..len)).ok_or_else(short)?;
        words.reserve(count);
        match self.source {
            Source::Raw => W::extend(&mut words, bytes),
            Source::I32 => {
                let values = bytes.as_chunks::<4>().0.iter();
                words.extend(values.map(|value| W::of_i64(i64::from(i32::from_le_bytes(*value)))));
            }
            Source::BigEndian(_) | Source::Lengths => {
                words.extend(bytes.chunks_exact(width).map(|value| W::of_i128(big_endian(value))));
            }
        }
        Ok(words)
    }

    /// Decoded values as the body of a page.
    fn body(&self, words: &[W]) -> Decoded<Body> {
        let len = size_of_val(words);
        let mut buffer = self.pool.take(len)?;
        for (word, bytes) in words.iter().zip(buffer.chunks_exact_mut(W::WIDTH)) {
            word.write(bytes);
        }
        Ok(Body::Raw(Bytes::new(&PageBuffer::new(buffer, &self.pool), 0..len)))
    }

    fn array(&self, words: Vec<W>, nulls: Option<NullBuffer>) -> ArrayRef {
        let len = words.len();
        let data = ArrayData::builder(self.label.clone()).len(len).add_buffer(Buffer::from_vec(words)).nulls(nulls);
        // SAFETY: the label is a primitive type of W::WIDTH bytes (`Kind::of` pairs them), and the buffer holds `len`
        // aligned words; `finish` checks that the NULLs are of the same length.
        make_array(unsafe { data.build_unchecked() })
    }

    /// Appends what the codes at hand stand for.
    fn look_up(&mut self) -> Decoded<()> {
        let Some(dictionary) = &self.dictionary else { return Err(beyond()) };
        if self.codes.is_empty() {
            return Ok(());
        }
        if largest(&self.codes) as usize >= dictionary.len() {
            return Err(beyond());
        }
        // SAFETY: no code is larger than the largest, which lies in the dictionary.
        self.out.extend(self.codes.iter().map(|&code| unsafe { *dictionary.get_unchecked(code as usize) }));
        Ok(())
    }

    fn unpack(&mut self, runs: &Runs, start: usize, len: usize) {
        self.codes.resize(len, 0);
        runs.unpack_range(start, &mut self.codes);
    }
}

impl<W: Word> Decoder for Fixed<W> {
    fn set_dictionary(&mut self, bytes: Bytes, values: usize) -> Decoded<()> {
        self.dictionary = Some(self.plain(bytes.as_slice(), values)?);
        Ok(())
    }

    fn dictionary(&self) -> Option<ArrayRef> {
        self.dictionary.as_ref().map(|words| self.array(words.clone(), None))
    }

    fn open(&mut self, encoding: i32, bytes: Bytes, values: usize, spent: Body) -> Decoded<Body> {
        match encoding {
            coded if is_coded(coded) => open_codes(&bytes, values, spent),
            encoding::PLAIN if self.source == Source::Raw => {
                let len = values.checked_mul(W::WIDTH).ok_or_else(short)?;
                if len > bytes.len() { Err(short()) } else { Ok(Body::Raw(bytes)) }
            }
            encoding::PLAIN => self.body(&self.plain(bytes.as_slice(), values)?),
            encoding::DELTA_BINARY_PACKED => {
                let (decoded, _) = delta::decode(bytes.as_slice(), values)?;
                if decoded.len() < values {
                    return Err(short());
                }
                // Four-byte integers wrap in four bytes.
                let narrow = self.source == Source::I32;
                let words =
                    decoded.iter().map(|&value| W::of_i64(if narrow { i64::from(value as i32) } else { value }));
                self.body(&words.collect::<Vec<_>>())
            }
            encoding::BYTE_STREAM_SPLIT => {
                let Some(width) = self.stored_width() else { return Err(unknown(encoding)) };
                let len = values.checked_mul(width).ok_or_else(short)?;
                let split = bytes.as_slice().get(..len).ok_or_else(short)?;
                let mut joined = vec![0; len];
                for (byte, stream) in split.chunks_exact(values.max(1)).enumerate() {
                    for (place, &value) in stream.iter().enumerate() {
                        joined[place * width + byte] = value;
                    }
                }
                self.body(&self.plain(&joined, values)?)
            }
            other => Err(unknown(other)),
        }
    }

    fn range(&mut self, body: &Body, start: usize, len: usize) -> Decoded<()> {
        match body {
            Body::Codes(runs) => {
                self.unpack(runs, start, len);
                self.look_up()
            }
            Body::Raw(bytes) => {
                let bytes = bytes.as_slice().get(start * W::WIDTH..(start + len) * W::WIDTH).ok_or_else(short)?;
                W::extend(&mut self.out, bytes);
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
                self.look_up()
            }
            Body::Raw(bytes) => {
                let bytes = bytes.as_slice();
                self.out.extend(places.iter().map(|&place| W::read(&bytes[place as usize * W::WIDTH..])));
                Ok(())
            }
            _ => Err(wrong_body()),
        }
    }

    fn nothing(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(W::default(), count));
    }

    fn finish(&mut self, len: usize, nulls: Option<NullBuffer>) -> Decoded<ArrayRef> {
        let next = Vec::with_capacity(self.out.len());
        let words = std::mem::replace(&mut self.out, next);
        checked_len(words.len(), len, &self.label)?;
        if nulls.as_ref().is_some_and(|nulls| nulls.len() != len) {
            return Err(Damage::internal("NULLs of another length"));
        }
        Ok(self.array(words, nulls))
    }
}

/// A signed integer of any length, most significant byte first; longer ones keep their low 128 bits.
fn big_endian(bytes: &[u8]) -> i128 {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |value, &byte| value << 8 | i128::from(byte))
}
