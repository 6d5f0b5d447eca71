"""Grid scans, maps and 2-D signals laid out as rows, and back.

The first ``k`` dimensions of the signal are the grid; rows are its product, the last dimension running fastest. A
field that runs along some of the grid's dimensions only is repeated. What is needed for the way back is kept in
``record.grid``: ``shape``, ``spans`` (the dimensions of each field), ``aside`` (columns that do not fit the grid
and became header values) and ``counts`` (columns that only count along a dimension and are dropped again).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from nxconvert.array import Array, Box, full_box
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.record import Block, Field, Record


def spans_of(record: Record, signal: Field, k: int) -> dict[str, tuple[int, ...]]:
    """Say along which dimensions of the grid each field runs.

    Parameters
    ----------
    record
        The record.
    signal
        The field that has all dimensions of the grid first.
    k
        Number of the grid's dimensions.

    Returns
    -------
    dict
        Field name to dimensions; a field that does not run along the grid is not in it.
    """
    labels = [*signal.axes, *[None] * len(signal.shape)][: len(signal.shape)]
    spans: dict[str, tuple[int, ...]] = {}
    for f in record.fields.values():
        own = [*f.axes, *[None] * len(f.shape)][: len(f.shape)]
        known = [labels.index(a) if a is not None and a in labels else None for a in own]
        if all(d is not None for d in known) and known:
            dims = tuple(d for d in known if d is not None)
        elif f.per_row:
            dims = tuple(range(len(f.shape)))
        else:
            continue
        inside = tuple(d for d in dims if d < k)
        if inside != dims[: len(inside)] or not inside or len(set(inside)) != len(inside):
            continue
        if inside == tuple(range(len(inside))) and len(inside) < k and len(f.shape) > len(inside) and f.per_row:
            continue
        if all(f.shape[i] == signal.shape[d] for i, d in enumerate(inside)):
            spans[f.name] = inside
    return spans


def unfold(record: Record, signal: Field, k: int, counts: Sequence[str] = ()) -> Record:
    """Lay a record out as one row for each point of its grid.

    Parameters
    ----------
    record
        A record that is not laid out yet.
    signal
        The field whose first dimensions are the grid.
    k
        How many of them; 0 makes one row of the whole.
    counts
        Fields that only count along a dimension.

    Returns
    -------
    Record
        Lazy; ``fold`` gives the first back.
    """
    shape = signal.shape[:k]
    spans = spans_of(record, signal, k) if k else {f.name: () for f in record.columns}
    aside: list[str] = []
    fields: list[Field] = []
    for f in record.fields.values():
        if f.name in spans:
            fields.append(replace(f, values=_Unfolded(f.values, shape, spans[f.name]), per_row=True, axes=()))
        elif f.per_row:
            aside.append(f.name)
            fields.append(replace(f, per_row=False, axes=f.axes))
        else:
            fields.append(f)
    axes = {f.name: list(f.axes) for f in record.fields.values() if f.axes}
    header = [f.name for f in record.header if f.name in spans]
    grid = {"shape": list(shape), "spans": {n: list(s) for n, s in spans.items()}}
    grid |= {n: v for n, v in (("aside", aside), ("axes", axes), ("header", header), ("counts", list(counts))) if v}
    return replace(record, fields={f.name: f for f in fields}, grid=grid)


_LONG = 1 << 20
"""Bytes from which on a line of a grid is not read whole for some of its points."""


class _Unfolded(Array):
    """A field of a grid, as rows."""

    __slots__ = ("_array", "_grid", "_span")

    def __init__(self, array: Array, grid: tuple[int, ...], span: tuple[int, ...]) -> None:
        self._array, self._grid, self._span = array, grid, span

    @property
    def shape(self) -> tuple[int, ...]:
        return (prod(self._grid), *self._array.shape[len(self._span) :])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def _long_lines(self) -> bool:
        return prod(self._array.shape[1:]) * self.dtype.itemsize > _LONG and not self.dtype.hasobject

    def _points(self, start: int, stop: int, item_box: Box) -> Iterator[np.ndarray[Any, Any]]:
        """Read points of the grid, a run along its last dimension at a time."""
        while start < stop:
            *outer, i = (int(n) for n in np.unravel_index(start, self._grid))
            n = min(stop - start, self._grid[-1] - i)
            values = self._array.read((*(slice(o, o + 1) for o in outer), slice(i, i + n), *item_box))
            yield values.reshape((n, *values.shape[len(self._grid) :]))
            start += n

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *items = full_box(box, self.shape)
        start, stop = rows.start, max(rows.start, rows.stop)
        item_box = tuple(items)
        if not self._span:
            return self._array.read(item_box)[np.newaxis][start:stop]
        if stop > start and self._span == tuple(range(len(self._grid))) and self._long_lines():
            return np.concatenate(list(self._points(start, stop, item_box)))
        if self._span[0] == 0:
            inner = prod(self._grid[1:])
            first, last = start // inner, -(-stop // inner)
            lead = slice(first, last)
        else:
            inner, first, last = prod(self._grid), 0, 1
            lead = slice(0, self._grid[self._span[0]])
        whole = tuple(slice(0, self._grid[d]) for d in self._span[1:])
        values = self._array.read((lead, *whole, *item_box))
        expand = [d for d in range(len(self._grid)) if d not in self._span]
        ordered = np.argsort(np.argsort(self._span)) if self._span else ()
        values = np.moveaxis(values, range(len(self._span)), ordered)
        for d in expand:
            values = np.expand_dims(values, d)
        grid = list(self._grid)
        if self._span[0] == 0:
            grid[0] = last - first
        full = np.broadcast_to(values, (*grid, *values.shape[len(self._grid) :]))
        rest = full.shape[len(self._grid) :]
        flat = full.reshape((prod(grid), *rest))
        offset = first * inner if self._span[0] == 0 else 0
        return flat[start - offset : stop - offset]


def fold(record: Record) -> Record:
    """Undo ``unfold``: give a record back its grid.

    Raises
    ------
    InputError
        When the rows are not those of the grid, or a repeated value differs from its first.
    """
    grid = record.grid
    if not grid:
        return record
    shape = tuple(int(n) for n in grid["shape"])
    if prod(shape) != record.rows:
        raise InputError(
            f"{record.source}: the grid {' x '.join(map(str, shape))} has {prod(shape):,} points, the table has "
            f"{record.rows:,} rows",
            'bring the rows back, or delete "grid" from the first line to read a plain table',
        )
    if not shape:
        return _single(record, grid)
    spans = {n: tuple(s) for n, s in grid["spans"].items()}
    axes, header, aside = grid.get("axes", {}), grid.get("header", ()), grid.get("aside", ())
    fields: list[Field] = []
    counts = grid.get("counts", ())
    for f in record.fields.values():
        if f.name in counts:
            continue
        labels = tuple(None if a in counts else a for a in axes.get(f.name, f.axes))
        if f.per_row and f.name in spans:
            span = spans[f.name]
            values: Array = _Folded(record, f.name, shape, span)
            fields.append(replace(f, values=values, per_row=f.name not in header, axes=labels))
        elif f.per_row:
            full = tuple(range(len(shape)))
            fields.append(replace(f, values=_Folded(record, f.name, shape, full), axes=labels))
        else:
            fields.append(replace(f, per_row=f.name in aside, axes=labels))
    return _FoldedRecord(
        record.key,
        {f.name: f for f in fields},
        record.source,
        record.mapping,
        None,
        record.finished,
        record,
        shape,
        spans,
    )


def _single(record: Record, grid: Any) -> Record:
    fields = []
    for f in record.fields.values():
        values: Array = _First(f.values) if f.per_row else f.values
        fields.append(
            replace(
                f,
                values=values,
                per_row=f.per_row or f.name in grid.get("aside", ()),
                axes=tuple(grid.get("axes", {}).get(f.name, ())),
            )
        )
    return replace(record, fields={f.name: f for f in fields}, grid=None)


class _First(Array):
    """The only row of an array."""

    __slots__ = ("_array",)

    def __init__(self, array: Array) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        first: np.ndarray[Any, Any] = self._array.read((slice(0, 1), *full_box(box, self.shape)))[0]
        return first


class _Folded(Array):
    """A column of a table, as a field of the grid."""

    __slots__ = ("_grid", "_name", "_record", "_span")

    def __init__(self, record: Record, name: str, grid: tuple[int, ...], span: tuple[int, ...]) -> None:
        self._record, self._name, self._grid, self._span = record, name, grid, span

    @property
    def shape(self) -> tuple[int, ...]:
        return (*(self._grid[d] for d in self._span), *self._record.fields[self._name].item_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._record.fields[self._name].dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        flat = self._record.fields[self._name].values.read()
        return folded(flat, self._grid, self._span, self._name, self._record.source, 0)[full_box(box, self.shape)]


def folded(
    flat: np.ndarray[Any, Any],
    grid: tuple[int, ...],
    span: tuple[int, ...],
    name: str,
    source: str,
    start: int,
) -> np.ndarray[Any, Any]:
    """Return the values of one field of whole grid lines, repeated ones checked and dropped."""
    full = flat.reshape((*grid, *flat.shape[1:]))
    index = tuple(slice(None) if d in span else slice(0, 1) for d in range(len(grid)))
    kept = full[index]
    same = (full == kept) | ((full != full) & (kept != kept)) if flat.dtype.kind == "f" else full == kept
    if not np.all(same):
        row = int(np.argwhere(~np.asarray(same).reshape(len(flat), -1).all(axis=1))[0, 0]) + start
        raise InputError(
            f"{source}: {name} is repeated along the grid, but differs in row {row + 1}",
            'make the repeated values equal, or delete "grid" from the first line to read a plain table',
        )
    kept = kept.reshape(tuple(grid[d] for d in sorted(span)) + flat.shape[1:])
    return np.moveaxis(kept, np.argsort(np.argsort(span)), range(len(span)))


@dataclass(frozen=True)
class _FoldedRecord(Record):
    """A record with a grid, whose blocks are whole lines of it."""

    table: Record | None = None
    shape: tuple[int, ...] = ()
    spans: Any = None

    def blocks(self, names: Sequence[str] | None = None, budget: int = 64 << 20) -> Iterator[Block]:
        assert self.table is not None
        chosen = [f.name for f in self.columns] if names is None else list(names)
        tabled = [n for n in chosen if self.table.fields[n].per_row]
        aside = [n for n in chosen if n not in tabled]
        if aside:
            values = {n: self.fields[n].values.read() for n in aside}
            yield Block(0, max(len(v) for v in values.values()), values)
        inner = prod(self.shape[1:])
        held: dict[str, list[np.ndarray[Any, Any]]] = {n: [] for n in tabled}
        count, line = 0, 0
        for block in self.table.blocks(tabled, budget // 2):
            for n in tabled:
                held[n].append(block.columns[n])
            count += block.rows
            lines = count // inner
            if not lines:
                continue
            out: dict[str, np.ndarray[Any, Any]] = {}
            for n in tabled:
                joined = np.concatenate(held[n]) if len(held[n]) > 1 else held[n][0]
                whole, rest = joined[: lines * inner], joined[lines * inner :]
                held[n] = [rest]
                grid = (lines, *self.shape[1:])
                span = self.spans.get(n, tuple(range(len(self.shape))))
                out[n] = folded(whole, grid, span, n, self.source, line * inner)
            yield Block(line, lines, out)
            line += lines
            count -= lines * inner
