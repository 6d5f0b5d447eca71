/* The bytes of elements of 2, 4 or 8 bytes by their place, as HDF5's filter 2 puts them, and back. */
#include "shuffle.h"

static void apart(const uint8_t *in, uint8_t *out, size_t first, size_t n, size_t k)
{
    for (size_t j = 0; j < k; j++)
        for (size_t i = first; i < n; i++) out[j * n + i] = in[i * k + j];
}

static void together(const uint8_t *in, uint8_t *out, size_t first, size_t n, size_t k)
{
    for (size_t i = first; i < n; i++)
        for (size_t j = 0; j < k; j++) out[i * k + j] = in[j * n + i];
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

/* Put 64 bytes together of which the even ones and the odd ones are apart. */
INLINE void whole(__m256i even, __m256i odd, __m256i *a, __m256i *b)
{
    even = _mm256_permute4x64_epi64(even, 0xd8);
    odd = _mm256_permute4x64_epi64(odd, 0xd8);
    *a = _mm256_unpacklo_epi8(even, odd);
    *b = _mm256_unpackhi_epi8(even, odd);
}

/* After passes of `halves` byte j is where the bits of j, read backwards, say. */
INLINE int place(int j, const int k)
{
    return k == 2 ? j : k == 4 ? (j >> 1 | (j & 1) << 1) : (j >> 2 | (j & 2) | (j & 1) << 2);
}

INLINE size_t apart_32(const uint8_t *in, uint8_t *out, size_t n, const int k)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v[8], w[8];
        for (int j = 0; j < k; j++) v[j] = _mm256_loadu_si256((const __m256i *)(in + i * (size_t)k) + j);
        for (int size = k; size > 1; size /= 2) {
            for (int g = 0; g < k; g += size)
                for (int j = 0; j < size / 2; j++)
                    halves(v[g + 2 * j], v[g + 2 * j + 1], &w[g + j], &w[g + size / 2 + j]);
            for (int j = 0; j < k; j++) v[j] = w[j];
        }
        for (int j = 0; j < k; j++) _mm256_storeu_si256((__m256i *)(out + (size_t)j * n + i), v[place(j, k)]);
    }
    return i;
}

INLINE size_t together_32(const uint8_t *in, uint8_t *out, size_t n, const int k)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v[8], w[8];
        for (int j = 0; j < k; j++) v[place(j, k)] = _mm256_loadu_si256((const __m256i *)(in + (size_t)j * n + i));
        for (int size = 2; size <= k; size *= 2) {
            for (int g = 0; g < k; g += size)
                for (int j = 0; j < size / 2; j++)
                    whole(v[g + j], v[g + size / 2 + j], &w[g + 2 * j], &w[g + 2 * j + 1]);
            for (int j = 0; j < k; j++) v[j] = w[j];
        }
        for (int j = 0; j < k; j++) _mm256_storeu_si256((__m256i *)(out + i * (size_t)k) + j, v[j]);
    }
    return i;
}

#define WITH_AVX2(name, by_32)                                                               \
    FOR("avx2") static size_t name(const uint8_t *in, uint8_t *out, size_t n, size_t k)      \
    {                                                                                        \
        return k == 2 ? by_32(in, out, n, 2) : k == 4 ? by_32(in, out, n, 4) : k == 8 ? by_32(in, out, n, 8) : 0; \
    }
WITH_AVX2(apart_avx2, apart_32)
WITH_AVX2(together_avx2, together_32)
#endif

/* Put the first bytes of n elements of k bytes first, then the second ones, and so on. */
EXPORT void nx_shuffle(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    size_t done = 0;
#if X86_64
    if (__builtin_cpu_supports("avx2")) done = apart_avx2(in, out, n, k);
#endif
    apart(in, out, done, n, k);
}

/* Undo `nx_shuffle`. */
EXPORT void nx_unshuffle(const uint8_t *in, uint8_t *out, size_t n, size_t k)
{
    size_t done = 0;
#if X86_64
    if (__builtin_cpu_supports("avx2")) done = together_avx2(in, out, n, k);
#endif
    together(in, out, done, n, k);
}
