//! DataFusion's logical rules, in our order.
//!
//! DataFusion runs all of its rules, and then all of them again until nothing changes. Most of the second round finds
//! nothing to do, and planning is a good part of a short query. So the rules run once, and then those again for which
//! others make room:
//!
//! ```text
//! first    all of them, but for the one that looks for joins among crossed tables: `join_order` takes them apart anyway
//! again    subqueries that stood in other subqueries, filters that pruning lets fall further, limits, what is now empty
//! ```
//!
//! [`reorder_joins`](super::reorder_joins) prunes columns last, so it is not done again here. Instructions of planning
//! TPC-H's query 7 (callgrind): two rounds 11.6 million, so 9.0 million.

use std::sync::Arc;

use datafusion::optimizer::{Optimizer, OptimizerRule};

/// Does what `join_order` does, once a round and quadratically.
const NEVER: [&str; 1] = ["eliminate_cross_join"];

/// Rules of the second round.
const AGAIN: [&str; 13] = [
    "simplify_expressions",
    "eliminate_join",
    "decorrelate_predicate_subquery",
    "scalar_subquery_to_join",
    "decorrelate_lateral_join",
    "extract_equijoin_predicate",
    "eliminate_duplicated_expr",
    "eliminate_filter",
    "eliminate_limit",
    "propagate_empty_relation",
    "eliminate_outer_join",
    "push_down_limit",
    "push_down_filter",
];

/// The rules, in the order in which each runs once.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let all = Optimizer::new().rules;
    let named =
        |names: &'static [&str]| move |rule: &Arc<dyn OptimizerRule + Send + Sync>| names.contains(&rule.name());
    let never = named(&NEVER);
    let again = all.iter().filter(|rule| named(&AGAIN)(rule)).cloned().collect::<Vec<_>>();
    all.into_iter().filter(|rule| !never(rule)).chain(again).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_a_rule() {
        let all = Optimizer::new().rules;
        for name in NEVER.iter().chain(&AGAIN) {
            assert!(all.iter().any(|rule| rule.name() == *name), "{name}");
        }
        assert_eq!(logical_rules().len(), all.len() - NEVER.len() + AGAIN.len());
    }
}
