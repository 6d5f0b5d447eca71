"""What the columns of a foreign table hold: whole numbers, numbers, or text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nxconvert.array import TEXT
from nxconvert.foreign.dialect import ABSENT, GONE, NUMBERED, WHOLE, Dialect
from nxconvert.textfile import Column, Sheet


def typed(sheet: Sheet, numbers: Sequence[int]) -> Sheet:
    """Say what some columns of a sheet are, that are text as yet, from the cells of its first piece."""
    _, columns = next(iter(sheet.pieces()), (0, []))
    known = list(sheet.columns)
    dialect = Dialect(sheet.separator.decode(), sheet.decimal.decode())
    for i in numbers:
        cells = [str(c) for c in np.ma.compressed(np.ma.asarray(columns[i]))] if columns else []
        kinds = {dialect.kind(c.strip()) for c in cells}
        if kinds <= {NUMBERED, GONE}:
            whole = cells and all(WHOLE.fullmatch(c.strip()) for c in cells) and sheet.is_small
            known[i] = replace(known[i], dtype=np.dtype(np.int64 if whole else np.float64))
    return replace(sheet, columns=tuple(known))


def whole_columns(sheet: Sheet) -> tuple[Column, ...]:
    """Look through a large file at the columns that begin with whole numbers: those that go on otherwise are floats."""
    columns = list(sheet.columns)
    whole = {i for i, c in enumerate(columns) if c.dtype.kind == "i"}
    texts = replace(sheet, columns=tuple(replace(c, dtype=TEXT) for c in columns))
    left = list(sheet.index)
    while whole and left:
        pieces, number = left, len(whole)
        for piece, holds in zip(pieces, sheet.hold_whole(pieces, sorted(whole)), strict=True):
            left = left[1:]
            if holds:
                continue
            values = texts.columns_of(piece)
            for i in list(whole):
                cells = np.ma.compressed(np.ma.asarray(values[i]))
                if not all(WHOLE.fullmatch(c) or c.lower() in ABSENT for c in cells):
                    whole.remove(i)
                    columns[i] = replace(columns[i], dtype=np.dtype(np.float64))
            if len(whole) < number:
                break  # and look on at those that are left
    return tuple(columns)
