//! Takes chunks into a table and keeps it small: the driver that handles memory.
//!
//! ```text
//!   chunk ──► table ──(has outgrown the cache, or memory is refused)──► partitions ──(memory is refused)──► disk
//!      └───────────────(grouping hardly reduces the rows)─────────────────┘
//! ```

use std::sync::Arc;

use bireme_engine::budget::Reservation;
use bireme_engine::error::Result;
use bireme_engine::morsel::Chunk;

use super::Shared;
use super::groups::{Load, Table, Taken};
use super::partitions::{Partitions, cut, gather};
use crate::pipeline::ir::AggregateMode;
use crate::pipeline::resources::LEAST_BYTES;

/// Rows that are put into partitions together, when they go there without grouping.
const PASSED_TOGETHER: usize = 1 << 16;
/// Rows for one group below which grouping before partitions does not pay.
const WORTHWHILE: usize = 2;
/// How many times the rows of a table are passed on before grouping is tried again.
const PASSED_ON: usize = 32;
/// Bytes beyond which a table has outgrown the cache.
const CACHE_BYTES: usize = 24 << 20;

/// Groups of one worker, or of one partition.
pub(super) struct Collector {
    shared: Arc<Shared>,
    table: Table,
    level: u32,
    partitions: Option<Partitions>,
    reservation: Reservation,
    /// Rows that the table has taken since it was empty.
    rows: usize,
    /// Rows that are still to be passed on.
    passing: usize,
    passed: Vec<Chunk>,
    passed_rows: usize,
    /// Groups should be taken out; of a partial aggregation.
    full: bool,
}

/// What a collector has in the end.
pub(super) enum Collected {
    Groups(Taken, Reservation),
    Partitions(Partitions, Reservation),
}

impl Collector {
    /// # Errors
    /// A function is not supported.
    pub(super) fn new(shared: &Arc<Shared>, level: u32) -> Result<Self> {
        Ok(Self {
            shared: Arc::clone(shared),
            table: Table::new(&shared.plan, shared.tuning.hash_mask)?,
            level,
            partitions: None,
            reservation: shared.resources.budget.reserve("aggregate"),
            rows: 0,
            passing: 0,
            passed: Vec::new(),
            passed_rows: 0,
            full: false,
        })
    }

    /// Groups in the table.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether rows have gone to partitions.
    pub(super) fn has_partitions(&self) -> bool {
        self.partitions.is_some() || !self.passed.is_empty()
    }

    /// Whether groups should be taken out.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Takes a chunk of rows.
    ///
    /// # Errors
    /// A function fails, memory runs out, or the disk.
    pub(super) fn push(&mut self, load: Load, chunk: &Chunk) -> Result<()> {
        if chunk.rows == 0 || self.has_enough() {
            return Ok(());
        }
        if load == Load::Input && self.passing > 0 {
            return self.pass_on(chunk);
        }
        self.rows += chunk.rows;
        self.table.push(&self.shared.plan, load, chunk)?;
        let outgrown = self.level == 0
            && self.has_keys()
            && (self.len() > self.shared.tuning.cache_groups
                || (self.len() > 1 << 12 && self.table.bytes() > CACHE_BYTES));
        if outgrown {
            if self.shared.plan.mode == AggregateMode::Partial {
                self.full = true;
            } else {
                if self.rows < WORTHWHILE * self.len() && load == Load::Input {
                    self.passing = PASSED_ON * self.rows;
                }
                self.flush()?;
            }
        }
        self.settle()
    }

    fn has_keys(&self) -> bool {
        !self.shared.plan.keys.is_empty()
    }

    /// Any groups will do, and they are there.
    fn has_enough(&self) -> bool {
        let plan = &self.shared.plan;
        plan.calls.is_empty() && plan.limit.is_some_and(|limit| self.has_keys() && self.len() >= limit)
    }

    /// Puts rows into partitions as they are.
    fn pass_on(&mut self, chunk: &Chunk) -> Result<()> {
        self.passing = self.passing.saturating_sub(chunk.rows);
        self.passed.push(chunk.clone());
        self.passed_rows += chunk.rows;
        if self.passed_rows >= PASSED_TOGETHER || self.passing == 0 {
            self.put_passed()?;
            self.settle()?;
        }
        Ok(())
    }

    fn put_passed(&mut self) -> Result<()> {
        let passed = std::mem::take(&mut self.passed);
        self.passed_rows = 0;
        if passed.is_empty() {
            return Ok(());
        }
        let chunk = gather(&self.shared.schema(Load::Input), &passed)?;
        self.partitions().push(Load::Input, chunk)
    }

    fn partitions(&mut self) -> Pusher<'_> {
        let level = self.level;
        Pusher { partitions: self.partitions.get_or_insert_with(|| Partitions::new(level)), shared: &self.shared }
    }

    /// Moves all groups to the partitions.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.put_passed()?;
        if self.rows == 0 && self.has_keys() {
            return Ok(());
        }
        let taken = self.take(false)?;
        let states = taken.states(&self.shared.plan);
        let mut to = self.partitions();
        to.push(Load::States, states)?;
        for (set, members) in taken.sets.into_iter().enumerate() {
            to.push(Load::Set(set), members)?;
        }
        Ok(())
    }

    /// Takes all groups out of the table.
    pub(super) fn take(&mut self, results: bool) -> Result<Taken> {
        self.rows = 0;
        self.full = false;
        self.table.take(&self.shared.plan, results)
    }

    /// Takes in what another table has.
    pub(super) fn absorb(&mut self, taken: Taken) -> Result<()> {
        cut(&taken.states(&self.shared.plan), |chunk| self.push(Load::States, &chunk))?;
        for (set, members) in taken.sets.iter().enumerate() {
            cut(members, |chunk| self.push(Load::Set(set), &chunk))?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.table.bytes() + self.partitions.as_ref().map_or(0, Partitions::bytes)
    }

    /// Makes the reservation agree with what is held; where that is refused, spills.
    pub(super) fn settle(&mut self) -> Result<()> {
        let (bytes, held) = (self.bytes(), self.reservation.bytes());
        if bytes <= held {
            if bytes < held / 2 {
                self.reservation.shrink(held - bytes);
            }
            return Ok(());
        }
        // Some more than is needed: settling is then rare.
        let missing = bytes - held;
        if self.reservation.try_take_leaving(missing + held / 4, 0) {
            return Ok(());
        }
        let Err(refusal) = self.reservation.try_grow(missing) else { return Ok(()) };
        if self.level == 0 && self.shared.plan.mode == AggregateMode::Partial {
            self.full = true;
            self.reservation.grow(missing);
            return Ok(());
        }
        if self.is_least() {
            self.reservation.grow(missing);
            return Ok(());
        }
        if self.is_too_large() || !self.has_keys() || (self.level + 1) * self.shared.tuning.radix_bits > 64 {
            return Err(refusal.context("grouping: the values of one group do not fit in memory"));
        }
        self.flush()?;
        if let Some(partitions) = &mut self.partitions {
            partitions.spill(&self.shared)?;
        }
        let bytes = self.bytes();
        self.reservation.shrink(self.reservation.bytes().saturating_sub(bytes));
        Ok(())
    }

    /// So little that it is kept even if its memory is refused: without it there is no progress.
    fn is_least(&self) -> bool {
        let in_memory = self.partitions.as_ref().map_or(0, Partitions::bytes);
        let few = self.table.entries() <= self.shared.tuning.least_entries && in_memory == 0;
        // Wide rows are taken apart down to single ones.
        let narrow = !self.has_keys() || self.is_row() || self.row_bytes() <= LEAST_BYTES;
        few && narrow && !self.is_too_large()
    }

    /// What one row makes: partitions cannot take it apart.
    fn is_row(&self) -> bool {
        self.table.entries() <= 1 + self.shared.plan.sets.len()
    }

    fn is_too_large(&self) -> bool {
        self.is_row() && self.shared.resources.is_too_large(self.row_bytes())
    }

    /// Bytes of the rows of the table.
    fn row_bytes(&self) -> usize {
        self.table.bytes() - self.table.cache_bytes()
    }

    /// The end of the rows.
    ///
    /// # Errors
    /// A function fails, memory runs out, or the disk.
    pub(super) fn finish(mut self) -> Result<Collected> {
        if self.has_partitions() {
            self.flush()?;
            self.settle()?;
        }
        if let Some(partitions) = self.partitions.take() {
            return Ok(Collected::Partitions(partitions, self.reservation));
        }
        let results = self.shared.plan.mode != AggregateMode::Partial;
        Ok(Collected::Groups(self.take(results)?, self.reservation))
    }
}

struct Pusher<'a> {
    partitions: &'a mut Partitions,
    shared: &'a Shared,
}

impl Pusher<'_> {
    fn push(&mut self, load: Load, chunk: Chunk) -> Result<()> {
        self.partitions.push(self.shared, load, &chunk)
    }
}
