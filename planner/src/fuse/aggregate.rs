//! `AggregateExec`.
//!
//! ```text
//! AggregateExec: FinalPartitioned            aggregate Single                      (one rank)
//!   RepartitionExec: Hash             ──►
//!     AggregateExec: Partial                 aggregate Partial ─hash exchange─► aggregate Final   (several)
//! ```

use std::sync::Arc;

use arrow::array::{Array, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::error::Result;
use bireme_operators::group_function::DataFusionGroups;
use bireme_operators::pipeline::ir::{
    AggregateCall, AggregateFunction, AggregateMode, AggregateSpec, Expr, ExprKind, Sink, SlotId,
};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::aggregates::AggregateExec;

use super::Fused;
use super::expr::lower;

/// Whether the groups and functions of a node have a native form.
pub fn supported(node: &AggregateExec) -> bool {
    let group = node.group_expr();
    let input = node.input_schema();
    let keys = group.expr();
    !group.has_grouping_set()
        && (group.is_single() || group.is_true_no_grouping())
        && keys.iter().all(|(key, _)| !is_volatile(key) && key.data_type(&input).is_ok_and(|key| is_plain(&key)))
        && node.aggr_expr().iter().all(|call| function(call).is_some())
        && node.filter_expr().iter().flatten().all(|filter| !is_volatile(filter))
}

/// Whether some function counts each value once.
pub fn is_distinct(node: &AggregateExec) -> bool {
    node.aggr_expr().iter().any(|call| call.is_distinct() && !matches!(call.fun().name(), "min" | "max"))
}

/// Whether rows can be grouped by values of a type.
pub(crate) fn is_plain(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => {
            matches!(values.as_ref(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        DataType::Interval(_) | DataType::Null | DataType::FixedSizeBinary(_) | DataType::Float16 => false,
        other => !other.is_nested(),
    }
}

fn function(call: &AggregateFunctionExpr) -> Option<AggregateFunction> {
    let arguments = call.expressions();
    let result = call.field().data_type().clone();
    if !call.order_bys().is_empty() || call.ignore_nulls() || arguments.iter().any(is_volatile) {
        return None;
    }
    let number = result.is_numeric() && !matches!(result, DataType::Float16 | DataType::Decimal256(..));
    match call.fun().name() {
        "count" if !call.is_distinct() || arguments.len() == 1 => Some(AggregateFunction::Count),
        "sum" if number => Some(AggregateFunction::Sum),
        "avg" if number => Some(AggregateFunction::Avg),
        "min" if is_plain(&result) && !matches!(result, DataType::Decimal256(..)) => Some(AggregateFunction::Min),
        "max" if is_plain(&result) && !matches!(result, DataType::Decimal256(..)) => Some(AggregateFunction::Max),
        _ if call.is_distinct() => None,
        _ => DataFusionGroups::new(call).map(|groups| AggregateFunction::Other(Arc::new(groups))),
    }
}

impl Fused {
    /// Groups rows that are not grouped yet as `node` says, whose input has the schema `input`.
    pub fn group(mut self, node: &AggregateExec, input: &SchemaRef, mode: AggregateMode, slot: SlotId) -> Result<Self> {
        let keys = node.group_expr().expr().iter().map(|(key, _)| lower(key, input)).collect::<Result<Vec<_>>>()?;
        let mut wanted = keys;
        let key_count = wanted.len();
        let mut calls = Vec::new();
        for (call, filter) in node.aggr_expr().iter().zip(node.filter_expr()) {
            let arguments =
                call.expressions().iter().map(|argument| lower(argument, input)).collect::<Result<Vec<_>>>()?;
            let filter = filter.as_ref().map(|filter| lower(filter, input)).transpose()?;
            self.expressions.extend(call.expressions());
            let start = wanted.len();
            let function = function(call).unwrap_or(AggregateFunction::Count);
            // COUNT(1) counts rows.
            let rows = matches!(function, AggregateFunction::Count) && !call.is_distinct();
            wanted.extend(arguments.into_iter().filter(|argument| !(rows && is_value(argument))).map(typed));
            let arguments = start..wanted.len();
            let filter = filter.map(|filter| {
                wanted.push(filter);
                wanted.len() - 1
            });
            let distinct = call.is_distinct() && !matches!(function, AggregateFunction::Min | AggregateFunction::Max);
            calls.push((function, distinct, call.field().data_type().clone(), arguments, filter));
        }
        self.expressions.extend(node.group_expr().expr().iter().map(|(key, _)| Arc::clone(key)));
        self.expressions.extend(node.filter_expr().iter().flatten().map(Arc::clone));
        let types = wanted.iter().map(|expr| expr.data_type.clone()).collect::<Vec<_>>();
        let places = self.places(wanted);
        let calls = calls.into_iter().map(|(function, distinct, data_type, arguments, filter)| AggregateCall {
            function,
            arguments: arguments.map(|argument| (places[argument], types[argument].clone())).collect(),
            filter: filter.map(|filter| places[filter]),
            distinct,
            data_type,
        });
        let spec = AggregateSpec { keys: places[..key_count].to_vec(), calls: calls.collect(), mode, limit: None };
        let kept = kept_types(&spec, &types[..key_count]);
        let layout = self.layout.mapped(|column| spec.keys.iter().position(|&key| key == column));
        self.sink(Sink::Aggregate(slot, spec), slot, kept);
        self.layout = layout;
        self.sorted = false;
        Ok(self)
    }

    /// Finishes groups that [`Fused::group`] began on other ranks with this spec.
    pub fn regroup(mut self, partial: &AggregateSpec, slot: SlotId) -> Self {
        let keys = self.types[..partial.keys.len()].to_vec();
        let mut spec = partial.clone();
        spec.mode = AggregateMode::Final;
        spec.keys = (0..keys.len()).collect();
        let kept = kept_types(&spec, &keys);
        let layout = self.layout.mapped(|column| (column < keys.len()).then_some(column));
        self.sink(Sink::Aggregate(slot, spec), slot, kept);
        self.layout = layout;
        self
    }
}

pub(super) fn is_value(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Literal(value) if value.logical_null_count() == 0)
}

/// An argument without a type, which is always NULL, as one that has one.
pub(super) fn typed(expr: Expr) -> Expr {
    match expr.data_type {
        DataType::Null => Expr::literal(new_null_array(&DataType::Int64, 1)),
        _ => expr,
    }
}

fn kept_types(spec: &AggregateSpec, keys: &[DataType]) -> Vec<DataType> {
    let calls = spec.calls.iter().flat_map(|call| match spec.mode {
        AggregateMode::Partial => call.state_types(),
        AggregateMode::Single | AggregateMode::Final => vec![call.data_type.clone()],
    });
    keys.iter().cloned().chain(calls).collect()
}
