#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, StringViewArray};
use arrow::compute::filter;
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

use super::*;

fn chunk(rows: usize) -> Chunk {
    let some = |row: usize| row % 7 != 3;
    let text = |row: usize| some(row).then(|| format!("{}-{row}", "long text ".repeat(row % 3)));
    let dictionary: DictionaryArray<UInt32Type> =
        (0..rows).map(|row| some(row).then_some(["x", "y"][row % 2])).collect();
    let views = arrow::compute::cast(dictionary.values(), &DataType::Utf8View).unwrap();
    let dictionary = DictionaryArray::new(dictionary.keys().clone(), views);
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..rows).map(|row| some(row).then_some(row as i32)).collect::<Int32Array>()),
        Arc::new((0..rows).map(|row| row as i64).collect::<Int64Array>()),
        Arc::new((0..rows).map(|row| some(row).then_some(row as f64)).collect::<Float64Array>()),
        Arc::new(
            (0..rows)
                .map(|row| some(row).then_some(row as i128))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(30, 4)
                .unwrap(),
        ),
        Arc::new((0..rows).map(text).collect::<StringViewArray>()),
        Arc::new(dictionary),
        Arc::new((0..rows).map(|row| some(row).then_some(row % 3 == 0)).collect::<BooleanArray>()),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>((0..rows).map(|row| Some(vec![Some(row as i32)])))),
    ];
    Chunk::new(columns, rows)
}

fn check(rows: usize, mask: &[bool]) {
    let chunk = chunk(rows);
    // An offset, so that bits do not start at a byte.
    let shifted = BooleanBuffer::from_iter([true, false, true].into_iter().chain(mask.iter().copied()));
    let mask = shifted.slice(3, rows);
    let places = indices(&mask);
    assert_eq!(places, (0..rows as u32).filter(|row| mask.value(*row as usize)).collect::<Vec<_>>());
    let compacted = compact(&chunk, &mask).unwrap();
    let taken = take(&chunk, &places).unwrap();
    for (place, column) in chunk.columns.iter().enumerate() {
        let expected = filter(column, &BooleanArray::new(mask.clone(), None)).unwrap();
        assert_eq!(&compacted.columns[place], &expected);
        assert_eq!(&taken.columns[place], &expected);
    }
    let flat = decode(chunk.columns[5].as_dictionary()).unwrap();
    assert_eq!(&flat, &arrow::compute::cast(&chunk.columns[5], &DataType::Utf8View).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_are_those_of_the_arrow_kernels(mask in prop::collection::vec(any::<bool>(), 0..300)) {
        check(mask.len(), &mask);
    }

    #[test]
    fn so_are_few_rows_and_nearly_all(sparse in prop::collection::vec(0..300_usize, 0..8), invert in any::<bool>()) {
        let mask = (0..300).map(|row| sparse.contains(&row) != invert).collect::<Vec<_>>();
        check(300, &mask);
    }
}

#[test]
fn places_past_the_end_are_an_error() {
    assert!(take(&chunk(3), &[0, 3]).is_err());
    assert!(compact(&chunk(3), &BooleanBuffer::new_set(4)).is_err());
    assert_eq!(take(&chunk(3), &[2, 2, 0, 1]).unwrap().columns[1].len(), 4);
    assert_eq!(take(&chunk(0), &[]).unwrap().rows, 0);
}
