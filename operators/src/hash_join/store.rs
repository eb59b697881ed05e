//! The rows of the build side as they come in, and as one column each in the end.
//!
//! ```text
//!   worker 0: chunk, chunk, …  ─append─►  values ........ heap ....  ┐
//!   worker 1: chunk, chunk, …  ─append─►  values ........ heap ....  ┴─concat─►  one array a column
//! ```
//!
//! Values are copied at once: a few rows that passed a filter must not pin the pages they came from. Texts of more than
//! 12 bytes go to heaps of the store's own, shorter ones live in their views. One worker's columns become arrays
//! without a copy; those of several are put together in parallel.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, NullBufferBuilder, StringViewArray, new_empty_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::concat;
use arrow::datatypes::{ArrowNativeType, DataType, Decimal128Type, Int64Type, UInt32Type, i256};
use bireme_engine::morsel::carried_type;
use bireme_engine::{Error, Result};
use rayon::prelude::*;

use super::gather::{from_raw, gather, raw_values};
use super::memory::{advise, zeros};

/// Bytes of the first heap block, and of the largest one: few blocks for many rows, little waste for few.
const FIRST_BLOCK: usize = 16 << 10;
const LAST_BLOCK: usize = 16 << 20;
/// Longer texts live behind their view.
const INLINE: usize = 12;
/// Rows that one task copies.
const COPY_ROWS: usize = 1 << 18;

/// A column in the one form that a logical type has here: no dictionaries, wide decimals as 128 bits, its own label.
pub(super) fn plain(array: &ArrayRef, logical: &DataType) -> Result<ArrayRef> {
    let wanted = carried_type(logical);
    match (array.data_type(), &wanted) {
        (same, wanted) if same == wanted => Ok(Arc::clone(array)),
        (DataType::Dictionary(_, values), wanted) if values.as_ref() == wanted => {
            let dictionary = array
                .as_dictionary_opt::<UInt32Type>()
                .ok_or_else(|| Error::internal(format!("{} is no carried form of {logical}", array.data_type())))?;
            let rows = (0..array.len())
                .map(|row| if array.is_null(row) { super::gather::NONE } else { dictionary.keys().value(row) });
            gather(dictionary.values(), &rows.collect::<Vec<_>>(), true)
        }
        (DataType::Int64, DataType::Decimal128(digits, scale)) => {
            let wide = array.as_primitive::<Int64Type>().unary::<_, Decimal128Type>(i128::from);
            Ok(Arc::new(wide.with_precision_and_scale(*digits, *scale)?))
        }
        (DataType::Decimal128(..), DataType::Decimal128(digits, scale)) => {
            Ok(Arc::new(array.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(*digits, *scale)?))
        }
        (have, _) => Err(Error::internal(format!("{have} is no carried form of {logical}"))),
    }
}

/// Rows that grow.
#[derive(Debug)]
pub(super) struct Store {
    types: Vec<DataType>,
    columns: Vec<Growing>,
    rows: usize,
}

#[derive(Debug)]
enum Growing {
    Bytes1(Fixed<u8>),
    Bytes2(Fixed<u16>),
    Bytes4(Fixed<u32>),
    Bytes8(Fixed<u64>),
    Bytes16(Fixed<u128>),
    Bytes32(Fixed<i256>),
    Text(Texts),
    Other(Vec<ArrayRef>),
}

#[derive(Debug)]
struct Fixed<T> {
    values: Vec<T>,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
struct Texts {
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    full: Vec<Buffer>,
    heap: Vec<u8>,
    heap_bytes: usize,
}

macro_rules! each_width {
    ($growing:expr, $fixed:ident => $do_fixed:expr, $texts:ident => $do_texts:expr, $arrays:ident => $do_arrays:expr) => {
        match $growing {
            Growing::Bytes1($fixed) => $do_fixed,
            Growing::Bytes2($fixed) => $do_fixed,
            Growing::Bytes4($fixed) => $do_fixed,
            Growing::Bytes8($fixed) => $do_fixed,
            Growing::Bytes16($fixed) => $do_fixed,
            Growing::Bytes32($fixed) => $do_fixed,
            Growing::Text($texts) => $do_texts,
            Growing::Other($arrays) => $do_arrays,
        }
    };
}

impl Store {
    /// No rows of these logical types.
    pub fn new(types: &[DataType]) -> Self {
        let columns = types.iter().map(|logical| Growing::new(&carried_type(logical))).collect();
        Self { types: types.to_vec(), columns, rows: 0 }
    }

    /// Copies rows; the columns are in carried forms.
    pub fn append(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        for ((growing, column), logical) in self.columns.iter_mut().zip(columns).zip(&self.types) {
            growing.append(&plain(column, logical)?)?;
        }
        self.rows += rows;
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the rows.
    pub fn bytes(&self) -> usize {
        let bytes = |column: &Growing| {
            each_width!(column,
                fixed => std::mem::size_of_val(fixed.values.as_slice()),
                texts => texts.views.len() * 16 + texts.heap_bytes,
                arrays => arrays.iter().map(|array| array.get_array_memory_size()).sum())
        };
        self.columns.iter().map(bytes).sum()
    }

    /// Its rows as arrays; nothing is left.
    pub fn take(&mut self) -> Result<(Vec<ArrayRef>, usize)> {
        let empty = Store::new(&self.types);
        let Store { types, columns, rows } = std::mem::replace(self, empty);
        let arrays = columns.into_iter().zip(&types).map(|(column, logical)| column.finish(&carried_type(logical)));
        Ok((arrays.collect::<Result<_>>()?, rows))
    }
}

impl Growing {
    fn new(carried: &DataType) -> Self {
        match carried.primitive_width() {
            Some(1) => Growing::Bytes1(Fixed::new()),
            Some(2) => Growing::Bytes2(Fixed::new()),
            Some(4) => Growing::Bytes4(Fixed::new()),
            Some(8) => Growing::Bytes8(Fixed::new()),
            Some(16) => Growing::Bytes16(Fixed::new()),
            Some(32) => Growing::Bytes32(Fixed::new()),
            _ if matches!(carried, DataType::Utf8View | DataType::BinaryView) => Growing::Text(Texts::new()),
            _ => Growing::Other(Vec::new()),
        }
    }

    fn append(&mut self, array: &ArrayRef) -> Result<()> {
        each_width!(self,
            fixed => fixed.append(array)?,
            texts => match array.data_type() {
                DataType::Utf8View => {
                    let text = array.as_string_view();
                    texts.append(text.views(), text.data_buffers(), text.nulls());
                }
                _ => {
                    let binary = array.as_binary_view();
                    texts.append(binary.views(), binary.data_buffers(), binary.nulls());
                }
            },
            // A take copies, so that a slice does not pin what it was cut from.
            arrays => arrays.push(gather(array, &(0..array.len() as u32).collect::<Vec<_>>(), false)?));
        Ok(())
    }

    fn finish(self, carried: &DataType) -> Result<ArrayRef> {
        each_width!(self,
        fixed => from_raw(carried, fixed.values, fixed.nulls.build()),
        texts => Ok(texts.finish(carried)),
        arrays => {
            let arrays = arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            if arrays.is_empty() { Ok(new_empty_array(carried)) } else { Ok(concat(&arrays)?) }
        })
    }
}

impl<T: ArrowNativeType> Fixed<T> {
    fn new() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn append(&mut self, array: &ArrayRef) -> Result<()> {
        make_room(&mut self.values, array.len());
        self.values.extend_from_slice(&raw_values::<T>(array)?);
        append_nulls(&mut self.nulls, array.nulls(), array.len());
        Ok(())
    }
}

/// Like `reserve`, with large pages for large columns.
fn make_room<T>(vector: &mut Vec<T>, more: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve(more);
        advise(vector);
    }
}

fn append_nulls(builder: &mut NullBufferBuilder, nulls: Option<&NullBuffer>, rows: usize) {
    match nulls {
        Some(nulls) => builder.append_buffer(nulls),
        None => builder.append_n_non_nulls(rows),
    }
}

impl Texts {
    fn new() -> Self {
        Self { views: Vec::new(), nulls: NullBufferBuilder::new(0), full: Vec::new(), heap: Vec::new(), heap_bytes: 0 }
    }

    fn append(&mut self, views: &[u128], buffers: &[Buffer], nulls: Option<&NullBuffer>) {
        append_nulls(&mut self.nulls, nulls, views.len());
        make_room(&mut self.views, views.len());
        if buffers.is_empty() && nulls.is_none() {
            return self.views.extend_from_slice(views);
        }
        for (row, &view) in views.iter().enumerate() {
            let length = view as u32 as usize;
            let view = if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                0
            } else if length <= INLINE {
                view
            } else {
                let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
                self.keep(&buffers[buffer][start..start + length], view)
            };
            self.views.push(view);
        }
    }

    /// Copies a long text; its view has the same length and prefix, and a new place.
    #[inline]
    fn keep(&mut self, text: &[u8], view: u128) -> u128 {
        if self.heap.len() + text.len() > self.heap.capacity() {
            let block = (FIRST_BLOCK << self.full.len().min(20)).min(LAST_BLOCK).max(text.len());
            let full = std::mem::replace(&mut self.heap, Vec::with_capacity(block));
            if !full.is_empty() {
                self.full.push(Buffer::from_vec(full));
            }
        }
        let place = (self.heap.len() as u128) << 96 | (self.full.len() as u128) << 64;
        self.heap.extend_from_slice(text);
        self.heap_bytes += text.len();
        (view & u128::from(u64::MAX)) | place
    }

    fn finish(mut self, carried: &DataType) -> ArrayRef {
        if !self.heap.is_empty() {
            self.full.push(Buffer::from_vec(self.heap));
        }
        texts(carried, self.views, self.full, self.nulls.build())
    }
}

fn texts(carried: &DataType, views: Vec<u128>, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> ArrayRef {
    let views = ScalarBuffer::from(views);
    if *carried == DataType::Utf8View {
        // SAFETY: the views are those of valid texts, moved together with the bytes they refer to.
        Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
    } else {
        // SAFETY: the views are those of valid binaries, moved together with the bytes they refer to.
        Arc::new(unsafe { BinaryViewArray::new_unchecked(views, buffers, nulls) })
    }
}

/// One array of several of the same type, copied in parallel.
pub(super) fn concat_parallel(mut arrays: Vec<ArrayRef>) -> Result<ArrayRef> {
    if let [_] = arrays.as_slice() {
        return Ok(arrays.remove(0));
    }
    let Some(first) = arrays.first() else { return Err(Error::internal("a join without build columns to concat")) };
    let data_type = first.data_type().clone();
    match data_type.primitive_width() {
        Some(1) => concat_fixed::<u8>(&data_type, &arrays),
        Some(2) => concat_fixed::<u16>(&data_type, &arrays),
        Some(4) => concat_fixed::<u32>(&data_type, &arrays),
        Some(8) => concat_fixed::<u64>(&data_type, &arrays),
        Some(16) => concat_fixed::<u128>(&data_type, &arrays),
        Some(32) => concat_fixed::<i256>(&data_type, &arrays),
        _ => match data_type {
            DataType::Utf8View => {
                let parts = arrays.iter().map(|array| array.as_string_view());
                concat_texts(&data_type, &arrays, parts.map(|part| (part.views().clone(), part.data_buffers())))
            }
            DataType::BinaryView => {
                let parts = arrays.iter().map(|array| array.as_binary_view());
                concat_texts(&data_type, &arrays, parts.map(|part| (part.views().clone(), part.data_buffers())))
            }
            _ => Ok(concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
        },
    }
}

fn concat_nulls(arrays: &[ArrayRef]) -> Option<NullBuffer> {
    let mut nulls = NullBufferBuilder::new(0);
    arrays.iter().for_each(|array| append_nulls(&mut nulls, array.nulls(), array.len()));
    nulls.build()
}

fn concat_fixed<T: ArrowNativeType>(data_type: &DataType, arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let parts = arrays.iter().map(|array| Ok((raw_values::<T>(array)?, 0))).collect::<Result<Vec<_>>>()?;
    from_raw(data_type, concat_parts(&parts, |value, _| value), concat_nulls(arrays))
}

fn concat_texts<'a>(
    data_type: &DataType,
    arrays: &[ArrayRef],
    columns: impl Iterator<Item = (ScalarBuffer<u128>, &'a [Buffer])>,
) -> Result<ArrayRef> {
    let (mut parts, mut buffers) = (Vec::new(), Vec::new());
    for (views, theirs) in columns {
        parts.push((views, buffers.len()));
        buffers.extend_from_slice(theirs);
    }
    let moved = |view: u128, before: usize| {
        if view as u32 as usize <= INLINE { view } else { view + ((before as u128) << 64) }
    };
    Ok(texts(data_type, concat_parts(&parts, moved), buffers, concat_nulls(arrays)))
}

/// Copies parts one behind the other; `change` is told what stands beside the part.
fn concat_parts<T: ArrowNativeType>(
    parts: &[(ScalarBuffer<T>, usize)],
    change: impl Fn(T, usize) -> T + Sync,
) -> Vec<T> {
    let total = parts.iter().map(|(values, _)| values.len()).sum();
    let mut all = zeros::<T>(total);
    let (mut tasks, mut rest) = (Vec::new(), all.as_mut_slice());
    for (values, beside) in parts {
        for values in values.chunks(COPY_ROWS) {
            let (mine, others) = rest.split_at_mut(values.len());
            tasks.push((mine, values, *beside));
            rest = others;
        }
    }
    tasks.into_par_iter().for_each(|(to, from, beside)| {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = change(from, beside));
    });
    all
}
