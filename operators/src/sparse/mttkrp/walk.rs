//! The way through a tree, fibre by fibre.

use std::ops::Range;

use super::LANES;
use crate::sparse::csf::Level;
use crate::sparse::number::Number;

/// A tensor and its matrices: of each level the packed rows of its axis' matrix; none of the output's level.
pub struct Tree<'a, T> {
    pub levels: &'a [Level],
    pub values: &'a [T],
    pub factors: &'a [Vec<[T; LANES]>],
    /// How many indices each level's axis has: the rows of a block.
    pub extents: &'a [usize],
}

impl<T: Number> Tree<'_, T> {
    /// The level of fibres: the last but one.
    fn fibre_level(&self) -> usize {
        self.levels.len() - 2
    }

    pub fn fibres(&self) -> usize {
        self.levels[self.fibre_level()].indices.len()
    }

    /// The first fibre below a node.
    pub fn first_fibre(&self, level: usize, node: usize) -> usize {
        self.levels[level..self.fibre_level()].iter().fold(node, |node, level| level.starts[node])
    }
}

/// A walk from some fibre on, with the sums and products of one block of columns on the path.
pub struct Walk<'a, T: Number> {
    tree: &'a Tree<'a, T>,
    /// The level of the output's axis.
    kept: usize,
    /// Of each level where its matrix' rows of this block begin.
    bases: Vec<usize>,
    /// The node of each level that the next fibre is in.
    path: Vec<usize>,
    /// Of each level from the output's to the one above fibres: what its node has so far, and whether that is anything.
    sums: Vec<([T::Sum; LANES], bool)>,
    /// Of each level above the output's: the product of the matrices' rows down to it.
    products: Vec<[T; LANES]>,
    /// The first level whose product is of an earlier node.
    stale: usize,
}

impl<'a, T: Number> Walk<'a, T> {
    pub fn new(tree: &'a Tree<'a, T>, kept: usize, block: usize, fibre: usize) -> Self {
        let levels = tree.levels.len();
        let mut path = vec![fibre; levels - 1];
        for level in (0..tree.fibre_level()).rev() {
            // The last node that begins at or before its child; nodes are never empty.
            let child = path[level + 1];
            path[level] = tree.levels[level].starts.partition_point(|&start| start <= child).saturating_sub(1);
        }
        Self {
            tree,
            kept,
            bases: tree.extents.iter().map(|extent| block * extent).collect(),
            path,
            sums: vec![([T::Sum::default(); LANES], false); levels],
            products: vec![[T::ONE; LANES]; kept],
            stale: 0,
        }
    }

    /// The sums of the output's row at the root over some of its fibres, which are the next ones.
    #[inline(always)]
    pub fn row(&mut self, fibres: Range<usize>) -> Option<[T::Sum; LANES]> {
        let fibre_level = self.tree.fibre_level();
        for fibre in fibres {
            let sums = self.fibre(fibre);
            if fibre_level == 0 {
                (0..LANES).for_each(|lane| T::add(&mut self.sums[0].0[lane], sums[lane]));
            } else {
                self.rise(fibre_level, fibre, sums)?;
                self.step(&mut |_, _, _| Some(()))?;
            }
        }
        self.rise_all()?;
        Some(std::mem::take(&mut self.sums[0].0))
    }

    /// Adds to the output's rows, which are below the root, what some fibres have, which are the next ones.
    #[inline(always)]
    pub fn scatter(mut self, fibres: Range<usize>, out: &mut [[T::Sum; LANES]]) -> Option<()> {
        let (fibre_level, kept) = (self.tree.fibre_level(), self.kept);
        let indices = &self.tree.levels[kept].indices;
        let mut emit = |node: usize, product: &[T; LANES], sums: [T::Sum; LANES]| {
            add_scaled(&mut out[indices[node] as usize], product, sums)
        };
        for fibre in fibres {
            self.descend()?;
            if kept > fibre_level {
                let starts = &self.tree.levels[fibre_level].starts;
                for entry in starts[fibre]..starts[fibre + 1] {
                    let mut sums = [T::Sum::default(); LANES];
                    sums.iter_mut().for_each(|sum| T::add_product(sum, self.tree.values[entry], T::ONE));
                    emit(entry, &self.products[fibre_level], sums)?;
                }
            } else if kept == fibre_level {
                emit(fibre, &self.products[kept - 1], self.fibre(fibre))?;
            } else {
                self.rise(fibre_level, fibre, self.fibre(fibre))?;
            }
            self.step(&mut emit)?;
        }
        self.rise_all()?;
        match self.sums[kept] {
            (sums, true) => emit(self.path[kept], &self.products[kept - 1], sums),
            _ => Some(()),
        }
    }

    /// `Σ x · matrix[k,:]` over the entries of a fibre.
    #[inline(always)]
    fn fibre(&self, fibre: usize) -> [T::Sum; LANES] {
        let leaf = self.tree.levels.len() - 1;
        let starts = &self.tree.levels[leaf - 1].starts;
        let entries = starts[fibre]..starts[fibre + 1];
        let mut sums = [T::Sum::default(); LANES];
        if self.kept == leaf {
            return sums;
        }
        let rows = &self.tree.factors[leaf][self.bases[leaf]..];
        let indices = &self.tree.levels[leaf].indices[entries.clone()];
        for (&index, &value) in indices.iter().zip(&self.tree.values[entries]) {
            let row = &rows[index as usize];
            for lane in 0..LANES {
                T::add_product(&mut sums[lane], value, row[lane]);
            }
        }
        sums
    }

    /// Adds a node's sums to its parent's.
    #[inline(always)]
    fn rise(&mut self, level: usize, node: usize, sums: [T::Sum; LANES]) -> Option<()> {
        let row = &self.tree.factors[level][self.bases[level] + self.tree.levels[level].indices[node] as usize];
        let (above, any) = &mut self.sums[level - 1];
        *any = true;
        add_scaled(above, row, sums)
    }

    /// Adds what nodes on the path have to the one of the output, though they may not be done.
    #[inline(always)]
    fn rise_all(&mut self) -> Option<()> {
        for level in (self.kept + 1..self.tree.fibre_level()).rev() {
            self.done(level)?;
        }
        Some(())
    }

    #[inline(always)]
    fn done(&mut self, level: usize) -> Option<()> {
        match std::mem::take(&mut self.sums[level]) {
            (sums, true) => self.rise(level, self.path[level], sums),
            _ => Some(()),
        }
    }

    /// Goes on to the next fibre; nodes that are done give their sums to their parents, those of the output to `emit`.
    #[inline(always)]
    fn step(&mut self, emit: &mut impl FnMut(usize, &[T; LANES], [T::Sum; LANES]) -> Option<()>) -> Option<()> {
        let mut level = self.tree.fibre_level();
        self.path[level] += 1;
        while level > 0 && self.tree.levels[level - 1].starts[self.path[level - 1] + 1] == self.path[level] {
            level -= 1;
            if level > self.kept {
                self.done(level)?;
            } else if level == self.kept
                && level > 0
                && let (sums, true) = std::mem::take(&mut self.sums[level])
            {
                emit(self.path[level], &self.products[level - 1], sums)?;
            }
            self.path[level] += 1;
        }
        self.stale = self.stale.min(level);
        Some(())
    }

    /// Makes the products above the output's level those of the path.
    #[inline(always)]
    fn descend(&mut self) -> Option<()> {
        for level in self.stale..self.kept {
            let node = self.path[level];
            let row = &self.tree.factors[level][self.bases[level] + self.tree.levels[level].indices[node] as usize];
            let mut product = *row;
            if level > 0 {
                for lane in 0..LANES {
                    product[lane] = T::times(self.products[level - 1][lane], row[lane])?;
                }
            }
            self.products[level] = product;
        }
        self.stale = self.kept;
        Some(())
    }
}

/// `out += row ∘ sums`.
#[inline(always)]
fn add_scaled<T: Number>(out: &mut [T::Sum; LANES], row: &[T; LANES], sums: [T::Sum; LANES]) -> Option<()> {
    for lane in 0..LANES {
        T::add_product(&mut out[lane], T::finish(sums[lane])?, row[lane]);
    }
    Some(())
}
