//! How long a plan will take: a simulation of its stages on a machine.
//!
//! Each line of a fused stage costs so much a row, on one core; the cores of all ranks on which the stage has lanes share it. Each
//! exchange costs what one rank sends. Stages use the same cores and the same links, so their times add up. Islands cost as much
//! as nothing is known of them: nothing.
//!
//! What comes out is as good as the estimates of rows that go in. `bireme-bench model` compares it with what was measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::machine::Cluster;
use bireme_engine::stage::{Exchange, ExchangeId, PlacedPlan, Route, StageId};
use bireme_operators::pipeline::ir::{
    AggregateMode, AggregateSpec, Branch, Expr, ExprKind, JoinColumn, Pipeline, Places, Program, Scan, Sink, SlotId,
    SortSpec, Source, Step,
};

use super::cost::{Costs, built, missed, probed, row_bytes, shuffled};
use super::work::{Kind, Work};

/// What is known of a plan when its time is predicted.
pub(crate) struct Known<'a> {
    pub plan: &'a PlacedPlan,
    pub programs: &'a BTreeMap<StageId, Arc<Program>>,
    /// Rows that come out of lines, by stage and line.
    pub rows: &'a BTreeMap<(StageId, usize), f64>,
    /// The sources, by number.
    pub sources: &'a BTreeMap<usize, KnownSource>,
}

/// What is known of a source.
pub(crate) struct KnownSource {
    /// Its rows, before any predicate.
    pub rows: Option<f64>,
    /// Its columns.
    pub schema: SchemaRef,
}

/// The time of a stage, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// Which one.
    pub stage: StageId,
    /// What its busiest rank has to do, exchanges included.
    pub work: Work,
    /// How long that takes, on all cores of a rank.
    pub compute: f64,
    /// How long its rows are on their way to other stages.
    pub transfer: f64,
    /// How many rows it is expected to yield, over all ranks; `None` if nothing is known.
    pub rows: Option<f64>,
}

/// The time of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Of each stage, in order.
    pub stages: Vec<StageTime>,
}

impl Prediction {
    /// Seconds of the whole plan.
    pub fn total(&self) -> f64 {
        START + self.stages.iter().map(|stage| stage.compute + stage.transfer).sum::<f64>()
    }

    /// What the busiest ranks have to do.
    pub fn work(&self) -> Work {
        self.stages.iter().fold(Work::NONE, |sum, stage| sum + stage.work)
    }
}

/// What every run costs, in seconds.
const START: f64 = 150e-6;

/// Predicts the time of a plan on a machine.
pub(crate) fn predict(known: &Known<'_>, cluster: &Cluster) -> Prediction {
    let costs = Costs::of(cluster);
    let mut simulation = Simulation { known, costs, arrives: BTreeMap::new(), slots: BTreeMap::new() };
    let stages = known.plan.graph().stages.iter().map(|stage| simulation.stage(stage.id));
    Prediction { stages: stages.collect() }
}

struct Simulation<'a> {
    known: &'a Known<'a>,
    costs: Costs,
    /// Rows that come over each exchange, as far as they are known.
    arrives: BTreeMap<ExchangeId, f64>,
    /// Rows and types that the slots of the stage at hand keep.
    slots: BTreeMap<SlotId, (f64, f64)>,
}

impl Simulation<'_> {
    fn stage(&mut self, id: StageId) -> StageTime {
        let plan = self.known.plan;
        let mut ranks = plan.lane_ranks(id).to_vec();
        ranks.sort_unstable();
        ranks.dedup();
        let share = 1.0 / ranks.len() as f64;
        self.slots.clear();
        let (mut work, mut rows) = (Work::NONE, None);
        if let Some(program) = self.known.programs.get(&id) {
            for (pipeline, places) in program.pipelines.iter().zip(program.places()) {
                let (came, cost) = self.source(id, &pipeline.source, &pipeline.steps, &places, share);
                let ended = self.sink(&pipeline.sink, &pipeline.types, came, share);
                work += cost + ended;
                rows = Some(came);
                if let (Sink::Aggregate(slot, spec), Some(groups)) = (&pipeline.sink, self.groups_behind(id))
                    && spec.mode == AggregateMode::Partial
                {
                    // Each rank has each group once at most.
                    let most = groups * ranks.len() as f64;
                    self.slots.entry(*slot).and_modify(|(rows, _)| *rows = rows.min(most));
                }
            }
        } else {
            // An island or a forwarding stage hands on what it gets.
            let inputs = &plan.graph().stages[id.0 as usize].inputs;
            rows = inputs.iter().filter_map(|input| self.arrives.get(&input.exchange)).copied().reduce(f64::max);
        }
        let mut work = work * share + Work::of(Kind::Stage, self.costs.cores());
        let mut transfer = 0.0;
        for exchange in plan.graph().exchanges.iter().filter(|exchange| exchange.producer == id && !exchange.advice) {
            let sent = rows.unwrap_or(0.0).min(exchange.fetch.map_or(f64::INFINITY, |rows| rows as f64));
            self.arrives.insert(exchange.id, sent);
            transfer += self.exchange(exchange, sent, ranks.len());
            work += self.exchanged(exchange, sent, ranks.len());
        }
        StageTime { stage: id, work, compute: self.costs.work(work), transfer, rows }
    }

    /// How many groups the stage makes that finishes those which this one begins, if it is known.
    fn groups_behind(&self, id: StageId) -> Option<f64> {
        let exchanges = &self.known.plan.graph().exchanges;
        let exchange = exchanges.iter().find(|exchange| exchange.producer == id && !exchange.advice)?;
        let program = self.known.programs.get(&exchange.consumer)?;
        let finishes = |pipeline: &Pipeline| {
            matches!(&pipeline.source, Source::Exchange(read) if *read == exchange.id)
                && matches!(&pipeline.sink, Sink::Aggregate(_, spec) if spec.mode == AggregateMode::Final)
        };
        let place = program.pipelines.iter().position(finishes)?;
        let reader = program.places().get(place + 1)?.source;
        self.known.rows.get(&(exchange.consumer, reader)).copied()
    }

    /// How long the bytes of the busiest rank are on their way.
    fn exchange(&self, exchange: &Exchange, rows: f64, lanes: usize) -> f64 {
        let plan = self.known.plan;
        let bytes = row_bytes(exchange.schema.fields().iter().map(|field| field.data_type()));
        match exchange.route {
            Route::Hash(_) | Route::Adaptive(_) | Route::Range(_) | Route::Spread => {
                self.costs.shuffle_link(rows, bytes, lanes)
            }
            Route::Broadcast | Route::Gather => self.costs.send(rows * bytes),
            Route::RoundRobin => 0.0,
            Route::Keep => {
                let stays = plan.input_ranks(exchange.id) == plan.lane_ranks(exchange.producer);
                if stays { 0.0 } else { self.costs.send(rows * bytes) }
            }
        }
    }

    /// What the busiest rank has to do for it, beside sending.
    fn exchanged(&self, exchange: &Exchange, rows: f64, lanes: usize) -> Work {
        if self.costs.ranks() <= 1.0 {
            return Work::NONE;
        }
        let bytes = row_bytes(exchange.schema.fields().iter().map(|field| field.data_type()));
        match exchange.route {
            Route::Hash(_) | Route::Adaptive(_) | Route::Range(_) | Route::Spread => {
                shuffled(self.costs.on_a_rank(rows, lanes), bytes)
            }
            Route::Broadcast => Work::of(Kind::Copy, rows * bytes),
            Route::RoundRobin | Route::Gather | Route::Keep => Work::NONE,
        }
    }

    /// Rows that reach the end of the steps, over all ranks, and the work that they made.
    fn source(&mut self, stage: StageId, source: &Source, steps: &[Step], places: &Places, share: f64) -> (f64, Work) {
        let at = |line: usize| self.known.rows.get(&(stage, line)).copied();
        // A scan drops most of the rows that have no partner: what is left is what the first join leaves.
        let joined = steps.iter().zip(places.steps.clone()).find(|(step, _)| matches!(step, Step::Probe(..)));
        let joined = joined.and_then(|(_, line)| at(line));
        let (mut rows, mut work) = match source {
            Source::Scan(scan) => {
                let whole = self.known.sources.get(&scan.leaf).and_then(|source| source.rows);
                let rows = at(places.source).or(whole).unwrap_or(0.0);
                let wanted = if scan.partners.is_empty() { rows } else { rows.min(joined.unwrap_or(rows)) };
                (rows, self.scan(scan, whole.unwrap_or(rows).max(rows), wanted))
            }
            Source::Exchange(exchange) => (self.arrives.get(exchange).copied().unwrap_or(0.0), Work::NONE),
            Source::Slot(slot) | Source::Partitions(slot, _) => {
                (self.slots.get(slot).map_or(0.0, |(rows, _)| *rows), Work::NONE)
            }
            Source::Union(branches) => self.union(stage, branches, places, share),
        };
        if let Some(seen) = at(places.source) {
            rows = seen;
        }
        for (step, line) in steps.iter().zip(places.steps.clone()) {
            let out = at(line).unwrap_or(rows);
            work += self.step(step, rows, out, share);
            rows = out;
        }
        (rows, work)
    }

    fn union(&mut self, stage: StageId, branches: &[Branch], places: &Places, share: f64) -> (f64, Work) {
        branches.iter().zip(&places.branches).fold((0.0, Work::NONE), |(rows, work), (branch, places)| {
            let (more, cost) = self.source(stage, &branch.source, &branch.steps, places, share);
            (rows + more, work + cost)
        })
    }

    /// Columns that are tested are decoded for all rows; the others for those that are wanted.
    fn scan(&self, scan: &Scan, rows: f64, wanted: f64) -> Work {
        let mut tested = Vec::new();
        tested.extend(scan.predicates.iter().flat_map(Expr::columns));
        tested.extend(scan.partners.iter().map(|partner| partner.column));
        tested.sort_unstable();
        tested.dedup();
        let tests = scan.predicates.iter().map(nodes).sum::<f64>() + scan.partners.len() as f64 * 3.0;
        let mut work = Work::of(Kind::Test, rows * tests);
        for &column in &tested {
            work += self.decoded(scan, column, rows, 0.0);
        }
        for &column in scan.projection.iter().filter(|column| !tested.contains(column)) {
            work += self.decoded(scan, column, wanted, rows - wanted);
        }
        work
    }

    /// So many values of a column, and as many that are passed over.
    fn decoded(&self, scan: &Scan, column: usize, values: f64, skipped: f64) -> Work {
        if scan.name.starts_with("memory") {
            return Work::of(Kind::Held, values);
        }
        let source = self.known.sources.get(&scan.leaf);
        let field = source.and_then(|source| source.schema.fields().get(column));
        let is_text = field.is_some_and(|field| matches!(field.data_type(), DataType::Utf8View | DataType::Utf8));
        let kind = if is_text { Kind::Text } else { Kind::Number };
        Work::of(kind, values) + Work::of(Kind::Read, values + skipped)
    }

    fn step(&self, step: &Step, rows: f64, out: f64, share: f64) -> Work {
        match step {
            Step::Filter(predicate) => Work::of(Kind::Test, rows * nodes(predicate)),
            Step::Project(exprs) => Work::of(Kind::Compute, rows * exprs.iter().map(computed).sum::<f64>()),
            Step::Probe(slot, spec) => {
                let (built, bytes) = self.slots.get(slot).copied().unwrap_or((0.0, 8.0));
                let gathered = spec.output.iter().filter(|column| matches!(column, JoinColumn::Build(_))).count();
                probed(rows, built * share, bytes) + Work::of(Kind::Gather, out * (gathered as f64 + 1.0))
            }
            Step::Limit { .. } => Work::NONE,
            Step::Window(spec, _) => {
                Work::of(Kind::Move, rows) + Work::of(Kind::Update, rows * spec.calls.len() as f64 * 2.0)
            }
        }
    }

    /// The work of a sink on all rows, and what it keeps.
    fn sink(&mut self, sink: &Sink, types: &[DataType], rows: f64, share: f64) -> Work {
        let bytes = row_bytes(types);
        let handed_on = Work::of(Kind::Output, rows * types.len() as f64);
        let work = match sink {
            Sink::Output | Sink::Collect(_) => handed_on,
            Sink::Aggregate(_, spec) => aggregated(spec, rows, bytes, share),
            Sink::Build(..) => built(rows, rows * share, bytes),
            Sink::Sort(_, spec) => sorted(spec, rows),
        };
        if let Some(slot) = sink.slot() {
            self.slots.insert(slot, (rows, bytes));
        }
        work
    }
}

fn aggregated(spec: &AggregateSpec, rows: f64, bytes: f64, share: f64) -> Work {
    let updated = Work::of(Kind::Update, rows * spec.calls.len() as f64);
    if spec.keys.is_empty() {
        return updated;
    }
    // How many groups there are is known of the line that reads them; whether they fit the cache is guessed by the rows.
    updated + Work::of(Kind::Group, rows) + missed(rows, rows * share * 0.25, bytes)
}

fn sorted(spec: &SortSpec, rows: f64) -> Work {
    match spec.fetch {
        Some(_) => Work::of(Kind::Top, rows),
        None => Work::of(Kind::Move, rows) + Work::of(Kind::Compare, rows * rows.max(2.0).log2()),
    }
}

fn nodes(expr: &Expr) -> f64 {
    1.0 + expr.children().into_iter().map(nodes).sum::<f64>()
}

/// What a projection has to compute of an expression; columns are handed on.
fn computed(expr: &Expr) -> f64 {
    match expr.kind {
        ExprKind::Column(_) | ExprKind::Literal(_) => 0.0,
        _ => nodes(expr),
    }
}
