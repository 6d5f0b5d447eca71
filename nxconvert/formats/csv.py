"""CSV: a table with one label line, and one ``#`` line of JSON before it that brings everything else back.

Facts: RFC 4180; ``pandas.read_csv(comment="#")`` must read what is written, so a label that holds ``#`` is quoted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo, table
from nxconvert.array import Values, is_text, named_type
from nxconvert.errors import InputError, OutputError
from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report
from nxconvert.record import Block, Field, Record

PREFIX = "# "


def sniff(head: Head) -> int:
    """Ours by its first line; else perhaps, when the lines split into equally many cells."""
    lines = [line for line in head.lines(40) if line.strip()]
    if not lines:
        return 0
    if lines[0].lstrip("\ufeff").startswith('# {"nxconvert"'):
        return 2 if head.extension not in (".txt", ".dat") or "," in lines[1] else 1
    data = [line for line in lines if not line.startswith("#")]
    counts = {line.count(",") for line in data[:20]}
    return 1 if len(counts) == 1 and counts != {0} else 0


class CsvSink(RecordSink):
    """Writes one record as CSV."""

    def __init__(self, path: Path, report: Report, float_format: str = "") -> None:
        self.path, self.report, self.float_format = path, report, float_format
        self.file = path.open("wb")
        self.names: list[str] = []

    def begin(self, record: Record) -> None:
        self.names = [f.name for f in record.columns]
        line = memo.dumps(memo.describe(record, lambda name, why: self.report.lose(name, record.source, why)))
        labels = ",".join(quoted(n, label=True).decode("utf-8", "surrogateescape") for n in self.names)
        self._put(f"{PREFIX}{line}\n{labels}\n".encode("utf-8", "surrogateescape"))

    def write(self, block: Block) -> None:
        columns = [block.columns.get(n, np.empty(0)) for n in self.names]
        self._put(table.rows(columns, block.rows, quote=quoted, float_format=self.float_format))

    def _put(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def end(self) -> None:
        """Nothing is known late."""

    def close(self) -> None:
        try:
            self.file.close()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def abort(self) -> None:
        self.file.close()


def quoted(text: str, *, label: bool = False) -> bytes:
    """Quote a cell where it must be: an empty text too, since an empty cell is a missing value."""
    special = any(c in text for c in ',"\n\r#') or text != text.strip() or (not text and not label)
    if special or (label and not text):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "surrogateescape")


class CsvRecords(Records):
    """The one record of a CSV file."""

    def __init__(self, path: Path, policy: Policy) -> None:
        self.path, self.policy = path, policy

    def __iter__(self) -> Iterator[Record]:
        text = self.path.read_bytes().decode("utf-8-sig", "surrogateescape")
        first, _, rest = text.partition("\n")
        known = memo.loads(first[2:]) if first.startswith(PREFIX) else None
        if known is None:
            rest, known = text, {}
        lines = list(csv.reader(io.StringIO(rest, newline="")))
        if not lines:
            raise InputError(f"{self.path} has no label line")
        labels, body = lines[0], lines[1:]
        source = str(self.path)
        fields = memo.header_fields(known, source)
        columns = known.get("columns", {})
        for i, name in enumerate(labels):
            fields.append(self._field(name, [row[i] if i < len(row) else "" for row in body], columns.get(name, {})))
        yield Record(
            known.get("key", {}),
            {f.name: f for f in fields},
            source=source,
            mapping=known.get("mapping", ""),
            grid=known.get("grid"),
        )

    def _field(self, name: str, cells: list[str], about: Mapping[str, Any]) -> Field:
        dtype = named_type(about["dtype"]) if about else np.dtype(np.float64)
        mask = np.array([c == "" for c in cells], dtype=bool)
        length = len(cells) - (len(mask) - 1 - int(np.flatnonzero(~mask)[-1])) if (~mask).any() else 0
        cells, mask = cells[:length], mask[:length]
        values = parsed(cells, mask, dtype, f"{self.path}::{name}")
        missing = Values(mask) if mask.any() else None
        return Field(
            name, Values(values, dtype), True, mask=missing, source=f"{self.path}::{name}", **memo.about(about)
        )


def parsed(cells: list[str], mask: np.ndarray[Any, Any], dtype: np.dtype[Any], where: str) -> np.ndarray[Any, Any]:
    """Read cells as a dtype."""
    if is_text(dtype):
        return np.array(
            [c.encode("utf-8", "surrogateescape") for c in cells] if dtype.kind == "S" else cells, dtype=dtype
        )
    filled = ["0" if m else c for c, m in zip(cells, mask, strict=True)]
    try:
        if dtype.kind == "b":
            return np.array([c in ("true", "True", "1") for c in filled], dtype=dtype)
        if dtype.kind in "iu":
            return np.array([int(c) for c in filled], dtype=dtype)
        if dtype.kind == "c":
            return np.array([complex(c) for c in filled], dtype=dtype)
        if dtype.itemsize > 8:
            return np.array([dtype.type(c) for c in filled], dtype=dtype)
        return np.array([float(c) for c in filled], dtype=np.float64).astype(dtype)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a CSV file."""
    return CsvRecords(location.path, policy)


FORMAT = Format(
    name="csv",
    title="comma-separated values",
    extensions=(".csv",),
    sniff=sniff,
    open=open_records,
    create=CsvSink,
    holds=Holds(item_rank=0, records=1, kinds="biufcS", note="one table a file"),
    write_options=(Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),),
    seeks=False,
)
