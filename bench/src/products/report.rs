//! What was measured, as tables and as a record.

use std::io::Write as _;
use std::path::Path;

use bireme::prelude::Result;
use serde::Serialize;

use super::local::{Measured, NUMPY};
use super::way::Way;
use super::{Products, answer};
use crate::machine::{Circumstances, write_record};
use crate::statistics;
use crate::worker::US;

/// What became of an engine at a product.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Times {
    pub(super) engine: String,
    pub(super) version: Option<String>,
    /// The best run of each round, or all runs of a job.
    pub(super) ms: Vec<f64>,
    /// Why there are none.
    pub(super) failure: Option<String>,
    #[serde(skip)]
    pub(super) answer: Vec<f64>,
    /// From the right answer, as a part of it; none if there is no such answer or none here.
    difference: Option<f64>,
    /// Whether that is too much.
    disagrees: bool,
}

impl Times {
    pub(super) fn new(engine: &str) -> Self {
        Self {
            engine: engine.to_owned(),
            version: None,
            ms: Vec::new(),
            failure: None,
            answer: Vec::new(),
            difference: None,
            disagrees: false,
        }
    }

    /// It has not failed yet.
    pub(super) fn is_in(&self) -> bool {
        self.failure.is_none()
    }

    /// Compares its answer, if both are there.
    pub(super) fn compare(&mut self, right: &[f64], tolerance: f64) {
        if !self.answer.is_empty() && !right.is_empty() {
            let difference = answer::difference(right, &self.answer);
            (self.difference, self.disagrees) = (Some(difference), difference > tolerance);
        }
    }

    /// Milliseconds of the best run; none if its answer is another.
    pub(super) fn best(&self) -> Option<f64> {
        if self.disagrees { None } else { statistics::best(&self.ms) }
    }

    /// Why there is no time.
    fn trouble(&self) -> Option<String> {
        match (self.disagrees, &self.failure) {
            (true, _) => Some(format!("ANOTHER ANSWER, by {:.1e}: not timed", self.difference.unwrap_or(f64::NAN))),
            (false, Some(failure)) => Some(failure.clone()),
            (false, None) => None,
        }
    }

    fn is_good(&self) -> bool {
        !self.disagrees && (self.engine != US || self.failure.is_none())
    }
}

/// A ratio, and what it should reach.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ratio {
    name: &'static str,
    value: f64,
    bar: Option<f64>,
    met: Option<bool>,
}

impl Ratio {
    pub(super) fn new(name: &'static str, value: f64, bar: Option<f64>) -> Self {
        Self { name, value, bar, met: bar.map(|bar| value >= bar) }
    }

    fn text(&self) -> String {
        let bar = self.bar.map_or(String::new(), |bar| {
            format!("   bar {bar:.2}: {}", if self.met == Some(true) { "met" } else { "not met" })
        });
        format!("{} {:.2}{bar}", self.name, self.value)
    }
}

/// A product on several ranks, or on one for comparison.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Job {
    pub(super) way: Way,
    pub(super) ranks: u32,
    /// Of each rank.
    pub(super) threads: usize,
    pub(super) n: usize,
    /// Its times mean something: there is a core for each rank.
    pub(super) has_times: bool,
    /// What the plan says of it.
    pub(super) plan: Option<String>,
    /// Bytes of elements that ranks sent to each other in one run.
    pub(super) bytes: Option<f64>,
    /// The same by the formula; none of the planner's choice.
    pub(super) formula_bytes: Option<f64>,
    pub(super) times: Times,
    pub(super) ratio: Option<Ratio>,
}

impl Job {
    pub(super) fn new(way: Way, ranks: u32, threads: usize, n: usize) -> Self {
        let formula_bytes = way.asked(ranks as usize, n).map(|asked| 8.0 * asked.elements as f64);
        Self {
            way,
            ranks,
            threads,
            n,
            has_times: true,
            plan: None,
            bytes: None,
            formula_bytes,
            times: Times::new(US),
            ratio: None,
        }
    }

    fn label(&self) -> String {
        match (self.ranks, self.has_times) {
            (1, _) => "one process".into(),
            (ranks, true) => format!("{ranks} ranks, {}", self.way.label()),
            (ranks, false) => format!("{ranks} ranks*, {}", self.way.label()),
        }
    }

    fn line(&self) -> String {
        if let Some(trouble) = self.times.trouble() {
            return trouble;
        }
        let time = match self.times.best().filter(|_| self.has_times) {
            Some(ms) => {
                let rate = 2.0 * (self.n as f64).powi(3) / ms / 1e6;
                format!("{:>10} {rate:>7.1} GFlop/s", duration(ms))
            }
            None => format!("{:>26}", ""),
        };
        let moved = match (self.bytes, self.formula_bytes) {
            (Some(bytes), Some(formula)) => format!("   {bytes:.0} B moved, formula {formula:.0} B"),
            (Some(bytes), None) if self.ranks > 1 => format!("   {bytes:.0} B moved"),
            _ => String::new(),
        };
        let plan = self.plan.as_ref().map_or(String::new(), |plan| format!("   ({plan})"));
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("   {}", ratio.text()));
        format!("{time}{ratio}{moved}{plan}")
    }
}

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    threads: usize,
    gemm: Vec<Measured>,
    tensor: Vec<Measured>,
    summa: Vec<Job>,
}

impl Record {
    pub(super) fn new(arguments: &Products) -> Self {
        Self {
            benchmark: "products",
            circumstances: Circumstances::now(arguments.runs()),
            threads: arguments.threads(),
            gemm: Vec::new(),
            tensor: Vec::new(),
            summa: Vec::new(),
        }
    }

    /// Operations a second of a large GEMM, of whoever is the fastest.
    pub(super) fn gemm_rate(&self) -> Option<f64> {
        self.gemm.iter().find(|measured| measured.case.is_yardstick).and_then(Measured::rate)
    }

    /// Prints a line, and keeps it.
    pub(super) fn add_gemm(&mut self, measured: Measured) -> Result<()> {
        print(&measured)?;
        self.gemm.push(measured);
        Ok(())
    }

    /// As [`Record::add_gemm`].
    pub(super) fn add_tensor(&mut self, measured: Measured) -> Result<()> {
        print(&measured)?;
        self.tensor.push(measured);
        Ok(())
    }

    /// Prints a line a job, and keeps them.
    pub(super) fn add_jobs(&mut self, jobs: Vec<Job>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let n = jobs.first().map_or(0, |job| job.n);
        writeln!(out, "\nProducts of {n} x {n} matrices of f64 between ranks")?;
        for job in &jobs {
            writeln!(out, "  {:<34} {}", job.label(), job.line())?;
        }
        writeln!(out, "  * more ranks than may have a core each: what they move counts, their times do not")?;
        self.summa = jobs;
        Ok(())
    }

    /// All who answered agree, and we did answer.
    pub(super) fn is_good(&self) -> bool {
        let local = self.gemm.iter().chain(&self.tensor).flat_map(|measured| &measured.engines);
        local.chain(self.summa.iter().map(|job| &job.times)).all(Times::is_good)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}

/// Before the products of matrices.
pub(super) fn gemm_heading(arguments: &Products) -> Result<()> {
    let (threads, runs) = (arguments.threads(), arguments.runs());
    let mut out = std::io::stdout().lock();
    writeln!(out, "Products of matrices on {threads} threads, best of {runs} rounds")?;
    writeln!(out, "  (1 x 1 shows what an action costs us; it is in all of our times)")?;
    Ok(())
}

/// Before the tensors.
pub(super) fn tensor_heading(gemm_rate: Option<f64>) -> Result<()> {
    let rate = gemm_rate.map_or("unknown".into(), |rate| format!("{:.1} GFlop/s", rate / 1e9));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nProducts of tensors; a large GEMM has {rate}")?;
    Ok(())
}

fn print(measured: &Measured) -> Result<()> {
    let time = |engine: &str| match measured.ms_of(engine) {
        Some(ms) => format!("{:>10} {:>7.1} GFlop/s", duration(ms), measured.case.operations / ms / 1e6),
        None => format!("{:>26}", "not timed"),
    };
    let mut out = std::io::stdout().lock();
    let ratios = measured.ratios.iter().map(Ratio::text).collect::<Vec<_>>().join("   ");
    let name = &measured.case.name;
    writeln!(out, "  {name:<16} us {}   {NUMPY} {}   {ratios}", time(US), time(NUMPY))?;
    if let Some(limit) = measured.limit {
        let (ms, by, read) = (duration(limit.ms), limit.bound_by, limit.read_gb_per_s);
        writeln!(out, "  {:<16} limit {ms} by {by}; memory read at {read:.1} GB/s", "")?;
    }
    for times in &measured.engines {
        if let Some(trouble) = times.trouble() {
            writeln!(out, "  {:<16} {}: {trouble}", "", times.engine)?;
        }
    }
    Ok(())
}

/// Milliseconds as a person reads them.
fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.1} us", ms * 1e3),
        ms if ms < 100.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_only_with_the_right_answer() {
        let times = |answer: f64| Times { ms: vec![2.0, 1.0], answer: vec![answer], ..Times::new(US) };
        let (mut right, mut wrong, mut alone) = (times(1.0), times(1.001), times(1.0));
        right.compare(&[1.0], 1e-9);
        wrong.compare(&[1.0], 1e-9);
        alone.compare(&[], 1e-9);
        assert_eq!([right.best(), wrong.best(), alone.best()], [Some(1.0), None, Some(1.0)]);
        assert_eq!([right.is_good(), wrong.is_good(), alone.is_good()], [true, false, true]);
    }

    #[test]
    fn bars_are_said_neutrally() {
        assert_eq!(Ratio::new("a / b", 0.961, Some(0.95)).text(), "a / b 0.96   bar 0.95: met");
        assert_eq!(Ratio::new("a / b", 0.9, Some(0.95)).text(), "a / b 0.90   bar 0.95: not met");
        assert_eq!(Ratio::new("a / b", 0.9, None).text(), "a / b 0.90");
    }

    #[test]
    fn durations() {
        assert_eq!([0.0123, 12.3456, 1234.5].map(duration), ["12.3 us", "12.35 ms", "1234 ms"]);
    }
}
