//! The built side of a join.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use bireme_engine::Result;
use bireme_engine::budget::Reservation;
use bireme_engine::morsel::{Chunk, Scan};
use parking_lot::{Mutex, RwLock};

use super::Residual;
use super::cursor::ProbeCursor;
use super::gather::{NONE, gather};
use super::index::{Index, Shape};
use super::key_filter::{self, KeyFilter};
use super::keys::{Key, Packing, Words, hash_keys, keep_equal, rows_without_null};
use super::plan::{Plan, Work};
use super::rest::Rest;
use super::spill::{OnDisk, Partitions, fan_out, partition_of};
use crate::pipeline::Resources;

/// The rows of the build side, and an index over their keys; workers probe it at the same time.
#[derive(Debug)]
pub struct JoinTable {
    pub(super) plan: Arc<Plan>,
    pub(super) resources: Resources,
    pub(super) built: Built,
    pub(super) spilled: Option<Spilled>,
    /// Rows of the build side, wherever they are, and whether one of them had a NULL key.
    pub(super) all_rows: usize,
    pub(super) seen: Seen,
    _reservation: Reservation,
}

/// What went by on the build side, kept or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub rows: usize,
    pub null_key: bool,
}

/// The rows in memory.
#[derive(Debug)]
pub(super) struct Built {
    pub rows: usize,
    /// The kept columns that something still needs.
    columns: Vec<Option<ArrayRef>>,
    pub index: Index,
    pub packing: Option<Packing>,
    /// The keys, if the index does not know them exactly.
    pub keys: Option<Vec<Key>>,
    pub marks: Option<Marks>,
    /// All rows of a word have the same key.
    pub pure: bool,
}

/// Which rows of the build side have a partner: bits that are only ever set.
#[derive(Debug)]
pub(super) struct Marks(Vec<AtomicU64>);

/// The partitions that did not fit.
#[derive(Debug)]
pub(super) struct Spilled {
    pub build: OnDisk,
    /// Partitions that are in memory after all.
    pub resident: Vec<bool>,
    /// The probe side's rows for the others, until [`JoinTable::rest`].
    probe: RwLock<Option<Partitions>>,
    /// Then these.
    pub probed: Mutex<Option<Arc<OnDisk>>>,
}

impl Marks {
    fn new(rows: usize) -> Self {
        Self((0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    pub fn get(&self, row: u32) -> bool {
        self.0[row as usize >> 6].load(Ordering::Relaxed) >> (row & 63) & 1 == 1
    }

    // Looks first: most marks are there already, and a read does not take the line from other cores.
    #[inline]
    pub fn set(&self, row: u32) {
        if !self.get(row) {
            self.0[row as usize >> 6].fetch_or(1 << (row & 63), Ordering::Relaxed);
        }
    }
}

impl Built {
    /// Indexes rows. `None` if the memory for it is refused; with `forced` it is taken in any case.
    pub fn new(
        plan: &Plan,
        columns: &[ArrayRef],
        rows: usize,
        reservation: &Reservation,
        forced: bool,
    ) -> Result<Option<Self>> {
        let keys = plan.build.keys_of(columns)?;
        let packing = if keys.is_empty() { None } else { Packing::new(&keys, plan.spec.nulls_match) };
        let exact = keys.is_empty() || packing.is_some();
        let bits = exact && plan.work() == Work::Found && !plan.has_residual();
        let shape = Shape::new(rows, keys.len(), packing.as_ref().map(Packing::total), bits, &plan.tuning);
        let marked = if plan.kind.keeps_build_rows() { rows / 8 + 8 } else { 0 };
        let want = shape.bytes(rows) + rows * 8 + marked;
        if forced {
            reservation.grow(want);
        } else if reservation.try_grow(want).is_err() {
            return Ok(None);
        }
        let words = words(plan, packing.as_ref(), &keys, rows);
        let index = Index::build(shape, &words, &plan.tuning)?;
        drop(words);
        let mut pure = true;
        if !exact && plan.work() == Work::Marks && !plan.has_residual() {
            let (mut ones, mut others) = index.same_words();
            let before = ones.len();
            keep_equal(&keys, &keys, &mut ones, &mut others);
            pure = ones.len() == before;
        }
        let output = plan.spec.output.iter().filter_map(|column| match column {
            crate::pipeline::ir::JoinColumn::Build(place) => Some(*place),
            _ => None,
        });
        let keys_wanted = plan.build.keys.iter().filter(|_| plan.keeps_keys);
        let wanted = output.chain(plan.residual_build.iter().chain(keys_wanted).copied()).collect::<Vec<_>>();
        let keep = plan.build.kept.iter().zip(columns);
        let columns = keep.map(|(place, column)| wanted.contains(place).then(|| Arc::clone(column))).collect();
        let marks = plan.kind.keeps_build_rows().then(|| Marks::new(rows));
        let keys = (!exact).then_some(keys);
        Ok(Some(Self { rows, columns, index, packing, keys, marks, pure }))
    }

    /// The word of each row of the probe side.
    pub fn words(&self, plan: &Plan, keys: &[Key], rows: usize) -> Words {
        words(plan, self.packing.as_ref(), keys, rows)
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let columns = self.columns.iter().flatten().map(|column| column.get_array_memory_size()).sum::<usize>();
        let marks = self.marks.as_ref().map_or(0, |marks| marks.0.len() * 8);
        // A key column may be shared with the output; it is counted twice then.
        let keys = self.keys.as_ref().map_or(0, |keys| keys.iter().map(Key::bytes).sum());
        columns + self.index.held() + marks + keys
    }

    /// Whether rows with the same word have the same key.
    pub fn exact(&self) -> bool {
        self.keys.is_none()
    }
}

fn words(plan: &Plan, packing: Option<&Packing>, keys: &[Key], rows: usize) -> Words {
    match packing {
        Some(packing) => packing.words(keys, rows),
        None => {
            let words = hash_keys(keys, rows, plan.tuning.hash_mask).into();
            let nulls = if plan.spec.nulls_match { None } else { rows_without_null(keys) };
            Words { words, valid: nulls.map(|nulls| nulls.iter().collect()) }
        }
    }
}

impl Spilled {
    pub fn new(build: OnDisk, resident: Vec<bool>, probe: Partitions) -> Self {
        Self { build, resident, probe: RwLock::new(Some(probe)), probed: Mutex::new(None) }
    }

    /// The probe side's rows, which are complete now.
    pub fn probed(&self) -> Result<Arc<OnDisk>> {
        let mut probed = self.probed.lock();
        if let Some(probed) = probed.as_ref() {
            return Ok(Arc::clone(probed));
        }
        let Some(writing) = self.probe.write().take() else {
            return Err(bireme_engine::Error::internal("a join's spilled rows are gone"));
        };
        let done = Arc::new(writing.finish()?);
        *probed = Some(Arc::clone(&done));
        Ok(done)
    }
}

impl JoinTable {
    pub(super) fn new(
        plan: Arc<Plan>,
        resources: Resources,
        built: Built,
        spilled: Option<Spilled>,
        seen: Seen,
        reservation: Reservation,
    ) -> Self {
        let resident = |spilled: &Spilled, part: usize| spilled.resident[part];
        let on_disk = spilled.as_ref().map_or(0, |spilled| {
            let parts = spilled.build.parts.iter().enumerate();
            parts.filter(|(part, _)| !resident(spilled, *part)).map(|(_, part)| part.rows).sum()
        });
        let all_rows = built.rows + on_disk;
        Self { plan, resources, built, spilled, all_rows, seen, _reservation: reservation }
    }

    /// The logical types of what comes out.
    pub fn output_types(&self) -> Vec<DataType> {
        self.plan.output_types()
    }

    /// Rows of the build side that are kept; those with a NULL key are not where they cannot come out.
    pub fn rows(&self) -> usize {
        self.all_rows
    }

    /// Starts to probe with a chunk of the other side.
    ///
    /// `residual` is the compiled residual of the spec, where it has one.
    ///
    /// # Errors
    /// A column is not what the spec says, spilling fails, or the query was cancelled.
    pub fn probe(self: &Arc<Self>, residual: Option<&Arc<dyn Residual>>, chunk: Chunk) -> Result<ProbeCursor> {
        self.resources.cancel.check()?;
        let chunk = if self.plan.null_aware { self.settle_nulls(chunk)? } else { chunk };
        let chunk = self.spill_probe(chunk)?;
        ProbeCursor::new(Arc::clone(self), residual.cloned(), chunk)
    }

    /// What comes out after the last probe, in morsels that any worker may read; `None` if nothing does.
    ///
    /// `residual` is that of [`JoinTable::probe`].
    ///
    /// # Errors
    /// Spilling fails.
    pub fn rest(self: &Arc<Self>, residual: Option<&Arc<dyn Residual>>) -> Result<Option<Arc<dyn Scan>>> {
        Rest::new(Arc::clone(self), residual.cloned())
    }

    /// Makes it ready for more probes after its rest was read: they begin anew.
    ///
    /// # Errors
    /// There is no place to spill to.
    pub fn probe_again(&self) -> Result<()> {
        if let Some(spilled) = &self.spilled {
            *spilled.probe.write() = Some(partitions(&self.plan, &self.resources, false)?);
            *spilled.probed.lock() = None;
        }
        Ok(())
    }

    /// A filter for a key of the probe side; `None` where rows without a partner matter, or where some keys are on disk.
    pub fn key_filter(self: &Arc<Self>, key: usize) -> Option<Arc<dyn KeyFilter>> {
        if !self.plan.kind.drops_unmatched_probe_rows() || self.spilled.is_some() {
            return None;
        }
        key_filter::new(self, key)
    }

    /// The same filter in words for `KeyUnion`, which unites it with those of `copies` tables in all. It has `most` bytes at most.
    pub fn packed_filter(self: &Arc<Self>, key: usize, copies: usize, most: usize) -> Option<Vec<u64>> {
        if !self.plan.kind.drops_unmatched_probe_rows() || self.spilled.is_some() {
            return None;
        }
        key_filter::packed(self, key, copies, most)
    }

    /// `NOT IN`: no rows on the build side, and all rows stay; a NULL there, and none does; else those that are not NULL.
    fn settle_nulls(&self, chunk: Chunk) -> Result<Chunk> {
        if self.seen.rows == 0 {
            return Ok(chunk);
        }
        if self.seen.null_key {
            return Ok(chunk.slice(0, 0));
        }
        let key = chunk.columns.get(self.plan.probe.keys[0]).and_then(|key| key.logical_nulls());
        match key.filter(|nulls| nulls.null_count() > 0) {
            None => Ok(chunk),
            Some(nulls) => self.only(chunk, &nulls.valid_indices().map(|row| row as u32).collect::<Vec<_>>()),
        }
    }

    /// Some rows of a chunk of the probe side; columns that nobody needs become empty of meaning.
    fn only(&self, chunk: Chunk, rows: &[u32]) -> Result<Chunk> {
        let columns = self.plan.probe.kept_of(&chunk)?;
        let columns = columns.iter().map(|column| gather(column, rows, false)).collect::<Result<Vec<_>>>()?;
        Ok(self.plan.probe.chunk_of(&columns, rows.len()))
    }

    /// Writes the rows of partitions that are on disk, and gives the others back.
    fn spill_probe(&self, chunk: Chunk) -> Result<Chunk> {
        let Some(spilled) = &self.spilled else { return Ok(chunk) };
        let (side, columns) = (&self.plan.probe, self.plan.probe.plain_of(&chunk)?);
        let mut of = partition_of(&self.plan, side, &columns, chunk.rows, false)?;
        let mut here = Vec::with_capacity(chunk.rows);
        for (row, part) in of.iter_mut().enumerate() {
            if *part == NONE || spilled.resident[*part as usize] {
                *part = NONE;
                here.push(row as u32);
            }
        }
        if here.len() == chunk.rows {
            return Ok(chunk);
        }
        match spilled.probe.read().as_ref() {
            Some(partitions) => partitions.add(&columns, &of)?,
            None => return Err(bireme_engine::Error::internal("a join is probed after its rest was asked for")),
        }
        self.only(chunk, &here)
    }

    /// A column of the build side.
    pub(super) fn build_column(&self, place: usize) -> Result<&ArrayRef> {
        let column = self.plan.build.position(place).and_then(|position| self.built.columns[position].as_ref());
        column.ok_or_else(|| bireme_engine::Error::internal(format!("a join has not kept column {place}")))
    }
}

/// Room for the partitions of a side.
pub(super) fn partitions(plan: &Plan, resources: &Resources, build: bool) -> Result<Partitions> {
    let side = if build { &plan.build } else { &plan.probe };
    Partitions::create(&resources.temp_dir, side, fan_out(plan), resources.budget.reserve("hash join"))
}
