"""Text tables that somebody else wrote: where the rows are, what separates them, what the columns are called.

Everything found can be stated instead. What cannot be told is refused: a wrong table is worse than none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import numerals
from nxconvert.array import TEXT, Values
from nxconvert.errors import InputError, UsageError
from nxconvert.record import Field, Record, Role
from nxconvert.textfile import SMALL, Column, Sheet, record

COMMENTS = ("#", "%", "!", "//")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "": "white space"}
_UNITS = re.compile(r"^(?P<name>.*\S)(?:\s+\((?P<round>[^()]+)\)|\s*\[(?P<square>[^\[\]]+)\])$")
_NO_NUMBERS = {"na", "n/a", "null", "-", "--"}
_WORDS = {b"nan", b"inf", b"-inf", b"+inf", *(w.encode() for w in _NO_NUMBERS)}


@dataclass(frozen=True)
class Found:
    """A table in a text file.

    Attributes
    ----------
    separator, decimal
        Between cells (empty for white space), and in numbers.
    start, stop
        Offsets of the rows, in bytes.
    labels
        Names of the columns, or empty.
    header
        The lines before the rows, without the label line.
    footer
        The lines after them.
    width
        Number of columns.
    """

    separator: str
    decimal: str
    start: int
    stop: int
    labels: tuple[str, ...]
    header: tuple[str, ...]
    footer: tuple[str, ...]
    width: int


def read(path: Path, delimiter: str = "", decimal: str = "", comment: str = "", roles: str = "") -> Record:
    """Read the one table of a foreign text file.

    Parameters
    ----------
    path
        The file.
    delimiter, decimal, comment
        As stated, or empty to be detected.
    roles
        ``x=NAME,signal=NAME,errors=NAME,auxiliary=NAME``: confirms what the columns are.

    Raises
    ------
    InputError
        When it has no table, or more than one.
    """
    found = find(path, delimiter, decimal, comment)
    names, units = _columns(found)
    sheet = Sheet(
        path,
        tuple(Column(n, np.dtype(np.float64)) for n in names),
        found.start,
        found.stop,
        found.separator.encode(),
        found.decimal.encode(),
    )
    sheet = replace(sheet, columns=tuple(_typed(sheet, names)))
    fields = (
        [Field("comment", Values("\n".join([*found.header, *found.footer])))] if found.header or found.footer else []
    )
    fields += [
        Field(c.name, Values(np.empty(0)), True, attrs={"units": u} if u else {}, source=f"{path}::{c.name}")
        for c, u in zip(sheet.columns, units, strict=True)
    ]
    return record(sheet, _with_roles(fields, sheet, roles), key={}, source=str(path))


def looks_like(text: str) -> str | None:
    """Return the separator of what looks like a table, or None; for telling formats apart."""
    found = _block(text.splitlines(), "?", "", "")
    return found[0] if found else None


def find(path: Path, delimiter: str = "", decimal: str = "", comment: str = "") -> Found:
    """Find the table of a text file."""
    raw = path.read_bytes() if path.stat().st_size <= SMALL else _beginning(path)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16", "save it as UTF-8")
    if b"\0" in raw:
        raise InputError(f"{path} is no text")
    offset = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
    raw_lines = re.split(rb"(?<=\n)|(?<=\r)(?!\n)", raw[offset:])
    lines = [numerals.decoded(line).rstrip("\r\n") for line in raw_lines]
    stated = {"comma": ",", "semicolon": ";", "tab": "\t", "space": ""}.get(delimiter, delimiter.replace("\\t", "\t"))
    found = _block(lines, stated if delimiter else "?", decimal, comment)
    if found is None:
        raise InputError(
            f"{path} has no table that can be told from its lines", "state --delimiter, or name its format with --from"
        )
    separator, mark, first, last, width = found
    large = path.stat().st_size > SMALL
    again = None if large else _block(lines[last:], separator, mark, comment)
    if again is not None and again[3] - again[2] > 3:
        raise InputError(
            f"{path} has more than one table: from line {first + 1} and from line {last + again[2] + 1}", "split it"
        )
    others = sum(
        len(cells := _cells(line, separator)) > 1 and all(_kinds(cells, mark)) and not _is_comment(line, comment)
        for line in [*lines[:first], *([] if large else lines[last:])]
    )
    if others > max(3, last - first):
        raise InputError(
            f"{path} has {last - first} rows of {width} numbers, and {others} of other widths: not a plain table",
            "name its format with --from",
        )
    sizes = [len(line) for line in raw_lines]
    start = offset + sum(sizes[:first])
    stop = path.stat().st_size if large else offset + sum(sizes[:last])
    label_line, labels = _labels(lines[:first], separator, width)
    header = tuple(line for i, line in enumerate(lines[:first]) if i != label_line and line.strip())
    footer = tuple(line for line in lines[last:] if line.strip()) if not large else ()
    return Found(separator, mark, start, stop, labels, header, footer, width)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(SMALL)
    return raw[: raw.rfind(b"\n") + 1]


def _block(lines: Sequence[str], separator: str, decimal: str, comment: str) -> tuple[str, str, int, int, int] | None:
    """Find the longest run of rows: separator, decimal sign, first and last line, width."""
    best: tuple[int, int, tuple[str, str, int, int, int]] | None = None
    tried = [separator] if separator != "?" else ["\t", ";", ",", ""]
    for order, candidate in enumerate(tried):
        for mark in [decimal] if decimal else [".", ","]:
            if mark == "," and candidate == ",":
                continue
            for first, last, width, numbers in _runs(lines, candidate, mark, comment):
                if width == 1 and candidate:
                    continue
                score = ((last - first) * numbers, -order)
                if best is None or score > (best[0], best[1]):
                    best = (*score, (candidate, mark, first, last, width))
        if best is not None and best[2][4] > 1 and separator == "?" and best[0] >= 0.5 * len(lines) * best[2][4]:
            break
    return best[2] if best else None


def _runs(lines: Sequence[str], separator: str, mark: str, comment: str) -> list[tuple[int, int, int, int]]:
    """Find runs of like rows: first and last line, number of cells in a row, and how many of them are numbers."""
    runs: list[tuple[int, int, int, int]] = []
    first, width = -1, 0
    texts: tuple[bool, ...] = ()
    for i, line in enumerate([*lines, "end"]):
        cells = _cells(line, separator)
        kinds = _kinds(cells, mark) if i < len(lines) and not _is_comment(line, comment) else None
        fits = kinds is not None and any(kinds)
        if first >= 0 and not line.strip() and i < len(lines):
            continue
        if fits and first >= 0 and len(cells) == width and kinds == texts:
            continue
        if first >= 0:
            runs.append((first, _last(lines, first, i), width, sum(texts)))
            first = -1
        if fits:
            first, width, texts = i, len(cells), kinds or ()
    return [r for r in runs if r[1] - r[0] >= 2 or len(lines) <= 3]


def _last(lines: Sequence[str], first: int, stop: int) -> int:
    while stop > first and not lines[stop - 1].strip():
        stop -= 1
    return stop


def _is_comment(line: str, comment: str) -> bool:
    return line.lstrip().startswith((comment,) if comment else COMMENTS)


def _cells(line: str, separator: str) -> list[str]:
    if not separator:
        return line.split()
    cells = [c.strip() for c in line.split(separator)]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _kinds(cells: Sequence[str], mark: str) -> tuple[bool, ...]:
    """Tell which cells are numbers, or stand for one that is missing."""
    return tuple(_is_number(c, mark) for c in cells)


def _is_number(cell: str, mark: str) -> bool:
    raw = cell.encode("ascii", "replace")
    if not raw or raw.lower() in _WORDS:
        return True
    if mark == ",":
        if b"." in raw:
            return False
        raw = raw.replace(b",", b".")
    return numerals.is_number(raw.replace(b"D", b"e").replace(b"d", b"e"))


def _labels(lines: Sequence[str], separator: str, width: int) -> tuple[int, tuple[str, ...]]:
    """Find the label line: the last one before the rows that says anything, when it has as many names."""
    said = [i for i, line in enumerate(lines) if re.search(r"\w", line)]
    if not said:
        return -1, ()
    line = re.sub(r"^\s*(#L\b|[#%!]+|//)", "", lines[said[-1]]).strip()
    by_sign = [[c.strip().strip('"') for c in line.split(s)] for s in dict.fromkeys([separator, ",", "\t"]) if s]
    for cells in [*by_sign, re.split(r"\s{2,}", line), line.split()]:
        names = cells[:-1] if len(cells) == width + 1 and not cells[-1] else cells
        numbers = sum(_is_number(c, ".") for c in names)
        if len(names) == width and all(names) and numbers * 2 < width:
            return said[-1], tuple(names)
    return -1, ()


def _columns(found: Found) -> tuple[list[str], list[str]]:
    labels = found.labels or tuple(f"col{i + 1}" for i in range(found.width))
    names: list[str] = []
    units: list[str] = []
    seen: Counter[str] = Counter()
    for label in labels:
        parts = _UNITS.match(label)
        name, unit = (parts["name"], (parts["round"] or parts["square"]).strip()) if parts else (label, "")
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        units.append(unit)
    return names, units


def _typed(sheet: Sheet, names: Sequence[str]) -> list[Column]:
    """Say what each column is: whole numbers only when all are, else numbers, else text."""
    text = replace(sheet, columns=tuple(Column(n, TEXT) for n in names), decimal=sheet.decimal)
    _, columns = next(iter(text.pieces()), (0, [np.empty(0, TEXT)] * len(names)))
    whole = sheet.end - sheet.start <= SMALL
    out = []
    for name, cells in zip(names, columns, strict=True):
        present = (
            [str(c) for c in np.ma.compressed(np.ma.asarray(cells))] if np.ma.isMaskedArray(cells) else list(cells)
        )
        if whole and present and all(re.fullmatch(r"[+-]?\d{1,18}", c) for c in present):
            dtype: np.dtype[Any] = np.dtype(np.int64)
        elif all(
            _is_number(c, ".") and c.lower().encode() not in _WORDS - {b"nan", b"inf", b"-inf", b"+inf"}
            for c in present
        ):
            dtype = np.dtype(np.float64)
        else:
            dtype = TEXT
        out.append(Column(name, dtype))
    return out


_ROLES = {
    "x": Role.AXIS,
    "axis": Role.AXIS,
    "signal": Role.SIGNAL,
    "y": Role.SIGNAL,
    "errors": Role.ERRORS,
    "auxiliary": Role.AUXILIARY,
}


def _with_roles(fields: list[Field], sheet: Sheet, stated: str) -> list[Field]:
    """Give the columns their roles: as stated, else x and signal by position, which is a guess."""
    if stated:
        return with_stated_roles(fields, stated)
    numbers = [c.name for c in sheet.columns if c.dtype.kind in "if"]
    if len(numbers) < 2:
        return fields
    guess = {numbers[0]: Role.AXIS, numbers[1]: Role.SIGNAL}
    return [
        replace(f, role=guess[f.name], guessed=True, axes=(numbers[0],)) if f.per_row and f.name in guess else f
        for f in fields
    ]


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
            f, role=roles.get(f.name), guessed=False, axes=axes, of=signal if roles.get(f.name) == Role.ERRORS else None
        )
        if f.per_row
        else f
        for f in fields
    ]
