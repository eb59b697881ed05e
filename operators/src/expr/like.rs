//! `LIKE`: a pattern is taken apart once, and no row meets a regular expression.
//!
//! ```text
//!   'abc'              equal
//!   'abc%'             a prefix
//!   '%abc'             a suffix
//!   '%a%b%', 'x%y%z'   a prefix, pieces one after the other, a suffix: the leftmost place is right for each piece
//!   'a_c%'             segments between %, each of bytes and single characters, matched in the same order
//! ```
//! Pieces are searched for in registers, 64 places at once (see `search`). `\` takes the meaning from the character
//! after it; at the end it stands for itself. `_` is one character, not one byte.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Scalar, StringArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::comparison::{ilike, nilike};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;

use super::search::Needle;
use super::simd::{pack, vectorized};
use super::value::Value;
use super::views::{Views, equal_to, halves, inline_view, prefix_of, recheck};

/// A pattern that is ready to match.
#[derive(Debug)]
pub(super) struct Pattern {
    text: String,
    shape: Shape,
    ignore_case: bool,
}

#[derive(Debug)]
enum Shape {
    /// Without wildcards.
    Equal(Vec<u8>),
    /// Without `_`.
    Pieces { prefix: Vec<u8>, middle: Vec<Needle>, suffix: Vec<u8> },
    /// The segments around each `%`: two or more, or one that must match the whole text.
    Segments(Vec<Vec<Token>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// Any character.
    One,
}

impl Pattern {
    pub fn new(text: &str, ignore_case: bool) -> Self {
        let lowered = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        Self { text: text.to_owned(), shape: shape(&lowered), ignore_case }
    }

    /// What every match starts with, and whether that alone makes a match; nothing if the case is ignored.
    pub fn prefix(&self) -> Option<(&[u8], bool)> {
        match &self.shape {
            _ if self.ignore_case => None,
            Shape::Pieces { prefix, middle, suffix } => Some((prefix, middle.is_empty() && suffix.is_empty())),
            _ => None,
        }
    }

    /// The one text that matches, if the pattern has no wildcards.
    pub fn equal(&self) -> Option<&[u8]> {
        match &self.shape {
            Shape::Equal(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }

    /// Whether a text matches, bytes as they are.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.shape {
            Shape::Equal(equal) => text == equal.as_slice(),
            Shape::Pieces { prefix, middle, suffix } => {
                // An empty `Vec` has no memory, and comparing none of it is slow where `memcmp` is made of masked loads:
                // 100 ns for a suppressed fault.
                let mut rest = text;
                if !prefix.is_empty() {
                    let Some(inner) = rest.strip_prefix(prefix.as_slice()) else { return false };
                    rest = inner;
                }
                if !suffix.is_empty() {
                    let Some(inner) = rest.strip_suffix(suffix.as_slice()) else { return false };
                    rest = inner;
                }
                contains(middle, rest)
            }
            Shape::Segments(segments) => matches_segments(segments, text),
        }
    }

    /// `value LIKE pattern` for all rows.
    pub fn like(&self, value: &Value, negated: bool) -> Result<Value> {
        if value.array.data_type() == &DataType::Null {
            return Ok(Value::null(&DataType::Boolean));
        }
        if self.ignore_case {
            return self.like_ignoring_case(value, negated);
        }
        let views = Views::new(&value.array)?;
        let bits = self.bits(&views);
        let bits = if negated { !&bits } else { bits };
        Ok(Value::boolean(bits, value.array.nulls().cloned(), value.scalar))
    }

    fn bits(&self, texts: &Views<'_>) -> BooleanBuffer {
        match &self.shape {
            Shape::Equal(equal) => match inline_view(equal) {
                Some(view) => equal_to(texts.views, view),
                None => texts.equal_to_long(equal),
            },
            Shape::Pieces { prefix: start, middle, suffix } if middle.is_empty() && suffix.is_empty() => {
                starts_with(texts, start)
            }
            Shape::Pieces { prefix, middle, suffix } if prefix.is_empty() && suffix.is_empty() => vectorized(
                #[inline(always)]
                || {
                    BooleanBuffer::collect_bool(texts.views.len(), |row| {
                        contains(middle, texts.bytes(&texts.views[row]))
                    })
                },
            ),
            _ => BooleanBuffer::collect_bool(texts.views.len(), |row| self.matches(texts.bytes(&texts.views[row]))),
        }
    }

    /// Texts of ASCII are lowered; where others are among them, characters fold as Arrow says.
    fn like_ignoring_case(&self, value: &Value, negated: bool) -> Result<Value> {
        let array = &value.array;
        let views = Views::new(array)?;
        if self.text.is_ascii() && views.views.iter().all(|view| views.bytes(view).is_ascii()) {
            let mut lowered = Vec::new();
            let bits = BooleanBuffer::collect_bool(views.views.len(), |row| {
                lowered.clear();
                lowered.extend_from_slice(views.bytes(&views.views[row]));
                lowered.make_ascii_lowercase();
                self.matches(&lowered)
            });
            let bits = if negated { !&bits } else { bits };
            return Ok(Value::boolean(bits, array.nulls().cloned(), value.scalar));
        }
        let pattern: ArrayRef = match array.data_type() {
            DataType::Utf8View => Arc::new(StringViewArray::from(vec![self.text.as_str()])),
            _ => Arc::new(StringArray::from(vec![self.text.as_str()])),
        };
        let pattern = Scalar::new(pattern);
        let answer = if negated { nilike(array, &pattern)? } else { ilike(array, &pattern)? };
        Ok(Value::new(Arc::new(answer), value.scalar))
    }
}

/// Texts with a common start: told by the view alone if that has no more than four bytes.
fn starts_with(texts: &Views<'_>, start: &[u8]) -> BooleanBuffer {
    let head = start.len().min(4);
    let mut bytes = [0; 4];
    bytes[..head].copy_from_slice(&start[..head]);
    let wanted = u32::from_be_bytes(bytes);
    // No bits for no bytes; a shift by all 32 would be too far.
    let mask = u32::MAX.checked_shl(32 - 8 * head as u32).unwrap_or(0);
    let length = start.len();
    if length <= 4 {
        return pack(halves(texts.views), |[low, _]| low as u32 as usize >= length && prefix_of(low) & mask == wanted);
    }
    let candidates = pack(halves(texts.views), |[low, _]| prefix_of(low) == wanted);
    recheck(&candidates, |row| texts.bytes(&texts.views[row]).starts_with(start))
}

/// Whether the pieces stand one after the other.
#[inline(always)]
fn contains(pieces: &[Needle], mut text: &[u8]) -> bool {
    for piece in pieces {
        let Some(at) = piece.find(text) else { return false };
        text = &text[at + piece.length()..];
    }
    true
}

fn shape(pattern: &str) -> Shape {
    let (mut segments, mut current) = (Vec::new(), Vec::new());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '%' => {
                segments.push(std::mem::take(&mut current));
                continue;
            }
            '_' => {
                current.push(Token::One);
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        let mut encoded = [0; 4];
        current.extend(literal.encode_utf8(&mut encoded).bytes().map(Token::Byte));
    }
    segments.push(current);
    let literal = |segment: &Vec<Token>| {
        let byte = |token: &Token| match token {
            Token::Byte(byte) => Some(*byte),
            Token::One => None,
        };
        segment.iter().map(byte).collect::<Option<Vec<u8>>>()
    };
    let Some(mut pieces) = segments.iter().map(literal).collect::<Option<Vec<_>>>() else {
        return Shape::Segments(segments);
    };
    match pieces.pop() {
        Some(suffix) if !pieces.is_empty() => {
            let prefix = pieces.remove(0);
            let middle = pieces.iter().filter(|piece| !piece.is_empty());
            Shape::Pieces { prefix, middle: middle.map(|piece| Needle::new(piece)).collect(), suffix }
        }
        whole => Shape::Equal(whole.unwrap_or_default()),
    }
}

fn matches_segments(segments: &[Vec<Token>], text: &[u8]) -> bool {
    let Some((first, rest)) = segments.split_first() else { return text.is_empty() };
    let Some(mut at) = match_at(first, text, 0) else { return false };
    let Some((last, middle)) = rest.split_last() else { return at == text.len() };
    for segment in middle {
        let found = (at..=text.len())
            .filter(|&start| is_boundary(text, start))
            .find_map(|start| match_at(segment, text, start));
        match found {
            Some(end) => at = end,
            None => return false,
        }
    }
    match_before_end(last, text).is_some_and(|start| start >= at)
}

fn is_boundary(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80)
}

/// Where a segment ends that starts at `at`.
fn match_at(segment: &[Token], text: &[u8], mut at: usize) -> Option<usize> {
    for token in segment {
        match token {
            Token::Byte(byte) if text.get(at) == Some(byte) => at += 1,
            Token::Byte(_) => return None,
            Token::One => {
                text.get(at)?;
                at += 1;
                while !is_boundary(text, at) {
                    at += 1;
                }
            }
        }
    }
    Some(at)
}

/// Where a segment starts that ends with the text.
fn match_before_end(segment: &[Token], text: &[u8]) -> Option<usize> {
    let mut at = text.len();
    for token in segment.iter().rev() {
        at = at.checked_sub(1)?;
        match token {
            Token::Byte(byte) if text[at] == *byte => {}
            Token::Byte(_) => return None,
            Token::One => {
                while !is_boundary(text, at) {
                    at = at.checked_sub(1)?;
                }
            }
        }
    }
    Some(at)
}
