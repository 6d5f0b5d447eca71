"""Convert: open, map, write, report."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from nxconvert import fit, grid, mapping, naming, nxdl, registry, validation
from nxconvert.array import Array, Member
from nxconvert.engine.parallel import processors, shared
from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import Moved, record_to_sink, record_to_tree, tree_to_tree
from nxconvert.errors import InputError, Loss, NxconvertError, OutputError, UsageError
from nxconvert.foreign import with_stated_roles
from nxconvert.format import Format, Records, RecordSink, Report, Tree, TreeSink
from nxconvert.held import Held
from nxconvert.location import Location, safe_name
from nxconvert.mapping.check import chosen
from nxconvert.mapping.export import Exported
from nxconvert.mapping.imports import Importer
from nxconvert.part import part_of, subtree
from nxconvert.policy import Policy
from nxconvert.provenance import stamp
from nxconvert.record import Field, Record, Role, by_name, plain
from nxconvert.tree import Dataset

AUTO = "auto"

LARGE = 4 << 20
"""Bytes of an input from which on its records may be shared out to processes."""

WORTH_A_PROCESS = 4
"""How many records are worth a process of their own."""


@dataclass(frozen=True)
class Plan:
    """What is asked for, beside the inputs and the output.

    Attributes
    ----------
    from_format, to_format
        Names of formats; None detects them.
    mapping
        ``auto``, the name of a shipped mapping, or a file.
    policy
        What inputs may do, and the budget of memory.
    scans
        Globs of scan names or titles; empty takes all.
    columns
        Names that come first, in this order.
    only_columns
        Whether the other columns are left out, and the motors too, unless they are named.
    include
        Globs of spectra and images that are wanted in tables.
    matrix
        Whether two-dimensional signals become matrices; None leaves it to what is converted: a dataset that is named
        itself becomes a matrix, a signal with its axes a long table.
    unfinished
        Whether scans without an end are written too.
    name
        Template of the outputs' names, with ``{stem}``, ``{entry}``, ``{part}`` and ``{ext}``.
    validate
        ``nxdl`` to validate the output against its application definitions too.
    overwrite, dry_run
        Whether outputs that exist are replaced; whether nothing is written at all.
    options
        Options of the writer and reader.
    """

    from_format: str | None = None
    to_format: str | None = None
    mapping: str = AUTO
    policy: Policy = field(default_factory=Policy)
    scans: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    only_columns: bool = False
    include: tuple[str, ...] = ()
    matrix: bool | None = None
    unfinished: bool = False
    name: str = ""
    validate: str = ""
    overwrite: bool = False
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def convert(inputs: Sequence[str | Location], output: str, plan: Plan = Plan(), report: Report | None = None) -> Report:
    """Convert inputs into an output.

    Parameters
    ----------
    inputs
        Locations: ``scan.h5``, ``scan.h5::/1.1``, ``frames.tif``, globs, folders, ``-``; or records that are held.
    output
        A file, ``-``, or a folder (it exists, or ends in a slash) for one file a record.
    plan
        Everything else.
    report
        Filled as the work goes on, so that a caller sees what was done when an error ends it.

    Returns
    -------
    Report
        What was written, lost, skipped and failed. An input that fails does not stop the others.

    Raises
    ------
    UsageError
        When an argument is wrong or an output exists; nothing has been written then.
    """
    report = report if report is not None else Report()
    target = Location.parse(output)
    format = registry.for_output(target, plan.to_format)
    _check_options(plan, format)
    _check_validation(plan, format, target)
    with naming.inputs(inputs) as places:
        _convert(places, target, format, plan, report)
    return report


def _convert(places: list[Location], target: Location, format: Format, plan: Plan, report: Report) -> None:
    if not target.is_stream and any(p.path.exists() and _same_file(p.path, target.path) for p in places):
        raise UsageError(f"{target} is an input too", "inputs are never changed; choose another name")
    with Publisher(overwrite=plan.overwrite, adding=bool(plan.options.get("append"))) as publisher:
        if format.holds.tree:
            _into_tree(places, target, format, plan, publisher, report)
        else:
            names = naming.Naming(target, format, plan.name, format.spreads(plan.options))
            _IntoFiles(names, plan, publisher, report).convert(places)


def _same_file(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)


def _check_options(plan: Plan, format: Format) -> None:
    known = {o.name for o in format.write_options}
    reading = {o.name for f in registry.formats().values() for o in f.read_options}
    for name in plan.options:
        if name not in known and name not in reading:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} means nothing for {format.title}", f"leave {option} out")
    for o in format.write_options:
        value = plan.options.get(o.name)
        if o.choices and value is not None and value not in o.choices:
            option, near = f"--{o.name.replace('_', '-')}", get_close_matches(str(value), o.choices, 1)
            tip = f"did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{option} {value!r} is not one of {', '.join(o.choices)}", tip)
    if plan.overwrite and plan.options.get("append"):
        raise UsageError("--append and --overwrite exclude each other", "leave one of them out")


def _check_validation(plan: Plan, format: Format, target: Location) -> None:
    """Refuse, before any work is done, a validation that cannot be."""
    if not plan.validate:
        return
    if plan.validate != "nxdl":
        raise UsageError(f"--validate {plan.validate!r} is no validation", "write --validate nxdl")
    if format.name != "hdf5" or target.is_stream:
        raise UsageError("--validate nxdl is for NeXus/HDF5 files", "leave it out, or name an output that ends in .h5")
    nxdl.require()


def open_source(place: Location, plan: Plan, report: Report) -> Tree | Records:
    """Open an input as its format says it is: a tree or records.

    Raises
    ------
    InputError
        When it is of no known format, or has no record of the name that the location has.
    UsageError
        When the location has slices and the input no datasets.
    """
    if isinstance(place, Held):
        return place.open()
    format = registry.detect(place, registry.head(place), plan.from_format)
    assert format.open is not None
    source = format.open(place, plan.policy, report, **format.chosen(plan.options, reading=True))
    if place.box is not None and isinstance(source, Records):
        source.close()
        raise UsageError(f"{place} is no dataset", "only a dataset has slices")
    name = place.inner.strip("/")
    if name and isinstance(source, Records) and name not in ["_".join(k.values()) for k in source.keys()]:  # noqa: SIM118
        source.close()
        raise InputError(f"{place.file} has nothing at {place.inner}", "'nxconvert ls FILE' shows what it has")
    return source


def open_records(place: Location, plan: Plan, report: Report) -> Records:
    """Open an input as records, a tree through a mapping."""
    source = open_source(place, plan, report)
    return source if isinstance(source, Records) else as_records(source, place, plan, report)


def as_records(source: Tree, place: Location, plan: Plan, report: Report) -> Records:
    """Look at a tree through a mapping; at one dataset of it without.

    Raises
    ------
    InputError
        When it has nothing at the location, or no mapping fits.
    """
    try:
        only = plan.columns if plan.only_columns else ()
        if not place.inner:
            return Exported(source, layout_for(source, plan.mapping, report, place), report, only=only)
        node = part_of(source.root, place, report)
        if isinstance(node, Dataset):
            return _OneDataset(source, node, place)
        return Exported(source, layout_for(source, plan.mapping, report, place), report, place.inner, only)
    except BaseException:
        source.close()
        raise


def layout_for(source: Tree, name: str, report: Report, place: Location) -> mapping.Mapping:
    """Return the mapping to export a tree with: the one named, or the most literal one that matches.

    Raises
    ------
    InputError
        When ``auto`` finds none.
    """
    if name != AUTO:
        return mapping.load(name)
    layout = chosen(source, report)
    if layout is not None:
        return layout
    raise InputError(
        f"{place.file}: no mapping fits its layout: it has neither scans nor an NXdata",
        f"name a dataset, e.g. {place.file}::/path, or write a mapping and name it with --mapping",
    )


class _OneDataset(Records):
    """A single dataset of a tree, as a record."""

    def __init__(self, source: Tree, dataset: Dataset, place: Location) -> None:
        self.source, self.dataset, self.place = source, dataset, place

    def close(self) -> None:
        self.source.close()

    def __iter__(self) -> Iterator[Record]:
        values = self.dataset
        name = self.place.inner.rstrip("/").rpartition("/")[2]  # as it was asked for, not as a link resolves
        if values.ndim == 1 and values.dtype.names:
            yield Record({}, by_name(_compound(values, self.dataset.source)), source=self.dataset.source)
            return
        kept = {k: v for k, v in self.dataset.attrs.items() if k not in ("target", "signal", "axes")}
        role = Role.SIGNAL if values.ndim else None
        f = Field(name, values, bool(values.ndim), role=role, attrs=kept, source=self.dataset.source)
        yield Record({}, {name: f}, source=self.dataset.source)


def _compound(table: Array, source: str) -> list[Field]:
    """Return the columns of a dataset of compounds."""
    assert table.dtype.names is not None
    return [Field(name, Member(table, name), per_row=True, source=f"{source}[{name}]") for name in table.dtype.names]


def _into_tree(
    places: list[Location], target: Location, format: Format, plan: Plan, publisher: Publisher, report: Report
) -> None:
    """Convert all inputs into one tree. An input that fails is left out, and the tree is made without it."""
    path = target.path
    if path.is_dir() and format.sniff(registry.head(target)) < 2:
        raise UsageError(f"{path} is a folder, and no {format.title}", "choose another name")
    publisher.reserve(path, str(places[0]))
    if plan.dry_run:
        report.outputs.append(str(path))
        return
    good = list(places)
    while good and (failed := _tree_of(good, path, format, plan, publisher, report)) is not None:
        good.remove(failed)
    if good:
        publisher.publish(path)
        report.outputs.append(target.file)
    if good and plan.validate:
        _validate(path, target, report)


def _validate(path: Path, target: Location, report: Report) -> None:
    """Validate an output against its application definitions; it stays, whatever is found."""
    try:
        found = nxdl.problems(path)
    except InputError as error:
        report.failed.append((target.file, error))
        return
    for problem in found:
        report.notice(f"{target.file}: {problem}")
    if found:
        count = "one problem" if len(found) == 1 else f"{len(found)} problems"
        message = f"{target.file} was written, but is not valid: {count}"
        report.failed.append((target.file, InputError(message, "the warnings say what pynxtools found")))


def _tree_of(
    places: list[Location], path: Path, format: Format, plan: Plan, publisher: Publisher, report: Report
) -> Location | None:
    """Write a tree; return the input that failed, if one did, with nothing written."""
    assert format.create is not None
    part = publisher.part(path)
    sink = format.create(part, report, **format.chosen(plan.options, reading=False))
    assert isinstance(sink, TreeSink)
    importers: dict[str, Importer] = {}
    place = places[0]
    try:
        taken: set[str] = set()
        for place in places:
            moved = _moved(path, publisher, report)
            taken |= _input_into_tree(place, sink, plan, report, moved, importers, alone=len(places) == 1)
        for importer in importers.values():
            for root in importer.stacked():
                sink.begin(root)
        stamp(sink, [str(p) for p in places], taken)
        sink.close()
        if importers:
            validation.tell(part, format, plan.policy, report, str(path))
    except NxconvertError as error:
        sink.abort()
        publisher.discard(path)
        if isinstance(error, UsageError):
            raise
        _rename(error, part, path)
        report.failed.append((str(place), error))
        return place
    except BaseException:
        sink.abort()
        raise
    return None


def _input_into_tree(
    place: Location,
    sink: TreeSink,
    plan: Plan,
    report: Report,
    moved: Moved,
    importers: dict[str, Importer],
    *,
    alone: bool,
) -> set[str]:
    """Write one input, and return the names that a tree has at its root."""
    source = open_source(place, plan, report)
    with source:
        if isinstance(source, Tree) and plan.mapping == AUTO:
            root = subtree(source.root, place, report) if place.inner.strip("/") else source.root
            tree_to_tree(root, sink, plan.policy.memory)
            return set(root)
        records = source if isinstance(source, Records) else as_records(source, place, plan, report)
        failures = len(report.failed)
        for record in (_with_roles(r, plan) for r in records):
            name = plan.mapping if plan.mapping != AUTO else _way_back(record, report)
            importer = importers.get(name) or importers.setdefault(name, Importer(mapping.load(name), report))
            record = importer.keyed(record)
            if not record.key and not alone:
                record = replace(record, key={"record": safe_name(place.stem)})
            _refuse_untold(record, importer)
            given = grid.fold(record)
            folded = importer.translated(given)
            imported = importer.tree(folded)
            record_to_tree(folded, imported, sink, plan.policy.memory // 4, moved)
            importer.stack(given, folded, imported)
        if len(report.failed) > failures:
            raise report.failed.pop()[1]
    return set()


def _refuse_untold(record: Record, importer: Importer) -> None:
    """Ask what the columns of a foreign table are when the mapping takes none of them."""
    columns = [f for f in record.columns if f.guessed and not f.item_shape]
    if columns and not any(importer.choose(f) for f in record.columns):
        shown = ", ".join(f.name for f in columns[:6]) + (", ..." if len(columns) > 6 else "")
        raise UsageError(
            f"{record.source}: the mapping {importer.layout.name} takes none of its columns: {shown}",
            "name them with --labels, and say what they are with --roles",
        )


def _way_back(record: Record, report: Report) -> str:
    if record.mapping and record.mapping not in mapping.shipped_names():
        report.notice(
            f"{record.source} was made with the mapping {record.mapping!r}, which is not known here; it is written by "
            "the mapping 'records'; --mapping FILE names its own"
        )
    return record.mapping if record.mapping in mapping.shipped_names() else "records"


class _IntoFiles:
    """Converts inputs into files of records, one or many records a file."""

    def __init__(self, names: naming.Naming, plan: Plan, publisher: Publisher, report: Report) -> None:
        self.names, self.plan, self.publisher, self.report = names, plan, publisher, report
        self.format = names.format
        self.many = self.format.holds.records is None
        self.open: dict[Path, RecordSink] = {}
        self.parts: dict[Path, Path] = {}
        self.given_up: set[Path] = set()
        self.counts: dict[Location, int] = {}

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
        finally:
            for sink in self.open.values():
                sink.abort()

    def _refuse_early(self, places: list[Location]) -> None:
        """Look at all names before any work is done."""
        taken: dict[Path, str] = {}
        for place in places:
            try:
                with open_records(place, self.plan, Report()) as records:
                    keys = [k for k in records.keys() if self._wanted("_".join(k.values()))]  # noqa: SIM118
            except UsageError:
                raise
            except NxconvertError:
                continue  # it fails again, and is reported, when its turn comes
            self.counts[place] = len(keys)
            for key in keys:
                path = self.names.path(place, key)
                self._check_folder(path)
                if taken.get(path) == place.file and not self.many and not self.names.is_folder and not self.plan.name:
                    raise UsageError(
                        f"{place} has {len(keys)} records, a {self.format.name} file holds one",
                        f"write into a folder: {path.stem}/ --to {self.format.name}",
                    )
                what = f"{place} ({'_'.join(key.values())})" if key else str(place)
                if path not in taken:
                    self.publisher.reserve(path, what)
                elif not (self.many and (taken[path] == place.file or not self.names.is_folder)):
                    self.publisher.clash(path, what)
                taken[path] = place.file

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
        except UsageError:
            raise
        except NxconvertError as error:
            self.report.failed.append((str(place), error))

    def _apart(self, place: Location) -> bool:
        """Tell whether an input's records become files of their own, and take long enough to be shared out."""
        large = place.path.is_file() and place.path.stat().st_size >= LARGE
        return large and not self.many and not self.plan.dry_run and not self.format.holds.min_item_rank

    def _in_processes(self, place: Location, shares: int) -> int:
        def work(share: int, shares: int) -> tuple[int, Report]:
            self.report = Report(progress=self.report.progress if share == 0 else None)
            self.plan = replace(self.plan, policy=replace(self.plan.policy, memory=self.plan.policy.memory // shares))
            count = self.counts[place]
            try:
                written = self._share(place, range(share * count // shares, (share + 1) * count // shares))
            finally:
                self._finish()
            return written, self.report

        plan, report = self.plan, self.report
        self._finish()  # a copy of this process must not publish what this one does
        try:
            told = shared(work, shares)
        finally:
            self.plan, self.report = plan, report
        for _, part in told:
            report.add(part)
        return sum(written for written, _ in told)

    def _share(self, place: Location, numbers: Collection[int] | None = None) -> int:
        """Write the records of an input, or those of some numbers; return how many there were."""
        with open_records(place, self.plan, self.report) as records:
            chosen = records if numbers is None else records.some(numbers)
            named = isinstance(records, _OneDataset)
            return sum(self._record(record, place, named=named) for record in self._selected(chosen))

    def _why_nothing(self) -> str:
        """Return a tip for an input that gave nothing; what was skipped has been said already."""
        if self.plan.scans and not self.report.skipped and not self.report.notices:
            return f"no scan matches {' '.join(self.plan.scans)}; 'nxconvert ls FILE' shows names and titles"
        if self.plan.mapping != AUTO:
            return f"the mapping {self.plan.mapping} may be for another layout; 'nxconvert ls FILE' shows what it has"
        return "'nxconvert ls FILE' shows what it has"

    def _selected(self, records: Iterable[Record]) -> Iterator[Record]:
        plan, report = self.plan, self.report
        for record in (_with_roles(r, plan) for r in records):
            if plan.scans and not any(fnmatchcase(t, p) for p in plan.scans for t in (record.name, _title(record))):
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
            pieces = fit.fit(_chosen(record, plan, report), self.format.holds, report, include, matrix=matrix)
            if not pieces:
                why = f"it has nothing that {self.format.name} can hold"
                report.skipped.append(Loss(record.name, record.source, why))
                report.notice(f"{record.source} was skipped: {why}")
            for piece in pieces:
                path = self.names.path(place, record.key, "" if named and len(pieces) == 1 else piece.part)
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
            made = self.format.create(part, self.report, **self.format.chosen(self.plan.options, reading=False))
            assert isinstance(made, RecordSink)
            sink = self.open[path] = made
        try:
            record_to_sink(record, sink, self.plan.policy.memory // 4, _moved(path, self.publisher, self.report))
        except BaseException as error:
            self.given_up.add(path)
            self.open.pop(path).abort()
            self.publisher.discard(path)
            _rename(error, self.parts[path], path)
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
                _rename(error, self.parts[path], path)
                raise
            self.publisher.publish_soon(path, partial(self._published, path))

    def _published(self, path: Path) -> None:
        if str(path) != "-":
            self.report.outputs.append(str(path))

    def _finish(self) -> None:
        """Wait until all that was written is published; what cannot be, fails by itself."""
        while True:
            try:
                self.publisher.finish()
                return
            except OutputError as error:
                self.report.failed.append((str(self.names.target), error))


def _rename(error: BaseException, part: Path, path: Path) -> None:
    """Let an error have the name that was asked for, not the one that an output has until it is complete."""
    if isinstance(error, OutputError):
        if os.strerror(errno.ENOSPC) in error.message and not error.tip:
            error.tip = "free some space, or choose another folder"
        if str(path) != "-":
            error.message = error.message.replace(str(part), str(path))
            error.args = (error.message,)


def _moved(path: Path, publisher: Publisher, report: Report) -> Moved:
    """Return what is to be told that bytes of an output have been written."""

    def moved(what: str, size: int) -> None:
        publisher.settle(path, size)
        report.moved(what, size)

    return moved


def _with_roles(record: Record, plan: Plan) -> Record:
    """Give the columns the roles that are stated, whatever format they are from."""
    roles = plan.options.get("roles")
    return record.with_fields(with_stated_roles(list(record.fields.values()), roles)) if roles else record


def _title(record: Record) -> str:
    title = record.fields.get("title")
    return str(plain(title.values)) if title is not None else ""


def _chosen(record: Record, plan: Plan, report: Report) -> Record:
    """Put the columns that were asked for first, or keep only them."""
    if not plan.columns:
        return record
    for name in plan.columns:
        if name not in record.fields:
            report.notice(f"{record.source} has no column {name!r}")
    first = [record.fields[n] for n in plan.columns if n in record.fields]
    names = {f.name for f in first}
    rest = [f for f in record.fields.values() if f.name not in names]
    if plan.only_columns:
        rest = [f for f in rest if not f.per_row and not f.name.startswith(("motor/", "motor_start/"))]
    return record.with_fields([*first, *rest])
