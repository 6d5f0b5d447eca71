#ifndef NXCONVERT_SHUFFLE_H
#define NXCONVERT_SHUFFLE_H
#include "common.h"

EXPORT void nx_shuffle(const uint8_t *in, uint8_t *out, size_t n, size_t k);
EXPORT void nx_unshuffle(const uint8_t *in, uint8_t *out, size_t n, size_t k);
#endif
