/* LZW as libtiff and tifffile write it, to the bit, and PackBits as libtiff does. The twins in Python, which say what
   choices those programs take, are nxconvert/formats/tiff/libtiff.py; here the same is done faster. */
#include "common.h"

enum { CLEAR = 256, END = 257, FIRST = 258, FULL = 4096, GAP = 10000, ENTRIES = 1 << 14 };

/* Where codes go: to `out` or, when `compare` is set, beside what is there. */
typedef struct {
    uint8_t *out, *end;
    uint64_t bits;
    int n, compare, wrong;
} Sink;

static inline void put_byte(Sink *s, uint8_t byte)
{
    if (!s->compare) *s->out++ = byte;
    else if (s->out < s->end && *s->out == byte) s->out++;
    else s->wrong = 1;
}

static inline void put(Sink *s, uint32_t code, int width)
{
    s->bits = s->bits << width | code;
    for (s->n += width; s->n >= 8; s->n -= 8) put_byte(s, (uint8_t)(s->bits >> (s->n - 8)));
}

/* The width of a code by how many came since the table was cleared: the table grows by one with each. */
static inline int width_of(size_t number)
{
    return number < 254 ? 9 : number < 766 ? 10 : number < 1790 ? 11 : 12;
}

static inline int length_of(uint32_t n) { return n < 512 ? 9 : n < 1024 ? 10 : n < 2048 ? 11 : n < 4096 ? 12 : 13; }

/* Encode n bytes, at least one; see lzw() in libtiff.py. The table has 20 bits of a string and a byte, 12 of a code. */
static void lzw(const uint8_t *in, size_t n, int thrifty, Sink *s)
{
    uint32_t table[ENTRIES];
    uint32_t last = thrifty ? FULL - 2 : FULL, free_ = FIRST, string = in[0];
    int64_t before = -1, check = thrifty ? GAP : INT64_MAX, bits = 9, best = 0;
    size_t number = 0;
    memset(table, 255, sizeof table);
    put(s, CLEAR, 9);
    for (size_t at = 1; at < n && !s->wrong; at++) {
        uint32_t key = string << 8 | in[at], place = (key * 0x9e3779b1u) >> 18;
        while (table[place] != UINT32_MAX && table[place] >> 12 != key) place = (place + 1) % ENTRIES;
        if (table[place] != UINT32_MAX) {
            string = table[place] & 4095;
            continue;
        }
        put(s, string, width_of(number++));
        table[place] = key << 12 | free_;
        string = in[at];
        int width = length_of(free_), clear;
        bits += width;
        free_++;
        clear = free_ == last;
        int64_t since = (int64_t)at - before;
        if (!clear && length_of(free_) == width && since >= check) {
            check = since + GAP;
            int64_t ratio = (since << 8) / bits;
            clear = ratio <= best;
            best = ratio;
        }
        if (clear) {
            put(s, CLEAR, width_of(number));
            number = 0;
            memset(table, 255, sizeof table);
            bits = width;
            before = (int64_t)at;
            best = 0;
            free_ = FIRST;
        }
    }
    put(s, string, width_of(number++));
    if (thrifty && free_ + 1 == last) {
        put(s, CLEAR, width_of(number));
        number = 0;
    }
    put(s, END, width_of(number));
    if (s->n || !thrifty) put_byte(s, (uint8_t)(s->bits << (8 - s->n))); /* tifffile ends with an empty byte */
}

/* Write n bytes, at least one, as LZW; return how many were written. There is room for 2 n + 16. */
EXPORT size_t nx_lzw_encode(const uint8_t *in, size_t n, int thrifty, uint8_t *out)
{
    Sink s = {out, NULL, 0, 0, 0, 0};
    lzw(in, n, thrifty, &s);
    return (size_t)(s.out - out);
}

/* Tell whether a stream is the one that `nx_lzw_encode` makes of n bytes. */
EXPORT int nx_lzw_same(const uint8_t *in, size_t n, int thrifty, const uint8_t *stream, size_t size)
{
    Sink s = {(uint8_t *)stream, (uint8_t *)stream + size, 0, 0, 1, 0}; /* only read */
    lzw(in, n, thrifty, &s);
    return !s.wrong && s.out == s.end;
}

/* Write n bytes in rows as PackBits; return how many were written. There is room for 2 n. See packbits() in libtiff.py. */
EXPORT size_t nx_packbits_encode(const uint8_t *in, size_t n, size_t row, uint8_t *out)
{
    uint8_t *start = out;
    if (!row) return 0;
    for (size_t first = 0; first < n; first += row) {
        size_t end = n - first < row ? n : first + row;
        uint8_t *literal = NULL; /* the open literal's count */
        int followed = 0;        /* whether a run follows it, which may become a part of it */
        for (size_t at = first; at < end;) {
            uint8_t byte = in[at];
            size_t m = 1;
            while (at + m < end && in[at + m] == byte) m++;
            at += m;
            for (; m > 128; m -= 128) {
                *out++ = 129;
                *out++ = byte;
                literal = NULL;
                followed = 0;
            }
            if (m > 1) {
                *out++ = (uint8_t)(257 - m);
                *out++ = byte;
                if (followed) literal = NULL;
                followed = literal != NULL;
                continue;
            }
            if (followed) {
                int joins = out[-2] == 255 && *literal < 126;
                if (joins) {
                    *literal = (uint8_t)(*literal + 2);
                    out[-2] = out[-1];
                }
                if (!joins || *literal >= 127) literal = NULL;
                followed = 0;
            }
            if (!literal) {
                literal = out;
                *out++ = 0;
                *out++ = byte;
                continue;
            }
            *out++ = byte;
            if (++*literal == 127) literal = NULL;
        }
    }
    return (size_t)(out - start);
}
