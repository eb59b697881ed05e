//! Measures one GPU through the driver. Whatever is put into the stream is waited for by the function that does so.

use std::ffi::{CStr, c_void};
use std::time::{Duration, Instant};

use cudarc::driver::{DriverError, result, sys};

use super::GpuRates;
use super::driver::{Block, Context, Device, Kernel, Module, Pinned, Stream, failed};
use crate::machine::bytes;

const TRIES: usize = 5;

/// A try takes at least so many seconds: much longer than a launch or a tick of the device's clock.
const TRY: f64 = 0.01;

/// How long it may take to find how often something must be done for a try.
const PATIENCE: Duration = Duration::from_secs(2);

/// At most so many bytes of the device, and no more than this part of what is free: others work there too.
const MOST: usize = 1 << 30;
const PART: usize = 4;

/// With less than this, copies would stay in caches.
const LEAST: usize = 64 << 20;

/// Bytes that travel between host and device at once.
const BULK: usize = 64 << 20;

/// The kernels' text, and the zero byte that the driver looks for.
const PTX: &str = concat!(include_str!("kernels.ptx"), "\0");

/// Multiplications with additions of one thread of `multiply` in a round: lines of its loop.
const FMAS: u32 = 32;

/// Threads of a block of `multiply`.
const THREADS: u32 = 256;

pub(super) fn measure(device: Device) -> Result<GpuRates, String> {
    let title = device.title();
    let context = Context::of(device).map_err(failed(&format!("make a context on {title}")))?;
    let ptx =
        CStr::from_bytes_with_nul(PTX.as_bytes()).map_err(|error| format!("kernels that are no text: {error}"))?;
    let module = Module::new(&context, ptx).map_err(failed(&format!("load kernels on {title}")))?;
    let kernel = |name: &CStr| module.kernel(name).map_err(failed(&format!("find the kernel {name:?} on {title}")));
    let (empty, multiply) = (kernel(c"wait_for_me")?, kernel(c"multiply")?);

    let free = context.free_memory().map_err(failed(&format!("ask how much memory of {title} is free")))?;
    // Two blocks, of whole megabytes, so that copies have no odd ends.
    let size = (MOST.min(free / PART) / 2) >> 20 << 20;
    if 2 * size < LEAST {
        let (free, least) = (bytes(free as u64), bytes((LEAST * PART) as u64));
        return Err(format!("could not measure {title}: {free} of its memory are free, and it takes {least}"));
    }
    let block = || Block::new(&context, size).map_err(failed(&format!("allocate {size} bytes on {title}")));
    let (one, other) = (block()?, block()?);
    let bulk = BULK.min(size);
    let host = Pinned::new(&context, bulk).map_err(failed(&format!("pin {bulk} bytes of host memory for {title}")))?;
    // Last, so that it goes first: nothing is under way when memory is given back.
    let stream = Stream::new(&context).map_err(failed(&format!("make a stream on {title}")))?;

    let rates = GpuRates {
        flops: flops(device, &stream, &multiply, &one)
            .map_err(failed(&format!("measure the arithmetic of {title}")))?,
        memory: memory(&stream, &one, &other).map_err(failed(&format!("measure copies within {title}")))?,
        upload: upload(&stream, &one, &host).map_err(failed(&format!("measure copies to {title}")))?,
        download: download(&stream, &host, &one).map_err(failed(&format!("measure copies from {title}")))?,
        launch: launch(&stream, &empty).map_err(failed(&format!("measure launches on {title}")))?,
    };
    let all = [rates.memory, rates.upload, rates.download, rates.flops, rates.launch];
    if all.iter().all(|rate| rate.is_finite() && *rate > 0.0) {
        return Ok(rates);
    }
    Err(format!("could not measure {title}: by its clock it takes no time ({rates:?})"))
}

/// Seconds of one repetition, of the best of several tries. `time` takes the number of repetitions, which is at least 1.
fn best(time: impl Fn(u32) -> Result<f64, DriverError>) -> Result<f64, DriverError> {
    // The first time loads the kernel, and tells nothing. Finding how many it takes wakes the device, too; it must end even
    // if the device's clock stands still.
    time(1)?;
    let mut repetitions = 1;
    let begun = Instant::now();
    while time(repetitions)? < TRY && repetitions < 1 << 30 && begun.elapsed() < PATIENCE {
        repetitions *= 2;
    }
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        least = least.min(time(repetitions)?);
    }
    Ok(least / f64::from(repetitions))
}

/// Double-precision operations a second.
fn flops(device: Device, stream: &Stream<'_>, multiply: &Kernel<'_>, results: &Block<'_>) -> Result<f64, DriverError> {
    // Just as many blocks as are under way at once: all begin together and end together.
    let wanted = device.multiprocessors()?.saturating_mul(multiply.blocks_at_once(THREADS)?);
    // A result for each thread; there is room for those of one block at any rate, see `LEAST`.
    let room = results.bytes / (size_of::<f64>() * THREADS as usize);
    let blocks = wanted.min(room.try_into().unwrap_or(u32::MAX)).max(1);
    let seconds = best(|rounds| {
        stream.seconds(|stream| {
            let (mut to, mut rounds, mut factor, mut term) = (results.address, rounds, 0.999_999_f64, 1e-9_f64);
            let mut parameters: [*mut c_void; 4] =
                [(&raw mut to).cast(), (&raw mut rounds).cast(), (&raw mut factor).cast(), (&raw mut term).cast()];
            // SAFETY: the kernel has these four parameters, of these types, and the driver copies them before it returns.
            // Each of `blocks * THREADS` threads writes one double of `results`, which has room for as many and lives until
            // the stream was waited for, as `seconds` does.
            unsafe { launch_kernel(multiply, blocks, THREADS, stream, &mut parameters) }
        })
    })?;
    Ok(f64::from(blocks) * f64::from(THREADS) * f64::from(FMAS) * 2.0 / seconds)
}

/// Bytes a second, those read and those written.
fn memory(stream: &Stream<'_>, one: &Block<'_>, other: &Block<'_>) -> Result<f64, DriverError> {
    let size = one.bytes.min(other.bytes);
    let seconds = best(|copies| {
        stream.seconds(|stream| {
            (0..copies).try_for_each(|_| {
                // SAFETY: both blocks have so many bytes, and live until the stream was waited for, as `seconds` does.
                unsafe { result::memcpy_dtod_async(other.address, one.address, size, stream) }
            })
        })
    })?;
    Ok(2.0 * size as f64 / seconds)
}

/// Bytes a second from the host.
fn upload(stream: &Stream<'_>, to: &Block<'_>, from: &Pinned<'_>) -> Result<f64, DriverError> {
    let size = from.bytes.min(to.bytes);
    let seconds = best(|copies| {
        stream.seconds(|stream| {
            (0..copies).try_for_each(|_| {
                // SAFETY: as in `memory`; nobody on the host looks at the pinned bytes.
                unsafe { sys::cuMemcpyHtoDAsync_v2(to.address, from.address, size, stream) }.result()
            })
        })
    })?;
    Ok(size as f64 / seconds)
}

/// Bytes a second to the host.
fn download(stream: &Stream<'_>, to: &Pinned<'_>, from: &Block<'_>) -> Result<f64, DriverError> {
    let size = from.bytes.min(to.bytes);
    let seconds = best(|copies| {
        stream.seconds(|stream| {
            (0..copies).try_for_each(|_| {
                // SAFETY: as in `upload`.
                unsafe { sys::cuMemcpyDtoHAsync_v2(to.address, from.address, size, stream) }.result()
            })
        })
    })?;
    Ok(size as f64 / seconds)
}

/// Seconds from the launch of a kernel that does nothing until it is known to have ended, on this thread's clock.
fn launch(stream: &Stream<'_>, empty: &Kernel<'_>) -> Result<f64, DriverError> {
    best(|launches| {
        let start = Instant::now();
        for _ in 0..launches {
            // SAFETY: the kernel has no parameters and touches no memory.
            unsafe { launch_kernel(empty, 1, 1, stream.handle(), &mut []) }?;
            stream.wait()?;
        }
        Ok(start.elapsed().as_secs_f64())
    })
}

/// # Safety
/// The kernel's module is loaded until the stream was waited for, the parameters are those that the kernel declares, and what
/// it does with them on so many threads is sound.
unsafe fn launch_kernel(
    kernel: &Kernel<'_>,
    blocks: u32,
    threads: u32,
    stream: sys::CUstream,
    parameters: &mut [*mut c_void],
) -> Result<(), DriverError> {
    // SAFETY: the caller's.
    unsafe { result::launch_kernel(kernel.handle, (blocks, 1, 1), (threads, 1, 1), 0, stream, parameters) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    /// What can be said of PTX without the driver's compiler.
    #[test]
    fn kernels_are_well_formed() {
        assert!(CStr::from_bytes_with_nul(PTX.as_bytes()).is_ok() && PTX.is_ascii());
        let lines = PTX.trim_end_matches('\0').lines().map(|line| line.split("//").next().unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>();
        assert_eq!(lines[..3], [".version 6.4", ".target sm_60", ".address_size 64"]);
        let text = lines.join("\n");
        for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
            assert_eq!(text.matches(open).count(), text.matches(close).count(), "{open} {close}");
        }
        for entry in [".visible .entry wait_for_me()", ".visible .entry multiply("] {
            assert_eq!(text.matches(entry).count(), 1, "{entry}");
        }

        // Statements end, registers are declared, and a loop's label is there.
        let names = |line: &str| {
            let words = line.split(|letter: char| !letter.is_alphanumeric() && !"%._".contains(letter));
            words.filter_map(|word| word.strip_prefix('%')).map(str::to_owned).collect::<Vec<_>>()
        };
        let special = ["ctaid.x", "ntid.x", "tid.x"].map(str::to_owned);
        let declared = lines.iter().filter(|line| line.starts_with(".reg")).flat_map(|line| names(line));
        let declared = declared.chain(special).collect::<BTreeSet<_>>();
        let (_, body) = text.split_once("multiply(").unwrap();
        let (_, body) = body.split_once('{').unwrap();
        for line in body.lines().filter(|line| !matches!(*line, "" | "}")) {
            assert!(line.ends_with(';') || line == "round:", "{line}");
            assert!(names(line).iter().all(|name| declared.contains(name)), "{line}");
        }
        let (_, rest) = body.split_once("round:").unwrap();
        let (round, _) = rest.split_once("bra round;").unwrap();
        assert_eq!(round.matches("fma.rn.f64").count(), FMAS as usize);
    }

    #[test]
    fn tries_are_long_enough_and_the_best_counts() {
        let (calls, last) = (Cell::new(0_u32), Cell::new(0));
        // A first call that is slow, then a millisecond each, and a little more from try to try.
        let time = |repetitions: u32| {
            calls.set(calls.get() + 1);
            last.set(repetitions);
            let noise = if calls.get() == 1 { 1.0 } else { f64::from(calls.get()) * 1e-9 };
            Ok(f64::from(repetitions) * 1e-3 + noise)
        };
        let seconds = best(time).unwrap();
        assert_eq!((last.get(), calls.get() as usize), (16, 1 + 5 + TRIES));
        assert!((seconds - 1e-3).abs() < 1e-8, "{seconds}");
    }
}
