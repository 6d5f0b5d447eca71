"""Convert: open, map, write, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nxconvert import fit, grid, mapping, registry
from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import record_to_sink, record_to_tree, tree_to_tree
from nxconvert.errors import InputError, Loss, MappingError, NxconvertError, UsageError
from nxconvert.format import Format, Records, RecordSink, Report, Tree, TreeSink
from nxconvert.location import Location, safe_name
from nxconvert.mapping.export import Exported, matches
from nxconvert.mapping.imports import Importer
from nxconvert.policy import Policy
from nxconvert.provenance import stamp
from nxconvert.record import Field, Record, Role, plain
from nxconvert.tree import Dataset

AUTO = "auto"


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
        Whether the other columns are left out.
    include
        Globs of spectra and images that are wanted in tables.
    matrix
        Whether two-dimensional signals become matrices.
    unfinished
        Whether scans without an end are written too.
    name
        Template of the outputs' names, with ``{stem}``, ``{entry}``, ``{part}`` and ``{ext}``.
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
    matrix: bool = False
    unfinished: bool = False
    name: str = ""
    overwrite: bool = False
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def convert(inputs: Sequence[str], output: str, plan: Plan = Plan(), report: Report | None = None) -> Report:
    """Convert inputs into an output.

    Parameters
    ----------
    inputs
        Locations: ``scan.h5``, ``scan.h5::/1.1``, ``frames.tif``, ``-``.
    output
        A file; or a folder (it exists, or ends in a slash), for one file a record.
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
    places = [Location.parse(i) for i in inputs]
    with Publisher(overwrite=plan.overwrite) as publisher:
        if format.holds.tree:
            _into_tree(places, target, format, plan, publisher, report)
        else:
            _into_files(places, target, format, plan, publisher, report)
    return report


def open_source(place: Location, plan: Plan, report: Report) -> Tree | Records:
    """Open an input as its format says it is: a tree or records."""
    format = registry.detect(place, registry.head(place), plan.from_format)
    assert format.open is not None
    return format.open(place, plan.policy, report, **format.chosen(plan.options, reading=True))


def open_records(place: Location, plan: Plan, report: Report) -> Records:
    """Open an input as records, a tree through a mapping."""
    source = open_source(place, plan, report)
    if isinstance(source, Records):
        return source
    node = source.root[place.inner] if place.inner and place.inner.strip("/") in source.root else None
    if isinstance(node, Dataset):
        return _OneDataset(source, node, place)
    if place.inner and node is None:
        source.close()
        raise InputError(f"{place.file} has nothing at {place.inner}", "'nxconvert ls FILE' shows what it has")
    return Exported(source, layout_for(source, plan.mapping, report, place), report, place.inner)


def layout_for(source: Tree, name: str, report: Report, place: Location) -> mapping.Mapping:
    """Return the mapping to export a tree with: the one named, or the most literal one that matches.

    Raises
    ------
    InputError
        When ``auto`` finds none.
    """
    if name != AUTO:
        return mapping.load(name)
    known = sorted(
        (mapping.load(n) for n in mapping.shipped_names()),
        key=lambda m: (sum(len(w) for w in m.when), [s.rank for w in m.when for s in w]),
        reverse=True,
    )
    for layout in known:
        if layout.when and matches(layout, source, report):
            return layout
    source.close()
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
        from nxconvert.array import Boxed

        box = self.place.slices(self.dataset.ndim)
        values = Boxed(self.dataset, box) if box else self.dataset
        name = self.dataset.name
        kept = {k: v for k, v in self.dataset.attrs.items() if k not in ("target", "signal", "axes")}
        role = Role.SIGNAL if values.ndim else None
        f = Field(name, values, bool(values.ndim), role=role, attrs=kept, source=self.dataset.source)
        yield Record({}, {name: f}, source=self.dataset.source)


def _into_tree(
    places: list[Location], target: Location, format: Format, plan: Plan, publisher: Publisher, report: Report
) -> None:
    path = target.path
    publisher.reserve(path, str(places[0]))
    if plan.dry_run:
        report.outputs.append(str(path))
        return
    assert format.create is not None
    sink = format.create(publisher.part(path), report, **format.chosen(plan.options, reading=False))
    assert isinstance(sink, TreeSink)
    done = 0
    importers: dict[str, Importer] = {}
    try:
        for place in places:
            try:
                _input_into_tree(place, sink, plan, report, importers, alone=len(places) == 1)
                done += 1
            except (InputError, MappingError) as error:
                if isinstance(error, UsageError):
                    raise
                report.failed.append((str(place), error))
        if not done:
            sink.abort()
            return
        stamp(sink, [str(p) for p in places])
        sink.close()
    except BaseException:
        sink.abort()
        raise
    publisher.publish(path)
    report.outputs.append(str(path))


def _input_into_tree(
    place: Location, sink: TreeSink, plan: Plan, report: Report, importers: dict[str, Importer], *, alone: bool
) -> None:
    source = open_source(place, plan, report)
    with source:
        if isinstance(source, Tree):
            tree_to_tree(source.root, sink, plan.policy.memory)
            return
        for record in source:
            name = plan.mapping if plan.mapping != AUTO else _way_back(record)
            importer = importers.get(name) or importers.setdefault(name, Importer(mapping.load(name), report))
            if not record.key and not alone:
                record = replace(record, key={"record": safe_name(place.stem)})
            folded = grid.fold(record)
            record_to_tree(folded, importer.tree(folded), sink, plan.policy.memory)


def _way_back(record: Record) -> str:
    return record.mapping if record.mapping in mapping.shipped_names() else "records"


def _into_files(
    places: list[Location], target: Location, format: Format, plan: Plan, publisher: Publisher, report: Report
) -> None:
    for place in places:
        try:
            with open_records(place, plan, report) as records:
                written = _write_records(records, place, target, format, plan, publisher, report)
            if not written:
                raise InputError(f"{place} holds nothing that {format.name} can hold", _why_nothing(report))
        except UsageError:
            raise
        except NxconvertError as error:
            report.failed.append((str(place), error))


def _why_nothing(report: Report) -> str:
    reasons = [str(s) for s in report.skipped[:1]] or [str(n) for n in report.notices[:1]]
    return reasons[0] if reasons else "'nxconvert ls FILE' shows what it has"


def _write_records(
    records: Records,
    place: Location,
    target: Location,
    format: Format,
    plan: Plan,
    publisher: Publisher,
    report: Report,
) -> int:
    written = 0
    single: tuple[Path, RecordSink] | None = None
    many = format.holds.records is None and not _is_folder(target) and not plan.name
    try:
        for record in _selected(records, plan, report):
            pieces = fit.fit(_chosen(record, plan), format.holds, report, plan.include, matrix=plan.matrix)
            if not pieces:
                report.skipped.append(Loss(record.name, record.source, f"it has nothing that {format.name} can hold"))
            for piece in pieces:
                if many:
                    single = single or _start(
                        _output(target, place, format, plan, piece), format, plan, publisher, report
                    )
                    record_to_sink(piece.record, single[1], plan.policy.memory // 4)
                else:
                    path, sink = _start(_output(target, place, format, plan, piece), format, plan, publisher, report)
                    _finish(piece.record, path, sink, plan, publisher, report)
                written += 1
        if single is not None:
            single[1].close()
            publisher.publish(single[0])
            report.outputs.append(str(single[0]))
    except BaseException:
        if single is not None:
            single[1].abort()
        raise
    return written


def _start(path: Path, format: Format, plan: Plan, publisher: Publisher, report: Report) -> tuple[Path, RecordSink]:
    publisher.reserve(path, str(path))
    assert format.create is not None
    sink = format.create(publisher.part(path), report, **format.chosen(plan.options, reading=False))
    assert isinstance(sink, RecordSink)
    return path, sink


def _finish(record: Record, path: Path, sink: RecordSink, plan: Plan, publisher: Publisher, report: Report) -> None:
    try:
        record_to_sink(record, sink, plan.policy.memory // 4)
        sink.close()
    except BaseException:
        sink.abort()
        raise
    publisher.publish(path)
    report.outputs.append(str(path))


def _selected(records: Records, plan: Plan, report: Report) -> Iterator[Record]:
    for record in records:
        if plan.scans and not any(fnmatchcase(t, p) for p in plan.scans for t in (record.name, _title(record))):
            continue
        if not record.finished and not plan.unfinished:
            report.skipped.append(Loss(record.name, record.source, "the scan is unfinished; --unfinished writes it"))
            report.notice(f"{record.source} is unfinished and was skipped; --unfinished writes it")
            continue
        yield record


def _title(record: Record) -> str:
    title = record.fields.get("title")
    return str(plain(title.values)) if title is not None else ""


def _chosen(record: Record, plan: Plan) -> Record:
    """Put the columns that were asked for first, or keep only them."""
    if not plan.columns:
        return record
    missing = [n for n in plan.columns if n not in record.fields]
    if len(missing) == len(plan.columns) and plan.only_columns:
        return record.with_fields(record.header)
    first = [record.fields[n] for n in plan.columns if n in record.fields]
    names = {f.name for f in first}
    rest = [f for f in record.fields.values() if f.name not in names and not (plan.only_columns and f.per_row)]
    return record.with_fields([*first, *rest])


def _is_folder(target: Location) -> bool:
    return target.file.endswith(("/", "\\")) or target.path.is_dir()


def _output(target: Location, place: Location, format: Format, plan: Plan, piece: fit.Fitted) -> Path:
    """Say where a record goes: to the output itself, or into a folder by the template."""
    entry = piece.record.name
    folder = target.path if _is_folder(target) else target.path.parent
    extension = format.extensions[0] if _is_folder(target) else target.path.suffix
    template = plan.name
    if not template:
        if not _is_folder(target):
            stem = target.path.name[: len(target.path.name) - len(extension)]
            return folder / safe_name(stem + (f"_{piece.part}" if piece.part else "") + extension)
        template = "{stem}" + ("_{entry}" if entry else "") + ("_{part}" if piece.part else "") + "{ext}"
    try:
        name = template.format(stem=place.stem, entry=entry, part=piece.part, ext=extension)
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"the name template {template!r} is wrong: {error}", "fields are {stem}, {entry}, {part} and {ext}"
        ) from None
    return folder / safe_name(name)
