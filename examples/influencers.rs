//! PageRank over a Parquet file of edges, joined with a table of names, as a DataFrame and as one SQL query:
//! `cargo run --release --example influencers`, or under `mpirun`.
//!
//! ```text
//! +------+-------+
//! | name | rank  |
//! +------+-------+
//! | Ada  | 0.348 |
//! | Edda | 0.316 |
//! | Cleo | 0.183 |
//! +------+-------+
//! SQL says the same
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

fn main() -> Result<()> {
    let session = Session::builder().overwrite(true).build()?;
    let folder = std::env::temp_dir().join("bireme-influencers");
    let (follows, people) = (folder.join("follows.parquet"), folder.join("people.csv"));
    let (follows, people) = (follows.to_string_lossy(), people.to_string_lossy());
    let pairs = "(1, 5), (2, 5), (3, 5), (4, 5), (5, 1), (2, 1), (6, 1), (1, 3), (6, 3), (3, 2)";
    session.sql(&format!("SELECT * FROM (VALUES {pairs}) AS f(follower, followee)"))?.write_parquet(&follows)?;
    let names = "(1, 'Ada'), (2, 'Bo'), (3, 'Cleo'), (4, 'Dov'), (5, 'Edda'), (6, 'Fay')";
    session.sql(&format!("SELECT * FROM (VALUES {names}) AS p(id, name)"))?.write_csv(&people)?;

    let graph = Graph::from_edges(&session.read_parquet(&follows)?, "follower", "followee")?;
    let top = graph
        .pagerank(PageRank::default())?
        .join(&session.read_csv(&people)?, JoinType::Inner, ["vertex"], ["id"])?
        .sort([col("rank").desc()])?
        .limit(3)?;
    top.select([col("name"), cast(col("rank"), DataType::Decimal128(4, 3)).alias("rank")])?.show()?;

    session.register_path("follows", &follows)?;
    session.register_path("people", &people)?;
    let same = session.sql(
        "SELECT p.name, r.rank FROM pagerank('follows', src => 'follower', dst => 'followee') r JOIN people p ON p.id = r.vertex \
         ORDER BY r.rank DESC LIMIT 3",
    )?;
    assert_eq!(same.collect()?, top.select_columns(["name", "rank"])?.collect()?);
    if session.is_root() {
        println!("SQL says the same");
    }
    Ok(())
}
