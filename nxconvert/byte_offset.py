"""The byte offsets of CBF: each pixel as its difference from the one before, in as few bytes as it takes.

A difference from -127 to 127 is one byte. Else 0x80 comes first, then 2 bytes; where those are 0x8000, 4 bytes; where
those are 0x80000000, 8 bytes; all little-endian, signed. Differences and sums are taken modulo the size of a pixel.
Facts: International Tables for Crystallography G, 5.6.3.3, and the program CBFlib.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nxconvert import compiled
from nxconvert.encoders import Encoder, Parameters, Values

_LONGEST = 15
_ROUNDS = 4
_INCOMPLETE = "the last pixel is incomplete"
_INTEGERS = {size: np.dtype(f"<i{size}") for size in (1, 2, 4, 8)}


class ByteOffset(Encoder):
    """Integers, or the bits of other numbers, of 1, 2, 4 or 8 bytes as byte offsets."""

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        n, integers = math.prod(shape), _INTEGERS[dtype.itemsize]
        stream = np.frombuffer(raw, np.int8)
        library = compiled.library()
        if library is not None:
            out = np.empty(min(n, len(stream)), integers)
            found = library.nx_byte_offset_decode(
                stream.ctypes.data, len(stream), out.ctypes.data, len(out), integers.itemsize
            )
            if found < 0:
                raise ValueError(_INCOMPLETE)
            _same(found, n)
        elif (stream == -128).any():
            out = _differences(stream, n, integers)
            np.cumsum(out, dtype=integers, out=out)
        else:
            _same(len(stream), n)
            out = np.cumsum(stream, dtype=integers)
        out = out.view(dtype.newbyteorder("<"))
        return out.astype(dtype, copy=False).reshape(shape)

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        library = compiled.library()
        if library is None:
            return super().guess(raw, values, parameters)
        pixels, stream = _pixels(values), np.frombuffer(raw, np.uint8)
        same = library.nx_byte_offset_same(
            pixels.ctypes.data, len(pixels), pixels.itemsize, stream.ctypes.data, len(stream)
        )
        return parameters if same else None

    def encode(self, values: Values, parameters: Parameters) -> Any:
        pixels = _pixels(values)
        library = compiled.library()
        if library is not None:
            encode, given = library.nx_byte_offset_encode, (pixels.ctypes.data, len(pixels), pixels.itemsize)
            out = np.empty(encode(*given, None), np.uint8)
            encode(*given, out.ctypes.data)
            return out.data
        steps = np.empty_like(pixels)
        steps[:1] = pixels[:1]
        np.subtract(pixels[1:], pixels[:-1], out=steps[1:])
        unsigned = np.dtype(f"<u{pixels.itemsize}")
        at = np.flatnonzero(steps.view(unsigned) + unsigned.type(127) > 254)
        made = _stream(steps, at) if len(at) else steps.astype(np.int8)
        return made.view(np.uint8).data


def _pixels(values: Values) -> Values:
    """Return the bits of pixels as little-endian integers, one after the other."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1)
    return little.view(_INTEGERS[values.dtype.itemsize])


def _same(found: int, n: int) -> None:
    if found != n:
        raise ValueError(f"{found:,} pixels are there for {n:,}")


def _at_any(stream: Values, size: int) -> Values:
    """Return the integers of some bytes that begin at each byte."""
    return np.ndarray((len(stream) - size + 1,), f"<i{size}", stream, strides=(1,))


def _differences(stream: Values, n: int, integers: np.dtype[Any]) -> Values:
    """Return the differences in a stream that has the byte 0x80 somewhere.

    Raises
    ------
    ValueError
        When it is not one of ``n`` differences.
    """
    end, at = len(stream), np.flatnonzero(stream == -128)
    if at[-1] + _LONGEST > end:
        stream = np.concatenate([stream, np.zeros(_LONGEST, np.int8)])
    at, sizes = _escapes(stream, at)
    if at[-1] + sizes[-1] > end:
        raise ValueError(_INCOMPLETE)
    before = np.cumsum(sizes - 1)
    _same(end - int(before[-1]), n)
    single = np.ones(end, bool)
    for size in (3, 7, 15):
        mine = at[sizes == size]
        for k in range(1, size):
            single[mine + k] = False
    out = stream[:end][single].astype(integers)
    places = at - before + sizes - 1
    for size, skip, width in ((3, 1, 2), (7, 3, 4), (15, 7, 8)):
        mine = sizes == size
        out[places[mine]] = _at_any(stream, width)[at[mine] + skip].astype(integers)
    return out


def _escapes(stream: Values, at: Values) -> tuple[Values, Values]:
    """Return where the differences of several bytes are, and of how many bytes each is with its marks.

    A byte 0x80 begins one, unless it is inside another.
    """
    sizes = np.full(len(at), 3)
    longer = np.flatnonzero(_at_any(stream, 2)[at + 1] == -(1 << 15))
    if len(longer):
        sizes[longer] = 7
        sizes[longer[_at_any(stream, 4)[at[longer] + 3] == -(1 << 31)]] = _LONGEST
    for _ in range(_ROUNDS):
        ends = at + sizes
        doubtful = np.zeros(len(at), bool)
        doubtful[1:] = at[1:] < np.maximum.accumulate(ends[:-1])
        if not doubtful.any():
            return at, sizes
        kept = np.ones(len(at), bool)
        kept[1:] = ~doubtful[1:] | doubtful[:-1]  # the first doubtful one after a sure one is inside that
        at, sizes = at[kept], sizes[kept]
    real, end = [], 0
    for number, (start, size) in enumerate(zip(at.tolist(), sizes.tolist(), strict=True)):
        if start >= end:
            real.append(number)
            end = start + size
    return at[real], sizes[real]


def _stream(steps: Values, at: Values) -> Values:
    """Return the bytes of differences of which those at some places need more than one."""
    wide = steps[at].astype(np.int64)
    sizes = np.full(len(at), 3)
    sizes[np.abs(wide) > 32767] = 7
    if steps.dtype.itemsize > 2:
        sizes[(wide <= -(1 << 31)) | (wide >= 1 << 31)] = _LONGEST
    after = np.cumsum(sizes - 1)
    out = np.empty(len(steps) + int(after[-1]), np.int8)
    starts = at + after - (sizes - 1)
    single = np.ones(len(out), bool)
    for size in (3, 7, 15):
        mine = starts[sizes == size]
        for k in range(1, size):
            single[mine + k] = False
    out[single] = steps.astype(np.int8)
    out[starts] = -128
    for size, skip, width in ((3, 1, 2), (7, 3, 4), (15, 7, 8)):
        mine = sizes == size
        if not mine.any():
            continue
        if size > 3:
            _at_any(out, 2)[starts[mine] + 1] = -(1 << 15)
        if size > 7:
            _at_any(out, 4)[starts[mine] + 3] = -(1 << 31)
        _at_any(out, width)[starts[mine] + skip] = wide[mine].astype(f"<i{width}")
    return out
