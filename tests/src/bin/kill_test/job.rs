//! One job under `mpirun`, and all its processes.
//!
//! They are found by a mark in their environment, which children inherit: so orphans are found too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MARK: &str = "BIREME_KILL_TEST";

/// Variables in which launchers put the rank.
const RANK: [&str; 2] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"];

pub struct Job {
    child: Child,
    mark: String,
    said: PathBuf,
}

/// How a job ended.
pub struct Ended {
    /// `None` if it had to be killed, or a signal ended it.
    pub code: Option<i32>,
    /// How long after the signal the last of its processes was gone.
    pub after: Duration,
    /// Processes that were still there at the limit, and were killed.
    pub left: Vec<u32>,
    /// Standard error.
    pub said: String,
}

impl Job {
    /// Starts the command; `name` is a path for its files, different for each job.
    pub fn start(mut command: Command, name: &Path) -> Self {
        let mark = format!("{MARK}={}", name.display());
        let said = name.with_extension("err");
        command.env(MARK, name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        Self { child: command.spawn().unwrap(), mark, said }
    }

    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The process of a rank, if it is there.
    pub fn rank(&self, rank: usize) -> Option<u32> {
        let is_rank = |entry: &&str| {
            entry.split_once('=').is_some_and(|(name, value)| RANK.contains(&name) && value == rank.to_string())
        };
        let environment = |number: &u32| environment(*number).split('\0').find(|entry| is_rank(entry)).is_some();
        self.processes().into_iter().find(environment)
    }

    /// Sends a signal to one of its processes, and waits for the end of all.
    pub fn signal(self, process: u32, signal: &str, limit: Duration) -> Ended {
        assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
        self.wait(limit)
    }

    /// Waits for the end of all its processes; kills those that are left at the limit.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let started = Instant::now();
        loop {
            let code = self.child.try_wait().unwrap();
            let left = if code.is_some() { self.processes() } else { Vec::new() };
            let over = started.elapsed() > limit;
            if code.is_some() && left.is_empty() || over {
                let after = started.elapsed();
                let left = self.kill_all();
                let said = fs::read_to_string(&self.said).unwrap();
                return Ended { code: code.and_then(|status| status.code()), after, left, said };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill_all(&mut self) -> Vec<u32> {
        let left = self.processes();
        for number in &left {
            let _ = Command::new("kill").args(["-KILL", &number.to_string()]).status();
        }
        let _ = self.child.wait();
        left
    }

    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|&number| environment(number).split('\0').any(|entry| entry == self.mark)).collect()
    }
}

/// Empty if the process is gone, or another user's.
fn environment(process: u32) -> String {
    let bytes = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
