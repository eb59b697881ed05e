//! Ctrl-C and SIGTERM: the first signal asks the running action to end, a second one ends the process at once.
//!
//! An action ends at its next batch, which may take seconds. A launcher does not wait that long: a second after its
//! SIGTERM comes a SIGKILL. So a launched process that has not ended by then takes its temporary files away and leaves.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bireme::Canceller;
use bireme::prelude::{Error, Result};

use crate::{launcher, report};

/// Launchers and `timeout` pass one wish on as several signals (SIGINT, then SIGTERM; or once to the process and once to
/// its group); within this time they count as one.
const SAME_WISH: Duration = Duration::from_millis(500);

/// How long a launched process may take to end in order: launchers kill after a second.
const LAUNCHER_WAITS: Duration = Duration::from_millis(700);

/// Whether a signal came that nobody has acted upon.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// What to cancel.
static CANCELLER: Mutex<Option<Canceller>> = Mutex::new(None);
/// What must not be left behind when the process ends at once.
static LEFTOVERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// When the first signal came.
static FIRST: Mutex<Option<Instant>> = Mutex::new(None);

/// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process.
pub(crate) fn install() {
    if let Err(error) = ctrlc::set_handler(on_signal) {
        report::line(format_args!("warning: Ctrl-C will not clean up: {error}"));
    }
}

/// Says what a signal cancels from now on.
pub(crate) fn cancels(canceller: Canceller) {
    *lock(&CANCELLER) = Some(canceller);
}

/// Says what to take away when the process ends at once.
pub(crate) fn takes_away(folder: PathBuf) {
    lock(&LEFTOVERS).push(folder);
}

/// Whether a signal came.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Acquire)
}

/// The error of an interrupted command, if a signal came.
///
/// # Errors
/// A signal came.
pub(crate) fn check() -> Result<()> {
    if requested() { Err(Error::cancelled("interrupted by a signal")) } else { Ok(()) }
}

/// Forgets a signal and what it cancelled: the shell goes on after a cancelled statement.
pub(crate) fn reset() {
    *lock(&CANCELLER) = None;
    *lock(&FIRST) = None;
    REQUESTED.store(false, Ordering::Release);
}

fn on_signal() {
    let mut first = lock(&FIRST);
    match *first {
        None => {
            *first = Some(Instant::now());
            REQUESTED.store(true, Ordering::Release);
            thread::spawn(cancel_until_it_ends);
        }
        Some(at) if at.elapsed() < SAME_WISH => {}
        Some(_) => leave(),
    }
}

/// Ends the process at once.
fn leave() -> ! {
    for folder in lock(&LEFTOVERS).drain(..) {
        // It may be gone already, and there is nobody to tell.
        let _ = fs::remove_dir_all(folder);
    }
    // SAFETY: _exit takes no pointers and does not return; nothing of this process is needed any more.
    unsafe { libc::_exit(i32::from(report::OTHER_FAILURE)) }
}

/// A signal may come just before an action starts, when there is nothing to cancel yet: so it is said again.
fn cancel_until_it_ends() {
    let started = Instant::now();
    while requested() {
        let canceller = lock(&CANCELLER).clone();
        if let Some(canceller) = canceller {
            canceller.cancel("interrupted by a signal");
        }
        if launcher::launched() && started.elapsed() > LAUNCHER_WAITS {
            if launcher::rank() == 0 {
                report::line(Error::cancelled("interrupted by a signal"));
            }
            leave();
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
