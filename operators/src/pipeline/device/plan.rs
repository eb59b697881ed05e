//! Which parts of a program have kernels: known from its text and types, before there are rows.
//!
//! A *segment* is a run of steps, perhaps with the aggregation behind them, that one kernel does. What is between segments is done by the
//! host: limits, windows, functions that the language does not know, and sinks that keep rows.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use arrow::datatypes::DataType;

use super::body::{Built, Joined};
use super::code::{Item, Origin, Writer, Written};
use super::groups::GroupKernel;
use crate::aggregate::{GroupsWanted, groups_wanted};
use crate::pipeline::ir::{ExprKind, JoinKind, Pipeline, Program, Sink, SlotId, Source, Step};

/// Columns that a step is looked at with before there are any.
const WIDTH: usize = 4096;

/// Steps that one kernel does.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Their places among the steps that they are of.
    pub(super) places: Range<usize>,
    pub(super) steps: Vec<Step>,
    /// The joins that they probe, in order.
    pub(super) tables: Vec<SlotId>,
    pub(super) joined: Vec<Joined>,
    /// The groups that they end in: those with states, and members of sets.
    pub(super) groups: Option<Vec<GroupsWanted>>,
    /// Columns of the rows that come in.
    pub(super) width: usize,
}

/// What of a run of steps, and of the sink behind them, has kernels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    pub segments: Vec<Segment>,
    /// What is left to the host, and why.
    pub on_host: Vec<String>,
}

/// The sides of all joins of a program.
pub(crate) type Joins = BTreeMap<SlotId, (Vec<DataType>, Vec<DataType>)>;

/// The sides of the joins whose tables a program builds.
pub(crate) fn joins(pipelines: &[Pipeline]) -> Joins {
    let build = |pipeline: &Pipeline| match &pipeline.sink {
        Sink::Build(slot, _, probe) => Some((*slot, (pipeline.types.clone(), probe.clone()))),
        _ => None,
    };
    pipelines.iter().filter_map(build).collect()
}

impl Cut {
    /// Of steps, and of the sink that they lead to with rows of these types.
    pub fn of(steps: &[Step], sink: Option<(&Sink, &[DataType])>, joins: &Joins) -> Self {
        let mut cut = Self::default();
        let mut open: Option<usize> = None;
        for (place, step) in steps.iter().enumerate() {
            match checked(step, joins) {
                Ok(()) => {
                    let first = *open.get_or_insert(place);
                    // Its rows come out when all have probed, and go on from here.
                    if ends_rows(step) {
                        cut.add(steps, first..place + 1, None, joins);
                        open = None;
                    }
                    continue;
                }
                Err(Some(why)) => cut.on_host.push(format!("{} ({why})", verb(step))),
                Err(None) => {}
            }
            cut.add(steps, open.take().unwrap_or(place)..place, None, joins);
        }
        let first = open.unwrap_or(steps.len());
        let groups = match sink {
            Some((Sink::Aggregate(_, spec), types)) => Some(groups_wanted(spec, types)),
            _ => None,
        };
        match groups {
            Some(Ok(wanted)) => cut.add(steps, first..steps.len(), Some(wanted), joins),
            Some(Err(why)) => {
                cut.on_host.push(format!("aggregate ({why})"));
                cut.add(steps, first..steps.len(), None, joins);
            }
            None => cut.add(steps, first..steps.len(), None, joins),
        }
        cut
    }

    /// Adds the segment of some steps, if there is something to compute.
    fn add(&mut self, steps: &[Step], places: Range<usize>, groups: Option<Vec<GroupsWanted>>, joins: &Joins) {
        let mut segment = Segment::new(steps, places, groups, joins);
        if let Some(groups) = &segment.groups {
            let built = vec![Built::default(); segment.joined.len()];
            let refused = groups.iter().find_map(|groups| GroupKernel::of(&segment, groups, None, &built).err());
            if let Some(why) = refused {
                self.on_host.push(format!("aggregate ({why})"));
                segment.groups = None;
            }
        }
        if segment.groups.is_some() || segment.steps.iter().any(computes) {
            self.segments.push(segment);
        }
    }
}

impl Segment {
    fn new(steps: &[Step], places: Range<usize>, groups: Option<Vec<GroupsWanted>>, joins: &Joins) -> Self {
        let steps = steps[places.clone()].to_vec();
        let tables = steps.iter().filter_map(|step| match step {
            Step::Probe(slot, _) => Some(*slot),
            _ => None,
        });
        let tables = tables.collect::<Vec<_>>();
        let joined = tables.iter().filter_map(|slot| joins.get(slot));
        let joined = joined.map(|(build, probe)| Joined { build: build.clone(), probe: probe.clone() }).collect();
        Self { places, steps, tables, joined, groups, width: WIDTH }
    }

    /// The place of its first step; behind the last one if it has none.
    pub(crate) fn first(&self) -> usize {
        self.places.start
    }

    /// The tables that it probes.
    pub(crate) fn tables(&self) -> &[SlotId] {
        &self.tables
    }

    /// The columns of the rows that come in.
    pub(super) fn items(&self) -> Vec<Item> {
        (0..self.width).map(|place| Item::Stored(Origin::Rows, place)).collect()
    }

    /// Whether each row becomes one.
    pub(super) fn is_straight(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Project(_)))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.steps.iter().map(verb).chain(self.groups.as_ref().map(|_| "aggregate"));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

fn verb(step: &Step) -> &'static str {
    match step {
        Step::Filter(_) => "filter",
        Step::Project(_) => "project",
        Step::Probe(..) => "probe",
        Step::Limit { .. } => "limit",
        Step::Window(..) => "window",
    }
}

/// Whether a step has a kernel; why not, if it is work at all.
fn checked(step: &Step, joins: &Joins) -> Result<(), Option<String>> {
    let one = std::slice::from_ref(step);
    match step {
        Step::Limit { .. } => return Err(None),
        Step::Window(..) => return Err(Some("window functions".into())),
        Step::Probe(slot, _) if !joins.contains_key(slot) => return Err(Some("a table of another program".into())),
        _ => {}
    }
    let segment = Segment::new(one, 0..1, None, joins);
    let built = vec![Built::default(); segment.joined.len()];
    let mut writer = Writer::new(None);
    let written: Written<_> = super::body::steps(&mut writer, one, &segment.joined, &built, segment.items());
    written.map(|_| ()).map_err(Some)
}

/// Whether no row of the probe side goes on.
fn ends_rows(step: &Step) -> bool {
    use JoinKind::{BuildAnti, BuildMark, BuildSemi};
    matches!(step, Step::Probe(_, spec) if matches!(spec.kind, BuildSemi | BuildAnti | BuildMark))
}

/// Whether a step does more than name columns.
fn computes(step: &Step) -> bool {
    match step {
        Step::Project(exprs) => {
            exprs.iter().any(|expr| !matches!(expr.kind, ExprKind::Column(_) | ExprKind::Literal(_)))
        }
        _ => true,
    }
}

/// What of a pipeline has kernels and what not, for people: by the branches of its source, then its own steps.
pub fn describe(program: &Program) -> Vec<String> {
    let joins = joins(&program.pipelines);
    let mut lines = Vec::new();
    for (number, pipeline) in program.pipelines.iter().enumerate() {
        let mut cuts = Vec::new();
        collect(&pipeline.source, &pipeline.steps, Some((&pipeline.sink, &pipeline.types)), &joins, &mut cuts);
        let kernels = cuts.iter().flat_map(|cut| &cut.segments).map(|segment| format!("kernel of {segment}"));
        let host = cuts.iter().flat_map(|cut| &cut.on_host).map(|what| format!("on the CPU: {what}"));
        let parts = kernels.chain(host).collect::<Vec<_>>();
        if !parts.is_empty() {
            lines.push(format!("pipeline {number}: {}", parts.join("; ")));
        }
    }
    lines
}

fn collect(source: &Source, steps: &[Step], sink: Option<(&Sink, &[DataType])>, joins: &Joins, cuts: &mut Vec<Cut>) {
    if let Source::Union(branches) = source {
        branches.iter().for_each(|branch| collect(&branch.source, &branch.steps, None, joins, cuts));
    }
    cuts.push(Cut::of(steps, sink, joins));
}
