//! Breadth-first search in two directions, on a device.
//!
//! The host's ([`bfs`](super::super::bfs())), whose theory this is: level by level, top-down from the frontier or bottom-up from what is
//! unreached, whichever costs less. A vertex has two words, its parent and its depth, 4 bytes each, and there is a list of the
//! frontier and one of the next: 16 bytes a vertex.
//!
//! ```text
//!   top-down     a warp a vertex of the frontier, a lane an edge     parent = min(parent, source); the first to come lists the vertex
//!   bottom-up    a thread a vertex; what is left of a long row       the first source at the last depth is the parent
//!                after 32 edges, the warp reads together
//! ```
//!
//! Bottom-up needs no list: a vertex is in the frontier if its depth says so. After it, one more kernel lists the frontier when the
//! search goes top-down again.
//!
//! **Why threads may race.** A step gives depths one number only, and asks of others' depths whether they are less (top-down) or the
//! last one (bottom-up). So it is the same whether it reads a depth before or after another thread of the step has written it. The
//! parent is lowered by `atomicMin`, and exactly one thread sees that there was none.
//!
//! Source: Beamer, Asanović and Patterson (2012).

use bireme_engine::device::{Argument, Buffer as Memory, Module};
use bireme_engine::error::Result;

use super::{GraphOnDevice, NONE, download};

const KERNELS: &str = include_str!("bfs.cu");

/// An edge that leaves the frontier is taken to cost as much as this many that come to unreached vertices. The host's number; not
/// tuned on a GPU yet.
const ALPHA: u64 = 15;

/// A warp looks at the depths of so many vertices for what one edge costs.
const DEPTHS: usize = 64;

/// What a step found.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Vertices of the next frontier.
    found: u64,
    /// Edges that leave those.
    leaving: u64,
    /// Edges that come to what is still unreached; bottom-up only.
    unreached: u64,
}

/// The labels of a search on the device, and the lists of two levels.
struct Search<'g> {
    graph: &'g GraphOnDevice,
    module: Module,
    parents: Memory,
    depths: Memory,
    frontier: Memory,
    next: Memory,
}

impl GraphOnDevice {
    /// The parent of each vertex in a breadth-first search, as [`bfs`](super::super::bfs()) says it.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    ///
    /// Source: Beamer, Asanović and Patterson (2012).
    pub fn bfs(&self, source: u32) -> Result<Vec<u32>> {
        match self.search(source)? {
            None => Ok(vec![NONE; self.vertices]),
            Some(search) => download(&self.device, &search.parents, self.vertices),
        }
    }

    /// How many edges each vertex is away from the source, as [`bfs_depths`](super::super::bfs_depths) says it.
    ///
    /// # Errors
    /// As [`GraphOnDevice::bfs`].
    pub fn bfs_depths(&self, source: u32) -> Result<Vec<u32>> {
        match self.search(source)? {
            None => Ok(vec![NONE; self.vertices]),
            Some(search) => download(&self.device, &search.depths, self.vertices),
        }
    }

    /// Both of one search: parents, and how many edges each vertex is away.
    ///
    /// # Errors
    /// As [`GraphOnDevice::bfs`].
    pub fn bfs_with_depths(&self, source: u32) -> Result<(Vec<u32>, Vec<u32>)> {
        Ok(match self.search(source)? {
            None => (vec![NONE; self.vertices], vec![NONE; self.vertices]),
            Some(search) => (
                download(&self.device, &search.parents, self.vertices)?,
                download(&self.device, &search.depths, self.vertices)?,
            ),
        })
    }

    /// Labels what can be reached; `None` if the source is no vertex.
    fn search(&self, source: u32) -> Result<Option<Search<'_>>> {
        if source as usize >= self.vertices {
            return Ok(None);
        }
        let (mut search, mut last) = Search::begin(self, source)?;
        let (mut unreached, mut listed) = (self.edges as u64, true);
        for depth in 1.. {
            unreached = unreached.saturating_sub(last.leaving);
            if last.leaving > unreached / ALPHA + (self.vertices / DEPTHS) as u64 {
                last = search.bottom_up(depth)?;
                listed = false;
                if last.unreached == 0 {
                    break;
                }
                unreached = last.unreached + last.leaving;
            } else {
                if !listed {
                    search.list(depth - 1)?;
                    listed = true;
                }
                last = search.top_down(depth, last.found)?;
            }
            if last.found == 0 {
                break;
            }
        }
        Ok(Some(search))
    }
}

impl<'g> Search<'g> {
    /// The source is reached, and its own parent.
    fn begin(graph: &'g GraphOnDevice, source: u32) -> Result<(Self, Counts)> {
        let module = graph.load(KERNELS, &["bfs_begin", "bfs_top_down", "bfs_bottom_up", "bfs_list"])?;
        let bytes = graph.vertices * size_of::<u32>();
        let (parents, depths) = (graph.device.filled(bytes, 0xff)?, graph.device.filled(bytes, 0xff)?);
        let (frontier, next) = (graph.words(graph.vertices)?, graph.words(graph.vertices)?);
        let search = Self { graph, module, parents, depths, frontier, next };
        let counts = search.counts()?;
        let arguments = [
            Argument::Memory(&graph.out.offsets),
            Argument::I32(source.cast_signed()),
            Argument::Memory(&search.parents),
            Argument::Memory(&search.depths),
            Argument::Memory(&search.frontier),
            Argument::Memory(&counts),
        ];
        // SAFETY: what `bfs_begin` takes; the source is a vertex, of which each memory has a word.
        unsafe { search.module.launch("bfs_begin", &graph.each(1), &arguments)? };
        let counts = search.read(&counts)?;
        Ok((search, counts))
    }

    /// Labels what edges of the frontier lead to, of which the list has `size` vertices; the list is then that of `depth`.
    fn top_down(&mut self, depth: u32, size: u64) -> Result<Counts> {
        let counts = self.counts()?;
        let arguments = [
            Argument::Memory(&self.graph.out.offsets),
            Argument::Memory(&self.graph.out.targets),
            Argument::Memory(&self.frontier),
            Argument::I64(size.cast_signed()),
            Argument::I32(depth.cast_signed()),
            Argument::Memory(&self.parents),
            Argument::Memory(&self.depths),
            Argument::Memory(&self.next),
            Argument::Memory(&counts),
        ];
        // SAFETY: what `bfs_top_down` takes; the list has so many vertices, and each vertex is put on the next one at most once.
        unsafe { self.module.launch("bfs_top_down", &self.graph.warp_each(size as usize), &arguments)? };
        std::mem::swap(&mut self.frontier, &mut self.next);
        self.read(&counts)
    }

    /// Labels each unreached vertex to which an edge of the frontier comes.
    fn bottom_up(&mut self, depth: u32) -> Result<Counts> {
        let (counts, incoming) = (self.counts()?, self.graph.incoming());
        let arguments = [
            Argument::Memory(&incoming.offsets),
            Argument::Memory(&incoming.targets),
            Argument::Memory(&self.graph.out.offsets),
            Argument::I64(self.graph.vertices as i64),
            Argument::I32(depth.cast_signed()),
            Argument::Memory(&self.parents),
            Argument::Memory(&self.depths),
            Argument::Memory(&counts),
        ];
        // SAFETY: what `bfs_bottom_up` takes; each memory has a word, a row's offset or both for each vertex.
        unsafe { self.module.launch("bfs_bottom_up", &self.graph.each(self.graph.vertices), &arguments)? };
        self.read(&counts)
    }

    /// Lists the vertices at a depth.
    fn list(&mut self, depth: u32) -> Result<()> {
        let counts = self.counts()?;
        let arguments = [
            Argument::Memory(&self.depths),
            Argument::I64(self.graph.vertices as i64),
            Argument::I32(depth.cast_signed()),
            Argument::Memory(&self.frontier),
            Argument::Memory(&counts),
        ];
        // SAFETY: what `bfs_list` takes; a list has room for all vertices.
        unsafe { self.module.launch("bfs_list", &self.graph.each(self.graph.vertices), &arguments) }
    }

    /// Counters of a step, all 0.
    fn counts(&self) -> Result<Memory> {
        self.graph.device.filled(3 * size_of::<u64>(), 0)
    }

    fn read(&self, counts: &Memory) -> Result<Counts> {
        let counts = download::<u64>(&self.graph.device, counts, 3)?;
        Ok(Counts { found: counts[0], leaving: counts[1], unreached: counts[2] })
    }
}
