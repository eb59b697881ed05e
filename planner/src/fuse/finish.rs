//! A fragment becomes the program of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_operators::pipeline::ir::{
    Expr, ExprKind, JoinColumn, Partner, Pipeline, Program, Sink, SlotId, Source, Step,
};
use bireme_operators::pipeline::run::Leaf;
use datafusion::physical_plan::ExecutionPlan;

use super::Fused;
use super::prune::prune;

/// A fragment whose rows leave the stage.
pub(crate) struct Finished {
    pub program: Program,
    /// Its sources, by number.
    pub leaves: BTreeMap<usize, Leaf>,
    /// The nodes whose rows come out of the lines of the program.
    pub origins: Vec<(usize, Arc<dyn ExecutionPlan>)>,
}

impl Fused {
    /// Its program, when its rows leave the stage.
    pub fn finish(mut self) -> Finished {
        self.end(Sink::Output);
        let mut pipelines = self.pipelines;
        prune(&mut pipelines);
        pipelines.iter_mut().for_each(find_partners);
        let slots = renumber_slots(&mut pipelines);
        let origins = self.origins.lines(&pipelines);
        let program = Program { pipelines, slots, schema: self.schema };
        Finished { program, leaves: self.leaves, origins }
    }
}

/// Tells a scan which of its columns are keys of joins that drop rows without a partner.
///
/// ```text
///   scan [#4, #7]                              scan [#4, #7] partners [#4 in key 0 of slot 2]
///     project [#1, #0]                ──►        project [#1, #0]
///     probe slot 2 Inner on [#1] = …             probe slot 2 Inner on [#1] = …
/// ```
/// Not behind a limit, which counts the rows that come.
fn find_partners(pipeline: &mut Pipeline) {
    let Source::Scan(scan) = &mut pipeline.source else { return };
    // For each column of the space at hand the scan's column that it is.
    let mut origin: Vec<Option<usize>> = scan.projection.iter().copied().map(Some).collect();
    for step in &pipeline.steps {
        match step {
            Step::Filter(_) => {}
            Step::Limit { .. } => return,
            Step::Project(exprs) => {
                let through = |expr: &Expr| match expr.kind {
                    ExprKind::Column(column) => origin[column],
                    _ => None,
                };
                origin = exprs.iter().map(through).collect();
            }
            Step::Probe(slot, spec) => {
                if spec.kind.drops_unmatched_probe_rows() && !spec.nulls_match {
                    for (key, &column) in spec.probe_keys.iter().enumerate() {
                        if let Some(column) = origin[column] {
                            scan.partners.push(Partner { column, slot: *slot, key });
                        }
                    }
                }
                let through = |column: &JoinColumn| match column {
                    JoinColumn::Probe(column) => origin[*column],
                    JoinColumn::Build(_) | JoinColumn::Mark => None,
                };
                origin = spec.output.iter().map(through).collect();
            }
        }
    }
}

/// Numbers slots from 0, in the order in which they are filled.
fn renumber_slots(pipelines: &mut [Pipeline]) -> usize {
    let filled = pipelines.iter().filter_map(|pipeline| pipeline.sink.slot()).collect::<Vec<_>>();
    let mut seen = BTreeSet::new();
    let order = filled.into_iter().filter(|slot| seen.insert(*slot)).collect::<Vec<_>>();
    let new = |slot: &mut SlotId| {
        if let Some(place) = order.iter().position(|known| known == slot) {
            *slot = SlotId(place);
        }
    };
    for pipeline in pipelines {
        match &mut pipeline.source {
            Source::Slot(slot) => new(slot),
            Source::Scan(scan) => scan.partners.iter_mut().for_each(|partner| new(&mut partner.slot)),
            Source::Exchange(_) => {}
        }
        for step in &mut pipeline.steps {
            if let Step::Probe(slot, _) = step {
                new(slot);
            }
        }
        match &mut pipeline.sink {
            Sink::Output => {}
            Sink::Aggregate(slot, _) | Sink::Build(slot, ..) | Sink::Sort(slot, _) | Sink::Collect(slot) => new(slot),
        }
    }
    order.len()
}

#[cfg(test)]
mod tests;
