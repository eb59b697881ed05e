//! Functions of columns of tensors, for DataFrame expressions; SQL has them under the same names.
//!
//! A column of tensors has a `FixedSizeList` of floats in each row, and its shape as Arrow's extension type
//! `arrow.fixed_shape_tensor` in its field's metadata. A list without a shape is a vector. NULL gives NULL; a NULL among the elements
//! is an error. Sums are in doubles, and a row's does not depend on the rows beside it.
//!
//! ```
//! use bireme::functions::{nested::make_array, tensor, tensor_dot, tensor_matvec};
//! use bireme::prelude::*;
//!
//! let session = Session::new()?;
//! let x = tensor(make_array(vec![lit(1.0), lit(2.0)]), [2]);
//! let m = tensor(make_array(vec![lit(1.0), lit(2.0), lit(3.0), lit(4.0)]), [2, 2]);
//! let rows = session.sql("SELECT 1 AS one")?.select([tensor_dot(tensor_matvec(m, x.clone()), x).alias("xmx")])?;
//! assert_eq!(rows.filter(col("xmx").eq(lit(27.0)))?.count()?, 1);
//! # Ok::<(), Error>(())
//! ```

use bireme_operators::tensor as udf;
use datafusion::logical_expr::{Expr, lit};

/// A list of numbers, row-major, as a tensor of this shape. Lists of a fixed size may have an empty one: they are vectors.
///
/// The plan fails if a list has another number of elements than the shape, where types tell; else the action does.
pub fn tensor(list: Expr, shape: impl IntoIterator<Item = usize>) -> Expr {
    // An extent past the range of BIGINT is refused as a negative one is.
    let extents = shape.into_iter().map(|extent| lit(i64::try_from(extent).unwrap_or(-1)));
    udf::tensor().call(std::iter::once(list).chain(extents).collect())
}

/// The sum of products of two tensors' elements, a DOUBLE. Both have one shape, or one length where one has none.
pub fn tensor_dot(left: Expr, right: Expr) -> Expr {
    udf::tensor_dot().call(vec![left, right])
}

/// The root of the sum of squares of a tensor's elements, a DOUBLE.
pub fn tensor_norm(operand: Expr) -> Expr {
    udf::tensor_norm().call(vec![operand])
}

/// The cosine of the angle between two tensors taken as vectors, a DOUBLE from -1 to 1; NaN where one of them is zero.
pub fn tensor_cosine(left: Expr, right: Expr) -> Expr {
    udf::tensor_cosine().call(vec![left, right])
}

/// A matrix times a vector: tensors of shape `[rows, columns]` and `[columns]` give one of shape `[rows]`, of FLOAT if both are, else
/// of DOUBLE. The matrix has a shape (see [`tensor`]), in whose metadata a `permutation` is honoured.
pub fn tensor_matvec(matrix: Expr, vector: Expr) -> Expr {
    udf::tensor_matvec().call(vec![matrix, vector])
}
