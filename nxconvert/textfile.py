"""Tables in text files, read as records: lazily, block by block, every number exactly.

A format says where the rows begin and what the columns are (``Sheet``); this module reads them. One pass over the
file finds its pieces: some whole rows each, quoted line breaks minded. A piece is then read on its own, so that memory
does not grow with the file. Plain numbers are read at once; by polars when the file is large enough to be worth its
import. What is not plain (or wrong) is read cell by cell, and an error names the file, the line and the column.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nxconvert import numerals
from nxconvert.array import Array, Box, full_box, is_text
from nxconvert.engine.codecs import keep_memory, workers
from nxconvert.engine.parallel import in_turn
from nxconvert.errors import InputError
from nxconvert.record import Block, Field, Record

SMALL = 4 << 20
"""Bytes of rows that are read once and kept; below, importing polars costs more than it saves."""

PIECE = 4 << 20
"""Bytes of a piece: its cells as Python objects, at worst, still are few against the budget."""

LONGEST = 64 << 20
"""Bytes that one row may have; more is a quote that is not closed."""

MANY = 16
"""Pieces that are worth the work of several processes, each of which has to load polars."""

SOME = 4096
"""Rows that are read at once cell by cell."""

_TRUE, _FALSE = (b"true", b"1", b"1.0"), (b"false", b"0", b"0.0")
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_ODD_NAN = re.compile(rb"[+-]?(?:1[.,]#(?:qnan|snan|ind)\d*|nan\(\w*\))", re.IGNORECASE)
_ODD_INF = re.compile(rb"([+-]?)1[.,]#inf\d*", re.IGNORECASE)

Values = np.ndarray[Any, Any]
T = TypeVar("T")


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


class Piece(NamedTuple):
    """Some whole rows.

    Attributes
    ----------
    offset, size
        Where they stand in the file, in bytes.
    row, rows
        Number of the first row, and how many there are.
    line
        Number of the first line.
    plain
        Whether there is nothing but rows.
    """

    offset: int
    size: int
    row: int
    rows: int
    line: int
    plain: bool


class _BadCellError(Exception):
    """A cell that is not what its column is: its row in its piece, and what is wrong."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


@dataclass(frozen=True)
class Sheet:
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
    def index(self) -> list[Piece]:
        """The pieces of the file, found in one pass.

        Raises
        ------
        InputError
            When a quote is not closed, or a file of ours ends within a line.
        """
        if not self.is_small:
            keep_memory()
        found: list[Piece] = []
        offset, row, line, wanted = self.start, 0, self.line, PIECE
        with self.path.open("rb") as file:
            while offset < self.end:
                file.seek(offset)
                text = file.read(min(wanted, self.end - offset))
                last = len(text) < wanted or offset + len(text) == self.end
                size = len(text) if last else self._cut(text)
                if not size and len(text) > LONGEST:
                    raise InputError(f"{self.where}:{line}: a quote is not closed", 'write a quote in a cell as ""')
                if not size and not last:
                    wanted *= 2
                    continue
                if not text:
                    break
                text, wanted = text[:size], PIECE
                if last and not self.foreign and not text.endswith(b"\n"):
                    raise InputError(
                        f"{self.where} ends in the middle of a line",
                        "copy it again; if it was edited and is complete, end its last line",
                    )
                kept, rows = self._rows_of(text, line)
                plain = kept is text
                if rows:
                    found.append(Piece(offset, size, row, rows, line, plain))
                lines = rows if plain and not (self.quotes and b'"' in text) else text.count(self._newline)
                offset, row, line = offset + size, row + rows, line + lines
        return found

    @cached_property
    def _newline(self) -> bytes:
        """What ends a line: a line feed, or in files of old Macintoshes a carriage return."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            text = file.read(min(PIECE, self.end - self.start))
        return b"\r" if b"\r" in text and b"\n" not in text else b"\n"

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return self.index[-1].row + self.index[-1].rows if self.index else 0

    def _cut(self, text: bytes) -> int:
        """Return where the last whole row of a text ends."""
        if self.quotes and b'"' in text:
            codes, inside = _quoting(text)
            ends = np.flatnonzero((codes == self._newline[0]) & ~inside)
            return int(ends[-1]) + 1 if len(ends) else 0
        return text.rfind(self._newline) + 1

    def _rows_of(self, text: bytes, line: int) -> tuple[bytes, int]:
        """Return the rows of a text, each ended by a line feed, without comments and empty lines; and their number."""
        if self._newline == b"\r":
            text = text.replace(b"\r", b"\n")
        if not text.endswith(b"\n"):
            text += b"\n"
        if self.quotes and b'"' in text:
            return self._quoted_rows(text, line)
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        if (rows := numerals.lines(text, self._odd)) is not None:
            return text, rows
        if any(c in text for c in self.comments):
            signs = b"|".join(map(re.escape, self.comments))
            text = re.sub(rb"^[ \t]*(?:" + signs + rb").*\n", b"", text, flags=re.MULTILINE)
        ends = _ends(text)
        if not self.blank_rows and len(ends) and _has_empty_lines(text, ends):
            text = re.sub(rb"^[ \t]*\n", b"", text, flags=re.MULTILINE)
            ends = _ends(text)
        return text, len(ends)

    @cached_property
    def _odd(self) -> Values:
        """Tell which codes a line may begin with that is no row: by the first, most lines are told to be one."""
        odd = np.zeros(256, bool)
        odd[[_NEWLINE, *b" \t", *(c[0] for c in self.comments)]] = True
        return odd

    def _quoted_rows(self, text: bytes, line: int) -> tuple[bytes, int]:
        codes, inside = _quoting(text)
        if inside[-1]:
            raise InputError(
                f"{self.where}: a quote is not closed, in the lines from {line} on", 'write a quote in a cell as ""'
            )
        ends = np.flatnonzero((codes == _NEWLINE) & ~inside)
        starts = np.concatenate([[0], ends[:-1] + 1])
        solid = np.concatenate([[0], np.cumsum(codes > 32)])
        keep = np.ones(len(ends), bool) if self.blank_rows else solid[ends] > solid[starts]
        for i in np.flatnonzero(np.isin(codes[starts], [c[0] for c in self.comments])):
            keep[i] &= not text.startswith(self.comments, int(starts[i]))
        returns = (codes[:-1] == _RETURN) & (codes[1:] == _NEWLINE) & ~inside[1:]
        if keep.all() and not returns.any():
            return text, len(ends)
        kept = np.repeat(keep, ends + 1 - starts)
        kept[:-1] &= ~returns
        return codes[kept].tobytes(), int(np.count_nonzero(keep))

    @cached_property
    def _held(self) -> dict[int, list[Values]]:
        """The columns of a small file, or of the piece that was read last."""
        return {}

    def columns_of(self, piece: Piece) -> list[Values]:
        """Read a piece: an array for each column, masked where cells are missing."""
        if piece.offset not in self._held:
            columns = self._read(piece)
            self._held.clear()
            self._held[piece.offset] = columns
        return self._held[piece.offset]

    def _read(self, piece: Piece) -> list[Values]:
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            raw = file.read(piece.size)
        text, rows = (raw, piece.rows) if piece.plain else self._rows_of(raw, piece.line)
        if rows != piece.rows or len(raw) != piece.size:
            raise InputError(f"{self.where} changed while it was read")
        try:
            return self._grouped(self._parsed(text, rows), rows)
        except _BadCellError as bad:
            raise InputError(
                f"{self.where}:{self._line_of(raw, bad.row, piece.line)}: {bad.reason}", _tip(bad.reason)
            ) from None

    def _line_of(self, raw: bytes, row: int, line: int) -> int:
        """Return the number of the line in which a row of a piece begins."""
        at, known = 0, -1
        while at < len(raw):
            end = raw.find(self._newline, at) + 1
            while end and self.quotes and raw.count(b'"', at, end) % 2:
                end = raw.find(self._newline, end) + 1
            end = end or len(raw)
            known += self._rows_of(raw[at:end], line)[1]
            if known >= row:
                break
            line += raw.count(self._newline, at, end)
            at = end
        return line

    def _grouped(self, parts: list[Values], rows: int) -> list[Values]:
        """Put the elements of a row's item together."""
        out: list[Values] = []
        at = 0
        for c in self.columns:
            some = parts[at : at + c.width]
            at += c.width
            if c.item and some:
                stacked = np.ma.stack(some, axis=1) if any(map(_masked, some)) else np.stack(some, axis=1)
                out.append(stacked.reshape((len(stacked), *c.item)).astype(c.dtype))
            elif c.item:
                out.append(np.empty((rows, *c.item), c.dtype))
            else:
                out.append(some[0])
        return out

    def _parsed(self, text: bytes, rows: int) -> list[Values]:
        """Read rows; each cell of a row becomes an array."""
        quoted = self.quotes and b'"' in text
        found: list[Values] | None = None
        if not quoted and (len(text) >= numerals.FEW or not self.is_small):
            found = self._in_one_go(text, rows)
        if found is None and rows and self.width > self.blank_rows:
            if self.separator and not self.is_small:
                found = self._by_polars(text, rows, quoted=quoted)
            elif not quoted and not self.spare and self._is_regular(text, rows):
                found = self._numbers(text, rows)
        return self._cell_by_cell(text) if found is None else found

    def _in_one_go(self, text: bytes, rows: int) -> list[Values] | None:
        """Read numbers by the compiled library; None when that is not there, or a cell is wrong."""
        table = numerals.in_one_go(text, self.cells, rows, self.separator, self.decimal, self.spare)
        if table is None:
            return None
        left: dict[int, list[tuple[int, bytes]]] = {}
        for row, cell, word in table.left:
            left.setdefault(cell, []).append((row, word))
        for i, cells in left.items():
            try:
                some = self._column("", self.cells[i], [word for _, word in cells], i, 0)
            except _BadCellError:
                return None  # another way finds which is the first
            rows_ = [row for row, _ in cells]
            values = table.columns[i]
            np.ma.getdata(values)[rows_] = np.ma.getdata(some)
            if _masked(some):
                mask = np.ma.getmaskarray(values).copy()
                mask[rows_] = np.ma.getmaskarray(some)
                table.columns[i] = np.ma.MaskedArray(np.ma.getdata(values), mask)
        return table.columns

    def _is_regular(self, text: bytes, rows: int) -> bool:
        """Tell whether every row has as many cells as there are columns; nothing is quoted."""
        codes = np.frombuffer(text, np.uint8)
        if not self.separator:
            solid = codes > 32
            begins = np.flatnonzero(solid[1:] & ~solid[:-1]) + 1
            begins = np.concatenate([[0], begins]) if solid[0] else begins
            known = np.searchsorted(begins, _ends(text))
            return bool((np.diff(known, prepend=0) == self.width).all())
        ends = codes[(codes == self.separator[0]) | (codes == _NEWLINE)] == _NEWLINE
        return len(ends) == rows * self.width and bool(ends[self.width - 1 :: self.width].all())

    def _is_full(self, text: bytes, rows: int, *, quoted: bool) -> bool:
        """Tell whether there are as many separators as rows want; where one has more, another has less."""
        if quoted:
            codes, inside = _quoting(text)
            return int(np.count_nonzero((codes == self.separator[0]) & ~inside)) == rows * (self.width - 1)
        codes = np.frombuffer(text, np.uint8)
        return int(np.count_nonzero(codes == self.separator[0])) == rows * (self.width - 1)

    def _numbers(self, text: bytes, rows: int) -> list[Values] | None:
        """Read plain numbers; None when a cell is empty or no plain number."""
        dtypes = self.cells
        if any(d.kind not in "iuf" or d.itemsize > 8 for d in dtypes):
            return None
        if self.decimal != b".":
            text = text.replace(self.decimal, b".")
        if self.separator:
            s = self.separator
            if text.startswith(s) or s + s in text or s + b"\n" in text or b"\n" + s in text:
                return None
            text = text.replace(s, b" ")
        if any(d.kind != "f" and d.itemsize > 4 for d in dtypes):
            return numerals.columns(text, dtypes, rows)
        found = numerals.columns(text, [np.dtype(np.float64)] * len(dtypes), rows)
        if found is None:
            return None
        cast = [_cast(v, d) for v, d in zip(found, dtypes, strict=True)]
        return None if any(c is None for c in cast) else [c for c in cast if c is not None]

    def _by_polars(self, text: bytes, rows: int, *, quoted: bool) -> list[Values] | None:
        """Read with polars what it reads exactly; None when it does not read it.

        Polars refuses a row of too many cells, but fills up one of too few.
        """
        import polars as pl

        if not self._is_full(text, rows, quoted=quoted):
            return None

        kinds: dict[str, Any] = {"b1": pl.Boolean, "f2": pl.Float32, "f4": pl.Float32, "f8": pl.Float64}
        kinds |= {f"i{n}": t for n, t in zip((1, 2, 4, 8), (pl.Int8, pl.Int16, pl.Int32, pl.Int64), strict=True)}
        kinds |= {f"u{n}": t for n, t in zip((1, 2, 4, 8), (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64), strict=True)}
        if any(not is_text(d) and d.str[1:] not in kinds for d in self.cells):
            return None
        types = [pl.String if is_text(d) else kinds[d.str[1:]] for d in self.cells] + [pl.String] * self.spare
        if self.foreign and pl.String in types:
            text = numerals.decoded(text).encode("utf-8")
        try:
            frame = pl.read_csv(
                text,
                has_header=False,
                schema={str(i): t for i, t in enumerate(types)},
                separator=self.separator.decode("ascii"),
                quote_char='"' if quoted else None,
                decimal_comma=self.decimal == b",",
            )
        except (pl.exceptions.PolarsError, ValueError):
            return None
        spare = range(len(self.cells), self.width)
        if frame.height != rows or any(frame.to_series(i).null_count() < rows for i in spare):
            return None
        return [self._from_series(frame.to_series(i), d) for i, d in enumerate(self.cells)]

    def hold_whole(self, pieces: Sequence[Piece], numbers: Sequence[int]) -> Iterator[bool]:
        """Tell for each piece, as far as that is quickly told, whether the cells of some columns are whole numbers."""
        if numerals.reads(self.cells):
            return in_threads(lambda piece: self._holds_whole(piece, numbers), pieces)
        return (self._holds_whole(piece, numbers) for piece in pieces)

    def _holds_whole(self, piece: Piece, numbers: Sequence[int]) -> bool:
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            text, rows = self._rows_of(file.read(piece.size), piece.line)
        quoted = self.quotes and b'"' in text
        if not quoted:
            dtypes = [np.dtype(np.int64) if i in numbers else None for i in range(len(self.cells))]
            table = numerals.in_one_go(text, dtypes, rows, self.separator, self.decimal, self.spare)
            if table is not None:
                return all(word.strip().lower() in self.missing for _, _, word in table.left)
        return bool(self.separator) and self._holds_whole_by_polars(text, numbers, quoted=quoted)

    def _holds_whole_by_polars(self, text: bytes, numbers: Sequence[int], *, quoted: bool) -> bool:
        import polars as pl

        try:
            pl.read_csv(
                text,
                has_header=False,
                schema={str(i): pl.Int64 if i in numbers else pl.String for i in range(self.width)},
                columns=list(numbers),
                separator=self.separator.decode("ascii"),
                quote_char='"' if quoted else None,
                encoding="utf8-lossy",
            )
        except (pl.exceptions.PolarsError, ValueError):
            return False
        return True

    def _from_series(self, series: Any, dtype: np.dtype[Any]) -> Values:
        mask = series.is_null().to_numpy() if series.null_count() else None
        if is_text(dtype):
            values = self._texts([v or "" for v in series.to_list()], dtype)
        else:
            filled = series if mask is None else series.fill_null(False if dtype.kind == "b" else 0)
            values = filled.to_numpy().astype(dtype, copy=False)
        return values if mask is None else np.ma.MaskedArray(values, mask)

    def _texts(self, words: Sequence[str | bytes], dtype: np.dtype[Any]) -> Values:
        if self.foreign:
            texts = [(numerals.decoded(w) if isinstance(w, bytes) else w).strip() for w in words]
        else:
            texts = [w.decode("utf-8", "surrogateescape") if isinstance(w, bytes) else w for w in words]
        if self.mark:
            texts = [t.removeprefix(self.mark) for t in texts]
        values: Values = np.empty(len(words), dtype=dtype)
        if dtype.kind == "S" or (dtype.metadata is not None and dtype.metadata.get("vlen") is bytes):
            values[:] = [t.encode("utf-8", "surrogateescape") for t in texts]
        else:
            values[:] = texts
        return values

    def _cell_by_cell(self, text: bytes) -> list[Values]:
        some: list[list[bytes | None]] = []
        parts: list[list[Values]] = []
        width, first = len(self.cells), 0
        for cells in self._split(text):
            if len(cells) != self.width and (len(cells) < width or any(cells[width:])):
                raise _BadCellError(first + len(some), f"{len(cells)} cells, where the table has {self.width} columns")
            some.append(cells)
            if len(some) == SOME:
                parts.append(self._columns(some, first))
                first += len(some)
                some = []
        if some or not parts:
            parts.append(self._columns(some, first))
        joined = (list(column) for column in zip(*parts, strict=True))
        return [p[0] if len(p) == 1 else (np.ma if any(map(_masked, p)) else np).concatenate(p) for p in joined]

    def _columns(self, rows: list[list[bytes | None]], first: int) -> list[Values]:
        names = [c.name for c in self.columns for _ in range(c.width)]
        return [self._column(names[i], d, [cells[i] for cells in rows], i, first) for i, d in enumerate(self.cells)]

    def _split(self, text: bytes) -> Iterator[list[bytes | None]]:
        """Yield the cells of each row; an empty one is None, one that is quoted and empty is not."""
        if not self.separator:
            for line in text.split(b"\n")[:-1]:
                yield list(line.split())
            return
        s = self.separator
        blanks = b" " if s == b"\t" else b" \t"
        if not self.quotes or b'"' not in text:
            for line in text.split(b"\n")[:-1]:
                yield [cell.strip(blanks + b"\r") or None for cell in line.split(s)]
            return
        cell = _cell(s)
        row: list[bytes | None] = []
        at, known = 0, 0
        while at < len(text):
            found = cell.match(text, at)
            if found is None:
                raise _BadCellError(known, 'a quote is out of place; write a quote in a cell as ""')
            quoted, plain, after = found.groups()
            row.append(quoted.replace(b'""', b'"') if quoted is not None else (plain or b"").strip(blanks) or None)
            if after == b"\n":
                yield row
                row = []
                known += 1
            at = found.end()

    def _column(self, name: str, dtype: np.dtype[Any], cells: list[bytes | None], number: int, first: int) -> Values:
        if is_text(dtype):
            there = [cell is not None for cell in cells]
            values = self._texts([cell or b"" for cell in cells], dtype)
        else:
            words = [(cell or b"").strip().lower() for cell in cells]
            gone = {b"", *self.missing} | ({b"nan"} if dtype.kind in "biu" else set())
            there = [w not in gone for w in words]
            present = [w if t else b"0" for w, t in zip(words, there, strict=True)]
            plain = numerals.plain(dtype) if dtype.kind != "b" else dtype
            found = self._plain_cells(present, plain)
            values = np.zeros(len(cells), plain) if found is None else found
            for i, word in enumerate(present if found is None else ()):
                try:
                    values[i] = self._number(word, plain)
                except (ValueError, OverflowError):
                    shown = (cells[i] or b"")[:40].decode("utf-8", "replace")
                    kind = "neither true nor false" if dtype.kind == "b" else f"no {plain.name}"
                    reason = f"column {number + 1} ({name}): {shown!r} is {kind}"
                    raise _BadCellError(first + i, reason) from None
            values = values.astype(dtype, copy=False)
        return values if all(there) else np.ma.MaskedArray(values, [not t for t in there])

    def _plain_cells(self, cells: list[bytes], dtype: np.dtype[Any]) -> Values | None:
        """Read the cells of a column at once; None when one needs more care."""
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or self.decimal != b"." or b"_" in b"".join(cells):
            return None
        try:
            if dtype.kind != "f":
                return np.array([int(c) for c in cells], dtype)
            return _cast(np.array([float(c) for c in cells]), dtype)
        except (ValueError, OverflowError):
            return None

    def _number(self, cell: bytes, dtype: np.dtype[Any]) -> Any:
        if self.decimal != b".":
            cell = cell.replace(self.decimal, b".")
        if dtype.kind == "b":
            if cell not in _TRUE + _FALSE:
                raise ValueError(cell)
            return cell in _TRUE
        if dtype.kind == "c":
            return dtype.type(complex(cell.decode("ascii")) if dtype.itemsize <= 16 else cell.decode("ascii"))
        if dtype.kind == "f" and _ODD_NAN.fullmatch(cell):
            return np.nan
        if dtype.kind == "f" and (odd := _ODD_INF.fullmatch(cell)):
            return -np.inf if odd[1] == b"-" else np.inf
        return numerals.number(cell.replace(b"d", b"e"), dtype)

    @cached_property
    def lengths(self) -> list[int]:
        """How many rows each column has: as stated, else up to its last cell that is not empty."""
        stated = self.expected is None or self.expected == self.rows
        out = [c.length if stated else None for c in self.columns]
        if None in out and not self.is_small and self._ends_full():
            out = [self.rows if n is None else n for n in out]
        for piece in reversed(self.index):
            if all(n is not None for n in out):
                break
            for i, values in enumerate(self.columns_of(piece)):
                if out[i] is None:
                    last = np.flatnonzero(~missing_rows(values))
                    out[i] = piece.row + int(last[-1]) + 1 if len(last) else None
        return [min(n or 0, self.rows) for n in out]

    def _ends_full(self) -> bool:
        """Tell whether the last row of a large file has all its cells, as it mostly does; found without polars."""
        if not self.index or self.quotes:
            return False
        piece = self.index[-1]
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            text = self._rows_of(file.read(piece.size), piece.line)[0]
        try:
            last = self._cell_by_cell(text[text.rfind(b"\n", 0, -1) + 1 :])
        except _BadCellError:
            return False
        return not any(map(_masked, last))

    def pieces(self, rows: slice = slice(0, None)) -> Iterator[tuple[int, list[Values]]]:
        """Yield the number of a first row and the columns from there, of the pieces that have some of the rows."""
        wanted = [p for p in self.index if p.row + p.rows > rows.start and (rows.stop is None or p.row < rows.stop)]
        if len(wanted) > 1 and numerals.reads(self.cells):
            yield from (
                (piece.row, columns) for piece, columns in zip(wanted, in_threads(self._read, wanted), strict=True)
            )
        elif len(wanted) >= MANY and self._may_fork:
            made = in_turn(lambda i: pickle.dumps(self.columns_of(wanted[i]), 5), len(wanted))
            yield from ((piece.row, pickle.loads(m)) for piece, m in zip(wanted, made, strict=True))  # noqa: S301 - ours
        else:
            yield from ((piece.row, self.columns_of(piece)) for piece in wanted)

    @property
    def _may_fork(self) -> bool:
        """Tell whether other processes may read pieces too: not after polars has started its threads in this one."""
        return all(d.kind in "biuf" and d.metadata is None for d in self.cells) and "polars" not in sys.modules


def in_threads(work: Callable[[Piece], T], pieces: Sequence[Piece]) -> Iterator[T]:
    """Yield what work makes of pieces, in order; threads do some of it before it is asked for."""
    threads = workers()
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, "text") as pool:
        try:
            for i in range(len(pieces) + threads):
                if i < len(pieces):
                    pending.append(pool.submit(work, pieces[i]))
                if i >= threads and pending:
                    yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _cell(separator: bytes) -> re.Pattern[bytes]:
    """Match one cell and what ends it: inside of quotes, or as it is."""
    e = re.escape(separator)
    return re.compile(rb'[ ]*(?:"((?:[^"]|"")*)"[ ]*|([^"' + e + rb"\n][^" + e + rb"\n]*)?)(" + e + rb"|\n)")


def row_of(text: bytes, separator: bytes) -> list[bytes] | None:
    """Return the cells of one row; None when its quotes are not closed as they should be."""
    pattern = _cell(separator)
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


def _quoting(text: bytes) -> tuple[Values, Values]:
    """Return the codes of a text that begins outside of quotes, and which of them are inside."""
    codes = np.frombuffer(text, np.uint8)
    return codes, (np.cumsum(codes == _QUOTE, dtype=np.uint8) & 1).astype(bool)


def _ends(text: bytes) -> Values:
    """Return where the line feeds of a text are."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)


def _has_empty_lines(text: bytes, ends: Values) -> bool:
    """Tell whether a line is empty, or of blanks alone."""
    if ends[0] == 0 or (np.diff(ends) == 1).any():
        return True
    last = np.frombuffer(text, np.uint8)[ends - 1]  # looked at first, since searching for blanks takes longer
    blank = ((last == 32) | (last == 9)).any()
    return bool(blank and (re.match(rb"[ \t]+\n", text) or re.search(rb"\n[ \t]+\n", text)))


def missing_rows(values: Values) -> Values:
    """Tell which rows of an array have nothing but missing elements."""
    mask: Any = np.ma.getmaskarray(values)
    gone: Values = mask.reshape(len(values), -1).all(axis=1)
    return gone


def _masked(values: Values) -> bool:
    return type(values) is not np.ndarray


def _tip(reason: str) -> str:
    if "cells" in reason:
        return "is the separator right (--delimiter), and are cells that hold it quoted?"
    return "mend the cell, or empty it where the value is missing" if "column" in reason else ""


def _cast(values: Values, dtype: np.dtype[Any]) -> Values | None:
    """Cast numbers that were read as float64; None where that would not be exact."""
    if dtype.kind == "f":
        if dtype.itemsize == 4 and numerals.between(values).any():
            return None
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    if not ((values >= info.min) & (values <= info.max) & (values == np.floor(values))).all():
        return None
    return values.astype(dtype)


class Cells(Array):
    """The values of one column of a sheet."""

    __slots__ = ("_column", "_number", "_sheet")

    def __init__(self, sheet: Sheet, number: int) -> None:
        self._sheet, self._number = sheet, number
        self._column = sheet.columns[number]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._sheet.lengths[self._number], *self._column.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._column.dtype

    def read(self, box: Box | None = None) -> Values:
        rows, *item = full_box(box, self.shape)
        parts: list[Values] = []
        for first, columns in self._sheet.pieces(rows):
            part = np.ma.getdata(columns[self._number])[max(0, rows.start - first) : max(0, rows.stop - first)]
            if len(part):
                parts.append(part)
        out = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty((0, *self._column.item))
        return _typed(out, self._column.dtype)[(slice(None), *item)]


class Missing(Array):
    """Which rows of one column of a sheet are missing."""

    __slots__ = ("_number", "_sheet", "_values")

    def __init__(self, sheet: Sheet, number: int, values: Cells) -> None:
        self._sheet, self._number, self._values = sheet, number, values

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape[:1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def read(self, box: Box | None = None) -> Values:
        (rows,) = full_box(box, self.shape)
        mask = np.zeros(max(0, rows.stop - rows.start), dtype=bool)
        for first, columns in self._sheet.pieces(rows):
            values = columns[self._number]
            if _masked(values):
                gone = missing_rows(values)[max(0, rows.start - first) : max(0, rows.stop - first)]
                at = max(0, first - rows.start)
                mask[at : at + len(gone)] = gone
        absent = self._sheet.absent.get(self._sheet.columns[self._number].name)
        if absent is not None:
            mask[absent[(absent >= rows.start) & (absent < rows.stop)] - rows.start] = True
        return mask


def _typed(values: Values, dtype: np.dtype[Any]) -> Values:
    """Give an array its dtype with the metadata, which numpy drops."""
    if values.dtype is dtype:
        return values
    out = np.empty(values.shape, dtype=dtype)
    out[...] = values
    return out


@dataclass(frozen=True)
class SheetRecord(Record):
    """A record whose rows are those of a sheet."""

    sheet: Sheet | None = None

    def blocks(self, names: Sequence[str] | None = None, budget: int = 64 << 20) -> Iterator[Block]:
        assert self.sheet is not None
        chosen = [f.name for f in self.columns] if names is None else list(names)
        numbers = {c.name: i for i, c in enumerate(self.sheet.columns)}
        total = max((self.fields[n].shape[0] for n in chosen), default=0)
        step = max(1, budget // max(1, sum(16 * c.width for c in self.sheet.columns)))
        for first, columns in self.sheet.pieces(slice(0, total)):
            rows = max(len(c) for c in columns)
            for start in range(first, min(first + rows, total), step):
                stop = min(start + step, first + rows, total)
                yield Block(
                    start, stop - start, {n: self._part(columns[numbers[n]], n, first, start, stop) for n in chosen}
                )

    def _part(self, values: Values, name: str, first: int, start: int, stop: int) -> Values:
        assert self.sheet is not None
        stop = max(start, min(stop, self.fields[name].shape[0]))
        part = values[start - first : stop - first]
        absent = self.sheet.absent.get(name)
        if absent is not None:
            mask = np.ma.getmaskarray(part).copy()
            mask[absent[(absent >= start) & (absent < stop)] - start] = True
            part = np.ma.MaskedArray(np.ma.getdata(part), mask)
        if _masked(part) and not np.ma.getmaskarray(part).any():
            part = np.ma.getdata(part)
        return part if _masked(part) else _typed(part, self.fields[name].dtype)


def record(sheet: Sheet, fields: Sequence[Field], **about: Any) -> SheetRecord:
    """Make a record of a sheet.

    Parameters
    ----------
    sheet
        The rows.
    fields
        Header values, and for each column of the sheet a field of its name, whose values are set here.
    about
        Key, source, mapping, grid.
    """
    numbers = {c.name: i for i, c in enumerate(sheet.columns)}
    made: dict[str, Field] = {}
    for f in fields:
        if f.per_row:
            cells = Cells(sheet, numbers[f.name])
            f = replace(f, values=cells, mask=Missing(sheet, numbers[f.name], cells))
        made[f.name] = f
    return SheetRecord(fields=made, sheet=sheet, **about)
