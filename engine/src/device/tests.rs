//! Devices, on all that are here: the emulated one, and GPUs where there are any. What cannot run says so.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test; what did not run says so"
)]

use super::*;

/// The devices that there are.
fn devices() -> Vec<Device> {
    let mut devices = Vec::new();
    for (name, device) in [("the emulated device", Device::emulated()), ("a GPU", Device::gpu(0))] {
        match device {
            Ok(device) => devices.push(device),
            Err(error) => println!("SKIPPED on {name}: {error}"),
        }
    }
    devices
}

fn bytes_of<T: Copy>(values: &[T]) -> Vec<u8> {
    // SAFETY: numbers, of which every byte may be looked at.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }.to_vec()
}

fn numbers<T: Copy + Default>(device: &Device, buffer: &Buffer) -> Vec<T> {
    let mut values = vec![T::default(); buffer.bytes() / size_of::<T>()];
    // SAFETY: numbers, of which every byte may be written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(&values[..])) };
    device.download(buffer, bytes).unwrap();
    values
}

const KERNELS: &str = r#"
extern "C" __global__ void write(const f64 *from, f64 *to, f64 factor, i64 count) {
  for (i64 at = blockIdx.x * (i64)blockDim.x + threadIdx.x; at < count; at += (i64)gridDim.x * blockDim.x)
    to[at] = from[at] * factor + 1.0;
}

// The sum of a block's values: lanes by shuffles, warps through shared memory, blocks by atomics.
extern "C" __global__ void summed(const i64 *values, i64 count, u64 *sum) {
  __shared__ i64 warps[32];
  i64 mine = 0;
  for (i64 at = blockIdx.x * (i64)blockDim.x + threadIdx.x; at < count; at += (i64)gridDim.x * blockDim.x) mine += values[at];
  for (i32 delta = 16; delta > 0; delta /= 2) mine += __shfl_down_sync(ALL_LANES, mine, delta);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x < 32) {
    i64 all = threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : 0;
    for (i32 delta = 16; delta > 0; delta /= 2) all += __shfl_down_sync(ALL_LANES, all, delta);
    if (threadIdx.x == 0) atomicAdd(sum, (u64)all);
  }
}

// One word of truth values a warp.
extern "C" __global__ void flagged(const i32 *values, i32 least, i64 count, u32 *words) {
  i64 at = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  u32 word = __ballot_sync(ALL_LANES, at < count && values[at] >= least);
  if (threadIdx.x % 32 == 0 && at < count) words[at / 32] = word;
}

// Each block's prefix sums, in shared memory of a size that the host says (Hillis, Steele 1986).
extern "C" __global__ void running(const i32 *values, i32 *sums) {
  BIREME_DYNAMIC_SHARED(i32, now);
  i64 first = blockIdx.x * (i64)blockDim.x;
  i32 at = threadIdx.x;
  now[at] = values[first + at];
  __syncthreads();
  for (i32 distance = 1; distance < (i32)blockDim.x; distance *= 2) {
    i32 before = at >= distance ? now[at - distance] : 0;
    __syncthreads();
    now[at] += before;
    __syncthreads();
  }
  sums[first + at] = now[at];
}

// Keys into a table with open addressing; each gets the slot of its first finder.
extern "C" __global__ void put(const u64 *keys, i64 count, u64 *table, u64 slots, u32 *many) {
  for (i64 at = blockIdx.x * (i64)blockDim.x + threadIdx.x; at < count; at += (i64)gridDim.x * blockDim.x) {
    u64 key = keys[at];
    for (u64 slot = __umul64hi(key * 0x9e3779b97f4a7c15ull, slots);; slot = slot + 1 == slots ? 0 : slot + 1) {
      u64 there = atomicCAS(&table[slot], 0ull, key);
      if (there != 0 && there != key) continue;
      atomicAdd(&many[slot], 1u);
      break;
    }
  }
}

extern "C" __global__ void parts(i32 *out) {
  if (threadIdx.x < 7) __syncthreads();
  out[threadIdx.x] = 1;
}

extern "C" __global__ void missing(i32 *out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(ALL_LANES, (i32)threadIdx.x, 0);
}
"#;

fn module(device: &Device) -> Module {
    let names = ["write", "summed", "flagged", "running", "put", "parts", "missing"];
    device.load(&Source::new(KERNELS, names)).unwrap()
}

#[test]
fn kernels_compute_what_they_say() {
    for device in devices() {
        let module = module(&device);
        let values = (0..10_007_i64).map(|at| at * at % 1009 - 300).collect::<Vec<_>>();
        let floats = values.iter().map(|&value| value as f64 / 7.0).collect::<Vec<_>>();
        let (from, to) = (device.upload(&bytes_of(&floats)).unwrap(), device.allocate(8 * floats.len()).unwrap());
        let grid = Grid::covering(floats.len(), 128, 13);
        let arguments =
            [Argument::Memory(&from), Argument::Memory(&to), Argument::F64(2.5), Argument::I64(floats.len() as i64)];
        // SAFETY: what `write` takes; both have so many numbers.
        unsafe { module.launch("write", &grid, &arguments).unwrap() };
        let expected = floats.iter().map(|value| value * 2.5 + 1.0).collect::<Vec<_>>();
        assert_eq!(numbers::<f64>(&device, &to), expected, "each operation is rounded by itself");

        let (from, sum) = (device.upload(&bytes_of(&values)).unwrap(), device.filled(8, 0).unwrap());
        let arguments = [Argument::Memory(&from), Argument::I64(values.len() as i64), Argument::Memory(&sum)];
        // SAFETY: as above.
        unsafe { module.launch("summed", &Grid::covering(values.len(), 256, 5), &arguments).unwrap() };
        assert_eq!(numbers::<i64>(&device, &sum), [values.iter().sum::<i64>()]);

        let small = values.iter().map(|&value| value as i32).collect::<Vec<_>>();
        let (from, words) =
            (device.upload(&bytes_of(&small)).unwrap(), device.filled(small.len().div_ceil(32) * 4, 9).unwrap());
        let arguments =
            [Argument::Memory(&from), Argument::I32(5), Argument::I64(small.len() as i64), Argument::Memory(&words)];
        // SAFETY: as above; a block covers whole words.
        unsafe { module.launch("flagged", &Grid::covering(small.len(), 64, u32::MAX), &arguments).unwrap() };
        let word = |values: &[i32]| {
            values.iter().enumerate().fold(0_u32, |word, (bit, &value)| word | u32::from(value >= 5) << bit)
        };
        assert_eq!(numbers::<u32>(&device, &words), small.chunks(32).map(word).collect::<Vec<_>>());

        let (blocks, threads) = (9, 96);
        let some = &small[..blocks * threads];
        let (from, to) = (device.upload(&bytes_of(some)).unwrap(), device.allocate(4 * some.len()).unwrap());
        let grid = Grid { blocks: blocks as u32, threads: threads as u32, shared: 4 * threads as u32 };
        // SAFETY: as above; a block has shared memory for its values.
        unsafe { module.launch("running", &grid, &[Argument::Memory(&from), Argument::Memory(&to)]).unwrap() };
        let expected = some.chunks(threads).flat_map(|block| {
            block.iter().scan(0, |sum, value| {
                *sum += value;
                Some(*sum)
            })
        });
        assert_eq!(numbers::<i32>(&device, &to), expected.collect::<Vec<_>>());
    }
}

#[test]
fn atomics_count_every_key() {
    for device in devices() {
        let module = module(&device);
        let keys = (0..5000_u64).map(|at| at * at % 613 + 1).collect::<Vec<_>>();
        let slots = 1000;
        let from = device.upload(&bytes_of(&keys)).unwrap();
        let (table, many) = (device.filled(8 * slots, 0).unwrap(), device.filled(4 * slots, 0).unwrap());
        let arguments = [
            Argument::Memory(&from),
            Argument::I64(keys.len() as i64),
            Argument::Memory(&table),
            Argument::I64(slots as i64),
            Argument::Memory(&many),
        ];
        // SAFETY: what `put` takes; there are more slots than keys.
        unsafe { module.launch("put", &Grid::covering(keys.len(), 128, 20), &arguments).unwrap() };
        let found = numbers::<u64>(&device, &table).into_iter().zip(numbers::<u32>(&device, &many));
        let mut expected = BTreeMap::<u64, u32>::new();
        keys.iter().for_each(|&key| *expected.entry(key).or_default() += 1);
        assert_eq!(found.filter(|(key, _)| *key != 0).collect::<BTreeMap<_, _>>(), expected);
    }
}

#[test]
fn what_would_hang_is_an_error_on_the_emulated_device() {
    let Ok(device) = Device::emulated() else { return println!("SKIPPED: there is no C++ compiler") };
    let (module, out) = (module(&device), device.filled(4 * 64, 0).unwrap());
    for (kernel, words) in [("parts", "not reached by all threads"), ("missing", "lanes of their mask that never come")]
    {
        let grid = Grid { blocks: 1, threads: 64, shared: 0 };
        // SAFETY: what they take.
        let error = unsafe { module.launch(kernel, &grid, &[Argument::Memory(&out)]) }.unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
}

#[test]
fn memory_is_kept_and_given_back() {
    for device in devices() {
        let first = device.allocate(5000).unwrap();
        let held = device.bytes();
        assert!((5000..20_000).contains(&held), "{held}");
        drop(first);
        let again = device.allocate(6000).unwrap();
        assert_eq!(device.bytes(), held, "the same memory");
        drop(again);
        device.give_back();
        assert_eq!(device.bytes(), 0);
        let large = device.allocate((9 << 20) + 1).unwrap();
        assert!(device.bytes() < 12 << 20, "large memory is not doubled: {}", device.bytes());
        assert!(device.download(&large, &mut vec![0; 16 << 20]).is_err());
    }
}

#[test]
fn memory_of_another_device_is_refused() {
    let (Ok(one), Ok(other)) = (Device::emulated(), Device::emulated()) else {
        return println!("SKIPPED: there is no C++ compiler");
    };
    let theirs = other.filled(8, 0).unwrap();
    assert!(one.download(&theirs, &mut [0; 8]).unwrap_err().message().contains("another device"));
    let module = module(&one);
    let grid = Grid::covering(1, 32, 1);
    // SAFETY: it does not run.
    let launched = unsafe { module.launch("parts", &grid, &[Argument::Memory(&theirs)]) };
    assert!(launched.unwrap_err().message().contains("another device"));
    // SAFETY: as above.
    let launched = unsafe { module.launch("nothing", &grid, &[]) };
    assert!(launched.unwrap_err().message().contains("no kernel is called nothing"));
}

#[test]
fn a_source_that_is_wrong_says_where() {
    for device in devices() {
        let error = device.load(&Source::new("extern \"C\" __global__ void wrong() { undeclared = 1; }", ["wrong"]));
        let error = error.unwrap_err();
        assert!(error.message().contains("undeclared"), "{error}");
    }
}

#[test]
fn modules_are_compiled_once() {
    let Ok(device) = Device::emulated() else { return println!("SKIPPED: there is no C++ compiler") };
    let (first, second) = (module(&device), module(&device));
    assert!(Arc::ptr_eq(&first.loaded, &second.loaded));
}

/// The kernels of these tests are CUDA, not only what the emulator takes.
#[cfg(feature = "cuda")]
#[test]
fn sources_compile_for_gpus_without_one() {
    if let Some(reason) = compiler_is_missing() {
        return println!("SKIPPED: {reason}");
    }
    let source = Source::new(KERNELS, ["write"]);
    for architecture in ["sm_80", "sm_90"] {
        let cubin = compile_for(&source, architecture).unwrap();
        assert!(cubin.starts_with(b"\x7fELF"), "{} bytes", cubin.len());
        let again = std::time::Instant::now();
        assert_eq!(compile_for(&source, architecture).unwrap(), cubin);
        println!("{architecture}: {} bytes, from the cache in {:?}", cubin.len(), again.elapsed());
    }
    let wrong =
        compile_for(&Source::new("extern \"C\" __global__ void wrong() { undeclared = 1; }", ["wrong"]), "sm_80");
    assert!(wrong.unwrap_err().message().contains("undeclared"));
}
