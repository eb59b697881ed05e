//! Ctrl-C and SIGTERM: the first signal asks the running action to end, a second one ends the process at once.
//!
//! An action ends at its next batch, which may take seconds. A launcher does not wait that long: a second after its
//! SIGTERM comes a SIGKILL. So a launched process that has not ended by then takes its temporary files and its half-written
//! result away and leaves.
//!
//! Launchers also send SIGTERM when a rank was lost. Then the session says so (`bireme::Peers`), and nothing is added here; a
//! process that has not ended some seconds after a loss leaves likewise, should its launcher let it live.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bireme::engine::peers::loss_was_said;
use bireme::prelude::{Error, Result};
use bireme::{Canceller, Leftovers, Peers, Session};

use crate::{launcher, report};

/// Launchers and `timeout` pass one wish on as several signals (SIGINT, then SIGTERM; or once to the process and once to
/// its group); within this time they count as one.
const SAME_WISH: Duration = Duration::from_millis(500);

/// How long a launched process may take to end in order: launchers kill after a second.
const LAUNCHER_WAITS: Duration = Duration::from_millis(700);

/// How long a process may take to end after a rank was lost.
const AFTER_LOSS: Duration = Duration::from_secs(5);

const BY_SIGNAL: &str = "interrupted by a signal";

/// Before the ranks have met nobody knows more.
const WHILE_STARTING: &str = "interrupted by a signal before all ranks had met; if none was sent, a rank did not start";

/// Whether a signal came that nobody has acted upon.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Whether the signal was said.
static SAID: AtomicBool = AtomicBool::new(false);
/// What to cancel.
static SESSION: Mutex<Option<Interrupted>> = Mutex::new(None);
/// What must not be left behind when the process ends at once.
static LEFTOVERS: Mutex<Vec<Leftovers>> = Mutex::new(Vec::new());
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// When the first signal came.
static FIRST: Mutex<Option<Instant>> = Mutex::new(None);

/// What a signal does something to; does not keep the session alive.
#[derive(Clone)]
struct Interrupted {
    canceller: Canceller,
    peers: Peers,
}

/// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process.
pub(crate) fn install() {
    if let Err(error) = ctrlc::set_handler(on_signal) {
        report::line(format_args!("warning: Ctrl-C will not clean up: {error}"));
    }
}

/// Says which session a signal cancels from now on, and what of it must not be left behind.
pub(crate) fn cancels(session: &Session) {
    lock(&LEFTOVERS).push(session.leftovers());
    let peers = session.peers();
    peers.on_loss(|| drop(thread::spawn(leave_after_loss)));
    *lock(&SESSION) = Some(Interrupted { canceller: session.canceller(), peers });
}

/// Says what to take away when the process ends at once.
pub(crate) fn takes_away(folder: PathBuf) {
    lock(&FOLDERS).push(folder);
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
    if requested() { Err(Error::cancelled(BY_SIGNAL)) } else { Ok(()) }
}

/// Forgets a signal and what it cancelled: the shell goes on after a cancelled statement.
pub(crate) fn reset() {
    *lock(&SESSION) = None;
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
    // Locked until the end: another thread that wants to leave waits here until all is removed.
    let leftovers = lock(&LEFTOVERS);
    leftovers.iter().for_each(Leftovers::remove);
    for folder in lock(&FOLDERS).drain(..) {
        // It may be gone already, and there is nobody to tell.
        let _ = fs::remove_dir_all(folder);
    }
    // SAFETY: _exit takes no pointers and does not return; nothing of this process is needed any more.
    unsafe { libc::_exit(i32::from(report::OTHER_FAILURE)) }
}

fn leave_after_loss() {
    thread::sleep(AFTER_LOSS);
    leave();
}

/// A signal may come just before an action starts, when there is nothing to cancel yet: so it is said again.
fn cancel_until_it_ends() {
    let started = Instant::now();
    let mut why = None;
    while requested() {
        let session = lock(&SESSION).clone();
        if let Some(Interrupted { canceller, peers }) = session {
            let why = why.get_or_insert_with(|| reason(&peers));
            canceller.cancel(why);
            // At once: a launcher that was told to end soon forwards nothing any more.
            if launcher::launched() {
                say(why);
            }
        }
        if launcher::launched() && started.elapsed() > LAUNCHER_WAITS {
            say(WHILE_STARTING);
            leave();
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Rank 0 says once why the process ends, unless that a rank was lost, or why the command failed, was said.
fn say(why: &str) {
    if launcher::rank() == 0 && !loss_was_said() && !report::failure_was_said() && !SAID.swap(true, Ordering::AcqRel) {
        report::line(Error::cancelled(why));
    }
}

/// Whether the cause of the end is said already.
pub(crate) fn said() -> bool {
    loss_was_said() || SAID.load(Ordering::Acquire)
}

/// What the signal means: a launcher sends it after a loss, and then the session says which. If nobody is lost, whoever goes now
/// was told to.
fn reason(peers: &Peers) -> String {
    if peers.look().is_none() {
        peers.stand_down();
    }
    if launcher::launched() { format!("{BY_SIGNAL}; {}", peers.story()) } else { BY_SIGNAL.to_owned() }
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
