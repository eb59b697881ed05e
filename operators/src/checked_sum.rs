//! SUM that fails on overflow instead of wrapping.
//!
//! DataFusion's SUM adds in the type of its result and wraps. An error at the first overflow would not do either:
//! whether a partial sum overflows depends on how the rows were split and in which order they came. Here the sum is
//! exact and only its *final value* is checked, so neither partitions nor order decide.
//!
//! A sum is kept in two parts, `carry * 2^bits + low`, where `low` has the type of the input and wraps, and `carry`
//! counts how often it did. Groups keep a plain vector of `low`; carries are allocated when the first sum wraps,
//! which is hardly ever, so that the usual case costs what DataFusion's costs. Between partial and final aggregation:
//!
//! | result                         | state                                         |
//! |--------------------------------|-----------------------------------------------|
//! | Int64, UInt64, Decimal32, -64  | Decimal128(38): `carry` and `low` in one      |
//! | Decimal128                     | Decimal256(76): likewise                      |
//! | Decimal256                     | Decimal256(76) `low` and Int64 `carry`        |
//!
//! State columns carry plain integers in decimal's clothes: nobody checks or rounds them to their precision on the way.
//! A decimal result past its declared precision is an overflow too. Floats, durations and intervals are DataFusion's.

use std::sync::Arc;

use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, GroupsAccumulator, Operator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

mod groups;
mod single;
#[cfg(test)]
mod tests;
mod wide;

use groups::CheckedGroups;
use single::{CheckedDistinctSum, CheckedRunningSum};
use wide::{Summand, Target};

/// `sum`, to be registered in place of DataFusion's.
pub fn checked_sum() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedSum::default()))
}

/// SUM whose integer and decimal results fail on overflow.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckedSum {
    /// Signature, types, properties, and the sums that are not checked here.
    original: Sum,
}

/// Calls a generic function with the summand of a result type, or does something else for types that are not checked.
macro_rules! by_result_type {
    ($data_type:expr, $function:ident($($argument:expr),*), else $otherwise:expr) => {
        match $data_type {
            DataType::Int64 => $function::<Int64Type>($($argument),*),
            DataType::UInt64 => $function::<UInt64Type>($($argument),*),
            DataType::Decimal32(_, _) => $function::<Decimal32Type>($($argument),*),
            DataType::Decimal64(_, _) => $function::<Decimal64Type>($($argument),*),
            DataType::Decimal128(_, _) => $function::<Decimal128Type>($($argument),*),
            DataType::Decimal256(_, _) => $function::<Decimal256Type>($($argument),*),
            _ => $otherwise,
        }
    };
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.original.name()
    }

    fn signature(&self) -> &Signature {
        self.original.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.original.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        by_result_type!(args.return_type(), accumulator(&args), else self.original.accumulator(args))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        by_result_type!(args.return_type(), accumulator(&args), else self.original.create_sliding_accumulator(args))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return self.original.state_fields(args); // a list of the distinct values
        }
        by_result_type!(args.return_type(), state_fields(&args), else self.original.state_fields(args))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.original.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        by_result_type!(args.return_type(), groups(&args), else self.original.create_groups_accumulator(args))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.original.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.original.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.original.set_monotonicity(data_type)
    }

    /// `SUM(a + 1)` is not taken apart into `SUM(a) + 1 * COUNT(a)` unless it is a float: one may overflow where the
    /// other does not.
    fn simplify_expr_op_literal(
        &self,
        agg_function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        lit: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        match lit {
            Expr::Literal(value, _) if value.data_type().is_floating() => {
                self.original.simplify_expr_op_literal(agg_function, arg, op, lit, arg_is_left)
            }
            _ => Ok(None),
        }
    }

    /// Sums in statistics were added by others, who may have wrapped.
    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        if is_checked(args.return_type) { None } else { self.original.value_from_stats(args) }
    }
}

/// Whether a sum with this result is checked.
fn is_checked(result: &DataType) -> bool {
    matches!(result, DataType::Int64 | DataType::UInt64) || result.is_decimal()
}

fn accumulator<S: Summand>(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let target = Target::<S>::new(args.name, args.return_type());
    Ok(if args.is_distinct {
        Box::new(CheckedDistinctSum::new(target))
    } else {
        Box::new(CheckedRunningSum::new(target))
    })
}

fn groups<S: Summand>(args: &AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
    Ok(Box::new(CheckedGroups::new(Target::<S>::new(args.name, args.return_type()))))
}

fn state_fields<S: Summand>(args: &StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
    let target = Target::<S>::new(args.name, args.return_type());
    let mut fields = vec![Arc::new(Field::new(format_state_name(args.name, "sum"), target.state_type, true))];
    if S::CARRY_COLUMN {
        fields.push(Arc::new(Field::new(format_state_name(args.name, "carry"), DataType::Int64, true)));
    }
    Ok(fields)
}
