//! A file source whose errors say which file, and which line of it.
//!
//! DataFusion's decoders report "incorrect number of fields for line 3" of whatever bytes they were given. This wrapper
//! stands around the decoder of each file; everything else — pruning, projection, filters, sorting — it hands on.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;

use crate::csv_nulls::{CsvNulls, OpenerSource};
use crate::file_error::{NamedFile, Scan};
use crate::options::{Compression, FileFormatOptions};

/// DataFusion says the size before it reads; this one only stands in until then.
const DEFAULT_BATCH_SIZE: usize = 8192;

/// A [`FileSource`] that names files in errors.
#[derive(Clone)]
pub struct NamedSource {
    inner: Arc<dyn FileSource>,
    format: FileFormatOptions,
    compression: Compression,
    batch_size: usize,
    /// Footers that this process has read already.
    footers: Arc<FileMetadataCache>,
}

impl NamedSource {
    /// The format of its files.
    pub fn format(&self) -> &FileFormatOptions {
        &self.format
    }

    /// How its files are compressed as a whole.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    pub(crate) fn new(
        inner: Arc<dyn FileSource>,
        format: FileFormatOptions,
        compression: Compression,
        footers: Arc<FileMetadataCache>,
    ) -> Self {
        Self { inner, format, compression, batch_size: DEFAULT_BATCH_SIZE, footers }
    }

    /// The source inside.
    pub fn inner(&self) -> &Arc<dyn FileSource> {
        &self.inner
    }

    fn around(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, ..self.clone() })
    }

    /// The source that really reads, from this store.
    fn decoders(&self, store: &Arc<dyn ObjectStore>) -> Result<Arc<dyn FileSource>> {
        if let Some(parquet) = self.inner.downcast_ref::<ParquetSource>() {
            // The store is that of the rank that runs the scan, so it is put in here and not when planning.
            let reader = CachedParquetFileReaderFactory::new(Arc::clone(store), Arc::clone(&self.footers));
            return Ok(Arc::new(parquet.clone().with_parquet_file_reader_factory(Arc::new(reader))));
        }
        if let FileFormatOptions::Csv(options) = &self.format {
            let opener = CsvNulls::opener(self.inner.as_ref(), options, self.compression, self.batch_size, store)?;
            if let Some(opener) = opener {
                return Ok(Arc::new(OpenerSource { opener, source: Arc::clone(&self.inner) }));
            }
        }
        Ok(Arc::clone(&self.inner))
    }

    /// The file's columns that are decoded.
    fn decoded_schema(&self) -> SchemaRef {
        let all = self.inner.table_schema().file_schema();
        let Some(projection) = self.inner.projection() else { return Arc::clone(all) };
        let in_file = |place: &usize| *place < all.fields().len();
        let wanted: Vec<usize> = projection.column_indices().into_iter().filter(in_file).collect();
        all.project(&wanted).map_or_else(|_| Arc::clone(all), Arc::new)
    }
}

impl FileSource for NamedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = self.decoders(&store)?.create_morselizer(Arc::clone(&store), config, partition)?;
        let decoded = self.decoded_schema();
        let scan = Arc::new(Scan { store, format: self.format.clone(), compression: self.compression, decoded });
        Ok(Box::new(NamedMorselizer { inner, scan }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { inner: self.inner.with_batch_size(batch_size), batch_size, ..self.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(format, f)
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    /// The table has shared out its files already, rank by rank; nobody may do it again.
    fn repartitioned(
        &self,
        _target_partitions: usize,
        _repartition_file_min_size: usize,
        _output_ordering: Option<LexOrdering>,
        _config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        Ok(None)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_filters(filters, config)?;
        let updated_node = pushed.updated_node.map(|inner| self.around(inner));
        Ok(FilterPushdownPropagation { filters: pushed.filters, updated_node })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_sort(order, properties)?.map(|inner| self.around(inner)))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_projection(projection)?.map(|inner| self.around(inner)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

// ---- one layer around each step from a file to its batches ----

#[derive(Debug)]
struct NamedMorselizer {
    inner: Box<dyn Morselizer>,
    scan: Arc<Scan>,
}

impl Morselizer for NamedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let named = NamedFile::new(&self.scan, file.clone());
        match self.inner.plan_file(file) {
            Ok(inner) => Ok(NamedPlanner::boxed(inner, &named)),
            Err(error) => Err(named.explain(error)),
        }
    }
}

#[derive(Debug)]
struct NamedPlanner {
    inner: Box<dyn MorselPlanner>,
    named: NamedFile,
}

impl NamedPlanner {
    fn boxed(inner: Box<dyn MorselPlanner>, named: &NamedFile) -> Box<dyn MorselPlanner> {
        Box::new(Self { inner, named: named.clone() })
    }
}

impl MorselPlanner for NamedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let named = self.named;
        let mut plan = match self.inner.plan() {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(None),
            Err(error) => return Err(named.explain(error)),
        };
        let morsel = |inner| -> Box<dyn Morsel> { Box::new(NamedMorsel { inner, named: named.clone() }) };
        let morsels = plan.take_morsels().into_iter().map(morsel).collect();
        let planners = plan.take_ready_planners().into_iter().map(|inner| NamedPlanner::boxed(inner, &named)).collect();
        let mut renamed = MorselPlan::new().with_morsels(morsels).with_planners(planners);
        if let Some(pending) = plan.take_pending_planner() {
            let named = named.clone();
            renamed.set_pending_planner(async move {
                match pending.into_future().await {
                    Ok(inner) => Ok(NamedPlanner::boxed(inner, &named)),
                    Err(error) => Err(named.explain_with_line(error).await),
                }
            });
        }
        Ok(Some(renamed))
    }
}

#[derive(Debug)]
struct NamedMorsel {
    inner: Box<dyn Morsel>,
    named: NamedFile,
}

impl Morsel for NamedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let named = self.named;
        let explain = move |batch: Result<RecordBatch>| {
            let named = named.clone();
            async move {
                match batch {
                    Ok(batch) => Ok(batch),
                    Err(error) => Err(named.explain_with_line(error).await),
                }
            }
        };
        self.inner.into_stream().then(explain).boxed()
    }
}
