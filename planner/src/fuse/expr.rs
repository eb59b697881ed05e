//! Expressions: DataFusion's physical ones as those of the pipeline language.
//!
//! What the language lacks becomes a call of the original expression on whole chunks, so one odd function does not keep a
//! node out of a pipeline.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::{DataType, Schema};
use bireme_engine::error::{Error, Result};
use bireme_operators::batch_call::PhysicalCall;
use bireme_operators::errors::from_datafusion;
use bireme_operators::overflow::CheckedOperation;
use bireme_operators::pipeline::ir::{ArithmeticOp, CompareOp, DatePart, Expr, ExprKind};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr,
    NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

type Physical = Arc<dyn PhysicalExpr>;

/// An expression over the columns of `input`.
///
/// # Errors
/// The expression does not fit its input: a bug.
pub fn lower(expr: &Physical, input: &Schema) -> Result<Expr> {
    match native(expr, input)? {
        Some(native) => Ok(native),
        None => call(expr, input),
    }
}

fn native(expr: &Physical, input: &Schema) -> Result<Option<Expr>> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        let field = input.fields().get(column.index());
        let field =
            field.ok_or_else(|| Error::internal(format!("{column} is not among {} columns", input.fields().len())))?;
        return Ok(Some(Expr::column(column.index(), field.data_type().clone())));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        let array = literal.value().to_array_of_size(1).map_err(from_datafusion)?;
        return Ok(Some(Expr::literal(array)));
    }
    let data_type = expr.data_type(input).map_err(from_datafusion)?;
    let kind = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        binary_kind(binary, input)?
    } else if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        function_kind(function, input)?
    } else if let Some(not) = expr.downcast_ref::<NotExpr>() {
        truth(not.arg(), input)?.map(ExprKind::Not)
    } else if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        Some(ExprKind::IsNull(boxed(is_null.arg(), input)?))
    } else if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        Some(ExprKind::IsNotNull(boxed(is_not_null.arg(), input)?))
    } else if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        data_type.is_numeric().then(|| boxed(negative.arg(), input)).transpose()?.map(ExprKind::Negate)
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let plain = !cast.cast_options().safe && !data_type.is_nested();
        let value = boxed(cast.expr(), input)?;
        (plain && !value.data_type.is_nested()).then_some(ExprKind::Cast { value, or_null: false })
    } else if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
        let value = boxed(cast.expr(), input)?;
        (!data_type.is_nested() && !value.data_type.is_nested()).then_some(ExprKind::Cast { value, or_null: true })
    } else if let Some(in_list) = expr.downcast_ref::<InListExpr>() {
        in_kind(in_list, input)?
    } else if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        like_kind(like, input)?
    } else if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        case_kind(case, input, &data_type)?
    } else {
        None
    };
    Ok(kind.map(|kind| Expr { kind, data_type }))
}

/// The expression itself, on whole chunks of the columns it reads.
fn call(expr: &Physical, input: &Schema) -> Result<Expr> {
    let call = PhysicalCall::new(expr, input)?;
    let arguments = call.columns().iter().map(|&place| Expr::column(place, input.field(place).data_type().clone()));
    let (arguments, data_type) = (arguments.collect(), call.data_type().clone());
    Ok(Expr { kind: ExprKind::Call(Arc::new(call), arguments), data_type })
}

fn boxed(expr: &Physical, input: &Schema) -> Result<Box<Expr>> {
    lower(expr, input).map(Box::new)
}

/// A truth value; `None` for what only looks like one.
fn truth(expr: &Physical, input: &Schema) -> Result<Option<Box<Expr>>> {
    let expr = boxed(expr, input)?;
    Ok((expr.data_type == DataType::Boolean).then_some(expr))
}

fn binary_kind(binary: &BinaryExpr, input: &Schema) -> Result<Option<ExprKind>> {
    let compare = match binary.op() {
        Operator::Eq => Some(CompareOp::Equal),
        Operator::NotEq => Some(CompareOp::NotEqual),
        Operator::Lt => Some(CompareOp::Less),
        Operator::LtEq => Some(CompareOp::LessOrEqual),
        Operator::Gt => Some(CompareOp::Greater),
        Operator::GtEq => Some(CompareOp::GreaterOrEqual),
        Operator::IsDistinctFrom => Some(CompareOp::Distinct),
        Operator::IsNotDistinctFrom => Some(CompareOp::NotDistinct),
        _ => None,
    };
    if let Some(op) = compare {
        let (left, right) = (boxed(binary.left(), input)?, boxed(binary.right(), input)?);
        let same = left.data_type == right.data_type && !left.data_type.is_nested();
        return Ok(same.then_some(ExprKind::Compare(op, left, right)));
    }
    match binary.op() {
        Operator::And | Operator::Or => {
            let (Some(left), Some(right)) = (truth(binary.left(), input)?, truth(binary.right(), input)?) else {
                return Ok(None);
            };
            let mut parts = Vec::new();
            for side in [*left, *right] {
                match (binary.op(), side.kind) {
                    (Operator::And, ExprKind::And(inner)) | (Operator::Or, ExprKind::Or(inner)) => parts.extend(inner),
                    (_, kind) => parts.push(Expr::boolean(kind)),
                }
            }
            Ok(Some(if *binary.op() == Operator::And { ExprKind::And(parts) } else { ExprKind::Or(parts) }))
        }
        operator => arithmetic_kind(*operator, binary.left(), binary.right(), input),
    }
}

fn arithmetic_kind(operator: Operator, left: &Physical, right: &Physical, input: &Schema) -> Result<Option<ExprKind>> {
    let op = match operator {
        Operator::Plus => ArithmeticOp::Add,
        Operator::Minus => ArithmeticOp::Subtract,
        Operator::Multiply => ArithmeticOp::Multiply,
        Operator::Divide => ArithmeticOp::Divide,
        Operator::Modulo => ArithmeticOp::Remainder,
        _ => return Ok(None),
    };
    let (left, right) = (boxed(left, input)?, boxed(right, input)?);
    let known = |expr: &Expr| {
        let data_type = &expr.data_type;
        data_type.is_numeric() && !matches!(data_type, DataType::Float16 | DataType::Decimal256(..))
    };
    let same_kind = left.data_type == right.data_type || (left.data_type.is_decimal() && right.data_type.is_decimal());
    Ok((known(&left) && known(&right) && same_kind).then_some(ExprKind::Arithmetic(op, left, right)))
}

fn function_kind(function: &ScalarFunctionExpr, input: &Schema) -> Result<Option<ExprKind>> {
    let arguments = function.args();
    if let Some(checked) = function.fun().inner().downcast_ref::<CheckedOperation>() {
        return match (checked.operator(), arguments) {
            (Some(operator), [left, right]) => arithmetic_kind(operator, left, right, input),
            (None, [value]) => Ok(Some(ExprKind::Negate(boxed(value, input)?))),
            _ => Ok(None),
        };
    }
    match (function.name(), arguments) {
        ("date_part" | "extract" | "datepart", [part, value]) => {
            let value = boxed(value, input)?;
            let part = match text_of(part).map(|part| part.to_lowercase()).as_deref() {
                Some("year") => DatePart::Year,
                Some("month") => DatePart::Month,
                Some("day") => DatePart::Day,
                _ => return Ok(None),
            };
            let dated = matches!(value.data_type, DataType::Date32 | DataType::Timestamp(_, None));
            Ok((dated && *function.return_type() == DataType::Int32).then_some(ExprKind::DatePart(part, value)))
        }
        ("abs", [value]) => {
            let value = boxed(value, input)?;
            let same = value.data_type == *function.return_type();
            let known = value.data_type.is_integer() || is_float(&value.data_type) || is_decimal(&value.data_type);
            Ok((same && known).then_some(ExprKind::Absolute(value)))
        }
        // `CASE WHEN value = other THEN NULL ELSE value END`: the value stands twice.
        ("nullif", [value, other]) => {
            let (value, other) = (boxed(value, input)?, boxed(other, input)?);
            let same = value.data_type == other.data_type && value.data_type == *function.return_type();
            if !same || value.data_type.is_nested() || !is_cheap(&value) {
                return Ok(None);
            }
            let nothing = Expr::literal(new_null_array(&value.data_type, 1));
            let equal = Expr::boolean(ExprKind::Compare(CompareOp::Equal, value.clone(), other));
            Ok(Some(ExprKind::Case { branches: vec![(equal, nothing)], otherwise: Some(value) }))
        }
        ("character_length" | "char_length" | "length", [value]) => {
            let value = boxed(value, input)?;
            let text = matches!(value.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            let known = matches!(function.return_type(), DataType::Int32 | DataType::Int64);
            Ok((text && known).then_some(ExprKind::CharacterLength(value)))
        }
        ("substr" | "substring", [value, start, rest @ ..]) => {
            let value = boxed(value, input)?;
            let length = match rest {
                [] => None,
                [length] => match number_of(length) {
                    Some(length) if length >= 0 => Some(length),
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            };
            let Some(start) = number_of(start) else { return Ok(None) };
            let text = matches!(value.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            Ok(text.then_some(ExprKind::Substring { value, start, length }))
        }
        _ => Ok(None),
    }
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..))
}

/// Whether it may be computed twice: it costs little, and is the same both times.
fn is_cheap(expr: &Expr) -> bool {
    !matches!(expr.kind, ExprKind::Call(..) | ExprKind::Case { .. }) && expr.children().into_iter().all(is_cheap)
}

fn in_kind(in_list: &InListExpr, input: &Schema) -> Result<Option<ExprKind>> {
    let value = boxed(in_list.expr(), input)?;
    let literals = in_list.list().iter().map(|item| item.downcast_ref::<Literal>().map(|item| item.value().clone()));
    let Some(literals) = literals.collect::<Option<Vec<ScalarValue>>>() else { return Ok(None) };
    if literals.is_empty() || literals.iter().any(|literal| literal.data_type() != value.data_type) {
        return Ok(None);
    }
    let list = ScalarValue::iter_to_array(literals).map_err(from_datafusion)?;
    Ok(Some(ExprKind::In { value, list, negated: in_list.negated() }))
}

fn like_kind(like: &LikeExpr, input: &Schema) -> Result<Option<ExprKind>> {
    let value = boxed(like.expr(), input)?;
    let text = matches!(value.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    Ok(text_of(like.pattern()).filter(|_| text).map(|pattern| ExprKind::Like {
        value,
        pattern,
        negated: like.negated(),
        ignore_case: like.case_insensitive(),
    }))
}

fn case_kind(case: &CaseExpr, input: &Schema, data_type: &DataType) -> Result<Option<ExprKind>> {
    let subject = case.expr().map(|subject| lower(subject, input)).transpose()?;
    let mut branches = Vec::new();
    for (when, then) in case.when_then_expr() {
        let (when, then) = (lower(when, input)?, lower(then, input)?);
        let condition = match &subject {
            None if when.data_type == DataType::Boolean => when,
            Some(subject) if subject.data_type == when.data_type && !when.data_type.is_nested() => {
                let sides = (Box::new(subject.clone()), Box::new(when));
                Expr::boolean(ExprKind::Compare(CompareOp::Equal, sides.0, sides.1))
            }
            _ => return Ok(None),
        };
        branches.push((condition, then));
    }
    let otherwise = case.else_expr().map(|otherwise| boxed(otherwise, input)).transpose()?;
    let fits = |expr: &Expr| expr.data_type == *data_type && !data_type.is_nested();
    let all_fit = branches.iter().all(|(_, then)| fits(then)) && otherwise.as_deref().is_none_or(fits);
    Ok(all_fit.then_some(ExprKind::Case { branches, otherwise }))
}

fn text_of(expr: &Physical) -> Option<String> {
    expr.downcast_ref::<Literal>()?.value().try_as_str()?.map(str::to_owned)
}

fn number_of(expr: &Physical) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(number) => *number,
        ScalarValue::Int32(number) => number.map(i64::from),
        _ => None,
    }
}
