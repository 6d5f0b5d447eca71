"""A table in a text file as a record: columns and masks that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert.array import Array, Box, full_box, is_masked
from nxconvert.dataclass import dataclass
from nxconvert.record import Block, Field, Record
from nxconvert.textfile.cells import missing_rows
from nxconvert.textfile.layout import Values
from nxconvert.textfile.sheet import Sheet


class Cells(Array):
    """The values of one column of a sheet."""

    __slots__ = ("_column", "_number", "_sheet")

    def __init__(self, sheet: Sheet, number: int) -> None:
        self._sheet, self._number = sheet, number
        self._column = sheet.columns[number]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._sheet.lengths[self._number], *self._column.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._column.dtype

    def read(self, box: Box | None = None) -> Values:
        rows, *item = full_box(box, self.shape)
        parts: list[Values] = []
        for first, columns in self._sheet.pieces(rows):
            part = columns[self._number][max(0, rows.start - first) : max(0, rows.stop - first)]
            part = np.ma.getdata(part) if is_masked(part) else part
            if len(part):
                parts.append(part)
        out = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty((0, *self._column.item))
        return _typed(out, self._column.dtype)[(slice(None), *item)]


class Missing(Array):
    """Which rows of one column of a sheet are missing."""

    __slots__ = ("_number", "_sheet", "_values")

    def __init__(self, sheet: Sheet, number: int, values: Cells) -> None:
        self._sheet, self._number, self._values = sheet, number, values

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape[:1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def read(self, box: Box | None = None) -> Values:
        (rows,) = full_box(box, self.shape)
        mask = np.zeros(max(0, rows.stop - rows.start), dtype=bool)
        for first, columns in self._sheet.pieces(rows):
            values = columns[self._number]
            if is_masked(values):
                gone = missing_rows(values)[max(0, rows.start - first) : max(0, rows.stop - first)]
                at = max(0, first - rows.start)
                mask[at : at + len(gone)] = gone
        absent = self._sheet.absent.get(self._sheet.columns[self._number].name)
        if absent is not None:
            mask[absent[(absent >= rows.start) & (absent < rows.stop)] - rows.start] = True
        return mask


def _typed(values: Values, dtype: np.dtype[Any]) -> Values:
    """Give an array its dtype with the metadata, which numpy drops."""
    if values.dtype is dtype:
        return values
    out = np.empty(values.shape, dtype=dtype)
    out[...] = values
    return out


@dataclass(frozen=True)
class SheetRecord(Record):
    """A record whose rows are those of a sheet."""

    sheet: Sheet | None = None

    def blocks(self, names: Sequence[str] | None = None, budget: int = 64 << 20) -> Iterator[Block]:
        assert self.sheet is not None
        chosen = [f.name for f in self.columns] if names is None else list(names)
        numbers = {c.name: i for i, c in enumerate(self.sheet.columns)}
        total = max((self.fields[n].shape[0] for n in chosen), default=0)
        step = max(1, budget // max(1, sum(16 * c.width for c in self.sheet.columns)))
        for first, columns in self.sheet.pieces(slice(0, total)):
            rows = max(len(c) for c in columns)
            for start in range(first, min(first + rows, total), step):
                stop = min(start + step, first + rows, total)
                yield Block(
                    start, stop - start, {n: self._part(columns[numbers[n]], n, first, start, stop) for n in chosen}
                )

    def _part(self, values: Values, name: str, first: int, start: int, stop: int) -> Values:
        assert self.sheet is not None
        stop = max(start, min(stop, self.fields[name].shape[0]))
        part = values[start - first : stop - first]
        absent = self.sheet.absent.get(name)
        if absent is not None:
            mask = np.ma.getmaskarray(part).copy()
            mask[absent[(absent >= start) & (absent < stop)] - start] = True
            part = np.ma.MaskedArray(np.ma.getdata(part), mask)
        if is_masked(part) and not np.ma.getmaskarray(part).any():
            part = np.ma.getdata(part)
        return part if is_masked(part) else _typed(part, self.fields[name].dtype)


def record(sheet: Sheet, fields: Sequence[Field], **about: Any) -> SheetRecord:
    """Make a record of a sheet.

    Parameters
    ----------
    sheet
        The rows.
    fields
        Header values, and for each column of the sheet a field of its name, whose values are set here.
    about
        Key, source, mapping, grid.
    """
    numbers = {c.name: i for i, c in enumerate(sheet.columns)}
    made: dict[str, Field] = {}
    for f in fields:
        if f.per_row:
            cells = Cells(sheet, numbers[f.name])
            f = replace(f, values=cells, mask=Missing(sheet, numbers[f.name], cells))
        made[f.name] = f
    return SheetRecord(fields=made, sheet=sheet, **about)
