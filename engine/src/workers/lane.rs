//! A future that workers poll.
//!
//! ```text
//!              woken                    a worker takes it
//!    ┌─ RESTS ───────► QUEUED ────────────────► RUNS ─┐ pending
//!    └──────────────────────────────────────────◄─────┤
//!                      QUEUED ◄── woken meanwhile ────┤ pending
//!                                              ENDED ◄┘ ready
//! ```
//!
//! It lies in the pool's queue at most once, however often it is woken, so no two workers poll it. What wakes it is
//! usually a worker that has just sent it a batch: that worker finds it at the top of its own queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use parking_lot::Mutex;

/// It waits to be woken.
const RESTS: u8 = 0;
/// It lies in the pool's queue.
const QUEUED: u8 = 1;
/// A worker polls it.
const RUNS: u8 = 2;
/// A worker polls it, and it was woken since that began.
const WOKEN: u8 = 3;
/// It is ready, or nobody wants it any more.
const ENDED: u8 = 4;

/// A future and where it is.
pub(super) struct Lane {
    pool: Arc<rayon::ThreadPool>,
    state: AtomicU8,
    unwanted: AtomicBool,
    // Locked by the worker that polls it; never contended, for only one does.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Lane {
    /// Puts a future into the pool's queue. It must not panic.
    pub fn start(pool: &Arc<rayon::ThreadPool>, future: BoxFuture<'static, ()>) -> Arc<Self> {
        let lane = Arc::new(Self {
            pool: Arc::clone(pool),
            state: AtomicU8::new(QUEUED),
            unwanted: AtomicBool::new(false),
            future: Mutex::new(Some(future)),
        });
        Arc::clone(&lane).queue();
        lane
    }

    /// Lets a worker drop the future, wherever it is.
    pub fn abandon(self: &Arc<Self>) {
        self.unwanted.store(true, Ordering::Release);
        self.wake_by_ref();
    }

    fn queue(self: Arc<Self>) {
        let pool = Arc::clone(&self.pool);
        pool.spawn(move || self.poll());
    }

    fn poll(self: Arc<Self>) {
        // Acquires what was written before it was woken, above all `unwanted`.
        self.state.swap(RUNS, Ordering::AcqRel);
        if self.poll_future().is_ready() {
            self.state.store(ENDED, Ordering::Release);
        } else if self.state.compare_exchange(RUNS, RESTS, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // At the end of the queue, so that others have their turn.
            self.state.store(QUEUED, Ordering::Release);
            self.queue();
        }
    }

    fn poll_future(self: &Arc<Self>) -> Poll<()> {
        let mut place = self.future.lock();
        let Some(future) = place.as_mut() else { return Poll::Ready(()) };
        if !self.unwanted.load(Ordering::Acquire) {
            let waker = Waker::from(Arc::clone(self));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                return Poll::Pending;
            }
        }
        // At once: it may hold the ends of exchanges, while wakers may keep this lane for long.
        *place = None;
        Poll::Ready(())
    }
}

impl Wake for Lane {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
            RESTS => Some(QUEUED),
            RUNS => Some(WOKEN),
            _ => None,
        });
        if woken == Ok(RESTS) {
            Arc::clone(self).queue();
        }
    }
}
