//! What the operators of a pipeline are told. Columns are places in the chunks they are given; what is to be computed
//! first is a projection before them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use bireme_engine::Result;

use super::Expr;

/// Groups rows by keys. NULLs are equal to each other, as are -0.0 and 0.0, and all NaNs.
///
/// Without keys there is exactly one group, also of no rows; with keys there are as many as different keys.
/// The rows of the result: keys, then the results of the calls (or their states, see [`AggregateMode::Partial`]).
#[derive(Clone, Debug)]
pub struct AggregateSpec {
    /// Columns of the input to group by.
    pub keys: Vec<usize>,
    /// What is computed of each group.
    pub calls: Vec<AggregateCall>,
    /// Which part of the work it is.
    pub mode: AggregateMode,
    /// Not more than so many groups are wanted, any of them.
    pub limit: Option<usize>,
}

/// Which part of an aggregation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateMode {
    /// All of it: rows in, results out.
    Single,
    /// Rows in, states out: for each call its state columns, see [`AggregateCall::state_types`]. A group may come out more than once.
    Partial,
    /// States in (in the order of `Partial`'s output, keys first), results out.
    Final,
}

/// One aggregate function over one or no column.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Which one.
    pub function: AggregateFunction,
    /// Its arguments: columns of the input, with their logical types. With [`AggregateMode::Final`] these name what the arguments
    /// were on the partial side; the states stand behind the keys.
    pub arguments: Vec<(usize, DataType)>,
    /// Only rows where this column (boolean) is true count. With [`AggregateMode::Final`] it names what the filter was on the
    /// partial side: what was not to count was not counted there, and calls with other filters have other states.
    pub filter: Option<usize>,
    /// Each different value counts once. Only for `Count`, `Sum`, `Avg` (and `Min`, `Max`, where it changes nothing); only in
    /// [`AggregateMode::Single`].
    pub distinct: bool,
    /// The logical type of the result.
    pub data_type: DataType,
}

/// Aggregate functions. NULL arguments do not count.
#[derive(Clone, Debug)]
pub enum AggregateFunction {
    /// Rows, or rows where no argument is NULL; `Int64`.
    Count,
    /// NULL if nothing counts. Integers and decimals are summed wide (128 bits at least), and it is an error if the sum of
    /// a group does not fit the result's type, however its rows came; floats are `Float64`. A duration's sum is one, too.
    Sum,
    /// NULL if nothing counts. Floats in Arrow's total order.
    Min,
    /// NULL if nothing counts. Floats in Arrow's total order.
    Max,
    /// NULL if nothing counts. `Float64` of any number but decimals; of a decimal, one with more digits behind the point,
    /// cut off as DataFusion does.
    Avg,
    /// Any other.
    Other(Arc<dyn GroupFunction>),
}

/// An aggregate function that the IR does not know.
pub trait GroupFunction: fmt::Debug + Send + Sync {
    /// Its name, canonical.
    fn describe(&self) -> String;

    /// States of no groups.
    ///
    /// # Errors
    /// The function does not support these types.
    fn state(&self) -> Result<Box<dyn GroupState>>;

    /// The logical types of a state's columns.
    fn state_types(&self) -> Vec<DataType>;
}

/// The states of many groups, numbered from 0. All arrays are in logical types.
pub trait GroupState: Send {
    /// Takes rows: `groups[row]` is below `total`, which never shrinks. Rows whose filter is not true do not count.
    ///
    /// # Errors
    /// The function fails on a row.
    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()>;

    /// Takes states of others.
    ///
    /// # Errors
    /// The function fails on a state.
    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()>;

    /// The states of all groups, in order; nothing is left.
    ///
    /// # Errors
    /// The function fails.
    fn take_states(&mut self) -> Result<Vec<ArrayRef>>;

    /// The results of all groups, in order; nothing is left.
    ///
    /// # Errors
    /// The function fails.
    fn take_results(&mut self) -> Result<ArrayRef>;

    /// Bytes that it holds.
    fn bytes(&self) -> usize;
}

impl AggregateCall {
    /// The logical types of its state between [`AggregateMode::Partial`] and [`AggregateMode::Final`].
    ///
    /// `Count`: a count. `Min`, `Max`: the value. `Sum`: the exact sum, as `Decimal256(76, scale)` of integers and of decimals,
    /// `Float64` of floats; else the result's type. `Avg`: the sum's state, then a count.
    pub fn state_types(&self) -> Vec<DataType> {
        match &self.function {
            AggregateFunction::Count => vec![DataType::Int64],
            AggregateFunction::Min | AggregateFunction::Max => vec![self.data_type.clone()],
            AggregateFunction::Sum => vec![self.sum_state()],
            AggregateFunction::Avg => vec![self.sum_state(), DataType::Int64],
            AggregateFunction::Other(function) => function.state_types(),
        }
    }

    fn sum_state(&self) -> DataType {
        match self.arguments.first().map(|(_, data_type)| data_type) {
            Some(data_type) if data_type.is_integer() => DataType::Decimal256(76, 0),
            Some(
                DataType::Decimal32(_, scale)
                | DataType::Decimal64(_, scale)
                | DataType::Decimal128(_, scale)
                | DataType::Decimal256(_, scale),
            ) => DataType::Decimal256(76, *scale),
            Some(data_type) if data_type.is_floating() => DataType::Float64,
            Some(data_type) => data_type.clone(),
            None => self.data_type.clone(),
        }
    }
}

/// Joins the rows that probe with those that were built before.
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// Which rows are kept.
    pub kind: JoinKind,
    /// Key columns of the build side; none of them: every pair is looked at.
    pub build_keys: Vec<usize>,
    /// Key columns of the probe side, of the same logical types.
    pub probe_keys: Vec<usize>,
    /// `IS NOT DISTINCT FROM`: a NULL key matches a NULL key. Else it matches nothing.
    pub nulls_match: bool,
    /// What a pair of rows with equal keys must also fulfil: over the probe side's columns, then the build side's.
    pub residual: Option<Expr>,
    /// The columns of the result, in order.
    pub output: Vec<JoinColumn>,
}

/// A column of a join's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinColumn {
    /// A column of the probe side; NULL in rows of the build side that have no match.
    Probe(usize),
    /// A column of the build side; NULL in rows of the probe side that have no match.
    Build(usize),
    /// Whether the row has a match: never NULL, unless the kind says so.
    Mark,
}

/// Which rows a join keeps. Each row that is kept alone (outer, semi, anti, mark) is kept once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and rows of the probe side without a match.
    ProbeOuter,
    /// Pairs that match, and rows of the build side without a match.
    BuildOuter,
    /// Pairs that match, and rows of both sides without a match.
    FullOuter,
    /// Rows of the probe side with a match.
    ProbeSemi,
    /// Rows of the probe side without a match.
    ProbeAnti,
    /// `NOT IN` of one key: rows of the probe side without a match, where a NULL on either side makes the answer unknown. If the
    /// build side has no rows, all; else if it has a NULL key, none; else those whose key is not NULL and has no match.
    ProbeAntiNullAware,
    /// Rows of the build side with a match.
    BuildSemi,
    /// Rows of the build side without a match.
    BuildAnti,
    /// All rows of the probe side, marked.
    ProbeMark,
    /// All rows of the build side, marked.
    BuildMark,
}

impl JoinKind {
    /// Whether rows of the build side come out after the last probe.
    pub fn keeps_build_rows(self) -> bool {
        use JoinKind::{BuildAnti, BuildMark, BuildOuter, BuildSemi, FullOuter};
        matches!(self, BuildOuter | FullOuter | BuildSemi | BuildAnti | BuildMark)
    }

    /// Whether only those rows of the probe side matter that have a match: then its scan may drop others early.
    pub fn drops_unmatched_probe_rows(self) -> bool {
        use JoinKind::{BuildAnti, BuildMark, BuildOuter, BuildSemi, Inner, ProbeSemi};
        matches!(self, Inner | BuildOuter | ProbeSemi | BuildSemi | BuildAnti | BuildMark)
    }
}

/// Sorts rows.
#[derive(Clone, Debug)]
pub struct SortSpec {
    /// By these, the first one first.
    pub keys: Vec<SortKey>,
    /// Only the first so many rows are wanted.
    pub fetch: Option<usize>,
}

/// A column to sort by. Floats in Arrow's total order, with -0.0 before 0.0; texts by bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// Its place.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all values, whichever way these go.
    pub nulls_first: bool,
}

impl fmt::Display for AggregateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "{:?} by [{}] of [{calls}]", self.mode, places(&self.keys))?;
        self.limit.map_or(Ok(()), |limit| write!(f, " limit {limit}"))
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.function {
            AggregateFunction::Count => "count".into(),
            AggregateFunction::Sum => "sum".into(),
            AggregateFunction::Min => "min".into(),
            AggregateFunction::Max => "max".into(),
            AggregateFunction::Avg => "avg".into(),
            AggregateFunction::Other(function) => function.describe(),
        };
        let arguments = self.arguments.iter().map(|(place, _)| *place).collect::<Vec<_>>();
        write!(f, "{name}({}{})", if self.distinct { "distinct " } else { "" }, places(&arguments))?;
        self.filter.map_or(Ok(()), |filter| write!(f, " where #{filter}"))
    }
}

impl fmt::Display for JoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on [{}] = [{}]", self.kind, places(&self.probe_keys), places(&self.build_keys))?;
        if self.nulls_match {
            f.write_str(" nulls match")?;
        }
        if let Some(residual) = &self.residual {
            write!(f, " where {residual}")?;
        }
        let output = self.output.iter().map(|column| match column {
            JoinColumn::Probe(place) => format!("p{place}"),
            JoinColumn::Build(place) => format!("b{place}"),
            JoinColumn::Mark => "mark".into(),
        });
        write!(f, " -> [{}]", output.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for SortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sort_keys(&self.keys))?;
        self.fetch.map_or(Ok(()), |fetch| write!(f, " fetch {fetch}"))
    }
}

pub(super) fn sort_keys(keys: &[SortKey]) -> String {
    let keys = keys.iter().map(|key| {
        let (way, nulls) =
            (if key.descending { "desc" } else { "asc" }, if key.nulls_first { "first" } else { "last" });
        format!("#{} {way} nulls {nulls}", key.column)
    });
    format!("[{}]", keys.collect::<Vec<_>>().join(", "))
}

pub(super) fn places(columns: &[usize]) -> String {
    columns.iter().map(|column| format!("#{column}")).collect::<Vec<_>>().join(", ")
}
