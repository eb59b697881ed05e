//! How native pipelines read the leaves of a physical plan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_engine::Result;
use bireme_engine::morsel::{Source, to_carried};
use bireme_engine::stage::Pin;
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use object_store::local::LocalFileSystem;

use crate::file_groups::pins_of;
use crate::file_part::{Constants, FilePart};
use crate::file_scan::scan_of;
use crate::ipc_scan::IpcSource;
use crate::memory_source::MemorySource;
use crate::memory_table::{LaneRows, MemoryScanExec};
use crate::named_source::NamedSource;
use crate::options::{Compression, FileFormatOptions};
use crate::parquet_scan::{FooterCache, ParquetSource};
use crate::snapshot::FileTag;
use crate::store::ReadCounters;
use crate::text_scan::{TextFormat, TextSource};

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
    /// Lists of columns, each of which alone tells the rank of a row; see [`MemoryScanExec::hashed_by`].
    pub hashed_by: Vec<Vec<usize>>,
    /// So many rows are enough.
    pub limit: Option<usize>,
    kind: Kind,
}

enum Kind {
    Memory(Arc<MemoryScanExec>),
    Files { format: Format, file_columns: usize, parts: Vec<Vec<FilePart>> },
}

/// Who reads the files.
enum Format {
    Parquet(Arc<FooterCache>),
    Text(TextFormat, Compression),
    Ipc,
}

impl Format {
    /// The reader of a scan's files; `None` if only DataFusion has one.
    fn of(source: &NamedSource, schema: &SchemaRef, footers: &Arc<FooterCache>) -> Option<Self> {
        match source.format() {
            FileFormatOptions::Parquet(_) => {
                ParquetSource::supports(schema).is_ok().then(|| Self::Parquet(Arc::clone(footers)))
            }
            FileFormatOptions::Csv(options) => Some(Self::Text(TextFormat::Csv(options.clone()), source.compression())),
            FileFormatOptions::Json(options) => {
                (!options.array).then(|| Self::Text(TextFormat::Json, source.compression()))
            }
            // Streams have no footer that tells where their batches are.
            FileFormatOptions::Ipc(_) => (source.inner().file_type() == "arrow").then_some(Self::Ipc),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Text(TextFormat::Csv(_), _) => "csv",
            Self::Text(TextFormat::Json, _) => "json",
            Self::Ipc => "arrow",
        }
    }
}

impl PartedLeaf {
    /// How to read a leaf in morsels; `None` if only DataFusion can.
    pub fn of(leaf: &Arc<dyn ExecutionPlan>, footers: &Arc<FooterCache>, reads: &ReadCounters) -> Option<Self> {
        if let Some(scan) = leaf.downcast_ref::<MemoryScanExec>() {
            return Some(Self::memory(scan));
        }
        Self::files(scan_of(leaf.as_ref())?, footers, reads)
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
            hashed_by: scan.hashed_by(),
            limit: scan.fetch_rows(),
            kind: Kind::Memory(scan.slice(&all)),
            schema,
        }
    }

    fn files(scan: &FileScanConfig, footers: &Arc<FooterCache>, reads: &ReadCounters) -> Option<Self> {
        let source = scan.file_source().downcast_ref::<NamedSource>()?;
        if !scan.object_store_url.as_str().starts_with("file:") {
            return None;
        }
        let table = scan.file_source().table_schema();
        let schema = Arc::clone(table.table_schema());
        let file_columns = table.file_schema().fields().len();
        let format = Format::of(source, &schema, footers)?;
        let mut parts = Vec::new();
        for group in &scan.file_groups {
            let files = group.files().iter().map(|file| file_part(file, file_columns, reads));
            parts.push(files.collect::<Option<Vec<_>>>()?);
        }
        let projection = match scan.file_source().projection() {
            Some(exprs) => exprs.expr_iter().collect(),
            None => columns(&schema),
        };
        Some(Self {
            projection,
            name: format!("{} {}", format.name(), names_of(scan)),
            pins: pins_of(&scan.file_groups),
            hashed_by: Vec::new(),
            limit: scan.limit,
            kind: Kind::Files { format, file_columns, parts },
            schema,
        })
    }

    /// These parts as one source.
    ///
    /// # Errors
    /// The options cannot be used. Opening the source looks at the files.
    pub fn source(&self, parts: &[usize]) -> Result<Arc<dyn Source>> {
        Ok(match &self.kind {
            Kind::Memory(scan) => {
                let mut batches = Vec::new();
                let mut tiles = Vec::new();
                for &part in parts {
                    match scan.lane_rows(part) {
                        (Some(LaneRows::Batches(rows)), columns) => {
                            for batch in rows.iter() {
                                batches.push(batch.project(&columns)?);
                            }
                        }
                        (Some(LaneRows::Tile(tile)), columns) => tiles.push((tile, columns)),
                        (None, _) => {}
                    }
                }
                let source = MemorySource::new(Arc::clone(&self.schema), batches, self.limit);
                Arc::new(tiles.into_iter().fold(source, |source, (tile, columns)| source.with_tile(tile, columns)))
            }
            Kind::Files { format, file_columns, parts: all } => {
                let files = parts.iter().filter_map(|&part| all.get(part)).flatten().cloned().collect();
                let schema = Arc::clone(&self.schema);
                match format {
                    Format::Parquet(footers) => Arc::new(ParquetSource::new(files, schema, Arc::clone(footers))),
                    Format::Text(format, compression) => {
                        Arc::new(TextSource::new(files, schema, *file_columns, format.clone(), *compression)?)
                    }
                    Format::Ipc => Arc::new(IpcSource::new(files, schema, *file_columns)),
                }
            }
        })
    }
}

/// A planned file as native readers are given it; `None` if its path cannot be one of this machine, or a partition's
/// value cannot be carried.
fn file_part(file: &PartitionedFile, file_columns: usize, reads: &ReadCounters) -> Option<FilePart> {
    let path = LocalFileSystem::new().path_to_filesystem(file.path()).ok()?;
    let constant =
        |(place, value): (usize, &ScalarValue)| Some((file_columns + place, to_carried(&value.to_array().ok()?).ok()?));
    let constants = file.partition_values.iter().enumerate().map(constant).collect::<Option<Vec<_>>>()?;
    Some(FilePart {
        read: reads.file(path.display().to_string()),
        shown: match file.extension::<FileTag>() {
            Some(tag) => Arc::clone(&tag.shown),
            None => path.display().to_string().into(),
        },
        path,
        size: file.object_meta.size,
        modified: Some(file.object_meta.last_modified.into()),
        range: file.range.as_ref().map(|range| range.start as u64..range.end as u64),
        constants: Constants::new(constants),
    })
}

/// The name of the first file, and how many others there are.
fn names_of(scan: &FileScanConfig) -> String {
    let first = files_of(scan).next().and_then(|file| file.path().filename().map(str::to_owned)).unwrap_or_default();
    let mut paths = files_of(scan).map(|file| file.path()).collect::<Vec<_>>();
    paths.sort_unstable();
    paths.dedup();
    if paths.len() > 1 { format!("{first} and {} more", paths.len() - 1) } else { first }
}

/// For each column of `part` the column of `whole` that holds the same, if both read the same rows of one table in the same
/// way; `None` if they do not, or if in doubt.
pub fn columns_within(whole: &Arc<dyn ExecutionPlan>, part: &Arc<dyn ExecutionPlan>) -> Option<Vec<usize>> {
    if let (Some(whole), Some(part)) = (whole.downcast_ref::<MemoryScanExec>(), part.downcast_ref::<MemoryScanExec>()) {
        return part.columns_within(whole);
    }
    let (whole, part) = (scan_of(whole.as_ref())?, scan_of(part.as_ref())?);
    let (reads, wanted) = (whole.file_source(), part.file_source());
    let (one, other) = (reads.downcast_ref::<NamedSource>()?, wanted.downcast_ref::<NamedSource>()?);
    let same = one.format() == other.format()
        && one.compression() == other.compression()
        && whole.limit == part.limit
        && reads.table_schema().table_schema() == wanted.table_schema().table_schema()
        && reads.filter() == wanted.filter()
        && have_the_same_files(whole, part);
    let columns_of = |scan: &FileScanConfig| match scan.file_source().projection() {
        Some(exprs) => exprs.expr_iter().collect(),
        None => columns(scan.file_source().table_schema().table_schema()),
    };
    let has = columns_of(whole);
    let place = |column: &Arc<dyn PhysicalExpr>| has.iter().position(|known| known == column);
    same.then(|| columns_of(part).iter().map(place).collect()).flatten()
}

/// The same parts of the same files in the same lanes.
fn have_the_same_files(a: &FileScanConfig, b: &FileScanConfig) -> bool {
    let groups = |scan: &FileScanConfig| scan.file_groups.iter().map(|group| group.files().len()).collect::<Vec<_>>();
    let same = |(a, b): (&PartitionedFile, &PartitionedFile)| {
        a.object_meta.location == b.object_meta.location
            && a.object_meta.size == b.object_meta.size
            && a.range == b.range
            && a.partition_values == b.partition_values
    };
    a.object_store_url == b.object_store_url && groups(a) == groups(b) && files_of(a).zip(files_of(b)).all(same)
}

fn files_of(scan: &FileScanConfig) -> impl Iterator<Item = &PartitionedFile> {
    scan.file_groups.iter().flat_map(|group| group.files())
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
