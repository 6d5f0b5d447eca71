"""Joining: the columns of a scan, from a file of its own, beside the rows of a record, such as frames."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.array import Array, Values, decode, is_text
from nxconvert.conversion.plan import Plan
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.location import Location, safe_name
from nxconvert.mapping.model import FILES, LABEL, SourceFile
from nxconvert.policy import Policy
from nxconvert.record import Field, Record

ON = ("row", "index", "file")

FRAMES = "frames"

PREFIX = "scan/"
"""What the names of joined fields begin with."""


@dataclass(frozen=True)
class Rows:
    """The rows that columns are put beside.

    Attributes
    ----------
    count
        How many.
    numbers, names
        Give for each row its index and the name of its file.
    column
        Gives the values of a column.
    what
        What they are called.
    record
        What the record is called, for messages.
    """

    count: int
    numbers: Callable[[], Sequence[int]]
    names: Callable[[], Sequence[str]]
    column: Callable[[str], Sequence[Any]]
    what: str = FRAMES
    record: str = ""

    @property
    def of(self) -> str:
        """Whose they are, where that is to be said."""
        return f" of {self.record}" if self.record else ""

    @classmethod
    def of_record(cls, record: Record) -> Rows:
        """Return the rows of any record: what says which is which are its columns for frames."""

        def column(name: str) -> Sequence[Any]:
            f = record.fields.get(name)
            if f is None or not f.per_row or f.item_shape:
                raise InputError(
                    f"{record.source} has no column {name}",
                    "on: row joins row by row, column: NAME by a column that both have",
                )
            return _values(f, record.rows or 0)

        return cls(record.rows or 0, lambda: column(LABEL), lambda: column(FILES), column, "rows", record.source)


@dataclass(frozen=True)
class Join:
    """What is joined and how.

    Attributes
    ----------
    place
        ``FILE`` or ``FILE::SCAN``; a file of one scan needs no name.
    on
        ``row``: the nth row is of the nth frame. ``index``: the first column whose values are whole numbers holds the
        index of the frame. ``file``: some column of text holds the names of the files.
    column
        A column that both have, or an empty string.
    stated
        Whether a mapping says so, and not the options ``--join`` and ``--on``; for messages.
    """

    place: str
    on: str = "row"
    column: str = ""
    stated: bool = False

    def tip(self, key: str, *values: str) -> str:
        """Return what one writes to say otherwise."""
        option = {"scan": "--join", "on": "--on"}[key]
        return " or ".join(f"{key}: {v}" if self.stated else f"{option} {v}" for v in values)


def joined(join: Join, rows: Rows, report: Report, record: Record | None = None) -> list[Field]:
    """Return the columns of a scan, one value for each row, and its header values.

    Parameters
    ----------
    join
        The scan, and how its rows and those of the record belong together.
    rows
        The latter.
    report
        Told which of them have no row.
    record
        The scan, when it has been read already.

    Raises
    ------
    InputError
        When there is no such scan, or its rows and the others cannot be told to belong together.
    """
    record = record or scan_of(join, Policy(), report)
    found = _rows(record, join, rows)
    gone = [row < 0 for row in found]
    if gone and all(gone):
        way = f"column: {join.column}" if join.column else join.tip("on", join.on)
        raise InputError(
            f"{record.source}: none of its rows belongs to the {rows.what}{rows.of}", f"{way} may be the wrong way"
        )
    if any(gone):
        report.notice(
            f"{record.source}: {sum(gone)} of {len(found)} {rows.what}{rows.of} have no row; their values are missing"
        )
    fields = []
    for f in record.fields.values():
        name = PREFIX + f.name
        if not f.per_row:
            fields.append(replace(f, name=name, role=None))
        else:
            fields.append(_column(f, name, found))
    return fields


class Sources:
    """The files that a mapping names as sources of the records of a file.

    Parameters
    ----------
    sources
        What the mapping says.
    folder
        Where the data is; None where nothing says so, as for standard input.
    policy
        How they may be read.
    report
        Told which are not there.
    own
        The file of the records, which is no source of its own.
    """

    def __init__(
        self,
        sources: Sequence[SourceFile],
        folder: Path | None,
        policy: Policy,
        report: Report,
        own: Path | None = None,
    ) -> None:
        self.sources, self.folder, self.policy, self.report, self.own = sources, folder, policy, report, own
        self._last: tuple[str, Record] | None = None

    def fields(self, rows: Rows, bound: Mapping[str, str], *, known: bool = False) -> Iterator[Field]:
        """Yield what they put beside the rows of a record.

        Parameters
        ----------
        rows
            The rows.
        bound
            The captures that may be in the names of files and scans.
        known
            Whether the record has such fields already, so that nothing is amiss when a source is not there.

        Raises
        ------
        InputError
            When several files match, one leads out of the folder, or it cannot be joined.
        """
        for source in self.sources:
            pattern = _filled(source.file, {k: glob.escape(safe_name(v)) for k, v in bound.items()})
            file = self._found(pattern, rows.what, known)
            if file is None:
                continue
            scan = _filled(source.scan, bound)
            join = Join(f"{file}::{scan}" if scan else str(file), source.on, source.column, stated=True)
            if self._last is None or self._last[0] != join.place:
                self._last = join.place, scan_of(join, self.policy, self.report)
            yield from joined(join, rows, self.report, self._last[1])

    def _found(self, pattern: str, what: str, known: bool) -> Path | None:
        if self.folder is None:
            if not known:
                self.report.notice(
                    f"nothing says where {pattern} is, whose columns the mapping wants beside the {what}"
                )
            return None
        there = sorted(p for p in self.folder.glob(pattern) if p.is_file() and not self._is_own(p))
        if not there:
            if not known:
                self.report.notice(f"{self.folder} has no {pattern}, whose columns the mapping wants beside the {what}")
            return None
        if len(there) > 1:
            raise InputError(
                f"{self.folder}: {len(there)} files match {pattern}", "let file: of the mapping's sources say which"
            )
        if not there[0].resolve().is_relative_to(self.folder.resolve()):
            tip = "copy it there, or name it with --join" if what == FRAMES else "copy it there"
            raise InputError(f"{there[0]} leads out of the folder of the data", tip)
        return there[0]

    def _is_own(self, path: Path) -> bool:
        return self.own is not None and path.samefile(self.own)


def _filled(text: str, bound: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: bound.get(found[1], found[0]), text)


def scan_of(join: Join, policy: Policy, report: Report) -> Record:
    """Read a scan that is to be joined.

    Raises
    ------
    InputError
        When there is no such scan, or there are several.
    """
    from nxconvert.conversion.inputs import open_records

    file, _, scan = join.place.partition("::")
    with open_records(Location(file), Plan(policy=policy), report) as records:
        names = ["_".join(key.values()) for key in records.keys()]  # noqa: SIM118 - no mapping
        keys = zip(names, records.keys(), strict=True)
        found = [n for n, (name, key) in enumerate(keys) if not scan or scan.strip("/") in (name, *key.values())]
        for record in records.some(found) if len(found) == 1 else ():  # what others warn of does not matter here
            return _held(record, report)
        known = ", ".join([names[n] for n in found] or names) or "one without a name"
        what = f"has no scan {scan}" if scan and not found else f"has {len(found)} scans"
        way = "scan: of the mapping's sources" if join.stated else f"--join {file}::SCAN"
        raise InputError(f"{file} {what}", f"{way} says which; there are {known}")


def _held(record: Record, report: Report) -> Record:
    """Read what can be joined of a record into memory, since its file is closed."""
    held: list[Field] = []
    for f in record.fields.values():
        if f.per_row and f.item_shape:
            report.lose(f.name, f.source, "only columns of single values are joined")
            continue
        values: Array = Values(f.values.read(), f.dtype)
        mask = None if f.mask is None else Values(f.mask.read())
        held.append(replace(f, values=values, mask=mask))
    return record.with_fields(held)


def _rows(record: Record, join: Join, rows: Rows) -> list[int]:
    """Return the row of the scan for each row, -1 for none."""
    length = record.rows or 0
    if join.column:
        return _by_column(record, join.column, rows)
    if join.on == "row":
        if length != rows.count:
            raise InputError(
                f"{record.source} has {length} rows, and there are {rows.count} {rows.what}{rows.of}",
                f"{join.tip('on', 'index', 'file')} say which belong together",
            )
        return list(range(length))
    return _by_index(record, rows) if join.on == "index" else _by_file(record, rows)


def _by_index(record: Record, rows: Rows) -> list[int]:
    """Return the row of the scan for each row by the first column of whole numbers that has their indices."""
    numbers = rows.numbers()
    for f in record.columns:
        values = f.values.read()
        if f.dtype.kind in "iuf" and len(values) and (values == np.floor(values)).all():
            where = {int(v): i for i, v in enumerate(values)}
            if len(where) == len(values) and any(n in where for n in numbers):
                return [where.get(n, -1) for n in numbers]
    raise InputError(f"{record.source} has no column of the {rows.what}' indices")


def _by_file(record: Record, rows: Rows) -> list[int]:
    """Return the row of the scan for each row by the first column that has the names of their files."""
    names = rows.names()
    for f in record.columns:
        if is_text(f.dtype):
            stems = {_stem(t): i for i, t in enumerate(decode(f.values.read()).tolist())}
            if any(_stem(n) in stems for n in names):
                return [stems.get(_stem(n), -1) for n in names]
    raise InputError(f"{record.source} has no column of the files' names")


def _by_column(record: Record, name: str, rows: Rows) -> list[int]:
    """Return the row of the scan for each row by a column that both have."""
    f = record.fields.get(name)
    if f is None or not f.per_row:
        known = ", ".join(c.name for c in record.columns[:6])
        raise InputError(f"{record.source} has no column {name}", f"column: of the mapping says so; there are {known}")
    where: dict[Any, int] = {}
    for i, value in enumerate(_values(f, record.rows or 0)):
        if value is not None and where.setdefault(value, i) != i:
            raise InputError(f"{record.source}: two rows have {value!r} in the column {name}", "join on another one")
    return [-1 if value is None else where.get(value, -1) for value in rows.column(name)]


def _values(f: Field, rows: int) -> list[Any]:
    """Return the values of a column, None where one is missing."""
    values = f.values.read()
    found: list[Any] = (decode(values) if is_text(f.dtype) else values).tolist()
    if f.mask is not None:
        found = [None if gone else value for value, gone in zip(found, f.mask.read().tolist(), strict=True)]
    return found + [None] * (rows - len(found))


def _stem(name: str) -> str:
    """Return a file's name without folder and extension."""
    base = re.split(r"[/\\]", str(name).strip())[-1]
    return re.sub(r"\.[A-Za-z]\w*$", "", base)


def _column(f: Field, name: str, rows: Sequence[int]) -> Field:
    values = f.values.read()
    index = np.array(rows)
    there = (index >= 0) & (index < len(values))
    chosen = values[np.where(there, index, 0)] if len(values) else np.zeros(len(rows), values.dtype)
    out = np.empty(len(rows), f.dtype)
    out[...] = chosen
    gone = ~there
    if f.mask is not None:
        gone = gone | f.mask.read()[np.where(there, index, 0)]
    mask = Values(gone) if gone.any() else None
    return Field(name, Values(out, f.dtype), True, attrs=f.attrs, mask=mask, source=f.source)
