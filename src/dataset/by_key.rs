//! Steps over pairs: by key.
#![allow(clippy::type_complexity, reason = "types are those of loops, and of what co-groups have")]

use std::hash::Hash;
use std::sync::Arc;

use bireme_operators::dataset::{
    Any, Both, ByThree, Chain, Combine, Combined, Grouped, Map, Record, Reduced, Side, Union,
};

use super::{Dataset, next_steps};

impl<K: Send + 'static, V: Send + 'static, C: Chain<Item = (K, V)>> Dataset<(K, V), C> {
    /// Another value for each, under the same key.
    pub fn map_values<W: Send + 'static, F: Fn(V) -> W + Send + Sync + 'static>(
        self,
        f: F,
    ) -> Dataset<(K, W), Map<Arc<C>, impl Fn((K, V)) -> (K, W) + Send + Sync + 'static>> {
        self.map(move |(key, value)| (key, f(value)))
    }

    /// The keys.
    pub fn keys(self) -> Dataset<K, Map<Arc<C>, impl Fn((K, V)) -> K + Send + Sync + 'static>> {
        self.map(|(key, _)| key)
    }

    /// The values.
    pub fn values(self) -> Dataset<V, Map<Arc<C>, impl Fn((K, V)) -> V + Send + Sync + 'static>> {
        self.map(|(_, value)| value)
    }
}

impl<K: Record + Hash + Eq, V: Send + 'static, C: Chain<Item = (K, V)>> Dataset<(K, V), C> {
    fn combined<A: Record>(self, name: &'static str, combine: impl Combine<V, A>) -> Dataset<(K, A)> {
        let node = next_steps(1);
        self.then(|before| Any::new(Combined::new(node, name, before, combine)))
    }

    /// One value a key, made of two again and again, in any order: `f` is associative and commutative. Values are combined before they
    /// are kept or sent.
    pub fn reduce_by_key<F: Fn(V, V) -> V + Send + Sync + 'static>(self, f: F) -> Dataset<(K, V)>
    where
        V: Record,
    {
        self.combined("reduce_by_key", Reduced(f))
    }

    /// One value a key, of another type: what it begins as with a first value, what a further one makes of it, and what becomes of two
    /// parts. As Spark's `combineByKey`.
    pub fn combine_by_key<A: Record>(
        self,
        begin: impl Fn(V) -> A + Send + Sync + 'static,
        add: impl Fn(A, V) -> A + Send + Sync + 'static,
        join: impl Fn(A, A) -> A + Send + Sync + 'static,
    ) -> Dataset<(K, A)> {
        self.combined("combine_by_key", ByThree(begin, add, join))
    }

    /// As [`Dataset::combine_by_key`], from a value that changes nothing on.
    pub fn aggregate_by_key<A: Record + Clone + Sync>(
        self,
        zero: A,
        add: impl Fn(A, V) -> A + Send + Sync + Clone + 'static,
        join: impl Fn(A, A) -> A + Send + Sync + 'static,
    ) -> Dataset<(K, A)> {
        let first = add.clone();
        self.combined("aggregate_by_key", ByThree(move |value| first(zero.clone(), value), add, join))
    }

    /// How many values each key has.
    pub fn count_by_key(self) -> Dataset<(K, u64)> {
        self.combined("count_by_key", ByThree(|_: V| 1_u64, |n, _: V| n + 1, |a, b| a + b))
    }

    /// All values of each key, in any order. Where they are to be combined, [`Dataset::reduce_by_key`] and its kin move less.
    pub fn group_by_key(self) -> Dataset<(K, Vec<V>)>
    where
        V: Record,
    {
        self.combined("group_by_key", Grouped)
    }

    /// All values of each key in both datasets.
    pub fn co_group<W: Record, D: Chain<Item = (K, W)>>(
        self,
        other: Dataset<(K, W), D>,
    ) -> Dataset<(K, (Vec<V>, Vec<W>))>
    where
        V: Record,
    {
        let left = self.map(|(key, value)| (key, Side::<V, W>::Left(value)));
        let right = other.map(|(key, value)| (key, Side::<V, W>::Right(value)));
        let node = next_steps(1);
        let second = right.chain;
        left.then(|first| Any::new(Combined::new(node, "co_group", Union::new(first, second), Both)))
    }

    /// The pairs of values that both datasets have under a key.
    pub fn join<W: Record + Clone, D: Chain<Item = (K, W)>>(self, other: Dataset<(K, W), D>) -> Dataset<(K, (V, W))>
    where
        K: Clone,
        V: Record + Clone,
    {
        let pairs = self.co_group(other).flat_map(|(key, (left, right))| products(key, left, right));
        pairs.boxed()
    }

    /// As [`Dataset::join`]; a value on the left without a partner is with `None`.
    pub fn left_join<W: Record + Clone, D: Chain<Item = (K, W)>>(
        self,
        other: Dataset<(K, W), D>,
    ) -> Dataset<(K, (V, Option<W>))>
    where
        K: Clone,
        V: Record + Clone,
    {
        let pairs = self.co_group(other).flat_map(|(key, (left, right))| products(key, left, or_none(right)));
        pairs.boxed()
    }

    /// As [`Dataset::join`]; a value on the right without a partner is with `None`.
    pub fn right_join<W: Record + Clone, D: Chain<Item = (K, W)>>(
        self,
        other: Dataset<(K, W), D>,
    ) -> Dataset<(K, (Option<V>, W))>
    where
        K: Clone,
        V: Record + Clone,
    {
        let pairs = self.co_group(other).flat_map(|(key, (left, right))| products(key, or_none(left), right));
        pairs.boxed()
    }

    /// As [`Dataset::join`]; values on either side without a partner are with `None`.
    pub fn full_join<W: Record + Clone, D: Chain<Item = (K, W)>>(
        self,
        other: Dataset<(K, W), D>,
    ) -> Dataset<(K, (Option<V>, Option<W>))>
    where
        K: Clone,
        V: Record + Clone,
    {
        let pairs = self.co_group(other).flat_map(|(key, (left, right))| products(key, or_none(left), or_none(right)));
        pairs.boxed()
    }

    /// The pairs whose key is in the other dataset, too.
    pub fn semi_join<W: Record, D: Chain<Item = (K, W)>>(self, other: Dataset<(K, W), D>) -> Dataset<(K, V)>
    where
        K: Clone,
        V: Record,
    {
        self.by_partners(other, true)
    }

    /// The pairs whose key is not in the other dataset.
    pub fn anti_join<W: Record, D: Chain<Item = (K, W)>>(self, other: Dataset<(K, W), D>) -> Dataset<(K, V)>
    where
        K: Clone,
        V: Record,
    {
        self.by_partners(other, false)
    }

    fn by_partners<W: Record, D: Chain<Item = (K, W)>>(self, other: Dataset<(K, W), D>, wanted: bool) -> Dataset<(K, V)>
    where
        K: Clone,
        V: Record,
    {
        let pairs = self.co_group(other).flat_map(move |(key, (left, right))| {
            let kept = if right.is_empty() == wanted { Vec::new() } else { left };
            kept.into_iter().map(move |value| (key.clone(), value))
        });
        pairs.boxed()
    }
}

/// Each with each.
fn products<K: Clone, V: Clone, W: Clone>(key: K, left: Vec<V>, right: Vec<W>) -> impl Iterator<Item = (K, (V, W))> {
    left.into_iter().flat_map(move |v| {
        let key = key.clone();
        right.clone().into_iter().map(move |w| (key.clone(), (v.clone(), w)))
    })
}

/// `None` alone where there is nothing.
fn or_none<T>(values: Vec<T>) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}
