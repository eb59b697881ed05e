//! GAP's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use bireme::graph::files::serialized::{Rows, SerializedGraph, write};
use bireme::prelude::{Error, Result};

use super::GraphKind;
use super::graph::Built;
use super::kernel::{BC_SOURCES, DELTA, Kernel};

/// The programs, and a graph in files.
pub(super) struct Gapbs {
    programs: PathBuf,
    plain: PathBuf,
    weighted: PathBuf,
    threads: usize,
}

impl Gapbs {
    /// Writes the graph for them.
    pub(super) fn new(programs: &Path, folder: &Path, built: &Built, threads: usize) -> Result<Self> {
        let (plain, weighted) = (folder.join("graph.sg"), folder.join("graph.wsg"));
        let rows = |weights: Option<Vec<i32>>| {
            let csr = if weights.is_some() { built.weighted.graph().out() } else { built.graph.out() };
            Rows { offsets: csr.offsets().to_vec(), targets: csr.targets().to_vec(), weights }
        };
        for (path, weights) in [(&plain, None), (&weighted, Some(built.weighted.weights().to_vec()))] {
            if path.exists() {
                std::fs::remove_file(path)?;
            }
            let graph = SerializedGraph { vertices: built.graph.vertices(), out: rows(weights), incoming: None };
            write(path, &graph)?;
        }
        Ok(Self { programs: programs.to_owned(), plain, weighted, threads })
    }

    /// The mean of a kernel's trials, in seconds.
    pub(super) fn run(&self, kernel: Kernel, trials: u32) -> Result<f64> {
        let file = if kernel == Kernel::Sssp { &self.weighted } else { &self.plain };
        let mut command = self.command(kernel.name());
        command.arg("-f").arg(file).arg("-n").arg(trials.to_string());
        match kernel {
            Kernel::Sssp => drop(command.arg("-d").arg(DELTA.to_string())),
            Kernel::Bc => drop(command.arg("-i").arg(BC_SOURCES.to_string())),
            _ => {}
        }
        let text = said(command)?;
        seconds(&text, "Average Time:")
            .ok_or_else(|| Error::internal(format!("GAP's {} said no time: {text}", kernel.name())))
    }

    /// How long it takes to build a graph of its own generator, if it has one of this kind.
    pub(super) fn build_seconds(&self, kind: GraphKind, scale: u32, degree: u64) -> Result<Option<f64>> {
        let option = match kind {
            GraphKind::Kron => "-g",
            GraphKind::Uniform => "-u",
            GraphKind::Grid => return Ok(None),
        };
        let mut command = self.command("bfs");
        command.arg(option).arg(scale.to_string()).arg("-k").arg(degree.to_string()).args(["-n", "1"]);
        Ok(seconds(&said(command)?, "Build Time:"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("OMP_NUM_THREADS", self.threads.to_string());
        command
    }
}

fn said(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Error::user(format!("running {program}: {error}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::internal(format!("{program} ended with {}: {why}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn seconds(text: &str, label: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(label)?.trim().parse().ok())
}
