//! Moves batches from the lanes of one stage to the lanes of the next.
//!
//! ```text
//!   rank 0                                                     rank 1
//!   lane 0: Outlet ─┐  route, gather, coalesce         ┌─► queue ─► Inlet :lane 2
//!   lane 1: Outlet ─┼─► Port ──── Data, End ─────────► Port┴─► queue ─► Inlet :lane 3
//!                   │    ▲ └────── Credit, Stop ◄───────┘
//!                   └────┴──► queue ─► Inlet :lane 0      (same rank: batches are handed over as they are)
//! ```
//!
//! Every rank has one [`Port`] for each exchange it has an end of. An [`Outlet`] belongs to one producer lane and feeds
//! all outputs of its stage; an [`Inlet`] belongs to one input lane. Both are polled by whatever executor the body
//! uses; neither ever blocks a thread on the other side.
//!
//! **Flow control.** A port counts, for each input lane, the bytes it has sent and nobody has read yet. An outlet whose
//! lane is over its window waits for room. It waits for good only while every open lane that this rank feeds has
//! something to read; if one of them is empty, it waits only as long as its own lane is being read, and then sends on.
//!
//! > Suppose that outlets of a tree of stages wait for good, and nothing moves. Take a consumer that waits, at an empty
//! > queue, for an exchange X (one that waits for no input would move). For every rank that feeds X, that consumer's
//! > lane is empty. So no outlet of X waits for good, and the lanes that produce X, having not ended, wait for an
//! > exchange of their own. Going up the tree, this ends at a stage without inputs, which waits for nothing.
//!
//! So a wait never closes a cycle; the price is that a receiver may get more than the window. What its budget does not
//! hold, it spills. (Sending on at once, whenever a lane is empty, is just as safe, but a key with three values leaves
//! most lanes empty for ever, and then nothing would hold the producers back.) A stage with several consumers makes the
//! graph more than a tree; its exchanges are `spooled`, and outlets never wait for those. Neither do they for readers of
//! *advice*, which goes against the order of stages, and which no consumer waits for.

mod ballot;
mod inlet;
mod outlet;
mod pending;
mod pick;
mod port;
mod queue;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use futures::task::AtomicWaker;

use self::ballot::Ballot;
pub(crate) use self::ballot::Vote;
use self::port::{PATIENCE, Port};
use self::queue::{Credit, Payload, Spiller};
use crate::budget::Budget;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::feedback::Rounds;
use crate::stage::{DecisionId, ExchangeId, PlacedPlan, StageId};
use crate::switchboard::{Message, Switchboard};
use crate::wire::{self, BatchHeader};

pub use self::inlet::Inlet;
pub(crate) use self::outlet::OutletSetup;
pub use self::outlet::{Flow, Outlet};

/// A batch without columns still takes a place in a queue.
const LEAST_BYTES: u64 = 64;

/// What all exchanges of an action share on one rank.
#[derive(Clone)]
pub(crate) struct Surroundings<'a> {
    pub switchboard: &'a Switchboard,
    pub budget: &'a Budget,
    pub temp_dir: &'a Path,
    pub cancel: &'a Cancel,
    pub batch_rows: usize,
    /// Bytes that one rank may have under way in one exchange, over all input lanes.
    pub window_bytes: usize,
}

/// This rank's ends of all exchanges of one action.
pub(crate) struct Ports {
    pub cancel: Cancel,
    pub pacer: Arc<Pacer>,
    ballots: BTreeMap<DecisionId, Arc<Ballot>>,
    rounds: BTreeMap<StageId, Arc<Rounds>>,
    ports: Vec<Option<Arc<Port>>>,
}

/// What all ports of an action share.
pub(crate) struct Shared<'a> {
    spiller: &'a Arc<Spiller>,
    pacer: &'a Arc<Pacer>,
    ballots: &'a BTreeMap<DecisionId, Arc<Ballot>>,
}

/// Wakes outlets that wait for time to pass. There is no timer thread: the thread that drives the bodies sleeps anyway,
/// and sleeps less while it is asked to.
#[derive(Default)]
pub(crate) struct Pacer {
    asked: AtomicBool,
    driver: AtomicWaker,
}

impl Pacer {
    /// Asks for a wake-up soon.
    fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.driver.wake();
        }
    }

    /// Says whom to wake when somebody asks, and how long the driver may sleep.
    pub fn nap(&self, driver: &Waker, at_most: Duration) -> Duration {
        self.driver.register(driver);
        if self.asked.load(Ordering::Acquire) { PATIENCE.min(at_most) } else { at_most }
    }
}

impl Ports {
    /// Opens this rank's ends of the exchanges of a plan.
    pub fn new(plan: &PlacedPlan, action: u64, around: &Surroundings<'_>) -> Self {
        let (spiller, pacer) = (Arc::new(Spiller::default()), Arc::new(Pacer::default()));
        let ids = (0..plan.graph().exchanges.len()).map(|id| ExchangeId(id as u32));
        let ballots = Ballot::all(plan, action, around.switchboard, around.cancel);
        let rounds = Rounds::all(plan, action, around.switchboard, around.cancel);
        let port =
            |id| Port::new(plan, action, id, around, &Shared { spiller: &spiller, pacer: &pacer, ballots: &ballots });
        let ports = ids.map(|id| port(id).map(Arc::new)).collect();
        Self { cancel: around.cancel.clone(), pacer, ballots, rounds, ports }
    }

    /// Votes on what this rank has no part in. When frames of the action are taken.
    pub fn open(&self) {
        self.ballots.values().for_each(|ballot| ballot.open());
    }

    /// Called now and then by the driver: lets outlets that wait for time to pass look again.
    pub fn pace(&self) {
        if self.pacer.asked.swap(false, Ordering::AcqRel) {
            self.iter().for_each(|port| port.wake_senders());
        }
    }

    /// This rank's end of an exchange.
    pub fn get(&self, exchange: ExchangeId) -> Result<&Arc<Port>> {
        let port = self.ports.get(exchange.0 as usize).and_then(Option::as_ref);
        port.ok_or_else(|| Error::internal(format!("exchange {exchange} has no end on this rank")))
    }

    /// This rank's end of a stage's feedback edge, if it has one.
    pub fn rounds(&self, stage: StageId) -> Option<&Arc<Rounds>> {
        self.rounds.get(&stage)
    }

    /// Every end there is here.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.iter().flatten()
    }

    /// Wakes whoever is parked.
    pub fn wake_all(&self) {
        self.iter().for_each(|port| port.wake_all());
        self.ballots.values().for_each(|ballot| ballot.wake_all());
        self.rounds.values().for_each(|rounds| rounds.wake_all());
    }

    /// Takes a frame. Runs on the communicator's thread.
    pub fn receive(&self, from: usize, message: Message, buffers: Vec<Buffer>) {
        match message {
            Message::Poison { error, .. } => drop(self.cancel.cancel(error)),
            Message::Data { exchange, lane, producer, bytes, batch, last, .. } => {
                self.with(exchange, |port| {
                    port.arrived(from, lane as usize, bytes, Payload::Encoded(batch, buffers));
                    if last {
                        port.producer_ended(producer as usize);
                    }
                });
            }
            Message::End { exchange, producer, .. } => {
                self.with(exchange, |port| port.producer_ended(producer as usize))
            }
            Message::Credit { exchange, lane, bytes, batches, .. } => {
                self.with(exchange, |port| port.credited(lane as usize, Credit { bytes, batches }));
            }
            Message::Stop { exchange, lane, .. } => self.with(exchange, |port| port.lane_stopped(lane as usize)),
            Message::Vote { decision, vote, .. } => match self.ballots.get(&DecisionId(decision)) {
                Some(ballot) => ballot.voted(from, vote),
                None => drop(self.cancel.cancel(ballot::unknown(DecisionId(decision)))),
            },
            Message::Round { stage, round, words, .. } => match self.rounds.get(&StageId(stage)) {
                Some(rounds) => rounds.arrived(from, round, words, buffers),
                None => {
                    let why = format!("stage {} has no rounds on this rank", StageId(stage));
                    let _ = self.cancel.cancel(Error::internal(why));
                }
            },
            Message::Control { .. } | Message::Ping | Message::Abort { .. } => {}
        }
    }

    fn with(&self, exchange: u32, take: impl FnOnce(&Port)) {
        match self.get(ExchangeId(exchange)) {
            Ok(port) => take(port),
            Err(error) => drop(self.cancel.cancel(error)),
        }
    }
}

/// A batch on its way to one or more input lanes; encoded once, and only if it leaves the rank.
pub(crate) struct Outgoing {
    batch: RecordBatch,
    encoded: OnceLock<(BatchHeader, Vec<Buffer>, u64)>,
}

impl Outgoing {
    pub fn new(batch: RecordBatch) -> Self {
        Self { batch, encoded: OnceLock::new() }
    }

    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn encoded(&self) -> Result<(BatchHeader, Vec<Buffer>, u64)> {
        if let Some(encoded) = self.encoded.get() {
            return Ok(encoded.clone());
        }
        let (header, buffers) = wire::encode(&self.batch);
        let bytes = buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>().max(LEAST_BYTES);
        Ok(self.encoded.get_or_init(|| (header, buffers, bytes)).clone())
    }
}

/// Bytes of the rows of a batch, not of the buffers that they may be slices of.
pub fn batch_bytes(batch: &RecordBatch) -> u64 {
    let bytes = batch.columns().iter().map(|column| column_bytes(column)).sum::<usize>();
    (bytes as u64).max(LEAST_BYTES)
}

fn column_bytes(array: &dyn Array) -> usize {
    let validity = array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8));
    // The common types without `to_data`, which allocates: a batch is cut into one piece for each lane.
    match array.data_type() {
        fixed if fixed.primitive_width().is_some() => {
            array.len() * fixed.primitive_width().unwrap_or_default() + validity
        }
        DataType::Utf8 => 4 + text_bytes(array.as_string::<i32>().value_offsets(), array.len() * 4) + validity,
        DataType::Utf8View | DataType::BinaryView => {
            array.len() * 16 + viewed_bytes(array).map_or(0, |(used, _)| used) + validity
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn text_bytes(offsets: &[i32], fixed: usize) -> usize {
    match offsets {
        [first, .., last] => fixed + (last - first) as usize,
        _ => fixed,
    }
}

/// Of an array of views: the bytes that its rows show, and the bytes of the buffers that it keeps alive.
fn viewed_bytes(array: &dyn Array) -> Option<(usize, usize)> {
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            Some((views.total_buffer_bytes_used(), views.data_buffers().iter().map(Buffer::len).sum()))
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            Some((views.total_buffer_bytes_used(), views.data_buffers().iter().map(Buffer::len).sum()))
        }
        _ => None,
    }
}

/// Copies the strings of view columns that show only a small part of the buffers they keep alive: a few rows for each
/// of many lanes must not each carry the whole.
pub(crate) fn compact_views(batch: RecordBatch) -> Result<RecordBatch> {
    if !batch.columns().iter().any(is_loose) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(compact_views_of).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// The same of one column.
pub(crate) fn compact_views_of(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View if is_loose(array) => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView if is_loose(array) => Arc::new(array.as_binary_view().gc()),
        _ => Arc::clone(array),
    }
}

fn is_loose(array: &ArrayRef) -> bool {
    viewed_bytes(array).is_some_and(|(used, kept)| kept > 2 * used + 4096)
}
