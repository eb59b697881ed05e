//! The join order rule against the 22 queries of TPC-H, and its plans against the plans it was given.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

#[path = "join_order/own_groups.rs"]
mod own_groups;
#[path = "join_order/random.rs"]
mod random;
#[path = "join_order/tpch.rs"]
mod tpch;
#[path = "join_order/tree.rs"]
mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme_planner::rewrite::{ProviderStatistics, estimate, reorder_joins};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{DdlStatement, JoinType, LogicalPlan};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;

use tpch::Known;

async fn optimized(context: &SessionContext, sql: &str) -> LogicalPlan {
    let state = context.state();
    let plan = state.create_logical_plan(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    state.optimize(&plan).unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

fn reordered(plan: &LogicalPlan, sql: &str) -> LogicalPlan {
    let result = reorder_joins(plan.clone(), &ProviderStatistics)
        .unwrap_or_else(|error| panic!("{sql}\n{}\n{error}", plan.display_indent()));
    let columns = |plan: &LogicalPlan| format!("{:?} {:?}", plan.schema().columns(), plan.schema().fields());
    assert_eq!(columns(&result), columns(plan), "{sql}");
    result
}

/// The plan of a benchmark query; the view of query 15 is made on the way.
async fn tpch_plan(context: &SessionContext, number: usize) -> LogicalPlan {
    let mut found = None;
    for sql in tpch::query(number).split(';').filter(|sql| !sql.trim().is_empty()) {
        let state = context.state();
        let program = state.create_logical_plan(sql).await.unwrap();
        match program {
            LogicalPlan::Ddl(DdlStatement::DropView(_)) => {}
            LogicalPlan::Ddl(view) => {
                context.execute_logical_plan(LogicalPlan::Ddl(view)).await.unwrap();
            }
            program => found = Some(state.optimize(&program).unwrap()),
        }
    }
    found.unwrap()
}

fn check_golden(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/join_order/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} changed (UPDATE_GOLDEN=1 accepts it)\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}

#[tokio::test]
async fn the_orders_of_tpch() {
    let context = tpch::session(Known::Scale1);
    for number in 1..=22 {
        let plan = tpch_plan(&context, number).await;
        let result = reordered(&plan, &format!("q{number}"));
        check_golden(&format!("q{number}"), &tree::text(&result, &ProviderStatistics));
        // Nothing depends on addresses or on the order of a hash map.
        let again = reordered(&plan, &format!("q{number}"));
        assert_eq!(result.display_indent_schema().to_string(), again.display_indent_schema().to_string());
    }
}

#[tokio::test]
async fn without_statistics_nothing_is_crossed() {
    let context = tpch::session(Known::Nothing);
    for number in 1..=22 {
        let plan = tpch_plan(&context, number).await;
        let result = reordered(&plan, &format!("q{number}"));
        let keyless = |node: &LogicalPlan| {
            assert!(!matches!(node, LogicalPlan::Join(join) if join.on.is_empty()), "q{number}: {}", node.display());
            Ok(TreeNodeRecursion::Continue)
        };
        result.apply_with_subqueries(keyless).unwrap();
    }
}

/// The whole of planning may take three milliseconds.
#[tokio::test]
async fn planning_is_quick() {
    let context = tpch::session(Known::Scale1);
    for number in 1..=22 {
        let plan = tpch_plan(&context, number).await;
        let time = || {
            let plan = plan.clone();
            let start = Instant::now();
            reorder_joins(plan, &ProviderStatistics).unwrap();
            start.elapsed()
        };
        let best = (0..20).map(|_| time()).min().unwrap();
        println!("q{number}: {best:?}");
        assert!(best < Duration::from_millis(3), "q{number}: {best:?}");
    }
}

/// Runs a plan as it is and gives its rows as sorted text.
async fn rows(context: &SessionContext, plan: &LogicalPlan, sql: &str) -> Vec<String> {
    let state = context.state();
    let physical = state.query_planner().create_physical_plan(plan, &state).await;
    let physical = physical.unwrap_or_else(|error| panic!("{sql}\n{}\n{error}", plan.display_indent()));
    let batches = collect(physical, context.task_ctx()).await;
    let batches = batches.unwrap_or_else(|error| panic!("{sql}\n{}\n{error}", plan.display_indent()));
    let options = FormatOptions::new().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows.sort_unstable();
    rows
}

/// How many rows a query has, if it has the same with our rules and with DataFusion's.
async fn compare(context: &SessionContext, sql: &str) -> Result<usize, String> {
    let plan = optimized(context, sql).await;
    let ours = SessionContext::new_with_state(tpch::with_our_rules(context.state()));
    let result = reordered(&optimized(&ours, sql).await, sql);
    let (expected, actual) = (rows(context, &plan, sql).await, rows(context, &result, sql).await);
    let text = |rows: &[String], plan: &LogicalPlan| format!("{} rows\n{}", rows.len(), plan.display_indent());
    if expected == actual {
        Ok(expected.len())
    } else {
        Err(format!("{sql}\n{}\n{}", text(&expected, &plan), text(&actual, &result)))
    }
}

async fn check_rows(context: &SessionContext, sql: &str) -> usize {
    compare(context, sql).await.unwrap_or_else(|difference| panic!("{difference}"))
}

#[tokio::test]
async fn random_queries_keep_their_rows() {
    let context = random::session();
    let (mut full, mut differences) = (0, Vec::new());
    for seed in 0..400 {
        match compare(&context, &random::query(seed)).await {
            Ok(rows) => full += usize::from(rows > 0),
            Err(difference) => differences.push(format!("seed {seed}: {difference}")),
        }
    }
    let first = differences.first().cloned().unwrap_or_default();
    assert!(differences.is_empty(), "{} queries differ, the first:\n{first}", differences.len());
    assert!(full > 150, "only {full} queries had rows");
}

/// Queries, their rows at scale factor 1, and by which factor an estimate may be off.
const SIZES: &[(&str, f64, f64)] = &[
    ("select * from lineitem", 6_001_215.0, 1.0),
    ("select * from orders where o_orderdate >= date '1994-01-01' and o_orderdate < date '1995-01-01'", 227_597.0, 1.1),
    ("select * from lineitem where l_shipdate <= date '1998-09-02'", 5_916_591.0, 1.1),
    ("select * from lineitem where l_shipdate between date '1995-01-01' and date '1996-12-31'", 1_828_450.0, 1.2),
    ("select * from part where p_size = 15", 3_988.0, 1.1),
    ("select * from part where p_name like '%green%'", 10_664.0, 1.2),
    ("select * from part where p_brand = 'Brand#23' and p_container = 'MED BOX'", 204.0, 3.0),
    ("select * from nation where n_name in ('FRANCE', 'GERMANY')", 2.0, 1.1),
    ("select * from nation where n_name = 'FRANCE' or n_name = 'GERMANY'", 2.0, 1.1),
    ("select * from lineitem where l_linenumber <> 1", 4_501_215.0, 1.2),
    ("select * from customer where c_acctbal is null", 0.0, 1.0),
    ("select * from customer join orders on c_custkey = o_custkey", 1_500_000.0, 1.01),
    ("select * from orders join lineitem on o_orderkey = l_orderkey", 6_001_215.0, 1.01),
    ("select * from part join lineitem on p_partkey = l_partkey", 6_001_215.0, 1.01),
    ("select * from partsupp join lineitem on ps_partkey = l_partkey and ps_suppkey = l_suppkey", 6_001_215.0, 1.01),
    (
        "select * from part, supplier, lineitem, partsupp, orders, nation where s_suppkey = l_suppkey \
         and ps_suppkey = l_suppkey and ps_partkey = l_partkey and p_partkey = l_partkey and o_orderkey = l_orderkey \
         and s_nationkey = n_nationkey",
        6_001_215.0,
        1.01,
    ),
    ("select distinct o_custkey from orders", 99_996.0, 1.6),
    ("select l_suppkey, sum(l_tax) from lineitem group by l_suppkey", 10_000.0, 1.1),
    ("select l_orderkey from lineitem group by l_orderkey having sum(l_quantity) > 300", 57.0, 10.0),
    ("select * from supplier where s_suppkey in (select ps_suppkey from partsupp)", 10_000.0, 1.1),
    ("select * from customer where not exists (select * from orders where o_custkey = c_custkey)", 50_004.0, 8.0),
    ("select * from customer left join orders on c_custkey = o_custkey and o_totalprice < 0", 150_000.0, 1.01),
    ("select * from orders order by o_totalprice limit 10", 10.0, 1.0),
    ("select o_orderkey from orders union all select l_orderkey from lineitem", 7_501_215.0, 1.01),
    ("select count(*) from lineitem", 1.0, 1.0),
    ("select * from region, nation", 125.0, 1.0),
];

/// At this scale the bounds of l_orderkey leave room for a key, which it is not.
const SIZES_AT_10: &[(&str, f64, f64)] = &[
    ("select * from orders join lineitem on o_orderkey = l_orderkey", 59_986_052.0, 1.01),
    ("select * from lineitem where exists (select * from orders where o_orderkey = l_orderkey)", 59_986_052.0, 1.01),
    (
        "select * from customer, orders, lineitem where c_custkey = o_custkey and o_orderkey = l_orderkey",
        59_986_052.0,
        1.01,
    ),
    ("select * from partsupp join lineitem on ps_partkey = l_partkey and ps_suppkey = l_suppkey", 59_986_052.0, 1.01),
];

#[tokio::test]
async fn estimates_are_near_the_truth() {
    let mut wrong = Vec::new();
    for (known, sizes) in [(Known::Scale1, SIZES), (Known::Scale10, SIZES_AT_10)] {
        let context = tpch::session(known);
        for (sql, truth, factor) in sizes {
            let plan = reordered(&optimized(&context, sql).await, sql);
            let guess = estimate(&plan, &ProviderStatistics);
            assert_eq!(guess.columns.len(), plan.schema().fields().len(), "{sql}");
            println!("{:.0} for {truth:.0}: {sql}", guess.rows);
            if guess.rows > truth * factor + 0.01 || guess.rows < truth / factor - 0.01 {
                wrong.push(format!("{} rows for {truth}: {sql}", guess.rows));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The joins of a plan without the sizes.
fn shape(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split("  ≈").next().unwrap_or_default()).collect()
}

/// A query keeps its order when all its tables grow alike.
#[tokio::test]
async fn ten_times_the_data_has_the_same_orders() {
    let (small, large) = (tpch::session(Known::Scale1), tpch::session(Known::Scale10));
    let mut changed = Vec::new();
    for number in 1..=22 {
        let mut texts = Vec::new();
        for context in [&small, &large] {
            let plan = reordered(&tpch_plan(context, number).await, &format!("q{number}"));
            texts.push(tree::text(&plan, &ProviderStatistics));
        }
        if shape(&texts[0]) != shape(&texts[1]) {
            changed.push(format!("q{number}\n{}", texts[1]));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

const QUERIES: &[&str] = &[
    // Implied equalities, and two members of one class in a relation.
    "select * from t1 x, t2 y, t3 z where x.a = y.a and y.a = z.a and x.b = y.a",
    "select * from t1 x, t2 y where x.a = y.a and x.b = y.a",
    // Equal names on both sides, behind aliases and not.
    "select * from (select x.a, y.b from t1 x join t2 y on x.a = y.a) p, (select x.a, y.b from t1 x join t2 y on x.a = y.a) q where p.b = q.b",
    "select * from (select * from t1 join t2 using (a)) p join t1 on p.a = t1.a",
    "select t1.a, t1.a as a2, t1.a + 0 as a3 from t1 join t2 on t1.a = t2.a join t3 on t3.a = t2.a",
    // Self joins.
    "select * from t4 x join t4 y on x.a = y.b join t4 z on y.a = z.b",
    // Cross products: with one row, without any predicate, with a predicate on three tables.
    "select * from t1 x, t2 y, (select max(a) m from t3) z where x.a = y.a and x.b < z.m",
    "select count(*) from t0, t1, t2",
    "select * from t0 x, t1 y, t2 z where x.a + y.a = z.a + 3",
    "select * from t0 x, t1 y, t2 z where x.a + y.a = z.a and x.b < z.b",
    // Outer joins are barriers, inside and above.
    "select * from t1 x left join t2 y on x.a = y.a join t3 z on x.b = z.b",
    "select * from t3 x left join (select y.a, z.b from t1 y join t2 z on y.a = z.a) w on x.a = w.a",
    "select * from t4 x left join t0 y on x.a = y.a and x.b > y.b",
    "select * from t4 x full join t1 y on x.a = y.a full join t0 z on z.a = y.a",
    "select * from t4 x right join t1 y on x.a = y.a",
    // Semi, anti and mark joins.
    "select * from t1 x left semi join t2 on x.a = t2.a join t2 on x.b = t2.b",
    "select * from t1 x left anti join t2 on x.a = t2.a join t2 on x.b = t2.b",
    "select * from t4 x, t3 y where x.a = y.a and x.b not in (select b from t2)",
    "select * from t4 x, t3 y where x.a = y.a and x.b not in (select b from t2 where b is not null)",
    "select * from t4 x, t3 y where x.a = y.a and (x.b in (select b from t2) or y.c > 10)",
    "select * from t4 x, t3 y where x.a = y.a and (x.b in (select b from t2) or y.c in (select c from t2))",
    "select * from t4 x, t3 y where x.a = y.a and not (x.b in (select b from t2 where b is not null) and y.c > 3)",
    "select * from t4 x, t3 y where x.a = y.b and exists (select 1 from t2 z where z.a = x.a and z.b < y.c)",
    "select * from t4 x, t3 y where x.a = y.b and not exists (select 1 from t2 z where z.a = x.a and z.b = y.c)",
    "select * from t4 x, t3 y where x.a = y.a and exists (select 1 from t2)",
    "select * from t4 x where x.a in (select y.a from t3 y join t2 z on y.a = z.a where y.b in (select b from t1))",
    // NULL equals NULL.
    "select a, b from t3 intersect select a, b from t4",
    "select a, b from t3 except select a, b from t4",
    "select * from t2 x join t4 y on x.b is not distinct from y.b",
    // Barriers: limits, windows, unions, distinct, computed projections, volatile functions.
    "select * from (select a, b from t3 order by a, b, c limit 5) x, t2 y, t1 z where x.a = y.a and y.b = z.b",
    "select * from (select a, row_number() over (order by a, b, c, s) n from t3) x, t2 y, t1 z where x.a = y.a and z.a = x.n",
    "select * from (select a from t3 union all select b from t2) x, t2 y, t1 z where x.a = y.a and y.b = z.b",
    "select * from (select distinct a from t3) x, t2 y, t1 z where x.a = y.a and y.b = z.b",
    "select * from (select x.a + 1 as a, y.b from t3 x join t2 y on x.a = y.a) x, t2 y, t1 z where x.a = y.a and y.b = z.b",
    "select count(*) from t3 x, t2 y, t1 z where x.a = y.a and y.b = z.b and x.c + random() > -1",
    "select * from t3 x join t2 y on x.a = y.a where x.b + y.b > (select avg(p.b) from t1 p join t0 q on p.a = q.a)",
    "select x.a, (select count(*) from t2 y join t1 z on y.a = z.a where y.b = x.b) from t3 x",
    // Constants.
    "select * from t3 x join t2 y on x.a = y.a where 1 = 0",
    "select * from t3 x join t2 y on x.a = y.a where (select count(*) from t1) > 3",
    "with recursive n as (select 1 as i union all select i + 1 from n where i < 5) select * from n join t1 on n.i = t1.a join t2 on t1.b = t2.b",
    "select * from t4 x, t3 y, t2 z, lateral (select max(c) m from t1 where t1.a = x.a) w where x.a = y.a and y.b = z.b and z.c < w.m",
];

#[tokio::test]
async fn chosen_queries_keep_their_rows() {
    let context = random::session();
    for sql in QUERIES {
        check_rows(&context, sql).await;
    }
}

/// DataFusion's rule for crossed tables gives all joins that it finds in a row the NULL equality of one of them.
#[tokio::test]
async fn null_equals_null_in_one_of_two_joins() {
    let context = random::session();
    let ours = SessionContext::new_with_state(tpch::with_our_rules(context.state()));
    let query = |same: &str| format!("select x.a, y.a, z.a from t3 x join t2 y on {same} join t1 z on x.a = z.a");
    let sql = query("x.b is not distinct from y.b");
    let actual = rows(&ours, &reordered(&optimized(&ours, &sql).await, &sql), &sql).await;
    let sql = query("(x.b = y.b or (x.b is null and y.b is null))");
    assert_eq!(actual, rows(&context, &optimized(&context, &sql).await, &sql).await);
}

#[tokio::test]
async fn a_region_too_large_for_dynamic_programming_is_joined_greedily() {
    let context = random::session();
    let chain = |count: usize| {
        let from = (0..count).map(|at| format!("t{} r{at}", at % 2)).collect::<Vec<_>>().join(", ");
        let on = (1..count).map(|at| format!("r{}.a = r{at}.a", at - 1)).collect::<Vec<_>>().join(" and ");
        format!("select count(*), min(r0.b), max(r{}.c) from {from} where {on}", count - 1)
    };
    for count in [13, 20] {
        check_rows(&context, &chain(count)).await;
    }
    // Clique of twelve: too many pairs. Seventy: more relations than a set holds.
    let plan = optimized(&context, &chain(12)).await;
    reordered(&plan, "clique");
    let plan = optimized(&context, &chain(70)).await;
    let result = reordered(&plan, "seventy");
    let mut joins = 0;
    result
        .apply(|node| {
            joins += usize::from(matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner));
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
    assert_eq!(joins, 69);
}
