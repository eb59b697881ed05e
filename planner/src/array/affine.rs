//! Views: which element of an array stands at an index of its view.
//!
//! Slices with steps, transposes, broadcasts, diagonals and new axes are one thing: each index of the array is a sum of multiples of the
//! view's indices. A view of a view is the product of both.
//!
//! ```text
//!   a[1:-1, ::2].T     a's index 0 = 1 + view's 1      a's index 1 = 0 + 2 · view's 0
//! ```

use std::fmt;
use std::ops::Range;

use bireme_operators::array::Region;

/// For each axis of an array: where it begins, and how far a step along each axis of the view leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    /// One an axis of the array.
    start: Vec<isize>,
    /// One an axis of the array, of one an axis of the view.
    steps: Vec<Vec<isize>>,
    axes: usize,
}

impl Affine {
    /// The view of an array as it is.
    pub fn identity(axes: usize) -> Self {
        let step = |row: usize| (0..axes).map(|axis| isize::from(axis == row)).collect();
        Self { start: vec![0; axes], steps: (0..axes).map(step).collect(), axes }
    }

    /// A view with `axes` axes; for each axis of the array where it begins, and along which of the view's axes it steps how far.
    pub fn new(axes: usize, rows: impl IntoIterator<Item = (isize, Option<(usize, isize)>)>) -> Self {
        let (mut start, mut steps) = (Vec::new(), Vec::new());
        for (first, along) in rows {
            let mut row = vec![0; axes];
            if let Some((axis, step)) = along {
                row[axis] = step;
            }
            start.push(first);
            steps.push(row);
        }
        Self { start, steps, axes }
    }

    /// The view in which an array of shape `from` is broadcast to shape `to`: axes are matched from the last on.
    pub fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let before = to.len().saturating_sub(from.len());
        let along = |(axis, &extent): (usize, &usize)| {
            (0, (extent != 1 || to[before + axis] == 1).then_some((before + axis, 1)))
        };
        Self::new(to.len(), from.iter().enumerate().map(along))
    }

    /// How many axes the view has.
    pub fn axes(&self) -> usize {
        self.axes
    }

    /// This view of `of`, a view itself.
    #[must_use]
    pub fn after(&self, of: &Self) -> Self {
        let row = |(start, steps): (&isize, &Vec<isize>)| {
            let first = start + steps.iter().zip(&self.start).map(|(step, first)| step * first).sum::<isize>();
            let along = |axis: usize| steps.iter().zip(&self.steps).map(|(step, row)| step * row[axis]).sum::<isize>();
            (first, (0..self.axes).map(along).collect::<Vec<_>>())
        };
        let (start, steps) = of.start.iter().zip(&of.steps).map(row).unzip();
        Self { start, steps, axes: self.axes }
    }

    /// The indices of the array that a box of the view's indices reads: the smallest box around them.
    pub fn reads(&self, part: &[Range<usize>]) -> Vec<Range<usize>> {
        let row = |(start, steps): (&isize, &Vec<isize>)| {
            let (mut first, mut last) = (*start, *start);
            for (range, step) in part.iter().zip(steps) {
                let ends = [range.start, range.end.max(range.start + 1) - 1].map(|index| index as isize * step);
                first += ends[0].min(ends[1]);
                last += ends[0].max(ends[1]);
            }
            first.max(0) as usize..(last + 1).max(0) as usize
        };
        if part.iter().any(Range::is_empty) {
            return vec![0..0; self.start.len()];
        }
        self.start.iter().zip(&self.steps).map(row).collect()
    }

    /// How the view's elements lie in a buffer in which the array's indices from `origin` on have these strides: one step an axis, and where
    /// the element of all indices 0 would be.
    pub fn bind(&self, strides: &[isize], origin: &[usize]) -> (Vec<isize>, isize) {
        let along = |axis: usize| self.steps.iter().zip(strides).map(|(row, stride)| row[axis] * stride).sum::<isize>();
        let first = self.start.iter().zip(origin).zip(strides);
        let first = first.map(|((start, origin), stride)| (start - *origin as isize) * stride).sum::<isize>();
        ((0..self.axes).map(along).collect(), first)
    }

    /// If the array's first index depends on one axis of the view alone: that axis, where it begins, and how far a step leads.
    pub fn along_first(&self) -> Option<(usize, isize, isize)> {
        let row = self.steps.first()?;
        let mut axes = row.iter().enumerate().filter(|(_, step)| **step != 0);
        match (axes.next(), axes.next()) {
            (Some((axis, &step)), None) => Some((axis, self.start[0], step)),
            _ => None,
        }
    }

    /// Which of the view's indices, of a view of this shape, are elements with a first index in the region's; `None` if it is none.
    pub fn written(&self, shape: &[usize], region: &Region) -> Option<Region> {
        let mut part = shape.iter().map(|&extent| 0..extent).collect::<Vec<_>>();
        let Some(rows) = region.ranges().first().map(|rows| rows.start as isize..rows.end as isize) else {
            return Some(Region::new(part));
        };
        match self.along_first() {
            Some((axis, start, step)) => {
                // start + step · index is within rows: with negative steps counted from behind.
                let (low, high) = if step > 0 { (rows.start, rows.end) } else { (-(rows.end - 1), -(rows.start - 1)) };
                let (start, step) = if step > 0 { (start, step) } else { (-start, -step) };
                let first_at =
                    |bound: isize| (bound - start + step - 1).div_euclid(step).clamp(0, shape[axis] as isize) as usize;
                part[axis] = first_at(low)..first_at(high).max(first_at(low));
            }
            None if self.start.first().is_some_and(|start| !rows.contains(start)) => return None,
            None => {}
        }
        Some(Region::new(part))
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |(start, steps): (&isize, &Vec<isize>)| {
            let mut text = start.to_string();
            for (axis, step) in steps.iter().enumerate().filter(|(_, step)| **step != 0) {
                text += &format!("{step:+}·{axis}");
            }
            text
        };
        let rows = self.start.iter().zip(&self.steps).map(row).collect::<Vec<_>>();
        write!(f, "[{}]", rows.join(", "))
    }
}
