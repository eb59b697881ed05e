//! Tiles: the parts of arrays that lie on a rank.

use std::fmt;
use std::ops::Range;

use arrow::buffer::Buffer;

use super::dtype::{DType, Native, Scalar, with_native};

/// A region of an array: a box of indices: one range an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(Vec<Range<usize>>);

impl Region {
    /// The region of these ranges.
    pub fn new(ranges: impl Into<Vec<Range<usize>>>) -> Self {
        Self(ranges.into())
    }

    /// All indices of a shape.
    pub fn whole(shape: &[usize]) -> Self {
        Self(shape.iter().map(|&extent| 0..extent).collect())
    }

    /// A region without indices.
    pub fn empty(axes: usize) -> Self {
        Self(vec![0..0; axes])
    }

    /// One range an axis.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// Extents.
    pub fn shape(&self) -> Vec<usize> {
        self.0.iter().map(ExactSizeIterator::len).collect()
    }

    /// How many indices there are: 1 without axes.
    pub fn len(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The indices that two regions share.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = |(one, other): (&Range<usize>, &Range<usize>)| {
            let start = one.start.max(other.start);
            start..one.end.min(other.end).max(start)
        };
        Self(self.0.iter().zip(&other.0).map(both).collect())
    }

    /// Whether all of its indices are in another.
    pub fn is_within(&self, other: &Self) -> bool {
        self.is_empty() || self.intersection(other) == *self
    }

    /// The indices that another region lacks, as regions that do not overlap: two an axis at most.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Vec<Self> {
        let common = self.intersection(other);
        if self.is_empty() || common.is_empty() {
            return if self.is_empty() { Vec::new() } else { vec![self.clone()] };
        }
        let (mut left, mut out) = (self.clone(), Vec::new());
        for (axis, cut) in common.0.iter().enumerate() {
            let whole = left.0[axis].clone();
            for part in [whole.start..cut.start, cut.end..whole.end] {
                if !part.is_empty() {
                    let mut beside = left.clone();
                    beside.0[axis] = part;
                    out.push(beside);
                }
            }
            left.0[axis] = cut.clone();
        }
        out
    }

    /// How a part of it lies in its row-major elements: runs, as where each begins in the region, where in the part, and its length.
    pub fn runs_of(&self, part: &Self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        // Axes behind the last one that is cut are one run.
        let cut = self.0.iter().zip(&part.0).rposition(|(whole, part)| whole != part).unwrap_or(0);
        let (shape, steps) = (part.shape(), strides(&self.shape()));
        let first = self.0.iter().zip(&part.0).zip(&steps);
        let first = first.map(|((whole, part), step)| (part.start - whole.start) * *step as usize).sum::<usize>();
        let run = shape.iter().skip(cut).product::<usize>();
        let outer = shape[..cut.min(shape.len())].to_vec();
        let lines = if part.is_empty() { 0 } else { outer.iter().product::<usize>() };
        (0..lines).map(move |line| {
            let (mut rest, mut at) = (line, first);
            for (&extent, &step) in outer.iter().zip(&steps).rev() {
                at += (rest % extent) * step as usize;
                rest /= extent;
            }
            (at, line * run, run)
        })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.iter().map(|range| format!("{}:{}", range.start, range.end)).collect::<Vec<_>>();
        write!(f, "[{}]", ranges.join(", "))
    }
}

/// The elements of a region, row-major.
#[derive(Clone)]
pub struct Tile {
    /// The type of an element.
    pub dtype: DType,
    /// Which indices.
    pub indices: Region,
    /// The elements.
    pub data: Buffer,
}

impl Tile {
    /// Elements of one type.
    pub fn of<T: Native>(indices: Region, values: Vec<T>) -> Self {
        Self { dtype: T::DTYPE, indices, data: Buffer::from_vec(values) }
    }

    /// One number: an array without axes.
    pub fn scalar(value: Scalar) -> Self {
        with_native!(value.dtype(), T => Self::of(Region::whole(&[]), vec![T::of(value)]))
    }

    /// The elements, if they are of this type.
    pub fn values<T: Native>(&self) -> &[T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        &self.data.typed_data::<T>()[..self.indices.len()]
    }

    /// One element, by its place.
    pub fn element(&self, place: usize) -> Option<Scalar> {
        with_native!(self.dtype, T => self.data.typed_data::<T>().get(place).map(|value| value.scalar()))
    }

    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.indices.len() * self.dtype.bytes()
    }
}

impl fmt::Debug for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tile({} {})", self.dtype, self.indices)
    }
}

/// How many elements of a row-major array lie between neighbours along each axis.
pub fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1_isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1) as isize);
    }
    strides
}
