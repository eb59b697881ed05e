//! Looking many small numbers up in a table.
//!
//! The largest is found with whatever vectors the machine has; the look-ups themselves are plain loads, which are faster
//! than the gathers of most machines while the table is in cache.

use super::table::NONE;

/// What [`gather`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them.
    All,
    /// [`NONE`] among them.
    Some,
    /// A place outside the table; nothing is appended.
    Outside,
}

/// Appends `table[place]` of all places.
pub(super) fn gather(table: &[u32], places: &[u32], out: &mut Vec<u32>) -> Found {
    if places.is_empty() {
        return Found::All;
    }
    if largest(places) as usize >= table.len() {
        return Found::Outside;
    }
    let from = out.len();
    // SAFETY: no place is beyond the largest, which is inside the table.
    out.extend(places.iter().map(|&place| unsafe { *table.get_unchecked(place as usize) }));
    if largest(&out[from..]) == NONE { Found::Some } else { Found::All }
}

fn largest(numbers: &[u32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn wide(numbers: &[u32]) -> u32 {
            plain(numbers)
        }
        #[target_feature(enable = "avx2")]
        fn middle(numbers: &[u32]) -> u32 {
            plain(numbers)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was found just now.
            return unsafe { wide(numbers) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found just now.
            return unsafe { middle(numbers) };
        }
    }
    plain(numbers)
}

#[inline(always)]
fn plain(numbers: &[u32]) -> u32 {
    numbers.iter().fold(0, |most, &number| most.max(number))
}
