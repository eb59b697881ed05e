//! The build side of a join on a device: its rows as the host keeps them, and a directory of chains.
//!
//! ```text
//!   heads   by hash: the last row of a chain, or none        heads[h] ─► 7 ─next─► 3 ─next─► none
//!   next    by row: the row before it in its chain
//! ```
//!
//! Cost of a probe: a load for the head, then one for each key and row of the chain; there are twice as many places as rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use bireme_engine::device::{Argument, Buffer as DeviceMemory, Device, Grid};
use bireme_engine::error::{Error, Result};
use parking_lot::Mutex;

use super::body::{Built, Key, hash};
use super::code::{Memory, Origin, Shapes, Stored, Writer, Written};
use super::column::{Heaps, HostColumn, shape};
use super::kernel::{BLOCKS, Parts, THREADS};
use crate::accelerator::download;
use crate::hash_join::JoinTable;

/// A build side whose columns go to the device when they are first asked for.
pub(super) struct DeviceTable {
    table: Arc<JoinTable>,
    columns: BTreeMap<usize, (ArrayRef, Stored)>,
    held: Mutex<Held>,
    mask: u64,
}

#[derive(Default)]
struct Held {
    memory: BTreeMap<(usize, Part), Arc<DeviceMemory>>,
    heaps: Vec<(Arc<DeviceMemory>, Buffer)>,
    directory: Option<(Arc<DeviceMemory>, Arc<DeviceMemory>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Values,
    Valid,
    Heap,
}

impl DeviceTable {
    /// A table for a device; why there is none.
    pub fn new(table: &Arc<JoinTable>) -> Written<Self> {
        let columns = table.rows_kept().ok_or("a join's table that is partly on disk")?;
        let rows = table.rows();
        if rows >= u32::MAX as usize {
            return Err("a join's table of 2^32 rows".into());
        }
        let columns = columns.into_iter().map(|(place, column)| {
            let stored = shape(&[&column], true);
            (place, (column, stored))
        });
        let mask = (2 * rows as u64).next_power_of_two().max(2) - 1;
        Ok(Self { table: Arc::clone(table), columns: columns.collect(), held: Mutex::default(), mask })
    }

    /// What a kernel is told of it.
    pub fn built(&self) -> Built {
        Built { mask: self.mask, nulls: self.table.nulls_on_build_side() }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }

    /// Marks rows that have a partner.
    pub fn mark(&self, bits: &[u32]) {
        self.table.mark(bits);
    }

    /// Adds its columns to what is known of a kernel's.
    pub fn describe(&self, number: usize, shapes: &mut Shapes) {
        shapes.extend(self.columns.iter().map(|(&place, (_, stored))| ((Origin::Table(number), place), *stored)));
    }

    /// A column as the host has it.
    pub fn column(&self, place: usize) -> Result<&ArrayRef> {
        let column = self.columns.get(&place).map(|(column, _)| column);
        column.ok_or_else(|| Error::internal(format!("a join has not kept column {place}")))
    }

    /// Memory that a kernel reads. Marks are not the table's: each batch has its own.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    pub fn memory(&self, device: &Device, wanted: Memory) -> Result<Arc<DeviceMemory>> {
        let (place, part) = match wanted {
            Memory::Heads(_) => return Ok(self.directory(device)?.0),
            Memory::Next(_) => return Ok(self.directory(device)?.1),
            Memory::Values(_, place) => (place, Part::Values),
            Memory::Valid(_, place) => (place, Part::Valid),
            Memory::Heap(_, place) => (place, Part::Heap),
            Memory::Marks(_) => return Err(Error::internal("marks of a table")),
        };
        let mut held = self.held.lock();
        if let Some(memory) = held.memory.get(&(place, part)) {
            return Ok(Arc::clone(memory));
        }
        let (column, stored) =
            self.columns.get(&place).ok_or_else(|| Error::internal(format!("a join has not kept column {place}")))?;
        let host = HostColumn::of(&[column], *stored)?;
        held.memory.insert((place, Part::Values), Arc::new(device.upload(host.values.as_slice())?));
        if let Some(valid) = &host.valid {
            held.memory.insert((place, Part::Valid), Arc::new(device.upload(valid.as_slice())?));
        }
        if let Some(heap) = host.heap {
            let memory = Arc::new(device.upload(heap.as_slice())?);
            held.memory.insert((place, Part::Heap), Arc::clone(&memory));
            held.heaps.push((memory, heap));
        }
        let memory = held.memory.get(&(place, part)).cloned();
        memory.ok_or_else(|| Error::internal("a part of a column that it does not have"))
    }

    /// Where its texts are.
    pub fn add_heaps(&self, heaps: &mut Heaps) {
        self.held.lock().heaps.iter().for_each(|(memory, host)| heaps.add(memory, host));
    }

    fn directory(&self, device: &Device) -> Result<(Arc<DeviceMemory>, Arc<DeviceMemory>)> {
        if let Some((heads, next)) = &self.held.lock().directory {
            return Ok((Arc::clone(heads), Arc::clone(next)));
        }
        let rows = self.table.rows();
        let heads = Arc::new(device.filled(4 * (self.mask as usize + 1), 0xff)?);
        let next = Arc::new(device.filled(4 * rows, 0xff)?);
        let (kernel, status) = (self.index().map_err(Error::internal)?, device.filled(4, 0)?);
        let module = device.load(&kernel.source)?;
        let words = device.upload(Buffer::from_vec(kernel.words.clone()).as_slice())?;
        let read = kernel.memory.iter().map(|&memory| self.memory(device, memory)).collect::<Result<Vec<_>>>()?;
        let mut arguments = vec![Argument::Memory(&words)];
        arguments.extend(read.iter().map(|memory| Argument::Memory(memory)));
        arguments.extend([&*heads, &*next].map(Argument::Memory));
        arguments.extend([Argument::Nothing, Argument::Memory(&status)]);
        if rows > 0 {
            // SAFETY: the parameters of the kernel as it is written below; it reads columns of `rows` rows and writes heads of `mask` and
            // one places and a link for each row.
            unsafe { module.launch("link", &Grid::covering(rows, THREADS, BLOCKS), &arguments)? };
        }
        // Whoever probes does so behind it on the same device; that it went well is known now.
        download::<u32>(device, &status, 1)?;
        self.held.lock().directory = Some((Arc::clone(&heads), Arc::clone(&next)));
        Ok((heads, next))
    }

    /// The kernel that links rows into chains.
    fn index(&self) -> Written<super::kernel::Kernel> {
        let shapes =
            self.columns.iter().map(|(&place, (_, stored))| ((Origin::Rows, place), *stored)).collect::<Shapes>();
        let mut writer = Writer::new(Some(&shapes));
        writer.word(self.table.rows() as u64);
        let mask = writer.word(self.mask);
        let spec = self.table.spec();
        let mut keys = Vec::new();
        for (place, logical) in self.table.build_keys() {
            keys.push(Key::of(&writer.column(Origin::Rows, place, Some(&logical))?, &logical));
        }
        if !spec.nulls_match {
            keys.iter()
                .filter_map(|key| key.valid.clone())
                .for_each(|valid| writer.line(format!("if (!{valid}) continue;")));
        }
        let hash = hash(&mut writer, &keys);
        writer.line(format!("next[row] = atomicExch(heads + ({hash} & p[{mask}]), (u32)row);"));
        let text = std::mem::take(&mut writer.text);
        let mut parts = Parts::of(0);
        parts.kernel(&writer, "link", &["u32 *heads", "u32 *next"], &text);
        Ok(parts.finish(writer))
    }
}
