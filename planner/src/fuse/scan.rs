//! Sources that can be read in morsels.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_engine::error::Result;
use bireme_engine::stage::Pin;
use bireme_operators::pipeline::ir::{Expr, ExprKind, Scan, Source, Step};
use bireme_operators::pipeline::run::{Leaf, LeafSource};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;

use super::Fused;
use super::expr::lower;
use super::layout::RowLayout;

/// What a session knows of a source that it can read in morsels.
pub struct MorselLeaf {
    /// Makes sources of some of its parts.
    pub source: Arc<dyn LeafSource>,
    /// Its columns.
    pub schema: SchemaRef,
    /// What the plan's node makes of them.
    pub projection: Vec<Arc<dyn PhysicalExpr>>,
    /// Canonical text: what it reads.
    pub name: String,
    /// Where each of its parts may be read.
    pub pins: Vec<Pin>,
    /// Lists of columns (of `schema`), each of which alone tells the rank of a row: lane `i` of as many as there are ranks is on
    /// rank `i`, and rows are in the lane that the values of these columns hash to.
    pub hashed_by: Vec<Vec<usize>>,
    /// So many rows are enough.
    pub limit: Option<usize>,
}

impl fmt::Debug for MorselLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Fused {
    /// Reads a source, on as many of `ranks` as it has parts for.
    pub fn scan(leaf: MorselLeaf, number: usize, node: &Arc<dyn ExecutionPlan>, ranks: usize) -> Result<Self> {
        let parts = leaf.pins.len();
        // What is planned as one lane stays one.
        let several = parts > 1 || (parts == 1 && !leaf.hashed_by.is_empty());
        let pinned = several && leaf.pins.iter().any(|pin| matches!(pin, Pin::Rank(_)));
        let lanes = if pinned { ranks } else { ranks.min(parts).max(1) };
        let lane_of = |part: usize| match leaf.pins[part] {
            Pin::Rank(rank) if pinned => rank,
            _ => part * lanes / parts,
        };
        let pins = match leaf.pins.as_slice() {
            [only] if !pinned => vec![*only],
            _ => (0..lanes).map(|lane| if pinned { Pin::Rank(lane) } else { Pin::Free }).collect(),
        };

        let exprs = leaf.projection.iter().map(|expr| lower(expr, &leaf.schema)).collect::<Result<Vec<_>>>()?;
        let mut columns = exprs.iter().flat_map(Expr::columns).collect::<Vec<_>>();
        let plain = exprs.iter().all(|expr| matches!(expr.kind, ExprKind::Column(_)));
        if !plain {
            columns.sort_unstable();
            columns.dedup();
        }
        let types = columns.iter().map(|&column| leaf.schema.field(column).data_type().clone()).collect();
        let scan = Scan {
            leaf: number,
            name: leaf.name,
            projection: columns.clone(),
            predicates: Vec::new(),
            prunes: Vec::new(),
            partners: Vec::new(),
        };
        let mut fused = Self::reading(Source::Scan(scan), node.schema(), pins);
        fused.types = types;
        if pinned {
            let place = |column: &usize| {
                let place = columns.iter().position(|known| known == column)?;
                Some(Expr::column(place, fused.types[place].clone()))
            };
            let lists = leaf.hashed_by.iter().filter_map(|list| list.iter().map(place).collect());
            fused.layout = lists.map(RowLayout::hashed).fold(RowLayout::default(), RowLayout::and);
        }
        if !plain {
            let place = |column: usize| columns.iter().position(|&known| known == column).unwrap_or(0);
            let exprs = exprs.iter().map(|expr| expr.with_columns(&place)).collect();
            fused.project(exprs, node.schema());
        }
        if let Some(fetch) = leaf.limit {
            fused.steps.push(Step::Limit { skip: 0, fetch: Some(fetch) });
        }
        let lanes = (0..parts).map(lane_of).collect();
        fused.leaves = BTreeMap::from([(number, Leaf { source: leaf.source, lanes })]);
        Ok(fused)
    }
}
