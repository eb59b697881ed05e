//! Ranks and the frames they send each other.
//!
//! A [`Communicator`] moves opaque frames between the ranks of one job. It has two back ends that one conformance suite
//! holds to the same behaviour: [`local`] (ranks are threads of one process) and `mpi` (ranks are processes). What
//! frames mean — control messages, batches, end marks, credits — is the business of [`crate::switchboard`].

#[doc(hidden)]
pub mod conformance;
pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;

use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;

use crate::error::{Error, Result};

/// One message between two ranks: a small header, and raw buffers that are sent as they lie in memory.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// What the buffers are (bincode, see [`crate::switchboard`]).
    pub header: Vec<u8>,
    /// The payload. Receivers get each buffer whole, and aligned to 64 bytes if the sender's was (a back end that
    /// copies aligns every buffer).
    pub buffers: Vec<Buffer>,
}

impl Frame {
    /// Bytes that have to move.
    pub fn len(&self) -> usize {
        self.header.len() + self.buffers.iter().map(Buffer::len).sum::<usize>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes frames as they arrive, with the sending rank. Runs on the communicator's thread: it must be short and must
/// never block.
pub type Handler = Arc<dyn Fn(usize, Frame) + Send + Sync>;

/// Moves frames between ranks.
///
/// Laws, which the conformance suite checks on every back end:
/// - frames from one rank to another arrive once, whole, and in the order in which they were sent;
/// - `send` never waits for the receiver (flow control is the exchanges' business, by credits);
/// - a frame to oneself arrives like any other;
/// - frames that arrive before [`Communicator::attach`] wait for it;
/// - a frame is never lost while both ranks live; after `close` returns on a rank, everything that rank sent has left
///   it.
pub trait Communicator: Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// `local` or `mpi`, for reports.
    fn backend(&self) -> &'static str;

    /// Says where arriving frames go. Once.
    fn attach(&self, handler: Handler);

    /// Hands a frame over for sending.
    ///
    /// # Errors
    /// The peer is known to be gone, or the communicator is closed.
    fn send(&self, to: usize, frame: Frame) -> Result<()>;

    /// How long ago the given rank was last heard of (zero for ranks of this process). Back ends with remote ranks send
    /// heart beats for it.
    fn silence(&self, rank: usize) -> Duration;

    /// Whether the given rank has closed its communicator, as far as is known here: it sends nothing any more.
    fn has_left(&self, rank: usize) -> bool {
        let _ = rank;
        false
    }

    /// A rank is lost: `close` waits for nobody any more, and returns `error`.
    fn abandon(&self, error: &Error) {
        let _ = error;
    }

    /// Sends what is queued and stops. Every rank calls it, after the last action.
    ///
    /// # Errors
    /// What is queued could not leave within the time-out.
    fn close(&self, timeout: Duration) -> Result<()>;
}
