//! DataFrames: lazy queries, built step by step.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use bireme_planner::place::Prediction;
use datafusion::dataframe::DataFrame as Lazy;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

use crate::session::Session;

/// A query that has not run yet: each method returns a new one, and nothing is read before an action (`collect`,
/// `show`, `count`, `write_…`).
///
/// Under several ranks every rank builds the same DataFrame and calls the same actions in the same order.
///
/// ```no_run
/// use bireme::prelude::*;
/// let session = Session::new()?;
/// let top = session
///     .read_parquet("orders.parquet")?
///     .filter(col("o_totalprice").gt(lit(1000)))?
///     .group_by([col("o_custkey")])?
///     .agg([sum(col("o_totalprice")).alias("spent")])?
///     .sort([col("spent").desc()])?
///     .limit(10)?;
/// top.show()?;
/// # Ok::<(), bireme::Error>(())
/// ```
#[derive(Clone)]
pub struct DataFrame {
    session: Session,
    lazy: Lazy,
}

impl std::fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.lazy.logical_plan().display_indent())
    }
}

/// The columns two tables are joined on.
#[derive(Clone, Debug)]
enum Keys {
    Pairs(Vec<String>, Vec<String>),
    Using(Vec<String>),
    Expressions(Vec<Expr>),
}

impl DataFrame {
    pub(crate) fn new(session: Session, lazy: Lazy) -> Self {
        Self { session, lazy }
    }

    /// The plan as the user wrote it.
    pub(crate) fn program(&self) -> &LogicalPlan {
        self.lazy.logical_plan()
    }

    pub(crate) fn step(&self, step: impl FnOnce(Lazy) -> datafusion::common::Result<Lazy>) -> Result<Self> {
        let lazy = step(self.lazy.clone()).map_err(|error| self.session.explain_error(error))?;
        Ok(Self { session: self.session.clone(), lazy })
    }

    /// The columns, without running anything.
    pub fn schema(&self) -> SchemaRef {
        std::sync::Arc::new(self.lazy.schema().as_arrow().clone())
    }

    /// Whether it has rows to show: false for the result of `CREATE`, `SET`, `DROP`.
    pub fn is_query(&self) -> bool {
        !self.lazy.schema().fields().is_empty()
    }

    /// Only these expressions.
    ///
    /// # Errors
    /// A column does not exist, or types do not fit.
    pub fn select(&self, expressions: impl IntoIterator<Item = Expr>) -> Result<Self> {
        self.step(|lazy| lazy.select(expressions.into_iter().collect::<Vec<_>>()))
    }

    /// Only these columns.
    ///
    /// # Errors
    /// A column does not exist.
    pub fn select_columns<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.select(columns.into_iter().map(datafusion::logical_expr::col))
    }

    /// Only rows for which the predicate is true.
    ///
    /// # Errors
    /// A column does not exist, or the predicate is not boolean.
    pub fn filter(&self, predicate: Expr) -> Result<Self> {
        self.step(|lazy| lazy.filter(predicate))
    }

    /// Adds or replaces a column.
    ///
    /// # Errors
    /// A column does not exist, or types do not fit.
    pub fn with_column(&self, name: &str, expression: Expr) -> Result<Self> {
        self.step(|lazy| lazy.with_column(name, expression))
    }

    /// Renames a column.
    ///
    /// # Errors
    /// The column does not exist.
    pub fn rename(&self, old: &str, new: &str) -> Result<Self> {
        self.require([old])?;
        self.step(|lazy| lazy.with_column_renamed(old, new))
    }

    /// Without these columns.
    ///
    /// # Errors
    /// A column does not exist.
    pub fn drop<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let columns = columns.into_iter().collect::<Vec<_>>();
        self.require(columns.iter().copied())?;
        self.step(|lazy| lazy.drop_columns(&columns))
    }

    /// Starts an aggregation; with no keys, all rows are one group.
    ///
    /// # Errors
    /// A column does not exist, or types do not fit.
    pub fn group_by(&self, keys: impl IntoIterator<Item = Expr>) -> Result<GroupBy> {
        let keys = keys.into_iter().collect::<Vec<_>>();
        if !keys.is_empty() {
            // Names are resolved here, so that the message comes from the line with the mistake.
            self.select(keys.clone())?;
        }
        Ok(GroupBy { frame: self.clone(), keys })
    }

    /// Joins on pairs of columns: `left[i] = right[i]`.
    ///
    /// # Errors
    /// A column does not exist, the lists differ in length, or both tables have a column of the same name under the same
    /// alias (see [`DataFrame::alias`]).
    pub fn join<'a>(
        &self,
        right: &DataFrame,
        kind: JoinType,
        left_columns: impl IntoIterator<Item = &'a str>,
        right_columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let owned = |columns: Vec<&str>| columns.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let left = owned(left_columns.into_iter().collect());
        let right_keys = owned(right_columns.into_iter().collect());
        if left.len() != right_keys.len() || left.is_empty() {
            return Err(Error::user(format!(
                "a join needs as many left as right columns, at least one; got {} and {}",
                left.len(),
                right_keys.len()
            )));
        }
        self.joined(right, kind, Keys::Pairs(left, right_keys))
    }

    /// Joins on columns that both tables have; each appears once in the result.
    ///
    /// # Errors
    /// As [`DataFrame::join`].
    pub fn join_using<'a>(
        &self,
        right: &DataFrame,
        kind: JoinType,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        self.joined(right, kind, Keys::Using(columns.into_iter().map(str::to_owned).collect()))
    }

    /// Joins on any expressions.
    ///
    /// # Errors
    /// As [`DataFrame::join`].
    pub fn join_on(&self, right: &DataFrame, kind: JoinType, on: impl IntoIterator<Item = Expr>) -> Result<Self> {
        self.joined(right, kind, Keys::Expressions(on.into_iter().collect()))
    }

    fn joined(&self, right: &DataFrame, kind: JoinType, keys: Keys) -> Result<Self> {
        self.step(|lazy| match keys {
            Keys::Pairs(left_keys, right_keys) => {
                let names = |keys: &[String]| keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>();
                let (left_keys, right_keys) = (names(&left_keys), names(&right_keys));
                let left_keys = left_keys.iter().map(String::as_str).collect::<Vec<_>>();
                let right_keys = right_keys.iter().map(String::as_str).collect::<Vec<_>>();
                lazy.join(right.lazy.clone(), kind, &left_keys, &right_keys, None)
            }
            Keys::Using(columns) => {
                let (state, left) = lazy.into_parts();
                let columns = columns.into_iter().map(datafusion::common::Column::from_name).collect::<Vec<_>>();
                let plan = datafusion::logical_expr::LogicalPlanBuilder::from(left)
                    .join_using(right.program().clone(), kind, columns)?
                    .build()?;
                Ok(Lazy::new(state, plan))
            }
            Keys::Expressions(on) => lazy.join_on(right.lazy.clone(), kind, on),
        })
    }

    /// Sorted rows: `sort([col("a").asc(), col("b").desc()])`.
    ///
    /// # Errors
    /// A column does not exist.
    pub fn sort(&self, by: impl IntoIterator<Item = Sort>) -> Result<Self> {
        self.step(|lazy| lazy.sort(by.into_iter().collect()))
    }

    /// At most so many rows.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn limit(&self, rows: usize) -> Result<Self> {
        self.step(|lazy| lazy.limit(0, Some(rows)))
    }

    /// At most `rows` rows after the first `skip`.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn slice(&self, skip: usize, rows: Option<usize>) -> Result<Self> {
        self.step(|lazy| lazy.limit(skip, rows))
    }

    /// Each row once.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn distinct(&self) -> Result<Self> {
        self.step(Lazy::distinct)
    }

    /// The rows of both, duplicates kept (`UNION ALL`).
    ///
    /// # Errors
    /// The columns differ in number or type.
    pub fn union(&self, other: &DataFrame) -> Result<Self> {
        self.step(|lazy| lazy.union(other.lazy.clone()))
    }

    /// The distinct rows that are in both.
    ///
    /// # Errors
    /// The columns differ in number or type.
    pub fn intersect(&self, other: &DataFrame) -> Result<Self> {
        self.step(|lazy| lazy.intersect_distinct(other.lazy.clone()))
    }

    /// The distinct rows that are here and not in `other`.
    ///
    /// # Errors
    /// The columns differ in number or type.
    pub fn except(&self, other: &DataFrame) -> Result<Self> {
        self.step(|lazy| lazy.except_distinct(other.lazy.clone()))
    }

    /// Adds the columns of window expressions.
    ///
    /// # Errors
    /// A column does not exist, or types do not fit.
    pub fn window(&self, expressions: impl IntoIterator<Item = Expr>) -> Result<Self> {
        self.step(|lazy| lazy.window(expressions.into_iter().collect()))
    }

    /// The same rows under a table name, so that `col("name.column")` is unambiguous in joins.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn alias(&self, name: &str) -> Result<Self> {
        self.step(|lazy| lazy.alias(name))
    }

    /// All rows, on every rank.
    ///
    /// # Errors
    /// Whatever goes wrong while the query runs, on any rank; every rank gets the same error.
    pub fn collect(&self) -> Result<Vec<RecordBatch>> {
        self.session.collect(self.program())
    }

    /// All rows on rank 0, `None` on the others.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn collect_root(&self) -> Result<Option<Vec<RecordBatch>>> {
        self.session.collect_root(self.program())
    }

    /// The rows that arose on this rank (with local ranks: on all of them).
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn collect_local(&self) -> Result<Vec<RecordBatch>> {
        self.session.collect_local(self.program())
    }

    /// The number of rows, the same on every rank.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn count(&self) -> Result<u64> {
        let counted = self.group_by([])?.agg([crate::functions::count_star().alias("rows")])?;
        let batches = counted.collect()?;
        let rows = batches.iter().find(|batch| batch.num_rows() == 1).and_then(|batch| {
            let column = batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>()?;
            u64::try_from(column.value(0)).ok()
        });
        rows.ok_or_else(|| Error::internal("COUNT(*) did not return one number"))
    }

    /// Runs the query and throws its rows away.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn run(&self) -> Result<()> {
        self.session.discard(self.program())
    }

    /// Prints all rows as a table, once, on rank 0.
    ///
    /// # Errors
    /// As [`DataFrame::collect`]; nothing can be written to standard output.
    pub fn show(&self) -> Result<()> {
        let Some(batches) = self.collect_root()? else { return Ok(()) };
        let table = arrow::util::pretty::pretty_format_batches_with_schema(self.schema(), &batches)?;
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{table}").map_err(|error| Error::from(error).context("printing a table"))
    }

    /// Prints at most so many rows.
    ///
    /// # Errors
    /// As [`DataFrame::show`].
    pub fn show_limit(&self, rows: usize) -> Result<()> {
        self.limit(rows)?.show()
    }

    /// The plan at every level, as text, without running it.
    ///
    /// # Errors
    /// The query cannot be planned.
    pub fn explain(&self) -> Result<String> {
        self.session.explain(self.program())
    }

    /// How long the query is expected to take on the session's machine, stage by stage; it does not run.
    ///
    /// ```
    /// # use bireme::prelude::*;
    /// let session = Session::new()?;
    /// let expected = session.sql("SELECT 1 AS one")?.prediction()?;
    /// assert!(expected.total() < 1.0);
    /// # Ok::<(), bireme::Error>(())
    /// ```
    ///
    /// # Errors
    /// The query cannot be planned.
    pub fn prediction(&self) -> Result<Prediction> {
        Ok(self.session.plan(self.program())?.prediction())
    }

    /// Runs the query and reports what each stage, exchange and rank did, and of each line of a pipeline how many rows came
    /// and how many were expected.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn explain_analyze(&self) -> Result<String> {
        self.session.explain_analyze(self.program())
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    fn require<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let fields = self.lazy.schema().fields();
        for column in columns {
            if !fields.iter().any(|field| field.name() == column || column.ends_with(&format!(".{}", field.name()))) {
                let known = fields.iter().map(|field| field.name().as_str());
                let hint =
                    bireme_planner::suggest::nearest(column, known).map(|near| format!("; did you mean `{near}`?"));
                return Err(Error::user(format!("no column `{column}`{}", hint.unwrap_or_default())));
            }
        }
        Ok(())
    }
}

/// A grouped DataFrame that waits for its aggregates.
#[derive(Clone, Debug)]
pub struct GroupBy {
    frame: DataFrame,
    keys: Vec<Expr>,
}

impl GroupBy {
    /// One row a group: the keys and these aggregates.
    ///
    /// # Errors
    /// A column does not exist, or types do not fit.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Expr>) -> Result<DataFrame> {
        self.frame.step(|lazy| lazy.aggregate(self.keys.clone(), aggregates.into_iter().collect()))
    }

    /// The number of rows of each group, in a column `count`.
    ///
    /// # Errors
    /// A column does not exist.
    pub fn count(&self) -> Result<DataFrame> {
        self.agg([crate::functions::count_star().alias("count")])
    }
}
