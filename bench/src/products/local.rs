//! Products on one rank: ourselves and NumPy in turn, and for tensors the reading of memory.

use std::process::Command;
use std::thread;

use bireme::prelude::Result;
use serde::Serialize;

use super::case::Case;
use super::report::{Ratio, Times};
use super::{PAUSE, Products};
use crate::engine::{Engine, Failure};
use crate::seed::{READ, READ_BYTES, answer, reader};
use crate::statistics::best;
use crate::worker::US;

const SCRIPT: &str = include_str!("../../peers/products_peer.py");

/// The peer.
pub(super) const NUMPY: &str = "numpy";

/// Who takes part.
pub(super) struct Field {
    players: Vec<Player>,
    reader: Engine,
}

/// An engine, and what it is or why it is not there.
struct Player {
    engine: Engine,
    version: Result<String, Failure>,
}

/// A product, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub(super) case: Case,
    pub(super) runs_in_a_turn: usize,
    /// Ourselves first.
    pub(super) engines: Vec<Times>,
    /// Of reading a GiB, in each round.
    read_ms: Vec<f64>,
    pub(super) limit: Option<Limit>,
    pub(super) ratios: Vec<Ratio>,
}

/// The least time that the machine allows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Limit {
    pub(super) read_gb_per_s: f64,
    pub(super) gemm_gflops: f64,
    pub(super) ms: f64,
    pub(super) bound_by: &'static str,
}

impl Field {
    /// Starts ourselves and NumPy.
    ///
    /// # Errors
    /// It is not known where this program or Python is.
    pub(super) fn start(arguments: &Products) -> Result<Self> {
        let (threads, timeout) = (arguments.threads(), arguments.timeout());
        let (program, python) = (std::env::current_exe()?, arguments.python()?);
        let us = Engine::new(US, timeout, move || {
            let mut command = Command::new(&program);
            command.args(["products-worker", "child", "--threads", &threads.to_string()]);
            command
        });
        let numpy = Engine::new(NUMPY, timeout, move || {
            let mut command = Command::new(&python);
            command.args(["-c", SCRIPT, &threads.to_string()]);
            command
        });
        let players = [us, numpy].into_iter().map(Player::start).collect();
        Ok(Self { players, reader: reader(threads, timeout)? })
    }

    /// A warm-up of each, and the rounds.
    pub(super) fn measure(&mut self, case: &Case, runs: u32, gemm_rate: Option<f64>) -> Measured {
        let (question, turn) = (case.question.text(), case.runs_in_a_turn());
        let mut engines = self.players.iter_mut().map(|player| player.warm_up(&question)).collect::<Vec<_>>();
        let mut read_ms = Vec::new();
        for _ in 0..runs {
            for (player, times) in self.players.iter_mut().zip(&mut engines).filter(|(_, times)| times.is_in()) {
                thread::sleep(PAUSE);
                match player.engine.ask(&question, &turn.to_string(), false) {
                    Ok(done) => times.ms.push(done.ms),
                    Err(failure) => times.failure = Some(failure),
                }
            }
            if case.tensor_bytes.is_some() {
                thread::sleep(PAUSE);
                read_ms.extend(self.reader.ask(READ, "", false).ok().map(|done| done.ms));
            }
        }
        let right = engines.iter().find(|times| times.engine == NUMPY).map(|times| times.answer.clone());
        for times in &mut engines {
            times.compare(right.as_deref().unwrap_or_default(), case.question.element.tolerance());
        }
        let mut measured = Measured {
            case: case.clone(),
            runs_in_a_turn: turn,
            engines,
            limit: limit(case, best(&read_ms), gemm_rate),
            read_ms,
            ratios: Vec::new(),
        };
        measured.ratios = measured.ratios();
        measured
    }
}

impl Player {
    fn start(mut engine: Engine) -> Self {
        let version = engine.start().map(|ready| match ready.note {
            Some(note) => format!("{}, {note}", ready.version),
            None => ready.version,
        });
        Self { engine, version }
    }

    /// The first run: not timed, but its answer is kept.
    fn warm_up(&mut self, question: &str) -> Times {
        let mut times = Times::new(self.engine.name);
        match &self.version {
            Ok(version) => times.version = Some(version.clone()),
            Err(failure) => {
                times.failure = Some(failure.clone());
                return times;
            }
        }
        let done = self.engine.ask(question, "1", true);
        match done.and_then(|done| done.answer.as_ref().map(answer::numbers).ok_or_else(|| "it gave no answer".into()))
        {
            Ok(numbers) => times.answer = numbers,
            Err(failure) => times.failure = Some(failure),
        }
        times
    }
}

impl Measured {
    /// Milliseconds of an engine's best run.
    pub(super) fn ms_of(&self, engine: &str) -> Option<f64> {
        self.engines.iter().find(|times| times.engine == engine)?.best()
    }

    /// The highest rate of all, in operations a second.
    pub(super) fn rate(&self) -> Option<f64> {
        let rates = self.engines.iter().filter_map(Times::best).map(|ms| self.case.operations / (ms / 1e3));
        rates.max_by(f64::total_cmp)
    }

    fn ratios(&self) -> Vec<Ratio> {
        let Some(ours) = self.ms_of(US) else { return Vec::new() };
        let is_tensor = self.case.tensor_bytes.is_some();
        let limit = self.limit.map(|limit| Ratio::new("limit / ours", limit.ms / ours, self.case.bar));
        let bar = self.case.bar.filter(|_| !is_tensor);
        let numpy = self.ms_of(NUMPY).map(|numpy| Ratio::new("numpy / ours", numpy / ours, bar));
        limit.into_iter().chain(numpy).collect()
    }
}

/// Of a tensor: to read it, or to do its operations at the rate of a large GEMM, whichever takes longer.
fn limit(case: &Case, read_ms: Option<f64>, gemm_rate: Option<f64>) -> Option<Limit> {
    let (bytes, read_ms, gemm_rate) = (case.tensor_bytes?, read_ms?, gemm_rate?);
    let read_rate = READ_BYTES as f64 / (read_ms / 1e3);
    let (memory, arithmetic) = (bytes / read_rate * 1e3, case.operations / gemm_rate * 1e3);
    Some(Limit {
        read_gb_per_s: read_rate / 1e9,
        gemm_gflops: gemm_rate / 1e9,
        ms: memory.max(arithmetic),
        bound_by: if memory > arithmetic { "memory" } else { "arithmetic" },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::products::case::tensors;

    #[test]
    fn the_slower_of_memory_and_arithmetic_is_the_limit() {
        let cases = tensors(false);
        // A GiB in 100 ms, and 50 GFlop/s.
        let of = |case| limit(case, Some(100.0), Some(50e9)).unwrap();
        let (ttv, ttm) = (of(&cases[0]), of(&cases[1]));
        assert_eq!((ttv.bound_by, ttm.bound_by), ("memory", "arithmetic"));
        assert!((ttv.ms - 512e6 / (1_u64 << 30) as f64 * 100.0).abs() < 1e-6, "{ttv:?}");
        assert!((ttm.ms - 81.92).abs() < 1e-6, "{ttm:?}");
        assert!(limit(&cases[0], None, Some(50e9)).is_none());
    }
}
