#ifndef NXCONVERT_LZ4_H
#define NXCONVERT_LZ4_H
#include "common.h"

#define LZ4_ENTRIES 4096
/* Bytes behind 64 KiB that may be read or written, though not a bit of them counts. */
#define LZ4_BEYOND 64

size_t lz4_block(const uint8_t *in, size_t n, uint8_t *out, uint16_t *table);
int lz4_unblock(const uint8_t *in, size_t n, uint8_t *out, size_t size);
#endif
