/* The byte offsets of CBF; nxconvert/byte_offset.py says what they are. Needs a little-endian machine. */
#include "common.h"

#ifdef _MSC_VER
#define INLINE static __forceinline
#else
#define INLINE __attribute__((always_inline)) static inline
#endif

INLINE uint64_t pixel(const uint8_t *in, const int k)
{
    uint64_t v = 0;
    memcpy(&v, in, (size_t)k);
    return v;
}

/* Read n pixels of k bytes. Bytes behind them are read too, but only counted. */
INLINE int64_t read(const uint8_t *in, size_t size, uint8_t *out, size_t n, const int k)
{
    const uint8_t *end = in + size;
    uint64_t sum = 0;
    size_t found = 0;
    for (; in < end; found++) {
        int64_t step = (int8_t)*in++;
        if (step == -128) {
            int16_t two;
            int32_t four;
            if (end - in < 2) return -1;
            memcpy(&two, in, 2);
            in += 2;
            step = two;
            if (two == INT16_MIN) {
                if (end - in < 4) return -1;
                memcpy(&four, in, 4);
                in += 4;
                step = four;
                if (four == INT32_MIN) {
                    if (end - in < 8) return -1;
                    memcpy(&step, in, 8);
                    in += 8;
                }
            }
        }
        if (found < n) {
            sum += (uint64_t)step;
            memcpy(out + found * (size_t)k, &sum, (size_t)k);
        }
    }
    return (int64_t)found;
}

/* Return how many pixels a stream has, the first n of which are written to `out`; -1 where the last is incomplete. */
EXPORT int64_t nx_byte_offset_decode(const uint8_t *in, size_t size, uint8_t *out, size_t n, int k)
{
    switch (k) {
    case 1: return read(in, size, out, n, 1);
    case 2: return read(in, size, out, n, 2);
    case 4: return read(in, size, out, n, 4);
    case 8: return read(in, size, out, n, 8);
    }
    return -1;
}

/* Write a step of more than one byte; return how many it takes. */
static inline size_t escaped(int64_t step, uint8_t *out)
{
    static const uint8_t marks[] = {0x80, 0, 0x80, 0, 0, 0, 0x80};
    memcpy(out, marks, sizeof marks);
    if (step > INT16_MIN && step <= INT16_MAX) {
        memcpy(out + 1, &step, 2);
        return 3;
    }
    if (step > INT32_MIN && step <= INT32_MAX) {
        memcpy(out + 3, &step, 4);
        return 7;
    }
    memcpy(out + 7, &step, 8);
    return 15;
}

INLINE int64_t signed_(uint64_t v, const int k)
{
    return k == 1 ? (int8_t)v : k == 2 ? (int16_t)v : k == 4 ? (int32_t)v : (int64_t)v;
}

enum { COUNT, WRITE, COMPARE };

INLINE size_t walk(const uint8_t *in, size_t n, const int k, const int mode, uint8_t *out, size_t size)
{
    size_t at = 0;
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = pixel(in + i * (size_t)k, k);
        int64_t step = signed_(v - before, k);
        before = v;
        if (step >= -127 && step <= 127) {
            if (mode == WRITE) out[at] = (uint8_t)step;
            if (mode == COMPARE && (at == size || out[at] != (uint8_t)step)) return 0;
            at++;
            continue;
        }
        uint8_t own[15];
        size_t more = escaped(step, own);
        if (mode == WRITE) memcpy(out + at, own, more);
        if (mode == COMPARE && (size - at < more || memcmp(out + at, own, more))) return 0;
        at += more;
    }
    return mode == COMPARE ? at == size : at;
}

#define FOR_EACH_SIZE(mode, out, size)              \
    switch (k) {                                    \
    case 1: return walk(in, n, 1, mode, out, size); \
    case 2: return walk(in, n, 2, mode, out, size); \
    case 4: return walk(in, n, 4, mode, out, size); \
    case 8: return walk(in, n, 8, mode, out, size); \
    }

/* Write n pixels of k bytes to `out`, unless it is null, and return how many bytes they take. */
EXPORT size_t nx_byte_offset_encode(const uint8_t *in, size_t n, int k, uint8_t *out)
{
    if (out) FOR_EACH_SIZE(WRITE, out, 0)
    else FOR_EACH_SIZE(COUNT, NULL, 0)
    return 0;
}

/* Tell whether a stream is the one that `nx_byte_offset_encode` makes of n pixels of k bytes. */
EXPORT int nx_byte_offset_same(const uint8_t *in, size_t n, int k, const uint8_t *stream, size_t size)
{
    uint8_t *out = (uint8_t *)stream; /* only read */
    FOR_EACH_SIZE(COMPARE, out, size)
    return 0;
}
