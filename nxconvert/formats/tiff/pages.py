"""The pixels of pages: how they lie in the file, and reading them.

Pages that are plain (uncompressed, whole numbers or floats in one piece) are read straight into the array; all
others are decoded piece by piece with tifffile and imagecodecs, in threads.
"""

from __future__ import annotations

import io
import logging
import math
import os
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from nxconvert.array import Array, Box, Places, full_box
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.formats.tiff.structure import Page, TiffStructure

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 317, 322, 323, 324, 325
FILL_ORDER, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 266, 338, 339, 347
DEPTH, TILE_DEPTH = 32997, 32998
RGB, PALETTE, YCBCR = 2, 3, 6
_SMALL = 64 << 10

_LAYOUT: tuple[int, ...] = (
    WIDTH,
    LENGTH,
    BITS,
    COMPRESSION,
    PHOTOMETRIC,
    SAMPLES,
    ROWS_PER_STRIP,
    PLANAR,
    PREDICTOR,
    TILE_WIDTH,
)
_LAYOUT += (TILE_LENGTH, FILL_ORDER, EXTRA_SAMPLES, SAMPLE_FORMAT, DEPTH, TILE_DEPTH, 292, 530, 28672, 42113)
_DTYPES = {1: "u", 2: "i", 3: "f", 6: "c"}
_ITEM_SIZES = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_ANY_DECODER: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
)
_ANY_DECODER += (ValueError, AssertionError, struct.error)
"""What tifffile and the decoders raise on data that they cannot make sense of; their own errors are of these."""


@dataclass(frozen=True)
class Layout:
    """What a page holds: shape and type of its image, and whether it is a colour image.

    Attributes
    ----------
    item
        ``(y, x)``, or with the samples last ``(y, x, s)``, or, when they are stored apart and are no colours, first.
    dtype
        Native type of a sample.
    colour
        ``rgb``, ``rgba`` or empty.
    """

    item: tuple[int, ...]
    dtype: np.dtype[Any]
    colour: str = ""


@dataclass(frozen=True)
class Coding:
    """How the pages of one kind are stored.

    Attributes
    ----------
    layout
        What they hold.
    full
        The shape as stored: separate samples, depth, length, width, adjoining samples.
    pieces
        Number of strips or tiles of a page.
    plain
        Whether the bytes of the pieces, one after the other, are the image.
    decode
        Gives a piece, its index and shape from its bytes and number, as tifffile defines it; None when plain.
    """

    layout: Layout
    full: tuple[int, int, int, int, int]
    pieces: int
    plain: bool
    decode: Callable[..., Any] | None = field(default=None, repr=False)


class Pixels:
    """Reads the images of a file's pages.

    Parameters
    ----------
    structure
        The open file.
    budget
        Bytes that one piece may take.
    """

    def __init__(self, structure: TiffStructure, budget: int) -> None:
        self.structure, self.budget = structure, budget
        self._codings: dict[tuple[Any, ...], Coding] = {}
        self._tifffile: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file and of the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._tifffile is not None:
            self._tifffile.close()

    @property
    def pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), "tiff")
        return self._pool

    def coding(self, page: Page) -> Coding:
        """Return how a page is stored.

        Raises
        ------
        InputError
            When its tags contradict each other or it is of a kind that cannot be decoded.
        """
        key = tuple(page.tags.get(code) for code in _LAYOUT)
        if key not in self._codings:
            self._codings[key] = self._coding(page)
        return self._codings[key]

    def _coding(self, page: Page) -> Coding:
        s = self.structure
        width, length = s.number(page, WIDTH, 0), s.number(page, LENGTH, 0)
        depth, samples = s.number(page, DEPTH, 1), s.number(page, SAMPLES, 1)
        if width < 1 or length < 1 or depth < 1 or samples < 1:
            raise s.damaged(f"page {page.name} has no pixels ({length} x {width}, {samples} samples)")
        apart = s.number(page, PLANAR, 1) == 2 and samples > 1
        full = (samples if apart else 1, depth, length, width, 1 if apart else samples)
        pieces, piece = self._pieces(page, full)
        bits, formats = set(s.list_of(page, BITS)) or {1}, set(s.list_of(page, SAMPLE_FORMAT)) or {1}
        if math.prod(piece) * max(bits) // 8 > self.budget:
            raise InputError(
                f"{s.path}: a strip or tile of page {page.name} takes {math.prod(piece) * max(bits) // 8:,} bytes",
                "give more with --memory",
            )
        kind = _DTYPES.get(next(iter(formats)), "") if len(formats) == 1 else ""
        size = next(iter(bits)) // 8 if len(bits) == 1 and next(iter(bits)) % 8 == 0 else 0
        regular = kind != "" and size in _ITEM_SIZES[kind]
        photometric = s.number(page, PHOTOMETRIC, 1)
        plain = (
            regular
            and s.number(page, COMPRESSION, 1) == 1
            and s.number(page, PREDICTOR, 1) == 1
            and s.number(page, FILL_ORDER, 1) == 1
            and TILE_WIDTH not in page.tags
            and photometric != YCBCR
        )
        if plain:
            return Coding(self._layout(page, full, np.dtype(f"{kind}{size}")), full, pieces, plain=True)
        dtype, decode = self._decoder(page, full)
        return Coding(self._layout(page, full, dtype), full, pieces, plain=False, decode=decode)

    def _pieces(self, page: Page, full: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Return how many strips or tiles a page has, and the shape of one."""
        s = self.structure
        apart, depth, length, width, samples = full
        if TILE_WIDTH in page.tags:
            tile = (s.number(page, TILE_DEPTH, 1), s.number(page, TILE_LENGTH, 0), s.number(page, TILE_WIDTH, 0))
            if min(tile) < 1:
                raise s.damaged(f"page {page.name} has tiles without size")
            counts = [-(-n // t) for n, t in zip((depth, length, width), tile, strict=True)]
            return apart * math.prod(counts), (*tile, samples)
        rows = min(s.number(page, ROWS_PER_STRIP, length), length)
        if rows < 1:
            raise s.damaged(f"page {page.name} has strips without rows")
        return apart * depth * -(-length // rows), (1, rows, width, samples)

    def _layout(self, page: Page, full: tuple[int, int, int, int, int], dtype: np.dtype[Any]) -> Layout:
        apart, depth, length, width, samples = full
        n = max(apart, samples)
        photometric = self.structure.number(page, PHOTOMETRIC, 1)
        colour = {3: "rgb", 4: "rgba"}.get(n, "") if photometric in (RGB, YCBCR) and depth == 1 else ""
        item: tuple[int, ...] = (*((depth,) if depth > 1 else ()), length, width)
        if n > 1:
            item = (apart, *item) if apart > 1 and not colour else (*item, n)
        return Layout(item, dtype, colour)

    def _decoder(self, page: Page, full: tuple[int, ...]) -> tuple[np.dtype[Any], Callable[..., Any]]:
        import tifffile

        logging.getLogger("tifffile").addHandler(logging.NullHandler())
        s = self.structure
        try:
            if self._tifffile is None:
                self._tifffile = tifffile.TiffFile(s.opened())
            self._tifffile.filehandle.seek(page.offset)
            other = tifffile.TiffPage(self._tifffile, 0)
            dtype, shaped, decode = other.dtype, tuple(other.shaped), other.decode
        except _ANY_DECODER as error:
            raise s.damaged(f"page {page.name} cannot be read: {error}") from None
        if dtype is None or shaped != full:
            raise InputError(
                f"{s.path}: the samples of page {page.name} are of a type that is not read",
                "save it as plain TIFF with the program that made it",
            )
        return np.dtype(dtype), decode

    def segments(self, page: Page, coding: Coding) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return offsets and sizes of a page's strips or tiles.

        Raises
        ------
        InputError
            When some are missing or lie beyond the end of the file.
        """
        s, name = self.structure, page.name
        where, sizes = (TILE_OFFSETS, TILE_COUNTS) if TILE_OFFSETS in page.tags else (STRIP_OFFSETS, STRIP_COUNTS)
        if where not in page.tags:
            raise s.damaged(f"page {name} does not say where its pixels are")
        offsets = s.numbers(page.tags[where], f"the offsets of page {name}")
        if sizes in page.tags:
            counts = s.numbers(page.tags[sizes], f"the sizes of page {name}")
        elif coding.plain and len(offsets) == 1:
            counts = np.array([math.prod(coding.full) * coding.layout.dtype.itemsize], np.uint64)
        else:
            raise s.damaged(f"page {name} does not say how large its pieces are")
        if offsets.dtype.kind not in "iu" or counts.dtype.kind not in "iu":
            raise s.damaged(f"page {name} does not say where its pixels are")
        if min(len(offsets), len(counts)) < coding.pieces:
            raise s.damaged(f"page {name} has {len(offsets)} pieces of {coding.pieces}")
        offsets, counts = offsets[: coding.pieces].astype(np.int64), counts[: coding.pieces].astype(np.int64)
        if (offsets <= 0).any() or (counts <= 0).any():
            raise s.damaged(f"page {name} has pieces that are missing")
        if (counts > s.size - offsets).any():
            raise s.damaged(f"the pixels of page {name} lie beyond the end of the file")
        return offsets, counts

    def start(self, page: Page, coding: Coding) -> int:
        """Return where a page's image lies as one plain piece, or -1 when it does not.

        Raises
        ------
        InputError
            When its pieces are missing or are smaller than the image.
        """
        offsets, counts = self.segments(page, coding)
        if not coding.plain:
            return -1
        if int(counts.sum()) < math.prod(coding.full) * coding.layout.dtype.itemsize:
            raise self.structure.damaged(f"page {page.name} has {int(counts.sum()):,} bytes, too few for its size")
        joined = bool((offsets[1:] == offsets[:-1] + counts[:-1]).all()) and not self._padded(page, coding, counts)
        apart = coding.full[0] > 1 and coding.layout.colour
        return int(offsets[0]) if joined and not apart else -1

    def _padded(self, page: Page, coding: Coding, counts: np.ndarray[Any, Any]) -> bool:
        """Tell whether a strip before the last is not as large as its rows are."""
        apart, depth, length, width, samples = coding.full
        rows = min(self.structure.number(page, ROWS_PER_STRIP, length), length)
        line = width * samples * coding.layout.dtype.itemsize
        sizes = [min(rows, length - y) * line for y in range(0, length, rows)] * (apart * depth)
        return bool((counts[:-1] != sizes[:-1]).any())

    def decode(self, page: Page, coding: Coding, out: np.ndarray[Any, Any]) -> None:
        """Decode a page into an array of its item shape."""
        s = self.structure
        offsets, counts = self.segments(page, coding)
        function = coding.decode
        if function is None:
            with self._lock:
                function = self._decoder(page, coding.full)[1]
        tables = page.tags.get(JPEG_TABLES)
        options = {"jpegtables": s.raw(tables, "the JPEG tables")} if tables is not None else {}
        whole = out.reshape(coding.full) if _as_stored(coding) else np.empty(coding.full, coding.layout.dtype)
        for i in range(coding.pieces):
            data = s.read(int(offsets[i]), int(counts[i]), f"a piece of page {page.name}")
            try:
                piece, index, _ = function(data, i, **options)
            except _ANY_DECODER as error:
                raise s.damaged(f"piece {i} of page {page.name} cannot be decoded: {error}") from None
            self._place(whole, piece, index, page)
        if not _as_stored(coding):
            out[...] = np.moveaxis(whole[:, 0, :, :, 0], 0, -1)

    def _place(self, whole: np.ndarray[Any, Any], piece: np.ndarray[Any, Any], index: Any, page: Page) -> None:
        sample, *corner, _ = index
        target = whole[(sample, *(slice(i, i + n) for i, n in zip(corner, piece.shape[:3], strict=True)))]
        cut = piece[: target.shape[0], : target.shape[1], : target.shape[2]]
        if cut.shape != target.shape or piece.dtype != whole.dtype:
            raise self.structure.damaged(f"a piece of page {page.name} has another shape or type than the page")
        target[...] = cut


def _as_stored(coding: Coding) -> bool:
    return not (coding.full[0] > 1 and coding.layout.colour)


class Frames(Array):
    """The images of pages of one layout, as rows.

    Parameters
    ----------
    pixels
        The open file.
    pages
        Its pages, each with how it is stored.
    starts
        Where each page's image lies in one plain piece, or -1.
    """

    __slots__ = ("_layout", "_pages", "_pixels", "_starts")

    def __init__(self, pixels: Pixels, pages: Sequence[tuple[Page, Coding]], starts: np.ndarray[Any, Any]) -> None:
        self._pixels, self._pages, self._starts = pixels, pages, starts
        self._layout = pages[0][1].layout

    def shaped(self, item: tuple[int, ...]) -> Frames:
        """Return the same frames with another shape of an item, which has as many elements.

        Raises
        ------
        ValueError
            When it has not.
        """
        if math.prod(item) != math.prod(self._layout.item):
            raise ValueError(f"frames of {self._layout.item} are no {item}")
        out = Frames(self._pixels, self._pages, self._starts)
        out._layout = replace(self._layout, item=item)
        return out

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._starts), *self._layout.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._layout.dtype

    def places(self) -> Places | None:
        file, size = self._pixels.structure.file, self.dtype.itemsize * math.prod(self._layout.item)
        swap = self.dtype.itemsize > 1 and self._pixels.structure.order != _NATIVE
        if swap or size < _SMALL or not isinstance(file, io.BufferedReader):
            return None
        return Places(file.fileno(), self._starts, np.full(len(self._starts), size), np.zeros((), self.dtype))

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *inner = full_box(box, self.shape)
        first, last = rows.start, max(rows.start, rows.stop)
        out = np.empty((last - first, *self._layout.item), self._layout.dtype)
        self._plain(first, last, out)
        packed = [i for i in range(first, last) if self._starts[i] < 0]
        if len(packed) == 1:
            self._pixels.decode(*self._pages[packed[0]], out[packed[0] - first])
        elif packed:
            list(self._pixels.pool.map(lambda i: self._pixels.decode(*self._pages[i], out[i - first]), packed))
        return out[(slice(None), *inner)]

    def _plain(self, first: int, last: int, out: np.ndarray[Any, Any]) -> None:
        """Read the plain pages, those that lie one after the other at once."""
        if first == last:
            return
        size = out[0].nbytes
        starts = self._starts[first:last]
        joins = np.flatnonzero((starts[1:] != starts[:-1] + size) | (starts[1:] < 0)) + 1
        edges = [0, *joins.tolist(), last - first]
        swap = self._layout.dtype.itemsize > 1 and self._pixels.structure.order != _NATIVE
        for a, b in pairwise(edges):
            if starts[a] >= 0:
                buffer = memoryview(out[a:b].reshape(-1).view(np.uint8))  # type: ignore[arg-type]
                self._pixels.structure.read_into(int(starts[a]), buffer, "an image")
                if swap:
                    out[a:b].byteswap(inplace=True)


_NATIVE = "<" if np.little_endian else ">"
