"""How a new dataset is laid out: contiguous, or in chunks with filters."""

from __future__ import annotations

import math
from typing import Any

from h5py import h5p, h5z

from nxconvert.errors import UsageError
from nxconvert.tree import Dataset

SMALL = 64 << 10
LARGE = 30 << 20
"""Bytes of a chunk at most, unless another is asked for: a larger frame is cut into as few bands as will do."""

BITSHUFFLE = 32008
_FILTERS: dict[str, tuple[int, tuple[int, ...]]] = {
    "bitshuffle-lz4": (BITSHUFFLE, (0, 2)),
    "bitshuffle-zstd": (BITSHUFFLE, (0, 3, 3)),
    "blosc2": (32026, (0, 0, 0, 0, 5, 1, 1)),
    "lz4": (32004, (0,)),
    "zstd": (32015, (3,)),
    "lzf": (32000, ()),
}


def creation(node: Dataset, compression: str, chunks: Any) -> h5p.PropDCID | None:
    """Return the creation properties of a dataset, None for the default (contiguous).

    Parameters
    ----------
    node
        The dataset to be written.
    compression
        A name of ``COMPRESSIONS``; small and text datasets stay uncompressed.
    chunks
        Shape of a chunk, or None for one frame, or for the rows of a table that take about 1 MiB.
    """
    size = node.size * node.dtype.itemsize
    compress = compression != "none" and bool(node.shape) and size >= SMALL and not node.dtype.hasobject
    if (not compress and chunks is None) or not node.shape or 0 in node.shape:
        return None
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk(_chunk(node, chunks))
    if compress:
        add_filter(plist, compression)
    return plist


def _chunk(node: Dataset, chunks: Any) -> tuple[int, ...]:
    shape = node.shape
    if chunks is not None:
        wanted = tuple(chunks)
        if len(wanted) == len(shape):
            return tuple(max(1, min(c, n) if n else c) for c, n in zip(wanted, shape, strict=True))
    if len(shape) < 3:
        rows = max(1, (1 << 20) // (node.dtype.itemsize * math.prod(shape[1:])))
        return (min(rows, shape[0]), *shape[1:])
    rank = 3 if len(shape) > 3 and shape[-1] in (3, 4) else 2  # pixels of three or four colours stay together
    frame = shape[-rank:]
    parts = -(-math.prod(frame) * node.dtype.itemsize // LARGE)
    return (*(1 for _ in shape[:-rank]), max(1, -(-frame[0] // parts)), *frame[1:])


def add_filter(plist: h5p.PropDCID, compression: str) -> None:
    """Add the filters of a name of ``COMPRESSIONS`` to the properties of a dataset.

    Raises
    ------
    UsageError
        When the package that has the filter is not installed.
    """
    if compression == "gzip":
        plist.set_shuffle()
        plist.set_deflate(4)
        return
    code, values = _FILTERS[compression]
    if not h5z.filter_avail(code):
        try:
            import hdf5plugin  # noqa: F401 - registers the filters
        except ImportError:
            raise UsageError(
                f"compression {compression} needs the package hdf5plugin", "pip install hdf5plugin"
            ) from None
    plist.set_filter(code, h5z.FLAG_MANDATORY, values)


def asked(code: int, parameters: tuple[int, ...]) -> tuple[int, ...]:
    """Return what to ask of a filter so that it stores some parameters: bitshuffle puts three of its own in front."""
    return parameters[3:] if code == BITSHUFFLE and len(parameters) > 3 else parameters
