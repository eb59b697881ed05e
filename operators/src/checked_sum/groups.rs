//! Sums by group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use super::wide::{Summand, Target, Wide};

/// One exact sum a group.
pub(super) struct CheckedGroups<S: Summand> {
    target: Target<S>,
    lows: Vec<S::Native>,
    carries: Carries,
    /// Which groups have seen a value.
    seen: NullState,
}

/// How often the sum of each group wrapped; groups past the end never did.
#[derive(Default)]
struct Carries(Vec<i64>);

impl Carries {
    #[cold]
    fn add(&mut self, group: usize, carry: i64) {
        if self.0.len() <= group {
            self.0.resize(group + 1, 0);
        }
        self.0[group] += carry;
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<i64> {
        match emit_to {
            EmitTo::First(groups) if groups < self.0.len() => emit_to.take_needed(&mut self.0),
            _ => std::mem::take(&mut self.0),
        }
    }
}

impl<S: Summand> CheckedGroups<S> {
    pub(super) fn new(target: Target<S>) -> Self {
        Self { target, lows: Vec::new(), carries: Carries::default(), seen: NullState::new() }
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<S::Native>, Vec<i64>, Option<NullBuffer>) {
        (emit_to.take_needed(&mut self.lows), self.carries.take(emit_to), self.seen.build(emit_to))
    }
}

impl<S: Summand> GroupsAccumulator for CheckedGroups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        let Self { lows, carries, seen, .. } = self;
        lows.resize(groups, S::Native::default());
        seen.accumulate(group_indices, values[0].as_primitive::<S>(), filter, groups, |group, value| {
            let (low, carry) = S::add(lows[group], value);
            lows[group] = low;
            if carry != 0 {
                carries.add(group, carry);
            }
        });
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        let Self { lows, carries, seen, .. } = self;
        lows.resize(groups, S::Native::default());
        seen.accumulate(group_indices, states[0].as_primitive::<S::State>(), None, groups, |group, state| {
            let other = S::split(state);
            let (low, carry) = S::add(lows[group], other.low);
            lows[group] = low;
            if carry + other.carry != 0 {
                carries.add(group, carry + other.carry);
            }
        });
        if S::CARRY_COLUMN {
            seen.accumulate(group_indices, states[1].as_primitive::<Int64Type>(), None, groups, |group, carry| {
                if carry != 0 {
                    carries.add(group, carry);
                }
            });
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (lows, carries, nulls) = self.take(emit_to);
        // Groups without a value have the sum 0, which fits.
        for (&low, &carry) in lows.iter().zip(carries.iter().chain(std::iter::repeat(&0))) {
            self.target.fit(Wide { low, carry })?;
        }
        Ok(Arc::new(PrimitiveArray::<S>::new(lows.into(), nulls).with_data_type(self.target.data_type.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (lows, carries, nulls) = self.take(emit_to);
        Ok(self.target.state_arrays(&lows, &carries, nulls))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<S>();
        let passed = filter.map(|filter| match filter.nulls() {
            Some(known) => NullBuffer::new(known.inner() & filter.values()),
            None => NullBuffer::new(filter.values().clone()),
        });
        let nulls = NullBuffer::union(values.nulls(), passed.as_ref());
        Ok(self.target.state_arrays(values.values(), &[], nulls))
    }

    fn size(&self) -> usize {
        self.lows.capacity() * size_of::<S::Native>() + self.carries.0.capacity() * size_of::<i64>() + self.seen.size()
    }
}
