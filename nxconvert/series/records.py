"""What files of images become: records of frames, each frame in a row, and what each file says of its own."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import translate
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.dissection import STORED, Dissection, Entry, Piece
from nxconvert.headers import Keys, unfolded
from nxconvert.series.files import File

MAIN_ROLE = "projection"
"""The role of files that no pattern gives another."""

LISTED = 100_000
"""How many indices that are missing are listed one by one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file of a series.

    Attributes
    ----------
    file
        Its name.
    what
        What is wrong with it.
    unreadable
        Whether not even its bytes can be had, so that it cannot be kept.
    """

    file: str
    what: str
    unreadable: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass
class FrameRecord:
    """The frames of one series, role, shape and dtype.

    Attributes
    ----------
    series
        The names of its files, with ``{index}`` for the number.
    role
        ``projection``, ``dark``, ``flat``...
    shape, dtype
        Of one frame, as stored.
    entry
        The name of its NXentry, where a mapping puts it into one of its own.
    key, path
        The key of the record, and where its frames lie in the packed file: a mapping says so.
    files, frames, numbers
        For each row: the file, the frame's number in the file, and the index that the file's name says (-1: none).
    damaged
        Rows whose frame could not be read.
    keys
        What is known of the headers.
    moves
        How the chunks of all frames can be moved as they are; None when not.
    """

    series: str
    role: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    entry: str = ""
    key: dict[str, str] = field(default_factory=dict)
    path: str = ""
    files: array[int] = field(default_factory=lambda: array("q"))
    frames: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    damaged: set[int] = field(default_factory=set)
    keys: Keys = field(default_factory=Keys)
    moves: Moves | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def nbytes(self) -> int:
        """Bytes of one frame."""
        size = self.dtype.itemsize
        for n in self.shape:
            size *= n
        return size

    def add(self, file: int, frame: int, number: int) -> int:
        """Add a row; return its number."""
        self.files.append(file)
        self.frames.append(frame)
        self.numbers.append(number)
        return len(self.files) - 1

    def missing(self) -> list[int]:
        """Return the indices that the names of the files leave out, the first ``LISTED`` of them."""
        return list(islice((n for a, b in self._gaps() for n in range(a + 1, b)), LISTED))

    def missing_count(self) -> int:
        """Return how many indices the names of the files leave out; very many where they are times."""
        return sum(b - a - 1 for a, b in self._gaps())

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the indices before and after each gap; darks and flats are taken now and then and have none."""
        if self.role == MAIN_ROLE:
            yield from ((a, b) for a, b in pairwise(sorted(set(self.numbers) - {-1})) if b > a + 1)


@dataclass
class Catalogue:
    """What is to be packed.

    Attributes
    ----------
    files
        All files, in natural order.
    records
        The records of their frames.
    rows
        For each frame of all files, file after file: its record and row; record -1 is none.
    starts
        For each file the position of its first frame in ``rows``, and one more at the end.
    problems
        What is wrong.
    """

    files: list[File]
    records: list[FrameRecord] = field(default_factory=list)
    record_of: array[int] = field(default_factory=lambda: array("i"))
    row_of: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    problems: list[Problem] = field(default_factory=list)

    def rows(self, file: int) -> list[tuple[int, int]]:
        """Return record and row of each frame of a file."""
        span = range(self.starts[file], self.starts[file + 1])
        return [(self.record_of[i], self.row_of[i]) for i in span]


@dataclass(frozen=True)
class Layout:
    """How names and headers are understood; a mapping states it.

    Attributes
    ----------
    roles
        Patterns of names by role; the first that matches counts. A pattern with a slash is matched against the path.
    pairs
        See ``headers.unfolded``.
    """

    roles: Mapping[str, Sequence[str]]
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @cached_property
    def _patterns(self) -> list[tuple[str, bool, re.Pattern[str]]]:
        """Role, whether the whole path is looked at, and pattern; a path has a slash in front."""
        return [
            (role, "/" in pattern, re.compile(translate(f"*/{pattern}" if "/" in pattern else pattern)))
            for role, patterns in self.roles.items()
            for pattern in patterns
        ]

    def role(self, name: str) -> str:
        """Return the role of a file."""
        path, base = f"/{name}", name.rpartition("/")[2]
        for role, whole, pattern in self._patterns:
            if pattern.match(path if whole else base):
                return role
        return MAIN_ROLE


@dataclass(frozen=True, slots=True)
class Moves:
    """How the pieces of frames can be moved, as they are: the shape of the chunks that they are, and their filters."""

    chunk: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...]


DEFLATE = ((1, (6,)),)
"""The filter that strips of deflate without a predictor are made by."""


def filters_of(piece: Piece) -> tuple[tuple[int, tuple[int, ...]], ...] | None:
    """Return the filters of HDF5 that a piece is made by, or None."""
    if piece.encoder == "deflate" and piece.parameters[:1] == (1,):
        return DEFLATE
    if piece.encoder == STORED:
        return tuple((int(code), tuple(values)) for code, values in json.loads(str(piece.parameters[0])))
    return None


def moves_of(found: Dissection, frame: int) -> Moves | None:
    """Return how all pieces of a frame can be moved; None when they cannot."""
    shape = found.frames[frame].shape
    moves: Moves | None = None
    for piece in found.pieces:
        if piece.frame != frame:
            continue
        filters = filters_of(piece)
        box = piece.box or tuple((0, n) for n in shape)
        moves = moves or (None if filters is None else Moves(tuple(b - a for a, b in box), filters))
        if moves is None or filters != moves.filters:
            return None
        if any(a % n or b != min(a + n, m) for (a, b), n, m in zip(box, moves.chunk, shape, strict=True)):
            return None
    return moves


def entries(found: Dissection, frame: int, layout: Layout) -> list[Entry]:
    """Return what a file says of one of its frames."""
    both = [*found.header, *found.frames[frame].header] if found.header else found.frames[frame].header
    if layout.pairs and any(entry.key in layout.pairs for entry in both):
        return list(unfolded(both, layout.pairs))
    return list(both)
