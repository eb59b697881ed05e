//! The language of loops over arrays: what is loaded, computed, stored and folded for each element of one shape.
//!
//! A [`Loop`] is a list of instructions in single assignment: instruction `i` makes value `i`, of instructions before it. All values
//! have the loop's shape; what is smaller is loaded with strides of 0. Example, `r - alpha * ap` with its sum of squares:
//!
//! ```text
//!   loop (6000)
//!     v0 = load f64 #0          r
//!     v1 = load f64 #1          alpha, the same for all
//!     v2 = load f64 #2          ap
//!     v3 = v1 * v2
//!     v4 = v0 - v3
//!     v5 = v4 * v4
//!     store v4
//!     fold sum v5 over 0..1
//! ```

use std::fmt::Write as _;

use super::dtype::{DType, Scalar};
use super::fold::Fold;
use super::ops::{Binary, Compare, Unary};

/// The number of an instruction, and of the value it makes.
pub type Value = usize;

/// How random numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draw {
    /// Equally over [0, 1).
    Uniform,
    /// Normally, with mean 0 and deviation 1.
    Normal,
    /// Integers, equally from the first up to but without the last.
    Integers(i64, i64),
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instr {
    /// An element of an input, of a type.
    Load(usize, DType),
    /// One of the loop's numbers, of a type; which number it is does not change the loop.
    Number(usize, DType),
    /// The index along an axis, an `i64`.
    Index(usize),
    /// A random number by (seed, stream, row-major index); these are two of the loop's numbers.
    Random(Draw, DType, [usize; 2]),
    /// A function of one element.
    Unary(Unary, Value),
    /// A function of two elements of one type.
    Binary(Binary, Value, Value),
    /// A comparison of two elements of one type.
    Compare(Compare, Value, Value),
    /// The second value where the first is true, else the third.
    Select(Value, Value, Value),
    /// The same as another type.
    Cast(DType, Value),
}

impl Instr {
    /// The values it reads.
    pub fn arguments(&self) -> impl Iterator<Item = Value> {
        let (few, count) = match *self {
            Self::Load(..) | Self::Number(..) | Self::Index(_) | Self::Random(..) => ([0; 3], 0),
            Self::Unary(_, a) | Self::Cast(_, a) => ([a, 0, 0], 1),
            Self::Binary(_, a, b) | Self::Compare(_, a, b) => ([a, b, 0], 2),
            Self::Select(a, b, c) => ([a, b, c], 3),
        };
        few.into_iter().take(count)
    }
}

/// A fold of one value over the loop's axes `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// How.
    pub fold: Fold,
    /// Of what.
    pub value: Value,
}

/// A loop over all elements of a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// Extents of its axes.
    pub shape: Vec<usize>,
    /// What is computed.
    pub instructions: Vec<Instr>,
    /// Values whose elements are kept.
    pub stores: Vec<Value>,
    /// Values that are folded, all over the same axes.
    pub reductions: Vec<Reduction>,
    /// The axes over which is folded: from..to.
    pub folded: (usize, usize),
}

impl Loop {
    /// The type of each value.
    pub fn types(&self) -> Vec<DType> {
        let mut types = Vec::with_capacity(self.instructions.len());
        for instruction in &self.instructions {
            let dtype = match *instruction {
                Instr::Load(_, dtype) | Instr::Number(_, dtype) | Instr::Cast(dtype, _) => dtype,
                Instr::Random(_, dtype, _) => dtype,
                Instr::Index(_) => DType::I64,
                Instr::Unary(unary, _) if unary.is_test() => DType::Bool,
                Instr::Unary(_, a) | Instr::Binary(_, a, _) => types[a],
                Instr::Compare(..) => DType::Bool,
                Instr::Select(_, a, _) => types[a],
            };
            types.push(dtype);
        }
        types
    }

    /// The extents of the folded axes' result: what is before them, they themselves, what is behind them.
    pub fn thirds(&self) -> [usize; 3] {
        let (from, to) = self.folded;
        [&self.shape[..from], &self.shape[from..to], &self.shape[to..]].map(|part| part.iter().product())
    }

    /// Canonical text, one line an instruction; `names` are those of the inputs.
    pub fn lines(&self, names: &[String], stores: &[String], folds: &[String]) -> Vec<String> {
        let shape = self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = vec![format!("loop ({shape})")];
        for (value, instruction) in self.instructions.iter().enumerate() {
            let mut line = format!("  v{value} = ");
            let _ = match *instruction {
                Instr::Load(input, dtype) => write!(line, "load {dtype} {}", names[input]),
                Instr::Number(number, dtype) => write!(line, "number {dtype} ${number}"),
                Instr::Index(axis) => write!(line, "index {axis}"),
                Instr::Random(draw, dtype, _) => write!(line, "random {dtype} {draw:?}"),
                Instr::Unary(unary, a) => write!(line, "{unary} v{a}"),
                Instr::Binary(binary, a, b) => write!(line, "v{a} {binary} v{b}"),
                Instr::Compare(compare, a, b) => write!(line, "v{a} {compare} v{b}"),
                Instr::Select(a, b, c) => write!(line, "where v{a} then v{b} else v{c}"),
                Instr::Cast(dtype, a) => write!(line, "v{a} as {dtype}"),
            };
            lines.push(line);
        }
        lines.extend(self.stores.iter().zip(stores).map(|(value, name)| format!("  store v{value} as {name}")));
        lines.extend(self.reductions.iter().zip(folds).map(|(reduction, name)| {
            let (from, to) = self.folded;
            format!("  fold {} v{} over {from}..{to} as {name}", reduction.fold, reduction.value)
        }));
        lines
    }

    /// The work of one element, in plain instructions.
    pub fn weight(&self) -> usize {
        let heavy = |instruction: &Instr| match instruction {
            Instr::Unary(unary, _) if *unary > Unary::Sqrt && *unary < Unary::Floor => 16,
            Instr::Binary(Binary::Power | Binary::Atan2 | Binary::Hypot, ..) | Instr::Random(..) => 16,
            _ => 1,
        };
        self.instructions.iter().map(heavy).sum::<usize>().max(1)
    }
}

/// Numbers as values of a type.
pub(super) fn number(numbers: &[Scalar], at: usize, dtype: DType) -> Scalar {
    numbers.get(at).copied().unwrap_or(Scalar::I64(0)).cast(dtype)
}
