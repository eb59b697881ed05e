//! How many friends of friends each person is (walks of two steps that end there), three ways: a join in SQL, an algorithm of
//! one's own on the graph, and a product of sparse matrices. Prints `three ways, one answer` on any number of ranks.
//!
//! ```text
//! cargo run --release --example friends
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

const PEOPLE: i64 = 500;

fn main() -> Result<()> {
    let session = Session::new()?;
    // Everybody befriends three others, one way.
    session.sql(&format!(
        "CREATE TABLE friends AS SELECT p AS person, (p * k + k * 17) % {PEOPLE} AS friend \
         FROM generate_series(0, {last}) AS s(p), (VALUES (3), (7), (31)) AS t(k)",
        last = PEOPLE - 1
    ))?;
    let friends = session.sql("SELECT * FROM friends")?;

    // 1. A join: each pair of edges that meet.
    let joined = session.sql(
        "SELECT b.friend AS vertex, COUNT(*) AS walks FROM friends a JOIN friends b ON a.friend = b.person GROUP BY b.friend",
    )?;

    // 2. The graph: everybody is the end of one walk of no steps; each step adds up those of in-neighbours.
    let graph = Graph::from_edges(&friends, "person", "friend")?;
    let walked =
        graph.iterate(2, |_| 1_i64, |walks, _| Some(walks), |some, more| some + more, |_, walks| walks.unwrap_or(0))?;

    // 3. The square of the matrix of edges: its entries are walks of two steps, its columns' sums the answer.
    let ones = friends.select([col("person"), col("friend"), lit(1.0).alias("one")])?;
    let edges = ones.to_sparse::<f64>(["person", "friend"], "one", [PEOPLE as usize, PEOPLE as usize])?;
    let counted = edges.matmul(&edges)?.to_array()?.sum_axis(0).to_dataframe(["vertex"], "walks")?;

    let as_sum = "SELECT COUNT(*) AS people, SUM(CAST(walks AS BIGINT)) AS walks, SUM(CAST(walks AS BIGINT) * (vertex + 1)) AS places FROM";
    let mut answers = Vec::new();
    for (name, frame) in [("joined", &joined), ("walked", &walked.rename("value", "walks")?), ("counted", &counted)] {
        session.register_view(name, &frame.filter(col("walks").gt(lit(0)))?)?;
        answers.push(session.sql(&format!("{as_sum} {name}"))?.collect()?);
    }
    let same = answers.windows(2).all(|pair| pair[0] == pair[1]);
    if session.is_root() {
        println!("three ways, {}", if same { "one answer" } else { "different answers" });
    }
    Ok(())
}
