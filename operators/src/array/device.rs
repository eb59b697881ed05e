//! Loops on a device: element-wise work as kernels.
//!
//! What a loop stores comes back to the host, and stays on the device as long as the plan runs, for later loops that read it. What has no
//! kernel yet (folds, random numbers) runs on the CPU; nothing is silent: [`Accelerator::report`] says how many loops ran where, and why.

mod source;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::device::{Argument, Buffer as Memory, Device, Grid};
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::dtype::Scalar;
use super::operand::Operand;
use super::program::Loop;
use source::{BOUNDS, Kernel, NAME};

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several elements of a large loop.
const BLOCKS: u32 = 132 * 32;

/// A device that loops run on, and what it has done; clones share both.
#[derive(Clone, Debug)]
pub struct Accelerator {
    device: Device,
    done: Arc<Mutex<Done>>,
}

#[derive(Debug, Default)]
struct Done {
    loops: u64,
    /// Loops that ran on the CPU, by why they did.
    on_cpu: BTreeMap<String, u64>,
    uploaded: u64,
    downloaded: u64,
}

/// What lies on the device while a plan runs, by where it lies on the host.
#[derive(Debug, Default)]
pub(super) struct Copies {
    known: Mutex<BTreeMap<Address, Copied>>,
}

/// Where the host's memory begins, and its bytes.
type Address = (usize, usize);

#[derive(Debug)]
struct Copied {
    /// Held, so that no other memory has its address.
    host: Buffer,
    device: Arc<Memory>,
}

impl Copies {
    /// Lets go of copies of what nobody else on the host holds.
    pub fn forget(&self) {
        self.known.lock().retain(|_, copied| copied.host.strong_count() > 1);
    }
}

impl Accelerator {
    /// Runs loops on this device.
    pub fn new(device: Device) -> Self {
        Self { device, done: Arc::default() }
    }

    /// What has run where, for people.
    pub fn report(&self) -> String {
        let done = self.done.lock();
        let on_cpu = done.on_cpu.iter().map(|(why, count)| format!("{count} ({why})")).collect::<Vec<_>>();
        format!(
            "{} loops on {}, {} bytes up and {} down; on the CPU: {}",
            done.loops,
            self.device.describe(),
            done.uploaded,
            done.downloaded,
            if on_cpu.is_empty() { "none".to_owned() } else { on_cpu.join(", ") }
        )
    }

    /// How many loops ran on the device, and how many on the CPU instead.
    pub fn counts(&self) -> (u64, u64) {
        let done = self.done.lock();
        (done.loops, done.on_cpu.values().sum())
    }

    /// The stored values of a loop for the elements whose first index is in `rows`; `None` if it has no kernel.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    pub(super) fn run(
        &self,
        looped: &Loop,
        rows: &Range<usize>,
        operands: &[Operand],
        numbers: &[Scalar],
        copies: &Copies,
    ) -> Result<Option<Vec<Buffer>>> {
        let Kernel { source, mut words } = match Kernel::of(looped, operands, numbers) {
            Ok(kernel) => kernel,
            Err(reason) => {
                *self.done.lock().on_cpu.entry(reason).or_default() += 1;
                return Ok(None);
            }
        };
        let width = looped.shape.iter().skip(1).product::<usize>();
        let (first, end) = (rows.start * width, rows.end * width);
        (words[0], words[1]) = (first as u64, end as u64);
        debug_assert!(words.len() >= BOUNDS);
        let module = self.device.load(&source)?;
        let parameters = self.device.upload(Buffer::from_vec(words).as_slice())?;
        let inputs = operands.iter().map(|operand| self.copy(operand.data(), copies)).collect::<Result<Vec<_>>>()?;
        let types = looped.types();
        let bytes = |value: &usize| (end - first) * types[*value].bytes();
        let outputs = looped.stores.iter().map(|value| self.device.allocate(bytes(value)).map(Arc::new));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let memory = [&parameters].into_iter().chain(inputs.iter().map(AsRef::as_ref));
        let arguments = memory.chain(outputs.iter().map(AsRef::as_ref)).map(Argument::Memory).collect::<Vec<_>>();
        if first < end {
            // SAFETY: the parameters of the kernel as it was written. It reads inputs where their operands have elements, which was
            // checked when these were made, and writes the elements from `first` to `end`, for which each output has room.
            unsafe { module.launch(NAME, &Grid::covering(end - first, THREADS, BLOCKS), &arguments)? };
        }
        let mut stores = Vec::with_capacity(outputs.len());
        for (value, output) in looped.stores.iter().zip(outputs) {
            let mut host = MutableBuffer::from_len_zeroed(bytes(value));
            self.device.download(&output, host.as_slice_mut())?;
            let host = Buffer::from(host);
            copies.known.lock().insert(address(&host), Copied { host: host.clone(), device: output });
            stores.push(host);
        }
        let mut done = self.done.lock();
        done.loops += 1;
        done.downloaded += stores.iter().map(|store| store.len() as u64).sum::<u64>();
        Ok(Some(stores))
    }

    /// The device's copy of a buffer.
    fn copy(&self, data: &Buffer, copies: &Copies) -> Result<Arc<Memory>> {
        if let Some(copied) = copies.known.lock().get(&address(data)) {
            return Ok(Arc::clone(&copied.device));
        }
        let device = Arc::new(self.device.upload(data.as_slice())?);
        self.done.lock().uploaded += data.len() as u64;
        copies.known.lock().insert(address(data), Copied { host: data.clone(), device: Arc::clone(&device) });
        Ok(device)
    }
}

fn address(data: &Buffer) -> Address {
    (data.as_ptr() as usize, data.len())
}
