/* Rows of numbers written as text: each float with the fewest digits that give it back bit by bit, of those the nearest.

   Facts: R. Giulietti, "The Schubfach way to render doubles" (2020): four times a number, and four times the ends of the
   interval that rounds to it, are scaled by a power of ten whose first 128 bits the caller has in a table (rounded up),
   and cut off to whole numbers whose last bit is set where something was cut; the shortest decimal is then found by
   comparing whole numbers. */
#include "common.h"

enum { LOWEST = -292 }; /* power of ten with which the caller's table begins */

/* Types of columns: letters as numpy has them. */
enum { FLOAT64 = 'd', FLOAT32 = 'f', BOOL = '?' };

struct column {
    const uint8_t *values;
    int64_t stride; /* in bytes, from row to row */
    int64_t kind;
    int64_t length;      /* rows from here on are missing */
    const uint8_t *mask; /* or NULL: not 0 where a value is missing */
    int64_t mask_stride;
};

struct style {
    const char *missing, *no, *yes; /* what is missing, false, true; ended by a zero */
    int64_t separator, decimal;     /* between cells, and in numbers */
};

/* Return the whole part of a number times a power of ten, its last bit set where something was cut off. */
static inline uint64_t scaled(const uint64_t *power, uint64_t number)
{
    uint64_t carried, high, low;
    multiply(power[1], number, &carried);
    low = multiply(power[0], number, &high) + carried;
    high += low < carried;
    return high | (low > 1); /* the power was rounded up by less than this */
}

/* Return the digits of the shortest decimal, and set its power of ten, of fraction * 2^exponent; even: ties round to it;
   lower: it is a power of two, so that the number below it is nearer. */
static uint64_t shortest(const uint64_t (*powers)[2], uint64_t fraction, int exponent, int lower, int *ten)
{
    /* logarithms of two to the base ten, of three quarters, and of ten to the base two, good for these exponents */
    int k = (exponent * 1262611 - (lower ? 524031 : 0)) >> 22;
    int shift = exponent + ((-k * 1741647) >> 19) + 1, odd = (int)(fraction & 1);
    const uint64_t *power = powers[-k - LOWEST];
    uint64_t below = scaled(power, (4 * fraction - 2 + (uint64_t)lower) << shift) + (uint64_t)odd;
    uint64_t number = scaled(power, 4 * fraction << shift);
    uint64_t above = scaled(power, (4 * fraction + 2) << shift) - (uint64_t)odd;
    uint64_t digits = number / 4;
    if (digits >= 10) { /* perhaps one digit less will do */
        uint64_t tens = digits / 10;
        int down = below <= 40 * tens, up = 40 * tens + 40 <= above;
        if (down != up) { *ten = k + 1; return tens + (uint64_t)up; }
    }
    int down = below <= 4 * digits, up = 4 * digits + 4 <= above;
    *ten = k;
    if (down != up) return digits + (uint64_t)up;
    uint64_t middle = 4 * digits + 2;
    return digits + (number > middle || (number == middle && (digits & 1)));
}

static const uint64_t TENS[] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000,
    1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000,
    1000000000000000000, 10000000000000000000u};

/* Return eight digits as they stand in memory. */
static inline uint64_t eight(uint32_t v)
{
    uint64_t w = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = (w * 10486 >> 20) & 0x7f0000007fULL;
    w = hundreds | (w - 100 * hundreds) << 16;
    uint64_t tens = (w * 103 >> 10) & 0x000f000f000f000fULL;
    return (tens | (w - 10 * tens) << 8) + 0x3030303030303030ULL;
}

/* Write the last n digits of a number; up to seven bytes behind them may be written too. */
static inline void put_digits(uint8_t *p, uint64_t v, int n)
{
    uint64_t low = 0, middle = 0;
    int more = 0; /* parts of eight digits that follow the first ones */
    for (; n > 8; n -= 8, v /= 100000000, more++) {
        middle = low;
        low = eight((uint32_t)(v % 100000000));
    }
    uint64_t first = eight((uint32_t)v) >> (64 - 8 * n);
    memcpy(p, &first, 8);
    if (more) memcpy(p + n, &low, 8);
    if (more > 1) memcpy(p + n + 8, &middle, 8);
}

static inline int digits_in(uint64_t v)
{
    int n = 0;
#if defined(__GNUC__) || defined(__clang__)
    n = (63 - __builtin_clzll(v | 1)) * 1233 >> 12; /* logarithm of two to the base ten */
#endif
    while (n < 19 && v >= TENS[n + 1]) n++;
    return n + 1;
}

static inline uint8_t *put_whole(uint8_t *p, uint64_t v)
{
    int n = digits_in(v);
    put_digits(p, v, n);
    return p + n;
}

static inline uint8_t *put_signed(uint8_t *p, int64_t v)
{
    if (v < 0) *p++ = '-';
    return put_whole(p, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

static inline uint8_t *put_text(uint8_t *p, const char *text)
{
    while (*text) *p++ = (uint8_t)*text++;
    return p;
}

/* Write digits 10^ten: without an exponent where more than least and no more than most digits stand before the point,
   less than none for zeros behind it. */
static uint8_t *put_decimal(uint8_t *p, uint64_t digits, int ten, int least, int most, uint8_t point)
{
    if (digits % 10 == 0) {
        do { digits /= 10; ten++; } while (digits % 10 == 0);
    }
    int n = digits_in(digits), before = n + ten; /* digits before the point */
    if (least < before && before <= 0) {
        *p++ = '0';
        *p++ = point;
        for (; before < 0; before++) *p++ = '0';
        put_digits(p, digits, n);
        return p + n;
    }
    if (0 < before && before <= most) {
        if (ten < 0) {
            put_digits(p, digits / TENS[-ten], before);
            p[before] = point;
            put_digits(p + before + 1, digits % TENS[-ten], -ten);
            return p + n + 1;
        }
        put_digits(p, digits, n);
        p += n;
        for (; ten > 0; ten--) *p++ = '0';
        *p++ = point;
        *p++ = '0';
        return p;
    }
    put_digits(p + 1, digits, n);
    p[0] = p[1];
    if (n > 1) p[1] = point;
    p += n > 1 ? n + 1 : 1;
    *p++ = 'e';
    before--;
    *p++ = before < 0 ? '-' : '+';
    return put_whole(p, (uint64_t)(before < 0 ? -before : before));
}

/* A type of floating point: bits of its fraction, its least exponent, where it is infinite; and between which digits
   before the point it is written without an exponent, as orjson does. */
struct binary { int bits, least, infinite, small, large; };
static const struct binary binary64 = {52, -1074, 0x7ff, -5, 16}, binary32 = {23, -149, 0xff, -6, 13};

static inline uint8_t *put_float(uint8_t *p, uint64_t bits, const struct binary *b, const uint64_t (*powers)[2],
                                 uint8_t point)
{
    int exponent = (int)(bits >> b->bits) & b->infinite, negative = (int)(bits >> (b->bits == 52 ? 63 : 31)) & 1;
    uint64_t fraction = bits & ((1ULL << b->bits) - 1);
    if (exponent == b->infinite) {
        if (fraction) return put_text(p, "nan");
        return put_text(p, negative ? "-inf" : "inf");
    }
    if (negative) *p++ = '-';
    if (!exponent && !fraction) {
        p[0] = '0'; p[1] = point; p[2] = '0';
        return p + 3;
    }
    int lower = !fraction && exponent > 1, ten;
    if (exponent) fraction |= 1ULL << b->bits, exponent--;
    exponent += b->least;
    if (exponent <= 0 && exponent >= -b->bits && !(fraction & ((1ULL << -exponent) - 1))) { /* a whole number */
        p = put_whole(p, fraction >> -exponent);
        p[0] = point; p[1] = '0';
        return p + 2;
    }
    uint64_t digits = shortest(powers, fraction, exponent, lower, &ten);
    return put_decimal(p, digits, ten, b->small, b->large, point);
}

static inline uint8_t *put_cell(uint8_t *p, const uint8_t *v, int64_t kind, const uint64_t (*powers)[2],
                                const struct style *style)
{
    switch (kind) {
    case FLOAT64: return put_float(p, load64(v), &binary64, powers, (uint8_t)style->decimal);
    case FLOAT32: return put_float(p, load32(v), &binary32, powers, (uint8_t)style->decimal);
    case BOOL: return put_text(p, *v ? style->yes : style->no);
    case 'b': return put_signed(p, (int8_t)*v);
    case 'B': return put_whole(p, *v);
    case 'h': { int16_t w; memcpy(&w, v, 2); return put_signed(p, w); }
    case 'H': { uint16_t w; memcpy(&w, v, 2); return put_whole(p, w); }
    case 'i': return put_signed(p, (int32_t)load32(v));
    case 'I': return put_whole(p, load32(v));
    case 'q': return put_signed(p, (int64_t)load64(v));
    default: return put_whole(p, load64(v));
    }
}

/* Write rows, each ended by a line feed; return the bytes written. There is room for 32 bytes a cell, or as many as the
   longest of the style's texts where that is more, and for 64 more. */
EXPORT size_t nx_rows(const struct column *columns, size_t width, size_t rows, const uint64_t (*powers)[2],
                      const struct style *style, uint8_t *out)
{
    uint8_t *p = out;
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < width; i++) {
            const struct column *c = columns + i;
            int64_t at = (int64_t)row;
            if (at >= c->length || (c->mask && c->mask[at * c->mask_stride]))
                p = put_text(p, style->missing);
            else
                p = put_cell(p, c->values + at * c->stride, c->kind, powers, style);
            *p++ = (uint8_t)style->separator;
        }
        p[width ? -1 : 0] = '\n';
        p += !width;
    }
    return (size_t)(p - out);
}
