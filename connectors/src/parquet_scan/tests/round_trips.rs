use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

use super::*;

fn all_types(rows: usize, distinct: u64, nulls: Nulls, seed: u64) -> RecordBatch {
    let mut random = Random(seed);
    let types = types();
    batch(types.iter().map(|(name, logical)| (*name, column(logical, rows, distinct, nulls, &mut random))).collect())
}

/// Reads a file with every type whole, and with every type tested and projected in turn.
fn check(batch: &RecordBatch, properties: WriterProperties, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, batch, properties);
    let source = source(&path, &batch.schema());
    let all = (0..batch.num_columns()).collect::<Vec<_>>();
    let (read, _) = scan(&source, &all, &[]).unwrap();
    assert_eq!(&read, &oracle(&path, &all, &[]), "{what}");
    for place in 0..batch.num_columns() {
        let other = (place * 7 + 3) % batch.num_columns();
        let percent = if place % 2 == 0 { 3 } else { 60 };
        let predicate: Arc<dyn Predicate> = Arc::new(Hashed { columns: vec![place], seed: 9, percent });
        let name = batch.schema_ref().field(place).name().clone();
        let projection = [place, other];
        let (read, _) = scan(&source, &projection, std::slice::from_ref(&predicate)).unwrap();
        assert_eq!(read, oracle(&path, &projection, &[predicate]), "{what}: {name}, {percent} %");
    }
}

fn small_pages() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_data_page_row_count_limit(700).set_write_batch_size(64)
}

#[test]
fn every_type_with_and_without_nulls() {
    for nulls in [Nulls::None, Nulls::Some, Nulls::All] {
        for distinct in [1, 30, 100_000] {
            let batch = all_types(3_000, distinct, nulls, distinct);
            check(&batch, small_pages().build(), &format!("{nulls:?}, {distinct} values"));
        }
    }
}

#[test]
fn files_without_rows_and_pages_of_one() {
    for rows in [0, 1, 40] {
        let batch = all_types(rows, 30, Nulls::Some, 3);
        let one = || WriterProperties::builder().set_data_page_row_count_limit(1).set_write_batch_size(1);
        check(&batch, one().build(), &format!("{rows} rows in pages of one"));
        let groups = one().set_max_row_group_row_count(Some(1)).set_dictionary_enabled(false);
        check(&batch, groups.build(), &format!("{rows} rows in groups of one"));
    }
}

#[test]
fn every_codec_and_page_version() {
    let batch = all_types(1_500, 200, Nulls::Some, 5);
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ] {
            for dictionary in [true, false] {
                let properties = small_pages().set_writer_version(version).set_compression(compression);
                let properties = properties.set_dictionary_enabled(dictionary).build();
                check(&batch, properties, &format!("{version:?} {compression:?}, dictionary {dictionary}"));
            }
        }
    }
}

#[test]
fn every_encoding() {
    let batch = all_types(2_500, 900, Nulls::Some, 6);
    let none = all_types(2_500, 900, Nulls::None, 7);
    for encoding in [
        Encoding::PLAIN,
        Encoding::DELTA_BINARY_PACKED,
        Encoding::DELTA_LENGTH_BYTE_ARRAY,
        Encoding::DELTA_BYTE_ARRAY,
        Encoding::BYTE_STREAM_SPLIT,
        Encoding::RLE,
    ] {
        for batch in [&batch, &none] {
            let mut properties = small_pages().set_dictionary_enabled(false).set_compression(Compression::SNAPPY);
            for (name, logical) in types() {
                if takes(&logical, encoding) {
                    properties = properties.set_column_encoding(name.into(), encoding);
                }
            }
            check(batch, properties.build(), &format!("{encoding:?}"));
        }
    }
}

fn takes(logical: &DataType, encoding: Encoding) -> bool {
    use DataType as D;
    let text = matches!(logical, D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::Dictionary(..));
    let float = matches!(logical, D::Float32 | D::Float64);
    let wide = matches!(logical, D::Decimal128(30, _) | D::Decimal256(..) | D::FixedSizeBinary(_) | D::Float16);
    let boolean = *logical == D::Boolean;
    match encoding {
        Encoding::DELTA_BINARY_PACKED => !text && !float && !wide && !boolean,
        Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => text,
        Encoding::BYTE_STREAM_SPLIT => !text && !boolean,
        Encoding::RLE => boolean,
        _ => true,
    }
}

#[test]
fn dictionaries_that_overflow_midway() {
    let batch = all_types(10_000, 1 << 40, Nulls::Some, 8);
    let properties = small_pages().set_dictionary_page_size_limit(4_000).set_compression(Compression::SNAPPY);
    check(&batch, properties.build(), "dictionaries of 4000 bytes");
}

#[test]
fn row_groups_and_ranges_of_files() {
    let batch = all_types(10_000, 50, Nulls::Some, 9);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &batch, small_pages().set_max_row_group_row_count(Some(1_500)).build());
    let whole = part(&path);
    let mut seen = 0;
    for cut in 0..4 {
        let range = whole.size * cut / 4..whole.size * (cut + 1) / 4;
        let part = FilePart { range: Some(range), ..whole.clone() };
        let source = ParquetSource::new(vec![part], batch.schema(), Arc::default());
        seen += scan(&source, &[], &[]).unwrap().0.num_rows();
    }
    assert_eq!(seen, 10_000);
    let (read, metrics) = scan(&source(&path, &batch.schema()), &[7, 23, 7], &[]).unwrap();
    assert_eq!(read, oracle(&path, &[7, 23, 7], &[]));
    assert_eq!(metrics.extra("row_groups"), Some(7));
}

#[test]
fn columns_that_files_lack_or_have_in_another_type() {
    let rows = 3_000;
    let mut random = Random(3);
    let file = batch(vec![
        ("a", column(&DataType::Int32, rows, 40, Nulls::Some, &mut random)),
        ("b", column(&DataType::Decimal128(9, 2), rows, 40, Nulls::None, &mut random)),
        ("c", column(&DataType::Utf8, rows, 40, Nulls::Some, &mut random)),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &file, small_pages().build());
    let table = Arc::new(Schema::new(vec![
        field("c", &DataType::LargeUtf8),
        field("new", &DataType::Utf8),
        field("b", &DataType::Decimal128(20, 4)),
        field("a", &DataType::Int64),
    ]));
    let cast = |name: &str, to: &DataType| arrow::compute::cast(file.column_by_name(name).unwrap(), to).unwrap();
    let expected = RecordBatch::try_new(
        Arc::clone(&table),
        vec![
            cast("c", &DataType::LargeUtf8),
            new_null_array(&DataType::Utf8, rows),
            cast("b", &DataType::Decimal128(20, 4)),
            cast("a", &DataType::Int64),
        ],
    );
    let expected = expected.unwrap();
    for columns in [vec![1], vec![3], vec![2], vec![0, 1]] {
        for percent in [5, 50, 95] {
            let predicate: Arc<dyn Predicate> = Arc::new(Hashed { columns: columns.clone(), seed: 4, percent });
            let tested = columns.iter().map(|&place| to_carried(expected.column(place)).unwrap()).collect::<Vec<_>>();
            let expected = filter_record_batch(&expected, &predicate.test(&tested, rows).unwrap()).unwrap();
            let (read, _) = scan(&source(&path, &table), &[0, 1, 2, 3], &[predicate]).unwrap();
            assert_eq!(read, expected, "{columns:?} {percent}");
        }
    }
}

#[test]
fn one_dictionary_for_all_chunks_of_a_row_group() {
    let mut random = Random(1);
    let file = batch(vec![("a", column(&DataType::Utf8, 50_000, 40, Nulls::None, &mut random))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &file, WriterProperties::builder().build());
    let request = ScanRequest { projection: vec![0], ..ScanRequest::default() };
    let opened = source(&path, &file.schema()).open(request).unwrap();
    assert_eq!(opened.morsels(), 1);
    let mut reader = opened.read(0).unwrap();
    let mut shared = None;
    while let Some(chunk) = reader.next().unwrap() {
        let values = Arc::clone(chunk.columns[0].as_any_dictionary().values());
        assert!(Arc::ptr_eq(shared.get_or_insert(Arc::clone(&values)), &values));
    }
    assert!(shared.is_some());
}

#[test]
fn nested_types_are_refused() {
    let list = DataType::new_list(DataType::Int32, true);
    assert!(ParquetSource::supports(&Schema::new(vec![field("l", &list)])).unwrap_err().contains('l'));
    let flat = types().iter().map(|(name, logical)| field(name, logical)).collect::<Vec<_>>();
    assert!(ParquetSource::supports(&Schema::new(flat)).is_ok());
}
