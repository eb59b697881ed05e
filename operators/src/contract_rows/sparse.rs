//! A product row by row: for each row of the left table its partners, whose products are added up by column.
//!
//! ```text
//!   left, by (batch, row)        right, by (batch, key)
//!   row 3: (k 5, 2.0) (k 9, 1.0)     k 5: (col 0, 4.0) (col 7, 1.0)
//!            │                        k 9: (col 7, 3.0)
//!            └─► sums[0] += 2·4, sums[7] += 2·1, sums[7] += 1·3          one array of sums, cleared where it was touched
//! ```

use arrow::array::RecordBatch;
use bireme_engine::error::Result;
use rayon::prelude::*;

use super::code::{Coded, Part};
use super::writer::{Group, Writer};
use super::{Rounds, Value};

/// Pairs of rows that a round looks at, about; no more groups come of it.
const OF_A_ROUND: u64 = 2 << 20;

/// Groups that a batch has, about.
const OF_A_BATCH: usize = 64 << 10;

/// The groups of a product of two tables.
pub struct Groups<V> {
    left: Sorted<V>,
    right: Sorted<V>,
    /// Of each group of left rows the right ones' place, and so on: of each left row its partners.
    partners: Vec<(u32, u32)>,
    rows: usize,
    cols: usize,
    /// Groups of left rows where rounds begin, and where the last one ends.
    rounds: Vec<usize>,
    nulls: bool,
    writer: Writer,
}

/// A table sorted by batch and another letter.
struct Sorted<V> {
    /// Of each run of rows: batch and number as one key.
    keys: Vec<u64>,
    /// Where runs begin, and where the last one ends.
    starts: Vec<u32>,
    entries: Vec<Entry<V>>,
}

#[derive(Clone, Copy)]
struct Entry<V> {
    /// Of the left table batch and summed letters as one key; of the right one the own number.
    other: u64,
    value: V,
    valid: bool,
}

impl<V: Value> Sorted<V> {
    /// `key` and `other` are made of batch, own and summed numbers.
    fn new(
        table: &Coded<V>,
        key: impl Fn(u32, u32, u32) -> u64 + Sync,
        other: impl Fn(u32, u32, u32) -> u64 + Sync,
    ) -> Self {
        let of_part = |part: &Part<V>| {
            let rows = 0..part.values.len();
            let entry = |row: usize| {
                let (batch, own, summed) = (part.batch[row], part.own[row], part.summed[row]);
                let valid = part.valid.as_ref().is_none_or(|valid| valid[row]);
                let entry = Entry { other: other(batch, own, summed), value: part.values[row], valid };
                (key(batch, own, summed), entry)
            };
            rows.map(entry).collect::<Vec<_>>()
        };
        let mut rows = table.parts.par_iter().flat_map_iter(of_part).collect::<Vec<_>>();
        // Stable: sums of floating-point numbers do not depend on how many threads sort.
        rows.par_sort_by_key(|(key, _)| *key);
        let (mut keys, mut starts) = (Vec::new(), Vec::new());
        for (place, (key, _)) in rows.iter().enumerate() {
            if keys.last() != Some(key) {
                keys.push(*key);
                starts.push(place as u32);
            }
        }
        starts.push(rows.len() as u32);
        Self { keys, starts, entries: rows.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn run(&self, number: usize) -> std::ops::Range<usize> {
        self.starts[number] as usize..self.starts[number + 1] as usize
    }
}

impl<V: Value> Groups<V> {
    pub fn new([_, rows, summed, cols]: [usize; 4], left: Coded<V>, right: Coded<V>, writer: Writer) -> Self {
        let nulls = left.nulls || right.nulls;
        let (of_rows, of_keys) = (rows as u64, summed as u64);
        let (left, right) = rayon::join(
            || {
                let key = |batch, own, _| u64::from(batch) * of_rows + u64::from(own);
                Sorted::new(&left, key, |batch, _, summed| u64::from(batch) * of_keys + u64::from(summed))
            },
            || {
                let key = |batch, _, summed| u64::from(batch) * of_keys + u64::from(summed);
                Sorted::new(&right, key, |_, own, _| u64::from(own))
            },
        );
        let partners = partners(&left, &right);
        let mut groups = Self { left, right, partners, rows, cols, rounds: vec![0], nulls, writer };
        groups.rounds = groups.cut(OF_A_ROUND);
        groups
    }

    /// Cuts the groups of left rows so that each part has about so many pairs.
    fn cut(&self, pairs: u64) -> Vec<usize> {
        let (mut cuts, mut since) = (vec![0], 0);
        for group in 0..self.left.keys.len() {
            since += self.pairs(group);
            if since >= pairs {
                cuts.push(group + 1);
                since = 0;
            }
        }
        if cuts.last() != Some(&self.left.keys.len()) {
            cuts.push(self.left.keys.len());
        }
        cuts
    }

    fn pairs(&self, group: usize) -> u64 {
        self.partners[self.left.run(group)].iter().map(|(start, end)| u64::from(end - start)).sum()
    }

    /// The sums of some groups of left rows, as batches.
    fn of(&self, groups: std::ops::Range<usize>) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut sums) = (Vec::new(), Sums::<V>::new(self.cols));
        let mut made = Group::with_capacity(OF_A_BATCH, self.nulls);
        for group in groups {
            for row in self.left.run(group) {
                let (entry, (start, end)) = (self.left.entries[row], self.partners[row]);
                for partner in &self.right.entries[start as usize..end as usize] {
                    sums.add(partner.other as u32, entry.value, partner.value, entry.valid && partner.valid)?;
                }
            }
            let key = self.left.keys[group];
            let (batch, number) = ((key / self.rows as u64) as u32, (key % self.rows as u64) as u32);
            sums.take(|col, sum, valid| {
                made.cols.push(col);
                made.sums.push(V::end(sum)?);
                if let Some(all) = &mut made.valid {
                    all.push(valid);
                }
                Ok(())
            })?;
            made.batch.resize(made.cols.len(), batch);
            made.rows.resize(made.cols.len(), number);
            if made.cols.len() >= OF_A_BATCH {
                let full = std::mem::replace(&mut made, Group::with_capacity(OF_A_BATCH, self.nulls));
                batches.push(self.writer.write(full)?);
            }
        }
        if !made.cols.is_empty() {
            batches.push(self.writer.write(made)?);
        }
        Ok(batches)
    }
}

impl<V: Value> Rounds for Groups<V> {
    fn count(&self) -> usize {
        self.rounds.len() - 1
    }

    fn round(&self, number: usize) -> Result<Vec<RecordBatch>> {
        let groups = self.rounds[number]..self.rounds[number + 1];
        let share = groups.len().div_ceil(4 * rayon::current_num_threads()).max(1);
        let starts = groups.clone().step_by(share).collect::<Vec<_>>();
        let parts = starts.par_iter().map(|&start| self.of(start..groups.end.min(start + share)));
        Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// Of each left row where its partners are.
fn partners<V: Value>(left: &Sorted<V>, right: &Sorted<V>) -> Vec<(u32, u32)> {
    let place = |entry: &Entry<V>| match right.keys.binary_search(&entry.other) {
        Ok(run) => (right.starts[run], right.starts[run + 1]),
        Err(_) => (0, 0),
    };
    left.entries.par_iter().map(place).collect()
}

/// Sums by column: an array of all of them. Columns are numbered without gaps, so that there are not many more than rows.
struct Sums<V: Value> {
    sums: Vec<V::Sum>,
    state: Vec<u8>,
    touched: Vec<u32>,
}

/// A pair of rows is in the group.
const THERE: u8 = 1;
/// And has a value.
const VALID: u8 = 2;

impl<V: Value> Sums<V> {
    fn new(cols: usize) -> Self {
        Self { sums: vec![V::Sum::default(); cols], state: vec![0; cols], touched: Vec::new() }
    }

    #[inline(always)]
    fn add(&mut self, col: u32, left: V, right: V, valid: bool) -> Result<()> {
        let state = &mut self.state[col as usize];
        if *state == 0 {
            self.touched.push(col);
            *state = THERE;
        }
        if valid {
            *state |= VALID;
            V::add(&mut self.sums[col as usize], left, right)?;
        }
        Ok(())
    }

    /// Hands over all sums that there are, by column, and forgets them.
    fn take(&mut self, mut each: impl FnMut(u32, V::Sum, bool) -> Result<()>) -> Result<()> {
        for col in self.touched.drain(..) {
            let (sum, state) = (&mut self.sums[col as usize], &mut self.state[col as usize]);
            each(col, std::mem::take(sum), *state & VALID != 0)?;
            *state = 0;
        }
        Ok(())
    }
}
