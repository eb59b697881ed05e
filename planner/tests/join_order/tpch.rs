//! The tables of TPC-H at scale factor 1 as the footers of their Parquet files describe them: rows, bounds, no data.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use bireme_planner::rewrite::logical_rules;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

/// A table that can be planned with but not read.
#[derive(Debug)]
pub struct Described {
    schema: SchemaRef,
    statistics: Option<Statistics>,
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        self.statistics.clone()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::NotImplemented("a described table has no data".into()))
    }
}

type Bounds = (ScalarValue, ScalarValue);

fn long(min: i64, max: i64) -> Bounds {
    (ScalarValue::Int64(Some(min)), ScalarValue::Int64(Some(max)))
}

fn int(min: i32, max: i32) -> Bounds {
    (ScalarValue::Int32(Some(min)), ScalarValue::Int32(Some(max)))
}

/// In hundredths.
fn money(min: i128, max: i128) -> Bounds {
    (ScalarValue::Decimal128(Some(min), 15, 2), ScalarValue::Decimal128(Some(max), 15, 2))
}

/// In days since 1970.
fn date(min: i32, max: i32) -> Bounds {
    (ScalarValue::Date32(Some(min)), ScalarValue::Date32(Some(max)))
}

fn text(min: &str, max: &str) -> Bounds {
    (ScalarValue::Utf8View(Some(min.into())), ScalarValue::Utf8View(Some(max.into())))
}

fn describe(rows: usize, columns: Vec<(&str, Bounds)>) -> (SchemaRef, Statistics) {
    let field = |(name, (min, _)): &(&str, Bounds)| Field::new(*name, min.data_type(), false);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let column = |(_, (min, max)): (&str, Bounds)| ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(min),
        max_value: Precision::Exact(max),
        ..ColumnStatistics::new_unknown()
    };
    let statistics = Statistics {
        num_rows: Precision::Exact(rows),
        total_byte_size: Precision::Absent,
        column_statistics: columns.into_iter().map(column).collect(),
    };
    (schema, statistics)
}

fn tables() -> Vec<(&'static str, (SchemaRef, Statistics))> {
    vec![
        (
            "region",
            describe(
                5,
                vec![
                    ("r_regionkey", long(0, 4)),
                    ("r_name", text("AFRICA", "MIDDLE EAST")),
                    ("r_comment", text("ges. thinly even pinto beans ca", "uickly special accounts cajole ca")),
                ],
            ),
        ),
        (
            "nation",
            describe(
                25,
                vec![
                    ("n_nationkey", long(0, 24)),
                    ("n_name", text("ALGERIA", "VIETNAM")),
                    ("n_regionkey", long(0, 4)),
                    ("n_comment", text(" haggle. carefully final deposits", "y final packages. slow foxes caj")),
                ],
            ),
        ),
        (
            "supplier",
            describe(
                10_000,
                vec![
                    ("s_suppkey", long(1, 10_000)),
                    ("s_name", text("Supplier#000000001", "Supplier#000010000")),
                    ("s_address", text("  9aW1wwnBJJPnCx,", "zzfDhdtZcvmVzA8rNFU,Yctj1zBN")),
                    ("s_nationkey", long(0, 24)),
                    ("s_phone", text("10-102-116-6785", "34-998-900-4911")),
                    ("s_acctbal", money(-99_822, 999_970)),
                    ("s_comment", text(" about the blithely express foxes", "zzle furiously. bold accounts haggle")),
                ],
            ),
        ),
        (
            "customer",
            describe(
                150_000,
                vec![
                    ("c_custkey", long(1, 150_000)),
                    ("c_name", text("Customer#000000001", "Customer#000150000")),
                    ("c_address", text("   2uZwVhQvwA", "zzxGktzXTMKS1BxZlgQ9nqQ")),
                    ("c_nationkey", long(0, 24)),
                    ("c_phone", text("10-100-106-1617", "34-999-618-6881")),
                    ("c_acctbal", money(-99_999, 999_999)),
                    ("c_mktsegment", text("AUTOMOBILE", "MACHINERY")),
                    ("c_comment", text(" Tiresias according to the slyly", "zzle. blithely regular requests")),
                ],
            ),
        ),
        (
            "part",
            describe(
                200_000,
                vec![
                    ("p_partkey", long(1, 200_000)),
                    ("p_name", text("almond antique blue royal burnished", "yellow white spring navajo tomato")),
                    ("p_mfgr", text("Manufacturer#1", "Manufacturer#5")),
                    ("p_brand", text("Brand#11", "Brand#55")),
                    ("p_type", text("ECONOMY ANODIZED BRASS", "STANDARD POLISHED TIN")),
                    ("p_size", int(1, 50)),
                    ("p_container", text("JUMBO BAG", "WRAP PKG")),
                    ("p_retailprice", money(90_100, 209_899)),
                    ("p_comment", text(" Tire", "zzle. quickly si")),
                ],
            ),
        ),
        (
            "partsupp",
            describe(
                800_000,
                vec![
                    ("ps_partkey", long(1, 200_000)),
                    ("ps_suppkey", long(1, 10_000)),
                    ("ps_availqty", int(1, 9_999)),
                    ("ps_supplycost", money(100, 100_000)),
                    ("ps_comment", text(" Tiresias according to the", "zzle. unusual decoys detect slyly")),
                ],
            ),
        ),
        (
            "orders",
            describe(
                1_500_000,
                vec![
                    ("o_orderkey", long(1, 6_000_000)),
                    ("o_custkey", long(1, 149_999)),
                    ("o_orderstatus", text("F", "P")),
                    ("o_totalprice", money(85_771, 55_528_516)),
                    ("o_orderdate", date(8_035, 10_440)),
                    ("o_orderpriority", text("1-URGENT", "5-LOW")),
                    ("o_clerk", text("Clerk#000000001", "Clerk#000001000")),
                    ("o_shippriority", int(0, 0)),
                    ("o_comment", text(" Tiresias about the blithely ironic", "zzle? unusual requests w")),
                ],
            ),
        ),
        (
            "lineitem",
            describe(
                6_001_215,
                vec![
                    ("l_orderkey", long(1, 6_000_000)),
                    ("l_partkey", long(1, 200_000)),
                    ("l_suppkey", long(1, 10_000)),
                    ("l_linenumber", int(1, 7)),
                    ("l_quantity", money(100, 5_000)),
                    ("l_extendedprice", money(90_100, 10_494_950)),
                    ("l_discount", money(0, 10)),
                    ("l_tax", money(0, 8)),
                    ("l_returnflag", text("A", "R")),
                    ("l_linestatus", text("F", "O")),
                    ("l_shipdate", date(8_036, 10_561)),
                    ("l_commitdate", date(8_065, 10_530)),
                    ("l_receiptdate", date(8_037, 10_591)),
                    ("l_shipinstruct", text("COLLECT COD", "TAKE BACK RETURN")),
                    ("l_shipmode", text("AIR", "TRUCK")),
                    ("l_comment", text(" Tiresias ", "zzle? slyly final platelets sleep quickly. ")),
                ],
            ),
        ),
    ]
}

/// What a session's tables say of themselves.
#[derive(Clone, Copy, PartialEq)]
pub enum Known {
    /// Nothing: they are eight equal unknowns.
    Nothing,
    /// Rows and bounds at scale factor 1.
    Scale1,
    /// Rows and bounds at scale factor 10, where lineitem has fewer rows than its order keys have values.
    Scale10,
}

fn tenfold(mut statistics: Statistics) -> Statistics {
    let rows = match statistics.num_rows.get_value() {
        Some(6_001_215) => 59_986_052,
        Some(&rows) if rows > 25 => rows * 10,
        rows => rows.copied().unwrap_or_default(),
    };
    statistics.num_rows = Precision::Exact(rows);
    for column in &mut statistics.column_statistics {
        if let Some(&ScalarValue::Int64(Some(max))) = column.max_value.get_value()
            && max > 25
        {
            column.max_value = Precision::Exact(ScalarValue::Int64(Some(max * 10)));
        }
    }
    statistics
}

/// A session with the eight tables.
pub fn session(known: Known) -> SessionContext {
    let context = SessionContext::new_with_state(with_our_rules(SessionContext::new().state()));
    for (name, (schema, statistics)) in tables() {
        let statistics = match known {
            Known::Nothing => None,
            Known::Scale1 => Some(statistics),
            Known::Scale10 => Some(tenfold(statistics)),
        };
        context.register_table(name, Arc::new(Described { schema, statistics })).unwrap();
    }
    context
}

/// A session that plans with the rules of ours.
pub fn with_our_rules(state: SessionState) -> SessionState {
    let mut state = SessionStateBuilder::new_from_existing(state).with_optimizer_rules(logical_rules()).build();
    state.config_mut().options_mut().optimizer.max_passes = 1;
    state
}

/// A query of the benchmark.
pub fn query(number: usize) -> String {
    let path = format!("{}/../bench/queries/tpch/q{number}.sql", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}
