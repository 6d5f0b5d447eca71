"""Converting all inputs into one tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nxconvert import grid, mapping, registry, validation
from nxconvert.conversion.inputs import as_records, open_source, with_roles
from nxconvert.conversion.output import moved_to, rename
from nxconvert.conversion.plan import AUTO, Plan
from nxconvert.conversion.selection import Selection
from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import Moved, record_to_tree, tree_to_tree, views_to_tree
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Format, Report, Tree, TreeSink
from nxconvert.location import Location, safe_name
from nxconvert.mapping.imports import Importer
from nxconvert.part import subtree
from nxconvert.provenance import stamp
from nxconvert.record import Record


def into_tree(
    places: list[Location], target: Location, format: Format, plan: Plan, publisher: Publisher, report: Report
) -> None:
    """Convert all inputs into one tree. An input that fails is left out, and the tree is made without it."""
    for option in ("include", "columns"):
        if getattr(plan, option):
            raise UsageError(f"--{option} means nothing for {format.title}", "it is for tables; leave it out")
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
        from nxconvert import nxdl

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
    selection = Selection(plan)
    place = places[0]
    try:
        taken: set[str] = set()
        for place in places:
            moved = moved_to(path, publisher, report)
            taken |= _input_into_tree(place, sink, plan, report, moved, importers, selection, alone=len(places) == 1)
        for importer in importers.values():
            for root in importer.stacked():
                views_to_tree(root, sink)
        if plan.scans:
            selection.tell(report)
        stamp(sink, [str(p) for p in places], taken)
        sink.close()
        if importers:
            validation.tell(part, format, plan.policy, report, str(path))
    except NxconvertError as error:
        sink.abort()
        publisher.discard(path)
        if isinstance(error, UsageError):
            raise
        rename(error, part, path)
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
    selection: Selection,
    *,
    alone: bool,
) -> set[str]:
    """Write one input, and return the names that a tree has at its root."""
    source = open_source(place, plan, report)
    with source:
        if isinstance(source, Tree) and plan.mapping == AUTO:
            if plan.scans:
                raise UsageError(
                    f"--scans means nothing where {place.file} is copied as it is",
                    f"copy a part, e.g. {place.file}::/1.1, or name a mapping with --mapping",
                )
            root = subtree(source.root, place, report) if place.inner.strip("/") else source.root
            tree_to_tree(root, sink, plan.policy.memory)
            return set(root)
        records = as_records(source, place, plan, report)
        failures = len(report.failed)
        for record in (with_roles(r, plan) for r in records):
            if not selection.wants(record):
                continue
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
    """Ask what the columns of a foreign table are: when the mapping takes none, or has a definition for them."""
    columns = [f for f in record.columns if f.guessed and not f.item_shape]
    shown = ", ".join(f.name for f in columns[:6]) + (", ..." if len(columns) > 6 else "")
    layout = importer.layout
    if columns and not any(importer.choose(f) for f in record.columns):
        raise UsageError(
            f"{record.source}: the mapping {layout.name} takes none of its columns: {shown}",
            "name them with --labels, and say what they are with --roles",
        )
    if columns and layout.definition:
        raise UsageError(
            f"{record.source}: nothing states what its columns ({shown}) are, as {layout.definition} needs",
            "state it with --roles, e.g. --roles x=energy,signal=mu, and names with --labels",
        )


def _way_back(record: Record, report: Report) -> str:
    if record.mapping and record.mapping not in mapping.shipped_names():
        report.notice(
            f"{record.source} was made with the mapping {record.mapping!r}, which is not known here; it is written by "
            "the mapping 'records'; --mapping FILE names its own"
        )
    return record.mapping if record.mapping in mapping.shipped_names() else "records"
