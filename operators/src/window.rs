//! Window functions over rows that come sorted by their partition's columns, then by the order within it.
//!
//! Rows come chunk by chunk, and are kept until all is known that their results depend on; then each call computes a column
//! for all of them, with plain loops over *partitions* and *peers* (rows of a partition that are equal in the order's
//! columns):
//!
//! ```text
//!   partition  order   row_number  rank  sum(order) rows   … range     … whole partition
//!   ┌ a        ┌ 1     1           1     1                  1           7
//!   │          ├ 3     2           2     4                  7           7
//!   └          └ 3     3           2     7                  7           7
//!   ┌ b        ─ 9     1           1     9                  9           9
//! ```
//!
//! Most calls depend on nothing that comes after a row's last peer, and their [`State`] after a row is small: if all calls
//! are such, rows go on as soon as their peers are complete (or at once, if peers do not matter either), so that a table
//! without partitions needs no memory to be numbered. Others (a whole partition's sum, `lead`, `ntile`, …) keep the partition.
//!
//! Cost: a compare of each row with the one before it, and a step for each row and call. Memory: the rows of the peers or
//! partitions that a chunk touches, so at least the largest; it is taken from the budget, and there is no way to spill it.
//!
//! Columns are compared as they are sorted: NULLs are equal to each other, and -0.0 is another value than 0.0, since
//! rows that are equal must be neighbours.

mod aggregate;
mod bounds;
mod cursor;
mod partitions;
mod rank;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, carried_type, to_carried, to_logical};

use self::bounds::{Bounds, State};
pub use self::cursor::WindowCursor;
pub use self::partitions::PartitionScan;
use crate::pipeline::Resources;
use crate::pipeline::ir::{WindowCall, WindowFrame, WindowFunction, WindowSpec};

/// Computes window functions.
#[derive(Debug)]
pub struct Windows {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    spec: WindowSpec,
    input: Vec<DataType>,
    unit: Unit,
    resources: Resources,
}

/// What must be complete before the results of its rows are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Row,
    Peers,
    Partition,
}

/// Rows of whole units.
struct Part<'a> {
    plan: &'a Plan,
    /// The columns that a call reads, each in the plainest form of its type.
    columns: &'a [Option<ArrayRef>],
    bounds: &'a Bounds,
}

impl Windows {
    /// Window functions over rows with columns of these logical types.
    ///
    /// # Errors
    /// A call reads a column that is not there, or has a result of a type that it cannot have.
    pub fn new(spec: WindowSpec, input: Vec<DataType>, resources: Resources) -> Result<Self> {
        let unit = spec.calls.iter().map(Unit::of).max().unwrap_or(Unit::Row);
        let plan = Plan { spec, input, unit, resources };
        if let Some(column) = plan.columns_read().into_iter().find(|&column| column >= plan.input.len()) {
            return Err(Error::internal(format!("a window over column {column} of {}", plan.input.len())));
        }
        for call in &plan.spec.calls {
            plan.check(call)?;
        }
        Ok(Self { plan: Arc::new(plan) })
    }

    /// What takes sorted rows, and gives them back with one column more for each call.
    pub fn cursor(&self) -> WindowCursor {
        WindowCursor::new(Arc::clone(&self.plan))
    }
}

impl WindowFunction {
    /// Whether it is computed here, of a column of this logical type and with a result of that one.
    pub fn supports(&self, argument: Option<&DataType>, result: &DataType) -> bool {
        use WindowFunction::{
            Avg, Count, CumeDist, DenseRank, FirstValue, Lag, LastValue, Lead, Max, Min, Ntile, PercentRank, Rank,
            RowNumber, Sum,
        };
        match self {
            RowNumber | Rank | DenseRank | Ntile(_) | Count(_) => matches!(result, DataType::Int64 | DataType::UInt64),
            PercentRank | CumeDist => *result == DataType::Float64,
            Sum(_) | Avg(_) => argument.is_some_and(|argument| aggregate::can_sum(argument, result)),
            Lag(..) | Lead(..) | FirstValue(_) | LastValue(_) | Min(_) | Max(_) => {
                argument.is_some_and(|argument| carried_type(argument) == carried_type(result))
            }
        }
    }
}

impl Unit {
    fn of(call: &WindowCall) -> Self {
        use WindowFunction::{
            Avg, Count, CumeDist, DenseRank, FirstValue, Lag, LastValue, Lead, Max, Min, Ntile, PercentRank, Rank,
            RowNumber, Sum,
        };
        match (&call.function, call.frame) {
            (RowNumber | FirstValue(_), _) => Unit::Row,
            // So many rows are kept as the state.
            (Lag(_, back, _), _) if (0..=CHUNK_ROWS as i64).contains(back) => Unit::Row,
            (Lag(..) | Lead(..) | PercentRank | CumeDist | Ntile(_), _) => Unit::Partition,
            (Rank | DenseRank, _) => Unit::Peers,
            (Count(_) | Sum(_) | Min(_) | Max(_) | Avg(_) | LastValue(_), WindowFrame::Rows) => Unit::Row,
            (Count(_) | Sum(_) | Min(_) | Max(_) | Avg(_) | LastValue(_), WindowFrame::Range) => Unit::Peers,
            (Count(_) | Sum(_) | Min(_) | Max(_) | Avg(_) | LastValue(_), WindowFrame::Partition) => Unit::Partition,
        }
    }
}

impl Plan {
    fn columns_read(&self) -> Vec<usize> {
        self.spec.keys().chain(self.spec.calls.iter().filter_map(|call| call.function.column())).collect()
    }

    fn check(&self, call: &WindowCall) -> Result<()> {
        let argument = call.function.column().and_then(|column| self.input.get(column));
        match call.function {
            WindowFunction::Ntile(0) => Err(Error::user("NTILE(0): there must be at least one part")),
            _ if call.function.supports(argument, &call.data_type) => Ok(()),
            _ => {
                Err(Error::unsupported(format!("the window function {call} with a result of type {}", call.data_type)))
            }
        }
    }

    /// What stands for a row outside the partition, like a value of the column.
    fn default(&self, column: usize, default: Option<&ArrayRef>) -> Result<Option<ArrayRef>> {
        default.map(|default| self.plain(column, &to_carried(default)?)).transpose()
    }

    /// A column in the plainest form that its type is carried in, so that chunks fit together.
    fn plain(&self, column: usize, array: &ArrayRef) -> Result<ArrayRef> {
        to_logical(array, &carried_type(&self.input[column]))
    }
}

impl Part<'_> {
    /// The column of one call, whose state is that of the rows before these.
    fn compute(&self, call: &WindowCall, state: &mut State) -> Result<ArrayRef> {
        let column = || {
            let column = call.function.column().and_then(|column| self.columns.get(column)?.as_ref());
            column.ok_or_else(|| Error::internal("a window's argument was not kept"))
        };
        let (bounds, frame, data_type) = (self.bounds, call.frame, &call.data_type);
        match &call.function {
            WindowFunction::RowNumber => Ok(rank::row_number(bounds, state, data_type)),
            WindowFunction::Rank => Ok(rank::rank(bounds, state, data_type)),
            WindowFunction::DenseRank => Ok(rank::dense_rank(bounds, state, data_type)),
            WindowFunction::PercentRank => Ok(rank::percent_rank(bounds)),
            WindowFunction::CumeDist => Ok(rank::cume_dist(bounds)),
            WindowFunction::Ntile(parts) => Ok(rank::ntile(bounds, *parts, data_type)),
            WindowFunction::Lag(place, offset, default) => {
                let default = self.plan.default(*place, default.as_ref())?;
                value::shifted(bounds, state, column()?, offset.saturating_neg(), default)
            }
            WindowFunction::Lead(place, offset, default) => {
                let default = self.plan.default(*place, default.as_ref())?;
                value::shifted(bounds, state, column()?, *offset, default)
            }
            WindowFunction::FirstValue(_) => value::first(bounds, state, column()?),
            WindowFunction::LastValue(_) => value::last(bounds, frame, column()?),
            WindowFunction::Min(_) => value::least(bounds, state, frame, column()?, false),
            WindowFunction::Max(_) => value::least(bounds, state, frame, column()?, true),
            WindowFunction::Count(None) => Ok(aggregate::count(bounds, state, frame, None, data_type)),
            WindowFunction::Count(_) => Ok(aggregate::count(bounds, state, frame, Some(column()?), data_type)),
            WindowFunction::Sum(place) => {
                aggregate::sum(bounds, state, frame, column()?, &self.plan.input[*place], data_type)
            }
            WindowFunction::Avg(place) => {
                aggregate::average(bounds, state, frame, column()?, &self.plan.input[*place], data_type)
            }
        }
    }
}
