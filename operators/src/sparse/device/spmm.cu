// A sparse matrix times a dense one of `width` columns: a thread an element.
extern "C" __global__ void spmm(const u64 *starts, const u32 *indices, const number *values, i64 elements, i64 width,
                                const number *b, number *c) {
  for (u64 at = thread_id(); at < (u64)elements; at += all_threads()) {
    u64 row = at / (u64)width, column = at % (u64)width, stop = starts[row + 1];
    number all = 0;
    for (u64 entry = starts[row]; entry < stop;) {
      u64 end = end_of_piece(entry, row, stop);
      number sum = 0;
      for (; entry < end; ++entry) sum += values[entry] * b[indices[entry] * (u64)width + column];
      all += sum;
    }
    c[at] = all;
  }
}
