//! A table over the files of a snapshot. Planning with it reads nothing: neither disk nor network.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use bireme_engine::Result;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::{
    ArrowSource, FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DfResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::file_groups::{Cut, file_groups};
use crate::format::file_format;
use crate::named_source::NamedSource;
use crate::options::{Compression, FileFormatOptions};
use crate::snapshot::TableSnapshot;

/// A [`TableProvider`] over a [`TableSnapshot`].
#[derive(Debug)]
pub struct FileTable {
    snapshot: Arc<TableSnapshot>,
    schema: TableSchema,
    files: Vec<PartitionedFile>,
}

impl FileTable {
    /// Makes a table of a snapshot, its own or another rank's.
    ///
    /// # Errors
    /// The snapshot is damaged.
    pub fn try_new(snapshot: TableSnapshot) -> Result<Self> {
        let schema = snapshot.table_schema();
        let mut files = snapshot.partitioned_files()?;
        if !matches!(snapshot.format, FileFormatOptions::Parquet(_)) {
            for file in &mut files {
                estimate_rows(file, schema.table_schema(), snapshot.compression);
            }
        }
        Ok(Self { snapshot: Arc::new(snapshot), schema, files })
    }

    /// What it was made of.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }

    /// Whether the directories alone decide about a filter.
    fn of_partitions(&self, filter: &Expr) -> bool {
        let unknown = |expr: &Expr| {
            Ok(matches!(
                expr,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::ScalarVariable(..)
            ))
        };
        let names: Vec<&str> = self.snapshot.partition_columns.iter().map(|column| column.name.as_str()).collect();
        !names.is_empty() && expr_applicable_for_cols(&names, filter) && !filter.exists(unknown).unwrap_or(true)
    }

    /// The files that the partition filters leave, found in one batch with a row a file.
    fn prune(&self, state: &dyn Session, filters: &[Expr]) -> DfResult<Vec<PartitionedFile>> {
        let wanted = filters.iter().filter(|filter| self.of_partitions(filter)).cloned();
        let Some(filter) = conjunction(wanted) else { return Ok(self.files.clone()) };
        let columns = self.schema.table_partition_cols();
        let schema = Arc::new(Schema::new(columns.clone()));
        let column = |place: usize| {
            let values = self.files.iter().map(|file| file.partition_values[place].clone());
            ScalarValue::iter_to_array(values)
        };
        let arrays = (0..columns.len()).map(column).collect::<DfResult<_>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let predicate = state.create_physical_expr(unqualified(filter)?, &DFSchema::try_from(schema)?)?;
        let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        let keep = keep.as_boolean();
        let kept = self.files.iter().enumerate().filter(|(row, _)| keep.is_valid(*row) && keep.value(*row));
        Ok(kept.map(|(_, file)| file.clone()).collect())
    }

    fn cut(&self, state: &dyn Session) -> Cut {
        let compressed = self.snapshot.compression != Compression::None;
        let whole = match &self.snapshot.format {
            FileFormatOptions::Parquet(_) => false,
            FileFormatOptions::Csv(options) => compressed || options.newlines_in_values,
            FileFormatOptions::Json(options) => compressed || options.array,
            FileFormatOptions::Ipc(_) => self.snapshot.ipc_stream,
        };
        let options = &state.config_options().optimizer;
        if whole || !options.repartition_file_scans {
            Cut::Never
        } else {
            Cut::From((options.repartition_file_min_size as u64).max(1))
        }
    }

    /// The reader of these files, which names them in its errors.
    fn source(&self, state: &dyn Session) -> Arc<dyn FileSource> {
        let (format, compression) = (&self.snapshot.format, self.snapshot.compression);
        let inner: Arc<dyn FileSource> = match format {
            FileFormatOptions::Ipc(_) if self.snapshot.ipc_stream => {
                Arc::new(ArrowSource::new_stream_file_source(self.schema.clone()))
            }
            _ => file_format(format, compression, state).file_source(self.schema.clone()),
        };
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        Arc::new(NamedSource::new(inner, format.clone(), compression, footers))
    }

    fn scan_config(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> DfResult<FileScanConfig> {
        let schema = self.schema.table_schema();
        let statistics = merged_statistics(&files, schema)?;
        let groups = file_groups(files, state.config().target_partitions(), self.cut(state));
        let groups = groups.into_iter().map(|group| with_statistics(group, schema)).collect::<DfResult<_>>()?;
        let url = ObjectStoreUrl::parse(&self.snapshot.store)?;
        let config = FileScanConfigBuilder::new(url, self.source(state))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_file_compression_type(self.snapshot.compression.file_type())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(config)
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        merged_statistics(&self.files, self.schema.table_schema()).ok()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.of_partitions(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let files = self.prune(state, filters)?;
        if files.is_empty() {
            let schema = project_schema(self.schema.table_schema(), projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        // Another filter may drop every row that the limit lets through.
        let limit = limit.filter(|_| filters.iter().all(|filter| self.of_partitions(filter)));
        Ok(DataSourceExec::from_data_source(self.scan_config(state, files, projection, limit)?))
    }
}

fn unqualified(filter: Expr) -> DfResult<Expr> {
    let stripped = filter.transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(stripped.data)
}

fn merged_statistics(files: &[PartitionedFile], schema: &SchemaRef) -> DfResult<Statistics> {
    Statistics::try_merge_iter(files.iter().filter_map(|file| file.statistics.as_deref()), schema)
}

/// A group's own statistics, where it holds only whole files.
fn with_statistics(group: FileGroup, schema: &SchemaRef) -> DfResult<FileGroup> {
    if group.files().iter().any(|file| file.range.is_some()) {
        return Ok(group);
    }
    let statistics = merged_statistics(group.files(), schema)?;
    Ok(group.with_statistics(Arc::new(statistics)))
}

/// Text files do not say how many rows they have; a guess is better than nothing for choosing the small side of a join.
fn estimate_rows(file: &mut PartitionedFile, schema: &SchemaRef, compression: Compression) {
    let width: u64 = schema.fields().iter().map(|field| if field.data_type().is_primitive() { 8 } else { 16 }).sum();
    let bytes = file.object_meta.size * if compression == Compression::None { 1 } else { 4 };
    let size = |number: u64| Precision::Inexact(usize::try_from(number).unwrap_or(usize::MAX));
    if let Some(statistics) = &mut file.statistics {
        let statistics = Arc::make_mut(statistics);
        statistics.num_rows = size(bytes / width.max(1) + 1);
        statistics.total_byte_size = size(bytes);
    }
}

#[cfg(test)]
mod tests;
