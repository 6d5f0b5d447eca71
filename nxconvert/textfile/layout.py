"""How the rows of a table are written in a file: what a format says of it, and all ways of reading go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.dataclass import dataclass

SMALL = 4 << 20
"""Bytes of rows that are read once and kept; below, importing polars costs more than it saves."""

NEWLINE = 10

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Column:
    """One field's cells: how many stand side by side, what they become, how many rows have them (None: see)."""

    name: str
    dtype: np.dtype[Any]
    item: tuple[int, ...] = ()
    length: int | None = None

    @property
    def width(self) -> int:
        return int(np.prod(self.item, dtype=int)) if self.item else 1


@dataclass(frozen=True)
class Layout:
    """Where the rows of a table stand in a file.

    Attributes
    ----------
    path
        The file.
    columns
        In the order of the cells.
    start, stop
        Offsets of the first row and the end of the rows, in bytes; None is the end of the file.
    separator
        Between cells; empty means any white space.
    decimal
        The decimal sign.
    quotes
        Whether cells may be quoted, and then hold separators and line breaks.
    comments
        What a line begins with that is no row.
    missing
        Words, in lower case, that stand for a missing number.
    foreign
        Whether the file is not ours: blanks around text mean nothing, text that is not UTF-8 is latin-1.
    blank_rows
        Whether an empty line is a row (of one missing cell).
    spare
        How many empty cells follow in each row, as spreadsheets add them.
    line
        Number of the line at ``start``, for messages.
    absent
        Rows whose cell stands for a missing value, by column.
    mark
        What is taken off where a text begins with it.
    expected
        Number of rows for which the stated lengths of the columns hold; None is any.
    name
        What messages call the file.
    """

    path: Path
    columns: tuple[Column, ...]
    start: int = 0
    stop: int | None = None
    separator: bytes = b","
    decimal: bytes = b"."
    quotes: bool = True
    comments: tuple[bytes, ...] = ()
    missing: frozenset[bytes] = frozenset()
    foreign: bool = False
    blank_rows: bool = False
    spare: int = 0
    line: int = 1
    absent: Mapping[str, Values] = field(default_factory=dict)
    mark: str = ""
    expected: int | None = None
    name: str = ""

    @cached_property
    def cells(self) -> list[np.dtype[Any]]:
        """The dtype of each cell of a row, spare ones left out."""
        return [c.dtype for c in self.columns for _ in range(c.width)]

    @property
    def width(self) -> int:
        """Number of cells in a row, spare ones included."""
        return len(self.cells) + self.spare

    @cached_property
    def end(self) -> int:
        return self.path.stat().st_size if self.stop is None else self.stop

    @property
    def where(self) -> str:
        return self.name or str(self.path)

    @property
    def is_small(self) -> bool:
        return self.end - self.start <= SMALL

    @cached_property
    def newline(self) -> bytes:
        """What ends a line: a line feed, or in files of old Macintoshes a carriage return."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            text = file.read(min(SMALL, self.end - self.start))
        return b"\r" if b"\r" in text and b"\n" not in text else b"\n"

    @cached_property
    def odd(self) -> Values:
        """Tell which codes a line may begin with that is no row: by the first, most lines are told to be one."""
        odd = np.zeros(256, bool)
        odd[[NEWLINE, *b" \t", *(c[0] for c in self.comments)]] = True
        return odd
