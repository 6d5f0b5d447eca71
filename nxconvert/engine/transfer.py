"""Moving values: blocks of records into sinks, boxes and stored chunks of trees into trees."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby, islice
from typing import Any

import numpy as np

from nxconvert.array import Array, Values, is_masked
from nxconvert.engine.codecs import workers
from nxconvert.errors import InputError, UsageError
from nxconvert.format import RecordSink, TreeSink
from nxconvert.mapping.made import Imported
from nxconvert.mapping.model import MISSING_ROWS
from nxconvert.record import Block, Field, Record, rows_within
from nxconvert.tree import Group, Virtual

Moved = Callable[[str, int], None]
"""Told what is being written and how many bytes went."""


SHARE = 8 << 20
"""Bytes of a block for each processor."""


def _untold(what: str, size: int) -> None:
    """Tell nobody."""


def record_to_sink(record: Record, sink: RecordSink, budget: int, moved: Moved = _untold) -> None:
    """Write one record."""
    sink.begin(record)
    columns = [f for f in record.columns if f.name not in sink.fetches()]
    names = None if len(columns) == len(record.columns) else [f.name for f in columns]
    for block in record.blocks(names, block_size(columns, budget)):
        sink.write(block)
        moved(record.source, sum(values.nbytes for values in block.columns.values()))
    sink.end()


def record_to_tree(record: Record, imported: Imported, sink: TreeSink, budget: int, moved: Moved = _untold) -> None:
    """Write one record into the tree that a mapping made for it."""
    sink.begin(imported.root)
    streamed = [f.name for f in record.columns if f.name in imported.paths and not isinstance(f.values, Values)]
    missing: dict[str, list[np.ndarray[Any, Any]]] = {}
    for f in [record.fields[name] for name in streamed]:
        if f.mask is None and sink.fetch(imported.paths[f.name], f.values, f.source, moved):
            streamed.remove(f.name)
    size = block_size([record.fields[name] for name in streamed], budget)
    with closing(ahead(record.blocks(streamed, size) if streamed else ())) as blocks:
        for block in blocks:
            for name, values in block.columns.items():
                path = imported.paths[name]
                plain = values
                if is_masked(values):
                    plain, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
                    if mask.any():
                        gone = mask.reshape(len(mask), -1).all(axis=1)
                        missing.setdefault(path, []).append(np.flatnonzero(gone) + block.start)
                sink.write(path, (block.start, *(0,) * (values.ndim - 1)), plain)
            moved(record.source, sum(values.nbytes for values in block.columns.values()))
    for path, gone_rows in missing.items():
        sink.annotate(path, {MISSING_ROWS: np.concatenate(gone_rows)})
    for f in record.header:
        if f.name in imported.paths and not isinstance(f.values, Values):
            array_to_tree(f.values, imported.paths[f.name], sink, budget)


def views_to_tree(root: Group, sink: TreeSink) -> None:
    """Write a tree that views what was written before it: the stack of several records.

    Raises
    ------
    UsageError
        When the format has no views of datasets.
    """
    sink.begin(root)
    view = next((path for path, dataset in sink.unfilled(root) if isinstance(dataset, Virtual)), "")
    if view:
        raise UsageError(
            f"{view} would be a view of the frames of several records, which this format does not have",
            "write HDF5 with the mapping, and convert that without one",
        )


def block_size(fields: Sequence[Field], budget: int) -> int:
    """Return the bytes of a block: enough for all processors, small enough to stay in their caches, within a budget."""
    return min(budget, max(workers() * SHARE, budget // rows_within(fields, budget)))


def ahead(blocks: Iterable[Block]) -> Generator[Block]:
    """Read each block in a thread while the one before it is in use; the first two at once, as most records have one.

    Close the generator when it was left early: what it reads may then be closed.
    """
    rest = iter(blocks)
    known = list(islice(rest, 2))
    yield from known[:1]
    if len(known) < 2:
        return
    block: Block | None = known.pop()
    known.clear()
    with ThreadPoolExecutor(1, "ahead") as pool:
        while block is not None:
            following = pool.submit(next, rest, None)
            yield block
            block = following.result()


def tree_to_tree(root: Group, sink: TreeSink, budget: int) -> None:
    """Copy a tree."""
    sink.begin(root)
    for path, dataset in sink.unfilled(root):
        array_to_tree(dataset, path, sink, budget)


def array_to_tree(array: Array, path: str, sink: TreeSink, budget: int) -> None:
    """Copy one array, as stored chunks where source and target agree, else box by box."""
    storage = array.storage
    if storage is not None and sink.takes_chunks(path, storage):
        for chunk in storage.list_chunks():
            sink.write_chunk(path, chunk.offset, storage.read_chunk(chunk.offset), chunk.mask)
        return
    if sink.fetch(path, array, str(getattr(array, "source", path)), _untold):
        return
    cut = stored_boxes if sink.fills_gaps(path) else boxes
    for box in cut(array, budget):
        sink.write(path, tuple(s.start for s in box), array.read(box))


def stored_boxes(array: Array, budget: int) -> Iterator[tuple[slice, ...]]:
    """Cut an array like ``boxes``, but leave out the chunks that are not stored, however large the array says it is."""
    storage = array.storage
    first = next(boxes(array, budget), None)
    if storage is None or not first:
        yield from boxes(array, budget)
        return
    edge = tuple(s.stop for s in first)
    stored: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for chunk in storage.list_chunks():
        stored.setdefault(tuple(o // e for o, e in zip(chunk.offset, edge, strict=True)), []).append(chunk.offset)
    for index in sorted(stored):
        box = _box([i * e for i, e in zip(index, edge, strict=True)], edge, array.shape)
        if len(stored[index]) == _count(box, storage.chunks):
            yield box
            continue
        for start, layer in groupby(sorted(stored[index]), lambda offset: offset[0]):
            offsets, rows = list(layer), slice(start, min(start + storage.chunks[0], box[0].stop))
            if len(offsets) == _count((rows, *box[1:]), storage.chunks):
                yield (rows, *box[1:])
            else:
                yield from (_box(offset, storage.chunks, array.shape) for offset in offsets)


def _count(box: tuple[slice, ...], chunks: tuple[int, ...]) -> int:
    """Return how many chunks a box is made of."""
    return math.prod(-(-(s.stop - s.start) // c) for s, c in zip(box, chunks, strict=True))


def boxes(array: Array, budget: int) -> Iterator[tuple[slice, ...]]:
    """Cut an array into boxes within a budget, along whole chunks where it has some.

    Raises
    ------
    InputError
        When one chunk alone is larger than the budget.
    """
    shape = array.shape
    if not shape:
        yield ()
        return
    if 0 in shape:
        return
    storage = array.storage
    chunk = storage.chunks if storage is not None else (1,) * len(shape)
    size = array.dtype.itemsize
    for n in chunk:
        size *= n
    if size > budget:
        raise InputError(
            f"one chunk of {array!r} takes {size:,} bytes, more than the budget of {budget:,}",
            "give more with --memory",
        )
    edge = list(chunk)
    for d in reversed(range(len(shape))):
        size //= edge[d]
        edge[d] = max(edge[d], min(shape[d], (budget // max(size, 1)) // chunk[d] * chunk[d]))
        if edge[d] < shape[d]:
            break
        size *= edge[d]
    yield from _grid(shape, tuple(edge))


def _grid(shape: tuple[int, ...], edge: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    for index in np.ndindex(*(-(-n // e) for n, e in zip(shape, edge, strict=True))):
        yield _box([i * e for i, e in zip(index, edge, strict=True)], edge, shape)


def _box(start: Sequence[int], edge: Sequence[int], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, min(a + e, n)) for a, e, n in zip(start, edge, shape, strict=True))
