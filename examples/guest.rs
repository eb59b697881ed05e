//! A program that uses MPI itself, and asks Bireme about the data that its ranks hold:
//!
//! ```sh
//! cargo build --release --workspace --features mpi --example guest
//! mpirun -n 3 target/release/examples/guest
//! ```
//!
//! It splits its communicator, simulates a field on each part, and lets a session over the part's communicator query the field
//! where it lies: what stays on its rank is not moved, and the program's own messages go on meanwhile. The field is an array as well, made
//! of the ranks' tiles without a copy; a product with what every rank has is made where the tiles are.
#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{Float64Type, Int64Type};
use bireme::mpi::collective::SystemOperation;
use bireme::mpi::environment::Threading;
use bireme::mpi::topology::{Color, Communicator, SimpleCommunicator};
use bireme::mpi::traits::CommunicatorCollectives;
use bireme::prelude::*;

/// Cells of the field on each rank.
const CELLS: i64 = 100_000;
/// Cells of a line.
const LINE: usize = 100;
/// Regions of the field; each has cells on every rank.
const REGIONS: i64 = 7;

fn main() -> Result<()> {
    let started = bireme::mpi::initialize_with_threading(Threading::Multiple);
    let (universe, _) = started.ok_or_else(|| Error::user("somebody else has started MPI"))?;
    let world = universe.world();
    // The first two ranks work on one field, the others on another.
    let part = world.split_by_color(Color::with_value(i32::from(world.rank() >= 2)));
    let part = part.ok_or_else(|| Error::user("the colour is defined, so there is a communicator"))?;
    let found = hottest(&part)?;
    if part.rank() == 0 {
        println!("part of rank {}: region {} is hottest, {:.3} on average", world.rank(), found.0, found.1);
    }
    // `universe` ends MPI here; the session over it ended before.
    Ok(())
}

/// The region with the highest average, and the average.
fn hottest(part: &SimpleCommunicator) -> Result<(i64, f64)> {
    let session = Session::from_communicator(part.split_by_color(Color::with_value(0)))?;
    let (schema, cells) = simulate(part.rank().into());
    let field = DataFrame::from_local_batches(&session, schema, vec![cells])?;
    session.register_view("field", &field)?;

    // Nothing leaves its rank: the cells are filtered where they lie, and taken back there.
    let hot = session.sql("SELECT cell, region, v FROM field WHERE v > 0.9")?;
    let mine = hot.collect_local()?;
    assert_eq!(session.progress().bytes_sent, 0, "rows moved that need not");
    let first = i64::from(part.rank()) * CELLS;
    for batch in &mine {
        let cells = batch.column(0).as_primitive::<Int64Type>();
        assert!(cells.values().iter().all(|cell| (first..first + CELLS).contains(cell)), "a cell of another rank");
    }

    // The program's own messages are not disturbed, and agree with the session.
    let rows = mine.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
    let mut of_all = 0_u64;
    part.all_reduce_into(&rows, &mut of_all, SystemOperation::sum());
    assert_eq!(of_all, hot.count()?);

    averages(part, &session, &mine)?;

    let regions =
        session.sql("SELECT region, avg(v) AS v FROM field GROUP BY region ORDER BY v DESC LIMIT 1")?.collect()?;
    // Grouping by region does move rows: the regions lie across the ranks.
    assert_eq!(session.progress().bytes_sent > 0, part.size() > 1);
    let [top] = regions.as_slice() else { return Err(Error::user("one batch of one row was expected")) };
    Ok((top.column(0).as_primitive::<Int64Type>().value(0), top.column(1).as_primitive::<Float64Type>().value(0)))
}

/// Weighted averages of the cells' values, line by line: a product of the ranks' tiles and of weights that every rank has.
fn averages(part: &SimpleCommunicator, session: &Session, hot: &[RecordBatch]) -> Result<()> {
    let (_, cells) = simulate(part.rank().into());
    let values = cells.column(2).as_primitive::<Float64Type>().values().clone();
    // As lines of the field; the vector of MPI's side is the array's memory.
    let (lines, width) = (CELLS as usize / LINE, LINE);
    let first = part.rank() as usize * lines;
    let tile = LocalTile::of_buffer(values.clone(), [first..first + lines, 0..width])?;
    let field = Array::from_local(tile, Layout::parse("A(x,y) -> M(x)")?, session)?;
    let weights = session.array((0..width).map(|y| 1.0 / (1 + y) as f64).collect::<Vec<_>>(), [width])?;
    let ranks = session.machine().grid([part.size() as usize])?;
    let weights = weights.distribute("w(y) -> M(*)", &ranks)?;
    let moved = session.progress().array_bytes_sent;
    let sums = field.dot(&weights)?;
    let mine = sums.local_tiles()?;
    assert_eq!(session.progress().array_bytes_sent, moved, "tiles moved that need not");
    let [mine] = mine.as_slice() else { return Err(Error::user("one tile was expected")) };
    assert_eq!((mine.ranges()[0].start, mine.shape()), (first, vec![lines]));
    for (line, sum) in values.chunks(width).zip(mine.values()) {
        let slow = line.iter().enumerate().map(|(y, value)| value / (1 + y) as f64).sum::<f64>();
        assert!((slow - sum).abs() < 1e-9 * slow.abs(), "{slow} and {sum}");
    }
    // The same array in SQL: as many hot cells as the session has found in the table.
    session.register_array("lines", &field, ["x", "y"], "v")?;
    let here = session.sql("SELECT x FROM lines WHERE v > 0.9")?.collect_local()?;
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(count(&here), count(hot));
    Ok(())
}

/// This rank's cells: their numbers, regions, and values from 0 to 1.
fn simulate(rank: i64) -> (SchemaRef, RecordBatch) {
    let cells = Int64Array::from_iter_values(rank * CELLS..(rank + 1) * CELLS);
    let regions = cells.values().iter().map(|cell| cell % REGIONS).collect::<Int64Array>();
    // A multiplicative hash of the cell's number (Knuth).
    let value = |cell: &i64| f64::from((*cell as u32).wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24);
    let values = cells.values().iter().map(value).collect::<Float64Array>();
    let columns: [(&str, ArrayRef); 3] =
        [("cell", Arc::new(cells)), ("region", Arc::new(regions)), ("v", Arc::new(values))];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
    (schema.clone(), batch.unwrap_or_else(|_| RecordBatch::new_empty(schema)))
}
