//! When two answers are the same.
//!
//! Columns are compared by position, rows in any order. Text, dates and integers must be equal. Other numbers may
//! differ by one part in a million, because sums of floats depend on their order; or by one unit of the last digit that
//! either engine wrote, because engines cut decimals at different places. DataFusion's average of a discount is
//! `0.049985`, that of the others `0.04998529…`: they agree to all six digits that are there.
//!
//! Rows are matched within groups of equal exact columns, so inexact numbers never decide which row meets which:
//!
//! ```text
//!   ours                      theirs                   exact: columns 0 and 2
//!   A │ 1.00001 │ 7           B │ 3       │ 8
//!   B │ 3.0     │ 8           A │ 1.00002 │ 7          group (A, 7): 1.00001 ≈ 1.00002   same
//!                                                      group (B, 8): 3.0 ≈ 3             same
//! ```
//!
//! The cost is a sort of the rows, and within a group of k rows that hardly ever match up at first sight at most k².
//! Order is another matter: [`out_of_order`] checks each answer alone against the query's ORDER BY.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Answer, Cell};
use crate::queries::OrderKey;

/// Two numbers are the same up to this part of the larger one.
const RELATIVE: f64 = 1e-6;
/// However few digits a decimal has, it stands for no more than this: a cent.
const COARSEST_STEP: f64 = 0.01;
/// So many rows of each side a message shows.
const ROWS_SHOWN: usize = 3;

/// What differs, if anything does: the first rows that only one side has.
pub(crate) fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    // Without rows some engines name no columns.
    if ours.rows.is_empty() && theirs.rows.is_empty() {
        return None;
    }
    if ours.columns.len() != theirs.columns.len() {
        return Some(format!("{} columns against {}", ours.columns.len(), theirs.columns.len()));
    }
    if let Some(row) = ours.rows.iter().chain(&theirs.rows).find(|row| row.len() != ours.columns.len()) {
        return Some(format!("a row of {} cells under {} columns", row.len(), ours.columns.len()));
    }
    let (only_ours, only_theirs) = unmatched(ours, theirs);
    if only_ours.is_empty() && only_theirs.is_empty() {
        return None;
    }
    let mut text = format!("{} rows against {}", ours.rows.len(), theirs.rows.len());
    for (mark, answer, rows) in [('<', ours, only_ours), ('>', theirs, only_theirs)] {
        for &row in rows.iter().take(ROWS_SHOWN) {
            let _ = write!(text, "\n  {mark} row {row}: {}", show(&answer.rows[row]));
        }
        if rows.len() > ROWS_SHOWN {
            let _ = write!(text, "\n  {mark} and {} more", rows.len() - ROWS_SHOWN);
        }
    }
    Some(text)
}

/// Numbers of the rows that have no equal on the other side, ascending.
fn unmatched(ours: &Answer, theirs: &Answer) -> (Vec<usize>, Vec<usize>) {
    let exact = (0..ours.columns.len()).filter(|&column| is_exact(ours, column) && is_exact(theirs, column));
    let exact = exact.collect::<Vec<_>>();
    let mut groups: BTreeMap<String, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (row, cells) in ours.rows.iter().enumerate() {
        groups.entry(key(cells, &exact)).or_default().0.push(row);
    }
    for (row, cells) in theirs.rows.iter().enumerate() {
        groups.entry(key(cells, &exact)).or_default().1.push(row);
    }
    let (mut only_ours, mut only_theirs) = (Vec::new(), Vec::new());
    for (left, mut right) in groups.into_values() {
        for row in left {
            // In answers that agree the first one left is it.
            match right.iter().position(|&other| same_row(&ours.rows[row], &theirs.rows[other])) {
                Some(position) => drop(right.remove(position)),
                None => only_ours.push(row),
            }
        }
        only_theirs.extend(right);
    }
    only_ours.sort_unstable();
    only_theirs.sort_unstable();
    (only_ours, only_theirs)
}

/// Whether a column has no number that may be off a little.
fn is_exact(answer: &Answer, column: usize) -> bool {
    answer.rows.iter().all(|row| match &row[column] {
        Cell::Null | Cell::Integer(_) | Cell::Text(_) => true,
        Cell::Float(_) | Cell::Decimal { .. } => false,
    })
}

/// The exact columns as one text; cells are quoted, so no two rows get the same by chance.
fn key(row: &[Cell], exact: &[usize]) -> String {
    exact.iter().fold(String::new(), |mut key, &column| {
        let _ = write!(key, "{}\u{1f}", row[column]);
        key
    })
}

fn same_row(a: &[Cell], b: &[Cell]) -> bool {
    a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same(a: &Cell, b: &Cell) -> bool {
    match (a.number(), b.number()) {
        (Some(a), Some(b)) => a.agrees_with(b),
        (None, None) => a == b,
        _ => false,
    }
}

/// A number and how exact it is.
#[derive(Clone, Copy, Debug)]
struct Number {
    value: f64,
    /// The unit of its last digit: 0 for floats, which have all digits there are.
    step: f64,
    /// It counts something.
    integer: bool,
}

impl Cell {
    fn number(&self) -> Option<Number> {
        match self {
            Cell::Null | Cell::Text(_) => None,
            &Cell::Integer(value) => Some(Number { value: value as f64, step: 0.0, integer: true }),
            &Cell::Float(value) => Some(Number { value, step: 0.0, integer: false }),
            Cell::Decimal { d } => {
                let digits = d.split_once('.').map(|(_, digits)| digits.len());
                let step = digits.map_or(0.0, |digits| 10f64.powi(-(digits.min(300) as i32)).min(COARSEST_STEP));
                Some(Number { value: d.parse().ok()?, step, integer: digits.is_none() })
            }
        }
    }
}

impl Number {
    fn agrees_with(self, other: Self) -> bool {
        if self.value == other.value || (self.value.is_nan() && other.value.is_nan()) {
            return true;
        }
        if self.integer && other.integer {
            return false;
        }
        let apart = (self.value - other.value).abs();
        // A unit in the last place, and what rounding of binary fractions adds to it.
        let step = self.step.max(other.step) * (1.0 + 1e-9);
        apart <= step.max(RELATIVE * self.value.abs().max(other.value.abs()))
    }
}

/// The first pair of neighbours that the query's ORDER BY wants the other way round. Ties, and numbers that are the same
/// as far as their digits go, are in order either way.
pub(crate) fn out_of_order(answer: &Answer, order: &[OrderKey<'_>]) -> Option<String> {
    if answer.rows.len() < 2 {
        return None;
    }
    let mut keys = Vec::with_capacity(order.len());
    for key in order {
        let Some(column) = answer.columns.iter().position(|name| name.eq_ignore_ascii_case(key.column)) else {
            return Some(format!("no column is called {}, by which rows are ordered", key.column));
        };
        keys.push((column, key.descending));
    }
    let wrong = answer.rows.windows(2).position(|pair| compare(&pair[0], &pair[1], &keys) == Ordering::Greater)?;
    let (first, second) = (show(&answer.rows[wrong]), show(&answer.rows[wrong + 1]));
    Some(format!("rows are not in the order the query asks for\n  row {wrong}: {first}\n  row {}: {second}", wrong + 1))
}

fn compare(a: &[Cell], b: &[Cell], keys: &[(usize, bool)]) -> Ordering {
    for &(column, descending) in keys {
        let (a, b) = (&a[column], &b[column]);
        let ordering = match (a, b) {
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            _ if a == b => Ordering::Equal,
            // Too close to tell, and so is whatever a later key says.
            _ if same(a, b) => return Ordering::Equal,
            _ => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.value.total_cmp(&b.value),
                _ => return Ordering::Equal, // engines put NULLs where they like
            },
        };
        if ordering != Ordering::Equal {
            return if descending { ordering.reverse() } else { ordering };
        }
    }
    Ordering::Equal
}

fn show(row: &[Cell]) -> String {
    row.iter().map(Cell::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    /// Rows as JSON, under columns `a`, `b`, ….
    fn answer(rows: &str) -> Answer {
        let rows: Vec<Vec<Cell>> = serde_json::from_str(rows).unwrap();
        let columns = (b'a'..).map(|letter| char::from(letter).to_string()).take(rows.first().map_or(0, Vec::len));
        Answer { columns: columns.collect(), rows }
    }

    fn differ(ours: &str, theirs: &str) -> Option<String> {
        let (ours, theirs) = (answer(ours), answer(theirs));
        let (forth, back) = (difference(&ours, &theirs), difference(&theirs, &ours));
        assert_eq!(forth.is_some(), back.is_some(), "{forth:?} {back:?}");
        forth
    }

    #[test]
    fn the_same() {
        for (ours, theirs) in [
            ("[]", "[]"),
            (r#"[["x", 1, null]]"#, r#"[["x", 1, null]]"#),
            ("[[1], [2], [2]]", "[[2], [1], [2]]"),
            // Relative: a part in a million of a large sum, whatever the types.
            ("[[1000000.0]]", "[[1000000.9]]"),
            (r#"[[{"d": "56586554400.73"}]]"#, "[[56586554400.7299]]"),
            ("[[0.1]]", "[[0.10000001]]"),
            // The last digit of a decimal, cut or rounded.
            (r#"[[{"d": "0.049985"}]]"#, "[[0.0499859]]"),
            (r#"[[{"d": "0.050"}]]"#, r#"[[{"d": "0.04999"}]]"#),
            (r#"[[{"d": "1.50"}]]"#, r#"[[{"d": "1.51"}]]"#),
            // Integers as decimals.
            (r#"[[{"d": "7"}]]"#, "[[7]]"),
            (r#"[[{"d": "7.00"}]]"#, "[[7]]"),
            (r#"[[{"d": "NaN"}]]"#, r#"[[{"d": "nan"}]]"#),
            // Noise neither decides the order nor which row meets which.
            (r#"[["b", 0.1], ["a", 0.30000001]]"#, r#"[["a", 0.3], ["b", 0.10000001]]"#),
            ("[[1.0, 5.0], [1.0000001, 4.0]]", "[[1.0000001, 5.0], [1.0, 4.0]]"),
        ] {
            assert_eq!(differ(ours, theirs), None, "{ours} {theirs}");
        }
    }

    #[test]
    fn not_the_same() {
        for (ours, theirs) in [
            ("[[1]]", "[]"),
            ("[[1], [1]]", "[[1], [2]]"),
            ("[[1], [1], [2]]", "[[1], [2], [2]]"),
            ("[[1]]", "[[1, 2]]"),
            (r#"[["x"]]"#, r#"[["x "]]"#),
            (r#"[["1"]]"#, "[[1]]"),
            ("[[null]]", "[[0]]"),
            ("[[null]]", r#"[["NULL"]]"#),
            // Counts are exact, however large.
            ("[[1478493]]", "[[1478494]]"),
            (r#"[[{"d": "1478493"}]]"#, "[[1478494]]"),
            ("[[1000000.0]]", "[[1000002.0]]"),
            (r#"[[{"d": "0.049985"}]]"#, "[[0.049983]]"),
            (r#"[[{"d": "1.50"}]]"#, r#"[[{"d": "1.52"}]]"#),
            (r#"[[{"d": "1.5"}]]"#, r#"[[{"d": "1.6"}]]"#),
            (r#"[["a", 0.1], ["b", 0.3]]"#, r#"[["a", 0.3], ["b", 0.1]]"#),
        ] {
            assert!(differ(ours, theirs).is_some(), "{ours} {theirs}");
        }
    }

    #[test]
    fn the_message_has_the_rows() {
        let text = differ(r#"[["a", 1], ["b", 2]]"#, r#"[["a", 1], ["b", 3]]"#).unwrap();
        assert_eq!(text, "2 rows against 2\n  < row 1: \"b\" | 2\n  > row 1: \"b\" | 3");
        let text = differ("[[1], [2], [3], [4], [5]]", "[]");
        assert!(text.is_some(), "columns differ in number");
        let text = differ("[[1], [2], [3], [4], [5]]", "[[5]]").unwrap();
        assert!(text.ends_with("row 2: 3\n  < and 1 more"), "{text}");
    }

    #[test]
    fn orders() {
        let order = [OrderKey { column: "A", descending: true }, OrderKey { column: "b", descending: false }];
        let check = |rows: &str, good: bool| {
            let wrong = out_of_order(&answer(rows), &order);
            assert_eq!(wrong.is_none(), good, "{rows}: {wrong:?}");
        };
        check(r#"[[3, "x"], [2, "a"], [2, "b"], [2, "b"]]"#, true);
        check(r#"[[2, "x"], [3, "a"]]"#, false);
        check(r#"[[2, "b"], [2, "a"]]"#, false);
        // Too close to tell.
        check(r#"[[2.0000001, "b"], [2.0, "a"]]"#, true);
        check(r#"[[2.0, "b"], [2.0000001, "a"]]"#, true);
        check(r#"[[null, "b"], [1, "a"], [null, "a"]]"#, true);
        assert!(out_of_order(&answer("[[1], [2]]"), &order).unwrap().contains("no column is called b"));
    }
}
