//! A recursive query as the body of a stage: semi-naive iteration over the stage's edge to itself.
//!
//! ```text
//!   first rows (an exchange) ─► to the rank of each row ─► those not seen before ─┬─► output
//!                                        ▲                                        ▼
//!                                        └──── project ◄─ probe slot 0 ◄───── slot 1           until no rank has rows
//! ```
//!
//! The last pipeline of the program is the recursive term: it reads only the rows that the round before has added, and collects
//! its rows in the slot that it has read. That is right for a term that distributes over unions, T(A ∪ B) = T(A) ∪ T(B)
//! (F. Bancilhon, R. Ramakrishnan: An amateur's introduction to recursive query processing strategies, SIGMOD 1986), and for the
//! same reason each rank works on its own rows. What does not depend on the rounds, the build sides of the term's joins, is made
//! by the pipelines before it, once.
//!
//! Rows of a round, and rows seen, are in memory; what does not fit is an error. Build sides spill.
//!
//! Cost of a round between ranks: one message from each rank to each other, of the rows that belong there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::buffer::Buffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Flow, Outlet};
use bireme_engine::feedback::{Feedback, sum_of};
use bireme_engine::metrics::LineReport;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId, Partitioner};
use bireme_engine::wire;
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::BoxFuture;
use rayon::prelude::*;

use super::Leaf;
use super::body::Run;
use super::crew::to_chunk;
use super::kept::{Chunks, Kept};
use super::line::to_batch;
use crate::aggregate::Distinct;
use crate::pipeline::ir::{Pipeline, Program, SlotId, Step};

/// Rows of a morsel.
const MORSEL_ROWS: usize = 8 * CHUNK_ROWS;

/// What is done in rounds.
#[derive(Clone, Debug)]
pub struct Recursion {
    /// Over which exchange the first rows come.
    pub first: ExchangeId,
    /// Whether a row counts once (`UNION`), or as often as it comes (`UNION ALL`).
    pub distinct: bool,
    /// Which rank a row belongs to: one that has all its partners in the term's joins, and the rows that are equal to it.
    pub owner: Arc<dyn Partitioner>,
}

/// The body of a stage with one lane on each rank.
#[derive(Debug)]
pub struct RecursionBody {
    program: Arc<Program>,
    leaves: Arc<BTreeMap<usize, Leaf>>,
    workers: Arc<Workers>,
    recursion: Recursion,
}

impl RecursionBody {
    /// A body that runs the last pipeline of `program`, which collects into the slot that it reads, round by round.
    pub fn new(program: Program, leaves: BTreeMap<usize, Leaf>, workers: Arc<Workers>, recursion: Recursion) -> Self {
        Self { program: Arc::new(program), leaves: Arc::new(leaves), workers, recursion }
    }
}

impl Body for RecursionBody {
    // Behind the program, whose lines are counted by their places.
    fn lines(&self) -> Vec<String> {
        let Recursion { first, distinct, owner } = &self.recursion;
        let last = self.program.pipelines.len().saturating_sub(1);
        let (rows, union) = if *distinct { ("new rows", "UNION") } else { ("rows", "UNION ALL") };
        let mut lines = self.program.lines();
        let owner = owner.describe();
        lines.push(format!(
            "rounds of pipeline {last}: {rows} of {first}, then of the last round ({union}), by {owner}"
        ));
        lines
    }

    fn feeds_back(&self) -> bool {
        true
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (feedback, memory) = (task.feedback.take(), task.budget.reserve("recursive query"));
        let mut outlets = std::mem::take(&mut task.outlets).into_iter();
        let (outlet, recursion) = (outlets.next(), self.recursion.clone());
        let run = Run::new(&self.program, &self.leaves, &self.workers, task);
        async move {
            let feedback = feedback.ok_or_else(|| Error::internal("a recursive query without rounds"))?;
            let outlet = outlet.ok_or_else(|| Error::internal("a recursive query without an outlet"))?;
            let seen = match recursion.distinct {
                true => {
                    let types = run.program.schema.fields().iter().map(|field| field.data_type().clone());
                    Some(Distinct::new(&types.collect::<Vec<_>>(), run.workers.threads())?)
                }
                false => None,
            };
            let line = run.program.lines().len() as u32;
            Rounds { run, recursion, feedback, seen, memory, outlet, line }.all().await?;
            for other in outlets {
                other.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// The rounds of one run on one rank.
struct Rounds {
    run: Run,
    recursion: Recursion,
    feedback: Feedback,
    /// The rows there were so far, if each counts once.
    seen: Option<Distinct>,
    /// For the rows of a round, and those seen.
    memory: Reservation,
    outlet: Outlet,
    /// Of the body's text, where it speaks of rounds.
    line: u32,
}

impl Rounds {
    async fn all(mut self) -> Result<()> {
        let pipelines = self.run.program.pipelines.len();
        for number in 0..pipelines.saturating_sub(1) {
            let program = Arc::clone(&self.run.program);
            self.fill(number, &program.pipelines[number]).await?;
            self.run.forget_after(number);
        }
        let mut found = self.first().await?;
        let mut flow = Flow::Continue;
        while let Some(arrived) = self.exchange(found, flow).await? {
            let new = self.new_rows(arrived).await?;
            flow = self.hand_on(&new).await?;
            found = self.step(new).await?;
        }
        let Self { run, outlet, .. } = self;
        drop(run);
        outlet.finish().await
    }

    /// Runs a pipeline that fills a slot; nothing is handed on, so nobody says stop.
    async fn fill(&mut self, number: usize, pipeline: &Pipeline) -> Result<()> {
        self.run.pipeline(number, pipeline, &mut self.outlet).await.map(|_: Flow| ())
    }

    /// The rows to begin with.
    async fn first(&mut self) -> Result<Vec<Chunk>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (_, mut inlet) in self.run.inlets.remove(&self.recursion.first).unwrap_or_default() {
            while let Some(batch) = inlet.next().await {
                found.push(to_chunk(&batch?)?);
                bytes += found.last().map_or(0, Chunk::bytes);
                self.hold(bytes)?;
            }
        }
        Ok(found)
    }

    /// Memory for what was seen, and so many bytes of rows.
    fn hold(&self, bytes: usize) -> Result<()> {
        let seen = self.seen.as_ref().map_or(0, Distinct::bytes);
        self.memory.resize(seen + bytes).map_err(|error| error.context("a round of a recursive query"))
    }

    /// Brings rows to the ranks they belong to. `None` if there are none anywhere, or if nobody wants more.
    async fn exchange(&mut self, found: Vec<Chunk>, flow: Flow) -> Result<Option<Vec<Chunk>>> {
        let (ranks, place) = (self.feedback.ranks(), self.feedback.place());
        let rows = found.iter().map(|chunk| chunk.rows as u64).sum::<u64>();
        // Between ranks they are there twice until they are sent.
        let bytes = found.iter().map(Chunk::bytes).sum::<usize>();
        self.hold(if ranks > 1 { 2 * bytes } else { bytes })?;
        let words = [rows, u64::from(flow == Flow::Stop)];
        let (schema, owner) = (Arc::clone(&self.run.program.schema), Arc::clone(&self.recursion.owner));
        let (mut arrived, bytes) = match ranks {
            1 => (found, vec![Buffer::default()]),
            _ => self.run.workers.run(move || share(&found, &schema, owner.as_ref(), ranks, place)).await?,
        };
        let letters = self.feedback.round(&words, bytes).await?;
        if sum_of(&letters, 0) == 0 || sum_of(&letters, 1) == ranks as u64 {
            return Ok(None);
        }
        for letter in letters.iter().filter(|letter| !letter.bytes.is_empty()) {
            arrived.push(to_chunk(&wire::from_bytes(&self.run.program.schema, &letter.bytes)?)?);
        }
        Ok(Some(arrived))
    }

    /// Those of the rows that count.
    async fn new_rows(&mut self, arrived: Vec<Chunk>) -> Result<Vec<Chunk>> {
        let mut new = arrived;
        self.hold(new.iter().map(Chunk::bytes).sum())?;
        if let Some(mut seen) = self.seen.take() {
            let work = move || seen.keep_new(&new).map(|new| (seen, new));
            let (seen, kept) = self.run.workers.run(work).await?;
            new = kept;
            self.seen = Some(seen);
        }
        let rows = new.iter().map(|chunk| chunk.rows as u64).sum();
        self.run.resources.metrics.add_line(LineReport { line: self.line, rows, ..LineReport::default() });
        self.hold(new.iter().map(Chunk::bytes).sum())?;
        Ok(new)
    }

    /// Says whether more rows are wanted, also if there are none now: a limit above may have enough from other ranks.
    async fn hand_on(&mut self, new: &[Chunk]) -> Result<Flow> {
        for chunk in new {
            if self.outlet.flow() == Flow::Stop
                || self.outlet.push(to_batch(&self.run.program.schema, chunk)?).await? == Flow::Stop
            {
                break;
            }
        }
        Ok(self.outlet.flow())
    }

    /// What the recursive term makes of the new rows.
    async fn step(&mut self, new: Vec<Chunk>) -> Result<Vec<Chunk>> {
        if new.is_empty() {
            return Ok(new);
        }
        let mut bytes = new.iter().map(Chunk::bytes).sum::<usize>();
        let program = Arc::clone(&self.run.program);
        let (number, last) = program.pipelines.iter().enumerate().next_back().ok_or_else(nothing_to_repeat)?;
        let SlotId(slot) = last.sink.slot().ok_or_else(nothing_to_repeat)?;
        self.run.slots[slot] = Kept::Rows(Arc::new(Chunks(morsels(new))));
        self.fill(number, last).await?;
        for step in &last.steps {
            if let Step::Probe(slot, _) = step {
                self.run.slots[slot.0].table()?.probe_again()?;
            }
        }
        let rows = std::mem::replace(&mut self.run.slots[slot], Kept::Nothing).rows()?;
        let mut found = Vec::new();
        for morsel in 0..rows.morsels() {
            let mut reader = rows.read(morsel)?;
            while let Some(chunk) = reader.next()? {
                bytes += chunk.bytes();
                found.push(chunk);
                self.hold(bytes)?;
            }
        }
        Ok(found)
    }
}

fn nothing_to_repeat() -> Error {
    Error::internal("a recursive query whose last pipeline keeps no rows")
}

/// Chunks that are no larger than what a worker takes at a time.
fn morsels(chunks: Vec<Chunk>) -> Vec<Chunk> {
    let pieces = |chunk: Chunk| {
        let firsts = (0..chunk.rows).step_by(MORSEL_ROWS);
        firsts.map(move |first| chunk.slice(first, MORSEL_ROWS.min(chunk.rows - first)))
    };
    chunks.into_iter().flat_map(pieces).collect()
}

/// The rows that belong to the rank at `place`, and for each other rank those that belong there, as bytes.
fn share(
    found: &[Chunk],
    schema: &SchemaRef,
    owner: &dyn Partitioner,
    ranks: usize,
    place: usize,
) -> Result<(Vec<Chunk>, Vec<Buffer>)> {
    let parts = found.par_iter().map(|chunk| {
        let batch = to_batch(schema, chunk)?;
        let (mut owners, mut rows) = (Vec::new(), vec![Vec::new(); ranks]);
        owner.assign(&batch, ranks, &mut owners)?;
        (0_u32..).zip(&owners).for_each(|(row, &owner)| rows[owner as usize].push(row));
        let part = |rows: Vec<u32>| Ok(take_record_batch(&batch, &UInt32Array::from(rows))?);
        rows.into_iter().map(part).collect::<Result<Vec<_>>>()
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let (mut own, mut bytes) = (Vec::new(), Vec::with_capacity(ranks));
    for rank in 0..ranks {
        let parts = parts.iter().map(|parts| &parts[rank]).filter(|part| part.num_rows() > 0);
        let batch = concat_batches(schema, parts)?;
        bytes.push(match batch.num_rows() {
            0 => Buffer::default(),
            _ if rank == place => {
                own.push(to_chunk(&batch)?);
                Buffer::default()
            }
            _ => wire::to_bytes(&batch)?,
        });
    }
    Ok((own, bytes))
}
