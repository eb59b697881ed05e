//! A user's own algorithm: values of vertices, round by round, out of those of their in-neighbours.
//!
//! ```text
//!   round    gather(value of u, weight) ─┐
//!            gather(value of w, weight) ─┴ combine ─► apply(value of v, combined) ─► value of v in the next round
//! ```
//!
//! All vertices are computed in each round, out of values of the round before, and combined in the order of their neighbours;
//! so results do not depend on threads or ranks, whatever the functions are. Rounds end when no value changes. Between ranks
//! only values that changed travel. It is Pregel's model as gather, apply and scatter have it (G. Malewicz et al., SIGMOD 2010;
//! J. Gonzalez et al., OSDI 2012); the functions are plain closures, for every rank is the same program.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, UInt32Type, UInt64Type};
use bireme_engine::error::Result;
use bireme_engine::feedback::sum_of;
use futures::FutureExt;
use futures::future::BoxFuture;
use rayon::prelude::*;

use super::algorithm::Vertex;
use super::between::{AsBytes, Mirrors};
use super::build::{BuildOptions, By};
use super::edges::{Held, Weights};
use super::talk::{Plain, Talk};

/// What vertices can have as values: `f64`, `i64`, `u32`, `u64`.
pub trait Value: Numeric {}

impl<T: Numeric> Value for T {}

/// What a value needs; implemented here only.
pub trait Numeric: Plain + AsBytes {
    /// The column's type.
    fn data_type() -> DataType;

    /// Values as a column.
    fn column(values: Vec<Self>) -> ArrayRef;

    /// What makes it another value, for copies on other ranks too: its bits.
    fn bits(self) -> u64;
}

macro_rules! numeric {
    ($($number:ty: $arrow:ty, $bits:expr);*) => {
        $(impl Numeric for $number {
            fn data_type() -> DataType {
                <$arrow as ArrowPrimitiveType>::DATA_TYPE
            }

            fn column(values: Vec<Self>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from_iter_values(values))
            }

            fn bits(self) -> u64 {
                let bits: fn($number) -> u64 = $bits;
                bits(self)
            }
        })*
    };
}

numeric!(f64: Float64Type, f64::to_bits; i64: Int64Type, i64::cast_unsigned; u32: UInt32Type, u64::from; u64: UInt64Type, |value| value);

/// The functions of an algorithm.
pub struct Steps<I, G, C, A> {
    /// A vertex's first value.
    pub init: I,
    /// What an edge of some weight (1 if there are none) brings of its source's value.
    pub gather: G,
    /// What two edges bring together.
    pub combine: C,
    /// The next value, of the last one and what all edges brought, if any did.
    pub apply: A,
}

/// An algorithm of a user's, for plans. Clones are the same.
#[derive(Clone)]
pub struct Iteration {
    number: u64,
    max_rounds: usize,
    data_type: DataType,
    program: Arc<dyn Program>,
}

impl Iteration {
    /// `number` is its name in plans: each of a session has another one, alike on all ranks.
    pub fn new<V, I, G, C, A>(number: u64, max_rounds: usize, steps: Steps<I, G, C, A>) -> Self
    where
        V: Value,
        I: Fn(&Vertex) -> V + Send + Sync + 'static,
        G: Fn(V, f64) -> Option<V> + Send + Sync + 'static,
        C: Fn(V, V) -> V + Send + Sync + 'static,
        A: Fn(V, Option<V>) -> V + Send + Sync + 'static,
    {
        Self { number, max_rounds, data_type: V::data_type(), program: Arc::new(Arc::new(steps)) }
    }

    pub(super) fn data_type(&self) -> DataType {
        self.data_type.clone()
    }

    pub(super) async fn run(&self, held: &Arc<Held>, talk: &mut Talk) -> Result<ArrayRef> {
        self.program.run(held, self.max_rounds, talk).await
    }
}

/// The functions, whatever the type of values.
trait Program: Send + Sync {
    fn run<'a>(&self, held: &'a Arc<Held>, rounds: usize, talk: &'a mut Talk) -> BoxFuture<'a, Result<ArrayRef>>;
}

impl<V, I, G, C, A> Program for Arc<Steps<I, G, C, A>>
where
    V: Value,
    I: Fn(&Vertex) -> V + Send + Sync + 'static,
    G: Fn(V, f64) -> Option<V> + Send + Sync + 'static,
    C: Fn(V, V) -> V + Send + Sync + 'static,
    A: Fn(V, Option<V>) -> V + Send + Sync + 'static,
{
    fn run<'a>(&self, held: &'a Arc<Held>, rounds: usize, talk: &'a mut Talk) -> BoxFuture<'a, Result<ArrayRef>> {
        iterate(Arc::clone(self), held, rounds, talk).boxed()
    }
}

/// The values of own vertices. All ranks call it.
async fn iterate<V, I, G, C, A>(
    steps: Arc<Steps<I, G, C, A>>,
    held: &Arc<Held>,
    max_rounds: usize,
    talk: &mut Talk,
) -> Result<ArrayRef>
where
    V: Value,
    I: Fn(&Vertex) -> V + Send + Sync + 'static,
    G: Fn(V, f64) -> Option<V> + Send + Sync + 'static,
    C: Fn(V, V) -> V + Send + Sync + 'static,
    A: Fn(V, Option<V>) -> V + Send + Sync + 'static,
{
    let own = held.own();
    let (rows, weights) = held.rows(By::Target, BuildOptions::default(), talk).await?;
    let (rows, weights) = (Arc::new(rows), Arc::new(weights));
    let mirrors = Mirrors::meet(held, &rows, talk).await?;
    let mut values = vec![V::default(); held.vertices()];
    for vertex in own.clone() {
        values[vertex] = (steps.init)(&held.numbering.vertex(vertex as u32));
    }
    mirrors.share(&vec![true; own.len()], &mut values, &[], talk).await?;
    for _ in 0..max_rounds {
        let (steps, rows, weights, range) = (Arc::clone(&steps), Arc::clone(&rows), Arc::clone(&weights), own.clone());
        let changed;
        (values, changed) = talk
            .run(move || {
                let next = (0..range.len()).into_par_iter().map(|row| {
                    let places = rows.offsets()[row]..rows.offsets()[row + 1];
                    let brought = places
                        .filter_map(|place| (steps.gather)(values[rows.targets()[place] as usize], weights.at(place)));
                    (steps.apply)(values[range.start + row], brought.reduce(&steps.combine))
                });
                let next = next.collect::<Vec<_>>();
                let changed = next
                    .iter()
                    .zip(&values[range.clone()])
                    .map(|(next, last)| next.bits() != last.bits())
                    .collect::<Vec<_>>();
                values[range].copy_from_slice(&next);
                Ok((values, changed))
            })
            .await?;
        let count = changed.iter().filter(|changed| **changed).count() as u64;
        let arrived = mirrors.share(&changed, &mut values, &[count], talk).await?;
        if sum_of(&arrived.letters, 0) == 0 {
            break;
        }
    }
    Ok(V::column(values[own].to_vec()))
}

impl Weights {
    /// Of an edge; 1 where there are none.
    fn at(&self, place: usize) -> f64 {
        match self {
            Weights::None => 1.0,
            Weights::Integers(weights) => weights[place] as f64,
            Weights::Floats(weights) => weights[place],
        }
    }
}

impl fmt::Display for Iteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "algorithm {} on {}, at most {} rounds", self.number, self.data_type, self.max_rounds)
    }
}

impl fmt::Debug for Iteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iteration({self})")
    }
}

// By number: functions cannot be compared.
impl PartialEq for Iteration {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Iteration {}

impl Hash for Iteration {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}
