"""What a file holds, as items to be listed: names, shapes, types, units, links and where they lead, the default plot.

Only values of one item are read, and only small ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from nxconvert.array import decode, enum_of, is_text, type_name
from nxconvert.dataclass import dataclass
from nxconvert.errors import NxconvertError, PolicyError
from nxconvert.mapping.plot import plot_of
from nxconvert.record import Record
from nxconvert.tree import Dataset, Group, Link, Node, Ref

MANY = 30
"""Names of a group from which on only the first ``FEW`` are listed."""

FEW = 20

OPEN = 6
"""Groups in a group from which on only one of them is opened."""

DEEPEST = 64
"""Levels that are listed: files may nest groups without end."""

_SMALL = 64 << 10
_PLOTTED = ("NXdata", "SASdata")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a listing: a node of a tree, or a field of a record.

    Attributes
    ----------
    path, name
        Where it is, and what it is called there.
    depth
        Levels below where the listing began.
    kind
        ``group``, ``dataset``, ``type``, ``link`` (one that does not resolve), ``field`` (an item a row), ``header``,
        or ``more`` (names that were left out).
    nx_class
        The NeXus class of a group.
    shape, dtype, units, value
        Of a dataset or field; the value of a single one, or the title of a group that is not opened.
    roles
        ``default``, ``signal``, ``axis``, ``errors``, ``auxiliary``.
    link
        Where a link leads, as it is written.
    same_as
        The path of the same object, listed before.
    problem
        Why a link does not resolve, or what cannot be read.
    members
        How many names a group has, or were left out.
    opened
        Whether the members of a group follow.
    attrs
        All attributes.
    width
        Length of the longest name beside it.
    """

    path: str
    name: str
    depth: int
    kind: str
    nx_class: str = ""
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    units: str = ""
    value: Any = None
    roles: tuple[str, ...] = ()
    link: str = ""
    same_as: str = ""
    problem: str = ""
    members: int = 0
    opened: bool = True
    attrs: Mapping[str, Any] = field(default_factory=dict)
    width: int = 0


class Listing:
    """The listing of a tree.

    Parameters
    ----------
    whole
        Whether groups with many members are listed in full.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        self.seen: dict[Hashable, str] = {}

    def items(self, node: Node, path: str = "/") -> Iterator[Item]:
        """Yield an item for a node and for each below it; links are not followed any further."""
        item = self._described(node, path, path.rsplit("/", 1)[-1] or "/", 0)
        yield item
        if isinstance(node, Group):
            self.seen[node.identity] = path
            yield from self._below(node, path, 1, default=True)

    def _below(self, group: Group, path: str, depth: int, *, default: bool) -> Iterator[Item]:
        """List the members of a group; ``default`` says that the default chain has led here."""
        try:
            names, roles = list(group), _roles(group)
            chosen = group.attrs.get("default") if default else None
        except NxconvertError as error:
            yield Item(path, "...", depth, "link", problem=str(error))
            return
        shown = names if self.whole or depth == 1 or len(names) <= MANY else names[:FEW]
        items = [self._child(group, path, name, depth, roles.get(name, ())) for name in shown]
        groups = [i.name for i in items if i.kind == "group" and i.opened]
        few = self.whole or len(groups) <= OPEN
        opened = groups if few else [chosen if chosen in groups else groups[0]]
        width = max((len(i.name) for i in items), default=0)
        for item in items:
            here = replace(item, width=width)
            led = isinstance(chosen, str) and item.name == chosen
            if led:
                here = replace(here, roles=("default", *here.roles))
            node = group.child(item.name) if item.kind == "group" and item.opened else None
            if not isinstance(node, Group):
                yield here
            elif item.name in opened and depth < DEEPEST:
                yield here
                yield from self._below(node, item.path, depth + 1, default=led)
            else:
                yield replace(here, opened=False, value=_title(node))
        if len(shown) < len(names):
            yield Item(path, "...", depth, "more", members=len(names) - len(shown))

    def _child(self, group: Group, path: str, name: str, depth: int, roles: tuple[str, ...]) -> Item:
        here = f"{path.rstrip('/')}/{name}"
        link: Link | None = None
        try:
            link = group.link(name)
            node = group.child(name)
            if node is None:
                return Item(here, name, depth, "link", problem="it cannot be opened")
            item = self._described(node, here, name, depth)
            first = self.seen.setdefault(node.identity, here) if link is None and node.identity is not None else here
        except NxconvertError as error:
            kind = "refused" if isinstance(error, PolicyError) else "missing" if link else str(error)
            return Item(here, name, depth, "link", link=str(link or ""), problem=kind)
        if link is not None:
            item = replace(item, link=str(link), opened=False)
        elif first != here:
            item = replace(item, same_as=first, opened=False)
        return replace(item, roles=roles)

    def _described(self, node: Node, path: str, name: str, depth: int) -> Item:
        attrs = node.attrs
        if isinstance(node, Group):
            return Item(path, name, depth, "group", nx_class=node.nx_class, members=len(node), attrs=attrs)
        if not isinstance(node, Dataset):
            return Item(path, name, depth, "type", attrs=attrs)
        item = Item(path, name, depth, "dataset", shape=node.shape, units=_units(attrs), attrs=attrs)
        try:
            item = replace(item, dtype=short_type(node.dtype))
            return replace(item, value=single(node))
        except NxconvertError as error:
            return replace(item, problem=str(error))


def _roles(group: Group) -> dict[str, tuple[str, ...]]:
    if group.nx_class not in _PLOTTED:
        return {}
    try:
        plot = plot_of(group)
    except NxconvertError:
        return {}  # what cannot be read is told where its name is listed
    out: dict[str, tuple[str, ...]] = dict.fromkeys(plot.spans or {}, ("axis",))
    out |= dict.fromkeys(plot.errors or {}, ("errors",))
    out |= dict.fromkeys(plot.auxiliary, ("auxiliary",))
    return out | ({plot.signal: ("signal",)} if plot.signal else {})


def default_plot(root: Group) -> str:
    """Follow the ``default`` chain, and say what it plots: ``/1.1/plotselect: mu against energy``; or nothing."""
    group, path = root, ""
    for _ in range(DEEPEST):
        name = group.attrs.get("default")
        try:
            node = group[name] if isinstance(name, str) and name else None
        except (KeyError, NxconvertError):
            return f"{path}/{name} (missing)"
        if not isinstance(node, Group):
            break
        group, path = node, f"{path}/{name}"
    if not path or group.nx_class not in _PLOTTED:
        return ""
    plot = plot_of(group)
    axes = f" against {', '.join(plot.spans)}" if plot.spans else ""
    return f"{path}: {plot.signal}{axes}" if plot.signal else path


def _title(group: Group) -> Any:
    try:
        node = group.child("title") if "title" in group else None
        return single(node) if isinstance(node, Dataset) else None
    except NxconvertError:
        return None


def _units(attrs: Mapping[str, Any]) -> str:
    units = attrs.get("units", "")
    return units if isinstance(units, str) else " ".join(map(str, np.asarray(units).flat))


def single(values: Any) -> Any:
    """Return the value of an array that has only one, if it is small: text, number, name of an enumeration."""
    dtype = values.dtype
    if values.size != 1 or dtype.itemsize > _SMALL:
        return None
    array = values.read()
    value = (decode(array) if is_text(dtype) else array).reshape(-1)[0]
    names = {number: name for name, number in (enum_of(dtype) or {}).items()}
    return names.get(int(value), value) if names else value


def short_type(dtype: np.dtype[Any]) -> str:
    """Name a type for people: no encodings, and an enumeration without its names."""
    if enum_of(dtype) is not None:
        return f"enum {np.dtype(dtype.str).name}"
    return type_name(dtype).partition(":")[0] if dtype.kind == "S" else type_name(dtype)


def record_items(record: Record) -> Iterator[Item]:
    """Yield an item for each field of a record, columns first."""
    fields = [*record.columns, *record.header]
    width = max((len(f.name) for f in fields), default=0)
    for f in fields:
        roles = (f"{f.role} (guessed)" if f.guessed else str(f.role),) if f.role else ()
        item = Item(f.name, f.name, 1, "field" if f.per_row else "header", shape=f.shape, units=f.units, roles=roles)
        item = replace(item, dtype=short_type(f.dtype), attrs=f.attrs, width=width)
        try:
            yield item if f.per_row else replace(item, value=single(f.values))
        except NxconvertError as error:
            yield replace(item, problem=str(error))


def plain_value(value: Any) -> Any:
    """Return a value or an attribute as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Ref):
        return value.path
    if isinstance(value, np.ndarray) and value.dtype.names is None:
        return [plain_value(v) for v in value.reshape(-1)] if value.ndim <= 1 else [plain_value(v) for v in value]
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) else str(value)
