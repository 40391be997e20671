// Runs a CUDA source on the CPU: the blocks one after the other, the threads of a block as fibers.
//
// A fiber runs until it comes to a barrier or a shuffle, and then waits for the others.  The order
// in which fibers and blocks get their turns is asked for: forward, reverse, or random from a seed.
// Code that is right gives the same numbers in each; a missing barrier does not.  What no order can
// make right is an error: threads of a block that wait at different barriers, or that left.
//
// Shared memory is full of NaN when a block begins, so that reading before writing shows.

#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <random>
#include <ucontext.h>
#include <utility>
#include <vector>

using std::exp, std::log, std::sqrt, std::fabs, std::fmax, std::fmin, std::isnan, std::isinf;

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __restrict__
#define __shared__ static __attribute__((section("block_memory")))
extern char __start_block_memory[] __attribute__((weak));
extern char __stop_block_memory[] __attribute__((weak));

static dim3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace fibers {

enum State { READY, AT_BARRIER, IN_WARP, DONE };

struct Fiber {
    jmp_buf here;        // where it goes on; jumps ask nothing of the system, as contexts do
    bool begun = false;
    State state = READY;
    int line = 0;        // of the barrier or shuffle it waits at
    unsigned mask = 0;   // the lanes it waits for
    unsigned shuffles = 0;
    uint64_t slot[2] = {0, 0};  // what it shows to its warp: this shuffle's, and the one's before
};

static const size_t STACK = 1 << 16;
static std::deque<Fiber> all;   // of this block, and those that a larger block had before
static std::vector<std::vector<char>> stacks;
static int count;               // threads of the block
static jmp_buf scheduler;
static int current;
static char message[256];
static void (*body)(void**);
static void** arguments;

static void wait(State state, int line, unsigned mask = 0) {
    Fiber& me = all[current];
    me.state = state;
    me.line = line;
    me.mask = mask;
    if (!_setjmp(me.here)) _longjmp(scheduler, 1);
}

// The life of a fiber: one thread of this block, then one of the next.
static void live() {
    for (;;) {
        body(arguments);
        wait(DONE, 0);
    }
}

static void go_on(int i) {
    current = i;
    if (_setjmp(scheduler)) return;
    if (all[i].begun) _longjmp(all[i].here, 1);
    all[i].begun = true;
    static ucontext_t context;  // gives it a stack of its own; needed this once
    getcontext(&context);
    context.uc_stack.ss_sp = stacks[i].data();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    setcontext(&context);
}

// The lanes of a warp that wait for each other go on, if all of them have come.
static bool release_warp(int warp) {
    bool any = false;
    for (int i = warp; i < warp + warpSize && i < count; i++) {
        if (all[i].state != IN_WARP) continue;
        const unsigned mask = all[i].mask;
        bool complete = true;
        for (int lane = 0; lane < warpSize && complete; lane++) {
            if (!(mask >> lane & 1)) continue;
            const int other = warp + lane;
            complete = other < count && all[other].state == IN_WARP &&
                       all[other].line == all[i].line && all[other].mask == mask;
        }
        if (!complete) continue;
        for (int lane = 0; lane < warpSize; lane++)
            if (mask >> lane & 1) all[warp + lane].state = READY;
        any = true;
    }
    return any;
}

// All threads of the block go on, if they wait at one barrier.  False if that will never be.
static bool release_block() {
    int line = 0;
    for (int i = 0; i < count; i++) {
        const Fiber& fiber = all[i];
        if (fiber.state == IN_WARP) {
            snprintf(message, sizeof message,
                     "thread %d waits at a shuffle in line %d for lanes of its warp that do not "
                     "come there", i, fiber.line);
            return false;
        }
        if (fiber.state == AT_BARRIER && line == 0) line = fiber.line;
    }
    for (int i = 0; i < count; i++) {
        if (all[i].state == AT_BARRIER && all[i].line == line) continue;
        snprintf(message, sizeof message, "threads wait at the barrier in line %d, and thread %d %s %d",
                 line, i, all[i].state == DONE ? "has left; block of" : "waits in line",
                 all[i].state == DONE ? count : all[i].line);
        return false;
    }
    for (int i = 0; i < count; i++) all[i].state = READY;
    return true;
}

static void put_in_order(std::vector<long long>& turns, int order, std::mt19937& random) {
    for (size_t i = 0; i < turns.size(); i++)
        turns[i] = order == 1 ? (long long)(turns.size() - 1 - i) : (long long)i;
    if (order == 2)
        for (size_t i = turns.size(); i > 1; i--) std::swap(turns[i - 1], turns[random() % i]);
}

static bool run_block(int order, std::mt19937& random) {
    count = (int)(blockDim.x * blockDim.y * blockDim.z);
    if (__start_block_memory)
        memset(__start_block_memory, 0xff, __stop_block_memory - __start_block_memory);
    while ((int)all.size() < count) {
        all.emplace_back();
        stacks.emplace_back(STACK);
    }
    for (int i = 0; i < count; i++) {
        all[i].state = READY;
        all[i].shuffles = 0;
    }
    // A warp goes on by itself for as long as it can, before the next has its turn: a thread that
    // writes what others have not read yet is then found out.
    std::vector<long long> warps((count + warpSize - 1) / warpSize);
    for (int done = 0; done < count;) {
        put_in_order(warps, order, random);
        bool moved = false;
        for (long long warp : warps) {
            const int first = (int)warp * warpSize;
            do {
                std::vector<long long> lanes(count - first < warpSize ? count - first : warpSize);
                put_in_order(lanes, order, random);
                for (long long lane : lanes) {
                    const int i = first + (int)lane;
                    if (all[i].state != READY) continue;
                    threadIdx.x = i % blockDim.x;
                    threadIdx.y = i / blockDim.x % blockDim.y;
                    threadIdx.z = i / blockDim.x / blockDim.y;
                    go_on(i);
                    moved = true;
                    done += all[i].state == DONE;
                }
            } while (release_warp(first));
        }
        if (!moved && !release_block()) {
            all.clear();  // they are left where they wait
            stacks.clear();
            return false;
        }
    }
    return true;
}

static const char* run(void (*kernel)(void**), void** args, const unsigned* grid,
                       const unsigned* block, int order, unsigned seed) {
    std::mt19937 random(seed);
    body = kernel;
    arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    message[0] = 0;
    std::vector<long long> turns((long long)grid[0] * grid[1] * grid[2]);
    put_in_order(turns, order, random);
    for (long long i : turns) {
        blockIdx.x = i % gridDim.x;
        blockIdx.y = i / gridDim.x % gridDim.y;
        blockIdx.z = i / gridDim.x / gridDim.y;
        if (!run_block(order, random)) return message;
    }
    return nullptr;
}

template <class... A, size_t... i>
void call(void (*kernel)(A...), void** args, std::index_sequence<i...>) {
    kernel(*(typename std::remove_reference<A>::type*)args[i]...);
}

template <class... A>
void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>());
}

// The sizes of the arguments, ended by 0: a mistaken type would be read wrongly in silence.
template <class... A>
const int* sizes(void (*)(A...)) {
    static const int found[] = {(int)sizeof(A)..., 0};
    return found;
}

template <class T>
T shuffle(unsigned mask, T value, int from, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
    Fiber& me = all[current];
    const unsigned turn = me.shuffles++ & 1;
    memcpy(&me.slot[turn], &value, sizeof(T));
    const int warp = current / warpSize * warpSize;
    wait(IN_WARP, line, mask);
    T result = value;  // CUDA: a lane that is not there gives back one's own value
    if (from >= 0 && from < warpSize && warp + from < count)
        memcpy(&result, &all[warp + from].slot[turn], sizeof(T));
    return result;
}

}  // namespace fibers

#define LANE ((int)(fibers::current % warpSize))
#define __syncthreads() fibers::wait(fibers::AT_BARRIER, __LINE__)
#define __syncwarp() fibers::wait(fibers::IN_WARP, __LINE__, 0xffffffffu)
#define __shfl_sync(mask, value, lane) fibers::shuffle(mask, value, lane, __LINE__)
#define __shfl_down_sync(mask, value, by) fibers::shuffle(mask, value, LANE + (int)(by), __LINE__)
#define __shfl_up_sync(mask, value, by) fibers::shuffle(mask, value, LANE - (int)(by), __LINE__)
#define __shfl_xor_sync(mask, value, by) fibers::shuffle(mask, value, LANE ^ (int)(by), __LINE__)
#define __ldg(place) (*(place))
#define __umul64hi(a, b) ((unsigned long long)((unsigned __int128)(a) * (b) >> 64))
#define __umulhi(a, b) ((unsigned)((unsigned long long)(a) * (b) >> 32))

template <class T>
static T atomicAdd(T* place, T value) {
    const T before = *place;
    *place += value;
    return before;
}

#define RUN_ON_THE_CPU(kernel)                                                                  \
    extern "C" const char* run_##kernel(void** args, const unsigned* grid, const unsigned* block, \
                                        int order, unsigned seed) {                              \
        return fibers::run([](void** a) { fibers::call(kernel, a); }, args, grid, block, order, seed); \
    }                                                                                            \
    extern "C" const int* sizes_##kernel() { return fibers::sizes(kernel); }
