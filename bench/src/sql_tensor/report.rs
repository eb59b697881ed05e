//! What was measured, as a table and as a record.

use std::io::Write as _;

use bireme::prelude::Result;
use serde::Serialize;

use super::crossover::Density;
use super::{EngineTimes, Measured, SqlTensor};
use crate::machine::{Circumstances, write_record};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    sql: &'static str,
    #[serde(flatten)]
    circumstances: Circumstances,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cases: Vec<Measured>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    crossover: Vec<Density>,
}

impl Record {
    pub(super) fn new(runs: u32, cases: Vec<Measured>, crossover: Vec<Density>) -> Self {
        Self { benchmark: "sql-tensor", sql: super::SQL, circumstances: Circumstances::now(runs), cases, crossover }
    }

    /// Writes it where it was asked for, and passes on whether answers agree.
    pub(super) fn keep(&self, arguments: &SqlTensor, good: bool) -> Result<bool> {
        if let Some(path) = &arguments.json {
            write_record(path, self)?;
        }
        Ok(good)
    }
}

/// A line an engine: its best time, and that as a multiple of ours.
pub(super) fn print(measured: &Measured) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let Measured { case, rows_of_a, rows_of_b, rows_of_result, engines } = measured;
    let result = rows_of_result.map_or("?".into(), |rows| rows.to_string());
    writeln!(out, "{case}: {rows_of_a} x {rows_of_b} rows, {result} in the result")?;
    let ours = engines.first().and_then(EngineTimes::best);
    for engine in engines {
        let what = match (engine.best(), &engine.failure) {
            (Some(ms), _) => format!("{ms:>10.1} ms {:>8.2} of ours", ms / ours.unwrap_or(f64::NAN)),
            (None, Some(failure)) => failure.clone(),
            (None, None) => "not timed".into(),
        };
        let doubt = if agree(&engines[0], engine) { "" } else { "   ANOTHER ANSWER" };
        writeln!(out, "  {:<10} {what}{doubt}", engine.engine)?;
    }
    Ok(())
}

/// A line of its own.
pub(super) fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Whether all who answered have the same rows and sum.
pub(super) fn agrees(measured: &Measured) -> bool {
    measured.engines.iter().all(|engine| agree(&measured.engines[0], engine))
}

pub(super) fn agree(one: &EngineTimes, other: &EngineTimes) -> bool {
    match (one.answer, other.answer) {
        (Some((rows, sum)), Some((others, other))) => {
            rows == others && (sum - other).abs() <= 1e-9 * sum.abs().max(other.abs())
        }
        _ => true,
    }
}
