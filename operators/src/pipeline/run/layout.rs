//! Where rows come into a pipeline, and which step they go to next.
//!
//! The steps of a union's branches come before those behind the union, so that the steps on any way to the sink have
//! ascending places:
//!
//! ```text
//!   branch 0: scan    → filter (0) ──────────────┐
//!   branch 1: slot 1  → project (1) → probe (2) ─┴► limit (3) → sink (4)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{self, Predicate, ScanRequest};
use bireme_engine::stage::ExchangeId;

use super::advice::Learned;
use super::kept::Kept;
use super::line::Stepping;
use super::partner::PartnerPredicate;
use crate::accelerator::{Accelerator, Moved, Work};
use crate::expr::ExprPredicate;
use crate::pipeline::Resources;
use crate::pipeline::device::{Cut, Joins, Running};
use crate::pipeline::ir::{PartnerKeys, Pipeline, Scan, Sink, Source, Step};
use crate::window::PartitionScan;

/// The sources that a pipeline scans, by number.
pub(super) type Leaves = BTreeMap<usize, Arc<dyn morsel::Source>>;

/// What is there before a pipeline begins.
pub(super) struct Given<'a> {
    pub leaves: &'a Leaves,
    pub slots: &'a [Kept],
    pub learned: &'a Learned,
    pub resources: &'a Resources,
    pub device: Option<OnDevice<'a>>,
}

/// What runs kernels, and what it must know of joins.
#[derive(Clone, Copy)]
pub(super) struct OnDevice<'a> {
    pub accelerator: &'a Accelerator,
    pub joins: &'a Joins,
}

/// A place where rows come in.
pub(super) struct Entry {
    pub intake: Intake,
    /// The step that they go to.
    pub first_step: usize,
}

/// Where rows come from.
pub(super) enum Intake {
    Scan(Arc<dyn morsel::Scan>),
    Exchange(ExchangeId),
}

/// The steps of a pipeline and the ways through them.
pub(super) struct Layout {
    /// In the order in which they are read.
    pub entries: Vec<Entry>,
    /// The tests that joins have given to the scans among them.
    pub partners: Vec<Arc<PartnerPredicate>>,
    pub steps: Vec<Stepping>,
    /// For each step the next one; behind the last one is the sink, at `steps.len()`.
    pub after: Vec<usize>,
    /// Steps that a device does, by the place of the first; what ends in groups may begin at the sink.
    pub segments: BTreeMap<usize, Arc<Running>>,
}

/// What a source or step leads to that is not laid out yet.
const OPEN: usize = usize::MAX;

impl Layout {
    pub fn of(pipeline: &Pipeline, given: &Given<'_>) -> Result<Self> {
        let mut layout = Self {
            entries: Vec::new(),
            partners: Vec::new(),
            steps: Vec::new(),
            after: Vec::new(),
            segments: BTreeMap::new(),
        };
        let mut on_host = Vec::new();
        layout.lay(&pipeline.source, &pipeline.steps, Some((&pipeline.sink, &pipeline.types)), given, &mut on_host)?;
        layout.connect(0, 0);
        if let Some(device) = given.device {
            let sorts = matches!(pipeline.sink, Sink::Sort(..));
            match on_host.is_empty() {
                true if layout.segments.is_empty() && !sorts => {}
                true => device.accelerator.count(Work::Pipelines, Moved::default()),
                false => device.accelerator.count_on_cpu(Work::Pipelines, on_host.join(", ")),
            }
        }
        Ok(layout)
    }

    fn lay(
        &mut self,
        source: &Source,
        steps: &[Step],
        sink: Option<(&Sink, &[DataType])>,
        given: &Given<'_>,
        on_host: &mut Vec<String>,
    ) -> Result<()> {
        let (first_entry, first_place) = (self.entries.len(), self.steps.len());
        if let Source::Union(branches) = source {
            for branch in branches {
                self.lay(&branch.source, &branch.steps, None, given, on_host)?;
            }
        } else {
            let intake = self.open(source, given)?;
            check_order(source, &intake, steps)?;
            self.entries.push(Entry { intake, first_step: OPEN });
        }
        if let Some(device) = given.device {
            let cut = Cut::of(steps, sink, device.joins);
            on_host.extend(cut.on_host);
            for segment in cut.segments {
                let place = self.steps.len() + segment.first();
                let tables = segment.tables().iter().map(|slot| given.slots[slot.0].table()).collect::<Result<_>>()?;
                let (accelerator, metrics) = (device.accelerator.clone(), Arc::clone(&given.resources.metrics));
                self.segments.insert(place, Arc::new(Running::new(segment, tables, accelerator, metrics)));
            }
        }
        for step in steps {
            self.connect(first_entry, first_place);
            self.steps.push(Stepping::open(step, given.slots, given.resources)?);
            self.after.push(OPEN);
        }
        Ok(())
    }

    fn open(&mut self, source: &Source, given: &Given<'_>) -> Result<Intake> {
        let scan = match source {
            Source::Scan(scan) => {
                let partners = open_partners(scan, given)?;
                let opened = open_scan(scan, &partners, given)?;
                self.partners.extend(partners);
                opened
            }
            Source::Slot(slot) => given.slots[slot.0].rows()?,
            Source::Partitions(slot, columns) => match given.slots[slot.0].rows()? {
                whole if whole.morsels() <= 1 => whole,
                sorted => Arc::new(PartitionScan::new(sorted, columns.iter().cloned())),
            },
            Source::Exchange(exchange) => return Ok(Intake::Exchange(*exchange)),
            Source::Union(_) => return Err(Error::internal("a union is no source by itself")),
        };
        Ok(Intake::Scan(scan))
    }

    /// Leads what is open, from these places on, to the step that comes next.
    fn connect(&mut self, first_entry: usize, first_place: usize) {
        let next = self.steps.len();
        let entries = self.entries[first_entry..].iter_mut().map(|entry| &mut entry.first_step);
        let open = entries.chain(&mut self.after[first_place..]).filter(|next| **next == OPEN);
        open.for_each(|open| *open = next);
    }
}

/// Window functions read rows in order, those of a partition in one morsel if morsels come in any order.
fn check_order(source: &Source, intake: &Intake, steps: &[Step]) -> Result<()> {
    let sorted = match (source, intake) {
        (Source::Partitions(..), _) => true,
        (_, Intake::Scan(scan)) => scan.ordered() || scan.morsels() <= 1,
        (_, Intake::Exchange(_)) => false,
    };
    if !sorted && steps.iter().any(|step| matches!(step, Step::Window(..))) {
        return Err(Error::internal(format!("window functions over {source}, which is not sorted")));
    }
    Ok(())
}

fn open_partners(scan: &Scan, given: &Given<'_>) -> Result<Vec<Arc<PartnerPredicate>>> {
    let mut partners = Vec::new();
    for partner in &scan.partners {
        let told = match &partner.keys {
            PartnerKeys::Slot { slot, key } => {
                given.slots[slot.0].table()?.key_filter(*key).map(|filter| Arc::new(OnceLock::from(filter)))
            }
            PartnerKeys::Advice { exchange, .. } => given.learned.get(exchange).cloned(),
        };
        if let Some(told) = told {
            partners.push(Arc::new(PartnerPredicate::new(partner.column, told, partner.to_string())));
        }
    }
    Ok(partners)
}

fn open_scan(scan: &Scan, partners: &[Arc<PartnerPredicate>], given: &Given<'_>) -> Result<Arc<dyn morsel::Scan>> {
    let Some(leaf) = given.leaves.get(&scan.leaf) else {
        return Err(Error::internal(format!("{} has no source", scan.name)));
    };
    let mut predicates: Vec<Arc<dyn Predicate>> = Vec::new();
    for predicate in &scan.predicates {
        predicates.push(Arc::new(ExprPredicate::new(predicate.clone())?));
    }
    for predicate in &scan.prunes {
        predicates.push(Arc::new(ExprPredicate::pruning(predicate.clone())?));
    }
    predicates.extend(partners.iter().map(|partner| Arc::clone(partner) as Arc<dyn Predicate>));
    let metrics = Some(Arc::clone(&given.resources.metrics));
    leaf.open(ScanRequest { projection: scan.projection.clone(), predicates, metrics })
}
