//! What a graph algorithm needs of its rank: workers, and the other ranks round by round.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::cancel::Cancel;
use bireme_engine::error::Result;
use bireme_engine::feedback::{Feedback, Letter};
use bireme_engine::workers::Workers;

/// One rank's view of a job on all ranks.
pub(super) struct Talk {
    feedback: Feedback,
    workers: Arc<Workers>,
    cancel: Cancel,
}

impl Talk {
    pub fn new(feedback: Feedback, workers: Arc<Workers>, cancel: Cancel) -> Self {
        Self { feedback, workers, cancel }
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.feedback.ranks()
    }

    /// Which one this is.
    pub fn place(&self) -> usize {
        self.feedback.place()
    }

    /// Work on all workers of this rank.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.cancel.check()?;
        self.workers.run(work).await
    }

    /// `bytes[i]` to rank `i`, and `words` to all.
    pub async fn round(&mut self, words: &[u64], bytes: Vec<Buffer>) -> Result<Vec<Letter>> {
        self.feedback.round(words, bytes).await
    }

    /// The sum of each word over all ranks.
    pub async fn sums(&mut self, words: &[u64]) -> Result<Vec<u64>> {
        self.feedback.sums(words).await
    }

    /// The same bytes to every rank.
    pub async fn tell_all(&mut self, words: &[u64], bytes: Buffer) -> Result<Vec<Letter>> {
        let bytes = vec![bytes; self.ranks()];
        self.feedback.round(words, bytes).await
    }
}

/// A kind of number that travels as its bytes.
pub trait Plain: Copy + Default + Send + Sync + 'static {
    /// Of native bytes, as many as it has.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($number:ty),*) => {
        $(impl Plain for $number {
            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or(Self::default(), Self::from_ne_bytes)
            }
        })*
    };
}

plain!(u32, i64, u64, f64);

/// What lies in bytes that another rank made of numbers; bytes may lie anywhere in memory.
pub(super) fn numbers<T: Plain>(bytes: &[u8]) -> impl ExactSizeIterator<Item = T> + '_ {
    bytes.chunks_exact(size_of::<T>()).map(T::read)
}
