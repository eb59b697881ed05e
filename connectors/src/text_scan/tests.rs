//! Scans against Arrow's own readers of whole files, for morsels of any size.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::csv::ReaderBuilder as CsvReaderBuilder;
use arrow::datatypes::Int64Type;
use arrow::json::ReaderBuilder as JsonReaderBuilder;
use bireme_engine::ErrorKind;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict, to_logical};

use super::*;
use crate::file_part::Constants;

const MORSELS: [u64; 7] = [1, 2, 3, 7, 64, 1000, 1 << 20];

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
        let odd = |value: Option<i64>| Some(value.is_some_and(|value| value % 2 != 0));
        Ok(columns[0].as_primitive::<Int64Type>().iter().map(odd).collect())
    }
}

fn schema() -> SchemaRef {
    let fields = [("n", DataType::Int64), ("s", DataType::Utf8), ("f", DataType::Float64), ("d", DataType::Date32)];
    Arc::new(Schema::new(fields.map(|(name, logical)| Field::new(name, logical, true)).to_vec()))
}

fn part(path: &Path) -> FilePart {
    FilePart::whole(path.to_owned(), fs::metadata(path).unwrap().len())
}

fn csv(path: &Path, options: &CsvOptions) -> TextSource {
    TextSource::new(vec![part(path)], schema(), 4, TextFormat::Csv(options.clone()), Compression::None).unwrap()
}

/// What a scan yields, in logical types, morsel after morsel.
fn scan(source: &TextSource, projection: &[usize], predicates: Vec<Arc<dyn Predicate>>) -> Result<RecordBatch> {
    let schema = Arc::new(source.schema().project(projection).unwrap());
    let request = ScanRequest { projection: projection.to_vec(), predicates, metrics: None };
    let scan = source.open(request)?;
    let mut batches = Vec::new();
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel)?;
        while let Some(chunk) = reader.next()? {
            assert!(chunk.rows > 0, "an empty chunk");
            let columns = chunk.columns.iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| to_logical(column, field.data_type()).unwrap()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows));
            batches.push(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options).unwrap());
        }
    }
    Ok(concat_batches(&schema, &batches).unwrap())
}

/// Arrow's reader over the whole file.
fn oracle(path: &Path, options: &CsvOptions) -> RecordBatch {
    let mut builder = CsvReaderBuilder::new(schema())
        .with_header(options.header)
        .with_delimiter(options.delimiter)
        .with_quote(options.quote)
        .with_truncated_rows(options.short_rows);
    if let Some(escape) = options.escape {
        builder = builder.with_escape(escape);
    }
    if let Some(comment) = options.comment {
        builder = builder.with_comment(comment);
    }
    if let Some(nulls) = options.nulls().unwrap() {
        builder = builder.with_null_regex(nulls);
    }
    let reader = builder.build(fs::File::open(path).unwrap()).unwrap();
    concat_batches(&schema(), &reader.collect::<Result<Vec<_>, _>>().unwrap()).unwrap()
}

/// The scan of some text is what Arrow reads, for all sizes of morsels, projections and a predicate.
fn check(text: &[u8], options: &CsvOptions) -> RecordBatch {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, text).unwrap();
    let all = oracle(&path, options);
    let odd: BooleanArray =
        all.column(0).as_primitive::<Int64Type>().iter().map(|value| Some(value.is_some_and(|n| n % 2 != 0))).collect();
    // Morsels of a byte each show nothing new on a long text, slowly.
    for bytes in MORSELS.into_iter().filter(|bytes| text.len() as u64 / bytes < 500) {
        let source = csv(&path, options).with_morsels_of(bytes);
        for projection in [&[0, 1, 2, 3][..], &[3, 1], &[2], &[1, 1]] {
            let found = scan(&source, projection, Vec::new()).unwrap();
            assert_eq!(found, all.project(projection).unwrap(), "{projection:?} in morsels of {bytes}");
        }
        assert_eq!(scan(&source, &[], Vec::new()).unwrap().num_rows(), all.num_rows(), "rows in morsels of {bytes}");
        let found = scan(&source, &[1], vec![Arc::new(Odd([0]))]).unwrap();
        let wanted = filter_record_batch(&all, &odd).unwrap().project(&[1]).unwrap();
        assert_eq!(found, wanted, "odd ones in morsels of {bytes}");
    }
    all
}

#[test]
fn lines_of_any_form() {
    let options = CsvOptions::default();
    let lines = |count: usize| {
        let line = |number: usize| {
            let name = "x".repeat(number % 40);
            format!("{number},{name},{}.5,2024-01-{:02}\n", number * 3, number % 28 + 1)
        };
        format!("n,s,f,d\n{}", (0..count).map(line).collect::<String>())
    };
    assert_eq!(check(lines(12).as_bytes(), &options).num_rows(), 12);
    assert_eq!(check(lines(12).replace('\n', "\r\n").as_bytes(), &options).num_rows(), 12, "CRLF");
    let text = lines(300);
    assert_eq!(check(text.as_bytes(), &options).num_rows(), 300);
    assert_eq!(check(text.trim_end().as_bytes(), &options).num_rows(), 300, "no line end at the end");
    assert_eq!(check(text.replace('\n', "\r\n").as_bytes(), &options).num_rows(), 300, "CRLF");
    let blank = text.replace("\n5,", "\n\n\n5,");
    assert_eq!(check(blank.as_bytes(), &options).num_rows(), 300, "blank lines");
    let marked = format!("\u{feff}{text}");
    assert_eq!(check(marked.as_bytes(), &options).num_rows(), 300, "a byte order mark");
    let headless = CsvOptions { header: false, ..CsvOptions::default() };
    let (_, rest) = text.split_once('\n').unwrap();
    assert_eq!(check(rest.as_bytes(), &headless).num_rows(), 300);
    assert_eq!(check(format!("\u{feff}{rest}").as_bytes(), &headless).num_rows(), 300, "a mark before a number");
}

#[test]
fn more_rows_than_a_chunk() {
    let text: String = (0..20_000).map(|number| format!("{number},name of some length {number},,\n")).collect();
    let options = CsvOptions { header: false, ..CsvOptions::default() };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, text).unwrap();
    for bytes in [100_000, 1 << 20] {
        let source = csv(&path, &options).with_morsels_of(bytes);
        assert_eq!(scan(&source, &[0, 1, 2, 3], Vec::new()).unwrap(), oracle(&path, &options));
    }
    assert_eq!(csv(&path, &options).open(ScanRequest::default()).unwrap().morsels(), 1, "a small file is one morsel");
}

#[test]
fn empty_files_and_headers_alone() {
    let options = CsvOptions::default();
    for text in ["", "n,s,f,d", "n,s,f,d\n", "n,s,f,d\r\n", "\n\n"] {
        assert_eq!(check(text.as_bytes(), &options).num_rows(), 0, "{text:?}");
    }
    let headless = CsvOptions { header: false, ..CsvOptions::default() };
    assert_eq!(check(b"", &headless).num_rows(), 0);
    assert_eq!(check(b"1,a,1,2024-01-01", &headless).num_rows(), 1);
}

#[test]
fn every_option() {
    let options = CsvOptions {
        delimiter: b'|',
        quote: b'\'',
        escape: Some(b'\\'),
        comment: Some(b'#'),
        null_value: Some("NA".into()),
        short_rows: true,
        ..CsvOptions::default()
    };
    let text =
        "n|s|f|d\n# a note, 'quoted\n1|'it\\'s | one'|NA|2024-02-29\n2|NA\n3||1e3|NA\n'4'|\"x\"|-0.0|1970-01-01\n";
    let found = check(text.as_bytes(), &options);
    let texts: Vec<_> = found.column(1).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("it's | one"), None, None, Some("\"x\"")]);
}

#[test]
fn quoted_line_ends() {
    let text =
        "n,s,f,d\n1,\"two\nlines\",1,2024-01-01\n3,\"and\n\nthree, \"\"more\"\"\n\",2,2024-01-02\n5,x,3,2024-01-03\n";
    // Said by the user: one morsel, of any size.
    let said = CsvOptions { newlines_in_values: true, ..CsvOptions::default() };
    assert_eq!(check(text.as_bytes(), &said).num_rows(), 3);
    // Not said: right if the file is one morsel, and never wrong.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, text).unwrap();
    let unsaid = CsvOptions::default();
    assert_eq!(scan(&csv(&path, &unsaid), &[0, 1, 2, 3], Vec::new()).unwrap(), oracle(&path, &unsaid));
    for (bytes, line) in [(10, 2), (16, 2), (46, 4)] {
        let source = csv(&path, &unsaid).with_morsels_of(bytes);
        let error = scan(&source, &[1], Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{bytes}: {error}");
        let wanted =
            format!("a.csv: line {line}: a quoted field holds a line end; set the option `newlines_in_values`");
        assert!(error.message().contains(&wanted), "{bytes}: {error}");
    }
    // Quotes that are balanced, or stand in fields without quotes, are nobody's trouble.
    let inches = "n,s,f,d\n1,5\" pipe,1,2024-01-01\n2,\"a \"\"b\"\"\",2,2024-01-02\n";
    assert_eq!(check(inches.as_bytes(), &unsaid).num_rows(), 2);
}

#[test]
fn errors_name_file_and_line() {
    let mut lines: Vec<String> = (0..400).map(|number| format!("{number},x,1,2024-01-01")).collect();
    lines[10] = String::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.csv");
    for (bad, wanted) in [
        ("1,2,3", "3 fields instead of 4"),
        ("1,2,3,2024-01-01,5", "5 fields instead of 4"),
        ("wrong,x,1,2024-01-01", "cannot read 'wrong' as type 'Int64' for column 0"),
        ("1,x,1,2024-13-01", "cannot read '2024-13-01' as type 'Date32' for column 3"),
    ] {
        lines[321] = bad.into();
        fs::write(&path, format!("n,s,f,d\n{}\n", lines.join("\n"))).unwrap();
        for bytes in [1000, 7, 301, 1 << 20] {
            let source = csv(&path, &CsvOptions::default()).with_morsels_of(bytes);
            let error = scan(&source, &[0, 3], Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let wanted = format!("{}: line 323: {wanted}", path.display());
            assert!(error.message().contains(&wanted), "morsels of {bytes}: {error}");
        }
    }
    let text = [&b"n,s,f,d\n1,x,1,2024-01-01\n2,"[..], &[0xff, 0xfe], b",1,2024-01-01\n"].concat();
    fs::write(&path, text).unwrap();
    let error = scan(&csv(&path, &CsvOptions::default()), &[1], Vec::new()).unwrap_err();
    assert!(error.message().contains("bad.csv: line 3: field 2 is not UTF-8"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    let source = csv(&path, &CsvOptions::default());
    fs::remove_file(&path).unwrap();
    let error = scan(&source, &[1], Vec::new()).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("bad.csv"), "{error}");
}

#[test]
fn objects_of_any_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let mut text = String::new();
    for number in 0..300 {
        text += &match number % 4 {
            0 => {
                format!("{{\"n\":{number},\"s\":\"a \\\"b\\\" \\n{number}\",\"f\":{number}.25,\"d\":\"2024-01-02\"}}\n")
            }
            1 => format!("{{\"s\":null, \"other\":[1,{{\"n\":7}}], \"n\":{number}}}\r\n"),
            2 => "{}\n\n".to_owned(),
            _ => format!("  {{\"d\":\"1970-01-01\",\"f\":1e{}}}\n", number % 9),
        };
    }
    for text in [text.as_str(), text.trim_end(), "", "\n"] {
        fs::write(&path, text).unwrap();
        let reader = JsonReaderBuilder::new(schema());
        let reader = reader.build(std::io::BufReader::new(fs::File::open(&path).unwrap())).unwrap();
        let all = concat_batches(&schema(), &reader.collect::<Result<Vec<_>, _>>().unwrap()).unwrap();
        let source = || TextSource::new(vec![part(&path)], schema(), 4, TextFormat::Json, Compression::None).unwrap();
        for bytes in MORSELS.into_iter().filter(|bytes| text.len() as u64 / bytes < 500) {
            let source = source().with_morsels_of(bytes);
            for projection in [&[0, 1, 2, 3][..], &[3, 1]] {
                assert_eq!(scan(&source, projection, Vec::new()).unwrap(), all.project(projection).unwrap());
            }
            assert_eq!(scan(&source, &[], Vec::new()).unwrap().num_rows(), all.num_rows());
        }
    }
    let lines: Vec<_> = text.lines().collect();
    for (bad, wanted) in [("{\"n\":\"x\"}", "x"), ("{\"n\":", "Truncated"), ("[1]", "")] {
        let mut lines = lines.clone();
        lines[200] = bad;
        fs::write(&path, lines.join("\n")).unwrap();
        for bytes in [1000, 7, 301, 1 << 20] {
            let source = TextSource::new(vec![part(&path)], schema(), 4, TextFormat::Json, Compression::None);
            let error = scan(&source.unwrap().with_morsels_of(bytes), &[0], Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.message().contains("a.json: line 201: "), "{error}");
            assert!(error.message().contains(wanted), "{error}");
        }
    }
}

#[test]
fn files_share_lanes_and_have_constants() {
    let directory = tempfile::tempdir().unwrap();
    let mut fields = schema().fields().to_vec();
    fields.push(Arc::new(Field::new("year", DataType::Int64, true)));
    fields.push(Arc::new(Field::new("port", DataType::Utf8, true)));
    let schema = Arc::new(Schema::new(fields));
    let mut parts = Vec::new();
    for (year, port) in [(Some(2023), Some("Ostia")), (Some(2024), None), (None, Some("a port with a long name"))] {
        let path = directory.path().join(format!("{year:?}.csv"));
        fs::write(&path, "n,s,f,d\n1,x,1,2024-01-01\n2,y,2,2024-01-02\n3,z,3,2024-01-03\n").unwrap();
        let constants: Vec<(usize, ArrayRef)> =
            vec![(4, Arc::new(Int64Array::from(vec![year]))), (5, Arc::new(StringViewArray::from(vec![port])))];
        let whole = FilePart { constants: Constants::new(constants), ..part(&path) };
        // As lanes share it: each line belongs to the lane that has its first byte.
        for range in [0..13, 13..30, 30..31, 31..whole.size] {
            parts.push(FilePart { range: Some(range), ..whole.clone() });
        }
    }
    let options = CsvOptions::default();
    let source = TextSource::new(parts, schema, 4, TextFormat::Csv(options), Compression::None).unwrap();
    let all = scan(&source, &[5, 4, 0], Vec::new()).unwrap();
    let numbers = |column: usize| all.column(column).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    assert_eq!(numbers(2), [1, 2, 3].map(Some).repeat(3));
    let years = [Some(2023), Some(2024), None];
    assert_eq!(numbers(1), years.iter().flat_map(|&year| [year; 3]).collect::<Vec<_>>());
    assert_eq!(all.column(0).as_string::<i32>().value(8), "a port with a long name");
    assert!(all.column(0).is_null(4));
    let odd = scan(&source, &[4], vec![Arc::new(Odd([4]))]).unwrap();
    assert_eq!(odd.num_rows(), 3, "a constant is tested too");
}

#[test]
fn a_whole_file_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "1,x,1,2024-01-01\n".repeat(40_000)).unwrap();
    let source = csv(&path, &CsvOptions { header: false, ..CsvOptions::default() });
    assert_eq!(scan(&source, &[], Vec::new()).unwrap().num_rows(), 40_000);
    let read = source.parts[0].read.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(read, fs::metadata(&path).unwrap().len());
}

/// A file that is compressed is one morsel, and its damage is an error that names it.
#[cfg(feature = "datafusion")]
#[test]
fn compressed_files() {
    use futures::TryStreamExt;
    let directory = tempfile::tempdir().unwrap();
    let text: String = (0..2000).map(|number| format!("{number},x,1,2024-01-01\n")).collect();
    let options = CsvOptions { header: false, ..CsvOptions::default() };
    for compression in [Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd] {
        let path = directory.path().join("a.csv");
        let pack = |text: &str| {
            let plain = futures::stream::iter([Ok(bytes::Bytes::from(text.to_owned()))]);
            let packed = compression.file_type().convert_to_compress_stream(Box::pin(plain)).unwrap();
            let packed: Vec<bytes::Bytes> =
                tokio::runtime::Runtime::new().unwrap().block_on(packed.try_collect()).unwrap();
            packed.concat()
        };
        let source = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let format = TextFormat::Csv(options.clone());
            TextSource::new(vec![part(&path)], schema(), 4, format, compression).unwrap().with_morsels_of(10)
        };
        let packed = pack(&text);
        let found = scan(&source(&packed), &[0], Vec::new()).unwrap();
        assert_eq!(found.column(0).as_primitive::<Int64Type>().values(), &(0..2000).collect::<Vec<i64>>());
        // Two members one behind the other are one file.
        let twice = [packed.as_slice(), packed.as_slice()].concat();
        assert_eq!(scan(&source(&twice), &[], Vec::new()).unwrap().num_rows(), 4000);
        let bad = pack(&text.replace("1500,x,", "1500,x,y,"));
        let error = scan(&source(&bad), &[0], Vec::new()).unwrap_err();
        assert!(error.message().contains("a.csv: line 1501: 5 fields instead of 4"), "{compression:?}: {error}");
        let error = scan(&source(&packed[..packed.len() / 2]), &[0], Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{compression:?}: {error}");
        assert!(error.message().contains("a.csv"), "{compression:?}: {error}");
        let error = scan(&source(text.as_bytes()), &[0], Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{compression:?}: {error}");
    }
}
