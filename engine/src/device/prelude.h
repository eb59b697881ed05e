// Types by their bits. `long long` has 64 of them everywhere.
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef __int128 i128;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned __int128 u128;
typedef float f32;
typedef double f64;

#ifndef BIREME_EMULATED
#define BIREME_DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

#define ALL_LANES 0xffffffffu
