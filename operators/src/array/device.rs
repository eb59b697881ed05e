//! Loops on a device: element-wise work and folds as kernels.
//!
//! What a loop stores comes back to the host, and stays on the device as long as the plan runs, for later loops that read it. What has no
//! kernel yet (random numbers, folds of places or of nothing) runs on the CPU; nothing is silent: [`Accelerator::report`] says how many loops ran where, and why.

mod source;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::device::{Argument, Buffer as Memory, Grid};
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::dtype::Scalar;
use super::folding::Folding;
use super::operand::Operand;
use super::program::Loop;
use super::run::Ran;
use crate::accelerator::{Accelerator, Moved, Work};
use source::{Kernel, NAME, TEAM};

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several elements of a large loop.
const BLOCKS: u32 = 132 * 32;

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
        let mut known = self.known.lock();
        // Views of one allocation are counted together, each of ours among them.
        let mut ours = BTreeMap::<usize, usize>::new();
        known.values().for_each(|copied| *ours.entry(copied.host.data_ptr().as_ptr() as usize).or_default() += 1);
        known.retain(|_, copied| {
            let here = ours.get(&(copied.host.data_ptr().as_ptr() as usize)).copied().unwrap_or(0);
            copied.host.strong_count() > here
        });
    }
}

impl Accelerator {
    /// Runs a loop over the elements whose first index is in `rows`; `None` if it has no kernel, or the device no memory for it.
    ///
    /// # Errors
    /// The device fails; as [`super::run`].
    pub(super) fn run(
        &self,
        looped: &Loop,
        rows: &Range<usize>,
        operands: &[Operand],
        numbers: &[Scalar],
        copies: &Copies,
    ) -> Result<Option<Ran>> {
        let types = looped.types();
        let folding = Folding { looped, types: &types, rows };
        match Kernel::of(&folding, operands, numbers)? {
            Ok(kernel) => self.counted(Work::Loops, self.launched(&folding, kernel, operands, copies)),
            Err(reason) => {
                self.count_on_cpu(Work::Loops, reason);
                Ok(None)
            }
        }
    }

    fn launched(
        &self,
        folding: &Folding<'_>,
        Kernel { source, words, cut }: Kernel,
        operands: &[Operand],
        copies: &Copies,
    ) -> Result<(Ran, Moved)> {
        let Folding { looped, types, .. } = *folding;
        let module = self.device().load(&source)?;
        let elements = (words[1] - words[0]) as usize;
        let behind = looped.thirds()[2];
        let leaves = cut.as_ref().map_or(0, |cut| cut.outer.len() * cut.own.len() * behind);
        let parameters = self.device().upload(Buffer::from_vec(words).as_slice())?;
        let uploaded = Cell::new(0);
        let inputs = operands.iter().map(|operand| self.copy(operand.data(), copies, &uploaded));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let stored = looped.stores.iter().map(|&value| elements * types[value].bytes());
        let folded = looped.reductions.iter().map(|reduction| leaves * types[reduction.value].bytes());
        let outputs = stored.chain(folded).map(|bytes| self.device().allocate(bytes).map(Arc::new));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let memory = [&parameters].into_iter().chain(inputs.iter().map(AsRef::as_ref));
        let arguments = memory.chain(outputs.iter().map(AsRef::as_ref)).map(Argument::Memory).collect::<Vec<_>>();
        let threads = match cut.is_some() {
            true if behind == 1 => leaves * TEAM,
            true => leaves,
            false => elements,
        };
        if threads > 0 {
            // SAFETY: the parameters of the kernel as it was written. It reads inputs where their operands have elements, which was
            // checked when these were made, and writes the rows' elements and their leaves, for which each output has room.
            unsafe { module.launch(NAME, &Grid::covering(threads, THREADS, BLOCKS), &arguments)? };
        }
        let mut host = Vec::with_capacity(outputs.len());
        for (number, output) in outputs.into_iter().enumerate() {
            let mut memory = MutableBuffer::from_len_zeroed(output.bytes());
            self.device().download(&output, memory.as_slice_mut())?;
            let memory = Buffer::from(memory);
            if number < looped.stores.len() {
                copies.known.lock().insert(address(&memory), Copied { host: memory.clone(), device: output });
            }
            host.push(memory);
        }
        let moved = Moved { up: uploaded.get(), down: host.iter().map(|memory| memory.len() as u64).sum() };
        let folds = host.split_off(looped.stores.len());
        let folds = cut.map_or_else(Vec::new, |cut| folding.of_leaves(&cut, &folds));
        Ok((Ran { stores: host, folds }, moved))
    }

    /// The device's copy of a buffer; counts what is uploaded for it.
    fn copy(&self, data: &Buffer, copies: &Copies, uploaded: &Cell<u64>) -> Result<Arc<Memory>> {
        if let Some(copied) = copies.known.lock().get(&address(data)) {
            return Ok(Arc::clone(&copied.device));
        }
        let device = Arc::new(self.device().upload(data.as_slice())?);
        uploaded.set(uploaded.get() + data.len() as u64);
        copies.known.lock().insert(address(data), Copied { host: data.clone(), device: Arc::clone(&device) });
        Ok(device)
    }
}

fn address(data: &Buffer) -> Address {
    (data.as_ptr() as usize, data.len())
}
