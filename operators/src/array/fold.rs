//! Folds of many elements into one, in an order that depends on the shape alone.
//!
//! What is folded is cut into *leaves* of about 4,096 elements ([`Leaves`]). A leaf is folded in one fixed way, and leaves are put
//! together as a binary tree over their numbers:
//!
//! ```text
//!   leaves     0   1   2   3   4            any worker or rank folds any run of leaves;
//!               \ /     \ /    |            of a run it keeps the whole subtrees (at most two of each height),
//!               0-1     2-3    |            and neighbours' subtrees join to the same tree
//!                 \     /      |
//!                  0 - 3       |
//!                      \       /
//!                       0 - 4              what is left at the end is folded from the right
//! ```
//!
//! So the bits of a sum depend neither on threads nor on ranks (J. Demmel, H. D. Nguyen: Parallel reproducible summation, IEEE TC
//! 64 (2015), discusses this and stronger ways). A tree is also more exact than a running sum: its error grows with the logarithm.

use std::fmt;

/// Elements of a leaf, about.
const LEAF: usize = 4096;

/// Indices of a leaf, at least, if elements are folded side by side: putting leaves together costs as much as an index.
const FEW: usize = 16;

/// From so many elements on, one row is a leaf, or several.
const LONG: usize = 2048;

/// How elements are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fold {
    /// Their sum; integers wrap.
    Sum,
    /// Their product; integers wrap.
    Product,
    /// The smallest; NaN if there is one.
    Minimum,
    /// The largest; NaN if there is one.
    Maximum,
    /// The place of the first smallest, or of the first NaN.
    ArgMinimum,
    /// The place of the first largest, or of the first NaN.
    ArgMaximum,
}

impl Fold {
    /// Whether the result is a place.
    pub const fn is_place(self) -> bool {
        matches!(self, Self::ArgMinimum | Self::ArgMaximum)
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Product => "product",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::ArgMinimum => "argmin",
            Self::ArgMaximum => "argmax",
        })
    }
}

/// How the elements that are folded into one are cut into leaves.
///
/// The first folded axis has `rows` indices with `width` elements each. Short rows are several a leaf, long ones several leaves each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaves {
    rows: usize,
    width: usize,
    /// Rows of a leaf.
    rows_each: usize,
    /// Leaves of a row.
    pieces: usize,
    /// Elements of a row that are a leaf, if there are several.
    piece: usize,
}

impl Leaves {
    /// Leaves of `rows` of `width` elements, each of which stands for `behind` elements that are folded side by side.
    pub fn new(rows: usize, width: usize, behind: usize) -> Self {
        let rows_each = rows_of_a_leaf(width.saturating_mul(behind));
        let piece = (LEAF / behind.max(1)).max(FEW);
        Self { rows, width, rows_each, pieces: width.div_ceil(piece).max(1), piece }
    }

    /// What [`Leaves::elements`] is computed of: rows, their width, rows of a leaf, leaves of a row, elements of such a leaf.
    pub(super) fn parameters(&self) -> [usize; 5] {
        [self.rows, self.width, self.rows_each, self.pieces, self.piece]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(self.rows_each) * self.pieces
    }

    /// The first leaf of a row, which is the first of its leaf, or the end of the rows.
    pub fn of_row(&self, row: usize) -> usize {
        row.div_ceil(self.rows_each) * self.pieces
    }

    /// The row in which a leaf begins, or the end of the rows.
    pub fn row(&self, leaf: usize) -> usize {
        (leaf / self.pieces * self.rows_each).min(self.rows)
    }

    /// Where a leaf's elements begin and end.
    pub fn elements(&self, leaf: usize) -> (usize, usize) {
        let (group, piece) = (leaf / self.pieces, leaf % self.pieces);
        let (row, end) = (group * self.rows_each, ((group + 1) * self.rows_each).min(self.rows));
        if self.pieces == 1 {
            return (row * self.width, end * self.width);
        }
        (row * self.width + piece * self.piece, row * self.width + ((piece + 1) * self.piece).min(self.width))
    }
}

/// How many rows of so many elements are a leaf. Ranks own whole leaves.
pub fn rows_of_a_leaf(width: usize) -> usize {
    if width >= LONG { 1 } else { LEAF / width.max(1) }
}

/// Folded leaves, and how they are put together.
#[derive(Clone, Debug)]
pub struct Tree<N> {
    /// Height, number among those of its height, what is folded; by number of the first leaf.
    nodes: Vec<(u32, usize, N)>,
}

impl<N> Default for Tree<N> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<N> Tree<N> {
    /// Adds a leaf, which is behind all that are there.
    pub fn push(&mut self, leaf: usize, node: N, join: impl FnMut(N, N) -> N) {
        self.push_node(0, leaf, node, join);
    }

    /// Adds what was folded elsewhere, of leaves behind all that are there.
    pub fn append(&mut self, other: Self, mut join: impl FnMut(N, N) -> N) {
        for (height, number, node) in other.nodes {
            self.push_node(height, number, node, &mut join);
        }
    }

    /// Adds a subtree: its height, its number among those of its height.
    pub fn push_node(&mut self, mut height: u32, mut number: usize, mut node: N, mut join: impl FnMut(N, N) -> N) {
        // The right one of two siblings joins the left one, if that is there.
        while number % 2 == 1
            && let Some(last) = self.nodes.pop()
        {
            if (last.0, last.1) != (height, number - 1) {
                self.nodes.push(last);
                break;
            }
            node = join(last.2, node);
            (height, number) = (height + 1, number / 2);
        }
        self.nodes.push((height, number, node));
    }

    /// The subtrees: height, number, what is folded.
    pub fn into_nodes(self) -> Vec<(u32, usize, N)> {
        self.nodes
    }

    /// All in one; `None` if there is nothing.
    pub fn finish(self, mut join: impl FnMut(N, N) -> N) -> Option<N> {
        let mut nodes = self.nodes.into_iter().rev().map(|node| node.2);
        let last = nodes.next()?;
        Some(nodes.fold(last, |right, left| join(left, right)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn leaves_are_all_elements_once_and_do_not_split_rows_that_are_short() {
        for (rows, width, behind) in [
            (1, 1, 1),
            (5000, 1, 1),
            (10, 3000, 1),
            (10, 10_000, 1),
            (7, 300, 1),
            (0, 3, 1),
            (9, 100, 7),
            (4, 0, 1),
            (3, 9000, 5),
            (2, 40, 4000),
        ] {
            let leaves = Leaves::new(rows, width, behind);
            let mut next = 0;
            for leaf in 0..leaves.count() {
                let (from, to) = leaves.elements(leaf);
                assert_eq!(from, next, "{leaves:?} {leaf}");
                assert!((to - from) * behind <= LEAF || to - from <= FEW);
                assert!(from % width.max(1) == 0 || width * behind >= LONG);
                next = to;
            }
            assert_eq!(next, rows * width, "{leaves:?}");
        }
    }

    #[test]
    fn a_tree_is_the_same_however_its_leaves_come() {
        // What a node holds is the text of its tree.
        let join = |left: String, right: String| format!("({left}{right})");
        for count in 1..40 {
            let mut whole = Tree::default();
            (0..count).for_each(|leaf| whole.push(leaf, leaf.to_string(), join));
            let whole = whole.finish(join).unwrap();
            for first in 0..count {
                for second in first..count {
                    let mut tree = Tree::default();
                    for run in [0..first, first..second, second..count] {
                        let mut part = Tree::default();
                        run.for_each(|leaf| part.push(leaf, leaf.to_string(), join));
                        tree.append(part, join);
                    }
                    assert_eq!(tree.finish(join).unwrap(), whole);
                }
            }
        }
        assert_eq!(Tree::<String>::default().finish(join), None);
    }
}
