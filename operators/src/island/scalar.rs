//! Hands the value of a scalar subquery to the expressions that wait for it.
//!
//! A subquery without references to its surroundings is a part of the StageGraph of its own: computed once, gathered on
//! one rank, and broadcast. On every rank this body then fills the slot that DataFusion's `ScalarSubqueryExpr`s read;
//! the stages that hold such expressions start afterwards.

use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::physical_planning_context::{ScalarSubqueryResults, SubqueryIndex};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::errors::from_datafusion;

/// Receives one subquery's rows on one rank.
#[derive(Debug)]
pub struct ScalarBody {
    exchange: ExchangeId,
    data_type: DataType,
    index: SubqueryIndex,
    results: ScalarSubqueryResults,
}

impl ScalarBody {
    /// Fills `results[index]` with what arrives on `exchange`, a column of type `data_type`.
    pub fn new(
        exchange: ExchangeId,
        data_type: DataType,
        index: SubqueryIndex,
        results: ScalarSubqueryResults,
    ) -> Self {
        Self { exchange, data_type, index, results }
    }
}

impl Body for ScalarBody {
    fn lines(&self) -> Vec<String> {
        vec![format!("scalar subquery from {}", self.exchange)]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let inlets = task.inlets.remove(&self.exchange).unwrap_or_default();
        let (data_type, index, results) = (self.data_type.clone(), self.index, self.results.clone());
        async move {
            let mut value = None;
            for (_, mut inlet) in inlets {
                while let Some(batch) = inlet.next().await {
                    let batch = batch?;
                    for row in 0..batch.num_rows() {
                        let scalar = ScalarValue::try_from_array(batch.column(0), row).map_err(from_datafusion)?;
                        if value.replace(scalar).is_some() {
                            return Err(Error::user(
                                "a scalar subquery returned more than one row; add LIMIT 1 or an aggregate to it",
                            ));
                        }
                    }
                }
            }
            let value = match value {
                Some(value) => value,
                None => ScalarValue::try_from(&data_type).map_err(from_datafusion)?,
            };
            results.set(index, value).map_err(from_datafusion)?;
            for outlet in task.outlets {
                outlet.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}
