//! The program `bireme-bench`: Bireme and its peers on the same queries, the same files and the same machine, in turn.
//!
//! Every engine runs in a child process of its own, so that memory is counted per engine and none disturbs another's
//! allocator or threads. The parent asks them one after the other; a clock runs only inside the child that is asked:
//!
//! ```text
//!               ┌─ "q6", SQL ──►  us (this program, `tpch-worker`) ──► 412 ms, rows
//!   contest ────┼─ "q6", SQL ──►  duckdb     (python, peers/tpch_peer.py) ──► …
//!   (args,      ├─ "q6", SQL ──►  polars     (the same script) ──► …
//!    report)    └─ "q6", SQL ──►  datafusion (the same script) ──► …
//! ```
//!
//! A time counts only if all answers agree ([`answers`]).

mod answers;
mod args;
mod chart;
mod contest;
mod engine;
mod gap;
mod gpu;
mod machine;
mod model;
mod mpirun;
mod overhead;
mod peers;
mod products;
mod protocol;
mod queries;
mod record;
mod report;
mod seed;
mod shuffle;
mod sql_tensor;
mod statistics;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use bireme::prelude::{Error, ErrorKind};
use clap::Parser as _;

use crate::args::{Cli, Command};

/// Pipelines allocate and free blocks of a hundred KiB for every chunk. glibc's allocator hands such blocks back to the system,
/// which clears them again at the next use: a fifth of the time of TPC-H.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return usage(&refusal),
    };
    let done = match cli.command {
        Command::Tpch(arguments) => contest::run(&arguments),
        Command::TpchWorker(arguments) => worker::run(&arguments).map(|()| true),
        Command::Model(arguments) => model::run(&arguments),
        Command::ModelWorker(arguments) => model::work(&arguments).map(|()| true),
        Command::Overhead(arguments) => overhead::run(&arguments),
        #[cfg(feature = "mpi")]
        Command::OverheadWorker(size) => overhead::work(&size).map(|()| true),
        Command::SqlTensor(arguments) => sql_tensor::run(&arguments),
        Command::SqlTensorWorker(arguments) => sql_tensor::work(&arguments).map(|()| true),
        Command::Seed(arguments) => seed::run(&arguments),
        Command::SeedWorker(arguments) => seed::work(&arguments).map(|()| true),
        Command::Gap(arguments) => gap::run(&arguments),
        Command::Gpu(arguments) => gpu::run(&arguments),
        Command::Products(arguments) => products::run(&arguments),
        Command::ProductsWorker(products::Ours::Child(arguments)) => products::work(&arguments).map(|()| true),
        Command::ProductsWorker(products::Ours::Rank(arguments)) => products::work_on_rank(&arguments).map(|()| true),
        Command::Shuffle(arguments) => shuffle::run(&arguments),
        #[cfg(feature = "mpi")]
        Command::ShuffleWorker(arguments) => shuffle::work(&arguments).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failure(&error),
    }
}

/// Help that was asked for, or a mistake on the command line.
fn usage(refusal: &clap::Error) -> ExitCode {
    let _ = refusal.print();
    if refusal.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn failure(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::from(if error.kind() == ErrorKind::User { 1 } else { 2 })
}
