//! The join graph of a region: relations, classes of equated expressions, predicates, and the rows of any set of them.
//!
//! Rows of a set do not depend on the order in which it is joined: the set's relations are taken by number, and each
//! brings a factor (see [`JoinGraph::factor`]). So all trees over one set agree, as dynamic programming wants it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Column, ExprSchema, JoinType, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator};

use super::region::{Reducer, Region};
use crate::rewrite::statistics::selectivity::{Scope, strip};
use crate::rewrite::statistics::{ColumnEstimate, Estimate, Estimator, joins};

/// A set of relations, one bit each.
pub(super) type Set = u64;

/// The numbers of a set's relations, ascending.
pub(super) fn members(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            next
        })
    })
}

/// Whether all of one set is in the other.
pub(super) fn within(part: Set, whole: Set) -> bool {
    part & !whole == 0
}

/// The graph.
#[derive(Debug)]
pub(super) struct JoinGraph {
    pub relations: Vec<Relation>,
    pub classes: Vec<Class>,
    /// Predicates on several relations that are not in a class.
    pub residuals: Vec<Residual>,
    /// Predicates on no relation at all.
    pub constants: Vec<Expr>,
    pub outputs: Vec<Column>,
    /// Whom each relation can be joined with.
    neighbours: Vec<Set>,
}

/// A relation of the graph.
#[derive(Debug)]
pub(super) struct Relation {
    pub plan: LogicalPlan,
    pub rows: f64,
    /// Whether it is a scan, which a join above can filter.
    pub scans: bool,
    pub reducer: Option<ReducerEdge>,
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

/// How a reducer hangs on the graph.
#[derive(Debug)]
pub(super) struct ReducerEdge {
    pub join: Reducer,
    /// The relations that its condition looks at.
    pub needs: Set,
    /// The share of rows that it keeps.
    pub keep: f64,
    /// The share of rows that find a partner in it.
    pub hits: f64,
}

/// Expressions that are equal in every row of the region, at most one a relation.
#[derive(Debug)]
pub(super) struct Class {
    pub relations: Set,
    pub members: Vec<Member>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub relation: usize,
    pub expr: Expr,
    pub column: ColumnEstimate,
}

impl Class {
    /// The members in a set of relations.
    fn within(&self, set: Set) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| set >> member.relation & 1 == 1)
    }
}

/// A predicate on several relations.
#[derive(Debug)]
pub(super) struct Residual {
    pub predicate: Expr,
    pub relations: Set,
    pub keep: f64,
}

impl JoinGraph {
    pub(super) fn new(region: Region, estimator: &Estimator<'_>) -> Result<Self> {
        Builder::new(&region).build(region, estimator)
    }

    /// All relations.
    pub(super) fn all(&self) -> Set {
        Set::MAX >> (Set::BITS as usize - self.relations.len())
    }

    /// Whom the relations of a set can be joined with, without themselves.
    pub(super) fn neighbours(&self, set: Set) -> Set {
        members(set).fold(0, |found, relation| found | self.neighbours[relation]) & !set
    }

    /// Whether a set can be a tree of its own: its reducers have what they look at.
    pub(super) fn sound(&self, set: Set) -> bool {
        set.count_ones() == 1
            || members(set).all(|r| self.relations[r].reducer.as_ref().is_none_or(|edge| within(edge.needs, set)))
    }

    /// The rows of a set.
    pub(super) fn rows(&self, set: Set) -> f64 {
        let mut before: Set = 0;
        let mut rows = 1.0;
        for relation in members(set) {
            rows *= self.factor(before, relation);
            before |= 1 << relation;
        }
        rows
    }

    /// By how much the rows of a set grow when a relation joins it.
    pub(super) fn factor(&self, before: Set, relation: usize) -> f64 {
        let after = before | 1 << relation;
        let complete =
            |residual: &&Residual| residual.relations >> relation & 1 == 1 && within(residual.relations, after);
        let kept = self.residuals.iter().filter(complete).map(|residual| residual.keep).product::<f64>();
        let added = &self.relations[relation];
        match &added.reducer {
            Some(edge) => kept * edge.keep,
            None => kept * added.rows / self.domain(before, relation),
        }
    }

    /// The combinations of values that a relation could have in common with a set.
    fn domain(&self, before: Set, relation: usize) -> f64 {
        let pair = |(class, partner, own): (&Class, &Member, &Member)| {
            // Of n members all but the smallest domain divide: the new one does unless it is the smallest.
            let domains = class.within(before).map(|member| member.column.domain);
            let smallest = domains.fold(f64::INFINITY, f64::min);
            (own.column, ColumnEstimate { domain: smallest, ..partner.column })
        };
        let pairs: Vec<joins::Pair> = self.equalities(before, 1 << relation).into_iter().map(pair).collect();
        joins::combined(&pairs, |(own, other)| own.domain.max(other.domain).max(1.0))
    }

    /// For each class that two sets share, the members to equate.
    ///
    /// Any would do. Those of a relation that has members in many of the classes go first: its columns limit each
    /// other's combinations, which estimates make use of.
    pub(super) fn equalities(&self, left: Set, right: Set) -> Vec<(&Class, &Member, &Member)> {
        let shared = |class: &&Class| class.relations & left != 0 && class.relations & right != 0;
        let shared: Vec<&Class> = self.classes.iter().filter(shared).collect();
        let in_common = |relation: usize| shared.iter().filter(|class| class.relations >> relation & 1 == 1).count();
        // The first of the best: ties go to the relation that was named first.
        let rank = |member: &Member| (in_common(member.relation), Reverse(member.relation));
        let mut chosen = Vec::with_capacity(shared.len());
        for &class in &shared {
            let one = class.within(left).max_by_key(|member| rank(member));
            let other = class.within(right).max_by_key(|member| rank(member));
            if let (Some(one), Some(other)) = (one, other) {
                chosen.push((class, one, other));
            }
        }
        chosen
    }
}

/// Puts the graph together.
struct Builder {
    /// The relation of each column.
    owners: BTreeMap<Column, usize>,
}

impl Builder {
    fn new(region: &Region) -> Self {
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
        expr.column_refs().into_iter().filter_map(|column| self.owners.get(column)).fold(0, |set, at| set | 1 << at)
    }

    fn build(self, region: Region, estimator: &Estimator<'_>) -> Result<JoinGraph> {
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
            let marked = edges.iter().filter(|(number, _)| on >> number & 1 == 1).map(|(_, edge)| edge.needs);
            let relations = marked.fold(on, |set, needs| set | needs);
            let keep = scope.keep(&predicate);
            residuals.push(Residual { predicate, relations, keep });
        }
        for (number, edge) in edges {
            relations[number].reducer = Some(edge);
        }
        let (constants, outputs) = (sorted.constants, region.outputs);
        let mut graph =
            JoinGraph { neighbours: vec![0; relations.len()], relations, classes, residuals, constants, outputs };
        graph.connect();
        Ok(graph)
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
    fn equality(&self, region: &Region, predicate: &Expr) -> Result<Option<((usize, Expr), (usize, Expr))>> {
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

/// Predicates by kind.
#[derive(Default)]
struct Sorted {
    constants: Vec<Expr>,
    local: Vec<Vec<Expr>>,
    classes: Vec<Vec<(usize, Expr)>>,
    residuals: Vec<(Expr, Set)>,
}

impl Sorted {
    /// Puts two expressions into one class.
    fn equate(&mut self, left: (usize, Expr), right: (usize, Expr)) {
        let find = |wanted: &(usize, Expr)| self.classes.iter().position(|class| class.contains(wanted));
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
            let mut kept: Vec<(usize, Expr)> = Vec::with_capacity(class.len());
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
    fn class(&self, estimator: &Estimator<'_>, members: Vec<(usize, Expr)>) -> Class {
        let describe = |(relation, expr): (usize, Expr)| {
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
        Class { relations: members.iter().fold(0, |set, member| set | 1 << member.relation), members }
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

impl JoinGraph {
    /// Finds each relation's neighbours; where that leaves several components, everything beyond is a neighbour too.
    fn connect(&mut self) {
        for class in &self.classes {
            for relation in members(class.relations) {
                self.neighbours[relation] |= class.relations & !(1 << relation);
            }
        }
        self.join_components(true);
        self.join_components(false);
        // Last, since a reducer holds nothing together: what it looks at must be joined before.
        for (number, relation) in self.relations.iter().enumerate() {
            let Some(edge) = &relation.reducer else { continue };
            self.neighbours[number] |= edge.needs;
            for needed in members(edge.needs) {
                self.neighbours[needed] |= 1 << number;
            }
        }
    }

    /// Adds edges between components: between those that a predicate looks at first, then between all.
    fn join_components(&mut self, by_predicate: bool) {
        let components = self.components();
        if components.len() < 2 {
            return;
        }
        let component = |relation: usize| components.iter().position(|set| set >> relation & 1 == 1);
        let mut found = self.neighbours.clone();
        for one in members(self.tables()) {
            for other in members(self.tables()) {
                let both = 1 << one | 1 << other;
                let wanted = !by_predicate || self.residuals.iter().any(|residual| within(both, residual.relations));
                if wanted && component(one) != component(other) {
                    found[one] |= 1 << other;
                }
            }
        }
        self.neighbours = found;
    }

    /// All relations but the reducers.
    fn tables(&self) -> Set {
        members(self.all()).filter(|&at| self.relations[at].reducer.is_none()).fold(0, |set, at| set | 1 << at)
    }

    /// The sets of relations that edges connect.
    fn components(&self) -> Vec<Set> {
        let mut left = self.tables();
        let mut found = Vec::new();
        while left != 0 {
            let mut component = left & left.wrapping_neg();
            while self.neighbours(component) != 0 {
                component |= self.neighbours(component);
            }
            found.push(component);
            left &= !component;
        }
        found
    }

    /// Whether two sets have equal keys, and whether the keys belong to one relation of the second.
    pub(super) fn keys(&self, left: Set, right: Set, relation: Option<usize>) -> (bool, bool) {
        let shared = |class: &&Class| class.relations & left != 0 && class.relations & right != 0;
        let mut found = (false, false);
        for class in self.classes.iter().filter(shared) {
            found.0 = true;
            found.1 |= relation.is_some_and(|relation| class.relations >> relation & 1 == 1);
        }
        found.0 |= self.residuals.iter().any(|residual| residual.splits(self, left, right).is_some());
        found
    }
}

impl Residual {
    /// The sides of an equality of which each looks at one of two sets.
    pub(super) fn splits(&self, graph: &JoinGraph, left: Set, right: Set) -> Option<(&Expr, &Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left: one, op: Operator::Eq, right: other }) = &self.predicate else {
            return None;
        };
        if !within(self.relations, left | right) {
            return None;
        }
        let belongs = |expr: &Expr, set: Set| {
            let columns = expr.column_refs();
            let owned = |column: &&Column| {
                members(set).any(|relation| {
                    let relation = &graph.relations[relation];
                    match &relation.reducer {
                        None => relation.plan.schema().has_column(column),
                        Some(edge) => edge.join.mark.as_ref() == Some(*column),
                    }
                })
            };
            !columns.is_empty() && columns.iter().all(owned)
        };
        match (one.as_ref(), other.as_ref()) {
            (one, other) if belongs(one, left) && belongs(other, right) => Some((one, other)),
            (one, other) if belongs(one, right) && belongs(other, left) => Some((other, one)),
            _ => None,
        }
    }
}
