//! Jobs: one process beside several ranks under mpirun, in turn.
//!
//! Each round starts every timed job anew, with one warm-up and a few timed runs. Jobs of more ranks than cores come after them, once
//! each: their times say nothing, and what they move is what they would move elsewhere.

use std::thread;

use super::rank::Said;
use super::report::{Job, Ratio};
use super::way::Way;
use super::{PAUSE, Products};
use crate::mpirun;

/// Timed runs of a job in a round.
const RUNS_IN_A_TURN: usize = 3;

/// The largest difference between answers that is none.
const TOLERANCE: f64 = 1e-9;

/// What two ranks should reach of the rate of one process.
const BAR: f64 = 0.9;

/// Runs all jobs. The first is the one process.
pub(super) fn measure(arguments: &Products) -> Vec<Job> {
    let threads = arguments.threads();
    let timed = [(Way::Chosen, 1), (Way::Summa, 2), (Way::Chosen, 2)];
    let mut jobs =
        timed.map(|(way, ranks)| Job::new(way, ranks, (threads / ranks as usize).max(1), arguments.n())).to_vec();
    for _ in 0..arguments.runs() {
        for job in jobs.iter_mut().filter(|job| job.times.is_in()) {
            run(job, RUNS_IN_A_TURN);
        }
    }
    for way in [Way::Summa, Way::Cannon, Way::Solomonik, Way::Cosma] {
        let mut job = Job { has_times: false, ..Job::new(way, 4, 1, arguments.n()) };
        run(&mut job, 1);
        jobs.push(job);
    }
    let right = jobs[0].times.answer.clone();
    for job in &mut jobs {
        job.times.compare(&right, TOLERANCE);
    }
    let alone = jobs[0].times.best();
    for job in jobs.iter_mut().filter(|job| job.ranks > 1 && job.has_times) {
        let bar = (job.way == Way::Summa).then_some(BAR);
        let ratio = alone.zip(job.times.best()).map(|(alone, ms)| Ratio::new("one process / ranks", alone / ms, bar));
        job.ratio = ratio;
    }
    jobs
}

/// Runs a job once, and adds what it said.
fn run(job: &mut Job, runs: usize) {
    let named = [
        ("--way", job.way.name().to_owned()),
        ("--n", job.n.to_string()),
        ("--threads", job.threads.to_string()),
        ("--runs", runs.to_string()),
    ];
    let words = ["products-worker".to_owned(), "rank".into()];
    let words = words.into_iter().chain(named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    let words = words.collect::<Vec<_>>();
    thread::sleep(PAUSE);
    let there = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own_cores = (job.threads * job.ranks as usize <= there).then_some(job.threads);
    let lines = match job.ranks {
        1 => mpirun::alone(&words),
        ranks => mpirun::lines(ranks, own_cores, &words),
    };
    let read = |lines: Vec<String>| {
        let line = lines.last().map_or("", String::as_str);
        serde_json::from_str(line).map_err(|error| format!("a rank reported `{lines:?}`: {error}"))
    };
    match lines.map_err(|error| error.to_string()).and_then(read) {
        Ok(Said { version, ms, bytes, plan, answer }) => {
            job.times.ms.extend(ms);
            (job.times.version, job.times.answer) = (Some(version), answer);
            (job.bytes, job.plan) = (Some(bytes), plan);
        }
        Err(failure) => job.times.failure = Some(failure),
    }
}
