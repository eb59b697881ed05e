//! Places rows by the hash of key expressions.
//!
//! The hash is the engine's, over logical values: rows that SQL calls equal meet in the same lane, whatever encoding or
//! batch they come in, and on whatever rank.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use bireme_engine::error::Result;
use bireme_engine::hash::hash_columns;
use bireme_engine::stage::Partitioner;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use crate::errors::from_datafusion;

/// Sends each row to the lane that its key expressions hash to.
#[derive(Clone)]
pub struct HashPartitioner {
    /// The keys; without any, all rows go to one lane.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl HashPartitioner {
    /// Partitions by `exprs`, in this order.
    pub fn new(exprs: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { exprs }
    }
}

impl fmt::Debug for HashPartitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Partitioner for HashPartitioner {
    fn describe(&self) -> String {
        let keys = self.exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("hash({keys})")
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        let mut hashes = Vec::with_capacity(batch.num_rows());
        self.hashes(batch, &mut hashes)?;
        out.clear();
        out.extend(hashes.into_iter().map(|hash| lane_of(hash, lanes)));
        Ok(())
    }

    fn hashes(&self, batch: &RecordBatch, out: &mut Vec<u64>) -> Result<()> {
        let rows = batch.num_rows();
        let keys = self
            .exprs
            .iter()
            .map(|expr| expr.evaluate(batch).and_then(|value| value.into_array(rows)))
            .collect::<datafusion::common::Result<Vec<ArrayRef>>>()
            .map_err(|error| from_datafusion(error).context(format!("computing the keys of {}", self.describe())))?;
        hash_columns(&keys, rows, out)
    }

    fn may_fail(&self) -> bool {
        self.exprs.iter().any(|expr| !expr.is::<Column>())
    }
}

/// The lane of a hash: the place of its upper half in `0..2^32`, scaled to `0..lanes`. Hash tables may use the lower half.
#[inline(always)]
fn lane_of(hash: u64, lanes: usize) -> u32 {
    (((hash >> 32) * lanes as u64) >> 32) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use arrow::array::{Array, AsArray, DictionaryArray, Float64Array, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};

    use super::*;

    fn batch(keys: Vec<Option<i64>>, names: Vec<Option<&str>>) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("key", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(Int64Array::from(keys)), Arc::new(StringArray::from(names))],
        )
        .unwrap()
    }

    fn lanes_of(partitioner: &HashPartitioner, batch: &RecordBatch, lanes: usize) -> Vec<u32> {
        let mut out = vec![77]; // what was in it before does not matter
        partitioner.assign(batch, lanes, &mut out).unwrap();
        out
    }

    #[test]
    fn rows_find_the_same_lane_in_any_batch() {
        let first = batch((0..100).map(Some).collect(), (0..100).map(|_| Some("a")).collect());
        let second = batch((0..100).rev().map(Some).collect(), (0..100).map(|_| Some("b")).collect());
        let by_key = HashPartitioner::new(vec![col("key", &first.schema()).unwrap()]);
        for lanes in [1, 2, 3, 5, 8] {
            let (ahead, mut back) = (lanes_of(&by_key, &first, lanes), lanes_of(&by_key, &second, lanes));
            back.reverse();
            assert_eq!(ahead, back);
            assert!(ahead.iter().all(|&lane| (lane as usize) < lanes));
            let used = ahead.iter().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(used.len(), lanes, "100 keys use all of {lanes} lanes");
            let both = concat_batches(&first.schema(), [&first, &second]).unwrap();
            assert_eq!(lanes_of(&by_key, &both, lanes)[..100], ahead);
        }
    }

    #[test]
    fn equal_values_meet_whatever_holds_them() {
        let plain = batch(vec![None; 4], vec![Some("x"), None, Some("y"), Some("x")]);
        let names: DictionaryArray<Int32Type> = plain.column(1).as_string::<i32>().iter().collect();
        let schema = Schema::new(vec![Field::new("name", names.data_type().clone(), true)]);
        let encoded = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names)]).unwrap();
        let lanes = |batch: &RecordBatch| {
            lanes_of(&HashPartitioner::new(vec![col("name", &batch.schema()).unwrap()]), batch, 1000)
        };
        assert_eq!(lanes(&plain), lanes(&encoded));

        let schema = Schema::new(vec![Field::new("v", DataType::Float64, false)]);
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        assert_ne!(
            zeros.as_primitive::<Float64Type>().value(0).to_bits(),
            zeros.as_primitive::<Float64Type>().value(1).to_bits()
        );
        let zeros = RecordBatch::try_new(Arc::new(schema), vec![zeros]).unwrap();
        let found = lanes_of(&HashPartitioner::new(vec![col("v", &zeros.schema()).unwrap()]), &zeros, 1000);
        assert_eq!(found[0], found[1]);
    }

    #[test]
    fn no_keys_is_one_lane_and_no_rows_are_none() {
        let nothing = HashPartitioner::new(vec![]);
        let rows = batch(vec![Some(1), Some(2), None], vec![None, None, None]);
        let found = lanes_of(&nothing, &rows, 4);
        assert!(found.len() == 3 && found.iter().all(|lane| *lane == found[0]));
        assert!(lanes_of(&nothing, &rows.slice(0, 0), 4).is_empty());
        let constant = HashPartitioner::new(vec![lit(7_i64)]);
        assert_eq!(lanes_of(&constant, &rows, 4).len(), 3);
    }

    #[test]
    fn describes_itself_and_its_errors() {
        let rows = batch(vec![Some(i64::MAX)], vec![None]);
        let key = col("key", &rows.schema()).unwrap();
        let both = HashPartitioner::new(vec![Arc::clone(&key), col("name", &rows.schema()).unwrap()]);
        assert_eq!(both.describe(), "hash(key@0, name@1)");
        assert_eq!(format!("{both:?}"), both.describe());
        let next = BinaryExpr::new(key, Operator::Plus, lit(1_i64)).with_fail_on_overflow(true);
        let error = HashPartitioner::new(vec![Arc::new(next)]).assign(&rows, 2, &mut vec![]).unwrap_err();
        assert_eq!(error.kind(), bireme_engine::ErrorKind::User);
        assert!(error.message().starts_with("computing the keys of hash(key@0 + 1): arithmetic overflow"), "{error}");
    }
}
