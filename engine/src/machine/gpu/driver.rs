//! What a measurement needs of CUDA's driver, held by guards that give it back.
//!
//! Guards borrow the [`Context`] they were made in, which therefore outlives them. It stays current on its thread for as long
//! as it lives, as calls of the driver ask for, and no guard leaves that thread: handles are pointers.
//! The raw calls are `cudarc::driver::sys`, which loads the library at the first of them and panics if there is none, so
//! [`devices`] looks first. Everything else needs a [`Device`], which only it makes.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{DriverError, result};

use super::Gpu;

/// A failed call as a sentence: `could not load kernels on GPU 0 (CUDA_ERROR_INVALID_PTX)`.
pub(super) fn failed(attempt: &str) -> impl Fn(DriverError) -> String {
    move |error| format!("could not {attempt} ({:?})", error.0)
}

/// All devices, in the driver's order.
pub(super) fn devices() -> Result<Vec<Device>, String> {
    let failed = |error: DriverError| format!("the CUDA driver does not answer ({:?})", error.0);
    // SAFETY: loading the driver's library runs its initialisers, which is what any CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Err("no CUDA driver (libcuda.so) on this machine".into());
    }
    result::init().map_err(failed)?;
    let ordinals = 0..result::device::get_count().map_err(failed)?;
    let device = |ordinal| Ok(Device { ordinal, handle: result::device::get(ordinal)? });
    ordinals.map(device).collect::<Result<_, _>>().map_err(failed)
}

/// A device that the driver has shown.
#[derive(Clone, Copy)]
pub(super) struct Device {
    ordinal: i32,
    handle: sys::CUdevice,
}

impl Device {
    /// As messages call it.
    pub(super) fn title(self) -> String {
        format!("GPU {}", self.ordinal)
    }

    pub(super) fn describe(self) -> Result<Gpu, String> {
        let describe = || {
            let major = self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
            let minor = self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
            Ok(Gpu {
                name: result::device::get_name(self.handle)?,
                // SAFETY: the handle was returned by the driver, and devices are never freed.
                memory: unsafe { result::device::total_mem(self.handle) }? as u64,
                compute_capability: (major, minor),
            })
        };
        describe().map_err(failed(&format!("ask the CUDA driver about {}", self.title())))
    }

    pub(super) fn multiprocessors(self) -> Result<u32, DriverError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    fn attribute(self, attribute: Attribute) -> Result<u32, DriverError> {
        // SAFETY: the handle was returned by the driver, and devices are never freed.
        unsafe { result::device::get_attribute(self.handle, attribute) }.map(i32::unsigned_abs)
    }
}

/// The device's primary context, which libraries in this process share, current on this thread while this lives. What was
/// current before is so again afterwards.
pub(super) struct Context {
    device: Device,
    /// Whatever lives in it belongs to the thread.
    _handle: sys::CUcontext,
}

impl Context {
    pub(super) fn of(device: Device) -> Result<Self, DriverError> {
        // SAFETY: the handle was returned by the driver.
        let handle = unsafe { result::primary_ctx::retain(device.handle) }?;
        // SAFETY: the context was retained just now, and is released only after it was popped.
        if let Err(error) = unsafe { sys::cuCtxPushCurrent_v2(handle) }.result() {
            // SAFETY: it was retained above, and this is the only release on this path.
            let _ = unsafe { result::primary_ctx::release(device.handle) };
            return Err(error);
        }
        Ok(Self { device, _handle: handle })
    }

    /// Bytes that nobody has allocated.
    pub(super) fn free_memory(&self) -> Result<usize, DriverError> {
        result::mem_get_info().map(|(free, _)| free)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut popped = ptr::null_mut();
        // SAFETY: the driver writes one handle into `popped`. Contexts of this module are pushed and popped in the order of
        // scopes on one thread, so the one on top is this one, and all that was made in it is gone, for it borrows from it.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
        // SAFETY: `of` retained it once.
        let _ = unsafe { result::primary_ctx::release(self.device.handle) };
    }
}

/// Memory of the device.
pub(super) struct Block<'c> {
    pub(super) address: sys::CUdeviceptr,
    pub(super) bytes: usize,
    context: PhantomData<&'c Context>,
}

impl<'c> Block<'c> {
    /// Every byte is 1.
    pub(super) fn new(_: &'c Context, bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: the context is current. Nobody reads the memory before it is set.
        let address = unsafe { result::malloc_sync(bytes) }?;
        let block = Self { address, bytes, context: PhantomData };
        // SAFETY: the block has so many bytes, and nobody else knows of it.
        unsafe { result::memset_d8_sync(address, 1, bytes) }?;
        // In spite of its name that may still be under way, in the null stream, for which other streams do not wait.
        // SAFETY: the null stream is always there.
        unsafe { result::stream::synchronize(result::stream::null()) }?;
        Ok(block)
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` and freed here only, while the context is current. Whoever gives work a block's address
        // waits for that work before the block goes.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Host memory that the device reaches by itself, because it is never swapped out.
pub(super) struct Pinned<'c> {
    pub(super) address: *mut c_void,
    pub(super) bytes: usize,
    context: PhantomData<&'c Context>,
}

impl<'c> Pinned<'c> {
    /// Every byte is 1.
    pub(super) fn new(_: &'c Context, bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: the context is current. Nobody reads the memory before it is set.
        let address = unsafe { result::malloc_host(bytes, 0) }?;
        // SAFETY: the driver gave so many bytes, of which nobody else knows.
        unsafe { address.cast::<u8>().write_bytes(1, bytes) };
        Ok(Self { address, bytes, context: PhantomData })
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // SAFETY: as for a block.
        let _ = unsafe { result::free_host(self.address) };
    }
}

/// Kernels, compiled by the driver for the context's device.
pub(super) struct Module<'c> {
    handle: sys::CUmodule,
    context: PhantomData<&'c Context>,
}

impl<'c> Module<'c> {
    pub(super) fn new(_: &'c Context, ptx: &CStr) -> Result<Self, DriverError> {
        // SAFETY: the context is current, and PTX is passed as a text that ends with a zero byte.
        let handle = unsafe { result::module::load_data(ptx.as_ptr().cast()) }?;
        Ok(Self { handle, context: PhantomData })
    }

    pub(super) fn kernel(&self, name: &CStr) -> Result<Kernel<'_>, DriverError> {
        // SAFETY: the module is loaded.
        let handle = unsafe { result::module::get_function(self.handle, name.to_owned()) }?;
        Ok(Kernel { handle, module: PhantomData })
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: loaded in `new` and unloaded here only; kernels borrow from it, and their work was waited for.
        let _ = unsafe { result::module::unload(self.handle) };
    }
}

/// A kernel of a module.
pub(super) struct Kernel<'m> {
    pub(super) handle: sys::CUfunction,
    module: PhantomData<&'m ()>,
}

impl Kernel<'_> {
    /// How many of its blocks, of so many threads, are under way at once on one multiprocessor.
    pub(super) fn blocks_at_once(&self, threads: u32) -> Result<u32, DriverError> {
        let threads = threads.try_into().unwrap_or(i32::MAX);
        // SAFETY: the module, and with it the function, is loaded.
        let blocks = unsafe { result::occupancy::max_active_block_per_multiprocessor(self.handle, threads, 0) }?;
        Ok(blocks.unsigned_abs())
    }
}

/// Work in order, and clocks around it.
pub(super) struct Stream<'c> {
    handle: sys::CUstream,
    start: Event<'c>,
    end: Event<'c>,
}

impl<'c> Stream<'c> {
    pub(super) fn new(context: &'c Context) -> Result<Self, DriverError> {
        let (start, end) = (Event::new(context)?, Event::new(context)?);
        Ok(Self { handle: result::stream::create(result::stream::StreamKind::NonBlocking)?, start, end })
    }

    /// The seconds that the device takes for what `enqueue` puts into the stream. Nothing is left in the stream afterwards,
    /// also after an error.
    pub(super) fn seconds(
        &self,
        enqueue: impl FnOnce(sys::CUstream) -> Result<(), DriverError>,
    ) -> Result<f64, DriverError> {
        // SAFETY: stream and event live as long as `self`.
        let record = |event: &Event<'_>| unsafe { result::event::record(event.handle, self.handle) };
        let enqueued = record(&self.start).and_then(|()| enqueue(self.handle)).and_then(|()| record(&self.end));
        self.wait().and(enqueued)?;
        // SAFETY: both events were recorded in this stream, and have come to pass.
        let milliseconds = unsafe { result::event::elapsed(self.start.handle, self.end.handle) }?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    /// Until nothing is left in the stream.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.handle) }
    }

    /// For work that is not timed by [`Stream::seconds`]; whoever puts it there waits for it.
    pub(super) fn handle(&self) -> sys::CUstream {
        self.handle
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let _ = self.wait();
        // SAFETY: created in `new` and destroyed here only, with nothing left in it.
        let _ = unsafe { result::stream::destroy(self.handle) };
    }
}

struct Event<'c> {
    handle: sys::CUevent,
    context: PhantomData<&'c Context>,
}

impl<'c> Event<'c> {
    fn new(_: &'c Context) -> Result<Self, DriverError> {
        let handle = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        Ok(Self { handle, context: PhantomData })
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: created in `new` and destroyed here only, after the stream that it was recorded in: a struct's `drop` runs
        // before those of its fields.
        let _ = unsafe { result::event::destroy(self.handle) };
    }
}
