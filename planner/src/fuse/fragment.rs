//! A fragment under construction.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::stage::{ExchangeId, Pin, StageInput};
use bireme_operators::pipeline::ir::{Expr, ExprKind, Pipeline, Sink, SlotId, Source, Step};
use bireme_operators::pipeline::run::Leaf;
use datafusion::physical_expr::PhysicalExpr;

use super::layout::RowLayout;
use super::origin::Origins;
use super::window::by_partitions;

/// Pipelines so far, the last of which is still open.
pub(crate) struct Fused {
    /// Finished pipelines, in an order in which they can run.
    pub pipelines: Vec<Pipeline>,
    /// Where the open pipeline begins.
    pub source: Source,
    /// What it does so far.
    pub steps: Vec<Step>,
    /// The logical types of its rows.
    pub types: Vec<DataType>,
    /// The columns of the physical node it stands for.
    pub schema: SchemaRef,
    /// Whether its rows are in the order that the node promises (within each of its lanes).
    pub sorted: bool,
    /// Whether somebody counts on that.
    pub keeps_order: bool,
    /// Its lanes: one a rank, or fewer.
    pub lanes: Vec<Pin>,
    /// Which of their values tell the lane of its rows.
    pub layout: RowLayout,
    /// Joins in it whose rows lie as the layout says only if that is not decided otherwise while the plan runs, by number.
    pub loose: Vec<usize>,
    /// What it reads from other stages.
    pub inputs: Vec<StageInput>,
    /// Its sources, by number.
    pub leaves: BTreeMap<usize, Leaf>,
    /// Every expression that went into it, for those that read scalar subqueries.
    pub expressions: Vec<Arc<dyn PhysicalExpr>>,
    /// The nodes whose rows come out of its lines.
    pub origins: Origins,
}

impl Fused {
    /// A fragment that only reads.
    pub fn reading(source: Source, schema: SchemaRef, lanes: Vec<Pin>) -> Self {
        Self {
            pipelines: Vec::new(),
            source,
            steps: Vec::new(),
            types: types_of(&schema),
            schema,
            sorted: false,
            keeps_order: false,
            lanes,
            layout: RowLayout::default(),
            loose: Vec::new(),
            inputs: Vec::new(),
            leaves: BTreeMap::new(),
            expressions: Vec::new(),
            origins: Origins::default(),
        }
    }

    /// The exchange it reads, if it does nothing else.
    pub fn bare_exchange(&self) -> Option<ExchangeId> {
        match self.source {
            Source::Exchange(exchange) if self.pipelines.is_empty() && self.steps.is_empty() => Some(exchange),
            _ => None,
        }
    }

    /// Ends the open pipeline in a sink and opens one that reads what the sink keeps, of these types. Where its rows lie is known
    /// to whoever knows what the sink keeps.
    pub fn sink(&mut self, sink: Sink, slot: SlotId, kept: Vec<DataType>) {
        self.end(sink);
        self.source = Source::Slot(slot);
        self.types = kept;
        self.layout = RowLayout::default();
    }

    /// Ends the open pipeline.
    pub fn end(&mut self, sink: Sink) {
        let source = self.reading_source();
        let (steps, types) = (std::mem::take(&mut self.steps), self.types.clone());
        self.pipelines.push(Pipeline { source, steps, sink, types, advice: Vec::new() });
        self.origins.end();
        self.keeps_order = false;
    }

    /// Where the open pipeline begins, now that it is known whether its order matters.
    pub fn reading_source(&self) -> Source {
        let unordered =
            (!self.keeps_order).then(|| by_partitions(&self.source, &self.steps, &self.pipelines)).flatten();
        unordered.unwrap_or_else(|| self.source.clone())
    }

    /// Takes over the pipelines, inputs and sources of another fragment whose last pipeline has ended; they run first.
    pub fn after(&mut self, mut first: Fused) {
        std::mem::swap(&mut self.pipelines, &mut first.pipelines);
        self.pipelines.append(&mut first.pipelines);
        self.inputs.append(&mut first.inputs);
        self.loose.append(&mut first.loose);
        self.leaves.append(&mut first.leaves);
        self.expressions.append(&mut first.expressions);
        self.origins.after(first.origins);
    }

    /// These columns instead. Neighbouring projections become one where no work is done twice.
    pub fn project(&mut self, exprs: Vec<Expr>, schema: SchemaRef) {
        self.schema = schema;
        let same = exprs.len() == self.types.len()
            && exprs
                .iter()
                .enumerate()
                .all(|(place, expr)| matches!(expr.kind, ExprKind::Column(column) if column == place));
        if same {
            return;
        }
        self.types = exprs.iter().map(|expr| expr.data_type.clone()).collect();
        self.layout = self.layout.projected(&exprs);
        if let Some(Step::Project(before)) = self.steps.last_mut() {
            let reads = |column: usize| exprs.iter().map(|expr| count(expr, column)).sum::<usize>();
            let cheap = |expr: &Expr| matches!(expr.kind, ExprKind::Column(_) | ExprKind::Literal(_));
            if before.iter().enumerate().all(|(column, expr)| cheap(expr) || reads(column) <= 1) {
                *before = exprs.iter().map(|expr| expr.over(before)).collect();
                return;
            }
        }
        self.steps.push(Step::Project(exprs));
    }

    /// Columns as expressions.
    pub fn columns(&self) -> Vec<Expr> {
        self.types.iter().enumerate().map(|(place, data_type)| Expr::column(place, data_type.clone())).collect()
    }

    /// The places of these expressions among the columns; what is no column yet is projected behind them.
    pub fn places(&mut self, exprs: Vec<Expr>) -> Vec<usize> {
        let mut columns = self.columns();
        let had = columns.len();
        let places = exprs.into_iter().map(|expr| match expr.kind {
            ExprKind::Column(place) => place,
            _ => {
                let text = expr.to_string();
                // NULLs of two types read alike.
                let same = |known: &Expr| known.data_type == expr.data_type && known.to_string() == text;
                let known = columns.iter().skip(had).position(same);
                known.map(|place| place + had).unwrap_or_else(|| {
                    columns.push(expr);
                    columns.len() - 1
                })
            }
        });
        let places = places.collect();
        if columns.len() > had {
            let schema = Arc::clone(&self.schema);
            self.project(columns, schema);
        }
        places
    }
}

/// How often an expression reads a column.
fn count(expr: &Expr, column: usize) -> usize {
    let here = usize::from(matches!(expr.kind, ExprKind::Column(place) if place == column));
    here + expr.children().into_iter().map(|child| count(child, column)).sum::<usize>()
}

/// The logical types of a schema's columns.
pub fn types_of(schema: &SchemaRef) -> Vec<DataType> {
    schema.fields().iter().map(|field| field.data_type().clone()).collect()
}
