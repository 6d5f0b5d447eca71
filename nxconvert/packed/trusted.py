"""Reading a packed file that may be from a stranger: only what lies in it itself, and no more than was stored.

HDF5 follows links into other files, takes raw data and virtual datasets from any file of the host, and allocates what a
file declares. None of that is in a file that ``pack`` made.
"""

from __future__ import annotations

import zlib
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5z

MOST = 256 << 20
"""Bytes that the arrays of an origin may take, besides the size of the file."""

LARGEST_FRAME = 4 << 30
"""Bytes of a frame; HDF5 has no larger chunks."""


def dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """Return a dataset that is in the file itself, in chunks.

    Raises
    ------
    ValueError
        When it is not there, lies elsewhere, or holds no plain numbers.
    """
    node = _node(file, path)
    if not isinstance(node, h5py.Dataset):
        raise ValueError(f"{path} is no dataset")  # noqa: TRY004 - the file is wrong, not an argument
    plist = node.id.get_create_plist()
    if plist.get_layout() != h5d.CHUNKED or plist.get_external_count() or node.shape is None:
        raise ValueError(f"{path} is not stored in chunks")
    if node.dtype.kind not in "biufc" or node.dtype.shape:
        raise ValueError(f"{path} holds no numbers")
    return node


def group(file: h5py.File, path: str) -> h5py.Group:
    """Return a group that is in the file itself; ``ValueError`` when it is not."""
    node = _node(file, path)
    if not isinstance(node, h5py.Group):
        raise ValueError(f"{path} is no group")  # noqa: TRY004 - as above
    return node


def place(file: h5py.File, path: str, size: int) -> int:
    """Return the byte of the file at which a dataset of so many bytes lies; ``ValueError`` when it lies elsewhere."""
    node = _node(file, path)
    at = node.id.get_offset() if isinstance(node, h5py.Dataset) and node.shape == (size,) else None
    if at is None or node.dtype != np.uint8 or node.id.get_create_plist().get_external_count():
        raise ValueError(f"{path} is not {size} bytes of the file itself")
    return int(at)


def _node(file: h5py.File, path: str) -> Any:
    """Follow a path through hard links only."""
    parts = [part for part in str(path).split("/") if part]
    node: Any = file
    for i, part in enumerate(parts):
        there = isinstance(node, h5py.Group) and part in node
        if not there or not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"/{'/'.join(parts[: i + 1])} is not in the file itself")
        node = node[part]
    return node


def values(file: h5py.File, path: str, limit: int) -> np.ndarray[Any, Any]:
    """Read a whole array that is compressed with gzip, or not at all.

    Raises
    ------
    ValueError
        When it would take more than so many bytes, or its chunks are not what they should be.
    """
    found = dataset(file, path)
    plist = found.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if filters not in ([], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]):
        raise ValueError(f"{path} is compressed in another way")
    if found.nbytes > limit or _bytes(found.chunks, found.dtype) > max(limit, 1 << 20):
        raise ValueError(f"{path} would take {found.nbytes:,} bytes")
    counts = [-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True)]
    if found.size and found.id.get_num_chunks() != int(np.prod(counts)):
        raise ValueError(f"{path} has not all of its chunks")
    out = np.empty(found.shape, found.dtype)
    for index in np.ndindex(*counts) if found.size else ():
        offset = tuple(i * c for i, c in zip(index, found.chunks, strict=True))
        mask, raw = found.id.read_direct_chunk(offset)
        if mask:
            raise ValueError(f"{path} was stored by another program")
        part = _decoded(raw, filters, found.chunks, found.dtype)
        box = tuple(slice(o, o + c) for o, c in zip(offset, found.chunks, strict=True))
        target = out[box]
        target[...] = part[tuple(slice(n) for n in target.shape)]
    return out


def _decoded(raw: bytes, filters: list[int], chunk: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = _bytes(chunk, dtype)
    if h5z.FILTER_DEFLATE in filters:
        raw = inflated(raw, size)
    if len(raw) != size:
        raise ValueError(f"a chunk has {len(raw):,} bytes, not {size:,}")
    if h5z.FILTER_SHUFFLE in filters and dtype.itemsize > 1:
        raw = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
    return np.frombuffer(raw, dtype).reshape(chunk)


def inflated(raw: bytes, size: int) -> bytes:
    """Return what a stream of deflate holds, which must be so many bytes.

    Raises
    ------
    ValueError
        When it is damaged, or holds more or fewer.
    """
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(raw, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(out) != size or not stream.eof:
        raise ValueError(f"its stream does not hold {size:,} bytes")
    return out


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    size = dtype.itemsize
    for n in shape:
        size *= n
    return size
