/* Streams of zlib (RFC 1950, 1951) of shuffled counts: noise, which only Huffman codes make smaller, and long runs of
   one byte. No other matches are looked for: who has data with more in them takes another encoder.

   A block is searched for runs, its symbols are counted, and it is written with codes of its own, or stored. */
#include "common.h"

enum {
    MOST_LITERALS = 1 << 17, /* of a block */
    MOST_RUNS = 8192,        /* of a block */
    LEAST_RUN = 7,
    MOST_RUN = 1 << 30,
    LIMIT = 13, /* bits of a code: two and their number are 31 bits, four and 7 bits that wait less than 64 */
    MANY = 1 << 15, /* literals for which a table of pairs pays */
    SYMBOLS = 286,
    END = 256,
    LONGEST = 258
};

typedef struct { uint32_t literals, run; } Token;
typedef struct { uint8_t *out; uint64_t bits; unsigned n; } Bits;

static inline void put(Bits *b, uint64_t value, unsigned n)
{
    b->bits |= value << b->n;
    b->n += n;
    memcpy(b->out, &b->bits, 8);
    b->out += b->n >> 3;
    b->bits >>= b->n & 56; /* never 64: at most 7 bits wait, and no more than 56 come */
    b->n &= 7;
}

/* Searching */

/* Return where `run` bytes begin that each are as the one before; `end` where none do. There is a byte before `at`. */
static const uint8_t *next_run(const uint8_t *at, const uint8_t *end)
{
    int n = 0;
    for (; at < end; at++) {
        n = *at == at[-1] ? n + 1 : 0;
        if (n == LEAST_RUN) return at + 1 - LEAST_RUN;
    }
    return end;
}

static const uint8_t *run_end(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at == at[-1]) at++;
    return at;
}

static uint32_t adler(const uint8_t *in, size_t n)
{
    uint32_t a = 1, b = 0;
    while (n) {
        size_t m = n < 5552 ? n : 5552;
        for (n -= m; m; m--) b += a += *in++;
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

#if X86_64
#include <immintrin.h>
#define AVX2 FOR("avx2,bmi2")

AVX2 static inline uint32_t as_before(const uint8_t *at)
{
    __m256i one = _mm256_loadu_si256((const __m256i *)at), two = _mm256_loadu_si256((const __m256i *)(at - 1));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(one, two));
}

AVX2 static const uint8_t *next_run_avx2(const uint8_t *at, const uint8_t *end)
{
    if (end - at >= 64)
        for (uint64_t next = as_before(at); end - at >= 64; at += 32) {
            uint64_t m = next;
            next = as_before(at + 32);
            m |= next << 32;
            m &= m >> 1;
            m &= m >> 2;
            m &= m >> 3; /* seven in a row */
            if ((uint32_t)m) return at + __builtin_ctz((uint32_t)m);
        }
    return next_run(at, end);
}

AVX2 static const uint8_t *run_end_avx2(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 32; at += 32) {
        uint32_t m = ~as_before(at);
        if (m) return at + __builtin_ctz(m);
    }
    return run_end(at, end);
}

AVX2 static inline uint32_t sum(__m256i v)
{
    uint32_t part[8], all = 0;
    _mm256_storeu_si256((__m256i *)part, v);
    for (int i = 0; i < 8; i++) all += part[i];
    return all;
}

AVX2 static uint32_t adler_avx2(const uint8_t *in, size_t n)
{
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    const __m256i weights = _mm256_setr_epi8(32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14,
                                             13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
    uint64_t a = 1, b = 0;
    while (n >= 32) {
        size_t m = n < 5536 ? n & ~(size_t)31 : 5536;
        __m256i bytes = zero, before = zero, within = zero;
        n -= m;
        b += a * m;
        for (; m; m -= 32, in += 32) {
            __m256i v = _mm256_loadu_si256((const __m256i *)in);
            before = _mm256_add_epi32(before, bytes);
            bytes = _mm256_add_epi32(bytes, _mm256_sad_epu8(v, zero));
            within = _mm256_add_epi32(within, _mm256_madd_epi16(_mm256_maddubs_epi16(v, weights), ones));
        }
        a = (a + sum(bytes)) % 65521;
        b = (b + 32 * (uint64_t)sum(before) + sum(within)) % 65521;
    }
    for (; n; n--) b += a += *in++;
    return (uint32_t)(b % 65521 << 16 | a % 65521);
}
#endif

/* Codes */

/* Sort numbers by all bits from the ninth on, which must be 18 at most. */
static void sort(uint32_t *v, int n)
{
    uint32_t other[SYMBOLS];
    for (int shift = 9; shift < 27; shift += 9) {
        uint32_t *from = shift == 9 ? v : other, *to = shift == 9 ? other : v;
        uint16_t places[513] = {0};
        for (int i = 0; i < n; i++) places[(from[i] >> shift & 511) + 1]++;
        for (int i = 0; i < 511; i++) places[i + 1] = (uint16_t)(places[i + 1] + places[i]);
        for (int i = 0; i < n; i++) to[places[from[i] >> shift & 511]++] = from[i];
    }
}

/* Find Huffman codes of at most so many bits for n symbols, two of which at least occur. Their lengths are exactly
   best but for those that would be too long. */
static void lengths_of(const uint32_t *counts, int n, int limit, uint8_t *lengths)
{
    uint32_t leaf[SYMBOLS], node[SYMBOLS];
    uint16_t up[2 * SYMBOLS];
    int used = 0, of[SYMBOLS + 1] = {0};
    for (int i = 0; i < n; i++) {
        lengths[i] = 0;
        if (counts[i]) leaf[used++] = counts[i] << 9 | (uint32_t)i;
    }
    sort(leaf, used);
    /* Leaves are 0 to used - 1, then come the nodes; the two least are joined until one is left. */
    int l = 0, k = 0, made = 0;
    for (; made < used - 1; made++) {
        uint32_t both = 0;
        for (int i = 0; i < 2; i++) {
            if (l < used && (k >= made || leaf[l] >> 9 <= node[k])) {
                up[l] = (uint16_t)(used + made);
                both += leaf[l++] >> 9;
            } else {
                up[used + k] = (uint16_t)(used + made);
                both += node[k++];
            }
        }
        node[made] = both;
    }
    uint16_t depth[2 * SYMBOLS];
    depth[used + made - 1] = 0;
    for (int i = used + made - 2; i >= 0; i--) {
        depth[i] = (uint16_t)(depth[up[i]] + 1);
        if (i < used) of[depth[i] < limit ? depth[i] : limit]++;
    }
    /* Codes that were cut take more room than there is: lengthen others, the longest that can be first. */
    uint32_t room = 0;
    for (int i = 1; i <= limit; i++) room += (uint32_t)of[i] << (limit - i);
    for (; room > 1u << limit; room--) {
        int i = limit - 1;
        while (!of[i]) i--;
        of[limit]--;
        of[i]--;
        of[i + 1] += 2;
    }
    for (int i = limit, at = 0; i > 0; i--)
        for (int j = of[i]; j; j--) lengths[leaf[at++] & 511] = (uint8_t)i;
}

/* Make the codes of lengths: a code, its first bit the lowest, and in the lower eight bits its length. */
static void codes_of(const uint8_t *lengths, int n, uint32_t *codes)
{
    uint32_t of[16] = {0}, next[16], code = 0;
    for (int i = 0; i < n; i++) of[lengths[i]]++;
    of[0] = 0;
    for (int i = 1; i < 16; i++) next[i] = code = (code + of[i - 1]) << 1;
    for (int i = 0; i < n; i++) {
        uint32_t c = next[lengths[i]]++, back = 0;
        if (!lengths[i]) { codes[i] = 0; continue; }
        for (int j = 0; j < lengths[i]; j++, c >>= 1) back = back << 1 | (c & 1);
        codes[i] = back << 8 | lengths[i];
    }
}

/* Blocks */

static const uint16_t BASE[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

static inline unsigned length_symbol(unsigned length)
{
    unsigned x = length - 3, extra = 0;
    if (length == LONGEST) return 28;
    if (x < 8) return x;
    while (x >> (extra + 3)) extra++; /* four lengths in turn have as many extra bits */
    return 4 * extra + (x >> extra);
}

/* Part a run into whole lengths and at most two others, which are returned; nought where there is none. */
static inline uint32_t parts(uint32_t run, unsigned *first, unsigned *second)
{
    uint32_t whole = run / LONGEST;
    *first = run % LONGEST;
    *second = 0;
    if (*first == 1 || *first == 2) { /* too short */
        whole--;
        *first += LONGEST - 3;
        *second = 3;
    }
    return whole;
}

static void count(const uint8_t *in, size_t n, uint32_t counts[4][256])
{
    for (; n >= 8; n -= 8, in += 8) {
        uint64_t v = load64(in);
        counts[0][v & 255]++;
        counts[1][v >> 8 & 255]++;
        counts[2][v >> 16 & 255]++;
        counts[3][v >> 24 & 255]++;
        counts[0][v >> 32 & 255]++;
        counts[1][v >> 40 & 255]++;
        counts[2][v >> 48 & 255]++;
        counts[3][v >> 56]++;
    }
    while (n--) counts[0][*in++]++;
}

/* Find the lengths of codes as they are written: numbers, and repeats of what came before (16) or of nought (17, 18). */
static int repeats(const uint8_t *lengths, int n, uint8_t *symbols, uint8_t *extra)
{
    int made = 0;
    for (int i = 0; i < n;) {
        int m = 1, least = lengths[i] ? 4 : 3;
        while (i + m < n && lengths[i + m] == lengths[i] && m < (lengths[i] ? 7 : 138)) m++;
        if (m < least) m = 1;
        if (m == 1 || lengths[i]) { symbols[made] = lengths[i]; extra[made++] = 0; }
        if (m > 1) {
            symbols[made] = lengths[i] ? 16 : m < 11 ? 17 : 18;
            extra[made++] = (uint8_t)(m - (lengths[i] ? 4 : m < 11 ? 3 : 11));
        }
        i += m;
    }
    return made;
}

#ifdef _MSC_VER
#define INLINE static __forceinline
#else
#define INLINE __attribute__((always_inline)) static inline
#endif

/* Make a table of two literals in turn: their codes, and in the lower five bits how long these are. */
INLINE void pair(const uint32_t *codes, uint32_t *pairs)
{
    uint32_t code[256], length[256];
    for (int i = 0; i < 256; i++) {
        code[i] = codes[i] >> 8;
        length[i] = codes[i] & 255;
    }
    for (int i = 0; i < 256; i++, pairs += 256)
        for (int j = 0; length[i] && j < 256; j++)
            pairs[j] = (code[j] | code[i] << length[j]) << 5 | (length[j] + length[i]);
}

INLINE void write_literals(Bits *bits, const uint8_t *in, size_t n, const uint32_t *codes, const uint32_t *pairs)
{
    Bits b = *bits;
    if (pairs)
        for (; n >= 8; n -= 8, in += 8) {
            uint64_t v = load64(in);
            uint32_t p0 = pairs[v & 65535], p1 = pairs[v >> 16 & 65535], p2 = pairs[v >> 32 & 65535], p3 = pairs[v >> 48];
            put(&b, p0 >> 5 | (uint64_t)(p1 >> 5) << (p0 & 31), (p0 & 31) + (p1 & 31));
            put(&b, p2 >> 5 | (uint64_t)(p3 >> 5) << (p2 & 31), (p2 & 31) + (p3 & 31));
        }
    for (; n >= 4; n -= 4, in += 4) {
        uint32_t v = load32(in);
        uint32_t c0 = codes[v & 255], c1 = codes[v >> 8 & 255], c2 = codes[v >> 16 & 255], c3 = codes[v >> 24];
        uint64_t one = c0 >> 8 | (uint64_t)(c1 >> 8) << (c0 & 63), two = c2 >> 8 | (uint64_t)(c3 >> 8) << (c2 & 63);
        unsigned first = (c0 + c1) & 63;
        put(&b, one | two << first, (first + c2 + c3) & 63);
    }
    for (; n; n--) {
        uint32_t c = codes[*in++];
        put(&b, c >> 8, c & 63);
    }
    *bits = b;
}

INLINE void write_tokens(Bits *bits, const uint8_t *in, const Token *tokens, int n, const uint32_t *codes,
                         const uint32_t *pairs)
{
    for (int t = 0; t < n; t++) {
        unsigned length[2];
        write_literals(bits, in, tokens[t].literals, codes, pairs);
        in += tokens[t].literals + tokens[t].run;
        if (!tokens[t].run) continue;
        /* the code of distance 1 is one bit, nought */
        uint32_t whole = parts(tokens[t].run, length, length + 1), c = codes[285];
        for (; whole; whole--) put(bits, c >> 8, (c & 63) + 1);
        for (int i = 0; i < 2 && length[i]; i++) {
            unsigned s = length_symbol(length[i]);
            c = codes[257 + s];
            put(bits, c >> 8 | (uint64_t)(length[i] - BASE[s]) << (c & 63), (c & 63) + EXTRA[s] + 1);
        }
    }
}

typedef void Write(Bits *, const uint8_t *, const Token *, int, const uint32_t *);

static void write_few(Bits *bits, const uint8_t *in, const Token *tokens, int n, const uint32_t *codes)
{
    write_tokens(bits, in, tokens, n, codes, NULL);
}

static void write_many(Bits *bits, const uint8_t *in, const Token *tokens, int n, const uint32_t *codes)
{
    uint32_t pairs[65536];
    pair(codes, pairs);
    write_tokens(bits, in, tokens, n, codes, pairs);
}

#if X86_64
AVX2 static void write_few_avx2(Bits *bits, const uint8_t *in, const Token *tokens, int n, const uint32_t *codes)
{
    write_tokens(bits, in, tokens, n, codes, NULL);
}

AVX2 static void write_many_avx2(Bits *bits, const uint8_t *in, const Token *tokens, int n, const uint32_t *codes)
{
    uint32_t pairs[65536];
    pair(codes, pairs);
    write_tokens(bits, in, tokens, n, codes, pairs);
}
#endif

static void stored(Bits *b, const uint8_t *in, size_t n, int last)
{
    do {
        size_t m = n < 65535 ? n : 65535;
        n -= m;
        put(b, (uint64_t)(last && !n), 3);
        if (b->n) put(b, 0, 8 - b->n);
        put(b, m | (m ^ 65535) << 16, 32);
        memmove(b->out, in, m);
        b->out += m;
        in += m;
    } while (n);
}

typedef struct {
    const uint8_t *(*next_run)(const uint8_t *, const uint8_t *), *(*run_end)(const uint8_t *, const uint8_t *);
    Write *few, *many;
} Ways;

/* Write a block of n bytes: with its own codes, or as it is where that is no longer. */
static void block(Bits *b, const uint8_t *in, size_t n, const Token *tokens, int made, int last, const Ways *ways)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    static const uint8_t more[3] = {2, 3, 7};
    uint32_t counts[4][256] = {{0}}, all[SYMBOLS] = {0}, codes[SYMBOLS], lead[19] = {0}, lead_codes[19];
    uint8_t lengths[SYMBOLS + 2], lead_lengths[19], symbols[SYMBOLS + 2], extra[SYMBOLS + 2];
    uint64_t bits = 3 + 5 + 5 + 4;
    const uint8_t *at = in;
    size_t literals = 0;
    for (int t = 0; t < made; t++) {
        unsigned length[2];
        literals += tokens[t].literals;
        count(at, tokens[t].literals, counts);
        at += tokens[t].literals + tokens[t].run;
        if (!tokens[t].run) continue;
        uint32_t whole = parts(tokens[t].run, length, length + 1);
        all[285] += whole;
        bits += whole;
        for (int i = 0; i < 2 && length[i]; i++) {
            unsigned s = length_symbol(length[i]);
            all[257 + s]++;
            bits += EXTRA[s] + 1u;
        }
    }
    for (int i = 0; i < 256; i++) all[i] = counts[0][i] + counts[1][i] + counts[2][i] + counts[3][i];
    all[END] = 1;
    uint32_t scaled[SYMBOLS];
    memcpy(scaled, all, sizeof scaled);
    if (scaled[285] > MOST_LITERALS) scaled[285] = MOST_LITERALS; /* what can be sorted */
    lengths_of(scaled, SYMBOLS, LIMIT, lengths);
    for (int i = 0; i < SYMBOLS; i++) bits += (uint64_t)all[i] * lengths[i];
    int known = SYMBOLS, heads = 19;
    while (known > 257 && !lengths[known - 1]) known--;
    lengths[known] = lengths[known + 1] = 1; /* two distances, of which only 1 occurs */
    codes_of(lengths, known, codes);
    int written = repeats(lengths, known + 2, symbols, extra);
    for (int i = 0; i < written; i++) lead[symbols[i]]++;
    lengths_of(lead, 19, 7, lead_lengths);
    codes_of(lead_lengths, 19, lead_codes);
    while (heads > 4 && !lead_lengths[order[heads - 1]]) heads--;
    bits += 3 * (uint64_t)heads;
    for (int i = 0; i < 19; i++) bits += (uint64_t)lead[i] * (lead_lengths[i] + (i > 15 ? more[i - 16] : 0u));
    if (bits >= 8 * (uint64_t)n + 40 * (n / 65535 + 1)) {
        stored(b, in, n, last);
        return;
    }
    put(b, (uint64_t)last | 2 << 1 | (uint64_t)(known - 257) << 3 | 1 << 8 | (uint64_t)(heads - 4) << 13, 17);
    for (int i = 0; i < heads; i++) put(b, lead_lengths[order[i]], 3);
    for (int i = 0; i < written; i++) {
        uint32_t c = lead_codes[symbols[i]];
        put(b, c >> 8, c & 63);
        if (symbols[i] > 15) put(b, extra[i], more[symbols[i] - 16]);
    }
    (literals >= MANY ? ways->many : ways->few)(b, in, tokens, made, codes);
    put(b, codes[END] >> 8, codes[END] & 63);
}

/* Write n bytes as a stream of zlib; return its size. There is room for n + n / 256 + 1024 bytes. The bytes may
   be the very last of the room where it has 131072 more: those of a block are read before others take their place. */
EXPORT size_t nx_deflate(const uint8_t *in, size_t n, uint8_t *out)
{
    Ways ways = {next_run, run_end, write_few, write_many};
    uint32_t (*check)(const uint8_t *, size_t) = adler;
    Token tokens[MOST_RUNS + 1];
    Bits b = {out, 0, 0};
    const uint8_t *start = in, *end = in + n;
#if X86_64
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) {
        ways = (Ways){next_run_avx2, run_end_avx2, write_few_avx2, write_many_avx2};
        check = adler_avx2;
    }
#endif
    uint32_t sum_ = check(in, n);
    put(&b, 0x0178, 16);
    if (!n) stored(&b, in, 0, 1);
    while (in < end) {
        const uint8_t *at = in, *first = in;
        size_t literals = 0;
        int made = 0;
        while (at < end && made < MOST_RUNS && literals < MOST_LITERALS) {
            size_t most = MOST_LITERALS - literals;
            const uint8_t *limit = (size_t)(end - at) < most ? end : at + most;
            const uint8_t *run = ways.next_run(at > start ? at : at + 1, limit);
            uint32_t before = (uint32_t)(run - at);
            literals += before;
            at = run;
            if (run < limit) at = ways.run_end(run, end - run < MOST_RUN ? end : run + MOST_RUN);
            tokens[made++] = (Token){before, (uint32_t)(at - run)};
        }
        in = at;
        block(&b, first, (size_t)(at - first), tokens, made, at == end, &ways);
    }
    if (b.n) put(&b, 0, 8 - b.n);
    store_be32(b.out, sum_);
    return (size_t)(b.out + 4 - out);
}
