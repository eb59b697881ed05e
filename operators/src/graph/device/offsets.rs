//! Where rows begin, of how long they are: running sums on a device.
//!
//! ```text
//!   counts    3 0 2 │ 1 4 0 │ 2        a block adds up a tile; the host adds up tiles; a block makes the running sums of a tile
//!   sums        5   │   5   │ 2
//!   offsets   0 3 3 5 │ 6 10 10 │ 12
//! ```
//!
//! Counts are read twice, and 8 bytes a tile go to the host and back.
//!
//! Source: D. Merrill, A. Grimshaw: Parallel Scan for Stream Architectures, University of Virginia CS2009-14 (2009): reduce, then scan.

use arrow::datatypes::ToByteSlice;
use bireme_engine::device::{Argument, Buffer as Memory, Grid};
use bireme_engine::error::Result;

use super::{BLOCKS, GraphOnDevice, THREADS, download};

const KERNELS: &str = include_str!("offsets.cu");

/// Numbers that a block adds up.
const TILE: usize = 2048;

impl GraphOnDevice {
    /// Where the row of each vertex begins, if rows are so long, and how long they are together.
    pub(super) fn offsets_of(&self, counts: &Memory) -> Result<(Memory, u64)> {
        let text = format!("#define TILE {TILE}\n#define THREADS {THREADS}\n{KERNELS}");
        let module = self.load(&text, &["offsets_sums", "offsets_running"])?;
        let tiles = self.vertices.div_ceil(TILE);
        let grid = Grid::covering(tiles * THREADS as usize, THREADS, BLOCKS);
        let many = Argument::I64(self.vertices as i64);
        let sums = self.longs(tiles)?;
        let arguments = [Argument::Memory(counts), many, Argument::Memory(&sums)];
        // SAFETY: what `offsets_sums` takes; there is a count for each vertex, and a sum for each tile of them.
        unsafe { module.launch("offsets_sums", &grid, &arguments)? };
        let mut total = 0;
        let before = download::<u64>(&self.device, &sums, tiles)?.into_iter().map(|sum| {
            total += sum;
            total - sum
        });
        let before = self.device.upload(before.collect::<Vec<_>>().to_byte_slice())?;
        let offsets = self.longs(self.vertices + 1)?;
        let arguments = [Argument::Memory(counts), many, Argument::Memory(&before), Argument::Memory(&offsets)];
        // SAFETY: what `offsets_running` takes; offsets are one more than vertices.
        unsafe { module.launch("offsets_running", &grid, &arguments)? };
        Ok((offsets, total))
    }
}
