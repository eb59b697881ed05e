//! Elementary functions, written for plain loops.
//!
//! Called in a loop over slices inside `vectorized`, each of these becomes arithmetic on whole registers: no tables, no branches
//! (what depends on the argument is computed both ways and selected), integers come from floats by adding 1.5 · 2^52. They
//! multiply and add in two roundings, never in one, so that a number has the same bits on every processor and at every place of
//! a slice.
//!
//! ```text
//!   exp    x = n·ln 2 + r, |r| ≤ ln 2 / 2      2^n · (1 + r + r²·p(r))
//!   ln     x = 2^k·(1 + f), s = f / (2 + f)    k·ln 2 + 2·atanh s,  2·atanh s = f - f²/2 + s·(f²/2 + s²·p(s²))
//!   sin    x = n·π/2 + r, |r| ≤ π/4            r + r³·p(r²) or 1 - r²/2 + r⁴·p(r²), with a sign, by n mod 4
//! ```
//!
//! Reduction by a constant cut in parts, the first so short that its multiples are exact: Cody and Waite, "Software Manual for the
//! Elementary Functions" (1980). The forms of ln and of expm1 with their rounding errors: Tang, "Table-driven implementation of
//! the logarithm function" (TOMS 1990), and the notes of fdlibm (Ng, 1993). Far arguments of sin and cos: Payne and Hanek,
//! "Radian reduction for trigonometric functions" (SIGNUM 1983). Sums with their error: Dekker (1971).
//!
//! The polynomials are our own: least squares in 60 digits (mpmath) on 160 Chebyshev nodes, weighted by what the term weighs in the
//! result and then by Lawson's iteration towards the least maximum; coefficients rounded at the end.
//!
//! The largest errors found, in units of the last place: 60,000 random numbers of each of 3 to 5 ranges against 160 bits (MPFR),
//! and every third number there is for exp and ln of `f32`.
//!
//! ```text
//!   f64   exp 0.97   exp2 1.04   expm1 1.09   tanh 1.44   ln 0.83   log2 0.82   log10 0.71   log1p 0.79   sin 0.75   cos 0.79
//!   f32   exp 1.01   ln 0.84   the others, which round an f64, 0.50
//! ```

use std::f64::consts::{FRAC_2_PI, LN_2, LOG2_E, TAU};

/// 1.5 · 2^52: added to a number below 2^51 in size, it leaves the nearest integer in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The same for `f32`: 1.5 · 2^23, for numbers below 2^22.
const ROUND_F32: f32 = 12_582_912.0;

/// The bits of 1.
const ONE: u64 = 1_f64.to_bits();
const ONE_F32: u32 = 1_f32.to_bits();

/// The bits of √½.
const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
const SQRT_HALF_F32: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();

const MANTISSA: u64 = (1 << 52) - 1;
const MANTISSA_F32: u32 = (1 << 23) - 1;

/// 2^52, whose low bits count ones.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// ln 2 = high + low; the high part has 32 bits, so its product with an exponent is exact.
const LN2_HIGH: f64 = 0.6931471803691238;
const LN2_LOW: f64 = 1.9082149292705877e-10;

/// For `f32`: 15 bits, and the rest.
const LN2_HIGH_F32: f32 = 0.69314575;
const LN2_LOW_F32: f32 = 1.4286068e-6;

/// 1 / ln 2 and 1 / ln 10; the high parts have 30 bits.
const INV_LN2_HIGH: f64 = 1.442695040255785;
const INV_LN2_LOW: f64 = 6.331784189566044e-10;
const INV_LN10_HIGH: f64 = 0.43429448176175356;
const INV_LN10_LOW: f64 = 1.414982685385801e-10;

/// log10 2; the high part has 40 bits.
const LOG10_2_HIGH: f64 = 0.30102999566361177;
const LOG10_2_LOW: f64 = 3.694239077158931e-13;

/// π/2 in three parts of 37, 36 and 53 bits.
const HALF_PI_1: f64 = 1.5707963267923333;
const HALF_PI_2: f64 = 2.5633441515839558e-12;
const HALF_PI_3: f64 = 1.0562999066987428e-23;

/// (e^r - 1 - r) / r² for |r| ≤ ln 2 / 2; error 2^-56.8 of e^r.
const EXP: [f64; 10] = [
    0.5000000000000011,
    0.16666666666666408,
    0.04166666666652809,
    0.00833333333349693,
    0.001388888894425263,
    0.00019841269502740647,
    2.480149238499555e-05,
    2.7557588413001487e-06,
    2.763052455907998e-07,
    2.4999862818007005e-08,
];

/// (2·atanh s - 2·s) / s³ in w = s², s ≤ 3 - √8; error 2^-58.1 once multiplied by w.
const LOG: [f64; 7] = [
    0.6666666666666735,
    0.39999999999411073,
    0.2857142874326641,
    0.22222198475653973,
    0.18183569755195597,
    0.15313902889390427,
    0.14797510996918947,
];

/// (sin y / y - 1) / y² in z = y², y ≤ π/4; error 2^-57.0 once multiplied by z.
const SIN: [f64; 6] = [
    -0.16666666666666632,
    0.00833333333332237,
    -0.00019841269829770915,
    2.7557313678591126e-06,
    -2.5050755951112112e-08,
    1.5896665971050437e-10,
];

/// (cos y - 1 + y²/2) / y⁴ in z = y²; error 2^-59.7 once multiplied by z².
const COS: [f64; 6] = [
    0.0416666666666666,
    -0.0013888888888874064,
    2.4801587289443e-05,
    -2.7557314340534396e-07,
    2.0875721608193887e-09,
    -1.1359558588177488e-11,
];

/// The same four for `f32`; errors 2^-27.8, 2^-30.1, 2^-28.2, 2^-30.9.
const EXP_F32: [f32; 5] = [0.49999994, 0.1666652, 0.0416684, 0.008368852, 0.0013814316];
const LOG_F32: [f32; 4] = [0.6666666, 0.40000337, 0.28537238, 0.23583575];
const SIN_F32: [f32; 4] = [-0.16666667, 0.008333329, -1.983933e-4, 2.7182743e-6];
const COS_F32: [f32; 3] = [0.041666646, -0.0013887364, 2.4438086e-5];

// ---- exp and its kin

/// `e^x`.
#[inline(always)]
pub fn exp_f64(x: f64) -> f64 {
    // Outside, the result is 0 or infinite anyway. `clamp` keeps NaN.
    let x = x.clamp(-746.0, 710.0);
    let (n, bits) = nearest(x * LOG2_E);
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    scale(1.0 + (r + r * r * exp_rest(r)), bits)
}

/// `2^x`.
#[inline(always)]
pub fn exp2_f64(x: f64) -> f64 {
    let x = x.clamp(-1076.0, 1025.0);
    let (n, bits) = nearest(x);
    let r = (x - n) * LN_2;
    scale(1.0 + (r + r * r * exp_rest(r)), bits)
}

/// `e^x - 1`, right also near 0.
#[inline(always)]
pub fn expm1_f64(x: f64) -> f64 {
    let (high, low) = half_expm1(x.clamp(-40.0, 710.0));
    let result = 2.0 * (high + low);
    if x.abs() < TINY { x } else { result }
}

/// The hyperbolic tangent: `-e / (2 + e)` where `e = e^(-2|x|) - 1`.
#[inline(always)]
pub fn tanh_f64(x: f64) -> f64 {
    let (high, low) = half_expm1((-2.0 * x.abs()).clamp(-50.0, 0.0));
    // Half of e, as a sum without error; then half of 2 + e; then one step of Newton for the quotient.
    let e = high + low;
    let e_low = (high - e) + low;
    let sum = 1.0 + e;
    let sum_low = ((1.0 - sum) + e) + e_low;
    let quotient = e / sum;
    let result = -(quotient + (e_low - quotient * sum_low) / sum);
    if x.abs() < TINY { x } else { result.copysign(x) }
}

/// Below this, sin x, tanh x and e^x - 1 … differ from x by less than half a unit.
const TINY: f64 = 1.0 / (1_u64 << 54) as f64;

/// `e^x`.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    let x = x.clamp(-104.0, 89.0);
    let (n, bits) = nearest_f32(x * std::f32::consts::LOG2_E);
    let r = (x - n * LN2_HIGH_F32) - n * LN2_LOW_F32;
    let [a, b, c, d, e] = EXP_F32;
    let rest = (a + b * r) + (c + d * r + e * (r * r)) * (r * r);
    scale_f32(1.0 + (r + r * r * rest), bits)
}

/// `2^x`, by way of `f64`.
#[inline(always)]
pub fn exp2_f32(x: f32) -> f32 {
    exp2_f64(f64::from(x)) as f32
}

/// `e^x - 1`, by way of `f64`.
#[inline(always)]
pub fn expm1_f32(x: f32) -> f32 {
    expm1_f64(f64::from(x)) as f32
}

/// The hyperbolic tangent, by way of `f64`.
#[inline(always)]
pub fn tanh_f32(x: f32) -> f32 {
    tanh_f64(f64::from(x)) as f32
}

/// Half of `e^x - 1` as a sum of two, for x in [-50, 710].
///
/// With x = n·ln 2 + r it is (2^n - 1)/2 + 2^n·r/2 + 2^n·(r²·p + c)/2, where c is what the rounding of r lost. Halves, because
/// 2^1024 is no number.
#[inline(always)]
fn half_expm1(x: f64) -> (f64, f64) {
    let (n, bits) = nearest(x * LOG2_E);
    let (high, low) = (x - n * LN2_HIGH, n * LN2_LOW);
    let r = high - low;
    let c = (high - r) - low;
    let half = f64::from_bits(bits.wrapping_add(1022) << 52);
    // The first summand is 0 or the larger one, so the error of the sum is exact.
    let (a, b) = (half - 0.5, half * r);
    let sum = a + b;
    (sum, ((a - sum) + b) + half * (r * r * exp_rest(r) + c))
}

#[inline(always)]
fn exp_rest(r: f64) -> f64 {
    let [a, b, c, d, e, f, g, h, i, j] = EXP;
    let r2 = r * r;
    let r4 = r2 * r2;
    let low = (a + b * r) + (c + d * r) * r2;
    let high = (e + f * r) + (g + h * r) * r2;
    low + (high + (i + j * r) * r4) * r4
}

/// The nearest integer, as a float and as the bits of an `i64`.
#[inline(always)]
fn nearest(x: f64) -> (f64, u64) {
    let shifted = x + ROUND;
    (shifted - ROUND, shifted.to_bits().wrapping_sub(ROUND.to_bits()))
}

#[inline(always)]
fn nearest_f32(x: f32) -> (f32, u32) {
    let shifted = x + ROUND_F32;
    (shifted - ROUND_F32, shifted.to_bits().wrapping_sub(ROUND_F32.to_bits()))
}

/// `p · 2^n` for n in [-1100, 1100] and p near 1, in two halves: the first product is exact, the second rounds if it must.
#[inline(always)]
fn scale(p: f64, n: u64) -> f64 {
    let both = n.wrapping_add(2 * 1023);
    let half = both >> 1;
    p * f64::from_bits(half << 52) * f64::from_bits(both.wrapping_sub(half) << 52)
}

#[inline(always)]
fn scale_f32(p: f32, n: u32) -> f32 {
    let both = n.wrapping_add(2 * 127);
    let half = both >> 1;
    p * f32::from_bits(half << 23) * f32::from_bits(both.wrapping_sub(half) << 23)
}

// ---- ln and its kin

/// The natural logarithm.
#[inline(always)]
pub fn ln_f64(x: f64) -> f64 {
    let (k, f) = split(x);
    // An infinite or missing k makes the sum so; meanwhile f is being divided.
    let k = log_ends(x, k);
    ln_sum(k, f, k * LN2_LOW)
}

/// The logarithm to base 2; of powers of 2 it is exact.
#[inline(always)]
pub fn log2_f64(x: f64) -> f64 {
    let (k, f) = split(x);
    let (high, low) = ln_parts(f);
    let product = high * INV_LN2_HIGH;
    let sum = k + product;
    let rest = (low + high) * INV_LN2_LOW + low * INV_LN2_HIGH;
    log_ends(x, sum + (((k - sum) + product) + rest))
}

/// The logarithm to base 10.
#[inline(always)]
pub fn log10_f64(x: f64) -> f64 {
    let (k, f) = split(x);
    let (high, low) = ln_parts(f);
    let product = high * INV_LN10_HIGH;
    let multiple = k * LOG10_2_HIGH;
    let sum = multiple + product;
    let rest = (low + high) * INV_LN10_LOW + low * INV_LN10_HIGH + k * LOG10_2_LOW;
    log_ends(x, sum + (((multiple - sum) + product) + rest))
}

/// `ln(1 + x)`, right also near 0: the logarithm of the rounded sum and, to first order, of what the rounding lost (Kahan).
#[inline(always)]
pub fn log1p_f64(x: f64) -> f64 {
    let sum = 1.0 + x;
    let part = sum - 1.0;
    let lost = (1.0 - (sum - part)) + (x - part);
    let (k, f) = split(sum);
    let result = log_ends(sum, ln_sum(k, f, k * LN2_LOW + lost / sum));
    // -0 stays.
    if x == 0.0 { x } else { result }
}

/// The natural logarithm.
#[inline(always)]
pub fn ln_f32(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 33_554_432.0 } else { x };
    let bias = if small { 127 + 25 } else { 127 };
    let bits = scaled.to_bits().wrapping_add(ONE_F32 - SQRT_HALF_F32);
    let k = ((bits >> 23) as i32 - bias) as f32;
    let f = f32::from_bits((bits & MANTISSA_F32) + SQRT_HALF_F32) - 1.0;
    let s = f / (2.0 + f);
    let w = s * s;
    let [a, b, c, d] = LOG_F32;
    let half = 0.5 * f * f;
    let rest = s * (half + w * ((a + b * w) + (c + d * w) * (w * w))) + k * LN2_LOW_F32;
    let result = k * LN2_HIGH_F32 - ((half - rest) - f);
    let result = if x < f32::INFINITY { result } else { x };
    let end = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x > 0.0 { result } else { end }
}

/// The logarithm to base 2, by way of `f64`.
#[inline(always)]
pub fn log2_f32(x: f32) -> f32 {
    log2_f64(f64::from(x)) as f32
}

/// The logarithm to base 10, by way of `f64`.
#[inline(always)]
pub fn log10_f32(x: f32) -> f32 {
    log10_f64(f64::from(x)) as f32
}

/// `ln(1 + x)`, by way of `f64`.
#[inline(always)]
pub fn log1p_f32(x: f32) -> f32 {
    log1p_f64(f64::from(x)) as f32
}

/// k and f of `x = 2^k · (1 + f)`, with 1 + f in [√½, √2).
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let small = x < f64::MIN_POSITIVE;
    let scaled = if small { x * (1_u64 << 54) as f64 } else { x };
    let bias = if small { TWO_52 + 1023.0 + 54.0 } else { TWO_52 + 1023.0 };
    // Such an offset that the exponent's bits change at √½ and not at 1.
    let bits = scaled.to_bits().wrapping_add(ONE - SQRT_HALF);
    let k = f64::from_bits((bits >> 52) | TWO_52.to_bits()) - bias;
    (k, f64::from_bits((bits & MANTISSA) + SQRT_HALF) - 1.0)
}

/// `k·ln 2 + ln(1 + f)`, given the low part of the first.
#[inline(always)]
fn ln_sum(k: f64, f: f64, low: f64) -> f64 {
    let s = f / (2.0 + f);
    let half = 0.5 * f * f;
    let rest = s * (half + log_rest(s * s)) + low;
    k * LN2_HIGH - ((half - rest) - f)
}

/// `ln(1 + f)` as a sum of two, the first of at most 21 bits.
#[inline(always)]
fn ln_parts(f: f64) -> (f64, f64) {
    let s = f / (2.0 + f);
    let half = 0.5 * f * f;
    let high = f64::from_bits((f - half).to_bits() & (u64::MAX << 32));
    (high, ((f - high) - half) + s * (half + log_rest(s * s)))
}

#[inline(always)]
fn log_rest(w: f64) -> f64 {
    let [a, b, c, d, e, f, g] = LOG;
    let w2 = w * w;
    w * ((a + b * w) + ((c + d * w) + ((e + f * w) + g * w2) * w2) * w2)
}

/// The result, unless x is 0, negative, infinite or NaN.
#[inline(always)]
fn log_ends(x: f64, result: f64) -> f64 {
    let result = if x < f64::INFINITY { result } else { x };
    let end = if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    if x > 0.0 { result } else { end }
}

// ---- sin and cos

/// Up to this size of x, [`near_sin_f64`] and [`near_cos_f64`] are right.
///
/// That is 65,536 quarter turns: 16 bits beside the 37 and 36 of the parts of π/2.
pub const NEAR: f64 = 102_900.0;

/// Numbers that [`sin_block_f64`] and its kin compute before they look for far ones.
const BLOCK: usize = 256;

/// The sine, of any number.
#[inline(always)]
pub fn sin_f64(x: f64) -> f64 {
    if x.abs() <= NEAR { near_sin_f64(x) } else { far_sin(x, 0) }
}

/// The cosine, of any number.
#[inline(always)]
pub fn cos_f64(x: f64) -> f64 {
    if x.abs() <= NEAR { near_cos_f64(x) } else { far_sin(x.abs(), 1) }
}

/// The sine, of any number.
#[inline(always)]
pub fn sin_f32(x: f32) -> f32 {
    sin_f64(f64::from(x)) as f32
}

/// The cosine, of any number.
#[inline(always)]
pub fn cos_f32(x: f32) -> f32 {
    cos_f64(f64::from(x)) as f32
}

/// The sine, for |x| ≤ [`NEAR`]; without a branch.
#[inline(always)]
pub fn near_sin_f64(x: f64) -> f64 {
    let result = near_turned(x, 0);
    if x.abs() < TINY { x } else { result }
}

/// The cosine, for |x| ≤ [`NEAR`]; without a branch.
#[inline(always)]
pub fn near_cos_f64(x: f64) -> f64 {
    near_turned(x, 1)
}

/// The sine of each. The few far ones, if any, are computed one by one afterwards.
#[inline(always)]
pub fn sin_block_f64(out: &mut [f64], x: &[f64]) {
    block(out, x, near_sin_f64, |x| far_sin(x, 0), |x| x.abs() <= NEAR);
}

/// The cosine of each.
#[inline(always)]
pub fn cos_block_f64(out: &mut [f64], x: &[f64]) {
    block(out, x, near_cos_f64, |x| far_sin(x.abs(), 1), |x| x.abs() <= NEAR);
}

/// The sine of each.
#[inline(always)]
pub fn sin_block_f32(out: &mut [f32], x: &[f32]) {
    block(out, x, |x| near_sin_f64(f64::from(x)) as f32, sin_f32, |x| x.abs() <= NEAR as f32);
}

/// The cosine of each.
#[inline(always)]
pub fn cos_block_f32(out: &mut [f32], x: &[f32]) {
    block(out, x, |x| near_cos_f64(f64::from(x)) as f32, cos_f32, |x| x.abs() <= NEAR as f32);
}

/// Sine and cosine of a part of a whole turn, 0 ≤ u ≤ 1: `(sin 2πu, cos 2πu)`.
#[inline(always)]
pub fn turn_f64(u: f64) -> (f64, f64) {
    let (n, bits) = nearest(4.0 * u);
    let y = (u - 0.25 * n) * TAU;
    let z = y * y;
    let half = 0.5 * z;
    let high = 1.0 - half;
    turned(y + y * sin_rest(z), high + (((1.0 - high) - half) + cos_rest(z)), bits)
}

/// The same for `f32`.
#[inline(always)]
pub fn turn_f32(u: f32) -> (f32, f32) {
    let (n, bits) = nearest_f32(4.0 * u);
    let y = (u - 0.25 * n) * std::f32::consts::TAU;
    let z = y * y;
    let [a, b, c, d] = SIN_F32;
    let sin = y + y * (z * ((a + b * z) + (c + d * z) * (z * z)));
    let [a, b, c] = COS_F32;
    let half = 0.5 * z;
    let high = 1.0 - half;
    let cos = high + (((1.0 - high) - half) + z * z * ((a + b * z) + c * (z * z)));
    let (first, second) = if bits & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let (sign, next) = ((bits & 2) << 30, (bits.wrapping_add(1) & 2) << 30);
    (f32::from_bits(first.to_bits() ^ sign), f32::from_bits(second.to_bits() ^ next))
}

#[inline(always)]
fn block<T: Copy>(out: &mut [T], x: &[T], near: impl Fn(T) -> T, far: impl Fn(T) -> T, is_near: impl Fn(T) -> bool) {
    for (out, x) in out.chunks_mut(BLOCK).zip(x.chunks(BLOCK)) {
        let mut all_near = true;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = near(x);
            all_near &= is_near(x);
        }
        if !all_near {
            for (out, &x) in out.iter_mut().zip(x) {
                if !is_near(x) {
                    *out = far(x);
                }
            }
        }
    }
}

/// `sin(x + quarters · π/2)`.
#[inline(always)]
fn near_turned(x: f64, quarters: u64) -> f64 {
    let (n, bits) = nearest(x * FRAC_2_PI);
    // Both products are exact, and so is the first difference; the second is, whenever x is so close to a multiple of π/2 that
    // it would matter.
    let first = x - n * HALF_PI_1;
    let multiple = n * HALF_PI_2;
    let second = first - multiple;
    let third = n * HALF_PI_3 - ((first - second) - multiple);
    let y = second - third;
    quarter_sin(y, (second - y) - third, bits.wrapping_add(quarters))
}

/// `sin(y + low + n · π/2)` for |y| ≤ π/4 and a low part far below y.
#[inline(always)]
fn quarter_sin(y: f64, low: f64, n: u64) -> f64 {
    let z = y * y;
    let half = 0.5 * z;
    let high = 1.0 - half;
    let sin = y + (y * sin_rest(z) + low * high);
    let cos = high + (((1.0 - high) - half) + (cos_rest(z) - y * low));
    let result = if n & 1 == 0 { sin } else { cos };
    f64::from_bits(result.to_bits() ^ ((n & 2) << 62))
}

/// Sine and cosine turned by n quarters.
#[inline(always)]
fn turned(sin: f64, cos: f64, n: u64) -> (f64, f64) {
    let (first, second) = if n & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let (sign, next) = ((n & 2) << 62, (n.wrapping_add(1) & 2) << 62);
    (f64::from_bits(first.to_bits() ^ sign), f64::from_bits(second.to_bits() ^ next))
}

#[inline(always)]
fn sin_rest(z: f64) -> f64 {
    let [a, b, c, d, e, f] = SIN;
    let z2 = z * z;
    z * ((a + b * z) + ((c + d * z) + (e + f * z) * z2) * z2)
}

#[inline(always)]
fn cos_rest(z: f64) -> f64 {
    let [a, b, c, d, e, f] = COS;
    let z2 = z * z;
    z2 * ((a + b * z) + ((c + d * z) + (e + f * z) * z2) * z2)
}

/// 2/π in words of 64 bits; the first is the integer part.
const TWO_OVER_PI: [u64; 21] = [
    0,
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
];

/// π/2 · 2^127.
const HALF_PI: [u64; 2] = [0xc90f_daa2_2168_c234, 0xc4c6_628b_80dc_1cd1];

/// `sin(x + quarters · π/2)` for |x| ≥ 1, however large.
///
/// x = m · 2^e with a whole m. Only 192 bits of 2/π matter: those before them give multiples of four quarter turns, those
/// after them less than 2^-137 of one, and no double lies closer than 2^-62 to a multiple.
#[cold]
#[inline(never)]
fn far_sin(x: f64, quarters: u64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let bits = x.abs().to_bits();
    let m = u128::from((bits & MANTISSA) | (MANTISSA + 1));
    // The first bit of weight 2^(1 - e) or less; that of weight 1 is the 63rd. Exponents of numbers from 1 on keep it positive.
    let place = (bits >> 52) as usize + 62 - 1075;
    let word = |at: usize| {
        let pair = u128::from(TWO_OVER_PI[at]) << 64 | u128::from(TWO_OVER_PI[at + 1]);
        u128::from((pair << (place % 64) >> 64) as u64)
    };
    let first = place / 64;
    let low = m * word(first + 2);
    let middle = m * word(first + 1) + (low >> 64);
    let high = (m as u64).wrapping_mul(word(first) as u64).wrapping_add((middle >> 64) as u64);
    // Two bits of quarters, 128 of the fraction. From a half on, it is one quarter more and a negative fraction.
    let fraction = u128::from(high) << 66 | u128::from(middle as u64) << 2 | u128::from(low as u64) >> 62;
    let negative = fraction >> 127;
    let n = (high >> 62) + negative as u64;
    let size = (fraction as i128).unsigned_abs();
    // Times π/2, with the leading bit moved to the top: 127 + zeros bits behind the point.
    let zeros = size.leading_zeros().min(127);
    let size = size << zeros;
    let halves = [(size >> 64) as u64, size as u64].map(u128::from);
    let half_pi = HALF_PI.map(u128::from);
    let angle = halves[0] * half_pi[0] + ((halves[0] * half_pi[1]) >> 64) + ((halves[1] * half_pi[0]) >> 64);
    let unit = f64::from_bits(u64::from(1023 - 127 - zeros) << 52);
    let y = angle as f64;
    let rest = angle.wrapping_sub(y as u128) as i128 as f64;
    let sign = if negative == 1 { -unit } else { unit };
    // sin(-x) = -sin x; only the sine is asked of negative numbers.
    let result = quarter_sin(y * sign, rest * sign, n.wrapping_add(quarters));
    if x < 0.0 { -result } else { result }
}

#[cfg(test)]
mod tests;
