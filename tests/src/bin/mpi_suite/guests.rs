//! What a program that uses MPI itself may do wrong: every rank gets an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array};
use bireme::mpi::environment::Threading;
use bireme::mpi::topology::{Color, Communicator as _, SimpleCommunicator};
use bireme::prelude::*;

/// Runs all of it; gives what failed here.
pub fn run() -> Vec<String> {
    let started = bireme::mpi::initialize_with_threading(Threading::Multiple);
    let (universe, _) = started.expect("MPI starts");
    let world = universe.world();
    assert!(world.size() > 1, "this program is for mpirun");
    let failed = [no_communicator(&world), local_ranks(&world), other_columns(&world)];
    let failed = failed.into_iter().flatten().collect::<Vec<_>>();
    if world.rank() == 0 {
        println!("guests on {} ranks: {} of 3 failed", world.size(), failed.len());
    }
    failed
}

/// A communicator for one check.
fn part(world: &SimpleCommunicator) -> SimpleCommunicator {
    world.split_by_color(Color::with_value(0)).expect("the colour is defined")
}

/// `None` if it failed with these words.
fn fails_with<T>(what: &str, result: Result<T>, words: &str) -> Option<String> {
    match result {
        Err(error) if error.to_string().contains(words) => None,
        Err(error) => Some(format!("{what}: expected `{words}`, got {error}")),
        Ok(_) => Some(format!("{what}: it did not fail")),
    }
}

fn no_communicator(world: &SimpleCommunicator) -> Option<String> {
    let nothing = world.split_by_color(Color::undefined());
    fails_with("no communicator", Session::from_communicator(nothing), "this process is in no communicator")
}

fn local_ranks(world: &SimpleCommunicator) -> Option<String> {
    let built = Session::builder().local_ranks(2).communicator(part(world)).and_then(SessionBuilder::build);
    fails_with("local ranks", built, "local ranks and a communicator do not go together")
}

/// Every rank gets the error of the one that is wrong, and the session goes on.
fn other_columns(world: &SimpleCommunicator) -> Option<String> {
    let session = Session::builder().threads(1).communicator(part(world)).and_then(SessionBuilder::build);
    let session = session.expect("a session");
    let schema = |data_type| Arc::new(Schema::new(vec![Field::new("a", data_type, false)]));
    let batch =
        |column: ArrayRef| RecordBatch::try_new(schema(column.data_type().clone()), vec![column]).expect("a batch");
    let wide = || batch(Arc::new(Int64Array::from(vec![1, 2])));
    let narrow = || batch(Arc::new(Int32Array::from(vec![1, 2])));
    let is_other = session.rank() == 1;

    let of_batch = DataFrame::from_local_batches(
        &session,
        schema(DataType::Int64),
        vec![if is_other { narrow() } else { wide() }],
    );
    let mine = if is_other { narrow() } else { wide() };
    let of_schema = DataFrame::from_local_batches(&session, mine.schema(), vec![mine]);
    let good = DataFrame::from_local_batches(&session, schema(DataType::Int64), vec![wide()]);
    let rows = good.and_then(|frame| frame.count());
    session.close().expect("all ranks end together");
    let rows = (rows != Ok(2 * u64::from(world.size().unsigned_abs()))).then(|| format!("rows afterwards: {rows:?}"));
    fails_with("a batch with other columns", of_batch, "rows do not fit the columns of the table")
        .or_else(|| fails_with("a rank with other columns", of_schema, "ranks bring different columns"))
        .or(rows)
}
