//! One operand has all indices of the other: array times vector, batches of dot products, sums (times ones).
//!
//! ```text
//!   y[batch, rows] = Σ_inner  a[batch, rows, inner] · x[batch, inner]
//! ```
//!
//! Every element of `a` is used once, so reading it is the cost. Along which index its neighbours lie decides the loop:
//!
//! - *Along an inner index*: the dot product of each row with `x`; of four long rows at a time, so that `x` is read from the
//!   second-level cache a quarter as often.
//! - *Along a row*: `y` is in the cache, [`STRIP`] elements of it, and `x[k] · a[k, strip]` is added to it for each `k`.
//! - *Along a batch index*: as along a row, but with a different `x` for each element.
//!
//! Long runs from memory are what counts. Four short rows (400 numbers) at a time are half as fast as one, four streams that
//! often begin anew; strips of 2,048 elements are a third slower than of 16,384; and asking for memory in advance (`prefetcht0`)
//! is slower than leaving it to the processor.
//!
//! What lies along none of them (a view with gaps) is packed first.
//!
//! A short `y` has too few rows to share between workers; then the inner indices are cut in pieces as well, each with a `y` of its
//! own, which are added up in order. Whether they are cut depends on extents alone.

use rayon::prelude::*;

use super::element::Epilogue;
use super::float::{ALONE, Float, add_four, add_product, add_scaled, dot, dot_four};
use super::groups::{Axis, Groups, Job, Place, Shared, fuse, volume, walk};
use super::pack::repack;

/// Elements of `y` that are kept in the second-level cache: 128 KiB of `f64`.
const STRIP: usize = 16_384;

/// Rows of up to so many numbers leave `x` in the first-level cache.
const SHORT: usize = 2048;

/// Tasks of a product that is worth sharing: more than most hosts have cores.
const TASKS: usize = 64;

/// Elements of `a` that make a task worth its while.
const TASK: usize = 1 << 15;

pub fn run<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    let groups = &job.groups;
    let mut inner = groups.inner.clone();
    inner.sort_by_key(|axis| std::cmp::Reverse(axis.left.unsigned_abs()));
    let outer = [&groups.batch[..], &groups.rows].concat();
    let near = |axis: &Axis| axis.left == 1;
    if let Some(at) = outer.iter().position(|axis| near(axis) && matches!(axis.right, 0 | 1)) {
        return along_output(job, outer, at, &fuse(&inner), out);
    }
    if inner.last().is_some_and(near) {
        return along_inner(job, &outer, inner, out);
    }
    let mut packed = Groups { inner, ..groups.clone() };
    let left =
        repack(job.left, job.origin.left, &mut [&mut packed.batch, &mut packed.rows, &mut packed.inner], |_| true);
    let origin = Place { left: 0, ..job.origin };
    let outer = [&packed.batch[..], &packed.rows].concat();
    along_inner(&Job { left: &left, origin, ..job.clone() }, &outer, packed.inner, out);
}

/// Rows of `a` times `x`.
fn along_inner<T: Float>(job: &Job<'_, T>, outer: &[Axis], inner: Vec<Axis>, out: &mut [T]) {
    let mut vectors = Vectors::new(job, outer, inner);
    let Some(last) = vectors.inner.pop() else { return };
    let (inner, x) = (&vectors.inner, vectors.data.as_deref().unwrap_or(job.right));
    let origin = Place { right: if vectors.data.is_some() { 0 } else { job.origin.right }, ..job.origin };
    let rows = volume(&vectors.outer);
    let summed = volume(inner) * last.extent;
    // Rows of a task, and into how many pieces what is summed is cut: the last index if it is long, else those outside of it.
    let height = (TASK / summed).clamp(1, rows);
    let pieces = pieces(rows.div_ceil(height), rows.min(height) * summed, summed.div_ceil(TASK / 4));
    let (cut_last, cut_inner) = if last.extent >= volume(inner) { (pieces, 1) } else { (1, pieces) };
    let block = last.extent.div_ceil(cut_last);
    let group = volume(inner).div_ceil(cut_inner);
    let dots = |task: usize, piece: usize, write: Write<'_, T>| {
        let (from, steps) = if cut_last > 1 {
            (piece * block, 0..volume(inner))
        } else {
            (0, piece * group..volume(inner).min((piece + 1) * group))
        };
        let extent = block.min(last.extent.saturating_sub(from));
        if extent == 0 {
            return;
        }
        let one_row = |place: Place| {
            let mut sum = T::ZERO;
            walk(inner, steps.clone(), place + last.step(from), |place| {
                let (a, b) = (place.left as usize, place.right as usize);
                sum += dot(&job.left[a..a + extent], &x[b..b + extent]);
            });
            sum
        };
        let (mut row, mut waiting) = (task * height, Vec::with_capacity(4));
        let range = row..rows.min(row + height);
        if extent <= SHORT {
            walk(&vectors.outer, range, origin, |place| {
                write(row, place.out, one_row(place));
                row += 1;
            });
            return;
        }
        walk(&vectors.outer, range, origin, |place| {
            waiting.push((row, place));
            row += 1;
            if let &[a, b, c, d] = &waiting[..] {
                let four = [a, b, c, d];
                if four.iter().all(|one| one.1.right == a.1.right) {
                    let mut sums = [T::ZERO; 4];
                    walk(inner, steps.clone(), last.step(from), |step| {
                        let run = |start: isize| start as usize..start as usize + extent;
                        let rows = four.map(|one| &job.left[run(one.1.left + step.left)]);
                        let found = dot_four(rows, &x[run(a.1.right + step.right)]);
                        sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                    });
                    four.iter().zip(sums).for_each(|(one, sum)| write(one.0, one.1.out, sum));
                } else {
                    four.iter().for_each(|one| write(one.0, one.1.out, one_row(one.1)));
                }
                waiting.clear();
            }
        });
        waiting.iter().for_each(|one| write(one.0, one.1.out, one_row(one.1)));
    };
    let alone = rows * summed <= ALONE;
    share(&vectors.outer, job.epilogue, alone, [rows.div_ceil(height), pieces], out, &dots);
}

/// `x` with its neighbours along the last inner index, and the indices in that order.
struct Vectors<T> {
    outer: Vec<Axis>,
    inner: Vec<Axis>,
    /// A copy, if it does not lie so.
    data: Option<Vec<T>>,
}

impl<T: Float> Vectors<T> {
    fn new(job: &Job<'_, T>, outer: &[Axis], inner: Vec<Axis>) -> Self {
        if inner.last().is_some_and(|last| last.right == 1) {
            return Self { outer: outer.to_vec(), inner: fuse(&inner), data: None };
        }
        let swap = |axes: &[Axis]| axes.iter().map(Axis::swapped).collect::<Vec<_>>();
        let (mut outer, mut inner) = (swap(outer), swap(&inner));
        // Rows do not have the index; all others of `x` are copied, those too along which it is the same number.
        let is_inner = |axis: &Axis| axis.out == 0;
        let data =
            repack(job.right, job.origin.right, &mut [&mut outer, &mut inner], |axis| axis.left != 0 || is_inner(axis));
        Self { outer: swap(&outer), inner: fuse(&swap(&inner)), data: Some(data) }
    }
}

/// Strips of `y`, to which rows of `a` times numbers of `x` are added.
fn along_output<T: Float>(job: &Job<'_, T>, mut outer: Vec<Axis>, at: usize, inner: &[Axis], out: &mut [T]) {
    // The axis along which `a` lies is the last.
    let near = outer.remove(at);
    outer.push(near);
    let strip = STRIP.min(near.extent);
    let strips = near.extent.div_ceil(strip);
    let lines = volume(&outer) / near.extent;
    let summed = volume(inner);
    let pieces = pieces(lines * strips, strip * summed, summed.div_ceil(64));
    let group = summed.div_ceil(pieces);
    let adds = |task: usize, piece: usize, write: Write<'_, T>| {
        let (line, from) = (task / strips, task % strips * strip);
        let extent = strip.min(near.extent - from);
        let (mut sums, mut element) = (vec![T::ZERO; extent], 0);
        let sums = &mut sums[..];
        let run = |start: isize| start as usize..start as usize + extent;
        walk(&outer[..outer.len() - 1], line..line + 1, job.origin + near.step(from), |place| {
            let mut waiting = Vec::with_capacity(4);
            walk(inner, piece * group..summed.min((piece + 1) * group), place, |step| {
                if near.right != 0 {
                    return add_product(sums, &job.left[run(step.left)], &job.right[run(step.right)]);
                }
                if extent <= SHORT {
                    return add_scaled(sums, &job.left[run(step.left)], job.right[step.right as usize]);
                }
                waiting.push(step);
                if let &[a, b, c, d] = &waiting[..] {
                    let four = [a, b, c, d];
                    let rows = four.map(|one| &job.left[run(one.left)]);
                    add_four(sums, rows, four.map(|one| job.right[one.right as usize]));
                    waiting.clear();
                }
            });
            for one in waiting {
                add_scaled(sums, &job.left[run(one.left)], job.right[one.right as usize]);
            }
        });
        walk(&outer, line * near.extent + from..line * near.extent + from + extent, job.origin, |place| {
            write(line * near.extent + from + element, place.out, sums[element]);
            element += 1;
        });
    };
    let alone = lines * near.extent * summed <= ALONE;
    share(&outer, job.epilogue, alone, [lines * strips, pieces], out, &adds);
}

/// Into how many pieces sums are cut, at most `most`, so that there are tasks enough.
fn pieces(tasks: usize, elements: usize, most: usize) -> usize {
    if tasks * 4 >= TASKS || tasks * elements <= 2 * TASK {
        return 1;
    }
    TASKS.div_ceil(tasks).min(elements.div_ceil(TASK)).min(most).max(1)
}

/// Takes the number of an element (row-major in the order of the output's indices), its place in the output, and its sum.
type Write<'a, T> = &'a mut dyn FnMut(usize, isize, T);

/// Runs each piece of each task and writes what comes of it; sums that were cut are put together in order.
fn share<T: Float>(
    outer: &[Axis],
    epilogue: Epilogue<T>,
    alone: bool,
    [tasks, pieces]: [usize; 2],
    out: &mut [T],
    task: &(dyn Fn(usize, usize, Write<'_, T>) + Sync),
) {
    let each = |one: &(dyn Fn(usize) + Sync)| match alone {
        true => (0..tasks * pieces).for_each(one),
        false => (0..tasks * pieces).into_par_iter().for_each(one),
    };
    if pieces == 1 {
        let shared = Shared::new(out);
        // SAFETY: an element belongs to one task.
        each(&|at| task(at, 0, &mut |_, place, sum| epilogue.write(sum, unsafe { shared.slot(place) })));
        return;
    }
    let elements = volume(outer);
    let mut sums = vec![T::ZERO; elements * pieces];
    let shared = Shared::new(&mut sums);
    each(&|number| {
        let (at, piece) = (number / pieces, number % pieces);
        // SAFETY: an element belongs to one task, and each of its pieces has its own row of sums.
        task(at, piece, &mut |element, _, sum| unsafe { *shared.slot((piece * elements + element) as isize) = sum });
    });
    let mut element = 0;
    walk(outer, 0..elements, Place::default(), |place| {
        let sum = (0..pieces).map(|piece| sums[piece * elements + element]).sum();
        epilogue.write(sum, &mut out[place.out as usize]);
        element += 1;
    });
}
