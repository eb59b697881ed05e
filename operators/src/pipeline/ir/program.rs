//! Pipelines and their order.

use std::fmt;

use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::hash::hash_bytes;
use bireme_engine::stage::ExchangeId;

use super::{AggregateSpec, Expr, JoinSpec, SortSpec};

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

/// A step that keeps nothing of the rows.
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
        let of_source = match &self.source {
            Source::Slot(id) => id.0 == slot,
            Source::Scan(scan) => scan
                .partners
                .iter()
                .any(|partner| matches!(&partner.keys, PartnerKeys::Slot { slot: id, .. } if id.0 == slot)),
            Source::Exchange(_) => false,
        };
        of_source || self.steps.iter().any(|step| matches!(step, Step::Probe(id, _) if id.0 == slot))
    }
}

impl Program {
    /// Canonical text, one line a step.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, pipeline) in self.pipelines.iter().enumerate() {
            lines.push(format!("pipeline {number}: {}", pipeline.source));
            lines.extend(pipeline.steps.iter().map(|step| format!("  {step}")));
            let advice = pipeline.advice.iter().map(|advice| format!(" {advice}"));
            lines.push(format!("  {}{}", pipeline.sink, advice.collect::<String>()));
        }
        lines
    }

    /// The place in [`Program::lines`] of a pipeline's first line; its steps and its sink follow.
    pub fn first_line(&self, pipeline: usize) -> usize {
        self.pipelines.iter().take(pipeline).map(|pipeline| pipeline.steps.len() + 2).sum()
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
        }
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scan {} of {}", list(&self.projection, |column| format!("#{column}")), self.name)?;
        if !self.predicates.is_empty() {
            write!(f, " where {}", list(&self.predicates, ToString::to_string))?;
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
