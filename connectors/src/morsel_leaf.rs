//! How native pipelines read the leaves of a physical plan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_engine::Result;
use bireme_engine::morsel::Source;
use bireme_engine::stage::Pin;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use object_store::local::LocalFileSystem;

use crate::file_groups::pins_of;
use crate::file_scan::scan_of;
use crate::memory_source::MemorySource;
use crate::memory_table::MemoryScanExec;
use crate::named_source::NamedSource;
use crate::options::FileFormatOptions;
use crate::parquet_scan::{FilePart, FooterCache, ParquetSource};
use crate::store::ReadCounters;

/// A leaf in parts.
pub struct PartedLeaf {
    /// The columns that a source of some parts has.
    pub schema: SchemaRef,
    /// The columns of the leaf, made of those.
    pub projection: Vec<Arc<dyn PhysicalExpr>>,
    /// Canonical text: what it reads.
    pub name: String,
    /// Where each part may be read.
    pub pins: Vec<Pin>,
    /// So many rows are enough.
    pub limit: Option<usize>,
    kind: Kind,
}

enum Kind {
    Memory(Arc<MemoryScanExec>),
    Parquet(Vec<Vec<FilePart>>, Arc<FooterCache>),
}

impl PartedLeaf {
    /// How to read a leaf in morsels; `None` if only DataFusion can.
    pub fn of(leaf: &Arc<dyn ExecutionPlan>, footers: &Arc<FooterCache>, reads: &ReadCounters) -> Option<Self> {
        if let Some(scan) = leaf.downcast_ref::<MemoryScanExec>() {
            return Some(Self::memory(scan));
        }
        Self::parquet(scan_of(leaf.as_ref())?, footers, reads)
    }

    fn memory(scan: &MemoryScanExec) -> Self {
        let schema = scan.schema();
        let rows = scan.lanes().iter().map(|lane| lane.rows).sum::<u64>();
        let pins = scan.pins();
        let all = (0..pins.len()).collect::<Vec<_>>();
        Self {
            projection: columns(&schema),
            name: format!("memory ({} lanes, {rows} rows)", pins.len()),
            pins,
            limit: scan.fetch_rows(),
            kind: Kind::Memory(scan.slice(&all)),
            schema,
        }
    }

    fn parquet(scan: &FileScanConfig, footers: &Arc<FooterCache>, reads: &ReadCounters) -> Option<Self> {
        let source = scan.file_source().downcast_ref::<NamedSource>()?;
        let plain = matches!(source.format(), FileFormatOptions::Parquet(_))
            && scan.table_partition_cols().is_empty()
            && scan.object_store_url.as_str().starts_with("file:");
        let schema = Arc::clone(scan.file_source().table_schema().table_schema());
        if !plain || ParquetSource::supports(&schema).is_err() {
            return None;
        }
        let disk = LocalFileSystem::new();
        let mut parts = Vec::new();
        for group in &scan.file_groups {
            let mut files = Vec::new();
            for file in group.files() {
                let path = disk.path_to_filesystem(file.path()).ok()?;
                files.push(FilePart {
                    read: reads.file(path.display().to_string()),
                    path,
                    size: file.object_meta.size,
                    modified: Some(file.object_meta.last_modified.into()),
                    range: file.range.as_ref().map(|range| range.start as u64..range.end as u64),
                });
            }
            parts.push(files);
        }
        let projection = match scan.file_source().projection() {
            Some(exprs) => exprs.expr_iter().collect(),
            None => columns(&schema),
        };
        let mut names = scan.file_groups.iter().flat_map(|group| group.files());
        let first = names.next().and_then(|file| file.path().filename().map(str::to_owned)).unwrap_or_default();
        let mut others =
            scan.file_groups.iter().flat_map(|group| group.files()).map(|file| file.path()).collect::<Vec<_>>();
        others.sort_unstable();
        others.dedup();
        let more = if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
        Some(Self {
            projection,
            name: format!("parquet {first}{more}"),
            pins: pins_of(&scan.file_groups),
            limit: scan.limit,
            kind: Kind::Parquet(parts, Arc::clone(footers)),
            schema,
        })
    }

    /// These parts as one source.
    ///
    /// # Errors
    /// None yet; opening the source looks at the files.
    pub fn source(&self, parts: &[usize]) -> Result<Arc<dyn Source>> {
        Ok(match &self.kind {
            Kind::Memory(scan) => {
                let batches = parts.iter().flat_map(|&part| scan.lane_batches(part)).collect();
                Arc::new(MemorySource::new(Arc::clone(&self.schema), batches, self.limit))
            }
            Kind::Parquet(files, footers) => {
                let files = parts.iter().filter_map(|&part| files.get(part)).flatten().cloned().collect();
                Arc::new(ParquetSource::new(files, Arc::clone(&self.schema), Arc::clone(footers)))
            }
        })
    }
}

/// For each column of `part` the column of `whole` that holds the same, if both read the same rows of one table; `None` if they
/// do not, or if in doubt: of files that are not Parquet, options would have to be compared as well.
pub fn columns_within(whole: &Arc<dyn ExecutionPlan>, part: &Arc<dyn ExecutionPlan>) -> Option<Vec<usize>> {
    if let (Some(whole), Some(part)) = (whole.downcast_ref::<MemoryScanExec>(), part.downcast_ref::<MemoryScanExec>()) {
        return part.columns_within(whole);
    }
    let (whole, part) = (parquet_scan(whole)?, parquet_scan(part)?);
    let (reads, wanted) = (whole.file_source(), part.file_source());
    let same = whole.object_store_url == part.object_store_url
        && whole.limit == part.limit
        && reads.table_schema().table_schema() == wanted.table_schema().table_schema()
        && reads.filter() == wanted.filter()
        && read_the_same_files(whole, part);
    let columns_of = |scan: &FileScanConfig| match scan.file_source().projection() {
        Some(exprs) => exprs.expr_iter().collect(),
        None => columns(scan.file_source().table_schema().table_schema()),
    };
    let has = columns_of(whole);
    let place = |column: &Arc<dyn PhysicalExpr>| has.iter().position(|known| known == column);
    same.then(|| columns_of(part).iter().map(place).collect()).flatten()
}

fn parquet_scan(leaf: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let scan = scan_of(leaf.as_ref())?;
    let source = scan.file_source().downcast_ref::<NamedSource>()?;
    matches!(source.format(), FileFormatOptions::Parquet(_)).then_some(scan)
}

/// The same parts of the same files in the same lanes.
fn read_the_same_files(a: &FileScanConfig, b: &FileScanConfig) -> bool {
    let same = |(a, b): (&PartitionedFile, &PartitionedFile)| {
        a.object_meta.location == b.object_meta.location
            && a.object_meta.size == b.object_meta.size
            && a.range == b.range
            && a.partition_values == b.partition_values
    };
    let groups = || a.file_groups.iter().zip(&b.file_groups);
    a.file_groups.len() == b.file_groups.len()
        && groups().all(|(a, b)| a.len() == b.len() && a.iter().zip(b.iter()).all(same))
}

impl fmt::Debug for PartedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn columns(schema: &SchemaRef) -> Vec<Arc<dyn PhysicalExpr>> {
    let column = |(place, field): (usize, &Arc<arrow::datatypes::Field>)| {
        Arc::new(Column::new(field.name(), place)) as Arc<dyn PhysicalExpr>
    };
    schema.fields().iter().enumerate().map(column).collect()
}
