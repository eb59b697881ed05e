//! Copies an array into another order of axes, in tiles.
//!
//! Reading along one axis and writing along another touches a cache line a row. A tile of 16 × 16 elements (f64: 16 lines on
//! either side) is copied while all its lines are in the first-level cache, so each line is moved once.

use rayon::prelude::*;

use super::groups::{Axis, Place, Shared, fuse, volume, walk};

/// Rows and columns of a tile.
const TILE: usize = 16;

/// Rows and columns of a task's block.
const BLOCK: usize = 256;

/// Elements of a task.
const TASK: usize = super::float::ALONE;

/// The elements at `data[origin + Σ index · left]`, row-major in the order of `axes`; only `extent` and `left` count.
pub fn pack<T: Copy + Default + Send + Sync>(data: &[T], origin: isize, axes: &[Axis]) -> Vec<T> {
    let mut packed = vec![T::default(); volume(axes)];
    pack_into(data, origin, axes, &mut packed);
    packed
}

/// Packs the left operand in the order of these lists of axes, those that are `chosen`, and gives these the strides of the copy.
pub fn repack<T: Copy + Default + Send + Sync>(
    data: &[T],
    origin: isize,
    lists: &mut [&mut [Axis]],
    chosen: impl Fn(&Axis) -> bool,
) -> Vec<T> {
    let mut axes: Vec<&mut Axis> =
        lists.iter_mut().flat_map(|list| list.iter_mut()).filter(|axis| chosen(axis)).collect();
    let packed = pack(data, origin, &axes.iter().map(|axis| **axis).collect::<Vec<_>>());
    let mut stride = 1;
    for axis in axes.iter_mut().rev() {
        axis.left = stride;
        stride *= axis.extent as isize;
    }
    packed
}

/// As [`pack`], into a buffer of that size.
pub fn pack_into<T: Copy + Send + Sync>(data: &[T], origin: isize, axes: &[Axis], packed: &mut [T]) {
    let mut stride = 1;
    let mut given: Vec<Axis> = axes.iter().map(|axis| Axis { right: 0, ..*axis }).collect();
    for axis in given.iter_mut().rev() {
        axis.out = stride;
        stride *= axis.extent as isize;
    }
    let mut axes = fuse(&given);
    let origin = Place { left: origin, right: 0, out: 0 };
    let Some(last) = axes.pop() else {
        packed[0] = data[origin.left as usize];
        return;
    };
    let nearest = (0..axes.len()).min_by_key(|&at| axes[at].left.unsigned_abs());
    let out = Shared::new(packed);
    match nearest {
        Some(at) if axes[at].left.unsigned_abs() < last.left.unsigned_abs() => {
            let across = axes.remove(at);
            transpose(data, origin, &axes, across, last, out);
        }
        _ => copy_rows(data, origin, &axes, last, out),
    }
}

/// Rows that lie along one axis in both.
fn copy_rows<T: Copy + Send + Sync>(data: &[T], origin: Place, axes: &[Axis], last: Axis, out: Shared<T>) {
    let rows = volume(axes);
    let block = TASK.min(last.extent);
    let blocks = last.extent.div_ceil(block);
    tasks(rows * blocks, (TASK / block).max(1), |range| {
        for task in range {
            let (row, from) = (task / blocks, task % blocks * block);
            let extent = block.min(last.extent - from);
            walk(axes, row..row + 1, origin + last.step(from), |place| {
                let start = place.left as usize;
                // SAFETY: rows and their blocks are distinct, and tasks have different ones.
                let row = unsafe { std::slice::from_raw_parts_mut(out.at(place.out), extent) };
                if last.left == 1 {
                    row.copy_from_slice(&data[start..start + extent]);
                } else {
                    for (step, slot) in row.iter_mut().enumerate() {
                        *slot = data[(place.left + step as isize * last.left) as usize];
                    }
                }
            });
        }
    });
}

/// Planes that are read along `across` and written along `last`.
///
/// A task is a block of a plane, so wide that the pages it reads stay known to the processor from one strip of tiles to the next.
fn transpose<T: Copy + Send + Sync>(
    data: &[T],
    origin: Place,
    axes: &[Axis],
    across: Axis,
    last: Axis,
    out: Shared<T>,
) {
    let [down, along] = [across, last].map(|axis| axis.extent.div_ceil(BLOCK));
    let together = (TASK / (across.extent.min(BLOCK) * last.extent.min(BLOCK))).max(1);
    tasks(volume(axes) * down * along, together, |range| {
        for task in range {
            let (plane, top, left) = (task / (down * along), task / along % down * BLOCK, task % along * BLOCK);
            let (bottom, right) = (across.extent.min(top + BLOCK), last.extent.min(left + BLOCK));
            walk(axes, plane..plane + 1, origin, |place| {
                for row in (top..bottom).step_by(TILE) {
                    for column in (left..right).step_by(TILE) {
                        let corner = place + across.step(row) + last.step(column);
                        tile(data, corner, across, last, [TILE.min(bottom - row), TILE.min(right - column)], out);
                    }
                }
            });
        }
    });
}

#[inline(always)]
fn tile<T: Copy>(data: &[T], corner: Place, across: Axis, last: Axis, [height, width]: [usize; 2], out: Shared<T>) {
    for row in 0..height {
        let start = corner + across.step(row);
        // SAFETY: each combination of indices is in one tile of one task, and the output is contiguous along `last`.
        let written = unsafe { std::slice::from_raw_parts_mut(out.at(start.out), width) };
        for (column, slot) in written.iter_mut().enumerate() {
            // SAFETY: a place of a view's indices is within its buffer, which the view's maker has checked.
            *slot = unsafe { *data.get_unchecked((start.left + column as isize * last.left) as usize) };
        }
    }
}

/// Runs `count` small tasks, some at a time.
fn tasks(count: usize, together: usize, run: impl Fn(std::ops::Range<usize>) + Send + Sync) {
    if count <= together {
        return run(0..count);
    }
    (0..count.div_ceil(together)).into_par_iter().for_each(|group| {
        run(group * together..count.min((group + 1) * together));
    });
}
