//! Sparse operands of array programs: the rows of a sparse tensor that lie on a rank.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};

use super::dtype::{DType, Native};
use super::tile::{Region, Tile};
use crate::sparse::{Coordinates, Csr, Number, Operand};

/// Some rows of a sparse tensor, in the form that products read: a matrix by rows, others as sorted coordinates. Rows count from the first.
#[derive(Clone)]
pub struct SparseTile {
    /// The type of the entries.
    pub dtype: DType,
    /// The indices that the rows have in the tensor: all behind the first axis.
    pub indices: Region,
    /// How many entries there are.
    pub entries: usize,
    tensor: Arc<dyn Any + Send + Sync>,
}

enum Tensor<T> {
    Matrix(Csr<T>),
    List(Coordinates<T>),
}

impl SparseTile {
    /// The rows from `first` on; the tensor's own row 0 is that one.
    ///
    /// # Errors
    /// There is no axis, or no memory.
    pub fn new<T: Number + Native>(first: usize, tensor: Coordinates<T>) -> Result<Self> {
        let mut ranges = tensor.shape().iter().map(|&extent| 0..extent).collect::<Vec<_>>();
        let rows = ranges.first_mut().ok_or_else(|| Error::user("a sparse tensor has at least one axis"))?;
        *rows = first..first + rows.end;
        let entries = tensor.entries();
        let tensor = if tensor.order() == 2 { Tensor::Matrix(Csr::new(tensor)?) } else { Tensor::List(tensor) };
        Ok(Self { dtype: T::DTYPE, indices: Region::new(ranges), entries, tensor: Arc::new(tensor) })
    }

    /// The operand of a product.
    ///
    /// # Errors
    /// It is of another type: always a bug of ours.
    pub fn operand<T: Number + Native>(&self) -> Result<Operand<'_, T>> {
        match self.tensor.downcast_ref::<Tensor<T>>() {
            Some(Tensor::Matrix(matrix)) => Ok(matrix.into()),
            Some(Tensor::List(list)) => Ok(list.into()),
            None => Err(Error::internal(format!("a sparse tensor of {} is read as {}", self.dtype, T::DTYPE))),
        }
    }

    /// Its coordinates, rows counted from the first.
    ///
    /// # Errors
    /// As [`SparseTile::operand`]; there is no memory.
    pub fn coordinates<T: Number + Native>(&self) -> Result<Coordinates<T>> {
        match self.tensor.downcast_ref::<Tensor<T>>() {
            Some(Tensor::Matrix(matrix)) => matrix.clone().into_coordinates(),
            Some(Tensor::List(list)) => Ok(list.clone()),
            None => Err(Error::internal(format!("a sparse tensor of {} is read as {}", self.dtype, T::DTYPE))),
        }
    }

    /// Bytes that it takes, nearly.
    pub fn bytes(&self) -> usize {
        let axes = self.indices.ranges().len();
        let rows = self.indices.ranges().first().map_or(0, ExactSizeIterator::len);
        let indices = if axes == 2 { 4 * self.entries + 8 * rows } else { 4 * axes * self.entries };
        indices + self.entries * self.dtype.bytes()
    }
}

impl fmt::Debug for SparseTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SparseTile({} {}, {} entries)", self.dtype, self.indices, self.entries)
    }
}

/// What a program starts from.
#[derive(Clone, Debug)]
pub enum Input {
    /// A dense array.
    Dense(Tile),
    /// A sparse one.
    Sparse(SparseTile),
}

impl From<Tile> for Input {
    fn from(tile: Tile) -> Self {
        Self::Dense(tile)
    }
}

impl From<SparseTile> for Input {
    fn from(tile: SparseTile) -> Self {
        Self::Sparse(tile)
    }
}
