//! Bloom filters of column chunks: whether a row group can hold one of few values.
//!
//! ```text
//!  WHERE port IN ('Ostia', 'Tyre')      chunk of port ──► split blocks: 'Ostia' no, 'Tyre' no ──► the row group is pruned
//! ```
//!
//! A filter is read when a predicate names its values and statistics have not settled the row group; it is not kept.
//! A damaged one is done without. Values are hashed as the file stores them.

use std::sync::atomic::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, filter, is_not_null};
use arrow::datatypes::DataType;
use parquet::basic::Type;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::ColumnChunkMetaData;

use super::fallback::{SharedFile, guarded};
use crate::file_part::FilePart;

/// More values than this are not looked up: hardly any filter would hold none of them.
const MOST_VALUES: usize = 256;

/// Whether a column chunk may hold one of some values, of the table's column in carried form. True if it is not known.
/// The file's column is of the table's type.
pub(super) fn may_hold(part: &FilePart, file: &SharedFile, chunk: &ColumnChunkMetaData, values: &ArrayRef) -> bool {
    // Reading a filter that is larger than the column itself is no help.
    let length = chunk.bloom_filter_length().map_or(0, i64::from);
    if chunk.bloom_filter_offset().is_none() || values.len() > MOST_VALUES || length > chunk.compressed_size() {
        return true;
    }
    let Some(values) = Stored::new(values, chunk.column_type()) else { return true };
    let Ok(Some(bloom)) = guarded(|| Sbbf::read_from_column_chunk(chunk, file)) else { return true };
    part.read.fetch_add(bloom.num_blocks() as u64 * 32, Ordering::Relaxed);
    values.any_in(&bloom)
}

/// Values as a file stores them.
enum Stored {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Bytes(ArrayRef),
}

impl Stored {
    /// `None` if values of this physical type have more than one form.
    fn new(values: &ArrayRef, physical: Type) -> Option<Self> {
        let present: BooleanArray = is_not_null(values).ok()?;
        let values = filter(values, &present).ok()?;
        let wide = values.data_type().primitive_width() == Some(8);
        match physical {
            // A decimal of more than 32 bits is not in such a column.
            Type::INT32 if wide => Some(Self::Int32(
                integers(&values)?.into_iter().filter_map(|value| i32::try_from(value).ok()).collect(),
            )),
            Type::INT32 => Some(Self::Int32(integers(&values)?.into_iter().map(|value| value as i32).collect())),
            Type::INT64 if wide => Some(Self::Int64(integers(&values)?)),
            Type::BYTE_ARRAY => match values.data_type() {
                DataType::Utf8View => Some(Self::Bytes(cast(&values, &DataType::BinaryView).ok()?)),
                DataType::BinaryView => Some(Self::Bytes(values)),
                _ => None,
            },
            _ => None,
        }
    }

    fn any_in(&self, bloom: &Sbbf) -> bool {
        match self {
            Self::Int32(values) => values.iter().any(|value| bloom.check(value)),
            Self::Int64(values) => values.iter().any(|value| bloom.check(value)),
            Self::Bytes(values) => values.as_binary_view().iter().flatten().any(|value| bloom.check(value)),
        }
    }
}

/// The bits of each value, with its sign if it has one.
fn integers(values: &ArrayRef) -> Option<Vec<i64>> {
    let data = values.to_data();
    let rows = ..data.len();
    Some(match (values.data_type().primitive_width()?, values.data_type().is_unsigned_integer()) {
        (1, false) => data.buffer::<i8>(0)[rows].iter().map(|&value| value.into()).collect(),
        (1, true) => data.buffer::<u8>(0)[rows].iter().map(|&value| value.into()).collect(),
        (2, false) => data.buffer::<i16>(0)[rows].iter().map(|&value| value.into()).collect(),
        (2, true) => data.buffer::<u16>(0)[rows].iter().map(|&value| value.into()).collect(),
        (4, _) => data.buffer::<i32>(0)[rows].iter().map(|&value| value.into()).collect(),
        (8, _) => data.buffer::<i64>(0)[rows].to_vec(),
        _ => return None,
    })
}
