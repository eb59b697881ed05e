//! Window functions over rows that come sorted by their partition's columns, then by the order within it.
//!
//! Rows are read chunk by chunk, and kept until their partition is complete; then each call computes a column for all of
//! them, with plain loops over *partitions* and *peers* (rows of a partition that are equal in the order's columns):
//!
//! ```text
//!   partition  order   row_number  rank  sum(order) rows   … range     … whole partition
//!   ┌ a        ┌ 1     1           1     1                  1           7
//!   │          ├ 3     2           2     4                  7           7
//!   └          └ 3     3           2     7                  7           7
//!   ┌ b        ─ 9     1           1     9                  9           9
//! ```
//!
//! Cost: a compare of each row with the one before it, and a step for each row and call. Memory: the rows of the partitions
//! that a chunk touches, so at least the largest partition; it is taken from the budget, and there is no way to spill it.
//!
//! Columns are compared as they are sorted: NULLs are equal to each other, and -0.0 is another value than 0.0, since
//! rows that are equal must be neighbours.

mod aggregate;
mod bounds;
mod rank;
mod reader;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Scan, carried_type, to_carried, to_logical};

use self::bounds::Bounds;
use self::reader::Windowed;
use crate::pipeline::Resources;
use crate::pipeline::ir::SortKey;

/// Window functions that share a partition and an order.
#[derive(Clone, Debug)]
pub struct WindowSpec {
    /// Rows that are equal in these columns are a partition; all rows are one if there are none.
    pub partition: Vec<usize>,
    /// How rows are ordered within a partition. Only the columns matter here: rows come sorted.
    pub order: Vec<SortKey>,
    /// What is computed; each is a column behind those of the input.
    pub calls: Vec<WindowCall>,
}

/// One window function.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// Which one.
    pub function: WindowFunction,
    /// Which rows count. Ranks, `Lag` and `Lead` look at the whole partition whatever it says.
    pub frame: WindowFrame,
    /// The logical type of the result.
    pub data_type: DataType,
}

/// Window functions. Columns are places in the input.
#[derive(Clone, Debug)]
pub enum WindowFunction {
    /// 1, 2, 3, …; `Int64` or `UInt64`, as all ranks.
    RowNumber,
    /// One more than rows that come before the first peer.
    Rank,
    /// One more than groups of peers that come before.
    DenseRank,
    /// (rank - 1) / (rows of the partition - 1), 0 for a single row; `Float64`.
    PercentRank,
    /// Rows up to the last peer / rows of the partition; `Float64`.
    CumeDist,
    /// The number of the row's part, from 1, if the partition is cut into so many; the first ones are longer by one.
    Ntile(u64),
    /// The value so many rows before (or behind, if negative); outside the partition the default: one value of the
    /// column's logical type, or NULL.
    Lag(usize, i64, Option<ArrayRef>),
    /// The value so many rows behind; see [`WindowFunction::Lag`].
    Lead(usize, i64, Option<ArrayRef>),
    /// The frame's first value, NULL or not.
    FirstValue(usize),
    /// The frame's last value, NULL or not.
    LastValue(usize),
    /// Rows of the frame, or those where the column is not NULL; `Int64` or `UInt64`.
    Count(Option<usize>),
    /// NULL if nothing counts. Integers and decimals are summed in 128 bits, and a result that does not fit is an error.
    Sum(usize),
    /// NULL if nothing counts. Floats in Arrow's total order.
    Min(usize),
    /// NULL if nothing counts. Floats in Arrow's total order.
    Max(usize),
    /// NULL if nothing counts. `Float64`; of decimals, a decimal, cut off.
    Avg(usize),
}

/// Which rows of a partition count: all begin with its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowFrame {
    /// All rows.
    Partition,
    /// Up to the row itself.
    Rows,
    /// Up to its last peer.
    Range,
}

/// Computes window functions.
#[derive(Debug)]
pub struct Windows {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    spec: WindowSpec,
    input: Vec<DataType>,
    resources: Resources,
}

/// Rows of whole partitions.
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
        let plan = Plan { spec, input, resources };
        if let Some(column) = plan.columns_read().into_iter().find(|&column| column >= plan.input.len()) {
            return Err(Error::internal(format!("a window over column {column} of {}", plan.input.len())));
        }
        for call in &plan.spec.calls {
            plan.check(call)?;
        }
        Ok(Self { plan: Arc::new(plan) })
    }

    /// The rows of an ordered scan, with one column more for each call; in one ordered morsel, read lazily.
    ///
    /// # Errors
    /// The rows are not ordered.
    pub fn run(&self, sorted: Arc<dyn Scan>) -> Result<Arc<dyn Scan>> {
        if !sorted.ordered() && sorted.morsels() > 1 {
            return Err(Error::internal("a window over rows without an order"));
        }
        Ok(Arc::new(Windowed::new(Arc::clone(&self.plan), sorted)))
    }
}

impl WindowFunction {
    fn column(&self) -> Option<usize> {
        use WindowFunction::{
            Avg, Count, CumeDist, DenseRank, FirstValue, Lag, LastValue, Lead, Max, Min, Ntile, PercentRank, Rank,
            RowNumber, Sum,
        };
        match self {
            RowNumber | Rank | DenseRank | PercentRank | CumeDist | Ntile(_) | Count(None) => None,
            Lag(column, ..) | Lead(column, ..) | Count(Some(column)) => Some(*column),
            FirstValue(column) | LastValue(column) | Sum(column) | Min(column) | Max(column) | Avg(column) => {
                Some(*column)
            }
        }
    }
}

impl Plan {
    /// The columns that must be the same in a partition, then those of its order.
    fn key_columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.spec.partition.iter().copied().chain(self.spec.order.iter().map(|key| key.column))
    }

    fn columns_read(&self) -> Vec<usize> {
        self.key_columns().chain(self.spec.calls.iter().filter_map(|call| call.function.column())).collect()
    }

    fn check(&self, call: &WindowCall) -> Result<()> {
        let argument = call.function.column().and_then(|column| self.input.get(column));
        let fits = match &call.function {
            WindowFunction::RowNumber
            | WindowFunction::Rank
            | WindowFunction::DenseRank
            | WindowFunction::Ntile(_)
            | WindowFunction::Count(_) => matches!(call.data_type, DataType::Int64 | DataType::UInt64),
            WindowFunction::PercentRank | WindowFunction::CumeDist => call.data_type == DataType::Float64,
            WindowFunction::Sum(_) | WindowFunction::Avg(_) => {
                argument.is_some_and(|argument| aggregate::can_sum(argument, &call.data_type))
            }
            WindowFunction::Lag(..)
            | WindowFunction::Lead(..)
            | WindowFunction::FirstValue(_)
            | WindowFunction::LastValue(_)
            | WindowFunction::Min(_)
            | WindowFunction::Max(_) => {
                argument.is_some_and(|argument| carried_type(argument) == carried_type(&call.data_type))
            }
        };
        match call.function {
            WindowFunction::Ntile(0) => Err(Error::user("NTILE(0): there must be at least one part")),
            _ if fits => Ok(()),
            _ => Err(Error::unsupported(format!(
                "the window function {:?} with a result of type {}",
                call.function, call.data_type
            ))),
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
    /// The column of one call.
    fn compute(&self, call: &WindowCall) -> Result<ArrayRef> {
        let column = || {
            let column = call.function.column().and_then(|column| self.columns.get(column)?.as_ref());
            column.ok_or_else(|| Error::internal("a window's argument was not kept"))
        };
        match &call.function {
            WindowFunction::RowNumber => rank::row_number(self.bounds, &call.data_type),
            WindowFunction::Rank => rank::rank(self.bounds, &call.data_type),
            WindowFunction::DenseRank => rank::dense_rank(self.bounds, &call.data_type),
            WindowFunction::PercentRank => Ok(rank::percent_rank(self.bounds)),
            WindowFunction::CumeDist => Ok(rank::cume_dist(self.bounds)),
            WindowFunction::Ntile(parts) => rank::ntile(self.bounds, *parts, &call.data_type),
            WindowFunction::Lag(place, offset, default) => {
                let default = self.plan.default(*place, default.as_ref())?;
                value::shifted(self.bounds, column()?, offset.saturating_neg(), default)
            }
            WindowFunction::Lead(place, offset, default) => {
                let default = self.plan.default(*place, default.as_ref())?;
                value::shifted(self.bounds, column()?, *offset, default)
            }
            WindowFunction::FirstValue(_) => value::first(self.bounds, column()?),
            WindowFunction::LastValue(_) => value::last(self.bounds, call.frame, column()?),
            WindowFunction::Min(_) => value::least(self.bounds, call.frame, column()?, false),
            WindowFunction::Max(_) => value::least(self.bounds, call.frame, column()?, true),
            WindowFunction::Count(None) => aggregate::count(self.bounds, call.frame, None, &call.data_type),
            WindowFunction::Count(_) => aggregate::count(self.bounds, call.frame, Some(column()?), &call.data_type),
            WindowFunction::Sum(place) => {
                aggregate::sum(self.bounds, call.frame, column()?, &self.plan.input[*place], &call.data_type)
            }
            WindowFunction::Avg(place) => {
                aggregate::average(self.bounds, call.frame, column()?, &self.plan.input[*place], &call.data_type)
            }
        }
    }
}
