//! How many rows.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use bireme_engine::error::{Error, Result};

use super::Groups;

/// Counts of rows by group.
#[derive(Default)]
pub(crate) struct Counts {
    counts: Vec<i64>,
}

impl Counts {
    pub(super) fn grow(&mut self, total: usize) {
        if total > self.counts.len() {
            self.counts.resize(total, 0);
        }
    }

    pub(super) fn update(&mut self, valid: Option<&NullBuffer>, groups: &Groups<'_>) {
        self.grow(groups.total);
        let counts = self.counts.as_mut_slice();
        match valid {
            None if groups.are_few() => {
                counts.iter_mut().zip(groups.counts()).for_each(|(count, &more)| *count += more);
            }
            None => groups.ids.iter().for_each(|&group| counts[group as usize] += 1),
            Some(valid) if groups.is_one() => counts[0] += (valid.len() - valid.null_count()) as i64,
            Some(valid) => valid.valid_indices().for_each(|row| counts[groups.ids[row] as usize] += 1),
        }
    }

    /// Adds counts.
    pub(super) fn merge(&mut self, state: &ArrayRef, groups: &Groups<'_>) -> Result<()> {
        self.grow(groups.total);
        let Some(more) = state.as_primitive_opt::<Int64Type>() else {
            return Err(Error::internal(format!("the state of a count came as {}", state.data_type())));
        };
        for (row, &more) in more.values().iter().enumerate() {
            if state.is_valid(row) {
                self.counts[groups.of(row)] += more;
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.counts)
    }

    pub(super) fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}
