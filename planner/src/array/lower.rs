//! From sketches to steps: levels, loops, slots, and what ranks move.
//!
//! *Levels.* What reads a fold, a product or any array that has to be stored first is one level above it; all of one level can run in any
//! order. Element-wise entries of one shape and level are one loop, with the folds over them and whatever of them is kept.
//!
//! ```text
//!   ap = A·p          level 0   Contract
//!   pap = Σ p·ap      level 1   loop: load p, ap; fold
//!   α = rs / pap      level 2 ┐ loop: α is a number for all elements,
//!   r' = r - α·ap     level 2 │       r' is kept,
//!   rs' = Σ r'·r'     level 2 ┘       rs' is folded in the same pass
//! ```
//!
//! *Moves.* An entry's elements lie where they were made. If some rank lacks what a step of it reads, all ranks move what is lacking
//! before the level, and read the copy.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::array::{
    Bound, DType, FoldTo, Instr, Loop, Move, Piece, Reduction, Region, Segment, Slot, Step, strides,
};
use bireme_operators::contract::Einsum;

use super::affine::Affine;
use super::op::Op;
use super::place::{Places, parts};
use super::sketch::{Entry, Keep, Sketch};

/// What one rank does.
#[derive(Clone, Debug)]
pub struct ArrayPlan {
    /// How many slots there are; the first are the inputs, in the sketch's order.
    pub slots: usize,
    /// What is done, in order.
    pub segments: Arc<Vec<Segment>>,
    /// What is said of each segment; the same on every rank.
    pub lines: Vec<Vec<String>>,
    /// The slots of the entries that are kept.
    pub kept: Vec<(usize, Slot)>,
    /// Work, in instructions on one element.
    pub work: u64,
    /// Bytes that this rank's slots need, but for the inputs'.
    pub bytes: usize,
    /// Bytes that ranks move, all together, but for folds.
    pub moved: u64,
}

/// Plans a sketch for one of the ranks.
///
/// # Errors
/// The sketch is not in order: always a bug of ours.
pub fn lower(sketch: &Sketch, places: Places, rank: usize) -> Result<ArrayPlan> {
    let (flat, numbers) = flat_reshapes(sketch, places);
    let mut lowering = Lowering::new(&flat, places, rank);
    for level in 0..=lowering.levels.iter().copied().max().unwrap_or(0) {
        lowering.level(level)?;
    }
    let mut plan = lowering.finish()?;
    // Kept entries are told by the numbers they were given.
    for (number, _) in &mut plan.kept {
        *number = numbers.iter().position(|new| new == number).unwrap_or(*number);
    }
    Ok(plan)
}

/// Reshapes of arrays that are cut go by way of one axis, along which every cut is a run. Also the new number of each entry.
fn flat_reshapes(sketch: &Sketch, places: Places) -> (Sketch, Vec<usize>) {
    let mut flat = Sketch::default();
    let mut new = Vec::with_capacity(sketch.entries.len());
    for entry in &sketch.entries {
        let mut entry = entry.clone();
        entry.operands.iter_mut().for_each(|operand| *operand = new[*operand]);
        if entry.op == Op::Reshape
            && places.cuts(&entry.shape) | entry.operands.iter().any(|&of| places.cuts(&flat.entries[of].shape))
        {
            let shape = vec![entry.shape.iter().product()];
            let between = Entry { op: Op::Reshape, shape, kept: Keep::No, ..entry.clone() };
            flat.entries.push(between);
            entry.operands = vec![flat.entries.len() - 1];
        }
        new.push(flat.entries.len());
        flat.entries.push(entry);
    }
    (flat, new)
}

struct Lowering<'a> {
    sketch: &'a Sketch,
    places: Places,
    rank: usize,
    levels: Vec<usize>,
    first_numbers: Vec<usize>,
    /// Entries whose elements are stored.
    stored: Vec<bool>,
    /// Where they are, once they are.
    slots: Vec<Option<Slot>>,
    /// Which elements each rank has of each slot.
    regions: Vec<Vec<Region>>,
    types: Vec<DType>,
    segments: Vec<Segment>,
    lines: Vec<Vec<String>>,
    current: Segment,
    current_lines: Vec<String>,
    /// Moves before the level that is planned.
    moves: Vec<Move>,
    move_lines: Vec<String>,
    /// Copies that moves make, by what is copied and which part of it each rank gets.
    copies: Vec<(Slot, Vec<Region>, Slot)>,
    /// Products of which each rank has a summand.
    summands: Vec<usize>,
    work: u64,
    moved: u64,
    inputs: usize,
}

/// A view of what is stored: which entry, seen how.
struct Seen {
    entry: usize,
    affine: Affine,
}

impl<'a> Lowering<'a> {
    fn new(sketch: &'a Sketch, places: Places, rank: usize) -> Self {
        let count = sketch.entries.len();
        let mut lowering = Self {
            sketch,
            places,
            rank,
            levels: vec![0; count],
            first_numbers: sketch.first_numbers(),
            stored: vec![false; count],
            slots: vec![None; count],
            regions: Vec::new(),
            types: Vec::new(),
            segments: Vec::new(),
            lines: Vec::new(),
            current: Segment::default(),
            current_lines: Vec::new(),
            moves: Vec::new(),
            move_lines: Vec::new(),
            copies: Vec::new(),
            summands: Vec::new(),
            work: 0,
            moved: 0,
            inputs: 0,
        };
        for number in sketch.inputs() {
            let entry = &sketch.entries[number];
            let slot = lowering.slot(entry.dtype, places.regions(&entry.shape));
            lowering.slots[number] = Some(slot);
            lowering.inputs += 1;
        }
        lowering.find_levels();
        lowering.find_stored();
        lowering
    }

    fn entry(&self, number: usize) -> &'a Entry {
        &self.sketch.entries[number]
    }

    fn slot(&mut self, dtype: DType, regions: Vec<Region>) -> Slot {
        self.regions.push(regions);
        self.types.push(dtype);
        self.regions.len() - 1
    }

    /// An entry behind all views, and how they see it.
    fn seen(&self, number: usize) -> Seen {
        let mut seen = Seen { entry: number, affine: Affine::identity(self.entry(number).shape.len()) };
        while let (Op::View(affine), [of]) = (&self.entry(seen.entry).op, &self.entry(seen.entry).operands[..]) {
            seen.affine = seen.affine.after(affine);
            seen.entry = *of;
        }
        seen
    }

    /// The first level at which an entry can be read from memory.
    fn available(&self, number: usize) -> usize {
        let seen = self.seen(number).entry;
        if self.entry(seen).op == Op::Input { 0 } else { self.levels[seen] + 1 }
    }

    /// Whether a loop over a shape can make an operand itself, if it is of the loop's level.
    fn is_inline(&self, operand: usize, shape: &[usize]) -> bool {
        let entry = self.entry(operand);
        entry.op.is_source() || entry.op.is_pointwise() && (entry.shape == shape || entry.shape.is_empty())
    }

    fn find_levels(&mut self) {
        for number in 0..self.sketch.entries.len() {
            let entry = self.entry(number);
            let of = |&operand: &usize| match &entry.op {
                op if op.is_pointwise() && self.is_inline(operand, &entry.shape) => self.levels[operand],
                Op::Reduce(..) if self.entry(operand).op.is_pointwise() => self.levels[operand],
                _ => self.available(operand),
            };
            self.levels[number] = entry.operands.iter().map(of).max().unwrap_or(0);
        }
    }

    fn find_stored(&mut self) {
        for number in 0..self.sketch.entries.len() {
            let entry = self.entry(number);
            if !entry.op.is_pointwise() && !matches!(entry.op, Op::View(_)) || entry.kept != Keep::No {
                self.stored[number] = true;
            }
            for &operand in &entry.operands {
                let same_level = self.levels[operand] == self.levels[number];
                let inline = match &entry.op {
                    op if op.is_pointwise() => {
                        self.is_inline(operand, &entry.shape) && (same_level || self.is_free(operand))
                    }
                    Op::Reduce(..) => self.entry(operand).op.is_pointwise() && same_level,
                    _ => false,
                };
                if !inline {
                    let seen = self.seen(operand).entry;
                    self.stored[seen] = true;
                }
            }
        }
    }

    /// Whether an entry is made of nothing but numbers and indices, at no cost worth a store.
    fn is_free(&self, number: usize) -> bool {
        self.entry(number).op.is_source()
    }

    /// Plans all entries of a level.
    fn level(&mut self, level: usize) -> Result<()> {
        self.copies.clear();
        let (mut steps, mut lines) = (Vec::new(), Vec::new());
        let entries =
            (0..self.sketch.entries.len()).filter(|&number| self.levels[number] == level && self.stored[number]);
        let entries = entries.filter(|&number| self.slots[number].is_none()).collect::<Vec<_>>();
        // Loops by shape and folded axes. What is stored goes with the first fold over its shape.
        let mut loops: BTreeMap<(Vec<usize>, Option<(usize, usize)>), Vec<usize>> = BTreeMap::new();
        for &number in &entries {
            if let Op::Reduce(_, from, to) = self.entry(number).op {
                let shape = self.entry(self.entry(number).operands[0]).shape.clone();
                loops.entry((shape, Some((from, to)))).or_default().push(number);
            }
        }
        for &number in &entries {
            if self.entry(number).op.is_pointwise() {
                let shape = &self.entry(number).shape;
                let fold = loops.keys().find(|key| key.0 == *shape).and_then(|key| key.1);
                loops.entry((shape.clone(), fold)).or_default().push(number);
            }
        }
        for ((shape, fold), members) in loops {
            self.looped(shape, fold, &members, &mut steps, &mut lines)?;
        }
        for &number in &entries {
            let entry = self.entry(number);
            match &entry.op {
                op if op.is_pointwise() => {}
                Op::Reduce(..) | Op::Input => {}
                Op::View(_) => {
                    let regions = self.places.regions(&entry.shape);
                    let slot = self.compact(number, regions, &mut steps, &mut lines)?;
                    self.slots[number] = Some(slot);
                }
                Op::Contract(einsum) => self.contract(number, einsum, &mut steps, &mut lines)?,
                Op::Lines(line, axis) => {
                    let regions = self.regions_with_whole(&entry.shape, *axis);
                    let from = self.compact(entry.operands[0], regions, &mut steps, &mut lines)?;
                    let to = self.made(number, self.places.regions(&entry.shape));
                    lines.push(format!("%{} = {} of %{from}", to.0, entry.op));
                    steps.push(Step::Lines { line: *line, axis: *axis, from, to });
                }
                Op::Take(axis) => self.take(number, *axis, &mut steps, &mut lines)?,
                Op::Concatenate(axis) => self.concatenate(number, *axis, &mut steps, &mut lines)?,
                Op::Update(affine) => self.update(number, affine, &mut steps, &mut lines)?,
                Op::Reshape => self.reshape(number, &mut steps, &mut lines)?,
                _ => return Err(Error::internal(format!("no steps for {}", entry.op))),
            }
        }
        self.close_if_moved();
        self.current.steps.append(&mut steps);
        self.current_lines.append(&mut lines);
        self.fold_moves(level);
        Ok(())
    }

    /// Ends the segment if something is moved before what comes next.
    fn close_if_moved(&mut self) {
        if self.moves.is_empty() {
            return;
        }
        self.current.moves.append(&mut self.moves);
        self.current_lines.append(&mut self.move_lines);
        self.segments.push(std::mem::take(&mut self.current));
        self.lines.push(std::mem::take(&mut self.current_lines));
    }

    /// A slot for what an entry's step makes, and which part of it this rank makes.
    fn made(&mut self, number: usize, regions: Vec<Region>) -> (Slot, Region) {
        let region = regions[self.rank].clone();
        let slot = self.slot(self.entry(number).dtype, regions);
        self.slots[number] = Some(slot);
        (slot, region)
    }

    /// What is on each rank if a shape is cut, but whole along an axis.
    fn regions_with_whole(&self, shape: &[usize], axis: usize) -> Vec<Region> {
        if axis == 0 { vec![Region::whole(shape); self.places.ranks] } else { self.places.regions(shape) }
    }

    /// How a step sees an entry, of which each rank reads the elements that `wants` says (in the entry's own indices).
    fn bound(&mut self, number: usize, affine: &Affine, wants: &[Region]) -> Result<Bound> {
        let seen = self.seen(number);
        let affine = affine.after(&seen.affine);
        let slot = self.slots[seen.entry];
        let slot = slot.ok_or_else(|| Error::internal(format!("entry {} is read before it is made", seen.entry)))?;
        let reads = wants.iter().map(|want| Region::new(affine.reads(want.ranges()))).collect::<Vec<_>>();
        let slot = self.local(slot, reads)?;
        let tile = &self.regions[slot][self.rank];
        let origin = tile.ranges().iter().map(|range| range.start).collect::<Vec<_>>();
        let (steps, offset) = affine.bind(&strides(&tile.shape()), &origin);
        Ok(Bound { slot, dtype: self.types[slot], steps, offset })
    }

    /// A slot that has on each rank what is wanted there: the given one, or a copy with what is moved to it.
    fn local(&mut self, slot: Slot, wants: Vec<Region>) -> Result<Slot> {
        let has = &self.regions[slot];
        if wants.iter().zip(has).all(|(want, has)| want.is_within(has)) {
            return Ok(slot);
        }
        if let Some(copy) = self.copies.iter().find(|copy| copy.0 == slot && copy.1 == wants) {
            return Ok(copy.2);
        }
        let lost = || Error::internal("elements of an array are on no rank");
        let mut sends = Vec::new();
        let mut moved = 0;
        for (to, want) in wants.iter().enumerate() {
            for (from, region) in parts(has, want, to).ok_or_else(lost)? {
                if from == to {
                    continue;
                }
                moved += region.len() as u64 * self.types[slot].bytes() as u64;
                if from == self.rank {
                    sends.push((to, region));
                }
            }
        }
        let receives = parts(has, &wants[self.rank], self.rank).ok_or_else(lost)?;
        let (dtype, region) = (self.types[slot], wants[self.rank].clone());
        let copy = self.slot(dtype, wants.clone());
        self.moved += moved;
        self.move_lines.push(format!("move %{copy} = what is lacking of %{slot}: {moved} B"));
        self.moves.push(Move::Tiles { from: slot, to: (copy, region), dtype, sends, receives });
        self.copies.push((slot, wants, copy));
        Ok(copy)
    }

    /// A slot that has exactly these elements of an entry, row-major.
    fn compact(
        &mut self,
        number: usize,
        regions: Vec<Region>,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<Slot> {
        if let Some(slot) = self.slots[number]
            && self.regions[slot] == regions
        {
            return Ok(slot);
        }
        let (dtype, axes) = (self.entry(number).dtype, self.entry(number).shape.len());
        let bound = self.bound(number, &Affine::identity(axes), &regions)?;
        let region = regions[self.rank].clone();
        let to = self.slot(dtype, regions);
        let piece = Piece {
            shape: region.shape(),
            first: 0,
            steps: strides(&region.shape()),
            from: shifted(bound, region.ranges()),
        };
        lines.push(format!("%{to} = copy of %{}", piece.from.slot));
        self.work += region.len() as u64;
        steps.push(Step::Assemble { dtype, pieces: vec![piece], to: (to, region) });
        Ok(to)
    }

    /// A loop over a shape: stores of element-wise entries, and folds.
    fn looped(
        &mut self,
        shape: Vec<usize>,
        fold: Option<(usize, usize)>,
        members: &[usize],
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let mut writer = LoopWriter::default();
        let regions = self.places.regions(&shape);
        let (mut stores, mut reductions) = (Vec::new(), Vec::new());
        for &number in members {
            if let Op::Reduce(how, ..) = self.entry(number).op {
                let value = self.value(&mut writer, self.entry(number).operands[0], &shape, &regions)?;
                reductions.push((number, Reduction { fold: how, value }));
            } else {
                stores.push((number, self.make(&mut writer, number, &shape, &regions)?));
            }
        }
        let rows = self.places.rows(&shape, self.rank);
        let mut to = Vec::new();
        for (number, _) in &stores {
            to.push(self.made(*number, regions.clone()));
        }
        let mut folds = Vec::new();
        for (number, _) in &reductions {
            folds.push(self.fold_to(*number, &shape, fold.unwrap_or_default()));
        }
        let looped = Loop {
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
        self.work += (regions[self.rank].len() * looped.weight()) as u64;
        steps.push(Step::Loop { looped, rows, inputs: writer.inputs, numbers: writer.numbers, stores: to, folds });
        Ok(())
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

    /// After a level: folds over cut axes and summands are put together by all ranks.
    fn fold_moves(&mut self, level: usize) {
        for number in std::mem::take(&mut self.summands) {
            let (entry, Some(from)) = (self.entry(number), self.slots[number]) else { continue };
            let whole = Region::whole(&entry.shape);
            let slot = self.slot(entry.dtype, vec![whole.clone(); self.places.ranks]);
            self.slots[number] = Some(slot);
            self.moved += (whole.len() * entry.dtype.bytes() * self.places.ranks * (self.places.ranks - 1)) as u64;
            self.move_lines.push(format!("move %{slot} = sum of all ranks' %{from}"));
            self.moves.push(Move::Sums { from, to: (slot, whole), dtype: entry.dtype });
        }
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

    /// The value of an entry in a loop: made there, or read.
    fn value(&mut self, writer: &mut LoopWriter, number: usize, shape: &[usize], regions: &[Region]) -> Result<usize> {
        if let Some(&value) = writer.values.get(&number) {
            return Ok(value);
        }
        let seen = self.seen(number);
        let entry = self.entry(number);
        let made_before = self.slots[seen.entry].is_some();
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

    /// A product: cut along the index that moves least.
    fn contract(
        &mut self,
        number: usize,
        einsum: &Einsum,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let entry = self.entry(number);
        let shapes = entry.operands.iter().map(|&operand| self.entry(operand).shape.clone()).collect::<Vec<_>>();
        let ways = self.ways(number, einsum);
        let mut best: Option<(u64, Way)> = None;
        for way in ways {
            let bytes = self.bytes_moved(number, einsum, &shapes, &way);
            if best.as_ref().is_none_or(|best| bytes < best.0) {
                best = Some((bytes, way));
            }
        }
        let way = best.map_or(Way { letter: None, ranges: Vec::new() }, |best| best.1);
        let mut operands = Vec::with_capacity(shapes.len());
        let mut local_shapes = Vec::with_capacity(shapes.len());
        for ((&operand, letters), shape) in entry.operands.iter().zip(einsum.operands()).zip(&shapes) {
            let wants = (0..self.places.ranks).map(|rank| way.region(letters, shape, rank)).collect::<Vec<_>>();
            let bound = self.bound(operand, &Affine::identity(shape.len()), &wants)?;
            let own = &wants[self.rank];
            operands.push(shifted(bound, own.ranges()));
            local_shapes.push(own.shape());
        }
        let output = einsum.output();
        let summed = way.letter.is_some_and(|letter| !output.contains(&letter));
        let regions = (0..self.places.ranks).map(|rank| way.region(output, &entry.shape, rank)).collect::<Vec<_>>();
        let letters = einsum.operands().iter().flatten().zip(local_shapes.iter().flatten()).collect::<BTreeMap<_, _>>();
        self.work += letters.values().map(|&&extent| extent as u64).product::<u64>();
        let names = operands.iter().map(|bound| format!("%{}", bound.slot)).collect::<Vec<_>>().join(", ");
        let cut = way.letter.map(|letter| format!(", ranks cut {letter}")).unwrap_or_default();
        if !summed {
            let to = self.made(number, regions);
            lines.push(format!("%{} = einsum(\"{einsum}\") of {names}{cut}", to.0));
            steps.push(Step::Contract {
                einsum: einsum.clone(),
                dtype: entry.dtype,
                shapes: local_shapes,
                operands,
                to,
            });
            return Ok(());
        }
        let from = self.slot(entry.dtype, regions.clone());
        lines.push(format!("%{from} = einsum(\"{einsum}\") of {names}{cut}"));
        let part = (from, regions[self.rank].clone());
        steps.push(Step::Contract {
            einsum: einsum.clone(),
            dtype: entry.dtype,
            shapes: local_shapes,
            operands,
            to: part,
        });
        // The sum is moved behind the steps of this level.
        self.slots[number] = Some(from);
        self.summands.push(number);
        Ok(())
    }

    /// Along which indices a product can be cut, and where; whole if nothing is cut.
    fn ways(&self, number: usize, einsum: &Einsum) -> Vec<Way> {
        let entry = self.entry(number);
        let ranks = 0..self.places.ranks;
        let mut ways = Vec::new();
        if self.places.cuts(&entry.shape)
            && let Some(&letter) = einsum.output().first()
        {
            ways.push(Way {
                letter: Some(letter),
                ranges: ranks.clone().map(|rank| self.places.rows(&entry.shape, rank)).collect(),
            });
        }
        for (&operand, letters) in entry.operands.iter().zip(einsum.operands()) {
            let seen = self.seen(operand);
            let (Some(slot), Some((axis, start, 1))) = (self.slots[seen.entry], seen.affine.along_first()) else {
                continue;
            };
            let whole = Region::whole(&self.entry(seen.entry).shape);
            if self.regions[slot].iter().any(|region| *region == whole) && self.places.ranks > 1 {
                continue;
            }
            let extent = self.entry(operand).shape[axis];
            let range = |rank: usize| {
                let rows = &self.regions[slot][rank].ranges()[0];
                let shift = |row: usize| (row as isize - start).clamp(0, extent as isize) as usize;
                shift(rows.start)..shift(rows.end)
            };
            if self.places.ranks > 1 {
                ways.push(Way { letter: Some(letters[axis]), ranges: ranks.clone().map(range).collect() });
            }
        }
        if ways.is_empty() {
            ways.push(Way { letter: None, ranges: Vec::new() });
        }
        ways
    }

    /// Bytes that ranks lack of the operands of a product that is cut in some way, and of the sum they make.
    fn bytes_moved(&self, number: usize, einsum: &Einsum, shapes: &[Vec<usize>], way: &Way) -> u64 {
        let entry = self.entry(number);
        let mut bytes = 0;
        for ((&operand, letters), shape) in entry.operands.iter().zip(einsum.operands()).zip(shapes) {
            let seen = self.seen(operand);
            let Some(slot) = self.slots[seen.entry] else { continue };
            for rank in 0..self.places.ranks {
                let reads = Region::new(seen.affine.reads(way.region(letters, shape, rank).ranges()));
                let here = reads.intersection(&self.regions[slot][rank]);
                bytes += (reads.len() - here.len()) as u64;
            }
        }
        let summed = way.letter.is_some_and(|letter| !einsum.output().contains(&letter));
        if summed {
            bytes += (entry.shape.iter().product::<usize>() * self.places.ranks * (self.places.ranks - 1)) as u64;
        }
        bytes * entry.dtype.bytes() as u64
    }

    fn take(&mut self, number: usize, axis: usize, steps: &mut Vec<Step>, lines: &mut Vec<String>) -> Result<()> {
        let entry = self.entry(number);
        let (of, by) = (entry.operands[0], entry.operands[1]);
        let shape = &self.entry(of).shape;
        let regions = self.places.regions(&entry.shape);
        let wants = match axis {
            0 => vec![Region::whole(shape); self.places.ranks],
            _ => {
                let rows = |region: &Region| region.ranges()[0].clone();
                let rest = || shape.iter().skip(1).map(|&extent| 0..extent);
                regions
                    .iter()
                    .map(|region| Region::new(std::iter::once(rows(region)).chain(rest()).collect::<Vec<_>>()))
                    .collect()
            }
        };
        let from = self.compact(of, wants, steps, lines)?;
        let whole = Region::whole(&self.entry(by).shape);
        let indices = self.compact(by, vec![whole; self.places.ranks], steps, lines)?;
        let to = self.made(number, regions);
        lines.push(format!("%{} = {} of %{from} by %{indices}", to.0, entry.op));
        self.work += to.1.len() as u64;
        steps.push(Step::Take { axis, extent: shape[axis], from, indices, to });
        Ok(())
    }

    fn concatenate(
        &mut self,
        number: usize,
        axis: usize,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let entry = self.entry(number);
        let regions = self.places.regions(&entry.shape);
        let mut first = 0;
        let mut pieces = Vec::new();
        for &operand in &entry.operands {
            let shape = self.entry(operand).shape.clone();
            let part = |region: &Region| {
                let mut ranges = region.ranges().to_vec();
                let range = &mut ranges[axis];
                let start = range.start.clamp(first, first + shape[axis]);
                *range = start - first..range.end.clamp(start, first + shape[axis]) - first;
                Region::new(ranges)
            };
            let wants = regions.iter().map(part).collect::<Vec<_>>();
            let bound = self.bound(operand, &Affine::identity(shape.len()), &wants)?;
            let (own, region) = (&wants[self.rank], &regions[self.rank]);
            let target = strides(&region.shape());
            let at = |(at, (own, whole)): (usize, (&Range<usize>, &Range<usize>))| {
                let shift = if at == axis { first } else { 0 };
                (own.start + shift) as isize - whole.start as isize
            };
            let offsets = own.ranges().iter().zip(region.ranges()).enumerate().map(at);
            let place = offsets.zip(&target).map(|(at, step)| at * step).sum();
            if !own.is_empty() {
                pieces.push(Piece {
                    shape: own.shape(),
                    first: place,
                    steps: target,
                    from: shifted(bound, own.ranges()),
                });
            }
            first += shape[axis];
        }
        self.assemble(number, regions, pieces, steps, lines);
        Ok(())
    }

    fn assemble(
        &mut self,
        number: usize,
        regions: Vec<Region>,
        pieces: Vec<Piece>,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) {
        let to = self.made(number, regions);
        let names = pieces.iter().map(|piece| format!("%{}", piece.from.slot)).collect::<Vec<_>>().join(", ");
        lines.push(format!("%{} = {} of {names}", to.0, self.entry(number).op));
        self.work += to.1.len() as u64;
        steps.push(Step::Assemble { dtype: self.entry(number).dtype, pieces, to });
    }

    fn update(&mut self, number: usize, affine: &Affine, steps: &mut Vec<Step>, lines: &mut Vec<String>) -> Result<()> {
        let entry = self.entry(number);
        let regions = self.places.regions(&entry.shape);
        let (base, value) = (entry.operands[0], entry.operands[1]);
        let shape = self.entry(value).shape.clone();
        let whole = self.bound(base, &Affine::identity(entry.shape.len()), &regions)?;
        let region = regions[self.rank].clone();
        let target = strides(&region.shape());
        let mut pieces = vec![Piece {
            shape: region.shape(),
            first: 0,
            steps: target.clone(),
            from: shifted(whole, region.ranges()),
        }];
        let wants = regions.iter().map(|region| affine.written(&shape, region)).collect::<Vec<_>>();
        let bound = self.bound(value, &Affine::identity(shape.len()), &wants)?;
        let own = &wants[self.rank];
        let origin = region.ranges().iter().map(|range| range.start).collect::<Vec<_>>();
        let (along, offset) = affine.bind(&target, &origin);
        let shift = own.ranges().iter().zip(&along).map(|(range, step)| range.start as isize * step).sum::<isize>();
        if !own.is_empty() {
            pieces.push(Piece {
                shape: own.shape(),
                first: offset + shift,
                steps: along,
                from: shifted(bound, own.ranges()),
            });
        }
        self.assemble(number, regions, pieces, steps, lines);
        Ok(())
    }

    fn reshape(&mut self, number: usize, steps: &mut Vec<Step>, lines: &mut Vec<String>) -> Result<()> {
        let entry = self.entry(number);
        let of = entry.operands[0];
        let from_shape = &self.entry(of).shape;
        // To one axis: whatever rows a rank has are a run of it. From one axis: the run of the rows that a rank is to have.
        let run = |region: &Region, shape: &[usize]| {
            let width = shape.iter().skip(1).product::<usize>();
            let rows = region.ranges().first().cloned().unwrap_or(0..1);
            rows.start * width..rows.end * width
        };
        let (wants, regions) = if entry.shape.len() == 1 && from_shape.len() != 1 {
            let wants = self.places.regions(from_shape);
            let regions = wants.iter().map(|region| Region::new([run(region, from_shape)])).collect();
            (wants, regions)
        } else if from_shape.len() == 1 {
            let regions = self.places.regions(&entry.shape);
            (regions.iter().map(|region| Region::new([run(region, &entry.shape)])).collect(), regions)
        } else {
            (self.places.regions(from_shape), self.places.regions(&entry.shape))
        };
        let from = self.compact(of, wants, steps, lines)?;
        let to = self.made(number, regions);
        lines.push(format!("%{} = reshape of %{from}", to.0));
        steps.push(Step::Rename { from, to });
        Ok(())
    }

    fn kept_regions(&self, entry: &Entry) -> Vec<Region> {
        match entry.kept {
            Keep::Whole => vec![Region::whole(&entry.shape); self.places.ranks],
            _ => self.places.regions(&entry.shape),
        }
    }

    /// What is kept goes where it is wanted.
    fn finish(mut self) -> Result<ArrayPlan> {
        self.copies.clear();
        let mut kept = Vec::new();
        for number in 0..self.sketch.entries.len() {
            let entry = self.entry(number);
            if entry.kept == Keep::No {
                continue;
            }
            let slot = self.slots[number];
            let slot = slot.ok_or_else(|| Error::internal(format!("entry {number} is kept and was not made")))?;
            let wants = self.kept_regions(entry);
            let exact = self.regions[slot] == wants;
            let slot = if exact { slot } else { self.local(slot, wants)? };
            kept.push((number, slot));
        }
        self.close_if_moved();
        self.segments.push(std::mem::take(&mut self.current));
        self.lines.push(std::mem::take(&mut self.current_lines));
        // A slot of which a rank has more than it should keep is cut.
        for (number, slot) in &mut kept {
            let wants = self.kept_regions(self.entry(*number));
            if self.regions[*slot] != wants {
                let (mut steps, mut lines) = (Vec::new(), Vec::new());
                self.slots[*number] = Some(*slot);
                *slot = self.compact(*number, wants, &mut steps, &mut lines)?;
                if let (Some(segment), Some(all)) = (self.segments.last_mut(), self.lines.last_mut()) {
                    segment.steps.append(&mut steps);
                    all.append(&mut lines);
                }
            }
        }
        let made = self.regions.iter().zip(&self.types).skip(self.inputs);
        let bytes = made.map(|(regions, dtype)| regions[self.rank].len() * dtype.bytes()).sum();
        Ok(ArrayPlan {
            slots: self.regions.len(),
            segments: Arc::new(self.segments),
            lines: self.lines,
            kept,
            work: self.work,
            bytes,
            moved: self.moved,
        })
    }
}

/// A step's view that begins at a part's first index.
fn shifted(mut bound: Bound, part: &[Range<usize>]) -> Bound {
    bound.offset += part.iter().zip(&bound.steps).map(|(range, step)| range.start as isize * step).sum::<isize>();
    bound
}

/// How a product is cut: along which index, and which part of it each rank has.
struct Way {
    letter: Option<char>,
    ranges: Vec<Range<usize>>,
}

impl Way {
    fn region(&self, letters: &[char], shape: &[usize], rank: usize) -> Region {
        let range = |(letter, &extent): (&char, &usize)| match (self.letter, self.ranges.get(rank)) {
            (Some(cut), Some(range)) if cut == *letter => range.clone(),
            _ => 0..extent,
        };
        Region::new(letters.iter().zip(shape).map(range).collect::<Vec<_>>())
    }
}

/// Writes a loop's instructions.
#[derive(Default)]
struct LoopWriter {
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
