//! `FilterExec`.
//!
//! ```text
//! FilterExec: a > 1 AND 1 / b > 2            scan t where [#0 > 1]
//!   DataSourceExec: t                 ──►      filter (1 / #1) > 2
//! ```
//!
//! A scan tests conditions on statistics, on dictionaries, and before it decodes other columns. A condition that can fail
//! must not be tested on rows that another one drops, so it stays behind the scan.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_operators::pipeline::ir::{Expr, Source, Step};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::Fused;
use super::expr::lower;

impl Fused {
    /// Appends a filter.
    pub fn filter(mut self, node: &FilterExec) -> Result<Self> {
        let predicate = lower(node.predicate(), &node.input().schema())?;
        self.expressions.push(Arc::clone(node.predicate()));
        self.keep(predicate);
        if let Some(columns) = node.projection() {
            let exprs = columns.iter().map(|&place| Expr::column(place, self.types[place].clone())).collect();
            self.project(exprs, node.schema());
        }
        self.schema = node.schema();
        Ok(self)
    }

    /// Only rows where it is true.
    pub fn keep(&mut self, predicate: Expr) {
        let mut rest = Vec::new();
        for part in predicate.conjuncts() {
            match &mut self.source {
                // Behind one that stays, none is moved: it may have to be tested first.
                Source::Scan(scan) if self.steps.is_empty() && rest.is_empty() && !part.may_fail() => {
                    scan.predicates.push(part.with_columns(&|place| scan.projection[place]));
                    self.origins.forget_source();
                }
                _ => rest.push(part),
            }
        }
        if let Some(rest) = Expr::all(rest) {
            self.steps.push(Step::Filter(rest));
        }
    }
}
