//! The writing end of one producer lane: routes rows to the input lanes of every exchange its stage feeds, and to
//! sinks.
//!
//! ```text
//!   push(batch) ─► assign a lane to each row ─► count, sort row numbers by lane ─► gather ─► pending[lane]
//!                                                        pending[lane] is worth it: wait for room, send
//! ```
//!
//! Rows for many lanes are small pieces of each batch, so they are collected per lane until they make a batch worth
//! sending. Whole batches pass through untouched.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::SchemaRef;

use super::ballot::{Ballot, Course, SAMPLE_ROWS, Verdict, is_heavy, splits};
use super::pending::{Pending, WORTH_A_MESSAGE, take_rows};
use super::pick::{FEW_LANES, pick};
use super::port::Port;
use super::{Outgoing, batch_bytes};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::metrics::{Progress, StageMetrics};
use crate::stage::{Adaptive, LaneSink, Partitioner, Route, Side};

/// Bytes that the outlets of a build side hold at most on a rank before the ranks decide.
const MOST_HELD: u64 = 64 << 20;

/// Bytes that wait in one outlet for company, over all lanes.
const PENDING_BYTES: usize = 16 << 20;

/// Even with many lanes, pieces smaller than this wait for company.
const LEAST_PENDING_BYTES: usize = 64 << 10;

/// Rows that are not worth a message by their bytes are by their number: so many batches' rows.
const BATCHES_OF_ROWS: usize = 16;

/// Where rows are spread, so many batches for each target are sent as they come.
const FIRST_BATCHES: usize = 4;

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a producer that goes on after `Stop` works for nothing"]
pub enum Flow {
    /// Go on.
    Continue,
    /// Nobody wants more rows: finish.
    Stop,
}

/// Where one producer lane puts its rows. Feeds all outputs of the stage; each of them gets every row.
pub struct Outlet {
    lane: usize,
    outputs: Vec<Output>,
    setup: OutletSetup,
}

/// What the outlets of one stage on one rank share.
#[derive(Clone)]
pub(crate) struct OutletSetup {
    pub cancel: Cancel,
    pub metrics: Arc<StageMetrics>,
    pub progress: Progress,
    /// How many have been finished.
    pub finished: Arc<AtomicUsize>,
}

enum Output {
    Exchange(Box<ExchangeOutlet>),
    Sink(Box<dyn LaneSink>),
}

impl Outlet {
    pub(crate) fn new(lane: usize, setup: OutletSetup) -> Self {
        Self { lane, outputs: Vec::new(), setup }
    }

    pub(crate) fn add_exchange(&mut self, port: Arc<Port>) {
        let outlet = ExchangeOutlet::new(port, self.lane, Arc::clone(&self.setup.metrics));
        self.outputs.push(Output::Exchange(Box::new(outlet)));
    }

    pub(crate) fn add_sink(&mut self, sink: Box<dyn LaneSink>) {
        self.outputs.push(Output::Sink(sink));
    }

    /// Which lane of its stage it belongs to.
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// Sends rows on. Waits, without blocking a thread, while readers are far behind.
    ///
    /// # Errors
    /// The action was cancelled, a key cannot be computed, a sink cannot write, or a rank is gone.
    pub async fn push(&mut self, batch: RecordBatch) -> Result<Flow> {
        self.setup.cancel.check()?;
        self.setup.metrics.rows.add(batch.num_rows() as u64);
        self.setup.metrics.batches.add(1);
        for output in &mut self.outputs {
            match output {
                Output::Exchange(outlet) => outlet.push(&batch).await?,
                Output::Sink(sink) => {
                    self.setup.progress.add_rows(batch.num_rows());
                    sink.write(batch.clone())?;
                }
            }
        }
        Ok(self.flow())
    }

    /// Whether anybody still wants rows; for producers that would rather ask before they work.
    pub fn flow(&self) -> Flow {
        let stopped = |output: &Output| match output {
            Output::Exchange(outlet) => outlet.is_stopped(),
            Output::Sink(_) => false,
        };
        if self.outputs.iter().all(stopped) { Flow::Stop } else { Flow::Continue }
    }

    /// Waits for something, such as rows to push; `None` as soon as nobody wants any. Who waits long without a row would not learn of
    /// it otherwise: a limit above may have all its rows from other ranks.
    pub async fn unless_stopped<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let mut wait = pin!(wait);
        let ready = poll_fn(|cx| {
            // Borrowed as its own: sinks are not shared between threads.
            let outlet = &mut *self;
            // Before it looks: who stops later wakes it.
            for output in &outlet.outputs {
                if let Output::Exchange(outlet) = output {
                    outlet.port.park(outlet.lane, cx);
                }
            }
            match outlet.flow() {
                Flow::Stop => Poll::Ready(None),
                Flow::Continue => wait.as_mut().poll(cx).map(Some),
            }
        });
        ready.await
    }

    /// Sends what is left and the end marks, and closes the sinks. Every outlet must be finished, also after
    /// [`Flow::Stop`]; one that is dropped instead leaves its readers waiting, so its stage must fail.
    ///
    /// # Errors
    /// As [`Outlet::push`].
    pub async fn finish(mut self) -> Result<()> {
        self.setup.cancel.check()?;
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Exchange(outlet) => outlet.finish().await?,
                Output::Sink(sink) => sink.close()?,
            }
        }
        self.setup.finished.fetch_add(1, Ordering::AcqRel);
        self.setup.progress.add_done(1);
        Ok(())
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outlet(lane {}, {} outputs)", self.lane, self.outputs.len())
    }
}

/// One producer lane's way into one exchange.
struct ExchangeOutlet {
    port: Arc<Port>,
    lane: usize,
    metrics: Arc<StageMetrics>,
    aim: Aim,
    /// All input lanes that rows of this outlet may go to.
    targets: Vec<usize>,
    /// With [`Aim::Scatter`], of each input lane; else one.
    pending: Vec<Pending>,
    /// Rows sent to each input lane, for exchanges that fetch only so many.
    sent: Vec<usize>,
    /// Bytes of the budget that `pending` holds.
    held: usize,
    /// No more rows come: what is sent may be the last.
    finishing: bool,
    /// Other ranks that know that this lane has ended.
    told: Vec<usize>,
    // Kept from batch to batch.
    lanes: Vec<u32>,
    starts: Vec<u32>,
    rows: Vec<u32>,
}

/// Which of its targets a row goes to.
enum Aim {
    /// Each row to its lane.
    Scatter(Arc<dyn Partitioner>),
    /// Each batch to the next one.
    InTurn { next: usize },
    /// Each batch to all of them.
    All,
    /// Each row to its lane, but those of heavy keys to these lanes.
    Split { partitioner: Arc<dyn Partitioner>, verdict: Arc<Verdict>, lanes: Vec<usize> },
    /// Not decided yet: rows are held.
    Undecided(Adaptive),
}

/// Looks at one more batch before it is decided where it goes; says whether that is enough.
fn look(adaptive: &Adaptive, ballot: Option<&Ballot>, batch: &RecordBatch) -> Result<bool> {
    let Some(ballot) = ballot else { return Ok(true) };
    if adaptive.side == Side::Build {
        return Ok(ballot.saw_bytes(batch_bytes(batch)) >= adaptive.broadcast_below.min(MOST_HELD));
    }
    let mut hashes = Vec::with_capacity(batch.num_rows());
    adaptive.partitioner.hashes(batch, &mut hashes)?;
    Ok(ballot.saw_rows(&hashes) >= SAMPLE_ROWS)
}

impl ExchangeOutlet {
    fn new(port: Arc<Port>, lane: usize, metrics: Arc<StageMetrics>) -> Self {
        let inputs = port.input_ranks.len();
        let (aim, targets) = match &port.route {
            Route::Hash(partitioner) | Route::Range(partitioner) if inputs > 1 => {
                (Aim::Scatter(Arc::clone(partitioner)), port.fed.clone())
            }
            Route::Adaptive(adaptive) if inputs > 1 => (Aim::Undecided(adaptive.clone()), port.fed.clone()),
            // One reader gets everything, whatever is decided; its rank votes all the same.
            Route::Adaptive(adaptive) => {
                port.ballot.iter().for_each(|ballot| ballot.speak(adaptive.side));
                (Aim::All, vec![0])
            }
            Route::Hash(_) | Route::Range(_) | Route::Gather => (Aim::All, vec![0]),
            Route::Keep => (Aim::All, vec![lane]),
            Route::Broadcast => (Aim::All, port.fed.clone()),
            // Each producer begins at another lane, or few batches would all go to the first.
            Route::RoundRobin | Route::Spread => (Aim::InTurn { next: lane }, port.fed.clone()),
        };
        let slots = if matches!(aim, Aim::Scatter(_)) { inputs } else { 1 };
        let mut pending = Vec::new();
        pending.resize_with(slots, Pending::default);
        Self {
            port,
            lane,
            metrics,
            aim,
            targets,
            pending,
            sent: vec![0; inputs],
            held: 0,
            finishing: false,
            told: Vec::new(),
            lanes: Vec::new(),
            starts: Vec::new(),
            rows: Vec::new(),
        }
    }

    async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = with_schema(batch, &self.port.schema)
            .map_err(|error| error.context(format!("exchange {}", self.port.id)))?;
        let mut enough = false;
        match &mut self.aim {
            Aim::Undecided(adaptive) => {
                enough = look(adaptive, self.port.ballot.as_deref(), &batch)?;
                self.pending[0].hold(batch);
            }
            _ => self.place(batch)?,
        }
        // What cannot be held is sent, however small.
        let grown = self.pending.iter().map(|pending| pending.bytes).sum::<usize>().saturating_sub(self.held);
        let flush = grown > 0 && !self.port.take_memory(grown);
        if !flush {
            self.held += grown;
        }
        if matches!(self.aim, Aim::Undecided(_)) {
            if !enough && !flush {
                return Ok(());
            }
            self.decide().await?;
        }
        self.send_ready(flush).await
    }

    /// Puts a batch, or its rows, where they wait for company.
    fn place(&mut self, batch: RecordBatch) -> Result<()> {
        if self.port.advice {
            self.pending[0].hold(batch);
            return Ok(());
        }
        match &self.aim {
            Aim::Scatter(partitioner) => {
                let partitioner = Arc::clone(partitioner);
                self.scatter(&batch, partitioner.as_ref())
            }
            Aim::Split { partitioner, verdict, lanes } => {
                let (partitioner, verdict, lanes) = (Arc::clone(partitioner), Arc::clone(verdict), lanes.clone());
                let mut hashes = Vec::with_capacity(batch.num_rows());
                partitioner.hashes(&batch, &mut hashes)?;
                let heavy = hashes.iter().map(|&hash| is_heavy(&verdict, hash)).collect::<Vec<_>>();
                let picked = |wanted: bool| {
                    let rows = (0..heavy.len()).filter(|&row| heavy[row] == wanted).map(|row| row as u32);
                    UInt32Array::from_iter_values(rows)
                };
                let split = picked(true);
                if !split.is_empty() {
                    let rows = take_rows(&batch, &split)?;
                    lanes.into_iter().try_for_each(|lane| self.pending[lane].join(rows.clone()))?;
                }
                let rest = picked(false);
                if rest.is_empty() {
                    return Ok(());
                }
                let rest = if split.is_empty() { batch } else { take_rows(&batch, &rest)? };
                self.scatter(&rest, partitioner.as_ref())
            }
            Aim::InTurn { .. } | Aim::All | Aim::Undecided(_) => self.pending[0].join(batch),
        }
    }

    /// Speaks for its side, waits for the verdict, and places what was held.
    async fn decide(&mut self) -> Result<()> {
        let Aim::Undecided(adaptive) = &self.aim else { return Ok(()) };
        let (adaptive, Some(ballot)) = (adaptive.clone(), self.port.ballot.clone()) else { return Ok(()) };
        ballot.speak(adaptive.side);
        let mut held = ballot.take_left(adaptive.side);
        held.append(&mut std::mem::take(&mut self.pending[0]).into_held()?);
        self.follow(adaptive, &ballot, held).await
    }

    /// Waits for the verdict if the rows that are left are for this outlet to send.
    async fn decide_at_end(&mut self) -> Result<()> {
        let Aim::Undecided(adaptive) = &self.aim else { return Ok(()) };
        let (adaptive, Some(ballot)) = (adaptive.clone(), self.port.ballot.clone()) else { return Ok(()) };
        let held = std::mem::take(&mut self.pending[0]).into_held()?;
        match ballot.end(adaptive.side, held) {
            Some(held) => self.follow(adaptive, &ballot, held).await,
            None => Ok(()),
        }
    }

    /// Places rows under the verdict.
    async fn follow(&mut self, adaptive: Adaptive, ballot: &Ballot, held: Vec<RecordBatch>) -> Result<()> {
        let since = Instant::now();
        let verdict = poll_fn(|cx| ballot.poll_verdict(cx)).await?;
        self.metrics.wait.add_time(since.elapsed());
        self.port.metrics.decided(&verdict.to_string());
        let inputs = self.port.input_ranks.len();
        let mut slots = 1;
        self.aim = Aim::All;
        match Course::of(&verdict, adaptive.side, &self.port.input_ranks, self.port.rank) {
            Course::To(lanes) => {
                (0..inputs).filter(|lane| !lanes.contains(lane)).for_each(|lane| self.port.close_lane(lane));
                self.targets = lanes;
            }
            Course::InTurn => self.aim = Aim::InTurn { next: self.lane },
            Course::ByHash { heavy, lanes } => {
                slots = inputs;
                let partitioner = adaptive.partitioner;
                self.aim = if splits(&heavy) {
                    Aim::Split { partitioner, verdict: heavy, lanes }
                } else {
                    Aim::Scatter(partitioner)
                };
            }
        }
        self.pending.resize_with(slots, Pending::default);
        for batch in held {
            self.place(batch)?;
            self.send_ready(false).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.decide_at_end().await?;
        self.finishing = true;
        self.send_ready(true).await?;
        self.port.end(self.lane, &self.told)
    }

    fn is_stopped(&self) -> bool {
        let enough = |lane: usize| self.port.fetch.is_some_and(|fetch| self.sent[lane] >= fetch);
        self.targets.iter().all(|&lane| enough(lane)) || self.port.all_stopped(&self.targets)
    }

    /// Cuts a batch into one piece for each lane, in the order of its rows.
    fn scatter(&mut self, batch: &RecordBatch, partitioner: &dyn Partitioner) -> Result<()> {
        let slots = self.pending.len();
        self.lanes.clear();
        partitioner.assign(batch, slots, &mut self.lanes)?;
        if self.lanes.len() != batch.num_rows() || self.lanes.iter().any(|&lane| lane as usize >= slots) {
            return Err(Error::internal(format!(
                "{} of {} assigned {} lanes (of {slots}) to {} rows",
                partitioner.describe(),
                self.port.id,
                self.lanes.len(),
                batch.num_rows()
            )));
        }
        if slots > FEW_LANES {
            self.sort_rows_by_lane(slots);
        }
        for lane in 0..slots {
            if self.port.is_stopped(lane) {
                continue;
            }
            let rows = if slots > FEW_LANES {
                &self.rows[self.starts[lane] as usize..self.starts[lane + 1] as usize]
            } else {
                pick(&self.lanes, lane as u32, &mut self.rows)
            };
            if !rows.is_empty() {
                self.pending[lane].gather(batch, rows)?;
            }
        }
        Ok(())
    }

    /// Counting sort: `rows[starts[lane]..starts[lane + 1]]` are the rows of a lane, ascending.
    fn sort_rows_by_lane(&mut self, slots: usize) {
        self.starts.clear();
        self.starts.resize(slots + 1, 0);
        for &lane in &self.lanes {
            self.starts[lane as usize + 1] += 1;
        }
        for lane in 0..slots {
            self.starts[lane + 1] += self.starts[lane];
        }
        let mut places = self.starts.clone();
        self.rows.clear();
        self.rows.resize(self.lanes.len(), 0);
        for (row, &lane) in self.lanes.iter().enumerate() {
            let place = &mut places[lane as usize];
            self.rows[*place as usize] = row as u32;
            *place += 1;
        }
    }

    /// Sends what is worth it; with `flush`, all there is. What stays on this rank is worth it sooner: it costs no message.
    async fn send_ready(&mut self, flush: bool) -> Result<()> {
        let (batch, fetch) = (self.port.batch_rows, self.port.fetch.unwrap_or(usize::MAX));
        let bytes = (PENDING_BYTES / self.pending.len()).clamp(LEAST_PENDING_BYTES, WORTH_A_MESSAGE);
        for slot in 0..self.pending.len() {
            let pending = &self.pending[slot];
            if pending.is_empty() {
                continue;
            }
            let stays = self.stays(slot) || self.spreads_first();
            let rows = if stays { batch } else { batch.saturating_mul(BATCHES_OF_ROWS) }.min(fetch);
            let alone = stays && pending.is_whole() && pending.rows >= rows / 2;
            if pending.rows >= rows || pending.bytes >= bytes || alone || flush {
                self.flush(slot).await?;
            }
        }
        Ok(())
    }

    /// Whether rows are to be spread of which there may be few: all targets should get some.
    fn spreads_first(&self) -> bool {
        let first = self.port.batch_rows.saturating_mul(FIRST_BATCHES * self.targets.len());
        matches!(self.aim, Aim::InTurn { .. }) && self.sent.iter().sum::<usize>() < first
    }

    /// Whether what waits in a slot goes to no other rank.
    fn stays(&self, slot: usize) -> bool {
        let here = |lane: usize| self.port.input_ranks[lane] == self.port.rank;
        match self.aim {
            Aim::Scatter(_) | Aim::Split { .. } => here(slot),
            Aim::All | Aim::InTurn { .. } | Aim::Undecided(_) => self.targets.iter().all(|&lane| here(lane)),
        }
    }

    async fn flush(&mut self, slot: usize) -> Result<()> {
        let pending = std::mem::take(&mut self.pending[slot]);
        let given = pending.bytes.min(self.held);
        self.held -= given;
        self.port.memory.shrink(given);
        let mut batches = pending.into_batches(&self.port.schema)?.into_iter().peekable();
        while let Some(batch) = batches.next() {
            let last = batches.peek().is_none() && self.finishing && self.is_last(slot);
            self.dispatch(slot, batch, last).await?;
        }
        Ok(())
    }

    /// Whether no slot after this one has rows for the same rank. (What goes to several lanes of a rank is not told apart:
    /// those outlets end with a message of its own.)
    fn is_last(&self, slot: usize) -> bool {
        let rank = |slot: usize| self.port.input_ranks[slot];
        let later = || (slot + 1..self.pending.len()).any(|other| rank(other) == rank(slot) && self.waits(other));
        matches!(self.aim, Aim::Scatter(_)) && !later()
    }

    fn waits(&self, slot: usize) -> bool {
        !self.pending[slot].is_empty()
    }

    async fn dispatch(&mut self, slot: usize, batch: RecordBatch, last: bool) -> Result<()> {
        let first = match &mut self.aim {
            Aim::Scatter(_) | Aim::Split { .. } => slot,
            Aim::All | Aim::Undecided(_) => self.targets[0],
            Aim::InTurn { next } => {
                let count = self.targets.len();
                let mut turns = (0..count).map(|step| (*next + step) % count);
                let turn = turns.find(|&turn| !self.port.is_stopped(self.targets[turn])).unwrap_or(0);
                *next = turn + 1;
                self.targets[turn]
            }
        };
        // No more rows than a lane will read; where there are several targets, all of them have got the same.
        let wanted = self.port.fetch.map_or(usize::MAX, |fetch| fetch.saturating_sub(self.sent[first]));
        let batch = Outgoing::new(if batch.num_rows() > wanted { batch.slice(0, wanted) } else { batch });
        if !matches!(self.aim, Aim::All) {
            return self.send(first, &batch, last).await;
        }
        for target in 0..self.targets.len() {
            self.send(self.targets[target], &batch, false).await?;
        }
        Ok(())
    }

    async fn send(&mut self, lane: usize, batch: &Outgoing, last: bool) -> Result<()> {
        if let Some(fetch) = self.port.fetch
            && self.sent[lane] >= fetch
        {
            return Ok(());
        }
        self.sent[lane] += batch.rows();
        let mut parked = None;
        let ready = poll_fn(|cx| {
            let ready = self.port.poll_may_send(self.lane, lane, cx);
            if ready.is_pending() {
                parked.get_or_insert_with(Instant::now);
            }
            ready
        });
        ready.await?;
        if let Some(since) = parked {
            self.metrics.wait.add_time(since.elapsed());
            self.port.metrics.send_wait.add_time(since.elapsed());
        }
        if self.port.send(self.lane, lane, batch, last)? {
            self.told.push(self.port.input_ranks[lane]);
        }
        Ok(())
    }
}

impl Drop for ExchangeOutlet {
    fn drop(&mut self) {
        self.port.memory.shrink(self.held);
    }
}

/// The batch under the exchange's own schema: producers differ in metadata and in what they call nullable, and readers
/// of other ranks see the exchange's schema in any case.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if Arc::ptr_eq(batch.schema_ref(), schema) || batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
        .map_err(|error| Error::internal(format!("a batch does not have the columns that were planned: {error}")))
}
