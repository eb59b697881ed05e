// Running sums. The host defines TILE, numbers that a block adds up, and THREADS of a block, which divide it.

extern "C" __global__ void offsets_sums(const u32 *counts, i64 many, u64 *sums) {
  __shared__ u64 warps[THREADS / 32];
  for (u64 tile = blockIdx.x; tile * TILE < (u64)many; tile += gridDim.x) {
    u64 sum = 0;
    for (u32 place = threadIdx.x; place < TILE; place += THREADS) {
      u64 at = tile * TILE + place;
      if (at < (u64)many) sum += counts[at];
    }
    sum = sum_of_warp(sum);
    if (lane_id() == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (u32 warp = 1; warp < THREADS / 32; ++warp) sum += warps[warp];
      sums[tile] = sum;
    }
    __syncthreads();
  }
}

// `before` has the sum of all tiles before each.
extern "C" __global__ void offsets_running(const u32 *counts, i64 many, const u64 *before, u64 *offsets) {
  __shared__ u64 warps[THREADS / 32];
  if (thread_id() == 0) offsets[0] = 0;
  for (u64 tile = blockIdx.x; tile * TILE < (u64)many; tile += gridDim.x) {
    u64 running = before[tile];
    for (u32 place = threadIdx.x; place < TILE; place += THREADS) {
      u64 at = tile * TILE + place, sum = at < (u64)many ? counts[at] : 0;
      for (u32 delta = 1; delta < 32; delta *= 2) {
        u64 other = __shfl_up_sync(ALL_LANES, sum, delta);
        if (lane_id() >= delta) sum += other;
      }
      if (lane_id() == 31) warps[threadIdx.x / 32] = sum;
      __syncthreads();
      u64 all = 0;
      for (u32 warp = 0; warp < THREADS / 32; ++warp) {
        if (warp == threadIdx.x / 32) sum += all;
        all += warps[warp];
      }
      if (at < (u64)many) offsets[at + 1] = running + sum;
      running += all;
      __syncthreads();
    }
  }
}
