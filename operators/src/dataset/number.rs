//! Records with their places among all: partitions are counted first, by all ranks, and then read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use parking_lot::Mutex;

use super::chain::{Chain, Flow, Needs};
use super::record::Batches;
use super::run::{ON, Part, Parts, Run, for_parts};
use super::work::{Exchanged, Work, message, message_schema, records_of};

/// Records with their numbers, from 0.
pub struct Numbered<P> {
    inner: Arc<Inner<P>>,
}

impl<P> Clone for Numbered<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<P> {
    node: u64,
    parent: P,
}

/// Records of partitions, by number.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<u64, u64>>);

impl<P: Chain> Numbered<P> {
    /// Numbers the records of a chain.
    pub fn new(node: u64, parent: P) -> Self {
        Self { inner: Arc::new(Inner { node, parent }) }
    }
}

impl<P: Chain> Inner<P> {
    fn count(&self, run: &Run) -> Result<()> {
        let counts = Arc::new(Counts::default());
        run.put(self.node, Arc::clone(&counts));
        let part = |(): &mut (), number: u64, part: &Part<'_>| {
            let mut count = 0;
            let _end = self.parent.drive(part, &mut |_| {
                count += 1;
                ON
            })?;
            counts.0.lock().insert(number, count);
            Ok(())
        };
        for_parts(&self.parent, run, "zip_with_index", || Ok(()), part, |()| Ok(()))
    }
}

impl<P: Chain> Chain for Numbered<P> {
    type Item = (P::Item, u64);

    fn parts(&self, run: &Run) -> Result<Parts> {
        self.inner.parent.parts(run)
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut((P::Item, u64)) -> Flow) -> Result<Flow> {
        let parts = self.parts(part.run)?;
        let lost = || Error::internal("a partition that is not here");
        let number = parts.numbers.get(part.place).copied().ok_or_else(lost)?;
        let counts = part.run.get::<Counts>(self.inner.node)?;
        let mut next = counts.0.lock().range(..number).map(|(_, count)| count).sum::<u64>();
        self.inner.parent.drive(part, &mut |record| {
            next += 1;
            sink((record, next - 1))
        })
    }

    fn needs(&self, needs: &mut Needs) {
        let inner = &self.inner;
        needs.add(inner.node, |needs, _| {
            inner.parent.needs(needs);
            let mut lines = Vec::new();
            inner.parent.describe(&mut lines);
            lines.push("count partitions".into());
            let here = Arc::clone(inner);
            Work {
                lines,
                run: Arc::new(move |run| here.count(run)),
                exchanged: Some(Arc::new(CountExchange { node: inner.node, schema: message_schema::<(u64, u64)>() })),
            }
        });
        // They are read once more.
        inner.parent.needs(needs);
    }

    fn describe(&self, lines: &mut Vec<String>) {
        self.inner.parent.describe(lines);
        lines.push("zip_with_index".into());
    }

    fn in_order(&self) -> bool {
        true
    }
}

/// Every rank tells all others how many records its partitions have.
struct CountExchange {
    node: u64,
    schema: SchemaRef,
}

impl Exchanged for CountExchange {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        "counts to all".into()
    }

    fn groups(&self, run: &Run) -> usize {
        usize::from(run.ranks > 1)
    }

    fn messages(&self, run: &Run, _: usize) -> Result<Vec<RecordBatch>> {
        let counts = run.get::<Counts>(self.node)?;
        let mut columns = Batches::<(u64, u64)>::default();
        counts.0.lock().iter().for_each(|(number, count)| columns.push(&(*number, *count)));
        if columns.rows() == 0 {
            return Ok(Vec::new());
        }
        let columns = columns.finish()?;
        let others = (0..run.ranks).filter(|&rank| rank != run.rank);
        others.map(|rank| message(&self.schema, rank, 0, &columns)).collect()
    }

    fn take(&self, run: &Run, batch: &RecordBatch) -> Result<()> {
        let counts = run.get::<Counts>(self.node)?;
        for (_, columns) in records_of::<(u64, u64)>(batch)? {
            counts.0.lock().extend(Batches::<(u64, u64)>::read(&columns)?);
        }
        Ok(())
    }
}
