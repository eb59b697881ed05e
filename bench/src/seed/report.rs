//! What was measured, as a table and as a record.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use bireme::prelude::Result;
use serde::Serialize;

use super::answer::{TOLERANCE, difference};
use super::worker::READ_BYTES;
use super::{BY_HAND, Program, Seed, Size};
use crate::machine::{Circumstances, write_record};
use crate::statistics::best;
use crate::worker::US;

/// Whose answer the others must have: the first of these that answered.
const REFERENCES: [&str; 3] = ["numpy", BY_HAND, "numba"];

/// What became of an engine at a program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EngineTimes {
    pub(super) engine: String,
    pub(super) ranks: u32,
    /// Of each rank.
    pub(super) threads: usize,
    pub(super) version: Option<String>,
    /// The best run of each round.
    pub(super) ms: Vec<f64>,
    /// Why there are none.
    pub(super) failure: Option<String>,
    #[serde(skip)]
    pub(super) answer: Vec<f64>,
    /// From the answer of the reference, as a part of it; none if there is no answer.
    difference: Option<f64>,
}

impl EngineTimes {
    pub(super) fn new(engine: &str, ranks: u32, threads: usize) -> Self {
        Self {
            engine: engine.to_owned(),
            ranks,
            threads,
            version: None,
            ms: Vec::new(),
            failure: None,
            answer: Vec::new(),
            difference: None,
        }
    }

    fn disagrees(&self) -> bool {
        self.difference.is_some_and(|difference| difference > TOLERANCE)
    }

    /// Seconds of the best run; none if its answer is another.
    fn seconds(&self) -> Option<f64> {
        if self.disagrees() { None } else { best(&self.ms).map(|ms| ms / 1e3) }
    }

    fn label(&self) -> String {
        if self.ranks == 1 { self.engine.clone() } else { format!("{}, {} ranks", self.engine, self.ranks) }
    }
}

/// A program, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    program: &'static str,
    size: Size,
    iterations: u32,
    /// What a rate counts: iterations, or millions of options.
    unit: &'static str,
    /// Units of a run.
    units: f64,
    /// What the machine reads, all threads together.
    read_gb_per_s: Option<f64>,
    /// Units a second if reading (and writing) were all there is to do.
    limit: Option<f64>,
    /// Units a second.
    rates: Vec<(String, Option<f64>)>,
    /// Of our rates, by those of others.
    ratios: Vec<(String, f64)>,
    reference: Option<String>,
    engines: Vec<EngineTimes>,
}

impl Measured {
    /// Of the times of rounds: of reading, and of each engine.
    pub(super) fn new(program: Program, arguments: &Seed, read_ms: &[f64], mut engines: Vec<EngineTimes>) -> Self {
        let reference = compare(program, &mut engines);
        let (unit, scale) = if program == Program::BlackScholes { ("M options", 1e6) } else { ("iterations", 1.0) };
        let units = arguments.units(program) / scale;
        let read = best(read_ms).map(|ms| READ_BYTES as f64 / (ms / 1e3));
        let limit = read.map(|read| read / program.bytes(arguments.size()) / scale);
        let mut measured = Measured {
            program: program.name(),
            size: arguments.size(),
            iterations: arguments.iterations,
            unit,
            units,
            read_gb_per_s: read.map(|read| read / 1e9),
            limit,
            rates: Vec::new(),
            ratios: Vec::new(),
            reference,
            engines,
        };
        measured.rates = measured.engines.iter().map(|engine| (engine.label(), measured.rate_of(engine))).collect();
        measured.ratios = measured.ratios();
        measured
    }

    /// All who answered agree, and we did answer.
    pub(super) fn is_good(&self) -> bool {
        let ours = self.engines.iter().filter(|engine| engine.engine == US);
        ours.clone().all(|engine| engine.failure.is_none()) && !self.engines.iter().any(EngineTimes::disagrees)
    }

    fn rate_of(&self, engine: &EngineTimes) -> Option<f64> {
        engine.seconds().map(|seconds| self.units / seconds)
    }

    fn rate(&self, engine: &str, ranks: u32) -> Option<f64> {
        let found = self.engines.iter().find(|times| times.engine == engine && times.ranks == ranks);
        found.and_then(|engine| self.rate_of(engine))
    }

    /// Ours by the limit, by others, and on several ranks by that on one.
    fn ratios(&self) -> Vec<(String, f64)> {
        let Some(ours) = self.rate(US, 1) else { return Vec::new() };
        let mut ratios = Vec::new();
        ratios.extend(self.limit.map(|limit| ("ours / read limit".to_owned(), ours / limit)));
        for other in self.engines.iter().filter(|other| other.engine != US) {
            ratios.extend(self.rate_of(other).map(|rate| (format!("ours / {}", other.engine), ours / rate)));
        }
        for job in self.engines.iter().filter(|other| other.engine == US && other.ranks > 1) {
            ratios.extend(self.rate_of(job).map(|rate| (format!("{} ranks / 1 rank", job.ranks), rate / ours)));
        }
        ratios
    }

    /// A line an engine, and one of ratios.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.headline())?;
        for engine in &self.engines {
            let what = match (self.rate_of(engine), &engine.failure) {
                _ if engine.disagrees() => {
                    let reference = self.reference.as_deref().unwrap_or("the reference");
                    let difference = engine.difference.unwrap_or(f64::NAN);
                    format!("ANOTHER ANSWER than {reference}, by {difference:.1e}: not timed")
                }
                (_, Some(failure)) => failure.clone(),
                (Some(rate), None) => {
                    let limit = self.limit.map_or(String::new(), |limit| format!("{:>8.2} of the limit", rate / limit));
                    format!("{rate:>10.1} {}/s{limit}", self.unit)
                }
                (None, None) => "not timed".into(),
            };
            writeln!(out, "  {:<12} {what}", engine.label())?;
        }
        let ratios = self.ratios.iter().map(|(name, ratio)| format!("{name} {ratio:.2}"));
        writeln!(out, "  {}\n", ratios.collect::<Vec<_>>().join(",  "))?;
        Ok(())
    }

    fn headline(&self) -> String {
        let mut line = match self.unit {
            "iterations" => format!("{}: N = {}, {} iterations", self.program, self.size.n, self.iterations),
            _ => format!("{}: {} options", self.program, self.size.options),
        };
        if let (Some(read), Some(limit)) = (self.read_gb_per_s, self.limit) {
            // Writing into a text does not fail.
            let _ = write!(line, "; memory read at {read:.1} GB/s allows {limit:.1} {}/s", self.unit);
        }
        line
    }
}

/// Compares each answer with that of the reference, and says who that is.
fn compare(program: Program, engines: &mut [EngineTimes]) -> Option<String> {
    let answered = |engine: &&EngineTimes| !engine.answer.is_empty();
    let by_name = |name| engines.iter().filter(answered).find(|engine| engine.engine == name);
    let reference = REFERENCES.into_iter().find_map(by_name)?;
    let (name, right) = (reference.engine.clone(), reference.answer.clone());
    for engine in engines.iter_mut().filter(|engine| !engine.answer.is_empty()) {
        engine.difference = Some(difference(program, &right, &engine.answer));
    }
    Some(name)
}

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    threads: usize,
    programs: Vec<Measured>,
}

impl Record {
    pub(super) fn new(arguments: &Seed, programs: Vec<Measured>) -> Self {
        let circumstances = Circumstances::now(arguments.runs);
        Self { benchmark: "seed", circumstances, threads: arguments.threads(), programs }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(name: &str, ms: f64, answer: f64) -> EngineTimes {
        EngineTimes { ms: vec![ms, 2.0 * ms], answer: vec![answer], ..EngineTimes::new(name, 1, 2) }
    }

    #[test]
    fn a_time_counts_only_with_the_answer_of_the_reference() {
        let mut engines = vec![engine(US, 10.0, 1.0), engine("numpy", 20.0, 1.0), engine("dask", 5.0, 1.001)];
        assert_eq!(compare(Program::Cg, &mut engines).as_deref(), Some("numpy"));
        let seconds = engines.iter().map(EngineTimes::seconds).collect::<Vec<_>>();
        assert_eq!(seconds, [Some(0.01), Some(0.02), None]);
        engines[2].ms.clear();
        assert!(engines[2].disagrees());
    }

    #[test]
    fn nobody_answered() {
        assert_eq!(compare(Program::Cg, &mut [EngineTimes::new(US, 1, 2)]), None);
    }
}
