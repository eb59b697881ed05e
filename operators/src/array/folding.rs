//! Which leaves of a loop's folds are a rank's, and how folded leaves become results, or subtrees of them.

use std::ops::Range;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};

use super::dtype::{DType, with_native};
use super::fold::{Leaves, Tree};
use super::leaf::{Many, One, result};
use super::program::{Loop, Reduction};
use super::run::{Folded, Subtree};

/// The folds of a loop over a rank's rows.
pub(super) struct Folding<'a> {
    pub looped: &'a Loop,
    pub types: &'a [DType],
    pub rows: &'a Range<usize>,
}

/// Which results and which leaves of each are a rank's.
pub(super) struct Cut {
    pub leaves: Leaves,
    /// Results, by what is before the folded axes.
    pub outer: Range<usize>,
    pub own: Range<usize>,
    /// Whether other ranks have leaves of the same results.
    pub partial: bool,
}

impl Folding<'_> {
    /// What is a rank's.
    ///
    /// # Errors
    /// The rows are not whole leaves: always a bug of ours.
    pub fn cut(&self) -> Result<Cut> {
        let [before, folded, behind] = self.looped.thirds();
        let (from, to) = self.looped.folded;
        let first = self.looped.shape[from..to].first().copied().unwrap_or(1);
        let leaves = Leaves::new(first, folded / first.max(1), behind);
        let partial = from == 0 && to > 0;
        let rows = [self.rows.start, self.rows.end];
        let ends = if partial { rows.map(|row| leaves.row(leaves.of_row(row))) } else { rows };
        if ends != rows || to == 0 && !self.looped.shape.is_empty() {
            // Elements of other ranks' leaves have no place in this one's memory.
            return Err(Error::internal(format!(
                "rows {rows:?} of a loop over {:?} that folds {from}..{to}",
                self.looped.shape
            )));
        }
        let outer = if from == 0 {
            0..1
        } else {
            let width = before / self.looped.shape[0].max(1);
            self.rows.start * width..self.rows.end * width
        };
        let own =
            if partial { leaves.of_row(self.rows.start)..leaves.of_row(self.rows.end) } else { 0..leaves.count() };
        Ok(Cut { leaves, outer, own, partial })
    }

    /// The folds of leaves that somebody else has folded: of each reduction, result and leaf an element for each that is behind the
    /// folded axes, in this order.
    pub fn of_leaves(&self, cut: &Cut, values: &[Buffer]) -> Vec<Folded> {
        let behind = self.looped.thirds()[2];
        let mut parts = Vec::with_capacity(cut.outer.len());
        for (row, outer) in cut.outer.clone().enumerate() {
            let mut part = Part::new((outer, 0), self.looped.reductions.len());
            for ((tree, reduction), values) in part.trees.iter_mut().zip(&self.looped.reductions).zip(values) {
                with_native!(self.types[reduction.value], T => {
                    let each = cut.own.len() * behind;
                    let values = &values.typed_data::<T>()[row * each..(row + 1) * each];
                    for (leaf, values) in cut.own.clone().zip(values.chunks(behind)) {
                        tree.push(leaf, Many::of(reduction.fold, values), |a, b| a.join::<T>(reduction.fold, b));
                    }
                });
            }
            parts.push(part);
        }
        self.all(parts, cut)
    }

    /// What all parts have.
    pub fn all(&self, mut parts: Vec<Part>, cut: &Cut) -> Vec<Folded> {
        let behind = self.looped.thirds()[2];
        let reductions = self.looped.reductions.iter().enumerate();
        reductions.map(|(at, reduction)| self.put_together(at, reduction, &mut parts, cut, behind)).collect()
    }

    /// Puts parts of the same results together, which follow each other.
    pub fn neighbours(&self, parts: impl Iterator<Item = Part>) -> Vec<Part> {
        let mut all: Vec<Part> = Vec::new();
        for part in parts {
            match all.last_mut() {
                Some(last) if last.place == part.place => {
                    for ((tree, other), reduction) in last.trees.iter_mut().zip(part.trees).zip(&self.looped.reductions)
                    {
                        with_native!(self.types[reduction.value], T => {
                            tree.append(other, |a, b| a.join::<T>(reduction.fold, b));
                        });
                    }
                }
                _ => all.push(part),
            }
        }
        all
    }

    /// What all parts have of one reduction: its results, or the subtrees of this rank.
    fn put_together(&self, at: usize, reduction: &Reduction, parts: &mut [Part], cut: &Cut, behind: usize) -> Folded {
        let fold = reduction.fold;
        let trees = parts.iter_mut().map(|part| std::mem::take(&mut part.trees[at]));
        with_native!(self.types[reduction.value], T => {
            if cut.partial {
                return Folded::Partial(whole_subtrees(trees));
            }
            let results = cut.outer.len() * behind;
            let mut out = MutableBuffer::with_capacity(results * result(self.types[reduction.value], fold).bytes());
            for tree in trees {
                if let Some(many) = tree.finish(|a, b| a.join::<T>(fold, b)) {
                    many.write(&mut out);
                }
            }
            if out.is_empty() {
                (0..results).for_each(|_| One::<T>::nothing(fold).write(fold, &mut out));
            }
            Folded::Whole(out.into())
        })
    }
}

/// Subtrees of neighbouring strips as subtrees of all of them: each has the same heights and numbers.
fn whole_subtrees(strips: impl Iterator<Item = Tree<Many>>) -> Vec<Subtree> {
    let mut whole: Vec<(u32, usize, Many)> = Vec::new();
    for (at, tree) in strips.enumerate() {
        if at == 0 {
            whole = tree.into_nodes();
            continue;
        }
        for (before, (_, _, many)) in whole.iter_mut().zip(tree.into_nodes()) {
            before.2.extend(&many);
        }
    }
    whole.into_iter().map(|(height, number, many)| (height, number, many.into_buffer())).collect()
}

/// Trees of some of the leaves of some results.
pub(super) struct Part {
    /// What is before the folded axes, which strip of what is behind them.
    pub place: (usize, usize),
    /// One a reduction.
    pub trees: Vec<Tree<Many>>,
}

impl Part {
    pub fn new(place: (usize, usize), reductions: usize) -> Self {
        Self { place, trees: (0..reductions).map(|_| Tree::default()).collect() }
    }
}
