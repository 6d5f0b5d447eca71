"""Series: files of images, one or a few frames in each, as records of frames.

The names say which files belong together: those of one folder whose names differ by a number. The last number that
varies is the index; the others tell one series from another. All names, sizes and headers are looked at before any
frame is: nothing is inferred from the first file alone.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import translate
from functools import cached_property
from itertools import islice, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import registry
from nxconvert.compressed import MOST, bare, beginning, inside
from nxconvert.dataclass import dataclass
from nxconvert.dissection import STORED, Dissection, Entry, FileContent, Piece
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Content, Format, Head
from nxconvert.headers import Keys, unfolded
from nxconvert.naming import natural

MAIN_ROLE = "projection"
"""The role of files that no pattern gives another."""

LISTED = 100_000
"""How many indices that are missing are listed one by one."""

HIGHEST = 2**63 - 1
"""The highest number in a name that is an index."""

HEAD = 4096
"""Bytes by which a file's format is recognised."""

_NUMBERS = re.compile(r"(\d+)")
_PRINTF = re.compile(r"%0?(\d*)d")
_BRACES = re.compile(r"\{index(?::0?(\d+)d)?\}")


@dataclass(slots=True)
class File:
    """A file of a series, or one that lies beside it.

    Attributes
    ----------
    path
        Where it is.
    name
        Its path below the folder that is packed, with slashes.
    size, mtime
        Bytes, and nanoseconds since 1970.
    format
        The name of its format when it is read as images, or an empty string.
    frames
        How many frames it has.
    unpacked
        Bytes that it unpacks to, when it is compressed as a whole; else 0.
    """

    path: str
    name: str
    size: int
    mtime: int
    format: str = ""
    frames: int = 0
    unpacked: int = 0


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


def listed(
    places: Sequence[str],
    begin: int | None = None,
    end: int | None = None,
    without: Iterable[Path] = (),
    tell: Callable[[str], None] = lambda what: None,
) -> list[File]:
    """List the files that arguments name, in natural order.

    Parameters
    ----------
    places
        Folders (with all that is below), globs, files, and patterns with ``%04d`` or ``{index:04d}``.
    begin, end
        First and last number of a pattern.
    without
        Files that are not meant: what this very run writes.
    tell
        Told what there is in a folder besides files, which is not kept: links, pipes, empty folders.

    Raises
    ------
    InputError
        When there is nothing, two files have one name, or a folder cannot be read.
    UsageError
        When numbers are given and no pattern is.
    """
    left_out = {p.resolve() for p in without}
    names_left = {p.name for p in left_out}
    found: dict[str, str] = {}
    for place in places:
        for name, path in _found(place, begin, end, tell):
            if os.path.basename(path) in names_left and Path(path).resolve() in left_out:  # noqa: PTH119 - many files
                continue
            if found.setdefault(name, path) != path:
                raise InputError(f"{path} and {found[name]} would both be {name}", "pack their common folder")
    files = []
    for name in sorted(found, key=natural):
        try:
            status = os.stat(found[name])  # noqa: PTH116 - many files
        except OSError as error:
            raise InputError(f"{found[name]} cannot be looked at: {error.strerror}") from None
        files.append(File(found[name], name, status.st_size, status.st_mtime_ns))
    if not files:
        raise InputError(f"{' '.join(places)}: no file is there")
    return files


def _found(place: str, begin: int | None, end: int | None, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each file that an argument names."""
    path = Path(place)
    if path.is_dir():
        if begin is not None or end is not None:
            raise UsageError("--begin and --end need a pattern", "write e.g. 'scan_%04d.edf' or 'scan_{index:04d}.edf'")
        yield from _below(path, tell)
        return
    pattern = _numbered(path)
    if pattern is not None:
        numbers = []
        for found in path.parent.iterdir() if path.parent.is_dir() else ():
            match = pattern.fullmatch(found.name)
            if match is None or not found.is_file():
                continue
            number = int(match[1])
            if (begin is None or number >= begin) and (end is None or number <= end):
                numbers.append(number)
                yield found.name, str(found)
        _tell_ends(place, begin, end, numbers, tell)
    elif path.is_file():
        yield path.name, str(path)
    elif any(c in place for c in "*?["):
        yield from _matching(place)
    else:
        raise InputError(f"there is no file or folder {place}")


def _tell_ends(
    place: str, begin: int | None, end: int | None, numbers: Sequence[int], tell: Callable[[str], None]
) -> None:
    """Tell which numbers that were asked for are not there, before the first one and after the last."""
    if not numbers:
        return
    first, last = (min(numbers) if begin is None else begin), (max(numbers) if end is None else end)
    before, after = range(first, min(numbers)), range(max(numbers) + 1, last + 1)
    if count := len(before) + len(after):
        some = [*before[:8], *after[:8]][:8]
        shown = ", ".join(map(str, some)) + (", ..." if count > len(some) else "")
        tell(f"{place}: {count:,} of the numbers {first} to {last} are not there: {shown}")


def _below(folder: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Yield all files below a folder, with their paths in it; links to folders are not followed."""
    other: dict[str, list[str]] = {}
    left = [(str(folder), "")]
    while left:
        path, below = left.pop()
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as error:
            raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from None
        if not entries and below:
            other.setdefault("empty folders are not kept", []).append(below.rstrip("/"))
        for entry in entries:
            name, kind = below + entry.name, _kind(entry)
            if kind == "link":
                other.setdefault("links are kept as the files that they lead to", []).append(name)
            if kind in ("file", "link"):
                yield name, entry.path
            elif kind == "folder":
                left.append((entry.path, f"{name}/"))
            else:
                other.setdefault(kind, []).append(name)
    for kind, found in other.items():
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        tell(f"{folder}: {kind}: {', '.join(found[:4])}{more}")


def _kind(entry: os.DirEntry[str]) -> str:
    """Return ``file``, ``link`` for one that leads to a file, ``folder``, or what is said of all else."""
    try:
        if not entry.is_symlink():
            known = "folder" if entry.is_dir() else "pipes, sockets or devices are not kept"
            return "file" if entry.is_file() else known
        mode = entry.stat().st_mode
    except OSError:
        return "links that lead nowhere are not kept"
    if stat.S_ISDIR(mode):
        return "links to folders are not followed"
    return "link" if stat.S_ISREG(mode) else "pipes, sockets or devices are not kept"


def _matching(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a glob names, with their paths below what they have in common."""
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - keeps the pattern's own form
    paths = [p for p in paths if p.is_file()]
    common = Path(os.path.commonpath([p.parent for p in paths])) if paths else Path()
    for path in paths:
        yield path.relative_to(common).as_posix(), str(path)


def _numbered(place: Path) -> re.Pattern[str] | None:
    """Return the expression of a pattern of names with one number, or None when it is none."""
    base = place.name
    for sign in (_PRINTF, _BRACES):
        found = sign.search(base)
        if found and not place.exists():
            digits = r"(\d{%s,})" % (found[1] or "1")
            return re.compile(re.escape(base[: found.start()]) + digits + re.escape(base[found.end() :]))
    return None


def catalogued(files: list[File], layout: Layout, on_problem: str = "error", most: int = MOST) -> Catalogue:
    """Look at all names and headers, and say which frame goes where.

    Parameters
    ----------
    files
        In natural order.
    layout
        How names and headers are understood.
    on_problem
        ``fill`` gives a frame that cannot be read a row all the same; ``skip`` and ``error`` do not.
    most
        Bytes that may come out of a compressed file.
    """
    catalogue = Catalogue(files)
    builder = _Builder(catalogue, layout, on_problem, most)
    named = grouped([f.name for f in files])
    for number, file in enumerate(files):
        builder.add(number, file, *named[number])
    builder.finish()
    return catalogue


class _Builder:
    """Builds a catalogue, file by file."""

    def __init__(self, catalogue: Catalogue, layout: Layout, on_problem: str, most: int) -> None:
        self.most = most
        self.catalogue, self.layout, self.fills = catalogue, layout, on_problem == "fill"
        self.records: dict[Any, FrameRecord] = {}
        self.seen: dict[tuple[str, int], str] = {}
        self.series: dict[str, list[FrameRecord]] = {}
        self.unread: list[tuple[int, str, int]] = []
        self.found: list[list[tuple[FrameRecord, int]]] = []
        self.recognise = Recogniser()

    def add(self, number: int, file: File, series: str, index: int) -> None:
        """Look at one file's header."""
        rows: list[tuple[FrameRecord, int]] = []
        self.found.append(rows)
        try:
            content = FileContent(file.path)
        except InputError as error:
            self._problem(number, file, series, index, error.message.removeprefix(file.path).lstrip(": "), True)
            return
        try:
            with content:
                if (start := beginning(content, HEAD)) is not None and self.recognise(start, bare(file.name)) is None:
                    return
                inner = inside(content, self.most)
                format = self.recognise(inner or content, bare(file.name))
                if format is None:
                    return
                assert format.dissect is not None
                found = format.dissect(inner or content)
                file.unpacked = inner.size if inner is not None else 0
                if not found.frames:
                    return
        except InputError as error:
            self._problem(number, file, series, index, error.message.removeprefix(file.path).lstrip(": "))
            return
        if index >= 0 and (first := self.seen.setdefault((series, index), file.name)) != file.name:
            self._problem(number, file, series, index, f"has the same number as {first}")
            return
        file.format, file.frames = format.name, len(found.frames)
        role = self.layout.role(file.name)
        for n, frame in enumerate(found.frames):
            key = (series, role, frame.shape, frame.dtype.str)
            record = self.records.get(key)
            if record is None:
                record = self.records[key] = FrameRecord(series, role, frame.shape, frame.dtype)
                record.moves = moves_of(found, n)
                self.series.setdefault(series, []).append(record)
            if record.moves is not None and record.moves != moves_of(found, n):
                record.moves = None
            rows.append((record, record.add(number, n, index)))
            record.keys.add(entries(found, n, self.layout))

    def _problem(self, number: int, file: File, series: str, index: int, what: str, unreadable: bool = False) -> None:
        self.catalogue.problems.append(Problem(file.name, what, unreadable))
        self.unread.append((number, series, index))

    def finish(self) -> None:
        """Find odd frames, name the entries and number the rows."""
        self._odd()
        kept = [r for r in self.records.values() if len(r)]
        _name_entries(kept)
        numbers = {id(r): i for i, r in enumerate(kept)}
        c = self.catalogue
        c.records = kept
        if self.fills:
            self._fill()
        for rows in self.found:
            for record, row in rows:
                c.record_of.append(numbers.get(id(record), -1))
                c.row_of.append(row)
            c.starts.append(len(c.record_of))

    def _odd(self) -> None:
        """Take out a frame that alone in its series has its shape."""
        for records in self.series.values():
            by_role: dict[str, list[FrameRecord]] = {}
            for record in records:
                by_role.setdefault(record.role, []).append(record)
            for alike in by_role.values():
                alone = [r for r in alike if len(r) == 1 and r.numbers[0] >= 0]
                others = [r for r in alike if len(r) > 1]
                if not others:
                    continue
                for record in alone:
                    number = record.files[0]
                    file = self.catalogue.files[number]
                    if file.frames != 1:
                        continue
                    what = f"its frame is {_shape(record)}, those of the series are {_shape(others[0])}"
                    self.catalogue.problems.append(Problem(file.name, what))
                    self.unread.append((number, record.series, record.numbers[0]))
                    del record.files[:], record.frames[:], record.numbers[:]
                    file.format, file.frames = "", 0
                    self.found[number].clear()

    def _fill(self) -> None:
        """Give rows to the files that cannot be read, where it is clear in which record."""
        for number, series, index in self.unread:
            records = [r for r in self.series.get(series, ()) if len(r)]
            if len(records) != 1:
                continue
            record = records[0]
            at = next((i for i, f in enumerate(record.files) if f > number), len(record))
            for values, value in ((record.files, number), (record.frames, -1), (record.numbers, index)):
                values.insert(at, value)
            record.damaged = {row + (row >= at) for row in record.damaged} | {at}
            for rows in self.found[number + 1 :]:
                rows[:] = [(r, row + (r is record)) for r, row in rows]


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


class _Start(Head):
    """The beginning of a file that is open already; it may be inside of a compressed one."""

    def __init__(self, content: Content, name: str) -> None:
        super().__init__(Path(name), bytes(content.view(0, HEAD)))
        self._content = content

    def at(self, offset: int, n: int) -> bytes:
        return bytes(self._content.view(offset, n))


class Recogniser:
    """Finds the formats of files that are images, by content; a file's extension says where to look first."""

    def __init__(self) -> None:
        self._formats = [f for f in registry.formats().values() if f.dissect is not None]
        self._last: dict[str, Format] = {}

    def __call__(self, content: Content, name: str) -> Format | None:
        """Return the format of a file, or None when it is no image.

        Raises
        ------
        InputError
            When its name says that it is one, but its content does not.
        """
        head = _Start(content, name)
        extension = head.extension
        last = self._last.get(extension)
        if last is not None and last.sniff(head) == 2:
            return last
        levels = [(f.sniff(head), f) for f in self._formats]
        best = max((level for level, _ in levels), default=0)
        claims = [f for level, f in levels if level == best and level]
        named = [f for f in claims if extension in f.extensions] or claims
        if named:
            self._last[extension] = named[0]
            return named[0]
        meant = [f for f in self._formats if extension in f.extensions]
        if meant:
            what = "is empty" if not content.size else f"is no {meant[0].title.split(' (')[0]}"
            raise InputError(f"{what}, as its name says")
        return None


def grouped(names: Sequence[str]) -> list[tuple[str, int]]:
    """Say for each name which series it is of and which index it has there; -1 when it has none.

    Parameters
    ----------
    names
        Paths with slashes.
    """
    out: list[tuple[str, int]] = [(name, -1) for name in names]
    alike: dict[tuple[str, ...], list[int]] = {}
    parts: list[list[str]] = []
    for i, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        words = _NUMBERS.split(base)
        parts.append(words)
        alike.setdefault((folder, *words[::2]), []).append(i)
    for (folder, *texts), members in alike.items():
        slot = _index_slot([parts[i] for i in members], texts)
        if slot is None:
            continue
        for i in members:
            words = [*parts[i]]
            number, words[slot] = int(words[slot]), "{index}"
            number = number if number <= HIGHEST else -1
            out[i] = ("/".join(filter(None, (folder, "".join(words)))), number)
    return out


def _index_slot(members: Sequence[Sequence[str]], texts: Sequence[str]) -> int | None:
    """Return which part of the names is the index: the last number that varies and is no word's beginning (8bit)."""
    for slot in range(len(members[0]) - 2, 0, -2):
        if texts[slot // 2 + 1][:1].isalpha():
            continue
        if len(members) > 1 and len({words[slot] for words in members}) > 1:
            return slot
    return None


def _name_entries(records: list[FrameRecord]) -> None:
    """Name the main record's entry ``entry``, and the others by their roles."""
    if not records:
        return
    main = max(records, key=lambda r: (r.role == MAIN_ROLE, len(r)))
    count: dict[str, int] = {MAIN_ROLE: 1} if main.role == MAIN_ROLE else {}
    for record in records:
        if record is main:
            record.entry = "entry"
            continue
        n = count[record.role] = count.get(record.role, 0) + 1
        role = re.sub(r"\W", "_", record.role)
        record.entry = f"entry_{role}" if n == 1 else f"entry_{role}_{n}"


def _shape(record: FrameRecord) -> str:
    return f"{' x '.join(map(str, record.shape))} {record.dtype.name}"
