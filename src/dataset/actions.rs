//! Actions: what makes a dataset run.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bireme_engine::error::{Error, Result};
use bireme_operators::dataset::{Batches, Chain, Part, Record, in_batches, schema};

use super::Dataset;
use super::plan::Made;

impl<T: Send + 'static, C: Chain<Item = T>> Dataset<T, C> {
    /// How many records there are.
    ///
    /// # Errors
    /// A source fails or a closure panics; on every rank the same.
    pub fn count(&self) -> Result<u64> {
        let counts = self.run("count", |chain, _, part| {
            let mut count = 0_u64;
            let _end = chain.drive(part, &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            })?;
            Ok(count)
        })?;
        let here = counts.iter().flatten().map(|(_, count)| count).sum::<u64>();
        Ok(self.session.sum_over_ranks("count", (here, 0))?.0)
    }

    /// Calls a closure with the number of each partition and its records, on the rank that has it.
    ///
    /// # Errors
    /// The closure returns one, and as [`Dataset::count`].
    pub fn for_each_partition<F>(&self, f: F) -> Result<()>
    where
        F: Fn(u64, std::vec::IntoIter<T>) -> Result<()> + Send + Sync + 'static,
    {
        self.run("for_each_partition", move |chain, number, part| f(number, all_of(chain, part)?.into_iter())).map(drop)
    }

    /// All records as one value: what a partition's records make of `zero` one after the other, then what partitions make in order.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn aggregate<A, F, J>(&self, zero: A, add: F, join: J) -> Result<A>
    where
        A: Record + Clone + Sync,
        F: Fn(A, T) -> A + Send + Sync + 'static,
        J: Fn(A, A) -> A,
    {
        let begin = zero.clone();
        let made = self.run("aggregate", move |chain, _, part| {
            let mut so_far = Some(begin.clone());
            let _end = chain.drive(part, &mut |record| {
                so_far = so_far.take().map(|so_far| add(so_far, record));
                ControlFlow::Continue(())
            })?;
            so_far.map(|made| vec![made]).ok_or_else(|| Error::internal("an aggregate that was lost"))
        })?;
        Ok(self.gathered(made)?.into_iter().fold(zero, join))
    }
}

impl<T: Record, C: Chain<Item = T>> Dataset<T, C> {
    /// All records, on every rank, partition by partition.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn collect(&self) -> Result<Vec<T>> {
        let made = self.run("collect", |chain, _, part| {
            let mut records = Vec::new();
            let _end = chain.drive(part, &mut |record| {
                records.push(record.detached());
                ControlFlow::Continue(())
            })?;
            Ok(records)
        })?;
        self.gathered(made)
    }

    /// The first `n` records: those of the first partitions. Later partitions end early once there are enough.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn take(&self, n: usize) -> Result<Vec<T>> {
        // What partitions before one have is enough to leave it out, whatever those have that are not known yet.
        let known = Arc::new(Found::default());
        let made = self.run("take", move |chain, number, part| {
            let mut records = Vec::new();
            if n == 0 || known.before(number) >= n as u64 {
                return Ok(records);
            }
            let _end = chain.drive(part, &mut |record| {
                records.push(record.detached());
                if records.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            known.found(number, records.len() as u64);
            Ok(records)
        })?;
        let mut records = self.gathered(made)?;
        records.truncate(n);
        Ok(records)
    }

    /// The first record; `None` if there is none.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn first(&self) -> Result<Option<T>> {
        Ok(self.take(1)?.pop())
    }

    /// One record of all, made of two again and again; `None` if there is none. `f` is associative: partitions come in order, records of
    /// steps by key in any order.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn reduce<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, f: F) -> Result<Option<T>> {
        let f = Arc::new(f);
        let here = Arc::clone(&f);
        let made = self.run("reduce", move |chain, _, part| {
            let mut so_far: Option<T> = None;
            let _end = chain.drive(part, &mut |record| {
                so_far = Some(match so_far.take() {
                    Some(so_far) => here(so_far, record),
                    None => record.detached(),
                });
                ControlFlow::Continue(())
            })?;
            Ok(so_far.into_iter().collect())
        })?;
        Ok(self.gathered(made)?.into_iter().reduce(|a, b| f(a, b)))
    }

    /// As [`Dataset::reduce`], from a value that changes nothing on.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn fold<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, zero: T, f: F) -> Result<T> {
        let f = Arc::new(f);
        let last = Arc::clone(&f);
        let reduced = self.reduce(move |a, b| f(a, b))?;
        Ok(match reduced {
            Some(all) => last(zero, all),
            None => zero,
        })
    }

    /// The `n` records whose keys are largest, the largest first.
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn top<K: Ord, F: Fn(&T) -> K + Send + Sync + 'static>(&self, n: usize, key: F) -> Result<Vec<T>> {
        let key = Arc::new(key);
        let here = Arc::clone(&key);
        let made = self.run("top", move |chain, _, part| {
            let mut best = Vec::new();
            let _end = chain.drive(part, &mut |record| {
                best.push(record.detached());
                // Cut now and then: each record is moved a few times at most.
                if best.len() >= 2 * n.max(512) {
                    keep_largest(&mut best, n, here.as_ref());
                }
                ControlFlow::Continue(())
            })?;
            keep_largest(&mut best, n, here.as_ref());
            Ok(best)
        })?;
        let mut best = self.gathered(made)?;
        keep_largest(&mut best, n, key.as_ref());
        Ok(best)
    }
}

impl<T, C> Dataset<T, C> {
    /// What the partitions of all ranks have become, in order, on every rank.
    fn gathered<R: Record>(&self, made: Vec<Made<Vec<R>>>) -> Result<Vec<R>> {
        let mut parts = made.into_iter().flatten().collect::<Vec<_>>();
        if self.session.local_ranks().len() < self.session.ranks() {
            let some = parts.iter().filter(|(_, records)| !records.is_empty());
            let own = some.map(|(number, records)| Ok((*number, encoded(records)?))).collect::<Result<Vec<_>>>();
            // All ranks or none go on.
            let all = self.session.on_all_ranks("gathering records", &own)?;
            parts = Vec::new();
            for of_rank in all {
                for (number, bytes) in of_rank? {
                    parts.push((number, decoded(&bytes)?));
                }
            }
        }
        parts.sort_by_key(|(number, _)| *number);
        Ok(parts.into_iter().flat_map(|(_, records)| records).collect())
    }
}

/// Records that partitions were found to have.
#[derive(Default)]
struct Found(parking_lot::Mutex<std::collections::BTreeMap<u64, u64>>);

impl Found {
    /// Records of partitions before one, as far as is known.
    fn before(&self, number: u64) -> u64 {
        self.0.lock().range(..number).map(|(_, count)| count).sum()
    }

    fn found(&self, number: u64, count: u64) {
        self.0.lock().insert(number, count);
    }
}

fn keep_largest<T, K: Ord>(records: &mut Vec<T>, n: usize, key: &impl Fn(&T) -> K) {
    records.sort_by_cached_key(|record| std::cmp::Reverse(key(record)));
    records.truncate(n);
}

/// The records of a partition.
pub(super) fn all_of<C: Chain>(chain: &C, part: &Part<'_>) -> Result<Vec<C::Item>> {
    let mut records = Vec::new();
    let _end = chain.drive(part, &mut |record| {
        records.push(record);
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

/// Records as batches.
pub(super) fn batches_of<T: Record>(records: &[T]) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    in_batches(records, |batch| {
        batches.push(batch);
        Ok(())
    })?;
    Ok(batches)
}

fn encoded<T: Record>(records: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema::<T>())?;
    for batch in batches_of(records)? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

fn decoded<T: Record>(bytes: &[u8]) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for batch in StreamReader::try_new(bytes, None)? {
        records.extend(Batches::<T>::read(&batch?)?);
    }
    Ok(records)
}
