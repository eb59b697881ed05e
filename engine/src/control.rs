//! Collectives: small agreements between all ranks.
//!
//! Every rank runs the same program, so every rank calls the same collectives in the same order; each call has a
//! sequence number and a label, and ranks that meet under different labels have parted ways, which is an error that
//! names both. Calls block the calling thread, which is the program's own and never a worker's. Every wait has a
//! time-out, ends when the session is cancelled, and ends when another rank gives up.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use arrow::buffer::Buffer;
use bincode::{Decode, Encode};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::switchboard::{Mailbox, Message, Switchboard};

/// The sending rank, and the label and the bytes it sent.
type Letter = (usize, (String, Buffer));

/// How often a wait looks up to see whether those it waits for are there.
const LOOK_UP: Duration = Duration::from_secs(1);

/// How long a collective waits for the slowest rank unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a cancelled rank still waits for the consensus of its action before it leaves without it.
const GRACE: Duration = Duration::from_secs(10);

/// The collectives of one rank.
#[derive(Clone, Debug)]
pub struct Control {
    switchboard: Switchboard,
    cancel: Cancel,
    timeout: Duration,
}

/// How long a collective waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// At most the time-out; a cancelled session ends it.
    TimeOut,
    /// As long as those that are missing give signs of life: they may still be computing. A cancelled session shortens
    /// it, for the others were told and will arrive.
    WhileAlive,
}

impl Control {
    /// Collectives over a switchboard, which end when `cancel` fires.
    pub fn new(switchboard: Switchboard, cancel: Cancel, timeout: Duration) -> Self {
        Self { switchboard, cancel, timeout }
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.switchboard.rank()
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.switchboard.ranks()
    }

    /// Gives every rank the bytes of every rank, in the order of the ranks.
    ///
    /// # Errors
    /// A rank does not arrive in time, arrives elsewhere, or gave up; the session is cancelled.
    pub fn all_gather(&self, label: &str, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.gather(label, bytes, Patience::TimeOut)
    }

    /// [`Control::all_gather`] of values.
    ///
    /// # Errors
    /// As [`Control::all_gather`].
    pub fn all_gather_values<T: Encode + Decode<()>>(&self, label: &str, value: &T) -> Result<Vec<T>> {
        self.all_gather(label, encode(value)?)?.iter().map(|bytes| decode(label, bytes)).collect()
    }

    /// As [`Control::all_gather_values`], but waits as long as the missing ranks are alive: for the end of an action,
    /// when others may compute for hours yet.
    pub(crate) fn all_gather_at_end<T: Encode + Decode<()>>(&self, label: &str, value: &T) -> Result<Vec<T>> {
        self.gather(label, encode(value)?, Patience::WhileAlive)?.iter().map(|bytes| decode(label, bytes)).collect()
    }

    /// Gives every rank the bytes of rank 0; those of other ranks are not looked at.
    ///
    /// # Errors
    /// As [`Control::all_gather`].
    pub fn broadcast_from_root(&self, label: &str, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let sequence = self.enter()?;
        if self.rank() == 0 {
            let bytes = bytes.ok_or_else(|| Error::internal(format!("rank 0 has nothing to broadcast ({label})")))?;
            self.tell_all(sequence, label, &bytes)?;
            return Ok(bytes);
        }
        let mut letters = self.collect(sequence, label, &[0], Patience::TimeOut)?;
        letters.pop().ok_or_else(|| Error::internal(format!("no letter from rank 0 ({label})")))
    }

    /// Runs `decide` on rank 0 only, and gives its value or its error to every rank: for whatever ranks could see
    /// differently, such as directories, clocks and seeds.
    ///
    /// # Errors
    /// What `decide` says, on every rank; and as [`Control::all_gather`].
    pub fn decide_on_root<T: Encode + Decode<()>>(&self, label: &str, decide: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.rank() != 0 {
            let bytes = self.broadcast_from_root(label, None)?;
            return decode::<Result<T>>(label, &bytes)?;
        }
        // The others wait for an answer, so a panic must become one.
        let decided = catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|panic| {
            Err(Error::internal(format!("rank 0 panicked ({label}): {}", panic_text(&*panic))))
        });
        self.broadcast_from_root(label, Some(encode(&decided)?))?;
        decided
    }

    /// Waits until every rank is there.
    ///
    /// # Errors
    /// As [`Control::all_gather`].
    pub fn barrier(&self, label: &str) -> Result<()> {
        self.all_gather(label, Vec::new()).map(drop)
    }

    /// Sends so many bytes there and back between two ranks, several times, and gives them the shortest time it took. A collective:
    /// every rank calls it with the same arguments; the others get `None` at once.
    ///
    /// # Errors
    /// As [`Control::all_gather`].
    pub fn ping_pong(
        &self,
        label: &str,
        (first, second): (usize, usize),
        bytes: usize,
        times: usize,
    ) -> Result<Option<Duration>> {
        let payload = vec![0; bytes];
        let mut shortest: Option<Duration> = None;
        for _ in 0..times {
            let (there, back) = (self.enter()?, self.enter()?);
            let start = Instant::now();
            if self.rank() == first {
                self.tell(second, there, label, &Buffer::from(payload.as_slice()))?;
                self.collect(back, label, &[second], Patience::TimeOut)?;
            } else if self.rank() == second {
                self.collect(there, label, &[first], Patience::TimeOut)?;
                self.tell(first, back, label, &Buffer::from(payload.as_slice()))?;
            } else {
                continue;
            }
            shortest = Some(shortest.map_or(start.elapsed(), |known| known.min(start.elapsed())));
        }
        Ok(shortest)
    }

    fn gather(&self, label: &str, bytes: Vec<u8>, patience: Patience) -> Result<Vec<Vec<u8>>> {
        let sequence = if patience == Patience::WhileAlive { self.switchboard.next_sequence() } else { self.enter()? };
        self.tell_all(sequence, label, &bytes)?;
        let others = (0..self.ranks()).filter(|&rank| rank != self.rank()).collect::<Vec<_>>();
        let mut all = self.collect(sequence, label, &others, patience)?;
        all.insert(self.rank(), bytes);
        Ok(all)
    }

    fn enter(&self) -> Result<u64> {
        self.cancel.check()?;
        Ok(self.switchboard.next_sequence())
    }

    fn tell_all(&self, sequence: u64, label: &str, bytes: &[u8]) -> Result<()> {
        let buffer = Buffer::from(bytes);
        let mut result = Ok(());
        for to in (0..self.ranks()).filter(|&to| to != self.rank()) {
            // All that can be reached are told, and what they are told last is that the job is over.
            result = result.and(self.tell(to, sequence, label, &buffer));
        }
        result.map_err(|error| self.give_up(error))
    }

    fn tell(&self, to: usize, sequence: u64, label: &str, bytes: &Buffer) -> Result<()> {
        let message = Message::Control { sequence, label: label.to_owned() };
        let told = self.switchboard.send(to, &message, vec![bytes.clone()]);
        told.map_err(|error| error.context(format!("telling rank {to} ({label})")))
    }

    /// Waits for the letters of `from`, in that order.
    fn collect(&self, sequence: u64, label: &str, from: &[usize], patience: Patience) -> Result<Vec<Vec<u8>>> {
        let alarm = self.switchboard.alarm();
        let _watch = self.cancel.on_cancel(move |_| alarm());
        let start = Instant::now();
        // When a cancelled rank began to wait for the others to end as well.
        let mut leaving = None;
        // Who seemed lost at the last look-up. Letters of a rank that has left may still be on their way.
        let mut suspect = None;
        loop {
            // Short naps, for the end of the wait depends on more than letters.
            let nap = (Instant::now() + LOOK_UP).min(start + self.timeout.max(LOOK_UP));
            let letters =
                self.switchboard.wait_for_letters(nap, |mailbox| self.look(mailbox, sequence, from, patience));
            if let Some(letters) = letters {
                return self.open_letters(label, letters?);
            }
            let missing = self.missing(sequence, from);
            let lost = self.switchboard.find_lost(&missing, self.timeout);
            if let Some((rank, story)) = lost.as_ref().filter(|(rank, _)| suspect == Some(*rank)) {
                return Err(self.give_up(Error::peer_lost(format!("rank {rank} is lost before \"{label}\": {story}"))));
            }
            suspect = lost.map(|(rank, _)| rank);
            match patience {
                Patience::TimeOut if start.elapsed() >= self.timeout => {
                    return Err(self.give_up(self.late(&missing, label, sequence)));
                }
                Patience::TimeOut => {}
                Patience::WhileAlive => {
                    if let Some(cause) = self.cancel.cause()
                        && leaving.get_or_insert_with(Instant::now).elapsed() > GRACE
                    {
                        return Err(self.give_up(cause));
                    }
                }
            }
        }
    }

    /// What ends a wait at once: all letters, or a reason not to wait for them.
    fn look(
        &self,
        mailbox: &mut Mailbox,
        sequence: u64,
        from: &[usize],
        patience: Patience,
    ) -> Option<Result<Vec<Letter>>> {
        // First the letters: a collective that all have reached is over, whatever became of a rank since. Whether this
        // one wakes before or after the word that a rank has given up makes no difference then.
        if from.iter().all(|&rank| mailbox.letters.contains_key(&(sequence, rank))) {
            let letters = from.iter().filter_map(|&rank| Some((rank, mailbox.letters.remove(&(sequence, rank))?)));
            return Some(Ok(letters.collect()));
        }
        if let Some(error) = &mailbox.aborted {
            return Some(Err(error.clone()));
        }
        self.cancel.cause().filter(|_| patience == Patience::TimeOut).map(Err)
    }

    fn late(&self, missing: &[usize], label: &str, sequence: u64) -> Error {
        let seconds = self.timeout.as_secs_f64().ceil();
        let they = if missing.len() == 1 { "it is" } else { "they are" };
        Error::peer_lost(format!(
            "{} did not arrive at \"{label}\" (collective {sequence}) within {seconds} s; see whether {they} still \
             running",
            Ranks(missing)
        ))
    }

    fn missing(&self, sequence: u64, from: &[usize]) -> Vec<usize> {
        let look = |mailbox: &mut Mailbox| {
            let absent = |rank: &usize| !mailbox.letters.contains_key(&(sequence, *rank));
            Some(from.iter().copied().filter(absent).collect::<Vec<_>>())
        };
        self.switchboard.wait_for_letters(Instant::now(), look).unwrap_or_default()
    }

    fn open_letters(&self, label: &str, letters: Vec<Letter>) -> Result<Vec<Vec<u8>>> {
        if let Some((rank, (theirs, _))) = letters.iter().find(|(_, (theirs, _))| theirs != label) {
            return Err(self.give_up(Error::internal(format!(
                "the ranks have parted ways: rank {} is at \"{label}\", rank {rank} is at \"{theirs}\"; every rank \
                 must run the same program on the same arguments",
                self.rank()
            ))));
        }
        Ok(letters.into_iter().map(|(_, (_, bytes))| bytes.to_vec()).collect())
    }

    /// The collectives of this job have lost their order: nobody may wait for this rank any more.
    fn give_up(&self, error: Error) -> Error {
        self.switchboard.abort(&error);
        error
    }
}

/// What a plan is known by when ranks compare: a hash of each of its levels, first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Fingerprint {
    levels: Vec<(String, u64)>,
}

impl Fingerprint {
    /// Of levels such as `logical`, `physical`, `stages`, `placement`, each with the hash of its canonical text.
    pub fn new(levels: impl IntoIterator<Item = (impl Into<String>, u64)>) -> Self {
        Self { levels: levels.into_iter().map(|(name, hash)| (name.into(), hash)).collect() }
    }
}

impl From<u64> for Fingerprint {
    fn from(hash: u64) -> Self {
        Self::new([("plan", hash)])
    }
}

/// Begins an action: all ranks learn whether all of them have the same plan. An error of any rank becomes the error of
/// all, so nobody waits for a rank that could not plan.
///
/// # Errors
/// A rank could not plan (the lowest such rank's error); the plans differ; and as [`Control::all_gather`].
pub fn agree(control: &Control, action: u64, plan: Result<impl Into<Fingerprint>>) -> Result<()> {
    let ours: Result<Fingerprint> = plan.map(Into::into);
    let label = format!("action {action} (agree on plan)");
    let all = control.all_gather_values(&label, &ours)?;
    if let Some((rank, first)) = all.iter().enumerate().find_map(|(rank, plan)| Some((rank, plan.as_ref().err()?))) {
        // The usual case is that all ranks made the same mistake: then it needs no rank.
        let everywhere = all.iter().all(|plan| plan.as_ref().err() == Some(first));
        return Err(if everywhere { first.clone() } else { first.clone().context(format!("rank {rank}")) });
    }
    let plans = all.into_iter().collect::<Result<Vec<_>>>()?;
    let Some(different) = plans.iter().position(|plan| *plan != plans[0]) else { return Ok(()) };
    let others = (0..plans.len()).filter(|&rank| plans[rank] != plans[0]).collect::<Vec<_>>();
    let level = plans[0].levels.iter().zip(&plans[different].levels).find(|(ours, theirs)| ours != theirs);
    let level = level.map(|((name, _), _)| format!(" (the first level that differs: {name})")).unwrap_or_default();
    Err(Error::internal(format!(
        "{} planned action {action} differently from rank 0{level}; ranks must see the same program, the same tables \
         and the same settings",
        Ranks(&others)
    )))
}

/// `rank 2`, `ranks 2, 5`.
struct Ranks<'a>(&'a [usize]);

impl fmt::Display for Ranks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "rank{} {list}", if self.0.len() == 1 { "" } else { "s" })
    }
}

/// Whether an error, which came when the action was cancelled for `cause`, only follows from that. What data or disks
/// say is a cause of its own; torn channels and ended tasks are not.
pub(crate) fn is_echo(error: &Error, cause: Option<&Error>) -> bool {
    let Some(cause) = cause else { return false };
    let torn = matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Internal | ErrorKind::PeerLost);
    torn || error.message().contains(cause.message())
}

pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

fn encode<T: Encode>(value: &T) -> Result<Vec<u8>> {
    bincode::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| Error::internal(format!("encoding a control message: {error}")))
}

fn decode<T: Decode<()>>(label: &str, bytes: &[u8]) -> Result<T> {
    let (value, _) = bincode::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| Error::internal(format!("decoding a control message ({label}): {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests;
