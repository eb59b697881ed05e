//! Black-Scholes by hand: one pass over memory that reads three numbers an option and writes two.
//!
//! ```text
//!              256 options in the nearest cache, 4 or 8 of them in a vector
//!   s k t      ┌──────────────────────────────────────────────────────────────┐     call put
//!   ▒ ▒ ▒  ──► │ d1, d2  │  cnd(d1)  │  cnd(d2)  │  k·exp(−r·t)  │  call, put │ ──►  ▒    ▒
//!   ▒ ▒ ▒      └──────────────────────────────────────────────────────────────┘      ▒    ▒
//! ```
//!
//! Loops have no branches and call nothing, so the compiler makes vectors of them. exp and ln are therefore here: argument
//! reduction by powers of two, and polynomials through Chebyshev's points whose own errors are below 2·10⁻¹⁷. With roundings
//! both are within 2 units in the last place.
//!
//! Five short loops over a block and not one long one: the operations of an option wait for each other, and a processor that looks
//! a few hundred instructions ahead sees several short bodies, but not two long ones (125 and not 90 M options/s on a core).

use rayon::prelude::*;

use super::simd::{dispatched, fma};

/// Options that a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// Options that a loop goes over: eight such arrays are 16 KiB.
const BLOCK: usize = 256;

const RATE: f64 = 0.02;
const VOLATILITY: f64 = 0.30;

/// Call and put of options with price s, strike k and t years to go.
pub(crate) fn prices(s: &[f64], k: &[f64], t: &[f64], call: &mut [f64], put: &mut [f64]) {
    let inputs = s.par_chunks(CHUNK).zip(k.par_chunks(CHUNK)).zip(t.par_chunks(CHUNK));
    let outputs = call.par_chunks_mut(CHUNK).zip(put.par_chunks_mut(CHUNK));
    inputs.zip(outputs).for_each(|(((s, k), t), (call, put))| chunk(s, k, t, call, put));
}

dispatched! { fn chunk(s: &[f64], k: &[f64], t: &[f64], call: &mut [f64], put: &mut [f64]) = chunk_body }

#[inline(always)]
fn chunk_body<const FUSED: bool>(s: &[f64], k: &[f64], t: &[f64], call: &mut [f64], put: &mut [f64]) {
    let inputs = s.chunks(BLOCK).zip(k.chunks(BLOCK)).zip(t.chunks(BLOCK));
    let outputs = call.chunks_mut(BLOCK).zip(put.chunks_mut(BLOCK));
    let mut scratch = [[0.0; BLOCK]; 3];
    for (((s, k), t), (call, put)) in inputs.zip(outputs) {
        block::<FUSED>(s, k, t, call, put, &mut scratch);
    }
}

#[inline(always)]
fn block<const FUSED: bool>(
    s: &[f64],
    k: &[f64],
    t: &[f64],
    call: &mut [f64],
    put: &mut [f64],
    [c1, c2, discounted]: &mut [[f64; BLOCK]; 3],
) {
    const DRIFT: f64 = RATE + 0.5 * VOLATILITY * VOLATILITY;
    // With one length for all, loops need not check their places.
    let length = s.len();
    let (k, t, call, put) = (&k[..length], &t[..length], &mut call[..length], &mut put[..length]);
    let (c1, c2, discounted) = (&mut c1[..length], &mut c2[..length], &mut discounted[..length]);
    for at in 0..length {
        let deviation = VOLATILITY * t[at].sqrt();
        c1[at] = fma::<FUSED>(DRIFT, t[at], ln::<FUSED>(s[at] / k[at])) / deviation;
        c2[at] = c1[at] - deviation;
    }
    for d1 in c1.iter_mut() {
        *d1 = cnd::<FUSED>(*d1);
    }
    for d2 in c2.iter_mut() {
        *d2 = cnd::<FUSED>(*d2);
    }
    for at in 0..length {
        discounted[at] = k[at] * exp::<FUSED>(-RATE * t[at]);
    }
    for at in 0..length {
        call[at] = fma::<FUSED>(s[at], c1[at], -(discounted[at] * c2[at]));
        put[at] = fma::<FUSED>(discounted[at], 1.0 - c2[at], -(s[at] * (1.0 - c1[at])));
    }
}

/// The normal distribution's cumulated density, by Abramowitz and Stegun, 26.2.17.
#[inline(always)]
fn cnd<const FUSED: bool>(d: f64) -> f64 {
    const RSQRT2PI: f64 = 0.398_942_280_401_432_7;
    const A: [f64; 5] = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let k = 1.0 / fma::<FUSED>(0.231_641_9, d.abs(), 1.0);
    let tail = RSQRT2PI * exp::<FUSED>(-0.5 * d * d) * (k * polynomial::<FUSED, 5>(k, A));
    if d > 0.0 { 1.0 - tail } else { tail }
}

/// Upper and lower part of ln 2; the upper one has zeros at its end, so that its product with an exponent is exact.
const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];

/// `eˣ` for x up to 708; below −708 it is as good as zero, and that of −708.
#[inline(always)]
fn exp<const FUSED: bool>(x: f64) -> f64 {
    /// A number plus this one has its nearest integer in the last bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// (eʳ − 1 − r) / r² for r in ±(ln 2)/2.
    const Q: [f64; 10] = [
        0.500_000_000_000_000_1,
        0.166_666_666_666_666_69,
        0.041_666_666_666_624_13,
        0.008_333_333_333_330_062,
        0.001_388_888_891_721_371_7,
        0.000_198_412_698_630_536_18,
        2.480_152_129_595_437_6e-5,
        2.755_726_845_999_706_4e-6,
        2.762_008_844_540_974_6e-7,
        2.510_038_549_551_032e-8,
    ];
    let x = if x < -708.0 { -708.0 } else { x };
    let rounded = fma::<FUSED>(x, std::f64::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let r = fma::<FUSED>(-power, LN_2[1], fma::<FUSED>(-power, LN_2[0], x));
    let exp_of_r = 1.0 + fma::<FUSED>(r * r, polynomial::<FUSED, 10>(r, Q), r);
    let scale = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    exp_of_r * scale
}

/// `ln x` of a positive number that is not denormal.
#[inline(always)]
fn ln<const FUSED: bool>(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    /// √½: mantissas are taken from there to √2.
    const LOWEST: u64 = 0x3fe6_a09e_667f_3bcd;
    /// These bits before an integer of 52 bits make 2⁵² plus that integer.
    const INTEGER: u64 = 0x4330_0000_0000_0000;
    const INTEGER_AND_BIAS: f64 = 4_503_599_627_370_496.0 + 1023.0;
    /// (ln m − 2·s) / s³ as a polynomial in s², for s = (m − 1) / (m + 1).
    const G: [f64; 7] = [
        0.666_666_666_666_667,
        0.399_999_999_998_994_44,
        0.285_714_286_260_032_7,
        0.222_222_111_302_598_78,
        0.181_828_894_556_749_47,
        0.153_317_106_182_107_73,
        0.146_165_854_248_886_23,
    ];
    let shifted = x.to_bits().wrapping_add(1.0_f64.to_bits() - LOWEST);
    let power = f64::from_bits((shifted >> 52) | INTEGER) - INTEGER_AND_BIAS;
    let m = f64::from_bits((shifted & MANTISSA) + LOWEST);
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let rest = fma::<FUSED>(s * z, polynomial::<FUSED, 7>(z, G), power * LN_2[1]);
    fma::<FUSED>(power, LN_2[0], fma::<FUSED>(2.0, s, rest))
}

/// `c₀ + c₁·x + c₂·x² …` of 5, 7 or 10 terms by Estrin's rule, pairs first. Horner's takes fewer multiplications, but each waits
/// for the one before.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f64, c: [f64; N]) -> f64 {
    const { assert!(N == 5 || N == 7 || N == 10) };
    let x2 = x * x;
    let x4 = x2 * x2;
    let pair = |low: usize| fma::<FUSED>(c[low + 1], x, c[low]);
    let low = fma::<FUSED>(pair(2), x2, pair(0));
    match N {
        5 => fma::<FUSED>(c[4], x4, low),
        7 => fma::<FUSED>(fma::<FUSED>(c[6], x2, pair(4)), x4, low),
        _ => fma::<FUSED>(pair(8), x4 * x4, fma::<FUSED>(fma::<FUSED>(pair(6), x2, pair(4)), x4, low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of what is right.
    fn ulps(got: f64, right: f64) -> f64 {
        let unit = f64::from_bits(right.abs().to_bits() + 1) - right.abs();
        (got - right).abs() / unit
    }

    #[test]
    fn exp_and_ln_are_within_two_units() {
        for at in 0..200_000 {
            let x = -708.0 + f64::from(at) * 0.007_07;
            assert!(ulps(exp::<true>(x), x.exp()) <= 2.0 && ulps(exp::<false>(x), x.exp()) <= 2.0, "exp {x}");
            for y in [0.009 + f64::from(at) * 0.000_5, 1.0 + f64::from(at) * 1e-9, 1.0 - f64::from(at) * 1e-9] {
                assert!(ulps(ln::<true>(y), y.ln()) <= 2.0 && ulps(ln::<false>(y), y.ln()) <= 2.0, "ln {y}");
            }
        }
        assert!(exp::<true>(-1e6) < 1e-300);
    }

    #[test]
    fn prices_are_those_of_the_formula() {
        let count = CHUNK + 3;
        let number = |at: usize, step: usize| (at * step % 1000) as f64 / 10.0 + 1.0;
        let s = (0..count).map(|at| number(at, 7)).collect::<Vec<_>>();
        let k = (0..count).map(|at| number(at, 13)).collect::<Vec<_>>();
        let t = (0..count).map(|at| number(at, 17) / 50.0 + 0.08).collect::<Vec<_>>();
        let (mut call, mut put) = (vec![f64::NAN; count], vec![f64::NAN; count]);
        prices(&s, &k, &t, &mut call, &mut put);
        for at in 0..count {
            let (s, k, t) = (s[at], k[at], t[at]);
            let d1 = ((s / k).ln() + (RATE + 0.5 * VOLATILITY * VOLATILITY) * t) / (VOLATILITY * t.sqrt());
            let d2 = d1 - VOLATILITY * t.sqrt();
            let e = (-RATE * t).exp();
            let plain = |d: f64| {
                let k = 1.0 / (1.0 + 0.231_641_9 * d.abs());
                let sum = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_53];
                let tail =
                    0.398_942_280_401_432_7 * (-0.5 * d * d).exp() * sum.iter().fold(0.0, |sum, c| (sum + c) * k);
                if d > 0.0 { 1.0 - tail } else { tail }
            };
            let (c1, c2) = (plain(d1), plain(d2));
            assert!((call[at] - (s * c1 - k * e * c2)).abs() < 1e-12, "call {s} {k} {t}");
            assert!((put[at] - (k * e * (1.0 - c2) - s * (1.0 - c1))).abs() < 1e-12, "put {s} {k} {t}");
        }
    }
}
