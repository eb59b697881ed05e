//! Window expressions as calls of the pipeline language.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema};
use bireme_operators::pipeline::ir::{Expr, WindowFrame, WindowFunction};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::WindowUDFExpr;

use crate::fuse::aggregate::{is_plain, is_value, typed};
use crate::fuse::expr::lower;

/// A call over the value of an expression.
pub struct Call {
    /// Its column is still to be found.
    pub function: WindowFunction,
    pub argument: Option<Expr>,
    pub frame: WindowFrame,
    pub data_type: DataType,
}

/// The call of a window expression, or why there is none.
pub fn call(expr: &Arc<dyn WindowExpr>, input: &Schema) -> std::result::Result<Call, String> {
    let data_type = expr.field().map_err(|error| error.to_string())?.data_type().clone();
    let argument = expr.expressions().first().map(|argument| lower(argument, input)).transpose();
    let argument = argument.map_err(|error| error.to_string())?.map(typed);
    let function = if let Some(standard) = expr.as_any().downcast_ref::<StandardWindowExpr>() {
        standard_function(standard, &data_type)?
    } else if let Some(aggregate) = expr.as_any().downcast_ref::<PlainAggregateWindowExpr>() {
        aggregate_function(aggregate, argument.as_ref())?
    } else {
        return Err("a frame that does not begin with the partition".into());
    };
    let frame = match frame(expr) {
        Some(frame) => frame,
        None if function.has_frame() => return Err("a frame that is not one of the simple ones".into()),
        None => WindowFrame::Partition,
    };
    let argument = argument.filter(|_| function.column().is_some());
    if !function.supports(argument.as_ref().map(|argument| &argument.data_type), &data_type) {
        return Err(format!("no native form with a result of type {data_type}"));
    }
    Ok(Call { function, argument, frame, data_type })
}

fn frame(expr: &Arc<dyn WindowExpr>) -> Option<WindowFrame> {
    let frame = expr.get_window_frame();
    if !matches!(frame.start_bound, WindowFrameBound::Preceding(_)) || !frame.start_bound.is_unbounded() {
        return None;
    }
    match (&frame.end_bound, frame.units) {
        (WindowFrameBound::Following(_), _) if frame.end_bound.is_unbounded() => Some(WindowFrame::Partition),
        (WindowFrameBound::CurrentRow, WindowFrameUnits::Rows) => Some(WindowFrame::Rows),
        (WindowFrameBound::CurrentRow, WindowFrameUnits::Range | WindowFrameUnits::Groups) => Some(WindowFrame::Range),
        _ => None,
    }
}

fn standard_function(expr: &StandardWindowExpr, data_type: &DataType) -> std::result::Result<WindowFunction, String> {
    use WindowFunction::*;
    let function = expr.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>();
    let function = function.ok_or("a function of another kind")?;
    // There is no other way to ask for these two; a text that says otherwise is in doubt an island.
    if !format!("{function:?}").ends_with("is_reversed: false, ignore_nulls: false }") {
        return Err("IGNORE NULLS, or an order that is reversed".into());
    }
    let literal = |place: usize| match function.args().get(place) {
        None => Ok(None),
        Some(argument) => match argument.downcast_ref::<Literal>() {
            Some(literal) => Ok(Some(literal.value().clone())),
            None => Err("an argument that is no literal"),
        },
    };
    let shift = || {
        let offset = match literal(1)? {
            None => 1,
            // That is how DataFusion reads it.
            Some(offset) if offset.is_null() => 0,
            Some(offset) => whole(&offset, &DataType::Int64).ok_or("an offset that is no number")?,
        };
        let default = literal(2)?.filter(|default| !default.is_null());
        let default = default.map(|default| default.cast_to(data_type).and_then(|default| default.to_array_of_size(1)));
        let default = default.transpose().map_err(|_| "a default of another type")?;
        Ok::<_, &str>((offset, default.filter(|default| default.null_count() == 0)))
    };
    Ok(match function.fun().name() {
        "row_number" => RowNumber,
        "rank" => Rank,
        "dense_rank" => DenseRank,
        "percent_rank" => PercentRank,
        "cume_dist" => CumeDist,
        "ntile" => {
            let parts = literal(0)?.and_then(|parts| whole(&parts, &DataType::UInt64));
            Ntile(parts.and_then(|parts| u64::try_from(parts).ok()).ok_or("a number of parts that is none")?)
        }
        "lag" => shift().map(|(offset, default)| Lag(0, offset, default))?,
        "lead" => shift().map(|(offset, default)| Lead(0, offset, default))?,
        "first_value" => FirstValue(0),
        "last_value" => LastValue(0),
        _ => return Err("no native form".into()),
    })
}

fn whole(value: &ScalarValue, data_type: &DataType) -> Option<i64> {
    match value.cast_to(data_type).ok()? {
        ScalarValue::Int64(number) => number,
        ScalarValue::UInt64(number) => number?.try_into().ok(),
        _ => None,
    }
}

fn aggregate_function(
    expr: &PlainAggregateWindowExpr,
    argument: Option<&Expr>,
) -> std::result::Result<WindowFunction, String> {
    use WindowFunction::*;
    let aggregate = expr.get_aggregate_expr();
    // The filter cannot be asked for in any other way.
    if !format!("{expr:?}").ends_with("filter: None }") {
        return Err("a FILTER".into());
    }
    if aggregate.is_distinct() || aggregate.ignore_nulls() || !aggregate.order_bys().is_empty() {
        return Err("DISTINCT, IGNORE NULLS, or an order of its own".into());
    }
    let (true, Some(argument)) = (aggregate.expressions().len() == 1, argument) else {
        return Err("several arguments".into());
    };
    let plain = is_plain(&argument.data_type) && !matches!(argument.data_type, DataType::Decimal256(..));
    Ok(match aggregate.fun().name() {
        // COUNT(1) counts rows.
        "count" if is_value(argument) => Count(None),
        "count" => Count(Some(0)),
        "sum" if plain => Sum(0),
        "avg" if plain => Avg(0),
        "min" if plain => Min(0),
        "max" if plain => Max(0),
        _ => return Err("no native form".into()),
    })
}
