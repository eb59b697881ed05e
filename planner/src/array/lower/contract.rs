//! Products: rounds of what is brought, multiplied and added, as a schedule says.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::array::{Bound, DType, Move, Region, Slot, Step, strides};
use bireme_operators::contract::{DENSE, Einsum, Kernel, kernel};

use super::{Lowering, shifted};
use crate::array::affine::Affine;
use crate::array::rounds::Rounds;

/// A product of which some rounds are still to be planned.
pub(super) struct Running {
    number: usize,
    einsum: Einsum,
    rounds: Arc<dyn Rounds>,
    operands: Vec<Brought>,
    /// What ranks make of the result.
    to: Slot,
}

/// An operand: where it lies, and what was brought of it in the round before.
struct Brought {
    of: Slot,
    affine: Affine,
    /// What each rank wanted, where this rank has it, and the slot that some ranks have it in as a copy.
    now: Option<(Vec<Region>, Slot, Option<Slot>)>,
    /// Bytes of the copy in the round before, and the most that two in a row took.
    copied: usize,
    most_copied: usize,
}

impl Lowering<'_> {
    /// A product: its first round. What is left is done when the level's other steps are.
    pub(super) fn contract(
        &mut self,
        number: usize,
        einsum: &Einsum,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let chosen = match self.chosen.remove(&number) {
            Some(chosen) => chosen,
            None => self.choose(number, einsum)?,
        };
        let entry = self.entry(number);
        let mut operands = Vec::with_capacity(entry.operands.len());
        for &operand in &entry.operands {
            let seen = self.seen(operand);
            let of = self.slots[seen.entry];
            let of = of.ok_or_else(|| Error::internal(format!("entry {} is read before it is made", seen.entry)))?;
            operands.push(Brought { of, affine: seen.affine, now: None, copied: 0, most_copied: 0 });
        }
        let made = (0..self.places.ranks).map(|rank| chosen.rounds.made(rank)).collect();
        let to = self.slot(entry.dtype, made);
        let mut running = Running { number, einsum: einsum.clone(), rounds: chosen.rounds, operands, to };
        let step = self.round(&mut running, 0)?;
        let names = match &step {
            Step::Contract { operands, .. } => operands
                .iter()
                .zip(&running.operands)
                .map(|(_, brought)| format!("%{}", brought.name()))
                .collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        lines.push(format!("%{to} = einsum(\"{einsum}\") of {}", names.join(", ")));
        lines.extend(chosen.lines.iter().map(|line| format!("  {line}")));
        steps.push(step);
        self.slots[number] = Some(to);
        self.running.push(running);
        Ok(())
    }

    /// The rounds that are left of this level's products, and their sums.
    pub(super) fn later_rounds(&mut self) -> Result<()> {
        let mut all = std::mem::take(&mut self.running);
        for round in 1..all.iter().map(|running| running.rounds.count()).max().unwrap_or(0) {
            let (mut steps, mut lines, mut free) = (Vec::new(), Vec::new(), Vec::new());
            for running in all.iter_mut().filter(|running| round < running.rounds.count()) {
                let before = running.operands.iter().filter_map(Brought::copy).collect::<Vec<_>>();
                let step = self.round(running, round)?;
                let now = running.operands.iter().filter_map(Brought::copy).collect::<Vec<_>>();
                free.extend(before.into_iter().filter(|copy| !now.contains(copy)));
                let names = running.operands.iter().map(|brought| format!("%{}", brought.name())).collect::<Vec<_>>();
                lines.push(format!("%{} += round {round} of {}", running.to, names.join(", ")));
                steps.push(step);
            }
            self.close_if_moved();
            if !free.is_empty() {
                self.freed.extend(&free);
                self.current.steps.push(Step::Free(free));
            }
            self.current.steps.append(&mut steps);
            self.current_lines.append(&mut lines);
        }
        for running in &all {
            let last = running.operands.iter().filter_map(Brought::copy).collect::<Vec<_>>();
            if running.rounds.count() > 1 && !last.is_empty() {
                self.freed.extend(&last);
                self.current.steps.push(Step::Free(last));
                self.transient += running.operands.iter().map(|brought| brought.most_copied).sum::<usize>();
            }
        }
        all.iter().for_each(|running| self.sums(running));
        Ok(())
    }

    /// One round: what is brought before it, and the product.
    fn round(&mut self, running: &mut Running, round: usize) -> Result<Step> {
        let (rounds, einsum) = (Arc::clone(&running.rounds), running.einsum.clone());
        let (mut operands, mut shapes) = (Vec::new(), Vec::new());
        for (at, letters) in einsum.operands().iter().enumerate() {
            let bound = self.bring(&mut running.operands[at], rounds.as_ref(), (at, letters), round)?;
            let part = rounds.part(letters, self.rank, round);
            operands.push(shifted(bound, part.ranges()));
            shapes.push(part.shape());
        }
        let multiplications = rounds.part(&einsum.letters(), self.rank, round).len();
        let lists = shapes.iter().map(Vec::as_slice).collect::<Vec<_>>();
        self.work += match kernel(&einsum, &lists)? {
            Some(Kernel::Gemm) => {
                let elements = |shape: &Vec<usize>| shape.iter().product::<usize>();
                shapes.iter().map(elements).fold(multiplications / DENSE, usize::max)
            }
            _ => multiplications,
        } as u64;
        Ok(Step::Contract {
            dtype: self.entry(running.number).dtype,
            shapes,
            operands,
            to: (running.to, rounds.made(self.rank)),
            part: rounds.part(einsum.output(), self.rank, round),
            adds: round > 0,
            einsum,
        })
    }

    /// How a product sees an operand in a round, with what is moved for it.
    fn bring(
        &mut self,
        operand: &mut Brought,
        rounds: &dyn Rounds,
        (at, letters): (usize, &[char]),
        round: usize,
    ) -> Result<Bound> {
        let wants = (0..self.places.ranks)
            .map(|rank| Region::new(operand.affine.reads(rounds.brought(at, letters, rank, round).ranges())));
        let wants = wants.collect::<Vec<_>>();
        if operand.now.as_ref().is_none_or(|now| now.0 != wants) {
            let before = operand.copy();
            let (slot, copy) = self.gather(operand.of, before, &wants, rounds)?;
            let bytes = copy.map_or(0, |copy| self.regions[copy][self.rank].len() * self.types[copy].bytes());
            operand.most_copied = operand.most_copied.max(operand.copied + bytes);
            operand.copied = bytes;
            operand.now = Some((wants, slot, copy));
        }
        let slot = operand.now.as_ref().map_or(operand.of, |now| now.1);
        let tile = &self.regions[slot][self.rank];
        let origin = tile.ranges().iter().map(|range| range.start).collect::<Vec<_>>();
        let (steps, offset) = operand.affine.bind(&strides(&tile.shape()), &origin);
        Ok(Bound { slot, dtype: self.types[slot], steps, offset })
    }

    /// Where this rank has what it wants: in the operand's own slot, in the copy of the round before, or in a new one, to which is moved what
    /// ranks lack. What a rank has in one piece it reads where it is.
    fn gather(
        &mut self,
        of: Slot,
        before: Option<Slot>,
        wants: &[Region],
        rounds: &dyn Rounds,
    ) -> Result<(Slot, Option<Slot>)> {
        let slots = std::iter::once(of).chain(before).collect::<Vec<_>>();
        let here = |(rank, want): (usize, &Region)| {
            slots.iter().copied().find(|&slot| want.is_within(&self.regions[slot][rank]))
        };
        let local = wants.iter().enumerate().map(here).collect::<Vec<_>>();
        let own = local[self.rank];
        if let (true, Some(own)) = (local.iter().all(|slot| *slot == Some(of)), own) {
            return Ok((own, None));
        }
        // A copy of the round before is let go: what is needed of it is copied.
        let lacking = wants.iter().zip(&local).map(|(want, local)| match local {
            Some(slot) if *slot == of => Region::empty(want.ranges().len()),
            _ => want.clone(),
        });
        let lacking = lacking.collect::<Vec<_>>();
        self.settle(&slots);
        let moving = self.moving(&slots, &lacking, |from, to| rounds.distance(from, to))?;
        let dtype: DType = self.types[of];
        let copy = self.slot(dtype, lacking.clone());
        let names = slots.iter().map(|slot| format!("%{slot}")).collect::<Vec<_>>().join(", ");
        self.move_lines.push(format!("move %{copy} = what is lacking of {names}: {} B", moving.bytes));
        self.moves.push(Move::Tiles {
            to: Some((copy, lacking[self.rank].clone())),
            dtype,
            sends: moving.sends,
            receives: moving.receives,
            own: moving.own,
        });
        Ok((own.filter(|slot| *slot == of).unwrap_or(copy), Some(copy)))
    }

    /// Summands of several ranks are added up where they are to be kept.
    fn sums(&mut self, running: &Running) {
        if !running.rounds.is_summed() || self.places.ranks == 1 {
            return;
        }
        let (rounds, number) = (&running.rounds, running.number);
        let dtype = self.entry(number).dtype;
        let ranks = self.places.ranks;
        let made = (0..ranks).map(|rank| rounds.made(rank)).collect::<Vec<_>>();
        let kept = (0..ranks).map(|rank| rounds.kept(rank)).collect::<Vec<_>>();
        let (mut sends, mut receives, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (to, kept) in kept.iter().enumerate() {
            for (from, made) in made.iter().enumerate() {
                let part = made.intersection(kept);
                if part.is_empty() {
                    continue;
                }
                if from != to {
                    bytes += (part.len() * dtype.bytes()) as u64;
                }
                if to == self.rank {
                    receives.push((from, part));
                } else if from == self.rank {
                    sends.push((to, part));
                }
            }
        }
        let region = kept[self.rank].clone();
        let slot = self.slot(dtype, kept);
        self.slots[number] = Some(slot);
        self.moved += bytes;
        self.move_lines.push(format!("move %{slot} = sum of all ranks' %{}: {bytes} B", running.to));
        self.moves.push(Move::Sums { from: running.to, to: (slot, region), dtype, sends, receives });
    }
}

impl Brought {
    fn copy(&self) -> Option<Slot> {
        self.now.as_ref().and_then(|now| now.2)
    }

    /// The slot that people are told, the same on every rank.
    fn name(&self) -> Slot {
        self.copy().unwrap_or(self.of)
    }
}
