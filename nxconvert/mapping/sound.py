"""Whether a mapping makes sense: what can never hold, or not in both directions, is refused when it is loaded."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from nxconvert.errors import MappingError
from nxconvert.mapping.model import Mapping, MappingFile, Rule, RuleFile
from nxconvert.mapping.plot import OWN_ATTRIBUTES
from nxconvert.mapping.source import Position, wrong
from nxconvert.mapping.stated import EXACT_DTYPES, KINDS, fits, literal_problems, unit_problem
from nxconvert.mapping.steps import Kind, Step, may_be

At = Callable[[str], str]
"""Says where a key of a rule stands, as file, line and column: its value, or the rule where it has no such key."""

MAX_RANK = 32
"""Dimensions that an HDF5 dataset may have."""


def check_names(spec: MappingFile, positions: dict[tuple[Any, ...], Position], where: str) -> None:
    """Refuse a mapping's name or key that is none, and one without rules."""
    if not re.fullmatch(r"[^\s/\\]+( [^\s/\\]+)*", spec.name):
        raise wrong(where, positions[("name",)], f"{spec.name!r} is no name for a mapping", "write a word")
    if not spec.rules:
        raise wrong(where, positions[("rules",)], "there is no rule", 'add rules: [{tree: "PATH", field: NAME}]')
    for i, capture in enumerate(spec.record):
        position = positions[("record", i)]
        if not re.fullmatch(r"[A-Za-z_]\w*", capture):
            tip = "write the name of a capture, without braces"
            raise wrong(where, position, f"record: {capture!r} is no name of a capture", tip)
        if capture in spec.record[:i]:
            raise wrong(where, position, f"record: {capture} is there twice", "keep one of them")


def check_rule(rule: RuleFile, steps: tuple[Step, ...], at: At) -> None:
    """Refuse what can never hold."""
    if rule.link:
        _check_link(rule, steps, at)
    elif not (rule.field or rule.default or rule.key) and rule.constant is None:
        raise MappingError(f"{at('')}: the rule for {rule.tree} has no field", "add field: NAME")
    if not steps:
        raise MappingError(f"{at('tree')}: the path {rule.tree!r} has no steps", "write the path of a dataset")
    if any(s.kind <= Kind.ANY for s in steps) and rule.direction != "export":
        raise MappingError(
            f"{at('tree')}: * and ** cannot be imported: they do not say where a field goes", "say direction: export"
        )
    if steps[-1].attribute and rule.each == "row":
        raise MappingError(f"{at('each')}: an attribute has no rows", "say each: record")
    if rule.default and "signal" not in rule.links:
        raise MappingError(
            f"{at('default')}: a default group needs the signal that it shows", 'add links: {signal: "{y@signal}"}'
        )
    if rule.links and not rule.default:
        raise MappingError(
            f"{at('links')}: links means nothing without default: true", "add default: true, or leave links out"
        )


def _check_link(rule: RuleFile, steps: tuple[Step, ...], at: At) -> None:
    """Refuse what a rule that makes a link says beside it."""
    stated = [key for key in ("field", "key", "default", "units", "dtype", "values", "also") if getattr(rule, key)]
    stated += [key for key in ("constant", "absent") if getattr(rule, key) is not None]
    for key in stated:
        raise MappingError(f"{at(key)}: {key}: a link has none: it is what it leads to", f"leave {key} out")
    if rule.direction == "export":
        raise MappingError(f"{at('direction')}: a link is made on import only", "leave direction out")
    if steps and (steps[-1].role or (steps[-1].attribute and steps[-1].captures)):
        raise MappingError(f"{at('tree')}: nothing says what the link is called", "name the path of the link")
    if steps and steps[-1].attribute and steps[-1].name in OWN_ATTRIBUTES:
        raise MappingError(f"{at('tree')}: @{steps[-1].name} is written by the mapping itself", "leave the rule out")


def check_targets(mapping: Mapping, positions: dict[tuple[Any, ...], Position]) -> None:
    """Refuse links to where no rule writes, and those that nothing says where they are."""
    written = [r for r in mapping.rules if r.file.direction != "export" and not r.target]
    for rule in (r for r in mapping.rules if r.target):
        for side, steps in (("tree", rule.steps), ("link", rule.target)):
            for step in steps:
                free = step.captures and step.name not in mapping.key and not step.default and not step.optional
                if free or step.role or step.kind <= Kind.ANY:
                    named = f"{{{step.name}}}" if step.name else "*"
                    message = f"link: {named} is not in the key, so nothing says where it is"
                    raise wrong(mapping.where, positions[("rules", rule.index, side)], message, "name the path")
        if not any(may_be(r.steps[: len(rule.target)], rule.target) for r in written):
            near = difflib.get_close_matches(rule.file.link, [re.sub(r":[\w|]+", "", r.file.tree) for r in written], 1)
            tip = f"did you mean {near[0]!r}?" if near else "write the path of a rule that is imported"
            message = f"link: no rule writes anything at {rule.file.link!r}"
            raise wrong(mapping.where, positions[("rules", rule.index, "link")], message, tip)


def check_links(rule: RuleFile, links: dict[str, tuple[Step, ...]], here: str, *, stacked: bool) -> None:
    """Refuse links of a default group that follow no role; where records are stacked they may be paths."""
    for attribute, steps in links.items():
        if stacked:
            if not steps or any(s.role or s.attribute or s.kind <= Kind.ANY for s in steps):
                raise MappingError(
                    f"{here}: links: {attribute}: {rule.links[attribute]!r} is no path, and a stack has no other roles",
                    'write e.g. links: {signal: "detector/data"}',
                )
            continue
        if attribute not in ("signal", "axes") or len(steps) != 1 or not steps[0].role:
            raise MappingError(
                f"{here}: links: {attribute}: {rule.links[attribute]!r} names no role",
                'write links: {signal: "{y@signal}", axes: "{x@axes}"}',
            )


def check_stated(rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile, at: At) -> None:
    """Refuse what a rule states of values when it is wrong or cannot hold in both directions."""
    problem = next(chain(_wrong_type(rule), _wrong_numbers(rule), _wrong_names(rule), _wrong_units(rule)), None)
    if problem is None and rule.constant is not None:
        problem = next(_wrong_constant(rule, steps, spec), None)
    if problem is not None:
        raise MappingError(f"{at(problem[0].partition(':')[0])}: {problem[0]}", problem[1])


def _wrong_type(rule: RuleFile) -> Iterator[tuple[str, str]]:
    known = (*KINDS, *EXACT_DTYPES)
    if rule.dtype and rule.dtype not in known:
        near = difflib.get_close_matches(rule.dtype, known, 1)
        tip = f"did you mean {near[0]!r}?" if near else f"dtypes are {', '.join(known)}"
        yield f"dtype: there is no {rule.dtype!r}", tip
    if rule.rank is not None and not 0 <= rule.rank <= MAX_RANK:
        yield f"rank: {rule.rank} is no number of dimensions", f"write a number from 0 to {MAX_RANK}"


def _wrong_numbers(rule: RuleFile) -> Iterator[tuple[str, str]]:
    if rule.scale == 0 and rule.direction != "export":
        yield "scale: 0 cannot be undone", "write another scale, or say direction: export"
    if not (math.isfinite(rule.scale) and math.isfinite(rule.offset)):
        yield f"{'offset' if math.isfinite(rule.scale) else 'scale'}: must be a finite number", "write a number"
    if (rule.scale != 1 or rule.offset != 0 or rule.units) and rule.dtype in ("text", "bool"):
        yield f"dtype: {rule.dtype} has no units, scale or offset", "write dtype: number"


def _wrong_names(rule: RuleFile) -> Iterator[tuple[str, str]]:
    if not rule.values:
        return
    if rule.units or rule.scale != 1 or rule.offset != 0:
        yield "values: gives names to numbers, which have no units, scale or offset", "leave those out"
    if rule.dtype and rule.dtype not in EXACT_DTYPES:
        yield "dtype: values: needs the dtype of the numbers", "write e.g. dtype: int32"
    numbers = list(rule.values.values())
    twice = next((n for n in numbers if numbers.count(n) > 1), None)
    if twice is not None and rule.direction != "import":
        names = " and ".join(k for k, v in rule.values.items() if v == twice)
        yield f"values: {names} are both {twice}, which has no way back", "say direction: import"
    for name, number in rule.values.items():
        if rule.dtype in EXACT_DTYPES and not fits(number, rule.dtype):
            yield f"values: {name} is {number}, which is no {rule.dtype}", "state a wider dtype"
        if not rule.dtype and not fits(number, "int64"):
            yield f"values: {name} is {number}, which is no integer", "state the dtype, e.g. dtype: float64"


def _wrong_units(rule: RuleFile) -> Iterator[tuple[str, str]]:
    if rule.units:
        problem = unit_problem(rule)
        if problem[0]:
            yield problem


def _wrong_constant(rule: RuleFile, steps: tuple[Step, ...], spec: MappingFile) -> Iterator[tuple[str, str]]:
    if rule.field or rule.default:
        yield "constant: what is always the same is no field", "leave field out"
    if rule.scale != 1 or rule.offset != 0 or rule.values or isinstance(rule.units, dict):
        yield "constant: stands as it is written in the tree", "leave scale, offset and values out"
    yield from (("constant: " + message, tip) for message, tip in literal_problems(rule.constant, rule.dtype))
    for step in steps:
        free = step.captures and step.name not in spec.record and not step.default and not step.optional
        if (free or step.role) and rule.direction != "export":
            yield f"constant: {{{step.name}}} is not in the key, so nothing says where to write it", "name the path"


def check_captures(rule: Rule, spec: MappingFile, at: At) -> None:
    """Refuse captures that only one side has."""
    if rule.name is None:
        return
    in_tree = {s.name for s in rule.steps if s.captures}
    for capture in rule.name.captures:
        if capture not in in_tree:
            raise MappingError(
                f"{at('field')}: {{{capture}}} is in the field's name but not in its path",
                f"captures are {', '.join(sorted(in_tree))}",
            )
    if not rule.imports:
        return
    given = {*rule.name.captures, *spec.record}
    for step in rule.steps:
        if step.captures and step.name not in given and not step.default and not step.optional:
            raise MappingError(
                f"{at('tree')}: {{{step.name}}} is in the path but in neither the field's name nor the key",
                f"name it in the field, give it a default ({{{step.name}=NAME}}), or say direction: export",
            )


def check_pairs(spec: MappingFile, positions: dict[tuple[Any, ...], Position], where: str) -> None:
    """Refuse pairs that would all have one name."""
    for i, pair in enumerate(spec.pairs):
        if "{name}" not in pair.field:
            message = f"pairs: {pair.field!r} would give all of {pair.names} one name"
            raise wrong(where, positions.get(("pairs", i), (1, 1)), message, 'write e.g. field: "motor/{name}"')


def check_attributes(mapping: Mapping, positions: dict[tuple[Any, ...], Position]) -> None:
    """Refuse fields of what belongs to the fields of datasets, such as their units."""
    for rule in mapping.rules:
        name = rule.steps[-1].name
        if rule.index in mapping.on_datasets and rule.name is not None and name in OWN_ATTRIBUTES:
            message = f"tree: @{name} of a dataset belongs to the field that the dataset is"
            tip = "leave the rule out: the field has its units" if name == "units" else "leave the rule out"
            raise wrong(mapping.where, positions[("rules", rule.index, "tree")], message, tip)
        if rule.index in mapping.on_datasets and rule.name is not None and _of_stack(rule, mapping):
            message = "tree: a stack is made of the attributes that its records have, and no field is one of them"
            tip = "name the dataset at the place of each record"
            raise wrong(mapping.where, positions[("rules", rule.index, "tree")], message, tip)


def _of_stack(rule: Rule, mapping: Mapping) -> bool:
    """Tell whether the dataset of an attribute is one of a stack."""
    return any(may_be(rule.steps[:-1], r.steps) for r in mapping.stacked)


def check_ties(mapping: Mapping) -> None:
    """Refuse two rules that match the same."""
    seen: dict[object, Rule] = {}
    for rule in mapping.rules:
        if rule.name is None:
            continue
        key = (rule.shape, rule.each, rule.exports, rule.file.rank, rule.file.dtype)
        if rule.exports and key in seen:
            raise MappingError(
                f"{rule.where}: this rule matches the same as the one at {seen[key].where}",
                "make one of them more literal",
            )
        seen[key] = rule
