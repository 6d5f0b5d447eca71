"""Looking at all names and headers, file by file: which frame goes where, and what is wrong."""

from __future__ import annotations

import re
from typing import Any

from nxconvert.compressed import MOST, bare, beginning, inside
from nxconvert.dissection import FileContent
from nxconvert.errors import InputError
from nxconvert.series.files import File
from nxconvert.series.names import grouped
from nxconvert.series.recognise import HEAD, Recogniser
from nxconvert.series.records import MAIN_ROLE, Catalogue, FrameRecord, Layout, Problem, entries, moves_of


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
