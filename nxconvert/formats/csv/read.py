"""Reading CSV: ours by its memo, that of others as a foreign table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo
from nxconvert.array import TEXT, Values, named_type
from nxconvert.errors import InputError
from nxconvert.foreign.encoding import TextFile
from nxconvert.foreign.reader import records
from nxconvert.foreign.roles import with_stated_roles
from nxconvert.foreign.types import typed
from nxconvert.format import Records
from nxconvert.formats.csv import BOM, MORE, PREFIX, item_labels
from nxconvert.record import Field, Record
from nxconvert.textfile import Column, Sheet, first_row, record, row_of

_SEPARATORS = (b",", b";", b"\t")
_TAIL_MEMO = re.compile(rb'^"?# \{""?nxconvert""?', re.MULTILINE)


class CsvRecords(Records):
    """The one record of a CSV file; of a foreign one, its tables."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.text = TextFile(path)
        self.path, self.options = path, options

    def close(self) -> None:
        self.text.close()

    def __iter__(self) -> Iterator[Record]:
        known, start, stop, line = _memo(self.text.path)
        if known is None:
            yield from records(self.text, **self.options)
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
            fields = with_stated_roles(fields, self.options["roles"])
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
        return typed(sheet, unknown) if unknown else sheet


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
    tail = tail_memo(path)
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


def tail_memo(path: Path) -> tuple[int, bytes] | None:
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
    known = {label for n, about in described.items() for label in item_labels(n, tuple(about.get("item", ())))}
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
    begins = {item_labels(n, item)[0]: n for n, item in items.items() if 0 not in item}
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
        expected = item_labels(name, items[name])
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
