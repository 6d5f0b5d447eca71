"""LZW and PackBits as libtiff writes them, to the bit, and LZW as tifffile does.

Both standards leave the writer choices: when the table of strings is cleared, which short runs become part of a
literal. These are those that the files of the two show. No library is used, so what is made here stays the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nxconvert import compiled

_CLEAR, _END, _FIRST, _FULL = 256, 257, 258, 4096
_GAP = 10_000
"""After so many bytes libtiff looks whether the compression still pays."""
_SHOWS = 1 << 16
"""So many bytes mostly show whose the choices are."""


def lzw(data: memoryview, *, thrifty: bool = True) -> bytes:
    """Compress with LZW.

    Parameters
    ----------
    data
        At least one byte.
    thrifty
        Clear the table before it is full, and when the compression no longer pays, as libtiff does; tifffile clears
        it when it is full.
    """
    library = compiled.library()
    if library is not None:
        return _by(library.nx_lzw_encode, data, int(thrifty))
    last = _FULL - 2 if thrifty else _FULL
    runs: list[np.ndarray[Any, Any]] = []
    codes: list[int] = []
    add = codes.append
    table: dict[int, int] = {}
    get = table.get
    before, check, best = -1, _GAP if thrifty else len(data) + 1, 0  # of the bytes since the table was cleared
    bits, free = 9, _FIRST
    string = data[0]
    for at, byte in enumerate(data[1:], 1):
        key = string << 8 | byte
        known = get(key)
        if known is not None:
            string = known
            continue
        add(string)
        table[key] = free
        string = byte
        width = free.bit_length()
        bits += width
        free += 1
        clear = free == last
        if not clear and free.bit_length() == width and at - before >= check:
            check = at - before + _GAP
            ratio = ((at - before) << 8) // bits
            clear, best = ratio <= best, ratio
        if clear:
            add(_CLEAR)
            runs.append(np.array(codes, np.uint16))
            codes.clear()
            table.clear()
            bits, before, best, free = width, at, 0, _FIRST
    add(string)
    if thrifty and free + 1 == last:
        add(_CLEAR)
        runs.append(np.array(codes, np.uint16))
        codes.clear()
    add(_END)
    runs.append(np.array(codes, np.uint16))
    out, left = _joined(runs)
    # tifffile ends with an empty byte when the codes fill whole ones
    return bytes(out if left or thrifty else out + b"\0")


def same_lzw(raw: memoryview, data: memoryview, *, thrifty: bool) -> bool:
    """Tell whether some bytes are those that ``lzw`` makes of ``data``; as soon as it is clear that they are not."""
    library = compiled.library()
    if library is not None:
        stream, values = np.frombuffer(raw, np.uint8), np.frombuffer(data, np.uint8)
        same = library.nx_lzw_same(values.ctypes.data, len(values), int(thrifty), stream.ctypes.data, len(stream))
        return bool(same)
    if len(data) > 4 * _SHOWS:
        first = lzw(data[:_SHOWS], thrifty=thrifty)[:-4]
        if raw[: len(first)] != first:
            return False
    return bool(raw == lzw(data, thrifty=thrifty))


def _by(function: Any, data: memoryview, how: int) -> bytes:
    """Encode with a function of the compiled library."""
    values = np.frombuffer(data, np.uint8)
    out = np.empty(2 * len(values) + 16, np.uint8)
    size = function(values.ctypes.data, len(values), how, out.ctypes.data)
    return out[:size].tobytes()


def _joined(runs: list[np.ndarray[Any, Any]]) -> tuple[bytearray, int]:
    """Write codes one after the other, each as wide as the table then asks for; it grows by one with each code.

    Returns
    -------
    tuple
        The bytes, and how many bits of the last are used, or 0 when all are.
    """
    widths = np.array([min(n.bit_length(), 12) for n in range(_FIRST, _FULL + 2)])[:, None]
    out = bytearray()
    rest = np.array([(_CLEAR >> i) & 1 for i in range(8, -1, -1)], np.uint8)
    for run in runs:
        sizes = widths[: len(run)]
        places = sizes - 1 - np.arange(12)
        table = (run[:, None] >> np.maximum(places, 0)) & 1
        bits = np.concatenate([rest, table[places >= 0].astype(np.uint8)])
        whole = len(bits) // 8 * 8
        out += np.packbits(bits[:whole]).tobytes()
        rest = bits[whole:]
    return out + np.packbits(rest).tobytes(), len(rest)


def packbits(data: memoryview, row: int) -> bytes:
    """Compress rows with PackBits, each for itself."""
    library = compiled.library()
    if library is not None:
        return _by(library.nx_packbits_encode, data, row)
    values = np.frombuffer(data, np.uint8)
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.union1d(edges, np.arange(0, len(values), row))
    lengths = np.diff(np.append(starts, len(values)))
    out = bytearray()
    literal = -1  # where the open literal's count is
    followed = False  # whether a run follows it, which may become a part of it
    for start, length, byte in zip(starts.tolist(), lengths.tolist(), values[starts].tolist(), strict=True):
        n = length
        if start % row == 0:
            literal, followed = -1, False
        while n > 128:
            out += bytes((129, byte))
            n -= 128
            literal, followed = -1, False
        if n > 1:
            out += bytes((257 - n, byte))
            literal, followed = (-1, False) if followed else (literal, literal >= 0)
            continue
        if followed:
            joins = out[-2] == 255 and out[literal] < 126
            if joins:
                out[literal] += 2
                out[-2] = out[-1]
            literal, followed = (literal if joins and out[literal] < 127 else -1), False
        if literal < 0:
            literal = len(out)
            out += bytes((0, byte))
            continue
        out[literal] += 1
        out.append(byte)
        if out[literal] == 127:
            literal = -1
    return bytes(out)
