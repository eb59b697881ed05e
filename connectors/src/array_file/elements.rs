//! The elements of an array: from bytes in a file to numbers of this machine.

use std::fmt;
use std::ops::Range;

use arrow::array::ArrowPrimitiveType;
use arrow::buffer::Buffer;
use arrow::datatypes::{ArrowNativeType, Float16Type};
use bireme_engine::{Error, Result};

use super::{FileType, room, shown_text};

/// Transposition goes by tiles of so many rows, and so many bytes of a row (a cache line). More bytes, and the columns
/// of a matrix whose height is a power of two drive each other out of the first cache; fewer rows, and the hardware
/// does not read ahead. Squares of 16 elements were tried, and took up to twice as long.
const TILE_ROWS: usize = 64;
const TILE_BYTES: usize = 64;

/// Bytes whose truth values are checked at a time.
const CHECKED: usize = 1 << 12;

/// How elements are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    kind: Kind,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    Bool,
}

impl Stored {
    /// What NumPy's name of a dtype means, such as `<f8`.
    pub(super) fn parse(descr: &[u8]) -> Result<Self> {
        let refused = || refused(descr);
        let (&order, name) = descr.split_first().ok_or_else(refused)?;
        let kind = match name {
            b"f2" => Kind::F16,
            b"f4" => Kind::F32,
            b"f8" => Kind::F64,
            b"i1" => Kind::I8,
            b"i2" => Kind::I16,
            b"i4" => Kind::I32,
            b"i8" => Kind::I64,
            b"u1" => Kind::U8,
            b"u2" => Kind::U16,
            b"u4" => Kind::U32,
            b"b1" => Kind::Bool,
            _ => return Err(refused()),
        };
        // Bytes have no order; NumPy marks them with a bar, and reads any mark.
        let order_known = matches!(order, b'<' | b'>') || order == b'|' && kind.size() == 1;
        if !order_known {
            return Err(refused());
        }
        Ok(Self { kind, big_endian: order == b'>' && kind.size() > 1 })
    }

    /// The error for arrays of records.
    pub(super) fn structured(descr: &[u8]) -> Error {
        Error::unsupported(format!(
            "its dtype {} has fields, and Bireme reads arrays of numbers and of truth values; save each field as an \
             array of its own",
            shown_text(descr),
        ))
    }

    /// What this machine has in memory for a type that the Zarr format names; `None` for types that are not read.
    #[cfg(feature = "zarr")]
    pub(super) fn of_zarr(name: &str) -> Option<Self> {
        let kind = match name {
            "float16" => Kind::F16,
            "float32" => Kind::F32,
            "float64" => Kind::F64,
            "int8" => Kind::I8,
            "int16" => Kind::I16,
            "int32" => Kind::I32,
            "int64" => Kind::I64,
            "uint8" => Kind::U8,
            "uint16" => Kind::U16,
            "uint32" => Kind::U32,
            "bool" => Kind::Bool,
            _ => return None,
        };
        Some(Self::in_memory(kind))
    }

    fn in_memory(kind: Kind) -> Self {
        Self { kind, big_endian: cfg!(target_endian = "big") && kind.size() > 1 }
    }

    /// How this machine stores elements.
    pub(super) fn native(dtype: FileType) -> Self {
        let kind = match dtype {
            FileType::F32 => Kind::F32,
            FileType::F64 => Kind::F64,
            FileType::I32 => Kind::I32,
            FileType::I64 => Kind::I64,
            FileType::Bool => Kind::Bool,
        };
        Self::in_memory(kind)
    }

    /// What the elements become.
    pub(super) fn file_type(self) -> FileType {
        match self.kind {
            Kind::F16 | Kind::F32 => FileType::F32,
            Kind::F64 => FileType::F64,
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::U8 | Kind::U16 => FileType::I32,
            Kind::I64 | Kind::U32 => FileType::I64,
            Kind::Bool => FileType::Bool,
        }
    }

    /// How many bytes an element has in the file.
    pub(super) fn size(self) -> usize {
        self.kind.size()
    }

    /// Whether the bytes in the file are those of the type that they become.
    pub(super) fn is_as_wanted(self) -> bool {
        self == Self::native(self.file_type())
    }

    /// All elements, in the order in which they are stored.
    pub(super) fn converted(self, data: &[u8]) -> Result<Buffer> {
        self.read(data, &Order::AsStored)
    }

    /// The elements with these indexes along the first axis, row by row, where the first axis is the one whose
    /// elements lie side by side. The shape has at least two axes.
    pub(super) fn transposed(self, data: &[u8], shape: &[usize], rows: Range<usize>) -> Result<Buffer> {
        self.read(data, &Order::Transposed { shape, rows })
    }

    fn read(self, data: &[u8], order: &Order<'_>) -> Result<Buffer> {
        let swapped = self.big_endian != cfg!(target_endian = "big");
        match self.kind {
            Kind::F16 => {
                gather(data, order, |bytes| Half::from_bits(u16::from_ne_bytes(turned(bytes, swapped))).to_f32())
            }
            Kind::F32 => gather(data, order, |bytes| f32::from_ne_bytes(turned(bytes, swapped))),
            Kind::F64 => gather(data, order, |bytes| f64::from_ne_bytes(turned(bytes, swapped))),
            Kind::I8 => gather(data, order, |[byte]| i32::from(byte as i8)),
            Kind::I16 => gather(data, order, |bytes| i32::from(i16::from_ne_bytes(turned(bytes, swapped)))),
            Kind::I32 => gather(data, order, |bytes| i32::from_ne_bytes(turned(bytes, swapped))),
            Kind::I64 => gather(data, order, |bytes| i64::from_ne_bytes(turned(bytes, swapped))),
            Kind::U8 => gather(data, order, |[byte]| i32::from(byte)),
            Kind::U16 => gather(data, order, |bytes| i32::from(u16::from_ne_bytes(turned(bytes, swapped)))),
            Kind::U32 => gather(data, order, |bytes| i64::from(u32::from_ne_bytes(turned(bytes, swapped)))),
            Kind::Bool => gather(data, order, |[byte]| byte),
        }
    }
}

/// As NumPy names it.
impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match (self.kind.size(), self.big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        let letter = match self.kind {
            Kind::F16 | Kind::F32 | Kind::F64 => 'f',
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => 'i',
            Kind::U8 | Kind::U16 | Kind::U32 => 'u',
            Kind::Bool => 'b',
        };
        write!(f, "{order}{letter}{}", self.kind.size())
    }
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Kind::I8 | Kind::U8 | Kind::Bool => 1,
            Kind::F16 | Kind::I16 | Kind::U16 => 2,
            Kind::F32 | Kind::I32 | Kind::U32 => 4,
            Kind::F64 | Kind::I64 => 8,
        }
    }
}

/// Half floats, of the crate that Arrow has them from.
type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// The order in which elements are wanted.
enum Order<'a> {
    AsStored,
    Transposed { shape: &'a [usize], rows: Range<usize> },
}

fn turned<const N: usize>(mut bytes: [u8; N], swapped: bool) -> [u8; N] {
    if swapped {
        bytes.reverse();
    }
    bytes
}

fn gather<const N: usize, T: ArrowNativeType>(
    data: &[u8],
    order: &Order<'_>,
    element: impl Fn([u8; N]) -> T,
) -> Result<Buffer> {
    let (stored, _) = data.as_chunks::<N>();
    let values = match order {
        Order::AsStored => {
            let mut values = room(stored.len())?;
            values.extend(stored.iter().map(|&bytes| element(bytes)));
            values
        }
        Order::Transposed { shape, rows } => {
            let row: usize = shape[1..].iter().product();
            let count = rows.len() * row;
            // Asked for first, since `vec!` cannot fail. It is what gets zeroed pages without touching them.
            drop(room::<T>(count)?);
            let mut values = vec![T::default(); count];
            if !values.is_empty() {
                transpose(stored, shape, rows.clone(), &mut values, element);
            }
            values
        }
    };
    Ok(Buffer::from_vec(values))
}

/// Fills `values` row by row.
///
/// ```text
///  axes          first        between            last
///  stored step   1            first              first * between
///  wanted step   row          counted backwards  1              (row = between * last)
/// ```
///
/// For each place in the axes between, the first and the last axis are a matrix, which is transposed by tiles.
fn transpose<S: Copy, T>(
    stored: &[S],
    shape: &[usize],
    rows: Range<usize>,
    values: &mut [T],
    element: impl Fn(S) -> T,
) {
    let &[first, ref between @ .., last] = shape else { return };
    let places: usize = between.iter().product();
    let (row, step) = (places * last, first * places);
    let width = (TILE_BYTES / size_of::<T>()).max(1);
    for place in 0..places {
        let from = first * place;
        let to = last * row_major_place(place, between);
        for top in rows.clone().step_by(TILE_ROWS) {
            for left in (0..last).step_by(width) {
                let columns = left..last.min(left + width);
                for index in top..rows.end.min(top + TILE_ROWS) {
                    let start = (index - rows.start) * row + to;
                    let wanted = &mut values[start + columns.start..start + columns.end];
                    let column = stored[from + step * left + index..].iter().step_by(step);
                    for (value, &bytes) in wanted.iter_mut().zip(column) {
                        *value = element(bytes);
                    }
                }
            }
        }
    }
}

/// The place in C's order of the element that stands at `place` in Fortran's.
fn row_major_place(mut place: usize, shape: &[usize]) -> usize {
    let mut step: usize = shape.iter().product();
    let mut found = 0;
    for length in shape {
        step /= length;
        found += place % length * step;
        place /= length;
    }
    found
}

/// Fails if a byte is neither 0 nor 1. `first` is the number of the first of these elements, row by row.
pub(super) fn check_bools(bytes: &[u8], first: usize) -> Result<()> {
    for (number, part) in bytes.chunks(CHECKED).enumerate() {
        if part.iter().fold(0, |all, byte| all | byte) <= 1 {
            continue;
        }
        if let Some((place, byte)) = part.iter().enumerate().find(|(_, byte)| **byte > 1) {
            let place = first + number * CHECKED + place;
            return Err(Error::corrupt(format!(
                "element {place}, counted row by row from 0, is {byte}, and a truth value is 0 or 1"
            )));
        }
    }
    Ok(())
}

/// The error for a dtype that is not read: what it is, and what to do about it.
fn refused(descr: &[u8]) -> Error {
    let name = descr.strip_prefix(b"<").or_else(|| descr.strip_prefix(b">")).or_else(|| descr.strip_prefix(b"|"));
    let (what, try_this) = match name.unwrap_or(descr) {
        b"u8" => ("unsigned 64-bit integers", "convert it with a.astype('i8') if its values are below 2**63"),
        [b'f', ..] => ("floats of an unusual size or order of bytes", "convert it with a.astype('f8')"),
        [b'c', ..] => ("complex numbers", "save a.real and a.imag as two arrays"),
        [b'S' | b'a' | b'U', ..] => ("texts", "save texts as a column of a table, such as a Parquet file"),
        [b'O', ..] => ("Python objects", "save numbers instead; pickled objects are never loaded"),
        [b'V', ..] => ("raw bytes", "convert it with a.view(…)"),
        [b'M', ..] => ("dates", "convert it with a.astype('i8'), or save it as a column of a Parquet file"),
        [b'm', ..] => ("spans of time", "convert it with a.astype('i8')"),
        _ => ("a type that NumPy's format does not describe", "save it again with numpy.save"),
    };
    Error::unsupported(format!("its dtype '{}' is {what}, which Bireme does not read: {try_this}", shown_text(descr)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use super::*;

    /// The element at an index, by the definition of Fortran's order.
    fn stored_place(index: &[usize], shape: &[usize]) -> usize {
        index.iter().zip(shape).rev().fold(0, |place, (index, length)| place * length + index)
    }

    fn indexes(shape: &[usize]) -> Vec<Vec<usize>> {
        shape.iter().fold(vec![Vec::new()], |before, &length| {
            before.iter().flat_map(|index| (0..length).map(|last| [index.as_slice(), &[last]].concat())).collect()
        })
    }

    #[test]
    fn transposition_follows_the_definition() {
        for shape in [
            &[1, 1][..],
            &[3, 4],
            &[17, 33],
            &[40, 2],
            &[2, 3, 4],
            &[5, 1, 3, 2],
            &[18, 2, 2, 19],
            &[130, 35],
            &[70, 3, 20],
            &[2, 0, 3],
        ] {
            let count: usize = shape.iter().product();
            let data: Vec<u8> = (0..count).flat_map(|value| (value as i32 * 7).to_le_bytes()).collect();
            let stored = Stored::parse(b"<i4").unwrap();
            for rows in [0..shape[0], 0..0, shape[0] - 1..shape[0], shape[0] / 2..shape[0]] {
                let read = stored.transposed(&data, shape, rows.clone()).unwrap();
                let wanted = indexes(shape).into_iter().filter(|index| rows.contains(&index[0]));
                let wanted: Vec<i32> = wanted.map(|index| stored_place(&index, shape) as i32 * 7).collect();
                assert_eq!(read.typed_data::<i32>(), wanted, "{shape:?} {rows:?}");
            }
        }
    }

    #[test]
    fn kinds_and_orders() {
        fn check<T: ArrowNativeType>(descr: &str, bytes: &[u8], dtype: FileType, expected: &[T]) {
            let stored = Stored::parse(descr.as_bytes()).unwrap();
            assert_eq!((stored.to_string().as_str(), stored.file_type()), (descr, dtype));
            assert_eq!(stored.converted(bytes).unwrap().typed_data::<T>(), expected, "{descr}");
        }
        check("<f2", &[0, 0x3e, 0, 0xfc], FileType::F32, &[1.5_f32, f32::NEG_INFINITY]);
        check(">f2", &[0x3e, 0], FileType::F32, &[1.5_f32]);
        check("<f4", &1.1_f32.to_le_bytes(), FileType::F32, &[1.1_f32]);
        check(">f8", &1.1_f64.to_be_bytes(), FileType::F64, &[1.1_f64]);
        check("|i1", &[0x80, 1], FileType::I32, &[-128_i32, 1]);
        check("|u1", &[0x80, 1], FileType::I32, &[128_i32, 1]);
        check("<i2", &[0, 0x80], FileType::I32, &[-32768_i32]);
        check(">u2", &[0x80, 0], FileType::I32, &[32768_i32]);
        check(">i4", &[0x80, 0, 0, 1], FileType::I32, &[i32::MIN + 1]);
        check("<u4", &[0, 0, 0, 0x80], FileType::I64, &[1_i64 << 31]);
        check(">u4", &[0x80, 0, 0, 0], FileType::I64, &[1_i64 << 31]);
        check(">i8", &[0x80, 0, 0, 0, 0, 0, 0, 2], FileType::I64, &[i64::MIN + 2]);
        check("|b1", &[1, 0], FileType::Bool, &[1_u8, 0]);
    }

    #[test]
    fn refusals_name_the_dtype() {
        for (descr, part) in [
            ("<u8", "'<u8' is unsigned 64-bit integers, which Bireme does not read: convert it with a.astype('i8')"),
            ("<c16", "'<c16' is complex numbers"),
            ("|S5", "'|S5' is texts"),
            ("<U7", "'<U7' is texts"),
            ("|O", "'|O' is Python objects"),
            ("|V8", "'|V8' is raw bytes"),
            ("<M8[ns]", "'<M8[ns]' is dates"),
            ("<f16", "'<f16' is floats of an unusual size or order"),
            ("|f8", "'|f8' is floats"), // no order of bytes
            ("", "'' is a type that"),
            ("<i3", "'<i3' is a type that"),
            ("<\x01", "'<\u{fffd}' is a type that"),
        ] {
            let error = Stored::parse(descr.as_bytes()).unwrap_err();
            assert!(error.message().contains(part), "{error} lacks {part:?}");
        }
    }

    #[test]
    fn bad_truth_values_are_found_anywhere() {
        let mut bytes = vec![1; 3 * CHECKED + 5];
        check_bools(&bytes, 0).unwrap();
        for place in [0, CHECKED - 1, CHECKED, 3 * CHECKED + 4] {
            bytes[place] = 2;
            let error = check_bools(&bytes, 1000).unwrap_err();
            assert!(error.message().starts_with(&format!("element {},", place + 1000)), "{error}");
            assert!(error.message().contains("is 2"), "{error}");
            bytes[place] = 0;
        }
    }
}
