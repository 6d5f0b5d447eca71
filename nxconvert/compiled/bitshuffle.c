/* Chunks of HDF5's filter 32008, bitshuffle with LZ4: bits transposed block by block, then each block compressed.

   Facts: the registered filter 32008. A block holds a multiple of 8 elements; the first bits of all elements come
   first, from the least significant one on. Before each block stands its compressed size, 4 bytes big-endian; elements
   that are no eight stay as they are. Needs a little-endian machine. */
#include "lz4.h"
#include "shuffle.h"

#define MOST_BLOCK 65536

/* Transpose 8 x 8 bits: byte i of the result has bit i of each byte. After H. S. Warren, "Hacker's Delight", 7-3. */
static inline uint64_t eight(uint64_t x)
{
    uint64_t t;
    t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaULL; x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccULL; x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ULL; x ^= t ^ (t << 28);
    return x;
}

/* Transpose elements from the first one on, eight at a time. */
static void plainly(const uint8_t *in, uint8_t *out, size_t first, size_t n, size_t k)
{
    size_t plane = n / 8;
    for (size_t i = first; i < n; i += 8)
        for (size_t j = 0; j < k; j++) {
            uint64_t x = 0;
            for (size_t e = 0; e < 8; e++) x |= (uint64_t)in[(i + e) * k + j] << (8 * e);
            x = eight(x);
            for (size_t b = 0; b < 8; b++) out[(8 * j + b) * plane + i / 8] = (uint8_t)(x >> (8 * b));
        }
}

#if X86_64
#include <immintrin.h>
#define INLINE __attribute__((always_inline)) static inline FOR("avx2")

/* Part the even and the odd bytes of 64. */
INLINE void halves(__m256i a, __m256i b, __m256i *even, __m256i *odd)
{
    const __m256i low = _mm256_set1_epi16(0xff);
    *even = _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low)), 0xd8);
    *odd = _mm256_permute4x64_epi64(
        _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)), 0xd8);
}

/* Write the eight bits of 32 bytes to eight planes. */
INLINE void bits(__m256i x, uint8_t *out, size_t plane)
{
    for (int b = 7; b >= 0; b--) {
        uint32_t m = (uint32_t)_mm256_movemask_epi8(x);
        memcpy(out + (size_t)b * plane, &m, 4);
        x = _mm256_add_epi8(x, x);
    }
}

INLINE size_t by_32(const uint8_t *in, uint8_t *out, size_t n, const int k)
{
    size_t plane = n / 8, i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v[8], w[8];
        for (int j = 0; j < k; j++) v[j] = _mm256_loadu_si256((const __m256i *)(in + i * (size_t)k) + j);
        /* Each pass parts what is left of an element's bytes; `groups` of them are apart already. */
        for (int groups = 1; groups < k; groups *= 2) {
            int size = k / groups;
            for (int g = 0; g < groups; g++)
                for (int j = 0; j < size / 2; j++)
                    halves(v[g * size + 2 * j], v[g * size + 2 * j + 1], &w[2 * g * (size / 2) + j],
                           &w[(2 * g + 1) * (size / 2) + j]);
            for (int j = 0; j < k; j++) v[j] = w[j];
        }
        /* The passes leave byte j where the bits of j, read backwards, say. */
        for (int j = 0; j < k; j++) {
            int where = k == 1 ? 0 : k == 2 ? j : k == 4 ? (j >> 1 | (j & 1) << 1) : (j >> 2 | (j & 2) | (j & 1) << 2);
            bits(v[where], out + 8 * (size_t)j * plane + i / 8, plane);
        }
    }
    return i;
}

FOR("avx2") static size_t with_avx2(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    switch (k) {
    case 1: return by_32(in, out, n, 1);
    case 2: return by_32(in, out, n, 2);
    case 4: return by_32(in, out, n, 4);
    case 8: return by_32(in, out, n, 8);
    }
    return 0;
}
#endif

static void transpose(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    size_t done = 0;
#if X86_64
    if (__builtin_cpu_supports("avx2")) done = with_avx2(in, out, n, k);
#endif
    plainly(in, out, done, n, k);
}

/* Encode n elements of k bytes in blocks of so many elements, without the filter's first 12 bytes. Return how many
   bytes were written, or 0 where a block is larger than this can do. There is room for what bitshuffle asks for. */
EXPORT size_t nx_bitshuffle_lz4(const uint8_t *in, uint8_t *out, size_t n, size_t k, size_t block)
{
    uint8_t bits_[MOST_BLOCK + LZ4_BEYOND] = {0};
    uint16_t table[LZ4_ENTRIES] = {0};
    uint8_t *start = out;
    if (!block || block % 8 || block * k > MOST_BLOCK) return 0;
    for (size_t at = 0; n - at >= 8;) {
        size_t m = n - at < block ? (n - at) & ~(size_t)7 : block;
        transpose(in + at * k, bits_, m, k);
        size_t size = lz4_block(bits_, m * k, out + 4, table);
        store_be32(out, (uint32_t)size);
        out += 4 + size;
        at += m;
    }
    memcpy(out, in + n / 8 * 8 * k, n % 8 * k);
    return (size_t)(out - start) + n % 8 * k;
}

/* Put the bits of bytes together again, the elements' bytes still by their place; `first` is a multiple of 8. */
static void undone_plainly(const uint8_t *in, uint8_t *out, size_t first, size_t n, size_t k)
{
    size_t plane = n / 8;
    for (size_t j = 0; j < k; j++)
        for (size_t i = first; i < n; i += 8) {
            uint64_t x = 0;
            for (size_t b = 0; b < 8; b++) x |= (uint64_t)in[(8 * j + b) * plane + i / 8] << (8 * b);
            x = eight(x);
            memcpy(out + j * n + i, &x, 8);
        }
}

#if X86_64
INLINE __m256i swapped(__m256i x, const int by, uint64_t which)
{
    __m256i t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, by)), _mm256_set1_epi64x((long long)which));
    return _mm256_xor_si256(_mm256_xor_si256(x, t), _mm256_slli_epi64(t, by));
}

/* The same as `eight`, on four numbers. */
INLINE __m256i eights(__m256i x)
{
    return swapped(swapped(swapped(x, 7, 0x00aa00aa00aa00aaULL), 14, 0x0000cccc0000ccccULL), 28, 0x00000000f0f0f0f0ULL);
}

FOR("avx2") static size_t undone_avx2(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    size_t plane = n / 8, i = 0;
    for (size_t j = 0; j < k; j++, in += 8 * plane, out += n)
        for (i = 0; i + 256 <= n; i += 256) {
            __m256i v[8], w[8];
            for (size_t b = 0; b < 8; b++) v[b] = _mm256_loadu_si256((const __m256i *)(in + b * plane + i / 8));
            for (int b = 0; b < 4; b++) { /* gather the bytes of a place, one of each plane */
                w[b] = _mm256_unpacklo_epi8(v[2 * b], v[2 * b + 1]);
                w[4 + b] = _mm256_unpackhi_epi8(v[2 * b], v[2 * b + 1]);
            }
            for (int h = 0; h < 2; h++)
                for (int b = 0; b < 2; b++) {
                    v[4 * h + b] = _mm256_unpacklo_epi16(w[4 * h + 2 * b], w[4 * h + 2 * b + 1]);
                    v[4 * h + 2 + b] = _mm256_unpackhi_epi16(w[4 * h + 2 * b], w[4 * h + 2 * b + 1]);
                }
            for (int q = 0; q < 4; q++) {
                w[2 * q] = _mm256_unpacklo_epi32(v[2 * q], v[2 * q + 1]);
                w[2 * q + 1] = _mm256_unpackhi_epi32(v[2 * q], v[2 * q + 1]);
            }
            for (int q = 0; q < 8; q++) {
                __m256i x = eights(w[q]);
                _mm_storeu_si128((__m128i *)(out + i + 16 * q), _mm256_castsi256_si128(x));
                _mm_storeu_si128((__m128i *)(out + i + 128 + 16 * q), _mm256_extracti128_si256(x, 1));
            }
        }
    return i;
}
#endif

static void undone(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    size_t done = 0;
#if X86_64
    if (__builtin_cpu_supports("avx2")) done = undone_avx2(in, out, n, k);
#endif
    undone_plainly(in, out, done, n, k);
}

/* Decode what `nx_bitshuffle_lz4` or bitshuffle makes of n elements of k bytes; return 0 when it is not that. */
EXPORT int nx_unbitshuffle_lz4(const uint8_t *in, size_t size, uint8_t *out, size_t n, size_t k, size_t block)
{
    uint8_t bits_[MOST_BLOCK + LZ4_BEYOND], bytes[MOST_BLOCK];
    const uint8_t *end = in + size;
    if (!block || block % 8 || block * k > MOST_BLOCK) return 0;
    for (size_t at = 0; n - at >= 8;) {
        size_t m = n - at < block ? (n - at) & ~(size_t)7 : block;
        if (end - in < 4) return 0;
        size_t own = (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | in[3];
        in += 4;
        if (own > (size_t)(end - in) || !lz4_unblock(in, own, bits_, m * k)) return 0;
        if (k == 1) undone(bits_, out + at, m, 1);
        else {
            undone(bits_, bytes, m, k);
            nx_unshuffle(bytes, out + at * k, m, k);
        }
        in += own;
        at += m;
    }
    if ((size_t)(end - in) != n % 8 * k) return 0;
    memcpy(out + n / 8 * 8 * k, in, n % 8 * k);
    return 1;
}
