"""Rows of numbers as text, written in one go by ``decimals.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from nxconvert import compiled

_LOWEST, _HIGHEST = -292, 324
"""Powers of ten by which 64-bit floats are scaled."""

_CELL, _SPARE = 32, 64
"""Bytes that a cell and its separator take at most, when it is a number; and those that may be written behind all."""

Column = np.ndarray[Any, Any]


class _Column(ctypes.Structure):
    _fields_ = (
        ("values", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("kind", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("mask", ctypes.c_void_p),
        ("mask_stride", ctypes.c_int64),
    )


class _Style(ctypes.Structure):
    _fields_ = (
        ("missing", ctypes.c_char_p),
        ("no", ctypes.c_char_p),
        ("yes", ctypes.c_char_p),
        ("separator", ctypes.c_int64),
        ("decimal", ctypes.c_int64),
    )


class Writer:
    """Writes rows of numbers.

    Parameters
    ----------
    separator, decimal
        Between cells, and in numbers.
    missing
        What is written for a value that is missing.
    booleans
        How false and true are written.
    """

    def __init__(self, separator: bytes, decimal: bytes, missing: bytes, booleans: tuple[bytes, bytes]) -> None:
        library = compiled.library()
        assert library is not None, "``writes`` tells where it is"
        self._write: Any = library.nx_rows
        self._style = _Style(missing, *booleans, separator[0], decimal[0])
        self._cell = max(_CELL, *(len(text) + 1 for text in (missing, *booleans)))
        self._out = np.empty(0, np.uint8)

    def rows(self, columns: Sequence[Column], count: int) -> bytes:
        """Return some rows, each ended by a line feed.

        Parameters
        ----------
        columns
            Arrays of types that ``writes`` tells, of rank 1 or 2, whose elements stand side by side. What is masked,
            and what is behind a column's end, is missing.
        count
            How many rows.
        """
        cells = [cell for column in columns for cell in _cells(column)]
        room = count * (self._cell * len(cells) + 1) + _SPARE
        if self._out.size < room:
            self._out = np.empty(room, np.uint8)
        size: int = self._write(
            (_Column * len(cells))(*cells),
            len(cells),
            count,
            _powers().ctypes.data,
            ctypes.byref(self._style),
            self._out.ctypes.data,
        )
        return self._out[:size].tobytes()


def writes(dtype: np.dtype[Any]) -> bool:
    """Tell whether a ``Writer`` can write values of a type."""
    return compiled.library() is not None and dtype.isnative and dtype.char in "dfbBhHiIlLqQ?"


def _cells(column: Column) -> list[_Column]:
    """Describe the cells that a column has in each row."""
    values, mask = column, None
    if type(column) is not np.ndarray:  # numpy.ma is slow to load, and rarely needed
        values, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    kind = ord(_kind(values.dtype))
    at, gone = values.ctypes.data, 0 if mask is None else mask.ctypes.data
    rows = values.strides[0]
    mask_rows = 0 if mask is None else mask.strides[0]
    if values.ndim == 1:
        return [_Column(at, rows, kind, len(values), gone, mask_rows)]
    step, mask_step = values.strides[1], 0 if mask is None else mask.strides[1]
    return [
        _Column(at + i * step, rows, kind, len(values), gone + i * mask_step, mask_rows) for i in range(values.shape[1])
    ]


def _kind(dtype: np.dtype[Any]) -> str:
    """Return the letter of a type; that of long integers depends on the system."""
    return (
        "bhiq"[dtype.itemsize.bit_length() - 1]
        if dtype.kind == "i"
        else ("BHIQ"[dtype.itemsize.bit_length() - 1] if dtype.kind == "u" else dtype.char)
    )


@cache
def _powers() -> Column:
    """Return the first 128 bits of powers of ten, rounded up."""
    raw = bytearray()
    for n in range(_LOWEST, _HIGHEST + 1):
        power = 5 ** abs(n)
        bits = power.bit_length()
        if n < 0:
            power = -(-(1 << (bits + 127)) // power)
        else:
            power = power << (128 - bits) if bits <= 128 else -(-power >> (bits - 128))
        raw += power.to_bytes(16, "big")
    return np.frombuffer(raw, ">u8").astype(np.uint64)
