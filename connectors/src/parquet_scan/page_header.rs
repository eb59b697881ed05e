//! The headers of pages, which are Thrift structs in the compact protocol.
//!
//! Only the fields that reading needs are taken; everything else is skipped by its type. The protocol in one line: a
//! field is a byte `delta of its id << 4 | type` (a zero delta: the id follows as a zigzag varint), structs end with
//! a zero byte, integers are zigzag varints, binaries are a length and bytes, lists a byte `size << 4 | type`.

use super::damage::{Damage, Decoded};

/// Encodings by their numbers in the format.
pub(super) mod encoding {
    pub(crate) const PLAIN: i32 = 0;
    pub(crate) const PLAIN_DICTIONARY: i32 = 2;
    pub(crate) const RLE: i32 = 3;
    pub(crate) const DELTA_BINARY_PACKED: i32 = 5;
    pub(crate) const DELTA_LENGTH_BYTE_ARRAY: i32 = 6;
    pub(crate) const DELTA_BYTE_ARRAY: i32 = 7;
    pub(crate) const RLE_DICTIONARY: i32 = 8;
    pub(crate) const BYTE_STREAM_SPLIT: i32 = 9;
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    /// Levels and values are compressed together, each run of levels with its length in front.
    DataV1 {
        level_encoding: i32,
    },
    /// Levels come first, never compressed; `compressed` is about the values.
    DataV2 {
        repetition_bytes: usize,
        definition_bytes: usize,
        compressed: bool,
    },
    /// Index pages and others, which are skipped.
    Other,
}

/// The header of one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    pub(super) encoding: i32,
    /// Values, NULLs included.
    pub(super) values: usize,
    /// Bytes of the page as stored, behind the header.
    pub(super) stored: usize,
    /// Bytes of the page once decompressed, levels included.
    pub(super) plain: usize,
    /// Bytes of the header itself.
    pub(super) header: usize,
}

const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Nested values deeper than this are no page header.
const DEEPEST: usize = 16;

impl PageHeader {
    /// Reads the header at the start of these bytes.
    pub(super) fn read(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut kind = None;
        let (mut stored, mut plain) = (None, None);
        let mut data = Fields::default();
        reader.fields(|reader, field, form| {
            match field {
                1 => kind = Some(reader.integer(form)?),
                2 => plain = Some(reader.integer(form)?),
                3 => stored = Some(reader.integer(form)?),
                5 | 7 | 8 if form == STRUCT => data = Fields::read(reader)?,
                _ => reader.skip(form, 0)?,
            }
            Ok(())
        })?;
        let (Some(kind), Some(stored), Some(plain)) = (kind, stored, plain) else {
            return Err(Damage::new("a page header lacks its type or sizes"));
        };
        let field = |at: usize| data.0[at].ok_or_else(|| Damage::new("a page header lacks a field"));
        let (kind, encoding) = match kind {
            0 => (PageKind::DataV1 { level_encoding: field(3)? as i32 }, field(2)?),
            2 => (PageKind::Dictionary, field(2)?),
            3 => {
                let definition_bytes = size(field(5)?)?;
                let repetition_bytes = size(field(6)?)?;
                let compressed = data.0[7] != Some(0);
                (PageKind::DataV2 { repetition_bytes, definition_bytes, compressed }, field(4)?)
            }
            _ => (PageKind::Other, 0),
        };
        Ok(Self {
            kind,
            encoding: encoding as i32,
            values: size(data.0[1].unwrap_or(0))?,
            stored: size(stored)?,
            plain: size(plain)?,
            header: reader.at,
        })
    }
}

fn size(value: i64) -> Decoded<usize> {
    match i32::try_from(value) {
        Ok(value) if value >= 0 => Ok(value as usize),
        _ => Err(Damage::new("a page header has a size that cannot be")),
    }
}

/// Integers and booleans of the inner struct, by field id.
#[derive(Default)]
struct Fields([Option<i64>; 8]);

impl Fields {
    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut fields = Self::default();
        reader.fields(|reader, field, form| {
            match (usize::try_from(field), form) {
                (Ok(field @ 1..8), TRUE..=I64) => fields.0[field] = Some(reader.integer(form)?),
                _ => reader.skip(form, 0)?,
            }
            Ok(())
        })?;
        Ok(fields)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Decoded<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| Damage::new("a page header is cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Decoded<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::new("an integer of a page header is too long"))
    }

    fn integer(&mut self, form: u8) -> Decoded<i64> {
        match form {
            TRUE => Ok(1),
            FALSE => Ok(0),
            BYTE => Ok(i64::from(self.byte()? as i8)),
            I16..=I64 => {
                let value = self.varint()?;
                Ok((value >> 1) as i64 ^ -((value & 1) as i64))
            }
            _ => Err(Damage::new("a page header has a field of the wrong type")),
        }
    }

    /// Calls `each(reader, id, type)` for the fields of a struct; it must consume the value.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Decoded<()>) -> Decoded<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            let form = head & 15;
            if form == STOP {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.integer(I16)?,
                delta => id.saturating_add(i64::from(delta)),
            };
            each(self, id, form)?;
        }
    }

    fn skip_bytes(&mut self, bytes: u64) -> Decoded<()> {
        let left = (self.bytes.len() - self.at) as u64;
        if bytes > left {
            return Err(Damage::new("a page header is cut off"));
        }
        self.at += bytes as usize;
        Ok(())
    }

    fn skip(&mut self, form: u8, depth: usize) -> Decoded<()> {
        if depth > DEEPEST {
            return Err(Damage::new("a page header is nested too deep"));
        }
        match form {
            TRUE | FALSE => Ok(()),
            BYTE => self.skip_bytes(1),
            I16..=I64 => self.varint().map(|_| ()),
            DOUBLE => self.skip_bytes(8),
            UUID => self.skip_bytes(16),
            BINARY => {
                let len = self.varint()?;
                self.skip_bytes(len)
            }
            LIST | SET => {
                let head = self.byte()?;
                let len = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                (0..len).try_for_each(|_| self.skip_element(head & 15, depth))
            }
            MAP => {
                let len = self.varint()?;
                if len == 0 {
                    return Ok(());
                }
                let forms = self.byte()?;
                (0..len).try_for_each(|_| {
                    self.skip_element(forms >> 4, depth)?;
                    self.skip_element(forms & 15, depth)
                })
            }
            STRUCT => self.fields(|reader, _, form| reader.skip(form, depth + 1)),
            _ => Err(Damage::new("a page header has a field of an unknown type")),
        }
    }

    /// Inside containers, booleans take a byte.
    fn skip_element(&mut self, form: u8, depth: usize) -> Decoded<()> {
        if matches!(form, TRUE | FALSE) { self.skip_bytes(1) } else { self.skip(form, depth + 1) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_data_page_is_read_and_unknown_fields_are_skipped() {
        // type = 0, plain = 300, stored = 7, crc = 1, then struct 5 {values = 4, encoding = 8, levels 3, 3}.
        let bytes = [
            0x15, 0, 0x15, 0xd8, 0x04, 0x15, 14, 0x15, 2, 0x1c, 0x15, 8, 0x15, 16, 0x15, 6, 0x15, 6, 0x18, 2, 9, 9, 0,
            0, 77,
        ];
        let header = PageHeader::read(&bytes).unwrap();
        assert_eq!(header.kind, PageKind::DataV1 { level_encoding: 3 });
        assert_eq!((header.encoding, header.values, header.stored, header.plain), (8, 4, 7, 300));
        assert_eq!(header.header, bytes.len() - 1);
        for cut in 0..bytes.len() - 1 {
            assert!(PageHeader::read(&bytes[..cut]).is_err());
        }
    }
}
