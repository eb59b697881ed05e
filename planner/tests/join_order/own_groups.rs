//! Groups of rows that the query has anyway, in random queries: with windows the rows are the same.

use bireme_planner::rewrite::{TableStatistics, reorder_joins};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::prelude::SessionContext;

use super::random::{self, Random};
use super::{optimized, rows, tpch};

/// One table is so much larger than the others that it pays not to read it twice.
struct OneIsLarge;

impl TableStatistics for OneIsLarge {
    fn statistics(&self, scan: &TableScan) -> Option<Statistics> {
        let (rows, values) = if scan.table_name.table() == "t4" { (1_000_000, 100_000) } else { (5, 5) };
        let mut statistics = Statistics::new_unknown(&scan.source.schema());
        statistics.num_rows = Precision::Exact(rows);
        for column in &mut statistics.column_statistics {
            column.distinct_count = Precision::Exact(values);
        }
        Some(statistics)
    }
}

/// A query in the form of TPC-H's 2 and 17. Of its variations some forbid a window, or make copies of rows.
fn query(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut pick = |items: &[&'static str]| items[usize::try_from(random.below(items.len() as u64)).unwrap()];
    let function = pick(&["min", "max", "avg", "avg", "min", "sum", "count"]);
    let argument = pick(&["c", "c", "b", "c + 1"]);
    let scaled = pick(&["", "", "0.5 * ", "1 + "]);
    let compare = pick(&["<", ">", "=", "<=", "<>"]);
    let keys = pick(&[
        "i.a = x.a",
        "i.a = y.a",
        "i.a = x.a",
        "i.a = x.a and i.b = y.b",
        "i.b = y.b",
        "i.a = x.a and i.s = y.s",
    ]);
    let join = pick(&["x.a = y.a", "x.a = y.a", "x.a = y.a", "x.a = y.a and x.b = y.b", "x.a = y.b"]);
    let other = pick(&["t0", "t1", "t2", "t3"]);
    let (third, inner_third) = pick_pair(pick(&["0", "1", "2", "3", "4", "5"]));
    let (filter, inner_filter) = match pick(&["0", "1", "2", "3", "4", "5", "6"]) {
        "0" => (" and y.b > 1", " and i.b > 1"),
        "1" => (" and y.b > 1", ""),
        "2" => ("", " and i.b > 1"),
        "3" => (" and y.a < 9", ""),
        _ => ("", ""),
    };
    let more = pick(&[
        "",
        "",
        "",
        "",
        " and x.b = 3",
        " and x.s = 'x'",
        " and x.c < y.c",
        " and x.c < y.a + 10",
        " and exists (select 1 from t2 w where w.a = y.a)",
        " and exists (select 1 from t2 w where w.b = y.c)",
        " and x.c in (select w.c from t3 w)",
        " and y.a in (select w.a from t2 w group by w.a having max(w.c) > 3)",
    ]);
    let having = pick(&["", "", "", " having count(*) > 1", " having max(i.c) > 5"]);
    format!(
        "select x.a, x.s, y.b, y.c from {other} x, t4 y{third} where {join}{filter}{more} and y.c {compare} \
         (select {scaled}{function}(i.{argument}) from t4 i{inner_third} where {keys}{inner_filter}{having})"
    )
    .replace("t4 y, t3 z where", "t4 y, t3 z where y.b = z.b and")
}

/// A third table, and the same in the subquery.
fn pick_pair(choice: &str) -> (&'static str, &'static str) {
    match choice {
        "0" => (", t3 z", " join t3 j on i.b = j.b"),
        "1" => (", t3 z", " join t3 j on i.b = j.a"),
        "2" => (", t3 z", ""),
        _ => ("", ""),
    }
}

fn has_window(plan: &LogicalPlan) -> bool {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Window(_));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found
}

#[tokio::test]
async fn windows_instead_of_groups_keep_the_rows() {
    let context = random::session();
    let ours = SessionContext::new_with_state(tpch::with_our_rules(context.state()));
    let (mut windows, mut full) = (0, 0);
    for seed in 0..600 {
        let sql = query(seed);
        let plan = optimized(&context, &sql).await;
        let result = reorder_joins(optimized(&ours, &sql).await, &OneIsLarge).unwrap();
        let expected = rows(&context, &plan, &sql).await;
        let actual = rows(&context, &result, &sql).await;
        assert_eq!(expected, actual, "seed {seed}: {sql}\n{}\n{}", plan.display_indent(), result.display_indent());
        windows += usize::from(has_window(&result));
        full += usize::from(has_window(&result) && !expected.is_empty());
    }
    assert!(windows > 60 && windows < 400, "{windows} queries with a window");
    assert!(full > 30, "only {full} of {windows} queries with a window had rows");
}

async fn check(sql: &str, expected: bool) {
    let ours = SessionContext::new_with_state(tpch::with_our_rules(random::session().state()));
    let result = reorder_joins(optimized(&ours, sql).await, &OneIsLarge).unwrap();
    assert_eq!(has_window(&result), expected, "{sql}\n{}", result.display_indent());
}

const BASE: &str =
    "select x.s, y.c from t1 x, t4 y where x.a = y.a and y.c < (select avg(c) from t4 i where i.a = x.a)";

#[tokio::test]
async fn a_window_has_its_conditions() {
    check(BASE, true).await;
    check(&format!("{BASE} and x.b = 3"), true).await;
    check(&BASE.replace("avg(c)", "0.2 * max(c + 1)"), true).await;
    // Copies of rows count.
    check(&BASE.replace("avg(c)", "sum(c)"), false).await;
    check(&BASE.replace("avg(c)", "count(*)"), false).await;
    // The region has other rows than the groups.
    check(&format!("{BASE} and y.b = 3"), false).await;
    check(&format!("{BASE} and x.c < y.c"), false).await;
    check(&BASE.replace("i.a = x.a", "i.a = x.a and i.b = 3"), false).await;
    check(&BASE.replace("from t4 i", "from t3 i"), false).await;
    // The groups are not those of the rows.
    check(&BASE.replace("i.a = x.a", "i.b = x.a"), false).await;
    // Two of one table: nobody knows which is meant.
    check(&BASE.replace("t4 y where", "t4 y, t4 z where y.b = z.b and"), false).await;
}
