//! GAP's six kernels, ours.

use std::hint::black_box;
use std::time::Instant;

use bireme::graph::kernels::{
    betweenness, bfs, components, count_triangles, gap_pagerank, sssp, triangles, verify_bfs, verify_components,
    verify_gap_pagerank, verify_sssp,
};
use clap::ValueEnum;
use serde::Serialize;

use super::graph::Built;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kernel {
    Bfs,
    Sssp,
    Pr,
    Cc,
    Bc,
    Tc,
}

/// GAP's parameters.
const DAMPING: f32 = 0.85;
const TOLERANCE: f64 = 1e-4;
const ITERATIONS: usize = 20;
/// The width of a bucket of shortest paths, for weights up to 255.
pub(super) const DELTA: i32 = 2;
/// Sources of a trial of betweenness.
pub(super) const BC_SOURCES: usize = 4;

impl Kernel {
    /// Its name and that of GAP's program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kernel::Bfs => "bfs",
            Kernel::Sssp => "sssp",
            Kernel::Pr => "pr",
            Kernel::Cc => "cc",
            Kernel::Bc => "bc",
            Kernel::Tc => "tc",
        }
    }

    /// GAP's number of trials.
    pub(super) fn trials(self) -> u32 {
        match self {
            Kernel::Bfs | Kernel::Sssp => 64,
            Kernel::Pr | Kernel::Cc | Kernel::Bc => 16,
            Kernel::Tc => 3,
        }
    }

    /// The seconds of each trial, on the pool that it is called in.
    pub(super) fn run(self, built: &Built, trials: u32) -> Vec<f64> {
        (0..trials).map(|trial| self.trial(built, trial)).collect()
    }

    fn trial(self, built: &Built, trial: u32) -> f64 {
        let sources = built.sources(trial, if self == Kernel::Bc { BC_SOURCES } else { 1 });
        let source = sources.first().copied().unwrap_or_default();
        let started = Instant::now();
        match self {
            Kernel::Bfs => drop(black_box(bfs(&built.graph, source))),
            Kernel::Sssp => drop(black_box(sssp(&built.weighted, source, DELTA))),
            Kernel::Pr => drop(black_box(gap_pagerank(&built.graph, DAMPING, TOLERANCE, ITERATIONS))),
            Kernel::Cc => drop(black_box(components(&built.graph))),
            Kernel::Bc => drop(black_box(betweenness(&built.graph, &sources))),
            Kernel::Tc => drop(black_box(count_triangles(&built.graph))),
        }
        started.elapsed().as_secs_f64()
    }

    /// What is wrong with an answer.
    pub(super) fn verify(self, built: &Built) -> Result<(), String> {
        let source = built.sources(0, 1).first().copied().unwrap_or_default();
        match self {
            Kernel::Bfs => verify_bfs(&built.graph, source, &bfs(&built.graph, source)),
            Kernel::Sssp => verify_sssp(&built.weighted, source, &sssp(&built.weighted, source, DELTA)),
            Kernel::Pr => verify_pr(built),
            Kernel::Cc => verify_components(&built.graph, &components(&built.graph)),
            Kernel::Bc => verify_bc(built),
            Kernel::Tc => {
                let (count, sum) = (count_triangles(&built.graph), triangles(&built.graph).iter().sum::<u64>());
                if 3 * count == sum { Ok(()) } else { Err(format!("{count} triangles, but {sum} corners")) }
            }
        }
    }
}

/// One more step changes ranks by less than the tolerance, which is how GAP checks its own.
fn verify_pr(built: &Built) -> Result<(), String> {
    let (ranks, _) = gap_pagerank(&built.graph, DAMPING, TOLERANCE, ITERATIONS);
    verify_gap_pagerank(&built.graph, &ranks, DAMPING, TOLERANCE)
}

/// Dependencies of a source add up to the depths of what it reaches, less one each (U. Brandes, 2008).
fn verify_bc(built: &Built) -> Result<(), String> {
    let source = built.sources(0, 1).first().copied().unwrap_or_default();
    let depths = bireme::graph::kernels::bfs_depths(&built.graph, source);
    let between = depths.iter().filter(|depth| **depth != u32::MAX).map(|&depth| f64::from(depth.saturating_sub(1)));
    let (expected, sum) = (between.sum::<f64>(), betweenness(&built.graph, &[source]).iter().sum::<f64>());
    let close = (expected - sum).abs() <= 1e-9 * expected.max(1.0);
    if close { Ok(()) } else { Err(format!("dependencies of {sum}, not {expected}")) }
}
