//! The groups as morsels.
//!
//! Groups that were in one table are cut into morsels of a few chunks. Partitions are morsels of their own, merged by whoever
//! reads them: workers that go on with the groups merge different partitions at the same time, each in a table that
//! fits its cache, and what is merged is used while it is warm.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan};

use super::Shared;
use super::collector::{Collected, Collector};
use super::partitions::{Partitions, cut};
use super::results::output;
use crate::pipeline::ir::AggregateMode;

const CHUNKS: usize = 4;

/// Partitions of all workers.
type Parts = Arc<Vec<(Partitions, Reservation)>>;

/// Groups that are ready, or ready to be merged.
pub(super) struct GroupScan {
    shared: Arc<Shared>,
    morsels: Vec<Morsel>,
    /// Groups that may still come out.
    left: Arc<AtomicUsize>,
    _reservation: Option<Reservation>,
}

#[derive(Clone)]
enum Morsel {
    Chunks(Chunk),
    Partition(Parts, usize),
}

impl GroupScan {
    /// Of one table.
    pub(super) fn of_groups(shared: &Arc<Shared>, groups: Chunk, reservation: Reservation) -> Self {
        let rows = CHUNKS * CHUNK_ROWS;
        let starts = (0..groups.rows).step_by(rows);
        let morsels = starts.map(|start| Morsel::Chunks(groups.slice(start, rows.min(groups.rows - start)))).collect();
        Self::new(shared, morsels, Some(reservation))
    }

    /// Of partitions.
    pub(super) fn of_partitions(shared: &Arc<Shared>, parts: Vec<(Partitions, Reservation)>) -> Self {
        let parts = Arc::new(parts);
        let morsels = non_empty(shared, &parts).map(|place| Morsel::Partition(Arc::clone(&parts), place)).collect();
        Self::new(shared, morsels, None)
    }

    fn new(shared: &Arc<Shared>, morsels: Vec<Morsel>, reservation: Option<Reservation>) -> Self {
        // A part of a group's states is worth nothing without the others: of those no group may be left out.
        let whole = shared.plan.mode != AggregateMode::Partial || shared.plan.calls.is_empty();
        let left = Arc::new(AtomicUsize::new(shared.plan.limit.filter(|_| whole).unwrap_or(usize::MAX)));
        Self { shared: Arc::clone(shared), morsels, left, _reservation: reservation }
    }
}

fn non_empty(shared: &Shared, parts: &Parts) -> impl Iterator<Item = usize> {
    let parts = Arc::clone(parts);
    (0..1_usize << shared.tuning.radix_bits).filter(move |&place| parts.iter().any(|(part, _)| !part.is_empty(place)))
}

impl fmt::Debug for GroupScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupScan({} morsels)", self.morsels.len())
    }
}

impl Scan for GroupScan {
    fn morsels(&self) -> usize {
        self.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let Some(morsel) = self.morsels.get(morsel) else {
            return Err(Error::internal(format!("groups have {} morsels, not {}", self.morsels.len(), morsel + 1)));
        };
        let mut reader = GroupReader {
            shared: Arc::clone(&self.shared),
            ready: VecDeque::new(),
            waiting: Vec::new(),
            left: Arc::clone(&self.left),
            reservation: None,
        };
        match morsel {
            Morsel::Chunks(chunk) => reader.ready(chunk)?,
            Morsel::Partition(parts, place) => reader.waiting.push((Arc::clone(parts), *place)),
        }
        Ok(Box::new(reader))
    }
}

struct GroupReader {
    shared: Arc<Shared>,
    ready: VecDeque<Chunk>,
    /// Partitions that are not merged yet, the next one last.
    waiting: Vec<(Parts, usize)>,
    left: Arc<AtomicUsize>,
    reservation: Option<Reservation>,
}

impl GroupReader {
    fn ready(&mut self, chunk: &Chunk) -> Result<()> {
        cut(chunk, |chunk| {
            self.ready.push_back(chunk);
            Ok(())
        })
    }

    fn merge(&mut self, parts: &Parts, place: usize) -> Result<()> {
        self.reservation = None;
        let level = parts.first().map_or(0, |(part, _)| part.next_level());
        let mut collector = Collector::new(&self.shared, level)?;
        for (part, _) in parts.iter() {
            part.read(place, |load, chunk| {
                self.shared.resources.cancel.check()?;
                collector.push(load, &chunk)
            })?;
        }
        match collector.finish()? {
            Collected::Groups(taken, reservation) => {
                self.ready(&output(&self.shared.plan, &taken)?)?;
                self.reservation = Some(reservation);
            }
            Collected::Partitions(partitions, reservation) => {
                let parts = Arc::new(vec![(partitions, reservation)]);
                self.waiting.extend(non_empty(&self.shared, &parts).map(|place| (Arc::clone(&parts), place)));
            }
        }
        Ok(())
    }
}

impl MorselReader for GroupReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            self.shared.resources.cancel.check()?;
            if self.left.load(Ordering::Relaxed) == 0 {
                return Ok(None);
            }
            if let Some(chunk) = self.ready.pop_front() {
                let take = |left: usize| Some(left - left.min(chunk.rows));
                let left = match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                    Ok(left) | Err(left) => left,
                };
                let rows = left.min(chunk.rows);
                return Ok((rows > 0).then(|| if rows < chunk.rows { chunk.slice(0, rows) } else { chunk }));
            }
            let Some((parts, place)) = self.waiting.pop() else { return Ok(None) };
            self.merge(&parts, place)?;
        }
    }
}
