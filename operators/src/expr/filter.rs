//! Which rows fulfil a condition.
//!
//! The parts of a conjunction are evaluated one after the other. Once few rows are left, the columns of the next part are
//! gathered first, and it is evaluated on these rows only; so is a part that can fail as soon as a row is dropped.
//!
//! ```text
//!   rows        ████████████████  part 1, on all
//!   left        █ ██ ███  ██ ██   part 2, on all: gathering would cost more
//!   left          █    █     █    part 3, on three
//! ```

use arrow::array::{Array, BooleanArray};
use arrow::buffer::{BooleanBuffer, MutableBuffer};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::Chunk;

use super::gather::{compact, indices};
use super::node::Node;
use super::value::{Rows, Value, truths};
use crate::pipeline::ir::Expr;

/// Once one of so many rows is left, the next part is evaluated on those alone.
const FEW: usize = 6;

/// A condition that is ready to be evaluated.
#[derive(Debug)]
pub struct Filter {
    conjuncts: Vec<Node>,
}

/// Rows that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Not one.
    None,
    /// All of them.
    All,
    /// Those whose bit is set: at least one, but not all.
    Some(BooleanBuffer),
}

impl Selected {
    /// What the bits say.
    pub fn of(bits: BooleanBuffer) -> Self {
        match bits.count_set_bits() {
            0 => Selected::None,
            count if count == bits.len() => Selected::All,
            _ => Selected::Some(bits),
        }
    }

    /// A bit for each of `rows` rows.
    pub fn into_bits(self, rows: usize) -> BooleanBuffer {
        match self {
            Selected::None => BooleanBuffer::new_unset(rows),
            Selected::All => BooleanBuffer::new_set(rows),
            Selected::Some(bits) => bits,
        }
    }
}

impl Filter {
    /// A condition over the columns of chunks.
    ///
    /// # Errors
    /// The expression is not sound, or a value that is known beforehand cannot be computed.
    pub fn new(expr: &Expr) -> Result<Self> {
        let conjuncts = expr.clone().conjuncts();
        Ok(Self { conjuncts: conjuncts.iter().map(Node::new).collect::<Result<_>>()? })
    }

    /// The rows for which it is true: neither false nor NULL.
    ///
    /// # Errors
    /// It fails on a row.
    pub fn select(&self, chunk: &Chunk) -> Result<Selected> {
        self.select_rows(&Rows::new(&chunk.columns, chunk.rows))
    }

    /// The chunk with these rows only; the chunk itself if they are all, nothing if there are none.
    ///
    /// # Errors
    /// It fails on a row.
    pub fn apply(&self, chunk: Chunk) -> Result<Option<Chunk>> {
        Ok(match self.select(&chunk)? {
            Selected::None => None,
            Selected::All => (chunk.rows > 0).then_some(chunk),
            Selected::Some(bits) => Some(compact(&chunk, &bits)?),
        })
    }

    pub(super) fn conjuncts(&self) -> &[Node] {
        &self.conjuncts
    }

    pub(super) fn select_rows(&self, rows: &Rows<'_>) -> Result<Selected> {
        if rows.rows == 0 {
            return Ok(Selected::None);
        }
        let mut left = Left::All;
        for part in &self.conjuncts {
            left = match left {
                Left::All => Left::of(bits_of(part, rows)?),
                Left::Bits(bits, count) if count * FEW > rows.rows && !part.can_fail() => {
                    let next = bits_of(part, rows)?;
                    Left::of(&bits & &next)
                }
                Left::Bits(bits, _) => Left::Places(on_places(part, rows, indices(&bits))?),
                Left::Places(places) => Left::Places(on_places(part, rows, places)?),
            };
            if left.is_none() {
                return Ok(Selected::None);
            }
        }
        Ok(match left {
            Left::All => Selected::All,
            Left::Bits(bits, _) => Selected::Some(bits),
            Left::Places(places) if places.len() == rows.rows => Selected::All,
            Left::Places(places) => Selected::Some(bits_at(&places, rows.rows)),
        })
    }
}

/// Rows that no part has dropped yet.
enum Left {
    All,
    Bits(BooleanBuffer, usize),
    Places(Vec<u32>),
}

impl Left {
    fn of(bits: BooleanBuffer) -> Self {
        match bits.count_set_bits() {
            count if count == bits.len() => Left::All,
            count => Left::Bits(bits, count),
        }
    }

    fn is_none(&self) -> bool {
        match self {
            Left::All => false,
            Left::Bits(_, count) => *count == 0,
            Left::Places(places) => places.is_empty(),
        }
    }
}

fn bits_of(part: &Node, rows: &Rows<'_>) -> Result<BooleanBuffer> {
    truths_of(&part.evaluate(rows)?, rows.rows)
}

fn truths_of(value: &Value, rows: usize) -> Result<BooleanBuffer> {
    if value.scalar && value.is_null_scalar() || value.array.data_type() == &arrow::datatypes::DataType::Null {
        return Ok(BooleanBuffer::new_unset(rows));
    }
    let bits: &BooleanArray = value.as_boolean()?;
    if value.scalar {
        return Ok(if bits.value(0) { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) });
    }
    if bits.len() != rows {
        return Err(Error::internal(format!("a condition of {} rows on {rows}", bits.len())));
    }
    Ok(truths(bits))
}

/// The places that fulfil one more part.
fn on_places(part: &Node, rows: &Rows<'_>, mut places: Vec<u32>) -> Result<Vec<u32>> {
    let columns = rows.gathered(part.columns(), &places)?;
    let bits = bits_of(part, &Rows::new(&columns, places.len()))?;
    let mut kept = 0;
    for row in bits.set_indices() {
        places[kept] = places[row];
        kept += 1;
    }
    places.truncate(kept);
    Ok(places)
}

fn bits_at(places: &[u32], rows: usize) -> BooleanBuffer {
    let mut bits = MutableBuffer::from_len_zeroed(rows.div_ceil(8));
    let bytes = bits.as_slice_mut();
    for &place in places {
        bytes[place as usize / 8] |= 1 << (place % 8);
    }
    BooleanBuffer::new(bits.into(), 0, rows)
}
