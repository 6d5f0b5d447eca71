"""Whether what a mapping says of stacks and of absent fields makes sense; refused when it is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from nxconvert.errors import MappingError
from nxconvert.mapping import absent
from nxconvert.mapping.model import Mapping, MappingFile, RuleFile, StackFile
from nxconvert.mapping.source import Position, wrong
from nxconvert.mapping.steps import Kind, Step

Places = dict[tuple[object, ...], Position]

EXAMPLE = "write e.g. stack: {over: role, order: [dark, flat, projection]}"


def check_stack(spec: MappingFile, positions: Places, where: str) -> None:
    """Refuse a stack that runs over nothing, or whose order is none."""
    stack = spec.stack
    if stack is None:
        return

    def refuse(key: str, message: str, tip: str, *more: object) -> MappingError:
        at = positions.get(("stack", key, *more), positions.get(("stack",), (1, 1)))
        return wrong(where, at, f"stack: {key}: {message}", tip)

    if stack.over not in spec.record:
        tip = _near(stack.over, spec.record, "the key has")
        raise refuse("over", f"{stack.over!r} is not in the key of the records", tip)
    if not stack.order:
        raise refuse("order", "no value of the key is named", EXAMPLE)
    for i, name in enumerate(stack.order):
        if name in stack.order[:i]:
            raise refuse("order", f"{name} is there twice", "keep one of them", i)
    _check_numbers(spec, stack, positions, where)
    if not any(rule.each == "stack" for rule in spec.rules):
        raise wrong(where, positions.get(("stack",), (1, 1)), "stack: no rule says each: stack", "add one")


def _check_numbers(spec: MappingFile, stack: StackFile, positions: Places, where: str) -> None:
    """Refuse values that have no number for what the stack is of."""
    for i, rule in enumerate(spec.rules):
        for name in stack.order if rule.key and rule.values else ():
            if name not in rule.values:
                at = positions.get(("rules", i, "values"), (1, 1))
                tip = f"add it, e.g. {{{name}: {len(rule.values)}}}, or take it out of order"
                raise wrong(where, at, f"values: {name} is in the order of the stack, but has no number", tip)


def check_rule_of_stack(
    rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile, number: int, positions: Places, where: str
) -> None:
    """Refuse what a rule says of a stack, a key or an absent field when it cannot hold, at the key that says it."""
    for problems in (_problems(rule, steps, spec), _absent(rule, steps, spec)):
        for key, message, tip in problems:
            at = positions.get(("rules", number, key), positions.get(("rules", number), (1, 1)))
            raise wrong(where, at, message, tip)


def _problems(rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile) -> Iterator[tuple[str, str, str]]:
    """Yield the key that is wrong, why, and how to mend it."""
    stack = spec.stack
    if rule.each != "stack":
        if rule.key:
            yield "key", "key: only what is one item for each row of a stack can say the key", "add each: stack"
        if rule.also:
            yield from _also_problems(rule, steps, spec)
        return
    if stack is None:
        yield "each", "each: stack needs what is stacked", f"add to the file {EXAMPLE.removeprefix('write e.g. ')}"
        return
    if rule.key and rule.key != stack.over:
        yield "key", f"key: {rule.key!r} is not what the stack runs over", f"write key: {stack.over}"
    if bool(rule.key) == bool(rule.field):
        both = "has both a field and a key" if rule.key else "has neither a field nor a key"
        yield "each", f"each: stack: the rule {both}", f"write field: NAME, or key: {stack.over}"
    yield from _place_problems(rule, steps, spec, stack)


def _also_problems(rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile) -> Iterator[tuple[str, str, str]]:
    """Yield why a rule cannot give other fields a second name."""
    if not rule.field or any("{" in name for name in (rule.field, *rule.also)):
        yield "also", "also: stands in for one field by others, whose names have no captures", "write their names out"
    if rule.direction == "export":
        yield "also", "also: is for import, and the rule is for export only", "leave one of them out"
    for step in steps:
        free = step.captures and step.name not in spec.record and not step.default and not step.optional
        if step.role or free or step.attribute:
            yield "also", f"also: nothing says where {rule.tree} is without its field", "name the path"


def _place_problems(
    rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile, stack: StackFile
) -> Iterator[tuple[str, str, str]]:
    for name in (rule.field, *rule.also):
        if "{" in name:
            yield (
                "field",
                f"field: {name!r} has a capture, and a stack is of one field",
                "write one rule for each field",
            )
    if steps[-1].kind != Kind.LITERAL or steps[-1].classes or steps[-1].attribute:
        yield "tree", "tree: a stack is a dataset whose path is written out", 'write e.g. tree: "detector/data"'
    for step in steps:
        if step.captures and step.name == stack.over:
            yield (
                "tree",
                f"tree: a stack holds every {stack.over}, so {{{stack.over}}} is not in its path",
                "leave it out",
            )
        elif step.captures and step.name not in spec.record and not step.default and not step.optional:
            yield (
                "tree",
                f"tree: nothing says what {{{step.name}}} of a stack is called",
                "name it, or give it a default",
            )


def _absent(rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile) -> Iterator[tuple[str, str, str]]:
    if rule.absent is None:
        return
    yield from (("absent", message, tip) for message, tip in absent.problems(rule, spec))
    if "{" in rule.field:
        yield "absent", f"absent: {rule.field!r} is any field, of which none is absent", "write the name of one field"
    if rule.direction == "export":
        yield "absent", "absent: is for import, and the rule is for export only", "leave one of them out"
    if rule.each == "stack":
        return
    for step in steps:
        if step.role:
            yield (
                "absent",
                f"absent: {{{step.name}@{step.role}}} is no place of a field that is absent",
                "name the path",
            )
        elif step.captures and step.name not in spec.record and not step.default and not step.optional:
            yield "absent", f"absent: nothing says what {{{step.name}}} is called", "name it, or give it a default"


def check_places(mapping: Mapping) -> None:
    """Refuse two rules of a stack that would write one dataset."""
    seen: dict[object, str] = {}
    for rule in mapping.stacked:
        if rule.file.direction == "export":
            continue
        if rule.steps in seen:
            raise MappingError(
                f"{rule.where}: this rule writes the same as the one at {seen[rule.steps]}",
                "name the other fields in also:, the first that a record has is taken",
            )
        seen[rule.steps] = rule.where


def _near(found: str, known: Sequence[str], what: str) -> str:
    near = difflib.get_close_matches(found, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"{what} {', '.join(known)}"
