//! Functions of one dictionary column: computed once for each of its values, and for NULL, then looked up by code.
//!
//! ```text
//!   values      AIR  MAIL  RAIL  SHIP  NULL
//!   in (…)        0     1     0     1  NULL      computed once
//!   codes       1 1 0 3 …                        8192 of them, chunk after chunk
//!   answers     1 1 0 1 …                        a load each; of up to 512 values a register holds all answers
//! ```
//! A dictionary is known by the address of its values, which stays taken as long as the answers are kept. It pays only if
//! there are about as many rows as values: rows are counted, and computed plainly before. An error on a value need not be
//! one on any row: then rows are computed plainly as well.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, PrimitiveArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::gather::take_array;
use super::simd::bits_at;
use super::value::Value;

/// A dictionary may be so many times larger than the rows that were seen with it.
const WORTH: usize = 2;

/// Dictionaries whose answers are kept: a few workers' current ones.
const KEPT: usize = 8;

/// Answers for dictionaries that came by.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Held, so that no other dictionary can have its address.
    values: ArrayRef,
    rows: usize,
    answers: Option<Arc<Answers>>,
}

/// What a function makes of each value, and last of NULL.
#[derive(Debug)]
enum Answers {
    /// The same for all.
    One(Value),
    /// Truth values.
    Truths {
        values: BooleanBuffer,
        valid: BooleanBuffer,
    },
    /// Texts again: a dictionary with the same codes. The value for NULL is the last one.
    Texts(ArrayRef),
    Others(ArrayRef),
    /// An error, on a value that no row may have.
    Failed,
}

impl Cache {
    /// The function's values on the rows of a dictionary column; `None` if it is to be computed plainly. `compute` gets a
    /// column of the dictionary's values and NULL.
    pub fn evaluate(
        &self,
        column: &DictionaryArray<UInt32Type>,
        compute: impl FnOnce(&ArrayRef) -> Result<Value>,
    ) -> Result<Option<Value>> {
        let answers = match self.find(column) {
            Found::Answers(answers) => answers,
            Found::TooFewRows => return Ok(None),
            Found::Nothing => {
                // Computed without the lock: others may do the same meanwhile, to no harm.
                let answers = Arc::new(answers(column.values(), compute)?);
                self.keep(column.values(), &answers);
                answers
            }
        };
        look_up(&answers, column)
    }

    fn find(&self, column: &DictionaryArray<UInt32Type>) -> Found {
        let mut entries = self.entries.lock();
        let place = entries.iter().position(|entry| Arc::ptr_eq(&entry.values, column.values()));
        let mut entry = match place {
            Some(place) => entries.remove(place),
            None => Entry { values: Arc::clone(column.values()), rows: 0, answers: None },
        };
        entry.rows += column.len();
        let found = match &entry.answers {
            Some(answers) => Found::Answers(Arc::clone(answers)),
            None if entry.values.len() > WORTH * entry.rows => Found::TooFewRows,
            None => Found::Nothing,
        };
        // The last one used is the last to go.
        entries.truncate(KEPT - 1);
        entries.insert(0, entry);
        found
    }

    fn keep(&self, values: &ArrayRef, answers: &Arc<Answers>) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.values, values)) {
            entry.answers = Some(Arc::clone(answers));
        }
    }
}

enum Found {
    Answers(Arc<Answers>),
    TooFewRows,
    Nothing,
}

fn answers(values: &ArrayRef, compute: impl FnOnce(&ArrayRef) -> Result<Value>) -> Result<Answers> {
    let places = (0..values.len() as u32).map(Some).chain([None]).collect::<UInt32Array>();
    let with_null = take(values, &places, None)?;
    let Ok(value) = compute(&with_null) else { return Ok(Answers::Failed) };
    if value.scalar {
        return Ok(Answers::One(value));
    }
    let value = value.flat()?;
    Ok(match value.array.data_type() {
        DataType::Boolean => {
            let truths = value.array.as_boolean();
            let valid =
                truths.nulls().map_or_else(|| BooleanBuffer::new_set(truths.len()), |nulls| nulls.inner().clone());
            Answers::Truths { values: truths.values() & &valid, valid }
        }
        DataType::Utf8View | DataType::BinaryView => Answers::Texts(value.array),
        _ => Answers::Others(value.array),
    })
}

fn look_up(answers: &Answers, column: &DictionaryArray<UInt32Type>) -> Result<Option<Value>> {
    let keys = column.keys();
    Ok(Some(match answers {
        Answers::Failed => return Ok(None),
        Answers::One(value) => value.clone(),
        Answers::Truths { values, valid } => {
            let all_valid = valid.count_set_bits() == valid.len()
                || (keys.null_count() == 0 && valid.slice(0, valid.len() - 1).count_set_bits() == valid.len() - 1);
            let nulls = (!all_valid).then(|| NullBuffer::new(truths_of(valid, keys)));
            let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
            Value::column(Arc::new(BooleanArray::new(truths_of(values, keys), nulls)))
        }
        Answers::Others(values) => Value::column(take_array(values, &codes(keys, values.len() - 1))?),
        Answers::Texts(values) => Value::column(dictionary_of(values, keys)),
    }))
}

/// Places of answers: NULL has the last one. Codes behind NULLs may be anything.
fn codes(keys: &PrimitiveArray<UInt32Type>, null: usize) -> Vec<u32> {
    let null = null as u32;
    match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => keys.values().iter().map(|&key| key.min(null)).collect(),
        Some(nulls) => {
            keys.values().iter().zip(nulls).map(|(&key, valid)| if valid { key.min(null) } else { null }).collect()
        }
    }
}

/// The bit of each row's code; the last bit is that of NULL.
fn truths_of(bits: &BooleanBuffer, keys: &PrimitiveArray<UInt32Type>) -> BooleanBuffer {
    let found = bits_at(bits, keys.values());
    match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => found,
        Some(nulls) if bits.value(bits.len() - 1) => &found | &!nulls.inner(),
        Some(nulls) => &found & nulls.inner(),
    }
}

/// The texts of all rows as a dictionary. Only its codes have NULLs: that is easier to read for others.
fn dictionary_of(values: &ArrayRef, keys: &PrimitiveArray<UInt32Type>) -> ArrayRef {
    let null = values.len() - 1;
    let (keys, values) = if values.null_count() == 1 && values.is_null(null) {
        (keys.clone(), values.slice(0, null))
    } else {
        let codes = codes(keys, null);
        let nulls = values.nulls().map(|nulls| {
            NullBuffer::new(BooleanBuffer::collect_bool(codes.len(), |row| nulls.is_valid(codes[row] as usize)))
        });
        (PrimitiveArray::new(codes.into(), nulls.filter(|nulls| nulls.null_count() > 0)), Arc::clone(values))
    };
    // Values behind codes have no NULLs left that a row could show; the bitmap goes, so that nobody has to look.
    let values = without_nulls(&values);
    // SAFETY: the codes are below the number of values where they are not NULL: they were valid codes of a dictionary of
    // as many values, or are at most `null`.
    Arc::new(unsafe { DictionaryArray::<UInt32Type>::new_unchecked(keys, values) })
}

fn without_nulls(values: &ArrayRef) -> ArrayRef {
    if values.null_count() == 0 {
        return Arc::clone(values);
    }
    match values.to_data().into_builder().nulls(None).build() {
        Ok(data) => arrow::array::make_array(data),
        Err(_) => Arc::clone(values),
    }
}
