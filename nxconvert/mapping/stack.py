"""Stacks on import: records that differ in one capture of their key, behind each other in one dataset.

Each record is written where the other rules say, as it comes. What a stack needs of it is noted, and the stack is made
when all have come: its frames are a view of those of the records, its columns are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from nxconvert.array import TEXT, Values, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Report
from nxconvert.mapping.absent import stand_in
from nxconvert.mapping.model import MISSING_ROWS, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.stack_parts import Column, Numbers, frames_type, one_type, shared_attrs, times_of, whole_numbers
from nxconvert.mapping.stated import imported
from nxconvert.record import Field, Record
from nxconvert.tree import Link, NewDataset, Run, Virtual

STACK_ROW = "stack_row"
"""The field that says which row of the stack each row of a record is."""

INVALID = "invalid"
"""The name among ``values:`` of rows of which something is missing."""


def role_of(name: str, roles: Sequence[str]) -> str:
    """Return the role of a record: ``flat`` of ``flat_2``, the second one of its role."""
    found = re.fullmatch(r"(.+)_\d+", name)
    return found[1] if name not in roles and found and found[1] in roles else name


def role_of_file(path: str, patterns: Mapping[str, Sequence[str]], main: str) -> str:
    """Return the role of a file by its name."""
    whole = "/" + path.replace("\\", "/")
    base = whole.rpartition("/")[2]
    for role, globs in patterns.items():
        if any(fnmatchcase(whole, f"*/{g}") if "/" in g else fnmatchcase(base, g) for g in globs):
            return role
    return main


def is_main(layout: Layout, key: Mapping[str, str]) -> bool:
    """Tell whether a record is one that what is shared is taken from; all are where nothing is stacked."""
    stack = layout.stack
    return stack is None or role_of(key.get(stack.over, stack.order[-1]), stack.order) == stack.order[-1]


@dataclass
class _Part:
    """What a stack needs of one record."""

    key: dict[str, str]
    role: str
    rows: int
    source: str
    times: dict[str, Numbers]
    columns: dict[int, Column | None]
    numbered: str = ""


@dataclass
class Made:
    """A stack that is to be written.

    Attributes
    ----------
    key
        The key that the records share.
    nodes
        What lies at the place of each rule.
    rows
        The place of ``stack_row`` of each record that wants it, and its values.
    """

    key: dict[str, str]
    nodes: list[tuple[Rule, NewDataset | Virtual | Link]] = field(default_factory=list)
    rows: list[tuple[str, Numbers]] = field(default_factory=list)


class Stacks:
    """The stacks of a mapping, filled record by record.

    Parameters
    ----------
    layout
        A mapping that has a stack.
    report
        Told what was filled in.
    """

    def __init__(self, layout: Layout, report: Report) -> None:
        assert layout.stack is not None
        self.layout, self.report, self.stack = layout, report, layout.stack
        self.rules = [r for r in layout.stacked if r.file.direction != "export"]
        self._scans: dict[tuple[tuple[str, str], ...], list[_Part]] = {}

    def add(
        self, record: Record, written: Record, paths: Mapping[str, str], key: dict[str, str], numbered: str
    ) -> None:
        """Note what a stack needs of a record.

        Parameters
        ----------
        record, written
            The record, and how it is written: values may have been translated.
        paths
            Where its fields are written.
        numbered
            Where ``stack_row`` would be, or an empty string.

        Raises
        ------
        InputError
            When it lacks what nothing stands in for.
        """
        rows = record.rows or 0
        name = key.get(self.stack.over, self.stack.order[-1])
        part = _Part(key, role_of(name, self.stack.order), rows, record.source, {}, {})
        part.numbered = numbered if STACK_ROW not in paths else ""
        for by in (STACK_ROW, *self.stack.by):
            times = times_of(record.fields.get(by), rows)
            if times is not None:
                part.times[by] = times
        for rule in self.rules:
            if not rule.file.key:
                part.columns[rule.index] = self._column(rule, record, written, paths, part)
        shared = tuple((k, v) for k, v in key.items() if k != self.stack.over)
        self._scans.setdefault(shared, []).append(part)

    def _column(
        self, rule: Rule, record: Record, written: Record, paths: Mapping[str, str], part: _Part
    ) -> Column | None:
        names = (rule.file.field, *rule.file.also)
        f = next((record.fields[n] for n in names if n in record.fields), None)
        if f is None:
            f = self._stand_in(rule, record, part)
            if f is None:
                return None
        item = f.item_shape if f.per_row else ()
        if item:
            return self._frames(rule, written.fields[f.name], paths, part)
        f = imported(rule, f, self.report) if rule.file.states else f
        values = f.values.read()
        values = decode(values) if is_text(f.dtype) else np.asarray(values)
        if not f.per_row:
            if values.size != 1:
                raise InputError(f"{f.source}: {f.name} is no single value", f"{rule.where} wants one for each row")
            values = np.full(part.rows, values.reshape(-1)[0], values.dtype)
        gone = np.zeros(part.rows, bool) if f.mask is None else f.mask.read().astype(bool)
        if len(values) < part.rows:
            gone = np.concatenate([gone[: len(values)], np.ones(part.rows - len(values), bool)])
            values = np.concatenate([values, np.zeros(part.rows - len(values), values.dtype)])
        return Column(values, gone, f.attrs, f.dtype, source=f.source)

    def _stand_in(self, rule: Rule, record: Record, part: _Part) -> Field | None:
        absent = rule.file.absent
        if isinstance(absent, dict) and part.role in absent:
            absent = absent[part.role]
        elif isinstance(absent, dict) and "from" not in absent:
            absent = None
        if absent is None:
            return None
        if isinstance(absent, dict):
            self.report.notice(
                f"{record.source} has no {rule.file.field}: it is spaced evenly, as {rule.where} says of what is absent"
            )
        return stand_in(rule, absent, record, part.rows)

    def _frames(self, rule: Rule, f: Field, paths: Mapping[str, str], part: _Part) -> Column:
        if f.name not in paths:
            over = self.stack.over
            raise InputError(
                f"{f.source}: frames of a stack are views of those of its records, and no rule of {self.layout.name} "
                f"gives {f.name} a place of its own",
                f'add a rule such as {{tree: "{{{over}:NXcollection}}/data", field: {f.name}, each: row}}',
            )
        stated = {k for k in ("units", "values") if getattr(rule.file, k)}
        if stated or rule.file.scale != 1 or rule.file.offset != 0:
            raise InputError(
                f"{f.source}: {rule.where} changes values, and frames of a stack stay as they are",
                "state it in the rule of the records' own place",
            )
        gone = None if f.mask is None else f.mask.read().astype(bool)
        beside = f.dtype.kind == "f" and part.role != self.stack.order[-1]
        whole = whole_numbers(f.values) if beside else None
        return Column(None, gone, f.attrs, f.dtype, f.item_shape, paths[f.name], f.source, whole)

    # When all records have come

    def made(self) -> Iterator[Made]:
        """Yield the stack of each key that records share.

        Raises
        ------
        UsageError
            When the records do not fit each other.
        """
        for shared, parts in self._scans.items():
            made = Made(dict(shared))
            which, rows = self._order(parts)
            for part in parts:
                _check_alike(parts[0], part)
            missing = np.zeros(len(rows), bool)
            for rule in self.rules:
                if not rule.file.key:
                    node = self._node(rule, parts, which, rows, missing)
                    if node is not None:
                        made.nodes.append((rule, node))
            for rule in self.rules:
                if rule.file.key:
                    made.nodes.append((rule, self._key(rule, parts, which, missing)))
            made.nodes.sort(key=lambda n: n[0].index)
            for number, part in enumerate(parts):
                if part.numbered:
                    at = np.empty(part.rows, np.int64)
                    at[rows[which == number]] = np.flatnonzero(which == number)
                    made.rows.append((part.numbered, at))
            yield made
        self._scans.clear()

    def _order(self, parts: list[_Part]) -> tuple[Numbers, Numbers]:
        """Return for each row of the stack which part it is of, and which row of that."""
        order = self.stack.order
        rank = [order.index(p.role) if p.role in order else len(order) for p in parts]
        which = np.repeat(np.arange(len(parts)), [p.rows for p in parts])
        rows = np.concatenate([np.arange(p.rows) for p in parts])
        ranks = np.repeat(rank, [p.rows for p in parts])
        by = next((b for b in (STACK_ROW, *self.stack.by) if self._timed(parts, rank, b)), "")
        if by:
            times = [p.times.get(by, np.full(p.rows, -np.inf)) for p in parts]
            chosen = np.lexsort((rows, which, ranks, np.concatenate(times)))
        else:
            chosen = np.lexsort((rows, which, ranks))
        return which[chosen], rows[chosen]

    def _timed(self, parts: list[_Part], rank: list[int], by: str) -> bool:
        """Tell whether a field orders the rows: records that lack it must come before the others by their role."""
        there = [r for p, r in zip(parts, rank, strict=True) if by in p.times]
        lacking = [r for p, r in zip(parts, rank, strict=True) if by not in p.times]
        return bool(there) and (not lacking or (max(lacking) < min(there) and by != STACK_ROW))

    def _node(
        self, rule: Rule, parts: list[_Part], which: Numbers, rows: Numbers, missing: Numbers
    ) -> NewDataset | Virtual | Link | None:
        columns = [p.columns[rule.index] for p in parts]
        known = [c for c in columns if c is not None]
        if not known and not rule.file.required:
            return None
        for part, column in zip(parts, columns, strict=True):
            if column is None:
                raise UsageError(
                    f"{part.source} has no {rule.file.field}, which {rule.where} puts into a stack",
                    f"say what stands there for it: absent: {{{part.role}: 0}}",
                )
        gone = np.concatenate(
            [np.zeros(p.rows, bool) if c.gone is None else c.gone for p, c in zip(parts, known, strict=True)]
        )[_flat(parts, which, rows)]
        missing |= gone
        attrs = shared_attrs(known, rule)
        attrs.pop("interpretation", None)  # of NXdata; that of a detector has none
        if gone.any():
            attrs[MISSING_ROWS] = np.flatnonzero(gone)
        if not known[0].path:
            values = np.concatenate(one_type([c.values for c in known if c.values is not None], known, rule))
            chosen = values[_flat(parts, which, rows)]
            return NewDataset(Values(chosen, TEXT if is_text(known[0].dtype) else None), attrs)
        main = max(range(len(parts)), key=lambda i: (parts[i].role == self.stack.order[-1], parts[i].rows))
        dtype = frames_type(known, rule, known[main])
        if len(known) == 1 and dtype == known[0].dtype and bool((np.diff(rows) > 0).all()):
            return Link(known[0].path, "hard")
        return Virtual(list(_runs(known, which, rows)), (len(rows), *known[0].item), dtype, attrs)

    def _key(self, rule: Rule, parts: list[_Part], which: Numbers, missing: Numbers) -> NewDataset:
        """Return the dataset that says of what role each row is."""
        values = rule.file.values
        if not values:
            names = np.array([p.role for p in parts], dtype=object)
            return NewDataset(Values(names[which], TEXT))
        unknown = next((p for p in parts if p.role not in values), None)
        if unknown is not None:
            raise _unnamed(rule, unknown.source, unknown.role)
        dtype = np.dtype(rule.file.dtype or np.int64)
        out = np.array([values[p.role] for p in parts], dtype)[which]
        if missing.any() and INVALID in values:
            out[missing] = values[INVALID]
            count = int(missing.sum())
            self.report.notice(
                f"{parts[-1].source}: of {count} rows of the stack something is missing; they are marked as {INVALID}"
            )
        return NewDataset(Values(out))


def _flat(parts: list[_Part], which: Numbers, rows: Numbers) -> Numbers:
    """Return where the rows of the stack are among those of the parts, one behind the other."""
    starts = np.concatenate([[0], np.cumsum([p.rows for p in parts])[:-1]])
    return np.asarray(starts[which] + rows)


def _runs(columns: Sequence[Column], which: Numbers, rows: Numbers) -> Iterator[Run]:
    breaks = np.flatnonzero((np.diff(which) != 0) | (np.diff(rows) != 1)) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(rows)]):
        yield Run(columns[int(which[start])].path, int(rows[start]), stop - start)


def _check_alike(first: _Part, other: _Part) -> None:
    """Refuse records whose frames have different shapes."""
    for index, column in first.columns.items():
        found = other.columns[index]
        if column is not None and found is not None and column.item != found.item:
            raise _unlike((first.source, column.item), (other.source, found.item))


def _unlike(*parts: tuple[str, tuple[int, ...]]) -> UsageError:
    """Return the error that two records, of these frames, are no stack."""
    shapes = [" x ".join(map(str, item)) or "single values" for _, item in parts]
    return UsageError(
        f"{parts[0][0]} and {parts[1][0]} cannot be one stack: frames of {shapes[0]} and of {shapes[1]}",
        "leave one of them out, or write them without a stack",
    )


def check_frames(layout: Layout, records: Sequence[tuple[str, str, tuple[int, ...]]]) -> None:
    """Refuse records that cannot be one stack, as far as names, roles and shapes of frames tell it beforehand.

    Raises
    ------
    UsageError
        When shapes differ, or a role has no number.
    """
    for source, role, shape in records:
        if shape != records[0][2]:
            raise _unlike((records[0][0], records[0][2]), (source, shape))
        for rule in layout.stacked:
            if rule.file.key and rule.file.values and role not in rule.file.values:
                raise _unnamed(rule, source, role)


def _unnamed(rule: Rule, source: str, role: str) -> UsageError:
    return UsageError(
        f"{source}: its {rule.file.key} is {role}, which has no number at {rule.where}",
        f"named are {', '.join(rule.file.values)}",
    )


def keyed(record: Record, layout: Layout, taken: dict[str, int]) -> Record:
    """Return a record with a key that has what the stack runs over: by the name of its file where the key lacks it.

    ``taken`` counts the records of each role that were named so.
    """
    stack = layout.stack
    if stack is None or stack.over in record.key:
        return record
    role = role_of_file(record.source.partition("::")[0], layout.series, stack.order[-1])
    taken[role] = taken.get(role, 0) + 1
    name = role if taken[role] == 1 else f"{role}_{taken[role]}"
    return replace(record, key={**{k: v for k, v in record.key.items() if k in layout.key}, stack.over: name})
