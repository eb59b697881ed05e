//! Records where the program wants them: in so many partitions, by a number that it gives each.
//!
//! Partition `p` of `n` lies in bucket `p · 256 / n`, so that ranks have about as many of them each; there are 256 at most.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};

use super::buckets::{BUCKETS, BucketExchange, Buckets, Outbox, buckets_of};
use super::chain::{Chain, Flow, Needs};
use super::record::Record;
use super::run::{ON, Part, Parts, Run, for_parts};
use super::work::Work;

/// Records in partitions by number.
pub struct Placed<P, F> {
    inner: Arc<Inner<P, F>>,
}

impl<P, F> Clone for Placed<P, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<P, F> {
    node: u64,
    parent: P,
    parts: usize,
    place: F,
}

impl<P, F> Placed<P, F>
where
    P: Chain<Item: Record>,
    F: Fn(&P::Item, u64, u64) -> usize + Send + Sync + 'static,
{
    /// Puts the records of a chain into partitions. `place` is told a record, the number of the partition that it was in, and its place
    /// there.
    ///
    /// # Errors
    /// There are no partitions, or more than 256.
    pub fn new(node: u64, parent: P, parts: usize, place: F) -> Result<Self> {
        if parts == 0 || parts > BUCKETS {
            return Err(Error::user(format!("{parts} partitions: there are 1 to {BUCKETS}")));
        }
        Ok(Self { inner: Arc::new(Inner { node, parent, parts, place }) })
    }

    /// The partitions of a rank.
    fn numbers(&self, run: &Run) -> Vec<u64> {
        let own = buckets_of(run.rank, run.ranks);
        (0..self.inner.parts).filter(|part| own.contains(&self.inner.bucket(*part))).map(|part| part as u64).collect()
    }
}

impl<P, F> Inner<P, F> {
    fn bucket(&self, part: usize) -> usize {
        part * BUCKETS / self.parts
    }

    fn scatter(&self, run: &Run, readers: usize) -> Result<()>
    where
        P: Chain<Item: Record>,
        F: Fn(&P::Item, u64, u64) -> usize + Send + Sync + 'static,
    {
        let buckets = Arc::new(Buckets::<P::Item>::new(run, readers));
        run.put(self.node, Arc::clone(&buckets));
        let part = |out: &mut Outbox<P::Item>, number: u64, part: &Part<'_>| {
            let (mut failure, mut place) = (None, 0);
            let _end = self.parent.drive(part, &mut |record| {
                let wanted = (self.place)(&record, number, place);
                place += 1;
                let pushed = match wanted < self.parts {
                    true => out.push(run, &buckets, self.bucket(wanted), record),
                    false => {
                        Err(Error::user(format!("partition_by: a record for partition {wanted} of {}", self.parts)))
                    }
                };
                match pushed {
                    Ok(()) => ON,
                    Err(error) => {
                        failure = Some(error);
                        Flow::Break(())
                    }
                }
            })?;
            failure.map_or(Ok(()), Err)
        };
        for_parts(
            &self.parent,
            run,
            "partition_by",
            || Ok(Outbox::default()),
            part,
            |mut out| out.finish(run, &buckets),
        )
    }
}

impl<P, F> Chain for Placed<P, F>
where
    P: Chain<Item: Record>,
    F: Fn(&P::Item, u64, u64) -> usize + Send + Sync + 'static,
{
    type Item = P::Item;

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(Parts { numbers: self.numbers(run), total: self.inner.parts as u64 })
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(P::Item) -> Flow) -> Result<Flow> {
        let lost = || Error::internal("a partition that is not here");
        let number = self.numbers(part.run).get(part.place).copied().ok_or_else(lost)?;
        let mut records = Vec::new();
        part.run.get::<Buckets<P::Item>>(self.inner.node)?.read(self.inner.bucket(number as usize), |record| {
            records.push(record);
            Ok(())
        })?;
        for record in records {
            part.next()?;
            if sink(record).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, needs: &mut Needs) {
        let inner = &self.inner;
        needs.add(inner.node, |needs, readers| {
            inner.parent.needs(needs);
            let mut lines = Vec::new();
            inner.parent.describe(&mut lines);
            lines.push(format!("place in {} partitions", inner.parts));
            let here = Arc::clone(inner);
            Work {
                lines,
                run: Arc::new(move |run| here.scatter(run, readers.get())),
                exchanged: Some(Arc::new(BucketExchange::<P::Item>::new(inner.node, "partition"))),
            }
        });
    }

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("read {} partitions", self.inner.parts));
    }
}
