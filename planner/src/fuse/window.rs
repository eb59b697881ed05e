//! `WindowAggExec`, `BoundedWindowAggExec`.
//!
//! ```text
//! BoundedWindowAggExec: rank() …             pipeline 0: scan t → sort slot 0 [#0 asc …, #1 asc …]
//!   SortExec: a, b                    ──►    pipeline 1: slot 0 by [#0] → window by [#0] order [#1 …] of [rank()] → …
//!     RepartitionExec: Hash([a])
//! ```
//!
//! Several windows over one order are steps of one pipeline. Its rows are read in order by one worker if somebody counts on
//! the order, or if a window has no partition; else in morsels of whole partitions by all.
//!
//! Native are functions that are simple to compute over frames which begin with the partition: the others stay in an
//! island, and a note says why.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bireme_engine::error::Result;
use bireme_operators::pipeline::ir::{
    Expr, ExprKind, Pipeline, Sink, SortKey, Source, Step, WindowCall, WindowFrame, WindowFunction, WindowSpec,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};

use super::Fused;
use super::aggregate::{is_plain, is_value, typed};
use super::expr::lower;

type Physical = Arc<dyn PhysicalExpr>;

/// A window node in one form.
pub struct Window<'a> {
    exprs: &'a [Arc<dyn WindowExpr>],
    pub input: &'a Arc<dyn ExecutionPlan>,
    pub schema: SchemaRef,
}

/// A call over the value of an expression.
struct Call {
    /// Its column is still to be found.
    function: WindowFunction,
    argument: Option<Expr>,
    frame: WindowFrame,
    data_type: DataType,
}

impl<'a> Window<'a> {
    /// The node as windows, if it has some; or why they have no native form.
    pub fn of(node: &'a Arc<dyn ExecutionPlan>) -> Option<std::result::Result<Self, String>> {
        let (exprs, input, sorted) = if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            (window.window_expr(), window.input(), true)
        } else {
            let window = node.downcast_ref::<BoundedWindowAggExec>()?;
            let sorted = window.input_order_mode == InputOrderMode::Sorted && window.state_observer().is_none();
            (window.window_expr(), window.input(), sorted)
        };
        let window = Self { exprs, input, schema: node.schema() };
        Some(match window.reason_against() {
            None if !sorted => Err("its input is not sorted".into()),
            None => Ok(window),
            Some(reason) => Err(reason),
        })
    }

    fn reason_against(&self) -> Option<String> {
        let first = self.exprs.first()?;
        let keys = || self.partition().iter().chain(self.order().iter().map(|key| &key.expr));
        for expr in self.exprs {
            if expr.partition_by() != first.partition_by() || expr.order_by() != first.order_by() {
                return Some("its functions have several orders".into());
            }
            if expr.expressions().iter().any(is_volatile) || keys().any(is_volatile) {
                return Some(format!("{} reads what is never twice the same", expr.name()));
            }
            if let Err(reason) = call(expr, &self.input.schema()) {
                return Some(format!("{}: {reason}", expr.name()));
            }
        }
        None
    }

    pub fn partition(&self) -> &[Physical] {
        self.exprs.first().map_or(&[], |expr| expr.partition_by())
    }

    fn order(&self) -> &[PhysicalSortExpr] {
        self.exprs.first().map_or(&[], |expr| expr.order_by())
    }

    /// An order for rows that have none, and whether it is also the one that the input promises.
    pub fn order_to_make(&self) -> (Vec<PhysicalSortExpr>, bool) {
        let promised = self.input.output_ordering();
        if let Some(promised) = promised.filter(|promised| self.is_enough(promised)) {
            return (promised.iter().cloned().collect(), true);
        }
        let partition = self.partition().iter().map(|key| PhysicalSortExpr::new_default(Arc::clone(key)));
        (partition.chain(self.order().iter().cloned()).collect(), promised.is_none())
    }

    /// Whether rows in this order have partitions together, and are in order within them.
    fn is_enough(&self, order: &LexOrdering) -> bool {
        let (partition, order) = (self.partition(), order.iter().collect::<Vec<_>>());
        let first = order.iter().take_while(|key| partition.contains(&key.expr)).count();
        let mut rest = order[first..].iter();
        partition.iter().all(|key| order[..first].iter().any(|sorted| sorted.expr.eq(key)))
            && self.order().iter().filter(|key| !partition.contains(&key.expr)).all(|key| rest.next() == Some(&key))
    }
}

/// The call of a window expression, or why there is none.
fn call(expr: &Arc<dyn WindowExpr>, input: &Schema) -> std::result::Result<Call, String> {
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

impl Fused {
    /// Appends windows to rows that are sorted for them.
    pub fn window(mut self, window: &Window<'_>) -> Result<Self> {
        let input = window.input.schema();
        let mut wanted = Vec::new();
        let mut place = |expr: Expr| {
            wanted.push(expr);
            wanted.len() - 1
        };
        // A constant tells no rows apart.
        let tells = |expr: &Expr| !matches!(expr.kind, ExprKind::Literal(_));
        let (mut partition, mut order, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for key in window.partition() {
            partition.extend(Some(lower(key, &input)?).filter(tells).map(&mut place));
        }
        for key in window.order() {
            let (descending, nulls_first) = (key.options.descending, key.options.nulls_first);
            let column = Some(lower(&key.expr, &input)?).filter(tells).map(&mut place);
            order.extend(column.map(|column| SortKey { column, descending, nulls_first }));
        }
        for expr in window.exprs {
            let unsupported = bireme_engine::Error::internal;
            let Call { function, argument, frame, data_type } = call(expr, &input).map_err(unsupported)?;
            let argument = argument.map(&mut place).unwrap_or_default();
            calls.push(WindowCall { function: function.with_column(argument), frame, data_type });
            self.expressions.extend(expr.expressions());
        }
        self.expressions.extend(window.partition().iter().map(Arc::clone));
        self.expressions.extend(window.order().iter().map(|key| Arc::clone(&key.expr)));

        let columns = self.types.len();
        let places = self.places(wanted);
        let spec = WindowSpec { partition, order, calls }.with_columns(&|place| places[place]);
        let types = self.types.clone();
        let had = types.len();
        self.types.extend(spec.calls.iter().map(|call| call.data_type.clone()));
        self.steps.push(Step::Window(spec, types));
        if had > columns {
            let kept = self.columns().into_iter().enumerate();
            let kept = kept.filter(|(place, _)| *place < columns || *place >= had).map(|(_, column)| column).collect();
            self.project(kept, Arc::clone(&window.schema));
        }
        self.schema = Arc::clone(&window.schema);
        Ok(self)
    }
}

/// What a pipeline with windows reads if nobody counts on the order of its rows: whole partitions of all windows, in any
/// order, if the rows of the slot are sorted by them first.
pub fn by_partitions(source: &Source, steps: &[Step], before: &[Pipeline]) -> Option<Source> {
    let Source::Slot(slot) = source else { return None };
    let (sort, types) = before.iter().find_map(|pipeline| match &pipeline.sink {
        Sink::Sort(filled, spec) if filled == slot => Some((spec, &pipeline.types)),
        _ => None,
    })?;
    let partition = common_partition(steps, types.len())?;
    let keys = sort.keys.iter().take(partition.len()).map(|key| key.column).collect::<Vec<_>>();
    let sorted_first = !keys.is_empty() && partition.iter().all(|column| keys.contains(column));
    sorted_first.then(|| Source::Partitions(*slot, keys.into_iter().map(|key| (key, types[key].clone())).collect()))
}

/// The columns of the source by which all windows partition; `None` if there is no window, or rows are counted.
fn common_partition(steps: &[Step], columns: usize) -> Option<Vec<usize>> {
    let mut origin = (0..columns).map(Some).collect::<Vec<_>>();
    let mut common: Option<Vec<usize>> = None;
    for step in steps {
        match step {
            Step::Filter(_) => {}
            Step::Limit { .. } => return None,
            // No window comes behind a join.
            Step::Probe(..) => break,
            Step::Project(exprs) => {
                let through = |expr: &Expr| match expr.kind {
                    ExprKind::Column(column) => origin[column],
                    _ => None,
                };
                origin = exprs.iter().map(through).collect();
            }
            Step::Window(spec, _) => {
                let mut partition = spec.partition.iter().filter_map(|&column| origin[column]).collect::<Vec<_>>();
                partition.sort_unstable();
                partition.dedup();
                if let Some(common) = &common {
                    partition.retain(|column| common.contains(column));
                }
                common = Some(partition);
                origin.extend(spec.calls.iter().map(|_| None));
            }
        }
    }
    common
}
