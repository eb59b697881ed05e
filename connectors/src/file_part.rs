//! Files as native readers are given them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use bireme_engine::Result;

/// A local file, or the part of it that one reader is given.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name in messages.
    pub shown: Arc<str>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, if known: a footer is kept for this version of the file.
    pub modified: Option<SystemTime>,
    /// Only what starts in this range of bytes: lines, record batches, row groups (by their first page); everything if
    /// `None`.
    pub range: Option<Range<u64>>,
    /// Columns that stand in its directory's name instead of the file.
    pub constants: Constants,
    /// Grows by the bytes that are read of it; of Parquet files, only pages count.
    pub read: Arc<AtomicU64>,
}

impl FilePart {
    /// A whole file of `size` bytes.
    pub fn whole(path: PathBuf, size: u64) -> Self {
        Self {
            shown: path.display().to_string().into(),
            path,
            size,
            modified: None,
            range: None,
            constants: Constants::default(),
            read: Arc::default(),
        }
    }
}

/// Columns with one value for all rows of a file.
#[derive(Clone, Debug, Default)]
pub struct Constants(Vec<(usize, ArrayRef)>);

impl Constants {
    /// Places in the source's schema, with an array of one value in carried form for each.
    pub fn new(values: Vec<(usize, ArrayRef)>) -> Self {
        Self(values)
    }

    /// The value of the column at this place, if it is one of these.
    pub(crate) fn value(&self, place: usize) -> Option<&ArrayRef> {
        self.0.iter().find(|(known, _)| *known == place).map(|(_, value)| value)
    }
}

/// A column of `rows` times the same value: text as a dictionary of one value, so that nothing is copied.
pub(crate) fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    if value.is_null(0) {
        return Ok(new_null_array(value.data_type(), rows));
    }
    let zeros = UInt32Array::from(vec![0; rows]);
    Ok(match value.data_type() {
        DataType::Utf8View | DataType::BinaryView => Arc::new(DictionaryArray::try_new(zeros, Arc::clone(value))?),
        _ => take(value, &zeros, None)?,
    })
}
