//! Says when to give up, and why.
//!
//! A [`Cancel`] is a flag with a cause and with watchers. It fires once; whoever parks (an inlet, an outlet, a
//! collective) registers a watcher first, so that no wait outlives the reason for it. A child fires when its parent
//! fires, never the other way round: an action that fails does not end its session.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::error::{Error, Result};

type Watcher = Box<dyn FnOnce(&Error) + Send>;

/// A token that fires once, with the error that is the reason. Clones are the same token.
#[derive(Clone, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    fired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cause: Option<Error>,
    watchers: BTreeMap<u64, Watcher>,
    next_watcher: u64,
    // A child's registration with its parent: dropped, and so removed there, with the child.
    parent: Option<Watch>,
}

/// A registration of [`Cancel::on_cancel`]; dropping it takes the watcher away.
#[must_use = "the watcher is gone when this is dropped"]
pub struct Watch {
    shared: Weak<Shared>,
    id: u64,
}

impl Cancel {
    /// A token that has not fired.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that fires with this one, or by itself.
    #[must_use]
    pub fn child(&self) -> Cancel {
        let child = Cancel::new();
        let weak = Arc::downgrade(&child.shared);
        let watch = self.on_cancel(move |cause| {
            if let Some(shared) = weak.upgrade() {
                Cancel { shared }.cancel(cause.clone());
            }
        });
        child.shared.state.lock().parent = Some(watch);
        child
    }

    /// Fires with a cause; says whether this call was the one that fired it. Later causes are dropped.
    pub fn cancel(&self, cause: Error) -> bool {
        let watchers = {
            let mut state = self.shared.state.lock();
            if state.cause.is_some() {
                return false;
            }
            state.cause = Some(cause.clone());
            self.shared.fired.store(true, Ordering::Release);
            std::mem::take(&mut state.watchers)
        };
        // Outside the lock: a watcher may ask this token, or register with another.
        for (_, watcher) in watchers {
            watcher(&cause);
        }
        true
    }

    /// Whether it has fired.
    pub fn is_cancelled(&self) -> bool {
        self.shared.fired.load(Ordering::Acquire)
    }

    /// Why it has fired.
    pub fn cause(&self) -> Option<Error> {
        if self.is_cancelled() { self.shared.state.lock().cause.clone() } else { None }
    }

    /// An error once it has fired; for loops to call now and then.
    ///
    /// # Errors
    /// It has fired: the cause.
    pub fn check(&self) -> Result<()> {
        match self.cause() {
            Some(cause) => Err(cause),
            None => Ok(()),
        }
    }

    /// Calls `watcher` when the token fires; at once if it has fired. It must be short and must not block.
    pub fn on_cancel(&self, watcher: impl FnOnce(&Error) + Send + 'static) -> Watch {
        let mut state = self.shared.state.lock();
        let id = state.next_watcher;
        state.next_watcher += 1;
        let cause = state.cause.clone();
        match cause {
            None => {
                state.watchers.insert(id, Box::new(watcher));
            }
            Some(cause) => {
                drop(state);
                watcher(&cause);
            }
        }
        Watch { shared: Arc::downgrade(&self.shared), id }
    }

    /// Resolves to the cause when the token fires.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { cancel: self.clone(), waker: Arc::new(AtomicWaker::new()), watch: None }
    }
}

/// The future of [`Cancel::cancelled`].
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled {
    cancel: Cancel,
    waker: Arc<AtomicWaker>,
    watch: Option<Watch>,
}

impl Future for Cancelled {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        self.waker.register(cx.waker());
        if self.watch.is_none() {
            let waker = Arc::clone(&self.waker);
            self.watch = Some(self.cancel.on_cancel(move |_| waker.wake()));
        }
        match self.cancel.cause() {
            Some(cause) => Poll::Ready(cause),
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // The watcher is dropped outside the lock: it may own the last handle of something that asks this token.
        let watcher = shared.state.lock().watchers.remove(&self.id);
        drop(watcher);
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Some(cause) => write!(f, "Cancel({cause})"),
            None => write!(f, "Cancel(not fired)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn the_first_cause_stays() {
        let cancel = Cancel::new();
        assert!(cancel.check().is_ok());
        assert!(cancel.cancel(Error::user("first")));
        assert!(!cancel.cancel(Error::user("second")));
        assert_eq!(cancel.cause(), Some(Error::user("first")));
    }

    #[test]
    fn children_follow_their_parent_and_not_the_other_way() {
        let session = Cancel::new();
        let (one, two) = (session.child(), session.child());
        one.cancel(Error::user("one"));
        assert!(!session.is_cancelled() && !two.is_cancelled());
        session.cancel(Error::cancelled("stop"));
        assert_eq!(two.cause(), Some(Error::cancelled("stop")));
        assert_eq!(one.cause(), Some(Error::user("one")));
        assert!(session.child().is_cancelled());
    }

    #[test]
    fn a_dropped_watch_is_not_called() {
        let cancel = Cancel::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let count = |calls: &Arc<AtomicUsize>| {
            let calls = Arc::clone(calls);
            move |_: &Error| {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        let kept = cancel.on_cancel(count(&calls));
        drop(cancel.on_cancel(count(&calls)));
        cancel.cancel(Error::user("now"));
        let late = cancel.on_cancel(count(&calls));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        drop((kept, late));
    }

    #[test]
    fn the_future_wakes() {
        let cancel = Cancel::new();
        let waiting = cancel.cancelled();
        let thread = std::thread::spawn(move || futures::executor::block_on(waiting));
        cancel.cancel(Error::user("now"));
        assert_eq!(thread.join().ok(), Some(Error::user("now")));
    }
}
