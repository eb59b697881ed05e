//! One command for a machine with a GPU: what runs there gives the answers of the CPU, and how long it takes.
//!
//! ```text
//!   bireme-bench gpu --json gpu.json
//!     tables of TPC-H, made here ──► 22 queries ─┐
//!     a generated graph          ──► 4 algorithms ┼─► on the CPU, on the device: the same?   then, on a GPU only: times
//!     arrays                     ──► 3 programs  ─┘
//! ```
//!
//! It needs this program alone: no network, no Python, no files. With `--device emulated` it checks the same kernels without a GPU; that
//! device proves what kernels compute, and its times are nobody's, so that none are written.

mod programs;
mod report;
mod tables;

use std::path::PathBuf;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme::prelude::*;
use bireme::{Device, DeviceWork};
use clap::Args;
use serde::Serialize;

use crate::queries;
use crate::statistics::median;
use report::Record;

/// What was typed.
#[derive(Debug, Args)]
pub(crate) struct Gpu {
    /// On what: `gpu`, or `emulated` to check kernels without one
    #[arg(long, value_name = "DEVICE", default_value = "gpu")]
    device: String,
    /// The scale of TPC-H's tables for checks
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    scale: f64,
    /// The scale of TPC-H's tables for times, which are in memory: about 1 GB each
    #[arg(long, value_name = "F", default_value_t = 10.0)]
    timed_scale: f64,
    /// Timed rounds after one warm-up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Writes all that was found, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The queries that are timed.
const TIMED: [&str; 4] = ["q1", "q3", "q6", "q9"];

/// Something that was tried on the CPU and on the device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    name: String,
    /// What differs, or went wrong.
    failed: Option<String>,
    /// How much ran on the device, by kind, and on the CPU.
    on_device: u64,
    on_cpu: u64,
    /// Why some of it did.
    why: Vec<String>,
}

/// Times of a query, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Timed {
    query: &'static str,
    rows_per_table: &'static str,
    device_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    device_median_ms: Option<f64>,
    cpu_median_ms: Option<f64>,
    /// Bytes over the bus in all rounds.
    bytes_up: u64,
    bytes_down: u64,
}

/// Runs the command; whether all answers agree.
///
/// # Errors
/// There is no such device; the record cannot be written.
pub(crate) fn run(arguments: &Gpu) -> Result<bool> {
    let device = arguments.device.parse::<Device>()?;
    if matches!(device, Device::Auto | Device::Cpu) {
        return Err(Error::user(format!(
            "`--device {}`: kernels are checked on `gpu` or `emulated`",
            arguments.device
        )));
    }
    let (mut record, mut checks) = (Record::new(arguments.runs, &session(device)?), Vec::new());
    {
        let [cpu, there] = [session(Device::Cpu)?, session(device)?];
        for table in tables::all(arguments.scale) {
            let (name, batches) = table?;
            cpu.register_table(name, batches.clone())?;
            there.register_table(name, batches)?;
        }
        for query in &queries::ALL {
            checks.push(check(query.name, &there, || Ok((answer(&cpu, query.sql)?, answer(&there, query.sql)?))));
        }
    }
    for (name, program) in programs::ALL {
        let [cpu, there] = [session(Device::Cpu)?, session(device)?];
        checks.push(check(name, &there, || Ok((program(&cpu)?, program(&there)?))));
    }
    let agreed = checks.iter().all(|check| check.failed.is_none());
    record.checks = checks;
    if device == Device::Gpu && agreed {
        record.times = times(arguments)?;
    }
    record.print()?;
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(agreed)
}

fn session(device: Device) -> Result<Session> {
    Session::builder().device(device).build()
}

/// Compares what two sessions say; counts what ran where in between.
fn check(name: &str, there: &Session, both: impl FnOnce() -> Result<(Vec<String>, Vec<String>)>) -> Check {
    let before = totals(there);
    let failed = match both() {
        Ok((wanted, got)) if wanted == got => None,
        Ok((wanted, got)) => {
            let differs = wanted.iter().zip(&got).find(|(wanted, got)| wanted != got);
            Some(match differs {
                Some((wanted, got)) => format!("{got} on the device is {wanted} on the CPU"),
                None => format!("{} rows on the device are {} on the CPU", got.len(), wanted.len()),
            })
        }
        Err(error) => Some(error.to_string()),
    };
    let after = totals(there);
    Check {
        name: name.to_owned(),
        failed,
        on_device: after.0 - before.0,
        on_cpu: after.1 - before.1,
        why: after.2.into_iter().filter(|why| !before.2.contains(why)).collect(),
    }
}

/// Work on the device, on the CPU, and why.
fn totals(session: &Session) -> (u64, u64, Vec<String>) {
    let (mut device, mut cpu, mut why) = (0, 0, Vec::new());
    for report in session.device_reports() {
        // Batches and sorts are parts of pipelines.
        for (_, share) in
            report.work.iter().filter(|(work, _)| !matches!(work, DeviceWork::Batches | DeviceWork::Sorts))
        {
            device += share.on_device;
            cpu += share.cpu();
            why.extend(share.on_cpu.keys().cloned());
        }
    }
    (device, cpu, why)
}

/// The rows of a query's text, sorted.
fn answer(session: &Session, sql: &str) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for statement in bireme::sql::split(sql)? {
        let frame = session.sql(&statement)?;
        let batches = frame.collect()?;
        if frame.is_query() {
            rows = lines(&batches)?;
        }
    }
    rows.sort();
    Ok(rows)
}

/// Rows as text; floats to twelve digits, for their sums are in any order on a device.
pub(super) fn lines(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(batch.columns()).map(|(column, array)| {
                let text = column.value(row).to_string();
                match text.parse::<f64>() {
                    Ok(value) if array.data_type().is_floating() => format!("{value:.11e}"),
                    _ => text,
                }
            });
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}

/// Times of queries on tables in memory, on the device and on the CPU in turn.
fn times(arguments: &Gpu) -> Result<Vec<Timed>> {
    let [cpu, there] = [session(Device::Cpu)?, session(Device::Gpu)?];
    for table in tables::all(arguments.timed_scale) {
        let (name, batches) = table?;
        cpu.register_table(name, batches.clone())?;
        there.register_table(name, batches)?;
    }
    let mut all = Vec::new();
    for query in queries::ALL.iter().filter(|query| TIMED.contains(&query.name)) {
        let (mut device_ms, mut cpu_ms) = (Vec::new(), Vec::new());
        let moved = |session: &Session| {
            let reports = session.device_reports();
            reports.iter().fold((0, 0), |(up, down), report| (up + report.uploaded, down + report.downloaded))
        };
        let before = moved(&there);
        for round in 0..=arguments.runs {
            for (session, ms) in [(&there, &mut device_ms), (&cpu, &mut cpu_ms)] {
                let begun = Instant::now();
                answer(session, query.sql)?;
                // The first one is a warm-up.
                if round > 0 {
                    ms.push(begun.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let after = moved(&there);
        all.push(Timed {
            query: query.name,
            rows_per_table: "in memory of the host, uploaded in each round",
            device_median_ms: median(&device_ms),
            cpu_median_ms: median(&cpu_ms),
            device_ms,
            cpu_ms,
            bytes_up: after.0 - before.0,
            bytes_down: after.1 - before.1,
        });
    }
    Ok(all)
}
