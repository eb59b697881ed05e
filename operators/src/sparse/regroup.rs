//! Entries by rows: counting where rows begin, and moving entries to their rows.
//!
//! A transpose is a stable sort by column, so it has one right result. It runs in two rounds, each of which writes to few places at
//! a time, so that they stay in the cache (radix partitioning: S. Manegold, P. Boncz, M. Kersten: Optimizing main-memory join on
//! modern hardware, IEEE TKDE 14 (2002)):
//!
//! ```text
//!   chunks of entries ──each chunk: counted and sorted by bucket of rows──► ──each bucket: counted and placed by row──► rows
//!   (in order)                                                              (chunks in order)
//! ```
//!
//! No two tasks write to the same slice in either round. Twice the entries' memory is used meanwhile.

use bireme_engine::error::Result;
use rayon::prelude::*;

use super::number::{Number, zeros};

/// Buckets of rows: as many places as a second-level TLB and a first-level cache follow well.
const BUCKETS: usize = 512;

/// Entries of a chunk, at least.
const CHUNK: usize = 1 << 16;

/// Entries by rows.
#[derive(Clone, Debug)]
pub(super) struct Grouped<T> {
    pub starts: Vec<usize>,
    pub indices: Vec<u32>,
    pub values: Vec<T>,
}

/// The entries in the order of `row_of`, and within a row in the order they have.
pub(super) fn regroup<T: Number>(row_of: &[u32], rows: usize, indices: &[u32], values: &[T]) -> Result<Grouped<T>> {
    let entries = values.len();
    let mut starts = zeros::<usize>(rows + 1, "the starts of rows")?;
    let (mut new_indices, mut new_values) = (zeros::<u32>(entries, "a copy")?, zeros::<T>(entries, "a copy")?);
    let shift = (rows.div_ceil(BUCKETS)).next_power_of_two().trailing_zeros();
    let buckets = (rows >> shift) + 1;
    let chunk = CHUNK.max(entries.div_ceil(64));
    let chunks: Vec<Chunk<T>> = (0..entries.div_ceil(chunk))
        .into_par_iter()
        .map(|number| {
            let range = number * chunk..entries.min((number + 1) * chunk);
            Chunk::new(&row_of[range.clone()], &indices[range.clone()], &values[range], shift, buckets)
        })
        .collect();
    // What each bucket writes: a slice of the starts, and one of the entries.
    let mut rest = (&mut starts[1..], &mut new_indices[..], &mut new_values[..]);
    let mut first = 0;
    let mut tasks = Vec::with_capacity(buckets);
    for bucket in 0..buckets {
        let of_bucket = chunks.iter().map(|chunk| chunk.starts[bucket + 1] - chunk.starts[bucket]).sum();
        let of_rows = rest.0.len().min(1 << shift);
        let starts = rest.0.split_off_mut(..of_rows).unwrap_or_default();
        let indices = rest.1.split_off_mut(..of_bucket).unwrap_or_default();
        let values = rest.2.split_off_mut(..of_bucket).unwrap_or_default();
        tasks.push((bucket, first, starts, indices, values));
        first += of_bucket;
    }
    tasks.into_par_iter().for_each(|(bucket, first, starts, indices, values)| {
        let parts = || chunks.iter().map(|chunk| &chunk.moved[chunk.starts[bucket]..chunk.starts[bucket + 1]]);
        let base = bucket << shift;
        let mut next = vec![0_usize; starts.len() + 1];
        parts().flatten().for_each(|entry| next[entry.0 as usize - base + 1] += 1);
        for (row, end) in starts.iter_mut().enumerate() {
            next[row + 1] += next[row];
            *end = first + next[row + 1];
        }
        for &(row, index, value) in parts().flatten() {
            let place = &mut next[row as usize - base];
            indices[*place] = index;
            values[*place] = value;
            *place += 1;
        }
    });
    Ok(Grouped { starts, indices: new_indices, values: new_values })
}

/// The entries of a chunk by bucket: row, index, value.
struct Chunk<T> {
    starts: Vec<usize>,
    moved: Vec<(u32, u32, T)>,
}

impl<T: Number> Chunk<T> {
    fn new(row_of: &[u32], indices: &[u32], values: &[T], shift: u32, buckets: usize) -> Self {
        let mut starts = vec![0; buckets + 1];
        row_of.iter().for_each(|&row| starts[(row as usize >> shift) + 1] += 1);
        for bucket in 0..buckets {
            starts[bucket + 1] += starts[bucket];
        }
        let mut next = starts.clone();
        let mut moved = vec![(0, 0, T::ZERO); values.len()];
        for ((&row, &index), &value) in row_of.iter().zip(indices).zip(values) {
            let place = &mut next[row as usize >> shift];
            moved[*place] = (row, index, value);
            *place += 1;
        }
        Self { starts, moved }
    }
}

/// Where each row begins among entries that are sorted by row, and where the last one ends.
pub(super) fn starts_of(row_of: &[u32], rows: usize) -> Result<Vec<usize>> {
    let mut starts = zeros::<usize>(rows + 1, "the starts of rows")?;
    // Rows up to which all entries are behind us begin here. A chunk writes the starts behind the row of its first entry's
    // predecessor, up to the row of its last entry.
    let mut rest = &mut starts[..];
    let mut done = 0;
    let mut tasks = Vec::new();
    for from in (0..row_of.len()).step_by(CHUNK) {
        let to = row_of.len().min(from + CHUNK);
        let last = row_of[to - 1] as usize + 1;
        tasks.push((from..to, done, rest.split_off_mut(..last - done).unwrap_or_default()));
        done = last;
    }
    rest.fill(row_of.len());
    tasks.into_par_iter().for_each(|(range, base, starts)| {
        let mut next = 0;
        for entry in range {
            let row = row_of[entry] as usize;
            while base + next <= row {
                starts[next] = entry;
                next += 1;
            }
        }
    });
    Ok(starts)
}
