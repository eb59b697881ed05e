//! Memory of a device.

use std::collections::BTreeMap;
use std::fmt;

use super::Device;
use crate::error::Result;

/// Memory is handed out in sizes of this, doubled: what is let go fits what is asked for next.
const LEAST: usize = 512;

/// From here on sizes are multiples of this part of the power of two below, lest large ones waste half.
const LARGE: usize = 1 << 20;

/// What was let go, by size. Things on a device follow each other, so it may be handed out while kernels still use it.
#[derive(Default)]
pub(super) struct Pool {
    free: BTreeMap<usize, Vec<u64>>,
    used: usize,
    kept: usize,
}

impl Pool {
    pub fn bytes(&self) -> usize {
        self.used + self.kept
    }

    fn take(&mut self, size: usize) -> Option<u64> {
        let address = self.free.get_mut(&size)?.pop()?;
        (self.used, self.kept) = (self.used + size, self.kept - size);
        Some(address)
    }

    fn put(&mut self, size: usize, address: u64) {
        self.free.entry(size).or_default().push(address);
        (self.used, self.kept) = (self.used - size, self.kept + size);
    }

    fn drain(&mut self) -> Vec<(usize, u64)> {
        self.kept = 0;
        let all = std::mem::take(&mut self.free).into_iter();
        all.flat_map(|(size, addresses)| addresses.into_iter().map(move |address| (size, address))).collect()
    }
}

/// The size that is handed out for so many bytes.
fn size_of(bytes: usize) -> usize {
    let power = bytes.max(LEAST).next_power_of_two();
    if power <= LARGE { power } else { bytes.next_multiple_of(power / 8) }
}

/// Memory of a device, given back when it is dropped.
pub struct Buffer {
    device: Device,
    address: u64,
    bytes: usize,
}

impl Buffer {
    pub(super) fn new(device: &Device, bytes: usize) -> Result<Self> {
        let size = size_of(bytes);
        let shared = &device.shared;
        let kept = shared.pool.lock().take(size);
        let address = match kept {
            Some(address) => address,
            None => {
                let address = shared.backend.allocate(size).or_else(|_| {
                    device.give_back();
                    shared.backend.allocate(size)
                });
                let address =
                    address.map_err(|error| error.context(format!("{bytes} bytes on {}", device.describe())))?;
                shared.pool.lock().used += size;
                address
            }
        };
        Ok(Self { device: device.clone(), address, bytes })
    }

    /// Its bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it lies, for kernels that find their way by numbers; whoever hands it on keeps the buffer until they have run.
    pub fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.device.shared.pool.lock().put(size_of(self.bytes), self.address);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.bytes, self.device.describe())
    }
}

impl Device {
    /// Gives the driver all memory that is kept and not in use.
    pub fn give_back(&self) {
        // Taken first, so that what is begun meanwhile has none of it; then whatever still uses it is waited for.
        let drained = self.shared.pool.lock().drain();
        if self.shared.backend.wait().is_err() {
            // A device that has failed frees its memory with its context.
            return;
        }
        for (size, address) in drained {
            // SAFETY: it was allocated with this size and let go, and all that used it has ended.
            unsafe { self.shared.backend.free(address, size) };
        }
    }
}

impl Drop for super::Shared {
    fn drop(&mut self) {
        let _ = self.backend.wait();
        for (size, address) in self.pool.get_mut().drain() {
            // SAFETY: buffers hold the device, so there are none any more, and all that used them has ended.
            unsafe { self.backend.free(address, size) };
        }
    }
}
