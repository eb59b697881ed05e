//! Strips: the instructions of a loop on a few hundred neighbours at a time, which stay in the first-level cache.
//!
//! Each instruction is one plain loop over a strip, compiled for what the processor has (`crate::expr::simd`). Its operands are
//! strips or one number for all. Where an input's elements lie one behind the other they are read where they are; else they are
//! gathered into a strip first. Strips that nobody reads any more are used again, so that few are in the cache
//! (P. Boncz, M. Zukowski, N. Nes: MonetDB/X100: hyper-pipelining query execution, CIDR 2005).

use super::dtype::{DType, Native, Scalar, with_native};
use super::kernels::{Arg, Kernels, Sum, cast, compare_into, select, test_into};
use super::operand::Operand;
use super::ops::Binary;
use super::program::{Instr, Loop, Value, number};

/// Elements of a strip. With 512 the strips of a long formula do not all stay in a first-level cache of 32 KiB: Black's and Scholes' takes a
/// quarter longer.
pub(super) const STRIP: usize = 256;

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
