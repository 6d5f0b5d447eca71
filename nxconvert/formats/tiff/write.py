"""Writing TIFF: pixels first, in the order they come, then the directories with the memo.

The header is written last, when it is known whether the file fits the 4 GiB that classic TIFF can address. Frames whose
place in their own file is known are fetched from there by threads. Uncompressed frames of zeros become holes.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nxconvert import memo
from nxconvert.engine import disk
from nxconvert.engine.items import Items
from nxconvert.errors import OutputError, UsageError
from nxconvert.format import RecordSink, Report
from nxconvert.formats.tiff import COMPRESSIONS, PROFILES, encode, private
from nxconvert.formats.tiff.frames import Frames, columns_of
from nxconvert.location import safe_name
from nxconvert.record import Block, Record

_START = 16
_LARGE_STRIP = 16 << 20
_BEHIND = 64 << 20
_OPEN = 64
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


def like(at: int, offset: int) -> int:
    """Return the first offset from one on that lies in its page as another does: from there whole pages are copied."""
    return at + (max(offset, 0) - at) % disk.PAGE


def write_frame(handle: int, at: int, frame: np.ndarray[Any, Any]) -> None:
    """Write a frame at an offset; one of zeros becomes a hole."""
    flat = frame.reshape(-1)
    if flat.view(np.bool_).any():
        disk.write_at(handle, at, flat.view(np.uint8))


def flushed(handle: int) -> None:
    """Flush a file's data to its disk, and close it."""
    try:
        to_disk(handle)
    finally:
        os.close(handle)


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
    may_fetch = True

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
        self.items = self._items() if self.may_fetch else None

    def _items(self) -> Items | None:
        """Return the frames where they lie, when they are stored as they are there."""
        field, frames = self.frames.field, self.frames
        if frames.cast is not None or field.mask is not None or field.dtype != frames.dtype:
            return None
        places = field.values.places()
        return Items(field.values, places, field.source) if places is not None else None

    def fetches(self) -> Collection[str]:
        return () if self.items is None else (self.frames.field.name,)

    def write(self, block: Block) -> None:
        name = self.frames.field.name
        for column, values, missing in columns_of(block.columns, name):
            self._column(column, values, [block.start + i for i in missing])
        if name not in block.columns:
            return
        data, missing = self.frames.stored(block.columns[name])
        if missing:
            self.missing.setdefault(name, []).extend(block.start + i for i in missing)
        self.put(block, data)
        self.drain(_BEHIND)

    def _column(self, name: str, values: np.ndarray[Any, Any], missing: list[int]) -> None:
        self.columns.setdefault(name, []).append(values)
        if missing:
            self.missing.setdefault(name, []).extend(missing)

    @abstractmethod
    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        """Take frames that are ready, into threads."""

    def submit(self, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a thread work on so many bytes of frames."""
        self.pending.append((self.pool.submit(function, *arguments), size))
        self.waiting += size

    def fetch(self) -> None:
        """Have threads fetch the frames."""
        for row in range(self.frames.rows if self.items is not None else 0):
            self.put_item(row)
            self.drain(_BEHIND)
            self.report.moved(self.frames.record.source, self.frames.nbytes)

    @abstractmethod
    def put_item(self, row: int) -> None:
        """Have a thread fetch a frame."""

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
            self.file: BinaryIO = path.open("w+b", buffering=0)
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error.strerror}") from None
        self.at = _START

    def begin(self, record: Record) -> None:
        super().begin(record)
        if self.items is None or self.encode is not None:
            return
        places = self.items.places
        self.at = like(_START, int(places.offsets[0]))
        if (places.sizes > 0).all():
            try:
                disk.reserve(self.file.fileno(), self.at + self.frames.nbytes * self.frames.rows)
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        for frame in data:
            if self.encode is not None:
                self.submit(frame.nbytes, self.packed, frame)
            else:
                self.submit(frame.nbytes, write_frame, self.file.fileno(), self.at, frame)
                self._strips([frame.nbytes])

    def put_item(self, row: int) -> None:
        assert self.items is not None
        if self.encode is not None:
            self.submit(self.frames.nbytes, self._packed_item, row)
        else:
            self.submit(self.frames.nbytes, self.items.move, row, self.file.fileno(), self.at)
            self._strips([self.frames.nbytes])

    def _packed_item(self, row: int) -> Packed:
        assert self.items is not None
        with self.items.item(row) as frame:
            return self.packed(frame)

    def take(self, result: Any) -> None:
        if result is not None:
            for offset, strip in zip(self._strips([len(strip) for strip in result]), result, strict=True):
                disk.write_at(self.file.fileno(), offset, strip)

    def _strips(self, sizes: list[int]) -> list[int]:
        """Note the sizes of a page's strips; return where they go."""
        self.sizes.append(sizes)
        self.offsets.append([self.at + sum(sizes[:i]) for i in range(len(sizes))])
        self.at += sum(sizes)
        return self.offsets[-1]

    def description(self) -> list[encode.Entry]:
        """Return the tags of the first page alone: the memo, and what viewers show."""
        return [encode.text(270, line(self.memo())), *self.frames.resolution(0.01, 3), *self.frames.provenance()]

    def memo(self) -> dict[str, Any]:
        """Return the complete memo."""
        out = self.frames.describe()
        out[private.KEY] |= {"values": self.values(), "missing": self.missing}
        return out

    def end(self) -> None:
        self.fetch()
        self.drain()
        self.frames.finish()
        pad = -self.at % 8
        first = self.description()
        try:
            start, big = self._directories(self.at + pad, first)
            disk.write_at(self.file.fileno(), self.at, b"\0" * pad + start)
            disk.write_at(self.file.fileno(), 0, encode.header(self.at + pad, big=big).ljust(_START, b"\0"))
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
        try:
            self.file.close()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def abort(self) -> None:
        super().abort()
        self.file.close()


class ImagejSink(StackSink):
    """A stack as ImageJ writes it: its own description, the memo as the last line of the stack's Info."""

    may_fetch = False  # its description has the lowest and highest value

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

    def __init__(self, path: Path, report: Report, method: str, cast: str, range: str) -> None:
        super().__init__(path, report, method, cast, range)
        self.flushers = ThreadPoolExecutor(8, "tiff-flush")  # they wait for the disk, which flushes many files at once
        self.flushing: deque[Future[None]] = deque()

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
        if self.items is not None:
            super()._column(name, values, missing)
        else:
            self.columns[name] = [values]
            self.missing[name] = missing

    def fetch(self) -> None:
        self.columns = {n: [np.concatenate(parts)] for n, parts in self.columns.items()}
        super().fetch()

    def put(self, block: Block, data: np.ndarray[Any, Any]) -> None:
        for i, frame in enumerate(data):
            self.submit(frame.nbytes, self._file, block.start + i, self._text(block.start + i, i), frame)

    def put_item(self, row: int) -> None:
        self.submit(self.frames.nbytes, self._file, row, self._text(row, row))

    def _text(self, row: int, i: int) -> str:
        """Return the description of a row's file, whose columns' values are the i-th of those that are held."""
        values = {n: private.packed(v[0][i : i + 1]) for n, v in self.columns.items()}
        gone = {n: [0] for n, rows in self.missing.items() if row in rows}
        about = {"n": 1, "row": row, "rows": self.frames.rows, "values": values, "missing": gone}
        return line(self.head | {private.KEY: self.head[private.KEY] | about})

    def _file(self, row: int, text: str, frame: np.ndarray[Any, Any] | None = None) -> int:
        """Write the file of a row, whose frame is fetched when it is not given."""
        if frame is not None:
            return self._stored(row, text, self.packed(frame) if self.encode else [frame])
        if self.encode is None:
            return self._stored(row, text, None)
        assert self.items is not None
        with self.items.item(row) as fetched:
            return self._stored(row, text, self.packed(fetched))

    def _stored(self, row: int, text: str, pieces: list[Any] | None) -> int:
        """Write a file of pieces, or without any of the frame where it lies; return its handle, to be flushed."""
        sizes = [memoryview(p).nbytes for p in pieces] if pieces is not None else [self.frames.nbytes]
        shared = [*self.entries, *self.tags, encode.text(270, text)]
        big = sum(sizes) + len(text) > encode.CLASSIC_LIMIT - _LARGE_STRIP
        start = 16 if big else 8
        # the length of a directory does not depend on the offsets in it
        at = start + len(self._directory(shared, [0] * len(sizes), sizes, start, big=big))
        if self.items is not None:
            at = like(at, int(self.items.places.offsets[row]))
        offsets = [at + sum(sizes[:i]) for i in range(len(sizes))]
        head = encode.header(start, big=big) + self._directory(shared, offsets, sizes, start, big=big)
        path = self.path / f"{self.stem}_{row:0{self.digits}d}.tif"
        with path.open("w+b", buffering=0) as file:
            handle = file.fileno()
            disk.write_at(handle, 0, head)
            if pieces is None:
                assert self.items is not None
                self.items.move(row, handle, at)
            for offset, piece in zip(offsets, pieces or (), strict=False):
                (disk.write_at if self.encode else write_frame)(handle, offset, piece)
            file.truncate(at + sum(sizes))  # a hole at the end is a part of the file too
            return os.dup(handle)

    def take(self, result: int) -> None:
        self.flushing.append(self.flushers.submit(flushed, result))
        while len(self.flushing) > _OPEN:
            self.flushing.popleft().result()

    def drain(self, left: int = 0) -> None:
        super().drain(left)
        try:
            while self.flushing and (not left or self.flushing[0].done()):
                self.flushing.popleft().result()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    @staticmethod
    def _directory(shared: list[encode.Entry], offsets: list[int], sizes: list[int], start: int, *, big: bool) -> bytes:
        entries = [*shared, *encode.located(encode.Strips(offsets, sizes), big=big)]
        return encode.directory(entries, start, last=True, big=big)

    def end(self) -> None:
        self.fetch()
        self.drain()
        self.frames.finish()

    def close(self) -> None:
        self.pool.shutdown()
        self.flushers.shutdown()

    def abort(self) -> None:
        super().abort()
        self.flushers.shutdown()
