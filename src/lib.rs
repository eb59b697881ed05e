//! One engine for tables, tensors and graphs: lazy dataflow over Arrow columns, on a laptop and under `mpirun`.
//!
//! ```no_run
//! use bireme::prelude::*;
//!
//! fn main() -> Result<()> {
//!     let session = Session::new()?;
//!     let lineitem = session.read_parquet("tpch/lineitem.parquet")?;
//!     lineitem
//!         .filter(col("l_shipdate").lt_eq(date("1998-09-02")))?
//!         .group_by([col("l_returnflag"), col("l_linestatus")])?
//!         .agg([sum(col("l_quantity")).alias("quantity"), count_star().alias("orders")])?
//!         .sort([col("l_returnflag").asc(), col("l_linestatus").asc()])?
//!         .show()
//! }
//! ```
//!
//! The same program runs with one rank, with `Session::builder().local_ranks(n)`, and under `mpirun -n N` when built with
//! the feature `mpi`.

pub mod array;
pub mod dataset;
mod frame;
pub mod functions;
pub mod graph;
pub mod prelude;
mod session;
pub mod sql;
pub mod write;

/// The layer below: ranks, exchanges and placed stages, for programs that place their own work and for those that measure it.
pub use bireme_engine as engine;

pub use array::{Array, LocalTile, Schedule, SparseArray};
pub use bireme_connectors::options::{CsvOptions, FileFormatOptions, IpcOptions, JsonOptions, ParquetOptions};
pub use bireme_engine::error::{Error, ErrorKind, Result};
pub use bireme_engine::layout::{Grid, Layout};
pub use bireme_engine::machine::{Cluster, Machine, Rates};
pub use bireme_engine::peers::Peers;
pub use bireme_operators::{DeviceReport, DeviceShare, DeviceWork};
/// Who decides what a plan leaves open: how joins between ranks meet, and where lanes run.
pub use bireme_planner::place as mapper;
pub use dataset::{Dataset, Record, Text};
pub use frame::{DataFrame, GroupBy};
pub use graph::Graph;
/// The bindings that [`Session::from_communicator`] takes its communicator from.
#[cfg(feature = "mpi")]
pub use mpi;
pub use session::{Canceller, Device, Fault, Leftovers, ProgressHandle, ProgressSnapshot, Session, SessionBuilder};
pub use write::{WriteFormat, WriteMode, WriteOptions};
