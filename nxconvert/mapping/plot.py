"""What the NeXus attributes of a group say about its plot: signal, axes, errors, auxiliary signals.

Read as files have them: the attributes of today, the old ``@signal=1`` and ``@axes`` of datasets, and NXcanSAS's
``I_axes``, ``Q_indices`` and ``uncertainties``. Source: NeXus manual, "NXdata" and "Associating plottable data".
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.errors import NxconvertError
from nxconvert.mapping.model import MISSING_ROWS
from nxconvert.tree import Dataset, Group

WRITTEN = frozenset({"NX_class", "signal", "axes", "auxiliary_signals"})
"""Attributes of a group that a mapping writes itself."""

GUESSED = "guessed_role"
"""Attribute of a dataset whose role nobody stated when its table was read: what it was taken for."""

WRITTEN_ON_FIELDS = frozenset({"signal", "axes", "axis", "primary", "target", "uncertainties", "uncertainty", GUESSED})
"""Attributes of a dataset that a mapping writes itself, or that the attributes of the group replace."""

OWN_ATTRIBUTES = WRITTEN_ON_FIELDS | {"units", MISSING_ROWS}
"""Attributes of a dataset that no rule may take from it: what a field is without them is not known."""


@dataclass(frozen=True)
class Plot:
    """What belongs to a plot, by name in its group.

    Attributes
    ----------
    signal
        The signal, or an empty string.
    shape
        The signal's; where there is none, that of a grid that the axes make.
    labels
        For each dimension of the signal the name of the axis that labels it, or None.
    spans
        For each axis the dimensions of the signal that it runs along.
    auxiliary
        Other signals.
    errors
        Name of the errors -> whose they are.
    """

    signal: str = ""
    labels: tuple[str | None, ...] = ()
    spans: dict[str, tuple[int, ...]] | None = None
    auxiliary: tuple[str, ...] = ()
    errors: dict[str, str] | None = None
    shape: tuple[int, ...] = ()

    def names(self, role: str) -> list[str]:
        """Return the names that a role step follows."""
        if role == "signal":
            return [self.signal] if self.signal else []
        if role == "axes":
            return list(self.spans or {})
        if role == "auxiliary_signals":
            return list(self.auxiliary)
        return list(self.errors or {})


def plot_of(group: Group) -> Plot:
    """Read what a group says about its plot.

    Parameters
    ----------
    group
        Any group; one without a signal has the axes that its attribute names, one without them an empty plot.
    """
    attrs = group.attrs
    signal, auxiliary = _signals(group, attrs)
    dataset = _dataset(group, signal)
    if dataset is None:
        return _without_signal(group, attrs)
    listed = _listed_axes(group, attrs, signal, dataset)
    labels, spans = _fit(group, attrs, listed, dataset.shape)
    spans.pop(signal, None)
    errors = _errors(group, attrs, [signal, *auxiliary, *spans])
    auxiliary = tuple(a for a in auxiliary if a not in spans)
    errors = {e: of for e, of in errors.items() if e not in spans}
    return Plot(signal, labels, spans, auxiliary, errors, dataset.shape)


def _without_signal(group: Group, attrs: Any) -> Plot:
    """Return the axes that ``@axes`` of a group names, if they are all there, one for each dimension."""
    names = _names(attrs.get("axes"))
    shapes = [axis.shape if axis is not None else () for axis in (_dataset(group, name) for name in names)]
    if not names or any(len(shape) != 1 for shape in shapes):
        return Plot()
    shape = tuple(n for (n,) in shapes)
    labels, spans = _fit(group, attrs, names, shape)
    return Plot("", labels, spans, (), _errors(group, attrs, []), shape)


def _dataset(group: Group, name: str) -> Dataset | None:
    if not name:
        return None
    try:
        node = group.child(name)
    except NxconvertError:
        return None  # a link that leads nowhere is reported where its name is read
    return node if isinstance(node, Dataset) else None


def _names(value: Any) -> list[str]:
    if isinstance(value, str):
        text = value.strip().strip("[]")
        return [p.strip() for p in re.split(r"[:,]", text)] if text else []
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        return [str(v) for v in value.flat]
    return []


def _signals(group: Group, attrs: Any) -> tuple[str, tuple[str, ...]]:
    found = _names(attrs["signal"])[:1] if "signal" in attrs else []
    if found and found[0] in group:
        return found[0], tuple(n for n in _names(attrs.get("auxiliary_signals")) if n in group)
    marked: list[tuple[int, str]] = []
    for name in group:
        node = _dataset(group, name)
        number = node.attrs.get("signal") if node is not None else None
        if number is not None and (rank := _number(number)) is not None:
            marked.append((rank, name))
    marked.sort()
    names = [name for _, name in marked]
    return (names[0], tuple(names[1:])) if names else ("", ())


def _number(value: Any) -> int | None:
    try:
        return int(np.asarray(value).flat[0])
    except (ValueError, TypeError, IndexError):
        return None


def _listed_axes(group: Group, attrs: Any, signal: str, dataset: Dataset) -> list[str]:
    for value in (attrs.get("axes"), attrs.get(f"{signal}_axes"), dataset.attrs.get("axes")):
        names = _names(value)
        if names:
            return [_component(group, names, i) for i in range(len(names))]
    numbered: dict[int, tuple[int, str]] = {}
    for name in group:
        node = _dataset(group, name)
        if node is None or "axis" not in node.attrs:
            continue
        number = _number(node.attrs["axis"])
        primary = _number(node.attrs.get("primary", 0)) or 0
        if number is not None and (number not in numbered or (primary == 1 and numbered[number][0] != 1)):
            numbered[number] = (primary, name)
    if not numbered:
        return []
    return [numbered[i][1] if i in numbered else "." for i in range(1, max(numbered) + 1)]


def _component(group: Group, names: list[str], position: int) -> str:
    """Return the axis at a position; NXcanSAS files say ``Q,Q`` where the datasets are ``Qx`` and ``Qy``."""
    name = names[position]
    part = names[:position].count(name)
    if name not in group and names.count(name) > 1 and part < 3 and name + "xyz"[part] in group:
        return name + "xyz"[part]
    return name


def _fit(
    group: Group, attrs: Any, listed: list[str], shape: tuple[int, ...]
) -> tuple[tuple[str | None, ...], dict[str, tuple[int, ...]]]:
    labels: list[str | None] = [None] * len(shape)
    spans: dict[str, tuple[int, ...]] = {}
    for position, name in enumerate(listed):
        axis = _dataset(group, name) if name != "." else None
        if axis is None or not axis.shape:
            continue
        span = _span(axis.shape, shape, position, _indices(attrs.get(f"{name}_indices")))
        if span is None or name in spans:
            continue
        spans[name] = span
        home = position if position in span else span[0]
        if labels[home] is None:
            labels[home] = name
    return tuple(labels), spans


def _indices(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(int(p) for p in re.findall(r"\d+", value))
    array = np.asarray(value)
    return tuple(int(v) for v in array.flat) if array.dtype.kind in "iu" else ()


def _span(
    axis: tuple[int, ...], shape: tuple[int, ...], position: int, indices: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Find the dimensions an axis runs along; its position counts before what ``_indices`` says, lengths decide."""
    if len(axis) > 1:
        for span in (indices, tuple(range(len(axis)))):
            if len(span) == len(axis) and all(
                d < len(shape) and n == shape[d] for d, n in zip(span, axis, strict=True)
            ):
                return span
        return None
    for dimension in (position, *indices):
        if dimension < len(shape) and axis[0] in (shape[dimension], shape[dimension] + 1):
            return (dimension,)
    return None


def _errors(group: Group, attrs: Any, signals: list[str]) -> dict[str, str]:
    errors: dict[str, str] = {}
    for name in group:
        if name.endswith("_errors") and name[:-7] in group:
            errors[name] = name[:-7]
    for signal in signals:
        node = _dataset(group, signal)
        for key in ("uncertainties", "uncertainty"):
            for named in (node.attrs.get(key) if node is not None else None, attrs.get(f"{signal}_{key}")):
                if isinstance(named, str) and named in group:
                    errors.setdefault(named, signal)
    if "errors" in group and signals:
        errors.setdefault("errors", signals[0])
    return errors
