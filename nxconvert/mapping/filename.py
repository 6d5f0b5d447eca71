"""What the name of a file says: the pattern ``file`` of a mapping, such as ``{sample}_{n:integer}``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.array import Values
from nxconvert.compressed import bare
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.stated import EXACT_DTYPES, arithmetic, sides
from nxconvert.mapping.steps import StepError
from nxconvert.record import Field, Record, plain

KINDS = {
    "text": re.compile(r"[^/]+"),
    "digits": re.compile(r"[0-9]+"),
    "integer": re.compile(r"-?[0-9]{1,18}"),
    "float": re.compile(r"-?[0-9]{1,300}(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?"),
}
"""What a capture may take. Digits are text, such as ``0007``, and keep their zeros; the last two become numbers."""

_NUMBERS = {"integer": int, "float": float}
_OF_NAMES = ("stem", "part", "ext")
_CAPTURE = re.compile(r"\{(?P<name>[A-Za-z_]\w*)(?::(?P<kind>\w*))?\}", re.ASCII)


class FilePattern:
    """A pattern of files' names, without their extension; with a slash in it, of the folder and the name.

    Parameters
    ----------
    text
        As it is written.
    where
        File, line and column, for messages.

    Attributes
    ----------
    kinds
        The names in braces, each with what it takes: one of ``KINDS``.

    Raises
    ------
    StepError
        When it is none.
    """

    def __init__(self, text: str, where: str = "") -> None:
        self.text, self.where = text, where
        self.kinds: dict[str, str] = {}
        self._literals: list[str] = []
        column = 0
        for number, part in enumerate(re.split(r"(\{[^{}]*\})", text)):
            if number % 2:
                self._add(part, column)
            elif found := re.search(r"[{}\\]", part):
                tip = "write / between folder and name" if found[0] == "\\" else "a capture is {name}"
                raise StepError(f"{text!r} is no pattern of a name", column + found.start(), tip)
            else:
                self._literals.append(part)
            column += len(part)
        if not self.kinds:
            raise StepError(f"{text!r} takes nothing of a name", 0, 'write e.g. file: "{sample}_{n:integer}"')
        names = list(self.kinds)
        for first, second, between in zip(names, names[1:], self._literals[1:], strict=False):
            if not between:
                raise StepError(f"nothing stands between {{{first}}} and {{{second}}}", 0, "write what does, e.g. _")
        folders = re.sub(r"\{[^{}]*\}", "x", text).split("/")
        if not all(folders) or {".", ".."} & set(folders):
            raise StepError(f"{text!r} has a folder without a name", 0, "write FOLDER/NAME")
        self._parts = len(folders)

    def _add(self, part: str, column: int) -> None:
        found = _CAPTURE.fullmatch(part)
        if found is None:
            raise StepError(f"{part!r} is no capture", column, "a capture is {name} or {name:integer}")
        name, kind = found["name"], "text" if found["kind"] is None else found["kind"]
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            tip = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(KINDS)}"
            raise StepError(f"{{{name}}} cannot be {kind!r}", column, tip)
        if name in self.kinds:
            raise StepError(f"{self.text!r} has {{{name}}} twice", column, "write it once")
        if name in _OF_NAMES:
            raise StepError(f"{{{name}}} is something else in the names of outputs", column, "call it otherwise")
        self.kinds[name] = kind

    def said(self, record: Record) -> dict[str, str]:
        """Return what a record says, of a file's name or itself, as texts."""
        values = {n: own_value(record.fields[n]) for n in self.kinds if n in record.fields}
        return {n: str(v) for n, v in values.items() if v is not None}

    def match(self, path: str) -> dict[str, Any] | None:
        """Return what a file's name says, numbers as such; None when it is another one.

        Raises
        ------
        InputError
            When there are two ways to read it.
        """
        *folders, name = Path(path).absolute().parts if self._parts > 1 else (Path(path).name,)
        name = "/".join([*folders, Path(bare(name)).stem][-self._parts :])
        ways = list(islice(self._ways(name), 2))
        if len(ways) == 2:
            one, other = (", ".join(f"{k}={v}" for k, v in zip(self.kinds, way, strict=True)) for way in ways)
            raise InputError(
                f"{path}: its name can be read as {one} and as {other} by {self.text!r} of {self.where}",
                "say there what is a number, e.g. {n:integer} or {n:digits}",
            )
        if not ways:
            return None
        found = zip(self.kinds.items(), ways[0], strict=True)
        return {name: _NUMBERS.get(kind, _text)(part) for (name, kind), part in found}

    def sample(self, name: str) -> Field:
        """Return a field as a capture becomes one."""
        return Field(name, Values(_NUMBERS.get(self.kinds[name], _text)("0")), source=self.where)

    def _ways(self, name: str) -> Iterator[tuple[str, ...]]:
        """Yield the ways to read a name, the texts of the captures; what leads nowhere is tried only once."""
        literals, kinds = self._literals, [KINDS[kind] for kind in self.kinds.values()]
        dead: set[tuple[int, int]] = set()

        def walk(number: int, at: int) -> Iterator[tuple[str, ...]]:
            last, alive = number == len(kinds) - 1, False
            for end in _ends(name, literals[number + 1], at, last=last) if (number, at) not in dead else ():
                if kinds[number].fullmatch(name, at, end) is None:
                    continue
                behind = walk(number + 1, end + len(literals[number + 1])) if not last else iter([()])
                for rest in behind:
                    alive = True
                    yield (name[at:end], *rest)
            if not alive:
                dead.add((number, at))

        if name.startswith(literals[0]):
            yield from walk(0, len(literals[0]))


def _ends(name: str, behind: str, at: int, *, last: bool) -> Iterator[int]:
    """Yield where what is behind a capture may begin, when the capture itself begins somewhere."""
    end = len(name) - len(behind) if last and name.endswith(behind) else -1 if last else name.find(behind, at + 1)
    while end > at:
        yield end
        end = -1 if last else name.find(behind, end + 1)


def _text(name: str) -> str:
    """Return a part of a name as text; what is no UTF-8 in it is replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Named:
    """Adds to the records of a file what its name says.

    Parameters
    ----------
    pattern
        The pattern.
    layout
        The mapping that it is of.
    path
        Where the file is; None for what has no name, such as standard input.
    source
        What it is called in messages.
    report
        Told when the name says nothing, or something else than a record.

    Attributes
    ----------
    says
        What the name says, or None.

    Raises
    ------
    InputError
        When there are two ways to read the name.
    """

    def __init__(self, pattern: FilePattern, layout: Layout, path: str | None, source: str, report: Report) -> None:
        self.pattern, self.source, self.report, self._key = pattern, source, report, layout.key
        self._rules = {r.file.field: r.file for r in layout.rules if r.imports}
        self.says = pattern.match(path) if path is not None else None

    def key(self, key: Mapping[str, str]) -> Mapping[str, str]:
        """Return the key of a record: what the name says, where it has none."""
        return key or {k: str(v) for k, v in (self.says or {}).items() if k in self._key}

    def record(self, record: Record) -> Record:
        """Return a record with fields for what the name says. What it says itself counts for more."""
        key, fields = self.key(record.key), dict(record.fields)
        if self.says is None:
            lacking = [name for name in self.pattern.kinds if name not in fields and name not in key]
            if lacking:
                like = f"no name like {self.pattern.text!r} of {self.pattern.where}"
                self.report.notice(f"{self.source} has {like}, so nothing says {' and '.join(lacking)}")
            return record
        for name, value in self.says.items():
            own = key.get(name) if name not in fields else own_value(fields[name])
            if name not in fields and name not in key:
                fields[name] = self._field(name, value)
            elif own is not None and own != value and str(own) != str(value):
                self.report.notice(
                    f"{record.source or self.source} says that {name} is {own}, the name of the file {value}: the "
                    "former counts"
                )
        return replace(record, key=key, fields=fields)

    def _field(self, name: str, value: Any) -> Field:
        """Return a field, of the units and the dtype in which it comes back from the place that a rule gives it."""
        rule, values = self._rules.get(name), np.asarray(value)
        units = sides(rule)[1] if rule is not None else ""
        if rule is not None and rule.dtype in EXACT_DTYPES and not rule.values and not arithmetic(rule):
            with np.errstate(all="ignore"):
                cast = values.astype(rule.dtype)
            values = cast if cast == values else values  # what does not fit is told on import
        attrs = {"units": units} if units else {}
        return Field(name, Values(values if values.dtype.kind in "if" else value), attrs=attrs, source=self.source)


def own_value(f: Field) -> Any:
    """Return the value of a field of a record; None for more than one, which a name cannot say."""
    return None if f.per_row or f.shape else plain(f.values)
