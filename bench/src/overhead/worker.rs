//! One rank of a job, or the only one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bireme::engine::comm::local::LocalCommunicator;
use bireme::engine::control::Control;
use bireme::engine::run::RankContext;
use bireme::engine::switchboard::Switchboard;
use bireme::engine::workers::Workers;
use bireme::prelude::{Error, Result};

use super::metg::{Point, metg};
use super::pattern::Pattern;
use super::staged::Program;
use super::{Measured, Size, kernel};

/// The kernel's rate alone is the best of so many short tries a round: a long one always meets somebody else's work.
const TRIES: u32 = 10;
/// Microseconds of a try.
const TRY_US: f64 = 2000.0;
/// Kernels become shorter by half down to this many microseconds.
const SHORTEST_US: f64 = 0.5;

/// Measures in this process, as the only rank.
///
/// # Errors
/// A task got something else than its dependencies have sent.
pub(super) fn alone(size: &Size) -> Result<Vec<Measured>> {
    let communicator =
        LocalCommunicator::group(1).pop().ok_or_else(|| Error::internal("a group of one has no rank"))?;
    Rank::start(Switchboard::new(communicator), size)?.measure_all()
}

/// Measures as a rank under mpirun; rank 0 prints each pattern as a line of JSON.
///
/// # Errors
/// MPI does not start; a task got something else than its dependencies have sent; a rank is lost.
#[cfg(feature = "mpi")]
pub(crate) fn run(size: &Size) -> Result<()> {
    use std::io::Write as _;

    use bireme::engine::comm::Communicator as _;
    use bireme::engine::comm::mpi::MpiCommunicator;

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    let communicator = MpiCommunicator::init()?;
    let measured = Rank::start(Switchboard::new(Arc::clone(&communicator) as _), size)?.measure_all();
    match measured {
        Ok(measured) if communicator.rank() == 0 => {
            for case in measured {
                let line = serde_json::to_string(&case).map_err(|error| Error::internal(error.to_string()))?;
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
        Ok(_) => {}
        // The others fail likewise, or wait for this rank.
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            communicator.abort(1);
        }
    }
    communicator.close(PATIENCE)
}

struct Rank<'a> {
    size: &'a Size,
    context: RankContext,
    control: Control,
    workers: Arc<Workers>,
    cores: usize,
    actions: u64,
}

impl<'a> Rank<'a> {
    /// With its share of the cores.
    fn start(switchboard: Switchboard, size: &'a Size) -> Result<Self> {
        let (rank, ranks) = (switchboard.rank(), switchboard.ranks());
        let threads = (size.cores() / ranks).max(1);
        let context = RankContext::new(switchboard);
        let workers = Arc::new(Workers::start(rank, threads, &context.temp_dir)?);
        Ok(Self { size, control: context.control(), context, workers, cores: threads * ranks, actions: 0 })
    }

    fn measure_all(&mut self) -> Result<Vec<Measured>> {
        self.size.patterns.iter().map(|&pattern| self.measure(pattern)).collect()
    }

    /// Every round gives each length of the kernel a turn, so that what else the machine does meets all alike; the best
    /// of a length's rounds counts.
    fn measure(&mut self, pattern: Pattern) -> Result<Measured> {
        let per_us = self.most(kernel::per_microsecond())?;
        let lengths = lengths(self.size.longest_us(), per_us);
        let mut peak = 0.0_f64;
        let mut best = vec![f64::INFINITY; lengths.len()];
        for _ in 0..self.size.runs() {
            peak = peak.max(self.rate_alone(per_us)?);
            for (&iterations, best) in lengths.iter().zip(&mut best) {
                *best = best.min(self.time(pattern, iterations)?);
            }
        }
        let tasks = (self.size.steps() * self.cores) as f64;
        let point = |(&iterations, &seconds): (&u64, &f64)| Point {
            kernel_us: kernel::operations(iterations) / peak * self.cores as f64 * 1e6,
            granularity_us: seconds * self.cores as f64 / tasks * 1e6,
            efficiency: kernel::operations(iterations) * tasks / seconds / peak,
        };
        let points = lengths.iter().zip(&best).map(point).collect::<Vec<_>>();
        Ok(Measured {
            pattern,
            ranks: self.control.ranks(),
            cores: self.cores,
            steps: self.size.steps(),
            peak_gflops: peak / 1e9,
            metg_us: metg(&points),
            points,
        })
    }

    /// Operations a second of all cores, without any tasks: all work at once, and of each the best try counts.
    fn rate_alone(&mut self, per_us: f64) -> Result<f64> {
        let iterations = (TRY_US * per_us) as u64;
        let best = move || {
            let tried = |_| {
                let start = Instant::now();
                kernel::work(iterations);
                start.elapsed().as_secs_f64()
            };
            (0..TRIES).map(tried).fold(f64::INFINITY, f64::min)
        };
        self.control.barrier("kernel alone")?;
        let threads = (0..self.workers.threads()).map(|_| std::thread::spawn(best)).collect::<Vec<_>>();
        let rates = threads.into_iter().map(|thread| {
            let seconds = thread.join().map_err(|_| Error::internal("the kernel panicked"))?;
            Ok(kernel::operations(iterations) / seconds)
        });
        let ours = rates.sum::<Result<f64>>()?;
        Ok(self.control.all_gather_values("rates", &ours)?.into_iter().sum())
    }

    /// Seconds that the slowest rank takes for a program of tasks with so long a kernel.
    fn time(&mut self, pattern: Pattern, iterations: u64) -> Result<f64> {
        self.actions += 1;
        let program = Arc::new(Program {
            pattern,
            steps: self.size.steps(),
            columns: self.cores,
            iterations,
            workers: Arc::clone(&self.workers),
            done: AtomicU64::new(0),
        });
        self.control.barrier("program")?;
        let start = Instant::now();
        program.run(self.actions, &self.context)?;
        let seconds = self.most(start.elapsed().as_secs_f64())?;
        let done = self.control.all_gather_values("tasks", &program.done.load(Ordering::Relaxed))?;
        let (done, tasks) = (done.iter().sum::<u64>(), (program.steps * program.columns) as u64);
        if done != tasks {
            return Err(Error::internal(format!("{done} tasks of {tasks} were done")));
        }
        Ok(seconds)
    }

    /// The largest of all ranks' values.
    fn most(&self, value: f64) -> Result<f64> {
        Ok(self.control.all_gather_values("most", &value)?.into_iter().fold(value, f64::max))
    }
}

/// Iterations of the kernel: longest first, each half of the one before, and none at last.
fn lengths(longest_us: f64, per_us: f64) -> Vec<u64> {
    let halves = std::iter::successors(Some(longest_us), |length| Some(length / 2.0));
    let halves = halves.take_while(|&length| length >= SHORTEST_US);
    halves.map(|length| (length * per_us).round().max(1.0) as u64).chain([0]).collect()
}
