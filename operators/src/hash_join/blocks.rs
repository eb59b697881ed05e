//! Joins a partition that does not fit and cannot be cut, block by block.
//!
//! ```text
//!   build rows   [ block 0 | block 1 | … ]       each block is a table that fits
//!   probe rows   ─────────────────────────►      and is probed with all of them, read again for each block
//! ```
//!
//! A row of the build side is in one block, which sees all rows of the probe side: it comes out of that block's rest. A row
//! of the probe side meets its partners in several blocks: whether it had one is noted, and what it yields by itself
//! comes out after the last block.
//!
//! Cost: the probe side is read once for every block.

use std::sync::Arc;

use bireme_engine::morsel::{Chunk, MorselReader, Scan};
use bireme_engine::{Error, Result};

use super::cursor::{ProbeCursor, lone_rows};
use super::plan::{Plan, Work};
use super::spill::OnDisk;
use super::{JoinBuilder, JoinTable, Residual};
use crate::pipeline::Resources;
use crate::pipeline::ir::JoinKind;

/// Bytes of a block's table for each byte and for each row that is read.
const TABLE_BYTES: usize = 2;
const TABLE_ROW_BYTES: usize = 64;

/// See the module.
pub(super) struct BlockJoin {
    table: Arc<JoinTable>,
    residual: Option<Arc<dyn Residual>>,
    probed: Arc<OnDisk>,
    part: usize,
    plan: Arc<Plan>,
    /// Batches of the build side that were in a block.
    built: usize,
    /// Which rows of each batch of the probe side had a partner so far.
    found: Vec<Vec<bool>>,
    phase: Phase,
}

enum Phase {
    NextBlock,
    Probing { block: Arc<JoinTable>, batch: usize, cursor: Option<Box<ProbeCursor>> },
    Rest { scan: Arc<dyn Scan>, morsel: usize, reader: Option<Box<dyn MorselReader>> },
    Alone { batch: usize, chunk: Option<Chunk>, from: usize },
    Done,
}

impl BlockJoin {
    pub fn new(table: Arc<JoinTable>, residual: Option<Arc<dyn Residual>>, probed: Arc<OnDisk>, part: usize) -> Self {
        // Within a block, rows of the probe side do not come out by themselves.
        let kind = match table.plan.kind {
            JoinKind::ProbeOuter => JoinKind::Inner,
            JoinKind::FullOuter => JoinKind::BuildOuter,
            other => other,
        };
        let plan = Arc::new(table.plan.with_kind(kind, table.plan.depth + 1));
        let found = vec![Vec::new(); probed.batches(part)];
        Self { table, residual, probed, part, plan, built: 0, found, phase: Phase::NextBlock }
    }

    /// The next rows; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            self.table.resources.cancel.check()?;
            match &mut self.phase {
                Phase::NextBlock => self.phase = self.next_block()?,
                Phase::Probing { block, batch, cursor } => {
                    if let Some(at) = cursor {
                        if let Some(chunk) = at.next_pairs()? {
                            return Ok(Some(chunk));
                        }
                        note(&mut self.found[*batch - 1], &at.take_found());
                        *cursor = None;
                    } else if *batch < self.probed.batches(self.part) {
                        let rows = self.probed.read(self.part, *batch)?;
                        let chunk = self.plan.probe.chunk_of(rows.columns(), rows.num_rows());
                        *batch += 1;
                        let mut at = block.probe(self.residual.as_ref(), chunk)?;
                        if self.table.plan.keeps_lone_probe_rows() {
                            at.track();
                        }
                        *cursor = Some(Box::new(at));
                    } else {
                        let rest = block.rest(self.residual.as_ref())?;
                        let rest = rest.map(|scan| Phase::Rest { scan, morsel: 0, reader: None });
                        self.phase = rest.unwrap_or(Phase::NextBlock);
                    }
                }
                Phase::Rest { scan, morsel, reader } => {
                    if let Some(from) = reader {
                        if let Some(chunk) = from.next()? {
                            return Ok(Some(chunk));
                        }
                        *reader = None;
                    } else if *morsel < scan.morsels() {
                        *reader = Some(scan.read(*morsel)?);
                        *morsel += 1;
                    } else {
                        self.phase = Phase::NextBlock;
                    }
                }
                Phase::Alone { batch, chunk, from } => {
                    if let Some(rows) = chunk {
                        let found = &mut self.found[*batch - 1];
                        found.resize(rows.rows, false);
                        let (out, next) = lone_rows(&self.table, rows, found, *from)?;
                        *from = next;
                        if *from >= rows.rows {
                            *chunk = None;
                        }
                        if out.is_some() {
                            return Ok(out);
                        }
                    } else if *batch < self.probed.batches(self.part) {
                        let rows = self.probed.read(self.part, *batch)?;
                        *chunk = Some(self.plan.probe.chunk_of(rows.columns(), rows.num_rows()));
                        (*batch, *from) = (*batch + 1, 0);
                    } else {
                        self.phase = Phase::Done;
                    }
                }
                Phase::Done => return Ok(None),
            }
        }
    }

    /// Builds the next block of as many rows as there is room for; at least one batch, room or not.
    fn next_block(&mut self) -> Result<Phase> {
        let Some(spilled) = &self.table.spilled else {
            return Err(Error::internal("a join's partition is not on disk"));
        };
        let batches = spilled.build.batches(self.part);
        if self.built == batches {
            let alone = self.plan.work() == Work::Found || self.table.plan.keeps_lone_probe_rows();
            return Ok(if alone { Phase::Alone { batch: 0, chunk: None, from: 0 } } else { Phase::Done });
        }
        let resources = Resources { workers: 1, ..self.table.resources.clone() };
        let room = resources.budget.reserve("hash join");
        let builder = JoinBuilder::of(Arc::clone(&self.plan), resources, true);
        let mut local = builder.local()?;
        let first = self.built;
        while self.built < batches {
            let rows = spilled.build.read(self.part, self.built)?;
            let want = rows.get_array_memory_size() * TABLE_BYTES + rows.num_rows() * TABLE_ROW_BYTES;
            if room.try_grow(want).is_err() && self.built > first {
                break;
            }
            local.consume(&self.plan.build.chunk_of(rows.columns(), rows.num_rows()))?;
            self.built += 1;
        }
        drop(room);
        Ok(Phase::Probing { block: builder.finish(vec![local])?, batch: 0, cursor: None })
    }
}

fn note(found: &mut Vec<bool>, new: &[bool]) {
    found.resize(new.len().max(found.len()), false);
    found.iter_mut().zip(new).for_each(|(found, new)| *found |= new);
}
