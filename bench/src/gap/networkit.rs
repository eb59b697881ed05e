//! networkit, a library of graph algorithms in C++ with an interface in Python, on the same graph.
//!
//! It is asked for the answers that it has in common with GAP's kernels, in fewer trials, since some take it long: breadth-first
//! search and Dijkstra's algorithm from the same sources, PageRank to the same change in double precision, components by label
//! propagation, betweenness of four sources of its own choice, and local clustering for triangles.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bireme::graph::kernels::{bfs_depths, components, count_triangles, sssp};
use bireme::prelude::{Error, Result};

use super::graph::Built;
use super::kernel::{DELTA, Kernel};

/// It travels inside this program, so that the program can be copied alone.
const SCRIPT: &str = include_str!("../../peers/gap_networkit_peer.py");

/// Trials of a kernel, at most.
const TRIALS: u32 = 4;

/// The library with a graph, in a process of its own.
pub(super) struct Networkit {
    child: Child,
    asks: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Networkit {
    /// Writes the graph for a Python that has the library, and waits until it has read it.
    pub(super) fn start(venv: &Path, folder: &Path, built: &Built, threads: usize) -> Result<Self> {
        let graph = built.weighted.graph().out();
        let once = |vertex: u32| {
            let first = graph.offsets()[vertex as usize];
            let neighbours = graph.neighbours(vertex).iter().enumerate();
            neighbours.filter(move |(_, other)| vertex < **other).map(move |(at, other)| (vertex, *other, first + at))
        };
        let edges = || (0..graph.vertices() as u32).flat_map(once);
        write(folder.join("from.u32"), edges().map(|(from, ..)| from.to_ne_bytes()))?;
        write(folder.join("to.u32"), edges().map(|(_, to, _)| to.to_ne_bytes()))?;
        write(folder.join("weights.i32"), edges().map(|(.., at)| built.weighted.weights()[at].to_ne_bytes()))?;
        std::fs::write(folder.join("vertices.txt"), graph.vertices().to_string())?;
        let python = venv.join("bin/python");
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT]).arg(folder).arg(threads.to_string());
        // Its threads must not wait busily while others are timed.
        command.env("OMP_WAIT_POLICY", "passive");
        let failed = |error: std::io::Error| Error::user(format!("running {}: {error}", python.display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (asks, says) = (child.stdin.take(), child.stdout.take());
        let says = BufReader::new(says.ok_or_else(|| Error::internal("networkit without an output"))?);
        let mut started = Self { child, asks, says };
        match started.answer()?.trim() {
            "ready" => Ok(started),
            _ => Err(silent()),
        }
    }

    /// The mean of a kernel's trials, in seconds; or what is wrong with the answers, as far as they can be compared.
    pub(super) fn run(&mut self, kernel: Kernel, built: &Built, trials: u32) -> Result<Result<f64, String>> {
        let sources = (0..trials.min(TRIALS)).filter_map(|trial| built.sources(trial, 1).first().copied());
        let sources = sources.collect::<Vec<_>>();
        let words = sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let asks = self.asks.as_mut().ok_or_else(silent)?;
        writeln!(asks, "{} {words}", kernel.name()).and_then(|()| asks.flush()).map_err(|_| silent())?;
        let line = self.answer()?;
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(seconds)), Some(Ok(total))) = (numbers.next(), numbers.next()) else { return Err(silent()) };
        let expected = sources.iter().map(|&source| total_of(kernel, built, source)).sum::<Option<f64>>();
        Ok(match expected {
            Some(expected) if (expected - total).abs() > 1e-9 * expected => {
                Err(format!("networkit's answers add up to {total}, ours to {expected}"))
            }
            _ => Ok(seconds),
        })
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        Ok(line)
    }
}

fn silent() -> Error {
    Error::user("networkit ended before it answered; it has said why above")
}

impl Drop for Networkit {
    fn drop(&mut self) {
        // It ends when nothing more can be asked.
        self.asks = None;
        let _ = self.child.wait();
    }
}

/// What an answer adds up to, where it is the same for everybody.
fn total_of(kernel: Kernel, built: &Built, source: u32) -> Option<f64> {
    match kernel {
        Kernel::Bfs => {
            let depths = bfs_depths(&built.graph, source).into_iter();
            Some(depths.filter(|depth| *depth != u32::MAX).map(f64::from).sum())
        }
        Kernel::Sssp => {
            let lengths = sssp(&built.weighted, source, DELTA).into_iter();
            Some(lengths.filter(|length| *length != i32::MAX).map(f64::from).sum())
        }
        Kernel::Cc => {
            let labels = components(&built.graph);
            Some((0_u32..).zip(&labels).filter(|(vertex, label)| vertex == *label).count() as f64)
        }
        Kernel::Tc => Some(count_triangles(&built.graph) as f64),
        Kernel::Pr | Kernel::Bc => None,
    }
}

fn write<const N: usize>(path: PathBuf, numbers: impl Iterator<Item = [u8; N]>) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for number in numbers {
        file.write_all(&number)?;
    }
    Ok(file.flush()?)
}
