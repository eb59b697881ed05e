//! Functions of columns of tensors: small vectors and matrices of one shape, one a row.
//!
//! A column of tensors is a `FixedSizeList` of floats, row-major; its shape stands in the field's metadata as Arrow's extension type
//! `arrow.fixed_shape_tensor` says (<https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor>):
//!
//! ```text
//!  rows  ┌ 1 2 3 4 5 6 ┐   FixedSizeList(6 × Float64), {"shape":[2,3]}      ┌ 1 2 3 ┐
//!        └ 7 8 9 0 1 2 ┘   row 0 is                                         └ 4 5 6 ┘
//! ```
//!
//! | function | of | gives |
//! |---|---|---|
//! | `tensor(list, 2, 3)` | a list of numbers | a tensor of this shape |
//! | `tensor_dot(a, b)` | two of one length | the sum of products, DOUBLE |
//! | `tensor_norm(a)` | one | the root of the sum of squares, DOUBLE |
//! | `tensor_cosine(a, b)` | two of one length | `a·b / (‖a‖ ‖b‖)`, DOUBLE; NaN where one is zero |
//! | `tensor_matvec(m, x)` | a matrix and a vector | the vector `m x`, a tensor |
//!
//! Names begin with `tensor_` because those that begin with `array_` and `list_`, and some bare ones (`inner_product`,
//! `dot_product`, `cosine_distance`), are DataFusion's functions of lists, which know of no shapes.
//!
//! *Arguments.* Lists without a shape are vectors, and so are `List` columns and literals such as `[1, 2]`, whose lengths are
//! compared row by row; two tensors of different shapes are an error even if they have as many elements. Elements are
//! `Float32` or `Float64`; other numbers are taken as `Float64`.
//!
//! *NULLs.* A NULL tensor gives NULL. A NULL among the elements is an error, as in DuckDB and pgvector: a tensor has none.
//!
//! *Sums* are in doubles, whatever the elements are. A row's sum is taken in an order that depends on its length alone: lane `l`
//! of 16 (of 8 for the cosine) adds elements `l`, `l + 16`, …, and lanes are added in halves. So a row has the same bits in every
//! batch, on every rank and with every width of registers. Squares of elements past 1e±154 leave the range of doubles.
//!
//! Cost: one pass over the elements, bound by memory from some hundred elements a row on.

mod kernels;
mod make;
mod matvec;
mod measure;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;

use make::Make;
use matvec::MatVec;
use measure::Measure;

/// All functions, in the order of the table above.
pub fn functions() -> [Arc<ScalarUDF>; 5] {
    [tensor(), tensor_dot(), tensor_norm(), tensor_cosine(), tensor_matvec()]
}

/// Makes the functions known to a session.
#[must_use]
pub fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.scalar_functions().get_or_insert_default().extend(functions());
    builder
}

/// `tensor(list, shape…)`.
pub fn tensor() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Make::new())));
    Arc::clone(&FUNCTION)
}

/// `tensor_dot(a, b)`.
pub fn tensor_dot() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Measure::dot())));
    Arc::clone(&FUNCTION)
}

/// `tensor_norm(a)`.
pub fn tensor_norm() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Measure::norm())));
    Arc::clone(&FUNCTION)
}

/// `tensor_cosine(a, b)`.
pub fn tensor_cosine() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Measure::cosine())));
    Arc::clone(&FUNCTION)
}

/// `tensor_matvec(m, x)`.
pub fn tensor_matvec() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(MatVec::new())));
    Arc::clone(&FUNCTION)
}
