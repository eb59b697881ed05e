//! A device that is the host: kernels compiled by its C++ compiler (`emulator.h`).

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::Library;

use super::{Backend, Grid, Loaded, Source, cache};
use crate::budget::Bytes;
use crate::error::{Error, Result};

const EMULATOR: &str = include_str!("emulator.h");

/// Each operation of floats is rounded by itself, as NVRTC is told, too; types are looked at as words; integers wrap, as those of GPUs do;
/// a kernel is its library's own, whatever the host's libraries call by its name (`write`).
const OPTIONS: [&str; 10] = [
    "-std=c++17",
    "-O1",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-w",
    "-Wl,-Bsymbolic",
    "-xc++",
];

/// As a GPU's memory is aligned.
const ALIGNED: usize = 256;

/// How the host calls a kernel: null, or why it did not end.
type Call = unsafe extern "C" fn(*const u32, *const u32, usize, *mut *mut c_void) -> *const c_char;

pub(super) struct Emulated {
    compiler: String,
    version: String,
    /// Bytes of memory that it has, and those that it has given.
    memory: usize,
    given: AtomicUsize,
}

impl Emulated {
    pub fn start(memory: usize) -> Result<Self> {
        let compiler = std::env::var("CXX").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "c++".into());
        let asked = Command::new(&compiler).arg("--version").output();
        let version = asked.map_err(|error| {
            Error::unsupported(format!(
                "the emulated device needs a C++ compiler, and `{compiler}` does not start ({error}): install g++ or clang, or \
                 name one by CXX"
            ))
        })?;
        let version = String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default().to_owned();
        Ok(Self { compiler, version, memory, given: AtomicUsize::new(0) })
    }

    fn compile(&self, text: &str, to: &Path) -> Result<()> {
        let source = to.with_extension("cc");
        std::fs::write(&source, text).map_err(|error| Error::from(error).context("writing a kernel's source"))?;
        let run = Command::new(&self.compiler).args(OPTIONS).arg(&source).arg("-o").arg(to).output();
        let run = run.map_err(|error| Error::from(error).context(format!("starting {}", self.compiler)))?;
        if run.status.success() {
            return Ok(());
        }
        let story = String::from_utf8_lossy(&run.stderr);
        Err(Error::internal(format!("a kernel does not compile for the emulated device:\n{story}")))
    }
}

impl Backend for Emulated {
    fn describe(&self) -> String {
        "the emulated device".into()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let layout = layout(bytes)?;
        if self.given.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.memory {
            self.given.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::resources(format!("the emulated device has {} of memory", Bytes(self.memory))));
        }
        // SAFETY: the size is not zero.
        let address = unsafe { alloc(layout) };
        if address.is_null() {
            self.given.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::resources("the host has no more memory"));
        }
        Ok(address as u64)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        self.given.fetch_sub(bytes, Ordering::Relaxed);
        if let Ok(layout) = layout(bytes) {
            // SAFETY: the caller's promise; it was allocated with the same layout.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }

    unsafe fn upload(&self, from: &[u8], to: u64) -> Result<()> {
        // SAFETY: the caller's promise, and what is just being lent to us is not the device's.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn fill(&self, to: u64, bytes: usize, byte: u8) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_bytes(to as *mut u8, byte, bytes) };
        Ok(())
    }

    fn load(&self, source: &Source) -> Result<Arc<dyn Loaded>> {
        check_for_gpus(source)?;
        let calls = source.names().iter().map(|name| format!("BIREME_KERNEL({name})\n")).collect::<String>();
        let text = format!("{EMULATOR}\n{}\n{calls}", source.text());
        let key = format!("{} for {}\n{}\n{text}", self.version, std::env::consts::ARCH, OPTIONS.join(" "));
        let file = cache::file(&key, "so", |to| self.compile(&text, to))?;
        let failed = |error: libloading::Error| Error::internal(format!("loading {}: {error}", file.display()));
        // SAFETY: a library that was compiled of our own text; it does nothing when it is loaded.
        let library = unsafe { Library::new(&file) }.map_err(failed)?;
        let mut calls = Vec::new();
        for name in source.names() {
            // SAFETY: `emulator.h` declares what is called so with this type.
            let call = unsafe { library.get::<Call>(format!("bireme_launch_{name}\0").as_bytes()) }.map_err(failed)?;
            calls.push(*call);
        }
        Ok(Arc::new(Kernels { calls, _library: library }))
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

/// Compiles a source for the GPUs that `$BIREME_CHECK_KERNELS_FOR` names as well (`sm_80,sm_90`): what the emulator takes need not be
/// CUDA.
fn check_for_gpus(source: &Source) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Ok(architectures) = std::env::var("BIREME_CHECK_KERNELS_FOR") {
        for architecture in architectures.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            super::nvrtc::compile(source, architecture)?;
        }
    }
    let _ = source;
    Ok(())
}

fn layout(bytes: usize) -> Result<Layout> {
    let layout = Layout::from_size_align(bytes.max(1), ALIGNED);
    layout.map_err(|_| Error::resources(format!("{bytes} bytes are more than the host can address")))
}

struct Kernels {
    calls: Vec<Call>,
    /// Where the calls are.
    _library: Library,
}

impl Loaded for Kernels {
    unsafe fn launch(&self, kernel: usize, grid: &Grid, arguments: &mut [*mut c_void]) -> Result<()> {
        let (blocks, threads) = ([grid.blocks, 1, 1], [grid.threads, 1, 1]);
        // SAFETY: the library is loaded, and the arguments are the kernel's by the caller's promise.
        let story = unsafe {
            (self.calls[kernel])(blocks.as_ptr(), threads.as_ptr(), grid.shared as usize, arguments.as_mut_ptr())
        };
        if story.is_null() {
            return Ok(());
        }
        // SAFETY: it is a literal of the library.
        let story = unsafe { CStr::from_ptr(story) };
        Err(Error::internal(story.to_string_lossy().into_owned()))
    }
}
