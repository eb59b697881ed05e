//! Whether the rows of one subtree are those of another, which may have more columns.
//!
//! ```text
//!   whole: HashJoinExec, projection [ps_partkey, ps_availqty, ps_supplycost]
//!            supplier … ; partsupp [ps_partkey, ps_suppkey, ps_availqty, ps_supplycost]
//!   part:  HashJoinExec, projection [ps_availqty, ps_supplycost]                          part = columns [1, 2] of whole
//!            supplier … ; partsupp [ps_suppkey, ps_availqty, ps_supplycost]
//! ```
//!
//! DataFusion drops columns early and in every branch for itself, so that two uses of one join rarely have the same
//! columns. Subtrees are compared from their sources up: with each node goes the place of each of its columns in the
//! other's, and expressions are compared with columns so replaced, by structure. Text would not do: two scalar subqueries,
//! or literals of two types, print alike.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;

use super::MorselLeaves;

type Node = Arc<dyn ExecutionPlan>;

/// For each column of something the column of something else that holds the same values, row by row.
pub(super) type Places = Vec<usize>;

/// For each column of `part` the column of `whole` that holds the same, if both have the same rows; `None` if in doubt.
pub(super) fn columns_within(leaves: &dyn MorselLeaves, whole: &Node, part: &Node) -> Option<Places> {
    if Arc::ptr_eq(whole, part) {
        return Some(all(part));
    }
    let (below_whole, below_part) = (whole.children(), part.children());
    if whole.name() != part.name() || below_whole.len() != below_part.len() {
        return None;
    }
    if below_part.is_empty() {
        return leaves.columns_within(whole, part);
    }
    // Nodes first, since most differ in what can be seen at once.
    if let (Some(whole), Some(part)) = (whole.downcast_ref::<HashJoinExec>(), part.downcast_ref::<HashJoinExec>()) {
        return of_joins(leaves, whole, part);
    }
    let below = below_whole.into_iter().zip(below_part);
    let below = below.map(|(whole, part)| columns_within(leaves, whole, part)).collect::<Option<Vec<_>>>()?;
    match below.as_slice() {
        [places] => of_single(whole, part, places),
        _ => if_equal(whole, part, &below),
    }
}

fn all(node: &Node) -> Places {
    (0..node.schema().fields().len()).collect()
}

/// A node over one input.
fn of_single(whole: &Node, part: &Node, places: &Places) -> Option<Places> {
    let input = whole.children()[0];
    if let (Some(a), Some(b)) = (whole.downcast_ref::<FilterExec>(), part.downcast_ref::<FilterExec>()) {
        let same = a.fetch() == b.fetch() && same_expr(a.predicate(), b.predicate(), places, input);
        return same.then(|| projected(places, a.projection().as_deref(), b.projection().as_deref())).flatten();
    }
    if let (Some(a), Some(b)) = (whole.downcast_ref::<ProjectionExec>(), part.downcast_ref::<ProjectionExec>()) {
        let place = |wanted: &Arc<dyn PhysicalExpr>| {
            a.expr().iter().position(|projected| same_expr(&projected.expr, wanted, places, input))
        };
        return b.expr().iter().map(|projected| place(&projected.expr)).collect();
    }
    if let (Some(a), Some(b)) = (whole.downcast_ref::<RepartitionExec>(), part.downcast_ref::<RepartitionExec>()) {
        let same = match (a.partitioning(), b.partitioning()) {
            (Partitioning::RoundRobinBatch(a), Partitioning::RoundRobinBatch(b)) => a == b,
            (Partitioning::Hash(a, lanes), Partitioning::Hash(b, others)) => {
                let mut keys = a.iter().zip(b);
                lanes == others && a.len() == b.len() && keys.all(|(a, b)| same_expr(a, b, places, input))
            }
            _ => false,
        };
        return same.then(|| places.clone());
    }
    if let (Some(a), Some(b)) =
        (whole.downcast_ref::<CoalescePartitionsExec>(), part.downcast_ref::<CoalescePartitionsExec>())
    {
        return (a.fetch().is_none() && b.fetch().is_none()).then(|| places.clone());
    }
    if_equal(whole, part, std::slice::from_ref(places))
}

fn of_joins(leaves: &dyn MorselLeaves, whole: &HashJoinExec, part: &HashJoinExec) -> Option<Places> {
    let alike = whole.join_type() == part.join_type()
        && whole.partition_mode() == part.partition_mode()
        && whole.null_equality() == part.null_equality()
        && whole.null_aware == part.null_aware
        && whole.fetch() == part.fetch()
        && whole.on().len() == part.on().len()
        && whole.filter().is_some() == part.filter().is_some();
    if !alike {
        return None;
    }
    let left = columns_within(leaves, whole.left(), part.left())?;
    let right = columns_within(leaves, whole.right(), part.right())?;
    let mut keys = whole.on().iter().zip(part.on());
    let same_keys =
        keys.all(|(a, b)| same_expr(&a.0, &b.0, &left, whole.left()) && same_expr(&a.1, &b.1, &right, whole.right()));
    let same_filter = whole.filter().zip(part.filter()).is_none_or(|(a, b)| {
        let place = |side: JoinSide, index: usize| match side {
            JoinSide::Left => left.get(index).copied(),
            JoinSide::Right => right.get(index).copied(),
            JoinSide::None => None,
        };
        let mut columns = a.column_indices().iter().zip(b.column_indices());
        a.expression() == b.expression()
            && a.column_indices().len() == b.column_indices().len()
            && columns.all(|(a, b)| a.side == b.side && Some(a.index) == place(b.side, b.index))
    });
    if !same_keys || !same_filter {
        return None;
    }
    let before = whole.left().schema().fields().len();
    let both = match whole.join_type() {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            left.into_iter().chain(right.into_iter().map(|place| place + before)).collect()
        }
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => right,
        JoinType::LeftMark => left.into_iter().chain([before]).collect(),
        JoinType::RightMark => right.into_iter().chain([whole.right().schema().fields().len()]).collect(),
    };
    projected(&both, whole.projection.as_deref(), part.projection.as_deref())
}

/// Places behind projections on both sides.
fn projected(places: &Places, whole: Option<&[usize]>, part: Option<&[usize]>) -> Option<Places> {
    let behind = |place: usize| match whole {
        Some(kept) => kept.iter().position(|&kept| kept == place),
        None => Some(place),
    };
    match part {
        Some(kept) => kept.iter().map(|&column| behind(*places.get(column)?)).collect(),
        None => places.iter().map(|&place| behind(place)).collect(),
    }
}

/// Any other node: both must be the same, over the same columns.
fn if_equal(whole: &Node, part: &Node, below: &[Places]) -> Option<Places> {
    let same_columns = below.iter().zip(whole.children()).all(|(places, input)| *places == all(input));
    let equal = same_columns
        && whole.schema() == part.schema()
        && line(whole) == line(part)
        && expressions(whole).is_some_and(|expressions_of_whole| expressions(part) == Some(expressions_of_whole));
    equal.then(|| all(part))
}

fn line(node: &Node) -> String {
    DisplayableExecutionPlan::new(node.as_ref()).one_line().to_string()
}

fn expressions(node: &Node) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
    let mut all: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let ended = node.apply_expressions(&mut |expr| {
        all.push(Arc::clone(expr));
        Ok(TreeNodeRecursion::Continue)
    });
    ended.is_ok().then_some(all)
}

/// Whether `part`, its columns replaced, is `whole`, which reads columns of `input`.
fn same_expr(whole: &Arc<dyn PhysicalExpr>, part: &Arc<dyn PhysicalExpr>, places: &Places, input: &Node) -> bool {
    let schema = input.schema();
    let replaced = Arc::clone(part).transform(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let place = places.get(column.index()).copied();
        let named = place.and_then(|place| Some(Column::new(schema.fields().get(place)?.name(), place)));
        Ok(named.map_or(Transformed::no(expr), |column| Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>)))
    });
    replaced.is_ok_and(|replaced| replaced.data.as_ref() == whole.as_ref())
}
