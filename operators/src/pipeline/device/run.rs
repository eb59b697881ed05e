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

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use bireme_engine::device::{Argument, Buffer as DeviceMemory, Device, Grid};
use bireme_engine::error::{Error, ErrorKind, Result};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};

use super::code::{Form, Memory, Origin, Shapes, Written};
use super::column::{Heaps, HostColumn, of_bytes, of_words, shape};
use super::groups::{GroupKernel, KeyOut, StateOut};
use super::kernel::{BLOCKS, Kernel, THREADS};
use super::plan::Segment;
use super::rows::{Output, RowKernel, columns_read};
use super::table::DeviceTable;
use crate::accelerator::{Accelerator, Moved, Work, download, prefix_sums};
use crate::aggregate::{Fold, GroupsWanted};
use crate::hash_join::{JoinTable, gather_rows};

/// Rows of a batch, at most.
const MOST_ROWS: usize = 1 << 20;

/// Rows that may come of a batch: where joins make more, it goes in parts.
const MOST_MADE: usize = 4 * MOST_ROWS;

/// Groups that a batch has room for at first.
const FIRST_ROOM: usize = 1 << 12;

/// As the kernels call them.
const FAILED: u32 = 1;
const FULL: u32 = 2;

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
    /// Groups that the next batch has room for.
    room: AtomicUsize,
}

/// What came of a batch.
pub(crate) enum Made {
    /// Rows behind the segment.
    Rows(Chunk),
    /// Groups, for the aggregation that the segment ends in.
    Groups(Chunk),
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

/// Why a batch was not run: it is the host's.
enum Refused {
    Host(String),
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Error(error)
    }
}

impl Running {
    /// A segment over tables that are built.
    pub fn new(
        segment: Segment,
        tables: Vec<Arc<JoinTable>>,
        accelerator: Accelerator,
        metrics: Arc<StageMetrics>,
    ) -> Self {
        Self {
            metrics,
            read: read_columns(&segment),
            segment,
            accelerator,
            tables,
            on_device: OnceLock::new(),
            room: AtomicUsize::new(FIRST_ROOM),
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
        let mut batch = Batch::new(self, chunks, tables)?;
        let built = tables.iter().map(DeviceTable::built).collect::<Vec<_>>();
        let segment = Segment { width: chunks.first().map_or(0, |chunk| chunk.columns.len()), ..self.segment.clone() };
        let (made, seen) = match &self.segment.groups {
            Some(wanted) => {
                let kernel = GroupKernel::of(&segment, wanted, Some(&batch.shapes), &built).map_err(Refused::Host)?;
                let (groups, seen) = batch.group(kernel, wanted)?;
                (vec![Made::Groups(groups)], seen)
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
    let kernel = match &segment.groups {
        Some(wanted) => GroupKernel::of(segment, wanted, None, &built).map(|kernel| kernel.kernel),
        None => RowKernel::of(segment, None, &built).map(|kernel| kernel.kernel),
    };
    kernel.map(|kernel| columns_read(&kernel)).unwrap_or_default()
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
            // What does not fit goes in parts.
            Err(Refused::Error(error)) if error.kind() == ErrorKind::Resources && chunks.len() > 1 => {
                let mut first = chunks;
                let second = first.split_off(first.len() / 2);
                self.wanted = (self.wanted / 2).max(CHUNK_ROWS);
                self.run(first, seen)?;
                self.run(second, seen)
            }
            Err(Refused::Error(error)) if error.kind() == ErrorKind::Resources => {
                self.leave_to_host(chunks, format!("no memory on the device: {}", error.message()));
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

/// Rows that a kernel runs on.
struct Batch<'a> {
    running: &'a Running,
    chunks: &'a [Chunk],
    tables: &'a [DeviceTable],
    rows: usize,
    shapes: Shapes,
    marks: BTreeMap<usize, Arc<DeviceMemory>>,
    moved: Moved,
}

/// A kernel with all that it reads at hand.
struct Ready {
    words: DeviceMemory,
    host_words: Buffer,
    read: Vec<Arc<DeviceMemory>>,
    seen: DeviceMemory,
    status: DeviceMemory,
    heaps: Heaps,
}

impl<'a> Batch<'a> {
    fn new(running: &'a Running, chunks: &'a [Chunk], tables: &'a [DeviceTable]) -> std::result::Result<Self, Refused> {
        let rows = chunks.iter().map(|chunk| chunk.rows).sum::<usize>();
        if rows >= u32::MAX as usize {
            return Err(Refused::Host("a batch of 2^32 rows".into()));
        }
        let mut shapes = Shapes::new();
        for &place in &running.read {
            shapes.insert((Origin::Rows, place), shape(&column(chunks, place)?, true));
        }
        tables.iter().enumerate().for_each(|(number, table)| table.describe(number, &mut shapes));
        Ok(Self { running, chunks, tables, rows, shapes, marks: BTreeMap::new(), moved: Moved::default() })
    }

    fn device(&self) -> &'a Device {
        self.running.device()
    }

    fn upload(&mut self, bytes: &Buffer) -> Result<DeviceMemory> {
        self.moved.up += bytes.len() as u64;
        self.device().upload(bytes.as_slice())
    }

    /// Brings what a kernel reads to the device.
    fn ready(&mut self, kernel: &Kernel) -> Result<Ready> {
        let mut words = kernel.words.clone();
        words[0] = self.rows as u64;
        let host_words = Buffer::from_vec(words);
        let words = self.upload(&host_words)?;
        let mut heaps = Heaps::default();
        heaps.add(&words, &host_words);
        let mut columns = BTreeMap::new();
        let mut read = Vec::with_capacity(kernel.memory.len());
        for &memory in &kernel.memory {
            read.push(match memory {
                Memory::Values(Origin::Rows, place)
                | Memory::Valid(Origin::Rows, place)
                | Memory::Heap(Origin::Rows, place) => {
                    let parts: &Vec<_> = match columns.entry(place) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(free) => free.insert(self.column(place, &mut heaps)?),
                    };
                    let found = parts.iter().find(|(known, _)| *known == memory);
                    found
                        .map(|(_, memory)| Arc::clone(memory))
                        .ok_or_else(|| Error::internal("a part of a column that it does not have"))?
                }
                Memory::Marks(number) => {
                    let rows = self.running.tables[number].rows();
                    let marks = self.device().filled(4 * rows.div_ceil(32).max(1), 0)?;
                    // Held twice: the batch reads them in the end.
                    let marks = Arc::new(marks);
                    self.marks.insert(number, Arc::clone(&marks));
                    marks
                }
                Memory::Values(Origin::Table(number), _)
                | Memory::Valid(Origin::Table(number), _)
                | Memory::Heap(Origin::Table(number), _)
                | Memory::Heads(number)
                | Memory::Next(number) => self.tables[number].memory(self.device(), memory)?,
            });
        }
        self.tables.iter().for_each(|table| table.add_heaps(&mut heaps));
        let seen = self.device().filled(8 * self.running.steps().max(1), 0)?;
        let status = self.device().filled(4, 0)?;
        Ok(Ready { words, host_words, read, seen, status, heaps })
    }

    fn column(&mut self, place: usize, heaps: &mut Heaps) -> Result<Vec<(Memory, Arc<DeviceMemory>)>> {
        let stored = self.shapes[&(Origin::Rows, place)];
        let host = HostColumn::of(&column(self.chunks, place)?, stored)?;
        let mut parts = vec![(Memory::Values(Origin::Rows, place), Arc::new(self.upload(&host.values)?))];
        if let Some(valid) = &host.valid {
            parts.push((Memory::Valid(Origin::Rows, place), Arc::new(self.upload(valid)?)));
        }
        if let Some(heap) = &host.heap {
            let memory = Arc::new(self.upload(heap)?);
            heaps.add(&memory, heap);
            parts.push((Memory::Heap(Origin::Rows, place), memory));
        }
        Ok(parts)
    }

    /// Runs a kernel on all rows.
    ///
    /// # Safety
    /// What it writes has room for what it makes of them.
    unsafe fn launch(&self, kernel: &Kernel, name: &str, ready: &Ready, writes: &[&DeviceMemory]) -> Result<()> {
        let module = self.device().load(&kernel.source)?;
        let read = ready.read.iter().map(|memory| Argument::Memory(memory));
        let arguments = [Argument::Memory(&ready.words)].into_iter().chain(read);
        let arguments = arguments.chain(writes.iter().map(|memory| Argument::Memory(memory)));
        let arguments = arguments.chain([&ready.seen, &ready.status].map(Argument::Memory)).collect::<Vec<_>>();
        // SAFETY: the parameters of kernels as they are written in `kernel.rs`; they read columns of so many rows as `p[0]` says, tables
        // through their directories, and words that they put into `p` themselves. What they write is the caller's promise.
        unsafe { module.launch(name, &Grid::covering(self.rows, THREADS, BLOCKS), &arguments) }
    }

    /// What a kernel says in the end; the rows of each step.
    fn ended(&mut self, ready: &Ready) -> std::result::Result<(u32, Vec<u64>), Refused> {
        let status = self.download::<u32>(&ready.status, 1)?[0];
        if status & FAILED != 0 {
            return Err(Refused::Host("a row that fails on the device".into()));
        }
        let seen = self.download::<u64>(&ready.seen, self.running.steps())?;
        Ok((status, seen.to_vec()))
    }

    fn download<T: ArrowNativeType>(
        &mut self,
        memory: &DeviceMemory,
        count: usize,
    ) -> Result<arrow::buffer::ScalarBuffer<T>> {
        self.moved.down += (count * size_of::<T>()) as u64;
        download(self.device(), memory, count)
    }

    /// The rows that go on.
    fn rows(&mut self, kernel: RowKernel) -> std::result::Result<(Vec<Chunk>, Vec<u64>), Refused> {
        let RowKernel { kernel, outputs, numbered, straight } = kernel;
        let ready = self.ready(&kernel)?;
        let (mut starts, mut total, mut seen) = (None, self.rows, Vec::new());
        if !straight {
            let counts = self.device().allocate(4 * self.rows)?;
            // SAFETY: a count for each row.
            unsafe { self.launch(&kernel, "count", &ready, &[&counts])? };
            seen = self.ended(&ready)?.1;
            let (of_rows, all) = prefix_sums::starts(self.device(), &counts, self.rows)?;
            if all > MOST_MADE {
                return Err(Error::resources(format!("{all} rows of joins in one batch of a device")).into());
            }
            (starts, total) = (Some(of_rows), all);
        }
        let Some(outputs) = outputs.filter(|_| total > 0) else { return Ok((Vec::new(), seen)) };
        let nowhere = self.device().allocate(8)?;
        let mut written = Vec::new();
        for output in &outputs {
            if let Output::Values { form, nullable, .. } = output {
                written.push(self.device().allocate(form.bytes() * total)?);
                if *nullable {
                    written.push(self.device().allocate(total)?);
                }
            }
        }
        for _ in &numbered {
            written.push(self.device().allocate(4 * total)?);
        }
        let writes = [starts.as_ref().unwrap_or(&nowhere)].into_iter().chain(&written).collect::<Vec<_>>();
        // SAFETY: each column has room for all rows that were counted, or for every row where none is dropped.
        unsafe { self.launch(&kernel, "write", &ready, &writes)? };
        if straight {
            seen = self.ended(&ready)?.1;
        }
        let chunks = self.chunks_of(&outputs, &numbered, &written, total, &ready.heaps, straight)?;
        Ok((chunks, seen))
    }

    /// Downloads columns, and gathers those that are the host's.
    fn chunks_of(
        &mut self,
        outputs: &[Output],
        numbered: &[Origin],
        written: &[DeviceMemory],
        total: usize,
        heaps: &Heaps,
        straight: bool,
    ) -> Result<Vec<Chunk>> {
        let mut next = written.iter();
        let mut memory = || next.next().ok_or_else(|| Error::internal("a column that was not written"));
        let mut values: Vec<Option<ArrayRef>> = Vec::new();
        let mut parts = Vec::new();
        for output in outputs {
            parts.push(match output {
                Output::Values { form, carried, nullable } => {
                    Some((*form, carried, memory()?, if *nullable { Some(memory()?) } else { None }))
                }
                Output::Rows { .. } => None,
            });
        }
        let numbers = numbered.iter().map(|_| memory()).collect::<Result<Vec<_>>>()?;
        for part in parts {
            values.push(match part {
                Some((form, carried, values, valid)) => {
                    Some(self.values((form, carried), (values, valid), total, heaps)?)
                }
                None => None,
            });
        }
        let mut rows_of = BTreeMap::new();
        for (&origin, memory) in numbered.iter().zip(numbers) {
            rows_of.insert(origin, self.download::<u32>(memory, total)?);
        }
        let mut chunks = Vec::new();
        let (mut first_row, mut start) = (0_u32, 0);
        for chunk in self.chunks {
            let last_row = first_row + chunk.rows as u32;
            // Rows come in order; where none is numbered they are cut anywhere.
            let end = match (rows_of.get(&Origin::Rows), straight) {
                (_, true) => start + chunk.rows,
                (Some(rows), _) => start + rows[start..].partition_point(|&row| row < last_row),
                (None, _) => total,
            };
            for from in (start..end).step_by(CHUNK_ROWS) {
                let to = (from + CHUNK_ROWS).min(end);
                let mut columns = Vec::with_capacity(outputs.len());
                for (output, values) in outputs.iter().zip(&values) {
                    columns.push(match (output, values) {
                        (_, Some(values)) => values.slice(from, to - from),
                        (Output::Rows { origin: Origin::Rows, place }, _) => {
                            let column = &chunk.columns[*place];
                            match rows_of.get(&Origin::Rows) {
                                Some(rows) => {
                                    let rows = rows[from..to].iter().map(|row| row - first_row).collect::<Vec<_>>();
                                    gather_rows(column, &rows, false)?
                                }
                                None => column.slice(from - start, to - from),
                            }
                        }
                        (Output::Rows { origin: Origin::Table(table), place }, _) => {
                            let rows = &rows_of[&Origin::Table(*table)][from..to];
                            gather_rows(self.tables[*table].column(*place)?, rows, true)?
                        }
                        (Output::Values { .. }, None) => {
                            return Err(Error::internal("a column that was not read back"));
                        }
                    });
                }
                chunks.push(Chunk::new(columns, to - from));
            }
            (first_row, start) = (last_row, end);
        }
        Ok(chunks)
    }

    /// A column that a kernel wrote.
    fn values(
        &mut self,
        (form, carried): (Form, &DataType),
        (values, valid): (&DeviceMemory, Option<&DeviceMemory>),
        rows: usize,
        heaps: &Heaps,
    ) -> Result<ArrayRef> {
        let nulls = match valid {
            Some(valid) => {
                let valid = self.download::<u8>(valid, rows)?;
                Some(NullBuffer::from_iter(valid.iter().map(|&valid| valid != 0)))
                    .filter(|nulls| nulls.null_count() > 0)
            }
            None => None,
        };
        match form {
            Form::Text => {
                let words = self.download::<u64>(values, 2 * rows)?;
                heaps.texts(words.chunks_exact(2).map(|pair| (pair[0], pair[1])), carried, nulls)
            }
            Form::Bool => {
                let bytes = self.download::<u8>(values, rows)?;
                of_words(carried, bytes.iter().map(|&byte| u64::from(byte)), nulls)
            }
            form => {
                let bytes = self.download::<u8>(values, rows * form.bytes())?;
                of_bytes(carried, bytes.into_inner(), rows, nulls)
            }
        }
    }

    /// The groups of all rows.
    fn group(
        &mut self,
        mut kernel: GroupKernel,
        wanted: &GroupsWanted,
    ) -> std::result::Result<(Chunk, Vec<u64>), Refused> {
        let keyed = !wanted.keys.is_empty();
        let known = self.running.room.load(Ordering::Relaxed);
        let mut room = if keyed { known.min(self.rows.max(FIRST_ROOM)) } else { 1 };
        loop {
            let slots = if keyed { 2 * room.next_power_of_two() } else { 1 };
            kernel.kernel.words[kernel.mask_word] = slots as u64 - 1;
            kernel.kernel.words[kernel.room_word] = room as u64;
            let ready = self.ready(&kernel.kernel)?;
            let slots = self.device().filled(4 * slots, 0)?;
            let count = self.device().filled(4, 0)?;
            let keys = self.device().allocate(8 * room * kernel.key_words.max(1))?;
            let states = self.device().filled(8 * room * kernel.state_words.max(1), 0)?;
            // SAFETY: keys and states have room for so many groups as the parameter says, and slots are as many as it says.
            unsafe { self.launch(&kernel.kernel, "group", &ready, &[&slots, &count, &keys, &states])? };
            let (status, seen) = self.ended(&ready)?;
            if status & FULL != 0 {
                room *= 8;
                continue;
            }
            self.running.room.fetch_max(room, Ordering::Relaxed);
            let groups = if keyed { self.download::<u32>(&count, 1)?[0] as usize } else { 1 };
            let keys = self.download::<u64>(&keys, groups * kernel.key_words)?;
            let states = self.download::<u64>(&states, groups * kernel.state_words)?;
            let mut columns = Vec::with_capacity(kernel.keys.len() + kernel.states.len());
            for (number, key) in kernel.keys.iter().enumerate() {
                columns.push(key_column(key, number, &keys, kernel.key_words, &ready.heaps)?);
            }
            for state in &kernel.states {
                columns.push(state_column(state, &states, kernel.state_words, groups, &ready.heaps)?);
            }
            drop(ready.host_words);
            return Ok((Chunk::new(columns, groups), seen));
        }
    }
}

/// The arrays of a column.
fn column<'a>(chunks: &'a [Chunk], place: usize) -> Result<Vec<&'a ArrayRef>> {
    let column = |chunk: &'a Chunk| {
        let columns = &chunk.columns;
        columns
            .get(place)
            .ok_or_else(|| Error::internal(format!("column {place} of a chunk that has {}", columns.len())))
    };
    chunks.iter().map(column).collect()
}

fn key_column(key: &KeyOut, number: usize, words: &[u64], stride: usize, heaps: &Heaps) -> Result<ArrayRef> {
    let groups = || words.chunks_exact(stride.max(1));
    let nulls = NullBuffer::from_iter(groups().map(|group| group[0] >> number & 1 == 0));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    let carried = bireme_engine::morsel::carried_type(&key.logical);
    match key.form {
        Form::Text => heaps.texts(groups().map(|group| (group[key.word], group[key.word + 1])), &carried, nulls),
        Form::Wide => {
            let wide = groups().map(|group| wide(group[key.word], group[key.word + 1])).collect::<Vec<_>>();
            let rows = wide.len();
            of_bytes(&carried, Buffer::from_vec(wide), rows, nulls)
        }
        _ => of_words(&carried, groups().map(|group| group[key.word]), nulls),
    }
}

fn wide(low: u64, high: u64) -> i128 {
    (u128::from(high) << 64 | u128::from(low)).cast_signed()
}

fn state_column(state: &StateOut, words: &[u64], stride: usize, groups: usize, heaps: &Heaps) -> Result<ArrayRef> {
    let group = |number: usize| &words[number * stride + state.word..(number + 1) * stride];
    let all = || (0..groups).map(group);
    if state.fold == Fold::Count {
        return of_words(&DataType::Int64, all().map(|group| group[0]), None);
    }
    let nulls = NullBuffer::from_iter(all().map(|group| group[state.limbs] != 0));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    match state.fold {
        Fold::Exact => {
            let sums = all().map(|group| {
                let high = if state.limbs == 3 { group[2] } else { ((group[1].cast_signed()) >> 63).cast_unsigned() };
                let low = u128::from(group[1]) << 64 | u128::from(group[0]);
                arrow::datatypes::i256::from_parts(low, i128::from(high.cast_signed()))
            });
            let sums = sums.collect::<Vec<_>>();
            of_bytes(&DataType::Decimal256(76, 0), Buffer::from_vec(sums), groups, nulls)
        }
        Fold::Float => of_words(&DataType::Float64, all().map(|group| group[0]), nulls),
        Fold::Extreme { .. } if state.form == Form::Text => {
            heaps.texts(all().map(|group| (group[1], group[2])), &state.carried(), nulls)
        }
        Fold::Extreme { .. } if state.limbs == 3 => {
            let values = all().map(|group| wide(group[1], group[2])).collect::<Vec<_>>();
            of_bytes(&state.carried(), Buffer::from_vec(values), groups, nulls)
        }
        Fold::Extreme { largest } => {
            let sign = 1_u64 << 63;
            let words = all().map(|group| {
                let bits = if largest { group[0] } else { !group[0] };
                match state.form {
                    Form::Bool | Form::Int(_, false) => bits,
                    Form::Float(width) => unordered((bits ^ sign).cast_signed(), width),
                    _ => bits ^ sign,
                }
            });
            match state.carried() {
                wide @ DataType::Decimal128(..) => {
                    let values = words.map(|word| i128::from(word.cast_signed())).collect::<Vec<_>>();
                    of_bytes(&wide, Buffer::from_vec(values), groups, nulls)
                }
                carried => of_words(&carried, words, nulls),
            }
        }
        Fold::Count => Err(Error::internal("a count is no fold of values")),
    }
}

/// The bits of a float by its place in the total order.
fn unordered(key: i64, width: u8) -> u64 {
    if width == 32 {
        let key = key as i32;
        return u64::from((key ^ (((key >> 31) as u32) >> 1) as i32) as u32);
    }
    (key ^ (((key >> 63) as u64) >> 1) as i64) as u64
}
