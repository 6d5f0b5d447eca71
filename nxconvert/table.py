"""Columns as text, exactly and fast: each number with the fewest digits that give it back bit by bit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from nxconvert.array import decode, is_text
from nxconvert.compiled import decimals
from nxconvert.dataclass import dataclass
from nxconvert.engine.parallel import in_turn

PIECE = 20_000
"""Cells that are written at once: few enough that their text stays in the processor's caches, and that the system need
not find new memory for each piece, which took as long as to write it."""

MANY = 500_000
"""Cells that are worth the work of all processors: to write them takes several times as long as to start a process."""

_ROW_END, _NULL = re.compile(rb"\],\["), re.compile(b"null")
"""Signs in JSON; an expression finds them in less than half the time that the methods of ``bytes`` take."""

Column = np.ndarray[Any, Any]


def _as_it_is(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Style:
    """How cells are written.

    Attributes
    ----------
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
    """

    separator: bytes = b","
    missing: bytes = b""
    quote: Callable[[str], bytes] = _as_it_is
    float_format: str = ""
    booleans: tuple[bytes, bytes] = (b"false", b"true")
    decimal: bytes = b"."


def rows(columns: Sequence[Column], count: int, style: Style) -> Iterator[bytes]:
    """Write rows of columns.

    Parameters
    ----------
    columns
        Arrays; the elements of a row's item stand side by side. One that is shorter than ``count`` has its last rows
        missing, a masked one those masked.
    count
        Number of rows.
    style
        How cells are written.

    Returns
    -------
    iterator of bytes
        Each some lines that end in a newline.
    """
    columns = [c for c in columns if 0 not in c.shape[1:]]
    width = sum(math.prod(c.shape[1:]) for c in columns)
    step: int = max(1, PIECE // max(1, width))
    known = [not style.float_format and decimals.writes(c.dtype) for c in columns]
    writer = decimals.Writer(style.separator, style.decimal, style.missing, style.booleans) if any(known) else None

    def piece(number: int) -> bytes:
        start = number * step
        some = min(step, count - start)
        parts = [_flat(c[start : start + some]) for c in columns]
        if writer is not None and all(known):
            return writer.rows(parts, some)
        cells: list[list[bytes]] = []
        for together, run in groupby(zip(known, parts, strict=True), itemgetter(0)):
            side_by_side = [part for _, part in run]
            if writer is not None and together:
                cells.append(writer.rows(side_by_side, some)[:-1].split(b"\n"))
            else:
                cells += _cells_of(side_by_side, some, style)
        if not cells:
            return b"\n" * some
        lines = [style.separator.join(row) for row in zip(*cells, strict=True)]
        return b"\n".join(lines) + b"\n"

    pieces = range(-(-count // step))
    return in_turn(piece, len(pieces)) if count * width >= MANY else map(piece, pieces)


def _flat(column: Column) -> Column:
    """Return a row's item as elements side by side: an array of rank 1 or 2."""
    return column if column.ndim < 3 else column.reshape(len(column), math.prod(column.shape[1:]))


def _cells_of(columns: Sequence[Column], count: int, style: Style) -> list[list[bytes]]:
    """Return the cells of each row, of some columns together; where the compiled library does not write them."""
    cells: list[list[bytes]] = []
    for kind, run in groupby(columns, lambda c: _whole_kind(c, count, style)):
        together = list(run)
        text = _block(together, count, style.missing) if kind else None
        if text is not None:
            text = text.replace(b",", style.separator) if style.separator != b"," else text
            cells.append(text.split(b"\n"))
            continue
        singles = (single for column in together for single in ([column] if column.ndim == 1 else column.T))
        cells += [_padded(_cells(single, style), count, style.missing) for single in singles]
    return cells


def _whole_kind(column: Column, count: int, style: Style) -> str:
    """Return the type code of a column that can be written with others of its type in one go, else nothing."""
    if style.float_format or style.decimal != b"." or not column.dtype.isnative or column.dtype.char not in "dflqi":
        return ""
    whole = type(column) is np.ndarray and len(column) == count
    return column.dtype.char if whole or column.dtype.kind == "f" else ""


def _block(columns: Sequence[Column], count: int, missing: bytes) -> bytes | None:
    """Write columns of one numeric type at once; floats may end early, be masked or not be finite."""
    widths = [1 if c.ndim == 1 else c.shape[1] for c in columns]
    if not sum(widths):
        return None
    whole = all(type(c) is np.ndarray and len(c) == count for c in columns)
    if whole and len(columns) == 1 and columns[0].ndim == 2:
        block = np.ascontiguousarray(columns[0])
    else:
        block = np.empty((count, sum(widths)), columns[0].dtype)
        at = 0
        for c, width in zip(columns, widths, strict=True):
            block[: len(c), at : at + width] = (c if type(c) is np.ndarray else np.ma.getdata(c)).reshape(len(c), width)
            at += width
    gone = None if whole else _gone(columns, widths, count)
    if gone is not None:
        block[gone] = np.nan
    text = orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)
    odd = ~np.isfinite(block)
    if odd.any():  # it is null, as JSON has no other word for it
        words = {np.inf: b"inf", -np.inf: b"-inf"}
        tokens = [words.get(v, b"nan") for v in block[odd].tolist()]
        if gone is not None:
            tokens = [missing if g else t for g, t in zip(gone[odd].tolist(), tokens, strict=True)]
        parts = _NULL.split(text)
        text = b"".join(p for pair in zip(parts, [*tokens, b""], strict=True) for p in pair)
    return _ROW_END.sub(b"\n", text[2:-2])


def _gone(columns: Sequence[Column], widths: Sequence[int], count: int) -> Column:
    """Tell which cells are missing: after a column's end, or masked."""
    gone = np.zeros((count, sum(widths)), dtype=bool)
    at = 0
    for c, width in zip(columns, widths, strict=True):
        gone[len(c) :, at : at + width] = True
        if type(c) is not np.ndarray:
            mask: Any = np.ma.getmaskarray(c)
            gone[: len(c), at : at + width] = mask.reshape(len(c), width)
        at += width
    return gone


def _padded(cells: list[bytes], count: int, missing: bytes) -> list[bytes]:
    return cells + [missing] * (count - len(cells)) if len(cells) < count else cells


def _cells(column: Column, style: Style) -> list[bytes]:
    masked = type(column) is not np.ndarray  # numpy.ma is slow to load, and rarely needed
    mask = np.ma.getmaskarray(column) if masked else None
    values = np.ma.getdata(column) if masked else column
    kind = values.dtype.kind
    if is_text(values.dtype) or values.dtype == object:
        cells = [style.quote(v if isinstance(v, str) else str(v)) for v in decode(values)]
    elif kind == "b":
        cells = [style.booleans[bool(v)] for v in values]
    elif kind == "f" and style.float_format:
        cells = [(style.float_format % v).encode() for v in values.tolist()]
    elif kind == "f":
        cells = _floats(values)
    elif kind == "c":
        cells = [str(v).strip("()").encode() for v in values.tolist()]
    else:
        cells = _numbers(values)
    if style.decimal != b"." and kind in "fc":
        cells = [c.replace(b".", style.decimal) for c in cells]
    if mask is not None:
        for i in np.flatnonzero(mask):
            cells[i] = style.missing
    return cells


def _numbers(values: Column) -> list[bytes]:
    if not len(values):
        return []
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _floats(values: Column) -> list[bytes]:
    if values.dtype.itemsize > 8:
        return [str(v).encode() for v in values]
    if values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    cells = _numbers(values)
    for i in np.flatnonzero(~np.isfinite(values)):
        cells[i] = str(float(values[i])).encode()
    return cells
