//! Tells rows of the probe side early that they have no partner.
//!
//! A filter knows one key of the build side: exactly, by a bit for each value of a small range, or else nearly, by a
//! Bloom filter whose bits for one value all lie in one block of 64, so that a test is one load.
//!
//! ```text
//!   value ─mix─► hash:  block │ 6 │ 6 │ 6 │ 6      4 bits of a block; passes if all are set
//! ```
//!
//! Blocks have 16 to 32 bits for each value: about one of a hundred values without a partner passes.

mod union;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::budget::Reservation;
use bireme_engine::morsel::carried_type;
use bireme_engine::{Error, Result};

pub use union::KeyUnion;
pub(super) use union::packed;

use super::JoinTable;
use super::gather::boolean;
use super::keys::{Key, hash_keys, integer_of, is_integer, key_column, range, single_words};

/// A range of at most so many values for each row, or so many in all, gets a bit for each.
const SPARSE: u64 = 64;
const SMALL: u64 = 1 << 22;
/// With so many values for each block of 64 bits, 4 bits of which are set for one, a third of all others would pass.
const MOST_VALUES_A_BLOCK: usize = 16;

/// So many values are worth being named.
const FEW_VALUES: usize = 256;

/// Whether a row of the probe side may have a partner, by one of its keys.
///
/// Law: it never drops a row that has one.
pub trait KeyFilter: fmt::Debug + Send + Sync {
    /// The least and the greatest value of the build side, as carried (unscaled decimals, days); `None` if the key is
    /// no integer of 64 bits in carried form. Without any value the range is empty: its least is above its greatest.
    fn range(&self) -> Option<(i128, i128)>;

    /// Which values may have a partner, of a column in carried form.
    ///
    /// # Errors
    /// The column is not of the key's type.
    fn test(&self, column: &ArrayRef) -> Result<BooleanBuffer>;

    /// Whether each value that passes has a partner by this key.
    fn is_exact(&self) -> bool;

    /// Which part of the values in [`KeyFilter::range`] the build side has, at most; `None` without a range. Near 1 a test beyond
    /// the range tells little.
    fn density(&self) -> Option<f64>;

    /// Values on the build side, each counted once or more often.
    fn values(&self) -> usize;

    /// All values of the build side in carried form, each once, if they are few and known exactly, and NULL is not among
    /// those that have a partner.
    fn few_values(&self) -> Option<ArrayRef>;
}

struct Filter {
    logical: DataType,
    range: Option<(i128, i128)>,
    /// Whether NULL has a partner.
    null: bool,
    values: usize,
    test: Test,
    _reservation: Reservation,
}

enum Test {
    /// A bit for `min`, `min + 1`, …; the last word is empty.
    Bits {
        min: i64,
        bits: Vec<u64>,
    },
    Bloom {
        blocks: Vec<u64>,
        shift: u32,
    },
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.is_exact() { "bits" } else { "Bloom" };
        write!(f, "KeyFilter({form} of {} values", self.values)?;
        match self.range {
            Some((min, max)) => write!(f, " in {min}..={max})"),
            None => f.write_str(")"),
        }
    }
}

/// The filter of a table's key; `None` if there is no such key, or no memory for it.
pub(super) fn new(table: &JoinTable, key: usize) -> Option<Arc<dyn KeyFilter>> {
    let filter = Filter::of(table, key, Size { copies: 1, most: usize::MAX })?;
    Some(Arc::new(filter))
}

/// How large a filter may be.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// How many filters of as many values will be united.
    copies: usize,
    /// Bytes, at most.
    most: usize,
}

/// The values of a key on the build side that can have a partner.
struct Values {
    /// Each as a word, or else as a hash.
    words: Option<Vec<i64>>,
    hashes: Vec<u64>,
    /// Whether NULL has a partner.
    null: bool,
}

impl Values {
    fn of(table: &JoinTable, key: usize) -> Option<Self> {
        let (built, plan) = (&table.built, &table.plan);
        let mut null = false;
        let (words, hashes) = match (&built.packing, &built.keys) {
            (Some(packing), _) => {
                let mut words = Vec::with_capacity(built.rows);
                built.index.each_word(|word| match packing.value(word, key) {
                    Some(value) => words.push(value),
                    None => null = true,
                });
                (Some(words), Vec::new())
            }
            (None, Some(keys)) => {
                let key = &keys[key];
                null = plan.spec.nulls_match && key.nulls.is_some();
                let valid = |row: &usize| key.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
                match single_words(key) {
                    Some(words) => (Some((0..built.rows).filter(valid).map(|row| words[row]).collect()), Vec::new()),
                    None => {
                        let hashes = hash_keys(std::slice::from_ref(key), built.rows, u64::MAX);
                        (None, (0..built.rows).filter(valid).map(|row| hashes[row]).collect())
                    }
                }
            }
            (None, None) => return None,
        };
        Some(Self { words, hashes, null })
    }
}

/// The hashes of values that are words.
fn hashes_of(words: Vec<i64>) -> Vec<u64> {
    let rows = words.len();
    hash_keys(&[Key::of_words(words)], rows, u64::MAX)
}

impl Filter {
    fn of(table: &JoinTable, key: usize, size: Size) -> Option<Self> {
        let logical = table.plan.build.types[*table.plan.build.keys.get(key)?].clone();
        let Values { words, hashes, null } = Values::of(table, key)?;
        let reservation = table.resources.budget.reserve("hash join filter");
        let values = words.as_ref().map_or(hashes.len(), Vec::len);
        let bounds = words.as_ref().map(|words| range(words, None).unwrap_or((1, 0)));
        let test = match (words, bounds) {
            (Some(words), Some((min, max))) => {
                let span = if max < min { 0 } else { max.wrapping_sub(min) as u64 };
                let dense = span < SMALL.max(SPARSE.saturating_mul(values as u64));
                if dense && bits_length(span).is_some_and(|length| length * 8 <= size.most) {
                    bits(&words, min, span, &reservation)?
                } else {
                    bloom(&hashes_of(words), size, &reservation)?
                }
            }
            _ => bloom(&hashes, size, &reservation)?,
        };
        let range = integers(bounds, &logical);
        Some(Self { logical, range, null, values, test, _reservation: reservation })
    }
}

/// The bounds of words as integers, if that is what the words of this type stand for.
fn integers(bounds: Option<(i64, i64)>, logical: &DataType) -> Option<(i128, i128)> {
    let carried = carried_type(logical);
    bounds.filter(|_| is_integer(&carried)).map(|(min, max)| match min <= max {
        true => (integer_of(min, &carried), integer_of(max, &carried)),
        false => (1, 0),
    })
}

/// Words of 64 bits for so many values and one, and an empty one at the end.
fn bits_length(span: u64) -> Option<usize> {
    usize::try_from(span >> 6).ok()?.checked_add(2)
}

fn bits(words: &[i64], min: i64, span: u64, reservation: &Reservation) -> Option<Test> {
    let length = bits_length(span)?;
    reservation.try_grow(length * 8).ok()?;
    let mut bits = vec![0_u64; length];
    words.iter().for_each(|word| set_bit(&mut bits, word.wrapping_sub(min) as u64));
    Some(Test::Bits { min, bits })
}

#[inline(always)]
fn set_bit(bits: &mut [u64], place: u64) {
    bits[(place >> 6) as usize] |= 1 << (place & 63);
}

/// `None` if there is no memory for it, or if so few bits a value are allowed that nearly all would pass.
fn bloom(hashes: &[u64], size: Size, reservation: &Reservation) -> Option<Test> {
    let values = hashes.len().saturating_mul(size.copies);
    let mut blocks = (values / 4).max(2).checked_next_power_of_two()?;
    while blocks * 8 > size.most && blocks > 2 {
        blocks /= 2;
    }
    if blocks * MOST_VALUES_A_BLOCK < values {
        return None;
    }
    reservation.try_grow(blocks * 8).ok()?;
    let mut filter = vec![0_u64; blocks];
    set_hashes(&mut filter, hashes);
    Some(Test::Bloom { shift: shift_of(&filter), blocks: filter })
}

/// Sets the bits of hashes in blocks whose number is a power of two, at least 2.
fn set_hashes(blocks: &mut [u64], hashes: &[u64]) {
    let shift = shift_of(blocks);
    hashes.iter().for_each(|&hash| blocks[(hash >> shift) as usize] |= mask(hash));
}

fn shift_of(blocks: &[u64]) -> u32 {
    64 - blocks.len().trailing_zeros()
}

/// The bits of a hash in its block: from its lower half, as its place is from its upper one.
#[inline(always)]
fn mask(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63)
}

impl Filter {
    fn plain(&self, column: &ArrayRef) -> Result<BooleanBuffer> {
        let key = key_column(column, &self.logical)?;
        let passes = match &self.test {
            Test::Bits { min, bits } => {
                let Some(words) = single_words(&key) else { return Err(self.odd(column)) };
                let last = bits.len() as u64 * 64 - 1;
                boolean(words.len(), |row| {
                    let place = (words[row].wrapping_sub(*min) as u64).min(last);
                    bits[(place >> 6) as usize] >> (place & 63) & 1 == 1
                })
            }
            Test::Bloom { blocks, shift } => {
                let hashes = hash_keys(std::slice::from_ref(&key), column.len(), u64::MAX);
                boolean(hashes.len(), |row| {
                    let mask = mask(hashes[row]);
                    blocks[(hashes[row] >> shift) as usize] & mask == mask
                })
            }
        };
        Ok(match &key.nulls {
            None => passes,
            Some(nulls) if self.null => &passes | &!nulls.inner(),
            Some(nulls) => &passes & nulls.inner(),
        })
    }

    fn odd(&self, column: &ArrayRef) -> Error {
        Error::internal(format!("a filter for keys of type {} is asked about {}", self.logical, column.data_type()))
    }
}

impl KeyFilter for Filter {
    fn range(&self) -> Option<(i128, i128)> {
        self.range
    }

    fn test(&self, column: &ArrayRef) -> Result<BooleanBuffer> {
        let Some(dictionary) = column.as_dictionary_opt::<UInt32Type>() else { return self.plain(column) };
        let values = self.plain(dictionary.values())?;
        let keys = dictionary.keys();
        Ok(boolean(keys.len(), |row| match keys.is_null(row) {
            true => self.null,
            false => values.value(keys.value(row) as usize),
        }))
    }

    fn is_exact(&self) -> bool {
        matches!(self.test, Test::Bits { .. })
    }

    fn density(&self) -> Option<f64> {
        let (min, max) = self.range?;
        Some(if max < min { 0.0 } else { (self.values as f64 / (max - min + 1) as f64).min(1.0) })
    }

    fn values(&self) -> usize {
        self.values
    }

    fn few_values(&self) -> Option<ArrayRef> {
        let Test::Bits { min, bits } = &self.test else { return None };
        if self.values > FEW_VALUES || self.null || self.range.is_none() {
            return None;
        }
        let carried = carried_type(&self.logical);
        let width = carried.primitive_width().filter(|&width| width <= 8)?;
        let mut bytes = Vec::new();
        let mut count = 0;
        for place in BooleanBuffer::new(Buffer::from_slice_ref(bits), 0, bits.len() * 64).set_indices() {
            let value = integer_of(min.wrapping_add(place as i64), &carried);
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
            count += 1;
        }
        let values = ArrayData::builder(carried).len(count).add_buffer(Buffer::from_vec(bytes));
        Some(make_array(values.align_buffers(true).build().ok()?))
    }
}
