//! Columns that nobody reads are not decoded, not kept and not gathered.
//!
//! ```text
//!   scan [#0, #1, #2]                       scan [#0, #2]
//!     filter (#2 > 1)                ──►      filter (#1 > 1)
//!     project [#0]                            project [#0]
//! ```
//!
//! A pipeline's columns change at its source, at projections, windows and probes; between them they have one numbering, a
//! *space*. Going backwards, each consumer says what it reads of its space; going forwards, each space is renumbered without
//! the rest. Pipelines are looked at last to first, so that a build side learns from its probe what it need not keep. The
//! branches of a union drop the same columns; one that cannot leave them out at its source gets a projection.

use std::collections::BTreeMap;

use bireme_operators::pipeline::ir::{
    AggregateMode, Branch, Expr, JoinColumn, JoinSpec, Pipeline, Sink, SlotId, Source, Step, WindowSpec,
};

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
        let widths = widths(&pipeline.source, &pipeline.steps);
        let needed = needed(&pipeline.steps, &widths, |width| sink_reads(&pipeline.sink, width));
        let renumber = rewrite(&mut pipeline.source, &mut pipeline.steps, &needed, &mut probes);
        if let Some(last) = needed.last() {
            retain(&mut pipeline.types, last);
        }
        renumber_sink(&mut pipeline.sink, &renumber);
    }
    // A build side that dropped columns renumbered those that its probe names.
    let mut builds = BTreeMap::<SlotId, JoinSpec>::new();
    for pipeline in pipelines.iter() {
        if let Sink::Build(slot, spec, _) = &pipeline.sink {
            builds.insert(*slot, spec.clone());
        }
    }
    for pipeline in pipelines {
        for_each_step(&mut pipeline.source, &mut pipeline.steps, &mut |step| {
            if let Step::Probe(slot, spec) = step
                && let Some(build) = builds.get(slot)
            {
                *spec = build.clone();
            }
        });
    }
}

/// All steps, those of branches before those behind them.
fn for_each_step(source: &mut Source, steps: &mut [Step], change: &mut impl FnMut(&mut Step)) {
    if let Source::Union(branches) = source {
        branches.iter_mut().for_each(|branch| for_each_step(&mut branch.source, &mut branch.steps, change));
    }
    steps.iter_mut().for_each(change);
}

/// The number of columns of each space.
fn widths(source: &Source, steps: &[Step]) -> Vec<Option<usize>> {
    let mut last = match source {
        Source::Scan(scan) => Some(scan.projection.len()),
        Source::Union(branches) => branches.first().map(|branch| branch.types.len()),
        // What a slot or an exchange holds is fixed: nothing can be left out at its source.
        Source::Exchange(_) | Source::Slot(_) | Source::Partitions(..) => None,
    };
    let mut widths = vec![last];
    for step in steps {
        last = match step {
            Step::Project(exprs) => Some(exprs.len()),
            Step::Probe(_, spec) => Some(spec.output.len()),
            Step::Window(spec, _) => last.map(|width| width + spec.calls.len()),
            Step::Filter(_) | Step::Limit { .. } => continue,
        };
        widths.push(last);
    }
    widths
}

/// The columns that a sink reads of the so many that reach it.
fn sink_reads(sink: &Sink, width: usize) -> Vec<usize> {
    match sink {
        Sink::Output | Sink::Sort(..) | Sink::Collect(_) => (0..width).collect(),
        // A final aggregation reads states behind the keys, in order; its calls speak of columns on the partial side.
        Sink::Aggregate(_, spec) if spec.mode == AggregateMode::Final => (0..width).collect(),
        Sink::Aggregate(_, spec) => {
            let calls = spec.calls.iter();
            let read = calls.flat_map(|call| call.arguments.iter().map(|(column, _)| *column).chain(call.filter));
            spec.keys.iter().copied().chain(read).collect()
        }
        Sink::Build(_, spec, probe) => build_columns(spec, probe.len()),
    }
}

/// What is read of each space, if `reads` is what is read of the last one; `None` where all of it stays.
fn needed(steps: &[Step], widths: &[Option<usize>], reads: impl Fn(usize) -> Vec<usize>) -> Vec<Option<Needed>> {
    let mut needed: Vec<Option<Needed>> = widths.iter().map(|width| width.map(|width| vec![false; width])).collect();
    let mut space = widths.len() - 1;
    if let Some(needed) = &mut needed[space] {
        reads(needed.len()).into_iter().for_each(|column| needed[column] = true);
    }
    // Outputs of projections and probes that nobody reads do not read anything themselves.
    for step in steps.iter().rev() {
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
            Step::Window(spec, _) => {
                let kept = needed[space].clone().unwrap_or_default();
                space -= 1;
                if let Some(before) = &mut needed[space] {
                    let calls = spec.calls.iter().zip(&kept[before.len()..]).filter(|(_, kept)| **kept);
                    let read = spec.keys().chain(calls.filter_map(|(call, _)| call.function.column()));
                    before.iter_mut().zip(&kept).for_each(|(needed, kept)| *needed |= kept);
                    read.for_each(|column| before[column] = true);
                }
            }
        }
    }
    for step in steps {
        match step {
            Step::Filter(_) | Step::Limit { .. } => continue,
            // What comes in goes out.
            Step::Window(..) => {
                if let [Some(before), Some(behind)] = &mut needed[space..=space + 1] {
                    behind[..before.len()].copy_from_slice(before);
                }
            }
            Step::Project(_) | Step::Probe(..) => {}
        }
        space += 1;
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

/// Renumbers the columns of steps, and tells what their probes have become, with what is left of the rows that probe. What
/// comes out are the new places of the columns of the last space.
fn rewrite(
    source: &mut Source,
    steps: &mut [Step],
    needed: &[Option<Needed>],
    probes: &mut BTreeMap<SlotId, (JoinSpec, Option<Needed>)>,
) -> Renumber {
    let mut space = 0;
    let mut renumber = Renumber::of(&needed[0]);
    match source {
        Source::Scan(scan) => retain(&mut scan.projection, &needed[0]),
        Source::Union(branches) => {
            for branch in branches {
                prune_branch(branch, needed[0].as_deref().unwrap_or(&[]), probes);
            }
        }
        Source::Exchange(_) | Source::Slot(_) | Source::Partitions(..) => {}
    }
    for step in steps {
        match step {
            Step::Filter(expr) => *expr = expr.with_columns(&|column| renumber.place(column)),
            Step::Limit { .. } => continue,
            Step::Project(exprs) => {
                retain(exprs, &needed[space + 1]);
                exprs.iter_mut().for_each(|expr| *expr = expr.with_columns(&|column| renumber.place(column)));
            }
            Step::Probe(slot, spec) => {
                let before = &needed[space];
                retain(&mut spec.output, &needed[space + 1]);
                renumber_probe(spec, before, &renumber);
                probes.insert(*slot, (spec.clone(), before.clone()));
            }
            Step::Window(spec, types) => {
                retain(types, &needed[space]);
                renumber_window(spec, &needed[space], &needed[space + 1], &renumber);
            }
        }
        if !matches!(step, Step::Filter(_)) {
            space += 1;
            renumber = Renumber::of(&needed[space]);
        }
    }
    renumber
}

/// Leaves out all columns of a branch but those that are kept of the union.
fn prune_branch(branch: &mut Branch, kept: &[bool], probes: &mut BTreeMap<SlotId, (JoinSpec, Option<Needed>)>) {
    let columns = (0..kept.len()).filter(|&column| kept[column]).collect::<Vec<_>>();
    let reads = |branch: &Branch, columns: &[usize]| {
        needed(&branch.steps, &widths(&branch.source, &branch.steps), |_| columns.to_vec())
    };
    let mut needed = reads(branch, &columns);
    // The last steps may read more, or nothing can be left out.
    let as_wanted = needed.last().is_some_and(|last| last.as_deref() == Some(kept));
    if !as_wanted && columns.len() < kept.len() {
        let exprs = columns.iter().map(|&column| Expr::column(column, branch.types[column].clone()));
        branch.steps.push(Step::Project(exprs.collect()));
        needed = reads(branch, &(0..columns.len()).collect::<Vec<_>>());
    }
    rewrite(&mut branch.source, &mut branch.steps, &needed, probes);
    retain(&mut branch.types, &Some(kept.to_vec()));
}

fn renumber_sink(sink: &mut Sink, renumber: &Renumber) {
    match sink {
        Sink::Output | Sink::Sort(..) | Sink::Collect(_) => {}
        Sink::Aggregate(_, spec) => {
            spec.keys.iter_mut().for_each(|column| *column = renumber.place(*column));
            for call in spec.calls.iter_mut().filter(|_| spec.mode != AggregateMode::Final) {
                call.arguments.iter_mut().for_each(|(column, _)| *column = renumber.place(*column));
                call.filter = call.filter.map(|column| renumber.place(column));
            }
        }
        Sink::Build(_, spec, probe) => renumber_build(spec, probe.len(), renumber),
    }
}

fn renumber_window(spec: &mut WindowSpec, before: &Option<Needed>, behind: &Option<Needed>, renumber: &Renumber) {
    if let (Some(before), Some(behind)) = (before, behind) {
        retain(&mut spec.calls, &Some(behind[before.len()..].to_vec()));
    }
    *spec = spec.with_columns(&|column| renumber.place(column));
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
