//! Parquet scans in the shapes of TPC-H's queries against DataFusion's, over one `lineitem` file:
//!
//! ```text
//! cargo bench --workspace --features mpi --bench scan -- [part of a name]
//! ```
//!
//! The file is made first, at scale 0.2; `BIREME_LINEITEM` names another one.

#![allow(clippy::unwrap_used, reason = "a program for people who measure")]

// The same for all crates whose operators have a rival.
#[path = "../../operators/benches/contest/mod.rs"]
#[allow(dead_code, reason = "a scan asks less of its workers")]
mod contest;

use std::cell::LazyCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatchReader};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Date32Type, Int64Type, SchemaRef};
use bireme_connectors::file_part::FilePart;
use bireme_connectors::parquet_scan::{FooterCache, ParquetSource};
use bireme_engine::error::Result;
use bireme_engine::morsel::{ColumnRange, Predicate, ScanRequest, Source, Verdict};
use datafusion::prelude::ParquetReadOptions;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

use contest::{Case, Contest, Crew};

/// That of the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a row group: so many has `tpchgen-cli` in one by default.
const GROUP_ROWS: usize = 53_000;

/// `low <= column < high` of integers and dates.
#[derive(Debug)]
struct Within {
    columns: [usize; 1],
    low: i64,
    high: i64,
}

/// `left < right` of dates.
#[derive(Debug)]
struct Before {
    columns: [usize; 2],
}

impl Predicate for Within {
    fn describe(&self) -> String {
        format!("{} <= #{} < {}", self.low, self.columns[0], self.high)
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, ranges: &[ColumnRange]) -> Verdict {
        let bound = |array: &Option<ArrayRef>| array.as_ref().map(first);
        match (bound(&ranges[0].min), bound(&ranges[0].max)) {
            (Some(min), Some(max)) if max < self.low || min >= self.high => Verdict::None,
            _ => Verdict::Some,
        }
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let (low, high) = (self.low, self.high);
        let within = |value: i64| (low..high).contains(&value);
        let values = match columns[0].data_type() {
            DataType::Int64 => {
                let values = columns[0].as_primitive::<Int64Type>().values();
                BooleanBuffer::collect_bool(rows, |row| within(values[row]))
            }
            _ => {
                let values = columns[0].as_primitive::<Date32Type>().values();
                BooleanBuffer::collect_bool(rows, |row| within(i64::from(values[row])))
            }
        };
        let values = match columns[0].nulls() {
            Some(nulls) => &values & nulls.inner(),
            None => values,
        };
        Ok(BooleanArray::new(values, None))
    }
}

fn first(array: &ArrayRef) -> i64 {
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(0),
        _ => i64::from(array.as_primitive::<Date32Type>().value(0)),
    }
}

impl Predicate for Before {
    fn describe(&self) -> String {
        format!("#{} < #{}", self.columns[0], self.columns[1])
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, _ranges: &[ColumnRange]) -> Verdict {
        Verdict::Some
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let left = columns[0].as_primitive::<Date32Type>().values();
        let right = columns[1].as_primitive::<Date32Type>().values();
        Ok(BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| left[row] < right[row]), None))
    }
}

/// A file of `lineitem`.
struct LineItem {
    path: PathBuf,
    schema: SchemaRef,
    /// Goes with its last user.
    _folder: Option<TempDir>,
}

impl LineItem {
    /// The file that the environment names, or a new one.
    fn new(scale: f64) -> Self {
        let (path, folder) = match std::env::var_os("BIREME_LINEITEM") {
            Some(path) => (path.into(), None),
            None => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("lineitem.parquet");
                write(&path, scale);
                (path, Some(folder))
            }
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        Self { path, schema: Arc::clone(builder.schema()), _folder: folder }
    }

    fn place(&self, column: &str) -> usize {
        self.schema.index_of(column).unwrap()
    }

    fn within(&self, column: &str, low: i64, high: i64) -> Arc<dyn Predicate> {
        Arc::new(Within { columns: [self.place(column)], low, high })
    }

    fn before(&self, left: &str, right: &str) -> Arc<dyn Predicate> {
        Arc::new(Before { columns: [self.place(left), self.place(right)] })
    }

    /// Reads columns of the rows that pass; how many they are. Footers are parsed each time, as for the other side.
    fn scan(&self, columns: &[&str], predicates: Vec<Arc<dyn Predicate>>, crew: &Crew) -> usize {
        let size = std::fs::metadata(&self.path).unwrap().len();
        let part = FilePart::whole(self.path.clone(), size);
        let source = ParquetSource::new(vec![part], Arc::clone(&self.schema), Arc::new(FooterCache::default()));
        let projection = columns.iter().map(|column| self.place(column)).collect();
        let scan = source.open(ScanRequest { projection, predicates, metrics: None }).unwrap();
        crew.drain(scan.as_ref())
    }
}

fn write(path: &Path, scale: f64) {
    let rows = LineItemArrow::new(LineItemGenerator::new(scale, 1, 1));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
    rows.for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.close().unwrap();
}

fn main() {
    let contest = Contest::from_arguments();
    let scale = contest.rows(1000) as f64 / 5000.0;
    let file = LazyCell::new(|| LineItem::new(scale));
    type Predicates<'a> = &'a dyn Fn(&LineItem) -> Vec<Arc<dyn Predicate>>;
    let none: Predicates<'_> = &|_| Vec::new();
    // 1994-01-01, 1995-01-01 and 1998-09-03 are days 8766, 9131 and 10472.
    let q6: Predicates<'_> = &|file| {
        let discounts = file.within("l_discount", 5, 8);
        vec![file.within("l_shipdate", 8766, 9131), discounts, file.within("l_quantity", 0, 2400)]
    };
    let q12: Predicates<'_> =
        &|file| vec![file.before("l_commitdate", "l_receiptdate"), file.before("l_shipdate", "l_commitdate")];
    let everything = "l_orderkey l_partkey l_suppkey l_linenumber l_quantity l_extendedprice l_discount l_tax \
                      l_returnflag l_linestatus l_shipdate l_commitdate l_receiptdate l_shipinstruct l_shipmode l_comment";
    let cases: [(&str, &str, Predicates<'_>, &str); 6] = [
        (
            "q6",
            "l_extendedprice l_discount",
            q6,
            "l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01' \
             AND l_discount >= 0.05 AND l_discount < 0.08 AND l_quantity < 24",
        ),
        (
            "q1",
            "l_quantity l_extendedprice l_discount l_tax l_returnflag l_linestatus",
            &|file| vec![file.within("l_shipdate", 0, 10_472)],
            "l_shipdate < DATE '1998-09-03'",
        ),
        ("q12", "l_orderkey l_shipmode", q12, "l_commitdate < l_receiptdate AND l_shipdate < l_commitdate"),
        ("one column of integers", "l_orderkey", none, "TRUE"),
        ("one column of texts", "l_comment", none, "TRUE"),
        ("all columns", everything, none, "TRUE"),
    ];
    for (name, columns, predicates, condition) in cases {
        let columns = columns.split_whitespace().collect::<Vec<_>>();
        contest.enter(&Case {
            operator: "scan",
            name,
            threads: &[1, 2],
            ours: &|crew| file.scan(&columns, predicates(&file), crew),
            tables: &|peer| {
                let path = file.path.to_str().unwrap();
                let options = ParquetReadOptions::default();
                peer.block_on(peer.context().register_parquet("lineitem", path, options)).unwrap();
            },
            query: &format!("SELECT {} FROM lineitem WHERE {condition}", columns.join(", ")),
        });
    }
    contest.finish();
}
