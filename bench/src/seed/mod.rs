//! The four NumPy programs this engine started from, against what runs them elsewhere and against the machine.
//!
//! ```text
//!   jacobi          x = (b − R·x) / d                                         reads N² numbers an iteration
//!   cg              conjugate gradient on A·x = b                             reads N²
//!   pcg             the same, with a full matrix as preconditioner: z = M·r   reads 2·N²
//!   black-scholes   call and put of each option, both stored                  reads 3 numbers an option, writes 2
//! ```
//!
//! All numbers are float64. Who takes part, each as a child of its own that is asked in turn (see [`crate::engine`]):
//!
//! - `us`: the programs in the shape of the NumPy originals (`programs`), and the same on several ranks under mpirun.
//! - `by-hand`: what one writes in Rust with threads, vectors and fused loops, for these programs only (`by_hand`).
//! - `numba`, `numpy`, `dask`: `peers/seed_peer.py`.
//! - The read limit: how fast all threads together read an array of a GiB. The child `by-hand` measures it, in the same rounds.
//!
//! The clock runs inside the child: from arrays in memory to x, or call and put, in memory. Iterations are of a fixed number, as
//! in the originals. An engine's turn is three runs, of which the best counts; every round gives each engine a turn. A job under
//! mpirun has all its rounds after those of the others, program by program.
//!
//! A time counts only if the answer is that of the others ([`answer`]).

pub(crate) mod answer;
mod by_hand;
mod data;
mod programs;
mod report;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bireme::prelude::{Error, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use self::by_hand::READ_BYTES;
pub(crate) use self::data::unit;
use self::report::{EngineTimes, Measured};
use self::worker::Job;
pub(crate) use self::worker::{READ, run as work};
use crate::engine::{Engine, Failure};
use crate::mpirun;
use crate::worker::US;

const SCRIPT: &str = include_str!("../../peers/seed_peer.py");

const BY_HAND: &str = "by-hand";

const PEERS: [&str; 3] = ["numba", "numpy", "dask"];

/// Runs in a turn: the first one finds its threads asleep and its numbers out of the caches.
const RUNS_IN_A_TURN: usize = 3;

/// Threads of the engine before may spin for a while before they sleep: those of OpenBLAS do for about 30 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// What `bireme-bench seed` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Seed {
    /// Only these programs
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "jacobi,cg,pcg,black-scholes")]
    programs: Vec<Program>,
    /// Rows and columns of the matrices
    #[arg(long, value_name = "N", default_value_t = 6000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,
    /// Options of Black-Scholes
    #[arg(long, value_name = "N", default_value_t = 20_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    options: u32,
    /// Iterations of the solvers
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads of each engine, and of all ranks together [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// On how many ranks we run; more than one run under mpirun and share the threads
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Vec<u32>,
    /// The Python environment of the peers: numpy, numba and dask[array]
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// Seconds after which an engine is out of a program
    #[arg(long, value_name = "N", default_value_t = 300)]
    timeout: u64,
    /// Matrices of 400 rows and 200,000 options: under a minute, and in the caches
    #[arg(long)]
    quick: bool,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One of our own children, or a rank.
#[derive(Clone, Debug, Args)]
pub(crate) struct SeedWorker {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    iterations: u32,
    /// By hand and not as we do it
    #[arg(long)]
    by_hand: bool,
    /// Runs this program in so many rounds, as a rank does; else questions are on standard input
    #[arg(long, requires = "runs")]
    program: Option<Program>,
    #[arg(long)]
    runs: Option<u32>,
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Jacobi,
    Cg,
    Pcg,
    BlackScholes,
}

/// How large the inputs are.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Size {
    n: usize,
    options: usize,
}

impl Program {
    #[cfg(test)]
    const ALL: [Program; 4] = [Program::Jacobi, Program::Cg, Program::Pcg, Program::BlackScholes];

    /// On the command line, in requests, and in the report.
    fn name(self) -> &'static str {
        match self {
            Program::Jacobi => "jacobi",
            Program::Cg => "cg",
            Program::Pcg => "pcg",
            Program::BlackScholes => "black-scholes",
        }
    }

    /// What it reads (see [`data`]).
    fn inputs(self) -> &'static [&'static str] {
        match self {
            Program::Jacobi => &["r", "d", "b"],
            Program::Cg => &["a", "b"],
            Program::Pcg => &["a", "m", "b"],
            Program::BlackScholes => &["s", "k", "t"],
        }
    }

    /// Bytes that an iteration, or an option, takes from memory and puts there. Vectors of the solvers stay in the caches. The
    /// product before the first iteration of both conjugate gradients is not counted.
    fn bytes(self, size: Size) -> f64 {
        let matrix = 8.0 * (size.n * size.n) as f64;
        match self {
            Program::Jacobi | Program::Cg => matrix,
            Program::Pcg => 2.0 * matrix,
            Program::BlackScholes => 40.0,
        }
    }
}

impl Seed {
    fn size(&self) -> Size {
        let (n, options) = if self.quick { (400, 200_000) } else { (self.n, self.options) };
        Size { n: n as usize, options: options as usize }
    }

    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |threads| threads as usize)
    }

    /// Iterations, or options, of one run.
    fn units(&self, program: Program) -> f64 {
        match program {
            Program::BlackScholes => self.size().options as f64,
            _ => f64::from(self.iterations),
        }
    }

    fn python(&self) -> Result<PathBuf> {
        let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/bireme/peers-venv"));
        let venv = self.venv.clone().or_else(default);
        let venv = venv.ok_or_else(|| Error::user("HOME is not set; say with --venv where the peers are"))?;
        Ok(venv.join("bin/python"))
    }
}

/// Measures, prints, and keeps a record. The result says whether all that answered agree, and whether we answered.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn run(arguments: &Seed) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    data::write(folder.path(), &arguments.programs, arguments.size())?;
    let mut measured = Vec::new();
    for &program in &arguments.programs {
        let one = measure(program, folder.path(), arguments)?;
        one.print()?;
        measured.push(one);
    }
    let good = measured.iter().all(Measured::is_good);
    let record = report::Record::new(arguments, measured);
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(good)
}

/// One program: a warm-up of each engine, the rounds, the jobs under mpirun, and then the answers.
fn measure(program: Program, data: &Path, arguments: &Seed) -> Result<Measured> {
    let mut engines = engines(data, arguments)?;
    let mut times = engines.iter_mut().map(|engine| warm_up(engine, program, arguments.threads())).collect::<Vec<_>>();
    let mut read_ms = Vec::new();
    for _ in 0..arguments.runs {
        for (engine, times) in engines.iter_mut().zip(&mut times).filter(|(_, times)| times.failure.is_none()) {
            match turn(engine, program.name()) {
                Ok(ms) => times.ms.push(ms),
                Err(failure) => times.failure = Some(failure),
            }
            if engine.name == BY_HAND && times.failure.is_none() {
                read_ms.extend(turn(engine, READ).ok());
            }
        }
    }
    drop(engines);
    let after = usize::from(arguments.ranks.contains(&1));
    let jobs = arguments.ranks.iter().filter(|&&ranks| ranks != 1).map(|&ranks| job(program, data, ranks, arguments));
    times.splice(after..after, jobs.collect::<Vec<_>>());
    Ok(Measured::new(program, arguments, &read_ms, times))
}

/// The children, not yet started.
fn engines(data: &Path, arguments: &Seed) -> Result<Vec<Engine>> {
    let (threads, timeout) = (arguments.threads(), Duration::from_secs(arguments.timeout));
    let program = std::env::current_exe()?;
    let ours = |name, by_hand: bool| {
        let mut words = worker_words(data, threads, arguments.iterations);
        words.extend(by_hand.then(|| "--by-hand".to_owned()));
        let program = program.clone();
        Engine::new(name, timeout, move || {
            let mut command = Command::new(&program);
            command.args(&words);
            command
        })
    };
    let mut engines = Vec::new();
    engines.extend(arguments.ranks.contains(&1).then(|| ours(US, false)));
    engines.push(ours(BY_HAND, true));
    for peer in PEERS {
        let (python, data, iterations) = (arguments.python()?, data.to_owned(), arguments.iterations);
        engines.push(Engine::new(peer, timeout, move || {
            let mut command = Command::new(&python);
            command.args(["-c", SCRIPT, peer]).arg(&data).args([threads.to_string(), iterations.to_string()]);
            command
        }));
    }
    Ok(engines)
}

/// A child that says how long it takes to read [`READ_BYTES`] when it is asked [`READ`], as other benchmarks need it.
///
/// # Errors
/// It is not known where this program is.
pub(crate) fn reader(threads: usize, timeout: Duration) -> Result<Engine> {
    let program = std::env::current_exe()?;
    let mut words = worker_words(Path::new("."), threads, 1);
    words.push("--by-hand".into());
    Ok(Engine::new(BY_HAND, timeout, move || {
        let mut command = Command::new(&program);
        command.args(&words);
        command
    }))
}

/// The words that start one of our own.
fn worker_words(data: &Path, threads: usize, iterations: u32) -> Vec<String> {
    let named = [("--threads", threads.to_string()), ("--iterations", iterations.to_string())];
    let words = ["seed-worker".to_owned(), "--data".into(), data.to_string_lossy().into_owned()];
    words.into_iter().chain(named.into_iter().flat_map(|(name, value)| [name.to_owned(), value])).collect()
}

/// The first run: it reads the inputs, it compiles, and it is not timed; its answer is kept.
fn warm_up(engine: &mut Engine, program: Program, threads: usize) -> EngineTimes {
    let mut times = EngineTimes::new(engine.name, 1, threads);
    let done = engine.start().and_then(|ready| {
        times.version = Some(ready.version);
        engine.ask(program.name(), "", true)
    });
    match done.and_then(|done| done.answer.as_ref().map(answer::numbers).ok_or_else(|| "it gave no answer".into())) {
        Ok(numbers) => times.answer = numbers,
        Err(failure) => times.failure = Some(failure),
    }
    times
}

/// The best of an engine's runs in a round, in milliseconds.
fn turn(engine: &mut Engine, program: &str) -> Result<f64, Failure> {
    thread::sleep(PAUSE);
    let mut best = f64::INFINITY;
    for _ in 0..RUNS_IN_A_TURN {
        best = best.min(engine.ask(program, "", false)?.ms);
    }
    Ok(best)
}

/// Ourselves on so many ranks, which share the threads.
fn job(program: Program, data: &Path, ranks: u32, arguments: &Seed) -> EngineTimes {
    let threads = (arguments.threads() / ranks as usize).max(1);
    let mut times = EngineTimes::new(US, ranks, threads);
    let there = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own_cores = (threads * ranks as usize <= there).then_some(threads);
    let mut words = worker_words(data, threads, arguments.iterations);
    words.extend(["--program".into(), program.name().into(), "--runs".into(), arguments.runs.to_string()]);
    thread::sleep(PAUSE);
    let lines = mpirun::lines(ranks, own_cores, &words).map_err(|error| error.to_string());
    let read = |lines: Vec<String>| {
        let line = lines.last().map_or("", String::as_str);
        serde_json::from_str(line).map_err(|error| format!("a rank reported `{lines:?}`: {error}"))
    };
    match lines.and_then(read) {
        Ok(Job { version, ms, answer }) => {
            (times.version, times.ms, times.answer) = (Some(version), ms, answer);
        }
        Err(failure) => times.failure = Some(failure),
    }
    times
}
