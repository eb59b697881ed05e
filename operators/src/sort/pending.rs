//! Rows on their way from chunks into blocks.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;

use super::blocks::{BLOCK_ROWS, Block, compact};

/// So many small pieces are made one, or their headers would outweigh their rows.
const SMALL_PIECES: usize = 256;

/// A piece of fewer rows is small.
const SMALL_ROWS: usize = 1024;

/// Bytes of buffers for each byte of theirs that rows may keep alive until they are copied.
const PINNED: usize = 4;

/// Pieces of the next block, in stored form.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pieces: Vec<Vec<ArrayRef>>,
    rows: usize,
    /// How many of the last pieces are small.
    small: usize,
    small_rows: usize,
}

impl Pending {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes rows; returns the blocks that became full.
    pub fn push(&mut self, columns: Vec<ArrayRef>, rows: usize, types: &[DataType]) -> Result<Vec<Block>> {
        let (mut full, mut start) = (Vec::new(), 0);
        while start < rows {
            let taken = (rows - start).min(BLOCK_ROWS - self.rows);
            let piece = columns.iter().map(|column| unpinned(column.slice(start, taken)));
            self.pieces.push(piece.collect::<Result<_>>()?);
            self.rows += taken;
            start += taken;
            if self.rows == BLOCK_ROWS {
                full.extend(self.seal(types)?);
            } else if taken < SMALL_ROWS {
                (self.small, self.small_rows) = (self.small + 1, self.small_rows + taken);
                if self.small == SMALL_PIECES {
                    let small = self.pieces.split_off(self.pieces.len() - self.small);
                    self.pieces.push(Block::of(&small, types, self.small_rows)?.columns);
                    (self.small, self.small_rows) = (0, 0);
                }
            } else {
                (self.small, self.small_rows) = (0, 0);
            }
        }
        Ok(full)
    }

    /// The rows as a block, if there are any.
    pub fn seal(&mut self, types: &[DataType]) -> Result<Option<Block>> {
        let Self { pieces, rows, .. } = std::mem::take(self);
        if rows == 0 { Ok(None) } else { Block::of(&pieces, types, rows).map(Some) }
    }
}

/// The same values, without the buffers of texts if most of their bytes belong to other rows.
fn unpinned(array: ArrayRef) -> Result<ArrayRef> {
    let (used, held) = match array.data_type() {
        DataType::Utf8View => text_bytes(array.as_string_view()),
        DataType::BinaryView => text_bytes(array.as_binary_view()),
        _ => return Ok(array),
    };
    if held > used.saturating_mul(PINNED) { compact(array) } else { Ok(array) }
}

fn text_bytes<T: arrow::datatypes::ByteViewType + ?Sized>(
    array: &arrow::array::GenericByteViewArray<T>,
) -> (usize, usize) {
    if array.data_buffers().is_empty() {
        return (0, 0);
    }
    (array.total_buffer_bytes_used(), array.data_buffers().iter().map(|buffer| buffer.capacity()).sum())
}
