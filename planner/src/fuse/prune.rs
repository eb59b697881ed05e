//! Columns that nobody reads are not decoded, not kept and not gathered.
//!
//! ```text
//!   scan [#0, #1, #2]                       scan [#0, #2]
//!     filter (#2 > 1)                ──►      filter (#1 > 1)
//!     project [#0]                            project [#0]
//! ```
//!
//! A pipeline's columns change at its source, at projections and at probes; between them they have one numbering, a *space*.
//! Going backwards, each consumer says what it reads of its space; going forwards, each space is renumbered without the
//! rest. Pipelines are looked at last to first, so that a build side learns from its probe what it need not keep.

use std::collections::BTreeMap;

use bireme_operators::pipeline::ir::{AggregateMode, JoinColumn, JoinSpec, Pipeline, Sink, SlotId, Source, Step};

/// The columns of a space that are read.
type Needed = Vec<bool>;

/// Prunes all pipelines of a stage.
pub fn prune(pipelines: &mut [Pipeline]) {
    let mut probes = BTreeMap::<SlotId, (JoinSpec, Option<Needed>)>::new();
    for pipeline in pipelines.iter_mut().rev() {
        if let Sink::Build(slot, spec, probe_types) = &mut pipeline.sink
            && let Some((known, probe_needed)) = probes.get(slot)
        {
            *spec = known.clone();
            retain(probe_types, probe_needed);
        }
        let widths = widths(pipeline);
        let needed = needed(pipeline, &widths);
        rewrite(pipeline, &needed, &mut probes);
    }
    // A build side that dropped columns renumbered those that its probe names.
    let mut builds = BTreeMap::<SlotId, JoinSpec>::new();
    for pipeline in pipelines.iter() {
        if let Sink::Build(slot, spec, _) = &pipeline.sink {
            builds.insert(*slot, spec.clone());
        }
    }
    for step in pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.steps) {
        if let Step::Probe(slot, spec) = step
            && let Some(build) = builds.get(slot)
        {
            *spec = build.clone();
        }
    }
}

/// The number of columns of each space.
fn widths(pipeline: &Pipeline) -> Vec<Option<usize>> {
    let mut widths = vec![match &pipeline.source {
        Source::Scan(scan) => Some(scan.projection.len()),
        // What a slot or an exchange holds is fixed: nothing can be left out at its source.
        Source::Exchange(_) | Source::Slot(_) => None,
    }];
    for step in &pipeline.steps {
        match step {
            Step::Project(exprs) => widths.push(Some(exprs.len())),
            Step::Probe(_, spec) => widths.push(Some(spec.output.len())),
            Step::Filter(_) | Step::Limit { .. } => {}
        }
    }
    widths
}

/// What is read of each space; `None` where all of it stays.
fn needed(pipeline: &Pipeline, widths: &[Option<usize>]) -> Vec<Option<Needed>> {
    let mut needed: Vec<Option<Needed>> = widths.iter().map(|width| width.map(|width| vec![false; width])).collect();
    let mut space = widths.len() - 1;
    let mut read = |space: usize, columns: &[usize]| {
        if let Some(needed) = &mut needed[space] {
            columns.iter().for_each(|&column| needed[column] = true);
        }
    };
    let all = |space: usize| (0..widths[space].unwrap_or(0)).collect::<Vec<_>>();
    match &pipeline.sink {
        Sink::Output | Sink::Sort(..) | Sink::Collect(_) => read(space, &all(space)),
        Sink::Aggregate(_, spec) => {
            read(space, &spec.keys);
            // A final aggregation reads states behind the keys, in order; its calls speak of columns on the partial side.
            if spec.mode == AggregateMode::Final {
                read(space, &all(space));
            }
            for call in spec.calls.iter().filter(|_| spec.mode != AggregateMode::Final) {
                read(space, &call.arguments.iter().map(|(column, _)| *column).collect::<Vec<_>>());
                read(space, &call.filter.into_iter().collect::<Vec<_>>());
            }
        }
        Sink::Build(_, spec, probe) => read(space, &build_columns(spec, probe.len())),
    }
    // Outputs of projections and probes that nobody reads do not read anything themselves.
    for step in pipeline.steps.iter().rev() {
        match step {
            Step::Filter(expr) => {
                if let Some(needed) = &mut needed[space] {
                    expr.columns().into_iter().for_each(|column| needed[column] = true);
                }
            }
            Step::Limit { .. } => {}
            Step::Project(exprs) => {
                let kept = needed[space].clone();
                space -= 1;
                let kept = |place: usize| kept.as_ref().is_none_or(|kept| kept[place]);
                for (_, expr) in exprs.iter().enumerate().filter(|(place, _)| kept(*place)) {
                    if let Some(needed) = &mut needed[space] {
                        expr.columns().into_iter().for_each(|column| needed[column] = true);
                    }
                }
            }
            Step::Probe(_, spec) => {
                let kept = needed[space].clone();
                space -= 1;
                if let Some(needed) = &mut needed[space] {
                    let width = needed.len();
                    let residual = spec.residual.iter().flat_map(|residual| residual.columns());
                    let residual = residual.filter(|&column| column < width);
                    let output = spec.output.iter().enumerate().filter_map(|(place, column)| match column {
                        JoinColumn::Probe(column) if kept.as_ref().is_none_or(|kept| kept[place]) => Some(*column),
                        _ => None,
                    });
                    let read = spec.probe_keys.iter().copied().chain(residual).chain(output).collect::<Vec<_>>();
                    read.into_iter().for_each(|column| needed[column] = true);
                }
            }
        }
    }
    needed
}

/// The columns of the build side that a join keeps.
fn build_columns(spec: &JoinSpec, probe_width: usize) -> Vec<usize> {
    let residual = spec.residual.iter().flat_map(|residual| residual.columns());
    let residual = residual.filter(|&column| column >= probe_width).map(|column| column - probe_width);
    let output = spec.output.iter().filter_map(|column| match column {
        JoinColumn::Build(column) => Some(*column),
        _ => None,
    });
    spec.build_keys.iter().copied().chain(residual).chain(output).collect()
}

/// The new place of each column of a space.
struct Renumber(Option<Vec<usize>>);

impl Renumber {
    fn of(needed: &Option<Needed>) -> Self {
        Self(needed.as_ref().map(|needed| {
            let mut next = 0;
            let place = |&kept: &bool| {
                next += usize::from(kept);
                next.saturating_sub(1)
            };
            needed.iter().map(place).collect()
        }))
    }

    fn place(&self, column: usize) -> usize {
        self.0.as_ref().map_or(column, |places| places[column])
    }
}

fn retain<T>(items: &mut Vec<T>, needed: &Option<Needed>) {
    if let Some(needed) = needed {
        let mut kept = needed.iter();
        items.retain(|_| kept.next().copied().unwrap_or(true));
    }
}

/// Renumbers a pipeline's columns, and tells what its probes have become, with what is left of the rows that probe.
fn rewrite(
    pipeline: &mut Pipeline,
    needed: &[Option<Needed>],
    probes: &mut BTreeMap<SlotId, (JoinSpec, Option<Needed>)>,
) {
    let mut space = 0;
    let mut renumber = Renumber::of(&needed[0]);
    if let Source::Scan(scan) = &mut pipeline.source {
        retain(&mut scan.projection, &needed[0]);
    }
    for step in &mut pipeline.steps {
        match step {
            Step::Filter(expr) => *expr = expr.with_columns(&|column| renumber.place(column)),
            Step::Limit { .. } => {}
            Step::Project(exprs) => {
                space += 1;
                retain(exprs, &needed[space]);
                exprs.iter_mut().for_each(|expr| *expr = expr.with_columns(&|column| renumber.place(column)));
                renumber = Renumber::of(&needed[space]);
            }
            Step::Probe(slot, spec) => {
                let before = &needed[space];
                space += 1;
                retain(&mut spec.output, &needed[space]);
                renumber_probe(spec, before, &renumber);
                probes.insert(*slot, (spec.clone(), before.clone()));
                renumber = Renumber::of(&needed[space]);
            }
        }
    }
    retain(&mut pipeline.types, &needed[space]);
    match &mut pipeline.sink {
        Sink::Output | Sink::Sort(..) | Sink::Collect(_) => {}
        Sink::Aggregate(_, spec) => {
            spec.keys.iter_mut().for_each(|column| *column = renumber.place(*column));
            for call in spec.calls.iter_mut().filter(|_| spec.mode != AggregateMode::Final) {
                call.arguments.iter_mut().for_each(|(column, _)| *column = renumber.place(*column));
                call.filter = call.filter.map(|column| renumber.place(column));
            }
        }
        Sink::Build(_, spec, probe) => renumber_build(spec, probe.len(), &renumber),
    }
}

fn renumber_probe(spec: &mut JoinSpec, before: &Option<Needed>, renumber: &Renumber) {
    let Some(before) = before else { return };
    let (had, has) = (before.len(), before.iter().filter(|&&kept| kept).count());
    spec.probe_keys.iter_mut().for_each(|column| *column = renumber.place(*column));
    for column in &mut spec.output {
        if let JoinColumn::Probe(column) = column {
            *column = renumber.place(*column);
        }
    }
    let place = |column: usize| if column < had { renumber.place(column) } else { column - had + has };
    spec.residual = spec.residual.as_ref().map(|residual| residual.with_columns(&place));
}

fn renumber_build(spec: &mut JoinSpec, probe_width: usize, renumber: &Renumber) {
    spec.build_keys.iter_mut().for_each(|column| *column = renumber.place(*column));
    for column in &mut spec.output {
        if let JoinColumn::Build(column) = column {
            *column = renumber.place(*column);
        }
    }
    let place = |column: usize| match column.checked_sub(probe_width) {
        Some(build) => renumber.place(build) + probe_width,
        None => column,
    };
    spec.residual = spec.residual.as_ref().map(|residual| residual.with_columns(&place));
}
