//! Which arrays of a program do not lie by rows.
//!
//! Where a user has distributed an array, what is made of it element by element stays with it, and a product keeps its result where its
//! schedule leaves it. All else goes by rows: folds must cut between their leaves, and sorts, slices and reshapes know rows alone.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_operators::array::Region;

use super::Lowering;
use crate::array::op::Op;
use crate::array::tiling::Tiling;

impl Lowering<'_> {
    pub(super) fn find_tilings(&mut self) -> Result<()> {
        for number in 0..self.sketch.entries.len() {
            let entry = self.entry(number);
            self.tilings[number] = match &entry.op {
                Op::Input => entry.tiling.clone(),
                Op::Distribute(tiling) => Some(Arc::clone(tiling)),
                Op::Contract(einsum, schedule) => {
                    let is_tiled = |&operand: &usize| {
                        let seen = self.seen(operand).entry;
                        self.tilings[seen].is_some() || self.entry(seen).sparse
                    };
                    if schedule.is_some() || entry.operands.iter().any(is_tiled) {
                        let chosen = self.choose(number, einsum)?;
                        let kept = (0..self.places.ranks).map(|rank| chosen.rounds.kept(rank)).collect::<Vec<_>>();
                        let by = chosen.rounds.describe();
                        self.chosen.insert(number, chosen);
                        // What lies as if nobody had said anything is by rows.
                        let is_home = kept == self.places.regions(&entry.shape);
                        (!is_home).then(|| Arc::new(Tiling::of_regions(format!("as {by} leaves it"), kept)))
                    } else {
                        None
                    }
                }
                op if op.is_pointwise() => self.tiling_of_operands(number),
                _ => None,
            };
        }
        Ok(())
    }

    /// Element-wise work is done where the first operand is that has the result's shape and was distributed.
    fn tiling_of_operands(&self, number: usize) -> Option<Arc<Tiling>> {
        let entry = self.entry(number);
        if self.knows_its_place(number) {
            return None;
        }
        let tiled = |&operand: &usize| {
            let same = self.entry(operand).shape == entry.shape;
            self.tilings[operand].clone().filter(|_| same)
        };
        entry.operands.iter().find_map(tiled)
    }

    /// Whether an element's value depends on where it is in the array, which a loop over a tile does not know.
    fn knows_its_place(&self, number: usize) -> bool {
        let entry = self.entry(number);
        match entry.op {
            Op::Index(_) | Op::Random(_) => true,
            _ if entry.op.is_pointwise() => entry.operands.iter().any(|&operand| self.knows_its_place(operand)),
            _ => false,
        }
    }

    /// Where an entry is when its program has run, if it is kept.
    pub(super) fn home(&self, number: usize) -> Vec<Region> {
        match &self.tilings[number] {
            Some(tiling) => tiling.regions().to_vec(),
            None => self.places.regions(&self.entry(number).shape),
        }
    }

    /// What each rank has of an entry behind views: its slot's elements, or those that it will have.
    pub(super) fn has(&self, entry: usize) -> Vec<Region> {
        self.slots[entry].map_or_else(|| self.home(entry), |slot| self.regions[slot].clone())
    }
}
