//! Products in which each operand has indices of its own: matrix times matrix, batches of them, array times matrix.
//!
//! ```text
//!   out[batch, rows, columns] = Σ_inner  left[batch, rows, inner] · right[batch, inner, columns]
//! ```
//!
//! The library multiplies matrices of any two strides; it packs blocks of them for its micro-kernel anyway. So one index each of
//! rows, columns and inner makes a GEMM in place, however the arrays lie, and the indices that could not be fused into these are
//! looped over: batches and the rest of rows and columns on all workers, the rest of inner one after the other, added up.
//!
//! Small GEMMs are slow, and so are those that find no stride of 1. Then copying an array into an order in which its indices fuse
//! costs less than it saves. [`Plan`] tries all eight choices of arrays to copy, and all choices of indices for the GEMM, and takes
//! the cheapest by a model of four constants.

use rayon::prelude::*;

use super::element::Epilogue;
use super::float::Float;
use super::groups::{Axis, Groups, Job, Place, Shared, fuse, volume, walk};
use super::pack::repack;

/// What things cost, in multiplications of a GEMM that runs well (about 25 ps of an `f64` on one core).
mod price {
    /// Reading an element along a stride of 1, when the library packs it.
    pub const NEAR: f64 = 3.0;
    /// Reading an element that shares no cache line with its neighbours.
    pub const FAR: f64 = 24.0;
    /// Copying an element into another order.
    pub const COPY: f64 = 40.0;
    /// Calling the library.
    pub const CALL: f64 = 6000.0;
    /// The micro-kernel's tile: a GEMM costs as if its extents were so much larger.
    pub const EDGE: f64 = 4.0;
}

/// How many multiplications of a GEMM take as long as one of other products, which memory bounds.
pub const DENSE: usize = 16;

/// Up to so many multiplications GEMMs are not shared between workers.
const ALONE: usize = super::float::ALONE * DENSE;

pub fn run<T: Float>(job: &Job<'_, T>, out: &mut [T]) {
    tune_library();
    let plan = Plan::new(&job.groups);
    let mut groups = plan.ordered(&job.groups);
    let (packed_left, packed_right, mut packed_out);
    let (mut left, mut right, mut origin) = (job.left, job.right, job.origin);
    if plan.copied[0] {
        let [batch, rows, inner] = [&mut groups.batch, &mut groups.rows, &mut groups.inner];
        let lists: [&mut [Axis]; 3] = if inner_last(inner, rows) { [batch, rows, inner] } else { [batch, inner, rows] };
        packed_left = repack(left, origin.left, &mut { lists }, |_| true);
        (left, origin.left) = (&packed_left, 0);
    }
    if plan.copied[1] {
        let mut swapped = groups.swapped();
        // Its rows are the columns.
        let [batch, rows, inner] = [&mut swapped.batch, &mut swapped.rows, &mut swapped.inner];
        let lists: [&mut [Axis]; 3] = if inner_last(inner, rows) { [batch, rows, inner] } else { [batch, inner, rows] };
        packed_right = repack(right, origin.right, &mut { lists }, |_| true);
        groups = swapped.swapped();
        (right, origin.right) = (&packed_right, 0);
    }
    if !plan.copied[2] {
        return multiply(&Job { left, right, origin, groups, epilogue: job.epilogue }, &plan, out);
    }
    let written = [&groups.batch[..], &groups.rows, &groups.columns].concat();
    plan.stack_output(&mut groups);
    packed_out = vec![T::ZERO; volume(&written)];
    multiply(&Job { left, right, origin, groups, epilogue: Epilogue::REPLACE }, &plan, &mut packed_out);
    unpack(&packed_out, written, job.epilogue, out);
}

/// Lets the library pack blocks of its left operand for results of more than 2 tiles' columns instead of 8.
///
/// Arrays times a matrix of 32 columns come from memory, where a packed panel is read once and in order: a quarter faster. The
/// setting is the process's, and changes no result.
pub fn tune_library() {
    gemm::set_lhs_packing_threshold_single_thread(2);
}

/// Loops over GEMMs.
fn multiply<T: Float>(job: &Job<'_, T>, plan: &Plan, out: &mut [T]) {
    let mut groups = job.groups.clone();
    for axes in [&mut groups.batch, &mut groups.rows, &mut groups.columns, &mut groups.inner] {
        *axes = fuse(axes);
    }
    let [row, column, inner] = plan.chosen;
    let (row, column) = (groups.rows.remove(row), groups.columns.remove(column));
    let inner = groups.inner.remove(inner);
    let outer = fuse(&[&groups.batch[..], &groups.rows, &groups.columns].concat());
    let (products, sums) = (volume(&outer), volume(&groups.inner));
    let one = Gemm { row, column, inner, left: job.left, right: job.right, out: Shared::new(out) };
    let work = row.extent * column.extent * inner.extent * sums;
    let several = |range: std::ops::Range<usize>, workers: gemm::Parallelism| {
        walk(&outer, range, job.origin, |place| {
            let mut epilogue = job.epilogue;
            walk(&groups.inner, 0..sums, place, |place| {
                // SAFETY: products write different elements of the output.
                unsafe { one.run(place, epilogue, workers) };
                epilogue.beta = T::ONE;
            });
        });
    };
    if products * work <= ALONE || rayon::current_num_threads() == 1 {
        several(0..products, gemm::Parallelism::None);
    } else if products >= 4 * rayon::current_num_threads() {
        let together = (ALONE / 8 / work).clamp(1, products.div_ceil(4 * rayon::current_num_threads()));
        (0..products.div_ceil(together)).into_par_iter().for_each(|task| {
            several(task * together..products.min((task + 1) * together), gemm::Parallelism::None);
        });
    } else {
        several(0..products, gemm::Parallelism::Rayon(0));
    }
}

/// Rows of a product whose right operand no cache holds: the library is called for at most so many at a time. By blocks of 1000 rows 4000 ×
/// 2000 by 2000 × 2000 doubles went at 40 to 42 GFlop/s on one core instead of 35, 2000³ at 81 on two instead of 78 to 80, 4000³ at 71 to
/// 79 instead of 65 to 69; blocks of columns or of what is summed changed nothing.
const ROWS: usize = if cfg!(test) { 3 } else { 1024 };

/// Elements of a right operand that is large; few in tests, so that they have blocks.
const LARGE: usize = if cfg!(test) { 20 } else { 1 << 21 };

/// One matrix product within arrays.
struct Gemm<'a, T> {
    row: Axis,
    column: Axis,
    inner: Axis,
    left: &'a [T],
    right: &'a [T],
    out: Shared<T>,
}

impl<T: Float> Gemm<'_, T> {
    /// Multiplies the matrices that begin at `place`.
    ///
    /// # Safety
    ///
    /// Nobody else uses these elements of the output meanwhile.
    unsafe fn run(&self, place: Place, epilogue: Epilogue<T>, workers: gemm::Parallelism) {
        let rows = self.row.extent;
        let blocks = if self.column.extent * self.inner.extent < LARGE { 1 } else { rows.div_ceil(ROWS) };
        for block in 0..blocks {
            let (from, to) = (rows * block / blocks, rows * (block + 1) / blocks);
            let skipped = |stride: isize| from as isize * stride;
            let place = Place {
                left: place.left + skipped(self.row.left),
                right: place.right + skipped(self.row.right),
                out: place.out + skipped(self.row.out),
            };
            // SAFETY: the caller's promise; a block of rows is a part of the product.
            unsafe { self.run_rows(to - from, place, epilogue, workers) };
        }
    }

    /// Multiplies so many rows of the matrices that begin at `place`.
    ///
    /// # Safety
    ///
    /// As [`Gemm::run`]; there are so many rows from there on.
    unsafe fn run_rows(&self, rows: usize, place: Place, epilogue: Epilogue<T>, workers: gemm::Parallelism) {
        let (row, column, inner) = (self.row, self.column, self.inner);
        debug_assert!((place.left as usize) < self.left.len() && (place.right as usize) < self.right.len());
        // SAFETY: all combinations of the three indices, from `place`, are indices of the views that the job was made of, and
        // these lie within their buffers; the caller sees to it that the output is ours.
        unsafe {
            gemm::gemm(
                rows,
                column.extent,
                inner.extent,
                self.out.at(place.out),
                column.out,
                row.out,
                epilogue.beta != T::ZERO,
                self.left.as_ptr().offset(place.left),
                inner.left,
                row.left,
                self.right.as_ptr().offset(place.right),
                column.right,
                inner.right,
                epilogue.beta,
                epilogue.alpha,
                false,
                false,
                false,
                workers,
            );
        }
    }
}

/// The packed result into its place.
fn unpack<T: Float>(packed: &[T], written: Vec<Axis>, epilogue: Epilogue<T>, out: &mut [T]) {
    let mut axes: Vec<Axis> = written.iter().map(|axis| Axis { left: 0, right: 0, ..*axis }).collect();
    let mut stride = 1;
    for axis in axes.iter_mut().rev() {
        axis.left = stride;
        stride *= axis.extent as isize;
    }
    let job = Job {
        left: packed,
        right: &[T::ONE],
        origin: Place::default(),
        groups: Groups { rows: axes, ..Groups::default() },
        epilogue,
    };
    super::elementwise::run(&job, out);
}

/// Which arrays are copied, and which indices are the GEMM's.
#[derive(Clone, Debug)]
struct Plan {
    /// Left, right, output.
    copied: [bool; 3],
    /// Positions among the fused rows, columns and inner indices.
    chosen: [usize; 3],
    cost: f64,
}

impl Plan {
    fn new(groups: &Groups) -> Self {
        let mut best = Plan { copied: [false; 3], chosen: [0; 3], cost: f64::INFINITY };
        if is_plain(groups) {
            return best;
        }
        for choice in 0..8_u8 {
            let copied = [choice & 1 != 0, choice & 2 != 0, choice & 4 != 0];
            let mut plan = Plan { copied, ..best };
            plan.cost = f64::INFINITY;
            let mut made = plan.ordered(groups);
            plan.stack(&mut made);
            let copies = plan.cost_of_copies(groups);
            if copies >= best.cost {
                continue;
            }
            for axes in [&mut made.batch, &mut made.rows, &mut made.columns, &mut made.inner] {
                *axes = fuse(axes);
            }
            plan.choose(&made);
            plan.cost += copies;
            if plan.cost < best.cost {
                best = plan;
            }
        }
        best
    }

    fn cost_of_copies(&self, groups: &Groups) -> f64 {
        let size = |lists: [&[Axis]; 3]| lists.map(|axes| volume(axes) as f64).iter().product::<f64>();
        let sizes = [
            size([&groups.batch, &groups.rows, &groups.inner]),
            size([&groups.batch, &groups.columns, &groups.inner]),
            size([&groups.batch, &groups.rows, &groups.columns]),
        ];
        self.copied.iter().zip(sizes).filter(|(copied, _)| **copied).map(|(_, size)| size * price::COPY).sum()
    }

    /// The indices in the order that fuses best: that of an array which stays as it is.
    fn ordered(&self, groups: &Groups) -> Groups {
        let [left, right, out] = self.copied;
        let mut groups = groups.clone();
        let by_out = |axis: &Axis| std::cmp::Reverse(axis.out.unsigned_abs());
        let by_left = |axis: &Axis| std::cmp::Reverse(axis.left.unsigned_abs());
        let by_right = |axis: &Axis| std::cmp::Reverse(axis.right.unsigned_abs());
        if out && !left {
            groups.batch.sort_by_key(by_left);
            groups.rows.sort_by_key(by_left);
        } else {
            groups.batch.sort_by_key(by_out);
            groups.rows.sort_by_key(by_out);
        }
        if out && !right {
            groups.columns.sort_by_key(by_right)
        } else {
            groups.columns.sort_by_key(by_out)
        }
        if left && !right {
            groups.inner.sort_by_key(by_right)
        } else {
            groups.inner.sort_by_key(by_left)
        }
        groups
    }

    /// Gives what is copied the strides that its copy will have, without copying.
    fn stack(&self, groups: &mut Groups) {
        if self.copied[0] {
            let last = inner_last(&groups.inner, &groups.rows);
            let [batch, rows, inner] = [&mut groups.batch, &mut groups.rows, &mut groups.inner];
            stack(if last { [batch, rows, inner] } else { [batch, inner, rows] }, |axis| &mut axis.left);
        }
        if self.copied[1] {
            let swapped = groups.swapped();
            let last = inner_last(&swapped.inner, &swapped.rows);
            let [batch, columns, inner] = [&mut groups.batch, &mut groups.columns, &mut groups.inner];
            stack(if last { [batch, columns, inner] } else { [batch, inner, columns] }, |axis| &mut axis.right);
        }
        if self.copied[2] {
            self.stack_output(groups);
        }
    }

    fn stack_output(&self, groups: &mut Groups) {
        stack([&mut groups.batch, &mut groups.rows, &mut groups.columns], |axis| &mut axis.out);
    }

    /// The cheapest GEMM within these indices.
    fn choose(&mut self, groups: &Groups) {
        let outer = volume(&groups.batch) as f64;
        let all = [&groups.rows, &groups.columns, &groups.inner].map(|axes| volume(axes) as f64);
        for (row_at, row) in groups.rows.iter().enumerate() {
            for (column_at, column) in groups.columns.iter().enumerate() {
                for (inner_at, inner) in groups.inner.iter().enumerate() {
                    let [m, n, k] = [row, column, inner].map(|axis| axis.extent as f64);
                    let calls = outer * all[0] / m * all[1] / n * all[2] / k;
                    let read = |one: isize, other: isize| {
                        if one.unsigned_abs().min(other.unsigned_abs()) <= 1 { price::NEAR } else { price::FAR }
                    };
                    let edges = (m + price::EDGE) * (n + price::EDGE) * k;
                    let memory = m * k * read(row.left, inner.left)
                        + n * k * read(column.right, inner.right)
                        + 2.0 * m * n * read(row.out, column.out);
                    let cost = calls * (edges + memory + price::CALL);
                    if cost < self.cost {
                        (self.cost, self.chosen) = (cost, [row_at, column_at, inner_at]);
                    }
                }
            }
        }
    }
}

/// Whether one GEMM makes it all, and finds a stride of 1 in each array: nothing can be better.
fn is_plain(groups: &Groups) -> bool {
    let ([], [row], [column], [inner]) = (&groups.batch[..], &groups.rows[..], &groups.columns[..], &groups.inner[..])
    else {
        return false;
    };
    let near = |one: isize, other: isize| one.unsigned_abs().min(other.unsigned_abs()) <= 1;
    near(row.left, inner.left) && near(column.right, inner.right) && near(row.out, column.out)
}

/// An operand's inner indices stay innermost in its copy if its neighbours lie along one of them: then it is copied in runs.
fn inner_last(inner: &[Axis], rows: &[Axis]) -> bool {
    let nearest = |axes: &[Axis]| axes.iter().map(|axis| axis.left.unsigned_abs()).min().unwrap_or(usize::MAX);
    nearest(inner) <= nearest(rows)
}

/// Row-major strides for the axes of three lists.
fn stack(lists: [&mut Vec<Axis>; 3], stride_of: impl Fn(&mut Axis) -> &mut isize) {
    let mut stride = 1;
    for axis in lists.into_iter().rev().flat_map(|list| list.iter_mut().rev()) {
        *stride_of(axis) = stride;
        stride *= axis.extent as isize;
    }
}
