"""Plain columns: numbers between blanks, everything else behind ``#``; what ``numpy.loadtxt`` and gnuplot read.

A missing value is written ``nan``, since ``loadtxt`` knows no empty cell; which ones those are stands in a last
comment line. Text columns have no place here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import foreign, memo, table
from nxconvert.array import Values, named_type
from nxconvert.errors import InputError, OutputError
from nxconvert.format import FileSink, Format, Head, Holds, Location, Option, Policy, Records, Report
from nxconvert.record import Block, Field, Record, plain
from nxconvert.textfile import Column, Sheet, missing_rows, record

MARK = "#nxconvert "
_TOLD = ("title", "start_time", "end_time", "sample", "comment")


def sniff(head: Head) -> int:
    """Ours by its memo line; else perhaps, when the lines are columns of numbers between blanks or tabs."""
    start = foreign.text_of(head.start)
    if start is None:
        return 0
    if any(line.startswith(MARK + "{") for line in start.splitlines()[:20]):
        return 2
    found = foreign.looks_like(start)
    return 0 if found is None or found in (",", ";") else 1


class PlainSink(FileSink):
    """Writes one record as plain columns."""

    def __init__(self, path: Path, report: Report, float_format: str = "") -> None:
        super().__init__(path)
        self.report = report
        self.style = table.Style(b" ", b"nan", float_format=float_format, booleans=(b"0", b"1"))
        self.names: list[str] = []
        self.missing: dict[str, list[list[int]]] = {}

    def begin(self, record: Record) -> None:
        columns = [f for f in record.columns if f.dtype.kind in "biuf"]
        for f in record.columns:
            if f not in columns:
                self.report.lose(f.name, record.source, "plain columns hold numbers only")
        if not columns:
            raise OutputError(f"{record.source} has no column of numbers", "write it as CSV")
        kept = record.with_fields([*record.header, *columns])
        self.names = [f.name for f in columns]
        self.missing = {}
        lines = [f"# {n}: {_one_line(plain(kept.fields[n].values))}" for n in _TOLD if n in kept.fields]
        units = [f"{_word(f.name)} {f.units}" for f in columns if f.units]
        lines += [f"# units: {_one_line(', '.join(units))}"] if units else []
        told = memo.describe(kept, lambda name, why: self.report.lose(name, record.source, why))
        told["rows"] = record.rows
        lines.append(MARK + memo.dumps(told))
        lines.append("# " + " ".join(_word(label) for f in columns for label in _labels(f)))
        self.put(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))

    def write(self, block: Block) -> None:
        columns = []
        for name in self.names:
            values = block.columns.get(name, np.empty(0))
            if type(values) is not np.ndarray:
                self.missing.setdefault(name, []).extend(_spans(missing_rows(values), block.start))
            columns.append(values)
        whole = [_filled(c, block.rows) if c.ndim > 1 else c for c in columns]
        for lines in table.rows(whole, block.rows, self.style):
            self.put(lines)

    def end(self) -> None:
        missing = {n: rows for n, rows in self.missing.items() if rows}
        if missing:
            self.put((MARK + memo.dumps({"missing": missing}) + "\n").encode())


def _spans(mask: np.ndarray[Any, Any], start: int) -> list[list[int]]:
    """Return where rows are missing, each as the first row and the one after the last."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)) + start
    spans: list[list[int]] = edges.reshape(-1, 2).tolist()
    return spans


def _filled(values: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    """Give items that end early rows of their own, which are written as missing."""
    if len(values) == rows:
        return values
    whole = np.zeros((rows, *values.shape[1:]), dtype=values.dtype)
    whole[: len(values)] = np.ma.getdata(values)
    mask = np.ones(whole.shape, dtype=bool)
    mask[: len(values)] = np.ma.getmaskarray(values)
    return np.ma.MaskedArray(whole, mask)


def _labels(f: Field) -> list[str]:
    if not f.item_shape:
        return [f.name]
    return [f"{f.name}[{','.join(map(str, index))}]" for index in np.ndindex(*f.item_shape)]


def _word(name: str) -> str:
    """Make a label that holds no blank."""
    return re.sub(r"\s+", "_", name) or "_"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


class PlainRecords(Records):
    """The one record of a file of plain columns; of a foreign one, its tables."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.text = foreign.TextFile(path)
        self.path, self.options = path, options

    def close(self) -> None:
        self.text.close()

    def __iter__(self) -> Iterator[Record]:
        known, start, lines = self._memo()
        if known is None:
            yield from foreign.records(self.text, **self.options)
            return
        described: Any = known.get("columns")
        try:
            columns = tuple(Column(n, named_type(c["dtype"]), tuple(c.get("item", ()))) for n, c in described.items())
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{self.path}: the line that begins with {MARK}is damaged") from None
        absent = {n: _rows(spans, self.path) for n, spans in self._missing().items()}
        rows = known.get("rows")
        columns = tuple(replace(c, length=described[c.name].get("length", rows)) for c in columns)
        sheet = Sheet(
            self.text.path,
            columns,
            start,
            separator=b"",
            quotes=False,
            comments=(b"#",),
            absent=absent,
            line=lines,
            expected=rows if isinstance(rows, int) else None,
            name=str(self.path),
        )
        source = str(self.path)
        fields = memo.header_fields(known, source) + [
            Field(c.name, Values(np.empty(0)), True, source=f"{source}::{c.name}", **memo.about(described[c.name]))
            for c in columns
        ]
        if self.options.get("roles"):
            fields = foreign.with_stated_roles(fields, self.options["roles"])
        about = {"key": known.get("key", {}), "mapping": known.get("mapping", ""), "grid": known.get("grid")}
        yield record(sheet, fields, source=source, **about)

    def _memo(self) -> tuple[dict[str, Any] | None, int, int]:
        """Return the memo, where the rows begin, and the number of that line."""
        known: dict[str, Any] | None = None
        lines = 1
        with self.text.path.open("rb") as file:
            while True:
                at = file.tell()
                line = file.readline()
                if not line.startswith(b"#"):
                    return known, at, lines
                lines += 1
                if line.startswith((MARK + "{").encode()) and known is None:
                    known = memo.loads(line.decode("utf-8", "replace").removeprefix(MARK))

    def _missing(self) -> dict[str, Any]:
        """Return which rows are missing, as the last comment line has them."""
        size, window = self.text.path.stat().st_size, 1 << 16
        with self.text.path.open("rb") as file:
            while True:
                file.seek(max(0, size - window))
                _, newline, line = file.read().rstrip(b"\r\n").rpartition(b"\n")
                if newline or window >= size:
                    break
                window *= 16
        if not line.startswith((MARK + '{"missing"').encode()):
            return {}
        try:
            found: dict[str, Any] = dict(json.loads(line[len(MARK) :])["missing"])
        except (ValueError, TypeError, KeyError):
            raise _damaged(self.path) from None
        return found


def _rows(spans: Any, path: Path) -> np.ndarray[Any, Any]:
    try:
        edges = np.array(spans, dtype=np.int64).reshape(-1, 2)
        if (edges < 0).any() or (edges[:, 1] - edges[:, 0] > path.stat().st_size).any():
            raise ValueError(spans)
    except (ValueError, TypeError, OverflowError):
        raise _damaged(path) from None
    return np.concatenate([np.arange(a, b) for a, b in edges] or [np.empty(0, np.int64)])


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: its last comment line is damaged", "delete it to read plain values")


def open_records(location: Location, policy: Policy, report: Report, **options: str) -> Records:
    """Open a file of plain columns."""
    return PlainRecords(location.path, options)


FORMAT = Format(
    name="plain",
    title="plain columns",
    extensions=(".txt", ".dat", ".asc", ".xy", ".xye"),
    sniff=sniff,
    open=open_records,
    create=PlainSink,
    holds=Holds(item_rank=0, records=1, kinds="biuf", note="one table of numbers a file"),
    write_options=(Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),),
    read_options=foreign.OPTIONS,
    seeks=False,
)
