//! The queries of TPC-H, as text, and the order in which each wants its rows.

/// A query.
#[derive(Debug)]
pub(crate) struct Query {
    /// `q1` to `q22`.
    pub(crate) name: &'static str,
    /// Its text: one question, around which q15 makes and drops a view.
    pub(crate) sql: &'static str,
}

/// A column the rows are ordered by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OrderKey<'a> {
    /// Its name in the answer.
    pub(crate) column: &'a str,
    /// Largest first.
    pub(crate) descending: bool,
}

impl Query {
    /// The columns of the outermost ORDER BY, which our texts write at the start of a line, one a line, by name.
    pub(crate) fn order(&self) -> Vec<OrderKey<'static>> {
        let Some((_, keys)) = self.sql.rsplit_once("\norder by\n") else { return Vec::new() };
        let indented = keys.lines().take_while(|line| line.starts_with(' '));
        let key = |line: &'static str| {
            let name = line.trim().trim_end_matches([',', ';']);
            let (column, descending) = name.strip_suffix(" desc").map_or((name, false), |column| (column, true));
            OrderKey { column, descending }
        };
        indented.map(key).collect()
    }
}

/// All of them.
pub(crate) const ALL: [Query; 22] = [
    Query { name: "q1", sql: include_str!("../queries/tpch/q1.sql") },
    Query { name: "q2", sql: include_str!("../queries/tpch/q2.sql") },
    Query { name: "q3", sql: include_str!("../queries/tpch/q3.sql") },
    Query { name: "q4", sql: include_str!("../queries/tpch/q4.sql") },
    Query { name: "q5", sql: include_str!("../queries/tpch/q5.sql") },
    Query { name: "q6", sql: include_str!("../queries/tpch/q6.sql") },
    Query { name: "q7", sql: include_str!("../queries/tpch/q7.sql") },
    Query { name: "q8", sql: include_str!("../queries/tpch/q8.sql") },
    Query { name: "q9", sql: include_str!("../queries/tpch/q9.sql") },
    Query { name: "q10", sql: include_str!("../queries/tpch/q10.sql") },
    Query { name: "q11", sql: include_str!("../queries/tpch/q11.sql") },
    Query { name: "q12", sql: include_str!("../queries/tpch/q12.sql") },
    Query { name: "q13", sql: include_str!("../queries/tpch/q13.sql") },
    Query { name: "q14", sql: include_str!("../queries/tpch/q14.sql") },
    Query { name: "q15", sql: include_str!("../queries/tpch/q15.sql") },
    Query { name: "q16", sql: include_str!("../queries/tpch/q16.sql") },
    Query { name: "q17", sql: include_str!("../queries/tpch/q17.sql") },
    Query { name: "q18", sql: include_str!("../queries/tpch/q18.sql") },
    Query { name: "q19", sql: include_str!("../queries/tpch/q19.sql") },
    Query { name: "q20", sql: include_str!("../queries/tpch/q20.sql") },
    Query { name: "q21", sql: include_str!("../queries/tpch/q21.sql") },
    Query { name: "q22", sql: include_str!("../queries/tpch/q22.sql") },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_written() {
        let check = |number: usize, expected: &[(&str, bool)]| {
            let order = ALL[number - 1].order();
            let order = order.iter().map(|key| (key.column, key.descending)).collect::<Vec<_>>();
            assert_eq!(order, expected, "q{number}");
        };
        check(1, &[("l_returnflag", false), ("l_linestatus", false)]);
        check(2, &[("s_acctbal", true), ("n_name", false), ("s_name", false), ("p_partkey", false)]);
        check(6, &[]);
        check(10, &[("revenue", true)]);
        check(15, &[("s_suppkey", false)]);
        // All but those that give one number are ordered.
        let unordered = ALL.iter().filter(|query| query.order().is_empty()).map(|query| query.name);
        assert_eq!(unordered.collect::<Vec<_>>(), ["q6", "q14", "q17", "q19"]);
    }
}
