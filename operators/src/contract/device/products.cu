// Products of two strided arrays. The host defines `number`, the type of elements; EXACT, where sums of integers are exact and checked;
// TEAM, threads that sum together (1 or 32); and TILE and DEPTH, the rows, columns and summed indices of a tile.
//
//   p   batches, rows, columns, inner, origins of left and right, pieces, by_inner (bits), axes of each class, then the axes

#ifdef EXACT
typedef i128 sum_type;
#define NOTHING(terms) 0
#else
typedef number sum_type;
// What changes no sum. A product that is none of several keeps its sign if it is zero.
#define NOTHING(terms) ((terms) == 1 ? (number)-0.0 : (number)0)
#endif

#define FAILED 1u

struct place {
  i64 left, right, out;
};

// Where indices lie that are counted row-major through some axes: extent, then steps in left, right and out.
__device__ __forceinline__ place place_of(const u64 *axes, u64 count, u64 index) {
  if (count == 1) return place{(i64)(index * axes[1]), (i64)(index * axes[2]), (i64)(index * axes[3])};
  place at = {0, 0, 0};
  for (u64 axis = count; axis-- > 0;) {
    const u64 *a = axes + 4 * axis;
    u64 within = index % a[0];
    index /= a[0];
    at.left += (i64)(within * a[1]);
    at.right += (i64)(within * a[2]);
    at.out += (i64)(within * a[3]);
  }
  return at;
}

struct groups {
  const u64 *batch, *rows, *columns, *inner;
};
__device__ __forceinline__ groups groups_of(const u64 *p) {
  const u64 *batch = p + 12, *rows = batch + 4 * p[8], *columns = rows + 4 * p[9];
  return groups{batch, rows, columns, columns + 4 * p[10]};
}

__device__ __forceinline__ void add_product(sum_type &sum, number left, number right, bool &failed) {
#ifdef EXACT
  // Of 64 bits each: the product fits, and of any number of them the sum mostly.
  i128 product = (i128)left * right;
  i128 more = (i128)((u128)sum + (u128)product);
  failed |= ((sum ^ more) & (product ^ more)) < 0;
  sum = more;
#else
  sum += left * right;
#endif
}
__device__ __forceinline__ void add_sum(sum_type &sum, sum_type other, bool &failed) {
#ifdef EXACT
  i128 more = (i128)((u128)sum + (u128)other);
  failed |= ((sum ^ more) & (other ^ more)) < 0;
  sum = more;
#else
  sum += other;
#endif
}
__device__ __forceinline__ void finish(sum_type sum, const number *before, number *out, i64 at, bool &failed) {
  if (before) add_sum(sum, before[at], failed);
#ifdef EXACT
  failed |= (i128)(number)sum != sum;
#endif
  out[at] = (number)sum;
}

#if TEAM > 1
// The sum of a lane some places behind.
__device__ __forceinline__ sum_type from_behind(sum_type sum, u32 lanes) {
#ifdef EXACT
  u64 low = __shfl_down_sync(ALL_LANES, (u64)sum, lanes), high = __shfl_down_sync(ALL_LANES, (u64)((u128)sum >> 64), lanes);
  return (i128)((u128)high << 64 | low);
#else
  return __shfl_down_sync(ALL_LANES, sum, lanes);
#endif
}
#endif

// Without columns: a team sums a piece of the products of an element. Where there are several pieces, `together` adds them up.
extern "C" __global__ void sums(const u64 *p, const number *left, const number *right, const number *before, number *out, sum_type *pieces,
                                u32 *status) {
  groups of = groups_of(p);
  u64 outputs = p[0] * p[1], inner = p[3], each = (inner + p[6] - 1) / p[6];
  bool failed = false;
  u64 lane = threadIdx.x % TEAM, teams = gridDim.x * (u64)blockDim.x / TEAM;
  for (u64 task = (blockIdx.x * (u64)blockDim.x + threadIdx.x) / TEAM; task < outputs * p[6]; task += teams) {
    u64 output = task / p[6], first = task % p[6] * each, last = first + each < inner ? first + each : inner;
    place batch = place_of(of.batch, p[8], output / p[1]), row = place_of(of.rows, p[9], output % p[1]);
    const number *l = left + ((i64)p[4] + batch.left + row.left), *r = right + ((i64)p[5] + batch.right + row.right);
    sum_type sum = NOTHING(inner);
    for (u64 index = first + lane; index < last; index += TEAM) {
      place at = place_of(of.inner, p[11], index);
      add_product(sum, l[at.left], r[at.right], failed);
    }
#if TEAM > 1
    for (u32 lanes = TEAM / 2; lanes > 0; lanes /= 2) add_sum(sum, from_behind(sum, lanes), failed);
#endif
    if (lane == 0) {
      if (p[6] == 1) finish(sum, before, out, batch.out + row.out, failed);
      else pieces[task] = sum;
    }
  }
  if (failed) atomicOr(status, FAILED);
}

extern "C" __global__ void together(const u64 *p, const sum_type *pieces, const number *before, number *out, u32 *status) {
  groups of = groups_of(p);
  bool failed = false;
  u64 all = gridDim.x * (u64)blockDim.x;
  for (u64 output = blockIdx.x * (u64)blockDim.x + threadIdx.x; output < p[0] * p[1]; output += all) {
    sum_type sum = 0;
    for (u64 piece = 0; piece < p[6]; ++piece) add_sum(sum, pieces[output * p[6] + piece], failed);
    place batch = place_of(of.batch, p[8], output / p[1]), row = place_of(of.rows, p[9], output % p[1]);
    finish(sum, before, out, batch.out + row.out, failed);
  }
  if (failed) atomicOr(status, FAILED);
}

// Rows and columns: a block of 256 threads makes a tile, of which each thread has every 16th row and column.
#define SIDE 16
#define OWN (TILE / SIDE)
extern "C" __global__ void tiles(const u64 *p, const number *left, const number *right, const number *before, number *out, u32 *status) {
  __shared__ number lefts[DEPTH][TILE + 1], rights[DEPTH][TILE + 1];
  __shared__ i64 row_left[TILE], row_out[TILE], column_right[TILE], column_out[TILE], inner_left[DEPTH], inner_right[DEPTH];
  groups of = groups_of(p);
  u64 rows = p[1], columns = p[2], inner = p[3];
  u64 down = (rows + TILE - 1) / TILE, across = (columns + TILE - 1) / TILE;
  u32 x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
  bool failed = false;
  for (u64 tile = blockIdx.x; tile < p[0] * down * across; tile += gridDim.x) {
    u64 first_column = tile % across * TILE, first_row = tile / across % down * TILE;
    place batch = place_of(of.batch, p[8], tile / across / down);
    const number *l = left + ((i64)p[4] + batch.left), *r = right + ((i64)p[5] + batch.right);
    __syncthreads();
    for (u32 at = threadIdx.x; at < TILE; at += blockDim.x) {
      place row = place_of(of.rows, p[9], first_row + at < rows ? first_row + at : 0);
      place column = place_of(of.columns, p[10], first_column + at < columns ? first_column + at : 0);
      row_left[at] = row.left;
      row_out[at] = row.out;
      column_right[at] = column.right;
      column_out[at] = column.out;
    }
    sum_type sums[OWN][OWN];
    for (u32 a = 0; a < OWN; ++a) {
      for (u32 b = 0; b < OWN; ++b) sums[a][b] = NOTHING(inner);
    }
    for (u64 first = 0; first < inner; first += DEPTH) {
      __syncthreads();
      if (threadIdx.x < DEPTH) {
        place at = place_of(of.inner, p[11], first + threadIdx.x < inner ? first + threadIdx.x : 0);
        inner_left[threadIdx.x] = at.left;
        inner_right[threadIdx.x] = at.right;
      }
      __syncthreads();
      for (u32 at = threadIdx.x; at < TILE * DEPTH; at += blockDim.x) {
        // Neighbouring threads read along the axis that lies nearer.
        u32 row = p[7] & 1 ? at / DEPTH : at % TILE, depth = p[7] & 1 ? at % DEPTH : at / TILE;
        bool there = first_row + row < rows && first + depth < inner;
        lefts[depth][row] = there ? l[row_left[row] + inner_left[depth]] : (number)0;
        u32 column = p[7] & 2 ? at / DEPTH : at % TILE;
        depth = p[7] & 2 ? at % DEPTH : at / TILE;
        there = first_column + column < columns && first + depth < inner;
        rights[depth][column] = there ? r[column_right[column] + inner_right[depth]] : (number)0;
      }
      __syncthreads();
      u32 deep = inner - first < DEPTH ? (u32)(inner - first) : DEPTH;
      for (u32 depth = 0; depth < deep; ++depth) {
        number mine[OWN];
        for (u32 b = 0; b < OWN; ++b) mine[b] = rights[depth][x + SIDE * b];
        for (u32 a = 0; a < OWN; ++a) {
          number other = lefts[depth][y + SIDE * a];
          for (u32 b = 0; b < OWN; ++b) add_product(sums[a][b], other, mine[b], failed);
        }
      }
    }
    for (u32 a = 0; a < OWN; ++a) {
      for (u32 b = 0; b < OWN; ++b) {
        u32 row = y + SIDE * a, column = x + SIDE * b;
        if (first_row + row >= rows || first_column + column >= columns) continue;
        finish(sums[a][b], before, out, batch.out + row_out[row] + column_out[column], failed);
      }
    }
  }
  if (failed) atomicOr(status, FAILED);
}
