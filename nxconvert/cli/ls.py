"""``nxconvert ls``: what files hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import FAILED, OK, command, complain, printable, say
from nxconvert.dataclass import dataclass

if TYPE_CHECKING:
    from nxconvert.conversion import Plan
    from nxconvert.format import Format, Records, Report, Tree
    from nxconvert.listing import Item
    from nxconvert.location import Location
    from nxconvert.record import Record

WIDEST = 30
"""Columns that names may take."""

LONGEST = 48
"""Characters of a value that are shown."""


@command
def run(
    places: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, FILE::/path, folders.")],
    *,
    all: Annotated[bool, typer.Option("--all", "-a", help="List large groups in full, and open every group.")] = False,
    attrs: Annotated[bool, typer.Option("--attrs", help="List all attributes too.")] = False,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--mapping", metavar="auto|NAME|FILE", help="List the records that a mapping sees, as they are converted."
        ),
    ] = None,
    from_: o.From = None,
    reading: o.Reading,
    set: o.Set = None,
    allow_root: o.AllowRoot = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List what files hold.

    Names, shapes, types, units, links and where they lead, the default plot.

    Of a group with many members the first are listed, and of many groups one is opened; FILE::/path lists from there.
    """
    from nxconvert.conversion import AUTO, Plan
    from nxconvert.errors import NxconvertError
    from nxconvert.mapping import load
    from nxconvert.naming import inputs
    from nxconvert.policy import Policy

    plan = Plan(
        from_format=from_,
        mapping=mapping or AUTO,
        policy=Policy(roots=tuple(allow_root or ())),
        options=reading.stated | o.settings(set or [], from_),
    )
    how = _How(plan, mapped=mapping is not None)
    if mapping is not None and mapping != "auto":
        load(mapping)  # a wrong one is told before anything is listed
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    failed = False
    with inputs(places) as found:
        show = _Json() if json else _Text(attrs=attrs, whole=all, titled=len(found) > 1)
        for place in found:
            try:
                show.file(place, how)
            except NxconvertError as error:
                failed = True
                show.failure(place, error)
        show.end()
    return FAILED if failed else OK


@dataclass(frozen=True)
class _How:
    """How files are opened."""

    plan: Plan
    mapped: bool

    def open(self, place: Location, report: Report) -> tuple[Format, Tree | Records]:
        """Open a file; say what format it is of."""
        from nxconvert import registry
        from nxconvert.conversion.inputs import as_records, open_as
        from nxconvert.format import Tree

        format = registry.detect(place, registry.head(place), self.plan.from_format)
        source = open_as(format, place, self.plan, report)
        if self.mapped and isinstance(source, Tree):
            return format, as_records(source, place, self.plan, report)
        return format, source

    def records(self, source: Records) -> Iterator[Record]:
        """Yield the records of a file, with the roles that are stated."""
        from nxconvert.conversion.inputs import with_roles

        return (with_roles(record, self.plan) for record in source)


class _Text:
    """Lists in lines for people."""

    def __init__(self, *, attrs: bool, whole: bool, titled: bool) -> None:
        self.attrs, self.whole, self.titled = attrs, whole, titled
        self.count = 0

    def file(self, place: Location, how: _How) -> None:
        """List one file."""
        from nxconvert.format import Report, Tree

        report = Report()
        format, source = how.open(place, report)
        with source:
            lines = (
                self._tree(source, place, report) if isinstance(source, Tree) else self._records(how.records(source))
            )
            first = next(lines, None)  # before its title: there may be nothing to list
            self.put(("\n" if self.count else "") + f"{place}: {format.title}")
            self.count += 1
            for line in lines if first is None else chain([first], lines):
                self.put(line)
        for loss in report.losses if self.attrs else ():
            say(f"warning: {loss}")
        for notice in report.notices:
            say(f"warning: {notice}")
        for where, error in report.failed:
            say(f"warning: {where}: {error}")

    def put(self, text: str) -> None:
        """Print lines."""
        for line in text.split("\n"):
            print(printable(line).rstrip())

    def failure(self, place: Location, error: Any) -> None:
        """Say why a file is not listed."""
        complain(error)

    def end(self) -> None:
        """Nothing is left to say."""

    def _tree(self, source: Tree, place: Location, report: Report) -> Iterator[str]:
        from nxconvert.listing import Listing, default_plot
        from nxconvert.part import part_of
        from nxconvert.tree import Dataset

        node = part_of(source.root, place, report)
        path = "/" + place.inner.strip("/")
        plot = default_plot(source.root) if path == "/" else ""
        if plot:
            yield f"default plot {plot}"
        closed = 0
        for item in Listing(whole=self.whole).items(node, path):
            yield _line(item, place)
            closed += item.kind == "group" and not item.opened and not item.link and not item.same_as
            if self.attrs or isinstance(node, Dataset):
                yield from _attributes(item)
        if closed:
            yield f"({closed:,} groups are not opened; FILE::/path lists one, --all opens them)"

    def _records(self, rest: Iterator[Record]) -> Iterator[str]:
        from nxconvert.listing import OPEN

        first = list(islice(rest, OPEN + 1))
        opened = len(first) if self.whole or len(first) <= OPEN else 1
        for number, record in enumerate(chain(first, rest)):
            yield _headline(record)
            if number < opened or self.whole:
                yield from self._fields(record)
        if not self.whole and opened < len(first):
            yield "(one record is listed in full; --all lists all)"

    def _fields(self, record: Record) -> Iterator[str]:
        from nxconvert.listing import FEW, MANY, record_items

        items = list(record_items(record))
        for kind in ("field", "header"):
            chosen = [i for i in items if i.kind == kind]
            if kind == "header" and chosen:
                yield " header"
            shown = chosen if self.whole or len(chosen) <= MANY else chosen[:FEW]
            for item in shown:
                yield _line(item, None)
                if self.attrs:
                    yield from _attributes(item)
            if len(shown) < len(chosen):
                yield f"  ... {len(chosen) - len(shown):,} more; --all lists them"


def _headline(record: Record) -> str:
    from nxconvert.listing import single

    rows = "rows not counted" if record.rows is None else f"{record.rows:,} {'row' if record.rows == 1 else 'rows'}"
    key = ", ".join(f"{k} {v}" for k, v in record.key.items()) or "record"
    title = record.fields.get("title")
    said = single(title.values) if title is not None and not title.per_row else None
    columns = len(record.columns)
    end = "" if record.finished else ", unfinished"
    return f"{key}: {rows}, {columns:,} {'column' if columns == 1 else 'columns'}{end}" + (f' "{said}"' if said else "")


def _line(item: Item, place: Location | None) -> str:
    indent = "  " * item.depth
    if item.kind == "more":
        where = f"{place.file}::{item.path}" if place else ""
        return f"{indent}... {item.members:,} more; --all or {where} lists them"
    name = printable(item.name).ljust(min(item.width, WIDEST))
    words = [f"{indent}{name} ", *_description(item)]
    if item.roles:
        words.append(f"[{', '.join(item.roles)}]")
    if item.link:
        words.append(f"-> {item.link}")
    if item.same_as:
        words.append(f"(the same as {item.same_as})")
    if item.problem:
        words.append(f"({item.problem})")
    return " ".join(w for w in words if w)


def _description(item: Item) -> Iterator[str]:
    if item.kind == "group":
        yield item.nx_class or "group"
        if item.value is not None:
            yield _value(item.value)
        if not item.opened and not item.link and not item.same_as:
            yield f"({item.members:,} {'member' if item.members == 1 else 'members'})"
    elif item.kind == "type":
        yield "named type"
    elif item.shape is not None:
        shape = item.shape[1:] if item.kind == "field" else item.shape
        yield " x ".join(f"{n:,}" for n in shape)
        yield item.dtype if len(item.dtype) <= LONGEST else item.dtype[: LONGEST - 3] + "..."
        if item.value is not None:
            yield f"= {_value(item.value)}"
        yield item.units


def _value(value: Any) -> str:
    from nxconvert.comparison.values import shown

    if isinstance(value, str):
        text = value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
        return f'"{printable(text)}"'
    return shown(value, LONGEST)


def _attributes(item: Item) -> Iterator[str]:
    for name, value in item.attrs.items():
        yield f"{'  ' * item.depth}  @{printable(name)} = {_value(value)}"


class _Json:
    """Lists as JSON: a list with one object a file."""

    def __init__(self) -> None:
        self.files = 0
        self.told: Exception | None = None

    def put(self, text: str) -> None:
        """Print a piece."""
        sys.stdout.write(text)

    def file(self, place: Location, how: _How) -> None:
        """List one file: a tree as ``nodes``, else ``records``."""
        from nxconvert.format import Report, Tree
        from nxconvert.listing import Listing, default_plot, record_items
        from nxconvert.part import part_of

        report = Report()
        format, source = how.open(place, report)
        with source:
            if isinstance(source, Tree):
                node = part_of(source.root, place, report)
                head = {"location": str(place), "format": format.name, "default_plot": default_plot(source.root)}
                items = Listing(whole=True).items(node, "/" + place.inner.strip("/"))
                self._object(head, "nodes", (_node(i) for i in items))
            else:
                head = {"location": str(place), "format": format.name}
                self._object(head, "records", (_record(r, record_items(r)) for r in how.records(source)))

    def _object(self, head: dict[str, Any], name: str, items: Iterator[dict[str, Any]]) -> None:
        import json

        from nxconvert.errors import NxconvertError

        self._next(json.dumps(head)[:-1] + f', "{name}": [')
        try:
            for number, item in enumerate(items):
                self.put((",\n" if number else "\n") + json.dumps(item))
        except NxconvertError as error:
            self.put("], " + json.dumps({"error": str(error), "tip": error.tip})[1:])
            self.told = error
            raise
        self.put("]}")

    def _next(self, text: str) -> None:
        self.put((",\n" if self.files else "[") + text)
        self.files += 1

    def failure(self, place: Location, error: Any) -> None:
        """Say why a file is not listed, or not to its end."""
        import json

        if error is not self.told:
            self._next(json.dumps({"location": str(place), "error": str(error), "tip": error.tip}))
        complain(error)

    def end(self) -> None:
        """Complete the list."""
        self.put("]\n" if self.files else "[]\n")


def _node(item: Item) -> dict[str, Any]:
    from nxconvert.listing import plain_value

    out: dict[str, Any] = {"path": item.path, "kind": item.kind}
    if item.shape is not None:
        out |= {"shape": list(item.shape), "dtype": item.dtype}
    for name in ("nx_class", "units", "link", "same_as", "problem"):
        if getattr(item, name):
            out[name] = getattr(item, name)
    if item.roles:
        out["roles"] = list(item.roles)
    if item.kind == "group":
        out |= {"members": item.members, "opened": item.opened}
    if item.value is not None:
        out["value"] = plain_value(item.value)
    return out | {"attrs": {k: plain_value(v) for k, v in item.attrs.items()}}


def _record(record: Record, items: Iterator[Item]) -> dict[str, Any]:
    fields = []
    for item in items:
        found = _node(item)
        found["name"] = found.pop("path")
        fields.append(found)
    return {"key": dict(record.key), "rows": record.rows, "finished": record.finished, "fields": fields}
