//! Products of dense arrays: how fast they are beside NumPy, beside what the machine allows, and on several ranks.
//!
//! ```text
//!   gemm     ik,kj->ij             f32 and f64, square, tall and wide       NumPy's time / ours                 bar 0.95
//!   tensor   ijk,k->ij      TTV    f64                                      limit / ours                        bar 0.8
//!            ijk,kl->ijl    TTM       limit = max(bytes of tensors / how fast memory is read,                       0.8
//!            ijk,ijk->      inner                 operations / the rate of a large GEMM)                            0.8
//!            ijk,jr,kr->ir  MTTKRP                                                                                  0.7
//!   summa    ik,kj->ij             one process / two ranks by SUMMA, with as many threads in all                    0.9
//!                                  and bytes between ranks beside the formula of each algorithm
//! ```
//!
//! A bar is what we aim at; the report says whether it is met, and the exit code does not depend on it.
//!
//! Ourselves and NumPy are children that are asked in turn (see [`crate::engine`]); both make the same numbers ([`case`]). The clock
//! runs inside the child, from operands in memory to the result in memory; for us that is an action, so each of our times has the
//! cost of one in it, which the product of 1 x 1 and 1 x 1 shows. (The kernels of the smallest products alone, without actions, are in
//! operators/examples/contract_speed.rs.) A turn is several runs, of which the best counts; every round gives each a turn. What the machine
//! allows is measured in the same run: how fast memory is read in the rounds of each tensor ([`crate::seed`]), and the rate of GEMM
//! before the tensors, ours or NumPy's, whichever is the higher.
//!
//! A time counts only if the answers agree ([`answer`]).

mod answer;
mod case;
mod local;
mod rank;
mod ranks;
mod report;
mod way;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use bireme::prelude::{Error, Result};
use clap::{Args, ValueEnum};

use self::case::Case;
use self::local::Field;
use self::rank::ProductsRank;
pub(crate) use self::rank::run as work_on_rank;
use self::worker::ProductsWorker;
pub(crate) use self::worker::run as work;

/// Threads of whoever ran before may spin for a while before they sleep.
const PAUSE: Duration = Duration::from_millis(100);

/// What `bireme-bench products` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Products {
    /// Only these parts
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "gemm,tensor,summa")]
    only: Vec<Part>,
    /// Rows and columns of the matrices that ranks multiply
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(8..))]
    n: u32,
    /// Rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads of each engine, and of two ranks together [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// The Python environment of NumPy
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// Seconds after which an engine is out of a case
    #[arg(long, value_name = "N", default_value_t = 300)]
    timeout: u64,
    /// Small products in two rounds at most: under half a minute, and in the caches
    #[arg(long)]
    quick: bool,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Gemm,
    Tensor,
    Summa,
}

/// Ourselves as a child, or as a rank.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Ours {
    /// Questions on standard input
    Child(ProductsWorker),
    /// One product, several times
    Rank(ProductsRank),
}

impl Products {
    fn has(&self, part: Part) -> bool {
        self.only.contains(&part)
    }

    fn runs(&self) -> u32 {
        if self.quick { self.runs.min(2) } else { self.runs }
    }

    fn n(&self) -> usize {
        if self.quick { 200 } else { self.n as usize }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |threads| threads as usize)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn python(&self) -> Result<PathBuf> {
        let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/bireme/peers-venv"));
        let venv = self.venv.clone().or_else(default);
        let venv = venv.ok_or_else(|| Error::user("HOME is not set; say with --venv where NumPy is"))?;
        Ok(venv.join("bin/python"))
    }

    /// The products of matrices that are measured. Tensors need the one that says how fast GEMM is.
    fn gemms(&self) -> Vec<Case> {
        let mut cases = case::gemms(self.quick);
        if !self.has(Part::Gemm) {
            cases.retain(|case| case.is_yardstick && self.has(Part::Tensor));
        }
        cases
    }
}

/// Measures, prints, and keeps a record. The result says whether all that answered agree, and whether we answered.
///
/// # Errors
/// A file cannot be written; there is no home directory for the default of `--venv`.
pub(crate) fn run(arguments: &Products) -> Result<bool> {
    let mut record = report::Record::new(arguments);
    if arguments.has(Part::Gemm) || arguments.has(Part::Tensor) {
        let mut field = Field::start(arguments)?;
        report::gemm_heading(arguments)?;
        for case in arguments.gemms() {
            record.add_gemm(field.measure(&case, arguments.runs(), None))?;
        }
        let tensors = if arguments.has(Part::Tensor) { case::tensors(arguments.quick) } else { Vec::new() };
        if !tensors.is_empty() {
            report::tensor_heading(record.gemm_rate())?;
        }
        for case in tensors {
            let rate = record.gemm_rate();
            record.add_tensor(field.measure(&case, arguments.runs(), rate))?;
        }
    }
    if arguments.has(Part::Summa) {
        record.add_jobs(ranks::measure(arguments))?;
    }
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(record.is_good())
}
