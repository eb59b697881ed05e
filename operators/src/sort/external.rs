//! Sorted runs on disk, and their merge.
//!
//! A worker that gets no more memory writes what it has as a *run*: its rows in order, in blocks so small that a block of
//! each of many runs fits the budget at once. A merge holds one block of each run, with its keys as bytes that compare as
//! the rows do, and a tree of losers finds the next row in log2(runs) comparisons:
//!
//! ```text
//!   run 0  | a c | f …          tree:      a          the winner goes out, the next row of its run climbs
//!   run 1  | b d | …                      / \         from its leaf and plays the losers on its way;
//!   run 2  | b g | …                     b   b        when a block ends, the rows so far go out as a chunk
//! ```
//!
//! Where the budget does not hold a block of every run, some runs are merged into one first, as often as it takes.
//!
//! Cost: each pass writes and reads every row once, and compares it log2(runs) times. The one thing that cannot be sorted
//! this way is a row larger than the budget: that is an error.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan};
use bireme_engine::spill::{Slot, SpillFile};
use parking_lot::Mutex;

use super::Shared;
use super::blocks::{Block, Column, stored_bytes};
use super::layout::Key;
use super::order::Order;
use crate::pipeline::Resources;

/// Bytes of a block of a run, at most (or one row): reading fewer at a time does not pay.
const BLOCK_BYTES: usize = 1 << 20;

/// Blocks that the budget holds for each worker at least, so that a pass can merge many runs.
const BLOCKS: usize = 64;

/// Rows in order on disk.
#[derive(Clone, Debug)]
pub(super) struct Run {
    slots: Vec<Slot>,
    /// Bytes that a merge holds for it at most.
    cost: usize,
}

/// A file that runs are written to.
#[derive(Debug)]
pub(super) struct Runs {
    file: SpillFile,
    runs: Vec<Run>,
    types: Arc<[DataType]>,
}

impl Runs {
    pub fn create(types: &[DataType], resources: &Resources) -> Result<Self> {
        let fields =
            types.iter().enumerate().map(|(place, stored)| Field::new(place.to_string(), stored.clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { file: SpillFile::create(&resources.temp_dir, schema)?, runs: Vec::new(), types: types.into() })
    }

    /// Writes the rows of these blocks in the given order.
    pub fn write(&mut self, blocks: &[Block], order: &Order, resources: &Resources) -> Result<()> {
        let columns = self.types.iter().enumerate().map(|(place, stored)| Column::new(blocks, place, stored));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = blocks.iter().map(|block| block.rows).sum::<usize>();
        let bytes = blocks.iter().map(Block::bytes).sum::<usize>();
        let (block_rows, mut start) = (block_rows(bytes, rows, resources), 0);
        let mut run = Run { slots: Vec::new(), cost: 0 };
        while start < order.len() {
            resources.cancel.check()?;
            let ids = order.ids(start, block_rows.min(order.len() - start));
            let columns = columns.iter().map(|column| column.collect(&ids)).collect::<Result<Vec<_>>>()?;
            self.append(&mut run, columns, ids.len(), resources)?;
            start += ids.len();
        }
        self.runs.push(run);
        resources.metrics.add("spilled_runs", 1);
        Ok(())
    }

    /// Writes what is left of a merge.
    fn write_merged(&mut self, mut merge: Merge, resources: &Resources) -> Result<()> {
        let mut run = Run { slots: Vec::new(), cost: 0 };
        while let Some((columns, rows)) = merge.next(usize::MAX)? {
            resources.cancel.check()?;
            self.append(&mut run, columns, rows, resources)?;
        }
        self.runs.push(run);
        resources.metrics.add("merged_runs", 1);
        Ok(())
    }

    fn append(&mut self, run: &mut Run, columns: Vec<ArrayRef>, rows: usize, resources: &Resources) -> Result<()> {
        let bytes = columns.iter().map(stored_bytes).sum::<usize>();
        let batch = batch(self.file.schema(), columns, rows)?;
        let before = self.file.bytes_written();
        run.slots.push(self.file.append(&batch)?);
        resources.metrics.add("spilled_bytes", self.file.bytes_written() - before);
        // The block, and its keys as bytes.
        run.cost = run.cost.max(2 * bytes + size_of::<usize>() * rows);
        Ok(())
    }
}

/// Rows of a block of a run, so that [`BLOCKS`] of them fit the budget for each worker.
fn block_rows(bytes: usize, rows: usize, resources: &Resources) -> usize {
    let row_bytes = (bytes / rows.max(1)).max(1);
    let room = resources.budget.limit().map_or(BLOCK_BYTES, |limit| limit / (BLOCKS * resources.workers.max(1)));
    (room.min(BLOCK_BYTES) / row_bytes).clamp(1, CHUNK_ROWS)
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Merges runs until the budget holds a block of each that is left; what then comes out is the result.
pub(super) fn merged(runs: Vec<Runs>, shared: &Arc<Shared>) -> Result<Arc<dyn Scan>> {
    let resources = &shared.resources;
    let mut waiting = VecDeque::new();
    for Runs { file, runs, .. } in runs {
        let file = Arc::new(file);
        waiting.extend(runs.into_iter().map(|run| (Arc::clone(&file), run)));
    }
    loop {
        let memory = resources.budget.reserve("sort");
        let fan_in = fan_in(&waiting, &memory);
        if fan_in == waiting.len() {
            let merge = Merge::of(waiting.into(), shared, memory)?;
            return Ok(Arc::new(ExternalScan { merge: Mutex::new(Some(merge)), shared: Arc::clone(shared) }));
        }
        let merge = Merge::of(waiting.drain(..fan_in).collect(), shared, memory)?;
        let mut merged = Runs::create(&shared.types, resources)?;
        merged.write_merged(merge, resources)?;
        let file = Arc::new(merged.file);
        waiting.extend(merged.runs.into_iter().map(|run| (Arc::clone(&file), run)));
    }
}

/// How many of the first runs to merge at once: as many as there is memory for, which is taken, but at least two.
fn fan_in(waiting: &VecDeque<(Arc<SpillFile>, Run)>, memory: &Reservation) -> usize {
    for (place, (_, run)) in waiting.iter().enumerate() {
        if place < 2 {
            memory.grow(run.cost);
        } else if memory.try_grow(run.cost).is_err() {
            return place;
        }
    }
    waiting.len()
}

/// A merge of runs on its way.
struct Merge {
    cursors: Vec<Cursor>,
    /// At `0` the cursor that is first; at every other node the one that lost there.
    losers: Vec<usize>,
    /// The cursor whose block has ended, to go on with after the rows so far are out.
    ended: Option<usize>,
    keys: Vec<Key>,
    types: Vec<DataType>,
    converter: RowConverter,
    _memory: Reservation,
}

/// A place in a run.
struct Cursor {
    file: Arc<SpillFile>,
    slots: std::vec::IntoIter<Slot>,
    columns: Vec<ArrayRef>,
    keys: Option<Rows>,
    row: usize,
    rows: usize,
}

const NOBODY: usize = usize::MAX;

impl Merge {
    fn of(runs: Vec<(Arc<SpillFile>, Run)>, shared: &Shared, memory: Reservation) -> Result<Self> {
        let fields = shared.keys.iter().map(|key| {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            SortField::new_with_options(shared.types[key.column].clone(), options)
        });
        let cursors = runs.into_iter().map(|(file, run)| Cursor {
            file,
            slots: run.slots.into_iter(),
            columns: Vec::new(),
            keys: None,
            row: 0,
            rows: 0,
        });
        let cursors = cursors.collect::<Vec<_>>();
        let mut merge = Self {
            losers: vec![NOBODY; cursors.len().max(1)],
            cursors,
            ended: None,
            keys: shared.keys.clone(),
            types: shared.types.clone(),
            converter: RowConverter::new(fields.collect())?,
            _memory: memory,
        };
        for cursor in 0..merge.cursors.len() {
            merge.load(cursor)?;
            merge.climb(cursor);
        }
        Ok(merge)
    }

    /// Reads the next block of a run; at its end, the cursor stays without rows.
    fn load(&mut self, cursor: usize) -> Result<()> {
        let cursor = &mut self.cursors[cursor];
        // The old block goes before the new one comes.
        (cursor.row, cursor.rows, cursor.keys) = (0, 0, None);
        cursor.columns = self.types.iter().map(new_empty_array).collect();
        if let Some(slot) = cursor.slots.next() {
            let batch = cursor.file.read(slot)?;
            cursor.rows = batch.num_rows();
            cursor.columns = batch.columns().to_vec();
            let keys = self.keys.iter().map(|key| Arc::clone(&cursor.columns[key.column])).collect::<Vec<_>>();
            cursor.keys = if keys.is_empty() { None } else { Some(self.converter.convert_columns(&keys)?) };
        }
        Ok(())
    }

    /// Lets a cursor play from its leaf upwards; whoever wins in the end stands at `0`.
    ///
    /// In a new tree a node is empty until the first of its two sides arrives, which waits there.
    fn climb(&mut self, cursor: usize) {
        let (mut winner, mut node) = (cursor, (cursor + self.cursors.len()) / 2);
        while node > 0 {
            let other = self.losers[node];
            if other == NOBODY {
                self.losers[node] = winner;
                return;
            }
            if self.before(other, winner) {
                self.losers[node] = winner;
                winner = other;
            }
            node /= 2;
        }
        self.losers[0] = winner;
    }

    /// Whether the next row of `a` comes before that of `b`; cursors without rows come last, ties go by cursor.
    fn before(&self, a: usize, b: usize) -> bool {
        let (one, other) = (&self.cursors[a], &self.cursors[b]);
        let order = match (one.row < one.rows, other.row < other.rows) {
            (true, true) => match (&one.keys, &other.keys) {
                (Some(keys), Some(others)) => keys.row(one.row).cmp(&others.row(other.row)),
                _ => Ordering::Equal,
            },
            (there, other) => other.cmp(&there),
        };
        order.then(a.cmp(&b)).is_lt()
    }

    /// The next rows, up to `limit`; none at the end.
    fn next(&mut self, limit: usize) -> Result<Option<(Vec<ArrayRef>, usize)>> {
        if let Some(ended) = self.ended.take() {
            self.load(ended)?;
            self.climb(ended);
        }
        let mut picked = Vec::new();
        while picked.len() < limit.min(CHUNK_ROWS) {
            let first = self.losers[0];
            let Some(cursor) = self.cursors.get_mut(first).filter(|cursor| cursor.row < cursor.rows) else { break };
            picked.push((first, cursor.row));
            cursor.row += 1;
            if cursor.row == cursor.rows {
                self.ended = Some(first);
                break;
            }
            self.climb(first);
        }
        if picked.is_empty() {
            return Ok(None);
        }
        let columns = (0..self.types.len()).map(|place| {
            let arrays = self.cursors.iter().map(|cursor| cursor.columns[place].as_ref()).collect::<Vec<_>>();
            Ok(interleave(&arrays, &picked)?)
        });
        Ok(Some((columns.collect::<Result<_>>()?, picked.len())))
    }
}

/// The last merge, as one morsel.
struct ExternalScan {
    merge: Mutex<Option<Merge>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for ExternalScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.merge.lock().as_ref().map_or(0, |merge| merge.cursors.len());
        write!(f, "ExternalScan({runs} runs)")
    }
}

impl Scan for ExternalScan {
    fn morsels(&self) -> usize {
        1
    }

    fn ordered(&self) -> bool {
        true
    }

    fn read(&self, _: usize) -> Result<Box<dyn MorselReader>> {
        let merge = self.merge.lock().take();
        let merge = merge.ok_or_else(|| Error::internal("the merge of a sort was read twice"))?;
        let wanted = self.shared.fetch.unwrap_or(usize::MAX);
        Ok(Box::new(MergedRows { merge, wanted, shared: Arc::clone(&self.shared) }))
    }
}

struct MergedRows {
    merge: Merge,
    /// Rows that are still wanted.
    wanted: usize,
    shared: Arc<Shared>,
}

impl MorselReader for MergedRows {
    fn next(&mut self) -> Result<Option<Chunk>> {
        self.shared.resources.cancel.check()?;
        let Some((mut columns, rows)) = self.merge.next(self.wanted)? else { return Ok(None) };
        self.wanted -= rows;
        columns.truncate(self.shared.visible);
        Ok(Some(Chunk::new(columns, rows)))
    }
}
