//! Joins rows by equal keys: one side is built into a table, the other probes it.
//!
//! ```text
//!   workers ─consume─► LocalBuild ┐                      chunk ─probe─► ProbeCursor ─next─► output chunks
//!   workers ─consume─► LocalBuild ┴─finish─► JoinTable ◄─┤
//!                                                        after the last probe: rest ─► late rows, as a scan
//! ```
//!
//! The rows of the build side lie in one column each, in the order they came; an index maps a word made of the keys to
//! row numbers (`index` names its forms, `keys` says what the word is). A probe looks the words of a chunk up, which
//! gives pairs of row numbers; columns are gathered only for pairs that passed.
//!
//! Cost for each row of the probe side: a load, if the keys are integers of a small range, else two; then a load for
//! each column of the build side. For example an order joined with its lineitems, the orders built: order keys use a
//! quarter of their range, so the index is an array of row numbers, `slots[key - min]`, and a lineitem finds its order
//! without a hash or a comparison.
//!
//! ## Memory
//!
//! Rows and index are taken from the budget. If it refuses, workers write what they have to partitions on disk, by the
//! hash of the keys, and go on; in the end as many partitions as fit are read back (`spill`). Rows that probe one of the
//! others are written too, and joined in the end, partition by partition (`rest`). A row of the build side that is larger
//! than the whole budget is an error.

mod blocks;
mod cursor;
mod device;
mod directory;
mod gather;
mod index;
mod key_filter;
mod keys;
mod largest_row;
mod memory;
mod plan;
mod radix;
mod rest;
mod spill;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bireme_engine::budget::Reservation;
use bireme_engine::morsel::Chunk;
use bireme_engine::{Error, Result};
use parking_lot::Mutex;

pub use cursor::ProbeCursor;
pub(crate) use gather::gather as gather_rows;
pub use key_filter::{KeyFilter, KeyUnion};
pub use table::JoinTable;

use crate::pipeline::Resources;
use crate::pipeline::ir::JoinSpec;
use gather::gather;
use largest_row::largest_row;
use plan::{Plan, Tuning};
use spill::{OnDisk, Partitions, partition_of};
use store::{Store, concat_parallel};
use table::{Built, Seen, Spilled};

/// Bytes of index and scratch for each row of a partition that is read back.
const INDEX_ROW_BYTES: usize = 64;

/// Rows that are cut into partitions at a time; few in tests, so that there are several times.
const SPILL_ROWS: usize = if cfg!(test) { 100 } else { 1 << 17 };

/// What a pair of rows with equal keys must also fulfil.
pub trait Residual: Send + Sync {
    /// Tests pairs: the columns of the probe side, then those of the build side. Only those that the spec's residual reads are
    /// there; others are arrays of NULLs. Pairs pass where it is true.
    ///
    /// # Errors
    /// It fails on a pair.
    fn test(&self, chunk: &Chunk) -> Result<BooleanArray>;
}

/// Builds a join's table; shared by all workers that feed it.
#[derive(Debug)]
pub struct JoinBuilder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Arc<Plan>,
    resources: Resources,
    /// Takes memory without asking: for the least that must fit.
    forced: bool,
    /// Where rows go that do not fit.
    partitions: Mutex<Option<Arc<Partitions>>>,
}

/// One worker's part of the build side.
#[derive(Debug)]
pub struct LocalBuild {
    shared: Arc<Shared>,
    store: Store,
    seen: Seen,
    reservation: Reservation,
}

impl JoinBuilder {
    /// A builder of an empty table; `build` and `probe` are the logical types of the two sides' columns.
    ///
    /// # Errors
    /// The spec does not fit the types: a bug of the planner.
    pub fn new(spec: JoinSpec, build: Vec<DataType>, probe: Vec<DataType>, resources: Resources) -> Result<Self> {
        Self::tuned(spec, build, probe, resources, Tuning::default())
    }

    pub(crate) fn tuned(
        spec: JoinSpec,
        build: Vec<DataType>,
        probe: Vec<DataType>,
        resources: Resources,
        tuning: Tuning,
    ) -> Result<Self> {
        Ok(Self::of(Arc::new(Plan::new(spec, build, probe, tuning)?), resources, false))
    }

    fn of(plan: Arc<Plan>, resources: Resources, forced: bool) -> Self {
        Self { shared: Arc::new(Shared { plan, resources, forced, partitions: Mutex::new(None) }) }
    }

    /// A part for one worker.
    ///
    /// # Errors
    /// None yet.
    pub fn local(&self) -> Result<LocalBuild> {
        Ok(LocalBuild {
            shared: Arc::clone(&self.shared),
            store: self.shared.store(),
            seen: Seen::default(),
            reservation: self.shared.reserve(),
        })
    }

    /// Makes the table of all parts, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// Spilling fails, or a type cannot be a key.
    pub fn finish(&self, mut locals: Vec<LocalBuild>) -> Result<Arc<JoinTable>> {
        let shared = &self.shared;
        shared.resources.cancel.check()?;
        let seen = locals.iter().fold(Seen::default(), |seen, local| Seen {
            rows: seen.rows + local.seen.rows,
            null_key: seen.null_key | local.seen.null_key,
        });
        let reservation = shared.reserve();
        if shared.partitions.lock().is_none() {
            let (columns, rows) = shared.merge(&mut locals, &reservation)?;
            if let Some(built) = Built::new(&shared.plan, &columns, rows, &reservation, shared.forced)? {
                reservation.shrink(reservation.bytes().saturating_sub(built.bytes()));
                return Ok(shared.table(built, None, seen, reservation));
            }
            shared.spill(columns, rows)?;
            reservation.shrink(usize::MAX);
        }
        for local in &mut locals {
            local.spill()?;
        }
        drop(locals);
        self.finish_spilled(seen, reservation)
    }

    /// Reads back as many partitions as half of the memory holds: the rest of it is for those that come later.
    fn finish_spilled(&self, seen: Seen, reservation: Reservation) -> Result<Arc<JoinTable>> {
        let shared = &self.shared;
        let partitions = shared.partitions.lock().take().and_then(Arc::into_inner);
        let Some(partitions) = partitions else { return Err(Error::internal("a join's partitions are still in use")) };
        let build = partitions.finish()?;
        shared.resources.metrics.add("spilled_bytes", build.bytes_written());
        let headroom = shared.resources.budget.limit().unwrap_or(0) / 2;
        let fits =
            |part: &spill::Written| reservation.try_take_leaving(part.bytes + part.rows * INDEX_ROW_BYTES, headroom);
        let resident = build.parts.iter().map(fits).collect::<Vec<_>>();
        let (columns, rows) = shared.read_back(&build, &resident)?;
        let held = reservation.bytes();
        // The index was counted with the rows.
        let scratch = shared.reserve();
        let Some(built) = Built::new(&shared.plan, &columns, rows, &scratch, true)? else {
            return Err(Error::internal("a join that takes memory by force was refused"));
        };
        drop((scratch, columns));
        reservation.shrink(held.saturating_sub(built.bytes()));
        let probe = table::partitions(&shared.plan, &shared.resources, false)?;
        Ok(shared.table(built, Some(Spilled::new(build, resident, probe)), seen, reservation))
    }
}

impl Shared {
    fn store(&self) -> Store {
        let side = &self.plan.build;
        Store::new(&side.kept.iter().map(|&place| side.types[place].clone()).collect::<Vec<_>>())
    }

    fn reserve(&self) -> Reservation {
        self.resources.budget.reserve("hash join")
    }

    fn table(&self, built: Built, spilled: Option<Spilled>, seen: Seen, reservation: Reservation) -> Arc<JoinTable> {
        let (plan, resources) = (Arc::clone(&self.plan), self.resources.clone());
        Arc::new(JoinTable::new(plan, resources, built, spilled, seen, reservation))
    }

    /// The rows of all workers, and their memory.
    fn merge(&self, locals: &mut [LocalBuild], reservation: &Reservation) -> Result<(Vec<ArrayRef>, usize)> {
        let (mut parts, mut rows) = (vec![Vec::new(); self.plan.build.kept.len()], 0);
        for local in locals.iter_mut().filter(|local| local.store.rows() > 0) {
            let (columns, theirs) = local.store.take()?;
            parts.iter_mut().zip(columns).for_each(|(parts, column)| parts.push(column));
            rows += theirs;
            let bytes = local.reservation.bytes();
            local.reservation.shrink(bytes);
            reservation.grow(bytes);
        }
        if rows == 0 {
            return self.store().take();
        }
        Ok((parts.into_iter().map(concat_parallel).collect::<Result<_>>()?, rows))
    }

    /// Writes rows to their partitions.
    fn spill(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let partitions = {
            let mut partitions = self.partitions.lock();
            match partitions.as_ref() {
                Some(partitions) => Arc::clone(partitions),
                None => {
                    let new = Arc::new(table::partitions(&self.plan, &self.resources, true)?);
                    *partitions = Some(Arc::clone(&new));
                    new
                }
            }
        };
        // In slices: hashes and row numbers of all rows would be memory that nobody counts, just when there is none left.
        for start in (0..rows).step_by(SPILL_ROWS) {
            let some = SPILL_ROWS.min(rows - start);
            let columns = columns.iter().map(|column| column.slice(start, some)).collect::<Vec<_>>();
            partitions.add(&columns, &partition_of(&self.plan, &self.plan.build, &columns, some, true)?)?;
        }
        Ok(())
    }

    fn read_back(&self, build: &OnDisk, resident: &[bool]) -> Result<(Vec<ArrayRef>, usize)> {
        let mut store = self.store();
        for part in (0..resident.len()).filter(|&part| resident[part]) {
            for batch in 0..build.batches(part) {
                let rows = build.read(part, batch)?;
                store.append(rows.columns(), rows.num_rows())?;
            }
        }
        store.take()
    }
}

impl LocalBuild {
    /// Takes the rows of a chunk.
    ///
    /// # Errors
    /// A column is not what the spec says, spilling fails, or the query was cancelled.
    pub fn consume(&mut self, chunk: &Chunk) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.resources.cancel.check()?;
        let side = &shared.plan.build;
        let mut columns = side.kept_of(chunk)?;
        let mut rows = chunk.rows;
        self.seen.rows += rows;
        let nulls = side.keys.iter().fold(None, |nulls, &place| {
            NullBuffer::union(nulls.as_ref(), chunk.columns[place].logical_nulls().as_ref())
        });
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
            self.seen.null_key = true;
            if !shared.plan.spec.nulls_match && !shared.plan.kind.keeps_build_rows() {
                // They match nothing, and never come out.
                let valid = nulls.valid_indices().map(|row| row as u32).collect::<Vec<_>>();
                columns = columns.iter().map(|column| gather(column, &valid, false)).collect::<Result<_>>()?;
                rows = valid.len();
            }
        }
        self.store.append(&columns, rows)?;
        let more = self.store.bytes().saturating_sub(self.reservation.bytes());
        if shared.forced {
            self.reservation.grow(more);
        } else if self.reservation.try_grow(more).is_err() {
            if shared.resources.is_too_large(self.store.bytes()) {
                shared.resources.check_row("joining", largest_row(&columns, rows)?)?;
            }
            self.spill()?;
        }
        Ok(())
    }

    /// Writes all rows to their partitions.
    fn spill(&mut self) -> Result<()> {
        let (columns, rows) = self.store.take()?;
        self.shared.spill(columns, rows)?;
        self.reservation.shrink(usize::MAX);
        Ok(())
    }
}
