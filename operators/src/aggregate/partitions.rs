//! Rows that wait, apart by bits of their keys' hash, in memory or on disk.
//!
//! ```text
//!   chunk:     k3 k1 k2 k1 k3 k0        one gather for each column: a chunk in the order of partitions, and where each starts
//!   piece:     k0|k1 k1|k2|k3 k3        starts: 0 1 3 4
//!   partition 1 = the rows 1..3 of this piece, and its rows of all other pieces
//! ```
//!
//! When memory runs out the pieces go to disk, each partition by itself. Each level of partitions takes other bits of the hash,
//! so a partition that is too large is taken apart again. The hash is of values, the same for all workers; it is mixed
//! once more, since rows that an exchange brought here agree in the hash that placed them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Int64Type, SchemaRef, i256};
use bireme_engine::error::{Error, Result};
use bireme_engine::hash::hash_columns;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, to_logical};
use bireme_engine::spill::{Slot, SpillFile};

use super::Shared;
use super::groups::Load;
use super::table::fold;

/// Rows of one table, in partitions.
#[derive(Debug)]
pub(super) struct Partitions {
    level: u32,
    pieces: Vec<Piece>,
    spilled: Vec<Spilled>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    load: Load,
    chunk: Chunk,
    starts: Vec<u32>,
}

/// What is on disk of one load.
#[derive(Debug)]
struct Spilled {
    load: Load,
    file: SpillFile,
    slots: Vec<Vec<Slot>>,
}

impl Partitions {
    pub(super) fn new(level: u32) -> Self {
        Self { level, pieces: Vec::new(), spilled: Vec::new(), bytes: 0 }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The level of tables that partitions of this level are merged in.
    pub(super) fn next_level(&self) -> u32 {
        self.level + 1
    }

    /// Takes rows.
    ///
    /// # Errors
    /// The keys have no hash.
    pub(super) fn push(&mut self, shared: &Shared, load: Load, chunk: &Chunk) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let schema = shared.schema(load);
        // One form for all chunks: pieces are put together when they go to disk, and hashed by value.
        let mut columns = Vec::with_capacity(chunk.columns.len());
        for (column, field) in chunk.columns.iter().zip(schema.fields()) {
            // Exact sums stay as narrow as they came.
            let exact = matches!(field.data_type(), DataType::Decimal256(..));
            columns.push(if exact { column.clone() } else { plain(column, field.data_type())? });
        }
        let keys = match load {
            Load::Input => shared.plan.keys.iter().map(|&key| columns[key].clone()).collect::<Vec<_>>(),
            Load::States | Load::Set(_) => columns[..shared.plan.keys.len()].to_vec(),
        };
        let mut hashes = Vec::new();
        hash_columns(&keys, chunk.rows, &mut hashes)?;
        let (order, starts) = self.order(shared, &hashes);
        for column in &mut columns {
            *column = compact(take(column, &order, None)?);
        }
        let chunk = Chunk::new(columns, chunk.rows);
        self.bytes += bytes(&chunk) + starts.len() * 4;
        self.pieces.push(Piece { load, chunk, starts });
        Ok(())
    }

    /// A counting sort by partition: the rows in order, and where each partition starts.
    fn order(&self, shared: &Shared, hashes: &[u64]) -> (UInt32Array, Vec<u32>) {
        let bits = shared.tuning.radix_bits;
        let shift = 64 - bits * (self.level + 1);
        let mask = (1_u64 << bits) - 1;
        let place = |hash: u64| {
            let hash = hash & shared.tuning.hash_mask;
            (fold(hash ^ 0x8f1b_bcdc_bfa5_3e0b, 0xe703_7ed1_a0b4_28db) >> shift & mask) as usize
        };
        let mut starts = vec![0_u32; (1 << bits) + 1];
        let places = hashes.iter().map(|&hash| place(hash) as u32).collect::<Vec<_>>();
        places.iter().for_each(|&place| starts[place as usize + 1] += 1);
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; hashes.len()];
        for (row, &place) in places.iter().enumerate() {
            let next = &mut next[place as usize];
            order[*next as usize] = row as u32;
            *next += 1;
        }
        (order.into(), starts)
    }

    /// Writes all pieces to disk.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn spill(&mut self, shared: &Shared) -> Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        self.bytes = 0;
        let mut loads = Vec::<Load>::new();
        for piece in &pieces {
            if !loads.contains(&piece.load) {
                loads.push(piece.load);
            }
        }
        for load in loads {
            let schema = shared.schema(load);
            let at = match self.spilled.iter().position(|spilled| spilled.load == load) {
                Some(at) => at,
                None => {
                    let file = SpillFile::create(&shared.resources.temp_dir, Arc::clone(&schema))?;
                    self.spilled.push(Spilled { load, file, slots: vec![Vec::new(); 1 << shared.tuning.radix_bits] });
                    self.spilled.len() - 1
                }
            };
            let spilled = &mut self.spilled[at];
            let before = spilled.file.bytes_written();
            for (partition, slots) in spilled.slots.iter_mut().enumerate() {
                let parts = pieces.iter().filter(|piece| piece.load == load);
                let parts = parts.map(|piece| piece.part(partition)).filter(|part| part.rows > 0).collect::<Vec<_>>();
                if !parts.is_empty() {
                    slots.push(spilled.file.append(&join(&schema, &parts)?)?);
                }
            }
            shared.resources.metrics.add("spilled_bytes", spilled.file.bytes_written() - before);
        }
        Ok(())
    }

    /// Gives the rows of a partition to `take`, in chunks.
    ///
    /// # Errors
    /// The disk or `take` fails.
    pub(super) fn read(&self, partition: usize, mut take: impl FnMut(Load, Chunk) -> Result<()>) -> Result<()> {
        for spilled in &self.spilled {
            for &slot in &spilled.slots[partition] {
                let batch = spilled.file.read(slot)?;
                let chunk = Chunk::new(batch.columns().to_vec(), batch.num_rows());
                cut(&chunk, |chunk| take(spilled.load, chunk))?;
            }
        }
        for piece in &self.pieces {
            let part = piece.part(partition);
            cut(&part, |chunk| take(piece.load, chunk))?;
        }
        Ok(())
    }

    /// Whether a partition has no rows.
    pub(super) fn is_empty(&self, partition: usize) -> bool {
        self.pieces.iter().all(|piece| piece.starts[partition] == piece.starts[partition + 1])
            && self.spilled.iter().all(|spilled| spilled.slots[partition].is_empty())
    }
}

impl Piece {
    fn part(&self, partition: usize) -> Chunk {
        let start = self.starts[partition] as usize;
        self.chunk.slice(start, self.starts[partition + 1] as usize - start)
    }
}

/// Gives a chunk on in pieces of at most [`CHUNK_ROWS`].
pub(super) fn cut(chunk: &Chunk, mut take: impl FnMut(Chunk) -> Result<()>) -> Result<()> {
    for start in (0..chunk.rows).step_by(CHUNK_ROWS) {
        take(chunk.slice(start, CHUNK_ROWS.min(chunk.rows - start)))?;
    }
    Ok(())
}

/// A carried column in the plain form.
fn plain(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match (column.data_type(), wanted) {
        (have, want) if have == want => Ok(Arc::clone(column)),
        // Exact sums of durations are integers underneath.
        (DataType::Int64, DataType::Duration(_)) => Ok(arrow::compute::cast(column, wanted)?),
        _ => to_logical(column, wanted),
    }
}

/// An exact sum as `Decimal256`.
pub(super) fn widened(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let DataType::Decimal256(digits, scale) = *wanted else { return plain(column, wanted) };
    let wide = match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            values.iter().map(|&value| i256::from_i128(value.into())).collect::<Vec<_>>()
        }
        DataType::Decimal128(..) => {
            column.as_primitive::<Decimal128Type>().values().iter().map(|&value| i256::from_i128(value)).collect()
        }
        DataType::Decimal256(..) => column.as_primitive::<Decimal256Type>().values().to_vec(),
        _ => return plain(column, wanted),
    };
    let wide = Decimal256Array::new(wide.into(), column.nulls().cloned());
    Ok(Arc::new(wide.with_precision_and_scale(digits, scale)?))
}

/// One batch of parts of one load.
fn join(schema: &SchemaRef, parts: &[Chunk]) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        let arrays = parts.iter().map(|part| widened(&part.columns[place], field.data_type()));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        columns.push(concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?);
    }
    let rows = parts.iter().map(|part| part.rows).sum();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Texts in the order of their rows: who merges a partition reads them one after the other, and the buffers they came in
/// may go.
fn compact(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}

/// Bytes of a chunk's own: of texts only the views and what is not in them.
fn bytes(chunk: &Chunk) -> usize {
    let one = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => column.len() * 16 + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.len() * 16 + column.as_binary_view().total_buffer_bytes_used(),
        _ => column.get_array_memory_size(),
    };
    chunk.columns.iter().map(one).sum()
}

/// Chunks of one load as one.
pub(super) fn gather(schema: &SchemaRef, chunks: &[Chunk]) -> Result<Chunk> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        let arrays = chunks.iter().map(|chunk| {
            let column = chunk.columns.get(place).ok_or_else(|| Error::internal("a chunk lacks a column"))?;
            plain(column, field.data_type())
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        columns.push(concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?);
    }
    Ok(Chunk::new(columns, chunks.iter().map(|chunk| chunk.rows).sum()))
}
