"""How a TIFF file is made: its images, the strips or tiles that encode them, its tags.

Only the directories are read. An image whose pieces can be encoded again has pieces; any other (JPEG, 12 bit, tiles
that stick out, ...) is read as ``convert`` reads it.

Strips of deflate are the stream of zlib (RFC 1950), as a chunk of HDF5's gzip filter is. When a frame has one piece,
of all of it (``box`` None), and its encoder is ``deflate`` with the parameters ``(1, ...)`` (no predictor), the
piece's bytes are such a chunk of the frame's dtype, byte order included, as they stand.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nxconvert.dissection import Content, Dissection, Entry, Frame, Piece
from nxconvert.encoders import RAW
from nxconvert.formats.tiff import tags as t
from nxconvert.formats.tiff.structure import ASCII, EXIF, GPS, TYPES, Page, Tag, TiffStructure, decoded

_BITS = "bits"
_ENCODERS = {1: RAW, 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits"}
_MOST = {RAW: 1, _BITS: 1, "lzw": 4096, "deflate": 1100, "packbits": 128}
"""How many bytes one can become at most."""

_KINDS = {1: "u", 2: "i", 3: "f", 6: "c"}
_SIZES = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_RGB, _YCBCR = 2, 6
_LONGEST = 64
"""Tags of more numbers are not header entries: colour maps and private blocks."""

_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_CODES |= {7: "B", 16: "Q", 17: "q", 18: "Q"}


class _Image(NamedTuple):
    """How a page's image is stored, when its pieces can be encoded again.

    Attributes
    ----------
    shape, dtype
        Of the frame.
    encoder, parameters
        Of its pieces.
    planes
        How many there are when the samples lie apart, else 1.
    axis
        The one that a predictor runs along, counted from the last: 1 or, when the samples are the last, 2.
    tiled
        Whether the pieces are tiles, else strips.
    rows, columns
        Size of a piece.
    line
        Bytes of one of its rows, before they are compressed.
    lines, across
        Rows and columns of the image.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoder: str
    parameters: tuple[int | str, ...]
    planes: int
    axis: int
    tiled: bool
    rows: int
    columns: int
    line: int
    lines: int
    across: int


def dissect(content: Content) -> Dissection:
    """Say how a TIFF file is made.

    Parameters
    ----------
    content
        Its bytes; those of the directories are looked at.

    Returns
    -------
    Dissection
        A frame for each page, children after their parents, and for each image of an ImageJ stack that has one page.

    Raises
    ------
    InputError
        When it is no TIFF, it is damaged or cut off, or a page is of a kind that cannot be decoded.
    """
    structure = TiffStructure(content)
    fallback = _Fallback(structure)
    headers = _headers(structure)
    frames: list[Frame] = []
    pieces: list[Piece] = []
    for page, header in zip(structure.pages, headers, strict=True):
        image = _image(structure, page)
        mine = None if image is None else _pieces(structure, page, image, len(frames))
        if image is None or mine is None:
            frames.append(fallback.frame(page, header))
            continue
        frame = Frame(image.shape, image.dtype, header)
        frames.append(frame)
        pieces += mine
    if structure.text(structure.pages[0], t.DESCRIPTION).startswith("ImageJ="):
        frames, pieces = _imagej(structure, frames, pieces)
    if len(pieces) > 1:
        pieces = _apart(structure, frames, pieces, fallback)
    return _shared(structure, frames, pieces)


def _image(structure: TiffStructure, page: Page) -> _Image | None:
    """Return how a page is stored; None when that is not by pieces that can be encoded again."""
    number, tags = structure.number, page.tags
    width, length, samples = number(page, 256, 0), number(page, 257, 0), number(page, 277, 1)
    if width < 1 or length < 1 or samples < 1:
        raise structure.damaged(f"page {page.name} has no pixels ({length} x {width}, {samples} samples)")
    dtype, bits = _dtype(structure, page)
    encoder = _ENCODERS.get(number(page, 259, 1))
    photometric, predictor = number(page, 262, 1), number(page, 317, 1)
    if dtype is None or encoder is None or photometric == _YCBCR or number(page, 32997, 1) != 1:
        return None
    if number(page, 266, 1) != 1 or predictor not in _predictors(encoder, dtype.kind) or (bits and encoder != RAW):
        return None
    planes = samples if samples > 1 and number(page, 284, 1) == 2 else 1
    shape: tuple[int, ...] = (length, width)
    parameters: tuple[int | str, ...]
    axis = 1
    if samples > 1:
        colour = photometric == _RGB and samples in (3, 4)
        first = planes > 1 and not colour
        shape = (samples, length, width) if first else (length, width, samples)
        axis = 1 if first else 2
    tiled = 322 in tags
    rows = number(page, 323, 0) if tiled else min(number(page, 278, length), length)
    columns = number(page, 322, 0) if tiled else width
    if rows < 1 or columns < 1:
        raise structure.damaged(f"page {page.name} has {'tiles' if tiled else 'strips'} without size")
    if tiled and (length % rows or width % columns) and (bits or encoder == "deflate"):
        return None
    line = columns * (samples if planes == 1 else 1) * (bits or dtype.itemsize * 8)
    if bits:
        encoder, parameters = _BITS, (bits, axis)
    else:
        parameters = () if encoder == RAW else (predictor, axis)
    return _Image(shape, dtype, encoder, parameters, planes, axis, tiled, rows, columns, (line + 7) // 8, length, width)


def _dtype(structure: TiffStructure, page: Page) -> tuple[np.dtype[Any] | None, int]:
    """Return the type of a frame and, when its numbers are no whole bytes, their bits, else 0."""
    bits, formats = set(structure.list_of(page, 258)) or {1}, set(structure.list_of(page, 339)) or {1}
    if len(bits) > 1 or len(formats) > 1:
        return None, 0
    kind, n = _KINDS.get(formats.pop(), ""), bits.pop()
    if kind == "u" and 0 < n < 16 and n != 8:
        return np.dtype(bool if n == 1 else np.uint8 if n < 8 else np.uint16), n
    if n % 8 or n // 8 not in _SIZES.get(kind, ()):
        return None, 0
    return np.dtype(f"{structure.order}{kind}{n // 8}"), 0


def _predictors(encoder: str, kind: str) -> tuple[int, ...]:
    if encoder not in ("lzw", "deflate"):
        return (1,)
    return {"f": (1, 3), "c": (1,)}.get(kind, (1, 2))


def _pieces(structure: TiffStructure, page: Page, image: _Image, frame: int) -> list[Piece] | None:
    """Return the pieces of a page's image; None when they do not fit it."""
    plain = image.encoder in (RAW, _BITS)
    n = image.planes * -(-image.lines // image.rows) * -(-image.across // image.columns)
    joins = plain and not image.tiled and (image.planes == 1 or image.axis == 1)
    if joins and n > 1 and (whole := _whole(structure, page, image, frame)) is not None:
        return [whole]
    offsets, counts = _places(structure, page, image, n)
    pieces = []
    for (rows, inside, box), offset, count in zip(_boxes(image), offsets, counts, strict=True):
        need = rows * image.line
        if count * _MOST[image.encoder] < need:
            if plain and not image.tiled and sum(counts) >= image.planes * image.lines * image.line:
                return None
            raise structure.damaged(f"page {page.name} has {count:,} bytes, too few for its size")
        by, how = image.encoder, image.parameters
        if not inside:
            by, how = "tile", (image.axis, image.rows, image.columns, by, *how)
        pieces.append(Piece(offset, need if plain else count, frame, box, by, how))
    if len(pieces) == 1:
        return [replace(pieces[0], box=None)]
    return _joined(pieces, image) if joins else pieces


def _places(structure: TiffStructure, page: Page, image: _Image, n: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return where the strips or tiles are, and how large.

    Raises
    ------
    InputError
        When some are missing, or lie beyond the end of the file.
    """
    where, sizes = (324, 325) if 324 in page.tags else (273, 279)
    offsets, counts = structure.list_of(page, where), structure.list_of(page, sizes)
    if n == len(offsets) == 1 and not counts and image.encoder in (RAW, _BITS):
        counts = (image.rows * image.line,)
    if min(len(offsets), len(counts)) < n:
        raise structure.damaged(f"page {page.name} has {min(len(offsets), len(counts))} pieces of {n}")
    for offset, count in zip(offsets[:n], counts[:n], strict=True):
        if offset < 1 or count < 1:
            raise structure.damaged(f"page {page.name} has pieces that are missing")
        if offset + count > structure.size:
            raise structure.damaged(f"the pixels of page {page.name} lie beyond the end of the file")
    return offsets[:n], counts[:n]


def _whole(structure: TiffStructure, page: Page, image: _Image, frame: int) -> Piece | None:
    """Return the one piece that strips are which lie one after the other, as most do; else None."""
    tags = [page.tags.get(code) for code in (273, 279)]
    strips = -(-image.lines // image.rows)
    if any(tag is None or tag.count != image.planes * strips for tag in tags):
        return None
    offsets, counts = (structure.numbers(tag, "the strips") for tag in tags if tag is not None)
    if offsets.dtype.kind != "u" or counts.dtype.kind != "u":
        return None
    expected = np.full(offsets.shape, image.rows * image.line)
    expected[strips - 1 :: strips] = (image.lines - (strips - 1) * image.rows) * image.line
    starts, size = offsets.astype(np.int64), int(expected.sum())
    start = int(starts[0])
    if (counts != expected).any() or (np.diff(starts) != expected[:-1]).any() or not 0 < start <= structure.size - size:
        return None
    return Piece(start, size, frame, None, image.encoder, image.parameters)


def _boxes(image: _Image) -> Iterator[tuple[int, bool, tuple[tuple[int, int], ...]]]:
    """Yield how many rows each strip or tile has, whether it lies inside the image, and its box, in order."""
    first = image.planes > 1 and image.axis == 1
    length, width = image.lines, image.across
    for plane in range(image.planes):
        before = ((plane, plane + 1),) if first else ()
        after: tuple[tuple[int, int], ...] = ()
        if len(image.shape) == 3 and not first:
            after = ((0, image.shape[2]),) if image.planes == 1 else ((plane, plane + 1),)
        for y in range(0, length, image.rows):
            below = min(y + image.rows, length)
            rows = image.rows if image.tiled else below - y
            for x in range(0, width, image.columns):
                right = min(x + image.columns, width)
                inside = right - x == image.columns and below - y == rows
                yield rows, inside, (*before, (y, below), (x, right), *after)


def _joined(pieces: list[Piece], image: _Image) -> list[Piece]:
    """Join strips that lie one after the other; when all do, they are the whole image."""
    first = pieces[0]
    size = sum(piece.size for piece in pieces)
    if all(a.offset + a.size == b.offset for a, b in pairwise(pieces)):
        return [replace(first, size=size, box=None)]
    rows = 1 if image.planes > 1 else 0
    out = [first]
    for piece in pieces[1:]:
        (a, b), before = _ends(piece, rows), out[-1]
        if a and before.offset + before.size == piece.offset:
            box = list(before.box or ())
            box[rows] = (box[rows][0], b)
            out[-1] = replace(before, size=before.size + piece.size, box=tuple(box))
        else:
            out.append(piece)
    return out


def _ends(piece: Piece, axis: int) -> tuple[int, int]:
    return piece.box[axis] if piece.box is not None else (0, 0)


def _imagej(structure: TiffStructure, frames: list[Frame], pieces: list[Piece]) -> tuple[list[Frame], list[Piece]]:
    """Return the images of a stack of ImageJ, which may have one directory for all of them, with what it says."""
    from nxconvert.formats.tiff.read import imagej_fields

    page = structure.pages[0]
    if len(frames) == len(pieces) == 1 and pieces[0].box is None and pieces[0].encoder == RAW:
        said = re.match(r"ImageJ=[^\n]*(?:\n[^\n]*)*?\nimages=(\d+)", structure.text(page, t.DESCRIPTION))
        n, first = max(1, int(said[1])) if said else 1, pieces[0]
        if first.offset + n * first.size > structure.size:
            raise structure.damaged(f"it should hold {n} images and ends before the last")
        frames = frames + [replace(frames[0], header=())] * (n - 1)
        pieces = [replace(first, offset=first.offset + i * first.size, frame=i) for i in range(n)]
    for field in imagej_fields(structure, page, len(frames)):
        values = field.values.read()
        for i, value in enumerate(values.tolist() if field.per_row else [values.item()]):
            entry = Entry(field.name, value, str(field.attrs.get("units", "")))
            frames[i] = replace(frames[i], header=[*frames[i].header, entry])
    return frames, pieces


def _apart(structure: TiffStructure, frames: list[Frame], pieces: list[Piece], fallback: _Fallback) -> list[Piece]:
    """Return the pieces by offset; of frames that have bytes of another's piece, there are none."""
    pieces.sort(key=lambda piece: piece.offset)
    shared: set[int] = set()
    end = 0
    for piece in pieces:
        if piece.offset < end:
            shared.add(piece.frame)
        end = max(end, piece.offset + piece.size)
    for number in shared:
        frames[number] = fallback.frame(structure.pages[number], frames[number].header)
    return [piece for piece in pieces if piece.frame not in shared] if shared else pieces


class _Fallback:
    """Reads pages as ``convert`` does."""

    def __init__(self, structure: TiffStructure) -> None:
        self._structure = structure
        self._pixels: Any = None

    def frame(self, page: Page, header: Any) -> Frame:
        """Return a frame that is read so.

        Raises
        ------
        InputError
            When the page cannot be decoded or its pieces are not there.
        """
        from nxconvert.formats.tiff.pages import Pixels
        from nxconvert.policy import Policy

        if self._pixels is None:
            self._pixels = Pixels(self._structure, Policy().memory)
        pixels = self._pixels
        coding = pixels.coding(page)
        pixels.start(page, coding)
        layout = coding.layout

        def read() -> np.ndarray[Any, Any]:
            out = np.empty(layout.item, layout.dtype)
            pixels.decode(page, coding, out)
            return out

        return Frame(layout.item, layout.dtype, header, read)


def _headers(structure: TiffStructure) -> list[list[Entry]]:
    """Return the tags of each page as header entries."""
    return [list(_entries(structure, page)) for page in structure.pages]


def _entries(structure: TiffStructure, page: Page) -> Iterator[Entry]:
    for code, tag in page.tags.items():
        if code not in t.STRUCTURE:
            yield from _entry(structure, tag, t.name_of(code))
    for code, group in ((EXIF, "Exif"), (GPS, "GPS")):
        if code in page.tags and (offset := structure.number(page, code, 0)):
            for below, tag in structure.directory(offset, f"{group} of page {page.name}").items():
                yield from _entry(structure, tag, t.name_of(below, group))
    for code, usual in ((t.PHOTOMETRIC, (1, 2, 6)), (t.PACKED_BITS, (1, 8, 16, 32, 64, 128))):
        value = structure.number(page, code, 1)
        if value not in usual:
            yield Entry(t.name_of(code), value)


def _entry(structure: TiffStructure, tag: Tag, name: str) -> Iterator[Entry]:
    if tag.type == ASCII:
        yield Entry(name, decoded(structure.raw(tag, name)).replace("\0", "\n"))
    elif tag.type in _CODES and tag.count == 1:
        (value,) = struct.unpack_from(f"{structure.order}{_CODES[tag.type]}", structure.raw(tag, name))
        yield Entry(name, value)
    elif tag.type in TYPES and 0 < tag.count <= _LONGEST:
        values = structure.numbers(tag, name).tolist()
        yield Entry(name, values[0] if len(values) == 1 else " ".join(map(str, values)))


def _shared(structure: TiffStructure, frames: list[Frame], pieces: list[Piece]) -> Dissection:
    """Return the dissection; what only the first of several pages says is said of all."""
    if len(frames) == 1:
        return Dissection(frames, pieces)
    others = {entry.key for frame in frames[1:] for entry in frame.header}
    first = frames[0].header
    header = [entry for entry in first if entry.key not in others]
    frames[0] = replace(frames[0], header=[entry for entry in first if entry.key in others])
    return Dissection(frames, pieces, header)
