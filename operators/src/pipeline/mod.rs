//! Fused pipelines: the language they are written in, and the back ends that run them: the CPU's, and that of devices.

pub mod device;
pub mod ir;
pub(crate) mod resources;
pub mod run;
pub(crate) mod values;

pub use resources::Resources;
