use arrow::compute::kernels::cmp;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;

/// `low <= column <= high`, with bounds in carried form.
#[derive(Debug)]
struct Between {
    columns: Vec<usize>,
    low: ArrayRef,
    high: ArrayRef,
}

fn holds(answers: std::result::Result<BooleanArray, arrow::error::ArrowError>) -> bool {
    let answers = answers.unwrap();
    answers.is_valid(0) && answers.value(0)
}

impl Predicate for Between {
    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, ranges: &[ColumnRange]) -> Verdict {
        let range = &ranges[0];
        let above = range.min.as_ref().is_some_and(|min| holds(cmp::gt(min, &Scalar::new(&self.high))));
        let below = range.max.as_ref().is_some_and(|max| holds(cmp::lt(max, &Scalar::new(&self.low))));
        if above || below || range.nulls == Some(range.rows) {
            return Verdict::None;
        }
        let from = range.min.as_ref().is_some_and(|min| holds(cmp::gt_eq(min, &Scalar::new(&self.low))));
        let to = range.max.as_ref().is_some_and(|max| holds(cmp::lt_eq(max, &Scalar::new(&self.high))));
        if from && to && range.nulls == Some(0) { Verdict::All } else { Verdict::Some }
    }

    fn test(&self, columns: &[ArrayRef], _rows: usize) -> Result<BooleanArray> {
        let flat = match columns[0].data_type() {
            DataType::Dictionary(_, values) => arrow::compute::cast(&columns[0], values).unwrap(),
            _ => Arc::clone(&columns[0]),
        };
        let from = cmp::gt_eq(&flat, &Scalar::new(&self.low)).unwrap();
        let to = cmp::lt_eq(&flat, &Scalar::new(&self.high)).unwrap();
        let both = arrow::compute::and(&from, &to).unwrap();
        Ok((0..both.len()).map(|row| Some(both.is_valid(row) && both.value(row))).collect())
    }
}

/// A table in the likeness of `lineitem`, clustered by `key`.
fn items(rows: usize, seed: u64) -> RecordBatch {
    let mut random = Random(seed);
    let key: ArrayRef = Arc::new((0..rows).map(|row| row as i64 / 4).collect::<Int64Array>());
    let decimal = |random: &mut Random, below: u64| -> ArrayRef {
        let values = (0..rows).map(|_| i128::from(random.below(below))).collect::<Vec<_>>();
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(15, 2).unwrap())
    };
    let day = |random: &mut Random| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values((0..rows).map(|row| (row / 100) as i32 + random.below(120) as i32)))
    };
    batch(vec![
        ("key", key),
        ("quantity", decimal(&mut random, 50)),
        ("price", decimal(&mut random, 10_000_000)),
        ("discount", decimal(&mut random, 11)),
        ("ship", day(&mut random)),
        ("receipt", day(&mut random)),
        ("mode", column(&DataType::Utf8, rows, 7, Nulls::Some, &mut random)),
        ("comment", column(&DataType::Utf8, rows, 1 << 30, Nulls::None, &mut random)),
        ("flag", column(&DataType::Boolean, rows, 100, Nulls::Some, &mut random)),
        ("weight", column(&DataType::Float64, rows, 1 << 30, Nulls::Some, &mut random)),
    ])
}

fn bounds(array: &ArrayRef, random: &mut Random) -> (ArrayRef, ArrayRef) {
    let carried = to_carried(array).unwrap();
    let pick = |random: &mut Random| carried.slice(random.below(carried.len() as u64) as usize, 1);
    (pick(random), pick(random))
}

#[test]
fn random_predicates_keep_the_right_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut random = Random(77);
    for round in 0..6 {
        let rows = 40_000;
        let batch = items(rows, round);
        let properties = WriterProperties::builder()
            .set_compression(if round % 2 == 0 { Compression::SNAPPY } else { Compression::UNCOMPRESSED })
            .set_max_row_group_row_count(Some(if round < 3 { 9_000 } else { 100_000 }))
            .set_data_page_row_count_limit(if round < 2 { 3_000 } else { 20_000 })
            .set_dictionary_page_size_limit(if round == 2 { 2_000 } else { 1 << 20 })
            .set_statistics_truncate_length(Some(3))
            .build();
        write(&path, &batch, properties);
        let source = source(&path, &batch.schema());
        for _ in 0..25 {
            let predicates = (0..=random.below(4)).map(|_| -> Arc<dyn Predicate> {
                let first = random.below(10) as usize;
                if random.below(3) == 0 {
                    let second = (first + 1 + random.below(9) as usize) % 10;
                    let columns = if random.below(2) == 0 { vec![first, second] } else { vec![first] };
                    return Arc::new(Hashed { columns, seed: random.next(), percent: random.below(101) });
                }
                let first = if first == 8 { 0 } else { first };
                let (low, high) = bounds(batch.column(first), &mut random);
                Arc::new(Between { columns: vec![first], low, high })
            });
            let predicates = predicates.collect::<Vec<_>>();
            let projection = (0..random.below(5)).map(|_| random.below(10) as usize).collect::<Vec<_>>();
            let (read, _) = scan(&source, &projection, &predicates).unwrap();
            assert_eq!(read, oracle(&path, &projection, &predicates), "{projection:?} {predicates:?}");
        }
    }
}

fn between(columns: usize, low: ArrayRef, high: ArrayRef) -> Arc<dyn Predicate> {
    Arc::new(Between { columns: vec![columns], low, high })
}

fn int(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

#[test]
fn statistics_prune_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let batch = items(40_000, 1);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4_000));
    let properties = properties.set_statistics_enabled(EnabledStatistics::Chunk).build();
    write(&path, &batch, properties);
    let predicate = between(0, int(1_500), int(1_600));
    let (read, metrics) = scan(&source(&path, &batch.schema()), &[0, 7], &[Arc::clone(&predicate)]).unwrap();
    assert_eq!(read, oracle(&path, &[0, 7], &[predicate]));
    assert_eq!(read.num_rows(), 404);
    assert_eq!(metrics.extra("row_groups"), Some(10));
    assert_eq!(metrics.extra("row_groups_pruned"), Some(9));
    assert_eq!(metrics.extra("rows_pruned"), Some(36_000));
}

/// Writers leave NaN out of the bounds, and it lies above infinity.
#[test]
fn nan_is_not_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let values = (0..4_000).map(|row| if row % 1_000 == 7 { f64::NAN } else { f64::from(row) });
    let batch = batch(vec![("f", Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)]);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1_000));
    let properties = properties.set_data_page_row_count_limit(100).set_write_batch_size(50);
    write(&path, &batch, properties.set_dictionary_enabled(false).build());
    let float = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let predicate = between(0, float(f64::INFINITY), float(f64::NAN));
    let (read, _) = scan(&source(&path, &batch.schema()), &[0], &[Arc::clone(&predicate)]).unwrap();
    assert_eq!(read.num_rows(), 4);
    assert_eq!(read, oracle(&path, &[0], &[predicate]));
}

#[test]
fn page_indexes_prune_pages_and_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let batch = items(40_000, 1);
    let properties = WriterProperties::builder().set_data_page_row_count_limit(2_000).set_write_batch_size(500);
    let properties = properties.set_dictionary_enabled(false);
    write(&path, &batch, properties.build());
    let source = source(&path, &batch.schema());
    let all = scan(&source, &[0, 7], &[]).unwrap().1.extra("bytes_scanned").unwrap();
    let predicate = between(0, int(5_500), int(5_600));
    let (read, metrics) = scan(&source, &[0, 7], &[Arc::clone(&predicate)]).unwrap();
    assert_eq!(read, oracle(&path, &[0, 7], &[predicate]));
    assert!(metrics.extra("rows_pruned").unwrap() >= 34_000, "{:?}", metrics.extra("rows_pruned"));
    assert!(metrics.extra("bytes_scanned").unwrap() < all / 2);
}

#[test]
fn dictionaries_prune_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let batch = items(20_000, 1);
    write(&path, &batch, WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build());
    // Quantities are 0, 1, 2 …, of hundredths: nothing lies between -5 and -1.
    let predicate = between(1, int(-5), int(-1));
    let source = source(&path, &batch.schema());
    let (read, metrics) = scan(&source, &[7], &[predicate]).unwrap();
    assert_eq!(read.num_rows(), 0);
    assert_eq!(metrics.extra("row_groups_pruned"), Some(1));
    assert!(metrics.extra("bytes_scanned").unwrap() < 30_000);
}

#[test]
fn large_row_groups_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let rows = 700_000;
    let key: ArrayRef = Arc::new((0..rows).map(|row| row / 3).collect::<Int64Array>());
    let batch = batch(vec![("key", key)]);
    write(&path, &batch, WriterProperties::builder().set_max_row_group_row_count(Some(1 << 20)).build());
    let source = source(&path, &batch.schema());
    let request = ScanRequest { projection: vec![0], ..ScanRequest::default() };
    assert_eq!(source.open(request).unwrap().morsels(), 3);
    assert_eq!(scan(&source, &[0], &[]).unwrap().0, batch);
}

#[test]
fn chunks_are_not_tiny() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let batch = items(200_000, 1);
    write(&path, &batch, WriterProperties::builder().build());
    let predicate: Arc<dyn Predicate> = Arc::new(Hashed { columns: vec![0], seed: 1, percent: 4 });
    let request = ScanRequest { projection: vec![2, 6], predicates: vec![predicate], ..ScanRequest::default() };
    let opened = source(&path, &batch.schema()).open(request).unwrap();
    let mut reader = opened.read(0).unwrap();
    let mut sizes = Vec::new();
    while let Some(chunk) = reader.next().unwrap() {
        sizes.push(chunk.rows);
    }
    sizes.pop();
    assert!(sizes.len() >= 2 && sizes.iter().all(|&rows| rows >= 2048), "{sizes:?}");
}
