//! Decisions that ranks take together while a plan runs, before the first byte of either side of a join moves.
//!
//! ```text
//!   outlets of the build side hold their rows until they have all, or too many to broadcast ─┐
//!   outlets of the probe side hold their first rows, and count equal keys                   ─┴► vote of the rank ─► all ranks
//!   all votes are there ─► the same verdict everywhere ─► outlets let go
//! ```
//!
//! The verdict is a function of the votes alone, so that all ranks come to the same one without another message:
//!
//! - a build side that turned out small goes to every rank, and the probe side stays where it is;
//! - else both go by the hash of their keys, but rows of a key that is heavy on the probe side stay where they are, and build rows of
//!   such a key go to every rank.
//!
//! The outlets of one side on one rank speak as one: the first that has seen enough, or the last that ends. A body may end its outlets one
//! after the other, so one that ends before the others hands its rows to them and does not wait.
//!
//! Nobody waits for a reader here: a vote depends on the rows that reach the outlets, and these never depend on the verdict, for a
//! stage with several outputs takes no part in a decision.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use bincode::{Decode, Encode};
use parking_lot::Mutex;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::stage::{DecisionId, PlacedPlan, Route, Side};
use crate::switchboard::{Message, Switchboard};

/// Rows of the probe side that the outlets of a rank look at.
pub(super) const SAMPLE_ROWS: u64 = 16 << 10;

/// A key is heavy if it has more than this part of a rank's even share of all rows. What is left unsplit makes no rank
/// busier than a quarter above the others.
const HEAVY: f64 = 0.25;

/// Less often seen is chance.
const LEAST_SEEN: u64 = 48;

/// Keys that one rank proposes as heavy.
const MOST_KEYS: usize = 64;

/// What one rank knows of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Vote {
    /// Bytes of the build side, as far as it has come.
    build_bytes: u64,
    /// Whether that is only a part of them.
    build_goes_on: bool,
    /// Rows of the probe side that were looked at.
    sampled: u64,
    /// Hashes that were often among them, with how often.
    often: Vec<(u64, u64)>,
}

/// What all ranks do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The build side goes to every rank.
    Broadcast,
    /// Both sides go by hash, but for rows with these hashes, ascending.
    Hash(Vec<u64>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Broadcast => f.write_str("broadcast"),
            Verdict::Hash(heavy) if heavy.is_empty() => f.write_str("hash"),
            Verdict::Hash(heavy) => write!(f, "hash,split={}", heavy.len()),
        }
    }
}

/// One decision on one rank.
pub(crate) struct Ballot {
    id: DecisionId,
    action: u64,
    broadcast_below: u64,
    switchboard: Switchboard,
    cancel: Cancel,
    state: Mutex<State>,
}

struct State {
    build: SideState,
    probe: SideState,
    /// Of the probe side: how often each hash was seen.
    hashes: BTreeMap<u64, u64>,
    /// Of each rank.
    votes: Vec<Option<Vote>>,
    verdict: Option<Arc<Verdict>>,
    parked: Vec<Waker>,
}

/// The outlets of one side on this rank.
#[derive(Default)]
struct SideState {
    /// Those that may still see rows.
    open: usize,
    /// They have spoken, or there are none.
    spoken: bool,
    /// Bytes of the build side, or rows of the probe side, that they have seen.
    seen: u64,
    /// There may be more.
    goes_on: bool,
    /// Rows of outlets that have ended.
    left: Vec<RecordBatch>,
}

impl State {
    fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Build => &mut self.build,
            Side::Probe => &mut self.probe,
        }
    }

    /// What this rank says, now that both sides have spoken.
    fn vote(&mut self) -> Vote {
        let sampled = self.probe.seen;
        // A key that is heavy over all ranks is at least half as heavy on one of them.
        let least = (heavy_from(sampled, self.votes.len()) / 2).max(2);
        let mut often =
            std::mem::take(&mut self.hashes).into_iter().filter(|(_, count)| *count >= least).collect::<Vec<_>>();
        often.sort_by_key(|(hash, count)| (std::cmp::Reverse(*count), *hash));
        often.truncate(MOST_KEYS);
        Vote { build_bytes: self.build.seen, build_goes_on: self.build.goes_on, sampled, often }
    }
}

impl Ballot {
    /// The decisions of a plan, as far as they concern this rank: every rank votes on all.
    pub fn all(
        plan: &PlacedPlan,
        action: u64,
        switchboard: &Switchboard,
        cancel: &Cancel,
    ) -> BTreeMap<DecisionId, Arc<Self>> {
        let (rank, ranks) = (switchboard.rank(), plan.ranks());
        let mut ballots: BTreeMap<DecisionId, Self> = BTreeMap::new();
        for exchange in &plan.graph().exchanges {
            let Route::Adaptive(adaptive) = &exchange.route else { continue };
            let outlets = plan.lane_ranks(exchange.producer).iter().filter(|&&at| at == rank).count();
            let ballot = ballots.entry(adaptive.decision).or_insert_with(|| Self {
                id: adaptive.decision,
                action,
                broadcast_below: adaptive.broadcast_below,
                switchboard: switchboard.clone(),
                cancel: cancel.clone(),
                state: Mutex::new(State {
                    build: SideState::default(),
                    probe: SideState::default(),
                    hashes: BTreeMap::new(),
                    votes: vec![None; ranks],
                    verdict: None,
                    parked: Vec::new(),
                }),
            });
            let side = ballot.state.get_mut().side(adaptive.side);
            (side.open, side.spoken) = (outlets, outlets == 0);
        }
        ballots.into_iter().map(|(id, ballot)| (id, Arc::new(ballot))).collect()
    }

    /// Votes at once if no outlet is here.
    pub fn open(&self) {
        let vote = {
            let mut state = self.state.lock();
            (state.build.open == 0 && state.probe.open == 0).then(|| state.vote())
        };
        vote.into_iter().for_each(|vote| self.cast(vote));
    }

    /// An outlet of the build side has seen so many more bytes.
    pub fn saw_bytes(&self, bytes: u64) -> u64 {
        let mut state = self.state.lock();
        state.build.seen += bytes;
        state.build.seen
    }

    /// An outlet of the probe side has seen more rows, by the hashes of their keys; says how many that makes.
    pub fn saw_rows(&self, hashes: &[u64]) -> u64 {
        let mut state = self.state.lock();
        // What was said is said.
        if !state.probe.spoken {
            state.probe.seen += hashes.len() as u64;
            for &hash in hashes {
                *state.hashes.entry(hash).or_default() += 1;
            }
        }
        state.probe.seen
    }

    /// An outlet can hold no more rows: its side speaks.
    pub fn speak(&self, side: Side) {
        self.say(side, true);
    }

    /// An outlet ends with these rows. If it is not the last of its side and that has not spoken, they are left to the others, and
    /// it is not to wait; else they come back, with what was left before.
    pub fn end(&self, side: Side, rows: Vec<RecordBatch>) -> Option<Vec<RecordBatch>> {
        {
            let mut state = self.state.lock();
            let side = state.side(side);
            side.open = side.open.saturating_sub(1);
            if side.open > 0 && !side.spoken {
                side.left.extend(rows);
                return None;
            }
        }
        self.say(side, false);
        let mut all = self.take_left(side);
        all.extend(rows);
        Some(all)
    }

    /// Rows of outlets that have ended, for one that has not.
    pub fn take_left(&self, side: Side) -> Vec<RecordBatch> {
        std::mem::take(&mut self.state.lock().side(side).left)
    }

    fn say(&self, side: Side, goes_on: bool) {
        let vote = {
            let mut state = self.state.lock();
            let speaking = state.side(side);
            if speaking.spoken {
                return;
            }
            (speaking.spoken, speaking.goes_on) = (true, goes_on);
            (state.build.spoken && state.probe.spoken).then(|| state.vote())
        };
        vote.into_iter().for_each(|vote| self.cast(vote));
    }

    fn cast(&self, vote: Vote) {
        let message = Message::Vote { action: self.action, decision: self.id.0, vote: vote.clone() };
        self.switchboard.send_to_others(&message);
        self.voted(self.switchboard.rank(), vote);
    }

    /// Takes the vote of a rank.
    pub fn voted(&self, from: usize, vote: Vote) {
        let parked = {
            let mut state = self.state.lock();
            let Some(place) = state.votes.get_mut(from) else { return };
            *place = Some(vote);
            if state.verdict.is_some() || state.votes.iter().any(Option::is_none) {
                return;
            }
            let votes = state.votes.iter().flatten().collect::<Vec<_>>();
            let verdict = verdict(&votes, self.broadcast_below);
            tracing::debug!(action = self.action, decision = self.id.0, %verdict, "decided");
            state.verdict = Some(Arc::new(verdict));
            std::mem::take(&mut state.parked)
        };
        parked.into_iter().for_each(Waker::wake);
    }

    /// The verdict, once all ranks have voted.
    ///
    /// # Errors
    /// The action was cancelled.
    pub fn poll_verdict(&self, cx: &mut Context<'_>) -> Poll<Result<Arc<Verdict>>> {
        let mut state = self.state.lock();
        if let Err(cause) = self.cancel.check() {
            return Poll::Ready(Err(cause));
        }
        if let Some(verdict) = &state.verdict {
            return Poll::Ready(Ok(Arc::clone(verdict)));
        }
        state.parked.push(cx.waker().clone());
        Poll::Pending
    }

    /// Lets outlets look whether they are still wanted.
    pub fn wake_all(&self) {
        let parked = std::mem::take(&mut self.state.lock().parked);
        parked.into_iter().for_each(Waker::wake);
    }
}

/// How often a key is seen at least if it is heavy.
fn heavy_from(sampled: u64, ranks: usize) -> u64 {
    ((sampled as f64 * HEAVY / ranks as f64).ceil() as u64).max(1)
}

fn verdict(votes: &[&Vote], broadcast_below: u64) -> Verdict {
    let bytes = votes.iter().map(|vote| vote.build_bytes).sum::<u64>();
    if votes.iter().all(|vote| !vote.build_goes_on) && bytes < broadcast_below {
        return Verdict::Broadcast;
    }
    let sampled = votes.iter().map(|vote| vote.sampled).sum::<u64>();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (hash, count) in votes.iter().flat_map(|vote| &vote.often) {
        *counts.entry(*hash).or_default() += count;
    }
    let least = heavy_from(sampled, votes.len()).max(LEAST_SEEN);
    Verdict::Hash(counts.into_iter().filter(|(_, count)| *count >= least).map(|(hash, _)| hash).collect())
}

/// What a side does with its rows under a verdict.
#[derive(Clone, Debug)]
pub(super) enum Course {
    /// All rows to these lanes, closed to all others.
    To(Vec<usize>),
    /// Each batch to another lane in turn.
    InTurn,
    /// Each row by its hash, but those of heavy keys to these lanes.
    ByHash { heavy: Arc<Verdict>, lanes: Vec<usize> },
}

impl Course {
    /// Of a side with input lanes on these ranks, for an outlet on this rank.
    pub fn of(verdict: &Arc<Verdict>, side: Side, input_ranks: &[usize], rank: usize) -> Self {
        // A rank's lanes of a fused stage are one partition: one of them gets what is for the rank.
        let is_first = |lane: &usize| !input_ranks[..*lane].contains(&input_ranks[*lane]);
        let all = || (0..input_ranks.len()).filter(is_first).collect::<Vec<_>>();
        let here = input_ranks.iter().position(|&at| at == rank);
        match (verdict.as_ref(), side, here) {
            (Verdict::Broadcast, Side::Build, _) => Course::To(all()),
            (Verdict::Broadcast, Side::Probe, Some(lane)) => Course::To(vec![lane]),
            (Verdict::Broadcast, Side::Probe, None) => Course::InTurn,
            (Verdict::Hash(_), Side::Build, _) => Course::ByHash { heavy: Arc::clone(verdict), lanes: all() },
            (Verdict::Hash(_), Side::Probe, here) => {
                // Rows that are not wanted here are wanted anywhere alike.
                let lane = here.unwrap_or(rank % input_ranks.len().max(1));
                Course::ByHash { heavy: Arc::clone(verdict), lanes: vec![lane] }
            }
        }
    }
}

/// Whether rows of this hash are split.
pub(super) fn is_heavy(verdict: &Verdict, hash: u64) -> bool {
    matches!(verdict, Verdict::Hash(heavy) if heavy.binary_search(&hash).is_ok())
}

/// Whether there are any.
pub(super) fn splits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Hash(heavy) if !heavy.is_empty())
}

/// A decision that nobody has opened.
pub(super) fn unknown(id: DecisionId) -> Error {
    Error::internal(format!("decision {id} is none of this plan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(build_bytes: u64, sampled: u64, often: &[(u64, u64)]) -> Vote {
        Vote { build_bytes, build_goes_on: false, sampled, often: often.to_vec() }
    }

    #[test]
    fn a_small_build_side_goes_everywhere() {
        let votes = [vote(10, 0, &[]), vote(20, 0, &[])];
        assert_eq!(verdict(&[&votes[0], &votes[1]], 31), Verdict::Broadcast);
        assert_eq!(verdict(&[&votes[0], &votes[1]], 30), Verdict::Hash(vec![]));
        let goes_on = Vote { build_goes_on: true, ..vote(1, 0, &[]) };
        assert_eq!(verdict(&[&votes[0], &goes_on], 100), Verdict::Hash(vec![]));
    }

    #[test]
    fn heavy_keys_are_split() {
        // A quarter of a rank's even share of 2,000 rows on two ranks is 250 rows.
        let (a, b) = (vote(1 << 40, 1000, &[(7, 200), (3, 130)]), vote(0, 1000, &[(7, 60), (9, 200)]));
        assert_eq!(verdict(&[&a, &b], 100), Verdict::Hash(vec![7]));
        let rare = vote(1 << 40, 10, &[(1, 9)]);
        assert_eq!(verdict(&[&rare], 100), Verdict::Hash(vec![]), "ten rows say nothing");
    }

    #[test]
    fn all_sides_follow_one_verdict() {
        let split = Arc::new(Verdict::Hash(vec![5]));
        let lanes = |side, rank| match Course::of(&split, side, &[0, 1, 2], rank) {
            Course::ByHash { lanes, .. } => lanes,
            other => unreachable!("{other:?}"),
        };
        assert_eq!((lanes(Side::Build, 1), lanes(Side::Probe, 1)), (vec![0, 1, 2], vec![1]));
        assert!(is_heavy(&split, 5) && !is_heavy(&split, 6));
        let twice = Course::of(&split, Side::Build, &[2, 2, 0], 1);
        assert!(
            matches!(twice, Course::ByHash { lanes, .. } if lanes == [0, 2]),
            "a rank with two lanes gets rows once"
        );
        let broadcast = Arc::new(Verdict::Broadcast);
        assert!(matches!(Course::of(&broadcast, Side::Probe, &[0, 2], 2), Course::To(lanes) if lanes == [1]));
        assert!(matches!(Course::of(&broadcast, Side::Probe, &[0, 2], 1), Course::InTurn));
    }
}
