//! The oracle: plain DataFusion on one thread.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

/// Runs the statements of a script over the Parquet files of a directory; the rows of its query.
pub fn run(directory: &Path, tables: &[&str], statements: &[String]) -> Vec<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        for table in tables {
            let path = directory.join(format!("{table}.parquet"));
            let path = path.to_str().expect("a UTF-8 path");
            context.register_parquet(*table, path, ParquetReadOptions::default()).await.expect("a table");
        }
        let mut rows = Vec::new();
        for statement in statements {
            let frame = context.sql(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            let query = !frame.schema().fields().is_empty();
            let batches = frame.collect().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            if query {
                rows = batches;
            }
        }
        rows
    })
}
