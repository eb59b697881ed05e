//! What is known of each group, a column for each thing.
//!
//! A [`State`] holds one value of all groups and takes rows as (group, value) pairs, a chunk at a time; the loops are
//! monomorphised by type and by how many groups there are:
//!
//! | groups | how |
//! |---|---|
//! | 1 | a reduction, vectorised |
//! | up to 64 | four small arrays in turn, added at the end: rows of the same group do not wait for each other |
//! | more | one array |

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, new_empty_array};
use arrow::buffer::NullBuffer;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::to_logical;

mod count;
mod exact;
mod extreme;
mod float;
mod seen;

use count::Counts;
use exact::ExactSums;
use extreme::Extreme;
use float::FloatSums;

use super::plan::{StateKind, StateSpec};
use crate::pipeline::ir::GroupState;

/// Groups up to which small arrays are used.
pub(super) const FEW: usize = 64;

/// The groups of a chunk's rows.
pub(super) struct Groups<'a> {
    /// One a row; empty if there is one group only.
    pub(super) ids: &'a [u32],
    pub(super) rows: usize,
    /// How many groups there are.
    pub(super) total: usize,
    counts: OnceCell<Vec<i64>>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(ids: &'a [u32], rows: usize, total: usize) -> Self {
        Self { ids, rows, total, counts: OnceCell::new() }
    }

    fn is_one(&self) -> bool {
        self.total == 1
    }

    fn are_few(&self) -> bool {
        self.total <= FEW
    }

    /// The group of a row.
    #[inline(always)]
    fn of(&self, row: usize) -> usize {
        if self.total == 1 { 0 } else { self.ids[row] as usize }
    }

    /// Rows of each group, if they are few; worked out once for all that count.
    fn counts(&self) -> &[i64] {
        self.counts.get_or_init(|| {
            if self.is_one() {
                return vec![self.rows as i64];
            }
            let mut lanes = [[0_i64; FEW]; 4];
            let (quads, rest) = self.ids.as_chunks::<4>();
            for quad in quads {
                for lane in 0..4 {
                    lanes[lane][quad[lane] as usize % FEW] += 1;
                }
            }
            for &group in rest {
                lanes[0][group as usize % FEW] += 1;
            }
            (0..self.total).map(|group| lanes.iter().map(|lane| lane[group]).sum()).collect()
        })
    }
}

/// One thing that is known of all groups.
pub(super) enum State {
    Count(Counts),
    Exact(ExactSums),
    Float(FloatSums),
    Extreme(Box<dyn Extreme>),
    Other {
        state: Box<dyn GroupState>,
        groups: Vec<usize>,
    },
    /// Worked out from a set of different values, in that state.
    Distinct(Box<State>),
}

impl State {
    /// # Errors
    /// There is no such function of these types.
    pub(super) fn new(spec: &StateSpec) -> Result<Self> {
        let state = match &spec.kind {
            StateKind::Count => Self::Count(Counts::default()),
            StateKind::Exact => Self::Exact(ExactSums::default()),
            StateKind::Float => Self::Float(FloatSums::default()),
            StateKind::Extreme { largest, data_type } => Self::Extreme(extreme::new(data_type, *largest)?),
            StateKind::Other(function) => Self::Other { state: function.state()?, groups: Vec::new() },
        };
        Ok(if spec.set.is_some() { Self::Distinct(Box::new(state)) } else { state })
    }

    /// Makes room for so many groups; new ones have seen nothing.
    pub(super) fn grow(&mut self, total: usize) {
        match self {
            Self::Count(counts) => counts.grow(total),
            Self::Exact(sums) => sums.grow(total),
            Self::Float(sums) => sums.grow(total),
            Self::Extreme(extreme) => extreme.grow(total),
            Self::Other { .. } => {}
            Self::Distinct(state) => state.grow(total),
        }
    }

    /// Takes rows; those that are not valid do not count.
    ///
    /// # Errors
    /// An argument came in a form that it must not have; another function fails.
    pub(super) fn update(
        &mut self,
        spec: &StateSpec,
        arguments: &[ArrayRef],
        valid: Option<&NullBuffer>,
        groups: &Groups<'_>,
    ) -> Result<()> {
        match (self, arguments) {
            (Self::Count(counts), _) => counts.update(valid, groups),
            (Self::Exact(sums), [values]) => sums.update(values, valid, groups)?,
            (Self::Float(sums), [values]) => sums.update(values, valid, groups)?,
            (Self::Extreme(extreme), [values]) => extreme.update(values, valid, groups)?,
            (Self::Distinct(state), _) => state.update(spec, arguments, valid, groups)?,
            (Self::Other { state, groups: ids }, _) => {
                let logical =
                    arguments.iter().zip(&spec.arguments).map(|(array, (_, wanted))| to_logical(array, wanted));
                let filter = valid.map(|valid| BooleanArray::new(valid.inner().clone(), None));
                state.update(
                    &logical.collect::<Result<Vec<_>>>()?,
                    rows(groups, ids),
                    filter.as_ref(),
                    groups.total,
                )?;
            }
            _ => return Err(Error::internal("an aggregate function without its argument")),
        }
        Ok(())
    }

    /// Takes states that [`State::take`] gave.
    ///
    /// # Errors
    /// A state came in a form that it must not have; another function fails.
    pub(super) fn merge(&mut self, spec: &StateSpec, states: &[ArrayRef], groups: &Groups<'_>) -> Result<()> {
        match (self, states) {
            (Self::Count(counts), [state]) => counts.merge(state, groups)?,
            (Self::Exact(sums), [state]) => sums.update(state, valid(state).as_ref(), groups)?,
            (Self::Float(sums), [state]) => sums.update(state, valid(state).as_ref(), groups)?,
            (Self::Extreme(extreme), [state]) => extreme.update(state, valid(state).as_ref(), groups)?,
            (Self::Other { state, groups: ids }, states) => {
                let logical = states.iter().zip(&spec.state_types).map(|(array, wanted)| to_logical(array, wanted));
                state.merge(&logical.collect::<Result<Vec<_>>>()?, rows(groups, ids), groups.total)?;
            }
            _ => return Err(Error::internal("an aggregate function without its state")),
        }
        Ok(())
    }

    /// The states of all groups, in columns; nothing is left. A count has no NULLs; what else has seen nothing is NULL.
    ///
    /// # Errors
    /// Another function fails.
    pub(super) fn take(&mut self, spec: &StateSpec, total: usize, results: bool) -> Result<Vec<ArrayRef>> {
        self.grow(total);
        Ok(match self {
            Self::Count(counts) => vec![Arc::new(Int64Array::from(counts.take()))],
            Self::Exact(sums) => vec![sums.take()],
            Self::Float(sums) => vec![sums.take()],
            Self::Extreme(extreme) => vec![extreme.take()?],
            Self::Distinct(state) => return state.take(spec, total, results),
            Self::Other { state, .. } => {
                // It may have met no row of the last groups: it is told of them.
                let none = spec.arguments.iter().map(|(_, data_type)| new_empty_array(data_type)).collect::<Vec<_>>();
                state.update(&none, &[], None, total)?;
                if results { vec![state.take_results()?] } else { state.take_states()? }
            }
        })
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Count(counts) => counts.bytes(),
            Self::Exact(sums) => sums.bytes(),
            Self::Float(sums) => sums.bytes(),
            Self::Extreme(extreme) => extreme.bytes(),
            Self::Other { state, .. } => state.bytes(),
            Self::Distinct(state) => state.bytes(),
        }
    }
}

fn rows<'a>(groups: &Groups<'_>, ids: &'a mut Vec<usize>) -> &'a [usize] {
    ids.clear();
    ids.extend((0..groups.rows).map(|row| groups.of(row)));
    ids
}

/// Which values are not NULL, if any is.
pub(super) fn valid(array: &ArrayRef) -> Option<NullBuffer> {
    array.nulls().filter(|nulls| nulls.null_count() > 0).cloned()
}
