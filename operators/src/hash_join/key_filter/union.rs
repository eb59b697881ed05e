//! The filters of several tables as one: what any of them lets pass.
//!
//! Ranks that build parts of one side of a join tell the ranks that scan its other side; a row may go when no part has its
//! key. Filters travel as words:
//!
//! ```text
//!   NULL?  values  least  greatest  form  base  bits or blocks …
//!            (two words each)
//! ```
//!
//! - *Bits and bits* become bits over both ranges, if these are near enough to each other.
//! - *Blocks of a Bloom filter* are chosen by the upper bits of a hash. So a filter of fewer blocks is one of more blocks,
//!   each repeated, and two of the same size are united bit by bit.
//! - *Bits and blocks* become blocks: the values are known.

use std::sync::Arc;

use arrow::datatypes::DataType;
use bireme_engine::budget::{Budget, Reservation};
use bireme_engine::{Error, Result};

use super::super::JoinTable;
use super::{Filter, KeyFilter, Size, Test, bits_length, hashes_of, set_bit, set_hashes, shift_of};

/// Words before the bits or blocks.
const HEAD: usize = 8;

const BITS: u64 = 0;
const BLOOM: u64 = 1;

/// The filter of a table's key in words.
pub(in super::super) fn packed(table: &JoinTable, key: usize, copies: usize, most: usize) -> Option<Vec<u64>> {
    Filter::of(table, key, Size { copies, most }).map(Filter::into_words)
}

impl Filter {
    fn into_words(self) -> Vec<u64> {
        let (form, base, body) = match self.test {
            Test::Bits { min, bits } => (BITS, min as u64, bits),
            Test::Bloom { blocks, .. } => (BLOOM, 0, blocks),
        };
        let mut words = vec![u64::from(self.null), self.values as u64];
        // Without a range: one that no values have, the last before the first but not by one.
        let (least, greatest) = self.range.unwrap_or(NO_RANGE);
        words.extend([least as u64, (least >> 64) as u64, greatest as u64, (greatest >> 64) as u64]);
        words.extend([form, base]);
        words.extend(body);
        words
    }
}

const NO_RANGE: (i128, i128) = (2, 0);

/// Filters that arrive one by one, and what they are together.
#[derive(Debug)]
pub struct KeyUnion {
    logical: DataType,
    most: usize,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    null: bool,
    values: usize,
    range: Option<(i128, i128)>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Bits(i64, Vec<u64>),
    Bloom(Vec<u64>),
}

impl KeyUnion {
    /// Nothing yet; for a column of this logical type. No form of it takes more than `most` bytes.
    pub fn new(logical: DataType, most: usize) -> Self {
        Self { logical, most, parts: Vec::new() }
    }

    /// Takes a filter.
    ///
    /// # Errors
    /// The words are none of a filter.
    pub fn add(&mut self, words: &[u64]) -> Result<()> {
        let odd = || Error::internal("what came as a filter of keys is none");
        let (head, body) = words.split_at_checked(HEAD).ok_or_else(odd)?;
        let wide = |low: u64, high: u64| i128::from(high as i64) << 64 | i128::from(low);
        let range = (wide(head[2], head[3]), wide(head[4], head[5]));
        let form = match head[6] {
            BITS if body.len() > 1 => Form::Bits(head[7] as i64, body.to_vec()),
            BLOOM if body.len() > 1 && body.len().is_power_of_two() => Form::Bloom(body.to_vec()),
            _ => return Err(odd()),
        };
        let range = (range != NO_RANGE).then_some(range);
        self.parts.push(Part { null: head[0] != 0, values: head[1] as usize, range, form });
        Ok(())
    }

    /// How many filters it has.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The union; `None` if there is no memory for it.
    pub fn finish(self, budget: &Budget) -> Option<Arc<dyn KeyFilter>> {
        let reservation = budget.reserve("hash join filter");
        let range = self.range();
        let (null, values) = (self.parts.iter().any(|part| part.null), self.parts.iter().map(|part| part.values).sum());
        let test = match self.bounds() {
            Some((min, span)) => self.as_bits(min, span, &reservation)?,
            None => self.as_bloom(&reservation)?,
        };
        Some(Arc::new(Filter { logical: self.logical, range, null, values, test, _reservation: reservation }))
    }

    /// The least range that holds those of all parts.
    fn range(&self) -> Option<(i128, i128)> {
        let mut all = (1, 0);
        for part in &self.parts {
            let (least, greatest) = part.range?;
            if least <= greatest {
                all = if all.0 > all.1 { (least, greatest) } else { (all.0.min(least), all.1.max(greatest)) };
            }
        }
        Some(all)
    }

    /// The first value and the span of bits that hold all parts, if all are bits and few enough.
    fn bounds(&self) -> Option<(i64, u64)> {
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for part in &self.parts {
            let Form::Bits(base, bits) = &part.form else { return None };
            for value in [first(bits), last(bits)].into_iter().flatten() {
                let value = base.wrapping_add(value as i64);
                (min, max) = (min.min(value), max.max(value));
            }
        }
        if min > max {
            return Some((0, 0));
        }
        let span = max.wrapping_sub(min) as u64;
        let fits = bits_length(span).is_some_and(|length| length.saturating_mul(8) <= self.most);
        fits.then_some((min, span))
    }

    fn as_bits(&self, min: i64, span: u64, reservation: &Reservation) -> Option<Test> {
        let length = bits_length(span)?;
        reservation.try_grow(length * 8).ok()?;
        let mut all = vec![0; length];
        for part in &self.parts {
            if let Form::Bits(base, bits) = &part.form {
                each(bits, |place| set_bit(&mut all, base.wrapping_add(place as i64).wrapping_sub(min) as u64));
            }
        }
        Some(Test::Bits { min, bits: all })
    }

    fn as_bloom(&self, reservation: &Reservation) -> Option<Test> {
        let wanted = self.parts.iter().map(|part| match &part.form {
            Form::Bits(..) => (part.values / 4).max(2).next_power_of_two(),
            Form::Bloom(blocks) => blocks.len(),
        });
        let most = (self.most / 8).max(2);
        let most = if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 };
        let length = wanted.max()?.min(most);
        reservation.try_grow(length * 8).ok()?;
        let mut all = vec![0; length];
        for part in &self.parts {
            match &part.form {
                Form::Bits(base, bits) => {
                    let mut words = Vec::with_capacity(part.values);
                    each(bits, |place| words.push(base.wrapping_add(place as i64)));
                    set_hashes(&mut all, &hashes_of(words));
                }
                Form::Bloom(blocks) => unite(&mut all, blocks),
            }
        }
        Some(Test::Bloom { shift: shift_of(&all), blocks: all })
    }
}

/// Sets the bits of blocks of another number, which is a power of two as well.
fn unite(all: &mut [u64], blocks: &[u64]) {
    if blocks.len() <= all.len() {
        let each = all.len() / blocks.len();
        all.iter_mut().enumerate().for_each(|(place, word)| *word |= blocks[place / each]);
    } else {
        let each = blocks.len() / all.len();
        blocks.iter().enumerate().for_each(|(place, word)| all[place / each] |= word);
    }
}

fn first(bits: &[u64]) -> Option<u64> {
    let word = bits.iter().position(|&word| word != 0)?;
    Some(word as u64 * 64 + u64::from(bits[word].trailing_zeros()))
}

fn last(bits: &[u64]) -> Option<u64> {
    let word = bits.iter().rposition(|&word| word != 0)?;
    Some(word as u64 * 64 + 63 - u64::from(bits[word].leading_zeros()))
}

fn each(bits: &[u64], mut take: impl FnMut(u64)) {
    for (place, &word) in bits.iter().enumerate() {
        let mut left = word;
        while left != 0 {
            take(place as u64 * 64 + u64::from(left.trailing_zeros()));
            left &= left - 1;
        }
    }
}
