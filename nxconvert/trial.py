"""Try a mapping on data, out and back: tree -> records -> tree, and compare what the mapping names."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

import numpy as np

from nxconvert import mapping
from nxconvert.array import type_name
from nxconvert.comparison import Comparison, Difference, compare
from nxconvert.conversion import Plan, convert, open_records, open_source
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.format import Report, Tree
from nxconvert.location import Location
from nxconvert.mapping.find import Find, constants, finds
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stated import arithmetic
from nxconvert.record import Field
from nxconvert.tree import Dataset, Group

ULPS = 2
"""How many steps of their dtype numbers may be apart after arithmetic, out and back."""


ROWS = 4096
"""Rows that are compared at a time."""


@dataclass(frozen=True)
class Place:
    """What a field was made of: the rule, path, dtype and units of the object, and the classes of the groups above."""

    rule: Rule
    path: str
    dtype: str
    units: str
    classes: Mapping[str, str]


Places = Mapping[tuple[str, ...], Mapping[str, Place]]
"""The key of a record -> the name of a field -> what it was made of."""


@dataclass
class Trial:
    """What came of a trial.

    Attributes
    ----------
    records, fields
        How many went out.
    compared
        How many fields and attributes were compared.
    differences
        Where what came back differs: A is the data, B what came back.
    moved
        Fields that a one-way rule took and that came back at another place, as the mapping says: name, place, place.
    notices
        Warnings on the way.
    """

    records: int = 0
    fields: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not self.differences


def out_and_back(file: str, data: str, plan: Plan | None = None) -> Trial:
    """Export the records of a tree with a mapping, import them into a temporary file, and compare.

    Values, types, units and other attributes, roles and the places of all that the mapping takes must be the same; all
    else in the tree takes no part.

    Parameters
    ----------
    file
        A mapping: its file, or the name of a shipped one.
    data
        The location of a tree.
    plan
        Format, policy and options of the reader.

    Raises
    ------
    InputError
        When the data cannot be read, is no tree, or holds nothing that the mapping takes.
    MappingError
        When the mapping is wrong, or none of its rules can be imported.
    """
    plan = Plan(mapping=file, policy=plan.policy, from_format=plan.from_format) if plan else Plan(mapping=file)
    told = Trial()
    before = _places(data, plan)
    told.records, told.fields = len(before), sum(len(found) for found in before.values())
    if not told.fields:
        raise InputError(
            f"{data} has nothing that the mapping {file} takes", "'nxconvert mapping check FILE --on DATA' shows why"
        )
    with tempfile.TemporaryDirectory(prefix="nxconvert-") as folder:
        back = str(Path(folder) / "back.h5")
        report = Report()
        convert([data], back, Plan(mapping=file, policy=plan.policy, from_format=plan.from_format), report)
        if report.failed:
            raise report.failed[0][1]
        told.notices = [str(n).replace(back, "what came back") for n in [*report.notices, *report.remarks]]
        told.differences = [Difference(x.what, "missing", x.where, "", x.why) for x in report.losses]
        _add(told, compare(data, back, plan), back)
        stated = {r.file.field for r in mapping.load(file).rules if r.file.absent is not None}
        told.differences = [d for d in told.differences if d.a or d.kind != "missing" or not _is(d.where, stated)]
        _settle_ulps(told, data, back, plan)
        told.differences += _changed_constants(data, plan)
        _compare_places(told, before, _places(back, Plan(mapping=file, policy=plan.policy)))
    return told


def _add(told: Trial, found: Comparison, back: str) -> None:
    told.compared = found.compared
    lost = {d.where for d in told.differences}
    told.differences += [d for d in found.differences if d.where.rpartition("/")[2] not in lost]
    told.differences += [Difference(where, "value", str(error), "") for where, error in found.unread if back in where]
    told.notices += [n for n in found.notices if n not in told.notices and back not in n]


def _is(where: str, fields: set[str]) -> bool:
    """Tell whether what is somewhere is one of some fields; before its name that of the record may stand."""
    return any(where == name or where.endswith(f"/{name}") for name in fields)


def _places(data: str, plan: Plan) -> Places:
    with open_source(Location.parse(data), plan, Report()) as source:
        if not isinstance(source, Tree):
            raise InputError(f"{data} holds records, no tree", "a mapping is tried on a NeXus/HDF5 file")
        layout = mapping.load(plan.mapping)
        known: dict[str, str] = {}
        return {
            tuple(key.values()): {f.field: _place(f, _classes(source.root, f.path, known)) for f in found}
            for key, found in finds(source, layout, Report())
        }


def _classes(root: Group, path: str, known: dict[str, str]) -> dict[str, str]:
    """Return the NeXus class of each group on the way to an object, by its path."""
    above: dict[str, str] = {}
    at = ""
    for name in path.partition("@")[0].strip("/").split("/"):
        at = f"{at}/{name}"
        if at not in known:
            node = root.get(at)
            known[at] = str(node.attrs.get("NX_class", "")) if isinstance(node, Group) else ""
        above[at] = known[at]
    return above


def _place(find: Find, classes: Mapping[str, str]) -> Place:
    if not isinstance(find.node, Dataset):
        return Place(find.rule, find.path, "", "", classes)
    units = find.node.attrs.get("units", "")
    said = units if isinstance(units, str) else str(units)
    return Place(find.rule, find.path, type_name(find.node.dtype), said, classes)


def _compare_places(told: Trial, before: Places, after: Places) -> None:
    changed: set[tuple[str, str, str]] = set()
    for key, found in before.items():
        for name, one in found.items():
            other = after.get(key, {}).get(name)
            where = "/".join(["_".join(key), name]) if len(before) > 1 else name
            if other is None:
                continue  # one that is missing was told by the comparison of records
            if one.rule.file.states:
                _compare_stated(told, where, one, other)
            if other.path == one.path:
                changed |= {(at, kind, other.classes[at]) for at, kind in one.classes.items()}
                continue
            if one.rule.imports:
                told.differences.append(Difference(where, "place", one.path, other.path))
            else:
                told.moved.append((where, one.path, other.path))
    told.notices += [
        f"{at}: its class {a} came back as {b or 'none'}, the first that the mapping names"
        for at, a, b in sorted(changed)
        if a and a != b
    ]


def _changed_constants(data: str, plan: Plan) -> list[Difference]:
    with open_source(Location.parse(data), plan, Report()) as source:
        assert isinstance(source, Tree)
        wrong = [c for c in constants(source, mapping.load(plan.mapping), Report()) if not c.right]
        return [
            Difference(c.path, "constant", "another value", repr(c.rule.file.constant), c.rule.where) for c in wrong
        ]


def _compare_stated(told: Trial, where: str, one: Place, other: Place) -> None:
    """Compare types and units in the tree, which the records of both need not show."""
    if one.dtype != other.dtype:
        tip = f"state dtype: {one.dtype}"
        told.differences.append(Difference(where, "type", one.dtype, other.dtype, tip))
    if one.units != other.units:
        told.differences.append(Difference(where, "units", one.units or "no units", other.units or "no units"))


def _settle_ulps(told: Trial, data: str, back: str, plan: Plan) -> None:
    """Let differences of a few ulp pass in fields whose rules state arithmetic."""
    doubtful = [d for d in told.differences if d.kind == "value"]
    layout = mapping.load(plan.mapping)
    if not doubtful or not any(arithmetic(r.file) for r in layout.rules):
        return
    importer = Importer(layout, Report())
    close: set[str] = set()
    with (
        open_records(Location.parse(data), plan, Report()) as mine,
        open_records(Location(back), Plan(mapping=plan.mapping, policy=plan.policy), Report()) as others,
    ):
        for a in mine:
            b = next((r for r in others if r.key == a.key), None)
            for name, f in a.fields.items() if b is not None else ():
                choice = importer.choose(f)
                if choice is None or b is None or name not in b.fields or not arithmetic(choice[0].file):
                    continue
                if _within_ulps(f, b.fields[name], choice[0].file.offset):
                    close |= {name, f"{a.name}/{name}"}
    told.differences = [d for d in told.differences if d not in doubtful or d.where.partition("[")[0] not in close]


def _within_ulps(a: Field, b: Field, offset: float) -> bool:
    if a.shape != b.shape:
        return False
    for start in range(0, max(a.shape[0], 1) if a.shape else 1, ROWS):
        box = (slice(start, min(start + ROWS, a.shape[0])),) if a.shape else None
        x, y = a.values.read(box), b.values.read(box)
        largest = np.maximum(np.maximum(np.abs(x), np.abs(y)), abs(offset)).astype(a.dtype)
        with np.errstate(invalid="ignore"):
            same = (np.abs(x - y) <= ULPS * np.spacing(largest)) | (x == y) | ((x != x) & (y != y))
        if not same.all():
            return False
    return True
