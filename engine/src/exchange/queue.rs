//! What has arrived for one input lane and is not read yet.
//!
//! A queue takes whatever arrives; it never refuses and never makes anybody wait, because a refusal could close a cycle
//! of ranks that wait for each other. What the rank's budget does not grant goes to disk, from the back of the queue,
//! and comes back in its turn:
//!
//! ```text
//!   front                                             back
//!   [batch][batch][on disk][on disk][batch][on disk][encoded] ◄── arrives
//!     ▲ read next: stays in memory
//! ```
//!
//! Rows of one producer lane stay in order. The queue is at its end when every producer lane has said so. Frames from
//! other ranks arrive on the communicator's thread, which must not wait for a disk: a thread of its own ([`Spiller`])
//! writes those; rows of this rank are written by the producer that pushes them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;

use crate::budget::Reservation;
use crate::error::{Error, Result};
use crate::metrics::ExchangeMetrics;
use crate::spill::{Slot, SpillFile};
use crate::wire::{self, BatchHeader};

/// A batch as it arrived.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// From this rank.
    Batch(RecordBatch),
    /// From another rank.
    Encoded(BatchHeader, Vec<Buffer>),
}

/// What of a sending rank's rows was read: it may send as much again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub bytes: u64,
    pub batches: u64,
}

/// The queue of one input lane.
pub(crate) struct LaneQueue {
    state: Mutex<State>,
    // Locked before `state`, held while the disk works.
    spill: Mutex<Option<SpillFile>>,
    limits: QueueLimits,
    metrics: Arc<ExchangeMetrics>,
}

/// What a queue needs to know of its surroundings.
#[derive(Clone)]
pub(crate) struct QueueLimits {
    /// What its rows look like.
    pub schema: SchemaRef,
    /// Shared by the queues of the exchange.
    pub memory: Arc<Reservation>,
    /// Bytes of the budget that are left to holders that cannot spill as cheaply.
    pub headroom: usize,
    /// Where to spill.
    pub temp_dir: PathBuf,
    /// Credits of a rank are sent when they have added up to so much, or when the queue is empty.
    pub credit_step: u64,
}

struct State {
    entries: VecDeque<Entry>,
    // How many entries were taken from the front: the name of entry `i` is `taken + i`.
    taken: u64,
    // Entries in memory that the budget did not grant.
    unheld: usize,
    on_disk: usize,
    open_producers: usize,
    // The same, by their rank.
    open_by_rank: Vec<usize>,
    stopped: bool,
    spiller_told: bool,
    failure: Option<Error>,
    reader: Option<Waker>,
    // By sending rank.
    owed: Vec<Credit>,
}

struct Entry {
    from: usize,
    bytes: u64,
    place: Place,
}

enum Place {
    Memory { payload: Payload, held: bool },
    Disk(Slot),
}

/// What a reader finds.
pub(crate) enum Popped {
    /// The next batch, and the credits to send for what was read so far.
    Batch(Result<RecordBatch>, Vec<(usize, Credit)>),
    /// Every producer lane has ended.
    End,
}

impl LaneQueue {
    /// `producers` is how many lanes of each rank send to it.
    pub fn new(limits: QueueLimits, metrics: Arc<ExchangeMetrics>, producers: Vec<usize>) -> Self {
        let state = State {
            entries: VecDeque::new(),
            taken: 0,
            unheld: 0,
            on_disk: 0,
            open_producers: producers.iter().sum(),
            stopped: false,
            spiller_told: false,
            failure: None,
            reader: None,
            owed: vec![Credit::default(); producers.len()],
            open_by_rank: producers,
        };
        Self { state: Mutex::new(state), spill: Mutex::new(None), limits, metrics }
    }

    /// Takes a batch from a rank. Returns whether there is something to spill.
    pub fn push(&self, from: usize, bytes: u64, payload: Payload) -> bool {
        let mut state = self.state.lock();
        if state.stopped {
            return false;
        }
        let held = self.limits.memory.try_take_leaving(bytes as usize, self.limits.headroom);
        state.unheld += usize::from(!held);
        state.entries.push_back(Entry { from, bytes, place: Place::Memory { payload, held } });
        // What is read next stays in memory: the reader would wait for the disk twice.
        let spill = state.unheld > 0 && state.entries.len() > 1;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        spill
    }

    /// A producer lane of a rank has ended.
    pub fn end_one(&self, from: usize) {
        let mut state = self.state.lock();
        state.open_producers = state.open_producers.saturating_sub(1);
        state.open_by_rank[from] = state.open_by_rank[from].saturating_sub(1);
        let reader = if state.open_producers == 0 { state.reader.take() } else { None };
        drop(state);
        wake(reader);
    }

    /// Nothing more is wanted: forgets what is there and drops what still arrives. Returns whether producers may still
    /// send, so that they should be told.
    pub fn stop(&self) -> bool {
        let (entries, tell) = {
            let mut state = self.state.lock();
            let tell = !state.stopped && state.open_producers > 0;
            state.stopped = true;
            state.reader = None;
            (self.empty(&mut state), tell)
        };
        drop(entries);
        tell
    }

    /// Wakes the reader, to see that the action was cancelled.
    pub fn wake(&self) {
        let reader = self.state.lock().reader.take();
        wake(reader);
    }

    /// The next batch, in order of arrival.
    pub fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Popped> {
        let mut state = self.state.lock();
        if let Some(error) = state.failure.clone() {
            return Poll::Ready(Popped::Batch(Err(error), Vec::new()));
        }
        let Some(entry) = state.entries.pop_front() else {
            if state.open_producers == 0 || state.stopped {
                return Poll::Ready(Popped::End);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.taken += 1;
        let owed = &mut state.owed[entry.from];
        owed.bytes += entry.bytes;
        owed.batches += 1;
        if let Place::Memory { held, .. } = &entry.place {
            if *held {
                self.limits.memory.shrink(entry.bytes as usize);
            } else {
                state.unheld -= 1;
            }
        }
        let credits = self.credits(&mut state);
        drop(state);
        Poll::Ready(Popped::Batch(self.fetch(entry.place), credits))
    }

    /// Credits that are worth a message; all of them when the queue is empty, for then somebody may wait for them. Ranks whose
    /// producers have all ended wait for nothing.
    fn credits(&self, state: &mut State) -> Vec<(usize, Credit)> {
        let step = if state.entries.is_empty() { 1 } else { self.limits.credit_step };
        let open = &state.open_by_rank;
        let due = state.owed.iter_mut().enumerate().filter(|(rank, owed)| owed.bytes >= step && open[*rank] > 0);
        due.map(|(rank, owed)| (rank, std::mem::take(owed))).collect()
    }

    fn fetch(&self, place: Place) -> Result<RecordBatch> {
        match place {
            Place::Memory { payload: Payload::Batch(batch), .. } => Ok(batch),
            Place::Memory { payload: Payload::Encoded(header, buffers), .. } => {
                wire::decode(&self.limits.schema, header, buffers)
            }
            Place::Disk(slot) => {
                let mut spill = self.spill.lock();
                let file = spill.as_mut().ok_or_else(|| Error::internal("a spilled batch without a spill file"))?;
                let batch = file.read(slot)?;
                let mut state = self.state.lock();
                state.on_disk -= 1;
                if state.on_disk == 0 {
                    drop(state);
                    file.clear()?;
                }
                Ok(batch)
            }
        }
    }

    /// Writes to disk what the budget did not grant.
    ///
    /// # Errors
    /// The disk is full or fails. The reader gets the same error, for its rows are incomplete.
    pub fn spill_unheld(&self) -> Result<()> {
        let mut spill = self.spill.lock();
        let result = loop {
            let Some((name, payload)) = self.next_to_spill() else { break Ok(()) };
            if let Err(error) = self.spill_one(&mut spill, name, payload) {
                break Err(error);
            }
        };
        if let Err(error) = &result {
            self.state.lock().failure = Some(error.clone());
            self.wake();
        }
        result
    }

    /// The entry nearest to the back that should not be in memory; what is read next stays.
    fn next_to_spill(&self) -> Option<(u64, Payload)> {
        let mut state = self.state.lock();
        let last = if state.unheld == 0 || state.stopped || state.failure.is_some() {
            None
        } else {
            let unheld = |entry: &Entry| matches!(entry.place, Place::Memory { held: false, .. });
            state.entries.iter().rposition(unheld).filter(|&place| place > 0)
        };
        let Some(last) = last else {
            state.spiller_told = false;
            return None;
        };
        match &state.entries[last].place {
            Place::Memory { payload, .. } => Some((state.taken + last as u64, payload.clone())),
            Place::Disk(_) => None,
        }
    }

    fn spill_one(&self, spill: &mut Option<SpillFile>, name: u64, payload: Payload) -> Result<()> {
        let (header, buffers) = match payload {
            Payload::Batch(batch) => wire::encode(&batch),
            Payload::Encoded(header, buffers) => (header, buffers),
        };
        let file = match spill {
            Some(file) => file,
            None => spill.insert(SpillFile::create(&self.limits.temp_dir, Arc::clone(&self.limits.schema))?),
        };
        let before = file.bytes_written();
        let slot = file.append_encoded(header, &buffers)?;
        self.metrics.spilled_bytes.add(file.bytes_written() - before);
        self.metrics.spilled_batches.add(1);
        let mut state = self.state.lock();
        // It may have been read meanwhile; then what was written is lost labour.
        if let Some(place) = name.checked_sub(state.taken)
            && let Some(entry) = state.entries.get_mut(place as usize)
        {
            let memory = std::mem::replace(&mut entry.place, Place::Disk(slot));
            state.unheld -= 1;
            state.on_disk += 1;
            drop(state);
            drop(memory);
        }
        Ok(())
    }

    fn empty(&self, state: &mut State) -> VecDeque<Entry> {
        self.limits.memory.shrink(state.held_bytes());
        state.unheld = 0;
        state.taken += state.entries.len() as u64;
        std::mem::take(&mut state.entries)
    }
}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        let held = self.state.get_mut().held_bytes();
        self.limits.memory.shrink(held);
    }
}

impl State {
    fn held_bytes(&self) -> usize {
        let held = self.entries.iter().filter(|entry| matches!(entry.place, Place::Memory { held: true, .. }));
        held.map(|entry| entry.bytes as usize).sum()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A thread that spills for those who must not wait for a disk. It starts with the first queue that needs it.
#[derive(Default)]
pub(crate) struct Spiller {
    queues: Mutex<Option<mpsc::Sender<Arc<LaneQueue>>>>,
}

impl Spiller {
    /// Spills what the budget did not grant to this queue, soon.
    pub fn spill(&self, queue: &Arc<LaneQueue>) {
        if std::mem::replace(&mut queue.state.lock().spiller_told, true) {
            return;
        }
        let mut sender = self.queues.lock();
        let sender = sender.get_or_insert_with(|| {
            let (sender, queues) = mpsc::channel::<Arc<LaneQueue>>();
            let work = move || {
                while let Ok(queue) = queues.recv() {
                    // The reader learns of a failure from the queue.
                    if let Err(error) = queue.spill_unheld() {
                        tracing::debug!(%error, "an exchange could not spill");
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name("bireme-spill".into()).spawn(work) {
                tracing::warn!(%error, "no thread to spill with: exchanges stay in memory");
            }
            sender
        });
        // Without the thread the rows stay in memory: slower to fail than to go on.
        let _ = sender.send(Arc::clone(queue));
    }
}

#[cfg(test)]
mod tests;
