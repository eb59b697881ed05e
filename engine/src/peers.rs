//! Notices that the process of another rank is gone, says so, and ends every wait for it.
//!
//! When the session starts, each rank tells the others which process it is ([`Card`]). From then on a thread waits for the
//! end of those on the same host (module `watch`). A process that ends after its rank has closed its session is no loss; any
//! other is:
//!
//! ```text
//!   process of rank 2 ends ──► one line on standard error, at once: launchers end the survivors within a second
//!                         ──► the session is cancelled with the same words; its calls return them
//!                         ──► ranks on other hosts are told (Abort); close waits for nobody
//! ```
//!
//! The end of a process on another host shows only in what MPI reports, in a time-out, or in what that host's survivors tell.
//! A launcher's SIGTERM may come first: [`Peers::story`] has what is known then.

mod watch;

use std::fmt;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bincode::{Decode, Encode};
use parking_lot::Mutex;

use crate::activity::Activity;
use crate::cancel::Cancel;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::machine;
use crate::process::ProcessId;
use crate::switchboard::Switchboard;

/// How long a rank's goodbye may take from its process to ours.
const GOODBYE: Duration = Duration::from_millis(500);

/// How much longer than another's our end of MPI may take. A machine with too few cores is slow here, and all work is done.
const MEETING: Duration = Duration::from_secs(5);

/// Heartbeats come every second; after this time without one a rank is worth a word.
const SILENT: Duration = Duration::from_secs(3);

/// What a rank tells the others of its process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Card {
    process: ProcessId,
    host: String,
    /// Its folder of temporary files.
    scratch: String,
}

impl Card {
    /// Of this process.
    pub fn own(scratch: &Path) -> Self {
        Self { process: ProcessId::own(), host: machine::host(), scratch: scratch.to_string_lossy().into_owned() }
    }
}

/// What one rank knows of the processes of the others. Clones are the same.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    rank: usize,
    /// By rank; empty if all ranks are in this process.
    cards: Vec<Card>,
    switchboard: Option<Switchboard>,
    cancel: Cancel,
    activity: Activity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lost: Option<Error>,
    /// The session is closing: ranks may leave.
    closing: bool,
    /// Whoever leaves now was told to.
    calm: bool,
    then: Option<Box<dyn FnOnce() + Send>>,
    /// The watch ends when this is dropped.
    watch: Option<UnixStream>,
}

impl Peers {
    /// Of a job whose ranks are all in this process: none of them can be lost alone.
    pub fn none() -> Self {
        Self::new(0, Vec::new(), None, Cancel::new(), Activity::default())
    }

    /// Tells the other ranks what process this is, or why it cannot take part, and watches theirs from now on. Every rank
    /// calls it. When one is lost `cancel` fires.
    ///
    /// # Errors
    /// A rank cannot take part: its error, on every rank; and as [`Control::all_gather`].
    pub fn meet(
        switchboard: &Switchboard,
        control: &Control,
        cancel: Cancel,
        activity: Activity,
        card: Result<Card>,
    ) -> Result<Self> {
        let cards = control.all_gather_values("meet", &card)?;
        let named = |(rank, card): (usize, Result<Card>)| card.map_err(|error| error.context(format!("rank {rank}")));
        let cards = cards.into_iter().enumerate().map(named).collect::<Result<Vec<_>>>()?;
        let peers = Self::new(control.rank(), cards, Some(switchboard.clone()), cancel, activity);
        peers.shared.state.lock().watch = watch::start(&peers.shared)?;
        Ok(peers)
    }

    fn new(
        rank: usize,
        cards: Vec<Card>,
        switchboard: Option<Switchboard>,
        cancel: Cancel,
        activity: Activity,
    ) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { rank, cards, switchboard, cancel, activity, state }) }
    }

    /// The loss, if a rank was lost.
    pub fn lost(&self) -> Option<Error> {
        self.shared.state.lock().lost.clone()
    }

    /// Looks now, for whoever is about to end this process and may be quicker than the watch.
    pub fn look(&self) -> Option<Error> {
        // After the end of the session everybody goes, and while it ends those who have said goodbye.
        let (watches, closing) = {
            let state = self.shared.state.lock();
            (state.watch.is_some(), state.closing)
        };
        for (rank, card) in self.shared.others() {
            let may_go = !watches || closing && self.shared.has_left(rank);
            if !may_go && card.process.is_gone() == Some(true) {
                self.shared.lose(rank);
            }
        }
        self.lost()
    }

    /// The job was told to end: ranks that leave from now on are no loss.
    pub fn stand_down(&self) {
        self.shared.state.lock().calm = true;
    }

    /// The session closes: the others may go.
    pub fn close(&self) {
        self.shared.state.lock().closing = true;
    }

    /// Watches no longer.
    pub fn end(&self) {
        let watch = self.shared.state.lock().watch.take();
        drop(watch);
    }

    /// Has something done when a rank is lost, after the session was cancelled for it; at once if one was.
    pub fn on_loss(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.lost.is_none() {
            state.then = Some(Box::new(then));
            return;
        }
        drop(state);
        then();
    }

    /// What this rank was doing, and which ranks of other hosts have been silent: `rank 0 was in action 3, stage s4`.
    pub fn story(&self) -> String {
        let mut story = format!("rank {} was {}", self.shared.rank, self.shared.activity);
        for (rank, card) in self.shared.cards.iter().enumerate() {
            let silence = self.shared.silence(rank);
            if !card.process.is_near() && silence > SILENT {
                story.push_str(&format!("; rank {rank} on host {} was silent for {} s", card.host, silence.as_secs()));
            }
        }
        story
    }

    /// The folders of temporary files of the processes on this host that are gone, for the survivors to remove.
    pub fn scratch_of_lost(&self) -> Vec<PathBuf> {
        let gone = self.shared.cards.iter().filter(|card| card.process.is_gone() == Some(true));
        gone.map(|card| PathBuf::from(&card.scratch)).collect()
    }
}

impl Shared {
    fn others(&self) -> impl Iterator<Item = (usize, &Card)> {
        self.cards.iter().enumerate().filter(|(rank, _)| *rank != self.rank)
    }

    fn has_left(&self, rank: usize) -> bool {
        self.switchboard.as_ref().is_some_and(|switchboard| switchboard.communicator().has_left(rank))
    }

    fn silence(&self, rank: usize) -> Duration {
        self.switchboard.as_ref().map_or(Duration::ZERO, |switchboard| switchboard.communicator().silence(rank))
    }

    /// The process of a rank is gone. In order that happens only while all ranks close: MPI's end is a meeting of all. Some
    /// come out of it, and end, before others.
    fn gone(&self, rank: usize) {
        let started = Instant::now();
        let patience = || if self.has_left(rank) { MEETING } else { GOODBYE };
        while self.state.lock().closing && started.elapsed() < patience() {
            if self.state.lock().watch.is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.lose(rank);
    }

    /// `rank 2 (process 4711 on host n1) was`. Survivors end soon after the first loss, and this rank may learn of theirs first:
    /// so all are named who are gone by now.
    fn all_gone(&self, rank: usize) -> String {
        let is_gone = |other: usize, card: &Card| other == rank || card.process.is_gone() == Some(true);
        let gone = self.others().filter(|(other, card)| is_gone(*other, card));
        let named =
            gone.map(|(rank, card)| format!("rank {rank} (process {} on host {})", card.process.number(), card.host));
        let named = named.collect::<Vec<_>>();
        format!("{} {}", named.join(" and "), if named.len() == 1 { "was" } else { "were" })
    }

    fn lose(&self, rank: usize) {
        let error = {
            let mut state = self.state.lock();
            if state.lost.is_some() || state.calm {
                return;
            }
            let doing = if state.closing { "closing its session".to_owned() } else { self.activity.to_string() };
            let error = Error::peer_lost(format!("{} lost; rank {} was {doing}", self.all_gone(rank), self.rank));
            state.lost = Some(error.clone());
            error
        };
        say(&error);
        self.cancel.cancel(error.clone());
        if let Some(switchboard) = &self.switchboard {
            switchboard.end_waits(&error);
        }
        let then = self.state.lock().then.take();
        if let Some(then) = then {
            then();
        }
    }
}

static SAID: AtomicBool = AtomicBool::new(false);

/// Whether this process has said on standard error that a rank was lost: it does so once, and need not say more.
pub fn loss_was_said() -> bool {
    SAID.load(Ordering::Acquire)
}

fn say(error: &Error) {
    if !SAID.swap(true, Ordering::AcqRel) {
        // In one piece, so that the lines of two ranks do not mix.
        let line = format!("bireme: {}\n", error.message());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peers(of rank {}, lost: {:?})", self.shared.rank, self.lost())
    }
}

#[cfg(test)]
mod tests;
