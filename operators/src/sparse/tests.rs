#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

//! Sparse products against the obvious loop over all indices of dense arrays.
//!
//! Elements are small integers, also those of floats: then every sum is exact in whatever order it is made, and results must be
//! equal to the last bit. What depends on the order is tested with fractions, on several numbers of threads.

mod forms;
mod kernels;
mod notation;

use rayon::ThreadPoolBuilder;

use super::*;
use crate::contract::reference::{self, Exact};
use crate::contract::{Einsum, View};

/// A small generator, so that a tensor is its seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % sides
    }
}

/// A type of elements that tests know.
trait Tested: Number + Exact {
    fn small(value: i32) -> Self;
    fn narrow(sum: <Self as Exact>::Sum) -> Self;
}

macro_rules! tested {
    ($($element:ty),*) => {$(
        impl Tested for $element {
            fn small(value: i32) -> Self {
                value as $element
            }
            fn narrow(sum: <Self as Exact>::Sum) -> Self {
                sum as $element
            }
        }
    )*};
}

tested!(f32, f64, i32, i64);

/// Where a tensor has entries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pattern {
    Empty,
    /// Anywhere, in any order, some of them twice.
    Uniform,
    /// Most along one index of the first axis.
    HeavyRow,
    /// Indices `i` with a frequency of about `1 / i`.
    Power,
    /// Every element, in order.
    Full,
}

const PATTERNS: [Pattern; 5] = [Pattern::Empty, Pattern::Uniform, Pattern::HeavyRow, Pattern::Power, Pattern::Full];

/// A tensor with about so many entries, some of them 0.
fn tensor<T: Tested>(shape: &[usize], pattern: Pattern, entries: usize, dice: &mut Dice) -> Coordinates<T> {
    let elements: usize = shape.iter().product();
    let entries = match pattern {
        _ if elements == 0 => 0,
        Pattern::Empty => 0,
        Pattern::Full => elements,
        _ => entries,
    };
    let mut indices = vec![Vec::new(); shape.len()];
    for entry in 0..entries {
        let mut place = entry;
        let heavy = pattern == Pattern::HeavyRow && dice.roll(4) > 0;
        for (axis, (list, &extent)) in indices.iter_mut().zip(shape).enumerate().rev() {
            list.push(match pattern {
                Pattern::Full => place % extent,
                Pattern::Power => extent / (1 + dice.roll(extent)) - 1,
                _ if heavy && axis == 0 => extent / 2,
                _ => dice.roll(extent),
            } as u32);
            place /= extent;
        }
    }
    let values = (0..entries).map(|_| T::small(dice.roll(7) as i32 - 3)).collect();
    Coordinates::new(shape, indices, values).unwrap()
}

fn dense<T: Tested>(shape: &[usize], dice: &mut Dice) -> Vec<T> {
    (0..shape.iter().product()).map(|_| T::small(dice.roll(7) as i32 - 3)).collect()
}

/// Runs on pools of several sizes; all must make the same.
fn alike<R: PartialEq + Send + std::fmt::Debug>(run: impl Fn() -> R + Sync) -> R {
    let on = |threads: usize| ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&run);
    let alone = on(1);
    for threads in [2, 4] {
        assert!(on(threads) == alone, "{threads} threads make something else than one");
    }
    alone
}
