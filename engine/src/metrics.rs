//! What is counted while a plan runs.
//!
//! Counters are plain atomics: bodies, outlets and inlets add to them from any thread. At the end of an action each
//! rank takes a [`RunReport`] from them; `EXPLAIN ANALYZE` sums the reports of all ranks. Ids are those of the plan.

mod line;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bincode::{Decode, Encode};
use parking_lot::Mutex;

pub use line::{LineReport, LineTimes};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds a time, in nanoseconds.
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one stage did on one rank.
#[derive(Debug, Default)]
pub struct StageMetrics {
    /// Rows that came in through inlets.
    pub rows_in: Counter,
    /// Rows pushed to outlets.
    pub rows: Counter,
    /// Batches pushed to outlets.
    pub batches: Counter,
    /// Nanoseconds of work, summed over lanes; the body counts them, see [`StageMetrics::time`].
    pub busy: Counter,
    /// Nanoseconds that inlets and outlets were parked, summed over lanes.
    pub wait: Counter,
    /// Nanoseconds from the start of the body to its end.
    pub wall: Counter,
    /// What else the body counts, by name: bytes read, spills.
    extras: Mutex<BTreeMap<&'static str, u64>>,
    /// What the lines of its text did, ascending.
    lines: Mutex<Vec<LineReport>>,
}

impl StageMetrics {
    /// Adds to a counter of this name, which appears with the first call.
    pub fn add(&self, name: &'static str, value: u64) {
        *self.extras.lock().entry(name).or_default() += value;
    }

    /// The value of a counter of this name.
    pub fn extra(&self, name: &str) -> Option<u64> {
        self.extras.lock().get(name).copied()
    }

    /// All counters that have a name.
    pub fn extras(&self) -> BTreeMap<&'static str, u64> {
        self.extras.lock().clone()
    }

    /// Adds what a line of the body's text did.
    pub fn add_line(&self, report: LineReport) {
        line::merge(&mut self.lines.lock(), &[report]);
    }

    /// Runs `work` and counts its time as busy.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.busy.add_time(start.elapsed());
        result
    }

    /// The counters as they stand.
    pub fn report(&self, stage: u32, lanes: usize) -> StageReport {
        StageReport {
            stage,
            lanes: lanes as u64,
            rows_in: self.rows_in.get(),
            rows: self.rows.get(),
            batches: self.batches.get(),
            busy_ns: self.busy.get(),
            wait_ns: self.wait.get(),
            wall_ns: self.wall.get(),
            extras: self.extras.lock().iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            lines: self.lines.lock().clone(),
        }
    }
}

/// What one exchange moved, as one rank saw it: sending is counted by the producer's rank, spilling by the consumer's.
#[derive(Debug, Default)]
pub struct ExchangeMetrics {
    /// Rows sent, once for every input lane they went to.
    pub rows: Counter,
    /// Batches sent.
    pub batches: Counter,
    /// Bytes that stayed on the rank.
    pub local_bytes: Counter,
    /// Bytes sent to other ranks.
    pub remote_bytes: Counter,
    /// Frames of every sort sent to other ranks.
    pub messages: Counter,
    /// Bytes that the receiving side wrote to disk.
    pub spilled_bytes: Counter,
    /// Batches that the receiving side wrote to disk.
    pub spilled_batches: Counter,
    /// Nanoseconds that outlets were parked.
    pub send_wait: Counter,
    /// Nanoseconds that inlets were parked.
    pub receive_wait: Counter,
    decided: OnceLock<String>,
}

impl ExchangeMetrics {
    /// Notes what the ranks have decided about it.
    pub fn decided(&self, verdict: &str) {
        self.decided.get_or_init(|| verdict.to_owned());
    }

    /// The counters as they stand.
    pub fn report(&self, exchange: u32) -> ExchangeReport {
        ExchangeReport {
            exchange,
            rows: self.rows.get(),
            batches: self.batches.get(),
            local_bytes: self.local_bytes.get(),
            remote_bytes: self.remote_bytes.get(),
            messages: self.messages.get(),
            spilled_bytes: self.spilled_bytes.get(),
            spilled_batches: self.spilled_batches.get(),
            send_wait_ns: self.send_wait.get(),
            receive_wait_ns: self.receive_wait.get(),
            decided: self.decided.get().cloned().unwrap_or_default(),
        }
    }
}

/// [`StageMetrics`] at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct StageReport {
    /// The stage's number.
    pub stage: u32,
    /// Lanes that ran on this rank.
    pub lanes: u64,
    /// Rows read from inlets.
    pub rows_in: u64,
    /// Rows pushed.
    pub rows: u64,
    /// Batches pushed.
    pub batches: u64,
    /// Work, summed over lanes.
    pub busy_ns: u64,
    /// Parked, summed over lanes.
    pub wait_ns: u64,
    /// From start to end.
    pub wall_ns: u64,
    /// The body's own counters.
    pub extras: BTreeMap<String, u64>,
    /// What the lines of the body's text did, of those that count; ascending.
    pub lines: Vec<LineReport>,
}

/// [`ExchangeMetrics`] at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ExchangeReport {
    /// The exchange's number.
    pub exchange: u32,
    /// Rows sent.
    pub rows: u64,
    /// Batches sent.
    pub batches: u64,
    /// Bytes that stayed on the rank.
    pub local_bytes: u64,
    /// Bytes sent to other ranks.
    pub remote_bytes: u64,
    /// Frames sent to other ranks.
    pub messages: u64,
    /// Bytes written to disk.
    pub spilled_bytes: u64,
    /// Batches written to disk.
    pub spilled_batches: u64,
    /// Time that outlets were parked.
    pub send_wait_ns: u64,
    /// Time that inlets were parked.
    pub receive_wait_ns: u64,
    /// What the ranks have decided about it while it ran, if that was left open.
    pub decided: String,
}

/// What one rank did in one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RunReport {
    /// Whose report it is.
    pub rank: u64,
    /// Stages that had lanes here, by number.
    pub stages: Vec<StageReport>,
    /// Exchanges with an end here, by number.
    pub exchanges: Vec<ExchangeReport>,
    /// The rank's highest memory so far.
    pub peak_bytes: u64,
    /// From the start of the run to its consensus.
    pub wall_ns: u64,
}

impl RunReport {
    /// The report of a stage, if it ran here.
    pub fn stage(&self, stage: crate::stage::StageId) -> Option<&StageReport> {
        self.stages.iter().find(|report| report.stage == stage.0)
    }

    /// The report of an exchange, if it has an end here.
    pub fn exchange(&self, exchange: crate::stage::ExchangeId) -> Option<&ExchangeReport> {
        self.exchanges.iter().find(|report| report.exchange == exchange.0)
    }

    /// Adds another rank's report of the same action: counts add up, times of a whole stage or run take the longest.
    pub fn merge(&mut self, other: &RunReport) {
        for theirs in &other.stages {
            match self.stages.iter_mut().find(|ours| ours.stage == theirs.stage) {
                Some(ours) => ours.merge(theirs),
                None => self.stages.push(theirs.clone()),
            }
        }
        for theirs in &other.exchanges {
            match self.exchanges.iter_mut().find(|ours| ours.exchange == theirs.exchange) {
                Some(ours) => ours.merge(theirs),
                None => self.exchanges.push(theirs.clone()),
            }
        }
        self.stages.sort_by_key(|report| report.stage);
        self.exchanges.sort_by_key(|report| report.exchange);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
        self.wall_ns = self.wall_ns.max(other.wall_ns);
    }
}

impl StageReport {
    fn merge(&mut self, other: &StageReport) {
        self.lanes += other.lanes;
        self.rows_in += other.rows_in;
        self.rows += other.rows;
        self.batches += other.batches;
        self.busy_ns += other.busy_ns;
        self.wait_ns += other.wait_ns;
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        for (name, value) in &other.extras {
            *self.extras.entry(name.clone()).or_default() += value;
        }
        line::merge(&mut self.lines, &other.lines);
    }
}

impl ExchangeReport {
    fn merge(&mut self, other: &ExchangeReport) {
        self.rows += other.rows;
        self.batches += other.batches;
        self.local_bytes += other.local_bytes;
        self.remote_bytes += other.remote_bytes;
        self.messages += other.messages;
        self.spilled_bytes += other.spilled_bytes;
        self.spilled_batches += other.spilled_batches;
        self.send_wait_ns += other.send_wait_ns;
        self.receive_wait_ns += other.receive_wait_ns;
    }
}

/// How far a rank is, for a progress bar. Clones are the same bar.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    shared: Arc<ProgressCounters>,
}

#[derive(Debug, Default)]
struct ProgressCounters {
    total: Counter,
    done: Counter,
    rows: Counter,
}

impl Progress {
    /// Nothing to do, nothing done.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks (lanes of stages) that were started or wait to be, over all actions so far.
    pub fn total(&self) -> u64 {
        self.shared.total.get()
    }

    /// Tasks that have ended.
    pub fn done(&self) -> u64 {
        self.shared.done.get()
    }

    /// Rows that left through sinks.
    pub fn rows(&self) -> u64 {
        self.shared.rows.get()
    }

    pub(crate) fn add_total(&self, tasks: usize) {
        self.shared.total.add(tasks as u64);
    }

    pub(crate) fn add_done(&self, tasks: usize) {
        self.shared.done.add(tasks as u64);
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        self.shared.rows.add(rows as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_two_ranks_add_up() {
        let metrics = StageMetrics::default();
        metrics.rows.add(3);
        metrics.add("bytes read", 10);
        metrics.add("bytes read", 5);
        metrics.time(|| ());
        let mut one = RunReport { stages: vec![metrics.report(0, 2)], wall_ns: 5, ..RunReport::default() };
        let two = RunReport {
            rank: 1,
            stages: vec![metrics.report(0, 1), metrics.report(1, 1)],
            exchanges: vec![ExchangeReport { exchange: 0, rows: 9, ..ExchangeReport::default() }],
            wall_ns: 7,
            ..RunReport::default()
        };
        one.merge(&two);
        assert_eq!((one.stages.len(), one.stages[0].rows, one.stages[0].lanes), (2, 6, 3));
        assert_eq!(one.stages[0].extras["bytes read"], 30);
        assert_eq!((one.exchanges[0].rows, one.wall_ns), (9, 7));
    }
}
