//! On what was measured, when, and which sources: what a reader needs to believe or repeat a number.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use bireme::prelude::{Error, Result};
use serde::Serialize;

/// A machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

/// The state of the source tree this program was built in, when it runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sources {
    /// None outside a clone.
    pub(crate) commit: Option<String>,
    /// Files differ from the commit.
    pub(crate) dirty: bool,
}

/// When, where and of which sources something was measured, and in how many rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Circumstances {
    pub(crate) runs: u32,
    /// UTC.
    date: String,
    #[serde(flatten)]
    sources: Sources,
    machine: Machine,
}

impl Circumstances {
    /// Now and here.
    pub(crate) fn now(runs: u32) -> Self {
        Self { runs, date: now(), sources: Sources::probe(), machine: Machine::probe() }
    }
}

/// Writes a record into a file.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_record(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(record).map_err(|error| Error::internal(error.to_string()))?;
    let written = std::fs::write(path, text + "\n");
    written.map_err(|error| Error::from(error).context(format!("writing {}", path.display())))
}

impl Machine {
    /// This one; what the kernel does not tell is `unknown`.
    pub(crate) fn probe() -> Self {
        let memory = value_in("/proc/meminfo", "MemTotal").and_then(|value| kibibytes(&value)).unwrap_or(0);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned());
        Machine {
            cpu: value_in("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory,
            kernel: kernel.unwrap_or_else(|_| "unknown".into()),
        }
    }
}

impl Sources {
    /// Asks git.
    pub(crate) fn probe() -> Self {
        let commit = git(&["rev-parse", "HEAD"]).map(|text| text.trim().to_owned());
        let dirty = git(&["status", "--porcelain"]).is_some_and(|text| !text.trim().is_empty());
        Self { commit, dirty }
    }
}

/// The most memory a process had at once, from the kernel; none once it is gone.
pub(crate) fn peak_bytes(process: u32) -> Option<u64> {
    kibibytes(&value_in(&format!("/proc/{process}/status"), "VmHWM")?)
}

/// Now, in UTC, as ISO 8601.
pub(crate) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = i64::try_from(seconds).ok().and_then(arrow::temporal_conversions::timestamp_s_to_datetime);
    time.map_or_else(|| "unknown".into(), |time| format!("{}T{}Z", time.date(), time.time()))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The value in the first line `key : value` of a file of the kernel's.
fn value_in(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_peak() {
        // Hardly a process of this size has less than a megabyte; a unit mistake would give thousands less or more.
        assert!(peak_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20 && bytes < 1 << 40));
        assert_eq!(peak_bytes(u32::MAX), None);
    }

    #[test]
    fn now_is_iso() {
        let now = now();
        assert_eq!((now.len(), &now[10..11], &now[19..]), (20, "T", "Z"), "{now}");
    }
}
