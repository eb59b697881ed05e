//! Rows of one side on disk, in partitions by the hash of their keys.
//!
//! Both sides are cut alike, so rows of a partition have partners in the same partition only. Each level of partitioning
//! uses other bits of the hash. One unnamed file a side; each partition knows where its batches lie.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::Result;
use bireme_engine::budget::Reservation;
use bireme_engine::morsel::CHUNK_ROWS;
use bireme_engine::spill::{Slot, SpillFile};
use parking_lot::Mutex;

use super::gather::gather;
use super::keys::{hash_keys, mix, rows_without_null};
use super::plan::{Plan, Side};

/// Partitions that are still written to.
#[derive(Debug)]
pub(super) struct Partitions {
    schema: SchemaRef,
    file: Mutex<SpillFile>,
    parts: Vec<Mutex<Part>>,
    /// For rows that wait until there are enough of them for a batch.
    staging: Reservation,
}

#[derive(Debug, Default)]
struct Part {
    written: Written,
    staged: Vec<RecordBatch>,
    staged_rows: usize,
    staged_bytes: usize,
}

/// What a partition has on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    slots: Vec<Slot>,
    pub rows: usize,
    pub bytes: usize,
}

/// Partitions that are only read.
#[derive(Debug)]
pub(super) struct OnDisk {
    file: SpillFile,
    pub parts: Vec<Written>,
}

impl Partitions {
    pub fn create(directory: &Path, side: &Side, count: usize, staging: Reservation) -> Result<Self> {
        let file = Mutex::new(SpillFile::create(directory, Arc::clone(&side.schema))?);
        let parts = (0..count).map(|_| Mutex::default()).collect();
        Ok(Self { schema: Arc::clone(&side.schema), file, parts, staging })
    }

    /// Adds rows to their partitions (`of[row]`), from plain columns; those of [`super::gather::NONE`] are left out.
    pub fn add(&self, columns: &[ArrayRef], of: &[u32]) -> Result<()> {
        let mut rows = vec![Vec::new(); self.parts.len()];
        for (row, &part) in of.iter().enumerate() {
            if let Some(rows) = rows.get_mut(part as usize) {
                rows.push(row as u32);
            }
        }
        for (part, rows) in rows.iter().enumerate() {
            for rows in rows.chunks(CHUNK_ROWS) {
                let columns = columns.iter().map(|column| gather(column, rows, false)).collect::<Result<_>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
                self.stage(part, RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)?;
            }
        }
        Ok(())
    }

    fn stage(&self, part: usize, batch: RecordBatch) -> Result<()> {
        let bytes = batch.num_rows() * row_bytes(&batch);
        let waits = batch.num_rows() < CHUNK_ROWS / 2 && self.staging.try_grow(bytes).is_ok();
        // Rows that wait must not pin all the texts among which theirs lie.
        let batch = if waits { alone(batch)? } else { batch };
        let mut part = self.parts[part].lock();
        part.staged_rows += batch.num_rows();
        part.staged_bytes += if waits { bytes } else { 0 };
        part.staged.push(batch);
        if waits && part.staged_rows < CHUNK_ROWS / 2 { Ok(()) } else { self.write(&mut part) }
    }

    fn write(&self, part: &mut Part) -> Result<()> {
        let staged = std::mem::take(&mut part.staged);
        if staged.is_empty() {
            return Ok(());
        }
        let batch = concat_batches(&self.schema, &staged)?;
        drop(staged);
        let mut file = self.file.lock();
        let before = file.bytes_written();
        let slot = file.append(&batch)?;
        let bytes = (file.bytes_written() - before) as usize;
        drop(file);
        part.written.slots.push(slot);
        part.written.rows += batch.num_rows();
        part.written.bytes += bytes;
        self.staging.shrink(part.staged_bytes);
        (part.staged_rows, part.staged_bytes) = (0, 0);
        Ok(())
    }

    /// Writes what waits; nothing more comes.
    pub fn finish(self) -> Result<OnDisk> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut part = part.lock();
            self.write(&mut part)?;
            parts.push(std::mem::take(&mut part.written));
        }
        Ok(OnDisk { file: self.file.into_inner(), parts })
    }
}

impl OnDisk {
    pub fn bytes_written(&self) -> u64 {
        self.file.bytes_written()
    }

    /// How many batches a partition has.
    pub fn batches(&self, part: usize) -> usize {
        self.parts[part].slots.len()
    }

    /// One of them.
    pub fn read(&self, part: usize, batch: usize) -> Result<RecordBatch> {
        self.file.read(self.parts[part].slots[batch])
    }
}

/// A batch with texts of its own.
fn alone(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?)
}

fn row_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.data_type().primitive_width().unwrap_or(32) + 1).sum()
}

/// The partition of each row of plain columns; [`super::gather::NONE`] for rows whose key is NULL and so has no
/// partner, if `lone` is false, else any partition.
pub(super) fn partition_of(
    plan: &Plan,
    side: &Side,
    columns: &[ArrayRef],
    rows: usize,
    lone: bool,
) -> Result<Vec<u32>> {
    if side.keys.is_empty() {
        return Ok(vec![0; rows]);
    }
    let keys = side.keys_of(columns)?;
    let (bits, level) = (plan.tuning.fan_bits, mix(u64::from(plan.depth)));
    let hashes = hash_keys(&keys, rows, plan.tuning.hash_mask);
    let part = |hash: u64| (mix(hash ^ level) >> 32) as u32 & ((1 << bits) - 1);
    let mut of = hashes.into_iter().map(part).collect::<Vec<_>>();
    if let Some(nulls) = rows_without_null(&keys).filter(|_| !plan.spec.nulls_match) {
        for row in (0..rows).filter(|&row| nulls.is_null(row)) {
            of[row] = if lone { row as u32 & ((1 << bits) - 1) } else { super::gather::NONE };
        }
    }
    Ok(of)
}

/// Partitions of a join that cannot hold its build side.
pub(super) fn fan_out(plan: &Plan) -> usize {
    if plan.build.keys.is_empty() { 1 } else { 1 << plan.tuning.fan_bits }
}
