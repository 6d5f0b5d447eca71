"""Whether what a mapping says of files makes sense: the pattern of their names, and those to be joined."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nxconvert.array import is_text
from nxconvert.mapping.model import Mapping, MappingFile, RuleFile
from nxconvert.mapping.source import Position, wrong
from nxconvert.mapping.stated import takes

if TYPE_CHECKING:
    from nxconvert.mapping.filename import FilePattern


def check_sources(
    spec: MappingFile, pattern: FilePattern | None, positions: dict[tuple[Any, ...], Position], where: str
) -> None:
    """Refuse sources outside of the folder of the data, captures that nothing binds, and two ways to join."""
    known = [*spec.record, *(pattern.kinds if pattern is not None else ())]
    for i, source in enumerate(spec.sources):
        parts = re.split(r"[/\\\\]", source.file)
        if not source.file.strip() or not all(parts) or ".." in parts or ":" in source.file or parts[0] == "~":
            message = f"sources: {source.file!r} is not in the folder of the data"
            tip = 'write a name or a glob relative to it, e.g. file: "scan*.dat"'
            raise wrong(where, positions.get(("sources", i, "file"), (1, 1)), message, tip)
        if source.column and source.on != "row":
            message = f"sources: on: {source.on} and column: {source.column} are two ways to join"
            raise wrong(where, positions[("sources", i, "on")], message, "leave one of them out")
        for key in ("file", "scan"):
            text = getattr(source, key)
            for capture in re.findall(r"\{([^{}]*)\}", text):
                if capture not in known:
                    message = f"sources: {{{capture}}} is neither in record nor in file"
                    raise wrong(where, positions[("sources", i, key)], message, f"captures are {', '.join(known)}")


def check_file(mapping: Mapping, positions: dict[tuple[Any, ...], Position]) -> None:
    """Refuse what of a file's name is text where the rules that name it want numbers, or the other way round."""
    for name in mapping.file.kinds if mapping.file is not None else ():
        assert mapping.file is not None
        own = [r for r in mapping.rules if r.imports and r.file.field == name]
        dtype = mapping.file.sample(name).dtype
        if name in mapping.key and mapping.file.kinds[name] not in ("text", "digits"):
            message = f"file: {{{name}}} is in the key, which is text"
            raise wrong(mapping.where, positions[("file",)], message, f"write {{{name}}} or {{{name}:digits}}")
        if own and not any(_may_take(r.file, dtype) for r in own):
            key, lacks = _mismatch(own[0].file, is_text(dtype))
            what, kinds = ("text", ("integer", "float")) if is_text(dtype) else ("a number", ("digits",))
            message = f"{key}: {name} is {what} as {mapping.file.where} takes it of a file's name, and {lacks}"
            tip = f"write {' or '.join(f'{{{name}:{kind}}}' for kind in kinds)} in file:"
            raise wrong(mapping.where, positions[("rules", own[0].index, key)], message, tip)


def _may_take(rule: RuleFile, dtype: np.dtype[Any]) -> bool:
    """Tell whether a rule takes one value of a type."""
    if rule.values:
        return is_text(dtype)
    if is_text(dtype) and (rule.units or rule.scale != 1 or rule.offset != 0):
        return False
    return takes(rule, dtype, rule.rank or 0, exact=False)


def _mismatch(rule: RuleFile, text: bool) -> tuple[str, str]:
    """Return the key by which a rule does not take a value, and what that lacks."""
    if rule.values:
        return "values", "no name of a number"
    if text and not rule.dtype:
        key = next(key for key, usual in (("units", ""), ("scale", 1), ("offset", 0)) if getattr(rule, key) != usual)
        return key, f"has no {key}"
    return "dtype", f"no {rule.dtype}"
