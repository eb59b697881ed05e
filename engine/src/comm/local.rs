//! Ranks as threads of one process.
//!
//! Nothing is copied: a frame's buffers are counted references, and the sender's thread calls the receiver's handler.
//!
//! Each receiver has one mailbox. A sender puts its frame at the end and, if nobody is emptying the mailbox at that
//! moment, empties it: one frame at a time, with no lock held while the handler runs. So
//! - frames of one pair of ranks stay in order, because the mailbox is first in, first out and has one drainer;
//! - a handler may send: to itself (its mailbox is being drained, the frame waits its turn) or to others (their mailbox
//!   is drained from here, at most one level deeper per rank);
//! - a handler is never called by two threads at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Communicator, Frame, Handler};
use crate::error::{Error, Result};

/// One rank of a group of threads.
pub struct LocalCommunicator {
    rank: usize,
    mailboxes: Arc<[Mailbox]>,
}

/// Where the frames for one rank wait until its handler takes them.
#[derive(Default)]
struct Mailbox {
    state: Mutex<State>,
    /// The rank has closed its communicator: it sends no more. It still receives, until all have closed.
    closed: AtomicBool,
    /// The rank's communicator was dropped before it was closed: its thread has failed. (After a clean close, late
    /// frames are simply of no interest to it.)
    gone: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(usize, Frame)>,
    handler: Option<Handler>,
    draining: bool,
}

impl LocalCommunicator {
    /// The communicators of `ranks` ranks, by rank.
    pub fn group(ranks: usize) -> Vec<Arc<LocalCommunicator>> {
        let mailboxes: Arc<[Mailbox]> = (0..ranks).map(|_| Mailbox::default()).collect();
        (0..ranks).map(|rank| Arc::new(LocalCommunicator { rank, mailboxes: Arc::clone(&mailboxes) })).collect()
    }

    /// Handlers usually hold their communicator; once nobody sends any more, that circle is cut.
    fn release_when_all_closed(&self) {
        if self.mailboxes.iter().all(|mailbox| mailbox.closed.load(Ordering::SeqCst)) {
            for mailbox in self.mailboxes.iter() {
                let _dropped_outside_the_lock = mailbox.state.lock().handler.take();
            }
        }
    }
}

impl Communicator for LocalCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.mailboxes.len()
    }

    fn backend(&self) -> &'static str {
        "local"
    }

    fn attach(&self, handler: Handler) {
        let mailbox = &self.mailboxes[self.rank];
        mailbox.state.lock().handler = Some(handler);
        mailbox.drain();
    }

    fn send(&self, to: usize, frame: Frame) -> Result<()> {
        if self.mailboxes[self.rank].closed.load(Ordering::SeqCst) {
            return Err(Error::internal(format!("rank {}: sending to rank {to} after close", self.rank)));
        }
        let Some(mailbox) = self.mailboxes.get(to) else {
            return Err(Error::internal(format!("rank {}: sending to rank {to} of {}", self.rank, self.size())));
        };
        if mailbox.gone.load(Ordering::SeqCst) {
            return Err(Error::peer_lost(format!(
                "sending to rank {to}: its thread ended without closing its communicator; its own error says why"
            )));
        }
        mailbox.state.lock().waiting.push_back((self.rank, frame));
        mailbox.drain();
        Ok(())
    }

    fn silence(&self, _rank: usize) -> Duration {
        Duration::ZERO
    }

    fn has_left(&self, rank: usize) -> bool {
        let mailbox = self.mailboxes.get(rank);
        mailbox.is_some_and(|mailbox| mailbox.closed.load(Ordering::SeqCst) && !mailbox.gone.load(Ordering::SeqCst))
    }

    fn close(&self, _timeout: Duration) -> Result<()> {
        self.mailboxes[self.rank].closed.store(true, Ordering::SeqCst);
        self.release_when_all_closed();
        Ok(())
    }
}

impl Drop for LocalCommunicator {
    fn drop(&mut self) {
        let mailbox = &self.mailboxes[self.rank];
        if !mailbox.closed.swap(true, Ordering::SeqCst) {
            mailbox.gone.store(true, Ordering::SeqCst);
        }
        self.release_when_all_closed();
    }
}

impl fmt::Debug for LocalCommunicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalCommunicator({} of {})", self.rank, self.mailboxes.len())
    }
}

impl Mailbox {
    /// Hands over what waits, unless somebody else is at it (then they will see what was just added: both look at the
    /// queue and set the flag under one lock).
    fn drain(&self) {
        let handler = {
            let mut state = self.state.lock();
            match &state.handler {
                Some(handler) if !state.draining => {
                    let handler = Arc::clone(handler);
                    state.draining = true;
                    handler
                }
                _ => return,
            }
        };
        let draining = Draining { mailbox: self, finished: false };
        draining.run(&handler);
    }
}

/// The right to call a mailbox's handler. If the handler panics, the right is given back, so that the panic stays the
/// business of one thread.
struct Draining<'a> {
    mailbox: &'a Mailbox,
    finished: bool,
}

impl Draining<'_> {
    fn run(mut self, handler: &Handler) {
        loop {
            let next = {
                let mut state = self.mailbox.state.lock();
                let next = state.waiting.pop_front();
                if next.is_none() {
                    state.draining = false;
                    self.finished = true;
                }
                next
            };
            let Some((from, frame)) = next else { return };
            handler(from, frame);
        }
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.mailbox.state.lock().draining = false;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;
    use crate::comm::conformance;

    #[test]
    fn keeps_the_laws() {
        for ranks in [1, 2, 3, 5, 8] {
            let threads: Vec<_> = LocalCommunicator::group(ranks)
                .into_iter()
                .map(|comm| std::thread::spawn(move || conformance::suite(comm)))
                .collect();
            for (rank, thread) in threads.into_iter().enumerate() {
                thread.join().unwrap().map_err(|error| format!("rank {rank} of {ranks}: {error}")).unwrap();
            }
        }
    }

    #[test]
    fn buffers_are_not_copied() {
        let group = LocalCommunicator::group(2);
        let (arrived, arrivals) = std::sync::mpsc::channel();
        group[1].attach(Arc::new(move |_, frame: Frame| arrived.send(frame).unwrap()));
        let buffer = arrow::buffer::Buffer::from(vec![1_u8; 1000]);
        group[0].send(1, Frame { header: vec![], buffers: vec![buffer.clone()] }).unwrap();
        assert_eq!(arrivals.recv().unwrap().buffers[0].as_ptr(), buffer.as_ptr());
    }

    #[test]
    fn a_lost_rank_is_noticed_and_a_closed_one_is_not_missed() {
        let mut group = LocalCommunicator::group(3);
        drop(group.remove(2));
        let error = group[0].send(2, Frame::default()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::PeerLost);
        group[1].close(Duration::ZERO).unwrap();
        drop(group.remove(1));
        group[0].send(1, Frame::default()).unwrap();
        group[0].close(Duration::ZERO).unwrap();
        assert!(group[0].send(0, Frame::default()).is_err());
    }

    #[test]
    fn handlers_are_released_when_all_have_closed() {
        let group = LocalCommunicator::group(2);
        for comm in &group {
            let held = Arc::clone(comm);
            comm.attach(Arc::new(move |_, _| {
                let _ = held.rank();
            }));
        }
        group.iter().for_each(|comm| comm.close(Duration::ZERO).unwrap());
        assert!(group.iter().all(|comm| Arc::strong_count(comm) == 1));
    }

    #[test]
    fn a_panicking_handler_does_not_stop_the_mailbox() {
        let group = LocalCommunicator::group(1);
        let (arrived, arrivals) = std::sync::mpsc::channel();
        group[0].attach(Arc::new(move |_, frame: Frame| {
            assert!(frame.header != [0], "as it should");
            arrived.send(frame).unwrap();
        }));
        let comm = Arc::clone(&group[0]);
        std::thread::spawn(move || comm.send(0, Frame { header: vec![0], buffers: vec![] })).join().unwrap_err();
        group[0].send(0, Frame { header: vec![1], buffers: vec![] }).unwrap();
        assert_eq!(arrivals.recv().unwrap().header, [1]);
    }
}
