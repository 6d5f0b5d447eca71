"""Grids laid out as rows come back as they were, whatever their rank and whichever fields span them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxconvert import grid
from nxconvert.array import Values
from nxconvert.errors import InputError
from nxconvert.record import Field, Record, Role, by_name


def scan(shape: tuple[int, ...], item: tuple[int, ...] = (), two_d_axis: bool = False) -> tuple[Record, Field]:
    """A grid scan: a signal, an axis for each dimension, a field along the first only, a header value."""
    n = int(np.prod(shape))
    names = tuple(f"axis{d}" for d in range(len(shape)))
    signal = Field(
        "signal",
        Values(np.arange(n * int(np.prod(item)), dtype=np.float32).reshape(*shape, *item)),
        per_row=True,
        axes=names,
        role=Role.SIGNAL,
    )
    axes = [
        Field(name, Values(np.arange(m) * 10.0 + d), per_row=d == 0, axes=(name,), role=Role.AXIS)
        for d, (name, m) in enumerate(zip(names, shape, strict=True))
    ]
    if two_d_axis and len(shape) > 1:
        axes[1] = Field(
            names[1], Values(np.add.outer(np.arange(shape[0]), np.arange(shape[1]) / 2)), True, names[:2], Role.AXIS
        )
    slow = Field("slow", Values(np.arange(shape[0]) ** 2), per_row=True, axes=names[:1])
    title = Field("title", Values("a map"))
    return Record({"scan": "1"}, by_name([*axes, signal, slow, title])), signal


def equal(a: Record, b: Record) -> None:
    assert list(a.fields) == list(b.fields)
    for name, f in a.fields.items():
        g = b.fields[name]
        assert (f.per_row, f.axes, f.role, f.dtype, f.shape) == (g.per_row, g.axes, g.role, g.dtype, g.shape), name
        np.testing.assert_array_equal(f.values.read(), g.values.read())


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(shapes, st.lists(st.integers(1, 3), max_size=2).map(tuple), st.booleans(), st.integers(1, 200))
def test_unfold_and_fold(shape: tuple[int, ...], item: tuple[int, ...], two_d_axis: bool, budget: int) -> None:
    record, signal = scan(shape, item, two_d_axis)
    table = grid.unfold(record, signal, len(shape))
    assert table.rows == np.prod(shape)
    assert all(f.shape[0] == table.rows for f in table.columns)
    equal(grid.fold(table), record)
    # read block by block, as a writer does
    folded = grid.fold(table)
    parts = {f.name: [] for f in folded.columns}
    for block in folded.blocks(budget=budget + 4000):
        for name, values in block.columns.items():
            parts[name].append(values)
    for name, values in parts.items():
        np.testing.assert_array_equal(np.concatenate(values), record.fields[name].values.read())


@given(shapes, st.data())
def test_rows_read_alone_are_those_of_the_whole(shape: tuple[int, ...], data: st.DataObject) -> None:
    table = grid.unfold(*scan(shape), len(shape))
    start = data.draw(st.integers(0, table.rows or 0))
    stop = data.draw(st.integers(start, table.rows or 0))
    for f in table.columns:
        np.testing.assert_array_equal(f.values.read((slice(start, stop),)), f.values.read()[start:stop])


def test_points_run_with_the_last_axis_fastest() -> None:
    table = grid.unfold(*scan((2, 3)), 2)
    assert table.fields["axis0"].values.read().tolist() == [0, 0, 0, 10, 10, 10]
    assert table.fields["axis1"].values.read().tolist() == [1, 11, 21, 1, 11, 21]
    assert table.fields["slow"].values.read().tolist() == [0, 0, 0, 1, 1, 1]


def test_a_whole_image_is_one_row() -> None:
    record, signal = scan((2, 3))
    one = grid.unfold(record, signal, 0)
    assert one.fields["signal"].shape == (1, 2, 3)
    equal(grid.fold(one), record)


def test_a_column_that_does_not_fit_is_kept_aside() -> None:
    record, signal = scan((2, 3))
    edges = Field("edges", Values(np.arange(5.0)), per_row=True)
    table = grid.unfold(replace(record, fields={**record.fields, "edges": edges}), signal, 2)
    assert not table.fields["edges"].per_row
    assert grid.fold(table).fields["edges"].per_row


def edited(table: Record, name: str, values: np.ndarray) -> Record:
    return replace(table, fields={**table.fields, name: replace(table.fields[name], values=Values(values))})


def test_an_edited_repetition_is_an_error_that_names_the_row() -> None:
    table = grid.unfold(*scan((2, 3)), 2)
    values = table.fields["axis0"].values.read().copy()
    values[4] = 99
    with pytest.raises(InputError, match="axis0 is repeated along the grid, but differs in row 5"):
        list(grid.fold(edited(table, "axis0", values)).blocks())


def test_a_missing_row_is_an_error() -> None:
    table = grid.unfold(*scan((2, 3)), 2)
    shorter = replace(
        table,
        fields={n: replace(f, values=Values(f.values.read()[:5])) if f.per_row else f for n, f in table.fields.items()},
    )
    with pytest.raises(InputError, match="the grid 2 x 3 has 6 points, the table has 5 rows") as caught:
        grid.fold(shorter)
    assert "grid" in caught.value.tip
