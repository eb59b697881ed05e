//! The machine of a whole job, as plans see it: ranks on nodes, and how fast what they do and send is.
//!
//! ```text
//!   node 0                      node 1
//!   ┌──────────────────┐        ┌──────────────────┐      within a node: `rates.on_node`
//!   │ rank 0    rank 1 │◄──────►│ rank 2    rank 3 │      between nodes: `rates.between`, shared by the node's ranks
//!   └──────────────────┘        └──────────────────┘
//! ```
//!
//! It may be a machine that is not there: `bireme explain --machine cluster.toml` plans for one that a file describes. The same on
//! every rank, for plans depend on it.

use std::fmt::Write as _;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{GpuRates, Machine, bytes};
use crate::error::{Error, Result};
use crate::layout::Grid;

/// A job's machine.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many nodes: ranks of one node share its memory.
    pub nodes: usize,
    /// How many ranks each node has.
    pub ranks_per_node: usize,
    /// Worker threads of a rank.
    pub threads: usize,
    /// Cores of a node that the job may use; 0: each thread has one to itself.
    #[serde(default)]
    pub cores_per_node: usize,
    /// Bytes of memory of a node.
    #[serde(default)]
    pub memory_bytes: u64,
    /// GPUs of a node.
    #[serde(default)]
    pub gpus_per_node: usize,
    /// How fast it is.
    #[serde(default)]
    pub rates: Rates,
}

/// How fast a machine is. What has not been measured is what a server of the mid-2020s does.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// How fast a core does what operators do, as a multiple of the machine on which the planner's costs were found.
    pub core: f64,
    /// Double-precision operations a second of one core.
    pub core_flops: f64,
    /// Bytes a second that all cores of a node read from memory.
    pub memory: f64,
    /// Bytes a second that one core reads from memory.
    pub core_memory: f64,
    /// Between ranks of one node.
    pub on_node: Link,
    /// Between nodes.
    pub between: Link,
    /// Of each GPU; `None` where there are none, or none was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuRates>,
    /// Whether these were measured, and where.
    pub source: String,
}

/// A way between two ranks.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Seconds that a small message takes, one way.
    pub latency: f64,
    /// Bytes a second: of one rank within a node, of one node between nodes.
    pub bandwidth: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            core: 1.0,
            core_flops: 20e9,
            memory: 30e9,
            core_memory: 15e9,
            on_node: Link { latency: 5e-6, bandwidth: 2e9 },
            between: Link { latency: 20e-6, bandwidth: 10e9 },
            gpu: None,
            source: "defaults".into(),
        }
    }
}

impl Cluster {
    /// A job on one node.
    pub fn on_one_node(machine: &Machine, ranks: usize, threads: usize) -> Self {
        Self {
            nodes: 1,
            ranks_per_node: ranks,
            threads,
            cores_per_node: machine.affinity.len(),
            memory_bytes: machine.memory_bytes,
            gpus_per_node: machine.gpus.len(),
            rates: Rates::default(),
        }
    }

    /// All ranks.
    pub fn ranks(&self) -> usize {
        self.nodes * self.ranks_per_node
    }

    /// How many cores' worth of work a rank does: its threads, or its share of the node's cores where threads are more than these.
    pub fn cores_of_a_rank(&self) -> f64 {
        let threads = self.threads.max(1) as f64;
        match self.cores_per_node {
            0 => threads,
            cores => threads.min(cores as f64 / self.ranks_per_node.max(1) as f64),
        }
    }

    /// The ranks as they are nested in the machine: nodes × ranks of a node.
    ///
    /// # Errors
    /// There are none.
    pub fn grid(&self) -> Result<Grid> {
        Grid::new([self.nodes, self.ranks_per_node])
    }

    /// The bytes a second that one rank sends when all ranks send to all others alike, and the seconds that a message takes.
    ///
    /// Of what a rank sends, `(nodes − 1) / nodes` leaves its node, whose way out it shares with its neighbours.
    pub fn all_to_all(&self) -> Link {
        let (ranks, here) = (self.ranks() as f64, self.ranks_per_node as f64);
        if ranks <= 1.0 {
            return Link { latency: 0.0, bandwidth: f64::INFINITY };
        }
        let (on_node, between) = (self.rates.on_node, self.rates.between);
        let near = (here - 1.0) / (ranks - 1.0);
        let seconds = near / on_node.bandwidth + (1.0 - near) * here / between.bandwidth;
        let latency = if self.nodes > 1 { between.latency } else { on_node.latency };
        Link { latency, bandwidth: 1.0 / seconds }
    }

    /// Checks a description that somebody has written.
    ///
    /// # Errors
    /// It has no ranks or threads, or a rate that is not positive; the message names it.
    pub fn check(&self) -> Result<()> {
        let counts = [("nodes", self.nodes), ("ranks_per_node", self.ranks_per_node), ("threads", self.threads)];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::user(format!("a machine with {name} = 0; it needs at least one")));
        }
        let rates = &self.rates;
        let positive = [
            ("core", rates.core),
            ("core_flops", rates.core_flops),
            ("memory", rates.memory),
            ("core_memory", rates.core_memory),
            ("on_node.latency", rates.on_node.latency),
            ("on_node.bandwidth", rates.on_node.bandwidth),
            ("between.latency", rates.between.latency),
            ("between.bandwidth", rates.between.bandwidth),
        ];
        let of_gpu = rates.gpu.map(|gpu| {
            [
                ("gpu.memory", gpu.memory),
                ("gpu.upload", gpu.upload),
                ("gpu.download", gpu.download),
                ("gpu.flops", gpu.flops),
                ("gpu.launch", gpu.launch),
            ]
        });
        match positive.iter().chain(of_gpu.iter().flatten()).find(|(_, rate)| !(rate.is_finite() && *rate > 0.0)) {
            Some((name, rate)) => {
                Err(Error::user(format!("a machine with rates.{name} = {rate}; it must be positive")))
            }
            None => Ok(()),
        }
    }

    /// The cluster in a few lines for a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<8} {value}");
        };
        let cores = match self.cores_per_node {
            0 => String::new(),
            cores => format!(", {cores} cores a node"),
        };
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        line(
            "job",
            format!(
                "{} on {}, {} each{cores}",
                plural(self.ranks(), "rank"),
                plural(self.nodes, "node"),
                plural(self.threads, "thread")
            ),
        );
        let Rates { core, core_flops, memory, core_memory, on_node, between, gpu, source } = &self.rates;
        line("rates", format!("of {source}"));
        line(
            "core",
            format!("{core:.2} of the reference, {:.1} GFLOP/s, {} of memory", core_flops / 1e9, speed(*core_memory)),
        );
        line("node", format!("{} of memory", speed(*memory)));
        if let Some(gpu) = gpu {
            let GpuRates { memory, upload, download, flops, launch } = *gpu;
            let (memory, upload, download) = (speed(memory), speed(upload), speed(download));
            let (flops, launch) = (flops / 1e12, launch * 1e6);
            line(
                "gpu",
                format!(
                    "{flops:.1} TFLOP/s, {memory} of memory, {upload} up, {download} down, {launch:.1} µs a launch"
                ),
            );
        }
        let link = |link: &Link| format!("{:.1} µs, {}", link.latency * 1e6, speed(link.bandwidth));
        if self.ranks_per_node > 1 {
            line("on node", format!("{} a rank", link(on_node)));
        }
        if self.nodes > 1 {
            line("between", format!("{} a node", link(between)));
        }
        text
    }
}

fn speed(bytes_a_second: f64) -> String {
    format!("{}/s", bytes(bytes_a_second as u64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    fn cluster(nodes: usize, ranks_per_node: usize) -> Cluster {
        let machine = Machine::probe(1, 0);
        Cluster { nodes, ranks_per_node, ..Cluster::on_one_node(&machine, 1, 2) }
    }

    #[test]
    fn ways_out_are_shared() {
        let alone = cluster(1, 1);
        assert_eq!(alone.all_to_all().bandwidth, f64::INFINITY);
        let node = cluster(1, 4);
        assert!((node.all_to_all().bandwidth / node.rates.on_node.bandwidth - 1.0).abs() < 1e-9);
        let one_each = cluster(8, 1);
        assert!((one_each.all_to_all().bandwidth / one_each.rates.between.bandwidth - 1.0).abs() < 1e-9);
        let many = cluster(8, 4);
        let slower = many.all_to_all().bandwidth;
        assert!(slower < many.rates.between.bandwidth / 3.0, "{slower}");
        assert_eq!((many.ranks(), many.grid().unwrap().extents().to_vec()), (32, vec![8, 4]));
    }

    #[test]
    fn cores_are_shared() {
        let cluster = |cores_per_node| Cluster { cores_per_node, ..cluster(1, 4) };
        assert_eq!([0, 2, 8, 64].map(|cores| cluster(cores).cores_of_a_rank()), [2.0, 0.5, 2.0, 2.0]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(cluster(1, 1).check().is_ok());
        assert!(cluster(0, 1).check().unwrap_err().to_string().contains("nodes"));
        let mut slow = cluster(1, 1);
        slow.rates.between.bandwidth = 0.0;
        assert!(slow.check().unwrap_err().to_string().contains("between.bandwidth"));
    }

    #[test]
    fn it_is_described() {
        let text = cluster(2, 4).describe();
        assert!(text.contains("8 ranks on 2 nodes, 2 threads each") && text.contains("between  20.0 µs"), "{text}");
        assert!(!cluster(1, 1).describe().contains("on node"));
    }
}
