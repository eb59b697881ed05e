use bireme_engine::morsel::CHUNK_ROWS;

use super::*;
use crate::file_part::Constants;

/// Files of two directories, `port=Ostia` and one whose port is not known, which have a column of that name, too.
#[test]
fn columns_that_directories_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let rows = 3 * CHUNK_ROWS + 17;
    let port = column(&DataType::Utf8, rows, 9, Nulls::Some, &mut random);
    let table = batch(vec![("n", column(&DataType::Int64, rows, 100, Nulls::Some, &mut random)), ("port", port)]);
    let schema = Arc::new(Schema::new(vec![
        field("n", &DataType::Int64),
        field("port", &DataType::Utf8),
        field("year", &DataType::Int32),
    ]));
    let mut parts = Vec::new();
    let mut wanted = Vec::new();
    for (name, port, year) in
        [("a", Some("Ostia"), Some(23)), ("b", None, Some(24)), ("c", Some("a port far away"), None)]
    {
        let path = directory.path().join(name);
        write(&path, &table, WriterProperties::builder().set_max_row_group_row_count(Some(9000)).build());
        let constants: Vec<(usize, ArrayRef)> =
            vec![(1, Arc::new(StringViewArray::from(vec![port]))), (2, Arc::new(Int32Array::from(vec![year])))];
        parts.push(FilePart { constants: Constants::new(constants), ..part(&path) });
        let columns: Vec<ArrayRef> = vec![
            Arc::clone(table.column(0)),
            Arc::new(StringArray::from(vec![port; rows])),
            Arc::new(Int32Array::from(vec![year; rows])),
        ];
        wanted.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
    }
    let all = concat_batches(&schema, &wanted).unwrap();
    let source = ParquetSource::new(parts, Arc::clone(&schema), Arc::new(FooterCache::default()));
    assert_eq!(scan(&source, &[2, 0, 1, 1], &[]).unwrap().0, all.project(&[2, 0, 1, 1]).unwrap());
    for seed in 0..20 {
        // Predicates on constants alone, and on them and another column.
        for columns in [vec![1], vec![2], vec![0, 1], vec![1, 2]] {
            let predicates = [
                Arc::new(Hashed { columns, seed, percent: 50 }) as Arc<dyn Predicate>,
                Arc::new(Hashed { columns: vec![0], seed, percent: 60 }),
            ];
            let mut left = all.clone();
            for predicate in &predicates {
                let columns = predicate.columns().iter().map(|&place| to_carried(left.column(place)).unwrap());
                let answers = predicate.test(&columns.collect::<Vec<_>>(), left.num_rows()).unwrap();
                left = filter_record_batch(&left, &answers).unwrap();
            }
            assert_eq!(scan(&source, &[1, 0], &predicates).unwrap().0, left.project(&[1, 0]).unwrap(), "seed {seed}");
        }
    }
}
