//! Products of a sparse matrix on a device, with the bits of the host.
//!
//! ```text
//!   Csr ──new──► MatrixOnDevice   starts (u64), columns (u32), values         once
//!                   │
//!                   └─ spmv, spmm ──► a dense result on the host
//! ```
//!
//! The host cuts its work into tasks of equally many entries and rows ([`partition`](super::partition)), and a row that is cut is summed
//! in pieces. Where it is cut depends on the pattern alone, so a kernel knows, too: task `k` begins at step `k · STEPS`, where entry
//! `e` of row `i` is step `e + i`.
//!
//! ```text
//!   row i       |----------------- entries -----------------|         sum = ((0 + piece) + piece) + piece
//!                         ↑ k·STEPS - i        ↑ (k+1)·STEPS - i
//! ```
//!
//! Each piece is summed in the order of the host. So floats have the same bits; of sums that are no number it is not said which such
//! number they are. Integers, which the host sums in more than 64 bits, have no kernels.

mod spmm;
mod spmv;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test; what did not run says so"
)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use arrow::datatypes::{ArrowNativeType, ToByteSlice};
use bireme_engine::device::{Buffer as Memory, Device, Module, Source};
use bireme_engine::error::Result;

use super::Csr;
use super::number::Number;
use crate::accelerator::{download, longs_of};

/// What all kernels here begin with, behind the type of elements.
const ROWS: &str = include_str!("device/rows.h");

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several rows of a large matrix.
const BLOCKS: u32 = 132 * 16;

/// An element of sparse matrices on devices: `f32`, `f64`.
pub trait Float: Number + ArrowNativeType {}

impl Float for f32 {}
impl Float for f64 {}

/// A sparse matrix whose rows lie on a device.
///
/// ```
/// use bireme_engine::device::Device;
/// use bireme_operators::sparse::{Coordinates, Csr, MatrixOnDevice};
///
/// // 0 0 5
/// // 1 0 2
/// let a = Csr::new(Coordinates::new(&[2, 3], vec![vec![0, 1, 1], vec![2, 0, 2]], vec![5.0, 1.0, 2.0])?)?;
/// // Without a C++ compiler there is no emulated device.
/// if let Ok(device) = Device::emulated() {
///     let mut y = [0.0; 2];
///     MatrixOnDevice::new(&device, &a)?.spmv(&[1.0, 1.0, 2.0], &mut y)?;
///     assert_eq!(y, [10.0, 5.0]);
/// }
/// # Ok::<(), bireme_engine::Error>(())
/// ```
pub struct MatrixOnDevice<T> {
    device: Device,
    rows: usize,
    columns: usize,
    /// Where each row begins, and where the last one ends: 64 bits each.
    starts: Memory,
    /// 32 bits each.
    indices: Memory,
    values: Memory,
    elements: PhantomData<T>,
}

/// Why products with this matrix cannot run on a device; `None` if they can. Whether the device has the memory is seen by trying.
pub fn why_no_kernel<T: Number>(_matrix: &Csr<T>) -> Option<String> {
    let name = T::NAME;
    (!["f32", "f64"].contains(&name))
        .then(|| format!("{name}: kernels add up floats, and the host sums integers in more than 64 bits"))
}

impl<T: Float> MatrixOnDevice<T> {
    /// Bytes of a device's memory that the matrix takes; a product takes what its dense operand and its result have, too.
    pub fn bytes(matrix: &Csr<T>) -> usize {
        size_of_val(matrix.starts()) + size_of_val(matrix.indices()) + size_of_val(matrix.values())
    }

    /// Copies a matrix to a device.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    pub fn new(device: &Device, matrix: &Csr<T>) -> Result<Self> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let copied = || -> Result<_> {
            let starts = device.upload(longs_of(matrix.starts()).to_byte_slice())?;
            let indices = device.upload(matrix.indices().to_byte_slice())?;
            Ok((starts, indices, device.upload(matrix.values().to_byte_slice())?))
        };
        let (starts, indices, values) = copied().map_err(|error| {
            let entries = matrix.entries();
            error.context(format!("copying a sparse matrix of shape [{rows}, {columns}] with {entries} entries"))
        })?;
        Ok(Self { device: device.clone(), rows, columns, starts, indices, values, elements: PhantomData })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A kernel for this type of elements, beside tasks of so many steps.
    fn load<const STEPS: usize>(&self, text: &str, name: &str) -> Result<Module> {
        let text = format!("typedef {} number;\n#define STEPS {STEPS}\n{ROWS}\n{text}", T::NAME);
        self.device.load(&Source::new(text, [name]))
    }

    /// Takes a result from the device.
    fn take(&self, from: &Memory, out: &mut [T]) -> Result<()> {
        out.copy_from_slice(&download(&self.device, from, out.len())?);
        Ok(())
    }
}

impl<T> fmt::Debug for MatrixOnDevice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, rows, columns, .. } = self;
        write!(f, "MatrixOnDevice([{rows}, {columns}] on {})", device.describe())
    }
}
