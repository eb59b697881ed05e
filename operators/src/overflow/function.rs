//! `+`, `-`, `*` and unary `-` on integers as functions that fail on overflow.

use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// Integer arithmetic that fails on overflow; both operands have the type of the result.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CheckedOperation {
    operation: Operation,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

static ADD: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Operation::Add));
static SUBTRACT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Operation::Subtract));
static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Operation::Multiply));
static NEGATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Operation::Negate));

fn function(operation: Operation) -> Arc<ScalarUDF> {
    let operands = if operation == Operation::Negate { 1 } else { 2 };
    let signature = Signature::any(operands, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(CheckedOperation { operation, signature }))
}

/// `left op right`, checked; `None` where `op` cannot overflow.
pub(super) fn checked_binary(left: Expr, op: Operator, right: Expr) -> Option<Expr> {
    let function = match op {
        Operator::Plus => &ADD,
        Operator::Minus => &SUBTRACT,
        Operator::Multiply => &MULTIPLY,
        _ => return None,
    };
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![left, right])))
}

/// `-operand`, checked.
pub(super) fn checked_negative(operand: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&NEGATE), vec![operand]))
}

/// The plain form of a checked operation; anything else comes back as it is.
pub(super) fn plain(expr: Expr) -> Expr {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (operation_of(&func), <[Expr; 2]>::try_from(args))
        {
            (Some(operation), Ok([left, right])) => match operation.operator() {
                Some(op) => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))),
                None => Expr::ScalarFunction(ScalarFunction { func, args: vec![left, right] }),
            },
            (Some(Operation::Negate), Err(mut one)) if one.len() == 1 => Expr::Negative(Box::new(one.remove(0))),
            (_, Ok(args)) => Expr::ScalarFunction(ScalarFunction { func, args: args.into() }),
            (_, Err(args)) => Expr::ScalarFunction(ScalarFunction { func, args }),
        },
        other => other,
    }
}

/// The operator and operands of arithmetic, plain or checked, for rules that look for products and sums.
pub fn as_arithmetic(expr: &Expr) -> Option<(&Expr, Operator, &Expr)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Some((left, *op, right)),
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (operation_of(func)?.operator()?, args.as_slice())
        {
            (op, [left, right]) => Some((left, op, right)),
            _ => None,
        },
        _ => None,
    }
}

fn operation_of(function: &ScalarUDF) -> Option<Operation> {
    function.inner().downcast_ref::<CheckedOperation>().map(|checked| checked.operation)
}

impl CheckedOperation {
    /// The operator; unary minus has none.
    pub fn operator(&self) -> Option<Operator> {
        self.operation.operator()
    }
}

impl Operation {
    fn operator(self) -> Option<Operator> {
        match self {
            Operation::Add => Some(Operator::Plus),
            Operation::Subtract => Some(Operator::Minus),
            Operation::Multiply => Some(Operator::Multiply),
            Operation::Negate => None,
        }
    }
}

impl ScalarUDFImpl for CheckedOperation {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negate => "checked_negate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The name of the plain expression: rewriting one into the other changes no column's name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let plain = match (self.operation.operator(), args) {
            (Some(op), [left, right]) => {
                Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), op, Box::new(right.clone())))
            }
            (None, [operand]) => Expr::Negative(Box::new(operand.clone())),
            _ => return internal_err!("{} has {} operands", self.name(), args.len()),
        };
        Ok(plain.schema_name().to_string())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [operand] if operand.is_integer() => Ok(operand.clone()),
            [left, right] if left == right && left.is_integer() => Ok(left.clone()),
            _ => internal_err!("{} is for two integers of one type, not {arg_types:?}", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.operation, args.args.as_slice()) {
            (Operation::Add, [left, right]) => apply(left, right, add),
            (Operation::Subtract, [left, right]) => apply(left, right, sub),
            (Operation::Multiply, [left, right]) => apply(left, right, mul),
            (Operation::Negate, [ColumnarValue::Array(array)]) => Ok(ColumnarValue::Array(neg(array)?)),
            (Operation::Negate, [ColumnarValue::Scalar(value)]) => {
                Ok(ColumnarValue::Scalar(value.arithmetic_negate()?))
            }
            (_, other) => internal_err!("{} has {} operands", self.name(), other.len()),
        }
    }

    /// What the optimiser knows of plain arithmetic and cannot see here: `a + 0`, `a - 0`, `a * 1`.
    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [left, right] = match <[Expr; 2]>::try_from(args) {
            Ok(operands) => operands,
            Err(args) => return Ok(ExprSimplifyResult::Original(args)),
        };
        let simplified = match self.operation {
            Operation::Add if is(&left, 0) => Ok(right),
            Operation::Add | Operation::Subtract if is(&right, 0) => Ok(left),
            Operation::Multiply if is(&left, 1) => Ok(right),
            Operation::Multiply if is(&right, 1) => Ok(left),
            _ => Err(vec![left, right]),
        };
        Ok(match simplified {
            Ok(operand) => ExprSimplifyResult::Simplified(operand),
            Err(args) => ExprSimplifyResult::Original(args),
        })
    }
}

/// Whether an expression is this integer.
fn is(expr: &Expr, number: i64) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    value.data_type().is_integer() && *value == integer(number, &value.data_type())
}

/// A small number as an integer of a type; NULL for other types.
pub(super) fn integer(number: i64, data_type: &DataType) -> ScalarValue {
    ScalarValue::Int64(Some(number)).cast_to(data_type).unwrap_or(ScalarValue::Null)
}
