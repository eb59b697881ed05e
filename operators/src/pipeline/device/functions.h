// What pipelines compute, where C++ has no operator of that meaning.

// Bytes somewhere on the device.
struct text {
  const u8 *at;
  u32 length;
};

// A text of a column: its place in the column's heap in the lower half, its length in the upper one.
__device__ __forceinline__ text text_of(const u8 *heap, u64 reference) { return text{heap + (u32)reference, (u32)(reference >> 32)}; }
__device__ __forceinline__ text text_at(u64 address, u64 length) { return text{(const u8 *)address, (u32)length}; }

__device__ __forceinline__ bool bit_of(const u32 *bits, u64 row) { return bits[row >> 5] >> (row & 31) & 1; }

__device__ __forceinline__ bool equal(text a, text b) {
  if (a.length != b.length) return false;
  for (u32 at = 0; at < a.length; ++at) {
    if (a.at[at] != b.at[at]) return false;
  }
  return true;
}
__device__ __forceinline__ i32 compare(text a, text b) {
  u32 shorter = a.length < b.length ? a.length : b.length;
  for (u32 at = 0; at < shorter; ++at) {
    if (a.at[at] != b.at[at]) return a.at[at] < b.at[at] ? -1 : 1;
  }
  return a.length == b.length ? 0 : a.length < b.length ? -1 : 1;
}

// Floats in total order: -NaN < -inf < ... < -0.0 < 0.0 < ... < NaN; and back.
__device__ __forceinline__ i64 ordered(f64 a) {
  i64 bits = __double_as_longlong(a);
  return bits ^ (i64)((u64)(bits >> 63) >> 1);
}
__device__ __forceinline__ i32 ordered(f32 a) {
  i32 bits = __float_as_int(a);
  return bits ^ (i32)((u32)(bits >> 31) >> 1);
}

// Keys: -0.0 is 0.0, and all NaNs are one.
__device__ __forceinline__ i64 key_of(f64 a) {
  return a != a ? 0x7ff8000000000000ll : __double_as_longlong(a + 0.0);
}
__device__ __forceinline__ i64 key_of(f32 a) { return a != a ? 0x7fc00000 : (i64)(u32)__float_as_int(a + 0.0f); }

// Bytes that begin a character of UTF-8.
__device__ __forceinline__ u32 characters_of(text a) {
  u32 characters = 0;
  for (u32 at = 0; at < a.length; ++at) characters += (a.at[at] & 0xc0) != 0x80;
  return characters;
}

// The finalizer of MurmurHash3.
__device__ __forceinline__ u64 mixed(u64 word) {
  word ^= word >> 33;
  word *= 0xff51afd7ed558ccdull;
  word ^= word >> 33;
  word *= 0xc4ceb9fe1a85ec53ull;
  return word ^ word >> 33;
}
__device__ __forceinline__ u64 hashed(u64 hash, i64 key) { return mixed(hash * 31 + (u64)key); }
__device__ __forceinline__ u64 hashed(u64 hash, i128 key) { return hashed(hashed(hash, (i64)key), (i64)(key >> 64)); }
__device__ __forceinline__ u64 hashed(u64 hash, text key) {
  u64 word = key.length;
  for (u32 at = 0; at < key.length; ++at) word = (word ^ key.at[at]) * 0x100000001b3ull;
  return hashed(hash, (i64)word);
}

// Integers; `failed` is set where the result is not that of mathematics.
__device__ __forceinline__ i64 sum_of(i64 a, i64 b, bool &failed) {
  i64 sum = (i64)((u64)a + (u64)b);
  failed = ((a ^ sum) & (b ^ sum)) < 0;
  return sum;
}
__device__ __forceinline__ i64 difference_of(i64 a, i64 b, bool &failed) {
  i64 difference = (i64)((u64)a - (u64)b);
  failed = ((a ^ b) & (a ^ difference)) < 0;
  return difference;
}
__device__ __forceinline__ i64 product_of(i64 a, i64 b, bool &failed) {
  i64 product = (i64)((u64)a * (u64)b);
  failed = __mul64hi(a, b) != product >> 63;
  return product;
}
__device__ __forceinline__ i128 sum_of(i128 a, i128 b, bool &failed) {
  i128 sum = (i128)((u128)a + (u128)b);
  failed = ((a ^ sum) & (b ^ sum)) < 0;
  return sum;
}
__device__ __forceinline__ i128 difference_of(i128 a, i128 b, bool &failed) {
  i128 difference = (i128)((u128)a - (u128)b);
  failed = ((a ^ b) & (a ^ difference)) < 0;
  return difference;
}
__device__ __forceinline__ u128 magnitude(i128 a) { return a < 0 ? (u128)0 - (u128)a : (u128)a; }
__device__ __forceinline__ i128 product_of(i128 a, i128 b, bool &failed) {
  u128 x = magnitude(a), y = magnitude(b);
  u64 xh = (u64)(x >> 64), xl = (u64)x, yh = (u64)(y >> 64), yl = (u64)y;
  // Of the upper halves one at most is not 0, and what it adds fits the upper half.
  u128 cross = (u128)xh * yl + (u128)xl * yh;
  u128 low = (u128)xl * yl;
  u128 product = low + (cross << 64);
  failed = (xh != 0 && yh != 0) || (u64)(cross >> 64) != 0 || product < low || product >> 127 != 0;
  return (i128)((a < 0) != (b < 0) ? (u128)0 - product : product);
}

__device__ __forceinline__ bool is_least(i64 a) { return (u64)a == 1ull << 63; }
__device__ __forceinline__ bool is_least(i128 a) { return (u128)a == (u128)1 << 127; }

// Towards zero; by zero it fails, and so does the least number by -1.
template <class T>
__device__ __forceinline__ T quotient_of(T a, T b, bool &failed) {
  failed = b == 0 || (b == -1 && is_least(a));
  return failed ? 0 : a / b;
}
template <class T>
__device__ __forceinline__ T remainder_of(T a, T b, bool &failed) {
  failed = b == 0 || (b == -1 && is_least(a));
  return failed ? 0 : a % b;
}

// Rounded, halves away from zero.
template <class T>
__device__ __forceinline__ T rounded_quotient(T a, T power) {
  T quotient = a / power, rest = a % power, half = power / 2;
  return quotient + (rest >= half && a >= 0) - (rest <= -half && a < 0);
}

// Among `count` words, which ascend as signed ones.
__device__ __forceinline__ bool contains(const u64 *list, u64 count, i64 value) {
  u64 low = 0, high = count;
  while (low < high) {
    u64 middle = (low + high) / 2;
    if ((i64)list[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low < count && (i64)list[low] == value;
}

// Among `count` texts, each a place in the parameter and a length.
__device__ __forceinline__ bool contains(const u64 *p, const u64 *list, u64 count, text value) {
  for (u64 at = 0; at < count; ++at) {
    if (equal(text_at((u64)(p + list[2 * at]), list[2 * at + 1]), value)) return true;
  }
  return false;
}

// Behind the character that begins here.
__device__ __forceinline__ u32 behind(text a, u32 at) {
  for (++at; at < a.length && (a.at[at] & 0xc0) == 0x80;) ++at;
  return at;
}

// LIKE. A pattern is of words: bytes, 256 for one character, 257 for any. What the last 257 has taken grows by a character until the rest
// fits: an earlier one need not change, for the leftmost place is right for each piece.
__device__ __forceinline__ bool like(text a, const u16 *pattern, u32 length) {
  u32 at = 0, word = 0, any = length, taken = 0;
  for (;;) {
    if (word < length && pattern[word] == 257) {
      any = word++;
      taken = at;
    } else if (at == a.length) {
      return word == length;
    } else if (word < length && (pattern[word] == 256 || pattern[word] == a.at[at])) {
      at = pattern[word] == 256 ? behind(a, at) : at + 1;
      ++word;
    } else if (any < length) {
      at = taken = behind(a, taken);
      word = any + 1;
    } else {
      return false;
    }
  }
}

// The same for a pattern in lower case; texts that are not of ASCII fail.
__device__ __forceinline__ bool like_any_case(text a, const u16 *pattern, u32 length, bool &failed) {
  u32 at = 0, word = 0, any = length, taken = 0;
  failed = false;
  for (u32 place = 0; place < a.length; ++place) failed |= a.at[place] >= 0x80;
  if (failed) return false;
  for (;;) {
    u32 byte = at < a.length ? a.at[at] : 0;
    if (byte >= 'A' && byte <= 'Z') byte += 'a' - 'A';
    if (word < length && pattern[word] == 257) {
      any = word++;
      taken = at;
    } else if (at == a.length) {
      return word == length;
    } else if (word < length && (pattern[word] == 256 || pattern[word] == byte)) {
      ++at;
      ++word;
    } else if (any < length) {
      at = ++taken;
      word = any + 1;
    } else {
      return false;
    }
  }
}

// Characters from..to, counted from 0.
__device__ __forceinline__ text part_of(text a, u64 from, u64 to) {
  u32 at = 0;
  u64 character = 0;
  while (at < a.length && character < from) at = behind(a, at), ++character;
  u32 start = at;
  while (at < a.length && character < to) at = behind(a, at), ++character;
  return text{a.at + start, at - start};
}

// Year (0), month (1) or day (2) of a day from 1970 (H. Hinnant, civil_from_days).
__device__ __forceinline__ i32 date_part(i64 days, i32 part, bool &failed) {
  failed = days < -90000000 || days > 90000000;
  const u32 eras = 700;
  u32 of_all = failed ? 0 : (u32)(days + 719468 + (i64)eras * 146097);
  u32 era = of_all / 146097, of_era = of_all % 146097;
  u32 year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  u32 of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  u32 month = (5 * of_year + 2) / 153;
  if (part == 2) return (i32)(of_year - (153 * month + 2) / 5 + 1);
  u32 late = month >= 10;
  if (part == 1) return (i32)(month + 3 - 12 * late);
  return (i32)(year_of_era + era * 400 + late) - (i32)(eras * 400);
}
__device__ __forceinline__ i64 floor_divided(i64 a, i64 b) { return a / b - (a % b < 0); }

// Adds what the threads of a block have counted; all of them come here.
__device__ __forceinline__ void count_up(u64 *total, u32 mine) {
  u64 sum = mine;
  for (i32 step = 16; step > 0; step /= 2) sum += __shfl_down_sync(ALL_LANES, sum, step);
  if ((threadIdx.x & 31) == 0 && sum != 0) atomicAdd(total, sum);
}

// Sums of 128 bits or of 192, in words: there is no wider atomic addition, so what runs over goes on to the next word.
__device__ __forceinline__ void add_wide(u64 *words, i128 value) {
  u64 low = (u64)value, high = (u64)((u128)value >> 64);
  u64 before = atomicAdd(words, low);
  high += before + low < before;
  if (high != 0) atomicAdd(words + 1, high);
}
__device__ __forceinline__ void add_wider(u64 *words, i128 value) {
  u64 low = (u64)value, middle = (u64)((u128)value >> 64), high = value < 0 ? ~0ull : 0;
  u64 before = atomicAdd(words, low);
  u64 carry = before + low < before;
  middle += carry;
  high += middle < carry;
  before = atomicAdd(words + 1, middle);
  high += before + middle < before;
  if (high != 0) atomicAdd(words + 2, high);
}

// The same for what each thread of a block has folded.
__device__ __forceinline__ void fold_count(u64 *word, u64 mine) {
  for (i32 step = 16; step > 0; step /= 2) mine += __shfl_down_sync(ALL_LANES, mine, step);
  if ((threadIdx.x & 31) == 0 && mine != 0) atomicAdd(word, mine);
}
__device__ __forceinline__ void fold_sum(u64 *words, i128 mine) {
  for (i32 step = 16; step > 0; step /= 2) {
    u64 low = __shfl_down_sync(ALL_LANES, (u64)mine, step);
    u64 high = __shfl_down_sync(ALL_LANES, (u64)((u128)mine >> 64), step);
    mine = (i128)((u128)mine + ((u128)high << 64 | low));
  }
  if ((threadIdx.x & 31) == 0 && mine != 0) add_wide(words, mine);
}
__device__ __forceinline__ void fold_float(f64 *word, f64 mine) {
  for (i32 step = 16; step > 0; step /= 2) mine += __shfl_down_sync(ALL_LANES, mine, step);
  if ((threadIdx.x & 31) == 0) atomicAdd(word, mine);
}
__device__ __forceinline__ void fold_most(u64 *word, u64 mine) {
  for (i32 step = 16; step > 0; step /= 2) mine = max(mine, __shfl_down_sync(ALL_LANES, mine, step));
  if ((threadIdx.x & 31) == 0 && mine != 0) atomicMax(word, mine);
}

const u32 NONE = 0xffffffffu;
const u32 FAILED = 1, FULL = 2;
