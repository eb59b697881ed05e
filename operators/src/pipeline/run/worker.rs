//! One worker of a pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{Chunk, MorselReader, Scan};
use parking_lot::Mutex;

use super::counts::{Counts, Whence};
use super::kept::Slices;
use super::line::{Line, Local, Sinking, Stepping, to_batch};
use crate::hash_join::ProbeCursor;
use crate::pipeline::device::{DeviceCursor, Made};
use crate::window::WindowCursor;

/// Bytes of output after which a worker hands it to the driver.
const OUTPUT_BYTES: usize = 4 << 20;

/// Batches of output after which a worker hands them to the driver: a reader behind a limit should not wait long.
const OUTPUT_BATCHES: usize = 64;

/// A part of a pipeline's run: from one supply of morsels, beginning at one step.
pub(super) struct Round {
    pub supply: Supply,
    /// What its rows come out of.
    pub whence: Whence,
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

    /// Batches of an exchange, as they come.
    pub fn queue() -> Self {
        Supply::Queue(Mutex::new(VecDeque::new()))
    }

    /// Whether the order of rows means something, from one morsel to the next.
    pub fn ordered(&self) -> bool {
        matches!(self, Supply::Scan { scan, .. } if scan.ordered())
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
    /// For each step what is under way there.
    cursors: Vec<Option<Cursor>>,
    /// Rows on their way to a device, by the first step that it does.
    devices: BTreeMap<usize, DeviceCursor>,
    output_bytes: usize,
}

/// Rows that are under way, the step they go to, and whether that is the host's in any case.
struct Next {
    chunk: Chunk,
    step: usize,
    by_host: bool,
}

/// A step that is not done with the rows it was given.
enum Cursor {
    /// It may have more of them.
    Probe(Box<ProbeCursor>),
    /// It may, or it waits for the rest of their partition.
    Window(Box<WindowCursor>),
}

impl Worker {
    pub fn new(line: &Line) -> Result<Self> {
        let mut cursors = Vec::new();
        cursors.resize_with(line.steps.len(), || None);
        let counts = Counts::new(line.entries.len(), line.steps.len());
        let devices = line.segments.iter().map(|(&place, running)| (place, DeviceCursor::new(running))).collect();
        Ok(Self { local: line.sink.local()?, counts, reader: None, cursors, devices, output_bytes: 0 })
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
            let satisfied = line.satisfied_limit(round.first_step);
            if let Some(limit) = satisfied {
                self.drop_before(limit);
            }
            if self.has_output_enough() {
                return Ok(Pause::Output);
            }
            let Some(next) = self.next_chunk(line, round, satisfied.is_some())? else {
                return Ok(Pause::Idle);
            };
            self.push(line, next)?;
        }
    }

    fn has_output_enough(&self) -> bool {
        matches!(&self.local, Local::Output(batches)
            if self.output_bytes >= OUTPUT_BYTES || batches.len() >= OUTPUT_BATCHES)
    }

    /// The next chunk and the step it goes to: from the deepest step that has one, else from the reader.
    fn next_chunk(&mut self, line: &Line, round: &Round, satisfied: bool) -> Result<Option<Next>> {
        loop {
            if let Some(found) = self.next_under_way(line)? {
                return Ok(Some(found));
            }
            // A partition goes on in the next morsel only if morsels come in order. Rows of it may still be on their way to a device.
            if self.reader.is_none() && !round.supply.ordered() && line.has_windows() && self.finish_first(line)? {
                continue;
            }
            if self.reader.is_none() && !satisfied {
                self.reader = round.supply.take()?;
            }
            let Some(reader) = &mut self.reader else {
                if self.finish_first(line)? {
                    continue;
                }
                return Ok(None);
            };
            match reader.next()? {
                Some(chunk) => {
                    self.counts.add_rows(round.whence, chunk.rows);
                    return Ok(Some(Next { chunk, step: round.first_step, by_host: false }));
                }
                None => self.reader = None,
            }
        }
    }

    /// What the deepest step has that is under way.
    fn next_under_way(&mut self, line: &Line) -> Result<Option<Next>> {
        for step in (0..=line.steps.len()).rev() {
            while let Some(made) = self.devices.get_mut(&step).and_then(DeviceCursor::pop) {
                match made {
                    Made::Rows(chunk) => return Ok(Some(Next { chunk, step: line.behind(step), by_host: false })),
                    Made::Again(chunk) => return Ok(Some(Next { chunk, step, by_host: true })),
                    Made::Groups(load, groups) => match &mut self.local {
                        Local::Aggregate(local) => local.consume_groups(load, &groups)?,
                        _ => return Err(Error::internal("groups for a sink that has none")),
                    },
                }
            }
            let Some(cursor) = self.cursors.get_mut(step) else { continue };
            let chunk = match cursor {
                None => None,
                Some(Cursor::Window(cursor)) => cursor.pop(),
                Some(Cursor::Probe(cursor)) => {
                    let chunk = cursor.next()?;
                    if chunk.is_none() {
                        self.cursors[step] = None;
                    }
                    chunk
                }
            };
            if let Some(chunk) = chunk {
                self.counts.add_rows(Whence::Step(step), chunk.rows);
                return Ok(Some(Next { chunk, step: line.after[step], by_host: false }));
            }
        }
        Ok(None)
    }

    /// Lets go of what the first of all steps has waited for, once no more rows come; says whether there was something.
    fn finish_first(&mut self, line: &Line) -> Result<bool> {
        for step in 0..=line.steps.len() {
            if let Some(Some(Cursor::Window(window))) = self.cursors.get_mut(step)
                && window.finish()?
            {
                return Ok(true);
            }
            if let Some(device) = self.devices.get_mut(&step)
                && device.flush(&mut count(&mut self.counts, line, step))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drives a chunk from a step to the sink, or to where nothing of it is left, or to a device.
    fn push(&mut self, line: &Line, next: Next) -> Result<()> {
        let Next { mut chunk, step: mut place, mut by_host } = next;
        loop {
            if !by_host && let Some(device) = self.devices.get_mut(&place) {
                return device.push(chunk, &mut count(&mut self.counts, line, place));
            }
            by_host = false;
            let Some(step) = line.steps.get(place) else { break };
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
                        self.cursors[place] = Some(Cursor::Probe(Box::new(cursor)));
                    }
                    first
                }
                Stepping::Limit(limit) => limit.apply(chunk),
                Stepping::Window(windows) => {
                    let cursor = self.cursors[place].take();
                    let mut cursor = match cursor {
                        Some(Cursor::Window(cursor)) => cursor,
                        _ => Box::new(windows.cursor()),
                    };
                    cursor.push(chunk)?;
                    let first = cursor.pop();
                    self.cursors[place] = Some(Cursor::Window(cursor));
                    first
                }
            };
            match next {
                Some(next) => chunk = next,
                None => return Ok(()),
            }
            self.counts.add_rows(Whence::Step(place), chunk.rows);
            place = line.after[place];
        }
        self.sink(line, chunk)
    }

    fn sink(&mut self, line: &Line, chunk: Chunk) -> Result<()> {
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
        self.devices.range_mut(..step).for_each(|(_, device)| device.clear());
        self.cursors.iter_mut().take(step).for_each(|cursor| *cursor = None);
    }
}

/// Counts the rows that come out of the steps of a segment.
fn count<'a>(counts: &'a mut Counts, line: &'a Line, first: usize) -> impl FnMut(usize, u64) + 'a {
    move |step, rows| {
        let place = (0..step).fold(first, |place, _| line.after[place]);
        counts.add_rows(Whence::Step(place), rows as usize);
    }
}
