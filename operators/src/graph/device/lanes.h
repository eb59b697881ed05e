// What a warp does together.

#define NONE 0xffffffffu

// Rows of up to so many edges are read by one thread.
#define ALONE 32

__device__ inline u32 lane_id() { return threadIdx.x % 32; }

// This thread's number among all of the grid, and how many there are.
__device__ inline u64 thread_id() { return blockIdx.x * (u64)blockDim.x + threadIdx.x; }
__device__ inline u64 all_threads() { return gridDim.x * (u64)blockDim.x; }

// Lane 0 gets the sum over all lanes.
__device__ inline u64 sum_of_warp(u64 value) {
  for (u32 delta = 16; delta > 0; delta /= 2) value += __shfl_down_sync(ALL_LANES, value, delta);
  return value;
}

// Adds up what all lanes have, and puts it where other warps do so, too.
__device__ inline void add_for_warp(u64 *sum, u64 value) {
  if (!__any_sync(ALL_LANES, value != 0)) return;
  value = sum_of_warp(value);
  if (lane_id() == 0) atomicAdd(sum, value);
}

// A place for each lane that wants one, in the order of lanes, behind the `count` places that are taken.
__device__ inline u64 place_of_lane(u64 *count, bool wants) {
  u32 mask = __ballot_sync(ALL_LANES, wants);
  if (mask == 0) return 0;
  u64 first = 0;
  if (lane_id() == 0) first = atomicAdd(count, (u64)__popc(mask));
  return __shfl_sync(ALL_LANES, first, 0) + __popc(mask & ((1u << lane_id()) - 1));
}

// The first place of [at, stop) whose value, ascending, is not below `value`.
__device__ inline u64 lower_bound(const u32 *values, u64 at, u64 stop, u32 value) {
  while (at < stop) {
    u64 middle = at + (stop - at) / 2;
    if (values[middle] < value)
      at = middle + 1;
    else
      stop = middle;
  }
  return at;
}
