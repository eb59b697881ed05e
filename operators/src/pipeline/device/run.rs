//! Runs segments on batches of rows.
//!
//! ```text
//!   chunks ─► a batch ─► columns that the kernel reads ─► device ─► count, write ─► chunks, to the step behind the segment
//!                │                                             └──► group        ─► groups, to the aggregation
//!                └── a row failed, no memory, no kernel for these columns ─► the same chunks, to the host's own steps
//! ```
//!
//! A batch grows from a chunk to [`MOST_ROWS`] rows: limits want few rows soon, devices many. What a kernel cannot do right, it does not do:
//! the host runs the batch again from its first step, and with it come the right answer or the right error.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bireme_engine::device::Device;
use bireme_engine::error::{ErrorKind, Result};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};

use super::batch::{Batch, FIRST_ROOM, Refused};
use super::code::Written;
use super::groups::GroupKernel;
use super::plan::Segment;
use super::rows::{RowKernel, columns_read};
use super::table::DeviceTable;
use crate::accelerator::{Accelerator, NO_MEMORY, Work, download};
use crate::aggregate::Load;
use crate::hash_join::JoinTable;

/// Rows of a batch, at most.
const MOST_ROWS: usize = 1 << 20;

/// A segment that is ready to run; workers share it.
pub(crate) struct Running {
    segment: Segment,
    accelerator: Accelerator,
    metrics: Arc<StageMetrics>,
    tables: Vec<Arc<JoinTable>>,
    /// Made when the first batch comes: with no rows nothing is needed.
    on_device: OnceLock<Written<Vec<DeviceTable>>>,
    /// Columns that kernels read, if it is known.
    read: Vec<usize>,
    /// Groups that the next batch has room for, of each kind that is wanted.
    room: Vec<AtomicUsize>,
}

/// What came of a batch.
pub(crate) enum Made {
    /// Rows behind the segment.
    Rows(Chunk),
    /// Groups, for the aggregation that the segment ends in.
    Groups(Load, Chunk),
    /// Rows before the segment, which the host's own steps must take.
    Again(Chunk),
}

/// One worker's rows on their way to a device.
pub(crate) struct DeviceCursor {
    running: Arc<Running>,
    pending: Vec<Chunk>,
    rows: usize,
    /// Rows of the next batch.
    wanted: usize,
    made: VecDeque<Made>,
}

impl Running {
    /// A segment over tables that are built.
    pub fn new(
        segment: Segment,
        tables: Vec<Arc<JoinTable>>,
        accelerator: Accelerator,
        metrics: Arc<StageMetrics>,
    ) -> Self {
        // What only the device still has is of no use.
        accelerator.copies().forget();
        let kinds = segment.groups.as_ref().map_or(0, Vec::len);
        Self {
            metrics,
            read: read_columns(&segment),
            segment,
            accelerator,
            tables,
            on_device: OnceLock::new(),
            room: (0..kinds).map(|_| AtomicUsize::new(FIRST_ROOM)).collect(),
        }
    }

    /// Where its steps are among those of its pipeline's part.
    pub fn steps(&self) -> usize {
        self.segment.steps.len()
    }

    /// What its device has done.
    #[cfg(test)]
    pub fn report(&self) -> crate::DeviceReport {
        self.accelerator.report()
    }

    fn device(&self) -> &Device {
        self.accelerator.device()
    }

    fn tables(&self) -> std::result::Result<&[DeviceTable], Refused> {
        let made = self.on_device.get_or_init(|| self.tables.iter().map(DeviceTable::new).collect());
        made.as_deref().map_err(|why| Refused::Host(why.clone()))
    }

    /// What comes of a batch, and the rows that came out of each step.
    fn run(&self, chunks: &[Chunk]) -> std::result::Result<(Vec<Made>, Vec<u64>), Refused> {
        let begun = Instant::now();
        let tables = self.tables()?;
        let mut batch = Batch::new(self.device(), chunks, tables, &self.read, self.steps())?;
        let built = tables.iter().map(DeviceTable::built).collect::<Vec<_>>();
        let segment = Segment { width: chunks.first().map_or(0, |chunk| chunk.columns.len()), ..self.segment.clone() };
        let (made, seen) = match &self.segment.groups {
            Some(wanted) => {
                let (mut made, mut seen) = (Vec::new(), None);
                for (wanted, room) in wanted.iter().zip(&self.room) {
                    let kernel =
                        GroupKernel::of(&segment, wanted, Some(&batch.shapes), &built).map_err(Refused::Host)?;
                    let (groups, rows) = batch.group(kernel, room)?;
                    made.push(Made::Groups(wanted.load, groups));
                    // Each kernel sees all rows.
                    seen.get_or_insert(rows);
                }
                (made, seen.unwrap_or_default())
            }
            None => {
                let kernel = RowKernel::of(&segment, Some(&batch.shapes), &built).map_err(Refused::Host)?;
                let (chunks, seen) = batch.rows(kernel)?;
                (chunks.into_iter().map(Made::Rows).collect(), seen)
            }
        };
        // Marks count only now that the batch is done.
        for (number, marks) in &batch.marks {
            let bits = download::<u32>(self.device(), marks, marks.bytes() / 4)?;
            tables[*number].mark(&bits);
        }
        self.accelerator.count(Work::Batches, batch.moved);
        self.metrics.add("device_batches", 1);
        self.metrics.add("device_bytes_up", batch.moved.up);
        self.metrics.add("device_bytes_down", batch.moved.down);
        self.metrics.add("device_ns", begun.elapsed().as_nanos() as u64);
        Ok((made, seen))
    }
}

/// The columns that the kernels of a segment read, as they would with columns of any values.
fn read_columns(segment: &Segment) -> Vec<usize> {
    let built = vec![Default::default(); segment.joined.len()];
    let kernels = match &segment.groups {
        Some(wanted) => {
            let kernel = |wanted| GroupKernel::of(segment, wanted, None, &built).map(|kernel| kernel.kernel);
            wanted.iter().map(kernel).collect::<Written<Vec<_>>>()
        }
        None => RowKernel::of(segment, None, &built).map(|kernel| vec![kernel.kernel]),
    };
    let mut read = kernels.iter().flatten().flat_map(columns_read).collect::<Vec<_>>();
    read.sort_unstable();
    read.dedup();
    read
}

impl DeviceCursor {
    pub fn new(running: &Arc<Running>) -> Self {
        Self { running: Arc::clone(running), pending: Vec::new(), rows: 0, wanted: CHUNK_ROWS, made: VecDeque::new() }
    }

    /// Waits for so many rows before it runs a batch.
    #[cfg(test)]
    pub fn wait_for(&mut self, rows: usize) {
        self.wanted = rows;
    }

    /// Takes rows; runs a batch if there are enough. Rows that came out of each step are added to `seen`.
    ///
    /// # Errors
    /// The device fails.
    pub fn push(&mut self, chunk: Chunk, seen: &mut impl FnMut(usize, u64)) -> Result<()> {
        if chunk.rows > 0 {
            self.rows += chunk.rows;
            self.pending.push(chunk);
        }
        if self.rows >= self.wanted {
            self.wanted = (2 * self.wanted).min(MOST_ROWS);
            self.flush(seen)?;
        }
        Ok(())
    }

    /// Runs what has waited for more rows; says whether there was something.
    ///
    /// # Errors
    /// The device fails.
    pub fn flush(&mut self, seen: &mut impl FnMut(usize, u64)) -> Result<bool> {
        let chunks = std::mem::take(&mut self.pending);
        self.rows = 0;
        if chunks.is_empty() {
            return Ok(false);
        }
        self.run(chunks, seen)?;
        Ok(true)
    }

    fn run(&mut self, chunks: Vec<Chunk>, seen: &mut impl FnMut(usize, u64)) -> Result<()> {
        match self.running.run(&chunks) {
            Ok((made, counts)) => {
                counts.into_iter().enumerate().for_each(|(step, rows)| seen(step, rows));
                self.made.extend(made);
                Ok(())
            }
            // What is there for others goes first.
            Err(Refused::Error(error))
                if error.kind() == ErrorKind::Resources && self.running.accelerator.copies().clear() =>
            {
                self.run(chunks, seen)
            }
            // What does not fit goes in parts.
            Err(Refused::Error(error)) if error.kind() == ErrorKind::Resources && chunks.len() > 1 => {
                let mut first = chunks;
                let second = first.split_off(first.len() / 2);
                self.wanted = (self.wanted / 2).max(CHUNK_ROWS);
                self.run(first, seen)?;
                self.run(second, seen)
            }
            Err(Refused::Error(error)) if error.kind() == ErrorKind::Resources => {
                self.leave_to_host(chunks, NO_MEMORY.into());
                Ok(())
            }
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Host(why)) => {
                self.leave_to_host(chunks, why);
                Ok(())
            }
        }
    }

    fn leave_to_host(&mut self, chunks: Vec<Chunk>, why: String) {
        self.running.accelerator.count_on_cpu(Work::Batches, why);
        self.running.metrics.add("device_batches_on_cpu", 1);
        self.made.extend(chunks.into_iter().map(Made::Again));
    }

    /// Forgets what is under way.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.rows = 0;
        self.made.clear();
    }

    /// What has been made.
    pub fn pop(&mut self) -> Option<Made> {
        self.made.pop_front()
    }
}
