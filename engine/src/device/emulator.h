// Runs the kernels of CUDA C++ on the host, for tests: they are compiled behind this file.
//
// The threads of a block are fibers of one thread of the host. A fiber runs until it ends or waits: for its block
// (__syncthreads), or for lanes of its warp (__shfl_sync and its kin, which put a value into their lane's slot and read those of
// all others once every lane of the mask has). Blocks run one after the other, in an order, and fibers in a turn, that nobody may
// count on. What would hang or be undefined on a device is an error here: a barrier that not all threads of a block reach, lanes
// of a mask that never come.

// The headers of C alone: those of C++ take longer to compile than a kernel.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

extern "C" {
double fabs(double), sqrt(double), cbrt(double), exp(double), exp2(double), expm1(double), log(double), log2(double), log10(double),
    log1p(double), sin(double), cos(double), tan(double), asin(double), acos(double), atan(double), sinh(double), cosh(double),
    tanh(double), asinh(double), acosh(double), atanh(double), floor(double), ceil(double), trunc(double), rint(double);
double fmod(double, double), pow(double, double), atan2(double, double), hypot(double, double), copysign(double, double);
float sqrtf(float);
}

namespace bireme_emulator {

template <size_t... Index>
struct Places {};
template <size_t Count, size_t... Index>
struct PlacesOf : PlacesOf<Count - 1, Count - 1, Index...> {};
template <size_t... Index>
struct PlacesOf<0, Index...> {
  typedef Places<Index...> All;
};

constexpr unsigned WARP = 32;
constexpr unsigned MOST_THREADS = 1024;
constexpr size_t STACK = 64 << 10;
constexpr size_t MOST_SHARED = 227 << 10;

struct Place {
  unsigned x, y, z;
};

enum class State { Ready, Block, Lanes, Done };

struct Fiber {
  ucontext_t context;
  Place thread;
  unsigned lane, warp;
  State state;
  // Of a wait for lanes: who is waited for, what this lane says, and what all have said.
  unsigned mask;
  uint64_t said;
  uint64_t heard[WARP];
};

struct Machine {
  ucontext_t scheduler;
  Fiber fibers[MOST_THREADS];
  char *stacks;
  Fiber *now;
  Place block, threads, blocks;
  unsigned count;
  void (*body)(void *);
  void *closure;
  alignas(128) char shared[MOST_SHARED];
};

inline Machine *&machine() {
  static thread_local Machine *one = nullptr;
  return one;
}

inline void entry() {
  Machine &here = *machine();
  here.body(here.closure);
  here.now->state = State::Done;
  swapcontext(&here.now->context, &here.scheduler);
}

inline void wait(State state) {
  Machine &here = *machine();
  Fiber *self = here.now;
  self->state = state;
  swapcontext(&self->context, &here.scheduler);
}

// Lets fibers go on that have what they waited for; says whether there were any.
inline bool release(Machine &here) {
  bool any = false, all = true, some = false;
  for (unsigned at = 0; at < here.count; ++at) {
    all &= here.fibers[at].state == State::Block;
    some |= here.fibers[at].state == State::Block;
  }
  for (unsigned at = 0; all && at < here.count; ++at) {
    here.fibers[at].state = State::Ready;
    any = true;
  }
  for (unsigned first = 0; first < here.count; first += WARP) {
    Fiber *lanes = here.fibers + first;
    unsigned width = here.count - first < WARP ? here.count - first : WARP;
    for (unsigned lane = 0; lane < width; ++lane) {
      if (lanes[lane].state != State::Lanes) continue;
      unsigned mask = lanes[lane].mask;
      bool there = (mask >> lane) & 1;
      for (unsigned other = 0; other < WARP; ++other) {
        if ((mask >> other) & 1)
          there &= other < width && lanes[other].state == State::Lanes && lanes[other].mask == mask;
      }
      if (!there) continue;
      for (unsigned reader = 0; reader < width; ++reader) {
        if (!((mask >> reader) & 1)) continue;
        for (unsigned other = 0; other < width; ++other) lanes[reader].heard[other] = lanes[other].said;
        lanes[reader].state = State::Ready;
      }
      any = true;
    }
  }
  return any;
}

// Runs the threads of a block; a sentence if they cannot end.
inline const char *run_block(Machine &here, unsigned turn) {
  for (unsigned at = 0; at < here.count; ++at) {
    Fiber &fiber = here.fibers[at];
    fiber.thread = {at % here.threads.x, at / here.threads.x % here.threads.y, at / here.threads.x / here.threads.y};
    fiber.lane = at % WARP;
    fiber.warp = at / WARP;
    fiber.state = State::Ready;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = here.stacks + at * STACK;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
  }
  for (;;) {
    bool left = false;
    for (unsigned step = 0; step < here.count; ++step) {
      Fiber &fiber = here.fibers[turn % 2 ? here.count - 1 - step : step];
      if (fiber.state == State::Ready) {
        here.now = &fiber;
        swapcontext(&here.scheduler, &fiber.context);
      }
      left |= fiber.state != State::Done;
    }
    if (!left) return nullptr;
    if (!release(here)) {
      for (unsigned at = 0; at < here.count; ++at) {
        if (here.fibers[at].state == State::Lanes) return "lanes wait for lanes of their mask that never come";
      }
      return "a barrier is not reached by all threads of its block";
    }
    ++turn;
  }
}

// A thread of the host has one machine as long as it lives.
struct Kept {
  Machine *machine = nullptr;
  ~Kept() {
    if (!machine) return;
    munmap(machine->stacks, STACK * MOST_THREADS);
    free(machine);
  }
};

inline Machine *machine_of_this_thread() {
  static thread_local Kept kept;
  if (kept.machine) return kept.machine;
  auto *fresh = static_cast<Machine *>(aligned_alloc(128, (sizeof(Machine) + 127) / 128 * 128));
  if (!fresh) return nullptr;
  memset(static_cast<void *>(fresh), 0, sizeof(Machine));
  void *stacks = mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) {
    free(fresh);
    return nullptr;
  }
  fresh->stacks = static_cast<char *>(stacks);
  return kept.machine = fresh;
}

// Calls a kernel with arguments as the driver takes them: the address of each.
template <class... Arguments, size_t... Index>
void call(void (*kernel)(Arguments...), void **arguments, Places<Index...>) {
  kernel(*static_cast<Arguments *>(arguments[Index])...);
}

template <class... Arguments>
const char *launch(void (*kernel)(Arguments...), const unsigned *blocks, const unsigned *threads, size_t shared,
                   void **arguments) {
  Machine *kept = machine_of_this_thread();
  if (!kept) return "no memory for the emulator's stacks";
  Machine &here = *kept;
  machine() = kept;
  here.blocks = {blocks[0], blocks[1], blocks[2]};
  here.threads = {threads[0], threads[1], threads[2]};
  uint64_t count = uint64_t(threads[0]) * threads[1] * threads[2];
  if (count == 0 || count > MOST_THREADS) return "a block has 1 to 1024 threads";
  if (shared > MOST_SHARED) return "a block has at most 227 KiB of shared memory";
  here.count = unsigned(count);
  struct Closure {
    void (*kernel)(Arguments...);
    void **arguments;
  } closure{kernel, arguments};
  here.closure = &closure;
  here.body = [](void *of) {
    auto *closure = static_cast<Closure *>(of);
    call(closure->kernel, closure->arguments, typename PlacesOf<sizeof...(Arguments)>::All{});
  };
  uint64_t all = uint64_t(blocks[0]) * blocks[1] * blocks[2];
  for (uint64_t step = 0; step < all; ++step) {
    // Neighbours do not follow each other: odd ones run from the end.
    uint64_t at = step % 2 ? all - 1 - step / 2 : step / 2;
    here.block = {unsigned(at % blocks[0]), unsigned(at / blocks[0] % blocks[1]), unsigned(at / blocks[0] / blocks[1])};
    // What a block finds in its shared memory is not what it hopes for.
    memset(here.shared, 0xA5, shared);
    if (const char *story = run_block(here, unsigned(step))) return story;
  }
  return nullptr;
}

template <class T>
uint64_t bits(T value) {
  static_assert(sizeof(T) <= 8, "lanes exchange up to eight bytes");
  uint64_t word = 0;
  memcpy(&word, &value, sizeof(T));
  return word;
}

template <class T>
T of_bits(uint64_t word) {
  T value;
  memcpy(&value, &word, sizeof(T));
  return value;
}

// Waits for the lanes of a mask; what each of them said is in `heard`.
inline Fiber &together(unsigned mask, uint64_t said) {
  Fiber &self = *machine()->now;
  self.mask = mask;
  self.said = said;
  wait(State::Lanes);
  return self;
}

template <class T, class Change>
T exchange(T *place, Change change) {
  uint64_t before, after;
  if constexpr (sizeof(T) == 4) {
    auto *word = reinterpret_cast<uint32_t *>(place);
    uint32_t seen = __atomic_load_n(word, __ATOMIC_RELAXED), next;
    do next = uint32_t(bits(change(of_bits<T>(seen))));
    while (!__atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    before = seen;
  } else {
    auto *word = reinterpret_cast<uint64_t *>(place);
    before = __atomic_load_n(word, __ATOMIC_RELAXED);
    do after = bits(change(of_bits<T>(before)));
    while (!__atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  }
  return of_bits<T>(before);
}

}  // namespace bireme_emulator

#define BIREME_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __restrict__ __restrict
// All threads of a block are fibers of one thread of the host.
#define __shared__ static thread_local
#define BIREME_DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(bireme_emulator::machine()->shared)

#define threadIdx (bireme_emulator::machine()->now->thread)
#define blockIdx (bireme_emulator::machine()->block)
#define blockDim (bireme_emulator::machine()->threads)
#define gridDim (bireme_emulator::machine()->blocks)
static const int warpSize = 32;

inline void __syncthreads() { bireme_emulator::wait(bireme_emulator::State::Block); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { bireme_emulator::together(mask, 0); }
inline unsigned __activemask() {
  auto &here = *bireme_emulator::machine();
  unsigned first = here.now->warp * 32, mask = 0;
  for (unsigned lane = 0; lane < 32 && first + lane < here.count; ++lane) {
    if (here.fibers[first + lane].state != bireme_emulator::State::Done) mask |= 1u << lane;
  }
  return mask;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  auto &self = bireme_emulator::together(mask, bireme_emulator::bits(value));
  unsigned base = self.lane / width * width;
  return bireme_emulator::of_bits<T>(self.heard[base + unsigned(from) % width]);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  auto &self = bireme_emulator::together(mask, bireme_emulator::bits(value));
  return self.lane % width >= delta ? bireme_emulator::of_bits<T>(self.heard[self.lane - delta]) : value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  auto &self = bireme_emulator::together(mask, bireme_emulator::bits(value));
  return self.lane % width + delta < unsigned(width) ? bireme_emulator::of_bits<T>(self.heard[self.lane + delta]) : value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  auto &self = bireme_emulator::together(mask, bireme_emulator::bits(value));
  unsigned other = self.lane ^ unsigned(lanes);
  return other / width <= self.lane / width ? bireme_emulator::of_bits<T>(self.heard[other]) : value;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  auto &self = bireme_emulator::together(mask, predicate != 0);
  unsigned word = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) && self.heard[lane]) word |= 1u << lane;
  }
  return word;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  uint64_t said = bireme_emulator::bits(value);
  auto &self = bireme_emulator::together(mask, said);
  unsigned word = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) && self.heard[lane] == said) word |= 1u << lane;
  }
  return word;
}

template <class T>
T atomicAdd(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T old) { return T(old + value); });
}
template <class T>
T atomicMin(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicMax(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicExch(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T) { return value; });
}
template <class T>
T atomicOr(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T old) { return T(old | value); });
}
template <class T>
T atomicAnd(T *place, T value) {
  return bireme_emulator::exchange(place, [=](T old) { return T(old & value); });
}
template <class T>
T atomicCAS(T *place, T expected, T value) {
  return bireme_emulator::exchange(place, [=](T old) {
    return bireme_emulator::bits(old) == bireme_emulator::bits(expected) ? value : old;
  });
}

template <class T>
T __ldg(const T *place) {
  return *place;
}
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline int __popcll(unsigned long long word) { return __builtin_popcountll(word); }
inline int __ffs(int word) { return __builtin_ffs(word); }
inline int __ffsll(long long word) { return __builtin_ffsll(word); }
inline int __clz(int word) { return word ? __builtin_clz(unsigned(word)) : 32; }
inline int __clzll(long long word) { return word ? __builtin_clzll((unsigned long long)word) : 64; }
inline long long __double_as_longlong(double value) { return bireme_emulator::of_bits<long long>(bireme_emulator::bits(value)); }
inline double __longlong_as_double(long long word) { return bireme_emulator::of_bits<double>(bireme_emulator::bits(word)); }
inline int __float_as_int(float value) { return bireme_emulator::of_bits<int>(bireme_emulator::bits(value)); }
inline float __int_as_float(int word) { return bireme_emulator::of_bits<float>(bireme_emulator::bits(word)); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

// How the host calls a kernel: null if it ended, else why it did not.
#define BIREME_KERNEL(name)                                                                                              \
  extern "C" const char *bireme_launch_##name(const unsigned *blocks, const unsigned *threads, size_t shared,           \
                                               void **arguments) {                                                      \
    return bireme_emulator::launch(name, blocks, threads, shared, arguments);                                            \
  }
