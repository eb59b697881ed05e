//! The join graph of a region: relations, classes of equated expressions, predicates, and the rows of any set of them.
//!
//! Rows of a set do not depend on the order in which it is joined: the set's relations are taken by number, and each
//! brings a factor (see [`JoinGraph::factor`]). So all trees over one set agree, as dynamic programming wants it.

use std::cmp::Reverse;

use datafusion::common::Column;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::region::Reducer;
use crate::rewrite::statistics::{ColumnEstimate, joins};

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

/// Whether a relation is in a set.
pub(super) fn contains(set: Set, relation: usize) -> bool {
    set & (1 << relation) != 0
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
    pub(super) fn within(&self, set: Set) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| contains(set, member.relation))
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
        let after = before | (1 << relation);
        let complete =
            |residual: &&Residual| contains(residual.relations, relation) && within(residual.relations, after);
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
        let in_common = |relation: usize| shared.iter().filter(|class| contains(class.relations, relation)).count();
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

impl JoinGraph {
    /// The graph of these parts.
    pub(super) fn connected(
        relations: Vec<Relation>,
        classes: Vec<Class>,
        residuals: Vec<Residual>,
        constants: Vec<Expr>,
    ) -> Self {
        let neighbours = vec![0; relations.len()];
        let mut graph = Self { relations, classes, residuals, constants, neighbours };
        graph.connect();
        graph
    }

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
        let component = |relation: usize| components.iter().position(|set| contains(*set, relation));
        let mut found = self.neighbours.clone();
        for one in members(self.tables()) {
            for other in members(self.tables()) {
                let both = (1 << one) | (1 << other);
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
        members(self.all()).filter(|&at| self.relations[at].reducer.is_none()).fold(0, |set, at| set | (1 << at))
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
            found.1 |= relation.is_some_and(|relation| contains(class.relations, relation));
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
