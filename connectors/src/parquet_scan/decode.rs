//! Decoders: pages of one column in, arrays in carried form out.
//!
//! A decoder opens a page into a [`Body`], which gives its values in any order, and appends values to the column it
//! builds, either a range or some places:
//!
//! ```text
//!  page ──open──► Body ──range / places──► column being built ──finish──► array
//!                  │
//!                  ├ Codes: packed codes of a dictionary (picked out or unpacked when asked for)
//!                  ├ Raw:   values of a fixed width, or bits
//!                  └ Views: sixteen bytes a string, pointing into the page
//! ```
//!
//! Values are addressed by their place among the values of the page; NULLs have none, see
//! [`super::validity::Validity`].

mod bools;
mod fixed;
mod text;

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;

pub(super) use bools::Bools;
pub(super) use fixed::{Fixed, Source};
pub(super) use text::{Text, flat_views};

use super::buffers::Bytes;
use super::damage::{Damage, Decoded};
use super::page_header::encoding;
use super::runs::Runs;

/// The values of an open page.
#[derive(Debug, Default)]
pub(super) enum Body {
    /// None at all.
    #[default]
    Empty,
    Codes(Runs),
    Raw(Bytes),
    Views {
        views: Vec<u128>,
        /// What long views point into.
        buffer: Option<Buffer>,
    },
}

/// Decodes one column chunk; see the module.
pub(super) trait Decoder: Send {
    /// Takes the dictionary of the chunk.
    fn set_dictionary(&mut self, bytes: Bytes, values: usize) -> Decoded<()>;

    /// The values of the dictionary in carried form.
    fn dictionary(&self) -> Option<ArrayRef>;

    /// Makes the `values` encoded values of a page ready, codes excepted. `spent` lends its memory.
    fn open(&mut self, encoding: i32, bytes: Bytes, values: usize, spent: Body) -> Decoded<Body>;

    /// Appends the values `start..start + len` of a page; the caller has checked that it has them.
    fn range(&mut self, body: &Body, start: usize, len: usize) -> Decoded<()>;

    /// Appends the values at some places, which do not descend; the caller has checked that the page has them.
    fn places(&mut self, body: &Body, places: &[u32]) -> Decoded<()>;

    /// Appends arbitrary values, for NULLs.
    fn nothing(&mut self, count: usize);

    /// The column that was built, which must have `len` rows; the next one is begun.
    fn finish(&mut self, len: usize, nulls: Option<NullBuffer>) -> Decoded<ArrayRef>;
}

/// The codes of a dictionary-coded page.
pub(super) fn open_codes(bytes: &Bytes, values: usize, spent: Body) -> Decoded<Body> {
    let Some(&width) = bytes.as_slice().first() else {
        return Err(Damage::new("a page of codes is empty"));
    };
    let reuse = match spent {
        Body::Codes(runs) => Some(runs),
        _ => None,
    };
    Ok(Body::Codes(Runs::parse(bytes.slice(1..bytes.len())?, u32::from(width), values, reuse)?))
}

/// Whether an encoding means codes of a dictionary.
pub(super) fn is_coded(encoding: i32) -> bool {
    matches!(encoding, encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY)
}

fn unknown(encoding: i32) -> Damage {
    Damage::new(format!("a page has encoding {encoding}, which its column must not have"))
}

fn wrong_body() -> Damage {
    Damage::internal("a page was opened by another decoder")
}

fn short() -> Damage {
    Damage::new("a page has fewer values than it says")
}

fn beyond() -> Damage {
    Damage::new("a code lies beyond the dictionary")
}

fn checked_len(have: usize, want: usize, label: &DataType) -> Decoded<()> {
    if have == want {
        Ok(())
    } else {
        Err(Damage::internal(format!("a {label} column of {have} values for {want} rows")))
    }
}
