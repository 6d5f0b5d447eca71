/* Rows of numbers, written as text, read into columns: each number is the nearest one of its type, ties to even.

   Facts: D. Lemire, "Number parsing at a gigabyte per second" (2021), and N. Mushtak and D. Lemire, "Fast number
   parsing without fallback" (2023): the product of up to 19 digits with the first 128 bits of a power of five, of which
   the caller has a table, settles how a number of binary64 or binary32 is rounded. What has more digits is settled when
   it rounds as the numbers just below and above it do; else, as everything that is no plain number, it is left to
   Python. */
#include "common.h"

enum { LOWEST = -342, HIGHEST = 308, DIGITS = 19, FAR = 100000000 };

/* A row has cells of these kinds. Letters as numpy has them, where it has some. */
enum { FLOAT64 = 'd', FLOAT32 = 'f', BOOL = '?', SKIPPED = '-', SPARE = ' ' };

/* A type of floating point: bits of its fraction, its least exponent, where it is infinite, and between which powers of
   ten (negative, positive) a number of 64 bits can lie in the middle of two. */
struct binary { int bits, least, infinite, even_from, even_to; };
static const struct binary binary64 = {52, -1023, 0x7ff, -4, 23}, binary32 = {23, -127, 0xff, -17, 10};

/* (-1)^negative digits 10^exponent; cut when there were more digits than are here. */
struct decimal { uint64_t digits; int exponent, negative, cut; };

struct reader {
    const uint8_t *end;          /* of the text; the byte before it is a line feed */
    const uint64_t (*powers)[2]; /* first 64 bits and next 64 bits of the powers of five from LOWEST to HIGHEST */
    uint8_t separator, decimal;
};

static inline int leading_zeros(uint64_t v)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_clzll(v);
#else
    int n = 0;
    for (int step = 32; step; step /= 2)
        if (!(v >> (64 - step))) { n += step; v <<= step; }
    return n;
#endif
}

/* Return digits 10^exponent, rounded to a type, as its bits without the sign. */
static inline uint64_t rounded(const struct reader *r, uint64_t digits, int exponent, const struct binary *b)
{
    uint64_t infinity = (uint64_t)b->infinite << b->bits;
    if (!digits || exponent < LOWEST) return 0;
    if (exponent > HIGHEST) return infinity;
    const uint64_t *power = r->powers[exponent - LOWEST];
    int zeros = leading_zeros(digits);
    uint64_t high, more, open = ~0ULL >> (b->bits + 3), low = multiply(digits << zeros, power[0], &high);
    if ((high & open) == open) { /* what follows may carry over */
        multiply(digits << zeros, power[1], &more);
        low += more;
        high += low < more;
    }
    int top = (int)(high >> 63), shift = top + 61 - b->bits;
    uint64_t fraction = high >> shift; /* one bit more than there is room for: by it we round */
    /* 217706 / 65536 is the logarithm of ten to the base two, good enough for these exponents */
    int power_of_two = (int)(((int64_t)217706 * exponent) >> 16) + 63 + top - zeros - b->least;
    if (power_of_two <= 0) {
        if (power_of_two < -62) return 0;
        fraction >>= 1 - power_of_two;
        return (fraction + (fraction & 1)) >> 1; /* what is too large for a subnormal number is the least normal one */
    }
    int may_tie = low <= 1 && exponent >= b->even_from && exponent <= b->even_to;
    if (may_tie && (fraction & 3) == 1 && fraction << shift == high) fraction--; /* in the middle: to the even one */
    fraction = (fraction + (fraction & 1)) >> 1;
    /* the leading bit of the fraction adds one to the exponent, and one that was carried another */
    uint64_t bits = ((uint64_t)(power_of_two - 1) << b->bits) + fraction;
    return bits < infinity ? bits : infinity;
}

/* Take up to eight digits; return how many. */
static inline int some_digits(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    int n = 0;
    uint64_t v;
    if (p + 8 > end) {
        for (; p + n < end && (uint8_t)(p[n] - '0') < 10; n++) *value = *value * 10 + (uint64_t)(p[n] - '0');
        return n;
    }
    v = load64(p) - 0x3030303030303030ULL; /* a byte that borrows is no digit, nor is any behind it looked at */
    uint64_t odd = ((v + 0x7676767676767676ULL) | v) & 0x8080808080808080ULL;
    if (odd) {
#if defined(__GNUC__) || defined(__clang__)
        n = __builtin_ctzll(odd) >> 3;
#else
        while (!(odd >> (8 * n + 7) & 1)) n++;
#endif
        if (!n) return 0;
        v <<= 64 - 8 * n; /* digits before the first one are zeros */
    } else {
        n = 8;
    }
    v = v * 10 + (v >> 8);
    const uint64_t pairs = 0x000000ff000000ffULL; /* of digits; the others are 16 bits on */
    v = ((v & pairs) * 0x000f424000000064ULL + ((v >> 16) & pairs) * 0x0000271000000001ULL) >> 32;
    *value = *value * tens[n] + (uint32_t)v;
    return n;
}

static inline const uint8_t *all_digits(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    int n;
    do p += n = some_digits(p, end, value); while (n == 8);
    return p;
}

/* Take the first digits that count of a number with too many of them. */
static void cut(const uint8_t *p, const uint8_t *stop, uint8_t point, struct decimal *d)
{
    int known = 0, behind = 0;
    d->digits = 0;
    for (; p < stop; p++) {
        if (*p == point) {
            behind = 1;
            continue;
        }
        if (known < DIGITS) {
            d->digits = d->digits * 10 + (uint64_t)(*p - '0');
            known += d->digits != 0;
            d->exponent -= behind;
        } else {
            d->cut |= *p != '0';
            d->exponent += !behind;
        }
    }
}

/* Read a number without its sign; return where it ends, NULL when it is none. */
static inline const uint8_t *unsigned_number(const struct reader *r, const uint8_t *p, struct decimal *d)
{
    const uint8_t *begin = p, *whole, *stop;
    d->digits = 0;
    d->exponent = 0;
    d->cut = 0;
    whole = stop = p = all_digits(p, r->end, &d->digits);
    if (p < r->end && *p == r->decimal) stop = p = all_digits(p + 1, r->end, &d->digits);
    ptrdiff_t count = stop - begin - (stop > whole);
    if (!count) return NULL;
    if (count > DIGITS) cut(begin, stop, r->decimal, d);
    else if (stop > whole) d->exponent = (int)(whole + 1 - stop);
    if (p < r->end && (*p | 0x21) == ('e' | 0x21)) { /* or d, as Fortran has it */
        int negative = 0, exponent = 0;
        p++;
        if (p < r->end && (*p == '-' || *p == '+')) negative = *p++ == '-';
        if (p == r->end || (uint8_t)(*p - '0') > 9) return NULL;
        for (; p < r->end && (uint8_t)(*p - '0') < 10; p++)
            if (exponent < FAR) exponent = exponent * 10 + (*p - '0');
        d->exponent += negative ? -exponent : exponent;
    }
    return p;
}

/* Tell whether the letters at p are a word of small letters. */
static int is_word(const uint8_t *p, const uint8_t *end, const char *word)
{
    for (; *word; word++, p++)
        if (p == end || (*p | 0x20) != (uint8_t)*word) return 0;
    return 1;
}

/* Read nan, inf and infinity; return where it ends, NULL when it is none of them. */
static const uint8_t *no_number(const uint8_t *p, const uint8_t *end, int negative, const struct binary *b,
                                uint64_t *bits)
{
    *bits = (uint64_t)b->infinite << b->bits;
    if (is_word(p, end, "inf")) return is_word(p + 3, end, "inity") ? p + 8 : p + 3;
    *bits |= 1ULL << (b->bits - 1);
    return is_word(p, end, "nan") && !negative ? p + 3 : NULL;
}

/* Read a floating point number; return where it ends, NULL when it is none, or takes more to be rounded. */
static inline const uint8_t *floating(const struct reader *r, const uint8_t *p, const struct binary *b, uint64_t *bits)
{
    struct decimal d;
    int negative = *p == '-';
    const uint8_t *begin = p + (negative || *p == '+');
    p = unsigned_number(r, begin, &d);
    if (p) {
        *bits = rounded(r, d.digits, d.exponent, b);
        if (d.cut && rounded(r, d.digits + 1, d.exponent, b) != *bits) return NULL;
    } else {
        p = no_number(begin, r->end, negative, b, bits);
    }
    *bits |= (uint64_t)negative << (b->bits == 52 ? 63 : 31);
    return p;
}

/* Read a whole number into an element; return where it ends, NULL when it is none, or out of range. */
static inline const uint8_t *whole(const struct reader *r, const uint8_t *p, char kind, void *out, size_t row)
{
    uint64_t v = 0;
    int negative = *p == '-';
    const uint8_t *begin = p + (negative || *p == '+');
    p = all_digits(begin, r->end, &v);
    if (p == begin || p - begin > DIGITS) return NULL;
    int is_signed = kind >= 'a', letter = kind | 0x20;
    int bits = letter == 'q' ? 64 : letter == 'i' ? 32 : letter == 'h' ? 16 : 8;
    if (is_signed ? v > (1ULL << (bits - 1)) - !negative : (negative && v) || (bits < 64 && v >> bits)) return NULL;
    if (negative) v = 0 - v;
    switch (bits) {
    case 64: ((uint64_t *)out)[row] = v; break;
    case 32: ((uint32_t *)out)[row] = (uint32_t)v; break;
    case 16: ((uint16_t *)out)[row] = (uint16_t)v; break;
    default: ((uint8_t *)out)[row] = (uint8_t)v;
    }
    return p;
}

static const uint8_t *boolean(const struct reader *r, const uint8_t *p, uint8_t *out)
{
    *out = *p == '1' || (*p | 0x20) == 't';
    if (*p == '0' || *p == '1') return p + 1;
    if (*out) return is_word(p, r->end, "true") ? p + 4 : NULL;
    return is_word(p, r->end, "false") ? p + 5 : NULL;
}

static inline int is_white(uint8_t c) { return c == ' ' || (uint8_t)(c - '\t') < 5; }

static inline int is_blank(const struct reader *r, uint8_t c)
{
    if (!r->separator) return c != '\n' && is_white(c);
    return c == ' ' || c == '\r' || (c == '\t' && r->separator != '\t');
}

/* Tell whether a cell ends at a code; without a separator, white space ends it. */
static inline int ends(const struct reader *r, uint8_t c)
{
    return c == '\n' || (r->separator ? c == r->separator : is_white(c));
}

/* Read rows into columns.

   text, size   whole rows, the last of which ends in a line feed, as all do (a carriage return may stand before it)
   separator    between cells; 0 is any white space
   decimal      the decimal sign
   powers       of five, as struct reader has them
   width, kinds the cells of a row, each of a kind
   columns      for each cell of a row an array of its type; none for SKIPPED and SPARE
   missing      rows bytes for each cell of a row; set to one where it is empty
   rows         how many rows there are
   room, open   for so many cells that are left to the caller: row, cell of the row, offset, size

   Return how many cells are left to the caller; -1 when they are too many, or rows are others than they should be. */
EXPORT int64_t nx_numbers(const uint8_t *text, size_t size, int separator, int decimal, const uint64_t (*powers)[2],
                          size_t width, const char *kinds, void **columns, uint8_t *missing, size_t rows,
                          size_t room, int64_t (*open)[4])
{
    struct reader r = {text + size, powers, (uint8_t)separator, (uint8_t)decimal};
    const uint8_t *p = text;
    size_t left = 0;
    if (!size || r.end[-1] != '\n' || !width) return -1;
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < width; i++) {
            uint64_t bits;
            char kind = kinds[i];
            if (p == r.end) return -1;
            while (is_blank(&r, *p)) p++; /* the line feed at the end stops all such loops */
            const uint8_t *begin = p, *after = NULL;
            if (ends(&r, *p)) {
                if (!separator) return -1; /* a row of too few cells */
                missing[i * rows + row] = 1;
                after = p;
            } else if (kind == FLOAT64) {
                after = floating(&r, p, &binary64, &bits);
                if (after) memcpy((uint64_t *)columns[i] + row, &bits, 8);
            } else if (kind == FLOAT32) {
                after = floating(&r, p, &binary32, &bits);
                if (after) ((uint32_t *)columns[i])[row] = (uint32_t)bits;
            } else if (kind == BOOL) {
                after = boolean(&r, p, (uint8_t *)columns[i] + row);
            } else if (kind == SPARE) {
                return -1;
            } else if (kind != SKIPPED) {
                after = whole(&r, p, kind, columns[i], row);
            }
            if (after) {
                p = after;
                if (separator) while (is_blank(&r, *p)) p++;
            }
            if (!after || !ends(&r, *p)) {
                while (!ends(&r, *p)) p++;
                if (kind != SKIPPED) {
                    if (left == room) return -1;
                    open[left][0] = (int64_t)row;
                    open[left][1] = (int64_t)i;
                    open[left][2] = begin - text;
                    open[left++][3] = p - begin;
                }
            }
            if (i + 1 < width) {
                if (*p == '\n') return -1;
                p += separator != 0;
            }
        }
        while (is_blank(&r, *p)) p++;
        if (*p != '\n') return -1;
        p++;
    }
    return p == r.end ? (int64_t)left : -1;
}

/* Count the lines of a text that ends in a line feed; -1 when one begins with a code that is odd. */
EXPORT int64_t nx_lines(const uint8_t *text, size_t size, const uint8_t *odd)
{
    const uint8_t *p = text, *end = text + size;
    int64_t count = 0;
    for (; p < end; count++) {
        const uint8_t *stop = odd[*p] ? NULL : memchr(p, '\n', (size_t)(end - p));
        if (!stop) return -1;
        p = stop + 1;
    }
    return count;
}
