//! Snappy.

use super::damage::{Damage, Decoded};

/// Decompresses all of `stored` into `out`; returns how many bytes that were.
pub(super) fn decompress(stored: &[u8], out: &mut [u8]) -> Decoded<usize> {
    snap::raw::Decoder::new().decompress(stored, out).map_err(|error| Damage::new(error.to_string()))
}
