//! The steps of a plan over arrays, as one rank runs them.
//!
//! Steps read and fill numbered *slots*. Between two *segments* of steps ranks move what they lack ([`Move`]); on one rank there is
//! one segment.

use std::ops::Range;

use super::dtype::DType;
use super::fold::Fold;
use super::lines::Line;
use super::program::Loop;
use super::tile::Region;
use crate::contract::Einsum;

/// The number of what lies on a rank while a plan runs.
pub type Slot = usize;

/// How a step sees a slot's elements: by `offset + Σ index · step` over the step's own axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which slot.
    pub slot: Slot,
    /// The type of its elements.
    pub dtype: DType,
    /// One an axis.
    pub steps: Vec<isize>,
    /// Where the element of all indices 0 is, or would be.
    pub offset: isize,
}

/// Where a fold goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldTo {
    /// Which slot.
    pub slot: Slot,
    /// Which part of the result this rank makes; `None` if it has subtrees, which wait for those of other ranks.
    pub region: Option<Region>,
    /// How many results there are, if they are put together here.
    pub results: usize,
}

/// Elements that are copied into a part of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Extents of the part.
    pub shape: Vec<usize>,
    /// Where its first element goes.
    pub first: isize,
    /// How far apart neighbours go, along each axis.
    pub steps: Vec<isize>,
    /// Its elements.
    pub from: Bound,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A loop over elements whose first index is in `rows`.
    Loop {
        /// The loop.
        looped: Loop,
        /// The first indices.
        rows: Range<usize>,
        /// Its inputs.
        inputs: Vec<Bound>,
        /// Which of the plan's numbers are the loop's.
        numbers: Vec<usize>,
        /// Where its stored values go, and of which indices they are.
        stores: Vec<(Slot, Region)>,
        /// Where its folds go.
        folds: Vec<FoldTo>,
    },
    /// A product of tensors.
    Contract {
        /// Which one.
        einsum: Einsum,
        /// The type of all elements.
        dtype: DType,
        /// The extents of the operands, as this rank reads them.
        shapes: Vec<Vec<usize>>,
        /// The operands.
        operands: Vec<Bound>,
        /// Where the result goes.
        to: (Slot, Region),
        /// The part of it that this product makes; the rest is zero.
        part: Region,
        /// Whether it is added to what lies there, which an earlier step has made.
        adds: bool,
    },
    /// Work along the lines of an axis, all of which are here.
    Lines {
        /// What.
        line: Line,
        /// Along which axis.
        axis: usize,
        /// The array.
        from: Slot,
        /// Where the result goes.
        to: (Slot, Region),
    },
    /// Slices along an axis.
    Take {
        /// The axis.
        axis: usize,
        /// How many there are of it.
        extent: usize,
        /// The array.
        from: Slot,
        /// Which ones: a slot of `i64`.
        indices: Slot,
        /// Where the result goes.
        to: (Slot, Region),
    },
    /// An array of pieces, later ones over earlier ones.
    Assemble {
        /// The type of its elements.
        dtype: DType,
        /// The pieces.
        pieces: Vec<Piece>,
        /// Where the result goes.
        to: (Slot, Region),
    },
    /// The same elements under other indices.
    Rename {
        /// The array.
        from: Slot,
        /// Its new name.
        to: (Slot, Region),
    },
    /// What nobody reads any more is let go.
    Free(Vec<Slot>),
}

impl Step {
    /// What it does, if that is work which has no kernel for devices.
    pub(super) fn without_kernel(&self) -> Option<&'static str> {
        match self {
            Self::Lines { .. } => Some("work along lines"),
            Self::Take { .. } => Some("slices by index"),
            Self::Assemble { .. } => Some("putting arrays together"),
            Self::Loop { .. } | Self::Contract { .. } | Self::Rename { .. } | Self::Free(_) => None,
        }
    }

    /// The slots that it fills or adds to.
    pub fn writes(&self) -> Vec<Slot> {
        match self {
            Self::Loop { stores, folds, .. } => {
                stores.iter().map(|to| to.0).chain(folds.iter().map(|to| to.slot)).collect()
            }
            Self::Contract { to, .. }
            | Self::Lines { to, .. }
            | Self::Take { to, .. }
            | Self::Assemble { to, .. }
            | Self::Rename { to, .. } => vec![to.0],
            Self::Free(_) => Vec::new(),
        }
    }
}

/// What ranks give each other between two segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Parts of an array.
    Tiles {
        /// What this rank will have; nothing where it reads what it has already.
        to: Option<(Slot, Region)>,
        /// The type of the elements.
        dtype: DType,
        /// What it gives to which rank, and in which of its slots that lies.
        sends: Vec<(usize, Slot, Region)>,
        /// What it gets from which other rank.
        receives: Vec<(usize, Region)>,
        /// What it has of it already, and in which slots.
        own: Vec<(Slot, Region)>,
    },
    /// Subtrees of folds, which every rank puts together.
    Folds {
        /// This rank's.
        from: Slot,
        /// All in one.
        to: (Slot, Region),
        /// The type of what is folded.
        dtype: DType,
        /// How.
        fold: Fold,
    },
    /// Summands, which are added up in the order of the ranks.
    Sums {
        /// This rank's summand.
        from: Slot,
        /// The part of the sum that it will have; empty where it has none.
        to: (Slot, Region),
        /// The type of the elements.
        dtype: DType,
        /// What it gives to which other rank.
        sends: Vec<(usize, Region)>,
        /// Which ranks have summands of its part, ascending, itself among them, and of which elements.
        receives: Vec<(usize, Region)>,
    },
}

/// Steps that run without another rank, and what is moved behind them.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// In order.
    pub steps: Vec<Step>,
    /// What is moved when they are done.
    pub moves: Vec<Move>,
}

impl Move {
    /// The slot that it fills, if it fills one.
    pub fn fills(&self) -> Option<Slot> {
        match self {
            Self::Tiles { to, .. } => to.as_ref().map(|to| to.0),
            Self::Folds { to, .. } | Self::Sums { to, .. } => Some(to.0),
        }
    }

    /// The slots of which it gives something to others.
    pub fn sources(&self) -> Vec<Slot> {
        match self {
            Self::Tiles { sends, .. } => sends.iter().map(|send| send.1).collect(),
            Self::Folds { from, .. } => vec![*from],
            Self::Sums { from, .. } => vec![*from],
        }
    }
}
