//! Entries in order on a device: a radix sort, least significant digits first.
//!
//! ```text
//!   count    how often each digit stands in each tile         digit 0: 3 1 4   digit 1: 0 2 …    by digit, then tile
//!   starts   prefix sums of all of these                                0 3 4            8 8 …
//!   scatter  each entry behind those of its digit that came before it
//! ```
//!
//! A pass keeps the order of entries with the same digit, so that after the last one they are in order by all bits (D. Merrill and
//! A. Grimshaw, *High Performance and Scalable Radix Sorting*, 2011). Each of 8 bits reads and writes all entries once, and reads them
//! once more to count.

use bireme_engine::device::{Argument, Device, Grid, Source};
use bireme_engine::error::{Error, Result};

use super::integers::Entry;
use crate::accelerator::{Moved, prefix_sums};

/// Threads of a block, each with a digit.
const THREADS: u32 = 256;

/// Entries of a block.
const TILE: usize = 2048;

const TEXT: &str = include_str!("radix.h");

/// Sorts entries by their bits from `from` on, of which there are some below `to`; equal ones stay in order.
///
/// # Errors
/// The device fails, or has no memory for it.
pub(super) fn sort<E: Entry>(device: &Device, entries: &mut [E], from: u32, to: u32) -> Result<Moved> {
    let tiles = entries.len().div_ceil(TILE);
    let name = if size_of::<E>() == 8 { "u64" } else { "u128" };
    let module = device.load(&Source::new(format!("typedef {name} entry;\n{TEXT}"), ["digits", "deal"]))?;
    let bytes = size_of_val(entries);
    let mut here = device.upload(E::bytes(entries))?;
    let mut there = device.allocate(bytes)?;
    let grid = Grid { blocks: u32::try_from(tiles).map_err(|_| too_many())?, threads: THREADS, shared: 0 };
    let counts = device.allocate(4 * 256 * tiles)?;
    for shift in (from..to).step_by(8) {
        let [rows, shift, many] = [entries.len() as i64, i64::from(shift), tiles as i64].map(Argument::I64);
        // SAFETY: the parameters of the kernels in `radix.h`: as many entries here and there, and a count for each digit and tile. The
        // starts are the sums of the very counts, so that every entry has a place of its own.
        unsafe {
            module.launch("digits", &grid, &[Argument::Memory(&here), rows, shift, many, Argument::Memory(&counts)])?;
            let (starts, _) = prefix_sums::starts(device, &counts, 256 * tiles)?;
            let [read, starts, write] = [&here, &starts, &there].map(Argument::Memory);
            module.launch("deal", &grid, &[read, rows, shift, many, starts, write])?;
        }
        std::mem::swap(&mut here, &mut there);
    }
    device.download(&here, E::bytes_mut(entries))?;
    Ok(Moved { up: bytes as u64, down: bytes as u64 })
}

fn too_many() -> Error {
    Error::resources("more rows than a device sorts at once")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::accelerator::devices;

    #[test]
    fn entries_are_put_in_order() {
        for device in devices() {
            for rows in [1, 2, 255, 2048, 2049, 5000] {
                // Keys of few values above row numbers: equal ones must stay in order.
                let key = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49 & 0x3ff;
                let mut narrow = (0..rows).map(|row| key(row) << 16 | row).collect::<Vec<u64>>();
                let mut wanted = narrow.clone();
                wanted.sort_unstable();
                sort(&device, &mut narrow, 16, 26).unwrap();
                assert_eq!(narrow, wanted, "{rows} rows");
                let mut wide = (0..rows).map(|row| u128::from(key(row)) << 60 | u128::from(row)).collect::<Vec<u128>>();
                let mut wanted = wide.clone();
                wanted.sort_unstable();
                sort(&device, &mut wide, 60, 70).unwrap();
                assert_eq!(wide, wanted, "{rows} rows");
            }
        }
    }
}
