//! Nodes of logical plans that DataFusion does not have.

mod contraction;

pub use contraction::Contraction;
