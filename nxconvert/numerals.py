"""Numbers written as text, read back exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nxconvert.array import as_array, is_text
from nxconvert.compiled.numbers import FEW, in_one_go
from nxconvert.errors import InputError

Column = np.ndarray[Any, Any]


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
    if len(text) >= FEW:
        table = in_one_go(text if text.endswith(b"\n") else text + b"\n", bare, rows, b"", b".")
        if table is not None and not table.left:
            return [as_array(v.astype(d, copy=False), d) for v, d in zip(table.columns, dtypes, strict=True)]
    if all(d == np.float64 for d in bare):
        return _floats(text, len(dtypes), rows)
    layout = np.dtype([(f"f{i}", d) for i, d in enumerate(bare)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = np.loadtxt(text.decode("ascii").splitlines(), layout, comments=None, ndmin=1)
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
