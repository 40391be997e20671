// Random numbers from a counter: Philox4x64-10 of Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3".
//
// There is no state to carry from one number to the next.  Ten rounds of products mix a counter and
// a key so well that the counters 1, 2, 3, ... give independent words; so thread t computes four
// numbers from counter t + 1 alone, in any order, on any grid.

typedef unsigned long long word;

// Four words from the 256-bit counter (low, 0, 0, 0) and the 128-bit key (key, 0).  In each round
// the high and low halves of two products change places and are mixed with the rest and the key.
__device__ void philox(word low, word key, word words[4]) {
    word c0 = low, c1 = 0, c2 = 0, c3 = 0, k0 = key, k1 = 0;
    for (int round = 0; round < 10; round++) {
        const word high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
        const word high2 = __umul64hi(0xCA5A826395121157ull, c2), low2 = 0xCA5A826395121157ull * c2;
        c0 = high2 ^ c1 ^ k0;
        c1 = low2;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15ull;  // the golden ratio and sqrt(3) - 1, times 2^64
        k1 += 0xBB67AE8584CAA73Bull;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

// As many bits of a word as REAL holds, from the top: a multiple of 2^-53 or 2^-24, below 1.
__device__ REAL in_0_to_1(word bits) {
    return sizeof(REAL) == 8 ? (REAL)((double)(bits >> 11) * (1.0 / 9007199254740992.0))
                             : (REAL)((float)(bits >> 40) * (1.0f / 16777216.0f));
}

extern "C" __global__ void uniform(REAL* out, int64 count, word key) {
    FOR_EACH(block, (count + 3) / 4) {
        word words[4];
        philox((word)block + 1, key, words);
        if (block * 4 + 4 <= count && packs(out)) {
            for (int k = 0; k < 4; k += PACK) {
                Pack numbers;
                for (int j = 0; j < PACK; j++) numbers.at[j] = in_0_to_1(words[k + j]);
                ((Pack*)out)[(block * 4 + k) / PACK] = numbers;
            }
        } else {
            for (int k = 0; k < 4 && block * 4 + k < count; k++)
                out[block * 4 + k] = in_0_to_1(words[k]);
        }
    }
}
