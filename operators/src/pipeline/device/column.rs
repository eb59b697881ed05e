//! Columns on their way to a device and back.
//!
//! ```text
//!   chunks        i64 i64 …      ──► one run of values                   bits of NULLs ──► words, from bit 0
//!                 views …        ──► place and length in a heap of bytes  (the host keeps the heap as well:
//!                 codes, values  ──►  likewise, each dictionary once       texts that come back are views of it)
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanBufferBuilder, DictionaryArray, StringViewArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, UInt32Type};
use bireme_engine::device::Buffer as Memory;
use bireme_engine::error::{Error, Result};

use super::code::{Form, Range, Stored};

/// Longer texts live behind their view.
const INLINE: usize = 12;

/// A column in the host's memory, as a device wants it.
#[derive(Debug)]
pub(super) struct HostColumn {
    pub values: Buffer,
    pub valid: Option<Buffer>,
    pub heap: Option<Buffer>,
}

/// What arrays of one column are together; nothing is known of those of a type without kernels.
pub(super) fn shape(arrays: &[&ArrayRef], wants_range: bool) -> Stored {
    let nullable = arrays.iter().any(|array| array.logical_null_count() > 0);
    let forms = arrays.iter().map(|array| Form::of_carried(array.data_type()));
    // Decimals may be carried in 64 bits in one chunk and in 128 in another.
    let form = forms.reduce(|all, one| match (all?, one?) {
        (a, b) if a == b => Some(a),
        (Form::Wide, Form::Int(64, true)) | (Form::Int(64, true), Form::Wide) => Some(Form::Wide),
        _ => None,
    });
    let form = form.flatten();
    let range = if wants_range { range(arrays, form) } else { None };
    Stored { form, nullable, range }
}

/// What integers lie between, those behind NULLs as well: they are computed on, too.
fn range(arrays: &[&ArrayRef], form: Option<Form>) -> Option<Range> {
    let of = |array: &&ArrayRef| -> Option<Range> {
        fn ends<T: Copy + Ord + Into<i128>>(values: &[T]) -> Option<Range> {
            let (first, rest) = values.split_first()?;
            let ends = rest.iter().fold((*first, *first), |(low, high), &value| (low.min(value), high.max(value)));
            Some((ends.0.into(), ends.1.into()))
        }
        match array.data_type() {
            DataType::Int64 => ends(array.as_primitive::<Int64Type>().values()),
            DataType::Int32 => ends(array.as_primitive::<Int32Type>().values()),
            DataType::Decimal128(..) => ends(array.as_primitive::<Decimal128Type>().values()),
            _ => None,
        }
    };
    if !form?.is_integral() {
        return None;
    }
    let ranges = arrays.iter().filter(|array| !array.is_empty()).map(of).collect::<Option<Vec<_>>>()?;
    // Where there is no build side's row, there is 0.
    Some(ranges.into_iter().fold((0, 0), |(low, high), (least, most)| (low.min(least), high.max(most))))
}

impl HostColumn {
    /// Puts the arrays of a column behind each other.
    ///
    /// # Errors
    /// Its texts have 4 GiB or more.
    pub fn of(arrays: &[&ArrayRef], stored: Stored) -> Result<Self> {
        let rows = arrays.iter().map(|array| array.len()).sum::<usize>();
        let valid =
            stored.nullable.then(|| bits(arrays, rows, |array| array.logical_nulls().map(NullBuffer::into_inner)));
        let (values, heap) = match stored.form {
            Some(Form::Text) => texts(arrays, rows).map(|(references, heap)| (references, Some(heap)))?,
            Some(Form::Bool) => (bits(arrays, rows, |array| Some(array.as_boolean().values().clone())), None),
            Some(Form::Wide) => (wide(arrays, rows), None),
            Some(form) => (plain(arrays, rows * form.bytes())?, None),
            None => return Err(Error::internal("a column of no form on its way to a device")),
        };
        Ok(Self { values, valid, heap })
    }
}

/// Fixed-width values; without a copy if they are one array.
fn plain(arrays: &[&ArrayRef], bytes: usize) -> Result<Buffer> {
    let slice = |array: &ArrayRef| {
        let data = array.to_data();
        let width = array.data_type().primitive_width().unwrap_or(0);
        let values =
            data.buffers().first().map(|values| values.slice_with_length(data.offset() * width, data.len() * width));
        values.ok_or_else(|| Error::internal(format!("{} has no values", array.data_type())))
    };
    if let [only] = arrays {
        return slice(only);
    }
    let mut all = Vec::with_capacity(bytes);
    for array in arrays {
        all.extend_from_slice(slice(array)?.as_slice());
    }
    Ok(Buffer::from_vec(all))
}

fn wide(arrays: &[&ArrayRef], rows: usize) -> Buffer {
    let mut all = Vec::<i128>::with_capacity(rows);
    for array in arrays {
        match array.as_primitive_opt::<Decimal128Type>() {
            Some(array) => all.extend_from_slice(array.values()),
            None => all.extend(array.as_primitive::<Int64Type>().values().iter().map(|&value| i128::from(value))),
        }
    }
    Buffer::from_vec(all)
}

/// Bits in whole words; those that an array does not have are set.
fn bits(arrays: &[&ArrayRef], rows: usize, of: impl Fn(&ArrayRef) -> Option<BooleanBuffer>) -> Buffer {
    let mut all = BooleanBufferBuilder::new(rows.next_multiple_of(32));
    for array in arrays {
        match of(array) {
            Some(bits) => all.append_buffer(&bits),
            None => all.append_n(array.len(), true),
        }
    }
    all.append_n(rows.next_multiple_of(32) - rows, false);
    all.finish().into_inner()
}

/// References to a heap, and the heap.
fn texts(arrays: &[&ArrayRef], rows: usize) -> Result<(Buffer, Buffer)> {
    let (mut references, mut heap) = (Vec::<u64>::with_capacity(rows), Vec::<u8>::new());
    let mut known: Vec<(ArrayRef, Vec<u64>)> = Vec::new();
    for array in arrays {
        if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() {
            let values = dictionary.values();
            let place = match known.iter().position(|(of, _)| Arc::ptr_eq(of, values)) {
                Some(place) => place,
                None => {
                    let mut of_values = Vec::with_capacity(values.len());
                    append(values, &mut of_values, &mut heap)?;
                    known.push((Arc::clone(values), of_values));
                    known.len() - 1
                }
            };
            let of_values = &known[place].1;
            let codes = dictionary.keys().values().iter().enumerate();
            // Behind a NULL there may be any code.
            references.extend(codes.map(|(row, &code)| {
                if dictionary.is_null(row) { 0 } else { of_values.get(code as usize).copied().unwrap_or(0) }
            }));
        } else {
            append(array, &mut references, &mut heap)?;
        }
    }
    Ok((Buffer::from_vec(references), Buffer::from_vec(heap)))
}

fn append(array: &ArrayRef, references: &mut Vec<u64>, heap: &mut Vec<u8>) -> Result<()> {
    let mut one = |bytes: Option<&[u8]>| {
        let bytes = bytes.unwrap_or_default();
        references.push(heap.len() as u64 | (bytes.len() as u64) << 32);
        heap.extend_from_slice(bytes);
    };
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().iter().for_each(|text| one(text.map(str::as_bytes))),
        DataType::BinaryView => array.as_binary_view().iter().for_each(&mut one),
        other => return Err(Error::internal(format!("a text is carried as {other}"))),
    }
    if heap.len() > u32::MAX as usize {
        return Err(Error::resources("texts of 4 GiB in one batch of a device"));
    }
    Ok(())
}

/// Where bytes lie that texts of a device may be parts of: the device's address, and the same bytes on the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Heaps(Vec<(u64, Buffer)>);

impl Heaps {
    pub fn add(&mut self, memory: &Memory, host: &Buffer) {
        self.0.push((memory.address(), host.clone()));
    }

    /// Texts by their addresses and lengths.
    ///
    /// # Errors
    /// An address is in none of them: a bug of ours.
    pub fn texts(
        &self,
        texts: impl ExactSizeIterator<Item = (u64, u64)>,
        carried: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let mut views = Vec::<u128>::with_capacity(texts.len());
        for (row, (address, length)) in texts.enumerate() {
            // Only the lower half is the length: what is beside it was never written.
            let length = length as u32 as usize;
            if length == 0 || nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                views.push(0);
                continue;
            }
            let within = |(base, bytes): &(u64, Buffer)| {
                let start = address.checked_sub(*base)? as usize;
                (start.checked_add(length)? <= bytes.len()).then_some(start)
            };
            let found = self.0.iter().enumerate().find_map(|(heap, of)| Some((heap, within(of)?)));
            let (heap, start) = found.ok_or_else(|| Error::internal("a text of a device is nowhere"))?;
            let bytes = &self.0[heap].1.as_slice()[start..start + length];
            views.push(view(bytes, heap as u32, start as u32));
        }
        let buffers = self.0.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
        let buffers = [vec![Buffer::from_vec(views.clone())], buffers].concat();
        let data = ArrayData::builder(carried.clone()).len(views.len()).nulls(nulls).buffers(buffers);
        // SAFETY: each view is a short text itself or shows bytes of one of the heaps, which was checked above; they are parts of texts, cut
        // between characters by the kernels as by the host.
        let array = make_array(unsafe { data.build_unchecked() });
        // Heaps outlive their batch only as far as texts need them.
        Ok(match array.as_string_view_opt() {
            Some(texts) => Arc::new(StringViewArray::gc(texts)),
            None => Arc::new(array.as_binary_view().gc()),
        })
    }
}

fn view(bytes: &[u8], buffer: u32, start: u32) -> u128 {
    let length = bytes.len() as u128;
    let mut inline = [0; 16];
    if bytes.len() <= INLINE {
        inline[4..4 + bytes.len()].copy_from_slice(bytes);
        return u128::from_le_bytes(inline) | length;
    }
    inline[4..8].copy_from_slice(&bytes[..4]);
    u128::from_le_bytes(inline) | length | u128::from(buffer) << 64 | u128::from(start) << 96
}

/// An array of a carried type of fixed width, of the lower bits of words.
pub(super) fn of_words(
    carried: &DataType,
    words: impl ExactSizeIterator<Item = u64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let rows = words.len();
    let values: Buffer = match carried {
        DataType::Boolean => {
            let bits = words.map(|word| word & 1 != 0).collect::<BooleanBuffer>();
            return Ok(Arc::new(arrow::array::BooleanArray::new(bits, nulls)));
        }
        other => match other.primitive_width() {
            Some(1) => words.map(|word| word as u8).collect(),
            Some(2) => words.map(|word| word as u16).collect(),
            Some(4) => words.map(|word| word as u32).collect(),
            Some(8) => words.collect(),
            _ => return Err(Error::internal(format!("{carried} is not of words"))),
        },
    };
    of_bytes(carried, values, rows, nulls)
}

/// An array of a carried type of fixed width.
pub(super) fn of_bytes(carried: &DataType, values: Buffer, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(make_array(ArrayData::builder(carried.clone()).len(rows).nulls(nulls).add_buffer(values).build()?))
}
