//! One column chunk of a morsel: its bytes, its pages, and the column that is built from them.
//!
//! The bytes come with one read. The headers of all pages are read at once, so that the rows of each page are known;
//! a page is decompressed when a row of it is asked for, never if none is. The two last pages stay open: predicates
//! and the projection go over the same window of rows, which may lie across two pages.
//!
//! ```text
//!  rows    0 ────────── 20000 ────────── 40000 ────── 53000
//!  pages   │     0        │      1         │     2      │
//!  window             [──────]             decompresses 0 and 1
//! ```

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, NullBufferBuilder, PrimitiveArray, new_empty_array};
use arrow::datatypes::{DataType, UInt32Type};
use parquet::file::metadata::ColumnChunkMetaData;

use super::buffers::{Bytes, PageBuffer, Pool};
use super::codec::Codec;
use super::damage::{Damage, Decoded};
use super::decode::{Body, Decoder, flat_views, is_coded};
use super::kind::{Adapt, Kind};
use super::page_header::{PageHeader, PageKind, encoding};
use super::pass_table::PassTable;
use super::runs::Runs;
use super::validity::{Bits, Validity};

/// Rows of a page at most; a page that claims more is damaged, or would take gigabytes.
const MOST_ROWS: usize = 1 << 28;

/// What to read of a column chunk.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// Bytes in front of the first data page: those of a dictionary.
    pub(super) head: Range<u64>,
    /// Bytes of data pages.
    pub(super) data: Range<u64>,
    /// The row of the row group that the first of these pages starts with.
    pub(super) first_row: usize,
    /// The row behind the last.
    pub(super) end_row: usize,
}

impl Extent {
    pub(super) fn bytes(&self) -> u64 {
        (self.head.end - self.head.start) + (self.data.end - self.data.start)
    }
}

#[derive(Debug)]
struct PageAt {
    first_row: usize,
    /// Header and body in the chunk's bytes.
    at: Range<usize>,
    header: PageHeader,
}

#[derive(Default)]
struct OpenPage {
    index: usize,
    validity: Option<Validity>,
    body: Body,
    values: usize,
}

/// A column chunk that our own decoders read.
pub(super) struct Column {
    meta: ColumnChunkMetaData,
    optional: bool,
    pool: Arc<Pool>,
    codec: Codec,
    bytes: Bytes,
    pages: Vec<PageAt>,
    end_row: usize,
    coded: bool,
    open: [Option<OpenPage>; 2],
    decoder: Box<dyn Decoder>,
    adapt: Option<Adapt>,
    nulls: NullBufferBuilder,
    rows: usize,
    pieces: Vec<ArrayRef>,
    places: Vec<u32>,
    codes: Vec<u32>,
}

impl Column {
    /// Reads the bytes of a chunk, the headers of its pages and its dictionary.
    pub(super) fn read(
        file: &File,
        extent: &Extent,
        meta: &ColumnChunkMetaData,
        kind: &Kind,
        adapt: Option<Adapt>,
        pool: &Arc<Pool>,
    ) -> Decoded<Self> {
        let bytes = read_extent(file, extent, pool)?;
        let descriptor = meta.column_descr();
        let mut column = Self {
            optional: descriptor.max_def_level() > 0,
            pool: Arc::clone(pool),
            codec: Codec::new(meta.compression()),
            bytes,
            pages: Vec::new(),
            end_row: extent.end_row,
            coded: true,
            open: [None, None],
            decoder: kind.decoder(pool),
            adapt,
            nulls: NullBufferBuilder::new(0),
            rows: 0,
            pieces: Vec::new(),
            places: Vec::new(),
            codes: Vec::new(),
            meta: meta.clone(),
        };
        column.find_pages(extent)?;
        Ok(column)
    }

    fn find_pages(&mut self, extent: &Extent) -> Decoded<()> {
        let mut row = extent.first_row;
        let mut at = 0;
        while at < self.bytes.len() && row < extent.end_row {
            let header = PageHeader::read(&self.bytes.as_slice()[at..])?;
            let end = at + header.header + header.stored;
            let page = at..end;
            if end > self.bytes.len() {
                return Err(Damage::new("a page is cut off"));
            }
            match header.kind {
                PageKind::Dictionary => self.read_dictionary(page, &header)?,
                PageKind::DataV1 { .. } | PageKind::DataV2 { .. } => {
                    if header.values > MOST_ROWS || header.values > extent.end_row - row {
                        return Err(Damage::new("pages have more rows than their row group"));
                    }
                    self.coded &= is_coded(header.encoding);
                    if header.values > 0 {
                        self.pages.push(PageAt { first_row: row, at: page, header });
                    }
                    row += header.values;
                }
                PageKind::Other => {}
            }
            at = end;
        }
        if row == extent.end_row { Ok(()) } else { Err(Damage::new("pages have fewer rows than their row group")) }
    }

    fn read_dictionary(&mut self, page: Range<usize>, header: &PageHeader) -> Decoded<()> {
        if !matches!(header.encoding, encoding::PLAIN | encoding::PLAIN_DICTIONARY) {
            return Err(Damage::new("a dictionary is not plain"));
        }
        let bytes = self.codec.page(self.bytes.slice(page)?, header, &self.meta, &self.pool)?;
        self.decoder.set_dictionary(bytes, header.values)
    }

    /// Whether all pages are codes of a dictionary.
    pub(super) fn is_coded(&self) -> bool {
        self.coded && !self.pages.is_empty()
    }

    /// Whether a row may be NULL.
    pub(super) fn is_optional(&self) -> bool {
        self.optional
    }

    /// The dictionary's values in the table's carried form.
    pub(super) fn dictionary(&self) -> Decoded<Option<ArrayRef>> {
        let Some(values) = self.decoder.dictionary() else { return Ok(None) };
        match &self.adapt {
            Some(adapt) => Ok(Some(adapt.apply(&values)?)),
            None => Ok(Some(values)),
        }
    }

    /// The page that holds a row.
    fn page_of(&self, row: usize) -> usize {
        self.pages.partition_point(|page| page.first_row <= row).saturating_sub(1)
    }

    fn end_of(&self, page: usize) -> usize {
        self.pages.get(page + 1).map_or(self.end_row, |next| next.first_row)
    }

    /// Makes a page the first of the open ones.
    fn open(&mut self, index: usize) -> Decoded<()> {
        if self.open[0].as_ref().is_some_and(|page| page.index == index) {
            return Ok(());
        }
        self.open.swap(0, 1);
        if self.open[0].as_ref().is_some_and(|page| page.index == index) {
            return Ok(());
        }
        let spent = self.open[0].take().unwrap_or_default();
        self.open[0] = Some(self.decode_page(index, spent)?);
        Ok(())
    }

    fn decode_page(&mut self, index: usize, spent: OpenPage) -> Decoded<OpenPage> {
        let PageAt { at, header, .. } = &self.pages[index];
        let rows = header.values;
        let page = self.codec.page(self.bytes.slice(at.clone())?, header, &self.meta, &self.pool)?;
        let (levels, values_at) = self.levels(&page, header)?;
        let validity = match levels {
            Some(levels) => Validity::from_levels(&Runs::parse(levels, 1, rows, None)?)?,
            None => None,
        };
        let values = validity.as_ref().map_or(rows, Validity::valid);
        let body = if values == 0 {
            Body::Empty
        } else {
            self.decoder.open(header.encoding, page.slice(values_at..page.len())?, values, spent.body)?
        };
        Ok(OpenPage { index, validity, body, values })
    }

    /// The definition levels of a page, and where its values start.
    fn levels(&self, page: &Bytes, header: &PageHeader) -> Decoded<(Option<Bytes>, usize)> {
        match header.kind {
            PageKind::DataV2 { repetition_bytes, definition_bytes, .. } => {
                let end = repetition_bytes + definition_bytes;
                let levels = page.slice(repetition_bytes..end)?;
                Ok(((self.optional && definition_bytes > 0).then_some(levels), end))
            }
            PageKind::DataV1 { level_encoding } if self.optional => {
                if level_encoding != encoding::RLE {
                    return Err(Damage::new("definition levels are in an encoding of the past"));
                }
                let Some(len) = page.as_slice().first_chunk::<4>() else {
                    return Err(Damage::new("definition levels are cut off"));
                };
                let end = 4 + u32::from_le_bytes(*len) as usize;
                Ok((Some(page.slice(4..end)?), end))
            }
            _ => Ok((None, 0)),
        }
    }

    /// Appends the rows of a range.
    pub(super) fn add_range(&mut self, rows: Range<usize>) -> Decoded<()> {
        let mut at = rows.start;
        while at < rows.end {
            let index = self.page_of(at);
            let end = self.end_of(index).min(rows.end);
            self.open(index)?;
            let start = at - self.pages[index].first_row;
            self.add_from_page(start, end - at, None)?;
            self.rows += end - at;
            at = end;
        }
        Ok(())
    }

    /// Appends some rows, which ascend.
    pub(super) fn add_rows(&mut self, rows: &[u32]) -> Decoded<()> {
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let index = self.page_of(first as usize);
            let end = self.end_of(index);
            let here = rest.partition_point(|&row| (row as usize) < end);
            let (taken, behind) = rest.split_at(here);
            self.open(index)?;
            self.add_from_page(0, 0, Some(taken))?;
            self.rows += taken.len();
            rest = behind;
        }
        Ok(())
    }

    /// Appends rows of the open page: `len` from `start` on, or those listed (as rows of the row group).
    fn add_from_page(&mut self, start: usize, len: usize, listed: Option<&[u32]>) -> Decoded<()> {
        let Some(page) = &self.open[0] else { return Err(Damage::internal("no page is open")) };
        let first_row = self.pages[page.index].first_row;
        let count = listed.map_or(len, <[u32]>::len);
        let Some(validity) = &page.validity else {
            self.nulls.append_n_non_nulls(count);
            return match listed {
                None => self.decoder.range(&page.body, start, len),
                Some(rows) => {
                    self.places.clear();
                    self.places.extend(rows.iter().map(|&row| row - first_row as u32));
                    add_places(self.decoder.as_mut(), &page.body, &self.places)
                }
            };
        };
        if page.values == 0 {
            self.nulls.append_n_nulls(count);
            self.decoder.nothing(count);
            return Ok(());
        }
        // A NULL gets the value of a neighbour.
        self.places.clear();
        let mut add = |row: usize| {
            self.nulls.append(validity.is_valid(row));
            self.places.push(validity.rank(row).min(page.values - 1) as u32);
        };
        match listed {
            None => (start..start + len).for_each(&mut add),
            Some(rows) => rows.iter().for_each(|&row| add(row as usize - first_row)),
        }
        self.decoder.places(&page.body, &self.places)
    }

    /// Appends rows that were decoded before.
    pub(super) fn add_array(&mut self, array: ArrayRef) -> Decoded<()> {
        self.flush()?;
        self.pieces.push(array);
        Ok(())
    }

    fn flush(&mut self) -> Decoded<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let nulls = self.nulls.finish();
        let array = self.decoder.finish(std::mem::take(&mut self.rows), nulls)?;
        self.pieces.push(match &self.adapt {
            Some(adapt) => adapt.apply(&array)?,
            None => array,
        });
        Ok(())
    }

    /// The column that was built.
    pub(super) fn finish(&mut self, carried: &DataType) -> Decoded<ArrayRef> {
        self.flush()?;
        join(std::mem::take(&mut self.pieces), carried)
    }

    /// Tests the codes of a window of rows; appends an answer a row.
    pub(super) fn test_range(&mut self, rows: Range<usize>, table: &PassTable, answers: &mut Bits) -> Decoded<()> {
        let mut at = rows.start;
        while at < rows.end {
            let index = self.page_of(at);
            let end = self.end_of(index).min(rows.end);
            self.open(index)?;
            let start = at - self.pages[index].first_row;
            match &self.open[0] {
                Some(OpenPage { validity: None, body: Body::Codes(runs), .. }) => {
                    table.test_range(runs, start, end - at, &mut self.places, answers)?;
                }
                _ => {
                    let listed = (at..end).map(|row| row as u32).collect::<Vec<_>>();
                    self.test_page_rows(&listed, table, answers)?;
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Tests the codes of some rows, which ascend; appends an answer each.
    pub(super) fn test_rows(&mut self, rows: &[u32], table: &PassTable, answers: &mut Bits) -> Decoded<()> {
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let index = self.page_of(first as usize);
            let end = self.end_of(index);
            let here = rest.partition_point(|&row| (row as usize) < end);
            let (taken, behind) = rest.split_at(here);
            self.open(index)?;
            self.test_page_rows(taken, table, answers)?;
            rest = behind;
        }
        Ok(())
    }

    fn test_page_rows(&mut self, rows: &[u32], table: &PassTable, answers: &mut Bits) -> Decoded<()> {
        let Some(page) = &self.open[0] else { return Err(Damage::internal("no page is open")) };
        let first_row = self.pages[page.index].first_row;
        if page.values == 0 {
            answers.repeat(table.null_passes(), rows.len());
            return Ok(());
        }
        let Body::Codes(runs) = &page.body else { return Err(Damage::internal("a page has no codes")) };
        let local = rows.iter().map(|&row| row as usize - first_row);
        self.places.clear();
        let Some(validity) = &page.validity else {
            self.places.extend(local.map(|row| row as u32));
            return table.test_places(runs, &self.places, &mut self.codes, answers);
        };
        self.places.extend(local.clone().map(|row| validity.rank(row).min(page.values - 1) as u32));
        let mut of_values = Bits::new(rows.len());
        table.test_places(runs, &self.places, &mut self.codes, &mut of_values)?;
        for (at, row) in local.enumerate() {
            let passes = if validity.is_valid(row) { of_values.get(at) } else { table.null_passes() };
            answers.push(u64::from(passes), 1);
        }
        Ok(())
    }
}

/// Appends some places of a page, as a range if they are one.
fn add_places(decoder: &mut dyn Decoder, body: &Body, places: &[u32]) -> Decoded<()> {
    match places {
        [first, .., last] if (last - first) as usize + 1 == places.len() => {
            decoder.range(body, *first as usize, places.len())
        }
        _ => decoder.places(body, places),
    }
}

/// Pieces of a column as one array. Pieces may differ in form: codes of one dictionary stay codes.
pub(super) fn join(mut pieces: Vec<ArrayRef>, carried: &DataType) -> Decoded<ArrayRef> {
    match pieces.len() {
        0 => return Ok(new_empty_array(carried)),
        1 => return pieces.pop().ok_or_else(|| Damage::internal("a piece is gone")),
        _ => {}
    }
    let dictionaries = pieces.iter().filter_map(|piece| piece.as_any().downcast_ref::<DictionaryArray<UInt32Type>>());
    let dictionaries = dictionaries.collect::<Vec<_>>();
    if let [first, others @ ..] = dictionaries.as_slice() {
        let shared = first.values();
        if dictionaries.len() == pieces.len() && others.iter().all(|other| Arc::ptr_eq(other.values(), shared)) {
            let keys = dictionaries.iter().map(|piece| piece.keys() as &dyn Array).collect::<Vec<_>>();
            let keys = arrow::compute::concat(&keys).map_err(bireme_engine::error::Error::from)?;
            let keys = PrimitiveArray::<UInt32Type>::from(keys.to_data());
            // SAFETY: the keys are those of arrays over the same values.
            return Ok(Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(shared)) }));
        }
        let flat = pieces.iter().map(flat_views).collect::<Option<Vec<_>>>();
        pieces = flat.ok_or_else(|| Damage::internal("pieces of a column do not fit together"))?;
    }
    let pieces = pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>();
    Ok(arrow::compute::concat(&pieces).map_err(bireme_engine::error::Error::from)?)
}

fn read_extent(file: &File, extent: &Extent, pool: &Arc<Pool>) -> Decoded<Bytes> {
    let total = usize::try_from(extent.bytes()).map_err(|_| Damage::memory(usize::MAX))?;
    let mut buffer = pool.take(total)?;
    let head = (extent.head.end - extent.head.start) as usize;
    let failed = |error: std::io::Error| Damage::from(bireme_engine::error::Error::from(error));
    if extent.head.end == extent.data.start {
        file.read_exact_at(&mut buffer[..total], extent.head.start).map_err(failed)?;
    } else {
        file.read_exact_at(&mut buffer[..head], extent.head.start).map_err(failed)?;
        file.read_exact_at(&mut buffer[head..total], extent.data.start).map_err(failed)?;
    }
    Ok(Bytes::new(&PageBuffer::new(buffer, pool), 0..total))
}
