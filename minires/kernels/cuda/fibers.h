// Runs a CUDA source on the CPU: the blocks one after the other, the threads of a block as fibers.
//
// A fiber runs until it comes to a barrier or a shuffle, and then waits for the others.  The order
// in which fibers and blocks get their turns is asked for: forward, reverse, or random from a seed.
// Code that is right gives the same numbers in each.  What no order can make right is an error:
// threads of a block that wait at different barriers, or that left.  So is what a GPU may do in an
// order that fibers cannot show, such as two threads that add to one number at once: watch.h looks
// at every access to memory.
//
// Shared memory is full of NaN when a block begins, and a shuffle gives NaN for a lane that takes
// no part in it.

#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>

#include "watch.h"

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

WATCHERS_OWN static dim3 threadIdx = {}, blockIdx = {}, blockDim = {}, gridDim = {};
static const int warpSize = 32;

namespace fibers {

enum State { READY, AT_BARRIER, IN_WARP, DONE };

struct Fiber {
    jmp_buf here;  // where it goes on; jumps ask nothing of the system, as contexts do
    bool begun = false;
    State state = READY;
    int line = 0;             // of the barrier or shuffle it waits at
    bool is_barrier = false;  // of the warp, and no shuffle
    unsigned mask = 0;        // the lanes it waits for
    unsigned present = 0;     // those of them that came
    unsigned shuffles = 0;
    uint64_t slot[2] = {0, 0};  // what it shows to its warp: this shuffle's, and the one's before
};

static const size_t STACK = 1 << 16;
static Fiber all[1024];
static int count;          // threads of the block
static unsigned barriers;  // that the block has passed
static unsigned warp_barriers[32];
static jmp_buf scheduler;
WATCHERS_OWN static int current = 0;
static char* const message = watch::message;
static void (*body)(void**);
static void** arguments;

UNWATCHED static void wait(State state, int line, unsigned mask = 0) {
    watch::on = false;
    Fiber& me = all[current];
    me.state = state;
    me.line = line;
    me.mask = mask;
    if (!_setjmp(me.here)) _longjmp(scheduler, 1);
    watch::on = true;
}

static void stop() { _longjmp(scheduler, 1); }

// The life of a fiber: one thread of this block, then one of the next.
UNWATCHED static void live() {
    watch::on = true;
    for (;;) {
        body(arguments);
        wait(DONE, 0);
    }
}

UNWATCHED static void go_on(int i) {
    current = i;
    watch::now = {watch::now.block, i, barriers, warp_barriers[i / warpSize], nullptr};
    if (_setjmp(scheduler)) return;
    if (all[i].begun) _longjmp(all[i].here, 1);
    all[i].begun = true;
    static ucontext_t context;  // gives it a stack of its own; needed this once
    getcontext(&context);
    context.uc_stack.ss_sp = (char*)watch::stacks.begin + i * STACK;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    setcontext(&context);
}

// The lanes of a warp that wait for each other go on, if all of them have come.
UNWATCHED static bool release_warp(int warp) {
    bool any = false;
    for (int i = warp; i < warp + warpSize && i < count; i++) {
        if (all[i].state != IN_WARP) continue;
        const unsigned mask = all[i].mask;
        unsigned present = 0;
        bool complete = true;
        for (int lane = 0; lane < warpSize && complete; lane++) {
            if (!(mask >> lane & 1)) continue;
            const int other = warp + lane;
            if (other >= count || all[other].state == DONE) continue;  // nobody waits for those
            complete = all[other].state == IN_WARP && all[other].line == all[i].line &&
                       all[other].mask == mask;
            present |= 1u << lane;
        }
        if (!complete || !(present >> (i - warp) & 1)) continue;
        for (int lane = 0; lane < warpSize; lane++) {
            if (!(present >> lane & 1)) continue;
            all[warp + lane].state = READY;
            all[warp + lane].present = present;
        }
        warp_barriers[warp / warpSize] += all[i].is_barrier;
        any = true;
    }
    return any;
}

// All threads of the block go on, if they wait at one barrier.  False if that will never be.
UNWATCHED static bool release_block() {
    int line = 0;
    for (int i = 0; i < count; i++) {
        const Fiber& fiber = all[i];
        if (fiber.state == IN_WARP) {
            snprintf(message, sizeof watch::message,
                     "thread %d waits at a shuffle in line %d for lanes of its warp that do not "
                     "come there", i, fiber.line);
            return false;
        }
        if (fiber.state == AT_BARRIER && line == 0) line = fiber.line;
    }
    for (int i = 0; i < count; i++) {
        if (all[i].state == AT_BARRIER && all[i].line == line) continue;
        snprintf(message, sizeof watch::message, "threads wait at the barrier in line %d, and thread %d %s %d",
                 line, i, all[i].state == DONE ? "has left; block of" : "waits in line",
                 all[i].state == DONE ? count : all[i].line);
        return false;
    }
    for (int i = 0; i < count; i++) all[i].state = READY;
    barriers++;
    return true;
}

struct Random {  // splitmix64, of Steele, Lea and Flood 2014
    uint64_t state;

    UNWATCHED uint64_t operator()() {
        uint64_t z = state += 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        return z ^ z >> 31;
    }
};

UNWATCHED static void put_in_order(int* turns, int count, int order, Random& random) {
    for (int i = 0; i < count; i++) turns[i] = order == 1 ? count - 1 - i : i;
    if (order == 2)
        for (int i = count; i > 1; i--) {
            const int other = (int)(random() % (unsigned)i), turn = turns[other];
            turns[other] = turns[i - 1];
            turns[i - 1] = turn;
        }
}

UNWATCHED static bool run_block(int order, Random& random) {
    count = (int)(blockDim.x * blockDim.y * blockDim.z);
    if (__start_block_memory)
        memset(__start_block_memory, 0xff, __stop_block_memory - __start_block_memory);
    barriers = 0;
    memset(warp_barriers, 0, sizeof warp_barriers);
    for (int i = 0; i < count; i++) {
        all[i].state = READY;
        all[i].shuffles = 0;
    }
    // A warp goes on by itself for as long as it can, before the next has its turn: a thread that
    // writes what others have not read yet is then found out.
    const int warp_count = (count + warpSize - 1) / warpSize;
    int warps[32], lanes[32];
    for (int done = 0; done < count;) {
        put_in_order(warps, warp_count, order, random);
        bool moved = false;
        for (int turn = 0; turn < warp_count; turn++) {
            const int first = warps[turn] * warpSize;
            const int lane_count = count - first < warpSize ? count - first : warpSize;
            do {
                put_in_order(lanes, lane_count, order, random);
                for (int at = 0; at < lane_count; at++) {
                    const int i = first + lanes[at];
                    if (all[i].state != READY) continue;
                    threadIdx.x = i % blockDim.x;
                    threadIdx.y = i / blockDim.x % blockDim.y;
                    threadIdx.z = i / blockDim.x / blockDim.y;
                    go_on(i);
                    if (message[0]) return false;
                    moved = true;
                    done += all[i].state == DONE;
                }
            } while (release_warp(first));
        }
        if (!moved && !release_block()) return false;
    }
    return true;
}

UNWATCHED static const char* run(void (*kernel)(void**), void** args, const unsigned* grid,
                       const unsigned* block, int order, unsigned seed,
                       const watch::Range* arrays, int array_count) {
    if (!watch::stacks.begin) {
        void* found = mmap(nullptr, 1024 * STACK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (found == MAP_FAILED) return "there is no memory for the stacks";
        watch::stacks = {(uintptr_t)found, (uintptr_t)found + 1024 * STACK};
    }
    watch::begin_launch(arrays, array_count, stop);
    Random random = {seed};
    body = kernel;
    arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    const int block_count = (int)(grid[0] * grid[1] * grid[2]);
    int* turns = (int*)malloc(block_count * sizeof(int));
    put_in_order(turns, block_count, order, random);
    for (int turn = 0; turn < block_count && !message[0]; turn++) {
        const int i = turns[turn];
        blockIdx.x = i % gridDim.x;
        blockIdx.y = i / gridDim.x % gridDim.y;
        blockIdx.z = i / gridDim.x / gridDim.y;
        watch::now.block = i;
        if (!run_block(order, random))
            for (Fiber& fiber : all) fiber.begun = false;  // they are left where they wait
    }
    free(turns);
    return message[0] ? message : nullptr;
}

template <class... A, size_t... i>
UNWATCHED void call(void (*kernel)(A...), void** args, std::index_sequence<i...>) {
    kernel(*(typename std::remove_reference<A>::type*)args[i]...);
}

template <class... A>
UNWATCHED void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>());
}

// The sizes of the arguments, ended by 0: a mistaken type would be read wrongly in silence.
template <class... A>
const int* sizes(void (*)(A...)) {
    static const int found[] = {(int)sizeof(A)..., 0};
    return found;
}

UNWATCHED static void warp_barrier(unsigned mask, int line) {
    watch::on = false;
    all[current].is_barrier = true;
    wait(IN_WARP, line, mask);
}

template <class T>
UNWATCHED T shuffle(unsigned mask, T value, int from, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
    watch::on = false;
    Fiber& me = all[current];
    me.is_barrier = false;
    const unsigned turn = me.shuffles++ & 1;
    memcpy(&me.slot[turn], &value, sizeof(T));
    const int warp = current / warpSize * warpSize;
    wait(IN_WARP, line, mask);
    watch::on = false;
    T result = value;  // CUDA: beyond the warp, one's own value
    if (from >= 0 && from < warpSize) {
        if (me.present >> from & 1) memcpy(&result, &all[warp + from].slot[turn], sizeof(T));
        else memset(&result, 0xff, sizeof(T));
    }
    watch::on = true;
    return result;
}

}  // namespace fibers

#define LANE ((int)(fibers::current % warpSize))
#define __syncthreads() fibers::wait(fibers::AT_BARRIER, __LINE__)
#define __syncwarp() fibers::warp_barrier(0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, lane) fibers::shuffle(mask, value, lane, __LINE__)
#define __shfl_down_sync(mask, value, by) fibers::shuffle(mask, value, LANE + (int)(by), __LINE__)
#define __shfl_up_sync(mask, value, by) fibers::shuffle(mask, value, LANE - (int)(by), __LINE__)
#define __shfl_xor_sync(mask, value, by) fibers::shuffle(mask, value, LANE ^ (int)(by), __LINE__)
#define __ldg(place) (*(place))
#define __umul64hi(a, b) ((unsigned long long)((unsigned __int128)(a) * (b) >> 64))
#define __umulhi(a, b) ((unsigned)((unsigned long long)(a) * (b) >> 32))

template <class T>
UNWATCHED static T atomicAdd(T* place, T value) {
    const T before = *place;
    *place += value;
    return before;
}

#define RUN_ON_THE_CPU(kernel)                                                                  \
    extern "C" const char* run_##kernel(void** args, const unsigned* grid, const unsigned* block, \
                                        int order, unsigned seed, const watch::Range* arrays,    \
                                        int count) {                                              \
        return fibers::run([](void** a) { fibers::call(kernel, a); }, args, grid, block, order,   \
                           seed, arrays, count);                                                  \
    }                                                                                            \
    extern "C" const int* sizes_##kernel() { return fibers::sizes(kernel); }
