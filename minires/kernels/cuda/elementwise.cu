// ReLU, its gradient, and ReLU after the sum of two branches.
//
// Thread t of T treats the packs t, t + T, ... of 16 bytes: 4 floats or 2 doubles with one load and
// one store, so a warp moves 512 bytes at a time.  The few numbers after the last whole pack, and
// arrays that do not begin at a multiple of 16 bytes, go one by one.  Every input is read once and
// every result written once; the arithmetic is nothing beside that.

// out[i] = f(a[i], b[i]).  A function of one number leaves b alone, and then b is never read.
template <class F>
__device__ void map(const REAL* a, const REAL* b, REAL* out, int64 count, F f) {
    const int64 whole = packs(a) && packs(b) && packs(out) ? count / PACK : 0;
    FOR_EACH(i, whole) {
        const Pack left = ((const Pack*)a)[i], right = ((const Pack*)b)[i];
        Pack result;
        for (int k = 0; k < PACK; k++) result.at[k] = f(left.at[k], right.at[k]);
        ((Pack*)out)[i] = result;
    }
    const int64 done = whole * PACK;
    FOR_EACH(i, count - done) out[done + i] = f(a[done + i], b[done + i]);
}

// max(value, 0); NaN stays NaN, which no comparison finds larger than 0, nor equal to itself.
__device__ REAL max_with_0(REAL value) {
    return value > 0 || value != value ? value : (REAL)0;
}

extern "C" __global__ void relu(const REAL* x, REAL* out, int64 count) {
    map(x, x, out, count, [](REAL value, REAL) { return max_with_0(value); });
}

// A product, not a choice: a gradient of inf or NaN gives NaN where it is cut off, as in NumPy.
extern "C" __global__ void relu_grad_input(const REAL* grad_out, const REAL* out, REAL* grad_x,
                                           int64 count) {
    map(grad_out, out, grad_x, count,
        [](REAL grad, REAL value) { return grad * (REAL)(value != 0); });
}

// Three passes over memory, where a sum and a ReLU by themselves make five.
extern "C" __global__ void add_relu(const REAL* a, const REAL* b, REAL* out, int64 count) {
    map(a, b, out, count, [](REAL left, REAL right) { return max_with_0(left + right); });
}
