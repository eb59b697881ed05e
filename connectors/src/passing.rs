//! What is left of decoded rows once predicates have been tested.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use bireme_engine::Result;
use bireme_engine::morsel::{Chunk, ScanRequest};

/// The rows that pass all predicates of a request. `column` makes the carried form of a column of the source, by its
/// place; it is asked once for each column that somebody reads.
pub(crate) fn passing(
    request: &ScanRequest,
    rows: usize,
    mut column: impl FnMut(usize) -> Result<ArrayRef>,
) -> Result<Chunk> {
    let mut made: Vec<(usize, ArrayRef)> = Vec::new();
    let mut column = |place: usize| match made.iter().find(|(known, _)| *known == place) {
        Some((_, array)) => Ok(Arc::clone(array)),
        None => column(place).inspect(|array| made.push((place, Arc::clone(array)))),
    };
    let mut passed: Option<BooleanArray> = None;
    for predicate in request.predicates.iter().filter(|predicate| predicate.is_active()) {
        let columns = predicate.columns().iter().map(|&place| column(place)).collect::<Result<Vec<_>>>()?;
        let answer = predicate.test(&columns, rows)?;
        passed = Some(match passed {
            Some(before) => arrow::compute::and(&before, &answer)?,
            None => answer,
        });
    }
    let kept = passed.as_ref().map_or(rows, BooleanArray::true_count);
    if kept == 0 {
        return Ok(Chunk::new(Vec::new(), 0));
    }
    let columns = request.projection.iter().map(|&place| column(place)).collect::<Result<Vec<_>>>()?;
    match passed {
        Some(passed) if kept < rows => {
            let columns = columns.iter().map(|column| Ok(filter(column, &passed)?)).collect::<Result<_>>()?;
            Ok(Chunk::new(columns, kept))
        }
        _ => Ok(Chunk::new(columns, rows)),
    }
}

/// The columns that a request reads, as places in the source's schema, ascending.
pub(crate) fn wanted(request: &ScanRequest) -> Vec<usize> {
    let tested = request.predicates.iter().flat_map(|predicate| predicate.columns());
    let mut places: Vec<usize> = request.projection.iter().chain(tested).copied().collect();
    places.sort_unstable();
    places.dedup();
    places
}
