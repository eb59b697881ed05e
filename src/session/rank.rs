//! One rank of a job, as far as it lives in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bireme_connectors::file_scan::{scan_of, verify_files};
use bireme_connectors::pins_of;
use bireme_connectors::store::ReadCounters;
use bireme_engine::comm::Communicator;
use bireme_engine::control::{Control, agree};
use bireme_engine::error::{Error, Result};
use bireme_engine::machine::Cluster;
use bireme_engine::metrics::RunReport;
use bireme_engine::run::{RankContext, run};
use bireme_engine::stage::{Pin, Sink};
use bireme_engine::workers::Workers;
use bireme_operators::Accelerator;
use bireme_operators::island::{IslandRuntime, LeafSlicer};
use bireme_planner::physical::wished_mapper;
use bireme_planner::place::Mapper;
use bireme_planner::stage::{IslandWorld, NativeWorld};
use bireme_planner::{Delivery, Goal, Planned, Planner};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

/// A rank: its links to the others, its memory, its threads.
pub(crate) struct Rank {
    pub number: usize,
    pub control: Control,
    pub context: RankContext,
    pub runtime: Arc<IslandRuntime>,
    /// Bytes read from files, per file.
    pub reads: Arc<ReadCounters>,
    pub communicator: Arc<dyn Communicator>,
    pub slicer: Arc<dyn LeafSlicer>,
    pub native: Option<NativeWorld>,
    pub mapper: Arc<dyn Mapper>,
    pub cluster: Cluster,
    /// What runs kernels for it, if not the CPU.
    pub accelerator: Option<Accelerator>,
    /// Tests make this rank's planning fail.
    pub planning_fails: bool,
}

/// What an action asks of each rank.
pub(crate) struct Action<'a> {
    pub number: u64,
    pub program: &'a LogicalPlan,
    pub delivery: Delivery,
    /// Nanoseconds since 1970, decided on rank 0: what `now()` says.
    pub clock: i64,
}

/// What an action left on one rank.
pub(crate) struct Acted {
    pub planned: Planned,
    pub report: RunReport,
    /// How long planning took, until it was known what to compare with the other ranks.
    pub planning: Duration,
}

impl Rank {
    /// The rank's threads.
    pub fn workers(&self) -> Option<&Arc<Workers>> {
        self.native.as_ref().map(|native| &native.workers)
    }

    /// Plans, agrees with the other ranks, and runs.
    pub fn act(&self, state: SessionState, action: &Action<'_>, sink: Arc<dyn Sink>) -> Result<Acted> {
        self.context.activity.plans(action.number);
        let acted = self.plan_and_run(state, action, sink);
        self.context.activity.rests();
        acted
    }

    fn plan_and_run(&self, state: SessionState, action: &Action<'_>, sink: Arc<dyn Sink>) -> Result<Acted> {
        let started = Instant::now();
        let planned = self.plan(state, action.program, Goal { delivery: action.delivery, sink }, action.clock);
        let planned = planned.and_then(|planned| self.check_files(&planned.physical).map(|()| planned));
        // A rank that is alone has nobody to compare with.
        let fingerprint = || planned.as_ref().map(Planned::fingerprint).map_err(Clone::clone);
        let fingerprint = (self.control.ranks() > 1).then(fingerprint);
        let planning = started.elapsed();
        if let Some(fingerprint) = fingerprint {
            // Nobody waits for a rank that could not plan: all learn of it here.
            agree(&self.control, action.number, fingerprint)?;
        }
        let planned = planned?;
        let report = run(&planned.placed, action.number, &self.context)?;
        Ok(Acted { planned, report, planning })
    }

    /// Checks that this rank sees the files of a plan as rank 0 saw them.
    fn check_files(&self, node: &Arc<dyn ExecutionPlan>) -> Result<()> {
        if let Some(scan) = scan_of(node.as_ref()) {
            let pins = pins_of(&scan.file_groups);
            let here = |pin: &Pin| matches!(pin, Pin::Free) || *pin == Pin::Rank(self.number);
            let lanes = (0..pins.len()).filter(|&lane| here(&pins[lane])).collect::<Vec<_>>();
            self.runtime.block_on(verify_files(self.runtime.environment(), scan, &lanes, self.number))?;
        }
        node.children().into_iter().try_for_each(|child| self.check_files(child))
    }

    /// Plans only.
    pub fn plan(&self, mut state: SessionState, program: &LogicalPlan, goal: Goal, clock: i64) -> Result<Planned> {
        if self.planning_fails {
            return Err(Error::internal(format!("planning was made to fail on rank {}", self.number)));
        }
        // Aliases that rules invent are numbered afresh, so that all ranks invent the same ones.
        state.mark_start_execution();
        state.execution_props_mut().query_execution_start_time = Some(chrono::DateTime::from_timestamp_nanos(clock));
        // Whatever is set, every rank has as many lanes as the others: equal keys meet on one rank only then, and a plan for
        // fewer lanes than ranks would take what one rank has for all there is.
        let lanes = &mut state.config_mut().options_mut().execution.target_partitions;
        *lanes = (*lanes).max(1).next_multiple_of(self.cluster.ranks());
        let context = TaskContext::from(&state).with_runtime(Arc::clone(self.runtime.environment()));
        let world = IslandWorld {
            runtime: Arc::clone(&self.runtime),
            context: Arc::new(context),
            slicer: Arc::clone(&self.slicer),
            native: self.native.clone(),
        };
        let mapper: Arc<dyn Mapper> = match wished_mapper(state.config_options()) {
            Some(mapper) => Arc::new(mapper),
            None => Arc::clone(&self.mapper),
        };
        let cluster = self.cluster.clone();
        let share = usize::try_from(cluster.memory_bytes).unwrap_or(usize::MAX) / cluster.ranks_per_node.max(1);
        let memory = self.context.budget.limit().unwrap_or(share);
        let planner = Planner { cluster, mapper, world, memory };
        planner.plan(&state, program, &goal)
    }
}
