//! What an [`AggregateSpec`] asks for, taken apart.
//!
//! Calls are made of *states*, and calls that need the same state share it:
//!
//! ```text
//!   sum(x), avg(x), count(x), count(*), count(distinct y)
//!     states: 0: exact sum of x   1: count of x   2: count   3: count, over the set 0
//!     sets:   0: different (group, y)
//! ```
//!
//! Of the input only the columns that are used are kept; the plan counts in those.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::column::Kind;
use crate::pipeline::ir::{AggregateCall, AggregateFunction, AggregateMode, AggregateSpec, GroupFunction};

/// One thing to know of each group.
#[derive(Clone, Debug)]
pub(super) struct StateSpec {
    pub(super) kind: StateKind,
    /// With their logical types; columns of the projected input.
    pub(super) arguments: Vec<(usize, DataType)>,
    pub(super) filter: Option<usize>,
    /// The set of different values that it is worked out from.
    pub(super) set: Option<usize>,
    /// The logical types of its columns between partial and final.
    pub(super) state_types: Vec<DataType>,
    /// Where its columns stand in the projected input, if that holds states.
    pub(super) input: Vec<usize>,
    /// Where its columns stand among the columns of states that [`super::groups`] gives.
    pub(super) output: usize,
}

/// What it is.
#[derive(Clone, Debug)]
pub(super) enum StateKind {
    Count,
    /// A sum of integers, decimals, durations.
    Exact,
    /// A sum of floats.
    Float,
    Extreme {
        largest: bool,
        data_type: DataType,
    },
    Other(Arc<dyn GroupFunction>),
}

/// Different values of some columns in each group.
#[derive(Clone, Debug)]
pub(super) struct SetSpec {
    pub(super) arguments: Vec<(usize, DataType)>,
    pub(super) filter: Option<usize>,
}

/// How the result of a call comes from states.
#[derive(Clone, Debug)]
pub(super) struct CallPlan {
    pub(super) call: AggregateCall,
    pub(super) states: Vec<usize>,
}

/// Everything that is known before the first row.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mode: AggregateMode,
    /// Columns of the input that matter.
    pub(super) used: Vec<usize>,
    /// Their logical types.
    pub(super) input_types: Vec<DataType>,
    /// Key columns among them.
    pub(super) keys: Vec<usize>,
    pub(super) key_types: Vec<DataType>,
    pub(super) states: Vec<StateSpec>,
    pub(super) sets: Vec<SetSpec>,
    pub(super) calls: Vec<CallPlan>,
    pub(super) limit: Option<usize>,
}

impl Plan {
    /// # Errors
    /// The specification is not sound, or asks for what is not done here.
    pub(super) fn new(spec: &AggregateSpec, input: &[DataType]) -> Result<Self> {
        let mut plan = Self {
            mode: spec.mode,
            used: Vec::new(),
            input_types: Vec::new(),
            keys: Vec::new(),
            key_types: Vec::new(),
            states: Vec::new(),
            sets: Vec::new(),
            calls: Vec::new(),
            limit: spec.limit,
        };
        for &key in &spec.keys {
            let place = plan.column(key, input)?;
            plan.keys.push(place);
            plan.key_types.push(plan.input_types[place].clone());
            Kind::of(&plan.input_types[place])?;
        }
        let mut next = spec.keys.len();
        for call in &spec.calls {
            let columns = call.state_types().len();
            plan.call(call, next..next + columns, input)?;
            next += columns;
        }
        let mut output = 0;
        for state in &mut plan.states {
            state.output = output;
            output += if state.set.is_some() { 0 } else { state.state_types.len() };
        }
        Ok(plan)
    }

    /// The place of an input column among those that are used.
    fn column(&mut self, column: usize, input: &[DataType]) -> Result<usize> {
        if let Some(place) = self.used.iter().position(|&used| used == column) {
            return Ok(place);
        }
        let Some(data_type) = input.get(column) else {
            return Err(Error::internal(format!("an aggregate of column {column} of {}", input.len())));
        };
        self.used.push(column);
        self.input_types.push(data_type.clone());
        Ok(self.used.len() - 1)
    }

    fn call(&mut self, call: &AggregateCall, states: std::ops::Range<usize>, input: &[DataType]) -> Result<()> {
        if call.distinct && self.mode != AggregateMode::Single {
            return Err(Error::internal("a DISTINCT aggregate must be done in one piece"));
        }
        let state_types = call.state_types();
        let mut parts = Vec::new();
        match &call.function {
            AggregateFunction::Count => parts.push((StateKind::Count, 0..1)),
            AggregateFunction::Sum => parts.push((sum(call)?, 0..1)),
            AggregateFunction::Avg => parts.extend([(sum(call)?, 0..1), (StateKind::Count, 1..2)]),
            AggregateFunction::Min | AggregateFunction::Max => {
                let largest = matches!(call.function, AggregateFunction::Max);
                parts.push((StateKind::Extreme { largest, data_type: call.data_type.clone() }, 0..1));
            }
            AggregateFunction::Other(function) => {
                parts.push((StateKind::Other(Arc::clone(function)), 0..state_types.len()));
            }
        }
        // Extremes of different values are those of all.
        let distinct = call.distinct && !matches!(parts.as_slice(), [(StateKind::Extreme { .. }, _)]);
        let other = matches!(call.function, AggregateFunction::Other(_));
        if distinct && (other || call.arguments.is_empty()) {
            return Err(Error::unsupported(format!("{call}: DISTINCT of this function")));
        }
        let takes_states = self.mode == AggregateMode::Final;
        let (mut arguments, mut filter) = (call.arguments.clone(), call.filter);
        if !takes_states {
            for (column, data_type) in &mut arguments {
                *column = self.column(*column, input)?;
                *data_type = self.input_types[*column].clone();
            }
            filter = filter.map(|filter| self.column(filter, input)).transpose()?;
        }
        let set = if distinct { Some(self.set(&arguments, filter)?) } else { None };
        let mut indices = Vec::new();
        for (kind, columns) in parts {
            let columns = if takes_states { states.start + columns.start..states.start + columns.end } else { 0..0 };
            let known = self.states.iter().position(|state| {
                same(&state.kind, &kind) && state.filter == filter && state.set == set && state.arguments == arguments
            });
            indices.push(match known {
                Some(known) => known,
                None => {
                    let input = columns.map(|column| self.column(column, input)).collect::<Result<Vec<_>>>()?;
                    let state_types = match &kind {
                        StateKind::Count => vec![DataType::Int64],
                        StateKind::Other(function) => function.state_types(),
                        _ => vec![state_types[0].clone()],
                    };
                    let arguments = arguments.clone();
                    self.states.push(StateSpec { kind, arguments, filter, set, state_types, input, output: 0 });
                    self.states.len() - 1
                }
            });
        }
        self.calls.push(CallPlan { call: call.clone(), states: indices });
        Ok(())
    }

    fn set(&mut self, arguments: &[(usize, DataType)], filter: Option<usize>) -> Result<usize> {
        for (_, data_type) in arguments {
            Kind::of(data_type)?;
        }
        let known = self.sets.iter().position(|set| set.arguments == arguments && set.filter == filter);
        Ok(known.unwrap_or_else(|| {
            self.sets.push(SetSpec { arguments: arguments.to_vec(), filter });
            self.sets.len() - 1
        }))
    }

    /// The logical types of the columns that come out.
    pub(super) fn output_types(&self) -> Vec<DataType> {
        let results = self.calls.iter().flat_map(|plan| match self.mode {
            AggregateMode::Partial => plan.call.state_types(),
            _ => vec![plan.call.data_type.clone()],
        });
        self.key_types.iter().cloned().chain(results).collect()
    }

    /// The columns of rows as they came.
    pub(super) fn rows_schema(&self) -> SchemaRef {
        schema(self.input_types.iter())
    }

    /// The columns of groups with their states: keys, then states.
    pub(super) fn states_schema(&self) -> SchemaRef {
        let states = self.states.iter().filter(|state| state.set.is_none()).flat_map(|state| &state.state_types);
        schema(self.key_types.iter().chain(states))
    }

    /// The columns of a set: keys, then values.
    pub(super) fn set_schema(&self, set: usize) -> SchemaRef {
        schema(self.key_types.iter().chain(self.sets[set].arguments.iter().map(|(_, data_type)| data_type)))
    }
}

/// Columns without names, of the carried types.
fn schema<'a>(types: impl Iterator<Item = &'a DataType>) -> SchemaRef {
    let fields =
        types.enumerate().map(|(place, data_type)| Field::new(place.to_string(), carried_type(data_type), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn sum(call: &AggregateCall) -> Result<StateKind> {
    let Some((_, data_type)) = call.arguments.first() else {
        return Err(Error::internal(format!("{call} has no argument")));
    };
    match carried_type(data_type) {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Ok(StateKind::Float),
        DataType::Duration(_) | DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(StateKind::Exact),
        carried if carried.is_integer() => Ok(StateKind::Exact),
        _ => Err(Error::unsupported(format!("{call} of values of type {data_type}; cast them to a number"))),
    }
}

fn same(a: &StateKind, b: &StateKind) -> bool {
    match (a, b) {
        (StateKind::Count, StateKind::Count)
        | (StateKind::Exact, StateKind::Exact)
        | (StateKind::Float, StateKind::Float) => true,
        (
            StateKind::Extreme { largest: a, data_type: a_type },
            StateKind::Extreme { largest: b, data_type: b_type },
        ) => a == b && a_type == b_type,
        _ => false,
    }
}
