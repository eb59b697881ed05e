//! Takes a region apart: which relations it joins, under which predicates, and where its columns come from.
//!
//! ```text
//!  Projection: n.name AS home               outputs     [supplier.key, n.name]
//!    Inner Join: s.nation = n.key           predicates  supplier.nation = n.key
//!      SubqueryAlias: s             ──►                 supplier.balance > 0
//!        Filter: balance > 0                relations   supplier    (the alias s is gone)
//!          Inner Join …                                 …
//!      SubqueryAlias: n                                 n           (an alias of one relation stays with it)
//! ```
//!
//! Names must be unique among all relations of a region, since any two may meet in one join. Where a self join behind
//! two aliases would break that, the second relation's columns are renamed by a projection.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result, TableReference};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};

use super::JoinOrder;

/// Sets of relations are the bits of a word. A region that would have more is cut: what is below the cut is one
/// relation of it and a region of its own.
const MOST_RELATIONS: usize = 64;

/// A region without its shape.
#[derive(Debug, Default)]
pub(super) struct Region {
    /// What is joined.
    pub relations: Vec<Input>,
    /// What must hold, in terms of the relations' columns.
    pub predicates: Vec<Expr>,
    /// The column behind each field of the region's schema.
    pub outputs: Vec<Column>,
    names: BTreeMap<String, Vec<Option<TableReference>>>,
}

/// One relation of a region.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// What yields it, itself reordered.
    pub plan: LogicalPlan,
    /// How it is joined, if not by predicates.
    pub reducer: Option<Reducer>,
}

/// A semi, anti or mark join without its left input.
#[derive(Clone, Debug)]
pub(super) struct Reducer {
    /// `LeftSemi`, `LeftAnti` or `LeftMark`.
    pub join_type: JoinType,
    /// Expressions over the region, expressions over the reducer.
    pub on: Vec<(Expr, Expr)>,
    /// The rest of the condition, over both.
    pub filter: Option<Expr>,
    pub null_equality: NullEquality,
    pub null_aware: bool,
    /// The column that a mark join adds.
    pub mark: Option<Column>,
}

/// Whether a plan is the root of a region.
pub(super) fn starts(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => movable_join(join),
        LogicalPlan::Filter(filter) => movable(&filter.predicate) && starts(&filter.input),
        LogicalPlan::Projection(projection) => only_columns(projection) && starts(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => starts(&alias.input),
        _ => false,
    }
}

/// The relations of a region, up to a number of at least one.
fn count(plan: &LogicalPlan, most: usize) -> usize {
    if most < 2 || !starts(plan) {
        return 1;
    }
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let right = count(&join.right, most - 1);
            right + count(&join.left, most - right)
        }
        LogicalPlan::Join(join) => 1 + count(&join.left, most - 1),
        LogicalPlan::Filter(filter) => count(&filter.input, most),
        LogicalPlan::Projection(projection) => count(&projection.input, most),
        LogicalPlan::SubqueryAlias(alias) => count(&alias.input, most),
        _ => 1,
    }
}

fn movable_join(join: &Join) -> bool {
    let conditions = || join.on.iter().flat_map(|(left, right)| [left, right]).chain(&join.filter);
    match join.join_type {
        JoinType::Inner => join.null_equality == NullEquality::NullEqualsNothing && conditions().all(movable),
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            let left = join.left.schema();
            let of_left = |expr: &Expr| expr.column_refs().into_iter().any(|c| left.maybe_index_of_column(c).is_some());
            conditions().all(movable)
                && (join.on.iter().any(|(left, _)| of_left(left)) || join.filter.iter().any(of_left))
        }
        _ => false,
    }
}

/// Whether a predicate means the same wherever its columns are: it holds no volatile function, and no subquery that
/// looks at columns which the predicate does not name.
pub(super) fn movable(predicate: &Expr) -> bool {
    let bound = |expr: &Expr| {
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::InSubquery(inner) => Some(&inner.subquery),
            Expr::Exists(inner) => Some(&inner.subquery),
            Expr::SetComparison(inner) => Some(&inner.subquery),
            _ => None,
        };
        Ok(expr.is_volatile_node() || subquery.is_some_and(|subquery| !subquery.outer_ref_columns.is_empty()))
    };
    !predicate.exists(bound).unwrap_or(true)
}

fn only_columns(projection: &Projection) -> bool {
    projection.expr.iter().all(|expr| plain_column(expr).is_some())
}

/// The column that an expression renames at most.
fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) if alias.metadata.is_none() => plain_column(&alias.expr),
        _ => None,
    }
}

/// Takes the region below its root apart and reorders its relations within.
pub(super) fn take_apart(rule: &JoinOrder<'_>, plan: LogicalPlan) -> Result<Region> {
    let mut region = Region::default();
    region.outputs = region.take(rule, plan, MOST_RELATIONS)?;
    Ok(region)
}

impl Region {
    /// The region without one relation and under other predicates; nobody asks for its columns yet.
    pub(super) fn without(&self, place: usize, predicates: Vec<Expr>) -> Self {
        let others = self.relations.iter().enumerate().filter(|(number, _)| *number != place);
        Self { relations: others.map(|(_, input)| input.clone()).collect(), predicates, ..Self::default() }
    }

    /// Takes one node apart, into so many relations at most; returns the column behind each field of its schema.
    fn take(&mut self, rule: &JoinOrder<'_>, plan: LogicalPlan, room: usize) -> Result<Vec<Column>> {
        if !starts(&plan) || room < 2 {
            let plan = rule.rewrite(plan)?;
            return self.add(plan);
        }
        match rule.subqueries(plan)? {
            LogicalPlan::Filter(filter) => {
                let schema = Arc::clone(filter.input.schema());
                let columns = self.take(rule, Arc::unwrap_or_clone(filter.input), room)?;
                self.require(filter.predicate, &[(&schema, &columns)])?;
                Ok(columns)
            }
            LogicalPlan::Projection(projection) => {
                let schema = Arc::clone(projection.input.schema());
                let columns = self.take(rule, Arc::unwrap_or_clone(projection.input), room)?;
                let behind = |expr: &Expr| match plain_column(expr) {
                    Some(column) => Ok(columns[schema.index_of_column(column)?].clone()),
                    None => datafusion::common::internal_err!("a region's projection computes {expr}"),
                };
                projection.expr.iter().map(behind).collect()
            }
            LogicalPlan::SubqueryAlias(alias) => self.take(rule, Arc::unwrap_or_clone(alias.input), room),
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => self.take_inner(rule, join, room),
            LogicalPlan::Join(join) => self.take_reducer(rule, join, room),
            other => self.add(other),
        }
    }

    fn take_inner(&mut self, rule: &JoinOrder<'_>, join: Join, room: usize) -> Result<Vec<Column>> {
        let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
        let right_room = count(&join.right, room - 1);
        let mut columns = self.take(rule, Arc::unwrap_or_clone(join.left), room - right_room)?;
        let right_columns = self.take(rule, Arc::unwrap_or_clone(join.right), right_room)?;
        for (left_key, right_key) in join.on {
            let left_key = behind(left_key, &[(&left, &columns)])?;
            self.predicates.push(left_key.eq(behind(right_key, &[(&right, &right_columns)])?));
        }
        if let Some(filter) = join.filter {
            self.require(filter, &[(&left, &columns), (&right, &right_columns)])?;
        }
        columns.extend(right_columns);
        Ok(columns)
    }

    fn take_reducer(&mut self, rule: &JoinOrder<'_>, join: Join, room: usize) -> Result<Vec<Column>> {
        let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
        let mut columns = self.take(rule, Arc::unwrap_or_clone(join.left), room - 1)?;
        let plan = rule.rewrite(Arc::unwrap_or_clone(join.right))?;
        let mark = (join.join_type == JoinType::LeftMark).then(|| join.schema.columns().pop()).flatten();
        let (plan, mark) = self.unique(plan, mark)?;
        let right_columns = plan.schema().columns();
        let on = join.on.into_iter().map(|(left_key, right_key)| {
            let left_key = behind(left_key, &[(&left, &columns)])?;
            Ok((left_key, behind(right_key, &[(&right, &right_columns)])?))
        });
        let on = on.collect::<Result<Vec<_>>>()?;
        let sides = [(left.as_ref(), columns.as_slice()), (right.as_ref(), right_columns.as_slice())];
        let filter = join.filter.map(|filter| behind(filter, &sides)).transpose()?;
        let (null_equality, null_aware) = (join.null_equality, join.null_aware);
        let reducer = Reducer { join_type: join.join_type, on, filter, null_equality, null_aware, mark: mark.clone() };
        self.relations.push(Input { plan, reducer: Some(reducer) });
        columns.extend(mark);
        Ok(columns)
    }

    /// Adds the conjuncts of a predicate.
    fn require(&mut self, predicate: Expr, sides: &[(&DFSchema, &[Column])]) -> Result<()> {
        for conjunct in split_conjunction_owned(predicate) {
            self.predicates.push(behind(conjunct, sides)?);
        }
        Ok(())
    }

    fn add(&mut self, plan: LogicalPlan) -> Result<Vec<Column>> {
        let (plan, _) = self.unique(plan, None)?;
        let columns = plan.schema().columns();
        self.relations.push(Input { plan, reducer: None });
        Ok(columns)
    }

    /// Renames the columns of a relation if any of them has the name of another relation's.
    fn unique(&mut self, plan: LogicalPlan, mark: Option<Column>) -> Result<(LogicalPlan, Option<Column>)> {
        let columns = plan.schema().columns();
        let taken = columns.iter().chain(&mark).any(|column| self.taken(column));
        let (plan, columns, mark) = if taken {
            let table = TableReference::bare(format!("__relation_{}", self.relations.len()));
            let rename = |(place, column): (usize, Column)| {
                let name = format!("{}_{place}", column.name);
                Expr::Column(column).alias_qualified(Some(table.clone()), name)
            };
            let renamed = columns.into_iter().enumerate().map(rename).collect();
            let plan = LogicalPlan::Projection(Projection::try_new(renamed, Arc::new(plan))?);
            let columns = plan.schema().columns();
            // A mark is qualified like the columns of the side that it speaks of.
            (plan, columns, mark.map(|mark| Column::new(Some(table), mark.name)))
        } else {
            (plan, columns, mark)
        };
        for column in columns.into_iter().chain(mark.clone()) {
            self.names.entry(column.name).or_default().push(column.relation);
        }
        Ok((plan, mark))
    }

    fn taken(&self, column: &Column) -> bool {
        let same = |other: &Option<TableReference>| match (&column.relation, other) {
            (Some(one), Some(other)) => one.table() == other.table(),
            _ => true,
        };
        self.names.get(&column.name).is_some_and(|others| others.iter().any(same))
    }
}

/// An expression over some schemas in terms of the columns behind their fields.
pub(super) fn behind(expr: Expr, sides: &[(&DFSchema, &[Column])]) -> Result<Expr> {
    let renamed = expr.transform(|expr| {
        let Expr::Column(column) = expr else { return Ok(Transformed::no(expr)) };
        let found = sides.iter().find_map(|(schema, columns)| columns.get(schema.maybe_index_of_column(&column)?));
        match found {
            Some(behind) if *behind == column => Ok(Transformed::no(Expr::Column(column))),
            Some(behind) => Ok(Transformed::yes(Expr::Column(behind.clone()))),
            None => datafusion::common::internal_err!("the join has no column {column}"),
        }
    })?;
    Ok(renamed.data)
}
