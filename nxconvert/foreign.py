"""Text tables that somebody else wrote: where the rows are, what separates them, what the columns are called.

Everything found can be stated instead. What cannot be told is refused: a wrong table is worse than none. So a line
that looks like a row but is none is an error that names it, and nothing is cut off in silence: whatever stands before,
between and after the rows is kept as ``comment``.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nxconvert import numerals
from nxconvert.array import TEXT, Values
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Option
from nxconvert.record import Field, Record, Role
from nxconvert.textfile import SMALL, Column, Sheet, record, row_of

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

COMMENTS = ("#", "%", "!", "//", ";")
SAMPLE = 64 << 10
"""Bytes from which a file's kind is told."""

ENOUGH = 100
"""Rows at the beginning of a large file that are enough to tell what it is."""

WINDOW = 3000
"""Lines from which separators and types are told."""

TAIL = 256 << 10
"""Bytes at the end of a large file that are searched for what follows the rows."""

OPTIONS = (
    Option("delimiter", "", "What separates the cells of a foreign file: comma, semicolon, tab, space."),
    Option("decimal", "", "The decimal sign of a foreign file."),
    Option("comment", "", "What a comment line of a foreign file begins with."),
    Option("labels", "", "The columns' names, with commas between, or the number of the line that has them."),
    Option("roles", "", "What the columns are, e.g. x=energy,signal=mu."),
)

_SIGNS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": "", "\\t": "\t", " ": ""}
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|inf(?:inity)?|nan(?:\(\w*\))?|1\.#(?:qnan|snan|ind|inf)\d*)",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_ABSENT = frozenset(("", "na", "n/a", "#n/a", "null", "none", "-", "--", "---"))
_UNIT = (
    r"(?:[munkMG]?eV|[numkcµμ]?m|Å|A|Angstroms?|[munpµμ]?s(?:ec)?|[Mk]?Hz|deg(?:rees?)?|°|m?rad|K|°?C|[munpµμ]?A|m?V|"
    r"counts|cts|cps|a\.u\.|arb\. ?units?|%|bar|mbar|Pa|"
    r"1/(?:Å|A|Angstroms?|nm|cm|m)|(?:Å|A|Angstrom|nm|cm|m)\^?-1)"
)
# those below are compiled when they are used, which takes as long as all the rest of the start of this module
_WITH_UNIT = rf"(?P<name>.*\S)(?:\s+\((?P<round>[^()]+)\)|\s*\[(?P<square>[^\[\]]+)\]|\((?P<tight>{_UNIT})\))"
_ALONE = rf"[\[(]?{_UNIT}[\])]?|[\[(][^\[\]()]*[\])]|-"
_ENTRY = r"[#%!;/\s]*([A-Za-z][\w .()-]{0,40}?)\s*[:=]\s*(\S.*?)\s*"
_ERRORS = r"(?i)err|sig|std|stdev|unc|sd$|^d[A-Z]|_e$|^e$|delta|σ"
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_COMMAS = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_OPEN = re.compile(rb'(?:^|[,;\t])[ ]*"[^"]*\s*$')
_NUMBERED, _TEXT, _GONE = 1, 0, 2


INTEGRATED = {
    "2th_deg": "deg",
    "2th_rad": "rad",
    "q_nm^-1": "1/nm",
    "q_A^-1": "1/angstrom",
    "r_mm": "mm",
    "r_m": "m",
    "d*2_nm^-2": "1/nm^2",
    "d*2_A^-2": "1/angstrom^2",
}
"""How pyFAI labels the axis of an integrated pattern, with the units that this says; ``I`` and ``sigma`` follow."""


class TextFile:
    """A text file as UTF-8: the file itself, or a copy of one in UTF-16.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        When it is no text.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._folder: TemporaryDirectory[str] | None = None
        with path.open("rb") as file:
            start = file.read(SAMPLE)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            from tempfile import TemporaryDirectory

            self._folder = TemporaryDirectory(prefix="nxconvert-")
            self.path = Path(self._folder.name) / path.name
            self._copy(path)
        elif b"\0" in start:
            raise InputError(f"{path} is no text")

    def _copy(self, path: Path) -> None:
        try:
            with (
                path.open(encoding="utf-16", newline="") as read,
                self.path.open("w", encoding="utf-8", newline="") as write,
            ):
                while text := read.read(1 << 20):
                    write.write(text)
        except UnicodeError as error:
            self.close()
            raise InputError(f"{path} begins like UTF-16, but is not: {error}") from None

    def close(self) -> None:
        """Remove the copy."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@dataclass
class Run:
    """Successive lines that are rows of one width.

    Attributes
    ----------
    first, stop
        Numbers of the lines, from 0.
    width
        Cells in a row.
    rows
        How many rows.
    numbers, texts, broken
        How many cells of each column are numbers, are text, and are numbers that are not whole.
    leading
        The line and what its cells are, of each of the first rows.
    """

    first: int
    stop: int
    width: int
    rows: int
    numbers: list[int]
    texts: list[int]
    broken: list[int]
    leading: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    @property
    def columns(self) -> int:
        """How many columns are numbers."""
        return sum(n > t for n, t in zip(self.numbers, self.texts, strict=True))

    @property
    def titles(self) -> int:
        """How many of the first rows are no rows: text, where all after them have numbers. The first has the labels."""
        texts = [0] * self.width
        for n, (_, kinds) in enumerate(self.leading):
            here = [kind == _TEXT for kind in kinds[: self.width]]
            if not any(here):
                odd = [i for i in range(self.width) if texts[i]]
                same = all(self.texts[i] == texts[i] and self.numbers[i] for i in odd)
                return n if n and same and self.rows > 2 * n else 0
            texts = [a + b for a, b in zip(texts, here, strict=True)]
        return 0


@dataclass(frozen=True)
class Dialect:
    """How a text's rows are written: the separator (empty for white space), the decimal sign, comments' signs."""

    separator: str
    decimal: str
    comments: tuple[str, ...] = COMMENTS

    def is_comment(self, line: str) -> bool:
        """Tell whether a line is a comment; one of ``;`` is none where cells are separated so."""
        signs = tuple(c for c in self.comments if c != self.separator)
        return line.lstrip().startswith(signs)

    def cells(self, line: str) -> list[str]:
        """Split a line."""
        if not self.separator:
            return line.split()
        if '"' in line:
            raw = row_of(line.encode("utf-8", "surrogateescape"), self.separator.encode())
            if raw is not None:
                return [c.decode("utf-8", "surrogateescape").strip() for c in raw]
        return [c.strip() for c in line.split(self.separator)]

    def kind(self, cell: str) -> int:
        """Tell whether a cell is a number, text or missing."""
        if self.decimal == "," and "," in cell:
            cell = "text" if "." in cell else cell.replace(",", ".", 1)
        if _NUMBER.fullmatch(cell):
            return _NUMBERED
        return _GONE if cell.lower() in _ABSENT else _TEXT

    def runs(self, lines: Sequence[str]) -> list[Run]:
        """Find the runs of rows."""
        out: list[Run] = []
        run: Run | None = None
        for i, line in enumerate(lines):
            if not line.strip() or self.is_comment(line):
                continue
            cells = self.cells(line)
            kinds = tuple(map(self.kind, cells))
            entry = not self.separator and any(c.endswith((":", "=")) for c in cells)  # a line like "E0= 7112.00"
            if run is not None and not entry and _fits(run, cells, kinds):
                _add(run, i, cells, kinds)
                continue
            run = None
            if _NUMBERED in kinds and not entry:
                n = len(cells)
                run = Run(i, i, n, 0, [0] * n, [0] * n, [0] * n)
                _add(run, i, cells, kinds)
                out.append(run)
        return [r for r in out if self.separator or 2 * r.columns >= r.width]


def _fits(run: Run, cells: Sequence[str], kinds: Sequence[int]) -> bool:
    """Tell whether a line goes on with a run: as many cells, and numbers where it has some."""
    full = len(cells)
    while full > run.width and not cells[full - 1]:
        full -= 1
    if full != run.width:
        return False
    return any(k != _TEXT and run.numbers[i] for i, k in enumerate(kinds[:full])) or not any(cells)


def _add(run: Run, line: int, cells: Sequence[str], kinds: Sequence[int]) -> None:
    run.stop, run.rows = line + 1, run.rows + 1
    if run.rows <= 5:
        run.leading.append((line, tuple(kinds)))
    for i in range(run.width):
        if kinds[i] == _NUMBERED:
            run.numbers[i] += 1
            run.broken[i] += not _WHOLE.fullmatch(cells[i])
        elif kinds[i] == _TEXT:
            run.texts[i] += 1


@dataclass(frozen=True)
class Found:
    """A table in a text: its dialect, its lines, and all runs of rows that were seen."""

    dialect: Dialect
    run: Run
    others: tuple[Run, ...] = field(default=())


def text_of(raw: bytes) -> str | None:
    """Decode the beginning of a text; None when it is none."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw[: len(raw) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in raw or not raw:
        return None
    whole = raw[: raw.rfind(b"\n") + 1] or raw
    return numerals.decoded(whole.removeprefix(codecs.BOM_UTF8))


def _logical(lines: Sequence[bytes]) -> list[bytes]:
    """Join the lines of cells that are quoted and hold line breaks."""
    out: list[bytes] = []
    opened = 0
    for line in lines:
        if opened and out[-1].count(b'"') % 2:
            out[-1] += line
            opened -= 1
        else:
            out.append(line)
            opened = 20 * bool(_OPEN.search(line) and line.count(b'"') % 2)
    return out


@lru_cache(maxsize=2)
def looks_like(text: str) -> str | None:
    """Return the separator of what looks like a table, or None; for telling formats apart."""
    lines = _logical(text.encode("utf-8", "surrogateescape").splitlines(keepends=True))
    found = table([line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in lines])
    return found.dialect.separator if found else None


def table(lines: Sequence[str], delimiter: str = "", decimal: str = "", comment: str = "") -> Found | None:
    """Find the table in lines: the longest run of rows, in the dialect that makes most numbers of it.

    Parameters
    ----------
    lines
        Lines without their ends.
    delimiter, decimal, comment
        As stated, or empty to be found.
    """
    stated = _SIGNS.get(delimiter, delimiter)
    comments = (comment,) if comment else COMMENTS
    best: tuple[tuple[int, int, int], Found] | None = None
    sample = "\n".join(lines)
    for order, separator in enumerate([stated] if delimiter else ["\t", ";", ",", ""]):
        if separator and separator not in sample:
            continue
        for mark in [decimal] if decimal else [".", ","]:
            if mark == "," and (separator == "," or "," not in sample) and not decimal:
                continue
            dialect = Dialect(separator, mark, comments)
            runs = [r for r in dialect.runs(lines) if r.width > 1 or not separator or delimiter]
            for run in runs:
                score = (run.rows * run.columns, -sum(run.texts), -order)
                if best is None or score > best[0]:
                    best = (score, Found(dialect, run, tuple(r for r in runs if r is not run)))
    if best is None:
        return None
    found = best[1]
    if found.run.rows < 2 and not _is_alone(found, lines):
        return None
    return found if found.run.columns else None


def _is_alone(found: Found, lines: Sequence[str]) -> bool:
    """Tell whether a single row is a table: when there is nothing else, or labels for it."""
    above = [line for line in lines[: found.run.first] if line.strip()]
    if len(above) + 1 == sum(bool(line.strip()) for line in lines) and not above:
        return True
    cells = found.dialect.cells(above[-1].lstrip("#")) if above else []
    return len(cells) == found.run.width and all(c and found.dialect.kind(c) == _TEXT for c in cells)


class Part(NamedTuple):
    """A part of a file that holds one table: where it begins and ends, in bytes, and the number of its first line."""

    start: int
    stop: int
    line: int


class _SeveralTablesError(InputError):
    """A text is more than one table; the dialect is that of the longest."""

    def __init__(self, message: str, dialect: Dialect) -> None:
        super().__init__(message, "put an empty line and a line of labels before each table, or split the file")
        self.dialect = dialect


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
        parts = [] if labels.isdigit() or not reader.may_be_several else _parts(text, reader.dialect, least=2)
    except _SeveralTablesError as error:
        parts = [] if labels.isdigit() else _parts(text, error.dialect)
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


def _parts(text: TextFile, dialect: Dialect, least: int = 1) -> list[Part]:
    """Part a text at empty lines, so that each part has a header and then rows; nothing when one has none.

    Parameters
    ----------
    least
        How many empty lines are between parts, at the least: two, where one may as well be between the rows of a grid.
    """
    parts: list[Part] = []
    start = at = 0
    first = number = 1
    empty, said, rows = 0, False, False
    with text.path.open("rb") as file:
        for raw in file:
            line = numerals.decoded(raw)
            if not line.strip():
                empty += 1
            else:
                if rows and empty >= least:
                    parts.append(Part(start, at, first))
                    start, first, said, rows = at, number, False, False
                empty = 0
                is_row = not rows and _is_row(line, dialect)
                if is_row and not said:
                    return []
                said, rows = True, rows or is_row
            at += len(raw)
            number += 1
    if rows or not parts:
        return [*parts, Part(start, at, first)]
    return [*parts[:-1], parts[-1]._replace(stop=at)]  # what is said at the end belongs to the last table


def _is_row(line: str, dialect: Dialect) -> bool:
    """Tell whether a line has more numbers than words."""
    if dialect.is_comment(line):
        return False
    kinds = [dialect.kind(cell) for cell in dialect.cells(line.strip("\r\n"))]
    return kinds.count(_NUMBERED) > kinds.count(_TEXT)


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
        self.raw = _logical(parts if self.whole else parts[:-1])
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
                raise _SeveralTablesError(
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
        raise _SeveralTablesError(
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
        return _TEXT in kinds if before else len(cells) == self.run.width and set(kinds) == {_TEXT}

    def _refuse(self, i: int) -> None:
        cells = len(self.dialect.cells(self.lines[i]))
        what = f"{cells} cells, where the table has {self.run.width}" if cells != self.run.width else "no row"
        raise InputError(
            f"{self.where}:{self._number(i)}: {what}: {self.lines[i].strip()[:60]!r}",
            "mend the line, or begin it with # if it is a comment",
        )

    def _refuse_riddles(self, *, labelled: bool) -> None:
        """Ask where cells can be read in two ways, and nothing in the file tells which is meant."""
        shown = [
            i for i in range(self.first, min(self.run.stop, WINDOW)) if self._is_said(i) and not self._is_comment(i)
        ]
        rows = [self.dialect.cells(self.lines[i]) for i in shown]
        if not rows:
            return
        where = f"{self.where}:{self._number(shown[0])}"
        cells = [cell for row in rows for cell in row]
        commas = [cell for cell in cells if _COMMAS.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
        thousands = all(map(_THOUSANDS.fullmatch, commas)) and not any(re.match(r"[+-]?\d{4}", c) for c in cells)
        if commas and not self.stated.decimal and (thousands or self.dialect.decimal == "."):
            number = f"{commas[0].replace(',', '.')} or {commas[0].replace(',', '')}" if thousands else "a number"
            raise InputError(f"{where}: {commas[0]!r} may be {number}", "state --decimal , or take the commas out")
        if labelled:
            return
        alike = len({len(row[-1]) for row in rows}) == 1
        pairs = all(len(row) == 2 and re.fullmatch(r"[+-]?\d+,\d+", ",".join(row)) for row in rows)
        if self.dialect.separator == "," and not self.stated.separator and alike and pairs and len(rows) > 1:
            row = self.lines[shown[0]].strip()
            tip = (
                "state --delimiter comma, or --delimiter space --decimal , when it is one number; labels settle it too"
            )
            raise InputError(f"{where}: {row!r} may be two whole numbers, or one with a decimal comma", tip)
        if _counts(rows[0]) and _stands_out(rows):
            line = self._number(shown[0])
            tip = f"state --labels {line} if it has the labels; if it is a row, list them: --labels a,b,.."
            raise InputError(
                f"{where}: {self.lines[shown[0]].strip()!r} may be the labels of the columns, or a row", tip
            )

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
        names = _distinct([n or f"col{i + 1}" for i, n in enumerate(names)])
        sheet = Sheet(
            self.text.path,
            tuple(Column(n, self._dtype(i)) for i, n in enumerate(names)),
            start,
            stop,
            self.dialect.separator.encode(),
            self.dialect.decimal.encode(),
            quotes=bool(self.dialect.separator) and any('"' in line for line in self.lines[self.first : self.run.stop]),
            comments=tuple(c.encode() for c in self.dialect.comments if c != self.dialect.separator),
            missing=frozenset(w.encode() for w in _ABSENT),
            foreign=True,
            spare=spare,
            line=self._number(self.first),
            name=self.where,
        )
        sheet = replace(sheet, columns=_whole_columns(sheet)) if not self.whole else sheet
        said = [line for i, line in enumerate(self.lines[: self.first]) if i not in label_lines]
        said += [self.lines[i] for i in range(self.first, self.run.stop) if self._is_comment(i)] + footer
        fields = _header([line for line in said if line.strip()], set(names))
        fields += [
            Field(c.name, Values(np.empty(0)), True, attrs={"units": u} if u else {}, source=f"{self.where}::{c.name}")
            for c, u in zip(sheet.columns, units, strict=False)
        ]
        if roles:
            _refuse_twins(roles, given, self.where)
        fields = with_stated_roles(fields, roles) if roles else self._guessed(fields, sheet)
        return record(sheet, fields, key={}, source=self.where)

    def _dtype(self, i: int) -> np.dtype[Any]:
        """Say what a column is: text when a tenth is, else a number (and text in it an error)."""
        run = self.run
        texts = run.texts[i] - sum(kinds[i] == _TEXT for line, kinds in run.leading if line in self.titles)
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
                and any(self.dialect.kind(c) == _NUMBERED for c in cells)
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
            return set(), *_apart(names)
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
        names, units = _apart(cells)
        above = self._nearest(number - 1)
        if above is not None and sum(bool(re.fullmatch(_ALONE, c)) for c in cells) * 2 > width:
            better = self._split(self.lines[above])
            if better is not None and not any(map(_NUMBER.fullmatch, better)):
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
        """Split a label line into as many names as there are columns; they may look like numbers if ``numbered``."""
        width = self.run.width
        line = re.sub(r"^\s*(?:#L\b|[#%!;]+|//)(?=[\s\w\"\[(])", "", line).strip(" \r\n")
        tried = [Dialect(s, ".").cells(line) for s in dict.fromkeys([self.dialect.separator, ",", "\t", ";"]) if s]
        bars = [c.strip() for c in line.split("|") if c.strip()]
        tried += [re.split(r"\s{2,}", line.strip()), line.split(), bars, bars[1:]]
        for cells in tried:
            names = cells[:width] if len(cells) > width and not any(cells[width:]) else cells
            names += [""] * (width - len(names)) if len(names) < width and self._trails(len(names)) else []
            numbers = sum(bool(_NUMBER.fullmatch(c)) for c in names)
            enough = all(names) or (self.dialect.separator and sum(map(bool, names)) * 2 > width)
            if width == 1 and len(line.split()) > 4:
                enough = False  # a sentence
            if len(names) == width and enough and (numbered or numbers * 2 < width):
                return [n.strip().strip('"') for n in names]
        return None

    def _trails(self, names: int) -> bool:
        """Tell whether all columns from one on are empty."""
        return bool(names) and not any(self.run.numbers[names:]) and not any(self.run.texts[names:])

    def _guessed(self, fields: list[Field], sheet: Sheet) -> list[Field]:
        """Guess roles; that the other columns have none is a guess as well."""
        if (integrated := _integrated(fields)) is not None:
            return integrated
        guess = self._guess(sheet)
        x = next((name for name, role in guess.items() if role == Role.AXIS), "")
        signal = next((name for name, role in guess.items() if role == Role.SIGNAL), None)
        return [
            replace(
                f,
                role=guess.get(f.name),
                guessed=True,
                axes=(x,) if f.name in guess else (),
                of=signal if guess.get(f.name) == Role.ERRORS else None,
            )
            if f.per_row
            else f
            for f in fields
        ]

    def _guess(self, sheet: Sheet) -> dict[str, Role]:
        """Guess roles by position: x where the first column runs in one direction, then the signal and its errors."""
        numbers = [i for i, c in enumerate(sheet.columns) if c.dtype.kind in "if"]
        if len(numbers) < 2 or numbers[0] != 0:
            return {}
        rows = [i for i in range(self.first, min(self.run.stop, WINDOW)) if self._is_said(i)]
        x = [self._value(self.dialect.cells(self.lines[i])[0]) for i in rows]
        steps = np.diff(np.array(x))
        if not (np.all(steps >= 0) or np.all(steps <= 0)) or (len(steps) and not np.any(steps)):
            return {}
        names = [c.name for c in sheet.columns]
        guess = {names[0]: Role.AXIS, names[numbers[1]]: Role.SIGNAL}
        if len(numbers) > 2 and numbers[2] == numbers[1] + 1 and re.search(_ERRORS, names[numbers[2]]):
            guess[names[numbers[2]]] = Role.ERRORS
        return guess

    def _value(self, cell: str) -> float:
        try:
            return float(cell.replace(self.dialect.decimal, ".").replace("D", "e").replace("d", "e"))
        except ValueError:
            return float("nan")


def _integrated(fields: list[Field]) -> list[Field] | None:
    """Return fields with the roles and units that the labels of pyFAI state; None where the labels are others."""
    names = [f.name for f in fields if f.per_row]
    if names[1:] not in (["I"], ["I", "sigma"]) or names[0] not in INTEGRATED:
        return None
    roles = dict(zip(names, (Role.AXIS, Role.SIGNAL, Role.ERRORS), strict=False))
    units = INTEGRATED[names[0]]
    return [
        replace(
            f,
            role=roles[f.name],
            axes=(names[0],),
            of="I" if roles[f.name] == Role.ERRORS else None,
            attrs={"units": units, **f.attrs} if f.name == names[0] else f.attrs,
        )
        if f.per_row
        else f
        for f in fields
    ]


def _counts(row: Sequence[str]) -> bool:
    """Tell whether a row numbers the columns, as labels of some programs do."""
    return len(row) > 2 and any(list(row) == [str(start + i) for i in range(len(row))] for start in (0, 1))


def _stands_out(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row is of another kind than those after it: the only whole one, or far off."""
    if len(rows) < 4:
        return False
    for i in range(len(rows[0])):
        column = [row[i] for row in rows[1:] if i < len(row)]
        if column and not any(map(_WHOLE.fullmatch, column)):
            return True
        if all(map(_WHOLE.fullmatch, column)):
            steps = np.abs(np.diff([float(c) for c in (rows[0][i], *column)]))
            if steps[0] > 10 * max(1.0, float(np.max(steps[1:]))):
                return True
    return False


def _refuse_twins(roles: str, labels: Sequence[str], where: str) -> None:
    """Refuse a stated role of a label that several columns have."""
    for part in roles.split(","):
        name = part.partition("=")[2].strip()
        at = [str(i + 1) for i, label in enumerate(labels) if label == name]
        if len(at) > 1:
            raise UsageError(
                f"--roles: {name!r} is the label of the columns {' and '.join(at)} of {where}",
                "give the columns names of their own with --labels",
            )


def _apart(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the units off labels: ``energy (eV)``, ``q [1/A]``."""
    names, units = [], []
    for label in labels:
        parts = re.fullmatch(_WITH_UNIT, label)
        names.append(parts["name"] if parts else label)
        units.append((parts["round"] or parts["square"] or parts["tight"]).strip() if parts else "")
    return names, units


def _distinct(names: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        seen[name] += 1
        while seen[name] > 1 and f"{name}_{seen[name]}" in names:
            seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out


def _header(lines: Sequence[str], taken: set[str]) -> list[Field]:
    """Return what stands around the rows: all of it as ``comment``, and each ``key: value`` by its key."""
    if not lines:
        return []
    fields = [Field("comment", Values("\n".join(lines)))]
    taken |= {"comment"}
    entries = [f.groups() for line in lines if (f := re.fullmatch(_ENTRY, line)) and not re.search(r"=|: ", f[2])]
    often = Counter(key for key, _ in entries)
    for key, value in entries:
        name = "title" if key.lower() == "title" else key
        if often[key] == 1 and name not in taken:
            taken.add(name)
            fields.append(Field(name, Values(_natural(value))))
    return fields


def _natural(value: str) -> Any:
    if re.fullmatch(r"[+-]?(?:0|[1-9]\d{0,17})", value):
        return np.int64(value)
    return np.float64(value) if re.fullmatch(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?", value) else value


def typed(sheet: Sheet, numbers: Sequence[int]) -> Sheet:
    """Say what some columns of a sheet are, that are text as yet, from the cells of its first piece."""
    _, columns = next(iter(sheet.pieces()), (0, []))
    known = list(sheet.columns)
    dialect = Dialect(sheet.separator.decode(), sheet.decimal.decode())
    for i in numbers:
        cells = [str(c) for c in np.ma.compressed(np.ma.asarray(columns[i]))] if columns else []
        kinds = {dialect.kind(c.strip()) for c in cells}
        if kinds <= {_NUMBERED, _GONE}:
            whole = cells and all(_WHOLE.fullmatch(c.strip()) for c in cells) and sheet.is_small
            known[i] = replace(known[i], dtype=np.dtype(np.int64 if whole else np.float64))
    return replace(sheet, columns=tuple(known))


def _whole_columns(sheet: Sheet) -> tuple[Column, ...]:
    """Look through a large file at the columns that begin with whole numbers: those that go on otherwise are floats."""
    columns = list(sheet.columns)
    whole = {i for i, c in enumerate(columns) if c.dtype.kind == "i"}
    texts = replace(sheet, columns=tuple(replace(c, dtype=TEXT) for c in columns))
    left = list(sheet.index)
    while whole and left:
        pieces, number = left, len(whole)
        for piece, holds in zip(pieces, sheet.hold_whole(pieces, sorted(whole)), strict=True):
            left = left[1:]
            if holds:
                continue
            values = texts.columns_of(piece)
            for i in list(whole):
                cells = np.ma.compressed(np.ma.asarray(values[i]))
                if not all(_WHOLE.fullmatch(c) or c.lower() in _ABSENT for c in cells):
                    whole.remove(i)
                    columns[i] = replace(columns[i], dtype=np.dtype(np.float64))
            if len(whole) < number:
                break  # and look on at those that are left
    return tuple(columns)


_ROLES = {
    "x": Role.AXIS,
    "axis": Role.AXIS,
    "signal": Role.SIGNAL,
    "y": Role.SIGNAL,
    "errors": Role.ERRORS,
    "auxiliary": Role.AUXILIARY,
}


def with_stated_roles(fields: Sequence[Field], stated: str) -> list[Field]:
    """Give fields the roles that ``x=NAME,signal=NAME`` states.

    Raises
    ------
    UsageError
        When a role or a name is not known.
    """
    by_name = {f.name: f for f in fields}
    pairs: list[tuple[Role, str]] = []
    for part in stated.split(","):
        role, _, name = part.strip().partition("=")
        if role not in _ROLES or not name:
            raise UsageError(f"--roles: {part.strip()!r} states no role", f"write ROLE=NAME with {', '.join(_ROLES)}")
        if name not in by_name:
            raise UsageError(
                f"--roles: there is no column {name!r}", f"columns are {', '.join(f.name for f in fields if f.per_row)}"
            )
        pairs.append((_ROLES[role], name))
    axes = tuple(n for r, n in pairs if r == Role.AXIS)[:1]
    signal = next((n for r, n in pairs if r == Role.SIGNAL), None)
    roles = {name: role for role, name in pairs}
    return [
        replace(
            f,
            role=roles.get(f.name),
            guessed=False,
            axes=f.axes if len(f.axes) > 1 else axes,
            of=signal if roles.get(f.name) == Role.ERRORS else None,
        )
        if f.per_row
        else f
        for f in fields
    ]
