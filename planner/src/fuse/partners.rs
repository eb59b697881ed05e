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
//! Not through a limit or a window, for which the rows count that come, and only if the join's table is complete before the
//! scan begins. Each branch of a union is a scan of its own.
//!
//! Joins of other stages have the same wish ([`wishes_of_exchanges`]), which `stage::advice` grants to what [`scanned`] finds.

use bireme_engine::stage::ExchangeId;
use bireme_operators::pipeline::ir::{
    AggregateMode, AggregateSpec, Expr, ExprKind, JoinColumn, Partner, PartnerKeys, Pipeline, Sink, SlotId, Source,
    Step,
};

/// A join that drops rows without a partner, and where its key comes from.
#[derive(Clone)]
pub(crate) struct Wish {
    pub slot: SlotId,
    pub key: usize,
    /// Its place among the rows of the source.
    pub column: usize,
}

/// Whether rows may be dropped before a step that can fail on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// They may: the build side is whole before the scan begins.
    May,
    /// They must not: whether the filter comes before a row does is a matter of time.
    MustNot,
}

/// The way from a source, which may be a branch of a union, to the sink.
struct Path {
    /// The number of the branch, then that of the branch within it, …
    branch: Vec<usize>,
    /// How many columns a scan has; `None` if it is no scan.
    scanned: Option<usize>,
    /// The exchange that it reads.
    exchange: Option<ExchangeId>,
    steps: Vec<Step>,
}

/// Puts partners into the scans of pipelines that are in an order in which they can run.
pub(super) fn find_partners(pipelines: &mut [Pipeline]) {
    for place in 0..pipelines.len() {
        for path in paths(&pipelines[place]) {
            for wish in wishes(&path, Failure::May) {
                grant(pipelines, place, &path.branch, wish);
            }
        }
    }
}

/// Hands a wish down to the scan that the rows of a path come from.
fn grant(pipelines: &mut [Pipeline], place: usize, branch: &[usize], wish: Wish) {
    let slot = match source_at_mut(&mut pipelines[place].source, branch) {
        Some(Source::Scan(scan)) => {
            let keys = PartnerKeys::Slot { slot: wish.slot, key: wish.key };
            let partner = Partner { column: scan.projection[wish.column], keys };
            if !scan.partners.contains(&partner) {
                scan.partners.push(partner);
            }
            return;
        }
        Some(Source::Slot(slot)) => *slot,
        Some(Source::Partitions(..) | Source::Exchange(_) | Source::Union(_)) | None => return,
    };
    let fills = |slot: SlotId| pipelines.iter().position(|pipeline| pipeline.sink.slot() == Some(slot));
    let (Some(maker), Some(builder)) = (fills(slot), fills(wish.slot)) else { return };
    let readers = pipelines.iter().filter(|pipeline| pipeline.reads(slot.0)).count();
    let Sink::Aggregate(_, spec) = &pipelines[maker].sink else { return };
    if builder >= maker || readers != 1 {
        return;
    }
    let Some(column) = grouped_by(spec, wish.column) else { return };
    for path in paths(&pipelines[maker]) {
        if let Some(column) = Origin::behind_all(&path, Failure::May).and_then(|origin| origin.of_column(column)) {
            grant(pipelines, maker, &path.branch, Wish { column, ..wish.clone() });
        }
    }
}

/// The wishes of a pipeline's joins for rows of other stages, which learn of them while they run.
pub(crate) fn wishes_of_exchanges(pipeline: &Pipeline) -> Vec<(ExchangeId, Wish)> {
    let of = |path: Path| {
        let exchange = path.exchange?;
        Some(wishes(&path, Failure::MustNot).into_iter().map(move |wish| (exchange, wish)))
    };
    paths(pipeline).into_iter().filter_map(of).flatten().collect()
}

/// The scans of a pipeline, as branches ([`source_at_mut`]), from which a column of its last rows comes, with its place in each
/// source's schema. Only those whose rows nothing counts or fails on.
pub(crate) fn scanned(pipeline: &Pipeline, column: usize) -> Vec<(Vec<usize>, usize)> {
    let of = |path: Path| {
        let column = Origin::behind_all(&path, Failure::MustNot)?.of_column(column)?;
        let Source::Scan(scan) = source_at(&pipeline.source, &path.branch)? else { return None };
        Some((path.branch, scan.projection[column]))
    };
    paths(pipeline).into_iter().filter_map(of).collect()
}

/// The column of the input that a column of the groups is.
fn grouped_by(spec: &AggregateSpec, column: usize) -> Option<usize> {
    let complete = spec.mode == AggregateMode::Single && spec.limit.is_none();
    spec.keys.get(column).copied().filter(|_| complete)
}

fn paths(pipeline: &Pipeline) -> Vec<Path> {
    let mut found = Vec::new();
    add_paths(&pipeline.source, Vec::new(), pipeline.steps.clone(), &mut found);
    found
}

fn add_paths(source: &Source, branch: Vec<usize>, steps: Vec<Step>, found: &mut Vec<Path>) {
    match source {
        Source::Union(branches) => {
            for (number, within) in branches.iter().enumerate() {
                let branch = [branch.as_slice(), &[number]].concat();
                add_paths(&within.source, branch, [within.steps.as_slice(), &steps].concat(), found);
            }
        }
        Source::Scan(scan) => {
            found.push(Path { branch, scanned: Some(scan.projection.len()), exchange: None, steps });
        }
        Source::Exchange(exchange) => found.push(Path { branch, scanned: None, exchange: Some(*exchange), steps }),
        Source::Slot(_) | Source::Partitions(..) => found.push(Path { branch, scanned: None, exchange: None, steps }),
    }
}

/// The source of a branch, of a branch within it, …
fn source_at<'a>(source: &'a Source, branch: &[usize]) -> Option<&'a Source> {
    match (branch, source) {
        ([], source) => Some(source),
        ([number, within @ ..], Source::Union(branches)) => source_at(&branches.get(*number)?.source, within),
        _ => None,
    }
}

/// Likewise, to be changed.
pub(crate) fn source_at_mut<'a>(source: &'a mut Source, branch: &[usize]) -> Option<&'a mut Source> {
    match (branch, source) {
        ([], source) => Some(source),
        ([number, within @ ..], Source::Union(branches)) => {
            source_at_mut(&mut branches.get_mut(*number)?.source, within)
        }
        _ => None,
    }
}

/// The joins on a path that drop rows of its source, in order.
fn wishes(path: &Path, failure: Failure) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut origin = Origin::of(path);
    for step in &path.steps {
        if let Step::Probe(slot, spec) = step
            && spec.kind.drops_unmatched_probe_rows()
            && !spec.nulls_match
        {
            let keys = spec.probe_keys.iter().enumerate();
            let wish =
                |(key, &column): (usize, &usize)| Some(Wish { slot: *slot, key, column: origin.of_column(column)? });
            wishes.extend(keys.filter_map(wish));
        }
        match origin.behind(step, failure) {
            Some(behind) => origin = behind,
            None => break,
        }
    }
    wishes
}

/// For each column of the space at hand the source's column that it is; before the first projection all are themselves.
struct Origin(Option<Vec<Option<usize>>>);

impl Origin {
    fn of(path: &Path) -> Self {
        Self(path.scanned.map(|columns| (0..columns).map(Some).collect()))
    }

    fn of_column(&self, column: usize) -> Option<usize> {
        self.0.as_ref().map_or(Some(column), |columns| columns[column])
    }

    /// Behind all steps of a path.
    fn behind_all(path: &Path, failure: Failure) -> Option<Self> {
        path.steps.iter().try_fold(Self::of(path), |origin, step| origin.behind(step, failure))
    }

    /// Behind a step; `None` if the rows count that come to it, or if it may fail on rows that must not be dropped then.
    fn behind(self, step: &Step, failure: Failure) -> Option<Self> {
        let safe = |expr: &Expr| failure == Failure::May || !expr.may_fail();
        match step {
            Step::Filter(expr) => safe(expr).then_some(self),
            Step::Limit { .. } | Step::Window(..) => None,
            Step::Project(exprs) => {
                let through = |expr: &Expr| match expr.kind {
                    ExprKind::Column(column) => self.of_column(column),
                    _ => None,
                };
                exprs.iter().all(safe).then(|| Self(Some(exprs.iter().map(through).collect())))
            }
            Step::Probe(_, spec) => {
                let through = |column: &JoinColumn| match column {
                    JoinColumn::Probe(column) => self.of_column(*column),
                    JoinColumn::Build(_) | JoinColumn::Mark => None,
                };
                spec.residual.iter().all(safe).then(|| Self(Some(spec.output.iter().map(through).collect())))
            }
        }
    }
}
