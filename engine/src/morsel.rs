//! Small pieces of tables that stay in the cache while a pipeline works on them.
//!
//! ```text
//!  Source ──open(request)──► Scan ──read(morsel)──► MorselReader ──next()──► Chunk, Chunk, …
//!           pruned by statistics      one worker each                 up to CHUNK_ROWS rows that passed the predicates
//! ```
//!
//! A [`Source`] is a table that knows how to be read in *morsels*: parts that workers take one after the other, such as
//! the row groups of a Parquet file. A reader decodes a morsel chunk by chunk, tests [`Predicate`]s as early as it can
//! (on statistics, on the values of a dictionary, on the few columns a predicate needs) and only then decodes the other
//! columns of the rows that are left.

mod carried;
mod predicate;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;

pub use carried::{carried_type, to_carried, to_logical};
pub use predicate::{ColumnRange, Predicate, Verdict};

use crate::error::Result;
use crate::metrics::StageMetrics;

/// Rows of a chunk, at most: with ten columns of eight bytes it fits half of an L2 cache of 1 MiB.
pub const CHUNK_ROWS: usize = 8192;

/// Some rows, all of which count (there is no selection beside them), as columns in a *carried* form.
///
/// The carried form of a column is an Arrow array that is cheaper to work on than its logical type says; the logical
/// type is known to the plan:
///
/// | logical type | carried as |
/// |---|---|
/// | decimals of up to 18 digits | `Int64Array`, the unscaled value |
/// | `Decimal128` of more digits | `Int64Array` or `Decimal128Array` (any precision and scale on its label), the unscaled value; a column may change between chunks |
/// | `Utf8`, `LargeUtf8`, `Utf8View`, dictionaries of them | `StringViewArray` or `DictionaryArray<UInt32Type>` over one; a column may change between chunks |
/// | `Binary`, `LargeBinary`, `BinaryView`, dictionaries of them | `BinaryViewArray` or `DictionaryArray<UInt32Type>` over one |
/// | anything else | itself |
///
/// Values behind NULL slots are arbitrary, but must not break an array's own rules.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// One array a column, each of `rows` rows.
    pub columns: Vec<ArrayRef>,
    /// How many rows; there may be rows without columns.
    pub rows: usize,
}

impl Chunk {
    /// A chunk of these columns, which have `rows` rows each.
    pub fn new(columns: Vec<ArrayRef>, rows: usize) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == rows), "columns of {rows} rows");
        Self { columns, rows }
    }

    /// The rows `start..start + rows`, without a copy.
    #[must_use]
    pub fn slice(&self, start: usize, rows: usize) -> Self {
        Self { columns: self.columns.iter().map(|column| column.slice(start, rows)).collect(), rows }
    }

    /// Bytes that the columns hold, shared ones counted in every chunk that shares them.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.get_array_memory_size()).sum()
    }
}

/// What is wanted of a source.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// Columns of the chunks, as places in the source's schema, in this order.
    pub projection: Vec<usize>,
    /// Rows that fail one of them are not wanted. Their columns are places in the source's schema, and need not be
    /// in `projection`.
    pub predicates: Vec<Arc<dyn Predicate>>,
    /// Where to count bytes read, rows pruned and the like.
    pub metrics: Option<Arc<StageMetrics>>,
}

/// A table, or one rank's part of it, that can be read in morsels.
pub trait Source: Debug + Send + Sync {
    /// Its columns, with logical types.
    fn schema(&self) -> SchemaRef;

    /// Canonical text for EXPLAIN: no addresses.
    fn describe(&self) -> String;

    /// Decides what has to be read: statistics are looked at here.
    ///
    /// # Errors
    /// The files cannot be opened or are not what they should be.
    fn open(&self, request: ScanRequest) -> Result<Arc<dyn Scan>>;
}

/// Rows in morsels, each of which can be read once, by any thread.
///
/// Law: the chunks of all morsels are together exactly the rows that pass all predicates. Where
/// [`Scan::ordered`] holds, they are in order, morsel after morsel; and if there are several morsels, each can be read more
/// than once.
pub trait Scan: Debug + Send + Sync {
    /// How many morsels there are.
    fn morsels(&self) -> usize;

    /// Whether the order of rows means something.
    fn ordered(&self) -> bool {
        false
    }

    /// Starts to read a morsel (`0..morsels()`).
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>>;
}

/// Yields the rows of one morsel.
pub trait MorselReader: Send {
    /// The next rows, never none; `None` at the end.
    ///
    /// # Errors
    /// The data cannot be read or decoded, or a predicate fails on it.
    fn next(&mut self) -> Result<Option<Chunk>>;
}
