//! A batch on a device: its columns go there, kernels run on them, and what they made comes back.
//!
//! ```text
//!   columns that the kernel reads ─► memory    count ─► prefix sums ─► write ─► columns, and rows that the host gathers others of
//!                                              group ─► again with more room if it was too little ─► groups
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use bireme_engine::device::{Argument, Buffer as DeviceMemory, Device, Grid};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};

use super::code::{Form, Memory, Origin, Shapes};
use super::column::{Heaps, HostColumn, of_bytes, of_words, shape};
use super::group_columns::{key_column, state_column};
use super::groups::GroupKernel;
use super::kernel::{BLOCKS, Kernel, THREADS};
use super::rows::{Output, RowKernel};
use super::table::DeviceTable;
use crate::accelerator::{Moved, download, prefix_sums};
use crate::hash_join::gather_rows;

/// Rows that may come of a batch: where joins make more, it goes in parts.
const MOST_MADE: usize = 4 << 20;

/// Groups that a batch has room for at first.
pub(super) const FIRST_ROOM: usize = 1 << 12;

/// As the kernels call them.
const FAILED: u32 = 1;
const FULL: u32 = 2;

/// Why a batch was not run: it is the host's.
pub(super) enum Refused {
    Host(String),
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Error(error)
    }
}

/// Rows that a kernel runs on.
pub(super) struct Batch<'a> {
    device: &'a Device,
    chunks: &'a [Chunk],
    tables: &'a [DeviceTable],
    /// Steps whose rows kernels count.
    steps: usize,
    rows: usize,
    /// What is known of columns.
    pub shapes: Shapes,
    /// Columns that are on the device.
    columns: BTreeMap<usize, Vec<Uploaded>>,
    /// Of build sides: which rows have a partner, as far as this batch knows.
    pub marks: BTreeMap<usize, Arc<DeviceMemory>>,
    pub moved: Moved,
}

/// A part of a column on the device, and what the host has of it if it is of texts.
struct Uploaded {
    part: Memory,
    memory: Arc<DeviceMemory>,
    heap: Option<Buffer>,
}

/// A kernel with all that it reads at hand.
struct Ready {
    words: DeviceMemory,
    read: Vec<Arc<DeviceMemory>>,
    seen: DeviceMemory,
    status: DeviceMemory,
    heaps: Heaps,
}

impl<'a> Batch<'a> {
    /// Of chunks of which kernels read some columns.
    pub fn new(
        device: &'a Device,
        chunks: &'a [Chunk],
        tables: &'a [DeviceTable],
        read: &[usize],
        steps: usize,
    ) -> std::result::Result<Self, Refused> {
        let rows = chunks.iter().map(|chunk| chunk.rows).sum::<usize>();
        if rows >= u32::MAX as usize {
            return Err(Refused::Host("a batch of 2^32 rows".into()));
        }
        let mut shapes = Shapes::new();
        for &place in read {
            shapes.insert((Origin::Rows, place), shape(&column(chunks, place)?, true));
        }
        tables.iter().enumerate().for_each(|(number, table)| table.describe(number, &mut shapes));
        let (columns, marks) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { device, chunks, tables, steps, rows, shapes, columns, marks, moved: Moved::default() })
    }

    fn upload(&mut self, bytes: &Buffer) -> Result<DeviceMemory> {
        self.moved.up += bytes.len() as u64;
        self.device.upload(bytes.as_slice())
    }

    /// Brings what a kernel reads to the device.
    fn ready(&mut self, kernel: &Kernel) -> Result<Ready> {
        let mut words = kernel.words.clone();
        words[0] = self.rows as u64;
        let host_words = Buffer::from_vec(words);
        let words = self.upload(&host_words)?;
        let mut heaps = Heaps::default();
        heaps.add(&words, &host_words);
        let mut read = Vec::with_capacity(kernel.memory.len());
        for &memory in &kernel.memory {
            read.push(match memory {
                Memory::Values(Origin::Rows, place)
                | Memory::Valid(Origin::Rows, place)
                | Memory::Heap(Origin::Rows, place) => {
                    if !self.columns.contains_key(&place) {
                        let parts = self.column(place)?;
                        self.columns.insert(place, parts);
                    }
                    let found = self.columns[&place].iter().find(|uploaded| uploaded.part == memory);
                    found
                        .map(|uploaded| Arc::clone(&uploaded.memory))
                        .ok_or_else(|| Error::internal("a part of a column that it does not have"))?
                }
                Memory::Marks(number) => {
                    let rows = self.tables[number].rows();
                    let marks = self.device.filled(4 * rows.div_ceil(32).max(1), 0)?;
                    // Held twice: the batch reads them in the end.
                    let marks = Arc::new(marks);
                    self.marks.insert(number, Arc::clone(&marks));
                    marks
                }
                Memory::Values(Origin::Table(number), _)
                | Memory::Valid(Origin::Table(number), _)
                | Memory::Heap(Origin::Table(number), _)
                | Memory::Heads(number)
                | Memory::Next(number) => self.tables[number].memory(self.device, memory)?,
            });
        }
        for uploaded in self.columns.values().flatten() {
            uploaded.heap.iter().for_each(|heap| heaps.add(&uploaded.memory, heap));
        }
        self.tables.iter().for_each(|table| table.add_heaps(&mut heaps));
        let seen = self.device.filled(8 * self.steps.max(1), 0)?;
        let status = self.device.filled(4, 0)?;
        Ok(Ready { words, read, seen, status, heaps })
    }

    fn column(&mut self, place: usize) -> Result<Vec<Uploaded>> {
        let stored = self.shapes[&(Origin::Rows, place)];
        let host = HostColumn::of(&column(self.chunks, place)?, stored)?;
        let mut parts = Vec::new();
        let mut part = |part: Memory, bytes: &Buffer, heap: Option<Buffer>| -> Result<()> {
            parts.push(Uploaded { part, memory: Arc::new(self.upload(bytes)?), heap });
            Ok(())
        };
        part(Memory::Values(Origin::Rows, place), &host.values, None)?;
        if let Some(valid) = &host.valid {
            part(Memory::Valid(Origin::Rows, place), valid, None)?;
        }
        if let Some(heap) = &host.heap {
            part(Memory::Heap(Origin::Rows, place), heap, Some(heap.clone()))?;
        }
        Ok(parts)
    }

    /// Runs a kernel on all rows.
    ///
    /// # Safety
    /// What it writes has room for what it makes of them.
    unsafe fn launch(&self, kernel: &Kernel, name: &str, ready: &Ready, writes: &[&DeviceMemory]) -> Result<()> {
        let module = self.device.load(&kernel.source)?;
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
        let seen = self.download::<u64>(&ready.seen, self.steps)?;
        Ok((status, seen.to_vec()))
    }

    fn download<T: ArrowNativeType>(&mut self, memory: &DeviceMemory, count: usize) -> Result<ScalarBuffer<T>> {
        self.moved.down += (count * size_of::<T>()) as u64;
        download(self.device, memory, count)
    }

    /// The rows that go on.
    pub fn rows(&mut self, kernel: RowKernel) -> std::result::Result<(Vec<Chunk>, Vec<u64>), Refused> {
        let RowKernel { kernel, outputs, numbered, straight } = kernel;
        let ready = self.ready(&kernel)?;
        let (mut starts, mut total, mut seen) = (None, self.rows, Vec::new());
        if !straight {
            let counts = self.device.allocate(4 * self.rows)?;
            // SAFETY: a count for each row.
            unsafe { self.launch(&kernel, "count", &ready, &[&counts])? };
            seen = self.ended(&ready)?.1;
            let (of_rows, all) = prefix_sums::starts(self.device, &counts, self.rows)?;
            if all > MOST_MADE {
                return Err(Error::resources("a device has no room for what joins make of a batch").into());
            }
            (starts, total) = (Some(of_rows), all);
        }
        let Some(outputs) = outputs.filter(|_| total > 0) else { return Ok((Vec::new(), seen)) };
        let nowhere = self.device.allocate(8)?;
        let mut written = Vec::new();
        for output in &outputs {
            if let Output::Values { form, nullable, .. } = output {
                written.push(self.device.allocate(form.bytes() * total)?);
                if *nullable {
                    written.push(self.device.allocate(total)?);
                }
            }
        }
        for _ in &numbered {
            written.push(self.device.allocate(4 * total)?);
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

    /// The groups of all rows; there was room for `room` of them, and is for what it says then.
    pub fn group(
        &mut self,
        mut kernel: GroupKernel,
        room: &AtomicUsize,
    ) -> std::result::Result<(Chunk, Vec<u64>), Refused> {
        let keyed = !kernel.keys.is_empty();
        let known = room.load(Ordering::Relaxed);
        let mut here = if keyed { known.min(self.rows.max(FIRST_ROOM)) } else { 1 };
        loop {
            let slots = if keyed { 2 * here.next_power_of_two() } else { 1 };
            kernel.kernel.words[kernel.mask_word] = slots as u64 - 1;
            kernel.kernel.words[kernel.room_word] = here as u64;
            let ready = self.ready(&kernel.kernel)?;
            let slots = self.device.filled(4 * slots, 0)?;
            let count = self.device.filled(4, 0)?;
            let keys = self.device.allocate(8 * here * kernel.key_words.max(1))?;
            let states = self.device.filled(8 * here * kernel.state_words.max(1), 0)?;
            // SAFETY: keys and states have room for so many groups as the parameter says, and slots are as many as it says.
            unsafe { self.launch(&kernel.kernel, "group", &ready, &[&slots, &count, &keys, &states])? };
            let (status, seen) = self.ended(&ready)?;
            if status & FULL != 0 {
                here *= 8;
                continue;
            }
            room.fetch_max(here, Ordering::Relaxed);
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
