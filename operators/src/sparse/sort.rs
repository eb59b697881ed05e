//! The order of entries by their coordinates.
//!
//! A coordinate is packed into one number, each axis in as many bits as its extent needs, and the numbers are sorted together with
//! the entries' positions; so equal coordinates stay in the order in which they came, and there is one right result however many
//! workers sort. Numbers of 64 bits are sorted by one digit after the other, the last one first (each round is a [`regroup`]); a
//! round costs a fifth of what comparing does. Few or longer numbers are compared, and coordinates of more than 128 bits axis by axis.

use bireme_engine::error::Result;
use rayon::prelude::*;

use super::regroup::regroup;

/// Bits of a digit, at most: as many rows as `regroup` has counters for in a first-level cache, times its buckets.
const DIGIT: u32 = 16;

/// Entries from which on digits are faster.
const MANY: usize = 1 << 15;

/// The entries' positions, sorted by coordinates along `axes` and then by position.
///
/// # Errors
///
/// Out of resources, if there is no memory for copies.
pub(super) fn sorted_positions(axes: &[&[u32]], extents: &[usize], entries: usize) -> Result<Vec<usize>> {
    let bits: Vec<u32> = extents.iter().map(|extent| usize::BITS - extent.saturating_sub(1).leading_zeros()).collect();
    let short = |entry: usize| {
        axes.iter().zip(&bits).fold(0_u64, |key, (axis, &bits)| key.unbounded_shl(bits) | u64::from(axis[entry]))
    };
    let long = |entry: usize| {
        axes.iter().zip(&bits).fold(0_u128, |key, (axis, &bits)| key.unbounded_shl(bits) | u128::from(axis[entry]))
    };
    Ok(match bits.iter().sum::<u32>() {
        all @ 1..=64 if entries >= MANY && u32::try_from(entries).is_ok() => by_digits(entries, all, short)?,
        0..=64 => by_key(entries, short),
        65..=128 => by_key(entries, long),
        _ => {
            let mut positions: Vec<usize> = (0..entries).collect();
            positions.par_sort_unstable_by(|&one, &other| {
                let mut axes = axes.iter().map(|axis| axis[one].cmp(&axis[other]));
                axes.find(|order| order.is_ne()).unwrap_or(one.cmp(&other))
            });
            positions
        }
    })
}

fn by_key<K: Ord + Copy + Send>(entries: usize, key: impl Fn(usize) -> K + Sync) -> Vec<usize> {
    let mut keys: Vec<(K, usize)> = (0..entries).into_par_iter().map(|entry| (key(entry), entry)).collect();
    keys.par_sort_unstable();
    keys.into_par_iter().map(|(_, entry)| entry).collect()
}

fn by_digits(entries: usize, bits: u32, key: impl Fn(usize) -> u64 + Send + Sync) -> Result<Vec<usize>> {
    let mut keys: Vec<u64> = (0..entries).into_par_iter().map(key).collect();
    let mut positions: Vec<u32> = (0..entries as u32).collect();
    let digit = bits.div_ceil(bits.div_ceil(DIGIT));
    for shift in (0..bits).step_by(digit as usize) {
        let of = |key: &u64| (key >> shift) as u32 & ((1 << digit) - 1);
        let digits: Vec<u32> = keys.par_iter().map(of).collect();
        let sorted = regroup(&digits, 1 << digit, &positions, &keys)?;
        (positions, keys) = (sorted.indices, sorted.values);
    }
    Ok(positions.into_par_iter().map(|entry| entry as usize).collect())
}
