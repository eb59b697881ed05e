//! `tensor_dot`, `tensor_norm`, `tensor_cosine`: one double a row.

use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::kernels::{Number, cosine, dot};
use super::rows::{Numbers, Rows, coerced, elements_of, sound_rows};
use super::shape::Shape;
use crate::expr::simd::vectorized;

/// A number that is measured on one tensor or two.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Measure {
    kind: Kind,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Dot,
    Norm,
    Cosine,
}

impl Measure {
    pub fn dot() -> Self {
        Self::new(Kind::Dot)
    }

    pub fn norm() -> Self {
        Self::new(Kind::Norm)
    }

    pub fn cosine() -> Self {
        Self::new(Kind::Cosine)
    }

    fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn operands(&self) -> usize {
        if self.kind == Kind::Norm { 1 } else { 2 }
    }
}

impl ScalarUDFImpl for Measure {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Dot => "tensor_dot",
            Kind::Norm => "tensor_norm",
            Kind::Cosine => "tensor_cosine",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() != self.operands() {
            return plan_err!("{} takes {} tensors, not {}", self.name(), self.operands(), types.len());
        }
        types.iter().enumerate().map(|(place, one)| coerced(self.name(), place, one)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let [left, right] = args.arg_fields {
            meet(self.name(), left, right)?;
        }
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), DataType::Float64, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let one = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let operands =
            args.args.iter().zip(&args.arg_fields).map(|(argument, field)| Rows::new(field.name(), argument));
        let operands = operands.collect::<Result<Vec<_>>>()?;
        let (left, right) = match operands.as_slice() {
            [only] => (only, only),
            [left, right] => (left, right),
            other => return internal_err!("{} has {} operands", self.name(), other.len()),
        };
        let nulls = sound_rows(self.name(), &[left, right], rows, |row| {
            same_length(self.name(), left, right, left.range(row).len(), right.range(row).len())
        })?;
        let values = measured(self.kind, left, right, rows, nulls.as_ref());
        let measures = Float64Array::new(values.into(), nulls);
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&measures, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(measures))
        })
    }
}

/// What types tell of whether two tensors can be taken together.
fn meet(function: &str, left: &Field, right: &Field) -> Result<()> {
    let (left_shape, right_shape) = (Shape::of(left)?, Shape::of(right)?);
    if let (Some(left_shape), Some(right_shape)) = (&left_shape, &right_shape)
        && left_shape != right_shape
    {
        let order = |shape: &Shape| if shape.is_permuted() { " (permuted)" } else { "" };
        return plan_err!(
            "{function}: `{}` has tensors of shape {:?}{}, `{}` of shape {:?}{}",
            left.name(),
            left_shape.extents(),
            order(left_shape),
            right.name(),
            right_shape.extents(),
            order(right_shape)
        );
    }
    let length = |field: &Field| elements_of(field.data_type()).and_then(|(_, length)| length);
    match (length(left), length(right)) {
        (Some(a), Some(b)) if a != b => {
            plan_err!("{function}: `{}` has {a} elements a row, `{}` has {b}", left.name(), right.name())
        }
        _ => Ok(()),
    }
}

/// Fails if two rows differ in their lengths.
fn same_length(function: &str, left: &Rows, right: &Rows, a: usize, b: usize) -> Result<()> {
    if a == b {
        return Ok(());
    }
    exec_err!("{function}: `{}` has {a} elements in a row where `{}` has {b}", left.name(), right.name())
}

fn measured(kind: Kind, left: &Rows, right: &Rows, rows: usize, nulls: Option<&NullBuffer>) -> Vec<f64> {
    let over = Pairs { left, right, rows, nulls };
    match (left.numbers(), right.numbers()) {
        (Numbers::F32(a), Numbers::F32(b)) => over.measured(kind, a, b),
        (Numbers::F32(a), Numbers::F64(b)) => over.measured(kind, a, b),
        (Numbers::F64(a), Numbers::F32(b)) => over.measured(kind, a, b),
        (Numbers::F64(a), Numbers::F64(b)) => over.measured(kind, a, b),
    }
}

struct Pairs<'a> {
    left: &'a Rows,
    right: &'a Rows,
    rows: usize,
    nulls: Option<&'a NullBuffer>,
}

impl Pairs<'_> {
    fn measured<A: Number, B: Number>(&self, kind: Kind, a: &[A], b: &[B]) -> Vec<f64> {
        match kind {
            Kind::Dot => self.each(
                a,
                b,
                #[inline(always)]
                |a, b| dot(a, b),
            ),
            Kind::Norm => self.each(
                a,
                b,
                #[inline(always)]
                |a, b| dot(a, b).sqrt(),
            ),
            Kind::Cosine => self.each(
                a,
                b,
                #[inline(always)]
                |a, b| cosine(a, b),
            ),
        }
    }

    #[inline(always)]
    fn each<A: Number, B: Number>(&self, a: &[A], b: &[B], measure: impl Fn(&[A], &[B]) -> f64) -> Vec<f64> {
        let mut values = vec![0.0; self.rows];
        vectorized(
            #[inline(always)]
            || {
                for (row, value) in values.iter_mut().enumerate() {
                    if self.nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                        *value = measure(&a[self.left.range(row)], &b[self.right.range(row)]);
                    }
                }
            },
        );
        values
    }
}
