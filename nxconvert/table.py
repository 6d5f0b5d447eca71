"""Columns as text, exactly and fast: each number with the fewest digits that give it back bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from nxconvert.array import decode, is_text

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_FAST = frozenset("bhilqBHILQfd?")

Column = np.ndarray[Any, Any]


def rows(
    columns: Sequence[Column],
    count: int,
    *,
    separator: bytes = b",",
    missing: bytes = b"",
    quote: Callable[[str], bytes] = lambda text: text.encode("utf-8", "surrogateescape"),
    float_format: str = "",
    booleans: tuple[bytes, bytes] = (b"false", b"true"),
    decimal: bytes = b".",
) -> bytes:
    """Write rows of columns.

    Parameters
    ----------
    columns
        Arrays; the elements of a row's item stand side by side. One that is shorter than ``count`` has its last rows
        missing, a masked one those masked.
    count
        Number of rows.
    separator, missing
        Between cells, and for a cell that is missing.
    quote
        Writes a text cell.
    float_format
        A ``%`` format for floats, e.g. ``%.6g``; empty for exact ones.
    booleans
        How false and true are written.
    decimal
        The decimal sign.

    Returns
    -------
    bytes
        Lines that end in a newline.
    """
    if not count:
        return b""
    columns = [
        part for c in columns for part in ([c] if c.ndim == 1 else list(c.reshape(len(c), math.prod(c.shape[1:])).T))
    ]
    if not columns:
        return b"\n" * count
    if not float_format and decimal == b"." and (whole := _uniform(columns, count)) is not None:
        return whole.replace(b",", separator) if separator != b"," else whole
    cells = [
        _padded(
            _cells(c, quote=quote, missing=missing, float_format=float_format, booleans=booleans, decimal=decimal),
            count,
            missing,
        )
        for c in columns
    ]
    if len(cells) == 1:
        return b"\n".join(cells[0]) + b"\n"
    return b"\n".join(map(separator.join, zip(*cells, strict=True))) + b"\n"


def _uniform(columns: Sequence[Column], count: int) -> bytes | None:
    """Write columns of one numeric type in one go; None when a cell needs more care."""
    first = columns[0].dtype
    if first.char not in "dlqi" or not first.isnative:
        return None
    if any(c.dtype != first or len(c) != count or type(c) is not np.ndarray for c in columns):
        return None
    block = np.empty((count, len(columns)), first)
    for i, c in enumerate(columns):
        block[:, i] = c
    text = orjson.dumps(block, option=_NUMPY)
    if b"null" in text:
        return None
    return text[2:-2].replace(b"],[", b"\n") + b"\n"


def _padded(cells: list[bytes], count: int, missing: bytes) -> list[bytes]:
    return cells + [missing] * (count - len(cells)) if len(cells) < count else cells


def _cells(
    column: Column,
    *,
    quote: Callable[[str], bytes],
    missing: bytes,
    float_format: str,
    booleans: tuple[bytes, bytes],
    decimal: bytes,
) -> list[bytes]:
    masked = type(column) is not np.ndarray  # numpy.ma is slow to load, and rarely needed
    mask = np.ma.getmaskarray(column) if masked else None
    values = np.ma.getdata(column) if masked else column
    kind = values.dtype.kind
    if is_text(values.dtype) or values.dtype == object:
        cells = [quote(v if isinstance(v, str) else str(v)) for v in decode(values)]
    elif kind == "b":
        cells = [booleans[bool(v)] for v in values]
    elif kind == "f" and float_format:
        cells = [(float_format % v).encode() for v in values.tolist()]
    elif kind == "f":
        cells = _floats(values)
    elif kind == "c":
        cells = [str(v).strip("()").encode() for v in values.tolist()]
    else:
        cells = _numbers(values)
    if decimal != b"." and kind in "fc":
        cells = [c.replace(b".", decimal) for c in cells]
    if mask is not None:
        for i in np.flatnonzero(mask):
            cells[i] = missing
    return cells


def _numbers(values: Column) -> list[bytes]:
    if not len(values):
        return []
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return orjson.dumps(native, option=_NUMPY)[1:-1].split(b",")


def _floats(values: Column) -> list[bytes]:
    if values.dtype.itemsize > 8:
        return [str(v).encode() for v in values]
    if values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    cells = _numbers(values)
    odd = np.flatnonzero(~np.isfinite(values))
    for i in odd:
        cells[i] = str(float(values[i])).encode()
    return cells
