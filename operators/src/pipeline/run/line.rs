//! A pipeline that is ready to run: expressions compiled, tables at hand, sinks open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Chunk, to_logical};

use super::kept::{Chunks, Kept};
use super::layout::{Entry, Given, Layout};
use super::partner::PartnerPredicate;
use crate::aggregate::{Aggregator, LocalAggregate};
use crate::expr::{Evaluator, Filter};
use crate::hash_join::{JoinBuilder, JoinTable, LocalBuild, Residual};
use crate::pipeline::Resources;
use crate::pipeline::device::Running;
use crate::pipeline::ir::{Expr, Pipeline, Sink, Step};
use crate::sort::{LocalSort, Sorter};
use crate::window::Windows;

/// What all workers of a pipeline share.
pub(super) struct Line {
    /// Where rows come in, in the order in which they are read.
    pub entries: Vec<Entry>,
    /// The tests that joins have given to scans.
    partners: Vec<Arc<PartnerPredicate>>,
    pub steps: Vec<Stepping>,
    /// For each step the next one; behind the last one is the sink, at `steps.len()`.
    pub after: Vec<usize>,
    /// Steps that a device does, by the place of the first; what ends in groups may begin at the sink.
    pub segments: BTreeMap<usize, Arc<Running>>,
    pub sink: Sinking,
    pub resources: Resources,
}

/// A step that is ready to run.
pub(super) enum Stepping {
    Filter(Filter),
    Project(Vec<Evaluator>),
    Probe(Arc<JoinTable>, Option<Arc<dyn Residual>>),
    Limit(Limit),
    Window(Windows),
}

/// A sink that is ready to take rows.
pub(super) enum Sinking {
    Output(SchemaRef),
    Aggregate(Aggregator),
    Build(JoinBuilder),
    Sort(Sorter),
    Collect,
}

/// One worker's part of a sink.
pub(super) enum Local {
    Output(Vec<RecordBatch>),
    Aggregate(Box<LocalAggregate>),
    Build(LocalBuild),
    Sort(Box<LocalSort>),
    Collect(Vec<Chunk>),
}

impl Line {
    /// Compiles a pipeline, whose rows come out in this schema if it ends in output.
    pub fn open(pipeline: &Pipeline, given: &Given<'_>, schema: SchemaRef) -> Result<Self> {
        let Layout { entries, partners, steps, after, segments } = Layout::of(pipeline, given)?;
        let resources = given.resources.clone();
        let types = pipeline.types.clone();
        let sink = match &pipeline.sink {
            Sink::Output => Sinking::Output(schema),
            Sink::Aggregate(_, spec) => Sinking::Aggregate(Aggregator::new(spec.clone(), types, resources.clone())?),
            Sink::Build(_, spec, probe) => {
                let builder = JoinBuilder::new(spec.clone(), types, probe.clone(), resources.clone())?;
                Sinking::Build(if given.device.is_some() { builder.keeping_keys() } else { builder })
            }
            Sink::Sort(_, spec) => {
                let accelerator = given.device.map(|device| device.accelerator.clone());
                Sinking::Sort(Sorter::on(spec.clone(), types, resources.clone(), accelerator)?)
            }
            Sink::Collect(_) => Sinking::Collect,
        };
        Ok(Self { entries, partners, steps, after, segments, sink, resources })
    }

    /// Adds what the partners of scans did to the counters of the stage.
    pub fn count_partners(&self) {
        self.partners.iter().for_each(|partner| partner.count(&self.resources.metrics));
    }

    /// Whether a step waits for the rest of a partition.
    pub fn has_windows(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Stepping::Window(_)))
    }

    /// The step behind a segment that begins at a step.
    pub fn behind(&self, first: usize) -> usize {
        let steps = self.segments.get(&first).map_or(0, |running| running.steps());
        (0..steps).fold(first, |place, _| self.after[place])
    }

    /// The last limit on the way from a step that has let through all it will: no step before it needs to work any more.
    /// Steps behind it may still have rows.
    pub fn satisfied_limit(&self, from: usize) -> Option<usize> {
        let reached = |step: &Stepping| matches!(step, Stepping::Limit(limit) if limit.reached.load(Ordering::Relaxed));
        let way = std::iter::successors(Some(from), |&place| self.after.get(place).copied());
        way.take_while(|&place| place < self.steps.len()).filter(|&place| reached(&self.steps[place])).last()
    }
}

impl Stepping {
    pub fn open(step: &Step, slots: &[Kept], resources: &Resources) -> Result<Self> {
        Ok(match step {
            Step::Filter(expr) => Stepping::Filter(Filter::new(expr)?),
            Step::Project(exprs) => Stepping::Project(exprs.iter().map(Evaluator::new).collect::<Result<_>>()?),
            Step::Probe(slot, spec) => {
                let residual = spec.residual.as_ref().map(Condition::compile).transpose()?;
                Stepping::Probe(slots[slot.0].table()?, residual)
            }
            Step::Limit { skip, fetch } => Stepping::Limit(Limit::new(*skip, *fetch)),
            Step::Window(spec, input) => {
                Stepping::Window(Windows::new(spec.clone(), input.clone(), resources.clone())?)
            }
        })
    }
}

/// A join's residual condition.
struct Condition(Evaluator);

impl Condition {
    fn compile(expr: &Expr) -> Result<Arc<dyn Residual>> {
        Ok(Arc::new(Condition(Evaluator::new(expr)?)))
    }
}

impl Residual for Condition {
    fn test(&self, chunk: &Chunk) -> Result<BooleanArray> {
        let truth: ArrayRef = self.0.evaluate(chunk)?;
        truth
            .as_any()
            .downcast_ref::<BooleanArray>()
            .cloned()
            .ok_or_else(|| Error::internal("a join's condition is no truth value"))
    }
}

/// Lets through some rows, over all workers.
pub(super) struct Limit {
    skip: usize,
    end: usize,
    seen: AtomicUsize,
    reached: AtomicBool,
}

impl Limit {
    fn new(skip: usize, fetch: Option<usize>) -> Self {
        let end = fetch.map_or(usize::MAX, |fetch| skip.saturating_add(fetch));
        Self { skip, end, seen: AtomicUsize::new(0), reached: AtomicBool::new(end == skip) }
    }

    pub fn apply(&self, chunk: Chunk) -> Option<Chunk> {
        let start = self.seen.fetch_add(chunk.rows, Ordering::Relaxed);
        let end = start + chunk.rows;
        if end >= self.end {
            self.reached.store(true, Ordering::Relaxed);
        }
        let (from, to) = (start.max(self.skip), end.min(self.end));
        match (from, to) {
            _ if from >= to => None,
            _ if (from, to) == (start, end) => Some(chunk),
            _ => Some(chunk.slice(from - start, to - from)),
        }
    }
}

impl Sinking {
    pub fn local(&self) -> Result<Local> {
        Ok(match self {
            Sinking::Output(_) => Local::Output(Vec::new()),
            Sinking::Aggregate(aggregator) => Local::Aggregate(Box::new(aggregator.local()?)),
            Sinking::Build(builder) => Local::Build(builder.local()?),
            Sinking::Sort(sorter) => Local::Sort(Box::new(sorter.local()?)),
            Sinking::Collect => Local::Collect(Vec::new()),
        })
    }

    /// Merges what the workers have; inside the pool.
    pub fn finish(&self, locals: Vec<Local>) -> Result<Kept> {
        macro_rules! parts {
            ($kind:ident) => {
                locals.into_iter().filter_map(|local| if let Local::$kind(local) = local { Some(local) } else { None })
            };
        }
        Ok(match self {
            Sinking::Output(_) => Kept::Nothing,
            Sinking::Aggregate(aggregator) => {
                Kept::Rows(aggregator.finish(parts!(Aggregate).map(|local| *local).collect())?)
            }
            Sinking::Build(builder) => Kept::Table(builder.finish(parts!(Build).collect())?),
            Sinking::Sort(sorter) => Kept::Rows(sorter.finish(parts!(Sort).map(|local| *local).collect())?),
            Sinking::Collect => Kept::Rows(Arc::new(Chunks(parts!(Collect).flatten().collect()))),
        })
    }
}

/// A chunk as the rows of a stage's output.
pub(super) fn to_batch(schema: &SchemaRef, chunk: &Chunk) -> Result<RecordBatch> {
    let columns =
        schema.fields().iter().zip(&chunk.columns).map(|(field, column)| to_logical(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_>>()?, &options)
        .map_err(|error| Error::internal(format!("a pipeline's rows do not fit its schema: {error}")))
}
