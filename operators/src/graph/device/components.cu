// Trees of connected components: parents only fall, and lead to the smallest vertex.

// Read from memory each time, for others write it.
__device__ inline u32 parent_of(const u32 *parents, u32 vertex) { return *(const volatile u32 *)(parents + vertex); }

// Climbs to a root, as far as this thread sees it, and hangs what it passes beneath its parent's parent.
__device__ inline u32 root_of(u32 *parents, u32 vertex) {
  for (;;) {
    u32 parent = parent_of(parents, vertex), above = parent_of(parents, parent);
    if (parent == above) return parent;
    atomicMin(&parents[vertex], above);
    vertex = parent;
  }
}

// Puts two vertices into one tree.
__device__ inline void join(u32 *parents, u32 one, u32 other) {
  one = root_of(parents, one);
  other = root_of(parents, other);
  while (one != other) {
    u32 low = one < other ? one : other, high = one < other ? other : one;
    u32 above = atomicCAS(&parents[high], high, low);
    if (above == high) return;
    // It was hung meanwhile, beneath something smaller.
    one = root_of(parents, above);
    other = root_of(parents, low);
  }
}

extern "C" __global__ void components_hook(const u64 *offsets, const u32 *targets, i64 vertices, u32 *parents) {
  for (u64 vertex = thread_id(); vertex < (u64)vertices; vertex += all_threads()) {
    u64 start = offsets[vertex], stop = offsets[vertex + 1];
    u32 first = start < stop ? targets[start] : NONE;
    parents[vertex] = first < (u32)vertex ? first : (u32)vertex;
  }
}

extern "C" __global__ void components_link(const u64 *offsets, const u32 *targets, i64 vertices, u32 *parents, u32 neighbour) {
  for (u64 vertex = thread_id(); vertex < (u64)vertices; vertex += all_threads()) {
    u64 edge = offsets[vertex] + neighbour;
    if (edge < offsets[vertex + 1]) join(parents, (u32)vertex, targets[edge]);
  }
}

extern "C" __global__ void components_compress(i64 vertices, u32 *parents) {
  for (u64 vertex = thread_id(); vertex < (u64)vertices; vertex += all_threads())
    atomicMin(&parents[vertex], root_of(parents, (u32)vertex));
}

// Multiples of an odd number, spread by their upper bits, meet no pattern that a graph's numbering is likely to have.
extern "C" __global__ void components_sample(i64 vertices, const u32 *parents, u32 samples, u32 *roots) {
  for (u64 index = thread_id(); index < samples; index += all_threads()) {
    u64 spread = index * 0x9e3779b97f4a7c15ull >> 32;
    roots[index] = parents[spread * (u64)vertices >> 32];
  }
}

extern "C" __global__ void components_link_all(const u64 *offsets, const u32 *targets, i64 vertices, u32 *parents, u32 frequent) {
  for (u64 first = thread_id() / 32 * 32; first < (u64)vertices; first += all_threads()) {
    u64 vertex = first + lane_id();
    bool open = vertex < (u64)vertices && parent_of(parents, (u32)vertex) != frequent;
    u64 at = open ? offsets[vertex] : 0, stop = open ? offsets[vertex + 1] : 0;
    bool is_long = stop - at > ALONE;
    for (u64 edge = at; !is_long && edge < stop; ++edge) join(parents, (u32)vertex, targets[edge]);
    u32 left = __ballot_sync(ALL_LANES, is_long);
    while (left != 0) {
      i32 owner = __ffs((i32)left) - 1;
      left &= left - 1;
      u64 from = __shfl_sync(ALL_LANES, at, owner), to = __shfl_sync(ALL_LANES, stop, owner);
      for (u64 edge = from + lane_id(); edge < to; edge += 32) join(parents, (u32)first + owner, targets[edge]);
    }
  }
}
