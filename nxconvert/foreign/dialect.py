"""What separates cells in a text, which lines are rows, and where its tables are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from functools import lru_cache

from nxconvert.dataclass import dataclass
from nxconvert.textfile import row_of

COMMENTS = ("#", "%", "!", "//", ";")
SIGNS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": "", "\\t": "\t", " ": ""}
NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|inf(?:inity)?|nan(?:\(\w*\))?|1\.#(?:qnan|snan|ind|inf)\d*)",
    re.IGNORECASE,
)
WHOLE = re.compile(r"[+-]?\d{1,18}")
ABSENT = frozenset(("", "na", "n/a", "#n/a", "null", "none", "-", "--", "---"))
_OPEN = re.compile(rb'(?:^|[,;\t])[ ]*"[^"]*\s*$')

NUMBERED, WORD, GONE = 1, 0, 2
"""Kinds of cells: a number, other text, missing."""


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
        How many cells of each column are numbers, are text; and, not 0 where some number is not whole.
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
            here = [kind == WORD for kind in kinds[: self.width]]
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
        if NUMBER.fullmatch(cell):
            return NUMBERED
        return GONE if cell.lower() in ABSENT else WORD

    def _row_of_numbers(self, width: int) -> re.Pattern[str] | None:
        """Match a row of nothing but numbers, as most are; None where it might be anything else."""
        if not self.separator or self.decimal != "." or self.comments != COMMENTS:
            return None
        number = f"(?:{NUMBER.pattern})"
        return re.compile(f"{number}(?:{re.escape(self.separator)}{number}){{{width - 1}}}", NUMBER.flags)

    def runs(self, lines: Sequence[str]) -> list[Run]:
        """Find the runs of rows."""
        out: list[Run] = []
        run: Run | None = None
        numbers: re.Pattern[str] | None = None
        for i, line in enumerate(lines):
            if run is not None and numbers is not None and numbers.fullmatch(line):
                _add_numbers(run, i, line, self.separator)
                continue
            if not line.strip() or self.is_comment(line):
                continue
            cells = self.cells(line)
            kinds = tuple(map(self.kind, cells))
            entry = not self.separator and any(c.endswith((":", "=")) for c in cells)  # a line like "E0= 7112.00"
            if run is not None and not entry and _fits(run, cells, kinds):
                _add(run, i, cells, kinds)
                continue
            run = None
            if NUMBERED in kinds and not entry:
                n = len(cells)
                run = Run(i, i, n, 0, [0] * n, [0] * n, [0] * n)
                _add(run, i, cells, kinds)
                out.append(run)
                numbers = self._row_of_numbers(n)
        return [r for r in out if self.separator or 2 * r.columns >= r.width]


def _fits(run: Run, cells: Sequence[str], kinds: Sequence[int]) -> bool:
    """Tell whether a line goes on with a run: as many cells, and numbers where it has some."""
    full = len(cells)
    while full > run.width and not cells[full - 1]:
        full -= 1
    if full != run.width:
        return False
    return any(k != WORD and run.numbers[i] for i, k in enumerate(kinds[:full])) or not any(cells)


def _add(run: Run, line: int, cells: Sequence[str], kinds: Sequence[int]) -> None:
    run.stop, run.rows = line + 1, run.rows + 1
    if run.rows <= 5:
        run.leading.append((line, tuple(kinds)))
    for i in range(run.width):
        if kinds[i] == NUMBERED:
            run.numbers[i] += 1
            run.broken[i] += not WHOLE.fullmatch(cells[i])
        elif kinds[i] == WORD:
            run.texts[i] += 1


def _add_numbers(run: Run, line: int, row: str, separator: str) -> None:
    """Add a row that has a number in each cell."""
    run.stop, run.rows = line + 1, run.rows + 1
    if run.rows <= 5:
        run.leading.append((line, (NUMBERED,) * run.width))
    run.numbers = [n + 1 for n in run.numbers]
    if not all(run.broken):
        for i, cell in enumerate(row.split(separator)):
            if not run.broken[i] and not WHOLE.fullmatch(cell):
                run.broken[i] = 1


@dataclass(frozen=True)
class Found:
    """A table in a text: its dialect, its lines, and all runs of rows that were seen."""

    dialect: Dialect
    run: Run
    others: tuple[Run, ...] = field(default=())


def logical(lines: Sequence[bytes]) -> list[bytes]:
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
    lines = logical(text.encode("utf-8", "surrogateescape").splitlines(keepends=True))
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
    stated = SIGNS.get(delimiter, delimiter)
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
    return len(cells) == found.run.width and all(c and found.dialect.kind(c) == WORD for c in cells)
