// The windows of images as columns of a matrix, the way back, and the change of layout after it.
//
//     image    (N, C, H, W)
//     columns  (C*KH*KW, N*OH*OW): a row for each tap of each channel, a column for each window
//
// Images lie along the columns of the matrix, so that all of them are one matrix product.

// Where windows lie: output (oh, ow) reads, with tap (kh, kw) of the kernel, the pixel
// (oh*SH + kh*DH - PH, ow*SW + kw*DW - PW).
struct Windows {
    int64 H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW;
    int64 step_h, step_w, back_h, back_w;  // S / gcd(S, D) and D / gcd(S, D), see Taps
};

// columns[c, kh, kw][n, oh, ow] = x[n, c, oh*SH + kh*DH - PH, ow*SW + kw*DW - PW], and 0 where that
// lies beyond the image.
//
// A thread has one window of one channel, and writes its KH*KW taps, one to each row.  Neighbouring
// threads have neighbouring windows, so at each tap a warp writes one run of a row.  What it reads
// is one run too at stride 1; the image comes from memory about once, and is read again, once for
// each tap that reaches a pixel, from the caches.  One window is found by four divisions, slow on
// a GPU, which its taps share.
extern "C" __global__ void im2col(const REAL* __restrict__ x, REAL* __restrict__ columns, int64 N,
                                  int64 C, const Windows of) {
    const int64 L = of.OH * of.OW, row = N * L;
    FOR_EACH(i, C * row) {
        const int64 c = i / row, place = i % row;
        const int64 n = place / L, oh = place % L / of.OW, ow = place % of.OW;
        const int64 top = oh * of.SH - of.PH, left = ow * of.SW - of.PW;
        const REAL* plane = x + (n * C + c) * of.H * of.W;
        REAL* tap = columns + c * of.KH * of.KW * row + place;
        for (int64 kh = 0; kh < of.KH; kh++) {
            const int64 h = top + kh * of.DH;
            for (int64 kw = 0; kw < of.KW; kw++) {
                const int64 w = left + kw * of.DW;
                const bool inside = h >= 0 && h < of.H && w >= 0 && w < of.W;
                *tap = inside ? plane[h * of.W + w] : (REAL)0;
                tap += row;
            }
        }
    }
}

// The taps that reach a pixel along one axis: tap k of output o, if o*S + k*D = pixel + P = padded.
// From one of them to the next it is S/gcd(S, D) taps, and D/gcd(S, D) outputs back.
struct Taps {
    int64 first;  // K if there is none
    int64 out;    // the output that reaches the pixel with this tap; there may be no such output
};

__device__ Taps taps_of(int64 padded, int64 K, int64 S, int64 D, int64 step) {
    for (int64 k = 0; k < step && k < K; k++, padded -= D)
        if (padded % S == 0) return {k, padded / S};
    return {K, 0};
}

// x[n, c, h, w] = the sum of the columns that read it, in the order of the taps.
//
// A gather: a thread has one pixel, and looks for the windows that see it.  The other way, each
// column adding itself to its pixels, would need atomics, and sums would depend on which thread
// comes first.  Neighbouring threads have neighbouring pixels: a warp writes one run, and at
// stride 1 reads one run of a row at each tap.  Each column is read once, each pixel written once.
extern "C" __global__ void col2im(const REAL* __restrict__ columns, REAL* __restrict__ x, int64 N,
                                  int64 C, const Windows of) {
    const int64 L = of.OH * of.OW, row = N * L;
    FOR_EACH(i, N * C * of.H * of.W) {
        const int64 w = i % of.W, h = i / of.W % of.H, plane = i / of.W / of.H;
        const int64 c = plane % C, n = plane / C;
        const Taps rows = taps_of(h + of.PH, of.KH, of.SH, of.DH, of.step_h);
        const Taps cols = taps_of(w + of.PW, of.KW, of.SW, of.DW, of.step_w);
        const REAL* of_image = columns + c * of.KH * of.KW * row + n * L;
        REAL sum = 0;
        for (int64 kh = rows.first, oh = rows.out; kh < of.KH && oh >= 0;
             kh += of.step_h, oh -= of.back_h) {
            if (oh >= of.OH) continue;
            for (int64 kw = cols.first, ow = cols.out; kw < of.KW && ow >= 0;
                 kw += of.step_w, ow -= of.back_w)
                if (ow < of.OW) sum += of_image[(kh * of.KW + kw) * row + oh * of.OW + ow];
        }
        x[i] = sum;
    }
}

// A thread moves one Run of numbers, neighbouring threads neighbouring ones of the output.
template <class Run>
__device__ void swap_runs(const Run* __restrict__ in, const REAL* __restrict__ bias,
                          Run* __restrict__ out, int64 A, int64 B, int64 runs) {
    FOR_EACH(i, A * B * runs) {
        const int64 a = i / runs % A, b = i / runs / A;
        Run run = in[(a * B + b) * runs + i % runs];
        if (bias)
            for (REAL& number : run.at) number += bias[a];
        out[i] = run;
    }
}

// out[b, a, l] = in[a, b, l] + bias[a]: images before channels, or channels before images, and the
// bias of the channels on the way (none where the pointer is null).  Each number is read once and
// written once, 16 bytes at a time where the rows of L numbers allow it.
extern "C" __global__ void swap_axes(const REAL* in, const REAL* bias, REAL* out, int64 A, int64 B,
                                     int64 L) {
    if (L % PACK == 0 && packs(in) && packs(out))
        swap_runs((const Pack*)in, bias, (Pack*)out, A, B, L / PACK);
    else
        swap_runs((const One*)in, bias, (One*)out, A, B, L);
}
