"""Writing a packed file so that nothing written is lost: in order, made safe bit by bit, and gone on with when killed.

Every 64 MB what was written is flushed, read again and entered into the journal, in a thread of its own. A run that
was killed is gone on with by copying what its journal says into a new file.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from nxconvert.dataclass import dataclass
from nxconvert.engine.publish import sync
from nxconvert.errors import OutputError
from nxconvert.packed import journal as journals
from nxconvert.packed.store import STREAM_CHUNK, STREAMS, Store, read_at
from nxconvert.packed.take import Stored

SEGMENT = 64 << 20
"""Bytes after which what was written is made safe."""

Made = tuple[str, str, list[int], list[int]]
"""How a file is made, for the journal: its SHA-256, its recipe, the sizes of its parts, its damaged frames."""


@dataclass
class _Tail:
    """The end of a stream that fills no chunk yet."""

    pending: bytearray = field(default_factory=bytearray)
    chunks: int = 0

    @property
    def length(self) -> int:
        return self.chunks * STREAM_CHUNK + len(self.pending)


@dataclass
class _Segment:
    """What was written since the last mark."""

    files: int
    bytes: int = 0
    chunks: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    taken: list[Made] = field(default_factory=list)


class Writing:
    """A packed file that is being written, under a name of its own.

    Parameters
    ----------
    out
        The name that it will get.

    Attributes
    ----------
    part
        The name that it has.
    store
        The file.
    stored
        Chunks, by dataset and number, that an earlier run wrote.
    done
        How many files are written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.generations = journals.left(out)
        self.generation = self.generations[0] + 1 if self.generations else 0
        self.part, self._journal_path = journals.names(out, self.generation)
        self.store = Store(self.part)
        self.stored: set[tuple[str, int]] = set()
        self.done = 0
        self._tails = {name: _Tail() for name in STREAMS}
        self._saved: dict[str, tuple[bytes, int]] | None = None
        self._segment = _Segment(0)
        self._marker = ThreadPoolExecutor(1, "journal")
        self._marking: Future[None] | None = None
        self._marked = False

    # Beginning, and going on with the work of a run that was killed

    def start(self, identity: Mapping[str, Any], take_down: Callable[[Made], None]) -> None:
        """Start the journal, and take up what an earlier run made safe, if it was to do the very same.

        Parameters
        ----------
        identity
            What is packed, and how.
        take_down
            Called for each file that need not be packed again, in order.
        """
        self._journal = journals.Journal(self._journal_path, identity)
        found = []
        for generation in self.generations:
            part, journal = journals.names(self.out, generation)
            marks = list(journals.read(journal)) if journal.exists() and part.exists() else []
            usable = marks[1:] if marks[:1] == [identity] else []
            found.append((len(usable), generation, part, usable))
        # a run may have been killed while it copied the work of one before it, which has more
        for _, generation, part, marks in sorted(found, key=lambda f: f[:2], reverse=True):
            if marks and not self.done:
                handle = os.open(part, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                try:
                    for mark in marks:
                        if not self._copied(handle, mark, take_down):
                            break
                finally:
                    os.close(handle)
                self.settle()
            journals.remove(self.out, generation)
        self._segment = _Segment(self.done)

    def _copied(self, handle: int, mark: Mapping[str, Any], take_down: Callable[[Made], None]) -> bool:
        """Copy the chunks of one mark; tell whether all are as they were written."""
        raws = []
        for _, _, offset, size, digest in mark["chunks"]:
            raw = read_at(handle, offset, size)
            if len(raw) != size or xxhash.xxh3_64_intdigest(raw) != digest:
                return False
            raws.append(raw)
        segment = self._segment = _Segment(mark["files"])
        for raw, (name, number, _, _, digest) in zip(raws, mark["chunks"], strict=True):
            self._write(name, number, raw, digest)
            self.stored.add((name, number))
        for made in mark["taken"]:
            take_down(made)
            segment.taken.append(made)
            self.done += 1
        for name, (tail, chunks) in mark["tails"].items():
            self._tails[name] = _Tail(bytearray(base64.b64decode(tail)), chunks)
        segment.files = self.done
        self._mark(mark["tails"])
        return True

    # Writing

    def chunks(self, chunks: Sequence[Stored]) -> None:
        """Write chunks of frames."""
        for chunk in chunks:
            if chunk.digest is None:
                digest, place, size = self.store.write_values(chunk.name, chunk.number, chunk.raw)
                self._note(chunk.name, chunk.number, place, size, digest)
            else:
                self._write(chunk.name, chunk.number, chunk.raw, chunk.digest)

    def stream(self, name: str, data: Any) -> None:
        """Add bytes to a stream; full chunks are written."""
        tail = self._tails[name]
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            n = min(STREAM_CHUNK - len(tail.pending), len(view) - at)
            tail.pending += view[at : at + n]
            at += n
            if len(tail.pending) == STREAM_CHUNK:
                self._write_stream(name, tail)

    @contextlib.contextmanager
    def large(self) -> Iterator[None]:
        """Write a file whose own bytes in the streams do not count before all of them are there."""
        self._saved = {name: (bytes(tail.pending), tail.chunks) for name, tail in self._tails.items()}
        yield
        self._saved = None

    def file_done(self, made: Made) -> None:
        """Take down that a file is written; make what was written safe, when it is much."""
        self.done += 1
        self._segment.taken.append(made)
        self._segment.files = self.done
        if self._segment.bytes >= SEGMENT:
            self._mark({n: (base64.b64encode(t.pending).decode(), t.chunks) for n, t in self._tails.items()})

    def _write(self, name: str, number: int, raw: Any, digest: int, length: int = 0) -> None:
        place = self.store.write(name, number, raw, digest, length)
        self._note(name, number, place, len(raw), digest)

    def _note(self, name: str, number: int, place: int, size: int, digest: int) -> None:
        self._segment.chunks.append((name, number, place, size, digest))
        self._segment.bytes += size
        if self._saved is not None and self._segment.bytes >= SEGMENT:
            self._mark_within(self._saved)

    def _write_stream(self, name: str, tail: _Tail, length: int = 0) -> None:
        raw = bytes(tail.pending).ljust(STREAM_CHUNK, b"\0")
        codec = self.store.datasets[name].codec
        assert codec is not None
        stored = codec.encode(np.frombuffer(raw, np.uint8), np.empty(codec.room, np.uint8))
        number = tail.chunks
        tail.pending.clear()
        tail.chunks += 1
        self._write(name, number, stored, xxhash.xxh3_64_intdigest(stored), length)

    # Making it safe

    def _mark_within(self, saved: Mapping[str, tuple[bytes, int]]) -> None:
        """Make safe what was written of a large file, but for its own bytes in the streams."""
        kept = [c for c in self._segment.chunks if c[0] not in STREAMS or c[1] < saved[c[0]][1]]
        rest = [c for c in self._segment.chunks if c[0] in STREAMS and c[1] >= saved[c[0]][1]]
        self._segment.chunks = kept
        self._mark({n: (base64.b64encode(b).decode(), chunks) for n, (b, chunks) in saved.items()})
        self._segment.chunks += rest

    def _mark(self, tails: Mapping[str, tuple[str, int]]) -> None:
        """Have a thread flush what was written, read it again, and enter it into the journal."""
        segment, self._segment = self._segment, _Segment(self.done)
        if self._marking is not None:
            self._marking.result()
        self._marking = self._marker.submit(self._make_safe, segment, dict(tails))

    def _make_safe(self, segment: _Segment, tails: Any) -> None:
        self.store.sync()
        chunks = []
        for name, number, offset, size, digest in segment.chunks:
            at = offset
            if self.store.reread(at, size) != digest:
                at = self.store.place(name, number)
                if self.store.reread(at, size) != digest:
                    raise OutputError(f"{self.part}: what was written reads back differently", "check the disk")
            chunks.append((name, number, at, size, digest))
        self._marked = True
        self._journal.mark({"files": segment.files, "chunks": chunks, "taken": segment.taken, "tails": tails})

    def settle(self) -> None:
        """Wait until the last mark is in the journal."""
        if self._marking is not None:
            self._marking.result()
            self._marking = None

    # The end

    def complete(self, lengths: Mapping[str, int]) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
        """Write the ends of the streams and close the file; return the digests of the chunks of each dataset.

        Parameters
        ----------
        lengths
            How long the streams must be.

        Raises
        ------
        OutputError
            When they are not: a defect of ours, found before the file gets its name.
        """
        self.settle()
        if any(tail.length != lengths[name] for name, tail in self._tails.items()):
            raise OutputError(f"{self.part} is not what was to be written; it is given up", "please report it")
        for name, tail in self._tails.items():
            if tail.pending:
                self._write_stream(name, tail, tail.length)
        digests = {d.name: (d.path, np.frombuffer(d.digests, np.uint64)) for d in self.store.datasets.values()}
        self.store.close()
        return digests

    def publish(self) -> None:
        """Give the file its name."""
        sync(self.part)
        self._marker.shutdown()
        self._journal.close()
        self.part.replace(self.out)
        if os.name != "nt":
            sync(self.out.parent)
        self._journal_path.unlink()

    def give_up(self) -> None:
        """Close the unfinished file. It stays for the next run to take up, when anything in it is safe."""
        self._marker.shutdown()  # what it has to do is worth having
        with contextlib.suppress(OutputError):  # the first error is the one to tell
            self.store.close()
        journal = getattr(self, "_journal", None)
        if journal is not None:
            journal.close()
        if not self._marked:
            for path in (self.part, self._journal_path):
                path.unlink(missing_ok=True)
