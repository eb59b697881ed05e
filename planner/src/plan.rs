//! The passes, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_engine::control::Fingerprint;
use bireme_engine::error::Result;
use bireme_engine::hash::hash_bytes;
use bireme_engine::machine::Cluster;
use bireme_engine::stage::{LaneSink, PlacedPlan, Sink, StageId};
use bireme_operators::errors::from_datafusion;
use bireme_operators::pipeline::ir::Program;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

use crate::expected::{self, Expected};
use crate::physical::{finds_contractions, plan_natively, wants_order};
use crate::place::predict::{Known, KnownSource, predict};
use crate::place::{Decision, Mapper, Prediction};
use crate::rewrite::{ProviderStatistics, find_contractions, reorder_joins};
use crate::stage::{self, Cut, IslandWorld, Job, LineOrigin, SourceOrigin};

/// Where the rows of a plan are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Where they arise: each lane ends in the sink of its rank.
    Lanes,
    /// On rank 0, the lanes one after the other.
    Root,
    /// On every rank, all of them; gathered once, then broadcast.
    Replicated,
}

/// What is to become of the rows.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Where they are wanted.
    pub delivery: Delivery,
    /// What takes them there.
    pub sink: Arc<dyn Sink>,
}

/// A sink that counts nothing and keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

impl Sink for Discard {
    fn describe(&self) -> String {
        "discard".into()
    }

    fn open(&self, _: usize, _: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(Discard))
    }
}

impl LaneSink for Discard {
    fn write(&mut self, _: RecordBatch) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Plans for a job of so many ranks.
#[derive(Clone, Debug)]
pub struct Planner {
    /// The machine of the job.
    pub cluster: Cluster,
    /// Decides what is left open.
    pub mapper: Arc<dyn Mapper>,
    /// What islands will run on.
    pub world: IslandWorld,
    /// Bytes that operators of a rank may take, or that it has.
    pub memory: usize,
}

/// A plan at each of its levels.
#[derive(Debug)]
pub struct Planned {
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// After DataFusion's rules and ours.
    pub optimized: LogicalPlan,
    /// Algorithms chosen, distribution proposed.
    pub physical: Arc<dyn ExecutionPlan>,
    /// Cut and placed.
    pub placed: PlacedPlan,
    /// Which nodes of the physical plan the lines of stages stand for.
    pub(crate) origins: Vec<LineOrigin>,
    /// What native stages do, and the nodes their sources stand for.
    pub(crate) programs: BTreeMap<StageId, Arc<Program>>,
    pub(crate) sources: Vec<SourceOrigin>,
    /// The machine that it was planned for.
    pub cluster: Cluster,
    /// What the mapper has decided; no part of the plan's text.
    pub decisions: Vec<Decision>,
    /// Lists of columns of the rows, each of which alone tells on which rank a row is: lane `i` is on rank `i`, and a row is in the
    /// lane that these columns hash to. With [`Delivery::Lanes`] only.
    pub hashed_by: Vec<Vec<usize>>,
}

impl Planner {
    /// Plans a query whose tables are snapshots.
    ///
    /// # Errors
    /// The user's mistakes that names and types do not show earlier; what we cannot do.
    pub fn plan(&self, state: &SessionState, program: &LogicalPlan, goal: &Goal) -> Result<Planned> {
        let optimized = state.optimize(program).map_err(from_datafusion)?;
        let mut optimized = reorder_joins(optimized, &ProviderStatistics)?;
        if self.world.native.is_some() && finds_contractions(state.config_options()) {
            optimized = find_contractions(optimized, &ProviderStatistics, self.memory as f64 / 2.0)?;
        }
        let (physical, cut) = match self.fuse_all(state, &optimized, goal)? {
            Some(fused) => fused,
            None => {
                let physical = self.physical(state, &optimized)?;
                let expected = expected::rows(&optimized, &physical, &ProviderStatistics, self.cluster.ranks());
                let cut = stage::build(&physical, goal, self.job(expected), self.world.clone())?;
                (physical, cut)
            }
        };
        let Cut { graph, origins, programs, sources, decisions, hashed_by, .. } = cut;
        graph.verify()?;
        let ranks = self.cluster.ranks();
        let lane_ranks = self.mapper.place(&graph, ranks);
        let placed = PlacedPlan::new(graph, ranks, lane_ranks)?;
        let (schema, cluster) = (physical.schema(), self.cluster.clone());
        Ok(Planned { schema, optimized, physical, placed, origins, programs, sources, cluster, decisions, hashed_by })
    }
}

type Physical = Arc<dyn ExecutionPlan>;

impl Planner {
    fn job(&self, expected: Vec<Expected>) -> Job {
        Job { cluster: self.cluster.clone(), mapper: Arc::clone(&self.mapper), expected }
    }

    fn physical(&self, state: &SessionState, optimized: &LogicalPlan) -> Result<Physical> {
        let planned = state.query_planner().create_physical_plan(optimized, state);
        self.world.runtime.block_on(async { planned.await.map_err(from_datafusion) })
    }

    /// The plan without islands, if it can be one: on one rank that takes fewer rules.
    fn fuse_all(&self, state: &SessionState, optimized: &LogicalPlan, goal: &Goal) -> Result<Option<(Physical, Cut)>> {
        if self.cluster.ranks() > 1 || self.world.native.is_none() {
            return Ok(None);
        }
        let mut state = state.clone();
        plan_natively(&mut state);
        let physical = self.physical(&state, optimized)?;
        if wants_order(&physical) {
            return Ok(None);
        }
        let cut = stage::build(&physical, goal, self.job(Vec::new()), self.world.clone())?;
        Ok((!cut.has_islands).then_some((physical, cut)))
    }
}

/// The levels of a plan, from the program to its placement.
pub const LEVELS: [&str; 4] = ["logical", "physical", "stages", "placement"];

impl Planned {
    /// Canonical text of each level, in the order of [`LEVELS`].
    pub fn levels(&self) -> [String; 4] {
        [
            self.optimized.display_indent().to_string(),
            DisplayableExecutionPlan::new(self.physical.as_ref()).indent(false).to_string(),
            self.placed.graph().text(),
            self.placement(),
        ]
    }

    /// Rows that the lines of native stages are expected to yield over all ranks, by stage and line, where anything is known.
    ///
    /// No part of the plan's text: the same pipeline is the same whatever is expected of it.
    pub fn expected_rows(&self) -> BTreeMap<(StageId, usize), f64> {
        self.rows_of_lines(&self.expected_nodes())
    }

    /// How long it is expected to take on the machine that it was planned for.
    pub fn prediction(&self) -> Prediction {
        let nodes = self.expected_nodes();
        let of = |source: &SourceOrigin| {
            let rows = Expected::of(&nodes, &source.node).map(|known| known.rows);
            (source.number, KnownSource { rows, schema: Arc::clone(&source.schema) })
        };
        let sources = self.sources.iter().map(of).collect();
        let rows = self.rows_of_lines(&nodes);
        let known = Known { plan: &self.placed, programs: &self.programs, rows: &rows, sources: &sources };
        predict(&known, &self.cluster)
    }

    fn expected_nodes(&self) -> Vec<Expected> {
        expected::rows(&self.optimized, &self.physical, &ProviderStatistics, self.placed.ranks())
    }

    fn rows_of_lines(&self, nodes: &[Expected]) -> BTreeMap<(StageId, usize), f64> {
        let of = |origin: &LineOrigin| {
            let rows = Expected::of(nodes, &origin.node)?.rows;
            let copies = origin.copied_by.map_or(1, |exchange| self.placed.input_ranks(exchange).len());
            Some(((origin.stage, origin.line), rows * copies as f64))
        };
        self.origins.iter().filter_map(of).collect()
    }

    /// What the ranks compare before they run.
    pub fn fingerprint(&self) -> Fingerprint {
        let hashes = self.levels().map(|text| hash_bytes(text.as_bytes()));
        Fingerprint::new(LEVELS.into_iter().zip(hashes))
    }

    fn placement(&self) -> String {
        let mut text = String::new();
        for stage in &self.placed.graph().stages {
            let ranks = self.placed.lane_ranks(stage.id);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}: lanes on ranks {}", stage.id, short(ranks));
        }
        text
    }
}

/// Ranks of lanes as text; where they are many, runs of neighbours in short.
fn short(ranks: &[usize]) -> String {
    let all = |ranks: &[usize]| ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if ranks.len() <= MOST_LISTED {
        return all(ranks);
    }
    let runs = ranks.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => all(run),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// So many lanes are listed one by one.
const MOST_LISTED: usize = 32;
