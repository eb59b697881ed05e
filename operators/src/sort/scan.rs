//! Sorted rows in memory as morsels: only the order is fixed, the columns are collected when they are read.

use std::fmt;
use std::sync::Arc;

use bireme_engine::budget::Reservation;
use bireme_engine::cancel::Cancel;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan};

use super::blocks::Column;
use super::order::Order;

/// Rows of a morsel: enough work to be worth a hand-over, little enough to share out.
const MORSEL_ROWS: usize = 8 * CHUNK_ROWS;

/// All rows, in order.
pub(super) struct SortedScan {
    rows: Arc<Rows>,
}

struct Rows {
    columns: Vec<Column>,
    order: Order,
    cancel: Cancel,
    /// What the columns and the order hold, until the last reader is gone.
    _memory: Vec<Reservation>,
}

impl SortedScan {
    pub fn new(columns: Vec<Column>, order: Order, cancel: Cancel, memory: Vec<Reservation>) -> Self {
        Self { rows: Arc::new(Rows { columns, order, cancel, _memory: memory }) }
    }
}

impl fmt::Debug for SortedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SortedScan({} rows)", self.rows.order.len())
    }
}

impl Scan for SortedScan {
    fn morsels(&self) -> usize {
        self.rows.order.len().div_ceil(MORSEL_ROWS)
    }

    fn ordered(&self) -> bool {
        true
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        if morsel >= self.morsels() {
            return Err(Error::internal(format!("morsel {morsel} of {} of a sort", self.morsels())));
        }
        let next = morsel * MORSEL_ROWS;
        let end = (next + MORSEL_ROWS).min(self.rows.order.len());
        Ok(Box::new(SortedRows { rows: Arc::clone(&self.rows), next, end }))
    }
}

struct SortedRows {
    rows: Arc<Rows>,
    next: usize,
    end: usize,
}

impl MorselReader for SortedRows {
    fn next(&mut self) -> Result<Option<Chunk>> {
        self.rows.cancel.check()?;
        let rows = (self.end - self.next).min(CHUNK_ROWS);
        if rows == 0 {
            return Ok(None);
        }
        let ids = self.rows.order.ids(self.next, rows);
        self.next += rows;
        let columns = self.rows.columns.iter().map(|column| column.collect(&ids)).collect::<Result<_>>()?;
        Ok(Some(Chunk::new(columns, rows)))
    }
}
