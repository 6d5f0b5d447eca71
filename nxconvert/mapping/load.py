"""Loading a mapping file: safe YAML, checked, with file, line and column in every error."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from nxconvert.errors import MappingError
from nxconvert.mapping.model import Mapping, MappingFile, PairFile, Rule, RuleFile
from nxconvert.mapping.steps import Kind, NamePattern, Step, StepError, parse

MAX_SIZE = 1 << 20

_Position = tuple[int, int]


def shipped_names() -> list[str]:
    """Return the names of the mappings that come with nxconvert."""
    folder = files("nxconvert.mapping") / "shipped"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


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
                raise MappingError(f"{name} has {size:,} bytes, a mapping at most {MAX_SIZE:,}")
            return path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            raise MappingError(f"there is no mapping file {name}") from None
        except UnicodeDecodeError as error:
            raise MappingError(f"{name}: byte {error.start} is not UTF-8", "save the mapping as UTF-8") from None
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
        Whether the text is known to fit the schema, as shipped ones are by test; spares the validator's import.

    Raises
    ------
    MappingError
        With file, line, column and a mend.
    """
    data, positions = _yaml(text, where)
    if checked:
        pairs = [PairFile(**pair) for pair in data.get("pairs", ())]
        spec = MappingFile(**{**data, "rules": [RuleFile(**r) for r in data["rules"]], "pairs": pairs})
    else:
        spec = _validate(data, positions, where)
    return _compile(spec, positions, where)


def _yaml(text: str, where: str) -> tuple[Any, dict[tuple[Any, ...], _Position]]:
    import yaml

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    positions: dict[tuple[Any, ...], _Position] = {}
    try:
        for event in yaml.parse(text, loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _error(where, _at(event.start_mark), "aliases and anchors are not allowed", "write the value out")
            tag = getattr(event, "tag", None)
            if tag and not str(tag).startswith("tag:yaml.org,2002:"):
                raise _error(where, _at(event.start_mark), f"the tag {tag} is not allowed", "remove it")
        node = yaml.compose(text, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise _error(where, _at(mark) if mark else (1, 1), str(problem), _mend(text, mark)) from None
    if node is None:
        raise _error(where, (1, 1), "the mapping is empty", "begin with 'nxconvert: 1'")
    return _plain(node, (), positions, where), positions


def _mend(text: str, mark: Any) -> str:
    """Return how to mend what is no YAML: where a line begins it is the indentation, elsewhere most often a brace."""
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with blanks, not with tabs"
    amid = "{" in line and line[: mark.column].strip()
    return 'quote names with braces: "{name}"' if amid else "check the indentation"


def _at(mark: Any) -> _Position:
    return (mark.line + 1, mark.column + 1)


def _plain(node: Any, path: tuple[Any, ...], positions: dict[tuple[Any, ...], _Position], where: str) -> Any:
    import yaml

    positions[path] = _at(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error(where, _at(key.start_mark), "a key must be a word", 'quote names with braces: "{name}"')
            if key.value in out:
                raise _error(where, _at(key.start_mark), f"the key {key.value!r} is there twice", "keep one of them")
            positions[(*path, key.value, "#key")] = _at(key.start_mark)
            out[key.value] = _plain(value, (*path, key.value), positions, where)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_plain(v, (*path, i), positions, where) for i, v in enumerate(node.value)]
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    return _scalar(node, where)


def _scalar(node: Any, where: str) -> Any:
    value = node.value
    if node.tag.endswith(":bool"):
        return value.lower() in ("true", "yes", "on")
    if node.tag.endswith(":null"):
        return None
    try:
        if node.tag.endswith(":int"):
            return int(value.replace("_", ""), 0)
        if node.tag.endswith(":float"):
            return float(value.replace("_", ""))
    except ValueError:
        return value
    if node.tag.endswith(":timestamp"):
        return value
    raise _error(where, _at(node.start_mark), f"the tag {node.tag} is not allowed", "remove it")


def _error(where: str, position: _Position, message: str, tip: str = "") -> MappingError:
    return MappingError(f"{where}:{position[0]}:{position[1]}: {message}", tip)


def _validate(data: Any, positions: dict[tuple[Any, ...], _Position], where: str) -> MappingFile:
    from pydantic import TypeAdapter, ValidationError

    _known_keys(data, positions, where)
    try:
        return TypeAdapter(MappingFile).validate_python(data)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        path = tuple(first["loc"])
        found = first["input"]
        missing = first["type"] == "missing"
        said = "must be there" if missing else f"{first['msg']}, found {_short(found)}"
        message = f"{'.'.join(str(p) for p in path) or 'the mapping'}: {said}"
        tip = 'quote names with braces: "{name}"' if isinstance(found, dict) and "string" in first["msg"] else ""
        while path and path not in positions:
            path = path[:-1]
        raise _error(where, positions.get(path, (1, 1)), message, tip) from None


def _known_keys(data: Any, positions: dict[tuple[Any, ...], _Position], where: str) -> None:
    if not isinstance(data, dict):
        raise _error(where, (1, 1), f"a mapping is a list of keys, found {_short(data)}", "begin with 'nxconvert: 1'")
    rules = data.get("rules")
    places = [((), data, MappingFile)]
    if isinstance(rules, list):
        places += [(("rules", i), r, RuleFile) for i, r in enumerate(rules) if isinstance(r, dict)]  # type: ignore[misc]
    if isinstance(pairs := data.get("pairs"), list):
        places += [(("pairs", i), r, PairFile) for i, r in enumerate(pairs) if isinstance(r, dict)]  # type: ignore[misc]
    for path, keys, kind in places:
        known = list(kind.__dataclass_fields__)
        for key in keys:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                tip = f"did you mean {near[0]!r}?" if near else f"keys here are {', '.join(known)}"
                raise _error(where, positions[(*path, key, "#key")], f"there is no key {key!r}", tip)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _compile(spec: MappingFile, positions: dict[tuple[Any, ...], _Position], where: str) -> Mapping:
    def path(text: str, *at: Any) -> tuple[Step, ...]:
        try:
            return parse(text)
        except StepError as error:
            line, column = positions.get(at, (1, 1))
            raise _error(where, (line, column + error.column), str(error), error.tip) from None

    under = path(spec.under, "under")
    rules: list[Rule] = []
    for i, rule in enumerate(spec.rules):
        steps = path(rule.tree, "rules", i, "tree")
        line, column = positions.get(("rules", i), (1, 1))
        here = f"{where}:{line}:{column}"
        if not rule.tree.startswith("/"):
            steps = _merged(under, steps)
        if not rule.field and not rule.default:
            raise MappingError(f"{here}: the rule for {rule.tree} has no field", "add field: NAME")
        try:
            name = NamePattern(rule.field) if rule.field else None
        except StepError as error:
            raise MappingError(f"{here}: {error}", error.tip) from None
        for attribute, link in rule.links.items():
            found = path(link, "rules", i, "links", attribute)
            if attribute not in ("signal", "axes") or len(found) != 1 or not found[0].role:
                raise MappingError(
                    f"{here}: links: {attribute}: {link!r} names no role",
                    'write links: {signal: "{y@signal}", axes: "{x@axes}"}',
                )
        rules.append(Rule(rule, steps, name, i, here))
        _check_captures(rules[-1], spec)
    mapping = Mapping(
        spec.name,
        spec.title,
        tuple(spec.record),
        tuple(path(w, "when", i) for i, w in enumerate(spec.when)),
        _merged(under, path(spec.complete, "complete")) if spec.complete else (),
        tuple(rules),
        where,
        spec.series,
        tuple(spec.pairs),
        tuple(spec.when),
    )
    _check_pairs(spec, positions, where)
    _check_ties(mapping)
    if mapping.key and not mapping.prefix:
        raise _error(where, positions.get(("record",), (1, 1)), "no rule binds the whole key " + ", ".join(mapping.key))
    return mapping


def _merged(under: tuple[Step, ...], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return (*under, *steps)


def _check_captures(rule: Rule, spec: MappingFile) -> None:
    if rule.name is None:
        return
    in_tree = {s.name for s in rule.steps if s.captures}
    for capture in rule.name.captures:
        if capture not in in_tree:
            raise MappingError(
                f"{rule.where}: {{{capture}}} is in the field's name but not in its path",
                f"captures are {', '.join(sorted(in_tree))}",
            )
    if not rule.imports:
        return
    given = {*rule.name.captures, *spec.record}
    for step in rule.steps:
        if step.captures and step.name not in given and not step.default and not step.optional:
            raise MappingError(
                f"{rule.where}: {{{step.name}}} is in the path but in neither the field's name nor the key",
                f"name it in the field, give it a default ({{{step.name}=NAME}}), or say direction: export",
            )


def _check_pairs(spec: MappingFile, positions: dict[tuple[Any, ...], _Position], where: str) -> None:
    for i, pair in enumerate(spec.pairs):
        if "{name}" not in pair.field:
            message = f"pairs: {pair.field!r} would give all of {pair.names} one name"
            raise _error(where, positions.get(("pairs", i), (1, 1)), message, 'write e.g. field: "motor/{name}"')


def _check_ties(mapping: Mapping) -> None:
    seen: dict[object, Rule] = {}
    for rule in mapping.rules:
        if rule.name is None:
            continue
        shape = tuple(
            (s.kind, s.name if s.kind == Kind.LITERAL else "", s.classes, s.role, s.tests) for s in rule.steps
        )
        key = (shape, rule.each, rule.exports)
        if rule.exports and key in seen:
            raise MappingError(
                f"{rule.where}: this rule matches the same as the one at {seen[key].where}",
                "make one of them more literal",
            )
        seen[key] = rule
