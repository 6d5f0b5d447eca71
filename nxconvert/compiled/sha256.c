/* SHA-256 of two runs of bytes at once, for processors with SHA extensions.

   Each round waits for the one before it: a processor that works on one digest is idle half of the time. Two that have
   nothing to do with one another fill it. Facts: FIPS 180-4; Intel, "Intel SHA Extensions", 2013. */
#include "common.h"

#if X86_64
#include <immintrin.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The state of one digest, in the order that the instructions want: words a, b, e, f and c, d, g, h. */
typedef struct { __m128i abef, cdgh; } State;

#define INLINE __attribute__((always_inline)) static inline FOR("sha,sse4.1")

INLINE State begin(void)
{
    State s;
    s.abef = _mm_set_epi32((int)0x6a09e667, (int)0xbb67ae85, (int)0x510e527f, (int)0x9b05688c);
    s.cdgh = _mm_set_epi32((int)0x3c6ef372, (int)0xa54ff53a, (int)0x1f83d9ab, (int)0x5be0cd19);
    return s;
}

INLINE __m128i words(const uint8_t *p)
{
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), order);
}

INLINE __m128i next(__m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    return _mm_sha256msg2_epu32(sum, w3);
}

INLINE void four(State *s, __m128i w, int round)
{
    __m128i m = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(K + round)));
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, m);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(m, 0x0e));
}

/* After one step of four rounds: the words of the next step move up. */
#define STEP(S, W, R) do { four(&S, W##0, R); __m128i n_ = next(W##0, W##1, W##2, W##3); \
                           W##0 = W##1; W##1 = W##2; W##2 = W##3; W##3 = n_; } while (0)
#define LAST(S, W, R) do { four(&S, W##0, R); W##0 = W##1; W##1 = W##2; W##2 = W##3; } while (0)

FOR("sha,sse4.1") static void one(State *state, const uint8_t *p, size_t blocks)
{
    State s = *state;
    for (; blocks; blocks--, p += 64) {
        State old = s;
        __m128i u0 = words(p), u1 = words(p + 16), u2 = words(p + 32), u3 = words(p + 48);
        for (int r = 0; r < 48; r += 4) STEP(s, u, r);
        for (int r = 48; r < 64; r += 4) LAST(s, u, r);
        s.abef = _mm_add_epi32(s.abef, old.abef);
        s.cdgh = _mm_add_epi32(s.cdgh, old.cdgh);
    }
    *state = s;
}

FOR("sha,sse4.1") static void two(State *a, State *b, const uint8_t *p, const uint8_t *q, size_t blocks)
{
    State s = *a, t = *b;
    for (; blocks; blocks--, p += 64, q += 64) {
        State olds = s, oldt = t;
        __m128i u0 = words(p), u1 = words(p + 16), u2 = words(p + 32), u3 = words(p + 48);
        __m128i v0 = words(q), v1 = words(q + 16), v2 = words(q + 32), v3 = words(q + 48);
#pragma GCC unroll 12
        for (int r = 0; r < 48; r += 4) { STEP(s, u, r); STEP(t, v, r); }
#pragma GCC unroll 4
        for (int r = 48; r < 64; r += 4) { LAST(s, u, r); LAST(t, v, r); }
        s.abef = _mm_add_epi32(s.abef, olds.abef);
        s.cdgh = _mm_add_epi32(s.cdgh, olds.cdgh);
        t.abef = _mm_add_epi32(t.abef, oldt.abef);
        t.cdgh = _mm_add_epi32(t.cdgh, oldt.cdgh);
    }
    *a = s;
    *b = t;
}

FOR("sha,sse4.1") static void finish(State *s, const uint8_t *rest, size_t total, uint8_t *out)
{
    uint8_t end[128] = {0};
    size_t n = total % 64, size = n < 56 ? 64 : 128;
    memcpy(end, rest, n);
    end[n] = 0x80;
    store_be32(end + size - 8, (uint32_t)((uint64_t)total >> 29));
    store_be32(end + size - 4, (uint32_t)((uint64_t)total << 3));
    one(s, end, size / 64);
    uint32_t x[8];
    _mm_storeu_si128((__m128i *)x, s->abef);
    _mm_storeu_si128((__m128i *)(x + 4), s->cdgh);
    static const int where[8] = {3, 2, 7, 6, 1, 0, 5, 4};
    for (int i = 0; i < 8; i++) store_be32(out + 4 * i, x[where[i]]);
}

FOR("sha,sse4.1") static void pair(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out)
{
    State a = begin(), b = begin();
    size_t x = n / 64, y = m / 64, both = x < y ? x : y;
    two(&a, &b, p, q, both);
    one(&a, p + 64 * both, x - both);
    one(&b, q + 64 * both, y - both);
    finish(&a, p + 64 * x, n, out);
    finish(&b, q + 64 * y, m, out + 32);
}
#endif

/* Write the digests of n bytes at p and m bytes at q, 32 bytes each. Return whether this processor can. */
EXPORT int nx_sha256_pair(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out)
{
#if X86_64
    static int able = -1;
    if (able < 0) {
        /* gcc knows the name of this feature from version 14 on only: it is bit 29 of EBX of leaf 7. */
        uint32_t a = 7, b = 0, c = 0, d = 0;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        able = (b >> 29 & 1) && __builtin_cpu_supports("sse4.1");
    }
    if (able) {
        pair(p, n, q, m, out);
        return 1;
    }
#endif
    return 0;
}
