"""What a mapping can do: whether it goes both ways, what it finds in data, and which mapping fits data."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import field
from typing import Any

import numpy as np

from nxconvert.array import Values
from nxconvert.dataclass import dataclass
from nxconvert.errors import MappingError
from nxconvert.format import Report, Tree
from nxconvert.mapping.export import Constant
from nxconvert.mapping.find import Find, constants, finds
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.load import asked_for, load
from nxconvert.mapping.model import ROLES, Mapping, Obstacle, Rule
from nxconvert.mapping.stated import KINDS, arithmetic
from nxconvert.mapping.steps import Step
from nxconvert.mapping.walk import Walker, steps_there
from nxconvert.record import Field
from nxconvert.tree import Dataset, Group

ANY_NAME = "\x01"
"""Stands for a captured name: one that no literal is."""


def obstacles(layout: Mapping) -> list[Obstacle]:
    """Say which rules stand in the way of the way back; none when the mapping can be inverted."""
    try:
        importer = Importer(layout, Report())
    except MappingError:
        return [Obstacle(r, "no rule of this mapping is for import") for r in layout.rules if r.exports]
    found = [o for r in layout.rules if r.exports and (o := _obstacle(r, importer)) is not None]
    found += [o for r in layout.rules if r.exports and r.imports and (o := _shares(r, layout)) is not None]
    return found + list(_changes(layout, {o.rule.index for o in found}))


def _changes(layout: Mapping, but: Collection[int]) -> Iterator[Obstacle]:
    """Yield what comes back under another name or in another class, each step at the first rule that has it."""
    told: set[Step] = set()
    for rule in layout.rules:
        if not rule.exports or rule.name is None or rule.index in but:
            continue
        known = {*rule.name.captures, *layout.key}
        new = [step for step in rule.steps if step not in told]
        lost = [s for s in new if s.captures and s.default and not s.role and s.name not in known]
        several = [s for s in new if len(s.classes) > 1]
        told.update(new)
        if lost:
            what = " and ".join(f"{{{s.name}}} comes back as {s.default}, whatever it was" for s in lost)
            yield Obstacle(rule, f"{what}; its place is in record: or in the field's name", True)
        if several:
            what = " and ".join(f"{' or '.join(s.classes[1:])} come back as {s.classes[0]}" for s in several)
            yield Obstacle(rule, f"groups of class {what}", True)


def of_name(layout: Mapping) -> dict[str, Rule | None]:
    """Return what the mapping takes of files' names, each with the rule that writes it on import or None."""
    if layout.file is None:
        return {}
    try:
        importer = Importer(layout, Report())
    except MappingError:
        return dict.fromkeys(layout.file.kinds)
    choices = {name: importer.choose(layout.file.sample(name)) for name in layout.file.kinds}
    return {name: choice[0] if choice is not None else None for name, choice in choices.items()}


def _shares(rule: Rule, layout: Mapping) -> Obstacle | None:
    """Say whether an earlier rule of the same path may take what this one wrote, under another name."""
    assert rule.name is not None
    for other in layout.rules[: rule.index]:
        if not other.exports or other.shape != rule.shape or other.name is None or not other.imports:
            continue
        if other.file.field != rule.file.field and not _exclusive(rule, other) and not _exclusive(other, rule):
            return Obstacle(rule, f"it shares its path with the rule at {other.where}: guards must tell them apart")
    return None


def _exclusive(a: Rule, b: Rule) -> bool:
    """Tell whether nothing passes the guards of both rules, as far as this one says it."""
    if a.file.rank is not None and b.file.rank is not None and a.file.rank != b.file.rank:
        return True
    if a.each == "record" and a.file.rank == 0 and b.each == "row":
        return True
    kinds = [KINDS.get(r.file.dtype) or np.dtype(r.file.dtype).kind if r.file.dtype else "" for r in (a, b)]
    return all(kinds) and not set(kinds[0]) & set(kinds[1])


def _obstacle(rule: Rule, importer: Importer) -> Obstacle | None:
    assert rule.name is not None
    if not rule.name.separated:
        return Obstacle(rule, "nothing stands between two captures in the field's name")
    name = rule.name.fill({step.name: ANY_NAME for step in rule.steps if step.captures})
    role = ROLES.get(rule.role)
    stack = importer.layout.stack
    aside = stack is not None and rule.binds(stack.over)
    for per_row in {"row": (True,), "record": (False,)}.get(rule.each, (True, False)):
        choice = importer.choose(Field(name, Values(_sample(rule)), per_row, role=role), aside)
        what = "its columns" if per_row else "its header values"
        if choice is None and not rule.imports:
            return Obstacle(rule, "it is for export only, and no other rule takes its fields back")
        if choice is None:
            return Obstacle(rule, f"no rule takes {what} back")
        if choice[0] is not rule:
            other = f"the rule at {choice[0].where}"
            if not rule.imports:
                return Obstacle(rule, f"it is for export only; {what} come back at the place of {other}", True)
            return Obstacle(rule, f"{what} would come back at the place of {other}, whose names are the same")
    return None


def _sample(rule: Rule) -> np.ndarray[Any, Any]:
    """Return values that pass the guards of a rule."""
    if rule.file.dtype == "integer" and arithmetic(rule.file):
        return np.zeros((1,) * (rule.file.rank or 0))  # a number that was computed is no integer any more
    dtype = {"integer": "int64", "float": "float64", "number": "float64", "text": "S1", "": "float64"}
    return np.zeros((1,) * (rule.file.rank or 0), dtype=dtype.get(rule.file.dtype, rule.file.dtype))


@dataclass
class Found:
    """What one rule found in data.

    Attributes
    ----------
    rule
        The rule.
    objects
        How many datasets or attributes it takes.
    records
        In how many records.
    shapes
        Their shapes, the first few that differ.
    example
        The path of one.
    wrong
        How many of them are not the constant that the rule states.
    """

    rule: Rule
    objects: int = 0
    records: int = 0
    wrong: int = 0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    example: str = ""


@dataclass
class DryRun:
    """What a mapping finds in data.

    Attributes
    ----------
    records
        How many records.
    rules
        What each rule of the direction export found, and each that states a constant.
    left
        Datasets that no rule takes.
    """

    records: int
    rules: list[Found]
    left: list[str]


SHAPES = 4
"""How many shapes are told of a rule."""


def dry_run(layout: Mapping, tree: Tree, report: Report) -> DryRun:
    """Look for what the rules of a mapping take of a tree; no values are read.

    Raises
    ------
    InputError
        When a rule that is required finds nothing.
    """
    told = {
        rule.index: Found(rule) for rule in layout.rules if rule.exports or rule.stacked or rule in layout.constants
    }
    taken: set[Hashable] = set()
    records = 0
    for _, found in finds(tree, layout, report):
        records += 1
        for index in {f.rule.index for f in found}:
            told[index].records += 1
        for one in found:
            if one.rule.stacked and one.path in taken:
                continue  # it is that of the records before, too
            _note(told[one.rule.index], one, taken)
    for constant in constants(tree, layout, report):
        _note(told[constant.rule.index], constant, taken)
        told[constant.rule.index].records += 1
        told[constant.rule.index].wrong += not constant.right
    left = [path for path, node in datasets(tree.root) if path not in taken and node.identity not in taken]
    return DryRun(records, list(told.values()), left)


def _note(told: Found, one: Find | Constant, taken: set[Hashable]) -> None:
    """Count an object that a rule takes."""
    told.objects += 1
    told.example = told.example or one.path
    taken.add(one.path)
    if isinstance(one.node, Dataset):
        taken.add(one.node.identity)
        if one.node.shape not in told.shapes and len(told.shapes) < SHAPES:
            told.shapes.append(one.node.shape)


def datasets(root: Group) -> list[tuple[str, Dataset]]:
    """Return all datasets of a tree with their paths; links are not followed."""
    found: list[tuple[str, Dataset]] = []
    pending: list[tuple[str, Group]] = [("", root)]
    seen: set[Hashable] = set()
    while pending:
        path, group = pending.pop()
        if group.identity is not None and group.identity in seen:
            continue
        seen.add(group.identity)
        for name in group:
            if group.link(name) is not None:
                continue
            node = group.child(name)
            if isinstance(node, Group):
                pending.append((f"{path}/{name}", node))
            elif isinstance(node, Dataset):
                found.append((f"{path}/{name}", node))
    return found


@dataclass(frozen=True)
class Condition:
    """A path of ``when``, and how far it is there.

    Attributes
    ----------
    path
        The path.
    there
        Whether all of it is.
    found
        The path of the object that matches, or of the last group on the way to it.
    missing
        The step that is not there.
    """

    path: str
    there: bool
    found: str
    missing: str = ""


def ranked() -> list[Mapping]:
    """Return the shipped mappings, in the order in which ``auto`` tries them: the one that asks for most first."""
    return [load(name) for name, _ in asked_for()]


def fitting(tree: Tree, report: Report) -> Iterator[Mapping]:
    """Yield the shipped mappings that fit a tree, the one that asks for most first."""
    walker = Walker(tree.root, report)
    return (load(name) for name, when in asked_for() if when and walker.has(when))


def chosen(tree: Tree, report: Report) -> Mapping | None:
    """Return the shipped mapping that ``auto`` takes for a tree; None when none fits."""
    return next(fitting(tree, report), None)


def conditions(layout: Mapping, tree: Tree, report: Report) -> list[Condition]:
    """Say of each path of ``when`` whether a tree has it."""
    told = []
    for steps, text in zip(layout.when, layout.conditions, strict=True):
        count, found = steps_there(steps, tree, report)
        there = count == len(steps)
        told.append(Condition(text, there, found, "" if there else _step_text(text, count)))
    return told


def _step_text(path: str, number: int) -> str:
    return path.strip("/").split("/")[number]
