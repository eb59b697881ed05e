//! What a device is told of an aggregation that it does in part: groups of some rows, which come back as states.

use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::Chunk;

use super::LocalAggregate;
use super::groups::Load;
use super::plan::{Plan, StateKind};
use crate::pipeline::ir::{AggregateMode, AggregateSpec};

/// The groups that are wanted of each row: those with states, then those of each set of different values. Columns are places in the input,
/// with their logical types.
#[derive(Clone, Debug)]
pub(crate) struct GroupsWanted {
    pub keys: Vec<(usize, DataType)>,
    /// How the aggregation takes them.
    pub load: Load,
    /// How many of the keys are values of a set, the last ones: a row where one of them is NULL is in no group.
    pub values: usize,
    /// Rows that are in groups; all if there is none.
    pub filter: Option<usize>,
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

/// What groups of rows of these logical types are as states and members of sets; or why a device cannot tell them.
pub(crate) fn groups_wanted(
    spec: &AggregateSpec,
    input: &[DataType],
) -> std::result::Result<Vec<GroupsWanted>, String> {
    let plan = Plan::new(spec, input).map_err(|error| error.to_string())?;
    if plan.mode == AggregateMode::Final {
        return Err("states of groups".into());
    }
    let input = |place: usize| (plan.used[place], plan.input_types[place].clone());
    let states = plan.states.iter().filter(|state| state.set.is_none()).map(|state| {
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
    let states = states.collect::<std::result::Result<Vec<_>, String>>()?;
    let keys = plan.keys.iter().map(|&place| input(place)).collect::<Vec<_>>();
    let sets = plan.sets.iter().enumerate().map(|(number, set)| GroupsWanted {
        keys: keys.iter().cloned().chain(set.arguments.iter().map(|(place, _)| input(*place))).collect(),
        load: Load::Set(number),
        values: set.arguments.len(),
        filter: set.filter.map(|filter| plan.used[filter]),
        states: Vec::new(),
    });
    let mut wanted = sets.collect::<Vec<_>>();
    // One group of all rows is there without being told.
    if !keys.is_empty() || !states.is_empty() || wanted.is_empty() {
        wanted.insert(0, GroupsWanted { keys, load: Load::States, values: 0, filter: None, states });
    }
    Ok(wanted)
}

impl LocalAggregate {
    /// Takes groups: keys, then a column for each state that is wanted.
    ///
    /// The values of a set are keys of theirs, different within a batch.
    ///
    /// # Errors
    /// As [`LocalAggregate::consume`].
    pub(crate) fn consume_groups(&mut self, load: Load, chunk: &Chunk) -> Result<()> {
        self.shared.resources.cancel.check()?;
        self.collector.push(load, chunk)
    }
}
