//! A fragment becomes the program of a stage.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use bireme_operators::pipeline::ir::{Pipeline, Program, Sink, SlotId, Source, Step};
use bireme_operators::pipeline::run::Leaf;

use super::Fused;
use super::partners::find_partners;
use super::prune::prune;

impl Fused {
    /// Its program and its sources, when its rows leave the stage.
    pub fn finish(mut self) -> (Program, BTreeMap<usize, Leaf>, SchemaRef) {
        self.end(Sink::Output);
        let mut pipelines = self.pipelines;
        prune(&mut pipelines);
        find_partners(&mut pipelines);
        let slots = renumber_slots(&mut pipelines);
        let program = Program { pipelines, slots, schema: std::sync::Arc::clone(&self.schema) };
        (program, self.leaves, self.schema)
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
