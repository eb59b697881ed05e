//! Sorting by a key, over all partitions.
//!
//! ```text
//!   stash    records as they come, some of them as a sample ──► all ranks know all samples
//!   spread   the samples' quantiles cut the keys into 256 ranges; each record goes to its range
//!   read     a range is sorted when it is read: ranges in order are all records in order
//! ```
//!
//! Sample sort (W. D. Frazer, A. C. McKellar: Samplesort, JACM 17 (1970)). A partition gives every k-th of its records, k doubling as it
//! grows, so that it gives at most 256 of them; each counts for the k that it stands for. Records of equal keys are of one range, in any
//! order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::buckets::{BUCKETS, BucketExchange, Buckets, Outbox, buckets_of};
use super::chain::{Chain, Flow, Needs};
use super::combine::bucket_parts;
use super::record::{Batches, Record};
use super::run::{ON, Part, Parts, Run, for_parts};
use super::work::{Exchanged, Work, message, message_schema, records_of};

/// Samples that a partition gives, at least if it has so many records, and at most twice as many.
const SAMPLES: usize = if cfg!(test) { 4 } else { 128 };

/// Records in the order of a key.
pub struct Sorted<P, F> {
    inner: Arc<Inner<P, F>>,
}

impl<P, F> Clone for Sorted<P, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<P, F> {
    /// Under this number the ranges lie in a run, and behind it what they are made of.
    node: u64,
    parent: P,
    key: F,
}

/// How many numbers a sort takes.
pub const SORT_NODES: u64 = 3;

/// Records that stand for all, of all ranks, and for how many each.
struct Samples<T>(Mutex<Vec<(T, u64)>>);

/// Every so many records of a partition.
struct Thinned<T: Record> {
    columns: Batches<T>,
    kept: Option<RecordBatch>,
    stride: u64,
    next: u64,
    seen: u64,
}

impl<T: Record> Thinned<T> {
    fn new() -> Self {
        Self { columns: Batches::default(), kept: None, stride: 1, next: 0, seen: 0 }
    }

    /// Looks at the next record.
    #[inline]
    fn see(&mut self, record: &T) -> Result<()> {
        self.seen += 1;
        if self.seen <= self.next {
            return Ok(());
        }
        self.columns.push(record);
        self.next += self.stride;
        if self.kept.as_ref().map_or(0, RecordBatch::num_rows) + self.columns.rows() < 2 * SAMPLES {
            return Ok(());
        }
        // Every second of them goes, and from now on it is left out.
        let all = self.all()?;
        let even = UInt64Array::from_iter_values((0..all.num_rows() as u64).step_by(2));
        self.kept = Some(take_record_batch(&all, &even)?);
        self.stride *= 2;
        self.next = self.next.next_multiple_of(self.stride);
        Ok(())
    }

    fn all(&mut self) -> Result<RecordBatch> {
        let fresh = self.columns.finish()?;
        Ok(match self.kept.take() {
            Some(kept) => concat_batches(&fresh.schema(), [&kept, &fresh])?,
            None => fresh,
        })
    }
}

impl<P, K, F> Sorted<P, F>
where
    P: Chain<Item: Record>,
    K: Ord + Send + Sync,
    F: Fn(&P::Item) -> K + Send + Sync + 'static,
{
    /// Sorts a chain by a key; `node` and the next [`SORT_NODES`] - 1 numbers are this step's among those of the program.
    pub fn new(node: u64, parent: P, key: F) -> Self {
        Self { inner: Arc::new(Inner { node, parent, key }) }
    }
}

impl<P, F> Inner<P, F> {
    fn stash_node(&self) -> u64 {
        self.node + 1
    }

    fn samples_node(&self) -> u64 {
        self.node + 2
    }

    /// Keeps all records, in loads that any worker may take up again, and samples of them.
    fn stash(&self, run: &Run) -> Result<()>
    where
        P: Chain<Item: Record>,
        F: Sync,
    {
        let stash = Arc::new(Buckets::<P::Item>::new(run, 1));
        run.put(self.stash_node(), Arc::clone(&stash));
        let samples = Arc::new(Samples::<P::Item>(Mutex::default()));
        run.put(self.samples_node(), Arc::clone(&samples));
        let part = |out: &mut Outbox<P::Item>, number: u64, part: &Part<'_>| {
            let mut failure = None;
            let (mut mine, mut seen) = (Thinned::<P::Item>::new(), 0_u64);
            let _end = self.parent.drive(part, &mut |record| {
                seen += 1;
                // A worker changes buckets now and then, so that these are of like sizes.
                let bucket = (number.wrapping_mul(31) + seen / 1024) as usize % BUCKETS;
                match mine.see(&record).and_then(|()| out.push(run, &stash, bucket, record)) {
                    Ok(()) => ON,
                    Err(error) => {
                        failure = Some(error);
                        Flow::Break(())
                    }
                }
            })?;
            let records = Batches::<P::Item>::read(&mine.all()?)?;
            samples.0.lock().extend(records.map(|record| (record.detached(), mine.stride)));
            failure.map_or(Ok(()), Err)
        };
        for_parts(&self.parent, run, "sort_by", || Ok(Outbox::default()), part, |mut out| out.finish(run, &stash))
    }

    /// Brings each record to its range.
    fn spread<K>(&self, run: &Run, readers: usize) -> Result<()>
    where
        P: Chain<Item: Record>,
        K: Ord + Send + Sync,
        F: Fn(&P::Item) -> K + Send + Sync + 'static,
    {
        let ranges = Arc::new(Buckets::<P::Item>::new(run, readers));
        run.put(self.node, Arc::clone(&ranges));
        let stash = run.get::<Buckets<P::Item>>(self.stash_node())?;
        let samples = run.get::<Samples<P::Item>>(self.samples_node())?;
        let mut samples = std::mem::take(&mut *samples.0.lock());
        samples.sort_by_cached_key(|(record, _)| (self.key)(record));
        // The first key of each range but the first.
        let all = samples.iter().map(|(_, stands_for)| stands_for).sum::<u64>();
        let (mut borders, mut before) = (Vec::with_capacity(BUCKETS - 1), 0);
        for (record, stands_for) in &samples {
            while borders.len() < BUCKETS - 1 && before >= (borders.len() as u64 + 1) * all / BUCKETS as u64 {
                borders.push((self.key)(record));
            }
            before += stands_for;
        }
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let worker = || -> Result<()> {
            let mut out = Outbox::default();
            loop {
                let bucket = next.fetch_add(1, Ordering::Relaxed);
                if bucket >= BUCKETS {
                    return out.finish(run, &ranges);
                }
                run.cancel.check()?;
                stash.read(bucket, |record| {
                    let key = (self.key)(&record);
                    let range = borders.partition_point(|border| *border <= key);
                    out.push(run, &ranges, range, record)
                })?;
            }
        };
        let guarded = |_: &rayon::Scope<'_>| {
            if let Err(error) = super::run::caught("sort_by", worker) {
                next.store(BUCKETS, Ordering::Relaxed);
                failure.lock().get_or_insert(error);
            }
        };
        rayon::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| scope.spawn(guarded)));
        failure.into_inner().map_or(Ok(()), Err)
    }
}

impl<P, K, F> Chain for Sorted<P, F>
where
    P: Chain<Item: Record>,
    K: Ord + Send + Sync,
    F: Fn(&P::Item) -> K + Send + Sync + 'static,
{
    type Item = P::Item;

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(bucket_parts(run))
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(P::Item) -> Flow) -> Result<Flow> {
        let run = part.run;
        let range = buckets_of(run.rank, run.ranks).start + part.place;
        let mut records = Vec::new();
        run.get::<Buckets<P::Item>>(self.inner.node)?.read(range, |record| {
            records.push(record);
            Ok(())
        })?;
        records.sort_by_key(|record| (self.inner.key)(record));
        for record in records {
            part.next()?;
            if sink(record).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, needs: &mut Needs) {
        let inner = &self.inner;
        needs.add(inner.node, |needs, readers| {
            let here = Arc::clone(inner);
            needs.add(inner.stash_node(), |needs, _| {
                inner.parent.needs(needs);
                let mut lines = Vec::new();
                inner.parent.describe(&mut lines);
                lines.push("sample keys".into());
                Work {
                    lines,
                    run: Arc::new(move |run| here.stash(run)),
                    exchanged: Some(Arc::new(SampleExchange::<P::Item>::new(inner.samples_node()))),
                }
            });
            let here = Arc::clone(inner);
            Work {
                lines: vec!["spread over ranges of keys".into()],
                run: Arc::new(move |run| here.spread(run, readers.get())),
                exchanged: Some(Arc::new(BucketExchange::<P::Item>::new(inner.node, "range of keys"))),
            }
        });
    }

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push("sort ranges".into());
    }
}

/// Every rank gives its samples to all others.
struct SampleExchange<T> {
    node: u64,
    schema: SchemaRef,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> SampleExchange<T> {
    fn new(node: u64) -> Self {
        Self { node, schema: message_schema::<(T, u64)>(), records: std::marker::PhantomData }
    }
}

impl<T: Record> Exchanged for SampleExchange<T> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        "samples to all".into()
    }

    fn groups(&self, run: &Run) -> usize {
        usize::from(run.ranks > 1)
    }

    fn messages(&self, run: &Run, _: usize) -> Result<Vec<RecordBatch>> {
        let samples = run.get::<Samples<T>>(self.node)?;
        let mut columns = Batches::<(T, u64)>::default();
        samples.0.lock().iter().for_each(|record| columns.push(record));
        if columns.rows() == 0 {
            return Ok(Vec::new());
        }
        let columns = columns.finish()?;
        let others = (0..run.ranks).filter(|&rank| rank != run.rank);
        others.map(|rank| message(&self.schema, rank, 0, &columns)).collect()
    }

    fn take(&self, run: &Run, batch: &RecordBatch) -> Result<()> {
        let samples = run.get::<Samples<T>>(self.node)?;
        for (_, columns) in records_of::<(T, u64)>(batch)? {
            samples.0.lock().extend(Batches::<(T, u64)>::read(&columns)?);
        }
        Ok(())
    }
}
