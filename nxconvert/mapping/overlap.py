"""Whether a path that a field is written to is one that another rule, a more literal one, would take on export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stated import takes
from nxconvert.mapping.steps import Kind, Step, from_tree_name
from nxconvert.record import Field


class Overlap:
    """Finds the rules that take what others write."""

    def __init__(self, layout: Layout) -> None:
        self._others = {
            rule.index: [o for o in layout.rules if o.exports and o is not rule and o.rank > rule.rank]
            for rule in layout.rules
            if rule.imports and rule.name is not None and any(s.captures for s in rule.steps)
        }

    def name(self, rule: Rule, names: Sequence[str], key: Mapping[str, str], f: Field) -> tuple[str, Rule] | None:
        """Return the field that another rule would make of a path, and that rule; None when it comes back as it is.

        Parameters
        ----------
        rule
            The rule that wrote it.
        names
            The name of each step, empty for one that is left out.
        key
            The record's key.
        f
            The field.
        """
        for other in self._others.get(rule.index, ()):
            if not takes(other.file, f.dtype, len(f.shape), exact=True):
                continue
            bound = _match(other, rule.steps, names, key)
            if bound is not None and other.name is not None and (made := other.name.fill(bound)) != f.name:
                return made, other
        return None


def _match(rule: Rule, steps: Sequence[Step], names: Sequence[str], key: Mapping[str, str]) -> dict[str, str] | None:
    if len(rule.steps) != len(steps):
        return None
    bound = dict(key)
    for step, written, name in zip(rule.steps, steps, names, strict=True):
        if step.kind <= Kind.ANY or step.tests or step.attribute is not written.attribute or step.role != written.role:
            return None
        if step.classes and written.classes and not set(step.classes) & set(written.classes[:1]):
            return None  # a group without a class may get that of another rule
        if step.captures:
            bound[step.name] = from_tree_name(name)
        elif step.name != name:
            return None
    return bound
