//! Work along the lines of one axis: sorts and running folds.

use std::cmp::Ordering;
use std::fmt;

use arrow::buffer::{Buffer, MutableBuffer};
use rayon::prelude::*;

use super::dtype::{DType, with_native};
use super::fold::Fold;
use super::strip::Kernels;

/// Elements of a task.
const TASK: usize = 1 << 15;

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

/// Makes something of each line along `axis` of a row-major array. Lines are taken side by side by workers; of one line alone a sort
/// uses all of them.
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
            Line::RunningSum => each_line(data, out.typed_data_mut::<T>(), extent, behind, |from, to| running(Fold::Sum, from, to)),
            Line::RunningProduct => each_line(data, out.typed_data_mut::<T>(), extent, behind, |from, to| running(Fold::Product, from, to)),
        }
    });
    out.into()
}

/// Calls `make` for each line, copied into one piece where its elements are apart.
fn each_line<T: Kernels, R: Copy + Default + Send>(
    data: &[T],
    out: &mut [R],
    extent: usize,
    behind: usize,
    make: impl Fn(&[T], &mut [R]) + Sync,
) {
    let plane = extent * behind;
    if behind == 1 {
        let together = (TASK / plane).max(1) * plane;
        return out.par_chunks_mut(together).zip(data.par_chunks(together)).for_each(|(out, data)| {
            out.chunks_mut(plane).zip(data.chunks(plane)).for_each(|(out, data)| make(data, out));
        });
    }
    let together = (TASK / plane).max(1) * plane;
    out.par_chunks_mut(together).zip(data.par_chunks(together)).for_each(|(out, data)| {
        let (mut from, mut to) = (vec![T::default(); extent], vec![R::default(); extent]);
        for (out, data) in out.chunks_mut(plane).zip(data.chunks(plane)) {
            for column in 0..behind {
                for (at, slot) in from.iter_mut().enumerate() {
                    *slot = data[at * behind + column];
                }
                make(&from, &mut to);
                for (at, &value) in to.iter().enumerate() {
                    out[at * behind + column] = value;
                }
            }
        }
    });
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

/// One element after the other, as NumPy does it.
fn running<T: Kernels>(fold: Fold, from: &[T], to: &mut [T]) {
    let mut so_far = from[0];
    to[0] = so_far;
    for (slot, &value) in to[1..].iter_mut().zip(&from[1..]) {
        so_far = T::fold(fold, so_far, value);
        *slot = so_far;
    }
}
