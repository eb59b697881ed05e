//! Expressions by Arrow's kernels, on whole logical columns: slow, plain, and without short cuts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringArray, UInt32Array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::kernels::{cmp, numeric};
use arrow::compute::{
    CastOptions, DatePart as ArrowPart, and_kleene, cast, cast_with_options, date_part, interleave, is_not_null,
    is_null, like, not, or_kleene, take,
};
use arrow::datatypes::{DataType, Decimal128Type};
use arrow::error::ArrowError;

use crate::pipeline::ir::{ArithmeticOp, CompareOp, DatePart, Expr, ExprKind};

type Answer = Result<ArrayRef, ArrowError>;

/// The expression on all rows of logical columns.
pub fn reference(expr: &Expr, columns: &[ArrayRef], rows: usize) -> Answer {
    let value = |expr: &Expr| reference(expr, columns, rows);
    let truth = |expr: &Expr| reference(expr, columns, rows).map(|array| array.as_boolean().clone());
    Ok(match &expr.kind {
        ExprKind::Column(place) => cast(&columns[*place], &expr.data_type)?,
        ExprKind::Literal(literal) => take(literal, &UInt32Array::from(vec![0; rows]), None)?,
        ExprKind::Compare(op, left, right) => {
            let (l, r) = (value(left)?, value(right)?);
            Arc::new(match op {
                CompareOp::Equal => cmp::eq(&l, &r)?,
                CompareOp::NotEqual => cmp::neq(&l, &r)?,
                CompareOp::Less => cmp::lt(&l, &r)?,
                CompareOp::LessOrEqual => cmp::lt_eq(&l, &r)?,
                CompareOp::Greater => cmp::gt(&l, &r)?,
                CompareOp::GreaterOrEqual => cmp::gt_eq(&l, &r)?,
                CompareOp::Distinct => cmp::distinct(&l, &r)?,
                CompareOp::NotDistinct => cmp::not_distinct(&l, &r)?,
            })
        }
        ExprKind::And(parts) => {
            let mut all = BooleanArray::from(vec![true; rows]);
            for part in parts {
                all = and_kleene(&all, &truth(part)?)?;
            }
            Arc::new(all)
        }
        ExprKind::Or(parts) => {
            let mut any = BooleanArray::from(vec![false; rows]);
            for part in parts {
                any = or_kleene(&any, &truth(part)?)?;
            }
            Arc::new(any)
        }
        ExprKind::Not(part) => Arc::new(not(&truth(part)?)?),
        ExprKind::IsNull(part) => Arc::new(is_null(&value(part)?)?),
        ExprKind::IsNotNull(part) => Arc::new(is_not_null(&value(part)?)?),
        ExprKind::Arithmetic(op, left, right) => {
            let result = compute(*op, &value(left)?, &value(right)?)?;
            match &expr.data_type {
                DataType::Decimal128(digits, scale) => {
                    let decimals = result.as_primitive::<Decimal128Type>().clone();
                    Arc::new(decimals.with_precision_and_scale(*digits, *scale)?)
                }
                other => cast(&result, other)?,
            }
        }
        ExprKind::Negate(part) => numeric::neg(&value(part)?)?,
        ExprKind::Absolute(part) => {
            let part = value(part)?;
            let zero = arrow::array::new_null_array(part.data_type(), rows);
            let below = cast(&Int64Array::from(vec![0; rows]), part.data_type())?;
            let below = cmp::lt(&part, &below)?;
            // What is not negated must not fail.
            let negative = numeric::neg(&zip(&below, &part, &zero)?)?;
            zip(&below, &negative, &part)?
        }
        ExprKind::Cast { value: part, or_null } => {
            cast_with_options(&value(part)?, &expr.data_type, &CastOptions { safe: *or_null, ..Default::default() })?
        }
        ExprKind::In { value: part, list, negated } => {
            let part = value(part)?;
            let mut found = BooleanArray::from(vec![false; rows]);
            for row in 0..list.len() {
                let member = take(list, &UInt32Array::from(vec![row as u32; rows]), None)?;
                found = or_kleene(&found, &cmp::eq(&part, &member)?)?;
            }
            if list.is_empty() {
                // Nothing is in an empty list, but DataFusion's kernels say NULL for a NULL.
                found = BooleanArray::new(found.values().clone(), part.nulls().cloned());
            }
            Arc::new(if *negated { not(&found)? } else { found })
        }
        ExprKind::Like { value: part, pattern, negated, ignore_case } => {
            let (part, pattern) =
                (cast(&value(part)?, &DataType::Utf8)?, StringArray::from(vec![pattern.as_str(); rows]));
            let found = if *ignore_case {
                arrow::compute::kernels::comparison::ilike(&part, &pattern)?
            } else {
                like(&part, &pattern)?
            };
            Arc::new(if *negated { not(&found)? } else { found })
        }
        ExprKind::Case { branches, otherwise } => {
            let conditions = branches.iter().map(|(condition, _)| truth(condition)).collect::<Result<Vec<_>, _>>()?;
            let mut results = branches.iter().map(|(_, result)| value(result)).collect::<Result<Vec<_>, _>>()?;
            results.push(match otherwise {
                Some(otherwise) => value(otherwise)?,
                None => arrow::array::new_null_array(&expr.data_type, rows),
            });
            let taken = |row: usize| {
                let branch = conditions.iter().position(|condition| condition.is_valid(row) && condition.value(row));
                (branch.unwrap_or(conditions.len()), row)
            };
            let results = results.iter().map(|result| result.as_ref()).collect::<Vec<_>>();
            interleave(&results, &(0..rows).map(taken).collect::<Vec<_>>())?
        }
        ExprKind::DatePart(part, date) => {
            let part = match part {
                DatePart::Year => ArrowPart::Year,
                DatePart::Month => ArrowPart::Month,
                DatePart::Day => ArrowPart::Day,
            };
            date_part(&value(date)?, part)?
        }
        ExprKind::CharacterLength(part) => {
            let texts = cast(&value(part)?, &DataType::Utf8)?;
            let lengths = texts.as_string::<i32>().iter().map(|text| text.map(|text| text.chars().count() as i32));
            Arc::new(lengths.collect::<Int32Array>())
        }
        ExprKind::Substring { value: part, start, length } => {
            let texts = cast(&value(part)?, &DataType::Utf8)?;
            let part = |text: &str| {
                let characters = text.chars().enumerate().map(|(place, character)| (place as i64 + 1, character));
                let end = length.map_or(i64::MAX, |length| start.saturating_add(length));
                characters.filter(|(place, _)| place >= start && *place < end).map(|(_, c)| c).collect::<String>()
            };
            let parts = texts.as_string::<i32>().iter().map(|text| text.map(part)).collect::<StringArray>();
            cast(&parts, &expr.data_type)?
        }
        ExprKind::Call(function, arguments) => {
            let arguments = arguments.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            function.evaluate(&arguments, rows).map_err(|error| ArrowError::ExternalError(Box::new(error)))?
        }
    })
}

/// What Arrow makes of two columns, of the type that it gives.
pub fn compute(op: ArithmeticOp, left: &ArrayRef, right: &ArrayRef) -> Answer {
    match op {
        ArithmeticOp::Add => numeric::add(left, right),
        ArithmeticOp::Subtract => numeric::sub(left, right),
        ArithmeticOp::Multiply => numeric::mul(left, right),
        ArithmeticOp::Divide => numeric::div(left, right),
        ArithmeticOp::Remainder => numeric::rem(left, right),
    }
}
