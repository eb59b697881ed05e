//! The edge from a stage back to itself: its ranks talk in rounds until they agree to stop.
//!
//! ```text
//!   rank 0   round 0 ─► all ranks have sent ─► round 1 ─► … ─► all say: nothing changed      a fixpoint, on every rank
//!   rank 1   round 0 ─►          "          ─► round 1 ─► … ─►             "
//! ```
//!
//! In a round each rank sends each other one a message, of words that all ranks see alike and of bytes for that rank alone, and
//! goes on when it has one of each (a superstep: L. G. Valiant, A bridging model for parallel computation, CACM 33, 1990). So a
//! rank is never more than a round ahead, nobody can close a cycle, and whoever decides by the words decides like all others.
//! What a round means is the body's affair: PageRank sends ranks that changed, a search its frontier.
//!
//! A body has the edge if it says so ([`Body::feeds_back`](crate::stage::Body::feeds_back)).

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use arrow::buffer::Buffer;
use parking_lot::Mutex;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::metrics::StageMetrics;
use crate::stage::{PlacedPlan, StageId};
use crate::switchboard::{Message, Switchboard};

/// What one rank sends to another in a round.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    /// The same to every rank.
    pub words: Vec<u64>,
    /// For one rank alone.
    pub bytes: Buffer,
}

/// One rank's end of a stage's feedback edge.
pub struct Feedback {
    rounds: Arc<Rounds>,
    next: u64,
    metrics: Arc<StageMetrics>,
}

/// What arrives here.
pub(crate) struct Rounds {
    stage: StageId,
    action: u64,
    /// The ranks with lanes of the stage, ascending.
    ranks: Vec<usize>,
    /// Where this one is among them.
    place: usize,
    switchboard: Switchboard,
    cancel: Cancel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By round and place.
    letters: BTreeMap<(u64, usize), Letter>,
    parked: Option<Waker>,
}

impl Feedback {
    pub(crate) fn new(rounds: Arc<Rounds>, metrics: Arc<StageMetrics>) -> Self {
        Self { rounds, next: 0, metrics }
    }

    /// How many ranks take part.
    pub fn ranks(&self) -> usize {
        self.rounds.ranks.len()
    }

    /// Which one of them this is, from 0.
    pub fn place(&self) -> usize {
        self.rounds.place
    }

    /// Sends `bytes[i]` to the rank at place `i`, and `words` to all; gives what each rank sent here, by place. All ranks call it
    /// equally often. Bytes that stay on this rank are handed over as they are, and not counted.
    ///
    /// # Errors
    /// The action was cancelled, a rank cannot be reached, or there are not as many buffers as ranks.
    pub async fn round(&mut self, words: &[u64], bytes: Vec<Buffer>) -> Result<Vec<Letter>> {
        let rounds = &self.rounds;
        if bytes.len() != rounds.ranks.len() {
            return Err(Error::internal(format!("{} buffers for {} ranks", bytes.len(), rounds.ranks.len())));
        }
        let round = self.next;
        self.next += 1;
        self.metrics.add("rounds", 1);
        let mut own = None;
        for (place, bytes) in bytes.into_iter().enumerate() {
            let letter = Letter { words: words.to_vec(), bytes };
            if place == rounds.place {
                own = Some(letter);
                continue;
            }
            self.metrics.add("round_bytes", letter.bytes.len() as u64);
            let message = Message::Round { action: rounds.action, stage: rounds.stage.0, round, words: letter.words };
            rounds.switchboard.send(rounds.ranks[place], &message, vec![letter.bytes]).map_err(|error| {
                error.context(format!("round {round} of stage {} to rank {}", rounds.stage, rounds.ranks[place]))
            })?;
        }
        let mut letters = rounds.wait_for(round).await?;
        letters.insert(rounds.place, own.unwrap_or_default());
        Ok(letters)
    }

    /// The sum of each word over all ranks; wraps.
    ///
    /// # Errors
    /// As [`Feedback::round`].
    pub async fn sums(&mut self, words: &[u64]) -> Result<Vec<u64>> {
        let nothing = vec![Buffer::default(); self.ranks()];
        let letters = self.round(words, nothing).await?;
        Ok((0..words.len()).map(|at| sum_of(&letters, at)).collect())
    }
}

/// The sum of a word over all letters; wraps.
pub fn sum_of(letters: &[Letter], word: usize) -> u64 {
    letters.iter().filter_map(|letter| letter.words.get(word)).fold(0, |sum, word| sum.wrapping_add(*word))
}

impl Rounds {
    /// Those of a plan's stages that this rank has lanes of.
    pub fn all(
        plan: &PlacedPlan,
        action: u64,
        switchboard: &Switchboard,
        cancel: &Cancel,
    ) -> BTreeMap<StageId, Arc<Self>> {
        let here = switchboard.rank();
        let feeding = plan.graph().stages.iter().filter(|stage| stage.body.feeds_back());
        let rounds = feeding.filter_map(|stage| {
            let mut ranks = plan.lane_ranks(stage.id).to_vec();
            ranks.sort_unstable();
            ranks.dedup();
            let place = ranks.binary_search(&here).ok()?;
            let (switchboard, cancel) = (switchboard.clone(), cancel.clone());
            let rounds = Self { stage: stage.id, action, ranks, place, switchboard, cancel, state: Mutex::default() };
            Some((stage.id, Arc::new(rounds)))
        });
        rounds.collect()
    }

    /// Takes what a rank sent. Runs on the communicator's thread.
    pub fn arrived(&self, from: usize, round: u64, words: Vec<u64>, buffers: Vec<Buffer>) {
        let Ok(place) = self.ranks.binary_search(&from) else {
            self.cancel
                .cancel(Error::internal(format!("rank {from} has no part in the rounds of stage {}", self.stage)));
            return;
        };
        let bytes = buffers.into_iter().next().unwrap_or_default();
        let parked = {
            let mut state = self.state.lock();
            state.letters.insert((round, place), Letter { words, bytes });
            let complete = state.letters.range((round, 0)..=(round, usize::MAX)).count() + 1 == self.ranks.len();
            if complete { state.parked.take() } else { None }
        };
        parked.into_iter().for_each(Waker::wake);
    }

    /// What the other ranks sent in a round, by place, when all of it is there.
    async fn wait_for(&self, round: u64) -> Result<Vec<Letter>> {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if let Err(cause) = self.cancel.check() {
                return Poll::Ready(Err(cause));
            }
            let of_round = (round, 0)..=(round, usize::MAX);
            if state.letters.range(of_round.clone()).count() + 1 < self.ranks.len() {
                state.parked = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let keys = state.letters.range(of_round).map(|(key, _)| *key).collect::<Vec<_>>();
            Poll::Ready(Ok(keys.iter().filter_map(|key| state.letters.remove(key)).collect()))
        })
        .await
    }

    /// Lets the body look whether it is still wanted.
    pub fn wake_all(&self) {
        let parked = self.state.lock().parked.take();
        parked.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feedback({}, round {}, rank {} of {})", self.rounds.stage, self.next, self.place(), self.ranks())
    }
}
