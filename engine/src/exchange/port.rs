//! One rank's end of one exchange: what it has sent and nobody has read, and the queues of the input lanes that are
//! here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;

use super::ballot::Ballot;
use super::queue::{Credit, LaneQueue, Payload, QueueLimits, Spiller};
use super::{Outgoing, Pacer, Shared, Surroundings, batch_bytes};
use crate::budget::Reservation;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::metrics::ExchangeMetrics;
use crate::stage::{ExchangeId, Output, PlacedPlan, Route, StageId};
use crate::switchboard::{Message, Switchboard};

/// How long nothing may be read from a full lane before its window grows, if another lane is empty.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// One rank's end of one exchange.
pub(crate) struct Port {
    pub id: ExchangeId,
    action: u64,
    pub route: Route,
    pub schema: SchemaRef,
    pub fetch: Option<usize>,
    spooled: bool,
    /// What travels is advice: each batch is a whole, neither joined with others nor cut.
    pub advice: bool,
    pub rank: usize,
    /// Of each input lane.
    pub input_ranks: Vec<usize>,
    /// Of each producer lane.
    producer_ranks: Vec<usize>,
    /// The input lanes that producer lanes on this rank may send to.
    pub fed: Vec<usize>,
    pub cancel: Cancel,
    pub metrics: Arc<ExchangeMetrics>,
    pub memory: Arc<Reservation>,
    headroom: usize,
    window: u64,
    pub batch_rows: usize,
    switchboard: Switchboard,
    spiller: Arc<Spiller>,
    pacer: Arc<Pacer>,
    /// How the rows move is decided while the plan runs.
    pub ballot: Option<Arc<Ballot>>,
    sending: Mutex<Sending>,
    /// Of each input lane, where it is here.
    queues: Vec<Option<Arc<LaneQueue>>>,
}

/// What this rank has sent and nobody has read yet.
struct Sending {
    lanes: Vec<SendLane>,
    // Of each producer lane.
    parked: Vec<Option<Waker>>,
}

#[derive(Clone)]
struct SendLane {
    outstanding: Credit,
    /// The window, as it has grown while nothing was read.
    window: u64,
    /// When something was last read, or the window grew.
    moved: Instant,
    /// It wants nothing more, or this rank has no more for it.
    closed: bool,
    /// It wants nothing more.
    stopped: bool,
}

impl Port {
    /// Opens it, if this rank has one.
    pub fn new(
        plan: &PlacedPlan,
        action: u64,
        id: ExchangeId,
        around: &Surroundings<'_>,
        shared: &Shared<'_>,
    ) -> Option<Self> {
        let exchange = &plan.graph().exchanges[id.0 as usize];
        let rank = around.switchboard.rank();
        let input_ranks = plan.input_ranks(id);
        let producer_ranks = plan.lane_ranks(exchange.producer).to_vec();
        if !input_ranks.contains(&rank) && !producer_ranks.contains(&rank) {
            return None;
        }
        let ballot = match &exchange.route {
            Route::Adaptive(adaptive) => shared.ballots.get(&adaptive.decision).map(Arc::clone),
            _ => None,
        };
        let metrics = Arc::new(ExchangeMetrics::default());
        let memory = Arc::new(around.budget.reserve(format!("exchange {id}")));
        let window = (around.window_bytes / input_ranks.len().max(1)).max(1) as u64;
        let limits = QueueLimits {
            schema: Arc::clone(&exchange.schema),
            memory: Arc::clone(&memory),
            headroom: around.budget.limit().map_or(0, |limit| limit / 4),
            temp_dir: around.temp_dir.to_owned(),
            credit_step: (window / 2).max(1),
        };
        let keep = matches!(exchange.route, Route::Keep);
        let producers = |lane: usize| {
            let mut of_ranks = vec![0; plan.ranks()];
            let lanes = if keep { &producer_ranks[lane..=lane] } else { producer_ranks.as_slice() };
            lanes.iter().for_each(|&rank| of_ranks[rank] += 1);
            of_ranks
        };
        let queue = |lane| Arc::new(LaneQueue::new(limits.clone(), Arc::clone(&metrics), producers(lane)));
        let queues = input_ranks.iter().enumerate().map(|(lane, &at)| (at == rank).then(|| queue(lane))).collect();
        let fed = fed_lanes(&exchange.route, rank, &producer_ranks, &input_ranks);
        // Lanes that this rank never feeds must not look as if they lacked rows of it.
        let foreign =
            SendLane { outstanding: Credit::default(), window, moved: Instant::now(), closed: true, stopped: false };
        let mut lanes = vec![foreign; input_ranks.len()];
        fed.iter().for_each(|&lane| lanes[lane].closed = false);
        Some(Self {
            id,
            action,
            route: exchange.route.clone(),
            schema: Arc::clone(&exchange.schema),
            fetch: exchange.fetch,
            // A stage with several consumers must not be held up by one of them, whoever planned it.
            // Nobody may wait for whoever is advised.
            advice: exchange.advice,
            spooled: exchange.spooled || exchange.advice || consumers(plan, exchange.producer) > 1,
            rank,
            fed,
            sending: Mutex::new(Sending { lanes, parked: vec![None; producer_ranks.len()] }),
            input_ranks,
            producer_ranks,
            cancel: around.cancel.clone(),
            metrics,
            headroom: limits.headroom,
            memory,
            window,
            batch_rows: around.batch_rows.max(1),
            switchboard: around.switchboard.clone(),
            spiller: Arc::clone(shared.spiller),
            pacer: Arc::clone(shared.pacer),
            ballot,
            queues,
        })
    }

    /// The queue of an input lane that is here.
    pub fn queue(&self, lane: usize) -> Result<&Arc<LaneQueue>> {
        let queue = self.queues.get(lane).and_then(Option::as_ref);
        queue.ok_or_else(|| Error::internal(format!("input lane {lane} of {} is not on rank {}", self.id, self.rank)))
    }

    // ---- sending ----

    /// Whether an input lane wants nothing more.
    pub fn is_stopped(&self, lane: usize) -> bool {
        self.sending.lock().lanes[lane].stopped
    }

    /// Whether all of these input lanes want nothing more.
    pub fn all_stopped(&self, lanes: &[usize]) -> bool {
        let sending = self.sending.lock();
        lanes.iter().all(|&lane| sending.lanes[lane].stopped)
    }

    /// Ready when a producer lane may send to an input lane (see the theory of exchanges).
    pub fn poll_may_send(&self, producer: usize, lane: usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.spooled {
            return Poll::Ready(self.cancel.check());
        }
        let mut sending = self.sending.lock();
        // After the lock: a token that fires later wakes what is parked here.
        if let Err(cause) = self.cancel.check() {
            return Poll::Ready(Err(cause));
        }
        let room = sending.room(lane, Instant::now());
        if room == Room::Yes {
            return Poll::Ready(Ok(()));
        }
        sending.parked[producer] = Some(cx.waker().clone());
        drop(sending);
        if room == Room::Soon {
            self.pacer.ask();
        }
        Poll::Pending
    }

    /// Wakes a producer lane when an input lane wants nothing more, or anything else changes for it.
    pub fn park(&self, producer: usize, cx: &Context<'_>) {
        self.sending.lock().parked[producer] = Some(cx.waker().clone());
    }

    /// Sends a batch to an input lane, whether there is room or not. Says whether it told the lane's rank that it was the last
    /// of this producer lane: where it is, that saves a message.
    ///
    /// # Errors
    /// The batch cannot be encoded, the other rank is gone, or this rank's disk is full.
    pub fn send(&self, producer: usize, lane: usize, batch: &Outgoing, last: bool) -> Result<bool> {
        if self.is_stopped(lane) {
            return Ok(false);
        }
        self.metrics.rows.add(batch.batch.num_rows() as u64);
        self.metrics.batches.add(1);
        let to = self.input_ranks[lane];
        if to == self.rank {
            let bytes = batch_bytes(&batch.batch);
            self.charge(lane, bytes);
            self.metrics.local_bytes.add(bytes);
            let queue = self.queue(lane)?;
            if queue.push(to, bytes, Payload::Batch(batch.batch.clone())) {
                queue.spill_unheld()?;
            }
            return Ok(false);
        }
        let (header, buffers, bytes) = batch.encoded()?;
        self.charge(lane, bytes);
        self.metrics.remote_bytes.add(bytes);
        let message = Message::Data {
            action: self.action,
            exchange: self.id.0,
            lane: lane as u32,
            producer: producer as u32,
            bytes,
            batch: header,
            last,
        };
        self.tell(to, &message, buffers)?;
        Ok(last)
    }

    /// Says to every reader that a producer lane here has ended, but for the ranks that know it.
    ///
    /// # Errors
    /// A rank is gone.
    pub fn end(&self, producer: usize, told: &[usize]) -> Result<()> {
        let keep = matches!(self.route, Route::Keep);
        if keep {
            self.close_lane(producer);
        }
        let inputs = if keep { &self.input_ranks[producer..=producer] } else { self.input_ranks.as_slice() };
        for to in inputs.iter().copied().collect::<BTreeSet<_>>() {
            if to == self.rank {
                self.producer_ended(producer);
            } else if !told.contains(&to) {
                let message = Message::End { action: self.action, exchange: self.id.0, producer: producer as u32 };
                self.tell(to, &message, Vec::new())?;
            }
        }
        Ok(())
    }

    fn tell(&self, to: usize, message: &Message, buffers: Vec<Buffer>) -> Result<()> {
        self.metrics.messages.add(1);
        let sent = self.switchboard.send(to, message, buffers);
        sent.map_err(|error| error.context(format!("exchange {} to rank {to}", self.id)))
    }

    fn charge(&self, lane: usize, bytes: u64) {
        let mut sending = self.sending.lock();
        let lane = &mut sending.lanes[lane];
        if lane.outstanding.batches == 0 {
            lane.moved = Instant::now();
        }
        lane.outstanding.bytes += bytes;
        lane.outstanding.batches += 1;
    }

    /// This rank has no more for an input lane.
    pub fn close_lane(&self, lane: usize) {
        self.change_sending(|sending| sending.lanes[lane].closed = true);
    }

    pub fn credited(&self, lane: usize, credit: Credit) {
        self.change_sending(|sending| {
            let lane = &mut sending.lanes[lane];
            lane.outstanding.bytes = lane.outstanding.bytes.saturating_sub(credit.bytes);
            lane.outstanding.batches = lane.outstanding.batches.saturating_sub(credit.batches);
            lane.moved = Instant::now();
            lane.window = self.window;
        });
    }

    pub fn lane_stopped(&self, lane: usize) {
        self.change_sending(|sending| {
            let lane = &mut sending.lanes[lane];
            lane.outstanding = Credit::default();
            (lane.closed, lane.stopped) = (true, true);
        });
    }

    /// Lets parked outlets look again.
    pub fn wake_senders(&self) {
        self.change_sending(|_| ());
    }

    fn change_sending(&self, change: impl FnOnce(&mut Sending)) {
        let parked = {
            let mut sending = self.sending.lock();
            change(&mut sending);
            sending.parked.iter_mut().filter_map(Option::take).collect::<Vec<_>>()
        };
        parked.into_iter().for_each(Waker::wake);
    }

    // ---- receiving ----

    pub fn arrived(&self, from: usize, lane: usize, bytes: u64, payload: Payload) {
        match self.queue(lane) {
            Ok(queue) => {
                if queue.push(from, bytes, payload) {
                    self.spiller.spill(queue);
                }
            }
            Err(error) => drop(self.cancel.cancel(error)),
        }
    }

    pub fn producer_ended(&self, producer: usize) {
        let from = self.producer_ranks[producer];
        match self.route {
            Route::Keep => self.queues[producer].iter().for_each(|queue| queue.end_one(from)),
            _ => self.queues.iter().flatten().for_each(|queue| queue.end_one(from)),
        }
    }

    /// Lets ranks send as much again as was read.
    pub fn give_credits(&self, lane: usize, credits: Vec<(usize, Credit)>) -> Result<()> {
        for (to, credit) in credits {
            if to == self.rank {
                self.credited(lane, credit);
            } else if !self.spooled {
                let Credit { bytes, batches } = credit;
                let message =
                    Message::Credit { action: self.action, exchange: self.id.0, lane: lane as u32, bytes, batches };
                self.tell(to, &message, Vec::new())?;
            }
        }
        Ok(())
    }

    /// Says to every producing rank that an input lane wants nothing more.
    pub fn stop(&self, lane: usize) {
        let Ok(queue) = self.queue(lane) else { return };
        if !queue.stop() || self.cancel.is_cancelled() {
            return;
        }
        let producers = match self.route {
            Route::Keep => &self.producer_ranks[lane..=lane],
            _ => self.producer_ranks.as_slice(),
        };
        for to in producers.iter().copied().collect::<BTreeSet<_>>() {
            if to == self.rank {
                self.lane_stopped(lane);
            } else {
                let message = Message::Stop { action: self.action, exchange: self.id.0, lane: lane as u32 };
                // A rank that is gone needs no stop; whoever waits for it learns of it.
                let _ = self.tell(to, &message, Vec::new());
            }
        }
    }

    pub fn wake_all(&self) {
        self.queues.iter().flatten().for_each(|queue| queue.wake());
        self.wake_senders();
    }

    /// Takes memory for rows that wait in an outlet; says whether there was any.
    pub fn take_memory(&self, bytes: usize) -> bool {
        self.memory.try_take_leaving(bytes, self.headroom)
    }
}

/// How many exchanges get the rows of a stage. Not looked up among all exchanges: there may be thousands, each asks.
fn consumers(plan: &PlacedPlan, producer: StageId) -> usize {
    let outputs = &plan.graph().stages[producer.0 as usize].outputs;
    outputs.iter().filter(|output| matches!(output, Output::Exchange(_))).count()
}

/// The input lanes that producers on a rank may send to.
fn fed_lanes(route: &Route, rank: usize, producer_ranks: &[usize], input_ranks: &[usize]) -> Vec<usize> {
    let all = || (0..input_ranks.len()).collect::<Vec<_>>();
    match route {
        Route::Keep => (0..producer_ranks.len()).filter(|&lane| producer_ranks[lane] == rank).collect(),
        Route::Gather => vec![0],
        Route::RoundRobin => {
            let here = (0..input_ranks.len()).filter(|&lane| input_ranks[lane] == rank).collect::<Vec<_>>();
            if here.is_empty() { all() } else { here }
        }
        Route::Spread | Route::Hash(_) | Route::Adaptive(_) | Route::Range(_) | Route::Broadcast => all(),
    }
}

/// Whether there is room in a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Yes,
    /// When something is read.
    No,
    /// When something is read, or when nothing is for a while.
    Soon,
}

impl Sending {
    fn room(&mut self, lane: usize, now: Instant) -> Room {
        let SendLane { outstanding, window, stopped, .. } = self.lanes[lane];
        // Two batches may always be under way: one is read while the next is sent.
        if stopped || outstanding.bytes < window || outstanding.batches < 2 {
            return Room::Yes;
        }
        if !self.lanes.iter().any(|lane| !lane.closed && lane.outstanding.batches == 0) {
            return Room::No;
        }
        let lane = &mut self.lanes[lane];
        if now.duration_since(lane.moved) < PATIENCE {
            return Room::Soon;
        }
        // Doubled, so that a reader that is far from this lane costs a few waits and not one for each batch.
        (lane.window, lane.moved) = (outstanding.bytes.saturating_mul(2), now);
        Room::Yes
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({} on rank {})", self.id, self.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 100;

    /// Lanes with so many batches of 60 bytes under way, and the time at which they last moved.
    fn sending(batches: &[u64]) -> (Sending, Instant) {
        let moved = Instant::now();
        let lane = |&batches: &u64| SendLane {
            outstanding: Credit { bytes: 60 * batches, batches },
            window: WINDOW,
            moved,
            closed: false,
            stopped: false,
        };
        (Sending { lanes: batches.iter().map(lane).collect(), parked: Vec::new() }, moved)
    }

    #[test]
    fn waits_for_good_only_while_every_lane_has_something_to_read() {
        let later = |now: Instant| now + 100 * PATIENCE;
        let (mut full, now) = sending(&[2, 1]);
        assert!(full.room(0, later(now)) == Room::No && full.room(1, later(now)) == Room::Yes);
        // A lane that has ended lacks nothing.
        let (mut ended, now) = sending(&[2, 0]);
        ended.lanes[1].closed = true;
        assert!(ended.room(0, later(now)) == Room::No);
        ended.lanes[0].stopped = true;
        assert!(ended.room(0, now) == Room::Yes);
    }

    #[test]
    fn the_window_doubles_while_nothing_is_read_and_another_lane_is_empty() {
        let (mut sending, mut now) = sending(&[2, 0]);
        assert!(sending.room(0, now) == Room::Soon);
        let mut waits = 0;
        while sending.lanes[0].outstanding.batches < 1000 {
            match sending.room(0, now) {
                Room::Yes => {
                    sending.lanes[0].outstanding.bytes += 60;
                    sending.lanes[0].outstanding.batches += 1;
                }
                Room::Soon => {
                    waits += 1;
                    now += PATIENCE;
                }
                Room::No => unreachable!("the other lane is empty"),
            }
        }
        assert_eq!(waits, 9, "a thousand batches cost the logarithm of a thousand waits");
    }

    #[test]
    fn two_batches_are_always_under_way_however_large() {
        let (mut sending, now) = sending(&[1, 1]);
        sending.lanes[0].outstanding.bytes = 1 << 40;
        assert!(sending.room(0, now) == Room::Yes);
    }
}
