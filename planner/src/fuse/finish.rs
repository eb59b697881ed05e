//! A fragment becomes the program of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_operators::pipeline::ir::{
    Expr, ExprKind, JoinColumn, Partner, PartnerKeys, Pipeline, Program, Sink, SlotId, Source, Step,
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
fn find_partners(pipeline: &mut Pipeline) {
    let Source::Scan(scan) = &mut pipeline.source else { return };
    let found = partners(&pipeline.steps, scan.projection.len(), Failure::May).into_iter();
    let partner = |(column, slot, key): (usize, SlotId, usize)| Partner {
        column: scan.projection[column],
        keys: PartnerKeys::Slot { slot, key },
    };
    scan.partners = found.map(partner).collect();
}

/// Whether rows may be dropped before a step that can fail on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// They may: the build side is whole before the scan begins.
    May,
    /// They must not: whether the filter comes before a row does is a matter of time.
    MustNot,
}

/// The columns of a source of so many that are keys of joins which drop rows without a partner: with the build side, and
/// which of its keys they are. Not behind a limit, which counts the rows that come.
pub(crate) fn partners(steps: &[Step], columns: usize, failure: Failure) -> Vec<(usize, SlotId, usize)> {
    let mut found = Vec::new();
    let mut origin = (0..columns).map(Some).collect::<Vec<_>>();
    for step in steps {
        if let Step::Probe(slot, spec) = step
            && spec.kind.drops_unmatched_probe_rows()
            && !spec.nulls_match
        {
            let keys = spec.probe_keys.iter().enumerate();
            found.extend(keys.filter_map(|(key, &column)| Some((origin[column]?, *slot, key))));
        }
        match through(step, &origin, failure) {
            Some(next) => origin = next,
            None => break,
        }
    }
    found
}

/// For each column behind a step the column of the source that it is, if it is one; `None` if rows must not be dropped before
/// the step that the source does not want dropped.
pub(crate) fn through(step: &Step, origin: &[Option<usize>], failure: Failure) -> Option<Vec<Option<usize>>> {
    let safe = |expr: &Expr| failure == Failure::May || !expr.may_fail();
    match step {
        Step::Limit { .. } => None,
        Step::Filter(expr) => safe(expr).then(|| origin.to_vec()),
        Step::Project(exprs) => {
            let through = |expr: &Expr| match expr.kind {
                ExprKind::Column(column) => origin[column],
                _ => None,
            };
            exprs.iter().all(safe).then(|| exprs.iter().map(through).collect())
        }
        Step::Probe(_, spec) => {
            let through = |column: &JoinColumn| match column {
                JoinColumn::Probe(column) => origin[*column],
                JoinColumn::Build(_) | JoinColumn::Mark => None,
            };
            spec.residual.iter().all(safe).then(|| spec.output.iter().map(through).collect())
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
            Source::Scan(scan) => scan.partners.iter_mut().for_each(|partner| {
                if let PartnerKeys::Slot { slot, .. } = &mut partner.keys {
                    new(slot);
                }
            }),
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
