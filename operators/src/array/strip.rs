//! Strips: the instructions of a loop on a few hundred neighbours at a time, which stay in the first-level cache.
//!
//! Each instruction is one plain loop over a strip, compiled for what the processor has (`crate::expr::simd`). Its operands are
//! strips or one number for all. Where an input's elements lie one behind the other they are read where they are; else they are
//! gathered into a strip first. Strips that nobody reads any more are used again, so that few are in the cache
//! (P. Boncz, M. Zukowski, N. Nes: MonetDB/X100: hyper-pipelining query execution, CIDR 2005).

use super::dtype::{DType, Native, Scalar, with_native};
use super::fold::Fold;
use super::operand::Operand;
use super::ops::{Binary, Compare, Unary};
use super::program::{Draw, Instr, Loop, Value, number};
use super::{math, philox};
use crate::expr::simd::vectorized;

/// Elements of a strip.
pub(super) const STRIP: usize = 512;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In a strip of the scratch memory.
    Strip(usize),
    /// In an input's own memory.
    Input(usize),
    /// In the memory of the stored value of this number.
    Store(usize),
    /// Nowhere: it is a factor of a sum that is computed in one go.
    Within,
    /// The same for all elements.
    One(Scalar),
}

/// A loop that is ready to run over strips: it knows its inputs and where each value goes.
pub(super) struct Compiled<'a> {
    shape: &'a [usize],
    instructions: &'a [Instr],
    types: Vec<DType>,
    places: Vec<Place>,
    /// Instructions that are run for each strip.
    each: Vec<Value>,
    /// Of a sum or difference: the product in it that is computed with it.
    products: Vec<Option<Value>>,
    strips: usize,
    operands: &'a [Operand],
    numbers: &'a [Scalar],
}

/// The memory of strips, for one worker.
pub(super) struct Scratch {
    lines: Vec<Line>,
}

/// The memory of stored values: an element for each from `first` on, aligned for all types.
pub(super) struct Stores {
    pub first: usize,
    pub addresses: Vec<*mut u8>,
}

// SAFETY: workers write to parts of it that do not overlap, and read only what they have written themselves.
unsafe impl Send for Stores {}
// SAFETY: as above.
unsafe impl Sync for Stores {}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "it is read as elements")] [u64; 8]);

/// Lines of a strip of the widest type.
const LINES: usize = STRIP / 8;

impl<'a> Compiled<'a> {
    pub fn new(looped: &'a Loop, operands: &'a [Operand], numbers: &'a [Scalar]) -> Self {
        let types = looped.types();
        let mut compiled = Self {
            shape: &looped.shape,
            instructions: &looped.instructions,
            types,
            places: Vec::with_capacity(looped.instructions.len()),
            each: Vec::new(),
            products: vec![None; looped.instructions.len()],
            strips: 0,
            operands,
            numbers,
        };
        compiled.find_products(looped);
        compiled.place(looped);
        compiled
    }

    /// Finds products of floats that are read by one sum or difference alone: both are one pass over the strips, with a rounding each.
    fn find_products(&mut self, looped: &Loop) {
        let mut uses = vec![0; self.instructions.len()];
        self.instructions.iter().flat_map(Instr::arguments).for_each(|argument| uses[argument] += 1);
        kept(looped).for_each(|value| uses[value] += 2);
        let mut same = Vec::with_capacity(self.instructions.len());
        for (value, instruction) in self.instructions.iter().enumerate() {
            let all = instruction.arguments().all(|argument| same[argument]);
            same.push(match *instruction {
                Instr::Load(input, _) => matches!(self.operands[input].axes(), [] | [(_, 0)]),
                Instr::Index(_) | Instr::Random(..) => false,
                _ => all,
            });
            if let (Instr::Binary(Binary::Add | Binary::Subtract, a, b), true) =
                (*instruction, self.types[value].is_float())
            {
                let is_product = |of: &Value| matches!(self.instructions[*of], Instr::Binary(Binary::Multiply, ..));
                let product = [a, b].into_iter().find(|of| uses[*of] == 1 && !same[*of] && is_product(of));
                self.products[value] = product;
            }
        }
    }

    /// The values that an instruction reads when it is run.
    fn reads(&self, value: Value) -> Vec<Value> {
        let arguments = self.instructions[value].arguments();
        let factors = |argument: Value| match self.products[value] {
            Some(product) if product == argument => self.instructions[product].arguments().collect(),
            _ => vec![argument],
        };
        arguments.flat_map(factors).collect()
    }

    /// Says for each value where it is: numbers are computed now, strips are given out by last use.
    fn place(&mut self, looped: &Loop) {
        let within = self.products.iter().flatten().copied().collect::<Vec<_>>();
        let mut last = vec![0; self.instructions.len()];
        for value in (0..self.instructions.len()).filter(|value| !within.contains(value)) {
            self.reads(value).into_iter().for_each(|argument| last[argument] = value);
        }
        kept(looped).for_each(|value| last[value] = usize::MAX);
        let mut free: Vec<usize> = Vec::new();
        for (value, instruction) in self.instructions.iter().enumerate() {
            if within.contains(&value) {
                self.places.push(Place::Within);
                continue;
            }
            let stored = looped.stores.iter().position(|&stored| stored == value).map(Place::Store);
            let place = self.fixed(value, instruction).or(stored).unwrap_or_else(|| {
                let strip = free.pop().unwrap_or_else(|| {
                    self.strips += 1;
                    self.strips - 1
                });
                Place::Strip(strip)
            });
            self.places.push(place);
            if matches!(place, Place::Strip(_) | Place::Store(_)) {
                self.each.push(value);
            }
            // An instruction never writes to what it reads: strips are free for the ones after it.
            for argument in self.reads(value) {
                if let (Place::Strip(strip), true) = (self.places[argument], last[argument] == value)
                    && !free.contains(&strip)
                {
                    free.push(strip);
                }
            }
        }
    }

    /// Where a value is that needs no strip.
    fn fixed(&self, value: Value, instruction: &Instr) -> Option<Place> {
        match *instruction {
            Instr::Load(input, dtype) => {
                let operand = &self.operands[input];
                match operand.axes() {
                    [] => Some(Place::One(operand.first(dtype))),
                    [(_, 0)] => Some(Place::One(operand.first(dtype))),
                    [(_, 1)] => Some(Place::Input(input)),
                    _ => None,
                }
            }
            Instr::Number(at, dtype) => Some(Place::One(number(self.numbers, at, dtype))),
            Instr::Index(_) | Instr::Random(..) => None,
            _ => {
                let one = |argument: Value| matches!(self.places[argument], Place::One(_));
                instruction.arguments().all(one).then(|| Place::One(self.one(value)))
            }
        }
    }

    /// Computes a value of numbers.
    fn one(&self, value: Value) -> Scalar {
        with_native!(self.types[value], T => {
            let mut out = [T::default()];
            self.compute(value, &mut out, &[]);
            out[0].scalar()
        })
    }

    pub fn scratch(&self) -> Scratch {
        Scratch { lines: vec![Line([0; 8]); self.strips * LINES] }
    }

    /// Computes all values of the elements `start..start + len` (row-major), at most [`STRIP`], and writes those that are stored.
    pub fn evaluate(&self, scratch: &mut Scratch, stores: &Stores, start: usize, len: usize) {
        debug_assert!(len <= STRIP);
        let memory = scratch.lines.as_mut_ptr();
        let values = Values { compiled: self, memory, stores: Some(stores), start, len };
        for &value in &self.each {
            with_native!(self.types[value], T => {
                let Some(address) = values.address::<T>(self.places[value]) else { continue };
                // SAFETY: `len` elements of a strip of the scratch memory, or of a stored value's memory, from `address` on (see
                // `address`). No argument of the instruction is there: a strip is free only behind the last instruction that reads
                // it, stored values have memory of their own, and no other worker has these elements. They are written only, and
                // any bits are elements.
                let out = unsafe { std::slice::from_raw_parts_mut(address, len) };
                self.run(value, out, &values);
            });
        }
    }

    /// Whether a stored value is written by [`Compiled::evaluate`]; else it is a number or an input's own elements.
    pub fn writes(&self, value: Value) -> bool {
        matches!(self.places[value], Place::Store(_))
    }

    /// What a value is on a strip that was evaluated.
    pub fn values<'s, T: Native>(
        &'s self,
        scratch: &'s Scratch,
        stores: &'s Stores,
        value: Value,
        start: usize,
        len: usize,
    ) -> Arg<'s, T> {
        // The pointer is only read from.
        Values { compiled: self, memory: scratch.lines.as_ptr().cast_mut(), stores: Some(stores), start, len }.of(value)
    }

    fn run<T: Kernels>(&self, value: Value, out: &mut [T], values: &Values<'_>) {
        match self.instructions[value] {
            Instr::Load(input, _) => self.operands[input].gather(out, values.start),
            Instr::Index(axis) => self.index(axis, out, values.start),
            Instr::Random(draw, _, [seed, stream]) => {
                let bits = |at| number(self.numbers, at, DType::I64).bits();
                T::random(draw, [bits(seed), bits(stream)], values.start as u64, out);
            }
            instruction => match (self.products[value], instruction) {
                (Some(product), Instr::Binary(binary, a, b)) => {
                    let Instr::Binary(_, x, y) = self.instructions[product] else { return };
                    let (other, minus) = if product == a { (b, false) } else { (a, binary == Binary::Subtract) };
                    let sum = match binary {
                        Binary::Add => Sum::Plus,
                        _ if minus => Sum::From,
                        _ => Sum::Minus,
                    };
                    T::multiply_add(sum, out, [values.of(x), values.of(y), values.of(other)]);
                }
                _ => compute(instruction, &self.types, out, values),
            },
        }
    }

    fn compute<T: Kernels>(&self, value: Value, out: &mut [T], memory: &[Line]) {
        let values = Values { compiled: self, memory: memory.as_ptr().cast_mut(), stores: None, start: 0, len: 1 };
        compute(self.instructions[value], &self.types, out, &values);
    }

    /// Indices along an axis.
    fn index<T: Native>(&self, axis: usize, out: &mut [T], start: usize) {
        let behind = self.shape[axis + 1..].iter().product::<usize>().max(1);
        let extent = self.shape[axis].max(1);
        let (mut index, mut left) = (start / behind % extent, behind - start % behind);
        for slot in out {
            *slot = T::of(Scalar::I64(index as i64));
            left -= 1;
            if left == 0 {
                (index, left) = (if index + 1 == extent { 0 } else { index + 1 }, behind);
            }
        }
    }
}

/// Values on one strip.
struct Values<'c> {
    compiled: &'c Compiled<'c>,
    memory: *mut Line,
    stores: Option<&'c Stores>,
    start: usize,
    len: usize,
}

impl<'c> Values<'c> {
    /// Where the elements of a value are that is in a strip or stored: `LINES` lines of the scratch memory, which is `strips` times as
    /// long, or in the memory of the stored value, which has an element for each from `first` on.
    fn address<T>(&self, place: Place) -> Option<*mut T> {
        match (place, self.stores) {
            // SAFETY: the strip is within the scratch memory.
            (Place::Strip(strip), _) => Some(unsafe { self.memory.add(strip * LINES) }.cast()),
            (Place::Store(store), Some(stores)) => {
                // SAFETY: elements from `start` on are within the value's memory.
                Some(unsafe { stores.addresses[store].cast::<T>().add(self.start - stores.first) })
            }
            _ => None,
        }
    }

    fn of<'s, T: Native>(&self, value: Value) -> Arg<'s, T>
    where
        'c: 's,
    {
        match self.compiled.places[value] {
            Place::One(scalar) => Arg::One(T::of(scalar)),
            Place::Input(input) => Arg::Many(self.compiled.operands[input].run(self.start, self.len)),
            place => match self.address::<T>(place) {
                // SAFETY: as where it was written, before; instructions write elsewhere while this is read.
                Some(address) => Arg::Many(unsafe { std::slice::from_raw_parts(address, self.len) }),
                None => Arg::One(T::default()),
            },
        }
    }
}

/// The values of a loop that somebody reads after a strip.
fn kept(looped: &Loop) -> impl Iterator<Item = Value> {
    looped.stores.iter().copied().chain(looped.reductions.iter().map(|reduction| reduction.value))
}

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

fn compute<T: Kernels>(instruction: Instr, types: &[DType], out: &mut [T], values: &Values<'_>) {
    match instruction {
        // Tests make truth values of floats.
        Instr::Unary(unary, a) if unary.is_test() => with_native!(types[a], A => {
            test_into(unary, T::truths(out), values.of::<A>(a));
        }),
        Instr::Unary(unary, a) => T::unary(unary, out, values.of(a)),
        Instr::Binary(binary, a, b) => T::binary(binary, out, values.of(a), values.of(b)),
        Instr::Compare(compare, a, b) => with_native!(types[a], A => {
            compare_into(compare, T::truths(out), values.of::<A>(a), values.of::<A>(b));
        }),
        Instr::Select(mask, a, b) => select(out, values.of::<u8>(mask), values.of(a), values.of(b)),
        Instr::Cast(_, a) => with_native!(types[a], A => cast(out, values.of::<A>(a))),
        Instr::Load(..) | Instr::Number(..) | Instr::Index(_) | Instr::Random(..) => {}
    }
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

fn select<T: Copy>(out: &mut [T], mask: Arg<'_, u8>, a: Arg<'_, T>, b: Arg<'_, T>) {
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

fn test_into<A: Kernels>(test: Unary, out: &mut [u8], a: Arg<'_, A>) {
    match test {
        Unary::IsNan => map(out, a, |a| u8::from(a.is_nan())),
        Unary::IsInfinite => map(out, a, |a| u8::from(a.is_infinite())),
        _ => map(out, a, |a| u8::from(a.is_finite())),
    }
}

fn compare_into<A: Native>(compare: Compare, out: &mut [u8], a: Arg<'_, A>, b: Arg<'_, A>) {
    match compare {
        Compare::Equal => map_pairs(out, a, b, |a, b| u8::from(a == b)),
        Compare::NotEqual => map_pairs(out, a, b, |a, b| u8::from(a != b)),
        Compare::Less => map_pairs(out, a, b, |a, b| u8::from(a < b)),
        Compare::LessEqual => map_pairs(out, a, b, |a, b| u8::from(a <= b)),
        Compare::Greater => map_pairs(out, a, b, |a, b| u8::from(a > b)),
        Compare::GreaterEqual => map_pairs(out, a, b, |a, b| u8::from(a >= b)),
    }
}

fn cast<A: Native, T: Native>(out: &mut [T], a: Arg<'_, A>) {
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
                    Unary::Sign => map(out, a, |a| if a > 0.0 { 1.0 } else if a < 0.0 { -1.0 } else { a }),
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
                    Unary::Asinh => map(out, a, $float::asinh),
                    Unary::Acosh => map(out, a, $float::acosh),
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
