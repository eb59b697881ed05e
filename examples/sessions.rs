//! Sessions of visitors in a log: visits of one visitor that are at most half an hour apart belong together.
//!
//! ```text
//! cargo run --release --example sessions
//! ```
//!
//! Prints the same on any number of ranks:
//!
//! ```text
//! 2000 visits, 298 visitors, 910 sessions
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

const PAUSE: i64 = 30 * 60;

#[derive(Clone, Debug, Record)]
struct Visit {
    visitor: u64,
    second: i64,
    page: Option<String>,
}

#[derive(Clone, Debug, Record)]
struct Stay {
    visitor: u64,
    begun: i64,
    seconds: i64,
    pages: u64,
}

/// The stays of one visitor.
fn stays(visitor: u64, mut visits: Vec<Visit>) -> Vec<Stay> {
    visits.sort_by_key(|visit| visit.second);
    let stay = |visits: &[Visit]| Stay {
        visitor,
        begun: visits[0].second,
        seconds: visits[visits.len() - 1].second - visits[0].second,
        pages: visits.iter().filter(|visit| visit.page.is_some()).count() as u64,
    };
    visits.chunk_by(|a, b| b.second - a.second <= PAUSE).map(stay).collect()
}

fn main() -> Result<()> {
    let session = Session::new()?;
    let log = (0..2000_u64).map(|n| {
        // Whatever looks like chance: the finalizer of SplitMix64.
        let drawn = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drawn = (drawn ^ drawn >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let drawn = drawn ^ drawn >> 27;
        Visit {
            visitor: drawn % 300,
            second: (drawn / 300 % 14_400) as i64,
            page: (!drawn.is_multiple_of(5)).then(|| format!("/{}", drawn % 17)),
        }
    });
    let log = session.dataset(log).boxed();
    let sessions = log
        .clone()
        .key_by(|visit| visit.visitor)
        .group_by_key()
        .flat_map(|(visitor, visits)| stays(visitor, visits))
        .boxed();
    let visitors = log.clone().map(|visit| visit.visitor).distinct().count()?;
    let (visits, stays) = (log.count()?, sessions.count()?);
    // The same rows are a table.
    session.register_view("stays", &sessions.to_dataframe()?)?;
    let longest = session.sql("SELECT MAX(seconds) AS seconds, SUM(pages) AS pages FROM stays")?;
    let pages = longest.typed::<(Option<i64>, Option<u64>)>()?.first()?;
    let with_pages = log.filter(|visit| visit.page.is_some()).count()?;
    if pages.and_then(|(_, pages)| pages) != Some(with_pages) {
        return Err(Error::user("pages were lost"));
    }
    if session.is_root() {
        println!("{visits} visits, {visitors} visitors, {stays} sessions");
    }
    Ok(())
}
