"""Writing CBF: a file for each frame in the manner of PILATUS detectors; memo and columns are in the mini header."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import __version__, memo
from nxconvert.array import is_text
from nxconvert.encoders import encoder
from nxconvert.errors import OutputError, UsageError
from nxconvert.format import Block, RecordSink, Report
from nxconvert.formats.cbf import EXTENSION, PRIVATE, ROW
from nxconvert.formats.cbf.sections import BOUNDARY, BYTE_OFFSET, STARTER
from nxconvert.formats.cbf.text import CONVENTION, joined
from nxconvert.image import MEMO, cell, row_entries, safe_key
from nxconvert.location import safe_name
from nxconvert.record import Field, Record

_PADDING = 4095
_STORED = {"b1": "u1", "f2": "f4"}
_TYPES = {f"i{n}": f"signed {8 * n}-bit integer" for n in (1, 2, 4, 8)}
_TYPES |= {f"u{n}": f"unsigned {8 * n}-bit integer" for n in (1, 2, 4, 8)}
_TYPES |= {f"f{n}": f"signed {8 * n}-bit real IEEE" for n in (4, 8)}


class CbfSink(RecordSink):
    """A file, or for a record of several frames a folder of files: each with the whole header and its own row."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report

    def begin(self, record: Record) -> None:
        frames = [f for f in record.columns if len(f.item_shape) == 2]
        if len(frames) != 1:
            raise OutputError(f"{record.source}: a CBF file holds one frame, not {len(frames)} for each row")
        self.frame = frames[0]
        code = f"{self.frame.dtype.kind}{self.frame.dtype.itemsize}"
        code = _STORED.get(code, code)
        if code not in _TYPES:
            raise OutputError(f"{self.frame.source}: CBF has no {self.frame.dtype} images", "choose another format")
        self.rows = self.frame.shape[0]
        if not self.rows or 0 in self.frame.item_shape:
            raise OutputError(f"{record.source}: {self.frame.name} has no pixels", "CBF has no empty images")
        self.dtype = np.dtype(f"<{code}")
        self.known = self._memo(record)
        self.convention, self.header = _readable(record)
        self.stem = safe_name(self.frame.name)
        self.digits = max(5, len(str(self.rows - 1)))
        if self.rows > 1:
            self._folder()

    def _memo(self, record: Record) -> str:
        known = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        known["frames"] = self.frame.name
        if self.rows > 1:  # what is of all files stands aside, so that each can be read alone
            columns = known["columns"]
            lengths = {n: columns[n].pop("length") for n in columns if "length" in columns[n]}
            known.pop("rows", None)
            known[PRIVATE] = {"rows": self.rows, "lengths": lengths, "grid": known.pop("grid", None)}
        return memo.dumps(known)

    def _folder(self) -> None:
        if self.path.is_file():
            raise UsageError(
                "several frames are a folder of CBF files, which standard output cannot be", "name a folder"
            )
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {self.path} cannot be made: {error.strerror}") from None

    def write(self, block: Block) -> None:
        values = block.columns[self.frame.name]
        if isinstance(values, np.ma.MaskedArray):
            gone = np.ma.getmaskarray(values).reshape(len(values), -1)
            if (gone.any(axis=1) & ~gone.all(axis=1)).any():
                why = "CBF has no mask of single pixels"
                self.report.lose(f"mask of {self.frame.name}", self.frame.source, why)
        data = np.ma.getdata(values)
        for i in range(len(data)):
            row = block.start + i
            lines = [(MEMO, self.known)]
            if self.rows > 1:
                lines.append((ROW, str(row)))
            lines += _cells(block, self.frame.name, i)
            name = f"{self.stem}_{row:0{self.digits}d}" if self.rows > 1 else self.stem
            path = self.path / f"{name}{EXTENSION}" if self.rows > 1 else self.path
            self._file(path, name, [*lines, *self.header], np.ascontiguousarray(data[i], self.dtype))

    def _file(self, path: Path, name: str, lines: Iterable[tuple[str, str]], values: np.ndarray[Any, Any]) -> None:
        packed = self.dtype.kind in "iu"
        raw = encoder(BYTE_OFFSET if packed else "raw").encode(values, ())
        head = [
            f"###CBF: VERSION 1.5, nxconvert {__version__}",
            "",
            f"data_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}",
            "",
            f'{CONVENTION} "{self.convention}"',
            "_array_data.header_contents",
            ";",
            *(f"# {key}{':' if key.endswith(':') else ''} {text}" for key, text in lines),
            ";",
            "",
            "_array_data.data",
            ";",
            *_section(values, raw, packed=packed),
            "",
            "",
        ]
        try:
            with path.open("wb") as file:
                file.write("\r\n".join(head).encode() + STARTER)
                file.write(raw)
                file.write(bytes(_PADDING) + b"\r\n" + BOUNDARY + b"--\r\n;\r\n\r\n")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None

    def end(self) -> None:
        """Nothing is known late: each file is whole when its frame is written."""

    def close(self) -> None:
        """No file is open."""

    def abort(self) -> None:
        """No file is open."""


def _section(values: np.ndarray[Any, Any], raw: Any, *, packed: bool) -> list[str]:
    """Return the header of a binary section."""
    height, width = values.shape
    digest = hashlib.md5(raw, usedforsecurity=False).digest()
    conversion = [";", '\r\n     conversions="x-CBF_BYTE_OFFSET"'] if packed else []
    return [
        BOUNDARY.decode(),
        "Content-Type: application/octet-stream" + "".join(conversion),
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {memoryview(raw).nbytes}",
        "X-Binary-ID: 1",
        f'X-Binary-Element-Type: "{_TYPES[values.dtype.str[1:]]}"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {base64.b64encode(digest).decode()}",
        f"X-Binary-Number-of-Elements: {values.size}",
        f"X-Binary-Size-Fastest-Dimension: {width}",
        f"X-Binary-Size-Second-Dimension: {height}",
        f"X-Binary-Size-Padding: {_PADDING}",
    ]


def _cells(block: Block, frame: str, i: int) -> Iterator[tuple[str, str]]:
    """Yield a row's keys and texts; a text that would not be read as it stands is quoted."""
    texts = {safe_key(name) for name, values in block.columns.items() if is_text(values.dtype)}
    for key, text in row_entries(block.columns, frame, i):
        plain = key not in texts or text.startswith('"') or (len(text.split()) == 1 and not text.startswith("="))
        yield key, text if plain else json.dumps(text)


def _readable(record: Record) -> tuple[str, list[tuple[str, str]]]:
    """Return the convention of the mini header, and the scalar header values as keys that other programs read."""
    convention, found = "nxconvert_1.0", []
    taken = {safe_key(f.name) for f in record.columns} | {MEMO}
    for f in record.header:
        key = safe_key(f.name)
        if f.shape or f.dtype.kind not in "biufSO" or f.dtype.names or key in taken:
            continue
        text = cell(f.values.read()[()], f.dtype)
        if key == CONVENTION:
            convention = text if re.fullmatch(r"[\w./-]+", text) else convention
        else:
            found.append((key, f"{text} {_unit(f)}".rstrip()))
    return convention, joined(found)


def _unit(f: Field) -> str:
    return f.units if re.fullmatch(r"[!-~]+", f.units) and f.dtype.kind in "iuf" else ""
