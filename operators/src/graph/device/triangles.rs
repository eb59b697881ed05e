//! Triangles on a device.
//!
//! As on the host ([`count_triangles`](super::super::count_triangles)), each triangle is found once, in rows that have of each
//! vertex only the neighbours behind it in the order of degrees; so no row is longer than the square root of twice the number of
//! edges `m`. Ends of edges keep their numbers: rows ascend by vertex, and what two of them have in common is found by looking for
//! the elements of the shorter in the longer.
//!
//! ```text
//!   degrees    of each vertex, in both directions                                       a thread a vertex
//!   rows       those behind it, each once: counted, then written                        a warp a vertex, a lane an edge
//!   merge      if the graph is directed: what is of edges out and in is one row         a thread an element
//!   common     for each edge u → v of the rows, row(u) ∩ row(v): triangles {u, v, w}    8 lanes an edge
//! ```
//!
//! Work is at most in the order of `m^1.5 log m`; an edge is at most `sqrt(2 m) / 8` steps of its team. (Were it a warp a
//! vertex, a hub's edges would follow each other.) Memory is 28 bytes a vertex; 4 bytes for each
//! edge of a symmetric graph, 12 for each of a directed one.
//!
//! Counts are integers, so it does not matter which thread adds first.
//!
//! Sources: as for the host; L. Hu, L. Zou, Y. Liu: Accelerating Triangle Counting on GPU, SIGMOD 2021, for a binary search an edge.

use bireme_engine::device::{Argument, Buffer as Memory, Module};
use bireme_engine::error::Result;

use super::{GraphOnDevice, download};
use crate::accelerator::prefix_sums;

const KERNELS: &str = include_str!("triangles.cu");

/// For each vertex its neighbours of greater degree, or as great and of a greater number.
struct Behind {
    module: Module,
    offsets: Memory,
    rows: Memory,
    /// Whose row each element is in.
    owners: Memory,
    edges: usize,
}

impl GraphOnDevice {
    /// How many triangles there are, as [`count_triangles`](super::super::count_triangles) says it.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    ///
    /// Source: Chiba and Nishizeki (1985).
    pub fn count_triangles(&self) -> Result<u64> {
        self.common(None)
    }

    /// In how many triangles each vertex is, as [`triangles`](super::super::triangles()) says it.
    ///
    /// # Errors
    /// As [`GraphOnDevice::count_triangles`].
    pub fn triangles(&self) -> Result<Vec<u64>> {
        let corners = self.device.filled(self.vertices * size_of::<u64>(), 0)?;
        self.common(Some(&corners))?;
        download(&self.device, &corners, self.vertices)
    }

    /// Counts triangles, and adds those of each vertex to its corners.
    fn common(&self, corners: Option<&Memory>) -> Result<u64> {
        if self.edges == 0 {
            return Ok(0);
        }
        let Behind { module, offsets, rows, owners, edges } = self.behind()?;
        let total = self.device.filled(size_of::<u64>(), 0)?;
        let arguments = [
            Argument::Memory(&offsets),
            Argument::Memory(&rows),
            Argument::Memory(&owners),
            Argument::I64(edges as i64),
            Argument::Memory(&total),
            corners.map_or(Argument::Nothing, Argument::Memory),
        ];
        // SAFETY: what `triangles_common` takes; rows are of vertices, each of which has a row, and a corner if there are any.
        unsafe { module.launch("triangles_common", &self.each(edges.saturating_mul(TEAM)), &arguments)? };
        Ok(download::<u64>(&self.device, &total, 1)?.first().copied().unwrap_or(0))
    }

    /// Makes the rows of what is behind each vertex.
    fn behind(&self) -> Result<Behind> {
        let module =
            self.load(KERNELS, &["triangles_degrees", "triangles_rows", "triangles_merge", "triangles_common"])?;
        let (degrees, counts, of_out) =
            (self.words(self.vertices)?, self.words(self.vertices)?, self.words(self.vertices)?);
        let (in_offsets, sources) = match &self.incoming {
            Some(incoming) => (Argument::Memory(&incoming.offsets), Argument::Memory(&incoming.targets)),
            None => (Argument::Nothing, Argument::Nothing),
        };
        let vertices = Argument::I64(self.vertices as i64);
        let arguments = [Argument::Memory(&self.out.offsets), in_offsets, vertices, Argument::Memory(&degrees)];
        // SAFETY: what `triangles_degrees` takes; each vertex has a row of each sort, and a degree.
        unsafe { module.launch("triangles_degrees", &self.each(self.vertices), &arguments)? };
        let nothing = [Argument::Nothing; 3];
        let rows_of = |room: [Argument<'_>; 3]| {
            let mut arguments = vec![
                Argument::Memory(&self.out.offsets),
                Argument::Memory(&self.out.targets),
                in_offsets,
                sources,
                vertices,
                Argument::Memory(&degrees),
                Argument::Memory(&counts),
                Argument::Memory(&of_out),
            ];
            arguments.extend(room);
            // A warp takes as many vertices as it has lanes, if there are so few.
            let grid = self.each(self.vertices);
            // SAFETY: what `triangles_rows` takes; without room it counts, and then there is room for what it has counted.
            unsafe { module.launch("triangles_rows", &grid, &arguments) }
        };
        rows_of(nothing)?;
        let (offsets, edges) = prefix_sums::starts(&self.device, &counts, self.vertices)?;
        let (rows, owners) = (self.words(edges)?, self.words(edges)?);
        rows_of([Argument::Memory(&offsets), Argument::Memory(&rows), Argument::Memory(&owners)])?;
        let rows = match self.incoming {
            Some(_) => self.merged(&module, &offsets, &of_out, &rows, &owners, edges)?,
            None => rows,
        };
        Ok(Behind { module, offsets, rows, owners, edges })
    }

    /// Rows that ascend, of rows in two halves.
    fn merged(
        &self,
        module: &Module,
        offsets: &Memory,
        of_out: &Memory,
        halves: &Memory,
        owners: &Memory,
        edges: usize,
    ) -> Result<Memory> {
        let rows = self.words(edges)?;
        let arguments = [
            Argument::Memory(offsets),
            Argument::Memory(of_out),
            Argument::Memory(halves),
            Argument::Memory(owners),
            Argument::I64(edges as i64),
            Argument::Memory(&rows),
        ];
        // SAFETY: what `triangles_merge` takes; an element stays in the row of its owner.
        unsafe { module.launch("triangles_merge", &self.each(edges), &arguments)? };
        Ok(rows)
    }
}

/// Lanes that take an edge together, as the kernel has it.
const TEAM: usize = 8;
