//! The order of rows that are all in memory.

use std::cmp::Ordering;

use bireme_engine::error::Result;

use super::blocks::Block;
use super::integers::{self, Entry, Ties};
use super::layout::{Key, Layout, Range, id_bits};
use super::ties::Comparison;

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

/// Bytes that ordering a row takes: an entry and its scratch.
pub(super) const ORDER_BYTES: usize = 32;

impl Order {
    /// Sorts the rows of these blocks by the keys.
    pub fn of(blocks: &[Block], keys: &[Key], wanted: Wanted) -> Result<Self> {
        let (ranges, id_bits) = (Range::of_keys(blocks, keys)?, id_bits(blocks));
        let narrow = Layout::new(keys, &ranges, u64::BITS, id_bits);
        if narrow.ties_from.is_none() {
            return Ok(Self::Narrow { entries: sorted(blocks, keys, &narrow, wanted)?, id_bits });
        }
        let wide = Layout::new(keys, &ranges, u128::BITS, id_bits);
        Ok(Self::Wide { entries: sorted(blocks, keys, &wide, wanted)?, id_bits })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Narrow { entries, .. } => entries.len(),
            Self::Wide { entries, .. } => entries.len(),
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

fn sorted<E: Entry>(blocks: &[Block], keys: &[Key], layout: &Layout, wanted: Wanted) -> Result<Vec<E>> {
    let mut entries = layout.encode::<E>(blocks)?;
    let id_bits = layout.id_bits;
    let rest = layout.ties_from.map(|from| Comparison::new(blocks, &keys[from..])).transpose()?;
    let first = match wanted {
        Wanted::Set(rows) if rest.is_none() && rows < entries.len() && rows > 0 => {
            entries.select_nth_unstable(rows - 1);
            entries.truncate(rows);
            return Ok(entries);
        }
        Wanted::All => entries.len(),
        Wanted::First(rows) | Wanted::Set(rows) => rows,
    };
    match &rest {
        None => integers::sort(&mut entries, id_bits, None),
        Some(rest) => {
            let compare = |a: u64, b: u64| -> Ordering { rest.compare(a, b) };
            integers::sort(&mut entries, id_bits, Some(&compare as &Ties<'_>));
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
