//! What products take and make.

use std::borrow::Cow;

use bireme_engine::error::Result;

use super::number::Number;
use super::{Coordinates, Csf, Csr};
use crate::contract::View;

/// A sparse operand in any of its forms.
#[derive(Clone, Copy, Debug)]
pub enum Sparse<'a, T> {
    /// Sorted coordinates, of any order.
    Coordinates(&'a Coordinates<T>),
    /// A matrix by rows.
    Csr(&'a Csr<T>),
    /// A tree, of any order above 0.
    Csf(&'a Csf<T>),
}

impl<T: Number> Sparse<'_, T> {
    /// The extents of the axes.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Sparse::Coordinates(tensor) => tensor.shape().to_vec(),
            Sparse::Csr(matrix) => vec![matrix.rows(), matrix.columns()],
            Sparse::Csf(tree) => tree.shape().to_vec(),
        }
    }
}

/// An operand of a product.
#[derive(Clone, Debug)]
pub enum Operand<'a, T> {
    /// A dense array.
    Dense(View<'a, T>),
    /// A sparse tensor.
    Sparse(Sparse<'a, T>),
}

impl<T: Number> Operand<'_, T> {
    /// The extents of the axes.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Operand::Dense(view) => view.shape().to_vec(),
            Operand::Sparse(tensor) => tensor.shape(),
        }
    }
}

impl<'a, T> From<View<'a, T>> for Operand<'a, T> {
    fn from(view: View<'a, T>) -> Self {
        Operand::Dense(view)
    }
}

impl<'a, T> From<&'a Coordinates<T>> for Operand<'a, T> {
    fn from(tensor: &'a Coordinates<T>) -> Self {
        Operand::Sparse(Sparse::Coordinates(tensor))
    }
}

impl<'a, T> From<&'a Csr<T>> for Operand<'a, T> {
    fn from(matrix: &'a Csr<T>) -> Self {
        Operand::Sparse(Sparse::Csr(matrix))
    }
}

impl<'a, T> From<&'a Csf<T>> for Operand<'a, T> {
    fn from(tree: &'a Csf<T>) -> Self {
        Operand::Sparse(Sparse::Csf(tree))
    }
}

/// The result of a product.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<T> {
    /// A dense array: its shape and its elements, row-major.
    Dense(Vec<usize>, Vec<T>),
    /// A sparse tensor.
    Sparse(Coordinates<T>),
}

/// A sparse operand with a letter an axis, each letter once: sorted by its letters in their order.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a, T: Clone> {
    pub letters: Vec<char>,
    pub extents: Vec<usize>,
    /// Of each letter each entry's index.
    pub indices: Vec<Cow<'a, [u32]>>,
    pub values: Cow<'a, [T]>,
    /// Where the first letter's indices begin, if that is known.
    pub starts: Option<&'a [usize]>,
}

impl<'a, T: Number> Entries<'a, T> {
    /// Names the axes of a tensor. Of axes with the same letter only the diagonal is left.
    pub fn new(tensor: Sparse<'a, T>, letters: &[char]) -> Result<Self> {
        let all = match tensor {
            Sparse::Coordinates(tensor) => Self {
                letters: letters.to_vec(),
                extents: tensor.shape().to_vec(),
                indices: (0..tensor.order()).map(|axis| Cow::Borrowed(tensor.indices(axis))).collect(),
                values: Cow::Borrowed(tensor.values()),
                starts: None,
            },
            Sparse::Csr(matrix) => Self {
                letters: letters.to_vec(),
                extents: vec![matrix.rows(), matrix.columns()],
                indices: vec![Cow::Owned(matrix.row_of_each()?), Cow::Borrowed(matrix.indices())],
                values: Cow::Borrowed(matrix.values()),
                starts: Some(matrix.starts()),
            },
            Sparse::Csf(tree) => Self {
                letters: tree.order().iter().map(|&axis| letters[axis]).collect(),
                extents: tree.order().iter().map(|&axis| tree.shape()[axis]).collect(),
                indices: tree.expanded().into_iter().map(Cow::Owned).collect(),
                values: Cow::Borrowed(tree.values()),
                starts: None,
            },
        };
        Ok(all.diagonal())
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The indices of a letter.
    pub fn of(&self, letter: char) -> Option<&[u32]> {
        self.letters.iter().position(|&one| one == letter).map(|at| &*self.indices[at])
    }

    fn diagonal(mut self) -> Self {
        let first_of = |letter: char| self.letters.iter().position(|&one| one == letter).unwrap_or(0);
        let twins: Vec<(usize, usize)> = (0..self.letters.len())
            .map(|at| (first_of(self.letters[at]), at))
            .filter(|(first, at)| first != at)
            .collect();
        if twins.is_empty() {
            return self;
        }
        let on_it =
            |&entry: &usize| twins.iter().all(|&(one, other)| self.indices[one][entry] == self.indices[other][entry]);
        let left: Vec<usize> = (0..self.len()).filter(on_it).collect();
        self.indices = self.indices.iter().map(|list| left.iter().map(|&entry| list[entry]).collect()).collect();
        self.values = left.iter().map(|&entry| self.values[entry]).collect();
        self.starts = None;
        for &(_, at) in twins.iter().rev() {
            self.letters.remove(at);
            self.extents.remove(at);
            self.indices.remove(at);
        }
        self
    }
}
