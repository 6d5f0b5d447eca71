"""What the rules of a mapping find in a tree, without making records of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nxconvert.dataclass import dataclass
from nxconvert.format import Report, Tree
from nxconvert.mapping.export import Assembly, Constant, Exported
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.walk import Walker
from nxconvert.tree import Dataset, Node


@dataclass(frozen=True)
class Find:
    """One object of a tree, and the rule that takes it.

    Attributes
    ----------
    rule, field
        The rule, and the name of the field.
    path
        Where the object is; an attribute is ``PATH@NAME``.
    node
        The object; None for an attribute.
    """

    rule: Rule
    field: str
    path: str
    node: Node | None


def finds(tree: Tree, layout: Layout, report: Report) -> Iterator[tuple[Mapping[str, str], list[Find]]]:
    """Yield, for each record, its key and what its rules take; no values are read.

    Raises
    ------
    InputError
        When a rule that is required finds nothing.
    """
    exported = Exported(tree, layout, report)
    walker = Walker(tree.root, report)
    for bound, path in exported.keys_with_paths(walker):
        hits = Assembly(layout, walker, bound, path, ()).hits()
        found = [Find(h.rule, h.rule.name.fill(h.bound), h.path, h.node) for h in hits if h.rule.name is not None]
        found += _finds_of_stack(layout, walker, bound)
        walker.forget()
        yield {k: v for k, v in bound.items() if v}, found


def _finds_of_stack(layout: Layout, walker: Walker, bound: Mapping[str, str]) -> Iterator[Find]:
    """Yield what the rules of a stack take, which is the same for all records of it."""
    over = layout.stack.over if layout.stack is not None else ""
    shared = {k: v for k, v in bound.items() if k != over}
    for rule in layout.stacked:
        for node, _, path, *_ in walker.find(rule.steps, dict(shared)) if rule.file.direction != "import" else ():
            if isinstance(node, Dataset):
                yield Find(rule, rule.file.field or rule.file.key, path, node)


def constants(tree: Tree, layout: Layout, report: Report) -> Iterator[Constant]:
    """Yield what of a tree a mapping says is always the same."""
    walker = Walker(tree.root, report)
    for bound, path in Exported(tree, layout, report).keys_with_paths(walker):
        yield from Assembly(layout, walker, bound, path, ()).constants()
