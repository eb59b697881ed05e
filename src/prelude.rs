//! What programs import: `use bireme::prelude::*;`.

pub use arrow::array::RecordBatch;
pub use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
pub use datafusion::logical_expr::{Expr, JoinType};

pub use crate::array::{compute_all, concatenate, einsum, stack, where_};
pub use crate::functions::{
    ExprFunctionExt, SortOrder, approx_distinct, array_agg, avg, case, cast, col, count, count_distinct, count_star,
    date, first_value, last_value, lit, max, median, min, not, null, rank, row_number, stddev, sum, try_cast, when,
    window,
};
pub use crate::graph::{PageRank, Sources, Vertex};
pub use crate::{
    Array, CsvOptions, DataFrame, Dataset, Error, ErrorKind, Graph, GroupBy, IpcOptions, JsonOptions, Layout,
    LocalTile, ParquetOptions, Record, Result, Schedule, Session, SessionBuilder, SparseArray, Text, WriteOptions,
};
