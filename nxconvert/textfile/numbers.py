"""Rows of plain numbers, read in one go: by the compiled library, or by numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from nxconvert import compiled, numerals
from nxconvert.array import is_text
from nxconvert.textfile.cells import BadCellError, cast, column, is_masked
from nxconvert.textfile.layout import NEWLINE, Layout, Values
from nxconvert.textfile.rows import ends_of

_LOWEST, _HIGHEST = -342, 308
"""Powers of ten between which 19 digits make a number of 64 bits; of numbers.c."""

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

    columns: list[Values]
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
    found: list[Values] = []
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
    return np.dtype(np.bool_) if dtype.kind == "b" else numerals.plain(dtype)


@cache
def _powers() -> Values:
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


def compiled_numbers(layout: Layout, text: bytes, rows: int) -> list[Values] | None:
    """Read numbers by the compiled library; None when that is not there, or a cell is wrong."""
    table = in_one_go(text, layout.cells, rows, layout.separator, layout.decimal, layout.spare)
    if table is None:
        return None
    left: dict[int, list[tuple[int, bytes]]] = {}
    for row, cell, word in table.left:
        left.setdefault(cell, []).append((row, word))
    for i, cells in left.items():
        try:
            some = column(layout, "", layout.cells[i], [word for _, word in cells], i, 0)
        except BadCellError:
            return None  # another way finds which is the first
        rows_ = [row for row, _ in cells]
        values = table.columns[i]
        np.ma.getdata(values)[rows_] = np.ma.getdata(some)
        if is_masked(some):
            mask = np.ma.getmaskarray(values).copy()
            mask[rows_] = np.ma.getmaskarray(some)
            table.columns[i] = np.ma.MaskedArray(np.ma.getdata(values), mask)
    return table.columns


def _is_regular(layout: Layout, text: bytes, rows: int) -> bool:
    """Tell whether every row has as many cells as there are columns; nothing is quoted."""
    codes = np.frombuffer(text, np.uint8)
    if not layout.separator:
        solid = codes > 32
        begins = np.flatnonzero(solid[1:] & ~solid[:-1]) + 1
        begins = np.concatenate([[0], begins]) if solid[0] else begins
        known = np.searchsorted(begins, ends_of(text))
        return bool((np.diff(known, prepend=0) == layout.width).all())
    ends = codes[(codes == layout.separator[0]) | (codes == NEWLINE)] == NEWLINE
    return len(ends) == rows * layout.width and bool(ends[layout.width - 1 :: layout.width].all())


def plain_numbers(layout: Layout, text: bytes, rows: int) -> list[Values] | None:
    """Read plain numbers; None when a cell is empty or no plain number."""
    if not _is_regular(layout, text, rows):
        return None
    dtypes = layout.cells
    if any(d.kind not in "iuf" or d.itemsize > 8 for d in dtypes):
        return None
    if layout.decimal != b".":
        text = text.replace(layout.decimal, b".")
    if layout.separator:
        s = layout.separator
        if text.startswith(s) or s + s in text or s + b"\n" in text or b"\n" + s in text:
            return None
        text = text.replace(s, b" ")
    if any(d.kind != "f" and d.itemsize > 4 for d in dtypes):
        return numerals.columns(text, dtypes, rows)
    found = numerals.columns(text, [np.dtype(np.float64)] * len(dtypes), rows)
    if found is None:
        return None
    exact = [cast(v, d) for v, d in zip(found, dtypes, strict=True)]
    return None if any(c is None for c in exact) else [c for c in exact if c is not None]
