//! What work and messages take on a machine, in seconds.
//!
//! The costs of operators are first guesses for one core of the reference machine (that of the records in `bench/results`), and scale
//! with [`bireme_engine::machine::Rates::core`]. They are not fitted: on TPC-H at scale 1 and two ranks with a core each, what they predict is
//! off by a median of 47 %, mostly too low. They are meant to compare plans, and to tell milliseconds from minutes.

use arrow::datatypes::DataType;
use bireme_engine::machine::{Cluster, Link};

/// Seconds a row of one core of the reference machine.
mod row {
    /// Puts a row into a hash table.
    pub const BUILD: f64 = 22e-9;
    /// Looks a key up in a hash table that is in the cache.
    pub const PROBE: f64 = 9e-9;
    /// More for each, in one that is not.
    pub const MISS: f64 = 25e-9;
    /// Finds the lane of a row, and gathers it there.
    pub const SCATTER: f64 = 6e-9;
}

/// Bytes that a hash table may have before its look-ups miss the cache.
const CACHE: f64 = 4e6;

/// Bytes a second at which a core copies rows to their lane and takes them in on the other side.
const COPY: f64 = 1.5e9;

/// Bytes beside a row in a hash table.
const ENTRY: f64 = 12.0;

/// The prices of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    ranks: f64,
    threads: f64,
    core: f64,
    link: Link,
}

impl Costs {
    /// The prices on this machine.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            ranks: cluster.ranks() as f64,
            threads: cluster.threads.max(1) as f64,
            core: cluster.rates.core,
            link: cluster.all_to_all(),
        }
    }

    /// So many seconds of a core of the reference machine, on all threads of a rank.
    pub fn work(&self, seconds: f64) -> f64 {
        seconds / (self.core * self.threads)
    }

    /// Rows of all ranks, that lie in so many lanes, each to the lane of its key.
    pub fn shuffle(&self, rows: f64, row_bytes: f64, lanes: usize) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        let mine = rows / (lanes.max(1) as f64).min(self.ranks);
        let leaves = mine * row_bytes * (self.ranks - 1.0) / self.ranks;
        let scatter = self.work(mine * (row::SCATTER + row_bytes / COPY));
        scatter + leaves / self.link.bandwidth + self.ranks * self.link.latency
    }

    /// Rows of all ranks, all of them to every rank.
    pub fn broadcast(&self, rows: f64, row_bytes: f64) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        let arrives = rows * row_bytes * (self.ranks - 1.0) / self.ranks;
        self.work(arrives / COPY) + arrives / self.link.bandwidth + self.ranks * self.link.latency
    }

    /// Rows to one rank.
    pub fn gather(&self, rows: f64, row_bytes: f64) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        rows * row_bytes * (self.ranks - 1.0) / self.ranks / self.link.bandwidth + self.ranks * self.link.latency
    }

    /// A hash table of so many rows on one rank.
    pub fn build(&self, rows: f64, row_bytes: f64) -> f64 {
        self.work(self.raw_build(rows, rows, row_bytes))
    }

    /// Look-ups of so many rows on one rank.
    pub fn probe(&self, rows: f64, table_rows: f64, table_row_bytes: f64) -> f64 {
        self.work(self.raw_probe(rows, table_rows, table_row_bytes))
    }

    /// Seconds of a core of the reference machine that put rows into tables of so many rows each.
    pub fn raw_build(&self, rows: f64, table_rows: f64, row_bytes: f64) -> f64 {
        rows * (row::BUILD + self.raw_miss(table_rows, row_bytes))
    }

    /// Seconds of a core of the reference machine that look rows up in tables of so many rows each.
    pub fn raw_probe(&self, rows: f64, table_rows: f64, table_row_bytes: f64) -> f64 {
        rows * (row::PROBE + self.raw_miss(table_rows, table_row_bytes))
    }

    /// Seconds that one look-up waits for memory.
    pub fn raw_miss(&self, rows: f64, row_bytes: f64) -> f64 {
        let bytes = rows * (row_bytes + ENTRY);
        row::MISS * (1.0 - (CACHE / bytes.max(CACHE)))
    }
}

/// Bytes of a row of these types on its way; texts are taken to be short.
pub fn row_bytes<'a>(types: impl IntoIterator<Item = &'a DataType>) -> f64 {
    let width = |data_type: &DataType| match data_type {
        DataType::Boolean => 0.25,
        DataType::Null => 0.0,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => 24.0,
        DataType::Utf8View | DataType::BinaryView => 28.0,
        DataType::Dictionary(keys, _) => keys.primitive_width().unwrap_or(4) as f64,
        // Carried as 64-bit integers as long as they fit.
        DataType::Decimal128(precision, _) if *precision <= 18 => 8.0,
        other => other.primitive_width().map_or(64.0, |width| width as f64),
    };
    types.into_iter().map(width).sum()
}
