//! Reads sorted rows, and lets them go when their partition is complete.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Chunk, MorselReader, Scan};
use parking_lot::Mutex;

use super::bounds::{Bounds, mark_changes};
use super::{Part, Plan};

/// The rows of another scan, with more columns.
pub(super) struct Windowed {
    plan: Arc<Plan>,
    input: Mutex<Option<Arc<dyn Scan>>>,
}

struct Reader {
    plan: Arc<Plan>,
    input: Arc<dyn Scan>,
    next_morsel: usize,
    morsel: Option<Box<dyn MorselReader>>,
    /// The row before the next: the columns of partition and order.
    before: Vec<ArrayRef>,
    /// Rows of a partition that may go on.
    open: Vec<Piece>,
    /// Rows that are done.
    done: VecDeque<Chunk>,
    memory: Reservation,
}

/// Some rows, and what is known of each.
struct Piece {
    chunk: Chunk,
    /// The columns that are read, in their plainest forms.
    columns: Vec<Option<ArrayRef>>,
    /// Whether a partition begins.
    partition: Vec<bool>,
    /// Whether peers begin.
    peers: Vec<bool>,
    bytes: usize,
}

impl Windowed {
    pub(super) fn new(plan: Arc<Plan>, input: Arc<dyn Scan>) -> Self {
        Self { plan, input: Mutex::new(Some(input)) }
    }
}

impl fmt::Debug for Windowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Windowed({:?})", self.plan.spec)
    }
}

impl Scan for Windowed {
    fn morsels(&self) -> usize {
        1
    }

    fn ordered(&self) -> bool {
        true
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let input = self.input.lock().take().filter(|_| morsel == 0);
        let input = input.ok_or_else(|| Error::internal("a window's rows are read twice"))?;
        Ok(Box::new(Reader {
            plan: Arc::clone(&self.plan),
            input,
            next_morsel: 0,
            morsel: None,
            before: Vec::new(),
            open: Vec::new(),
            done: VecDeque::new(),
            memory: self.plan.resources.budget.reserve("window"),
        }))
    }
}

impl MorselReader for Reader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.done.pop_front() {
                return Ok(Some(chunk));
            }
            self.plan.resources.cancel.check()?;
            let Some(chunk) = self.read()? else {
                let last = std::mem::take(&mut self.open);
                if last.is_empty() {
                    return Ok(None);
                }
                self.finish(last)?;
                continue;
            };
            self.take(chunk)?;
        }
    }
}

impl Reader {
    fn read(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(morsel) = &mut self.morsel
                && let Some(chunk) = morsel.next()?
            {
                return Ok(Some(chunk));
            }
            self.morsel = None;
            if self.next_morsel == self.input.morsels() {
                return Ok(None);
            }
            self.morsel = Some(self.input.read(self.next_morsel)?);
            self.next_morsel += 1;
        }
    }

    /// Finishes the partitions that end in this chunk, and keeps the rest of it.
    fn take(&mut self, chunk: Chunk) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let mut piece = self.piece(chunk)?;
        self.memory
            .try_grow(piece.bytes)
            .map_err(|error| error.context("a window function keeps the rows of a partition, and cannot spill them"))?;
        if let Some(start) = piece.partition.iter().rposition(|&starts| starts)
            && (start > 0 || !self.open.is_empty())
        {
            let rest = piece.split_off(start);
            let mut complete = std::mem::take(&mut self.open);
            complete.extend(Some(piece).filter(|piece| piece.chunk.rows > 0));
            self.finish(complete)?;
            piece = rest;
        }
        self.open.push(piece);
        Ok(())
    }

    /// Finds where partitions and peers begin.
    fn piece(&mut self, chunk: Chunk) -> Result<Piece> {
        let plan = &self.plan;
        let mut columns = vec![None; chunk.columns.len()];
        for column in plan.columns_read() {
            if columns[column].is_none() {
                columns[column] = Some(plan.plain(column, &chunk.columns[column])?);
            }
        }
        let first = self.before.is_empty() && self.open.is_empty();
        let mut partition = vec![false; chunk.rows];
        partition[0] = first;
        let keys = plan.key_columns().filter_map(|column| columns[column].clone()).collect::<Vec<_>>();
        let (of_partition, of_order) = keys.split_at(plan.spec.partition.len());
        for (place, column) in of_partition.iter().enumerate() {
            mark_changes(column, self.before.get(place), &mut partition)?;
        }
        let mut peers = partition.clone();
        for (place, column) in (of_partition.len()..).zip(of_order) {
            mark_changes(column, self.before.get(place), &mut peers)?;
        }
        self.before = keys.iter().map(|key| key.slice(chunk.rows - 1, 1)).collect();
        let bytes = row_bytes(&chunk)?;
        Ok(Piece { chunk, columns, partition, peers, bytes })
    }

    /// Computes the calls for whole partitions.
    fn finish(&mut self, pieces: Vec<Piece>) -> Result<()> {
        let bounds = Bounds {
            partitions: starts(pieces.iter().map(|piece| &piece.partition)),
            peers: starts(pieces.iter().map(|piece| &piece.peers)),
        };
        let columns = (0..self.plan.input.len()).map(|column| whole(&pieces, column)).collect::<Result<Vec<_>>>()?;
        let part = Part { plan: &self.plan, columns: &columns, bounds: &bounds };
        let calls = self.plan.spec.calls.iter();
        let results = calls.map(|call| part.compute(call)).collect::<Result<Vec<_>>>()?;
        let mut start = 0;
        for piece in pieces {
            let Chunk { mut columns, rows } = piece.chunk;
            columns.extend(results.iter().map(|result| result.slice(start, rows)));
            self.done.push_back(Chunk::new(columns, rows));
            self.memory.shrink(piece.bytes);
            start += rows;
        }
        Ok(())
    }
}

impl Piece {
    /// Cuts off the rows from this one.
    fn split_off(&mut self, start: usize) -> Self {
        let rows = self.chunk.rows;
        let cut = |columns: &[Option<ArrayRef>], start: usize, len: usize| {
            columns.iter().map(|column| column.as_ref().map(|column| column.slice(start, len))).collect()
        };
        let bytes = self.bytes / rows * (rows - start);
        let rest = Self {
            chunk: self.chunk.slice(start, rows - start),
            columns: cut(&self.columns, start, rows - start),
            partition: self.partition.split_off(start),
            peers: self.peers.split_off(start),
            bytes,
        };
        self.chunk = self.chunk.slice(0, start);
        self.columns = cut(&self.columns, 0, start);
        self.bytes -= bytes;
        rest
    }
}

/// The places of what begins, then the number of rows.
fn starts<'a>(pieces: impl Iterator<Item = &'a Vec<bool>>) -> Vec<usize> {
    let mut row = 0;
    let mut starts = Vec::new();
    for piece in pieces {
        starts.extend(piece.iter().enumerate().filter(|(_, begins)| **begins).map(|(place, _)| row + place));
        row += piece.len();
    }
    starts.push(row);
    starts
}

/// A column of all pieces.
fn whole(pieces: &[Piece], column: usize) -> Result<Option<ArrayRef>> {
    let parts = pieces.iter().filter_map(|piece| piece.columns[column].as_ref()).collect::<Vec<_>>();
    match parts[..] {
        [] => Ok(None),
        [one] => Ok(Some(Arc::clone(one))),
        _ => Ok(Some(concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?)),
    }
}

/// Bytes that the rows of a chunk take by themselves, without what they share with others.
fn row_bytes(chunk: &Chunk) -> Result<usize> {
    let of_column = |column: &ArrayRef| {
        Ok(match column.data_type() {
            DataType::Utf8View => {
                let texts = column.as_string_view().lengths().map(|length| length as usize).sum::<usize>();
                texts + chunk.rows * size_of::<u128>()
            }
            DataType::BinaryView => {
                let texts = column.as_binary_view().lengths().map(|length| length as usize).sum::<usize>();
                texts + chunk.rows * size_of::<u128>()
            }
            // A code for each row; the values are shared by all chunks.
            DataType::Dictionary(..) => chunk.rows * size_of::<u32>(),
            _ => column.to_data().get_slice_memory_size()?,
        })
    };
    chunk.columns.iter().map(of_column).sum()
}
