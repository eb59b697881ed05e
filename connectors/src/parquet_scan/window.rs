//! The reader of a morsel: windows of rows, predicates, and what is left of them as chunks.
//!
//! ```text
//!  window    8192 rows
//!  test 1    ████▌                  codes of a dictionary: bits for all rows
//!  test 2    █▌                     on bits while many are left, on a list of rows once they are few
//!  add       the rows that are left, of every projected column
//!  emit      when a quarter of a chunk has come together
//! ```
//!
//! Columns that a test had to decode are kept for the window and filtered along, so that none is decoded twice.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader};

use super::column::Column;
use super::damage::Decoded;
use super::fallback::Fallback;
use super::pass_table::PassTable;
use super::scan::{Morsel, Shared};
use super::selection::{Selection, bits_of, mask_of};
use super::validity::Bits;
use crate::file_part::repeated;

/// Chunks have at least so many rows, unless the morsel ends.
const FEW_ROWS: usize = CHUNK_ROWS / 4;

/// While one of so many rows is left, codes are tested for all rows of the window.
const DENSE_CODES: usize = 4;
/// The same for tests that need decoded columns.
const DENSE_VALUES: usize = 2;

/// Dictionaries up to this size are always tested value by value; larger ones if rows are twice as many.
const SMALL_DICTIONARY: usize = 1024;

/// A column of a morsel, however it is read.
pub(super) enum AnyColumn {
    Native(Box<Column>),
    Crate(Box<Fallback>),
    /// The same value (an array of one) for all rows, of which so many are wanted: the file lacks the column, and it is
    /// NULL, or it stands in the directory's name.
    Constant(ArrayRef, usize),
}

impl AnyColumn {
    fn add_range(&mut self, rows: Range<usize>) -> Decoded<()> {
        match self {
            AnyColumn::Native(column) => column.add_range(rows),
            AnyColumn::Crate(column) => column.add_range(rows),
            AnyColumn::Constant(_, count) => {
                *count += rows.len();
                Ok(())
            }
        }
    }

    fn add_rows(&mut self, rows: &[u32]) -> Decoded<()> {
        match self {
            AnyColumn::Native(column) => column.add_rows(rows),
            AnyColumn::Crate(column) => column.add_rows(rows),
            AnyColumn::Constant(_, count) => {
                *count += rows.len();
                Ok(())
            }
        }
    }

    fn add_array(&mut self, array: ArrayRef) -> Decoded<()> {
        match self {
            AnyColumn::Native(column) => column.add_array(array),
            AnyColumn::Crate(column) => {
                column.add_array(array);
                Ok(())
            }
            AnyColumn::Constant(_, count) => {
                *count += array.len();
                Ok(())
            }
        }
    }

    fn finish(&mut self, carried: &DataType) -> Decoded<ArrayRef> {
        match self {
            AnyColumn::Native(column) => column.finish(carried),
            AnyColumn::Crate(column) => column.finish(carried),
            AnyColumn::Constant(value, count) => Ok(repeated(value, std::mem::take(count))?),
        }
    }
}

/// A test that this morsel needs.
struct Test {
    /// Its place among the scan's tests.
    learned: usize,
    table: Option<PassTable>,
}

/// A column of the current window that a test decoded.
enum Decode {
    /// All rows of the window.
    Window(ArrayRef),
    /// The rows of the selection's list.
    Rows(ArrayRef),
}

#[derive(Default)]
struct Slot {
    column: Option<AnyColumn>,
    decoded: Option<Decode>,
    /// Rows that were decoded in earlier windows and wait for the chunk.
    waiting: Vec<ArrayRef>,
}

/// Reads one morsel.
pub(super) struct WindowReader {
    shared: Arc<Shared>,
    morsel: Morsel,
    slots: Vec<Slot>,
    tests: Option<Vec<Test>>,
    /// The range that is being read, and the next row of it.
    range: usize,
    row: usize,
    pending: usize,
    bytes: u64,
    skipped: bool,
}

impl WindowReader {
    pub(super) fn new(shared: Arc<Shared>, morsel: Morsel) -> Self {
        let slots = shared.columns.iter().map(|_| Slot::default()).collect();
        let row = morsel.ranges.first().map_or(0, |range| range.start);
        Self { shared, morsel, slots, tests: None, range: 0, row, pending: 0, bytes: 0, skipped: false }
    }

    fn column(&mut self, place: usize) -> Result<&mut AnyColumn> {
        let slot = &mut self.slots[place].column;
        if slot.is_none() {
            let (column, bytes) = self.shared.column(&self.morsel, place)?;
            self.bytes += bytes;
            *slot = Some(column);
        }
        slot.as_mut().ok_or_else(|| Error::internal("a column is gone"))
    }

    /// Names the column in what went wrong.
    fn named<T>(&self, place: usize, decoded: Decoded<T>) -> Result<T> {
        decoded.map_err(|damage| {
            let file = &self.shared.files[self.morsel.file];
            damage.of(&format!("column {}", self.shared.columns[place].name), &file.path)
        })
    }

    /// Decides which tests to make. `None` if no row can pass.
    fn prepare(&mut self) -> Result<Option<Vec<Test>>> {
        let shared = Arc::clone(&self.shared);
        let mut order = (0..shared.tests.len()).collect::<Vec<_>>();
        order.retain(|&test| !self.morsel.settled[test] && shared.tests[test].predicate.is_active());
        let ranks = shared.tests.iter().map(super::scan::LearnedTest::rank).collect::<Vec<_>>();
        order.sort_by(|&one, &other| ranks[one].total_cmp(&ranks[other]));
        let mut tests = Vec::new();
        for learned in order {
            let table = match shared.tests[learned].columns.as_slice() {
                &[place] => self.pass_table(learned, place)?,
                _ => None,
            };
            match table {
                Some((table, _)) if table.is_none() => return Ok(None),
                Some((table, nullable)) if table.is_all(nullable) => {}
                Some((table, _)) => tests.push(Test { learned, table: Some(table) }),
                None => tests.push(Test { learned, table: None }),
            }
        }
        Ok(Some(tests))
    }

    /// Tests a predicate on the dictionary of its column, if all pages are codes and that is less work.
    fn pass_table(&mut self, learned: usize, place: usize) -> Result<Option<(PassTable, bool)>> {
        let rows = self.morsel.rows();
        let AnyColumn::Native(column) = self.column(place)? else { return Ok(None) };
        if !column.is_coded() {
            return Ok(None);
        }
        let nullable = column.is_optional();
        let values = column.dictionary();
        let Some(mut values) = self.named(place, values)? else { return Ok(None) };
        if values.len() > SMALL_DICTIONARY.max(rows / 2) {
            return Ok(None);
        }
        if nullable {
            let null = new_null_array(values.data_type(), 1);
            values = concat(&[values.as_ref(), null.as_ref()])?;
        }
        let len = values.len();
        // A value may fail that no row has, or only rows that other predicates drop: then rows are tested.
        let Ok(answers) = self.shared.tests[learned].predicate.test(&[values], len) else { return Ok(None) };
        check_answers(&answers, len)?;
        Ok(Some((PassTable::new(&answers, nullable), nullable)))
    }

    /// The next window, small enough that the chunk cannot overflow.
    fn next_window(&mut self) -> Option<Range<usize>> {
        loop {
            let range = self.morsel.ranges.get(self.range)?;
            if self.row < range.end {
                let most = ((CHUNK_ROWS - self.pending) & !63).max(64);
                let window = self.row..range.end.min(self.row + most);
                self.row = window.end;
                return Some(window);
            }
            self.range += 1;
            self.row = self.morsel.ranges.get(self.range)?.start;
        }
    }

    /// Runs all tests on a window.
    fn select(&mut self, window: &Range<usize>, tests: &[Test]) -> Result<Selection> {
        let mut selection = Selection::All;
        for test in tests {
            let before = selection.count(window);
            if before == 0 {
                break;
            }
            let start = Instant::now();
            selection = match &test.table {
                Some(table) => self.test_codes(window, test.learned, table, selection)?,
                None => self.test_values(window, test.learned, selection)?,
            };
            let after = selection.count(window);
            self.shared.tests[test.learned].learn(before as u64, after as u64, start.elapsed());
        }
        Ok(selection)
    }

    fn test_codes(
        &mut self,
        window: &Range<usize>,
        learned: usize,
        table: &PassTable,
        selection: Selection,
    ) -> Result<Selection> {
        let place = self.shared.tests[learned].columns[0];
        let AnyColumn::Native(column) = self.column(place)? else {
            return Err(Error::internal("codes of a column that has none"));
        };
        if selection.is_dense(window, DENSE_CODES) {
            let mut answers = Bits::new(window.len());
            let tested = column.test_range(window.clone(), table, &mut answers);
            self.named(place, tested)?;
            return Ok(selection.and(answers, window));
        }
        let rows = selection.into_rows(window);
        let mut answers = Bits::new(rows.len());
        let tested = column.test_rows(&rows, table, &mut answers);
        self.named(place, tested)?;
        self.narrow(rows, answers)
    }

    fn test_values(&mut self, window: &Range<usize>, learned: usize, selection: Selection) -> Result<Selection> {
        let shared = Arc::clone(&self.shared);
        let test = &shared.tests[learned];
        if selection.is_dense(window, DENSE_VALUES) {
            let columns = test.columns.iter().map(|&place| self.whole(place, window)).collect::<Result<Vec<_>>>()?;
            let answers = test.predicate.test(&columns, window.len())?;
            check_answers(&answers, window.len())?;
            return Ok(selection.and(bits_of(&answers), window));
        }
        let rows = selection.into_rows(window);
        let columns =
            test.columns.iter().map(|&place| self.listed(place, window, &rows)).collect::<Result<Vec<_>>>()?;
        let answers = test.predicate.test(&columns, rows.len())?;
        check_answers(&answers, rows.len())?;
        self.narrow(rows, bits_of(&answers))
    }

    /// Keeps the rows of the list that passed, and their decoded columns.
    fn narrow(&mut self, mut rows: Vec<u32>, answers: Bits) -> Result<Selection> {
        if self.slots.iter().any(|slot| matches!(slot.decoded, Some(Decode::Rows(_)))) {
            let mask = mask_of(&answers.words, answers.len());
            for slot in &mut self.slots {
                if let Some(Decode::Rows(array)) = &mut slot.decoded {
                    *array = filter(array, &mask)?;
                }
            }
        }
        // Each row is written, and the next one over it if it did not pass: no branch to mispredict.
        let mut kept = 0;
        for at in 0..rows.len() {
            rows[kept] = rows[at];
            kept += usize::from(answers.get(at));
        }
        rows.truncate(kept);
        Ok(Selection::Rows(rows))
    }

    /// A column of all rows of the window.
    fn whole(&mut self, place: usize, window: &Range<usize>) -> Result<ArrayRef> {
        if let Some(Decode::Window(array)) = &self.slots[place].decoded {
            return Ok(Arc::clone(array));
        }
        let shared = Arc::clone(&self.shared);
        let column = self.column(place)?;
        let decoded = column.add_range(window.clone()).and_then(|()| column.finish(&shared.columns[place].carried));
        let array = self.named(place, decoded)?;
        self.slots[place].decoded = Some(Decode::Window(Arc::clone(&array)));
        Ok(array)
    }

    /// A column of the listed rows.
    fn listed(&mut self, place: usize, window: &Range<usize>, rows: &[u32]) -> Result<ArrayRef> {
        let array = match &self.slots[place].decoded {
            Some(Decode::Rows(array)) => return Ok(Arc::clone(array)),
            Some(Decode::Window(array)) => pick(array, window, rows)?,
            None => {
                let shared = Arc::clone(&self.shared);
                let column = self.column(place)?;
                let decoded = column.add_rows(rows).and_then(|()| column.finish(&shared.columns[place].carried));
                self.named(place, decoded)?
            }
        };
        self.slots[place].decoded = Some(Decode::Rows(Arc::clone(&array)));
        Ok(array)
    }

    /// Adds the rows that are left to the chunk.
    fn add(&mut self, window: &Range<usize>, selection: Selection) -> Result<()> {
        let count = selection.count(window);
        if count == 0 {
            return Ok(());
        }
        self.pending += count;
        let shared = Arc::clone(&self.shared);
        let mask = match &selection {
            Selection::Bits(words, _) => Some(mask_of(words, window.len())),
            _ => None,
        };
        let all = matches!(selection, Selection::All);
        let rows = if all { Vec::new() } else { selection.into_rows(window) };
        for (at, &place) in shared.projection.iter().enumerate() {
            // A column that is wanted twice is built once.
            if shared.projection[..at].contains(&place) {
                continue;
            }
            let decoded = match &self.slots[place].decoded {
                None => None,
                Some(Decode::Rows(array)) => Some(Arc::clone(array)),
                Some(Decode::Window(array)) if all => Some(Arc::clone(array)),
                Some(Decode::Window(array)) => Some(match &mask {
                    Some(mask) => filter(array, mask)?,
                    None => pick(array, window, &rows)?,
                }),
            };
            if let Some(array) = decoded {
                self.slots[place].waiting.push(array);
                continue;
            }
            let column = self.column(place)?;
            let added = if all { column.add_range(window.clone()) } else { column.add_rows(&rows) };
            self.named(place, added)?;
        }
        Ok(())
    }

    /// The rows that came together.
    fn emit(&mut self) -> Result<Chunk> {
        let shared = Arc::clone(&self.shared);
        let rows = std::mem::take(&mut self.pending);
        let mut columns = Vec::<ArrayRef>::with_capacity(shared.projection.len());
        for (at, &place) in shared.projection.iter().enumerate() {
            if let Some(twin) = shared.projection[..at].iter().position(|&other| other == place) {
                columns.push(Arc::clone(&columns[twin]));
                continue;
            }
            let waiting = std::mem::take(&mut self.slots[place].waiting);
            let column = self.column(place)?;
            let built = waiting.into_iter().try_for_each(|array| column.add_array(array));
            let built = built.and_then(|()| column.finish(&shared.columns[place].carried));
            columns.push(self.named(place, built)?);
        }
        if columns.iter().any(|column| column.len() != rows) {
            return Err(Error::internal("columns of a chunk differ in length"));
        }
        Ok(Chunk::new(columns, rows))
    }
}

/// The listed rows of a window.
fn pick(array: &ArrayRef, window: &Range<usize>, rows: &[u32]) -> Result<ArrayRef> {
    let places = rows.iter().map(|&row| row - window.start as u32).collect::<UInt32Array>();
    Ok(take(array, &places, None)?)
}

fn check_answers(answers: &BooleanArray, rows: usize) -> Result<()> {
    if answers.len() == rows && answers.null_count() == 0 {
        Ok(())
    } else {
        Err(Error::internal("a predicate gave another number of answers than there are rows"))
    }
}

impl MorselReader for WindowReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let tests = match self.tests.take() {
            Some(tests) => tests,
            None => match self.prepare()? {
                Some(tests) => tests,
                None => {
                    self.skipped = true;
                    self.range = self.morsel.ranges.len();
                    Vec::new()
                }
            },
        };
        let mut chunk = None;
        while chunk.is_none() {
            let Some(window) = self.next_window() else { break };
            let selection = self.select(&window, &tests)?;
            self.add(&window, selection)?;
            for slot in &mut self.slots {
                slot.decoded = None;
            }
            if self.pending >= FEW_ROWS {
                chunk = Some(self.emit()?);
            }
        }
        if chunk.is_none() && self.pending > 0 {
            chunk = Some(self.emit()?);
        }
        self.tests = Some(tests);
        Ok(chunk)
    }
}

impl Drop for WindowReader {
    fn drop(&mut self) {
        self.shared.files[self.morsel.file].read.fetch_add(self.bytes, Ordering::Relaxed);
        let Some(metrics) = &self.shared.metrics else { return };
        metrics.add("bytes_scanned", self.bytes);
        if self.skipped {
            metrics.add("row_groups_pruned", 1);
            metrics.add("rows_pruned", self.morsel.rows() as u64);
        }
    }
}
