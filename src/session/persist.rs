//! Rows that are computed once and stay where they are.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_connectors::memory_table::MemoryTable;
use bireme_engine::error::{Error, Result};
use datafusion::logical_expr::{Expr, Partitioning};

use super::create::duplicate;
use crate::frame::DataFrame;

impl DataFrame {
    /// Runs the query and keeps its rows in memory, on the ranks where they arise; the DataFrame that comes back reads them. Its
    /// layout is kept with it: after `repartition` by a key, joins on this key and groups by it move no rows.
    ///
    /// ```
    /// use bireme::prelude::*;
    /// let session = Session::builder().local_ranks(2).build()?;
    /// let numbers = session.sql("SELECT value AS n, value % 7 AS k FROM generate_series(1, 100) AS t(value)")?;
    /// let kept = numbers.repartition([col("k")])?.persist()?;
    /// let sent = session.progress().bytes_sent;
    /// assert_eq!(kept.group_by([col("k")])?.count()?.collect_local()?.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
    /// assert_eq!(session.progress().bytes_sent, sent, "equal keys were together");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Two columns have the same name; and as [`DataFrame::collect`].
    pub fn persist(&self) -> Result<DataFrame> {
        let schema: SchemaRef = self.schema();
        if let Some(twice) = duplicate(&schema) {
            return Err(Error::user(format!("a table would have two columns `{twice}`; rename one before `persist`")));
        }
        let session = self.session();
        let filled = session.fill(self.program())?;
        let table = MemoryTable::partitioned(schema, filled.here, &filled.all)?.with_layout(filled.hashed_by);
        session.scan("kept", Arc::new(table))
    }

    /// The same rows, each on the rank that the values of these expressions hash to, so that rows which are equal in them are on one
    /// rank. Worth it before [`DataFrame::persist`], if several later queries join or group by them.
    ///
    /// # Errors
    /// There is no expression, a column does not exist, or types do not fit.
    pub fn repartition(&self, keys: impl IntoIterator<Item = Expr>) -> Result<DataFrame> {
        let keys = keys.into_iter().collect::<Vec<_>>();
        if keys.is_empty() {
            return Err(Error::user("repartition needs at least one key"));
        }
        // Names are resolved here, so that the message comes from the line with the mistake.
        self.select(keys.clone())?;
        let lanes = self.session().lanes();
        self.step(|lazy| lazy.repartition(Partitioning::Hash(keys, lanes)))
    }
}
