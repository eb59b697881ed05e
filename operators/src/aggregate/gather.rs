//! Looking many small numbers up in a table, with whatever vectors the machine has.

use super::table::NONE;

/// Appends `table[place]` of all places; says whether no place is outside and nothing found is [`NONE`]. If a place is
/// outside, nothing is appended.
pub(super) fn gather(table: &[u32], places: &[u32], out: &mut Vec<u32>) -> Found {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
        fn wide(table: &[u32], places: &[u32], out: &mut Vec<u32>) -> Found {
            plain(table, places, out)
        }
        #[target_feature(enable = "avx2")]
        fn middle(table: &[u32], places: &[u32], out: &mut Vec<u32>) -> Found {
            plain(table, places, out)
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the features were found just now.
            return unsafe { wide(table, places, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found just now.
            return unsafe { middle(table, places, out) };
        }
    }
    plain(table, places, out)
}

/// What [`gather`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them.
    All,
    /// [`NONE`] among them.
    Some,
    /// A place outside the table.
    Outside,
}

#[inline(always)]
fn plain(table: &[u32], places: &[u32], out: &mut Vec<u32>) -> Found {
    let most = places.iter().fold(0, |most, &place| most.max(place)) as usize;
    if most >= table.len() {
        return Found::Outside;
    }
    let from = out.len();
    // SAFETY: no place is beyond the largest, which is inside the table.
    out.extend(places.iter().map(|&place| unsafe { *table.get_unchecked(place as usize) }));
    let largest = out[from..].iter().fold(0, |most, &found| most.max(found));
    if largest == NONE { Found::Some } else { Found::All }
}
