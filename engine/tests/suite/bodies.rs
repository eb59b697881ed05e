//! Test bodies: a source, a forwarder, and a way to write others; a sink that keeps what it gets; a builder for plans.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use bireme_engine::cancel::Cancel;
use bireme_engine::exchange::{Flow, Inlet, Outlet};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::run::StageTask;
use bireme_engine::stage::{
    Body, Exchange, ExchangeId, Feed, LaneSink, Output, Partitioner, Pin, PlacedPlan, Route, Sink, Stage, StageGraph,
    StageId, StageInput,
};
use bireme_engine::{Error, Result};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// What one lane of a test body gets.
pub struct LaneTask {
    pub rank: usize,
    pub lane: usize,
    /// In the order of the stage's inputs; several for an input that feeds several input lanes to this lane.
    pub inlets: Vec<Vec<Inlet>>,
    pub outlet: Outlet,
    /// In the order of the exchanges over which the stage gives advice.
    pub advice: Vec<Outlet>,
    pub cancel: Cancel,
    pub metrics: Arc<StageMetrics>,
}

type Work = Arc<dyn Fn(LaneTask) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A body that runs a function for each lane, each on a thread of its own.
pub struct Lanes {
    name: String,
    feeds: Vec<(ExchangeId, Feed)>,
    work: Work,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes({})", self.name)
    }
}

impl Body for Lanes {
    fn lines(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let mut ends = Vec::new();
        let outlets = std::mem::take(&mut task.outlets);
        for (place, (lane, outlet)) in task.lanes.clone().into_iter().zip(outlets).enumerate() {
            let inlets = self.feeds.iter().map(|(exchange, feed)| {
                let all = task.inlets.entry(*exchange).or_default();
                let (mine, others) = std::mem::take(all).into_iter().partition::<Vec<_>, _>(|(input, _)| match feed {
                    Feed::Lanes(lanes) => lanes[*input] == lane,
                    Feed::EveryRank => place == 0,
                });
                *all = others;
                mine.into_iter().map(|(_, inlet)| inlet).collect()
            });
            let lane_task = LaneTask {
                rank: task.rank,
                lane,
                inlets: inlets.collect(),
                outlet,
                advice: task.advice.values_mut().map(|outlets| outlets.remove(0)).collect(),
                cancel: task.cancel.clone(),
                metrics: Arc::clone(&task.metrics),
            };
            let work = (self.work)(lane_task);
            let (end, ended) = oneshot::channel();
            std::thread::spawn(move || {
                let _ = end.send(futures::executor::block_on(work));
            });
            ends.push(ended);
        }
        Box::pin(async move {
            let mut result = Ok(());
            for ended in ends {
                // A lane that panicked sends nothing; in a real body its pool would say so.
                let lane = ended.await.unwrap_or_else(|_| std::panic::resume_unwind(Box::new("a lane panicked")));
                result = result.and(lane);
            }
            result
        })
    }
}

/// Pushes these batches.
pub fn source(batches: impl Fn(usize, usize) -> Vec<RecordBatch> + Send + Sync + 'static) -> Work {
    work(move |mut task| {
        let batches = batches(task.rank, task.lane);
        async move {
            for batch in batches {
                if task.outlet.push(batch).await? == Flow::Stop {
                    break;
                }
            }
            task.outlet.finish().await
        }
    })
}

/// Pushes what it reads, one inlet after the other.
pub fn forward() -> Work {
    work(|mut task| async move {
        'all: for mut inlet in task.inlets.into_iter().flatten() {
            while let Some(batch) = inlet.next().await {
                if task.outlet.push(batch?).await? == Flow::Stop {
                    break 'all;
                }
            }
        }
        task.outlet.finish().await
    })
}

/// Any other work.
pub fn work<F: Future<Output = Result<()>> + Send + 'static>(
    f: impl Fn(LaneTask) -> F + Send + Sync + 'static,
) -> Work {
    Arc::new(move |task| Box::pin(f(task)))
}

/// A sink that keeps the batches of each lane of this rank.
#[derive(Debug, Default)]
pub struct Kept {
    lanes: Mutex<BTreeMap<usize, Vec<RecordBatch>>>,
}

struct KeptLane {
    kept: Arc<Kept>,
    lane: usize,
    batches: Vec<RecordBatch>,
}

#[derive(Debug)]
struct KeptSink(Arc<Kept>);

impl Kept {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// By lane of the last stage.
    pub fn lanes(&self) -> BTreeMap<usize, Vec<RecordBatch>> {
        self.lanes.lock().clone()
    }

    /// All batches of this rank.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.lanes().into_values().flatten().collect()
    }
}

impl Sink for KeptSink {
    fn describe(&self) -> String {
        "keep".into()
    }

    fn open(&self, _rank: usize, lane: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(KeptLane { kept: Arc::clone(&self.0), lane, batches: Vec::new() }))
    }
}

impl LaneSink for KeptLane {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.batches.push(batch);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let before = self.kept.lanes.lock().insert(self.lane, self.batches);
        if before.is_some() { Err(Error::internal(format!("lane {} was opened twice", self.lane))) } else { Ok(()) }
    }
}

/// Builds plans with the ranks of lanes given.
pub struct Builder {
    graph: StageGraph,
    lane_ranks: Vec<Vec<usize>>,
    ranks: usize,
}

impl Builder {
    pub fn new(ranks: usize) -> Self {
        Self { graph: StageGraph::default(), lane_ranks: Vec::new(), ranks }
    }

    /// A stage with a lane on each of `lane_ranks`.
    pub fn stage(&mut self, name: &str, lane_ranks: &[usize], inputs: &[(ExchangeId, Feed)], work: Work) -> StageId {
        let id = StageId(self.graph.stages.len() as u32);
        for (exchange, _) in inputs {
            // Advice comes from stages that are made later, and so does its exchange.
            if let Some(exchange) = self.graph.exchanges.get_mut(exchange.0 as usize) {
                exchange.consumer = id;
            }
        }
        self.graph.stages.push(Stage {
            id,
            body: Arc::new(Lanes { name: name.into(), feeds: inputs.to_vec(), work }),
            lanes: vec![Pin::Free; lane_ranks.len()],
            inputs: inputs
                .iter()
                .map(|(exchange, feed)| StageInput { exchange: *exchange, feed: feed.clone() })
                .collect(),
            outputs: Vec::new(),
            advice: Vec::new(),
            after: Vec::new(),
        });
        self.lane_ranks.push(lane_ranks.to_vec());
        id
    }

    pub fn exchange(&mut self, from: StageId, route: Route, schema: &SchemaRef) -> ExchangeId {
        let id = ExchangeId(self.graph.exchanges.len() as u32);
        let schema = Arc::clone(schema);
        self.graph.exchanges.push(Exchange {
            id,
            producer: from,
            consumer: from,
            route,
            schema,
            fetch: None,
            spooled: false,
            advice: false,
        });
        self.graph.stages[from.0 as usize].outputs.push(Output::Exchange(id));
        id
    }

    /// Advice from one stage to another, which has it among its inputs already.
    pub fn advice(&mut self, from: StageId, to: StageId, schema: &SchemaRef) -> ExchangeId {
        let id = self.exchange(from, Route::Broadcast, schema);
        self.graph.stages[from.0 as usize].outputs.pop();
        self.graph.stages[from.0 as usize].advice.push(id);
        let exchange = self.edit(id);
        (exchange.consumer, exchange.advice) = (to, true);
        id
    }

    pub fn edit(&mut self, exchange: ExchangeId) -> &mut Exchange {
        &mut self.graph.exchanges[exchange.0 as usize]
    }

    pub fn edit_stage(&mut self, stage: StageId) -> &mut Stage {
        &mut self.graph.stages[stage.0 as usize]
    }

    pub fn keep(&mut self, stage: StageId, kept: &Arc<Kept>) {
        self.graph.stages[stage.0 as usize].outputs.push(Output::Sink(Arc::new(KeptSink(Arc::clone(kept)))));
    }

    pub fn place(self) -> Result<PlacedPlan> {
        PlacedPlan::new(self.graph, self.ranks, self.lane_ranks)
    }
}

/// Lane by the key column modulo.
#[derive(Debug)]
pub struct ByKey;

impl Partitioner for ByKey {
    fn describe(&self) -> String {
        "hash(key)".into()
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        out.extend(
            batch.column(2).as_primitive::<Int64Type>().values().iter().map(|key| key.rem_euclid(lanes as i64) as u32),
        );
        Ok(())
    }
}

/// Every row to one lane, whatever the number of lanes.
#[derive(Debug)]
pub struct AllTo(pub usize);

impl Partitioner for AllTo {
    fn describe(&self) -> String {
        format!("all to {}", self.0)
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        out.resize(out.len() + batch.num_rows(), (self.0 % lanes) as u32);
        Ok(())
    }
}

/// Rows that say where they come from: producer lane, place in it, a key, a text.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("producer", DataType::UInt64, false),
        Field::new("place", DataType::UInt64, false),
        Field::new("key", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]))
}

/// Rows `from..to` of a producer lane.
pub fn rows(producer: usize, from: u64, to: u64) -> RecordBatch {
    let place = from..to;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(place.clone().map(|_| producer as u64))),
        Arc::new(UInt64Array::from_iter_values(place.clone())),
        Arc::new(Int64Array::from_iter_values(place.clone().map(|row| key(producer, row)))),
        Arc::new(StringArray::from_iter(place.map(|row| (row % 3 > 0).then(|| format!("row {row} of {producer}"))))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub fn key(producer: usize, row: u64) -> i64 {
    ((row * 7919 + producer as u64 * 31) % 101) as i64 - 50
}

/// A producer's rows in batches of `size`.
pub fn batches_of(producer: usize, rows_in_all: u64, size: u64) -> Vec<RecordBatch> {
    (0..rows_in_all.div_ceil(size))
        .map(|batch| rows(producer, batch * size, ((batch + 1) * size).min(rows_in_all)))
        .collect()
}

/// What is left of a row for comparing: (producer, place, key).
pub type RowName = (u64, u64, i64);

/// The names of rows, in order, and whether their texts are right.
pub fn names(batches: &[RecordBatch]) -> Result<Vec<RowName>> {
    let mut names = Vec::new();
    for batch in batches {
        let (producers, places) =
            (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_primitive::<UInt64Type>());
        let (keys, texts) = (batch.column(2).as_primitive::<Int64Type>(), batch.column(3).as_string::<i32>());
        for row in 0..batch.num_rows() {
            let (producer, place) = (producers.value(row), places.value(row));
            let right = if place % 3 == 0 {
                texts.is_null(row)
            } else {
                texts.value(row) == format!("row {place} of {producer}")
            };
            if !right {
                return Err(Error::internal(format!("row {place} of {producer} has a wrong text")));
            }
            names.push((producer, place, keys.value(row)));
        }
    }
    Ok(names)
}
