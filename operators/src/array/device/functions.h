// What the host's loops over arrays compute, where C++ has no operator of that meaning.

__device__ __forceinline__ bool is_nan(f64 a) { return a != a; }
__device__ __forceinline__ bool is_infinite(f64 a) { return fabs(a) == __longlong_as_double(0x7ff0000000000000ll); }

// Casts as NumPy's and Rust's: floats to the nearest integer towards zero that there is, NaN to 0.
__device__ __forceinline__ i64 to_i64(f64 a) {
  if (a != a) return 0;
  if (a >= 9223372036854775808.0) return 0x7fffffffffffffffll;
  if (a <= -9223372036854775808.0) return -0x7fffffffffffffffll - 1;
  return (i64)a;
}
__device__ __forceinline__ i32 to_i32(f64 a) {
  if (a != a) return 0;
  if (a >= 2147483647.0) return 0x7fffffff;
  if (a <= -2147483648.0) return -0x7fffffff - 1;
  return (i32)a;
}

__device__ __forceinline__ f64 sign_of(f64 a) { return a > 0.0 ? 1.0 : a < 0.0 ? -1.0 : a != a ? a : 0.0; }

// As Python does it: the remainder has the divisor's sign, and a == a // b * b + a % b as far as floats can.
__device__ __forceinline__ f64 float_remainder(f64 a, f64 b) {
  f64 rest = fmod(a, b);
  if (rest == 0.0) return copysign(0.0, b);
  return (rest < 0.0) != (b < 0.0) ? rest + b : rest;
}
__device__ __forceinline__ f64 float_floor_divided(f64 a, f64 b) {
  if (b == 0.0) return a / b;
  f64 rest = fmod(a, b);
  f64 quotient = (a - rest) / b;
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) quotient -= 1.0;
  if (quotient == 0.0) return copysign(0.0, a / b);
  f64 down = floor(quotient);
  return quotient - down > 0.5 ? down + 1.0 : down;
}

// Integers wrap; by 0 everything is 0.
__device__ __forceinline__ i64 floor_divided(i64 a, i64 b) {
  if (b == 0) return 0;
  if (b == -1) return (i64)(0ull - (u64)a);
  i64 quotient = a / b, rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient;
}
__device__ __forceinline__ i64 remainder_of(i64 a, i64 b) {
  if (b == 0 || b == -1) return 0;
  i64 rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
__device__ __forceinline__ u64 power_of(u64 a, i64 b) {
  u64 power = 1;
  for (; b > 0; b /= 2) {
    if (b % 2 == 1) power *= a;
    a *= a;
  }
  return power;
}
__device__ __forceinline__ i64 integer_power(i64 a, i64 b) {
  if (a == -1) return b % 2 == 0 ? 1 : -1;
  if (b < 0) return a == 1;
  return (i64)power_of((u64)a, b);
}
