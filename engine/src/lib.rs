//! Runs placed stages: batches, partitions, ranks, memory, traces.
//!
//! The engine knows neither SQL nor DataFusion nor any particular operator. The planner hands it a
//! [`stage::PlacedPlan`]; [`run::run`] runs this rank's part of it, moving batches over a [`comm::Communicator`].

pub mod activity;
pub mod block_on;
pub mod budget;
pub mod cancel;
pub mod comm;
pub mod control;
pub mod device;
pub mod error;
pub mod exchange;
pub mod feedback;
pub mod hash;
pub mod launch;
pub mod layout;
pub mod machine;
pub mod metrics;
pub mod morsel;
pub mod peers;
pub mod process;
pub mod run;
pub mod scratch;
pub mod spill;
pub mod stage;
pub mod switchboard;
pub mod wire;
pub mod workers;

pub use error::{Error, ErrorKind, Result};
