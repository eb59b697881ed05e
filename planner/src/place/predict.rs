//! How long a plan will take: a simulation of its stages on a machine.
//!
//! Each line of a fused stage costs so much a row, on one core; the cores of all ranks on which the stage has lanes share it. Each
//! exchange costs what one rank sends. Stages use the same cores and the same links, so their times add up. Islands cost as much
//! as nothing is known of them: nothing.
//!
//! What comes out is as good as the estimates of rows that go in. `bireme-bench model` compares it with what was measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use bireme_engine::machine::Cluster;
use bireme_engine::stage::{Exchange, ExchangeId, PlacedPlan, Route, StageId};
use bireme_operators::pipeline::ir::{
    AggregateMode, AggregateSpec, Branch, Expr, ExprKind, JoinColumn, Pipeline, Places, Program, Scan, Sink, SlotId,
    SortSpec, Source, Step,
};

use super::cost::{Costs, row_bytes};

/// What is known of a plan when its time is predicted.
pub(crate) struct Known<'a> {
    pub plan: &'a PlacedPlan,
    pub programs: &'a BTreeMap<StageId, Arc<Program>>,
    /// Rows that come out of lines, by stage and line.
    pub rows: &'a BTreeMap<(StageId, usize), f64>,
    /// Rows of the sources, by number, before any predicate.
    pub sources: &'a BTreeMap<usize, f64>,
}

/// The time of a stage, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// Which one.
    pub stage: StageId,
    /// What its ranks compute, side by side.
    pub compute: f64,
    /// What its rows take on their way to other stages.
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
}

/// What every run costs, in seconds, and every stage.
const START: f64 = 150e-6;
const STAGE: f64 = 60e-6;

/// Seconds a row, or a value, on one core of the reference machine; see [`super::cost`].
mod price {
    /// Decodes a number, or a code of a dictionary, from a compressed file.
    pub const NUMBER: f64 = 1.6e-9;
    /// Decodes a text.
    pub const TEXT: f64 = 7e-9;
    /// Of a value that is skipped, for its page has to be decompressed all the same.
    pub const SKIPPED: f64 = 0.3;
    /// Takes a value from memory.
    pub const HELD: f64 = 0.3e-9;
    /// Tests a condition.
    pub const TEST: f64 = 1.0e-9;
    /// Computes a value.
    pub const COMPUTE: f64 = 1.5e-9;
    /// Gathers a value of a join's result.
    pub const GATHER: f64 = 2.5e-9;
    /// Finds a row's group.
    pub const GROUP: f64 = 7e-9;
    /// Adds a value to a group.
    pub const UPDATE: f64 = 2.0e-9;
    /// Compares two rows of a sort.
    pub const COMPARE: f64 = 4e-9;
    /// Moves a row of a sort or a window.
    pub const MOVE: f64 = 30e-9;
    /// Sees whether a row is among the first few.
    pub const TOP: f64 = 2e-9;
    /// Hands a value on.
    pub const OUTPUT: f64 = 0.5e-9;
}

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
        let (mut work, mut rows) = (0.0, None);
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
        let mut transfer = 0.0;
        for exchange in plan.graph().exchanges.iter().filter(|exchange| exchange.producer == id && !exchange.advice) {
            let sent = rows.unwrap_or(0.0).min(exchange.fetch.map_or(f64::INFINITY, |rows| rows as f64));
            self.arrives.insert(exchange.id, sent);
            transfer += self.exchange(exchange, sent, ranks.len());
        }
        StageTime { stage: id, compute: STAGE + self.costs.work(work * share), transfer, rows }
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

    fn exchange(&self, exchange: &Exchange, rows: f64, lanes: usize) -> f64 {
        let plan = self.known.plan;
        let bytes = row_bytes(exchange.schema.fields().iter().map(|field| field.data_type()));
        match exchange.route {
            Route::Hash(_) | Route::Adaptive(_) | Route::Range(_) | Route::Spread => {
                self.costs.shuffle(rows, bytes, lanes)
            }
            Route::Broadcast => self.costs.broadcast(rows, bytes),
            Route::RoundRobin => 0.0,
            Route::Gather => self.costs.gather(rows, bytes),
            Route::Keep => {
                let stays = plan.input_ranks(exchange.id) == plan.lane_ranks(exchange.producer);
                if stays { 0.0 } else { self.costs.gather(rows, bytes) }
            }
        }
    }

    /// Rows that reach the end of the steps, over all ranks, and the seconds of a core that they took.
    fn source(&mut self, stage: StageId, source: &Source, steps: &[Step], places: &Places, share: f64) -> (f64, f64) {
        let at = |line: usize| self.known.rows.get(&(stage, line)).copied();
        // A scan drops most of the rows that have no partner: what is left is what the first join leaves.
        let joined = steps.iter().zip(places.steps.clone()).find(|(step, _)| matches!(step, Step::Probe(..)));
        let joined = joined.and_then(|(_, line)| at(line));
        let (mut rows, mut work) = match source {
            Source::Scan(scan) => {
                let rows = at(places.source).or_else(|| self.known.sources.get(&scan.leaf).copied()).unwrap_or(0.0);
                let wanted = if scan.partners.is_empty() { rows } else { rows.min(joined.unwrap_or(rows)) };
                (rows, self.scan(scan, rows, wanted, source_types(steps)))
            }
            Source::Exchange(exchange) => (self.arrives.get(exchange).copied().unwrap_or(0.0), 0.0),
            Source::Slot(slot) | Source::Partitions(slot, _) => {
                (self.slots.get(slot).map_or(0.0, |(rows, _)| *rows), 0.0)
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

    fn union(&mut self, stage: StageId, branches: &[Branch], places: &Places, share: f64) -> (f64, f64) {
        branches.iter().zip(&places.branches).fold((0.0, 0.0), |(rows, work), (branch, places)| {
            let (more, cost) = self.source(stage, &branch.source, &branch.steps, places, share);
            (rows + more, work + cost)
        })
    }

    fn scan(&self, scan: &Scan, rows: f64, wanted: f64, columns: f64) -> f64 {
        let whole = self.known.sources.get(&scan.leaf).copied().unwrap_or(rows).max(rows);
        let is_file = !scan.name.starts_with("memory");
        let value = if is_file { price::NUMBER * columns } else { price::HELD };
        let tested = scan.predicates.iter().flat_map(Expr::columns).chain(scan.partners.iter().map(|it| it.column));
        let mut tested = tested.collect::<Vec<_>>();
        tested.sort_unstable();
        tested.dedup();
        let others = scan.projection.iter().filter(|column| !tested.contains(column)).count() as f64;
        let tests = scan.predicates.len() as f64 * price::TEST + scan.partners.len() as f64 * price::TEST * 3.0;
        let decoded = wanted + (whole - wanted).max(0.0) * if is_file { price::SKIPPED } else { 0.0 };
        whole * (tested.len() as f64 * value + tests) + decoded * others * value
    }

    fn step(&self, step: &Step, rows: f64, out: f64, share: f64) -> f64 {
        match step {
            Step::Filter(predicate) => rows * nodes(predicate) * price::TEST,
            Step::Project(exprs) => rows * exprs.iter().map(computed).sum::<f64>() * price::COMPUTE,
            Step::Probe(slot, spec) => {
                let (built, bytes) = self.slots.get(slot).copied().unwrap_or((0.0, 8.0));
                let probed = self.costs.raw_probe(rows, built * share, bytes);
                let gathered = spec.output.iter().filter(|column| matches!(column, JoinColumn::Build(_))).count();
                probed + out * (gathered as f64 + 1.0) * price::GATHER
            }
            Step::Limit { .. } => 0.0,
            Step::Window(spec, _) => rows * (price::MOVE + spec.calls.len() as f64 * price::UPDATE * 2.0),
        }
    }

    /// The work of a sink on all rows, and what it keeps.
    fn sink(&mut self, sink: &Sink, types: &[DataType], rows: f64, share: f64) -> f64 {
        let bytes = row_bytes(types);
        let (kept, work) = match sink {
            Sink::Output => (rows, rows * types.len() as f64 * price::OUTPUT),
            Sink::Aggregate(_, spec) => (rows, self.aggregate(spec, rows, bytes, share)),
            Sink::Build(..) => (rows, self.costs.raw_build(rows, rows * share, bytes)),
            Sink::Sort(_, spec) => (rows, sort(spec, rows)),
            Sink::Collect(_) => (rows, rows * types.len() as f64 * price::OUTPUT),
        };
        if let Some(slot) = sink.slot() {
            self.slots.insert(slot, (kept, bytes));
        }
        work
    }

    fn aggregate(&self, spec: &AggregateSpec, rows: f64, bytes: f64, share: f64) -> f64 {
        let find = if spec.keys.is_empty() { 0.0 } else { price::GROUP };
        // How many groups there are is known of the line that reads them; whether they fit the cache is guessed by the rows.
        let miss = if spec.keys.is_empty() { 0.0 } else { self.costs.raw_miss(rows * share * 0.25, bytes) };
        rows * (find + miss + spec.calls.len() as f64 * price::UPDATE)
    }
}

fn sort(spec: &SortSpec, rows: f64) -> f64 {
    match spec.fetch {
        Some(_) => rows * price::TOP,
        None => rows * (price::MOVE + rows.max(2.0).log2() * price::COMPARE),
    }
}

/// What decoding a column costs, as a multiple of a number's: the types of a scan's columns are not part of a program, so what the
/// first projection says of them counts.
fn source_types(steps: &[Step]) -> f64 {
    let text = |expr: &Expr| {
        matches!(expr.kind, ExprKind::Column(_)) && matches!(expr.data_type, DataType::Utf8View | DataType::Utf8)
    };
    match steps.iter().find_map(|step| if let Step::Project(exprs) = step { Some(exprs) } else { None }) {
        Some(exprs) if !exprs.is_empty() => {
            let texts = exprs.iter().filter(|expr| text(expr)).count() as f64 / exprs.len() as f64;
            1.0 + texts * (price::TEXT / price::NUMBER - 1.0)
        }
        _ => 1.0,
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
