//! What work and messages take on a machine, in seconds.
//!
//! Work has prices on one core of the reference machine ([`super::work`]) and scales with
//! [`bireme_engine::machine::Rates::core`] and the cores that a rank has; what is sent shares the links.

use arrow::datatypes::DataType;
use bireme_engine::machine::{Cluster, Link};

use super::work::{Kind, Work};

/// Bytes that a hash table may have before its look-ups miss the cache.
const CACHE: f64 = 4e6;

/// Bytes beside a row in a hash table.
const ENTRY: f64 = 12.0;

/// The prices of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    ranks: f64,
    cores: f64,
    core: f64,
    link: Link,
}

impl Costs {
    /// The prices on this machine.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            ranks: cluster.ranks() as f64,
            cores: cluster.cores_of_a_rank(),
            core: cluster.rates.core,
            link: cluster.all_to_all(),
        }
    }

    /// Ranks of the job.
    pub fn ranks(&self) -> f64 {
        self.ranks
    }

    /// Cores of a rank; a fraction where ranks share them.
    pub fn cores(&self) -> f64 {
        self.cores
    }

    /// Work of one rank, on all of its cores.
    pub fn work(&self, work: Work) -> f64 {
        work.seconds() / (self.core * self.cores)
    }

    /// Rows of all ranks, that lie in so many lanes, each to the lane of its key.
    pub fn shuffle(&self, rows: f64, row_bytes: f64, lanes: usize) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        self.work(shuffled(self.on_a_rank(rows, lanes), row_bytes)) + self.shuffle_link(rows, row_bytes, lanes)
    }

    /// Of [`Costs::shuffle`]: rows on their way.
    pub fn shuffle_link(&self, rows: f64, row_bytes: f64, lanes: usize) -> f64 {
        self.send(self.on_a_rank(rows, lanes) * row_bytes)
    }

    /// How many of the rows of all ranks one rank has that lie in so many lanes.
    pub fn on_a_rank(&self, rows: f64, lanes: usize) -> f64 {
        rows / (lanes.max(1) as f64).min(self.ranks)
    }

    /// Rows of all ranks, all of them to every rank.
    pub fn broadcast(&self, rows: f64, row_bytes: f64) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        self.work(Work::of(Kind::Copy, rows * row_bytes)) + self.send(rows * row_bytes)
    }

    /// Bytes of which all but one rank's share has to leave or to arrive.
    pub fn send(&self, bytes: f64) -> f64 {
        if self.ranks <= 1.0 {
            return 0.0;
        }
        bytes * (self.ranks - 1.0) / self.ranks / self.link.bandwidth + self.ranks * self.link.latency
    }

    /// So many messages that one rank sends or takes in, however small.
    pub fn messages(&self, count: f64) -> f64 {
        if self.ranks <= 1.0 { 0.0 } else { count * self.link.latency }
    }

    /// A hash table of so many rows on one rank.
    pub fn build(&self, rows: f64, row_bytes: f64) -> f64 {
        self.work(built(rows, rows, row_bytes))
    }

    /// Look-ups of so many rows on one rank.
    pub fn probe(&self, rows: f64, table_rows: f64, table_row_bytes: f64) -> f64 {
        self.work(probed(rows, table_rows, table_row_bytes))
    }
}

/// Finds the lanes of rows, copies them there, and takes in as many.
pub fn shuffled(rows: f64, row_bytes: f64) -> Work {
    Work::of(Kind::Scatter, rows) + Work::of(Kind::Copy, rows * row_bytes)
}

/// Puts rows into tables of so many rows each.
pub fn built(rows: f64, table_rows: f64, row_bytes: f64) -> Work {
    Work::of(Kind::Build, rows) + missed(rows, table_rows, row_bytes)
}

/// Looks rows up in tables of so many rows each.
pub fn probed(rows: f64, table_rows: f64, table_row_bytes: f64) -> Work {
    Work::of(Kind::Probe, rows) + missed(rows, table_rows, table_row_bytes)
}

/// Look-ups in a table wait for memory where it is larger than the cache.
pub fn missed(lookups: f64, table_rows: f64, row_bytes: f64) -> Work {
    let bytes = table_rows * (row_bytes + ENTRY);
    Work::of(Kind::Miss, lookups * (1.0 - CACHE / bytes.max(CACHE)))
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
