//! Prefix sums: where each row's results begin, if it is known how many there are.
//!
//! Three passes over tiles of [`TILE`] counts: the sum of each, sums before each of these by one block, then those within each tile
//! (G. Blelloch, *Prefix Sums and Their Applications*, 1990). Reads the counts twice and writes the starts once.

use bireme_engine::device::{Argument, Buffer, Device, Grid, Source};
use bireme_engine::error::Result;

use super::download;

/// Threads of a block.
const THREADS: u32 = 256;

/// Counts that a block sums.
const TILE: usize = 256 * 8;

const TEXT: &str = "
// Exclusive sums over a block of 256 threads; `all` is the sum of all.
__device__ __forceinline__ u64 before_me(u64 mine, u64 *shared, u64 &all) {
  u32 at = threadIdx.x;
  shared[at] = mine;
  __syncthreads();
  for (u32 step = 1; step < 256; step *= 2) {
    u64 more = at >= step ? shared[at - step] : 0;
    __syncthreads();
    shared[at] += more;
    __syncthreads();
  }
  all = shared[255];
  u64 before = shared[at] - mine;
  __syncthreads();
  return before;
}

extern \"C\" __global__ void tiles(const u32 *counts, i64 rows, u64 *sums) {
  __shared__ u64 shared[256];
  u64 mine = 0, all;
  for (u32 part = 0; part < 8; ++part) {
    u64 row = (u64)blockIdx.x * 2048 + part * 256 + threadIdx.x;
    if (row < (u64)rows) mine += counts[row];
  }
  before_me(mine, shared, all);
  if (threadIdx.x == 0) sums[blockIdx.x] = all;
}

extern \"C\" __global__ void sums(u64 *sums, i64 tiles, u64 *total) {
  __shared__ u64 shared[256];
  u64 done = 0, all;
  for (u64 first = 0; first < (u64)tiles; first += 256) {
    u64 tile = first + threadIdx.x;
    u64 before = before_me(tile < (u64)tiles ? sums[tile] : 0, shared, all);
    if (tile < (u64)tiles) sums[tile] = done + before;
    done += all;
  }
  if (threadIdx.x == 0) *total = done;
}

extern \"C\" __global__ void spread(const u32 *counts, i64 rows, const u64 *sums, u64 *starts) {
  __shared__ u64 shared[256];
  u64 first = (u64)blockIdx.x * 2048 + threadIdx.x * 8, mine = 0, all;
  for (u64 row = first; row < first + 8 && row < (u64)rows; ++row) mine += counts[row];
  u64 before = sums[blockIdx.x] + before_me(mine, shared, all);
  for (u64 row = first; row < first + 8 && row < (u64)rows; ++row) {
    starts[row] = before;
    before += counts[row];
    if (row + 1 == (u64)rows) starts[rows] = before;
  }
}
";

/// The exclusive prefix sums of `rows` counts (`u32`) as `u64`, behind them the sum of all, which is also waited for; of no counts only that.
///
/// # Errors
/// The device fails, or has no memory for it.
pub(crate) fn starts(device: &Device, counts: &Buffer, rows: usize) -> Result<(Buffer, usize)> {
    if rows == 0 {
        return Ok((device.filled(8, 0)?, 0));
    }
    let tiles = rows.div_ceil(TILE);
    let (sums, starts, total) = (device.allocate(8 * tiles)?, device.allocate(8 * (rows + 1))?, device.filled(8, 0)?);
    let module = device.load(&Source::new(TEXT, ["tiles", "sums", "spread"]))?;
    let tiled = Grid { blocks: tiles as u32, threads: THREADS, shared: 0 };
    let (rows, many) = (Argument::I64(rows as i64), Argument::I64(tiles as i64));
    let [counts, sums, starts_in] = [counts, &sums, &starts].map(Argument::Memory);
    // SAFETY: the parameters of the kernels above; counts have a number for each row, starts one more, and sums one for each tile.
    unsafe {
        module.launch("tiles", &tiled, &[counts, rows, sums])?;
        module.launch("sums", &Grid { blocks: 1, ..tiled }, &[sums, many, Argument::Memory(&total)])?;
        module.launch("spread", &tiled, &[counts, rows, sums, starts_in])?;
    }
    let total = download::<u64>(device, &total, 1)?[0];
    Ok((starts, total as usize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use arrow::datatypes::ToByteSlice;

    use super::*;
    use crate::accelerator::devices;

    #[test]
    fn starts_are_running_sums() {
        for device in devices() {
            // Sums past 32 bits, and more tiles than one block sums at once.
            for rows in [0, 1, 255, 256, 2048, 2049, 10_000, 2048 * 260 + 5_u32] {
                let counts = (0..rows).map(|row| row.wrapping_mul(0x9e37_79b9)).collect::<Vec<_>>();
                let uploaded = device.upload(counts.to_byte_slice()).unwrap();
                let (starts, total) = starts(&device, &uploaded, rows as usize).unwrap();
                let mut sum = 0;
                let sums = counts.iter().map(|&count| {
                    sum += u64::from(count);
                    sum
                });
                let wanted = [0].into_iter().chain(sums).collect::<Vec<_>>();
                assert_eq!(download::<u64>(&device, &starts, rows as usize + 1).unwrap()[..], wanted, "{rows} rows");
                assert_eq!(Some(&(total as u64)), wanted.last());
            }
        }
    }
}
