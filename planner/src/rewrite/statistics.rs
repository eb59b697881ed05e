//! How many rows a plan yields, and how many different values its columns hold.
//!
//! Estimates go bottom up, from what the tables say of themselves ([`TableStatistics`]: rows, bounds, NULLs, at times
//! distinct values) to every node of the plan. Three assumptions carry them, the usual ones (Selinger et al. 1979;
//! Swami & Schiefer 1994):
//!
//! - *uniformity*: values spread evenly between the bounds of their column;
//! - *independence*: predicates on different columns multiply;
//! - *inclusion*: of two columns that are equated, the values of one are among the values of the other.
//!
//! Inclusion is what makes up for the distinct counts that Parquet footers lack. A column keeps two counts:
//!
//! ```text
//!               ndv     distinct values among the rows that are left: for GROUP BY and comparisons with literals
//!               domain  distinct values before filters on *other* columns: what joins divide by
//!
//!  orders    (o_orderdate in one year)    rows  228 k   o_orderkey: ndv  228 k, domain 1.5 M
//!  lineitem                               rows  6.0 M   l_orderkey: ndv  3.8 M, domain 3.8 M  (a guess from the range)
//!  orders ⋈ lineitem                      rows  6.0 M · 228 k / 1.5 M = 912 k
//! ```
//!
//! The guess of 3.8 M falls to 1.5 M because a foreign key cannot have more values than the table it refers to has rows
//! (`joins`). A column whose rows fill its range exactly is a key beyond doubt and is never lowered.
//!
//! An estimate costs one visit of each node and no input or output: a few microseconds a node.

mod aggregates;
mod columns;
pub(crate) mod joins;
mod nodes;
pub(crate) mod selectivity;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use datafusion::common::{Statistics, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, TableScan};

/// Rows of a table that does not say how many it has. Unknown tables are all alike: then filters and keys decide.
pub(crate) const UNKNOWN_ROWS: f64 = 100_000.0;

/// What tables know about themselves without being read.
///
/// The answers must be the same on every rank: they come from snapshots.
pub trait TableStatistics {
    /// The statistics of the whole table behind a scan, in the order of the table's schema.
    fn statistics(&self, scan: &TableScan) -> Option<Statistics>;
}

/// Asks the table's provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProviderStatistics;

impl TableStatistics for ProviderStatistics {
    fn statistics(&self, scan: &TableScan) -> Option<Statistics> {
        source_as_provider(&scan.source).ok()?.statistics()
    }
}

/// What a plan is expected to yield.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Rows.
    pub rows: f64,
    /// One for each field of the plan's schema.
    pub columns: Vec<ColumnEstimate>,
}

/// What a column is expected to hold. Numbers, dates (in days) and decimals have bounds; other types have none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnEstimate {
    /// Distinct values among the rows.
    pub ndv: f64,
    /// Distinct values there were before filters on other columns.
    pub domain: f64,
    /// More distinct values than this it cannot have, NULL aside, whatever filters and joins do; infinite if that is not known.
    pub most: f64,
    /// Whether `domain` is known rather than guessed.
    pub certain: bool,
    /// Lowest value.
    pub min: Option<f64>,
    /// Highest value.
    pub max: Option<f64>,
    /// Share of NULLs, 0 to 1.
    pub nulls: f64,
    /// Columns with the same number come from the same scan: their values are not independent.
    pub source: u32,
    /// Rows of that scan's table.
    pub source_rows: f64,
}

/// The expected rows and columns of a plan.
///
/// Nodes that are not understood pass on what their largest input yields.
pub fn estimate(plan: &LogicalPlan, statistics: &dyn TableStatistics) -> Estimate {
    Estimator::new(statistics).plan(plan)
}

/// Estimates many plans over the same tables, whose statistics it fetches once.
pub(crate) struct Estimator<'a> {
    statistics: &'a dyn TableStatistics,
    tables: RefCell<BTreeMap<TableReference, Rc<Estimate>>>,
    sources: Cell<u32>,
}

impl<'a> Estimator<'a> {
    pub(crate) fn new(statistics: &'a dyn TableStatistics) -> Self {
        Self { statistics, tables: RefCell::default(), sources: Cell::new(0) }
    }

    /// Whether a table knows how many rows it has.
    pub(crate) fn counts_rows(&self, scan: &TableScan) -> bool {
        let known = self.statistics.statistics(scan);
        known.is_some_and(|known| known.num_rows.is_exact().unwrap_or(false))
    }

    /// The number of a new scan or computation.
    fn source(&self) -> u32 {
        self.sources.set(self.sources.get() + 1);
        self.sources.get()
    }

    /// The whole table behind a scan.
    fn table(&self, scan: &TableScan) -> Rc<Estimate> {
        if let Some(known) = self.tables.borrow().get(&scan.table_name) {
            return Rc::clone(known);
        }
        let table = Rc::new(columns::table(self.statistics.statistics(scan), scan.source.schema().fields()));
        self.tables.borrow_mut().insert(scan.table_name.clone(), Rc::clone(&table));
        table
    }
}
