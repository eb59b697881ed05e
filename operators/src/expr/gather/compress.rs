//! The values whose bit is set in a mask, close together.

use arrow::buffer::BooleanBuffer;

/// The places of the bits that are set.
pub fn indices(mask: &BooleanBuffer) -> Vec<u32> {
    let words = words(mask);
    #[cfg(target_arch = "x86_64")]
    if super::super::simd::has_avx512() {
        // SAFETY: the processor has these features.
        return unsafe { avx512::places(&words) };
    }
    let mut places = Vec::with_capacity(mask.count_set_bits());
    for (&word, base) in words.iter().zip((0_u32..).step_by(64)) {
        let mut word = word;
        while word != 0 {
            places.push(base + word.trailing_zeros());
            word &= word - 1;
        }
    }
    places
}

/// The mask as words, the last one filled with zeros.
pub(super) fn words(mask: &BooleanBuffer) -> Vec<u64> {
    let chunks = mask.bit_chunks();
    let rest = (!mask.len().is_multiple_of(64)).then(|| chunks.remainder_bits());
    chunks.iter().chain(rest).collect()
}

/// The values whose bit is set; `None` if that is no faster than by places.
pub(super) fn compress<T: Copy>(values: &[T], words: &[u64]) -> Option<Vec<T>> {
    #[cfg(target_arch = "x86_64")]
    if super::super::simd::has_avx512() {
        // SAFETY: the processor has these features.
        return unsafe { avx512::compress(values, words) };
    }
    let _ = (values, words);
    None
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_maskz_compress_epi32, _mm512_maskz_compress_epi64,
        _mm512_set1_epi32, _mm512_setr_epi32, _mm512_storeu_si512,
    };

    fn ones(words: &[u64]) -> usize {
        words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places of all bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
    pub(super) fn places(words: &[u64]) -> Vec<u32> {
        let total = ones(words);
        // Each store writes 16 places, of which the next one overwrites what is not wanted.
        let mut out = Vec::<u32>::with_capacity(total + 16);
        let mut place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let step = _mm512_set1_epi32(16);
        let mut length = 0;
        for &word in words {
            for quarter in 0..4 {
                let bits = (word >> (16 * quarter)) as u16;
                // SAFETY: `length` is the number of bits before these, so at most `total`, and there is room for 16
                // places more.
                unsafe {
                    let wanted = _mm512_maskz_compress_epi32(bits, place);
                    _mm512_storeu_si512(out.as_mut_ptr().add(length).cast(), wanted);
                }
                length += bits.count_ones() as usize;
                place = _mm512_add_epi32(place, step);
            }
        }
        // SAFETY: each of the first `total` places was written, and kept by all stores after that.
        unsafe { out.set_len(total) };
        out
    }

    /// Values of 4, 8 or 16 bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
    pub(super) fn compress<T: Copy>(values: &[T], words: &[u64]) -> Option<Vec<T>> {
        let lanes = match size_of::<T>() {
            4 => 16,
            8 => 8,
            16 => 4,
            _ => return None,
        };
        let mut out = Vec::<T>::with_capacity(ones(words) + lanes);
        let mut length = 0;
        for (block, &word) in values.chunks(64).zip(words) {
            let mut bits = word;
            let parts = block.chunks_exact(lanes);
            let rest = parts.remainder();
            for part in parts {
                // SAFETY: the load reads `lanes` values, 64 bytes. `length` is the number of bits before these, so there
                // is room for `lanes` values more: 64 bytes are written.
                unsafe {
                    let register = _mm512_loadu_si512(part.as_ptr().cast());
                    let wanted = compress_register(register, bits, lanes);
                    _mm512_storeu_si512(out.as_mut_ptr().add(length).cast(), wanted);
                }
                length += (bits & ((1 << lanes) - 1)).count_ones() as usize;
                bits >>= lanes;
            }
            for (place, &value) in rest.iter().enumerate() {
                if bits >> place & 1 != 0 {
                    // SAFETY: there is room for each bit's value.
                    unsafe { out.as_mut_ptr().add(length).write(value) };
                    length += 1;
                }
            }
        }
        // SAFETY: `length` values were written, and kept by all stores after that.
        unsafe { out.set_len(length) };
        Some(out)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
    fn compress_register(register: __m512i, bits: u64, lanes: usize) -> __m512i {
        match lanes {
            16 => _mm512_maskz_compress_epi32(bits as u16, register),
            8 => _mm512_maskz_compress_epi64(bits as u8, register),
            // A value of 16 bytes is two of 8: each bit is doubled.
            _ => _mm512_maskz_compress_epi64(DOUBLED[bits as usize & 15], register),
        }
    }

    const DOUBLED: [u8; 16] = {
        let mut doubled = [0; 16];
        let mut bits = 0;
        while bits < 16 {
            let mut place = 0;
            while place < 4 {
                if bits & 1 << place != 0 {
                    doubled[bits] |= 3 << (2 * place);
                }
                place += 1;
            }
            bits += 1;
        }
        doubled
    };
}
