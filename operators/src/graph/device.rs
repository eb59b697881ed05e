//! Graph algorithms on a device: the answers of the host's, bit for bit.
//!
//! ```text
//!   Graph ──new──► GraphOnDevice   out       offsets (u64), targets (u32)          once; every algorithm reads them there
//!                    │             incoming  the same, unless the graph is symmetric
//!                    └─ bfs, pagerank, components, triangles ──► one answer a vertex, on the host
//! ```
//!
//! Each algorithm is one file, with its kernels beside it. A kernel never waits for another block: what needs all blocks is another
//! kernel, and the host decides between two of them by a few words that it downloads. Answers are the same wherever they are
//! computed, for they do not depend on who comes first: parents are the smallest, components are called by their smallest vertex,
//! counts are integers, and floats are added up in the order of the host.
//!
//! Vertices differ in how many edges they have by a factor of a million. Where a thread takes a vertex, rows longer than a few edges
//! are left to all lanes of its warp together; where that is not enough, work is cut by edges.
//!
//! Threads read words of 32 bits that others write at the same time; each file says why it does not matter which values they see.

mod bfs;
mod components;
mod pagerank;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test; what did not run says so"
)]
mod tests;
mod triangles;

use std::fmt;

use arrow::datatypes::{ArrowNativeType, ToByteSlice};
use bireme_engine::device::{Buffer as Memory, Device, Grid, Module, Source};
use bireme_engine::error::{Error, Result};

use super::{Csr, Graph, NONE};
use crate::accelerator::{self, longs_of};

/// What all kernels here begin with.
const LANES: &str = include_str!("device/lanes.h");

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several vertices of a large graph.
const BLOCKS: u32 = 132 * 16;

/// Lanes of a warp.
const WARP: usize = 32;

/// A graph whose edges lie on a device, where algorithms run on it.
///
/// ```
/// use bireme_engine::device::Device;
/// use bireme_operators::graph::{Csr, Graph, GraphOnDevice};
///
/// // 0 — 1 — 2   3 — 4
/// let graph = Graph::symmetric(Csr::from_parts(vec![0, 1, 3, 4, 5, 6], vec![1, 0, 2, 1, 4, 3]));
/// // Without a C++ compiler there is no emulated device.
/// if let Ok(device) = Device::emulated() {
///     let graph = GraphOnDevice::new(&device, &graph)?;
///     assert_eq!(graph.components()?, [0, 0, 0, 3, 3]);
///     assert_eq!(graph.bfs_depths(2)?[..3], [2, 1, 0]);
/// }
/// # Ok::<(), bireme_engine::Error>(())
/// ```
pub struct GraphOnDevice {
    device: Device,
    vertices: usize,
    edges: usize,
    out: Rows,
    /// `None` if they are those of `out`.
    incoming: Option<Rows>,
}

/// The rows of a [`Csr`] on a device.
struct Rows {
    /// Where each row begins, and where the last one ends: 64 bits each.
    offsets: Memory,
    /// 32 bits each.
    targets: Memory,
}

impl GraphOnDevice {
    /// Why this graph cannot go to a device; `None` if it can. Whether the device has the memory is seen by trying.
    pub fn why_not(graph: &Graph) -> Option<String> {
        why_not_so_many(graph.vertices())
    }

    /// Bytes of a device's memory that the graph takes; while they run, algorithms take up to 40 more for each vertex, and
    /// those that count triangles 4 for each edge as well (12 if the graph is directed).
    pub fn bytes(graph: &Graph) -> usize {
        let sides = if graph.is_symmetric() { 1 } else { 2 };
        sides * ((graph.vertices() + 1) * size_of::<u64>() + graph.edges() * size_of::<u32>())
    }

    /// Copies a graph to a device.
    ///
    /// # Errors
    /// Not supported for what [`GraphOnDevice::why_not`] says; the device fails, or has no memory for it.
    pub fn new(device: &Device, graph: &Graph) -> Result<Self> {
        if let Some(reason) = Self::why_not(graph) {
            return Err(Error::unsupported(format!("a graph on {}: {reason}", device.describe())));
        }
        let copied = || -> Result<_> {
            let incoming = if graph.is_symmetric() { None } else { Some(Rows::of(device, graph.incoming())?) };
            Ok((Rows::of(device, graph.out())?, incoming))
        };
        let (vertices, edges) = (graph.vertices(), graph.edges());
        let (out, incoming) = copied()
            .map_err(|error| error.context(format!("copying a graph of {vertices} vertices and {edges} edges")))?;
        Ok(Self { device: device.clone(), vertices, edges, out, incoming })
    }

    /// How many vertices there are.
    pub fn vertices(&self) -> usize {
        self.vertices
    }

    /// How many edges there are; those that go both ways count twice.
    pub fn edges(&self) -> usize {
        self.edges
    }

    /// The device that it lies on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Edges by target.
    fn incoming(&self) -> &Rows {
        self.incoming.as_ref().unwrap_or(&self.out)
    }

    /// Kernels of one algorithm.
    fn load(&self, text: &str, names: &[&str]) -> Result<Module> {
        self.device.load(&Source::new(format!("{LANES}\n{text}"), names.iter().copied()))
    }

    /// Memory for so many words of 32 bits.
    fn words(&self, count: usize) -> Result<Memory> {
        self.device.allocate(count * size_of::<u32>())
    }

    /// Memory for so many words of 64 bits.
    fn longs(&self, count: usize) -> Result<Memory> {
        self.device.allocate(count * size_of::<u64>())
    }

    /// A thread for each of so many things.
    fn each(&self, things: usize) -> Grid {
        Grid::covering(things, THREADS, BLOCKS)
    }

    /// A warp for each of so many things.
    fn warp_each(&self, things: usize) -> Grid {
        Grid::covering(things.saturating_mul(WARP), THREADS, BLOCKS)
    }
}

impl fmt::Debug for GraphOnDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, vertices, edges, .. } = self;
        write!(f, "GraphOnDevice({vertices} vertices, {edges} edges on {})", device.describe())
    }
}

impl Rows {
    fn of(device: &Device, rows: &Csr) -> Result<Self> {
        let targets = device.upload(rows.targets().to_byte_slice())?;
        let offsets = device.upload(longs_of(rows.offsets()).to_byte_slice())?;
        Ok(Self { offsets, targets })
    }
}

/// Why a graph of so many vertices cannot go to a device.
fn why_not_so_many(vertices: usize) -> Option<String> {
    (vertices >= NONE as usize)
        .then(|| format!("{vertices} vertices: a device counts them in 32 bits, and its largest number is no vertex"))
}

/// The first numbers in memory of a device.
fn download<T: ArrowNativeType>(device: &Device, from: &Memory, count: usize) -> Result<Vec<T>> {
    Ok(accelerator::download(device, from, count)?.into())
}
