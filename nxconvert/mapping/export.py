"""Tree -> records: applying a mapping in the direction of export, one record at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert.array import Values, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, NxconvertError
from nxconvert.format import Records, Report, Tree
from nxconvert.mapping import stated
from nxconvert.mapping.astray import Astray
from nxconvert.mapping.model import MISSING_ROWS, ROLES, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.plot import GUESSED, WRITTEN_ON_FIELDS, Plot
from nxconvert.mapping.split import has_place, stack_of, taken
from nxconvert.mapping.stack import is_main, role_of
from nxconvert.mapping.steps import Step, from_tree_name, may_be, named_from, path_of
from nxconvert.mapping.walk import Walker
from nxconvert.record import Field, Record, Role, by_name
from nxconvert.tree import Dataset, Node


@dataclass(slots=True)
class _Hit:
    """One object that one rule matched."""

    rule: Rule
    bound: Mapping[str, str]
    path: str
    node: Node | None = None
    attribute: Any = None
    plot: Plot | None = None
    name: str = ""
    moved: Collection[str] = ()
    """Attributes of the dataset that are fields of their own."""

    @property
    def field(self) -> str:
        """Name of the field."""
        assert self.rule.name is not None
        return self.rule.name.fill(self.bound)


class Exported(Records):
    """The records that a mapping sees in a tree, made one after the other.

    Parameters
    ----------
    tree, layout, report
        The tree, the mapping, and what is told of what goes wrong.
    base
        The part of the tree that records are wanted of; empty for all.
    only
        Names of fields. Where a rule captures fields' names, only these are looked for; empty for all.
    """

    def __init__(self, tree: Tree, layout: Layout, report: Report, base: str = "", only: Collection[str] = ()) -> None:
        self.tree, self.layout, self.report = tree, layout, report
        self.base, self.only = base, only
        self._astray = Astray(layout)

    def close(self) -> None:
        self.tree.close()

    def __iter__(self) -> Iterator[Record]:
        walker = Walker(self.tree.root, self.report)
        return self._records(walker, self.keys_with_paths(walker))

    def some(self, numbers: Collection[int]) -> Iterator[Record]:
        walker = Walker(self.tree.root, self.report)
        return self._records(
            walker, [key for number, key in enumerate(self.keys_with_paths(walker)) if number in numbers]
        )

    def _records(self, walker: Walker, keys: list[tuple[dict[str, str], str]]) -> Iterator[Record]:
        for bound, path in keys:
            try:
                record = Assembly(self.layout, walker, bound, path, self.only).record(self._astray)
            except NxconvertError as error:  # one record that cannot be made does not cost the others
                self.report.failed.append((self.tree.root.source.rstrip("/") + path, error))
                continue
            finally:
                walker.forget()
            if record is not None:
                yield record

    def keys(self) -> list[Mapping[str, str]]:
        keys = self.keys_with_paths(Walker(self.tree.root, self.report))
        return [{k: v for k, v in bound.items() if v} for bound, _ in keys]

    def keys_with_paths(self, walker: Walker) -> list[tuple[dict[str, str], str]]:
        """Return the keys of all records, each with the path that they stand at; scan numbers in their order."""
        found: dict[tuple[str, ...], tuple[dict[str, str], str]] = {}
        for captured, path in walker.places(self.layout):
            bound = {k: captured.get(k, "") for k in self.layout.key}
            if not self.base or _within(path, self.base):
                found.setdefault(tuple(bound.values()), (bound, path))
        numbers = {key: tuple(_numbers(v) for v in key) for key in found}
        if all(n is not None for row in numbers.values() for n in row):
            found = {k: found[k] for k in sorted(found, key=lambda k: numbers[k])}
        if self.layout.stack is None:
            return list(found.values())
        return [one for bound, path in found.values() for one in self._stacked(walker, bound, path)]

    def _stacked(self, walker: Walker, bound: dict[str, str], path: str) -> Iterator[tuple[dict[str, str], str]]:
        """Yield the keys of the records that one stack is made of: those that have a place, else what the rows say."""
        stack = self.layout.stack
        assert stack is not None
        shared = {k: v for k, v in bound.items() if k != stack.over}
        known = {*stack.order, *(name for r in self.layout.stacked if r.file.key for name in r.file.values)}
        places: dict[str, str] = {}
        for _node, captured, place, *_ in walker.find(self.layout.own, shared) if self.layout.own else ():
            if role_of(captured[stack.over], stack.order) in known:
                places.setdefault(captured[stack.over], place)
        if not places:
            names = stack_of(self.layout, lambda rule: walker.dataset(rule, shared)).names
            places = dict.fromkeys(names, path)
        for name, place in places.items():
            if not self.base or _within(place, self.base):
                yield {**shared, stack.over: name}, place


@dataclass(frozen=True)
class Constant:
    """Something in a tree that a mapping says is always the same.

    Attributes
    ----------
    rule, path, node
        As of a ``Find``.
    right
        Whether it is what the mapping says. An attribute of a dataset is, whatever it says: it comes back as it is.
    """

    rule: Rule
    path: str
    node: Node | None
    right: bool


def _within(path: str, base: str) -> bool:
    path, base = path.rstrip("/") + "/", "/" + base.strip("/") + "/"
    return path.startswith(base) or base.startswith(path)


def _numbers(name: str) -> tuple[int, ...] | None:
    return tuple(int(p) for p in name.split(".")) if re.fullmatch(r"\d+(\.\d+)*", name) else None


class Assembly:
    """Makes one record of what the rules match."""

    def __init__(self, layout: Layout, walker: Walker, bound: dict[str, str], path: str, only: Collection[str]) -> None:
        self.layout, self.walker, self.bound, self.only = layout, walker, bound, only
        self.file = walker.root.source.rstrip("/")
        self.source = self.file + path
        self.signal_labels: tuple[str | None, ...] = ()
        self.signal_shape: tuple[int, ...] = ()

    def record(self, astray: Astray) -> Record | None:
        """Return the record, or None when no rule finds anything; ``astray`` tells of what will not find its way."""
        hits = self.hits()
        if not hits and self.layout.stack is None:
            return None
        self._note_signal(hits)
        self._check_constants()
        lengths = {
            h.node.shape[0] for h in hits if h.rule.each == "row" and isinstance(h.node, Dataset) and h.node.shape
        }
        made: dict[str, tuple[Field, _Hit]] = {}
        for hit in hits:
            field = self._field(hit, lengths)
            if hit.rule.file.states:
                field = stated.exported(hit.rule, field, self.walker.report)
            if field.name in made:
                field = self._same(made[field.name], (field, hit))
            made[field.name] = (field, hit)
        aside = not is_main(self.layout, self.bound)
        astray.tell(((f, h.rule, h.bound) for f, h in made.values()), self.walker.report, aside=aside)
        fields = [replace(f, of=self._name_of(f, made)) if f.role == Role.ERRORS else f for f, _ in made.values()]
        fields += self._of_stack({f.name: f for f in fields}, own=any(self._binds(h.rule) for h in hits))
        if not fields:
            return None
        return Record(
            {k: v for k, v in self.bound.items() if v},
            by_name(in_reading_order(fields)),
            source=self.source,
            mapping=self.layout.name,
            finished=not self.layout.complete or self._there(self.layout.complete),
        )

    def _binds(self, rule: Rule) -> bool:
        """Tell whether a rule is of this record alone, and not of what the records of a stack share."""
        return self.layout.stack is not None and rule.binds(self.layout.stack.over)

    def _of_stack(self, known: Mapping[str, Field], *, own: bool) -> Iterator[Field]:
        """Yield the fields that this record has of a stack. What lies at its own place is not looked for there."""
        stack = self.layout.stack
        if stack is None:
            return
        shared = {k: v for k, v in self.bound.items() if k != stack.over}

        def look(rule: Rule) -> Dataset | None:
            return self.walker.dataset(rule, shared)

        def wanted(name: str) -> bool:
            return (not self.only or name in self.only) and not (own and has_place(self.layout, name))

        found = stack_of(self.layout, look)
        yield from taken(found, self.bound[stack.over], look, self.walker.report, known, wanted)

    def hits(self) -> list[_Hit]:
        """Return what the rules take, each object once, in the order of the rules."""
        best: dict[str, _Hit] = {}
        main = is_main(self.layout, self.bound)
        for rule in self.layout.rules:
            if not rule.exports or not (main or self._binds(rule)):
                continue
            found, row, guarded = False, rule.each == "row", bool(rule.file.guards)
            for node, bound, path, attribute, plot, name in self._found(rule):
                if row and not (isinstance(node, Dataset) and node.shape):
                    continue
                if guarded and not _passes(rule, node, attribute):
                    continue
                found = True
                rival = best.get(path)
                if rival is None or _wins(rule, rival.rule):
                    best.pop(path, None) if rival is not None and rule.role else None
                    best[path] = _Hit(rule, bound, path, node, attribute, plot, name)
            if rule.file.required and not found:
                raise InputError(
                    f"{self.walker.root.source}: nothing is at {rule.file.tree}, which {rule.where} requires"
                )
        constants = {c.path for c in self.constants()}
        for path in (constants | {*self._named_links()}) & set(best):
            del best[path]  # it is written by the mapping itself
        self._note_attributes(best, constants)
        return sorted(_without_second_names(best), key=lambda h: h.rule.index)

    def _note_attributes(self, best: dict[str, _Hit], constants: Collection[str]) -> None:
        """Note with datasets which of their attributes are fields; those of what does not come back are none."""
        for path, hit in list(best.items()):
            base = path.removesuffix(f"@{hit.name}")
            if hit.rule.index not in self.layout.on_datasets or base in constants:
                continue
            whose = best.get(base)
            if whose is None or (hit.rule.imports and not whose.rule.imports):
                del best[path]
            else:
                whose.moved = {*whose.moved, hit.name}

    def _found(self, rule: Rule) -> Iterator[Any]:
        """Yield the matches of a rule, as far as they are wanted; those with a role say what the others are."""
        assert rule.name is not None
        on_datasets = rule.index in self.layout.on_datasets
        if not self.only or not rule.name.captures or rule.role:
            yield from self.walker.find(rule.steps, dict(self.bound), on_datasets=on_datasets)
            return
        for name in self.only:
            captured = rule.name.match(name)
            if captured is not None:
                yield from self.walker.find(rule.steps, {**captured, **self.bound}, on_datasets=on_datasets)

    def _check_constants(self) -> None:
        """Tell of what a mapping says is always the same, and is not."""
        for c in self.constants():
            if not c.right:
                said = f"{c.rule.file.constant!r}, as {c.rule.where} says"
                self.walker.report.notice(f"{self.file}{c.path} is not {said}, and comes back as that")

    def constants(self) -> Iterator[Constant]:
        """Yield what is there of what the mapping says is always the same."""
        for rule in self.layout.constants:
            on_dataset = rule.index in self.layout.on_datasets
            for node, _, path, attribute, *_ in self.walker.find(rule.steps, dict(self.bound), on_datasets=on_dataset):
                right = (on_dataset and self._travels(rule)) or _equal(attribute if node is None else node, rule)
                yield Constant(rule, path, node, right)

    def _named_links(self) -> Iterator[str]:
        """Yield the attributes of groups that name what the mapping says that they do."""
        for rule in self.layout.rules:
            if not (rule.target and rule.steps[-1].attribute) or rule.index in self.layout.on_datasets:
                continue
            for _, bound, path, value, *_ in self.walker.find(rule.steps, dict(self.bound)):
                group = path.removesuffix(f"@{rule.steps[-1].name}")
                if isinstance(value, str) and value == named_from(group, path_of(rule.target, bound)):
                    yield path

    def _travels(self, rule: Rule) -> bool:
        """Tell whether the dataset of an attribute is a field, which has its attributes with it."""
        return any(r.exports and r.imports and may_be(rule.steps[:-1], r.steps) for r in self.layout.rules)

    def _there(self, steps: tuple[Step, ...]) -> bool:
        return next(self.walker.find(steps, dict(self.bound)), None) is not None

    def _note_signal(self, hits: list[_Hit]) -> None:
        for hit in hits:
            if hit.plot is not None and hit.rule.role == ("signal" if hit.plot.signal else "axes"):
                self.signal_shape = hit.plot.shape
                self.signal_labels = tuple(from_tree_name(n) if n else None for n in hit.plot.labels)

    def _field(self, hit: _Hit, lengths: set[int]) -> Field:
        rule = hit.rule
        assert rule.name is not None
        name = rule.name.fill(hit.bound)
        source = self.file + hit.path
        if hit.node is None:
            return Field(name, Values(hit.attribute), source=source)
        assert isinstance(hit.node, Dataset)
        role = ROLES.get(rule.role)
        axes, per_row = self._axes(hit, role, lengths)
        attrs = hit.node.attrs
        guessed = GUESSED in attrs
        mask = None
        if attrs:
            kept = {k: v for k, v in attrs.items() if k not in WRITTEN_ON_FIELDS and k not in hit.moved}
            if per_row and MISSING_ROWS in kept:
                mask = _mask(kept.pop(MISSING_ROWS), hit.node.shape[0])
            attrs = kept if "units" not in kept else {"units": kept.pop("units"), **kept}
        of = (hit.plot.errors or {}).get(hit.name) if hit.plot and role == Role.ERRORS else None
        return Field(name, hit.node, per_row, axes, role, guessed, of, attrs=attrs, mask=mask, source=source)

    def _axes(self, hit: _Hit, role: Role | None, lengths: set[int]) -> tuple[tuple[str | None, ...], bool]:
        """Say which axis labels each dimension of a dataset, and whether its first one is the row."""
        node = hit.node
        assert isinstance(node, Dataset)
        if hit.rule.each == "record" or not (shape := node.shape):
            return (), False
        if role == Role.AXIS and hit.plot is not None and self.signal_shape:
            span = (hit.plot.spans or {})[hit.name]
            own = from_tree_name(hit.name)
            labels = tuple(own if len(span) == 1 else self.signal_labels[d] for d in span)
            return labels, 0 in span
        per_row = hit.rule.each == "row" or shape[0] in lengths or not lengths
        if per_row and self.signal_labels and shape == self.signal_shape[: len(shape)]:
            return self.signal_labels[: len(shape)], True
        return (), per_row

    def _same(self, first: tuple[Field, _Hit], second: tuple[Field, _Hit]) -> Field:
        """Join two finds of one name, which must be one object: one of them only knew its role."""
        a, b = first[1].node, second[1].node
        if a is None or b is None or a.identity is None or a.identity != b.identity:
            raise InputError(
                f"{first[0].source} and {second[0].source} would both be the field {second[0].name!r}",
                "give one of them another name in the mapping",
            )
        known, other = (first[0], second[0]) if first[0].role else (second[0], first[0])
        return replace(other, role=known.role, of=known.of, axes=known.axes or other.axes)

    def _name_of(self, field: Field, made: dict[str, tuple[Field, _Hit]]) -> str | None:
        for name, (_, hit) in made.items():
            if hit.name == field.of:
                return name
        return None


def _wins(rule: Rule, rival: Rule) -> bool:
    """Tell whether a rule takes what an earlier one found: of two that share a path, rows go to the one for rows."""
    one = (rule.steps, rule.file.field) == (rival.steps, rival.file.field)
    if one and {rule.each, rival.each} == {"row", "record"}:
        return rule.each == "row"
    return rule.rank > rival.rank or (rule.rank == rival.rank and (rule.each, rival.each) == ("row", "record"))


def _without_second_names(best: dict[str, _Hit]) -> list[_Hit]:
    """Leave out what a rule with ``also`` finds when another rule takes the same object at its own place."""
    hits = list(best.values())
    if not any(h.rule.file.also for h in hits):
        return hits
    own = {h.node.identity: h.field for h in hits if h.node is not None and not h.rule.file.also}
    return [h for h in hits if not h.rule.file.also or h.node is None or own.get(h.node.identity, h.field) == h.field]


def _passes(rule: Rule, node: Node | None, attribute: Any) -> bool:
    values = node if isinstance(node, Dataset) else Values(attribute)
    return stated.takes(rule.file, values.dtype, len(values.shape), exact=True)


def _equal(found: Any, rule: Rule) -> bool:
    """Tell whether a dataset or an attribute is the constant of a rule; one value may stand in an array of its own."""
    wanted = stated.literal(rule.file.constant, rule.file.dtype)
    shape = found.shape if isinstance(found, Dataset) else np.shape(found)
    if shape != wanted.shape and (wanted.shape or math.prod(shape) != 1):
        return False
    values = found.read() if isinstance(found, Dataset) else np.asarray(found)
    values = decode(values) if is_text(values.dtype) else values
    return bool(np.all(values.reshape(wanted.shape) == wanted.read()))


def _mask(rows: Any, length: int) -> Values:
    mask = np.zeros(length, dtype=bool)
    mask[np.asarray(rows, dtype=np.int64)] = True
    return Values(mask)


def in_reading_order(fields: list[Field]) -> list[Field]:
    """Order fields as people read a table: axes, signals each with its errors, auxiliary signals, the rest."""
    order: list[Field] = []
    errors = {f.of: f for f in fields if f.role == Role.ERRORS and f.of}
    for role in (Role.AXIS, Role.SIGNAL, Role.AUXILIARY):
        for f in fields:
            if f.role == role:
                order.append(f)
                if f.name in errors:
                    order.append(errors[f.name])
    placed = {f.name for f in order}
    return order + [f for f in fields if f.name not in placed]
