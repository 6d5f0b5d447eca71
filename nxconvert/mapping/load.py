"""Loading a mapping file: safe YAML, checked, with file, line and column in every error."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxconvert.errors import MappingError
from nxconvert.mapping.model import Mapping, MappingFile, PairFile, Rule, RuleFile, SourceFile, StackFile
from nxconvert.mapping.sound import (
    check_attributes,
    check_captures,
    check_links,
    check_names,
    check_pairs,
    check_rule,
    check_stated,
    check_targets,
    check_ties,
)
from nxconvert.mapping.sound_files import check_file, check_sources
from nxconvert.mapping.sound_stack import check_places, check_rule_of_stack, check_stack
from nxconvert.mapping.source import Position, decoded, read, wrong
from nxconvert.mapping.steps import NamePattern, Step, StepError, parse

if TYPE_CHECKING:
    from nxconvert.mapping.filename import FilePattern

MAX_SIZE = 1 << 20
"""Bytes that a mapping may have."""

_EXAMPLES = {
    "nxconvert": "nxconvert: 1",
    "name": "name: NAME",
    "record": "record: [scan]",
    "rules": 'rules: [{tree: "PATH", field: NAME}]',
    "tree": 'tree: "PATH"',
    "names": "names: motor_mne",
    "values": "values: motor_pos",
    "field": 'field: "motor/{name}"',
    "stack": "write stack: {over: role, order: [dark, flat, projection]}",
    "file": 'file: "scan*.dat"',
    "over": "over: role",
    "order": "order: [dark, flat, projection]",
}
"""How each key that must be there is written."""

_WANTED = {
    "constant": (
        "a text, a number, true or false, or a list of texts or of numbers",
        "write one text or number, or e.g. [0, 0, -1]",
    ),
    "units": ("a unit, or those of tree and field", "write units: mm or units: {tree: rad, field: deg}"),
    "absent": (
        "a text, a number, a list or a range",
        "write absent: 0, or absent: {from: 0, to: 180, endpoint: false}",
    ),
}
"""What keys of several types want, and how they are written."""

_MENDS = {
    "list_type": "write a list: [a, b]",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "int_parsing": "write a number",
    "int_from_float": "write a number",
    "int_type": "write a number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "dict_type": "write keys and values: {a: b}",
    "dataclass_type": 'write keys and values: {tree: "PATH", field: NAME}',
}
"""How to mend what pydantic finds, by the type of its error."""


def shipped_names() -> list[str]:
    """Return the names of the mappings that come with nxconvert."""
    folder = files("nxconvert.mapping") / "shipped"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


@cache
def asked_for() -> list[tuple[str, tuple[tuple[Step, ...], ...]]]:
    """Return the paths of ``when`` of each shipped mapping, in the order in which ``auto`` tries them.

    The one that asks for most comes first. Their rules, which take most of the time, are not looked at.
    """
    found = []
    for name in shipped_names():
        data, _ = read(text_of(name).partition("\nrules:")[0], f"{name}.yaml")
        found.append((name, tuple(parse(path) for path in data.get("when", ()))))
    return sorted(found, key=lambda one: (sum(map(len, one[1])), [s.rank for w in one[1] for s in w]), reverse=True)


@cache
def load(name: str) -> Mapping:
    """Load a shipped mapping by name, or a mapping file by its path.

    Raises
    ------
    MappingError
        When there is no such mapping, or it is wrong.
    """
    shipped = name in shipped_names()
    return compile_text(text_of(name), f"{name}.yaml" if shipped else name, checked=shipped)


def text_of(name: str) -> str:
    """Return the text of a shipped mapping by name, or that of a mapping file by its path.

    Raises
    ------
    MappingError
        When there is no such mapping, or it is too large or no text.
    """
    shipped = shipped_names()
    if name in shipped:
        return (files("nxconvert.mapping") / "shipped" / f"{name}.yaml").read_text("utf-8")
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            size = path.stat().st_size
            if size > MAX_SIZE:
                raise wrong(
                    name,
                    (1, 1),
                    f"{name} has {size:,} bytes, a mapping at most {MAX_SIZE:,}",
                    "name a mapping, not the data",
                )
            return decoded(path.read_bytes(), name)
        except FileNotFoundError:
            raise MappingError(f"there is no mapping file {name}") from None
        except OSError as error:
            raise MappingError(f"{name} cannot be read: {error.strerror}") from None
    near = difflib.get_close_matches(name, shipped, 1)
    tip = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(shipped)}; a file ends in .yaml"
    raise MappingError(f"there is no mapping {name!r}", tip)


def compile_text(text: str, where: str, *, checked: bool = False) -> Mapping:
    """Compile a mapping.

    Parameters
    ----------
    text
        The YAML.
    where
        The file's name, for messages.
    checked
        Whether the text is known to be right, as shipped ones are by test; spares the imports of what checks it.

    Raises
    ------
    MappingError
        With file, line, column and a mend.
    """
    data, positions = read(text, where)
    if checked:
        pairs = [PairFile(**pair) for pair in data.get("pairs", ())]
        sources = [SourceFile(**source) for source in data.get("sources", ())]
        stack = StackFile(**data["stack"]) if "stack" in data else None
        rules = [RuleFile(**r) for r in data["rules"]]
        spec = MappingFile(**{**data, "rules": rules, "pairs": pairs, "stack": stack, "sources": sources})
    else:
        spec = _validate(data, positions, where)
    return _compile(spec, positions, where, checked=checked)


def _validate(data: Any, positions: dict[tuple[Any, ...], Position], where: str) -> MappingFile:
    from pydantic import TypeAdapter, ValidationError

    _known_keys(data, positions, where)
    try:
        return TypeAdapter(MappingFile).validate_python(data)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        path = tuple(p for p in first["loc"] if not _internal(p))
        found = first["input"]
        named = next((p for p in reversed(path) if isinstance(p, str)), "")
        key = named if named in _WANTED else str(path[-1]) if path else ""  # of an item of a list, that of the list
        if first["type"] == "missing":
            said, tip = "must be there", f"add {_EXAMPLES.get(key, key + ': ...')}"
        elif first["type"] == "dataclass_type":
            said, tip = f"must have keys, found {_short(found)}", _EXAMPLES.get(key, _MENDS["dataclass_type"])
        elif key in _WANTED:
            wanted, tip = _WANTED[key]
            said = f"must be {wanted}, found {_short(found)}"
        else:
            said, tip = f"{first['msg']}, found {_short(found)}", _tip(dict(first), path)
        message = f"{'.'.join(str(p) for p in path) or 'the mapping'}: {said}"
        while path and path not in positions:
            path = path[:-1]
        raise wrong(where, positions.get(path, (1, 1)), message, tip) from None


def _internal(place: Any) -> bool:
    """Tell whether a part of a place is pydantic's name of a type, not a key; few keys are called as a type is."""
    return isinstance(place, str) and ("[" in place or place in ("str", "int", "float", "bool", "number"))


def _tip(error: dict[str, Any], path: tuple[Any, ...]) -> str:
    found = error["input"]
    if error["type"] == "string_type":
        braces = isinstance(found, dict) or (isinstance(found, list) and not found)
        return 'quote names with braces: "{name}"' if braces else "put it in quotes"
    if path == ("nxconvert",):
        return "this nxconvert knows version 1 of the language"
    if error["type"] == "literal_error":
        known = re.findall(r"'(\w+)'", error["ctx"]["expected"])
        near = difflib.get_close_matches(str(found), known, 1)
        return f"did you mean {near[0]!r}?" if near else f"write {' or '.join(known)}"
    return _MENDS.get(error["type"], "see the reference of mappings")


def _known_keys(data: Any, positions: dict[tuple[Any, ...], Position], where: str) -> None:
    if not isinstance(data, dict):
        raise wrong(where, (1, 1), f"a mapping is a list of keys, found {_short(data)}", "begin with 'nxconvert: 1'")
    rules = data.get("rules")
    places = [((), data, MappingFile)]
    if isinstance(rules, list):
        places += [(("rules", i), r, RuleFile) for i, r in enumerate(rules) if isinstance(r, dict)]  # type: ignore[misc]
    if isinstance(pairs := data.get("pairs"), list):
        places += [(("pairs", i), r, PairFile) for i, r in enumerate(pairs) if isinstance(r, dict)]  # type: ignore[misc]
    if isinstance(sources := data.get("sources"), list):
        places += [(("sources", i), r, SourceFile) for i, r in enumerate(sources) if isinstance(r, dict)]  # type: ignore[misc]
    if isinstance(stack := data.get("stack"), dict):
        places.append((("stack",), stack, StackFile))  # type: ignore[arg-type]
    for path, keys, kind in places:
        known = list(kind.__dataclass_fields__)
        for key in keys:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                tip = f"did you mean {near[0]!r}?" if near else f"keys here are {', '.join(known)}"
                raise wrong(where, positions[(*path, key, "#key")], f"there is no key {key!r}", tip)


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _compile(spec: MappingFile, positions: dict[tuple[Any, ...], Position], where: str, *, checked: bool) -> Mapping:
    def path(text: str, *at: Any) -> tuple[Step, ...]:
        try:
            return parse(text)
        except StepError as error:
            line, column = positions.get(at, (1, 1))
            raise wrong(where, (line, column + error.column), str(error), error.tip) from None

    def rule_of(i: int, rule: RuleFile) -> Rule:
        line, column = positions.get(("rules", i), (1, 1))
        here = f"{where}:{line}:{column}"

        def at(key: str) -> str:
            row, col = positions.get(("rules", i, key), (line, column))
            return f"{where}:{row}:{col}"

        steps = path(rule.tree, "rules", i, "tree")
        if not rule.tree.startswith("/"):
            steps = (*under, *steps)
        check_rule(rule, steps, at)
        links = {a: path(link, "rules", i, "links", a) for a, link in rule.links.items()}
        check_links(rule, links, at("links"), stacked=spec.stack is not None)
        if not checked:
            check_stated(rule, steps, spec, at)
        check_rule_of_stack(rule, steps, spec, i, positions, where)
        try:
            name = NamePattern(rule.field) if rule.field else None
        except StepError as error:
            raise MappingError(f"{at('field')}: {error}", error.tip) from None
        target = path(rule.link, "rules", i, "link")
        if rule.link and not rule.link.startswith("/"):
            target = (*under, *target)
        compiled = Rule(rule, steps, name, i, here, target)
        check_captures(compiled, spec, at)
        return compiled

    check_names(spec, positions, where)
    check_stack(spec, positions, where)
    under = path(spec.under, "under")
    mapping = Mapping(
        spec.name,
        spec.title,
        tuple(spec.record),
        tuple(path(w, "when", i) for i, w in enumerate(spec.when)),
        (*under, *path(spec.complete, "complete")) if spec.complete else (),
        tuple(rule_of(i, rule) for i, rule in enumerate(spec.rules)),
        where,
        spec.series,
        tuple(spec.pairs),
        tuple(spec.when),
        spec.stack,
        tuple(spec.sources),
        _file(spec.file, positions, where),
    )
    check_pairs(spec, positions, where)
    check_sources(spec, mapping.file, positions, where)
    check_file(mapping, positions)
    check_ties(mapping)
    check_attributes(mapping, positions)
    check_targets(mapping, positions)
    check_places(mapping)
    if mapping.key and not mapping.prefix:
        raise wrong(
            where,
            positions.get(("record",), (1, 1)),
            "no rule binds the whole key " + ", ".join(mapping.key),
            f"write e.g. {{{mapping.key[0]}:NXentry}} in under, or in the paths of the rules",
        )
    return mapping


def _file(text: str, positions: dict[tuple[Any, ...], Position], where: str) -> FilePattern | None:
    """Compile the pattern of files' names."""
    if not text:
        return None
    from nxconvert.mapping.filename import FilePattern

    line, column = positions[("file",)]
    try:
        return FilePattern(text, f"{where}:{line}:{column}")
    except StepError as error:
        raise wrong(where, (line, column + error.column), f"file: {error}", error.tip) from None
