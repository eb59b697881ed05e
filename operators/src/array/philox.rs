//! Random numbers by counting: Philox4x32-10.
//!
//! A block cipher without secrets turns a counter into four random words. Element i of a random array is a function of the seed,
//! the stream and i, and of nothing else: any worker, rank or device fills its part alone, in any order, and gets the same bits.
//!
//! ```text
//!   counter  block number (64 bits) | stream (64 bits)        key  seed (64 bits)
//!      ten times: two products 32 × 32 → 64, high and low halves crossed over, the key added in by xor and raised
//!   words    w0 w1 w2 w3
//!   f64      element 2k from w0 w1, element 2k + 1 from w2 w3      (k the block number)
//!   f32      elements 4k … 4k + 3, a word each
//! ```
//!
//! Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC'11). Normal numbers: Box and Muller,
//! "A note on the generation of random normal deviates" (1958).
//!
//! The fills are plain loops; called inside `vectorized` they compute as many blocks at once as registers have lanes. All of
//! them take `first`, the place of `out[0]` in the whole array, which may be any number.

use super::math::{ln_f32, ln_f64, turn_f32, turn_f64};

const ROUNDS: usize = 10;

/// The multipliers.
const M0: u64 = 0xd251_1f53;
const M1: u64 = 0xcd9e_8d57;

/// What the key's words grow by in a round: the golden ratio, and √3 - 1.
const W0: u32 = 0x9e37_79b9;
const W1: u32 = 0xbb67_ae85;

const LOW: u64 = 0xffff_ffff;

/// Integers that are drawn before they are brought into their range.
const BLOCK: usize = 512;

/// Four random words.
#[inline(always)]
#[cfg(test)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    words(counter.map(u64::from), key).map(|word| word as u32)
}

/// Numbers in [0, 1), all 53 bits random.
#[inline(always)]
pub fn fill_uniform_f64(seed: u64, stream: u64, first: u64, out: &mut [f64]) {
    fill(
        first,
        out,
        #[inline(always)]
        |block| {
            let [a, b, c, d] = block_words(seed, stream, block);
            [uniform_f64(a, b), uniform_f64(c, d)]
        },
    );
}

/// Numbers in [0, 1), all 24 bits random.
#[inline(always)]
pub fn fill_uniform_f32(seed: u64, stream: u64, first: u64, out: &mut [f32]) {
    fill(
        first,
        out,
        #[inline(always)]
        |block| block_words(seed, stream, block).map(uniform_f32),
    );
}

/// Numbers of the standard normal distribution, of at most 8.58 in size.
///
/// Two uniform numbers are a distance `√(-2 ln u)` and a direction `2πv`; the point's coordinates are two normal numbers.
#[inline(always)]
pub fn fill_normal_f64(seed: u64, stream: u64, first: u64, out: &mut [f64]) {
    fill(
        first,
        out,
        #[inline(always)]
        |block| {
            let [a, b, c, d] = block_words(seed, stream, block);
            // 1 - u: in (0, 1].
            let distance = (-2.0 * ln_f64(1.0 - uniform_f64(a, b))).sqrt();
            let (sin, cos) = turn_f64(uniform_f64(c, d));
            [distance * cos, distance * sin]
        },
    );
}

/// Numbers of the standard normal distribution, of at most 6.67 in size.
#[inline(always)]
pub fn fill_normal_f32(seed: u64, stream: u64, first: u64, out: &mut [f32]) {
    fill(
        first,
        out,
        #[inline(always)]
        |block| {
            let [a, b, c, d] = block_words(seed, stream, block);
            let [e, f] = normal_f32(a, b);
            let [g, h] = normal_f32(c, d);
            [e, f, g, h]
        },
    );
}

/// Integers in [low, high); `low` if there are none.
///
/// A 64-bit word times the number of integers, upper half (Lemire 2019, without the rejection): of n integers one is at most
/// n / 2^64 likelier than another, which no experiment can notice.
#[inline(always)]
pub fn fill_integers_i64(seed: u64, stream: u64, first: u64, low: i64, high: i64, out: &mut [i64]) {
    let count = u128::from(high.wrapping_sub(low) as u64) * u128::from(low < high);
    let mut first = first;
    for part in out.chunks_mut(BLOCK) {
        fill(
            first,
            part,
            #[inline(always)]
            |block| {
                let [a, b, c, d] = block_words(seed, stream, block);
                [(a | (b << 32)) as i64, (c | (d << 32)) as i64]
            },
        );
        for slot in part.iter_mut() {
            *slot = low.wrapping_add(((u128::from(*slot as u64) * count) >> 64) as i64);
        }
        first = first.wrapping_add(part.len() as u64);
    }
}

/// Calls `make` for each block that has elements here, and cuts off what the first and the last have too many.
#[inline(always)]
fn fill<T: Copy, const N: usize>(first: u64, out: &mut [T], make: impl Fn(u64) -> [T; N]) {
    let (mut block, skipped) = (first / N as u64, (first % N as u64) as usize);
    let head = if skipped == 0 { 0 } else { (N - skipped).min(out.len()) };
    let (head, rest) = out.split_at_mut(head);
    if !head.is_empty() {
        head.copy_from_slice(&make(block)[skipped..skipped + head.len()]);
        block = block.wrapping_add(1);
    }
    let (whole, tail) = rest.as_chunks_mut::<N>();
    for (place, slots) in whole.iter_mut().enumerate() {
        *slots = make(block.wrapping_add(place as u64));
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&make(block.wrapping_add(whole.len() as u64))[..tail.len()]);
    }
}

#[inline(always)]
fn block_words(seed: u64, stream: u64, block: u64) -> [u64; 4] {
    words([block & LOW, block >> 32, stream & LOW, stream >> 32], [seed as u32, (seed >> 32) as u32])
}

/// Words of 32 bits in 64, which is what a product of registers reads and writes.
///
/// Their upper halves fill with what lies above a product's lower half; a product reads lower halves only, the last line clears.
#[inline(always)]
fn words(counter: [u64; 4], key: [u32; 2]) -> [u64; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut first, mut second] = key;
    for _ in 0..ROUNDS {
        let (left, right) = ((a & LOW) * M0, (c & LOW) * M1);
        (a, b, c, d) = ((right >> 32) ^ b ^ u64::from(first), right, (left >> 32) ^ d ^ u64::from(second), left);
        (first, second) = (first.wrapping_add(W0), second.wrapping_add(W1));
    }
    [a & LOW, b & LOW, c & LOW, d & LOW]
}

/// `(high · 2^32 + low) · 2^-53` with the upper 21 bits of the second word.
///
/// Each half becomes a float by lying under the exponent of 2^84 or 2^52; no step rounds. (AVX2 converts no 64-bit integers.)
#[inline(always)]
fn uniform_f64(low: u64, high: u64) -> f64 {
    const TWO_52: f64 = (1_u64 << 52) as f64;
    const TWO_84: f64 = TWO_52 * (1_u64 << 32) as f64;
    let high = f64::from_bits((high >> 11) | TWO_84.to_bits());
    let low = f64::from_bits(low | TWO_52.to_bits());
    ((high - (TWO_84 + TWO_52)) + low) * (1.0 / (1_u64 << 53) as f64)
}

/// The upper 24 bits of a word, as a fraction.
#[inline(always)]
fn uniform_f32(word: u64) -> f32 {
    (word as u32 >> 8) as i32 as f32 * (1.0 / (1_u32 << 24) as f32)
}

/// Two normal numbers. The distance takes all 32 bits of its word: with 24 it would end at 5.77.
#[inline(always)]
fn normal_f32(a: u64, b: u64) -> [f32; 2] {
    const TWO_52: f64 = (1_u64 << 52) as f64;
    // (a + 1) · 2^-32: in (0, 1].
    let u = (f64::from_bits(a | TWO_52.to_bits()) - (TWO_52 - 1.0)) as f32 * (1.0 / (1_u64 << 32) as f32);
    let distance = (-2.0 * ln_f32(u)).sqrt();
    let (sin, cos) = turn_f32(uniform_f32(b));
    [distance * cos, distance * sin]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::simd::vectorized;

    const MANY: usize = 200_000;

    /// The known answers that come with Random123.
    #[test]
    fn known_answers() {
        let check = |counter, key, expected| assert_eq!(philox4x32(counter, key), expected);
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        );
    }

    #[test]
    fn elements_come_from_their_block() {
        let (seed, stream) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        let first = (7 << 32) - 2;
        let mut out = [0.0; 8];
        fill_uniform_f64(seed, stream, first, &mut out);
        for (place, pair) in out.as_chunks::<2>().0.iter().enumerate() {
            let block = first / 2 + place as u64;
            let counter = [block as u32, (block >> 32) as u32, 0x7654_3210, 0xfedc_ba98];
            let [a, b, c, d] = philox4x32(counter, [0x89ab_cdef, 0x0123_4567]).map(u64::from);
            let expected = [(b >> 11 << 32) | a, (d >> 11 << 32) | c].map(|bits| bits as f64 / (1_u64 << 53) as f64);
            assert_eq!(*pair, expected);
        }
    }

    /// Pieces of any size and at any place, compiled for registers or not, have the same bits as the whole.
    #[test]
    fn cuts_change_nothing() {
        fn check<T: Copy + Default + PartialEq + std::fmt::Debug>(fill: impl Fn(u64, &mut [T]) + Copy) {
            for start in [0, 1, 2, 3, u64::from(u32::MAX) * 2 - 5, u64::MAX - 2000] {
                let mut whole = vec![T::default(); 1500];
                vectorized(
                    #[inline(always)]
                    || fill(start, &mut whole),
                );
                for size in [1, 2, 3, 4, 5, 7, 64, 129, 601] {
                    let mut pieces = vec![T::default(); whole.len()];
                    let mut first = start;
                    for piece in pieces.chunks_mut(size) {
                        fill(first, piece);
                        first += piece.len() as u64;
                    }
                    assert!(pieces == whole, "from {start}, {size} at a time");
                }
            }
        }
        check(
            #[inline(always)]
            |first, out| fill_uniform_f64(1, 2, first, out),
        );
        check(
            #[inline(always)]
            |first, out| fill_uniform_f32(1, 2, first, out),
        );
        check(
            #[inline(always)]
            |first, out| fill_normal_f64(1, 2, first, out),
        );
        check(
            #[inline(always)]
            |first, out| fill_normal_f32(1, 2, first, out),
        );
        check(
            #[inline(always)]
            |first, out| fill_integers_i64(1, 2, first, -1000, 1 << 60, out),
        );
    }

    /// Mean and variance of so many numbers, in standard deviations of themselves: all within five.
    fn check_moments(numbers: &[f64], mean: f64, variance: f64, fourth: f64) {
        let n = numbers.len() as f64;
        let found_mean = numbers.iter().sum::<f64>() / n;
        let found_variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        assert!((found_mean - mean).abs() < 5.0 * (variance / n).sqrt(), "mean {found_mean}");
        assert!(
            (found_variance - variance).abs() < 5.0 * ((fourth - variance.powi(2)) / n).sqrt(),
            "variance {found_variance}"
        );
        for lag in [1, 2, 3, 4, 1024] {
            let product = numbers.iter().zip(&numbers[lag..]).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>() / n;
            assert!(product.abs() < 5.0 * variance / n.sqrt(), "lag {lag}: {product}");
        }
    }

    /// The largest distance between the numbers' distribution and the right one, times √n (Kolmogorov): 2.3 has odds
    /// of 1 : 20,000.
    fn check_distribution(mut numbers: Vec<f64>, distribution: impl Fn(f64) -> f64) {
        numbers.sort_by(f64::total_cmp);
        let n = numbers.len() as f64;
        let far = numbers.iter().enumerate().map(|(row, &x)| (distribution(x) - (row as f64 + 0.5) / n).abs());
        let furthest = far.fold(0.0, f64::max);
        assert!(furthest * n.sqrt() < 2.3, "{furthest}");
    }

    /// The standard normal distribution: Simpson's rule on its density from 0.
    fn normal(x: f64) -> f64 {
        let steps = 64;
        let width = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let inner =
            (1..steps).map(|step| f64::from(2 + 2 * (step % 2)) * density(f64::from(step) * width)).sum::<f64>();
        0.5 + (density(0.0) + inner + density(x)) * width / 3.0
    }

    #[test]
    fn uniform_numbers_are_uniform() {
        for (seed, stream) in [(0, 0), (1, 0), (0, 1), (u64::MAX, 42)] {
            let mut long = vec![0.0; MANY];
            fill_uniform_f64(seed, stream, 0, &mut long);
            let mut short = vec![0.0; MANY];
            fill_uniform_f32(seed, stream, 0, &mut short);
            for numbers in [long, short.into_iter().map(f64::from).collect()] {
                assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
                check_moments(&numbers, 0.5, 1.0 / 12.0, 1.0 / 80.0);
                check_distribution(numbers, |x| x);
            }
        }
    }

    #[test]
    fn normal_numbers_are_normal() {
        for (seed, stream) in [(0, 0), (1, 0), (0, 1), (u64::MAX, 42)] {
            let mut long = vec![0.0; MANY];
            fill_normal_f64(seed, stream, 0, &mut long);
            let mut short = vec![0.0; MANY];
            fill_normal_f32(seed, stream, 0, &mut short);
            for numbers in [long, short.into_iter().map(f64::from).collect()] {
                check_moments(&numbers, 0.0, 1.0, 3.0);
                assert!(numbers.iter().any(|x| *x > 4.0) && numbers.iter().any(|x| *x < -4.0));
                check_distribution(numbers, normal);
            }
        }
    }

    #[test]
    fn integers_are_in_their_range() {
        let mut out = vec![0; MANY];
        fill_integers_i64(3, 0, 0, -5, 6, &mut out);
        let mut counts = [0_u32; 11];
        out.iter().for_each(|&x| counts[(x + 5) as usize] += 1);
        let expected = MANY as f64 / 11.0;
        let chi = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum::<f64>();
        // Ten degrees of freedom: odds of 1 : 1000.
        assert!(chi < 29.6, "{chi}");
        fill_integers_i64(3, 0, 0, i64::MIN, i64::MAX, &mut out);
        assert!(out.iter().any(|&x| x < i64::MIN / 2) && out.iter().any(|&x| x > i64::MAX / 2));
        fill_integers_i64(3, 0, 0, 7, 7, &mut out);
        assert!(out.iter().all(|&x| x == 7));
    }
}
