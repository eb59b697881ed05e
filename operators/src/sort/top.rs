//! The first few rows of many.
//!
//! A worker collects rows until there are twice as many as wanted (a chunk at least), finds the best, and remembers how
//! the worst of them looks as one number, its *code*: the first key, or its first 8 bytes, as an integer of the same
//! order. Later rows whose code is larger cannot be among the best:
//!
//! ```text
//!   codes of a chunk   91  17  80  95  33  88 …      threshold 40: two of these are candidates
//! ```
//!
//! Codes may be coarse (equal codes say nothing), so equal ones stay, unless the code is all of the only key; texts with
//! equal codes are compared with the worst of the worker's own best rows. Most chunks of a long scan have few candidates:
//! 64 codes are compared at once, and only where one passes it is looked at closer. The best threshold of all workers
//! holds for each of them.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::UInt32Type;
use bireme_engine::error::Result;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, to_logical};

use super::Shared;
use super::blocks::{Block, Column, compact};
use super::layout::{Key, bytes_of, not_a_key, prefix_code};
use super::order::{Order, Wanted};
use super::ordered::{Ordered, WordVisitor, visit_words};

/// Codes that are compared at once.
const GROUP: usize = 64;

/// The best rows so far are elsewhere; this says how many are wanted.
#[derive(Debug)]
pub(super) struct Top {
    rows: usize,
    /// If the first key is a text: that of the worst row.
    worst: Option<Vec<u8>>,
}

/// Which rows of a chunk may be among the best.
pub(super) enum Candidates {
    All,
    None,
    /// Only these.
    Some(Chunk),
}

impl Top {
    pub fn new(rows: usize) -> Self {
        Self { rows, worst: None }
    }

    /// Rows that are wanted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows at which it is time to drop all but the best.
    pub fn limit(&self) -> usize {
        (2 * self.rows).max(CHUNK_ROWS)
    }

    /// Drops rows that are surely not wanted.
    pub fn candidates(&self, chunk: &Chunk, shared: &Shared) -> Result<Candidates> {
        let threshold = shared.threshold.load(Relaxed);
        let Some(key) = shared.keys.first().filter(|key| key.column < shared.visible && threshold < u64::MAX) else {
            return Ok(Candidates::All);
        };
        let column = chunk.columns.get(key.column).filter(|column| column.len() == chunk.rows);
        let Some(column) = column else { return Ok(Candidates::All) };
        let column = to_logical(column, &shared.types[key.column])?;
        let rows = self.not_above(&column, key, threshold, shared.keys.len() > 1)?;
        if rows.is_empty() {
            return Ok(Candidates::None);
        }
        if rows.len() == chunk.rows {
            return Ok(Candidates::All);
        }
        let count = rows.len();
        let rows = PrimitiveArray::<UInt32Type>::from(rows);
        let columns = chunk.columns.iter().map(|column| compact(take(column, &rows, None)?));
        Ok(Candidates::Some(Chunk::new(columns.collect::<Result<_>>()?, count)))
    }

    /// The best of these rows, of which there are more than are wanted; lowers the threshold.
    pub fn best(&mut self, blocks: &[Block], shared: &Shared) -> Result<Block> {
        let order = Order::of(blocks, &shared.keys, Wanted::Set(self.rows), shared.accelerator.as_ref())?;
        let ids = order.ids(0, order.len());
        let columns = shared
            .types
            .iter()
            .enumerate()
            .map(|(place, stored)| compact(Column::new(blocks, place, stored)?.collect(&ids)?));
        let best = Block { columns: columns.collect::<Result<_>>()?, rows: ids.len() };
        if let Some(key) = shared.keys.first() {
            let worst = best.columns[key.column].slice(best.rows - 1, 1);
            let code = code_of(&worst, key)?;
            // Of values that their codes tell all about, no second one like the worst is needed. The codes at both
            // ends stand for NULL as well.
            let all_told = shared.keys.len() == 1 && key.word && worst.data_type().primitive_width() != Some(16);
            let ties_out = all_told && code != 0 && code != u64::MAX;
            shared.threshold.fetch_min(code - u64::from(ties_out), Relaxed);
            let text = !key.word && worst.is_valid(0);
            self.worst = if text { Some(bytes_of(&worst)?.value(0).to_vec()) } else { None };
        }
        Ok(best)
    }

    /// The rows whose code is not above the threshold; of texts that are as the worst one, `ties` or none.
    fn not_above(&self, array: &ArrayRef, key: &Key, threshold: u64, ties: bool) -> Result<Vec<u32>> {
        if key.word {
            return visit_words(array, WordsNotAbove { key, threshold }).ok_or_else(|| not_a_key(array));
        }
        let bytes = bytes_of(array)?;
        let (flip, null) = signs(key);
        let passes = |row: usize| {
            if bytes.is_null(row) {
                return null <= threshold;
            }
            // SAFETY: it is a row of the array.
            let value = unsafe { bytes.value_unchecked(row) };
            let code = prefix_code(value, 8) as u64 ^ flip;
            if code != threshold {
                return code < threshold;
            }
            self.worst.as_ref().is_none_or(|worst| match value.cmp(worst.as_slice()) {
                Ordering::Equal => ties,
                order => order.is_lt() != key.descending,
            })
        };
        Ok((0..bytes.len()).filter(|&row| passes(row)).map(|row| row as u32).collect())
    }
}

fn code_of(one: &ArrayRef, key: &Key) -> Result<u64> {
    let (flip, null) = signs(key);
    if one.is_null(0) {
        return Ok(null);
    }
    if key.word {
        return Ok(visit_words(one, FirstCode).ok_or_else(|| not_a_key(one))? ^ flip);
    }
    Ok(prefix_code(bytes_of(one)?.value(0), 8) as u64 ^ flip)
}

/// What turns codes around, and the code of NULL.
fn signs(key: &Key) -> (u64, u64) {
    (if key.descending { u64::MAX } else { 0 }, if key.nulls_first { 0 } else { u64::MAX })
}

/// A value in 64 bits, in the same order; values of more bits are clamped.
#[inline(always)]
fn code<T: Ordered>(value: T) -> u64 {
    let wide: u128 = value.ordered().into();
    if size_of::<T::Code>() <= size_of::<u64>() {
        return wide as u64;
    }
    let value = (wide ^ (1 << 127)) as i128;
    (value.clamp(i64::MIN.into(), i64::MAX.into()) as i64).ordered()
}

struct FirstCode;

impl WordVisitor for FirstCode {
    type Out = u64;

    fn visit<T: Ordered>(self, values: ScalarBuffer<T>, _: Option<NullBuffer>) -> u64 {
        values.first().map_or(0, |&value| code(value))
    }
}

struct WordsNotAbove<'a> {
    key: &'a Key,
    threshold: u64,
}

impl WordVisitor for WordsNotAbove<'_> {
    type Out = Vec<u32>;

    fn visit<T: Ordered>(self, values: ScalarBuffer<T>, nulls: Option<NullBuffer>) -> Vec<u32> {
        let (flip, null) = signs(self.key);
        let Some(nulls) = nulls else { return passing(&values, flip, self.threshold) };
        let code = |row: usize| if nulls.is_null(row) { null } else { code(values[row]) ^ flip };
        (0..values.len()).filter(|&row| code(row) <= self.threshold).map(|row| row as u32).collect()
    }
}

/// The rows of values whose code passes, on the widest vectors there are.
fn passing<T: Ordered>(values: &[T], flip: u64, threshold: u64) -> Vec<u32> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the machine has what the function was compiled for.
            return unsafe { passing_avx512(values, flip, threshold) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { passing_avx2(values, flip, threshold) };
        }
    }
    passing_any(values, flip, threshold)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
fn passing_avx512<T: Ordered>(values: &[T], flip: u64, threshold: u64) -> Vec<u32> {
    passing_any(values, flip, threshold)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn passing_avx2<T: Ordered>(values: &[T], flip: u64, threshold: u64) -> Vec<u32> {
    passing_any(values, flip, threshold)
}

#[inline(always)]
fn passing_any<T: Ordered>(values: &[T], flip: u64, threshold: u64) -> Vec<u32> {
    let mut rows = Vec::new();
    for (group, values) in values.chunks(GROUP).enumerate() {
        let passing = values.iter().map(|&value| u64::from(code(value) ^ flip <= threshold)).sum::<u64>();
        if passing == 0 {
            continue;
        }
        let first = group * GROUP;
        let passes = values.iter().enumerate().filter(|&(_, &value)| code(value) ^ flip <= threshold);
        rows.extend(passes.map(|(row, _)| (first + row) as u32));
    }
    rows
}
