"""Comparing two records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert import grid
from nxconvert.comparison.pair import Comparison, Pair, shape_of
from nxconvert.comparison.values import EXACT, Difference, Tally, Tolerance, comparable, same_type, type_of
from nxconvert.errors import InputError
from nxconvert.policy import DEFAULT_MEMORY
from nxconvert.record import Block, Field, Record


def record_differences(
    a: Record,
    b: Record,
    *,
    tolerance: Tolerance = EXACT,
    budget: int = DEFAULT_MEMORY,
    told: Comparison | None = None,
) -> Iterator[Difference]:
    """Yield the differences of two records: fields, rows, types, units and other attributes, roles, values.

    Where they came from, which mapping made them and in which order their fields are takes no part; a role that was
    only guessed is no difference. A column that ends early equals one whose last rows are missing. Parameters are those
    of ``tree_differences``.
    """
    return RecordPair(tolerance, budget, told).compare(a, b)


class RecordPair(Pair):
    """Compares two records."""

    def compare(self, a: Record, b: Record) -> Iterator[Difference]:
        """Compare two records, grids as grids."""
        a, b = grid.fold(a), grid.fold(b)
        for name in dict.fromkeys([*a.fields, *b.fields]):
            mine, other = a.fields.get(name), b.fields.get(name)
            if mine is None or other is None:
                yield Difference(name, "missing", _described(mine), _described(other))
            else:
                yield from self._field(mine, other)
        rows_a, rows_b = a.rows, b.rows
        if None not in (rows_a, rows_b) and rows_a != rows_b:
            yield Difference("rows", "value", f"{rows_a:,}", f"{rows_b:,}")
        columns = [f.name for f in a.columns if f.name in b.fields and _alike(f, b.fields[f.name])]
        yield from self._columns(a, b, columns)

    def _field(self, a: Field, b: Field) -> Iterator[Difference]:
        """Compare all but the values of columns."""
        yield from self.attributes(a.name, a.attrs, b.attrs)
        if a.role != b.role and not (a.guessed or b.guessed):
            yield Difference(a.name, "role", a.role or "none", b.role or "none")
        elif a.of != b.of:
            yield Difference(a.name, "role", f"errors of {a.of or 'nothing'}", f"errors of {b.of or 'nothing'}")
        if _labels(a) != _labels(b):
            yield Difference(a.name, "role", f"axes {_labels(a)}", f"axes {_labels(b)}")
        if a.per_row != b.per_row:
            yield Difference(a.name, "shape", _described(a), _described(b))
        elif not a.per_row:
            try:
                yield from self.arrays(a.name, a.values, b.values)
            except TypeError as error:
                self.unread(a.name, InputError(f"{a.name}: {error}"))
        else:
            self.counted()
            if not same_type(a.dtype, b.dtype, self.tolerance):
                yield Difference(a.name, "type", type_of(a.dtype), type_of(b.dtype))
            if a.item_shape != b.item_shape:
                yield Difference(a.name, "shape", f"{shape_of(a.item_shape)} a row", f"{shape_of(b.item_shape)} a row")

    def _columns(self, a: Record, b: Record, names: list[str]) -> Iterator[Difference]:
        """Compare the values of columns, as far as both have rows."""
        if not names:
            return
        tallies = {name: Tally(self.tolerance) for name in names}
        gone = {name: Tally() for name in names}
        budget = self.budget // 8
        for start, count, mine, others in _aligned(a.blocks(names, budget), b.blocks(names, budget)):
            for name in names:
                x, lost_x = _completed(mine[name], count)
                y, lost_y = _completed(others[name], count)
                gone[name].add(lost_x, lost_y, lambda index, start=start: (index[0] + start,))  # type: ignore[misc]
                there = np.flatnonzero(~(lost_x | lost_y))
                if len(there) < count:
                    x, y = x[there], y[there]
                try:
                    tallies[name].add(
                        x,
                        y,
                        lambda i, start=start, there=there: (int(there[i[0]]) + start, *i[1:]),  # type: ignore[misc]
                    )
                except TypeError as error:
                    self.unread(name, InputError(f"{name}: {error}"))
                    return
        words = {"True": "missing", "False": "a value"}
        for name in names:
            lost = gone[name].found(name)
            if lost is not None:
                yield replace(lost, a=words[lost.a], b=words[lost.b], note=f"{gone[name].count:,} rows")
            found = tallies[name].found(name)
            if found is not None:
                yield found


def _described(f: Field | None) -> str:
    if f is None:
        return ""
    kind = "a column of" if f.per_row else "a header value,"
    return f"{kind} {shape_of(f.item_shape)} {type_of(f.dtype)}".replace(" scalar ", " ")


def _alike(a: Field, b: Field) -> bool:
    return a.per_row and b.per_row and a.item_shape == b.item_shape and comparable(a.dtype, b.dtype)


def _labels(f: Field) -> str:
    labels = list(f.axes)
    while labels and labels[-1] is None:
        labels.pop()
    return ", ".join(str(label or ".") for label in labels) or "none"


Columns = Mapping[str, np.ndarray[Any, Any]]


def _aligned(a: Iterator[Block], b: Iterator[Block]) -> Iterator[tuple[int, int, Columns, Columns]]:
    """Give blocks of the same rows of two records whose own blocks differ in length, until one of them ends."""
    mine, other = next(a, None), next(b, None)
    start = 0
    while mine is not None and other is not None:
        stop = min(mine.start + mine.rows, other.start + other.rows)
        yield start, stop - start, _cut(mine, start, stop), _cut(other, start, stop)
        start = stop
        if mine.start + mine.rows == stop:
            mine = next(a, None)
        if other.start + other.rows == stop:
            other = next(b, None)


def _cut(block: Block, start: int, stop: int) -> Columns:
    return {name: values[start - block.start : stop - block.start] for name, values in block.columns.items()}


def _completed(values: np.ndarray[Any, Any], count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the values that are there, and for each of ``count`` rows whether it is missing."""
    lost = np.ones(count, dtype=bool)
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else np.zeros(len(values), dtype=bool)
    lost[: len(values)] = mask.reshape(len(values), -1).all(axis=1) if len(values) else mask[:0]
    return np.ma.getdata(values), lost
