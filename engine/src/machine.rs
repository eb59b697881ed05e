//! What the machine under one rank is: cores, caches, memory, GPUs.
//!
//! Read from `/proc`, `/sys`, the affinity mask and CUDA's driver; a probe measures nothing. What cannot be read is left
//! out or guessed low, never an error: a machine that hides its caches still runs queries. A probe travels to the other
//! ranks (`Encode`), so that all plan with the same numbers.

mod cluster;
mod gpu;
mod measure;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bincode::{Decode, Encode};

use crate::error::{Error, Result};
use crate::layout::Grid;

pub use cluster::{Cluster, Link, Rates};
use gpu::gpus;
pub use gpu::{Gpu, GpuRates, measure_gpu};
pub use measure::{measure, measure_link};

/// One rank's machine.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Machine {
    /// The host's name.
    pub host: String,
    /// How many ranks the job has.
    pub ranks: usize,
    /// Which one was probed.
    pub rank: usize,
    /// Cores of the host that are switched on.
    pub cores_online: usize,
    /// The cores on which this process may run, ascending; not empty. Launchers often allow just one.
    pub affinity: Vec<usize>,
    /// The processor's name.
    pub cpu_model: String,
    /// Data caches of the first core, from the nearest.
    pub caches: Vec<Cache>,
    /// Memory that the process may use: the host's, or its control group's if that is less.
    pub memory_bytes: u64,
    /// Memory domains of the host.
    pub numa_nodes: usize,
    /// GPUs that the driver shows.
    pub gpus: Vec<Gpu>,
    /// Why there are no GPUs, if there are none.
    pub gpu_note: Option<String>,
}

/// A data cache.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u32,
    /// Bytes.
    pub size: u64,
    /// How many cores share it.
    pub shared: usize,
}

impl Machine {
    /// Looks at this machine, as rank `rank` of `ranks`.
    pub fn probe(ranks: usize, rank: usize) -> Machine {
        let affinity = affinity();
        let (gpus, gpu_note) = match gpus() {
            Ok(gpus) if gpus.is_empty() => (gpus, Some("the CUDA driver shows no device".to_owned())),
            Ok(gpus) => (gpus, None),
            Err(note) => (Vec::new(), Some(note)),
        };
        Machine {
            host: host(),
            ranks,
            rank,
            cores_online: read("/sys/devices/system/cpu/online").map_or(affinity.len(), |list| cpu_list(&list).len()),
            cpu_model: cpu_model(),
            caches: affinity.first().map(|&core| caches(core)).unwrap_or_default(),
            affinity,
            memory_bytes: memory_bytes(),
            numa_nodes: numa_nodes(),
            gpus,
            gpu_note,
        }
    }

    /// The job's ranks as a grid, numbered row-major: `machine.grid([2, 3])` for six ranks.
    ///
    /// # Errors
    /// The grid has more or fewer places than the job has ranks.
    pub fn grid(&self, extents: impl Into<Vec<usize>>) -> Result<Grid> {
        let grid = Grid::new(extents)?;
        if grid.ranks() == self.ranks {
            return Ok(grid);
        }
        Err(Error::user(format!(
            "a grid of {grid} ranks has {} places, and the job has {} ranks",
            grid.ranks(),
            self.ranks
        )))
    }

    /// The machine in a few lines for a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<8} {value}");
        };
        line("host", &self.host);
        line("rank", &format!("{} of {}", self.rank, self.ranks));
        let mask = if self.affinity.len() < self.cores_online {
            format!(", this process may use {} ({})", self.affinity.len(), ranges(&self.affinity))
        } else {
            String::new()
        };
        line("cores", &format!("{}{mask}; {}", self.cores_online, self.cpu_model));
        for cache in &self.caches {
            let shared = if cache.shared > 1 { format!(", shared by {} cores", cache.shared) } else { String::new() };
            line(&format!("cache L{}", cache.level), &format!("{}{shared}", bytes(cache.size)));
        }
        let nodes = if self.numa_nodes > 1 { format!(" in {} NUMA nodes", self.numa_nodes) } else { String::new() };
        line("memory", &format!("{}{nodes}", bytes(self.memory_bytes)));
        for (number, gpu) in self.gpus.iter().enumerate() {
            let (major, minor) = gpu.compute_capability;
            line(&format!("gpu {number}"), &format!("{}, {}, sm_{major}{minor}", gpu.name, bytes(gpu.memory)));
        }
        if let Some(note) = &self.gpu_note {
            line("gpu", &format!("none: {note}"));
        }
        text
    }
}

/// Ranks with the same host id share a disk. The name of the host and of its last boot; `BIREME_HOST_ID` overrides it
/// (containers that share a disk, or tests that pretend not to).
pub fn host_id() -> String {
    match std::env::var("BIREME_HOST_ID") {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => format!("{} {}", host(), read("/proc/sys/kernel/random/boot_id").unwrap_or_default()),
    }
}

pub(crate) fn host() -> String {
    read("/proc/sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".into())
}

/// A file's text without surrounding space; `None` if it is not there or empty.
pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(target_os = "linux")]
fn affinity_mask() -> Option<Vec<usize>> {
    // cpu_set_t ends at 1024 cores; the kernel takes any length.
    let mut words = [0_u64; 256];
    // SAFETY: the kernel writes at most `size_of_val(&words)` bytes into `words`, which may hold any bits.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of_val(&words), words.as_mut_ptr().cast()) };
    let bit = |core: usize| words[core / 64] >> (core % 64) & 1 == 1;
    (outcome == 0).then(|| (0..words.len() * 64).filter(|&core| bit(core)).collect())
}

#[cfg(not(target_os = "linux"))]
fn affinity_mask() -> Option<Vec<usize>> {
    None
}

fn affinity() -> Vec<usize> {
    affinity_mask().filter(|cores| !cores.is_empty()).unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..cores).collect()
    })
}

fn cpu_model() -> String {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let named = |name: &str| {
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    named("model name")
        .or_else(|| named("Model"))
        .or_else(|| named("cpu"))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn caches(core: usize) -> Vec<Cache> {
    let folder = format!("/sys/devices/system/cpu/cpu{core}/cache");
    let mut caches: Vec<Cache> = (0..16)
        .map_while(|index| {
            let read = |name: &str| read(format!("{folder}/index{index}/{name}"));
            let kind = read("type")?;
            Some((kind != "Instruction").then(|| Cache {
                level: read("level").and_then(|text| text.parse().ok()).unwrap_or_default(),
                size: read("size").and_then(|text| size(&text)).unwrap_or_default(),
                shared: read("shared_cpu_list").map_or(1, |list| cpu_list(&list).len().max(1)),
            }))
        })
        .flatten()
        .filter(|cache| cache.level > 0 && cache.size > 0)
        .collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// `48K` as the kernel writes it.
fn size(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_shl(shift)
}

/// `0-3,8` as the kernel writes it.
fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The inverse of [`cpu_list`].
fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|a, b| a + 1 == *b);
    let texts = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    texts.collect::<Vec<_>>().join(",")
}

fn memory_bytes() -> u64 {
    let info = read("/proc/meminfo").unwrap_or_default();
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let total = total.map_or(u64::MAX, |kib| kib << 10);
    match total.min(group_limit()) {
        // Neither the host nor a control group says anything: assume little.
        u64::MAX => 1 << 30,
        bytes => bytes,
    }
}

/// The least memory limit of the control groups around this process (version 2, then version 1).
fn group_limit() -> u64 {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let mut files =
        vec!["/sys/fs/cgroup/memory.max".to_owned(), "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned()];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for group in Path::new(path).ancestors().filter_map(|group| group.to_str()).map(|group| group.trim_matches('/'))
        {
            match controllers {
                "" => files.push(format!("/sys/fs/cgroup/{group}/memory.max")),
                "memory" => files.push(format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes")),
                _ => {}
            }
        }
    }
    files.iter().filter_map(|file| read(file)?.parse().ok()).min().unwrap_or(u64::MAX)
}

fn numa_nodes() -> usize {
    let is_node = |name: &str| name.strip_prefix("node").is_some_and(|number| number.parse::<usize>().is_ok());
    let entries = fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count().max(1)
}

/// Bytes for a person: `24.0 MiB`.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::probe(3, 1);
        assert_eq!((machine.ranks, machine.rank), (3, 1));
        assert!(!machine.affinity.is_empty() && machine.cores_online > 0 && machine.memory_bytes > 0);
        assert!(machine.numa_nodes > 0 && !machine.host.is_empty() && !machine.cpu_model.is_empty());
        assert_eq!(machine.gpus.is_empty(), machine.gpu_note.is_some());
        assert!(machine.describe().contains("rank     1 of 3"), "{}", machine.describe());
        assert!(!host_id().is_empty() && host_id() == host_id());
    }

    #[test]
    fn a_probe_travels() {
        let machine = Machine {
            gpus: vec![Gpu { name: "g".into(), memory: 5, compute_capability: (9, 0) }],
            ..Machine::probe(1, 0)
        };
        let bytes = bincode::encode_to_vec(&machine, bincode::config::standard()).unwrap();
        let (arrived, _): (Machine, _) = bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        assert_eq!(arrived, machine);
    }

    #[test]
    fn a_machine_is_described() {
        let machine = Machine {
            host: "n1".into(),
            ranks: 2,
            rank: 0,
            cores_online: 16,
            affinity: vec![0, 1, 2, 5],
            cpu_model: "abacus".into(),
            caches: vec![Cache { level: 1, size: 48 << 10, shared: 1 }, Cache { level: 3, size: 24 << 20, shared: 16 }],
            memory_bytes: 64 << 30,
            numa_nodes: 2,
            gpus: vec![Gpu { name: "G1".into(), memory: 80 << 30, compute_capability: (9, 0) }],
            gpu_note: None,
        };
        let expected = "host     n1\n\
                        rank     0 of 2\n\
                        cores    16, this process may use 4 (0-2,5); abacus\n\
                        cache L1 48.0 KiB\n\
                        cache L3 24.0 MiB, shared by 16 cores\n\
                        memory   64.0 GiB in 2 NUMA nodes\n\
                        gpu 0    G1, 80.0 GiB, sm_90\n";
        assert_eq!(machine.describe(), expected);
        let none = Machine { gpus: vec![], gpu_note: Some("no driver".into()), ..machine };
        assert!(none.describe().ends_with("gpu      none: no driver\n"));
    }

    #[test]
    fn the_kernel_is_understood() {
        assert_eq!(cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list(""), [0; 0]);
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!([size("48K"), size("2M"), size("7"), size("x")], [Some(49152), Some(2 << 20), Some(7), None]);
    }
}
