"""Rows of plain numbers, written as text, read in one go by ``numbers.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from nxconvert import compiled
from nxconvert.array import is_text

FEW = 32 << 10
"""Bytes of text below which the library is not worth loading."""

_LOWEST, _HIGHEST = -342, 308
"""Powers of ten between which 19 digits make a number of 64 bits."""

_KINDS = {"i": "bhiq", "u": "BHIQ", "f": "ddfd", "b": "?"}
"""Kinds of cells, by the kind of their dtype and the logarithm of its size; float16 is read as float64 and cast."""


class Table(NamedTuple):
    """Rows that were read in one go.

    Attributes
    ----------
    columns
        An array for each cell of a row, masked where cells are empty.
    left
        Row, cell of the row and text of each cell that is no plain number.
    """

    columns: list[np.ndarray[Any, Any]]
    left: list[tuple[int, int, bytes]]


def reads(dtypes: Sequence[np.dtype[Any]]) -> bool:
    """Tell whether ``in_one_go`` can read such cells."""
    return compiled.library() is not None and _kinds_of(dtypes) is not None


def in_one_go(
    text: bytes, dtypes: Sequence[np.dtype[Any] | None], rows: int, separator: bytes, decimal: bytes, spare: int = 0
) -> Table | None:
    """Read rows of numbers by the compiled library; threads can share the work.

    Parameters
    ----------
    text
        Whole rows, each ended by a line feed; nothing is quoted.
    dtypes
        Of the cells of a row; None for one that is not wanted.
    rows
        How many there are.
    separator, decimal
        Between cells, and in numbers; no separator is any white space.
    spare
        How many empty cells follow in each row.

    Returns
    -------
    Table or None
        None when there is no such library, when it does not read such cells, or when rows are not all of such cells.
    """
    library = compiled.library()
    kinds = _kinds_of(dtypes)
    if library is None or kinds is None or not rows:
        return None
    width = len(kinds) + spare
    arrays = [np.empty(rows if d is not None else 0, _read_as(d)) for d in dtypes]
    pointers = (ctypes.c_void_p * width)(*(a.ctypes.data for a in arrays))
    gone = np.zeros((width, rows), np.bool_)
    left = np.empty((rows * width // 8 + 16, 4), np.int64)
    count = library.nx_numbers(
        text,
        len(text),
        separator[0] if separator else 0,
        decimal[0],
        _powers().ctypes.data,
        width,
        kinds + b" " * spare,
        pointers,
        gone.ctypes.data,
        rows,
        len(left),
        left.ctypes.data,
    )
    if count < 0:
        return None
    found: list[np.ndarray[Any, Any]] = []
    for values, dtype, mask in zip(arrays, dtypes, gone, strict=False):
        masked = bool(mask.any())
        if masked and len(values):
            values[mask] = 0
        if dtype is not None and dtype != values.dtype:
            with np.errstate(over="ignore"):
                values = values.astype(dtype)
        found.append(np.ma.MaskedArray(values, mask) if masked and len(values) else values)
    places = left[:count].tolist()
    return Table(found, [(row, cell, text[at : at + size]) for row, cell, at, size in places])


def _kinds_of(dtypes: Sequence[np.dtype[Any] | None]) -> bytes | None:
    kinds = ""
    for d in dtypes:
        if d is not None and (is_text(d) or d.kind not in _KINDS or d.itemsize > 8):
            return None
        kinds += "-" if d is None else _KINDS[d.kind][d.itemsize.bit_length() - 1]
    return kinds.encode()


def _read_as(dtype: np.dtype[Any] | None) -> np.dtype[Any]:
    if dtype is None or (dtype.kind == "f" and dtype.itemsize == 2):
        return np.dtype(np.float64)
    return np.dtype(np.bool_) if dtype.kind == "b" else np.dtype(dtype.newbyteorder("=").str)


@cache
def _powers() -> np.ndarray[Any, Any]:
    """Return the first 128 bits of the powers of five, cut off for positive powers and rounded up for negative ones."""
    raw = bytearray()
    for q in range(_LOWEST, _HIGHEST + 1):
        power = 5 ** abs(q)
        bits = power.bit_length()
        if q < 0:
            power = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // power + 1
            bits = power.bit_length()
        power = power << (128 - bits) if bits < 128 else power >> (bits - 128)
        raw += power.to_bytes(16, "big")
    return np.frombuffer(raw, ">u8").astype(np.uint64)
