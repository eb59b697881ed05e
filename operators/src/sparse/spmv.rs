//! A sparse matrix times a vector: `y[i] = Σ_k a[i,k] · x[k]`.
//!
//! Bound by memory: an entry of `f64` is 12 bytes that are read once, and `x` is read where the columns say. Work is divided as
//! [`partition`](super::partition) says. Long rows are summed in [`LANES`] sums, so that additions do not wait for each other; for rows
//! shorter than [`LONG`] the plainest loop is the fastest one: what is left over of lanes costs a branch that is guessed wrong about
//! once a row, and with it reads of `x` that could have begun (measured: 32 entries a row, `x` in the third-level cache, 1.8 against
//! 2.5 ns an entry; leaving out the check of indices gains nothing).

use bireme_engine::error::{Error, Result};

use super::Csr;
use super::csr::Rows;
use super::number::Number;
use super::partition::for_parts;
use crate::expr::simd::vectorized;

/// Entries and rows of a task: 200 KiB.
const STEPS: usize = 1 << 14;

/// Running sums of a long row.
const LANES: usize = 4;

/// Entries of a long row.
const LONG: usize = 128;

/// `out = a · x`, on the rayon pool that it is called in.
///
/// # Errors
///
/// A user's error if `x` has not one element a column, `out` not one a row, or a sum of integers does not fit its type.
///
/// Source: Merrill and Garland (2016).
pub fn spmv<T: Number>(a: &Csr<T>, x: &[T], out: &mut [T]) -> Result<()> {
    if (x.len(), out.len()) != (a.columns(), a.rows()) {
        return Err(Error::user(format!(
            "a sparse matrix of shape [{}, {}] times a vector of {} elements cannot be put into {} elements",
            a.rows(),
            a.columns(),
            x.len(),
            out.len()
        )));
    }
    run(&a.view(), x, out)
}

pub(super) fn run<T: Number>(a: &Rows<'_, T>, x: &[T], out: &mut [T]) -> Result<()> {
    for_parts(a.starts, STEPS, 1, out, "a sparse matrix times a vector", |part, rows, seam| {
        vectorized(
            #[inline(always)]
            || {
                let mut from = part.entries.start;
                let ends = &a.starts[part.rows.start + 1..][..part.rows.len()];
                for (at, (&to, slot)) in ends.iter().zip(rows).enumerate() {
                    let sum = dot(a, from..to, x);
                    if at == 0 {
                        seam.first[0] = sum
                    } else {
                        *slot = T::finish(sum)?
                    }
                    from = to;
                }
                seam.last[0] = dot(a, from..part.entries.end, x);
                Some(())
            },
        )
    })
}

#[inline(always)]
fn dot<T: Number>(a: &Rows<'_, T>, entries: std::ops::Range<usize>, x: &[T]) -> T::Sum {
    let (indices, values) = a.at(entries);
    if indices.len() < LONG {
        let mut sum = T::Sum::default();
        for (&index, &value) in indices.iter().zip(values) {
            T::add_product(&mut sum, value, x[index as usize]);
        }
        return sum;
    }
    let (index_blocks, index_rest) = indices.as_chunks::<LANES>();
    let (value_blocks, value_rest) = values.as_chunks::<LANES>();
    let mut sums = [T::Sum::default(); LANES];
    for (indices, values) in index_blocks.iter().zip(value_blocks) {
        for lane in 0..LANES {
            T::add_product(&mut sums[lane], values[lane], x[indices[lane] as usize]);
        }
    }
    let [mut sum, one, mut two, three] = sums;
    for (&index, &value) in index_rest.iter().zip(value_rest) {
        T::add_product(&mut sum, value, x[index as usize]);
    }
    T::add(&mut sum, one);
    T::add(&mut two, three);
    T::add(&mut sum, two);
    sum
}
