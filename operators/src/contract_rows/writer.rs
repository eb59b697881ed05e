//! Groups as rows of the result.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use bireme_engine::error::Result;

use super::code::Coder;
use super::{Output, TableContraction, Value};

/// Knows the values behind numbers, and writes columns of them.
#[derive(Debug)]
pub struct Writer {
    columns: Vec<Column>,
    schema: SchemaRef,
}

#[derive(Debug)]
enum Column {
    Letter(Kind, Letter),
    Sum,
}

/// Which number of a group a letter is read from.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Batch,
    Row,
    Col,
}

/// The values of a letter by number.
#[derive(Debug)]
struct Letter {
    values: Vec<i64>,
    null: Vec<bool>,
    nullable: bool,
}

/// Groups: their numbers, their sums, and whether these are there.
#[derive(Debug)]
pub struct Group<V> {
    pub batch: Vec<u32>,
    pub rows: Vec<u32>,
    pub cols: Vec<u32>,
    pub sums: Vec<V>,
    /// None: all sums are there.
    pub valid: Option<Vec<bool>>,
}

impl<V> Group<V> {
    pub fn with_capacity(groups: usize, nulls: bool) -> Self {
        let numbers = || Vec::with_capacity(groups);
        Self {
            batch: numbers(),
            rows: numbers(),
            cols: numbers(),
            sums: Vec::with_capacity(groups),
            valid: nulls.then(|| Vec::with_capacity(groups)),
        }
    }
}

impl Writer {
    pub fn new(contraction: &TableContraction, batch: &Coder, rows: &Coder, cols: &Coder) -> Self {
        let column = |output: &Output| match *output {
            Output::Batch(at) => Column::Letter(Kind::Batch, Letter::of(batch, at)),
            Output::LeftFree(at) => Column::Letter(Kind::Row, Letter::of(rows, at)),
            Output::RightFree(at) => Column::Letter(Kind::Col, Letter::of(cols, at)),
            Output::Sum => Column::Sum,
        };
        Self { columns: contraction.output.iter().map(column).collect(), schema: Arc::clone(&contraction.schema) }
    }

    /// Groups as a batch.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn write<V: Value>(&self, groups: Group<V>) -> Result<RecordBatch> {
        let Group { batch, rows, cols, sums, valid } = groups;
        let mut sums = Some((sums, valid));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter().zip(self.schema.fields()) {
            let array = match column {
                Column::Letter(Kind::Batch, letter) => letter.column(&batch),
                Column::Letter(Kind::Row, letter) => letter.column(&rows),
                Column::Letter(Kind::Col, letter) => letter.column(&cols),
                Column::Sum => {
                    let (sums, valid) = sums.take().unwrap_or_default();
                    let nulls = valid.map(|valid| NullBuffer::new(BooleanBuffer::from(valid)));
                    V::array(sums, nulls.filter(|nulls| nulls.null_count() > 0))
                }
            };
            columns.push(if array.data_type() == field.data_type() { array } else { cast(&array, field.data_type())? });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Letter {
    fn of(coder: &Coder, at: usize) -> Self {
        let values = coder.values(at);
        let null = values.iter().map(Option::is_none).collect::<Vec<_>>();
        let nullable = null.contains(&true);
        Self { values: values.into_iter().map(Option::unwrap_or_default).collect(), null, nullable }
    }

    fn column(&self, numbers: &[u32]) -> ArrayRef {
        let values = numbers.iter().map(|&number| self.values[number as usize]).collect::<Vec<_>>();
        let nulls = self.nullable.then(|| {
            let there = numbers.iter().map(|&number| !self.null[number as usize]).collect::<Vec<_>>();
            NullBuffer::new(BooleanBuffer::from(there))
        });
        Arc::new(Int64Array::new(values.into(), nulls.filter(|nulls| nulls.null_count() > 0)))
    }
}
