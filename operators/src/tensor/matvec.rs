//! `tensor_matvec(m, x)`: a matrix times a vector, row by row.
//!
//! ```text
//!  stored as meant, {"shape":[2,3]}                    y[i] = dot(m[i, :], x)
//!  stored transposed, {"shape":[3,2],"permutation":[1,0]}   y += x[j] · m[:, j] for j = 0, 1, 2
//! ```
//!
//! Sums are in doubles either way, in an order that depends on the shape alone. The result has the elements' type if that is
//! `Float32` of both, else `Float64`.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::kernels::{Number, add_scaled, dot};
use super::rows::{Numbers, Rows, coerced, elements_of, sound_rows};
use super::shape::Shape;
use crate::expr::simd::vectorized;

const NAME: &str = "tensor_matvec";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MatVec {
    signature: Signature,
}

impl MatVec {
    pub fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// A matrix as it is stored.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl Matrix {
    fn of(field: &Field) -> Result<Self> {
        let Some(shape) = Shape::of(field)? else {
            return plan_err!(
                "{NAME}: `{}` has no shape to tell rows from columns; give it one: tensor({}, rows, columns)",
                field.name(),
                field.name()
            );
        };
        match shape.extents().as_slice() {
            &[rows, columns] => Ok(Self { rows, columns, transposed: shape.is_permuted() }),
            other => plan_err!("{NAME}: `{}` has tensors of shape {other:?}, which are no matrices", field.name()),
        }
    }
}

impl ScalarUDFImpl for MatVec {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() != 2 {
            return plan_err!("{NAME} takes a matrix and a vector, not {} arguments", types.len());
        }
        types.iter().enumerate().map(|(place, one)| coerced(NAME, place, one)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{NAME}: the type depends on the matrix's shape")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [m, x] = args.arg_fields else { return internal_err!("{NAME} has {} operands", args.arg_fields.len()) };
        let matrix = Matrix::of(m)?;
        if let Some(shape) = Shape::of(x)?.filter(|shape| shape.extents().len() != 1) {
            return plan_err!(
                "{NAME}: `{}` has tensors of shape {:?}, which are no vectors",
                x.name(),
                shape.extents()
            );
        }
        let types = (elements_of(m.data_type()), elements_of(x.data_type()));
        let (Some((m_type, _)), Some((x_type, length))) = types else {
            return internal_err!("{NAME} of {} and {}", m.data_type(), x.data_type());
        };
        if let Some(length) = length.filter(|&length| length != matrix.columns) {
            return plan_err!(
                "{NAME}: the matrices of `{}` are {} × {}, and the vectors of `{}` have {length} elements",
                m.name(),
                matrix.rows,
                matrix.columns,
                x.name()
            );
        }
        let both_small = (m_type, x_type) == (&DataType::Float32, &DataType::Float32);
        let element = if both_small { DataType::Float32 } else { DataType::Float64 };
        let nullable = m.is_nullable() || x.is_nullable();
        Ok(Arc::new(Shape::new(vec![matrix.rows]).field(NAME, element, nullable)?))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ([m, x], [m_field, x_field]) = (args.args.as_slice(), args.arg_fields.as_slice()) else {
            return internal_err!("{NAME} has {} operands", args.args.len());
        };
        let one = matches!((m, x), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let matrix = Matrix::of(m_field)?;
        let (m, x) = (Rows::new(m_field.name(), m)?, Rows::new(x_field.name(), x)?);
        let nulls = sound_rows(NAME, &[&m, &x], rows, |row| match x.range(row).len() {
            length if length == matrix.columns => Ok(()),
            length => exec_err!(
                "{NAME}: the matrices of `{}` are {} × {}, and a vector of `{}` has {length} elements",
                m.name(),
                matrix.rows,
                matrix.columns,
                x.name()
            ),
        })?;
        let product = Product { matrix, m: &m, x: &x, rows, nulls: nulls.as_ref() };
        let sums = product.sums();
        let DataType::FixedSizeList(element, size) = args.return_field.data_type() else {
            return internal_err!("{NAME} gives {}", args.return_field.data_type());
        };
        let elements: ArrayRef = match element.data_type() {
            DataType::Float32 => Arc::new(Float32Array::from_iter_values(sums.into_iter().map(|sum| sum as f32))),
            _ => Arc::new(Float64Array::from(sums)),
        };
        let vectors = FixedSizeListArray::try_new_with_length(Arc::clone(element), *size, elements, nulls, rows)?;
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&vectors, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(vectors))
        })
    }
}

struct Product<'a> {
    matrix: Matrix,
    m: &'a Rows,
    x: &'a Rows,
    rows: usize,
    nulls: Option<&'a NullBuffer>,
}

impl Product<'_> {
    fn sums(&self) -> Vec<f64> {
        match (self.m.numbers(), self.x.numbers()) {
            (Numbers::F32(m), Numbers::F32(x)) => self.each(m, x),
            (Numbers::F32(m), Numbers::F64(x)) => self.each(m, x),
            (Numbers::F64(m), Numbers::F32(x)) => self.each(m, x),
            (Numbers::F64(m), Numbers::F64(x)) => self.each(m, x),
        }
    }

    fn each<M: Number, X: Number>(&self, m: &[M], x: &[X]) -> Vec<f64> {
        let height = self.matrix.rows;
        let mut sums = vec![0.0; self.rows * height];
        vectorized(
            #[inline(always)]
            || {
                for row in 0..self.rows {
                    if self.nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                        let sums = &mut sums[row * height..(row + 1) * height];
                        one(self.matrix, &m[self.m.range(row)], &x[self.x.range(row)], sums);
                    }
                }
            },
        );
        sums
    }
}

/// One matrix times one vector, into zeros.
#[inline(always)]
fn one<M: Number, X: Number>(matrix: Matrix, m: &[M], x: &[X], sums: &mut [f64]) {
    if matrix.rows == 0 || matrix.columns == 0 {
        return;
    }
    if matrix.transposed {
        for (column, &factor) in m.chunks_exact(matrix.rows).zip(x) {
            add_scaled(sums, factor.wide(), column);
        }
    } else {
        for (row, sum) in m.chunks_exact(matrix.columns).zip(sums) {
            *sum = dot(row, x);
        }
    }
}
