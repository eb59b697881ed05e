//! Sorts rows, or finds the first few.
//!
//! Workers hand in chunks in any order; the last step sorts all of them at once:
//!
//! ```text
//!  worker 1: chunks ──copy──► blocks ┐   ranges of the keys          keys + row ids             morsels, collected
//!  worker 2: chunks ──copy──► blocks ┴─► of all rows     ──encode──► as integers ──radix sort──► when they are read
//! ```
//!
//! - A worker copies chunks into blocks and does nothing else: until all rows are there, the ranges of the keys are not
//!   known, and these make keys so small (`layout`) that sorting is about moving plain integers (`integers`), on all
//!   workers together and without a merge.
//! - Payload columns are read once, row by row in sorted order, when the result is read (`scan`): a sort never holds
//!   its rows twice.
//! - With a small `fetch` (`top`), a worker keeps the best rows only, and drops what is worse than the worst of them by
//!   one vectorised look at the first key.
//! - Without memory for more blocks, a worker sorts what it has and writes it to disk as a run; then the result is a
//!   merge of runs (`external`).
//!
//! Ties fall in the order of row ids: for one worker and the same chunks the result is always the same.
//!
//! Cost, for ten million rows on one worker: copying 2 to 5 ns a row and column, the sort 16 ns a row by one integer and
//! 55 by a text and an integer, reading the result a cache miss (15 ns) a row and column; a row that a top-k drops costs
//! 1 ns by an integer and 8 by a text. Measured by
//! `cargo bench --workspace --features mpi --bench operators -- sort`.

mod blocks;
mod device;
mod external;
mod integers;
mod layout;
mod order;
mod ordered;
mod pending;
mod scan;
#[cfg(test)]
mod tests;
mod ties;
mod top;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::{ArrayRef, BinaryViewArray};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Chunk, Scan, carried_type};
use rayon::prelude::*;

use self::blocks::{Block, Column, to_stored};
use self::external::Runs;
use self::layout::Key;
use self::order::{ORDER_BYTES, Order, Wanted};
use self::ordered::is_word;
use self::pending::Pending;
use self::scan::SortedScan;
use self::top::Top;
use crate::accelerator::Accelerator;
use crate::pipeline::Resources;
use crate::pipeline::ir::{SortKey, SortSpec};

/// Up to so many rows are kept as they come rather than sorted out in the end.
const TOP_ROWS: usize = 1 << 16;

/// A part of a worker's share so small that it is taken even if nobody leaves it.
const SMALL_SHARE: usize = 8;

/// A sort that several workers feed.
#[derive(Debug)]
pub struct Sorter {
    shared: Arc<Shared>,
}

/// What one worker has handed in.
#[derive(Debug)]
pub struct LocalSort {
    shared: Arc<Shared>,
    blocks: Vec<Block>,
    pending: Pending,
    memory: Reservation,
    top: Option<Top>,
    /// What did not fit.
    runs: Option<Runs>,
}

/// What all workers of a sort know.
#[derive(Debug)]
struct Shared {
    /// Stored types of the columns: those of the chunks, then one of bytes for each key of `encoded`.
    types: Vec<DataType>,
    /// How many columns chunks have.
    visible: usize,
    keys: Vec<Key>,
    /// Keys of types that are neither words nor texts: their columns, and how these become bytes.
    encoded: Vec<(usize, RowConverter)>,
    fetch: Option<usize>,
    /// Puts rows in order, if not the CPU.
    accelerator: Option<Accelerator>,
    /// The best of the thresholds of all workers, see [`top`].
    threshold: AtomicU64,
    resources: Resources,
}

impl Sorter {
    /// A sort of chunks with columns of these logical types.
    ///
    /// # Errors
    /// A key is no column, or is of a type that has no order.
    pub fn new(spec: SortSpec, input: Vec<DataType>, resources: Resources) -> Result<Self> {
        Self::on(spec, input, resources, None)
    }

    /// The same, but a device puts rows in order, if there is one.
    ///
    /// # Errors
    /// As [`Sorter::new`].
    pub fn on(
        spec: SortSpec,
        input: Vec<DataType>,
        resources: Resources,
        accelerator: Option<Accelerator>,
    ) -> Result<Self> {
        let mut types = input.iter().map(carried_type).collect::<Vec<_>>();
        let (visible, mut keys, mut encoded) = (types.len(), Vec::new(), Vec::new());
        for &SortKey { column, descending, nulls_first } in &spec.keys {
            let stored = types[..visible]
                .get(column)
                .ok_or_else(|| Error::internal(format!("sorting {visible} columns by column {column}")))?
                .clone();
            let word = is_word(&stored);
            if word || matches!(stored, DataType::Utf8View | DataType::BinaryView) {
                keys.push(Key { column, descending, nulls_first, word });
                continue;
            }
            let field = SortField::new_with_options(stored.clone(), SortOptions { descending, nulls_first });
            if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
                return Err(Error::unsupported(format!("sorting by a column of type {stored}")));
            }
            encoded.push((column, RowConverter::new(vec![field])?));
            // Way and NULLs are in the bytes.
            keys.push(Key { column: types.len(), descending: false, nulls_first: true, word: false });
            types.push(DataType::BinaryView);
        }
        let (fetch, threshold) = (spec.fetch, AtomicU64::new(u64::MAX));
        let shared = Shared { types, visible, keys, encoded, fetch, accelerator, threshold, resources };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What a worker hands its chunks to.
    ///
    /// # Errors
    /// None so far.
    pub fn local(&self) -> Result<LocalSort> {
        let shared = Arc::clone(&self.shared);
        let top = shared.fetch.filter(|&rows| rows <= TOP_ROWS).map(Top::new);
        let memory = shared.resources.budget.reserve("sort");
        Ok(LocalSort { shared, blocks: Vec::new(), pending: Pending::default(), memory, top, runs: None })
    }

    /// All rows that the workers handed in, or the first of them, in order. Sorts on all threads of the caller's pool.
    ///
    /// # Errors
    /// There is not enough memory or disk, or the query was cancelled.
    pub fn finish(&self, locals: Vec<LocalSort>) -> Result<Arc<dyn Scan>> {
        let shared = &self.shared;
        shared.resources.cancel.check()?;
        let spill = locals.iter().any(|local| local.runs.is_some());
        let end = |local: LocalSort| if spill { local.spilled() } else { local.sealed() };
        let mut locals = locals.into_par_iter().map(end).collect::<Result<Vec<_>>>()?;
        if spill {
            return external::merged(locals.into_iter().filter_map(|local| local.runs).collect(), shared);
        }
        let blocks = locals.iter_mut().flat_map(|local| std::mem::take(&mut local.blocks)).collect::<Vec<_>>();
        let memory = locals.into_iter().map(|local| local.memory).collect::<Vec<_>>();
        let order = Order::of(&blocks, &shared.keys, shared.wanted(), shared.accelerator.as_ref())?;
        give_back(&memory, ORDER_BYTES * blocks.iter().map(|block| block.rows).sum::<usize>() - order.bytes());
        shared.resources.cancel.check()?;
        let columns = shared.types.iter().take(shared.visible).enumerate();
        let columns = columns.map(|(place, stored)| Column::new(&blocks, place, stored)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(SortedScan::new(columns, order, shared.resources.cancel.clone(), memory)))
    }
}

/// Gives back what sorting needed beyond its result.
fn give_back(memory: &[Reservation], mut bytes: usize) {
    for reservation in memory {
        let given = bytes.min(reservation.bytes());
        reservation.shrink(given);
        bytes -= given;
    }
}

impl LocalSort {
    /// Takes the rows of a chunk.
    ///
    /// # Errors
    /// There is not enough memory or disk, the query was cancelled, or the chunk is not of the sort's types.
    pub fn consume(&mut self, chunk: &Chunk) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.resources.cancel.check()?;
        if chunk.rows == 0 || shared.fetch == Some(0) {
            return Ok(());
        }
        let dropped;
        let mut chunk = chunk;
        if let Some(top) = &self.top {
            match top.candidates(chunk, &shared)? {
                top::Candidates::All => {}
                top::Candidates::None => return Ok(()),
                top::Candidates::Some(better) => {
                    dropped = better;
                    chunk = &dropped;
                }
            }
        }
        let columns = shared.stored(&chunk.columns)?;
        self.take(columns, chunk.rows)
    }

    /// Takes rows in stored form.
    fn take(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let bytes = columns.iter().map(blocks::stored_bytes).sum::<usize>() + ORDER_BYTES * rows;
        if !self.reserve(bytes)? {
            if rows > 1 {
                let part = |start, rows| {
                    columns.iter().map(|column| blocks::compact(column.slice(start, rows))).collect::<Result<_>>()
                };
                self.take(part(0, rows / 2)?, rows / 2)?;
                return self.take(part(rows / 2, rows - rows / 2)?, rows - rows / 2);
            }
            self.memory.try_grow(bytes).map_err(|error| error.context("sorting a row"))?;
        }
        let shared = Arc::clone(&self.shared);
        self.blocks.extend(self.pending.push(columns, rows, &shared.types)?);
        if self.top.as_ref().is_some_and(|top| self.rows() >= top.limit()) {
            self.keep_best()?;
        }
        Ok(())
    }

    /// Takes memory for rows, and makes room for it; says whether that succeeded.
    fn reserve(&mut self, bytes: usize) -> Result<bool> {
        if self.try_grow(bytes) {
            return Ok(true);
        }
        if self.top.as_ref().is_some_and(|top| self.rows() > top.rows()) {
            self.keep_best()?;
            if self.try_grow(bytes) {
                return Ok(true);
            }
        }
        if self.rows() > 0 {
            self.spill()?;
        }
        let small = self.share().is_some_and(|share| bytes <= share / SMALL_SHARE);
        if small && !self.try_grow(bytes) {
            // Others hold all the rest: too little to mind, and nothing would ever move without it.
            self.memory.grow(bytes);
        }
        Ok(small || self.try_grow(bytes))
    }

    /// Takes memory, if the worker stays within its share.
    fn try_grow(&self, bytes: usize) -> bool {
        let in_share = self.share().is_none_or(|share| self.memory.bytes().saturating_add(bytes) <= share);
        in_share && self.memory.try_take_leaving(bytes, 0)
    }

    /// The share of a worker in a limited budget: nobody shall find that another one has taken all.
    fn share(&self) -> Option<usize> {
        let resources = &self.shared.resources;
        resources.budget.limit().map(|limit| limit / resources.workers.max(1))
    }

    fn rows(&self) -> usize {
        self.pending.rows() + self.blocks.iter().map(|block| block.rows).sum::<usize>()
    }

    /// Writes all rows as a run.
    fn spill(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.blocks.extend(self.pending.seal(&shared.types)?);
        let blocks = std::mem::take(&mut self.blocks);
        let order = Order::of(&blocks, &shared.keys, shared.wanted(), shared.accelerator.as_ref())?;
        let runs = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert(Runs::create(&shared.types, &shared.resources)?),
        };
        runs.write(&blocks, &order, &shared.resources)?;
        drop((blocks, order));
        self.memory.resize(0)
    }

    /// Drops all rows but the best.
    fn keep_best(&mut self) -> Result<()> {
        let Some(top) = &mut self.top else { return Ok(()) };
        self.blocks.extend(self.pending.seal(&self.shared.types)?);
        if self.blocks.iter().map(|block| block.rows).sum::<usize>() <= top.rows() {
            return Ok(());
        }
        let best = top.best(&self.blocks, &self.shared)?;
        self.memory.resize(best.bytes() + ORDER_BYTES * best.rows)?;
        self.blocks = vec![best];
        Ok(())
    }

    /// With all rows in blocks.
    fn sealed(mut self) -> Result<Self> {
        self.keep_best()?;
        self.blocks.extend(self.pending.seal(&self.shared.types)?);
        Ok(self)
    }

    /// With all rows in runs.
    fn spilled(mut self) -> Result<Self> {
        if self.rows() > 0 {
            self.spill()?;
        }
        Ok(self)
    }
}

impl Shared {
    /// How much of any sorted part can be wanted.
    fn wanted(&self) -> Wanted {
        self.fetch.map_or(Wanted::All, Wanted::First)
    }

    /// Columns of a chunk in stored form, and the keys that have to be encoded.
    fn stored(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let mut stored = to_stored(columns, &self.types[..self.visible])?;
        for (column, converter) in &self.encoded {
            let rows = converter.convert_columns(&[Arc::clone(&stored[*column])])?;
            stored.push(Arc::new(rows.iter().map(|row| Some(row.data().to_vec())).collect::<BinaryViewArray>()));
        }
        Ok(stored)
    }
}
