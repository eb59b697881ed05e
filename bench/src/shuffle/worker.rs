//! One rank of the job.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bireme::engine::budget::Budget;
use bireme::engine::comm::Communicator as _;
use bireme::engine::comm::mpi::MpiCommunicator;
use bireme::engine::control::DEFAULT_TIMEOUT;
use bireme::engine::run::RankContext;
use bireme::engine::stage::Route;
use bireme::engine::switchboard::Switchboard;
use bireme::mpi;
use bireme::mpi::collective::SystemOperation;
use bireme::mpi::environment::Threading;
use bireme::mpi::topology::{Communicator as _, SimpleCommunicator};
use bireme::mpi::traits::CommunicatorCollectives as _;
use bireme::prelude::{Error, Result};

use super::data::{Rows, bytes_of};
use super::plain::{self, AllToAll};
use super::staged::{ByKey, Load, moved};
use super::{Measured, ShuffleWorker};

/// Bytes of a rank's rows that are kept; more are the same over again.
const KEPT: u64 = 64 << 20;
/// Skewed and limited cases are of the largest size up to this.
const LARGEST_SPECIAL: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures all cases; rank 0 prints each as a line of JSON.
///
/// # Errors
/// MPI does not start; rows are lost; a rank is lost.
pub(crate) fn run(arguments: &ShuffleWorker) -> Result<()> {
    let started = mpi::initialize_with_threading(Threading::Multiple);
    let (universe, _) = started.ok_or_else(|| Error::internal("MPI runs already"))?;
    let world = universe.world();
    let communicator = MpiCommunicator::over(&world, DEFAULT_TIMEOUT)?;
    let context = RankContext::new(Switchboard::new(Arc::clone(&communicator) as _));
    let mut rank = Rank { world, context, actions: 0, runs: arguments.runs };
    for &bytes in &arguments.bytes {
        for &rows in &arguments.rows {
            rank.case(rows, bytes, false, false)?;
        }
    }
    let special = arguments.bytes.iter().copied().filter(|&bytes| bytes <= LARGEST_SPECIAL).max();
    for bytes in special.into_iter() {
        for &rows in &arguments.rows {
            rank.case(rows, bytes, true, false)?;
            rank.case(rows, bytes, false, true)?;
        }
    }
    communicator.close(PATIENCE)
}

struct Rank {
    world: SimpleCommunicator,
    context: RankContext,
    actions: u64,
    runs: u32,
}

impl Rank {
    fn case(&mut self, rows: Rows, bytes: u64, skewed: bool, limited: bool) -> Result<()> {
        let (rank, ranks) = (self.world.rank() as usize, self.world.size() as usize);
        let of_rank = bytes / ranks as u64;
        let batches = rows.batches(rank, of_rank.min(KEPT))?;
        let kept = batches.iter().map(bytes_of).sum::<u64>();
        let repeat = (of_rank / kept).max(1) as usize;
        let moves = kept * repeat as u64;
        let load = Load { schema: rows.schema(), batches: Arc::new(batches), repeat };
        let limit = limited.then_some(moves / 10);
        self.context.budget = Budget::new(limit.map(|bytes| bytes as usize));
        let mut all_to_all = AllToAll::new(&self.world, moves, skewed)?;
        let key = ByKey { skewed };
        let mut best = [f64::INFINITY; 5];
        for round in 0..=self.runs {
            let times = [
                self.timed(|rank| Ok(all_to_all.run(&rank.world)))?,
                self.timed(|_| plain::partition(&load, &key, ranks))?,
                self.timed(|rank| rank.exchange(&load, Route::Spread))?,
                self.timed(|rank| rank.exchange(&load, Route::Hash(Arc::new(ByKey { skewed }))))?,
                // One process has all cores for it, as all ranks together have for the others.
                self.timed(
                    |rank| if rank.world.rank() == 0 { plain::datafusion(&load, ranks) } else { Ok(Duration::ZERO) },
                )?,
            ];
            if round > 0 {
                best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
            }
        }
        let [alltoallv, partition, transfer, end_to_end, datafusion] = best.map(|seconds| moves as f64 / seconds);
        let measured = Measured {
            rows,
            skewed,
            memory_limit: limit,
            bytes: moves * ranks as u64,
            alltoallv,
            partition,
            transfer,
            end_to_end,
            datafusion,
        };
        if rank == 0 {
            let line = serde_json::to_string(&measured).map_err(|error| Error::internal(error.to_string()))?;
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(())
    }

    /// The seconds that the slowest rank takes; all begin together.
    fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<Duration>) -> Result<f64> {
        self.world.barrier();
        let time = work(self)?.as_secs_f64();
        let mut slowest = 0.0;
        self.world.all_reduce_into(&time, &mut slowest, SystemOperation::max());
        Ok(slowest)
    }

    fn exchange(&mut self, load: &Load, route: Route) -> Result<Duration> {
        self.actions += 1;
        let (time, got) = moved(load, route, self.actions, &self.context)?;
        let mut of_all = 0_u64;
        self.world.all_reduce_into(&got, &mut of_all, SystemOperation::sum());
        let rows = load.batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>() * load.repeat as u64;
        let mut sent = 0_u64;
        self.world.all_reduce_into(&rows, &mut sent, SystemOperation::sum());
        if of_all != sent {
            return Err(Error::internal(format!("{of_all} rows of {sent} arrived")));
        }
        Ok(time)
    }
}
