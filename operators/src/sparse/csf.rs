//! Sparse tensors of any order as trees: compressed sparse fibers.
//!
//! ```text
//!   i j k  v           level 0 (i):    0           2
//!   0 0 1  5                         ┌─┴─┐         │
//!   0 0 3  1      →    level 1 (j):  0   2         2
//!   0 2 0  2                        ┌┴┐  │         │
//!   2 2 0  3           level 2 (k): 1 3  0         0
//!                      values:      5 1  2         3
//! ```
//!
//! What entries have in common along their first axes is kept once, so a kernel multiplies by it once. Which axis is at which level is
//! the maker's choice.
//!
//! S. Smith, G. Karypis: Tensor-matrix products with a compressed sparse tensor, IA³ 2015.

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::Coordinates;
use super::number::Number;
use super::sort::sorted_positions;

/// Entries of a parallel task.
const TASK: usize = 1 << 14;

/// A sparse tensor as a tree with one level an axis.
///
/// ```
/// use bireme_operators::sparse::{Coordinates, Csf};
///
/// let a = Coordinates::new(&[3, 3, 4], vec![vec![0, 0, 0, 2], vec![0, 0, 2, 2], vec![1, 3, 0, 0]], vec![5, 1, 2, 3])?;
/// let tree = Csf::new(&a, &[0, 1, 2])?;
/// assert_eq!([tree.nodes(0), tree.nodes(1), tree.nodes(2)], [2, 3, 4]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Csf<T> {
    shape: Vec<usize>,
    order: Vec<usize>,
    levels: Vec<Level>,
    values: Vec<T>,
}

/// The nodes of a level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    /// Each node's index along the level's axis.
    pub indices: Vec<u32>,
    /// Where each node's children begin in the next level, and where the last one's end; nothing in the last level.
    pub starts: Vec<usize>,
}

impl<T: Number> Csf<T> {
    /// The tree of a tensor, whose level `l` is axis `order[l]`. Without sorting, if the order is that of the axes.
    ///
    /// # Errors
    ///
    /// A user's error if `order` does not have each axis once, or the tensor has no axis.
    pub fn new(tensor: &Coordinates<T>, order: &[usize]) -> Result<Self> {
        let mut all = order.to_vec();
        all.sort_unstable();
        if order.is_empty() || !all.into_iter().eq(0..tensor.order()) {
            return Err(Error::user(format!(
                "a tree of a sparse tensor of {} axes has one level an axis, at least one, but its order is {order:?}",
                tensor.order()
            )));
        }
        let axes: Vec<&[u32]> = order.iter().map(|&axis| tensor.indices(axis)).collect();
        if order.is_sorted() {
            return Ok(Self::of_sorted(tensor.shape(), order, &axes, tensor.values().to_vec()));
        }
        let extents: Vec<usize> = order.iter().map(|&axis| tensor.shape()[axis]).collect();
        let positions = sorted_positions(&axes, &extents, tensor.entries());
        let moved: Vec<Vec<u32>> =
            axes.iter().map(|axis| positions.par_iter().map(|&entry| axis[entry]).collect()).collect();
        let values = positions.par_iter().map(|&entry| tensor.values()[entry]).collect();
        let axes: Vec<&[u32]> = moved.iter().map(Vec::as_slice).collect();
        Ok(Self::of_sorted(tensor.shape(), order, &axes, values))
    }

    /// Of entries that are sorted by `axes`, the levels' indices.
    fn of_sorted(shape: &[usize], order: &[usize], axes: &[&[u32]], values: Vec<T>) -> Self {
        let entries = values.len();
        // The first level at which an entry has a node of its own.
        let branches: Vec<usize> = (0..entries)
            .into_par_iter()
            .with_min_len(TASK)
            .map(|entry| match entry.checked_sub(1) {
                None => 0,
                Some(before) => axes.iter().position(|axis| axis[before] != axis[entry]).unwrap_or(axes.len()),
            })
            .collect();
        let heads = |level: usize| -> Vec<usize> {
            (0..entries).into_par_iter().with_min_len(TASK).filter(|&entry| branches[entry] <= level).collect()
        };
        let mut levels = Vec::with_capacity(axes.len());
        let mut these = heads(0);
        for (level, axis) in axes.iter().enumerate() {
            let indices = these.par_iter().with_min_len(TASK).map(|&entry| axis[entry]).collect();
            let mut starts = Vec::new();
            if level + 1 < axes.len() {
                let next = heads(level + 1);
                let start = |head: &usize| next.partition_point(|child| child < head);
                starts = these.par_iter().with_min_len(TASK).map(start).collect();
                starts.push(next.len());
                these = next;
            }
            levels.push(Level { indices, starts });
        }
        Self { shape: shape.to_vec(), order: order.to_vec(), levels, values }
    }

    /// The extents of the axes, in their own order.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The axis of each level.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The number of nodes of a level; 0 if there is no such level.
    pub fn nodes(&self, level: usize) -> usize {
        self.levels.get(level).map_or(0, |level| level.indices.len())
    }

    /// Each entry's value, in the order of the tree.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The same tensor as coordinates.
    ///
    /// # Errors
    ///
    /// None that a tree can cause: a bug.
    pub fn to_coordinates(&self) -> Result<Coordinates<T>> {
        let mut indices = vec![Vec::new(); self.order.len()];
        for (&axis, list) in self.order.iter().zip(self.expanded()) {
            indices[axis] = list;
        }
        Coordinates::new(&self.shape, indices, self.values.clone())
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Each entry's index at each level.
    pub(super) fn expanded(&self) -> Vec<Vec<u32>> {
        let mut lists: Vec<Vec<u32>> = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            lists.push(level.indices.clone());
            if level.starts.is_empty() {
                continue;
            }
            // From nodes of this level to those of the next.
            for list in &mut lists {
                let mut longer = Vec::with_capacity(level.starts[list.len()]);
                for (&index, pair) in list.iter().zip(level.starts.windows(2)) {
                    longer.resize(pair[1], index);
                }
                *list = longer;
            }
        }
        lists
    }
}
