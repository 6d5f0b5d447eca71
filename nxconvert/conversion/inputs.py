"""Opening inputs: as trees, or as records through a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nxconvert import mapping, registry
from nxconvert.array import Array, Member
from nxconvert.conversion.plan import AUTO, Plan
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Format, Records, Report, Tree
from nxconvert.held import Held
from nxconvert.location import Location
from nxconvert.mapping.check import chosen, dry_run, fitting
from nxconvert.mapping.export import Exported
from nxconvert.mapping.model import FILES, LABEL
from nxconvert.part import part_of
from nxconvert.record import Field, Record, Role, by_name
from nxconvert.tree import Dataset


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
    return open_as(registry.detect(place, registry.head(place), plan.from_format), place, plan, report)


def open_as(format: Format, place: Location, plan: Plan, report: Report) -> Tree | Records:
    """Open an input as a format that is known to be its.

    Raises
    ------
    InputError, UsageError
        As ``open_source`` has them.
    """
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
    return as_records(open_source(place, plan, report), place, plan, report)


def as_records(source: Tree | Records, place: Location, plan: Plan, report: Report) -> Records:
    """Look at a tree through a mapping; at one dataset of it without. Records are records.

    Where the mapping takes something from the name of the file, or from other files, it is beside them.

    Raises
    ------
    InputError
        When it has nothing at the location, or no mapping fits.
    """
    if isinstance(source, Records):
        return _beside(source, plan.mapping, place, plan, report) if plan.mapping != AUTO else source
    records = _exported(source, place, plan, report)
    return _beside(records, records.layout, place, plan, report) if isinstance(records, Exported) else records


def _beside(records: Records, of: str | mapping.Mapping, place: Location, plan: Plan, report: Report) -> Records:
    """Put beside records what a mapping takes from elsewhere; most take nothing."""
    try:
        layout = mapping.load(of) if isinstance(of, str) else of
        if layout.file is None and not layout.sources:
            return records
        from nxconvert.conversion.beside import Beside

        return Beside(records, layout, place, plan, report)
    except BaseException:
        records.close()
        raise


def _exported(source: Tree, place: Location, plan: Plan, report: Report) -> Records:
    only = plan.columns if plan.only_columns and not plan.include else ()  # globs are looked for among all

    def exported(layout: mapping.Mapping) -> Exported:
        return Exported(source, layout, report, place.inner, (*only, *_needed(layout)) if only else ())

    try:
        if not place.inner:
            return exported(layout_for(source, plan.mapping, report, place))
        node = part_of(source.root, place, report)
        if isinstance(node, Dataset):
            return OneDataset(source, node, place)
        several = map(exported, fitting(source, report) if plan.mapping == AUTO else ())
        found = next((records for records in several if records.keys()), None)  # the first that has something there
        return found if found is not None else exported(layout_for(source, plan.mapping, report, place))
    except BaseException:
        source.close()
        raise


def _needed(layout: mapping.Mapping) -> list[str]:
    """Return the fields by which a mapping tells what is to be put beside a record."""
    names = list(layout.file.kinds) if layout.file is not None else []
    for source in layout.sources:
        names += [source.column] if source.column else {"index": [LABEL], "file": [FILES]}.get(source.on, [])
    return names


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


def tell_untaken(places: Iterable[Location], plan: Plan, report: Report) -> None:
    """Tell which datasets of the inputs no rule of their mapping takes; inputs that have no mapping have none."""
    report.untaken = []
    for place in places:
        try:
            with open_source(place, plan, Report()) as source:
                copied = isinstance(source, Tree) and isinstance(part_of(source.root, place, Report()), Dataset)
                if not isinstance(source, Tree) or copied:
                    continue
                left = dry_run(layout_for(source, plan.mapping, Report(), place), source, Report()).left
        except NxconvertError:
            continue  # it failed before, and was told
        base = "/" + place.inner.strip("/")
        inside = [path for path in left if base in ("/", path) or path.startswith(base + "/")]
        report.untaken += [f"{place.file}::{path}" for path in inside]


class OneDataset(Records):
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


def with_roles(record: Record, plan: Plan) -> Record:
    """Give the columns the roles that are stated, whatever format they are from."""
    roles = plan.options.get("roles")
    if not roles:
        return record
    from nxconvert.foreign.roles import with_stated_roles

    return record.with_fields(with_stated_roles(list(record.fields.values()), roles))
