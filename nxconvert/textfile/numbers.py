"""Rows of plain numbers, read in one go: by the compiled library, or by numpy."""

from __future__ import annotations

import numpy as np

from nxconvert import numerals
from nxconvert.array import is_masked
from nxconvert.compiled.numbers import in_one_go
from nxconvert.textfile.cells import BadCellError, cast, column
from nxconvert.textfile.layout import NEWLINE, Layout, Values
from nxconvert.textfile.rows import ends_of


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
        if not is_masked(values) and not is_masked(some):
            values[rows_] = some
            continue
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
