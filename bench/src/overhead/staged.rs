//! A grid of tasks as a program of stages: a stage a step, a lane a column, and between two steps an exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray as _, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use bireme::engine::control::{Fingerprint, agree};
use bireme::engine::exchange::{Inlet, Outlet};
use bireme::engine::run::{RankContext, StageTask, run};
use bireme::engine::stage::{
    Body, Exchange, ExchangeId, Feed, LaneSink, Output, Partitioner, Pin, PlacedPlan, Route, Sink, Stage, StageGraph,
    StageId, StageInput,
};
use bireme::engine::workers::Workers;
use bireme::prelude::{Error, Result};
use futures::future::BoxFuture;

use super::kernel;
use super::pattern::{Pattern, note};

/// What all tasks have in common.
#[derive(Debug)]
pub(super) struct Program {
    pub pattern: Pattern,
    pub steps: usize,
    pub columns: usize,
    /// Of the kernel, in each task.
    pub iterations: u64,
    pub workers: Arc<Workers>,
    /// Tasks of this rank that have ended well.
    pub done: AtomicU64,
}

impl Program {
    /// Makes the graph, places it, agrees on it with the other ranks, and runs it: all that a program pays.
    ///
    /// # Errors
    /// Those of the run, such as a task that got something else than its dependencies have sent.
    pub fn run(self: &Arc<Self>, action: u64, context: &RankContext) -> Result<()> {
        let ranks = context.switchboard.ranks();
        let lanes = (0..self.columns).map(|column| column * ranks / self.columns).collect::<Vec<_>>();
        let plan = PlacedPlan::new(self.graph(), ranks, vec![lanes; self.steps])?;
        agree(&context.control(), action, Ok(Fingerprint::from(plan.hash())))?;
        run(&plan, action, context).map(drop)
    }

    fn graph(self: &Arc<Self>) -> StageGraph {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("to", DataType::UInt32, false),
            Field::new("note", DataType::UInt64, false),
        ]));
        let exchanges = match self.pattern {
            Pattern::Trivial => Vec::new(),
            Pattern::Stencil => (1..self.steps).map(|step| exchange(step, &schema)).collect(),
        };
        let stage = |step: usize| {
            let before = step.checked_sub(1).map(|before| ExchangeId(before as u32)).filter(|_| !exchanges.is_empty());
            let input = |exchange| StageInput { exchange, feed: Feed::Lanes((0..self.columns).collect()) };
            let output = match exchanges.get(step) {
                Some(exchange) => Output::Exchange(exchange.id),
                None => Output::Sink(Arc::new(Nowhere)),
            };
            Stage {
                id: StageId(step as u32),
                body: Arc::new(Step { step, program: Arc::clone(self), schema: Arc::clone(&schema) }),
                lanes: vec![Pin::Free; self.columns],
                inputs: before.map(input).into_iter().collect(),
                outputs: vec![output],
                advice: Vec::new(),
                after: Vec::new(),
            }
        };
        StageGraph { stages: (0..self.steps).map(stage).collect(), exchanges, notes: Vec::new() }
    }
}

/// From the step before a step to it.
fn exchange(step: usize, schema: &SchemaRef) -> Exchange {
    Exchange {
        id: ExchangeId(step as u32 - 1),
        producer: StageId(step as u32 - 1),
        consumer: StageId(step as u32),
        route: Route::Range(Arc::new(ToColumn)),
        schema: Arc::clone(schema),
        fetch: None,
        spooled: false,
        advice: false,
    }
}

/// Rows go to the column that they name.
#[derive(Debug)]
struct ToColumn;

impl Partitioner for ToColumn {
    fn describe(&self) -> String {
        "column(to)".into()
    }

    fn assign(&self, batch: &RecordBatch, _: usize, out: &mut Vec<u32>) -> Result<()> {
        out.extend_from_slice(batch.column(0).as_primitive::<UInt32Type>().values());
        Ok(())
    }

    fn may_fail(&self) -> bool {
        false
    }
}

/// The tasks of one step.
#[derive(Debug)]
struct Step {
    step: usize,
    program: Arc<Program>,
    schema: SchemaRef,
}

impl Body for Step {
    fn lines(&self) -> Vec<String> {
        vec![format!("step {} of {} x {}", self.step, self.program.iterations, self.program.pattern.name())]
    }

    fn run(&self, task: StageTask) -> BoxFuture<'static, Result<()>> {
        let StageTask { inlets, outlets, .. } = task;
        // A column has an input lane and a lane of the stage; both lists are those that are here, in the same order.
        let mut inlets = inlets.into_values().flatten();
        let task = |outlet| Task {
            step: self.step,
            program: Arc::clone(&self.program),
            schema: Arc::clone(&self.schema),
            inlet: inlets.next().map(|(_, inlet)| inlet),
            outlet,
        };
        let tasks = outlets.into_iter().map(task).map(Task::run).collect::<Vec<_>>();
        let workers = Arc::clone(&self.program.workers);
        Box::pin(async move { workers.drive(tasks).await })
    }
}

/// A task: one lane of one stage.
struct Task {
    step: usize,
    program: Arc<Program>,
    schema: SchemaRef,
    inlet: Option<Inlet>,
    outlet: Outlet,
}

impl Task {
    async fn run(mut self) -> Result<()> {
        let column = self.outlet.lane();
        let mut notes = self.read().await?;
        let Program { pattern, columns, .. } = *self.program;
        pattern.check(self.step, column, columns, &mut notes)?;
        kernel::work(self.program.iterations);
        if self.step + 1 < self.program.steps && pattern == Pattern::Stencil {
            let batch = self.notes(column)?;
            // Whether it is wanted is no question here: every reader reads to the end.
            let _ = self.outlet.push(batch).await?;
        }
        self.outlet.finish().await?;
        self.program.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// All that its dependencies have sent.
    async fn read(&mut self) -> Result<Vec<u64>> {
        let mut notes = Vec::new();
        if let Some(mut inlet) = self.inlet.take() {
            while let Some(batch) = inlet.next().await {
                notes.extend_from_slice(batch?.column(1).as_primitive::<UInt64Type>().values());
            }
        }
        Ok(notes)
    }

    /// A row for each task that depends on this one.
    fn notes(&self, column: usize) -> Result<RecordBatch> {
        let to = self.program.pattern.neighbours(column, self.program.columns);
        let notes = UInt64Array::from(vec![note(self.step, column); to.len()]);
        let to = UInt32Array::from_iter_values(to.map(|to| to as u32));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(to), Arc::new(notes)])?)
    }
}

#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn describe(&self) -> String {
        "nowhere".into()
    }

    fn open(&self, _: usize, _: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(Nowhere))
    }
}

impl LaneSink for Nowhere {
    fn write(&mut self, _: RecordBatch) -> Result<()> {
        Err(Error::internal("the last step sends nothing"))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use bireme::engine::comm::local::LocalCommunicator;
    use bireme::engine::switchboard::Switchboard;

    use super::*;

    fn done(pattern: Pattern, ranks: usize, columns: usize) -> u64 {
        let rank = |communicator| {
            std::thread::spawn(move || {
                let workers = Arc::new(Workers::start(0, 2, &std::env::temp_dir()).unwrap());
                let done = AtomicU64::new(0);
                let program = Arc::new(Program { pattern, steps: 20, columns, iterations: 1, workers, done });
                let context = RankContext::new(Switchboard::new(communicator));
                program.run(1, &context).unwrap();
                program.done.load(Ordering::Relaxed)
            })
        };
        let ranks = LocalCommunicator::group(ranks).into_iter().map(|communicator| rank(communicator as _));
        ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).sum()
    }

    #[test]
    fn every_task_runs_once_wherever_it_is() {
        for pattern in [Pattern::Trivial, Pattern::Stencil] {
            for (ranks, columns) in [(1, 1), (1, 5), (2, 2), (3, 7)] {
                assert_eq!(done(pattern, ranks, columns), 20 * columns as u64, "{pattern:?} {ranks} {columns}");
            }
        }
    }
}
