//! Runs a future on the calling thread, wherever that is.
//!
//! Unlike the `block_on` of an executor it does not mind being called inside of one: a user's program may run in tokio or
//! anything else, and calls Bireme's blocking methods from there.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Polls the future until it is ready, parking the thread in between.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake-up between poll and park is not lost: it leaves the token that makes `park` return at once.
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::block_on;

    #[test]
    fn nests_and_wakes() {
        assert_eq!(block_on(async { block_on(async { 7 }) }), 7);
        assert_eq!(futures::executor::block_on(async { block_on(async { 8 }) }), 8);
        let (sender, receiver) = futures::channel::oneshot::channel();
        let other = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            sender.send(9)
        });
        assert_eq!(block_on(receiver), Ok(9));
        assert!(other.join().is_ok());
    }
}
