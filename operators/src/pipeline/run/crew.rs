//! Drives the workers of a pipeline: starts them, hands their output on, feeds them from exchanges.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bireme_engine::error::Result;
use bireme_engine::exchange::{Flow, Inlet, Outlet};
use bireme_engine::morsel::{Chunk, to_carried};
use bireme_engine::workers::{Workers, caught};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{Either, select};
use futures::stream::SelectAll;
use parking_lot::Mutex;

use super::counts::Counts;
use super::kept::Kept;
use super::line::{Line, Local, Stepping};
use super::worker::{Pause, Round, Supply, Worker};

/// The ends of an exchange on this rank, by input lane.
pub(super) type Inlets = Vec<(usize, Inlet)>;

/// Batches from exchanges that wait for a worker, for each worker.
const WAITING_BATCHES: usize = 2;

/// What is left of a pipeline that has ended.
pub(super) struct Ended {
    pub flow: Flow,
    pub kept: Kept,
    pub counts: Counts,
    /// The time it took to merge the parts of the sink.
    pub finish: Duration,
}

/// Runs a pipeline to its end, and its sink.
pub(super) async fn run(
    workers: &Arc<Workers>,
    line: Arc<Line>,
    inlets: Option<Inlets>,
    outlet: &mut Outlet,
) -> Result<Ended> {
    // The order of rows is kept by working on one morsel at a time.
    let ordered = line.scan.as_ref().is_some_and(|scan| scan.ordered());
    let morsels = line.scan.as_ref().map_or(usize::MAX, |scan| scan.morsels());
    let count = if ordered { 1 } else { workers.threads().min(morsels).max(1) };
    let crew = (0..count).map(|_| Worker::new(&line)).collect::<Result<Vec<_>>>()?;
    let mut crew = Crew { workers, line: Arc::clone(&line), idle: crew, outlet };

    let supply = match &line.scan {
        Some(scan) => Supply::of(Arc::clone(scan)),
        None => Supply::Queue(Mutex::new(VecDeque::new())),
    };
    let mut flow = crew.round(supply, 0, inlets).await?;
    // Rows that joins could not tell before the last probe, in the order of the joins: those of one may probe the next.
    for (place, step) in line.steps.iter().enumerate() {
        let Stepping::Probe(table, residual) = step else { continue };
        if flow == Flow::Stop {
            break;
        }
        if line.satisfied_limit().is_some_and(|limit| place < limit) {
            continue;
        }
        let (table, residual) = (Arc::clone(table), residual.clone());
        if let Some(rest) = workers.run(move || table.rest(residual.as_ref())).await? {
            flow = crew.round(Supply::of(rest), place + 1, None).await?;
        }
    }
    line.count_partners();
    let mut counts = Counts::new(line.steps.len());
    crew.idle.iter().for_each(|worker| counts.add(&worker.counts));
    let locals = crew.idle.into_iter().map(|worker| worker.local).collect();
    let merging = Instant::now();
    let kept = workers.run(move || line.sink.finish(locals)).await?;
    Ok(Ended { flow, kept, counts, finish: merging.elapsed() })
}

struct Crew<'a> {
    workers: &'a Arc<Workers>,
    line: Arc<Line>,
    idle: Vec<Worker>,
    outlet: &'a mut Outlet,
}

impl Crew<'_> {
    /// Runs until the supply is used up, or nobody wants more.
    async fn round(&mut self, supply: Supply, first_step: usize, inlets: Option<Inlets>) -> Result<Flow> {
        let round = Arc::new(Round { supply, first_step, stopped: AtomicBool::new(false) });
        // Workers that are still under way when an error ends this future must not go on for long.
        let _stop = StopOnDrop(Arc::clone(&round));
        let (done, mut ended) = mpsc::unbounded();
        let mut inlets = inlets.map(|inlets| inlets.into_iter().map(|(_, inlet)| inlet).collect::<SelectAll<_>>());
        let (crew, mut flow) = (self.idle.len(), Flow::Continue);
        if inlets.is_none() {
            // Those that find nothing to do come back at once.
            for worker in std::mem::take(&mut self.idle) {
                self.start(worker, &round, &done);
            }
        }
        loop {
            if flow == Flow::Stop || self.line.satisfied_limit().is_some_and(|limit| round.first_step <= limit) {
                inlets = None;
                round.supply.clear();
            }
            let waiting = self.start_waiting(&round, &done);
            let working = crew - self.idle.len();
            if working == 0 && inlets.is_none() && waiting == 0 {
                return Ok(flow);
            }
            let room = waiting < crew * WAITING_BATCHES;
            let event = match &mut inlets {
                Some(inlets) if room && working > 0 => match select(ended.next(), inlets.next()).await {
                    Either::Left((ended, _)) => Event::Ended(ended),
                    Either::Right((batch, _)) => Event::Batch(batch),
                },
                Some(inlets) if room => Event::Batch(inlets.next().await),
                _ => Event::Ended(ended.next().await),
            };
            match event {
                Event::Ended(None) => return Ok(flow),
                Event::Ended(Some((worker, pause))) => {
                    flow = self.take_back(worker, pause?, &round, &done, flow).await?;
                }
                Event::Batch(Some(batch)) => enqueue(&round, batch?)?,
                Event::Batch(None) => inlets = None,
            }
        }
    }

    /// Starts idle workers if batches wait for them; how many batches wait.
    fn start_waiting(&mut self, round: &Arc<Round>, done: &Done) -> usize {
        let Supply::Queue(queue) = &round.supply else { return 0 };
        let waiting = queue.lock().len();
        for _ in 0..waiting.min(self.idle.len()) {
            if let Some(worker) = self.idle.pop() {
                self.start(worker, round, done);
            }
        }
        waiting
    }

    fn start(&self, mut worker: Worker, round: &Arc<Round>, done: &Done) {
        let (line, round, done) = (Arc::clone(&self.line), Arc::clone(round), done.clone());
        self.workers.spawn(move || {
            let begun = Instant::now();
            let pause = caught(|| worker.work(&line, &round));
            worker.counts.busy += begun.elapsed();
            line.resources.metrics.busy.add_time(begun.elapsed());
            // Before the driver learns of it: when a run has ended, nothing of it is held by a thread.
            drop((line, round));
            let _ = done.unbounded_send((worker, pause));
        });
    }

    /// Hands a worker's output on, and the worker more work.
    async fn take_back(
        &mut self,
        mut worker: Worker,
        pause: Pause,
        round: &Arc<Round>,
        done: &Done,
        mut flow: Flow,
    ) -> Result<Flow> {
        if let Local::Output(batches) = &mut worker.local {
            for batch in std::mem::take(batches) {
                if flow == Flow::Continue {
                    flow = self.outlet.push(batch).await?;
                }
            }
        }
        if flow == Flow::Stop {
            round.stopped.store(true, Ordering::Relaxed);
        }
        match pause {
            Pause::Output => self.start(worker, round, done),
            Pause::Idle => self.idle.push(worker),
        }
        Ok(flow)
    }
}

type Done = mpsc::UnboundedSender<(Worker, Result<Pause>)>;

enum Event {
    Ended(Option<(Worker, Result<Pause>)>),
    Batch(Option<Result<RecordBatch>>),
}

fn enqueue(round: &Round, batch: RecordBatch) -> Result<()> {
    let columns = batch.columns().iter().map(to_carried).collect::<Result<_>>()?;
    if let Supply::Queue(queue) = &round.supply {
        queue.lock().push_back(Chunk::new(columns, batch.num_rows()));
    }
    Ok(())
}

struct StopOnDrop(Arc<Round>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}
