//! What was found, as text and as a record.

use std::io::Write as _;
use std::path::Path;

use bireme::prelude::{Result, Session};
use serde::Serialize;

use super::{Check, Timed};
use crate::machine::{Circumstances, write_record};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    benchmark: &'static str,
    /// The device as its driver calls it.
    device: String,
    #[serde(flatten)]
    circumstances: Circumstances,
    pub(super) checks: Vec<Check>,
    /// None unless on a GPU, and unless all answers agree.
    pub(super) times: Vec<Timed>,
}

impl Record {
    pub(super) fn new(runs: u32, session: &Session) -> Self {
        let device = session.device_reports().first().map_or_else(String::new, |report| report.device.clone());
        Self {
            benchmark: "gpu",
            device,
            circumstances: Circumstances::now(runs),
            checks: Vec::new(),
            times: Vec::new(),
        }
    }

    /// A line a check, then a line a time.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "on {}\n", self.device)?;
        for check in &self.checks {
            let Check { name, on_device, on_cpu, why, failed } = check;
            let verdict = failed.as_deref().unwrap_or("the same");
            writeln!(out, "{name:<26} {on_device:>3} on the device, {on_cpu:>2} on the CPU: {verdict}")?;
            why.iter().try_for_each(|why| writeln!(out, "{:<26} on the CPU: {why}", ""))?;
        }
        let same = self.checks.iter().filter(|check| check.failed.is_none()).count();
        writeln!(out, "\n{same} of {} give the answers of the CPU", self.checks.len())?;
        for Timed { query, device_median_ms, cpu_median_ms, bytes_up, bytes_down, .. } in &self.times {
            let ms = |time: &Option<f64>| time.map_or("-".into(), |time| format!("{time:.1}"));
            writeln!(
                out,
                "{query:<4} {:>9} ms on the device, {:>9} ms on the CPU (medians); {bytes_up} bytes up, {bytes_down} down",
                ms(device_median_ms),
                ms(cpu_median_ms)
            )?;
        }
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_record(path, self)
    }
}
