"""EDF: the ESRF data format, blocks of a text header and a binary frame; many of them in one file.

Facts: P. Boesecke, "Reduction of two-dimensional small- and wide-angle X-ray scattering data" (J. Appl. Cryst. 40,
2007, appendix), and the files themselves. A header is ``{``, statements ``key = value ;``, and ``}`` with a line feed,
padded to a multiple of 512 bytes. The first block may be a general one that has no frame. What is stated twice must
agree, and a file ends where its last frame does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.dissection import Content, Dissection, Entry, Frame, Piece
from nxconvert.errors import InputError, OutputError
from nxconvert.format import Block, FileSink, Format, Head, Holds, Location, Policy, Records, Report
from nxconvert.record import Record

LONGEST = 16 << 20
"""Bytes beyond which a header that does not end is none."""

_USUAL = 200  # characters of a statement that is worth keeping
_START = re.compile(rb"[\s\0]*\{").match
_END = re.compile(rb"\}\r?\n").search
_COUNT = re.compile(r"\d{1,18}").fullmatch
_BLANK = b" \t\r\n\0"

_TYPES = {
    "signedbyte": "i1",
    "unsignedbyte": "u1",
    "signedshort": "i2",
    "unsignedshort": "u2",
    "signedinteger": "i4",
    "unsignedinteger": "u4",
    "signedlong": "i4",
    "unsignedlong": "u4",
    "signed64": "i8",
    "unsigned64": "u8",
    "floatvalue": "f4",
    "float": "f4",
    "floatieee32": "f4",
    "double": "f8",
    "doublevalue": "f8",
    "doubleieee64": "f8",
}
_WRITTEN = {
    "i1": "SignedByte",
    "u1": "UnsignedByte",
    "i2": "SignedShort",
    "u2": "UnsignedShort",
    "i4": "SignedInteger",
    "u4": "UnsignedInteger",
    "i8": "Signed64",
    "u8": "Unsigned64",
    "f4": "FloatValue",
    "f8": "DoubleValue",
}
_PACKED = {"gzipcompression": 31, "gzip": 31, "zcompression": 15, "z": 15}
STRUCTURE = frozenset(
    "EDF_DataBlockID EDF_BinarySize EDF_HeaderSize ByteOrder DataType Dim_1 Dim_2 Dim_3 Size".split()  # noqa: SIM905
)
"""Keys that say how a block is made: not what was measured."""


def sniff(head: Head) -> int:
    """Look for a brace and a statement of EDF behind it."""
    start = head.start[:4096]
    if not _START(start) or b"=" not in start:
        return 0
    known = re.search(rb"[{;\s](EDF_\w+|HeaderID|DataType|ByteOrder|Dim_1)\s*=", start)
    return 2 if known and re.search(rb";", start) else 0


def dissect(content: Content) -> Dissection:
    """Say where the headers and frames of a file are.

    Raises
    ------
    InputError
        When a header is damaged, contradicts itself, or the file does not end where its last frame does.
    """
    frames: list[Frame] = []
    pieces: list[Piece] = []
    general: tuple[Entry, ...] = ()
    offset = number = 0
    while offset < content.size:
        head, keys, start = _header(content, offset, number)
        if head is None:
            break
        if "datatype" not in keys and "dim_1" not in keys:
            if number or general:
                raise InputError(f"{content.name}: block {number} has no DataType and no Dim_1")
            general = tuple(head)
            offset = start + _number(content, keys, "edf_binarysize", 0)
            number += 1
            continue
        offset = _frames(content, head, keys, start, frames, pieces)
        number += 1
    if not frames:
        raise InputError(f"{content.name} has no frame: its header names neither DataType nor Dim_1")
    return Dissection(frames, pieces, general)


def _header(content: Content, offset: int, number: int) -> tuple[list[Entry] | None, dict[str, str], int]:
    """Return a header's entries, their values by lower-case key, and where its frame starts; None at the file's end."""
    size = 4096
    begin = _START(content.view(offset, size))
    if begin is None:
        rest = content.view(offset, size)
        if number and not bytes(rest).strip(_BLANK) and content.size - offset <= size:
            return None, {}, offset  # padding
        raise InputError(
            f"{content.name}: {content.size - offset:,} bytes at {offset:,} are no EDF block",
            "the file is damaged, or its header states a wrong size",
        )
    while True:
        text = content.view(offset, size)
        end = _END(text)
        if end is not None:
            return *_entries(bytes(text[begin.end() : end.start()])), offset + end.end()
        if len(text) < size or size > LONGEST:
            raise InputError(f"{content.name}: the header at byte {offset:,} does not end")
        size *= 4


def _entries(text: bytes) -> tuple[list[Entry], dict[str, str]]:
    """Return the statements of a header. One ends with a semicolon at the end of a line, or with the header."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")
    entries: list[Entry] = []
    keys: dict[str, str] = {}
    for line in re.split(r";[ \t\r\0]*\n|;[\s\0]*\Z", decoded):
        made = _statement(line) if len(line) < _USUAL else _statement.__wrapped__(line)
        if made is not None:
            entries.append(made[1])
            keys.setdefault(made[0], str(made[1].value))
    return entries, keys


@lru_cache(maxsize=4096)
def _statement(line: str) -> tuple[str, Entry] | None:
    """Return a statement with its key in lower case; most headers of a series have the same ones."""
    key, equal, value = line.partition("=")
    key = key.strip(" \t\r\n\0")
    if equal and key:
        return key.lower(), Entry(key, value.strip(" \t\r\n\0"))
    return ("comment", Entry("comment", line.strip(" \t\r\n\0"))) if key else None


def _number(content: Content, keys: dict[str, str], key: str, default: int) -> int:
    text = keys.get(key)
    if text is None:
        return default
    if not _COUNT(text):
        raise InputError(f"{content.name}: {key} = {text!r} is no size")
    return int(text)


@lru_cache(maxsize=256)
def _dtype(name: str, order: str) -> np.dtype[Any] | str:
    code = _TYPES.get(name.lower())
    if code is None:
        return f"the DataType {name!r} is not known"
    orders = {"lowbytefirst": "<", "highbytefirst": ">", "": "<"}
    sign = orders.get(order.lower())
    if sign is None:
        return f"the ByteOrder {order!r} is not known"
    return np.dtype(sign + code)


def _frames(
    content: Content, head: list[Entry], keys: dict[str, str], start: int, frames: list[Frame], pieces: list[Piece]
) -> int:
    """Add the frames of a block; return where the block ends."""
    dtype = _dtype(keys.get("datatype", ""), keys.get("byteorder", ""))
    if isinstance(dtype, str):
        raise InputError(f"{content.name}: {dtype}")
    dims: list[int] = []
    while f"dim_{len(dims) + 1}" in keys:
        dims.append(_number(content, keys, f"dim_{len(dims) + 1}", 0))
    if not dims or 0 in dims:
        raise InputError(f"{content.name}: the frame at byte {start:,} has no pixels: its dimensions are {dims}")
    shape = tuple(reversed(dims)) if len(dims) > 1 else (1, dims[0])
    size = dtype.itemsize
    for n in dims:
        size *= n
    stated = _number(content, keys, "size", _number(content, keys, "edf_binarysize", size))
    block = _number(content, keys, "edf_binarysize", stated)
    packing = keys.get("compression", keys.get("edf_compression", "none")).lower()
    entries = tuple(entry for entry in head if entry.key not in STRUCTURE)
    if packing in _PACKED:
        frames.append(Frame(shape, dtype, entries, _unpacking(content, start, block, shape, dtype, _PACKED[packing])))
        return _end(content, start, block)
    if packing not in ("none", "nocompression", "uncompressed", "no", ""):
        raise InputError(f"{content.name}: the compression {packing!r} is not known")
    if min(stated, block) < size:
        raise InputError(
            f"{content.name}: the header states {min(stated, block):,} bytes, the dimensions and type take {size:,}"
        )
    planes = size // (dtype.itemsize * shape[-1] * shape[-2])
    for plane in range(planes):
        pieces.append(Piece(start + plane * size // planes, size // planes, len(frames)))
        frames.append(Frame(shape[-2:], dtype, entries))
    return _end(content, start, max(block, stated))


def _end(content: Content, start: int, size: int) -> int:
    if start + size > content.size:
        raise InputError(
            f"{content.name} is truncated: the frame at byte {start:,} takes {size:,} bytes, and "
            f"{content.size - start:,} are there"
        )
    return start + size


def _unpacking(content: Content, start: int, size: int, shape: tuple[int, ...], dtype: Any, bits: int) -> Any:
    def read() -> np.ndarray[Any, Any]:
        import zlib

        try:
            raw = zlib.decompress(content.view(start, size), bits)
            return np.frombuffer(raw, dtype).reshape(shape)
        except (zlib.error, ValueError) as error:
            raise InputError(f"{content.name}: the frame at byte {start:,} is damaged: {error}") from None

    return read


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open an EDF file."""
    from nxconvert.image import ImageRecords

    return ImageRecords(location, policy, report, dissect)


class EdfSink(FileSink):
    """A file of one block for each frame; the columns are in the frames' headers, all else in that of the first."""

    def __init__(self, path: Path, report: Report) -> None:
        super().__init__(path)
        self.report = report

    def begin(self, record: Record) -> None:
        from nxconvert import memo

        frames = [f for f in record.columns if len(f.item_shape) == 2]
        if len(frames) != 1:
            raise OutputError(f"{record.source}: an EDF file holds one stack of frames, not {len(frames)}")
        self.frame = frames[0]
        code = f"{self.frame.dtype.kind}{self.frame.dtype.itemsize}"
        code = {"b1": "u1", "f2": "f4"}.get(code, code)  # no bit is lost, and the memo says what they were
        if code not in _WRITTEN:
            raise OutputError(f"{self.frame.source}: EDF has no {self.frame.dtype} images", "choose another format")
        if not self.frame.shape[0] or 0 in self.frame.item_shape:
            raise OutputError(f"{record.source}: {self.frame.name} has no pixels", "EDF has no empty images")
        self.dtype = np.dtype(f"<{code}")
        known = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        known["frames"] = self.frame.name
        self.memo = memo.dumps(known).replace(";", "\\u003b")
        self.header = [(f.name, f) for f in record.header]
        self.rows = 0

    def write(self, block: Block) -> None:
        from nxconvert.image import row_entries

        data = np.ma.getdata(block.columns[self.frame.name])
        for row in range(len(data)):
            entries = list(row_entries(block.columns, self.frame.name, row))
            self._frame(np.ascontiguousarray(data[row], self.dtype), entries)

    def _frame(self, values: np.ndarray[Any, Any], entries: list[tuple[str, str]]) -> None:
        height, width = values.shape
        lines = [
            ("EDF_DataBlockID", f"{self.rows}.Image.Psd"),
            ("EDF_BinarySize", str(values.nbytes)),
            ("EDF_HeaderSize", "@"),
            ("ByteOrder", "LowByteFirst"),
            ("DataType", _WRITTEN[self.dtype.str[1:]]),
            ("Dim_1", str(width)),
            ("Dim_2", str(height)),
            ("Size", str(values.nbytes)),
            ("Image", str(self.rows)),
            *entries,
        ]
        if not self.rows:
            lines += [*self._readable({name for name, _ in lines}), ("nxconvert", self.memo)]
        text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in lines)
        size = -(-(len(text.encode()) + 24) // 512) * 512
        raw = text.replace("EDF_HeaderSize = @ ;", f"EDF_HeaderSize = {size} ;", 1).encode()
        self.put(raw.ljust(size - 2) + b"}\n")
        self.put(values.data)
        self.rows += 1

    def _readable(self, taken: set[str]) -> list[tuple[str, str]]:
        """Return the scalar header values as keys that other programs read."""
        from nxconvert.image import cell, safe_key

        found = []
        for name, f in self.header:
            key = safe_key(name)
            if not f.shape and f.dtype.kind in "biufSO" and key not in taken and not f.dtype.names:
                values = f.values.read()
                found.append((key, cell(values[()], f.dtype)))
        return found


def create(path: Path, report: Report) -> EdfSink:
    """Make an EDF file."""
    return EdfSink(path, report)


FORMAT = Format(
    name="edf",
    title="EDF images (ESRF)",
    extensions=(".edf",),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(item_rank=2, min_item_rank=2, records=1, kinds="biuf", note="one stack of frames a file"),
    dissect=dissect,
)
