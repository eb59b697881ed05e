//! Footers of files, parsed once.
//!
//! A footer of a large table is megabytes of Thrift; between runs nothing else is kept. Entries are found by path,
//! size and time of change, so a file that was replaced is read anew.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use parking_lot::Mutex;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::damage::{Damage, Decoded};
use super::fallback::{SharedFile, guarded};
use crate::file_part::FilePart;

/// Bytes of footers that are kept unless told otherwise.
const KEPT_BYTES: usize = 256 << 20;

/// Page indexes of files with more column chunks than this are not read if row groups are small: parsing them would
/// cost more than pages of small row groups can save.
const SMALL_FILE_CHUNKS: usize = 2048;
const LARGE_ROW_GROUP: i64 = 100_000;

/// The footer's magic bytes and its length.
const TAIL: u64 = 8;

/// What a file says of itself.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) metadata: Arc<ParquetMetaData>,
    /// Its flat columns: name, leaf, Arrow type.
    pub(super) columns: Vec<(String, usize, DataType)>,
}

impl Footer {
    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Option<(usize, &DataType)> {
        let found = self.columns.iter().find(|(own, ..)| own == name)?;
        Some((found.1, &found.2))
    }
}

type Key = (PathBuf, u64, Option<SystemTime>);

#[derive(Debug, Default)]
struct Kept {
    footers: HashMap<Key, (Arc<Footer>, usize, u64)>,
    bytes: usize,
    clock: u64,
}

/// Parsed footers, shared between sources and runs; the ones used longest ago make room for new ones.
#[derive(Debug)]
pub struct FooterCache {
    limit: usize,
    kept: Mutex<Kept>,
}

impl Default for FooterCache {
    fn default() -> Self {
        Self::new(KEPT_BYTES)
    }
}

impl FooterCache {
    /// An empty cache that keeps about so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    /// The footer of a file.
    pub(super) fn get(&self, part: &FilePart, file: &Arc<File>) -> Result<Arc<Footer>> {
        let key = (part.path.clone(), part.size, part.modified);
        {
            let mut kept = self.kept.lock();
            kept.clock += 1;
            let now = kept.clock;
            if let Some((footer, _, used)) = kept.footers.get_mut(&key) {
                *used = now;
                return Ok(Arc::clone(footer));
            }
        }
        let footer = Arc::new(read(file).map_err(|damage| damage.of("the footer", &part.path))?);
        self.keep(key, &footer);
        Ok(footer)
    }

    fn keep(&self, key: Key, footer: &Arc<Footer>) {
        let bytes = footer.metadata.memory_size();
        let mut kept = self.kept.lock();
        let now = kept.clock;
        if let Some((_, old, _)) = kept.footers.insert(key, (Arc::clone(footer), bytes, now)) {
            kept.bytes -= old;
        }
        kept.bytes += bytes;
        while kept.bytes > self.limit && kept.footers.len() > 1 {
            let oldest = kept.footers.iter().min_by_key(|(_, (_, _, used))| *used).map(|(key, _)| key.clone());
            let Some((_, bytes, _)) = oldest.and_then(|key| kept.footers.remove(&key)) else { break };
            kept.bytes -= bytes;
        }
    }
}

fn read(file: &Arc<File>) -> Decoded<Footer> {
    let io = |error: std::io::Error| Damage::from(Error::from(error));
    let size = file.metadata().map_err(io)?.len();
    if size < TAIL {
        return Err(Damage::new("the file is too short for a Parquet file"));
    }
    let mut tail = [0; TAIL as usize];
    file.read_exact_at(&mut tail, size - TAIL).map_err(io)?;
    if &tail[4..] == b"PARE" {
        return Err(Damage::from(Error::unsupported("the file is encrypted")));
    }
    if &tail[4..] != b"PAR1" {
        return Err(Damage::new("the file does not end as a Parquet file does"));
    }
    let shared = SharedFile { file: Arc::clone(file), size };
    let metadata = guarded(|| {
        let mut reader = ParquetMetaDataReader::new();
        reader.try_parse(&shared)?;
        reader.finish()
    })?;
    let large = metadata.row_groups().iter().any(|group| group.num_rows() > LARGE_ROW_GROUP);
    let chunks = metadata.num_row_groups() * metadata.file_metadata().schema_descr().num_columns();
    let metadata = if large || chunks <= SMALL_FILE_CHUNKS {
        // An index is a help, not a need: a damaged one is done without.
        let plain = metadata.clone();
        guarded(|| {
            let mut reader =
                ParquetMetaDataReader::new_with_metadata(metadata).with_page_index_policy(PageIndexPolicy::Optional);
            reader.read_page_indexes(&shared)?;
            reader.finish()
        })
        .unwrap_or(plain)
    } else {
        metadata
    };
    let columns = columns(&metadata)?;
    check(&metadata, size)?;
    Ok(Footer { metadata: Arc::new(metadata), columns })
}

fn columns(metadata: &ParquetMetaData) -> Decoded<Vec<(String, usize, DataType)>> {
    let file = metadata.file_metadata();
    let descriptor = file.schema_descr();
    let schema = guarded(|| parquet_to_arrow_schema(descriptor, file.key_value_metadata()))?;
    let mut columns = Vec::new();
    for (leaf, column) in descriptor.columns().iter().enumerate() {
        if let ([name], 0) = (column.path().parts(), column.max_rep_level())
            && column.max_def_level() <= 1
            && let Ok(field) = schema.field_with_name(name)
        {
            columns.push((name.clone(), leaf, field.data_type().clone()));
        }
    }
    Ok(columns)
}

/// Where the bytes of a chunk start; `None` if nowhere. Some writers give 0 for a dictionary that is not there.
pub(super) fn chunk_start(column: &ColumnChunkMetaData) -> Option<u64> {
    let data = u64::try_from(column.data_page_offset()).ok()?;
    let dictionary = column.dictionary_page_offset().and_then(|offset| u64::try_from(offset).ok());
    Some(dictionary.filter(|&offset| offset > 0 && offset < data).unwrap_or(data))
}

/// Numbers that everything else relies on.
fn check(metadata: &ParquetMetaData, size: u64) -> Decoded<()> {
    for group in metadata.row_groups() {
        if !(0..=i64::from(u32::MAX >> 1)).contains(&group.num_rows()) {
            return Err(Damage::new("a row group has a number of rows that cannot be"));
        }
        for column in group.columns() {
            let len = u64::try_from(column.compressed_size()).ok();
            let end = chunk_start(column).zip(len).and_then(|(start, len)| start.checked_add(len));
            if end.is_none_or(|end| end > size) {
                return Err(Damage::new("a column lies outside of the file"));
            }
        }
    }
    Ok(())
}
