// A sparse matrix times a vector. The host defines THREADS of a block, LONG, entries of a piece that is summed in LANES (4) sums.

// Rows of up to so many entries are read by one thread.
#define ALONE 32

// Products that a warp makes before they are added up.
#define STAGE 128

extern "C" __global__ void spmv(const u64 *starts, const u32 *indices, const number *values, i64 rows, const number *x, number *y) {
  __shared__ number stages[THREADS / 32 * STAGE];
  number *stage = stages + threadIdx.x / 32 * STAGE;
  i32 lane = threadIdx.x % 32;
  for (u64 first = thread_id() / 32 * 32; first < (u64)rows; first += all_threads()) {
    u64 row = first + lane;
    u64 start = row < (u64)rows ? starts[row] : 0, stop = row < (u64)rows ? starts[row + 1] : 0;
    bool is_long = stop - start > ALONE;
    number all = 0;
    for (u64 entry = start; !is_long && entry < stop;) {
      u64 end = end_of_piece(entry, row, stop);
      number sum = 0;
      for (; entry < end; ++entry) sum += values[entry] * x[indices[entry]];
      all += sum;
    }
    u32 left = __ballot_sync(ALL_LANES, is_long);
    while (left != 0) {
      i32 owner = __ffs((i32)left) - 1;
      left &= left - 1;
      u64 entry = __shfl_sync(ALL_LANES, start, owner), last = __shfl_sync(ALL_LANES, stop, owner);
      while (entry < last) {
        u64 end = end_of_piece(entry, first + owner, last);
        bool in_lanes = end - entry >= LONG;
        number sums[LANES] = {0, 0, 0, 0};
        for (; entry < end; entry += STAGE) {
          u32 count = end - entry < STAGE ? (u32)(end - entry) : STAGE;
          for (u32 place = lane; place < count; place += 32) stage[place] = values[entry + place] * x[indices[entry + place]];
          __syncwarp();
          if (lane == owner) {
            u32 place = 0;
            for (; in_lanes && place + LANES <= count; place += LANES) {
              for (u32 sum = 0; sum < LANES; ++sum) sums[sum] += stage[place + sum];
            }
            for (; place < count; ++place) sums[0] += stage[place];
          }
          __syncwarp();
        }
        entry = end;
        // Where there is one sum only, the others add 0.
        if (lane == owner) all += (sums[0] + sums[1]) + (sums[2] + sums[3]);
      }
    }
    if (row < (u64)rows) y[row] = all;
  }
}
