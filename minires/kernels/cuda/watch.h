// Looks on while a kernel runs: every read and write of its threads comes by here, since sources
// are compiled as for ThreadSanitizer, and call the functions at the end instead.  Wrong are
//
//   - two threads at one place, one of them writing, and no barrier between: __syncthreads() for
//     threads of a block, __syncwarp() or that for lanes of a warp, and nothing for two blocks;
//   - a place outside the arrays that the kernel was given, and one that is not a multiple of the
//     bytes read there, as a GPU needs it;
//   - a place of shared memory that is read before anybody of the block has written it;
//   - an index that an array of known size does not have, a whole number too large for its type,
//     and a division of whole numbers by 0: for these a compiler asks by itself.
//
// A shuffle is no barrier: CUDA promises that it moves registers, not that it orders memory.

#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

#define UNWATCHED __attribute__((no_sanitize("thread")))
#define WATCHERS_OWN __attribute__((section("watchers_own")))
extern char __start_block_memory[] __attribute__((weak, visibility("hidden")));
extern char __stop_block_memory[] __attribute__((weak, visibility("hidden")));
extern char __start_watchers_own[] __attribute__((visibility("hidden")));
extern char __stop_watchers_own[] __attribute__((visibility("hidden")));

namespace watch {

struct Range {
    uintptr_t begin, end;
};

struct Seen {  // the last of some kind at a place
    int block, thread;
    unsigned barriers, warp_barriers;  // that the thread has passed
    const void* code;                  // null: there was none
};

struct Cell {  // 4 bytes of memory
    uintptr_t place;
    unsigned launch;  // what is left of an earlier one counts as nothing
    Seen write, read, read_by_another;
};

static volatile bool on = false;  // volatile: optimisers do not know of the calls to come
static Seen now;  // who runs
static char message[400];
static void (*stop)();  // ends the kernel; there is a message then
static Range stacks;
static const Range* given;  // the arrays
static int given_count, given_last;
static Cell* cells = nullptr;
static size_t room = 0, used = 0;  // room is a power of two
static unsigned launch = 0;

UNWATCHED static void begin_launch(const Range* arrays, int count, void (*when_wrong)()) {
    given = arrays;
    given_count = count;
    given_last = 0;
    stop = when_wrong;
    launch++;
    used = 0;
    message[0] = 0;
}

UNWATCHED static Cell* find(Cell* table, size_t size, uintptr_t place) {
    size_t i = (place * 0x9E3779B97F4A7C15ull >> 20) & (size - 1);
    while (table[i].launch == launch && table[i].place != place) i = (i + 1) & (size - 1);
    return &table[i];
}

UNWATCHED static Cell& cell_of(uintptr_t place) {
    if (2 * used >= room) {
        const size_t more = room ? 4 * room : 1 << 12;
        Cell* table = (Cell*)calloc(more, sizeof(Cell));
        for (size_t i = 0; i < room; i++)
            if (cells[i].launch == launch) *find(table, more, cells[i].place) = cells[i];
        free(cells);
        cells = table;
        room = more;
    }
    Cell* cell = find(cells, room, place);
    if (cell->launch != launch) {
        memset(cell, 0, sizeof *cell);
        cell->launch = launch;
        cell->place = place;
        used++;
    }
    return *cell;
}

// Places of code are given as ones of the library; who shows the message knows their lines.
UNWATCHED static unsigned long offset(const void* code) {
    Dl_info info;
    return dladdr(code, &info) ? (char*)code - (char*)info.dli_fbase - 1 : 0;
}

UNWATCHED static void fail(const char* text, uintptr_t size) {
    on = false;
    snprintf(message, sizeof message, "block %d, thread %d: %s, %d bytes at <%lx>", now.block,
             now.thread, text, (int)size, offset(now.code));
    stop();
}

// One is a write, and nothing says which of the two comes first.
UNWATCHED static bool races(const Seen& before) {
    if (!before.code) return false;
    if (before.block != now.block) return true;
    if (before.thread == now.thread || before.barriers != now.barriers) return false;
    return before.thread / 32 != now.thread / 32 || before.warp_barriers == now.warp_barriers;
}

UNWATCHED static void refuse(const Seen& before, const char* kinds) {
    on = false;
    snprintf(message, sizeof message,
             "no barrier between block %d, thread %d at <%lx> and block %d, thread %d at <%lx>: "
             "they %s one place", before.block, before.thread, offset(before.code), now.block,
             now.thread, offset(now.code), kinds);
    stop();
}

UNWATCHED static void fail_at(const char* text, const void* code) {
    if (!on) return;
    on = false;
    snprintf(message, sizeof message, "block %d, thread %d: %s at <%lx>", now.block, now.thread,
             text, offset(code));
    stop();
}

UNWATCHED static bool in_shared(uintptr_t place) {
    return place >= (uintptr_t)__start_block_memory && place < (uintptr_t)__stop_block_memory;
}

UNWATCHED static bool in_arrays(uintptr_t begin, uintptr_t end) {
    for (int i = 0; i < given_count; i++) {
        const Range& range = given[given_last];
        if (begin >= range.begin && end <= range.end) return true;
        given_last = (given_last + 1) % given_count;
    }
    return false;
}

UNWATCHED static void look(void* address, uintptr_t size, bool writes, bool aligned,
                           const void* code) {
    const uintptr_t begin = (uintptr_t)address, end = begin + size;
    if (!on || (begin >= stacks.begin && begin < stacks.end)) return;
    if (begin >= (uintptr_t)__start_watchers_own && begin < (uintptr_t)__stop_watchers_own) return;
    now.code = code;
    const bool shared = in_shared(begin);
    if (aligned && begin % size) return fail("a misaligned access", size);
    if (!shared && !in_arrays(begin, end))
        return fail(writes ? "a write outside its arrays" : "a read outside its arrays", size);
    for (uintptr_t place = begin / 4; place <= (end - 1) / 4; place++) {
        Cell& cell = cell_of(place);
        if (shared && cell.write.block != now.block) cell.write.code = nullptr;
        if (shared && cell.read.block != now.block)
            cell.read.code = cell.read_by_another.code = nullptr;
        if (races(cell.write)) return refuse(cell.write, writes ? "both write" : "write and read");
        if (writes) {
            if (races(cell.read)) return refuse(cell.read, "read and write");
            if (races(cell.read_by_another)) return refuse(cell.read_by_another, "read and write");
            cell.write = now;
        } else {
            if (shared && !cell.write.code) return fail("a read of shared memory that nobody has written yet", size);
            if (cell.read.block != now.block || cell.read.thread != now.thread)
                cell.read_by_another = cell.read;
            cell.read = now;
        }
    }
}

}  // namespace watch

// What a compiler calls with -fsanitize=thread, GCC's and Clang's names.
#define HOOK(name, ...)                                                                     \
    extern "C" __attribute__((visibility("hidden"), no_sanitize("thread"), used)) void name( \
        __VA_ARGS__)
#define LOOK(size, writes, aligned) \
    { watch::look(p, size, writes, aligned, __builtin_return_address(0)); }
#define HOOKS(size)                                                    \
    HOOK(__tsan_read##size, void* p) LOOK(size, false, true)           \
    HOOK(__tsan_write##size, void* p) LOOK(size, true, true)           \
    HOOK(__tsan_volatile_read##size, void* p) LOOK(size, false, true)  \
    HOOK(__tsan_volatile_write##size, void* p) LOOK(size, true, true)  \
    HOOK(__tsan_unaligned_read##size, void* p) LOOK(size, false, false) \
    HOOK(__tsan_unaligned_write##size, void* p) LOOK(size, true, false)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
HOOK(__tsan_read_range, void* p, unsigned long size) LOOK(size, false, false)
HOOK(__tsan_write_range, void* p, unsigned long size) LOOK(size, true, false)
HOOK(__tsan_init, void) {}
#define WRONG(name, text)                                                          \
    HOOK(__ubsan_handle_##name, void*, void*, void*) {                              \
        watch::fail_at(text, __builtin_return_address(0));                         \
    }
WRONG(out_of_bounds, "an index beyond its array")
WRONG(add_overflow, "a sum that its type cannot hold")
WRONG(sub_overflow, "a difference that its type cannot hold")
WRONG(mul_overflow, "a product that its type cannot hold")
WRONG(negate_overflow, "a number whose negative its type cannot hold")
WRONG(divrem_overflow, "a division by 0, or one that its type cannot hold")
HOOK(__tsan_func_entry, void*) {}
HOOK(__tsan_func_exit, void*) {}
extern "C" UNWATCHED __attribute__((visibility("hidden"), used)) void* __tsan_memcpy(
    void* to, const void* from, unsigned long size) {
    watch::look((void*)from, size, false, false, __builtin_return_address(0));
    watch::look(to, size, true, false, __builtin_return_address(0));
    return memcpy(to, from, size);
}
