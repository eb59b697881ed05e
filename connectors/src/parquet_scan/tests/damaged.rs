use bireme_engine::error::ErrorKind;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::*;

fn files() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut random = Random(2);
    let mut made = Vec::new();
    for (compression, version, dictionary) in [
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0, true),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_2_0, false),
        (Compression::SNAPPY, WriterVersion::PARQUET_1_0, true),
    ] {
        let wanted = ["bool", "i16", "i64", "f64", "dec15", "dec30", "utf8", "view"];
        let types = types().into_iter().filter(|(name, _)| wanted.contains(name)).collect::<Vec<_>>();
        let columns = types.iter().map(|(name, logical)| (*name, column(logical, 300, 60, Nulls::Some, &mut random)));
        let batch = batch(columns.collect());
        let mut properties = WriterProperties::builder()
            .set_compression(compression)
            .set_writer_version(version)
            .set_dictionary_enabled(dictionary)
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(50);
        if !dictionary {
            properties = properties.set_column_encoding("utf8".into(), Encoding::DELTA_BYTE_ARRAY);
            properties = properties.set_column_encoding("view".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
            properties = properties.set_column_encoding("f64".into(), Encoding::BYTE_STREAM_SPLIT);
        }
        write(&path, &batch, properties.build());
        made.push(std::fs::read(&path).unwrap());
    }
    made
}

/// Scans damaged bytes: whatever comes back, it must be valid arrays or an error.
fn try_scan(path: &Path, bytes: &[u8], schema: &SchemaRef) -> Option<ErrorKind> {
    std::fs::write(path, bytes).unwrap();
    let all = (0..schema.fields().len()).collect::<Vec<_>>();
    let predicate: Arc<dyn Predicate> = Arc::new(Hashed { columns: vec![6], seed: 3, percent: 50 });
    let source = source(path, schema);
    let one = scan(&source, &all, &[]).err();
    let other = scan(&source, &all, &[predicate]).err();
    one.or(other).map(|error| error.kind())
}

#[test]
fn damaged_files_are_errors() {
    // The crate's panics on damaged footers are caught, but would fill the output: this thread keeps quiet.
    let quiet = std::thread::current().id();
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != quiet {
            loud(panic);
        }
    }));
    if let Err(panic) = std::panic::catch_unwind(mutate) {
        let _ = std::panic::take_hook();
        std::panic::resume_unwind(panic);
    }
}

fn mutate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut random = Random(11);
    let (mut errors, mut tried) = (0, 0);
    for bytes in files() {
        std::fs::write(&path, &bytes).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let schema = Arc::clone(builder.schema());
        assert_eq!(try_scan(&path, &bytes, &schema), None);
        for _ in 0..1_000 {
            let mut damaged = bytes.clone();
            match random.below(8) {
                0 => damaged.truncate(random.below(bytes.len() as u64) as usize),
                1 => {
                    // Bytes in the middle are lost, the footer stays.
                    let at = random.below(bytes.len() as u64 / 2) as usize;
                    damaged.drain(at..at + 1 + random.below(40) as usize);
                }
                kind => {
                    // Mostly pages: the crate guards the footer.
                    let end = if kind == 2 { bytes.len() } else { bytes.len() / 2 };
                    for _ in 0..=random.below(3) {
                        let at = random.below(end as u64) as usize;
                        damaged[at] =
                            if random.below(2) == 0 { damaged[at] ^ 1 << random.below(8) } else { random.next() as u8 };
                    }
                }
            }
            tried += 1;
            if let Some(kind) = try_scan(&path, &damaged, &schema) {
                errors += 1;
                assert_ne!(kind, ErrorKind::Internal);
            }
        }
    }
    assert!(errors > tried / 10, "{errors} of {tried}");
}

#[test]
fn messages_name_file_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.parquet");
    let mut random = Random(2);
    let batch = batch(vec![("price", column(&DataType::Int64, 1000, 10, Nulls::None, &mut random))]);
    write(&path, &batch, WriterProperties::builder().build());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..40].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let error = scan(&source(&path, &batch.schema()), &[0], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("price") && error.message().contains("bad.parquet"), "{error}");
}
