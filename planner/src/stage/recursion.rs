//! `RecursiveQueryExec`: a stage with one lane on each rank, whose ranks exchange rows in rounds.
//!
//! ```text
//!   RecursiveQueryExec: reach                 s0: scan edges                      -> x0 hash(src) to s2
//!     static term                      ──►    s1: the static term                 -> x1 to s2
//!     HashJoinExec on r.v = e.src             s2: pipeline 0: x0 → build slot 0
//!       WorkTableExec: reach                      pipeline 1: slot 1 → probe slot 0 → project → collect slot 1, in rounds
//!       DataSourceExec: edges
//! ```
//!
//! The recursive term becomes one pipeline if on the way from the work table to its root there are only nodes that work row by
//! row: then the new rows of a round are all it needs to see, and each rank may work on its own. Joins build the other side, once.
//! That of the first join with keys is cut by these keys, as the new rows are, so that partners meet and equal rows too; those of
//! other joins go to every rank. Any other term runs in one place ([`super::whole`]), and EXPLAIN says why.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route, Stage, StageId, StageInput};
use bireme_operators::hash_partition::HashPartitioner;
use bireme_operators::pipeline::ir::{Sink, Source};
use bireme_operators::pipeline::run::{Recursion, RecursionBody};
use datafusion::common::JoinSide;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::work_table::WorkTableExec;

use super::shared::is_repeatable;
use super::{Builder, Part};
use crate::fuse::{Finished, Fused, Join, groups_by};

type Node = Arc<dyn ExecutionPlan>;

/// What the term does with a row of the work table on its way to the root.
enum Turn<'a> {
    Filter(&'a FilterExec),
    Project(&'a ProjectionExec),
    /// The side that the row comes from.
    Join(Box<Join<'a>>, JoinSide),
}

impl Builder {
    pub(super) fn recursion(&mut self, node: &Node, recursion: &RecursiveQueryExec) -> Result<Part> {
        match way(recursion) {
            Ok((turns, read)) => self.in_rounds(recursion, turns, read),
            Err(reason) => self.whole(node, &reason).map(Part::Island),
        }
    }

    fn in_rounds(&mut self, recursion: &RecursiveQueryExec, turns: Vec<Turn<'_>>, read: Vec<usize>) -> Result<Part> {
        let Some(native) = self.world.native.clone() else {
            return Err(bireme_engine::Error::internal("a recursive query without workers"));
        };
        let first = self.visit_where_it_lies(ungathered(recursion.static_term()))?;
        let lanes = (0..self.ranks).map(Pin::Rank).collect::<Vec<_>>();
        let feed = Feed::Lanes((0..self.ranks).collect());
        // They go to their ranks in the first round, so that it does not matter where they come in.
        let first = match (first.bare_exchange(), first.inputs.as_slice()) {
            (Some(_), [input]) if !matches!(input.feed, Feed::EveryRank) => input.clone(),
            _ => StageInput { exchange: self.send(first.into(), Route::RoundRobin, None)?, feed: feed.clone() },
        };

        let (slot, schema) = (self.slot(), recursion.schema());
        let mut fused = Fused::reading(Source::Slot(slot), Arc::clone(&schema), lanes.clone());
        let columns = fused.columns();
        fused.project(read.iter().map(|&place| columns[place].clone()).collect(), Arc::new(schema.project(&read)?));
        // Which column of the work table each column is.
        let mut places = Some(read.into_iter().map(Some).collect::<Vec<_>>());
        let mut owner = None;
        for turn in turns {
            match turn {
                Turn::Filter(filter) => {
                    places = places.map(|places| projected(&places, filter.projection().as_deref()));
                    fused = fused.filter(filter)?;
                }
                Turn::Project(projection) => {
                    let exprs = projection.expr().iter().map(|projected| &projected.expr);
                    places = places.map(|places| exprs.map(|expr| column(expr, &places)).collect());
                    fused = fused.projection(projection)?;
                }
                Turn::Join(join, side) => {
                    let keys = places.take().and_then(|places| own_keys(&join, side, &places));
                    let other = if side == JoinSide::Left { join.right } else { join.left };
                    let mut other = self.visit_where_it_lies(ungathered(other))?;
                    if self.ranks > 1 {
                        other = match keys.filter(|_| owner.is_none()) {
                            Some(keys) => {
                                owner = Some(keys);
                                let of_left = side == JoinSide::Right;
                                let keys = (0..join.key_count()).map(|place| join.key(place, of_left));
                                self.by_hash(other, &keys.collect::<Vec<_>>(), lanes.clone())?
                            }
                            None => self.exchanged(other, Route::Broadcast, lanes.clone(), Feed::EveryRank)?,
                        };
                    }
                    fused = join.fuse_probing(side, other, fused, self.slot())?;
                }
            }
        }
        let owner = owner.unwrap_or_else(|| (0..schema.fields().len()).collect());
        let owner = owner
            .into_iter()
            .map(|place| Arc::new(Column::new(schema.field(place).name(), place)) as Arc<dyn PhysicalExpr>);
        let owner = Arc::new(HashPartitioner::new(owner.collect()));
        let after = self.scalars_read_in(&fused.expressions)?;
        let mut inputs = std::mem::take(&mut fused.inputs);
        inputs.push(first.clone());
        fused.schema = Arc::clone(&schema);
        let Finished { program, leaves, .. } = fused.finish_in(Sink::Collect(slot));
        let recursion = Recursion { first: first.exchange, distinct: recursion.is_distinct(), owner };
        let body = Arc::new(RecursionBody::new(program, leaves, native.workers, recursion));
        let (id, outputs, advice) = (StageId(0), Vec::new(), Vec::new());
        let stage = self.push(Stage { id, body, lanes: lanes.clone(), inputs, outputs, advice, after });
        let exchange = self.exchange(stage, Route::Keep, Arc::clone(&schema), None);
        let mut reading = Fused::reading(Source::Exchange(exchange), schema, lanes);
        reading.inputs = vec![StageInput { exchange, feed }];
        Ok(reading.into())
    }
}

/// The way of a row from the work table to the term's root, and which of its columns are read; or why the term has no such way.
fn way(recursion: &RecursiveQueryExec) -> Result<(Vec<Turn<'_>>, Vec<usize>), String> {
    let name = recursion.name();
    let schema = recursion.schema();
    if let Some(field) = schema.fields().iter().find(|field| recursion.is_distinct() && !groups_by(field.data_type())) {
        return Err(format!("rows cannot be told apart by {}, a {}", field.name(), field.data_type()));
    }
    let mut turns = Vec::new();
    let mut node = recursion.recursive_term();
    loop {
        if node.is::<WorkTableExec>() {
            turns.reverse();
            return Ok((turns, columns_read(&schema, &node.schema())?));
        }
        let refused = || Err(format!("its recursive term has a {} over its own rows", node.name()));
        if node.fetch().is_some() {
            return refused();
        }
        let (turn, below) = if let Some(filter) = node.downcast_ref::<FilterExec>() {
            if is_volatile(filter.predicate()) {
                return refused();
            }
            (Some(Turn::Filter(filter)), filter.input())
        } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            if projection.expr().iter().any(|projected| is_volatile(&projected.expr)) {
                return refused();
            }
            (Some(Turn::Project(projection)), projection.input())
        } else if let Some(gather) = node.downcast_ref::<CoalescePartitionsExec>() {
            (None, gather.input())
        } else if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            (None, repartition.input())
        } else if node.is::<CooperativeExec>() {
            (None, node.children()[0])
        } else if let Some(join) = Join::of(node) {
            let (left, right) = (reads(join.left, name), reads(join.right, name));
            let side = if left { JoinSide::Left } else { JoinSide::Right };
            if left == right || !join.keeps(side) {
                return refused();
            }
            let (below, other) = if left { (join.left, join.right) } else { (join.right, join.left) };
            if !is_repeatable(other) {
                return Err("its recursive term joins rows that are other ones in every round".into());
            }
            (Some(Turn::Join(Box::new(join), side)), below)
        } else {
            return refused();
        };
        turns.extend(turn);
        node = below;
    }
}

/// Which columns of the rows a work table shows. It does not say so, but by their names.
fn columns_read(rows: &SchemaRef, shown: &SchemaRef) -> Result<Vec<usize>, String> {
    let place = |field: &FieldRef| {
        let mut named = (0..rows.fields().len()).filter(|&place| rows.field(place).name() == field.name());
        let place = named.next().filter(|&place| rows.field(place).data_type() == field.data_type());
        place.filter(|_| named.next().is_none())
    };
    let columns = shown.fields().iter().map(|field| {
        place(field).ok_or_else(|| format!("column {} of its rows is not told by name and type", field.name()))
    });
    columns.collect()
}

/// Whether a subtree reads the rows of the recursive query of this name.
fn reads(node: &Node, name: &str) -> bool {
    node.downcast_ref::<WorkTableExec>().is_some_and(|table| table.name() == name)
        || node.children().into_iter().any(|child| reads(child, name))
}

/// A term without the gather into one lane that DataFusion wants above it.
fn ungathered(node: &Node) -> &Node {
    match node.downcast_ref::<CoalescePartitionsExec>() {
        Some(gather) if gather.fetch().is_none() => gather.input(),
        _ => node,
    }
}

fn projected(places: &[Option<usize>], columns: Option<&[usize]>) -> Vec<Option<usize>> {
    columns.map_or_else(|| places.to_vec(), |columns| columns.iter().map(|&column| places[column]).collect())
}

/// Which column of the work table an expression is, given which the columns that it speaks of are.
fn column(expr: &Arc<dyn PhysicalExpr>, places: &[Option<usize>]) -> Option<usize> {
    places[expr.downcast_ref::<Column>()?.index()]
}

/// The columns of the work table that are the keys of a join, if all of them are columns of it.
fn own_keys(join: &Join<'_>, side: JoinSide, places: &[Option<usize>]) -> Option<Vec<usize>> {
    let key = |place| column(&join.key(place, side == JoinSide::Left), places);
    (0..join.key_count()).map(key).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}
