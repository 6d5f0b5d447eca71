"""Stacks on export: the rows of one dataset, taken apart into the records that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from nxconvert.array import Array, Box, Boxed, Values, decode, full_box, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.mapping import stated
from nxconvert.mapping.model import MISSING_ROWS, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.plot import WRITTEN_ON_FIELDS
from nxconvert.mapping.stack import STACK_ROW, role_of
from nxconvert.record import Field, Role
from nxconvert.tree import Dataset

Numbers = np.ndarray[Any, Any]

Look = Callable[[Rule], Dataset | None]
"""Returns the dataset that a rule finds."""


class Rows(Array):
    """Some rows of an array."""

    __slots__ = ("_array", "_rows")

    def __init__(self, array: Array, rows: Numbers) -> None:
        self._array, self._rows = array, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), *self._array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def read(self, box: Box | None = None) -> Numbers:
        inside = full_box(box, self.shape)
        rows = self._rows[inside[0]]
        out = np.empty((len(rows), *(s.stop - s.start for s in inside[1:])), self.dtype)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for start, stop in pairwise([0, *breaks.tolist(), len(rows)]) if len(rows) else ():
            first = int(rows[start])
            out[start:stop] = self._array.read((slice(first, first + stop - start), *inside[1:]))
        return out


@dataclass
class Stack:
    """A stack of a tree.

    Attributes
    ----------
    roles
        What each row is of; None when the tree does not say.
    """

    layout: Layout
    roles: Numbers | None

    @property
    def names(self) -> list[str]:
        """The roles that there are: in the order of the mapping, then the others."""
        assert self.layout.stack is not None
        found = set() if self.roles is None else set(self.roles.tolist())
        order = self.layout.stack.order
        return [*(r for r in order if r in found), *sorted(found - set(order))]


def stack_of(layout: Layout, look: Look) -> Stack:
    """Read what says of what role the rows of a stack are.

    Raises
    ------
    InputError
        When a number has no name.
    """
    for rule in layout.stacked:
        found = look(rule) if rule.file.key else None
        if found is None or len(found.shape) != 1:
            continue
        values = found.read()
        if is_text(found.dtype):
            return Stack(layout, np.array([str(v) for v in decode(values)], dtype=object))
        if not rule.file.values:
            return Stack(layout, values.astype(str).astype(object))
        names = {number: name for name, number in rule.file.values.items()}
        unknown = next((v for v in np.unique(values).tolist() if v not in names), None)
        if unknown is not None:
            raise InputError(
                f"{found.source}: {unknown} has no name in values: of {rule.where}",
                f"named are {', '.join(f'{k} ({v})' for k, v in names.items())}",
            )
        known = np.unique(values)
        table = np.array([names[v] for v in known.tolist()], dtype=object)
        return Stack(layout, table[np.searchsorted(known, values)] if len(values) else np.empty(0, object))
    return Stack(layout, None)


def has_place(layout: Layout, name: str) -> bool:
    """Tell whether a record of a stack has a place of its own for a field of rows."""
    assert layout.stack is not None
    over = layout.stack.over
    return any(
        r.imports and r.name is not None and r.each != "record" and r.binds(over) and not r.role and r.name.match(name)
        for r in layout.rules
    )


def taken(
    stack: Stack, role: str, look: Look, report: Report, own: Mapping[str, Field], wanted: Callable[[str], bool]
) -> Iterator[Field]:
    """Yield the fields that a record has of a stack.

    Parameters
    ----------
    role
        The record's value of what the stack runs over.
    own
        What the record has for itself.
    wanted
        Tells of a field whether it is looked for in the stack when the record does not have it.

    Raises
    ------
    InputError
        When it cannot be told which rows are the record's.
    """
    rules = [r for r in stack.layout.stacked if r.file.field and r.file.direction != "import"]
    found = [(r, d) for r in rules if wanted(r.file.field) and r.file.field not in own and (d := look(r)) is not None]
    if not found or stack.roles is None:
        return
    rows = _rows(stack, role, own)
    first = True
    for rule, dataset in found:
        if dataset.shape[:1] != stack.roles.shape:
            raise InputError(
                f"{dataset.source} has the shape {dataset.shape}, and the stack {len(stack.roles)} rows",
                f"{rule.where} wants one item for each of them",
            )
        yield _field(rule, dataset, rows, report, signal=first and len(dataset.shape) > 1)
        first = first and len(dataset.shape) == 1
    if STACK_ROW not in own:
        yield Field(STACK_ROW, Values(rows), per_row=True, source=found[0][1].source)


def _rows(stack: Stack, role: str, own: Mapping[str, Field]) -> Numbers:
    assert stack.layout.stack is not None
    assert stack.roles is not None
    if STACK_ROW in own:
        return own[STACK_ROW].values.read().astype(np.int64)
    base = role_of(role, stack.layout.stack.order)
    if base != role:
        raise InputError(f"nothing says which rows of the stack are those of {role}", f"the mapping needs {STACK_ROW}")
    return np.flatnonzero(stack.roles == role)


def _field(rule: Rule, dataset: Dataset, rows: Numbers, report: Report, *, signal: bool) -> Field:
    attrs = {k: v for k, v in dataset.attrs.items() if k not in WRITTEN_ON_FIELDS and k != MISSING_ROWS}
    gone = np.isin(rows, np.asarray(dataset.attrs.get(MISSING_ROWS, ()), dtype=np.int64))
    mask = Values(gone) if gone.any() else None
    role = Role.SIGNAL if signal else None
    successive = len(rows) > 0 and int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    box = (slice(int(rows[0]), int(rows[-1]) + 1),) if successive else ()
    values = Boxed(dataset, box) if successive else Rows(dataset, rows)
    f = Field(rule.file.field, values, True, (), role, attrs=attrs, mask=mask, source=dataset.source)
    return stated.exported(rule, f, report) if rule.file.states else f
