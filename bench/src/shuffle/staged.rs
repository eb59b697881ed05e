//! A program of two stages with an exchange between them: one lane a rank pushes its batches, one lane a rank drops them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bireme::engine::block_on::block_on;
use bireme::engine::control::{Fingerprint, agree};
use bireme::engine::exchange::Flow;
use bireme::engine::hash::hash_columns;
use bireme::engine::run::{RankContext, StageTask, run};
use bireme::engine::stage::{
    Body, Exchange, ExchangeId, Feed, Output, Partitioner, Pin, PlacedPlan, Route, Stage, StageGraph, StageId,
    StageInput,
};
use bireme::prelude::{Error, Result};
use futures::channel::oneshot;
use futures::future::BoxFuture;

/// What is to be moved, so often over.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub schema: SchemaRef,
    pub batches: Arc<Vec<RecordBatch>>,
    pub repeat: usize,
}

/// Moves the rows of all ranks; how long this rank took, and how many rows it got.
pub(super) fn moved(load: &Load, route: Route, action: u64, context: &RankContext) -> Result<(Duration, u64)> {
    let ranks = context.switchboard.ranks();
    let plan = plan(load, route, ranks)?;
    agree(&context.control(), action, Ok(Fingerprint::from(plan.hash())))?;
    let start = Instant::now();
    let report = run(&plan, action, context)?;
    let time = start.elapsed();
    let got = report.stage(StageId(1)).map_or(0, |stage| stage.rows_in);
    Ok((time, got))
}

fn plan(load: &Load, route: Route, ranks: usize) -> Result<PlacedPlan> {
    let x = ExchangeId(0);
    let everywhere = || (0..ranks).map(Pin::Rank).collect::<Vec<_>>();
    let stage = |id: u32, body: Arc<dyn Body>, inputs, outputs| Stage {
        id: StageId(id),
        body,
        lanes: everywhere(),
        inputs,
        outputs,
        advice: Vec::new(),
        after: Vec::new(),
    };
    let input = StageInput { exchange: x, feed: Feed::Lanes((0..ranks).collect()) };
    let graph = StageGraph {
        stages: vec![
            stage(0, Arc::new(Push(load.clone())), Vec::new(), vec![Output::Exchange(x)]),
            stage(1, Arc::new(Drop), vec![input], vec![Output::Sink(Arc::new(Nowhere))]),
        ],
        exchanges: vec![Exchange {
            id: x,
            producer: StageId(0),
            consumer: StageId(1),
            route,
            schema: Arc::clone(&load.schema),
            fetch: None,
            spooled: false,
            advice: false,
        }],
        notes: Vec::new(),
    };
    let lanes = vec![(0..ranks).collect(); 2];
    PlacedPlan::new(graph, ranks, lanes)
}

/// The rows' own rank by the hash of the first column, or for nine of ten rows rank 0.
#[derive(Debug)]
pub(super) struct ByKey {
    pub skewed: bool,
}

impl ByKey {
    /// The rank of each row.
    pub(super) fn ranks(&self, key: &ArrayRef, ranks: usize, hashes: &mut Vec<u64>, out: &mut Vec<u32>) -> Result<()> {
        hash_columns(std::slice::from_ref(key), key.len(), hashes)?;
        out.clear();
        let rank = |hash: u64| (((hash >> 32) * ranks as u64) >> 32) as u32;
        if self.skewed {
            out.extend(hashes.iter().map(|&hash| if hash % 10 < 9 { 0 } else { rank(hash) }));
        } else {
            out.extend(hashes.iter().map(|&hash| rank(hash)));
        }
        Ok(())
    }
}

impl Partitioner for ByKey {
    fn describe(&self) -> String {
        format!("hash({})", if self.skewed { "skewed key" } else { "key" })
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        self.ranks(batch.column(0), lanes, &mut Vec::new(), out)
    }

    fn may_fail(&self) -> bool {
        false
    }
}

/// Pushes.
#[derive(Debug)]
struct Push(Load);

impl Body for Push {
    fn lines(&self) -> Vec<String> {
        vec![format!("push {} batches {} times", self.0.batches.len(), self.0.repeat)]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let Load { batches, repeat, .. } = self.0.clone();
        on_a_thread("push", async move {
            for mut outlet in std::mem::take(&mut task.outlets) {
                'all: for _ in 0..repeat {
                    for batch in batches.iter() {
                        if outlet.push(batch.clone()).await? == Flow::Stop {
                            break 'all;
                        }
                    }
                }
                outlet.finish().await?;
            }
            Ok(())
        })
    }
}

/// Reads and forgets.
#[derive(Debug)]
struct Drop;

impl Body for Drop {
    fn lines(&self) -> Vec<String> {
        vec!["drop".into()]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        on_a_thread("drop", async move {
            for (_, mut inlet) in std::mem::take(&mut task.inlets).into_values().flatten() {
                while let Some(batch) = inlet.next().await {
                    batch?;
                }
            }
            for outlet in std::mem::take(&mut task.outlets) {
                outlet.finish().await?;
            }
            Ok(())
        })
    }
}

/// Runs a body's work on a thread of its own.
fn on_a_thread(name: &str, work: impl Future<Output = Result<()>> + Send + 'static) -> BoxFuture<'static, Result<()>> {
    let (end, ended) = oneshot::channel();
    let started = std::thread::Builder::new().name(name.into()).spawn(move || drop(end.send(block_on(work))));
    Box::pin(async move {
        started?;
        ended.await.map_err(|_| Error::internal("a lane panicked"))?
    })
}

#[derive(Debug)]
struct Nowhere;

impl bireme::engine::stage::Sink for Nowhere {
    fn describe(&self) -> String {
        "nowhere".into()
    }

    fn open(&self, _: usize, _: usize) -> Result<Box<dyn bireme::engine::stage::LaneSink>> {
        Ok(Box::new(Nowhere))
    }
}

impl bireme::engine::stage::LaneSink for Nowhere {
    fn write(&mut self, _: RecordBatch) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
