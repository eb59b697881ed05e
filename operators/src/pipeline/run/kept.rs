//! What a sink leaves for later pipelines.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan};

use crate::hash_join::JoinTable;

/// The contents of a slot.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// Not filled yet, or not needed any more.
    Nothing,
    /// Rows to read.
    Rows(Arc<dyn Scan>),
    /// The build side of a join.
    Table(Arc<JoinTable>),
}

impl Kept {
    pub fn rows(&self) -> Result<Arc<dyn Scan>> {
        match self {
            Kept::Rows(rows) => Ok(Arc::clone(rows)),
            _ => Err(Error::internal("a slot holds no rows")),
        }
    }

    pub fn table(&self) -> Result<Arc<JoinTable>> {
        match self {
            Kept::Table(table) => Ok(Arc::clone(table)),
            _ => Err(Error::internal("a slot holds no join table")),
        }
    }
}

/// Chunks that were collected, each a morsel.
#[derive(Debug)]
pub(super) struct Chunks(pub Vec<Chunk>);

impl Scan for Chunks {
    fn morsels(&self) -> usize {
        self.0.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        Ok(Box::new(Slices::new(self.0[morsel].clone())))
    }
}

/// Reads one large chunk in pieces of at most [`CHUNK_ROWS`] rows.
pub(super) struct Slices {
    whole: Chunk,
    next: usize,
}

impl Slices {
    pub fn new(whole: Chunk) -> Self {
        Self { whole, next: 0 }
    }
}

impl MorselReader for Slices {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let rows = (self.whole.rows - self.next).min(CHUNK_ROWS);
        if rows == 0 {
            return Ok(None);
        }
        let chunk = if rows == self.whole.rows { self.whole.clone() } else { self.whole.slice(self.next, rows) };
        self.next += rows;
        Ok(Some(chunk))
    }
}
