//! A sparse matrix times a dense one on a device: `c[i,n] = Σ_k a[i,k] · b[k,n]`.
//!
//! A thread an element of the result: neighbours in a row read neighbours in the rows of `b`, and the same entries of `a`. Each adds up its
//! row in the pieces of the host, and in their order. A row of a million entries is a million steps of the threads of its columns.
//!
//! Source: Yang, Buluç and Owens (2018).

use arrow::datatypes::ToByteSlice;
use bireme_engine::device::{Argument, Grid};
use bireme_engine::error::{Error, Result};

use super::super::matrix::Matrix;
use super::super::number::zeros;
use super::{BLOCKS, Float, MatrixOnDevice, THREADS};
use crate::contract::View;

const KERNEL: &str = include_str!("spmm.cu");

/// Steps of a task of the host's: that of [`spmm`](super::super::spmm()), or bits differ.
const STEPS: usize = 1 << 13;

impl<T: Float> MatrixOnDevice<T> {
    /// `out = a · b`, row-major, as [`spmm`](super::super::spmm()) says it; `b` may have any strides.
    ///
    /// # Errors
    ///
    /// A user's error if `b` is no matrix with one row for each column of `a`, or `out` has not as many elements as the result; out of
    /// resources if `b` cannot be copied; the device fails, or has no memory for both.
    ///
    /// Source: Yang, Buluç and Owens (2018).
    pub fn spmm(&self, b: &View<'_, T>, out: &mut [T]) -> Result<()> {
        let width = match b.shape() {
            &[rows, columns] if rows == self.columns && self.rows.checked_mul(columns) == Some(out.len()) => columns,
            shape => {
                return Err(Error::user(format!(
                    "a sparse matrix of shape [{}, {}] times an array of shape {shape:?} cannot be put into {} elements",
                    self.rows,
                    self.columns,
                    out.len()
                )));
            }
        };
        if out.is_empty() {
            return Ok(());
        }
        let module = self.load::<STEPS>(KERNEL, "spmm")?;
        let b = self.device.upload(together(b, self.columns, width)?.to_byte_slice())?;
        let c = self.device.allocate(size_of_val(out))?;
        let arguments = [
            Argument::Memory(&self.starts),
            Argument::Memory(&self.indices),
            Argument::Memory(&self.values),
            Argument::I64(out.len() as i64),
            Argument::I64(width as i64),
            Argument::Memory(&b),
            Argument::Memory(&c),
        ];
        // SAFETY: what `spmm` takes; indices are those of columns, each of which has a row in `b`, and `c` has so many elements.
        unsafe { module.launch("spmm", &Grid::covering(out.len(), THREADS, BLOCKS), &arguments)? };
        self.take(&c, out)
    }
}

/// The elements of a matrix, row by row.
fn together<T: Float>(b: &View<'_, T>, rows: usize, width: usize) -> Result<Vec<T>> {
    let (matrix, mut elements) = (Matrix::new(b)?, zeros(rows * width, "a copy of a matrix")?);
    elements.chunks_exact_mut(width).enumerate().for_each(|(row, to)| to.copy_from_slice(matrix.row(row)));
    Ok(elements)
}
