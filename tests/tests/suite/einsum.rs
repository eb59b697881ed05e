//! `einsum` as a table function: a contraction where SQL written out is one, and the same rows.

use bireme::prelude::*;
use bireme_tests::compare;

/// A call, what it stands for, and how many products of tensors the plan has.
const CALLS: [(&str, &str, usize); 8] = [
    (
        "einsum('ik,kj->ij', 'a', 'b')",
        "SELECT a.i, b.j, SUM(a.v * b.v) AS v FROM a JOIN b ON a.k = b.k GROUP BY a.i, b.j",
        1,
    ),
    (
        "einsum('ik,kj,jl->il', 'a', 'b', 'c')",
        "SELECT a.i, c.l, SUM(a.v * b.v * c.v) AS v FROM a JOIN b ON a.k = b.k JOIN c ON b.j = c.j GROUP BY a.i, c.l",
        2,
    ),
    (
        "einsum('bk,bk->b', 'a', 'a')",
        "SELECT x.i AS b, SUM(x.v * y.v) AS v FROM a x JOIN a y ON x.i = y.i AND x.k = y.k GROUP BY x.i",
        1,
    ),
    ("einsum('ik->ki', 'a')", "SELECT k, i, SUM(v) AS v FROM a GROUP BY k, i", 0),
    ("einsum('ii->', 'a')", "SELECT SUM(v) AS v FROM a WHERE i = k", 0),
    ("einsum('ik,kj->', 'a', 'b')", "SELECT SUM(a.v * b.v) AS v FROM a JOIN b ON a.k = b.k", 0),
    (
        "einsum('ik,kj->ij', 'small', 'b')",
        "SELECT s.i, b.j, SUM(CAST(s.v AS DOUBLE) * b.v) AS v FROM small s JOIN b ON s.k = b.k GROUP BY s.i, b.j",
        1,
    ),
    (
        "einsum('i,l->il', (SELECT i, v FROM a), (SELECT l, v FROM c WHERE l < 3))",
        "SELECT a.i, c.l, SUM(a.v * c.v) AS v FROM a CROSS JOIN c WHERE c.l < 3 GROUP BY a.i, c.l",
        0,
    ),
];

fn session(ranks: usize) -> Session {
    let session = Session::builder().threads(ranks.max(2)).local_ranks(ranks).batch_rows(64).build().unwrap();
    let table = |name: &str, first: &str, second: &str, seed: u64| {
        let value = format!("CAST(value * {seed} % 17 AS DOUBLE) * 0.25 - 1");
        let indices = format!("value * 7919 % {} AS {first}, value * {seed} % 11 AS {second}", 7 + seed % 5);
        session
            .sql(&format!("CREATE TABLE {name} AS SELECT {indices}, {value} AS v FROM generate_series(1, 150)"))
            .unwrap();
    };
    table("a", "i", "k", 31);
    table("b", "k", "j", 47);
    table("c", "j", "l", 59);
    session
        .sql("CREATE TABLE small AS SELECT CAST(i AS INT) AS i, CAST(k AS INT) AS k, CAST(v AS FLOAT) AS v FROM a")
        .unwrap();
    session
}

#[test]
fn calls_have_the_plans_and_rows_of_what_they_stand_for() {
    for session in [session(1), session(3)] {
        for (call, query, products) in CALLS {
            let frame = session.sql(&format!("SELECT * FROM {call}")).unwrap();
            let plan = frame.explain().unwrap();
            assert_eq!(plan.matches("Contraction: einsum").count(), products, "{call}\n{plan}");
            let expected = session.sql(query).unwrap();
            let names = |frame: &DataFrame| {
                frame.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
            };
            assert_eq!(names(&frame), names(&expected), "{call}");
            let difference = compare::difference(&frame.collect().unwrap(), &expected.collect().unwrap(), false);
            assert_eq!(difference, None, "{call}\n{plan}");
        }
    }
}

/// What is shown of a plan is the product that was asked for.
#[test]
fn explain_names_the_product() {
    let session = session(1);
    let plan = session.sql("SELECT * FROM einsum('ik,kj->ij', 'a', 'b')").unwrap().explain().unwrap();
    assert!(plan.contains("Contraction: einsum(\"ik,kj->ij\")"), "{plan}");
    session.sql("CREATE VIEW product AS SELECT * FROM einsum('ik,kj->ij', 'a', 'b')").unwrap();
    let plan = session.sql("SELECT i, v FROM product WHERE j = 3").unwrap().explain().unwrap();
    assert!(plan.contains("Contraction: einsum"), "{plan}");
}
