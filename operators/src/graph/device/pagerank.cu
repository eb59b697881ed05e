// Iterations of PageRank. The host defines BLOCK, vertices whose sums are taken together, and THREADS of a block, which divide it.

// Contributions that a warp reads before they are added up.
#define STAGE 128

// Adds up, in order, what the threads of a block have put down of each vertex: two threads do, of different warps.
__device__ inline void add_up(const f64 *changes, const f64 *lost, u32 count, f64 *sums) {
  __syncthreads();
  if (threadIdx.x % 32 == 0 && threadIdx.x < 64) {
    const f64 *values = threadIdx.x == 0 ? changes : lost;
    f64 sum = 0.0;
    for (u32 at = 0; at < count; ++at) sum += values[at];
    sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
}

// The sum of a lane's row, in the order of its edges.
__device__ inline f64 sum_of_row(const u32 *sources, const f64 *from, u64 at, u64 stop, f64 *stage) {
  bool is_long = stop - at > ALONE;
  f64 sum = 0.0;
  for (u64 edge = at; !is_long && edge < stop; ++edge) sum += from[sources[edge]];
  u32 left = __ballot_sync(ALL_LANES, is_long);
  while (left != 0) {
    i32 owner = __ffs((i32)left) - 1;
    left &= left - 1;
    u64 first = __shfl_sync(ALL_LANES, at, owner), last = __shfl_sync(ALL_LANES, stop, owner);
    for (; first < last; first += STAGE) {
      u32 count = last - first < STAGE ? (u32)(last - first) : STAGE;
      for (u32 place = lane_id(); place < count; place += 32) stage[place] = from[sources[first + place]];
      __syncwarp();
      if ((i32)lane_id() == owner) {
        for (u32 place = 0; place < count; ++place) sum += stage[place];
      }
      __syncwarp();
    }
  }
  return sum;
}

extern "C" __global__ void pagerank_begin(const u64 *offsets, i64 vertices, const f64 *jumps, f64 jump, f64 *ranks, f64 *shares,
                                 f64 *contributions, f64 *sums) {
  __shared__ f64 changes[BLOCK], lost[BLOCK];
  for (u64 block = blockIdx.x; block * BLOCK < (u64)vertices; block += gridDim.x) {
    u64 first = block * BLOCK;
    u32 count = (u64)vertices - first < BLOCK ? (u32)((u64)vertices - first) : BLOCK;
    for (u32 place = threadIdx.x; place < count; place += THREADS) {
      u64 vertex = first + place, degree = offsets[vertex + 1] - offsets[vertex];
      f64 share = degree == 0 ? 0.0 : 1.0 / (f64)degree, rank = jumps ? jumps[vertex] : jump;
      ranks[vertex] = rank;
      shares[vertex] = share;
      contributions[vertex] = rank * share;
      changes[place] = 0.0;
      lost[place] = share == 0.0 ? rank : 0.0;
    }
    add_up(changes, lost, count, sums + 2 * block);
  }
}

extern "C" __global__ void pagerank_step(const u64 *offsets, const u32 *sources, i64 vertices, const f64 *from, f64 damping, f64 jumping,
                                const f64 *jumps, f64 jump, const f64 *shares, f64 *ranks, f64 *contributions, f64 *sums) {
  __shared__ f64 changes[BLOCK], lost[BLOCK], stages[THREADS / 32 * STAGE];
  for (u64 block = blockIdx.x; block * BLOCK < (u64)vertices; block += gridDim.x) {
    u64 first = block * BLOCK;
    u32 count = (u64)vertices - first < BLOCK ? (u32)((u64)vertices - first) : BLOCK;
    // Whole warps, for long rows are read together.
    for (u32 place = threadIdx.x; place / 32 * 32 < count; place += THREADS) {
      u64 vertex = first + place;
      bool is_there = place < count;
      u64 start = is_there ? offsets[vertex] : 0, stop = is_there ? offsets[vertex + 1] : 0;
      f64 sum = sum_of_row(sources, from, start, stop, stages + threadIdx.x / 32 * STAGE);
      if (!is_there) continue;
      f64 share = shares[vertex], rank = damping * sum + jumping * (jumps ? jumps[vertex] : jump);
      changes[place] = fabs(rank - ranks[vertex]);
      lost[place] = share == 0.0 ? rank : 0.0;
      contributions[vertex] = rank * share;
      ranks[vertex] = rank;
    }
    add_up(changes, lost, count, sums + 2 * block);
  }
}
