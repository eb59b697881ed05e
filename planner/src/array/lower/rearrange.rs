//! Elements that go elsewhere: by index, one behind the other, in the place of others, under other axes.

use std::ops::Range;

use bireme_engine::error::Result;
use bireme_operators::array::{Piece, Region, Slot, Step, strides};

use super::{Lowering, shifted};
use crate::array::affine::Affine;

impl Lowering<'_> {
    pub(super) fn take(
        &mut self,
        number: usize,
        axis: usize,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
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
        let whole = self.whole_text(axis, shape);
        lines.push(format!("%{} = {} of %{from} by %{indices}{whole}", to.0, entry.op));
        self.work += to.1.len() as u64;
        steps.push(Step::Take { axis, extent: shape[axis], from, indices, to });
        Ok(())
    }

    pub(super) fn concatenate(
        &mut self,
        number: usize,
        axis: usize,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        let entry = self.entry(number);
        let regions = self.places.regions(&entry.shape);
        let mut first = 0;
        let (mut pieces, mut slots) = (Vec::new(), Vec::new());
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
            slots.push(bound.slot);
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
        lines.push(self.assemble(number, pieces, &slots, steps));
        Ok(())
    }

    /// `slots` are those of all pieces, of which a rank may have only some.
    fn assemble(&mut self, number: usize, pieces: Vec<Piece>, slots: &[Slot], steps: &mut Vec<Step>) -> String {
        let to = self.made(number, self.places.regions(&self.entry(number).shape));
        let names = slots.iter().map(|slot| format!("%{slot}")).collect::<Vec<_>>().join(", ");
        let line = format!("%{} = {} of {names}", to.0, self.entry(number).op);
        self.work += to.1.len() as u64;
        steps.push(Step::Assemble { dtype: self.entry(number).dtype, pieces, to });
        line
    }

    pub(super) fn update(
        &mut self,
        number: usize,
        affine: &Affine,
        steps: &mut Vec<Step>,
        lines: &mut Vec<String>,
    ) -> Result<()> {
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
        let written = regions.iter().map(|region| affine.written(&shape, region)).collect::<Vec<_>>();
        let wants = written.iter().map(|part| part.clone().unwrap_or_else(|| Region::empty(shape.len())));
        let wants = wants.collect::<Vec<_>>();
        let bound = self.bound(value, &Affine::identity(shape.len()), &wants)?;
        let slots = [pieces[0].from.slot, bound.slot];
        let origin = region.ranges().iter().map(|range| range.start).collect::<Vec<_>>();
        let (along, offset) = affine.bind(&target, &origin);
        if let Some(own) = written[self.rank].as_ref().filter(|own| !own.is_empty()) {
            let shift = own.ranges().iter().zip(&along).map(|(range, step)| range.start as isize * step).sum::<isize>();
            pieces.push(Piece {
                shape: own.shape(),
                first: offset + shift,
                steps: along,
                from: shifted(bound, own.ranges()),
            });
        }
        lines.push(self.assemble(number, pieces, &slots, steps));
        Ok(())
    }

    pub(super) fn reshape(&mut self, number: usize, steps: &mut Vec<Step>, lines: &mut Vec<String>) -> Result<()> {
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
}
