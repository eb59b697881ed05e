//! Drives the workers of a pipeline: starts them, hands their output on, feeds them from exchanges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bireme_engine::error::Result;
use bireme_engine::exchange::{Flow, Inlet, Outlet};
use bireme_engine::morsel::{Chunk, to_carried};
use bireme_engine::stage::ExchangeId;
use bireme_engine::workers::{Workers, caught};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{Either, select};
use futures::stream::SelectAll;

use super::counts::{Counts, Whence};
use super::kept::Kept;
use super::layout::Intake;
use super::line::{Line, Local, Sinking, Stepping};
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
    inlets: &mut BTreeMap<ExchangeId, Inlets>,
    outlet: &mut Outlet,
) -> Result<Ended> {
    let wanted = line.entries.iter().map(|entry| match &entry.intake {
        Intake::Scan(scan) if scan.ordered() => 1,
        Intake::Scan(scan) => scan.morsels(),
        Intake::Exchange(_) => usize::MAX,
    });
    let count = workers.threads().min(wanted.max().unwrap_or(0)).max(1);
    let crew = (0..count).map(|_| Worker::new(&line)).collect::<Result<Vec<_>>>()?;
    let mut crew = Crew { workers, line: Arc::clone(&line), idle: crew, outlet };

    let mut flow = Flow::Continue;
    for (number, entry) in line.entries.iter().enumerate() {
        let (supply, inlets) = match &entry.intake {
            Intake::Scan(scan) => (Supply::of(Arc::clone(scan)), None),
            Intake::Exchange(exchange) => (Supply::queue(), Some(inlets.remove(exchange).unwrap_or_default())),
        };
        // A source that is left out says so to its producers: its inlets are dropped.
        if flow == Flow::Continue && line.satisfied_limit(entry.first_step).is_none() {
            flow = crew.round(supply, Whence::Entry(number), inlets).await?;
        }
    }
    // Rows that joins could not tell before the last probe, in the order of the joins: those of one may probe the next.
    for (place, step) in line.steps.iter().enumerate() {
        let Stepping::Probe(table, residual) = step else { continue };
        if flow == Flow::Stop {
            break;
        }
        if line.satisfied_limit(line.after[place]).is_some() {
            continue;
        }
        let (table, residual) = (Arc::clone(table), residual.clone());
        if let Some(rest) = workers.run(move || table.rest(residual.as_ref())).await? {
            flow = crew.round(Supply::of(rest), Whence::Step(place), None).await?;
        }
    }
    line.count_partners();
    let mut counts = Counts::new(line.entries.len(), line.steps.len());
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
    async fn round(&mut self, supply: Supply, whence: Whence, inlets: Option<Inlets>) -> Result<Flow> {
        let first_step = match whence {
            Whence::Entry(number) => self.line.entries[number].first_step,
            Whence::Step(place) => self.line.after[place],
        };
        let round = Arc::new(Round { supply, whence, first_step, stopped: AtomicBool::new(false) });
        // Workers that are still under way when an error ends this future must not go on for long.
        let _stop = StopOnDrop(Arc::clone(&round));
        let (done, mut ended) = mpsc::unbounded();
        let mut inlets = inlets.map(|inlets| inlets.into_iter().map(|(_, inlet)| inlet).collect::<SelectAll<_>>());
        let (crew, mut flow) = (self.idle.len(), Flow::Continue);
        if inlets.is_none() {
            // The order of rows is kept by working on one morsel at a time. Those that find nothing to do come back at once.
            let starting = if round.supply.ordered() { 1 } else { crew };
            for worker in self.idle.split_off(crew.saturating_sub(starting)) {
                self.start(worker, &round, &done);
            }
        }
        loop {
            if flow == Flow::Stop || self.line.satisfied_limit(round.first_step).is_some() {
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
                // Nobody is at work who would hand rows on, and learn that they are not wanted.
                Some(inlets) if room && matches!(self.line.sink, Sinking::Output(_)) => {
                    self.outlet.unless_stopped(inlets.next()).await.map_or(Event::Stopped, Event::Batch)
                }
                Some(inlets) if room => Event::Batch(inlets.next().await),
                _ => Event::Ended(ended.next().await),
            };
            match event {
                Event::Ended(None) => return Ok(flow),
                Event::Ended(Some((worker, pause))) => {
                    flow = self.take_back(*worker, pause?, &round, &done, flow).await?;
                }
                Event::Batch(Some(batch)) => enqueue(&round, batch?)?,
                Event::Batch(None) => inlets = None,
                Event::Stopped => flow = Flow::Stop,
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
            let _ = done.unbounded_send((Box::new(worker), pause));
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

type Done = mpsc::UnboundedSender<(Box<Worker>, Result<Pause>)>;

enum Event {
    Ended(Option<(Box<Worker>, Result<Pause>)>),
    Batch(Option<Result<RecordBatch>>),
    /// Nobody wants what comes out.
    Stopped,
}

fn enqueue(round: &Round, batch: RecordBatch) -> Result<()> {
    let chunk = to_chunk(&batch)?;
    if let Supply::Queue(queue) = &round.supply {
        queue.lock().push_back(chunk);
    }
    Ok(())
}

/// Rows that came over an exchange, as pipelines carry them.
pub(super) fn to_chunk(batch: &RecordBatch) -> Result<Chunk> {
    let columns = batch.columns().iter().map(to_carried).collect::<Result<_>>()?;
    Ok(Chunk::new(columns, batch.num_rows()))
}

struct StopOnDrop(Arc<Round>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}
