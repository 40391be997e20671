// One step of SGD for up to 112 parameters at once.
//
// A network has hundreds of parameters, most of them so small that a launch for each would take
// longer than the work.  So the places of many are given at once, by value, in one argument: the
// 4 KB that a launch may take are room for 112.  (PyTorch's multi_tensor_apply does the same.)
//
// Each parameter is cut into chunks of 16384 numbers, counted through all parameters.  Block b of B
// treats the chunks b, b + B, ...; its threads share a chunk in packs of 16 bytes, neighbours side
// by side.  Parameter and velocity are read and written once, the gradient is read once.

const int LISTED = 112;
const int64 CHUNK = 16384;  // as _CHUNK in sgd.py

struct List {  // as _LIST in sgd.py
    REAL* param[LISTED];
    const REAL* grad[LISTED];
    REAL* velocity[LISTED];  // null without momentum
    int64 size[LISTED];
    int first_chunk[LISTED + 1];  // of each parameter, and after the last one the number of all
    int count;                    // of parameters
};

// Reads param, grad and velocity once, and writes param and velocity once; without momentum there is
// no velocity.  `kept` is 1 - dampening.
extern "C" __global__ void sgd(List list, REAL lr, REAL momentum, REAL kept,
                               REAL decay, int64 nesterov, int64 first_step) {
    for (int64 chunk = blockIdx.x; chunk < list.first_chunk[list.count]; chunk += gridDim.x) {
        // Whose chunk it is, by halving: first_chunk[which] <= chunk < first_chunk[after].
        int which = 0, after = list.count;
        while (after - which > 1) {
            const int middle = (which + after) / 2;
            if (list.first_chunk[middle] <= chunk) which = middle;
            else after = middle;
        }
        const int64 begin = (chunk - list.first_chunk[which]) * CHUNK;
        const int64 left = list.size[which] - begin;
        const int64 count = left < CHUNK ? left : CHUNK;
        const bool moving = list.velocity[which] != nullptr;
        REAL* param = list.param[which] + begin;
        const REAL* grad = list.grad[which] + begin;
        REAL* velocity = moving ? list.velocity[which] + begin : nullptr;

        // The formula of minires.optim.SGD, for one number.
        auto change = [=](REAL& p, REAL g, REAL& v) {
            if (decay != 0) g = g + decay * p;
            if (moving) {
                v = first_step ? g : momentum * v + kept * g;
                g = nesterov ? g + momentum * v : v;
            }
            p = p - lr * g;
        };

        const int64 whole = packs(param) && packs(grad) && packs(velocity) ? count / PACK : 0;
        for (int64 i = threadIdx.x; i < whole; i += blockDim.x) {
            Pack p = ((Pack*)param)[i], v = {};
            const Pack g = ((const Pack*)grad)[i];
            if (moving) v = ((Pack*)velocity)[i];
            for (int k = 0; k < PACK; k++) change(p.at[k], g.at[k], v.at[k]);
            ((Pack*)param)[i] = p;
            if (moving) ((Pack*)velocity)[i] = v;
        }
        for (int64 i = whole * PACK + threadIdx.x; i < count; i += blockDim.x) {
            REAL v = moving ? velocity[i] : (REAL)0;
            change(param[i], grad[i], v);
            if (moving) velocity[i] = v;
        }
    }
}
