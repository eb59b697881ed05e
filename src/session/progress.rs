//! Handles for other threads: how far an action is, and how to stop it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bireme_engine::cancel::Cancel;
use bireme_engine::error::Error;

use super::Inner;

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// Actions started so far.
    pub action: u64,
    /// Tasks (lanes of stages) on this process, over all actions so far.
    pub tasks: u64,
    /// Tasks that have ended.
    pub tasks_done: u64,
    /// Bytes of the files that the current action reads.
    pub bytes_total: u64,
    /// Bytes read so far by this process, over all actions.
    pub bytes_read: u64,
    /// Bytes of rows that exchanges sent from this process to other ranks, over all actions that have ended.
    pub bytes_sent: u64,
    /// Of these, bytes of arrays' elements: without folds, and without what messages carry beside them.
    pub array_bytes_sent: u64,
    /// Rows that left through sinks, over all actions.
    pub rows: u64,
    /// Time spent planning, from texts to placed plans, over all statements and actions of rank 0 or this process's rank.
    pub planning: Duration,
}

/// Shows how far a session is; does not keep it alive.
#[derive(Clone)]
pub struct ProgressHandle {
    session: Weak<Inner>,
}

impl ProgressHandle {
    pub(super) fn new(session: &Arc<Inner>) -> Self {
        Self { session: Arc::downgrade(session) }
    }

    /// The state now; all zero once the session has ended.
    pub fn snapshot(&self) -> ProgressSnapshot {
        let Some(session) = self.session.upgrade() else { return ProgressSnapshot::default() };
        ProgressSnapshot {
            // Held while an action runs: then the number cannot be read, and need not.
            action: session.actions.try_lock().map_or(0, |actions| *actions),
            tasks: session.progress.total(),
            tasks_done: session.progress.done(),
            bytes_total: session.bytes_total.load(Ordering::Relaxed),
            bytes_read: session.ranks.iter().map(|rank| rank.reads.total()).sum(),
            bytes_sent: session.bytes_sent.load(Ordering::Relaxed),
            array_bytes_sent: session.array_bytes_sent.load(Ordering::Relaxed),
            rows: session.progress.rows(),
            planning: Duration::from_nanos(session.planning.load(Ordering::Relaxed)),
        }
    }
}

/// Stops a session's work: the running action ends with a `Cancelled` error on every rank, and so does every later one.
#[derive(Clone, Debug)]
pub struct Canceller {
    cancel: Cancel,
}

impl Canceller {
    pub(super) fn new(cancel: Cancel) -> Self {
        Self { cancel }
    }

    /// Stops; `why` becomes the message.
    pub fn cancel(&self, why: &str) {
        self.cancel.cancel(Error::cancelled(why));
    }
}
