//! A hash table whose chains are not chained: entries sorted by hash prefix, and a directory of where each prefix starts.
//!
//! After Birler, Schmidt, Fent, Neumann, "Simple, Efficient, and Robust Hash Tables for Join Processing", DaMoN 2024.
//!
//! ```text
//!   word ─mix─► hash 0110 1…       directory            entries: (word, row)
//!                    │             0101 │ 7 │ tags ─────►  7: (k3, r9)
//!                    └───────────► 0110 │ 8 │ tags ─────►  8: (k1, r2) (k1, r5) (k8, r0)
//!                                  0111 │ 11│ tags        11: …
//! ```
//!
//! An entry of the directory has the start of its slot in 48 bits, and 16 bits of a Bloom filter over what is in it: most
//! words without a partner are told so by the one load. A slot ends where the next one starts. Within a slot entries
//! are in order of word, then row, so that the rows of a word are contiguous however many share the slot: a probe of a
//! long slot searches by halves, and a heavy key hurts nobody else.
//!
//! Cost: a cache miss in the directory, one in the entries if the tags match. Both loads of a batch of rows are
//! started together.

use rayon::prelude::*;

use super::index::Candidates;
use super::keys::{Words, mix};
use super::memory::{prefetch, zeros};
use super::radix::{Parted, part};

/// Rows of a part when building, as a power of two: its directory and entries fit the L2 cache.
const PART_ROWS_LOG: u32 = 14;
/// Parts, at most, as a power of two: more would be slower to cut.
const PARTS_LOG: u32 = 10;
/// Longer slots are searched by halves.
const SHORT: usize = 16;
/// Rows that are looked up together: what is between the phases stays in the L1 cache.
const BATCH: usize = 512;
/// How many rows ahead entries are fetched.
const AHEAD: usize = 16;

/// Twelve bytes, not sixteen: a third more of them in each cache line.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    word: u64,
    row: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    /// Start and tags of each slot; the last one is the end.
    slots: Vec<u64>,
    entries: Vec<Entry>,
    /// Bits of a slot's number.
    bits: u32,
    /// No word twice.
    single: bool,
}

/// The slot of a hash; no bits at all is slot 0.
#[inline(always)]
fn slot_of(hash: u64, bits: u32) -> usize {
    ((hash >> 1) >> (63 - bits)) as usize
}

/// Two of 16 bits, from hash bits that the slot does not use.
#[inline(always)]
fn tags_of(hash: u64) -> u64 {
    1 << (hash & 15) | 1 << (hash >> 4 & 15)
}

impl Directory {
    /// Bytes at the most while it is built of so many rows.
    pub fn bytes(rows: usize) -> usize {
        (rows.next_power_of_two() + 1) * 8 + rows * 24
    }

    /// Bytes it holds.
    pub fn held(&self) -> usize {
        self.slots.len() * 8 + self.entries.len() * size_of::<Entry>()
    }

    pub fn build(words: &Words, most_bits: u32) -> Self {
        let bits = words.words.len().next_power_of_two().trailing_zeros().min(most_bits);
        let part_bits = bits.saturating_sub(PART_ROWS_LOG).min(PARTS_LOG);
        let Parted { words, rows, bounds } = part(words, 1 << part_bits, |word| slot_of(mix(word), part_bits));
        let mut slots = zeros::<u64>((1 << bits) + 1);
        let mut entries = zeros::<Entry>(rows.len());
        let (mut tasks, mut left) = (Vec::with_capacity(1 << part_bits), entries.as_mut_slice());
        for (number, slots) in slots[..1 << bits].chunks_mut(1 << (bits - part_bits)).enumerate() {
            let (mine, others) = left.split_at_mut(bounds[number + 1] - bounds[number]);
            tasks.push((number, slots, mine));
            left = others;
        }
        let single = tasks
            .into_par_iter()
            .map(|(number, slots, entries)| {
                let range = bounds[number]..bounds[number + 1];
                build_part(slots, entries, &words[range.clone()], &rows[range.clone()], bits, range.start)
            })
            .reduce(|| true, |one, other| one & other);
        slots[1 << bits] = (entries.len() as u64) << 16;
        Self { slots, entries, bits, single }
    }

    #[inline]
    pub fn row(&self, place: u32) -> u32 {
        self.entries[place as usize].row
    }

    /// The word of each entry.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|entry| entry.word)
    }

    /// Rows of entries with the same word that stand side by side.
    pub fn same_words(&self) -> (Vec<u32>, Vec<u32>) {
        let pairs = self.entries.windows(2).filter(|pair| { pair[0].word } == { pair[1].word });
        pairs.map(|pair| (pair[0].row, pair[1].row)).unzip()
    }

    pub fn lookup(&self, words: &[u64], valid: Option<&[bool]>) -> Candidates {
        let rows = words.len();
        let mut found = Candidates {
            probe: Vec::with_capacity(rows),
            start: Vec::with_capacity(rows),
            len: (!self.single).then(|| Vec::with_capacity(rows)),
        };
        let (mut hashes, mut at) = ([0_u64; BATCH], [0_u32; BATCH]);
        let mut ranges = [(0_u32, 0_u32); BATCH];
        for first in (0..rows).step_by(BATCH) {
            let batch = &words[first..(first + BATCH).min(rows)];
            hash_batch(batch, &mut hashes);
            let mut count = 0;
            for place in 0..batch.len() {
                let hash = hashes[place];
                let slot = slot_of(hash, self.bits);
                // SAFETY: a slot has `bits` bits, and there is one more than those.
                let (entry, next) = unsafe { (*self.slots.get_unchecked(slot), *self.slots.get_unchecked(slot + 1)) };
                let tags = tags_of(hash);
                let passes = (entry & tags == tags) & valid.is_none_or(|valid| valid[first + place]);
                at[count] = place as u32;
                ranges[count] = ((entry >> 16) as u32, (next >> 16) as u32);
                count += usize::from(passes);
            }
            ranges[..AHEAD.min(count)].iter().for_each(|range| self.prefetch(range.0));
            for place in 0..count {
                if place + AHEAD < count {
                    self.prefetch(ranges[place + AHEAD].0);
                }
                let (row, (start, end)) = (at[place] as usize, ranges[place]);
                self.find(batch[row], start, end, (first + row) as u32, &mut found);
            }
        }
        found
    }

    #[inline(always)]
    fn prefetch(&self, place: u32) {
        prefetch(self.entries.as_ptr().wrapping_add(place as usize));
    }

    /// The entries of a word in a slot.
    #[inline(always)]
    fn find(&self, word: u64, start: u32, end: u32, row: u32, found: &mut Candidates) {
        let slot = &self.entries[start as usize..end as usize];
        let first = if slot.len() <= SHORT {
            slot.iter().position(|entry| entry.word == word)
        } else {
            let first = slot.partition_point(|entry| entry.word < word);
            (first < slot.len() && slot[first].word == word).then_some(first)
        };
        let Some(first) = first else { return };
        found.probe.push(row);
        match &mut found.len {
            None => found.start.push(slot[first].row),
            Some(len) => {
                let slot = &slot[first..];
                let count = if slot.len() <= SHORT {
                    slot.iter().take_while(|entry| entry.word == word).count()
                } else {
                    slot.partition_point(|entry| entry.word == word)
                };
                found.start.push(start + first as u32);
                len.push(count as u32);
            }
        }
    }
}

fn build_part(slots: &mut [u64], entries: &mut [Entry], words: &[u64], rows: &[u32], bits: u32, base: usize) -> bool {
    let first = words.first().map_or(0, |&word| slot_of(mix(word), bits)) & !(slots.len() - 1);
    words.iter().for_each(|&word| slots[slot_of(mix(word), bits) - first] += 1);
    let mut end = 0;
    for slot in slots.iter_mut() {
        end += *slot;
        *slot = end;
    }
    let mut tags = vec![0_u16; slots.len()];
    for (&word, &row) in words.iter().zip(rows).rev() {
        let hash = mix(word);
        let slot = slot_of(hash, bits) - first;
        slots[slot] -= 1;
        tags[slot] |= tags_of(hash) as u16;
        entries[slots[slot] as usize] = Entry { word, row };
    }
    let mut single = true;
    for slot in 0..slots.len() {
        let (start, end) = (slots[slot] as usize, slots.get(slot + 1).map_or(entries.len(), |&next| next as usize));
        if end - start > 1 {
            single &= sort_slot(&mut entries[start..end]);
        }
    }
    for (slot, tags) in slots.iter_mut().zip(tags) {
        *slot = (*slot + base as u64) << 16 | u64::from(tags);
    }
    single
}

/// Sorts the entries of a slot by word, then row; says whether all words are different. Rows are ascending before.
fn sort_slot(slot: &mut [Entry]) -> bool {
    if slot.len() <= SHORT {
        for end in 1..slot.len() {
            let entry = slot[end];
            let mut place = end;
            while place > 0 && slot[place - 1].word > entry.word {
                slot[place] = slot[place - 1];
                place -= 1;
            }
            slot[place] = entry;
        }
    } else {
        slot.sort_unstable_by_key(|entry| ({ entry.word }, { entry.row }));
    }
    slot.windows(2).all(|pair| { pair[0].word } != { pair[1].word })
}

/// Hashes a batch with the widest vectors there are.
fn hash_batch(words: &[u64], hashes: &mut [u64; BATCH]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq")]
        fn with_avx512(words: &[u64], hashes: &mut [u64; BATCH]) {
            hashes.iter_mut().zip(words).for_each(|(hash, &word)| *hash = mix(word));
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the CPU has what the function was compiled for.
            return unsafe { with_avx512(words, hashes) };
        }
    }
    hashes.iter_mut().zip(words).for_each(|(hash, &word)| *hash = mix(word));
}
