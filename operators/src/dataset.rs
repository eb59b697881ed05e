//! Typed datasets: records of Rust types, and closures over them.
//!
//! ```text
//!   source ──► map ──► filter ──► flat_map ──► combine by key │ receive ──► merge ──► map ──► …
//!   └────── one loop, without a batch ───────┘       256 buckets by hash, some of them other ranks'
//! ```
//!
//! A [`Chain`] is a source and the steps behind it, as one type: the compiler makes one loop of it. What needs records of other partitions
//! (grouping, joining, sorting) ends a stage: its records go to [`Buckets`], which lie in memory as they are, on disk as columns if memory
//! is short, and go to other ranks as columns. Nothing is serialised that stays in a process.
//!
//! J. Dean, S. Ghemawat: MapReduce, OSDI 2004; M. Zaharia et al.: Resilient distributed datasets, NSDI 2012; T. Bingmann et al.: Thrill,
//! IEEE Big Data 2016, for chains that are compiled together up to the next exchange.

mod buckets;
mod chain;
mod combine;
mod number;
mod place;
mod record;
mod run;
mod sort;
mod sources;
#[cfg(test)]
mod tests;
mod work;

pub use buckets::{BUCKETS, Buckets, bucket_of, hash_of};
pub use chain::{
    Any, Chain, Filter, FlatMap, Flow, Inspect, Map, MapPartitions, Needs, Readers, Sampled, Source, Union,
};
pub use combine::{Both, ByThree, Combine, Combined, Grouped, Reduced, Side};
pub use number::Numbered;
pub use place::Placed;
pub use record::{Batches, Parts as TextParts, Record, Records, Text, TextColumn, Words, in_batches, schema, support};
pub use run::{Part, Parts, Run, for_parts};
pub use sort::{SORT_NODES, Sorted};
pub use sources::{Held, Lines, Split, Values, WholeFiles};
pub use work::{Exchanged, Receiving, Sending, Work, message_schema};
