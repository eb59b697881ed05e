#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

//! Arithmetic through SQL: what it gives, how it fails, and what plans look like.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext, col};

use super::install;
use crate::errors::from_datafusion;

fn context() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2);
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let context = SessionContext::new_with_state(install(builder).build());
    let schema = Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("small", DataType::Int8, true),
        Field::new("u", DataType::UInt64, false),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), Some(i64::MAX), Some(i64::MIN), None])),
        Arc::new(Int8Array::from(vec![Some(1), Some(127), Some(-128), None])),
        Arc::new(UInt64Array::from(vec![1, u64::MAX, 0, 2])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
    context
}

async fn run(sql: &str) -> Result<String> {
    let batches = context().sql(sql).await?.collect().await?;
    let text = pretty_format_batches(&batches)?.to_string();
    let lines = text.lines().skip(3).filter(|line| !line.starts_with('+'));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>().join(" ");
    Ok(lines.map(cells).collect::<Vec<_>>().join("; "))
}

async fn check(sql: &str, expected: &str) {
    let found = run(sql).await.unwrap_or_else(|error| from_datafusion(error).to_string());
    assert_eq!(found, expected, "{sql}");
}

async fn check_overflow(statements: &[&str]) {
    let mut failures = Vec::new();
    for sql in statements {
        let found = run(sql).await.map_err(from_datafusion);
        if !matches!(&found, Err(error) if error.to_string().starts_with("error: arithmetic overflow: ")) {
            failures.push(format!("{sql}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn fails_on_overflow_in_every_node() {
    check_overflow(&[
        "SELECT i + 1 FROM t",
        "SELECT i - 1 FROM t",
        "SELECT i * 2 FROM t",
        "SELECT -i FROM t",
        "SELECT 0 - i FROM t",
        "SELECT u + u FROM t",
        "SELECT u - 1::BIGINT UNSIGNED FROM t",
        "SELECT u * 2::BIGINT UNSIGNED FROM t",
        "SELECT small + small FROM t",
        "SELECT small * small FROM t",
        "SELECT -small FROM t",
        "SELECT 1 FROM t WHERE i + 1 > 0",
        "SELECT i + 1, count(*) FROM t GROUP BY i + 1",
        "SELECT max(i + 1) FROM t",
        "SELECT sum(i * 2) FROM t",
        "SELECT sum(i) FILTER (WHERE i - 1 < 0) FROM t",
        "SELECT array_agg(i ORDER BY i * 3) FROM t",
        "SELECT i FROM t ORDER BY i * 2",
        "SELECT i FROM t ORDER BY -i LIMIT 1",
        "SELECT * FROM t a JOIN t b ON a.i + 1 = b.i",
        "SELECT * FROM t a JOIN t b ON a.u = b.u AND a.i + b.i > 0",
        "SELECT * FROM t a JOIN t b ON a.i + b.i > 0",
        "SELECT * FROM t a LEFT JOIN t b ON a.i - b.i > a.u",
        "SELECT sum(i + 1) OVER () FROM t",
        "SELECT lag(i * 2) OVER (ORDER BY u) FROM t",
        "SELECT row_number() OVER (PARTITION BY i + 1 ORDER BY u) FROM t",
        "SELECT row_number() OVER (ORDER BY -i) FROM t",
        "SELECT row_number() OVER (ORDER BY i + (1 + 1), u) FROM t",
        "SELECT sum(u) OVER (ORDER BY i - 1 ROWS 2 PRECEDING) FROM t",
        "SELECT CASE WHEN u = 0 THEN i - 1 ELSE i END FROM t",
        "SELECT i FROM t WHERE i IN (SELECT i * 2 FROM t)",
        "SELECT (SELECT max(i + 1) FROM t)",
        "SELECT i FROM t WHERE EXISTS (SELECT 1 FROM t b WHERE b.i + 1 > t.i)",
        "SELECT abs(i) + 0 FROM t WHERE i = 9223372036854775807 + 1",
        "SELECT unnest([i + 1]) FROM t",
        "SELECT i * 2 FROM t UNION ALL SELECT i FROM t",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n * 10 FROM r WHERE n > 0) SELECT count(*) FROM r",
        "SELECT coalesce(i + 1, 0) FROM t",
        "SELECT i BETWEEN i - 1 AND i FROM t",
        "SELECT grouping(i + 1), count(*) FROM t GROUP BY ROLLUP (i + 1, small)",
        "SELECT count(DISTINCT i + 1) FROM t",
        "SELECT DISTINCT i + 1 FROM t",
    ])
    .await;
}

#[tokio::test]
async fn constants_do_not_wrap_when_they_are_folded() {
    check_overflow(&[
        "SELECT 9223372036854775807 + 1",
        "SELECT (9223372036854775807 + 1) - 1",
        "SELECT -9223372036854775807 - 2",
        "SELECT 9223372036854775807 * 2",
        "SELECT -(-9223372036854775807 - 1)",
        "SELECT x + 1 FROM (SELECT 9223372036854775807 AS x)",
        "SELECT CASE WHEN 1 = 1 THEN 9223372036854775807 ELSE 0 END + 1",
        "SELECT i * 0 + 9223372036854775807 + 1 FROM t WHERE i = 1",
        "SELECT coalesce(9223372036854775807, i) + 1 FROM t",
        "VALUES (9223372036854775807 + 1)",
        "SELECT * FROM (VALUES (1), (9223372036854775807 + 1)) v(x)",
        "SELECT i FROM t WHERE i = 9223372036854775807 + 1",
        "SELECT arrow_cast(127, 'Int8') + arrow_cast(1, 'Int8')",
    ])
    .await;
    let limit = run("SELECT i FROM t LIMIT 9223372036854775807 + 1").await;
    assert!(limit.is_err(), "{limit:?}");
    // Only what is evaluated fails.
    check("SELECT CASE WHEN i = 1 THEN i ELSE i + 1 END FROM t WHERE i = 1", "1").await;
    check("SELECT CASE WHEN u = 1 THEN 5 ELSE 9223372036854775807 + 1 END FROM t WHERE u = 1", "5").await;
    check("SELECT i FROM t WHERE false AND i = 9223372036854775807 + 1", "").await;
}

#[tokio::test]
async fn computes_what_fits() {
    check("SELECT i + 1, i - 1, i * 3, -i FROM t WHERE u = 1", "2 0 3 -1").await;
    check("SELECT i + 1, -i, i * NULL FROM t WHERE i IS NULL", "  ").await;
    check("SELECT 1 + 2 * 3 - -4", "11").await;
    check(
        "SELECT 1.5 + 1, 1e0 + 1, DATE '2024-01-31' + INTERVAL '1' DAY, DATE '2024-02-01' - DATE '2024-01-01'",
        "2.5 2.0 2024-02-01 31",
    )
    .await;
    check("SELECT small + 1 FROM t WHERE small = 127", "128").await;
    check("SELECT sum(i - 1) OVER (ORDER BY u), lag(i + 1) OVER (ORDER BY u) FROM t WHERE u IN (1, 2)", "0 ; 0 2")
        .await;
    check("SELECT * FROM (VALUES (1 + 1, -(2))) v(a, b)", "2 -2").await;
    check(
        "SELECT i + 0, i * 1, 0 + i, i - 0 FROM t WHERE u = 18446744073709551615",
        "9223372036854775807 9223372036854775807 9223372036854775807 9223372036854775807",
    )
    .await;
}

#[tokio::test]
async fn the_names_of_columns_stay() {
    let batches =
        context().sql("SELECT i + 1, -i, sum(i * 2), i - 1 AS less FROM t WHERE u = 1 GROUP BY i").await.unwrap();
    let names: Vec<String> = batches.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["t.i + Int64(1)", "(- t.i)", "sum(t.i * Int64(2))", "less"]);
    let batches = batches.collect().await.unwrap();
    let names: Vec<String> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["t.i + Int64(1)", "(- t.i)", "sum(t.i * Int64(2))", "less"]);
}

async fn plan(sql: &str) -> String {
    let context = context();
    let logical = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
    let physical = context.state().create_physical_plan(&logical).await.unwrap();
    format!("{logical}\n--\n{}", displayable(physical.as_ref()).indent(false))
}

#[tokio::test]
async fn plans_show_plain_arithmetic() {
    let plan = plan("SELECT i + 1, sum(-i * (2 + 3)) FROM t WHERE i - 1 > 0 GROUP BY i ORDER BY i * 2").await;
    assert!(!plan.contains("checked_"), "{plan}");
    assert!(plan.contains("aggr=[sum((- t.i) * 5)") && plan.contains("i@0 + 1"), "{plan}");
}

#[tokio::test]
async fn windows_keep_the_function() {
    let plan = plan("SELECT sum(i + 1) OVER (ORDER BY u ROWS 2 PRECEDING) FROM t").await;
    assert!(!plan.split("--").next().unwrap().contains("checked_"), "{plan}");
}

#[tokio::test]
async fn sums_of_programs_are_checked_too() {
    let doubled = context().sql("SELECT i FROM t WHERE i > 1 UNION ALL SELECT i FROM t WHERE i > 1").await.unwrap();
    let error = doubled.aggregate(vec![], vec![sum(col("i"))]).unwrap().collect().await.unwrap_err();
    assert!(from_datafusion(error).message().contains("SUM(i) = 18446744073709551614 does not fit in Int64"));
}
