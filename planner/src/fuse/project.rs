//! `ProjectionExec`.

use std::sync::Arc;

use bireme_engine::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::Fused;
use super::expr::lower;

impl Fused {
    /// Appends a projection.
    pub fn projection(mut self, node: &ProjectionExec) -> Result<Self> {
        let input = node.input().schema();
        let exprs = node.expr().iter().map(|projected| lower(&projected.expr, &input)).collect::<Result<_>>()?;
        self.expressions.extend(node.expr().iter().map(|projected| Arc::clone(&projected.expr)));
        self.project(exprs, node.schema());
        Ok(self)
    }
}
