//! Times scans of a `lineitem` file in the shape of TPC-H queries:
//!
//! ```text
//! cargo run --release -p bireme-connectors --no-default-features --example scan_speed -- lineitem.parquet [threads]
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use bireme_connectors::file_part::FilePart;
use bireme_connectors::parquet_scan::ParquetSource;
use bireme_engine::error::{Error, Result};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{ColumnRange, Predicate, ScanRequest, Source, Verdict};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// `low <= column < high` of integers and dates.
#[derive(Debug)]
struct Within {
    columns: [usize; 1],
    low: i64,
    high: i64,
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

/// `left < right` of dates.
#[derive(Debug)]
struct Before {
    columns: [usize; 2],
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

fn scan(
    source: &ParquetSource,
    columns: &[&str],
    predicates: &[Arc<dyn Predicate>],
    threads: usize,
) -> Result<(usize, u64, f64)> {
    let schema = source.schema();
    let projection =
        columns.iter().map(|name| schema.index_of(name).map_err(Error::from)).collect::<Result<Vec<_>>>()?;
    let metrics = Arc::new(StageMetrics::default());
    let start = Instant::now();
    let request = ScanRequest { projection, predicates: predicates.to_vec(), metrics: Some(Arc::clone(&metrics)) };
    let scan = source.open(request)?;
    let (next, rows) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let workers = (0..threads).map(|_| {
            scope.spawn(|| -> Result<()> {
                loop {
                    let morsel = next.fetch_add(1, Ordering::Relaxed);
                    if morsel >= scan.morsels() {
                        return Ok(());
                    }
                    let mut reader = scan.read(morsel)?;
                    while let Some(chunk) = reader.next()? {
                        rows.fetch_add(chunk.rows, Ordering::Relaxed);
                    }
                }
            })
        });
        let workers = workers.collect::<Vec<_>>();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(Error::internal("a worker panicked"))))
    })?;
    let millis = start.elapsed().as_secs_f64() * 1e3;
    Ok((rows.into_inner(), metrics.extra("bytes_scanned").unwrap_or(0), millis))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next().map(PathBuf::from) else {
        return Err(Error::user("name a lineitem.parquet"));
    };
    let threads = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2);
    let file = std::fs::File::open(&path)?;
    let size = file.metadata()?.len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| Error::corrupt(error.to_string()))?;
    let group = builder.metadata().row_group(0);
    for column in group.columns() {
        println!(
            "{:16} {:?} {:?} {:?} {} -> {} bytes",
            column.column_path().string(),
            column.column_type(),
            column.compression_codec(),
            column.encodings().collect::<Vec<_>>(),
            column.compressed_size(),
            column.uncompressed_size()
        );
    }
    println!("{} row groups, the first of {} rows", builder.metadata().num_row_groups(), group.num_rows());
    let plain = |name: &str| {
        let groups = builder.metadata().row_groups().iter().flat_map(|group| group.columns());
        let bytes =
            groups.filter(|column| column.column_path().string() == name).map(|column| column.uncompressed_size());
        bytes.sum::<i64>()
    };
    let schema = Arc::clone(builder.schema());
    let part = FilePart::whole(path, size);
    let source = ParquetSource::new(vec![part], Arc::clone(&schema), Arc::default());
    let at = |name: &str| schema.index_of(name).map_err(Error::from);
    let within = |name: &str, low, high| -> Result<Arc<dyn Predicate>> {
        Ok(Arc::new(Within { columns: [at(name)?], low, high }))
    };
    // 1994-01-01 and 1995-01-01 are days 8766 and 9131.
    let q6 = [within("l_shipdate", 8766, 9131)?, within("l_discount", 5, 8)?, within("l_quantity", 0, 2400)?];
    let q12: [Arc<dyn Predicate>; 2] = [
        Arc::new(Before { columns: [at("l_commitdate")?, at("l_receiptdate")?] }),
        Arc::new(Before { columns: [at("l_shipdate")?, at("l_commitdate")?] }),
    ];
    let all = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    let q1 = ["l_quantity", "l_extendedprice", "l_discount", "l_tax", "l_returnflag", "l_linestatus"];
    type Case<'a> = (&'a str, Vec<&'a str>, Vec<Arc<dyn Predicate>>);
    let cases: Vec<Case<'_>> = vec![
        ("q6", vec!["l_extendedprice", "l_discount"], q6.to_vec()),
        ("q1", q1.to_vec(), vec![within("l_shipdate", 0, 10471)?]),
        ("q12", vec!["l_orderkey", "l_shipmode"], q12.to_vec()),
        ("orderkey", vec!["l_orderkey"], vec![]),
        ("comment", vec!["l_comment"], vec![]),
        ("count", vec![], vec![]),
        ("everything", all, vec![]),
    ];
    let wanted = std::env::var("CASE").ok();
    for (name, columns, predicates) in cases {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let mut names = columns.clone();
        for predicate in &predicates {
            names.extend(predicate.columns().iter().map(|&column| schema.field(column).name().as_str()));
        }
        names.sort_unstable();
        names.dedup();
        let bytes = names.iter().map(|name| plain(name)).sum::<i64>() as f64;
        for _ in 0..3 {
            let (rows, read, millis) = scan(&source, &columns, &predicates, threads)?;
            println!(
                "{name:12} {rows:10} rows {millis:8.1} ms, {:6.2} GB/s of {:7.1} MB decompressed, {:7.1} MB read",
                bytes / millis / 1e6,
                bytes / 1e6,
                read as f64 / 1e6
            );
        }
    }
    Ok(())
}
