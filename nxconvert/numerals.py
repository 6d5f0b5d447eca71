"""Numbers written as text, read back exactly: whole rows at once where they are plain, else cell by cell."""

from __future__ import annotations

import ctypes
import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from nxconvert import compiled
from nxconvert.array import as_array, is_text
from nxconvert.errors import InputError

Column = np.ndarray[Any, Any]

FEW = 32 << 10
"""Bytes of text below which the compiled library is not worth loading."""

_NEWLINE = 10


def decoded(line: bytes) -> str:
    """Decode a line: UTF-8, or else latin-1 as older files are."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def columns(text: bytes, dtypes: Sequence[np.dtype[Any]], rows: int) -> list[Column] | None:
    """Read rows that all have as many numbers as there are columns; None when they need more care."""
    if any(is_text(d) for d in dtypes):
        return None
    bare = [plain(d) for d in dtypes]
    if not rows or any(d.itemsize > 8 for d in bare) or b"_" in text:
        return None
    if all(d == np.float64 for d in bare):
        return _floats(text, len(dtypes), rows)
    table = np.dtype([(f"f{i}", d) for i, d in enumerate(bare)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = np.loadtxt(text.decode("ascii").splitlines(), table, comments=None, ndmin=1)
    except (ValueError, OverflowError, Warning):
        return None
    if len(found) != rows:
        return None
    return [as_array(np.ascontiguousarray(found[f"f{i}"]).astype(d), d) for i, d in enumerate(dtypes)]


def _floats(text: bytes, width: int, rows: int) -> list[Column] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flat = np.fromstring(text, dtype=np.float64, sep=" ")
    except (ValueError, Warning):
        return None
    if len(flat) != width * rows:
        return None
    found = flat.reshape(rows, width)
    return [np.ascontiguousarray(found[:, i]) for i in range(width)]


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

    columns: list[Column]
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
    found: list[Column] = []
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
    return np.dtype(np.bool_) if dtype.kind == "b" else plain(dtype)


@cache
def _powers() -> Column:
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


def lines(text: bytes, odd: Column) -> int | None:
    """Count the lines of a text that ends in a line feed; None when one begins with a code that is odd.

    Parameters
    ----------
    text
        At least one line.
    odd
        For each of the 256 codes whether it is odd.
    """
    library = compiled.library() if len(text) >= FEW else None
    if library is not None:
        count: int = library.nx_lines(text, len(text), odd.ctypes.data)
        return count if count >= 0 else None
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE)
    return None if odd[codes[0]] or odd[codes[ends[:-1] + 1]].any() else len(ends)


def column(cells: Sequence[bytes], there: Sequence[bool], dtype: np.dtype[Any], where: str, first: int) -> Column:
    """Read cells one by one; those that are not there are zero.

    Parameters
    ----------
    cells
        The numbers as written.
    there
        Whether each is one, or stands for a missing value.
    dtype
        What they become.
    where, first
        The column, and the number of its first row, for messages.

    Raises
    ------
    InputError
        When a cell is no number, or none of the dtype.
    """
    if is_text(dtype):
        return as_array([decoded(c) if t else "" for c, t in zip(cells, there, strict=True)], dtype)
    out = np.zeros(len(cells), plain(dtype))
    for i, cell in enumerate(cells):
        if there[i]:
            try:
                out[i] = number(cell, out.dtype)
            except (ValueError, OverflowError):
                text = cell[:40].decode("ascii", "backslashreplace")
                raise InputError(f"{where}: {text!r} in row {first + i + 1} is no {out.dtype.name}") from None
    return as_array(out.astype(dtype), dtype)


def is_number(cell: bytes) -> bool:
    """Tell whether a cell is a number."""
    try:
        number(cell, np.dtype(np.float64))
    except ValueError:
        return False
    return True


def number(cell: bytes, dtype: np.dtype[Any]) -> Any:
    """Read one number.

    Raises
    ------
    ValueError, OverflowError
        When it is none, or none of the dtype.
    """
    text = cell.decode("ascii", "replace")
    if "_" in text:
        raise ValueError(text)
    if dtype.kind in "iu":
        value = int(text) if text.lstrip("+-").isdigit() else _whole(float(text))
        info = np.iinfo(dtype)
        if not info.min <= value <= info.max:
            raise OverflowError(text)
        return value
    if dtype.itemsize > 8:
        return dtype.type(text)
    return _single(text) if dtype.itemsize == 4 else _narrowed(float(text), dtype)


def _narrowed(value: float, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):
        return dtype.type(value)


def between(values: Column) -> Column:
    """Tell which float64 lie just between two float32, where reading a number by way of float64 may round it twice.

    Of those that are less than the least normal float32, all are told that are none themselves.
    """
    found: Column = (values.view(np.uint64) & np.uint64(0x1FFFFFFF)) == np.uint64(0x10000000)
    small = np.flatnonzero(np.abs(values) < np.finfo(np.float32).tiny)
    found[small] = values[small].astype(np.float32) != values[small]
    return found


def _single(text: str) -> Any:
    """Read a float32 exactly, e.g. ``7.038531e-26``, which lies a little below the middle of two."""
    wide = float(text)
    value = _narrowed(wide, np.dtype(np.float32))
    if float(value) == wide or wide != wide or np.isinf(wide):
        return value
    other = np.nextafter(value, np.float32(np.inf if np.isfinite(value) and float(value) < wide else -np.inf))
    if wide < 0 and np.isinf(value):
        other = np.nextafter(value, np.float32(0))
    if wide != (_finite(value) + _finite(other)) / 2:
        return value
    from fractions import Fraction

    exact, middle = Fraction(text), Fraction(wide)
    if exact == middle:
        return value
    return max(value, other) if exact > middle else min(value, other)


def _finite(value: Any) -> float:
    """Return a float32 as float64, an infinite one as if it were the next power of two."""
    return float(value) if np.isfinite(value) else math.copysign(2.0**128, float(value))


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError(value)
    return int(value)


def plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native type that cells are read as: for a boolean, a number."""
    return np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(dtype.newbyteorder("=").str)
