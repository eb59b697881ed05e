//! `tensor(list, shape…)`: a list of numbers as a tensor.
//!
//! ```text
//!  tensor([1, 2, 3, 4, 5, 6], 2, 3)   List of 6 ──► FixedSizeList(6 × Float64), {"shape":[2,3]}
//!  tensor(embedding)                  FixedSizeList(768 × Float32) ──► the same, {"shape":[768]}
//! ```
//!
//! The shape is a part of the type, so it is written in numbers, and each list must fill it; only lists of a fixed size may go
//! without. Elements are taken row by row. `Float32` stays, other numbers become `Float64`. Lists that lie one behind the other are
//! not copied.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::kernels::Number;
use super::rows::{Numbers, Rows, coerced, elements_of, sound_rows};
use super::shape::Shape;

const NAME: &str = "tensor";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Make {
    signature: Signature,
}

impl Make {
    pub fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Make {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((list, shape)) = types.split_first() else {
            return plan_err!("{NAME} takes a list and the extents of its axes: tensor(list, 2, 3)");
        };
        if let Some(odd) = shape.iter().find(|one| !one.is_integer()) {
            return plan_err!("{NAME}: the extents of axes are integers, not {odd}");
        }
        let list = coerced(NAME, 0, list)?;
        Ok(std::iter::once(list).chain(shape.iter().map(|_| DataType::Int64)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{NAME}: the type depends on the shape")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let (Some(list), [_, extents @ ..]) = (args.arg_fields.first(), args.scalar_arguments) else {
            return internal_err!("{NAME} has no list");
        };
        let Some((element, length)) = elements_of(list.data_type()) else {
            return internal_err!("{NAME} of {}", list.data_type());
        };
        let shape = match (extents.is_empty(), length) {
            (true, Some(length)) => vec![length],
            (true, None) => {
                return plan_err!(
                    "{NAME}: the lists of `{}` may have any length; write that of its tensors: tensor({}, 3)",
                    list.name(),
                    list.name()
                );
            }
            (false, _) => extents.iter().map(|extent| written(*extent)).collect::<Result<Vec<_>>>()?,
        };
        let made = Shape::new(shape.clone());
        let field = made.field(NAME, element.clone(), list.is_nullable())?;
        let elements = elements_of(field.data_type()).and_then(|(_, elements)| elements);
        if let (Some(length), Some(elements)) = (length, elements)
            && length != elements
        {
            return plan_err!(
                "{NAME}: `{}` has {length} elements a row, and shape {shape:?} has {elements}",
                list.name()
            );
        }
        Ok(Arc::new(field))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (Some(list), Some(field)) = (args.args.first(), args.arg_fields.first()) else {
            return internal_err!("{NAME} has no list");
        };
        let DataType::FixedSizeList(element, size) = args.return_field.data_type() else {
            return internal_err!("{NAME} gives {}", args.return_field.data_type());
        };
        let one = matches!(list, ColumnarValue::Scalar(_));
        let rows = if one { 1 } else { args.number_rows };
        let list = Rows::new(field.name(), list)?;
        let wanted = usize::try_from(*size).unwrap_or_default();
        let nulls = sound_rows(NAME, &[&list], rows, |row| match list.range(row).len() {
            length if length == wanted => Ok(()),
            length => {
                exec_err!("{NAME}: a list of `{}` has {length} elements, and the shape has {wanted}", list.name())
            }
        })?;
        let elements = filled(&list, rows, wanted, nulls.as_ref());
        let tensors = FixedSizeListArray::try_new_with_length(Arc::clone(element), *size, elements, nulls, rows)?;
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&tensors, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(tensors))
        })
    }
}

/// An extent as it was written.
fn written(extent: Option<&ScalarValue>) -> Result<usize> {
    match extent {
        Some(ScalarValue::Int64(Some(extent))) if *extent > 0 => Ok(usize::try_from(*extent).unwrap_or(usize::MAX)),
        Some(other) => plan_err!("{NAME}: an axis cannot have extent {other}"),
        None => plan_err!("{NAME}: the extents of axes are written as numbers, for they are a part of the type"),
    }
}

/// The elements of all rows one behind the other; those of NULL rows do not count.
fn filled(list: &Rows, rows: usize, wanted: usize, nulls: Option<&NullBuffer>) -> ArrayRef {
    if rows == 0 {
        return list.elements().slice(0, 0);
    }
    let start = list.range(0).start;
    let lies_so = |row: usize| list.range(row) == (start + row * wanted..start + (row + 1) * wanted);
    if (0..rows).all(lies_so) && list.elements().null_count() == 0 {
        return list.elements().slice(start, rows * wanted);
    }
    match list.numbers() {
        Numbers::F32(from) => Arc::new(Float32Array::from(copied(from, list, rows, wanted, nulls))),
        Numbers::F64(from) => Arc::new(Float64Array::from(copied(from, list, rows, wanted, nulls))),
    }
}

fn copied<T: Number + Default>(
    from: &[T],
    list: &Rows,
    rows: usize,
    wanted: usize,
    nulls: Option<&NullBuffer>,
) -> Vec<T> {
    let mut to = Vec::with_capacity(rows * wanted);
    for row in 0..rows {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            to.extend_from_slice(&from[list.range(row)]);
        } else {
            to.resize(to.len() + wanted, T::default());
        }
    }
    to
}
