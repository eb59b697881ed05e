//! Takes sorted rows, and lets them go when all is known that they depend on.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use bireme_engine::budget::Reservation;
use bireme_engine::error::Result;
use bireme_engine::morsel::Chunk;

use super::bounds::{Bounds, State, mark_changes};
use super::{Part, Plan, Unit};

/// Window functions over a stream of sorted rows.
///
/// Law: [`WindowCursor::pop`] gives the rows in the order in which they were pushed; after [`WindowCursor::finish`] all of
/// them, and the next row begins a partition.
pub struct WindowCursor {
    plan: Arc<Plan>,
    /// Whether there was a row since the start.
    started: bool,
    /// The row before the next: the columns of partition and order.
    before: Vec<ArrayRef>,
    /// Rows of a unit that may go on.
    open: Vec<Piece>,
    /// What each call knows of the rows of the open partition that are done.
    states: Vec<State>,
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

impl WindowCursor {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let memory = plan.resources.budget.reserve("window");
        let states = plan.spec.calls.iter().map(|_| State::default()).collect();
        Self { plan, started: false, before: Vec::new(), open: Vec::new(), states, done: VecDeque::new(), memory }
    }

    /// Takes rows that come behind those before.
    ///
    /// # Errors
    /// The rows that are kept do not fit the budget, or a sum does not fit its type.
    pub fn push(&mut self, chunk: Chunk) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let mut piece = self.piece(chunk)?;
        self.memory
            .try_grow(piece.bytes)
            .map_err(|error| error.context("a window function keeps the rows of a partition, and cannot spill them"))?;
        let starts = |begins: &[bool]| begins.iter().rposition(|&begins| begins).unwrap_or(0);
        let done = match self.plan.unit {
            Unit::Row => piece.chunk.rows,
            Unit::Peers => starts(&piece.peers),
            Unit::Partition => starts(&piece.partition),
        };
        // What was open before is complete where a unit begins, be it in the first row.
        let ends = match self.plan.unit {
            Unit::Row => true,
            Unit::Peers => done > 0 || piece.peers[0],
            Unit::Partition => done > 0 || piece.partition[0],
        };
        if ends {
            let rest = piece.split_off(done);
            let complete = std::mem::take(&mut self.open).into_iter().chain([piece]);
            self.compute(complete.filter(|piece| piece.chunk.rows > 0).collect())?;
            piece = rest;
        }
        self.open.extend(Some(piece).filter(|piece| piece.chunk.rows > 0));
        Ok(())
    }

    /// Rows that are done, with their new columns.
    pub fn pop(&mut self) -> Option<Chunk> {
        self.done.pop_front()
    }

    /// The last partition is complete. Says whether there was one.
    ///
    /// # Errors
    /// A sum does not fit its type.
    pub fn finish(&mut self) -> Result<bool> {
        let last = std::mem::take(&mut self.open);
        self.compute(last)?;
        self.before.clear();
        Ok(std::mem::take(&mut self.started))
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
        let mut partition = vec![false; chunk.rows];
        partition[0] = !std::mem::replace(&mut self.started, true);
        let keys = plan.spec.keys().filter_map(|column| columns[column].clone()).collect::<Vec<_>>();
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

    /// Computes the calls for whole units.
    fn compute(&mut self, pieces: Vec<Piece>) -> Result<()> {
        let Some(first) = pieces.first() else { return Ok(()) };
        let bounds = Bounds {
            continues: !first.partition[0],
            partitions: starts(pieces.iter().map(|piece| &piece.partition)),
            peers: starts(pieces.iter().map(|piece| &piece.peers)),
        };
        let columns = (0..self.plan.input.len()).map(|column| whole(&pieces, column)).collect::<Result<Vec<_>>>()?;
        let part = Part { plan: &self.plan, columns: &columns, bounds: &bounds };
        let calls = self.plan.spec.calls.iter().zip(&mut self.states);
        let results = calls.map(|(call, state)| part.compute(call, state)).collect::<Result<Vec<_>>>()?;
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

/// The places of what begins, the first row among them, then the number of rows.
fn starts<'a>(pieces: impl Iterator<Item = &'a Vec<bool>>) -> Vec<usize> {
    let mut row = 0;
    let mut starts = vec![0];
    for piece in pieces {
        let begins = piece.iter().enumerate().filter(|(_, begins)| **begins).map(|(place, _)| row + place);
        starts.extend(begins.filter(|&place| place > 0));
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
