//! Devices that run kernels: GPUs, and an emulation of one.
//!
//! ```text
//!   source (CUDA C++, no headers) ──► NVRTC ──► CUBIN ─┐                        ┌─► GPU       (cuda)
//!                │                                     ├─► cache on disk ─► load┤
//!                └──► emulator.h ──► c++ ──► .so ──────┘                        └─► emulated  (emulated)
//! ```
//!
//! A [`Device`] has memory, a stream in which uploads, kernels and downloads follow each other, and modules of kernels. The host
//! goes on while they run; a download waits for what it needs. Memory that is let go is kept for the next one of its size, for
//! asking a driver for memory takes longer than most kernels.
//!
//! Nothing of CUDA is needed to build, and none to test: the emulated device compiles the very same source with the system's C++
//! compiler and runs the threads of a block as fibers. It proves what kernels compute, not how fast they are.
//!
//! The law of sources: the same text is the same module. So whoever makes them spells what is equal equally, and a module is
//! compiled once for each kind of device, compiler and processor.

mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
#[cfg(feature = "cuda")]
mod libraries;
mod memory;
#[cfg(feature = "cuda")]
mod nvrtc;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

pub use memory::Buffer;
pub use source::Source;

use crate::error::{Error, Result};
use memory::Pool;

/// A device and what is kept on it; clones are the same device.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Box<dyn Backend>,
    pool: Mutex<Pool>,
    modules: Mutex<BTreeMap<String, Arc<dyn Loaded>>>,
}

/// What a kind of device can do. Addresses are the device's.
trait Backend: Send + Sync {
    fn describe(&self) -> String;
    fn allocate(&self, bytes: usize) -> Result<u64>;
    /// # Safety
    /// It was allocated here with so many bytes, and nobody uses it any more.
    unsafe fn free(&self, address: u64, bytes: usize);
    /// # Safety
    /// So many bytes are allocated from `to` on.
    unsafe fn upload(&self, from: &[u8], to: u64) -> Result<()>;
    /// # Safety
    /// So many bytes are allocated from `from` on.
    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()>;
    /// # Safety
    /// So many bytes are allocated from `to` on.
    unsafe fn fill(&self, to: u64, bytes: usize, byte: u8) -> Result<()>;
    fn load(&self, source: &Source) -> Result<Arc<dyn Loaded>>;
    /// Waits for all that was begun.
    fn wait(&self) -> Result<()>;
}

/// A module on a device.
trait Loaded: Send + Sync {
    /// # Safety
    /// The arguments are those that the kernel takes, and what they point to is there until it has run.
    unsafe fn launch(&self, kernel: usize, grid: &Grid, arguments: &mut [*mut std::ffi::c_void]) -> Result<()>;
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks.
    pub blocks: u32,
    /// Threads of a block, at most 1024.
    pub threads: u32,
    /// Bytes of shared memory that the kernel has asked for at run time.
    pub shared: u32,
}

impl Grid {
    /// As many blocks of so many threads as cover some elements, at least one and at most `most`.
    pub fn covering(elements: usize, threads: u32, most: u32) -> Self {
        let blocks = elements.div_ceil(threads.max(1) as usize).clamp(1, most.max(1) as usize);
        Self { blocks: blocks as u32, threads, shared: 0 }
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// The address of memory.
    Memory(&'a Buffer),
    /// No memory: a null pointer.
    Nothing,
    /// `int`.
    I32(i32),
    /// `long long`.
    I64(i64),
    /// `double`.
    F64(f64),
}

impl Device {
    /// The emulated device.
    ///
    /// # Errors
    /// There is no C++ compiler: `c++`, or what `$CXX` says.
    pub fn emulated() -> Result<Self> {
        Self::emulated_with_memory(usize::MAX)
    }

    /// The emulated device with so many bytes of memory and no more.
    ///
    /// # Errors
    /// As [`Device::emulated`].
    pub fn emulated_with_memory(bytes: usize) -> Result<Self> {
        Ok(Self::new(Box::new(emulated::Emulated::start(bytes)?)))
    }

    /// A GPU, as the driver numbers them.
    ///
    /// # Errors
    /// There is no driver, no such GPU, or no NVRTC; the message says what to install.
    #[cfg(feature = "cuda")]
    pub fn gpu(ordinal: usize) -> Result<Self> {
        Ok(Self::new(Box::new(cuda::Cuda::start(ordinal)?)))
    }

    /// A GPU, as the driver numbers them.
    ///
    /// # Errors
    /// Always: this build has no CUDA.
    #[cfg(not(feature = "cuda"))]
    pub fn gpu(_ordinal: usize) -> Result<Self> {
        Err(Error::unsupported("this build has no CUDA (feature `cuda`)"))
    }

    fn new(backend: Box<dyn Backend>) -> Self {
        Self { shared: Arc::new(Shared { backend, pool: Mutex::default(), modules: Mutex::default() }) }
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        self.shared.backend.describe()
    }

    /// Memory of so many bytes, with anything in it.
    ///
    /// # Errors
    /// The device has no more memory, also after what was kept is given back.
    pub fn allocate(&self, bytes: usize) -> Result<Buffer> {
        Buffer::new(self, bytes)
    }

    /// Memory with every byte the same.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn filled(&self, bytes: usize, byte: u8) -> Result<Buffer> {
        let buffer = self.allocate(bytes)?;
        // SAFETY: the buffer has so many bytes.
        unsafe { self.shared.backend.fill(buffer.address(), bytes, byte)? };
        Ok(buffer)
    }

    /// Memory with these bytes, which are taken before this returns.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.allocate(bytes.len())?;
        // SAFETY: the buffer has as many bytes.
        unsafe { self.shared.backend.upload(bytes, buffer.address())? };
        Ok(buffer)
    }

    /// The first bytes of memory, once the kernels before are done.
    ///
    /// # Errors
    /// A kernel has failed, or the buffer has fewer bytes or is another device's.
    pub fn download(&self, from: &Buffer, to: &mut [u8]) -> Result<()> {
        self.owns(from)?;
        if to.len() > from.bytes() {
            return Err(Error::internal(format!("downloading {} bytes of {}", to.len(), from.bytes())));
        }
        // SAFETY: the buffer has as many bytes or more.
        unsafe { self.shared.backend.download(from.address(), to) }
    }

    /// Makes the kernels of a source ready to run: loaded before, from the cache on disk, or compiled.
    ///
    /// # Errors
    /// They do not compile, which is a bug of ours: the message has what the compiler says. The compiler or the device fails.
    pub fn load(&self, source: &Source) -> Result<Module> {
        let key = source.key();
        if let Some(loaded) = self.shared.modules.lock().get(&key) {
            return Ok(Module { device: self.clone(), names: source.names().to_vec(), loaded: Arc::clone(loaded) });
        }
        // Not under the lock: compiling takes long, and modules are compiled side by side.
        let loaded = self.shared.backend.load(source)?;
        let loaded = Arc::clone(self.shared.modules.lock().entry(key).or_insert(loaded));
        Ok(Module { device: self.clone(), names: source.names().to_vec(), loaded })
    }

    /// Waits until all that was begun is done.
    ///
    /// # Errors
    /// Some of it has failed.
    pub fn wait(&self) -> Result<()> {
        self.shared.backend.wait()
    }

    /// Bytes that are in use or kept.
    pub fn bytes(&self) -> usize {
        self.shared.pool.lock().bytes()
    }

    fn owns(&self, buffer: &Buffer) -> Result<()> {
        let ours = Arc::ptr_eq(&buffer.device().shared, &self.shared);
        ours.then_some(()).ok_or_else(|| Error::internal("memory of another device"))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.describe())
    }
}

/// Kernels that are ready to run.
#[derive(Clone)]
pub struct Module {
    device: Device,
    names: Vec<String>,
    loaded: Arc<dyn Loaded>,
}

impl Module {
    /// Runs a kernel behind all that was begun before on its device.
    ///
    /// # Errors
    /// There is no such kernel, an argument is another device's, or the device refuses. What goes wrong in the kernel itself is said
    /// by whatever waits for it; the emulated device says it here.
    ///
    /// # Safety
    /// The arguments are those that the kernel takes, and it reads and writes only within the memory of these.
    pub unsafe fn launch(&self, kernel: &str, grid: &Grid, arguments: &[Argument<'_>]) -> Result<()> {
        let place = self.names.iter().position(|name| name == kernel);
        let place = place.ok_or_else(|| Error::internal(format!("no kernel is called {kernel}")))?;
        let mut words = Vec::with_capacity(arguments.len());
        for argument in arguments {
            words.push(match argument {
                Argument::Memory(buffer) => {
                    self.device.owns(buffer)?;
                    buffer.address()
                }
                Argument::Nothing => 0,
                // Little-endian hosts alone have CUDA: the low bytes are the first.
                Argument::I32(value) => u64::from(value.cast_unsigned()),
                Argument::I64(value) => value.cast_unsigned(),
                Argument::F64(value) => value.to_bits(),
            });
        }
        let mut addresses = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect::<Vec<_>>();
        // SAFETY: the caller's promise; memory goes back to the pool of a device that runs one thing after the other, so nobody has
        // it before this kernel has run.
        let launched = unsafe { self.loaded.launch(place, grid, &mut addresses) };
        launched.map_err(|error| error.context(format!("running {kernel} on {}", self.device.describe())))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({} on {})", self.names.join(", "), self.device.describe())
    }
}

/// Compiles a source for a GPU of this architecture (`sm_90`) without one, as a test that it would; the CUBIN's bytes.
///
/// # Errors
/// There is no NVRTC, or the source does not compile.
#[cfg(feature = "cuda")]
pub fn compile_for(source: &Source, architecture: &str) -> Result<Vec<u8>> {
    nvrtc::compile(source, architecture)
}

/// Why GPUs' kernels cannot be compiled here; `None` if they can.
#[cfg(feature = "cuda")]
pub fn compiler_is_missing() -> Option<String> {
    nvrtc::version().err().map(|error| error.message().to_owned())
}
