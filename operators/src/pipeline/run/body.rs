//! A program as the body of a stage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Flow, Outlet};
use bireme_engine::morsel;
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId};
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::advice::{self, Giver, Learned};
use super::counts::Account;
use super::crew::{self, Inlets};
use super::kept::Kept;
use super::layout::{Given, Leaves, OnDevice};
use super::line::Line;
use crate::accelerator::Accelerator;
use crate::pipeline::Resources;
use crate::pipeline::device::{self, Joins};
use crate::pipeline::ir::{Pipeline, Places, Program};

/// A source of the stage as the planner knows it: in parts, each of which belongs to a lane.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Makes sources of some of its parts.
    pub source: Arc<dyn LeafSource>,
    /// The lane that reads each part.
    pub lanes: Vec<usize>,
}

/// A table in parts.
pub trait LeafSource: fmt::Debug + Send + Sync {
    /// These parts, as one source.
    ///
    /// # Errors
    /// The source cannot be made.
    fn source(&self, parts: &[usize]) -> Result<Arc<dyn morsel::Source>>;
}

/// The body of a fused stage: all lanes of a rank share its workers, hash tables and sorts.
#[derive(Debug)]
pub struct NativeBody {
    program: Arc<Program>,
    leaves: Arc<BTreeMap<usize, Leaf>>,
    workers: Arc<Workers>,
    accelerator: Option<Accelerator>,
}

impl NativeBody {
    /// A body that runs `program` on `workers`.
    pub fn new(program: Program, leaves: BTreeMap<usize, Leaf>, workers: Arc<Workers>) -> Self {
        Self { program: Arc::new(program), leaves: Arc::new(leaves), workers, accelerator: None }
    }

    /// The same body, whose pipelines run on a device as far as they have kernels.
    #[must_use]
    pub fn on(self, accelerator: Option<Accelerator>) -> Self {
        Self { accelerator, ..self }
    }

    /// What it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
}

impl Body for NativeBody {
    fn lines(&self) -> Vec<String> {
        let mut lines = self.program.lines();
        if self.accelerator.is_some() {
            // Behind the program, whose lines are counted by their places.
            lines.extend(device::describe(&self.program));
        }
        lines
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (listeners, learned) = advice::listen(&self.program, &mut task.inlets);
        let advice = Giver::new(std::mem::take(&mut task.advice));
        let outlets = std::mem::take(&mut task.outlets);
        let listening =
            advice::hear(listeners, Arc::clone(&self.workers), task.budget.clone(), Arc::clone(&task.metrics));
        let accelerator = self.accelerator.clone();
        let run = Run { learned, advice, accelerator, ..Run::new(&self.program, &self.leaves, &self.workers, task) };
        advice::alongside(run.all(outlets), listening).boxed()
    }
}

/// One run of a program on one rank.
pub(super) struct Run {
    pub program: Arc<Program>,
    /// Of each pipeline.
    places: Vec<Places>,
    leaves: Arc<BTreeMap<usize, Leaf>>,
    pub workers: Arc<Workers>,
    pub resources: Resources,
    lanes: Vec<usize>,
    pub inlets: BTreeMap<ExchangeId, Inlets>,
    /// What scans learn from other stages.
    learned: Learned,
    /// What scans of other stages learn from this one.
    advice: Giver,
    pub slots: Vec<Kept>,
    /// Runs what has kernels.
    accelerator: Option<Accelerator>,
    /// The sides of joins, by the slots of their tables.
    joins: Arc<Joins>,
}

impl Run {
    /// Of a task whose program neither takes advice nor gives any.
    pub fn new(
        program: &Arc<Program>,
        leaves: &Arc<BTreeMap<usize, Leaf>>,
        workers: &Arc<Workers>,
        task: StageTask,
    ) -> Self {
        Self {
            program: Arc::clone(program),
            places: program.places(),
            leaves: Arc::clone(leaves),
            workers: Arc::clone(workers),
            resources: Resources {
                budget: task.budget,
                temp_dir: workers.temp_dir().to_owned(),
                cancel: task.cancel,
                metrics: task.metrics,
                workers: workers.threads(),
            },
            lanes: task.lanes,
            inlets: task.inlets,
            learned: Learned::new(),
            advice: Giver::new(BTreeMap::new()),
            slots: vec![Kept::Nothing; program.slots],
            accelerator: None,
            joins: Arc::new(device::joins(&program.pipelines)),
        }
    }

    async fn all(mut self, outlets: Vec<Outlet>) -> Result<()> {
        let mut outlets = outlets.into_iter();
        let mut outlet = outlets.next().ok_or_else(|| Error::internal("a native stage without an outlet"))?;
        let program = Arc::clone(&self.program);
        for (number, pipeline) in program.pipelines.iter().enumerate() {
            if self.pipeline(number, pipeline, &mut outlet).await? == Flow::Stop {
                break;
            }
            self.advise(pipeline).await?;
            self.forget_after(number);
        }
        self.advice.finish().await?;
        // Dropped before the end mark: what was not read says "stop" to the exchanges it comes from.
        drop(self);
        outlet.finish().await?;
        for other in outlets {
            other.finish().await?;
        }
        Ok(())
    }

    /// Runs one of its pipelines; the slots that it reads are filled.
    pub async fn pipeline(&mut self, number: usize, pipeline: &Pipeline, outlet: &mut Outlet) -> Result<Flow> {
        let account = Account::open(&self.resources.metrics);
        let mut leaves = Leaves::new();
        for scan in pipeline.source.scans() {
            leaves.insert(scan.leaf, self.leaf(scan.leaf)?);
        }
        let line = {
            let (pipeline, slots, schema) = (pipeline.clone(), self.slots.clone(), Arc::clone(&self.program.schema));
            let (learned, resources) = (self.learned.clone(), self.resources.clone());
            let (accelerator, joins) = (self.accelerator.clone(), Arc::clone(&self.joins));
            // Opening reads footers and computes constants: work for a worker.
            let open = move || {
                let device = accelerator.as_ref().map(|accelerator| OnDevice { accelerator, joins: &joins });
                let given = Given { leaves: &leaves, slots: &slots, learned: &learned, resources: &resources, device };
                Line::open(&pipeline, &given, schema)
            };
            self.workers.run(open).await?
        };
        let ended = crew::run(&self.workers, Arc::new(line), &mut self.inlets, outlet).await?;
        account.close(&self.resources.metrics, &self.places[number], &ended.counts, ended.finish);
        if let Some(slot) = pipeline.sink.slot() {
            self.slots[slot.0] = ended.kept;
        }
        Ok(ended.flow)
    }

    /// Tells other stages of the keys that a build side has.
    async fn advise(&mut self, pipeline: &Pipeline) -> Result<()> {
        let Some(slot) = pipeline.sink.slot().filter(|_| !pipeline.advice.is_empty()) else { return Ok(()) };
        let table = self.slots[slot.0].table()?;
        for advice in pipeline.advice.clone() {
            let (table, copies) = (Arc::clone(&table), advice.lanes.div_ceil(self.lanes.len()));
            let packing = move || Ok(table.packed_filter(advice.key, copies, advice::MOST_BYTES));
            let words = self.workers.run(packing).await?;
            self.advice.give(advice.exchange, words).await?;
        }
        Ok(())
    }

    fn leaf(&self, number: usize) -> Result<Arc<dyn morsel::Source>> {
        let leaf = self.leaves.get(&number).ok_or_else(|| Error::internal(format!("leaf {number} is not there")))?;
        let here = (0..leaf.lanes.len()).filter(|&part| self.lanes.contains(&leaf.lanes[part]));
        leaf.source.source(&here.collect::<Vec<_>>())
    }

    /// Gives back what no later pipeline reads.
    pub fn forget_after(&mut self, number: usize) {
        let later = &self.program.pipelines[number + 1..];
        for slot in 0..self.slots.len() {
            if !later.iter().any(|pipeline| pipeline.reads(slot)) {
                self.slots[slot] = Kept::Nothing;
            }
        }
    }
}
