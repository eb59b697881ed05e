//! From footers to morsels.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::error::{Error, Result};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{MorselReader, Predicate, Scan, ScanRequest, Verdict, carried_type};
use parquet::file::metadata::ColumnChunkMetaData;

use super::bloom;
use super::buffers::Pool;
use super::column::{Column, Extent};
use super::damage::{Damage, Decoded};
use super::fallback::{Fallback, SharedFile};
use super::footers::{Footer, FooterCache, chunk_start};
use super::kind::{Adapt, Kind, plain};
use super::prune::{self, FileColumn};
use super::window::{AnyColumn, WindowReader};
use crate::file_part::{Constants, FilePart};

/// Row groups of more rows are cut into morsels of about so many, where an offset index tells where pages are.
const MORSEL_ROWS: usize = 256 << 10;

/// A scan that was opened.
#[derive(Debug)]
pub(super) struct ParquetScan {
    shared: Arc<Shared>,
}

/// What the readers of all morsels share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Vec<OpenFile>,
    pub(super) columns: Vec<TableColumn>,
    /// Places in `columns`.
    pub(super) projection: Vec<usize>,
    pub(super) tests: Vec<LearnedTest>,
    pub(super) metrics: Option<Arc<StageMetrics>>,
    pool: Arc<Pool>,
    morsels: Vec<Morsel>,
}

#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) read: Arc<AtomicU64>,
    constants: Constants,
    shared: SharedFile,
    footer: Arc<Footer>,
}

/// A column of the table that the scan needs.
#[derive(Debug)]
pub(super) struct TableColumn {
    pub(super) name: String,
    /// Its place in the table's schema.
    place: usize,
    logical: DataType,
    pub(super) carried: DataType,
}

impl TableColumn {
    /// The value of all rows of a file, as an array of one: its directory's name says it, or the file lacks the column.
    fn constant(&self, constants: &Constants, footer: &Footer) -> Option<ArrayRef> {
        match constants.value(self.place) {
            Some(value) => Some(Arc::clone(value)),
            None => footer.column(&self.name).is_none().then(|| new_null_array(&self.carried, 1)),
        }
    }
}

/// A predicate and what it was seen to do.
#[derive(Debug)]
pub(super) struct LearnedTest {
    pub(super) predicate: Arc<dyn Predicate>,
    /// Places in the scan's columns.
    pub(super) columns: Vec<usize>,
    tested: AtomicU64,
    passed: AtomicU64,
    nanos: AtomicU64,
}

impl LearnedTest {
    /// Notes how a test went.
    pub(super) fn learn(&self, tested: u64, passed: u64, time: Duration) {
        self.tested.fetch_add(tested, Ordering::Relaxed);
        self.passed.fetch_add(passed, Ordering::Relaxed);
        self.nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Time for each row that it drops: tests with a low rank come first. Unknown ones come first of all, to be known.
    pub(super) fn rank(&self) -> f64 {
        let (tested, passed) = (self.tested.load(Ordering::Relaxed), self.passed.load(Ordering::Relaxed));
        let dropped = tested.saturating_sub(passed) as f64;
        if tested == 0 { 0.0 } else { self.nanos.load(Ordering::Relaxed) as f64 / (dropped + tested as f64 * 1e-6) }
    }
}

/// Rows of one row group.
#[derive(Clone, Debug)]
pub(super) struct Morsel {
    pub(super) file: usize,
    group: usize,
    /// The rows that may pass.
    pub(super) ranges: Vec<Range<usize>>,
    /// Predicates that need no test, since all rows pass.
    pub(super) settled: Vec<bool>,
}

impl Morsel {
    fn hull(&self) -> Range<usize> {
        let start = self.ranges.first().map_or(0, |range| range.start);
        start..self.ranges.last().map_or(start, |range| range.end)
    }

    pub(super) fn rows(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }
}

/// What was left out before anything was read.
#[derive(Default)]
struct Pruned {
    groups: u64,
    pruned: u64,
    rows: u64,
}

impl ParquetScan {
    pub(super) fn open(
        parts: &[FilePart],
        schema: &SchemaRef,
        footers: &FooterCache,
        request: ScanRequest,
    ) -> Result<Self> {
        let mut needed = Vec::new();
        let mut place = |column: usize| {
            needed.iter().position(|&known| known == column).unwrap_or_else(|| {
                needed.push(column);
                needed.len() - 1
            })
        };
        let projection = request.projection.iter().map(|&column| place(column)).collect();
        let tests = request.predicates.into_iter().map(|predicate| LearnedTest {
            columns: predicate.columns().iter().map(|&column| place(column)).collect(),
            predicate,
            tested: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        });
        let tests = tests.collect::<Vec<_>>();
        let columns = needed.iter().map(|&column| {
            let field = schema.fields().get(column).ok_or_else(|| Error::internal(format!("no column {column}")))?;
            Ok(TableColumn {
                name: field.name().clone(),
                place: column,
                logical: field.data_type().clone(),
                carried: carried_type(field.data_type()),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut shared = Shared {
            files: Vec::new(),
            columns,
            projection,
            tests,
            metrics: request.metrics,
            pool: Arc::default(),
            morsels: Vec::new(),
        };
        let mut pruned = Pruned::default();
        for part in parts {
            let file = File::open(&part.path)
                .map_err(|error| Error::from(error).context(format!("opening {}", part.path.display())))?;
            let file = Arc::new(file);
            let footer = footers.get(part, &file)?;
            shared.check_columns(part, &footer)?;
            let file = SharedFile { file, size: part.size };
            let morsels = shared.plan(part, &file, &footer, &mut pruned);
            shared.files.push(OpenFile {
                path: part.path.clone(),
                read: Arc::clone(&part.read),
                constants: part.constants.clone(),
                shared: file,
                footer,
            });
            shared.morsels.extend(morsels);
        }
        if let Some(metrics) = &shared.metrics {
            metrics.add("row_groups", pruned.groups);
            metrics.add("row_groups_pruned", pruned.pruned);
            metrics.add("rows_pruned", pruned.rows);
        }
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// A column that the file has, but not as a flat one, must not read as NULL.
    fn check_columns(&self, part: &FilePart, footer: &Footer) -> Result<()> {
        let roots = footer.metadata.file_metadata().schema_descr().root_schema().get_fields();
        for column in &self.columns {
            let is_there = roots.iter().any(|root| root.name() == column.name);
            let is_read = part.constants.value(column.place).is_none();
            if is_read && is_there && footer.column(&column.name).is_none() {
                let message = format!("column {} of {} is nested", column.name, part.path.display());
                return Err(Error::unsupported(message));
            }
        }
        Ok(())
    }

    /// The morsels of one file.
    fn plan(&self, part: &FilePart, file: &SharedFile, footer: &Footer, pruned: &mut Pruned) -> Vec<Morsel> {
        let metadata = &footer.metadata;
        let wanted = (0..metadata.num_row_groups()).filter(|&group| {
            let Some(range) = &part.range else { return true };
            // A file without columns has nothing to read, and its row groups lie nowhere.
            let first = metadata.row_group(group).columns().first();
            first.is_none_or(|column| range.contains(&first_page(column)))
        });
        let wanted = wanted.collect::<Vec<_>>();
        let columns_of = |test: &LearnedTest| {
            let column = |&place: &usize| FileColumn {
                name: self.columns[place].name.clone(),
                logical: self.columns[place].logical.clone(),
                constant: self.columns[place].constant(&part.constants, footer),
            };
            test.columns.iter().map(column).collect::<Vec<_>>()
        };
        let active = |test: &LearnedTest| test.predicate.is_active();
        let verdicts = self.tests.iter().map(|test| {
            if active(test) {
                prune::judge_row_groups(footer, test.predicate.as_ref(), &columns_of(test), &wanted)
            } else {
                vec![Verdict::Some; wanted.len()]
            }
        });
        let verdicts = verdicts.collect::<Vec<_>>();
        let named = self.tests.iter().map(|test| match test.columns.as_slice() {
            &[column] if active(test) => Some((column, test.predicate.values()?)),
            _ => None,
        });
        let named = named.collect::<Vec<_>>();
        let mut morsels = Vec::new();
        for (at, &group) in wanted.iter().enumerate() {
            pruned.groups += 1;
            let rows = metadata.row_group(group).num_rows() as usize;
            if rows == 0 {
                continue;
            }
            if verdicts.iter().any(|verdicts| verdicts[at] == Verdict::None) {
                pruned.pruned += 1;
                pruned.rows += rows as u64;
                continue;
            }
            let settled = verdicts.iter().map(|verdicts| verdicts[at] == Verdict::All).collect::<Vec<_>>();
            let mut looked_up =
                named.iter().zip(&settled).filter(|(_, settled)| !**settled).filter_map(|(named, _)| named.as_ref());
            if looked_up.any(|(column, values)| self.is_absent(part, file, footer, group, *column, values)) {
                pruned.pruned += 1;
                pruned.rows += rows as u64;
                continue;
            }
            let single = self
                .tests
                .iter()
                .zip(&settled)
                .filter(|(test, settled)| !**settled && test.columns.len() == 1 && active(test));
            let single = single.filter_map(|(test, _)| Some((Arc::clone(&test.predicate), columns_of(test).pop()?)));
            let ranges = prune::page_ranges(footer, group, &single.collect::<Vec<_>>());
            let ranges = ranges.unwrap_or_else(|| std::iter::once(0..rows).collect());
            let morsel = Morsel { file: self.files.len(), group, ranges, settled };
            pruned.rows += (rows - morsel.rows()) as u64;
            if morsel.ranges.is_empty() {
                pruned.pruned += 1;
                continue;
            }
            self.cut(part, footer, morsel, &mut morsels);
        }
        morsels
    }

    /// Whether a Bloom filter knows that a row group has none of these values of a column.
    fn is_absent(
        &self,
        part: &FilePart,
        file: &SharedFile,
        footer: &Footer,
        group: usize,
        column: usize,
        values: &ArrayRef,
    ) -> bool {
        let column = &self.columns[column];
        if column.constant(&part.constants, footer).is_some() {
            return false;
        }
        let Some((leaf, logical)) = footer.column(&column.name) else { return false };
        let chunk = footer.metadata.row_group(group).column(leaf);
        Adapt::between(logical, &column.logical).is_none() && !bloom::may_hold(part, file, chunk, values)
    }

    /// Cuts the morsel of a very large row group, if all of its columns can be read in parts.
    fn cut(&self, part: &FilePart, footer: &Footer, morsel: Morsel, morsels: &mut Vec<Morsel>) {
        let rows = morsel.rows();
        let in_parts = self.columns.iter().all(|column| {
            if column.constant(&part.constants, footer).is_some() {
                return true;
            }
            let Some((leaf, logical)) = footer.column(&column.name) else { return true };
            let chunk = footer.metadata.row_group(morsel.group).column(leaf);
            native_kind(chunk, logical).is_some() && prune::page_rows(&footer.metadata, morsel.group, leaf).is_some()
        });
        if rows < 2 * MORSEL_ROWS || !in_parts {
            morsels.push(morsel);
            return;
        }
        let parts = rows.div_ceil(MORSEL_ROWS);
        let each = rows.div_ceil(parts);
        let mut part = Vec::new();
        let mut taken = 0;
        for range in &morsel.ranges {
            let mut at = range.start;
            while at < range.end {
                let here = (range.end - at).min(each - taken);
                part.push(at..at + here);
                at += here;
                taken += here;
                if taken == each {
                    morsels.push(Morsel { ranges: std::mem::take(&mut part), ..morsel.clone() });
                    taken = 0;
                }
            }
        }
        if !part.is_empty() {
            morsels.push(Morsel { ranges: part, ..morsel });
        }
    }

    /// Reads a column of a morsel; returns it and how many bytes that took.
    pub(super) fn column(&self, morsel: &Morsel, place: usize) -> Result<(AnyColumn, u64)> {
        let (column, file) = (&self.columns[place], &self.files[morsel.file]);
        self.read_column(morsel, column, file)
            .map_err(|damage| damage.of(&format!("column {}", column.name), &file.path))
    }

    fn read_column(&self, morsel: &Morsel, column: &TableColumn, file: &OpenFile) -> Decoded<(AnyColumn, u64)> {
        if let Some(value) = column.constant(&file.constants, &file.footer) {
            return Ok((AnyColumn::Constant(value, 0), 0));
        }
        let Some((leaf, logical)) = file.footer.column(&column.name) else {
            return Err(Damage::internal("a column is neither there nor constant"));
        };
        let metadata = &file.footer.metadata;
        let chunk = metadata.row_group(morsel.group).column(leaf);
        let adapt = Adapt::between(logical, &column.logical);
        let Some(kind) = native_kind(chunk, logical) else {
            let bytes = chunk.compressed_size().max(0) as u64;
            let fallback = Fallback::open(file.shared.clone(), metadata, morsel.group, leaf, adapt)?;
            return Ok((AnyColumn::Crate(Box::new(fallback)), bytes));
        };
        let extent = extent(file, morsel, leaf, chunk)?;
        let read = Column::read(&file.shared.file, &extent, chunk, &kind, adapt, &self.pool)?;
        Ok((AnyColumn::Native(Box::new(read)), extent.bytes()))
    }
}

fn native_kind(chunk: &ColumnChunkMetaData, logical: &DataType) -> Option<Kind> {
    let kind = Kind::of(chunk.column_type(), chunk.column_descr().type_length(), plain(logical))?;
    kind.decodes(chunk).then_some(kind)
}

/// Where the first page of a chunk starts, as `DataFusion` reckons it for ranges of files.
fn first_page(chunk: &ColumnChunkMetaData) -> u64 {
    chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset()).max(0) as u64
}

/// The bytes of a chunk that hold the rows of a morsel.
fn extent(file: &OpenFile, morsel: &Morsel, leaf: usize, chunk: &ColumnChunkMetaData) -> Decoded<Extent> {
    let metadata = &file.footer.metadata;
    let rows = metadata.row_group(morsel.group).num_rows() as usize;
    let hull = morsel.hull();
    let start = chunk_start(chunk).ok_or_else(|| Damage::new("a column lies outside of the file"))?;
    let whole = Extent {
        head: start..start,
        data: start..start + chunk.compressed_size().max(0) as u64,
        first_row: 0,
        end_row: rows,
    };
    if hull == (0..rows) {
        return Ok(whole);
    }
    let part = || {
        let pages = prune::page_rows(metadata, morsel.group, leaf)?;
        let places = metadata.offset_index()?.get(morsel.group)?.get(leaf)?.page_locations();
        let first = pages.partition_point(|rows| rows.end <= hull.start);
        let end = pages.partition_point(|rows| rows.start < hull.end);
        let offset = |at: usize| u64::try_from(places.get(at)?.offset).ok();
        let last = end.checked_sub(1).filter(|&last| last >= first)?;
        let data = offset(first)?..offset(last)? + u64::try_from(places[last].compressed_page_size).ok()?;
        let head = start..offset(0)?.max(start);
        let sound = head.end <= data.start && data.start < data.end && data.end <= whole.data.end;
        sound.then(|| Extent { head, data, first_row: pages[first].start, end_row: pages[last].end })
    };
    Ok(part().unwrap_or(whole))
}

impl Scan for ParquetScan {
    fn morsels(&self) -> usize {
        self.shared.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let Some(morsel) = self.shared.morsels.get(morsel) else {
            return Err(Error::internal(format!("no morsel {morsel}")));
        };
        Ok(Box::new(WindowReader::new(Arc::clone(&self.shared), morsel.clone())))
    }
}
