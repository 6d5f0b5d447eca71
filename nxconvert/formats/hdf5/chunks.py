"""Large compressed datasets: whole chunks are read and written raw, and decoded and encoded in threads.

HDF5 decodes one chunk after another, under a lock that h5py holds over everything. Here the calling thread alone talks
to HDF5, in the order of the chunks, while other threads do the work of the filters. What is out of the ordinary (a
chunk that is not there, that skipped a filter or does not decode, a write that covers a part of a chunk) is left to
HDF5, which fills it, reads it, or says what is wrong with it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from h5py import h5d, h5f, h5p, h5t

from nxconvert.array import Box, Places
from nxconvert.engine.codecs import Codec, Raw, codec, pool, workers
from nxconvert.engine.items import Items
from nxconvert.errors import InputError

SMALL = 64 << 10
"""Chunks and boxes below this size in bytes are not worth a thread's while."""

MOST_ITEMS = 2 << 20
"""Items of which a list is kept: there may be any number of which nothing is stored."""

IN_FLIGHT = 64 << 20
"""Bytes that encoded chunks may take at once."""

Values = np.ndarray[Any, Any]


def threaded(id: h5d.DatasetID, dtype: np.dtype[Any]) -> Threaded | None:
    """Return the access to a dataset by threads, or None where HDF5 must do the work or does it as well.

    Parameters
    ----------
    id
        The dataset.
    dtype
        Type of the values in memory; it must be exactly the stored one.
    """
    if dtype.hasobject or not id.shape:
        return None
    plist = id.get_create_plist()
    if plist.get_layout() != h5d.CHUNKED or not plist.get_nfilters():
        return None
    chunk = tuple(int(n) for n in plist.get_chunk())
    if math.prod(chunk) * dtype.itemsize < SMALL or not _same_type(id, dtype):
        return None
    found = _codec(plist, dtype, chunk)
    return Threaded(id, chunk, found, _fill(plist, dtype)) if found is not None else None


def places(id: h5d.DatasetID, file: h5f.FileID, dtype: np.dtype[Any]) -> Places | None:
    """Return where in its file the items of a dataset lie, or None when some are not in one piece.

    Parameters
    ----------
    id
        The dataset.
    file
        Its file.
    dtype
        Type of the values in memory; it must be exactly the stored one.
    """
    plist, shape = id.get_create_plist(), id.shape
    if dtype.hasobject or not shape or not 0 < shape[0] <= MOST_ITEMS:
        return None
    item = math.prod(shape[1:]) * dtype.itemsize
    if item < SMALL or not _same_type(id, dtype):
        return None
    if file.get_intent() != h5f.ACC_RDONLY:
        return None  # this process writes it too, and HDF5 may hold values that are not in the file yet
    handle, fill, start = file.get_vfd_handle(h5p.create(h5p.FILE_ACCESS)), _fill(plist, dtype), id.get_offset()
    if start is not None:  # contiguous, in this very file
        offsets = start + item * np.arange(shape[0], dtype=np.int64)
        return Places(handle, offsets, np.full(shape[0], item, np.int64), fill)
    return _chunk_places(id, handle, item, fill) if plist.get_layout() == h5d.CHUNKED else None


def _chunk_places(id: h5d.DatasetID, handle: int, item: int, fill: Values) -> Places | None:
    """Return where items lie that are a chunk each, or a part of one that no filter has changed."""
    plist, shape = id.get_create_plist(), id.shape
    chunk = tuple(int(n) for n in plist.get_chunk())
    if chunk[1:] != shape[1:] or (chunk[0] > 1 and plist.get_nfilters()):
        return None
    found = _codec(plist, fill.dtype, chunk) if plist.get_nfilters() else None
    if plist.get_nfilters() and found is None:
        return None
    offsets, sizes = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)

    def note(stored: Any) -> None:
        rows = slice(stored.chunk_offset[0], stored.chunk_offset[0] + chunk[0])
        whole = stored.size if found is not None else item
        offsets[rows] = -1 if stored.filter_mask else stored.byte_offset + item * np.arange(len(offsets[rows]))
        sizes[rows] = whole

    id.chunk_iter(note)
    if found is None:
        return Places(handle, offsets, sizes, fill)
    return Places(handle, offsets, sizes, fill, found.decode, found.room)


def _codec(plist: h5p.PropDCID, dtype: np.dtype[Any], chunk: tuple[int, ...]) -> Codec | None:
    """Return what does the work of a dataset's filters, where that is known here."""
    filters = []
    for index in range(plist.get_nfilters()):
        code, _flags, parameters, _name = plist.get_filter(index)
        filters.append((int(code), tuple(int(p) for p in parameters)))
    found = codec(filters, dtype, chunk)
    return None if found is None or found.room > IN_FLIGHT // 2 else found


def _fill(plist: h5p.PropDCID, dtype: np.dtype[Any]) -> Values:
    fill = np.zeros((), dtype)
    if plist.fill_value_defined() != h5d.FILL_VALUE_UNDEFINED:
        plist.get_fill_value(fill)
    return fill


def verify(id: h5d.DatasetID, box: Box, dtype: np.dtype[Any], source: str) -> None:
    """Look at the bitshuffle chunks under a box before HDF5 decodes them: its filter crashes on a wrong block size.

    Raises
    ------
    InputError
        When a chunk is not what bitshuffle makes.
    """
    chunk = tuple(int(n) for n in id.get_create_plist().get_chunk())
    whole = math.prod(chunk) * dtype.itemsize
    ranges = (range(s.start // c * c, s.stop, c) for s, c in zip(box, chunk, strict=True))
    for offset in itertools.product(*ranges):
        try:
            mask, raw = id.read_direct_chunk(offset)
        except (OSError, RuntimeError, ValueError, KeyError):
            continue  # it is not there: HDF5 fills it
        if not mask and not sound(raw, whole, dtype.itemsize):
            raise InputError(f"{source} is damaged: the chunk at {offset} is not what its filter, bitshuffle, makes")


def sound(raw: bytes, whole: int, itemsize: int) -> bool:
    """Tell whether a stored chunk has the form of bitshuffle with a compressor: its blocks fill it exactly.

    Parameters
    ----------
    raw
        The chunk as it is stored.
    whole
        Bytes of its values.
    itemsize
        Bytes of one of them.
    """
    if len(raw) < 12 or int.from_bytes(raw[:8], "big") != whole:
        return False
    block = int.from_bytes(raw[8:12], "big")
    if not block or block % (8 * itemsize):
        return False
    items = whole // itemsize
    blocks, rest = divmod(items, block // itemsize)
    at = 12
    for _ in range(blocks + (rest >= 8)):
        at += 4 + int.from_bytes(raw[at : at + 4], "big")
        if at > len(raw):
            return False
    return at + items % 8 * itemsize == len(raw)


def _same_type(id: h5d.DatasetID, dtype: np.dtype[Any]) -> bool:
    """Tell whether values need no conversion between file and memory."""
    try:
        return bool(id.get_type().equal(h5t.py_create(dtype, logical=True)))
    except TypeError:
        return False


class Threaded:
    """A dataset whose chunks are decoded and encoded in threads.

    Parameters
    ----------
    chunk
        Shape of a chunk.
    codec
        Its filters.
    fill
        The fill value, for what a chunk holds beyond the dataset's end.
    """

    def __init__(self, id: h5d.DatasetID, chunk: tuple[int, ...], codec: Codec, fill: Values) -> None:
        self._id, self._chunk, self._codec, self._fill = id, chunk, codec, fill
        self._buffers: list[Raw] = []
        self._most = min(workers() + 2, IN_FLIGHT // codec.room)

    def read(self, box: Box, out: Values, plain: Callable[[Box], Values]) -> bool:
        """Read a box.

        Parameters
        ----------
        box
            One slice for each dimension, inside the dataset.
        out
            Receives the values; C-contiguous.
        plain
            Reads a box through HDF5.

        Returns
        -------
        bool
            False, and nothing done, when the box is too small for threads.
        """
        if not self._worth(box, out):
            return False
        pending: deque[tuple[Future[bool], Raw, Box]] = deque()
        left: list[Box] = []

        def settle() -> None:
            decoded, buffer, part = pending.popleft()
            if not decoded.result():
                left.append(part)
            self._buffers.append(buffer)

        for offset, part in self._parts(box):
            if len(pending) >= self._most:
                settle()
            buffer = self._buffer()
            try:
                mask, raw = self._id.read_direct_chunk(offset, out=buffer)
            except (OSError, RuntimeError, ValueError, KeyError):
                mask, raw = 1, b""
            if mask:
                left.append(part)
                self._buffers.append(buffer)
                continue
            target = out[_inside(part, box)]
            pending.append((pool().submit(self._decode, buffer, len(raw), offset, part, target), buffer, part))
        while pending:
            settle()
        for part in left:
            out[_inside(part, box)] = plain(part)
        return True

    def _decode(self, buffer: Raw, size: int, offset: tuple[int, ...], part: Box, target: Values) -> bool:
        if target.shape == self._chunk and target.flags.c_contiguous:
            return self._codec.decode(buffer, size, target)
        whole = np.empty(self._chunk, target.dtype)
        done = self._codec.decode(buffer, size, whole)
        if done:
            target[...] = whole[tuple(slice(p.start - o, p.stop - o) for p, o in zip(part, offset, strict=True))]
        return done

    def write(self, start: tuple[int, ...], values: Values, plain: Callable[[tuple[int, ...], Values], None]) -> bool:
        """Write a box.

        Parameters
        ----------
        start
            Index of the first element.
        values
            Of the dataset's dtype. Nobody may change them until this returns.
        plain
            Writes a box through HDF5, from its start.

        Returns
        -------
        bool
            False, and nothing done, when the box is too small for threads.
        """
        box = tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))
        if values.dtype != self._fill.dtype or not self._worth(box, values):
            return False
        shape = self._id.shape
        pending: deque[tuple[Future[Any], Raw, tuple[int, ...]]] = deque()
        left: list[Box] = []

        def settle() -> None:
            encoded, buffer, offset = pending.popleft()
            self._id.write_direct_chunk(offset, encoded.result())
            self._buffers.append(buffer)

        try:
            for offset, part in self._parts(box):
                edges = zip(offset, part, self._chunk, shape, strict=True)
                if any(p.start != o or p.stop != min(o + c, n) for o, p, c, n in edges):
                    left.append(part)
                    continue
                if len(pending) >= self._most:
                    settle()
                buffer = self._buffer()
                pending.append((pool().submit(self._encode, values[_inside(part, box)], buffer), buffer, offset))
            while pending:
                settle()
        finally:
            for encoded, _, _ in pending:  # an error: the values are the caller's again when the threads are done
                encoded.exception()
        for part in left:
            plain(tuple(p.start for p in part), values[_inside(part, box)])
        return True

    def fetch(self, items: Items, tell: Callable[[int], None]) -> bool:
        """Write items, each of which is a chunk, from their places.

        Parameters
        ----------
        items
            As many as the dataset has, of its dtype.
        tell
            Told the number of an item when it is written.

        Returns
        -------
        bool
            False, and nothing done, when an item is no chunk.
        """
        if self._chunk != (1, *items.shape) or self._id.shape[1:] != items.shape or items.dtype != self._fill.dtype:
            return False
        same_gaps = items.places.fill.tobytes() == self._fill.tobytes()
        numbers = np.flatnonzero(items.places.sizes) if same_gaps else np.arange(self._id.shape[0])
        pending: deque[tuple[Future[Any], Raw, int]] = deque()

        def settle() -> None:
            encoded, buffer, i = pending.popleft()
            self._id.write_direct_chunk((i, *(0,) * len(items.shape)), encoded.result())
            self._buffers.append(buffer)
            tell(i)

        # threads of its own: reading what is out of the ordinary waits for those of the codecs
        threads = ThreadPoolExecutor(workers(), "fetch")
        try:
            for i in numbers.tolist():
                if len(pending) >= self._most:
                    settle()
                buffer = self._buffer()
                pending.append((threads.submit(self._encode_item, items, i, buffer), buffer, i))
            while pending:
                settle()
        finally:
            threads.shutdown(cancel_futures=True)
        return True

    def _encode_item(self, items: Items, i: int, buffer: Raw) -> Any:
        with items.item(i) as values:
            return self._codec.encode(np.ascontiguousarray(values), buffer)

    def _encode(self, values: Values, buffer: Raw) -> Any:
        if values.shape != self._chunk:
            whole = np.full(self._chunk, self._fill)
            whole[tuple(slice(n) for n in values.shape)] = values
            values = whole
        return self._codec.encode(np.ascontiguousarray(values), buffer)

    def _buffer(self) -> Raw:
        return self._buffers.pop() if self._buffers else np.empty(self._codec.room, np.uint8)

    def _worth(self, box: Box, values: Values) -> bool:
        """Tell whether a box is large, and is much of the chunks that it touches."""
        whole = 2 * values.size >= math.prod(self._chunk)
        return values.nbytes >= SMALL and (
            whole or any(s.start // c != (s.stop - 1) // c for s, c in zip(box, self._chunk, strict=True))
        )

    def _parts(self, box: Box) -> Iterator[tuple[tuple[int, ...], Box]]:
        """Yield the offset of each chunk that a box touches, and the part of it inside the box."""
        ranges = (range(s.start // c * c, s.stop, c) for s, c in zip(box, self._chunk, strict=True))
        for offset in itertools.product(*ranges):
            yield (
                offset,
                tuple(
                    slice(max(s.start, o), min(s.stop, o + c)) for s, o, c in zip(box, offset, self._chunk, strict=True)
                ),
            )


def _inside(part: Box, box: Box) -> Box:
    """Return a part of a box relative to it."""
    return tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
