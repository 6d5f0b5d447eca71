"""Writing plain columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo, table
from nxconvert.errors import OutputError
from nxconvert.format import FileSink, Report
from nxconvert.formats.plain import MARK
from nxconvert.record import Block, Field, Record, plain
from nxconvert.textfile.cells import missing_rows

_TOLD = ("title", "start_time", "end_time", "sample", "comment")


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
            if f.dtype.kind not in "biuf":
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
