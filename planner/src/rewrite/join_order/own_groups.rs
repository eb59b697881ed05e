//! Groups of rows that the region holds itself become windows over it.
//!
//! ```text
//!  SELECT … FROM part, lineitem                      Filter: l_quantity < 0.2 * avg
//!  WHERE p_partkey = l_partkey AND p_brand = …         Window: avg(l_quantity) PARTITION BY l_partkey
//!    AND l_quantity < (SELECT 0.2 * avg(l_quantity)      Inner Join: p_partkey = l_partkey
//!                      FROM lineitem            ──►        part where p_brand = …
//!                      WHERE l_partkey = p_partkey)        lineitem
//! ```
//!
//! The rows that a subquery groups are here all those of the region that have the group's key, so the region's join is
//! the only one to be made, and `lineitem` is read once (WinMagic; Zuzarte et al., SIGMOD 2003). After decorrelation the
//! subquery is a relation of the region, an aggregate joined on its keys. It may go if
//!
//! 1. its input joins tables that the region joins as well, under the same filters and predicates, and the region reads
//!    all columns of them that the groups need: the *inner* tables;
//! 2. every other predicate of the region looks at no columns of the inner tables but the keys, so that all inner rows
//!    of a group meet the same others: each is there as often as its fellows;
//! 3. the region equates the keys of the groups with those of the inner tables;
//! 4. the functions do not mind rows that are there several times: MIN, MAX and AVG.
//!
//! It pays if few rows of the inner tables meet others: a window sorts rows, an aggregate need not.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result, TableReference};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, LogicalPlan, Operator, Window, WindowFunctionDefinition};

use super::JoinOrder;
use super::region::{self, Input, Region, behind};

/// Functions whose result is the same if every row is there several times.
const BLIND_TO_COPIES: [&str; 3] = ["min", "max", "avg"];

/// A region without the groups, and what is to be done with its rows instead.
#[derive(Debug)]
pub(super) struct OwnGroups {
    /// What is still joined; all columns of it are asked for.
    pub region: Region,
    /// Rows of the largest table that the groups would have read.
    pub spared_rows: f64,
    /// Window functions over the region.
    calls: Vec<Expr>,
    /// What must hold after that.
    conditions: Vec<Expr>,
    /// The region's outputs.
    outputs: Vec<Expr>,
}

impl OwnGroups {
    /// The windows over the rows of the region.
    pub(super) fn over(self, rows: LogicalPlan) -> Result<(LogicalPlan, Vec<Expr>)> {
        let windowed = LogicalPlan::Window(Window::try_new(self.calls, Arc::new(rows))?);
        Ok((super::rebuild::filtered(windowed, self.conditions)?, self.outputs))
    }
}

/// Looks for groups that can go.
pub(super) fn find(rule: &JoinOrder<'_>, region: &Region) -> Result<Option<OwnGroups>> {
    for (place, input) in region.relations.iter().enumerate() {
        if let Some(groups) = Groups::of(input)
            && let Some(found) = groups.instead(rule, region, place)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A relation that groups.
struct Groups<'a> {
    aggregate: &'a Aggregate,
    /// What stands above the aggregate, from the top.
    above: Vec<&'a LogicalPlan>,
}

impl<'a> Groups<'a> {
    fn of(input: &'a Input) -> Option<Self> {
        let joins_plainly = input.reducer.as_ref().is_none_or(|reducer| {
            reducer.join_type == JoinType::LeftSemi
                && reducer.null_equality == NullEquality::NullEqualsNothing
                && !reducer.null_aware
        });
        let (mut plan, mut above) = (&input.plan, Vec::new());
        let aggregate = loop {
            above.push(plan);
            plan = match plan {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::Aggregate(aggregate) => break aggregate,
                _ => return None,
            };
        };
        above.pop();
        let by_columns = !aggregate.group_expr.is_empty()
            && aggregate.group_expr.iter().all(|key| matches!(key, Expr::Column(_)))
            && aggregate.aggr_expr.iter().all(|call| blind(call).is_some());
        (joins_plainly && by_columns).then_some(Self { aggregate, above })
    }

    fn instead(&self, rule: &JoinOrder<'_>, region: &Region, place: usize) -> Result<Option<OwnGroups>> {
        let inner = region::take_apart(rule, self.aggregate.input.as_ref().clone())?;
        let Some(twins) = Twins::find(&inner, region, place) else { return Ok(None) };

        // The groups' columns in terms of the region's.
        let schema = self.aggregate.input.schema();
        let twin = |expr: &Expr| Ok(twins.of(behind(expr.clone(), &[(schema, &inner.outputs)])?));
        let mut keys = Vec::new();
        for key in &self.aggregate.group_expr {
            match twin(key)? {
                Some(Expr::Column(key)) => keys.push(key),
                _ => return Ok(None),
            }
        }
        let mut calls = Vec::new();
        for call in &self.aggregate.aggr_expr {
            let Some(AggregateFunction { func, params }) = blind(call) else { return Ok(None) };
            let arguments = params.args.iter().map(twin).collect::<Result<Option<Vec<_>>>>()?;
            let Some(arguments) = arguments else { return Ok(None) };
            calls.push(window(WindowFunctionDefinition::AggregateUDF(Arc::clone(func)), arguments, &keys));
        }
        let key_columns = keys.iter().cloned().map(Expr::Column);
        let call_columns =
            calls.iter().map(|call| Expr::Column(Column::new_unqualified(call.schema_name().to_string())));
        let (fields, having) = self.fields(key_columns.chain(call_columns).collect())?;
        let columns = region.relations[place].plan.schema().columns();
        let substitute = |expr: &Expr| replace(expr.clone(), &columns, &fields);

        // The region without the groups. What was asked of them is asked of its own columns, or of the windows.
        let (about, mut predicates) = conditions(region, place, &columns);
        let all = Classes::of(predicates.iter().chain(&about));
        for (place, key) in keys.iter().enumerate() {
            let joined = columns.iter().zip(&fields).any(|(own, field)| {
                matches!(field, Expr::Column(column) if column == key) && all.same(own, &keys[place])
            });
            if !joined {
                return Ok(None);
            }
        }
        let own = Classes::of(&twins.predicates);
        let is_key = |column: &Column| keys.iter().any(|key| own.same(column, key));
        let windows =
            calls.iter().map(|call| Column::new_unqualified(call.schema_name().to_string())).collect::<Vec<_>>();
        let (mut above, mut present) = (having, Vec::new());
        for predicate in &about {
            let substituted = substitute(predicate)?;
            let looks_at = substituted.column_refs();
            let of_groups = looks_at.iter().any(|column| windows.contains(column));
            let apart = looks_at.iter().all(|column| !twins.has(column) || is_key(column));
            match substituted {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if left == right => {
                    present.push(*left);
                }
                other if apart && !of_groups => predicates.push(other),
                other => above.push(other),
            }
        }
        // A column that equals another one is not NULL.
        let equated = Classes::of(&predicates);
        let is_equated = |expr: &Expr| matches!(expr, Expr::Column(column) if equated.has(column));
        predicates.extend(present.into_iter().filter(|expr| !is_equated(expr)).map(Expr::is_not_null));
        let same = twins.same_rows(&own, &predicates, &is_key) && twins.apart(region, place, &columns, &is_key);
        if !same {
            return Ok(None);
        }
        let spared = inner.relations.iter().map(|input| rule.estimator.plan(&input.plan).rows).fold(0.0, f64::max);
        let outputs = region.outputs.iter().map(|column| substitute(&Expr::Column(column.clone())));
        Ok(Some(OwnGroups {
            outputs: outputs.collect::<Result<_>>()?,
            region: region.without(place, predicates),
            spared_rows: spared,
            calls,
            conditions: above,
        }))
    }

    /// The relation's columns in terms of what stands for those of the aggregate, and what it asks of them.
    fn fields(&self, mut fields: Vec<Expr>) -> Result<(Vec<Expr>, Vec<Expr>)> {
        let (mut columns, mut having) = (self.aggregate.schema.columns(), Vec::new());
        for node in self.above.iter().rev() {
            match node {
                LogicalPlan::Projection(projection) => {
                    let computed =
                        projection.expr.iter().map(|expr| replace(unaliased(expr).clone(), &columns, &fields));
                    fields = computed.collect::<Result<_>>()?;
                }
                LogicalPlan::Filter(filter) => {
                    for predicate in split_conjunction(&filter.predicate) {
                        having.push(replace(predicate.clone(), &columns, &fields)?);
                    }
                }
                _ => {}
            }
            columns = node.schema().columns();
        }
        Ok((fields, having))
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// An aggregate that does not mind copies of rows.
fn blind(call: &Expr) -> Option<&AggregateFunction> {
    let Expr::AggregateFunction(function) = unaliased(call) else { return None };
    let params = &function.params;
    let plain =
        !params.distinct && params.filter.is_none() && params.order_by.is_empty() && params.null_treatment.is_none();
    let movable = params.args.iter().all(region::movable);
    (plain && movable && BLIND_TO_COPIES.contains(&function.func.name())).then_some(function)
}

fn window(function: WindowFunctionDefinition, arguments: Vec<Expr>, keys: &[Column]) -> Expr {
    let mut call = WindowFunction::new(function, arguments);
    call.params.partition_by = keys.iter().cloned().map(Expr::Column).collect();
    Expr::from(call)
}

/// An expression with other expressions in the place of columns.
fn replace(expr: Expr, columns: &[Column], by: &[Expr]) -> Result<Expr> {
    let replaced = expr.transform(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let found = columns.iter().position(|own| own == column).and_then(|place| by.get(place));
        Ok(found.map_or_else(|| Transformed::no(expr.clone()), |by| Transformed::yes(by.clone())))
    })?;
    Ok(replaced.data)
}

/// What a region asks of a relation's columns, and what of the others.
fn conditions(region: &Region, place: usize, columns: &[Column]) -> (Vec<Expr>, Vec<Expr>) {
    let about = |predicate: &&Expr| predicate.column_refs().into_iter().any(|column| columns.contains(column));
    let (mut about, others): (Vec<_>, Vec<_>) = region.predicates.iter().partition(about);
    let reducer = region.relations[place].reducer.iter();
    let on = reducer.clone().flat_map(|reducer| &reducer.on).map(|(left, right)| left.clone().eq(right.clone()));
    let on = on.collect::<Vec<_>>();
    about.extend(&on);
    about.extend(reducer.filter_map(|reducer| reducer.filter.as_ref()).flat_map(split_conjunction));
    (about.into_iter().cloned().collect(), others.into_iter().cloned().collect())
}

/// Which tables of a region are those of an inner one.
struct Twins {
    /// Inner columns and their twins.
    columns: Vec<(Column, Column)>,
    /// The columns of the relations that are twins.
    ours: Vec<Column>,
    /// The inner predicates, of the twins.
    predicates: Vec<Expr>,
}

impl Twins {
    fn find(inner: &Region, region: &Region, groups: usize) -> Option<Self> {
        let plain = |input: &Input| input.reducer.is_none().then(|| Table::of(&input.plan)).flatten();
        let tables = region.relations.iter().map(plain).collect::<Vec<_>>();
        let (mut taken, mut columns, mut ours) = (vec![groups], Vec::new(), Vec::new());
        for input in &inner.relations {
            let table = plain(input)?;
            let is_twin = |place: &usize| tables[*place].as_ref().is_some_and(|other| table.has_same_rows(other));
            let mut twins = (0..tables.len()).filter(is_twin);
            // Of two, nobody knows which.
            let (Some(place), None) = (twins.next(), twins.next()) else { return None };
            if taken.contains(&place) {
                return None;
            }
            taken.push(place);
            let twin = tables[place].as_ref()?;
            for (name, column) in &table.columns {
                columns.extend(twin.columns.get(name).map(|ours| (column.clone(), ours.clone())));
            }
            ours.extend(region.relations[place].plan.schema().columns());
        }
        let mut twins = Self { columns, ours, predicates: Vec::new() };
        twins.predicates =
            inner.predicates.iter().map(|predicate| twins.of(predicate.clone())).collect::<Option<_>>()?;
        Some(twins)
    }

    /// An inner expression in terms of the twins' columns; `None` if one of them has no twin.
    fn of(&self, expr: Expr) -> Option<Expr> {
        let known = |column: &&Column| self.columns.iter().any(|(own, _)| own == *column);
        if !expr.column_refs().iter().all(known) {
            return None;
        }
        let (inner, ours): (Vec<_>, Vec<_>) =
            self.columns.iter().map(|(a, b)| (a.clone(), Expr::Column(b.clone()))).unzip();
        replace(expr, &inner, &ours).ok()
    }

    fn has(&self, column: &Column) -> bool {
        self.ours.contains(column)
    }

    /// Whether a region asks of the twins what the inner one asks, and nothing else but by their keys.
    fn same_rows(&self, own: &Classes, predicates: &[Expr], is_key: &dyn Fn(&Column) -> bool) -> bool {
        let theirs = Classes::of(predicates);
        let kept = |predicate: &Expr| match sides(predicate) {
            Some((left, right)) => theirs.same(left, right),
            None => predicates.contains(predicate),
        };
        let harmless = |predicate: &Expr| {
            let columns = predicate.column_refs();
            columns.iter().all(|column| !self.has(column) || is_key(column))
                || match sides(predicate) {
                    Some((left, right)) => own.same(left, right),
                    None => self.predicates.contains(predicate),
                }
        };
        self.predicates.iter().all(kept) && predicates.iter().all(harmless)
    }

    /// Whether the region's other semi joins and the like look at nothing of the groups, and of the twins at keys only.
    fn apart(&self, region: &Region, groups: usize, columns: &[Column], is_key: &dyn Fn(&Column) -> bool) -> bool {
        let others = region.relations.iter().enumerate().filter(|(place, _)| *place != groups);
        let mut reducers = others.filter_map(|(_, input)| input.reducer.as_ref());
        reducers.all(|reducer| {
            let exprs = reducer.on.iter().map(|(left, _)| left).chain(&reducer.filter);
            let mut looks_at = exprs.flat_map(Expr::column_refs);
            looks_at.all(|column| !columns.contains(column) && (!self.has(column) || is_key(column)))
        })
    }
}

/// The two columns that a predicate equates.
fn sides(predicate: &Expr) -> Option<(&Column, &Column)> {
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(left), Expr::Column(right)) => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// Columns that predicates equate.
struct Classes(Vec<Vec<Column>>);

impl Classes {
    fn of<'a>(predicates: impl IntoIterator<Item = &'a Expr>) -> Self {
        let mut classes: Vec<Vec<Column>> = Vec::new();
        for (left, right) in predicates.into_iter().filter_map(sides) {
            let (mut joined, others): (Vec<_>, Vec<_>) =
                classes.into_iter().partition(|class| class.contains(left) || class.contains(right));
            let mut class = joined.drain(..).flatten().collect::<Vec<_>>();
            class.extend([left, right].into_iter().cloned());
            classes = others;
            classes.push(class);
        }
        Self(classes)
    }

    fn has(&self, column: &Column) -> bool {
        self.0.iter().any(|class| class.contains(column))
    }

    fn same(&self, left: &Column, right: &Column) -> bool {
        left == right || self.0.iter().any(|class| class.contains(left) && class.contains(right))
    }
}

/// A relation that is rows and columns of a table.
struct Table {
    name: TableReference,
    /// What its rows fulfil, of the table's columns.
    filters: Vec<Expr>,
    /// The table's columns by name, as the relation calls them.
    columns: BTreeMap<String, Column>,
}

impl Table {
    fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let columns = scan.projected_schema.columns().into_iter();
                let columns = columns.map(|column| (column.name.clone(), column)).collect();
                let mut table = Self { name: scan.table_name.clone(), filters: Vec::new(), columns };
                // A filter may look at columns that the scan does not yield.
                table.filters.extend(scan.filters.iter().map(bare));
                Some(table)
            }
            LogicalPlan::Filter(filter) => {
                let mut table = Self::of(&filter.input)?;
                for predicate in split_conjunction(&filter.predicate) {
                    let predicate = table.in_own_terms(predicate)?;
                    if !table.filters.contains(&predicate) {
                        table.filters.push(predicate);
                    }
                }
                Some(table)
            }
            LogicalPlan::Projection(projection) => {
                let mut table = Self::of(&projection.input)?;
                let outputs = projection.schema.columns();
                let kept = projection.expr.iter().zip(outputs).map(|(expr, output)| match unaliased(expr) {
                    Expr::Column(column) => Some((table.named(column)?.to_owned(), output)),
                    _ => None,
                });
                table.columns = kept.collect::<Option<_>>()?;
                Some(table)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let mut table = Self::of(&alias.input)?;
                let (inside, outside) = (alias.input.schema().columns(), alias.schema.columns());
                let outside_of = |column: &Column| Some(outside[inside.iter().position(|own| own == column)?].clone());
                let renamed = table.columns.iter().map(|(name, column)| Some((name.clone(), outside_of(column)?)));
                table.columns = renamed.collect::<Option<_>>()?;
                Some(table)
            }
            _ => None,
        }
    }

    /// The table's name of a column.
    fn named(&self, wanted: &Column) -> Option<&str> {
        self.columns.iter().find(|(_, column)| *column == wanted).map(|(name, _)| name.as_str())
    }

    fn in_own_terms(&self, predicate: &Expr) -> Option<Expr> {
        if !region::movable(predicate) {
            return None;
        }
        let columns = self.columns.values().cloned().collect::<Vec<_>>();
        let names = self.columns.keys().map(|name| Expr::Column(Column::new_unqualified(name))).collect::<Vec<_>>();
        let known = predicate.column_refs().into_iter().all(|column| columns.contains(column));
        known.then(|| replace(predicate.clone(), &columns, &names).ok()).flatten()
    }

    fn has_same_rows(&self, other: &Self) -> bool {
        let within = |one: &Self, other: &Self| one.filters.iter().all(|filter| other.filters.contains(filter));
        self.name == other.name && within(self, other) && within(other, self)
    }
}

/// An expression whose columns have no table.
fn bare(expr: &Expr) -> Expr {
    let bare = expr.clone().transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    });
    bare.map_or_else(|_| expr.clone(), |bare| bare.data)
}
