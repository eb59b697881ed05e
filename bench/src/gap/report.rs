//! What was measured, as a table and as a record.

use std::io::Write as _;
use std::path::Path;

use bireme::prelude::Result;
use serde::Serialize;

use super::Gap;
use super::cuts::Sent;
use super::end_to_end::EndToEnd;
use super::graph::Built;
use super::kernel::Kernel;
use crate::machine::{Circumstances, write_record};
use crate::statistics::{best, geometric_mean};

/// The geometric mean of ours to GAP's should be at most this,
const MEAN_BAR: f64 = 1.0;
/// no single one more than that,
const WORST_BAR: f64 = 1.15;
/// and building at most this.
const BUILD_BAR: f64 = 1.2;
/// Of a statement to the sum of its parts.
const SQL_BAR: f64 = 1.1;

/// A kernel on a graph.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    graph: &'static str,
    scale: u32,
    kernel: Kernel,
    trials: u32,
    /// Means of our trials, in seconds, one a run.
    ours: Vec<f64>,
    /// The same of GAP's program.
    gapbs: Vec<f64>,
    /// The mean of a few trials of networkit.
    networkit: Option<f64>,
    /// What is other in its answers.
    networkit_differs: Option<String>,
    ratio: Option<f64>,
    wrong: Option<String>,
}

/// A graph that was built.
#[derive(Clone, Debug, Serialize)]
struct GraphRow {
    graph: &'static str,
    scale: u32,
    vertices: usize,
    /// Each both ways.
    edges: usize,
    generate_seconds: f64,
    build_seconds: f64,
    weighted_build_seconds: f64,
    /// GAP's program, on edges of its own generator.
    gapbs_build_seconds: Option<f64>,
    bytes_per_edge: f64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    threads: usize,
    degree: u64,
    seed: u64,
    graphs: Vec<GraphRow>,
    kernels: Vec<Row>,
    geometric_mean: Option<f64>,
    worst: Option<f64>,
    end_to_end: Vec<EndToEnd>,
    sent: Vec<Sent>,
}

impl Row {
    pub(super) fn new(graph: &'static str, scale: u32, kernel: Kernel, trials: u32) -> Self {
        Self {
            graph,
            scale,
            kernel,
            trials,
            ours: Vec::new(),
            gapbs: Vec::new(),
            networkit: None,
            networkit_differs: None,
            ratio: None,
            wrong: None,
        }
    }

    pub(super) fn ours(&mut self, trials: Vec<f64>) {
        self.ours.push(trials.iter().sum::<f64>() / trials.len() as f64);
    }

    pub(super) fn theirs(&mut self, mean: f64) {
        self.gapbs.push(mean);
    }

    pub(super) fn verify(&mut self, found: Result<(), String>) {
        self.wrong = found.err();
    }

    pub(super) fn networkit(&mut self, found: Result<f64, String>) {
        match found {
            Ok(mean) => self.networkit = Some(mean),
            Err(differs) => self.networkit_differs = Some(differs),
        }
    }
}

impl Record {
    pub(super) fn new(arguments: &Gap) -> Self {
        Self {
            benchmark: "gap",
            circumstances: Circumstances::now(arguments.runs),
            threads: arguments.threads(),
            degree: arguments.degree,
            seed: arguments.seed,
            graphs: Vec::new(),
            kernels: Vec::new(),
            geometric_mean: None,
            worst: None,
            end_to_end: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn graph(&mut self, graph: &'static str, scale: u32, built: &Built, gapbs: Option<f64>) -> Result<()> {
        let row = GraphRow {
            graph,
            scale,
            vertices: built.graph.vertices(),
            edges: built.graph.edges(),
            generate_seconds: built.generate_seconds,
            build_seconds: built.seconds[0],
            weighted_build_seconds: built.seconds[1],
            gapbs_build_seconds: gapbs,
            bytes_per_edge: built.bytes_per_edge(),
        };
        let theirs = gapbs.map(|theirs| format!(", GAP {theirs:.2} s{}", bar(row.build_seconds / theirs, BUILD_BAR)));
        writeln!(
            std::io::stdout(),
            "{graph} 2^{scale}: {} edges both ways, {:.1} bytes each; build {:.2} s{}",
            row.edges,
            row.bytes_per_edge,
            row.build_seconds,
            theirs.unwrap_or_default()
        )?;
        self.graphs.push(row);
        Ok(())
    }

    pub(super) fn add(&mut self, mut row: Row) -> Result<()> {
        let (ours, theirs) = (best(&row.ours), best(&row.gapbs));
        row.ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs).filter(|_| row.wrong.is_none());
        let gapbs = theirs.map(|theirs| format!("   GAP {:>10.3} ms", theirs * 1e3)).unwrap_or_default();
        let ratio = row.ratio.map(|ratio| bar(ratio, WORST_BAR)).unwrap_or_default();
        let ours = match &row.wrong {
            Some(wrong) => format!("WRONG: {wrong}"),
            None => format!("{:>10.3} ms", ours.unwrap_or_default() * 1e3),
        };
        let networkit = match (&row.networkit, &row.networkit_differs) {
            (_, Some(differs)) => format!("   ({differs})"),
            (Some(mean), None) => format!("   networkit {:.1} ms", mean * 1e3),
            (None, None) => String::new(),
        };
        writeln!(std::io::stdout(), "  {:<5} us {ours}{gapbs}{ratio}{networkit}", row.kernel.name())?;
        self.kernels.push(row);
        Ok(())
    }

    pub(super) fn end_to_end(&mut self, measured: EndToEnd) -> Result<()> {
        let EndToEnd { scale, sql, decode, build, kernel, .. } = measured;
        writeln!(
            std::io::stdout(),
            "pagerank in SQL, kron 2^{scale}: {sql:.2} s; decode {decode:.2} + build {build:.2} + kernel {kernel:.2}{}",
            bar(measured.ratio(), SQL_BAR)
        )?;
        self.end_to_end.push(measured);
        Ok(())
    }

    pub(super) fn sent(&mut self, rows: Vec<Sent>) -> Result<()> {
        for Sent { graph, scale, ranks, algorithm, bytes_1d, bytes_2d, bytes_auto } in &rows {
            let what = if *algorithm == "pagerank" { "an iteration" } else { "a search" };
            writeln!(
                std::io::stdout(),
                "{algorithm:<8} {graph} 2^{scale} on {ranks} ranks: {what} sends {bytes_1d} bytes in 1-D, {bytes_2d} in 2-D, {bytes_auto} as chosen"
            )?;
        }
        self.sent.extend(rows);
        Ok(())
    }

    pub(super) fn summary(&mut self) -> Result<()> {
        let ratios = self.kernels.iter().filter_map(|row| row.ratio).collect::<Vec<_>>();
        self.geometric_mean = geometric_mean(&ratios);
        self.worst = ratios.iter().copied().max_by(f64::total_cmp);
        if let (Some(mean), Some(worst)) = (self.geometric_mean, self.worst) {
            let (mean, worst) = (bar(mean, MEAN_BAR), bar(worst, WORST_BAR));
            writeln!(std::io::stdout(), "to GAP's time: geometric mean{mean}; worst{worst}")?;
        }
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }

    pub(super) fn is_good(&self) -> bool {
        self.kernels.iter().all(|row| row.wrong.is_none())
    }
}

/// A ratio of times, and whether it is small enough.
fn bar(ratio: f64, bar: f64) -> String {
    format!("   ratio {ratio:.2}, bar {bar}: {}", if ratio <= bar { "met" } else { "not met" })
}
