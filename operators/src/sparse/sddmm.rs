//! A product of dense matrices where a sparse one has entries: `out[i,j] = s[i,j] · Σ_k a[i,k] · b[k,j]`.
//!
//! An inner product an entry: a row of `a` with a row of the transpose of `b`. Of `a` a row is in the cache for all entries of a
//! row. Values have places of their own, so tasks are pieces of the list of entries, and no heavy row is in anybody's way.
//!
//! I. Nisa, A. Sukumaran-Rajam, S. E. Kurt, C. Hong, P. Sadayappan: Sampled dense matrix multiplication for high-performance machine
//! learning, HiPC 2018.

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::Coordinates;
use super::einsum::{Named, transposed};
use super::matrix::Matrix;
use super::number::{Number, overflow};
use super::operand::Entries;
use super::times_dense::{flattened, in_place};
use crate::contract::{Extents, View};
use crate::expr::simd::vectorized;

/// Entries of a task.
const TASK: usize = 1 << 10;

/// Running sums of an inner product.
const LANES: usize = 16;

/// `s ∘ (a · b)`, with the pattern of `s`, on the rayon pool that it is called in.
///
/// # Errors
///
/// A user's error if shapes do not fit, or a sum or a product of integers does not fit its type; out of resources if an operand must
/// be copied and cannot.
///
/// Source: Nisa and others (2018).
pub fn sddmm<T: Number>(s: &Coordinates<T>, a: &View<'_, T>, b: &View<'_, T>) -> Result<Coordinates<T>> {
    match (s.shape(), a.shape(), b.shape()) {
        (&[rows, columns], &[a_rows, inner], &[b_rows, b_columns])
            if (rows, columns, inner) == (a_rows, b_columns, b_rows) => {}
        (sampled, left, right) => {
            return Err(Error::user(format!(
                "a product of shapes {left:?} and {right:?} cannot be sampled where an array of shape {sampled:?} has entries"
            )));
        }
    }
    let values = run(s.values(), s.indices(0), s.indices(1), &Matrix::new(a)?, &Matrix::new(&transposed(b)?)?)?;
    Ok(Coordinates::from_sorted(s.shape().to_vec(), vec![s.indices(0).to_vec(), s.indices(1).to_vec()], values))
}

/// The same with axes in any order, batches, and several inner indices or none; `None` if it is no sampled product.
pub(super) fn einsum<T: Number>(
    entries: &Entries<'_, T>,
    a: &Named<'_, T>,
    b: &Named<'_, T>,
    output: &[char],
    extents: &Extents,
) -> Result<Option<Coordinates<T>>> {
    if output.len() != entries.letters.len() || !output.iter().all(|letter| entries.letters.contains(letter)) {
        return Ok(None);
    }
    let both = |letter: &char| a.letters.contains(letter) && b.letters.contains(letter);
    let mut inner: Vec<char> = a.letters.iter().copied().filter(|letter| both(letter)).collect();
    inner.retain(|letter| !entries.letters.contains(letter));
    inner.sort_unstable();
    inner.dedup();
    let length = extents.elements(&inner)?;
    let (mut copies, mut numbers) = ([Vec::new(), Vec::new()], Vec::new());
    let mut matrices = Vec::new();
    for (dense, copy) in [a, b].into_iter().zip(&mut copies) {
        let rows: Vec<char> = entries.letters.iter().copied().filter(|letter| dense.letters.contains(letter)).collect();
        let view = match in_place(dense, &rows, &inner, length)? {
            Some(view) => view,
            None => {
                *copy = dense.arranged(&[&rows[..], &inner].concat(), extents)?;
                View::contiguous(copy, &[extents.elements(&rows)?, length])?
            }
        };
        matrices.push(Matrix::new(&view)?);
        numbers.push(flattened(entries, &rows, extents)?);
    }
    let values = run(&entries.values, &numbers[0], &numbers[1], &matrices[0], &matrices[1])?;
    let indices = output.iter().map(|&letter| entries.of(letter).unwrap_or(&[]).to_vec()).collect();
    Coordinates::new(&extents.shape(output), indices, values).map(Some)
}

/// The values of `s`, each times the inner product of the rows that `left` and `right` name.
pub(super) fn run<T: Number>(
    s: &[T],
    left: &[u32],
    right: &[u32],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
) -> Result<Vec<T>> {
    let mut out = s.to_vec();
    let task = |((out, left), right): ((&mut [T], &[u32]), &[u32])| {
        vectorized(
            #[inline(always)]
            || {
                for ((slot, &left), &right) in out.iter_mut().zip(left).zip(right) {
                    let sum = T::finish(dot(a.row(left as usize), b.row(right as usize)))?;
                    *slot = T::times(*slot, sum)?;
                }
                Some(())
            },
        )
    };
    let pieces = out.par_chunks_mut(TASK).zip(left.par_chunks(TASK)).zip(right.par_chunks(TASK));
    pieces.map(task).collect::<Option<()>>().ok_or_else(|| overflow::<T>("a sampled product"))?;
    Ok(out)
}

#[inline(always)]
fn dot<T: Number>(a: &[T], b: &[T]) -> T::Sum {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [T::Sum::default(); LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            T::add_product(&mut sums[lane], a[lane], b[lane]);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        T::add_product(sum, a, b);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = sums[lane + half];
            T::add(&mut sums[lane], other);
        }
        half /= 2;
    }
    sums[0]
}
