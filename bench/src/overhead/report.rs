//! What was measured, as a table and as a record.

use std::io::Write as _;
use std::path::Path;

use bireme::prelude::Result;
use serde::Serialize;

use super::Measured;
use crate::machine::{Circumstances, write_record};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    cases: Vec<Measured>,
}

impl Record {
    pub(super) fn new(runs: u32, cases: Vec<Measured>) -> Self {
        Self { benchmark: "overhead", circumstances: Circumstances::now(runs), cases }
    }

    /// A line a case.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Microseconds of a core for a task, best of {}\n", self.circumstances.runs)?;
        writeln!(
            out,
            "{:<8} {:>5} {:>5} {:>6} {:>12} {:>11} {:>14}",
            "pattern", "ranks", "cores", "steps", "METG(50 %)", "empty task", "kernel GFLOP/s"
        )?;
        for case in &self.cases {
            let Measured { ranks, cores, steps, .. } = case;
            let metg = case.metg_us.map_or("not reached".into(), |metg| format!("{metg:.1}"));
            let empty = case.points.last().map_or(0.0, |point| point.granularity_us);
            let pattern = case.pattern.name();
            let rate = case.peak_gflops;
            writeln!(out, "{pattern:<8} {ranks:>5} {cores:>5} {steps:>6} {metg:>12} {empty:>11.1} {rate:>14.1}")?;
        }
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}
