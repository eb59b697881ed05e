//! Numbers for combinations of indices.
//!
//! Two sparse operands may have axes whose extents multiplied are far more than there are entries, or than a number of 32 bits can
//! count. Then only combinations that are there are numbered, in their order (doubly compressed, as A. Buluç and J. R. Gilbert: On the
//! representation and multiplication of hypersparse matrices, IPDPS 2008, have it); otherwise the number is the row-major place.

use std::borrow::Cow;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::number::Number;
use super::operand::Entries;
use super::times_dense::flattened;
use crate::contract::Extents;

/// Combinations of which all are numbered, however few there are.
const SMALL: usize = 1 << 16;

/// The combinations of indices of some letters.
#[derive(Clone, Debug)]
pub(super) struct Numbering {
    /// Letter, extent, and how far neighbours are apart.
    axes: Vec<(char, u128, u128)>,
    count: usize,
    /// The places that are there, sorted; nothing if all are.
    places: Option<Vec<u128>>,
}

impl Numbering {
    /// Numbers for `letters` of a sparse operand: of all combinations, if they are `at_most` so many an entry, or of its own.
    pub fn new<T: Number>(
        entries: &Entries<'_, T>,
        letters: &[char],
        extents: &Extents,
        at_most: usize,
    ) -> Result<Self> {
        let (mut axes, mut all) = (Vec::with_capacity(letters.len()), 1_u128);
        for &letter in letters.iter().rev() {
            let extent = extents.of(letter) as u128;
            axes.push((letter, extent, all));
            all = all.checked_mul(extent).ok_or_else(|| {
                Error::unsupported(format!(
                    "axes of shape {:?} of a sparse operand have more indices together than a 128-bit number can count",
                    extents.shape(letters)
                ))
            })?;
        }
        axes.reverse();
        let few = SMALL.max(entries.len().saturating_mul(at_most)).min(1 << 32);
        if all <= few as u128 {
            return Ok(Self { axes, count: all as usize, places: None });
        }
        let mut numbering = Self { axes, count: 0, places: None };
        let mut places: Vec<u128> = (0..entries.len()).into_par_iter().map(numbering.place(entries)).collect();
        places.par_sort_unstable();
        places.dedup();
        if places.len() > 1 << 32 {
            return Err(Error::unsupported("a sparse operand with more than 2^32 distinct rows".to_owned()));
        }
        (numbering.count, numbering.places) = (places.len(), Some(places));
        Ok(numbering)
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Of each entry its number; of those that have none, `u32::MAX`, and then also `true`.
    pub fn numbers<'a, T: Number>(
        &self,
        entries: &'a Entries<'_, T>,
        extents: &Extents,
    ) -> Result<(Cow<'a, [u32]>, bool)> {
        let letters: Vec<char> = self.axes.iter().map(|axis| axis.0).collect();
        let Some(places) = &self.places else { return Ok((flattened(entries, &letters, extents)?, false)) };
        let place = self.place(entries);
        let number = |entry| places.binary_search(&place(entry)).map_or(u32::MAX, |number| number as u32);
        let numbers: Vec<u32> = (0..entries.len()).into_par_iter().map(number).collect();
        let lacks = places.len() < 1 << 32 && numbers.par_iter().any(|&number| number == u32::MAX);
        Ok((Cow::Owned(numbers), lacks))
    }

    /// Of each letter the indices of combinations with these numbers.
    pub fn indices(&self, numbers: Vec<u32>) -> Vec<(char, Vec<u32>)> {
        if let (None, &[(letter, ..)]) = (&self.places, &self.axes[..]) {
            return vec![(letter, numbers)];
        }
        let index = |&(letter, extent, apart): &(char, u128, u128)| {
            let of = |&number: &u32| match &self.places {
                None => (number as usize / apart as usize % extent as usize) as u32,
                Some(places) => (places[number as usize] / apart % extent) as u32,
            };
            (letter, numbers.par_iter().with_min_len(1 << 12).map(of).collect())
        };
        self.axes.iter().map(index).collect()
    }

    fn place<'a, T: Number>(&self, entries: &'a Entries<'_, T>) -> impl Fn(usize) -> u128 + Sync + use<'a, T> {
        let lists: Vec<(u128, &'a [u32])> =
            self.axes.iter().map(|&(letter, _, apart)| (apart, entries.of(letter).unwrap_or(&[]))).collect();
        move |entry| lists.iter().map(|(apart, list)| apart * u128::from(list[entry])).sum()
    }
}
