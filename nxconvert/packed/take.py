"""Taking a file apart, in a thread: its digest, its frames as they will be stored, and the bytes between them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
import xxhash

from nxconvert.compressed import inside
from nxconvert.dataclass import dataclass
from nxconvert.digests import md5, sha256
from nxconvert.dissection import STORED, Dissection, Entry, Piece, pixels
from nxconvert.encoders import RAW, encoder
from nxconvert.engine.codecs import Codec
from nxconvert.errors import InputError
from nxconvert.format import Content, Format
from nxconvert.series import File, Layout, entries, filters_of

Raw = np.ndarray[Any, Any]
Part = list[Any]
"""A part of a file: ``["literal"]``, ``["kept"]``, ``["piece", frame, box, encoder, parameters]``, or ``["chunk",
frame, number]``: the chunk of the frame of that number, as it is stored."""

_ALIGNED = 64
"""Files begin at such bytes in memory."""

_CACHED, _MOST = 5 << 19, 8
"""Bytes, and number, of files that are taken apart together."""

LITERAL: Part = ["literal"]
KEPT: Part = ["kept"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a frame goes: the dataset, the row and how its chunks are cut and encoded.

    ``there`` tells whether it is stored already; ``moves`` whether pieces are chunks as they are.
    """

    name: str
    row: int
    per_row: int
    chunk: tuple[int, ...]
    codec: Codec | None
    plain: bool
    there: bool = False
    moves: bool = False


@dataclass(slots=True)
class Stored:
    """A chunk that is ready to be written; ``digest`` is None where HDF5 itself must encode it."""

    name: str
    number: int
    raw: Any
    digest: int | None


@dataclass(slots=True)
class Taken:
    """What one file was taken apart into.

    Attributes
    ----------
    sha256
        Of all its bytes.
    parts, sizes
        How the file is put together, and how many bytes each part has.
    literals
        Its bytes that are in no frame.
    chunks
        Its frames.
    headers
        For each frame what the file says of it.
    damaged
        Frames that could not be read, each with the reason.
    kept
        Whether it must be kept whole.
    whole
        All of its bytes, when it is.
    """

    sha256: bytes
    parts: list[Part] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    literals: list[bytes] = field(default_factory=list)
    chunks: list[Stored] = field(default_factory=list)
    headers: list[Sequence[Entry]] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    kept: bool = False
    whole: Any = b""


class Room:
    """Memory that a batch of files is taken apart in, used again for one batch after another.

    Memory that is new costs the system more to give than a codec needs to fill it.
    """

    def __init__(self) -> None:
        self._file = np.empty(0, np.uint8)
        self._encoded = np.empty(0, np.uint8)
        self._loaded = self._used = 0

    def prepare(self, loaded: int, encoded: int) -> None:
        """Make sure that so many bytes of files, and of chunks, have room; what was given before is given anew."""
        self._loaded = self._used = 0
        if len(self._file) < loaded:
            self._file = np.empty(loaded + (loaded >> 4), np.uint8)
        if len(self._encoded) < encoded:
            self._encoded = np.empty(encoded + (encoded >> 4), np.uint8)

    def load(self, file: File) -> memoryview:
        """Read a whole file.

        Raises
        ------
        InputError
            When it cannot be read, or is not as it was when its header was looked at.
        """
        start = self._loaded
        self._loaded += -(-file.size // _ALIGNED) * _ALIGNED
        view = self._file[start : start + file.size].data
        try:
            handle = os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                status = os.fstat(handle)
                if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
                    raise InputError(f"{file.path} was changed while it was being packed", "pack it again")
                got = read_into(handle, view)
                status = os.fstat(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InputError(f"{file.path} cannot be read: {error.strerror}") from None
        if got != file.size or (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
            raise InputError(f"{file.path} was changed while it was being packed", "pack it again")
        return view

    def unload(self, jobs: Sequence[Job]) -> None:
        """Take back the memory of what was loaded last; the next files find it in the processor's cache."""
        self._loaded -= sum(job.loaded for job in jobs)

    def buffer(self, size: int) -> Raw:
        """Give bytes to encode into."""
        start, self._used = self._used, self._used + size
        return self._encoded[start : self._used]


@dataclass(frozen=True, slots=True)
class Job:
    """A file that is to be taken apart, and where its frames go: None for a frame that has no row."""

    file: File
    format: Format
    targets: Sequence[Target | None]

    @property
    def loaded(self) -> int:
        """Bytes of memory that the file takes as it is."""
        return -(-self.file.size // _ALIGNED) * _ALIGNED

    @property
    def need(self) -> int:
        """Bytes of memory that taking it apart takes."""
        return self.loaded + self.encoded + self.file.unpacked

    @property
    def lasts(self) -> bool:
        """Whether what is stored are bytes of the file itself."""
        return any(t is not None and (t.plain or t.moves or t.codec is None) for t in self.targets)

    @property
    def encoded(self) -> int:
        """Bytes of memory that its chunks may take."""
        return sum(t.codec.room * t.per_row for t in self.targets if t is not None and t.codec and not t.there)


def read_into(handle: int, view: memoryview) -> int:
    """Fill memory from an open file; return how many bytes there were."""
    got = 0
    while got < len(view):
        if hasattr(os, "readv"):
            n = os.readv(handle, [view[got:]])
        else:
            data = os.read(handle, len(view) - got)
            n = len(data)
            view[got : got + n] = data
        if not n:
            break
        got += n
    return got


def take_all(jobs: Sequence[Job], layout: Layout, room: Room) -> list[Taken]:
    """Take files apart that fit into memory together; what is returned lies in the room."""
    room.prepare(sum(job.loaded for job in jobs), sum(job.encoded for job in jobs))
    out: list[Taken] = []
    for some in _together(jobs):
        held = [room.load(job.file) for job in some]
        opened = [_dissected(job, view) for job, view in zip(some, held, strict=True)]
        _vouch(opened)
        made = [
            _take(job, *both, Taken(digest), layout, room)
            for job, both, digest in zip(some, opened, sha256(held), strict=True)
        ]
        for taken, view in zip(made, held, strict=True):
            taken.whole = view if taken.kept else b""
        if not any(job.lasts or taken.kept for job, taken in zip(some, made, strict=True)):
            room.unload(some)
        out += made
    return out


def _together(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Yield files whose digests are made at once: at least two, as many as stay in the processor's cache."""
    start = size = 0
    for stop, job in enumerate(jobs):
        if stop - start >= 2 and (stop - start) % 2 == 0 and (size + 2 * job.loaded > _CACHED or stop - start == _MOST):
            yield jobs[start:stop]
            start, size = stop, 0
        size += job.loaded
    if start < len(jobs):
        yield jobs[start:]


def _dissected(job: Job, held: memoryview) -> tuple[Content, Dissection]:
    """Return the file's bytes, out of their compression, and what they are made of.

    Raises
    ------
    InputError
        When it is not as it was when its header was looked at.
    """
    content = Content(job.file.path, held)
    content = (inside(content, job.file.unpacked) if job.file.unpacked else None) or content
    assert job.format.dissect is not None
    found = job.format.dissect(content)
    if len(found.frames) != len(job.targets):
        raise InputError(f"{job.file.path} was changed while it was being packed", "pack it again")
    return content, found


def _vouch(opened: Sequence[tuple[Content, Dissection]]) -> None:
    """Look, of all files at once, at the digests that they state of their own pieces."""
    stated = [(content, piece) for content, found in opened for piece in found.pieces if piece.md5]
    runs = [content.view(piece.offset, piece.size) for content, piece in stated]
    for (content, piece), digest in zip(stated, md5(runs) if runs else (), strict=True):
        if digest == piece.md5:
            content.vouched.add(piece)


def _take(job: Job, content: Content, found: Dissection, taken: Taken, layout: Layout, room: Room) -> Taken:
    """Take a file apart; what is returned lies in the room."""
    taken.kept = bool(job.file.unpacked)  # another version of the compressor may make other bytes: they are kept too
    good = disassemble(content, found, layout, job.targets, room, taken)
    cut(content, job.file.size, good, taken)
    return taken


def disassemble(
    content: Content,
    found: Dissection,
    layout: Layout,
    targets: Sequence[Target | None],
    room: Room,
    taken: Taken,
    put: Callable[[list[Stored]], None] | None = None,
) -> list[tuple[Piece, Part]]:
    """Encode the frames of a file for storage; return the pieces that can be made of them again, byte for byte.

    Parameters
    ----------
    put
        Takes the chunks of a frame at once, for files that are larger than memory; else they are gathered.
    """
    good: list[tuple[Piece, Part]] = []
    pieces: dict[int, list[Piece]] = {}
    for piece in found.pieces:
        pieces.setdefault(piece.frame, []).append(piece)
    for number, target in enumerate(targets):
        taken.headers.append(entries(found, number, layout))
        try:
            values = pixels(content, found, number)
        except InputError as error:
            taken.damaged[number] = error.message.removeprefix(content.name).lstrip(": ")
            taken.kept = True
            continue
        if target is None:
            taken.kept = True  # it has no row: nothing could be made of it
            continue
        mine, streams = _made_again(content, found, pieces.get(number, ()), values, target)
        good += mine
        if not target.there:
            chunks = encoded(values, target, room, streams)
            if put is None:
                taken.chunks += chunks
            else:
                put(chunks)
    good.sort(key=lambda made: made[0].offset)
    return good


def _made_again(
    content: Content, found: Dissection, pieces: Sequence[Piece], values: Raw, target: Target
) -> tuple[list[tuple[Piece, Part]], dict[int, memoryview]]:
    """Return those pieces of a frame that can be made of what is stored, and those that are stored as they are."""
    good: list[tuple[Piece, Part]] = []
    streams: dict[int, memoryview] = {}
    for piece in pieces:
        if target.moves and (chunk := moved(content, piece, values, target)) is not None:
            streams[chunk] = content.view(piece.offset, piece.size)
            good.append((piece, ["chunk", piece.frame, chunk]))
        elif seen(piece, found, values):
            good.append((piece, ["piece", piece.frame, None, RAW, []]))
        elif (again := reproducible(content, piece, values)) is not None:
            good.append((again, ["piece", piece.frame, again.box, again.encoder, list(again.parameters)]))
    return good, streams


def moved(content: Content, piece: Piece, values: Raw, target: Target) -> int | None:
    """Return the number of the chunk, in its row, that a piece is as it stands; None when it is none."""
    shape, chunk = values.shape, target.chunk[1:]
    box = piece.box or tuple((0, n) for n in shape)
    whole = all(a % c == 0 and b - a == c for (a, b), c in zip(box, chunk, strict=True))
    if not whole or filters_of(piece) is None:
        return None
    if piece.encoder != STORED or target.codec is not None:
        raw = np.frombuffer(content.view(piece.offset, piece.size), np.uint8)
        out = np.empty(chunk, values.dtype)
        part = values[tuple(slice(a, b) for a, b in box)]
        if target.codec is None or not target.codec.decode(raw, raw.size, out):
            return None
        if out.tobytes() != np.ascontiguousarray(part).tobytes():
            return None
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    return int(np.ravel_multi_index([a // c for (a, _), c in zip(box, chunk, strict=True)], counts))


def seen(piece: Piece, found: Dissection, values: Raw) -> bool:
    """Tell whether a frame's pixels are the bytes of a piece themselves, so that nothing needs to be compared."""
    whole = piece.encoder == RAW and piece.box is None and piece.size == values.nbytes
    return whole and found.frames[piece.frame].read is None


def reproducible(content: Content, piece: Piece, values: Raw) -> Piece | None:
    """Return a piece with the parameters by which its bytes are made again, or None when none are known."""
    if piece.encoder == STORED or not encoder(piece.encoder).lasting:
        return None
    part = values if piece.box is None else values[tuple(slice(a, b) for a, b in piece.box)]
    raw = content.view(piece.offset, piece.size)
    parameters = encoder(piece.encoder).guess(raw, np.ascontiguousarray(part), piece.parameters)
    if parameters is None:
        return None
    return Piece(piece.offset, piece.size, piece.frame, piece.box, piece.encoder, parameters)


def encoded(values: Raw, target: Target, room: Room, streams: Mapping[int, memoryview]) -> list[Stored]:
    """Encode a frame's chunks, but for those that are there as streams."""
    chunks = []
    for i, part in enumerate(_cut(values, target.chunk[1:])):
        number = target.row * target.per_row + i
        if i in streams:
            raw: Any = streams[i]
        elif target.plain:
            raw = part.reshape(-1).view(np.uint8).data
        elif target.codec is not None:
            raw = target.codec.encode(part, room.buffer(target.codec.room))
        else:
            chunks.append(Stored(target.name, number, part[np.newaxis], None))
            continue
        chunks.append(Stored(target.name, number, raw, xxhash.xxh3_64_intdigest(raw)))
    return chunks


def _cut(values: Raw, chunk: tuple[int, ...]) -> Iterator[Raw]:
    """Cut a frame into chunks; those at its end are filled up with zeros."""
    if values.shape == chunk:
        yield np.ascontiguousarray(values)
        return
    counts = [-(-n // c) for n, c in zip(values.shape, chunk, strict=True)]
    for index in np.ndindex(*counts):
        part = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunk, strict=True))]
        if part.shape != chunk:
            whole = np.zeros(chunk, values.dtype)
            whole[tuple(slice(n) for n in part.shape)] = part
            part = whole
        yield np.ascontiguousarray(part)


def cut(content: Content, size: int, good: Sequence[tuple[Piece, Part]], taken: Taken) -> None:
    """Write down how a file is put together: pieces, and literals between them."""
    at = 0
    for piece, part in good:
        if piece.offset > at:
            _literal(content, at, piece.offset, taken)
        taken.parts.append(part)
        taken.sizes.append(piece.size)
        at = piece.offset + piece.size
    if at < size:
        _literal(content, at, size, taken)
    if size and (taken.kept or not good):
        taken.kept = True
        taken.parts, taken.sizes, taken.literals = [KEPT], [size], []


def _literal(content: Content, start: int, stop: int, taken: Taken) -> None:
    taken.parts.append(LITERAL)
    taken.sizes.append(stop - start)
    taken.literals.append(bytes(content.view(start, stop - start)))


def recipe(parts: Sequence[Part]) -> str:
    """Write the parts of a file as one text; most files of a series have the same."""
    return json.dumps(parts, separators=(",", ":"))
