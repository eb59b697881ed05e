//! The thread that owns MPI.
//!
//! Each round it takes what is in the outbox, keeps up to [`ON_THEIR_WAY`] messages moving to each peer (peers in
//! turn, so that a large frame to one does not hold up the others), notices envelopes, moves what is arriving forward,
//! and hands complete frames to the handler. A round never waits.
//!
//! Order: MPI keeps the order of messages with one (sender, tag). Envelopes go out in the order of the frames, and
//! chunks in the order of the envelopes that announce them; the receiver opens the envelopes of a sender strictly in
//! turn, and posts receives for chunks strictly in that order too. So each receive meets its chunk. Frames are
//! delivered from the front of each sender's row only.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use arrow::buffer::Buffer;

use super::envelope::{Envelope, Kind, Payload, pack, sign, unpack};
use super::world::{Landing, Sending, Tag, World};
use super::{MpiOptions, Outbox, Progress, Shared};
use crate::comm::{Frame, Handler};
use crate::error::{Error, Result};

/// Messages that MPI has at a time for each peer, each way.
const ON_THEIR_WAY: usize = 16;
/// Envelopes noticed in one round, at most.
const PROBES: usize = 64;
/// Idle rounds before the first sleep: a few when there is nothing to do, more while MPI is moving something.
const SPINS: u32 = 50;
const SPINS_IN_FLIGHT: u32 = 2000;
/// Whoever gets its core back later than this shares it with a worker that has much to do. (After a task of 20 us the pump is
/// needed again at once; to sleep then cost a stencil 15 us a step.) Once says little, for the worker may have ended. After
/// that, to sleep is quicker than to give way again: who wakes is let in at once, who gives way comes back when the worker's
/// time is up.
const LATE: Duration = Duration::from_micros(200);
const LATE_AGAIN: u32 = 2;
const SHORTEST_SLEEP: Duration = Duration::from_micros(20);
const LONGEST_SLEEP: Duration = Duration::from_millis(1);
/// When no frame has come or gone for [`QUIET`]: between two queries nobody counts milliseconds.
const QUIET_SLEEP: Duration = Duration::from_millis(5);
const QUIET: Duration = Duration::from_secs(1);
const LONGEST_SLEEP_IN_FLIGHT: Duration = Duration::from_micros(100);
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(super) struct Pump {
    world: World,
    shared: Arc<Shared>,
    options: MpiOptions,
    peers: Vec<Peer>,
    /// Who is served first in the next round.
    turn: usize,
    handler: Option<Handler>,
    /// Complete frames on their way to the handler, or waiting for there to be one.
    delivered: VecDeque<(usize, Frame)>,
    last_heartbeat: Instant,
    /// When a frame last came or went; heartbeats do not count.
    last_frame: Instant,
    closing: bool,
    /// How often in a row the core was given away and came back late.
    late: u32,
}

#[derive(Default)]
struct Peer {
    queue: VecDeque<Outgoing>,
    /// What is left of the frame that is being sent.
    messages: VecDeque<(Tag, Buffer)>,
    sending: Vec<Sending>,
    arriving: VecDeque<Arriving>,
    said_bye: bool,
}

enum Outgoing {
    Frame(Frame),
    Sign(Kind),
}

enum Arriving {
    Envelope(Landing),
    Frame { header: Vec<u8>, buffers: Vec<ArrivingBuffer> },
}

enum ArrivingBuffer {
    Here(Buffer),
    Landing(Landing),
}

impl Pump {
    pub(super) fn new(world: World, shared: Arc<Shared>, options: MpiOptions) -> Self {
        Self {
            peers: (0..world.size).map(|_| Peer::default()).collect(),
            world,
            shared,
            options,
            turn: 0,
            handler: None,
            delivered: VecDeque::new(),
            last_heartbeat: Instant::now(),
            last_frame: Instant::now(),
            closing: false,
            late: 0,
        }
    }

    /// Works until all ranks have closed, or something fails.
    pub(super) fn run(mut self) {
        sleep_exactly();
        let mut idle = 0;
        let failure = loop {
            match self.round() {
                Err(error) => break error,
                Ok(true) => idle = 0,
                Ok(false) if self.all_closed() => return self.finish(),
                Ok(false) if self.shared.outbox.lock().deserted => {
                    break Error::internal("dropped before it was closed");
                }
                Ok(false) => {
                    idle += 1;
                    self.rest(idle);
                }
            }
        };
        if !self.shared.outbox.lock().deserted {
            tracing::error!(rank = self.world.rank, "{failure}");
        }
        self.shared.set_progress(Progress::Failed(failure));
        self.wait_for_abort();
    }

    /// One turn of everything; whether anything moved.
    fn round(&mut self) -> Result<bool> {
        let mut moved = self.collect();
        self.beat();
        moved |= self.send()?;
        moved |= self.notice()?;
        moved |= self.receive()?;
        moved |= self.deliver()?;
        Ok(moved)
    }

    /// Takes what is in the outbox.
    fn collect(&mut self) -> bool {
        let (frames, handler, closing) = {
            let mut outbox = self.shared.outbox.lock();
            if let Some(code) = outbox.abort {
                drop(outbox);
                self.world.abort(code);
                return false;
            }
            (std::mem::take(&mut outbox.frames), outbox.handler.take(), outbox.closing)
        };
        let mut moved = !frames.is_empty() || handler.is_some();
        if handler.is_some() {
            self.handler = handler;
        }
        if moved {
            self.last_frame = Instant::now();
        }
        for (to, frame) in frames {
            if to == self.world.rank {
                self.delivered.push_back((to, frame));
            } else {
                self.peers[to].queue.push_back(Outgoing::Frame(frame));
            }
        }
        if closing && !self.closing {
            self.closing = true;
            moved = true;
            self.say_to_all(Kind::Bye);
            self.report_waiting();
        }
        moved
    }

    fn say_to_all(&mut self, kind: Kind) {
        let rank = self.world.rank;
        let others = self.peers.iter_mut().enumerate().filter(|(peer, _)| *peer != rank);
        others.for_each(|(_, peer)| peer.queue.push_back(Outgoing::Sign(kind)));
    }

    /// Heartbeats, also to peers to whom frames are going: those may be large and slow. Not if the last one is still
    /// here.
    fn beat(&mut self) {
        if self.last_heartbeat.elapsed() < HEARTBEAT {
            return;
        }
        self.last_heartbeat = Instant::now();
        let (rank, closing) = (self.world.rank, self.closing);
        for (number, peer) in self.peers.iter_mut().enumerate() {
            // After bye a peer may be gone; and what is on its way already shows that we live.
            if number != rank
                && !closing
                && peer.queue.is_empty()
                && peer.messages.is_empty()
                && peer.sending.is_empty()
            {
                peer.queue.push_back(Outgoing::Sign(Kind::Heartbeat));
            }
        }
    }

    fn send(&mut self) -> Result<bool> {
        let mut moved = false;
        let size = self.peers.len();
        self.turn = (self.turn + 1) % size;
        for step in 0..size {
            let to = (self.turn + step) % size;
            moved |= self.peers[to].send(to, &self.world, &self.options)?;
        }
        Ok(moved)
    }

    /// Starts to receive the envelopes that have arrived.
    fn notice(&mut self) -> Result<bool> {
        for probes in 0..PROBES {
            let Some((from, length)) = self.world.probe()? else { return Ok(probes > 0) };
            self.shared.heard_of(from);
            let mut landing = World::landing(from, Tag::Envelope, length, length);
            self.world.post(&mut landing, 1)?;
            self.peers[from].arriving.push_back(Arriving::Envelope(landing));
        }
        Ok(true)
    }

    fn receive(&mut self) -> Result<bool> {
        let mut moved = false;
        let mut byes = false;
        for (from, peer) in self.peers.iter_mut().enumerate().filter(|(_, peer)| !peer.arriving.is_empty()) {
            let had_said_bye = peer.said_bye;
            let arrived = peer.open_envelopes(from)? + peer.advance(&self.world)?;
            if arrived > 0 {
                moved = true;
                self.shared.heard_of(from);
            }
            if peer.said_bye {
                self.shared.expect_nothing_of(from);
            }
            byes |= peer.said_bye != had_said_bye;
            while let Some(frame) = peer.take_frame()? {
                self.delivered.push_back((from, frame));
                moved = true;
            }
        }
        if byes && self.closing {
            self.report_waiting();
        }
        Ok(moved)
    }

    /// Calls the handler. No lock is held: it may send.
    fn deliver(&mut self) -> Result<bool> {
        let Some(handler) = &self.handler else { return Ok(false) };
        if self.delivered.is_empty() {
            return Ok(false);
        }
        self.last_frame = Instant::now();
        while let Some((from, frame)) = self.delivered.pop_front() {
            catch_unwind(AssertUnwindSafe(|| handler(from, frame)))
                .map_err(|_| Error::internal(format!("a handler of frames panicked (frame from rank {from})")))?;
        }
        Ok(true)
    }

    /// Whether everything that was sent has left, everyone has said bye, and what they sent has been handed over.
    fn all_closed(&self) -> bool {
        let rank = self.world.rank;
        let quiet = |peer: &Peer| {
            peer.queue.is_empty() && peer.messages.is_empty() && peer.sending.is_empty() && peer.arriving.is_empty()
        };
        let handed_over = self.delivered.is_empty() || self.handler.is_none();
        let done = |(number, peer): (usize, &Peer)| number == rank || peer.said_bye && quiet(peer);
        self.closing && handed_over && self.peers.iter().enumerate().all(done)
    }

    fn report_waiting(&self) {
        let waiting = |(number, peer): (usize, &Peer)| (number != self.world.rank && !peer.said_bye).then_some(number);
        self.shared.set_progress(Progress::Waiting(self.peers.iter().enumerate().filter_map(waiting).collect()));
    }

    fn finish(self) {
        // Handlers usually hold their communicator; nothing comes any more.
        drop(self.handler);
        match self.world.finalize() {
            Ok(()) => self.shared.set_progress(Progress::Finished),
            // MPI is in an unknown state: all that is left is to leave.
            Err(error) => self.shared.set_progress(Progress::Failed(error)),
        }
    }

    /// Lets others have the core, the longer the longer nothing has moved.
    fn rest(&mut self, idle: u32) {
        let in_flight = self.peers.iter().any(|peer| !peer.sending.is_empty() || !peer.arriving.is_empty());
        if !in_flight && self.last_frame.elapsed() > QUIET {
            return self.shared.sleep(QUIET_SLEEP);
        }
        let (spins, longest) =
            if in_flight { (SPINS_IN_FLIGHT, LONGEST_SLEEP_IN_FLIGHT) } else { (SPINS, LONGEST_SLEEP) };
        if idle <= spins && self.late < LATE_AGAIN {
            let since = Instant::now();
            self.shared.gives_way.store(true, Ordering::Relaxed);
            thread::yield_now();
            self.shared.gives_way.store(false, Ordering::Relaxed);
            self.late = if since.elapsed() > LATE { self.late + 1 } else { 0 };
            return;
        }
        self.late = self.late.min(LATE_AGAIN - 1);
        let sleep = SHORTEST_SLEEP.saturating_mul(1 << (idle.saturating_sub(spins) / 16).min(10)).min(longest);
        self.shared.sleep(sleep);
    }

    /// MPI has failed. It cannot be finalised, as others may not come, but it can still end the job.
    fn wait_for_abort(&mut self) {
        loop {
            let abort = {
                let mut outbox = self.shared.outbox.lock();
                (outbox.frames, outbox.handler) = Default::default();
                outbox.abort
            };
            if let Some(code) = abort {
                return self.world.abort(code);
            }
            self.shared.sleep(Duration::from_millis(100));
        }
    }
}

/// Linux lets sleeps end late by a slack of 50 us, so that it wakes less often: longer than the pump's sleeps are.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes how the timers of this thread are rounded, to one nanosecond; no memory is involved.
    unsafe {
        let nanoseconds: libc::c_ulong = 1;
        libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds);
    }
}

impl Shared {
    /// Sleeps, but not if there is something to do, and only until there is.
    fn sleep(&self, sleep: Duration) {
        let mut outbox = self.outbox.lock();
        if outbox.is_quiet() {
            outbox.asleep = true;
            self.wake.wait_for(&mut outbox, sleep);
            outbox.asleep = false;
        }
    }
}

impl Outbox {
    fn is_quiet(&self) -> bool {
        self.frames.is_empty() && self.handler.is_none() && self.abort.is_none()
    }
}

impl Peer {
    /// Releases what MPI has sent, and gives it more.
    fn send(&mut self, to: usize, world: &World, options: &MpiOptions) -> Result<bool> {
        let mut moved = false;
        let mut place = 0;
        while place < self.sending.len() {
            if self.sending[place].done()? {
                self.sending.swap_remove(place);
                moved = true;
            } else {
                place += 1;
            }
        }
        while self.sending.len() < ON_THEIR_WAY {
            let Some((tag, memory)) = self.next_message(options) else { break };
            let mut sending = world.send(to, tag, memory)?;
            // Small messages leave at once.
            if !sending.done()? {
                self.sending.push(sending);
            }
            moved = true;
        }
        Ok(moved)
    }

    fn next_message(&mut self, options: &MpiOptions) -> Option<(Tag, Buffer)> {
        if self.messages.is_empty() {
            match self.queue.pop_front()? {
                Outgoing::Sign(kind) => return Some((Tag::Envelope, sign(kind))),
                Outgoing::Frame(frame) => {
                    let (envelope, chunks) = pack(frame, options);
                    self.messages.push_back((Tag::Envelope, envelope));
                    self.messages.extend(chunks.into_iter().map(|chunk| (Tag::Chunk, chunk)));
                }
            }
        }
        self.messages.pop_front()
    }

    /// Opens envelopes in turn, as far as they have arrived, and makes room for their chunks; returns how many.
    fn open_envelopes(&mut self, from: usize) -> Result<usize> {
        let mut opened = 0;
        let mut place = 0;
        while let Some(arriving) = self.arriving.get_mut(place) {
            let Arriving::Envelope(landing) = arriving else {
                place += 1;
                continue;
            };
            landing.advance()?;
            if !landing.is_complete() {
                break;
            }
            opened += 1;
            let Some(Arriving::Envelope(landing)) = self.arriving.remove(place) else { break };
            let Envelope { kind, header, chunk, buffers } = unpack(&landing.into_buffer()?)?;
            match kind {
                Kind::Heartbeat => {}
                Kind::Bye => self.said_bye = true,
                Kind::Frame => {
                    let place_for = |payload| match payload {
                        Payload::Inline(buffer) => ArrivingBuffer::Here(buffer),
                        Payload::Follows(length) => {
                            ArrivingBuffer::Landing(World::landing(from, Tag::Chunk, length, chunk))
                        }
                    };
                    let buffers = buffers.into_iter().map(place_for).collect();
                    self.arriving.insert(place, Arriving::Frame { header, buffers });
                    place += 1;
                }
            }
        }
        Ok(opened)
    }

    /// Moves chunks forward, and tells MPI where the next ones go, strictly in the order of the envelopes; returns how
    /// many arrived or were posted.
    fn advance(&mut self, world: &World) -> Result<usize> {
        let (mut moved, mut room) = (0, ON_THEIR_WAY);
        for arriving in &mut self.arriving {
            let Arriving::Frame { buffers, .. } = arriving else { break };
            for buffer in buffers {
                let ArrivingBuffer::Landing(landing) = buffer else { continue };
                moved += landing.advance()?;
                room -= landing.open().min(room);
                let posted = world.post(landing, room)?;
                (moved, room) = (moved + posted, room - posted);
                if !landing.is_posted() {
                    return Ok(moved);
                }
            }
        }
        Ok(moved)
    }

    /// The first frame, if all of it is here.
    fn take_frame(&mut self) -> Result<Option<Frame>> {
        let here = |buffer: &ArrivingBuffer| match buffer {
            ArrivingBuffer::Here(_) => true,
            ArrivingBuffer::Landing(landing) => landing.is_complete(),
        };
        match self.arriving.pop_front() {
            Some(Arriving::Frame { header, buffers }) if buffers.iter().all(here) => {
                let whole = |buffer| match buffer {
                    ArrivingBuffer::Here(buffer) => Ok(buffer),
                    ArrivingBuffer::Landing(landing) => landing.into_buffer(),
                };
                Ok(Some(Frame { header, buffers: buffers.into_iter().map(whole).collect::<Result<_>>()? }))
            }
            Some(incomplete) => {
                self.arriving.push_front(incomplete);
                Ok(None)
            }
            None => Ok(None),
        }
    }
}
