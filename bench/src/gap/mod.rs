//! Graph kernels by the rules of the GAP Benchmark Suite, beside its own reference implementation where a folder with that is
//! given.
//!
//! ```text
//!   generate (seeded) ─► edges ─► build ─► a .sg and a .wsg file ─► gapbs/bfs -f … -n 64      its own clock
//!                                   └────► our kernel, 64 times, one source after the other   our clock, on the same graph
//! ```
//!
//! | kernel | trials | what a trial is | parameters |
//! |---|---|---|---|
//! | bfs, sssp | 64 | one source | delta 2 |
//! | pr | 16 | to a change of 1e-4, 20 iterations at most | damping 0.85, single precision |
//! | cc | 16 | all components | |
//! | bc | 16 | 4 sources | |
//! | tc | 3 | all triangles, relabelling included | |
//!
//! A trial is a kernel from a built graph to its result; the mean of all trials counts, as GAP reports it. Sources are drawn
//! among vertices that have edges, by each program for itself. Answers are verified outside of the clock. A bar is what we aim
//! at; the exit code does not depend on it. networkit can be asked as well. S. Beamer, K. Asanović, D. Patterson: The GAP Benchmark Suite, arXiv:1508.03619.

mod cuts;
mod end_to_end;
mod gapbs;
mod graph;
mod kernel;
mod networkit;
mod report;

use std::path::PathBuf;

use bireme::graph::kernels::generate::Kind;
use bireme::prelude::{Error, Result};
use clap::{Args, ValueEnum};

use self::gapbs::Gapbs;
use self::graph::Built;
use self::kernel::Kernel;
use self::networkit::Networkit;
use self::report::{Record, Row};

/// What `bireme-bench gap` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Gap {
    /// The graphs have 2^S vertices
    #[arg(long, value_name = "S", default_values_t = [18], value_delimiter = ',')]
    scale: Vec<u32>,
    /// Edges for each vertex
    #[arg(long, value_name = "N", default_value_t = 16)]
    degree: u64,
    /// Which graphs
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "kron,uniform")]
    graphs: Vec<GraphKind>,
    /// Which kernels
    #[arg(long, value_name = "KERNELS", value_delimiter = ',', default_value = "bfs,sssp,pr,cc,bc,tc")]
    kernels: Vec<Kernel>,
    /// A folder with GAP's programs, built: bfs, sssp, pr, cc, bc, tc
    #[arg(long, value_name = "DIR")]
    gapbs: Option<PathBuf>,
    /// A Python environment that has networkit, for a few trials of that as well
    #[arg(long, value_name = "DIR")]
    networkit: Option<PathBuf>,
    /// At most so many trials of a kernel
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Rounds in which both programs take turns; the better mean of each counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Of the generator
    #[arg(long, value_name = "N", default_value_t = 27)]
    seed: u64,
    /// PageRank through SQL on a Parquet file as well, beside its parts
    #[arg(long)]
    end_to_end: bool,
    /// What so many ranks, threads of this process, send each other with edges cut in one dimension and in two
    #[arg(long, value_name = "RANKS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..))]
    cuts: Vec<u32>,
    /// Small graphs and few trials: seconds
    #[arg(long)]
    quick: bool,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A kind of graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GraphKind {
    Kron,
    Uniform,
    Grid,
}

impl GraphKind {
    fn kind(self) -> Kind {
        match self {
            GraphKind::Kron => Kind::Kron,
            GraphKind::Uniform => Kind::Uniform,
            GraphKind::Grid => Kind::Grid,
        }
    }

    fn name(self) -> &'static str {
        match self {
            GraphKind::Kron => "kron",
            GraphKind::Uniform => "uniform",
            GraphKind::Grid => "grid",
        }
    }
}

impl Gap {
    fn scales(&self) -> Vec<u32> {
        if self.quick { vec![12] } else { self.scale.clone() }
    }

    fn trials(&self, kernel: Kernel) -> u32 {
        kernel.trials().min(if self.quick { 2 } else { self.trials })
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |threads| threads as usize)
    }
}

/// Measures, prints, and keeps a record. The result says whether all answers were right.
///
/// # Errors
/// A graph does not fit into memory, a file cannot be written, or a program of GAP's fails.
pub(crate) fn run(arguments: &Gap) -> Result<bool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads()).build();
    let pool = pool.map_err(|error| Error::resources(format!("starting threads: {error}")))?;
    let folder = tempfile::tempdir()?;
    let mut record = Record::new(arguments);
    for scale in arguments.scales() {
        for &kind in &arguments.graphs {
            let built = pool.install(|| Built::new(kind.kind(), scale, arguments.degree, arguments.seed))?;
            let gapbs = match &arguments.gapbs {
                Some(programs) => Some(Gapbs::new(programs, folder.path(), &built, arguments.threads())?),
                None => None,
            };
            let theirs = gapbs.as_ref().map(|gapbs| gapbs.build_seconds(kind, scale, arguments.degree)).transpose()?;
            record.graph(kind.name(), scale, &built, theirs.flatten())?;
            let mut networkit = match &arguments.networkit {
                Some(venv) => Some(Networkit::start(venv, folder.path(), &built, arguments.threads())?),
                None => None,
            };
            for &kernel in &arguments.kernels {
                let trials = arguments.trials(kernel);
                let mut row = Row::new(kind.name(), scale, kernel, trials);
                for _ in 0..arguments.runs {
                    row.ours(pool.install(|| kernel.run(&built, trials)));
                    if let Some(gapbs) = &gapbs {
                        row.theirs(gapbs.run(kernel, trials)?);
                    }
                }
                row.verify(pool.install(|| kernel.verify(&built)));
                if let Some(networkit) = &mut networkit {
                    row.networkit(pool.install(|| networkit.run(kernel, &built, trials))?);
                }
                record.add(row)?;
            }
        }
    }
    if arguments.end_to_end || arguments.quick {
        for scale in arguments.scales() {
            record.end_to_end(end_to_end::measure(scale, arguments, &pool, folder.path())?)?;
        }
    }
    for scale in arguments.scales() {
        for &kind in &arguments.graphs {
            for &ranks in &arguments.cuts {
                record.sent(cuts::measure(kind, scale, ranks, arguments)?)?;
            }
        }
    }
    record.summary()?;
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(record.is_good())
}
