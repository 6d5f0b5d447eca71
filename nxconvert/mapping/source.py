"""Reading the text of a mapping: safe YAML with the line and column of every key and value."""

from __future__ import annotations

import re
from typing import Any

from nxconvert.errors import MappingError

MAX_DEPTH = 16
"""How many lists and keys may lie in each other."""

Position = tuple[int, int]

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def decoded(data: bytes, where: str) -> str:
    """Decode a mapping file; what is no text is refused here, with its place."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        position = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        tip = "save the mapping as UTF-8"
        raise wrong(where, position, f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8", tip) from None
    return text.replace("\r\n", "\n")


def read(text: str, where: str) -> tuple[Any, dict[tuple[Any, ...], Position]]:
    """Return the values of a YAML text, and where each of them stands, by its keys; a key itself at ``(..., "#key")``.

    Raises
    ------
    MappingError
        When it is no YAML, or has aliases, tags, keys twice or too many levels.
    """
    import yaml

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    positions: dict[tuple[Any, ...], Position] = {}
    if found := _NO_TEXT.search(text):
        position = (text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start()))
        raise wrong(where, position, f"the character {found[0]!r} is not allowed", "a mapping is plain text")
    depth = 0
    try:
        for event in yaml.parse(text, loader):
            depth += isinstance(event, _begins()) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                message = f"more than {MAX_DEPTH} levels lie in each other"
                raise wrong(where, _at(event.start_mark), message, "a mapping has five at most; check the brackets")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise wrong(where, _at(event.start_mark), "aliases and anchors are not allowed", "write the value out")
            tag = getattr(event, "tag", None)
            if tag:
                raise wrong(where, _at(event.start_mark), f"the tag {tag} is not allowed", "remove it")
        node = yaml.compose(text, loader)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, where) from None
    if node is None:
        raise wrong(where, (1, 1), "the mapping is empty", "begin with 'nxconvert: 1'")
    return _plain(node, (), positions, where), positions


def _begins() -> tuple[Any, ...]:
    import yaml

    return (yaml.SequenceStartEvent, yaml.MappingStartEvent)


def _not_yaml(error: Any, text: str, where: str) -> MappingError:
    mark = getattr(error, "problem_mark", None)
    context = str(getattr(error, "context", ""))
    problem = str(getattr(error, "problem", None) or "this is no YAML")
    if "quoted scalar" in context:
        return wrong(where, _at(error.context_mark), "a quote is not closed", "close it on the same line")
    position = _at(mark) if mark else (1, 1)
    if "another document" in problem:
        return wrong(where, position, "a second document begins", "one mapping a file: remove what comes after ---")
    if "expected ':'" in problem:
        return wrong(where, position, problem, "write a blank after each colon, and check the indentation")
    if "node content" in problem:
        return wrong(
            where, position, "a value is missing, or a bracket is not closed", "close it, check the indentation"
        )
    return wrong(where, position, problem, _mend(text, mark))


def _mend(text: str, mark: Any) -> str:
    """Return how to mend what is no YAML: where a line begins it is the indentation, elsewhere most often a brace."""
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with blanks, not with tabs"
    amid = "{" in line and line[: mark.column].strip()
    return 'quote names with braces: "{name}"' if amid else "check the indentation"


def _at(mark: Any) -> Position:
    return (mark.line + 1, mark.column + 1)


def _plain(node: Any, path: tuple[Any, ...], positions: dict[tuple[Any, ...], Position], where: str) -> Any:
    import yaml

    positions[path] = _at(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise wrong(where, _at(key.start_mark), "a key must be a word", 'quote names with braces: "{name}"')
            if key.value in out:
                raise wrong(where, _at(key.start_mark), f"the key {key.value!r} is there twice", "keep one of them")
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
    raise wrong(where, _at(node.start_mark), f"the tag {node.tag} is not allowed", "remove it")


def wrong(where: str, position: Position, message: str, tip: str = "") -> MappingError:
    """Return the error that says what is wrong at a line and column."""
    return MappingError(f"{where}:{position[0]}:{position[1]}: {message}", tip)
