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
    ranks: u32,
    #[serde(flatten)]
    circumstances: Circumstances,
    /// The lowest share of `MPI_Alltoallv`'s rate that moving partitioned rows reached, of cases without skew or limit.
    transfer_vs_raw: Option<f64>,
    /// The lowest share of its bound that an exchange by hash reached, of the same cases.
    end_to_end_vs_bound: Option<f64>,
    cases: Vec<Measured>,
}

impl Record {
    pub(super) fn new(ranks: u32, runs: u32, cases: Vec<Measured>) -> Self {
        let plain = || cases.iter().filter(|case| !case.skewed && case.memory_limit.is_none());
        Self {
            benchmark: "shuffle",
            ranks,
            circumstances: Circumstances::now(runs),
            transfer_vs_raw: plain().map(|case| case.transfer / case.alltoallv).reduce(f64::min),
            end_to_end_vs_bound: plain().map(|case| case.end_to_end / case.bound()).reduce(f64::min),
            cases,
        }
    }

    /// A line a case.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "GB/s per rank at {} ranks, best of {} after a warm-up\n", self.ranks, self.circumstances.runs)?;
        writeln!(
            out,
            "{:<12} {:>9} {:<13} {:>9} {:>9} {:>9} {:>10} {:>10} | {:>8} {:>8}",
            "rows", "MiB", "", "alltoallv", "partition", "transfer", "end to end", "datafusion", "/raw", "/bound"
        )?;
        for case in &self.cases {
            let kind = match (case.skewed, case.memory_limit) {
                (true, _) => "90/10",
                (_, Some(_)) => "limit a tenth",
                _ => "",
            };
            let rate = |rate: f64| rate / 1e9;
            writeln!(
                out,
                "{:<12} {:>9} {kind:<13} {:>9.2} {:>9.2} {:>9.2} {:>10.2} {:>10.2} | {:>8.2} {:>8.2}",
                case.rows.name(),
                case.bytes >> 20,
                rate(case.alltoallv),
                rate(case.partition),
                rate(case.transfer),
                rate(case.end_to_end),
                rate(case.datafusion),
                case.transfer / case.alltoallv,
                case.end_to_end / case.bound(),
            )?;
        }
        writeln!(out, "\n/raw: transfer over alltoallv. /bound: end to end over 1 / (1/alltoallv + 1/partition).")?;
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}
