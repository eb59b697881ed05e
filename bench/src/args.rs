//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bireme::prelude::{Error, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::gap::Gap;
use crate::gpu::Gpu;
use crate::model::Model;
use crate::overhead::Overhead;
use crate::products::Products;
use crate::queries::{self, Query};
use crate::seed::Seed;
use crate::shuffle::Shuffle;
use crate::sql_tensor::SqlTensor;

const EXAMPLES: &str = "\
Examples:
  bireme generate tpch --scale 1 --out tpch                      # the data
  bireme-bench tpch --data tpch --scale 1 --install-peers        # the whole contest
  bireme-bench tpch --data tpch --scale 1 --only-us --queries q6,q1
  bireme-bench tpch --data tpch --scale 1 --peers duckdb --runs 5 --json record.json

Exit codes: 0 good, 1 answers that disagree, a query that we fail, or a mistake in what was asked, 2 everything else.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "bireme-bench", version, about = "Bireme and its peers, measured in turn", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which benchmark.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The 22 queries of TPC-H over Parquet files
    #[command(after_help = EXAMPLES)]
    Tpch(Tpch),
    /// Ourselves as a child of `tpch`: requests on standard input, replies on standard output
    #[command(hide = true)]
    TpchWorker(Worker),
    /// What the planner expects queries to take against what they take, on several numbers of ranks
    Model(Model),
    /// Ourselves as a rank of `model`
    #[command(hide = true)]
    ModelWorker(crate::model::ModelWorker),
    /// The shortest tasks that make sense (METG of Task Bench), on one rank and under mpirun
    Overhead(Overhead),
    /// Ourselves as a rank of `overhead`
    #[cfg(feature = "mpi")]
    #[command(hide = true)]
    OverheadWorker(crate::overhead::Size),
    /// A product of matrices in SQL, against engines that join and aggregate, and against NumPy
    SqlTensor(SqlTensor),
    /// Ourselves as a child of `sql-tensor`
    #[command(hide = true)]
    SqlTensorWorker(crate::sql_tensor::SqlTensorWorker),
    /// The four NumPy programs of the beginning, against NumPy, Dask, numba, Rust by hand, and how fast memory is read
    Seed(Seed),
    /// Ourselves as a child or a rank of `seed`
    #[command(hide = true)]
    SeedWorker(crate::seed::SeedWorker),
    /// Graph kernels by the rules of the GAP Benchmark Suite, against its own programs
    Gap(Gap),
    /// Kernels against the CPU on a machine with a GPU, and their times: one command, which needs nothing but itself
    Gpu(Gpu),
    /// Products of matrices and tensors, against NumPy, against what the machine allows, and between ranks
    Products(Products),
    /// Ourselves as a child or a rank of `products`
    #[command(hide = true, subcommand)]
    ProductsWorker(crate::products::Ours),
    /// Exchanges between ranks under mpirun, against MPI_Alltoallv of the same bytes
    Shuffle(Shuffle),
    /// Ourselves as a rank of `shuffle`
    #[cfg(feature = "mpi")]
    #[command(hide = true)]
    ShuffleWorker(crate::shuffle::ShuffleWorker),
}

/// A contest.
#[derive(Debug, Args)]
pub(crate) struct Tpch {
    /// The folder with one Parquet file a table
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The scale of the data; it is checked against the files
    #[arg(long, value_name = "F")]
    pub(crate) scale: f64,
    /// Against whom
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "duckdb,polars,datafusion")]
    pub(crate) peers: Vec<Peer>,
    /// Against nobody: quick, and no answer is checked
    #[arg(long, conflicts_with_all = ["peers", "install_peers"])]
    pub(crate) only_us: bool,
    /// Timed rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Only these queries, such as q1,q6 [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    queries: Vec<String>,
    /// Threads of each engine [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Memory each engine may take before it spills, such as 512MiB; Polars knows no limit [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory_limit: Option<u64>,
    /// The Python environment of the peers [default: ~/.cache/bireme/peers-venv]
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// Makes the Python environment and installs the peers, in their newest versions, with pip
    #[arg(long)]
    pub(crate) install_peers: bool,
    /// Gives an engine up that does not answer for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keeps every engine's answers as DIR/ENGINE/QUERY.json
    #[arg(long, value_name = "DIR")]
    pub(crate) out_answers: Option<PathBuf>,
}

/// The child that is us.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[arg(long)]
    pub(crate) data: PathBuf,
    #[arg(long)]
    pub(crate) threads: usize,
    #[arg(long)]
    pub(crate) memory_limit: Option<u64>,
}

/// An engine we compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub(crate) enum Peer {
    DuckDb,
    Polars,
    DataFusion,
}

impl Peer {
    /// Its name: in the report, in the script, and as a Python package.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::DuckDb => "duckdb",
            Peer::Polars => "polars",
            Peer::DataFusion => "datafusion",
        }
    }
}

impl Tpch {
    /// The queries that were asked for, in the benchmark's order.
    ///
    /// # Errors
    /// There is no such query.
    pub(crate) fn queries(&self) -> Result<Vec<&'static Query>> {
        let unknown = self.queries.iter().find(|name| !queries::ALL.iter().any(|query| query.name == **name));
        if let Some(name) = unknown {
            return Err(Error::user(format!("there is no query `{name}`; they are called q1 to q22")));
        }
        let asked = |query: &&Query| self.queries.is_empty() || self.queries.iter().any(|name| *name == query.name);
        Ok(queries::ALL.iter().filter(asked).collect())
    }

    /// The peers that take part, each once.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers = Vec::new();
        for &peer in self.peers.iter().filter(|_| !self.only_us) {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        peers
    }

    /// Threads of each engine.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |threads| threads as usize)
    }

    /// How long an engine may stay silent.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The Python environment of the peers.
    ///
    /// # Errors
    /// None was named, and there is no home directory for the default.
    pub(crate) fn venv(&self) -> Result<PathBuf> {
        if let Some(venv) = &self.venv {
            return Ok(venv.clone());
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.ok_or_else(|| Error::user("HOME is not set; say with --venv where the peers are"))?;
        Ok(PathBuf::from(home).join(".cache/bireme/peers-venv"))
    }
}

/// Reads `512MiB`, `2GB`, `1.5 GiB` or plain bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 7] =
        [("kib", 1024.0), ("mib", 1048576.0), ("gib", 1073741824.0), ("kb", 1e3), ("mb", 1e6), ("gb", 1e9), ("b", 1.0)];
    let lower = text.trim().to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((lower.strip_suffix(name)?.trim_end(), *bytes)));
    let (number, unit) = unit.unwrap_or((&lower, 1.0));
    let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(number) if digits && number * unit >= 1.0 => Ok((number * unit) as u64),
        _ => Err(format!("`{text}` is not an amount of memory; write for example 512MiB, 1.5GiB or 2GB")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn parse(arguments: &[&str]) -> Tpch {
        let words = ["bireme-bench", "tpch", "--data", "d", "--scale", "1"];
        match Cli::try_parse_from(words.iter().chain(arguments)).unwrap().command {
            Command::Tpch(tpch) => tpch,
            other => unreachable!("tpch was typed, not {other:?}"),
        }
    }

    #[test]
    fn queries_come_in_their_order_and_once() {
        let names = |arguments: &[&str]| parse(arguments).queries().unwrap().iter().map(|q| q.name).collect::<Vec<_>>();
        assert_eq!(names(&["--queries", "q6,q1,q6"]), ["q1", "q6"]);
        assert_eq!(names(&[]).len(), 22);
        assert!(parse(&["--queries", "q23"]).queries().unwrap_err().message().contains("q23"));
    }

    #[test]
    fn peers_as_typed() {
        assert_eq!(parse(&[]).peers(), [Peer::DuckDb, Peer::Polars, Peer::DataFusion]);
        assert_eq!(parse(&["--peers", "polars,duckdb,polars"]).peers(), [Peer::Polars, Peer::DuckDb]);
        assert_eq!(parse(&["--only-us"]).peers(), []);
    }

    #[test]
    fn amounts_of_memory() {
        for (text, bytes) in [("512MiB", 512 << 20), ("1.5 GiB", 3 << 29), ("2gb", 2_000_000_000), ("7", 7), ("7B", 7)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "0", "-1GiB", "one", "1e3", "inf", "nan", "1..5GB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
