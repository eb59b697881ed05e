//! The rows that are moved.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a row is. The first column is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum Rows {
    /// A key of eight bytes.
    Keys,
    /// A key and fifteen more columns of eight bytes.
    Wide,
    /// A key and a text of 20 to 43 bytes.
    Texts,
}

impl Rows {
    /// As the command line calls it.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Rows::Keys => "keys",
            Rows::Wide => "wide",
            Rows::Texts => "texts",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Rows::Keys => "8-byte keys",
            Rows::Wide => "16 columns",
            Rows::Texts => "texts",
        }
    }
}

#[cfg(feature = "mpi")]
mod batches {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use bireme::prelude::Result;

    use super::Rows;

    /// Rows of a batch.
    const BATCH_ROWS: usize = 8192;

    impl Rows {
        /// Its columns.
        pub(crate) fn schema(self) -> SchemaRef {
            let number = |place: usize| Field::new(format!("n{place}"), DataType::Int64, false);
            let fields = match self {
                Rows::Keys => vec![number(0)],
                Rows::Wide => (0..16).map(number).collect(),
                Rows::Texts => vec![number(0), Field::new("text", DataType::Utf8View, false)],
            };
            Arc::new(Schema::new(fields))
        }

        /// Batches of at least so many bytes; other ranks have other rows.
        pub(crate) fn batches(self, rank: usize, bytes: u64) -> Result<Vec<RecordBatch>> {
            let (mut batches, mut made) = (Vec::new(), 0);
            while made < bytes {
                let batch = self.batch((rank << 32) + batches.len() * BATCH_ROWS)?;
                made += super::bytes_of(&batch);
                batches.push(batch);
            }
            Ok(batches)
        }

        fn batch(self, first: usize) -> Result<RecordBatch> {
            let rows = first..first + BATCH_ROWS;
            let numbers = |column: usize| -> ArrayRef {
                Arc::new(rows.clone().map(|row| mixed(row * 16 + column) as i64).collect::<Int64Array>())
            };
            let columns = match self {
                Rows::Keys => vec![numbers(0)],
                Rows::Wide => (0..16).map(numbers).collect(),
                Rows::Texts => {
                    let text = |row: usize| format!("Customer#{:011}{}", row, &PADDING[..(mixed(row) % 24) as usize]);
                    let texts = StringViewArray::from_iter_values(rows.clone().map(text));
                    vec![numbers(0), Arc::new(texts)]
                }
            };
            Ok(RecordBatch::try_new(self.schema(), columns)?)
        }
    }

    const PADDING: &str = "carefully final deposits";

    /// A number that looks random (SplitMix64).
    fn mixed(number: usize) -> u64 {
        let mut mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The bytes that a batch has on the wire.
#[cfg(feature = "mpi")]
pub(crate) fn bytes_of(batch: &arrow::array::RecordBatch) -> u64 {
    let (_, buffers) = bireme::engine::wire::encode(batch);
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}
