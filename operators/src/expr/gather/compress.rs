//! The values whose bit is set in a mask, close together.

use arrow::buffer::BooleanBuffer;

/// The places of the bits that are set.
pub fn indices(mask: &BooleanBuffer) -> Vec<u32> {
    let mut places = Vec::with_capacity(mask.count_set_bits());
    for (word, base) in words(mask).zip((0_u32..).step_by(64)) {
        let mut word = word;
        if word == u64::MAX {
            places.extend(base..base + 64);
            continue;
        }
        while word != 0 {
            places.push(base + word.trailing_zeros());
            word &= word - 1;
        }
    }
    places
}

/// The mask as words, the last one filled with zeros.
fn words(mask: &BooleanBuffer) -> impl Iterator<Item = u64> {
    let chunks = mask.bit_chunks();
    let rest = (mask.len() % 64 != 0).then(|| chunks.remainder_bits());
    chunks.iter().chain(rest).collect::<Vec<_>>().into_iter()
}

/// The values whose bit is set, of which there are `kept`; `None` if that is no faster than by places.
pub(super) fn compress<T: Copy>(values: &[T], mask: &BooleanBuffer, kept: usize) -> Option<Vec<T>> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && matches!(size_of::<T>(), 4 | 8 | 16) && mask.len() == values.len() {
        // SAFETY: the processor has the feature, and there is a bit for each value.
        return Some(unsafe { avx512::compress(values, words(mask), kept) });
    }
    let _ = (values, mask, kept);
    None
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_maskz_compress_epi32, _mm512_maskz_compress_epi64, _mm512_storeu_si512,
    };

    /// Values of 4, 8 or 16 bytes.
    ///
    /// # Safety
    /// `words` has a bit for each value, in order, and zeros after them.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn compress<T: Copy>(values: &[T], words: impl Iterator<Item = u64>, kept: usize) -> Vec<T> {
        let lanes = 64 / size_of::<T>();
        // Each store writes a whole register, of which the next one overwrites what was not kept.
        let mut out = Vec::<T>::with_capacity(kept + lanes);
        let mut length = 0;
        for (block, word) in values.chunks(64).zip(words) {
            if word == 0 {
                continue;
            }
            for (part, first) in block.chunks(lanes).zip((0..64).step_by(lanes)) {
                let bits = (word >> first) as u32 & (u32::MAX >> (32 - lanes));
                let taken = bits.count_ones() as usize;
                if length + lanes > out.capacity() {
                    // Only if `kept` was wrong.
                    out.reserve(length + 2 * lanes);
                }
                if part.len() == lanes {
                    // SAFETY: the load reads `lanes` values, which is 64 bytes; the store writes 64 bytes into memory
                    // of which `length + lanes <= capacity` was just checked.
                    unsafe {
                        let register = _mm512_loadu_si512(part.as_ptr().cast());
                        let register = compress_register(register, bits, lanes);
                        _mm512_storeu_si512(out.as_mut_ptr().add(length).cast(), register);
                    }
                    length += taken;
                } else {
                    for (place, &value) in part.iter().enumerate() {
                        if bits & 1 << place != 0 {
                            // SAFETY: fewer than `lanes` values come here, for which there is room.
                            unsafe { out.as_mut_ptr().add(length).write(value) };
                            length += 1;
                        }
                    }
                }
                // SAFETY: `length` values are written: all of them lie before what the last store kept. This is done
                // here, so that a growing vector would carry them along.
                unsafe { out.set_len(length) };
            }
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn compress_register(register: __m512i, bits: u32, lanes: usize) -> __m512i {
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
