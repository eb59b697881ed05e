//! Records by hash, in 256 buckets: where a stage leaves what the next one groups.
//!
//! ```text
//!   hash of a key, 64 bits:  bbbbbbbb │ …           its bucket is its first byte, wherever and by whatever rank it is computed
//!   ranks have runs of buckets; a bucket's records are loads: as they are in memory, columns from another rank, columns on disk
//! ```
//!
//! A bucket is the unit of work of what reads it: one of 256 of the keys, so that its table is small. As long as there is memory, records
//! stay what they are. Once half of the budget is taken, further loads go to disk: the other half is for those who read.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::spill::{Slot, SpillFile};
use foldhash::quality::FixedState;
use parking_lot::Mutex;

use super::record::{Batches, Record, in_batches, schema};
use super::run::Run;
use super::work::{Exchanged, message, message_schema, records_of};

/// How many buckets there are, whatever the number of ranks.
pub const BUCKETS: usize = 256;

/// The hash of a key: the same in all processes of a program.
#[inline]
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    FixedState::with_seed(0x6269_7265_6d65).hash_one(key)
}

/// The bucket of a hash.
#[inline]
pub fn bucket_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// The rank that has a bucket.
pub(super) fn rank_of(bucket: usize, ranks: usize) -> usize {
    bucket * ranks / BUCKETS
}

/// The buckets of a rank.
pub(super) fn buckets_of(rank: usize, ranks: usize) -> std::ops::Range<usize> {
    let first = |rank: usize| (rank * BUCKETS).div_ceil(ranks);
    first(rank)..first(rank + 1)
}

/// Records of one stage, by bucket.
pub struct Buckets<T: Record> {
    buckets: Vec<Mutex<Vec<Load<T>>>>,
    /// How often each bucket is still read.
    reads: Vec<AtomicUsize>,
    disk: Mutex<Option<SpillFile>>,
    memory: Reservation,
    /// Bytes of the budget that are left to others.
    headroom: usize,
}

enum Load<T> {
    Records(Vec<T>, usize),
    Columns(RecordBatch, usize),
    OnDisk(Slot),
}

impl<T: Record> Buckets<T> {
    /// Empty ones, which are read so many times.
    pub fn new(run: &Run, readers: usize) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            reads: (0..BUCKETS).map(|_| AtomicUsize::new(readers)).collect(),
            disk: Mutex::new(None),
            memory: run.budget.reserve("dataset"),
            headroom: run.budget.limit().map_or(0, |limit| limit / 2),
        }
    }

    /// Adds records that have so many bytes beside their own size.
    ///
    /// # Errors
    /// There is no memory for them, and no disk.
    pub fn push(&self, run: &Run, bucket: usize, records: Vec<T>, heap_bytes: usize) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.len() * size_of::<T>() + heap_bytes;
        if self.memory.try_take_leaving(bytes, self.headroom) {
            self.buckets[bucket].lock().push(Load::Records(records, bytes));
            return Ok(());
        }
        in_batches(&records, |columns| self.to_disk(run, bucket, &columns))
    }

    /// Adds records in columns.
    ///
    /// # Errors
    /// As [`Buckets::push`].
    pub fn push_columns(&self, run: &Run, bucket: usize, columns: RecordBatch) -> Result<()> {
        let bytes = columns.get_array_memory_size();
        if self.memory.try_take_leaving(bytes, self.headroom) {
            self.buckets[bucket].lock().push(Load::Columns(columns, bytes));
            return Ok(());
        }
        self.to_disk(run, bucket, &columns)
    }

    fn to_disk(&self, run: &Run, bucket: usize, columns: &RecordBatch) -> Result<()> {
        let mut disk = self.disk.lock();
        let file = match &mut *disk {
            Some(file) => file,
            none => none.insert(SpillFile::create(&run.temp_dir, schema::<T>())?),
        };
        let slot = file.append(columns)?;
        drop(disk);
        run.spilled.fetch_add(columns.num_rows() as u64, Ordering::Relaxed);
        self.buckets[bucket].lock().push(Load::OnDisk(slot));
        Ok(())
    }

    /// Hands out the records of a bucket, in any order. The last of those who read it takes them.
    ///
    /// # Errors
    /// The disk fails; or as `sink`.
    pub fn read(&self, bucket: usize, mut sink: impl FnMut(T) -> Result<()>) -> Result<()> {
        // Counted under the lock: whoever is the last one finds it as all before have left it.
        let mut loads = self.buckets[bucket].lock();
        if self.reads[bucket].fetch_sub(1, Ordering::AcqRel) <= 1 {
            let taken = std::mem::take(&mut *loads);
            drop(loads);
            for load in taken {
                match load {
                    Load::Records(records, bytes) => {
                        records.into_iter().try_for_each(&mut sink)?;
                        self.memory.shrink(bytes);
                    }
                    Load::Columns(columns, bytes) => {
                        Batches::<T>::read(&columns)?.try_for_each(&mut sink)?;
                        self.memory.shrink(bytes);
                    }
                    Load::OnDisk(slot) => Batches::<T>::read(&self.spilled_columns(slot)?)?.try_for_each(&mut sink)?,
                }
            }
            return Ok(());
        }
        // Others read it, too: they are copied by way of columns.
        for load in loads.iter() {
            match load {
                Load::Records(records, _) => {
                    in_batches(records, |columns| Batches::<T>::read(&columns)?.try_for_each(&mut sink))?;
                }
                Load::Columns(columns, _) => Batches::<T>::read(columns)?.try_for_each(&mut sink)?,
                Load::OnDisk(slot) => Batches::<T>::read(&self.spilled_columns(*slot)?)?.try_for_each(&mut sink)?,
            }
        }
        Ok(())
    }

    fn spilled_columns(&self, slot: Slot) -> Result<RecordBatch> {
        let disk = self.disk.lock();
        disk.as_ref().ok_or_else(|| Error::internal("a load on no disk"))?.read(slot)
    }
}

/// Records on their way to buckets, some of each together.
pub(super) struct Outbox<T> {
    records: Vec<Vec<T>>,
    heap: Vec<usize>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { records: (0..BUCKETS).map(|_| Vec::new()).collect(), heap: vec![0; BUCKETS] }
    }
}

/// Records of a bucket that are handed over together.
const TOGETHER: usize = if cfg!(test) { 5 } else { 1 << 10 };

/// Bytes of them beside their own size.
const TOGETHER_BYTES: usize = 64 << 10;

impl<T: Record> Outbox<T> {
    #[inline]
    pub fn push(&mut self, run: &Run, to: &Buckets<T>, bucket: usize, record: T) -> Result<()> {
        let record = record.detached();
        self.heap[bucket] += record.heap_bytes();
        let records = &mut self.records[bucket];
        records.push(record);
        let few = records.len() < TOGETHER && self.heap[bucket] < TOGETHER_BYTES;
        if few { Ok(()) } else { self.flush(run, to, bucket) }
    }

    fn flush(&mut self, run: &Run, to: &Buckets<T>, bucket: usize) -> Result<()> {
        let records = std::mem::take(&mut self.records[bucket]);
        to.push(run, bucket, records, std::mem::take(&mut self.heap[bucket]))
    }

    pub fn finish(&mut self, run: &Run, to: &Buckets<T>) -> Result<()> {
        (0..BUCKETS).try_for_each(|bucket| self.flush(run, to, bucket))
    }
}

/// The exchange of buckets between ranks.
pub(super) struct BucketExchange<T: Record> {
    /// Under which number the buckets lie in a run.
    pub node: u64,
    pub by: String,
    schema: SchemaRef,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> BucketExchange<T> {
    pub fn new(node: u64, by: impl Into<String>) -> Self {
        Self { node, by: by.into(), schema: message_schema::<T>(), records: std::marker::PhantomData }
    }

    fn buckets(&self, run: &Run) -> Result<Arc<Buckets<T>>> {
        run.get::<Buckets<T>>(self.node)
    }
}

impl<T: Record> Exchanged for BucketExchange<T> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        format!("{BUCKETS} buckets by {}", self.by)
    }

    fn groups(&self, _: &Run) -> usize {
        BUCKETS
    }

    fn messages(&self, run: &Run, bucket: usize) -> Result<Vec<RecordBatch>> {
        let to = rank_of(bucket, run.ranks);
        if to == run.rank {
            return Ok(Vec::new());
        }
        let buckets = self.buckets(run)?;
        // Nobody here reads it.
        buckets.reads[bucket].store(1, Ordering::Release);
        let (mut messages, mut columns) = (Vec::new(), Batches::<T>::default());
        buckets.read(bucket, |record| {
            columns.push(&record);
            if columns.is_full() {
                messages.push(message(&self.schema, to, bucket, &columns.finish()?)?);
            }
            Ok(())
        })?;
        if columns.rows() > 0 {
            messages.push(message(&self.schema, to, bucket, &columns.finish()?)?);
        }
        Ok(messages)
    }

    fn take(&self, run: &Run, batch: &RecordBatch) -> Result<()> {
        let buckets = self.buckets(run)?;
        for (bucket, columns) in records_of::<T>(batch)? {
            if bucket >= BUCKETS || rank_of(bucket, run.ranks) != run.rank {
                return Err(Error::internal(format!("bucket {bucket} on rank {} of {}", run.rank, run.ranks)));
            }
            buckets.push_columns(run, bucket, columns)?;
        }
        Ok(())
    }
}
