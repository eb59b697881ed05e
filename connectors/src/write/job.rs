//! Names of jobs that write, and what is left of those whose process is gone.
//!
//! Hidden folders carry the process that owns the job, rank 0's: `.bireme-<process>-<job>-out-new`. If all ranks of a job are
//! killed at once nobody takes its folder away, so the next job that writes beside it does. Of processes on other hosts
//! nothing is known; their folders stay.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bincode::{Decode, Encode};
use bireme_engine::Result;
use bireme_engine::process::ProcessId;

use super::target;

const HIDDEN: &str = ".bireme-";

/// One job that writes files: a name that no other job has, and whose it is.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Job {
    owner: ProcessId,
    name: String,
}

impl Job {
    /// The next job of this process. Rank 0 makes it, and tells the others.
    pub fn next() -> Self {
        static JOBS: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let number = JOBS.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("{now:x}-{:x}-{number:x}", std::process::id()))
    }

    pub(crate) fn named(name: &str) -> Self {
        Self { owner: ProcessId::own(), name: name.to_owned() }
    }

    /// The first part of the names of its hidden folders.
    pub(crate) fn hidden(&self) -> String {
        format!("{HIDDEN}{}-{}", self.owner, self.name)
    }
}

/// Part of the names of its files.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Takes away what jobs of dead processes left beside `target` and in it. A table that such a job was about to replace, and had
/// moved aside, comes back. What cannot be removed stays and is said in the log: it stands in nobody's way.
///
/// # Errors
/// The target lies in a cloud store.
pub fn clear_dead_jobs(target: &str) -> Result<()> {
    let path = target::path_of(target)?;
    for folder in path.parent().into_iter().chain([path.as_path()]) {
        clear(folder);
    }
    Ok(())
}

fn clear(folder: &Path) {
    // The parent of a bare name is empty.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).and_then(|owner| owner.is_gone()) != Some(true) {
            continue;
        }
        let replaced = replaced(&name).map(|original| folder.join(original)).filter(|original| !original.exists());
        let cleared = match &replaced {
            Some(original) => target::rename(&entry.path(), original),
            None => target::remove(&entry.path()),
        };
        tracing::info!(left = %entry.path().display(), ?replaced, ?cleared, "of a job whose process is gone");
    }
}

fn owner(name: &str) -> Option<ProcessId> {
    ProcessId::parse(name.strip_prefix(HIDDEN)?.split_once('-')?.0)
}

/// The name of the target that a job has moved aside: `.bireme-<process>-<time>-<number>-<counter>-<name>-old`.
fn replaced(hidden: &str) -> Option<&str> {
    hidden.strip_prefix(HIDDEN)?.strip_suffix("-old")?.splitn(5, '-').nth(4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    /// The text of a process that has ended.
    fn dead() -> String {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let own = ProcessId::own().to_string();
        let (table, _) = own.split_once('_').unwrap();
        format!("{table}_{:x}_1", child.id())
    }

    #[test]
    fn what_the_dead_left_goes_and_what_they_moved_aside_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("my-table");
        let make = |name: &str, file: &str| {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(file), "1").unwrap();
        };
        let dead = dead();
        let alive = Job::next();
        make(&format!(".bireme-{dead}-5f-1a-0-my-table-new"), "half");
        make(&format!(".bireme-{dead}-5f-1a-1-my-table-old"), "whole");
        make(&format!("{}-my-table-new", alive.hidden()), "growing");
        make(".bireme-0_1_1-5f-1a-0-x-new", "elsewhere");
        clear_dead_jobs(target.to_str().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(target.join("whole")).unwrap(), "1");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);

        // Replaced already, so what was moved aside is of no use; and a job that appended.
        make(&format!(".bireme-{dead}-5f-1a-2-my-table-old"), "older");
        make(&format!("my-table/.bireme-{dead}-5f-1a-3"), "half");
        clear_dead_jobs(target.to_str().unwrap()).unwrap();
        assert_eq!(target::parts(&target).unwrap(), [Path::new("whole")]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
