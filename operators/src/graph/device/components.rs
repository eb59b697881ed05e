//! Connected components on a device.
//!
//! The host's algorithm ([`components`](super::super::components())), whose theory this is: trees are hung beneath each other until each
//! component is one, whose root is its smallest vertex. First along the first two edges of each vertex; then along all edges of those
//! that are not in the tree that most have.
//!
//! ```text
//!   hook       each vertex beneath its first neighbour, if that is smaller       a thread a vertex, once
//!   link       each with its first and its second neighbour                      the same
//!   compress   each parent becomes the root                                      the same
//!   sample     the root that most of 1024 vertices have                          the host counts
//!   link_all   the others with all their neighbours; long rows by a warp         once or twice (out and incoming)
//!   compress
//! ```
//!
//! Memory is 4 bytes a vertex.
//!
//! **Why threads may race.** `parents[v] <= v` is at all times an ancestor of `v`. A root is hung by compare-and-swap, so once; any other
//! parent is changed by `atomicMin` only, to an ancestor of what it was. So parents only fall, and who reads an old one reads an
//! ancestor that is farther away. Nobody waits: a thread whose compare-and-swap fails is told a smaller ancestor, and goes on from
//! there.
//!
//! Sources: Sutton, Ben-Nun and Barak (2018); J. Jaiganesh, M. Burtscher: A High-Performance Connected Components Implementation for
//! GPUs, HPDC 2018, which shortens the ways that it climbs.

use bireme_engine::device::{Argument, Buffer as Memory, Module};
use bireme_engine::error::Result;

use super::{GraphOnDevice, Rows, download};

const KERNELS: &str = include_str!("components.cu");

/// How many vertices the most frequent root is guessed from.
const SAMPLES: usize = 1024;

/// Neighbours of each vertex that are linked before the guess.
const FIRST: i32 = 2;

/// Trees on the device.
struct Trees<'g> {
    graph: &'g GraphOnDevice,
    module: Module,
    parents: Memory,
}

impl GraphOnDevice {
    /// For each vertex, the smallest vertex of its component, as [`components`](super::super::components()) says it.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    ///
    /// Source: Sutton, Ben-Nun and Barak (2018).
    pub fn components(&self) -> Result<Vec<u32>> {
        if self.vertices == 0 {
            return Ok(Vec::new());
        }
        let module = self.load(
            KERNELS,
            &["components_hook", "components_link", "components_compress", "components_sample", "components_link_all"],
        )?;
        let trees = Trees { graph: self, module, parents: self.words(self.vertices)? };
        trees.along_rows("components_hook", &[])?;
        for neighbour in 0..FIRST {
            trees.along_rows("components_link", &[Argument::I32(neighbour)])?;
        }
        trees.compress()?;
        let frequent = trees.frequent_root()?;
        trees.link_all(&self.out, frequent)?;
        if let Some(incoming) = &self.incoming {
            trees.link_all(incoming, frequent)?;
        }
        trees.compress()?;
        download(&self.device, &trees.parents, self.vertices)
    }
}

impl Trees<'_> {
    /// Runs a kernel over all vertices and their edges out.
    fn along_rows(&self, kernel: &str, more: &[Argument<'_>]) -> Result<()> {
        let mut arguments = vec![
            Argument::Memory(&self.graph.out.offsets),
            Argument::Memory(&self.graph.out.targets),
            Argument::I64(self.graph.vertices as i64),
            Argument::Memory(&self.parents),
        ];
        arguments.extend(more);
        // SAFETY: what `components_hook` takes, and `components_link` with the number of a neighbour; edges lead to vertices, each of
        // which has a parent.
        unsafe { self.module.launch(kernel, &self.graph.each(self.graph.vertices), &arguments) }
    }

    /// Makes each parent a root.
    fn compress(&self) -> Result<()> {
        let arguments = [Argument::I64(self.graph.vertices as i64), Argument::Memory(&self.parents)];
        // SAFETY: what `components_compress` takes; each vertex has a parent.
        unsafe { self.module.launch("components_compress", &self.graph.each(self.graph.vertices), &arguments) }
    }

    /// The root that most of some vertices have: a guess at the largest tree.
    fn frequent_root(&self) -> Result<u32> {
        let roots = self.graph.words(SAMPLES)?;
        let arguments = [
            Argument::I64(self.graph.vertices as i64),
            Argument::Memory(&self.parents),
            Argument::I32(SAMPLES as i32),
            Argument::Memory(&roots),
        ];
        // SAFETY: what `components_sample` takes; it writes so many roots.
        unsafe { self.module.launch("components_sample", &self.graph.each(SAMPLES), &arguments)? };
        let mut roots = download::<u32>(&self.graph.device, &roots, SAMPLES)?;
        roots.sort_unstable();
        let longest = roots.chunk_by(|one, other| one == other).max_by_key(|run| run.len());
        Ok(longest.and_then(|run| run.first()).copied().unwrap_or(0))
    }

    /// Links vertices that have not this root with all neighbours in their rows.
    fn link_all(&self, rows: &Rows, frequent: u32) -> Result<()> {
        let arguments = [
            Argument::Memory(&rows.offsets),
            Argument::Memory(&rows.targets),
            Argument::I64(self.graph.vertices as i64),
            Argument::Memory(&self.parents),
            Argument::I32(frequent.cast_signed()),
        ];
        // SAFETY: what `components_link_all` takes; edges lead to vertices, each of which has a parent.
        unsafe { self.module.launch("components_link_all", &self.graph.each(self.graph.vertices), &arguments) }
    }
}
