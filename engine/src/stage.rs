//! What is run: stages and the exchanges between them.
//!
//! The planner cuts a query at every exchange. What lies between two cuts is a *stage*; it runs in parallel *lanes*, and
//! its work is a [`Body`]. A [`StageGraph`] says what is computed; a [`PlacedPlan`] says also on which rank each lane runs.
//!
//! ```text
//!   stage 0 (scan, 4 lanes) ──exchange 0: hash──► stage 1 (aggregate, 4 lanes) ──exchange 1: keep──► stage 2 (merge, 1 lane) ──► sink
//! ```

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::run::StageTask;

/// A stage's number; the same in EXPLAIN, logs, metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub u32);

/// An exchange's number; the same in EXPLAIN, logs, metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u32);

/// A decision that ranks take while the plan runs; numbered within a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(pub u32);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

/// The work of one stage. A body is a factory: each run starts afresh from it, on every rank that has lanes of the stage.
pub trait Body: Debug + Send + Sync {
    /// Canonical text for EXPLAIN and for the plan's hash, one line a step: no addresses, no process-wide counters.
    fn lines(&self) -> Vec<String>;

    /// Whether its ranks talk in rounds: then a task has a [`Feedback`](crate::feedback::Feedback).
    fn feeds_back(&self) -> bool {
        false
    }

    /// Runs this rank's lanes: reads the task's inlets, pushes to its outlets, and finishes each outlet.
    ///
    /// The future must not block a thread while it waits for an inlet or an outlet.
    fn run(&self, task: StageTask) -> BoxFuture<'static, Result<()>>;
}

/// Decides for every row of a batch to which lane it goes.
pub trait Partitioner: Debug + Send + Sync {
    /// Canonical text, such as `hash(o_orderkey)`.
    fn describe(&self) -> String;

    /// Writes one lane (`0..lanes`) for each row of `batch` to `out`. The same row gets the same lane on every rank.
    ///
    /// # Errors
    /// A key expression fails on a row.
    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()>;

    /// Appends the hash of each row's key to `out`: a row's lane follows from it.
    ///
    /// # Errors
    /// It places rows by something else; or as for [`Partitioner::assign`].
    fn hashes(&self, _batch: &RecordBatch, _out: &mut Vec<u64>) -> Result<()> {
        Err(Error::internal(format!("{} places no rows by hash", self.describe())))
    }

    /// Whether some row could make it fail.
    fn may_fail(&self) -> bool {
        true
    }
}

/// How the rows of a stage reach the input lanes of the next one.
#[derive(Clone, Debug)]
pub enum Route {
    /// Each row to the lane its key hashes to.
    Hash(Arc<dyn Partitioner>),
    /// One side of a join whose ranks decide together how it meets the other, once they have seen some rows.
    Adaptive(Adaptive),
    /// Each row to the lane that holds its range of keys.
    Range(Arc<dyn Partitioner>),
    /// Whole batches in turn: among the input lanes on the producer's rank if there are any, else among all.
    RoundRobin,
    /// Whole batches in turn among all input lanes (a source with fewer lanes than ranks).
    Spread,
    /// Everything to input lane 0, in any order.
    Gather,
    /// Producer lane `i` to input lane `i`, in order (feeds an ordered merge, or moves lanes to other ranks).
    Keep,
    /// Everything to every input lane (one per consuming rank).
    Broadcast,
}

/// Which side of a join an exchange brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The rows that are kept in a hash table.
    Build,
    /// The rows that look for partners there.
    Probe,
}

/// How the rows of one side of a join move: by the hash of their keys, unless the ranks decide otherwise. Only for joins that
/// give
/// the right answer if each rank has all build rows, and the probe rows are anywhere.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// The keys.
    pub partitioner: Arc<dyn Partitioner>,
    /// Which decision; the exchange of the other side has the same.
    pub decision: DecisionId,
    /// Which side.
    pub side: Side,
    /// The build side goes to every rank if all of it has fewer bytes.
    pub broadcast_below: u64,
}

impl Route {
    /// Canonical text.
    pub fn describe(&self) -> String {
        match self {
            Route::Hash(partitioner) | Route::Range(partitioner) => partitioner.describe(),
            Route::Adaptive(Adaptive { partitioner, decision, side, broadcast_below }) => match side {
                Side::Build => {
                    format!("{} or broadcast below {broadcast_below} B ({decision})", partitioner.describe())
                }
                Side::Probe => format!("{} or in place, heavy keys split ({decision})", partitioner.describe()),
            },
            Route::RoundRobin => "round-robin".into(),
            Route::Spread => "spread".into(),
            Route::Gather => "gather".into(),
            Route::Keep => "keep-lanes".into(),
            Route::Broadcast => "broadcast".into(),
        }
    }
}

/// An edge of the graph: the rows of one stage, on their way to another.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its number: its place in [`StageGraph::exchanges`].
    pub id: ExchangeId,
    /// Whose rows they are.
    pub producer: StageId,
    /// Who reads them.
    pub consumer: StageId,
    /// How rows find their lane.
    pub route: Route,
    /// What the rows are.
    pub schema: SchemaRef,
    /// Each input lane ends after so many rows (a LIMIT that was on the cut node).
    pub fetch: Option<usize>,
    /// The producer never waits for this consumer: what is not read yet is kept in memory or spilled. Set where one
    /// stage has several consumers, which must not be lock-stepped.
    pub spooled: bool,
    /// It carries no rows of the producer but advice, by which the consumer may work less and for which it never waits. So it
    /// closes no cycle, and may come from a later stage.
    pub advice: bool,
}

/// Which lanes of the consuming stage read the input lanes of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Input lane `i` is read by stage lane `lanes[i]`.
    Lanes(Vec<usize>),
    /// One input lane on every rank that runs the stage (with [`Route::Broadcast`]).
    EveryRank,
}

/// One input of a stage.
#[derive(Clone, Debug)]
pub struct StageInput {
    /// The exchange it comes from.
    pub exchange: ExchangeId,
    /// Who reads it.
    pub feed: Feed,
}

/// Where a lane may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Anywhere: the mapper decides.
    Free,
    /// Only there: its data is on that rank, or its result is wanted there.
    Rank(usize),
}

/// Where the rows of a stage go.
#[derive(Clone, Debug)]
pub enum Output {
    /// To another stage.
    Exchange(ExchangeId),
    /// Out of the graph.
    Sink(Arc<dyn Sink>),
}

/// A part of the plan that runs without an exchange inside.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number: its place in [`StageGraph::stages`]. Producers have smaller numbers than their consumers.
    pub id: StageId,
    /// What it does.
    pub body: Arc<dyn Body>,
    /// Its parallel lanes and where each may run; never empty.
    pub lanes: Vec<Pin>,
    /// What it reads.
    pub inputs: Vec<StageInput>,
    /// Where its rows go; several outputs all get every row.
    pub outputs: Vec<Output>,
    /// Exchanges over which it gives advice, apart from its rows.
    pub advice: Vec<ExchangeId>,
    /// Stages that must have ended on a rank before this one starts there (scalar subqueries).
    pub after: Vec<StageId>,
}

/// Takes the rows of a result out of the graph.
pub trait Sink: Debug + Send + Sync {
    /// Canonical text for EXPLAIN, such as `collect` or `parquet files in out/`.
    fn describe(&self) -> String;

    /// Opens the part of one lane on one rank.
    ///
    /// # Errors
    /// The part cannot be created.
    fn open(&self, rank: usize, lane: usize) -> Result<Box<dyn LaneSink>>;
}

/// One lane's part of a sink.
pub trait LaneSink: Send {
    /// Takes a batch.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Ends the part. A part that is dropped without it leaves nothing behind.
    ///
    /// # Errors
    /// What was buffered cannot be written.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Stages and exchanges, not yet placed.
#[derive(Clone, Debug, Default)]
pub struct StageGraph {
    /// In order: producers before consumers.
    pub stages: Vec<Stage>,
    /// By number.
    pub exchanges: Vec<Exchange>,
    /// What a reader of EXPLAIN should know: fallbacks and their reasons.
    pub notes: Vec<String>,
}

/// A graph with a rank for every lane. Immutable.
#[derive(Clone, Debug)]
pub struct PlacedPlan {
    graph: StageGraph,
    ranks: usize,
    /// `lane_ranks[stage][lane]`
    lane_ranks: Vec<Vec<usize>>,
}

impl PlacedPlan {
    /// Checks and freezes a placement; `lane_ranks[stage][lane]` is the rank of each lane.
    ///
    /// # Errors
    /// The graph or the placement breaks a rule; always a bug of ours, the message says which.
    pub fn new(graph: StageGraph, ranks: usize, lane_ranks: Vec<Vec<usize>>) -> Result<Self> {
        let placed = Self { graph, ranks, lane_ranks };
        placed.graph.verify()?;
        for stage in &placed.graph.stages {
            let Some(map) = placed.lane_ranks.get(stage.id.0 as usize) else {
                return Err(Error::internal(format!("stage {} has no placement", stage.id)));
            };
            if map.len() != stage.lanes.len() {
                return Err(Error::internal(format!(
                    "stage {}: {} lanes, {} placed",
                    stage.id,
                    stage.lanes.len(),
                    map.len()
                )));
            }
            for (lane, (&rank, pin)) in map.iter().zip(&stage.lanes).enumerate() {
                let pinned_elsewhere = matches!(pin, Pin::Rank(want) if *want != rank);
                if rank >= ranks || pinned_elsewhere {
                    return Err(Error::internal(format!(
                        "stage {} lane {lane}: rank {rank} of {ranks}, wanted {pin:?}",
                        stage.id
                    )));
                }
            }
        }
        Ok(placed)
    }

    /// What is run.
    pub fn graph(&self) -> &StageGraph {
        &self.graph
    }

    /// How many ranks it is placed on.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The rank of each lane of a stage.
    pub fn lane_ranks(&self, stage: StageId) -> &[usize] {
        &self.lane_ranks[stage.0 as usize]
    }

    /// The lanes of a stage that run on a rank, ascending.
    pub fn lanes_on(&self, stage: StageId, rank: usize) -> Vec<usize> {
        (0..self.lane_ranks(stage).len()).filter(|&lane| self.lane_ranks(stage)[lane] == rank).collect()
    }

    /// The rank of each input lane of an exchange: ascending ranks, one lane each, for [`Feed::EveryRank`].
    pub fn input_ranks(&self, exchange: ExchangeId) -> Vec<usize> {
        let consumer = self.graph.exchanges[exchange.0 as usize].consumer;
        let lane_ranks = self.lane_ranks(consumer);
        match self.graph.feed(exchange) {
            Some(Feed::Lanes(lanes)) => lanes.iter().map(|&lane| lane_ranks[lane]).collect(),
            Some(Feed::EveryRank) | None => (0..self.ranks).filter(|rank| lane_ranks.contains(rank)).collect(),
        }
    }

    /// Canonical text of graph and placement: what EXPLAIN prints and what is hashed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for stage in &self.graph.stages {
            self.graph.write_stage(stage, &mut text);
            let ranks = self.lane_ranks(stage.id).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "  ranks: {ranks}");
        }
        text
    }

    /// A hash of [`PlacedPlan::text`], for the ranks to compare.
    pub fn hash(&self) -> u64 {
        crate::hash::hash_bytes(self.text().as_bytes())
    }
}

impl StageGraph {
    /// Who reads an exchange, and how.
    pub fn feed(&self, exchange: ExchangeId) -> Option<&Feed> {
        let consumer = self.exchanges.get(exchange.0 as usize)?.consumer;
        let stage = self.stages.get(consumer.0 as usize)?;
        stage.inputs.iter().find(|input| input.exchange == exchange).map(|input| &input.feed)
    }

    /// Canonical text, one stage after the other.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            self.write_stage(stage, &mut text);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    fn write_stage(&self, stage: &Stage, text: &mut String) {
        let outputs = stage.outputs.iter().map(|output| match output {
            Output::Exchange(id) => self.describe_exchange(*id),
            Output::Sink(sink) => sink.describe(),
        });
        let outputs = outputs.chain(stage.advice.iter().map(|id| self.describe_exchange(*id)));
        let outputs = outputs.collect::<Vec<_>>().join("; ");
        let after = match stage.after.as_slice() {
            [] => String::new(),
            after => format!(", after {}", after.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        };
        let plural = if stage.lanes.len() == 1 { "" } else { "s" };
        let _ = writeln!(text, "stage {}: {} lane{plural}{after} -> {outputs}", stage.id, stage.lanes.len());
        for line in stage.body.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }

    fn describe_exchange(&self, id: ExchangeId) -> String {
        let exchange = &self.exchanges[id.0 as usize];
        if exchange.advice {
            return format!("{id} advice to {}", exchange.consumer);
        }
        let fetch = exchange.fetch.map(|rows| format!(" fetch={rows}")).unwrap_or_default();
        let spooled = if exchange.spooled { " spooled" } else { "" };
        format!("{id} {}{fetch}{spooled} to {}", exchange.route.describe(), exchange.consumer)
    }

    /// Checks the rules every graph obeys; run after each pass in tests and debug builds.
    ///
    /// # Errors
    /// A rule is broken: always a bug of ours.
    pub fn verify(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::internal(format!("invalid stage graph: {message}")));
        for (place, stage) in self.stages.iter().enumerate() {
            let id = stage.id;
            if id.0 as usize != place {
                return wrong(format!("stage {id} stands at place {place}"));
            }
            if stage.lanes.is_empty() {
                return wrong(format!("stage {id} has no lanes"));
            }
            if stage.outputs.is_empty() {
                return wrong(format!("stage {id} has no output"));
            }
            if let Some(later) = stage.after.iter().find(|after| after.0 >= id.0) {
                return wrong(format!("stage {id} waits for {later}, which comes later"));
            }
            let rows = stage.outputs.iter().filter_map(|output| match output {
                Output::Exchange(exchange) => Some((*exchange, false)),
                Output::Sink(_) => None,
            });
            for (exchange, advice) in rows.chain(stage.advice.iter().map(|&exchange| (exchange, true))) {
                match self.exchanges.get(exchange.0 as usize) {
                    Some(known) if known.producer == id && known.advice == advice => {}
                    _ => return wrong(format!("stage {id} writes to {exchange}, which is not its own")),
                }
            }
            for input in &stage.inputs {
                let Some(exchange) = self.exchanges.get(input.exchange.0 as usize) else {
                    return wrong(format!("stage {id} reads {}, which does not exist", input.exchange));
                };
                self.verify_input(stage, input, exchange)?;
            }
        }
        for (place, exchange) in self.exchanges.iter().enumerate() {
            if exchange.id.0 as usize != place || self.feed(exchange.id).is_none() {
                return wrong(format!("exchange {} is not read by {}", exchange.id, exchange.consumer));
            }
        }
        Ok(())
    }

    fn verify_input(&self, stage: &Stage, input: &StageInput, exchange: &Exchange) -> Result<()> {
        let wrong = |message: String| {
            Err(Error::internal(format!("invalid stage graph: {} of stage {}: {message}", input.exchange, stage.id)))
        };
        let late = if exchange.advice { exchange.producer == stage.id } else { exchange.producer.0 >= stage.id.0 };
        if exchange.consumer != stage.id || late {
            return wrong(format!("goes from {} to {}", exchange.producer, exchange.consumer));
        }
        let producers = self.stages[exchange.producer.0 as usize].lanes.len();
        match (&exchange.route, &input.feed) {
            (Route::Broadcast, Feed::EveryRank) => Ok(()),
            _ if exchange.advice => wrong("advice goes to every rank".into()),
            (Route::Broadcast, _) | (_, Feed::EveryRank) => {
                wrong("broadcast goes to every rank, and only broadcast".into())
            }
            (_, Feed::Lanes(lanes)) if lanes.iter().any(|&lane| lane >= stage.lanes.len()) => {
                wrong("feeds a lane that is not there".into())
            }
            (Route::Gather, Feed::Lanes(lanes)) if lanes.len() != 1 => wrong("gather has one input lane".into()),
            (Route::Keep, Feed::Lanes(lanes)) if lanes.len() != producers => {
                wrong(format!("{producers} lanes kept, {} read", lanes.len()))
            }
            (_, Feed::Lanes(lanes)) if lanes.is_empty() => wrong("has no input lane".into()),
            _ => Ok(()),
        }
    }
}
