//! DataFusion's aggregate functions in pipelines, for those that the pipeline language lacks.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
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

impl GroupState for State {
    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
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
