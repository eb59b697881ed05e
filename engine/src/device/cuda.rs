//! A GPU, through CUDA's driver.
//!
//! One stream: uploads, kernels and downloads follow each other. The raw calls are `cudarc::driver::sys`, which loads the library at the
//! first of them and panics if there is none, so [`Cuda::start`] looks first.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{DriverError, result};

use super::{Backend, Grid, Loaded, Source, nvrtc};
use crate::error::{Error, ErrorKind, Result};

/// Shared memory that every kernel may have without asking.
const PLAIN_SHARED: u32 = 48 << 10;

pub(super) struct Cuda {
    context: Arc<Context>,
    stream: sys::CUstream,
    name: String,
    architecture: String,
}

/// The primary context of a device, held until nothing of it is in use.
struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: the driver's handles of contexts, streams, modules and functions may be used by any thread that has made the context current,
// which every call here does first.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}
// SAFETY: as above.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

impl Cuda {
    pub fn start(ordinal: usize) -> Result<Self> {
        // SAFETY: loading the driver's library runs its initialisers, which is what any CUDA program does.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::unsupported(
                "there is no CUDA driver (libcuda.so) on this machine: install NVIDIA's driver, or run on the CPU",
            ));
        }
        result::init().map_err(failed("starting the CUDA driver"))?;
        let count = result::device::get_count().map_err(failed("counting GPUs"))?;
        if i32::try_from(ordinal).map_or(true, |ordinal| ordinal >= count) {
            return Err(Error::user(format!(
                "there is no GPU {ordinal}: the CUDA driver shows {count}, counted from 0"
            )));
        }
        let device = result::device::get(ordinal as i32).map_err(failed("asking for a GPU"))?;
        let name = result::device::get_name(device).map_err(failed("asking for a GPU's name"))?;
        let attribute = |attribute| {
            // SAFETY: the handle was returned by the driver, and devices are never freed.
            unsafe { result::device::get_attribute(device, attribute) }.map_err(failed("asking what a GPU can do"))
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        nvrtc::version()?;
        // SAFETY: the handle was returned by the driver.
        let handle = unsafe { result::primary_ctx::retain(device) }.map_err(failed("making a context"))?;
        let context = Arc::new(Context { device, handle });
        context.enter()?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("making a stream"))?;
        Ok(Self { context, stream, name, architecture: format!("sm_{major}{minor}") })
    }
}

impl Context {
    /// Makes it this thread's.
    fn enter(&self) -> Result<()> {
        // SAFETY: it was retained, and is released with `self`.
        unsafe { result::ctx::set_current(self.handle) }.map_err(failed("entering a context"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl Backend for Cuda {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.context.enter()?;
        // SAFETY: the context is current.
        unsafe { result::malloc_sync(bytes) }.map_err(failed("allocating memory of a GPU"))
    }

    unsafe fn free(&self, address: u64, _: usize) {
        if self.context.enter().is_ok() {
            // SAFETY: the caller's promise.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    unsafe fn upload(&self, from: &[u8], to: u64) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the caller's promise; it is waited for while the memory is still lent to us.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }.map_err(failed("uploading"))?;
        // Memory that is pinned would be read later than this returns.
        self.wait()
    }

    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the caller's promise; it is waited for while the memory is still lent to us.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }.map_err(failed("downloading"))?;
        self.wait()
    }

    unsafe fn fill(&self, to: u64, bytes: usize, byte: u8) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(to, byte, bytes, self.stream) }.map_err(failed("filling memory of a GPU"))
    }

    fn load(&self, source: &Source) -> Result<Arc<dyn Loaded>> {
        let cubin = nvrtc::compile(source, &self.architecture)?;
        self.context.enter()?;
        // SAFETY: the context is current, and a CUBIN tells its own length.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }.map_err(failed("loading kernels"))?;
        let mut kernels =
            Kernels { context: Arc::clone(&self.context), stream: self.stream, module, functions: vec![] };
        for name in source.names() {
            let name = CString::new(name.as_str()).map_err(|_| Error::internal("a kernel's name with a zero byte"))?;
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(module, name) }.map_err(failed("finding a kernel"))?;
            kernels.functions.push(function);
        }
        Ok(Arc::new(kernels))
    }

    fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("waiting for a GPU"))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made in `start` and destroyed here only; modules are gone, for the device's table of them is dropped after
            // what it holds was waited for.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

struct Kernels {
    context: Arc<Context>,
    stream: sys::CUstream,
    module: sys::CUmodule,
    functions: Vec<sys::CUfunction>,
}

// SAFETY: as for contexts.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Loaded for Kernels {
    unsafe fn launch(&self, kernel: usize, grid: &Grid, arguments: &mut [*mut c_void]) -> Result<()> {
        self.context.enter()?;
        let function = self.functions[kernel];
        if grid.shared > PLAIN_SHARED {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the module, and with it the function, is loaded.
            let set = unsafe { result::function::set_function_attribute(function, most, grid.shared as i32) };
            set.map_err(failed("asking for shared memory"))?;
        }
        let (blocks, threads) = ((grid.blocks, 1, 1), (grid.threads, 1, 1));
        // SAFETY: the caller's promise.
        unsafe { result::launch_kernel(function, blocks, threads, grid.shared, self.stream, arguments) }
            .map_err(failed("starting a kernel"))
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: loaded in `load` and unloaded here only.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

/// A failed call as an error: memory that runs out is one of resources.
fn failed(attempt: &str) -> impl Fn(DriverError) -> Error {
    move |error| {
        let kind = match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::Resources,
            _ => ErrorKind::Unsupported,
        };
        Error::new(kind, format!("{attempt} failed ({:?})", error.0))
    }
}
