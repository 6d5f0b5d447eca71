"""Where two records or two trees differ, exactly: values bit by bit, types, attributes, roles, what is missing.

NaN equals NaN, whatever its payload; -0.0 is not 0.0. A column that ends early equals one whose last rows are masked.
Values are compared as ``nxconvert.comparison`` does; but here the order of names, keys, mappings and guesses count too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from operator import eq
from typing import Any

import numpy as np

from nxconvert.array import Array, as_array
from nxconvert.comparison.values import comparable, type_of, unequal
from nxconvert.dataclass import dataclass
from nxconvert.record import Field, Record
from nxconvert.tree import Dataset, Group, Node


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Attributes
    ----------
    what
        The field, ``FIELD@attribute``, the path of a node, or a part of the record such as ``key``.
    how
        What differs.
    """

    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


def differences(a: Record | Group, b: Record | Group) -> list[Difference]:
    """List the differences of two records or of two trees; none when they are equal."""
    if isinstance(a, Record) and isinstance(b, Record):
        return record_differences(a, b)
    if isinstance(a, Group) and isinstance(b, Group):
        return tree_differences(a, b)
    return [Difference("/", f"{type(a).__name__} is not {type(b).__name__}")]


def record_differences(a: Record, b: Record) -> list[Difference]:
    """List the differences of two records. Where they came from takes no part."""
    return list(_record(a, b))


def _record(a: Record, b: Record) -> Iterator[Difference]:
    yield from _frame(a, b)
    for name in b.fields:
        if name not in a.fields:
            yield Difference(name, "was not there before")
    for f in a.fields.values():
        if f.name not in b.fields:
            yield Difference(f.name, "is gone")
        else:
            yield from _field(f, b.fields[f.name], a.rows or 0, b.rows or 0)


def _frame(a: Record, b: Record) -> Iterator[Difference]:
    """Compare all but the fields."""
    for part in ("key", "grid"):
        mine, other = dict(getattr(a, part) or {}), dict(getattr(b, part) or {})
        if _listed(mine) != _listed(other):
            yield Difference(part, f"{mine} became {other}")
    for part in ("mapping", "finished"):
        if getattr(a, part) != getattr(b, part):
            yield Difference(part, f"{getattr(a, part)!r} became {getattr(b, part)!r}")
    rows_a, rows_b = a.rows or 0, b.rows or 0
    if rows_a != rows_b:
        yield Difference("rows", f"{rows_a} became {rows_b}")
    for kind, mine_, others in (("columns", a.columns, b.columns), ("header", a.header, b.header)):
        names = [f.name for f in mine_ if f.name in b.fields]
        order = [f.name for f in others if f.name in a.fields]
        if names != order and set(names) == set(order):
            yield Difference(kind, f"their order {names} became {order}")


def _listed(value: Any) -> Any:
    """Make tuples lists, as JSON does."""
    if isinstance(value, Mapping):
        return {k: _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, tuple | list) else value


def _field(a: Field, b: Field, rows_a: int, rows_b: int) -> Iterator[Difference]:
    if a.per_row != b.per_row:
        yield Difference(a.name, f"per_row {a.per_row} became {b.per_row}")
        return
    if type_of(a.dtype) != type_of(b.dtype):
        yield Difference(a.name, f"type {type_of(a.dtype)} became {type_of(b.dtype)}")
    if a.item_shape != b.item_shape:
        yield Difference(a.name, f"shape {a.item_shape} became {b.item_shape}")
    for part in ("role", "guessed", "of"):
        if getattr(a, part) != getattr(b, part):
            yield Difference(f"{a.name}@{part}", f"{getattr(a, part)!s} became {getattr(b, part)!s}")
    if _labels(a) != _labels(b):
        yield Difference(f"{a.name}@axes", f"{_labels(a)} became {_labels(b)}")
    yield from _attributes(a.name, a.attrs, b.attrs)
    if type_of(a.dtype) == type_of(b.dtype) and a.item_shape == b.item_shape:
        if not a.per_row:
            yield from _values(a.name, a.values.read(), b.values.read())
        elif rows_a == rows_b:
            yield from _column(a, b, rows_a)


def _labels(f: Field) -> tuple[str | None, ...]:
    labels = list(f.axes)
    while labels and labels[-1] is None:
        labels.pop()
    return tuple(labels)


def _column(a: Field, b: Field, rows: int) -> Iterator[Difference]:
    missing_a, missing_b = missing_rows(a, rows), missing_rows(b, rows)
    if not np.array_equal(missing_a, missing_b):
        gone, back = np.flatnonzero(missing_b & ~missing_a), np.flatnonzero(missing_a & ~missing_b)
        yield Difference(a.name, f"rows {gone.tolist()} are missing now, rows {back.tolist()} no longer")
        return
    there = ~missing_a
    yield from _values(a.name, a.values.read()[there[: a.shape[0]]], b.values.read()[there[: b.shape[0]]])


def missing_rows(f: Field, rows: int) -> np.ndarray[Any, Any]:
    """Tell for each row of a record whether a column has no value there."""
    out = np.ones(rows, dtype=bool)
    n = min(f.shape[0], rows)
    out[:n] = f.mask.read((slice(0, n),)) if f.mask is not None else False
    return out


def tree_differences(a: Group, b: Group) -> list[Difference]:
    """List the differences of two trees: names and their order, links, attributes, types, values, identity."""
    return list(_tree(a, b))


def _tree(a: Group, b: Group) -> Iterator[Difference]:
    first_a: dict[Hashable, str] = {}
    first_b: dict[Hashable, str] = {}
    pending: list[tuple[str, Node | None, Node | None]] = [("/", a, b)]
    while pending:
        path, mine, other = pending.pop()
        if mine is None or other is None:
            continue
        seen = mine.identity in first_a if mine.identity is not None else False
        same_a, same_b = _first(mine, path, first_a), _first(other, path, first_b)
        if mine.identity is not None and same_a != same_b:
            yield Difference(path, f"was one with {same_a}, is one with {same_b}")
        if seen:
            continue
        yield from _attributes(path, mine.attrs, other.attrs)
        if isinstance(mine, Group) and isinstance(other, Group):
            yield from _children(mine, other, path.rstrip("/"), pending)
        elif isinstance(mine, Dataset) and isinstance(other, Dataset):
            yield from _arrays(path, mine, other)
        elif isinstance(mine, Group | Dataset) or isinstance(other, Group | Dataset):
            yield Difference(path, f"{_kind(mine)} became {_kind(other)}")


def _kind(node: Node) -> str:
    return "a group" if isinstance(node, Group) else "a dataset" if isinstance(node, Dataset) else "another object"


def _first(node: Node, path: str, known: dict[Hashable, str]) -> str:
    return path if node.identity is None else known.setdefault(node.identity, path)


def _children(
    a: Group, b: Group, path: str, pending: list[tuple[str, Node | None, Node | None]]
) -> Iterator[Difference]:
    names_a, names_b = list(a), list(b)
    for name in names_b:
        if name not in names_a:
            yield Difference(f"{path}/{name}", "was not there before")
    if names_a != names_b and set(names_a) == set(names_b):
        yield Difference(path or "/", f"the order of {names_a} became {names_b}")
    for name in names_a:
        here = f"{path}/{name}"
        if name not in names_b:
            yield Difference(here, "is gone")
        elif a.link(name) != b.link(name):
            yield Difference(here, f"{a.link(name) or 'an object'} became {b.link(name) or 'an object'}")
        elif a.link(name) is None:
            pending.append((here, a.child(name), b.child(name)))


def _arrays(path: str, a: Array, b: Array) -> Iterator[Difference]:
    if type_of(a.dtype) != type_of(b.dtype):
        yield Difference(path, f"type {type_of(a.dtype)} became {type_of(b.dtype)}")
    elif a.shape != b.shape:
        yield Difference(path, f"shape {a.shape} became {b.shape}")
    else:
        yield from _values(path, a.read(), b.read())


def _attributes(where: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    for name in b:
        if name not in a:
            yield Difference(f"{where}@{name}", "was not there before")
    for name, value in a.items():
        if name not in b:
            yield Difference(f"{where}@{name}", "is gone")
        elif not same_attribute(value, b[name]):
            yield Difference(f"{where}@{name}", f"{value!r} became {b[name]!r}")


def same_attribute(a: Any, b: Any) -> bool:
    """Tell whether two values of an attribute are equal in value, shape and type."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    if not isinstance(a, np.ndarray | np.generic | float | int | bool | list | tuple):
        return bool(type(a) is type(b) and (a == b or repr(a) == repr(b)))
    left, right = as_array(a), as_array(b)
    return type_of(left.dtype) == type_of(right.dtype) and same_values(left, right)


def _values(what: str, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Iterator[Difference]:
    if a.shape != b.shape:
        yield Difference(what, f"shape {a.shape} became {b.shape}")
    elif not comparable(a.dtype, b.dtype):
        yield Difference(what, f"values of {a.dtype} became such of {b.dtype}")
    elif (wrong := unequal(a, b, same=eq)).any():
        index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        at = f"[{', '.join(map(str, index))}] " if index else ""
        yield Difference(what, f"{at}{a[index]!r} became {b[index]!r}")


def same_values(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Tell whether two arrays have the same shape and the same values, bit by bit but for the payload of NaN."""
    return a.shape == b.shape and comparable(a.dtype, b.dtype) and not unequal(a, b, same=eq).any()
