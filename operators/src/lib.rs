//! Computes: each operator once, with its slow reference for the tests.
//!
//! Operators know batches, inlets and outlets; they know no ranks beyond their lanes, no MPI, and no plan. DataFusion
//! *plans* appear only in [`island`].

pub mod checked_sum;
pub mod errors;
pub mod forward;
pub mod hash_partition;
pub mod island;
pub mod overflow;
