//! The threads of one rank that compute.
//!
//! Work is handed to a rayon pool, which balances it by stealing; whoever waits for it is a future. So no thread that drives
//! exchanges is ever blocked by work, and no worker ever blocks on an exchange.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use futures::channel::oneshot;

use crate::control::panic_text;
use crate::error::{Error, Result};

/// A pool of threads, and where what they keep may be spilled.
pub struct Workers {
    pool: rayon::ThreadPool,
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
        Ok(Self { pool, temp_dir: temp_dir.to_owned() })
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
}

/// Does work whose panic becomes an internal error.
///
/// # Errors
/// Those of the work, and its panic.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the work was changing when it panicked is dropped with the action it belonged to.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::internal(format!("a worker panicked: {}", panic_text(&*panic)))))
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
}
