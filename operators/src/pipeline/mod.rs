//! Fused pipelines: the language they are written in, and the CPU back end that runs them.

pub mod ir;
pub(crate) mod resources;
pub mod run;
pub(crate) mod values;

pub use resources::Resources;
