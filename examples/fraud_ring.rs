//! Accounts that share cards and devices with others make a ring; what each ring has taken. Components of a graph whose
//! vertices are texts, and an aggregation of their rows: `cargo run --release --example fraud_ring`, or under `mpirun`.
//!
//! ```text
//! +-----------+----------+-------+
//! | ring      | accounts | taken |
//! +-----------+----------+-------+
//! | account 1 | 3        | 1750  |
//! | account 4 | 2        | 900   |
//! +-----------+----------+-------+
//! ```

use bireme::prelude::*;

fn main() -> Result<()> {
    let session = Session::new()?;
    session.sql(
        "CREATE TABLE uses AS SELECT * FROM (VALUES ('account 1', 'card 71'), ('account 2', 'card 71'), ('account 2', 'device 9'), \
         ('account 3', 'device 9'), ('account 4', 'card 33'), ('account 5', 'card 33'), ('account 6', 'card 50'), ('account 7', 'device 2')) \
         AS u(account, thing)",
    )?;
    session.sql(
        "CREATE TABLE payments AS SELECT * FROM (VALUES ('account 1', 1000), ('account 2', 250), ('account 3', 500), ('account 4', 400), \
         ('account 5', 500), ('account 6', 80), ('account 7', 60)) AS p(account, amount)",
    )?;
    session
        .sql(
            "SELECT c.component AS ring, COUNT(*) AS accounts, SUM(p.amount) AS taken \
             FROM components('uses', src => 'account', dst => 'thing') c JOIN payments p ON p.account = c.vertex \
             GROUP BY c.component HAVING COUNT(*) > 1 ORDER BY taken DESC",
        )?
        .show()
}
