//! Runs an island as the body of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Flow, Inlet, Outlet};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinSet;

use super::exchange_source::ExchangeSource;
use super::leaf_slot::LeafSlot;
use super::runtime::IslandRuntime;
use super::slice::LeafSlicer;
use crate::errors::from_datafusion;

/// An island as it was planned: the template and how its leaves map to the stage's lanes.
#[derive(Debug)]
pub struct IslandPlan {
    /// The subtree; its leaves are [`LeafSlot`]s and [`ExchangeSource`]s.
    pub template: Arc<dyn ExecutionPlan>,
    /// For every source, by its number: partition `i` is read by stage lane `lanes[i]`.
    pub leaves: BTreeMap<usize, Vec<usize>>,
    /// Exchanges that are read again and again (under a recursive query).
    pub replayed: BTreeSet<ExchangeId>,
}

/// The body of an island's stage.
#[derive(Debug)]
pub struct IslandBody {
    plan: Arc<IslandPlan>,
    context: Arc<TaskContext>,
    runtime: Arc<IslandRuntime>,
    slicer: Arc<dyn LeafSlicer>,
}

impl IslandBody {
    /// A body that runs `plan` with DataFusion on `runtime`.
    pub fn new(
        plan: IslandPlan,
        context: Arc<TaskContext>,
        runtime: Arc<IslandRuntime>,
        slicer: Arc<dyn LeafSlicer>,
    ) -> Self {
        Self { plan: Arc::new(plan), context, runtime, slicer }
    }
}

impl Body for IslandBody {
    fn lines(&self) -> Vec<String> {
        let text = DisplayableExecutionPlan::new(self.plan.template.as_ref()).indent(false).to_string();
        std::iter::once("island (datafusion)".to_owned())
            .chain(text.lines().map(|line| format!("  {}", line.trim_end())))
            .collect()
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let instance = Instance { plan: &self.plan, slicer: self.slicer.as_ref(), task: &mut task }.build();
        let (context, runtime) = (Arc::clone(&self.context), Arc::clone(&self.runtime));
        async move { drive(instance?, task.outlets, &task.metrics, context, &runtime).await }.boxed()
    }
}

/// Puts this rank's leaves into the template.
struct Instance<'a> {
    plan: &'a IslandPlan,
    slicer: &'a dyn LeafSlicer,
    task: &'a mut StageTask,
}

impl Instance<'_> {
    fn build(&mut self) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.plan;
        let instance = self.rebuild(&plan.template).map_err(from_datafusion)?;
        let partitions = instance.output_partitioning().partition_count();
        if partitions != self.task.lanes.len() {
            return Err(Error::internal(format!(
                "stage {} has {} lanes on rank {}, but its island has {partitions}",
                self.task.stage,
                self.task.lanes.len(),
                self.task.rank
            )));
        }
        Ok(instance)
    }

    fn rebuild(&mut self, node: &Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        if let Some(source) = node.downcast_ref::<ExchangeSource>() {
            let inlets = self.task.inlets.remove(&source.exchange()).unwrap_or_default();
            let inlets: Vec<Inlet> = inlets.into_iter().map(|(_, inlet)| inlet).collect();
            return Ok(Arc::new(source.bind(inlets, self.plan.replayed.contains(&source.exchange()))));
        }
        if let Some(slot) = node.downcast_ref::<LeafSlot>() {
            let lanes = self.plan.leaves.get(&slot.id()).map(Vec::as_slice).unwrap_or_default();
            let here = (0..lanes.len()).filter(|&part| self.task.lanes.contains(&lanes[part]));
            return self.slicer.slice(slot.leaf(), &here.collect::<Vec<_>>());
        }
        if node.children().is_empty() {
            // A source in a subtree that is not cut (a recursive query): all of it, from its start.
            return Arc::clone(node).reset_state();
        }
        // The children of a union have lanes of their own. One that has none here must show none: some nodes, such as a
        // sort or a limit, have one lane even over an input without any.
        let union = node.is::<UnionExec>();
        let children = node.children().into_iter().map(|child| match union && !self.has_lanes_here(child) {
            true => Ok(Arc::new(EmptyExec::new(child.schema()).with_partitions(0)) as Arc<dyn ExecutionPlan>),
            false => self.rebuild(child),
        });
        let children = children.collect::<Result<Vec<_>, _>>()?;
        // Recomputed: with fewer lanes, partitionings and what follows from them are others. It also gives every run
        // fresh state, since nodes keep their one-shot state (build sides, metrics) in the instance.
        Arc::clone(node).replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }
}

impl Instance<'_> {
    /// Whether a subtree has a lane on this rank: some source of it is read here, not counting broadcasts, which are
    /// wherever the stage is.
    fn has_lanes_here(&self, node: &Arc<dyn ExecutionPlan>) -> bool {
        if let Some(source) = node.downcast_ref::<ExchangeSource>() {
            let inlets = self.task.inlets.get(&source.exchange());
            return !source.is_broadcast() && inlets.is_some_and(|inlets| !inlets.is_empty());
        }
        if let Some(slot) = node.downcast_ref::<LeafSlot>() {
            let lanes = self.plan.leaves.get(&slot.id()).map(Vec::as_slice).unwrap_or_default();
            return lanes.iter().any(|lane| self.task.lanes.contains(lane));
        }
        // A source that is not sliced is read whole wherever its subtree was pinned to.
        node.children().is_empty() || node.children().into_iter().any(|child| self.has_lanes_here(child))
    }
}

/// Polls every lane on its own tokio task until all have ended; the first error ends the others.
async fn drive(
    plan: Arc<dyn ExecutionPlan>,
    outlets: Vec<Outlet>,
    metrics: &Arc<StageMetrics>,
    context: Arc<TaskContext>,
    runtime: &IslandRuntime,
) -> Result<()> {
    let handle = runtime.handle()?;
    let mut lanes = JoinSet::new();
    for (partition, outlet) in outlets.into_iter().enumerate() {
        let (plan, context) = (Arc::clone(&plan), Arc::clone(&context));
        lanes.spawn_on(drive_lane(plan, partition, context, outlet), &handle);
    }
    let mut ended = Ok(());
    while let Some(lane) = lanes.join_next().await {
        let lane = lane.unwrap_or_else(|failure| Err(panicked(failure)));
        // Keep the first failure; later ones are mostly its echoes.
        if ended.is_ok() && lane.is_err() {
            lanes.abort_all();
            ended = lane;
        }
    }
    count(&plan, metrics);
    ended
}

async fn drive_lane(
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
    mut outlet: Outlet,
) -> Result<()> {
    let mut rows = plan.execute(partition, context).map_err(from_datafusion)?;
    while let Some(Some(batch)) = outlet.unless_stopped(rows.next()).await {
        let batch = batch.map_err(from_datafusion)?;
        if batch.num_rows() > 0 && outlet.push(batch).await? == Flow::Stop {
            break;
        }
    }
    // Before the end mark: dropping the stream says "stop" to the exchanges it still reads.
    drop(rows);
    outlet.finish().await
}

fn panicked(failure: tokio::task::JoinError) -> Error {
    match failure.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Error::internal(format!("an island panicked: {}", text.unwrap_or_else(|| "no message".into())))
        }
        Err(_) => Error::cancelled("the island was stopped"),
    }
}

/// What DataFusion's nodes counted that people ask for.
fn count(plan: &Arc<dyn ExecutionPlan>, metrics: &StageMetrics) {
    if let Some(set) = plan.metrics() {
        for (name, ours) in [("bytes_scanned", "bytes_scanned"), ("spilled_bytes", "spilled_bytes")] {
            if let Some(value) = set.sum_by_name(name) {
                metrics.add(ours, value.as_usize() as u64);
            }
        }
    }
    for child in plan.children() {
        count(child, metrics);
    }
}
