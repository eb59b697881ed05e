//! Ranks as processes under MPI.
//!
//! One thread, the *pump*, owns MPI: it initialises it, makes every call, and finalises it. (In a program that uses MPI itself
//! it is a guest: it makes the calls for a copy of a communicator that it was given.) Everyone else puts frames
//! into an outbox and wakes it. The pump cuts frames into messages (module `envelope`), keeps a few on their way to
//! each peer, lets what arrives land in the memory that becomes the frame's buffers (module `world`), and calls the
//! handler.
//!
//! ```text
//!   send ──► outbox ──► queue of a peer ──► messages on their way ──► MPI
//!   MPI ──► arriving, by sender and in order ──► handler
//! ```
//!
//! When nothing moves, the pump spins a little, then sleeps on the outbox with growing time-outs, so that it never
//! keeps a core from a worker. Once a second it sends each peer a heartbeat; [`Communicator::silence`] is the time
//! since anything arrived from a peer.
//!
//! Closing is agreed by frames, not by a barrier that could wait for ever: each rank says bye to each peer after its
//! last frame, and finalises MPI when all peers have said bye. Whoever gives up waiting reports which ranks did not. A
//! process that failed ends the job with [`MpiCommunicator::abort`].

mod envelope;
mod pump;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mpi::raw::AsRaw;
use parking_lot::{Condvar, Mutex};

use super::{Communicator, Frame, Handler};
use crate::control::DEFAULT_TIMEOUT;
use crate::error::{Error, Result};

/// How frames are cut into messages, and how long a start may take. The receiver follows the sender, so ranks need not
/// agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpiOptions {
    /// Buffers are cut into messages of at most so many bytes; from 1 to `i32::MAX`.
    pub chunk: usize,
    /// Frames of at most so many bytes travel as one message, copied together.
    pub inline: usize,
    /// How long to wait until all ranks are there.
    pub patience: Duration,
}

impl Default for MpiOptions {
    fn default() -> Self {
        Self { chunk: 64 << 20, inline: 256 << 10, patience: DEFAULT_TIMEOUT }
    }
}

/// This process as one rank of an MPI job.
pub struct MpiCommunicator {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
}

/// What the pump and everyone else have in common.
struct Shared {
    outbox: Mutex<Outbox>,
    /// Something was put into the outbox while the pump slept.
    wake: Condvar,
    /// The pump has given its core away, and may wait for whoever runs there.
    gives_way: AtomicBool,
    progress: Mutex<Progress>,
    /// `progress` has changed.
    changed: Condvar,
    /// A rank is lost: nobody waits for the end of the others.
    abandoned: OnceLock<Error>,
    started: Instant,
    /// When each rank was last heard of, in microseconds after `started`; the maximum once it has said bye.
    heard: Vec<AtomicU64>,
}

/// What the pump is to do.
#[derive(Default)]
struct Outbox {
    frames: VecDeque<(usize, Frame)>,
    handler: Option<Handler>,
    closing: bool,
    /// The communicator was dropped before it was closed: something else had failed.
    deserted: bool,
    abort: Option<i32>,
    /// The pump sleeps and wants to be woken.
    asleep: bool,
}

/// How far the pump is.
#[derive(Clone, Debug)]
enum Progress {
    Running,
    /// Closing; the ranks that have not said bye.
    Waiting(Vec<usize>),
    Finished,
    Failed(Error),
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl MpiCommunicator {
    /// Starts MPI, once in a process. All ranks must.
    ///
    /// # Errors
    /// MPI was started before, does not start, or cannot live with threads.
    pub fn init() -> Result<Arc<Self>> {
        Self::init_with(MpiOptions::default())
    }

    /// Starts MPI with other message sizes than usual.
    ///
    /// # Errors
    /// As [`MpiCommunicator::init`]; or the options make no sense.
    pub fn init_with(options: MpiOptions) -> Result<Arc<Self>> {
        if options.chunk == 0 || options.chunk > i32::MAX as usize || options.inline > 1 << 30 {
            return Err(Error::internal(format!("messages cannot be cut like this: {options:?}")));
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::internal("MPI was started before in this process; it can run only once"));
        }
        Self::start(options, world::World::init)
    }

    /// The ranks of a communicator of a program that uses MPI itself, and has started it with `MPI_THREAD_MULTIPLE`. All
    /// ranks of the communicator must call this; they use a copy of it, so messages do not mix. The program ends MPI, and
    /// must close this before.
    ///
    /// # Errors
    /// MPI does not run, or was started for fewer threads; a rank does not come within `patience`.
    pub fn over(communicator: &impl AsRaw<Raw = mpi::ffi::MPI_Comm>, patience: Duration) -> Result<Arc<Self>> {
        let foreign = world::Foreign::new(communicator);
        Self::start(MpiOptions { patience, ..MpiOptions::default() }, move || world::World::over(foreign))
    }

    fn start(options: MpiOptions, world: impl FnOnce() -> Result<world::World> + Send + 'static) -> Result<Arc<Self>> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let pump = move || {
            let world = match world() {
                Ok(world) => world,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let shared = Arc::new(Shared::new(world.size));
            // Who waited for it may have given up: then nobody will ever use or close it.
            if tell.send(Ok((world.rank, world.size, Arc::clone(&shared)))).is_err() {
                return;
            }
            pump::Pump::new(world, shared, options).run();
        };
        thread::Builder::new().name("bireme-mpi".into()).spawn(pump)?;
        // MPI itself waits for ever for a rank that never comes. The thread stays in there; nobody needs it any more.
        let failed = |why| match why {
            RecvTimeoutError::Disconnected => Error::internal("the thread that uses MPI ended"),
            RecvTimeoutError::Timeout => Error::peer_lost(format!(
                "MPI did not bring all ranks together within {} s; see whether every rank runs and starts a session",
                options.patience.as_secs_f64().ceil()
            )),
        };
        let (rank, size, shared) = told.recv_timeout(options.patience).map_err(failed)??;
        Ok(Arc::new(Self { rank, size, shared }))
    }

    /// Ends all processes of the job at once, this one with `code`. For a process that cannot go on: the others wait
    /// for it otherwise, and MPI must not be finalised while they do.
    pub fn abort(&self, code: i32) -> ! {
        self.shared.outbox.lock().abort = Some(code);
        self.shared.wake.notify_all();
        // MPI_Abort normally ends this process while we sleep. The pump may be stuck inside MPI, though; then leave
        // without the exit handlers (they would wait for it), and the launcher ends the others because of the code.
        thread::sleep(Duration::from_secs(5));
        // SAFETY: `_exit` ends the process without touching any of its memory.
        unsafe { libc::_exit(code) }
    }
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn backend(&self) -> &'static str {
        "mpi"
    }

    fn attach(&self, handler: Handler) {
        self.shared.tell(|outbox| outbox.handler = Some(handler));
    }

    fn send(&self, to: usize, frame: Frame) -> Result<()> {
        if to >= self.size {
            return Err(Error::internal(format!("rank {}: sending to rank {to} of {}", self.rank, self.size)));
        }
        if let Progress::Failed(error) = &*self.shared.progress.lock() {
            return Err(error.clone());
        }
        self.shared.tell(|outbox| {
            if outbox.closing {
                return Err(Error::internal(format!("rank {}: sending to rank {to} after close", self.rank)));
            }
            outbox.frames.push_back((to, frame));
            Ok(())
        })
    }

    fn silence(&self, rank: usize) -> Duration {
        if rank == self.rank {
            return Duration::ZERO;
        }
        let heard = self.shared.heard.get(rank).map_or(0, |heard| heard.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(Duration::from_micros(heard))
    }

    fn has_left(&self, rank: usize) -> bool {
        self.shared.heard.get(rank).is_some_and(|heard| heard.load(Ordering::Relaxed) == u64::MAX)
    }

    fn abandon(&self, error: &Error) {
        self.shared.abandoned.get_or_init(|| error.clone());
        // The lock orders this after a closer's look and before its sleep.
        drop(self.shared.progress.lock());
        self.shared.changed.notify_all();
    }

    fn close(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.shared.tell(|outbox| outbox.closing = true);
        let mut progress = self.shared.progress.lock();
        loop {
            if let Some(error) = self.shared.abandoned.get() {
                return Err(error.clone());
            }
            let waiting_for = match &*progress {
                Progress::Finished => return Ok(()),
                Progress::Failed(error) => return Err(error.clone()),
                Progress::Waiting(ranks) if !ranks.is_empty() => format!("ranks {ranks:?} have not closed theirs"),
                Progress::Waiting(_) => "MPI does not end".to_owned(),
                Progress::Running => "frames have not left yet".to_owned(),
            };
            if self.shared.changed.wait_until(&mut progress, deadline).timed_out() {
                return Err(Error::peer_lost(format!(
                    "rank {}: closing the communicator took more than {timeout:?}: {waiting_for}",
                    self.rank
                )));
            }
        }
    }
}

/// A communicator that nobody closes any more makes no further calls of MPI, which the program may be about to end.
impl Drop for MpiCommunicator {
    fn drop(&mut self) {
        let deserted = self.shared.tell(|outbox| {
            outbox.deserted = !outbox.closing;
            outbox.deserted
        });
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut progress = self.shared.progress.lock();
        while deserted && matches!(&*progress, Progress::Running) {
            if self.shared.changed.wait_until(&mut progress, deadline).timed_out() {
                return;
            }
        }
    }
}

impl fmt::Debug for MpiCommunicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MpiCommunicator({} of {})", self.rank, self.size)
    }
}

impl Shared {
    fn new(size: usize) -> Self {
        Self {
            outbox: Mutex::default(),
            wake: Condvar::new(),
            gives_way: AtomicBool::new(false),
            progress: Mutex::new(Progress::Running),
            changed: Condvar::new(),
            abandoned: OnceLock::new(),
            started: Instant::now(),
            heard: (0..size).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Puts something into the outbox, and lets the pump have it: wakes it if it sleeps, and gives way if it has given way. (It
    /// may have given way to this very thread, which would go on with its next task while another rank waits for this frame.)
    fn tell<T>(&self, put: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let result = put(&mut outbox);
        let asleep = outbox.asleep;
        if asleep {
            self.wake.notify_one();
        }
        drop(outbox);
        if !asleep && self.gives_way.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        result
    }

    fn heard_of(&self, rank: usize) {
        self.heard[rank].store(self.started.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// The rank has said bye: its silence means nothing any more.
    fn expect_nothing_of(&self, rank: usize) {
        self.heard[rank].store(u64::MAX, Ordering::Relaxed);
    }

    fn set_progress(&self, progress: Progress) {
        *self.progress.lock() = progress;
        self.changed.notify_all();
    }
}
