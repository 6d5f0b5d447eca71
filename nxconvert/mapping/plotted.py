"""Groups that viewers plot, as an import writes them: the fields of a record with roles, or links to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nxconvert.mapping.made import Imported, name_of
from nxconvert.mapping.model import ROLES, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.steps import parse, to_tree_name
from nxconvert.record import Field, Record, Role
from nxconvert.tree import Link, NewDataset, NewGroup


class PlotGroup:
    """Gathers the fields of a group that have roles, and writes its NeXus attributes."""

    def __init__(self, group: NewGroup) -> None:
        self.group = group
        self.fields: list[tuple[str, Field, NewDataset]] = []

    def add(self, name: str, f: Field, dataset: NewDataset) -> None:
        """Take one field."""
        self.fields.append((name, f, dataset))

    def finish(self) -> None:
        """Write signal, axes, auxiliary signals and whose errors are whose."""
        names = {f.name: name for name, f, _ in self.fields}
        signals = [(n, f) for n, f, _ in self.fields if f.role == Role.SIGNAL]
        auxiliary = [n for n, f, _ in self.fields if f.role == Role.AUXILIARY]
        axes = [(n, f) for n, f, _ in self.fields if f.role == Role.AXIS]
        if signals:
            self.group.attrs["signal"] = signals[0][0]
            self._axes(signals[0][1], axes, names)
        elif axes:
            others = [f for _, f, _ in self.fields if f.axes and f.role is None] or [axes[0][1]]
            self._axes(max(others, key=lambda f: len(f.axes)), axes, names)
        if signals[1:] or auxiliary:
            self.group.attrs["auxiliary_signals"] = np.array([n for n, _ in signals[1:]] + auxiliary, dtype=object)
        for name, f, _ in self.fields:
            if f.role == Role.ERRORS and f.of in names and name != f"{names[f.of]}_errors":
                whose = next(d for n, _, d in self.fields if n == names[f.of])
                whose.set_attr("uncertainties", name)

    def _axes(self, signal: Field, axes: list[tuple[str, Field]], names: dict[str, str]) -> None:
        if not axes:
            return
        known = {f.name for _, f in axes}
        labels = list(signal.axes) or [axes[0][1].name]
        labels += [None] * (len(signal.shape) - len(labels))
        written = [names[a] if a in known else "." for a in labels]
        self.group.attrs["axes"] = np.array(written, dtype=object)
        for name, f in axes:
            span = [labels.index(a) for a in f.axes if a in labels] if f.axes else [0]
            if len(span) == len(f.shape):
                self.group.attrs[f"{name}_indices"] = np.array(span, dtype=np.int64)


def add_default_groups(made: Imported, record: Record, key: Mapping[str, str], layout: Layout) -> None:
    """Add the groups that viewers plot, where a mapping has them apart from the data, of links to fields with roles."""
    for rule in layout.defaults:
        signals, axes = (_linked(rule, attribute, record, made) for attribute in ("signal", "axes"))
        if not signals:
            continue
        group = made.root
        for step in rule.steps:
            group = group.require(name_of(step, key, rule), step.classes[0] if step.classes else "")
        for f in [*axes, *signals]:
            path = made.paths[f.name]
            group.add(to_tree_name(f.name), made.link(path) if layout.definition else Link(path))
        group.attrs["signal"] = to_tree_name(signals[0].name)
        if axes:
            labels = signals[0].axes or (axes[0].name,)
            known = {f.name for f in axes}
            group.attrs["axes"] = np.array([to_tree_name(a) if a in known else "." for a in labels], dtype=object)


def _linked(rule: Rule, attribute: str, record: Record, made: Imported) -> list[Field]:
    """Return the fields that a default group links under an attribute, e.g. ``signal: "{y@signal}"``."""
    text = rule.file.links.get(attribute, "")
    if not text:
        return []
    (step,) = parse(text)
    return [f for f in record.role(ROLES[step.role]) if f.name in made.paths]
