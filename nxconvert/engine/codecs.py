"""Filters of stored chunks, run outside of HDF5 and without Python's global lock, so that threads share the work.

A codec turns a chunk into exactly the bytes that HDF5's own filters would accept, and back. Pipelines without a codec
here are left to HDF5, which knows more of them, but works on one chunk at a time.

Facts: the HDF5 documentation of ``H5Pset_shuffle`` and ``H5Pset_deflate``; the registered filter 32008 (bitshuffle): 8
bytes big-endian size of the values, 4 bytes big-endian size of a block, both in bytes, then the blocks.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from struct import Struct
from typing import Any, Protocol, TypeAlias

import numpy as np

from nxconvert import compiled

Filters: TypeAlias = Sequence[tuple[int, tuple[int, ...]]]
Values: TypeAlias = np.ndarray[Any, Any]
Raw: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint8]]

DEFLATE, SHUFFLE, BITSHUFFLE = 1, 2, 32008
_COMPRESSORS = {2: "lz4", 3: "zstd"}
_SIZE = Struct(">I").unpack_from
_PIECE = 32 << 10
_KEPT = 64 << 20
_LARGEST = 64 << 10  # bytes of a block that the compiled library takes
_AHEAD = 128 << 10  # bytes that the compiled encoder of deflate may write before it has read as many
_SAMPLE, _SAMPLED = 16 << 10, 4  # bytes of a sample, and how many at least are looked at
_LARGE = 256 << 10  # bytes for which it takes too long to look closely
_MATCHES = 1.006  # times the size of a stream of others from which on there are matches that are worth looking for
_SPARSE = 8  # times that a sample gets smaller from which on libdeflate is fast
_LARGER = 1.04
_SEARCHING = 3  # level of libdeflate that is about as small as level 4 of zlib
_FEW = 64  # bytes that mean nothing in samples
_SHUFFLED = (2, 4, 8)  # bytes of an element that the compiled library shuffles


class Codec(ABC):
    """Encodes and decodes the chunks of one dataset. It has no state: threads share it.

    Attributes
    ----------
    room
        Bytes of a buffer that holds any encoded chunk, and that ``encode`` and ``decode`` need.
    """

    room: int

    @abstractmethod
    def encode(self, values: Values, buffer: Raw) -> Any:
        """Encode one chunk.

        Parameters
        ----------
        values
            The chunk, C-contiguous. Nobody may change it meanwhile.
        buffer
            At least ``room`` bytes to work in.

        Returns
        -------
        Buffer
            The bytes to store: a part of ``buffer``, or an object of its own.
        """

    @abstractmethod
    def decode(self, buffer: Raw, size: int, out: Values) -> bool:
        """Decode one chunk.

        Parameters
        ----------
        buffer
            At least ``room`` bytes, the first ``size`` of which were stored.
        out
            Receives the values; C-contiguous, of the chunk's shape and dtype.

        Returns
        -------
        bool
            False when the bytes are not what this codec makes; ``out`` is then undefined.
        """


def codec(filters: Filters, dtype: np.dtype[Any], chunk: tuple[int, ...]) -> Codec | None:
    """Return the codec of a filter pipeline, or None when HDF5 must do the work.

    Parameters
    ----------
    filters
        ``(id, parameters)`` pairs in writing order, with the parameters as they are stored in a file.
    dtype
        Type of an element, as it is stored.
    chunk
        Shape of a chunk.
    """
    if dtype.hasobject:
        return None
    n = math.prod(chunk)
    ids = tuple(f for f, _ in filters)
    if ids == (BITSHUFFLE,):
        return _bitshuffle(filters[0][1], dtype.itemsize, n)
    if ids in ((DEFLATE,), (SHUFFLE, DEFLATE)):
        return _Deflate(n, dtype.itemsize, filters[-1][1][0], shuffled=len(ids) == 2)
    return None


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads in which codecs run, one for each core. What runs in them must not wait for one another."""
    keep_memory()
    return ThreadPoolExecutor(workers(), "codec")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a child has no threads but its own


@cache
def keep_memory() -> None:
    """Have the C library keep memory that was freed: getting it anew, page after page, costs as much as encoding it.

    Only where that library is glibc; elsewhere nothing changes.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim, map_ = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        mallopt(trim, _KEPT)
        mallopt(map_, _KEPT // 2)


def workers() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Function(Protocol):
    """A function of a C library."""

    restype: Any
    argtypes: Any

    def __call__(self, *args: Any) -> int: ...


class _Library:
    """The functions of bitshuffle's C library for one compressor."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        level = [ctypes.c_int] if name == "zstd" else []
        self.compress: _Function = getattr(library, f"bshuf_compress_{name}")
        self.compress.restype, self.compress.argtypes = ctypes.c_int64, [pointer, pointer, size, size, size, *level]
        self.decompress: _Function = getattr(library, f"bshuf_decompress_{name}")
        self.decompress.restype, self.decompress.argtypes = ctypes.c_int64, [pointer, pointer, size, size, size]
        self.bound: _Function = getattr(library, f"bshuf_compress_{name}_bound")
        self.bound.restype, self.bound.argtypes = size, [size, size, size]
        self.block: _Function = library.bshuf_default_block_size
        self.block.restype, self.block.argtypes = size, [size]


@cache
def _library(name: str) -> _Library | None:
    """Load bitshuffle from the plugin that hdf5plugin ships; None where it is not there, or hides its functions."""
    spec = find_spec("hdf5plugin")
    if spec is None or spec.origin is None:
        return None
    for path in sorted((Path(spec.origin).parent / "plugins").glob("libh5bshuf*")):
        try:
            return _Library(ctypes.CDLL(str(path)), name)
        except (OSError, AttributeError):
            continue
    return None


def _bitshuffle(parameters: tuple[int, ...], itemsize: int, n: int) -> Codec | None:
    if len(parameters) < 5 or parameters[2] != itemsize or parameters[4] not in _COMPRESSORS:
        return None
    name = _COMPRESSORS[parameters[4]]
    library = _library(name)
    block = parameters[3] or (library.block(itemsize) if library else 0)
    if library is None or block % 8:
        return None
    level = parameters[5:6] or (3,) if name == "zstd" else ()
    return _Bitshuffle(library, n, itemsize, block, level)


class _Bitshuffle(Codec):
    """Filter 32008: bits transposed in blocks, then each block compressed.

    Parameters
    ----------
    n, itemsize
        Elements of a chunk, and the bytes of one.
    block
        Elements of a block.
    level
        The further argument of a compressor that has levels: zstd.
    """

    def __init__(self, library: _Library, n: int, itemsize: int, block: int, level: tuple[int, ...]) -> None:
        self._library, self._n, self._itemsize, self._block, self._level = library, n, itemsize, block, level
        self._header = (n * itemsize).to_bytes(8, "big") + (block * itemsize).to_bytes(4, "big")
        self.room = 12 + library.bound(n, itemsize, block)
        own = compiled.library() if not level and block * itemsize <= _LARGEST else None
        self._compress = own.nx_bitshuffle_lz4 if own is not None else library.compress
        self._own: Any = own.nx_unbitshuffle_lz4 if own is not None else None

    def encode(self, values: Values, buffer: Raw) -> Any:
        buffer[:12] = np.frombuffer(self._header, np.uint8)
        size = self._compress(
            values.ctypes.data, buffer.ctypes.data + 12, self._n, self._itemsize, self._block, *self._level
        )
        if size < 0:
            raise RuntimeError(f"bitshuffle failed with code {size}")
        return buffer[: 12 + size].data

    def decode(self, buffer: Raw, size: int, out: Values) -> bool:
        if size < 12 or buffer[:12].tobytes() != self._header:
            return False
        if self._own is not None:
            given = buffer.ctypes.data + 12, size - 12, out.ctypes.data, self._n, self._itemsize, self._block
            return bool(self._own(*given))
        if not self._fits(buffer[:size].data):
            return False
        used = self._library.decompress(buffer.ctypes.data + 12, out.ctypes.data, self._n, self._itemsize, self._block)
        return used == size - 12

    def _fits(self, stored: memoryview) -> bool:
        """Tell whether the blocks lie inside the stored bytes: the C code does not know where its input ends."""
        whole, rest = divmod(self._n, self._block)
        at, end = 12, len(stored) - 4
        for _ in range(whole + (rest >= 8)):
            if at > end:
                return False
            at += 4 + _SIZE(stored, at)[0]
        return at + self._n % 8 * self._itemsize == len(stored)


class _Deflate(Codec):
    """Filter 1, behind filter 2 or alone: zlib streams, of shuffled bytes or of the values as they are.

    Levels up to 5 are encoded by an encoder of our own, many times as fast as zlib, which knows noise and runs of one
    byte. Where samples show that there is more to find, and for higher levels, which are asked for to save space,
    libdeflate does it; where nothing was compiled, ISA-L at its level 1.
    """

    def __init__(self, n: int, itemsize: int, level: int, *, shuffled: bool) -> None:
        self._n, self._itemsize, self._level = n, itemsize, level
        self._shuffled = shuffled and itemsize > 1
        self.room = n * itemsize + (n * itemsize >> 8) + 1024
        own = compiled.library() if level <= 5 and n * itemsize >= _SAMPLED * _SAMPLE else None
        self._own: Any = own.nx_deflate if own is not None else None
        if self._own is not None:
            self.room += _AHEAD

    def encode(self, values: Values, buffer: Raw) -> Any:
        plain: Any = values.reshape(-1).view(np.uint8)
        if self._shuffled:
            # at the end: our encoder may write before what it has yet to read
            plain = shuffle(values, buffer[self.room - plain.size : self.room])
        if self._own is not None and not self._has_matches(plain):
            return buffer[: self._own(plain.ctypes.data, plain.size, buffer.ctypes.data)].data
        if self._level > 5 or self._own is not None:
            import imagecodecs

            return imagecodecs.deflate_encode(plain, self._level if self._level > 5 else _SEARCHING)
        try:
            from isal import igzip_lib
        except ImportError:
            return zlib.compress(plain, self._level)
        return igzip_lib.compress(plain, min(self._level, 1), igzip_lib.COMP_ZLIB)

    def _has_matches(self, plain: Raw) -> bool:
        """Tell whether encoders that look for matches of all kinds make samples smaller than ours does."""
        quick = plain.size >= _LARGE
        number, size = (_SAMPLED, _SAMPLE) if quick else (_SAMPLED // 2, 2 * _SAMPLE)
        pieces = plain[: len(plain) // size * size].reshape(-1, size)
        pieces = pieces[len(pieces) // number // 2 :: len(pieces) // number]
        room = np.empty(2 * size, np.uint8)
        ours = sum(self._own(piece.ctypes.data, size, room.ctypes.data) for piece in pieces) - _FEW
        if ours * _SPARSE < pieces.size:
            return bool(ours > _LARGER * _searched(pieces, _SEARCHING))
        return bool(ours > _MATCHES * _searched(pieces, 0 if quick else 1))

    def decode(self, buffer: Raw, size: int, out: Values) -> bool:
        import imagecodecs

        target = out.reshape(-1).view(np.uint8)
        plain = np.empty(target.size, np.uint8) if self._shuffled else target
        stored: Any = buffer[:size]
        try:
            found = imagecodecs.deflate_decode(stored, out=plain.data)
        except (RuntimeError, ValueError):
            return False
        if len(found) != plain.size:
            return False
        if self._shuffled:
            unshuffle(plain, out)
        return True


def _searched(pieces: Any, level: int) -> int:
    """Return the size of pieces that libdeflate encodes at a level, or at none ISA-L, which is faster."""
    import imagecodecs

    if not level:
        try:
            from isal import igzip_lib
        except ImportError:
            level = 1
        else:
            return sum(len(igzip_lib.compress(piece, 1, igzip_lib.COMP_ZLIB)) for piece in pieces)
    return sum(len(imagecodecs.deflate_encode(piece, level)) for piece in pieces)


def shuffle(values: Values, out: Raw) -> Raw:
    """Put the first bytes of all elements first, then the second ones, and so on.

    Parameters
    ----------
    values
        C-contiguous.
    out
        As many bytes as ``values``.
    """
    k = values.dtype.itemsize
    library = compiled.library()
    if library is not None and k in _SHUFFLED:
        library.nx_shuffle(values.ctypes.data, out.ctypes.data, values.size, k)
        return out
    rows = out.reshape(k, -1)
    if k == 2 and sys.byteorder == "little":
        words = values.reshape(-1).view(np.uint16)
        np.copyto(rows[0], words, casting="unsafe")
        np.right_shift(words, 8, out=rows[1], casting="unsafe")
    else:
        rows[:] = values.reshape(-1).view(np.uint8).reshape(-1, k).T
    return out


def unshuffle(plain: Raw, out: Values) -> None:
    """Undo ``shuffle``."""
    k = out.dtype.itemsize
    library = compiled.library()
    if library is not None and k in _SHUFFLED:
        library.nx_unshuffle(plain.ctypes.data, out.ctypes.data, out.size, k)
        return
    rows = plain.reshape(k, -1)
    if k == 2 and sys.byteorder == "little":
        words = out.reshape(-1).view(np.uint16)
        np.left_shift(rows[1], 8, out=words, dtype=np.uint16)
        np.bitwise_or(words, rows[0], out=words)
        return
    items = out.reshape(-1).view(np.uint8).reshape(-1, k)
    for start in range(0, len(items), _PIECE):  # pieces that stay in the cache while their bytes are gathered
        piece = items[start : start + _PIECE]
        for j in range(k):
            piece[:, j] = rows[j, start : start + _PIECE]
