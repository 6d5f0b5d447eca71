"""CSV: a table with one label line, and a line of JSON (the memo) that brings everything else back.

Dialect ``csv`` is for programs: the memo is a ``#`` line before the labels, so that ``pandas.read_csv(comment="#")``
reads the table. Dialect ``excel`` is for spreadsheets: the labels come first, with a byte order mark, in the way of
the computer's locale (``;`` and decimal comma, or ``,`` and dot); text that would run as a formula, or would be taken
for a number or a date, begins with an apostrophe. Its memo stands at the end, after an empty row, where it neither
widens the table nor is sorted or plotted with it, in cells of one column that are no longer than Excel holds.

A spreadsheet that opens and saves a ``csv`` splits the memo at its commas; it comes together again, since cells that
begin with a blank keep their quotes, and commas in texts are written as escapes.

Facts: RFC 4180; Excel's specification and limits (1,048,576 rows, 16,384 columns, 32,767 characters a cell).
"""

from __future__ import annotations

import locale
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import foreign, memo, table
from nxconvert.array import TEXT, Values, named_type
from nxconvert.errors import InputError, OutputError
from nxconvert.format import FileSink, Format, Head, Holds, Location, Option, Policy, Records, Report
from nxconvert.record import Block, Field, Record
from nxconvert.textfile import Column, Sheet, first_row, record, row_of

PREFIX, MORE = "# ", "#+"
BOM = b"\xef\xbb\xbf"
EXCEL_ROWS, EXCEL_COLUMNS, EXCEL_CELL = 1_048_576, 16_384, 32_000
_SEPARATORS = (b",", b";", b"\t")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_TAKEN_FOR_ANOTHER = re.compile(
    r"\s*(?:[\d.,][\d.,:/\s%e+-]*|true|false|(?:\d{1,2}[\s./-]*)?(?:" + _MONTHS + r")[a-z]*[\s./-]*\d{1,4})\s*",
    re.IGNORECASE,
)
_TAIL_MEMO = re.compile(rb'^"?# \{""?nxconvert""?', re.MULTILINE)


def sniff(head: Head) -> int:
    """Ours by the memo; else perhaps, when the lines are a table of comma- or semicolon-separated cells."""
    start = foreign.text_of(head.start)
    if start is None:
        return 0
    if start.startswith(('# {"nxconvert"', '"# {""nxconvert""')):
        return 2
    if head.path is not None and re.search("[,;\t\n]", start) and _tail_memo(head.path) is not None:
        return 2
    return 1 if foreign.looks_like(start) in (",", ";") else 0


class CsvSink(FileSink):
    """Writes one record as CSV."""

    def __init__(self, path: Path, report: Report, dialect: str = "csv", float_format: str = "") -> None:
        super().__init__(path)
        self.report = report
        self.excel = dialect.startswith("excel")
        self.separator, self.decimal = _signs(dialect)
        self.names: list[str] = []
        self.memo: list[bytes] = []
        self.style = table.Style(
            self.separator.encode(), quote=self._cell, float_format=float_format, decimal=self.decimal.encode()
        )

    def begin(self, record: Record) -> None:
        columns = record.columns
        told = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        told["rows"] = record.rows
        if self.excel:
            told |= {"dialect": "excel", "separator": self.separator, "decimal": self.decimal}
        line = _splittable(told)
        labels = [label for f in columns for label in _labels(f)]
        if self.excel:
            self.memo = [_memo_cell(line[i : i + EXCEL_CELL], i) for i in range(0, len(line), EXCEL_CELL)]
            self._check_size(record, len(labels))
        elif len(labels) == 1 and columns and columns[0].dtype.kind in "biufc":
            self.style = replace(self.style, missing=b'""')  # pandas skips lines that are empty
        self.names = [f.name for f in columns]
        self.put(BOM if self.excel else f"{PREFIX}{line}\n".encode())
        self.put(self.separator.encode().join(map(self._label, labels)) + b"\n")

    def _check_size(self, record: Record, width: int) -> None:
        rows = record.rows or 0
        if rows + 2 + len(self.memo) > EXCEL_ROWS or width > EXCEL_COLUMNS:
            raise OutputError(
                f"{record.source} has {rows:,} rows and {width:,} columns, a spreadsheet holds "
                f"{EXCEL_ROWS:,} and {EXCEL_COLUMNS:,}",
                "write it with --dialect csv",
            )

    def _label(self, label: str) -> bytes:
        return self._cell(label)

    def _cell(self, text: str) -> bytes:
        if self.excel and (text.startswith(_FORMULA) or _TAKEN_FOR_ANOTHER.fullmatch(text)):
            text = "'" + text
        try:
            return quoted(text, self.separator) if text else b'""'  # an empty cell is a missing value
        except UnicodeEncodeError:
            raise OutputError(f"{self.path}: the text {text[:40]!a} is not Unicode") from None

    def write(self, block: Block) -> None:
        columns = [block.columns.get(n, np.empty(0)) for n in self.names]
        for lines in table.rows(columns, block.rows, self.style):
            self.put(lines)

    def end(self) -> None:
        if self.memo:
            self.put(b"\n" + b"".join(self.memo))


def _signs(dialect: str) -> tuple[str, str]:
    """Return the separator and the decimal sign of a dialect; ``excel`` asks the computer's locale."""
    comma = dialect == "excel-semicolon"
    if dialect == "excel":
        before = locale.setlocale(locale.LC_NUMERIC)
        try:
            locale.setlocale(locale.LC_NUMERIC, "")
            comma = locale.localeconv()["decimal_point"] == ","
        except locale.Error:
            comma = False
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)
    return (";", ",") if comma else (",", ".")


def _splittable(told: Mapping[str, Any]) -> str:
    """Write JSON such that splitting it at commas, as spreadsheets do, splits no text and opens no quotes."""
    line = memo.dumps(told, comma="\n")  # which is in no text, so that commas and semicolons are in texts alone
    return line.replace(",", "\\u002c").replace(";", "\\u003b").replace("\n", ", ")


def _memo_cell(part: str, at: int) -> bytes:
    return ('"' + ((MORE if at else PREFIX) + part).replace('"', '""') + '"\n').encode()


def _labels(f: Field) -> list[str]:
    """Return the labels of a field: its name, or one for each element of a row's item."""
    return _item_labels(f.name, f.item_shape)


def _item_labels(name: str, item: tuple[int, ...]) -> list[str]:
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*item)] if item else [name]


def quoted(text: str, separator: str = ",") -> bytes:
    """Quote a cell where it must be."""
    if any(c in text for c in (separator, '"', "\n", "\r", "#")) or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "surrogateescape")


class CsvRecords(Records):
    """The one record of a CSV file; of a foreign one, its tables."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.text = foreign.TextFile(path)
        self.path, self.options = path, options

    def close(self) -> None:
        self.text.close()

    def __iter__(self) -> Iterator[Record]:
        known, start, stop, line = _memo(self.text.path)
        if known is None:
            yield from foreign.records(self.text, **self.options)
            return
        sheet = self._sheet(known, start, stop, line)
        source = str(self.path)
        described = known.get("columns", {})
        fields = memo.header_fields(known, source) + [
            Field(
                c.name, Values(np.empty(0)), True, source=f"{source}::{c.name}", **memo.about(described.get(c.name, {}))
            )
            for c in sheet.columns
        ]
        if self.options.get("roles"):
            fields = foreign.with_stated_roles(fields, self.options["roles"])
        about = {"key": known.get("key", {}), "mapping": known.get("mapping", ""), "grid": known.get("grid")}
        yield record(sheet, fields, source=source, **about)

    def _sheet(self, known: Mapping[str, Any], start: int, stop: int | None, line: int) -> Sheet:
        path = self.text.path
        row, lines = first_row(path, start)
        if not row.endswith(b"\n"):
            raise InputError(f"{self.path} ends in the middle of a line", "copy it again")
        excel = known.get("dialect") == "excel"
        described = known.get("columns", {})
        labels, separator = _label_row(row, described, str(known.get("separator", ",")), self.path)
        if excel:
            labels = [label.removeprefix("'") for label in labels]
        spare = 0
        while len(labels) > 1 and not labels[-1] and "" not in described:
            labels.pop()
            spare += 1
        if labels == [""] and "" not in described:
            labels = []
        rows = known.get("rows")
        rows = rows if isinstance(rows, int) else None
        columns, unknown = _columns(labels, described, rows, self.path)
        sheet = Sheet(
            path,
            tuple(columns),
            start + len(row),
            stop,
            separator,
            blank_rows=sum(c.width for c in columns) <= 1,
            spare=spare,
            mark="'" if excel else "",
            line=line + lines,
            expected=rows,
            name=str(self.path),
        )
        sheet = replace(sheet, decimal=_decimal(sheet))
        return foreign.typed(sheet, unknown) if unknown else sheet


def _decimal(sheet: Sheet) -> bytes:
    """Tell which decimal sign a table of ours has by now: a spreadsheet saves it with its own."""
    if sheet.separator == b",":
        return b"."
    with sheet.path.open("rb") as file:
        file.seek(sheet.start)
        text = file.read(min(1 << 16, sheet.end - sheet.start))
    s = re.escape(sheet.separator)
    comma = re.search(
        rb'(?:^|["' + s + rb'])\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*(?:["\r\n' + s + rb"]|$)", text, re.MULTILINE
    )
    return b"," if comma else b"."


def _memo(path: Path) -> tuple[dict[str, Any] | None, int, int | None, int]:
    """Return the memo, where the label line starts, where the rows end, and the number of the label line."""
    with path.open("rb") as file:
        start = 3 if file.read(3) == BOM else 0
        file.seek(start)
        begin = file.read(2)
        file.seek(start)
        if begin in (b"# ", b'"#'):
            line = file.readline()
            known = _read_memo([line])
            return known, file.tell() if known is not None else 0, None, 2
    tail = _tail_memo(path)
    if tail is None:
        return None, 0, None, 1
    return _read_memo(tail[1].splitlines()), start, tail[0], 1


def _read_memo(lines: list[bytes]) -> dict[str, Any] | None:
    """Read a memo, also when a spreadsheet has quoted it or split it over cells."""
    text = b"".join(lines).decode("utf-8", "replace")
    if '"nxconvert"' not in text:
        return None
    first: InputError | None = None
    for separator in (b"", *_SEPARATORS):
        parts = [_joined(line, separator) for line in lines if line.strip(b"\r\n,;\t")]
        try:
            return memo.loads("".join(p.removeprefix(PREFIX if i == 0 else MORE) for i, p in enumerate(parts)))
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def _joined(line: bytes, separator: bytes) -> str:
    line = line.strip(b"\r\n")
    if not separator:
        return line.decode("utf-8", "replace")
    cells = row_of(line, separator) or [line]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return b",".join(cells).decode("utf-8", "replace")


def _tail_memo(path: Path) -> tuple[int, bytes] | None:
    """Find a memo in the last lines: the offset of the end of the rows before it, and its text."""
    size = path.stat().st_size
    window = 1 << 16
    with path.open("rb") as file:
        while True:
            begin = max(0, size - window)
            file.seek(begin)
            tail = file.read(size - begin)
            found = [m.start() for m in _TAIL_MEMO.finditer(tail) if m.start() or not begin]
            last = tail.rstrip(b"\r\n,;\t").rpartition(b"\n")[2]
            if found or begin == 0 or not last.startswith((b'"#', b"#")):
                break
            window *= 16
    if not found:
        return None
    at = found[-1]
    if any(not line.startswith((b'"#', b"#")) for line in tail[at:].splitlines() if line.strip(b",;\t")):
        return None
    before = re.search(rb"(?:^|\n)([,;\t]*\r?\n)\Z", tail[:at])
    return begin + (before.start(1) if before else at), tail[at:]


def _label_row(row: bytes, described: Mapping[str, Any], told: str, path: Path) -> tuple[list[str], bytes]:
    """Return the labels and the separator: the one that is told, or that a spreadsheet has put instead."""
    known = {label for n, about in described.items() for label in _item_labels(n, tuple(about.get("item", ())))}
    best: tuple[int, list[str], bytes] | None = None
    for separator in dict.fromkeys([told.encode(), *_SEPARATORS]):
        cells = row_of(row, separator)
        if cells is not None:
            labels = [c.decode("utf-8", "surrogateescape") for c in cells]
            score = sum(label.removeprefix("'") in known or label in known for label in labels)
            if best is None or score > best[0]:
                best = (score, labels, separator)
    if best is None:
        raise InputError(f"{path} has no label line that can be read", "is a quote in it not closed?")
    return best[1], best[2]


def _columns(
    labels: list[str], described: Mapping[str, Any], rows: int | None, path: Path
) -> tuple[list[Column], list[int]]:
    """Return the columns that labels stand for, and the numbers of those that the memo does not know."""
    items = {name: tuple(about.get("item", ())) for name, about in described.items()}
    begins = {_item_labels(n, item)[0]: n for n, item in items.items() if 0 not in item}
    columns: list[Column] = []
    unknown: list[int] = []
    seen: Counter[str] = Counter()
    at = 0
    while at < len(labels):
        name = begins.get(labels[at])
        if name is None:
            seen[labels[at]] += 1
            more = f"_{seen[labels[at]]}" if seen[labels[at]] > 1 else ""
            unknown.append(len(columns))
            columns.append(Column(labels[at] + more, TEXT))
            at += 1
            continue
        expected = _item_labels(name, items[name])
        if labels[at : at + len(expected)] != expected:
            raise InputError(f"{path}: the columns of {name} are not all there, side by side", f"they are {expected}")
        about = described[name]
        columns.append(Column(name, named_type(about["dtype"]), items[name], about.get("length", rows)))
        at += len(expected)
    columns += [
        Column(n, named_type(described[n]["dtype"]), item, described[n].get("length", rows))
        for n, item in items.items()
        if 0 in item
    ]
    twice = [n for n, count in Counter(c.name for c in columns).items() if count > 1]
    if twice:
        raise InputError(f"{path}: two columns are labelled {twice[0]!r}", "rename one of them")
    return columns, unknown


def open_records(location: Location, policy: Policy, report: Report, **options: str) -> Records:
    """Open a CSV file."""
    return CsvRecords(location.path, options)


FORMAT = Format(
    name="csv",
    title="comma-separated values",
    extensions=(".csv", ".tsv"),
    sniff=sniff,
    open=open_records,
    create=CsvSink,
    holds=Holds(item_rank=0, records=1, kinds="biufcS", note="one table a file"),
    write_options=(
        Option(
            "dialect",
            "csv",
            "For programs (csv), or for spreadsheets (excel: as the computer's locale says).",
            ("csv", "excel", "excel-semicolon", "excel-comma"),
        ),
        Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),
    ),
    read_options=foreign.OPTIONS,
    seeks=False,
)
