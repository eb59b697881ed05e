//! A batch as a header and raw buffers.
//!
//! Both ends of an exchange know its schema, so only lengths travel in the header, and the columns' buffers follow as
//! they lie in memory. What is sent is the slice and nothing around it:
//!
//! ```text
//!   column "s": text, rows 4..7 of a million
//!     validity  ..|101|....     ->  101            bits are shifted only if they do not start at a byte
//!     offsets   ..|9 12 12 15|  ->  0 3 3 6        rebased only if they do not start at 0
//!     values    ..|abcdef|....  ->  abcdef         a slice of the same memory
//! ```
//!
//! Views and dictionaries may refer to much more than a slice needs; then they are made compact first. Everything else
//! is a slice of memory that the batch already holds.
//!
//! The nodes of the header are the arrays in preorder: an array, then its children. Each says what physical layout it
//! has, so that two ends that disagree about the schema notice.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayDataBuilder, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, UInt64Array, layout, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType, DataType, SchemaRef, UnionMode};
use arrow::downcast_dictionary_array;
use bincode::{Decode, Encode};

use crate::error::{Error, Result};

/// What is needed, besides the schema, to make a batch of its buffers again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct BatchHeader {
    rows: u64,
    nodes: Vec<Node>,
    /// Of each buffer, so that a frame that lost bytes is noticed before anything is built on it.
    lengths: Vec<u64>,
}

impl BatchHeader {
    /// The number of rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows as usize
    }
}

/// One array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Node {
    /// See [`shape`].
    shape: u8,
    len: u64,
    /// A validity bitmap is the first buffer; otherwise nothing is NULL.
    nullable: bool,
    /// Data buffers of a view array.
    variadic: u32,
}

/// Takes a batch apart. Buffers are shared with the batch wherever a slice of them will do.
pub fn encode(batch: &RecordBatch) -> (BatchHeader, Vec<Buffer>) {
    let mut encoder = Encoder::default();
    for column in batch.columns() {
        encoder.put(&column.to_data(), 0, column.len());
    }
    let lengths = encoder.buffers.iter().map(|buffer| buffer.len() as u64).collect();
    (BatchHeader { rows: batch.num_rows() as u64, nodes: encoder.nodes, lengths }, encoder.buffers)
}

/// Puts a batch together from what [`encode`] made of it; the buffers are not copied, unless they are not aligned.
///
/// # Errors
/// The header, the buffers and the schema do not belong together.
pub fn decode(schema: &SchemaRef, header: BatchHeader, buffers: Vec<Buffer>) -> Result<RecordBatch> {
    let BatchHeader { rows, nodes, lengths } = header;
    if lengths.len() != buffers.len()
        || lengths.iter().zip(&buffers).any(|(&length, buffer)| length != buffer.len() as u64)
    {
        return Err(corrupt("its buffers have other lengths than its header says"));
    }
    let mut decoder = Decoder { nodes: nodes.into_iter(), buffers: buffers.into_iter() };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let data =
            decoder.take(field.data_type()).map_err(|error| error.context(format!("column {}", field.name())))?;
        data.validate().map_err(|error| corrupt(&format!("column {}: {error}", field.name())))?;
        columns.push(make_array(data));
    }
    if decoder.nodes.next().is_some() || decoder.buffers.next().is_some() {
        return Err(corrupt("it holds more than the schema has columns for"));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(usize_of(rows)?));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| corrupt(&error.to_string()))
}

/// What a header may take in memory: a damaged one must not ask for more.
const MOST_HEADER_BYTES: usize = 64 << 20;

/// Buffers in [`to_bytes`] begin at multiples of it.
const ALIGNED: usize = 64;

/// A batch as bytes of their own: the length of the header, the header, the buffers, each part at a multiple of 64.
///
/// # Errors
/// The header cannot be written.
pub fn to_bytes(batch: &RecordBatch) -> Result<Buffer> {
    let (header, buffers) = encode(batch);
    let header = bincode::encode_to_vec(header, bincode::config::standard())
        .map_err(|error| Error::internal(format!("the header of a batch: {error}")))?;
    let parts = buffers.iter().map(|buffer| buffer.len().next_multiple_of(ALIGNED)).sum::<usize>();
    let mut bytes = MutableBuffer::with_capacity(size_of::<u64>() + header.len() + ALIGNED + parts);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    for buffer in &buffers {
        bytes.resize(bytes.len().next_multiple_of(ALIGNED), 0);
        bytes.extend_from_slice(buffer);
    }
    Ok(bytes.into())
}

/// Puts a batch together from what [`to_bytes`] made of it; its buffers are slices of these bytes, unless they are not aligned.
///
/// # Errors
/// As [`decode`].
pub fn from_bytes(schema: &SchemaRef, bytes: &Buffer) -> Result<RecordBatch> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("it has no header"))?;
    let length = usize_of(u64::from_le_bytes(*length))?;
    let header = rest.get(..length).ok_or_else(|| corrupt("its header is cut short"))?;
    let limited = bincode::config::standard().with_limit::<MOST_HEADER_BYTES>();
    let (header, _): (BatchHeader, _) =
        bincode::decode_from_slice(header, limited).map_err(|error| corrupt(&format!("its header: {error}")))?;
    let mut end = size_of::<u64>() + length;
    let mut buffers = Vec::with_capacity(header.lengths.len());
    for &length in &header.lengths {
        let first = end.next_multiple_of(ALIGNED);
        end = first
            .checked_add(usize_of(length)?)
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| corrupt("its buffers are cut short"))?;
        buffers.push(bytes.slice_with_length(first, end - first));
    }
    decode(schema, header, buffers)
}

fn corrupt(story: &str) -> Error {
    Error::corrupt(format!("a batch that arrived from another rank or from disk is damaged: {story}"))
}

fn usize_of(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| corrupt("a length does not fit into memory"))
}

/// Tells physical layouts apart: what is the same number can be built from the same buffers.
fn shape(data_type: &DataType) -> u8 {
    if let Some(width) = data_type.primitive_width() {
        return width as u8;
    }
    match data_type {
        DataType::Null => 100,
        DataType::Boolean => 101,
        DataType::Binary => 102,
        DataType::LargeBinary => 103,
        DataType::BinaryView => 104,
        DataType::FixedSizeBinary(_) => 105,
        DataType::Utf8 => 106,
        DataType::LargeUtf8 => 107,
        DataType::Utf8View => 108,
        DataType::List(_) => 109,
        DataType::LargeList(_) => 110,
        DataType::ListView(_) => 111,
        DataType::LargeListView(_) => 112,
        DataType::FixedSizeList(_, _) => 113,
        DataType::Struct(_) => 114,
        DataType::Map(_, _) => 115,
        DataType::Union(_, UnionMode::Sparse) => 116,
        DataType::Union(_, UnionMode::Dense) => 117,
        DataType::RunEndEncoded(_, _) => 118,
        DataType::Dictionary(key, _) => 120 + key.primitive_width().unwrap_or_default() as u8,
        _ => u8::MAX,
    }
}

#[derive(Default)]
struct Encoder {
    nodes: Vec<Node>,
    buffers: Vec<Buffer>,
}

impl Encoder {
    /// Puts the rows `start..start + len` of an array (that itself may begin at an offset of its buffers).
    fn put(&mut self, data: &ArrayData, start: usize, len: usize) {
        let at = data.offset() + start;
        match data.data_type() {
            DataType::Null => self.node(data, start, len),
            DataType::Boolean => {
                self.node(data, start, len);
                self.buffers.push(data.buffers()[0].bit_slice(at, len));
            }
            DataType::Binary | DataType::Utf8 => self.put_bytes::<i32>(data, start, len),
            DataType::LargeBinary | DataType::LargeUtf8 => self.put_bytes::<i64>(data, start, len),
            DataType::BinaryView | DataType::Utf8View => self.put_views(data, start, len),
            DataType::FixedSizeBinary(width) => {
                self.node(data, start, len);
                self.put_values(&data.buffers()[0], *width as usize, at, len);
            }
            DataType::List(_) | DataType::Map(_, _) => self.put_list::<i32>(data, start, len),
            DataType::LargeList(_) => self.put_list::<i64>(data, start, len),
            DataType::ListView(_) => self.put_list_view::<i32>(data, start, len),
            DataType::LargeListView(_) => self.put_list_view::<i64>(data, start, len),
            DataType::FixedSizeList(_, size) => {
                self.node(data, start, len);
                self.put(&data.child_data()[0], at * *size as usize, len * *size as usize);
            }
            DataType::Struct(_) => {
                self.node(data, start, len);
                data.child_data().iter().for_each(|child| self.put(child, at, len));
            }
            DataType::Union(_, UnionMode::Sparse) => {
                self.node(data, start, len);
                self.put_values(&data.buffers()[0], 1, at, len);
                data.child_data().iter().for_each(|child| self.put(child, at, len));
            }
            DataType::Union(_, UnionMode::Dense) => self.put_dense_union(data, start, len),
            DataType::Dictionary(_, _) => self.put_dictionary(data, start, len),
            DataType::RunEndEncoded(run_ends, _) => match run_ends.data_type() {
                DataType::Int16 => self.put_runs::<i16>(data, start, len),
                DataType::Int32 => self.put_runs::<i32>(data, start, len),
                _ => self.put_runs::<i64>(data, start, len),
            },
            fixed => {
                self.node(data, start, len);
                self.put_values(&data.buffers()[0], fixed.primitive_width().unwrap_or_default(), at, len);
            }
        }
    }

    fn node(&mut self, data: &ArrayData, start: usize, len: usize) {
        let nulls = data.nulls().map(|nulls| nulls.slice(start, len)).filter(|nulls| nulls.null_count() > 0);
        self.nodes.push(Node {
            shape: shape(data.data_type()),
            len: len as u64,
            nullable: nulls.is_some(),
            variadic: 0,
        });
        if let Some(nulls) = nulls {
            self.buffers.push(nulls.buffer().bit_slice(nulls.offset(), len));
        }
    }

    fn put_values(&mut self, values: &Buffer, width: usize, at: usize, len: usize) {
        self.buffers.push(values.slice_with_length(at * width, len * width));
    }

    /// Puts offsets that begin at 0, and returns the range they covered.
    fn put_offsets<O: Index>(&mut self, data: &ArrayData, at: usize, len: usize) -> (usize, usize) {
        if len == 0 {
            // An empty array may have no offsets at all.
            self.buffers.push(Buffer::from_vec(vec![O::default()]));
            return (0, 0);
        }
        let offsets = ScalarBuffer::<O>::new(data.buffers()[0].clone(), at, len + 1);
        let (first, last) = (offsets[0], offsets[len]);
        self.buffers.push(match first.as_usize() {
            0 => offsets.into_inner(),
            _ => offsets.iter().map(|&offset| offset - first).collect::<Vec<O>>().into(),
        });
        (first.as_usize(), last.as_usize())
    }

    fn put_bytes<O: Index>(&mut self, data: &ArrayData, start: usize, len: usize) {
        self.node(data, start, len);
        let (first, last) = self.put_offsets::<O>(data, data.offset() + start, len);
        self.put_values(&data.buffers()[1], 1, first, last - first);
    }

    fn put_list<O: Index>(&mut self, data: &ArrayData, start: usize, len: usize) {
        self.node(data, start, len);
        let (first, last) = self.put_offsets::<O>(data, data.offset() + start, len);
        self.put(&data.child_data()[0], first, last - first);
    }

    /// Views, and of their data buffers what lies before the last byte in use. A buffer that no view refers to becomes
    /// empty, so that the views' buffer numbers stay. If most of what is left is unused, the array is made compact.
    fn put_views(&mut self, data: &ArrayData, start: usize, len: usize) {
        const WORTH_IT: usize = 4 << 10;
        let (views, buffers) = (&data.buffers()[0], &data.buffers()[1..]);
        let mut ends = vec![0; buffers.len()];
        let mut used = 0;
        // Views of NULLs count too: kernels may look at them.
        for &view in ScalarBuffer::<u128>::new(views.clone(), data.offset() + start, len).iter() {
            let (length, buffer, offset) =
                (view as u32 as usize, (view >> 64) as u32 as usize, (view >> 96) as u32 as usize);
            if length > 12
                && let Some(end) = ends.get_mut(buffer)
            {
                used += length;
                *end = usize::max(*end, offset + length);
            }
        }
        let kept: usize = ends.iter().sum();
        if kept > WORTH_IT && used < kept / 2 || buffers.len() > WORTH_IT {
            let sliced = make_array(data.slice(start, len));
            let compact = match data.data_type() {
                DataType::Utf8View => sliced.as_string_view().gc().to_data(),
                _ => sliced.as_binary_view().gc().to_data(),
            };
            return self.put_all_views(&compact);
        }
        self.node(data, start, len);
        self.put_values(views, 16, data.offset() + start, len);
        self.buffers.extend(buffers.iter().zip(&ends).map(|(buffer, &end)| buffer.slice_with_length(0, end)));
        self.variadic(buffers.len());
    }

    fn put_all_views(&mut self, data: &ArrayData) {
        self.node(data, 0, data.len());
        self.put_values(&data.buffers()[0], 16, data.offset(), data.len());
        self.buffers.extend_from_slice(&data.buffers()[1..]);
        self.variadic(data.buffers().len() - 1);
    }

    fn variadic(&mut self, buffers: usize) {
        if let Some(node) = self.nodes.last_mut() {
            node.variadic = buffers as u32;
        }
    }

    /// Offsets, sizes, and the stretch of values that they reach; moved to begin at 0 unless all values are sent.
    fn put_list_view<O: Index>(&mut self, data: &ArrayData, start: usize, len: usize) {
        self.node(data, start, len);
        let (at, child) = (data.offset() + start, &data.child_data()[0]);
        let offsets = ScalarBuffer::<O>::new(data.buffers()[0].clone(), at, len);
        let sizes = ScalarBuffer::<O>::new(data.buffers()[1].clone(), at, len);
        let used = || offsets.iter().zip(sizes.iter()).filter(|(_, size)| size.as_usize() > 0);
        let first = used().map(|(offset, _)| *offset).min().unwrap_or_default();
        let last = used().map(|(offset, size)| offset.as_usize() + size.as_usize()).max().unwrap_or_default();
        if first.as_usize() == 0 && last == child.len() {
            self.buffers.push(offsets.into_inner());
        } else {
            let moved = |(offset, size): (&O, &O)| if size.as_usize() > 0 { *offset - first } else { O::default() };
            self.buffers.push(offsets.iter().zip(sizes.iter()).map(moved).collect::<Vec<O>>().into());
        }
        self.buffers.push(sizes.into_inner());
        self.put(child, first.as_usize(), last - first.as_usize());
    }

    /// Type ids, offsets, and of each child the stretch that they reach.
    fn put_dense_union(&mut self, data: &ArrayData, start: usize, len: usize) {
        let DataType::Union(fields, _) = data.data_type() else { return };
        self.node(data, start, len);
        let at = data.offset() + start;
        let ids = ScalarBuffer::<i8>::new(data.buffers()[0].clone(), at, len);
        let offsets = ScalarBuffer::<i32>::new(data.buffers()[1].clone(), at, len);
        let mut reach = [(i32::MAX, 0); 128];
        for (&id, &offset) in ids.iter().zip(offsets.iter()) {
            let (first, end) = &mut reach[usize::from(id as u8 & 127)];
            (*first, *end) = ((*first).min(offset), (*end).max(offset + 1));
        }
        self.buffers.push(ids.clone().into_inner());
        if reach.iter().all(|&(first, end)| first == 0 || end == 0) {
            self.buffers.push(offsets.into_inner());
        } else {
            let moved =
                ids.iter().zip(offsets.iter()).map(|(&id, &offset)| offset - reach[usize::from(id as u8 & 127)].0);
            self.buffers.push(moved.collect::<Vec<i32>>().into());
        }
        for ((id, _), child) in fields.iter().zip(data.child_data()) {
            let (first, end) = reach[usize::from(id as u8 & 127)];
            let first = first.min(end);
            self.put(child, first as usize, (end - first) as usize);
        }
    }

    /// Keys, and the values: all of them, unless the rows can only use a small part.
    fn put_dictionary(&mut self, data: &ArrayData, start: usize, len: usize) {
        let values = &data.child_data()[0];
        if values.len() > 2 * len
            && let Some(compact) = compact_dictionary(&make_array(data.slice(start, len)))
        {
            let data = compact.to_data();
            return self.put_keys_and_values(&data, 0, len);
        }
        self.put_keys_and_values(data, start, len);
    }

    fn put_keys_and_values(&mut self, data: &ArrayData, start: usize, len: usize) {
        let DataType::Dictionary(key, _) = data.data_type() else { return };
        self.node(data, start, len);
        self.put_values(&data.buffers()[0], key.primitive_width().unwrap_or_default(), data.offset() + start, len);
        let values = &data.child_data()[0];
        self.put(values, 0, values.len());
    }

    /// The runs that the rows touch, counted from the first row.
    fn put_runs<R: Index>(&mut self, data: &ArrayData, start: usize, len: usize) {
        self.node(data, start, len);
        let (from, to) = (data.offset() + start, data.offset() + start + len);
        let (ends, values) = (&data.child_data()[0], &data.child_data()[1]);
        let run_ends = ScalarBuffer::<R>::new(ends.buffers()[0].clone(), ends.offset(), ends.len());
        let first = run_ends.partition_point(|end| end.as_usize() <= from);
        let last = run_ends.partition_point(|end| end.as_usize() < to);
        let runs = if len == 0 { 0 } else { last + 1 - first };
        let sent = run_ends.slice(if runs == 0 { 0 } else { first }, runs);
        self.nodes.push(Node { shape: shape(ends.data_type()), len: runs as u64, nullable: false, variadic: 0 });
        self.buffers.push(if from == 0 && sent.last().is_none_or(|end| end.as_usize() == to) {
            sent.into_inner()
        } else {
            sent.iter().map(|end| R::usize_as(end.as_usize().min(to) - from)).collect::<Vec<R>>().into()
        });
        self.put(values, if runs == 0 { 0 } else { first }, runs);
    }
}

/// Offsets, sizes and run ends.
trait Index: ArrowNativeType + Ord + std::ops::Sub<Output = Self> {}

impl Index for i16 {}

impl Index for i32 {}

impl Index for i64 {}

/// A dictionary of only the values that are used; `None` if it cannot be made (then the whole one is sent).
fn compact_dictionary(array: &ArrayRef) -> Option<ArrayRef> {
    fn compact<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>) -> Option<ArrayRef> {
        let mut used: Vec<u64> = array.keys().iter().flatten().map(|key| key.as_usize() as u64).collect();
        used.sort_unstable();
        used.dedup();
        let rank = |key: K::Native| {
            let place = used.binary_search(&(key.as_usize() as u64)).unwrap_or_default();
            K::Native::usize_as(place)
        };
        let keys: PrimitiveArray<K> = array.keys().iter().map(|key| key.map(rank)).collect();
        let values = take(array.values(), &UInt64Array::from(used), None).ok()?;
        Some(Arc::new(DictionaryArray::try_new(keys, values).ok()?))
    }
    downcast_dictionary_array!(
        array => compact(array),
        _ => None
    )
}

struct Decoder {
    nodes: std::vec::IntoIter<Node>,
    buffers: std::vec::IntoIter<Buffer>,
}

impl Decoder {
    fn take(&mut self, data_type: &DataType) -> Result<ArrayData> {
        let node = self.nodes.next().ok_or_else(|| corrupt("it ends before its last column"))?;
        if node.shape != shape(data_type) {
            return Err(corrupt(&format!("{data_type} was expected, layout {} came", node.shape)));
        }
        let len = usize_of(node.len)?;
        if let DataType::FixedSizeList(_, size) = data_type
            && len.checked_mul(*size as usize).is_none()
        {
            return Err(corrupt("a length does not fit into memory"));
        }
        let nulls = if node.nullable { Some(self.nulls(len)?) } else { None };
        let mut buffers = Vec::new();
        for _ in 0..layout(data_type).buffers.len() + node.variadic as usize {
            buffers.push(self.buffer()?);
        }
        let children = self.children(data_type)?;
        let builder =
            ArrayDataBuilder::new(data_type.clone()).len(len).nulls(nulls).buffers(buffers).child_data(children);
        // SAFETY: nothing is built on this data before `decode` has called `ArrayData::validate`, which goes through
        // all children too: the number, length and alignment of buffers, the ends of offsets, and the lengths of
        // children are checked there. What is not checked is the inside of buffers (UTF-8, order of offsets, keys
        // within dictionaries, views): `encode`, in the same program, cut them from a valid array, and they have the
        // lengths they had there.
        let data = unsafe { builder.align_buffers(true).skip_validation(true) }.build();
        data.map_err(|error| corrupt(&error.to_string()))
    }

    fn children(&mut self, data_type: &DataType) -> Result<Vec<ArrayData>> {
        match data_type {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => Ok(vec![self.take(field.data_type())?]),
            DataType::Struct(fields) => fields.iter().map(|field| self.take(field.data_type())).collect(),
            DataType::Union(fields, _) => fields.iter().map(|(_, field)| self.take(field.data_type())).collect(),
            DataType::Dictionary(_, values) => Ok(vec![self.take(values)?]),
            DataType::RunEndEncoded(ends, values) => {
                let ends = self.take(ends.data_type())?;
                Ok(vec![ends, self.take(values.data_type())?])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn nulls(&mut self, len: usize) -> Result<NullBuffer> {
        let bits = self.buffer()?;
        if bits.len() < len.div_ceil(8) {
            return Err(corrupt("a validity bitmap is too short"));
        }
        Ok(NullBuffer::new(BooleanBuffer::new(bits, 0, len)))
    }

    fn buffer(&mut self) -> Result<Buffer> {
        self.buffers.next().ok_or_else(|| corrupt("buffers are missing"))
    }
}

#[cfg(test)]
mod tests;
