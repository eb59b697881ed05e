//! A predicate as a table over the codes of a dictionary: tested once a value instead of once a row.
//!
//! With AVX-512 VBMI, 64 codes of up to 7 bits are tested with five instructions: a shuffle spreads the packed bytes,
//! a multishift cuts eight codes out of each lane, another shuffle looks them up in the table (which is two registers
//! wide), and a test makes a word of answers. Wider codes are unpacked and looked up one by one.

use arrow::array::BooleanArray;

use super::damage::{Damage, Decoded};
use super::runs::{Piece, Runs, largest};
use super::unpack;
use super::validity::{Bits, ones};

const FAILS: u8 = 0;
const PASSES: u8 = 1;
/// No such code: the page is damaged.
const BEYOND: u8 = 2;

/// Codes of so many bits are tested in registers.
#[cfg(target_arch = "x86_64")]
const SMALL_BITS: u32 = 7;

/// Which codes pass.
#[derive(Debug)]
pub(super) struct PassTable {
    /// One entry a value of the dictionary, then `BEYOND`, at least 128 entries.
    table: Vec<u8>,
    values: usize,
    passing: usize,
    null_passes: bool,
}

impl PassTable {
    /// From answers for the values of a dictionary; `nullable` columns have one more answer at the end, for NULL.
    pub(super) fn new(answers: &BooleanArray, nullable: bool) -> Self {
        let values = answers.len() - usize::from(nullable);
        let bits = answers.values();
        let mut table = (0..values).map(|at| if bits.value(at) { PASSES } else { FAILS }).collect::<Vec<_>>();
        let passing = table.iter().filter(|&&entry| entry == PASSES).count();
        table.resize(values.max(128), BEYOND);
        Self { table, values, passing, null_passes: nullable && bits.value(values) }
    }

    pub(super) fn null_passes(&self) -> bool {
        self.null_passes
    }

    /// No row of the column passes.
    pub(super) fn is_none(&self) -> bool {
        self.passing == 0 && !self.null_passes
    }

    /// Every row passes; `nullable` says whether some may be NULL.
    pub(super) fn is_all(&self, nullable: bool) -> bool {
        self.passing == self.values && (self.null_passes || !nullable)
    }

    fn of(&self, code: u32) -> Decoded<bool> {
        match self.table.get(code as usize) {
            Some(&PASSES) => Ok(true),
            Some(&FAILS) => Ok(false),
            _ => Err(Damage::new("a code lies beyond the dictionary")),
        }
    }

    /// Tests the codes `start..start + len`.
    pub(super) fn test_range(
        &self,
        runs: &Runs,
        start: usize,
        len: usize,
        scratch: &mut Vec<u32>,
        answers: &mut Bits,
    ) -> Decoded<()> {
        let mut result = Ok(());
        runs.pieces(start, len, |piece| {
            if result.is_err() {
                return;
            }
            result = match piece {
                Piece::Repeated { value, count } => self.of(value).map(|passes| answers.repeat(passes, count)),
                Piece::Packed { data, skipped, count } => {
                    self.test_packed(data, runs.width(), skipped, count, scratch, answers)
                }
            };
        });
        result
    }

    fn test_packed(
        &self,
        data: &[u8],
        width: u32,
        skipped: usize,
        count: usize,
        scratch: &mut Vec<u32>,
        answers: &mut Bits,
    ) -> Decoded<()> {
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if (1..=SMALL_BITS).contains(&width) && skipped.is_multiple_of(8) && unpack::vbmi_available() {
            let table = self.table.first_chunk::<128>().ok_or_else(|| Damage::internal("a short table"))?;
            let data = &data[skipped / 8 * width as usize..];
            // SAFETY: the features were just detected.
            let (tested, beyond) = unsafe { small::test(table, data, width as usize, count, answers) };
            if beyond {
                return Err(Damage::new("a code lies beyond the dictionary"));
            }
            done = tested;
        }
        if done < count {
            scratch.resize(count - done, 0);
            unpack::unpack(data, width, skipped + done, scratch);
            self.test_codes(scratch, answers)?;
        }
        Ok(())
    }

    fn check(&self, codes: &[u32]) -> Decoded<()> {
        if !codes.is_empty() && largest(codes) as usize >= self.values {
            return Err(Damage::new("a code lies beyond the dictionary"));
        }
        Ok(())
    }

    fn test_codes(&self, codes: &[u32], answers: &mut Bits) -> Decoded<()> {
        self.check(codes)?;
        for codes in codes.chunks(64) {
            let mut word = 0;
            for (at, &code) in codes.iter().enumerate() {
                // SAFETY: no code is larger than the largest, which `check` found in the table.
                word |= u64::from(unsafe { *self.table.get_unchecked(code as usize) }) << at;
            }
            answers.push(word, codes.len());
        }
        Ok(())
    }

    /// Tests the codes at some places, which do not descend; appends an answer each. `codes` lends its memory.
    pub(super) fn test_places(
        &self,
        runs: &Runs,
        places: &[u32],
        codes: &mut Vec<u32>,
        answers: &mut Bits,
    ) -> Decoded<()> {
        codes.clear();
        runs.pick(places, codes);
        self.test_codes(codes, answers)
    }
}

#[cfg(target_arch = "x86_64")]
mod small {
    use std::arch::x86_64::*;

    use super::{BEYOND, Bits, PASSES, ones};

    /// Tests codes of up to 7 bits from the start of `data`, 64 at a time while whole loads allow; returns how many
    /// of `count` were tested, and whether one lies beyond the dictionary.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn test(
        table: &[u8; 128],
        data: &[u8],
        width: usize,
        count: usize,
        answers: &mut Bits,
    ) -> (usize, bool) {
        let (mut spread, mut shifts) = ([0_u8; 64], [0_u8; 64]);
        for at in 0..64 {
            spread[at] = (at / 8 * width + at % 8) as u8;
            shifts[at] = (at % 8 * width) as u8;
        }
        // SAFETY: each array has the 64 bytes that are loaded, the table twice as many.
        let (spread, shifts, low, high) = unsafe {
            (
                _mm512_loadu_si512(spread.as_ptr().cast()),
                _mm512_loadu_si512(shifts.as_ptr().cast()),
                _mm512_loadu_si512(table.as_ptr().cast()),
                _mm512_loadu_si512(table.as_ptr().add(64).cast()),
            )
        };
        let mask = _mm512_set1_epi8(((1_u32 << width) - 1) as i8);
        let (passes, beyond) = (_mm512_set1_epi8(PASSES as i8), _mm512_set1_epi8(BEYOND as i8));
        let (mut done, mut bad) = (0, 0);
        while done < count {
            let at = done / 8 * width;
            if at + 64 > data.len() {
                break;
            }
            // SAFETY: 64 bytes are there.
            let bytes = unsafe { _mm512_loadu_si512(data.as_ptr().add(at).cast()) };
            let lanes = _mm512_permutexvar_epi8(spread, bytes);
            let codes = _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, lanes), mask);
            let entries = _mm512_permutex2var_epi8(low, codes, high);
            let here = (count - done).min(64);
            bad |= _mm512_test_epi8_mask(entries, beyond) & ones(here);
            answers.push(_mm512_test_epi8_mask(entries, passes) & ones(here), here);
            done += here;
        }
        (done, bad != 0)
    }
}
