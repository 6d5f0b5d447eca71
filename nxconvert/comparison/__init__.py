"""Compare two trees, two records, or two files of whatever format, block by block.

Names, links, types, shapes, attributes, roles and values are compared; how they are stored (chunks, compression, order
of names, in which file an object lies that an external link leads to) is not, nor is what the root of a file says of
the file: who wrote it and when, its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain

from nxconvert.comparison.pair import Comparison
from nxconvert.comparison.records import RecordPair, record_differences
from nxconvert.comparison.trees import Trees, tree_differences
from nxconvert.comparison.values import EXACT, Difference, Tolerance
from nxconvert.conversion import AUTO, Plan, as_records, open_source
from nxconvert.conversion.inputs import with_roles
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Records, Report, Tree
from nxconvert.location import Location
from nxconvert.mapping import shipped_names
from nxconvert.mapping.check import chosen
from nxconvert.naming import inputs
from nxconvert.part import part_of
from nxconvert.record import Record

__all__ = ["EXACT", "Comparison", "Difference", "Tolerance", "compare", "record_differences", "tree_differences"]


def compare(a: str, b: str, plan: Plan | None = None, tolerance: Tolerance = EXACT) -> Comparison:
    """Compare two files, or parts of them.

    Two trees are compared as trees; when one of the two holds records, or the plan names a mapping, the records of
    both are. Records are paired by key; one on each side are a pair whatever their keys are.

    Parameters
    ----------
    a, b
        Locations: ``scan.h5``, ``scan.h5::/1.1``, ``scan.csv``.
    plan
        Formats, mapping, policy and options of the readers.
    tolerance
        How far numbers may be apart.

    Raises
    ------
    InputError
        When one of them cannot be opened, or has nothing at its location.
    """
    plan = plan or Plan()
    found, report = Comparison(), Report()
    with inputs([a, b]) as places, ExitStack() as stack:
        if len(places) != 2:
            raise UsageError(f"{a} and {b} are {len(places)} files", "name two files")
        sources: list[Tree | Records] = []
        for place in places:
            sources.append(open_source(place, plan, report))
            stack.callback(sources[-1].close)
        trees = [s for s in sources if isinstance(s, Tree)]
        if len(trees) == 2 and plan.mapping == AUTO:
            pair = Trees(tolerance, plan.policy.memory, found, provenance=False)
            one, other = (part_of(t.root, p, report) for t, p in zip(trees, places, strict=True))
            found.differences.extend(pair.compare(one, other, places[0].inner, places[1].inner))
            if found.differences:
                found.notices += _whole(trees, places)
        else:
            via = _via(sources, plan)
            both = [
                as_records(s, p, via, report) if isinstance(s, Tree) else s
                for s, p in zip(sources, places, strict=True)
            ]
            found.differences.extend(_records(both, plan, tolerance, found))
    found.unread += report.failed
    found.unread += [(x.where, InputError(f"{x.what}: {x.why}")) for x in report.losses]
    found.notices += map(str, report.notices)
    return found


def _whole(trees: Sequence[Tree], places: Sequence[Location]) -> Iterator[str]:
    """Tell that a part of one file differs from all of the other, when that has such a part."""
    for name, mine, part in (("A", 0, places[1].inner.strip("/")), ("B", 1, places[0].inner.strip("/"))):
        if part and not places[mine].inner.strip("/") and _has(trees[mine], part):
            layout = chosen(trees[1 - mine], Report())
            scans = f" --mapping {layout.name} compares scans, wherever their values lie" if layout else ""
            yield f"{name} is a whole file; did you mean {places[mine].file}::/{part}?{scans}"


def _has(tree: Tree, path: str) -> bool:
    try:
        tree.root[path]
    except (KeyError, NxconvertError):
        return False
    return True


def _via(sources: Sequence[Tree | Records], plan: Plan) -> Plan:
    """Look at a tree with the mapping that made the records it is compared with."""
    if plan.mapping != AUTO:
        return plan
    known = next((r.mapping for s in sources if isinstance(s, Records) for r in s), "")
    return replace(plan, mapping=known) if known in shipped_names() else plan


def _records(both: Sequence[Records], plan: Plan, tolerance: Tolerance, told: Comparison) -> Iterator[Difference]:
    pair = RecordPair(tolerance, plan.policy.memory, told)
    a, b = ((with_roles(r, plan) for r in records) for records in both)
    pairs = _paired(a, b)
    known = next(pairs, None)
    if known is None:
        raise InputError("neither A nor B holds a record", "'nxconvert ls FILE' shows what they have")
    for name, mine, other in chain([known], pairs):
        if mine is None or other is None:
            yield Difference(name, "missing", "a record" if mine else "", "a record" if other else "")
            continue
        prefix = f"{name}/" if name else ""
        try:
            for found in pair.compare(mine, other):
                yield replace(found, where=prefix + found.where)
        except NxconvertError as error:
            told.unread.append((mine.source, error))


def _paired(a: Iterator[Record], b: Iterator[Record]) -> Iterator[tuple[str, Record | None, Record | None]]:
    """Pair records by key, each read once; those that come in another order on one side wait for each other."""
    first_a, first_b = next(a, None), next(b, None)
    next_a, next_b = next(a, None), next(b, None)
    if first_a is not None and first_b is not None and next_a is None and next_b is None:
        yield "", first_a, first_b
        return
    waiting: dict[tuple[tuple[str, str], ...], list[Record]] = {}

    def others() -> Iterator[Record]:
        yield from (r for r in (first_b, next_b) if r is not None)
        yield from b

    rest = others()
    for mine in (*(r for r in (first_a, next_a) if r is not None), *a):
        key = tuple(mine.key.items())
        while not waiting.get(key) and (other := next(rest, None)) is not None:
            waiting.setdefault(tuple(other.key.items()), []).append(other)
        yield mine.name, mine, waiting[key].pop(0) if waiting.get(key) else None
    for left in (*(r for found in waiting.values() for r in found), *rest):
        yield left.name, None, left
