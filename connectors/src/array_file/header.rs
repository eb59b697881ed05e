//! What an NPY file says of itself.
//!
//! Source: "NEP 1 — A simple file format for NumPy arrays" and the module `numpy.lib.format`.
//!
//! ```text
//!  0      6  7  8          10 or 12                                          a multiple of 64 (of 16 in old files)
//!  ├──────┼──┼──┼───────────┼────────────────────────────────────────────────┼─────────────
//!  │\x93NUMPY│1│0│ length u16 │ {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }   ⏎│ elements …
//!  │\x93NUMPY│2│0│ length u32 │ the same                                                      │
//!  │\x93NUMPY│3│0│ length u32 │ the same, in UTF-8 instead of Latin-1                         │
//! ```
//!
//! The dictionary is a literal of Python. Only what NumPy writes is understood: three keys, a text, a truth value, a
//! tuple. A parser of all of Python's literals brings a dozen crates (`npyz` by way of `py_literal`, `pest`, `syn`).

use bireme_engine::{Error, Result};

use super::elements::Stored;
use super::{FileType, shown_text};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Elements start at a multiple of this, so that a mapping of them is aligned.
const ALIGNMENT: usize = 64;

/// NumPy leaves room for so many digits in the length of the axis along which a file may grow, so that the header can
/// be rewritten in place.
const GROWTH_DIGITS: usize = 21;

/// More axes are read by no NumPy before 2.0.
const MAX_AXES: usize = 32;

/// The header of an NPY file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) stored: Stored,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Where the elements start; not behind the end of the bytes that were parsed.
    pub(super) start: usize,
}

/// Reads the header at the start of an NPY file. Errors do not name the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Header> {
    let (text, version) = dictionary(bytes)?;
    let start = text.end;
    let mut literal = Literal { bytes: &bytes[..text.end], at: text.start, longs: version < 3 };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);

    literal.token(b'{')?;
    while !literal.skip(b'}') {
        let key = literal.at_next();
        let known = match literal.text()? {
            b"descr" => descr.replace(literal.descr()?).is_none(),
            b"fortran_order" => fortran_order.replace(literal.truth()?).is_none(),
            b"shape" => shape.replace(literal.shape()?).is_none(),
            other => {
                let message = format!("byte {key}: unknown key '{}' in the header", shown_text(other));
                return Err(Error::corrupt(message));
            }
        };
        if !known {
            return Err(Error::corrupt(format!("byte {key}: this key stands in the header twice")));
        }
        if !literal.skip(b',') {
            literal.token(b'}')?;
            break;
        }
    }
    literal.end()?;

    let missing = |key: &str| Error::corrupt(format!("its header has no '{key}'"));
    let descr = descr.ok_or_else(|| missing("descr"))?;
    Ok(Header {
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
        stored: match descr {
            Descr::Text(text) => Stored::parse(text)?,
            Descr::Structured(text) => return Err(Stored::structured(text)),
        },
        start,
    })
}

/// A header for elements of this machine's byte order, row by row, in version 1.0; just as NumPy writes it.
pub(super) fn format(dtype: FileType, shape: &[usize]) -> Result<Vec<u8>> {
    if shape.len() > MAX_AXES {
        let message = format!("an array of {} axes: NumPy before 2.0 reads at most {MAX_AXES}", shape.len());
        return Err(Error::user(message));
    }
    let growth = shape.first().map_or(0, |length| GROWTH_DIGITS.saturating_sub(length.to_string().len()));
    let dictionary = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}{:growth$}",
        Stored::native(dtype),
        super::shown_shape(shape),
        "",
    );
    let before = MAGIC.len() + 2 + 2;
    let total = (before + dictionary.len() + 1).next_multiple_of(ALIGNMENT);
    let length = u16::try_from(total - before).map_err(|_| Error::internal("the header of an array is too long"))?;

    let mut header = Vec::with_capacity(total);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(dictionary.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// Where the dictionary lies, and the version.
fn dictionary(bytes: &[u8]) -> Result<(std::ops::Range<usize>, u8)> {
    let cut = || Error::corrupt(format!("it was cut short within its header: it has {} bytes", bytes.len()));
    if !bytes.starts_with(MAGIC) {
        return Err(match bytes {
            [b'P', b'K', ..] => Error::user("it is a zip archive, not an NPY file; read it as an .npz"),
            short if MAGIC.starts_with(short) => cut(),
            _ => Error::corrupt("it is no NPY file: it does not start with \\x93NUMPY"),
        });
    }
    let (&version, rest) = bytes[MAGIC.len()..].split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (&length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(length)), rest)
        }
        [2 | 3, 0] => {
            let (&length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(length) as usize, rest)
        }
        [major, minor] => {
            let message = format!("it has version {major}.{minor} of the NPY format; 1.0, 2.0 and 3.0 are known");
            return Err(Error::unsupported(message));
        }
    };
    let start = bytes.len() - rest.len();
    if rest.len() < length {
        return Err(cut());
    }
    Ok((start..start + length, version[0]))
}

enum Descr<'a> {
    Text(&'a [u8]),
    /// A list or a tuple, as it stands in the file.
    Structured(&'a [u8]),
}

/// The rest of a literal; places in errors are places in the file.
struct Literal<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether integers may end in `L`: Python 2 wrote that.
    longs: bool,
}

impl<'a> Literal<'a> {
    fn at_next(&mut self) -> usize {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.at
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self, token: u8) -> bool {
        self.at_next();
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn token(&mut self, token: u8) -> Result<()> {
        if self.skip(token) { Ok(()) } else { Err(self.expected(&format!("'{}'", token as char))) }
    }

    fn end(&mut self) -> Result<()> {
        self.at_next();
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end of the header")) }
    }

    /// A text in quotes, and the colon after it where it is a key.
    fn text(&mut self) -> Result<&'a [u8]> {
        let text = self.quoted()?;
        self.token(b':')?;
        Ok(text)
    }

    fn quoted(&mut self) -> Result<&'a [u8]> {
        self.at_next();
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'));
        let Some(quote) = quote else { return Err(self.expected("a text in quotes")) };
        let start = self.at + 1;
        let length = self.bytes[start..].iter().position(|&byte| byte == quote || byte == b'\\');
        match length {
            Some(length) if self.bytes[start + length] == quote => {
                self.at = start + length + 1;
                Ok(&self.bytes[start..start + length])
            }
            _ => Err(self.expected("a text in quotes, without escapes")),
        }
    }

    fn descr(&mut self) -> Result<Descr<'a>> {
        self.at_next();
        match self.peek() {
            Some(b'[' | b'(') => Ok(Descr::Structured(self.bracketed()?)),
            _ => Ok(Descr::Text(self.quoted()?)),
        }
    }

    /// Skips to the bracket that closes this one. Not by recursion: a damaged file may open any number.
    fn bracketed(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\'' | b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'[' | b'(' | b'{' => open += 1,
                b']' | b')' | b'}' => open -= 1, // the first byte opened one, and the loop ends when all are closed
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(&self.bytes[start..self.at]);
            }
        }
        Err(self.expected("a closing bracket"))
    }

    fn truth(&mut self) -> Result<bool> {
        self.at_next();
        for (word, value) in [("True", true), ("False", false)] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected("True or False"))
    }

    /// `()`, `(3,)`, `(3, 4)` or `(3, 4,)`.
    fn shape(&mut self) -> Result<Vec<usize>> {
        self.token(b'(')?;
        let mut shape = Vec::new();
        while !self.skip(b')') {
            shape.push(self.length()?);
            if !self.skip(b',') {
                if shape.len() == 1 && self.peek() == Some(b')') {
                    return Err(self.expected("',': without it, (3) is a number and no shape"));
                }
                self.token(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn length(&mut self) -> Result<usize> {
        self.at_next();
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(self.expected("the length of an axis"));
        }
        let value = self.bytes[self.at..self.at + digits]
            .iter()
            .try_fold(0_usize, |value, digit| value.checked_mul(10)?.checked_add(usize::from(digit - b'0')));
        let Some(value) = value else { return Err(self.expected("the length of an axis, of at most 64 bits")) };
        self.at += digits;
        if self.longs && self.peek() == Some(b'L') {
            self.at += 1;
        }
        Ok(value)
    }

    fn expected(&self, what: &str) -> Error {
        let found = match &self.bytes[self.at..] {
            [] => "its end".to_owned(),
            rest => format!("'{}'", shown_text(&rest[..rest.len().min(16)])),
        };
        Error::corrupt(format!("byte {}: the header should go on with {what}, not {found}", self.at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
    use super::*;

    fn file(version: u8, dictionary: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[version, 0]);
        match version {
            1 => bytes.extend_from_slice(&u16::try_from(dictionary.len()).unwrap().to_le_bytes()),
            _ => bytes.extend_from_slice(&u32::try_from(dictionary.len()).unwrap().to_le_bytes()),
        }
        bytes.extend_from_slice(dictionary.as_bytes());
        bytes
    }

    fn check(version: u8, dictionary: &str, expected: Result<(&str, bool, &[usize]), &str>) {
        let parsed = parse(&file(version, dictionary));
        match (parsed, expected) {
            (Ok(header), Ok(expected)) => {
                let shown = header.stored.to_string();
                assert_eq!((shown.as_str(), header.fortran_order, header.shape.as_slice()), expected);
                assert_eq!(header.start, file(version, dictionary).len());
            }
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{error} lacks {part:?}"),
            (parsed, _) => panic!("{dictionary} gave {parsed:?}"),
        }
    }

    #[test]
    fn dictionaries() {
        check(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }  \n", Ok(("<f8", false, &[3, 4])));
        check(2, "{\"shape\":(5,),\"descr\":\"|b1\",\"fortran_order\":True}", Ok(("|b1", true, &[5])));
        check(3, "{ 'fortran_order' : False , 'shape' : () , 'descr' : '>i2' }\n", Ok((">i2", false, &[])));
        check(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2L, 3L)}", Ok(("<i4", false, &[2, 3])));
        check(
            3,
            "{'descr': '<i4', 'fortran_order': False, 'shape': (2L, 3L)}",
            Err("byte 64: the header should go on with ')', not 'L, 3L)}'"),
        );
        check(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2)}", Err("(3) is a number"));
        check(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (-2,)}", Err("the length of an axis, not '-2,)}'"));
        check(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999,)}", Err("at most 64 bits"));
        check(1, "{'descr': '<i4', 'fortran_order': 0, 'shape': (2,)}", Err("True or False, not '0, '"));
        check(1, "{'descr': '<i4', 'fortran_order': False}", Err("its header has no 'shape'"));
        check(1, "{'descr': '<i4', 'descr': '<i4'}", Err("byte 27: this key stands in the header twice"));
        check(1, "{'descr': '<i4', 'color': 'red'}", Err("byte 27: unknown key 'color'"));
        check(1, "{'descr': '<i4'", Err("with '}', not its end"));
        check(1, "{'descr': '<i4}", Err("a text in quotes, without escapes"));
        check(1, "{'descr': [[['a', '<f4'", Err("a closing bracket"));
        check(
            1,
            "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)} + 1",
            Err("the end of the header, not '+ 1'"),
        );
        check(1, "", Err("with '{', not its end"));
    }

    #[test]
    fn damage_before_the_dictionary() {
        for (bytes, part) in [
            (&b""[..], "cut short within its header: it has 0 bytes"),
            (b"\x93NUM", "cut short"),
            (b"\x93NUMPY\x01", "cut short"),
            (b"\x93NUMPY\x01\x00\x20", "cut short"),
            (b"\x93NUMPY\x02\x00\x20\x00\x00", "cut short"),
            (b"\x93NUMPY\x01\x00\x20\x00{", "cut short"),
            (b"\x93NUMPX\x01\x00\x00\x00", "does not start with \\x93NUMPY"),
            (b"PK\x03\x04", "read it as an .npz"),
            (b"\x93NUMPY\x04\x00\x00\x00\x00\x00", "version 4.0"),
            (b"\x93NUMPY\x01\x01\x00\x00", "version 1.1"),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.message().contains(part), "{error} lacks {part:?}");
        }
    }

    #[test]
    fn written_headers_are_aligned_and_read_back() {
        for shape in [&[][..], &[0], &[7], &[3, 4], &[usize::MAX / 8, 1, 1], &[1; MAX_AXES]] {
            for dtype in [FileType::F32, FileType::F64, FileType::I32, FileType::I64, FileType::Bool] {
                let bytes = format(dtype, shape).unwrap();
                let header = parse(&bytes).unwrap();
                assert_eq!((header.stored.file_type(), header.shape.as_slice()), (dtype, shape));
                assert!(header.stored.is_as_wanted() && !header.fortran_order);
                assert_eq!((header.start, bytes.len() % ALIGNMENT), (bytes.len(), 0));
            }
        }
        assert!(format(FileType::F32, &[1; MAX_AXES + 1]).is_err());
    }
}
