/* MD5 of up to eight runs of bytes at once.

   Each step waits for the one before it, so that one digest leaves a processor idle most of the time; the steps of eight
   are done by the same instructions. Facts: RFC 1321. Needs a little-endian machine. */
#include "common.h"

#if defined(__GNUC__) || defined(__clang__)

enum { LANES = 8 };

typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef struct { Words a, b, c, d; } State;

/* The sine's first 32 bits behind the point, of 1, 2, 3... */
static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define I(x, y, z) ((y) ^ ((x) | ~(z)))
#define STEP(f, a, b, c, d, word, i, left)            \
    do {                                              \
        a += f(b, c, d) + w[word] + SINES[i];         \
        a = b + ((a << (left)) | (a >> (32 - (left)))); \
    } while (0)
#define FOUR(f, i, first, more, r, s, t, u)                     \
    do {                                                        \
        STEP(f, a, b, c, d, (first) & 15, i, r);                \
        STEP(f, d, a, b, c, ((first) + (more)) & 15, i + 1, s); \
        STEP(f, c, d, a, b, ((first) + 2 * (more)) & 15, i + 2, t); \
        STEP(f, b, c, d, a, ((first) + 3 * (more)) & 15, i + 3, u); \
    } while (0)
#define ROUND(f, i, first, more, r, s, t, u)                        \
    do {                                                            \
        FOUR(f, i, first, more, r, s, t, u);                        \
        FOUR(f, i + 4, (first) + 4 * (more), more, r, s, t, u);     \
        FOUR(f, i + 8, (first) + 8 * (more), more, r, s, t, u);     \
        FOUR(f, i + 12, (first) + 12 * (more), more, r, s, t, u);   \
    } while (0)

__attribute__((always_inline)) static inline void blocks(State *state, const uint8_t *const *runs, size_t at, size_t n)
{
    for (; n; n--, at += 64) {
        Words a = state->a, b = state->b, c = state->c, d = state->d, w[16];
        for (int i = 0; i < 16; i++)
            w[i] = (Words){load32(runs[0] + at + 4 * i), load32(runs[1] + at + 4 * i), load32(runs[2] + at + 4 * i),
                           load32(runs[3] + at + 4 * i), load32(runs[4] + at + 4 * i), load32(runs[5] + at + 4 * i),
                           load32(runs[6] + at + 4 * i), load32(runs[7] + at + 4 * i)};
        ROUND(F, 0, 0, 1, 7, 12, 17, 22);
        ROUND(G, 16, 1, 5, 5, 9, 14, 20);
        ROUND(H, 32, 5, 3, 4, 11, 16, 23);
        ROUND(I, 48, 0, 7, 6, 10, 15, 21);
        state->a += a;
        state->b += b;
        state->c += c;
        state->d += d;
    }
}

#if X86_64
FOR("avx2") static void blocks_avx2(State *state, const uint8_t *const *runs, size_t at, size_t n)
{
    blocks(state, runs, at, n);
}
#endif

static void blocks_any(State *state, const uint8_t *const *runs, size_t at, size_t n)
{
#if X86_64
    if (__builtin_cpu_supports("avx2")) {
        blocks_avx2(state, runs, at, n);
        return;
    }
#endif
    blocks(state, runs, at, n);
}
#endif

/* Write the digests of up to eight runs, 16 bytes each. Return whether that can be done here. */
EXPORT int nx_md5(const uint8_t *const *runs, const size_t *sizes, size_t count, uint8_t *out)
{
#if defined(__GNUC__) || defined(__clang__)
    const uint8_t *lanes[LANES];
    uint8_t ends[LANES][128];
    uint32_t made[LANES][4];
    size_t done[LANES] = {0};
    State state;
    if (!count || count > LANES) return 0;
    for (size_t i = 0; i < LANES; i++) {
        made[i][0] = 0x67452301; made[i][1] = 0xefcdab89; made[i][2] = 0x98badcfe; made[i][3] = 0x10325476;
    }
    for (;;) { /* as far as all go that have not ended, then as far as those go that are left */
        size_t most = 0, n = 0;
        for (size_t i = 0; i < count; i++) {
            size_t left = sizes[i] / 64 - done[i];
            if (left && (!n || left < n)) { n = left; most = i; }
        }
        if (!n) break;
        for (size_t i = 0; i < LANES; i++) {
            size_t own = i < count && sizes[i] / 64 - done[i] ? i : most;
            lanes[i] = runs[own] + 64 * done[own];
            state.a[i] = made[own][0]; state.b[i] = made[own][1]; state.c[i] = made[own][2]; state.d[i] = made[own][3];
        }
        blocks_any(&state, lanes, 0, n);
        for (size_t i = 0; i < count; i++) {
            if (!(sizes[i] / 64 - done[i])) continue;
            done[i] += n;
            made[i][0] = state.a[i]; made[i][1] = state.b[i]; made[i][2] = state.c[i]; made[i][3] = state.d[i];
        }
    }
    for (size_t last = 64; last <= 128; last += 64) { /* the rest with its length: one block, or two */
        for (size_t i = 0; i < LANES; i++) {
            size_t own = i < count ? i : 0, rest = sizes[own] % 64;
            uint64_t bits = (uint64_t)sizes[own] << 3;
            memset(ends[i], 0, sizeof ends[i]);
            if (rest) memcpy(ends[i], runs[own] + sizes[own] - rest, rest);
            ends[i][rest] = 0x80;
            memcpy(ends[i] + last - 8, &bits, 8);
            lanes[i] = ends[i];
            state.a[i] = made[own][0]; state.b[i] = made[own][1]; state.c[i] = made[own][2]; state.d[i] = made[own][3];
        }
        blocks_any(&state, lanes, 0, last / 64);
        for (size_t i = 0; i < count; i++) {
            if ((sizes[i] % 64 < 56) != (last == 64)) continue;
            uint32_t digest[4] = {state.a[i], state.b[i], state.c[i], state.d[i]};
            memcpy(out + 16 * i, digest, 16);
        }
    }
    return 1;
#else
    return (void)runs, (void)sizes, (void)count, (void)out, 0;
#endif
}
