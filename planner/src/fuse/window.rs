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

mod call;
mod partitions;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use bireme_operators::pipeline::ir::{Expr, ExprKind, SortKey, Step, WindowCall, WindowSpec};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};

use self::call::{Call, call};
pub use self::partitions::by_partitions;
use super::Fused;
use super::expr::lower;

type Physical = Arc<dyn PhysicalExpr>;

/// A window node in one form.
pub struct Window<'a> {
    exprs: &'a [Arc<dyn WindowExpr>],
    pub input: &'a Arc<dyn ExecutionPlan>,
    /// Whether the order that the input promises is one for the functions.
    pub in_order: bool,
    pub schema: SchemaRef,
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
        let window = Self { exprs, input, in_order: in_order(node, input), schema: node.schema() };
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

/// Whether an input promises the order that its node asks for. It need not where nobody has made it do so
/// (physical/native_first).
fn in_order(node: &Arc<dyn ExecutionPlan>, input: &Arc<dyn ExecutionPlan>) -> bool {
    let required = node.required_input_ordering().into_iter().flatten().next();
    let properties = input.equivalence_properties();
    required.is_none_or(|order| properties.ordering_satisfy_requirement(order.into_single()).unwrap_or(false))
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
            let Call { function, argument, frame, data_type } = call(expr, &input).map_err(Error::internal)?;
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
