//! TPC-H's first query, shortened: `cargo run --release --example tables` beside a folder `tpch` that
//! `bireme generate tpch --scale 0.1 --out tpch` made.

use bireme::prelude::*;

fn main() -> Result<()> {
    let session = Session::new()?; // finds cores, GPUs and ranks by itself
    let lineitem = session.read_parquet("tpch/lineitem.parquet")?;
    lineitem
        .filter(col("l_shipdate").lt_eq(date("1998-09-02")))?
        .group_by([col("l_returnflag"), col("l_linestatus")])?
        .agg([
            sum(col("l_quantity")).alias("quantity"),
            avg(col("l_discount")).alias("discount"),
            count_star().alias("orders"),
        ])?
        .sort([col("l_returnflag").asc(), col("l_linestatus").asc()])?
        .show()?; // planned, fused, placed and run here
    Ok(())
}
