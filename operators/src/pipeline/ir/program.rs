//! Pipelines and their order.

use std::fmt;
use std::ops::Range;

use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::hash::hash_bytes;
use bireme_engine::stage::ExchangeId;

use super::{AggregateSpec, Expr, JoinSpec, SortSpec, WindowSpec};

/// Where a sink keeps what later pipelines read; numbered within a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub usize);

/// The work of a fused stage: pipelines in an order in which they can run, the last of which ends in [`Sink::Output`].
#[derive(Clone, Debug)]
pub struct Program {
    /// In order; each slot is filled before it is read.
    pub pipelines: Vec<Pipeline>,
    /// How many slots they use.
    pub slots: usize,
    /// The columns of the output, with logical types.
    pub schema: SchemaRef,
}

/// A source, steps, and a sink.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where rows come from.
    pub source: Source,
    /// What is done to them, in order.
    pub steps: Vec<Step>,
    /// Where they end.
    pub sink: Sink,
    /// The logical types of the rows that reach the sink.
    pub types: Vec<DataType>,
    /// The scans of other stages that learn which keys its sink, a build side, has.
    pub advice: Vec<Advice>,
}

/// A key of a build side, and the exchange over which scans of another stage learn of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Which key.
    pub key: usize,
    /// Over which exchange.
    pub exchange: ExchangeId,
    /// How many lanes build a part of that side each.
    pub lanes: usize,
}

/// Where the rows of a pipeline come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A table.
    Scan(Scan),
    /// Other stages.
    Exchange(ExchangeId),
    /// What an earlier pipeline's sink has kept: groups, sorted rows, collected rows.
    Slot(SlotId),
    /// What an earlier pipeline has sorted, first by these columns (with their logical types): rows that are equal in them
    /// come together and in order, but those of different values in any order.
    Partitions(SlotId, Vec<(usize, DataType)>),
    /// The rows of all branches, in any order.
    Union(Vec<Branch>),
}

/// One of several sources that are read as one.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Where its rows come from.
    pub source: Source,
    /// What is done to them, in order.
    pub steps: Vec<Step>,
    /// The logical types of its rows in the end, which are those of every branch.
    pub types: Vec<DataType>,
}

/// A table that is read, and which of its rows.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which source of the stage.
    pub leaf: usize,
    /// Canonical text of the source.
    pub name: String,
    /// The columns that are wanted, as places in the source's schema.
    pub projection: Vec<usize>,
    /// All of these must be true: over the source's columns.
    pub predicates: Vec<Expr>,
    /// A step behind the scan tests these, over the source's columns: it leaves out what statistics tell to be false.
    pub prunes: Vec<Expr>,
    /// Rows whose key has no partner on the build side of a join need not come.
    pub partners: Vec<Partner>,
}

/// A scan's column, as key of a join that comes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// The place in the source's schema.
    pub column: usize,
    /// The keys of the join's build side.
    pub keys: PartnerKeys,
}

/// The keys of a build side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerKeys {
    /// Of the pipeline's own program: whole when the scan begins.
    Slot {
        /// The build side.
        slot: SlotId,
        /// Which of its keys.
        key: usize,
    },
    /// Of another stage: its parts come as advice while the scan runs, which never waits for it.
    Advice {
        /// Over this exchange.
        exchange: ExchangeId,
        /// From so many lanes; before all of them have told theirs, nothing is known.
        lanes: usize,
        /// The logical type of the scan's column.
        data_type: DataType,
    },
}

/// A step that keeps nothing of the rows, or only until their partition is complete.
#[derive(Clone, Debug)]
pub enum Step {
    /// Only rows where it is true.
    Filter(Expr),
    /// These columns instead.
    Project(Vec<Expr>),
    /// Joined with the rows that an earlier pipeline has built.
    Probe(SlotId, JoinSpec),
    /// Only so many rows, after so many others.
    Limit {
        /// Rows to leave out.
        skip: usize,
        /// Rows to let through; all if `None`.
        fetch: Option<usize>,
    },
    /// More columns, which are window functions, over rows of these logical types. The source is sorted, and no step before
    /// it mixes rows.
    Window(WindowSpec, Vec<DataType>),
}

/// What becomes of the rows of a pipeline.
#[derive(Clone, Debug)]
pub enum Sink {
    /// They leave the stage.
    Output,
    /// They are grouped.
    Aggregate(SlotId, AggregateSpec),
    /// They are the build side of a join, with the logical types of the rows that will probe it.
    Build(SlotId, JoinSpec, Vec<DataType>),
    /// They are sorted.
    Sort(SlotId, SortSpec),
    /// They are kept.
    Collect(SlotId),
}

impl Sink {
    /// The slot it fills.
    pub fn slot(&self) -> Option<SlotId> {
        match self {
            Sink::Output => None,
            Sink::Aggregate(slot, _) | Sink::Build(slot, ..) | Sink::Sort(slot, _) | Sink::Collect(slot) => Some(*slot),
        }
    }
}

impl Pipeline {
    /// Whether it reads what an earlier pipeline has kept there.
    pub fn reads(&self, slot: usize) -> bool {
        reads(&self.source, &self.steps, slot)
    }

    /// Where the lines of its text are, if the first is at `first`; its sink has the line behind the last step.
    pub fn places(&self, first: usize) -> Places {
        Places::of(first, &self.source, &self.steps)
    }
}

fn reads(source: &Source, steps: &[Step], slot: usize) -> bool {
    let of_source = match source {
        Source::Slot(id) | Source::Partitions(id, _) => id.0 == slot,
        Source::Scan(scan) => {
            let is_it = |partner: &Partner| matches!(partner.keys, PartnerKeys::Slot { slot: id, .. } if id.0 == slot);
            scan.partners.iter().any(is_it)
        }
        Source::Exchange(_) => false,
        Source::Union(branches) => branches.iter().any(|branch| reads(&branch.source, &branch.steps, slot)),
    };
    of_source || steps.iter().any(|step| matches!(step, Step::Probe(id, _) if id.0 == slot))
}

impl Source {
    /// The tables that it reads, in the order of the text.
    pub fn scans(&self) -> Vec<&Scan> {
        match self {
            Source::Scan(scan) => vec![scan],
            Source::Union(branches) => branches.iter().flat_map(|branch| branch.source.scans()).collect(),
            Source::Exchange(_) | Source::Slot(_) | Source::Partitions(..) => Vec::new(),
        }
    }
}

/// Where a source, its branches and the steps behind it are in the text of a program.
///
/// ```text
///   pipeline 0: union                  source
///     branch 0: scan [#0] of a         branches[0].source
///       filter (#0 > 1)                branches[0].steps
///     branch 1: slot 0                 branches[1].source
///     project [#0]                     steps
///     output                           the sink
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The source's line.
    pub source: usize,
    /// Those of its branches, which follow.
    pub branches: Vec<Places>,
    /// The lines of the steps, behind the branches.
    pub steps: Range<usize>,
}

impl Places {
    fn of(first: usize, source: &Source, steps: &[Step]) -> Self {
        let (mut branches, mut next) = (Vec::new(), first + 1);
        if let Source::Union(within) = source {
            for branch in within {
                let places = Self::of(next, &branch.source, &branch.steps);
                next = places.steps.end;
                branches.push(places);
            }
        }
        Self { source: first, branches, steps: next..next + steps.len() }
    }
}

/// The lines of [`Places::of`].
fn write(name: &str, source: &Source, steps: &[Step], depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}{name}: {source}"));
    if let Source::Union(branches) = source {
        for (number, branch) in branches.iter().enumerate() {
            write(&format!("branch {number}"), &branch.source, &branch.steps, depth + 1, lines);
        }
    }
    lines.extend(steps.iter().map(|step| format!("{indent}  {step}")));
}

impl Program {
    /// Canonical text, one line a step.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, pipeline) in self.pipelines.iter().enumerate() {
            write(&format!("pipeline {number}"), &pipeline.source, &pipeline.steps, 0, &mut lines);
            let advice = pipeline.advice.iter().map(|advice| format!(" {advice}"));
            lines.push(format!("  {}{}", pipeline.sink, advice.collect::<String>()));
        }
        lines
    }

    /// Where the lines of each pipeline are in [`Program::lines`].
    pub fn places(&self) -> Vec<Places> {
        let mut first = 0;
        let places = self.pipelines.iter().map(|pipeline| {
            let places = pipeline.places(first);
            first = places.steps.end + 1;
            places
        });
        places.collect()
    }

    /// The same program has the same key.
    pub fn key(&self) -> u64 {
        hash_bytes(self.lines().join("\n").as_bytes())
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Scan(scan) => scan.fmt(f),
            Source::Exchange(exchange) => write!(f, "exchange {exchange}"),
            Source::Slot(slot) => slot.fmt(f),
            Source::Partitions(slot, columns) => {
                write!(f, "{slot} by {}", list(columns, |(column, _)| format!("#{column}")))
            }
            Source::Union(_) => f.write_str("union"),
        }
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scan {} of {}", list(&self.projection, |column| format!("#{column}")), self.name)?;
        if !self.predicates.is_empty() {
            write!(f, " where {}", list(&self.predicates, ToString::to_string))?;
        }
        if !self.prunes.is_empty() {
            write!(f, " pruned by {}", list(&self.prunes, ToString::to_string))?;
        }
        if !self.partners.is_empty() {
            write!(f, " partners {}", list(&self.partners, ToString::to_string))?;
        }
        Ok(())
    }
}

impl fmt::Display for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.keys {
            PartnerKeys::Slot { slot, key } => write!(f, "#{} in key {key} of {slot}", self.column),
            PartnerKeys::Advice { exchange, lanes, .. } => {
                write!(f, "#{} in {exchange} of {lanes} lane{}", self.column, if *lanes == 1 { "" } else { "s" })
            }
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "telling key {} to {}", self.key, self.exchange)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Filter(expr) => write!(f, "filter {expr}"),
            Step::Project(exprs) => write!(f, "project {}", list(exprs, ToString::to_string)),
            Step::Probe(slot, spec) => write!(f, "probe {slot} {spec}"),
            Step::Limit { skip, fetch } => match fetch {
                Some(fetch) => write!(f, "limit {fetch} skip {skip}"),
                None => write!(f, "skip {skip}"),
            },
            Step::Window(spec, _) => write!(f, "window {spec}"),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::Output => f.write_str("output"),
            Sink::Aggregate(slot, spec) => write!(f, "aggregate {slot} {spec}"),
            Sink::Build(slot, spec, _) => {
                write!(f, "build {slot} on {}", list(&spec.build_keys, |column| format!("#{column}")))
            }
            Sink::Sort(slot, spec) => write!(f, "sort {slot} {spec}"),
            Sink::Collect(slot) => write!(f, "collect {slot}"),
        }
    }
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn branch(source: Source, steps: Vec<Step>) -> Branch {
        Branch { source, steps, types: vec![] }
    }

    /// So many steps, each with a number of its own.
    fn steps(numbers: Range<usize>) -> Vec<Step> {
        numbers.map(|skip| Step::Limit { skip, fetch: None }).collect()
    }

    fn check(lines: &[String], places: &Places, source: &Source, steps: &[Step]) {
        assert!(lines[places.source].ends_with(&format!(": {source}")), "{places:?}: {lines:#?}");
        assert_eq!(places.steps.len(), steps.len());
        for (step, line) in steps.iter().zip(places.steps.clone()) {
            assert_eq!(lines[line].trim(), step.to_string(), "{places:?}: {lines:#?}");
        }
        if let Source::Union(branches) = source {
            assert_eq!(places.branches.len(), branches.len());
            for (branch, places) in branches.iter().zip(&places.branches) {
                check(lines, places, &branch.source, &branch.steps);
            }
        }
    }

    #[test]
    fn places_are_those_of_the_lines() {
        let inner = Source::Union(vec![
            branch(Source::Slot(SlotId(0)), steps(1..3)),
            branch(Source::Exchange(ExchangeId(4)), vec![]),
        ]);
        let union = Source::Union(vec![branch(inner, steps(3..4)), branch(Source::Slot(SlotId(1)), steps(4..5))]);
        let pipeline = |source, steps| Pipeline { source, steps, sink: Sink::Output, types: vec![], advice: vec![] };
        let pipelines = vec![
            pipeline(Source::Slot(SlotId(2)), steps(5..7)),
            pipeline(union, steps(7..9)),
            pipeline(Source::Slot(SlotId(3)), vec![]),
        ];
        let program = Program { pipelines, slots: 4, schema: Arc::new(Schema::empty()) };
        let (lines, places) = (program.lines(), program.places());
        assert_eq!(places.len(), 3);
        for (pipeline, places) in program.pipelines.iter().zip(&places) {
            check(&lines, places, &pipeline.source, &pipeline.steps);
            assert_eq!(lines[places.steps.end], "  output");
        }
        assert_eq!(places[2].steps.end + 1, lines.len());
    }
}
