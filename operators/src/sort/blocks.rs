//! The rows of a sort, kept column by column in blocks, and their collection in sorted order.
//!
//! Chunks are copied into blocks of up to [`BLOCK_ROWS`] rows in one *stored* form a column (the plainest carried form),
//! so that nothing keeps the pages alive that the chunks came from. A row's id is its block and its place there:
//!
//! ```text
//!   id = block << 16 | row         blocks[id >> 16].column[id & 0xffff]: two loads, no search
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, GenericByteViewArray, PrimitiveArray, make_array, new_empty_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{
    ArrowNativeType, BinaryViewType, ByteViewType, DataType, Decimal128Type, StringViewType, UInt64Type,
};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::to_logical;

/// Rows of a block, at most: their places fit 16 bits.
pub(super) const BLOCK_ROWS: usize = 1 << ROW_BITS;

/// Bits of a row's place in its block.
pub(super) const ROW_BITS: u32 = 16;

/// A view of more bytes than this points into a buffer.
const INLINE: u32 = 12;

/// Some rows in stored form.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
}

/// Columns of a chunk in stored form: every column always of the same type.
pub(super) fn to_stored(columns: &[ArrayRef], types: &[DataType]) -> Result<Vec<ArrayRef>> {
    if columns.len() != types.len() {
        return Err(Error::internal(format!("sorting {} columns: a chunk has {}", types.len(), columns.len())));
    }
    let stored = |(column, stored): (&ArrayRef, &DataType)| {
        let column = to_logical(column, stored)?;
        if stored.is_nested() { compact(column) } else { Ok(column) }
    };
    columns.iter().zip(types).map(stored).collect()
}

impl Block {
    /// One block of all these rows, which shares no memory with pages.
    pub fn of(pieces: &[Vec<ArrayRef>], types: &[DataType], rows: usize) -> Result<Self> {
        let columns = types.iter().enumerate().map(|(place, stored)| {
            let arrays = pieces.iter().map(|piece| piece[place].as_ref()).collect::<Vec<_>>();
            if arrays.is_empty() {
                return Ok(new_empty_array(stored));
            }
            compact(concat(&arrays)?)
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, rows })
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(stored_bytes).sum()
    }
}

/// Texts and nested values in buffers of their own.
pub(super) fn compact(array: ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View if !array.as_string_view().data_buffers().is_empty() => {
            Arc::new(array.as_string_view().gc())
        }
        DataType::BinaryView if !array.as_binary_view().data_buffers().is_empty() => {
            Arc::new(array.as_binary_view().gc())
        }
        // A slice of these keeps all their children, and says that they are its own.
        nested if nested.is_nested() => {
            take(&array, &(0..array.len() as u64).collect::<PrimitiveArray<UInt64Type>>(), None)?
        }
        _ => array,
    })
}

/// Bytes that the rows of a stored array need, once they are compact.
pub(super) fn stored_bytes(array: &ArrayRef) -> usize {
    let nulls = array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8));
    match array.data_type() {
        DataType::Utf8View => 16 * array.len() + array.as_string_view().total_buffer_bytes_used() + nulls,
        DataType::BinaryView => 16 * array.len() + array.as_binary_view().total_buffer_bytes_used() + nulls,
        stored => match stored.primitive_width() {
            Some(width) => width * array.len() + nulls,
            None => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
        },
    }
}

/// One column of all blocks, ready to be collected by id.
#[derive(Debug)]
pub(super) struct Column {
    stored: DataType,
    blocks: Values,
    nulls: Option<Vec<Option<NullBuffer>>>,
}

/// Values by their physical form: types of one width are alike.
#[derive(Debug)]
enum Values {
    One(Vec<ScalarBuffer<u8>>),
    Two(Vec<ScalarBuffer<u16>>),
    Four(Vec<ScalarBuffer<u32>>),
    Eight(Vec<ScalarBuffer<u64>>),
    Sixteen(Vec<ScalarBuffer<i128>>),
    Views(Views),
    Other(Vec<ArrayRef>),
}

/// Views of all blocks, into one list of buffers.
#[derive(Debug)]
struct Views {
    blocks: Vec<ScalarBuffer<u128>>,
    /// Of each block: where its buffers start in the list.
    first_buffer: Vec<u32>,
    buffers: Arc<[Buffer]>,
}

impl Column {
    /// Column `place` of these blocks.
    pub fn new(blocks: &[Block], place: usize, stored: &DataType) -> Result<Self> {
        let arrays = blocks.iter().map(|block| &block.columns[place]).collect::<Vec<_>>();
        let values = match stored {
            DataType::Utf8View => {
                Values::Views(Views::new(arrays.iter().map(|array| array.as_string_view().clone().to_binary_view()))?)
            }
            DataType::BinaryView => {
                Values::Views(Views::new(arrays.iter().map(|array| array.as_binary_view().clone()))?)
            }
            stored => match stored.primitive_width() {
                Some(1) => Values::One(natives(&arrays)),
                Some(2) => Values::Two(natives(&arrays)),
                Some(4) => Values::Four(natives(&arrays)),
                Some(8) => Values::Eight(natives(&arrays)),
                Some(16) if matches!(stored, DataType::Decimal128(..)) => Values::Sixteen(natives(&arrays)),
                _ => Values::Other(arrays.iter().map(|array| Arc::clone(array)).collect()),
            },
        };
        let any_null = arrays.iter().any(|array| array.null_count() > 0);
        let nulls = any_null.then(|| arrays.iter().map(|array| array.nulls().cloned()).collect());
        Ok(Self { stored: stored.clone(), blocks: values, nulls })
    }

    /// The rows of these ids, in this order.
    pub fn collect(&self, ids: &[u64]) -> Result<ArrayRef> {
        let nulls = || self.collect_nulls(ids);
        Ok(match &self.blocks {
            Values::One(blocks) => self.primitive(pick(blocks, ids).into_inner(), ids),
            Values::Two(blocks) => self.primitive(pick(blocks, ids).into_inner(), ids),
            Values::Four(blocks) => self.primitive(pick(blocks, ids).into_inner(), ids),
            Values::Eight(blocks) => self.primitive(pick(blocks, ids).into_inner(), ids),
            Values::Sixteen(blocks) => {
                let values = PrimitiveArray::<Decimal128Type>::new(pick(blocks, ids), nulls());
                Arc::new(values.with_data_type(self.stored.clone()))
            }
            Values::Views(views) if self.stored == DataType::Utf8View => views.collect::<StringViewType>(ids, nulls()),
            Values::Views(views) => views.collect::<BinaryViewType>(ids, nulls()),
            Values::Other(arrays) => {
                let arrays = arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>();
                let places = ids.iter().map(|&id| split(id)).collect::<Vec<_>>();
                interleave(&arrays, &places)?
            }
        })
    }

    /// An array of the column's type over these bytes.
    fn primitive(&self, values: Buffer, ids: &[u64]) -> ArrayRef {
        let data = arrow::array::ArrayDataBuilder::new(self.stored.clone())
            .len(ids.len())
            .nulls(self.collect_nulls(ids))
            .add_buffer(values);
        // SAFETY: the type is a primitive one of the width that the values were picked by, there are as many values and
        // validity bits as ids, and the buffer was allocated as a vector of that width, so it is aligned.
        make_array(unsafe { data.build_unchecked() })
    }

    fn collect_nulls(&self, ids: &[u64]) -> Option<NullBuffer> {
        let blocks = self.nulls.as_ref()?;
        let valid = BooleanBuffer::collect_bool(ids.len(), |place| {
            let (block, row) = split(ids[place]);
            blocks[block].as_ref().is_none_or(|nulls| nulls.is_valid(row))
        });
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }
}

impl Views {
    fn new(arrays: impl Iterator<Item = BinaryViewArray>) -> Result<Self> {
        let (mut blocks, mut first_buffer, mut buffers) = (Vec::new(), Vec::new(), Vec::new());
        for array in arrays {
            let first = u32::try_from(buffers.len()).map_err(|_| Error::internal("sorting more than 2^32 buffers"))?;
            first_buffer.push(first);
            buffers.extend_from_slice(array.data_buffers());
            blocks.push(array.views().clone());
        }
        Ok(Self { blocks, first_buffer, buffers: buffers.into() })
    }

    fn collect<T: ByteViewType + ?Sized>(&self, ids: &[u64], nulls: Option<NullBuffer>) -> ArrayRef {
        let views = ids.iter().map(|&id| {
            let (block, row) = split(id);
            let view = self.blocks[block][row];
            // The index of the buffer stands in bits 64..96, and no sum of it overflows: all buffers were counted.
            if view as u32 > INLINE { view + (u128::from(self.first_buffer[block]) << 64) } else { view }
        });
        let views = views.collect::<ScalarBuffer<u128>>();
        // SAFETY: every view was valid for the buffers of its block, which start in the common list at `first_buffer`;
        // texts are UTF-8 since they were so in the block.
        Arc::new(unsafe { GenericByteViewArray::<T>::new_unchecked(views, Arc::clone(&self.buffers), nulls) })
    }
}

fn natives<T: ArrowNativeType>(arrays: &[&ArrayRef]) -> Vec<ScalarBuffer<T>> {
    arrays.iter().map(|array| super::ordered::natives(array)).collect()
}

fn pick<T: ArrowNativeType>(blocks: &[ScalarBuffer<T>], ids: &[u64]) -> ScalarBuffer<T> {
    let blocks = blocks.iter().map(|block| &block[..]).collect::<Vec<_>>();
    let picked = ids.iter().map(|&id| {
        let (block, row) = split(id);
        blocks[block][row]
    });
    ScalarBuffer::from(picked.collect::<Vec<T>>())
}

/// The block of a row and its place there.
#[inline(always)]
pub(super) fn split(id: u64) -> (usize, usize) {
    ((id >> ROW_BITS) as usize, (id & (BLOCK_ROWS as u64 - 1)) as usize)
}
