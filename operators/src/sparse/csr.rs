//! Matrices in compressed sparse rows.
//!
//! ```text
//!   0 0 5 0       starts:  0 1 3 4         row i has the entries starts[i]..starts[i + 1]
//!   1 0 0 2   →   columns: 2 0 3 1
//!   0 3 0 0       values:  5 1 2 3
//! ```
//!
//! The columns of a matrix (CSC) are the rows of its transpose.

use std::ops::Range;

use bireme_engine::error::{Error, Result};

use super::Coordinates;
use super::number::Number;
use super::regroup::{regroup, starts_of};

/// A sparse matrix by rows; the columns of a row are sorted, each once.
///
/// ```
/// use bireme_operators::sparse::{Coordinates, Csr};
///
/// let a = Csr::new(Coordinates::new(&[2, 3], vec![vec![0, 1, 1], vec![2, 0, 2]], vec![5.0, 1.0, 2.0])?)?;
/// assert_eq!(a.row(1), (&[0, 2][..], &[1.0, 2.0][..]));
/// assert_eq!(a.transposed()?.row(2), (&[0, 1][..], &[5.0, 2.0][..]));
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Csr<T> {
    columns: usize,
    starts: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<T>,
}

impl<T: Number> Csr<T> {
    /// The rows of a sparse tensor of two axes, whose columns and values are taken over.
    ///
    /// # Errors
    ///
    /// A user's error if there are not two axes; out of resources if the rows' starts cannot be allocated.
    pub fn new(coordinates: Coordinates<T>) -> Result<Self> {
        let (shape, mut indices, values) = coordinates.into_parts();
        let (&[rows, columns], Some(by_entry), Some(row_of)) = (&shape[..], indices.pop(), indices.pop()) else {
            return Err(Error::user(format!("a sparse tensor of shape {shape:?} is no matrix, so it has no rows")));
        };
        Ok(Self { columns, starts: starts_of(&row_of, rows)?, indices: by_entry, values })
    }

    /// What a kernel has made: rows within `indices`, and sorted.
    pub(super) fn from_parts(columns: usize, starts: Vec<usize>, indices: Vec<u32>, values: Vec<T>) -> Self {
        Self { columns, starts, indices, values }
    }

    /// Starts, columns and values.
    pub(super) fn into_parts(self) -> (Vec<usize>, Vec<u32>, Vec<T>) {
        (self.starts, self.indices, self.values)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of entries, explicit zeros included.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// Where each row's entries begin, and where the last one's end.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Each entry's column.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Each entry's value.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The columns and values of a row; empty for a row that there is not.
    pub fn row(&self, row: usize) -> (&[u32], &[T]) {
        let of = |row: usize| self.starts.get(row).copied().unwrap_or(self.values.len());
        (&self.indices[of(row)..of(row + 1)], &self.values[of(row)..of(row + 1)])
    }

    /// The transpose: the columns of this matrix as rows.
    ///
    /// # Errors
    ///
    /// Not supported if there are more than 2³² rows; out of resources if there is no memory for it.
    pub fn transposed(&self) -> Result<Self> {
        let row_of = self.row_of_each()?;
        let grouped = regroup(&self.indices, self.columns, &row_of, &self.values)?;
        Ok(Self { columns: self.rows(), starts: grouped.starts, indices: grouped.indices, values: grouped.values })
    }

    /// The same matrix as coordinates.
    ///
    /// # Errors
    ///
    /// Not supported if there are more than 2³² rows.
    pub fn into_coordinates(self) -> Result<Coordinates<T>> {
        let row_of = self.row_of_each()?;
        Ok(Coordinates::from_sorted(vec![self.rows(), self.columns], vec![row_of, self.indices], self.values))
    }

    /// Each entry's row.
    pub(super) fn row_of_each(&self) -> Result<Vec<u32>> {
        rows_of(&self.starts)
    }

    pub(super) fn view(&self) -> Rows<'_, T> {
        Rows { columns: self.columns, starts: &self.starts, indices: &self.indices, values: &self.values }
    }
}

/// Each entry's row.
pub(super) fn rows_of(starts: &[usize]) -> Result<Vec<u32>> {
    let mut rows = Vec::with_capacity(starts.last().copied().unwrap_or(0));
    for (row, pair) in starts.windows(2).enumerate() {
        let row = u32::try_from(row).map_err(|_| {
            Error::unsupported(format!("a sparse matrix of {} rows as coordinates, which have 32 bits", starts.len()))
        });
        rows.resize(pair[1], row?);
    }
    Ok(rows)
}

/// Rows that lie somewhere: what kernels read.
///
/// A row's columns may be in any order, and an entry may be there twice: products add up all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, T> {
    pub columns: usize,
    pub starts: &'a [usize],
    pub indices: &'a [u32],
    pub values: &'a [T],
}

impl<'a, T> Rows<'a, T> {
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    pub fn range(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// Columns and values of some entries.
    #[inline(always)]
    pub fn at(&self, entries: Range<usize>) -> (&'a [u32], &'a [T]) {
        (&self.indices[entries.clone()], &self.values[entries])
    }
}
