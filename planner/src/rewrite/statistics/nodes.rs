//! The estimate of each kind of node from those of its inputs.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, FetchType, Filter, Join, Limit, LogicalPlan, TableScan};

use super::aggregates;
use super::columns::unknown;
use super::joins::{Pair, anti_share, key_domain, semi_share};
use super::selectivity::{Scope, strip};
use super::{ColumnEstimate, Estimate, Estimator};

/// Rows that an unnested list is thought to have.
const LIST_LENGTH: f64 = 4.0;

impl Estimator<'_> {
    /// The estimate of a plan.
    pub(crate) fn plan(&self, plan: &LogicalPlan) -> Estimate {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, &[]),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(node) => self.project(self.plan(&node.input), &node.expr, node.input.schema()),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Distinct(Distinct::All(input)) => distinct(self.plan(input)),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) => at_most(self.plan(&sort.input), sort.fetch),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Subquery(subquery) => self.plan(&subquery.subquery),
            LogicalPlan::Repartition(node) => self.plan(&node.input),
            LogicalPlan::Window(window) => self.widened(self.plan(&window.input), &window.schema),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.plan(input));
                inputs.reduce(union_of).unwrap_or_else(|| self.unknown(0.0, plan.schema()))
            }
            LogicalPlan::Values(values) => self.unknown(values.values.len() as f64, plan.schema()),
            LogicalPlan::EmptyRelation(empty) => {
                self.unknown(f64::from(u8::from(empty.produce_one_row)), plan.schema())
            }
            LogicalPlan::Unnest(unnest) => self.unknown(self.plan(&unnest.input).rows * LIST_LENGTH, plan.schema()),
            other => {
                let rows = other.inputs().into_iter().map(|input| self.plan(input).rows).fold(1.0, f64::max);
                self.unknown(rows, plan.schema())
            }
        }
    }

    /// Columns of which nothing is known.
    fn unknown(&self, rows: f64, schema: &DFSchema) -> Estimate {
        self.widened(Estimate { rows, columns: Vec::new() }, schema)
    }

    /// Adds unknown columns up to the width of a schema.
    fn widened(&self, mut estimate: Estimate, schema: &DFSchema) -> Estimate {
        let (rows, source) = (estimate.rows, self.source());
        let added = schema.fields().iter().skip(estimate.columns.len());
        estimate.columns.extend(added.map(|field| ColumnEstimate { source, ..unknown(rows, field.data_type()) }));
        estimate
    }

    /// A scan with its filters, except for those that a node above repeats.
    pub(crate) fn scan(&self, scan: &TableScan, repeated: &[&Expr]) -> Estimate {
        let table = self.table(scan);
        let source = self.source();
        let own = |column: &ColumnEstimate| ColumnEstimate { source, ..*column };
        let mut estimate = Estimate { rows: table.rows, columns: table.columns.iter().map(own).collect() };
        let schema = scan.source.schema();
        let filters: Vec<&Expr> = scan.filters.iter().filter(|filter| !repeated.contains(filter)).collect();
        if !filters.is_empty() {
            estimate = filtered(estimate, &filters, &|column| schema.index_of(&column.name).ok());
        }
        if let Some(places) = &scan.projection {
            estimate.columns = places.iter().filter_map(|&place| estimate.columns.get(place).copied()).collect();
        }
        at_most(estimate, scan.fetch)
    }

    fn filter(&self, filter: &Filter) -> Estimate {
        let predicates = split_conjunction(&filter.predicate);
        let input = match filter.input.as_ref() {
            LogicalPlan::TableScan(scan) => self.scan(scan, &predicates),
            other => self.plan(other),
        };
        let schema = filter.input.schema();
        filtered(input, &predicates, &|column| schema.maybe_index_of_column(column))
    }

    fn project(&self, input: Estimate, exprs: &[Expr], schema: &DFSchema) -> Estimate {
        let source = self.source();
        let column = |expr: &Expr| self.expression(&input, expr, schema, source);
        Estimate { rows: input.rows, columns: exprs.iter().map(column).collect() }
    }

    /// What an expression over an input yields.
    fn expression(&self, input: &Estimate, expr: &Expr, schema: &DFSchema, source: u32) -> ColumnEstimate {
        let found = match strip(expr) {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        };
        if let Some(column) = found.and_then(|place| input.columns.get(place)) {
            return *column;
        }
        let mut computed = unknown(input.rows, &DataType::Null);
        computed.source = source;
        // A function of columns has no more values than they have combinations.
        let places = expr.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column));
        let mut places: Vec<usize> = places.collect();
        places.sort_unstable();
        let combinations: f64 = places.iter().filter_map(|&place| input.columns.get(place)).map(|c| c.ndv).product();
        computed.ndv = computed.ndv.min(combinations).max(1.0);
        computed.domain = computed.domain.min(combinations).max(1.0);
        // NULL counts, for what is computed of it may be a value. What is random has no bound, and subqueries are not looked into.
        if !expr.is_volatile() && !has_subquery(expr) {
            computed.most = places.iter().filter_map(|&place| input.columns.get(place)).map(|c| c.most + 1.0).product();
        }
        computed
    }

    fn aggregate(&self, node: &Aggregate) -> Estimate {
        let input = self.plan(&node.input);
        let source = self.source();
        let schema = node.input.schema();
        let plain: Vec<&Expr> = match node.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => sets.distinct_expr(),
            exprs => exprs.iter().collect(),
        };
        let group = |expr: &&Expr| self.expression(&input, expr, schema, source);
        let columns: Vec<ColumnEstimate> = plain.iter().map(group).collect();
        let rows = if plain.is_empty() { 1.0 } else { groups(&columns, input.rows) };
        let mut columns: Vec<ColumnEstimate> = columns.into_iter().map(|column| within(column, rows)).collect();
        // What is computed of a group depends on it: together they have no more combinations than its key has values.
        let key = columns.first().copied().unwrap_or_else(|| self.guess(rows));
        if plain.len() == node.group_expr.len() {
            columns.extend(node.aggr_expr.iter().map(|expr| aggregates::output(expr, &input, schema, rows, &key)));
        }
        self.widened(Estimate { rows, columns }, &node.schema)
    }

    /// How many groups the columns of an aggregation leave room for, and how many rows are expected to be grouped (once for each
    /// grouping set).
    pub(crate) fn most_groups(&self, node: &Aggregate) -> (f64, f64) {
        let input = self.plan(&node.input);
        let (schema, source) = (node.input.schema(), self.source());
        let (plain, sets) = match node.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => (sets.distinct_expr(), 1 << sets.distinct_expr().len().min(16)),
            exprs => (exprs.iter().collect::<Vec<_>>(), 1),
        };
        let values = plain.iter().map(|expr| self.expression(&input, expr, schema, source).most + 1.0);
        // Equal values of several sets are groups of their own.
        (values.product::<f64>() * f64::from(sets), (input.rows * f64::from(sets)).max(1.0))
    }

    fn limit(&self, limit: &Limit) -> Estimate {
        let fetch = match limit.get_fetch_type() {
            Ok(FetchType::Literal(fetch)) => fetch,
            _ => None,
        };
        at_most(self.plan(&limit.input), fetch)
    }

    fn join(&self, join: &Join) -> Estimate {
        let (left, right) = (self.plan(&join.left), self.plan(&join.right));
        let pairs = self.pairs(join, &left, &right);
        let mut columns = left.columns.clone();
        columns.extend_from_slice(&right.columns);
        let filter = join_filter(join, columns.clone());
        let inner = left.rows * right.rows / key_domain(&pairs) * filter;
        let swapped = || pairs.iter().map(|&(left, right)| (right, left)).collect::<Vec<Pair>>();
        let (rows, columns) = match join.join_type {
            JoinType::Inner => (inner, columns),
            JoinType::Left => (inner.max(left.rows), columns),
            JoinType::Right => (inner.max(right.rows), columns),
            JoinType::Full => (inner.max(left.rows).max(right.rows), columns),
            JoinType::LeftSemi => (left.rows * semi_share(&pairs, right.rows, filter), left.columns),
            JoinType::LeftAnti => (left.rows * anti_share(&pairs, right.rows, filter), left.columns),
            JoinType::LeftMark => (left.rows, left.columns),
            JoinType::RightSemi => (right.rows * semi_share(&swapped(), left.rows, filter), right.columns),
            JoinType::RightAnti => (right.rows * anti_share(&swapped(), left.rows, filter), right.columns),
            JoinType::RightMark => (right.rows, right.columns),
        };
        let columns = columns.into_iter().map(|column| within(column, rows)).collect();
        self.widened(Estimate { rows, columns }, &join.schema)
    }

    /// What a join key over an input yields.
    pub(crate) fn key(&self, input: &Estimate, key: &Expr, schema: &DFSchema) -> ColumnEstimate {
        self.expression(input, key, schema, self.source())
    }

    /// A key of which nothing is known.
    pub(crate) fn guess(&self, rows: f64) -> ColumnEstimate {
        ColumnEstimate { source: self.source(), ..unknown(rows, &DataType::Null) }
    }

    /// The equated columns of a join.
    fn pairs(&self, join: &Join, left: &Estimate, right: &Estimate) -> Vec<Pair> {
        let (l_source, r_source) = (self.source(), self.source());
        let pair = |(l, r): &(Expr, Expr)| {
            (
                self.expression(left, l, join.left.schema(), l_source),
                self.expression(right, r, join.right.schema(), r_source),
            )
        };
        join.on.iter().map(pair).collect()
    }
}

/// The share of pairs of rows with equal keys that the rest of a join's condition keeps.
fn join_filter(join: &Join, columns: Vec<ColumnEstimate>) -> f64 {
    let Some(filter) = &join.filter else { return 1.0 };
    let (left, right) = (join.left.schema(), join.right.schema());
    let find = |column: &Column| {
        let beyond = || right.maybe_index_of_column(column).map(|place| left.fields().len() + place);
        left.maybe_index_of_column(column).or_else(beyond)
    };
    Scope { find: &find, columns }.keep(filter)
}

/// What predicates leave of an input.
fn filtered(input: Estimate, predicates: &[&Expr], find: &dyn Fn(&Column) -> Option<usize>) -> Estimate {
    let mut scope = Scope { find, columns: input.columns };
    let share = predicates.iter().map(|predicate| scope.keep(predicate)).product::<f64>();
    let rows = input.rows * share;
    let columns = scope.columns.into_iter().map(|column| thinned(column, input.rows, rows)).collect();
    Estimate { rows, columns }
}

/// Distinct values after rows were dropped at random: a value is gone when all its rows are.
fn thinned(mut column: ColumnEstimate, before: f64, after: f64) -> ColumnEstimate {
    if before > 0.0 && after < before {
        let each = before / column.ndv.max(1.0);
        let left = column.ndv * (1.0 - (1.0 - after / before).powf(each));
        column.ndv = left.max(1.0);
    }
    within(column, after)
}

/// No column has more values than rows.
fn within(mut column: ColumnEstimate, rows: f64) -> ColumnEstimate {
    column.ndv = column.ndv.min(rows).max(1.0);
    column
}

fn has_subquery(expr: &Expr) -> bool {
    let is_one = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    expr.exists(|expr| Ok(is_one(expr))).unwrap_or(true)
}

fn groups(columns: &[ColumnEstimate], rows: f64) -> f64 {
    columns.iter().map(|column| column.ndv).product::<f64>().min(rows)
}

fn distinct(mut input: Estimate) -> Estimate {
    input.rows = groups(&input.columns, input.rows);
    input
}

fn at_most(mut input: Estimate, fetch: Option<usize>) -> Estimate {
    if let Some(fetch) = fetch {
        input.rows = input.rows.min(fetch as f64);
        let rows = input.rows;
        input.columns = input.columns.into_iter().map(|column| within(column, rows)).collect();
    }
    input
}

fn union_of(first: Estimate, second: Estimate) -> Estimate {
    let rows = first.rows + second.rows;
    let pick = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| a.zip(b).map(|(a, b)| pick(a, b));
    let both = |(a, b): (ColumnEstimate, ColumnEstimate)| ColumnEstimate {
        ndv: a.ndv.max(b.ndv),
        domain: a.domain.max(b.domain),
        most: a.most + b.most,
        certain: false,
        min: pick(a.min, b.min, f64::min),
        max: pick(a.max, b.max, f64::max),
        nulls: (a.nulls * first.rows + b.nulls * second.rows) / rows.max(1.0),
        source: a.source,
        source_rows: a.source_rows + b.source_rows,
    };
    Estimate { rows, columns: first.columns.into_iter().zip(second.columns).map(both).collect() }
}
