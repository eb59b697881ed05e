//! Which tasks of the step before a task needs.

use std::ops::Range;

use bireme::prelude::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Two of Task Bench's patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum Pattern {
    /// None: all tasks are independent.
    Trivial,
    /// A task's own column and its neighbours.
    Stencil,
}

impl Pattern {
    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Pattern::Trivial => "trivial",
            Pattern::Stencil => "stencil",
        }
    }

    /// The columns that depend on a column, and, for it is the same, those that it depends on.
    pub(super) fn neighbours(self, column: usize, columns: usize) -> Range<usize> {
        match self {
            Pattern::Trivial => 0..0,
            Pattern::Stencil => column.saturating_sub(1)..(column + 2).min(columns),
        }
    }

    /// Checks what a task got: one note of each task that it depends on, and no other.
    ///
    /// # Errors
    /// A note is missing, or is there twice, or comes from elsewhere.
    pub(super) fn check(self, step: usize, column: usize, columns: usize, got: &mut [u64]) -> Result<()> {
        got.sort_unstable();
        let needs = if step == 0 { 0..0 } else { self.neighbours(column, columns) };
        let wanted = needs.map(|from| note(step - 1, from));
        if wanted.eq(got.iter().copied()) {
            return Ok(());
        }
        Err(Error::internal(format!("task {column} of step {step} got the notes {got:?}")))
    }
}

/// What a task sends: its step and its column.
pub(super) fn note(step: usize, column: usize) -> u64 {
    (step as u64) << 32 | column as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_task_needs_its_neighbours_and_nothing_else() {
        let check = |step, column, got: &[u64]| Pattern::Stencil.check(step, column, 4, &mut got.to_vec());
        check(0, 2, &[]).unwrap();
        check(3, 0, &[note(2, 1), note(2, 0)]).unwrap();
        check(3, 2, &[note(2, 3), note(2, 1), note(2, 2)]).unwrap();
        check(3, 2, &[note(2, 3), note(2, 1)]).unwrap_err();
        check(3, 2, &[note(2, 3), note(2, 1), note(2, 1)]).unwrap_err();
        check(3, 2, &[note(2, 3), note(1, 1), note(2, 2)]).unwrap_err();
        check(3, 3, &[note(2, 1), note(2, 2), note(2, 3)]).unwrap_err();
        Pattern::Trivial.check(3, 2, 4, &mut []).unwrap();
    }
}
