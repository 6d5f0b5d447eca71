"""Putting the files of a packed file together again, in memory: reads ``origin`` only.

The calling thread alone talks to HDF5; decoding, encoding and hashing is done in threads, a few files ahead.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import h5py
import numpy as np

from nxconvert.encoders import RAW, encoder
from nxconvert.engine.codecs import Codec, codec, pool, workers
from nxconvert.errors import InputError
from nxconvert.packed.origin import Made, Origin
from nxconvert.packed.store import STREAM_CHUNK, STREAMS, filters_of

T = TypeVar("T")

LARGE = 64 << 20
"""Files above this size are put together piece by piece."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Frames:
    """The frames of a record."""

    path: str
    id: h5py.h5d.DatasetID
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    plain: bool
    codec: Codec | None


@dataclass(slots=True)
class _Stored:
    """A frame as it is stored: its chunks, or its values when HDF5 had to decode them."""

    frames: _Frames
    chunks: list[tuple[tuple[int, ...], Any]]
    values: Values | None = None

    def decode(self, out: Values) -> None:
        """Decode into an array of the frame's shape and dtype.

        Raises
        ------
        InputError
            When a chunk is damaged.
        """
        if self.values is not None:
            out[...] = self.values
            return
        for offset, raw in self.chunks:
            corner = offset[1:]
            box = tuple(
                slice(o, min(o + c, n)) for o, c, n in zip(corner, self.frames.chunk[1:], out.shape, strict=True)
            )
            target = out[box]
            whole = target.shape == self.frames.chunk[1:] and target.flags.c_contiguous and target.flags.aligned
            into = target if whole else np.empty(self.frames.chunk[1:], out.dtype)
            if not self._decoded(raw, into):
                raise InputError(f"the chunk of {self.frames.path} at {list(offset)} is damaged")
            if not whole:
                target[...] = into[tuple(slice(n) for n in target.shape)]

    def _decoded(self, raw: Any, into: Values) -> bool:
        stored = np.frombuffer(raw, np.uint8)
        if self.frames.plain:
            if stored.size != into.nbytes:
                return False
            into.reshape(-1).view(np.uint8)[:] = stored
            return True
        assert self.frames.codec is not None
        return self.frames.codec.decode(stored, stored.size, into)


class Rebuilder:
    """A packed file whose files can be put together; a context manager.

    Raises
    ------
    InputError
        When it is no packed file, or its origin is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = h5py.File(path, "r", locking=False)
        except FileNotFoundError:
            raise InputError(f"there is no file {path}") from None
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {' '.join(str(error).split())}") from None
        try:
            self.origin = Origin.read(self.file, str(path))
            self._records = [self._frames(record["path"]) for record in self.origin.records]
            self._streams = {
                name: _Stream(self.file[f"/origin/{name}"].id, f"{path}::/origin/{name}") for name in STREAMS
            }
        except (KeyError, OSError, RuntimeError) as error:
            self.close()
            raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None
        except InputError:
            self.close()
            raise

    def _frames(self, path: str) -> _Frames:
        id = self.file[path].id
        chunk, dtype = self.file[path].chunks, self.file[path].dtype
        filters = filters_of(id)
        found = codec(filters, dtype, chunk)
        if filters and found is None:
            import hdf5plugin  # noqa: F401 - registers the filters that HDF5 itself must undo
        return _Frames(path, id, id.shape, dtype, chunk, not filters, found)

    def _stored(self, record: int, row: int, *, moved: bool) -> _Stored:
        frames = self._records[record]
        if not frames.plain and frames.codec is None and not moved:
            try:
                return _Stored(frames, [], self.file[frames.path][row])
            except (OSError, RuntimeError) as error:
                raise InputError(f"{self.path}: {frames.path}[{row}] cannot be read: {error}") from None
        chunks = []
        counts = [-(-n // c) for n, c in zip(frames.shape[1:], frames.chunk[1:], strict=True)]
        for index in np.ndindex(*counts):
            offset = (row, *(i * c for i, c in zip(index, frames.chunk[1:], strict=True)))
            try:
                mask, raw = frames.id.read_direct_chunk(offset)
            except (OSError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"{self.path}: the chunk of {frames.path} at {list(offset)} cannot be read: {error}"
                ) from None
            if mask:
                raise InputError(
                    f"{self.path}: the chunk of {frames.path} at {list(offset)} was stored by another program"
                )
            chunks.append((offset, raw))
        return _Stored(frames, chunks)

    def files(self, wanted: Callable[[Made], bool] = lambda made: True) -> Iterator[Made]:
        """Yield how the files are made, those that are wanted."""
        return (made for made in self.origin.files() if wanted(made))

    def each(self, files: Iterable[Made], use: Callable[[Made, Any], T]) -> Iterator[tuple[Made, T | InputError]]:
        """Put files together and use each of them, in threads; yield what came of it, in order.

        Parameters
        ----------
        files
            Which ones, in order.
        use
            Given the file and its bytes, which are proven by their SHA-256; a large file is not given to it.

        Yields
        ------
        tuple
            The file, and what ``use`` gave, or the error that it could not be put together with.
        """
        pending: deque[tuple[Made, Future[T] | InputError]] = deque()

        def settled() -> tuple[Made, T | InputError]:
            made, work = pending.popleft()
            if isinstance(work, InputError):
                return made, work
            try:
                return made, work.result()
            except InputError as error:
                return made, error

        most = workers() + 2
        for made in files:
            if len(pending) >= most:
                yield settled()
            try:
                inputs = self._inputs(made)
            except InputError as error:
                pending.append((made, error))
                continue
            pending.append((made, pool().submit(self._put_together, made, inputs, use)))
        while pending:
            yield settled()

    def _inputs(self, made: Made) -> list[Any]:
        """Read what a file is made of: literals as bytes, frames as they are stored, one for each part."""
        at = dict(made.at)
        frames: dict[int, _Stored] = {}
        inputs: list[Any] = []
        for part, size in zip(made.parts, made.sizes, strict=True):
            if part[0] in ("piece", "chunk"):
                number = part[1]
                if number not in frames:
                    moved = not any(p[0] == "piece" and p[1] == number for p in made.parts)
                    frames[number] = self._stored(*made.frames[number], moved=moved)
                inputs.append(frames[number])
            else:
                stream = self._streams["literals" if part[0] == "literal" else "kept"]
                inputs.append(stream.read(at[part[0]], size))
                at[part[0]] += size
        return inputs

    def _put_together(self, made: Made, inputs: list[Any], use: Callable[[Made, Any], T]) -> T:
        out = np.empty(made.size, np.uint8)
        decoded: dict[int, Values] = {}
        at = 0
        for part, size, source in zip(made.parts, made.sizes, inputs, strict=True):
            target = out[at : at + size]
            at += size
            if not isinstance(source, _Stored):
                target[:] = np.frombuffer(source, np.uint8)
                continue
            self._piece(made, part, source, target, decoded)
        if at != made.size:
            raise InputError(f"{made.name}: its parts have {at:,} bytes, the file had {made.size:,}")
        if hashlib.sha256(out.data).digest() != made.sha256:
            raise InputError(f"{made.name} does not come back: its SHA-256 is another than that of the original")
        return use(made, out.data)

    def _piece(self, made: Made, part: Any, source: _Stored, target: Values, decoded: dict[int, Values]) -> None:
        if part[0] == "chunk":
            raw = np.frombuffer(source.chunks[part[2]][1], np.uint8)
            if raw.size != target.size:
                raise InputError(f"{made.name}: chunk {part[2]} of frame {part[1]} has another size than it had")
            target[:] = raw
            return
        _, number, box, how, parameters = part
        shape, dtype = source.frames.shape[1:], source.frames.dtype
        try:
            if box is None and how == RAW:
                source.decode(target.view(dtype).reshape(shape))
                return
            if number not in decoded:
                decoded[number] = np.empty(shape, dtype)
                source.decode(decoded[number])
            values = decoded[number]
            values = values if box is None else values[tuple(slice(a, b) for a, b in box)]
            raw = encoder(how).encode(np.ascontiguousarray(values), tuple(parameters))
            target[:] = np.frombuffer(raw, np.uint8)
        except (ValueError, IndexError) as error:
            raise InputError(f"{made.name}: frame {number} cannot be put back: {error}") from None
        except InputError as error:
            raise InputError(f"{self.path}: {made.name}: {error.message}") from None

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Stream:
    """A stream of bytes, read in order for the most part: the last chunk is kept."""

    def __init__(self, id: h5py.h5d.DatasetID, name: str) -> None:
        self._id, self._name, self._size = id, name, id.shape[0]
        self._number, self._chunk = -1, b""

    def read(self, at: int, size: int) -> bytes:
        """Return bytes from a position.

        Raises
        ------
        InputError
            When they are damaged or not there.
        """
        if at + size > self._size:
            raise InputError(f"{self._name} ends before byte {at + size:,}")
        out = []
        while size:
            number, start = divmod(at, STREAM_CHUNK)
            if number != self._number:
                self._chunk = self._load(number)
                self._number = number
            piece = self._chunk[start : start + size]
            out.append(piece)
            at += len(piece)
            size -= len(piece)
        return b"".join(out)

    def _load(self, number: int) -> bytes:
        import zlib

        try:
            return zlib.decompress(self._id.read_direct_chunk((number * STREAM_CHUNK,))[1])
        except (OSError, RuntimeError, ValueError, zlib.error) as error:
            raise InputError(f"{self._name} is damaged at byte {number * STREAM_CHUNK:,}: {error}") from None
