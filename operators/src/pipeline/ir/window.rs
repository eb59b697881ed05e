//! Window functions, as a pipeline is told of them.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use self::WindowFunction::*;
use super::SortKey;
use super::expr::value_text;
use super::operators::{places, sort_keys};

/// Window functions that share a partition and an order. Rows come with equal ones of `partition` together, in the order
/// of `order` within them; each call is a column behind those of the input.
#[derive(Clone, Debug)]
pub struct WindowSpec {
    /// Rows that are equal in these columns are a partition; all rows are one if there are none.
    pub partition: Vec<usize>,
    /// How rows are ordered within a partition. Only the columns matter here: rows come sorted.
    pub order: Vec<SortKey>,
    /// What is computed.
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

impl WindowSpec {
    /// The columns that must be the same in a partition, then those of its order.
    pub fn keys(&self) -> impl Iterator<Item = usize> + '_ {
        self.partition.iter().copied().chain(self.order.iter().map(|key| key.column))
    }

    /// The same windows over columns at other places.
    #[must_use]
    pub fn with_columns(&self, place: &impl Fn(usize) -> usize) -> Self {
        Self {
            partition: self.partition.iter().map(|&column| place(column)).collect(),
            order: self.order.iter().map(|key| SortKey { column: place(key.column), ..*key }).collect(),
            calls: self.calls.iter().map(|call| call.with_column(place)).collect(),
        }
    }
}

impl WindowCall {
    fn with_column(&self, place: &impl Fn(usize) -> usize) -> Self {
        let function = match self.function.column() {
            Some(column) => self.function.clone().with_column(place(column)),
            None => self.function.clone(),
        };
        Self { function, ..self.clone() }
    }
}

impl WindowFunction {
    /// The same function of another column, if it reads one.
    #[must_use]
    pub fn with_column(mut self, column: usize) -> Self {
        if let Some(read) = self.column_mut() {
            *read = column;
        }
        self
    }

    /// The column it reads.
    pub fn column(&self) -> Option<usize> {
        self.clone().column_mut().copied()
    }

    fn column_mut(&mut self) -> Option<&mut usize> {
        match self {
            RowNumber | Rank | DenseRank | PercentRank | CumeDist | Ntile(_) | Count(None) => None,
            Lag(column, ..) | Lead(column, ..) | Count(Some(column)) => Some(column),
            FirstValue(column) | LastValue(column) | Sum(column) | Min(column) | Max(column) | Avg(column) => {
                Some(column)
            }
        }
    }

    /// Whether the frame makes a difference.
    pub fn has_frame(&self) -> bool {
        !matches!(self, RowNumber | Rank | DenseRank | PercentRank | CumeDist | Ntile(_) | Lag(..) | Lead(..))
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "by [{}] order {} of [{calls}]", places(&self.partition), sort_keys(&self.order))
    }
}

impl fmt::Display for WindowCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shifted = |column: &usize, rows: &i64, default: &Option<ArrayRef>| {
            let default = default.as_ref().map(|default| format!(", {}", value_text(default, 0))).unwrap_or_default();
            format!("#{column}, {rows}{default}")
        };
        let (name, arguments) = match &self.function {
            RowNumber => ("row_number", String::new()),
            Rank => ("rank", String::new()),
            DenseRank => ("dense_rank", String::new()),
            PercentRank => ("percent_rank", String::new()),
            CumeDist => ("cume_dist", String::new()),
            Ntile(parts) => ("ntile", parts.to_string()),
            Lag(column, rows, default) => ("lag", shifted(column, rows, default)),
            Lead(column, rows, default) => ("lead", shifted(column, rows, default)),
            FirstValue(column) => ("first_value", format!("#{column}")),
            LastValue(column) => ("last_value", format!("#{column}")),
            Count(column) => ("count", column.map(|column| format!("#{column}")).unwrap_or_default()),
            Sum(column) => ("sum", format!("#{column}")),
            Min(column) => ("min", format!("#{column}")),
            Max(column) => ("max", format!("#{column}")),
            Avg(column) => ("avg", format!("#{column}")),
        };
        write!(f, "{name}({arguments})")?;
        match self.frame {
            _ if !self.function.has_frame() => Ok(()),
            WindowFrame::Partition => f.write_str(" of all"),
            WindowFrame::Rows => f.write_str(" of rows"),
            WindowFrame::Range => f.write_str(" of range"),
        }
    }
}
