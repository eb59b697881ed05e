//! Sparse tensors as sorted coordinates.
//!
//! ```text
//!   0 0 5 0        axis 0:  0 1 1 2
//!   1 0 0 2   →    axis 1:  2 0 3 1        row-major, each once
//!   0 3 0 0        values:  5 1 2 3
//! ```
//!
//! This is the form in which sparse tensors are kept and moved; kernels build the compressed forms ([`Csr`](super::Csr),
//! [`Csf`](super::Csf)) of it when they need them. Indices have 32 bits: kernels are bound by memory, and an entry of a matrix of
//! `f64` has 12 bytes that way instead of 16. No axis of a tensor on one rank has needed more than 2³² indices.
//!
//! Entries that are given twice add up, as in SQL, where a tensor is a table. Explicit zeros stay: a pattern means something to
//! whoever gave it.

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::number::{Number, overflow};
use super::sort::sorted_positions;

/// Entries of a parallel task.
const TASK: usize = 1 << 14;

/// A sparse tensor of any order: sorted row-major, each coordinate at most once.
///
/// ```
/// use bireme_operators::sparse::Coordinates;
///
/// let a = Coordinates::new(&[2, 3], vec![vec![1, 0, 1], vec![2, 1, 2]], vec![1.0, 5.0, 2.0])?;
/// assert_eq!(a.indices(0), [0, 1]);
/// assert_eq!(a.indices(1), [1, 2]);
/// assert_eq!(a.values(), [5.0, 3.0]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinates<T> {
    shape: Vec<usize>,
    indices: Vec<Vec<u32>>,
    values: Vec<T>,
}

impl<T: Number> Coordinates<T> {
    /// The tensor with these entries, in any order: one list of indices an axis, and one value for each.
    ///
    /// Values at equal coordinates add up, in the order in which they are given.
    ///
    /// # Errors
    ///
    /// A user's error if lists differ in length or there is not one an axis, an index is outside of the shape, or a sum of
    /// integers does not fit its type; not supported if an axis has more than 2³² indices.
    pub fn new(shape: &[usize], indices: Vec<Vec<u32>>, values: Vec<T>) -> Result<Self> {
        check(shape, &indices, values.len())?;
        let given = Self { shape: shape.to_vec(), indices, values };
        if given.is_ascending() { Ok(given) } else { given.sorted() }
    }

    /// The non-zero elements of a dense row-major array.
    ///
    /// # Errors
    ///
    /// As [`Coordinates::new`]; a user's error if the shape has another number of elements.
    pub fn from_dense(shape: &[usize], elements: &[T]) -> Result<Self> {
        let expected = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if expected != Some(elements.len()) {
            return Err(Error::user(format!("an array of {} elements has not the shape {shape:?}", elements.len())));
        }
        let places: Vec<usize> = (0..elements.len()).into_par_iter().filter(|&at| elements[at] != T::ZERO).collect();
        let mut stride = elements.len();
        let mut indices = Vec::with_capacity(shape.len());
        for &extent in shape {
            stride /= extent.max(1);
            indices.push(places.par_iter().map(|place| (place / stride % extent) as u32).collect());
        }
        Self::new(shape, indices, places.par_iter().map(|&place| elements[place]).collect())
    }

    /// What a kernel has made sorted, each coordinate once.
    pub(super) fn from_sorted(shape: Vec<usize>, indices: Vec<Vec<u32>>, values: Vec<T>) -> Self {
        let made = Self { shape, indices, values };
        debug_assert!(made.is_ascending());
        made
    }

    /// The extents of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of axes.
    pub fn order(&self) -> usize {
        self.shape.len()
    }

    /// The number of entries, explicit zeros included.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// Each entry's index along an axis; empty for an axis that there is not.
    pub fn indices(&self, axis: usize) -> &[u32] {
        self.indices.get(axis).map_or(&[], Vec::as_slice)
    }

    /// Each entry's value.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Shape, indices and values.
    pub fn into_parts(self) -> (Vec<usize>, Vec<Vec<u32>>, Vec<T>) {
        (self.shape, self.indices, self.values)
    }

    /// All elements, row-major, 0 where there is no entry.
    ///
    /// # Errors
    ///
    /// Out of resources if there are too many.
    pub fn to_dense(&self) -> Result<Vec<T>> {
        let elements = self.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        let elements = elements.ok_or_else(|| {
            Error::resources(format!("a dense array of shape {:?} has too many elements to be made", self.shape))
        })?;
        let mut dense = super::number::zeros(elements, "a dense array")?;
        for (entry, &value) in self.values.iter().enumerate() {
            let place = self
                .shape
                .iter()
                .zip(&self.indices)
                .fold(0, |place, (extent, axis)| place * extent + axis[entry] as usize);
            dense[place] = value;
        }
        Ok(dense)
    }

    /// Whether entries are sorted and distinct.
    fn is_ascending(&self) -> bool {
        let before = |entry: usize| {
            let mut axes = self.indices.iter().map(|axis| (axis[entry - 1], axis[entry]));
            axes.find(|(one, next)| one != next).is_some_and(|(one, next)| one < next)
        };
        (1..self.values.len().max(1)).into_par_iter().with_min_len(TASK).all(before)
    }

    fn sorted(self) -> Result<Self> {
        let axes: Vec<&[u32]> = self.indices.iter().map(Vec::as_slice).collect();
        let positions = sorted_positions(&axes, &self.shape, self.values.len());
        let same = |one: usize, other: usize| axes.iter().all(|axis| axis[one] == axis[other]);
        let heads: Vec<usize> = (0..positions.len())
            .into_par_iter()
            .with_min_len(TASK)
            .filter(|&at| at == 0 || !same(positions[at - 1], positions[at]))
            .collect();
        let sum = |at: usize| {
            let run = heads[at]..heads.get(at + 1).copied().unwrap_or(positions.len());
            if run.len() == 1 {
                return Some(self.values[positions[run.start]]);
            }
            let mut sum = T::Sum::default();
            run.for_each(|at| T::add_product(&mut sum, self.values[positions[at]], T::ONE));
            T::finish(sum)
        };
        let all = || (0..heads.len()).into_par_iter().with_min_len(TASK);
        let values: Option<Vec<T>> = all().map(sum).collect();
        let values = values.ok_or_else(|| overflow::<T>("the sums of equal coordinates of a sparse tensor"))?;
        let indices = axes.iter().map(|axis| all().map(|at| axis[positions[heads[at]]]).collect()).collect();
        Ok(Self { shape: self.shape, indices, values })
    }
}

fn check(shape: &[usize], indices: &[Vec<u32>], values: usize) -> Result<()> {
    if indices.len() != shape.len() {
        return Err(Error::user(format!(
            "a sparse tensor of shape {shape:?} needs one list of indices an axis, but {} were given",
            indices.len()
        )));
    }
    for (axis, (list, &extent)) in indices.iter().zip(shape).enumerate() {
        if list.len() != values {
            return Err(Error::user(format!(
                "a sparse tensor has {values} values, but axis {axis} has {} indices; there must be as many",
                list.len()
            )));
        }
        if extent > 1 << 32 {
            return Err(Error::unsupported(format!(
                "axis {axis} of a sparse tensor has {extent} indices, more than 2^32; split the axis into two"
            )));
        }
        if let Some(index) = list.par_iter().with_min_len(TASK).find_any(|&&index| index as usize >= extent) {
            return Err(Error::user(format!(
                "index {index} along axis {axis} is outside of a sparse tensor of shape {shape:?}"
            )));
        }
    }
    Ok(())
}
