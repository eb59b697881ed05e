//! What a device is told of an aggregation that it does in part: groups of some rows, which come back as states.

use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::Chunk;

use super::LocalAggregate;
use super::groups::Load;
use super::plan::{Plan, StateKind};
use crate::pipeline::ir::{AggregateMode, AggregateSpec};

/// The groups that are wanted. Columns are places in the input, with their logical types.
#[derive(Clone, Debug)]
pub(crate) struct GroupsWanted {
    pub keys: Vec<(usize, DataType)>,
    pub states: Vec<StateWanted>,
}

/// A state of each group.
#[derive(Clone, Debug)]
pub(crate) struct StateWanted {
    pub fold: Fold,
    pub arguments: Vec<(usize, DataType)>,
    pub filter: Option<usize>,
}

/// What a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Rows where no argument is NULL.
    Count,
    /// An exact sum of integers: `Decimal256` with any label, NULL if nothing counts.
    Exact,
    /// A sum of floats: `Float64`, NULL if nothing counts.
    Float,
    /// In the argument's carried form, NULL if nothing counts.
    Extreme {
        /// Or the smallest value.
        largest: bool,
    },
}

/// What groups of rows of these logical types are as states; or why a device cannot tell them.
pub(crate) fn groups_wanted(spec: &AggregateSpec, input: &[DataType]) -> std::result::Result<GroupsWanted, String> {
    let plan = Plan::new(spec, input).map_err(|error| error.to_string())?;
    if plan.mode == AggregateMode::Final {
        return Err("states of groups".into());
    }
    if !plan.sets.is_empty() {
        return Err("different values".into());
    }
    let input = |place: usize| (plan.used[place], plan.input_types[place].clone());
    let states = plan.states.iter().map(|state| {
        let fold = match &state.kind {
            StateKind::Count => Fold::Count,
            StateKind::Exact => Fold::Exact,
            StateKind::Float => Fold::Float,
            StateKind::Extreme { largest, .. } => Fold::Extreme { largest: *largest },
            StateKind::Other(function) => return Err(format!("the aggregate function {}", function.describe())),
        };
        let arguments = state.arguments.iter().map(|(place, _)| input(*place)).collect();
        Ok(StateWanted { fold, arguments, filter: state.filter.map(|filter| plan.used[filter]) })
    });
    let states = states.collect::<std::result::Result<_, String>>()?;
    Ok(GroupsWanted { keys: plan.keys.iter().map(|&place| input(place)).collect(), states })
}

impl LocalAggregate {
    /// Takes groups: keys, then a column for each state that is wanted.
    ///
    /// # Errors
    /// As [`LocalAggregate::consume`].
    pub(crate) fn consume_groups(&mut self, chunk: &Chunk) -> Result<()> {
        self.shared.resources.cancel.check()?;
        self.collector.push(Load::States, chunk)
    }
}
