//! Ourselves as a child: inputs in memory, and questions from standard input. Or as a rank: so many rounds of one program.

use std::io::{BufRead as _, stdin};
use std::time::Instant;

use bireme::prelude::{Error, Result, Session};
use serde::{Deserialize, Serialize};

use super::by_hand::ByHand;
use super::programs::Ours;
use super::{BY_HAND, Program, RUNS_IN_A_TURN, SeedWorker, answer};
use crate::protocol::{Done, Ready, Reply, Request};
use crate::worker::{US, say};

pub(super) use super::by_hand::READ_BYTES;

/// Asks how long it takes to read [`READ_BYTES`].
pub(crate) const READ: &str = "read";

/// What rank 0 of a job says at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) version: String,
    /// The best run of each round.
    pub(super) ms: Vec<f64>,
    pub(super) answer: Vec<f64>,
}

/// Who runs programs. The steps of a question are apart, so that the clock runs in one of them only.
pub(super) trait Contestant {
    /// Reads what a program needs, and forgets what another one needed.
    fn load(&mut self, program: Program) -> Result<()>;

    /// Runs the program that was loaded. This is what takes the time.
    fn run(&mut self) -> Result<()>;

    /// The numbers of the last run (see [`answer`]).
    fn answer(&self) -> Result<Vec<f64>>;

    /// Milliseconds of reading [`READ_BYTES`] with all threads.
    fn read_ms(&mut self) -> Result<f64> {
        Err(Error::internal("the read limit is measured by hand only"))
    }
}

/// Answers until there are no more questions, or runs the rounds of a rank.
///
/// # Errors
/// The session does not start, the parent talks nonsense or is gone, or a rank fails.
pub(crate) fn run(arguments: &SeedWorker) -> Result<()> {
    let SeedWorker { data, threads, iterations, .. } = arguments;
    if arguments.by_hand {
        return answer_all(BY_HAND, &mut ByHand::start(data, *threads, *iterations)?);
    }
    let session = Session::builder().threads(*threads).build()?;
    let mut ours = Ours::new(&session, data, *iterations);
    match (arguments.program, arguments.runs) {
        (Some(program), Some(runs)) => rounds(&session, &mut ours, program, runs)?,
        _ => answer_all(US, &mut ours)?,
    }
    drop(ours);
    session.close()
}

/// The questions of a child.
fn answer_all(engine: &str, contestant: &mut impl Contestant) -> Result<()> {
    say(&Ready { engine: engine.into(), version: env!("CARGO_PKG_VERSION").into(), note: None })?;
    let mut loaded = None;
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(|error| Error::internal(format!("a request: {error}")))?;
        let reply = reply(contestant, &mut loaded, &request);
        say(&reply.unwrap_or_else(|error| Reply::Failed { error: error.to_string() }))?;
    }
    Ok(())
}

fn reply(contestant: &mut impl Contestant, loaded: &mut Option<Program>, request: &Request) -> Result<Reply> {
    if request.query == READ {
        return Ok(Reply::Done(Done { ms: contestant.read_ms()?, rows: 0, planning_ms: None, answer: None }));
    }
    let program = <Program as clap::ValueEnum>::from_str(&request.query, false).map_err(Error::internal)?;
    if *loaded != Some(program) {
        *loaded = None;
        contestant.load(program)?;
        *loaded = Some(program);
    }
    let ms = time(contestant)?;
    let answer = request.answer.then(|| contestant.answer().map(answer::row)).transpose()?;
    Ok(Reply::Done(Done { ms, rows: 0, planning_ms: None, answer }))
}

/// The rounds of a rank: the first run is the warm-up, as in a child.
fn rounds(session: &Session, ours: &mut Ours<'_>, program: Program, runs: u32) -> Result<()> {
    ours.load(program)?;
    ours.run()?;
    let answer = ours.answer()?;
    let mut ms = Vec::new();
    for _ in 0..runs {
        let turn = (0..RUNS_IN_A_TURN).map(|_| time(ours)).collect::<Result<Vec<_>>>()?;
        ms.extend(crate::statistics::best(&turn));
    }
    if session.is_root() {
        say(&Job { version: env!("CARGO_PKG_VERSION").into(), ms, answer })?;
    }
    Ok(())
}

/// Milliseconds of one run.
fn time(contestant: &mut impl Contestant) -> Result<f64> {
    let started = Instant::now();
    contestant.run()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
