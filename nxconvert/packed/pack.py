"""Packing: files of images into one HDF5 file, in one pass over their bytes.

Files are read, hashed and encoded in threads, a few ahead of the one that is written; what they become is written in
their order.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import field
from pathlib import Path
from typing import Any

import xxhash

from nxconvert import registry, validation
from nxconvert.compressed import inside
from nxconvert.conversion.output import rename
from nxconvert.dataclass import dataclass
from nxconvert.dissection import FileContent, Piece
from nxconvert.engine.codecs import pool, workers
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Content, Dissection, Report
from nxconvert.mapping.load import load
from nxconvert.packed import journal as journals
from nxconvert.packed import seal
from nxconvert.packed.contents import Columns, describe, placed
from nxconvert.packed.names import check_names
from nxconvert.packed.origin import Origin
from nxconvert.packed.store import STREAMS
from nxconvert.packed.take import KEPT, Job, Part, Room, Taken, Target, cut, disassemble, recipe, take_all
from nxconvert.packed.writing import Made, Writing
from nxconvert.policy import Policy
from nxconvert.series import Catalogue, File, FrameRecord, Layout, catalogued, entries, listed

WINDOW = 64 << 20
"""Files above this size are not read at once."""

STEP = 8 << 20
"""Bytes of such a file that are looked at at once."""

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
    if mapping == "auto":
        mapping = _automatic(catalogue)
    placed(catalogue, mapping)
    check_names(catalogue, load(mapping).file)
    if _refused(catalogue, plan, report) or plan.dry_run:
        return catalogue
    out.parent.mkdir(parents=True, exist_ok=True)
    with journals.claimed(out):
        if out.exists() and not plan.overwrite:  # another run was faster
            raise UsageError(f"{out} exists already", "choose another name, or add --overwrite")
        _Run(catalogue, layout, mapping, out, plan, report).run()
    report.outputs.append(str(out))
    validation.tell(out, registry.formats()["hdf5"], Policy(plan.memory), report, str(out))
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
        """Tell whether a file that takes so many bytes goes into the next batch; two are better than one."""
        return bool(self.jobs) and self.need + need > (BATCH if len(self.jobs) % 2 == 0 else 3 * BATCH)


class _Run:
    """One run that packs."""

    def __init__(
        self, catalogue: Catalogue, layout: Layout, mapping: str, out: Path, plan: Plan, report: Report
    ) -> None:
        self.catalogue, self.layout, self.mapping, self.out = catalogue, layout, mapping, out
        self.plan, self.report = plan, report
        self.origin = Origin(records=[_about(r) for r in catalogue.records])
        self.columns = Columns(catalogue.records, plan.memory // 4, out.absolute().parent)
        self.rooms: list[Room] = []
        self.formats = registry.formats()
        self.writing = Writing(out)

    def run(self) -> None:
        """Pack, and give the file its name."""
        try:
            self._datasets()
            self.writing.start(self._identity(), self._taken_up)
            if self.writing.done:
                self.report.notice(
                    f"going on with {self.writing.done} of {len(self.catalogue.files)} files packed before"
                )
            self._files()
            self._complete()
            self.writing.publish()
        except BaseException as error:
            self.writing.give_up()
            for part in journals.names(self.out, self.writing.generation):
                rename(error, part, self.out)
            raise
        finally:
            self.columns.close()

    def _datasets(self) -> None:
        store = self.writing.store
        for record in self.catalogue.records:
            shape = (len(record), *record.shape)
            if record.moves is not None:
                store.frames(record.entry, record.path, shape, record.dtype, record.moves.chunk, record.moves.filters)
                continue
            chunk = self.plan.chunks or (1, *record.shape)
            if len(chunk) != len(shape) or chunk[0] != 1 or min(chunk) < 1:
                wanted = "1," + ",".join(map(str, record.shape))
                given = ",".join(map(str, chunk))
                raise UsageError(
                    f"--chunks {given} does not fit {record.series}: its frames are stored one by one",
                    f"write at most {wanted}",
                )
            store.frames(record.entry, record.path, shape, record.dtype, chunk[1:], self.plan.compression)
        for name in STREAMS:
            store.stream(name)

    def _identity(self) -> dict[str, Any]:
        """Return what is packed and how: a run may go on with the work of another one only when it is all the same."""
        digest = xxhash.xxh3_128()
        for f in self.catalogue.files:
            digest.update(f"{f.name}\0{f.size}\0{f.mtime}\0{f.format}\0".encode("utf-8", "surrogateescape"))
        records = [[r.entry, r.path, list(r.shape), r.dtype.str, len(r)] for r in self.catalogue.records]
        how = [self.plan.compression, list(self.plan.chunks or ()), self.plan.on_problem]
        return {"journal": 1, "files": digest.hexdigest(), "records": records, "how": how}

    def _taken_up(self, made: Made) -> None:
        """Take down a file that an earlier run packed; its header is read once more."""
        number = len(self.origin.names)
        file = self.catalogue.files[number]
        self._add(made)
        if file.format:
            with FileContent(file.path) as content:
                found = self._dissected(number, inside(content) or content)
                self._columns(number, [entries(found, n, self.layout) for n in range(len(found.frames))])

    # File after file

    def _files(self) -> None:
        """Take all files apart, a few batches in threads ahead of the one that is written."""
        pending: deque[_Batch] = deque()
        batch = _Batch()
        most, limit = workers() + 2, self.plan.memory // 2
        try:
            for number in range(self.writing.done, len(self.catalogue.files)):
                file = self.catalogue.files[number]
                whole = bool(file.format) and file.size <= WINDOW
                job = Job(file, self.formats[file.format], self._targets(number)) if whole else None
                need = 0 if job is None else job.need
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
        """Return where each frame of a file goes."""
        targets: list[Target | None] = []
        stored = self.writing.stored
        for record, row in self.catalogue.rows(number):
            if record < 0:
                targets.append(None)
                continue
            dataset = self.writing.store.datasets[self.catalogue.records[record].entry]
            per_row = dataset.per_row
            there = bool(stored) and all((dataset.name, row * per_row + i) in stored for i in range(per_row))
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
            self.writing.chunks(taken.chunks)
            made = self._taken(number, taken)
            if taken.kept:
                self.writing.stream("kept", taken.whole)
            self._done(number, made)
        self.rooms.append(batch.room)

    def _large(self, number: int) -> None:
        """Take a file apart that is not an image, or too large to be held: its bytes pass by window after window."""
        file = self.catalogue.files[number]
        taken = Taken(b"")
        with FileContent(file.path) as content, self.writing.large():
            content.expect(file.size, file.mtime)
            good: list[tuple[Piece, Part]] = []
            if file.format:
                taken.kept = bool(file.unpacked)
                image = inside(content, file.unpacked) if file.unpacked else content
                assert image is not None
                found = self._dissected(number, image)
                targets = self._targets(number)
                good = disassemble(image, found, self.layout, targets, _Fresh(), taken, self.writing.chunks)
            if good and not taken.kept:
                cut(content, file.size, good, taken)
                taken.sha256 = self._passed(content, file, lambda window: None)
            else:
                taken.parts, taken.sizes = ([KEPT], [file.size]) if file.size else ([], [])
                taken.sha256 = self._passed(content, file, lambda window: self.writing.stream("kept", window))
            content.expect(file.size, file.mtime)
            made = self._taken(number, taken)
        self._done(number, made)

    def _passed(self, content: FileContent, file: File, use: Callable[[memoryview], None]) -> bytes:
        """Let all bytes of a file pass by; return their SHA-256."""
        digest = hashlib.sha256()
        for at in range(0, file.size, STEP):
            window = content.view(at, min(STEP, file.size - at))
            if len(window) != min(STEP, file.size - at):
                raise InputError(f"{file.path} was cut off while it was being packed", "pack it again")
            digest.update(window)
            use(window)
        return digest.digest()

    def _dissected(self, number: int, content: Content) -> Dissection:
        dissect = self.formats[self.catalogue.files[number].format].dissect
        assert dissect is not None
        return dissect(content)

    # Taking down

    def _taken(self, number: int, taken: Taken) -> Made:
        """Take down how a file is made, and write its literals."""
        for frame, reason in taken.damaged.items():
            message = f"{self.catalogue.files[number].name}: {reason}"
            if self.plan.on_problem == "error":
                raise InputError(message, "--on-problem skip or fill keeps the file whole and marks its frame")
            self.report.notice(f"{message}; it is kept whole, and frame {frame} is marked as damaged")
        for literal in taken.literals:
            self.writing.stream("literals", literal)
        self._columns(number, taken.headers)
        made = taken.sha256.hex(), recipe(taken.parts), taken.sizes, sorted(taken.damaged)
        self._add(made)
        return made

    def _add(self, made: Made) -> None:
        """Add the next file to the origin."""
        sha256, parts, sizes, damaged = made
        number = len(self.origin.names)
        file = self.catalogue.files[number]
        self.origin.add(file.name, file.size, file.mtime, bytes.fromhex(sha256), parts, sizes)
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

    def _done(self, number: int, made: Made) -> None:
        self.report.moved(self.out.name, self.catalogue.files[number].size)
        self.writing.file_done(made)

    def _complete(self) -> None:
        """Write the ends of the streams, the headers' columns, the plot and the origin; seal the file."""
        digests = self.writing.complete(self.origin.stream_lengths())
        part = self.writing.part
        describe(part, self.catalogue, self.columns, self.mapping, self.origin, digests, self.plan, self.report)
        seal.close(part)


class _Fresh(Room):
    """Memory for the chunks of one frame after another."""

    def buffer(self, size: int) -> Any:
        self.prepare(0, size)
        return super().buffer(size)


def _about(record: FrameRecord) -> dict[str, str]:
    return {"entry": record.entry, "path": record.path, "series": record.series, "role": record.role}
