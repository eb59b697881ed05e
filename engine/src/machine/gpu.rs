//! GPUs: which there are, and how fast one is.
//!
//! ```text
//!   host memory, pinned ──── upload ───►┌─────────────────────────┐
//!                       ◄── download ───│ memory ◄─► flops        │
//!   thread ─────────────── launch ─────►└─────────────────────────┘
//! ```
//!
//! Of each rate several tries are made, of some ten milliseconds each, and the best is kept: whatever else runs only makes
//! them slower. Memory is one copy after another between two blocks, of which each byte is read once and written once;
//! `flops` are multiplications and additions in registers (`gpu/kernels.ptx`). All of it needs the driver's library alone,
//! which is loaded at run time; a machine without it is the normal case.

#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod measure;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Gpu {
    /// As the driver calls it.
    pub name: String,
    /// Bytes.
    pub memory: u64,
    /// Major and minor, as in `sm_90`.
    pub compute_capability: (u32, u32),
}

/// How fast a GPU is. What has not been measured is a guess: a server's GPU on sixteen lanes of PCIe 4.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuRates {
    /// Bytes a second of its memory, those read and those written together.
    pub memory: f64,
    /// Bytes a second from pinned host memory to the GPU.
    pub upload: f64,
    /// Bytes a second from the GPU to pinned host memory.
    pub download: f64,
    /// Double-precision operations a second, outside of matrix units. A multiplication with an addition counts as two.
    pub flops: f64,
    /// Seconds to launch a kernel that does nothing and to wait for it.
    pub launch: f64,
}

impl Default for GpuRates {
    /// Guesses, none of them measured.
    fn default() -> Self {
        Self { memory: 2e12, upload: 25e9, download: 25e9, flops: 10e12, launch: 8e-6 }
    }
}

/// The devices that the driver shows, or why it cannot be asked.
#[cfg(feature = "cuda")]
pub(super) fn gpus() -> Result<Vec<Gpu>, String> {
    driver::devices()?.into_iter().map(driver::Device::describe).collect()
}

/// The devices that the driver shows, or why it cannot be asked.
#[cfg(not(feature = "cuda"))]
pub(super) fn gpus() -> Result<Vec<Gpu>, String> {
    Err(NO_CUDA.into())
}

/// Measures one GPU, as the driver numbers them. Each rate takes some hundred milliseconds, and the driver its time to
/// start. Meanwhile at most 1 GiB of the GPU's memory is held, and at most a quarter of what is free there, and 64 MiB of
/// pinned host memory; all is given back, also after an error.
///
/// # Errors
/// There is no driver or no such GPU, it has hardly any free memory, or it refuses something; the message says what was
/// attempted.
#[cfg(feature = "cuda")]
pub fn measure_gpu(ordinal: usize) -> Result<GpuRates, String> {
    let devices = driver::devices()?;
    let device = devices.get(ordinal).ok_or_else(|| match devices.len() {
        0 => format!("there is no GPU {ordinal} to measure: the CUDA driver shows none"),
        count => format!("there is no GPU {ordinal} to measure: the CUDA driver shows {count}, counted from 0"),
    })?;
    measure::measure(*device)
}

/// Measures one GPU, as the driver numbers them.
///
/// # Errors
/// Always: this build has no CUDA.
#[cfg(not(feature = "cuda"))]
pub fn measure_gpu(_ordinal: usize) -> Result<GpuRates, String> {
    Err(NO_CUDA.into())
}

#[cfg(not(feature = "cuda"))]
const NO_CUDA: &str = "this build has no CUDA (feature `cuda`)";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn rates_travel_and_are_written_down() {
        let rates = GpuRates { launch: 1.25e-6, flops: 3.5e13, ..GpuRates::default() };
        let bytes = bincode::encode_to_vec(rates, bincode::config::standard()).unwrap();
        let (arrived, _): (GpuRates, _) = bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        assert_eq!(arrived, rates);
        assert_eq!(toml::from_str::<GpuRates>(&toml::to_string(&rates).unwrap()).unwrap(), rates);
        let partly = toml::from_str::<GpuRates>("upload = 50e9").unwrap();
        assert_eq!(partly, GpuRates { upload: 50e9, ..GpuRates::default() });
        assert!(toml::from_str::<GpuRates>("uplaod = 50e9").unwrap_err().to_string().contains("uplaod"));
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        let story = measure_gpu(usize::MAX).unwrap_err();
        assert!(story.contains("CUDA"), "{story}");
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "a test that did not run says so")]
    fn a_gpu_has_some_speed() {
        let reason = match gpus() {
            Ok(gpus) if gpus.is_empty() => "the CUDA driver shows no device".to_owned(),
            Ok(_) => {
                let rates = measure_gpu(0).unwrap();
                let GpuRates { memory, upload, download, flops, launch } = rates;
                // Limits that no GPU of these years is near, neither an old one nor a new one.
                assert!(1e9 < memory && memory < 1e15, "{rates:?}");
                assert!(1e8 < upload && upload < memory && 1e8 < download && download < memory, "{rates:?}");
                assert!(1e9 < flops && flops < 1e16 && 1e-7 < launch && launch < 1e-2, "{rates:?}");
                // What was held is given back: it can be done again.
                measure_gpu(0).unwrap();
                return;
            }
            Err(reason) => reason,
        };
        println!("SKIPPED: no GPU was measured: {reason}");
    }
}
