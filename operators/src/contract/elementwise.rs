//! Nothing is summed: Hadamard and outer products, scaled copies, transposition.
//!
//! ```text
//!   out[i,j] = left[i,j] · right[i,j]      left[i] · right[j]      left[j,i] · 1
//! ```
//!
//! The output is contiguous, so it is written front to back in runs along its last axis, along which each operand has stride 1
//! (a run of its own), 0 (one number) or something else. An operand in another order of axes is copied into this one first: a
//! blocked copy and a run are faster than a run with strides. Bound by memory.

use rayon::prelude::*;

use super::element::Epilogue;
use super::float::{ALONE, Float};
use super::groups::{Axis, Groups, Job, Place, fuse, walk};
use super::pack::{pack_into, repack};
use crate::expr::simd::vectorized;

/// Elements of a task.
const TASK: usize = 1 << 14;

pub fn run<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    let groups = &job.groups;
    let mut axes: Vec<Axis> = [&groups.batch[..], &groups.rows, &groups.columns].concat();
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.out));
    let axes = fuse(&axes);
    let Some(last) = axes.last() else {
        return job
            .epilogue
            .write(job.left[job.origin.left as usize] * job.right[job.origin.right as usize], &mut out[0]);
    };
    let scalar = |strides: fn(&Axis) -> isize| axes.iter().all(|axis| strides(axis) == 0);
    if scalar(|axis| axis.right)
        && job.right[job.origin.right as usize] * job.epilogue.alpha == T::ONE
        && job.epilogue.beta == T::ZERO
    {
        return pack_into(job.left, job.origin.left, &axes, out);
    }
    // In another order: its own numbers lie nearer along some other axis.
    let elsewhere = |strides: fn(&Axis) -> isize| {
        strides(last).unsigned_abs() > 1
            && axes.iter().any(|axis| (1..strides(last).unsigned_abs()).contains(&strides(axis).unsigned_abs()))
    };
    let (packed_left, packed_right);
    let (mut left, mut right, mut origin, mut axes) = (job.left, job.right, job.origin, axes.clone());
    if elsewhere(|axis| axis.left) {
        packed_left = repack(left, origin.left, &mut [&mut axes], |axis| axis.left != 0);
        (left, origin.left) = (&packed_left, 0);
    }
    if elsewhere(|axis| axis.right) {
        let mut swapped: Vec<Axis> = axes.iter().map(Axis::swapped).collect();
        packed_right = repack(right, origin.right, &mut [&mut swapped], |axis| axis.left != 0);
        axes = swapped.iter().map(Axis::swapped).collect();
        (right, origin.right) = (&packed_right, 0);
    }
    let groups = Groups { batch: fuse(&axes), ..Groups::default() };
    stream(&Job { left, right, origin, groups, epilogue: job.epilogue }, out);
}

/// Writes the output front to back; all axes are batch axes, in its order.
fn stream<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    let Some((&last, outer)) = job.groups.batch.split_last() else { return };
    let chunk = |(number, out): (usize, &mut [T])| {
        let mut from = number * TASK;
        let mut rest = out;
        while !rest.is_empty() {
            // The rest of the run that `from` is in, or of the chunk.
            let (row, column) = (from / last.extent, from % last.extent);
            let length = (last.extent - column).min(rest.len());
            let (run, after) = rest.split_at_mut(length);
            walk(outer, row..row + 1, job.origin + last.step(column), |place| one_run(job, last, place, run));
            from += length;
            rest = after;
        }
    };
    if out.len() <= ALONE {
        out.chunks_mut(TASK).enumerate().for_each(chunk);
    } else {
        out.par_chunks_mut(TASK).enumerate().for_each(chunk);
    }
}

#[inline(always)]
fn one_run<T: Float>(job: &Job<'_, T>, last: Axis, place: Place, out: &mut [T]) {
    let epilogue = job.epilogue;
    let (left, right) = (place.left as usize, place.right as usize);
    match (last.left, last.right) {
        (1, 1) => {
            let (a, b) = (&job.left[left..left + out.len()], &job.right[right..right + out.len()]);
            vectorized(
                #[inline(always)]
                || out.iter_mut().zip(a).zip(b).for_each(|((slot, &a), &b)| epilogue.write(a * b, slot)),
            );
        }
        (1, 0) => scaled_run(epilogue, &job.left[left..left + out.len()], job.right[right], out),
        (0, 1) => scaled_run(epilogue, &job.right[right..right + out.len()], job.left[left], out),
        _ => {
            for (step, slot) in out.iter_mut().enumerate() {
                let place = place + last.step(step);
                epilogue.write(job.left[place.left as usize] * job.right[place.right as usize], slot);
            }
        }
    }
}

fn scaled_run<T: Float>(epilogue: Epilogue<T>, run: &[T], factor: T, out: &mut [T]) {
    vectorized(
        #[inline(always)]
        || out.iter_mut().zip(run).for_each(|(slot, &one)| epilogue.write(one * factor, slot)),
    );
}
