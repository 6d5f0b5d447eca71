"""Cells read one by one: what the quick ways do not read, and what is wrong, with its row and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nxconvert import numerals
from nxconvert.array import is_masked, is_text
from nxconvert.textfile.layout import Layout, Values
from nxconvert.textfile.rows import cell

SOME = 4096
"""Rows that are read at once."""

_TRUE, _FALSE = (b"true", b"1", b"1.0"), (b"false", b"0", b"0.0")
_ODD_NAN = re.compile(rb"[+-]?(?:1[.,]#(?:qnan|snan|ind)\d*|nan\(\w*\))", re.IGNORECASE)
_ODD_INF = re.compile(rb"([+-]?)1[.,]#inf\d*", re.IGNORECASE)


class BadCellError(Exception):
    """A cell that is not what its column is: its row in its piece, and what is wrong."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


def cell_by_cell(layout: Layout, text: bytes) -> list[Values]:
    """Read rows; each cell of a row becomes an array, masked where it is missing."""
    some: list[list[bytes | None]] = []
    parts: list[list[Values]] = []
    width, first = len(layout.cells), 0
    for cells in _split(layout, text):
        if len(cells) != layout.width and (len(cells) < width or any(cells[width:])):
            raise BadCellError(first + len(some), f"{len(cells)} cells, where the table has {layout.width} columns")
        some.append(cells)
        if len(some) == SOME:
            parts.append(_columns(layout, some, first))
            first += len(some)
            some = []
    if some or not parts:
        parts.append(_columns(layout, some, first))
    joined = (list(column) for column in zip(*parts, strict=True))
    return [p[0] if len(p) == 1 else (np.ma if any(map(is_masked, p)) else np).concatenate(p) for p in joined]


def _columns(layout: Layout, rows: list[list[bytes | None]], first: int) -> list[Values]:
    names = [c.name for c in layout.columns for _ in range(c.width)]
    return [column(layout, names[i], d, [cells[i] for cells in rows], i, first) for i, d in enumerate(layout.cells)]


def _split(layout: Layout, text: bytes) -> Iterator[list[bytes | None]]:
    """Yield the cells of each row; an empty one is None, one that is quoted and empty is not."""
    if not layout.separator:
        for line in text.split(b"\n")[:-1]:
            yield list(line.split())
        return
    s = layout.separator
    blanks = b" " if s == b"\t" else b" \t"
    if not layout.quotes or b'"' not in text:
        for line in text.split(b"\n")[:-1]:
            yield [cell.strip(blanks + b"\r") or None for cell in line.split(s)]
        return
    pattern = cell(s)
    row: list[bytes | None] = []
    at, known = 0, 0
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            raise BadCellError(known, 'a quote is out of place; write a quote in a cell as ""')
        quoted, plain, after = found.groups()
        row.append(quoted.replace(b'""', b'"') if quoted is not None else (plain or b"").strip(blanks) or None)
        if after == b"\n":
            yield row
            row = []
            known += 1
        at = found.end()


def column(
    layout: Layout, name: str, dtype: np.dtype[Any], cells: list[bytes | None], number: int, first: int
) -> Values:
    """Read cells of one column.

    Parameters
    ----------
    name, dtype
        Of the column.
    cells
        None where nothing stands.
    number, first
        Of the cell in its row, and of the first row, for messages.

    Raises
    ------
    BadCellError
        When a cell is none of the dtype.
    """
    if is_text(dtype):
        there = [cell is not None for cell in cells]
        values = texts(layout, [cell or b"" for cell in cells], dtype)
    else:
        words = [(cell or b"").strip().lower() for cell in cells]
        gone = {b"", *layout.missing} | ({b"nan"} if dtype.kind in "biu" else set())
        there = [w not in gone for w in words]
        present = [w if t else b"0" for w, t in zip(words, there, strict=True)]
        plain = numerals.plain(dtype) if dtype.kind != "b" else dtype
        found = _plain_cells(layout, present, plain)
        values = np.zeros(len(cells), plain) if found is None else found
        for i, word in enumerate(present if found is None else ()):
            try:
                values[i] = _number(layout, word, plain)
            except (ValueError, OverflowError):
                shown = (cells[i] or b"")[:40].decode("utf-8", "replace")
                kind = "neither true nor false" if dtype.kind == "b" else f"no {plain.name}"
                reason = f"column {number + 1} ({name}): {shown!r} is {kind}"
                raise BadCellError(first + i, reason) from None
        values = values.astype(dtype, copy=False)
    return values if all(there) else np.ma.MaskedArray(values, [not t for t in there])


def _plain_cells(layout: Layout, cells: list[bytes], dtype: np.dtype[Any]) -> Values | None:
    """Read the cells of a column at once; None when one needs more care."""
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or layout.decimal != b"." or b"_" in b"".join(cells):
        return None
    try:
        if dtype.kind != "f":
            return np.array([int(c) for c in cells], dtype)
        return cast(np.array([float(c) for c in cells]), dtype)
    except (ValueError, OverflowError):
        return None


def _number(layout: Layout, cell: bytes, dtype: np.dtype[Any]) -> Any:
    if layout.decimal != b".":
        cell = cell.replace(layout.decimal, b".")
    if dtype.kind == "b":
        if cell not in _TRUE + _FALSE:
            raise ValueError(cell)
        return cell in _TRUE
    if dtype.kind == "c":
        return dtype.type(complex(cell.decode("ascii")) if dtype.itemsize <= 16 else cell.decode("ascii"))
    if dtype.kind == "f" and _ODD_NAN.fullmatch(cell):
        return np.nan
    if dtype.kind == "f" and (odd := _ODD_INF.fullmatch(cell)):
        return -np.inf if odd[1] == b"-" else np.inf
    return numerals.number(cell.replace(b"d", b"e"), dtype)


def texts(layout: Layout, words: Sequence[str | bytes], dtype: np.dtype[Any]) -> Values:
    """Make an array of text cells."""
    if layout.foreign:
        texts = [(numerals.decoded(w) if isinstance(w, bytes) else w).strip() for w in words]
    else:
        texts = [w.decode("utf-8", "surrogateescape") if isinstance(w, bytes) else w for w in words]
    if layout.mark:
        texts = [t.removeprefix(layout.mark) for t in texts]
    values: Values = np.empty(len(words), dtype=dtype)
    if dtype.kind == "S" or (dtype.metadata is not None and dtype.metadata.get("vlen") is bytes):
        values[:] = [t.encode("utf-8", "surrogateescape") for t in texts]
    else:
        values[:] = texts
    return values


def cast(values: Values, dtype: np.dtype[Any]) -> Values | None:
    """Cast numbers that were read as float64; None where that would not be exact."""
    if dtype.kind == "f":
        if dtype.itemsize == 4 and numerals.between(values).any():
            return None
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    if not ((values >= info.min) & (values <= info.max) & (values == np.floor(values))).all():
        return None
    return values.astype(dtype)


def missing_rows(values: Values) -> Values:
    """Tell which rows of an array have nothing but missing elements."""
    mask: Any = np.ma.getmaskarray(values)
    gone: Values = mask.reshape(len(values), -1).all(axis=1)
    return gone


def tip(reason: str) -> str:
    """Say how to mend what is wrong."""
    if "cells" in reason:
        return "is the separator right (--delimiter), and are cells that hold it quoted?"
    return "mend the cell, or empty it where the value is missing" if "column" in reason else ""
