// Triangles: rows of neighbours that come later in the order of degrees, and what two rows have in common.

// Lanes that look for the elements of one row in another.
#define TEAM 8

__device__ inline bool has(const u32 *values, u64 at, u64 stop, u32 value) {
  u64 place = lower_bound(values, at, stop, value);
  return place < stop && values[place] == value;
}

// `in_offsets` is null where edges go both ways.
extern "C" __global__ void triangles_degrees(const u64 *out_offsets, const u64 *in_offsets, i64 vertices, u32 *degrees) {
  for (u64 vertex = thread_id(); vertex < (u64)vertices; vertex += all_threads()) {
    u64 degree = out_offsets[vertex + 1] - out_offsets[vertex];
    if (in_offsets) degree += in_offsets[vertex + 1] - in_offsets[vertex];
    degrees[vertex] = degree < 0xffffffffull ? (u32)degree : 0xffffffffu;
  }
}

// What a warp keeps of a vertex' neighbours: those of greater degree, or as great and of a greater number, each once, but not those in
// the row of `but`. Writes them in their order if there is room, and says how many they are.
__device__ inline u32 keep(const u64 *offsets, const u32 *others, const u64 *but_offsets, const u32 *but, u32 vertex,
                           const u32 *degrees, u32 *room) {
  u64 start = offsets[vertex], stop = offsets[(u64)vertex + 1];
  u32 kept = 0, own = degrees[vertex];
  for (u64 first = start; first < stop; first += 32) {
    u64 edge = first + lane_id();
    u32 other = edge < stop ? others[edge] : NONE;
    bool stays = other != NONE && (edge == start || others[edge - 1] != other);
    if (stays) {
      u32 degree = degrees[other];
      stays = own < degree || (own == degree && vertex < other);
    }
    if (stays && but) stays = !has(but, but_offsets[vertex], but_offsets[(u64)vertex + 1], other);
    u32 mask = __ballot_sync(ALL_LANES, stays);
    if (stays && room) room[kept + __popc(mask & ((1u << lane_id()) - 1))] = other;
    kept += __popc(mask);
  }
  return kept;
}

// A warp a vertex. Without offsets, counts what rows have, and how much of it is of edges out; with them, writes rows, first what is of
// edges out, and to whom each belongs.
extern "C" __global__ void triangles_rows(const u64 *out_offsets, const u32 *targets, const u64 *in_offsets, const u32 *sources,
                                          i64 vertices, const u32 *degrees, u32 *counts, u32 *of_out, const u64 *offsets,
                                          u32 *rows, u32 *owners) {
  for (u64 vertex = thread_id() / 32; vertex < (u64)vertices; vertex += all_threads() / 32) {
    u32 *room = offsets ? rows + offsets[vertex] : nullptr;
    u32 first = keep(out_offsets, targets, nullptr, nullptr, (u32)vertex, degrees, room), second = 0;
    if (in_offsets)
      second = keep(in_offsets, sources, out_offsets, targets, (u32)vertex, degrees, room ? room + first : nullptr);
    if (!offsets) {
      if (lane_id() == 0) counts[vertex] = first + second;
      if (lane_id() == 0) of_out[vertex] = first;
    } else {
      for (u32 place = lane_id(); place < first + second; place += 32) owners[offsets[vertex] + place] = (u32)vertex;
    }
  }
}

// A thread an element: makes rows ascend that are two ascending halves without a common element.
extern "C" __global__ void triangles_merge(const u64 *offsets, const u32 *of_out, const u32 *halves, const u32 *owners, i64 edges,
                                           u32 *rows) {
  for (u64 edge = thread_id(); edge < (u64)edges; edge += all_threads()) {
    u32 vertex = owners[edge], element = halves[edge];
    u64 start = offsets[vertex], middle = start + of_out[vertex], stop = offsets[(u64)vertex + 1];
    // Its place in its half, and how many of the other half are less.
    u64 less = edge < middle ? lower_bound(halves, middle, stop, element) - middle : lower_bound(halves, start, middle, element) - middle;
    rows[edge + less] = element;
  }
}

// A team an edge, which has the triangles of its row and that of its other end. With `corners`, each vertex gets its own.
extern "C" __global__ void triangles_common(const u64 *offsets, const u32 *rows, const u32 *owners, i64 edges, u64 *total,
                                            u64 *corners) {
  u64 found = 0;
  for (u64 edge = thread_id() / TEAM; edge < (u64)edges; edge += all_threads() / TEAM) {
    u32 one = owners[edge], other = rows[edge];
    u64 at = offsets[one], stop = offsets[(u64)one + 1], place = offsets[other], end = offsets[(u64)other + 1];
    if (stop - at > end - place) {
      u64 start = at, last = stop;
      at = place, stop = end, place = start, end = last;
    }
    u64 mine = 0;
    for (at += threadIdx.x % TEAM; at < stop; at += TEAM) {
      u32 third = rows[at];
      if (!has(rows, place, end, third)) continue;
      mine += 1;
      if (corners) atomicAdd(&corners[third], 1ull);
    }
    found += mine;
    if (corners && mine != 0) {
      atomicAdd(&corners[one], mine);
      atomicAdd(&corners[other], mine);
    }
  }
  add_for_warp(total, found);
}
