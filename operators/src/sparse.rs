//! Sparse tensors on one rank, and products with them.
//!
//! ```text
//!   Coordinates ──► Csr, Csf ──► kernel                    the form in which they are kept, and those that kernels read
//!   Einsum + operands ──contract_sparse──► classes of indices ──► rows of entries ──► kernel ──► Output
//! ```
//!
//! | kernel | example | divided by | bound by |
//! |---|---|---|---|
//! | [`spmv`] | `ij,j->i` | entries and rows | memory |
//! | [`spmm`] | `ij,jk->ik` | entries and rows | rows of the dense matrix, read from the cache |
//! | [`spgemm`] | `ij,jk->ik`, both sparse | products | accumulators |
//! | [`sddmm`] | `ij,ik,kj->ij` | entries | rows of the dense matrices |
//! | [`mttkrp`] | `ijk,jr,kr->ir` | fibres and rows | rows of the matrices |
//!
//! An entry that is not there is an exact 0, which is never multiplied: it meets no NaN and no infinity of the other operand, and
//! makes no entry of a sparse result. Entries that are there count, also those whose value is 0.
//!
//! Kernels run on the rayon pool they are called in. Work is cut by patterns and shapes alone, and pieces are added up in order, so
//! results have the same bits on any number of threads. Integers are summed exactly; a result that does not fit is an error.
//!
//! [`MatrixOnDevice`] has SpMV and SpMM as kernels of a device, with the same bits.
//!
//! This module knows no plans and no tables. SQL's products of tables are `contract_rows`.

mod accumulator;
mod coordinates;
mod csf;
mod csr;
mod device;
mod einsum;
mod general;
mod matrix;
mod mttkrp;
mod number;
mod numbering;
mod operand;
mod partition;
mod regroup;
mod sddmm;
mod sort;
mod spgemm;
mod spmm;
mod spmv;
#[cfg(test)]
mod tests;
mod times_dense;
mod times_sparse;

pub use coordinates::Coordinates;
pub use csf::Csf;
pub use csr::Csr;
pub use device::{Float, MatrixOnDevice, why_no_kernel};
pub use einsum::{contract_sparse, is_sparse};
pub use mttkrp::mttkrp;
pub use number::Number;
pub use operand::{Operand, Output, Sparse};
pub use sddmm::sddmm;
pub use spgemm::spgemm;
pub use spmm::spmm;
pub use spmv::spmv;
