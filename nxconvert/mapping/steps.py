"""The steps of a path in a mapping: literals, captures, classes, tests, roles.

measurement:NXcollection     a child of that name and NeXus class; ``A|B`` takes either and writes the first
{scan:NXentry}               captures the name of any group of that class
{entry=entry:NXentry}        ... and is named ``entry`` on import when the key does not say
{sub?:NXsubentry}            may be absent
{x@axes}                     follows the group's NeXus attribute
title[units=mm]  x[=NXxas]   tests an attribute, or a value; ``[=A|B]`` takes either
@units  @{attr}              an attribute of the group, or of the dataset, before it
*  **                        any child, any depth; on export only
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cached_property

from nxconvert.dataclass import dataclass

ROLES = ("axes", "signal", "errors", "auxiliary_signals", "default")

_CAPTURE = re.compile(
    r"\{(?P<name>[A-Za-z_]\w*)(?P<optional>\?)?(?:=(?P<default>[^{}@:]+))?(?:@(?P<role>\w+))?(?::(?P<classes>[\w|]+))?\}"
)
_LITERAL = re.compile(r"(?P<name>[^\[\]{}:@*][^\[\]{}:]*?)(?::(?P<classes>[\w|]+))?")
_TEST = re.compile(r"\[(?P<attr>[^\[\]=]*)=(?P<value>[^\[\]]*)\]")


class Kind(IntEnum):
    """Kinds of step, the more literal the higher."""

    DEEP = 0
    ANY = 1
    CAPTURE = 2
    CLASS = 3
    ROLE = 4
    LITERAL = 5


class StepError(ValueError):
    """A path that cannot be read. ``column`` counts from 0 in the path's text."""

    def __init__(self, message: str, column: int, tip: str = "") -> None:
        super().__init__(message)
        self.column, self.tip = column, tip


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    Attributes
    ----------
    name
        The literal name, or the capture's.
    kind
        What sort of step, which is also its literalness.
    classes
        NeXus classes that it takes; it writes the first.
    optional, default, role
        Of a capture.
    tests
        Pairs of attribute (empty for the value) and the texts of which it must be one, with bars between them.
    attribute
        Whether it names an attribute of the group before it.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    optional: bool = False
    default: str = ""
    role: str = ""
    tests: tuple[tuple[str, str], ...] = ()
    attribute: bool = False

    @property
    def captures(self) -> bool:
        """Whether it binds a name."""
        return self.kind in (Kind.CAPTURE, Kind.CLASS, Kind.ROLE) and bool(self.name)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Literalness, for comparing two rules step by step."""
        kind = Kind.ROLE if self.tests and self.kind < Kind.ROLE else self.kind
        return (kind, len(self.tests), int(bool(self.classes)))


def parse(text: str) -> tuple[Step, ...]:
    """Read a path.

    Raises
    ------
    StepError
        When it is not one, with the column.
    """
    steps: list[Step] = []
    start = 0
    parts = _split(text)
    for number, part in enumerate(parts):
        if not part and number > 0 and (number < len(parts) - 1 or number > 1):
            raise StepError(f"{text!r} has an empty step", start, "write one slash between two steps")
        if part:
            steps.append(_step(part, start))
            if len(steps) > 1 and steps[-2].attribute:
                raise StepError("nothing comes below an attribute", start, "an attribute is the last step")
        start += len(part) + 1
    return tuple(steps)


def may_be(steps: Sequence[Step], target: Sequence[Step]) -> bool:
    """Tell whether what is at some steps may be at the path of others: what captures may be called anything."""
    if len(steps) != len(target):
        return False
    return all(_may_be(a, b) for a, b in zip(steps, target, strict=True))


def _may_be(step: Step, other: Step) -> bool:
    if step.attribute is not other.attribute or (
        step.classes and other.classes and not {*step.classes} & {*other.classes}
    ):
        return False
    return step.captures or other.captures or step.name == other.name


def _split(text: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char in "{[") - (char in "}]")
        if char == "/" and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [*parts, current]


def _step(part: str, column: int) -> Step:
    if part in (".", ".."):
        raise StepError(f"{part!r} is no step of a path", column, "a path only goes down; begin with / at the root")
    body, tests = _tests(part, column)
    if body in ("*", "**"):
        return Step("", Kind.ANY if body == "*" else Kind.DEEP, tests=tuple(tests))
    if re.search(r":\||\|\||[|:](\}|$)", body):
        raise StepError(f"{part!r} has an empty class", column, "write name:NXa or name:NXa|NXb")
    attribute = body.startswith("@")
    if attribute:
        body = body[1:]
    if found := _CAPTURE.fullmatch(body):
        role = found["role"] or ""
        if role and role not in ROLES:
            raise StepError(f"{role!r} is no role", column + part.index("@") + 1, f"roles are {', '.join(ROLES)}")
        classes = tuple((found["classes"] or "").split("|")) if found["classes"] else ()
        kind = Kind.ROLE if role else Kind.CLASS if classes else Kind.CAPTURE
        return Step(
            found["name"], kind, classes, bool(found["optional"]), found["default"] or "", role, tuple(tests), attribute
        )
    if "{" in body or "}" in body:
        raise StepError(
            f"{part!r} is no capture",
            column,
            "a capture is {name}, {name:NXclass}, {name=default}, {name?} or {name@axes}",
        )
    if found := _LITERAL.fullmatch(body):
        classes = tuple(found["classes"].split("|")) if found["classes"] else ()
        return Step(found["name"], Kind.LITERAL, classes, tests=tuple(tests), attribute=attribute)
    raise StepError(f"{part!r} is no step of a path", column, "write name, name:NXclass or {capture}")


def _tests(part: str, column: int) -> tuple[str, list[tuple[str, str]]]:
    """Return a step without its tests, and these."""
    body = part
    tests: list[tuple[str, str]] = []
    while found := re.search(_TEST.pattern + "$", body):
        tests.insert(0, (found["attr"], found["value"]))
        body = body[: found.start()]
        if "|" in found["value"] and not all(found["value"].split("|")):
            tip = "write [=A|B], or [units=mm|um]"
            raise StepError(f"{part!r} has an empty text", column + found.start(), tip)
    return body, tests


class NamePattern:
    """The name of a field with captures, e.g. ``motor/{motor}``; read both ways.

    Attributes
    ----------
    text
        As it is written.
    captures
        The names in braces.
    shape
        A regular expression that finds the same names, and captures nothing.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = re.split(r"(\{[A-Za-z_]\w*(?:@\w+)?\})", text)
        self.captures = tuple(p[1:-1].partition("@")[0] for p in self.parts[1::2])
        if re.search(r"[{}]", "".join(self.parts[::2])):
            raise StepError(f"{text!r} is no field name", 0, "a capture is {name}")
        twice = next((c for c in self.captures if self.captures.count(c) > 1), "")
        if twice:
            raise StepError(f"{text!r} has {{{twice}}} twice", text.index("{"), "write it once")
        last = len(self.captures)
        body, seen = "", 0
        for p in self.parts:
            if p.startswith("{"):
                seen += 1
                name = p[1:-1].partition("@")[0]
                body += f"(?P<{name}>.+)" if seen == last else f"(?P<{name}>[^/]+?)"
            else:
                body += re.escape(p)
        self._pattern = re.compile(body, re.DOTALL)
        self.shape = re.sub(r"\?P<\w+>", "?:", body)

    @property
    def literal(self) -> int:
        """Number of literal characters: the measure of literalness among names."""
        return sum(len(p) for p in self.parts if not p.startswith("{"))

    def fill(self, bound: Mapping[str, str]) -> str:
        """Make a name of captured names. Only the last may have slashes in it: those of the others stay replaced."""
        if len(self.captures) < 2:
            return "".join([bound.get(p[1:-1], "") if p[:1] == "{" else p for p in self.parts])
        names = {c: to_tree_name(bound.get(c, "")) for c in self.captures[:-1]}
        names[self.captures[-1]] = bound.get(self.captures[-1], "")
        return "".join([names[p[1:-1].partition("@")[0]] if p[:1] == "{" else p for p in self.parts])

    @cached_property
    def ambiguous(self) -> bool:
        """Whether what stands between two captures may be in what they capture too; a slash is only in the last."""
        return not all(p.startswith("/") for p in self.parts[2:-1:2])

    @property
    def separated(self) -> bool:
        """Whether something stands between any two of its captures."""
        return all(self.parts[2:-1:2])

    def match(self, name: str) -> dict[str, str] | None:
        """Return what a name captures, or None."""
        found = self._pattern.fullmatch(name)
        return found.groupdict() if found else None


SLASH = "∕"
"""Stands for a slash in a name that HDF5 could not hold (U+2215)."""


def to_tree_name(name: str) -> str:
    """Make a captured name fit for a tree; ``from_tree_name`` undoes it."""
    if name in (".", ".."):
        return name.replace(".", "․")
    return name.replace("/", SLASH)


def path_of(steps: Sequence[Step], bound: Mapping[str, str]) -> str:
    """Return the path that steps lead to, of names that are bound or are the defaults of captures."""
    names = [to_tree_name(bound.get(s.name) or s.default) if s.captures else s.name for s in steps]
    return "/" + "/".join(name for name in names if name)


def named_from(group: str, path: str) -> str:
    """Return what a path is called in a group: what is below that, or all of it."""
    below = group.rstrip("/") + "/"
    return path.removeprefix(below)


def from_tree_name(name: str) -> str:
    """Return the name that ``to_tree_name`` was given."""
    if name in ("․", "․․"):
        return name.replace("․", ".")
    return name.replace(SLASH, "/") if SLASH in name else name
