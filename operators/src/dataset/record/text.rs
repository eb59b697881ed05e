//! Texts: `String`, which has its bytes to itself, and [`Text`], which shares them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;

use super::support::nothing;
use super::{Record, as_type};

/// A text that shares its bytes with others: a line of a file, a word of a line, a value of a column. Clones and parts of it copy nothing.
///
/// It is a `str` in every respect. What a closure makes of its argument may not borrow from it; so the methods here that cut a text give
/// out texts of their own, which a closure may return.
///
/// ```
/// use bireme_operators::dataset::Text;
///
/// let line = Text::from("to be or not");
/// let words = |line: Text| line.split_whitespace().map(|word| word.to_uppercase());
/// assert_eq!(words(line).collect::<Vec<_>>(), ["TO", "BE", "OR", "NOT"]);
/// ```
#[derive(Clone)]
pub struct Text(Bytes);

/// Bytes of a text that a [`Text`] has in itself: most words.
const INLINE: usize = 30;

#[derive(Clone)]
enum Bytes {
    /// As many of the first bytes as the length says.
    Inline(u8, [u8; INLINE]),
    Shared(Buffer),
}

impl Text {
    /// The bytes of a buffer as a text.
    ///
    /// # Safety
    /// They are UTF-8.
    #[inline]
    pub(in crate::dataset) unsafe fn new_unchecked(bytes: Buffer) -> Self {
        debug_assert!(std::str::from_utf8(bytes.as_slice()).is_ok());
        Self(Bytes::Shared(bytes))
    }

    /// A text that fits into itself.
    #[inline]
    fn inline(text: &str) -> Option<Self> {
        let mut bytes = [0; INLINE];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(Bytes::Inline(text.len() as u8, bytes)))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        let bytes = match &self.0 {
            Bytes::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Bytes::Shared(bytes) => bytes.as_slice(),
        };
        // SAFETY: only UTF-8 gets in, and nothing changes the bytes.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    /// A part of it, which lies within it.
    #[inline]
    fn part(&self, part: &str) -> Self {
        if let Some(text) = Self::inline(part) {
            return text;
        }
        match &self.0 {
            Bytes::Shared(bytes) => {
                let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
                Self(Bytes::Shared(bytes.slice_with_length(start, part.len())))
            }
            // Longer than what it is a part of: it is not.
            Bytes::Inline(..) => Self::from(part),
        }
    }

    /// Its words: what whitespace separates, as [`str::split_whitespace`] has it.
    #[inline]
    pub fn split_whitespace(&self) -> Words {
        Words { text: self.clone(), at: 0 }
    }

    /// What a separator separates, as [`str::split`] has it; an empty one separates nothing.
    #[inline]
    pub fn split<'a>(&self, separator: &'a str) -> Parts<'a> {
        Parts { rest: Some(self.clone()), separator }
    }

    /// The text before a separator and that behind it, as [`str::split_once`] has it; an empty one separates nothing.
    pub fn split_once(&self, separator: &str) -> Option<(Self, Self)> {
        if separator.is_empty() {
            return None;
        }
        let (before, behind) = self.as_str().split_once(separator)?;
        Some((self.part(before), self.part(behind)))
    }

    /// Without whitespace at both ends, as [`str::trim`] has it.
    #[must_use]
    pub fn trim(&self) -> Self {
        self.part(self.as_str().trim())
    }
}

/// The words of a text.
#[derive(Clone, Debug)]
pub struct Words {
    text: Text,
    /// Where to look for the next one.
    at: usize,
}

impl Iterator for Words {
    type Item = Text;

    #[inline]
    fn next(&mut self) -> Option<Text> {
        let rest = &self.text.as_str()[self.at..];
        let start = end_of_run(rest, true);
        if start == rest.len() {
            self.at += start;
            return None;
        }
        let length = end_of_run(&rest[start..], false);
        let word = self.text.part(&rest[start..start + length]);
        self.at += start + length;
        Some(word)
    }
}

/// Where the run of whitespace (or of what is none) ends that a text begins with.
#[inline]
fn end_of_run(text: &str, white: bool) -> usize {
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        if !byte.is_ascii() {
            // From here on by characters.
            let ended = text[at..].char_indices().find(|(_, character)| character.is_whitespace() != white);
            return ended.map_or(text.len(), |(place, _)| at + place);
        }
        if matches!(byte, b'\t'..=b'\r' | b' ') != white {
            return at;
        }
    }
    text.len()
}

/// What a separator separates in a text.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: Option<Text>,
    separator: &'a str,
}

impl Iterator for Parts<'_> {
    type Item = Text;

    #[inline]
    fn next(&mut self) -> Option<Text> {
        let rest = self.rest.take()?;
        match rest.split_once(self.separator) {
            Some((part, behind)) => {
                self.rest = Some(behind);
                Some(part)
            }
            None => Some(rest),
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::inline(text).unwrap_or_else(|| Self(Bytes::Shared(Buffer::from(text.as_bytes()))))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::inline(&text).unwrap_or_else(|| Self(Bytes::Shared(Buffer::from_vec(text.into_bytes()))))
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Bytes of texts on their way into a column, and where each ends.
#[derive(Default)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    /// What no column holds was put in.
    too_long: bool,
}

impl Texts {
    fn push(&mut self, text: &str) {
        // Batches are cut long before, but one text may be as long as that.
        match i32::try_from(self.bytes.len() + text.len()) {
            Ok(end) => {
                self.bytes.extend_from_slice(text.as_bytes());
                self.ends.push(end);
            }
            Err(_) => self.too_long = true,
        }
    }

    fn finish(&mut self) -> ArrayRef {
        let ends = std::mem::take(&mut self.ends);
        if std::mem::take(&mut self.too_long) {
            self.bytes.clear();
            return nothing();
        }
        let offsets = OffsetBuffer::new(std::iter::once(0).chain(ends).collect());
        let bytes = Buffer::from_vec(std::mem::take(&mut self.bytes));
        // SAFETY: the offsets end where texts end, one after the other.
        Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, None) })
    }
}

/// A column of texts without NULLs.
pub enum TextColumn {
    /// One behind the other.
    Plain(StringArray),
    /// Anywhere.
    Views(arrow::array::StringViewArray),
}

impl TextColumn {
    fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8View => Self::Views(as_type(name, array, &DataType::Utf8View)?.as_string_view().clone()),
            _ => Self::Plain(as_type(name, array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    #[inline]
    fn text(&self, row: usize) -> &str {
        match self {
            Self::Plain(array) => array.value(row),
            Self::Views(array) => array.value(row),
        }
    }
}

impl Record for String {
    type Builder = Texts;
    type Column = TextColumn;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn put(&self, builder: &mut Texts) {
        builder.push(self);
    }

    fn put_nothing(builder: &mut Texts) {
        builder.push("");
    }

    fn finish(builder: &mut Texts) -> ArrayRef {
        builder.finish()
    }

    fn column(name: &str, array: &ArrayRef) -> Result<TextColumn> {
        TextColumn::of(name, array)
    }

    fn get(column: &TextColumn, row: usize) -> String {
        column.text(row).to_owned()
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl Record for Text {
    type Builder = Texts;
    type Column = TextColumn;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn put(&self, builder: &mut Texts) {
        builder.push(self);
    }

    fn put_nothing(builder: &mut Texts) {
        builder.push("");
    }

    fn finish(builder: &mut Texts) -> ArrayRef {
        builder.finish()
    }

    fn column(name: &str, array: &ArrayRef) -> Result<TextColumn> {
        TextColumn::of(name, array)
    }

    fn get(column: &TextColumn, row: usize) -> Text {
        match column {
            TextColumn::Plain(array) => {
                if let Some(text) = Text::inline(array.value(row)) {
                    return text;
                }
                let (offsets, bytes) = (array.value_offsets(), array.values());
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                Text(Bytes::Shared(bytes.slice_with_length(start, end - start)))
            }
            TextColumn::Views(array) => Text::from(array.value(row)),
        }
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Bytes::Inline(..) => 0,
            Bytes::Shared(bytes) => bytes.len(),
        }
    }

    #[inline]
    fn detached(self) -> Self {
        match &self.0 {
            // Not alone in its memory, nor nearly so.
            Bytes::Shared(bytes) if bytes.capacity() > 64 + 2 * bytes.len() => Text::from(self.as_str()),
            _ => self,
        }
    }
}
