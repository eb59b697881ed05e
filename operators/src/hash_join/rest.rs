//! What a join yields after the last probe: rows of the build side, and the partitions that were on disk.
//!
//! ```text
//!   morsels:   build rows 0.. │ build rows 65536.. │ …  │ partition 3 │ partition 7 │ …
//!              by their marks                             a join of its own, see below
//! ```
//!
//! A partition is joined like the whole: built, probed, and asked for its rest. If it does not fit either, it is cut by
//! other bits of the hash. One that cannot be cut any more (a single heavy key, or no keys at all) is joined block by
//! block, see [`super::blocks`].

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan};
use bireme_engine::{Error, Result};

use super::blocks::BlockJoin;
use super::cursor::ProbeCursor;
use super::gather::{boolean, gather};
use super::spill::OnDisk;
use super::{JoinBuilder, JoinTable, Residual};
use crate::pipeline::Resources;
use crate::pipeline::ir::{JoinColumn, JoinKind};
use arrow::array::new_null_array;
use bireme_engine::morsel::carried_type;

/// Build rows of a morsel.
const MORSEL_ROWS: usize = 8 * CHUNK_ROWS;

/// See the module.
pub(super) struct Rest {
    table: Arc<JoinTable>,
    residual: Option<Arc<dyn Residual>>,
    /// Morsels of build rows in memory.
    resident: usize,
    /// Partitions on disk, and the probe side's rows for them.
    partitions: Vec<usize>,
    probed: Option<Arc<OnDisk>>,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rest({} morsels of rows, {} partitions)", self.resident, self.partitions.len())
    }
}

impl Rest {
    // Nothing to come out is `None`.
    #[allow(clippy::new_ret_no_self, reason = "it is only ever seen as a scan")]
    pub fn new(table: Arc<JoinTable>, residual: Option<Arc<dyn Residual>>) -> Result<Option<Arc<dyn Scan>>> {
        let keeps = table.plan.kind.keeps_build_rows();
        let resident = if keeps { table.built.rows.div_ceil(MORSEL_ROWS) } else { 0 };
        let (mut partitions, mut probed) = (Vec::new(), None);
        if let Some(spilled) = &table.spilled {
            let on_disk = spilled.probed()?;
            table.resources.metrics.add("spilled_bytes", on_disk.bytes_written());
            let matters = |&part: &usize| {
                !spilled.resident[part] && (on_disk.parts[part].rows > 0 || keeps && spilled.build.parts[part].rows > 0)
            };
            partitions = (0..spilled.resident.len()).filter(matters).collect();
            probed = Some(on_disk);
        }
        let some = resident + partitions.len() > 0;
        Ok(some.then(|| Arc::new(Self { table, residual, resident, partitions, probed }) as _))
    }
}

impl Scan for Rest {
    fn morsels(&self) -> usize {
        self.resident + self.partitions.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        if morsel < self.resident {
            let from = morsel * MORSEL_ROWS;
            let to = self.table.built.rows.min(from + MORSEL_ROWS);
            return Ok(Box::new(BuildRows { table: Arc::clone(&self.table), from, to }));
        }
        let (Some(&part), Some(probed)) = (self.partitions.get(morsel - self.resident), &self.probed) else {
            return Err(Error::internal(format!("a join's rest has no morsel {morsel}")));
        };
        Ok(Box::new(PartitionReader {
            table: Arc::clone(&self.table),
            residual: self.residual.clone(),
            probed: Arc::clone(probed),
            part,
            state: State::Start,
        }))
    }
}

/// Rows of the build side that come out by themselves.
struct BuildRows {
    table: Arc<JoinTable>,
    from: usize,
    to: usize,
}

impl MorselReader for BuildRows {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let table = &self.table;
        table.resources.cancel.check()?;
        let Some(marks) = &table.built.marks else { return Ok(None) };
        let kind = table.plan.kind;
        let wanted = |row: u32| match kind {
            JoinKind::BuildMark => true,
            JoinKind::BuildSemi => marks.get(row),
            _ => !marks.get(row),
        };
        let rows = (self.from as u32..self.to as u32).filter(|&row| wanted(row)).take(CHUNK_ROWS).collect::<Vec<_>>();
        let Some(&last) = rows.last() else { return Ok(None) };
        self.from = last as usize + 1;
        let column = |column: &JoinColumn| match *column {
            JoinColumn::Probe(place) => Ok(new_null_array(&carried_type(&table.plan.probe.types[place]), rows.len())),
            JoinColumn::Build(place) => gather(table.build_column(place)?, &rows, false),
            JoinColumn::Mark => {
                Ok(Arc::new(BooleanArray::new(boolean(rows.len(), |place| marks.get(rows[place])), None)) as ArrayRef)
            }
        };
        let columns = table.plan.spec.output.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Some(Chunk::new(columns, rows.len())))
    }
}

/// The join of one partition on disk.
struct PartitionReader {
    table: Arc<JoinTable>,
    residual: Option<Arc<dyn Residual>>,
    probed: Arc<OnDisk>,
    part: usize,
    state: State,
}

enum State {
    Start,
    Probing { inner: Arc<JoinTable>, batch: usize, cursor: Option<Box<ProbeCursor>> },
    Rest { scan: Arc<dyn Scan>, morsel: usize, reader: Option<Box<dyn MorselReader>> },
    Blocks(Box<BlockJoin>),
    Done,
}

impl MorselReader for PartitionReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            match &mut self.state {
                State::Start => self.state = self.start()?,
                State::Probing { inner, batch, cursor } => {
                    if let Some(at) = cursor {
                        if let Some(chunk) = at.next()? {
                            return Ok(Some(chunk));
                        }
                        *cursor = None;
                    } else if *batch < self.probed.batches(self.part) {
                        let rows = self.probed.read(self.part, *batch)?;
                        let chunk = inner.plan.probe.chunk_of(rows.columns(), rows.num_rows());
                        *batch += 1;
                        *cursor = Some(Box::new(inner.probe(self.residual.as_ref(), chunk)?));
                    } else {
                        let rest = inner.rest(self.residual.as_ref())?;
                        self.state = rest.map_or(State::Done, |scan| State::Rest { scan, morsel: 0, reader: None });
                    }
                }
                State::Rest { scan, morsel, reader } => {
                    if let Some(from) = reader {
                        if let Some(chunk) = from.next()? {
                            return Ok(Some(chunk));
                        }
                        *reader = None;
                    } else if *morsel < scan.morsels() {
                        *reader = Some(scan.read(*morsel)?);
                        *morsel += 1;
                    } else {
                        self.state = State::Done;
                    }
                }
                State::Blocks(blocks) => return blocks.next(),
                State::Done => return Ok(None),
            }
        }
    }
}

impl PartitionReader {
    fn start(&self) -> Result<State> {
        let (table, part) = (&self.table, self.part);
        let Some(spilled) = &table.spilled else { return Err(Error::internal("a join's partition is not on disk")) };
        let plan = &table.plan;
        let rows = spilled.build.parts[part].rows;
        let uncut = rows == spilled.build.parts.iter().map(|part| part.rows).sum::<usize>() && plan.depth > 0;
        if plan.build.keys.is_empty() || uncut || plan.depth >= plan.tuning.max_depth {
            let blocks = BlockJoin::new(Arc::clone(table), self.residual.clone(), Arc::clone(&self.probed), part);
            return Ok(State::Blocks(Box::new(blocks)));
        }
        let resources = Resources { workers: 1, ..table.resources.clone() };
        let builder = JoinBuilder::of(Arc::new(plan.of_partition()), resources, false);
        let mut local = builder.local()?;
        for batch in 0..spilled.build.batches(part) {
            let rows = spilled.build.read(part, batch)?;
            local.consume(&plan.build.chunk_of(rows.columns(), rows.num_rows()))?;
        }
        Ok(State::Probing { inner: builder.finish(vec![local])?, batch: 0, cursor: None })
    }
}
