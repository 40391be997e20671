// Batch normalisation of x (N, C, L): C channels, each of N planes of L numbers.
//
// Sums over a channel are taken in two steps.  Blocks sum their shares of it, and write these
// parts down; a warp for each channel then merges the parts, always in the same order.  How many
// parts there are follows from the shapes, so the bits of the result do too.
//
//   ..._by_plane    Planes are long.  A block treats one channel, or one of its `splits` shares:
//                   neighbouring threads read neighbours of a plane, 16 bytes each where they can.
//   ..._by_column   Planes are short, or single numbers.  An image is a row of C*L columns; 32
//                   threads side by side read 32 neighbours of a row, 8 such teams take rows in
//                   turn, and a channel gets its L columns only when parts are merged.
//
// Parts lie as (splits, columns), with width columns for each channel: L by column, 1 by plane.
// They are doubles: few enough to cost nothing, and then nothing is lost between blocks.

const int SIDE = 32, TEAMS = 8;  // threads of a block by column

// The plane and the place in it of a unit (a Pack or a One), for a thread that goes on by a fixed
// number of units.  Divisions of 64 bits take longer than reading 16 bytes: here they are done
// once, and each step is two additions and their carries.
struct Walk {
    int64 plane, place, planes_on, places_on, planes, L;
};

__device__ Walk walk(int64 first, int64 step, int64 planes, int64 L) {
    return {first / L % planes, first % L, step / L % planes, step % L, planes, L};
}

__device__ void go_on(Walk& at) {
    at.place += at.places_on;
    at.plane += at.planes_on;
    if (at.place >= at.L) {
        at.place -= at.L;
        at.plane++;
    }
    // Where planes are counted by channel, the one after the last channel is of channel 0 again.
    if (at.plane >= at.planes) at.plane -= at.planes;
}

// ---- Statistics

// How many numbers, their mean, and the sum of their squared deviations from it.  Squares of x
// itself do not occur: where the mean is far from 0, their sum would have no digits left for the
// variance.  For the same reason blocks count means from an origin, the channel's first number.
template <class T>
struct Moments {
    T count, mean, squares;
};

// Chan, Golub and LeVeque (1979): the moments of two sets of numbers together.
template <class T>
__device__ Moments<T> merged(Moments<T> a, Moments<T> b) {
    const T count = a.count + b.count, delta = b.mean - a.mean;
    const T share = b.count / (count > 0 ? count : 1);
    return {count, a.mean + delta * share,
            a.squares + b.squares + delta * delta * a.count * share};
}

// The moments of the 32 lanes of a warp together, in lane 0; the steps are those of warp_sum.
template <class T>
__device__ Moments<T> warp_merged(Moments<T> mine) {
    for (int offset = 16; offset > 0; offset /= 2) {
        const Moments<T> other = {__shfl_down_sync(0xffffffffu, mine.count, offset),
                                  __shfl_down_sync(0xffffffffu, mine.mean, offset),
                                  __shfl_down_sync(0xffffffffu, mine.squares, offset)};
        mine = merged(mine, other);
    }
    return mine;
}

// The moments of the numbers of a unit, in two passes over registers.
template <class Unit>
__device__ Moments<REAL> moments_of(const Unit& unit, REAL origin) {
    const REAL count = sizeof(Unit) / sizeof(REAL);
    REAL mean = 0, squares = 0;
    for (REAL number : unit.at) mean += number - origin;
    mean /= count;
    for (REAL number : unit.at) {
        const REAL deviation = (number - origin) - mean;
        squares += deviation * deviation;
    }
    return {count, mean, squares};
}

// parts (3, places): counts, means and squares.
__device__ void write_part(double* parts, int64 place, int64 places, Moments<REAL> found,
                           REAL origin) {
    parts[place] = found.count;
    parts[places + place] = (double)origin + (double)found.mean;
    parts[2 * places + place] = found.squares;
}

// Threads of all `splits` blocks of channel c take its units in turn.
template <class Unit>
__device__ Moments<REAL> read_plane(const Unit* x, REAL origin, int64 c, int64 split, int64 N,
                                    int64 C, int64 L, int64 splits) {
    const int64 first = split * blockDim.x + threadIdx.x, step = splits * blockDim.x;
    Moments<REAL> found = {0, 0, 0};
    Walk at = walk(first, step, N, L);
#pragma unroll 4
    for (int64 k = first; k < N * L; k += step) {
        const Unit unit = x[(at.plane * C + c) * L + at.place];  // one load, also of a Pack
        found = merged(found, moments_of(unit, origin));
        go_on(at);
    }
    return found;
}

// Block b treats share b % splits of channel b / splits.  Each thread merges the units it reads;
// then warps merge their lanes by shuffles, and the first warp merges the warps by way of shared
// memory.  Reads x once; writes 24 bytes a block.
extern "C" __global__ void stats_by_plane(const REAL* x, double* parts, int64 N, int64 C, int64 L,
                                          int64 splits) {
    __shared__ Moments<REAL> of_warp[32];
    const int64 c = blockIdx.x / splits, split = blockIdx.x % splits;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const REAL origin = x[c * L];
    Moments<REAL> found =
        packs(x) && L % PACK == 0
            ? read_plane((const Pack*)x, origin, c, split, N, C, L / PACK, splits)
            : read_plane((const One*)x, origin, c, split, N, C, L, splits);
    found = warp_merged(found);
    if (lane == 0) of_warp[warp] = found;
    __syncthreads();
    if (warp != 0) return;
    found = {0, 0, 0};
    if (lane < (int)blockDim.x / 32) found = of_warp[lane];
    found = warp_merged(found);
    if (lane == 0) write_part(parts, split * C + c, splits * C, found, origin);
}

// Block b treats share b % splits of the rows of 32 columns, from column b / splits * 32; thread
// (i, j) column i of these, and rows j, j + 8, j + 16, ... of the share's.
// Reads x once; writes 24 bytes a column and block.
extern "C" __global__ void stats_by_column(const REAL* x, double* parts, int64 N, int64 C, int64 L,
                                           int64 splits) {
    __shared__ Moments<REAL> of_team[TEAMS][SIDE];
    const int64 columns = C * L, column = blockIdx.x / splits * SIDE + threadIdx.x;
    const int64 split = blockIdx.x % splits;
    Moments<REAL> found = {0, 0, 0};
    const REAL origin = column < columns ? x[column] : 0;
    if (column < columns) {
#pragma unroll 4
        for (int64 n = split * TEAMS + threadIdx.y; n < N; n += splits * TEAMS)
            found = merged(found, moments_of(((const One*)x)[n * columns + column], origin));
    }
    of_team[threadIdx.y][threadIdx.x] = found;
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns) return;
    for (int j = 1; j < TEAMS; j++) found = merged(found, of_team[j][threadIdx.x]);
    write_part(parts, split * columns + column, splits * columns, found, origin);
}

// A warp for each channel: its lanes take the channel's parts in turn, then merge what they have.
// Reads 24 bytes a part; writes mean and var, C numbers each.
extern "C" __global__ void merge_stats(const double* parts, REAL* mean, REAL* var, int64 C,
                                       int64 width, int64 splits) {
    const int64 columns = C * width, places = splits * columns;
    const int lane = threadIdx.x % 32;
    const int64 warps = (int64)gridDim.x * blockDim.x / 32;
    for (int64 c = (blockIdx.x * (int64)blockDim.x + threadIdx.x) / 32; c < C; c += warps) {
        Moments<double> found = {0, 0, 0};
        for (int64 p = lane; p < splits * width; p += 32) {
            const int64 place = p / width * columns + c * width + p % width;
            const Moments<double> part = {parts[place], parts[places + place],
                                          parts[2 * places + place]};
            found = merged(found, part);
        }
        found = warp_merged(found);
        if (lane == 0) {
            mean[c] = (REAL)found.mean;
            var[c] = (REAL)(found.squares / found.count);
        }
    }
}

// ---- Forward

__device__ REAL inverse_std(REAL var, REAL eps) {
    return 1 / sqrt(var + eps);
}

template <class Unit>
__device__ void normalise(const Unit* x, const REAL* mean, const REAL* var, const REAL* weight,
                          const REAL* bias, Unit* out, int64 N, int64 C, int64 L, REAL eps) {
    Walk at = walk(blockIdx.x * (int64)blockDim.x + threadIdx.x, (int64)gridDim.x * blockDim.x,
                   C, L);
    FOR_EACH(i, N * C * L) {
        const int64 c = at.plane;
        const REAL scale = inverse_std(var[c], eps) * (weight ? weight[c] : 1);
        const REAL middle = mean[c], shift = bias ? bias[c] : 0;
        Unit unit = x[i];
        for (REAL& number : unit.at) number = (number - middle) * scale + shift;
        out[i] = unit;
        go_on(at);
    }
}

// out = (x - mean) * weight / sqrt(var + eps) + bias.  Thread t treats units t, t + T, t + 2T, ...
// of the whole of x; a unit lies in one plane, so it has one channel.  The channels' numbers come
// from the cache.  Reads x once, writes out once.
extern "C" __global__ void batch_norm(const REAL* x, const REAL* mean, const REAL* var,
                                      const REAL* weight, const REAL* bias, REAL* out, int64 N,
                                      int64 C, int64 L, REAL eps) {
    if (packs(x) && packs(out) && L % PACK == 0)
        normalise((const Pack*)x, mean, var, weight, bias, (Pack*)out, N, C, L / PACK, eps);
    else
        normalise((const One*)x, mean, var, weight, bias, (One*)out, N, C, L, eps);
}

// ---- Backward

// The sums of grad_out and of grad_out * (x - mean), of one thread.
struct Sums {
    REAL grad, along;
};

template <class Unit>
__device__ Sums sum_plane(const Unit* grad_out, const Unit* x, REAL mean, int64 c, int64 split,
                          int64 N, int64 C, int64 L, int64 splits) {
    const int64 first = split * blockDim.x + threadIdx.x, step = splits * blockDim.x;
    Sums sums = {0, 0};
    Walk at = walk(first, step, N, L);
#pragma unroll 4
    for (int64 k = first; k < N * L; k += step) {
        const int64 i = (at.plane * C + c) * L + at.place;
        const Unit grad = grad_out[i], unit = x[i];
        for (int j = 0; j < (int)(sizeof(Unit) / sizeof(REAL)); j++) {
            sums.grad += grad.at[j];
            sums.along += grad.at[j] * (unit.at[j] - mean);
        }
        go_on(at);
    }
    return sums;
}

// Threads as in stats_by_plane.  Reads grad_out and x once; writes 16 bytes a block.
extern "C" __global__ void sums_by_plane(const REAL* grad_out, const REAL* x, const REAL* mean,
                                         double* parts, int64 N, int64 C, int64 L, int64 splits) {
    __shared__ REAL across[32];
    const int64 c = blockIdx.x / splits, split = blockIdx.x % splits;
    const Sums sums = packs(x) && packs(grad_out) && L % PACK == 0
                          ? sum_plane((const Pack*)grad_out, (const Pack*)x, mean[c], c, split, N,
                                      C, L / PACK, splits)
                          : sum_plane((const One*)grad_out, (const One*)x, mean[c], c, split, N, C,
                                      L, splits);
    const REAL grad = block_sum(sums.grad, across), along = block_sum(sums.along, across);
    if (threadIdx.x == 0) {
        parts[split * C + c] = grad;
        parts[splits * C + split * C + c] = along;
    }
}

// Threads as in stats_by_column.  Reads grad_out and x once; writes 16 bytes a column and block.
extern "C" __global__ void sums_by_column(const REAL* grad_out, const REAL* x, const REAL* mean,
                                          double* parts, int64 N, int64 C, int64 L,
                                          int64 splits) {
    __shared__ Sums of_team[TEAMS][SIDE];
    const int64 columns = C * L, column = blockIdx.x / splits * SIDE + threadIdx.x;
    const int64 split = blockIdx.x % splits;
    Sums sums = {0, 0};
    if (column < columns) {
        const REAL middle = mean[column / L];
#pragma unroll 4
        for (int64 n = split * TEAMS + threadIdx.y; n < N; n += splits * TEAMS) {
            const REAL grad = grad_out[n * columns + column];
            sums.grad += grad;
            sums.along += grad * (x[n * columns + column] - middle);
        }
    }
    of_team[threadIdx.y][threadIdx.x] = sums;
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns) return;
    for (int j = 1; j < TEAMS; j++) {
        sums.grad += of_team[j][threadIdx.x].grad;
        sums.along += of_team[j][threadIdx.x].along;
    }
    parts[split * columns + column] = sums.grad;
    parts[splits * columns + split * columns + column] = sums.along;
}

// A warp for each channel, as in merge_stats.  Of the sums it makes grad_bias and grad_weight, and
// the coefficients (3, C) of
//     grad_x = scale * grad_out + (x - mean) * slope + shift.
// Reads 16 bytes a part; writes 5 numbers a channel.
extern "C" __global__ void merge_sums(const double* parts, const REAL* var, const REAL* weight,
                                      REAL* grad_weight, REAL* grad_bias, REAL* coefficients,
                                      int64 C, int64 width, int64 splits, int64 m, REAL eps) {
    const int64 columns = C * width, places = splits * columns;
    const int lane = threadIdx.x % 32;
    const int64 warps = (int64)gridDim.x * blockDim.x / 32;
    for (int64 c = (blockIdx.x * (int64)blockDim.x + threadIdx.x) / 32; c < C; c += warps) {
        double grad = 0, along = 0;
        for (int64 p = lane; p < splits * width; p += 32) {
            const int64 place = p / width * columns + c * width + p % width;
            grad += parts[place];
            along += parts[places + place];
        }
        const REAL to_bias = warp_sum((REAL)grad), to_hat = warp_sum((REAL)along);
        if (lane == 0) {
            const REAL inverse = inverse_std(var[c], eps);
            const REAL scale = inverse * (weight ? weight[c] : 1), to_weight = to_hat * inverse;
            grad_bias[c] = to_bias;
            grad_weight[c] = to_weight;
            coefficients[c] = scale;
            coefficients[C + c] = -scale * (inverse * to_weight / m);
            coefficients[2 * C + c] = -scale * (to_bias / m);
        }
    }
}

template <class Unit>
__device__ void send_back(const Unit* grad_out, const Unit* x, const REAL* mean,
                          const REAL* coefficients, Unit* grad_x, int64 N, int64 C, int64 L) {
    Walk at = walk(blockIdx.x * (int64)blockDim.x + threadIdx.x, (int64)gridDim.x * blockDim.x,
                   C, L);
    FOR_EACH(i, N * C * L) {
        const int64 c = at.plane;
        const REAL scale = coefficients[c];
        Unit grad = grad_out[i];
        for (REAL& number : grad.at) number *= scale;
        if (x) {  // in training, what comes through mean and var
            const REAL middle = mean[c];
            const REAL slope = coefficients[C + c], shift = coefficients[2 * C + c];
            const Unit unit = x[i];
            for (int j = 0; j < (int)(sizeof(Unit) / sizeof(REAL)); j++)
                grad.at[j] += (unit.at[j] - middle) * slope + shift;
        }
        grad_x[i] = grad;
        go_on(at);
    }
}

// Threads as in batch_norm.  Reads grad_out and x once, writes grad_x once; in evaluation x is
// null, and not read.
extern "C" __global__ void batch_norm_grad_x(const REAL* grad_out, const REAL* x, const REAL* mean,
                                             const REAL* coefficients, REAL* grad_x, int64 N,
                                             int64 C, int64 L) {
    if (packs(grad_out) && packs(x) && packs(grad_x) && L % PACK == 0)
        send_back((const Pack*)grad_out, (const Pack*)x, mean, coefficients, (Pack*)grad_x, N, C,
                  L / PACK);
    else
        send_back((const One*)grad_out, (const One*)x, mean, coefficients, (One*)grad_x, N, C, L);
}
