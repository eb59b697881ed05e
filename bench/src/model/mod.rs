//! What the planner expects a query to take, against what it takes.
//!
//! ```text
//!   machine     as sessions know it: `bireme machine --measure` before it says how fast it is; links as every job measures them
//!   expected    DataFrame::prediction: estimated rows × prices, stage by stage
//!   taken       DataFrame::run without planning, the best of a few rounds
//!   error       |expected − taken| / taken; what is reported is its median
//! ```
//!
//! Cases are the queries of TPC-H and shuffles of `lineitem` by its order key: the key alone, eight numbers, and texts.

mod report;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bireme::Cluster;
use bireme::prelude::{Error, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

pub(crate) use self::worker::run as work;
use crate::mpirun;

/// What `bireme-bench model` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Model {
    /// Numbers of ranks; more than one run under mpirun
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Vec<u32>,
    #[command(flatten)]
    size: Size,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What one rank of a job is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelWorker {
    #[command(flatten)]
    size: Size,
    #[arg(long)]
    threads: usize,
}

/// What each rank has to know.
#[derive(Clone, Debug, Args)]
pub(crate) struct Size {
    /// The folder with one Parquet file a table of TPC-H
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Only these queries, such as q1,q6, or `keys`, `numbers`, `texts` [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cases: Vec<String>,
    /// Cores of all ranks together [default: those this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// Timed rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

impl Size {
    fn cores(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.cores.map_or_else(all, |cores| cores as usize)
    }

    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }

    /// The same as words of a command line.
    fn arguments(&self) -> Vec<String> {
        let mut words = vec!["--data".to_owned(), self.data.display().to_string()];
        words.extend(["--runs".into(), self.runs.to_string()]);
        if !self.cases.is_empty() {
            words.extend(["--cases".into(), self.cases.join(",")]);
        }
        words
    }
}

/// A job, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The machine as its planner sees it.
    machine: Cluster,
    cases: Vec<Measured>,
}

/// A case, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    case: String,
    expected_ms: f64,
    taken_ms: f64,
    /// Of what is expected: messages on their way, in milliseconds.
    transfer_ms: f64,
    /// How much of each kind of work the busiest ranks are expected to do.
    work: BTreeMap<String, f64>,
}

impl Measured {
    fn error(&self) -> f64 {
        (self.expected_ms - self.taken_ms).abs() / self.taken_ms
    }
}

/// Measures, prints, and keeps a record.
///
/// # Errors
/// There is no mpirun, or a job fails.
pub(crate) fn run(arguments: &Model) -> Result<bool> {
    let mut jobs = Vec::new();
    for &ranks in &arguments.ranks {
        let cores = arguments.size.cores() / ranks as usize;
        let mut words = vec!["model-worker".to_owned(), "--threads".into(), cores.max(1).to_string()];
        words.extend(arguments.size.arguments());
        let own_cores = (cores > 0).then_some(cores);
        let lines = if ranks == 1 { mpirun::alone(&words)? } else { mpirun::lines(ranks, own_cores, &words)? };
        let job = lines.last().map_or("", String::as_str);
        let job = serde_json::from_str(job);
        jobs.push(job.map_err(|error| Error::internal(format!("a rank reported `{lines:?}`: {error}")))?);
    }
    let record = report::Record::new(arguments.size.runs, jobs);
    record.print()?;
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(true)
}
