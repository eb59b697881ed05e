//! The rows of one lane, of few.
//!
//! ```text
//!   lanes  1 0 0 1 1 0        pick 0: rows 1 2 5        pick 1: rows 0 3 4
//! ```
//!
//! A counting sort looks at each row twice, however many lanes there are. Where these are few, one row's counter is the next
//! one's as well, and each waits for the other; picking lane by lane is quicker then. With AVX-512 sixteen rows are looked at at a
//! time.

/// Up to so many lanes, their rows are best picked lane by lane.
pub(super) const FEW_LANES: usize = 8;

/// The rows of a lane, ascending; `rows` is where they are put.
pub(super) fn pick<'a>(lanes: &[u32], lane: u32, rows: &'a mut Vec<u32>) -> &'a [u32] {
    rows.resize(lanes.len(), 0);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the feature.
        let picked = unsafe { pick_wide(lanes, lane, rows) };
        return &rows[..picked];
    }
    let picked = pick_from(lanes, lane, rows, 0, 0);
    &rows[..picked]
}

/// Picks from `start` on, with `picked` rows picked already; how many there are then.
fn pick_from(lanes: &[u32], lane: u32, rows: &mut [u32], start: usize, mut picked: usize) -> usize {
    // Each row is written, and counted if it is one of them: no branch to be guessed wrong.
    for (row, &of_row) in lanes.iter().enumerate().skip(start) {
        rows[picked] = row as u32;
        picked += usize::from(of_row == lane);
    }
    picked
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn pick_wide(lanes: &[u32], lane: u32, rows: &mut [u32]) -> usize {
    use std::arch::x86_64::*;
    let (wanted, step) = (_mm512_set1_epi32(lane as i32), _mm512_set1_epi32(16));
    let mut numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let (blocks, _) = lanes.as_chunks::<16>();
    let mut picked = 0;
    for block in blocks {
        // SAFETY: a block is sixteen words.
        let of_rows = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        let ours = _mm512_cmpeq_epi32_mask(of_rows, wanted);
        let packed = _mm512_maskz_compress_epi32(ours, numbers);
        let place: &mut [u32; 16] = match rows[picked..].first_chunk_mut() {
            Some(place) => place,
            // Never: no more rows are picked than were looked at, so there are sixteen places for these sixteen.
            None => return picked,
        };
        // SAFETY: the place is sixteen words.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), packed) };
        picked += ours.count_ones() as usize;
        numbers = _mm512_add_epi32(numbers, step);
    }
    pick_from(lanes, lane, rows, 16 * blocks.len(), picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_narrow_pick_what_a_filter_picks() {
        let mut rows = Vec::new();
        for length in (0..70).chain([1000, 8192]) {
            for lanes in 1..=FEW_LANES as u32 {
                let of_row = |row: u32| (row.wrapping_mul(2_654_435_761) >> 7) % lanes;
                let of_rows = (0..length).map(of_row).collect::<Vec<_>>();
                for lane in 0..=lanes {
                    let slow = (0..length).filter(|&row| of_row(row) == lane).collect::<Vec<_>>();
                    assert_eq!(pick(&of_rows, lane, &mut rows), slow, "{length} rows, lane {lane} of {lanes}");
                    rows.resize(of_rows.len(), 0);
                    let narrow = pick_from(&of_rows, lane, &mut rows, 0, 0);
                    assert_eq!(rows[..narrow], slow);
                }
            }
        }
    }
}
