"""Writing TIFF: pixels first, in the order they come, then the directories with the memo.

The header is written last, when it is known whether the file fits the 4 GiB that classic TIFF can address.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nxconvert import memo
from nxconvert.errors import OutputError, UsageError
from nxconvert.format import RecordSink, Report
from nxconvert.formats.tiff import COMPRESSIONS, PROFILES, encode, private
from nxconvert.formats.tiff.frames import Frames, columns_of
from nxconvert.location import safe_name
from nxconvert.record import Block, Record

_START = 16
_LARGE_STRIP = 16 << 20
_BEHIND = 64 << 20
_CODES = {"none": 1, "deflate": 8, "lzw": 5, "zstd": 50000, "packbits": 32773, "lzma": 34925}
_ALIASES = {"zlib": "deflate", "gzip": "deflate"}
_IMAGEJ = {"uint8", "uint16", "int16", "float32"}

Packed = list[bytes]


def made(
    path: Path, report: Report, profile: str = "stack", compression: str = "none", cast: str = "", range: str = ""
) -> RecordSink:
    """Make the sink of a profile.

    Raises
    ------
    UsageError
        When an option is wrong, or two do not go together.
    """
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile!r} is not one of {', '.join(PROFILES)}")
    if compression not in COMPRESSIONS:
        raise UsageError(f"--compression {compression!r}: TIFF has {', '.join(COMPRESSIONS)}")
    method = _ALIASES.get(compression, compression)
    if profile == "imagej" and method != "none":
        raise UsageError("ImageJ's own stacks are not compressed", "use --profile stack, which Fiji opens too")
    kinds: dict[str, Callable[..., RecordSink]] = {"stack": StackSink, "sequence": SequenceSink, "imagej": ImagejSink}
    return kinds[profile](path, report, method, cast, range)


def line(known: dict[str, Any]) -> str:
    """Return a memo as a description of one line.

    tifffile takes any description that has ``"shape":`` in it for its own, and fails; so a blank stands between.
    """
    return memo.dumps(known).replace('"shape":', '"shape" :')


def to_disk(handle: int) -> None:
    """Flush an open file's data to its disk; where this takes a call of its own that is cheap."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(handle)


def encoder(method: str) -> Callable[[Any], bytes]:
    """Return the function that compresses a strip."""
    import imagecodecs

    functions: dict[str, Callable[[Any], bytes]] = {
        "deflate": lambda data: bytes(imagecodecs.zlib_encode(data, level=6)),
        "lzw": lambda data: bytes(imagecodecs.lzw_encode(data)),
        "zstd": lambda data: bytes(imagecodecs.zstd_encode(data, level=5)),
        "packbits": lambda data: bytes(imagecodecs.packbits_encode(data)),
        "lzma": lambda data: bytes(imagecodecs.lzma_encode(data)),
    }
    return functions[method]


class TiffSink(RecordSink):
    """What all profiles share: frames are made ready, columns gathered, work done in threads a few frames behind."""

    threads = max(2, min(8, os.cpu_count() or 2))

    def __init__(self, path: Path, report: Report, method: str, cast: str, range: str) -> None:
        self.path, self.report, self.method = path, report, method
        self.cast, self.range = cast, range
        self.pool = ThreadPoolExecutor(self.threads, "tiff")
        self.encode = encoder(method) if method != "none" else None
        self.pending: deque[tuple[Future[Any], int]] = deque()
        self.waiting = 0

    def begin(self, record: Record) -> None:
        self.frames = Frames(record, self.report, self.cast, self.range)
        height, row = self.frames.item[0], max(1, self.frames.nbytes // self.frames.item[0])
        self.strip = min(height, max(1, _LARGE_STRIP // row)) if self.encode else height
        self.columns: dict[str, list[np.ndarray[Any, Any]]] = {}
        self.missing: dict[str, list[int]] = {}
        self.entries = self.frames.entries(self.strip, _CODES[self.method])

    def write(self, block: Block) -> None:
        name = self.frames.field.name
        for column, values, missing in columns_of(block.columns, name):
            self._column(column, values, [block.start + i for i in missing])
        data, missing = self.frames.stored(block.columns[name])
        if missing:
            self.missing.setdefault(name, []).extend(block.start + i for i in missing)
        self.put(block, data)
        self.drain(_BEHIND)

    def _column(self, name: str, values: np.ndarray[Any, Any], missing: list[int]) -> None:
        self.columns.setdefault(name, []).append(values)
        if missing:
            self.missing.setdefault(name, []).extend(missing)

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        """Take frames that are ready, into threads."""
        raise NotImplementedError

    def submit(self, size: int, pool: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a thread work on so many bytes of frames."""
        self.pending.append((pool.submit(function, *arguments), size))
        self.waiting += size

    def packed(self, frame: np.ndarray[Any, Any]) -> Packed:
        """Compress a frame's strips."""
        assert self.encode is not None
        return [self.encode(frame[y : y + self.strip]) for y in range(0, len(frame), self.strip)]

    def drain(self, left: int = 0) -> None:
        """Wait until the threads have no more than so many bytes to do.

        Raises
        ------
        OutputError
            When it failed.
        """
        try:
            while self.pending and (self.waiting > left or self.pending[0][0].done()):
                future, size = self.pending.popleft()
                self.waiting -= size
                self.take(future.result())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def take(self, result: Any) -> None:
        """Take what a thread made, in order."""

    def values(self) -> dict[str, Any]:
        """Return the columns as the memo holds them."""
        return {n: private.packed(np.concatenate(parts)) for n, parts in self.columns.items() if parts}

    def abort(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class StackSink(TiffSink):
    """One file, a page a frame."""

    def __init__(self, path: Path, report: Report, method: str, cast: str, range: str) -> None:
        super().__init__(path, report, method, cast, range)
        self.offsets: list[list[int]] = []
        self.sizes: list[list[int]] = []
        try:
            self.file: BinaryIO = path.open("wb", buffering=0)
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error.strerror}") from None
        self.at = _START
        self.writer = ThreadPoolExecutor(1, "tiff-writer")
        self.flushing: Future[None] | None = None

    def begin(self, record: Record) -> None:
        super().begin(record)
        try:
            self.file.seek(_START)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        if self.encode is not None:
            for frame in data:
                self.submit(frame.nbytes, self.pool, self.packed, frame)
            return
        self._flush_early()
        self.submit(data.nbytes, self.writer, self._write, [data])
        for _ in range(len(data)):
            self._strips([self.frames.nbytes])

    def take(self, result: Any) -> None:
        if self.encode is not None:
            self._write(result)
            self._strips([len(strip) for strip in result])

    def _strips(self, sizes: list[int]) -> None:
        self.sizes.append(sizes)
        self.offsets.append([self.at + sum(sizes[:i]) for i in range(len(sizes))])
        self.at += sum(sizes)

    def _write(self, pieces: Iterable[Any]) -> None:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            while len(view):
                view = view[self.file.write(view) :]

    def _flush_early(self) -> None:
        """Have the disk at work while the next frames are read, so that there is less to wait for at the end."""
        if self.flushing is None or self.flushing.done():
            self.flushing = self.pool.submit(to_disk, self.file.fileno())

    def description(self) -> list[encode.Entry]:
        """Return the tags of the first page alone: the memo, and what viewers show."""
        return [encode.text(270, line(self.memo())), *self.frames.resolution(0.01, 3), *self.frames.provenance()]

    def memo(self) -> dict[str, Any]:
        """Return the complete memo."""
        out = self.frames.describe()
        out[private.KEY] |= {"values": self.values(), "missing": self.missing}
        return out

    def end(self) -> None:
        self.drain()
        self.frames.finish()
        pad = -self.at % 8
        first = self.description()
        try:
            start, big = self._directories(self.at + pad, first)
            self.file.seek(self.at)
            self._write([b"\0" * pad, start])
            self.file.seek(0)
            self._write([encode.header(self.at + pad, big=big).ljust(_START, b"\0")])
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def _directories(self, at: int, first: list[encode.Entry]) -> tuple[bytes, bool]:
        try:
            return self._pages(at, first, big=False), False
        except OverflowError:
            return self._pages(at, first, big=True), True

    def _pages(self, at: int, first: list[encode.Entry], *, big: bool) -> bytes:
        parts: list[bytes] = []
        last = len(self.offsets) - 1
        for i, (offsets, sizes) in enumerate(zip(self.offsets, self.sizes, strict=True)):
            entries = [*self.entries, *encode.located(encode.Strips(offsets, sizes), big=big), *(() if i else first)]
            parts.append(encode.directory(entries, at, last=i == last, big=big))
            at += len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        self.pool.shutdown()
        self.writer.shutdown()
        try:
            self.file.close()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def abort(self) -> None:
        self.writer.shutdown(cancel_futures=True)
        super().abort()
        self.file.close()


class ImagejSink(StackSink):
    """A stack as ImageJ writes it: its own description, the memo as the last line of the stack's Info."""

    def begin(self, record: Record) -> None:
        super().begin(record)
        self.low, self.high = np.inf, -np.inf
        rgb = self.frames.colour and self.frames.samples == 3 and self.frames.dtype == np.uint8
        if not rgb and (self.frames.samples > 1 or self.frames.dtype.name not in _IMAGEJ):
            what = f"{self.frames.dtype.name} with {self.frames.samples} samples" if self.frames.samples > 1 else ""
            raise OutputError(
                f"{record.source}: ImageJ stacks hold {', '.join(sorted(_IMAGEJ))} and 8-bit RGB, not "
                f"{what or self.frames.dtype.name}",
                "add --cast float32, or use --profile stack",
            )
        if self.frames.nbytes * self.frames.rows > encode.CLASSIC_LIMIT - _LARGE_STRIP:
            raise OutputError(
                f"{record.source}: {self.frames.nbytes * self.frames.rows:,} bytes are too many for an ImageJ stack",
                "use --profile stack, or write a part: FILE::/path[0:100]",
            )

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        super().put(block, data)
        if not self.frames.colour:
            low, high = float(np.min(data)), float(np.max(data))
            if np.isnan(low) or np.isnan(high):
                finite = data[np.isfinite(data)]
                low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
            self.low, self.high = min(self.low, low), max(self.high, high)

    def description(self) -> list[encode.Entry]:
        n = self.frames.rows
        lines = ["ImageJ=1.54f"]
        if n > 1:
            lines += [f"images={n}", f"slices={n}"]
        resolution = self.frames.resolution(1e-6, 1)
        if resolution:
            lines.append("unit=micron")
        if np.isfinite([self.low, self.high]).all():
            lines += [f"min={self.low}", f"max={self.high}"]
        text = self.memo()
        known = [f"{k} = {text[k]}" for k in ("title", "frames", "units") if text.get(k)]
        info = "\n".join([*known, line(text)]) + "\n"
        tags = [encode.text(270, "\n".join(lines) + "\n"), *encode.imagej_entries(info)]
        return [*tags, *resolution, *self.frames.provenance()]


class SequenceSink(TiffSink):
    """A folder of files, one a frame: each with the whole header and its own row of the columns."""

    threads = 8  # they wait for the disk more than they work

    def begin(self, record: Record) -> None:
        super().begin(record)
        if self.path.is_file():
            raise UsageError("a sequence is a folder of files, which standard output cannot be", "name a folder")
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {self.path} cannot be made: {error.strerror}") from None
        self.head = self.frames.describe()
        self.tags = [*self.frames.resolution(0.01, 3), *self.frames.provenance()]
        self.digits = max(4, len(str(self.frames.rows - 1)))
        self.stem = safe_name(self.frames.field.name)

    def _column(self, name: str, values: np.ndarray[Any, Any], missing: list[int]) -> None:
        self.columns[name] = [values]
        self.missing[name] = missing

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        for i, frame in enumerate(data):
            row = block.start + i
            values = {n: private.packed(v[0][i : i + 1]) for n, v in self.columns.items()}
            gone = {n: [0] for n, rows in self.missing.items() if row in rows}
            about = {"n": 1, "row": row, "rows": self.frames.rows, "values": values, "missing": gone}
            text = line(self.head | {private.KEY: self.head[private.KEY] | about})
            name = f"{self.stem}_{row:0{self.digits}d}.tif"
            self.submit(frame.nbytes, self.pool, self._file, self.path / name, frame, text)

    def _file(self, path: Path, frame: np.ndarray[Any, Any], text: str) -> None:
        pieces: list[Any] = [*self.packed(frame)] if self.encode is not None else [frame]
        sizes = [memoryview(p).nbytes for p in pieces]
        shared = [*self.entries, *self.tags, encode.text(270, text)]
        big = sum(sizes) + len(text) > encode.CLASSIC_LIMIT - _LARGE_STRIP
        start = 16 if big else 8
        # the length of a directory does not depend on the offsets in it
        length = len(self._directory(shared, [0] * len(sizes), sizes, start, big=big))
        offsets = [start + length + sum(sizes[:i]) for i in range(len(sizes))]
        head = encode.header(start, big=big) + self._directory(shared, offsets, sizes, start, big=big)
        with path.open("wb", buffering=0) as file:
            for piece in (head, *pieces):
                view = memoryview(piece).cast("B")
                while len(view):
                    view = view[file.write(view) :]
            to_disk(file.fileno())

    @staticmethod
    def _directory(shared: list[encode.Entry], offsets: list[int], sizes: list[int], start: int, *, big: bool) -> bytes:
        entries = [*shared, *encode.located(encode.Strips(offsets, sizes), big=big)]
        return encode.directory(entries, start, last=True, big=big)

    def end(self) -> None:
        self.drain()
        self.frames.finish()

    def close(self) -> None:
        self.pool.shutdown()
