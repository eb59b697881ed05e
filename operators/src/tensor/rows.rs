//! An argument as rows of numbers: a column of lists, or one list for all rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::ColumnarValue;

/// Rows of numbers.
#[derive(Debug)]
pub(super) struct Rows {
    /// The argument, for messages.
    name: String,
    elements: ArrayRef,
    places: Places,
    nulls: Option<NullBuffer>,
    /// There is one list, which every row has.
    repeated: bool,
}

#[derive(Debug)]
enum Places {
    Fixed(usize),
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
}

/// The elements of all rows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl Rows {
    /// The rows of an argument that is called `name`; its type is one of [`coerced`].
    pub fn new(name: &str, argument: &ColumnarValue) -> Result<Self> {
        let (list, repeated) = match argument {
            ColumnarValue::Array(list) => (Arc::clone(list), false),
            ColumnarValue::Scalar(list) => (list.to_array()?, true),
        };
        let (elements, places) = match list.data_type() {
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or_default();
                (Arc::clone(list.as_fixed_size_list().values()), Places::Fixed(size))
            }
            DataType::List(_) => {
                let list = list.as_list::<i32>();
                (Arc::clone(list.values()), Places::Small(list.offsets().clone()))
            }
            DataType::LargeList(_) => {
                let list = list.as_list::<i64>();
                (Arc::clone(list.values()), Places::Large(list.offsets().clone()))
            }
            other => return internal_err!("{other} where a list of floats was to be"),
        };
        if !matches!(elements.data_type(), DataType::Float32 | DataType::Float64) {
            return internal_err!("a list of {} where one of floats was to be", elements.data_type());
        }
        Ok(Self { name: name.to_owned(), elements, places, nulls: list.nulls().cloned(), repeated })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a row's elements are.
    #[inline]
    pub fn range(&self, row: usize) -> Range<usize> {
        let row = if self.repeated { 0 } else { row };
        match &self.places {
            Places::Fixed(size) => row * size..(row + 1) * size,
            Places::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Places::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }

    /// The length that all rows have, if they must.
    pub fn fixed(&self) -> Option<usize> {
        match self.places {
            Places::Fixed(size) => Some(size),
            Places::Small(_) | Places::Large(_) => None,
        }
    }

    /// All elements; [`Rows::range`] says which are a row's.
    pub fn numbers(&self) -> Numbers<'_> {
        match self.elements.data_type() {
            DataType::Float32 => Numbers::F32(self.elements.as_primitive::<Float32Type>().values()),
            _ => Numbers::F64(self.elements.as_primitive::<Float64Type>().values()),
        }
    }

    /// The elements as a column.
    pub fn elements(&self) -> &ArrayRef {
        &self.elements
    }

    fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(if self.repeated { 0 } else { row }))
    }

    /// Fails on a row with a NULL among its elements.
    fn check_elements(&self, function: &str, row: usize) -> Result<()> {
        let holes = self.elements.nulls().filter(|nulls| nulls.null_count() > 0);
        if holes.is_some_and(|nulls| self.range(row).any(|place| nulls.is_null(place))) {
            return exec_err!("{function}: a tensor of `{}` has a NULL among its elements", self.name);
        }
        Ok(())
    }
}

/// Which rows have a result, once those have been found sound: no argument is NULL there. `check` sees each of them.
///
/// # Errors
/// A row has a NULL among its elements, or `check` fails.
pub(super) fn sound_rows(
    function: &str,
    arguments: &[&Rows],
    rows: usize,
    check: impl Fn(usize) -> Result<()>,
) -> Result<Option<NullBuffer>> {
    let valid = BooleanBuffer::collect_bool(rows, |row| arguments.iter().all(|one| one.is_valid(row)));
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    let all_fixed = arguments.iter().all(|one| one.fixed().is_some());
    // Lengths that types promise were compared when the plan was made.
    if all_fixed && arguments.iter().all(|one| one.elements.null_count() == 0) {
        return Ok(nulls);
    }
    for row in (0..rows).filter(|&row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))) {
        check(row)?;
        arguments.iter().try_for_each(|one| one.check_elements(function, row))?;
    }
    Ok(nulls)
}

/// The type that an argument is taken as: a list of `Float32` or `Float64`.
///
/// # Errors
/// It is no list of numbers.
pub(super) fn coerced(function: &str, place: usize, data_type: &DataType) -> Result<DataType> {
    let wrong =
        || plan_err!("{function}: argument {} is to be a list of numbers (a tensor), but is {data_type}", place + 1);
    let float = |element: &FieldRef| match element.data_type() {
        DataType::Float32 | DataType::Float64 => Some(Arc::clone(element)),
        other if other.is_numeric() || other.is_null() => {
            Some(Arc::new(element.as_ref().clone().with_data_type(DataType::Float64)))
        }
        _ => None,
    };
    let made = match data_type {
        DataType::FixedSizeList(element, size) => float(element).map(|element| DataType::FixedSizeList(element, *size)),
        DataType::List(element) => float(element).map(DataType::List),
        DataType::LargeList(element) => float(element).map(DataType::LargeList),
        DataType::Null => Some(DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))),
        _ => None,
    };
    made.map_or_else(wrong, Ok)
}

/// The type of a list's elements, and its length if that is fixed.
pub(super) fn elements_of(data_type: &DataType) -> Option<(&DataType, Option<usize>)> {
    match data_type {
        DataType::FixedSizeList(element, size) => Some((element.data_type(), usize::try_from(*size).ok())),
        DataType::List(element) | DataType::LargeList(element) => Some((element.data_type(), None)),
        _ => None,
    }
}
