//! What goes to standard error, and exit codes.
//!
//! An error is printed once per job. Ranks of a session agree on the first cause before an action returns, so rank 0
//! can speak for all; another rank speaks only when rank 0 may not be able to.

use std::fmt::Display;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bireme::prelude::{Error, ErrorKind};

use crate::{interrupt, launcher};

/// The exit code for mistakes of the user.
pub(crate) const USER_FAILURE: u8 = 1;
/// The exit code for every other failure.
pub(crate) const OTHER_FAILURE: u8 = 2;

/// Whether the ranks have met: from then on errors are agreed upon.
static RANKS_MET: AtomicBool = AtomicBool::new(false);

/// Whether the error of the command was said.
static FAILURE_SAID: AtomicBool = AtomicBool::new(false);

/// Says that a session is open.
pub(crate) fn ranks_have_met() {
    RANKS_MET.store(true, Ordering::Relaxed);
}

/// Writes a line to standard error. A reader that went away is no reason to fail.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}

/// Reports the failure of a command and gives its exit code. A lost rank, and a launcher's signal, were
/// said when they came, and whatever failed since follows from that.
pub(crate) fn failure(error: &Error) -> ExitCode {
    if interrupt::said() {
        return ExitCode::from(OTHER_FAILURE);
    }
    let rank = launcher::rank();
    let alone = !RANKS_MET.load(Ordering::Relaxed);
    if rank == 0 {
        failure_before_close(error);
    } else if alone || error.kind() == ErrorKind::PeerLost {
        // If rank 0 failed likewise, it has spoken, and the launcher wants this process to end while it waits.
        if !ended_by_launcher(Duration::from_secs(3)) {
            line(format_args!("rank {rank}: {error}"));
        }
    }
    ExitCode::from(code(error.kind()))
}

/// Says the error of a command, once, and before its session closes: ranks come out of that one by one, and a launcher may
/// end rank 0 as soon as another has ended with an exit code.
pub(crate) fn failure_before_close(error: &Error) {
    if launcher::rank() == 0 && !interrupt::said() && !FAILURE_SAID.swap(true, Ordering::AcqRel) {
        line(error);
    }
}

/// Whether rank 0 has said why the command failed.
pub(crate) fn failure_was_said() -> bool {
    FAILURE_SAID.load(Ordering::Acquire)
}

/// Waits for the signal with which a launcher ends the other processes of a job that failed.
fn ended_by_launcher(within: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < within && !interrupt::requested() {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt::requested()
}

/// Reports what clap found: help that was asked for, or a mistake on the command line.
pub(crate) fn usage(refusal: &clap::Error) -> ExitCode {
    let mistake = refusal.use_stderr();
    if launcher::rank() == 0 {
        // Printing fails when nobody reads any more (`bireme --help | head -1`): nothing is lost.
        let _ = refusal.print();
        let _ = stdout().flush();
    }
    if mistake { ExitCode::from(USER_FAILURE) } else { ExitCode::SUCCESS }
}

/// The exit code for a kind of error.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::User => USER_FAILURE,
        _ => OTHER_FAILURE,
    }
}
