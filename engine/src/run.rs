//! Runs a placed plan on one rank.
//!
//! Every rank calls [`run`] with the same plan. A run opens this rank's ends of all exchanges, drives the bodies of the
//! stages that have lanes here, and ends with a consensus:
//!
//! ```text
//!   open ──► drive bodies ──► all ended ───────────────────────────► consensus ──► close
//!                 │                                                     ▲
//!                 └─► one fails ──► cancel here, poison the others ──► drain
//! ```
//!
//! Whatever goes wrong on any rank, every rank returns the same error: the first real cause, by (stage, rank). An error
//! that only says that the action was cancelled is an echo, not a cause.

mod drive;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bincode::{Decode, Encode};

use self::drive::Drive;
use crate::activity::Activity;
use crate::budget::Budget;
use crate::cancel::{Cancel, Watch};
use crate::control::{Control, DEFAULT_TIMEOUT};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Inlet, Outlet, OutletSetup, Ports, Surroundings};
use crate::feedback::Feedback;
use crate::metrics::{Progress, RunReport, StageMetrics};
use crate::stage::{ExchangeId, Output, PlacedPlan, Stage, StageId};
use crate::switchboard::{Message, Switchboard};

/// Rows of a batch unless told otherwise.
pub const DEFAULT_BATCH_ROWS: usize = 8192;

/// Bytes that a rank may have under way in one exchange unless told otherwise.
pub const DEFAULT_WINDOW_BYTES: usize = 4 << 20;

/// What a body gets to run its lanes of one stage on one rank.
#[derive(Debug)]
pub struct StageTask {
    /// Which stage.
    pub stage: StageId,
    /// On which rank.
    pub rank: usize,
    /// Of how many.
    pub ranks: usize,
    /// The stage's lanes that run here, ascending; not empty.
    pub lanes: Vec<usize>,
    /// For each exchange the stage reads: the input lanes that are read here, as (input lane, inlet), ascending.
    pub inlets: BTreeMap<ExchangeId, Vec<(usize, Inlet)>>,
    /// One for each of `lanes`, in the same order.
    pub outlets: Vec<Outlet>,
    /// For each exchange over which the stage gives advice: one for each of `lanes`. To be finished when it is given.
    pub advice: BTreeMap<ExchangeId, Vec<Outlet>>,
    /// The stage's edge to itself, if its body has one.
    pub feedback: Option<Feedback>,
    /// Memory of this rank.
    pub budget: Budget,
    /// Says when to give up.
    pub cancel: Cancel,
    /// What to count.
    pub metrics: Arc<StageMetrics>,
}

/// What a run needs of its rank.
#[derive(Clone, Debug)]
pub struct RankContext {
    /// The way to the other ranks.
    pub switchboard: Switchboard,
    /// Memory of this rank.
    pub budget: Budget,
    /// Where to spill.
    pub temp_dir: PathBuf,
    /// Rows that exchanges collect before they send.
    pub batch_rows: usize,
    /// Bytes that this rank may have under way in one exchange, over all input lanes.
    pub window_bytes: usize,
    /// How long to wait for a rank that gives no sign of life.
    pub timeout: Duration,
    /// Ends the run: the session's token, or a child of it.
    pub cancel: Cancel,
    /// What a progress bar shows.
    pub progress: Progress,
    /// What is said if a rank is lost meanwhile.
    pub activity: Activity,
}

impl RankContext {
    /// A context with an unlimited budget and defaults for the rest.
    pub fn new(switchboard: Switchboard) -> Self {
        Self {
            switchboard,
            budget: Budget::unlimited(),
            temp_dir: std::env::temp_dir(),
            batch_rows: DEFAULT_BATCH_ROWS,
            window_bytes: DEFAULT_WINDOW_BYTES,
            timeout: DEFAULT_TIMEOUT,
            cancel: Cancel::new(),
            progress: Progress::new(),
            activity: Activity::default(),
        }
    }

    /// The collectives of this rank.
    pub fn control(&self) -> Control {
        Control::new(self.switchboard.clone(), self.cancel.clone(), self.timeout)
    }
}

/// Runs this rank's part of a plan. Every rank calls it with the same plan and action number, after
/// [`crate::control::agree`]; numbers go upwards. Blocks until all ranks are done.
///
/// # Errors
/// The first cause by (stage, rank), the same on every rank; or a rank is lost.
pub fn run(plan: &PlacedPlan, action: u64, context: &RankContext) -> Result<RunReport> {
    let start = Instant::now();
    if plan.ranks() != context.switchboard.ranks() {
        return Err(Error::internal(format!(
            "action {action} was placed on {} ranks, and the job has {}",
            plan.ranks(),
            context.switchboard.ranks()
        )));
    }
    let action = Action::open(plan, action, context);
    let failure = action.drive().err();
    action.consensus(failure)?;
    Ok(action.report(start))
}

/// One run of a plan on one rank.
struct Action<'a> {
    plan: &'a PlacedPlan,
    number: u64,
    context: &'a RankContext,
    cancel: Cancel,
    ports: Arc<Ports>,
    metrics: BTreeMap<StageId, Arc<StageMetrics>>,
    // Wakes whoever is parked at an exchange when the action is cancelled; tells the others when it is the user who
    // does.
    _watches: [Watch; 2],
}

/// The first thing that went wrong on this rank.
#[derive(Clone, Debug, Encode, Decode)]
struct Failure {
    // Too large for a stage: of the rank as a whole.
    stage: u32,
    error: Error,
    // It only says that something else went wrong.
    echo: bool,
}

/// A [`StageTask`] whose stage has not started.
struct Prepared {
    task: StageTask,
    finished: Arc<AtomicUsize>,
}

impl<'a> Action<'a> {
    fn open(plan: &'a PlacedPlan, number: u64, context: &'a RankContext) -> Self {
        let cancel = context.cancel.child();
        let around = Surroundings {
            switchboard: &context.switchboard,
            budget: &context.budget,
            temp_dir: &context.temp_dir,
            cancel: &cancel,
            batch_rows: context.batch_rows,
            window_bytes: context.window_bytes,
        };
        let ports = Arc::new(Ports::new(plan, number, &around));
        let weak = Arc::downgrade(&ports);
        let wake = cancel.on_cancel(move |_| {
            if let Some(ports) = weak.upgrade() {
                ports.wake_all();
            }
        });
        // At once, also from a rank that is done and waits for the others: they may go on for hours.
        let switchboard = context.switchboard.clone();
        let tell = context.cancel.on_cancel(move |cause| {
            switchboard.send_to_others(&Message::Poison { action: number, error: cause.clone() });
        });
        context.switchboard.open(number, Arc::clone(&ports));
        ports.open();
        context.activity.runs(number);
        let rank = context.switchboard.rank();
        let here = plan.graph().stages.iter().filter(|stage| plan.lane_ranks(stage.id).contains(&rank));
        let metrics = here.map(|stage| (stage.id, Arc::default())).collect();
        Self { plan, number, context, cancel, ports, metrics, _watches: [wake, tell] }
    }

    fn rank(&self) -> usize {
        self.context.switchboard.rank()
    }

    /// Runs the bodies; on a failure, sees to it that everybody learns of it and that nothing of this rank goes on.
    fn drive(&self) -> Result<(), Failure> {
        let drive = self.prepare().map(|prepared| Drive::new(self, prepared));
        let (result, drive) = match drive {
            Ok(mut drive) => (drive.until_done(), Some(drive)),
            Err(failure) => (Err(failure), None),
        };
        let Err(mut failure) = result else { return Ok(()) };
        tracing::debug!(rank = self.rank(), stage = failure.stage, error = %failure.error, "action failed");
        self.context.activity.fails(&failure.error);
        self.cancel.cancel(failure.error.clone());
        self.context.switchboard.send_to_others(&Message::Poison { action: self.number, error: failure.error.clone() });
        if let Some(mut drive) = drive {
            drive.drain(&mut failure);
        }
        Err(failure)
    }

    fn prepare(&self) -> Result<Vec<Prepared>, Failure> {
        let here = self.plan.graph().stages.iter().filter(|stage| self.metrics.contains_key(&stage.id));
        here.map(|stage| self.prepare_stage(stage).map_err(|error| Failure { stage: stage.id.0, error, echo: false }))
            .collect()
    }

    fn prepare_stage(&self, stage: &Stage) -> Result<Prepared> {
        let rank = self.rank();
        let lanes = self.plan.lanes_on(stage.id, rank);
        let metrics = self.metrics.get(&stage.id).cloned().unwrap_or_default();
        self.context.progress.add_total(lanes.len());
        let mut inlets = BTreeMap::new();
        for input in &stage.inputs {
            let input_ranks = self.plan.input_ranks(input.exchange);
            let here = (0..input_ranks.len()).filter(|&lane| input_ranks[lane] == rank);
            let advice = self.plan.graph().exchanges[input.exchange.0 as usize].advice;
            let opened = here.map(|lane| {
                let port = Arc::clone(self.ports.get(input.exchange)?);
                let metrics = if advice { Arc::default() } else { Arc::clone(&metrics) };
                Ok((lane, Inlet::new(port, lane, metrics)?))
            });
            inlets.insert(input.exchange, opened.collect::<Result<Vec<_>>>()?);
        }
        let setup = OutletSetup {
            cancel: self.cancel.clone(),
            metrics: Arc::clone(&metrics),
            progress: self.context.progress.clone(),
            finished: Arc::default(),
        };
        let outlets = lanes.iter().map(|&lane| self.open_outlet(stage, lane, &setup)).collect::<Result<Vec<_>>>()?;
        let advice = stage.advice.iter().map(|&exchange| Ok((exchange, self.open_advice(exchange, &lanes)?)));
        let advice = advice.collect::<Result<_>>()?;
        let feedback = self.ports.rounds(stage.id);
        let feedback = feedback.map(|rounds| Feedback::new(Arc::clone(rounds), Arc::clone(&metrics)));
        let task = StageTask {
            stage: stage.id,
            rank,
            ranks: self.plan.ranks(),
            lanes,
            inlets,
            outlets,
            advice,
            feedback,
            budget: self.context.budget.clone(),
            cancel: self.cancel.clone(),
            metrics,
        };
        Ok(Prepared { task, finished: setup.finished })
    }

    /// Advice is no row of its stage: nothing of it is counted there.
    fn open_advice(&self, exchange: ExchangeId, lanes: &[usize]) -> Result<Vec<Outlet>> {
        let setup = OutletSetup {
            cancel: self.cancel.clone(),
            metrics: Arc::default(),
            progress: Progress::new(),
            finished: Arc::default(),
        };
        let open = |&lane: &usize| {
            let mut outlet = Outlet::new(lane, setup.clone());
            outlet.add_exchange(Arc::clone(self.ports.get(exchange)?));
            Ok(outlet)
        };
        lanes.iter().map(open).collect()
    }

    fn open_outlet(&self, stage: &Stage, lane: usize, setup: &OutletSetup) -> Result<Outlet> {
        let mut outlet = Outlet::new(lane, setup.clone());
        for output in &stage.outputs {
            match output {
                Output::Exchange(exchange) => outlet.add_exchange(Arc::clone(self.ports.get(*exchange)?)),
                Output::Sink(sink) => outlet.add_sink(sink.open(self.rank(), lane)?),
            }
        }
        Ok(outlet)
    }

    /// All ranks learn how all ranks fared. A rank that is done waits here for those that still compute.
    fn consensus(&self, failure: Option<Failure>) -> Result<()> {
        let label = format!("action {} (end)", self.number);
        let all = match self.context.control().all_gather_at_end(&label, &failure) {
            Ok(all) => all,
            // Without a consensus, what this rank knows says more than that there was none.
            Err(error) => return Err(failure.map_or(error, |failure| failure.error)),
        };
        let failures = all.into_iter().enumerate().filter_map(|(rank, failure)| Some((rank, failure?)));
        // Real causes before the user's stop before echoes; then by stage and rank.
        let first = failures.min_by_key(|(rank, failure)| {
            (failure.echo, failure.error.kind() == ErrorKind::Cancelled, failure.stage, *rank)
        });
        match first {
            None => Ok(()),
            Some((rank, failure)) => Err(self.told(rank, failure.error)),
        }
    }

    /// Says where it happened, where that helps: a full disk or a bug is one rank's, a division by zero is everybody's.
    fn told(&self, rank: usize, error: Error) -> Error {
        let of_a_rank = matches!(error.kind(), ErrorKind::Internal | ErrorKind::Resources | ErrorKind::PeerLost);
        if of_a_rank && self.plan.ranks() > 1 { error.context(format!("rank {rank}")) } else { error }
    }

    fn report(&self, start: Instant) -> RunReport {
        let stages =
            self.metrics.iter().map(|(id, metrics)| metrics.report(id.0, self.plan.lanes_on(*id, self.rank()).len()));
        RunReport {
            rank: self.rank() as u64,
            stages: stages.collect(),
            exchanges: self.ports.iter().map(|port| port.metrics.report(port.id.0)).collect(),
            peak_bytes: self.context.budget.peak() as u64,
            wall_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Drop for Action<'_> {
    fn drop(&mut self) {
        self.context.activity.rests();
        self.context.switchboard.close(self.number);
    }
}
