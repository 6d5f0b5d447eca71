"""Several tables in one text: where one ends and the next begins."""

from __future__ import annotations

from typing import NamedTuple

from nxconvert import numerals
from nxconvert.errors import InputError
from nxconvert.foreign.dialect import NUMBERED, WORD, Dialect
from nxconvert.foreign.encoding import TextFile


class Part(NamedTuple):
    """A part of a file that holds one table: where it begins and ends, in bytes, and the number of its first line."""

    start: int
    stop: int
    line: int


class SeveralTablesError(InputError):
    """A text is more than one table; the dialect is that of the longest."""

    def __init__(self, message: str, dialect: Dialect) -> None:
        super().__init__(message, "put an empty line and a line of labels before each table, or split the file")
        self.dialect = dialect


def parts_of(text: TextFile, dialect: Dialect, least: int = 1) -> list[Part]:
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
    return kinds.count(NUMBERED) > kinds.count(WORD)
