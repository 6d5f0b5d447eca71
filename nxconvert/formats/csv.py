"""CSV: a table with one label line, and one line of JSON that brings everything else back.

Dialect ``csv`` is for programs: the memo is a ``#`` line before the labels, so that ``pandas.read_csv(comment="#")``
reads the table. Dialect ``excel`` is for spreadsheets: the labels come first, with a byte order mark, in the way of
the computer's locale (``;`` and decimal comma, or ``,`` and dot), text that would run as a formula is made harmless,
and the memo is the last line, in one cell, where it disturbs nobody.

Facts: RFC 4180; Excel's specification and limits (1,048,576 rows, 16,384 columns).
"""

from __future__ import annotations

import csv
import locale
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import foreign, memo, table
from nxconvert.array import Lazy, Values, is_text, named_type
from nxconvert.errors import InputError, OutputError
from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report
from nxconvert.record import Block, Field, Record
from nxconvert.textfile import Column, Sheet, record

PREFIX = "# "
BOM = b"\xef\xbb\xbf"
EXCEL_ROWS, EXCEL_COLUMNS = 1_048_576, 16_384
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def sniff(head: Head) -> int:
    """Ours by the memo; else perhaps, when the lines are a table of comma- or semicolon-separated cells."""
    start = head.start.removeprefix(BOM)
    if start.startswith((b'# {"nxconvert"', b'"# {""nxconvert""')):
        return 2
    if b"\0" in head.start:
        return 0
    if head.path is not None and head.extension == ".csv" and _tail_memo(head.path) is not None:
        return 2
    return 1 if foreign.looks_like(start[: 16 << 10].decode("utf-8", "replace")) in (",", ";") else 0


class CsvSink(RecordSink):
    """Writes one record as CSV."""

    def __init__(self, path: Path, report: Report, dialect: str = "csv", float_format: str = "") -> None:
        self.path, self.report = path, report
        self.excel = dialect == "excel"
        self.separator, self.decimal = _locale() if self.excel else (",", ".")
        self.file = path.open("wb")
        self.names: list[str] = []
        self.memo = ""
        self.style = table.Style(
            self.separator.encode(), quote=self._cell, float_format=float_format, decimal=self.decimal.encode()
        )

    def begin(self, record: Record) -> None:
        columns = record.columns
        if self.excel and ((record.rows or 0) + 2 > EXCEL_ROWS or len(columns) > EXCEL_COLUMNS):
            raise OutputError(
                f"{record.source} has {record.rows:,} rows and {len(columns):,} columns, a spreadsheet holds "
                f"{EXCEL_ROWS:,} and {EXCEL_COLUMNS:,}",
                "write it with --dialect csv",
            )
        self.names = [f.name for f in columns]
        told = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        if self.excel:
            told |= {"dialect": "excel", "separator": self.separator, "decimal": self.decimal}
        line = PREFIX + memo.dumps(told)
        labels = self.separator.encode().join(self._label(label) for f in columns for label in _labels(f))
        if self.excel:
            self.memo = '"' + line.replace('"', '""') + '"\n'
            self._put(BOM + labels + b"\n")
        else:
            self._put(line.encode() + b"\n" + labels + b"\n")

    def _label(self, label: str) -> bytes:
        return quoted(label, self.separator) if label else b'""'

    def write(self, block: Block) -> None:
        columns = [block.columns.get(n, np.empty(0)) for n in self.names]
        for lines in table.rows(columns, block.rows, self.style):
            self._put(lines)

    def _cell(self, text: str) -> bytes:
        if self.excel and text.startswith(_FORMULA):
            text = "'" + text
        return quoted(text, self.separator) if text else b'""'  # an empty cell is a missing value

    def _put(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def end(self) -> None:
        self._put(self.memo.encode())

    def close(self) -> None:
        try:
            self.file.close()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def abort(self) -> None:
        self.file.close()


def _locale() -> tuple[str, str]:
    """Return the separator and decimal sign that spreadsheets of this computer's locale expect."""
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, "")
        comma = locale.localeconv()["decimal_point"] == ","
    except locale.Error:
        comma = False
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)
    return (";", ",") if comma else (",", ".")


def _labels(f: Field) -> list[str]:
    """Return the labels of a field: its name, or one for each element of a row's item."""
    if not f.item_shape:
        return [f.name]
    return [f"{f.name}[{','.join(map(str, index))}]" for index in np.ndindex(*f.item_shape)]


def quoted(text: str, separator: str = ",") -> bytes:
    """Quote a cell where it must be."""
    if any(c in text for c in (separator, '"', "\n", "\r", "#")) or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "surrogateescape")


class CsvRecords(Records):
    """The one record of a CSV file."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.path, self.options = path, options

    def __iter__(self) -> Iterator[Record]:
        known, start, stop = _memo(self.path)
        if known is None:
            yield foreign.read(self.path, **self.options)
            return
        separator = str(known.get("separator", ","))
        labels, start = _label_line(self.path, start, separator)
        columns = _columns(labels, known)
        sheet = Sheet(
            self.path,
            tuple(columns),
            start,
            stop,
            separator.encode(),
            str(known.get("decimal", ".")).encode(),
            complete=True,
            blank_rows=len(labels) == 1,
        )
        if sheet.rows == known.get("rows", sheet.rows):
            lengths = {n: c.get("length") for n, c in known.get("columns", {}).items()}
            sheet = replace(sheet, columns=tuple(replace(c, length=lengths.get(c.name)) for c in columns))
        source = str(self.path)
        described = known.get("columns", {})
        fields = memo.header_fields(known, source) + [
            Field(
                c.name, Values(np.empty(0)), True, source=f"{source}::{c.name}", **memo.about(described.get(c.name, {}))
            )
            for c in columns
        ]
        if self.options.get("roles"):
            fields = foreign.with_stated_roles(fields, self.options["roles"])
        about = {"key": known.get("key", {}), "mapping": known.get("mapping", ""), "grid": known.get("grid")}
        made = record(sheet, fields, source=source, **about)
        yield _unescaped(made) if known.get("dialect") == "excel" else made


def _unescaped(made: Record) -> Record:
    """Take off the sign that keeps a text cell from running as a formula."""

    def text(f: Field) -> Field:
        def read(box: Any) -> Any:
            values = f.values.read(box).copy()
            marks = ("'", b"'")
            values[...] = np.array([v[1:] if v[:1] in marks else v for v in values.flat], dtype=object).reshape(
                values.shape
            )
            return values

        return replace(f, values=Lazy(f.shape, f.dtype, read))

    fields = {n: text(f) if f.per_row and is_text(f.dtype) else f for n, f in made.fields.items()}
    if fields == made.fields:
        return made
    return Record(made.key, fields, made.source, made.mapping, made.grid)


def _memo(path: Path) -> tuple[dict[str, Any] | None, int, int | None]:
    """Return the memo, where the label line starts and where the rows end."""
    with path.open("rb") as file:
        first = file.readline(1)
        file.seek(3 if first == BOM[:1] else 0)
        start = file.tell()
        begin = file.read(2)
        file.seek(start)
        if begin in (b"# ", b'"#'):
            line = file.readline()
            return memo.loads(_unquoted(line)), file.tell(), None
    tail = _tail_memo(path)
    if tail is None:
        return None, 0, None
    return memo.loads(_unquoted(tail[1])), start, tail[0]


def _unquoted(line: bytes) -> str:
    """Return a memo's text, also when a spreadsheet has quoted the line."""
    text = line.decode("utf-8", "replace").strip().strip(";,")
    if text.startswith('"'):
        text = ",".join(next(csv.reader([text])))
    return text.removeprefix(PREFIX)


def _tail_memo(path: Path) -> tuple[int, bytes] | None:
    """Find a memo in the last line: its offset and text."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 20)))
        tail = file.read().rstrip(b"\r\n;,")
    at = tail.rfind(b'\n"# {""nxconvert""')
    if at < 0 or b"\n" in tail[at + 1 :]:
        return None
    return max(0, size - (1 << 20)) + at + 1, tail[at + 1 :]


def _label_line(path: Path, start: int, separator: str) -> tuple[list[str], int]:
    with path.open("rb") as file:
        file.seek(start)
        text = file.read(4 << 20).replace(b"\r\n", b"\n") if separator else b""
        file.seek(start)
        crlf = b"\r\n" in file.read(4 << 20)
    s = re.escape(separator.encode())
    cell = re.compile(rb'[ ]*(?:"((?:[^"]|"")*)"[ ]*|([^' + s + rb'\n"]*))(' + s + rb"|\n|$)")
    labels: list[str] = []
    at = 0
    while True:
        found = cell.match(text, at)
        if found is None or (at >= len(text)):
            raise InputError(f"{path} has no label line that can be read", "is a quote in it not closed?")
        inside, plain, after = found.groups()
        raw = inside.replace(b'""', b'"') if inside is not None else plain.strip()
        labels.append(raw.decode("utf-8", "surrogateescape"))
        at = found.end()
        if after != separator.encode():
            break
    while len(labels) > 1 and not labels[-1]:
        labels.pop()  # a spreadsheet adds empty columns
    return labels, start + at + (text.count(b"\n", 0, at) if crlf else 0)


def _columns(labels: list[str], known: Mapping[str, Any]) -> list[Column]:
    described = known.get("columns", {})
    columns: list[Column] = []
    at = 0
    while at < len(labels):
        label = labels[at]
        name = label if label in described else re.sub(r"\[[\d,]*\]$", "", label)
        about = described.get(name)
        item = tuple(about.get("item", ())) if about else ()
        if any(c.name == (name if about else label) for c in columns):
            raise InputError(f"two columns are labelled {label!r}", "rename one of them")
        if about is None:
            columns.append(Column(label, np.dtype(np.float64)))
        else:
            columns.append(Column(name, named_type(about["dtype"]), item))
        at += columns[-1].width if about else 1
    return columns


def open_records(location: Location, policy: Policy, report: Report, **options: str) -> Records:
    """Open a CSV file."""
    return CsvRecords(location.path, options)


READ_OPTIONS = (
    Option("delimiter", "", "What separates the cells of a foreign file: comma, semicolon, tab, space."),
    Option("decimal", "", "The decimal sign of a foreign file."),
    Option("comment", "", "What a comment line of a foreign file begins with."),
    Option("roles", "", "What the columns are, e.g. x=energy,signal=mu."),
)

FORMAT = Format(
    name="csv",
    title="comma-separated values",
    extensions=(".csv", ".tsv"),
    sniff=sniff,
    open=open_records,
    create=CsvSink,
    holds=Holds(item_rank=0, records=1, kinds="biufcS", note="one table a file"),
    write_options=(
        Option("dialect", "csv", "For programs (csv) or for spreadsheets (excel).", ("csv", "excel")),
        Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),
    ),
    read_options=READ_OPTIONS,
    seeks=False,
)
