//! A fragment becomes the program of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_operators::pipeline::ir::{PartnerKeys, Pipeline, Program, Sink, SlotId, Source, Step};
use bireme_operators::pipeline::run::Leaf;
use datafusion::physical_plan::ExecutionPlan;

use super::Fused;
use super::partners::find_partners;
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
    pub fn finish(self) -> Finished {
        self.finish_in(Sink::Output)
    }

    /// The same for a device: what scans would test is tested behind them, where there are kernels for it.
    pub fn finish_on_device(mut self) -> Finished {
        self.end(Sink::Output);
        self.test_behind_scans();
        self.finished()
    }

    /// Its program, when its rows end in this sink.
    pub fn finish_in(mut self, sink: Sink) -> Finished {
        self.end(sink);
        self.finished()
    }

    fn finished(self) -> Finished {
        let mut pipelines = self.pipelines;
        prune(&mut pipelines);
        find_partners(&mut pipelines);
        let slots = renumber_slots(&mut pipelines);
        let program = Program { pipelines, slots, schema: self.schema };
        let origins = self.origins.lines(&program.places());
        Finished { program, leaves: self.leaves, origins }
    }
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
        Source::Scan(scan) => scan.partners.iter_mut().for_each(|partner| {
            if let PartnerKeys::Slot { slot, .. } = &mut partner.keys {
                new(slot);
            }
        }),
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
