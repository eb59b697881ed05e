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

use super::gather::NONE;
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

/// What is between the phases of a lookup.
struct Batch {
    hashes: [u64; BATCH],
    /// Words that are looked for in a slot: their places, and the range of entries that is left.
    at: [u32; BATCH],
    ranges: [(u32, u32); BATCH],
    count: usize,
    /// For each place, its first entry or [`NONE`], and the end of its slot.
    found: [u32; BATCH],
    ends: [u32; BATCH],
}

impl Batch {
    fn new() -> Self {
        Self {
            hashes: [0; BATCH],
            at: [0; BATCH],
            ranges: [(0, 0); BATCH],
            count: 0,
            found: [NONE; BATCH],
            ends: [0; BATCH],
        }
    }
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
        ((1 << slot_bits(rows)) + 1) * 8 + rows * 24
    }

    /// Bytes it holds.
    pub fn held(&self) -> usize {
        self.slots.len() * 8 + self.entries.len() * size_of::<Entry>()
    }

    pub fn build(words: &Words, most_bits: u32) -> Self {
        let bits = slot_bits(words.words.len()).min(most_bits);
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
        let mut batch = Batch::new();
        for first in (0..rows).step_by(BATCH) {
            let words = &words[first..(first + BATCH).min(rows)];
            self.find_slots(words, valid.map(|valid| &valid[first..]), &mut batch);
            self.find_entries(words, &mut batch);
            self.keep_found(words, first as u32, &batch, &mut found);
        }
        found
    }

    /// Phase 1: the slots of those words whose tags are there.
    fn find_slots(&self, words: &[u64], valid: Option<&[bool]>, batch: &mut Batch) {
        hash_batch(words, &mut batch.hashes);
        // A loop of its own: the one below is too long for the core to look many rows ahead.
        for &hash in &batch.hashes[..words.len()] {
            prefetch(self.slots.as_ptr().wrapping_add(slot_of(hash, self.bits)));
        }
        batch.count = 0;
        for place in 0..words.len() {
            let hash = batch.hashes[place];
            let slot = slot_of(hash, self.bits);
            // SAFETY: a slot has `bits` bits, and there is one more than those.
            let (entry, next) = unsafe { (*self.slots.get_unchecked(slot), *self.slots.get_unchecked(slot + 1)) };
            let tags = tags_of(hash);
            let passes = (entry & tags == tags) & valid.is_none_or(|valid| valid[place]);
            batch.at[batch.count] = place as u32;
            batch.ranges[batch.count] = ((entry >> 16) as u32, (next >> 16) as u32);
            batch.count += usize::from(passes);
            batch.found[place] = NONE;
        }
    }

    /// Phase 2: the first entry of each word in its slot. Round after round over the words that are not settled, so that no
    /// branch has to guess how far into its slot a word is.
    fn find_entries(&self, words: &[u64], batch: &mut Batch) {
        let Batch { at, ranges, found, ends, count, .. } = batch;
        ranges[..AHEAD.min(*count)].iter().for_each(|range| self.prefetch(range.0));
        let mut left = *count;
        while left > 0 {
            let mut again = 0;
            for turn in 0..left {
                if turn + AHEAD < left {
                    self.prefetch(ranges[turn + AHEAD].0);
                }
                let (place, (mut start, end)) = (at[turn] as usize, ranges[turn]);
                let word = words[place];
                if end - start > SHORT as u32 {
                    let slot = &self.entries[start as usize..end as usize];
                    start += slot.partition_point(|entry| entry.word < word).min(slot.len() - 1) as u32;
                }
                let entry = self.entries[start as usize];
                let hit = entry.word == word;
                found[place] = if hit { start } else { NONE };
                ends[place] = end;
                at[again] = place as u32;
                ranges[again] = (start + 1, end);
                // Entries are in order of their words.
                again += usize::from((entry.word < word) & (start + 1 < end));
            }
            left = again;
        }
    }

    /// Phase 3: what was found, in the order of the rows.
    fn keep_found(&self, words: &[u64], first: u32, batch: &Batch, out: &mut Candidates) {
        for (place, &start) in batch.found[..words.len()].iter().enumerate() {
            if start == NONE {
                continue;
            }
            out.probe.push(first + place as u32);
            match &mut out.len {
                None => out.start.push(self.entries[start as usize].row),
                Some(len) => {
                    out.start.push(start);
                    len.push(self.run(words[place], start, batch.ends[place]));
                }
            }
        }
    }

    /// How many entries of a word there are, from its first one on.
    #[inline(always)]
    fn run(&self, word: u64, start: u32, end: u32) -> u32 {
        let slot = &self.entries[start as usize..end as usize];
        if slot.len() <= SHORT {
            slot.iter().take_while(|entry| entry.word == word).count() as u32
        } else {
            slot.partition_point(|entry| entry.word == word) as u32
        }
    }

    #[inline(always)]
    fn prefetch(&self, place: u32) {
        prefetch(self.entries.as_ptr().wrapping_add(place as usize));
    }
}

/// Bits of a slot's number: at most two of three slots have an entry, so that a word is most often alone.
fn slot_bits(rows: usize) -> u32 {
    (rows + rows / 2).next_power_of_two().trailing_zeros()
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
