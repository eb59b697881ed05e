//! Sorted rows in morsels of whole partitions, so that several workers can share them.
//!
//! ```text
//!   sorted morsels      a a a b b | b b b b | b c d d | d e
//!   morsels             a a a b b   b b b b   b
//!                                           |   c d d   d       (the second has nothing, the last one e)
//! ```
//!
//! A morsel leaves out the rows that are like its first one, up to where they change: they belong to the morsel before it,
//! whether or not their partition began there, so that nobody needs to know how the morsel before it ends. It takes those of
//! the next morsel in return, and goes on to the one after it where that morsel has no others. Rows that are left out were
//! read in vain: at most a chunk or two a morsel, if partitions are small.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::{Chunk, MorselReader, Scan, carried_type, to_logical};

use super::bounds::mark_changes;

/// The rows of a sorted scan, those of a partition in one morsel.
#[derive(Debug)]
pub struct PartitionScan {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    sorted: Arc<dyn Scan>,
    /// Where a partition's columns stand, and the plainest forms of their types.
    columns: Vec<(usize, DataType)>,
}

struct Reader {
    parts: Arc<Parts>,
    phase: Phase,
    /// The morsel that is read, and its rest.
    morsel: usize,
    reader: Box<dyn MorselReader>,
    /// The partition's columns in the row before the next, if it is of this morsel.
    before: Vec<ArrayRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Rows like the first one are left out.
    Leaving,
    /// All rows of the morsel.
    Own,
    /// Rows of a later morsel that are like its first one.
    Taking,
    Done,
}

impl PartitionScan {
    /// The rows of `sorted`, which can be read more than once; rows that are equal in these columns, of these logical types,
    /// are together in it.
    pub fn new(sorted: Arc<dyn Scan>, columns: impl IntoIterator<Item = (usize, DataType)>) -> Self {
        let columns = columns.into_iter().map(|(column, data_type)| (column, carried_type(&data_type))).collect();
        Self { parts: Arc::new(Parts { sorted, columns }) }
    }
}

impl Scan for PartitionScan {
    fn morsels(&self) -> usize {
        self.parts.sorted.morsels()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let reader = self.parts.sorted.read(morsel)?;
        let phase = if morsel == 0 { Phase::Own } else { Phase::Leaving };
        Ok(Box::new(Reader { parts: Arc::clone(&self.parts), phase, morsel, reader, before: Vec::new() }))
    }
}

impl MorselReader for Reader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        while self.phase != Phase::Done {
            let Some(chunk) = self.reader.next()? else {
                self.end_morsel()?;
                continue;
            };
            match self.phase {
                Phase::Leaving => {
                    if let Some(row) = self.first_change(&chunk)? {
                        self.phase = Phase::Own;
                        return Ok(Some(chunk.slice(row, chunk.rows - row)));
                    }
                }
                Phase::Taking => match self.first_change(&chunk)? {
                    None => return Ok(Some(chunk)),
                    Some(row) => {
                        self.phase = Phase::Done;
                        return Ok((row > 0).then(|| chunk.slice(0, row)));
                    }
                },
                Phase::Own | Phase::Done => return Ok(Some(chunk)),
            }
        }
        Ok(None)
    }
}

impl Reader {
    /// Goes on to the next morsel, if any of it is wanted.
    fn end_morsel(&mut self) -> Result<()> {
        self.before.clear();
        self.morsel += 1;
        if self.phase == Phase::Leaving || self.morsel == self.parts.sorted.morsels() {
            self.phase = Phase::Done;
        } else {
            self.phase = Phase::Taking;
            self.reader = self.parts.sorted.read(self.morsel)?;
        }
        Ok(())
    }

    /// The first row that is not of the partition of the row before it; never the first one of a morsel.
    fn first_change(&mut self, chunk: &Chunk) -> Result<Option<usize>> {
        let mut changed = vec![false; chunk.rows];
        let columns = &self.parts.columns;
        let columns = columns.iter().map(|(column, plain)| to_logical(&chunk.columns[*column], plain));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        for (place, column) in columns.iter().enumerate() {
            mark_changes(column, self.before.get(place), &mut changed)?;
        }
        self.before = columns.iter().map(|column| column.slice(chunk.rows - 1, 1)).collect();
        Ok(changed.iter().position(|&changed| changed))
    }
}
