//! MTTKRP: an array times a matrix for each of its axes but one, the step that decompositions of tensors repeat.
//!
//! ```text
//!   out[i,r] = Σ_j Σ_k  x[i,j,k] · b[j,r] · c[k,r]           ijk,jr,kr->ir        likewise ->jr and ->kr, and more axes
//! ```
//!
//! As a product of two matrices it would be the unfolding of `x` (a copy of `x`) times the Khatri-Rao product of the others (as
//! many rows as a slice of `x` has elements). Neither is made. Let `p` and `q` be the axes along which `x` is nearest (`q` the
//! very nearest), and loop over all others; each round has a plane of `x`, read once, and a GEMM with as many columns as the
//! rank (R = 32, say):
//!
//! - *the output's index is in the plane* (here `q`): a block of the Khatri-Rao product, `kr[p,:] = w ∘ b[p,:]` with `w` the product
//!   of the rows of the loop's matrices, then `out[q,:] += Σ_p x[p,q] · kr[p,:]`;
//! - *it is a loop's index*: `y[p,:] = Σ_q x[p,q] · c[q,:]`, then `out += Σ_p w ∘ b[p,:] ∘ y[p,:]`.
//!
//! Blocks have [`BLOCK`] rows, so that they stay in the second-level cache. Tasks are blocks of rows of the output; if it has few,
//! the loop is cut as well, into pieces with outputs of their own that are added up in order. How, extents alone decide.
//!
//! K. Hayashi, G. Ballard, Y. Jiang, M. J. Tobia: Shared-memory parallelization of MTTKRP for dense tensors (PPoPP 2018), the
//! second of its algorithms; A. H. Phan, P. Tichavský, A. Cichocki: Fast alternating LS algorithms for high order CANDECOMP/PARAFAC
//! tensor factorizations, IEEE Trans. Signal Processing 61 (2013).

use rayon::prelude::*;

use super::element::Epilogue;
use super::float::{Float, add_product, set_product};
use super::gemm::tune_library;
use super::groups::{Axis, Shared};
use super::pack::pack;
use super::{Einsum, View};

/// Rows of a block of a Khatri-Rao product, or of a plane times a matrix: 64 KiB of `f64` at rank 32.
const BLOCK: usize = 256;

/// Tasks that a product should have: more than most hosts have cores.
const TASKS: usize = 32;

/// Which operands are what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mttkrp {
    /// The operand with all axes.
    array: usize,
    /// For each axis of the array its matrix; the output's axis has none.
    matrices: Vec<Option<usize>>,
    /// The letter of the rank.
    rank: char,
}

/// The roles of the operands, if the contraction has this form.
pub fn recognise(einsum: &Einsum) -> Option<Mttkrp> {
    let operands = einsum.operands();
    let &[kept, rank] = einsum.output() else { return None };
    let array = operands.iter().position(|letters| letters.len() == operands.len() && letters.contains(&kept))?;
    let axes = &operands[array];
    let distinct = axes.iter().enumerate().all(|(at, letter)| !axes[..at].contains(letter));
    if operands.len() < 3 || axes.contains(&rank) || !distinct {
        return None;
    }
    let matrix_of = |letter: char| {
        let is = |letters: &Vec<char>| letters.len() == 2 && letters.contains(&letter) && letters.contains(&rank);
        operands.iter().position(is)
    };
    let matrices: Vec<_> = axes.iter().map(|&letter| if letter == kept { None } else { matrix_of(letter) }).collect();
    // As many matrices as there are operands beside the array: none is left over, none is used twice.
    let found = matrices.iter().flatten().count();
    (found + 1 == operands.len()).then_some(Mttkrp { array, matrices, rank })
}

/// Runs the contraction if it is an MTTKRP that is worth a kernel of its own.
pub fn run_if<T: Float>(einsum: &Einsum, views: &[View<'_, T>], epilogue: Epilogue<T>, out: &mut [T]) -> bool {
    let Some(form) = recognise(einsum) else { return false };
    // Nothing to compute, or so much of a broadcast that other orders are cheaper.
    let array = &views[form.array];
    if out.is_empty() || array.shape().contains(&0) || array.strides().contains(&0) {
        return false;
    }
    let columns = views
        .iter()
        .zip(einsum.operands())
        .find_map(|(view, letters)| letters.iter().position(|&letter| letter == form.rank).map(|at| view.shape()[at]));
    let Some(rank) = columns else { return false };
    tune_library();
    Work::new(einsum, &form, views, rank).run(epilogue, out);
    true
}

/// An axis of the array: its extent, its stride, and its matrix, row-major.
struct Mode<T> {
    extent: usize,
    stride: isize,
    /// `None` for the output's axis.
    matrix: Option<Vec<T>>,
}

struct Work<'a, T> {
    data: &'a [T],
    origin: isize,
    /// From the farthest to the nearest; the last two are the plane.
    modes: Vec<Mode<T>>,
    rank: usize,
    /// The output's axis among them.
    kept: usize,
}

impl<'a, T: Float> Work<'a, T> {
    fn new(einsum: &Einsum, form: &Mttkrp, views: &[View<'a, T>], rank: usize) -> Self {
        let array = &views[form.array];
        let axes = form.matrices.iter().zip(array.shape()).zip(array.strides());
        let mut modes: Vec<Mode<T>> = axes
            .map(|((&matrix, &extent), &stride)| {
                let matrix = matrix.map(|at| row_major(&views[at], &einsum.operands()[at], form.rank));
                Mode { extent, stride, matrix }
            })
            .collect();
        modes.sort_by_key(|mode| std::cmp::Reverse(mode.stride.unsigned_abs()));
        let kept = modes.iter().position(|mode| mode.matrix.is_none()).unwrap_or(0);
        Self { data: array.data(), origin: array.offset() as isize, modes, rank, kept }
    }

    fn run(&self, epilogue: Epilogue<T>, out: &mut [T]) {
        let (loops, plane) = self.modes.split_at(self.modes.len() - 2);
        let rows = self.modes[self.kept].extent;
        if self.kept < loops.len() {
            // Rounds: blocks of the plane's rows, for each combination of the other loops' indices.
            let blocks = plane[0].extent.div_ceil(BLOCK);
            let others = combinations(loops, Some(self.kept));
            self.share(rows, 1, blocks * others, epilogue, out, |task, rounds, sums| {
                let mut buffer = vec![T::ZERO; BLOCK.min(plane[0].extent) * self.rank];
                for round in rounds {
                    self.loop_round(task.start, round / blocks, round % blocks * BLOCK, &mut buffer, sums);
                }
            });
        } else {
            let summed = &plane[usize::from(self.kept == loops.len())];
            let blocks = summed.extent.div_ceil(BLOCK);
            let height = (rows / TASKS).next_multiple_of(16).max(512).min(rows);
            self.share(rows, height, blocks * combinations(loops, None), epilogue, out, |task, rounds, sums| {
                let mut buffer = vec![T::ZERO; BLOCK.min(summed.extent) * self.rank];
                for round in rounds {
                    self.plane_round(task.clone(), round / blocks, round % blocks * BLOCK, &mut buffer, sums);
                }
            });
        }
    }

    /// One block of a plane, the output's index being in the loop: `sums += Σ_p w ∘ b[p] ∘ (x[p,:] · c)`.
    fn loop_round(&self, row: usize, others: usize, from: usize, product: &mut [T], sums: &mut [T]) {
        let [p, q] = [&self.modes[self.modes.len() - 2], &self.modes[self.modes.len() - 1]];
        let (Some(b), Some(c)) = (&p.matrix, &q.matrix) else { return };
        let (start, weights) = self.loop_indices(others, row);
        let height = BLOCK.min(p.extent - from);
        let product = &mut product[..height * self.rank];
        self.gemm(
            (start + from as isize * p.stride, [height, q.extent], [p.stride, q.stride]),
            c,
            (product.as_mut_ptr(), self.rank as isize, 1),
            T::ZERO,
        );
        let mut partial = vec![T::ZERO; self.rank];
        for (product, b) in product.chunks_exact(self.rank).zip(b[from * self.rank..].chunks_exact(self.rank)) {
            add_product(&mut partial, product, b);
        }
        match weights {
            Some(weights) => add_product(sums, &partial, &weights),
            None => sums.iter_mut().zip(partial).for_each(|(sum, one)| *sum += one),
        }
    }

    /// One block of a plane, the output's index being in it: `sums[o,:] += Σ_s x[s,o] · (w ∘ b[s,:])`.
    fn plane_round(&self, rows: std::ops::Range<usize>, others: usize, from: usize, block: &mut [T], sums: &mut [T]) {
        let other = if self.kept + 1 == self.modes.len() { self.kept - 1 } else { self.kept + 1 };
        let (kept, summed) = (&self.modes[self.kept], &self.modes[other]);
        let Some(matrix) = &summed.matrix else { return };
        let (start, weights) = self.loop_indices(others, 0);
        let height = BLOCK.min(summed.extent - from);
        let mut given = &matrix[from * self.rank..(from + height) * self.rank];
        if let Some(weights) = weights {
            let block = &mut block[..height * self.rank];
            for (block, given) in block.chunks_exact_mut(self.rank).zip(given.chunks_exact(self.rank)) {
                set_product(block, given, &weights);
            }
            given = block;
        }
        // A result that lies as the array does is computed in vectors along the array's own axis.
        let strides = self.strides_of_sums(rows.len());
        self.gemm(
            (
                start + rows.start as isize * kept.stride + from as isize * summed.stride,
                [rows.len(), height],
                [kept.stride, summed.stride],
            ),
            given,
            (sums.as_mut_ptr(), strides[0], strides[1]),
            T::ONE,
        );
    }

    /// How a task's sums lie: row by row, or column by column where the output's axis is the array's nearest.
    fn strides_of_sums(&self, rows: usize) -> [isize; 2] {
        match self.kept + 1 == self.modes.len() {
            true => [1, rows as isize],
            false => [self.rank as isize, 1],
        }
    }

    /// Where a combination of the loops' indices begins, and the product of their matrices' rows, if there is one. The output's
    /// index, if it is among them, is `row`, and the others are counted without it.
    fn loop_indices(&self, mut number: usize, row: usize) -> (isize, Option<Vec<T>>) {
        let (mut start, mut weights): (isize, Option<Vec<T>>) = (self.origin, None);
        for mode in self.modes[..self.modes.len() - 2].iter().rev() {
            let Some(matrix) = &mode.matrix else {
                start += row as isize * mode.stride;
                continue;
            };
            let index = number % mode.extent;
            number /= mode.extent;
            start += index as isize * mode.stride;
            let given = &matrix[index * self.rank..][..self.rank];
            weights = Some(match weights {
                None => given.to_vec(),
                Some(so_far) => so_far.iter().zip(given).map(|(&one, &other)| one * other).collect(),
            });
        }
        (start, weights)
    }

    /// `out = x · matrix + keep · out`, for a part of the array and a row-major matrix with as many rows as the part has columns.
    fn gemm(
        &self,
        (start, [rows, columns], [down, along]): (isize, [usize; 2], [isize; 2]),
        matrix: &[T],
        (out, out_down, out_along): (*mut T, isize, isize),
        keep: T,
    ) {
        debug_assert!(matrix.len() >= columns * self.rank && (start as usize) < self.data.len());
        // SAFETY: the part's indices are the array's, which lie within its buffer; `out` is a slice of `rows × rank` elements that
        // the caller has borrowed exclusively.
        unsafe {
            gemm::gemm(
                rows,
                self.rank,
                columns,
                out,
                out_along,
                out_down,
                keep != T::ZERO,
                self.data.as_ptr().offset(start),
                along,
                down,
                matrix.as_ptr(),
                1,
                self.rank as isize,
                keep,
                T::ONE,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// Runs blocks of `height` rows of the output, each with its rounds or a piece of them, and puts the pieces together.
    fn share(
        &self,
        rows: usize,
        height: usize,
        rounds: usize,
        epilogue: Epilogue<T>,
        out: &mut [T],
        task: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>, &mut [T]) + Sync,
    ) {
        let tasks = rows.div_ceil(height);
        let pieces = if tasks * 2 > TASKS { 1 } else { TASKS.div_ceil(tasks).min(rounds) };
        let per_piece = rounds.div_ceil(pieces);
        let size = rows * self.rank;
        let mut sums = vec![T::ZERO; size * pieces];
        let shared = Shared::new(&mut sums);
        (0..tasks * pieces).into_par_iter().for_each(|number| {
            let (at, piece) = (number % tasks, number / tasks);
            let block = at * height..rows.min((at + 1) * height);
            let start = piece * size + block.start * self.rank;
            // SAFETY: each task has its own rows of its own piece.
            let sums = unsafe { std::slice::from_raw_parts_mut(shared.at(start as isize), block.len() * self.rank) };
            task(block, piece * per_piece..rounds.min((piece + 1) * per_piece), sums);
        });
        for start in (0..rows).step_by(height) {
            let block = height.min(rows - start);
            let [down, along] = self.strides_of_sums(block);
            for row in 0..block {
                for column in 0..self.rank {
                    let at = (start * self.rank) as isize + row as isize * down + column as isize * along;
                    let sum = (0..pieces).map(|piece| sums[piece * size + at as usize]).sum();
                    epilogue.write(sum, &mut out[(start + row) * self.rank + column]);
                }
            }
        }
    }
}

/// How many combinations of indices the loops have, the output's left out.
fn combinations<T>(loops: &[Mode<T>], kept: Option<usize>) -> usize {
    loops.iter().enumerate().filter(|(at, _)| Some(*at) != kept).map(|(_, mode)| mode.extent).product()
}

/// A matrix with its rank's index innermost.
fn row_major<T: Float>(view: &View<'_, T>, letters: &[char], rank: char) -> Vec<T> {
    let mut axes: Vec<(bool, Axis)> = Vec::new();
    for ((&letter, &extent), &left) in letters.iter().zip(view.shape()).zip(view.strides()) {
        axes.push((letter == rank, Axis { extent, left, right: 0, out: 0 }));
    }
    axes.sort_by_key(|axis| axis.0);
    let axes: Vec<Axis> = axes.into_iter().map(|axis| axis.1).collect();
    pack(view.data(), view.offset() as isize, &axes)
}
