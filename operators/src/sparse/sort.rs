//! The order of entries by their coordinates.
//!
//! A coordinate is packed into one number, each axis in as many bits as its extent needs, and the numbers are sorted together with
//! the entries' positions; so equal coordinates stay in the order in which they came, and there is one right result however many
//! workers sort. Coordinates of more than 128 bits are compared axis by axis.
//! Sorting digit by digit was tried and gains nothing: most of the time goes into reading entries in their new order.

use rayon::prelude::*;

/// The entries' positions, sorted by coordinates along `axes` and then by position.
pub(super) fn sorted_positions(axes: &[&[u32]], extents: &[usize], entries: usize) -> Vec<usize> {
    let bits: Vec<u32> = extents.iter().map(|extent| usize::BITS - extent.saturating_sub(1).leading_zeros()).collect();
    match bits.iter().sum::<u32>() {
        0..=64 => by_key(entries, |entry| {
            axes.iter().zip(&bits).fold(0_u64, |key, (axis, &bits)| key.unbounded_shl(bits) | u64::from(axis[entry]))
        }),
        65..=128 => by_key(entries, |entry| {
            axes.iter().zip(&bits).fold(0_u128, |key, (axis, &bits)| key.unbounded_shl(bits) | u128::from(axis[entry]))
        }),
        _ => {
            let mut positions: Vec<usize> = (0..entries).collect();
            positions.par_sort_unstable_by(|&one, &other| {
                let mut axes = axes.iter().map(|axis| axis[one].cmp(&axis[other]));
                axes.find(|order| order.is_ne()).unwrap_or(one.cmp(&other))
            });
            positions
        }
    }
}

fn by_key<K: Ord + Copy + Send>(entries: usize, key: impl Fn(usize) -> K + Sync) -> Vec<usize> {
    let mut keys: Vec<(K, usize)> = (0..entries).into_par_iter().map(|entry| (key(entry), entry)).collect();
    keys.par_sort_unstable();
    keys.into_par_iter().map(|(_, entry)| entry).collect()
}
