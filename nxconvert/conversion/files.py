"""Converting inputs into files of records, one or many records a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from nxconvert import fit, mapping, naming
from nxconvert.conversion.inputs import OneDataset, open_records, with_roles
from nxconvert.conversion.output import moved_to, rename
from nxconvert.conversion.plan import AUTO, Plan
from nxconvert.conversion.selection import Selection
from nxconvert.engine.parallel import processors, shared
from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import record_to_sink
from nxconvert.errors import InputError, Loss, NxconvertError, OutputError, UsageError
from nxconvert.format import RecordSink, Report
from nxconvert.location import Location
from nxconvert.mapping.export import Exported
from nxconvert.record import Record, plain

LARGE = 4 << 20
"""Bytes of an input from which on its records may be shared out to processes."""

WORTH_A_PROCESS = 4
"""How many records are worth a process of their own."""

IMAGE = 2
"""Dimensions of an image."""


class IntoFiles:
    """Converts inputs into files of records, one or many records a file."""

    def __init__(self, names: naming.Naming, plan: Plan, publisher: Publisher, report: Report) -> None:
        self.names, self.plan, self.publisher, self.report = names, plan, publisher, report
        self.format = names.format
        self.many = self.format.holds.records is None
        self.open: dict[Path, RecordSink] = {}
        self.parts: dict[Path, Path] = {}
        self.given_up: set[Path] = set()
        self.counts: dict[Location, int] = {}
        self.mappings: dict[Location, str] = {}
        self.selection = Selection(plan)
        self.something = False  # was written
        self.asked = names.asked(_of_names(plan)) if names.template else []

    def convert(self, places: list[Location]) -> None:
        """Convert all inputs."""
        self._refuse_early(places)
        shared = not self.names.is_folder and not self.plan.name
        try:
            for place in places:
                self._input(place)
                if not shared:
                    self._publish()
            self._publish()
            self._finish()
            if self.something:
                self.selection.tell(self.report)
        finally:
            for sink in self.open.values():
                sink.abort()

    def _refuse_early(self, places: list[Location]) -> None:
        """Look at all names before any work is done."""
        taken: dict[Path, str] = {}
        for place in places:
            try:
                with open_records(place, self.plan, Report()) as records:
                    all_keys = records.keys()
                    every = [(r.key, self._values(r)) for r in records] if self.asked else [(k, {}) for k in all_keys]
                    if self.plan.mapping == AUTO and isinstance(records, Exported):
                        self.mappings[place] = records.layout.name
            except UsageError:
                raise
            except NxconvertError:
                continue  # it fails again, and is reported, when its turn comes
            self.counts[place] = len(all_keys)
            keys = [(k, v) for k, v in every if any(map(self._wanted, ("_".join(k.values()), *k.values())))]
            for key, known in keys:
                path = self.names.path(place, key, values=known)
                self._check_folder(path)
                if taken.get(path) == place.file and not self.many and not self.names.is_folder and not self.plan.name:
                    raise UsageError(
                        f"{place} has {len(keys)} records, a {self.format.name} file holds one",
                        self._into_a_folder(path),
                    )
                what = f"{place} ({'_'.join(key.values())})" if key else str(place)
                if path not in taken:
                    self.publisher.reserve(path, what)
                elif not (self.many and (taken[path] == place.file or not self.names.is_folder)):
                    self._clash(path, what)
                taken[path] = place.file

    def _values(self, record: Record) -> dict[str, Any]:
        """Return what the template wants to know of a record: what the mapping takes of the file's name."""
        known = {}
        for name in self.asked:
            f = record.fields.get(name)
            if f is not None and not f.per_row and not f.shape:
                known[name] = plain(f.values)
            elif name not in record.key:
                message = f"{record.source}: nothing says {name}, which the template {self.names.template!r} has"
                raise InputError(message, f"leave {{{name}}} out of --name, or give the file a name that says it")
        return known

    def _into_a_folder(self, path: Path) -> str:
        """Return a tip for several records and the name of one file."""
        return f"write into a folder: {path.stem}/ --to {self.format.name}"

    def _clash(self, path: Path, what: str) -> NoReturn:
        """Refuse a name that two records would have; a single one was asked for, or a template makes it so."""
        tip = "" if self.names.is_folder or self.plan.name else self._into_a_folder(path)
        if tip and self.format.holds.min_item_rank == IMAGE:
            tip += f"; for one stack, 'nxconvert pack FOLDER -o {path.stem}.h5', then convert that"
        self.publisher.clash(path, what, tip)

    def _check_folder(self, path: Path) -> None:
        """Never replace a folder that holds anything but files of this format."""
        known = self.format.extensions
        if path.is_dir() and not all(p.is_file() and p.suffix.lower() in known for p in path.iterdir()):
            raise UsageError(f"{path} is a folder that holds more than {self.format.title}", "choose another name")

    def _wanted(self, name: str) -> bool:
        globs = self.plan.scans
        return not globs or any(fnmatchcase(name, g) for g in globs)

    def _input(self, place: Location) -> None:
        failures = len(self.report.failed)
        try:
            shares = min(processors(), self.counts.get(place, 0) // WORTH_A_PROCESS) if self._apart(place) else 1
            written = self._in_processes(place, shares) if shares > 1 else self._share(place)
            if not written and len(self.report.failed) == failures:
                raise InputError(f"{place} holds nothing that {self.format.name} can hold", self._why_nothing())
            self.something = self.something or bool(written)
        except UsageError:
            raise
        except NxconvertError as error:
            self.report.failed.append((str(place), error))

    def _apart(self, place: Location) -> bool:
        """Tell whether an input's records become files of their own, and take long enough to be shared out."""
        large = place.path.is_file() and place.path.stat().st_size >= LARGE
        return large and not self.many and not self.plan.dry_run and not self.format.holds.min_item_rank

    def _in_processes(self, place: Location, shares: int) -> int:
        def work(share: int, shares: int) -> tuple[int, Report, Selection]:
            self.report, self.selection = Report(progress=self.report.progress if share == 0 else None), Selection(plan)
            self.plan = replace(self.plan, policy=replace(self.plan.policy, memory=self.plan.policy.memory // shares))
            count = self.counts[place]
            try:
                written = self._share(place, range(share * count // shares, (share + 1) * count // shares))
            finally:
                self._finish()
            return written, self.report, self.selection

        plan, report, selection = self.plan, self.report, self.selection
        self._finish()  # a copy of this process must not publish what this one does
        try:
            told = shared(work, shares)
        finally:
            self.plan, self.report, self.selection = plan, report, selection
        for _, part, met in told:
            report.add(part)
            selection.add(met)
        return sum(written for written, _, _ in told)

    def _share(self, place: Location, numbers: Collection[int] | None = None) -> int:
        """Write the records of an input, or those of some numbers; return how many there were."""
        plan = replace(self.plan, mapping=self.mappings.get(place, self.plan.mapping))
        with open_records(place, plan, self.report) as records:
            chosen = records if numbers is None else records.some(numbers)
            named = isinstance(records, OneDataset)
            return sum(self._record(record, place, named=named) for record in self._selected(chosen))

    def _why_nothing(self) -> str:
        """Return a tip for an input that gave nothing; what was skipped has been said already."""
        if nowhere := self.selection.nowhere():
            return nowhere[0] if nowhere[0].endswith("?") else f"{nowhere[0]}; 'nxconvert ls FILE' shows what there is"
        if self.plan.mapping != AUTO:
            return f"the mapping {self.plan.mapping} may be for another layout; 'nxconvert ls FILE' shows what it has"
        return "'nxconvert ls FILE' shows what it has"

    def _selected(self, records: Iterable[Record]) -> Iterator[Record]:
        plan, report = self.plan, self.report
        for record in (with_roles(r, plan) for r in records):
            if not self.selection.wants(record):
                continue
            if not record.finished and not plan.unfinished:
                report.skipped.append(Loss(record.name, record.source, "the scan is unfinished"))
                report.notice(f"{record.source} is unfinished and was skipped; --unfinished writes it")
                continue
            yield record

    def _record(self, record: Record, place: Location, *, named: bool) -> int:
        """Write a record. A dataset that was named itself is wanted, whatever it is."""
        plan, report = self.plan, self.report
        written = 0
        matrix = named if plan.matrix is None else plan.matrix
        include = ("*",) if named else plan.include
        try:
            pieces = fit.fit(self.selection.choose(record), self.format.holds, report, include, matrix=matrix)
            if not pieces:
                why = f"it has nothing that {self.format.name} can hold"
                report.skipped.append(Loss(record.name, record.source, why))
                report.notice(f"{record.source} was skipped: {why}")
            for piece in pieces:
                part = "" if named and len(pieces) == 1 else piece.part
                path = self.names.path(place, record.key, part, self._values(record))
                if plan.dry_run:
                    report.outputs.extend([str(path)] if str(path) not in report.outputs else [])
                else:
                    self._write(piece.record, path)
                written += 1
        except UsageError:
            raise
        except NxconvertError as error:
            report.failed.append((record.source, error))
        return written

    def _write(self, record: Record, path: Path) -> None:
        if path in self.given_up:
            return  # a file of many records is written whole or not at all
        sink = self.open.get(path)
        if sink is None:
            self._check_folder(path)
            self.publisher.reserve(path, record.source, again=True)
            assert self.format.create is not None
            part = self.parts[path] = self.publisher.part(path)
            try:
                made = self.format.create(part, self.report, **self.format.chosen(self.plan.options, reading=False))
            except OutputError as error:
                rename(error, part, path)
                raise
            assert isinstance(made, RecordSink)
            sink = self.open[path] = made
        try:
            record_to_sink(record, sink, self.plan.policy.memory // 4, moved_to(path, self.publisher, self.report))
        except BaseException as error:
            self.given_up.add(path)
            self.open.pop(path).abort()
            self.publisher.discard(path)
            rename(error, self.parts[path], path)
            raise
        if not self.many:
            self._publish()

    def _publish(self) -> None:
        for path, sink in list(self.open.items()):
            del self.open[path]
            try:
                sink.close()
            except BaseException as error:
                sink.abort()
                rename(error, self.parts[path], path)
                raise
            self.publisher.publish_soon(path, partial(self._published, path))

    def _published(self, path: Path) -> None:
        if str(path) != "-":
            self.report.outputs.append(str(path))
        if path.suffix in self.format.extensions and path.is_dir():
            count = f"{sum(1 for _ in path.iterdir()):,}"
            self.report.remark(f"{path} is a folder of {count} files, since each holds one frame")

    def _finish(self) -> None:
        """Wait until all that was written is published; what cannot be, fails by itself."""
        while True:
            try:
                self.publisher.finish()
                return
            except OutputError as error:
                self.report.failed.append((str(self.names.target), error))


def _of_names(plan: Plan) -> Iterable[str]:
    """Return what the mapping of a plan takes of files' names."""
    pattern = mapping.load(plan.mapping).file if plan.mapping != AUTO else None
    return pattern.kinds if pattern is not None else ()
