//! Physical nodes for logical ones of ours.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::{ContractionExec, GraphExec};
use crate::logical::{Contraction, GraphNode};

/// DataFusion's planner, and what makes physical nodes of ours.
#[derive(Debug)]
pub struct PlansExtensions;

#[async_trait]
impl QueryPlanner for PlansExtensions {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn datafusion::catalog::Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct Extensions;

#[async_trait]
impl ExtensionPlanner for Extensions {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn datafusion::catalog::Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<Contraction>() {
            return match <[_; 2]>::try_from(inputs.to_vec()) {
                Ok(inputs) => Ok(Some(Arc::new(ContractionExec::new(inputs, node.contraction().clone())))),
                Err(_) => internal_err!("a contraction has two inputs"),
            };
        }
        if let Some(node) = node.as_any().downcast_ref::<GraphNode>() {
            return match inputs {
                [edges] => Ok(Some(Arc::new(GraphExec::new(Arc::clone(edges), node)))),
                _ => internal_err!("a graph has one table of edges"),
            };
        }
        Ok(None)
    }
}
