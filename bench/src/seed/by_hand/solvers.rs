//! Jacobi and conjugate gradients by hand.
//!
//! ```text
//!   a thread takes ROWS rows       ──────────────►  x          rows of four at a time: x is read from the cache once for four,
//!   at a time                      ──────────────►             and each has LANES sums, so that no addition waits
//!                                  ──────────────►
//!                                  ──────────────►
//! ```
//!
//! Loops over places, not iterators' closures: a closure is compiled for any processor, and is then no vector code.
//!
//! A matrix is 8·N² bytes and a vector 8·N: products are all that takes time. Work on vectors is therefore fused and left to one
//! thread: some microseconds beside the milliseconds of a product.

use std::hint::black_box;

use rayon::prelude::*;

use super::simd::{dispatched, fma};

/// Rows that a thread takes at a time: few enough that none is idle at the end, many enough that taking them costs nothing.
const ROWS: usize = 32;

/// Sums of a row.
const LANES: usize = 8;

/// A square matrix, row by row.
pub(crate) struct Matrix<'a> {
    cells: &'a [f64],
    order: usize,
}

impl<'a> Matrix<'a> {
    /// None if these are not the cells of a square.
    pub(crate) fn square(cells: &'a [f64]) -> Option<Self> {
        let order = cells.len().isqrt();
        (order * order == cells.len()).then_some(Self { cells, order })
    }

    /// `y = A·x`.
    fn product(&self, x: &[f64], y: &mut [f64]) {
        self.by_rows(x, y, |_, _| {});
    }

    /// `y = A·x`, and then `finish` on each piece of y by the thread that made it, with the place where the piece starts.
    fn by_rows(&self, x: &[f64], y: &mut [f64], finish: impl Fn(usize, &mut [f64]) + Sync) {
        if self.order == 0 {
            return;
        }
        let pieces = self.cells.par_chunks(ROWS * self.order).zip(y.par_chunks_mut(ROWS)).enumerate();
        pieces.for_each(|(place, (rows, y))| {
            product_of_rows(rows, x, y);
            finish(place * ROWS, y);
        });
    }
}

/// `x = (b − R·x) / d`, from zeros.
pub(crate) fn jacobi(r: &Matrix<'_>, d: &[f64], b: &[f64], iterations: u32) -> Vec<f64> {
    let mut x = vec![0.0; b.len()];
    let mut next = x.clone();
    for _ in 0..iterations {
        r.by_rows(&x, &mut next, |start, piece| {
            let (b, d) = (&b[start..start + piece.len()], &d[start..start + piece.len()]);
            piece.iter_mut().zip(b.iter().zip(d)).for_each(|(cell, (b, d))| *cell = (b - *cell) / d);
        });
        std::mem::swap(&mut x, &mut next);
    }
    x
}

/// Conjugate gradient from zeros.
pub(crate) fn cg(a: &Matrix<'_>, b: &[f64], iterations: u32) -> Vec<f64> {
    let mut x = vec![0.0; b.len()];
    let mut ap = x.clone();
    let mut r = residual(a, b, &x);
    let mut p = r.clone();
    let mut rs = dot(&r, &r);
    for _ in 0..iterations {
        a.product(&p, &mut ap);
        let alpha = rs / dot(&p, &ap);
        let rs_new = step(alpha, &p, &ap, &mut x, &mut r);
        follow(rs_new / rs, &r, &mut p);
        rs = rs_new;
    }
    x
}

/// The same with a preconditioner: `z = M·r`.
pub(crate) fn pcg(a: &Matrix<'_>, m: &Matrix<'_>, b: &[f64], iterations: u32) -> Vec<f64> {
    let mut x = vec![0.0; b.len()];
    let (mut ap, mut z) = (x.clone(), x.clone());
    let mut r = residual(a, b, &x);
    m.product(&r, &mut z);
    let mut p = z.clone();
    let mut rz = dot(&r, &z);
    for _ in 0..iterations {
        a.product(&p, &mut ap);
        let alpha = rz / dot(&p, &ap);
        step(alpha, &p, &ap, &mut x, &mut r);
        m.product(&r, &mut z);
        let rz_new = dot(&r, &z);
        follow(rz_new / rz, &z, &mut p);
        rz = rz_new;
    }
    x
}

/// `b − A·x`.
fn residual(a: &Matrix<'_>, b: &[f64], x: &[f64]) -> Vec<f64> {
    let mut r = vec![0.0; b.len()];
    a.product(x, &mut r);
    r.iter_mut().zip(b).for_each(|(r, b)| *r = b - *r);
    r
}

dispatched! {
    /// `y = rows · x`, rows one after the other.
    fn product_of_rows(rows: &[f64], x: &[f64], y: &mut [f64]) = product_body
}

#[inline(always)]
fn product_body<const FUSED: bool>(rows: &[f64], x: &[f64], y: &mut [f64]) {
    let mut rows = rows.chunks_exact(x.len());
    let mut places = y.chunks_exact_mut(4);
    for places in &mut places {
        if let (Some(a), Some(b), Some(c), Some(d)) = (rows.next(), rows.next(), rows.next(), rows.next()) {
            places.copy_from_slice(&dots::<FUSED, 4>([a, b, c, d], x));
        }
    }
    for (place, row) in places.into_remainder().iter_mut().zip(rows) {
        [*place] = dots::<FUSED, 1>([row], x);
    }
}

/// Each row times x.
#[inline(always)]
fn dots<const FUSED: bool, const R: usize>(rows: [&[f64]; R], x: &[f64]) -> [f64; R] {
    let mut sums = [[0.0; LANES]; R];
    let (blocks, rest) = x.as_chunks::<LANES>();
    let rows_in_blocks = rows.map(|row| row[..x.len()].as_chunks::<LANES>());
    for (at, x) in blocks.iter().enumerate() {
        for (sums, (blocks, _)) in sums.iter_mut().zip(&rows_in_blocks) {
            let row = &blocks[at];
            for lane in 0..LANES {
                sums[lane] = fma::<FUSED>(row[lane], x[lane], sums[lane]);
            }
        }
    }
    // Else the compiler makes vectors across rows, of numbers that lie far apart, and shuffles most of the time.
    let sums = black_box(sums);
    let mut totals = [0.0; R];
    for (total, (sums, (_, row))) in totals.iter_mut().zip(sums.iter().zip(&rows_in_blocks)) {
        *total = sums.iter().sum::<f64>() + row.iter().zip(rest).map(|(a, x)| a * x).sum::<f64>();
    }
    totals
}

dispatched! {
    /// `x · y`.
    fn dot(x: &[f64], y: &[f64]) -> f64 = dot_body
}

#[inline(always)]
fn dot_body<const FUSED: bool>(x: &[f64], y: &[f64]) -> f64 {
    let [dot] = dots::<FUSED, 1>([x], y);
    dot
}

dispatched! {
    /// `x += α·p` and `r −= α·ap`; the new `r · r`.
    fn step(alpha: f64, p: &[f64], ap: &[f64], x: &mut [f64], r: &mut [f64]) -> f64 = step_body
}

#[inline(always)]
fn step_body<const FUSED: bool>(alpha: f64, p: &[f64], ap: &[f64], x: &mut [f64], r: &mut [f64]) -> f64 {
    let length = x.len();
    let (p, ap, r) = (&p[..length], &ap[..length], &mut r[..length]);
    for at in 0..length {
        x[at] = fma::<FUSED>(alpha, p[at], x[at]);
        r[at] = fma::<FUSED>(-alpha, ap[at], r[at]);
    }
    // r is in the nearest cache now.
    dot_body::<FUSED>(r, r)
}

dispatched! {
    /// `p = z + β·p`.
    fn follow(beta: f64, z: &[f64], p: &mut [f64]) = follow_body
}

#[inline(always)]
fn follow_body<const FUSED: bool>(beta: f64, z: &[f64], p: &mut [f64]) {
    let length = p.len();
    let z = &z[..length];
    for at in 0..length {
        p[at] = fma::<FUSED>(beta, p[at], z[at]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    /// u + uᵀ + N·I, and b.
    fn problem(n: usize) -> (Vec<f64>, Vec<f64>) {
        let cell = |i: usize, j: usize| ((i * 7 + j * 13) % 11 + (j * 7 + i * 13) % 11) as f64 / 11.0;
        let with_diagonal = |at: usize| cell(at / n, at % n) + if at / n == at % n { 2.0 * n as f64 } else { 0.0 };
        ((0..n * n).map(with_diagonal).collect(), (0..n).map(|at| (at % 5 + 1) as f64).collect())
    }

    fn slow_product(a: &[f64], x: &[f64]) -> Vec<f64> {
        a.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
    }

    fn near(one: &[f64], other: &[f64]) {
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(other) {
            assert!((one - other).abs() < 1e-9 * (1.0 + one.abs()), "{one} {other}");
        }
    }

    #[test]
    fn products_of_all_sizes() {
        for n in [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 67, 130] {
            let (a, b) = problem(n);
            let mut y = vec![f64::NAN; n];
            Matrix::square(&a).unwrap().product(&b, &mut y);
            near(&y, &slow_product(&a, &b));
        }
    }

    #[test]
    fn all_solve() {
        for n in [1, 5, 67, 130] {
            let (a, b) = problem(n);
            let d = (0..n).map(|at| a[at * n + at]).collect::<Vec<_>>();
            let off = |at: usize| at / n != at % n;
            let r = (0..n * n).map(|at| if off(at) { a[at] } else { 0.0 }).collect::<Vec<_>>();
            let m = (0..n * n).map(|at| if off(at) { 0.0 } else { 1.0 / d[at / n] }).collect::<Vec<_>>();
            let (a, r, m) = (&Matrix::square(&a).unwrap(), &Matrix::square(&r).unwrap(), &Matrix::square(&m).unwrap());
            let solutions = [jacobi(r, &d, &b, 100), cg(a, &b, 10.min(n as u32)), pcg(a, m, &b, 10.min(n as u32))];
            for x in solutions {
                near(&slow_product(a.cells, &x), &b);
            }
        }
    }
}
