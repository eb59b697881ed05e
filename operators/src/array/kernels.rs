//! The loops of single instructions, for each type of element.
//!
//! Each is a plain loop over a strip, written once and compiled for what the processor has (`crate::expr::simd`). Operands are strips
//! or one number for all.

use super::dtype::Native;
use super::fold::Fold;
use super::ops::{Binary, Compare, Unary};
use super::program::Draw;
use super::strip::STRIP;
use super::{math, philox};
use crate::expr::simd::vectorized;

/// How a product meets a third number.
#[derive(Clone, Copy)]
pub(super) enum Sum {
    /// `x · y + z`
    Plus,
    /// `x · y - z`
    Minus,
    /// `z - x · y`
    From,
}

/// An operand of an instruction.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a, T> {
    /// One for each element.
    Many(&'a [T]),
    /// The same for all.
    One(T),
}

/// Closures own what they read: of a number behind a reference the compiler cannot tell that the loop does not write to it, and makes
/// no vectors.
#[inline(always)]
fn map<A: Copy, T>(out: &mut [T], a: Arg<'_, A>, change: impl Fn(A) -> T) {
    match a {
        Arg::Many(a) => vectorized(
            #[inline(always)]
            move || {
                for (out, &a) in out.iter_mut().zip(a) {
                    *out = change(a);
                }
            },
        ),
        Arg::One(a) => out.iter_mut().for_each(|out| *out = change(a)),
    }
}

#[inline(always)]
fn map_pairs<A: Copy, T>(out: &mut [T], a: Arg<'_, A>, b: Arg<'_, A>, change: impl Fn(A, A) -> T) {
    match (a, b) {
        (Arg::Many(a), Arg::Many(b)) => vectorized(
            #[inline(always)]
            move || {
                for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *out = change(a, b);
                }
            },
        ),
        (Arg::Many(_), Arg::One(b)) => map(out, a, move |a| change(a, b)),
        (Arg::One(a), _) => map(out, b, move |b| change(a, b)),
    }
}

pub(super) fn select<T: Copy>(out: &mut [T], mask: Arg<'_, u8>, a: Arg<'_, T>, b: Arg<'_, T>) {
    let mask = match mask {
        Arg::One(one) => return map(out, if one != 0 { a } else { b }, |value| value),
        Arg::Many(mask) => mask,
    };
    match (a, b) {
        (Arg::Many(a), Arg::Many(b)) => vectorized(
            #[inline(always)]
            move || {
                for (((out, &mask), &a), &b) in out.iter_mut().zip(mask).zip(a).zip(b) {
                    *out = if mask != 0 { a } else { b };
                }
            },
        ),
        (Arg::Many(a), Arg::One(b)) => vectorized(
            #[inline(always)]
            move || {
                for ((out, &mask), &a) in out.iter_mut().zip(mask).zip(a) {
                    *out = if mask != 0 { a } else { b };
                }
            },
        ),
        (Arg::One(a), Arg::Many(b)) => vectorized(
            #[inline(always)]
            move || {
                for ((out, &mask), &b) in out.iter_mut().zip(mask).zip(b) {
                    *out = if mask != 0 { a } else { b };
                }
            },
        ),
        (Arg::One(a), Arg::One(b)) => map(out, Arg::Many(mask), move |mask| if mask != 0 { a } else { b }),
    }
}

pub(super) fn test_into<A: Kernels>(test: Unary, out: &mut [u8], a: Arg<'_, A>) {
    match test {
        Unary::IsNan => map(out, a, |a| u8::from(a.is_nan())),
        Unary::IsInfinite => map(out, a, |a| u8::from(a.is_infinite())),
        _ => map(out, a, |a| u8::from(a.is_finite())),
    }
}

pub(super) fn compare_into<A: Native>(compare: Compare, out: &mut [u8], a: Arg<'_, A>, b: Arg<'_, A>) {
    match compare {
        Compare::Equal => map_pairs(out, a, b, |a, b| u8::from(a == b)),
        Compare::NotEqual => map_pairs(out, a, b, |a, b| u8::from(a != b)),
        Compare::Less => map_pairs(out, a, b, |a, b| u8::from(a < b)),
        Compare::LessEqual => map_pairs(out, a, b, |a, b| u8::from(a <= b)),
        Compare::Greater => map_pairs(out, a, b, |a, b| u8::from(a > b)),
        Compare::GreaterEqual => map_pairs(out, a, b, |a, b| u8::from(a >= b)),
    }
}

pub(super) fn cast<A: Native, T: Native>(out: &mut [T], a: Arg<'_, A>) {
    map(out, a, |a| T::of(a.scalar()));
}

#[inline(always)]
fn map_three<T: Copy>(out: &mut [T], [x, y, z]: [Arg<'_, T>; 3], change: impl Fn(T, T, T) -> T) {
    // The order of factors does not matter.
    let (x, y) = if let Arg::One(_) = x { (y, x) } else { (x, y) };
    match (x, y, z) {
        (Arg::Many(x), Arg::Many(y), Arg::Many(z)) => vectorized(
            #[inline(always)]
            move || {
                for (((out, &x), &y), &z) in out.iter_mut().zip(x).zip(y).zip(z) {
                    *out = change(x, y, z);
                }
            },
        ),
        (Arg::Many(_), Arg::Many(_), Arg::One(z)) => map_pairs(out, x, y, move |x, y| change(x, y, z)),
        (Arg::Many(_), Arg::One(y), _) => map_pairs(out, x, z, move |x, z| change(x, y, z)),
        (Arg::One(x), _, _) => map_pairs(out, y, z, move |y, z| change(x, y, z)),
    }
}

/// The loops of a type.
pub(super) trait Kernels: Native {
    fn unary(unary: Unary, out: &mut [Self], a: Arg<'_, Self>);
    fn binary(binary: Binary, out: &mut [Self], a: Arg<'_, Self>, b: Arg<'_, Self>);
    fn random(draw: Draw, key: [u64; 2], first: u64, out: &mut [Self]);
    /// A product and a sum, each with its own rounding. Of floats alone.
    fn multiply_add(_: Sum, _: &mut [Self], _: [Arg<'_, Self>; 3]) {}
    /// Two folded elements in one, for folds that are no places.
    fn fold(fold: Fold, a: Self, b: Self) -> Self;
    fn is_nan(self) -> bool;
    fn is_infinite(self) -> bool;
    fn is_finite(self) -> bool;

    /// The elements as truth values, if that is what they are.
    fn truths(_: &mut [Self]) -> &mut [u8] {
        &mut []
    }
}

macro_rules! float_kernels {
    ($($float:ident: $exp:ident $exp2:ident $expm1:ident $log1p:ident $ln:ident $log2:ident $log10:ident $sin:ident $cos:ident $tanh:ident
        $uniform:ident $normal:ident;)*) => {$(
        impl Kernels for $float {
            fn unary(unary: Unary, out: &mut [Self], a: Arg<'_, Self>) {
                match unary {
                    Unary::Negative => map(out, a, |a| -a),
                    Unary::Absolute => map(out, a, $float::abs),
                    Unary::Sign => map(out, a, |a| if a > 0.0 { 1.0 } else if a < 0.0 { -1.0 } else if a != a { a } else { 0.0 }),
                    Unary::Sqrt => map(out, a, $float::sqrt),
                    Unary::Cbrt => map(out, a, $float::cbrt),
                    Unary::Exp => map(out, a, #[inline(always)] |a| math::$exp(a)),
                    Unary::Exp2 => map(out, a, #[inline(always)] |a| math::$exp2(a)),
                    Unary::Expm1 => map(out, a, #[inline(always)] |a| math::$expm1(a)),
                    Unary::Ln => map(out, a, #[inline(always)] |a| math::$ln(a)),
                    Unary::Log2 => map(out, a, #[inline(always)] |a| math::$log2(a)),
                    Unary::Log10 => map(out, a, #[inline(always)] |a| math::$log10(a)),
                    Unary::Log1p => map(out, a, #[inline(always)] |a| math::$log1p(a)),
                    Unary::Sin => blocks(out, a, #[inline(always)] |out, a| math::$sin(out, a)),
                    Unary::Cos => blocks(out, a, #[inline(always)] |out, a| math::$cos(out, a)),
                    Unary::Tan => map(out, a, $float::tan),
                    Unary::Asin => map(out, a, $float::asin),
                    Unary::Acos => map(out, a, $float::acos),
                    Unary::Atan => map(out, a, $float::atan),
                    Unary::Sinh => map(out, a, $float::sinh),
                    Unary::Cosh => map(out, a, $float::cosh),
                    Unary::Tanh => map(out, a, #[inline(always)] |a| math::$tanh(a)),
                    Unary::Asinh => map(out, a, |a| inverse_sinh(f64::from(a)) as $float),
                    Unary::Acosh => map(out, a, |a| inverse_cosh(f64::from(a)) as $float),
                    Unary::Atanh => map(out, a, $float::atanh),
                    Unary::Floor => map(out, a, $float::floor),
                    Unary::Ceil => map(out, a, $float::ceil),
                    Unary::Trunc => map(out, a, $float::trunc),
                    Unary::Rint => map(out, a, $float::round_ties_even),
                    Unary::Not | Unary::IsNan | Unary::IsInfinite | Unary::IsFinite => {}
                }
            }

            fn binary(binary: Binary, out: &mut [Self], a: Arg<'_, Self>, b: Arg<'_, Self>) {
                match binary {
                    Binary::Add => map_pairs(out, a, b, |a, b| a + b),
                    Binary::Subtract => map_pairs(out, a, b, |a, b| a - b),
                    Binary::Multiply => map_pairs(out, a, b, |a, b| a * b),
                    Binary::Divide => map_pairs(out, a, b, |a, b| a / b),
                    Binary::FloorDivide => map_pairs(out, a, b, |a: $float, b: $float| floor_divided(f64::from(a), f64::from(b)) as $float),
                    Binary::Remainder => map_pairs(out, a, b, |a: $float, b: $float| {
                        let rest = a % b;
                        if rest == 0.0 { (0.0 as $float).copysign(b) } else if (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
                    }),
                    Binary::Power => map_pairs(out, a, b, $float::powf),
                    Binary::Minimum => map_pairs(out, a, b, |a, b| if a < b || a != a { a } else { b }),
                    Binary::Maximum => map_pairs(out, a, b, |a, b| if a > b || a != a { a } else { b }),
                    Binary::Atan2 => map_pairs(out, a, b, $float::atan2),
                    Binary::Hypot => map_pairs(out, a, b, $float::hypot),
                    Binary::And | Binary::Or | Binary::Xor => {}
                }
            }

            fn multiply_add(sum: Sum, out: &mut [Self], values: [Arg<'_, Self>; 3]) {
                match sum {
                    Sum::Plus => map_three(out, values, |x, y, z| x * y + z),
                    Sum::Minus => map_three(out, values, |x, y, z| x * y - z),
                    Sum::From => map_three(out, values, |x, y, z| z - x * y),
                }
            }

            fn random(draw: Draw, [seed, stream]: [u64; 2], first: u64, out: &mut [Self]) {
                vectorized(
                    #[inline(always)]
                    move || match draw {
                        Draw::Normal => philox::$normal(seed, stream, first, out),
                        Draw::Uniform | Draw::Integers(..) => philox::$uniform(seed, stream, first, out),
                    },
                );
            }

            #[inline(always)]
            fn fold(fold: Fold, a: Self, b: Self) -> Self {
                match fold {
                    Fold::Sum => a + b,
                    Fold::Product => a * b,
                    Fold::Minimum | Fold::ArgMinimum => if a < b || a != a { a } else { b },
                    Fold::Maximum | Fold::ArgMaximum => if a > b || a != a { a } else { b },
                }
            }

            fn is_nan(self) -> bool {
                self.is_nan()
            }

            fn is_infinite(self) -> bool {
                self.is_infinite()
            }

            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    )*};
}

float_kernels! {
    f64: exp_f64 exp2_f64 expm1_f64 log1p_f64 ln_f64 log2_f64 log10_f64 sin_block_f64 cos_block_f64 tanh_f64 fill_uniform_f64 fill_normal_f64;
    f32: exp_f32 exp2_f32 expm1_f32 log1p_f32 ln_f32 log2_f32 log10_f32 sin_block_f32 cos_block_f32 tanh_f32 fill_uniform_f32 fill_normal_f32;
}

/// From here on the root within the logarithm is its argument, whose double may not be a number.
const FAR: f64 = 1e16;

fn inverse_sinh(x: f64) -> f64 {
    if x.abs() > FAR { (x.abs().ln() + std::f64::consts::LN_2).copysign(x) } else { x.asinh() }
}

fn inverse_cosh(x: f64) -> f64 {
    if x > FAR { x.ln() + std::f64::consts::LN_2 } else { x.acosh() }
}

/// As Python does it: of the remainder, so that `a == a // b * b + a % b` as far as floats can.
fn floor_divided(a: f64, b: f64) -> f64 {
    if b == 0.0 {
        return a / b;
    }
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64).copysign(a / b);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// Functions of whole strips: closures that are compiled into the loop, because a function by its name is one call for all processors.
#[inline(always)]
fn blocks<T: Copy>(out: &mut [T], a: Arg<'_, T>, function: impl Fn(&mut [T], &[T])) {
    match a {
        Arg::Many(a) => vectorized(
            #[inline(always)]
            move || function(out, a),
        ),
        Arg::One(a) => out.iter_mut().for_each(|out| function(std::slice::from_mut(out), &[a])),
    }
}

macro_rules! integer_kernels {
    ($($integer:ident)*) => {$(
        impl Kernels for $integer {
            fn unary(unary: Unary, out: &mut [Self], a: Arg<'_, Self>) {
                match unary {
                    Unary::Negative => map(out, a, $integer::wrapping_neg),
                    Unary::Absolute => map(out, a, $integer::wrapping_abs),
                    Unary::Sign => map(out, a, $integer::signum),
                    Unary::Not => map(out, a, |a| !a),
                    // Integers are whole.
                    _ => map(out, a, |a| a),
                }
            }

            fn binary(binary: Binary, out: &mut [Self], a: Arg<'_, Self>, b: Arg<'_, Self>) {
                match binary {
                    Binary::Add => map_pairs(out, a, b, $integer::wrapping_add),
                    Binary::Subtract => map_pairs(out, a, b, $integer::wrapping_sub),
                    Binary::Multiply => map_pairs(out, a, b, $integer::wrapping_mul),
                    Binary::FloorDivide | Binary::Divide => map_pairs(out, a, b, |a: $integer, b: $integer| match b {
                        0 => 0,
                        _ => {
                            let quotient = a.wrapping_div(b);
                            let rest = a.wrapping_rem(b);
                            if rest != 0 && (rest < 0) != (b < 0) { quotient - 1 } else { quotient }
                        }
                    }),
                    Binary::Remainder => map_pairs(out, a, b, |a: $integer, b: $integer| match b {
                        0 => 0,
                        _ => {
                            let rest = a.wrapping_rem(b);
                            if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
                        }
                    }),
                    Binary::Power => map_pairs(out, a, b, |a: $integer, b: $integer| match a {
                        -1 => if b % 2 == 0 { 1 } else { -1 },
                        _ if b < 0 => $integer::from(a == 1),
                        _ => {
                            let (mut power, mut square, mut rest) = (1, a, b);
                            while rest > 0 {
                                if rest % 2 == 1 {
                                    power = $integer::wrapping_mul(power, square);
                                }
                                (square, rest) = (square.wrapping_mul(square), rest / 2);
                            }
                            power
                        }
                    }),
                    Binary::Minimum => map_pairs(out, a, b, std::cmp::min),
                    Binary::Maximum => map_pairs(out, a, b, std::cmp::max),
                    Binary::And => map_pairs(out, a, b, |a, b| a & b),
                    Binary::Or => map_pairs(out, a, b, |a, b| a | b),
                    Binary::Xor => map_pairs(out, a, b, |a, b| a ^ b),
                    Binary::Atan2 | Binary::Hypot => {}
                }
            }

            fn random(draw: Draw, [seed, stream]: [u64; 2], first: u64, out: &mut [Self]) {
                let (low, high) = if let Draw::Integers(low, high) = draw { (low, high) } else { (0, 2) };
                let mut wide = [0_i64; STRIP];
                for (done, part) in out.chunks_mut(STRIP).enumerate() {
                    let first = first + (done * STRIP) as u64;
                    let wide = &mut wide[..part.len()];
                    vectorized(
                        #[inline(always)]
                        move || {
                            philox::fill_integers_i64(seed, stream, first, low, high, wide);
                            part.iter_mut().zip(wide).for_each(|(slot, value)| *slot = *value as $integer);
                        },
                    );
                }
            }

            #[inline(always)]
            fn fold(fold: Fold, a: Self, b: Self) -> Self {
                match fold {
                    Fold::Sum => a.wrapping_add(b),
                    Fold::Product => a.wrapping_mul(b),
                    Fold::Minimum | Fold::ArgMinimum => a.min(b),
                    Fold::Maximum | Fold::ArgMaximum => a.max(b),
                }
            }

            fn is_nan(self) -> bool {
                false
            }

            fn is_infinite(self) -> bool {
                false
            }

            fn is_finite(self) -> bool {
                true
            }
        }
    )*};
}

integer_kernels!(i32 i64);

/// Truth values.
impl Kernels for u8 {
    fn truths(out: &mut [Self]) -> &mut [u8] {
        out
    }

    fn unary(unary: Unary, out: &mut [Self], a: Arg<'_, Self>) {
        match unary {
            Unary::Not => map(out, a, |a| a ^ 1),
            _ => map(out, a, |a| a),
        }
    }

    fn binary(binary: Binary, out: &mut [Self], a: Arg<'_, Self>, b: Arg<'_, Self>) {
        match binary {
            Binary::Add | Binary::Or | Binary::Maximum => map_pairs(out, a, b, |a, b| a | b),
            Binary::Multiply | Binary::And | Binary::Minimum => map_pairs(out, a, b, |a, b| a & b),
            _ => map_pairs(out, a, b, |a, b| a ^ b),
        }
    }

    fn random(_: Draw, [seed, stream]: [u64; 2], first: u64, out: &mut [Self]) {
        let mut wide = vec![0_i64; out.len()];
        philox::fill_integers_i64(seed, stream, first, 0, 2, &mut wide);
        out.iter_mut().zip(wide).for_each(|(slot, value)| *slot = value as u8);
    }

    #[inline(always)]
    fn fold(fold: Fold, a: Self, b: Self) -> Self {
        match fold {
            Fold::Sum | Fold::Maximum | Fold::ArgMaximum => a | b,
            Fold::Product | Fold::Minimum | Fold::ArgMinimum => a & b,
        }
    }

    fn is_nan(self) -> bool {
        false
    }

    fn is_infinite(self) -> bool {
        false
    }

    fn is_finite(self) -> bool {
        true
    }
}
