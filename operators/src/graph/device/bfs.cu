// Steps of a breadth-first search. `counts` has the vertices found, the edges that leave them, and those that come to what is still
// unreached.

extern "C" __global__ void bfs_begin(const u64 *offsets, u32 source, u32 *parents, u32 *depths, u32 *frontier, u64 *counts) {
  if (thread_id() != 0) return;
  parents[source] = source;
  depths[source] = 0;
  frontier[0] = source;
  counts[0] = 1;
  counts[1] = offsets[(u64)source + 1] - offsets[source];
}

// A warp a vertex of the frontier, a lane an edge.
extern "C" __global__ void bfs_top_down(const u64 *offsets, const u32 *targets, const u32 *frontier, i64 size, u32 depth,
                                    u32 *parents, u32 *depths, u32 *next, u64 *counts) {
  u64 leaving = 0;
  for (u64 at = thread_id() / 32; at < (u64)size; at += all_threads() / 32) {
    u32 from = frontier[at];
    u64 stop = offsets[(u64)from + 1];
    for (u64 first = offsets[from]; first < stop; first += 32) {
      u64 edge = first + lane_id();
      u32 to = edge < stop ? targets[edge] : NONE;
      // What others of this step have reached is at `depth`, and may get a smaller parent.
      bool fresh = to != NONE && depths[to] >= depth && atomicMin(&parents[to], from) == NONE;
      u64 place = place_of_lane(&counts[0], fresh);
      if (!fresh) continue;
      depths[to] = depth;
      next[place] = to;
      leaving += offsets[(u64)to + 1] - offsets[to];
    }
  }
  add_for_warp(&counts[1], leaving);
}

// A thread a vertex. Rows ascend, so the first source that is in the frontier is the smallest.
extern "C" __global__ void bfs_bottom_up(const u64 *offsets, const u32 *sources, const u64 *out_offsets, i64 vertices, u32 depth,
                                     u32 *parents, u32 *depths, u64 *counts) {
  u64 found = 0, leaving = 0, unreached = 0;
  for (u64 first = thread_id() / 32 * 32; first < (u64)vertices; first += all_threads()) {
    u64 vertex = first + lane_id();
    bool open = vertex < (u64)vertices && depths[vertex] == NONE;
    u64 start = open ? offsets[vertex] : 0, stop = open ? offsets[vertex + 1] : 0;
    u64 at = start, alone = stop - start < ALONE ? stop : start + ALONE;
    u32 parent = NONE;
    for (; at < alone && parent == NONE; ++at) {
      if (depths[sources[at]] == depth - 1) parent = sources[at];
    }
    u32 left = __ballot_sync(ALL_LANES, parent == NONE && at < stop);
    while (left != 0) {
      i32 owner = __ffs((i32)left) - 1;
      left &= left - 1;
      u64 from = __shfl_sync(ALL_LANES, at, owner), to = __shfl_sync(ALL_LANES, stop, owner);
      u32 smallest = NONE;
      for (; from < to && smallest == NONE; from += 32) {
        u32 source = from + lane_id() < to ? sources[from + lane_id()] : NONE;
        u32 hits = __ballot_sync(ALL_LANES, source != NONE && depths[source] == depth - 1);
        if (hits != 0) smallest = __shfl_sync(ALL_LANES, source, __ffs((i32)hits) - 1);
      }
      if ((i32)lane_id() == owner) parent = smallest;
    }
    if (parent != NONE) {
      parents[vertex] = parent;
      depths[vertex] = depth;
      found += 1;
      leaving += out_offsets[vertex + 1] - out_offsets[vertex];
    } else {
      unreached += stop - start;
    }
  }
  add_for_warp(&counts[0], found);
  add_for_warp(&counts[1], leaving);
  add_for_warp(&counts[2], unreached);
}

// The vertices at a depth, in any order.
extern "C" __global__ void bfs_list(const u32 *depths, i64 vertices, u32 depth, u32 *frontier, u64 *counts) {
  for (u64 first = thread_id() / 32 * 32; first < (u64)vertices; first += all_threads()) {
    u64 vertex = first + lane_id();
    bool in = vertex < (u64)vertices && depths[vertex] == depth;
    u64 place = place_of_lane(&counts[0], in);
    if (in) frontier[place] = (u32)vertex;
  }
}
