//! One worker of a pipeline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bireme_engine::error::Result;
use bireme_engine::morsel::{Chunk, MorselReader, Scan};
use parking_lot::Mutex;

use super::counts::Counts;
use super::kept::Slices;
use super::line::{Line, Local, Sinking, Stepping, to_batch};
use crate::hash_join::ProbeCursor;

/// Bytes of output after which a worker hands it to the driver.
const OUTPUT_BYTES: usize = 4 << 20;

/// Batches of output after which a worker hands them to the driver: a reader behind a limit should not wait long.
const OUTPUT_BATCHES: usize = 64;

/// A part of a pipeline's run: from one supply of morsels, beginning at one step.
pub(super) struct Round {
    pub supply: Supply,
    pub first_step: usize,
    /// Set when nobody wants more: after an error, or when the readers of the output have enough.
    pub stopped: AtomicBool,
}

/// Where workers take morsels from.
pub(super) enum Supply {
    Scan { scan: Arc<dyn Scan>, next: AtomicUsize },
    Queue(Mutex<VecDeque<Chunk>>),
}

impl Supply {
    pub fn of(scan: Arc<dyn Scan>) -> Self {
        Supply::Scan { scan, next: AtomicUsize::new(0) }
    }

    /// Drops what waits in a queue.
    pub fn clear(&self) {
        if let Supply::Queue(queue) = self {
            queue.lock().clear();
        }
    }

    fn take(&self) -> Result<Option<Box<dyn MorselReader>>> {
        match self {
            Supply::Scan { scan, next } => {
                let morsel = next.fetch_add(1, Ordering::Relaxed);
                if morsel < scan.morsels() { scan.read(morsel).map(Some) } else { Ok(None) }
            }
            Supply::Queue(queue) => {
                let chunk = queue.lock().pop_front();
                Ok(chunk.map(|chunk| Box::new(Slices::new(chunk)) as Box<dyn MorselReader>))
            }
        }
    }
}

/// Why a worker came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// It has output to hand over, and more to do.
    Output,
    /// It found nothing to do.
    Idle,
}

/// A worker's own state; it moves between threads, but works on one at a time.
pub(super) struct Worker {
    pub local: Local,
    pub counts: Counts,
    reader: Option<Box<dyn MorselReader>>,
    /// For each step the probe that is under way.
    cursors: Vec<Option<ProbeCursor>>,
    output_bytes: usize,
}

impl Worker {
    pub fn new(line: &Line) -> Result<Self> {
        let mut cursors = Vec::new();
        cursors.resize_with(line.steps.len(), || None);
        let counts = Counts::new(line.steps.len());
        Ok(Self { local: line.sink.local()?, counts, reader: None, cursors, output_bytes: 0 })
    }

    /// Works until there is enough output or nothing to do.
    pub fn work(&mut self, line: &Line, round: &Round) -> Result<Pause> {
        self.output_bytes = 0;
        loop {
            line.resources.cancel.check()?;
            if round.stopped.load(Ordering::Relaxed) {
                self.drop_before(line.steps.len());
                return Ok(Pause::Idle);
            }
            let satisfied = line.satisfied_limit();
            if let Some(limit) = satisfied.filter(|&limit| round.first_step <= limit) {
                self.drop_before(limit);
            }
            if self.has_output_enough() {
                return Ok(Pause::Output);
            }
            let Some((chunk, step)) = self.next_chunk(line, round, satisfied)? else { return Ok(Pause::Idle) };
            self.push(line, chunk, step)?;
        }
    }

    fn has_output_enough(&self) -> bool {
        matches!(&self.local, Local::Output(batches)
            if self.output_bytes >= OUTPUT_BYTES || batches.len() >= OUTPUT_BATCHES)
    }

    /// The next chunk and the step it goes to: from the deepest open probe, else from the reader.
    fn next_chunk(&mut self, line: &Line, round: &Round, satisfied: Option<usize>) -> Result<Option<(Chunk, usize)>> {
        for step in (0..line.steps.len()).rev() {
            let Some(cursor) = &mut self.cursors[step] else { continue };
            match cursor.next()? {
                Some(chunk) => return Ok(Some((chunk, step + 1))),
                None => self.cursors[step] = None,
            }
        }
        if satisfied.is_some_and(|limit| round.first_step <= limit) {
            return Ok(None);
        }
        loop {
            if self.reader.is_none() {
                self.reader = round.supply.take()?;
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match reader.next()? {
                Some(chunk) => return Ok(Some((chunk, round.first_step))),
                None => self.reader = None,
            }
        }
    }

    /// Drives a chunk from a step to the sink, or to where nothing of it is left.
    fn push(&mut self, line: &Line, mut chunk: Chunk, from: usize) -> Result<()> {
        for (place, step) in line.steps.iter().enumerate().skip(from) {
            self.counts.rows[place] += chunk.rows as u64;
            let next = match step {
                Stepping::Filter(filter) => filter.apply(chunk)?,
                Stepping::Project(exprs) => {
                    let columns = exprs.iter().map(|expr| expr.evaluate(&chunk)).collect::<Result<_>>()?;
                    Some(Chunk::new(columns, chunk.rows))
                }
                Stepping::Probe(table, residual) => {
                    let mut cursor = table.probe(residual.as_ref(), chunk)?;
                    let first = cursor.next()?;
                    if first.is_some() {
                        self.cursors[place] = Some(cursor);
                    }
                    first
                }
                Stepping::Limit(limit) => limit.apply(chunk),
            };
            match next {
                Some(next) => chunk = next,
                None => return Ok(()),
            }
        }
        self.sink(line, chunk)
    }

    fn sink(&mut self, line: &Line, chunk: Chunk) -> Result<()> {
        self.counts.rows[line.steps.len()] += chunk.rows as u64;
        match (&mut self.local, &line.sink) {
            (Local::Output(batches), Sinking::Output(schema)) => {
                let batch = to_batch(schema, &chunk)?;
                self.output_bytes += batch.get_array_memory_size();
                batches.push(batch);
                Ok(())
            }
            (Local::Aggregate(local), _) => local.consume(&chunk),
            (Local::Build(local), _) => local.consume(&chunk),
            (Local::Sort(local), _) => local.consume(&chunk),
            (Local::Collect(chunks), _) => {
                chunks.push(chunk);
                Ok(())
            }
            (Local::Output(_), _) => Ok(()),
        }
    }

    /// Forgets what would still come through the steps before this one.
    fn drop_before(&mut self, step: usize) {
        self.reader = None;
        self.cursors.iter_mut().take(step).for_each(|cursor| *cursor = None);
    }
}
