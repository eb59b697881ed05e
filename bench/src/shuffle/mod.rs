//! Exchanges against what MPI does with the same bytes.
//!
//! ```text
//!                      on each rank, in turn, all in one run under mpirun
//!   alltoallv          MPI_Alltoallv of as many bytes as the rows have: one call, nothing else
//!   partition          hash the keys, gather the rows of each rank: no messages
//!   transfer           rows that are partitioned already, batch by batch through an exchange
//!   end to end         rows through an exchange by the hash of their keys
//!   datafusion         RepartitionExec between as many lanes of one process
//! ```
//!
//! An exchange moves partitioned rows at best as fast as `alltoallv`, and partitions and moves rows one after the other at
//! `1 / (1/alltoallv + 1/partition)`. Rates are bytes of a rank's rows over the time that the slowest rank took, as the best
//! of a few rounds in which each takes its turn.

mod data;
#[cfg(feature = "mpi")]
mod plain;
mod report;
#[cfg(feature = "mpi")]
mod staged;
#[cfg(feature = "mpi")]
mod worker;

use std::path::PathBuf;

use bireme::prelude::{Error, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use self::data::Rows;
#[cfg(feature = "mpi")]
pub(crate) use self::worker::run as work;
use crate::args::parse_bytes;
use crate::mpirun;

/// What `bireme-bench shuffle` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shuffle {
    /// Ranks under mpirun
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    ranks: u32,
    /// Bytes of rows on all ranks together
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "100MiB,1GiB,4GiB", value_parser = parse_bytes)]
    bytes: Vec<u64>,
    /// Only these rows
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "keys,wide,texts")]
    rows: Vec<Rows>,
    /// Only 100 MiB and two rounds: under a minute
    #[arg(long)]
    quick: bool,
    /// Timed rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What one rank of the job is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShuffleWorker {
    #[arg(long, value_delimiter = ',')]
    pub(crate) bytes: Vec<u64>,
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<Rows>,
    #[arg(long)]
    pub(crate) runs: u32,
}

/// A case, measured. Rates are in bytes per second and rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    rows: Rows,
    /// Nine of ten rows go to rank 0.
    skewed: bool,
    /// Each rank's budget, if it has one.
    memory_limit: Option<u64>,
    /// Of all ranks.
    bytes: u64,
    alltoallv: f64,
    partition: f64,
    transfer: f64,
    end_to_end: f64,
    datafusion: f64,
}

impl Measured {
    /// The best that partitioning and moving one after the other can reach.
    fn bound(&self) -> f64 {
        1.0 / (1.0 / self.alltoallv + 1.0 / self.partition)
    }
}

/// Measures, prints, and keeps a record.
///
/// # Errors
/// There is no mpirun, or the job under it fails.
pub(crate) fn run(arguments: &Shuffle) -> Result<bool> {
    let (bytes, runs) = if arguments.quick { (vec![100 << 20], 2) } else { (arguments.bytes.clone(), arguments.runs) };
    let measured = under_mpirun(arguments, &bytes, runs)?;
    let record = report::Record::new(arguments.ranks, runs, measured);
    record.print()?;
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(true)
}

fn under_mpirun(arguments: &Shuffle, bytes: &[u64], runs: u32) -> Result<Vec<Measured>> {
    let bytes = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = arguments.rows.iter().map(|rows| rows.argument()).collect::<Vec<_>>().join(",");
    let words = ["shuffle-worker", "--bytes", &bytes, "--rows", &rows, "--runs", &runs.to_string()];
    let lines = mpirun::lines(arguments.ranks, None, &words.map(str::to_owned))?;
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|error| Error::internal(format!("a rank reported `{line}`: {error}")))
    };
    lines.iter().map(|line| read(line)).collect()
}
