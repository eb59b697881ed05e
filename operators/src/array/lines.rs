//! Work along the lines of one axis: sorts and running folds.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use arrow::buffer::{Buffer, MutableBuffer};
use rayon::prelude::*;

use super::dtype::{DType, with_native};
use super::fold::Fold;
use super::kernels::Kernels;

/// Elements of a task.
const TASK: usize = 1 << 15;

/// Columns that are read at once: a cache line or two of a row.
const COLUMNS: usize = 16;

/// What is made of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// Its elements in ascending order, NaN at the end.
    Sort,
    /// The indices that would sort it; equal elements stay in order.
    ArgSort,
    /// Running sums.
    RunningSum,
    /// Running products.
    RunningProduct,
}

impl Line {
    /// The type of what is made.
    pub const fn result(self, dtype: DType) -> DType {
        if matches!(self, Self::ArgSort) { DType::I64 } else { dtype }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sort => "sort",
            Self::ArgSort => "argsort",
            Self::RunningSum => "cumsum",
            Self::RunningProduct => "cumprod",
        })
    }
}

/// Makes something of each line along `axis` of a row-major array. Lines are taken by workers; of one line alone a sort uses all of
/// them.
pub fn along(line: Line, dtype: DType, shape: &[usize], axis: usize, data: &Buffer) -> Buffer {
    let (extent, behind) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let elements = shape.iter().product::<usize>();
    let mut out = MutableBuffer::from_len_zeroed(elements * line.result(dtype).bytes());
    if elements == 0 {
        return out.into();
    }
    with_native!(dtype, T => {
        let data = &data.typed_data::<T>()[..elements];
        match line {
            Line::ArgSort => each_line(data, out.typed_data_mut::<i64>(), extent, behind, arg_sorted::<T>),
            Line::Sort => each_line(data, out.typed_data_mut::<T>(), extent, behind, sorted::<T>),
            Line::RunningSum => running(data, out.typed_data_mut::<T>(), extent, behind, |a, b| T::fold(Fold::Sum, a, b)),
            Line::RunningProduct => running(data, out.typed_data_mut::<T>(), extent, behind, |a, b| T::fold(Fold::Product, a, b)),
        }
    });
    out.into()
}

/// Calls `make` for each line, copied into one piece where its elements are apart.
fn each_line<T: Kernels, R: Copy + Default + Send + Sync>(
    data: &[T],
    out: &mut [R],
    extent: usize,
    behind: usize,
    make: impl Fn(&[T], &mut [R]) + Sync,
) {
    let plane = extent * behind;
    let together = (TASK / plane).max(1) * plane;
    if behind > 1 && plane > TASK {
        let planes = out.chunks_mut(plane).zip(data.chunks(plane));
        return planes.for_each(|(out, data)| large_plane(data, out, extent, behind, &make));
    }
    out.par_chunks_mut(together).zip(data.par_chunks(together)).for_each(|(out, data)| {
        for (out, data) in out.chunks_mut(plane).zip(data.chunks(plane)) {
            if behind == 1 {
                make(data, out);
                continue;
            }
            let made = columns(data, extent, behind, 0..behind, &make);
            for (at, row) in out.chunks_mut(behind).enumerate() {
                row.iter_mut().enumerate().for_each(|(column, slot)| *slot = made[column * extent + at]);
            }
        }
    });
}

/// The columns of one large plane: a few of them are made at a time, so that whole cache lines are read, and rows are written.
fn large_plane<T: Kernels, R: Copy + Default + Send + Sync>(
    data: &[T],
    out: &mut [R],
    extent: usize,
    behind: usize,
    make: &(impl Fn(&[T], &mut [R]) + Sync),
) {
    let blocks = (0..behind).into_par_iter().step_by(COLUMNS);
    let blocks = blocks.map(|first| columns(data, extent, behind, first..behind.min(first + COLUMNS), make));
    let blocks = blocks.collect::<Vec<_>>();
    out.par_chunks_mut(behind).with_min_len((TASK / behind).max(1)).enumerate().for_each(|(at, row)| {
        for (row, made) in row.chunks_mut(COLUMNS).zip(&blocks) {
            row.iter_mut().enumerate().for_each(|(column, slot)| *slot = made[column * extent + at]);
        }
    });
}

/// What is made of some columns of a plane, one behind the other.
fn columns<T: Kernels, R: Copy + Default>(
    data: &[T],
    extent: usize,
    behind: usize,
    which: Range<usize>,
    make: &impl Fn(&[T], &mut [R]),
) -> Vec<R> {
    let (mut from, mut to) = (vec![T::default(); extent * which.len()], vec![R::default(); extent * which.len()]);
    for (at, row) in data.chunks(behind).enumerate() {
        row[which.clone()].iter().enumerate().for_each(|(column, &value)| from[column * extent + at] = value);
    }
    from.chunks(extent).zip(to.chunks_mut(extent)).for_each(|(from, to)| make(from, to));
    to
}

/// Ascending, NaN last.
fn order<T: Kernels>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn sorted<T: Kernels>(from: &[T], to: &mut [T]) {
    to.copy_from_slice(from);
    if to.len() > TASK { to.par_sort_unstable_by(order) } else { to.sort_unstable_by(order) }
}

fn arg_sorted<T: Kernels>(from: &[T], to: &mut [i64]) {
    to.iter_mut().enumerate().for_each(|(at, slot)| *slot = at as i64);
    let by_value = |a: &i64, b: &i64| order(&from[*a as usize], &from[*b as usize]);
    if to.len() > TASK { to.par_sort_by(by_value) } else { to.sort_by(by_value) }
}

/// One element after the other, as NumPy does it; what is behind them side by side, as it lies in memory.
fn running<T: Kernels>(data: &[T], out: &mut [T], extent: usize, behind: usize, join: impl Fn(T, T) -> T + Sync) {
    let plane = extent * behind;
    let together = (TASK / plane).max(1) * plane;
    out.par_chunks_mut(together).zip(data.par_chunks(together)).for_each(|(out, data)| {
        for (out, data) in out.chunks_mut(plane).zip(data.chunks(plane)) {
            if behind == 1 {
                let mut so_far = data[0];
                out[0] = so_far;
                for (slot, &value) in out[1..].iter_mut().zip(&data[1..]) {
                    so_far = join(so_far, value);
                    *slot = so_far;
                }
                continue;
            }
            out[..behind].copy_from_slice(&data[..behind]);
            for first in (behind..plane).step_by(behind) {
                let (before, row) = out[first - behind..].split_at_mut(behind);
                for ((slot, &so_far), &value) in row.iter_mut().zip(before.iter()).zip(&data[first..]) {
                    *slot = join(so_far, value);
                }
            }
        }
    });
}
