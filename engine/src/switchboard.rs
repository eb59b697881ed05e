//! Sorts arriving frames: control messages to the collectives, the rest to the exchanges of their action.
//!
//! ```text
//!                          ┌─ Control, Abort ──► mailbox ──► Control (collectives)
//!   Communicator ─ frame ──┤
//!                          └─ Data, End, Credit, Stop, Poison ──► action 7 ──► exchange x0, x1, …
//! ```
//!
//! Ranks are never at exactly the same place: one may send rows of an action that another has not opened yet. Such
//! frames are kept until it opens. Frames of an action that is over (rows nobody wants any more, credits on their way
//! when the consensus was reached) are dropped.
//!
//! Locks: the table of actions is locked before any lock of an exchange, never after; no lock is held while a frame is
//! sent or a task is woken, for a communicator within one process may run the receiver's handler right there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arrow::buffer::Buffer;
use bincode::{Decode, Encode};
use parking_lot::{Condvar, Mutex};

use crate::comm::{Communicator, Frame};
use crate::error::{Error, Result};
use crate::exchange::{Ports, Vote};
use crate::wire::BatchHeader;

/// What a frame is.
#[derive(Clone, Debug, Encode, Decode)]
pub(crate) enum Message {
    /// One rank's part of a collective; its bytes are the frame's only buffer.
    Control { sequence: u64, label: String },
    /// Nothing: sent to see whether a rank can be reached.
    Ping,
    /// The sender gives up on the whole job; every wait ends.
    Abort { error: Error },
    /// A batch for an input lane; its columns are the frame's buffers. If it is the `last`, it is an [`Message::End`] as well.
    Data { action: u64, exchange: u32, lane: u32, producer: u32, bytes: u64, batch: BatchHeader, last: bool },
    /// A producer lane is finished, for all input lanes on the receiving rank.
    End { action: u64, exchange: u32, producer: u32 },
    /// So much of what this rank sent to an input lane was consumed.
    Credit { action: u64, exchange: u32, lane: u32, bytes: u64, batches: u64 },
    /// An input lane wants nothing more.
    Stop { action: u64, exchange: u32, lane: u32 },
    /// What the sender knows of a decision.
    Vote { action: u64, decision: u32, vote: Vote },
    /// What the sender has for this rank in a round of a stage; its bytes are the frame's only buffer.
    Round { action: u64, stage: u32, round: u64, words: Vec<u64> },
    /// A stage failed; the action is over everywhere.
    Poison { action: u64, error: Error },
}

impl Message {
    fn action(&self) -> Option<u64> {
        match self {
            Message::Control { .. } | Message::Ping | Message::Abort { .. } => None,
            Message::Data { action, .. }
            | Message::End { action, .. }
            | Message::Credit { action, .. }
            | Message::Stop { action, .. }
            | Message::Vote { action, .. }
            | Message::Round { action, .. }
            | Message::Poison { action, .. } => Some(*action),
        }
    }
}

/// One rank's communicator, with its frames sorted. Clones are the same switchboard.
#[derive(Clone)]
pub struct Switchboard {
    shared: Arc<Shared>,
}

struct Shared {
    communicator: Arc<dyn Communicator>,
    actions: Mutex<Actions>,
    mailbox: Mutex<Mailbox>,
    arrived: Condvar,
    sequence: AtomicU64,
}

#[derive(Default)]
struct Actions {
    open: BTreeMap<u64, Arc<Ports>>,
    // Frames of actions that are not open yet, in the order of their arrival.
    early: BTreeMap<u64, Vec<(usize, Message, Vec<Buffer>)>>,
    // Actions are numbered upwards: what is not above this and not open is over.
    closed_up_to: Option<u64>,
}

/// What collectives wait for.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// By sequence number and sending rank: label and bytes.
    pub letters: BTreeMap<(u64, usize), (String, Buffer)>,
    /// Another rank gave up.
    pub aborted: Option<Error>,
}

impl Switchboard {
    /// Attaches to a communicator, which must not have a handler yet.
    pub fn new(communicator: Arc<dyn Communicator>) -> Self {
        let shared = Arc::new(Shared {
            communicator: Arc::clone(&communicator),
            actions: Mutex::default(),
            mailbox: Mutex::default(),
            arrived: Condvar::new(),
            sequence: AtomicU64::new(0),
        });
        // Weak: the communicator holds the handler, and the switchboard the communicator.
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        communicator.attach(Arc::new(move |from, frame| {
            if let Some(shared) = weak.upgrade() {
                shared.receive(from, frame);
            }
        }));
        Self { shared }
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.shared.communicator.rank()
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.shared.communicator.size()
    }

    /// What carries the frames.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.shared.communicator
    }

    /// Tells every other rank that this one gives up on the job: all their waits end with `error`.
    pub fn abort(&self, error: &Error) {
        self.send_to_others(&Message::Abort { error: error.clone() });
    }

    /// Ends every wait on this rank, for collectives, exchanges and the others' goodbyes, and tells the others: nobody waits
    /// for a rank that is lost.
    pub(crate) fn end_waits(&self, error: &Error) {
        self.shared.end_waits(error);
        self.abort(error);
        self.shared.communicator.abandon(error);
    }

    pub(crate) fn send(&self, to: usize, message: &Message, buffers: Vec<Buffer>) -> Result<()> {
        let header = bincode::encode_to_vec(message, bincode::config::standard())
            .map_err(|error| Error::internal(format!("encoding a message to rank {to}: {error}")))?;
        self.shared.communicator.send(to, Frame { header, buffers })
    }

    /// To every other rank, as far as they can be reached: for messages that end something.
    pub(crate) fn send_to_others(&self, message: &Message) {
        for to in (0..self.ranks()).filter(|&to| to != self.rank()) {
            if let Err(error) = self.send(to, message, Vec::new()) {
                tracing::debug!(to, %error, "a rank could not be told that this one failed");
            }
        }
    }

    /// Of these ranks, the first that is gone or has been silent for longer than `timeout`, and what is known of it. What a
    /// rank sent before it left may still be on its way to the mailbox.
    pub(crate) fn find_lost(&self, ranks: &[usize], timeout: Duration) -> Option<(usize, String)> {
        ranks.iter().filter(|&&rank| rank != self.rank()).find_map(|&rank| {
            if self.shared.communicator.has_left(rank) {
                return Some((rank, "it has closed its session".to_owned()));
            }
            let silence = self.shared.communicator.silence(rank);
            if silence > timeout {
                return Some((rank, format!("it was last heard of {} s ago", silence.as_secs())));
            }
            // Ranks of this process are never silent; that they are gone shows when something is sent to them.
            let gone = if silence.is_zero() { self.send(rank, &Message::Ping, Vec::new()).err() } else { None };
            gone.map(|error| (rank, error.message().to_owned()))
        })
    }

    /// Opens an action: what arrived early is delivered, what arrives from now on goes there at once.
    pub(crate) fn open(&self, action: u64, ports: Arc<Ports>) {
        let mut actions = self.shared.actions.lock();
        // Under the lock, so that no later frame of the same rank overtakes an early one.
        let early = actions.early.remove(&action).unwrap_or_default();
        actions.early.retain(|&other, _| other > action);
        for (from, message, buffers) in early {
            ports.receive(from, message, buffers);
        }
        actions.open.insert(action, ports);
    }

    /// Closes an action: its late frames are dropped.
    pub(crate) fn close(&self, action: u64) {
        let mut actions = self.shared.actions.lock();
        let ports = actions.open.remove(&action);
        actions.closed_up_to = actions.closed_up_to.max(Some(action));
        drop(actions);
        drop(ports);
    }

    /// The number of the next collective. All ranks enter collectives in the same order.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.shared.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until `done` finds in the mailbox what it looks for; `None` at the deadline.
    pub(crate) fn wait_for_letters<T>(
        &self,
        deadline: Instant,
        mut done: impl FnMut(&mut Mailbox) -> Option<T>,
    ) -> Option<T> {
        let mut mailbox = self.shared.mailbox.lock();
        loop {
            if let Some(found) = done(&mut mailbox) {
                return Some(found);
            }
            if self.shared.arrived.wait_until(&mut mailbox, deadline).timed_out() {
                return done(&mut mailbox);
            }
        }
    }

    /// A function that makes [`Switchboard::wait_for_letters`] look again.
    pub(crate) fn alarm(&self) -> impl Fn() + Send + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                // The lock orders this after a waiter's look and before its sleep.
                drop(shared.mailbox.lock());
                shared.arrived.notify_all();
            }
        }
    }
}

impl Shared {
    /// The communicator's handler: short, and never blocks.
    fn receive(&self, from: usize, frame: Frame) {
        let message = match bincode::decode_from_slice(&frame.header, bincode::config::standard()) {
            Ok((message, _)) => message,
            Err(error) => {
                let error = Error::internal(format!("a frame from rank {from} has an unreadable header: {error}"));
                return self.post(|mailbox| mailbox.aborted = Some(error));
            }
        };
        match message {
            Message::Control { sequence, label } => {
                let bytes = frame.buffers.into_iter().next().unwrap_or_default();
                self.post(|mailbox| {
                    mailbox.letters.insert((sequence, from), (label, bytes));
                });
            }
            Message::Abort { error } => self.end_waits(&error),
            Message::Ping => {}
            message => self.dispatch(from, message, frame.buffers),
        }
    }

    fn end_waits(&self, error: &Error) {
        let running = self.actions.lock().open.values().cloned().collect::<Vec<_>>();
        for ports in running {
            ports.cancel.cancel(error.clone());
        }
        self.post(|mailbox| {
            mailbox.aborted.get_or_insert_with(|| error.clone());
        });
    }

    fn post(&self, change: impl FnOnce(&mut Mailbox)) {
        change(&mut self.mailbox.lock());
        self.arrived.notify_all();
    }

    fn dispatch(&self, from: usize, message: Message, buffers: Vec<Buffer>) {
        let Some(action) = message.action() else { return };
        let ports = {
            let mut actions = self.actions.lock();
            match actions.open.get(&action) {
                Some(ports) => Arc::clone(ports),
                None if actions.closed_up_to.is_some_and(|closed| action <= closed) => return,
                None => {
                    actions.early.entry(action).or_default().push((from, message, buffers));
                    return;
                }
            }
        };
        ports.receive(from, message, buffers);
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switchboard(rank {} of {}, {})", self.rank(), self.ranks(), self.shared.communicator.backend())
    }
}
