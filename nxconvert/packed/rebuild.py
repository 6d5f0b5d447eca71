"""Putting the files of a packed file together again, in memory: reads ``origin`` only.

The calling thread alone talks to HDF5; decoding, encoding and hashing is done in threads, a few files ahead.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import h5py
import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.encoders import RAW, encoder
from nxconvert.engine.codecs import Codec, codec, pool, workers
from nxconvert.errors import InputError
from nxconvert.packed import trusted
from nxconvert.packed.origin import Made, Origin
from nxconvert.packed.store import STREAM_CHUNK, STREAMS, filters_of

T = TypeVar("T")

LARGE = 64 << 20
"""Bytes that the files that are put together at once may take; larger ones are made piece by piece."""

WINDOW = 4 << 20
"""Bytes of a stream that are read at once."""

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

    @property
    def nbytes(self) -> int:
        """Bytes of a frame."""
        return int(self.dtype.itemsize * math.prod(self.shape[1:]))


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


def unreadable(path: Path, error: Exception) -> InputError:
    """Make an error of what HDF5 says of a file that it cannot open or read."""
    said = " ".join(str(error).split())
    if path.is_dir():
        return InputError(f"{path} is a folder", "name the packed file")
    if "signature not found" in said:
        return InputError(f"{path} was not packed: it is no HDF5 file", "'nxconvert pack' makes such files")
    if "truncated file" in said:
        return InputError(f"{path} is truncated", "copy it again from its source")
    return InputError(f"{path} is damaged: {said}")


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
            raise unreadable(path, error) from None
        try:
            self.origin = Origin.read(self.file, str(path))
            self._records = [self._frames(record["path"]) for record in self.origin.records]
            self._streams = {name: _Stream(self.file, f"/origin/{name}", str(path)) for name in STREAMS}
        except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
            self.close()
            raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None
        except BaseException:
            self.close()
            raise

    def rows(self, record: int) -> int:
        """Return how many frames a record has."""
        return self._records[record].shape[0]

    def _frames(self, path: str) -> _Frames:
        found = trusted.dataset(self.file, path)
        id, chunk, dtype = found.id, found.chunks, found.dtype
        nbytes = dtype.itemsize * math.prod(found.shape[1:])
        if chunk[0] != 1 or len(chunk) < 2 or max(nbytes, dtype.itemsize * math.prod(chunk)) > trusted.LARGEST_FRAME:
            raise ValueError(f"{path} holds no frames")
        filters = filters_of(id)
        known = codec(filters, dtype, chunk)
        if filters and known is None:
            import hdf5plugin  # noqa: F401 - registers the filters that HDF5 itself must undo
        return _Frames(path, id, id.shape, dtype, chunk, not filters, known)

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

    def each(
        self, files: Iterable[Made], use: Callable[[Made, Iterator[Any]], T]
    ) -> Iterator[tuple[Made, T | InputError]]:
        """Put files together and use each of them, in threads; yield what came of it, in order.

        Parameters
        ----------
        files
            Which ones, in order.
        use
            Given the file and its bytes, window after window. They are proven by their SHA-256 when the last window was
            taken, and not before: else an ``InputError`` comes in place of the end.

        Yields
        ------
        tuple
            The file, and what ``use`` gave, or the error that it could not be put together with.
        """
        pending: deque[tuple[Made, Future[T] | InputError, int]] = deque()
        most = workers() + 2
        try:
            for made in files:
                need = self._need(made)
                while pending and (len(pending) >= most or need + sum(n for _, _, n in pending) > 2 * LARGE):
                    yield _settled(pending)
                if need <= LARGE:
                    pending.append((made, self._begun(made, use), need))
                    continue
                while pending:
                    yield _settled(pending)
                yield made, self._made(made, use)
            while pending:
                yield _settled(pending)
        finally:
            for _, work, _ in pending:
                _let_go(work)

    def _begun(self, made: Made, use: Callable[[Made, Iterator[Any]], T]) -> Future[T] | InputError:
        """Have a thread put a file together and use it."""
        try:
            self._check(made)
            return pool().submit(self._put_together, made, self._inputs(made), use)
        except InputError as error:
            return error

    def _made(self, made: Made, use: Callable[[Made, Iterator[Any]], T]) -> T | InputError:
        """Put a large file together and use it."""
        try:
            self._check(made)
            return use(made, self._windows(made))
        except InputError as error:
            return error

    def _check(self, made: Made) -> None:
        """Make sure that a file is made of what there is, before memory is given for it."""
        if sum(made.sizes) != made.size:
            raise InputError(f"{made.name}: its parts have {sum(made.sizes):,} bytes, the file had {made.size:,}")
        for part, size in zip(made.parts, made.sizes, strict=True):
            if part[0] not in ("piece", "chunk"):
                continue
            record, row = made.frames[part[1]] if part[1] < len(made.frames) else (-1, -1)
            if not (0 <= record < len(self._records) and 0 <= row < self._records[record].shape[0]):
                raise InputError(f"{made.name}: its frame {part[1]} is not in {self.path}")
            frames = self._records[record]
            box = part[2] if part[0] == "piece" else None
            fits = box is None or (len(box) == len(frames.shape) - 1 and _inside(box, frames.shape[1:]))
            if not fits or size > 16 * frames.nbytes + WINDOW or (part[0] == "piece" and _absurd(part[4], frames)):
                raise InputError(f"{made.name}: its frame {part[1]} cannot be put back: {part[2]} is no part of it")

    def _need(self, made: Made) -> int:
        """Return about how many bytes it takes to put a file together."""
        used = {part[1] for part in made.parts if part[0] in ("piece", "chunk") and part[1] < len(made.frames)}
        records = (made.frames[number][0] for number in used)
        frames: int = sum(self._records[r].nbytes for r in records if 0 <= r < len(self._records))
        return made.size + frames

    def _windows(self, made: Made) -> Iterator[Any]:
        """Put a large file together piece by piece, with one frame in memory."""
        digest = hashlib.sha256()
        at = dict(made.at)
        number, stored, decoded = -1, None, dict[int, Values]()
        for part, size in zip(made.parts, made.sizes, strict=True):
            if part[0] not in ("piece", "chunk"):
                stream = self._streams["literals" if part[0] == "literal" else "kept"]
                for start in range(at[part[0]], at[part[0]] + size, WINDOW):
                    window: Any = stream.read(start, min(WINDOW, at[part[0]] + size - start))
                    digest.update(window)
                    yield window
                at[part[0]] += size
                continue
            if part[1] != number or stored is None:
                number, stored = part[1], self._of_frame(made, part[1])
                decoded.clear()
            window = np.empty(size, np.uint8)
            self._piece(made, part, stored, window, decoded)
            digest.update(window.data)
            yield window.data
        if digest.digest() != made.sha256:
            raise InputError(f"{made.name} does not come back: its SHA-256 is another than that of the original")

    def _of_frame(self, made: Made, number: int) -> _Stored:
        moved = not any(p[0] == "piece" and p[1] == number for p in made.parts)
        return self._stored(*made.frames[number], moved=moved)

    def _inputs(self, made: Made) -> list[Any]:
        """Read what a file is made of: literals as bytes, frames as they are stored, one for each part."""
        at = dict(made.at)
        frames: dict[int, _Stored] = {}
        inputs: list[Any] = []
        for part, size in zip(made.parts, made.sizes, strict=True):
            if part[0] in ("piece", "chunk"):
                number = part[1]
                if number not in frames:
                    frames[number] = self._of_frame(made, number)
                inputs.append(frames[number])
            else:
                stream = self._streams["literals" if part[0] == "literal" else "kept"]
                inputs.append(stream.read(at[part[0]], size))
                at[part[0]] += size
        return inputs

    def _put_together(self, made: Made, inputs: list[Any], use: Callable[[Made, Iterator[Any]], T]) -> T:
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
        if hashlib.sha256(out.data).digest() != made.sha256:
            raise InputError(f"{made.name} does not come back: its SHA-256 is another than that of the original")
        return use(made, iter((out.data,)))

    def _piece(self, made: Made, part: Any, source: _Stored, target: Values, decoded: dict[int, Values]) -> None:
        if part[0] == "chunk":
            if part[2] >= len(source.chunks):
                raise InputError(f"{made.name}: frame {part[1]} has no chunk {part[2]}")
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
        except (ValueError, IndexError, TypeError, KeyError, ArithmeticError, RuntimeError) as error:
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


def _settled(pending: deque[Any]) -> tuple[Made, Any]:
    """Wait for the first of the files that are put together."""
    made, work, _ = pending.popleft()
    if isinstance(work, InputError):
        return made, work
    try:
        return made, work.result()
    except InputError as error:
        return made, error


def _let_go(work: Future[Any] | InputError) -> None:
    """Wait for a file that nobody wants any more."""
    if not isinstance(work, InputError):
        work.cancel() or work.exception()


def _inside(box: Sequence[Sequence[int]], shape: Sequence[int]) -> bool:
    return all(0 <= a < b <= n for (a, b), n in zip(box, shape, strict=True))


def _absurd(parameters: Sequence[int | str], frames: _Frames) -> bool:
    """Tell whether numbers that an encoder is given, as those of a tile, would make it ask for any memory."""
    product = math.prod(max(1, p) for p in parameters if not isinstance(p, str))
    return product * frames.dtype.itemsize > 16 * frames.nbytes + (LARGE << 2)


class _Stream:
    """A stream of bytes, read in order for the most part: the last chunk is kept."""

    def __init__(self, file: h5py.File, path: str, source: str) -> None:
        found = trusted.dataset(file, path)
        if found.chunks != (STREAM_CHUNK,) or found.dtype != np.uint8 or found.compression != "gzip":
            raise ValueError(f"{path} is no stream")
        self._id, self._name, self._size = found.id, f"{source}::{path}", found.shape[0]
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
        try:
            return trusted.inflated(self._id.read_direct_chunk((number * STREAM_CHUNK,))[1], STREAM_CHUNK)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self._name} is damaged at byte {number * STREAM_CHUNK:,}: {error}") from None
