//! Typed datasets: MapReduce's and Spark's collections over plain Rust closures.
//!
//! Every rank is the same binary, so a closure is everywhere already: nothing is serialised but records, and those only where they change
//! ranks or go to disk.
//!
//! ```
//! use bireme::prelude::*;
//!
//! let session = Session::new()?;
//! let lines = ["to be or not to be", "that is the question"];
//! let counts = session
//!     .dataset(lines.map(str::to_owned))
//!     .flat_map(|line| line.split_whitespace().map(|word| (word.to_uppercase(), 1_u64)).collect::<Vec<_>>())
//!     .reduce_by_key(|a, b| a + b)
//!     .sort_by(|(word, n)| (std::cmp::Reverse(*n), word.clone()))
//!     .take(3)?;
//! assert_eq!(counts, [("BE".to_owned(), 2), ("TO".to_owned(), 2), ("IS".to_owned(), 1)]);
//! # Ok::<(), Error>(())
//! ```

mod actions;
mod by_key;
mod files;
mod plan;

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use bireme_derive::Record;
pub use bireme_engine::error::Result;
pub use bireme_operators::dataset::{
    Any, Chain, Filter, Flow, Inspect, Lines, Map, MapPartitions, Record, Sampled, Side, Sorted, Text, Union, Values,
    WholeFiles, support,
};
use bireme_operators::dataset::{ByThree, Combined, FlatMap, Numbered, Placed, SORT_NODES};

use crate::frame::DataFrame;
use crate::session::Session;

/// Records of a Rust type, spread over partitions and ranks; lazy: each method returns a new dataset, and nothing runs before an action
/// (`collect`, `count`, `write_…`).
///
/// Steps that need no other record (`map`, `filter`, `flat_map`, …) become one loop with their source: the second parameter is its type.
/// Functions take and return `Dataset<T>`, of which [`Dataset::boxed`] makes any dataset of `T`; it costs a call a record. Steps by key
/// give out `Dataset<T>`.
///
/// A dataset runs again for every action that needs it. Under several ranks every rank makes the same datasets and calls the same actions
/// in the same order.
///
/// A closure must not change what others see (it may count by atomics); if it panics, the action ends with an error that names the
/// stage and the record.
pub struct Dataset<T, C = Any<T>> {
    session: Session,
    chain: Arc<C>,
    records: PhantomData<fn() -> T>,
}

impl<T, C> Clone for Dataset<T, C> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), chain: Arc::clone(&self.chain), records: PhantomData }
    }
}

impl<T, C> std::fmt::Debug for Dataset<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dataset<{}>", std::any::type_name::<T>())
    }
}

/// Numbers for steps that leave something to later stages: the first of so many. Alike on all ranks, since these make the same datasets, and
/// different for datasets of two sessions.
pub(crate) fn next_steps(count: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(count, Ordering::Relaxed)
}

impl Session {
    /// The values of an iterator, which every rank has, as a dataset of at most 64 partitions.
    ///
    /// ```
    /// use bireme::prelude::*;
    /// let session = Session::new()?;
    /// assert_eq!(session.dataset(1..=10).map(|x| x * x).reduce(|a, b| a + b)?, Some(385));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn dataset<T: Clone + Send + Sync + 'static>(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> Dataset<T, Values<T>> {
        Dataset::new(self, Values::new(values.into_iter().collect()))
    }
}

impl DataFrame {
    /// The rows as records: structs find their columns by name, tuples by place. Runs the query.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// #[derive(Clone, Debug, PartialEq, Record)]
    /// struct Pair {
    ///     a: i64,
    ///     b: Option<String>,
    /// }
    ///
    /// let session = Session::new()?;
    /// let pairs = session.sql("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL")?.typed::<Pair>()?;
    /// let mut pairs = pairs.map(|pair| pair.a + pair.b.map_or(0, |b| b.len() as i64)).collect()?;
    /// pairs.sort();
    /// assert_eq!(pairs, [2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A column is missing or has values that the record's field has not, or the query fails.
    pub fn typed<T: Record>(&self) -> Result<Dataset<T, bireme_operators::dataset::Held<T>>> {
        files::typed(self)
    }
}

impl<T: Send + 'static, C: Chain<Item = T>> Dataset<T, C> {
    pub(crate) fn new(session: &Session, chain: C) -> Self {
        Self { session: session.clone(), chain: Arc::new(chain), records: PhantomData }
    }

    fn then<U: Send + 'static, D: Chain<Item = U>>(self, step: impl FnOnce(Arc<C>) -> D) -> Dataset<U, D> {
        Dataset { session: self.session, chain: Arc::new(step(self.chain)), records: PhantomData }
    }

    /// Another record for each.
    pub fn map<U: Send + 'static, F: Fn(T) -> U + Send + Sync + 'static>(self, f: F) -> Dataset<U, Map<Arc<C>, F>> {
        self.then(|before| Map::new(before, f))
    }

    /// The records for which something is true.
    pub fn filter<F: Fn(&T) -> bool + Send + Sync + 'static>(self, f: F) -> Dataset<T, Filter<Arc<C>, F>> {
        self.then(|before| Filter::new(before, f))
    }

    /// Any number of records for each. What the closure returns must not borrow from its argument: the parts of a [`Text`] do not.
    pub fn flat_map<I, F>(self, f: F) -> Dataset<I::Item, FlatMap<Arc<C>, F>>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(T) -> I + Send + Sync + 'static,
    {
        self.then(|before| FlatMap::new(before, f))
    }

    /// Calls a closure with each record that comes by.
    pub fn inspect<F: Fn(&T) + Send + Sync + 'static>(self, f: F) -> Dataset<T, Inspect<Arc<C>, F>> {
        self.then(|before| Inspect::new(before, f))
    }

    /// Any number of records for all of a partition, which is in memory for it.
    pub fn map_partitions<I, F>(self, f: F) -> Dataset<I::Item, MapPartitions<Arc<C>, F>>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    {
        self.then(|before| MapPartitions::new(before, f))
    }

    /// Each record with a probability of `fraction`: of sources, and of keys with combined values, the same ones for the same seed, whatever
    /// the number of ranks and threads. Behind `sort_by`, `repartition` and `partition_by` records have no place of their own among equals.
    pub fn sample(self, fraction: f64, seed: u64) -> Dataset<T, Sampled<Arc<C>>> {
        self.then(|before| Sampled::new(before, fraction, seed))
    }

    /// The records of both, those of `other` behind.
    pub fn union<D: Chain<Item = T>>(self, other: Dataset<T, D>) -> Dataset<T, Union<Arc<C>, Arc<D>>> {
        let second = other.chain;
        self.then(|first| Union::new(first, second))
    }

    /// Each record behind a key that is made of it.
    #[allow(clippy::type_complexity, reason = "the type is that of the loop")]
    pub fn key_by<K: Send + 'static, F: Fn(&T) -> K + Send + Sync + 'static>(
        self,
        f: F,
    ) -> Dataset<(K, T), Map<Arc<C>, impl Fn(T) -> (K, T) + Send + Sync + 'static>> {
        self.map(move |record| (f(&record), record))
    }

    /// Each record with its place among all, from 0. The dataset is read twice: once to count.
    pub fn zip_with_index(self) -> Dataset<(T, u64), Numbered<Arc<C>>> {
        let node = next_steps(1);
        self.then(|before| Numbered::new(node, before))
    }

    /// A dataset that is of the same type whatever steps led to it.
    pub fn boxed(self) -> Dataset<T> {
        self.then(Any::new)
    }
}

impl<T: Record, C: Chain<Item = T>> Dataset<T, C> {
    /// All records in the order of a key; those of equal keys in any order.
    pub fn sort_by<K, F>(self, key: F) -> Dataset<T>
    where
        K: Ord + Send + Sync + 'static,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let node = next_steps(SORT_NODES);
        self.then(|before| Any::new(Sorted::new(node, before, key)))
    }

    /// The records in `parts` partitions, 1 to 256 of them, those of a partition dealt out in turn.
    ///
    /// # Errors
    /// Another number of partitions.
    pub fn repartition(self, parts: usize) -> Result<Dataset<T>> {
        self.placed(parts, move |_, number, place| ((number + place) % parts.max(1) as u64) as usize)
    }

    /// The records in `parts` partitions, 1 to 256 of them, by a number below that for each.
    ///
    /// # Errors
    /// Another number of partitions. A record that is given a number beyond is an error of the action.
    pub fn partition_by<F: Fn(&T) -> usize + Send + Sync + 'static>(self, parts: usize, f: F) -> Result<Dataset<T>> {
        self.placed(parts, move |record, _, _| f(record))
    }

    fn placed(self, parts: usize, f: impl Fn(&T, u64, u64) -> usize + Send + Sync + 'static) -> Result<Dataset<T>> {
        let node = next_steps(1);
        let session = self.session.clone();
        Ok(Dataset::new(&session, Any::new(Placed::new(node, self.chain, parts, f)?)))
    }

    /// Each of the records that are equal once.
    pub fn distinct(self) -> Dataset<T>
    where
        T: Hash + Eq,
    {
        let node = next_steps(1);
        let once = ByThree(|()| (), |(), ()| (), |(), ()| ());
        let pairs = self.map(|record| (record, ()));
        let once = pairs.then(|before| Combined::new(node, "distinct", before, once));
        once.map(|(record, ())| record).boxed()
    }
}
