//! From the key columns of a chunk to group numbers.
//!
//! ```text
//!   key columns ──► integers ──┬─ all of few values: slot = Σ integer · stride ──► group      (dense: no hash, no compare)
//!                              │                          └ empty slot: below ┐
//!                              └─ else: packed into words ────────────────────┴► hash table ──► group
//! ```
//!
//! The dense way is a cache before the table, so it may be dropped and begun again at any time: a domain that grows
//! costs a new, empty cache. Nothing is known beforehand: domains are what was seen.

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};

use super::column::{Column, Kind, rebuild, rebuild_numbered, rebuild_wide};
use super::dense::Dense;
use super::intern::Interner;
use super::layout::Layout;
use super::table::{NONE, Table};

/// Different keys, numbered in the order of their first rows.
pub(super) struct Keys {
    types: Vec<DataType>,
    kinds: Vec<Kind>,
    interners: Vec<Option<Interner>>,
    /// Columns that have had a NULL and no number for it.
    nullable: Vec<bool>,
    layout: Layout,
    table: Table,
    dense: Dense,
    hash_mask: u64,
    words: Vec<u64>,
}

impl Keys {
    /// # Errors
    /// There is no way to group by one of these (logical) types.
    pub(super) fn new(types: Vec<DataType>, hash_mask: u64) -> Result<Self> {
        let kinds = types.iter().map(Kind::of).collect::<Result<Vec<_>>>()?;
        let interners = kinds.iter().map(|kind| kind.is_numbered().then(|| Interner::new(hash_mask))).collect();
        let nullable = vec![false; kinds.len()];
        let layout = layout(&kinds, &nullable);
        let table = Table::new(layout.words, hash_mask);
        let dense = Dense::new(&kinds);
        Ok(Self { types, kinds, interners, nullable, layout, table, dense, hash_mask, words: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let interners = self.interners.iter().flatten().map(Interner::bytes).sum::<usize>();
        interners + self.table.bytes() + self.dense.bytes()
    }

    /// Bytes of these that only make it faster.
    pub(super) fn cache_bytes(&self) -> usize {
        self.dense.bytes()
    }

    /// The groups of the rows.
    ///
    /// # Errors
    /// A column came in a form that it must not have, or there are too many keys.
    pub(super) fn assign(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        if self.len() + rows >= NONE as usize {
            return Err(Error::resources("grouping: more than 2^32 groups in one table"));
        }
        let mut encoded = Vec::with_capacity(columns.len());
        for ((array, kind), interner) in columns.iter().zip(&self.kinds).zip(&mut self.interners) {
            encoded.push(Column::new(*kind, array, interner.as_mut())?);
        }
        if encoded.iter().zip(&self.nullable).any(|(column, nullable)| column.has_nulls() && !nullable) {
            self.widen(&encoded);
        }
        if !self.dense.groups(&encoded, &self.interners, rows, groups) {
            self.pack(&encoded, rows);
            self.table.assign(&self.words, groups);
            return Ok(());
        }
        // What the dense slots do not know, the table does.
        if self.dense.has_missed() {
            self.pack(&encoded, rows);
            for (row, (group, key)) in groups.iter_mut().zip(self.words.chunks_exact(self.layout.words)).enumerate() {
                if *group == NONE {
                    *group = self.table.assign_one(key);
                    self.dense.learn(row, *group);
                }
            }
        }
        Ok(())
    }

    /// A column has its first NULL: all keys get another layout.
    fn widen(&mut self, columns: &[Column]) {
        for (nullable, column) in self.nullable.iter_mut().zip(columns) {
            *nullable |= column.has_nulls();
        }
        let layout = layout(&self.kinds, &self.nullable);
        let mut table = Table::new(layout.words, self.hash_mask);
        let mut key = vec![0; layout.words];
        for old in self.table.keys().chunks_exact(self.layout.words) {
            key.fill(0);
            for (from, to) in self.layout.fields.iter().zip(&layout.fields) {
                for (from, to) in [(Some(from.low), Some(to.low)), (from.high, to.high), (from.null, to.null)] {
                    if let (Some(from), Some(to)) = (from, to) {
                        Layout::put(&mut key, to, Layout::get(old, from));
                    }
                }
            }
            table.assign_one(&key);
        }
        (self.layout, self.table) = (layout, table);
    }

    /// Packs the rows' keys into `words`.
    fn pack(&mut self, columns: &[Column], rows: usize) {
        let words = self.layout.words;
        self.words.clear();
        self.words.resize(rows * words, 0);
        let keys = self.words.as_mut_slice();
        for (column, field) in columns.iter().zip(&self.layout.fields) {
            let nulls = match column {
                Column::Numbers(numbers) => {
                    field.low.put_all(keys, words, numbers.iter().map(|&number| u64::from(number)));
                    continue;
                }
                Column::Ints(values, None) => {
                    field.low.put_all(keys, words, values.iter().map(|&value| value as u64));
                    continue;
                }
                Column::Ints(values, Some(nulls)) => {
                    let values = values.iter().zip(nulls);
                    field.low.put_all(keys, words, values.map(|(&value, valid)| if valid { value as u64 } else { 0 }));
                    Some(nulls)
                }
                Column::Wides(values, nulls) => {
                    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                    let value = |row: usize| if valid(row) { values[row] } else { 0 };
                    field.low.put_all(keys, words, (0..rows).map(|row| value(row) as u64));
                    if let Some(high) = field.high {
                        high.put_all(keys, words, (0..rows).map(|row| (value(row) >> 64) as u64));
                    }
                    nulls.as_ref()
                }
            };
            if let (Some(nulls), Some(place)) = (nulls, field.null) {
                place.put_all(keys, words, nulls.iter().map(|valid| u64::from(!valid)));
            }
        }
    }

    /// The keys of all groups as columns in carried forms; none is left.
    ///
    /// # Errors
    /// Arrow refuses what it gave.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>> {
        let keys = self.table.keys();
        let words = self.layout.words;
        let mut columns = Vec::with_capacity(self.kinds.len());
        for (place, &kind) in self.kinds.iter().enumerate() {
            let (field, logical) = (self.layout.fields[place], &self.types[place]);
            let low = keys.chunks_exact(words).map(|key| Layout::get(key, field.low));
            let nulls = field
                .null
                .map(|null| keys.chunks_exact(words).map(|key| Layout::get(key, null) == 0).collect::<NullBuffer>());
            let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
            columns.push(match (&mut self.interners[place], field.high) {
                (Some(interner), _) => rebuild_numbered(kind, logical, low.map(|bits| bits as u32), interner)?,
                (None, Some(high)) => {
                    let high = keys.chunks_exact(words).map(|key| Layout::get(key, high));
                    let values = low.zip(high).map(|(low, high)| i128::from(high as i64) << 64 | i128::from(low));
                    rebuild_wide(logical, values.collect(), nulls)?
                }
                (None, None) => rebuild(kind, logical, low, nulls)?,
            });
        }
        self.table.clear();
        self.dense.clear();
        Ok(columns)
    }
}

fn layout(kinds: &[Kind], nullable: &[bool]) -> Layout {
    Layout::new(&kinds.iter().map(|kind| kind.bits()).collect::<Vec<_>>(), nullable)
}
