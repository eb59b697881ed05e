//! By key: combining values as they come, and grouping them.
//!
//! ```text
//!   worker   (k, v) ──► table of the keys met lately ──(full)──► buckets        what is alike is combined before it is kept or sent
//!   reader   a bucket's (k, c) ──► table of all its keys ──► records
//! ```
//!
//! Cost: a probe of a table that fits the cache for each record, then one of a table of a 256th of the keys for each pair that is left. If
//! a table full of keys has taken hardly more records than keys, combining does not pay, and records go to the buckets as they are.

use std::hash::Hash;
use std::sync::Arc;

use bireme_engine::error::Result;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::buckets::{BUCKETS, BucketExchange, Buckets, Outbox, bucket_of, buckets_of, hash_of};
use super::chain::{Chain, Flow, Needs};
use super::record::Record;
use super::run::{ON, Part, Parts, Run, for_parts};
use super::work::Work;

/// Keys of a worker's table; few in tests, so that tables overflow.
const KEYS: usize = if cfg!(test) { 11 } else { 1 << 16 };

/// Bytes that the values of a worker's table may have beside their own size.
const HEAP: usize = if cfg!(test) { 1 << 10 } else { 32 << 20 };

/// Records for a key below which combining does not pay.
const WORTHWHILE: usize = 2;

/// How many tables' worth of records go on uncombined before it is tried again.
const PASSED: usize = 16;

/// How values become one: what it begins as, what a further value makes of it, what two of them make.
pub trait Combine<V, C>: Send + Sync + 'static {
    /// Of a first value.
    fn begin(&self, value: V) -> C;
    /// With a further value.
    fn add(&self, so_far: C, value: V) -> C;
    /// With what others have made.
    fn join(&self, so_far: C, other: C) -> C;
    /// Whether values become fewer; if not they are not worth combining before they are sent.
    fn shrinks(&self) -> bool {
        true
    }
}

/// Pairs of keys and combined values.
pub struct Combined<P, K, V, C, F> {
    inner: Arc<Inner<P, F>>,
    types: std::marker::PhantomData<fn(K, V) -> C>,
}

struct Inner<P, F> {
    node: u64,
    name: &'static str,
    parent: P,
    combine: F,
}

impl<P, K, V, C, F> Clone for Combined<P, K, V, C, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), types: std::marker::PhantomData }
    }
}

impl<P, K, V, C, F> Combined<P, K, V, C, F>
where
    P: Chain<Item = (K, V)>,
    K: Record + Hash + Eq,
    V: Send + 'static,
    C: Record,
    F: Combine<V, C>,
{
    /// Combines the values of each key of a chain; `node` is the number of this step among those of the program.
    pub fn new(node: u64, name: &'static str, parent: P, combine: F) -> Self {
        Self { inner: Arc::new(Inner { node, name, parent, combine }), types: std::marker::PhantomData }
    }
}

impl<P, F> Inner<P, F> {
    /// Combines what this rank has, into buckets.
    fn scatter<K, V, C>(&self, run: &Run, readers: usize) -> Result<()>
    where
        P: Chain<Item = (K, V)>,
        K: Record + Hash + Eq,
        V: Send + 'static,
        C: Record,
        F: Combine<V, C>,
    {
        let buckets = Arc::new(Buckets::<(K, C)>::new(run, readers));
        run.put(self.node, Arc::clone(&buckets));
        let (combine, to) = (&self.combine, buckets.as_ref());
        let table = || {
            Ok(Scattering { combine, run, to, table: HashTable::new(), records: 0, passing: 0, out: Outbox::default() })
        };
        for_parts(
            &self.parent,
            run,
            self.name,
            table,
            |table, _, part| {
                let mut failure = None;
                let _end = self.parent.drive(part, &mut |(key, value)| match table.add(key, value) {
                    Ok(()) => ON,
                    Err(error) => {
                        failure = Some(error);
                        Flow::Break(())
                    }
                })?;
                failure.map_or(Ok(()), Err)
            },
            |mut table| table.finish(),
        )
    }
}

/// One worker's table, and where it empties it.
struct Scattering<'a, K: Record, C: Record, F> {
    combine: &'a F,
    run: &'a Run,
    to: &'a Buckets<(K, C)>,
    /// What is combined is taken out while a closure has it.
    table: HashTable<(u64, K, Option<C>)>,
    /// Records since it was empty.
    records: usize,
    /// Records that still go on as they are.
    passing: usize,
    out: Outbox<(K, C)>,
}

impl<K: Record + Hash + Eq, C: Record, F> Scattering<'_, K, C, F> {
    #[inline]
    fn add<V>(&mut self, key: K, value: V) -> Result<()>
    where
        F: Combine<V, C>,
    {
        let hash = hash_of(&key);
        if self.passing > 0 {
            self.passing -= 1;
            let pair = (key.detached(), self.combine.begin(value));
            return self.out.push(self.run, self.to, bucket_of(hash), pair);
        }
        self.records += 1;
        match self.table.entry(hash, |(known, other, _)| *known == hash && *other == key, |(hash, ..)| *hash) {
            Entry::Occupied(mut there) => {
                let slot = &mut there.get_mut().2;
                *slot = slot.take().map(|so_far| self.combine.add(so_far, value));
                return if self.records.is_multiple_of(KEYS) { self.look_at_memory() } else { Ok(()) };
            }
            Entry::Vacant(free) => {
                let key = key.detached();
                free.insert((hash, key, Some(self.combine.begin(value))));
            }
        }
        if self.table.len() >= KEYS {
            if self.records < WORTHWHILE * self.table.len() || !self.combine.shrinks() {
                self.passing = PASSED * self.table.len();
            }
            self.empty()?;
        }
        Ok(())
    }

    /// Values that grow are handed on before they are large; `KEYS` records have come since the last look.
    fn look_at_memory<V>(&mut self) -> Result<()>
    where
        F: Combine<V, C>,
    {
        let heap =
            || self.table.iter().filter_map(|(.., combined)| combined.as_ref()).map(C::heap_bytes).sum::<usize>();
        if !self.combine.shrinks() || heap() > HEAP { self.empty() } else { Ok(()) }
    }

    fn empty(&mut self) -> Result<()> {
        self.records = 0;
        for (hash, key, combined) in self.table.drain() {
            if let Some(combined) = combined {
                self.out.push(self.run, self.to, bucket_of(hash), (key, combined))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.empty()?;
        self.out.finish(self.run, self.to)
    }
}

impl<P, K, V, C, F> Chain for Combined<P, K, V, C, F>
where
    P: Chain<Item = (K, V)>,
    K: Record + Hash + Eq,
    V: Send + 'static,
    C: Record,
    F: Combine<V, C>,
{
    type Item = (K, C);

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(bucket_parts(run))
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut((K, C)) -> Flow) -> Result<Flow> {
        let (run, combine) = (part.run, &self.inner.combine);
        let bucket = buckets_of(run.rank, run.ranks).start + part.place;
        let mut table = HashTable::<(u64, K, Option<C>)>::new();
        run.get::<Buckets<(K, C)>>(self.inner.node)?.read(bucket, |(key, combined)| {
            let hash = hash_of(&key);
            // Within a bucket the first byte is the same, of which a table would make its tags.
            let place = hash.rotate_left(8);
            let is_it = |(known, other, _): &(u64, K, Option<C>)| *known == hash && *other == key;
            match table.entry(place, is_it, |(hash, ..)| hash.rotate_left(8)) {
                Entry::Occupied(mut there) => {
                    let slot = &mut there.get_mut().2;
                    *slot = slot.take().map(|so_far| combine.join(so_far, combined));
                }
                Entry::Vacant(free) => {
                    free.insert((hash, key, Some(combined)));
                }
            }
            Ok(())
        })?;
        let mut merged = table.into_iter().collect::<Vec<_>>();
        if part.in_order {
            merged.sort_unstable_by_key(|(hash, ..)| *hash);
        }
        for (_, key, combined) in merged {
            let Some(combined) = combined else { continue };
            part.next()?;
            if sink((key, combined)).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, needs: &mut Needs) {
        let inner = &self.inner;
        needs.add(inner.node, |needs, readers| {
            inner.parent.needs(needs);
            let mut lines = Vec::new();
            inner.parent.describe(&mut lines);
            lines.push(inner.name.to_owned());
            let here = Arc::clone(inner);
            Work {
                lines,
                run: Arc::new(move |run| here.scatter::<K, V, C>(run, readers.get())),
                exchanged: Some(Arc::new(BucketExchange::<(K, C)>::new(inner.node, "key"))),
            }
        });
    }

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("read {}", self.inner.name));
    }
}

/// Buckets as partitions.
pub(super) fn bucket_parts(run: &Run) -> Parts {
    let numbers = buckets_of(run.rank, run.ranks).map(|bucket| bucket as u64).collect();
    Parts { numbers, total: BUCKETS as u64 }
}

/// All values of a key together.
pub struct Grouped;

impl<V: Record> Combine<V, Vec<V>> for Grouped {
    fn begin(&self, value: V) -> Vec<V> {
        vec![value.detached()]
    }

    fn add(&self, mut so_far: Vec<V>, value: V) -> Vec<V> {
        so_far.push(value.detached());
        so_far
    }

    fn join(&self, mut so_far: Vec<V>, mut other: Vec<V>) -> Vec<V> {
        so_far.append(&mut other);
        so_far
    }

    fn shrinks(&self) -> bool {
        false
    }
}

/// Two values of a key become one, by a closure.
pub struct Reduced<F>(pub F);

impl<V: Record, F: Fn(V, V) -> V + Send + Sync + 'static> Combine<V, V> for Reduced<F> {
    #[inline]
    fn begin(&self, value: V) -> V {
        value.detached()
    }

    #[inline]
    fn add(&self, so_far: V, value: V) -> V {
        (self.0)(so_far, value).detached()
    }

    #[inline]
    fn join(&self, so_far: V, other: V) -> V {
        (self.0)(so_far, other).detached()
    }
}

/// Closures for a first value, for a further one, and for two parts.
pub struct ByThree<A, B, J>(pub A, pub B, pub J);

impl<V, C, A, B, J> Combine<V, C> for ByThree<A, B, J>
where
    V: Send + 'static,
    C: Record,
    A: Fn(V) -> C + Send + Sync + 'static,
    B: Fn(C, V) -> C + Send + Sync + 'static,
    J: Fn(C, C) -> C + Send + Sync + 'static,
{
    #[inline]
    fn begin(&self, value: V) -> C {
        (self.0)(value)
    }

    #[inline]
    fn add(&self, so_far: C, value: V) -> C {
        (self.1)(so_far, value)
    }

    #[inline]
    fn join(&self, so_far: C, other: C) -> C {
        (self.2)(so_far, other)
    }
}

/// A value of one of two datasets.
pub enum Side<V, W> {
    /// Of the first.
    Left(V),
    /// Of the second.
    Right(W),
}

/// All values of a key in two datasets.
pub struct Both;

impl<V: Record, W: Record> Combine<Side<V, W>, (Vec<V>, Vec<W>)> for Both {
    fn begin(&self, value: Side<V, W>) -> (Vec<V>, Vec<W>) {
        self.add((Vec::new(), Vec::new()), value)
    }

    fn add(&self, mut so_far: (Vec<V>, Vec<W>), value: Side<V, W>) -> (Vec<V>, Vec<W>) {
        match value {
            Side::Left(value) => so_far.0.push(value.detached()),
            Side::Right(value) => so_far.1.push(value.detached()),
        }
        so_far
    }

    fn join(&self, mut so_far: (Vec<V>, Vec<W>), mut other: (Vec<V>, Vec<W>)) -> (Vec<V>, Vec<W>) {
        so_far.0.append(&mut other.0);
        so_far.1.append(&mut other.1);
        so_far
    }

    fn shrinks(&self) -> bool {
        false
    }
}
