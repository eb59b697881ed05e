//! What statistics say of predicates: which row groups and which pages need not be read.
//!
//! ```text
//!  row group   shipdate 1994-03-01 … 1994-05-12      shipdate >= 1995-01-01: none, pruned
//!  pages       [0, 20000)  [20000, 40000)  …         the column index tells the same of pages
//! ```
//!
//! Bounds are used only where they are sure. Floats have none: writers leave NaNs out of them, which SQL's order puts
//! above (or below) all numbers. Deprecated bounds were taken in signed order, so they hold for signed numbers only.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field};
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict, to_carried};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::fallback::guarded;
use super::footers::Footer;
use super::kind::{Adapt, plain};

/// Bounds of one column in many parts, in carried form.
struct Bounds {
    min: Option<ArrayRef>,
    max: Option<ArrayRef>,
    nulls: Option<UInt64Array>,
}

impl Bounds {
    fn range(&self, at: usize, rows: usize) -> ColumnRange {
        let bound = |array: &Option<ArrayRef>| {
            array.as_ref().filter(|array| at < array.len() && array.is_valid(at)).map(|array| array.slice(at, 1))
        };
        let nulls = self.nulls.as_ref().filter(|nulls| at < nulls.len() && nulls.is_valid(at));
        let nulls = nulls.map(|nulls| nulls.value(at) as usize).filter(|&nulls| nulls <= rows);
        ColumnRange { min: bound(&self.min), max: bound(&self.max), nulls, rows }
    }
}

/// A column of a predicate as a file has it.
pub(super) struct FileColumn {
    pub(super) name: String,
    pub(super) logical: DataType,
    /// The value of all rows, as an array of one, where the file does not have the column.
    pub(super) constant: Option<ArrayRef>,
}

/// What is known of a column that has one value.
fn range_of_constant(value: &ArrayRef, rows: usize) -> ColumnRange {
    match value.is_null(0) {
        true => ColumnRange { nulls: Some(rows), rows, ..ColumnRange::default() },
        false => ColumnRange { min: Some(Arc::clone(value)), max: Some(Arc::clone(value)), nulls: Some(0), rows },
    }
}

/// What statistics say of one predicate for each row group of a file.
pub(super) fn judge_row_groups(
    footer: &Footer,
    predicate: &dyn Predicate,
    columns: &[FileColumn],
    wanted: &[usize],
) -> Vec<Verdict> {
    let metadata = &footer.metadata;
    let bounds = columns.iter().map(|column| row_group_bounds(footer, column, wanted)).collect::<Vec<_>>();
    let judge = |(at, &group): (usize, &usize)| {
        let rows = metadata.row_group(group).num_rows() as usize;
        let ranges = columns.iter().zip(&bounds).map(|(column, bounds)| match (&column.constant, bounds) {
            (Some(value), _) => range_of_constant(value, rows),
            (None, Some(bounds)) => bounds.range(at, rows),
            (None, None) => ColumnRange { rows, ..ColumnRange::default() },
        });
        predicate.judge(&ranges.collect::<Vec<_>>())
    };
    wanted.iter().enumerate().map(judge).collect()
}

fn has_bounds(logical: &DataType) -> bool {
    !matches!(plain(logical), DataType::Float16 | DataType::Float32 | DataType::Float64)
}

fn row_group_bounds(footer: &Footer, column: &FileColumn, wanted: &[usize]) -> Option<Bounds> {
    let (leaf, logical) = footer.column(&column.name)?;
    let metadata = &footer.metadata;
    let groups = || wanted.iter().map(|&group| metadata.row_group(group));
    let field = Field::new(&column.name, plain(logical).clone(), true);
    let bounds = guarded(|| {
        let descriptor = metadata.file_metadata().schema_descr();
        let converter =
            StatisticsConverter::from_column_index(leaf, &field, descriptor)?.with_missing_null_counts_as_zero(false);
        let nulls = converter.row_group_null_counts(groups())?;
        let sure = groups().all(|group| {
            group
                .column(leaf)
                .statistics()
                .is_none_or(|statistics| !statistics.is_min_max_deprecated() || is_signed(plain(logical)))
        });
        let usable = sure && has_bounds(logical) && Adapt::between(logical, &column.logical).is_none();
        let (min, max) = if usable {
            (Some(converter.row_group_mins(groups())?), Some(converter.row_group_maxes(groups())?))
        } else {
            (None, None)
        };
        Ok((min, max, nulls))
    });
    let (min, max, nulls) = bounds.ok()?;
    Some(Bounds { min: carried(min), max: carried(max), nulls: Some(nulls) })
}

fn carried(array: Option<ArrayRef>) -> Option<ArrayRef> {
    array.and_then(|array| to_carried(&array).ok())
}

/// Types whose deprecated bounds are right.
fn is_signed(logical: &DataType) -> bool {
    logical.is_signed_integer() || matches!(logical, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

/// The rows of a row group that may pass, by the column indexes of predicates of one column; `None` for all.
pub(super) fn page_ranges(
    footer: &Footer,
    group: usize,
    predicates: &[(Arc<dyn Predicate>, FileColumn)],
) -> Option<Vec<Range<usize>>> {
    let metadata = &footer.metadata;
    let rows = metadata.row_group(group).num_rows() as usize;
    let mut ranges: Option<Vec<Range<usize>>> = None;
    for (predicate, column) in predicates.iter().filter(|(_, column)| column.constant.is_none()) {
        let Some(pages) = page_bounds(metadata, footer, group, column) else { continue };
        let kept = pages.iter().filter(|(rows, bounds)| {
            let range = bounds.0.range(bounds.1, rows.len());
            predicate.judge(&[range]) != Verdict::None
        });
        let mut merged = Vec::<Range<usize>>::new();
        for (rows, _) in kept {
            match merged.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => merged.push(rows.clone()),
            }
        }
        ranges = Some(match ranges {
            Some(before) => intersect(&before, &merged),
            None => merged,
        });
    }
    ranges.filter(|ranges| ranges.iter().map(Range::len).sum::<usize>() < rows)
}

type PageBounds = Vec<(Range<usize>, (Arc<Bounds>, usize))>;

fn page_bounds(metadata: &ParquetMetaData, footer: &Footer, group: usize, column: &FileColumn) -> Option<PageBounds> {
    let (leaf, logical) = footer.column(&column.name)?;
    let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
    let index = columns.get(group)?.get(leaf)?;
    let pages = page_rows(metadata, group, leaf)?;
    if matches!(index, ColumnIndexMetaData::NONE)
        || index.num_pages() as usize != pages.len()
        || !has_bounds(logical)
        || Adapt::between(logical, &column.logical).is_some()
    {
        return None;
    }
    let field = Field::new(&column.name, plain(logical).clone(), true);
    let bounds = guarded(|| {
        let converter = StatisticsConverter::from_column_index(leaf, &field, metadata.file_metadata().schema_descr())?;
        let group = [group];
        Ok((
            converter.data_page_mins(columns, offsets, &group)?,
            converter.data_page_maxes(columns, offsets, &group)?,
            converter.data_page_null_counts(columns, offsets, &group)?,
        ))
    });
    let (min, max, nulls) = bounds.ok()?;
    let bounds = Arc::new(Bounds { min: carried(Some(min)), max: carried(Some(max)), nulls: Some(nulls) });
    Some(pages.into_iter().enumerate().map(|(at, rows)| (rows, (Arc::clone(&bounds), at))).collect())
}

/// The rows of each page of a column chunk, by its offset index; `None` without one, or if it is not sound.
pub(super) fn page_rows(metadata: &ParquetMetaData, group: usize, leaf: usize) -> Option<Vec<Range<usize>>> {
    let pages = metadata.offset_index()?.get(group)?.get(leaf)?.page_locations();
    let rows = metadata.row_group(group).num_rows() as usize;
    let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).ok()).collect::<Option<Vec<_>>>()?;
    if starts.first() != Some(&0) || starts.last().is_some_and(|&last| last > rows) || !starts.is_sorted() {
        return None;
    }
    let ends = starts.iter().skip(1).copied().chain([rows]);
    Some(starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

fn intersect(one: &[Range<usize>], other: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut at, mut there) = (0, 0);
    let mut both = Vec::new();
    while let (Some(left), Some(right)) = (one.get(at), other.get(there)) {
        let common = left.start.max(right.start)..left.end.min(right.end);
        if !common.is_empty() {
            both.push(common);
        }
        if left.end <= right.end { at += 1 } else { there += 1 }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet() {
        assert_eq!(intersect(&[0..10, 20..30], &[5..25, 28..40]), [5..10, 20..25, 28..30]);
        assert!(intersect(&[0..10, 20..30], &[]).is_empty());
    }
}
