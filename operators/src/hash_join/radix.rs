//! Rows cut into parts by their words, so that each part can be worked on by one task, in the cache, without locks.
//!
//! ```text
//!   blocks of rows     count           place
//!   [b0 ........]  ──► p0:3 p1:1 ┐
//!   [b1 ........]  ──► p0:2 p1:4 ┘ ──► [p0: b0 b0 b0 b1 b1 | p1: b0 b1 b1 b1 b1]
//! ```
//!
//! Two passes over the words; within a part the rows keep their order.

use rayon::prelude::*;

use super::keys::Words;
use super::memory::zeros;

/// Rows of a block: enough that its counts cost little.
const BLOCK_ROWS: usize = 1 << 17;

/// Words and row numbers, part after part.
#[derive(Debug)]
pub(super) struct Parted {
    pub words: Vec<u64>,
    pub rows: Vec<u32>,
    /// Where each part starts; one more than there are parts.
    pub bounds: Vec<usize>,
}

/// A place that tasks write to, each elsewhere.
struct Shared<T>(*mut T);

// SAFETY: the pointer is only written through, by tasks at different places.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// `place` is in the allocation, and no other task touches it.
    #[inline(always)]
    unsafe fn write(&self, place: usize, value: T) {
        // SAFETY: as above.
        unsafe { self.0.add(place).write(value) };
    }
}

/// Cuts the valid rows; `part_of` is below `parts` for each of them.
pub(super) fn part(words: &Words, parts: usize, part_of: impl Fn(u64) -> usize + Sync) -> Parted {
    let all = &words.words;
    let blocks = all.len().div_ceil(BLOCK_ROWS).max(1);
    let is_valid = |row: usize| words.valid.as_ref().is_none_or(|valid| valid[row]);
    let rows_of = |block: usize| block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(all.len());
    let mut places = (0..blocks)
        .into_par_iter()
        .map(|block| {
            let mut counts = vec![0_usize; parts];
            rows_of(block).filter(|&row| is_valid(row)).for_each(|row| counts[part_of(all[row])] += 1);
            counts
        })
        .collect::<Vec<_>>();
    let (mut bounds, mut end) = (Vec::with_capacity(parts + 1), 0);
    for part in 0..parts {
        bounds.push(end);
        for counts in &mut places {
            end += std::mem::replace(&mut counts[part], end);
        }
    }
    bounds.push(end);
    let (mut to_words, mut to_rows) = (zeros::<u64>(end), zeros::<u32>(end));
    let (shared_words, shared_rows) = (Shared(to_words.as_mut_ptr()), Shared(to_rows.as_mut_ptr()));
    let (shared_words, shared_rows) = (&shared_words, &shared_rows);
    places.into_par_iter().enumerate().for_each(|(block, mut places)| {
        for row in rows_of(block).filter(|&row| is_valid(row)) {
            let place = &mut places[part_of(all[row])];
            // SAFETY: the counts of all blocks and parts were laid out one behind the other, so each place is below
            // `end` and belongs to one row only; `part_of` gives the same answer as when they were counted.
            unsafe {
                shared_words.write(*place, all[row]);
                shared_rows.write(*place, row as u32);
            }
            *place += 1;
        }
    });
    Parted { words: to_words, rows: to_rows, bounds }
}
