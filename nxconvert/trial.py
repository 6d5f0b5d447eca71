"""Try a mapping on data, out and back: tree -> records -> tree, and compare what the mapping names."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nxconvert import mapping
from nxconvert.comparison import Comparison, Difference, compare
from nxconvert.conversion import Plan, convert, open_source
from nxconvert.errors import InputError
from nxconvert.format import Report, Tree
from nxconvert.location import Location
from nxconvert.mapping.export import Find, finds

Places = Mapping[tuple[str, ...], Mapping[str, Find]]
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
        told.notices = [str(n) for n in report.notices]
        told.differences = [Difference(x.what, "missing", x.where, "", x.why) for x in report.losses]
        found = compare(data, back, plan)
        _add(told, found, back)
        _compare_places(told, before, _places(back, Plan(mapping=file, policy=plan.policy)))
    return told


def _add(told: Trial, found: Comparison, back: str) -> None:
    told.compared = found.compared
    lost = {d.where for d in told.differences}
    told.differences += [d for d in found.differences if d.where.rpartition("/")[2] not in lost]
    told.differences += [Difference(where, "value", str(error), "") for where, error in found.unread if back in where]
    told.notices += [n for n in found.notices if n not in told.notices and back not in n]


def _places(data: str, plan: Plan) -> Places:
    with open_source(Location.parse(data), plan, Report()) as source:
        if not isinstance(source, Tree):
            raise InputError(f"{data} holds records, no tree", "a mapping is tried on a NeXus/HDF5 file")
        layout = mapping.load(plan.mapping)
        return {tuple(key.values()): {f.field: f for f in found} for key, found in finds(source, layout, Report())}


def _compare_places(told: Trial, before: Places, after: Places) -> None:
    for key, found in before.items():
        for name, one in found.items():
            other = after.get(key, {}).get(name)
            if other is None or other.path == one.path:
                continue  # one that is missing was told by the comparison of records
            where = "/".join(["_".join(key), name]) if len(before) > 1 else name
            if one.rule.imports:
                told.differences.append(Difference(where, "place", one.path, other.path))
            else:
                told.moved.append((where, one.path, other.path))
