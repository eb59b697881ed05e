//! Grouping: rows with equal keys become one row.
//!
//! Every worker groups the chunks it gets in a table of its own, so that nobody waits; tables are merged at the end
//! (V. Leis et al., *Morsel-Driven Parallelism*, SIGMOD 2014; the partitions are those of DuckDB's aggregation):
//!
//! ```text
//!   chunk ─► keys ─► group numbers ─► states       by_flag: sum(qty), count(*)
//!             R N N     0 1 1          0: 17 1      R 17      (one row each, NULL a value like others)
//!                                      1: 40 2      N 20, N 20
//!
//!   worker 0: table ──┐                                        few groups: one table takes the others in
//!   worker 1: table ──┴─► merged ─► morsels
//!
//!   worker 0: table ─► partitions 0..64 ──┐                    many: tables are emptied into partitions when they outgrow the
//!   worker 1: table ─► partitions 0..64 ──┴─► partition = morsel    cache, each is merged by who reads it; on disk if need be
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `plan` | takes the specification apart into keys, states, sets |
//! | `column`, `intern`, `layout` | key columns as integers, texts as numbers, integers as words |
//! | `keys`, `dense`, `gather`, `table` | words to group numbers, by mixed radix or by hash |
//! | `states` | counts, sums, extremes by group |
//! | `groups` | one table: a chunk's rows to keys, states and sets |
//! | `distinct` | which rows are new, batch after batch |
//! | `collector`, `partitions` | memory: flushing, passing on, spilling |
//! | `scan`, `results` | merging, and what comes out |
//!
//! A DISTINCT aggregate is one over the members of a set of (group, value); the set is a table of the same kind, and
//! travels as rows of its own when tables are merged.
//!
//! Cost of a row: keys of few values and few groups about half a nanosecond for each key and each aggregate; a hash
//! probe in cache a few nanoseconds; 10^7 groups two passes over the rows, the second one in cache.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::error::Result;
use bireme_engine::morsel::{Chunk, Scan};
use rayon::prelude::*;

use crate::pipeline::Resources;
use crate::pipeline::ir::{AggregateMode, AggregateSpec};

mod collector;
mod column;
mod dense;
mod device;
mod distinct;
mod gather;
mod groups;
mod intern;
mod keys;
mod layout;
mod partitions;
mod plan;
mod results;
mod scan;
mod states;
mod table;
#[cfg(test)]
mod tests;

use collector::{Collected, Collector};
pub(crate) use device::{Fold, GroupsWanted, StateWanted, groups_wanted};
pub use distinct::Distinct;
pub(crate) use groups::Load;
use plan::Plan;
use scan::GroupScan;

/// Groups of all workers together up to which one thread merges them.
const MERGED_BY_ONE: usize = 1 << 14;

/// Sizes that tests make small and hashes that they let collide.
#[derive(Clone, Copy, Debug)]
struct Tuning {
    hash_mask: u64,
    /// A table is taken apart into `2^radix_bits` partitions.
    radix_bits: u32,
    /// Groups of a worker's table that its cache holds.
    cache_groups: usize,
    /// A table of so many entries is kept even if its memory is refused: without a few there is no progress.
    least_entries: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { hash_mask: u64::MAX, radix_bits: 6, cache_groups: 1 << 18, least_entries: 1024 }
    }
}

/// What all workers share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    resources: Resources,
    tuning: Tuning,
    input: SchemaRef,
    states: SchemaRef,
    sets: Vec<SchemaRef>,
}

impl Shared {
    /// The columns of a load, in plain carried forms.
    fn schema(&self, load: Load) -> SchemaRef {
        Arc::clone(match load {
            Load::Input => &self.input,
            Load::States => &self.states,
            Load::Set(set) => &self.sets[set],
        })
    }
}

/// Groups rows; shared by the workers of a pipeline.
///
/// Each worker takes a [`LocalAggregate`], feeds it, and gives it back to [`Aggregator::finish`].
#[derive(Debug)]
pub struct Aggregator {
    shared: Arc<Shared>,
}

/// The groups of one worker.
pub struct LocalAggregate {
    shared: Arc<Shared>,
    collector: Collector,
}

impl Aggregator {
    /// An aggregation of chunks whose columns have these logical types.
    ///
    /// # Errors
    /// A function, or grouping by a key, is not supported for its type; the specification is not sound.
    pub fn new(spec: AggregateSpec, input: Vec<DataType>, resources: Resources) -> Result<Self> {
        Self::tuned(&spec, &input, resources, Tuning::default())
    }

    fn tuned(spec: &AggregateSpec, input: &[DataType], resources: Resources, tuning: Tuning) -> Result<Self> {
        let plan = Plan::new(spec, input)?;
        let sets = (0..plan.sets.len()).map(|set| plan.set_schema(set)).collect();
        let (input, states) = (plan.rows_schema(), plan.states_schema());
        let shared = Arc::new(Shared { plan, resources, tuning, input, states, sets });
        // Functions are made once, so that one that is not supported is an error of planning.
        Collector::new(&shared, 0)?;
        Ok(Self { shared })
    }

    /// The logical types of the groups' columns: keys, then results, or states if it is partial.
    pub fn output_types(&self) -> Vec<DataType> {
        self.shared.plan.output_types()
    }

    /// An empty table for one worker.
    ///
    /// # Errors
    /// Another function cannot be started.
    pub fn local(&self) -> Result<LocalAggregate> {
        Ok(LocalAggregate { shared: Arc::clone(&self.shared), collector: Collector::new(&self.shared, 0)? })
    }

    /// Merges what the workers have. The groups come as morsels in carried forms; where they are many, a morsel is merged when
    /// it is read, so errors of sums that do not fit may come then.
    ///
    /// # Errors
    /// A sum does not fit in the type of its result; memory or the disk runs out; another function fails.
    pub fn finish(&self, locals: Vec<LocalAggregate>) -> Result<Arc<dyn Scan>> {
        let shared = &self.shared;
        let mut collectors = locals.into_iter().map(|local| local.collector).collect::<Vec<_>>();
        let total = collectors.iter().map(Collector::len).sum::<usize>();
        let busy = collectors.iter().filter(|collector| collector.len() > 0).count();
        let in_partitions = collectors.iter().any(Collector::has_partitions);
        let keyed = !shared.plan.keys.is_empty();
        if !in_partitions && (busy <= 1 || total <= MERGED_BY_ONE || !keyed) {
            // The largest takes the others in.
            collectors.sort_by_key(Collector::len);
            let mut all = match collectors.pop() {
                Some(largest) => largest,
                None => Collector::new(shared, 0)?,
            };
            for mut other in collectors {
                all.absorb(other.take(false)?)?;
            }
            if !all.has_partitions() {
                return match all.finish()? {
                    Collected::Groups(taken, reservation) => {
                        let groups = results::output(&shared.plan, &taken)?;
                        Ok(Arc::new(GroupScan::of_groups(shared, groups, reservation)))
                    }
                    Collected::Partitions(parts, held) => {
                        Ok(Arc::new(GroupScan::of_partitions(shared, vec![(parts, held)])))
                    }
                };
            }
            collectors = vec![all];
        }
        let parts = collectors.into_par_iter().map(|mut collector| {
            collector.flush()?;
            collector.settle()?;
            match collector.finish()? {
                Collected::Partitions(parts, held) => Ok(Some((parts, held))),
                // It had no rows.
                Collected::Groups(..) => Ok(None),
            }
        });
        let parts = parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Arc::new(GroupScan::of_partitions(shared, parts)))
    }
}

impl LocalAggregate {
    /// Takes the rows of a chunk.
    ///
    /// # Errors
    /// The query was cancelled, memory or the disk runs out, or another function fails.
    pub fn consume(&mut self, chunk: &Chunk) -> Result<()> {
        self.shared.resources.cancel.check()?;
        let used = self.shared.plan.used.iter().map(|&column| chunk.columns[column].clone()).collect();
        self.collector.push(Load::Input, &Chunk::new(used, chunk.rows))
    }

    /// The groups so far as states, if they should be sent on now; only of [`AggregateMode::Partial`].
    ///
    /// # Errors
    /// Another function fails.
    pub fn take_partial(&mut self) -> Result<Option<Vec<Chunk>>> {
        if self.shared.plan.mode != AggregateMode::Partial || !self.collector.is_full() {
            return Ok(None);
        }
        let taken = self.collector.take(false)?;
        let states = results::output(&self.shared.plan, &taken)?;
        self.collector.settle()?;
        let mut chunks = Vec::new();
        partitions::cut(&states, |chunk| {
            chunks.push(chunk);
            Ok(())
        })?;
        Ok(Some(chunks))
    }
}
