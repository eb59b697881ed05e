//! Products: cut along the index that moves the fewest bytes between ranks.

use std::collections::BTreeMap;
use std::ops::Range;

use bireme_engine::error::Result;
use bireme_operators::array::{Region, Step};
use bireme_operators::contract::Einsum;

use super::{Lowering, shifted};
use crate::array::affine::Affine;

impl Lowering<'_> {
    /// A product: cut along the index that moves least.
    pub(super) fn contract(
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
            if self.regions[slot].contains(&whole) && self.places.ranks > 1 {
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
