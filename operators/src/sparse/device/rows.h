// Rows of a sparse matrix. The host defines `number`, the type of elements, and STEPS, entries and rows of its tasks.

__device__ inline u64 thread_id() { return blockIdx.x * (u64)blockDim.x + threadIdx.x; }
__device__ inline u64 all_threads() { return gridDim.x * (u64)blockDim.x; }

// Where the piece ends that begins with an entry of a row which ends at `stop`.
__device__ inline u64 end_of_piece(u64 entry, u64 row, u64 stop) {
  u64 cut = ((entry + row) / STEPS + 1) * STEPS - row;
  return cut < stop ? cut : stop;
}
