//! The device of a rank, and what has run on it: nothing is silent.

mod copies;
pub(crate) mod prefix_sums;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bireme_engine::device::{Buffer as Memory, Device};
use bireme_engine::error::{ErrorKind, Result};
use copies::Copies;
use parking_lot::Mutex;

/// Reasons that are told apart, for each kind of work.
const REASONS: usize = 1000;

/// That a device has no memory is one reason, whatever was asked for.
pub(crate) const NO_MEMORY: &str = "no memory on the device";

/// A device that kernels of a rank run on, and what it has done; clones share both.
#[derive(Clone, Debug)]
pub struct Accelerator {
    device: Device,
    copies: Arc<Copies>,
    done: Arc<Mutex<Report>>,
}

/// What runs on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Loops over arrays.
    Loops,
    /// Products of arrays.
    Products,
    /// Other steps over arrays: running sums, sorting, slices by index, putting arrays together.
    Steps,
    /// Pipelines that compute something; those of which a part does not run on the device count as the CPU's.
    Pipelines,
    /// Batches of rows in pipelines.
    Batches,
    /// Rows that are put in order.
    Sorts,
    /// Algorithms over graphs.
    Graphs,
}

/// Bytes that went to a device and came back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub up: u64,
    pub down: u64,
}

/// How much of some work ran where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// On the device.
    pub on_device: u64,
    /// On the CPU, by why it did not run on the device.
    pub on_cpu: BTreeMap<String, u64>,
}

/// What a device has done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which one.
    pub device: String,
    /// By what it was.
    pub work: BTreeMap<Work, Share>,
    /// Bytes that went to the device's memory.
    pub uploaded: u64,
    /// Bytes that came back.
    pub downloaded: u64,
}

impl Accelerator {
    /// Work of a rank runs on this device.
    pub fn new(device: Device) -> Self {
        let report = Report { device: device.describe(), ..Report::default() };
        Self { device, copies: Arc::default(), done: Arc::new(Mutex::new(report)) }
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What lies on the device as well as on the host.
    pub(crate) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Runs something, and again without copies of what the host has if the device had no memory for it.
    ///
    /// # Errors
    /// As `run`.
    pub(crate) fn with_room<T>(&self, run: impl Fn() -> Result<T>) -> Result<T> {
        match run() {
            Err(error) if error.kind() == ErrorKind::Resources && self.copies.clear() => run(),
            ran => ran,
        }
    }

    /// Counts work that the device has done.
    pub(crate) fn count(&self, work: Work, moved: Moved) {
        let mut done = self.done.lock();
        done.work.entry(work).or_default().on_device += 1;
        done.uploaded += moved.up;
        done.downloaded += moved.down;
    }

    /// Counts work that the CPU does instead.
    pub(crate) fn count_on_cpu(&self, work: Work, why: String) {
        let mut done = self.done.lock();
        let on_cpu = &mut done.work.entry(work).or_default().on_cpu;
        // A session that lives long meets any number of reasons.
        let why = if on_cpu.len() < REASONS || on_cpu.contains_key(&why) { why } else { "other reasons".into() };
        *on_cpu.entry(why).or_default() += 1;
    }

    /// Counts work that a device was to do; nothing is left of it if the device had no memory for it, and the CPU must do it instead.
    ///
    /// # Errors
    /// The device has failed in another way.
    pub(crate) fn counted<T>(&self, work: Work, ran: Result<(T, Moved)>) -> Result<Option<T>> {
        match ran {
            Ok((value, moved)) => {
                self.count(work, moved);
                Ok(Some(value))
            }
            Err(error) if error.kind() == ErrorKind::Resources => {
                self.count_on_cpu(work, NO_MEMORY.into());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What has run where so far.
    pub fn report(&self) -> Report {
        self.done.lock().clone()
    }
}

impl Report {
    /// How much of some work ran where.
    pub fn share(&self, work: Work) -> Share {
        self.work.get(&work).cloned().unwrap_or_default()
    }
}

impl Share {
    /// How much ran on the CPU.
    pub fn cpu(&self) -> u64 {
        self.on_cpu.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}: ", self.device)?;
        for (work, share) in &self.work {
            write!(f, "{} {work}", share.on_device)?;
            let on_cpu = share.on_cpu.iter().map(|(why, count)| format!("{count} ({why})")).collect::<Vec<_>>();
            match on_cpu.is_empty() {
                true => f.write_str("; ")?,
                false => write!(f, ", on the CPU {}; ", on_cpu.join(", "))?,
            }
        }
        write!(f, "{} bytes up and {} down", self.uploaded, self.downloaded)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Work::Loops => "loops",
            Work::Products => "products",
            Work::Steps => "other steps over arrays",
            Work::Pipelines => "pipelines",
            Work::Batches => "batches",
            Work::Sorts => "sorts",
            Work::Graphs => "graph algorithms",
        })
    }
}

/// So many numbers that a device has in its memory, once the kernels before are done.
///
/// # Errors
/// A kernel has failed, or the memory has fewer bytes.
pub(crate) fn download<T: ArrowNativeType>(device: &Device, memory: &Memory, count: usize) -> Result<ScalarBuffer<T>> {
    let mut bytes = MutableBuffer::from_len_zeroed(count * size_of::<T>());
    device.download(memory, bytes.as_slice_mut())?;
    Ok(ScalarBuffer::from(Buffer::from(bytes)))
}

/// Places as a device has them: 64 bits each.
#[cfg(target_pointer_width = "64")]
pub(crate) fn longs_of(places: &[usize]) -> &[u64] {
    // SAFETY: both have 64 bits, of which all are allowed, and are aligned alike.
    unsafe { std::slice::from_raw_parts(places.as_ptr().cast(), places.len()) }
}

/// Places as a device has them: 64 bits each.
#[cfg(not(target_pointer_width = "64"))]
pub(crate) fn longs_of(places: &[usize]) -> Vec<u64> {
    places.iter().map(|&place| place as u64).collect()
}

/// The devices that tests run on; those that are not there are said.
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "what did not run says so")]
pub(crate) fn devices() -> Vec<Device> {
    let mut all = Vec::new();
    for (name, device) in [("the emulated device", Device::emulated()), ("a GPU", Device::gpu(0))] {
        match device {
            Ok(device) => all.push(device),
            Err(error) => eprintln!("SKIPPED on {name}: {error}"),
        }
    }
    all
}
