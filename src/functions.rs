//! Functions for DataFrame expressions: DataFusion's, under their SQL names, and a few of ours.

mod tensor;

use datafusion::common::ScalarValue;
pub use datafusion::functions::expr_fn::*;
pub use datafusion::functions_aggregate::expr_fn::{
    approx_distinct, approx_median, approx_percentile_cont, array_agg, avg, bit_and, bit_or, bit_xor, bool_and,
    bool_or, corr, count, count_distinct, covar_pop, covar_samp, first_value, last_value, max, median, min, nth_value,
    stddev, stddev_pop, var_pop, var_sample,
};
pub use datafusion::functions_nested::expr_fn as nested;
pub use datafusion::functions_window::expr_fn::{
    cume_dist, dense_rank, lag, lead, ntile, percent_rank, rank, row_number,
};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
pub use datafusion::logical_expr::{
    ExprFunctionExt, case, cast, col, exists, ident, in_subquery, lit, not, try_cast, when,
};
pub use tensor::{tensor, tensor_cosine, tensor_dot, tensor_matvec, tensor_norm};

/// The sum of a column; integers and decimals do not wrap: a sum past its type's range is an error.
///
/// ```
/// use bireme::prelude::*;
/// let total = sum(col("price") * col("quantity")).alias("total");
/// # let _ = total;
/// ```
pub fn sum(argument: Expr) -> Expr {
    bireme_operators::checked_sum::checked_sum().call(vec![argument])
}

/// The number of rows: `COUNT(*)`.
pub fn count_star() -> Expr {
    datafusion::functions_aggregate::count::count_all()
}

/// A date from its ISO text, `date("1998-09-02")`.
///
/// The text is checked when the plan is made: a text that is not a date is an error there.
pub fn date(text: &str) -> Expr {
    datafusion::logical_expr::cast(lit(text), arrow::datatypes::DataType::Date32)
}

/// A NULL of any type.
pub fn null() -> Expr {
    lit(ScalarValue::Null)
}

/// An aggregate over a window: `window(sum(col("x")))`, then `.partition_by(…)`, `.order_by(…)`, `.build()`.
pub fn window(aggregate: Expr) -> Expr {
    match aggregate {
        Expr::AggregateFunction(call) => {
            let function = datafusion::logical_expr::WindowFunctionDefinition::AggregateUDF(call.func);
            Expr::from(WindowFunction::new(function, call.params.args))
        }
        other => other,
    }
}

/// Sort directions for columns and expressions.
pub trait SortOrder {
    /// Smallest first, NULLs last.
    fn asc(self) -> Sort;
    /// Largest first, NULLs last.
    fn desc(self) -> Sort;
}

impl SortOrder for Expr {
    fn asc(self) -> Sort {
        self.sort(true, false)
    }

    fn desc(self) -> Sort {
        self.sort(false, false)
    }
}
