//! Runs segments of steps on one rank, alone or as bodies of stages between which ranks move tiles.
//!
//! A message is one row: which move, from which rank, where in the part that it belongs to, bytes. What is sent lies in one piece or is
//! packed first, and is cut into messages of a few MiB; nothing else of it is copied before it is on its way.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, LargeBinaryArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::buffer::{Buffer, MutableBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::Inlet;
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, Partitioner};
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::dtype::DType;
use super::leaf::result;
use super::operand::Operand;
use super::run::{Subtree, together};
use super::step::{Move, Segment, Step};
use super::store::{Store, cut};
use super::sums::Sum;
use super::take::put;
use super::tile::{Region, strides};

/// Bytes of a message, at most; few in tests, so that they send many.
pub(super) const MESSAGE: usize = if cfg!(test) { 64 } else { 4 << 20 };

/// One segment as the body of a stage, with one lane on every rank.
#[derive(Debug)]
pub struct ArrayBody {
    /// What the ranks moved before.
    before: Arc<Segment>,
    segment: Arc<Segment>,
    lines: Vec<String>,
    store: Arc<Store>,
    workers: Arc<Workers>,
}

impl ArrayBody {
    /// The body of a segment. `before` is the one before it, or an empty one; `lines` is what EXPLAIN says of it.
    pub fn new(
        before: Arc<Segment>,
        segment: Arc<Segment>,
        lines: Vec<String>,
        store: Arc<Store>,
        workers: Arc<Workers>,
    ) -> Self {
        Self { before, segment, lines, store, workers }
    }
}

impl Body for ArrayBody {
    fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (before, segment) = (Arc::clone(&self.before), Arc::clone(&self.segment));
        let (store, workers) = (Arc::clone(&self.store), Arc::clone(&self.workers));
        let inlets = std::mem::take(&mut task.inlets).into_values().flatten().map(|(_, inlet)| inlet);
        let inlets = inlets.collect::<Vec<_>>();
        async move {
            let mut arrivals = Arrivals::start(&before, &store, task.rank, task.ranks)?;
            for inlet in inlets {
                arrivals.receive(inlet).await?;
            }
            arrivals.finish(&before, &store)?;
            let mut outlets = std::mem::take(&mut task.outlets);
            let outlet = outlets.first_mut().ok_or_else(|| Error::internal("arrays without an outlet"))?;
            // What is there already, and stays as it is, is on its way while this rank computes.
            let written = segment.steps.iter().flat_map(Step::writes).collect::<Vec<_>>();
            let is_there = |&slot: &usize| store.has(slot) && !written.contains(&slot);
            let early = segment.moves.iter().map(|one| one.sources().iter().all(is_there)).collect::<Vec<_>>();
            for ran in [false, true] {
                if ran {
                    let run = (Arc::clone(&store), Arc::clone(&segment));
                    workers.run(move || run.0.run(&run.1)).await?;
                }
                for (number, one) in segment.moves.iter().enumerate().filter(|(number, _)| early[*number] != ran) {
                    for message in messages(number, one, &store, task.rank, task.ranks)? {
                        // Every rank waits for all that is announced to it, so nobody says stop.
                        let _ = outlet.push(message).await?;
                    }
                }
            }
            for outlet in outlets {
                outlet.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// What a message is: to which rank, which move, from which rank, at which byte of the part, bytes.
pub fn message_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("to", DataType::UInt32, false),
            Field::new("move", DataType::UInt32, false),
            Field::new("from", DataType::UInt32, false),
            Field::new("at", DataType::UInt64, false),
            Field::new("bytes", DataType::LargeBinary, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Sends each message to the rank that it names.
#[derive(Debug)]
pub struct ByName;

impl Partitioner for ByName {
    fn describe(&self) -> String {
        "tiles".into()
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        let to = column::<UInt32Array>(batch, 0)?;
        if let Some(wrong) = to.values().iter().find(|&&lane| lane as usize >= lanes) {
            return Err(Error::internal(format!("a tile for rank {wrong} of {lanes}")));
        }
        out.extend_from_slice(to.values());
        Ok(())
    }

    fn may_fail(&self) -> bool {
        false
    }
}

fn column<T: Array + 'static>(batch: &RecordBatch, at: usize) -> Result<&T> {
    batch.column(at).as_any().downcast_ref::<T>().ok_or_else(|| Error::internal("a message of another form"))
}

/// What a rank gives to the others.
pub(super) fn messages(
    number: usize,
    one: &Move,
    store: &Store,
    rank: usize,
    ranks: usize,
) -> Result<Vec<RecordBatch>> {
    let mut out = Vec::new();
    match one {
        Move::Tiles { dtype, sends, .. } => {
            // What one rank gets is one string of bytes, region behind region.
            let mut sent = vec![0; ranks];
            for (to, from, region) in sends {
                let tile = store.tile(*from)?;
                let bytes = cut(*dtype, &tile.data, &tile.indices, region)?;
                message(&mut out, [*to, number, rank], sent[*to], &bytes)?;
                sent[*to] += bytes.len();
                store.count_sent(bytes.len());
            }
        }
        Move::Folds { from, .. } => {
            let bytes = packed(&store.subtrees(*from)?);
            for to in (0..ranks).filter(|&other| other != rank) {
                message(&mut out, [to, number, rank], 0, &bytes)?;
            }
        }
        Move::Sums { from, dtype, sends, .. } => {
            let tile = store.tile(*from)?;
            for (to, region) in sends {
                let bytes = cut(*dtype, &tile.data, &tile.indices, region)?;
                message(&mut out, [*to, number, rank], 0, &bytes)?;
                store.count_sent(bytes.len());
            }
        }
    }
    Ok(out)
}

fn message(out: &mut Vec<RecordBatch>, [to, number, rank]: [usize; 3], first: usize, bytes: &Buffer) -> Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let len = MESSAGE.min(bytes.len() - at);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i64, len as i64]));
        let data = LargeBinaryArray::try_new(offsets, bytes.slice_with_length(at, len), None)?;
        let word = |value: usize| Arc::new(UInt32Array::from(vec![value as u32]));
        let place = Arc::new(UInt64Array::from(vec![(first + at) as u64]));
        let columns: Vec<arrow::array::ArrayRef> = vec![word(to), word(number), word(rank), place, Arc::new(data)];
        out.push(RecordBatch::try_new(message_schema(), columns)?);
        at += len;
    }
    Ok(())
}

/// Subtrees as bytes: height, number, length, each with 8 bytes, then the elements.
fn packed(subtrees: &[Subtree]) -> Buffer {
    let mut bytes = MutableBuffer::default();
    for (height, number, data) in subtrees {
        bytes.extend_from_slice(&[u64::from(*height), *number as u64, data.len() as u64]);
        bytes.extend_from_slice(data.as_slice());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.into()
}

fn unpacked(bytes: &[u8]) -> Result<Vec<Subtree>> {
    let mut subtrees = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut_short = || Error::internal("a fold that is cut short");
        let (head, behind) = rest.split_at_checked(24).ok_or_else(cut_short)?;
        let words = head.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect::<Vec<_>>();
        let len = words[2] as usize;
        let (data, behind) = behind.split_at_checked(len.next_multiple_of(8)).ok_or_else(cut_short)?;
        let mut aligned = MutableBuffer::with_capacity(len);
        aligned.extend_from_slice(&data[..len]);
        subtrees.push((words[0] as u32, words[1] as usize, aligned.into()));
        rest = behind;
    }
    Ok(subtrees)
}

/// What comes from other ranks, until all of it is there. Messages may come in any order.
pub(super) struct Arrivals {
    /// One a move.
    moves: Vec<Arrival>,
}

enum Arrival {
    /// Elements of the target, which are written as they come, by rank.
    Tiles { dtype: DType, target: Region, data: MutableBuffer, parts: Vec<Vec<Awaited>> },
    /// Bytes by rank, and how many of them came.
    Bytes(Vec<(Vec<u8>, usize)>),
}

/// A region that one rank sends of a tile.
#[derive(Clone)]
struct Awaited {
    region: Region,
    /// Where it is in the bytes that the rank sends of this move.
    bytes: Range<usize>,
    /// What is not in one piece yet.
    pieces: Vec<u8>,
    /// Bytes that came.
    came: usize,
}

impl Arrivals {
    pub(super) fn start(before: &Segment, store: &Store, rank: usize, ranks: usize) -> Result<Self> {
        let mut moves = Vec::with_capacity(before.moves.len());
        for one in &before.moves {
            moves.push(match one {
                Move::Tiles { to, dtype, receives, own, .. } => {
                    let target = to.as_ref().map_or_else(|| Region::empty(1), |to| to.1.clone());
                    let mut data = MutableBuffer::from_len_zeroed(target.len() * dtype.bytes());
                    let mut parts: Vec<Vec<Awaited>> = vec![Vec::new(); ranks];
                    for (slot, region) in own {
                        let tile = store.tile(*slot)?;
                        place(*dtype, &mut data, &target, region, cut(*dtype, &tile.data, &tile.indices, region)?)?;
                    }
                    for (other, region) in receives {
                        let first = parts[*other].last().map_or(0, |part| part.bytes.end);
                        let bytes = first..first + region.len() * dtype.bytes();
                        parts[*other].push(Awaited { region: region.clone(), bytes, pieces: Vec::new(), came: 0 });
                    }
                    Arrival::Tiles { dtype: *dtype, target, data, parts }
                }
                Move::Folds { from, .. } => Arrival::of_bytes(packed(&store.subtrees(*from)?).as_slice(), rank, ranks),
                Move::Sums { from, dtype, receives, .. } => {
                    let tile = store.tile(*from)?;
                    let own = receives.iter().find(|(other, _)| *other == rank);
                    let own = own.map(|(_, region)| cut(*dtype, &tile.data, &tile.indices, region)).transpose()?;
                    Arrival::of_bytes(own.as_ref().map_or(&[], |own| own.as_slice()), rank, ranks)
                }
            });
        }
        Ok(Self { moves })
    }

    async fn receive(&mut self, mut inlet: Inlet) -> Result<()> {
        while let Some(batch) = inlet.next().await {
            self.take(&batch?)?;
        }
        Ok(())
    }

    /// Takes messages.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            let number = column::<UInt32Array>(batch, 1)?.value(row) as usize;
            let from = column::<UInt32Array>(batch, 2)?.value(row) as usize;
            let at = column::<UInt64Array>(batch, 3)?.value(row) as usize;
            let bytes = column::<LargeBinaryArray>(batch, 4)?.value(row);
            let arrival = self.moves.get_mut(number).ok_or_else(|| Error::internal("a tile of no move"))?;
            arrival.take(from, at, bytes)?;
        }
        Ok(())
    }

    pub(super) fn finish(self, before: &Segment, store: &Store) -> Result<()> {
        for (arrival, one) in self.moves.into_iter().zip(&before.moves) {
            match (arrival, one) {
                (Arrival::Tiles { data, parts, .. }, Move::Tiles { to, dtype, .. }) => {
                    let is_short = |part: &&Awaited| part.came != part.bytes.len();
                    if let Some(missing) = parts.iter().flatten().find(is_short) {
                        return Err(Error::internal(format!("only {} bytes came of {}", missing.came, missing.region)));
                    }
                    if let Some(to) = to {
                        store.put_tile(to, *dtype, data.into());
                    }
                }
                (Arrival::Bytes(parts), Move::Folds { to, dtype, fold, .. }) => {
                    let mut subtrees = Vec::new();
                    for (bytes, came) in &parts {
                        if *came != bytes.len() {
                            return Err(Error::internal(format!(
                                "only {came} of {} bytes came of a fold",
                                bytes.len()
                            )));
                        }
                        subtrees.extend(unpacked(bytes)?);
                    }
                    store.put_tile(to, result(*dtype, *fold), together(*dtype, *fold, to.1.len(), subtrees)?);
                }
                (Arrival::Bytes(mut parts), Move::Sums { to, dtype, receives, .. }) => {
                    let mut sum = Sum::new(*dtype, to.1.clone());
                    for (other, region) in receives {
                        let (part, came) = std::mem::take(&mut parts[*other]);
                        if [part.len(), came] != [region.len() * dtype.bytes(); 2] {
                            return Err(Error::internal(format!("{came} bytes came of a sum over {region}")));
                        }
                        sum.add(region, &Buffer::from_vec(part))?;
                    }
                    store.put_tile(to, *dtype, sum.finish());
                }
                _ => return Err(Error::internal("moves were mixed up")),
            }
        }
        Ok(())
    }
}

impl Arrival {
    /// What this rank has, before others send theirs.
    fn of_bytes(own: &[u8], rank: usize, ranks: usize) -> Self {
        let mut parts = vec![(Vec::new(), 0); ranks];
        parts[rank] = (own.to_vec(), own.len());
        Self::Bytes(parts)
    }

    fn take(&mut self, from: usize, at: usize, bytes: &[u8]) -> Result<()> {
        let unknown = || Error::internal(format!("a tile of rank {from} that nobody waits for"));
        match self {
            Self::Bytes(parts) => {
                let (all, came) = parts.get_mut(from).ok_or_else(unknown)?;
                let end = at + bytes.len();
                if all.len() < end {
                    all.resize(end, 0);
                }
                all[at..end].copy_from_slice(bytes);
                *came += bytes.len();
            }
            Self::Tiles { dtype, target, data, parts } => {
                let parts = parts.get_mut(from).ok_or_else(unknown)?;
                let part = parts.iter_mut().find(|part| part.bytes.contains(&at)).ok_or_else(unknown)?;
                let (whole, at) = (part.bytes.len(), at - part.bytes.start);
                if at + bytes.len() > whole {
                    return Err(unknown());
                }
                part.came += bytes.len();
                if bytes.len() == whole {
                    return place(*dtype, data, target, &part.region, Buffer::from(bytes));
                }
                part.pieces.resize(whole, 0);
                part.pieces[at..at + bytes.len()].copy_from_slice(bytes);
                if part.came == whole {
                    let pieces = Buffer::from(std::mem::take(&mut part.pieces));
                    return place(*dtype, data, target, &part.region, pieces);
                }
            }
        }
        Ok(())
    }
}

/// Puts the elements of a region where they belong.
fn place(dtype: DType, out: &mut MutableBuffer, target: &Region, region: &Region, data: Buffer) -> Result<()> {
    let shape = region.shape();
    let rows = 0..shape.first().copied().unwrap_or(1);
    // Bytes that came over a wire may lie anywhere.
    let data = if data.as_ptr().align_offset(8) == 0 { data } else { Buffer::from_slice_ref(data.as_slice()) };
    let operand = Operand::new(dtype, data, &shape, &rows, &strides(&shape), 0)?;
    put(dtype, out, target, region, &operand)
}
