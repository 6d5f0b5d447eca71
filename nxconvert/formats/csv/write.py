"""Writing CSV."""

from __future__ import annotations

import locale
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo, table
from nxconvert.errors import OutputError
from nxconvert.format import FileSink, Report
from nxconvert.formats.csv import BOM, MORE, PREFIX, item_labels
from nxconvert.record import Block, Record

EXCEL_ROWS, EXCEL_COLUMNS, EXCEL_CELL = 1_048_576, 16_384, 32_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_TAKEN_FOR_ANOTHER = re.compile(
    r"\s*(?:[\d.,][\d.,:/\s%e+-]*|true|false|(?:\d{1,2}[\s./-]*)?(?:" + _MONTHS + r")[a-z]*[\s./-]*\d{1,4})\s*",
    re.IGNORECASE,
)


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
        labels = [label for f in columns for label in item_labels(f.name, f.item_shape)]
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


def quoted(text: str, separator: str = ",") -> bytes:
    """Quote a cell where it must be."""
    if any(c in text for c in (separator, '"', "\n", "\r", "#")) or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "surrogateescape")
