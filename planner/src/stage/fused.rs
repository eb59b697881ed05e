//! Nodes that have a native form.
//!
//! Each rank's lanes are one partition in a fused fragment. So on one rank exchanges vanish, and between ranks an exchange
//! has one input lane a rank. Where a fused fragment meets an island, rows go over an exchange: into as many lanes as
//! DataFusion has planned, by the hash it has planned with; or out of all of the island's lanes.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use bireme_engine::error::Result;
use bireme_engine::stage::{ExchangeId, Feed, Output, Pin, Route, Stage, StageId, StageInput};
use bireme_operators::hash_partition::HashPartitioner;
use bireme_operators::island::ExchangeSource;
use bireme_operators::pipeline::ir::{AggregateMode, Program, Sink, SlotId, Source};
use bireme_operators::pipeline::run::NativeBody;
use datafusion::physical_expr::expressions::{Column, UnKnownColumn};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode as PlannedMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::advice::Native;
use super::{Builder, Fragment, LineOrigin, Part, SourceOrigin, received};
use crate::fuse::{Finished, Fused, Join, Window, groups_natively, is_distinct, types_of};

type Node = Arc<dyn ExecutionPlan>;

impl Builder {
    /// The node fused with what is below it; `None` if it belongs to an island.
    pub(super) fn fused(&mut self, node: &Node) -> Result<Option<Part>> {
        if let Some(subqueries) = node.downcast_ref::<ScalarSubqueryExec>() {
            return self.subqueries(subqueries).map(Some);
        }
        if self.world.native.is_none() {
            return Ok(None);
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let may = filter.fetch().is_none() && !is_volatile(filter.predicate());
            return self.light(node, may, |fused| fused.filter(filter));
        }
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let may = projection.expr().iter().all(|projected| !is_volatile(&projected.expr));
            return self.light(node, may, |fused| fused.projection(projection));
        }
        if let Some(limit) = node.downcast_ref::<LocalLimitExec>() {
            return self.fused_limit(node, 0, Some(limit.fetch())).map(Some);
        }
        if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
            return self.fused_limit(node, limit.skip(), limit.fetch()).map(Some);
        }
        if node.is::<CooperativeExec>() {
            return self.light(node, true, Ok);
        }
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            return self.fused_repartition(repartition, false);
        }
        if let Some(gather) = node.downcast_ref::<CoalescePartitionsExec>() {
            return self.fused_gather(node, gather);
        }
        if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
            return self.fused_merge(node, merge);
        }
        if let Some(sort) = node.downcast_ref::<SortExec>() {
            return self.fused_sort(sort).map(|fused| Some(fused.into()));
        }
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            return self.fused_aggregate(node, aggregate);
        }
        if let Some(join) = Join::of(node) {
            let part = self.fused_join(&join)?;
            // A limit that DataFusion has moved into the join.
            return match (node.fetch(), part) {
                (Some(fetch), Some(part)) => self.limited(node, part, fetch).map(Some),
                (_, part) => Ok(part),
            };
        }
        match Window::of(node) {
            Some(Ok(window)) => return self.fused_window(&window).map(|fused| Some(fused.into())),
            Some(Err(reason)) => self.graph.notes.push(format!("window functions in an island: {reason}")),
            None => {}
        }
        if node.is::<UnionExec>() || node.is::<InterleaveExec>() {
            return self.fused_union(node).map(Some);
        }
        if node.children().is_empty() {
            return self.fused_leaf(node);
        }
        Ok(None)
    }

    pub(super) fn slot(&mut self) -> SlotId {
        self.slots += 1;
        SlotId(self.slots - 1)
    }

    /// A node that follows its input: fused over a fused one, in the island of an island.
    fn light(&mut self, node: &Node, may: bool, rule: impl FnOnce(Fused) -> Result<Fused>) -> Result<Option<Part>> {
        let input = node.children()[0];
        if !may {
            return Ok(None);
        }
        match self.visit(input)? {
            Part::Fused(fused) => {
                let sorted = fused.sorted;
                let mut fused = rule(*fused)?;
                fused.sorted = sorted;
                Ok(Some(fused.into()))
            }
            Part::Island(child) => self.over(node, child).map(|fragment| Some(Part::Island(fragment))),
        }
    }

    /// The first rows are those of the order that the input promises.
    fn fused_limit(&mut self, node: &Node, skip: usize, fetch: Option<usize>) -> Result<Part> {
        let input = node.children()[0];
        let part = self.visit(input)?;
        match self.in_order(part, input)? {
            // Planned over one lane, but the stage below has one on each rank: graphs and contractions of small tables.
            Part::Fused(fused) if node.is::<GlobalLimitExec>() && fused.lanes.len() > 1 => {
                let first = fused.limit(0, fetch.map(|fetch| fetch.saturating_add(skip)), node.schema());
                Ok(self.gathered(first)?.limit(skip, fetch, node.schema()).into())
            }
            Part::Fused(fused) => Ok(fused.limit(skip, fetch, node.schema()).into()),
            Part::Island(child) => self.over(node, child).map(Part::Island),
        }
    }

    /// Only so many rows of a join: of each of its lanes, as it was planned over one or more.
    fn limited(&mut self, node: &Node, part: Part, fetch: usize) -> Result<Part> {
        let fused = self.as_fused(part)?.limit(0, Some(fetch), node.schema());
        let one = node.output_partitioning().partition_count() == 1 && fused.lanes.len() > 1;
        if !one {
            return Ok(fused.into());
        }
        Ok(self.gathered(fused)?.limit(0, Some(fetch), node.schema()).into())
    }

    fn fused_leaf(&mut self, node: &Node) -> Result<Option<Part>> {
        let Some(leaf) = self.world.native.as_ref().and_then(|native| native.leaves.find(node)) else {
            return Ok(None);
        };
        let number = self.leaves;
        self.leaves += 1;
        self.sources.push(SourceOrigin { number, node: Arc::clone(node), schema: Arc::clone(&leaf.schema) });
        Fused::scan(leaf, number, node, self.ranks).map(|fused| Some(fused.into()))
    }

    /// An exchange that DataFusion proposes, or a user has asked for.
    pub(super) fn fused_repartition(&mut self, repartition: &RepartitionExec, by_user: bool) -> Result<Option<Part>> {
        let fused = match self.visit(repartition.input())? {
            Part::Fused(fused) => *fused,
            Part::Island(child) => {
                return self.repartition(repartition, child).map(|fragment| Some(Part::Island(fragment)));
            }
        };
        if self.ranks == 1 {
            return Ok(Some(fused.into()));
        }
        match repartition.partitioning() {
            Partitioning::Hash(keys, _) => {
                // Rows in one lane are together, but to be spread; whoever asks for a layout gets it over all ranks.
                let spread = fused.lanes.len() == 1 || by_user && !self.are_together(&fused, keys)?;
                let fused = if spread {
                    self.by_hash(fused, keys, vec![Pin::Free; self.ranks])?
                } else {
                    self.together(fused, keys, self.most_expected(repartition.input()), &by_keys(keys))?
                };
                Ok(Some(fused.into()))
            }
            Partitioning::RoundRobinBatch(_) if fused.lanes.len() >= self.ranks => Ok(Some(fused.into())),
            Partitioning::RoundRobinBatch(_) => self.onto_ranks(fused, Route::Spread).map(|fused| Some(fused.into())),
            _ => {
                let child = self.as_island(fused.into(), repartition.input())?;
                self.repartition(repartition, child).map(|fragment| Some(Part::Island(fragment)))
            }
        }
    }

    /// Over an exchange with one lane a rank.
    fn onto_ranks(&mut self, fused: Fused, route: Route) -> Result<Fused> {
        let lanes = self.ranks;
        self.exchanged(fused, route, vec![Pin::Free; lanes], Feed::Lanes((0..lanes).collect()))
    }

    /// Everything into one lane.
    pub(super) fn gathered(&mut self, fused: Fused) -> Result<Fused> {
        if fused.lanes.len() == 1 {
            return Ok(fused);
        }
        self.exchanged(fused, Route::Gather, vec![Pin::Free], Feed::Lanes(vec![0]))
    }

    pub(super) fn exchanged(&mut self, fused: Fused, route: Route, lanes: Vec<Pin>, feed: Feed) -> Result<Fused> {
        let schema = Arc::clone(&fused.schema);
        let origin = fused.origins.last(fused.steps.len()).cloned();
        let exchange = self.send(fused.into(), route, None)?;
        let mut reading = Fused::reading(Source::Exchange(exchange), schema, lanes);
        reading.inputs = vec![StageInput { exchange, feed }];
        origin.iter().for_each(|node| reading.stands_for(node));
        Ok(reading)
    }

    fn fused_gather(&mut self, node: &Node, gather: &CoalescePartitionsExec) -> Result<Option<Part>> {
        let fused = match self.visit(gather.input())? {
            Part::Fused(fused) => *fused,
            Part::Island(child) => return self.gather(gather, child).map(|fragment| Some(Part::Island(fragment))),
        };
        // No rank needs to send more rows than are let through.
        let mut fused = fused.limit(0, gather.fetch(), node.schema());
        if fused.lanes.len() > 1 {
            fused = self.gathered(fused)?.limit(0, gather.fetch(), node.schema());
            fused.sorted = false;
        }
        Ok(Some(fused.into()))
    }

    fn fused_merge(&mut self, node: &Node, merge: &SortPreservingMergeExec) -> Result<Option<Part>> {
        let mut fused = match self.visit(merge.input())? {
            Part::Fused(fused) => *fused,
            Part::Island(child) => return self.merge(node, merge, child).map(|fragment| Some(Part::Island(fragment))),
        };
        if fused.sorted && fused.lanes.len() == 1 {
            fused.keeps_order = true;
            return Ok(Some(fused.limit(0, merge.fetch(), node.schema()).into()));
        }
        let slot = self.slot();
        let fused = self.gathered(fused)?.sort(merge.expr(), merge.fetch(), slot)?;
        Ok(Some(fused.into()))
    }

    fn fused_sort(&mut self, sort: &SortExec) -> Result<Fused> {
        let mut fused = self.visit_fused(sort.input())?;
        if !sort.preserve_partitioning() {
            fused = self.gathered(fused)?;
        }
        // Several ranks are merged by sorting what they send, which need not be sorted before.
        if fused.lanes.len() > 1 && sort.fetch().is_none() {
            fused.sorted = false;
            return Ok(fused);
        }
        let slot = self.slot();
        let mut fused = fused.sort(sort.expr(), sort.fetch(), slot)?;
        fused.schema = sort.schema();
        Ok(fused)
    }

    fn fused_aggregate(&mut self, whole: &Node, node: &AggregateExec) -> Result<Option<Part>> {
        if !groups_natively(node) {
            return Ok(None);
        }
        match node.mode() {
            PlannedMode::Single | PlannedMode::SinglePartitioned => {
                let fused = self.visit_where_it_lies(node.input())?;
                let keys = group_keys(node);
                let fused = self.together(fused, &keys, self.most_expected(node.input()), &by_keys(&keys))?;
                let slot = self.slot();
                let mut fused = fused.group(node, &node.input_schema(), AggregateMode::Single, slot)?;
                fused.schema = node.schema();
                Ok(Some(fused.into()))
            }
            PlannedMode::Final | PlannedMode::FinalPartitioned => match partial_below(node) {
                Some(partial) if groups_natively(partial) => self.fused_two_phases(whole, node, partial),
                _ => Ok(None),
            },
            // Its states are DataFusion's: whoever reads them is an island.
            _ => Ok(None),
        }
    }

    /// A final aggregation over a partial one.
    fn fused_two_phases(
        &mut self,
        whole: &Node,
        node: &AggregateExec,
        partial: &AggregateExec,
    ) -> Result<Option<Part>> {
        let fused = self.visit_fused(partial.input())?;
        let (rows, groups) = (self.most_expected(partial.input()), self.most_expected(whole));
        let input = partial.input_schema();
        let keys = group_keys(partial);
        let slot = self.slot();
        let are_together = self.are_together(&fused, &keys)?;
        let mut grouped = if are_together || is_distinct(partial) {
            // Equal values of one group must meet: the rows themselves are sent, by key.
            let fused = self.together(fused, &keys, rows, &by_keys(&keys))?;
            fused.group(partial, &input, AggregateMode::Single, slot)?
        } else {
            let mut fused = fused.group(partial, &input, AggregateMode::Partial, slot)?;
            let Some(Sink::Aggregate(_, spec)) = fused.pipelines.last().map(|pipeline| pipeline.sink.clone()) else {
                return Ok(None);
            };
            let states = fused.types.iter().enumerate();
            let states = states.map(|(place, data_type)| Field::new(format!("state_{place}"), data_type.clone(), true));
            fused.schema = Arc::new(Schema::new(states.collect::<Vec<_>>()));
            let key = |place: usize| Arc::new(Column::new(&format!("state_{place}"), place)) as Arc<dyn PhysicalExpr>;
            // Each rank has each group once at most.
            let sent = groups.map(|groups| (groups * fused.lanes.len() as f64).min(rows.unwrap_or(f64::INFINITY)));
            let states = (0..keys.len()).map(key).collect::<Vec<_>>();
            let fused = self.together(fused, &states, sent, &by_keys(&keys))?;
            let slot = self.slot();
            fused.regroup(&spec, slot)
        };
        grouped.schema = node.schema();
        debug_assert_eq!(grouped.types.len(), types_of(&grouped.schema).len());
        Ok(Some(grouped.into()))
    }

    /// The node and what is below it as a fused part.
    pub(super) fn visit_fused(&mut self, node: &Node) -> Result<Fused> {
        let part = self.visit(node)?;
        self.visited(part, node)
    }

    /// A part as a fused one: an island becomes a stage of its own, of which each rank reads its lanes.
    pub(super) fn as_fused(&mut self, part: Part) -> Result<Fused> {
        let fragment = match part {
            Part::Fused(fused) => return Ok(*fused),
            Part::Island(fragment) => fragment,
        };
        let (count, schema) = (fragment.lanes.len(), fragment.template.schema());
        let lanes = self.ranks.min(count);
        // Lanes stay on their rank, whatever it is; equal keys stay together.
        let feed = Feed::Lanes((0..count).map(|lane| lane * lanes / count).collect());
        let pinned = fragment.lanes.iter().any(|pin| *pin != Pin::Free);
        let pins = if lanes == 1 && pinned { vec![fragment.lanes[0]] } else { vec![Pin::Free; lanes] };
        let exchange = match fragment.bare_exchange() {
            Some(exchange) => exchange,
            None => self.send(Part::Island(fragment), Route::Keep, None)?,
        };
        let mut fused = Fused::reading(Source::Exchange(exchange), schema, pins);
        fused.inputs = vec![StageInput { exchange, feed }];
        Ok(fused)
    }

    /// A part in the lanes that an island above `node` expects.
    pub(super) fn as_island(&mut self, part: Part, node: &Node) -> Result<Fragment> {
        let mut fused = match part {
            Part::Island(fragment) => return Ok(fragment),
            Part::Fused(fused) => *fused,
        };
        let partitioning = node.output_partitioning().clone();
        let lanes = partitioning.partition_count();
        let order = node.properties().output_ordering().cloned();
        let keeps_order = fused.sorted && fused.lanes.len() == 1 && lanes == 1;
        fused.keeps_order |= keeps_order;
        let route = match &partitioning {
            _ if lanes == 1 => Route::Gather,
            // A key that was projected away is known to nobody who could rely on it.
            Partitioning::Hash(keys, _) if !keys.iter().any(reads_unknown) => {
                Route::Hash(Arc::new(HashPartitioner::new(keys.clone())))
            }
            _ if fused.lanes.len() < self.ranks => Route::Spread,
            _ => Route::RoundRobin,
        };
        let exchange = match fused.bare_exchange() {
            // Rows that are on their way go straight to the lanes.
            Some(exchange) if self.routes_alike(exchange, &route) => exchange,
            _ => self.send(fused.into(), route, None)?,
        };
        let rows = match &order {
            Some(_) if !keeps_order => EquivalenceProperties::new(node.schema()),
            _ => node.properties().equivalence_properties().clone(),
        };
        let mut fragment = received(exchange, rows, partitioning, vec![Pin::Free; lanes]);
        if let (Some(order), false) = (order, keeps_order) {
            let sort = SortExec::new(order, fragment.template).with_preserve_partitioning(true);
            fragment.template = Arc::new(sort);
        }
        Ok(fragment)
    }

    fn routes_alike(&self, exchange: ExchangeId, route: &Route) -> bool {
        self.graph.exchanges[exchange.0 as usize].route.describe() == route.describe()
            && !matches!(route, Route::Broadcast)
    }

    /// Makes a fused fragment a stage.
    pub(super) fn close_fused(&mut self, mut fused: Fused, outputs: Vec<Output>) -> Result<StageId> {
        let after = self.scalars_read_in(&fused.expressions)?;
        let (lanes, inputs) = (std::mem::take(&mut fused.lanes), std::mem::take(&mut fused.inputs));
        let Some(native) = self.world.native.clone() else {
            return Err(bireme_engine::Error::internal("a fused stage without workers"));
        };
        let fused = if native.accelerator.is_some() { fused.finish_on_device() } else { fused.finish() };
        let Finished { program, leaves, origins } = fused;
        let copies = self.copies(&program);
        let kept = (self.ranks > 1).then(|| (program.clone(), leaves.clone()));
        let body = Arc::new(NativeBody::new(program, leaves, native.workers).on(native.accelerator));
        let running = Arc::clone(body.program());
        let stage = self.push(Stage { id: StageId(0), body, lanes, inputs, outputs, advice: Vec::new(), after });
        self.programs.insert(stage, running);
        if let Some((program, leaves)) = kept {
            self.natives.insert(stage, Native { program, leaves, advised: false });
        }
        let origin = |(line, node)| {
            let copied = copies.iter().find(|(lines, _)| lines.contains(&line));
            LineOrigin { stage, line, node, copied_by: copied.map(|(_, exchange)| *exchange) }
        };
        self.origins.extend(origins.into_iter().map(origin));
        Ok(stage)
    }

    /// The lines that every rank runs on all rows, and the exchanges that bring it these.
    fn copies(&self, program: &Program) -> Vec<(Range<usize>, ExchangeId)> {
        let copied = program.pipelines.iter().zip(program.places()).filter_map(|(pipeline, places)| {
            let Source::Exchange(exchange) = pipeline.source else { return None };
            let everywhere = matches!(self.graph.exchanges[exchange.0 as usize].route, Route::Broadcast);
            everywhere.then_some((places.source..places.steps.end, exchange))
        });
        copied.collect()
    }
}

/// What an aggregation groups by.
fn group_keys(node: &AggregateExec) -> Vec<Arc<dyn PhysicalExpr>> {
    node.group_expr().expr().iter().map(|(key, _)| Arc::clone(key)).collect()
}

/// What is grouped, for people.
fn by_keys(keys: &[Arc<dyn PhysicalExpr>]) -> String {
    format!("groups by {}", listed(keys))
}

/// Expressions for people.
pub(super) fn listed(exprs: &[Arc<dyn PhysicalExpr>]) -> String {
    exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn reads_unknown(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.is::<UnKnownColumn>() || expr.children().into_iter().any(reads_unknown)
}

/// The partial aggregation that a final one completes, if only an exchange is between them.
fn partial_below(node: &AggregateExec) -> Option<&AggregateExec> {
    let mut below = node.input();
    if let Some(repartition) = below.downcast_ref::<RepartitionExec>() {
        below = repartition.input();
    } else if let Some(gather) = below.downcast_ref::<CoalescePartitionsExec>() {
        below = gather.input();
    }
    let partial = below.downcast_ref::<AggregateExec>()?;
    (*partial.mode() == PlannedMode::Partial).then_some(partial)
}

impl From<Fused> for Part {
    fn from(fused: Fused) -> Self {
        Part::Fused(Box::new(fused))
    }
}

impl Fragment {
    /// The exchange it reads, if it does nothing else.
    fn bare_exchange(&self) -> Option<ExchangeId> {
        let source = self.template.downcast_ref::<ExchangeSource>()?;
        (!source.is_broadcast() && self.leaves.is_empty() && self.inputs.len() == 1).then(|| source.exchange())
    }
}
