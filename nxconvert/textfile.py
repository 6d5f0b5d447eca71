"""Tables in text files, read as records: lazily, block by block, every number exactly.

A format says where the rows begin and what the columns are (``Sheet``); this module reads them. A small file is read
once and kept; a large one is read in blocks, by polars when its columns are plain numbers. A file with quoted cells is
read whole, since a quoted line break may stand anywhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import numerals
from nxconvert.array import Array, Box, full_box, is_text
from nxconvert.errors import InputError
from nxconvert.record import Block, Field, Record

SMALL = 8 << 20
"""Bytes of a file that is read once and kept."""

PIECE = 16 << 20
"""Bytes that are read at once from a larger one."""

_TRUE, _FALSE = (b"true", b"True", b"TRUE", b"1"), (b"false", b"False", b"FALSE", b"0")


@dataclass(frozen=True)
class Column:
    """One field's cells: how many stand side by side, what they become, and how many rows have them (None: all)."""

    name: str
    dtype: np.dtype[Any]
    item: tuple[int, ...] = ()
    length: int | None = None

    @property
    def width(self) -> int:
        return int(np.prod(self.item, dtype=int)) if self.item else 1


@dataclass(frozen=True)
class Sheet:
    """Where the rows of a table stand in a file.

    Attributes
    ----------
    path
        The file.
    columns
        In the order of the cells.
    start
        Offset of the first row, in bytes.
    stop
        Offset of the end of the rows; None is the end of the file.
    separator
        Between cells; empty means any white space.
    decimal
        The decimal sign.
    comment
        What a line begins with that is no row, or empty.
    complete
        Whether the last line must end in a line break, as those that we wrote do.
    blank_rows
        Whether an empty line is a row (of one missing cell).
    absent
        Rows whose cell stands for a missing value, by column.
    """

    path: Path
    columns: tuple[Column, ...]
    start: int = 0
    stop: int | None = None
    separator: bytes = b","
    decimal: bytes = b"."
    comment: bytes = b""
    complete: bool = False
    blank_rows: bool = False
    absent: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return sum(c.width for c in self.columns)

    @cached_property
    def end(self) -> int:
        return self.path.stat().st_size if self.stop is None else self.stop

    @cached_property
    def whole(self) -> list[np.ndarray[Any, Any]] | None:
        """All columns, of a file that is small or has quoted cells; None for others."""
        if self.end - self.start > SMALL and not self._quotes:
            return None
        with self.path.open("rb") as file:
            file.seek(self.start)
            text = file.read(self.end - self.start)
        if self.complete and text and not text.endswith(b"\n"):
            raise InputError(
                f"{self.path} ends in the middle of a line",
                "copy it again; if it was edited and is complete, end its last line",
            )
        return self.parsed(self._rows_only(text), 0)

    @cached_property
    def _survey(self) -> tuple[int, bool, bool]:
        """Look over a large file once: line breaks, whether cells are quoted, whether its lines need mending."""
        lines, quotes, odd = 0, False, bool(self.comment or self.decimal != b"." or not self.complete)
        last = b"\n"
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.end - self.start
            while left > 0 and (read := file.read(min(PIECE, left))):
                left -= len(read)
                lines += read.count(b"\n")
                quotes = quotes or b'"' in read
                odd = odd or b"\r" in read
                last = read
        return lines, quotes and self.separator != b"", odd or last.endswith(b"\n\n")

    @property
    def _quotes(self) -> bool:
        return self._survey[1]

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        if self.whole is not None:
            return len(self.whole[0]) if self.whole else 0
        lines, _, odd = self._survey
        return sum(piece.count(b"\n") for piece in self._pieces()) if odd else lines

    def _pieces(self) -> Iterator[bytes]:
        """Yield the rows in pieces that end with a line."""
        mended = self._rows_only if self._survey[2] else bytes
        with self.path.open("rb") as file:
            file.seek(self.start)
            left, rest = self.end - self.start, b""
            while left > 0:
                read = file.read(min(PIECE, left))
                if not read:
                    break
                left -= len(read)
                cut = read.rfind(b"\n") + 1
                if not cut:
                    rest += read
                    continue
                yield mended(rest + read[:cut])
                rest = read[cut:]
            if rest:
                if self.complete:
                    raise InputError(
                        f"{self.path} ends in the middle of a line",
                        "copy it again; if it was edited and is complete, end its last line",
                    )
                yield self._rows_only(rest + b"\n")

    def _rows_only(self, text: bytes) -> bytes:
        if b"\r" in text and (b'"' not in text or text.count(b"\r\n") == text.count(b"\n")):
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if text and not text.endswith(b"\n"):
            text += b"\n"
        if self.comment and self.comment in text:
            text = re.sub(rb"^[ \t]*" + re.escape(self.comment) + rb".*\n", b"", text, flags=re.MULTILINE)
        if not self.blank_rows and (
            text.startswith((b"\n", b" ", b"\t")) or b"\n\n" in text or b"\n " in text or b"\n\t" in text
        ):
            text = re.sub(rb"^[ \t]*\n", b"", text, flags=re.MULTILINE)
        if self.decimal != b".":
            text = text.replace(self.decimal, b".")
        return text

    def pieces(self) -> Iterator[tuple[int, list[np.ndarray[Any, Any]]]]:
        """Yield the number of a first row and the columns from there."""
        if self.whole is not None:
            yield 0, self.whole
            return
        first = 0
        for text in self._pieces():
            columns = self.parsed(text, first)
            if columns and len(columns[0]):
                yield first, columns
                first += len(columns[0])

    def parsed(self, text: bytes, first: int) -> list[np.ndarray[Any, Any]]:
        """Read lines; a cell that is empty is masked."""
        count = text.count(b"\n")
        flat = self._fast(text, count)
        if flat is None:
            flat = self._cell_by_cell(text, first)
        out: list[np.ndarray[Any, Any]] = []
        at = 0
        for c in self.columns:
            parts = flat[at : at + c.width]
            at += c.width
            if not c.item:
                out.append(parts[0])
            else:
                stacked = np.ma.stack(parts, axis=1) if any(_masked(p) for p in parts) else np.stack(parts, axis=1)
                out.append(stacked.reshape((len(stacked), *c.item)).astype(c.dtype))
        return out

    def _fast(self, text: bytes, count: int) -> list[np.ndarray[Any, Any]] | None:
        dtypes = [c.dtype for c in self.columns for _ in range(c.width)]
        if not count or b'"' in text or any(d.kind not in "iuf" or d.itemsize > 8 for d in dtypes):
            return None
        if self.separator and len(text) > SMALL // 8:
            return self._by_polars(text, dtypes, count)
        if self.separator:
            s = self.separator
            if (
                text.startswith((s, b"\n"))
                or s + s in text
                or s + b"\n" in text
                or b"\n" + s in text
                or b"\n\n" in text
            ):
                return None
            if text.count(s) != count * (len(dtypes) - 1):
                return None
            text = text.replace(s, b" ")
        small = all(d.kind == "f" or d.itemsize <= 4 for d in dtypes)
        if not small:
            return numerals.columns(text, dtypes, count)
        found = numerals.columns(text, [np.dtype(np.float64)] * len(dtypes), count)
        if found is None:
            return None
        cast = [_cast(v, d) for v, d in zip(found, dtypes, strict=True)]
        return None if any(c is None for c in cast) else [c for c in cast if c is not None]

    def _by_polars(self, text: bytes, dtypes: Sequence[np.dtype[Any]], count: int) -> list[np.ndarray[Any, Any]] | None:
        import polars as pl

        kinds: dict[str, Any] = {"f2": pl.Float32, "f4": pl.Float32, "f8": pl.Float64}
        kinds |= {f"i{n}": t for n, t in zip((1, 2, 4, 8), (pl.Int8, pl.Int16, pl.Int32, pl.Int64), strict=True)}
        kinds |= {f"u{n}": t for n, t in zip((1, 2, 4, 8), (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64), strict=True)}
        schema = {str(i): kinds[d.str[1:]] for i, d in enumerate(dtypes)}
        try:
            frame = pl.read_csv(
                io.BytesIO(text),
                has_header=False,
                schema=schema,
                separator=self.separator.decode("ascii"),
                quote_char=None,
            )
        except (pl.exceptions.PolarsError, ValueError):
            return None
        if frame.height != count:
            return None
        out: list[np.ndarray[Any, Any]] = []
        for i, d in enumerate(dtypes):
            series = frame.to_series(i)
            if series.null_count():
                mask = series.is_null().to_numpy()
                out.append(np.ma.MaskedArray(series.fill_null(0).to_numpy().astype(d), mask))
            else:
                out.append(series.to_numpy().astype(d, copy=False))
        return out

    def _cell_by_cell(self, text: bytes, first: int) -> list[np.ndarray[Any, Any]]:
        lines = list(self._cells(text))
        for number, cells in enumerate(lines):
            if len(cells) > self.width and any(cells[self.width :]):
                raise InputError(
                    f"{self.path}: row {first + number + 1} has {len(cells)} cells, there are {self.width} columns",
                    "is the separator right, and are cells that hold it quoted?",
                )
        out: list[np.ndarray[Any, Any]] = []
        at = 0
        for c in self.columns:
            for _ in range(c.width):
                out.append(self._column(c, [line[at] if at < len(line) else None for line in lines], first))
                at += 1
        return out

    def _cells(self, text: bytes) -> Iterator[list[bytes | None]]:
        if not self.separator:
            for line in text.split(b"\n")[:-1]:
                yield list(line.split())
            return
        s = self.separator
        if b'"' not in text:
            for line in text.split(b"\n")[:-1]:
                yield [cell.strip(b" \t" if s != b"\t" else b" ") or None for cell in line.split(s)]
            return
        cell = re.compile(rb'[ ]*(?:"((?:[^"]|"")*)"[ ]*|([^' + re.escape(s) + rb'\n"]*))(' + re.escape(s) + rb"|\n)")
        row: list[bytes | None] = []
        at = 0
        while at < len(text):
            found = cell.match(text, at)
            if found is None:
                number = text.count(b"\n", 0, at) + 1
                raise InputError(f"{self.path}: a quote is not closed in row {number}", 'write a quote in a cell as ""')
            quoted, plain, after = found.groups()
            row.append(quoted.replace(b'""', b'"') if quoted is not None else plain.strip() or None)
            if after == b"\n":
                yield row
                row = []
            at = found.end()

    def _column(self, c: Column, cells: list[bytes | None], first: int) -> np.ndarray[Any, Any]:
        if c.dtype.kind in "biu":  # plain columns write a missing whole number so
            cells = [None if cell == b"nan" else cell for cell in cells]
        there = [cell is not None for cell in cells]
        where = f"{self.path}::{c.name}"
        if is_text(c.dtype):
            values: np.ndarray[Any, Any] = np.empty(len(cells), dtype=c.dtype)
            raw = [cell or b"" for cell in cells]
            values[:] = raw if c.dtype.kind == "S" else [v.decode("utf-8", "surrogateescape") for v in raw]
        elif c.dtype.kind == "b":
            values = np.array([_truth(cell, where, first + i + 1) for i, cell in enumerate(cells)], dtype=c.dtype)
        elif c.dtype.kind == "c":
            values = np.array([_complex(cell, where, first + i + 1) for i, cell in enumerate(cells)], dtype=c.dtype)
        else:
            present = [(cell or b"0").replace(b"D", b"e").replace(b"d", b"e") for cell in cells]
            values = numerals.column(present, there, c.dtype, where, first)
        return values if all(there) else np.ma.MaskedArray(values, [not t for t in there])


def _masked(values: np.ndarray[Any, Any]) -> bool:
    return type(values) is not np.ndarray


def _cast(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    if not ((values >= info.min) & (values <= info.max) & (values == np.floor(values))).all():
        return None
    return values.astype(dtype)


def _truth(cell: bytes | None, where: str, row: int) -> bool:
    if cell is None or cell in _FALSE:
        return False
    if cell in _TRUE:
        return True
    raise InputError(f"{where}: {cell.decode('utf-8', 'replace')!r} in row {row} is neither true nor false")


def _complex(cell: bytes | None, where: str, row: int) -> complex:
    try:
        return complex(cell.decode("ascii")) if cell is not None else 0j
    except ValueError:
        raise InputError(f"{where}: {cell!r} in row {row} is no complex number") from None


class Cells(Array):
    """The values of one column of a sheet."""

    __slots__ = ("_column", "_number", "_sheet")

    def __init__(self, sheet: Sheet, number: int) -> None:
        self._sheet, self._number = sheet, number
        self._column = sheet.columns[number]

    @property
    def shape(self) -> tuple[int, ...]:
        rows = self._sheet.rows if self._column.length is None else min(self._column.length, self._sheet.rows)
        return (rows, *self._column.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._column.dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *item = full_box(box, self.shape)
        parts: list[np.ndarray[Any, Any]] = []
        for first, columns in self._sheet.pieces():
            values = np.ma.getdata(columns[self._number])
            part = values[max(0, rows.start - first) : max(0, rows.stop - first)]
            if len(part):
                parts.append(part)
        out = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty((0, *self._column.item))
        return _typed(out, self._column.dtype)[(slice(None), *item)]


class Missing(Array):
    """Which rows of one column of a sheet are missing."""

    __slots__ = ("_column", "_number", "_sheet", "_values")

    def __init__(self, sheet: Sheet, number: int, values: Cells) -> None:
        self._sheet, self._number, self._values = sheet, number, values
        self._column = sheet.columns[number]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape[:1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        (rows,) = full_box(box, self.shape)
        mask = np.zeros(self.shape, dtype=bool)
        for first, columns in self._sheet.pieces():
            values = columns[self._number][: max(0, len(mask) - first)]
            if _masked(values):
                mask[first : first + len(values)] = np.ma.getmaskarray(values).all(axis=tuple(range(1, values.ndim)))
        absent = self._sheet.absent.get(self._column.name)
        if absent is not None:
            mask[absent[absent < len(mask)]] = True
        return mask[rows]


def _typed(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
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
        for first, columns in self.sheet.pieces():
            for start in range(first, min(first + len(columns[0]), total), step):
                stop = min(start + step, first + len(columns[0]), total)
                yield Block(
                    start, stop - start, {n: self._part(columns[numbers[n]], n, first, start, stop) for n in chosen}
                )

    def _part(self, values: np.ndarray[Any, Any], name: str, first: int, start: int, stop: int) -> np.ndarray[Any, Any]:
        assert self.sheet is not None
        stop = min(stop, self.fields[name].shape[0])
        part = values[start - first : max(start, stop) - first]
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
