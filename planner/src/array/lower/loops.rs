//! Loops: element-wise entries of one shape and level, and folds over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::array::{Bound, FoldTo, Instr, Loop, Move, Reduction, Region, Slot, Step};

use super::{Lowering, shifted};
use crate::array::affine::Affine;
use crate::array::op::Op;
use crate::array::tiling::Tiling;

impl Lowering<'_> {
    /// A loop over a shape: stores of element-wise entries, and folds. Over tiles there are no folds, and nothing that depends on where in
    /// the array an element is: each rank's loop is over its own tile.
    pub(super) fn looped(
        &mut self,
        shape: Vec<usize>,
        fold: Option<(usize, usize)>,
        tiling: Option<&Tiling>,
        members: &[usize],
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let level = members.first().map_or(0, |&member| self.levels[member]);
        let mut writer = LoopWriter { level, tiling: tiling.cloned().map(Arc::new), ..LoopWriter::default() };
        let regions = match tiling {
            Some(tiling) => tiling.regions().to_vec(),
            None => self.places.regions(&shape),
        };
        // Operands first: a long chain of operations, made from its end, would not fit on the stack.
        for number in self.made_within(&writer, members) {
            self.value(&mut writer, number, &shape, &regions)?;
        }
        let (mut stores, mut reductions) = (Vec::new(), Vec::new());
        for &number in members {
            if let Op::Reduce(how, ..) = self.entry(number).op {
                let value = self.value(&mut writer, self.entry(number).operands[0], &shape, &regions)?;
                reductions.push((number, Reduction { fold: how, value }));
            } else {
                stores.push((number, self.make(&mut writer, number, &shape, &regions)?));
            }
        }
        let mut to = Vec::new();
        for (number, _) in &stores {
            to.push(self.made(*number, regions.clone()));
        }
        let mut folds = Vec::new();
        for (number, _) in &reductions {
            folds.push(self.fold_to(*number, &shape, fold.unwrap_or_default()));
        }
        let mut looped = Loop {
            shape,
            instructions: writer.instructions,
            stores: stores.iter().map(|store| store.1).collect(),
            reductions: reductions.iter().map(|reduction| reduction.1).collect(),
            folded: fold.unwrap_or_default(),
        };
        let name = |slot: Slot| format!("%{slot}");
        let inputs = writer.inputs.iter().map(|input| name(input.slot)).collect::<Vec<_>>();
        let stored = to.iter().map(|to| name(to.0)).collect::<Vec<_>>();
        let folded = folds.iter().map(|to| name(to.slot)).collect::<Vec<_>>();
        lines.extend(looped.lines(&inputs, &stored, &folded));
        if let Some(tiling) = tiling {
            lines.push(format!("    over tiles: {tiling}"));
        }
        self.work += (regions[self.rank].len() * looped.weight()) as u64;
        let mut rows = self.places.rows(&looped.shape, self.rank);
        if tiling.is_some() {
            let own = &regions[self.rank];
            writer.inputs = writer.inputs.into_iter().map(|input| shifted(input, own.ranges())).collect();
            looped.shape = own.shape();
            rows = 0..looped.shape.first().copied().unwrap_or(1);
        }
        steps.push(Step::Loop { looped, rows, inputs: writer.inputs, numbers: writer.numbers, stores: to, folds });
        Ok(())
    }

    /// What a loop makes for its members, operands before what is made of them.
    fn made_within(&self, writer: &LoopWriter, members: &[usize]) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let mut waiting = members.to_vec();
        while let Some(number) = waiting.pop() {
            for &operand in &self.entry(number).operands {
                let entry = self.entry(operand);
                let here = entry.op.is_source() || entry.op.is_pointwise() && !self.is_read(writer, operand);
                if here && seen.insert(operand) {
                    waiting.push(operand);
                }
            }
        }
        seen.into_iter().collect()
    }

    /// Where the fold of a loop over a shape goes.
    fn fold_to(&mut self, number: usize, shape: &[usize], (from, to): (usize, usize)) -> FoldTo {
        let result = &self.entry(number).shape;
        let results = shape[to..].iter().product();
        if from == 0 && to > 0 && self.places.cuts(shape) {
            // Its regions are known when the subtrees are put together.
            let slot = self.slot(self.entry(number).dtype, vec![Region::empty(result.len()); self.places.ranks]);
            self.slots[number] = Some(slot);
            return FoldTo { slot, region: None, results };
        }
        let region = |rank: usize| {
            let rest = result.iter().skip(1).map(|&extent| 0..extent);
            match from {
                0 => Region::whole(result),
                _ => Region::new(std::iter::once(self.places.rows(shape, rank)).chain(rest).collect::<Vec<_>>()),
            }
        };
        let regions = (0..self.places.ranks).map(region).collect();
        let (slot, region) = self.made(number, regions);
        FoldTo { slot, region: Some(region), results }
    }

    /// After a level: folds over cut axes are put together by all ranks.
    pub(super) fn fold_moves(&mut self, level: usize) {
        for number in 0..self.sketch.entries.len() {
            let entry = self.entry(number);
            let (Op::Reduce(fold, 0, to), Some(from)) = (&entry.op, self.slots[number]) else { continue };
            let of = self.entry(entry.operands[0]);
            if self.levels[number] != level || !self.places.cuts(&of.shape) || *to == 0 {
                continue;
            }
            let whole = Region::whole(&entry.shape);
            let slot = self.slot(entry.dtype, vec![whole.clone(); self.places.ranks]);
            self.slots[number] = Some(slot);
            self.move_lines.push(format!("move %{slot} = {fold} of all ranks' %{from}"));
            self.moves.push(Move::Folds { from, to: (slot, whole), dtype: of.dtype, fold: *fold });
        }
    }

    /// Whether a loop reads an entry: it is in memory, and if another loop of this level has made it, it lies as this loop's elements do, for
    /// between the two nothing is moved.
    fn is_read(&self, writer: &LoopWriter, number: usize) -> bool {
        let elsewhere = self.levels[number] == writer.level && self.tilings[number] != writer.tiling;
        self.slots[number].is_some() && !(self.entry(number).op.is_pointwise() && elsewhere)
    }

    /// The value of an entry in a loop: made there, or read.
    fn value(&mut self, writer: &mut LoopWriter, number: usize, shape: &[usize], regions: &[Region]) -> Result<usize> {
        if let Some(&value) = writer.values.get(&number) {
            return Ok(value);
        }
        let seen = self.seen(number);
        let entry = self.entry(number);
        let made_before = self.is_read(writer, seen.entry);
        if entry.op.is_source() || entry.op.is_pointwise() && !made_before {
            return self.make(writer, number, shape, regions);
        }
        let bound = self.bound(number, &Affine::broadcast(&entry.shape, shape), regions)?;
        let value = writer.load(bound);
        writer.values.insert(number, value);
        Ok(value)
    }

    /// Makes an element-wise entry in a loop.
    fn make(&mut self, writer: &mut LoopWriter, number: usize, shape: &[usize], regions: &[Region]) -> Result<usize> {
        if let Some(&value) = writer.values.get(&number) {
            return Ok(value);
        }
        let entry = self.entry(number);
        let mut values = Vec::with_capacity(entry.operands.len());
        for &operand in &entry.operands {
            values.push(self.value(writer, operand, shape, regions)?);
        }
        let first = self.first_numbers[number];
        let instruction = match (&entry.op, values.as_slice()) {
            (Op::Number, _) => Instr::Number(writer.number(first), entry.dtype),
            (Op::Random(draw), _) => {
                Instr::Random(*draw, entry.dtype, [writer.number(first), writer.number(first + 1)])
            }
            (Op::Index(axis), _) => match axis + shape.len() - entry.shape.len() {
                at if shape[at] == entry.shape[*axis] => Instr::Index(at),
                // Stretched from one index, which is 0.
                _ => return Err(Error::internal("an index along an axis of another extent")),
            },
            (Op::Unary(unary), &[a]) => Instr::Unary(*unary, a),
            (Op::Binary(binary), &[a, b]) => Instr::Binary(*binary, a, b),
            (Op::Compare(compare), &[a, b]) => Instr::Compare(*compare, a, b),
            (Op::Select, &[mask, a, b]) => Instr::Select(mask, a, b),
            (Op::Cast, &[a]) if self.entry(entry.operands[0]).dtype == entry.dtype => {
                writer.values.insert(number, a);
                return Ok(a);
            }
            (Op::Cast, &[a]) => Instr::Cast(entry.dtype, a),
            (op, _) => return Err(Error::internal(format!("{op} of {} values in a loop", values.len()))),
        };
        let value = writer.push(instruction);
        writer.values.insert(number, value);
        Ok(value)
    }
}

/// Writes a loop's instructions.
#[derive(Default)]
struct LoopWriter {
    level: usize,
    tiling: Option<Arc<Tiling>>,
    instructions: Vec<Instr>,
    inputs: Vec<Bound>,
    /// Which of the program's numbers are the loop's.
    numbers: Vec<usize>,
    /// What was made of which entry.
    values: BTreeMap<usize, usize>,
}

impl LoopWriter {
    fn push(&mut self, instruction: Instr) -> usize {
        if let Some(same) = self.instructions.iter().position(|one| *one == instruction) {
            return same;
        }
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }

    fn load(&mut self, bound: Bound) -> usize {
        let input = self.inputs.iter().position(|input| *input == bound).unwrap_or_else(|| {
            self.inputs.push(bound);
            self.inputs.len() - 1
        });
        let dtype = self.inputs[input].dtype;
        self.push(Instr::Load(input, dtype))
    }

    fn number(&mut self, number: usize) -> usize {
        self.numbers.iter().position(|&one| one == number).unwrap_or_else(|| {
            self.numbers.push(number);
            self.numbers.len() - 1
        })
    }
}
