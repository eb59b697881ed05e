//! The tables of TPC-H in memory, from `tpchgen`.

use arrow::array::{RecordBatch, RecordBatchReader};
use bireme::prelude::{Error, Result};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// Rows of a batch.
const ROWS: usize = 1 << 16;

/// All eight, one after the other.
pub(super) fn all(scale: f64) -> impl Iterator<Item = Result<(&'static str, Vec<RecordBatch>)>> {
    let tables: [(&str, Box<dyn RecordBatchReader>); 8] = [
        ("customer", Box::new(CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
        ("lineitem", Box::new(LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
        ("nation", Box::new(NationArrow::new(NationGenerator::new(scale, 1, 1)))),
        ("orders", Box::new(OrderArrow::new(OrderGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
        ("part", Box::new(PartArrow::new(PartGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
        ("partsupp", Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
        ("region", Box::new(RegionArrow::new(RegionGenerator::new(scale, 1, 1)))),
        ("supplier", Box::new(SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)).with_batch_size(ROWS))),
    ];
    tables.into_iter().map(|(name, rows)| {
        let batches = rows.collect::<std::result::Result<Vec<_>, _>>();
        Ok((name, batches.map_err(|error| Error::internal(format!("making {name}: {error}")))?))
    })
}
