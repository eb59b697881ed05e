//! A sparse matrix times a dense one: `c[i,n] = Σ_k a[i,k] · b[k,n]`.
//!
//! Row by row, and within a task by blocks of columns: the sums of a block stay in registers while the row's entries are read, each
//! with a piece of a row of `b`. A task's entries stay in the cache from one block to the next, so they come from memory once.
//!
//! C. Yang, A. Buluç, J. D. Owens: Design principles for sparse matrix multiplication on the GPU, Euro-Par 2018: row-major `b`,
//! and work by entries rather than by rows.

use bireme_engine::error::{Error, Result};

use super::Csr;
use super::csr::Rows;
use super::matrix::Matrix;
use super::number::Number;
use super::partition::{Part, Seam, for_parts};
use crate::contract::View;
use crate::expr::simd::vectorized;

/// Entries and rows of a task: 100 KiB, which stay in a second-level cache.
const STEPS: usize = 1 << 13;

/// `out = a · b`, row-major, on the rayon pool that it is called in; `b` may have any strides.
///
/// # Errors
///
/// A user's error if `b` is no matrix with one row for each column of `a`, `out` has not as many elements as the result, or a sum of
/// integers does not fit its type; out of resources if `b` must be copied and cannot.
///
/// Source: Yang, Buluç and Owens (2018).
pub fn spmm<T: Number>(a: &Csr<T>, b: &View<'_, T>, out: &mut [T]) -> Result<()> {
    match b.shape() {
        &[rows, columns] if rows == a.columns() && a.rows().checked_mul(columns) == Some(out.len()) => {}
        shape => {
            return Err(Error::user(format!(
                "a sparse matrix of shape [{}, {}] times an array of shape {shape:?} cannot be put into {} elements",
                a.rows(),
                a.columns(),
                out.len()
            )));
        }
    }
    run(&a.view(), &Matrix::new(b)?, out)
}

pub(super) fn run<T: Number>(a: &Rows<'_, T>, b: &Matrix<'_, T>, out: &mut [T]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    for_parts(a.starts, STEPS, b.columns, out, "a sparse matrix times a dense one", |part, rows, seam| {
        vectorized(
            #[inline(always)]
            || {
                let mut job = Job { a, b, part, rows, seam };
                let mut column = 0;
                while column < b.columns {
                    column += match b.columns - column {
                        32.. => job.block::<32>(column)?,
                        16.. => job.block::<16>(column)?,
                        8.. => job.block::<8>(column)?,
                        4.. => job.block::<4>(column)?,
                        2.. => job.block::<2>(column)?,
                        _ => job.block::<1>(column)?,
                    };
                }
                Some(())
            },
        )
    })
}

struct Job<'a, T: Number> {
    a: &'a Rows<'a, T>,
    b: &'a Matrix<'a, T>,
    part: &'a Part,
    rows: &'a mut [T],
    seam: &'a mut Seam<T::Sum>,
}

impl<T: Number> Job<'_, T> {
    /// `N` columns from one on; `N`, unless a sum does not fit.
    #[inline(always)]
    fn block<const N: usize>(&mut self, column: usize) -> Option<usize> {
        let width = self.b.columns;
        let mut from = self.part.entries.start;
        for at in 0..self.part.rows.len() {
            let to = self.a.starts[self.part.rows.start + at + 1];
            let sums = self.sums::<N>(from..to, column);
            if at == 0 {
                self.seam.first[column..column + N].copy_from_slice(&sums);
            } else {
                let slots = &mut self.rows[at * width + column..][..N];
                for (slot, sum) in slots.iter_mut().zip(sums) {
                    *slot = T::finish(sum)?;
                }
            }
            from = to;
        }
        let sums = self.sums::<N>(from..self.part.entries.end, column);
        self.seam.last[column..column + N].copy_from_slice(&sums);
        Some(N)
    }

    #[inline(always)]
    fn sums<const N: usize>(&self, entries: std::ops::Range<usize>, column: usize) -> [T::Sum; N] {
        let mut sums = [T::Sum::default(); N];
        let (indices, values) = self.a.at(entries);
        for (&index, &value) in indices.iter().zip(values) {
            if let Some(block) = self.b.block::<N>(index as usize, column) {
                for lane in 0..N {
                    T::add_product(&mut sums[lane], value, block[lane]);
                }
            }
        }
        sums
    }
}
