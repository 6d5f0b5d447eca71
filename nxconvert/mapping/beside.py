"""What a mapping writes beside the fields of a record: constants, absent fields, second names, attributes, links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Values
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.mapping.absent import is_whole, stand_in, whole
from nxconvert.mapping.made import Earlier, Imported, name_of, path_to
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stated import imported, literal
from nxconvert.mapping.steps import named_from
from nxconvert.record import Field, Record, plain
from nxconvert.tree import NewDataset


class Beside:
    """Writes what the rules of a mapping say that is no field of the record.

    Parameters
    ----------
    layout, report
        The mapping, and what is told.
    earlier
        What records before this one have become.
    """

    def __init__(self, layout: Layout, report: Report, earlier: Earlier) -> None:
        self.layout, self.report, self.earlier = layout, report, earlier

    def constants(self, made: Imported, key: Mapping[str, str]) -> None:
        """Write what the mapping says is always the same."""
        for rule in self.layout.constants:
            if not rule.imports or rule.index in self.layout.on_datasets:
                continue
            group, name = made.home(rule.steps, key, rule)
            values = literal(rule.file.constant, rule.file.dtype)
            if rule.steps[-1].attribute:
                group.attrs[name] = plain(values)
            elif not self.earlier.shares(path := f"{group.path.rstrip('/')}/{name}"):
                self.earlier.note(path, values.read(), rule.where)
                group.add(name, NewDataset(values, {"units": rule.file.units} if rule.file.units else None))

    def also(self, made: Imported, key: Mapping[str, str]) -> None:
        """Give what came to another place a second name, where the mapping says that it stands in."""
        for rule in self.layout.rules:
            if not rule.file.also or rule.each == "stack" or not rule.imports:
                continue
            target = next((made.paths[n] for n in rule.file.also if n in made.paths), "")
            if not target:
                continue
            group, name = made.home(rule.steps, key, rule)
            if name not in group and not self.earlier.shares(f"{group.path.rstrip('/')}/{name}"):
                group.add(name, made.link(target, "hard"))

    def absent(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        """Write what the mapping says of fields that a record lacks; what those of a stack share is written last."""
        for rule in self.layout.rules:
            absent, stack = rule.file.absent, self.layout.stack
            if absent is None or not rule.imports or rule.file.field in record.fields:
                continue
            if rule.index in self.layout.on_datasets:
                continue  # an attribute is written when its dataset is there
            if stack is not None and bool(record.fields) is not rule.binds(stack.over):
                continue
            if (f := self._stand_in(rule, record)) is None:
                continue
            group, name = made.home(rule.steps, key, rule)
            path = f"{group.path.rstrip('/')}/{name}"
            if name in group or path in self.earlier:
                continue
            if rule.steps[-1].attribute:
                group.attrs[name] = plain(f.values)
            else:
                group.add(name, NewDataset(Values(f.values.read(), f.dtype), f.attrs))
                self.earlier.note(path, f.values.read(), rule.where)

    def attributes(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        """Write attributes of datasets, now that these are there: what fields are, then what is always the same."""
        for rule, bound, f, source in made.attributes:
            path, name = path_to(rule.steps[:-1], bound, rule), name_of(rule.steps[-1], bound, rule)
            node = made.dataset(path)
            if node is not None:
                refuse_another(path, node.attrs, name, f)
                self.earlier.known(f"{path}@{name}", f)  # records that share the dataset share its attribute
                node.set_attr(name, plain(f.values))
            elif not self.earlier.shares(path) or not self.earlier.known(f"{path}@{name}", f):
                self.report.lose(f.name, source, f"{rule.where} makes an attribute of it, and {path} is not there")
        for rule in self.layout.rules:
            constant, absent = rule.file.constant, rule.file.absent
            if (constant, absent) == (None, None) or rule.index not in self.layout.on_datasets or not rule.imports:
                continue
            node, name = made.dataset(path_to(rule.steps[:-1], key, rule)), name_of(rule.steps[-1], key, rule)
            if node is not None and name not in node.attrs:
                given = self._stand_in(rule, record) if constant is None else None
                if constant is not None or given is not None:
                    values = literal(constant, rule.file.dtype) if given is None else given.values
                    node.set_attr(name, plain(values))

    def _stand_in(self, rule: Rule, record: Record) -> Field | None:
        """Return what the mapping says of a field that a record lacks, as the tree has it; None when it cannot say."""
        if is_whole(rule.file.absent):
            f = whole(rule, record)
        else:
            f = stand_in(rule, rule.file.absent, record, record.rows if rule.each == "row" else None)
        return imported(rule, f, self.report) if f is not None and rule.file.states else f

    def links(self, made: Imported, key: Mapping[str, str]) -> None:
        """Make the links that the mapping states, to what is there."""
        for rule in self.layout.rules:
            if not rule.target:
                continue
            target = path_to(rule.target, key, rule)
            if made.node(target) is None:
                continue
            if rule.steps[-1].attribute:
                self._name_link(made, rule, key, target)
                continue
            group, name = made.home(rule.steps, key, rule)
            path = f"{group.path.rstrip('/')}/{name}"
            if name not in group and not self.earlier.shares(path):
                group.add(name, made.link(target))
                self.earlier.note(path, np.array(target, TEXT), rule.where)

    def _name_link(self, made: Imported, rule: Rule, key: Mapping[str, str], target: str) -> None:
        """Let an attribute that has no value name what it leads to."""
        attribute = rule.steps[-1].name
        if rule.index in self.layout.on_datasets:
            path = path_to(rule.steps[:-1], key, rule)
            node = made.dataset(path)
            if node is not None and attribute not in node.attrs:
                node.set_attr(attribute, named_from(path.rpartition("/")[0], target))
            return
        group, _ = made.home(rule.steps, key, rule)
        group.attrs.setdefault(attribute, named_from(group.path, target))


def refuse_another(path: str, attrs: Mapping[str, Any], name: str, f: Field) -> None:
    """Refuse an attribute that another field is, unless both say the same to the bit."""
    if name not in attrs:
        return
    a, b = np.asarray(attrs[name]), np.asarray(plain(f.values))
    bits = a.dtype == b.dtype and a.dtype.kind != "O" and a.tobytes() == b.tobytes()
    if a.shape != b.shape or not (bits or (a.dtype.kind == b.dtype.kind == "O" and np.array_equal(a, b))):
        message = f"{f.source}: {f.name} would be {path}@{name}, which is written twice"
        raise InputError(message, "leave one of the fields out")
