//! Nodes of logical plans that DataFusion does not have.

mod contraction;
mod graph;

pub use contraction::Contraction;
pub use graph::{EdgeNames, GraphNode, graph_plan};
