#![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]))
}

fn batch(values: std::ops::Range<i64>) -> RecordBatch {
    let text = values.clone().map(|value| value.to_string());
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(values)), Arc::new(StringArray::from_iter_values(text))];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn scan(table: &MemoryTable, projection: Option<Vec<usize>>, limit: Option<usize>) -> Arc<MemoryScanExec> {
    let context = SessionContext::new();
    let plan = futures::executor::block_on(table.scan(&context.state(), projection.as_ref(), &[], limit)).unwrap();
    plan.downcast_ref::<MemoryScanExec>()
        .unwrap()
        .slice(&(0..plan.properties().partitioning.partition_count()).collect::<Vec<_>>())
}

async fn values(plan: Arc<MemoryScanExec>) -> Vec<i64> {
    let batches = collect(plan, SessionContext::new().task_ctx()).await.unwrap();
    let mut values: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    values.sort_unstable();
    values
}

#[tokio::test]
async fn replicated_rows_are_spread_in_order() {
    let table = MemoryTable::replicated(schema(), vec![batch(0..3), batch(3..10)], 4).unwrap();
    let rows: Vec<u64> = table.lanes().iter().map(|lane| lane.rows).collect();
    assert_eq!(rows, [2, 3, 2, 3]);
    let plan = scan(&table, None, None);
    assert_eq!(plan.pins(), [Pin::Free; 4]);
    assert_eq!(values(Arc::clone(&plan)).await, (0..10).collect::<Vec<_>>());
    assert_eq!(values(plan.slice(&[1])).await, [2, 3, 4]);
    let empty = MemoryTable::replicated(schema(), vec![], 4).unwrap();
    assert_eq!(values(scan(&empty, None, None)).await, Vec::<i64>::new());
}

#[tokio::test]
async fn projection_and_fetch() {
    let table = MemoryTable::replicated(schema(), vec![batch(0..10)], 2).unwrap();
    let plan = scan(&table, Some(vec![0]), Some(2));
    assert_eq!(plan.schema().fields().len(), 1);
    assert_eq!(values(plan).await, [0, 1, 5, 6]);
}

#[tokio::test]
async fn sql_counts_by_statistics() {
    let context = SessionContext::new();
    let table = Arc::new(MemoryTable::replicated(schema(), vec![batch(0..10)], 3).unwrap());
    context.register_table("t", table).unwrap();
    let rows = context.sql("SELECT COUNT(*), SUM(a) FROM t WHERE a > 4").await.unwrap().collect().await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 5);
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().value(0), 35);
    let plan = context.sql("SELECT COUNT(*) FROM t").await.unwrap().create_physical_plan().await.unwrap();
    let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("MemoryScanExec"), "counted rows: {text}");
}

#[tokio::test]
async fn what_ranks_collect_stays_with_them() {
    let sink = MemorySink::new();
    for (rank, lane, range) in [(1, 0, 0..2), (0, 0, 2..5), (0, 1, 5..5)] {
        let mut part = sink.open(rank, lane).unwrap();
        part.write(batch(range)).unwrap();
        part.close().unwrap();
    }
    let mut dropped = sink.open(0, 2).unwrap();
    dropped.write(batch(90..99)).unwrap();
    drop(dropped);

    let collected = sink.take();
    let all = [lane_infos(&collected, 0), lane_infos(&collected, 1)].concat();
    assert_eq!(all.iter().map(|lane| lane.rows).collect::<Vec<_>>(), [3, 0, 2]);
    // A process that holds rank 0 only.
    let here: LaneBatches = collected.into_iter().filter(|((rank, _), _)| *rank == 0).collect();
    let table = MemoryTable::partitioned(schema(), here, &all).unwrap();
    let plan = scan(&table, None, None);
    assert_eq!(plan.pins(), [Pin::Rank(0), Pin::Rank(1)]);
    assert_eq!(values(plan.slice(&[0])).await, [2, 3, 4]);
    let context = SessionContext::new().task_ctx();
    let elsewhere = collect(plan.slice(&[1]), context).await.unwrap_err();
    assert!(elsewhere.to_string().contains("another process holds it"), "{elsewhere}");

    let more = LaneBatches::from([((0, 0), vec![batch(7..8)])]);
    let infos = lane_infos(&more, 0);
    table.append(more.clone(), &infos).unwrap();
    assert_eq!(table.lanes().len(), 3);
    table.overwrite(more, &infos).unwrap();
    assert_eq!(table.lanes(), infos);
    assert!(table.append(LaneBatches::from([((0, 0), vec![batch(0..1)])]), &[]).is_err());
}
