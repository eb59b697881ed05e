//! Parquet files as morsel sources: pages decoded by code of our own, selection first.
//!
//! ```text
//!  open    footers ──statistics, page index, Bloom filters──► morsels: row groups, or parts of very large ones
//!  read    predicate columns ──dictionary──► pass tables     (no value passes: the row group is done)
//!          window of rows ──codes or values──► rows that pass ──► only their values of the other columns ──► Chunk
//! ```
//!
//! What a scan costs is decided by what it does not do. A predicate on a dictionary-coded column is tested on the
//! values of the dictionary, and rows are only looked up. Predicates run one after the other on the rows that are
//! left, the order learned while the scan runs. Columns that are only projected are decoded for rows that passed;
//! pages without such rows are not even decompressed.
//!
//! - `footers`: parsed footers, kept; `prune`: statistics and page indexes; `bloom`: filters of few values.
//! - `scan`: morsels; `window`: the reader of a morsel, with predicates; `selection`, `pass_table`: its tools.
//! - `column`: the pages of a column chunk; `decode`: values; `runs`, `unpack`, `delta`, `validity`: encodings.
//! - `page_header`, `codec`, `buffers`: what lies below.
//! - `fallback`: odd types and encodings, through the `parquet` crate.
//!
//! Files are read at offsets into buffers that are used again: memory does not grow with the files.
//!
//! Example: `WHERE discount BETWEEN 0.05 AND 0.07 AND quantity < 24` over a row group of 53,000 rows. The dictionaries
//! have 11 and 50 values, 3 and 23 of which pass. The codes, of 4 and 6 bits, are tested 64 rows at a time; 12 % of
//! the rows pass. Of `extendedprice`, whose dictionary is large, only those rows' codes are picked out.

mod bloom;
mod buffers;
mod codec;
mod column;
mod damage;
mod decode;
mod delta;
mod fallback;
mod footers;
mod kind;
mod page_header;
mod pass_table;
mod prune;
mod runs;
mod scan;
mod selection;
#[cfg(test)]
mod tests;
mod unpack;
mod validity;
mod window;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use bireme_engine::error::Result;
use bireme_engine::morsel::{Scan, ScanRequest, Source};

pub use footers::FooterCache;

use crate::file_part::FilePart;

/// A table of Parquet files; see the module.
#[derive(Debug)]
pub struct ParquetSource {
    parts: Vec<FilePart>,
    schema: SchemaRef,
    footers: Arc<FooterCache>,
}

impl ParquetSource {
    /// A table with this logical schema. Columns of files are found by name; one that a file lacks is NULL there, one
    /// of another type is cast.
    pub fn new(parts: Vec<FilePart>, schema: SchemaRef, footers: Arc<FooterCache>) -> Self {
        Self { parts, schema, footers }
    }

    /// Whether tables of this schema can be read.
    ///
    /// # Errors
    /// The first column that cannot, and its type.
    pub fn supports(schema: &Schema) -> Result<(), String> {
        let odd = schema.fields().iter().find(|field| !is_flat(field.data_type()));
        odd.map_or(Ok(()), |field| Err(format!("column {} of type {}", field.name(), field.data_type())))
    }
}

fn is_flat(logical: &DataType) -> bool {
    use DataType as D;
    match logical {
        D::Dictionary(_, values) => is_flat(values),
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => true,
        D::Float16 | D::Float32 | D::Float64 | D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) => true,
        D::Timestamp(..) | D::Duration(_) => true,
        D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..) => true,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => true,
        D::FixedSizeBinary(_) => true,
        _ => false,
    }
}

impl Source for ParquetSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        match self.parts.as_slice() {
            [] => "parquet: no files".to_owned(),
            [one] => format!("parquet: {}", one.path.display()),
            [first, others @ ..] => format!("parquet: {} and {} more", first.path.display(), others.len()),
        }
    }

    fn open(&self, request: ScanRequest) -> Result<Arc<dyn Scan>> {
        Ok(Arc::new(scan::ParquetScan::open(&self.parts, &self.schema, &self.footers, request)?))
    }
}
