//! One bucket: entries to rows.

use bireme_engine::error::Result;
use rayon::prelude::*;

use super::{Duplicates, Layout, Weight, room};

// Tests have small numbers, so that small graphs take every way.

/// A bucket with more entries is sorted by all threads.
pub(super) const LARGE: usize = if cfg!(test) { 1 << 14 } else { 1 << 22 };

/// A bucket with fewer entries is sorted by comparing.
const SMALL: usize = 1 << 9;

/// A pass of the radix sort looks at so many bits at most.
const DIGIT: u32 = 11;

/// An edge in its bucket.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry<K, W> {
    pub key: K,
    pub weight: W,
}

/// A row within its bucket, and a target, as one number.
pub(super) trait Key: Copy + Default + Ord + Send + Sync {
    /// Whether it takes as much memory as a target.
    const IS_NARROW: bool;
    fn new(bits: u64) -> Self;
    fn bits(self) -> u64;
    /// The place of so many targets: that of the keys, if they are narrow.
    fn targets<'a>(keys: &'a mut [Self], apart: &'a mut [u32]) -> &'a mut [u32];
    /// The same of all of them.
    fn all_targets(keys: Vec<Self>, apart: Vec<u32>) -> Vec<u32>;
}

impl Key for u32 {
    const IS_NARROW: bool = true;

    #[inline]
    fn new(bits: u64) -> Self {
        bits as u32
    }
    #[inline]
    fn bits(self) -> u64 {
        u64::from(self)
    }

    fn targets<'a>(keys: &'a mut [Self], _: &'a mut [u32]) -> &'a mut [u32] {
        keys
    }

    fn all_targets(keys: Vec<Self>, _: Vec<u32>) -> Vec<u32> {
        keys
    }
}

impl Key for u64 {
    const IS_NARROW: bool = false;

    #[inline]
    fn new(bits: u64) -> Self {
        bits
    }
    #[inline]
    fn bits(self) -> u64 {
        self
    }

    fn targets<'a>(_: &'a mut [Self], apart: &'a mut [u32]) -> &'a mut [u32] {
        apart
    }

    fn all_targets(_: Vec<Self>, apart: Vec<u32>) -> Vec<u32> {
        apart
    }
}

/// What sorting takes; kept from bucket to bucket.
#[derive(Default)]
pub(super) struct Buffers<K, W> {
    entries: Vec<Entry<K, W>>,
    other: Vec<Entry<K, W>>,
    counts: Vec<u32>,
}

impl<K: Key, W: Weight> Buffers<K, W> {
    /// The entries of a bucket by row, and then by target; counts those of each row.
    pub fn sort(&mut self, layout: &Layout, keys: &[K], weights: &[W], rows: &mut [usize]) -> Result<&[Entry<K, W>]> {
        let count = keys.len();
        grow(&mut self.entries, count)?;
        if (SMALL..LARGE).contains(&count) {
            grow(&mut self.other, count)?;
            self.radix_sort(layout, keys, weights, rows)?;
            return Ok(&self.entries[..count]);
        }
        let sorted = &mut self.entries[..count];
        sorted.iter_mut().zip(entries(keys, weights)).for_each(|(place, entry)| *place = entry);
        match count < SMALL {
            true => sorted.sort_unstable_by_key(|entry| entry.key),
            false => sorted.par_sort_unstable_by_key(|entry| entry.key),
        }
        sorted.iter().for_each(|entry| rows[layout.row(entry.key)] += 1);
        Ok(sorted)
    }

    /// Least digit first: those of the target, and then the row.
    fn radix_sort(&mut self, layout: &Layout, keys: &[K], weights: &[W], rows: &mut [usize]) -> Result<()> {
        let passes = layout.target_bits.div_ceil(DIGIT).max(1);
        let digit = layout.target_bits.div_ceil(passes);
        let digit_of = |key: K, pass: u32| (key.bits() >> (pass * digit)) as usize & ((1 << digit) - 1);
        grow(&mut self.counts, (passes as usize) << digit)?;
        let counts = &mut self.counts[..(passes as usize) << digit];
        counts.fill(0);
        for &key in keys {
            for pass in 0..passes {
                // The digits of the last pass may include bits of the row: they do no harm.
                counts[((pass as usize) << digit) + digit_of(key, pass)] += 1;
            }
            rows[layout.row(key)] += 1;
        }
        for (pass, next) in counts.chunks_exact_mut(1 << digit).enumerate() {
            exclusive_sums(next);
            let mut deal = |entry: &Entry<K, W>, to: &mut [Entry<K, W>]| {
                let next = &mut next[digit_of(entry.key, pass as u32)];
                to[*next as usize] = *entry;
                *next += 1;
            };
            if pass == 0 {
                entries(keys, weights).for_each(|entry| deal(&entry, &mut self.entries));
            } else {
                self.entries[..keys.len()].iter().for_each(|entry| deal(entry, &mut self.other));
                std::mem::swap(&mut self.entries, &mut self.other);
            }
        }
        Ok(())
    }
}

/// Keys and weights side by side.
fn entries<K: Key, W: Weight>(keys: &[K], weights: &[W]) -> impl Iterator<Item = Entry<K, W>> {
    keys.iter().zip(weights).map(|(&key, &weight)| Entry { key, weight })
}

/// Where the rows of a bucket are put.
pub(super) struct Rows<'a, W> {
    /// Where each row ends; before that, how many entries it has, and where the next one goes.
    pub ends: &'a mut [usize],
    pub targets: &'a mut [u32],
    pub weights: &'a mut [W],
}

impl<W: Weight> Rows<'_, W> {
    pub fn starts_of_counts(&mut self) {
        self.ends.iter_mut().fold(0, |before, count| before + std::mem::replace(count, before));
    }

    #[inline]
    pub fn put<K: Key>(&mut self, layout: &Layout, entry: &Entry<K, W>) {
        let next = &mut self.ends[layout.row(entry.key)];
        self.targets[*next] = layout.target(entry.key);
        self.weights[*next] = entry.weight;
        *next += 1;
    }

    /// Puts entries of the same row and target in order, or drops all but one; returns how many stay.
    pub fn finish(&mut self, duplicates: Duplicates) -> usize {
        let have_weights = size_of::<W>() > 0;
        if duplicates == Duplicates::Keep && !have_weights {
            return self.targets.len();
        }
        let (mut start, mut kept) = (0, 0);
        for end in &mut *self.ends {
            let row = start..*end;
            start = row.end;
            if have_weights {
                sort_ties(&self.targets[row.clone()], &mut self.weights[row.clone()]);
            }
            let first = kept;
            for entry in row {
                let target = self.targets[entry];
                if duplicates == Duplicates::DropLater && kept > first && self.targets[kept - 1] == target {
                    continue;
                }
                self.targets[kept] = target;
                self.weights[kept] = self.weights[entry];
                kept += 1;
            }
            *end = kept;
        }
        kept
    }
}

/// Sorts the weights of each target by themselves.
fn sort_ties<W: Weight>(targets: &[u32], weights: &mut [W]) {
    let mut first = 0;
    for next in 1..=targets.len() {
        if targets.get(next) != Some(&targets[first]) {
            if next - first > 1 {
                weights[first..next].sort_unstable_by(W::order);
            }
            first = next;
        }
    }
}

/// Makes a buffer at least so long.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, values: usize) -> Result<()> {
    if buffer.len() < values {
        *buffer = room(values)?;
        buffer.resize(values, T::default());
    }
    Ok(())
}

/// Replaces counts by the sums of those before, and returns the sum of all.
fn exclusive_sums(counts: &mut [u32]) -> u32 {
    counts.iter_mut().fold(0, |before, count| before + std::mem::replace(count, before))
}
