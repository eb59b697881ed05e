//! Compares results: floats with a tolerance, rows in order only where the query orders them.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Relative difference up to which two floats are equal: sums of 600,000 rows in another order differ less.
pub const TOLERANCE: f64 = 1e-9;

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Anything but a float, as text.
    Text(String),
    /// A float.
    Float(f64),
}

/// All rows as cells, in their order.
pub fn cells(batches: &[RecordBatch]) -> Vec<Vec<Cell>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options).expect("every type can be shown");
            let float = matches!(column.data_type(), DataType::Float32 | DataType::Float64);
            let cell = |row: usize| {
                let text = formatter.value(row).to_string();
                match text.parse() {
                    Ok(value) if float && column.is_valid(row) => Cell::Float(value),
                    _ => Cell::Text(text),
                }
            };
            (0..batch.num_rows()).map(cell).collect::<Vec<_>>()
        });
        let columns = columns.collect::<Vec<_>>();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    rows
}

/// What differs, if anything does. With `ordered` false both sides are sorted first.
pub fn difference(ours: &[RecordBatch], theirs: &[RecordBatch], ordered: bool) -> Option<String> {
    let (mut ours, mut theirs) = (cells(ours), cells(theirs));
    if ours.len() != theirs.len() {
        return Some(format!("{} rows, expected {}", ours.len(), theirs.len()));
    }
    if !ordered {
        // Floats are cut to fewer digits for sorting, so that last-bit noise does not change the order.
        let key = |row: &Vec<Cell>| {
            row.iter()
                .map(|cell| match cell {
                    Cell::Text(text) => text.clone(),
                    Cell::Float(value) => format!("{value:.6e}"),
                })
                .collect::<Vec<_>>()
        };
        ours.sort_by_key(key);
        theirs.sort_by_key(key);
    }
    let different =
        ours.iter().zip(&theirs).position(|(a, b)| a.len() != b.len() || !a.iter().zip(b).all(|(a, b)| same(a, b)));
    different.map(|row| format!("row {row}: {:?}, expected {:?}", ours[row], theirs[row]))
}

fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    fn rows(ints: Vec<i64>, floats: Vec<f64>) -> Vec<RecordBatch> {
        let ints = Arc::new(Int64Array::from(ints)) as _;
        let floats = Arc::new(Float64Array::from(floats)) as _;
        vec![RecordBatch::try_from_iter([("i", ints), ("f", floats)]).unwrap()]
    }

    #[test]
    fn sees_what_differs() {
        let expected = rows(vec![1, 2], vec![0.5, 1e6]);
        assert_eq!(difference(&rows(vec![1, 2], vec![0.5, 1e6 + 1e-4]), &expected, true), None);
        assert!(difference(&rows(vec![1, 2], vec![0.5, 1e6 + 1.0]), &expected, true).is_some());
        assert!(difference(&rows(vec![2, 1], vec![1e6, 0.5]), &expected, true).is_some());
        assert_eq!(difference(&rows(vec![2, 1], vec![1e6, 0.5]), &expected, false), None);
        assert!(difference(&rows(vec![1], vec![0.5]), &expected, false).is_some());
    }
}
