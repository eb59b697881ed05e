//! Contractions of dense arrays on one rank: products of any number of them, summed over the indices that the result lacks.
//!
//! ```text
//!   text ──spec──► Einsum ──order──► pairwise products ──pair──► kernel
//!                     └───────── the shape of an MTTKRP ──────────►┘
//! ```
//!
//! [`contract`] takes the whole way; [`contract_pair`] is one product of two. Operands are strided [`View`]s, results contiguous
//! tiles that are replaced or added to ([`Epilogue`]), as a schedule of products between ranks needs it. What a pair costs is
//! decided by which indices its operands share (see `pair`):
//!
//! | kernel | indices | example | bound by |
//! |---|---|---|---|
//! | element-wise | nothing is summed | `ij,ij->ij`, `i,j->ij` | memory |
//! | dot | all are summed | `ij,ij->` | memory |
//! | ttv | one operand has all of them | `ijk,k->ij` | memory |
//! | gemm | each operand has some of its own | `ij,jk->ik`, `bij,bjk->bik` | arithmetic |
//! | mttkrp | an array and a matrix for each axis but one | `ijk,jl,kl->il` | arithmetic, or memory at low rank |
//!
//! Kernels run on the rayon pool they are called in. What each adds up, and in which order, depends on shapes and strides, not on
//! how many workers there are.

mod device;
mod dot;
mod element;
mod elementwise;
mod float;
mod gemm;
mod groups;
mod integer;
mod mttkrp;
mod network;
mod order;
mod pack;
mod pair;
#[cfg(test)]
pub(crate) mod reference;
mod spec;
#[cfg(test)]
mod tests;
mod ttv;
mod view;

pub(crate) use device::{Factor, contract as contract_on};
pub use element::{Element, Epilogue};
pub use float::ALONE;
pub use gemm::DENSE;
pub use groups::Kernel;
pub(crate) use integer::{Integer, Wide};
pub use network::contract;
pub use order::{EXACT, Order, Step, order};
pub use pair::{contract_pair, kernel};
pub use spec::{Einsum, Extents};
pub use view::View;
