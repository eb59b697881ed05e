//! Scans against the `parquet` crate's own reader, which is the oracle.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

mod blooms;
mod constants;
mod damaged;
mod predicates;
mod round_trips;

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bireme_engine::error::Result;
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{ColumnRange, Predicate, ScanRequest, Source, Verdict, to_carried, to_logical};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use super::{FooterCache, ParquetSource};
use crate::file_part::FilePart;

/// Random numbers that are the same everywhere (Steele et al., `SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nulls {
    None,
    Some,
    All,
}

/// Every type that is read, by name.
pub(super) fn types() -> Vec<(&'static str, DataType)> {
    use DataType as D;
    vec![
        ("bool", D::Boolean),
        ("i8", D::Int8),
        ("u8", D::UInt8),
        ("i16", D::Int16),
        ("u16", D::UInt16),
        ("i32", D::Int32),
        ("u32", D::UInt32),
        ("i64", D::Int64),
        ("u64", D::UInt64),
        ("f16", D::Float16),
        ("f32", D::Float32),
        ("f64", D::Float64),
        ("date32", D::Date32),
        ("date64", D::Date64),
        ("time32", D::Time32(TimeUnit::Second)),
        ("time64", D::Time64(TimeUnit::Nanosecond)),
        ("ts_s", D::Timestamp(TimeUnit::Second, None)),
        ("ts_us", D::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("dec9", D::Decimal128(9, 2)),
        ("dec15", D::Decimal128(15, 2)),
        ("dec30", D::Decimal128(30, 4)),
        ("dec_small", D::Decimal64(12, 1)),
        ("dec256", D::Decimal256(60, 3)),
        ("utf8", D::Utf8),
        ("large", D::LargeUtf8),
        ("view", D::Utf8View),
        ("binary", D::Binary),
        ("fixed", D::FixedSizeBinary(5)),
        ("dictionary", D::Dictionary(Box::new(D::Int32), Box::new(D::Utf8))),
    ]
}

/// A column of random values, `distinct` of them at most; decimals and floats have their odd ones among them.
pub(super) fn column(logical: &DataType, rows: usize, distinct: u64, nulls: Nulls, random: &mut Random) -> ArrayRef {
    let values = (0..rows).map(|_| match nulls {
        Nulls::All => None,
        Nulls::Some if random.below(4) == 0 => None,
        _ => Some(mix(random.below(distinct)) as i64),
    });
    let values = values.collect::<Vec<_>>();
    let text = |value: i64| {
        let len = (value as u64 % 23) as usize;
        let letters =
            if value % 5 == 0 { "äöü😀straße und mehr davon" } else { "the quick brown fox jumps over" };
        letters.chars().cycle().skip(value as u64 as usize % 7).take(len).collect::<String>() + &(value % 9).to_string()
    };
    use DataType as D;
    match logical {
        D::Boolean => Arc::new(values.iter().map(|value| value.map(|value| value % 3 == 0)).collect::<BooleanArray>()),
        D::Utf8 => Arc::new(values.iter().map(|value| value.map(text)).collect::<StringArray>()),
        D::Binary => {
            Arc::new(BinaryArray::from_iter(values.iter().map(|value| value.map(|value| value.to_be_bytes()))))
        }
        D::FixedSizeBinary(width) => {
            let bytes = values.iter().map(|value| value.map(|value| value.to_be_bytes()[..*width as usize].to_vec()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, *width).unwrap())
        }
        D::LargeUtf8 | D::Utf8View | D::Dictionary(..) => {
            let strings: ArrayRef = Arc::new(values.iter().map(|value| value.map(text)).collect::<StringArray>());
            arrow::compute::cast(&strings, logical).unwrap()
        }
        D::Decimal128(digits, scale) => {
            let most = 10_i128.pow(u32::from(*digits));
            let wide = |value: i64| match value.rem_euclid(13) {
                0 => most - 1,
                1 => 1 - most,
                _ => i128::from(value) * i128::from(value >> 7) * 31 % most,
            };
            let array = values.iter().map(|value| value.map(wide)).collect::<Decimal128Array>();
            Arc::new(array.with_precision_and_scale(*digits, *scale).unwrap())
        }
        D::Decimal64(digits, scale) => {
            let most = 10_i64.pow(u32::from(*digits));
            let array = values.iter().map(|value| value.map(|value| value % most)).collect::<Decimal64Array>();
            Arc::new(array.with_precision_and_scale(*digits, *scale).unwrap())
        }
        D::Decimal256(digits, scale) => {
            let wide =
                values.iter().map(|value| value.map(|value| arrow::datatypes::i256::from_i128(i128::from(value))));
            Arc::new(wide.collect::<Decimal256Array>().with_precision_and_scale(*digits, *scale).unwrap())
        }
        D::Float16 | D::Float32 | D::Float64 => {
            let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];
            let float = |value: i64| match value.rem_euclid(14) {
                at @ 0..7 => odd[at as usize],
                _ => (value >> 40) as f64 / 64.0,
            };
            let floats: ArrayRef = Arc::new(values.iter().map(|value| value.map(float)).collect::<Float64Array>());
            arrow::compute::cast(&floats, logical).unwrap()
        }
        D::Time32(_) | D::Time64(_) => {
            let seconds: ArrayRef = Arc::new(
                values.iter().map(|value| value.map(|value| value.rem_euclid(86_400) as i32)).collect::<Int32Array>(),
            );
            arrow::compute::cast(&arrow::compute::cast(&seconds, &D::Time32(TimeUnit::Second)).unwrap(), logical)
                .unwrap()
        }
        D::Date64 => {
            let days = values.iter().map(|value| value.map(|value| value % 100_000 * 86_400_000));
            Arc::new(days.collect::<Date64Array>())
        }
        _ => {
            let bits = match logical {
                D::Int8 => 7,
                D::UInt8 => 8,
                D::Int16 => 15,
                D::UInt16 => 16,
                D::Int32 | D::Date32 => 31,
                D::UInt32 => 32,
                _ => 61,
            };
            let small = values.iter().map(|value| {
                value.map(|value| {
                    let value = value as u64 >> (64 - bits);
                    let signed = logical.is_signed_integer() && value.is_multiple_of(2);
                    if signed { -(value as i64) } else { value as i64 }
                })
            });
            let integers: ArrayRef = Arc::new(small.collect::<Int64Array>());
            let integers =
                if *logical == D::Date32 { arrow::compute::cast(&integers, &D::Int32).unwrap() } else { integers };
            arrow::compute::cast(&integers, logical).unwrap()
        }
    }
}

pub(super) fn write(path: &Path, batch: &RecordBatch, properties: WriterProperties) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(super) fn part(path: &Path) -> FilePart {
    FilePart::whole(path.to_owned(), std::fs::metadata(path).unwrap().len())
}

pub(super) fn source(path: &Path, schema: &SchemaRef) -> ParquetSource {
    ParquetSource::new(vec![part(path)], Arc::clone(schema), Arc::new(FooterCache::default()))
}

/// What a scan yields, in logical types, and what it counted.
pub(super) fn scan(
    source: &ParquetSource,
    projection: &[usize],
    predicates: &[Arc<dyn Predicate>],
) -> Result<(RecordBatch, Arc<StageMetrics>)> {
    let metrics = Arc::new(StageMetrics::default());
    let request = ScanRequest {
        projection: projection.to_vec(),
        predicates: predicates.to_vec(),
        metrics: Some(Arc::clone(&metrics)),
    };
    let schema = Arc::new(source.schema().project(projection).unwrap());
    let scan = source.open(request)?;
    let mut batches = Vec::new();
    for morsel in 0..scan.morsels() {
        let mut reader = scan.read(morsel)?;
        while let Some(chunk) = reader.next()? {
            assert!(chunk.rows > 0 && chunk.rows <= bireme_engine::morsel::CHUNK_ROWS);
            let columns = chunk.columns.iter().zip(schema.fields()).map(|(column, field)| {
                column.to_data().validate_full().unwrap();
                to_logical(column, field.data_type()).unwrap()
            });
            let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows));
            let columns = columns.collect();
            batches.push(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options).unwrap());
        }
        assert!(reader.next()?.is_none());
    }
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    if schema.fields().is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok((RecordBatch::try_new_with_options(schema, vec![], &options).unwrap(), metrics));
    }
    Ok((concat_batches(&schema, &batches).unwrap(), metrics))
}

/// The same from the `parquet` crate.
pub(super) fn oracle(path: &Path, projection: &[usize], predicates: &[Arc<dyn Predicate>]) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches = builder.build().unwrap().map(|batch| batch.unwrap()).collect::<Vec<_>>();
    let mut all = concat_batches(&schema, &batches).unwrap();
    for predicate in predicates {
        let columns = predicate.columns().iter().map(|&place| to_carried(all.column(place)).unwrap());
        let answers = predicate.test(&columns.collect::<Vec<_>>(), all.num_rows()).unwrap();
        all = filter_record_batch(&all, &answers).unwrap();
    }
    all.project(projection).unwrap()
}

/// Lets one value in some pass, by a hash of its text.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) columns: Vec<usize>,
    pub(super) seed: u64,
    pub(super) percent: u64,
}

impl Predicate for Hashed {
    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, _ranges: &[ColumnRange]) -> Verdict {
        Verdict::Some
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let texts =
            columns.iter().map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap());
        let texts = texts.collect::<Vec<_>>();
        let passes = (0..rows).map(|row| {
            let mut hash = self.seed;
            for text in &texts {
                text.value(row).to_string().bytes().for_each(|byte| hash = mix(hash ^ u64::from(byte)));
            }
            Some(hash % 100 < self.percent)
        });
        Ok(passes.collect())
    }
}

pub(super) fn field(name: &str, logical: &DataType) -> Field {
    Field::new(name, logical.clone(), true)
}

pub(super) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, array)| field(name, array.data_type())).collect::<Vec<_>>();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}
