//! Sessions: what a program talks to.

mod action;
mod analyze;
mod builder;
mod catalog;
mod cluster;
mod collected;
mod create;
mod edges;
mod insert;
mod leaves;
mod leftovers;
mod local;
mod morsels;
mod persist;
mod progress;
mod rank;
mod read;
mod statement;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bireme_engine::cancel::Cancel;
use bireme_engine::error::{Error, Result};
use bireme_engine::machine::{Cluster, Machine, Rates};
use bireme_engine::metrics::Progress;
use bireme_engine::peers::Peers;
use bireme_engine::scratch::Scratch;
use bireme_operators::{Accelerator, DeviceReport};
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;

pub use builder::{Device, Fault, SessionBuilder};
pub use leftovers::Leftovers;
pub use progress::{Canceller, ProgressHandle, ProgressSnapshot};
pub(crate) use rank::Rank;

use crate::array::ArrayPlans;
use crate::frame::DataFrame;

/// Where programs start: it finds cores and ranks, knows tables, and runs queries. Clones are the same session.
///
/// One program runs on every rank and calls the same methods in the same order. With `local_ranks(n)` the ranks are
/// threads of this process and `main` runs once.
///
/// ```
/// use bireme::prelude::*;
/// let session = Session::new()?;
/// let frame = session.sql("SELECT 1 + 1 AS two")?;
/// assert_eq!(frame.count()?, 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    /// Tables, views, settings; for making programs, not for running them.
    context: SessionContext,
    /// The ranks of this process, ascending: all of them, or one under MPI.
    ranks: Vec<Rank>,
    cancel: Cancel,
    progress: Progress,
    /// Bytes the current action will read, for progress.
    bytes_total: AtomicU64,
    /// Bytes that exchanges sent to other ranks.
    bytes_sent: AtomicU64,
    array_bytes_sent: AtomicU64,
    /// Graphs that were kept.
    graphs: AtomicU64,
    /// Nanoseconds spent planning, over all statements and actions.
    planning: AtomicU64,
    /// Actions so far; held while one runs, so that actions run one after the other.
    actions: Mutex<u64>,
    /// Tables over files, by full name: where INSERT adds files.
    externals: Mutex<std::collections::BTreeMap<String, insert::External>>,
    /// Numbers anonymous tables.
    tables: AtomicU64,
    /// Plans of arrays, by their programs.
    array_plans: Mutex<ArrayPlans>,
    options: Options,
    machine: Machine,
    cluster: Cluster,
    /// Plans are for a machine that is not there.
    only_plans: bool,
    closed: AtomicBool,
    /// The processes of the other ranks.
    peers: Peers,
    leftovers: Leftovers,
    // Removed with everything in it when the session ends.
    scratch: Scratch,
}

/// What the builder was told, with defaults filled in.
#[derive(Clone, Debug)]
struct Options {
    /// Lanes over all ranks.
    lanes: usize,
    timeout: Duration,
    overwrite: bool,
    #[allow(dead_code, reason = "arrays are given theirs; tables do not draw yet")]
    seed: u64,
    /// Arrays of fewer elements lie on every rank.
    arrays_whole_below: usize,
}

impl Session {
    /// A session with defaults: all cores this process may use, no memory limit, the ranks it was started with. Where it was started
    /// alone, `$BIREME_LOCAL_RANKS` says on how many ranks within this process it runs, which is for trying a program out.
    ///
    /// # Errors
    /// That is no number; and as [`SessionBuilder::build`].
    pub fn new() -> Result<Self> {
        let builder = Self::builder();
        match std::env::var("BIREME_LOCAL_RANKS").ok().filter(|ranks| !ranks.is_empty()) {
            Some(ranks) => match ranks.parse() {
                Ok(ranks) => builder.local_ranks(ranks).build(),
                Err(_) => Err(Error::user(format!("BIREME_LOCAL_RANKS is {ranks:?}, and a number of ranks is wanted"))),
            },
            None => builder.build(),
        }
    }

    /// A session on the ranks of a communicator of a program that uses MPI itself: Bireme is a guest there.
    ///
    /// All ranks of the communicator must call this. The program starts MPI with `MPI_THREAD_MULTIPLE`, since the session
    /// has a thread of its own that calls it, and ends MPI after the session is gone. Messages are kept apart by a copy of
    /// the communicator.
    ///
    /// ```no_run
    /// use bireme::mpi::environment::Threading;
    /// use bireme::mpi::topology::{Color, Communicator as _};
    /// use bireme::prelude::*;
    ///
    /// let (universe, _) = bireme::mpi::initialize_with_threading(Threading::Multiple).unwrap();
    /// let world = universe.world();
    /// let session = Session::from_communicator(world.split_by_color(Color::with_value(world.rank() % 2)))?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// This process is in no communicator, MPI is not running or was started for fewer threads; and as
    /// [`SessionBuilder::build`].
    #[cfg(feature = "mpi")]
    pub fn from_communicator(communicator: impl Into<Option<mpi::topology::SimpleCommunicator>>) -> Result<Self> {
        Self::builder().communicator(communicator)?.build()
    }

    /// A session with settings.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// This process's rank, from 0; with local ranks always 0.
    pub fn rank(&self) -> usize {
        self.inner.ranks[0].number
    }

    /// How many ranks the job has.
    pub fn ranks(&self) -> usize {
        self.inner.ranks[0].control.ranks()
    }

    /// Whether this process prints: true on rank 0.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// What this machine is.
    pub fn machine(&self) -> &Machine {
        &self.inner.machine
    }

    /// What ran on the devices of this process's ranks so far, one for each, and what on the CPU instead, with the reasons.
    ///
    /// ```
    /// use bireme::Device;
    /// use bireme::prelude::*;
    /// let session = Session::builder().device(Device::Cpu).build()?;
    /// assert!(session.device_reports().is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn device_reports(&self) -> Vec<DeviceReport> {
        self.local_ranks().iter().filter_map(|rank| rank.accelerator.as_ref()).map(Accelerator::report).collect()
    }

    /// The machine of the whole job, as plans see it.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Measures how fast this machine is, which takes some tenths of a second, and keeps the result for sessions that start later
    /// (in `$BIREME_CACHE_DIR`, else `$XDG_CACHE_HOME/bireme` or `~/.cache/bireme`). Other work that runs meanwhile makes it
    /// look slower.
    ///
    /// # Errors
    /// The result cannot be written.
    pub fn measure_machine(&self) -> Result<Rates> {
        cluster::measure_and_keep(&self.inner.machine)
    }

    /// The directory of this session's temporary files.
    pub fn temp_dir(&self) -> PathBuf {
        self.inner.scratch.path().to_path_buf()
    }

    /// A handle with which another thread can stop what runs.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(self.inner.cancel.clone())
    }

    /// What is known of the processes of the other ranks: whether one is lost, and what this rank was doing then.
    pub fn peers(&self) -> Peers {
        self.inner.peers.clone()
    }

    /// What to take away if this process must end at once.
    pub fn leftovers(&self) -> Leftovers {
        self.inner.leftovers.clone()
    }

    /// A handle with which another thread can see how far the current action is.
    pub fn progress_handle(&self) -> ProgressHandle {
        ProgressHandle::new(&self.inner)
    }

    /// How far the current action is.
    pub fn progress(&self) -> ProgressSnapshot {
        self.progress_handle().snapshot()
    }

    /// Bytes read so far from each file, over the ranks of this process.
    pub fn bytes_read(&self) -> std::collections::BTreeMap<String, u64> {
        let mut read = std::collections::BTreeMap::new();
        for rank in &self.inner.ranks {
            for (file, bytes) in rank.reads.per_file() {
                *read.entry(file).or_default() += bytes;
            }
        }
        read
    }

    /// Ends the ranks. Every rank calls it, after its last action; a dropped session closes itself.
    ///
    /// # Errors
    /// Another rank does not arrive in time, or was lost.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }

    /// Runs a statement. Queries are lazy and come back as a DataFrame; `CREATE`, `DROP`, `SET`, `INSERT` and `COPY` run
    /// at once, once per job, and come back with what they report.
    ///
    /// # Errors
    /// The text is not SQL (line, column and a caret are in the message), a table or column does not exist (with the
    /// nearest name), types do not fit, or running it fails.
    pub fn sql(&self, text: &str) -> Result<DataFrame> {
        statement::run(self, text)
    }

    /// A registered table.
    ///
    /// # Errors
    /// There is no such table; the message has the nearest name.
    pub fn table(&self, name: &str) -> Result<DataFrame> {
        let lazy = self.wait(self.inner.context.table(name))?;
        Ok(self.frame(lazy))
    }

    /// Waits for DataFusion's planning futures; they wait for nothing themselves.
    fn wait<T>(&self, future: impl Future<Output = datafusion::common::Result<T>>) -> Result<T> {
        self.inner.ranks[0].runtime.block_on(async { future.await.map_err(|error| self.explain_error(error)) })
    }

    /// Counts the time that a step of planning takes.
    fn planning<T>(&self, step: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let made = step();
        self.planned_in(started.elapsed());
        made
    }

    fn planned_in(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.inner.planning.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Whether both are the same session.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The ranks of this process, ascending.
    pub(crate) fn local_ranks(&self) -> &[Rank] {
        &self.inner.ranks
    }

    pub(crate) fn plans_of_arrays(&self) -> &Mutex<ArrayPlans> {
        &self.inner.array_plans
    }

    pub(crate) fn arrays_whole_below(&self) -> usize {
        self.inner.options.arrays_whole_below
    }

    /// The number of a new action; no other begins while it is held.
    pub(crate) fn start_action(&self) -> Result<parking_lot::MutexGuard<'_, u64>> {
        if self.inner.only_plans {
            return Err(Error::user(
                "this session plans for a machine that is not here: arrays can be explained, not computed",
            ));
        }
        let mut number = self.inner.actions.lock();
        *number += 1;
        Ok(number)
    }

    /// Lanes over all ranks.
    fn lanes(&self) -> usize {
        self.inner.options.lanes
    }

    fn frame(&self, lazy: datafusion::dataframe::DataFrame) -> DataFrame {
        DataFrame::new(self.clone(), lazy)
    }

    /// A frame over rows that every rank has.
    fn rows(&self, batch: RecordBatch) -> Result<DataFrame> {
        let lazy = self.inner.context.read_batch(batch).map_err(|error| self.explain_error(error))?;
        Ok(self.frame(lazy))
    }

    /// A frame without columns or rows: the answer of `CREATE` and the like.
    fn nothing(&self) -> Result<DataFrame> {
        let lazy = self.inner.context.read_empty().map_err(|error| self.explain_error(error))?;
        let none: Vec<datafusion::logical_expr::Expr> = Vec::new();
        let lazy = lazy.filter(datafusion::logical_expr::lit(false)).and_then(|lazy| lazy.select(none));
        Ok(self.frame(lazy.map_err(|error| self.explain_error(error))?))
    }

    pub(crate) fn overwrites(&self) -> bool {
        self.inner.options.overwrite
    }

    /// The sums of two counts over the processes of the job.
    pub(crate) fn sum_over_ranks(&self, label: &str, ours: (u64, u64)) -> Result<(u64, u64)> {
        match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => {
                let all = rank.control.all_gather_values(label, &ours)?;
                Ok(all.into_iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1)))
            }
            _ => Ok(ours),
        }
    }

    /// What each process of the job says, by rank; of ranks that are threads of this process there is one.
    pub(crate) fn on_all_ranks<T>(&self, label: &str, ours: &T) -> Result<Vec<T>>
    where
        T: bincode::Encode + bincode::Decode<()> + Clone,
    {
        match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => rank.control.all_gather_values(label, ours),
            _ => Ok(vec![ours.clone()]),
        }
    }

    /// What only one process may decide: rank 0's answer, on every rank.
    pub(crate) fn decide_on_root<T>(&self, label: &str, decide: impl FnOnce() -> Result<T>) -> Result<T>
    where
        T: bincode::Encode + bincode::Decode<()>,
    {
        // Ranks that are threads share this process: whatever it decides is decided for all of them.
        match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => rank.control.decide_on_root(label, decide),
            _ => decide(),
        }
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.peers.close();
        let closed = self.close_ranks();
        self.peers.end();
        let lost = self.peers.lost();
        if lost.is_some() {
            self.leftovers.remove_of_lost();
        }
        lost.map_or(closed, Err)
    }

    fn close_ranks(&self) -> Result<()> {
        let timeout = self.options.timeout;
        match self.ranks.as_slice() {
            [rank] => rank.communicator.close(timeout),
            // Ranks wait for each other when they close, so local ones close side by side.
            ranks => std::thread::scope(|scope| {
                let closing = ranks.iter().map(|rank| scope.spawn(|| rank.communicator.close(timeout)));
                let closing = closing.collect::<Vec<_>>();
                let closed = closing.into_iter().map(|thread| {
                    thread.join().unwrap_or_else(|_| Err(Error::internal("a rank panicked while it closed")))
                });
                closed.collect::<Result<Vec<()>>>().map(drop)
            }),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "closing a session");
        }
    }
}
