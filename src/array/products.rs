//! Products.

use bireme_engine::error::{Error, Result};
use bireme_operators::contract::Einsum;
use bireme_planner::array::{Op, elements};

use super::{Array, Number};

impl<T: Number> Array<T> {
    /// The product as in NumPy's `dot`: of two vectors their inner product, of a matrix and a vector or of two matrices theirs; of more
    /// axes the sum over the last of this array and the last but one of the other. With a number of no axes it is the product of elements.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let x = session.array(vec![1.0, 2.0, 3.0], [3])?;
    /// assert_eq!(x.dot(&x)?.item()?, 14.0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The shapes do not fit; the message has both. Integers that do not fit their type are an error of the action.
    pub fn dot(&self, other: &Self) -> Result<Self> {
        self.check()?;
        other.check()?;
        let letters = ('a'..='z').chain('A'..='Z').collect::<Vec<_>>();
        match (self.ndim(), other.ndim()) {
            (0, _) | (_, 0) => Ok(self.pairwise(other, Op::Binary(bireme_operators::array::Binary::Multiply))),
            (1, 1) if self.shape() == other.shape() && !T::DTYPE.is_float() => einsum("a,a->", [self, other]),
            (1, 1) if self.shape() == other.shape() => {
                let products = self.pairwise::<T>(other, Op::Binary(bireme_operators::array::Binary::Multiply));
                let sum = Op::Reduce(bireme_operators::array::Fold::Sum, 0, 1);
                Ok(Self::make(self.session(), sum, Vec::new(), vec![products.node.clone()], Vec::new()))
            }
            (one, two) => {
                let left = &letters[..one];
                let summed = left[one - 1];
                let mut right = letters[one..one + two].to_vec();
                right[two.saturating_sub(2)] = summed;
                let kept = left[..one - 1].iter().chain(right.iter().filter(|&&letter| letter != summed));
                let text = format!(
                    "{},{}->{}",
                    left.iter().collect::<String>(),
                    right.iter().collect::<String>(),
                    kept.collect::<String>()
                );
                self.product("dot", &text, other)
            }
        }
    }

    /// The product as in NumPy's `matmul`: as [`Array::dot`] of matrices and vectors, and of more axes a batch of products of matrices.
    ///
    /// # Errors
    /// As [`Array::dot`]; an array has no axes.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        self.check()?;
        other.check()?;
        let (one, two) = (self.ndim(), other.ndim());
        if one == 0 || two == 0 {
            return Err(Error::user(format!(
                "no product of matrices of shapes {:?} and {:?}",
                self.shape(),
                other.shape()
            )));
        }
        if one <= 2 && two <= 2 {
            return self.dot(other);
        }
        // Batches are matched from the last axis on, and stretched.
        let of = |shape: &[usize]| if shape.len() > 2 { shape[..shape.len() - 2].to_vec() } else { Vec::new() };
        let batch = bireme_planner::array::broadcast(&of(self.shape()), &of(other.shape()))?;
        let stretch = |array: &Self| match array.ndim() {
            0..=2 => Ok(array.clone()),
            axes => array.broadcast_to([batch.as_slice(), &array.shape()[axes - 2..]].concat()),
        };
        let (left, right) = (stretch(self)?, stretch(other)?);
        let names = ('d'..='z').take(batch.len()).collect::<String>();
        let name = |array: &Self, matrix: &str, vector: &str| match array.ndim() {
            1 => vector.to_owned(),
            2 => matrix.to_owned(),
            _ => format!("{names}{matrix}"),
        };
        let (first, second) = (name(&left, "ab", "b"), name(&right, "bc", "b"));
        let kept = |text: &str, letter: char| if text.contains(letter) { letter.to_string() } else { String::new() };
        let text = format!("{first},{second}->{names}{}{}", kept(&first, 'a'), kept(&second, 'c'));
        left.product("matmul", &text, &right)
    }

    /// All products of an element of this array and one of the other, which are taken as vectors.
    ///
    /// # Errors
    /// The result is too large to address.
    pub fn outer(&self, other: &Self) -> Result<Self> {
        einsum("a,b->ab", [&self.ravel(), &other.ravel()])
    }

    fn product(&self, name: &str, text: &str, other: &Self) -> Result<Self> {
        einsum(text, [self, other]).map_err(|_| {
            Error::user(format!(
                "{name} of arrays of shapes {:?} and {:?}: they do not fit",
                self.shape(),
                other.shape()
            ))
        })
    }
}

/// A product of any number of arrays in Einstein's notation: indices that the result lacks are summed over.
///
/// ```
/// use bireme::prelude::*;
///
/// let session = Session::new()?;
/// let a = session.arange(0.0, 6.0, 1.0).reshape([2, 3])?;
/// let gram = einsum("ik,jk->ij", [&a, &a])?;
/// assert_eq!(gram.to_vec()?, [5.0, 14.0, 14.0, 50.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// The text is no such product, or shapes do not fit it; integers that do not fit their type are an error of the action.
pub fn einsum<'a, T: Number>(text: &str, arrays: impl IntoIterator<Item = &'a Array<T>>) -> Result<Array<T>> {
    let arrays = arrays.into_iter().collect::<Vec<_>>();
    let first = arrays.first().ok_or_else(|| Error::user("a product of no arrays"))?;
    arrays.iter().try_for_each(|array| array.check().map(drop))?;
    let einsum = Einsum::parse(text)?;
    let shapes = arrays.iter().map(|array| array.shape()).collect::<Vec<_>>();
    let shape = einsum.extents(&shapes)?.shape(einsum.output());
    elements(&shape)?;
    let operands = arrays.iter().map(|array| array.node.clone()).collect();
    Ok(Array::make(first.session(), Op::Contract(einsum, None), shape, operands, Vec::new()))
}
