//! Tells scans which of their columns are keys of joins that drop rows without a partner.
//!
//! ```text
//!   scan [#4, #7]                              scan [#4, #7] partners [#4 in key 0 of slot 2]
//!     project [#1, #0]                ──►        project [#1, #0]
//!     probe slot 2 Inner on [#1] = …             probe slot 2 Inner on [#1] = …
//! ```
//!
//! Grouping commutes with it: a group whose key has no partner need not be made of any rows. TPC-H's queries 2, 17 and 20
//! group a whole table by the key of a few parts:
//!
//! ```text
//!   scan lineitem                              scan lineitem partners [#1 in key 0 of slot 1]
//!     aggregate slot 2 by [#0]        ──►        aggregate slot 2 by [#0]
//!   slot 2                                     slot 2
//!     probe slot 1 BuildSemi on [#0] = …         probe slot 1 BuildSemi on [#0] = …
//! ```
//!
//! Not through a limit, which counts the rows that come, and only if the join's table is complete before the scan begins.

use bireme_operators::pipeline::ir::{
    AggregateMode, AggregateSpec, Expr, ExprKind, JoinColumn, Partner, Pipeline, Sink, SlotId, Source, Step,
};

/// A join that drops rows without a partner, and where its key comes from.
struct Wish {
    slot: SlotId,
    key: usize,
    /// Its place among the rows of the pipeline's source.
    column: usize,
}

/// Puts partners into the scans of pipelines that are in an order in which they can run.
pub(super) fn find_partners(pipelines: &mut [Pipeline]) {
    for place in 0..pipelines.len() {
        for wish in wishes(&pipelines[place]) {
            grant(pipelines, place, wish);
        }
    }
}

/// Hands a wish down to the scan that a pipeline's rows come from.
fn grant(pipelines: &mut [Pipeline], place: usize, wish: Wish) {
    let slot = match &mut pipelines[place].source {
        Source::Scan(scan) => {
            let partner = Partner { column: scan.projection[wish.column], slot: wish.slot, key: wish.key };
            if !scan.partners.contains(&partner) {
                scan.partners.push(partner);
            }
            return;
        }
        Source::Slot(slot) => *slot,
        Source::Exchange(_) => return,
    };
    let fills = |slot: SlotId| pipelines.iter().position(|pipeline| pipeline.sink.slot() == Some(slot));
    let (Some(maker), Some(builder)) = (fills(slot), fills(wish.slot)) else { return };
    let readers = pipelines.iter().filter(|pipeline| pipeline.reads(slot.0)).count();
    let Sink::Aggregate(_, spec) = &pipelines[maker].sink else { return };
    if builder >= maker || readers != 1 {
        return;
    }
    let Some(column) = grouped_by(spec, wish.column) else { return };
    let Some(column) = origins(&pipelines[maker]).and_then(|origins| origins[column]) else { return };
    grant(pipelines, maker, Wish { column, ..wish });
}

/// The column of the input that a column of the groups is.
fn grouped_by(spec: &AggregateSpec, column: usize) -> Option<usize> {
    let complete = spec.mode == AggregateMode::Single && spec.limit.is_none();
    spec.keys.get(column).copied().filter(|_| complete)
}

/// The joins of a pipeline that drop rows of its source, in order.
fn wishes(pipeline: &Pipeline) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut origin = Origin::of(pipeline);
    for step in &pipeline.steps {
        if let Step::Probe(slot, spec) = step
            && spec.kind.drops_unmatched_probe_rows()
            && !spec.nulls_match
        {
            let keys = spec.probe_keys.iter().enumerate();
            wishes.extend(
                keys.filter_map(|(key, &column)| Some(Wish { slot: *slot, key, column: origin.of_column(column)? })),
            );
        }
        if !origin.pass(step) {
            break;
        }
    }
    wishes
}

/// For each column that reaches the sink the source's column that it is; `None` if a limit is on the way.
fn origins(pipeline: &Pipeline) -> Option<Vec<Option<usize>>> {
    let mut origin = Origin::of(pipeline);
    let passed = pipeline.steps.iter().all(|step| origin.pass(step));
    passed.then(|| (0..pipeline.types.len()).map(|column| origin.of_column(column)).collect())
}

/// For each column of the space at hand the source's column that it is; before the first projection all are themselves.
struct Origin(Option<Vec<Option<usize>>>);

impl Origin {
    fn of(pipeline: &Pipeline) -> Self {
        match &pipeline.source {
            Source::Scan(scan) => Self(Some((0..scan.projection.len()).map(Some).collect())),
            Source::Slot(_) | Source::Exchange(_) => Self(None),
        }
    }

    fn of_column(&self, column: usize) -> Option<usize> {
        self.0.as_ref().map_or(Some(column), |columns| columns[column])
    }

    /// Goes on behind a step; false if it counts the rows that come.
    fn pass(&mut self, step: &Step) -> bool {
        match step {
            Step::Filter(_) => {}
            Step::Limit { .. } => return false,
            Step::Project(exprs) => {
                let through = |expr: &Expr| match expr.kind {
                    ExprKind::Column(column) => self.of_column(column),
                    _ => None,
                };
                self.0 = Some(exprs.iter().map(through).collect());
            }
            Step::Probe(_, spec) => {
                let through = |column: &JoinColumn| match column {
                    JoinColumn::Probe(column) => self.of_column(*column),
                    JoinColumn::Build(_) | JoinColumn::Mark => None,
                };
                self.0 = Some(spec.output.iter().map(through).collect());
            }
        }
        true
    }
}
