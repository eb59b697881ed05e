//! What the nodes of an array program do.

use std::fmt;
use std::sync::Arc;

use bireme_operators::array::{Binary, Compare, Draw, Fold, Line, Unary};
use bireme_operators::contract::Einsum;

use super::affine::Affine;
use super::schedule::Schedule;
use super::tiling::Tiling;

/// An operation that makes an array of others. Shapes of operands of one element-wise operation are broadcast to the result's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// An array that is there.
    Input,
    /// One number for all elements: one of the program's numbers.
    Number,
    /// The index along an axis.
    Index(usize),
    /// Random numbers; seed and stream are two of the program's numbers.
    Random(Draw),
    /// Of one element.
    Unary(Unary),
    /// Of two elements.
    Binary(Binary),
    /// A comparison.
    Compare(Compare),
    /// The second where the first is true, else the third.
    Select,
    /// The same as another type.
    Cast,
    /// Elements of the operand under other indices.
    View(Affine),
    /// Axes from..to folded into one element; they are gone from the shape.
    Reduce(Fold, usize, usize),
    /// A product of tensors, between ranks by a schedule that somebody has asked for.
    Contract(Einsum, Option<Arc<Schedule>>),
    /// Work along the lines of an axis.
    Lines(Line, usize),
    /// Slices along an axis, by the indices in the second operand.
    Take(usize),
    /// Operands one behind the other along an axis.
    Concatenate(usize),
    /// The first operand with the second in the place of some elements.
    Update(Affine),
    /// The same elements, row-major, with other axes.
    Reshape,
    /// The same elements on other ranks.
    Distribute(Arc<Tiling>),
}

impl Op {
    /// Whether it is made element by element, of elements with the same index.
    pub fn is_pointwise(&self) -> bool {
        match self {
            Self::Number
            | Self::Index(_)
            | Self::Random(_)
            | Self::Unary(_)
            | Self::Binary(_)
            | Self::Compare(_)
            | Self::Select
            | Self::Cast => true,
            Self::Input
            | Self::View(_)
            | Self::Reduce(..)
            | Self::Contract(..)
            | Self::Lines(..)
            | Self::Take(_)
            | Self::Concatenate(_)
            | Self::Update(_)
            | Self::Reshape
            | Self::Distribute(_) => false,
        }
    }

    /// Whether it needs no memory to be made again.
    pub fn is_source(&self) -> bool {
        matches!(self, Self::Number | Self::Index(_))
    }

    /// How many of the program's numbers are its own.
    pub fn numbers(&self) -> usize {
        match self {
            Self::Number => 1,
            Self::Random(_) => 2,
            _ => 0,
        }
    }

    /// Whether a program that computes one of its operands computes it as well if somebody holds it: it is one pass over what it reads.
    pub fn is_cheap(&self) -> bool {
        self.is_pointwise() || matches!(self, Self::Reduce(..))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Number => f.write_str("number"),
            Self::Index(axis) => write!(f, "index {axis}"),
            Self::Random(draw) => write!(f, "random {draw:?}"),
            Self::Unary(unary) => write!(f, "{unary}"),
            Self::Binary(binary) => write!(f, "{binary}"),
            Self::Compare(compare) => write!(f, "{compare}"),
            Self::Select => f.write_str("where"),
            Self::Cast => f.write_str("as"),
            Self::View(affine) => write!(f, "view {affine}"),
            Self::Reduce(fold, from, to) => write!(f, "{fold} over {from}..{to}"),
            Self::Contract(einsum, None) => write!(f, "einsum(\"{einsum}\")"),
            Self::Contract(einsum, Some(schedule)) => write!(f, "einsum(\"{einsum}\") by {schedule}"),
            Self::Lines(line, axis) => write!(f, "{line} along {axis}"),
            Self::Take(axis) => write!(f, "take along {axis}"),
            Self::Concatenate(axis) => write!(f, "concatenate along {axis}"),
            Self::Update(affine) => write!(f, "put {affine}"),
            Self::Reshape => f.write_str("reshape"),
            Self::Distribute(tiling) => write!(f, "distribute {tiling}"),
        }
    }
}
