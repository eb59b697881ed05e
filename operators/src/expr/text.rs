//! Parts of texts: new views of the same bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};

use super::value::Value;
use super::views::{INLINE, Views, inline_view};

/// Characters `start..start + length`, counted from 1; those that are not there are left out.
pub(super) fn substring(value: &Value, start: i64, length: Option<i64>) -> Result<Value> {
    if value.array.data_type() == &DataType::Null {
        return Ok(Value::null(&DataType::Utf8View));
    }
    if value.array.len() > value.array.null_count() {
        if let Some(length) = length.filter(|length| *length < 0) {
            return Err(Error::user(format!("substring: negative count not allowed: {length}")));
        }
        if start == i64::MIN {
            return Err(Error::user(format!("substring: start position overflow: {start}")));
        }
    }
    let Some(array) = value.array.as_string_view_opt() else {
        return Err(Error::internal(format!("a text is carried as {}", value.array.data_type())));
    };
    let from = start.saturating_sub(1);
    let to = length.map_or(i64::MAX, |length| from.saturating_add(length.max(0)));
    let (from, to) = (from.max(0) as usize, to.max(0) as usize);
    let texts = Views::new(&value.array)?;
    let views = texts.views.iter().map(|view| part(&texts, view, from, to)).collect::<Vec<_>>();
    let (_, buffers, nulls) = array.clone().into_parts();
    // SAFETY: each view is a short text itself, or shows a part of what a valid view showed, cut between characters.
    let array = unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), buffers, nulls) };
    Ok(Value::new(Arc::new(array), value.scalar))
}

/// How many characters texts have.
pub(super) fn character_length(value: &Value, logical: &DataType) -> Result<Value> {
    if value.array.data_type() == &DataType::Null {
        return Ok(Value::null(logical));
    }
    let texts = Views::new(&value.array)?;
    let nulls = value.array.nulls().cloned();
    let lengths = texts.views.iter().map(|view| characters(texts.bytes(view)));
    let array: ArrayRef = match logical {
        DataType::Int64 => Arc::new(Int64Array::new(lengths.map(|length| length as i64).collect(), nulls)),
        _ => Arc::new(Int32Array::new(lengths.map(|length| length as i32).collect(), nulls)),
    };
    Ok(Value::new(array, value.scalar))
}

/// Bytes that begin a character of UTF-8.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// The view of the characters `from..to`, counted from 0.
#[inline]
fn part(texts: &Views<'_>, view: &u128, from: usize, to: usize) -> u128 {
    let bytes = texts.bytes(view);
    // Where all bytes up to the end of the part are characters of their own, places are places.
    let head = &bytes[..to.min(bytes.len())];
    let (start, end) = if head.is_ascii() {
        (from.min(head.len()), head.len())
    } else {
        let place = |character: usize| {
            let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80);
            starts.map(|(place, _)| place).nth(character).unwrap_or(bytes.len())
        };
        (place(from), place(to))
    };
    let part = &bytes[start.min(end)..end];
    if let Some(view) = inline_view(part) {
        return view;
    }
    debug_assert!(bytes.len() > INLINE, "a long part of a long text");
    let mut prefix = [0; 4];
    prefix.copy_from_slice(&part[..4]);
    let buffer = (*view >> 64) as u32;
    let offset = (*view >> 96) as u32 + start as u32;
    part.len() as u128
        | u128::from(u32::from_le_bytes(prefix)) << 32
        | u128::from(buffer) << 64
        | u128::from(offset) << 96
}
