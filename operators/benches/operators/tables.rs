//! Rows that both sides read: Arrow batches, and the same arrays as chunks (but decimals, which chunks carry as integers).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::DataType;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, to_carried};
use datafusion::datasource::MemTable;

use crate::contest::Peer;

/// The type of prices.
pub const MONEY: DataType = DataType::Decimal128(15, 2);

/// How the values of a column are made from the numbers of its rows.
pub struct Column<'a> {
    name: &'static str,
    make: Box<dyn Fn(Range<usize>) -> ArrayRef + 'a>,
}

/// Some columns.
pub struct Table {
    /// As batches of [`CHUNK_ROWS`] rows.
    pub batches: Vec<RecordBatch>,
    /// As chunks of the same rows.
    pub chunks: Vec<Chunk>,
}

/// A number that looks random, for each row another one.
pub fn random(row: usize) -> u64 {
    let word = (row as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A column of integers.
pub fn ints<'a>(name: &'static str, value: impl Fn(usize) -> i64 + 'a) -> Column<'a> {
    Column { name, make: Box::new(move |rows| Arc::new(Int64Array::from_iter_values(rows.map(&value)))) }
}

/// A column of dates, as days since 1970.
pub fn dates<'a>(name: &'static str, value: impl Fn(usize) -> i32 + 'a) -> Column<'a> {
    Column { name, make: Box::new(move |rows| Arc::new(Date32Array::from_iter_values(rows.map(&value)))) }
}

/// A column of [`MONEY`], as hundredths.
pub fn money<'a>(name: &'static str, value: impl Fn(usize) -> i128 + 'a) -> Column<'a> {
    let make = move |rows: Range<usize>| {
        let values = Decimal128Array::from_iter_values(rows.map(&value));
        Arc::new(values.with_data_type(MONEY)) as ArrayRef
    };
    Column { name, make: Box::new(make) }
}

/// A column of texts.
pub fn texts<'a>(name: &'static str, value: impl Fn(usize) -> String + 'a) -> Column<'a> {
    Column { name, make: Box::new(move |rows| Arc::new(StringViewArray::from_iter_values(rows.map(&value)))) }
}

impl Table {
    /// So many rows.
    pub fn new(rows: usize, columns: &[Column<'_>]) -> Self {
        let batch = |start: usize| {
            let range = start..rows.min(start + CHUNK_ROWS);
            let columns = columns.iter().map(|column| (column.name, (column.make)(range.clone())));
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let batches = (0..rows).step_by(CHUNK_ROWS).map(batch).collect::<Vec<_>>();
        let chunks = batches.iter().map(|batch| {
            let columns = batch.columns().iter().map(|column| to_carried(column).unwrap());
            Chunk::new(columns.collect(), batch.num_rows())
        });
        Self { chunks: chunks.collect(), batches }
    }

    /// The logical types of the columns.
    pub fn types(&self) -> Vec<DataType> {
        self.batches[0].columns().iter().map(|column| column.data_type().clone()).collect()
    }

    /// Gives the rows to the other side, dealt to its partitions.
    pub fn register(&self, name: &str, peer: &Peer) {
        let partitions = peer.context().copied_config().target_partitions();
        let mut parts = vec![Vec::new(); partitions];
        self.batches.iter().enumerate().for_each(|(place, batch)| parts[place % partitions].push(batch.clone()));
        let table = MemTable::try_new(self.batches[0].schema(), parts).unwrap();
        peer.context().register_table(name, Arc::new(table)).unwrap();
    }
}
