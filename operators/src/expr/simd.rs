//! Plain loops, compiled for what the processor can do.
//!
//! A kernel is written once, as a closure over slices. It is compiled three times (AVX-512, AVX2, whatever the target has
//! anyway) and chosen when it runs. Truth values are made as bytes, 64 rows at a time, and then packed into a word:
//!
//! ```text
//!   values   17  3 42  8 …          64 of them
//!   v < 10    0  1  0  1 …          64 bytes, a register or two
//!   word     0b…1010                one instruction (vptestmb, vpmovmskb) or eight multiplications
//! ```

use arrow::buffer::{BooleanBuffer, Buffer};

/// Rows whose truth values are packed at once.
const BLOCK: usize = 64;

#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Runs a loop with the widest registers there are.
#[inline(always)]
pub(crate) fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the processor has these features.
            return unsafe { with_avx512(kernel) };
        }
        if has_avx2() {
            // SAFETY: as above.
            return unsafe { with_avx2(kernel) };
        }
    }
    kernel()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn with_avx512<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

/// Asks for the cache line of an element; places outside are ignored.
#[inline(always)]
pub(crate) fn prefetch<T>(slots: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(slot) = slots.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching has no effect on what a program means, and the address is that of a live element.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, at);
}

/// A new value for each.
pub(super) fn map<T: Copy, R>(values: &[T], change: impl Fn(T) -> R) -> Vec<R> {
    let mut out = Vec::with_capacity(values.len());
    vectorized(
        #[inline(always)]
        || {
            // A plain loop into the vector's memory: an iterator's `collect` is not always compiled into this function.
            for (slot, &value) in out.spare_capacity_mut().iter_mut().zip(values) {
                slot.write(change(value));
            }
        },
    );
    // SAFETY: the capacity is at least the length of `values`, so the loop has written so many.
    unsafe { out.set_len(values.len()) };
    out
}

/// A new value for each pair.
pub(super) fn map_pairs<T: Copy, U: Copy, R>(left: &[T], right: &[U], change: impl Fn(T, U) -> R) -> Vec<R> {
    let length = left.len().min(right.len());
    let mut out = Vec::with_capacity(length);
    vectorized(
        #[inline(always)]
        || {
            for ((slot, &left), &right) in out.spare_capacity_mut().iter_mut().zip(left).zip(right) {
                slot.write(change(left, right));
            }
        },
    );
    // SAFETY: as above.
    unsafe { out.set_len(length) };
    out
}

/// A new value for each, and all flags that came up on the way in one.
pub(super) fn map_flagged<T: Copy, F: Copy>(
    values: &[T],
    none: F,
    change: impl Fn(T) -> (T, F),
    join: impl Fn(F, F) -> F,
) -> (Vec<T>, F) {
    let mut out = Vec::with_capacity(values.len());
    let flags = vectorized(
        #[inline(always)]
        || {
            let mut flags = none;
            for (slot, &value) in out.spare_capacity_mut().iter_mut().zip(values) {
                let (value, flag) = change(value);
                slot.write(value);
                flags = join(flags, flag);
            }
            flags
        },
    );
    // SAFETY: the capacity is at least the length of `values`, so the loop has written so many.
    unsafe { out.set_len(values.len()) };
    (out, flags)
}

/// Likewise for each pair.
pub(super) fn map_pairs_flagged<T: Copy, F: Copy>(
    left: &[T],
    right: &[T],
    none: F,
    change: impl Fn(T, T) -> (T, F),
    join: impl Fn(F, F) -> F,
) -> (Vec<T>, F) {
    let length = left.len().min(right.len());
    let mut out = Vec::with_capacity(length);
    let flags = vectorized(
        #[inline(always)]
        || {
            let mut flags = none;
            for ((slot, &left), &right) in out.spare_capacity_mut().iter_mut().zip(left).zip(right) {
                let (value, flag) = change(left, right);
                slot.write(value);
                flags = join(flags, flag);
            }
            flags
        },
    );
    // SAFETY: as above.
    unsafe { out.set_len(length) };
    (out, flags)
}

/// The least and the largest value; `None` if there are none.
pub(super) fn extremes<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    let &first = values.first()?;
    Some(vectorized(
        #[inline(always)]
        || {
            let (mut least, mut largest) = (first, first);
            for &value in values {
                least = least.min(value);
                largest = largest.max(value);
            }
            (least, largest)
        },
    ))
}

/// Which values pass a test, as bits.
pub(super) fn pack<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> BooleanBuffer {
    let words = match () {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has these features.
        () if has_avx512() => unsafe { pack_avx512(values, test) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        () if has_avx2() => unsafe { pack_avx2(values, test) },
        () => pack_words::<T, Plain>(values, test),
    };
    BooleanBuffer::new(Buffer::from_vec(words), 0, values.len())
}

/// Which pairs of values pass a test, as bits.
pub(super) fn pack_pairs<T: Copy, U: Copy>(left: &[T], right: &[U], test: impl Fn(T, U) -> bool) -> BooleanBuffer {
    let words = match () {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has these features.
        () if has_avx512() => unsafe { pair_avx512(left, right, test) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        () if has_avx2() => unsafe { pair_avx2(left, right, test) },
        () => pair_words::<T, U, Plain>(left, right, test),
    };
    BooleanBuffer::new(Buffer::from_vec(words), 0, left.len().min(right.len()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn pack_avx512<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u64> {
    pack_words::<T, Avx512>(values, test)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_avx2<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u64> {
    pack_words::<T, Avx2>(values, test)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn pair_avx512<T: Copy, U: Copy>(left: &[T], right: &[U], test: impl Fn(T, U) -> bool) -> Vec<u64> {
    pair_words::<T, U, Avx512>(left, right, test)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pair_avx2<T: Copy, U: Copy>(left: &[T], right: &[U], test: impl Fn(T, U) -> bool) -> Vec<u64> {
    pair_words::<T, U, Avx2>(left, right, test)
}

#[inline(always)]
fn pack_words<T: Copy, P: Pack>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u64> {
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    let mut words = Vec::with_capacity(blocks.len() + 1);
    for block in blocks {
        let mut bytes = [0; BLOCK];
        for place in 0..BLOCK {
            bytes[place] = u8::from(test(block[place]));
        }
        words.push(P::word(&bytes).to_le());
    }
    if !rest.is_empty() {
        let mut bytes = [0; BLOCK];
        for (byte, &value) in bytes.iter_mut().zip(rest) {
            *byte = u8::from(test(value));
        }
        words.push(P::word(&bytes).to_le());
    }
    words
}

#[inline(always)]
fn pair_words<T: Copy, U: Copy, P: Pack>(left: &[T], right: &[U], test: impl Fn(T, U) -> bool) -> Vec<u64> {
    let (left, left_rest) = left.as_chunks::<BLOCK>();
    let (right, right_rest) = right.as_chunks::<BLOCK>();
    let mut words = Vec::with_capacity(left.len() + 1);
    for (left, right) in left.iter().zip(right) {
        let mut bytes = [0; BLOCK];
        for place in 0..BLOCK {
            bytes[place] = u8::from(test(left[place], right[place]));
        }
        words.push(P::word(&bytes).to_le());
    }
    if !left_rest.is_empty() {
        let mut bytes = [0; BLOCK];
        for (byte, (&left, &right)) in bytes.iter_mut().zip(left_rest.iter().zip(right_rest)) {
            *byte = u8::from(test(left, right));
        }
        words.push(P::word(&bytes).to_le());
    }
    words
}

/// Bits that one register holds.
#[cfg(target_arch = "x86_64")]
const TABLE_BITS: usize = 512;

/// The bits at these places; a place past the end has an arbitrary one.
///
/// Up to 512 bits lie in a register: a lane's word is fetched by one permutation and its bit by one shift.
pub(super) fn bits_at(bits: &BooleanBuffer, places: &[u32]) -> BooleanBuffer {
    #[cfg(target_arch = "x86_64")]
    if bits.len() <= TABLE_BITS && has_avx512() {
        let mut table = [0_u32; TABLE_BITS / 32];
        for place in bits.set_indices() {
            table[place / 32] |= 1 << (place % 32);
        }
        // SAFETY: the processor has these features.
        let words = unsafe { bits_at_avx512(&table, places) };
        return BooleanBuffer::new(Buffer::from_vec(words), 0, places.len());
    }
    let bytes = bits.iter().map(u8::from).collect::<Vec<_>>();
    let Some(last) = bytes.len().checked_sub(1) else { return BooleanBuffer::new_unset(places.len()) };
    pack(places, |place| bytes[(place as usize).min(last)] != 0)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn bits_at_avx512(table: &[u32; TABLE_BITS / 32], places: &[u32]) -> Vec<u64> {
    use std::arch::x86_64::{
        _mm512_and_si512, _mm512_loadu_si512, _mm512_permutexvar_epi32, _mm512_set1_epi32, _mm512_srli_epi32,
        _mm512_srlv_epi32, _mm512_test_epi32_mask,
    };
    let mut padded = [0; BLOCK];
    let (blocks, rest) = places.as_chunks::<BLOCK>();
    padded[..rest.len()].copy_from_slice(rest);
    let last = if rest.is_empty() { None } else { Some(&padded) };
    let mut words = Vec::with_capacity(blocks.len() + 1);
    // SAFETY: the load reads the 64 bytes of the table.
    let table = unsafe { _mm512_loadu_si512(table.as_ptr().cast()) };
    let (low, one) = (_mm512_set1_epi32(31), _mm512_set1_epi32(1));
    for block in blocks.iter().chain(last) {
        let mut word = 0;
        for (quarter, sixteen) in block.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: the load reads 16 places of 4 bytes.
            let places = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
            let fetched = _mm512_permutexvar_epi32(_mm512_srli_epi32::<5>(places), table);
            let shifted = _mm512_srlv_epi32(fetched, _mm512_and_si512(places, low));
            word |= u64::from(_mm512_test_epi32_mask(shifted, one)) << (16 * quarter);
        }
        words.push(word.to_le());
    }
    words
}

/// Packs bytes of 0 or 1 into bits, the first one lowest.
trait Pack {
    fn word(bytes: &[u8; BLOCK]) -> u64;
}

struct Plain;

impl Pack for Plain {
    #[inline(always)]
    fn word(bytes: &[u8; BLOCK]) -> u64 {
        let mut word = 0;
        for (place, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
            // The multiplication moves byte i's bit to place 56 + i; no two products meet, so nothing carries.
            let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            word |= bits << (8 * place);
        }
        word
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Pack for Avx512 {
    #[inline(always)]
    fn word(bytes: &[u8; BLOCK]) -> u64 {
        use std::arch::x86_64::{_mm512_loadu_si512, _mm512_test_epi8_mask};
        // SAFETY: only `pack_avx512` and `pair_avx512` use this type, which run where the features are; the load reads
        // the 64 bytes of `bytes`.
        unsafe {
            let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
            _mm512_test_epi8_mask(bytes, bytes)
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Pack for Avx2 {
    #[inline(always)]
    fn word(bytes: &[u8; BLOCK]) -> u64 {
        use std::arch::x86_64::{_mm256_loadu_si256, _mm256_movemask_epi8, _mm256_slli_epi16};
        // SAFETY: only `pack_avx2` and `pair_avx2` use this type, which run where the feature is; the loads read the
        // two halves of `bytes`.
        unsafe {
            let low = _mm256_loadu_si256(bytes.as_ptr().cast());
            let high = _mm256_loadu_si256(bytes.as_ptr().add(32).cast());
            let low = _mm256_movemask_epi8(_mm256_slli_epi16::<7>(low)) as u32;
            let high = _mm256_movemask_epi8(_mm256_slli_epi16::<7>(high)) as u32;
            u64::from(low) | u64::from(high) << 32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_at_their_places() {
        for length in [1, 63, 512, 513, 2000] {
            let bits = (0..length).map(|place| place % 3 == 0 || place % 7 == 1).collect::<BooleanBuffer>();
            let places = (0..1000_u32).map(|row| row * 37 % length as u32).collect::<Vec<_>>();
            let expected = places.iter().map(|place| bits.value(*place as usize)).collect::<Vec<_>>();
            assert_eq!(bits_at(&bits, &places).iter().collect::<Vec<_>>(), expected);
        }
    }

    /// Every compiled form packs the same bits, whatever the length.
    #[test]
    fn packed_bits_are_the_tests_answers() {
        for length in [0, 1, 7, 63, 64, 65, 200] {
            let values = (0..length).map(|row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).collect::<Vec<_>>();
            let expected = values.iter().map(|value| value % 3 == 0).collect::<Vec<_>>();
            assert_eq!(pack(&values, |value| value % 3 == 0).iter().collect::<Vec<_>>(), expected);
            let both = pack_pairs(&values, &values, |left, right| left % 3 == 0 && right % 3 == 0);
            assert_eq!(both.iter().collect::<Vec<_>>(), expected);
            let plain = pack_words::<_, Plain>(&values, |value| value % 3 == 0);
            let plain = BooleanBuffer::new(Buffer::from_vec(plain), 0, values.len());
            assert_eq!(plain.iter().collect::<Vec<_>>(), expected);
            #[cfg(target_arch = "x86_64")]
            if has_avx2() {
                // SAFETY: the processor has the feature.
                let words = unsafe { pack_avx2(&values, |value| value % 3 == 0) };
                let words = BooleanBuffer::new(Buffer::from_vec(words), 0, values.len());
                assert_eq!(words.iter().collect::<Vec<_>>(), expected);
            }
        }
    }
}
