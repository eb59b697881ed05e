//! All indices are summed: the inner product of two arrays.
//!
//! Bound by memory. Each piece of [`PIECE`] elements has a sum of its own, and these are added up in order, so that the result
//! does not depend on who computed which. An operand in another order of axes is copied into the other's order first.

use rayon::prelude::*;

use super::float::{ALONE, Float, dot};
use super::groups::{Axis, Job, fuse, volume, walk};
use super::pack::repack;

/// Elements of a piece: 256 KiB of `f64`.
const PIECE: usize = 1 << 15;

pub fn run<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    let mut axes = job.groups.inner.clone();
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.left.unsigned_abs()));
    let mut axes = fuse(&axes);
    let (packed, mut right, mut origin) = (pack_if_across(job, &mut axes), job.right, job.origin);
    if let Some(packed) = &packed {
        (right, origin.right) = (packed, 0);
        axes = fuse(&axes);
    }
    let Some(last) = axes.pop() else { return };
    let block = PIECE.min(last.extent);
    let (blocks, rows) = (last.extent.div_ceil(block), (PIECE / block).max(1));
    let pieces = blocks * volume(&axes).div_ceil(rows);
    let piece = |number: usize| {
        let (group, from) = (number / blocks, number % blocks * block);
        let extent = block.min(last.extent - from);
        let mut sum = T::ZERO;
        walk(&axes, group * rows..volume(&axes).min((group + 1) * rows), origin + last.step(from), |place| {
            sum += if (last.left, last.right) == (1, 1) {
                let (left, right_from) = (place.left as usize, place.right as usize);
                dot(&job.left[left..left + extent], &right[right_from..right_from + extent])
            } else {
                let element = |step: usize| {
                    let place = place + last.step(step);
                    job.left[place.left as usize] * right[place.right as usize]
                };
                (0..extent).map(element).sum()
            };
        });
        sum
    };
    let sums: Vec<T> = match volume(&axes) * last.extent {
        0..=ALONE => (0..pieces).map(piece).collect(),
        _ => (0..pieces).into_par_iter().map(piece).collect(),
    };
    job.epilogue.write(sums.into_iter().sum(), &mut out[0]);
}

/// The right operand in the left's order, if its numbers lie nearer along another axis than the left's.
fn pack_if_across<T: Float>(job: &Job<'_, T>, axes: &mut Vec<Axis>) -> Option<Vec<T>> {
    let last = axes.last()?.right.unsigned_abs();
    let nearer = axes.iter().any(|axis| (1..last).contains(&axis.right.unsigned_abs()));
    nearer.then(|| {
        let mut swapped: Vec<Axis> = axes.iter().map(Axis::swapped).collect();
        let packed = repack(job.right, job.origin.right, &mut [&mut swapped], |axis| axis.left != 0);
        *axes = swapped.iter().map(Axis::swapped).collect();
        packed
    })
}
