//! How fast memory is read: the sum of an array that is far larger than the caches, by all threads.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::huge;
use super::simd::dispatched;

/// What is read.
pub(crate) const READ_BYTES: usize = 1 << 30;

/// Numbers that a thread reads at a time.
const CHUNK: usize = 1 << 17;

/// Passes, of which the best counts.
const PASSES: usize = 5;

/// Sums: enough vectors of them that no addition waits for another.
const LANES: usize = 64;

/// Milliseconds of reading [`READ_BYTES`] once, with the threads of the pool it is called in.
pub(crate) fn milliseconds() -> f64 {
    // Pages that were never written are all the same one, which is in the caches.
    let cells = huge::filled(READ_BYTES / 8, 1.0);
    let pass = |_| {
        let started = Instant::now();
        black_box(cells.par_chunks(CHUNK).map(sum).sum::<f64>());
        started.elapsed().as_secs_f64() * 1e3
    };
    (0..PASSES).map(pass).fold(f64::INFINITY, f64::min)
}

dispatched! { fn sum(cells: &[f64]) -> f64 = sum_body }

#[inline(always)]
fn sum_body<const FUSED: bool>(cells: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (blocks, rest) = cells.as_chunks::<LANES>();
    for block in blocks {
        for (sum, cell) in sums.iter_mut().zip(block) {
            *sum += cell;
        }
    }
    sums.iter().chain(rest).sum()
}
