//! Settings of a session, and how it starts.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bireme_connectors::store::register_stores;
use bireme_engine::activity::Activity;
use bireme_engine::budget::Budget;
use bireme_engine::cancel::Cancel;
use bireme_engine::comm::Communicator;
use bireme_engine::comm::local::LocalCommunicator;
#[cfg(feature = "mpi")]
use bireme_engine::comm::mpi::{MpiCommunicator, MpiOptions};
use bireme_engine::control::{Control, DEFAULT_TIMEOUT};
use bireme_engine::device::Device as EngineDevice;
#[cfg(feature = "mpi")]
use bireme_engine::error::ErrorKind;
use bireme_engine::error::{Error, Result};
use bireme_engine::launch::{self, Launch};
use bireme_engine::machine::{Cluster, Machine};
use bireme_engine::metrics::Progress;
use bireme_engine::peers::{Card, Peers};
use bireme_engine::run::RankContext;
use bireme_engine::scratch::Scratch;
use bireme_engine::switchboard::Switchboard;
use bireme_engine::workers::Workers;
use bireme_operators::Accelerator;
use bireme_operators::array::keep_no_memory;
use bireme_operators::errors::from_datafusion;
use bireme_operators::island::IslandRuntime;
use bireme_operators::{overflow, tensor};
use bireme_planner::front::table_functions;
use bireme_planner::physical::{PlansExtensions, Shape, configure, rules};
use bireme_planner::place::{CostMapper, FixedMapper, JoinWay, Mapper, RandomMapper};
use bireme_planner::rewrite::logical_rules;
use bireme_planner::stage::NativeWorld;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
#[cfg(feature = "mpi")]
use mpi::topology::SimpleCommunicator;
use parking_lot::Mutex;

use super::cluster;
use super::leaves::SessionLeaves;
use super::leftovers::Leftovers;
use super::morsels::SessionMorsels;
use super::rank::Rank;
use super::{Inner, Options, Session};

/// Arrays of fewer elements lie on every rank: what is half a MiB of `f64` is thought to cost less to compute than to tell of.
/// A guess.
const ARRAYS_WHOLE_BELOW: usize = 1 << 16;

/// On what stages run by preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Whatever the mapper finds fastest; for now that is always the CPU.
    #[default]
    Auto,
    /// Only the CPU.
    Cpu,
    /// A GPU for each rank, and the CPU for what has no kernel: EXPLAIN says what that is.
    Gpu,
    /// As [`Device::Gpu`], on an emulation of one that compiles the same kernels with the system's C++ compiler: for tests.
    Emulated,
}

impl FromStr for Device {
    type Err = Error;

    /// Reads `auto`, `cpu`, `gpu` and `emulated`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            "emulated" => Ok(Self::Emulated),
            _ => {
                Err(Error::user(format!("no device is called `{text}`; there are `auto`, `cpu`, `gpu` and `emulated`")))
            }
        }
    }
}

/// Failures that tests bring about.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Planning fails on this rank.
    Planning(usize),
}

/// Settings of a session; each has a default.
#[derive(Clone, Debug, Default)]
pub struct SessionBuilder {
    threads: Option<usize>,
    memory_limit: Option<u64>,
    temp_dir: Option<PathBuf>,
    batch_rows: Option<usize>,
    device: Device,
    seed: u64,
    arrays_whole_below: Option<usize>,
    local_ranks: Option<usize>,
    random_mapper: Option<u64>,
    mapper: Option<Arc<dyn Mapper>>,
    joins: Option<JoinWay>,
    cluster: Option<Cluster>,
    timeout: Option<Duration>,
    overwrite: bool,
    fault: Option<Fault>,
    #[cfg(feature = "mpi")]
    communicator: Option<Arc<MpiCommunicator>>,
}

impl SessionBuilder {
    /// Threads of this process, shared by its ranks; by default as many as its affinity mask has cores.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Bytes this process may hold in hash tables, sorts and queues before it spills; by default no limit.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where temporary files go; by default the system's directory for them.
    #[must_use]
    pub fn temp_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(directory.into());
        self
    }

    /// Rows of a batch, 8192 by default.
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// On what stages run by preference.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Arrays of fewer elements lie on every rank; larger ones are cut along their first axis [default: 65,536].
    pub fn arrays_whole_below(mut self, elements: usize) -> Self {
        self.arrays_whole_below = Some(elements);
        self
    }

    /// The seed of everything random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the job on so many ranks that are threads of this process. Not under `mpirun`.
    #[must_use]
    pub fn local_ranks(mut self, ranks: usize) -> Self {
        self.local_ranks = Some(ranks);
        self
    }

    /// Places lanes at random: answers must not change.
    #[must_use]
    pub fn random_mapper(mut self, seed: u64) -> Self {
        self.random_mapper = Some(seed);
        self
    }

    /// Decides what plans leave open, in place of costs: see [`crate::mapper`].
    #[must_use]
    pub fn mapper(mut self, mapper: impl Mapper + 'static) -> Self {
        self.mapper = Some(Arc::new(mapper));
        self
    }

    /// Has all joins between ranks meet this way, where that gives the right answer; by default the cheapest way is taken.
    #[must_use]
    pub fn joins(mut self, way: JoinWay) -> Self {
        self.joins = Some(way);
        self
    }

    /// Plans for the machine that this file (TOML) describes in place of the one that is there: queries can be explained, but not
    /// run.
    ///
    /// ```toml
    /// nodes = 128
    /// ranks_per_node = 8
    /// threads = 16                       # of a rank
    ///
    /// [rates.between]                    # between nodes; `rates.on_node` and others have defaults
    /// latency = 2e-6                     # seconds
    /// bandwidth = 25e9                   # bytes a second of a node
    /// ```
    ///
    /// # Errors
    /// The file cannot be read, or describes no machine.
    pub fn plan_for(mut self, file: impl AsRef<Path>) -> Result<Self> {
        self.cluster = Some(cluster::read(file.as_ref())?);
        Ok(self)
    }

    /// How long a rank waits for another that gives no sign, 10 minutes by default. To be set before a communicator is given.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets `COPY` and writes replace what is there.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Runs the job on the ranks of a communicator of a program that uses MPI itself; see [`Session::from_communicator`].
    ///
    /// # Errors
    /// As [`Session::from_communicator`].
    #[cfg(feature = "mpi")]
    pub fn communicator(mut self, communicator: impl Into<Option<SimpleCommunicator>>) -> Result<Self> {
        let given = communicator.into();
        let given =
            given.ok_or_else(|| Error::user("this process is in no communicator (its colour was undefined)"))?;
        let started = MpiCommunicator::over(&given, self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        if started.as_ref().is_err_and(|error| error.kind() == ErrorKind::PeerLost) {
            // MPI still waits for the other ranks of this communicator, so it must not be freed.
            std::mem::forget(given);
        }
        self.communicator = Some(started?);
        Ok(self)
    }

    /// Makes something fail.
    #[doc(hidden)]
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Starts the session: finds the ranks, starts threads, makes the temporary directory.
    ///
    /// # Errors
    /// A setting makes no sense; the process was started under `mpirun` or `srun` but built without the feature `mpi`;
    /// the temporary directory cannot be used.
    pub fn build(self) -> Result<Session> {
        let launch = launch::detect();
        launch::refuse_without_mpi(&launch)?;
        self.check(&launch)?;
        let communicators = self.communicators(&launch)?;
        let here = communicators.len();
        let (size, first) = (communicators[0].size(), communicators[0].rank());
        let cancel = Cancel::new();
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let switchboards = communicators.iter().map(|communicator| Switchboard::new(Arc::clone(communicator)));
        let switchboards = switchboards.collect::<Vec<_>>();
        let control = Control::new(switchboards[0].clone(), cancel.clone(), timeout);

        let activity = Activity::default();
        let scratch = Scratch::make(&self.temp_dir.clone().unwrap_or_else(std::env::temp_dir));
        let peers = if size > here {
            let card = scratch.as_ref().map(|scratch| Card::own(scratch.path())).map_err(Clone::clone);
            Peers::meet(&switchboards[0], &control, cancel.clone(), activity.clone(), card)?
        } else {
            Peers::none()
        };
        let scratch = scratch?;

        let machine = Machine::probe(size, first);
        let threads = self.threads_per_rank(&machine, &launch, here, &control)?;
        let progress = Progress::new();
        let cluster = match self.cluster.clone() {
            Some(cluster) => cluster,
            None => cluster::find(&control, &machine, here, threads)?,
        };
        let start = Start {
            builder: &self,
            threads,
            cluster: &cluster,
            temp: scratch.path(),
            cancel: &cancel,
            progress: &progress,
            activity: &activity,
            here,
            timeout,
        };
        let accelerators = self.accelerators(first, here, machine.gpus.len(), &control)?;
        // A plan that is only looked at needs no lane for each thread of a machine that is not there.
        let lanes = if self.cluster.is_some() { cluster.ranks() } else { size * threads };
        let shape = Shape { ranks: cluster.ranks(), lanes };
        let ranks = communicators
            .into_iter()
            .zip(switchboards)
            .zip(accelerators.into_iter().map(Some).chain(std::iter::repeat(None)))
            .map(|((communicator, switchboard), accelerator)| start.rank(communicator, switchboard, accelerator));
        let ranks = ranks.collect::<Result<Vec<_>>>()?;
        let inner = Inner {
            context: self.context(shape)?,
            ranks,
            cancel,
            progress,
            bytes_total: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            array_bytes_sent: AtomicU64::new(0),
            planning: AtomicU64::new(0),
            actions: Mutex::new(0),
            externals: Mutex::default(),
            tables: AtomicU64::new(0),
            graphs: AtomicU64::new(0),
            array_plans: Mutex::default(),
            options: Options {
                lanes: shape.lanes,
                timeout,
                overwrite: self.overwrite,
                seed: self.seed,
                arrays_whole_below: self.arrays_whole_below.unwrap_or(ARRAYS_WHOLE_BELOW),
            },
            machine,
            cluster: cluster.clone(),
            only_plans: self.cluster.is_some(),
            closed: AtomicBool::new(false),
            leftovers: Leftovers::new(scratch.path().to_path_buf(), peers.clone()),
            peers,
            scratch,
        };
        Ok(Session { inner: Arc::new(inner) })
    }

    fn check(&self, launch: &Launch) -> Result<()> {
        let zero = [("threads", self.threads), ("batch_rows", self.batch_rows), ("local_ranks", self.local_ranks)];
        if let Some((name, _)) = zero.iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::user(format!("{name} must be at least 1")));
        }
        #[cfg(feature = "mpi")]
        if self.communicator.is_some() && self.local_ranks.is_some_and(|ranks| ranks > 1) {
            return Err(Error::user(
                "local ranks and a communicator do not go together: the ranks are the communicator's",
            ));
        }
        if launch.ranks > 1 && self.local_ranks.is_some_and(|ranks| ranks > 1) {
            return Err(Error::user(format!(
                "local ranks and {} do not go together: this process is already one of {} ranks",
                launch.launcher, launch.ranks
            )));
        }
        Ok(())
    }

    fn communicators(&self, launch: &Launch) -> Result<Vec<Arc<dyn Communicator>>> {
        #[cfg(feature = "mpi")]
        if let Some(given) = &self.communicator {
            return Ok(vec![Arc::clone(given) as Arc<dyn Communicator>]);
        }
        #[cfg(feature = "mpi")]
        if launch.ranks > 1 {
            let patience = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
            let options = MpiOptions { patience, ..MpiOptions::default() };
            let communicator: Arc<dyn Communicator> = MpiCommunicator::init_with(options)?;
            return Ok(vec![communicator]);
        }
        let _ = launch;
        let group = LocalCommunicator::group(self.local_ranks.unwrap_or(1));
        Ok(group.into_iter().map(|communicator| communicator as Arc<dyn Communicator>).collect())
    }

    /// The same number on every rank, or the ranks would plan for different lanes: rank 0's.
    fn threads_per_rank(&self, machine: &Machine, launch: &Launch, here: usize, control: &Control) -> Result<usize> {
        let cores = machine.affinity.len().max(1);
        // More threads than the machine has cores is the user's choice; a mask that hides cores rarely is.
        let hidden = cores < machine.cores_online;
        if let Some(threads) = self.threads.filter(|&threads| threads > cores && hidden) {
            let hint = if launch.ranks > 1 { "; mpirun pins ranks to cores unless told `--bind-to none`" } else { "" };
            tracing::warn!(threads, cores, "fewer cores than threads{hint}");
            if first_process(launch) {
                warn(&format!("this process may use {cores} cores, but {threads} threads were asked for{hint}"));
            }
        }
        let threads = self.threads.unwrap_or_else(|| match launch::local_size() {
            // Ranks that are not pinned share the cores of their host.
            Some(neighbours) if here == 1 && cores > 1 => (cores / neighbours.max(1)).max(1),
            _ => cores,
        });
        let threads = (threads / here).max(1);
        if control.ranks() > here { control.decide_on_root("threads", || Ok(threads)) } else { Ok(threads) }
    }

    /// What each rank of this process runs kernels on; ranks of a host take its GPUs in turn. Nothing where the CPU does it all. A rank
    /// that has no such device ends all of them.
    fn accelerators(&self, first: usize, here: usize, gpus: usize, control: &Control) -> Result<Vec<Accelerator>> {
        let device = |rank: usize| match self.device {
            Device::Gpu => EngineDevice::gpu(rank % gpus.max(1)),
            _ => EngineDevice::emulated(),
        };
        if matches!(self.device, Device::Auto | Device::Cpu) {
            return Ok(Vec::new());
        }
        let made = (first..first + here).map(|rank| device(rank).map(Accelerator::new)).collect::<Result<Vec<_>>>();
        if control.ranks() > here {
            let ours = made.as_ref().map(|_| ()).map_err(Clone::clone);
            let all = control.all_gather_values("devices", &ours)?;
            if let Some((rank, error)) = all.into_iter().enumerate().find_map(|(rank, ours)| Some((rank, ours.err()?)))
            {
                return Err(error.context(format!("rank {rank}")));
            }
        }
        made
    }

    /// DataFusion's context, for making programs.
    fn context(&self, shape: Shape) -> Result<SessionContext> {
        let mut config = SessionConfig::new().with_default_catalog_and_schema("bireme", "public");
        if let Some(rows) = self.batch_rows {
            config = config.with_batch_size(rows);
        }
        configure(config.options_mut(), shape);
        let environment = RuntimeEnvBuilder::new().build_arc().map_err(from_datafusion)?;
        register_stores(&environment, &[])?;
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(environment)
            .with_optimizer_rules(logical_rules())
            .with_physical_optimizer_rules(rules(shape))
            .with_relation_planners(table_functions())
            .with_query_planner(Arc::new(PlansExtensions));
        Ok(SessionContext::new_with_state(tensor::install(overflow::install(state)).build()))
    }
}

/// What all ranks of this process start with.
struct Start<'a> {
    builder: &'a SessionBuilder,
    threads: usize,
    cluster: &'a Cluster,
    temp: &'a std::path::Path,
    cancel: &'a Cancel,
    progress: &'a Progress,
    activity: &'a Activity,
    here: usize,
    timeout: Duration,
}

impl Start<'_> {
    fn rank(
        &self,
        communicator: Arc<dyn Communicator>,
        switchboard: Switchboard,
        accelerator: Option<Accelerator>,
    ) -> Result<Rank> {
        let number = communicator.rank();
        let limit =
            self.builder.memory_limit.map(|bytes| usize::try_from(bytes / self.here as u64).unwrap_or(usize::MAX));
        let budget = Budget::new(limit);
        if limit.is_some() {
            keep_no_memory();
        }
        let runtime = IslandRuntime::start(number, self.threads, budget.clone(), self.temp)?;
        let workers = Arc::new(Workers::start(number, self.threads, self.temp)?);
        let reads = register_stores(runtime.environment(), &[])?;
        let leaves = Arc::new(SessionMorsels::new(Arc::clone(&reads)));
        let mapper: Arc<dyn Mapper> = match (&self.builder.mapper, self.builder.random_mapper, self.builder.joins) {
            (Some(mapper), ..) => Arc::clone(mapper),
            (None, Some(seed), _) => Arc::new(RandomMapper::new(seed)),
            (None, None, Some(way)) => Arc::new(FixedMapper::joins(way)),
            (None, None, None) => Arc::new(CostMapper),
        };
        let mut context = RankContext::new(switchboard);
        context.budget = budget;
        context.temp_dir = self.temp.to_path_buf();
        context.batch_rows = self.builder.batch_rows.unwrap_or(context.batch_rows);
        context.timeout = self.timeout;
        context.cancel = self.cancel.clone();
        context.progress = self.progress.clone();
        if self.here == 1 {
            context.activity = self.activity.clone();
        }
        let control = context.control();
        Ok(Rank {
            number,
            control,
            context,
            runtime: Arc::new(runtime),
            reads,
            communicator,
            slicer: Arc::new(SessionLeaves::default()),
            native: Some(NativeWorld { workers, accelerator: accelerator.clone(), leaves }),
            mapper,
            cluster: self.cluster.clone(),
            accelerator,
            planning_fails: self.builder.fault == Some(Fault::Planning(number)),
        })
    }
}

fn first_process(launch: &Launch) -> bool {
    launch.rank == 0
}

/// Said on standard error, because a program that is slow for this reason has no other place to look.
fn warn(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}
