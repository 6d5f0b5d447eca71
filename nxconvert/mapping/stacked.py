"""The trees of stacks on import, made when all their records have been written."""

from __future__ import annotations

from nxconvert.mapping.beside import Beside
from nxconvert.mapping.made import Imported, path_to
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stack import Made
from nxconvert.mapping.steps import parse
from nxconvert.record import Record
from nxconvert.tree import NewDataset, NewGroup


def stack_tree(stack: Made, layout: Layout, beside: Beside) -> Imported:
    """Return the tree of a stack: its datasets, what its records share, and the groups that viewers plot."""
    made, nothing = Imported(NewGroup("NXroot")), Record({}, {})
    for rule, node in stack.nodes:
        group, name = made.home(rule.steps, stack.key, rule)
        group.add(name, node)
    beside.constants(made, stack.key)
    beside.absent(made, nothing, stack.key)
    beside.attributes(made, nothing, stack.key)
    for rule in layout.defaults:
        _link_group(made, rule, stack)
    for path, rows in stack.rows:
        _group_at(made.root, path).add(path.rpartition("/")[2], NewDataset(rows))
    made.lead()
    return made


def _link_group(made: Imported, rule: Rule, stack: Made) -> None:
    """Make a group that viewers plot, of links to what is in the tree."""
    group, name = made.home(rule.steps, stack.key, rule)
    group = group.require(name, rule.steps[-1].classes[0] if rule.steps[-1].classes else "")
    above = () if rule.file.tree.startswith("/") else rule.steps[: -len(parse(rule.file.tree))]
    for attribute, text in rule.file.links.items():
        steps = (*(() if text.startswith("/") else above), *parse(text))
        target = path_to(steps, stack.key, rule)
        if made.node(target) is None:
            continue
        group.add(target.rpartition("/")[2], made.link(target, "hard"))
        if attribute in ("signal", "axes"):
            group.attrs[attribute] = target.rpartition("/")[2]


def _group_at(root: NewGroup, path: str) -> NewGroup:
    """Return the group that has a path, made when it is not there."""
    group = root
    for name in path.strip("/").split("/")[:-1]:
        group = group.require(name)
    return group
