//! DataFusion's aggregate functions in pipelines, for those that the pipeline language lacks.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::errors::from_datafusion;
use crate::pipeline::ir::{GroupFunction, GroupState};

/// An aggregate function that keeps the states of many groups.
pub struct DataFusionGroups {
    call: Arc<AggregateFunctionExpr>,
    states: Vec<DataType>,
}

impl DataFusionGroups {
    /// The function, if it can keep the states of many groups.
    pub fn new(call: &AggregateFunctionExpr) -> Option<Self> {
        if !call.groups_accumulator_supported() {
            return None;
        }
        let states = call.state_fields().ok()?.iter().map(|field| field.data_type().clone()).collect();
        Some(Self { call: Arc::new(call.clone()), states })
    }
}

impl fmt::Debug for DataFusionGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call.name())
    }
}

impl GroupFunction for DataFusionGroups {
    fn describe(&self) -> String {
        self.call.fun().name().to_owned()
    }

    fn state(&self) -> Result<Box<dyn GroupState>> {
        Ok(Box::new(State(self.call.create_groups_accumulator().map_err(from_datafusion)?)))
    }

    fn state_types(&self) -> Vec<DataType> {
        self.states.clone()
    }
}

struct State(Box<dyn GroupsAccumulator>);

impl State {
    /// Groups without a row. DataFusion never makes one this way, and some of its accumulators take such groups for ones that
    /// have values; a row that the filter drops tells them.
    fn make_empty_groups(&mut self, arguments: &[ArrayRef], total: usize) -> Result<()> {
        if total == 0 {
            return Ok(());
        }
        let row = arguments.iter().map(|argument| new_null_array(argument.data_type(), 1)).collect::<Vec<_>>();
        let dropped = BooleanArray::from(vec![false]);
        self.0.update_batch(&row, &[total - 1], Some(&dropped), total).map_err(from_datafusion)
    }
}

impl GroupState for State {
    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        if groups.is_empty() {
            return self.make_empty_groups(arguments, total);
        }
        self.0.update_batch(arguments, groups, filter, total).map_err(from_datafusion)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.merge_batch(states, groups, total).map_err(from_datafusion)
    }

    fn take_states(&mut self) -> Result<Vec<ArrayRef>> {
        self.0.state(EmitTo::All).map_err(from_datafusion)
    }

    fn take_results(&mut self) -> Result<ArrayRef> {
        self.0.evaluate(EmitTo::All).map_err(from_datafusion)
    }

    fn bytes(&self) -> usize {
        self.0.size()
    }
}
