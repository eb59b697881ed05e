// A pass of a radix sort over entries, in tiles of 2048, by blocks of 256 threads.

__device__ __forceinline__ u32 digit_of(entry one, i64 shift) { return (u32)(one >> shift) & 255; }

// How often each digit stands in each tile.
extern "C" __global__ void digits(const entry *from, i64 rows, i64 shift, i64 tiles, u32 *counts) {
  __shared__ u32 mine[256];
  mine[threadIdx.x] = 0;
  __syncthreads();
  for (u32 part = 0; part < 8; ++part) {
    i64 row = (i64)blockIdx.x * 2048 + part * 256 + threadIdx.x;
    if (row < rows) atomicAdd(mine + digit_of(from[row], shift), 1u);
  }
  __syncthreads();
  counts[threadIdx.x * tiles + blockIdx.x] = mine[threadIdx.x];
}

// Each entry to its place: behind those of its digit in tiles before, in parts before, in warps before, in lanes before.
extern "C" __global__ void deal(const entry *from, i64 rows, i64 shift, i64 tiles, const u64 *starts, entry *to) {
  __shared__ u64 next[256];
  __shared__ u32 of_warp[8][256];
  u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  next[threadIdx.x] = starts[threadIdx.x * tiles + blockIdx.x];
  for (u32 part = 0; part < 8; ++part) {
    for (u32 other = 0; other < 8; ++other) of_warp[other][threadIdx.x] = 0;
    __syncthreads();
    i64 row = (i64)blockIdx.x * 2048 + part * 256 + threadIdx.x;
    bool there = row < rows;
    entry one = there ? from[row] : 0;
    // Who has no entry has a digit of its own.
    u32 digit = there ? digit_of(one, shift) : 256 + lane;
    u32 alike = __match_any_sync(ALL_LANES, digit);
    u32 before = __popc(alike & ((1u << lane) - 1));
    if (there && before == 0) of_warp[warp][digit] = __popc(alike);
    __syncthreads();
    if (there) {
      u64 place = next[digit] + before;
      for (u32 other = 0; other < warp; ++other) place += of_warp[other][digit];
      to[place] = one;
    }
    __syncthreads();
    u32 all = 0;
    for (u32 other = 0; other < 8; ++other) all += of_warp[other][threadIdx.x];
    next[threadIdx.x] += all;
    __syncthreads();
  }
}
