"""Reading the tables of foreign text files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert import numerals
from nxconvert.array import TEXT, Values
from nxconvert.errors import InputError, UsageError
from nxconvert.foreign.dialect import ABSENT, NUMBER, NUMBERED, WORD, Dialect, logical, table
from nxconvert.foreign.encoding import TextFile
from nxconvert.foreign.labels import ALONE, apart, distinct, header, names_in
from nxconvert.foreign.parts import Part, SeveralTablesError, parts_of
from nxconvert.foreign.riddles import refuse_riddles
from nxconvert.foreign.roles import guessed, refuse_twins, with_stated_roles
from nxconvert.foreign.types import whole_columns
from nxconvert.record import Field, Record
from nxconvert.textfile import SMALL, Column, Sheet, record

ENOUGH = 100
"""Rows at the beginning of a large file that are enough to tell what it is."""

WINDOW = 3000
"""Lines from which separators and types are told."""

TAIL = 256 << 10
"""Bytes at the end of a large file that are searched for what follows the rows."""


def records(
    text: TextFile, delimiter: str = "", decimal: str = "", comment: str = "", labels: str = "", roles: str = ""
) -> Iterator[Record]:
    """Read the tables of a foreign text file: one, or several where empty lines and headers part them.

    Parameters
    ----------
    text
        The file.
    delimiter, decimal, comment
        As stated, or empty to be detected.
    labels
        The names of the columns, or the number of the line that has them.
    roles
        ``x=NAME,signal=NAME,errors=NAME,auxiliary=NAME``: confirms what the columns are.

    Yields
    ------
    Record
        Of several, each has its number as key.

    Raises
    ------
    InputError
        When there is no table, more than one that cannot be told apart, or lines that are no rows where rows must be.
    """
    stated = (delimiter, decimal, comment)
    try:
        reader = _Reader(text, *stated)
        parts = [] if labels.isdigit() or not reader.may_be_several else parts_of(text, reader.dialect, least=2)
    except SeveralTablesError as error:
        parts = [] if labels.isdigit() else parts_of(text, error.dialect)
        if not _are_tables(text, parts, *stated):
            raise
    if not _are_tables(text, parts, *stated):
        yield reader.record(labels, roles)
        return
    for number, part in enumerate(parts, 1):
        found = _Reader(text, *stated, part).record(labels, roles)
        yield replace(found, key={"scan": str(number)}, source=f"{text.name}::/{number}")


def _are_tables(text: TextFile, parts: Sequence[Part], delimiter: str, decimal: str, comment: str) -> bool:
    """Tell whether all of several parts are tables with labels, or of some rows."""
    for part in parts:
        try:
            reader = _Reader(text, delimiter, decimal, comment, part)
        except InputError:
            return False
        if reader.run.rows < 3 and not reader.is_labelled:
            return False
    return len(parts) > 1


class _Reader:
    """Reads the one table of a foreign file, or of a part of it."""

    def __init__(self, text: TextFile, delimiter: str, decimal: str, comment: str, part: Part | None = None) -> None:
        self.text, self.where = text, text.name
        self.stated = Dialect(delimiter, decimal)  # either may be empty: not stated
        self.part = part or Part(0, text.path.stat().st_size, 1)
        self.size = self.part.stop - self.part.start
        self.whole = self.size <= SMALL
        found = None
        for look in [self.size] if self.whole else [SMALL // 16, SMALL // 4]:
            self._take(look)
            found = table(self.lines[:WINDOW], delimiter, decimal, comment)
            if found is None and len(self.lines) > WINDOW:
                found = table(self.lines, delimiter, decimal, comment)
            if found is not None and found.run.rows > ENOUGH:
                break
        if found is None:
            raise InputError(
                f"{self.where} has no table that can be told from its lines",
                "state --delimiter, or name its format with --from",
            )
        self.dialect = found.dialect
        runs = self.dialect.runs(self.lines) if len(self.lines) > WINDOW else [found.run, *found.others]
        runs = [r for r in runs if r.width > 1 or not self.dialect.separator or delimiter]
        self.run = max(runs, key=lambda r: r.rows * r.columns)
        self.others = sorted((r for r in runs if r is not self.run), key=lambda r: r.first)
        titles = 0 if self._nearest_names(self.run.first) else self.run.titles
        self.titles = [line for line, _ in self.run.leading[:titles]]
        self.first = self.run.leading[titles][0]
        self._check()

    def _take(self, size: int) -> None:
        """Take the lines at the beginning of the file."""
        with self.text.path.open("rb") as file:
            file.seek(self.part.start)
            raw = file.read(size)
        mark = 3 if raw.startswith(codecs.BOM_UTF8) else 0
        self.offset = self.part.start + mark
        end = rb"(?<=\n)" if b"\n" in raw else rb"(?<=\r)"
        parts = [line for line in re.split(end, raw[mark:]) if line]
        self.raw = logical(parts if self.whole else parts[:-1])
        self.lines = [numerals.decoded(line).rstrip("\r\n") for line in self.raw]

    def _check(self) -> None:
        """Refuse what is more than one table, and lines that are no rows where rows must be."""
        run = self.run
        for other in self.others:
            before = other.first < run.first
            near, far = (other, run) if before else (run, other)
            between = [i for i in range(near.stop, far.first) if self._is_said(i)]
            if other.width == run.width and len(between) == 1 and not self._names(between[0], before=before):
                self._refuse(between[0])
            if not before and not between and other.rows < 3:
                self._refuse(other.first)
            many = other.rows > 8 or (other.rows > 2 and other.rows * 10 > run.rows)
            if many or (other.rows > 2 and not before and other.width == run.width):
                raise SeveralTablesError(
                    f"{self.where} has more than one table: from line {self._number(near.first)} and "
                    f"from line {self._number(far.first)}",
                    self.dialect,
                )
            if not before and other.width == run.width:
                self._refuse(between[0])
        strays = sum(r.rows for r in self.others)
        if strays > max(8, run.rows // 3):
            raise InputError(
                f"{self.where} has {run.rows} rows of {run.width} cells, and {strays} of other widths: no plain table",
                "name its format with --from",
            )
        if self.whole:
            self._check_comments()

    def _check_comments(self) -> None:
        """Refuse comments between the rows that begin another table."""
        label, remarks = self._label_line(), 0
        for i in range(self.first, self.run.stop):
            if self._is_comment(i):
                remarks += 1
                if label is not None and self.lines[i] == self.lines[label]:
                    self._second(i, "its labels stand again")
                if remarks > 3:
                    self._second(i - 3, "another header stands")
            elif self.lines[i].strip():
                remarks = 0

    def _second(self, i: int, what: str) -> None:
        raise SeveralTablesError(
            f"{self.where} has more than one table: {what} in line {self._number(i)}", self.dialect
        )

    @property
    def is_labelled(self) -> bool:
        """Tell whether a line names the columns."""
        return self._label_line() is not None

    @property
    def may_be_several(self) -> bool:
        """Tell whether there are comments, and more than one empty line at once, between the rows of a small file."""
        between = range(self.first, self.run.stop)
        empty = any(not self.lines[i].strip() and not self.lines[i + 1].strip() for i in between[:-1])
        return self.whole and empty and any(map(self._is_comment, between))

    def _nearest_names(self, i: int) -> bool:
        """Tell whether the line right above a line names the columns, so that its first row cannot."""
        at = self._nearest(i - 1)
        return at is not None and self._split(self.lines[at]) is not None

    def _number(self, i: int) -> int:
        """Return the number of a line in the file."""
        return self.part.line + sum(max(1, line.count(b"\n")) for line in self.raw[:i])

    def _is_comment(self, i: int) -> bool:
        return self.dialect.is_comment(self.lines[i])

    def _is_said(self, i: int) -> bool:
        return bool(self.lines[i].strip()) and not self._is_comment(i)

    def _names(self, i: int, *, before: bool) -> bool:
        """Tell whether a line between numbers may name columns; before the rows, whether it says anything."""
        cells = self.dialect.cells(self.lines[i])
        kinds = [self.dialect.kind(c) for c in cells]
        return WORD in kinds if before else len(cells) == self.run.width and set(kinds) == {WORD}

    def _refuse(self, i: int) -> None:
        cells = len(self.dialect.cells(self.lines[i]))
        what = f"{cells} cells, where the table has {self.run.width}" if cells != self.run.width else "no row"
        raise InputError(
            f"{self.where}:{self._number(i)}: {what}: {self.lines[i].strip()[:60]!r}",
            "mend the line, or begin it with # if it is a comment",
        )

    def _said_rows(self) -> list[int]:
        """Return which lines of the beginning are rows, and lines between them that are no comments."""
        return [i for i in range(self.first, min(self.run.stop, WINDOW)) if self._is_said(i)]

    def _refuse_riddles(self, *, labelled: bool) -> None:
        shown = self._said_rows()
        if shown:
            rows = [self.dialect.cells(self.lines[i]) for i in shown]
            place = (self.where, self._number(shown[0]))
            refuse_riddles(rows, self.lines[shown[0]].strip(), place, self.dialect, self.stated, labelled=labelled)

    def record(self, labels: str, roles: str) -> Record:
        label_lines, names, units = self._labels(labels)
        self._refuse_riddles(labelled=any(names))
        start = self.offset + sum(map(len, self.raw[: self.first]))
        stop, footer = self._end()
        spare = 0
        while (
            len(names) > 1 and not names[-1] and not self.run.numbers[len(names) - 1] + self.run.texts[len(names) - 1]
        ):
            names.pop()
            spare += 1
        given = list(names)
        names = distinct([n or f"col{i + 1}" for i, n in enumerate(names)])
        sheet = Sheet(
            self.text.path,
            tuple(Column(n, self._dtype(i)) for i, n in enumerate(names)),
            start,
            stop,
            self.dialect.separator.encode(),
            self.dialect.decimal.encode(),
            quotes=bool(self.dialect.separator) and any('"' in line for line in self.lines[self.first : self.run.stop]),
            comments=tuple(c.encode() for c in self.dialect.comments if c != self.dialect.separator),
            missing=frozenset(w.encode() for w in ABSENT),
            foreign=True,
            spare=spare,
            line=self._number(self.first),
            name=self.where,
        )
        sheet = replace(sheet, columns=whole_columns(sheet)) if not self.whole else sheet
        said = [line for i, line in enumerate(self.lines[: self.first]) if i not in label_lines]
        said += [self.lines[i] for i in range(self.first, self.run.stop) if self._is_comment(i)] + footer
        fields = header([line for line in said if line.strip()], set(names))
        fields += [
            Field(c.name, Values(np.empty(0)), True, attrs={"units": u} if u else {}, source=f"{self.where}::{c.name}")
            for c, u in zip(sheet.columns, units, strict=False)
        ]
        if roles:
            refuse_twins(roles, given, self.where)
        fields = with_stated_roles(fields, roles) if roles else guessed(fields, sheet.columns, self._first_column())
        return record(sheet, fields, key={}, source=self.where)

    def _dtype(self, i: int) -> np.dtype[Any]:
        """Say what a column is: text when a tenth is, else a number (and text in it an error)."""
        run = self.run
        texts = run.texts[i] - sum(kinds[i] == WORD for line, kinds in run.leading if line in self.titles)
        if texts * 9 > run.numbers[i]:
            return TEXT
        return np.dtype(np.int64 if run.numbers[i] and not run.broken[i] else np.float64)

    def _end(self) -> tuple[int, list[str]]:
        """Return where the rows end, and the lines after them."""
        if self.whole:
            lines = self.lines[self.run.stop :]
            return self.offset + sum(map(len, self.raw[: self.run.stop])), [line for line in lines if line.strip()]
        with self.text.path.open("rb") as file:
            file.seek(self.part.stop - TAIL)
            raw = file.read(TAIL).splitlines(keepends=True)[1:]
        stop = self.part.stop
        footer: list[str] = []
        while raw:
            line = numerals.decoded(raw[-1]).rstrip("\r\n")
            cells = self.dialect.cells(line)
            if (
                line.strip()
                and not self.dialect.is_comment(line)
                and any(self.dialect.kind(c) == NUMBERED for c in cells)
            ):
                break
            stop -= len(raw.pop())
            footer.insert(0, line)
        return stop, [line for line in footer if line.strip()]

    def _labels(self, stated: str) -> tuple[set[int], list[str], list[str]]:
        """Return the lines of labels and units, the names and the units."""
        width = self.run.width
        if stated and not stated.strip().isdigit():
            names = [n.strip() for n in stated.split(",")]
            if len(names) != width:
                raise UsageError(f"--labels has {len(names)} names, {self.where} {width} columns")
            return set(), *apart(names)
        number = int(stated) - 1 if stated else self._label_line()
        if number is None:
            return set(), [""] * width, [""] * width
        if not 0 <= number < len(self.lines):
            raise UsageError(f"--labels: {self.where} has no line {stated}")
        cells = self._split(self.lines[number], numbered=bool(stated) or number in self.titles)
        if cells is None:
            raise UsageError(f"line {number + 1} of {self.where} has not {width} names", "list them instead")
        if stated and number >= self.first:
            self.first = number + 1
        names, units = apart(cells)
        above = self._nearest(number - 1)
        if above is not None and sum(bool(re.fullmatch(ALONE, c)) for c in cells) * 2 > width:
            better = self._split(self.lines[above])
            if better is not None and not any(map(NUMBER.fullmatch, better)):
                return {above, number}, better, [re.sub(r"^[\[(](.*)[\])]$", r"\1", c).strip("-") for c in cells]
        return {number}, names, units

    def _label_line(self) -> int | None:
        """Find the label line: the last one before the rows that says anything, when it has as many names."""
        if self.titles:
            return self.titles[0]
        at = self._nearest(self.first - 1)
        if at is not None and re.fullmatch(r"\s*\d+\s*", self.lines[at]):
            at = self._nearest(at - 1)  # a count of points
        return at if at is not None and self._split(self.lines[at]) is not None else None

    def _nearest(self, i: int) -> int | None:
        """Return the nearest line upwards that says anything."""
        while i >= 0 and not re.search(r"\w", self.lines[i]):
            i -= 1
        return i if i >= 0 else None

    def _split(self, line: str, *, numbered: bool = False) -> list[str] | None:
        return names_in(line, self.run, self.dialect, numbered=numbered)

    def _first_column(self) -> list[float]:
        """Return the first numbers of the first rows."""
        return [self._value(self.dialect.cells(self.lines[i])[0]) for i in self._said_rows()]

    def _value(self, cell: str) -> float:
        try:
            return float(cell.replace(self.dialect.decimal, ".").replace("D", "e").replace("d", "e"))
        except ValueError:
            return float("nan")
