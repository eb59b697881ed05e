//! Values as columns: how records of Rust types go into Arrow arrays and come back.
//!
//! ```text
//!   struct Visit { page: String, seconds: Option<u32> }        page: Utf8      │ seconds: UInt32, nullable
//!   Visit { page: "/", seconds: Some(3) }              ◄──►    "/"             │ 3
//!   Visit { page: "/a", seconds: None }                        "/a"            │ NULL
//! ```
//!
//! A record is one column: a struct or a tuple is a `Struct` of its fields, and a table of such records has its fields as columns. Records
//! are columns only where they leave a process, go to disk, or meet tables; between steps of one stage they are values.

mod compound;
mod scalars;
mod text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use bireme_engine::error::{Error, Result};

/// What a batch has: of rows, and of bytes beside their own size.
const BATCH_ROWS: usize = if cfg!(test) { 7 } else { 1 << 13 };
const BATCH_BYTES: usize = 32 << 20;

pub use text::{Parts, Text, TextColumn, Words};

/// A type whose values can be a column. Structs derive it: `#[derive(Record)]`.
///
/// Law: `get` of the column that `finish` makes gives back, row by row, what was put in.
///
/// ```
/// use bireme_operators::dataset::{Batches, Record};
///
/// let mut batches = Batches::<(String, Option<i64>)>::default();
/// batches.push(&("a".to_owned(), Some(1)));
/// batches.push(&("b".to_owned(), None));
/// let batch = batches.finish()?;
/// assert_eq!(batch.num_columns(), 2);
/// let records = Batches::<(String, Option<i64>)>::read(&batch)?.collect::<Vec<_>>();
/// assert_eq!(records, [("a".to_owned(), Some(1)), ("b".to_owned(), None)]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no record: it cannot be a column of a table",
    label = "values of this type are kept, sorted by key, written or sent to other ranks here",
    note = "derive it: `#[derive(bireme::Record)]`; numbers, texts, dates, options, vectors and tuples of records are records"
)]
pub trait Record: Sized + Send + 'static {
    /// Collects values for a column.
    type Builder: Default + Send;

    /// A column that values are read from.
    type Column: Send + Sync;

    /// Whether NULL is a value.
    const NULLABLE: bool = false;

    /// The type of the column.
    fn data_type() -> DataType;

    /// Adds a value to a column.
    fn put(&self, builder: &mut Self::Builder);

    /// Adds a place whose value nobody reads.
    fn put_nothing(builder: &mut Self::Builder);

    /// The column, which leaves the builder empty.
    fn finish(builder: &mut Self::Builder) -> ArrayRef;

    /// Reads a column of the type, or of one whose values all are values of it.
    ///
    /// # Errors
    /// The column has another type, or NULLs where none are allowed; `name` is in the message.
    fn column(name: &str, array: &ArrayRef) -> Result<Self::Column>;

    /// The value in a row.
    fn get(column: &Self::Column, row: usize) -> Self;

    /// Bytes that it has beside its own size.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// The value without a hold on memory that is not its own.
    #[must_use]
    fn detached(self) -> Self {
        self
    }
}

/// A field of a record.
pub fn field<T: Record>(name: &str) -> Field {
    Field::new(name, T::data_type(), T::NULLABLE)
}

/// The columns of a table of records: fields of structs and tuples, else one column `value`.
pub fn schema<T: Record>() -> SchemaRef {
    let fields = match T::data_type() {
        DataType::Struct(fields) if !T::NULLABLE => fields,
        _ => Fields::from(vec![field::<T>("value")]),
    };
    Arc::new(Schema::new(fields))
}

/// Records on their way into a batch.
pub struct Batches<T: Record> {
    builder: T::Builder,
    rows: usize,
    bytes: usize,
}

impl<T: Record> Default for Batches<T> {
    fn default() -> Self {
        Self { builder: T::Builder::default(), rows: 0, bytes: 0 }
    }
}

impl<T: Record> Batches<T> {
    /// Adds a record.
    pub fn push(&mut self, record: &T) {
        record.put(&mut self.builder);
        self.rows += 1;
        self.bytes += record.heap_bytes();
    }

    /// Records so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether they are as many, or as large, as a batch should have.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// All of them, in order.
    ///
    /// # Errors
    /// A text or a list is beyond 2 GiB.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        batch(schema::<T>(), T::finish(&mut self.builder), rows)
    }

    /// The records of a batch. Structs find their fields by name, tuples by place.
    ///
    /// # Errors
    /// A column is missing, or has another type, or NULLs where none are allowed.
    pub fn read(batch: &RecordBatch) -> Result<Records<T>> {
        let rows = batch.num_rows();
        let array: ArrayRef = match T::data_type() {
            DataType::Struct(_) if !T::NULLABLE => Arc::new(StructArray::from(batch.clone())),
            other => match batch.columns() {
                [column] => Arc::clone(column),
                columns => {
                    return Err(Error::user(format!(
                        "records of type {other} are one column, and there are {}: select one",
                        columns.len()
                    )));
                }
            },
        };
        let name = batch.schema_ref().fields().first().map_or("value", |field| field.name()).to_owned();
        Ok(Records { column: T::column(&name, &array)?, next: 0, rows })
    }
}

fn batch(schema: SchemaRef, array: ArrayRef, rows: usize) -> Result<RecordBatch> {
    if array.len() != rows {
        return Err(Error::resources(
            "a record has a text or a list of more than 2 GiB, which no column holds: cut it into several records",
        ));
    }
    match array.as_any().downcast_ref::<StructArray>() {
        Some(fields) if schema.fields() == fields.fields() => {
            Ok(RecordBatch::try_new(schema, fields.columns().to_vec())?)
        }
        _ => Ok(RecordBatch::try_new(schema, vec![array])?),
    }
}

/// Hands out records in batches of a good size.
///
/// # Errors
/// As [`Batches::finish`]; or as `each`.
pub fn in_batches<'a, T: Record>(
    records: impl IntoIterator<Item = &'a T>,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut columns = Batches::<T>::default();
    for record in records {
        columns.push(record);
        if columns.is_full() {
            each(columns.finish()?)?;
        }
    }
    if columns.rows() > 0 { each(columns.finish()?) } else { Ok(()) }
}

/// The records of a batch, one after the other.
pub struct Records<T: Record> {
    column: T::Column,
    next: usize,
    rows: usize,
}

impl<T: Record> Iterator for Records<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.next == self.rows {
            return None;
        }
        self.next += 1;
        Some(T::get(&self.column, self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rows - self.next;
        (left, Some(left))
    }
}

impl<T: Record> ExactSizeIterator for Records<T> {}

/// A field's column of a struct, by its name.
///
/// # Errors
/// There is none; the message has those there are.
pub fn field_column<T: Record>(array: &StructArray, name: &str) -> Result<T::Column> {
    let column = array.column_by_name(name).ok_or_else(|| {
        Error::user(format!("there is no column \"{name}\"; there are {}", array.column_names().join(", ")))
    })?;
    T::column(name, column)
}

/// A struct whose fields are all there.
///
/// # Errors
/// The column is no struct, or has NULLs.
pub fn struct_column<'a>(name: &str, array: &'a ArrayRef) -> Result<&'a StructArray> {
    let other = || Error::user(format!("column \"{name}\" is {}, and a struct is wanted", array.data_type()));
    let fields = array.as_any().downcast_ref::<StructArray>().ok_or_else(other)?;
    without_nulls(name, array)?;
    Ok(fields)
}

fn without_nulls(name: &str, array: &ArrayRef) -> Result<()> {
    match array.logical_null_count() {
        0 => Ok(()),
        nulls => Err(Error::user(format!(
            "column \"{name}\" has {nulls} NULLs, and its field takes none: make it an Option, or filter them out"
        ))),
    }
}

/// A column as one of another type, if all its values are values of that; a column without NULLs.
fn as_type(name: &str, array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let have = array.data_type();
    without_nulls(name, array)?;
    if have == wanted {
        return Ok(Arc::clone(array));
    }
    let plain = match have {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    if plain != wanted && !is_wider(plain, wanted) || !can_cast_types(have, wanted) {
        return Err(Error::user(format!(
            "column \"{name}\" is {have}, and its field is {wanted}: cast the column, or change the field"
        )));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, wanted, &options)?)
}

/// Whether all values of one type are values of another.
fn is_wider(have: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    match wanted {
        Int16 => matches!(have, Int8 | UInt8),
        Int32 => matches!(have, Int8 | Int16 | UInt8 | UInt16),
        Int64 => matches!(have, Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32),
        UInt16 => matches!(have, UInt8),
        UInt32 => matches!(have, UInt8 | UInt16),
        UInt64 => matches!(have, UInt8 | UInt16 | UInt32),
        Float32 => matches!(have, Int8 | Int16 | UInt8 | UInt16),
        Float64 => matches!(have, Float32 | Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32),
        Utf8 | Utf8View => matches!(have, Utf8 | LargeUtf8 | Utf8View),
        Binary | BinaryView => matches!(have, Binary | LargeBinary | BinaryView),
        Date32 => matches!(have, Date64),
        Timestamp(_, None) => matches!(have, Timestamp(_, None) | Date32 | Date64),
        _ => false,
    }
}

/// What code that `#[derive(Record)]` makes needs.
pub mod support {
    use std::sync::Arc;

    pub use arrow::array::ArrayRef;
    use arrow::array::{NullArray, StructArray};
    pub use arrow::datatypes::{DataType, Fields};
    pub use bireme_engine::error::Result;

    pub use super::{field, field_column, struct_column};

    /// Columns of equal length as one.
    pub fn structure(data_type: DataType, columns: Vec<ArrayRef>) -> ArrayRef {
        match data_type {
            DataType::Struct(fields) => {
                let structure = StructArray::try_new(fields, columns, None);
                structure.map_or_else(|_| nothing(), |structure| Arc::new(structure) as ArrayRef)
            }
            _ => nothing(),
        }
    }

    /// What stands for values that no column holds: it has no rows.
    pub(in crate::dataset) fn nothing() -> ArrayRef {
        Arc::new(NullArray::new(0))
    }
}
