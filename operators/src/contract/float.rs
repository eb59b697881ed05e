//! Products of floats: the choice of a kernel, and the loops that several kernels share.
//!
//! The loops are written for the compiler to vectorise: sums go into [`LANES`] numbers at a time, which is what makes their
//! order, and so their bits, the same on every processor. They multiply and add in two roundings; memory is what bounds them.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use super::element::Element;
use super::groups::{Job, Kernel};
use super::{dot, elementwise, gemm, ttv};
use crate::expr::simd::vectorized;

/// `f32` and `f64`.
pub trait Float: Element + Add<Output = Self> + Mul<Output = Self> + AddAssign + Sum {}

/// Running sums of one dot product.
pub const LANES: usize = 16;

/// Up to so many multiplications workers are not called.
pub const ALONE: usize = 1 << 16;

/// Runs a product of two.
pub fn product<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    match job.groups.kernel() {
        Kernel::Elementwise => elementwise::run(job, out),
        Kernel::Dot => dot::run(job, out),
        Kernel::Ttv if job.groups.rows.is_empty() && !job.groups.columns.is_empty() => ttv::run(&job.swapped(), out),
        Kernel::Ttv => ttv::run(job, out),
        Kernel::Gemm | Kernel::Mttkrp => gemm::run(job, out),
    }
}

/// `Σ a[i] · b[i]`.
pub fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    vectorized(
        #[inline(always)]
        || {
            let mut sums = [T::ZERO; LANES];
            let (a_blocks, a_rest) = a.as_chunks::<LANES>();
            let (b_blocks, b_rest) = b.as_chunks::<LANES>();
            for (a, b) in a_blocks.iter().zip(b_blocks) {
                for lane in 0..LANES {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
                *sum += a * b;
            }
            fold(sums)
        },
    )
}

/// Four dot products with one vector, which is read once.
pub fn dot_four<T: Float>(rows: [&[T]; 4], x: &[T]) -> [T; 4] {
    const HALF: usize = LANES / 2;
    vectorized(
        #[inline(always)]
        || {
            // Four arrays of their own: as one array of arrays the compiler leaves them in memory.
            let (mut s, mut t, mut u, mut v) = ([T::ZERO; HALF], [T::ZERO; HALF], [T::ZERO; HALF], [T::ZERO; HALF]);
            let (x_blocks, x_rest) = x.as_chunks::<HALF>();
            let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] =
                rows.map(|row| row[..x.len()].as_chunks::<HALF>());
            for ((((x, a), b), c), d) in x_blocks.iter().zip(a).zip(b).zip(c).zip(d) {
                (0..HALF).for_each(|lane| s[lane] += a[lane] * x[lane]);
                (0..HALF).for_each(|lane| t[lane] += b[lane] * x[lane]);
                (0..HALF).for_each(|lane| u[lane] += c[lane] * x[lane]);
                (0..HALF).for_each(|lane| v[lane] += d[lane] * x[lane]);
            }
            let mut sums = [s, t, u, v];
            for (sums, rest) in sums.iter_mut().zip([a_rest, b_rest, c_rest, d_rest]) {
                for ((sum, &a), &x) in sums.iter_mut().zip(rest).zip(x_rest) {
                    *sum += a * x;
                }
            }
            sums.map(fold)
        },
    )
}

/// `y[i] += x · a[i]`.
pub fn add_scaled<T: Float>(y: &mut [T], a: &[T], x: T) {
    vectorized(
        #[inline(always)]
        || {
            let (y_blocks, y_rest) = y.as_chunks_mut::<LANES>();
            let (a_blocks, a_rest) = a.as_chunks::<LANES>();
            for (y, a) in y_blocks.iter_mut().zip(a_blocks) {
                // A copy of its own: what might be the memory of `a` is not computed in registers.
                let mut sums = *y;
                for lane in 0..LANES {
                    sums[lane] += a[lane] * x;
                }
                *y = sums;
            }
            for (y, &a) in y_rest.iter_mut().zip(a_rest) {
                *y += a * x;
            }
        },
    );
}

/// `y[i] += x[0] · a[0][i] + … + x[3] · a[3][i]`.
pub fn add_four<T: Float>(y: &mut [T], rows: [&[T]; 4], x: [T; 4]) {
    vectorized(
        #[inline(always)]
        || {
            let [a, b, c, d] = rows.map(|row| &row[..y.len()]);
            for ((((y, &a), &b), &c), &d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y += (a * x[0] + b * x[1]) + (c * x[2] + d * x[3]);
            }
        },
    );
}

/// `y[i] += a[i] · b[i]`.
pub fn add_product<T: Float>(y: &mut [T], a: &[T], b: &[T]) {
    vectorized(
        #[inline(always)]
        || {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y += a * b;
            }
        },
    );
}

/// `y[i] = a[i] · b[i]`.
pub fn set_product<T: Float>(y: &mut [T], a: &[T], b: &[T]) {
    vectorized(
        #[inline(always)]
        || {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = a * b;
            }
        },
    );
}

/// The sum of all lanes, halves first.
#[inline(always)]
fn fold<T: Float, const N: usize>(mut sums: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            let other = sums[lane + half];
            sums[lane] += other;
        }
        half /= 2;
    }
    sums[0]
}
