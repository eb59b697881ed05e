//! The threads of one rank that compute.
//!
//! Work is handed to a rayon pool, which balances it by stealing; whoever waits for it is a future. So no thread that drives
//! exchanges is ever blocked by work, and no worker ever blocks on an exchange.
//!
//! There are two ways to hand work over. [`Workers::run`] is for work that never waits. [`Workers::drive`] is for lanes that wait
//! for exchanges in between: they are futures that workers poll, so that from a batch's arrival to the work on it there is no
//! other thread.

mod lane;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::channel::oneshot;
use futures::future::FutureExt as _;
use parking_lot::Mutex;

use self::lane::Lane;
use crate::control::panic_text;
use crate::error::{Error, Result};

/// A pool of threads, and where what they keep may be spilled.
pub struct Workers {
    pool: Arc<rayon::ThreadPool>,
    temp_dir: PathBuf,
}

impl Workers {
    /// Starts `threads` workers for `rank`.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn start(rank: usize, threads: usize, temp_dir: &Path) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |worker| format!("bireme-{rank}-{worker}"))
            .build()
            .map_err(|error| Error::resources(format!("starting {threads} worker threads: {error}")))?;
        Ok(Self { pool: Arc::new(pool), temp_dir: temp_dir.to_owned() })
    }

    /// How many workers there are.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Where to spill.
    pub fn temp_dir(&self) -> &Path {
        &self.temp_dir
    }

    /// Hands over work that tells by itself when it has ended. A panic in it is lost: catch it with [`caught`].
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.pool.spawn(work);
    }

    /// Runs work in the pool, where it may use rayon's parallel iterators, and waits for it without blocking a thread.
    ///
    /// # Errors
    /// Those of the work; a panic is an internal error.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.pool.spawn(move || {
            // Nobody waits any more: the action was dropped.
            let _ = sender.send(caught(work));
        });
        receiver.await.unwrap_or_else(|_| Err(Error::internal("a worker was lost")))
    }

    /// Starts lanes that workers poll, and waits for all of them without blocking a thread. Whoever waits is woken once: by
    /// the last lane, or by the first that fails. Lanes that nobody waits for any more are dropped, by a worker.
    ///
    /// # Errors
    /// The first error of a lane; a panic is an internal error.
    pub async fn drive<L: Future<Output = Result<()>> + Send + 'static>(
        &self,
        lanes: impl IntoIterator<Item = L>,
    ) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        let lanes = lanes.into_iter().collect::<Vec<_>>();
        if lanes.is_empty() {
            return Ok(());
        }
        let end = Arc::new(End { open: AtomicUsize::new(lanes.len()), sender: Mutex::new(Some(sender)) });
        let start = |lane: L| {
            let end = Arc::clone(&end);
            let lane = AssertUnwindSafe(lane).catch_unwind().map(move |result| {
                end.tell(result.unwrap_or_else(|panic| Err(panicked(&*panic))));
            });
            Lane::start(&self.pool, lane.boxed())
        };
        let _crew = Crew(lanes.into_iter().map(start).collect());
        receiver.await.unwrap_or_else(|_| Err(Error::internal("a worker was lost")))
    }
}

/// Lanes that are dropped when nobody waits for them.
struct Crew(Vec<Arc<Lane>>);

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.iter().for_each(Lane::abandon);
    }
}

/// Where lanes tell that they have ended.
struct End {
    open: AtomicUsize,
    sender: Mutex<Option<oneshot::Sender<Result<()>>>>,
}

impl End {
    fn tell(&self, result: Result<()>) {
        let last = self.open.fetch_sub(1, Ordering::AcqRel) == 1;
        if (last || result.is_err())
            && let Some(sender) = self.sender.lock().take()
        {
            // Nobody waits any more: the action was dropped.
            let _ = sender.send(result);
        }
    }
}

/// Does work whose panic becomes an internal error.
///
/// # Errors
/// Those of the work, and its panic.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the work was changing when it panicked is dropped with the action it belonged to.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    Error::internal(format!("a worker panicked: {}", panic_text(panic)))
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::block_on::block_on;
    use crate::error::ErrorKind;

    #[test]
    fn work_is_done_elsewhere_and_its_panic_is_an_error() {
        let workers = Workers::start(0, 2, &std::env::temp_dir()).unwrap();
        let name = block_on(workers.run(|| Ok(std::thread::current().name().map(str::to_owned)))).unwrap();
        assert!(name.unwrap().starts_with("bireme-0-"));
        let error = block_on(workers.run(|| -> Result<()> { panic!("odd") })).unwrap_err();
        assert_eq!((error.kind(), error.message().contains("odd")), (ErrorKind::Internal, true), "{error}");
        assert_eq!(block_on(workers.run(|| Ok(rayon::current_num_threads()))).unwrap(), 2);
    }

    #[test]
    fn lanes_wait_for_each_other_without_a_thread_of_their_own() {
        // One worker, and a ring in which each lane waits for the one before: a lane that blocked would stop all of them.
        let workers = Workers::start(0, 1, &std::env::temp_dir()).unwrap();
        let (first, mut before) = oneshot::channel();
        let mut lanes = Vec::new();
        for lane in 0..100 {
            let (sender, next) = oneshot::channel();
            let before = std::mem::replace(&mut before, next);
            lanes.push(async move { sender.send(before.await.unwrap() + lane).map_err(|_| Error::internal("lost")) });
        }
        lanes.reverse();
        first.send(0).unwrap();
        block_on(workers.drive(lanes)).unwrap();
        assert_eq!(block_on(before), Ok(99 * 100 / 2));
        block_on(workers.drive(Vec::<std::future::Ready<Result<()>>>::new())).unwrap();
    }

    #[test]
    fn the_first_lane_that_fails_ends_the_wait_and_the_others_are_dropped() {
        let workers = Workers::start(0, 2, &std::env::temp_dir()).unwrap();
        for fails in [|| Err(Error::user("odd")), || -> Result<()> { panic!("odd") }] {
            let (kept, dropped) = oneshot::channel::<()>();
            let mut kept = Some(kept);
            let lanes = (0..2).map(|lane| {
                let kept = kept.take();
                async move {
                    let _kept = kept;
                    if lane == 1 { fails() } else { std::future::pending().await }
                }
            });
            let error = block_on(workers.drive(lanes.collect::<Vec<_>>())).unwrap_err();
            assert!(error.message().contains("odd"), "{error}");
            assert!(block_on(dropped).is_err());
        }
    }
}
