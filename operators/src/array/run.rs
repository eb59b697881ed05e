//! Runs loops: every element of a part of the first axis, on the rayon pool it is called in.
//!
//! ```text
//!   elements ──► tasks, runs of leaves ──► strips: evaluate ──► store where they belong
//!                                                          └──► fold: strips into leaves, leaves into trees (fold)
//! ```
//!
//! Where folded axes are not the last ones, their elements are taken side by side: a strip of what is behind them is folded element
//! by element, so that memory is read as it lies. If little is behind them, a strip holds several rows of it.

use std::ops::Range;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::dtype::{DType, Native as _, Scalar, with_native};
use super::fold::{Fold, Leaves, Tree};
use super::folding::{Cut, Folding, Part};
use super::kernels::{Arg, Kernels};
use super::leaf::{Many, One, result};
use super::memory::{Unwritten, unwritten};
use super::operand::Operand;
use super::program::Loop;
use super::strip::{Compiled, STRIP, Scratch, Stores};
use crate::contract::ALONE;

/// Work of a task.
const TASK: usize = 1 << 18;

/// What became of a loop on one rank.
#[derive(Debug)]
pub struct Ran {
    /// The stored values, each with the elements of the rank's rows.
    pub stores: Vec<Buffer>,
    /// The folded values.
    pub folds: Vec<Folded>,
}

/// A folded value on one rank.
#[derive(Clone, Debug)]
pub enum Folded {
    /// Whole: the first axis was not folded, and these are the results of the rank's rows.
    Whole(Buffer),
    /// The first axis was folded: of the leaves of the rank's rows, subtrees, to be put together by [`together`].
    Partial(Vec<Subtree>),
}

/// A folded subtree: height, number among those of its height, elements (and places).
pub type Subtree = (u32, usize, Buffer);

/// Runs a loop over the elements whose first index is in `rows` (0..1 without axes).
///
/// # Errors
/// The rows are not the loop's, or its folds' leaves are not in one piece: always a bug of ours.
pub fn run(looped: &Loop, rows: &Range<usize>, operands: &[Operand], numbers: &[Scalar]) -> Result<Ran> {
    if rows.start > rows.end || rows.end > looped.shape.first().copied().unwrap_or(1) {
        return Err(Error::internal(format!("rows {rows:?} of a loop over {:?}", looped.shape)));
    }
    let compiled = Compiled::new(looped, operands, numbers);
    let width = looped.shape.iter().skip(1).product::<usize>();
    let part = rows.start * width..rows.end * width;
    let types = looped.types();
    let bytes = |value: usize| part.len() * types[value].bytes();
    let mut stores = looped.stores.iter().map(|&value| unwritten(bytes(value))).collect::<Vec<_>>();
    let addresses = stores.iter_mut().map(Unwritten::address).collect();
    let memory = Stores { first: part.start, addresses };
    let folding = Folding { looped, types: &types, rows };
    let pass = Pass { looped, compiled: &compiled, types: &types, folding, part: part.clone(), stores: &memory };
    let folds = if looped.reductions.is_empty() {
        pass.elements();
        Vec::new()
    } else {
        pass.folds()?
    };
    let written = |(store, &value): (Unwritten, &usize)| {
        // SAFETY: there is room for so many bytes, and strips have written all of them: strips cover the part, with folds as without.
        unsafe { store.written(bytes(value)) }
    };
    Ok(Ran { stores: stores.into_iter().zip(&looped.stores).map(written).collect(), folds })
}

/// Puts what ranks folded together: subtrees in the order of their leaves. `results` is how many elements are behind the folded axes.
///
/// # Errors
/// What came does not fit: always a bug of ours.
pub fn together(dtype: DType, fold: Fold, results: usize, parts: impl IntoIterator<Item = Subtree>) -> Result<Buffer> {
    let mut out = MutableBuffer::with_capacity(results * result(dtype, fold).bytes());
    with_native!(dtype, T => {
        let join = |a: Many, b: Many| a.join::<T>(fold, b);
        let mut tree = Tree::default();
        for (height, number, buffer) in parts {
            tree.push_node(height, number, Many::of_buffer::<T>(fold, results, &buffer)?, join);
        }
        match tree.finish(join) {
            Some(many) => many.write(&mut out),
            None => (0..results).for_each(|_| One::<T>::nothing(fold).write(fold, &mut out)),
        }
    });
    Ok(out.into())
}

/// One run of a loop.
struct Pass<'a> {
    looped: &'a Loop,
    compiled: &'a Compiled<'a>,
    types: &'a [DType],
    folding: Folding<'a>,
    /// The rank's elements, row-major.
    part: Range<usize>,
    stores: &'a Stores,
}

impl Pass<'_> {
    /// Elements of a task.
    fn elements_of_a_task(&self) -> usize {
        (TASK / self.looped.weight()).max(4 * STRIP)
    }

    /// Runs tasks, one after the other or side by side; what they give is in order.
    fn tasks<R: Send>(&self, count: usize, task: impl Fn(usize, &mut Scratch) -> R + Sync) -> Vec<R> {
        if count <= 1 || self.part.len().saturating_mul(self.looped.weight()) <= ALONE {
            let mut scratch = self.compiled.scratch();
            return (0..count).map(|number| task(number, &mut scratch)).collect();
        }
        let scratch = || self.compiled.scratch();
        (0..count).into_par_iter().map_init(scratch, |scratch, number| task(number, scratch)).collect()
    }

    /// Computes a strip and stores what is kept.
    fn strip(&self, scratch: &mut Scratch, start: usize, len: usize) {
        self.compiled.evaluate(scratch, self.stores, start, len);
        for (number, &value) in self.looped.stores.iter().enumerate() {
            // Numbers and inputs that are stored as they are, and what is stored twice.
            let first = self.looped.stores.iter().position(|&one| one == value);
            if self.compiled.writes(value) && first == Some(number) {
                continue;
            }
            with_native!(self.types[value], T => {
                // SAFETY: the memory has an element for each of `part` and is aligned for all types; `start..start + len` is within
                // `part`, and no two strips have an element in common.
                let out = unsafe {
                    let address = self.stores.addresses[number].cast::<T>().add(start - self.part.start);
                    std::slice::from_raw_parts_mut(address, len)
                };
                match self.compiled.values::<T>(scratch, self.stores, value, start, len) {
                    Arg::Many(values) => out.copy_from_slice(values),
                    Arg::One(one) => out.fill(one),
                }
            });
        }
    }

    /// All elements, nothing folded.
    fn elements(&self) {
        let (each, part) = (self.elements_of_a_task().next_multiple_of(STRIP), &self.part);
        self.tasks(part.len().div_ceil(each), |task, scratch| {
            let start = part.start + task * each;
            let end = part.end.min(start + each);
            for at in (start..end).step_by(STRIP) {
                self.strip(scratch, at, STRIP.min(end - at));
            }
        });
    }

    fn folds(&self) -> Result<Vec<Folded>> {
        let [_, folded, behind] = self.looped.thirds();
        let cut = self.folding.cut()?;
        let plane = folded * behind;
        let parts = match behind {
            _ if plane == 0 && !cut.partial => Vec::new(),
            _ if plane < STRIP / 2 && !cut.partial => return Ok(self.short_runs(&cut, folded, behind)),
            1 => self.runs(&cut, folded),
            _ => self.side_by_side(&cut, folded, behind),
        };
        Ok(self.folding.all(parts, &cut))
    }

    /// Folds axes behind which there is nothing: each leaf is a run of elements.
    fn runs(&self, cut: &Cut, folded: usize) -> Vec<Part> {
        let work = cut.outer.len() * cut.own.len();
        let each = (self.elements_of_a_task() / (self.part.len() / work.max(1)).max(1)).max(1);
        let ran = self.tasks(work.div_ceil(each), |task, scratch| {
            let mut parts: Vec<Part> = Vec::new();
            for number in task * each..work.min((task + 1) * each) {
                let (outer, leaf) = (cut.outer.start + number / cut.own.len(), cut.own.start + number % cut.own.len());
                if parts.last().is_none_or(|last| last.place != (outer, 0)) {
                    parts.push(Part::new((outer, 0), self.looped.reductions.len()));
                }
                if let Some(part) = parts.last_mut() {
                    self.leaf(scratch, outer * folded, leaf, &cut.leaves, &mut part.trees);
                }
            }
            parts
        });
        self.folding.neighbours(ran.into_iter().flatten())
    }

    /// Folds a run of elements.
    fn leaf(&self, scratch: &mut Scratch, base: usize, leaf: usize, leaves: &Leaves, trees: &mut [Tree<Many>]) {
        let (start, end) = leaves.elements(leaf);
        let mut bits: Vec<Option<(u64, i64)>> = vec![None; trees.len()];
        for at in (start..end).step_by(STRIP) {
            let len = STRIP.min(end - at);
            self.strip(scratch, base + at, len);
            for (so_far, reduction) in bits.iter_mut().zip(&self.looped.reductions) {
                with_native!(self.types[reduction.value], T => {
                    let values = self.compiled.values::<T>(scratch, self.stores, reduction.value, base + at, len);
                    let next = One::of_run(reduction.fold, values, len, at);
                    let one = so_far.map_or(next, |(bits, place)| {
                        One { value: of_bits::<T>(bits), place }.join(reduction.fold, next)
                    });
                    *so_far = Some((one.value.scalar().bits(), one.place));
                });
            }
        }
        for ((so_far, reduction), tree) in bits.into_iter().zip(&self.looped.reductions).zip(trees) {
            if let Some((bits, place)) = so_far {
                with_native!(self.types[reduction.value], T => {
                    let one = One { value: of_bits::<T>(bits), place }.many(reduction.fold);
                    tree.push(leaf, one, |a, b| a.join::<T>(reduction.fold, b));
                });
            }
        }
    }

    /// Folds what is so short that several are in a strip.
    fn short_runs(&self, cut: &Cut, folded: usize, behind: usize) -> Vec<Folded> {
        let (outer, plane) = (&cut.outer, folded * behind);
        let together = STRIP / plane;
        let each = (self.elements_of_a_task() / (together * plane)).max(1) * together;
        let ran = self.tasks(outer.len().div_ceil(each), |task, scratch| {
            let mut out = self.looped.reductions.iter().map(|_| MutableBuffer::default()).collect::<Vec<_>>();
            let mut rows = Many::of::<u8>(Fold::Sum, &[]);
            let (from, to) = (outer.start + task * each, outer.end.min(outer.start + (task + 1) * each));
            for run in (from..to).step_by(together) {
                let runs = together.min(to - run);
                self.strip(scratch, run * plane, runs * plane);
                for (out, reduction) in out.iter_mut().zip(&self.looped.reductions) {
                    with_native!(self.types[reduction.value], T => {
                        let values = self.compiled.values::<T>(scratch, self.stores, reduction.value, run * plane, runs * plane);
                        for run in 0..runs {
                            let values = match values {
                                Arg::Many(values) => Arg::Many(&values[run * plane..(run + 1) * plane]),
                                one @ Arg::One(_) => one,
                            };
                            match behind {
                                1 => One::of_run(reduction.fold, values, folded, 0).write(reduction.fold, out),
                                _ => {
                                    rows.refill(reduction.fold, values, behind, folded, 0);
                                    rows.write(out);
                                }
                            }
                        }
                    });
                }
            }
            out
        });
        let whole = |at: usize| {
            let mut all = MutableBuffer::default();
            ran.iter().for_each(|out| all.extend_from_slice(out[at].as_slice()));
            Folded::Whole(all.into())
        };
        (0..self.looped.reductions.len()).map(whole).collect()
    }

    /// Folds axes behind which there are elements.
    fn side_by_side(&self, cut: &Cut, folded: usize, behind: usize) -> Vec<Part> {
        let (own, strips) = (&cut.own, behind.div_ceil(STRIP));
        // Where a strip is all that is behind, the strips of neighbouring indices are one.
        let together = if strips == 1 { STRIP / behind } else { 1 };
        let run = self.part.len() / (cut.outer.len() * strips * own.len()).max(1);
        let each = (self.elements_of_a_task() / run.max(1)).clamp(1, own.len().max(1));
        let pieces = own.len().div_ceil(each);
        let ran = self.tasks(cut.outer.len() * strips * pieces, |task, scratch| {
            let (piece, strip) = (task % pieces, task / pieces % strips);
            let outer = cut.outer.start + task / pieces / strips;
            let (column, len) = (strip * STRIP, STRIP.min(behind - strip * STRIP));
            let mut part = Part::new((outer, strip), self.looped.reductions.len());
            for leaf in own.start + piece * each..own.end.min(own.start + (piece + 1) * each) {
                let (start, end) = cut.leaves.elements(leaf);
                let mut nodes: Vec<Option<Many>> = self.looped.reductions.iter().map(|_| None).collect();
                for index in (start..end).step_by(together) {
                    let (at, rows) = ((outer * folded + index) * behind + column, together.min(end - index));
                    self.strip(scratch, at, rows * len);
                    for (node, reduction) in nodes.iter_mut().zip(&self.looped.reductions) {
                        with_native!(self.types[reduction.value], T => {
                            let values = self.compiled.values::<T>(scratch, self.stores, reduction.value, at, rows * len);
                            match node {
                                Some(node) => node.add::<T>(reduction.fold, values, rows, index),
                                None => *node = Some(Many::of_rows::<T>(reduction.fold, values, len, rows, index)),
                            }
                        });
                    }
                }
                for ((tree, node), reduction) in part.trees.iter_mut().zip(nodes).zip(&self.looped.reductions) {
                    if let Some(node) = node {
                        with_native!(self.types[reduction.value], T => {
                            tree.push(leaf, node, |a, b| a.join::<T>(reduction.fold, b));
                        });
                    }
                }
            }
            part
        });
        self.folding.neighbours(ran.into_iter())
    }
}

fn of_bits<T: Kernels>(bits: u64) -> T {
    T::of(match T::DTYPE {
        DType::Bool => Scalar::Bool(bits != 0),
        DType::I32 => Scalar::I32(bits as i32),
        DType::I64 => Scalar::I64(bits as i64),
        DType::F32 => Scalar::F32(f32::from_bits(bits as u32)),
        DType::F64 => Scalar::F64(f64::from_bits(bits)),
    })
}
