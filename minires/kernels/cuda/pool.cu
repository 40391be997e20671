// Pooling: the maximum or the mean of each window, and the gradients of both.
//
// Most kernels here give every thread one place of a plane, x along its columns and y along its
// rows, and let it go from plane to plane along z.  Which window belongs to a place takes
// divisions, the slowest of all arithmetic; a thread works it out once and uses it in all its
// planes (there are N*C of them).  Neighbouring threads have neighbouring columns, so what a warp
// reads and writes lies together.  Windows that overlap read a number several times, all but once
// from the cache.
//
// No kernel adds to what another thread writes: backward, each pixel collects what is its own.

// Along one axis of the grid, thread t of T treats the places t, t + T, t + 2T, ...
#define ALONG(axis, i, count)                                                            \
    for (int64 i = blockIdx.axis * (int64)blockDim.axis + threadIdx.axis; i < (count);   \
         i += (int64)gridDim.axis * blockDim.axis)

// Image, output, kernel, stride, padding and dilation: rows, then columns.
struct Window {
    int64 H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW;
};

struct Span {  // the places begin, begin + 1, ..., end - 1 along an axis
    int64 begin, end;
};

__device__ int64 least(int64 a, int64 b) { return a < b ? a : b; }

__device__ int64 rounded_up(int64 a, int64 b) { return (a + b - 1) / b; }  // a / b, for a from 0 on

// What window o of size K sees of an axis of the image, in steps of D from `begin`.
__device__ Span seen_by(int64 o, int64 size, int64 K, int64 S, int64 P, int64 D) {
    const int64 first = o * S - P;
    return {first < 0 ? first + rounded_up(-first, D) * D : first,
            least(first + (K - 1) * D + 1, size)};
}

// The windows, of `count`, that reach over place i; one with dilation may still step over it.
__device__ Span windows_over(int64 i, int64 count, int64 K, int64 S, int64 P, int64 D) {
    const int64 past = i + P - (K - 1) * D - 1;  // the last start of a window that ends before i
    return {past < 0 ? 0 : past / S + 1, least((i + P) / S + 1, count)};
}

// Each thread reads its window in every plane, and writes what won and where.
extern "C" __global__ void max_pool2d(const REAL* x, int64 planes, Window window, REAL* out,
                                      int64* indices) {
    const auto [H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW] = window;
    ALONG(x, ow, OW) ALONG(y, oh, OH) {
        const Span rows = seen_by(oh, H, KH, SH, PH, DH), cols = seen_by(ow, W, KW, SW, PW, DW);
        ALONG(z, plane, planes) {
            const REAL* image = x + plane * H * W;
            int64 where = rows.begin * W + cols.begin;
            REAL best = image[where];
            for (int64 h = rows.begin; h < rows.end; h += DH)
                for (int64 w = cols.begin; w < cols.end; w += DW) {
                    const REAL value = image[h * W + w];
                    if (value > best || isnan(value)) {  // of equal ones the first stays
                        best = value;
                        where = h * W + w;
                    }
                }
            const int64 at = (plane * OH + oh) * OW + ow;
            out[at] = best;
            indices[at] = where;
        }
    }
}

// Each thread has a pixel, and asks the windows that reach over it, in reading order, whether it
// won; so every number is written once, and read by as many threads as a window has pixels, from
// the cache.  A window whose winner lies outside the plane makes its pixels NaN.
extern "C" __global__ void max_pool2d_grad_input(const REAL* grad_out, const int64* indices,
                                                 int64 planes, Window window, REAL* grad_x) {
    const auto [H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW] = window;
    ALONG(x, w, W) ALONG(y, h, H) {
        const Span rows = windows_over(h, OH, KH, SH, PH, DH);
        const Span cols = windows_over(w, OW, KW, SW, PW, DW);
        const int64 here = h * W + w;
        ALONG(z, plane, planes) {
            REAL sum = 0;
            for (int64 oh = rows.begin; oh < rows.end; oh++)
                for (int64 ow = cols.begin; ow < cols.end; ow++) {
                    const int64 at = (plane * OH + oh) * OW + ow, winner = indices[at];
                    if (winner == here)
                        sum += grad_out[at];
                    else if (winner < 0 || winner >= H * W)
                        sum = not_a_number();
                }
            grad_x[plane * H * W + here] = sum;
        }
    }
}

// The same where nobody knows the windows: a block has a plane, and of its T threads number p % T
// owns pixel p.  The block fetches T outputs at a time into shared memory; each thread walks
// through them in reading order, and adds to memory those that fell on pixels of its own.  So each
// output is read once, and no two threads meet at a pixel.  A winner outside the plane makes all of
// it NaN, since nobody knows which pixels its window had.
extern "C" __global__ void max_pool2d_add_in_order(const REAL* grad_out, const int64* indices,
                                                   int64 planes, int64 outputs, int64 pixels,
                                                   REAL* grad_x) {
    __shared__ int64 winners[1024];  // one for each thread: a block has 1024 at most
    __shared__ int owners[1024];     // -1 for a winner outside the plane
    __shared__ REAL grads[1024];
    const int me = threadIdx.x, T = blockDim.x;
    for (int64 plane = blockIdx.x; plane < planes; plane += gridDim.x) {
        REAL* image = grad_x + plane * pixels;
        for (int64 p = me; p < pixels; p += T) image[p] = 0;
        bool outside = false;
        for (int64 start = 0; start < outputs; start += T) {
            const int count = (int)least(T, outputs - start);
            __syncthreads();  // all are done with those before
            if (me < count) {
                const int64 at = plane * outputs + start + me, winner = indices[at];
                winners[me] = winner;
                owners[me] = winner < 0 || winner >= pixels ? -1 : (int)(winner % T);
                grads[me] = grad_out[at];
            }
            __syncthreads();
            for (int i = 0; i < count; i++) {
                if (owners[i] == me) image[winners[i]] += grads[i];
                outside |= owners[i] < 0;
            }
        }
        if (outside)
            for (int64 p = me; p < pixels; p += T) image[p] = not_a_number();
    }
}

// Each thread reads, for one place of the output, the index in every plane and the number there.
extern "C" __global__ void max_pool2d_gather(const REAL* x, const int64* indices, int64 planes,
                                             int64 outputs, int64 pixels, REAL* out) {
    ALONG(x, o, outputs) ALONG(z, plane, planes) {
        const int64 at = plane * outputs + o, place = indices[at];
        const bool inside = 0 <= place && place < pixels;
        out[at] = inside ? x[plane * pixels + place] : not_a_number();
    }
}

__device__ REAL sum_over(const REAL* image, int64 W, Span rows, Span cols) {
    REAL sum = 0;
    for (int64 h = rows.begin; h < rows.end; h++)
        for (int64 w = cols.begin; w < cols.end; w++) sum += image[h * W + w];
    return sum;
}

// How many places of window o count along an axis: what hangs over the padding never does.
__device__ int64 counted(int64 o, int64 size, int64 K, int64 S, int64 P, int64 count_pad) {
    if (count_pad) return least(K, size + 2 * P - o * S);
    const Span seen = seen_by(o, size, K, S, P, 1);
    return seen.end - seen.begin;
}

// Each thread adds up its window in every plane, and writes one mean.  A divisor other than 0
// stands for the count.
extern "C" __global__ void avg_pool2d(const REAL* x, int64 planes, Window window, int64 count_pad,
                                      REAL divisor, REAL* out) {
    const auto [H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW] = window;
    ALONG(x, ow, OW) ALONG(y, oh, OH) {
        const Span rows = seen_by(oh, H, KH, SH, PH, DH), cols = seen_by(ow, W, KW, SW, PW, DW);
        const REAL by = divisor != 0 ? divisor
                                     : (REAL)(counted(oh, H, KH, SH, PH, count_pad) *
                                              counted(ow, W, KW, SW, PW, count_pad));
        ALONG(z, plane, planes) {
            const REAL sum = sum_over(x + plane * H * W, W, rows, cols);
            out[(plane * OH + oh) * OW + ow] = sum / by;
        }
    }
}

// Each thread has a pixel, and adds up what the windows that saw it share out, in reading order.
extern "C" __global__ void avg_pool2d_grad_input(const REAL* grad_out, int64 planes, Window window,
                                                 int64 count_pad, REAL divisor, REAL* grad_x) {
    const auto [H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW] = window;
    ALONG(x, w, W) ALONG(y, h, H) {
        const Span rows = windows_over(h, OH, KH, SH, PH, DH);
        const Span cols = windows_over(w, OW, KW, SW, PW, DW);
        ALONG(z, plane, planes) {
            REAL sum = 0;
            for (int64 oh = rows.begin; oh < rows.end; oh++) {
                const int64 high = counted(oh, H, KH, SH, PH, count_pad);
                for (int64 ow = cols.begin; ow < cols.end; ow++) {
                    const int64 wide = counted(ow, W, KW, SW, PW, count_pad);
                    const REAL by = divisor != 0 ? divisor : (REAL)(high * wide);
                    sum += grad_out[(plane * OH + oh) * OW + ow] / by;
                }
            }
            grad_x[(plane * H + h) * W + w] = sum;
        }
    }
}

// The mean of a whole plane, for small ones: a warp has a plane.  Its lanes read 32 neighbours at a
// time, add up what they read, and then add up their sums without memory.  Each number is read
// once.
extern "C" __global__ void plane_mean_by_warp(const REAL* x, int64 planes, int64 pixels,
                                              REAL divisor, REAL* out) {
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int64 plane = blockIdx.x * (int64)warps + threadIdx.x / 32; plane < planes;
         plane += (int64)gridDim.x * warps) {
        REAL sum = 0;
        for (int64 p = lane; p < pixels; p += 32) sum += x[plane * pixels + p];
        sum = warp_sum(sum);
        if (lane == 0) out[plane] = sum / divisor;
    }
}

// The same for large planes: a block has a plane, and its threads read 16 bytes at a time.  In a
// plane that does not begin where loads of 16 bytes may, they read the same numbers one by one.
extern "C" __global__ void plane_mean_by_block(const REAL* x, int64 planes, int64 pixels,
                                               REAL divisor, REAL* out) {
    __shared__ REAL across[32];
    for (int64 plane = blockIdx.x; plane < planes; plane += gridDim.x) {
        const REAL* image = x + plane * pixels;
        const bool aligned = packs(image);
        REAL sum = 0;
        for (int64 p = threadIdx.x * PACK; p < pixels; p += (int64)blockDim.x * PACK) {
            if (aligned && p + PACK <= pixels) {
                const Pack pack = *(const Pack*)(image + p);
                for (int i = 0; i < PACK; i++) sum += pack.at[i];
            } else {
                for (int64 i = p; i < least(p + PACK, pixels); i++) sum += image[i];
            }
        }
        sum = block_sum(sum, across);
        if (threadIdx.x == 0) out[plane] = sum / divisor;
    }
}

// Bin i of `bins` that cover an axis: from floor(i * size / bins) to ceil((i + 1) * size / bins).
__device__ Span bin(int64 i, int64 size, int64 bins) {
    return {i * size / bins, rounded_up((i + 1) * size, bins)};
}

// The bins that place i lies in: solved for the bin, the two bounds of `bin`.
__device__ Span bins_with(int64 i, int64 size, int64 bins) {
    return {i * bins / size, rounded_up((i + 1) * bins, size)};
}

// Each thread adds up its bin in every plane, and writes one mean.
extern "C" __global__ void adaptive_avg_pool2d(const REAL* x, int64 planes, int64 H, int64 W,
                                               int64 OH, int64 OW, REAL* out) {
    ALONG(x, ow, OW) ALONG(y, oh, OH) {
        const Span rows = bin(oh, H, OH), cols = bin(ow, W, OW);
        const REAL size = (REAL)((rows.end - rows.begin) * (cols.end - cols.begin));
        ALONG(z, plane, planes) {
            const REAL sum = sum_over(x + plane * H * W, W, rows, cols);
            out[(plane * OH + oh) * OW + ow] = sum / size;
        }
    }
}

// Each thread has a pixel, and adds up what the bins that it lies in share out, in reading order.
extern "C" __global__ void adaptive_avg_pool2d_grad_input(const REAL* grad_out, int64 planes,
                                                          int64 H, int64 W, int64 OH, int64 OW,
                                                          REAL* grad_x) {
    ALONG(x, w, W) ALONG(y, h, H) {
        const Span rows = bins_with(h, H, OH), cols = bins_with(w, W, OW);
        ALONG(z, plane, planes) {
            REAL sum = 0;
            for (int64 oh = rows.begin; oh < rows.end; oh++) {
                const Span high = bin(oh, H, OH);
                for (int64 ow = cols.begin; ow < cols.end; ow++) {
                    const Span wide = bin(ow, W, OW);
                    const int64 size = (high.end - high.begin) * (wide.end - wide.begin);
                    sum += grad_out[(plane * OH + oh) * OW + ow] / (REAL)size;
                }
            }
            grad_x[(plane * H + h) * W + w] = sum;
        }
    }
}
