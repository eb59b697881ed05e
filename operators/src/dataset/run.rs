//! One rank's part of an action: what its stages leave to later ones, and its workers.

use std::any::Any as AnyState;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bireme_engine::budget::Budget;
use bireme_engine::cancel::Cancel;
use bireme_engine::control::panic_text;
use bireme_engine::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::chain::{Chain, Flow};

/// Records between two looks at whether to give up.
const CHECK: u64 = 1 << 12;

/// What the stages of an action share on a rank.
pub struct Run {
    /// This rank.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
    /// Memory of this rank.
    pub budget: Budget,
    /// Says when to give up.
    pub cancel: Cancel,
    /// Where to spill.
    pub temp_dir: PathBuf,
    /// Records that went to disk so far.
    pub spilled: AtomicU64,
    states: Mutex<BTreeMap<u64, Arc<dyn AnyState + Send + Sync>>>,
}

impl Run {
    /// A rank's part of an action that begins.
    pub fn new(rank: usize, ranks: usize, budget: Budget, cancel: Cancel, temp_dir: PathBuf) -> Self {
        Self { rank, ranks, budget, cancel, temp_dir, spilled: AtomicU64::new(0), states: Mutex::default() }
    }

    /// Leaves something to later stages, under a node's number.
    pub fn put<S: Send + Sync + 'static>(&self, node: u64, state: Arc<S>) {
        self.states.lock().insert(node, state);
    }

    /// What an earlier stage has left.
    ///
    /// # Errors
    /// Nothing: always a bug.
    pub fn get<S: Send + Sync + 'static>(&self, node: u64) -> Result<Arc<S>> {
        let lost = || Error::internal(format!("nothing was left by node {node}"));
        let state = self.states.lock().get(&node).cloned().ok_or_else(lost)?;
        state.downcast::<S>().map_err(|_| lost())
    }

    /// The partitions of `total` that this rank has, if ranks have runs of them.
    pub fn share(&self, total: u64) -> std::ops::Range<u64> {
        let first = |rank: usize| (u128::from(total) * rank as u128).div_ceil(self.ranks as u128) as u64;
        first(self.rank)..first(self.rank + 1)
    }
}

/// The partitions that a rank has of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Their numbers among those of all ranks: results come in this order.
    pub numbers: Vec<u64>,
    /// How many there are on all ranks.
    pub total: u64,
}

/// A partition that is read.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// By whom.
    pub run: &'a Run,
    /// Its place among those of its source on this rank.
    pub place: usize,
    /// Whether records must come in an order that depends on the dataset alone.
    pub in_order: bool,
    records: &'a Cell<u64>,
}

impl Part<'_> {
    /// The same partition as one of a source that has others before it.
    pub(super) fn behind(&self, others: usize) -> Self {
        Self { place: self.place - others, ..*self }
    }

    /// Counts a record of the source, before it goes through the chain.
    ///
    /// # Errors
    /// The action is over.
    #[inline(always)]
    pub fn next(&self) -> Result<()> {
        let records = self.records.get() + 1;
        self.records.set(records);
        if records.is_multiple_of(CHECK) { self.run.cancel.check() } else { Ok(()) }
    }

    /// Records of the source so far.
    pub fn records(&self) -> u64 {
        self.records.get()
    }
}

/// Drives a chain over the partitions of this rank, on all workers of the pool that it is called in: each has a state of its own, which
/// takes records partition by partition and is handed to `done` in the end.
///
/// # Errors
/// The source fails, or the state; a panic in a closure becomes an error that names the stage and the record.
pub fn for_parts<C: Chain, W: Send>(
    chain: &C,
    run: &Run,
    stage: &str,
    state: impl Fn() -> Result<W> + Sync,
    part: impl Fn(&mut W, u64, &Part<'_>) -> Result<()> + Sync,
    done: impl Fn(W) -> Result<()> + Sync,
) -> Result<()> {
    let parts = chain.parts(run)?;
    let in_order = chain.in_order();
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let worker = || -> Result<()> {
        let mut mine = None;
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(&number) = parts.numbers.get(place) else { break };
            run.cancel.check()?;
            let records = Cell::new(0);
            let here = Part { run, place, in_order, records: &records };
            let state = match &mut mine {
                Some(state) => state,
                none => none.insert(state()?),
            };
            let ran = catch_unwind(AssertUnwindSafe(|| part(state, number, &here)));
            ran.unwrap_or_else(|panic| {
                let said = panic_text(&*panic);
                let record = here.records();
                Err(Error::user(format!("{stage}, partition {number}, record {record}: a closure panicked: {said}")))
            })?;
        }
        match mine {
            Some(state) => caught(stage, || done(state)),
            None => Ok(()),
        }
    };
    let guarded = || {
        if let Err(error) = worker() {
            // The others need not go on.
            next.store(usize::MAX / 2, Ordering::Relaxed);
            let mut first = failure.lock();
            if first.as_ref().is_none_or(|first: &Error| first.kind() == ErrorKind::Internal) {
                *first = Some(error);
            }
        }
    };
    let workers = rayon::current_num_threads().min(parts.numbers.len()).max(1);
    if workers == 1 {
        guarded();
    } else {
        rayon::scope(|scope| (0..workers).for_each(|_| scope.spawn(|_| guarded())));
    }
    failure.into_inner().map_or(Ok(()), Err)
}

/// Runs closures of a user; a panic becomes an error that names the stage.
pub(super) fn caught<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic_text(&*panic);
        Err(Error::user(format!("{stage}: a closure panicked: {said}")))
    })
}

/// Goes on.
pub(super) const ON: Flow = ControlFlow::Continue(());
