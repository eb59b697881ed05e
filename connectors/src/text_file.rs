//! A text file in an object store that is read again, to find out where in it something went wrong.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::options::Compression;
use crate::text_position::{BadJsonSearch, Dialect, Record, RecordSearch, Search};

/// A text file that can be read again.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) key: Path,
    pub(crate) compression: Compression,
    /// Where the reader began that reports the error.
    pub(crate) range_start: u64,
}

impl TextFile {
    /// The line of a reader's n-th record (from 1).
    pub(crate) async fn line_of_record(&self, dialect: Dialect, ordinal: u64) -> Option<u64> {
        let record = self.find_record(dialect, |record| record.ordinal >= ordinal).await?;
        Some(record.line)
    }

    /// The first record that is as wanted.
    pub(crate) async fn find_record(&self, dialect: Dialect, wanted: impl Fn(Record) -> bool) -> Option<Record> {
        let mut search = RecordSearch::new(dialect, self.range_start, wanted);
        self.search(&mut search).await?;
        search.found
    }

    /// The first line, from where the reader began, that is not an object of the given schema, and what is wrong.
    pub(crate) async fn first_bad_json(&self, schema: &SchemaRef) -> Option<(u64, String)> {
        let mut search = BadJsonSearch::new(Arc::clone(schema), self.range_start);
        self.search(&mut search).await?;
        search.found
    }

    /// Hands the uncompressed bytes to a search. `None` if the file cannot be read.
    async fn search(&self, search: &mut impl Search) -> Option<()> {
        let result = self.store.get(&self.key).await.ok()?;
        let bytes = result.into_stream().map(|chunk| chunk.map_err(DataFusionError::from)).boxed();
        let mut plain = self.compression.file_type().convert_stream(bytes).ok()?;
        while let Some(chunk) = plain.next().await {
            if search.push(&chunk.ok()?).is_break() {
                return Some(());
            }
        }
        search.finish();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use arrow::datatypes::{DataType, Field, Schema};
    use futures::executor::block_on;
    use object_store::memory::InMemory;

    use super::*;

    const DIALECT: Dialect = Dialect { delimiter: b',', quote: b'"', escape: None, comment: Some(b'#') };

    fn file(text: &str, range_start: u64) -> TextFile {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let key = Path::from("a");
        block_on(store.put(&key, text.to_string().into())).unwrap();
        TextFile { store, key, compression: Compression::None, range_start }
    }

    #[test]
    fn a_range_counts_the_lines_before_it() {
        let text = "a,b\n1,2\n3,4\n5,6\n7,8\n";
        for start in 0..text.len() as u64 {
            let lines_before = match start {
                0 => 0,
                _ => text.as_bytes()[..start as usize - 1].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1,
            };
            let line = block_on(file(text, start).line_of_record(DIALECT, 1));
            let wanted = (lines_before < 5).then_some(lines_before + 1);
            assert_eq!(line, wanted, "from byte {start}");
        }
        let ragged = block_on(file("a,b\n1,2\n3\n", 0).find_record(DIALECT, |record| record.fields != 2));
        assert_eq!(ragged, Some(Record { ordinal: 3, line: 3, fields: 1 }));
    }

    #[test]
    fn the_first_bad_json_line() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let text = "{\"a\":1}\n\n{\"a\":\"x\"}\n{\"a\"\n";
        let (line, problem) = block_on(file(text, 0).first_bad_json(&schema)).unwrap();
        assert_eq!(line, 3);
        assert!(problem.contains('x'), "{problem}");
        let (line, _) = block_on(file(text, 12).first_bad_json(&schema)).unwrap();
        assert_eq!(line, 4);
    }
}
