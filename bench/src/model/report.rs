//! What was measured, as a table and as a record.

use std::io::Write as _;
use std::path::Path;

use bireme::prelude::Result;
use serde::Serialize;

use super::{Job, Measured};
use crate::machine::{Circumstances, write_record};
use crate::statistics::median;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    /// Of each job, its ranks and the median relative error.
    median_error: Vec<(usize, Option<f64>)>,
    jobs: Vec<Job>,
}

impl Record {
    pub(super) fn new(runs: u32, jobs: Vec<Job>) -> Self {
        let median_error = jobs.iter().map(|job| (job.machine.ranks(), median(&errors(job)))).collect();
        Self { benchmark: "model", circumstances: Circumstances::now(runs), median_error, jobs }
    }

    /// A line a case, and the median error of each job.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for job in &self.jobs {
            writeln!(out, "{}", job.machine.describe())?;
            writeln!(out, "{:<8} {:>12} {:>12} {:>7}", "case", "expected ms", "taken ms", "ratio")?;
            for Measured { case, expected_ms, taken_ms, .. } in &job.cases {
                writeln!(out, "{case:<8} {expected_ms:>12.2} {taken_ms:>12.2} {:>7.2}", expected_ms / taken_ms)?;
            }
            let error = median(&errors(job)).unwrap_or(0.0) * 100.0;
            writeln!(out, "median error {error:.0} %\n")?;
        }
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}

fn errors(job: &Job) -> Vec<f64> {
    job.cases.iter().map(Measured::error).collect()
}
