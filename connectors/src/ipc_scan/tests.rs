//! Scans against Arrow's own reader of whole files.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use arrow::array::*;
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, TimeUnit};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions};
use bireme_engine::ErrorKind;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict, carried_type, to_logical};

use super::*;
use crate::file_part::Constants;

#[derive(Debug)]
struct Odd([usize; 1]);

impl Predicate for Odd {
    fn describe(&self) -> String {
        "odd".into()
    }

    fn columns(&self) -> &[usize] {
        &self.0
    }

    fn judge(&self, _: &[ColumnRange]) -> Verdict {
        Verdict::Some
    }

    fn test(&self, columns: &[ArrayRef], _: usize) -> Result<BooleanArray> {
        Ok(columns[0].as_primitive::<Int64Type>().iter().map(|value| Some(value.is_some_and(|n| n % 2 != 0))).collect())
    }
}

/// Rows of many types, some of them NULL.
fn batch(rows: usize) -> RecordBatch {
    let some = |row: usize| row % 7 != 3;
    let text = |row: usize| some(row).then(|| format!("{}{row}", "long ".repeat(row % 9)));
    let numbers: Int64Array = (0..rows).map(|row| some(row + 1).then_some(row as i64)).collect();
    let texts: StringArray = (0..rows).map(text).collect();
    let codes: DictionaryArray<Int32Type> =
        texts.iter().map(|text| text.map(|text| &text[..text.len().min(6)])).collect();
    let decimals: Decimal128Array = (0..rows).map(|row| some(row).then_some(row as i128 * 1001 - 5)).collect();
    let wide = decimals.clone().with_precision_and_scale(38, 3).unwrap();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..rows).map(|row| some(row).then(|| (0..row as i32 % 4).map(Some).collect::<Vec<_>>())),
    );
    let stamps: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(numbers.iter()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(numbers)),
        ("s", Arc::new(texts.clone())),
        ("l", cast(&texts, &DataType::LargeUtf8).unwrap()),
        ("v", cast(&texts, &DataType::Utf8View).unwrap()),
        ("b", cast(&texts, &DataType::Binary).unwrap()),
        ("c", Arc::new(codes)),
        ("d", Arc::new(decimals.with_precision_and_scale(15, 2).unwrap())),
        ("w", Arc::new(wide)),
        ("t", cast(&stamps, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).unwrap()),
        ("o", Arc::new((0..rows).map(|row| some(row).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        ("i", Arc::new(lists)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn write(path: &Path, batch: &RecordBatch, each: usize, options: IpcWriteOptions) {
    let file = fs::File::create(path).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options).unwrap();
    for start in (0..batch.num_rows()).step_by(each) {
        writer.write(&batch.slice(start, each.min(batch.num_rows() - start))).unwrap();
    }
    writer.finish().unwrap();
}

fn part(path: &Path) -> FilePart {
    FilePart::whole(path.to_owned(), fs::metadata(path).unwrap().len())
}

fn source(parts: Vec<FilePart>, schema: &SchemaRef) -> IpcSource {
    IpcSource::new(parts, Arc::clone(schema), schema.fields().len())
}

fn chunks(source: &IpcSource, projection: &[usize], predicates: Vec<Arc<dyn Predicate>>) -> Result<Vec<Chunk>> {
    let scan = source.open(ScanRequest { projection: projection.to_vec(), predicates, metrics: None })?;
    let mut chunks = Vec::new();
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel)?;
        while let Some(chunk) = reader.next()? {
            assert!(chunk.rows > 0 && chunk.rows <= CHUNK_ROWS);
            chunks.push(chunk);
        }
    }
    Ok(chunks)
}

/// What a scan yields, in logical types.
fn scan(source: &IpcSource, projection: &[usize], predicates: Vec<Arc<dyn Predicate>>) -> Result<RecordBatch> {
    let schema = Arc::new(source.schema().project(projection).unwrap());
    let batches = chunks(source, projection, predicates)?.into_iter().map(|chunk| {
        let columns = chunk.columns.iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| to_logical(column, field.data_type()).unwrap()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows));
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options).unwrap()
    });
    Ok(concat_batches(&schema, &batches.collect::<Vec<_>>()).unwrap())
}

#[test]
fn every_type_however_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arrow");
    let plain = || IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let packed = |codec| plain().try_with_compression(Some(codec)).unwrap();
    let unaligned = IpcWriteOptions::try_new(8, false, arrow::ipc::MetadataVersion::V5).unwrap();
    for (rows, each) in [(20_000, 20_000), (20_000, 9000), (1000, 7), (1, 1)] {
        let whole = batch(rows);
        let options = [
            plain(),
            packed(CompressionType::ZSTD),
            packed(CompressionType::LZ4_FRAME),
            unaligned.clone().with_dictionary_handling(DictionaryHandling::Delta),
        ];
        for (number, options) in options.into_iter().enumerate() {
            write(&path, &whole, each, options);
            let read = FileReader::try_new(fs::File::open(&path).unwrap(), None).unwrap();
            let all = concat_batches(&whole.schema(), &read.collect::<Result<Vec<_>, _>>().unwrap()).unwrap();
            let source = source(vec![part(&path)], &whole.schema());
            let every = (0..whole.num_columns()).collect::<Vec<_>>();
            let place = format!("{rows} rows in batches of {each}, options {number}");
            assert_eq!(scan(&source, &every, Vec::new()).unwrap(), all, "{place}");
            assert_eq!(scan(&source, &[9, 1, 1], Vec::new()).unwrap(), all.project(&[9, 1, 1]).unwrap(), "{place}");
            assert_eq!(scan(&source, &[], Vec::new()).unwrap().num_rows(), rows, "{place}");
            let odd = all.column(0).as_primitive::<Int64Type>().iter();
            let odd: BooleanArray = odd.map(|value| Some(value.is_some_and(|n| n % 2 != 0))).collect();
            let wanted = filter_record_batch(&all, &odd).unwrap().project(&[5, 3]).unwrap();
            assert_eq!(scan(&source, &[5, 3], vec![Arc::new(Odd([0]))]).unwrap(), wanted, "{place}");
        }
    }
    write(&path, &batch(0), 1, plain());
    let none = source(vec![part(&path)], &batch(0).schema());
    assert_eq!(scan(&none, &[0, 1], Vec::new()).unwrap().num_rows(), 0);
}

#[test]
fn columns_are_not_copied_and_count_their_own_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arrow");
    let rows = 100_000;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("a text of number {row}"))));
    let whole = RecordBatch::try_from_iter([("n", numbers), ("s", texts)]).unwrap();
    write(&path, &whole, rows as usize, IpcWriteOptions::default());
    let source = source(vec![part(&path)], &whole.schema());
    let chunks = chunks(&source, &[0, 1], Vec::new()).unwrap();
    let next = |at: usize| chunks[at].columns[0].as_primitive::<Int64Type>().values().as_ptr();
    assert_eq!(next(0).wrapping_add(CHUNK_ROWS), next(1), "one lies behind the other, as in the file");
    for chunk in &chunks {
        let bytes = chunk.rows * (8 + 16 + 24);
        assert!(chunk.bytes() < bytes + 4096, "{} of about {bytes} bytes", chunk.bytes());
        assert_eq!(chunk.columns[1].data_type(), &carried_type(&DataType::Utf8));
    }
}

#[test]
fn parts_of_files_and_constants() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arrow");
    let whole = batch(1000).project(&[0, 1]).unwrap();
    write(&path, &whole, 10, IpcWriteOptions::default());
    let mut fields = whole.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("port", DataType::Utf8, true)));
    let schema = Arc::new(Schema::new(fields));
    let size = part(&path).size;
    for lanes in [1, 2, 3, 50] {
        let parts = (0..lanes).map(|lane| {
            let port: ArrayRef = Arc::new(StringViewArray::from(vec![Some(format!("port {lane}"))]));
            FilePart {
                range: Some(lane * size / lanes..(lane + 1) * size / lanes),
                constants: Constants::new(vec![(2, port)]),
                ..part(&path)
            }
        });
        let source = IpcSource::new(parts.collect(), Arc::clone(&schema), 2);
        let found = scan(&source, &[2, 0, 1], Vec::new()).unwrap();
        assert_eq!(found.project(&[1, 2]).unwrap(), whole.project(&[0, 1]).unwrap());
        assert_eq!(found.column(0).as_string::<i32>().value(0), "port 0");
    }
}

#[test]
fn a_file_that_changes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arrow");
    let whole = batch(100);
    let plain = || IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    write(&path, &whole, 10, plain());
    let source = source(vec![part(&path)], &whole.schema());
    let scan = source.open(ScanRequest { projection: vec![0], ..ScanRequest::default() }).unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_len(100).unwrap();
    for error in [scan.read(0).unwrap().next().unwrap_err(), source.open(ScanRequest::default()).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        assert!(error.message().contains("a.arrow was changed"), "{error}");
    }
    let known = FilePart { modified: Some(SystemTime::UNIX_EPOCH), ..part(&path) };
    let source = IpcSource::new(vec![known], whole.schema(), 11);
    assert!(source.open(ScanRequest::default()).unwrap_err().message().contains("was changed"));
}

/// Every byte of a small file is damaged once: reads succeed or say that the input is corrupt.
#[test]
fn damaged_files_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arrow");
    let whole = batch(20);
    write(&path, &whole, 10, IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta));
    let sound = fs::read(&path).unwrap();
    let every = (0..whole.num_columns()).collect::<Vec<_>>();
    let check = |bytes: &[u8], place: &str| {
        let path = directory.path().join("damaged.arrow");
        fs::write(&path, bytes).unwrap();
        let found = chunks(&source(vec![part(&path)], &whole.schema()), &every, Vec::new());
        if let Err(error) = &found {
            let fits = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
            assert!(fits && error.message().contains("damaged.arrow"), "{place}: {error}");
        }
        found.is_ok()
    };
    let mut refused = 0;
    for at in 0..sound.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = sound.clone();
            damaged[at] ^= change;
            refused += usize::from(!check(&damaged, &format!("byte {at}")));
        }
    }
    assert!(refused > sound.len() / 20, "{refused} of {} bytes matter", sound.len());
    for length in (0..sound.len()).step_by(13) {
        assert!(!check(&sound[..length], &format!("cut at {length}")));
    }
}
