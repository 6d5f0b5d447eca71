"""Finding what paths match in a tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from nxconvert.array import decode, is_text
from nxconvert.errors import NxconvertError
from nxconvert.format import Report, Tree
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.plot import OWN_ATTRIBUTES, WRITTEN, Plot, plot_of
from nxconvert.mapping.steps import Kind, Step, from_tree_name, to_tree_name
from nxconvert.tree import Dataset, Group, Node


class Walker:
    """Finds what paths match, keeping the groups of one record at hand."""

    def __init__(self, root: Group, report: Report) -> None:
        self.root, self.report = root, report
        self._nodes: dict[tuple[str, str], Node | None] = {}
        self._classes: dict[str, str] = {}
        self._plots: dict[str, Plot] = {}

    def forget(self) -> None:
        """Let go of all nodes."""
        self._nodes.clear()
        self._classes.clear()
        self._plots.clear()

    def plot(self, group: Group, path: str) -> Plot:
        """Return what a group says about its plot."""
        if path not in self._plots:
            self._plots[path] = plot_of(group)
        return self._plots[path]

    def child(self, group: Group, path: str, name: str) -> Node | None:
        """Return a child as ``_open`` does, but open it once for a record."""
        if (path, name) not in self._nodes:
            self._nodes[path, name] = self._open(group, name)
        return self._nodes[path, name]

    def _open(self, group: Group, name: str) -> Node | None:
        """Return a child, or None when it is not there or leads nowhere, which is reported."""
        try:
            return group.child(name)
        except NxconvertError as error:
            self.report.notice(f"{error.message}" + (f" ({error.tip})" if error.tip else ""))
            return None

    def find(
        self, steps: tuple[Step, ...], bound: dict[str, str], *, on_datasets: bool = False
    ) -> Iterator[tuple[Node | None, dict[str, str], str, Any, Plot | None, str]]:
        """Yield every match: node, bindings, path, attribute, plot and the last name.

        With ``on_datasets`` the last step is an attribute of datasets, not of groups.
        """
        if on_datasets:
            for node, here, path, *_ in self.find(steps[:-1], bound):
                if isinstance(node, Dataset):
                    yield from _named(node.attrs, path, steps[-1], here, OWN_ATTRIBUTES)
            return
        for group, path, here in self._groups(self.root, "", steps[:-1], bound):
            yield from self._last(group, path, steps[-1], here)

    def has(self, paths: Iterable[tuple[Step, ...]]) -> bool:
        """Tell whether something matches each of some paths."""
        return all(next(self.find(steps, {}), None) is not None for steps in paths)

    def dataset(self, rule: Rule, bound: Mapping[str, str]) -> Dataset | None:
        """Return the first dataset that a rule finds."""
        found = (node for node, *_ in self.find(rule.steps, dict(bound)) if isinstance(node, Dataset))
        return next(found, None)

    def places(self, layout: Layout) -> Iterator[tuple[dict[str, str], str]]:
        """Yield the bindings and path of each place of a record: a group, unless a rule takes what is there itself."""
        if any(rule.steps == layout.prefix for rule in layout.rules):
            yield from ((bound, path) for _, bound, path, *_ in self.find(layout.prefix, {}))
        else:
            yield from ((bound, path) for _, path, bound in self._groups(self.root, "", layout.prefix, {}))

    def groups(self, steps: tuple[Step, ...]) -> Iterator[str]:
        """Yield the paths of the groups that steps lead to."""
        return (path for _, path, _ in self._groups(self.root, "", steps, {}))

    def _groups(
        self, group: Group, path: str, steps: tuple[Step, ...], bound: dict[str, str]
    ) -> Iterator[tuple[Group, str, dict[str, str]]]:
        """Yield the groups that steps lead to, with their paths and the bindings."""
        if not steps:
            yield group, path, bound
            return
        step, rest = steps[0], steps[1:]
        known = bound.get(step.name) if step.captures else None
        if step.optional and not known:
            yield from self._groups(group, path, rest, {**bound, step.name: ""})
            if known == "":
                return
        if step.kind == Kind.DEEP:
            for deep, below in self._deep(group, path):
                yield from self._groups(deep, below, rest, bound)
            return
        plot = self.plot(group, path) if step.kind == Kind.ROLE and step.role != "default" else None
        for name in self._names(group, step, known, plot):
            node, below = self.child(group, path, name), f"{path}/{name}"
            if isinstance(node, Group) and self._takes(step, node, below):
                here = {**bound, step.name: from_tree_name(name)} if step.captures and not known else bound
                yield from self._groups(node, below, rest, here)

    def _last(self, group: Group, path: str, step: Step, bound: dict[str, str]) -> Iterator[Any]:
        """Yield the matches of the last step in a group: datasets, unless a class or an attribute is asked for."""
        if step.attribute:
            yield from self._attributes(group, path, step, bound)
            return
        known = bound.get(step.name) if step.captures else None
        if step.optional and known == "":
            return
        if step.kind == Kind.DEEP:
            yield from self._datasets(group, path, bound)
            return
        plot = self.plot(group, path) if step.kind == Kind.ROLE and step.role != "default" else None
        captured = step.name if step.captures and not known else ""
        kind: type[Node] = Group if step.classes else Dataset
        demanding, nodes = bool(step.classes or step.tests), self._nodes
        for name in self._names(group, step, known, plot):
            node, below = nodes.get((path, name)), f"{path}/{name}"
            node = self._open(group, name) if node is None else node
            if not isinstance(node, kind):
                if node is not None:
                    nodes[path, name] = node  # another rule goes through this group
            elif not demanding or self._takes(step, node, below):
                here = {**bound, captured: from_tree_name(name)} if captured else bound
                yield node, here, below, None, plot, name

    def _datasets(self, group: Group, path: str, bound: dict[str, str]) -> Iterator[Any]:
        """Yield all datasets in a group and below it, links not followed."""
        for deep, below in self._deep(group, path):
            for name in deep:
                node = None if deep.link(name) is not None else self._open(deep, name)
                if isinstance(node, Dataset):
                    yield node, bound, f"{below}/{name}", None, None, name

    def _deep(self, group: Group, path: str) -> Iterator[tuple[Group, str]]:
        """Yield a group and all groups below it, links not followed."""
        yield group, path
        for name in group:
            node = None if group.link(name) is not None else self._open(group, name)
            if isinstance(node, Group):
                yield from self._deep(node, f"{path}/{name}")

    def _names(self, group: Group, step: Step, known: str | None, plot: Plot | None) -> list[str]:
        if step.kind == Kind.LITERAL:
            return [step.name]
        if known:
            return [to_tree_name(known)]
        if step.role == "default":
            default = group.attrs.get("default")
            return [default] if isinstance(default, str) and default in group else []
        if plot is not None:
            return plot.names(step.role)
        return list(group)

    def _takes(self, step: Step, node: Node, path: str) -> bool:
        """Tell whether a node is of the class that a step asks for, and passes its tests."""
        if step.classes:
            if not isinstance(node, Group):
                return False
            if path not in self._classes:
                self._classes[path] = node.nx_class
            if self._classes[path] not in step.classes:
                return False
        return not step.tests or all(_equals(node, attr, value) for attr, value in step.tests)

    def _attributes(self, group: Group, path: str, step: Step, bound: dict[str, str]) -> Iterator[Any]:
        plot = self.plot(group, path)
        axes = {f"{name}_indices" for name in (plot.spans or {})}
        yield from _named(group.attrs, path, step, bound, WRITTEN | axes)


def _named(
    attrs: Mapping[str, Any], path: str, step: Step, bound: dict[str, str], own: Collection[str]
) -> Iterator[tuple[None, dict[str, str], str, Any, None, str]]:
    """Yield the attributes that a step names; those that a mapping writes itself (``own``) are not captured."""
    for name, value in attrs.items():
        if step.captures and name not in own:
            yield None, {**bound, step.name: name}, f"{path}@{name}", value, None, name
        elif not step.captures and name == step.name:
            yield None, bound, f"{path}@{name}", value, None, name


def _equals(node: Node, attr: str, value: str) -> bool:
    if attr:
        found = node.attrs.get(attr)
    elif isinstance(node, Dataset) and node.size == 1:
        found = node.read()
        found = decode(found) if is_text(node.dtype) else found
        found = found.flat[0]
    else:
        return False
    return found is not None and str(found) in value.split("|")


def steps_there(steps: tuple[Step, ...], tree: Tree, report: Report) -> tuple[int, str]:
    """Tell how many steps of a path a tree has, and the path of the first object that has that many."""
    walker = Walker(tree.root, report)
    for count in range(len(steps), 0, -1):
        found = next(walker.find(steps[:count], {}), None) if count == len(steps) else None
        if found is not None:
            return count, found[2]
        below = next(walker.groups(steps[:count]), None) if count < len(steps) else None
        if below is not None:
            return count, below
    return 0, ""
