//! NVRTC, which compiles CUDA C++ at run time. No GPU is needed for it.

use std::ffi::CString;
use std::sync::OnceLock;

use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};

use super::{Source, cache, libraries};
use crate::error::{Error, Result};

/// Each operation of floats is rounded by itself, as on the host.
const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "--device-int128"];

/// The version, such as 13.0.
///
/// # Errors
/// The library is not there; the message says where it was looked for and what to install.
pub(super) fn version() -> Result<(i32, i32)> {
    static VERSION: OnceLock<Result<(i32, i32)>> = OnceLock::new();
    VERSION.get_or_init(find).clone()
}

fn find() -> Result<(i32, i32)> {
    let place = libraries::load(&["libnvrtc-builtins.so", "libnvrtc.so"]);
    // SAFETY: loading the library runs its initialisers, which is what any program that uses it does.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::unsupported(format!(
            "kernels for GPUs are compiled by NVRTC (libnvrtc.so), which is not there{}: install NVIDIA's CUDA toolkit and set \
             CUDA_HOME, or `pip install nvidia-cuda-nvrtc` into the active Python environment",
            place.map(|place| format!(", though {} is", place.display())).unwrap_or_default()
        )));
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: it writes two numbers.
    checked("asking for its version", unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) })?;
    Ok((major, minor))
}

/// A source as a CUBIN for an architecture (`sm_90`), from the cache if it was compiled before.
///
/// # Errors
/// There is no NVRTC, or the source does not compile: the message has the compiler's.
pub(super) fn compile(source: &Source, architecture: &str) -> Result<Vec<u8>> {
    let (major, minor) = version()?;
    let text = source.text();
    let key = format!("NVRTC {major}.{minor}\n{} {architecture}\n{text}", OPTIONS.join(" "));
    let file = cache::file(&key, "cubin", |to| {
        let cubin = compile_text(&text, architecture)?;
        std::fs::write(to, cubin).map_err(|error| Error::from(error).context("writing a CUBIN"))
    })?;
    std::fs::read(&file).map_err(|error| Error::from(error).context(format!("reading {}", file.display())))
}

fn compile_text(text: &str, architecture: &str) -> Result<Vec<u8>> {
    let text = CString::new(text).map_err(|_| Error::internal("a kernel's source with a zero byte"))?;
    let architecture = format!("--gpu-architecture={architecture}");
    let options = OPTIONS.into_iter().chain([architecture.as_str()]).map(CString::new).collect::<Result<Vec<_>, _>>();
    let options = options.map_err(|_| Error::internal("an option with a zero byte"))?;
    let options = options.iter().map(|option| option.as_ptr()).collect::<Vec<_>>();
    let program = Program::new(&text)?;
    // SAFETY: as many options as are said, each a text with a zero byte at its end.
    let compiled = unsafe { sys::nvrtcCompileProgram(program.0, options.len() as i32, options.as_ptr()) };
    if compiled != nvrtcResult::NVRTC_SUCCESS {
        return Err(Error::internal(format!("a kernel does not compile for GPUs:\n{}", program.log()?)));
    }
    let mut bytes = 0;
    // SAFETY: it writes a number.
    checked("asking for a CUBIN's size", unsafe { sys::nvrtcGetCUBINSize(program.0, &raw mut bytes) })?;
    let mut cubin = vec![0_u8; bytes];
    // SAFETY: there is room for as many bytes as it has.
    checked("taking a CUBIN", unsafe { sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()) })?;
    Ok(cubin)
}

struct Program(nvrtcProgram);

impl Program {
    fn new(text: &CString) -> Result<Self> {
        let mut program = std::ptr::null_mut();
        // SAFETY: the text has a zero byte at its end, and there are no headers.
        let made = unsafe {
            let none = std::ptr::null_mut();
            sys::nvrtcCreateProgram(&raw mut program, text.as_ptr(), c"kernel.cu".as_ptr(), 0, none, none.cast())
        };
        checked("taking a source", made)?;
        Ok(Self(program))
    }

    /// What the compiler has to say.
    fn log(&self) -> Result<String> {
        let mut bytes = 0;
        // SAFETY: it writes a number.
        checked("asking for a log's size", unsafe { sys::nvrtcGetProgramLogSize(self.0, &raw mut bytes) })?;
        let mut log = vec![0_u8; bytes];
        // SAFETY: there is room for as many bytes as it has.
        checked("taking a log", unsafe { sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) })?;
        Ok(String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and destroyed here only.
        let _ = unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) };
    }
}

fn checked(attempt: &str, result: nvrtcResult) -> Result<()> {
    match result {
        nvrtcResult::NVRTC_SUCCESS => Ok(()),
        other => Err(Error::internal(format!("NVRTC failed at {attempt}: {other:?}"))),
    }
}
