"""The byte offsets of CBF: each pixel as its difference from the one before, in as few bytes as it takes.

A difference from -127 to 127 is one byte. Else 0x80 comes first, then 2 bytes; where those are 0x8000, 4 bytes; where
those are 0x80000000, 8 bytes; all little-endian, signed. Differences and sums are taken modulo the size of a pixel.
Facts: International Tables for Crystallography G, 5.6.3.3, and the program CBFlib.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nxconvert.encoders import Encoder, Parameters, Values

_LONGEST = 15
_ROUNDS = 4
_SPARSE = 256
_MARKED = 0x11223344
_MARK = b"\x80\x00\x80" + _MARKED.to_bytes(4, "little")
_REST = bytes(16)
_LOWEST = -(1 << 31)
_INTEGERS = {size: np.dtype(f"<i{size}") for size in (1, 2, 4, 8)}


class ByteOffset(Encoder):
    """Integers, or the bits of other numbers, of 1, 2, 4 or 8 bytes as byte offsets."""

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        n, integers = math.prod(shape), _INTEGERS[dtype.itemsize]
        stream = np.frombuffer(raw, np.int8)
        if not (stream == -128).any():
            _same(len(stream), n)
            out = np.cumsum(stream, dtype=integers)
        else:
            decoded = _decoded(raw, n) if integers.itemsize <= 4 else None
            if decoded is None:
                decoded = _differences(stream, n, integers)
                np.cumsum(decoded, dtype=integers, out=decoded)
            out = decoded
        out = out.astype(integers, copy=False).view(dtype.newbyteorder("<"))
        return out.astype(dtype, copy=False).reshape(shape)

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        stream = np.frombuffer(raw, np.int8)
        if stream.size == values.size and not (stream == -128).any():
            return parameters  # steps of one byte each: there is no other way to write them
        return super().guess(raw, values, parameters)

    def encode(self, values: Values, parameters: Parameters) -> Any:
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1)
        integers = _INTEGERS[values.dtype.itemsize]
        pixels = little.view(integers)
        steps = np.empty_like(pixels)
        steps[:1] = pixels[:1]
        np.subtract(pixels[1:], pixels[:-1], out=steps[1:])
        unsigned = np.dtype(f"<u{integers.itemsize}")
        at = np.flatnonzero(steps.view(unsigned) + unsigned.type(127) > 254)
        if not len(at):
            return steps.astype(np.int8).view(np.uint8).data
        if integers.itemsize == 4 and len(at) * _SPARSE > len(steps) and _narrow(pixels):
            from fabio.ext import byte_offset

            return byte_offset.comp_cbf32(pixels).view(np.uint8).data
        return _stream(steps, at).view(np.uint8).data


def _same(found: int, n: int) -> None:
    if found != n:
        raise ValueError(f"{found:,} pixels are there for {n:,}")


def _decoded(raw: memoryview, n: int) -> Values | None:
    """Return pixels of 4 bytes by fabio's decoder, which is fast; None when it cannot be sure that they are right.

    It neither knows 8-byte differences nor tells where it stopped. So a number that is easily known follows, and zeros:
    they come out as the very last pixels just when the stream is whole and has ``n`` pixels.
    """
    from fabio.ext import byte_offset

    if not 0 < n <= len(raw) < 1 << 30:
        return None
    out: Values = byte_offset.dec_cbf32(b"".join((raw, _MARK, _REST)), n + len(_REST) + 2)
    if len(out) != n + len(_REST) + 1:
        return None
    steps = np.subtract(out[1 : n + 1], out[:n])
    eight = int(out[0]) == _LOWEST or (steps == _LOWEST).any()
    return out[:n] if steps[-1] == _MARKED and not eight else None


def _narrow(pixels: Values) -> bool:
    """Tell whether no two pixels differ by 31 bits, where fabio's encoder would overflow."""
    limit = 1 << 30
    return int(pixels.min()) >= -limit and int(pixels.max()) < limit


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
        raise ValueError("the last pixel is incomplete")
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
