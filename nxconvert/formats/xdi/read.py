"""Reading XDI files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo, native, numerals
from nxconvert.array import TEXT, Values, named_type
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.format import Records, Report
from nxconvert.formats.xdi import rules
from nxconvert.record import Field, Record, Role

FLOAT = np.dtype(np.float64)
OUTER = "Outer.value"
_VERSION = re.compile(r"#[ \t]*XDI/(\S+)[ \t]*(.*)", re.IGNORECASE)
_MEMO = re.compile(r"memo_(\d{1,4})_(\d{1,4})")


@dataclass
class Header:
    """What stands before the data.

    Attributes
    ----------
    version, applications
        Of the first line: the version of XDI, and the programs that wrote the file.
    fields
        Values by canonical name; of several equal ones the last.
    comments
        The user's, joined.
    labels
        The words of the line of labels.
    strays
        Lines that are none of these, each with its number.
    """

    version: str = ""
    applications: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    comments: str = ""
    labels: list[str] = field(default_factory=list)
    memo: dict[int, str] = field(default_factory=dict)
    memo_pieces: int = 0
    strays: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    ended: bool = False

    def header_fields(self, source: str) -> dict[str, Field]:
        """Return the fields that the header stands for."""
        found = {n: v for n, v in self.fields.items() if not n.startswith("Column.")}
        if self.comments:
            found["comment"] = self.comments
        values = {n: rules.value(n, v) for n, v in found.items()}
        return {n: Field(n, Values(v, TEXT if v is found[n] else None), source=source) for n, v in values.items()}


def header_of(lines: Iterable[str]) -> Header:
    """Read the lines of a header, the first line of the file first.

    Raises
    ------
    InputError
        When the first line is not the version's.
    """
    out = Header()
    comments: list[str] = []
    inside = "version"
    for number, line in enumerate(lines, 1):
        text = line.strip()
        body = text[1:].strip()
        if inside == "version":
            out.version, out.applications = _versions(text)
            inside = "fields"
        elif not text.startswith("#"):
            out.strays += [f"line {number} {text[:40]!r}"] if text else []
        elif inside == "labels":
            out.labels = body.split() or out.labels
        elif re.fullmatch(r"-{3,}", body):
            inside, out.ended = "labels", True
        elif inside == "comments":
            kept = line.rstrip()
            comments.append(kept[2:] if kept.startswith("# ") else kept[1:])
        elif re.fullmatch(r"/{3,}", body):
            inside = "comments"
        elif body:
            _take(out, body, number)
    if not out.ended and comments and comments[-1].split() == _column_labels(out):
        out.labels = comments.pop().split()
    out.comments = "\n".join(comments)
    return out


def _versions(line: str) -> tuple[str, str]:
    found = _VERSION.fullmatch(line)
    if not found:
        raise InputError("the first line is not '# XDI/1.0'", "name the format with --from")
    return found[1], found[2].strip()


def _take(out: Header, body: str, number: int) -> None:
    found = rules.FIELD.fullmatch(body)
    if not found:
        out.strays.append(f"line {number} {body[:40]!r}")
        return
    family, key, value = found[1], found[2], found[3].strip()
    if family == "nxconvert" and (piece := _MEMO.fullmatch(key)):
        out.memo[int(piece[1])] = value
        out.memo_pieces = int(piece[2])
        return
    name = rules.canonical(family, key)
    same = next((n for n in out.fields if n.casefold() == name.casefold()), None)
    if same is not None:
        out.repeated.append(name)
        del out.fields[same]
    out.fields[name] = value


def _column_labels(header: Header) -> list[str]:
    found = {int(n[7:]): v for n, v in header.fields.items() if n.startswith("Column.") and n[7:].isdecimal()}
    return [found[n].split()[0] for n in sorted(found) if found[n].split()]


class XdiRecords(Records):
    """The one record of an XDI file."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report

    def __iter__(self) -> Iterator[Record]:
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        if not raw:
            raise InputError(f"{self.path} is empty")
        try:
            yield _Reader(self.path, self.report, raw).record()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise InputError(
                f"{self.path}: the field nxconvert.memo is damaged: {type(error).__name__} {error}",
                "delete it to read plain values",
            ) from None


class _Reader:
    """Makes the record of a file's bytes."""

    def __init__(self, path: Path, report: Report, raw: bytes) -> None:
        self.path, self.report = path, report
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.lines = raw.split(b"\n")
        self.first = next((i for i, line in enumerate(self.lines) if _is_data(line)), len(self.lines))
        try:
            self.header = header_of(map(numerals.decoded, self.lines[: self.first]))
        except InputError as error:
            raise InputError(f"{path}: {error}", error.tip) from None
        self.known = self._memo()
        if self.known and not raw.endswith(b"\n"):
            raise InputError(f"{path} is cut: its last line is not complete", "get the whole file")

    def _memo(self) -> dict[str, Any]:
        pieces = self.header.memo
        if not pieces:
            return {}
        if sorted(pieces) != list(range(1, self.header.memo_pieces + 1)):
            raise InputError(
                f"{self.path}: lines of the field nxconvert.memo are missing", "delete the others to read plain values"
            )
        try:
            return memo.loads("".join(pieces[n] for n in sorted(pieces))) or {}
        except InputError as error:
            raise InputError(f"{self.path}: {error}", error.tip) from None

    def record(self) -> Record:
        """Make the record, and tell what XDI would have otherwise."""
        rows, outer = self._rows()
        width = len(rows[0]) if rows else len(self.header.labels or _column_labels(self.header))
        if not rows and not self.known:
            raise InputError(f"{self.path} has no data", "an XDI file has columns of numbers after its header")
        labels, about = self._columns(width)
        fields = self._fields(rows, labels, about)
        header = self._header_fields()
        if outer:
            fields.append(self._outer(outer, len(rows), {f.name for f in [*fields, *header]}))
        if self.known:
            order = {n: i for i, n in enumerate(self.known.get("columns", {}))}
            fields.sort(key=lambda f: order.get(f.name, len(order)))
            self._tell_of_rows(len(rows))
        self._tell(labels, about)
        return Record(
            self.known.get("key", {}),
            {f.name: f for f in [*fields, *header]},
            source=str(self.path),
            mapping=str(self.known.get("mapping", "")),
            grid=self.known.get("grid"),
        )

    # Data

    def _rows(self) -> tuple[list[list[bytes]], dict[int, str]]:
        """Return the cells of each row, and the values of ``Outer.value`` by the row from which they hold.

        Raises
        ------
        InputError
            When rows differ in how many numbers they have.
        """
        rows: list[list[bytes]] = []
        outer: dict[int, str] = {}
        width = 0
        for number, line in enumerate(self.lines[self.first :], self.first + 1):
            text = line.strip()
            if text.startswith(b"#"):
                found = rules.FIELD.fullmatch(numerals.decoded(text[1:].strip()))
                if found and rules.canonical(found[1], found[2]) == OUTER:
                    outer[len(rows)] = found[3].strip()
                else:
                    why = "a comment between rows"
                    self.report.lose(f"line {number} {numerals.decoded(text[:40])!r}", str(self.path), why)
            elif cells := text.split():
                width = width or len(cells)
                if len(cells) != width:
                    raise InputError(
                        f"{self.path}: line {number} has {len(cells)} numbers, the lines before it {width}",
                        "each line of data must have one for each column",
                    )
                rows.append(cells)
        return rows, outer

    def _columns(self, width: int) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the label of each column, and what ``Column.N`` says besides."""
        said = {n: v for n, v in self.header.fields.items() if re.fullmatch(r"Column\.\d{1,6}", n)}
        words = self.header.labels if len(self.header.labels) == width else []
        if self.header.labels and not words:
            self._notice(f"the line of labels has {len(self.header.labels)} words, the data {width} columns")
        labels, about = [], []
        for i in range(width):
            label, _, rest = said.get(f"Column.{i + 1}", "").partition(" ")
            units, bar, note = (p.strip() for p in rest.partition("||"))
            attrs = {"units": units} if units else {}
            about.append({"attrs": {**attrs, "description": note} if bar and note else attrs})
            labels.append(label or (words[i] if words else f"col{i + 1}"))
        if words and words != labels:
            self._notice(f"labels {' '.join(words)} are not those of Column.N, which are taken: {' '.join(labels)}")
        wrong = sorted(n for n in said if not 1 <= int(n[7:]) <= width)
        if wrong:
            self._notice(f"{', '.join(wrong)} is no column: there are {width}")
            for name in wrong:
                self.report.lose(name, str(self.path), "there is no such column")
        lacking = [f"Column.{i + 1}" for i in range(width) if f"Column.{i + 1}" not in said]
        if lacking and said:
            self._notice(f"{', '.join(lacking)} is missing")
        return labels, about

    def _fields(
        self, rows: Sequence[Sequence[bytes]], labels: Sequence[str], about: Sequence[Mapping[str, Any]]
    ) -> list[Field]:
        known = self.known.get("columns", {})
        by_label = dict(zip(distinct(map(word, known)), known, strict=True))
        names = distinct(by_label.get(label, label) for label in labels)
        if self.known and not rows and len(names) != len(known):
            raise InputError(f"{self.path} is cut: it has no rows", "get the whole file")
        out = []
        x = names[0] if names and names[0].casefold() in rules.ABSCISSAE else ""
        absorption = [n for n in names if n.casefold() in rules.SIGNALS]
        for i, name in enumerate(names):
            more = known.get(name)
            dtype = named_type(more["dtype"]) if more else FLOAT
            source = f"{self.path}::{name}"
            cells = [row[i] for row in rows]
            if any(not numerals.is_number(c) or not np.isfinite(float(c)) for c in cells):
                self._refuse(cells, name)
            values = numerals.column(cells, [True] * len(cells), dtype, source, 0)
            role = Role.AXIS if name == x else Role.SIGNAL if absorption == [name] else None
            axes = (x,) if x and (len(absorption) == 1 or name == x) else ()
            stated = {"role": role, "axes": axes}
            told = memo.about(more) if more else {**about[i], **stated}
            out.append(Field(name, Values(values, dtype), True, source=source, **told))
        return out

    def _refuse(self, cells: Sequence[bytes], name: str) -> None:
        numbers = [n for n, line in enumerate(self.lines[self.first :], self.first + 1) if _has_cells(line)]
        for i, cell in enumerate(cells):
            if not numerals.is_number(cell) or not np.isfinite(float(cell)):
                text = numerals.decoded(cell[:40])
                raise InputError(
                    f"{self.path}: line {numbers[i]}: {text!r} in the column {name} is no finite number",
                    "XDI has only such: mend it, or take the line out",
                )

    def _outer(self, outer: Mapping[int, str], rows: int, taken: set[str]) -> Field:
        """Give each row the value of the outer scan that was stated last before it."""
        values = np.empty(rows)
        now = self.header.fields.get(OUTER, "")
        starts = {0: now, **outer}
        for row in range(rows):
            now = starts.get(row, now)
            if not numerals.is_number(now.encode()):
                raise InputError(
                    f"{self.path}: {OUTER} {now!r} is no number", "each must be one, the first in the header"
                )
            values[row] = float(now)
        wanted = word(self.header.fields.get("Outer.name", "outer"))
        name = next(n for n in (wanted, *(f"{wanted}_{i}" for i in range(2, 9999))) if n not in taken)
        return Field(name, Values(values), True, source=f"{self.path}::{name}")

    # The header

    def _header_fields(self) -> list[Field]:
        own = self.header.header_fields(str(self.path))
        if not self.known:
            first = {"XDI.version": self.header.version, "XDI.applications": self.header.applications}
            out = [Field(n, Values(v, TEXT), source=str(self.path)) for n, v in first.items() if v and n not in own]
            return [*own.values(), *out]
        said = self.known.get("header", {})
        whole = native.put_back(said, own, lambda name: self._notice(f"the line of {name} is gone"))
        taken = {*said, *self.known.get("columns", {})}
        return memo.header_fields({"header": whole}, str(self.path)) + [f for n, f in own.items() if n not in taken]

    # What XDI would have otherwise

    def _notice(self, message: str) -> None:
        self.report.notice(f"{self.path}: {message}")

    def _tell_of_rows(self, rows: int) -> None:
        written = self.known.get("rows", rows)
        if written != rows:
            self._notice(f"{written:,} rows were written, the file has {rows:,}")

    def _tell(self, labels: Sequence[str], about: Sequence[Mapping[str, Any]]) -> None:
        header = self.header
        if not header.ended:
            self._notice("no line '# ---' ends the header")
        if header.strays:
            self._notice(f"not of the form '# Family.key: value', and left out: {'; '.join(header.strays[:5])}")
            for stray in header.strays:
                self.report.lose(stray, str(self.path), "not of the form '# Family.key: value'")
        if header.repeated:
            self._notice(f"given more than once, the last is taken: {', '.join(dict.fromkeys(header.repeated))}")
        empty = [n for n, v in header.fields.items() if not v]
        if empty and not self.known:
            self._notice(f"{', '.join(empty)} has no value")
        wrong = [*rules.required(header.fields), *rules.formats(header.fields)]
        if labels:
            wrong += rules.abscissa(labels[0], about[0]["attrs"].get("units", ""))
        if wrong:
            self._notice(f"not valid XDI: {'; '.join(wrong)}")
        lacking = rules.recommended(header.fields)
        if lacking and not self.known:
            self._notice(f"recommended by XDI, and missing: {', '.join(lacking)}")


def word(name: str) -> str:
    """Make a name fit to be a label: without spaces, and not empty."""
    return "_".join(name.split()) or "_"


def distinct(names: Iterable[str]) -> list[str]:
    """Tell equal names apart: the second ``i0`` becomes ``i0_2``."""
    wanted = list(names)
    out: list[str] = []
    for name in wanted:
        other, n = name, 1
        while other in out or (n > 1 and other in wanted):
            n += 1
            other = f"{name}_{n}"
        out.append(other)
    return out


def _is_data(line: bytes) -> bool:
    """Tell whether a line is the first of the data: it begins with a number."""
    cells = line.split()
    return bool(cells) and numerals.is_number(cells[0])


def _has_cells(line: bytes) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(b"#")
