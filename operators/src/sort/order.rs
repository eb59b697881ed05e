//! The order of rows that are all in memory.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, new_empty_array};
use bireme_engine::error::Result;

use super::blocks::{Block, Column, ROW_BITS};
use super::integers::{self, Entry, Ties};
use super::layout::{Key, Layout, Range, id_bits};
use super::ties::Comparison;
use crate::accelerator::Accelerator;

/// Row ids, in order, below what is left of their keys.
#[derive(Debug)]
pub(super) enum Order {
    Narrow { entries: Vec<u64>, id_bits: u32 },
    Wide { entries: Vec<u128>, id_bits: u32 },
}

/// How much of the order is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All rows, in order.
    All,
    /// The first so many, in order.
    First(usize),
    /// The first so many, in any order but for the last of them, which is the worst.
    Set(usize),
}

/// From so many rows on it pays to find out whether half as wide entries would do.
const MANY_ROWS: usize = 1 << 16;

/// Rows that are looked at for it.
const SAMPLE_ROWS: usize = 1 << 12;

/// Bytes that ordering a row takes: an entry and its scratch.
pub(super) const ORDER_BYTES: usize = 32;

impl Order {
    /// Sorts the rows of these blocks by the keys.
    pub fn of(blocks: &[Block], keys: &[Key], wanted: Wanted, accelerator: Option<&Accelerator>) -> Result<Self> {
        let (ranges, id_bits) = (Range::of_keys(blocks, keys)?, id_bits(blocks));
        let narrow = Layout::new(keys, &ranges, u64::BITS, id_bits);
        if narrow.ties_from.is_none() || ties_are_rare(blocks, keys, &narrow)? {
            return Ok(Self::Narrow { entries: sorted(blocks, keys, &narrow, wanted, accelerator)?, id_bits });
        }
        let wide = Layout::new(keys, &ranges, u128::BITS, id_bits);
        Ok(Self::Wide { entries: sorted(blocks, keys, &wide, wanted, accelerator)?, id_bits })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Narrow { entries, .. } => entries.len(),
            Self::Wide { entries, .. } => entries.len(),
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Narrow { entries, .. } => size_of::<u64>() * entries.len(),
            Self::Wide { entries, .. } => size_of::<u128>() * entries.len(),
        }
    }

    /// The ids of `rows` rows from `start` on.
    pub fn ids(&self, start: usize, rows: usize) -> Vec<u64> {
        match self {
            Self::Narrow { entries, id_bits } => ids(&entries[start..start + rows], *id_bits),
            Self::Wide { entries, id_bits } => ids(&entries[start..start + rows], *id_bits),
        }
    }
}

/// Whether entries of this layout, which does not decide everything, leave little to comparisons: random keys of 64 bits
/// differ in their first 40 already, and entries of half the width sort in half the time.
///
/// No two of the sampled rows have equal entries. Of n rows, one then has about n / 8 million others like it, which is
/// one or none for as many as a worker usually sorts.
fn ties_are_rare(blocks: &[Block], keys: &[Key], layout: &Layout) -> Result<bool> {
    let rows = blocks.iter().map(|block| block.rows).sum::<usize>();
    if rows < MANY_ROWS {
        return Ok(false);
    }
    let (step, mut next, mut ids) = (rows / SAMPLE_ROWS, 0, Vec::new());
    for (place, block) in blocks.iter().enumerate() {
        while next < block.rows {
            ids.push((place as u64) << ROW_BITS | next as u64);
            next += step;
        }
        next -= block.rows;
    }
    // Columns that are no keys stay empty.
    let sampled = |(place, array): (usize, &ArrayRef)| match keys.iter().any(|key| key.column == place) {
        true => Column::new(blocks, place, array.data_type())?.collect(&ids),
        false => Ok(new_empty_array(array.data_type())),
    };
    let columns = blocks.first().into_iter().flat_map(|block| block.columns.iter().enumerate().map(sampled));
    let sample = Block { columns: columns.collect::<Result<_>>()?, rows: ids.len() };
    let mut entries = layout.encode::<u64>(&[sample])?;
    entries.sort_unstable();
    Ok(!entries.windows(2).any(|pair| pair[0].same_key(pair[1], layout.id_bits)))
}

fn sorted<E: Entry>(
    blocks: &[Block],
    keys: &[Key],
    layout: &Layout,
    wanted: Wanted,
    accelerator: Option<&Accelerator>,
) -> Result<Vec<E>> {
    let mut entries = layout.encode::<E>(blocks)?;
    let id_bits = layout.id_bits;
    let undecided = layout.ties_from.map(|from| Comparison::new(blocks, &keys[from..])).transpose()?;
    let first = match wanted {
        Wanted::Set(rows) if undecided.is_none() && rows < entries.len() && rows > 0 => {
            entries.select_nth_unstable(rows - 1);
            entries.truncate(rows);
            return Ok(entries);
        }
        Wanted::All => entries.len(),
        Wanted::First(rows) | Wanted::Set(rows) => rows,
    };
    match &undecided {
        None => integers::sort(&mut entries, id_bits, None, accelerator)?,
        Some(undecided) => {
            let compare = |a: u64, b: u64| -> Ordering { undecided.compare(a, b) };
            integers::sort(&mut entries, id_bits, Some(&compare as &Ties<'_>), accelerator)?;
        }
    }
    if first < entries.len() {
        entries.truncate(first);
        entries.shrink_to_fit();
    }
    Ok(entries)
}

fn ids<E: Entry>(entries: &[E], id_bits: u32) -> Vec<u64> {
    entries.iter().map(|entry| entry.low(id_bits)).collect()
}
