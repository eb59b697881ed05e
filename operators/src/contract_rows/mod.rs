//! Contractions of tables: `SUM(a.v * b.v)` of a join, grouped by index columns, as a product of tensors.
//!
//! ```text
//!   a   i  k   v          b   k  j   v              letters: batch  in both tables and in the result
//!       0  1  2.0             1  0  3.0                      summed in both tables
//!       1  1  5.0             1  1  4.0                      free   in one table and in the result
//!           │                     │
//!           └─ code: numbers 0..n for the values of each letter ─┘
//!                                 │
//!       few empty cells: boxes, one product of matrices      many: rows by rows (Gustavson), no box
//!                                 │
//!   c   i  j   v                                    only groups that a pair of rows is in
//! ```
//!
//! The meaning is SQL's. Rows with equal coordinates add up, for a sum of products over pairs is the product of sums. Keys that
//! are NULL have no partner; a NULL group is a group; a NULL value adds nothing, but its pairs make a group, whose sum is NULL if
//! it has no other pairs. Where boxes have empty cells, a product of bits says which groups there are, and infinite values, which
//! times nothing would be NaN, go row by row. Integers go through floating-point products only while these are exact, and row by
//! row, checked, otherwise.
//!
//! Which way is cheaper is known when the rows are there: see [`Kernel::choose`].
//!
//! F. G. Gustavson: Two fast algorithms for sparse matrices, ACM TOMS 4 (1978).

mod bits;
mod body;
mod code;
mod dense;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use bireme_engine::error::{Error, Result};

pub use body::ContractBody;
use code::{Coded, Coder};
use writer::Writer;

/// What the columns of two tables and of their product stand for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableContraction {
    /// In both tables and in the result: pairs of columns.
    pub batch: Vec<(usize, usize)>,
    /// In both tables, and summed over.
    pub summed: Vec<(usize, usize)>,
    /// Of the left table alone, in the result.
    pub left_free: Vec<usize>,
    /// Of the right table alone, in the result.
    pub right_free: Vec<usize>,
    /// The left table's values; `None`: each row is a one.
    pub left_value: Option<usize>,
    /// The right table's values.
    pub right_value: Option<usize>,
    /// The columns of the result.
    pub output: Vec<Output>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// A column of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// The values of a batch letter.
    Batch(usize),
    /// The values of a free letter of the left table.
    LeftFree(usize),
    /// The values of a free letter of the right table.
    RightFree(usize),
    /// The sums of products.
    Sum,
}

/// How a contraction was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// No pair of rows.
    Empty,
    /// A product of dense boxes.
    Dense,
    /// Row by row.
    Sparse,
}

/// What a contraction did.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// How.
    pub kernel: Kernel,
    /// Extents of the letters: batch, rows, summed, columns.
    pub extents: [usize; 4],
}

/// Letters of the einsum notation.
const LETTERS: &[u8] = b"ijklmnopqrstuvwxyzabcdefghABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl TableContraction {
    /// In einsum notation: `ik,kj->ij`.
    pub fn notation(&self) -> String {
        let mut letters = LETTERS.iter().map(|&letter| letter as char).chain(std::iter::repeat('?'));
        let mut take = |count: usize| letters.by_ref().take(count).collect::<String>();
        let (free_left, batch) = (take(self.left_free.len()), take(self.batch.len()));
        let (free_right, summed) = (take(self.right_free.len()), take(self.summed.len()));
        let of_output = self.output.iter().filter_map(|output| match *output {
            Output::Batch(at) => batch.chars().nth(at),
            Output::LeftFree(at) => free_left.chars().nth(at),
            Output::RightFree(at) => free_right.chars().nth(at),
            Output::Sum => None,
        });
        format!("{batch}{free_left}{summed},{batch}{summed}{free_right}->{}", of_output.collect::<String>())
    }

    /// Looks at the rows of both tables, decides how, and computes as much as has to be known before the first group; on the
    /// rayon pool that it is called in. `memory` says whether so many bytes may be taken for boxes.
    ///
    /// # Errors
    /// Columns are not of the types that were planned; there are more groups than can be counted.
    pub fn prepare(
        &self,
        left: &[RecordBatch],
        right: &[RecordBatch],
        memory: impl Fn(usize) -> bool,
    ) -> Result<(Box<dyn Rounds>, Done)> {
        match self.sum_type() {
            DataType::Int64 => self.prepare_as::<i64>(left, right, memory),
            _ => self.prepare_as::<f64>(left, right, memory),
        }
    }

    /// The type of the sums.
    fn sum_type(&self) -> &DataType {
        let at = self.output.iter().position(|output| *output == Output::Sum);
        at.map_or(&DataType::Float64, |at| self.schema.field(at).data_type())
    }

    fn prepare_as<V: Value>(
        &self,
        left: &[RecordBatch],
        right: &[RecordBatch],
        memory: impl Fn(usize) -> bool,
    ) -> Result<(Box<dyn Rounds>, Done)> {
        let most = [left, right].map(|table| table.iter().map(RecordBatch::num_rows).sum::<usize>());
        if most.into_iter().any(|rows| u32::try_from(rows).is_err()) {
            return Err(Error::resources(format!(
                "a contraction of tables with {} and {} rows on one rank, which has at most 2^32 - 1; use more ranks, or SET \
                 bireme.contractions = false",
                most[0], most[1]
            )));
        }
        let (at_left, at_right): (Vec<_>, Vec<_>) = self.batch.iter().copied().unzip();
        let (keys_left, keys_right): (Vec<_>, Vec<_>) = self.summed.iter().copied().unzip();
        let batch = Coder::shared(left, &at_left, right, &at_right)?;
        let summed = Coder::shared(left, &keys_left, right, &keys_right)?;
        let (rows, cols) =
            rayon::join(|| Coder::alone(left, &self.left_free), || Coder::alone(right, &self.right_free));
        let (rows, cols) = (rows?, cols?);
        let (one, other) = rayon::join(
            || {
                let coders = [(&batch, &at_left), (&rows, &self.left_free), (&summed, &keys_left)];
                Coded::<V>::new(left, coders, self.left_value)
            },
            || {
                let coders = [(&batch, &at_right), (&cols, &self.right_free), (&summed, &keys_right)];
                Coded::<V>::new(right, coders, self.right_value)
            },
        );
        let (one, other) = (one?, other?);
        let extents = [batch.extent(), rows.extent(), summed.extent(), cols.extent()];
        let kernel = Kernel::choose(extents, &one, &other, memory);
        let writer = Writer::new(self, &batch, &rows, &cols);
        if kernel == Kernel::Dense
            && let Some(product) = dense::product(extents, &one, &other)
        {
            return Ok((Box::new(dense::Groups::<V>::new(product, writer)), Done { kernel, extents }));
        }
        let kernel = if kernel == Kernel::Empty { kernel } else { Kernel::Sparse };
        Ok((Box::new(sparse::Groups::new(extents, one, other, writer)), Done { kernel, extents }))
    }
}

/// The groups of a contraction, some at a time.
pub trait Rounds: Send + Sync {
    /// How many rounds there are.
    fn count(&self) -> usize;

    /// The groups of one, on the rayon pool that it is called in.
    ///
    /// # Errors
    /// A user's error if a sum of integers does not fit.
    fn round(&self, number: usize) -> Result<Vec<RecordBatch>>;
}

/// Bytes that a row takes while it is contracted, beside its columns: coordinates, a place in the order of rows, its partners.
pub const ROW_BYTES: usize = 88;

/// What a cell of a box costs beside arithmetic, and what a pair of rows costs in a product row by row, as a multiple of a
/// multiplication in a dense product. Guesses: the crossover has not been measured.
const CELL: f64 = 24.0;
const PAIR: f64 = 60.0;

/// No boxes of more cells than this.
const MOST_CELLS: f64 = 4e9;

impl Kernel {
    /// Weighs the multiplications of a dense product against the pairs of rows that there are.
    fn choose<V: Value>(
        extents: [usize; 4],
        left: &Coded<V>,
        right: &Coded<V>,
        memory: impl Fn(usize) -> bool,
    ) -> Kernel {
        if left.is_empty() || right.is_empty() {
            return Kernel::Empty;
        }
        let [batch, rows, summed, cols] = extents.map(|extent| extent as f64);
        let cells = batch * (rows * summed + summed * cols + rows * cols);
        let pairs = code::pairs(left, right, extents);
        let dense = batch * rows * summed * cols + CELL * cells;
        let sparse = PAIR * (pairs + (left.len() + right.len()) as f64);
        // Values, and a bit for each cell.
        let bytes = cells * 8.25;
        if dense <= sparse && cells <= MOST_CELLS && memory(bytes as usize) { Kernel::Dense } else { Kernel::Sparse }
    }
}

/// A type of values that are multiplied and summed.
pub(crate) trait Value: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// Sums on their way.
    type Sum: Copy + Default + Send + Sync + std::fmt::Debug;

    const ONE: Self;

    /// The values of a column, and whether each is there.
    fn column(array: &dyn arrow::array::Array) -> Result<(&[Self], Option<&arrow::buffer::NullBuffer>)>;

    /// One more product.
    fn add(sum: &mut Self::Sum, left: Self, right: Self) -> Result<()>;

    /// The sum, if it is one.
    fn end(sum: Self::Sum) -> Result<Self>;

    /// Values as floating-point numbers; the sum of magnitudes of equal coordinates must not lose anything.
    fn to_float(self) -> f64;

    /// Back.
    fn from_float(value: f64) -> Self;

    /// Whether a dense product of values up to these magnitudes, over so many terms, is what the sums would be; `complete`: no
    /// cell is empty or NULL.
    fn is_exact(left: f64, right: f64, terms: f64, complete: bool) -> bool;

    /// A column of them.
    fn array(values: Vec<Self>, nulls: Option<arrow::buffer::NullBuffer>) -> arrow::array::ArrayRef;
}

fn wrong_type(array: &dyn arrow::array::Array) -> Error {
    Error::internal(format!("a contraction of values of type {}", array.data_type()))
}

impl Value for f64 {
    type Sum = f64;

    const ONE: Self = 1.0;

    fn column(array: &dyn arrow::array::Array) -> Result<(&[Self], Option<&arrow::buffer::NullBuffer>)> {
        let array = array.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong_type(array))?;
        Ok((array.values(), arrow::array::Array::nulls(array)))
    }

    fn add(sum: &mut f64, left: f64, right: f64) -> Result<()> {
        *sum += left * right;
        Ok(())
    }

    fn end(sum: f64) -> Result<f64> {
        Ok(sum)
    }

    fn to_float(self) -> f64 {
        self
    }

    fn from_float(value: f64) -> f64 {
        value
    }

    fn is_exact(left: f64, right: f64, _: f64, complete: bool) -> bool {
        // Infinity times an empty cell would be NaN.
        complete || (left.is_finite() && right.is_finite())
    }

    fn array(values: Vec<f64>, nulls: Option<arrow::buffer::NullBuffer>) -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::Float64Array::new(values.into(), nulls))
    }
}

impl Value for i64 {
    type Sum = i128;

    const ONE: Self = 1;

    fn column(array: &dyn arrow::array::Array) -> Result<(&[Self], Option<&arrow::buffer::NullBuffer>)> {
        let array = array.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(array))?;
        Ok((array.values(), arrow::array::Array::nulls(array)))
    }

    fn add(sum: &mut i128, left: i64, right: i64) -> Result<()> {
        // As the multiplication of two columns: a product that does not fit is an error, whatever the sum would be.
        let product = left.checked_mul(right).ok_or_else(|| overflow("a product"))?;
        *sum += i128::from(product);
        Ok(())
    }

    fn end(sum: i128) -> Result<i64> {
        i64::try_from(sum).map_err(|_| overflow("a sum of products"))
    }

    fn to_float(self) -> f64 {
        self as f64
    }

    fn from_float(value: f64) -> i64 {
        value as i64
    }

    fn is_exact(left: f64, right: f64, terms: f64, _: bool) -> bool {
        const EXACT: f64 = (1_u64 << 53) as f64;
        left * right * terms < EXACT
    }

    fn array(values: Vec<i64>, nulls: Option<arrow::buffer::NullBuffer>) -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::Int64Array::new(values.into(), nulls))
    }
}

fn overflow(what: &str) -> Error {
    Error::user(format!("integer overflow: {what} does not fit into BIGINT; cast the values to DOUBLE or DECIMAL"))
}
