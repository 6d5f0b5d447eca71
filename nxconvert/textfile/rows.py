"""Whole rows in the bytes of a text: where they end, and which lines are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nxconvert import compiled
from nxconvert.compiled.numbers import FEW
from nxconvert.errors import InputError
from nxconvert.textfile.layout import NEWLINE, Layout, Values

LONGEST = 64 << 20
"""Bytes that one row may have; more is a quote that is not closed."""

_RETURN, _QUOTE = b'\r"'


def cut(layout: Layout, text: bytes) -> int:
    """Return where the last whole row of a text ends."""
    if layout.quotes and b'"' in text:
        codes, inside = quoting(text)
        ends = np.flatnonzero((codes == layout.newline[0]) & ~inside)
        return int(ends[-1]) + 1 if len(ends) else 0
    return text.rfind(layout.newline) + 1


def rows_of(layout: Layout, text: bytes, line: int) -> tuple[bytes, int]:
    """Return the rows of a text, each ended by a line feed, without comments and empty lines; and their number."""
    if layout.newline == b"\r":
        text = text.replace(b"\r", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    if layout.quotes and b'"' in text:
        return _quoted_rows(layout, text, line)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if (rows := _lines(text, layout.odd)) is not None:
        return text, rows
    if any(c in text for c in layout.comments):
        signs = b"|".join(map(re.escape, layout.comments))
        text = re.sub(rb"^[ \t]*(?:" + signs + rb").*\n", b"", text, flags=re.MULTILINE)
    ends = ends_of(text)
    if not layout.blank_rows and len(ends) and _has_empty_lines(text, ends):
        text = re.sub(rb"^[ \t]*\n", b"", text, flags=re.MULTILINE)
        ends = ends_of(text)
    return text, len(ends)


def _quoted_rows(layout: Layout, text: bytes, line: int) -> tuple[bytes, int]:
    codes, inside = quoting(text)
    if inside[-1]:
        raise InputError(
            f"{layout.where}: a quote is not closed, in the lines from {line} on", 'write a quote in a cell as ""'
        )
    ends = np.flatnonzero((codes == NEWLINE) & ~inside)
    starts = np.concatenate([[0], ends[:-1] + 1])
    solid = np.concatenate([[0], np.cumsum(codes > 32)])
    keep = np.ones(len(ends), bool) if layout.blank_rows else solid[ends] > solid[starts]
    for i in np.flatnonzero(np.isin(codes[starts], [c[0] for c in layout.comments])):
        keep[i] &= not text.startswith(layout.comments, int(starts[i]))
    returns = (codes[:-1] == _RETURN) & (codes[1:] == NEWLINE) & ~inside[1:]
    if keep.all() and not returns.any():
        return text, len(ends)
    kept = np.repeat(keep, ends + 1 - starts)
    kept[:-1] &= ~returns
    return codes[kept].tobytes(), int(np.count_nonzero(keep))


def line_of(layout: Layout, raw: bytes, row: int, line: int) -> int:
    """Return the number of the line in which a row of a piece begins."""
    at, known = 0, -1
    while at < len(raw):
        end = raw.find(layout.newline, at) + 1
        while end and layout.quotes and raw.count(b'"', at, end) % 2:
            end = raw.find(layout.newline, end) + 1
        end = end or len(raw)
        known += rows_of(layout, raw[at:end], line)[1]
        if known >= row:
            break
        line += raw.count(layout.newline, at, end)
        at = end
    return line


def _lines(text: bytes, odd: Values) -> int | None:
    """Count the lines of a text that ends in a line feed; None when one begins with a code that is odd.

    Parameters
    ----------
    text
        At least one line.
    odd
        For each of the 256 codes whether it is odd.
    """
    library = compiled.library() if len(text) >= FEW else None
    if library is not None:
        count: int = library.nx_lines(text, len(text), odd.ctypes.data)
        return count if count >= 0 else None
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == NEWLINE)
    return None if odd[codes[0]] or odd[codes[ends[:-1] + 1]].any() else len(ends)


def cell(separator: bytes) -> re.Pattern[bytes]:
    """Match one cell and what ends it: inside of quotes, or as it is."""
    e = re.escape(separator)
    return re.compile(rb'[ ]*(?:"((?:[^"]|"")*)"[ ]*|([^"' + e + rb"\n][^" + e + rb"\n]*)?)(" + e + rb"|\n)")


def row_of(text: bytes, separator: bytes) -> list[bytes] | None:
    """Return the cells of one row; None when its quotes are not closed as they should be."""
    pattern = cell(separator)
    text = text.rstrip(b"\r\n") + b"\n"
    cells: list[bytes] = []
    at = 0
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            return None
        quoted, plain, _ = found.groups()
        cells.append(quoted.replace(b'""', b'"') if quoted is not None else plain or b"")
        at = found.end()
    return cells


def first_row(path: Path, start: int) -> tuple[bytes, int]:
    """Return the first row from an offset, and the number of lines that it takes."""
    with path.open("rb") as file:
        file.seek(start)
        row = file.readline()
        while row.count(b'"') % 2 and len(row) < LONGEST and (more := file.readline()):
            row += more
    return row, row.count(b"\n")


def quoting(text: bytes) -> tuple[Values, Values]:
    """Return the codes of a text that begins outside of quotes, and which of them are inside."""
    codes = np.frombuffer(text, np.uint8)
    return codes, (np.cumsum(codes == _QUOTE, dtype=np.uint8) & 1).astype(bool)


def ends_of(text: bytes) -> Values:
    """Return where the line feeds of a text are."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == NEWLINE)


def _has_empty_lines(text: bytes, ends: Values) -> bool:
    """Tell whether a line is empty, or of blanks alone."""
    if ends[0] == 0 or (np.diff(ends) == 1).any():
        return True
    last = np.frombuffer(text, np.uint8)[ends - 1]  # looked at first, since searching for blanks takes longer
    blank = ((last == 32) | (last == 9)).any()
    return bool(blank and (re.match(rb"[ \t]+\n", text) or re.search(rb"\n[ \t]+\n", text)))
