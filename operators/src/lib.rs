//! Computes: each operator once, with its slow reference for the tests.
//!
//! Operators know batches, chunks, inlets and outlets; they know no ranks beyond their lanes, no MPI, and no plan. DataFusion
//! *plans* appear only in `island`; what needs DataFusion at all stands behind the feature `datafusion`, so that
//! pipelines and their operators build and test in seconds without it.

mod accelerator;
pub mod aggregate;
pub mod array;
#[cfg(feature = "datafusion")]
pub mod batch_call;
#[cfg(feature = "datafusion")]
pub mod checked_sum;
pub mod contract;
pub mod contract_rows;
pub mod dataset;
#[cfg(feature = "datafusion")]
pub mod errors;
pub mod expr;
pub mod forward;
pub mod graph;
#[cfg(feature = "datafusion")]
pub mod group_function;
pub mod hash_join;
#[cfg(feature = "datafusion")]
pub mod hash_partition;
#[cfg(feature = "datafusion")]
pub mod island;
#[cfg(feature = "datafusion")]
pub mod overflow;
mod pages;
pub mod pipeline;
pub mod sort;
pub mod sparse;
#[cfg(feature = "datafusion")]
pub mod tensor;
pub mod window;

pub use accelerator::{Accelerator, Report as DeviceReport, Share as DeviceShare, Work as DeviceWork};
