//! Slices: which elements of an array.

use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use bireme_engine::error::{Error, Result};
use bireme_planner::array::{Affine, Op, broadcast};

use super::{Array, Element};

/// One part of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// One index of an axis, which is gone from the shape; negative ones count from the end.
    At(isize),
    /// Indices from `start` up to but without `stop`, in steps; as in Python.
    Range {
        /// The first one.
        start: Option<isize>,
        /// The first one that is not meant.
        stop: Option<isize>,
        /// How far to the next; negative ones go backwards, 0 is refused.
        step: isize,
    },
    /// A new axis of extent 1.
    NewAxis,
    /// All axes that no other part speaks of: `...`.
    Rest,
}

impl Index {
    /// All indices of an axis.
    pub const ALL: Self = Self::Range { start: None, stop: None, step: 1 };
}

/// What can stand for an index: a text as in Python (`"1:-1, ::2, 3, ..., newaxis"`), a number, a range, or several parts.
pub trait IntoIndices {
    /// The parts.
    ///
    /// # Errors
    /// The text is no index.
    fn into_indices(self) -> Result<Vec<Index>>;
}

impl IntoIndices for &str {
    fn into_indices(self) -> Result<Vec<Index>> {
        let wrong = |part: &str, why: &str| Error::user(format!("`{part}` in the index [{self}]: {why}"));
        let one = |part: &str| -> Result<Index> {
            let number = |text: &str| match text.trim() {
                "" => Ok(None),
                text => text.parse::<isize>().map(Some).map_err(|_| wrong(part, "it is no whole number")),
            };
            match part {
                "..." => return Ok(Index::Rest),
                "newaxis" | "None" => return Ok(Index::NewAxis),
                "" => return Err(wrong(part, "a part is empty")),
                _ => {}
            }
            let pieces = part.split(':').collect::<Vec<_>>();
            match pieces.as_slice() {
                [at] => Ok(Index::At(number(at)?.ok_or_else(|| wrong(part, "it is no number"))?)),
                [start, stop] => Ok(Index::Range { start: number(start)?, stop: number(stop)?, step: 1 }),
                [start, stop, step] => match number(step)?.unwrap_or(1) {
                    0 => Err(wrong(part, "a step cannot be 0")),
                    step => Ok(Index::Range { start: number(start)?, stop: number(stop)?, step }),
                },
                _ => Err(wrong(part, "there are too many colons")),
            }
        };
        if self.trim().is_empty() {
            return Ok(Vec::new());
        }
        self.split(',').map(|part| one(part.trim())).collect()
    }
}

impl IntoIndices for &[Index] {
    fn into_indices(self) -> Result<Vec<Index>> {
        Ok(self.to_vec())
    }
}

impl<const N: usize> IntoIndices for [Index; N] {
    fn into_indices(self) -> Result<Vec<Index>> {
        Ok(self.to_vec())
    }
}

macro_rules! parts {
    ($($type:ty, $self:ident => $index:expr;)*) => {$(
        impl From<$type> for Index {
            fn from($self: $type) -> Self {
                $index
            }
        }

        impl IntoIndices for $type {
            fn into_indices(self) -> Result<Vec<Index>> {
                Ok(vec![self.into()])
            }
        }
    )*};
}

parts! {
    isize, at => Self::At(at);
    i32, at => Self::At(at as isize);
    Range<isize>, range => Self::Range { start: Some(range.start), stop: Some(range.end), step: 1 };
    Range<i32>, range => Self::Range { start: Some(range.start as isize), stop: Some(range.end as isize), step: 1 };
    RangeFrom<isize>, range => Self::Range { start: Some(range.start), stop: None, step: 1 };
    RangeFrom<i32>, range => Self::Range { start: Some(range.start as isize), stop: None, step: 1 };
    RangeTo<isize>, range => Self::Range { start: None, stop: Some(range.end), step: 1 };
    RangeTo<i32>, range => Self::Range { start: None, stop: Some(range.end as isize), step: 1 };
    RangeFull, _all => Self::ALL;
}

macro_rules! tuples {
    ($($($name:ident)*;)*) => {$(
        impl<$($name: Into<Index>),*> IntoIndices for ($($name,)*) {
            #[allow(non_snake_case, reason = "a name is a type's as well")]
            fn into_indices(self) -> Result<Vec<Index>> {
                let ($($name,)*) = self;
                Ok(vec![$($name.into()),*])
            }
        }
    )*};
}

tuples! {
    A B;
    A B C;
    A B C D;
    A B C D E;
}

/// What an index selects: the shape, and where its elements are.
pub(super) fn selected(shape: &[usize], indices: &[Index]) -> Result<(Vec<usize>, Affine)> {
    let spoken = indices.iter().filter(|index| !matches!(index, Index::NewAxis | Index::Rest)).count();
    let rests = indices.iter().filter(|index| **index == Index::Rest).count();
    if spoken > shape.len() || rests > 1 {
        return Err(Error::user(format!(
            "an index of {spoken} parts{} for an array of shape {shape:?}",
            if rests > 1 { " and more than one `...`" } else { "" }
        )));
    }
    let rest = vec![Index::ALL; shape.len() - spoken];
    let at = indices.iter().position(|index| *index == Index::Rest);
    let (before, behind) = at.map_or((indices, &[][..]), |at| (&indices[..at], &indices[at + 1..]));
    let parts = before.iter().chain(&rest).chain(behind);
    let (mut axes, mut rows, mut axis) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        match *part {
            Index::NewAxis => {
                axes.push(1);
                continue;
            }
            Index::At(index) => {
                let extent = shape[axis] as isize;
                let place = if index < 0 { index + extent } else { index };
                if !(0..extent).contains(&place) {
                    return Err(Error::user(format!(
                        "index {index} is outside of axis {axis} of an array of shape {shape:?}"
                    )));
                }
                rows.push((place, None));
            }
            Index::Range { start, stop, step } => {
                let (first, count) = stepped(shape[axis] as isize, start, stop, step)?;
                rows.push((first, Some((axes.len(), step))));
                axes.push(count);
            }
            Index::Rest => {}
        }
        axis += 1;
    }
    let count = axes.len();
    Ok((axes, Affine::new(count, rows)))
}

/// Where a range begins, and how many indices it has, by Python's rules.
fn stepped(extent: isize, start: Option<isize>, stop: Option<isize>, step: isize) -> Result<(isize, usize)> {
    if step == 0 {
        return Err(Error::user("a step cannot be 0"));
    }
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let place = |index: isize| (if index < 0 { index + extent } else { index }).clamp(low, high);
    let first = start.map_or(if step > 0 { 0 } else { extent - 1 }, place);
    let last = stop.map_or(if step > 0 { extent } else { -1 }, place);
    let apart = if step > 0 { last - first } else { first - last };
    let count = if apart > 0 { (apart - 1) as usize / step.unsigned_abs() + 1 } else { 0 };
    Ok((first.max(0), count))
}

impl<T: Element> Array<T> {
    /// The selected elements: a view, of which nothing is copied. Indices read as in NumPy.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let a = session.arange(0, 12, 1).reshape([3, 4])?;
    /// assert_eq!(a.slice("1:, ::-2")?.to_vec()?, [7, 5, 11, 9]);
    /// assert_eq!(a.slice((-1, 1..3))?.to_vec()?, [9, 10]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The index does not fit the shape.
    pub fn slice(&self, indices: impl IntoIndices) -> Result<Self> {
        self.check()?;
        let (shape, affine) = selected(self.shape(), &indices.into_indices()?)?;
        Ok(Self::make(self.session(), Op::View(affine), shape, vec![self.node.clone()], Vec::new()))
    }

    /// Puts values in the place of the selected elements: of this array only, not of arrays that were made of it before.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let mut a = session.zeros::<f64>([2, 3]);
    /// a.set(":, 1", 5.0)?;
    /// assert_eq!(a.to_vec()?, [0.0, 5.0, 0.0, 0.0, 5.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The index does not fit the shape, or the values do not fit the selection.
    pub fn set(&mut self, indices: impl IntoIndices, values: impl super::functions::Operand<T>) -> Result<()> {
        self.check()?;
        let (shape, affine) = selected(self.shape(), &indices.into_indices()?)?;
        let values = values.beside(self);
        values.check()?;
        let wide = broadcast(values.shape(), &shape)?;
        if wide != shape {
            let got = values.shape();
            return Err(Error::user(format!("values of shape {got:?} do not fit into a selection of shape {shape:?}")));
        }
        let values = values.broadcast_to(shape)?;
        let operands = vec![self.node.clone(), values.node.clone()];
        *self = Self::make(self.session(), Op::Update(affine), self.shape().to_vec(), operands, Vec::new());
        Ok(())
    }

    /// The elements where a mask of the same shape is true, in order: an array of one axis. How many there are is seen at once, so this
    /// is an action; it brings the whole array to every rank.
    ///
    /// # Errors
    /// The mask has another shape; and as [`Array::compute`].
    pub fn compress(&self, mask: &Array<bool>) -> Result<Self> {
        self.check()?;
        mask.check()?;
        if self.shape() != mask.shape() {
            return Err(Error::user(format!(
                "a mask of shape {:?} for an array of shape {:?}",
                mask.shape(),
                self.shape()
            )));
        }
        super::action::compute(self.session(), &[self.node.clone(), mask.node.clone()])?;
        let data = super::action::whole(self.session(), &self.node)?;
        let mask = super::action::whole(self.session(), &mask.node)?;
        let picked = bireme_operators::array::compress(T::DTYPE, &data.data, mask.values::<u8>());
        let count = picked.len() / T::DTYPE.bytes();
        Self::of_whole(self.session(), picked, vec![count])
    }

    /// The slices along an axis that indices name, in their order; negative ones count from the end.
    ///
    /// # Errors
    /// There is no such axis, or indices have not one axis. An index that is outside is an error of the action that reads it.
    pub fn take(&self, indices: &Array<i64>, axis: isize) -> Result<Self> {
        self.check()?;
        indices.check()?;
        let axis = bireme_planner::array::normal_axis(axis, self.shape())?;
        let &[count] = indices.shape() else {
            return Err(Error::user(format!("indices of shape {:?}: they should have one axis", indices.shape())));
        };
        let mut shape = self.shape().to_vec();
        shape[axis] = count;
        let operands = vec![self.node.clone(), indices.node.clone()];
        Ok(Self::make(self.session(), Op::Take(axis), shape, operands, Vec::new()))
    }
}
