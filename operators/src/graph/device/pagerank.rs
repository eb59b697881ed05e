//! PageRank on a device, with the bits of the host.
//!
//! The host's power iteration ([`pagerank`](super::super::pagerank())), whose theory this is: each vertex pulls along its edges in, in
//! the order of their sources. Sums over all vertices are taken within blocks of [`BLOCK`] vertices, one block of threads each, then
//! over the blocks, each in order. So every sum has the host's order, and ranks, change and number of iterations its bits.
//!
//! ```text
//!   row of up to 32 edges     one thread adds it up
//!   longer row                a warp reads 128 contributions at a time into shared memory; one lane adds them up in order
//!   block of 1024 vertices    changes and lost ranks go to shared memory; two threads add them up in order
//! ```
//!
//! Reading is what takes long, and that is done side by side; additions that wait for each other take a few cycles each. A row of a
//! million edges costs about as many dependent additions, some milliseconds.
//!
//! An iteration is one kernel. The host downloads 16 bytes a block, adds them up, and decides whether to go on. Memory is 32 bytes a
//! vertex, and 8 more if jumps go to some vertices only.
//!
//! Source: Page, Brin, Motwani and Winograd (1999).

use arrow::datatypes::ToByteSlice;
use bireme_engine::device::{Argument, Buffer as Memory, Grid, Module};
use bireme_engine::error::Result;

use super::super::BLOCK;
use super::super::pagerank::{BlockSums, PowerIteration, Ranks, in_order};
use super::{BLOCKS, GraphOnDevice, THREADS, download};

const KERNELS: &str = include_str!("pagerank.cu");

/// Ranks on the device, and what the next ones are made of.
struct Walk<'g> {
    graph: &'g GraphOnDevice,
    module: Module,
    /// Of each vertex, if jumps do not go to all alike.
    jumps: Option<Memory>,
    /// To each vertex, if they do.
    jump: f64,
    ranks: Memory,
    shares: Memory,
    contributions: Memory,
    from: Memory,
    /// Two for each block.
    sums: Memory,
}

impl GraphOnDevice {
    /// Ranks by a walk that jumps to all vertices alike, as [`pagerank`](super::super::pagerank()) says it.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    ///
    /// Source: Page, Brin, Motwani and Winograd (1999).
    pub fn pagerank(&self, options: &PowerIteration) -> Result<Ranks> {
        self.iterate(options, None, 1.0 / self.vertices as f64)
    }

    /// Ranks by a walk that jumps to the sources alike, as [`personalised_pagerank`](super::super::personalised_pagerank) says it.
    ///
    /// # Errors
    /// As [`GraphOnDevice::pagerank`].
    pub fn personalised_pagerank(&self, sources: &[u32], options: &PowerIteration) -> Result<Ranks> {
        let mut sources = sources.to_vec();
        sources.retain(|&source| (source as usize) < self.vertices);
        sources.sort_unstable();
        sources.dedup();
        let mut jumps = vec![0.0; self.vertices];
        sources.iter().for_each(|&source| jumps[source as usize] = 1.0 / sources.len() as f64);
        self.iterate(options, Some(self.device.upload(jumps.to_byte_slice())?), 0.0)
    }

    fn iterate(&self, options: &PowerIteration, jumps: Option<Memory>, jump: f64) -> Result<Ranks> {
        let damping = options.damping;
        let (mut walk, mut sums) = Walk::begin(self, jumps, jump)?;
        let (mut iterations, mut change) = (0, f64::INFINITY);
        while iterations < options.max_iterations && change > options.tolerance {
            sums = walk.step(damping, 1.0 - damping + damping * sums.dangling)?;
            change = sums.change;
            iterations += 1;
        }
        Ok(Ranks { ranks: download(&self.device, &walk.ranks, self.vertices)?, iterations, change })
    }
}

impl<'g> Walk<'g> {
    /// Ranks as likely as jumps are.
    fn begin(graph: &'g GraphOnDevice, jumps: Option<Memory>, jump: f64) -> Result<(Self, BlockSums)> {
        let text = format!("#define BLOCK {BLOCK}\n#define THREADS {THREADS}\n{KERNELS}");
        let module = graph.load(&text, &["pagerank_begin", "pagerank_step"])?;
        let of_vertices = || graph.longs(graph.vertices);
        let walk = Self {
            graph,
            module,
            jumps,
            jump,
            ranks: of_vertices()?,
            shares: of_vertices()?,
            contributions: of_vertices()?,
            from: of_vertices()?,
            sums: graph.longs(2 * graph.vertices.div_ceil(BLOCK))?,
        };
        let arguments = [
            Argument::Memory(&graph.out.offsets),
            Argument::I64(graph.vertices as i64),
            walk.jumps_argument(),
            Argument::F64(jump),
            Argument::Memory(&walk.ranks),
            Argument::Memory(&walk.shares),
            Argument::Memory(&walk.contributions),
            Argument::Memory(&walk.sums),
        ];
        // SAFETY: what `pagerank_begin` takes; each memory has a number for each vertex, the last one two for each block of them.
        unsafe { walk.module.launch("pagerank_begin", &walk.grid(), &arguments)? };
        let sums = walk.read()?;
        Ok((walk, sums))
    }

    /// One iteration, in which `jumping` comes by jumps to all vertices together.
    fn step(&mut self, damping: f64, jumping: f64) -> Result<BlockSums> {
        std::mem::swap(&mut self.from, &mut self.contributions);
        let incoming = self.graph.incoming();
        let arguments = [
            Argument::Memory(&incoming.offsets),
            Argument::Memory(&incoming.targets),
            Argument::I64(self.graph.vertices as i64),
            Argument::Memory(&self.from),
            Argument::F64(damping),
            Argument::F64(jumping),
            self.jumps_argument(),
            Argument::F64(self.jump),
            Argument::Memory(&self.shares),
            Argument::Memory(&self.ranks),
            Argument::Memory(&self.contributions),
            Argument::Memory(&self.sums),
        ];
        // SAFETY: what `pagerank_step` takes; sizes as in `begin`, and edges come from vertices.
        unsafe { self.module.launch("pagerank_step", &self.grid(), &arguments)? };
        self.read()
    }

    fn jumps_argument(&self) -> Argument<'_> {
        self.jumps.as_ref().map_or(Argument::Nothing, Argument::Memory)
    }

    /// A block of threads for each block of vertices.
    fn grid(&self) -> Grid {
        Grid::covering(self.graph.vertices.div_ceil(BLOCK) * THREADS as usize, THREADS, BLOCKS)
    }

    /// The sums over all blocks.
    fn read(&self) -> Result<BlockSums> {
        let sums = download::<f64>(&self.graph.device, &self.sums, 2 * self.graph.vertices.div_ceil(BLOCK))?;
        let blocks = sums.as_chunks::<2>().0.iter().map(|&[change, dangling]| BlockSums { change, dangling });
        Ok(in_order(&blocks.collect::<Vec<_>>()))
    }
}
