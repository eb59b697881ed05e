//! Finds a short text in short texts.
//!
//! `memmem` prepares for long texts; a comment of 50 bytes is over before that pays. Here 64 places are tried at once: two
//! bytes of the needle, seldom ones, must stand at their distance, and what is left is compared in full.
//!
//! ```text
//!   needle  special       seldom: p at 1, c at 3
//!   text    al special re…
//!   text[1..] == p        0 0 0 1 0 …     two comparisons of 64 bytes and an and: bit i says that the needle
//!   text[3..] == c        0 0 0 1 0 …     may start at i
//! ```

use memchr::memmem::Finder;

/// A needle that is ready to be found.
#[derive(Debug)]
pub(super) struct Needle {
    finder: Finder<'static>,
    /// Two places in the needle, the first one before the second, of bytes that are seldom in texts.
    #[cfg(target_arch = "x86_64")]
    seldom: Option<(usize, usize)>,
}

impl Needle {
    pub fn new(needle: &[u8]) -> Self {
        Self {
            finder: Finder::new(needle).into_owned(),
            #[cfg(target_arch = "x86_64")]
            seldom: super::simd::has_avx512().then(|| seldom(needle)).flatten(),
        }
    }

    pub fn length(&self) -> usize {
        self.finder.needle().len()
    }

    /// Where it stands first.
    #[inline(always)]
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if let Some(places) = self.seldom {
            // SAFETY: there are seldom places only where the processor has these features.
            return unsafe { find_avx512(text, self.finder.needle(), places) };
        }
        self.finder.find(text)
    }
}

/// How often a byte comes in texts, roughly: the least seldom first.
#[cfg(target_arch = "x86_64")]
fn frequency(byte: u8) -> usize {
    const ORDER: &[u8] = b" etaoinsrhldcumfpgwybvkxjqz";
    let place = ORDER.iter().position(|&letter| letter == byte.to_ascii_lowercase());
    let lowered = usize::from(byte.is_ascii_uppercase()) * 8;
    place.map_or(8, |place| (ORDER.len() - place).saturating_sub(lowered))
}

/// The places of the two bytes that are the most seldom; none for a needle of one byte or none.
#[cfg(target_arch = "x86_64")]
fn seldom(needle: &[u8]) -> Option<(usize, usize)> {
    let mut places = (0..needle.len()).collect::<Vec<_>>();
    places.sort_by_key(|&place| frequency(needle[place]));
    let (&one, &other) = (places.first()?, places.get(1)?);
    Some((one.min(other), one.max(other)))
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn find_avx512(text: &[u8], needle: &[u8], (first, second): (usize, usize)) -> Option<usize> {
    use std::arch::x86_64::{
        _mm512_cmpeq_epi8_mask, _mm512_mask_cmpeq_epi8_mask, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
    };
    let starts = (text.len() + 1).checked_sub(needle.len())?;
    let (first_byte, second_byte) = (_mm512_set1_epi8(needle[first] as i8), _mm512_set1_epi8(needle[second] as i8));
    let mut base = 0;
    while base < starts {
        let tried = starts - base;
        let mask = if tried >= 64 { u64::MAX } else { (1 << tried) - 1 };
        // SAFETY: a start is at most `text.len() - needle.len()` and a place in the needle less than its length, so all
        // bytes that the mask lets through are within `text`; masked loads do not touch the others.
        let (at_first, at_second) = unsafe {
            let from = text.as_ptr().add(base);
            (
                _mm512_maskz_loadu_epi8(mask, from.add(first).cast()),
                _mm512_maskz_loadu_epi8(mask, from.add(second).cast()),
            )
        };
        let candidates = _mm512_cmpeq_epi8_mask(at_first, first_byte);
        let mut candidates = _mm512_mask_cmpeq_epi8_mask(candidates, at_second, second_byte) & mask;
        while candidates != 0 {
            let start = base + candidates.trailing_zeros() as usize;
            if &text[start..start + needle.len()] == needle {
                return Some(start);
            }
            candidates &= candidates - 1;
        }
        base += 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_needle_is_found_where_it_stands_first(needle in "[abz ]{1,4}", text in "[abz ]{0,200}") {
            prop_assert_eq!(Needle::new(needle.as_bytes()).find(text.as_bytes()), text.find(&needle));
        }
    }
}
