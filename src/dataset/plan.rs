//! Datasets as stages: what an action runs on every rank.

use std::sync::Arc;

use bireme_engine::control::{Fingerprint, agree};
use bireme_engine::error::{Error, Result};
use bireme_engine::run::run;
use bireme_engine::stage::{
    Exchange, ExchangeId, Feed, Output, Pin, PlacedPlan, Route, Stage, StageGraph, StageId, StageInput,
};
use bireme_operators::array::ByName;
use bireme_operators::dataset::{Chain, Exchanged, Needs, Part, Receiving, Run, Sending, Work, for_parts};
use bireme_planner::plan::Discard;
use parking_lot::Mutex;

use super::Dataset;
use crate::session::Rank;

/// What the partitions of a rank have become, by number.
pub(super) type Made<R> = Vec<(u64, R)>;

impl<T: Send + 'static, C: Chain<Item = T>> Dataset<T, C> {
    /// The stages, as text.
    ///
    /// ```
    /// use bireme::prelude::*;
    /// let session = Session::new()?;
    /// let text = session.dataset(0..9_i64).key_by(|x| x % 3).reduce_by_key(|a, b| a + b).explain();
    /// assert!(text.contains("reduce_by_key"), "{text}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn explain(&self) -> String {
        let mut needs = Needs::default();
        self.chain.needs(&mut needs);
        let mut lines = Vec::new();
        for (number, work) in needs.stages.iter().enumerate() {
            let to =
                work.exchanged.as_ref().map_or_else(String::new, |exchanged| format!(" -> {}", exchanged.describe()));
            lines.push(format!("stage {number}{to}"));
            lines.extend(work.lines.iter().map(|line| format!("  {line}")));
        }
        lines.push(format!("stage {}", needs.stages.len()));
        let mut steps = Vec::new();
        self.chain.describe(&mut steps);
        lines.extend(steps.iter().map(|line| format!("  {line}")));
        lines.join("\n")
    }

    /// Runs all stages and then `part` on each partition; what came of them, by rank of this process.
    pub(super) fn run<R: Send + 'static>(
        &self,
        name: &'static str,
        part: impl Fn(&C, u64, &Part<'_>) -> Result<R> + Send + Sync + 'static,
    ) -> Result<Vec<Made<R>>> {
        let number = self.session.start_action()?;
        let ranks = self.session.local_ranks();
        let part = Arc::new(part);
        let made = ranks.iter().map(|_| Arc::new(Mutex::new(Vec::new()))).collect::<Vec<_>>();
        let act = |at: usize, rank: &Rank| -> Result<u64> {
            let mut needs = Needs::default();
            self.chain.needs(&mut needs);
            let mut stages = needs.stages;
            stages.push(self.last(name, Arc::clone(&part), Arc::clone(&made[at])));
            act(rank, *number, stages)
        };
        let sent = match ranks {
            [rank] => act(0, rank)?,
            _ => std::thread::scope(|scope| {
                let act = &act;
                let running = ranks.iter().enumerate().map(|(at, rank)| scope.spawn(move || act(at, rank)));
                let running = running.collect::<Vec<_>>();
                let ended = running
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a rank panicked"))));
                // Collected first: all ranks end before the error of one is reported.
                Ok::<u64, Error>(ended.collect::<Vec<_>>().into_iter().collect::<Result<Vec<u64>>>()?.into_iter().sum())
            })?,
        };
        self.session.count_sent(sent);
        drop(number);
        Ok(made.iter().map(|made| std::mem::take(&mut *made.lock())).collect())
    }

    /// The stage that an action adds.
    fn last<R: Send + 'static>(
        &self,
        name: &'static str,
        part: Arc<impl Fn(&C, u64, &Part<'_>) -> Result<R> + Send + Sync + 'static>,
        made: Arc<Mutex<Made<R>>>,
    ) -> Work {
        let mut lines = Vec::new();
        self.chain.describe(&mut lines);
        lines.push(name.to_owned());
        let chain = Arc::clone(&self.chain);
        let run = move |run: &Run| {
            let each = |mine: &mut Made<R>, number: u64, here: &Part<'_>| {
                mine.push((number, part(chain.as_ref(), number, here)?));
                Ok(())
            };
            let done = |mine: Made<R>| {
                made.lock().extend(mine);
                Ok(())
            };
            for_parts(chain.as_ref(), run, name, || Ok(Vec::new()), each, done)?;
            made.lock().sort_by_key(|(number, _)| *number);
            Ok(())
        };
        Work { lines, run: Arc::new(run), exchanged: None }
    }
}

/// Runs stages on a rank, with the others; bytes that went to them.
fn act(rank: &Rank, action: u64, stages: Vec<Work>) -> Result<u64> {
    let placed = placed(rank, stages);
    let fingerprint = placed.as_ref().map(|placed| Fingerprint::new([("dataset", placed.hash())]));
    rank.context.activity.plans(action);
    let ran = agree(&rank.control, action, fingerprint.map_err(Clone::clone))
        .and(placed)
        .and_then(|placed| run(&placed, action, &rank.context));
    rank.context.activity.rests();
    Ok(ran?.exchanges.iter().map(|exchange| exchange.remote_bytes).sum())
}

/// One lane of each stage on every rank; behind a stage that sends, one that receives.
fn placed(rank: &Rank, stages: Vec<Work>) -> Result<PlacedPlan> {
    let workers = rank.workers().ok_or_else(|| Error::internal("a rank without workers"))?;
    let (ranks, context) = (rank.control.ranks(), &rank.context);
    // Its own: stages end it when the action ends on another rank.
    let (budget, cancel) = (context.budget.clone(), context.cancel.child());
    let here = Arc::new(Run::new(rank.number, ranks, budget, cancel, context.temp_dir.clone()));
    let mut graph = StageGraph::default();
    for mut work in stages {
        let exchanged = work.exchanged.take_if(|_| ranks == 1).is_none().then(|| work.exchanged.clone()).flatten();
        let exchange = ExchangeId(graph.exchanges.len() as u32);
        let output = match exchanged {
            Some(_) => Output::Exchange(exchange),
            None => Output::Sink(Arc::new(Discard)),
        };
        let body = Sending::new(work, Arc::clone(&here), Arc::clone(workers));
        let producer = add(&mut graph, Arc::new(body), ranks, Vec::new(), output);
        let Some(exchanged) = exchanged else { continue };
        let schema = Exchanged::schema(exchanged.as_ref());
        let input = StageInput { exchange, feed: Feed::Lanes((0..ranks).collect()) };
        let body = Receiving::new(exchanged, Arc::clone(&here));
        let consumer = add(&mut graph, Arc::new(body), ranks, vec![input], Output::Sink(Arc::new(Discard)));
        graph.exchanges.push(Exchange {
            id: exchange,
            producer,
            consumer,
            route: Route::Hash(Arc::new(ByName)),
            schema,
            fetch: None,
            // It is read when the rank's own work of the stage is done.
            spooled: true,
            advice: false,
        });
    }
    let lanes = graph.stages.iter().map(|_| (0..ranks).collect()).collect();
    PlacedPlan::new(graph, ranks, lanes)
}

fn add(
    graph: &mut StageGraph,
    body: Arc<dyn bireme_engine::stage::Body>,
    ranks: usize,
    inputs: Vec<StageInput>,
    output: Output,
) -> StageId {
    let id = StageId(graph.stages.len() as u32);
    graph.stages.push(Stage {
        id,
        body,
        lanes: (0..ranks).map(Pin::Rank).collect(),
        inputs,
        outputs: vec![output],
        advice: Vec::new(),
        // Each finds what those before have left on its rank.
        after: id.0.checked_sub(1).map(StageId).into_iter().collect(),
    });
    id
}
