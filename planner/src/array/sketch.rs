//! Sketches: array programs without their numbers, in an order in which they can be computed.

use std::sync::Arc;

use bireme_operators::array::DType;

use super::op::Op;
use super::tiling::Tiling;

/// Whether an array is kept when its program has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// It is not.
    #[default]
    No,
    /// Where it is made, or by rows.
    Placed,
    /// By rows, wherever it is made.
    Rows,
    /// All of it, on every rank.
    Whole,
}

/// One array of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// How it is made.
    pub op: Op,
    /// The type of its elements.
    pub dtype: DType,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Of which entries, all of them earlier ones.
    pub operands: Vec<usize>,
    /// Whether it is kept when the program has run.
    pub kept: Keep,
    /// Where an input lies, if it does not lie by rows.
    pub tiling: Option<Arc<Tiling>>,
    /// Whether it is an input whose elements are sparse: only products read it, and it is not moved.
    pub sparse: bool,
}

/// A program: all that its plan depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sketch {
    /// Operands before what is made of them.
    pub entries: Vec<Entry>,
}

impl Sketch {
    /// The number of the first of the program's numbers that belongs to each entry.
    pub fn first_numbers(&self) -> Vec<usize> {
        let mut next = 0;
        let each = self.entries.iter().map(|entry| {
            let first = next;
            next += entry.op.numbers();
            first
        });
        each.collect()
    }

    /// The entries that are there before the program runs, in order: they are the plan's first slots.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.op == Op::Input).map(|(number, _)| number)
    }
}
