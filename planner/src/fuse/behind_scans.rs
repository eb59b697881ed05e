//! Conditions of scans as steps behind them, for a device: it has kernels for these, and a source tests on the CPU.
//!
//! ```text
//!   scan [#0, #2] of t where [#2 > 1]         scan [#0, #2] of t pruned by [#2 > 1]
//!     project [#0]                      ──►     filter (#1 > 1)
//!                                               project [#0]
//! ```
//!
//! Runs before columns are pruned: those that are tested are still among those that are read.

use bireme_operators::pipeline::ir::{Expr, Source, Step};

use super::Fused;
use super::origin::Nodes;

impl Fused {
    /// Moves the conditions of all scans behind them; its pipelines have ended.
    pub(super) fn test_behind_scans(&mut self) {
        for (pipeline, nodes) in self.pipelines.iter_mut().zip(self.origins.finished()) {
            move_behind(&mut pipeline.source, &mut pipeline.steps, nodes);
        }
    }
}

fn move_behind(source: &mut Source, steps: &mut Vec<Step>, nodes: &mut Nodes) {
    match source {
        Source::Union(branches) => {
            for (number, branch) in branches.iter_mut().enumerate() {
                move_behind(&mut branch.source, &mut branch.steps, nodes.branch(number));
            }
        }
        Source::Scan(scan) => {
            let place = |column: usize| scan.projection.iter().position(|&read| read == column);
            let (moved, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut scan.predicates)
                .into_iter()
                .partition(|predicate| predicate.columns().into_iter().all(|column| place(column).is_some()));
            let tests = moved.iter().map(|predicate| predicate.with_columns(&|column| place(column).unwrap_or(0)));
            if let Some(condition) = Expr::all(tests.collect()) {
                steps.insert(0, Step::Filter(condition));
                nodes.insert_step();
            }
            (scan.predicates, scan.prunes) = (kept, moved);
        }
        Source::Exchange(_) | Source::Slot(_) | Source::Partitions(..) => {}
    }
}
