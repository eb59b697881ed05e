//! How a column of a file becomes a carried column of the table.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::{to_carried, to_logical};
use parquet::basic::{Encoding, Type};
use parquet::file::metadata::ColumnChunkMetaData;

use super::buffers::Pool;
use super::decode::{Bools, Decoder, Fixed, Source, Text};

/// Digits that always fit 64 bits.
const NARROW_DIGITS: u8 = 18;

/// What our own decoders make of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// Values of `width` bytes, labelled with a carried type.
    Fixed {
        source: Source,
        width: u8,
        label: DataType,
    },
    Text {
        utf8: bool,
    },
}

impl Kind {
    /// The kind of a column of this physical type whose Arrow type is `logical`; `None` if only the `parquet` crate
    /// reads it.
    pub(super) fn of(physical: Type, length: i32, logical: &DataType) -> Option<Self> {
        use DataType as D;
        let logical = plain(logical);
        let raw = |width| Some(Self::Fixed { source: Source::Raw, width, label: logical.clone() });
        let decimal = |source, digits: u8| {
            let (width, label) = if digits <= NARROW_DIGITS || matches!(logical, D::Decimal64(..)) {
                (8, D::Int64)
            } else {
                (16, logical.clone())
            };
            Some(Self::Fixed { source, width, label })
        };
        match (physical, logical) {
            (Type::BOOLEAN, D::Boolean) => Some(Self::Bool),
            (Type::INT32, D::Int8 | D::UInt8) => {
                Some(Self::Fixed { source: Source::I32, width: 1, label: logical.clone() })
            }
            (Type::INT32, D::Int16 | D::UInt16) => {
                Some(Self::Fixed { source: Source::I32, width: 2, label: logical.clone() })
            }
            (Type::INT32, D::Int32 | D::UInt32 | D::Date32 | D::Time32(_)) => raw(4),
            (Type::INT32, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..)) => {
                Some(Self::Fixed { source: Source::I32, width: 8, label: D::Int64 })
            }
            (Type::INT64, D::Int64 | D::UInt64 | D::Timestamp(..) | D::Time64(_) | D::Duration(_)) => raw(8),
            (Type::INT64, D::Decimal64(..) | D::Decimal128(..)) => {
                Some(Self::Fixed { source: Source::Raw, width: 8, label: D::Int64 })
            }
            (Type::FLOAT, D::Float32) => raw(4),
            (Type::DOUBLE, D::Float64) => raw(8),
            (
                Type::FIXED_LEN_BYTE_ARRAY,
                D::Decimal32(digits, _) | D::Decimal64(digits, _) | D::Decimal128(digits, _),
            ) if (1..=16).contains(&length) => decimal(Source::BigEndian(length as usize), *digits),
            (Type::BYTE_ARRAY, D::Decimal32(digits, _) | D::Decimal64(digits, _) | D::Decimal128(digits, _)) => {
                decimal(Source::Lengths, *digits)
            }
            (Type::BYTE_ARRAY, D::Utf8 | D::LargeUtf8 | D::Utf8View) => Some(Self::Text { utf8: true }),
            (Type::BYTE_ARRAY, D::Binary | D::LargeBinary | D::BinaryView) => Some(Self::Text { utf8: false }),
            _ => None,
        }
    }

    /// Whether our decoders know all encodings of a column chunk.
    pub(super) fn decodes(&self, chunk: &ColumnChunkMetaData) -> bool {
        chunk.encodings().all(|encoding| match encoding {
            Encoding::RLE => true,
            // Old writers name it for levels that flat columns do not have.
            #[expect(deprecated, reason = "files have it")]
            Encoding::BIT_PACKED => true,
            Encoding::PLAIN => true,
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => *self != Self::Bool,
            Encoding::DELTA_BINARY_PACKED => {
                matches!(self, Self::Fixed { .. }) && matches!(chunk.column_type(), Type::INT32 | Type::INT64)
            }
            Encoding::BYTE_STREAM_SPLIT => matches!(self, Self::Fixed { source, .. } if *source != Source::Lengths),
            Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => matches!(self, Self::Text { .. }),
        })
    }

    /// A decoder of this kind.
    pub(super) fn decoder(&self, pool: &Arc<Pool>) -> Box<dyn Decoder> {
        match self {
            Self::Bool => Box::new(Bools::new(pool)),
            Self::Text { utf8 } => Box::new(Text::new(*utf8)),
            Self::Fixed { source, width, label } => {
                let (source, label) = (*source, label.clone());
                match width {
                    1 => Box::new(Fixed::<u8>::new(source, label, pool)),
                    2 => Box::new(Fixed::<u16>::new(source, label, pool)),
                    4 => Box::new(Fixed::<u32>::new(source, label, pool)),
                    8 => Box::new(Fixed::<u64>::new(source, label, pool)),
                    _ => Box::new(Fixed::<i128>::new(source, label, pool)),
                }
            }
        }
    }
}

/// A type without the dictionary around it.
pub(super) fn plain(logical: &DataType) -> &DataType {
    match logical {
        DataType::Dictionary(_, values) => plain(values),
        other => other,
    }
}

/// Makes carried columns of the table's type out of carried columns of the file's type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adapt {
    file: DataType,
    table: DataType,
}

impl Adapt {
    /// `None` if the file's carried form is one of the table's, too.
    pub(super) fn between(file: &DataType, table: &DataType) -> Option<Self> {
        (!same_form(plain(file), plain(table))).then(|| Self { file: plain(file).clone(), table: plain(table).clone() })
    }

    pub(super) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let logical = to_logical(array, &self.file)?;
        let cast = cast_with_options(&logical, &self.table, &CastOptions { safe: false, ..CastOptions::default() })?;
        to_carried(&cast)
    }
}

fn same_form(file: &DataType, table: &DataType) -> bool {
    use DataType as D;
    let text = |logical: &DataType| matches!(logical, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    let binary = |logical: &DataType| matches!(logical, D::Binary | D::LargeBinary | D::BinaryView);
    match (digits(file), digits(table)) {
        (Some((have, scale)), Some((want, other))) => {
            scale == other && (want > NARROW_DIGITS || have <= NARROW_DIGITS) && want >= have
        }
        _ => file == table || (text(file) && text(table)) || (binary(file) && binary(table)),
    }
}

fn digits(logical: &DataType) -> Option<(u8, i8)> {
    match logical {
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale) => Some((*digits, *scale)),
        _ => None,
    }
}
