//! Graph algorithms on adjacency in memory.
//!
//! ```text
//!   edges  0→2 0→1 2→0      Csr   offsets  0 2 2 3           neighbours of v: targets[offsets[v]..offsets[v + 1]],
//!                                 targets  1 2 0             ascending, each once unless duplicates are kept
//! ```
//!
//! Vertices are numbers from 0, in the order of what a user calls them; a [`Graph`] has its edges by source and by target. Each
//! algorithm is one file: what it computes, its cost, where it comes from, the kernel, and what a right answer must satisfy,
//! which the tests check beside a slow reference. Kernels run on the rayon pool that they are called in, and their results do
//! not depend on how many threads there are: components are called by their smallest vertex, a vertex's parent in a search is
//! its smallest valid one, sums are taken in a fixed order. (The GAP variant of PageRank, which reads ranks that were written
//! in the same round, is the exception, and says so.)
//!
//! [`GraphOnDevice`] has some of them as kernels of a device, with the same answers.
//!
//! S. Beamer, K. Asanović, D. Patterson: The GAP Benchmark Suite, arXiv:1508.03619 (2015).

mod algorithm;
mod answer;
mod between;
mod betweenness;
mod bfs;
mod body;
mod build;
mod communities;
mod components;
mod coreness;
mod csr;
mod device;
mod edges;
pub mod generate;
mod iterate;
mod keep;
mod numbering;
mod pagerank;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod samples;
mod sssp;
mod strong;
mod talk;
mod triangles;

pub use algorithm::{Algorithm, PageRank, Sources, Vertex};
pub use between::Cutting;
pub use betweenness::{betweenness, verify_betweenness};
pub use bfs::{bfs, bfs_depths, verify_bfs};
pub use body::GraphBody;
pub use build::{
    BuildOptions, By, Duplicates, Edges, Weight, csr, csr_by_target, directed, shard, symmetric, verify_shard,
    weighted_directed, weighted_symmetric,
};
pub use communities::{communities, verify_communities};
pub use components::{components, verify_components};
pub use coreness::{coreness, verify_coreness};
pub use csr::{Csr, Graph, Weighted};
pub use device::GraphOnDevice;
pub use edges::EdgeColumns;
pub use iterate::{Iteration, Numeric, Steps, Value};
pub use keep::Kept;
pub use numbering::vertex_type;
pub use pagerank::{
    PowerIteration, Ranks, gap_pagerank, pagerank, personalised_pagerank, verify_gap_pagerank, verify_pagerank,
    verify_personalised_pagerank,
};
pub use sssp::{Distance, default_delta, parents_of_distances, sssp, verify_sssp};
pub use strong::{strong_components, verify_strong};
pub use triangles::{count_triangles, triangles, verify_triangles};

use pagerank::BLOCK;

/// No vertex: the parent of what a search did not reach.
pub const NONE: u32 = u32::MAX;
