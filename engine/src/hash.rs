//! The one hash, over logical values.
//!
//! Every exchange places rows by it, so two rows that SQL calls equal must hash alike wherever and however they are
//! held:
//! - a dictionary, run-end, view or large encoding hashes like the plain one;
//! - `-0.0` hashes like `0.0`, and all NaNs alike;
//! - NULL hashes to one constant, in whatever type;
//! - lists of all kinds (map: a list of pairs) hash by their elements, structs by their fields, unions by type id and
//!   value.
//!
//! Nothing depends on the process: no random seed, no address, no byte order. Integers of different widths happen to
//! agree where the value fits both, but nobody may rely on it for other types: the planner casts keys to one type.
//!
//! The mixing step is the folded multiply of wyhash (Wang Yi, <https://github.com/wangyi-fudan/wyhash>, public domain):
//! multiply two 64-bit words to 128 bits and xor the halves. Two rounds spread each input bit over all output bits, so
//! both ends of the hash are good: callers take lanes from the upper half, `((hash >> 32) * lanes) >> 32`, or by
//! remainder, and hash tables may use what is left. It is not meant against adversaries: the seeds are fixed.
//!
//! Cost: about a nanosecond for a fixed-width value, and a byte range runs at several bytes a cycle.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RunArray, UnionArray, downcast_integer_array,
    downcast_temporal_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::downcast_dictionary_array;

use crate::error::{Error, Result};

// The secrets of wyhash: odd, with 32 of 64 bits set, pairwise differing in 32 bits.
const K0: u64 = 0x2d35_8dcc_aa6c_78a5;
const K1: u64 = 0x8bb8_4b93_962e_acc9;
const K2: u64 = 0x4b33_a62e_d433_d4a3;
const K3: u64 = 0x4d5a_2da5_1de1_aa47;

const NULL: u64 = 0xa076_1d64_78bd_642f;
const LIST: u64 = 0xe703_7ed1_a0b4_28db;
const STRUCT: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Hashes the rows of `columns`: `out` becomes one hash for each of `rows` rows. Without columns all rows are alike.
///
/// # Errors
/// A column has another number of rows, or a type that arrow knows and this hash does not.
pub fn hash_columns(columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) -> Result<()> {
    if let Some(odd) = columns.iter().find(|column| column.len() != rows) {
        return Err(Error::internal(format!("hashing {rows} rows: a key column has {}", odd.len())));
    }
    out.clear();
    out.resize(rows, K0);
    for (place, column) in columns.iter().enumerate() {
        if place == 0 { hash_array::<Set>(column, out)? } else { hash_array::<Mix>(column, out)? }
    }
    Ok(())
}

/// Hashes bytes; what a text or binary value hashes to.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let (mut seed, first, last) = (K0, word_at(bytes, 0), tail_word(bytes));
    if length <= 16 {
        let (first, last) = match length {
            9..=16 => (first, last),
            4..=8 => (half_at(bytes, 0), half_at(bytes, length - 4)),
            _ => (few_bytes(bytes), 0),
        };
        return hash_pair(first, last, seed ^ length as u64);
    }
    let mut rest = bytes;
    if length > 96 {
        // Three independent chains keep the multiplier busy. No chain starts with its own secret: two words that change
        // places would give the same product.
        let (mut second, mut third) = (K3, K0);
        while let Some(block) = rest.first_chunk::<48>() {
            let words = words::<6>(block);
            seed = fold(words[0] ^ K1, words[1] ^ seed);
            second = fold(words[2] ^ K2, words[3] ^ second);
            third = fold(words[4] ^ K3, words[5] ^ third);
            rest = &rest[48..];
        }
        seed ^= second ^ third;
    }
    while let Some(block) = rest.first_chunk::<16>() {
        let words = words::<2>(block);
        seed = fold(words[0] ^ K1, words[1] ^ seed);
        rest = &rest[16..];
    }
    // The last 16 bytes, which may overlap what is done already.
    hash_pair(word_at(bytes, length - 16), last, seed ^ length as u64)
}

/// The hash of one value of up to 64 bits.
#[inline]
fn hash_word(word: u64) -> u64 {
    let product = u128::from(word ^ K0) * u128::from(K1);
    fold(product as u64 ^ K2, (product >> 64) as u64 ^ K3)
}

#[inline]
fn hash_pair(first: u64, second: u64, seed: u64) -> u64 {
    let product = u128::from(first ^ K1) * u128::from(second ^ seed);
    fold(product as u64 ^ K0, (product >> 64) as u64 ^ K2 ^ seed)
}

/// Joins the hash of what came before with that of the next value; the order matters.
#[inline]
fn mix(before: u64, next: u64) -> u64 {
    fold(before ^ K2, next ^ K3)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The words of a block of 8 times as many bytes.
#[inline]
fn words<const WORDS: usize>(block: &[u8]) -> [u64; WORDS] {
    let words = block.as_chunks::<8>().0;
    std::array::from_fn(|place| u64::from_le_bytes(words[place]))
}

/// Eight bytes at `at`, or 0 where they are not all there.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline]
fn tail_word(bytes: &[u8]) -> u64 {
    bytes.last_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline]
fn half_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |half| u64::from(u32::from_le_bytes(*half)))
}

/// Up to three bytes.
#[inline]
fn few_bytes(bytes: &[u8]) -> u64 {
    match *bytes {
        [] => 0,
        [first, .., last] => u64::from(first) << 16 | u64::from(bytes[bytes.len() / 2]) << 8 | u64::from(last),
        [only] => u64::from(only) << 16 | u64::from(only) << 8 | u64::from(only),
    }
}

/// What happens with the hash of a value: it is the row's hash, or joins the hash of the columns before.
trait Put {
    fn put(row: &mut u64, hash: u64);
}

struct Set;

struct Mix;

impl Put for Set {
    #[inline]
    fn put(row: &mut u64, hash: u64) {
        *row = hash;
    }
}

impl Put for Mix {
    #[inline]
    fn put(row: &mut u64, hash: u64) {
        *row = mix(*row, hash);
    }
}

/// Puts the hash of every value; `out` is as long as the array.
fn hash_array<P: Put>(array: &dyn Array, out: &mut [u64]) -> Result<()> {
    downcast_integer_array!(
        array => hash_primitive::<P, _>(array, out),
        DataType::Float16 => hash_primitive::<P, Float32Type>(cast(array, &DataType::Float32)?.as_primitive(), out),
        DataType::Float32 => fixed::<P, Float32Type>(array, out),
        DataType::Float64 => fixed::<P, Float64Type>(array, out),
        DataType::Decimal32(..) => fixed::<P, Decimal32Type>(array, out),
        DataType::Decimal64(..) => fixed::<P, Decimal64Type>(array, out),
        DataType::Decimal128(..) => fixed::<P, Decimal128Type>(array, out),
        DataType::Decimal256(..) => fixed::<P, Decimal256Type>(array, out),
        DataType::Interval(IntervalUnit::YearMonth) => fixed::<P, IntervalYearMonthType>(array, out),
        DataType::Interval(IntervalUnit::DayTime) => fixed::<P, IntervalDayTimeType>(array, out),
        DataType::Interval(IntervalUnit::MonthDayNano) => fixed::<P, IntervalMonthDayNanoType>(array, out),
        DataType::Duration(TimeUnit::Second) => fixed::<P, DurationSecondType>(array, out),
        DataType::Duration(TimeUnit::Millisecond) => fixed::<P, DurationMillisecondType>(array, out),
        DataType::Duration(TimeUnit::Microsecond) => fixed::<P, DurationMicrosecondType>(array, out),
        DataType::Duration(TimeUnit::Nanosecond) => fixed::<P, DurationNanosecondType>(array, out),
        DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => {
            downcast_temporal_array!(array => hash_primitive::<P, _>(array, out), other => return unknown(other));
        }
        DataType::Null => put_all::<P>(out, None, |_| NULL),
        DataType::Boolean => {
            let values = array.as_boolean().values();
            put_all::<P>(out, array.nulls(), |row| hash_word(u64::from(values.value(row))));
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row).as_bytes()));
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row).as_bytes()));
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row).as_bytes()));
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row)));
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row)));
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row)));
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            put_all::<P>(out, array.nulls(), |row| hash_bytes(array.value(row)));
        }
        DataType::List(_) => {
            let (offsets, nulls) = (array.as_list::<i32>().value_offsets(), array.nulls());
            let ranges = |row: usize| (offsets[row] as usize, offsets[row + 1] as usize);
            return hash_lists::<P>(array.as_list::<i32>().values(), ranges, nulls, out);
        }
        DataType::LargeList(_) => {
            let (offsets, nulls) = (array.as_list::<i64>().value_offsets(), array.nulls());
            let ranges = |row: usize| (offsets[row] as usize, offsets[row + 1] as usize);
            return hash_lists::<P>(array.as_list::<i64>().values(), ranges, nulls, out);
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let ranges = |row: usize| {
                let start = list.value_offset(row);
                (start as usize, (start + list.value_size(row)) as usize)
            };
            return hash_lists::<P>(list.values(), ranges, array.nulls(), out);
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let ranges = |row: usize| {
                let start = list.value_offset(row);
                (start as usize, (start + list.value_size(row)) as usize)
            };
            return hash_lists::<P>(list.values(), ranges, array.nulls(), out);
        }
        DataType::FixedSizeList(_, size) => {
            let (list, size) = (array.as_fixed_size_list(), *size as usize);
            return hash_lists::<P>(list.values(), |row| (row * size, (row + 1) * size), array.nulls(), out);
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let offsets = map.value_offsets();
            let ranges = |row: usize| (offsets[row] as usize, offsets[row + 1] as usize);
            return hash_lists::<P>(map.entries(), ranges, array.nulls(), out);
        }
        DataType::Struct(_) => return hash_structs::<P>(array, out),
        DataType::Union(_, _) => return hash_unions::<P>(array.as_union(), out),
        DataType::Dictionary(_, _) => downcast_dictionary_array!(
            array => return hash_dictionary::<P, _>(array.keys(), array.values(), out),
            other => return unknown(other),
        ),
        DataType::RunEndEncoded(run_ends, _) => return match run_ends.data_type() {
            DataType::Int16 => hash_runs::<P, Int16Type>(array, out),
            DataType::Int32 => hash_runs::<P, Int32Type>(array, out),
            DataType::Int64 => hash_runs::<P, Int64Type>(array, out),
            other => unknown(other),
        }
    );
    Ok(())
}

fn unknown(data_type: &DataType) -> Result<()> {
    Err(Error::unsupported(format!("hashing a key of type {data_type}; cast it to another type")))
}

#[inline]
fn put_all<P: Put>(out: &mut [u64], nulls: Option<&NullBuffer>, hash: impl Fn(usize) -> u64) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => out.iter_mut().enumerate().for_each(|(row, out)| P::put(out, hash(row))),
        Some(nulls) => {
            for (row, out) in out.iter_mut().enumerate() {
                P::put(out, if nulls.is_valid(row) { hash(row) } else { NULL });
            }
        }
    }
}

/// The hash of a fixed-width value.
trait Word: Copy {
    fn hash(self) -> u64;
}

fn hash_primitive<P: Put, T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, out: &mut [u64])
where
    T::Native: Word,
{
    let values = array.values();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.iter_mut().zip(values.iter()).for_each(|(out, value)| P::put(out, value.hash())),
        nulls => put_all::<P>(out, nulls, |row| values[row].hash()),
    }
}

fn fixed<P: Put, T: ArrowPrimitiveType>(array: &dyn Array, out: &mut [u64])
where
    T::Native: Word,
{
    hash_primitive::<P, T>(array.as_primitive(), out);
}

macro_rules! word {
    ($($native:ty => |$value:ident| $hash:expr;)*) => {$(
        impl Word for $native {
            #[inline]
            fn hash(self) -> u64 {
                let $value = self;
                $hash
            }
        }
    )*};
}

word! {
    i8 => |value| hash_word(i64::from(value) as u64);
    i16 => |value| hash_word(i64::from(value) as u64);
    i32 => |value| hash_word(i64::from(value) as u64);
    i64 => |value| hash_word(value as u64);
    u8 => |value| hash_word(u64::from(value));
    u16 => |value| hash_word(u64::from(value));
    u32 => |value| hash_word(u64::from(value));
    u64 => |value| hash_word(value);
    i128 => |value| hash_pair(value as u64, (value >> 64) as u64, K3);
    i256 => |value| {
        let (low, high) = value.to_parts();
        let low = hash_pair(low as u64, (low >> 64) as u64, K3);
        mix(low, hash_pair(high as u64, (high >> 64) as u64, K3))
    };
    f32 => |value| hash_float(f64::from(value));
    f64 => |value| hash_float(value);
    IntervalDayTime => |value| hash_pair(i64::from(value.days) as u64, i64::from(value.milliseconds) as u64, K3);
    IntervalMonthDayNano => |value| {
        let days = u64::from(value.months as u32) << 32 | u64::from(value.days as u32);
        hash_pair(days, value.nanoseconds as u64, K3)
    };
}

#[inline]
fn hash_float(value: f64) -> u64 {
    // Adding zero turns -0.0 into 0.0.
    hash_word(if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() })
}

/// Lists: the elements in order. Only the part of `values` that the rows refer to is hashed.
fn hash_lists<P: Put>(
    values: &dyn Array,
    range: impl Fn(usize) -> (usize, usize),
    nulls: Option<&NullBuffer>,
    out: &mut [u64],
) -> Result<()> {
    let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let used = |row: &usize| valid(*row) && range(*row).0 < range(*row).1;
    let start = (0..out.len()).filter(used).map(|row| range(row).0).min().unwrap_or(0);
    let end = (0..out.len()).filter(used).map(|row| range(row).1).max().unwrap_or(0);
    let elements = hashes(&values.slice(start, end - start))?;
    put_all::<P>(out, nulls, |row| {
        let (from, to) = range(row);
        let elements = if from < to { &elements[from - start..to - start] } else { &[] };
        elements.iter().fold(LIST ^ elements.len() as u64, |list, &element| mix(list, element))
    });
    Ok(())
}

fn hash_structs<P: Put>(array: &dyn Array, out: &mut [u64]) -> Result<()> {
    let mut rows = vec![STRUCT; out.len()];
    for column in array.as_struct().columns() {
        hash_array::<Mix>(column, &mut rows)?;
    }
    put_all::<P>(out, array.nulls(), |row| rows[row]);
    Ok(())
}

/// Unions: the type id and the value of that child; a NULL of any child is NULL.
fn hash_unions<P: Put>(array: &UnionArray, out: &mut [u64]) -> Result<()> {
    let mut children = vec![None; 256];
    if let DataType::Union(fields, _) = array.data_type() {
        for (type_id, _) in fields.iter() {
            children[type_id as u8 as usize] = Some(hashes(array.child(type_id))?);
        }
    }
    put_all::<P>(out, None, |row| {
        let type_id = array.type_id(row);
        let value = children[type_id as u8 as usize].as_ref().and_then(|child| child.get(array.value_offset(row)));
        match value {
            Some(&NULL) | None => NULL,
            Some(&value) => mix(hash_word(type_id as u64), value),
        }
    });
    Ok(())
}

fn hash_dictionary<P: Put, K: ArrowDictionaryKeyType>(
    keys: &PrimitiveArray<K>,
    values: &ArrayRef,
    out: &mut [u64],
) -> Result<()> {
    // A short slice of an array with a large dictionary refers to few of its values.
    if values.len() > 2 * keys.len() {
        return hash_array::<P>(&arrow::compute::take(values, keys, None)?, out);
    }
    let values = hashes(values)?;
    put_all::<P>(out, keys.nulls(), |row| values[keys.values()[row].as_usize()]);
    Ok(())
}

fn hash_runs<P: Put, R: RunEndIndexType>(array: &dyn Array, out: &mut [u64]) -> Result<()> {
    let Some(array) = array.as_any().downcast_ref::<RunArray<R>>() else { return unknown(array.data_type()) };
    if out.is_empty() {
        return Ok(());
    }
    let runs = array.run_ends();
    let first = runs.get_start_physical_index();
    let values = hashes(&array.values_slice())?;
    let mut row = 0;
    for (run_end, &hash) in runs.values()[first..].iter().zip(&values) {
        let end = (run_end.as_usize() - runs.offset()).min(out.len());
        out[row..end].iter_mut().for_each(|out| P::put(out, hash));
        row = end;
    }
    Ok(())
}

fn hashes(array: &dyn Array) -> Result<Vec<u64>> {
    let mut out = vec![0; array.len()];
    hash_array::<Set>(array, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
