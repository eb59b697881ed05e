use arrow::compute::cast;
use arrow::compute::kernels::cmp;

use super::*;

/// The column has one of some values, in carried form.
#[derive(Debug)]
struct OneOf {
    columns: Vec<usize>,
    values: ArrayRef,
}

impl Predicate for OneOf {
    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, _ranges: &[ColumnRange]) -> Verdict {
        Verdict::Some
    }

    fn values(&self) -> Option<ArrayRef> {
        Some(Arc::clone(&self.values))
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let flat = match columns[0].data_type() {
            DataType::Dictionary(_, values) => cast(&columns[0], values).unwrap(),
            _ => Arc::clone(&columns[0]),
        };
        let equal = |place: usize| cmp::eq(&flat, &Scalar::new(self.values.slice(place, 1))).unwrap();
        let answers = (0..self.values.len()).map(equal).collect::<Vec<_>>();
        let passes = |row| answers.iter().any(|answer| answer.is_valid(row) && answer.value(row));
        Ok((0..rows).map(|row| Some(passes(row))).collect())
    }
}

/// Numbers as another type.
fn numbers(values: Vec<Option<i64>>, logical: &DataType) -> ArrayRef {
    let values: ArrayRef = Arc::new(Int64Array::from(values));
    let through = match logical {
        DataType::Utf8 | DataType::Binary => cast(&values, &DataType::Utf8),
        DataType::Date32 => cast(&values, &DataType::Int32),
        _ => Ok(values),
    };
    cast(&through.unwrap(), logical).unwrap()
}

#[test]
fn bloom_filters_prune_row_groups_and_nothing_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    for logical in [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Decimal128(5, 1),
        DataType::Decimal128(15, 2),
        DataType::Utf8,
        DataType::Binary,
        // Equal values of these differ in their bytes, or they are not looked up: right all the same.
        DataType::Float64,
        DataType::Decimal128(30, 1),
    ] {
        let looked_up = !matches!(logical, DataType::Float64 | DataType::Decimal128(30, _));
        // The even numbers below 120, some of them NULL, in six row groups.
        let even = (0..3000).map(|row| (row % 7 != 5).then_some(row % 60 * 2)).collect();
        let table = batch(vec![("a", numbers(even, &logical))]);
        for blooms in [true, false] {
            // Without a dictionary, or the column would be smaller than its filter.
            let properties = WriterProperties::builder()
                .set_dictionary_enabled(false)
                .set_max_row_group_row_count(Some(500))
                .set_bloom_filter_max_ndv(200)
                .set_bloom_filter_enabled(blooms);
            write(&path, &table, properties.build());
            let source = source(&path, &table.schema());
            let one_of = |values: Vec<Option<i64>>| -> Arc<dyn Predicate> {
                let values = to_carried(&numbers(values, &logical)).unwrap();
                Arc::new(OneOf { columns: vec![0], values })
            };
            for values in [vec![Some(0)], vec![Some(118)], vec![Some(7), None, Some(44)]] {
                let predicate = one_of(values);
                let wanted = oracle(&path, &[0], &[Arc::clone(&predicate)]);
                assert!(wanted.num_rows() > 0);
                assert_eq!(scan(&source, &[0], &[predicate]).unwrap().0, wanted, "{logical}");
            }
            let left = |odd: i64| {
                let request = ScanRequest { predicates: vec![one_of(vec![Some(odd)])], ..ScanRequest::default() };
                source.open(request).unwrap().morsels()
            };
            let left = (0..60).map(|number| left(number * 2 + 1)).sum::<usize>();
            match blooms && looked_up {
                true => assert!(left < 60 * 6 / 10, "{logical}: {left} of 360 row groups are left"),
                false => assert_eq!(left, 60 * 6, "{logical}"),
            }
        }
    }
}
