//! A sparse matrix times a vector on a device: `y[i] = Σ_k a[i,k] · x[k]`.
//!
//! ```text
//!   row of up to 32 entries     one thread adds it up
//!   longer row                  a warp makes 128 products at a time in shared memory; one lane adds them up, as the host does
//! ```
//!
//! As the host does: pieces of at least [`LONG`] entries in [`LANES`] sums, others in one. A row of a million entries is read by one warp.
//!
//! Source: N. Bell, M. Garland: Implementing Sparse Matrix-Vector Multiplication on Throughput-Oriented Processors, SC 2009.

use arrow::datatypes::ToByteSlice;
use bireme_engine::device::{Argument, Buffer as Memory, Grid};
use bireme_engine::error::{Error, Result};

use super::{BLOCKS, Float, MatrixOnDevice, THREADS};

const KERNEL: &str = include_str!("spmv.cu");

/// Steps of a task of the host's, running sums of a long piece, and entries of one: those of [`spmv`](super::super::spmv()), or bits
/// differ.
const STEPS: usize = 1 << 14;
const LANES: usize = 4;
const LONG: usize = 128;

impl<T: Float> MatrixOnDevice<T> {
    /// `out = a · x`, as [`spmv`](super::super::spmv()) says it.
    ///
    /// # Errors
    ///
    /// A user's error if `x` has not one element a column, or `out` not one a row; the device fails, or has no memory for both.
    ///
    /// Source: Bell and Garland (2009).
    pub fn spmv(&self, x: &[T], out: &mut [T]) -> Result<()> {
        if (x.len(), out.len()) != (self.columns, self.rows) {
            return Err(Error::user(format!(
                "a sparse matrix of shape [{}, {}] times a vector of {} elements cannot be put into {} elements",
                self.rows,
                self.columns,
                x.len(),
                out.len()
            )));
        }
        let (x, y) = (self.device.upload(x.to_byte_slice())?, self.device.allocate(size_of_val(out))?);
        self.spmv_there(&x, &y)?;
        self.take(&y, out)
    }

    /// The same of a vector that is on the device, into one that stays there; the host does not wait for it.
    ///
    /// # Errors
    ///
    /// A bug of ours if `x` has no room for one element a column, or `out` for one a row; the device fails.
    pub fn spmv_there(&self, x: &Memory, out: &Memory) -> Result<()> {
        let wanted = (self.columns * size_of::<T>(), self.rows * size_of::<T>());
        if x.bytes() < wanted.0 || out.bytes() < wanted.1 {
            let (x, out) = (x.bytes(), out.bytes());
            return Err(Error::internal(format!("{self:?} times {x} bytes into {out}, where it takes {wanted:?}")));
        }
        let text = format!("#define LANES {LANES}\n#define LONG {LONG}\n#define THREADS {THREADS}\n{KERNEL}");
        let module = self.load::<STEPS>(&text, "spmv")?;
        let arguments = [
            Argument::Memory(&self.starts),
            Argument::Memory(&self.indices),
            Argument::Memory(&self.values),
            Argument::I64(self.rows as i64),
            Argument::Memory(x),
            Argument::Memory(out),
        ];
        // SAFETY: what `spmv` takes; indices are those of columns, each of which has an element in `x`, and each row has one in `out`.
        unsafe { module.launch("spmv", &Grid::covering(self.rows, THREADS, BLOCKS), &arguments) }
    }
}
