"""How an image file is made: which of its bytes are frames, and which are not.

A format's ``dissect`` says it without touching the frames. Every byte that is in no piece is a literal: kept as it is.
With that a file can be read, taken apart into frames and literals, and put together again byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.encoders import RAW, encoder
from nxconvert.errors import InputError

STORED = "stored"
"""The encoder of a piece that is a chunk of HDF5, by the filters that its parameter states.

It can be moved, not made.
"""


class Entry(NamedTuple):
    """One line of a header: its key, its value as it stands there, and the unit that the format states."""

    key: str
    value: str | int | float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes that encodes a frame, or a box of one.

    Attributes
    ----------
    offset, size
        Where the bytes are in the file.
    frame
        Number of the frame in its file.
    box
        ``(start, stop)`` for each dimension of the frame; None for the whole frame.
    encoder
        How, a name of ``nxconvert.encoders``.
    parameters
        What the encoder must know besides; plain JSON.
    md5
        The digest of the bytes that the file states, or nothing; checked when they are read.
    """

    offset: int
    size: int
    frame: int = 0
    box: tuple[tuple[int, int], ...] | None = None
    encoder: str = RAW
    parameters: tuple[int | str, ...] = ()
    md5: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """An image of a file.

    Attributes
    ----------
    shape
        ``(y, x)``, or ``(y, x, 3)`` for colours.
    dtype
        As it is stored, byte order included.
    header
        What the file says of this frame.
    read
        Gives the pixels when the pieces do not.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    header: Sequence[Entry] = ()
    read: Callable[[], np.ndarray[Any, Any]] | None = None

    @property
    def nbytes(self) -> int:
        size = self.dtype.itemsize
        for n in self.shape:
            size *= n
        return size


@dataclass(frozen=True, slots=True)
class Dissection:
    """What a file is made of.

    Attributes
    ----------
    frames
        Its images, in order.
    pieces
        The runs of bytes that encode them, by offset; they do not overlap.
    header
        What the file says of all its frames.
    """

    frames: Sequence[Frame]
    pieces: Sequence[Piece] = ()
    header: Sequence[Entry] = field(default_factory=tuple)


class Content:
    """The bytes of a file that is in memory.

    Parameters
    ----------
    name
        The file, for messages.
    held
        All of its bytes.
    """

    def __init__(self, name: str, held: memoryview) -> None:
        self.name, self.size, self._held = name, len(held), held
        self.vouched: set[Piece] = set()  # whose own digest was found right already

    def view(self, offset: int, size: int) -> memoryview:
        """Return bytes, fewer at the end of the file. They may be seen only as long as the content is open."""
        return self._held[offset : offset + size]

    def close(self) -> None:
        """Let go of the file."""


class FileContent(Content):
    """The bytes of a file that is read where it is looked at; a context manager.

    Raises
    ------
    InputError
        When it cannot be opened.
    """

    AHEAD = 16 << 10

    def __init__(self, path: Path | str) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        super().__init__(str(path), memoryview(b""))
        self.size = os.fstat(self._file).st_size
        self._start = 0

    def view(self, offset: int, size: int) -> memoryview:
        size = max(0, min(size, self.size - offset))
        if not self._start <= offset <= offset + size <= self._start + len(self._held):
            self._start = offset
            self._held = memoryview(self._read(offset, max(size, min(self.AHEAD, self.size - offset))))
        return self._held[offset - self._start : offset - self._start + size]

    def _read(self, offset: int, size: int) -> bytes:
        raw = self._read_some(offset, size)
        while 0 < len(raw) < size and (more := self._read_some(offset + len(raw), size - len(raw))):
            raw += more  # no system reads more than 2 GiB at once
        return raw

    def _read_some(self, offset: int, size: int) -> bytes:
        try:
            if hasattr(os, "pread"):
                return os.pread(self._file, size, offset)
            os.lseek(self._file, offset, os.SEEK_SET)
            return os.read(self._file, size)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}") from None

    def expect(self, size: int, mtime: int) -> None:
        """Make sure that the file is still as it was when it was looked at, with its size and time (ns).

        Raises
        ------
        InputError
            When it was changed.
        """
        status = os.fstat(self._file)
        if (status.st_size, status.st_mtime_ns) != (size, mtime):
            raise InputError(f"{self.name} was changed while it was being packed", "pack it again")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def pixels(content: Content, found: Dissection, number: int) -> np.ndarray[Any, Any]:
    """Read a frame.

    Parameters
    ----------
    content
        The file's bytes.
    found
        What it is made of.
    number
        Which frame.

    Returns
    -------
    numpy.ndarray
        Of the frame's shape and dtype, C-contiguous; it may be a view of the content's bytes.

    Raises
    ------
    InputError
        When its bytes are damaged or missing.
    """
    frame = found.frames[number]
    if frame.read is not None:
        values = np.ascontiguousarray(frame.read())
        if values.shape != frame.shape or values.dtype != frame.dtype:
            raise InputError(f"{content.name}: frame {number} is not what its header says")
        return values
    mine = [piece for piece in found.pieces if piece.frame == number]
    if len(mine) == 1 and mine[0].box is None and mine[0].encoder == RAW:
        return np.frombuffer(checked(content, mine[0]), frame.dtype).reshape(frame.shape)
    whole = len(mine) == 1 and mine[0].box is None
    out = np.empty(0) if whole else np.zeros(frame.shape, frame.dtype)
    for piece in mine:
        raw = checked(content, piece)
        box = tuple(slice(a, b) for a, b in piece.box or [(0, n) for n in frame.shape])
        shape = tuple(s.stop - s.start for s in box)
        try:
            values = encoder(piece.encoder).decode(raw, shape, frame.dtype, piece.parameters)
        except ValueError as error:
            raise InputError(f"{content.name}: frame {number} is damaged: {error}") from None
        if whole:
            return values
        out[box] = values
    return out


def checked(content: Content, piece: Piece) -> memoryview:
    """Return a piece's bytes.

    Raises
    ------
    InputError
        When some are missing, or they are not those that the file's own digest is of.
    """
    raw = content.view(piece.offset, piece.size)
    if len(raw) != piece.size:
        raise InputError(
            f"{content.name} is truncated: frame {piece.frame} should end at byte {piece.offset + piece.size:,}, the "
            f"file has {content.size:,}"
        )
    if piece.md5 and piece not in content.vouched:
        from nxconvert.digests import md5  # loads OpenSSL

        if md5([raw]) != [piece.md5]:
            raise InputError(
                f"{content.name}: frame {piece.frame} is damaged: its bytes do not have the MD5 that is stated"
            )
    return raw
