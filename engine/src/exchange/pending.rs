//! Rows of one lane that wait for company, until they are worth a message.
//!
//! ```text
//!   batch   │ 7 │ 1 │ 4 │ 9 │ 2 │        rows 0, 3 and 4 are this lane's
//!             │           │   │
//!   waiting │ … │ 5 │ 8 │ 7 │ 9 │ 2 │    values of fixed width are copied once, to where they will be sent from
//! ```
//!
//! Other columns wait as pieces and are joined when they leave. Batches that are large already are not copied at all.

use arrow::array::{
    Array, ArrayData, ArrayRef, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, UInt32Array, make_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::{ArrowNativeType, DataType, SchemaRef};

use super::{batch_bytes, compact_views};
use crate::error::{Error, Result};

/// Rows of so many bytes are worth a message: they wait for no others, and to copy them costs more than to send them apart.
pub(super) const WORTH_A_MESSAGE: usize = 256 << 10;

/// A batch of so few rows is cut without copying where it can be.
const FEW_ROWS: usize = 64;

/// Rows of one lane.
#[derive(Default)]
pub(super) struct Pending {
    parts: Vec<Part>,
    pub rows: usize,
    pub bytes: usize,
}

enum Part {
    Whole(RecordBatch),
    Gathered(Gathered),
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it is one batch, as it came.
    pub fn is_whole(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Whole(_)])
    }

    /// Takes a batch, and touches none of its rows.
    pub fn hold(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch) as usize;
        self.parts.push(Part::Whole(batch));
    }

    /// Takes a batch; if it is small, its rows join those that wait.
    ///
    /// # Errors
    /// Columns cannot be read.
    pub fn join(&mut self, batch: RecordBatch) -> Result<()> {
        let bytes = batch_bytes(&batch) as usize;
        if bytes >= WORTH_A_MESSAGE || !gathers(&batch) {
            self.hold(batch);
            return Ok(());
        }
        let gathered = match self.parts.pop() {
            Some(Part::Gathered(gathered)) => Some(gathered),
            Some(Part::Whole(first)) if self.bytes < WORTH_A_MESSAGE => {
                let mut gathered = Gathered::new(first.schema());
                gathered.append(&first)?;
                Some(gathered)
            }
            other => {
                self.parts.extend(other);
                None
            }
        };
        self.rows += batch.num_rows();
        self.bytes += bytes;
        let Some(mut gathered) = gathered else {
            self.parts.push(Part::Whole(batch));
            return Ok(());
        };
        gathered.append(&batch)?;
        self.parts.push(Part::Gathered(gathered));
        Ok(())
    }

    /// Takes some rows of a batch; they are in ascending order.
    ///
    /// # Errors
    /// Columns cannot be read.
    pub fn gather(&mut self, batch: &RecordBatch, rows: &[u32]) -> Result<()> {
        if rows.len() == batch.num_rows() {
            return self.join(compact_views(batch.clone())?);
        }
        if let Some(first) = run_of_few(rows, batch) {
            return self.join(compact_views(batch.slice(first, rows.len()))?);
        }
        if !gathers(batch) {
            self.hold(compact_views(take_rows(batch, &UInt32Array::from(rows.to_vec()))?)?);
            return Ok(());
        }
        if !matches!(self.parts.last(), Some(Part::Gathered(_))) {
            self.parts.push(Part::Gathered(Gathered::new(batch.schema())));
        }
        if let Some(Part::Gathered(gathered)) = self.parts.last_mut() {
            self.bytes += gathered.pick(batch, rows)?;
            self.rows += rows.len();
        }
        Ok(())
    }

    /// All that waits, in order, in as few batches as can be.
    ///
    /// # Errors
    /// Columns cannot be joined.
    pub fn into_batches(self, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            batches.push(match part {
                Part::Whole(batch) => batch,
                Part::Gathered(gathered) => gathered.finish()?,
            });
        }
        if batches.len() > 1
            && batches.iter().all(|batch| (batch_bytes(batch) as usize) < WORTH_A_MESSAGE)
            && let Some(one) = joined(schema, &batches)
        {
            return Ok(vec![one]);
        }
        Ok(batches)
    }

    /// What [`Pending::hold`] has taken.
    ///
    /// # Errors
    /// Columns cannot be joined.
    pub fn into_held(self) -> Result<Vec<RecordBatch>> {
        let batch = |part| match part {
            Part::Whole(batch) => Ok(batch),
            Part::Gathered(gathered) => gathered.finish(),
        };
        self.parts.into_iter().map(batch).collect()
    }
}

/// Rows of a batch as a batch of their own.
///
/// # Errors
/// Columns cannot be read.
pub(super) fn take_rows(batch: &RecordBatch, rows: &UInt32Array) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| take(column, rows, None)).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

/// Rows in a row of a batch of so few that to copy them costs more than to keep all of it alive: the first of them.
fn run_of_few(rows: &[u32], batch: &RecordBatch) -> Option<usize> {
    let (first, last) = (*rows.first()? as usize, *rows.last()? as usize);
    (batch.num_rows() <= FEW_ROWS && last - first + 1 == rows.len()).then_some(first)
}

/// Whether rows of such a batch can be put together whatever they hold. (Dictionaries may run out of keys.)
fn gathers(batch: &RecordBatch) -> bool {
    batch.schema_ref().fields().iter().all(|field| {
        let data_type = field.data_type();
        data_type.primitive_width().is_some()
            || matches!(
                data_type,
                DataType::Boolean
                    | DataType::Utf8
                    | DataType::LargeUtf8
                    | DataType::Utf8View
                    | DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
            )
    })
}

/// One batch of all; `None` where they cannot be joined (offsets or dictionary keys would overflow): then they go one
/// by one.
fn joined(schema: &SchemaRef, batches: &[RecordBatch]) -> Option<RecordBatch> {
    if schema.fields().is_empty() {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options).ok();
    }
    concat_batches(schema, batches).ok()
}

/// Rows of several batches, column by column.
struct Gathered {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

enum Column {
    Fixed { values: Values, nulls: Option<BooleanBufferBuilder> },
    Pieces(Vec<ArrayRef>),
}

impl Gathered {
    fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|field| match field.data_type().primitive_width() {
            Some(width) => match Values::new(width) {
                Some(values) => Column::Fixed { values, nulls: None },
                None => Column::Pieces(Vec::new()),
            },
            None => Column::Pieces(Vec::new()),
        });
        Self { columns: columns.collect(), schema, rows: 0 }
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            match column {
                Column::Pieces(pieces) => pieces.push(array.clone()),
                Column::Fixed { values, nulls } => {
                    values.append(&array.to_data());
                    append_nulls(nulls, self.rows, array.len(), array.nulls(), |nulls, all| {
                        all.append_buffer(nulls.inner());
                    });
                }
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Takes rows; says how many bytes they have.
    fn pick(&mut self, batch: &RecordBatch, rows: &[u32]) -> Result<usize> {
        let mut bytes = 0;
        let mut numbers = None;
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            match column {
                Column::Pieces(pieces) => {
                    let numbers = numbers.get_or_insert_with(|| UInt32Array::from(rows.to_vec()));
                    let piece = super::compact_views_of(&take(array, numbers, None)?);
                    bytes += super::column_bytes(&piece);
                    pieces.push(piece);
                }
                Column::Fixed { values, nulls } => {
                    bytes += values.pick(&array.to_data(), rows);
                    append_nulls(nulls, self.rows, rows.len(), array.nulls(), |nulls, all| {
                        rows.iter().for_each(|&row| all.append(nulls.is_valid(row as usize)));
                    });
                }
            }
        }
        self.rows += rows.len();
        Ok(bytes)
    }

    fn finish(self) -> Result<RecordBatch> {
        let rows = self.rows;
        let column = |(column, field): (Column, &std::sync::Arc<arrow::datatypes::Field>)| match column {
            Column::Pieces(pieces) => match pieces.as_slice() {
                [one] => Ok(one.clone()),
                many => Ok(concat(&many.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?),
            },
            Column::Fixed { values, nulls } => {
                let nulls = nulls.map(|mut nulls| NullBuffer::new(nulls.finish()));
                let builder = ArrayData::builder(field.data_type().clone()).len(rows).add_buffer(values.into_buffer());
                let data = builder.nulls(nulls).build();
                data.map(make_array).map_err(|error| Error::internal(format!("gathered rows: {error}")))
            }
        };
        let columns = self.columns.into_iter().zip(self.schema.fields()).map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema, columns, &options)?)
    }
}

/// Notes which of `count` more rows are NULL, after `before`; there is no bitmap before the first one.
fn append_nulls(
    all: &mut Option<BooleanBufferBuilder>,
    before: usize,
    count: usize,
    nulls: Option<&NullBuffer>,
    append: impl FnOnce(&NullBuffer, &mut BooleanBufferBuilder),
) {
    match (nulls.filter(|nulls| nulls.null_count() > 0), all) {
        (None, None) => {}
        (None, Some(all)) => all.append_n(count, true),
        (Some(nulls), all) => {
            let all = all.get_or_insert_with(|| {
                let mut all = BooleanBufferBuilder::new(before + count);
                all.append_n(before, true);
                all
            });
            append(nulls, all);
        }
    }
}

/// Values of one width, whatever they mean.
enum Values {
    W1(Vec<u8>),
    W2(Vec<u16>),
    W4(Vec<u32>),
    W8(Vec<u64>),
    W16(Vec<i128>),
}

macro_rules! each_width {
    ($values:expr, $vec:ident => $do:expr) => {
        match $values {
            Values::W1($vec) => $do,
            Values::W2($vec) => $do,
            Values::W4($vec) => $do,
            Values::W8($vec) => $do,
            Values::W16($vec) => $do,
        }
    };
}

impl Values {
    fn new(width: usize) -> Option<Self> {
        Some(match width {
            1 => Self::W1(Vec::new()),
            2 => Self::W2(Vec::new()),
            4 => Self::W4(Vec::new()),
            8 => Self::W8(Vec::new()),
            16 => Self::W16(Vec::new()),
            _ => return None,
        })
    }

    fn append(&mut self, data: &ArrayData) {
        each_width!(self, values => values.extend_from_slice(slice_of(data)));
    }

    fn pick(&mut self, data: &ArrayData, rows: &[u32]) -> usize {
        each_width!(self, values => pick(values, slice_of(data), rows))
    }

    fn into_buffer(self) -> Buffer {
        each_width!(self, values => Buffer::from_vec(values))
    }
}

fn slice_of<T: ArrowNativeType>(data: &ArrayData) -> &[T] {
    &data.buffers()[0].typed_data::<T>()[data.offset()..data.offset() + data.len()]
}

fn pick<T: ArrowNativeType>(to: &mut Vec<T>, from: &[T], rows: &[u32]) -> usize {
    if to.is_empty() {
        // Nearly all that will come: a vector that grows copies what it has.
        to.reserve((WORTH_A_MESSAGE / size_of::<T>()).min(16 * rows.len()).max(rows.len()));
    }
    to.extend(rows.iter().map(|&row| from[row as usize]));
    size_of::<T>() * rows.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int8Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn batch(first: i64, rows: i64) -> RecordBatch {
        let numbers = first..first + rows;
        let sparse = |number: i64| (number % 3 != 0 && number > 40).then_some(number);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("long", Arc::new(Int64Array::from_iter_values(numbers.clone()))),
            ("byte", Arc::new(Int8Array::from_iter(numbers.clone().map(|n| sparse(n).map(|n| n as i8))))),
            ("wide", Arc::new(Decimal128Array::from_iter(numbers.clone().map(|n| sparse(n).map(i128::from))))),
            ("truth", Arc::new(BooleanArray::from_iter(numbers.clone().map(|n| sparse(n).map(|n| n % 2 == 0))))),
            ("text", Arc::new(StringArray::from_iter(numbers.clone().map(|n| sparse(n).map(|n| n.to_string()))))),
            (
                "view",
                Arc::new(StringViewArray::from_iter(numbers.map(|n| sparse(n).map(|n| format!("a long text, {n}"))))),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    /// Which rows of a batch are taken.
    type Wanted = fn(u32) -> bool;

    /// What waits is what `take` and `concat` make of the same rows.
    #[test]
    fn rows_wait_in_order() {
        let steps: [(i64, i64, Option<Wanted>); 7] = [
            (0, 30, None),
            (30, 100, Some(|row| row % 3 == 0)),
            (130, 7, Some(|row| row > 2 && row < 5)),
            (500, 200, Some(|row| row < 190)),
            (40, 100, Some(|_| false)),
            (7, 90, None),
            (700, 5000, Some(|row| row % 7 > 1)),
        ];
        let (mut pending, mut expected) = (Pending::default(), Vec::new());
        for (first, rows, wanted) in steps {
            let batch = batch(first, rows).slice(1, rows as usize - 1);
            match wanted {
                None => {
                    pending.join(batch.clone()).unwrap();
                    expected.push(batch);
                }
                Some(wanted) => {
                    let rows = (0..batch.num_rows() as u32).filter(|&row| wanted(row)).collect::<Vec<_>>();
                    pending.gather(&batch, &rows).unwrap();
                    expected.push(take_rows(&batch, &UInt32Array::from(rows)).unwrap());
                }
            }
        }
        let schema = expected[0].schema();
        let expected = concat_batches(&schema, &expected).unwrap();
        assert_eq!(pending.rows, expected.num_rows());
        let batches = pending.into_batches(&schema).unwrap();
        assert_eq!(concat_batches(&schema, &batches).unwrap(), expected);
    }

    #[test]
    fn large_batches_are_not_copied() {
        let large = batch(0, 40_000);
        let mut pending = Pending::default();
        pending.join(batch(0, 3)).unwrap();
        pending.join(large.clone()).unwrap();
        let batches = pending.into_batches(&large.schema()).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 40_000]);
        let memory = |batch: &RecordBatch| batch.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(memory(&batches[1]), memory(&large));
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let rows = |rows| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options).unwrap()
        };
        let mut pending = Pending::default();
        pending.join(rows(5)).unwrap();
        pending.gather(&rows(100), &[3, 4, 9]).unwrap();
        pending.join(rows(2)).unwrap();
        let batches = pending.into_batches(&schema).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    }
}
