//! Golden EXPLAIN texts. `UPDATE_GOLDEN=1 cargo test --release -p bireme-tests --test suite explain` refreshes them.

use std::fs;

use bireme::Session;
use bireme_tests::tpch;

/// Name, ranks, and query of each golden text; `qN` is a TPC-H query.
const PLANS: [(&str, usize, &str); 19] = [
    ("values", 1, "SELECT 1 AS one, 'x' AS x"),
    ("filter", 1, "SELECT n_name FROM nation WHERE n_regionkey = 2"),
    ("aggregate_one_rank", 1, "SELECT l_returnflag, COUNT(*) AS c FROM lineitem GROUP BY l_returnflag"),
    ("aggregate_three_ranks", 3, "SELECT l_returnflag, COUNT(*) AS c FROM lineitem GROUP BY l_returnflag"),
    ("sort_limit", 3, "SELECT o_orderkey FROM orders ORDER BY o_totalprice DESC, o_orderkey LIMIT 5"),
    ("limit_without_order", 3, "SELECT o_orderkey FROM orders LIMIT 5"),
    ("broadcast_join", 3, "SELECT n_name, r_name FROM nation JOIN region ON n_regionkey = r_regionkey"),
    (
        "partitioned_left_join",
        3,
        "SELECT c_custkey, o_orderkey FROM customer LEFT JOIN orders ON c_custkey = o_custkey",
    ),
    ("nested_loop_left_join", 3, "SELECT n_name, r_name FROM nation LEFT JOIN region ON n_regionkey < r_regionkey"),
    ("null_aware_anti_join", 3, "SELECT n_name FROM nation WHERE n_regionkey NOT IN (SELECT r_regionkey FROM region)"),
    (
        "scalar_subquery",
        3,
        "SELECT COUNT(*) AS c FROM orders WHERE o_totalprice > (SELECT AVG(o_totalprice) FROM orders)",
    ),
    ("union", 3, "SELECT n_name AS name FROM nation UNION ALL SELECT r_name FROM region"),
    ("recursive", 3, "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t"),
    (
        "recursive_join",
        3,
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT o.o_custkey FROM t JOIN orders o ON o.o_orderkey = t.n) \
         SELECT COUNT(*) AS c FROM t",
    ),
    ("window", 3, "SELECT o_orderkey, RANK() OVER (PARTITION BY o_custkey ORDER BY o_totalprice) AS r FROM orders"),
    (
        "windows_over_one_order",
        1,
        "SELECT o_custkey, ROW_NUMBER() OVER (PARTITION BY o_custkey ORDER BY o_orderdate) AS n, \
         SUM(o_totalprice) OVER (PARTITION BY o_custkey) AS s FROM orders",
    ),
    (
        "window_in_order",
        1,
        "SELECT o_orderkey, SUM(o_shippriority) OVER (ORDER BY o_orderkey) AS s FROM orders ORDER BY o_orderkey LIMIT 3",
    ),
    (
        "window_in_an_island",
        1,
        "SELECT o_orderkey, NTH_VALUE(o_orderkey, 2) OVER (PARTITION BY o_custkey ORDER BY o_orderdate) AS n FROM orders",
    ),
    (
        "union_of_unequal_branches",
        3,
        "SELECT k, COUNT(*) AS c FROM (SELECT o_orderkey AS k FROM orders UNION ALL SELECT n_nationkey FROM nation \
         UNION ALL SELECT COUNT(*) FROM customer) u GROUP BY k",
    ),
];

#[test]
fn plans_are_as_they_were() {
    let data = tpch::data(0.1);
    let golden = bireme_tests::root().join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for (name, ranks, query) in PLANS {
        let session = Session::builder().threads(2 * ranks).local_ranks(ranks).build().unwrap();
        session.register_directory(data.to_str().unwrap()).unwrap();
        // Small files are cut as well, so that the plans have lanes to show.
        session.sql("SET datafusion.optimizer.repartition_file_min_size = 65536").unwrap();
        let plan = session.sql(query).unwrap().explain().unwrap();
        // What the mapper expects depends on how fast the machine is.
        let plan = plan.split("== mapper ==").next().unwrap_or_default();
        // The directory of the data is the only thing that differs from machine to machine.
        let place = data.to_str().unwrap();
        let plan = plan.replace(place, "DATA").replace(place.trim_start_matches('/'), "DATA");
        let text = format!("{query}\nranks: {ranks}\n\n{}\n", plan.trim_end());
        let path = golden.join(format!("{name}.txt"));
        if update {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&path, &text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            failures.push(format!("{name}:\n{text}"));
        }
    }
    assert!(
        failures.is_empty(),
        "plans differ from tests/golden (see the head of this file):\n{}",
        failures.join("\n")
    );
}

#[test]
fn analyze_reports_stages_exchanges_and_ranks() {
    let session = Session::builder().threads(3).local_ranks(3).build().unwrap();
    session.register_directory(tpch::data(0.1).to_str().unwrap()).unwrap();
    session.sql("SET datafusion.optimizer.repartition_file_min_size = 1024").unwrap();
    let query = "EXPLAIN ANALYZE SELECT o_orderpriority, COUNT(*) FROM orders GROUP BY o_orderpriority";
    let batches = session.sql(query).unwrap().collect().unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    for wanted in ["s0 rank 0:", "s0 rank 2:", "x0 rank 1:", "rows=", "remote_bytes=", "spilled_bytes=", "wall="] {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }
}

#[test]
fn no_query_of_tpch_has_an_island_on_its_path() {
    for ranks in [1, 3] {
        let session = Session::builder().threads(2 * ranks).local_ranks(ranks).build().unwrap();
        session.register_directory(tpch::data(0.1).to_str().unwrap()).unwrap();
        for number in 1..=22 {
            for statement in tpch::query(number) {
                let frame = session.sql(&statement).unwrap();
                // Query 15 makes a view and drops it again.
                if ["create view", "drop view"].iter().any(|words| statement.to_lowercase().contains(words)) {
                    continue;
                }
                let plan = frame.explain().unwrap();
                assert!(plan.contains("pipeline 0: "), "query {number} on {ranks} ranks:\n{plan}");
                assert!(!plan.contains("island (datafusion)"), "query {number} on {ranks} ranks:\n{plan}");
            }
        }
    }
}

#[test]
fn files_of_every_format_are_read_by_pipelines() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for ranks in [1, 3] {
        let session = Session::builder().threads(2 * ranks).local_ranks(ranks).build().unwrap();
        for (name, format) in [("csv", "CSV"), ("json", "JSON"), ("arrow", "ARROW"), ("parquet", "PARQUET")] {
            let table = format!("{name}_{ranks}");
            let place = path(&table);
            let rows =
                "SELECT column1 AS n, column2 AS s, column3 AS year FROM (VALUES (1, 'a', 2023), (2, 'b', 2024))";
            let options = if name == "csv" { "OPTIONS ('format.has_header' 'true')" } else { "" };
            let copy = format!("COPY ({rows}) TO '{place}/' STORED AS {format} PARTITIONED BY (year) {options}");
            session.sql(&copy).unwrap().collect().unwrap();
            let create = format!(
                "CREATE EXTERNAL TABLE {table} STORED AS {format} PARTITIONED BY (year) LOCATION '{place}/' {options}"
            );
            session.sql(&create).unwrap().collect().unwrap();
            let frame = session.sql(&format!("SELECT s, year FROM {table} WHERE n > 1 OR year < 2023")).unwrap();
            let plan = frame.explain().unwrap();
            assert!(plan.contains(&format!("] of {name} ")) && !plan.contains("island (datafusion)"), "{plan}");
            let found = arrow::util::pretty::pretty_format_batches(&frame.collect().unwrap()).unwrap().to_string();
            assert!(found.contains("| b | 2024 |") && !found.contains("2023"), "{found}");
        }
    }
}
