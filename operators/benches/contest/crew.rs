//! The workers of our side.

use std::sync::atomic::{AtomicUsize, Ordering};

use bireme_engine::morsel::Scan;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads that take pieces of work, each the next one when it is done.
pub struct Crew {
    pool: ThreadPool,
}

impl Crew {
    /// So many threads.
    pub fn new(workers: usize) -> Self {
        Self { pool: ThreadPoolBuilder::new().num_threads(workers).build().unwrap() }
    }

    /// How many threads there are.
    pub fn workers(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Hands the numbers `0..pieces` to the workers; what each of them makes of its share.
    pub fn deal<T: Send>(&self, pieces: usize, work: impl Fn(&mut dyn Iterator<Item = usize>) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        self.pool.broadcast(|_| {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < pieces);
            work(&mut std::iter::from_fn(take))
        })
    }

    /// Runs something that makes use of all of them.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Reads all rows; how many they are.
    pub fn drain(&self, scan: &dyn Scan) -> usize {
        let read = self.deal(scan.morsels(), |morsels| {
            let mut rows = 0;
            for morsel in morsels {
                let mut reader = scan.read(morsel).unwrap();
                while let Some(chunk) = reader.next().unwrap() {
                    rows += chunk.rows;
                }
            }
            rows
        });
        read.into_iter().sum()
    }
}
