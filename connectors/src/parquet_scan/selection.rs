//! Which rows of a window are left.
//!
//! Many are bits, few are a list: tests of bits go over all rows of the window at vector speed, tests of a list touch
//! only its rows.

use std::ops::Range;

use arrow::array::BooleanArray;
use arrow::buffer::{BooleanBuffer, Buffer};

use super::validity::{Bits, ones};

/// Rows of a window that passed so far.
#[derive(Debug)]
pub(super) enum Selection {
    All,
    /// A bit a row of the window, and how many are set.
    Bits(Vec<u64>, usize),
    /// Rows of the row group, ascending.
    Rows(Vec<u32>),
}

impl Selection {
    pub(super) fn count(&self, window: &Range<usize>) -> usize {
        match self {
            Selection::All => window.len(),
            Selection::Bits(_, count) => *count,
            Selection::Rows(rows) => rows.len(),
        }
    }

    /// Whether at least one of `parts` rows is left, so that going over all of them pays.
    pub(super) fn is_dense(&self, window: &Range<usize>, parts: usize) -> bool {
        !matches!(self, Selection::Rows(_)) && self.count(window) * parts >= window.len()
    }

    /// Keeps the rows that these answers, one for each row of the window, let pass.
    pub(super) fn and(self, answers: Bits, window: &Range<usize>) -> Self {
        let mut words = answers.words;
        words.truncate(window.len().div_ceil(64));
        if let Selection::Bits(before, _) = &self {
            words.iter_mut().zip(before.iter()).for_each(|(word, before)| *word &= before);
        }
        let count = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        if count == window.len() { Selection::All } else { Selection::Bits(words, count) }
    }

    /// The rows as a list.
    pub(super) fn into_rows(self, window: &Range<usize>) -> Vec<u32> {
        match self {
            Selection::All => window.clone().map(|row| row as u32).collect(),
            Selection::Bits(words, count) => {
                let mut rows = Vec::with_capacity(count);
                for (at, &word) in words.iter().enumerate() {
                    let (base, mut word) = ((window.start + at * 64) as u32, word);
                    while word != 0 {
                        rows.push(base + word.trailing_zeros());
                        word &= word - 1;
                    }
                }
                rows
            }
            Selection::Rows(rows) => rows,
        }
    }
}

/// Answers of a predicate, which have no NULLs, as bits.
pub(super) fn bits_of(answers: &BooleanArray) -> Bits {
    let buffer = answers.values();
    let mut bits = Bits::new(buffer.len());
    let chunks = buffer.bit_chunks();
    chunks.iter().for_each(|word| bits.push(word, 64));
    let rest = chunks.remainder_len();
    if rest > 0 {
        bits.push(chunks.remainder_bits() & ones(rest), rest);
    }
    bits
}

/// Bits of a selection as an Arrow mask.
pub(super) fn mask_of(words: &[u64], len: usize) -> BooleanArray {
    BooleanArray::new(BooleanBuffer::new(Buffer::from_slice_ref(words), 0, len), None)
}
