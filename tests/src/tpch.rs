//! TPC-H: data from tpchgen, made once per scale and kept in a cache directory; query texts from `bench/queries/tpch`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// The eight tables.
pub const TABLES: [&str; 8] = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// A directory with the tables of a scale as Parquet files, with small row groups so that even small tables are cut.
pub fn data(scale: f64) -> PathBuf {
    let cache = std::env::var_os("BIREME_TEST_DATA").map(PathBuf::from).unwrap_or_else(|| {
        // Beside the shared build, so that fresh clones need not make it again.
        let home = std::env::var_os("HOME").map(PathBuf::from);
        home.map_or_else(|| crate::root().join("target"), |home| home.join(".cache/bireme")).join("test-data")
    });
    let directory = cache.join(format!("tpch-{scale}"));
    if !directory.exists() {
        fs::create_dir_all(&cache).expect("the cache directory can be made");
        let fresh = tempfile::tempdir_in(&cache).expect("a directory can be made in the cache");
        for table in TABLES {
            write(rows(table, scale), &fresh.path().join(format!("{table}.parquet")));
        }
        // Whoever is first wins; the data are the same.
        let fresh = fresh.keep();
        if fs::rename(&fresh, &directory).is_err() {
            let _ = fs::remove_dir_all(fresh);
        }
    }
    directory
}

/// The statements of a query, by number from 1.
pub fn query(number: usize) -> Vec<String> {
    let path = crate::root().join(format!("bench/queries/tpch/q{number}.sql"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bireme::sql::split(&text).expect("the query text is SQL")
}

fn rows(table: &str, scale: f64) -> Box<dyn RecordBatchReader> {
    match table {
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(scale, 1, 1))),
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(scale, 1, 1))),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(scale, 1, 1))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(scale, 1, 1))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(scale, 1, 1))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1))),
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(scale, 1, 1))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(scale, 1, 1))),
        other => panic!("no TPC-H table `{other}`"),
    }
}

fn write(rows: Box<dyn RecordBatchReader>, path: &Path) {
    let schema: SchemaRef = rows.schema();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(50_000)).build();
    let file = File::create(path).expect("the cache directory is writable");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a Parquet writer");
    for batch in rows {
        let batch: Result<RecordBatch, ArrowError> = batch;
        writer.write(&batch.expect("generated rows")).expect("rows are written");
    }
    writer.close().expect("the file is complete");
}
