//! Booleans: bits, or runs of bits.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::{Body, Decoder, checked_len, short, unknown, wrong_body};
use crate::parquet_scan::buffers::{Bytes, PageBuffer, Pool};
use crate::parquet_scan::damage::{Damage, Decoded};
use crate::parquet_scan::page_header::encoding;
use crate::parquet_scan::runs::{Piece, Runs};
use crate::parquet_scan::validity::Bits;

pub(crate) struct Bools {
    pool: Arc<Pool>,
    out: BooleanBufferBuilder,
}

impl Bools {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), out: BooleanBufferBuilder::new(0) }
    }
}

impl Decoder for Bools {
    fn set_dictionary(&mut self, _bytes: Bytes, _values: usize) -> Decoded<()> {
        Err(Damage::new("booleans with a dictionary"))
    }

    fn dictionary(&self) -> Option<ArrayRef> {
        None
    }

    fn open(&mut self, encoding: i32, bytes: Bytes, values: usize, _spent: Body) -> Decoded<Body> {
        let bits = match encoding {
            encoding::PLAIN => bytes,
            encoding::RLE => {
                // The length of the runs stands in front of them.
                let runs = Runs::parse(bytes.slice(4..bytes.len())?, 1, values, None)?;
                let mut bits = Bits::new(values);
                runs.pieces(0, values, |piece| match piece {
                    Piece::Repeated { value, count } => bits.repeat(value != 0, count),
                    Piece::Packed { data, count, .. } => bits.packed(data, count),
                });
                let mut buffer = self.pool.take(bits.words.len() * 8)?;
                for (bytes, word) in buffer.as_chunks_mut::<8>().0.iter_mut().zip(&bits.words) {
                    *bytes = word.to_le_bytes();
                }
                Bytes::new(&PageBuffer::new(buffer, &self.pool), 0..bits.words.len() * 8)
            }
            other => return Err(unknown(other)),
        };
        if bits.len() < values.div_ceil(8) {
            return Err(short());
        }
        Ok(Body::Raw(bits))
    }

    fn range(&mut self, body: &Body, start: usize, len: usize) -> Decoded<()> {
        let Body::Raw(bits) = body else { return Err(wrong_body()) };
        self.out.append_packed_range(start..start + len, bits.as_slice());
        Ok(())
    }

    fn places(&mut self, body: &Body, places: &[u32]) -> Decoded<()> {
        let Body::Raw(bits) = body else { return Err(wrong_body()) };
        let bits = bits.as_slice();
        for &place in places {
            self.out.append(bits[place as usize / 8] >> (place % 8) & 1 == 1);
        }
        Ok(())
    }

    fn nothing(&mut self, count: usize) {
        self.out.append_n(count, false);
    }

    fn finish(&mut self, len: usize, nulls: Option<NullBuffer>) -> Decoded<ArrayRef> {
        let values = self.out.finish();
        checked_len(values.len(), len, &DataType::Boolean)?;
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }
}
