//! A product of matrices, written in SQL over tables of coordinates, against engines that run it as a join and an aggregation, and
//! against NumPy, which multiplies the same numbers as matrices.
//!
//! ```text
//!   SELECT a.i, b.j, SUM(a.v * b.v) AS v FROM a JOIN b ON a.k = b.k GROUP BY a.i, b.j
//! ```
//!
//! Tables are in memory, their rows shuffled; index columns are read and written by all but NumPy. Each engine is a child of its
//! own that is asked in turn (see [`crate::engine`]); an engine that needs longer than the time-out is out of that case. A time
//! counts only if numbers of rows and sums agree.
//!
//! With `--crossover`, the same over matrices from sparse to dense ([`crossover`]).

mod crossover;
mod data;
mod report;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bireme::prelude::{Error, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use self::data::Case;
pub(crate) use self::worker::run as work;
use crate::answers::{Answer, Cell};
use crate::engine::Engine;
use crate::worker::US;

const SQL: &str = "SELECT a.i, b.j, SUM(a.v * b.v) AS v FROM a JOIN b ON a.k = b.k GROUP BY a.i, b.j";

const SCRIPT: &str = include_str!("../../peers/sql_tensor_peer.py");

/// Asks our own child which kernel it chooses.
const KERNEL: &str = "kernel";

const PEERS: [&str; 4] = ["numpy", "duckdb", "polars", "datafusion"];

/// What `bireme-bench sql-tensor` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct SqlTensor {
    /// Only these cases, such as dense-1000 [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cases: Vec<String>,
    /// Timed rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads of each engine [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// The Python environment of the peers: duckdb, polars, datafusion, pyarrow and numpy
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// Seconds after which a peer is out of a case
    #[arg(long, value_name = "N", default_value_t = 60)]
    timeout: u64,
    /// A case of 200 rows and columns alone: under a minute
    #[arg(long)]
    quick: bool,
    /// Instead of the cases: matrices with 0.1 % to 100 % of their entries, as a product, as a join, and by DuckDB
    #[arg(long, conflicts_with = "cases")]
    crossover: bool,
    /// Rows and columns of the matrices of `--crossover`
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    size: u32,
    /// Draws what `--crossover` measured
    #[arg(long, value_name = "FILE", requires = "crossover")]
    svg: Option<PathBuf>,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What our own child is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct SqlTensorWorker {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    threads: usize,
    /// Joins are joins
    #[arg(long)]
    no_contractions: bool,
}

impl SqlTensor {
    fn size(&self) -> u64 {
        if self.quick { 200 } else { u64::from(self.size) }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |threads| threads as usize)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// A case, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    case: String,
    rows_of_a: usize,
    rows_of_b: usize,
    rows_of_result: Option<usize>,
    engines: Vec<EngineTimes>,
}

/// What became of an engine in a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EngineTimes {
    engine: String,
    version: Option<String>,
    /// Of each round.
    ms: Vec<f64>,
    /// Why there are none.
    failure: Option<String>,
    /// Rows and the sum of values, of the first run.
    answer: Option<(i64, f64)>,
}

impl EngineTimes {
    fn new(engine: &str) -> Self {
        Self { engine: engine.to_owned(), version: None, ms: Vec::new(), failure: None, answer: None }
    }

    fn best(&self) -> Option<f64> {
        crate::statistics::best(&self.ms)
    }
}

/// Measures, prints, and keeps a record. The result says whether answers agree.
///
/// # Errors
/// We do not start; a file cannot be written.
pub(crate) fn run(arguments: &SqlTensor) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    if arguments.crossover {
        let densities = crossover::run(arguments, folder.path())?;
        let good = densities.iter().all(|density| report::agrees(&density.measured));
        return report::Record::new(arguments.runs, Vec::new(), densities).keep(arguments, good);
    }
    let cases = if arguments.quick { vec![Case::QUICK] } else { Case::ALL.to_vec() };
    let mut measured = Vec::new();
    for case in cases {
        if arguments.cases.is_empty() || arguments.cases.iter().any(|name| name == case.name) {
            let data = folder.path().join(case.name);
            let rows = case.write(&data)?;
            let mut engines = vec![ours(US, &data, arguments, true)?];
            for name in PEERS {
                engines.push(peer(name, &data, arguments)?);
            }
            measured.push(measure(&case, &mut engines, rows, arguments, &[])?);
            drop(engines);
            std::fs::remove_dir_all(&data)?;
            report::print(&measured[measured.len() - 1])?;
        }
    }
    let good = measured.iter().all(report::agrees);
    report::Record::new(arguments.runs, measured, Vec::new()).keep(arguments, good)
}

/// Ourselves, not yet started.
fn ours(name: &'static str, data: &Path, arguments: &SqlTensor, contractions: bool) -> Result<Engine> {
    let (data, program, threads) = (data.to_owned(), std::env::current_exe()?, arguments.threads().to_string());
    Ok(Engine::new(name, arguments.timeout(), move || {
        let mut command = Command::new(&program);
        command.args(["sql-tensor-worker", "--threads", &threads, "--data"]).arg(&data);
        command.args((!contractions).then_some("--no-contractions"));
        command
    }))
}

/// A peer, not yet started.
fn peer(name: &'static str, data: &Path, arguments: &SqlTensor) -> Result<Engine> {
    let (python, data, threads) = (python(arguments)?, data.to_owned(), arguments.threads().to_string());
    Ok(Engine::new(name, arguments.timeout(), move || {
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT, name]).arg(&data).arg(&threads);
        command
    }))
}

/// All engines in turn, ourselves first; those that are `out` are not asked.
fn measure(
    case: &Case,
    engines: &mut [Engine],
    rows: [usize; 2],
    arguments: &SqlTensor,
    out: &[(String, String)],
) -> Result<Measured> {
    let first = |engine: &mut Engine| match out.iter().find(|(name, _)| name == engine.name) {
        Some((name, failure)) => EngineTimes { failure: Some(failure.clone()), ..EngineTimes::new(name) },
        None => warm_up(engine),
    };
    let mut times = engines.iter_mut().map(first).collect::<Vec<_>>();
    if let Some(failure) = &times[0].failure {
        return Err(Error::internal(format!("case {}: {failure}", case.name)));
    }
    for _ in 0..arguments.runs {
        for (engine, times) in engines.iter_mut().zip(&mut times).filter(|(_, times)| times.failure.is_none()) {
            match engine.ask(case.name, SQL, false) {
                Ok(done) => times.ms.push(done.ms),
                Err(failure) => times.failure = Some(failure),
            }
        }
    }
    Ok(Measured {
        case: case.name.to_owned(),
        rows_of_a: rows[0],
        rows_of_b: rows[1],
        rows_of_result: times[0].answer.map(|(rows, _)| rows as usize),
        engines: times,
    })
}

/// The first run: not timed, but its answer is kept.
fn warm_up(engine: &mut Engine) -> EngineTimes {
    let mut times = EngineTimes::new(engine.name);
    let done = engine.start().and_then(|ready| {
        times.version = Some(ready.version);
        engine.ask("warm-up", SQL, true)
    });
    match done {
        Ok(done) => times.answer = done.answer.as_ref().and_then(summary),
        Err(failure) => times.failure = Some(failure),
    }
    times
}

fn summary(answer: &Answer) -> Option<(i64, f64)> {
    match answer.rows.first()?.as_slice() {
        [Cell::Integer(rows), Cell::Float(sum)] => Some((*rows, *sum)),
        [Cell::Integer(rows), Cell::Integer(sum)] => Some((*rows, *sum as f64)),
        _ => None,
    }
}

fn python(arguments: &SqlTensor) -> Result<PathBuf> {
    let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/bireme/peers-venv"));
    let venv = arguments.venv.clone().or_else(default);
    let venv = venv.ok_or_else(|| Error::user("HOME is not set; say with --venv where the peers are"))?;
    Ok(venv.join("bin/python"))
}
