//! The conformance suite of exchanges: the same cases over every communicator and every number of ranks.
//!
//! A case is a program that every rank runs, as users' programs are: it builds a plan, runs it, and compares what all
//! ranks got by collectives. So the same code is checked with threads as ranks and under mpirun.
#![allow(dead_code, reason = "the test and the example each use their part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a case that cannot go on fails, and says so"
)]

mod advice;
pub mod bodies;
mod cases;
mod rounds;
mod trouble;
mod types;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bireme_engine::budget::Budget;
use bireme_engine::cancel::Cancel;
use bireme_engine::comm::Communicator;
use bireme_engine::control::{Fingerprint, agree};
use bireme_engine::metrics::RunReport;
use bireme_engine::run::{RankContext, run};
use bireme_engine::stage::PlacedPlan;
use bireme_engine::switchboard::Switchboard;
use bireme_engine::{Error, Result};
use parking_lot::Mutex;

/// One rank's view of the suite.
pub struct Rank {
    /// Cases change it for themselves.
    pub context: RankContext,
    next_action: u64,
    // What runs, and since when: for the watchdog.
    now: Arc<Mutex<Option<(&'static str, Instant)>>>,
    directory: tempfile::TempDir,
}

/// A case: fails with what it found wrong.
pub type Case = fn(&mut Rank) -> Result<()>;

/// How long a case may take before the watchdog calls it hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs every case on this rank. All ranks call it.
pub fn run_all(communicator: Arc<dyn Communicator>) -> Result<()> {
    run_some(communicator, "")
}

/// Runs the cases whose name contains `filter`.
pub fn run_some(communicator: Arc<dyn Communicator>, filter: &str) -> Result<()> {
    let mut rank = Rank::new(communicator);
    let watchdog = rank.watchdog();
    for (name, case) in
        cases::CASES.iter().chain(advice::CASES).chain(rounds::CASES).chain(types::CASES).chain(trouble::CASES)
    {
        if !name.contains(filter) {
            continue;
        }
        *rank.now.lock() = Some((name, Instant::now()));
        let context = rank.context.clone();
        let start = Instant::now();
        let result = case(&mut rank);
        if rank.rank() == 0 && std::env::var_os("BIREME_CASE").is_some() {
            eprintln!("{:>6} ms  {name}", start.elapsed().as_millis());
        }
        rank.context = context;
        result.map_err(|error| error.context(format!("case {name:?} on rank {} of {}", rank.rank(), rank.ranks())))?;
        // A case that failed on another rank must not be taken for a success of this one.
        rank.context.control().barrier(name)?;
        expect(rank.context.budget.used() == 0, || format!("{name}: memory is still held: {:?}", rank.context.budget))?;
    }
    *rank.now.lock() = None;
    drop(watchdog);
    Ok(())
}

impl Rank {
    fn new(communicator: Arc<dyn Communicator>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut context = RankContext::new(Switchboard::new(communicator));
        context.temp_dir = directory.path().to_owned();
        context.batch_rows = 64;
        context.window_bytes = 16 << 10;
        context.timeout = Duration::from_secs(60);
        Self { context, next_action: 0, now: Arc::default(), directory }
    }

    pub fn rank(&self) -> usize {
        self.context.switchboard.rank()
    }

    pub fn ranks(&self) -> usize {
        self.context.switchboard.ranks()
    }

    /// Agrees on a plan and runs it.
    pub fn run(&mut self, plan: &PlacedPlan) -> Result<RunReport> {
        let action = self.next_action();
        agree(&self.context.control(), action, Ok(Fingerprint::from(plan.hash())))?;
        run(plan, action, &self.context)
    }

    /// Runs a plan that must fail, and checks that every rank gets the same error.
    pub fn run_failing(&mut self, plan: &PlacedPlan) -> Result<Error> {
        let error = self.run(plan).err();
        let all = self.context.control().all_gather_values("errors", &error)?;
        expect(all.iter().all(|other| *other == error), || format!("ranks got different errors: {all:?}"))?;
        error.ok_or_else(|| Error::internal("a run succeeded that should fail"))
    }

    /// The sum of a number over all ranks.
    pub fn sum(&self, value: u64) -> Result<u64> {
        Ok(self.context.control().all_gather_values("sum", &value)?.iter().sum())
    }

    pub fn next_action(&mut self) -> u64 {
        self.next_action += 1;
        self.next_action
    }

    /// From now on, the case has a budget of its own.
    pub fn limit_memory(&mut self, bytes: usize) -> Budget {
        self.context.budget = Budget::new(Some(bytes));
        self.context.budget.clone()
    }

    pub fn new_cancel(&mut self) -> Cancel {
        self.context.cancel = Cancel::new();
        self.context.cancel.clone()
    }

    /// A thread that ends the process if a case hangs: a deadlock must not look like a slow test.
    fn watchdog(&self) -> Watchdog {
        let now = Arc::clone(&self.now);
        let stop = Arc::new(());
        let weak = Arc::downgrade(&stop);
        let rank = self.rank();
        std::thread::spawn(move || {
            while weak.strong_count() > 0 {
                if let Some((name, since)) = *now.lock()
                    && since.elapsed() > PATIENCE
                {
                    eprintln!("case {name:?} hangs on rank {rank}");
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Watchdog(stop)
    }
}

/// Dropping it sends the watchdog home.
struct Watchdog(#[allow(dead_code, reason = "only its life matters")] Arc<()>);

/// An error unless something holds.
pub fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(what())) }
}
