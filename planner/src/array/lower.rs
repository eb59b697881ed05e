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

mod choose;
mod contract;
mod loops;
mod rearrange;
mod tilings;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::array::{Bound, DType, Move, Piece, Region, Segment, Slot, Step, strides};

use super::affine::Affine;
use super::op::Op;
use super::place::Places;
use super::rounds::{Part, on_a_ring, parts};
use super::sketch::{Entry, Keep, Sketch};
use super::tiling::Tiling;
use contract::Running;

/// What one rank does.
#[derive(Clone, Debug)]
pub struct ArrayPlan {
    /// How many slots there are; the first are the inputs, in the sketch's order.
    pub slots: usize,
    /// What is done, in order.
    pub segments: Arc<Vec<Segment>>,
    /// What is said of each segment; the same on every rank.
    pub lines: Vec<Vec<String>>,
    /// The entries that are kept, with their slots.
    pub kept: Vec<(usize, Slot)>,
    /// Bytes that this rank has of each of them.
    pub kept_bytes: Vec<usize>,
    /// Where each of them lies, if not by rows.
    pub kept_tilings: Vec<Option<Arc<Tiling>>>,
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
    let mut lowering = Lowering::new(&flat, places, rank)?;
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
    /// Where entries lie that do not lie by rows.
    tilings: Vec<Option<Arc<Tiling>>>,
    /// How products run whose result stays where it is made.
    chosen: BTreeMap<usize, choose::Chosen>,
    /// Products of this level, which may have rounds before them.
    running: Vec<Running>,
    /// Slots that rounds let go, and what they take together at the most.
    freed: Vec<Slot>,
    transient: usize,
    work: u64,
    moved: u64,
    inputs: usize,
}

/// What the entries of one loop have in common: the shape, the axes that are folded, and if they do not lie by rows the first entry that lies
/// as they do.
type LoopKey = (Vec<usize>, Option<(usize, usize)>, Option<usize>);

/// A view of what is stored: which entry, seen how.
struct Seen {
    entry: usize,
    affine: Affine,
}

impl<'a> Lowering<'a> {
    fn new(sketch: &'a Sketch, places: Places, rank: usize) -> Result<Self> {
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
            tilings: vec![None; count],
            chosen: BTreeMap::new(),
            running: Vec::new(),
            freed: Vec::new(),
            transient: 0,
            work: 0,
            moved: 0,
            inputs: 0,
        };
        for number in sketch.inputs() {
            let entry = &sketch.entries[number];
            let regions = match &entry.tiling {
                Some(tiling) => tiling.regions().to_vec(),
                None => places.regions(&entry.shape),
            };
            let slot = lowering.slot(entry.dtype, regions);
            lowering.slots[number] = Some(slot);
            lowering.inputs += 1;
        }
        lowering.find_tilings()?;
        lowering.find_levels();
        lowering.find_stored();
        Ok(lowering)
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
                        self.is_inline(operand, &entry.shape) && (same_level || self.entry(operand).op.is_source())
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

    /// Plans all entries of a level.
    fn level(&mut self, level: usize) -> Result<()> {
        self.copies.clear();
        let (mut steps, mut lines) = (Vec::new(), Vec::new());
        let entries =
            (0..self.sketch.entries.len()).filter(|&number| self.levels[number] == level && self.stored[number]);
        let entries = entries.filter(|&number| self.slots[number].is_none()).collect::<Vec<_>>();
        // Loops by shape and folded axes. What is stored goes with the first fold over its shape.
        let mut loops: BTreeMap<LoopKey, Vec<usize>> = BTreeMap::new();
        for &number in &entries {
            if let Op::Reduce(_, from, to) = self.entry(number).op {
                let shape = self.entry(self.entry(number).operands[0]).shape.clone();
                loops.entry((shape, Some((from, to)), None)).or_default().push(number);
            }
        }
        for &number in &entries {
            if self.entry(number).op.is_pointwise() {
                let shape = &self.entry(number).shape;
                let tiling = self.tilings[number].as_ref();
                let tiling = tiling.and_then(|_| self.tilings.iter().position(|one| one.as_ref() == tiling));
                let fold = loops.keys().find(|key| tiling.is_none() && key.0 == *shape).and_then(|key| key.1);
                loops.entry((shape.clone(), fold, tiling)).or_default().push(number);
            }
        }
        for ((shape, fold, tiled), members) in loops {
            let tiling = tiled.and_then(|number| self.tilings[number].clone());
            self.looped(shape, fold, tiling.as_deref(), &members, &mut steps, &mut lines)?;
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
                Op::Contract(einsum, _) => self.contract(number, einsum, &mut steps, &mut lines)?,
                Op::Distribute(tiling) => {
                    let slot = self.compact(entry.operands[0], tiling.regions().to_vec(), &mut steps, &mut lines)?;
                    self.slots[number] = Some(slot);
                }
                Op::Lines(line, axis) => {
                    let regions = self.regions_with_whole(&entry.shape, *axis);
                    let from = self.compact(entry.operands[0], regions, &mut steps, &mut lines)?;
                    let to = self.made(number, self.places.regions(&entry.shape));
                    let whole = self.whole_text(*axis, &entry.shape);
                    lines.push(format!("%{} = {} of %{from}{whole}", to.0, entry.op));
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
        self.later_rounds()?;
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

    /// Ends the segment if what is moved behind it fills one of these slots: what is moved of them is moved later.
    fn settle(&mut self, slots: &[Slot]) {
        if self.moves.iter().any(|one| one.fills().is_some_and(|filled| slots.contains(&filled))) {
            self.close_if_moved();
        }
    }

    /// A slot for what an entry's step makes, and which part of it this rank makes.
    fn made(&mut self, number: usize, regions: Vec<Region>) -> (Slot, Region) {
        let region = regions[self.rank].clone();
        let slot = self.slot(self.entry(number).dtype, regions);
        self.slots[number] = Some(slot);
        (slot, region)
    }

    /// What is said of a step along an axis that is cut: no rank can do its part alone.
    fn whole_text(&self, axis: usize, shape: &[usize]) -> &'static str {
        if axis == 0 && self.places.cuts(shape) { " (all of it, on every rank)" } else { "" }
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
        self.settle(&[slot]);
        let moving = self.moving(&[slot], &wants, on_a_ring(self.places.ranks))?;
        let (dtype, region) = (self.types[slot], wants[self.rank].clone());
        let more = wants.iter().zip(&self.regions[slot]).all(|(want, has)| has.is_within(want));
        let copy = self.slot(dtype, wants.clone());
        if more {
            // Whoever reads the array from now on reads the copy, or it would be moved again.
            self.slots.iter_mut().filter(|one| **one == Some(slot)).for_each(|one| *one = Some(copy));
        }
        self.move_lines.push(format!("move %{copy} = what is lacking of %{slot}: {} B", moving.bytes));
        self.moves.push(Move::Tiles {
            to: Some((copy, region)),
            dtype,
            sends: moving.sends,
            receives: moving.receives,
            own: moving.own,
        });
        self.copies.push((slot, wants, copy));
        Ok(copy)
    }

    /// What is moved so that ranks have what they want of slots with elements of one array.
    fn moving(&mut self, slots: &[Slot], wants: &[Region], distance: impl Fn(usize, usize) -> usize) -> Result<Moving> {
        let sources = slots.iter().map(|&slot| (slot, self.regions[slot].as_slice())).collect::<Vec<_>>();
        let bytes = slots.first().map_or(0, |&slot| self.types[slot].bytes() as u64);
        let mut moving = Moving::default();
        for (to, want) in wants.iter().enumerate() {
            let found = parts(&sources, want, to, &distance);
            for Part { rank, slot, region } in
                found.ok_or_else(|| Error::internal("elements of an array are on no rank"))?
            {
                match rank {
                    from if from == to && to == self.rank => moving.own.push((slot, region)),
                    from if from == to => {}
                    from => {
                        moving.bytes += region.len() as u64 * bytes;
                        if to == self.rank {
                            moving.receives.push((from, region));
                        } else if from == self.rank {
                            moving.sends.push((to, slot, region));
                        }
                    }
                }
            }
        }
        self.moved += moving.bytes;
        Ok(moving)
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
        let identity = Affine::identity(axes);
        let bound = self.bound(number, &identity, &regions)?;
        // What was moved has these elements already, in this order.
        if self.seen(number).affine == identity && self.regions[bound.slot] == regions {
            return Ok(bound.slot);
        }
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

    fn kept_regions(&self, number: usize) -> Vec<Region> {
        let entry = self.entry(number);
        match entry.kept {
            Keep::Whole => vec![Region::whole(&entry.shape); self.places.ranks],
            Keep::Rows => self.places.regions(&entry.shape),
            Keep::Placed | Keep::No => self.home(number),
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
            let wants = self.kept_regions(number);
            let exact = self.regions[slot] == wants;
            let slot = if exact { slot } else { self.local(slot, wants)? };
            kept.push((number, slot));
        }
        self.close_if_moved();
        self.segments.push(std::mem::take(&mut self.current));
        self.lines.push(std::mem::take(&mut self.current_lines));
        // A slot of which a rank has more than it should keep is cut.
        for (number, slot) in &mut kept {
            let wants = self.kept_regions(*number);
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
        let made = made.enumerate().filter(|(at, _)| !self.freed.contains(&(at + self.inputs)));
        let bytes = made.map(|(_, (regions, dtype))| regions[self.rank].len() * dtype.bytes()).sum::<usize>();
        let of_kept = |(_, slot): &(usize, Slot)| self.regions[*slot][self.rank].len() * self.types[*slot].bytes();
        let tiling = |(number, _): &(usize, Slot)| match self.entry(*number).kept {
            Keep::Placed => self.tilings[*number].clone(),
            _ => None,
        };
        Ok(ArrayPlan {
            kept_tilings: kept.iter().map(tiling).collect(),
            kept_bytes: kept.iter().map(of_kept).collect(),
            slots: self.regions.len(),
            segments: Arc::new(self.segments),
            lines: self.lines,
            kept,
            work: self.work,
            bytes: bytes + self.transient,
            moved: self.moved,
        })
    }
}

/// What one rank gives and gets so that all have what they want.
#[derive(Default)]
struct Moving {
    sends: Vec<(usize, Slot, Region)>,
    receives: Vec<(usize, Region)>,
    own: Vec<(Slot, Region)>,
    /// Of all ranks.
    bytes: u64,
}

/// A step's view that begins at a part's first index.
fn shifted(mut bound: Bound, part: &[Range<usize>]) -> Bound {
    bound.offset += part.iter().zip(&bound.steps).map(|(range, step)| range.start as isize * step).sum::<isize>();
    bound
}
