//! Which groups have seen a value.

use arrow::buffer::NullBuffer;

use super::Groups;

/// Bits of groups, kept only once a group exists that has seen nothing: without NULLs and filters none does.
#[derive(Default)]
pub(super) struct Seen {
    bits: Option<Vec<bool>>,
}

impl Seen {
    /// From `known` to `total` groups by groups that have seen nothing.
    pub(super) fn grow(&mut self, known: usize, total: usize) {
        if total > known {
            self.bits.get_or_insert_with(|| vec![true; known]).resize(total, false);
        }
    }

    /// Notes a chunk; `known` groups were there before it. Without `valid` all of its groups see something, so those
    /// that are new with it do.
    pub(super) fn mark(&mut self, known: usize, valid: Option<&NullBuffer>, groups: &Groups<'_>) {
        if self.bits.is_none() && valid.is_none() {
            return;
        }
        let bits = self.bits.get_or_insert_with(|| vec![true; known]);
        bits.resize(groups.total, false);
        match valid {
            Some(valid) => valid.valid_indices().for_each(|row| bits[groups.of(row)] = true),
            None => (0..groups.rows).for_each(|row| bits[groups.of(row)] = true),
        }
    }

    /// The NULLs of a state; nothing is left.
    pub(super) fn take(&mut self) -> Option<NullBuffer> {
        self.bits.take().map(NullBuffer::from).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bits.as_ref().map_or(0, Vec::capacity)
    }
}
