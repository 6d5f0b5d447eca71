"""Reading plain columns: ours by their memo, those of others as a foreign table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo
from nxconvert.array import Values, named_type
from nxconvert.errors import InputError
from nxconvert.foreign.encoding import TextFile
from nxconvert.foreign.reader import records
from nxconvert.foreign.roles import with_stated_roles
from nxconvert.format import Records
from nxconvert.formats.plain import MARK
from nxconvert.record import Field, Record
from nxconvert.textfile import Column, Sheet, record


class PlainRecords(Records):
    """The one record of a file of plain columns; of a foreign one, its tables."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.text = TextFile(path)
        self.path, self.options = path, options

    def close(self) -> None:
        self.text.close()

    def __iter__(self) -> Iterator[Record]:
        known, start, lines = self._memo()
        if known is None:
            yield from records(self.text, **self.options)
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
            fields = with_stated_roles(fields, self.options["roles"])
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
