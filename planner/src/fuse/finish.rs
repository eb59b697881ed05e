//! A fragment becomes the program of a stage.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use bireme_operators::pipeline::ir::{
    Branch, Expr, ExprKind, JoinColumn, Partner, Pipeline, Program, Sink, SlotId, Source, Step,
};
use bireme_operators::pipeline::run::Leaf;

use super::Fused;
use super::prune::prune;

impl Fused {
    /// Its program and its sources, when its rows leave the stage.
    pub fn finish(mut self) -> (Program, BTreeMap<usize, Leaf>, SchemaRef) {
        self.end(Sink::Output);
        let mut pipelines = self.pipelines;
        prune(&mut pipelines);
        for pipeline in &mut pipelines {
            find_partners(&mut pipeline.source, &[&pipeline.steps]);
        }
        let slots = renumber_slots(&mut pipelines);
        let program = Program { pipelines, slots, schema: std::sync::Arc::clone(&self.schema) };
        (program, self.leaves, self.schema)
    }
}

/// Tells a scan which of its columns are keys of joins that drop rows without a partner.
///
/// ```text
///   scan [#4, #7]                              scan [#4, #7] partners [#4 in key 0 of slot 2]
///     project [#1, #0]                ──►        project [#1, #0]
///     probe slot 2 Inner on [#1] = …             probe slot 2 Inner on [#1] = …
/// ```
/// Not behind a limit or a window, for which the rows count that come.
fn find_partners(source: &mut Source, steps: &[&[Step]]) {
    match source {
        Source::Scan(scan) => scan.partners = partners(&scan.projection, steps.iter().copied().flatten()),
        Source::Union(branches) => {
            for Branch { source, steps: first, .. } in branches {
                find_partners(source, &[&[first.as_slice()], steps].concat());
            }
        }
        Source::Exchange(_) | Source::Slot(_) | Source::Partitions(..) => {}
    }
}

fn partners<'a>(projection: &[usize], steps: impl Iterator<Item = &'a Step>) -> Vec<Partner> {
    let mut partners = Vec::new();
    // For each column of the space at hand the scan's column that it is.
    let mut origin: Vec<Option<usize>> = projection.iter().copied().map(Some).collect();
    for step in steps {
        match step {
            Step::Filter(_) => {}
            Step::Limit { .. } | Step::Window(..) => break,
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
                            partners.push(Partner { column, slot: *slot, key });
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
    partners
}

/// Numbers slots from 0, in the order in which they are filled.
fn renumber_slots(pipelines: &mut [Pipeline]) -> usize {
    let filled = pipelines.iter().filter_map(|pipeline| pipeline.sink.slot()).collect::<Vec<_>>();
    let mut seen = BTreeSet::new();
    let order = filled.into_iter().filter(|slot| seen.insert(*slot)).collect::<Vec<_>>();
    let new = &|slot: &mut SlotId| {
        if let Some(place) = order.iter().position(|known| known == slot) {
            *slot = SlotId(place);
        }
    };
    for pipeline in pipelines {
        renumber_read(&mut pipeline.source, &mut pipeline.steps, new);
        match &mut pipeline.sink {
            Sink::Output => {}
            Sink::Aggregate(slot, _) | Sink::Build(slot, ..) | Sink::Sort(slot, _) | Sink::Collect(slot) => new(slot),
        }
    }
    order.len()
}

fn renumber_read(source: &mut Source, steps: &mut [Step], new: &impl Fn(&mut SlotId)) {
    match source {
        Source::Slot(slot) | Source::Partitions(slot, _) => new(slot),
        Source::Scan(scan) => scan.partners.iter_mut().for_each(|partner| new(&mut partner.slot)),
        Source::Exchange(_) => {}
        Source::Union(branches) => {
            branches.iter_mut().for_each(|branch| renumber_read(&mut branch.source, &mut branch.steps, new));
        }
    }
    for step in steps {
        if let Step::Probe(slot, _) = step {
            new(slot);
        }
    }
}

#[cfg(test)]
mod tests;
