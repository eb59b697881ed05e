//! Cuts a physical plan into stages.
//!
//! DataFusion plans for lanes: `ranks × workers` partitions. Every node between two exchanges keeps its lanes, so an
//! island has as many lanes as its root, and each leaf knows which of them it feeds:
//!
//! | node | lanes | what happens here |
//! |---|---|---|
//! | `RepartitionExec` | n new ones | cut: hash or round-robin exchange ([`repartition`]) |
//! | `CoalescePartitionsExec` | one | cut: gather; a LIMIT moves onto the exchange ([`gather`]) |
//! | `SortPreservingMergeExec` | one | cut below it: lanes are kept and merged behind the exchange ([`merge`]) |
//! | collected side of a join | those of the other side | cut: broadcast to every rank that runs the join ([`collected`]) |
//! | `ContractionExec` | one a rank | cut: both tables are sent to a stage that multiplies them ([`contraction`]) |
//! | `GraphExec` | one a rank | cut: edges stay on their rank, and ranks of the stage talk in rounds ([`graph`]) |
//! | `UnionExec` | those of all children, concatenated | same island ([`union`]), or one stage of branches ([`fused_union`]) |
//! | other nodes with several children | the same in every child | same island ([`aligned`]) |
//! | `ScalarSubqueryExec` | those of its input | subqueries become stages that others wait for ([`subquery`]) |
//! | `RecursiveQueryExec` | one a rank | its terms are cut off, and ranks of the stage exchange rows in rounds ([`recursion`]); or one, on rank 0 ([`whole`]) |
//! | sources | theirs | kept as slots that a run fills with a rank's slice ([`leaf`]) |
//!
//! What has a native form is fused into pipelines instead ([`fused`], [`crate::fuse`]).

mod advice;
mod aligned;
mod collected;
mod contraction;
mod fused;
mod fused_union;
mod fused_window;
mod gather;
mod graph;
mod layout;
mod leaf;
mod meet;
mod merge;
mod order;
mod recursion;
mod repartition;
mod result;
mod shared;
mod subquery;
mod union;
mod whole;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use bireme_engine::machine::Cluster;
use bireme_engine::stage::{Exchange, ExchangeId, Feed, Output, Pin, Route, Stage, StageGraph, StageId, StageInput};
use bireme_engine::workers::Workers;
use bireme_operators::Accelerator;
use bireme_operators::errors::from_datafusion;
use bireme_operators::island::{ExchangeSource, IslandBody, IslandPlan, IslandRuntime, LeafSlicer};
use bireme_operators::pipeline::ir::Program;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{Distribution, ExecutionPlan, ExecutionPlanProperties};

pub use collected::replicates_collected_side;

use crate::expected::Expected;
use crate::fuse::{Fused, MorselLeaf};
use crate::physical::{ContractionExec, GraphExec, LayoutExec};
use crate::place::{Decision, Mapper};
use crate::plan::{Delivery, Goal};

/// What the bodies of islands need when they run.
#[derive(Clone, Debug)]
pub struct IslandWorld {
    /// The rank's threads and DataFusion environment.
    pub runtime: Arc<IslandRuntime>,
    /// DataFusion's settings and functions.
    pub context: Arc<TaskContext>,
    /// Knows the session's sources.
    pub slicer: Arc<dyn LeafSlicer>,
    /// What native bodies run on, and their sources; `None`: everything is an island.
    pub native: Option<NativeWorld>,
}

/// What native bodies need when they run.
#[derive(Clone, Debug)]
pub struct NativeWorld {
    /// The rank's threads.
    pub workers: Arc<Workers>,
    /// What runs the parts of pipelines that have kernels, if not the CPU.
    pub accelerator: Option<Accelerator>,
    /// Knows the sources that can be read in morsels.
    pub leaves: Arc<dyn MorselLeaves>,
}

/// Knows which sources of a session can be read in morsels. Asked while planning: it opens nothing.
pub trait MorselLeaves: Send + Sync + std::fmt::Debug {
    /// How to read a leaf of a physical plan; `None` if only DataFusion can.
    fn find(&self, leaf: &Arc<dyn ExecutionPlan>) -> Option<MorselLeaf>;

    /// For each column of `part` the column of `whole` that holds the same, if both leaves read the same rows; `None` if they do
    /// not, or if in doubt.
    fn columns_within(&self, whole: &Arc<dyn ExecutionPlan>, part: &Arc<dyn ExecutionPlan>) -> Option<Vec<usize>>;
}

/// For which job a plan is cut.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its machine.
    pub cluster: Cluster,
    /// Decides what is left open.
    pub mapper: Arc<dyn Mapper>,
    /// How many rows nodes of the plan are expected to yield, as far as anything is known.
    pub expected: Vec<Expected>,
}

/// A plan in stages.
#[derive(Debug)]
pub struct Cut {
    /// The stages and the exchanges between them.
    pub graph: StageGraph,
    /// Whether a part of it has no native form.
    pub has_islands: bool,
    /// Which nodes of the plan the lines of native stages stand for.
    pub origins: Vec<LineOrigin>,
    /// What native stages do.
    pub programs: BTreeMap<StageId, Arc<Program>>,
    /// The sources of native stages.
    pub sources: Vec<SourceOrigin>,
    /// What the mapper has decided.
    pub decisions: Vec<Decision>,
    /// By which of its columns the lane of a row of the result is known, if it has a lane on each rank, in rank order.
    pub hashed_by: Vec<Vec<usize>>,
}

/// A source of a native stage.
#[derive(Clone, Debug)]
pub struct SourceOrigin {
    /// Its number in the plan.
    pub number: usize,
    /// The node of the plan that it stands for.
    pub node: Arc<dyn ExecutionPlan>,
    /// The columns that it has.
    pub schema: SchemaRef,
}

/// A line of a native stage whose rows are those of a node of the physical plan.
#[derive(Clone, Debug)]
pub struct LineOrigin {
    /// The stage.
    pub stage: StageId,
    /// The line's place in the text of the stage's body.
    pub line: usize,
    /// Whose rows come out of it.
    pub node: Arc<dyn ExecutionPlan>,
    /// The exchange that brings all of these rows to every rank that runs the stage.
    pub copied_by: Option<ExchangeId>,
}

/// Cuts `plan` into stages that deliver its rows as `goal` says.
///
/// # Errors
/// The plan holds a node that cannot be cut nor run whole.
pub fn build(plan: &Arc<dyn ExecutionPlan>, goal: &Goal, job: Job, world: IslandWorld) -> Result<Cut> {
    let Job { cluster, mapper, expected } = job;
    let mut builder = Builder {
        world,
        ranks: cluster.ranks(),
        cluster,
        mapper,
        expected,
        joins: 0,
        groupings: 0,
        gathered: goal.delivery != Delivery::Lanes,
        adaptive: Vec::new(),
        decisions: Vec::new(),
        programs: BTreeMap::new(),
        sources: Vec::new(),
        graph: StageGraph::default(),
        leaves: 0,
        slots: 0,
        scalars: Vec::new(),
        shared: Vec::new(),
        has_islands: false,
        origins: Vec::new(),
        natives: BTreeMap::new(),
    };
    builder.find_shared(plan);
    let part = builder.visit(plan)?;
    let part = builder.in_order(part, plan)?;
    let hashed_by = builder.deliver(part, goal)?;
    builder.leave_open();
    builder.advise();
    let Builder { graph, has_islands, origins, programs, sources, decisions, .. } = builder;
    Ok(Cut { graph, has_islands, origins, programs, sources, decisions, hashed_by })
}

/// The part of a stage that has been seen so far.
enum Part {
    Island(Fragment),
    Fused(Box<Fused>),
}

impl Part {
    fn lanes(&self) -> &[Pin] {
        match self {
            Part::Island(fragment) => &fragment.lanes,
            Part::Fused(fused) => &fused.lanes,
        }
    }

    fn lanes_mut(&mut self) -> &mut [Pin] {
        match self {
            Part::Island(fragment) => &mut fragment.lanes,
            Part::Fused(fused) => &mut fused.lanes,
        }
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Part::Island(fragment) => fragment.template.schema(),
            Part::Fused(fused) => Arc::clone(&fused.schema),
        }
    }
}

/// An island so far: a subtree whose leaves are slots and exchange sources.
struct Fragment {
    template: Arc<dyn ExecutionPlan>,
    lanes: Vec<Pin>,
    inputs: Vec<StageInput>,
    /// For every source in it, by number: the lane of this fragment that reads each of its partitions.
    leaves: BTreeMap<usize, Vec<usize>>,
    /// Inputs that are read in every round of a recursive query.
    replayed: BTreeSet<ExchangeId>,
}

struct Builder {
    world: IslandWorld,
    ranks: usize,
    cluster: Cluster,
    mapper: Arc<dyn Mapper>,
    expected: Vec<Expected>,
    /// Joins between ranks so far.
    joins: usize,
    /// Places so far where rows come together by keys.
    groupings: usize,
    /// Whether the rows of the plan come to one place.
    gathered: bool,
    adaptive: Vec<meet::Open>,
    decisions: Vec<Decision>,
    programs: BTreeMap<StageId, Arc<Program>>,
    sources: Vec<SourceOrigin>,
    graph: StageGraph,
    leaves: usize,
    slots: usize,
    scalars: Vec<subquery::Scalar>,
    shared: Vec<shared::Shared>,
    has_islands: bool,
    origins: Vec<LineOrigin>,
    /// What native stages do, where it may still change.
    natives: BTreeMap<StageId, advice::Native>,
}

impl Builder {
    /// The stage that the node is in, up to the node.
    fn visit(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Part> {
        let mut part = match self.visit_shared(node)? {
            Some(part) => part,
            None => self.visit_unshared(node)?,
        };
        if let Part::Fused(fused) = &mut part {
            fused.stands_for(node);
        }
        Ok(part)
    }

    fn visit_unshared(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Part> {
        if let Some(layout) = node.downcast_ref::<LayoutExec>() {
            let exchange = layout.exchange().map_err(from_datafusion)?;
            let native = exchange.downcast_ref::<RepartitionExec>().filter(|_| self.world.native.is_some());
            let part = native.map(|repartition| self.fused_repartition(repartition, true)).transpose()?.flatten();
            return match part {
                // Whoever asked for a layout may keep it, also of what only an island can make.
                Some(part) => self.visited(part, &exchange).map(Part::from),
                None => self.visit_unshared(&exchange),
            };
        }
        if let Some(contraction) = node.downcast_ref::<ContractionExec>() {
            return self.contraction(contraction);
        }
        if let Some(graph) = node.downcast_ref::<GraphExec>() {
            return self.graph(graph);
        }
        if let Some(recursion) = node.downcast_ref::<RecursiveQueryExec>()
            && self.world.native.is_some()
        {
            return self.recursion(node, recursion);
        }
        match self.fused(node)? {
            Some(part) => Ok(part),
            None => self.island(node).map(Part::Island),
        }
    }

    /// How many rows a node is expected to yield.
    fn expected(&self, node: &Arc<dyn ExecutionPlan>) -> Option<f64> {
        Expected::of(&self.expected, node).map(|known| known.rows)
    }

    /// How many rows a node yields if nothing is guessed of how many groups there are. Whether rows are few must not depend on such a
    /// guess: what is wrongly thought to be little ends on one rank.
    fn most_expected(&self, node: &Arc<dyn ExecutionPlan>) -> Option<f64> {
        Expected::of(&self.expected, node).map(|known| known.most).filter(|most| most.is_finite())
    }

    /// The node and what is below it in lanes that an island can read.
    fn visit_island(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Fragment> {
        let part = self.visit(node)?;
        self.as_island(part, node)
    }

    /// The node as part of an island.
    fn island(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Fragment> {
        self.has_islands = true;
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            let child = self.visit_island(repartition.input())?;
            return self.repartition(repartition, child);
        }
        if let Some(coalesce) = node.downcast_ref::<CoalescePartitionsExec>() {
            let child = self.visit_island(coalesce.input())?;
            return self.gather(coalesce, child);
        }
        if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
            let child = self.visit_island(merge.input())?;
            return self.merge(node, merge, child);
        }
        if node.is::<UnionExec>() {
            let children = self.visit_islands(node)?;
            return self.union(node, children);
        }
        if node.is::<RecursiveQueryExec>() {
            return self.whole(node, "islands run the rounds of a recursive query in one place");
        }
        match node.children().len() {
            0 => Ok(self.leaf(node)),
            1 => {
                let child = self.visit_island(node.children()[0])?;
                self.over(node, child)
            }
            _ if collected::side(node).is_some() => self.collected(node),
            _ => {
                let children = self.visit_islands(node)?;
                self.aligned(node, children)
            }
        }
    }

    fn visit_islands(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Vec<Fragment>> {
        node.children().into_iter().map(|child| self.visit_island(child)).collect()
    }

    /// A node that works lane by lane, over its input.
    fn over(&mut self, node: &Arc<dyn ExecutionPlan>, child: Fragment) -> Result<Fragment> {
        let lanes = node.output_partitioning().partition_count();
        if lanes != child.lanes.len() {
            return self.whole(node, &format!("{} changes its number of lanes", node.name()));
        }
        Ok(Fragment { template: with_children(node, vec![Arc::clone(&child.template)])?, ..child })
    }

    /// Makes the part a stage that sends its rows over a new exchange.
    fn send(&mut self, part: Part, route: Route, fetch: Option<usize>) -> Result<ExchangeId> {
        let schema = part.schema();
        let producer = self.close(part, Vec::new())?;
        Ok(self.exchange(producer, route, schema, fetch))
    }

    /// A new exchange that takes the rows of a stage.
    fn exchange(&mut self, producer: StageId, route: Route, schema: SchemaRef, fetch: Option<usize>) -> ExchangeId {
        let id = ExchangeId(self.graph.exchanges.len() as u32);
        // The consumer is known when its stage is pushed.
        let consumer = StageId(u32::MAX);
        self.graph.exchanges.push(Exchange {
            id,
            producer,
            consumer,
            route,
            schema,
            fetch,
            spooled: false,
            advice: false,
        });
        self.graph.stages[producer.0 as usize].outputs.push(Output::Exchange(id));
        id
    }

    /// Makes the part a stage with these outputs.
    fn close(&mut self, part: Part, outputs: Vec<Output>) -> Result<StageId> {
        let fragment = match part {
            Part::Island(fragment) => fragment,
            Part::Fused(fused) => return self.close_fused(*fused, outputs),
        };
        let after = self.scalars_read_by(&fragment.template)?;
        let Fragment { template, lanes, inputs, leaves, replayed } = fragment;
        let plan = IslandPlan { template, leaves, replayed };
        let IslandWorld { runtime, context, slicer, .. } = self.world.clone();
        let body = Arc::new(IslandBody::new(plan, context, runtime, slicer));
        Ok(self.push(Stage { id: StageId(0), body, lanes, inputs, outputs, advice: Vec::new(), after }))
    }

    /// Numbers a stage and tells its inputs who reads them.
    fn push(&mut self, mut stage: Stage) -> StageId {
        stage.id = StageId(self.graph.stages.len() as u32);
        for input in &stage.inputs {
            self.graph.exchanges[input.exchange.0 as usize].consumer = stage.id;
        }
        let id = stage.id;
        self.graph.stages.push(stage);
        id
    }

    /// Moves a fragment's lanes, unchanged and in order, to lanes with the given pins.
    fn move_lanes(&mut self, fragment: Fragment, pins: Vec<Pin>) -> Result<Fragment> {
        let rows = fragment.template.equivalence_properties().clone();
        let partitioning = fragment.template.output_partitioning().clone();
        let exchange = self.send(Part::Island(fragment), Route::Keep, None)?;
        Ok(received(exchange, rows, partitioning, pins))
    }
}

/// A fragment that reads all input lanes of an exchange, each in a lane of its own.
fn received(exchange: ExchangeId, rows: EquivalenceProperties, lanes: Partitioning, pins: Vec<Pin>) -> Fragment {
    let feed = Feed::Lanes((0..pins.len()).collect());
    Fragment {
        template: Arc::new(ExchangeSource::new(exchange, rows, lanes)),
        lanes: pins,
        inputs: vec![StageInput { exchange, feed }],
        leaves: BTreeMap::new(),
        replayed: BTreeSet::new(),
    }
}

/// The node over other children.
fn with_children(
    node: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(children, options).map_err(from_datafusion)
}

/// Which children must arrive in one lane.
fn single_lane_children(node: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    let wanted = node.input_distribution_requirements();
    wanted.per_child_distributions().map(|wanted| matches!(wanted, Distribution::SinglePartition)).collect()
}

fn lane_count_bug(node: &Arc<dyn ExecutionPlan>, found: &[usize]) -> Error {
    Error::internal(format!("the inputs of {} have {found:?} lanes, which do not fit together", node.name()))
}
