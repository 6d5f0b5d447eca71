"""Packing: files of images into one HDF5 file, in one pass over their bytes.

Files are read, hashed and encoded in threads, a few ahead of the one that is written; what they become is written in
their order. Every 64 MB what was written is flushed, read again and entered into the journal, in a thread of its own;
a run that was killed goes on from there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from nxconvert import registry
from nxconvert.compressed import inside
from nxconvert.dissection import FileContent
from nxconvert.engine.codecs import pool, workers
from nxconvert.engine.publish import sync
from nxconvert.errors import InputError, OutputError, UsageError
from nxconvert.format import Report
from nxconvert.mapping.load import load
from nxconvert.packed import journal as journals
from nxconvert.packed import seal
from nxconvert.packed.contents import Columns, describe
from nxconvert.packed.origin import Origin
from nxconvert.packed.store import STREAM_CHUNK, STREAMS, Store, read_at
from nxconvert.packed.take import KEPT, Job, Room, Stored, Taken, Target, cut, disassemble, recipe, take_all
from nxconvert.series import Catalogue, FrameRecord, Layout, catalogued, entries, listed

SEGMENT = 64 << 20
"""Bytes after which what was written is made safe."""

WINDOW = 64 << 20
"""Files above this size are not read at once."""

BATCH = 16 << 20
"""Bytes of memory that the files of a batch take."""

PROBLEMS = ("error", "skip", "fill")


@dataclass(frozen=True)
class Plan:
    """How to pack.

    Attributes
    ----------
    compression
        Of the frames; a name of ``COMPRESSIONS``.
    chunks
        Shape of a chunk, ``(1, y, x)``; None for one frame.
    on_problem
        ``error``, ``skip`` or ``fill``; see ``pack``.
    expect
        How many frames the main record must have.
    begin, end
        First and last number of a pattern.
    mapping
        A mapping's name or file, or ``auto``.
    join
        A file whose scan is put beside the frames, or an empty string, and on what: ``row``, ``index`` or ``file``.
    memory
        Bytes to hold at once.
    """

    compression: str = "bitshuffle-lz4"
    chunks: tuple[int, ...] | None = None
    on_problem: str = "error"
    expect: int | None = None
    begin: int | None = None
    end: int | None = None
    mapping: str = "auto"
    join: str = ""
    on: str = "row"
    memory: int = 256 << 20
    overwrite: bool = False
    dry_run: bool = False
    strict: bool = False


def pack(places: Sequence[str], out: Path, plan: Plan, report: Report) -> Catalogue:
    """Pack files of images into one file.

    Parameters
    ----------
    places
        Folders, globs, patterns or files.
    out
        The packed file.
    plan
        How. With ``on_problem`` ``error`` nothing is written when a file is damaged or odd; with ``skip`` its frames
        are left out, with ``fill`` they have a row that is marked. Every file is kept in any case.
    report
        Told what happened; problems that end the run are in ``failed``.

    Raises
    ------
    InputError, OutputError, UsageError
        When a file is damaged in its body, the disk is full, the output exists...
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder", "name a file, e.g. scan.h5")
    if out.exists() and not plan.overwrite:
        raise UsageError(f"{out} exists already", "choose another name, or add --overwrite")
    left = [name for g in journals.left(out) for name in journals.names(out, g)]
    own = [out, journals.lock(out), *left]
    files = listed(places, plan.begin, plan.end, own, report.notice)
    layout, mapping = _layout(plan.mapping)
    catalogue = catalogued(files, layout, plan.on_problem, plan.memory // 2)
    if _refused(catalogue, plan, report) or plan.dry_run:
        return catalogue
    if mapping == "auto":
        mapping = _automatic(catalogue)
    out.parent.mkdir(parents=True, exist_ok=True)
    with journals.claimed(out):
        if out.exists() and not plan.overwrite:  # another run was faster
            raise UsageError(f"{out} exists already", "choose another name, or add --overwrite")
        _Run(catalogue, layout, mapping, out, plan, report).run()
    report.outputs.append(str(out))
    return catalogue


def _layout(name: str) -> tuple[Layout, str]:
    """Return how names and headers are understood, by a mapping."""
    mapping = load("esrf-edf" if name == "auto" else name)
    if not mapping.series and not mapping.pairs and name != "auto":
        raise UsageError(f"the mapping {name} says nothing of series", "give it series:, or use --mapping auto")
    pairs = {pair.names: (pair.values, pair.field) for pair in mapping.pairs}
    return Layout(mapping.series or {"projection": ["*"]}, pairs), name


def _automatic(catalogue: Catalogue) -> str:
    """Return the mapping for headers as they are: the one of motors and counters when there are any."""
    named = (key for record in catalogue.records for key in record.keys.known)
    return "esrf-edf" if any(key.startswith(("motor/", "counter/")) for key in named) else "series"


def _refused(catalogue: Catalogue, plan: Plan, report: Report) -> bool:
    """Report problems and gaps; tell whether they end the run."""
    for problem in catalogue.problems:
        if problem.unreadable:
            tip = "make it readable, or pack other files"
            report.failed.append((problem.file, InputError(str(problem), tip)))
        elif plan.on_problem == "error":
            tip = "--on-problem skip leaves its frames out, fill marks them; the file is kept whole"
            report.failed.append((problem.file, InputError(str(problem), tip)))
        else:
            report.notice(f"{problem}; it is kept whole")
    if not catalogue.records and not report.failed:
        report.failed.append(("", InputError("no file is an image that can be read", "see 'nxconvert formats'")))
    for record in catalogue.records:
        if record.nbytes > plan.memory // 2:
            message = f"{record.series}: a frame takes {record.nbytes:,} bytes"
            tip = f"give at least --memory {-(-record.nbytes >> 19)}MiB"
            report.failed.append((record.series, InputError(message, tip)))
        missing = record.missing()
        if missing:
            shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            report.notice(f"{record.series}: {record.missing_count()} of its numbers are not there: {shown}")
    main = next((r for r in catalogue.records if r.entry == "entry"), None)
    if plan.expect is not None and main is not None and len(main) != plan.expect:
        message = f"{main.series}: {len(main)} frames are there, {plan.expect} were expected"
        report.failed.append((main.series, InputError(message)))
    return bool(report.failed) or (plan.strict and bool(report.notices))


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
    taken: list[tuple[str, str, list[int], list[int]]] = field(default_factory=list)


@dataclass
class _Batch:
    """Files that one thread takes apart at once: small files are many, and each change of threads costs time."""

    numbers: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    need: int = 0
    room: Room | None = None
    work: Future[list[Taken]] | None = None

    def add(self, number: int, job: Job, need: int) -> None:
        """Add a file, and the bytes of memory that it takes."""
        self.numbers.append(number)
        self.jobs.append(job)
        self.need += need

    def full(self, need: int) -> bool:
        """Tell whether a file that takes so many bytes goes into the next batch."""
        return bool(self.jobs) and self.need + need > BATCH


class _Run:
    """One run that packs."""

    def __init__(
        self, catalogue: Catalogue, layout: Layout, mapping: str, out: Path, plan: Plan, report: Report
    ) -> None:
        self.catalogue, self.layout, self.mapping, self.out = catalogue, layout, mapping, out
        self.plan, self.report = plan, report
        self.origin = Origin(records=[_about(r) for r in catalogue.records])
        self.columns = Columns(catalogue.records, plan.memory // 4, out.absolute().parent)
        self.tails = {name: _Tail() for name in STREAMS}
        self.saved: dict[str, tuple[bytes, int]] | None = None
        self.stored: set[tuple[str, int]] = set()
        self.done = 0
        self.marker = ThreadPoolExecutor(1, "journal")
        self.marking: Future[None] | None = None
        self.marked = False
        self.rooms: list[Room] = []
        self.formats = registry.formats()

    def run(self) -> None:
        """Pack, and give the file its name."""
        generations = journals.left(self.out)
        self.generation = generations[0] + 1 if generations else 0
        self.part, journal = journals.names(self.out, self.generation)
        self.store = Store(self.part)
        try:
            self._datasets()
            self.journal = journals.Journal(journal, self._identity())
            with self.journal:
                self._take_up(generations)
                self.segment = _Segment(self.done)
                self._files()
                self._settle()
            self._complete()
        except BaseException:
            self.marker.shutdown(cancel_futures=True)
            self._close_after()
            raise
        finally:
            self.columns.close()
        self.marker.shutdown()
        self.part.replace(self.out)
        if os.name != "nt":
            sync(self.out.parent)
        journal.unlink()

    def _close_after(self) -> None:
        """Close the unfinished file. It stays for the next run to take up, when anything in it is safe."""
        with contextlib.suppress(OutputError):  # the first error is the one to tell
            self.store.close()
        if not self.marked:
            for path in journals.names(self.out, self.generation):
                path.unlink(missing_ok=True)

    def _datasets(self) -> None:
        for record in self.catalogue.records:
            if record.moves is not None:
                shape = (len(record), *record.shape)
                self.store.frames(record.entry, shape, record.dtype, record.moves.chunk, record.moves.filters)
                continue
            chunk = self.plan.chunks or (1, *record.shape)
            if len(chunk) != len(record.shape) + 1 or chunk[0] != 1 or min(chunk) < 1:
                wanted = "1," + ",".join(map(str, record.shape))
                given = ",".join(map(str, chunk))
                raise UsageError(
                    f"--chunks {given} does not fit {record.series}: its frames are stored one by one",
                    f"write at most {wanted}",
                )
            shape = (len(record), *record.shape)
            self.store.frames(record.entry, shape, record.dtype, chunk[1:], self.plan.compression)
        for name in STREAMS:
            self.store.stream(name)

    def _identity(self) -> dict[str, Any]:
        """Return what is packed and how: a run may go on with the work of another one only when it is all the same."""
        digest = xxhash.xxh3_128()
        for f in self.catalogue.files:
            digest.update(f"{f.name}\0{f.size}\0{f.mtime}\0{f.format}\0".encode("utf-8", "surrogateescape"))
        records = [[r.entry, list(r.shape), r.dtype.str, len(r)] for r in self.catalogue.records]
        how = [self.plan.compression, list(self.plan.chunks or ()), self.plan.on_problem]
        return {"journal": 1, "files": digest.hexdigest(), "records": records, "how": how}

    # Going on with the work of a run that was killed

    def _take_up(self, generations: Sequence[int]) -> None:
        """Copy what an earlier run made safe, chunk by chunk, and its marks."""
        identity = self._identity()
        found = []
        for generation in generations:
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
                        if not self._copied(handle, mark):
                            break
                finally:
                    os.close(handle)
                self._settle()
                if self.done:
                    self.report.notice(f"going on with {self.done} of {len(self.catalogue.files)} files packed before")
            journals.remove(self.out, generation)

    def _copied(self, handle: int, mark: Mapping[str, Any]) -> bool:
        """Copy the chunks of one mark; tell whether all are as they were written."""
        raws = []
        for _, _, offset, size, digest in mark["chunks"]:
            raw = read_at(handle, offset, size)
            if len(raw) != size or xxhash.xxh3_64_intdigest(raw) != digest:
                return False
            raws.append(raw)
        segment = self.segment = _Segment(mark["files"])
        for raw, (name, number, _, _, digest) in zip(raws, mark["chunks"], strict=True):
            self._write(name, number, raw, digest)
            self.stored.add((name, number))
        for sha256, parts, sizes, bad in mark["taken"]:
            self._add(bytes.fromhex(sha256), parts, sizes, bad)
            segment.taken.append((sha256, parts, sizes, bad))
            self._reread_header(self.done)
            self.done += 1
        for name, (tail, chunks) in mark["tails"].items():
            self.tails[name] = _Tail(bytearray(base64.b64decode(tail)), chunks)
        segment.files = self.done
        self._mark(mark["tails"])
        return True

    def _reread_header(self, number: int) -> None:
        """Read the header of a file once more whose frames are stored already."""
        file = self.catalogue.files[number]
        if file.format:
            with FileContent(file.path) as content:
                dissect = self.formats[file.format].dissect
                assert dissect is not None
                found = dissect(inside(content) or content)
                self._columns(number, [entries(found, n, self.layout) for n in range(len(found.frames))])

    # File after file

    def _files(self) -> None:
        """Take all files apart, a few batches in threads ahead of the one that is written."""
        pending: deque[_Batch] = deque()
        batch = _Batch()
        most, limit = workers() + 2, self.plan.memory // 2
        try:
            for number in range(self.done, len(self.catalogue.files)):
                file = self.catalogue.files[number]
                whole = bool(file.format) and file.size <= WINDOW
                job = Job(file, self.formats[file.format], self._targets(number)) if whole else None
                need = 0 if job is None else job.loaded + job.encoded
                if job is None or batch.full(need):
                    self._start(batch, pending)
                    batch = _Batch()
                while pending and (
                    job is None or len(pending) >= most or sum(b.need for b in pending) + batch.need + need > limit
                ):
                    self._finish(pending)
                if job is None or need > limit:
                    self._start(batch, pending)
                    batch = _Batch()
                    while pending:
                        self._finish(pending)
                    self._large(number)
                else:
                    batch.add(number, job, need)
            self._start(batch, pending)
            while pending:
                self._finish(pending)
        finally:
            for started in pending:
                assert started.work is not None
                started.work.cancel() or started.work.exception()

    def _start(self, batch: _Batch, pending: deque[_Batch]) -> None:
        """Have a thread take a batch apart."""
        if batch.jobs:
            batch.room = self.rooms.pop() if self.rooms else Room()
            batch.work = pool().submit(take_all, batch.jobs, self.layout, batch.room)
            pending.append(batch)

    def _targets(self, number: int) -> list[Target | None]:
        targets: list[Target | None] = []
        for record, row in self.catalogue.rows(number):
            if record < 0:
                targets.append(None)
                continue
            dataset = self.store.datasets[self.catalogue.records[record].entry]
            per_row = dataset.per_row
            there = bool(self.stored) and all((dataset.name, row * per_row + i) in self.stored for i in range(per_row))
            moved = self.catalogue.records[record].moves
            plain, moves = not dataset.filters, moved is not None and moved.filters == dataset.filters
            targets.append(Target(dataset.name, row, per_row, dataset.chunk, dataset.codec, plain, there, moves))
        return targets

    def _finish(self, pending: deque[_Batch]) -> None:
        """Write what the first of the pending batches became."""
        batch = pending.popleft()
        assert batch.work is not None
        assert batch.room is not None
        for number, taken in zip(batch.numbers, batch.work.result(), strict=True):
            self._chunks(taken.chunks)
            self._taken(number, taken)
            if taken.kept:
                self._stream("kept", taken.whole)
            self._end_of_file(number)
        self.rooms.append(batch.room)

    def _large(self, number: int) -> None:
        """Take a file apart that is not an image, or too large to be held: its bytes pass by window after window."""
        file = self.catalogue.files[number]
        self.saved = {name: (bytes(tail.pending), tail.chunks) for name, tail in self.tails.items()}
        with FileContent(file.path) as content:
            content.expect(file.size, file.mtime)
            taken = Taken(b"")
            good = []
            if file.format:
                dissect = self.formats[file.format].dissect
                assert dissect is not None
                image = inside(content) if file.packed else content
                taken.kept = file.packed
                assert image is not None
                found = dissect(image)
                room = _Fresh()
                good = disassemble(image, found, self.layout, self._targets(number), room, taken, self._chunks)
            cut_literals = not taken.kept and bool(good)
            if cut_literals:
                cut(content, file.size, good, taken)
            elif file.size:
                taken.parts, taken.sizes = [KEPT], [file.size]
            digest = hashlib.sha256()
            for at in range(0, file.size, 8 << 20):
                window = content.view(at, min(8 << 20, file.size - at))
                if len(window) != min(8 << 20, file.size - at):
                    raise InputError(f"{file.path} was cut off while it was being packed", "pack it again")
                digest.update(window)
                if not cut_literals:
                    self._stream("kept", window)
            taken.sha256 = digest.digest()
            content.expect(file.size, file.mtime)
        self._taken(number, taken)
        self.saved = None
        self._end_of_file(number)

    def _taken(self, number: int, taken: Taken) -> None:
        """Take down how a file is made."""
        for frame, reason in taken.damaged.items():
            file = self.catalogue.files[number]
            message = f"{file.name}: {reason}"
            if self.plan.on_problem == "error":
                raise InputError(message, "--on-problem skip or fill keeps the file whole and marks its frame")
            self.report.notice(f"{message}; it is kept whole, and frame {frame} is marked as damaged")
        for literal in taken.literals:
            self._stream("literals", literal)
        parts, bad = recipe(taken.parts), sorted(taken.damaged)
        self._columns(number, taken.headers)
        self._add(taken.sha256, parts, taken.sizes, bad)
        self.segment.taken.append((taken.sha256.hex(), parts, taken.sizes, bad))

    def _add(self, sha256: bytes, parts: str, sizes: list[int], damaged: Sequence[int]) -> None:
        number = len(self.origin.names)
        file = self.catalogue.files[number]
        self.origin.add(file.name, file.size, file.mtime, sha256, parts, sizes)
        rows = self.catalogue.rows(number)
        self.origin.frames.append(len(rows))
        for frame, (record, row) in enumerate(rows):
            self.origin.frame_record.append(record)
            self.origin.frame_row.append(row)
            if frame in damaged and record >= 0:
                self.catalogue.records[record].damaged.add(row)

    def _columns(self, number: int, headers: Sequence[Any]) -> None:
        for (record, row), header in zip(self.catalogue.rows(number), headers, strict=True):
            if record >= 0:
                self.columns.put(record, row, header)

    # Writing

    def _chunks(self, chunks: Sequence[Stored]) -> None:
        for chunk in chunks:
            if chunk.digest is None:
                digest, place, size = self.store.write_values(chunk.name, chunk.number, chunk.raw)
                self._note(chunk.name, chunk.number, place, size, digest)
            else:
                self._write(chunk.name, chunk.number, chunk.raw, chunk.digest)

    def _write(self, name: str, number: int, raw: Any, digest: int, length: int = 0) -> None:
        place = self.store.write(name, number, raw, digest, length)
        self._note(name, number, place, len(raw), digest)

    def _note(self, name: str, number: int, place: int, size: int, digest: int) -> None:
        self.segment.chunks.append((name, number, place, size, digest))
        self.segment.bytes += size
        if self.saved is not None and self.segment.bytes >= SEGMENT:
            self._mark_within()

    def _stream(self, name: str, data: Any) -> None:
        """Add bytes to a stream; full chunks are written."""
        tail = self.tails[name]
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            n = min(STREAM_CHUNK - len(tail.pending), len(view) - at)
            tail.pending += view[at : at + n]
            at += n
            if len(tail.pending) == STREAM_CHUNK:
                self._write_stream(name, tail)

    def _write_stream(self, name: str, tail: _Tail, length: int = 0) -> None:
        raw = bytes(tail.pending).ljust(STREAM_CHUNK, b"\0")
        codec = self.store.datasets[name].codec
        assert codec is not None
        buffer = np.empty(codec.room, np.uint8)
        stored = codec.encode(np.frombuffer(raw, np.uint8), buffer)
        number = tail.chunks
        tail.pending.clear()
        tail.chunks += 1
        self._write(name, number, stored, xxhash.xxh3_64_intdigest(stored), length)

    # Making it safe

    def _end_of_file(self, number: int) -> None:
        self.done = number + 1
        self.report.moved(self.out.name, self.catalogue.files[number].size)
        self.segment.files = self.done
        if self.segment.bytes >= SEGMENT:
            self._mark({n: (base64.b64encode(t.pending).decode(), t.chunks) for n, t in self.tails.items()})

    def _mark_within(self) -> None:
        """Make safe what was written of a large file; its own bytes in the streams do not count yet."""
        assert self.saved is not None
        kept = [c for c in self.segment.chunks if c[0] not in STREAMS or c[1] < self.saved[c[0]][1]]
        rest = [c for c in self.segment.chunks if c[0] in STREAMS and c[1] >= self.saved[c[0]][1]]
        self.segment.chunks = kept
        self._mark({n: (base64.b64encode(b).decode(), chunks) for n, (b, chunks) in self.saved.items()})
        self.segment.chunks += rest

    def _mark(self, tails: Mapping[str, tuple[str, int]]) -> None:
        """Have a thread flush what was written, read it again, and enter it into the journal."""
        segment, self.segment = self.segment, _Segment(self.done)
        if self.marking is not None:
            self.marking.result()
        self.marking = self.marker.submit(self._make_safe, segment, dict(tails))

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
        self.marked = True
        self.journal.mark({"files": segment.files, "chunks": chunks, "taken": segment.taken, "tails": tails})

    def _settle(self) -> None:
        """Wait until the last mark is in the journal."""
        if self.marking is not None:
            self.marking.result()
            self.marking = None

    # The end

    def _complete(self) -> None:
        """Write the ends of the streams, the headers' columns, the plot and the origin; seal the file."""
        lengths = self.origin.stream_lengths()
        if len(self.origin.names) != len(self.catalogue.files) or any(
            tail.length != lengths[name] for name, tail in self.tails.items()
        ):
            raise OutputError(f"{self.part} is not what was to be written; it is given up", "please report it")
        for name, tail in self.tails.items():
            if tail.pending:
                self._write_stream(name, tail, tail.length)
        digests = {d.name: (d.path, np.frombuffer(d.digests, np.uint64)) for d in self.store.datasets.values()}
        self.store.close()
        describe(self.part, self.catalogue, self.columns, self.mapping, self.origin, digests, self.plan, self.report)
        seal.close(self.part)
        sync(self.part)


class _Fresh(Room):
    """Memory for the chunks of one frame after another."""

    def buffer(self, size: int) -> Any:
        self.prepare(0, size)
        return super().buffer(size)


def _about(record: FrameRecord) -> dict[str, str]:
    path = f"/{record.entry}/data/data"
    return {"entry": record.entry, "path": path, "series": record.series, "role": record.role}
