// What stands before every source of this folder; the launcher puts it there.
//
// A source is compiled once with REAL as float and once with REAL as double.  Sizes and places are
// 64 bits wide, because arrays of more than 2^31 numbers exist.

#ifndef REAL
#define REAL float
#endif
typedef long long int64;

// Grid-stride loop: thread t of T (all threads of all blocks) treats the elements t, t + T,
// t + 2T, ...  Neighbouring threads treat neighbouring elements, so a warp reads one run of memory,
// and any number of blocks does for any number of elements.
#define FOR_EACH(i, count)                                                            \
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < (count);         \
         i += (int64)gridDim.x * blockDim.x)

// 16 bytes, the most that one thread loads at once: 4 floats or 2 doubles.
#define PACK ((int)(16 / sizeof(REAL)))
struct __align__(16) Pack {
    REAL at[16 / sizeof(REAL)];
};

// Stands in for a Pack where 16 bytes do not divide the address, or the run of numbers.
struct One {
    REAL at[1];
};

// What stands where there is no answer, such as the loss of a class that does not exist.
__device__ REAL not_a_number() {
    const REAL zero = 0;
    return zero / zero;
}

// Whether a pointer may be read as Packs: loads of 16 bytes need addresses that 16 divides.
__device__ bool packs(const void* place) {
    return ((unsigned long long)place & 15) == 0;
}

// The sum over the 32 lanes of a warp, in lane 0.  At each step a lane adds what the lane 16, then
// 8, 4, 2, 1 places above it has: five exchanges of registers, without memory or barriers.
__device__ REAL warp_sum(REAL value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

// The sum over all threads of a block (a multiple of 32, at most 1024), in every thread.  Each warp
// sums its own, lane 0 of each writes that to shared memory, and the first warp sums those.
// `across` are 32 numbers of shared memory, which may be used again when this returns.
__device__ REAL block_sum(REAL value, REAL* across) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    value = warp_sum(value);
    if (lane == 0) across[warp] = value;
    __syncthreads();
    if (warp == 0) {
        value = warp_sum(lane < (int)blockDim.x / 32 ? across[lane] : (REAL)0);
        if (lane == 0) across[0] = value;
    }
    __syncthreads();
    const REAL total = across[0];
    __syncthreads();  // nobody writes `across` before all have read it
    return total;
}
