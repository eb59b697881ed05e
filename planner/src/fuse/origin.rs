//! Which node's rows come out of each line of a fragment.
//!
//! Estimates are made of nodes, and rows are counted at the lines of a program; `EXPLAIN ANALYZE` sets them side by side.
//!
//! ```text
//!   FilterExec: a + b > 1             pipeline 0: scan t        rows of DataSourceExec
//!     DataSourceExec: t       ──►       filter (#0 + #1 > 1)    rows of FilterExec
//! ```
//!
//! A line may stand for no node: a scan that tests a part of a filter, the states of a partial aggregation.

use std::sync::Arc;

use bireme_operators::pipeline::ir::{Places, Step};
use datafusion::physical_plan::ExecutionPlan;

use super::Fused;

type Node = Arc<dyn ExecutionPlan>;

/// The nodes whose rows come out of the lines of a fragment.
#[derive(Default)]
pub(crate) struct Origins {
    finished: Vec<Nodes>,
    open: Nodes,
}

/// The nodes of a source and of the steps behind it, as far as they are known.
#[derive(Default)]
pub(super) struct Nodes {
    /// Of a union.
    branches: Vec<Nodes>,
    /// Of the source, then of the steps.
    lines: Vec<Option<Node>>,
}

impl Origins {
    /// Begins a pipeline whose source stands for no node.
    pub fn end(&mut self) {
        self.finished.push(std::mem::take(&mut self.open));
    }

    /// Takes over those of pipelines that run first.
    pub fn after(&mut self, first: Origins) {
        self.finished.splice(0..0, first.finished);
    }

    /// The open pipeline of another fragment becomes a branch of this one's source, behind the pipelines that it reads.
    pub fn branch(&mut self, mut part: Origins) {
        self.finished.append(&mut part.finished);
        self.open.branches.push(part.open);
    }

    /// Likewise with each of the branches that are all of the other's open pipeline.
    pub fn branches_of(&mut self, mut part: Origins) {
        self.finished.append(&mut part.finished);
        self.open.branches.append(&mut part.open.branches);
    }

    /// The source has become something that is no node.
    pub fn forget_source(&mut self) {
        if let Some(source) = self.open.lines.first_mut() {
            *source = None;
        }
    }

    /// What the rows at the end of the open pipeline are, which has so many steps.
    pub fn last(&self, steps: usize) -> Option<&Node> {
        self.open.lines.get(steps)?.as_ref()
    }

    /// Those of the pipelines that have ended, in their order.
    pub(super) fn finished(&mut self) -> &mut [Nodes] {
        &mut self.finished
    }

    /// By line of the program's text, whose pipelines have these places. A line that ends a pipeline yields nothing.
    pub fn lines(self, places: &[Places]) -> Vec<(usize, Node)> {
        let mut lines = Vec::new();
        self.finished.into_iter().zip(places).for_each(|(nodes, places)| nodes.add_to(places, &mut lines));
        lines
    }
}

impl Nodes {
    /// Those of a branch.
    pub(super) fn branch(&mut self, number: usize) -> &mut Nodes {
        if self.branches.len() <= number {
            self.branches.resize_with(number + 1, Nodes::default);
        }
        &mut self.branches[number]
    }

    /// A step behind the source makes the rows that came out of it, which stands for no node any more.
    pub(super) fn insert_step(&mut self) {
        if !self.lines.is_empty() {
            self.lines.insert(0, None);
        }
    }

    fn add_to(self, places: &Places, lines: &mut Vec<(usize, Node)>) {
        let own = std::iter::once(places.source).chain(places.steps.clone()).zip(self.lines);
        lines.extend(own.filter_map(|(line, node)| Some((line, node?))));
        self.branches.into_iter().zip(&places.branches).for_each(|(nodes, places)| nodes.add_to(places, lines));
    }
}

impl Fused {
    /// Its rows so far are those of a node.
    pub fn stands_for(&mut self, node: &Node) {
        let open = &mut self.origins.open.lines;
        open.resize(self.steps.len() + 1, None);
        // What was projected has as many rows as before.
        for step in (0..=self.steps.len()).rev() {
            if open[step].is_some() && step < self.steps.len() {
                break;
            }
            open[step] = Some(Arc::clone(node));
            if !matches!(step.checked_sub(1).map(|step| &self.steps[step]), Some(Step::Project(_))) {
                break;
            }
        }
    }
}
