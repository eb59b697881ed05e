//! Keys in one form, whatever form a chunk carries them in.
//!
//! A key column is one of three things: a *word* of 64 bits (integers, dates, narrow decimals, floats), a *wide* one of
//! 128, or *bytes* as views. Equal keys have equal bits: -0.0 becomes 0.0, all NaNs one, nested values arrow's row
//! format.
//!
//! What the index is asked for is a single word a row:
//!
//! ```text
//!   exact     all keys are words, and the ranges of the build side's keys multiply to at most 2^64:
//!                 word = (a - min_a) + (b - min_b) * span_a + …        equal words are equal keys
//!   hashed    anything else:  word = hash(a, b, …)                     equal words may be equal keys
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::row::{RowConverter, SortField};
use bireme_engine::hash::hash_bytes;
use bireme_engine::morsel::carried_type;
use bireme_engine::{Error, Result};

use super::gather::raw_values;
use super::memory::prefetch;
use super::store::plain;

/// Texts up to this length live in their view, together with their length: the view is the value.
const INLINE: u32 = 12;
/// The hash of a NULL.
const NULL_HASH: u64 = 0x9e6c_63d0_876a_46ad;

/// A key column of some rows.
#[derive(Clone, Debug)]
pub(super) struct Key {
    values: Values,
    pub nulls: Option<NullBuffer>,
}

#[derive(Clone, Debug)]
enum Values {
    Words(ScalarBuffer<i64>),
    Wide(ScalarBuffer<i128>),
    Bytes(ScalarBuffer<u128>, Arc<[Buffer]>),
}

impl Key {
    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Words(words) => words.len() * 8,
            Values::Wide(wide) => wide.len() * 16,
            Values::Bytes(views, buffers) => views.len() * 16 + buffers.iter().map(Buffer::len).sum::<usize>(),
        }
    }

    /// Words that are not NULL.
    pub fn of_words(words: Vec<i64>) -> Self {
        Self { values: Values::Words(words.into()), nulls: None }
    }
}

/// A word a row.
#[derive(Debug)]
pub(super) struct Words {
    pub words: ScalarBuffer<u64>,
    /// Rows that can have a partner; all if `None`.
    pub valid: Option<Vec<bool>>,
}

/// A key column of rows in carried form, of this logical type.
pub(super) fn key_column(array: &ArrayRef, logical: &DataType) -> Result<Key> {
    let carried = carried_type(logical);
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    if let Some(words) = words_of(array, &carried)? {
        return Ok(Key { values: Values::Words(words), nulls });
    }
    let values = match &carried {
        DataType::Decimal128(..) => Values::Wide(raw_values::<i128>(&plain(array, logical)?)?),
        DataType::Utf8View => {
            let (views, buffers, _) = plain(array, logical)?.as_string_view().clone().into_parts();
            Values::Bytes(views, buffers)
        }
        DataType::BinaryView => {
            let (views, buffers, _) = plain(array, logical)?.as_binary_view().clone().into_parts();
            Values::Bytes(views, buffers)
        }
        other => {
            let converter = RowConverter::new(vec![SortField::new(other.clone())])
                .map_err(|error| Error::unsupported(format!("a join key of type {other}: {error}")))?;
            let rows = converter.convert_columns(&[plain(array, logical)?])?.try_into_binary()?;
            let (views, buffers, _) = cast(&rows, &DataType::BinaryView)?.as_binary_view().clone().into_parts();
            Values::Bytes(views, buffers)
        }
    };
    Ok(Key { values, nulls })
}

/// Whether values of a carried type are words that stand for integers, so that their order means something.
pub(super) fn is_integer(carried: &DataType) -> bool {
    use DataType::{Date32, Date64, Duration, Int64, Time32, Time64, Timestamp};
    carried.is_integer()
        || matches!(carried, Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) | Duration(_) | Int64)
}

/// The integer that a word of this carried type stands for.
pub(super) fn integer_of(word: i64, carried: &DataType) -> i128 {
    if *carried == DataType::UInt64 { i128::from((word ^ i64::MIN) as u64) } else { i128::from(word) }
}

fn words_of(array: &ArrayRef, carried: &DataType) -> Result<Option<ScalarBuffer<i64>>> {
    use DataType::{Boolean, Date32, Date64, Duration, Interval, Time32, Time64, Timestamp};
    // A wide decimal may come as 64 bits.
    if matches!(carried, DataType::Decimal128(..)) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) => raw_values::<i64>(array)?,
        DataType::Int32 | Date32 | Time32(_) | Interval(IntervalUnit::YearMonth) => {
            raw_values::<i32>(array)?.iter().map(|&value| i64::from(value)).collect()
        }
        DataType::Int16 => raw_values::<i16>(array)?.iter().map(|&value| i64::from(value)).collect(),
        DataType::Int8 => raw_values::<i8>(array)?.iter().map(|&value| i64::from(value)).collect(),
        DataType::UInt8 => raw_values::<u8>(array)?.iter().map(|&value| i64::from(value)).collect(),
        DataType::UInt16 => raw_values::<u16>(array)?.iter().map(|&value| i64::from(value)).collect(),
        DataType::UInt32 => raw_values::<u32>(array)?.iter().map(|&value| i64::from(value)).collect(),
        // In the order of the numbers.
        DataType::UInt64 => raw_values::<u64>(array)?.iter().map(|&value| value as i64 ^ i64::MIN).collect(),
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().values().iter().map(|&value| float_word(value)).collect()
        }
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().values().iter().map(|&value| float_word(value.into())).collect()
        }
        DataType::Float16 => {
            let wider = cast(array, &DataType::Float64)?;
            wider.as_primitive::<Float64Type>().values().iter().map(|&value| float_word(value)).collect()
        }
        Boolean => array.as_boolean().values().iter().map(i64::from).collect(),
        _ => return Ok(None),
    }))
}

fn float_word(value: f64) -> i64 {
    // Adding zero turns -0.0 into 0.0.
    (if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() }) as i64
}

/// Spreads the bits of a word; 0 does not stay 0. Multiplications of 64 bits and shifts: vectors of them where the CPU
/// has such.
#[inline(always)]
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 32)
}

/// Rows whose keys are all not NULL; all if `None`.
pub(super) fn rows_without_null(keys: &[Key]) -> Option<NullBuffer> {
    keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.nulls.as_ref()))
}

/// A hash of the keys of each row, of which only the bits of `mask` are used.
pub(super) fn hash_keys(keys: &[Key], rows: usize, mask: u64) -> Vec<u64> {
    let mut hashes = vec![0; rows];
    for key in keys {
        match &key.values {
            Values::Words(words) => put(&mut hashes, key, |row| mix(words[row] as u64)),
            Values::Wide(wide) => put(&mut hashes, key, |row| mix(mix(wide[row] as u64) ^ (wide[row] >> 64) as u64)),
            Values::Bytes(views, buffers) => put(&mut hashes, key, |row| hash_view(views[row], buffers)),
        }
    }
    if mask != u64::MAX {
        hashes.iter_mut().for_each(|hash| *hash &= mask);
    }
    hashes
}

fn put(hashes: &mut [u64], key: &Key, hash: impl Fn(usize) -> u64) {
    let join = |before: u64, next: u64| mix(before.rotate_left(23) ^ next);
    match &key.nulls {
        None => hashes.iter_mut().enumerate().for_each(|(row, out)| *out = join(*out, hash(row))),
        Some(nulls) => hashes.iter_mut().enumerate().for_each(|(row, out)| {
            *out = join(*out, if nulls.is_valid(row) { hash(row) } else { NULL_HASH });
        }),
    }
}

#[inline]
fn hash_view(view: u128, buffers: &[Buffer]) -> u64 {
    if view as u32 <= INLINE {
        mix(mix(view as u64) ^ (view >> 64) as u64)
    } else {
        hash_bytes(long_text(view, buffers))
    }
}

/// The bytes of a text that does not fit its view.
#[inline]
fn long_text(view: u128, buffers: &[Buffer]) -> &[u8] {
    let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
    &buffers[buffer][start..start + view as u32 as usize]
}

/// Keeps those pairs of rows whose keys are equal; NULLs are equal to each other.
pub(super) fn keep_equal(probe: &[Key], build: &[Key], probe_rows: &mut Vec<u32>, build_rows: &mut Vec<u32>) {
    for (probe, build) in probe.iter().zip(build) {
        match (&probe.values, &build.values) {
            (Values::Words(p), Values::Words(b)) => keep(probe, build, probe_rows, build_rows, |l, r| p[l] == b[r]),
            (Values::Wide(p), Values::Wide(b)) => keep(probe, build, probe_rows, build_rows, |l, r| p[l] == b[r]),
            (Values::Bytes(p, ours), Values::Bytes(b, theirs)) => {
                let equal = |l: usize, r: usize| equal_views(p[l], ours, b[r], theirs);
                fetch_texts(b, theirs, build_rows);
                keep(probe, build, probe_rows, build_rows, equal);
            }
            // Types were compared when the join was made.
            _ => return (probe_rows.clear(), build_rows.clear()).0,
        }
    }
}

/// Starts to load the texts of some rows: all views first, which do not wait for each other, then what they refer to.
/// Comparing would wait for both, text after text.
fn fetch_texts(views: &[u128], buffers: &[Buffer], rows: &[u32]) {
    if buffers.is_empty() {
        return;
    }
    for &row in rows {
        let view = views[row as usize];
        if view as u32 > INLINE {
            prefetch(long_text(view, buffers).as_ptr());
        }
    }
}

#[inline]
fn equal_views(left: u128, ours: &[Buffer], right: u128, theirs: &[Buffer]) -> bool {
    // Length and the first four bytes.
    if left as u64 != right as u64 {
        return false;
    }
    if left as u32 <= INLINE { left == right } else { long_text(left, ours) == long_text(right, theirs) }
}

fn keep(
    probe: &Key,
    build: &Key,
    probe_rows: &mut Vec<u32>,
    build_rows: &mut Vec<u32>,
    equal: impl Fn(usize, usize) -> bool,
) {
    let mut kept = 0;
    let valid = |key: &Key, row: usize| key.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let nullable = probe.nulls.is_some() || build.nulls.is_some();
    for place in 0..probe_rows.len() {
        let (left, right) = (probe_rows[place], build_rows[place]);
        let (l, r) = (left as usize, right as usize);
        let same = match nullable.then(|| (valid(probe, l), valid(build, r))) {
            None | Some((true, true)) => equal(l, r),
            Some((left, right)) => left == right,
        };
        probe_rows[kept] = left;
        build_rows[kept] = right;
        kept += usize::from(same);
    }
    probe_rows.truncate(kept);
    build_rows.truncate(kept);
}

/// How keys that are words become one exact word.
#[derive(Debug)]
pub(super) struct Packing {
    columns: Vec<Packed>,
    /// A NULL is a value of its own, the first one.
    nulls_match: bool,
    /// How many different words there can be.
    total: u128,
}

/// One key column of a [`Packing`].
#[derive(Clone, Copy, Debug)]
struct Packed {
    min: i64,
    /// The largest value is `min + span`.
    span: u64,
    stride: u64,
}

impl Packing {
    /// From the build side's keys; `None` if they cannot be packed.
    pub fn new(keys: &[Key], nulls_match: bool) -> Option<Self> {
        let valid = if nulls_match { None } else { rows_without_null(keys) };
        let (mut columns, mut total) = (Vec::with_capacity(keys.len()), 1_u128);
        for key in keys {
            let Values::Words(words) = &key.values else { return None };
            let nulls = if nulls_match { key.nulls.as_ref() } else { valid.as_ref() };
            let (min, max) = range(words, nulls).unwrap_or((0, 0));
            let span = max.wrapping_sub(min) as u64;
            columns.push(Packed { min, span, stride: u64::try_from(total).ok()? });
            total = total.checked_mul(u128::from(span) + 1 + u128::from(nulls_match))?;
        }
        (total <= 1 << 64).then_some(Self { columns, nulls_match, total })
    }

    pub fn total(&self) -> u128 {
        self.total
    }

    /// The value of one key column in a word; `None` if it is NULL.
    pub fn value(&self, word: u64, key: usize) -> Option<i64> {
        let column = self.columns[key];
        let null = u64::from(self.nulls_match);
        // One key may use all words, so that their number does not fit 64 bits.
        let values = u128::from(column.span) + 1 + u128::from(null);
        let code = (u128::from(word / column.stride) % values) as u64;
        Some(column.min.wrapping_add(code.checked_sub(null)? as i64))
    }

    /// The word of each row.
    pub fn words(&self, keys: &[Key], rows: usize) -> Words {
        if let ([packed], [Key { values: Values::Words(words), nulls }], false) =
            (self.columns.as_slice(), keys, self.nulls_match)
        {
            // Values out of range become words out of range, which no index knows.
            let valid = nulls.as_ref().map(|nulls| nulls.iter().collect());
            let words = words.iter().map(|word| word.wrapping_sub(packed.min) as u64).collect();
            return Words { words, valid };
        }
        let (mut packed, mut valid) = (vec![0_u64; rows], vec![true; rows]);
        let first = u64::from(self.nulls_match);
        for (column, key) in self.columns.iter().zip(keys) {
            let Values::Words(words) = &key.values else { continue };
            let code = |row: usize| words[row].wrapping_sub(column.min) as u64;
            for row in 0..rows {
                if key.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    // The first value of the column: it adds nothing.
                    valid[row] &= self.nulls_match;
                } else {
                    valid[row] &= code(row) <= column.span;
                    packed[row] = packed[row].wrapping_add(code(row).wrapping_add(first).wrapping_mul(column.stride));
                }
            }
        }
        Words { words: packed.into(), valid: Some(valid) }
    }
}

/// The words of one key column alone, if it has such.
pub(super) fn single_words(key: &Key) -> Option<&ScalarBuffer<i64>> {
    match &key.values {
        Values::Words(words) => Some(words),
        _ => None,
    }
}

/// The least and the greatest word that is not NULL.
pub(super) fn range(words: &[i64], nulls: Option<&NullBuffer>) -> Option<(i64, i64)> {
    let widen = |(min, max): (i64, i64), &word: &i64| (min.min(word), max.max(word));
    let range = match nulls {
        None => words.iter().fold((i64::MAX, i64::MIN), widen),
        Some(nulls) => nulls.valid_indices().map(|row| &words[row]).fold((i64::MAX, i64::MIN), widen),
    };
    (range.0 <= range.1).then_some(range)
}
