//! The sizes of joins.
//!
//! A join on one pair of columns yields `|L| · |R| / domain`, where the domain is the number of values that the pair
//! could have in common. Two things keep that from going astray:
//!
//! *Guessed domains.* Where the larger domain of a pair is a guess, inclusion lowers it to the smaller one:
//! a foreign key has no more values than the table it refers to has rows. Where it is certain (a dense key) it stays.
//!
//! *Several columns.* `(ps_partkey, ps_suppkey)` and `(l_partkey, l_suppkey)` have 200 k · 10 k combinations of values,
//! but `partsupp` has only 800 k rows, so that no more than 800 k of them occur:
//!
//! ```text
//!   independent   6.0 M · 800 k / (200 k · 10 k)  =  2.4 k     wrong by a factor of 2500
//!   capped        6.0 M · 800 k /      800 k      =  6.0 M     right
//! ```

use super::ColumnEstimate;

/// The least share of rows that an anti join is thought to leave.
const LEAST_ANTI: f64 = 0.05;

/// How much of the wider range two columns must share for one to be a key of the other.
const COVER: f64 = 0.9;

/// A column of one side, a column of the other.
pub(crate) type Pair = (ColumnEstimate, ColumnEstimate);

/// Whether the values of one column may well be among those of the other.
fn cover(left: &ColumnEstimate, right: &ColumnEstimate) -> bool {
    let (Some(l_min), Some(l_max), Some(r_min), Some(r_max)) = (left.min, left.max, right.min, right.max) else {
        return true;
    };
    let overlap = l_max.min(r_max) - l_min.max(r_min);
    overlap >= COVER * (l_max - l_min).max(r_max - r_min)
}

/// Lowers a guessed domain to that of a column it is equated with.
pub(crate) fn lower(column: &mut ColumnEstimate, other: &ColumnEstimate) {
    if !column.certain && other.domain < column.domain && cover(column, other) {
        column.domain = other.domain;
    }
}

/// The values that one pair could have in common.
fn domain((mut left, mut right): Pair) -> f64 {
    let (first, second) = (left, right);
    lower(&mut left, &second);
    lower(&mut right, &first);
    left.domain.max(right.domain).max(1.0)
}

/// The combinations of values that several pairs could have in common. `counted` gives the domain of each pair.
pub(crate) fn combined(pairs: &[Pair], counted: impl Fn(&Pair) -> f64) -> f64 {
    let mut product = 1.0;
    let mut done = vec![false; pairs.len()];
    for first in 0..pairs.len() {
        if done[first] {
            continue;
        }
        let (left, right) = pairs[first];
        let (mut group, mut largest) = (1.0, 1.0f64);
        for (pair, done) in pairs.iter().zip(&mut done).skip(first) {
            if pair.0.source == left.source && pair.1.source == right.source {
                *done = true;
                let domain = counted(pair);
                group *= domain;
                largest = largest.max(domain);
            }
        }
        let rows = left.source_rows.min(right.source_rows);
        product *= group.min(rows).max(largest);
    }
    product
}

/// The combinations of values that the columns of a join could have in common.
pub(crate) fn key_domain(pairs: &[Pair]) -> f64 {
    combined(pairs, |&pair| domain(pair))
}

/// The share of left rows that find a partner among so many right rows, where a pair of rows with equal keys passes the
/// rest of the condition with probability `filter`.
pub(crate) fn semi_share(pairs: &[Pair], right_rows: f64, filter: f64) -> f64 {
    let keys = pairs.iter().map(|(_, right)| right.ndv).product::<f64>().min(right_rows).max(1.0);
    let present = (keys / key_domain(pairs)).min(1.0);
    let partners = (right_rows / keys).max(1.0);
    let found = 1.0 - (1.0 - filter).powf(partners);
    if right_rows < 0.5 { 0.0 } else { present * found }
}

/// The share of left rows that find no partner.
pub(crate) fn anti_share(pairs: &[Pair], right_rows: f64, filter: f64) -> f64 {
    (1.0 - semi_share(pairs, right_rows, filter)).max(LEAST_ANTI)
}
