//! Progress bars: on standard error, only where it is a terminal, and gone before anything else is printed.

use std::io::{IsTerminal as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bireme::prelude::Session;
use bireme::{ProgressHandle, ProgressSnapshot};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::size::show_bytes;

/// A bar for work that takes less would only flicker.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often the bar is drawn afresh.
const PERIOD: Duration = Duration::from_millis(100);

/// A bar that follows the actions of a session until it is dropped.
pub(crate) struct Watch {
    /// Dropping the sender stops the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to follow a session, if there is somebody to see it.
    pub(crate) fn start(session: &Session) -> Self {
        if !session.is_root() || !stderr().is_terminal() {
            return Self { stop: None, thread: None };
        }
        let handle = session.progress_handle();
        let before = handle.snapshot();
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            if stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                follow(&handle, &before, || stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A bar that panicked has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// Draws until told to stop, then wipes the bar away. Sessions count over all their actions: this is what is new.
fn follow(handle: &ProgressHandle, before: &ProgressSnapshot, go_on: impl Fn() -> bool) {
    let bar = steps(0, "");
    loop {
        let now = handle.snapshot();
        // A bar of no tasks would look full.
        bar.set_length(now.tasks.saturating_sub(before.tasks).max(1));
        bar.set_position(now.tasks_done.saturating_sub(before.tasks_done));
        bar.set_message(words(&now, before));
        if !go_on() {
            break;
        }
    }
    bar.finish_and_clear();
}

/// A bar over a number of steps, hidden where standard error is no terminal.
pub(crate) fn steps(count: u64, message: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let template = "{spinner} [{elapsed_precise}] {bar:30} {pos}/{len} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(message);
    bar
}

fn words(now: &ProgressSnapshot, before: &ProgressSnapshot) -> String {
    let read = match now.bytes_total {
        0 => String::new(),
        total => {
            format!(", {} of {} read", show_bytes(now.bytes_read.saturating_sub(before.bytes_read)), show_bytes(total))
        }
    };
    format!("tasks{read}, {} rows", now.rows.saturating_sub(before.rows))
}
