/* LZ4 blocks of at most 64 KiB, as bitshuffle makes them: much is zero, much is noise, and little lies between.

   Facts: "LZ4 Block Format Description" of the LZ4 project. A sequence is a token, literals and a match; the last five
   bytes are literals, and no match begins in the last twelve. */
#include "lz4.h"

enum { LAST_LITERALS = 5, LAST_MATCH = 12, PATIENCE = 6 };

/* The first five of eight bytes, and the entry of the table for them. */
static inline uint64_t five(const uint8_t *p) { return load64(p) << 24; }
static inline uint32_t place(uint64_t v) { return (uint32_t)(v * 0x9e3779b97f4a7c15ULL >> 52); }

/* Count the bytes in which a and b agree, b before the end. */
static inline size_t alike(const uint8_t *a, const uint8_t *b, const uint8_t *end)
{
    const uint8_t *start = b;
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (b + 8 <= end) {
        uint64_t x = load64(a) ^ load64(b);
        if (x) return (size_t)(b - start) + (size_t)(__builtin_ctzll(x) >> 3);
        a += 8;
        b += 8;
    }
#endif
    while (b < end && *a == *b) { a++; b++; }
    return (size_t)(b - start);
}

static inline uint8_t *length(uint8_t *out, size_t n)
{
    for (; n >= 255; n -= 255) *out++ = 255;
    *out++ = (uint8_t)n;
    return out;
}

/* Write a token and literals, and up to 16 bytes of no meaning behind them. They are there in the input; and in the
   output, since at least twelve bytes of input follow, and room for n bytes is n + n / 255 + 16. */
static inline uint8_t *literals(uint8_t *out, const uint8_t *from, size_t n, uint8_t **token)
{
    *token = out++;
    if (n < 15) {
        **token = (uint8_t)(n << 4);
        memcpy(out, from, 16);
        return out + n;
    }
    **token = 0xf0;
    out = length(out, n - 15);
    for (size_t i = 0; i < n; i += 16) memcpy(out + i, from + i, 16);
    return out + n;
}

/* Compress n bytes; return how many were written. The table may hold anything from other blocks: a place in it is
   believed only when the bytes there are the same. */
size_t lz4_block(const uint8_t *in, size_t n, uint8_t *out, uint16_t *table)
{
    const uint8_t *at = in, *kept = in, *end = in + n;
    uint8_t *start = out, *token;
    if (n > LAST_MATCH) {
        const uint8_t *limit = end - LAST_MATCH, *stop = end - LAST_LITERALS;
        uint32_t misses = 1u << PATIENCE;
        at++;
        table[place(five(in))] = 0;
        while (at <= limit) {
            uint64_t here = five(at);
            uint32_t h = place(here);
            const uint8_t *before = in + table[h];
            table[h] = (uint16_t)(at - in);
            if (five(before) != here || before >= at) { /* in this order: what the bytes are is easier foretold */
                at += misses++ >> PATIENCE;
                continue;
            }
            while (at > kept && before > in && at[-1] == before[-1]) { at--; before--; }
            out = literals(out, kept, (size_t)(at - kept), &token);
            size_t distance = (size_t)(at - before), more = 1 + alike(before + 5, at + 5, stop);
            *out++ = (uint8_t)distance;
            *out++ = (uint8_t)(distance >> 8);
            *token |= (uint8_t)(more < 15 ? more : 15);
            if (more >= 15) out = length(out, more - 15);
            at += 4 + more;
            kept = at;
            misses = 1u << PATIENCE;
            if (at <= limit) table[place(five(at - 2))] = (uint16_t)(at - 2 - in);
        }
    }
    size_t n_left = (size_t)(end - kept);
    *out++ = (uint8_t)((n_left < 15 ? n_left : 15) << 4);
    if (n_left >= 15) out = length(out, n_left - 15);
    memcpy(out, kept, n_left);
    return (size_t)(out + n_left - start);
}

/* Copy n bytes and up to 31 more, which are there on both sides. */
static inline void copy(uint8_t *out, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i += 32) memcpy(out + i, from + i, 32);
}

/* Read the rest of a length; where the input ends, it gets longer than any block. */
static inline size_t longer(const uint8_t **in, const uint8_t *end)
{
    size_t n = 15;
    uint8_t byte = 255;
    while (byte == 255) {
        if (*in == end) return SIZE_MAX / 2;
        byte = *(*in)++;
        n += byte;
    }
    return n;
}

/* Decompress n bytes into exactly `size`, behind which LZ4_BEYOND more may be written; return 0 when they are no block
   of this size. Nothing is read before or behind what is there. */
int lz4_unblock(const uint8_t *in, size_t n, uint8_t *out, size_t size)
{
    const uint8_t *end = in + n, *start = out, *stop = out + size;
    while (in < end) {
        unsigned token = *in++;
        size_t m = token >> 4;
        if (m == 15) m = longer(&in, end);
        if (m > (size_t)(end - in) || m > (size_t)(stop - out)) return 0;
        if ((size_t)(end - in) - m >= 32) copy(out, in, m);
        else memcpy(out, in, m);
        in += m;
        out += m;
        if (in == end) return out == stop;
        if (end - in < 2) return 0;
        size_t distance = in[0] | (size_t)in[1] << 8;
        in += 2;
        m = token & 15;
        if (m == 15) m = longer(&in, end);
        m += 4;
        if (!distance || distance > (size_t)(out - start) || m > (size_t)(stop - out)) return 0;
        if (distance >= 32) copy(out, out - distance, m);
        else if (distance == 1) memset(out, out[-1], m);
        else {
            uint8_t *to = out;
            size_t left = m;
            for (; left > distance; to += distance, left -= distance, distance *= 2) memcpy(to, to - distance, distance);
            memcpy(to, to - distance, left);
        }
        out += m;
    }
    return 0;
}
