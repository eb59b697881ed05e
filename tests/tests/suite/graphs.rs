//! Graph algorithms as table functions and as methods: the same rows on any number of ranks, for integers and texts.

use bireme::prelude::*;
use bireme_tests::compare;

/// Every function, over a table `edges` with columns `a`, `b`, `w`.
const CALLS: [&str; 13] = [
    "pagerank('edges', src => 'a', dst => 'b')",
    "pagerank('edges', src => 'a', dst => 'b', damping => 0.5, tolerance => 1e-12, max_iterations => 20)",
    "pagerank('edges', source => {source})",
    "bfs('edges', source => {source})",
    "sssp('edges', source => {source}, weight => 'w')",
    "sssp((SELECT a, b, w * 0.25 AS w FROM edges), source => {source}, directed => false)",
    "components('edges')",
    "strong_components('edges')",
    "triangles('edges')",
    "core('edges')",
    "betweenness('edges')",
    "betweenness('edges', samples => 20, seed => 3)",
    "communities('edges', max_rounds => 40)",
];

/// Edges by which the vertices of a few thousand are joined unevenly; some twice, some from a vertex to itself.
fn session(ranks: usize, vertex: &str) -> Session {
    let session = Session::builder().threads(ranks.max(2)).local_ranks(ranks).batch_rows(512).build().unwrap();
    let edges = format!(
        "CREATE TABLE edges AS SELECT {vertex_of_a} AS a, {vertex_of_b} AS b, value * 31 % 23 AS w FROM generate_series(1, 9000)",
        vertex_of_a = vertex.replace("{}", "(value * value * 7919 % 5003 % (1 + value % 2500))"),
        vertex_of_b = vertex.replace("{}", "(value * 104729 % 2741)"),
    );
    session.sql(&edges).unwrap();
    session
}

/// Close together, far apart, and as texts; with the vertex that searches start from.
const VERTICES: [(&str, &str); 4] = [
    ("{}", "7"),
    ("CAST({} * 3 AS INT)", "21"),
    ("{} * 1000000007 - 500000000000", "-492999999951"),
    ("'vertex ' || CAST({} AS TEXT)", "'vertex 7'"),
];

#[test]
fn ranks_do_not_change_answers() {
    for (vertex, source) in VERTICES {
        let one = session(1, vertex);
        let others = [2, 3, 4].map(|ranks| session(ranks, vertex));
        for call in CALLS {
            let query = format!("SELECT * FROM {}", call.replace("{source}", source));
            let expected = one.sql(&query).unwrap().collect().unwrap();
            assert!(expected.iter().map(RecordBatch::num_rows).sum::<usize>() > 1000, "{query}");
            for other in &others {
                let rows = other.sql(&query).unwrap().collect().unwrap();
                let difference = compare::difference(&rows, &expected, false);
                assert_eq!(difference, None, "{query} on {} ranks, vertices {vertex}", other.ranks());
            }
        }
    }
}

/// Edges cut in two dimensions: on 2 x 2, 5 x 1 and 3 x 2 ranks.
#[test]
fn cuts_do_not_change_answers() {
    let (vertex, source) = VERTICES[2];
    let one = session(1, vertex);
    for ranks in [4, 5, 6] {
        let cut = session(ranks, vertex);
        cut.sql("SET bireme.graph_cut = '2d'").unwrap();
        for call in &CALLS[..6] {
            let query = format!("SELECT * FROM {}", call.replace("{source}", source));
            let expected = one.sql(&query).unwrap().collect().unwrap();
            let frame = cut.sql(&query).unwrap();
            assert!(frame.explain().unwrap().contains("between ranks edges are cut 2d"), "{query}");
            let difference = compare::difference(&frame.collect().unwrap(), &expected, false);
            assert_eq!(difference, None, "{query} on {ranks} ranks");
        }
        let report = cut.sql(&format!("SELECT * FROM {}", CALLS[0])).unwrap().explain_analyze().unwrap();
        let grid = if ranks == 5 { "grid_columns=1 grid_rows=5" } else { "grid_columns=2 grid_rows=" };
        assert!(report.contains(grid), "{report}");
    }
    let wrong = one.sql("SET bireme.graph_cut = 'round'").unwrap_err();
    assert!(wrong.message().contains("`1d`") && wrong.message().contains("round"), "{wrong}");
}

/// Sums of floats are taken in the same order on any number of ranks.
#[test]
fn ranks_do_not_change_a_bit_of_pagerank() {
    let bits = |ranks: usize| {
        let rows = session(ranks, "{}").sql("SELECT vertex, rank FROM pagerank('edges') ORDER BY vertex").unwrap();
        rows.collect().unwrap().iter().map(|batch| format!("{:?}", batch.column(1))).collect::<Vec<_>>().concat()
    };
    let one = bits(1);
    assert_eq!(bits(3), one);
    assert_eq!(bits(4), one);
}

/// What the answers must be, of a graph that fits a page.
#[test]
fn answers_of_a_small_graph() {
    // 1 → 2 → 3 → 1 is a cycle with a tail 3 → 4 → 5; 9 → 8 apart.
    let edges = "(SELECT * FROM (VALUES (1, 2, 1.0), (2, 3, 1.5), (3, 1, 2.0), (3, 4, 0.5), (4, 5, 4.0), (9, 8, 1.0)) AS e(a, b, w))";
    let checks = [
        ("bfs({}, source => 1)", "(1, 1, 0), (2, 1, 1), (3, 2, 2), (4, 3, 3), (5, 4, 4)"),
        ("sssp({}, source => 1)", "(1, 0.0), (2, 1.0), (3, 2.5), (4, 3.0), (5, 7.0)"),
        ("sssp({}, source => 5, directed => false)", "(1, 6.5), (2, 6.0), (3, 4.5), (4, 4.0), (5, 0.0)"),
        ("components({})", "(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (8, 8), (9, 8)"),
        ("strong_components({})", "(1, 1), (2, 1), (3, 1), (4, 4), (5, 5), (8, 8), (9, 9)"),
        ("triangles({})", "(1, 1), (2, 1), (3, 1), (4, 0), (5, 0), (8, 0), (9, 0)"),
        ("core({})", "(1, 2), (2, 2), (3, 2), (4, 1), (5, 1), (8, 1), (9, 1)"),
        ("betweenness({})", "(1, 1.0), (2, 3.0), (3, 5.0), (4, 3.0), (5, 0.0), (8, 0.0), (9, 0.0)"),
    ];
    for ranks in [1, 3] {
        let session = Session::builder().threads(ranks).local_ranks(ranks).build().unwrap();
        for (call, rows) in &checks {
            let found = session.sql(&format!("SELECT * FROM {}", call.replace("{}", edges))).unwrap();
            let expected = session.sql(&format!("SELECT * FROM (VALUES {rows})")).unwrap();
            let difference = compare::difference(&found.collect().unwrap(), &expected.collect().unwrap(), false);
            assert_eq!(difference, None, "{call} on {ranks} ranks");
        }
        let sum = format!("SELECT SUM(rank) AS all_of_it, COUNT(*) AS n FROM pagerank({edges})");
        let expected = session.sql("SELECT 1.0 AS all_of_it, 7 AS n").unwrap();
        let found = session.sql(&sum).unwrap();
        let difference = compare::difference(&found.collect().unwrap(), &expected.collect().unwrap(), false);
        assert_eq!(difference, None, "ranks add up to one");
    }
}

#[test]
fn no_edges_no_rows() {
    for ranks in [1, 3] {
        let session = Session::builder().threads(ranks).local_ranks(ranks).build().unwrap();
        session.sql("CREATE TABLE edges (a BIGINT, b BIGINT, w DOUBLE)").unwrap();
        for call in CALLS.iter().filter(|call| !call.contains("source")) {
            assert_eq!(session.sql(&format!("SELECT * FROM {call}")).unwrap().count().unwrap(), 0, "{call}");
        }
        let error = session.sql("SELECT * FROM bfs('edges', source => 1)").unwrap().count().unwrap_err();
        assert!(error.message().contains("vertex 1 is in no edge of the graph"), "{error}");
    }
}

#[test]
fn graphs_are_dataframes_and_stay() {
    for ranks in [1, 3] {
        let session = session(ranks, "{}");
        let edges = session.sql("SELECT * FROM edges").unwrap();
        let graph = Graph::from_edges(&edges, "a", "b").unwrap().weighted("w").unwrap();
        let kept = graph.persist().unwrap();
        let read = session.progress().rows;
        let pairs = [
            (graph.pagerank(PageRank::default()), kept.pagerank(PageRank::default())),
            (graph.bfs(7), kept.bfs(7)),
            (graph.sssp(7), kept.sssp(7)),
            (graph.components(), kept.components()),
            (graph.triangles(), kept.triangles()),
            (
                graph.betweenness(Sources::Of(vec![7.into(), 8.into()])),
                kept.betweenness(Sources::Of(vec![7.into(), 8.into()])),
            ),
            (graph.vertices(), kept.vertices()),
        ];
        for (one, other) in pairs {
            let (one, other) = (one.unwrap().collect().unwrap(), other.unwrap().collect().unwrap());
            assert_eq!(compare::difference(&one, &other, false), None, "{ranks} ranks");
        }
        assert!(session.progress().rows >= read);
        let joined = kept.components().unwrap().join(&edges, JoinType::Inner, ["vertex"], ["a"]).unwrap();
        assert_eq!(joined.count().unwrap(), 9000);
        let undirected = graph.undirected().components().unwrap().collect().unwrap();
        assert_eq!(compare::difference(&undirected, &kept.components().unwrap().collect().unwrap(), false), None);
    }
}

#[test]
fn mistakes_are_explained() {
    let session = session(1, "{}");
    session.sql("CREATE TABLE odd AS SELECT CASE WHEN a > 5 THEN a END AS a, b, CAST(w AS DOUBLE) - 1 AS w, 'x' AS t, 1.5 AS f FROM edges").unwrap();
    let planned = [
        ("pagerank('edges', src => 'nothing')", "no column nothing"),
        ("pagerank('edges', damping => 1.5)", "damping must be at least 0 and below 1"),
        ("pagerank('edges', damping => 'x')", "damping => x should be a number"),
        ("pagerank('edges', depth => 3)", "no argument `depth => …`"),
        ("bfs('edges')", "source => …"),
        ("bfs('edges', source => 0.5)", "a vertex, an integer or a text"),
        ("sssp((SELECT a, b FROM edges), source => 7)", "2 columns"),
        ("sssp('odd', source => 7, weight => 't')", "the length of an edge is a number"),
        ("components('odd', src => 'f')", "vertices are integers or texts"),
        ("components('odd', src => 't')", "so no vertex is in both"),
        ("betweenness('edges', samples => 0)", "a sample needs at least one source"),
        ("components('edges', src => 'b', dst => 'b')", "both ends of the edges are column b"),
        ("betweenness('edges', seed => 3)", "a seed is that of a sample"),
        ("components((SELECT x.a, y.a FROM edges x JOIN edges y ON x.b = y.b))", "2 columns, a, a"),
        ("components((SELECT x.a, y.a, x.b FROM edges x JOIN edges y ON x.b = y.b), src => 'a')", "several columns a"),
        ("components('edges', 'more')", "arguments behind the table have names"),
    ];
    for (call, why) in planned {
        let error = session.sql(&format!("SELECT * FROM {call}")).unwrap_err();
        assert!(error.message().contains(why), "{call}: {error}");
        assert_eq!(error.kind(), ErrorKind::User, "{call}: {error}");
    }
    let run = [
        ("components('odd')", "column a has NULLs"),
        ("sssp((SELECT a, b, w FROM odd WHERE a > 5), source => 7)", "a negative value, -1"),
        ("sssp((SELECT a, b, CAST('NaN' AS DOUBLE) AS w FROM edges), source => 7)", "a NaN"),
        ("sssp((SELECT a, b, NULLIF(w, 3) AS w FROM edges), source => 7)", "column w has NULLs"),
        (
            "sssp((SELECT a, b, w * 400000000000000000 AS w FROM edges WHERE w < 20), source => 7)",
            "may not fit 64 bits",
        ),
        ("bfs('edges', source => -5)", "vertex -5 is in no edge"),
        ("bfs('edges', source => 'seven')", "its vertices are integers"),
    ];
    for (call, why) in run {
        let error = session.sql(&format!("SELECT * FROM {call}")).unwrap().collect().unwrap_err();
        assert!(error.message().contains(why), "{call}: {error}");
        assert_eq!(error.kind(), ErrorKind::User, "{call}: {error}");
    }
}

/// A stage of one lane on each rank under a limit that was planned over one lane.
#[test]
fn limits_count_rows_of_all_ranks() {
    for ranks in [1, 3] {
        let session = session(ranks, "{}");
        let edges = session.sql("SELECT * FROM edges").unwrap();
        let kept = Graph::from_edges(&edges, "a", "b").unwrap().persist().unwrap();
        assert_eq!(
            kept.vertices()
                .unwrap()
                .limit(5)
                .unwrap()
                .collect()
                .unwrap()
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>(),
            5
        );
        let offset = session.sql("SELECT * FROM components('edges') LIMIT 7 OFFSET 1500").unwrap().collect().unwrap();
        assert_eq!(offset.iter().map(RecordBatch::num_rows).sum::<usize>(), 7, "{ranks} ranks");
    }
}

/// A kept graph that is changed is read again.
#[test]
fn kept_graphs_do_not_answer_for_others() {
    let session = session(1, "{}");
    let edges = session.sql("SELECT * FROM (VALUES (1, 2, 5), (2, 3, 5)) AS t(a, b, w)").unwrap();
    let kept = Graph::from_edges(&edges, "a", "b").unwrap().persist().unwrap();
    let reached = |graph: &Graph| graph.bfs(2).unwrap().count().unwrap();
    assert_eq!([reached(&kept), reached(&kept.undirected())], [2, 3]);
    assert!(kept.sssp(2).unwrap_err().message().contains("needs lengths of edges"));
    assert_eq!(kept.weighted("w").unwrap().sssp(2).unwrap().count().unwrap(), 2);
}

/// Lists of edges in files, on any number of ranks.
#[test]
fn edges_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let (list, weighted) = (folder.path().join("a.el"), folder.path().join("a.wel"));
    std::fs::write(&list, "# two components\n0 1\n1 2\n7 8\n").unwrap();
    std::fs::write(&weighted, "0 1 2.5\n1 2 1\n").unwrap();
    let (matrix, dense) = (folder.path().join("m.mtx"), folder.path().join("d.mtx"));
    std::fs::write(&matrix, "%%MatrixMarket matrix coordinate real symmetric\n3 3 2\n2 1 2.5\n3 2 1\n").unwrap();
    std::fs::write(&dense, "%%MatrixMarket matrix array real general\n1 1\n1\n").unwrap();
    for ranks in [1, 3] {
        let session = Session::builder().threads(ranks).local_ranks(ranks).build().unwrap();
        let edges = session.read_edges(&list).unwrap();
        let labels = Graph::from_edges(&edges, "src", "dst").unwrap().components().unwrap();
        let expected = session.sql("SELECT * FROM (VALUES (0, 0), (1, 0), (2, 0), (7, 7), (8, 7))").unwrap();
        let difference = compare::difference(&labels.collect().unwrap(), &expected.collect().unwrap(), false);
        assert_eq!(difference, None, "{ranks} ranks");
        let graph = Graph::from_edges(&session.read_edges(&weighted).unwrap(), "src", "dst").unwrap();
        let far = graph.weighted("weight").unwrap().sssp(0).unwrap().filter(col("distance").eq(lit(3.5))).unwrap();
        assert_eq!(far.count().unwrap(), 1);
        let matrix = Graph::from_edges(&session.read_edges(&matrix).unwrap(), "src", "dst").unwrap();
        let far = matrix.weighted("weight").unwrap().sssp(0).unwrap().filter(col("distance").eq(lit(3.5))).unwrap();
        assert_eq!(far.count().unwrap(), 1);
        let filled = session.read_edges(&dense).unwrap_err();
        assert!(filled.kind() == ErrorKind::Unsupported && filled.message().contains("dense"), "{filled}");
        let missing = session.read_edges(folder.path().join("b.el")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::User, "{missing}");
        assert_eq!(session.read_edges(folder.path().join("b.png")).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// A graph that is larger than the memory limit is an error, and not the end of the process.
#[test]
fn memory_is_budgeted() {
    let session = Session::builder().threads(2).memory_limit(1 << 20).build().unwrap();
    let query = "SELECT COUNT(*) FROM components((SELECT value AS src, value * 7 % 1000003 AS dst FROM generate_series(1, 1000000)))";
    let error = session.sql(query).unwrap().collect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources, "{error}");
}

/// On several ranks, what a round sends is counted.
#[test]
fn bytes_of_rounds_are_counted() {
    let session = session(2, "{}");
    let sent = session.progress().bytes_sent;
    session.sql("SELECT * FROM components('edges')").unwrap().count().unwrap();
    assert!(session.progress().bytes_sent > sent);
    let text = session.sql("EXPLAIN ANALYZE SELECT * FROM pagerank('edges')").unwrap().collect().unwrap();
    let text = format!("{text:?}");
    assert!(text.contains("round_bytes") && text.contains("rounds"), "{text}");
}
