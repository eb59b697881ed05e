//! Which rows of a page have a value.
//!
//! Definition levels of flat columns are one bit each: 1 for a value, 0 for NULL. A page stores values of the valid
//! rows only, so a row's value is found at its *rank*, the number of valid rows before it. With the ranks of every
//! 64th row kept, that is one addition and one population count.

use super::damage::Decoded;
use super::runs::{Piece, Runs};

/// The validity of the rows of one page, if some are NULL.
#[derive(Debug)]
pub(super) struct Validity {
    words: Vec<u64>,
    /// Valid rows before each word.
    ranks: Vec<u32>,
    valid: usize,
}

impl Validity {
    /// From levels of one bit; `None` if all rows are valid.
    pub(super) fn from_levels(levels: &Runs) -> Decoded<Option<Self>> {
        if levels.constant() == Some(1) {
            return Ok(None);
        }
        let mut words = Bits::new(levels.len());
        levels.pieces(0, levels.len(), |piece| match piece {
            Piece::Repeated { value, count } => words.repeat(value != 0, count),
            Piece::Packed { data, skipped, count } => {
                debug_assert_eq!(skipped, 0);
                words.packed(data, count);
            }
        });
        let words = words.words;
        let mut valid = 0;
        let ranks = words
            .iter()
            .map(|word| {
                let before = valid;
                valid += word.count_ones();
                before
            })
            .collect();
        Ok((valid as usize != levels.len()).then_some(Self { words, ranks, valid: valid as usize }))
    }

    /// How many rows are valid.
    pub(super) fn valid(&self) -> usize {
        self.valid
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Valid rows before this one, which is the place of its value if it has one.
    pub(super) fn rank(&self, row: usize) -> usize {
        let below = self.words[row / 64] & ((1 << (row % 64)) - 1);
        self.ranks[row / 64] as usize + below.count_ones() as usize
    }
}

/// Bits that are appended.
#[derive(Debug, Default)]
pub(super) struct Bits {
    pub(super) words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub(super) fn new(capacity: usize) -> Self {
        Self { words: Vec::with_capacity(capacity.div_ceil(64) + 1), len: 0 }
    }

    /// Appends the `count` lowest bits of a word; the others must be 0.
    #[inline]
    pub(super) fn push(&mut self, word: u64, count: usize) {
        let shift = self.len % 64;
        if shift == 0 {
            self.words.push(word);
        } else {
            if let Some(last) = self.words.last_mut() {
                *last |= word << shift;
            }
            if shift + count > 64 {
                self.words.push(word >> (64 - shift));
            }
        }
        self.len += count;
    }

    pub(super) fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn repeat(&mut self, bit: bool, mut count: usize) {
        while count > 0 {
            let step = count.min(64);
            self.push(if bit { ones(step) } else { 0 }, step);
            count -= step;
        }
    }

    pub(super) fn packed(&mut self, data: &[u8], count: usize) {
        for start in (0..count).step_by(64) {
            let here = (count - start).min(64);
            let mut bytes = [0; 8];
            let source = data.get(start / 8..).unwrap_or(&[]);
            let taken = source.len().min(8);
            bytes[..taken].copy_from_slice(&source[..taken]);
            self.push(u64::from_le_bytes(bytes) & ones(here), here);
        }
    }
}

/// A word whose `count` lowest bits are set.
pub(super) fn ones(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}
