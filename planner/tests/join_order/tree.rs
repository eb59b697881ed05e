//! A join order as text: joins and relations only, the build side first.
//!
//! ```text
//! Inner o_orderkey = l_orderkey  ≈ 912k rows
//!   build: orders | filter
//!   probe: lineitem
//! ```

use std::fmt::Write as _;

use bireme_planner::rewrite::{TableStatistics, estimate};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

/// The text of a plan's joins; subqueries in expressions come last.
pub fn text(plan: &LogicalPlan, statistics: &dyn TableStatistics) -> String {
    let mut text = String::new();
    node(plan, "", 0, statistics, &mut text);
    plan.apply(|inner| {
        inner.apply_subqueries(|subquery| {
            text.push_str("subquery\n");
            node(subquery, "", 1, statistics, &mut text);
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .unwrap();
    text
}

fn node(plan: &LogicalPlan, side: &str, depth: usize, statistics: &dyn TableStatistics, text: &mut String) {
    let (below, marks) = below(plan);
    let rows = short(estimate(plan, statistics).rows);
    let indent = "  ".repeat(depth);
    match below {
        LogicalPlan::Join(join) => {
            writeln!(text, "{indent}{side}{}{marks}  ≈ {rows} rows", condition(join)).unwrap();
            node(&join.left, "build: ", depth + 1, statistics, text);
            node(&join.right, "probe: ", depth + 1, statistics, text);
        }
        LogicalPlan::TableScan(scan) => {
            writeln!(text, "{indent}{side}{}{marks}  ≈ {rows} rows", scan.table_name).unwrap();
        }
        other => {
            writeln!(text, "{indent}{side}{}{marks}  ≈ {rows} rows", name(other)).unwrap();
            for input in other.inputs() {
                node(input, "", depth + 1, statistics, text);
            }
        }
    }
}

/// What is under filters, projections and aliases, and the traces they leave.
fn below(mut plan: &LogicalPlan) -> (&LogicalPlan, String) {
    let mut marks = String::new();
    loop {
        plan = match plan {
            LogicalPlan::Filter(filter) => {
                marks.push_str(" | filter");
                &filter.input
            }
            LogicalPlan::SubqueryAlias(alias) => {
                write!(marks, " | as {}", alias.alias).unwrap();
                &alias.input
            }
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Sort(sort) => &sort.input,
            other => return (other, marks),
        }
    }
}

fn name(plan: &LogicalPlan) -> String {
    let name = plan.display().to_string();
    name.split([':', ' ']).next().unwrap_or_default().to_owned()
}

fn condition(join: &Join) -> String {
    let keys = join.on.iter().map(|(left, right)| format!("{} = {}", bare(left), bare(right)));
    let mut text = format!("{} {}", join.join_type, keys.collect::<Vec<_>>().join(", "));
    if join.on.is_empty() && join.filter.is_none() && join.join_type == JoinType::Inner {
        text.push_str("CROSS");
    }
    if let Some(filter) = &join.filter {
        write!(text, " if {}", bare(filter)).unwrap();
    }
    text
}

/// An expression without the qualifiers of its columns, whose names tell the table in this benchmark.
fn bare(expr: &Expr) -> String {
    let short = expr.clone().transform(|expr| match expr {
        Expr::Column(mut column) => {
            column.relation = column.relation.filter(|table| table.table().len() < 3);
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    short.unwrap().data.to_string()
}

/// Two digits are enough for an estimate.
fn short(rows: f64) -> String {
    let digits = |rows: f64| if rows >= 9.95 { format!("{rows:.0}") } else { format!("{rows:.1}") };
    match rows {
        rows if rows >= 999_500.0 => format!("{}M", digits(rows / 1e6)),
        rows if rows >= 999.5 => format!("{}k", digits(rows / 1e3)),
        rows => digits(rows),
    }
}
