//! `IN` lists: what is looked for is put in order once.
//!
//! Up to eight numbers are compared one after the other, in registers; numbers close together are bits of a small map; else
//! they are searched for. Short texts are numbers too: their views. Longer lists of texts are hashed.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::or_kleene;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use bireme_engine::error::Result;
use bireme_engine::hash::hash_bytes;

use super::cast::carried_literal;
use super::compare::compare;
use super::simd::pack;
use super::value::{Natives, Value, decimal_digits, natives, wide};
use super::views::{Views, equal_to, inline_view};
use crate::pipeline::ir::CompareOp;

/// What an `IN` looks for.
#[derive(Debug)]
pub(super) struct Set {
    members: Members,
    has_null: bool,
    /// The logical type of the value and of the list.
    logical: DataType,
}

#[derive(Debug)]
enum Members {
    /// Integers and what is held as such, in 64 bits; `u64` by its bits, floats by theirs.
    Integers(Numbers<i64>),
    /// Decimals, and those of them that fit 64 bits.
    Decimals { all: Numbers<i128>, narrow: Numbers<i64> },
    /// Texts that all are shorter than a view.
    Views(Vec<u128>),
    /// Texts.
    Texts(HashSet<Box<[u8]>, BuildHasherDefault<BytesHasher>>),
    /// Anything else: compared with one after the other.
    Values(Vec<ArrayRef>),
}

impl Set {
    pub fn new(list: &ArrayRef, logical: &DataType) -> Result<Self> {
        let list = carried_literal(list)?;
        let nulls = list.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let valid = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        let rows = || (0..list.len()).filter(valid);
        let members = if let Some(integers) = as_integers(&list)
            && decimal_digits(logical).is_none()
        {
            Members::Integers(Numbers::new(rows().map(|row| integers[row])))
        } else if decimal_digits(logical).is_some() && list.data_type() != &DataType::Null {
            let values = wide(&list)?;
            let narrow = rows().filter_map(|row| i64::try_from(values.value(row)).ok());
            Members::Decimals { all: Numbers::new(rows().map(|row| values.value(row))), narrow: Numbers::new(narrow) }
        } else if let Ok(texts) = Views::new(&list) {
            let texts = rows().map(|row| texts.bytes(&texts.views[row])).collect::<Vec<_>>();
            match texts.iter().map(|text| inline_view(text)).collect::<Option<Vec<_>>>() {
                Some(views) if views.len() <= FEW => Members::Views(views),
                _ => Members::Texts(texts.into_iter().map(Box::from).collect()),
            }
        } else {
            Members::Values(rows().map(|row| list.slice(row, 1)).collect())
        };
        Ok(Self { members, has_null: nulls.is_some(), logical: logical.clone() })
    }

    /// `value [NOT] IN list`. What is not found is unknown if the list has a NULL.
    pub fn contains(&self, value: &Value, negated: bool) -> Result<Value> {
        if value.array.data_type() == &DataType::Null || value.is_null_scalar() {
            return Ok(Value::null(&DataType::Boolean));
        }
        let found = self.find(value)?;
        let nulls = if self.has_null {
            NullBuffer::union(Some(&NullBuffer::new(found.clone())), value.array.nulls())
        } else {
            value.array.nulls().cloned()
        };
        Ok(Value::boolean(if negated { !&found } else { found }, nulls, value.scalar))
    }

    fn find(&self, value: &Value) -> Result<BooleanBuffer> {
        Ok(match &self.members {
            Members::Integers(numbers) => find_integers(&value.array, numbers),
            Members::Decimals { all, narrow } => match value.array.as_primitive_opt::<Int64Type>() {
                Some(values) => narrow.find(values.values(), |value| value),
                None => all.find(wide(&value.array)?.values(), |value| value),
            },
            Members::Views(few) => {
                let texts = Views::new(&value.array)?.views;
                let found = few.iter().map(|&short| equal_to(texts, short)).reduce(|all, one| &all | &one);
                found.unwrap_or_else(|| BooleanBuffer::new_unset(texts.len()))
            }
            Members::Texts(set) => {
                let texts = Views::new(&value.array)?;
                BooleanBuffer::collect_bool(texts.views.len(), |row| set.contains(texts.bytes(&texts.views[row])))
            }
            Members::Values(values) => {
                let mut found = BooleanArray::new(BooleanBuffer::new_unset(value.array.len()), None);
                for member in values {
                    let member = Value::scalar(Arc::clone(member));
                    let equal = compare(CompareOp::Equal, value, &member, (&self.logical, &self.logical))?;
                    found = or_kleene(&found, equal.as_boolean()?)?;
                }
                found.values().clone()
            }
        })
    }
}

/// Numbers of which each is compared with all.
const FEW: usize = 8;

/// Bits that a map may have.
const MAP_BITS: i128 = 1 << 16;

#[derive(Debug)]
enum Numbers<T> {
    None,
    Few([T; FEW], usize),
    /// A bit for each number from the first one on.
    Map {
        first: i64,
        bits: Vec<u64>,
    },
    Sorted(Vec<T>),
}

trait Number: Copy + Ord {
    /// Itself, if it may be in a map.
    fn narrow(self) -> Option<i64>;
}

impl Number for i64 {
    fn narrow(self) -> Option<i64> {
        Some(self)
    }
}

impl Number for i128 {
    fn narrow(self) -> Option<i64> {
        None
    }
}

impl<T: Number> Numbers<T> {
    fn new(numbers: impl Iterator<Item = T>) -> Self {
        let mut sorted = numbers.collect::<Vec<_>>();
        sorted.sort_unstable();
        sorted.dedup();
        let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return Numbers::None };
        if sorted.len() <= FEW {
            let mut few = [first; FEW];
            few[..sorted.len()].copy_from_slice(&sorted);
            return Numbers::Few(few, sorted.len());
        }
        if let (Some(first), Some(last)) = (first.narrow(), last.narrow())
            && i128::from(last) - i128::from(first) < MAP_BITS
        {
            let mut bits = vec![0; ((last - first) as usize).div_ceil(64) + 1];
            for place in sorted.iter().filter_map(|number| Some((number.narrow()? - first) as usize)) {
                bits[place / 64] |= 1 << (place % 64);
            }
            return Numbers::Map { first, bits };
        }
        Numbers::Sorted(sorted)
    }

    /// Which values are among the numbers.
    fn find<V: Copy>(&self, values: &[V], number: impl Fn(V) -> T + Copy) -> BooleanBuffer {
        match self {
            Numbers::None => BooleanBuffer::new_unset(values.len()),
            Numbers::Few(few, 1 | 2) => pack(values, |value| any::<T, 2>(few, number(value))),
            Numbers::Few(few, 3 | 4) => pack(values, |value| any::<T, 4>(few, number(value))),
            Numbers::Few(few, _) => pack(values, |value| any::<T, FEW>(few, number(value))),
            Numbers::Map { first, bits } => pack(values, |value| {
                let Some(narrow) = number(value).narrow() else { return false };
                // What lies before the first number becomes a place far past the last.
                let place = narrow.wrapping_sub(*first) as u64 as usize;
                bits.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 != 0)
            }),
            Numbers::Sorted(sorted) => {
                BooleanBuffer::collect_bool(values.len(), |row| sorted.binary_search(&number(values[row])).is_ok())
            }
        }
    }
}

#[inline(always)]
fn any<T: Copy + Eq, const N: usize>(few: &[T; FEW], value: T) -> bool {
    few.iter().take(N).fold(false, |found, &one| found | (one == value))
}

fn as_integers(list: &ArrayRef) -> Option<Vec<i64>> {
    Some(match natives(list) {
        Some(Natives::I8(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::I16(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::I32(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::I64(values)) => values.to_vec(),
        Some(Natives::U8(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::U16(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::U32(values)) => values.iter().map(|&value| i64::from(value)).collect(),
        Some(Natives::U64(values)) => values.iter().map(|&value| value as i64).collect(),
        None => match list.data_type() {
            DataType::Float64 => {
                list.as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits() as i64).collect()
            }
            DataType::Float32 => {
                list.as_primitive::<Float32Type>().values().iter().map(|value| i64::from(value.to_bits())).collect()
            }
            _ => return None,
        },
    })
}

fn find_integers(values: &ArrayRef, numbers: &Numbers<i64>) -> BooleanBuffer {
    match natives(values) {
        Some(Natives::I8(values)) => numbers.find(values, i64::from),
        Some(Natives::I16(values)) => numbers.find(values, i64::from),
        Some(Natives::I32(values)) => numbers.find(values, i64::from),
        Some(Natives::I64(values)) => numbers.find(values, |value| value),
        Some(Natives::U8(values)) => numbers.find(values, i64::from),
        Some(Natives::U16(values)) => numbers.find(values, i64::from),
        Some(Natives::U32(values)) => numbers.find(values, i64::from),
        Some(Natives::U64(values)) => numbers.find(values, |value| value as i64),
        None => match values.data_type() {
            DataType::Float64 => {
                numbers.find(values.as_primitive::<Float64Type>().values(), |value| value.to_bits() as i64)
            }
            DataType::Float32 => {
                numbers.find(values.as_primitive::<Float32Type>().values(), |value| i64::from(value.to_bits()))
            }
            _ => BooleanBuffer::new_unset(values.len()),
        },
    }
}

/// The one hash of bytes.
#[derive(Debug, Default)]
struct BytesHasher(u64);

impl Hasher for BytesHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(bytes);
    }

    /// The length comes first; the bytes' own hash knows it.
    fn write_usize(&mut self, _: usize) {}
}
