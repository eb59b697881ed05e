//! Sums without groups, over sliding windows, and of distinct values.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::Int64Type;
use datafusion::common::hash_utils::RandomState;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{HashMap, Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::wide::{Summand, Target, Wide, merge, minus, plus, sum_array};

/// One exact sum; rows may leave it again.
#[derive(Debug)]
pub(super) struct CheckedRunningSum<S: Summand> {
    target: Target<S>,
    sum: Wide<S::Native>,
    /// Values (or states) in the sum: SUM of none is NULL.
    count: u64,
}

impl<S: Summand> CheckedRunningSum<S> {
    pub(super) fn new(target: Target<S>) -> Self {
        Self { target, sum: Wide::default(), count: 0 }
    }
}

impl<S: Summand> Accumulator for CheckedRunningSum<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = sum_array::<S>(&values[0]);
        merge::<S>(&mut self.sum, sum);
        self.count += count;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = sum_array::<S>(&values[0]);
        minus::<S>(&mut self.sum, sum.low);
        self.sum.carry -= sum.carry;
        self.count -= count;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_primitive::<S::State>().iter().flatten() {
            merge::<S>(&mut self.sum, S::split(state));
            self.count += 1;
        }
        if S::CARRY_COLUMN {
            self.sum.carry += states[1].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let some = self.count > 0;
        let joined = some.then(|| S::join(self.sum));
        let mut state = vec![ScalarValue::new_primitive::<S::State>(joined, &self.target.state_type)?];
        if S::CARRY_COLUMN {
            state.push(ScalarValue::Int64(some.then_some(self.sum.carry)));
        }
        Ok(state)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.count > 0 { Some(self.target.fit(self.sum)?) } else { None };
        ScalarValue::new_primitive::<S>(sum, &self.target.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The exact sum of distinct values, each with how often it is there, so that rows may leave again.
#[derive(Debug)]
pub(super) struct CheckedDistinctSum<S: Summand> {
    target: Target<S>,
    sum: Wide<S::Native>,
    counts: HashMap<S::Native, u64, RandomState>,
}

impl<S: Summand> CheckedDistinctSum<S> {
    pub(super) fn new(target: Target<S>) -> Self {
        Self { target, sum: Wide::default(), counts: HashMap::default() }
    }
}

impl<S: Summand> Accumulator for CheckedDistinctSum<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<S>().iter().flatten() {
            let count = self.counts.entry(value).or_insert(0);
            if *count == 0 {
                plus::<S>(&mut self.sum, value);
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<S>().iter().flatten() {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                minus::<S>(&mut self.sum, value);
                self.counts.remove(&value);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<S>::from_iter_values(self.counts.keys().copied());
        let values = values.with_data_type(self.target.data_type.clone());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.counts.is_empty() { None } else { Some(self.target.fit(self.sum)?) };
        ScalarValue::new_primitive::<S>(sum, &self.target.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(S::Native, u64)>()
    }
}
