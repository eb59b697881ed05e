//! A graph as GAP's kernels want it.

use std::time::Instant;

use bireme::graph::kernels::generate::{self, Kind};
use bireme::graph::kernels::{BuildOptions, Edges, Graph, Weighted, symmetric, weighted_symmetric};
use bireme::prelude::Result;

/// Each edge both ways, once, without loops; with weights from 1 to 255 as well.
pub(super) struct Built {
    pub(super) graph: Graph,
    pub(super) weighted: Weighted<i32>,
    /// From edges in memory to adjacency, without weights and with.
    pub(super) seconds: [f64; 2],
    pub(super) generate_seconds: f64,
    sources: Vec<u32>,
}

/// Sources that are drawn.
const SOURCES: usize = 64;

impl Built {
    /// Generates and builds, on the pool that it is called in.
    pub(super) fn new(kind: Kind, scale: u32, degree: u64, seed: u64) -> Result<Self> {
        let count = generate::edge_count(kind, scale, degree)?;
        let started = Instant::now();
        let (from, to) = generate::edges(kind, scale, degree, seed, 0..count)?;
        let weights = generate::weights(seed, 0..count)?;
        let generate_seconds = started.elapsed().as_secs_f64();
        let vertices = generate::vertices(scale)?;
        let started = Instant::now();
        let graph = symmetric(vertices, Edges::new(&from, &to), BuildOptions::simple())?;
        let plain = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let weighted = weighted_symmetric(vertices, Edges::weighted(&from, &to, &weights), BuildOptions::simple())?;
        let seconds = [plain, started.elapsed().as_secs_f64()];
        let sources = sources(&graph, seed);
        Ok(Self { graph, weighted, seconds, generate_seconds, sources })
    }

    /// The sources of a trial; the same in each run.
    pub(super) fn sources(&self, trial: u32, count: usize) -> Vec<u32> {
        let first = trial as usize * count;
        (first..first + count).filter_map(|at| self.sources.get(at % self.sources.len().max(1)).copied()).collect()
    }

    /// Bytes in memory for each edge, one way.
    pub(super) fn bytes_per_edge(&self) -> f64 {
        self.graph.out().bytes() as f64 / self.graph.edges().max(1) as f64
    }
}

/// Vertices that have edges, drawn by the seed.
fn sources(graph: &Graph, seed: u64) -> Vec<u32> {
    let vertices = graph.vertices() as u64;
    let mut state = seed;
    let draws = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * u128::from(vertices)) >> 64) as u32
    });
    let found = draws.take(if vertices == 0 { 0 } else { 100_000 }).filter(|&vertex| graph.out().degree(vertex) > 0);
    found.take(SOURCES).collect()
}
