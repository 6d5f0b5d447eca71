"""The HDF5 file that is being packed: chunks of frames and of bytes, each with its digest, written in order.

A chunk is encoded elsewhere, in threads; here it gets its place. Every dataset of chunks is told by a name: that of the
entry for frames, ``literals`` and ``kept`` for bytes.
"""

from __future__ import annotations

import math
import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from h5py import h5d, h5f, h5p, h5s, h5t, h5z

from nxconvert.dataclass import dataclass
from nxconvert.engine.codecs import Codec, Filters, codec
from nxconvert.engine.disk import release_ahead, reserve_ahead
from nxconvert.errors import OutputError
from nxconvert.formats.hdf5.copy import unwritten
from nxconvert.formats.hdf5.layout import add_filter, asked

AHEAD = 64 << 20
"""Bytes of the disk that are set aside at once for what comes."""

STREAM_CHUNK = 1 << 20
"""Bytes of a chunk of a stream."""

_MAPPED = 1 << 20
"""Bytes from which on looking at a file is cheaper than reading it."""

ALIGNED, PAGE = 1 << 20, 4096
"""Chunks of so many bytes and more begin at a page of their own."""

STREAMS = ("literals", "kept")
"""The bytes of image files that are in no frame, and the files that are kept whole."""


@dataclass
class Chunked:
    """A dataset whose chunks are written one by one.

    Attributes
    ----------
    shape, dtype, chunk
        Of the dataset; a stream grows.
    digests
        XXH3 (64 bits) of each chunk as stored, in C order of the grid of chunks; 0 for none.
    """

    name: str
    path: str
    id: h5d.DatasetID
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...]
    codec: Codec | None
    digests: array[int] = field(default_factory=lambda: array("Q"))

    @cached_property
    def per_row(self) -> int:
        """How many chunks hold one row."""
        return math.prod(-(-n // c) for n, c in zip(self.shape[1:], self.chunk[1:], strict=True))

    def offset(self, number: int) -> tuple[int, ...]:
        """Return the index of the first element of a chunk."""
        if self.per_row == 1:
            return (number * self.chunk[0], *(0,) * (len(self.chunk) - 1))
        counts = [-(-n // c) for n, c in zip(self.shape[1:], self.chunk[1:], strict=True)]
        row, rest = divmod(number, self.per_row)
        parts: list[int] = []
        for n in reversed(counts):
            rest, k = divmod(rest, n)
            parts.append(k)
        return (row * self.chunk[0], *(k * c for k, c in zip(reversed(parts), self.chunk[1:], strict=True)))


class Store:
    """The file; it bears a name of its own until it is whole.

    Raises
    ------
    OutputError
        When it cannot be created or written: a full disk, most often.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        fapl = h5p.create(h5p.FILE_ACCESS)
        fapl.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
        fapl.set_alignment(ALIGNED, PAGE)  # a page that is on its way to the disk cannot be written to
        fcpl = h5p.create(h5p.FILE_CREATE)
        fcpl.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        try:
            self.id = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=fcpl, fapl=fapl)
            self.raw = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OutputError(f"{path} cannot be created: {why}") from None
        self.file = h5py.File(self.id)
        self.datasets: dict[str, Chunked] = {}
        self._written = self._reserved = 0

    def frames(
        self,
        name: str,
        path: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk: Sequence[int],
        how: str | Filters,
    ) -> None:
        """Make the dataset of a record's frames.

        ``how`` is a compression, or the filters that chunks were made by which are moved here.
        """
        plist = h5p.create(h5p.DATASET_CREATE)
        cut = (1, *(min(c, n) for c, n in zip(chunk, shape[1:], strict=True)))
        plist.set_chunk(cut)
        plist.set_attr_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        if not isinstance(how, str):
            _add_filters(plist, how)
        elif how != "none":
            add_filter(plist, how)
        *above, last = path.strip("/").split("/")
        group: h5py.Group = self.file
        for part in above:
            group = _group(group, part)
        made = h5d.create(
            group.id, last.encode(), h5t.py_create(dtype, logical=True), h5s.create_simple(shape), dcpl=plist
        )
        if not isinstance(how, str) and filters_of(made) != how:  # a filter that has its own mind: nothing is moved
            del group[last]
            self.frames(name, path, shape, dtype, shape[1:], "bitshuffle-lz4")
            return
        self._add(name, path, made, shape, dtype, cut)
        self.datasets[name].digests = array("Q", bytes(8 * shape[0] * self.datasets[name].per_row))

    def stream(self, name: str) -> None:
        """Make the dataset of a stream of bytes, ``/origin/NAME``."""
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((STREAM_CHUNK,))
        plist.set_deflate(6)
        group = _group(self.file, "origin")
        space = h5s.create_simple((0,), (h5s.UNLIMITED,))
        made = h5d.create(group.id, name.encode(), h5t.STD_U8LE, space, dcpl=plist)
        self._add(name, f"/origin/{name}", made, (0,), np.dtype(np.uint8), (STREAM_CHUNK,))

    def _add(
        self,
        name: str,
        path: str,
        made: h5d.DatasetID,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk: tuple[int, ...],
    ) -> None:
        filters = filters_of(made)
        self.datasets[name] = Chunked(name, path, made, shape, dtype, chunk, filters, codec(filters, dtype, chunk))

    def write(self, name: str, number: int, stored: Any, digest: int, length: int = 0) -> int:
        """Write a chunk as it is stored; return the byte of the file where it lies.

        ``length`` is that of a stream whose last chunk this is: HDF5 would write a chunk anew that were cut later.
        """
        dataset = self.datasets[name]
        try:
            if dataset.name in STREAMS:
                dataset.shape = (length or (number + 1) * STREAM_CHUNK,)
                dataset.id.set_extent(dataset.shape)
                dataset.digests.append(digest)
            else:
                dataset.digests[number] = digest
            if self._written + len(stored) > self._reserved:
                reserve_ahead(self.raw, self._reserved, AHEAD)
                self._reserved += AHEAD
            dataset.id.write_direct_chunk(dataset.offset(number), stored)
            self._written = int(self.id.get_filesize())
            return self._written - len(stored)
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None

    def place(self, name: str, number: int) -> int:
        """Look up where a chunk lies; slow."""
        dataset = self.datasets[name]
        return int(dataset.id.get_chunk_info_by_coord(dataset.offset(number)).byte_offset)

    def write_values(self, name: str, number: int, values: np.ndarray[Any, Any]) -> tuple[int, int, int]:
        """Have HDF5 itself encode and write a chunk; return its digest, where it lies and how many bytes it has."""
        dataset = self.datasets[name]
        offset = dataset.offset(number)
        inside = tuple(slice(min(c, n - o)) for c, n, o in zip(dataset.chunk, dataset.shape, offset, strict=True))
        part = np.ascontiguousarray(values[inside])
        try:
            space = dataset.id.get_space()
            space.select_hyperslab(offset, part.shape)
            dataset.id.write(h5s.create_simple(part.shape), space, part)
            dataset.id.flush()
            stored = dataset.id.read_direct_chunk(offset)[1]
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None
        dataset.digests[number] = digest = xxhash.xxh3_64_intdigest(stored)
        return digest, self.place(name, number), len(stored)

    def reread(self, offset: int, size: int) -> int:
        """Return the digest of bytes of the file as they can be read again."""
        if size < _MAPPED:
            return xxhash.xxh3_64_intdigest(read_at(self.raw, offset, size))
        begin = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        length = offset + size - begin
        if begin + length > os.fstat(self.raw).st_size:
            return 0  # they are not there: a map would end the process
        with mmap.mmap(self.raw, length, access=mmap.ACCESS_READ, offset=begin) as mapped, memoryview(mapped) as view:
            return xxhash.xxh3_64_intdigest(view[offset - begin :])

    def sync(self) -> None:
        """Flush what was written to the disk."""
        try:
            os.fsync(self.raw)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Close the file, whole or not."""
        for dataset in self.datasets.values():
            dataset.id.close()
        self.datasets.clear()
        try:
            if self.id.valid:
                self.file.close()
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None
        finally:
            if self.raw >= 0:
                if self._reserved:
                    release_ahead(self.raw)
                os.close(self.raw)
                self.raw = -1


def _add_filters(plist: h5p.PropDCID, filters: Filters) -> None:
    """Add filters with the parameters that they were stored with."""
    if any(code > h5z.FILTER_SCALEOFFSET for code, _ in filters):
        import hdf5plugin  # noqa: F401 - registers them
    for code, values in filters:
        plist.set_filter(code, h5z.FLAG_OPTIONAL, asked(code, values))


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return a group that keeps the order of its members, a new one if need be."""
    return parent[name] if name in parent else parent.create_group(name, track_order=True)


def filters_of(id: h5d.DatasetID) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return the filters of a dataset, with their parameters as they are stored."""
    plist = id.get_create_plist()
    found = []
    for index in range(plist.get_nfilters()):
        code, _flags, parameters, _name = plist.get_filter(index)
        found.append((int(code), tuple(int(p) for p in parameters)))
    return tuple(found)


def read_at(file: int, offset: int, size: int) -> bytes:
    """Read bytes of an open file from an offset."""
    if hasattr(os, "pread"):
        return os.pread(file, size, offset)
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)
