//! Actions on arrays: what is needed becomes a sketch, the sketch a plan, and the plan runs on every rank.

use std::collections::HashMap;
use std::sync::Arc;

use bireme_engine::block_on::block_on;
use bireme_engine::budget::Reservation;
use bireme_engine::control::{Fingerprint, agree};
use bireme_engine::error::{Error, Result};
use bireme_engine::run::run;
use bireme_engine::stage::{
    Exchange, ExchangeId, Feed, Output, Pin, PlacedPlan, Route, Stage, StageGraph, StageId, StageInput,
};
use bireme_operators::array::{ArrayBody, ByName, Segment, Store, Tile, message_schema};
use bireme_operators::contract::ALONE;
use bireme_planner::array::{ArrayPlan, Entry, Keep, Op, Places, Sketch, lower};
use bireme_planner::plan::Discard;

use super::node::{Node, Ready, State};
use super::{Array, Element};
use crate::session::{Rank, Session};

/// Plans that are kept; all are forgotten when there are more.
const PLANS: usize = 512;

/// Plans of sketches, one a rank of this process.
#[derive(Default)]
pub(crate) struct ArrayPlans {
    by_sketch: HashMap<Sketch, Arc<Vec<ArrayPlan>>>,
}

/// What one action computes: a sketch, and the nodes its entries stand for.
struct Program {
    sketch: Sketch,
    nodes: Vec<Arc<Node>>,
}

impl<T: Element> Array<T> {
    /// Computes the array, if it is not there yet, and keeps it.
    ///
    /// # Errors
    /// It could not be made, does not fit into memory, or a rank is lost.
    pub fn compute(&self) -> Result<&Self> {
        compute(self.session(), std::slice::from_ref(&self.node))?;
        Ok(self)
    }

    /// The only element, the same on every rank.
    ///
    /// # Errors
    /// There is not exactly one; and as [`Array::compute`].
    pub fn item(&self) -> Result<T> {
        self.check()?;
        if self.size() != 1 {
            return Err(Error::user(format!("an array of shape {:?} is no single number", self.shape())));
        }
        self.compute()?;
        let tile = whole(self.session(), &self.node)?;
        let ours = tile.element(0).ok_or_else(|| Error::internal("a number without a value"))?;
        // A program may branch on it: one rank's bits for all.
        let bits = self.session().decide_on_root("item", || Ok(ours.bits()))?;
        Ok(T::of(of_bits(T::DTYPE, bits)))
    }

    /// All elements, row-major, the same on every rank.
    ///
    /// # Errors
    /// As [`Array::compute`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.compute()?;
        let tile = whole(self.session(), &self.node)?;
        Ok(T::values(&tile.data, tile.indices.len()))
    }

    /// The program that would compute the array, and its plan.
    ///
    /// # Errors
    /// The array could not be made.
    pub fn explain(&self) -> Result<String> {
        self.check()?;
        let program = Program::of(std::slice::from_ref(&self.node), Keep::Placed);
        let session = self.session();
        let plans = session.array_plans(&program.sketch)?;
        let mut text = String::from("== array program ==\n");
        for (number, entry) in program.sketch.entries.iter().enumerate() {
            let operands = entry.operands.iter().map(|operand| format!("a{operand}")).collect::<Vec<_>>().join(", ");
            let kept = if entry.kept == Keep::No { "" } else { ", kept" };
            text += &format!("a{number}: {} {:?} = {} {operands}{kept}\n", entry.dtype, entry.shape, entry.op);
        }
        text += "== steps ==\n";
        text += &plans[0].text();
        Ok(text)
    }
}

/// Computes several arrays in one program.
///
/// ```
/// use bireme::prelude::*;
///
/// let session = Session::new()?;
/// let x = session.random::<f64>([1000], 7);
/// let (mean, spread) = (x.mean(), x.std());
/// compute_all([&mean, &spread])?;
/// assert!(mean.item()? > 0.4 && spread.item()? < 0.4);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`Array::compute`].
pub fn compute_all<'a, T: Element>(arrays: impl IntoIterator<Item = &'a Array<T>>) -> Result<()> {
    let nodes = arrays.into_iter().map(|array| Arc::clone(&array.node)).collect::<Vec<_>>();
    match nodes.first() {
        Some(first) => compute(&first.session().clone(), &nodes),
        None => Ok(()),
    }
}

pub(super) fn compute(session: &Session, targets: &[Arc<Node>]) -> Result<()> {
    targets.iter().try_for_each(|target| target.check())?;
    let waiting = targets.iter().filter(|target| target.tiles().is_none()).map(Arc::clone).collect::<Vec<_>>();
    if waiting.is_empty() {
        return Ok(());
    }
    let program = Program::of(&waiting, Keep::Placed);
    let kept = session.run_arrays(&program.sketch, &program.nodes)?;
    for (entry, ready) in kept {
        program.nodes[entry].set_ready(ready);
    }
    Ok(())
}

/// All of an array that is there, on every process.
pub(super) fn whole(session: &Session, node: &Arc<Node>) -> Result<Tile> {
    let tiles = node.tiles().ok_or_else(|| Error::internal("an array that is not there"))?;
    let first = |tiles: Vec<Tile>| tiles.into_iter().next().ok_or_else(|| Error::internal("an array on no rank"));
    // Ranks must come to the same conclusion, whatever each of them has.
    let ready = node.there();
    if !session.places().cuts(node.shape()) && ready.is_none_or(|ready| ready.tiling.is_none()) {
        return first(tiles);
    }
    first(kept_as(session, node, Keep::Whole)?)
}

/// The tiles of an array that is there, by rows on the ranks of this process.
pub(super) fn by_rows(session: &Session, node: &Arc<Node>) -> Result<Vec<Tile>> {
    let ready = node.there().ok_or_else(|| Error::internal("an array that is not there"))?;
    if ready.tiling.is_none() { Ok(ready.tiles) } else { kept_as(session, node, Keep::Rows) }
}

fn kept_as(session: &Session, node: &Arc<Node>, keep: Keep) -> Result<Vec<Tile>> {
    let program = Program::of(std::slice::from_ref(node), keep);
    let kept = session.run_arrays(&program.sketch, &program.nodes)?;
    Ok(kept.into_iter().next().map(|(_, ready)| ready.tiles).unwrap_or_default())
}

fn of_bits(dtype: bireme_operators::array::DType, bits: u64) -> bireme_operators::array::Scalar {
    use bireme_operators::array::{DType, Scalar};
    match dtype {
        DType::Bool => Scalar::Bool(bits != 0),
        DType::I32 => Scalar::I32(bits as i32),
        DType::I64 => Scalar::I64(bits as i64),
        DType::F32 => Scalar::F32(f32::from_bits(bits as u32)),
        DType::F64 => Scalar::F64(f64::from_bits(bits)),
    }
}

impl Program {
    /// What is needed for the targets, and what is held and made of that element by element.
    fn of(targets: &[Arc<Node>], keep: Keep) -> Self {
        let mut program = Self { sketch: Sketch::default(), nodes: Vec::new() };
        let mut places = HashMap::new();
        for target in targets {
            program.add(target, &mut places);
        }
        if keep == Keep::Placed {
            program.add_descendants(&mut places);
        }
        for target in targets {
            let entry = &mut program.sketch.entries[places[&Arc::as_ptr(target)]];
            entry.kept = keep;
        }
        program
    }

    /// Adds a node and all that it is made of, operands first.
    fn add(&mut self, node: &Arc<Node>, places: &mut HashMap<*const Node, usize>) {
        let mut path = vec![(Arc::clone(node), false)];
        while let Some((node, operands_done)) = path.pop() {
            let key = Arc::as_ptr(&node);
            if places.contains_key(&key) {
                continue;
            }
            let (op, operands, tiling, sparse) = match node.state() {
                State::Pending(op, operands) => (op, operands, None, false),
                State::Ready(ready) => (Op::Input, Vec::new(), ready.tiling, !ready.sparse.is_empty()),
                State::Failed(_) => (Op::Input, Vec::new(), None, false),
            };
            if !operands_done && !operands.is_empty() {
                path.push((node, true));
                path.extend(operands.into_iter().rev().map(|operand| (operand, false)));
                continue;
            }
            // An array that is held is kept; views are views of what is kept, and numbers are made again.
            let is_view = matches!(op, Op::View(_));
            let keeps = op != Op::Input && !op.is_source() && !is_view && is_wanted(&node);
            places.insert(key, self.nodes.len());
            self.sketch.entries.push(Entry {
                op,
                dtype: node.dtype(),
                shape: node.shape().to_vec(),
                operands: operands.iter().map(|operand| places[&Arc::as_ptr(operand)]).collect(),
                kept: if keeps { Keep::Placed } else { Keep::No },
                tiling,
                sparse,
            });
            self.nodes.push(node);
        }
    }

    /// Adds held arrays that are made of what is computed, in one more pass over it. Else a solver's solution would be a chain of all
    /// its steps.
    fn add_descendants(&mut self, places: &mut HashMap<*const Node, usize>) {
        let computed = |op: &Op| *op != Op::Input && !op.is_source();
        let mut waiting = (0..self.nodes.len()).filter(|&at| computed(&self.sketch.entries[at].op)).collect::<Vec<_>>();
        let mut seen = std::collections::HashSet::new();
        let mut found = Vec::new();
        let mut next = waiting.drain(..).map(|at| Arc::clone(&self.nodes[at])).collect::<Vec<_>>();
        while let Some(node) = next.pop() {
            for consumer in node.consumers() {
                if places.contains_key(&Arc::as_ptr(&consumer)) || !seen.insert(Arc::as_ptr(&consumer)) {
                    continue;
                }
                if let State::Pending(op, _) = consumer.state()
                    && op.is_cheap()
                {
                    if consumer.is_held() {
                        found.push(Arc::clone(&consumer));
                    }
                    next.push(consumer);
                }
            }
        }
        for node in found {
            if self.is_cheap(&node, places) {
                self.add(&node, places);
            }
        }
    }

    /// Whether all that is still to be made for a node is made element by element.
    fn is_cheap(&self, node: &Arc<Node>, places: &HashMap<*const Node, usize>) -> bool {
        let mut waiting = vec![Arc::clone(node)];
        let mut looked = 0;
        while let Some(node) = waiting.pop() {
            looked += 1;
            if places.contains_key(&Arc::as_ptr(&node)) {
                continue;
            }
            if let State::Pending(op, operands) = node.state() {
                if looked > 64 || !op.is_cheap() {
                    return false;
                }
                waiting.extend(operands);
            }
        }
        true
    }
}

/// Whether the program holds an array or a view of it.
fn is_wanted(node: &Arc<Node>) -> bool {
    node.is_held()
        || node
            .consumers()
            .iter()
            .any(|consumer| matches!(consumer.state(), State::Pending(Op::View(_), _)) && is_wanted(consumer))
}

impl Session {
    pub(super) fn places(&self) -> Places {
        Places::new(self.cluster(), self.ranks(), self.arrays_whole_below())
    }

    /// The plans of a sketch for the ranks of this process.
    fn array_plans(&self, sketch: &Sketch) -> Result<Arc<Vec<ArrayPlan>>> {
        if let Some(plans) = self.plans_of_arrays().lock().by_sketch.get(sketch) {
            return Ok(Arc::clone(plans));
        }
        let places = self.places();
        let plans =
            self.local_ranks().iter().map(|rank| lower(sketch, places, rank.number)).collect::<Result<Vec<_>>>()?;
        let plans = Arc::new(plans);
        let mut all = self.plans_of_arrays().lock();
        if all.by_sketch.len() >= PLANS {
            all.by_sketch.clear();
        }
        all.by_sketch.insert(sketch.clone(), Arc::clone(&plans));
        Ok(plans)
    }

    /// Runs a program; what is kept, by entry.
    fn run_arrays(&self, sketch: &Sketch, nodes: &[Arc<Node>]) -> Result<Vec<(usize, Ready)>> {
        let plans = self.array_plans(sketch)?;
        let number = self.start_action()?;
        let numbers = nodes.iter().zip(&sketch.entries).filter(|(_, entry)| entry.op != Op::Input);
        let numbers = numbers.flat_map(|(node, _)| node.numbers().iter().copied()).collect::<Vec<_>>();
        let inputs = sketch.inputs().map(|at| nodes[at].there()).collect::<Option<Vec<_>>>();
        let lost = || Error::internal("an input that is not there");
        let inputs = inputs.ok_or_else(lost)?;
        let ranks = self.local_ranks();
        let (mut stores, mut taken) = (Vec::with_capacity(ranks.len()), Vec::with_capacity(ranks.len()));
        for (at, (rank, plan)) in ranks.iter().zip(plans.iter()).enumerate() {
            let tiles = inputs.iter().map(|input| input.input(at)).collect::<Option<Vec<_>>>().ok_or_else(lost)?;
            let store = Store::new(plan.slots, tiles, numbers.clone()).on(rank.accelerator.clone());
            stores.push(Arc::new(store));
            taken.push(Taken::new(rank, plan));
        }
        match (ranks, plans.as_slice(), stores.as_slice()) {
            ([rank], [plan], [store]) if self.ranks() == 1 => {
                if let Some(Err(error)) = taken.first() {
                    return Err(error.clone());
                }
                run_alone(rank, plan, store)?;
            }
            _ => {
                let ran = self.run_on_ranks(*number, &plans, &stores, &taken);
                self.count_elements(stores.iter().map(|store| store.sent()).sum());
                ran?;
            }
        }
        drop(number);
        let mut taken = taken.into_iter().collect::<Result<Vec<_>>>()?;
        let kept = |(at, &(entry, _)): (usize, &(usize, usize))| -> Result<(usize, Ready)> {
            let tiles = stores.iter().zip(plans.iter()).map(|(store, plan)| store.tile(plan.kept[at].1));
            let memory = taken.iter_mut().filter_map(|taken| taken.kept.next()).collect();
            let tiling = plans.first().and_then(|plan| plan.kept_tilings[at].clone());
            Ok((entry, Ready::new(tiles.collect::<Result<_>>()?, tiling, memory)))
        };
        plans[0].kept.iter().enumerate().map(kept).collect()
    }

    /// Runs the plans of this process's ranks as stages, between which ranks move tiles.
    fn run_on_ranks(
        &self,
        action: u64,
        plans: &[ArrayPlan],
        stores: &[Arc<Store>],
        taken: &[Result<Taken>],
    ) -> Result<()> {
        let ranks = self.local_ranks();
        let refused = |at: usize| taken.get(at).and_then(|taken| taken.as_ref().err().cloned());
        if let ([rank], [plan], [store]) = (ranks, plans, stores) {
            self.count_sent(act(rank, action, plan, store, refused(0))?);
            return Ok(());
        }
        std::thread::scope(|scope| {
            let running = ranks.iter().zip(plans).zip(stores).enumerate();
            let running = running.map(|(at, ((rank, plan), store))| {
                let refused = refused(at);
                scope.spawn(move || act(rank, action, plan, store, refused))
            });
            let running = running.collect::<Vec<_>>();
            let ended = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a rank panicked"))));
            let sent = ended.collect::<Vec<_>>().into_iter().collect::<Result<Vec<u64>>>()?;
            self.count_sent(sent.into_iter().sum());
            Ok(())
        })
    }
}

/// What a plan takes of a rank's memory: while it runs, and for each array that is kept.
struct Taken {
    _running: Reservation,
    kept: std::vec::IntoIter<Reservation>,
}

impl Taken {
    fn new(rank: &Rank, plan: &ArrayPlan) -> Result<Self> {
        let take = |bytes: usize| {
            let memory = rank.context.budget.reserve("arrays");
            memory.try_grow(bytes).map_err(|error| error.context("computing arrays")).map(|()| memory)
        };
        let kept = plan.kept_bytes.iter().map(|&bytes| take(bytes)).collect::<Result<Vec<_>>>()?;
        let running = plan.bytes.saturating_sub(plan.kept_bytes.iter().sum());
        Ok(Self { _running: take(running)?, kept: kept.into_iter() })
    }
}

/// Runs a plan on the only rank: on this thread if that is the shortest way.
fn run_alone(rank: &Rank, plan: &ArrayPlan, store: &Arc<Store>) -> Result<()> {
    rank.context.cancel.check()?;
    // Up to so much, no step calls a worker.
    if plan.work <= ALONE as u64 {
        return plan.segments.iter().try_for_each(|segment| store.run(segment));
    }
    let workers = rank.workers().ok_or_else(|| Error::internal("a rank without workers"))?;
    let (store, segments) = (Arc::clone(store), Arc::clone(&plan.segments));
    block_on(workers.run(move || segments.iter().try_for_each(|segment| store.run(segment))))
}

/// Runs a plan with the other ranks, unless this one has no memory for it, which all of them learn; bytes that it sent to them.
fn act(rank: &Rank, action: u64, plan: &ArrayPlan, store: &Arc<Store>, refused: Option<Error>) -> Result<u64> {
    let placed = refused.map_or_else(|| placed(rank, plan, store), Err);
    let fingerprint = placed.as_ref().map(|placed| Fingerprint::new([("arrays", placed.hash())]));
    rank.context.activity.plans(action);
    let ran = agree(&rank.control, action, fingerprint.map_err(Clone::clone))
        .and(placed)
        .and_then(|placed| run(&placed, action, &rank.context));
    rank.context.activity.rests();
    Ok(ran?.exchanges.iter().map(|exchange| exchange.remote_bytes).sum())
}

/// One stage a segment, one lane of it on every rank.
fn placed(rank: &Rank, plan: &ArrayPlan, store: &Arc<Store>) -> Result<PlacedPlan> {
    let workers = rank.workers().ok_or_else(|| Error::internal("a rank without workers"))?;
    let ranks = rank.control.ranks();
    let lanes = || (0..ranks).map(Pin::Rank).collect::<Vec<_>>();
    let mut graph = StageGraph::default();
    let mut before = Arc::new(Segment::default());
    for (number, segment) in plan.segments.iter().enumerate() {
        let (id, last) = (StageId(number as u32), number + 1 == plan.segments.len());
        let segment = Arc::new(segment.clone());
        let body = ArrayBody::new(
            before,
            Arc::clone(&segment),
            plan.lines[number].clone(),
            Arc::clone(store),
            Arc::clone(workers),
        );
        let exchange = ExchangeId(number as u32);
        let output = if last { Output::Sink(Arc::new(Discard)) } else { Output::Exchange(exchange) };
        let feed = || StageInput { exchange: ExchangeId(number as u32 - 1), feed: Feed::Lanes((0..ranks).collect()) };
        graph.stages.push(Stage {
            id,
            body: Arc::new(body),
            lanes: lanes(),
            inputs: (number > 0).then(feed).into_iter().collect(),
            outputs: vec![output],
            advice: Vec::new(),
            // What a rank made before lies in its slots.
            after: number.checked_sub(1).map(|before| StageId(before as u32)).into_iter().collect(),
        });
        if !last {
            graph.exchanges.push(Exchange {
                id: exchange,
                producer: id,
                consumer: StageId(number as u32 + 1),
                route: Route::Hash(Arc::new(ByName)),
                schema: message_schema(),
                fetch: None,
                // The next stage starts when this one has ended here: nobody reads before.
                spooled: true,
                advice: false,
            });
        }
        before = segment;
    }
    let ranks_of = plan.segments.iter().map(|_| (0..ranks).collect()).collect();
    PlacedPlan::new(graph, ranks, ranks_of)
}
