//! The groups of one table with all that is known of them: the tactic of a chunk, without regard to memory.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::Chunk;

use super::keys::Keys;
use super::plan::{Plan, SetSpec, StateKind, StateSpec};
use super::states::{Groups, State};
use crate::pipeline::ir::AggregateMode;

/// What the rows of a chunk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Rows of the input, reduced to the columns that are used.
    Input,
    /// Groups: keys, then states.
    States,
    /// Members of a set: keys, then values that are different within their group, as far as one table knew.
    Set(usize),
}

/// Groups taken out of a table.
pub(super) struct Taken {
    pub(super) groups: usize,
    pub(super) keys: Vec<ArrayRef>,
    /// By state; of states over sets there are columns only if results were asked for.
    pub(super) states: Vec<Vec<ArrayRef>>,
    /// What sets hold, if results were not asked for.
    pub(super) sets: Vec<Chunk>,
}

/// Groups, their states, and the sets of their different values.
pub(super) struct Table {
    /// None: all rows are one group.
    keys: Option<Keys>,
    states: Vec<State>,
    sets: Vec<Keys>,
    /// Scratch: the group of each row; the members of a set.
    groups: Vec<u32>,
    members: Vec<u32>,
}

impl Table {
    /// # Errors
    /// A function is not supported.
    pub(super) fn new(plan: &Plan, hash_mask: u64) -> Result<Self> {
        let keys = match plan.key_types.as_slice() {
            [] => None,
            types => Some(Keys::new(types.to_vec(), hash_mask)?),
        };
        let states = plan.states.iter().map(State::new).collect::<Result<Vec<_>>>()?;
        let sets = plan.sets.iter().map(|set| {
            let group = keys.as_ref().map(|_| DataType::UInt32);
            let types = set.arguments.iter().map(|(_, data_type)| data_type.clone());
            Keys::new(group.into_iter().chain(types).collect(), hash_mask)
        });
        let sets = sets.collect::<Result<Vec<_>>>()?;
        Ok(Self { keys, states, sets, groups: Vec::new(), members: Vec::new() })
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.keys.as_ref().map_or(1, Keys::len)
    }

    /// Groups and members of sets.
    pub(super) fn entries(&self) -> usize {
        self.len() + self.sets.iter().map(Keys::len).sum::<usize>()
    }

    pub(super) fn bytes(&self) -> usize {
        let keys = self.keys.iter().chain(&self.sets).map(Keys::bytes).sum::<usize>();
        keys + self.states.iter().map(State::bytes).sum::<usize>()
    }

    /// Bytes of these that do not grow with the groups' values.
    pub(super) fn cache_bytes(&self) -> usize {
        self.keys.iter().chain(&self.sets).map(Keys::cache_bytes).sum()
    }

    /// Takes the rows of a chunk.
    ///
    /// # Errors
    /// A column came in a form that it must not have; a function fails.
    pub(super) fn push(&mut self, plan: &Plan, load: Load, chunk: &Chunk) -> Result<()> {
        let before = self.len();
        let mut ids = std::mem::take(&mut self.groups);
        ids.clear();
        if let Some(keys) = &mut self.keys {
            let places = match load {
                Load::Input => plan.keys.clone(),
                Load::States | Load::Set(_) => (0..plan.keys.len()).collect(),
            };
            let columns = places.iter().map(|&place| chunk.columns[place].clone()).collect::<Vec<_>>();
            keys.assign(&columns, chunk.rows, &mut ids)?;
        }
        let groups = Groups::new(&ids, chunk.rows, self.len());
        let done = match load {
            Load::Input if plan.mode == AggregateMode::Final => {
                self.merge(plan, chunk, before, &groups, |state| state.input.clone())
            }
            Load::States => self.merge(plan, chunk, before, &groups, |state| {
                let first = plan.keys.len() + state.output;
                (first..first + state.state_types.len()).collect()
            }),
            Load::Input => self.update(plan, chunk, before, &groups),
            Load::Set(set) => self.insert(plan, set, &chunk.columns[plan.keys.len()..], &groups),
        };
        self.groups = ids;
        done
    }

    fn merge(
        &mut self,
        plan: &Plan,
        chunk: &Chunk,
        before: usize,
        groups: &Groups<'_>,
        columns: impl Fn(&StateSpec) -> Vec<usize>,
    ) -> Result<()> {
        for (state, spec) in self.states.iter_mut().zip(&plan.states).filter(|(_, spec)| spec.set.is_none()) {
            state.grow(before);
            let states = columns(spec).into_iter().map(|place| chunk.columns[place].clone()).collect::<Vec<_>>();
            state.merge(spec, &states, groups)?;
        }
        Ok(())
    }

    fn update(&mut self, plan: &Plan, chunk: &Chunk, before: usize, groups: &Groups<'_>) -> Result<()> {
        for (state, spec) in self.states.iter_mut().zip(&plan.states).filter(|(_, spec)| spec.set.is_none()) {
            state.grow(before);
            let arguments = columns(chunk, &spec.arguments);
            let looked_at: &[ArrayRef] = if matches!(spec.kind, StateKind::Other(_)) { &[] } else { &arguments };
            let valid = valid_rows(chunk, looked_at, spec.filter)?;
            state.update(spec, &arguments, valid.as_ref(), groups)?;
        }
        for (place, set) in plan.sets.iter().enumerate() {
            let SetSpec { arguments, filter: condition } = set;
            let mut arguments = columns(chunk, arguments);
            let valid = valid_rows(chunk, &arguments, *condition)?;
            let Some(valid) = valid else {
                self.insert(plan, place, &arguments, groups)?;
                continue;
            };
            let wanted = BooleanArray::new(valid.inner().clone(), None);
            for argument in &mut arguments {
                *argument = filter(argument, &wanted)?;
            }
            let ids = if groups.ids.is_empty() {
                Vec::new()
            } else {
                valid.valid_indices().map(|row| groups.ids[row]).collect()
            };
            let rows = valid.len() - valid.null_count();
            self.insert(plan, place, &arguments, &Groups::new(&ids, rows, groups.total))?;
        }
        Ok(())
    }

    /// Puts values into a set, and those that were not there into the states over it.
    fn insert(&mut self, plan: &Plan, set: usize, values: &[ArrayRef], groups: &Groups<'_>) -> Result<()> {
        let members = &mut self.sets[set];
        let mut next = members.len() as u32;
        let group = self.keys.as_ref().map(|_| std::sync::Arc::new(UInt32Array::from(groups.ids.to_vec())) as ArrayRef);
        let columns = group.into_iter().chain(values.iter().cloned()).collect::<Vec<_>>();
        members.assign(&columns, groups.rows, &mut self.members)?;
        // Members are numbered in the order of their first rows.
        let mut new = Vec::new();
        for (row, &member) in self.members.iter().enumerate() {
            if member == next {
                new.push(row as u32);
                next += 1;
            }
        }
        let new = UInt32Array::from(new);
        let ids = if self.keys.is_some() {
            new.values().iter().map(|&row| groups.ids[row as usize]).collect()
        } else {
            Vec::new()
        };
        let values = values.iter().map(|values| take(values, &new, None)).collect::<Result<Vec<_>, _>>()?;
        let groups = Groups::new(&ids, new.len(), groups.total);
        for (state, spec) in self.states.iter_mut().zip(&plan.states).filter(|(_, spec)| spec.set == Some(set)) {
            state.grow(groups.total);
            state.update(spec, &values, None, &groups)?;
        }
        Ok(())
    }

    /// Takes all groups out: as results (of other functions; what others become is for the caller to say), or as
    /// states and sets.
    ///
    /// # Errors
    /// A function fails.
    pub(super) fn take(&mut self, plan: &Plan, results: bool) -> Result<Taken> {
        let groups = self.len();
        let keys = self.keys.as_mut().map_or(Ok(Vec::new()), Keys::take)?;
        let mut states = Vec::with_capacity(self.states.len());
        for (state, spec) in self.states.iter_mut().zip(&plan.states) {
            states.push(state.take(spec, groups, results)?);
        }
        let mut sets = Vec::new();
        for set in &mut self.sets {
            let rows = set.len();
            let mut members = set.take()?;
            if results {
                continue;
            }
            if self.keys.is_some() {
                let group = members.remove(0);
                let group =
                    group.as_primitive_opt::<UInt32Type>().ok_or_else(|| Error::internal("a set lost its groups"))?;
                let keys = keys.iter().map(|key| take(key, group, None)).collect::<Result<Vec<_>, _>>()?;
                members = keys.into_iter().chain(members).collect();
            }
            sets.push(Chunk::new(members, rows));
        }
        Ok(Taken { groups, keys, states, sets })
    }
}

impl Taken {
    /// All groups as one chunk of [`Load::States`].
    pub(super) fn states(&self, plan: &Plan) -> Chunk {
        let states = self.states.iter().zip(&plan.states).filter(|(_, spec)| spec.set.is_none());
        let columns = self.keys.iter().chain(states.flat_map(|(columns, _)| columns)).cloned().collect();
        Chunk::new(columns, self.groups)
    }
}

fn columns(chunk: &Chunk, arguments: &[(usize, DataType)]) -> Vec<ArrayRef> {
    arguments.iter().map(|(place, _)| chunk.columns[*place].clone()).collect()
}

/// Rows where the filter is true and no argument is NULL; none if these are all.
fn valid_rows(chunk: &Chunk, arguments: &[ArrayRef], filter: Option<usize>) -> Result<Option<NullBuffer>> {
    let mut valid = None;
    if let Some(place) = filter {
        let Some(filter) = chunk.columns[place].as_boolean_opt() else {
            return Err(Error::internal("the filter of an aggregate is not boolean"));
        };
        let wanted = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        valid = Some(NullBuffer::new(wanted));
    }
    for argument in arguments {
        valid = NullBuffer::union(valid.as_ref(), argument.logical_nulls().as_ref());
    }
    Ok(valid.filter(|valid| valid.null_count() > 0))
}
