//! Loops on a device: element-wise work and folds as kernels.
//!
//! What a loop stores comes back to the host, and stays on the device as long as the host has it, for what reads it later. What has no
//! kernel yet (random numbers, folds of places or of nothing) runs on the CPU; nothing is silent: [`Accelerator::report`] says how many loops ran where, and why.

mod source;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::device::{Argument, Grid};
use bireme_engine::error::Result;

use super::dtype::Scalar;
use super::folding::Folding;
use super::operand::Operand;
use super::program::Loop;
use super::run::Ran;
use crate::accelerator::{Accelerator, Moved, Work};
use crate::contract::{Einsum, Element, Factor, View, contract_on};
use source::{Kernel, NAME, TEAM};

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several elements of a large loop.
const BLOCKS: u32 = 132 * 32;

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
    ) -> Result<Option<Ran>> {
        let types = looped.types();
        let folding = Folding { looped, types: &types, rows };
        match Kernel::of(&folding, operands, numbers)? {
            Ok(kernel) => {
                let ran = self.with_room(|| self.launched(&folding, &kernel, operands));
                self.counted(Work::Loops, ran)
            }
            Err(reason) => {
                self.count_on_cpu(Work::Loops, reason);
                Ok(None)
            }
        }
    }

    fn launched(
        &self,
        folding: &Folding<'_>,
        Kernel { source, words, cut }: &Kernel,
        operands: &[Operand],
    ) -> Result<(Ran, Moved)> {
        let Folding { looped, types, .. } = *folding;
        let module = self.device().load(source)?;
        let elements = (words[1] - words[0]) as usize;
        let behind = looped.thirds()[2];
        let leaves = cut.as_ref().map_or(0, |cut| cut.outer.len() * cut.own.len() * behind);
        let parameters = self.device().upload(Buffer::from_vec(words.clone()).as_slice())?;
        let uploaded = Cell::new(0);
        let inputs = operands.iter().map(|operand| self.copies().of(self.device(), operand.data(), &uploaded));
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
                self.copies().keep(&memory, output);
            }
            host.push(memory);
        }
        let moved = Moved { up: uploaded.get(), down: host.iter().map(|memory| memory.len() as u64).sum() };
        let folds = host.split_off(looped.stores.len());
        let folds = cut.as_ref().map_or_else(Vec::new, |cut| folding.of_leaves(cut, &folds));
        Ok((Ran { stores: host, folds }, moved))
    }

    /// A product, plus `before` if there is some; `None` if it is the host's to compute.
    ///
    /// # Errors
    /// The device fails; as [`crate::contract::contract`].
    pub(super) fn multiply<T: Element>(
        &self,
        einsum: &Einsum,
        operands: &[(&Buffer, View<'_, T>)],
        before: Option<&Buffer>,
    ) -> Result<Option<Buffer>> {
        let multiplied = self.with_room(|| {
            let uploaded = Cell::new(0);
            let copy = |data: &Buffer| self.copies().of(self.device(), data, &uploaded);
            let factors = operands.iter().map(|(data, view)| Ok(Factor::of(copy(data)?, view)));
            let factors = factors.collect::<Result<Vec<_>>>()?;
            let before = before.map(copy).transpose()?;
            let made = contract_on::<T>(self.device(), einsum, &factors, before.as_deref())?;
            let Some(made) = made else { return Ok((None, Moved { up: uploaded.get(), down: 0 })) };
            let mut memory = MutableBuffer::from_len_zeroed(made.bytes());
            self.device().download(&made, memory.as_slice_mut())?;
            let memory = Buffer::from(memory);
            self.copies().keep(&memory, Arc::new(made));
            let moved = Moved { up: uploaded.get(), down: memory.len() as u64 };
            Ok((Some(memory), moved))
        });
        match multiplied {
            Ok((None, _)) => {
                self.count_on_cpu(Work::Products, "a sum of integers that does not fit".into());
                Ok(None)
            }
            other => Ok(self.counted(Work::Products, other)?.flatten()),
        }
    }
}
