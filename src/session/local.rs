//! Rows that are on the ranks already.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_connectors::memory_table::{LaneInfo, MemoryTable, lane_infos, local_lanes};
use bireme_engine::error::{Error, Result};
use datafusion::catalog::TableProvider;

use super::Session;
use crate::frame::DataFrame;

/// What a rank says of its rows: their columns, and how they are cut.
type Brought = (String, Vec<LaneInfo>);

impl DataFrame {
    /// The rows that the ranks hold: each hands over its own batches, none or many, which stay where they are and are not
    /// copied. The way back is [`DataFrame::collect_local`]. With local ranks there is one caller, and its rows are
    /// everybody's.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::Int64Array;
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let cells = Int64Array::from_iter_values(0..10);
    /// let schema = Arc::new(Schema::new(vec![Field::new("cell", DataType::Int64, false)]));
    /// let mine = RecordBatch::try_new(schema.clone(), vec![Arc::new(cells)]).unwrap();
    /// let cells = DataFrame::from_local_batches(&session, schema, vec![mine])?;
    /// let even = cells.filter((col("cell") % lit(2)).eq(lit(0)))?.collect_local()?;
    /// assert_eq!(even.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A batch has other columns than `schema`; the ranks' schemas differ; a rank is lost. All ranks get the same error.
    pub fn from_local_batches(session: &Session, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        session.scan("local", session.local_table(schema, batches)?)
    }
}

impl Session {
    fn local_table(&self, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
        let lanes = self.inner.options.lanes;
        let rank = match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => rank,
            _ => return Ok(Arc::new(MemoryTable::replicated(schema, batches, lanes)?)),
        };
        let here = local_lanes(&schema, rank.number, batches, lanes / rank.control.ranks());
        let brings = |here| (format!("{:?}", schema.fields()), lane_infos(here, rank.number));
        let ours: Result<Brought> = here.as_ref().map(brings).map_err(Clone::clone);
        let all = rank.control.all_gather_values("local batches", &ours)?;
        let all = all.into_iter().collect::<Result<Vec<Brought>>>()?;
        if let Some(other) = all.iter().position(|(columns, _)| *columns != all[0].0) {
            return Err(Error::user(format!(
                "ranks bring different columns: rank 0 {}, rank {other} {}",
                all[0].0, all[other].0
            )));
        }
        let all = all.into_iter().flat_map(|(_, lanes)| lanes).collect::<Vec<_>>();
        Ok(Arc::new(MemoryTable::partitioned(schema, here?, &all)?))
    }
}
