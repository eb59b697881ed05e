//! Sources and steps that are compiled into one loop.
//!
//! ```text
//!   Filter<Map<Lines, F>, G>     drive(part, sink):  lines.drive(part, |line| { let x = f(line); if g(&x) { sink(x) } })
//! ```
//!
//! Records are pushed: a source calls what is behind it with each record, and each step is a closure around the next, so that nothing is
//! called through a pointer within a chain. [`Any`] is a chain whose type is forgotten; it costs a call a record.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bireme_engine::error::Result;

use super::run::{ON, Part, Parts, Run};
use super::work::Work;

/// Whether more records are wanted.
pub type Flow = ControlFlow<()>;

/// Records of partitions, as steps make them.
///
/// Law: a partition gives the same records whenever and on whichever rank it is driven, in any order; if the part asks for an order, in the
/// same one.
pub trait Chain: Send + Sync + 'static {
    /// What it makes.
    type Item: Send + 'static;

    /// The partitions that this rank has.
    ///
    /// # Errors
    /// An earlier stage has left nothing: a bug.
    fn parts(&self, run: &Run) -> Result<Parts>;

    /// Hands the records of a partition to `sink` until it wants no more; says how it ended.
    ///
    /// # Errors
    /// The source fails, or the action is over.
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(Self::Item) -> Flow) -> Result<Flow>;

    /// Adds the stages that must have run before it can be driven.
    fn needs(&self, needs: &mut Needs);

    /// Adds what it does, a line a step.
    fn describe(&self, lines: &mut Vec<String>);

    /// Whether its records depend on the order of those that it is made of.
    fn in_order(&self) -> bool {
        false
    }
}

/// The stages of an action, those that others need first.
#[derive(Default)]
pub struct Needs {
    /// In the order in which they run.
    pub stages: Vec<Work>,
    readers: BTreeMap<u64, Readers>,
}

/// How many stages read what a node leaves: known when the last of them has said what it needs.
#[derive(Clone, Debug, Default)]
pub struct Readers(Arc<AtomicUsize>);

impl Readers {
    /// How many.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Needs {
    /// Adds the stage of a node, unless it is there; `stage` makes it, once what it needs itself is there.
    pub fn add(&mut self, node: u64, stage: impl FnOnce(&mut Self, Readers) -> Work) {
        if let Some(readers) = self.readers.get(&node) {
            readers.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let readers = Readers(Arc::new(AtomicUsize::new(1)));
        self.readers.insert(node, readers.clone());
        let work = stage(self, readers);
        self.stages.push(work);
    }
}

/// A chain whose type is forgotten, so that datasets of the same records are of the same type.
pub struct Any<T>(Arc<dyn Source<T>>);

impl<T> Clone for Any<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Any<T> {
    /// Forgets the type of a chain.
    pub fn new<C: Chain<Item = T>>(chain: C) -> Self {
        Self(Arc::new(chain))
    }
}

/// What [`Any`] calls; every chain is one.
pub trait Source<T>: Send + Sync {
    /// See [`Chain::parts`].
    ///
    /// # Errors
    /// As there.
    fn parts_of(&self, run: &Run) -> Result<Parts>;
    /// See [`Chain::drive`].
    ///
    /// # Errors
    /// As there.
    fn drive_into(&self, part: &Part<'_>, sink: &mut dyn FnMut(T) -> Flow) -> Result<Flow>;
    /// See [`Chain::needs`].
    fn needs_of(&self, needs: &mut Needs);
    /// See [`Chain::describe`].
    fn describe_to(&self, lines: &mut Vec<String>);
    /// See [`Chain::in_order`].
    fn is_in_order(&self) -> bool;
}

impl<C: Chain> Source<C::Item> for C {
    fn parts_of(&self, run: &Run) -> Result<Parts> {
        self.parts(run)
    }

    fn drive_into(&self, part: &Part<'_>, sink: &mut dyn FnMut(C::Item) -> Flow) -> Result<Flow> {
        self.drive(part, &mut |item| sink(item))
    }

    fn needs_of(&self, needs: &mut Needs) {
        self.needs(needs);
    }

    fn describe_to(&self, lines: &mut Vec<String>) {
        self.describe(lines);
    }

    fn is_in_order(&self) -> bool {
        self.in_order()
    }
}

impl<T: Send + 'static> Chain for Any<T> {
    type Item = T;

    fn parts(&self, run: &Run) -> Result<Parts> {
        self.0.parts_of(run)
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(T) -> Flow) -> Result<Flow> {
        self.0.drive_into(part, sink)
    }

    fn needs(&self, needs: &mut Needs) {
        self.0.needs_of(needs);
    }

    fn describe(&self, lines: &mut Vec<String>) {
        self.0.describe_to(lines);
    }

    fn in_order(&self) -> bool {
        self.0.is_in_order()
    }
}

/// Several datasets may be made of one.
impl<C: Chain> Chain for Arc<C> {
    type Item = C::Item;

    fn parts(&self, run: &Run) -> Result<Parts> {
        self.as_ref().parts(run)
    }

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<Flow> {
        self.as_ref().drive(part, sink)
    }

    fn needs(&self, needs: &mut Needs) {
        self.as_ref().needs(needs);
    }

    fn describe(&self, lines: &mut Vec<String>) {
        self.as_ref().describe(lines);
    }

    fn in_order(&self) -> bool {
        self.as_ref().in_order()
    }
}

/// What all steps leave to the chain before them.
macro_rules! as_before {
    ($name:expr) => {
        fn parts(&self, run: &Run) -> Result<Parts> {
            self.before.parts(run)
        }

        fn needs(&self, needs: &mut Needs) {
            self.before.needs(needs);
        }

        fn describe(&self, lines: &mut Vec<String>) {
            self.before.describe(lines);
            lines.push($name.to_owned());
        }
    };
}

/// A step with its closure.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<C, F> {
            before: C,
            f: F,
        }

        impl<C, F> $name<C, F> {
            /// Behind a chain.
            pub fn new(before: C, f: F) -> Self {
                Self { before, f }
            }
        }
    };
}

step!(
    /// Another record for each.
    Map
);
step!(
    /// Records for which something is true.
    Filter
);
step!(
    /// Any number of records for each.
    FlatMap
);
step!(
    /// Calls a closure with each record and hands it on.
    Inspect
);
step!(
    /// Any number of records for all of a partition.
    MapPartitions
);

impl<C: Chain, U: Send + 'static, F: Fn(C::Item) -> U + Send + Sync + 'static> Chain for Map<C, F> {
    type Item = U;

    as_before!("map");

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(U) -> Flow) -> Result<Flow> {
        self.before.drive(part, &mut |item| sink((self.f)(item)))
    }

    fn in_order(&self) -> bool {
        self.before.in_order()
    }
}

impl<C: Chain, F: Fn(&C::Item) -> bool + Send + Sync + 'static> Chain for Filter<C, F> {
    type Item = C::Item;

    as_before!("filter");

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<Flow> {
        self.before.drive(part, &mut |item| if (self.f)(&item) { sink(item) } else { ON })
    }

    fn in_order(&self) -> bool {
        self.before.in_order()
    }
}

impl<C, I, F> Chain for FlatMap<C, F>
where
    C: Chain,
    I: IntoIterator,
    I::Item: Send + 'static,
    F: Fn(C::Item) -> I + Send + Sync + 'static,
{
    type Item = I::Item;

    as_before!("flat_map");

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(I::Item) -> Flow) -> Result<Flow> {
        self.before.drive(part, &mut |item| {
            for made in (self.f)(item) {
                sink(made)?;
            }
            ON
        })
    }

    fn in_order(&self) -> bool {
        self.before.in_order()
    }
}

impl<C: Chain, F: Fn(&C::Item) + Send + Sync + 'static> Chain for Inspect<C, F> {
    type Item = C::Item;

    as_before!("inspect");

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<Flow> {
        self.before.drive(part, &mut |item| {
            (self.f)(&item);
            sink(item)
        })
    }

    fn in_order(&self) -> bool {
        self.before.in_order()
    }
}

impl<C, I, F> Chain for MapPartitions<C, F>
where
    C: Chain,
    I: IntoIterator,
    I::Item: Send + 'static,
    F: Fn(std::vec::IntoIter<C::Item>) -> I + Send + Sync + 'static,
{
    type Item = I::Item;

    as_before!("map_partitions");

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(I::Item) -> Flow) -> Result<Flow> {
        let mut all = Vec::new();
        let _all = self.before.drive(part, &mut |item| {
            all.push(item);
            ON
        })?;
        for made in (self.f)(all.into_iter()) {
            if sink(made).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn in_order(&self) -> bool {
        // Whatever it makes of them may depend on it.
        true
    }
}

/// Each record with a probability, which one depends on a seed and on where the record is.
#[derive(Clone)]
pub struct Sampled<C> {
    before: C,
    /// Of 2⁶⁴ numbers, those below are taken.
    below: u128,
    seed: u64,
}

impl<C> Sampled<C> {
    /// Behind a chain; `fraction` from 0 to 1.
    pub fn new(before: C, fraction: f64, seed: u64) -> Self {
        Self { before, below: (fraction.clamp(0.0, 1.0) * (1_u128 << 64) as f64) as u128, seed }
    }
}

impl<C: Chain> Chain for Sampled<C> {
    type Item = C::Item;

    as_before!("sample");

    #[inline]
    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<Flow> {
        let number = self.before.parts(part.run)?.numbers.get(part.place).copied().unwrap_or(0);
        let mut place = 0_u64;
        self.before.drive(part, &mut |item| {
            let drawn = mixed(mixed(self.seed ^ mixed(number)).wrapping_add(place));
            place += 1;
            if u128::from(drawn) < self.below { sink(item) } else { ON }
        })
    }

    fn in_order(&self) -> bool {
        true
    }
}

/// SplitMix64's finalizer (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
pub(super) fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The partitions of one dataset behind those of another.
#[derive(Clone)]
pub struct Union<A, B> {
    first: A,
    second: B,
}

impl<A, B> Union<A, B> {
    /// Of two chains.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Chain, B: Chain<Item = A::Item>> Chain for Union<A, B> {
    type Item = A::Item;

    fn parts(&self, run: &Run) -> Result<Parts> {
        let (first, second) = (self.first.parts(run)?, self.second.parts(run)?);
        let behind = second.numbers.iter().map(|number| number + first.total);
        Ok(Parts { numbers: first.numbers.iter().copied().chain(behind).collect(), total: first.total + second.total })
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(A::Item) -> Flow) -> Result<Flow> {
        let before = self.first.parts(part.run)?.numbers.len();
        if part.place < before { self.first.drive(part, sink) } else { self.second.drive(&part.behind(before), sink) }
    }

    fn needs(&self, needs: &mut Needs) {
        self.first.needs(needs);
        self.second.needs(needs);
    }

    fn describe(&self, lines: &mut Vec<String>) {
        self.first.describe(lines);
        self.second.describe(lines);
        lines.push("union".into());
    }

    fn in_order(&self) -> bool {
        self.first.in_order() || self.second.in_order()
    }
}
