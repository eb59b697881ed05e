//! Makes the join graph of a region.
//!
//! Predicates are sorted by how many relations they look at: those of one become filters of it, equalities of two go
//! into classes, the rest waits for the join that sees all it looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Column, ExprSchema, JoinType, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator};

use super::graph::{Class, JoinGraph, Member, ReducerEdge, Relation, Residual, Set, contains, members, within};
use super::region::{Reducer, Region};
use crate::rewrite::statistics::selectivity::{Scope, strip};
use crate::rewrite::statistics::{ColumnEstimate, Estimate, Estimator, joins};

/// An expression of one relation.
type Keyed = (usize, Expr);

/// Puts the graph together.
pub(super) struct Builder {
    /// The relation of each column.
    owners: BTreeMap<Column, usize>,
}

impl Builder {
    /// Learns which columns a region has.
    pub(super) fn new(region: &Region) -> Self {
        let mut owners = BTreeMap::new();
        for (number, input) in region.relations.iter().enumerate() {
            match &input.reducer {
                None => owners.extend(input.plan.schema().columns().into_iter().map(|column| (column, number))),
                Some(reducer) => owners.extend(reducer.mark.clone().map(|mark| (mark, number))),
            }
        }
        Self { owners }
    }

    /// The relations whose columns an expression looks at. Columns of a reducer's inside belong to none.
    fn relations(&self, expr: &Expr) -> Set {
        expr.column_refs().into_iter().filter_map(|column| self.owners.get(column)).fold(0, |set, at| set | (1 << at))
    }

    /// Makes the graph of the region.
    pub(super) fn build(self, region: Region, estimator: &Estimator<'_>) -> Result<JoinGraph> {
        let mut sorted = self.sort(&region)?;
        let mut relations = Vec::with_capacity(region.relations.len());
        let mut estimates: Vec<Estimate> = Vec::with_capacity(region.relations.len());
        let mut reducers = Vec::new();
        for (number, input) in region.relations.into_iter().enumerate() {
            let local = conjunction(std::mem::take(&mut sorted.local[number]));
            let plan = match local {
                Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input.plan))?),
                None => input.plan,
            };
            let estimate = estimator.plan(&plan);
            relations.push(Relation { scans: scans(&plan), plan, rows: estimate.rows, reducer: None });
            estimates.push(estimate);
            reducers.extend(input.reducer.map(|reducer| (number, reducer)));
        }
        let scope = GraphScope { owners: &self.owners, relations: &relations, estimates: &estimates };
        let classes: Vec<Class> = sorted.classes.into_iter().map(|members| scope.class(estimator, members)).collect();
        let mut edges = Vec::new();
        for (number, mut reducer) in reducers {
            let needs = self.narrow(&mut reducer, &classes);
            let (keep, hits) = scope.share(estimator, &relations[number].plan, &estimates[number], &reducer)?;
            edges.push((number, ReducerEdge { join: reducer, needs, keep, hits }));
        }
        let mut residuals = Vec::new();
        for (predicate, on) in sorted.residuals {
            // What looks at a mark alone still needs the rows that are marked.
            let marked = edges.iter().filter(|(number, _)| contains(on, *number)).map(|(_, edge)| edge.needs);
            let relations = marked.fold(on, |set, needs| set | needs);
            let keep = scope.keep(&predicate);
            residuals.push(Residual { predicate, relations, keep });
        }
        for (number, edge) in edges {
            relations[number].reducer = Some(edge);
        }
        Ok(JoinGraph::connected(relations, classes, residuals, sorted.constants))
    }

    /// Sorts predicates by how many relations they look at.
    fn sort(&self, region: &Region) -> Result<Sorted> {
        let mut sorted = Sorted { local: vec![Vec::new(); region.relations.len()], ..Sorted::default() };
        for predicate in &region.predicates {
            let on = self.relations(predicate);
            let single = on.trailing_zeros() as usize;
            match on.count_ones() {
                0 => sorted.constants.push(predicate.clone()),
                1 if region.relations[single].reducer.is_none() => sorted.local[single].push(predicate.clone()),
                _ => match self.equality(region, predicate)? {
                    Some((left, right)) => sorted.equate(left, right),
                    None => sorted.residuals.push((predicate.clone(), on)),
                },
            }
        }
        sorted.one_member_each();
        Ok(sorted)
    }

    /// The sides of an equality between two relations whose types are the same, so that it is transitive.
    fn equality(&self, region: &Region, predicate: &Expr) -> Result<Option<(Keyed, Keyed)>> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = predicate else { return Ok(None) };
        let (l, r) = (self.relations(left), self.relations(right));
        if l.count_ones() != 1 || r.count_ones() != 1 {
            return Ok(None);
        }
        let (l, r) = (l.trailing_zeros() as usize, r.trailing_zeros() as usize);
        if l == r || region.relations[l].reducer.is_some() || region.relations[r].reducer.is_some() {
            return Ok(None);
        }
        let schema = |at: usize| -> &dyn ExprSchema { region.relations[at].plan.schema().as_ref() };
        let same = left.get_type(schema(l))? == right.get_type(schema(r))?;
        Ok(same.then(|| ((l, left.as_ref().clone()), (r, right.as_ref().clone()))))
    }

    /// The relations that a reducer looks at: as few as equal columns permit.
    ///
    /// `p_partkey IN …` is `ps_partkey IN …` wherever `p_partkey = ps_partkey`; the rows that do not fulfil that are
    /// dropped sooner or later.
    fn narrow(&self, reducer: &mut Reducer, classes: &[Class]) -> Set {
        let fixed = reducer.filter.as_ref().map_or(0, |filter| self.relations(filter));
        let keys = |reducer: &Reducer| reducer.on.iter().fold(0, |set, (key, _)| set | self.relations(key));
        let needs = fixed | keys(reducer);
        if needs.count_ones() < 2 {
            return needs;
        }
        let class_of = |key: &Expr| classes.iter().find(|class| class.members.iter().any(|m| m.expr == *key));
        let serves = |relation: usize, key: &Expr| match self.relations(key) {
            own if own == 1 << relation => Some(key.clone()),
            _ => Some(class_of(key)?.within(1 << relation).next()?.expr.clone()),
        };
        for relation in members(needs) {
            if !within(fixed, 1 << relation) {
                continue;
            }
            let served: Option<Vec<Expr>> = reducer.on.iter().map(|(key, _)| serves(relation, key)).collect();
            if let Some(served) = served {
                for ((key, _), served) in reducer.on.iter_mut().zip(served) {
                    *key = served;
                }
                return 1 << relation;
            }
        }
        needs
    }
}

/// Whether nothing but filters, projections and names stands above a scan.
fn scans(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => scans(&filter.input),
        LogicalPlan::Projection(projection) => scans(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => scans(&alias.input),
        _ => false,
    }
}

/// Predicates by kind.
#[derive(Default)]
struct Sorted {
    constants: Vec<Expr>,
    local: Vec<Vec<Expr>>,
    classes: Vec<Vec<Keyed>>,
    residuals: Vec<(Expr, Set)>,
}

impl Sorted {
    /// Puts two expressions into one class.
    fn equate(&mut self, left: Keyed, right: Keyed) {
        let find = |wanted: &Keyed| self.classes.iter().position(|class| class.contains(wanted));
        match (find(&left), find(&right)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                let moved = self.classes.remove(one.max(other));
                self.classes[one.min(other)].extend(moved);
            }
            (Some(one), None) => self.classes[one].push(right),
            (None, Some(one)) => self.classes[one].push(left),
            (None, None) => self.classes.push(vec![left, right]),
        }
    }

    /// Two equal expressions of one relation: that is a predicate on the relation, and one of them stands for both.
    fn one_member_each(&mut self) {
        for class in &mut self.classes {
            let mut kept: Vec<Keyed> = Vec::with_capacity(class.len());
            for (relation, expr) in class.drain(..) {
                match kept.iter().find(|(other, _)| *other == relation) {
                    Some((_, first)) => self.local[relation].push(first.clone().eq(expr)),
                    None => kept.push((relation, expr)),
                }
            }
            *class = kept;
        }
    }
}

/// What is known of the columns of all relations.
struct GraphScope<'a> {
    owners: &'a BTreeMap<Column, usize>,
    relations: &'a [Relation],
    estimates: &'a [Estimate],
}

impl GraphScope<'_> {
    fn column(&self, column: &Column) -> Option<ColumnEstimate> {
        let &owner = self.owners.get(column)?;
        let place = self.relations[owner].plan.schema().maybe_index_of_column(column)?;
        self.estimates[owner].columns.get(place).copied()
    }

    /// A class with the domains of its members, the guessed ones lowered to those they are equated with.
    fn class(&self, estimator: &Estimator<'_>, members: Vec<Keyed>) -> Class {
        let describe = |(relation, expr): Keyed| {
            let known = match strip(&expr) {
                Expr::Column(column) => self.column(column),
                _ => None,
            };
            let guess = || estimator.guess(self.estimates[relation].rows);
            Member { relation, expr, column: known.unwrap_or_else(guess) }
        };
        let mut members: Vec<Member> = members.into_iter().map(describe).collect();
        members.sort_by_key(|member| member.relation);
        let columns: Vec<ColumnEstimate> = members.iter().map(|member| member.column).collect();
        // What is certainly larger than the smallest domain bounds the others from below.
        let certain = columns.iter().filter(|column| column.certain).map(|column| column.domain).fold(0.0, f64::max);
        for member in &mut members {
            for other in &columns {
                let floor = ColumnEstimate { domain: other.domain.max(certain), ..*other };
                joins::lower(&mut member.column, &floor);
            }
        }
        Class { relations: members.iter().fold(0, |set, member| set | (1 << member.relation)), members }
    }

    /// The share of rows that a predicate on several relations keeps.
    fn keep(&self, predicate: &Expr) -> f64 {
        let mut columns: Vec<&Column> = predicate.column_refs().into_iter().collect();
        columns.sort_unstable();
        let known = columns.iter().filter_map(|column| Some((*column, self.column(column)?))).collect::<Vec<_>>();
        let find = |wanted: &Column| known.iter().position(|(column, _)| *column == wanted);
        Scope { find: &find, columns: known.iter().map(|(_, estimate)| *estimate).collect() }.keep(predicate)
    }

    /// The shares of rows that a reducer keeps, and that find a partner in it.
    fn share(
        &self,
        estimator: &Estimator<'_>,
        plan: &LogicalPlan,
        right: &Estimate,
        reducer: &Reducer,
    ) -> Result<(f64, f64)> {
        let schema = plan.schema();
        let mut pairs = Vec::with_capacity(reducer.on.len());
        for (left_key, right_key) in &reducer.on {
            let guess = estimator.guess(self.estimates.iter().map(|estimate| estimate.rows).fold(1.0, f64::max));
            let left = match strip(left_key) {
                Expr::Column(column) => self.column(column).unwrap_or(guess),
                _ => guess,
            };
            pairs.push((left, estimator.key(right, right_key, schema)));
        }
        let filter = match &reducer.filter {
            None => 1.0,
            Some(filter) => {
                let mut columns: Vec<&Column> = filter.column_refs().into_iter().collect();
                columns.sort_unstable();
                let inside = |c: &Column| right.columns.get(schema.maybe_index_of_column(c)?).copied();
                let known = |c: &&Column| self.column(c).or_else(|| inside(c));
                let known = columns.iter().filter_map(|column| Some((*column, known(column)?))).collect::<Vec<_>>();
                let find = |wanted: &Column| known.iter().position(|(column, _)| *column == wanted);
                Scope { find: &find, columns: known.iter().map(|(_, estimate)| *estimate).collect() }.keep(filter)
            }
        };
        let hits = joins::semi_share(&pairs, right.rows, filter);
        let keep = match reducer.join_type {
            JoinType::LeftSemi => hits,
            JoinType::LeftAnti => joins::anti_share(&pairs, right.rows, filter),
            _ => 1.0,
        };
        Ok((keep, hits))
    }
}
