//! CSV with a text of its own for NULL, such as `NA`.
//!
//! DataFusion's CSV reader heeds that text when it guesses types, but not when it reads. So files of such tables are
//! opened here, with the same parts: the same byte ranges, the same decoder, and its pattern for NULL besides.

use std::sync::Arc;

use arrow::csv::ReaderBuilder;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::csv::CsvDecoder;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::boundary_stream::AlignedBoundaryStream;
use datafusion_datasource::decoder::{DecoderDeserializer, deserialize_stream};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use regex::Regex;

use crate::error::to_datafusion;
use crate::options::{Compression, CsvOptions};

/// Opens the files of one lane.
pub(crate) struct CsvNulls {
    options: CsvOptions,
    nulls: Regex,
    compression: Compression,
    projection: SplitProjection,
    batch_size: usize,
    table: TableSchema,
    store: Arc<dyn ObjectStore>,
}

impl CsvNulls {
    /// An opener for the columns that `source` reads; `None` if the options name no text for NULL.
    pub(crate) fn opener(
        source: &dyn FileSource,
        options: &CsvOptions,
        compression: Compression,
        batch_size: usize,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<Option<Arc<dyn FileOpener>>> {
        let Some(nulls) = options.nulls().map_err(to_datafusion)? else { return Ok(None) };
        let table = source.table_schema().clone();
        let projection = match source.projection() {
            Some(projection) => SplitProjection::new(table.file_schema(), projection),
            None => SplitProjection::unprojected(&table),
        };
        let (options, store, columns) = (options.clone(), Arc::clone(store), Arc::clone(table.file_schema()));
        let opener = Self { options, nulls, compression, projection: projection.clone(), batch_size, table, store };
        Ok(Some(ProjectionOpener::try_new(projection, Arc::new(opener), &columns)?))
    }

    fn decoder(&self, from_the_start: bool) -> CsvDecoder {
        let mut builder = ReaderBuilder::new(Arc::clone(self.table.file_schema()))
            .with_delimiter(self.options.delimiter)
            .with_quote(self.options.quote)
            .with_header(self.options.header && from_the_start)
            .with_truncated_rows(self.options.short_rows)
            .with_batch_size(self.batch_size)
            .with_projection(self.projection.file_indices.clone())
            .with_null_regex(self.nulls.clone());
        if let Some(escape) = self.options.escape {
            builder = builder.with_escape(escape);
        }
        if let Some(comment) = self.options.comment {
            builder = builder.with_comment(comment);
        }
        CsvDecoder::new(builder.build_decoder())
    }
}

impl FileOpener for CsvNulls {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (start, end) = file.range();
        let (size, location, ranged) = (file.object_meta.size, file.object_meta.location, file.range.is_some());
        let decoder = self.decoder(start == 0);
        let (store, compression) = (Arc::clone(&self.store), self.compression);
        Ok(Box::pin(async move {
            let bytes = if ranged {
                AlignedBoundaryStream::new(store, location, start, end, size, b'\n').await?.boxed()
            } else {
                store.get(&location).await?.into_stream()
            };
            let plain = compression.file_type().convert_stream(bytes.map_err(DataFusionError::from).boxed())?;
            let batches = deserialize_stream(plain.fuse(), DecoderDeserializer::new(decoder));
            Ok(batches.map_err(DataFusionError::from).boxed())
        }))
    }
}

/// Turns an opener into a morselizer: DataFusion keeps that step inside the trait's default method.
pub(crate) struct OpenerSource {
    pub(crate) opener: Arc<dyn FileOpener>,
    pub(crate) source: Arc<dyn FileSource>,
}

impl FileSource for OpenerSource {
    fn create_file_opener(&self, _: Arc<dyn ObjectStore>, _: &FileScanConfig, _: usize) -> Result<Arc<dyn FileOpener>> {
        Ok(Arc::clone(&self.opener))
    }

    fn table_schema(&self) -> &TableSchema {
        self.source.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.source.with_batch_size(batch_size)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.source.metrics()
    }

    fn file_type(&self) -> &str {
        self.source.file_type()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.source.apply_expressions(f)
    }
}
