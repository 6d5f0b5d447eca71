"""The part of a tree that a record becomes, while it is made; and what earlier records of the same tree have become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from nxconvert.array import decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, UsageError
from nxconvert.mapping.model import Rule
from nxconvert.mapping.steps import Step, to_tree_name
from nxconvert.record import Field
from nxconvert.tree import Link, NewDataset, NewGroup, Node, Virtual


@dataclass
class Imported:
    """The part of a tree that one record becomes.

    Attributes
    ----------
    root
        The root, with all that is known before values are read.
    paths
        Field name -> path of its dataset.
    entry
        Path of the NXentry, or an empty string.
    attributes
        Fields that are attributes of datasets: the rule, what it captured, the field, and whose it is. They are written
        when all datasets are there.
    """

    root: NewGroup
    paths: dict[str, str] = field(default_factory=dict)
    entry: str = ""
    attributes: list[tuple[Rule, Mapping[str, str], Field, str]] = field(default_factory=list)

    def home(self, steps: Sequence[Step], key: Mapping[str, str], rule: Rule) -> tuple[NewGroup, str]:
        """Return the group of the last of some steps, made when it is not there, and that step's name."""
        group = self.root
        for step in steps[:-1]:
            if name := name_of(step, key, rule):
                group = group.require(name, step.classes[0] if step.classes else "")
                if group.nx_class == "NXentry":
                    self.entry = group.path
        return group, name_of(steps[-1], key, rule)

    def node(self, path: str) -> Node | Link | None:
        """Return what the tree has at a path; the last step may be a link."""
        group: Any = self.root
        for name in path.strip("/").split("/"):
            group = group.children.get(name) if isinstance(group, NewGroup) else None
        return group if isinstance(group, Node | Link) else None

    def dataset(self, path: str) -> NewDataset | Virtual | None:
        """Return the dataset at a path, or the one that has that path as a second name; None for anything else."""
        node = self.node(path)
        node = self.node(node.path) if isinstance(node, Link) and node.kind == "hard" else node
        return node if isinstance(node, NewDataset | Virtual) else None

    def link(self, path: str, kind: str = "soft") -> Link:
        """Return a link to what is at a path, which says where it is itself, as NeXus wants of what is linked."""
        node = self.node(path)
        if isinstance(node, NewDataset | Virtual):
            node.set_attr("target", path)
        return Link(path, kind)

    def lead(self, above: int = 0) -> None:
        """Lead viewers from the root to the plot, by the attribute ``default`` of each group on the way.

        Of the groups on the way the first few (``above``) are left as they are.
        """
        if not above:
            self.root.attrs["default"] = self.entry.strip("/").split("/")[0] if self.entry else ""
        pending = [self.root]
        while pending:
            group = pending.pop(0)
            if group.nx_class == "NXdata" and "signal" in group.attrs:
                parts = group.path.strip("/").split("/")
                for depth, name in enumerate(parts[above:], above):
                    parent = self.root["/".join(parts[:depth])]
                    assert isinstance(parent, NewGroup)
                    parent.attrs.setdefault("default", name)
            pending.extend(c for c in group.children.values() if isinstance(c, NewGroup))
        if not self.root.attrs.get("default"):
            self.root.attrs.pop("default", None)


class Earlier:
    """What earlier records have become that are imported into one tree."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[np.ndarray[Any, Any], str]] = {}
        self._columns: dict[str, str] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._values or path in self._columns

    def shares(self, path: str) -> bool:
        """Tell whether a path has a header value, which records share."""
        return path in self._values

    def note(self, path: str, values: np.ndarray[Any, Any], source: str) -> None:
        """Note a header value that was written."""
        self._values[path] = (values, source)

    def refuse_twice(self, path: str, source: str) -> None:
        """Refuse a column that an earlier record has been."""
        first = self._columns.setdefault(path, source)
        if first != source:
            raise InputError(
                f"{source} and {first} would both be {path}",
                "they have one key: leave one of them out, or convert them into files of their own",
            )

    def known(self, path: str, f: Field) -> bool:
        """Tell whether an earlier record wrote this header value, which both share: the title of their entry."""
        values = f.values.read()
        values = decode(values) if is_text(f.dtype) else values
        if path not in self._values:
            self.note(path, values, f.source)
            return False
        first, source = self._values[path]
        if not np.array_equal(first, values):
            raise InputError(
                f"{f.source} and {source} differ, but both would be {path}", "convert them into files of their own"
            )
        return True


def name_of(step: Step, bound: Mapping[str, str], rule: Rule) -> str:
    """Return what a step is called in a tree; an empty string for one that is left out.

    Raises
    ------
    UsageError
        When nothing says it.
    """
    if not step.captures:
        return step.name
    name = bound.get(step.name) or step.default
    if not name and not step.optional:
        raise UsageError(
            f"{rule.where}: nothing says what {{{step.name}}} is called", f"give it a default: {{{step.name}=NAME}}"
        )
    return name if step.attribute else to_tree_name(name)


def path_to(steps: Sequence[Step], bound: Mapping[str, str], rule: Rule) -> str:
    """Return the path that steps of a rule lead to in a tree."""
    return "/" + "/".join(name for step in steps if (name := name_of(step, bound, rule)))
