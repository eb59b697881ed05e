//! From words to rows of the build side.
//!
//! | index | when | a word's rows |
//! |---|---|---|
//! | [`Index::All`] | no keys | all |
//! | [`Index::Bits`] | exact words in a small range, and only whether there is a partner matters | a bit |
//! | [`Index::Slots`] | exact words in a small range, each once | `slots[word]` |
//! | [`Index::Groups`] | exact words in a small range | `rows[offsets[word]..offsets[word + 1]]` |
//! | [`Index::Directory`] | else | see [`super::directory`] |
//!
//! A small range is one of at most [`SPARSE`] times as many words as rows: the slots then take less room than a
//! directory, and a probe is a single load. All arrays end in a place that stands for "none", to which words out of range
//! are sent by a `min`: the loops have no branch that the data decides.
//!
//! Building is free of locks. Slots are written by all tasks at once, each row its number; in a second pass each row looks
//! whether its number is still there. If not, the key has come twice, and the rows are grouped: cut by ranges of words,
//! one task counts, sums up and places the rows of one range.

use std::sync::atomic::{AtomicU32, Ordering};

use bireme_engine::{Error, Result};
use rayon::prelude::*;

use super::directory::Directory;
use super::keys::Words;
use super::memory::zeros;
use super::plan::Tuning;
use super::radix::{Parted, part};

/// Words in the range for each row, at most.
const SPARSE: u128 = 8;
/// A range of this size is small however few the rows are: its slots fit the L2 cache.
const SMALL: u128 = 1 << 16;
/// The same of bits.
const SPARSE_BITS: u128 = 64;
const SMALL_BITS: u128 = 1 << 20;
/// Rows that one task writes.
const TASK_ROWS: usize = 1 << 16;
/// Words of the range that one task groups: their counts stay in the L2 cache.
const GROUP_WORDS_LOG: u32 = 16;

/// Where the rows of a word are.
#[derive(Debug)]
pub(super) enum Index {
    All(u32),
    Bits(Vec<u64>),
    /// Row + 1, or 0.
    Slots(Vec<u32>),
    Groups {
        offsets: Vec<u32>,
        rows: Vec<u32>,
    },
    Directory(Directory),
}

/// Rows of the probe side that have rows with the same word on the build side.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The row of the probe side, ascending.
    pub probe: Vec<u32>,
    /// Where its rows start; see [`Index::row`].
    pub start: Vec<u32>,
    /// How many there are; without these each has one row, and `start` is its number.
    pub len: Option<Vec<u32>>,
}

/// Bytes that building takes beside the words, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    All,
    Bits(usize),
    Dense(usize),
    Directory,
}

impl Shape {
    /// `total`: how many exact words there can be; `None` if they are hashes.
    pub fn new(rows: usize, keys: usize, total: Option<u128>, bits: bool, tuning: &Tuning) -> Self {
        let count = rows as u128;
        match total {
            _ if keys == 0 => Shape::All,
            Some(total) if tuning.dense && bits && total <= SMALL_BITS.max(count * SPARSE_BITS) => {
                Shape::Bits(total as usize)
            }
            Some(total) if tuning.dense && total <= SMALL.max(count * SPARSE) && total < 1 << 31 => {
                Shape::Dense(total as usize)
            }
            _ => Shape::Directory,
        }
    }

    /// Bytes at the most while it is built.
    pub fn bytes(self, rows: usize) -> usize {
        match self {
            Shape::All => 0,
            Shape::Bits(total) => total / 8 + 16,
            // Slots, or counts with rows and what they are cut into.
            Shape::Dense(total) => total * 4 + rows * 16 + 64,
            Shape::Directory => Directory::bytes(rows) + rows * 12,
        }
    }
}

impl Index {
    pub fn build(shape: Shape, words: &Words, tuning: &Tuning) -> Result<Self> {
        let rows = words.words.len();
        if u32::try_from(rows).is_err() || rows >= u32::MAX as usize - 1 {
            return Err(Error::resources(format!("a join's build side of {rows} rows on one rank; use more ranks")));
        }
        Ok(match shape {
            Shape::All => Index::All(rows as u32),
            Shape::Bits(total) => Index::Bits(bits(words, total)),
            Shape::Dense(total) => match slots(words, total) {
                Some(slots) => Index::Slots(slots),
                None => groups(words, total),
            },
            Shape::Directory => Index::Directory(Directory::build(words, tuning.directory_bits)),
        })
    }

    /// Bytes it holds.
    pub fn held(&self) -> usize {
        match self {
            Index::All(_) => 0,
            Index::Bits(bits) => bits.len() * 8,
            Index::Slots(slots) => slots.len() * 4,
            Index::Groups { offsets, rows } => (offsets.len() + rows.len()) * 4,
            Index::Directory(directory) => directory.held(),
        }
    }

    /// The row at a place between a candidate's start and end.
    #[inline]
    pub fn row(&self, place: u32) -> u32 {
        match self {
            Index::All(_) | Index::Bits(_) | Index::Slots(_) => place,
            Index::Groups { rows, .. } => rows[place as usize],
            Index::Directory(directory) => directory.row(place),
        }
    }

    /// Every word that has rows, some perhaps more than once.
    pub fn each_word(&self, mut take: impl FnMut(u64)) {
        match self {
            Index::All(_) => {}
            Index::Bits(bits) => {
                let set = |word: usize| bits[word >> 6] >> (word & 63) & 1 == 1;
                (0..bits.len() * 64).filter(|&word| set(word)).for_each(|word| take(word as u64));
            }
            Index::Slots(slots) => {
                slots.iter().enumerate().filter(|(_, slot)| **slot != 0).for_each(|(word, _)| take(word as u64));
            }
            Index::Groups { offsets, .. } => {
                let groups = offsets.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]);
                groups.for_each(|(word, _)| take(word as u64));
            }
            Index::Directory(directory) => directory.words().for_each(take),
        }
    }

    /// Neighbours with the same word, in places that only words of their own lead to.
    pub fn same_words(&self) -> (Vec<u32>, Vec<u32>) {
        match self {
            Index::Directory(directory) => directory.same_words(),
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// Looks words up.
    pub fn lookup(&self, words: &Words, rows: usize) -> Candidates {
        let valid = words.valid.as_deref();
        match self {
            Index::All(0) => Candidates::default(),
            Index::All(all) => {
                let probe = (0..rows as u32).collect();
                Candidates { probe, start: vec![0; rows], len: (*all > 1).then(|| vec![*all; rows]) }
            }
            Index::Bits(bits) => {
                let probe = select(&words.words, valid, |word| {
                    let place = ((word >> 6) as usize).min(bits.len() - 1);
                    (bits[place] >> (word & 63) & 1 == 1, 0)
                });
                Candidates { probe: probe.0, start: probe.1, len: None }
            }
            Index::Slots(slots) => {
                let last = slots.len() - 1;
                let (probe, start) = select(&words.words, valid, |word| {
                    let slot = (word.min(last as u64)) as usize;
                    // SAFETY: at most the last place.
                    let row = unsafe { *slots.get_unchecked(slot) };
                    (row != 0, row.wrapping_sub(1))
                });
                Candidates { probe, start, len: None }
            }
            Index::Groups { offsets, .. } => {
                let none = offsets.len() - 2;
                let (probe, start) = select(&words.words, valid, |word| {
                    let place = (word.min(none as u64)) as usize;
                    // SAFETY: at most the last place but one.
                    let (start, end) = unsafe { (*offsets.get_unchecked(place), *offsets.get_unchecked(place + 1)) };
                    (start != end, start)
                });
                let words = &words.words;
                let len =
                    probe.iter().zip(&start).map(|(&row, start)| offsets[words[row as usize] as usize + 1] - start);
                let len = Some(len.collect());
                Candidates { probe, start, len }
            }
            Index::Directory(directory) => directory.lookup(&words.words, valid),
        }
    }
}

/// The rows that pass a test, and what it says of them; no branch depends on it.
#[inline(always)]
fn select(words: &[u64], valid: Option<&[bool]>, test: impl Fn(u64) -> (bool, u32)) -> (Vec<u32>, Vec<u32>) {
    let rows = words.len();
    let (mut probe, mut start) = (vec![0_u32; rows], vec![0_u32; rows]);
    let mut count = 0;
    let mut put = |row: usize, passes: bool, place: u32| {
        // SAFETY: at most one place is taken by each row before, so `count <= row < rows`.
        unsafe {
            *probe.get_unchecked_mut(count) = row as u32;
            *start.get_unchecked_mut(count) = place;
        }
        count += usize::from(passes);
    };
    match valid {
        None => words.iter().enumerate().for_each(|(row, &word)| {
            let (passes, place) = test(word);
            put(row, passes, place);
        }),
        Some(valid) => words.iter().zip(valid).enumerate().for_each(|(row, (&word, &valid))| {
            let (passes, place) = test(word);
            put(row, passes & valid, place);
        }),
    }
    probe.truncate(count);
    start.truncate(count);
    (probe, start)
}

fn bits(words: &Words, total: usize) -> Vec<u64> {
    // The last word of bits stands for "none".
    let mut bits = vec![0_u64; total.div_ceil(64) + 1];
    for (row, &word) in words.words.iter().enumerate() {
        if words.valid.as_ref().is_none_or(|valid| valid[row]) {
            bits[(word >> 6) as usize] |= 1 << (word & 63);
        }
    }
    bits
}

/// Each word's row, or `None` if a word has come twice.
fn slots(words: &Words, total: usize) -> Option<Vec<u32>> {
    let mut slots = zeros::<u32>(total + 1);
    // SAFETY: atomics have the layout of what they hold, and this borrow is the only one while it lasts.
    let shared = unsafe { &*(std::ptr::from_mut(slots.as_mut_slice()) as *const [AtomicU32]) };
    let is_valid = |row: usize| words.valid.as_ref().is_none_or(|valid| valid[row]);
    let tasks = || words.words.par_chunks(TASK_ROWS).enumerate();
    let numbered = |task: usize, at: usize| (task * TASK_ROWS + at, (task * TASK_ROWS + at) as u32 + 1);
    tasks().for_each(|(task, words)| {
        for (at, &word) in words.iter().enumerate() {
            let (row, number) = numbered(task, at);
            if is_valid(row) {
                shared[word as usize].store(number, Ordering::Relaxed);
            }
        }
    });
    let single = tasks().all(|(task, words)| {
        words.iter().enumerate().all(|(at, &word)| {
            let (row, number) = numbered(task, at);
            !is_valid(row) || shared[word as usize].load(Ordering::Relaxed) == number
        })
    });
    single.then_some(slots)
}

fn groups(words: &Words, total: usize) -> Index {
    let parts = total.div_ceil(1 << GROUP_WORDS_LOG).max(1);
    let parted = part(words, parts, |word| (word >> GROUP_WORDS_LOG) as usize);
    let Parted { words, rows: numbers, bounds } = parted;
    // offsets[total] starts the place of "none", which ends where it starts.
    let mut offsets = zeros::<u32>(total + 2);
    offsets[total..].fill(numbers.len() as u32);
    let mut rows = zeros::<u32>(numbers.len());
    let (mut tasks, mut left) = (Vec::with_capacity(parts), rows.as_mut_slice());
    for (part, offsets) in offsets[..total].chunks_mut(1 << GROUP_WORDS_LOG).enumerate() {
        let (mine, others) = left.split_at_mut(bounds[part + 1] - bounds[part]);
        tasks.push((part, offsets, mine));
        left = others;
    }
    tasks.into_par_iter().for_each(|(part, offsets, rows)| {
        let (from, to) = (bounds[part], bounds[part + 1]);
        let base = part << GROUP_WORDS_LOG;
        words[from..to].iter().for_each(|&word| offsets[word as usize - base] += 1);
        let mut end = from as u32;
        for offset in offsets.iter_mut() {
            end += *offset;
            *offset = end;
        }
        // From the back, so that the rows of a word stay in order and each offset ends as its start.
        for (&word, &number) in words[from..to].iter().zip(&numbers[from..to]).rev() {
            let offset = &mut offsets[word as usize - base];
            *offset -= 1;
            rows[*offset as usize - from] = number;
        }
    });
    Index::Groups { offsets, rows }
}
