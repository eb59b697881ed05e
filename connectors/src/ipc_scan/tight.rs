//! Arrays that account for their own rows only.
//!
//! A slice of an array holds the buffers of all of its rows, and buffers in a mapped file count as the whole batch
//! they lie in. What keeps a chunk, and asks how many bytes that are, would hear of a thousand times too many. So the
//! buffers of a slice are cut to its rows; the bytes stay where they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, GenericByteArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type,
};
use bireme_engine::Result;
use bytes::Bytes;

/// The same values. Nested arrays and views stay as they are.
pub(super) fn tight(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8 => text::<Utf8Type>(array),
        DataType::LargeUtf8 => text::<LargeUtf8Type>(array),
        DataType::Binary => text::<BinaryType>(array),
        DataType::LargeBinary => text::<LargeBinaryType>(array),
        logical => match logical.primitive_width() {
            Some(width) => fixed(array, width),
            None => Ok(Arc::clone(array)),
        },
    }
}

fn fixed(array: &ArrayRef, width: usize) -> Result<ArrayRef> {
    let data = array.to_data();
    let values = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
    let cut = ArrayData::builder(array.data_type().clone())
        .len(data.len())
        .add_buffer(owned(values))
        .nulls(nulls(array))
        .build()?;
    Ok(make_array(cut))
}

fn text<T: ByteArrayType>(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array.as_bytes::<T>();
    let (first, last) = (array.offsets()[0].as_usize(), array.offsets()[array.len()].as_usize());
    let values = array.values().slice_with_length(first, last - first);
    let offsets = OffsetBuffer::from_lengths(array.offsets().lengths());
    Ok(Arc::new(GenericByteArray::<T>::try_new(offsets, owned(values), nulls(array))?))
}

fn nulls(array: &dyn Array) -> Option<NullBuffer> {
    let nulls = array.nulls()?;
    let bits = nulls.inner().sliced();
    let bytes = array.len().div_ceil(8);
    Some(NullBuffer::new(BooleanBuffer::new(owned(bits.slice_with_length(0, bytes)), 0, array.len())))
}

/// The same bytes as a buffer that knows nothing of those around it.
fn owned(buffer: Buffer) -> Buffer {
    Buffer::from(Bytes::from_owner(Cut(buffer)))
}

struct Cut(Buffer);

impl AsRef<[u8]> for Cut {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
